"""A recurrent network under a frozen current: one program, run again and again with other recurrent weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import cached_property
from typing import Any, Literal, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from mnnbio.circuit import Circuit, Drive, GaussianDrive, Projection, delay_steps, require_circuit, time_step
from mnnbio.learning.targets import SpikeTargets, read_targets
from mnnbio.neurons import LIFParameters
from mnnbio.results import whole_steps
from mnnbio.spikes import Program, build
from mnnbio.units import in_unit
from mnnbio.values import Samples, TimeCourse

Array = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]
Int64 = npt.NDArray[np.int64]
Codegen = Literal["cpp_standalone", "runtime"]


class Passed(NamedTuple):
    """Spikes of a run under given weights.

    Attributes
    ----------
    neuron, step : ndarray of int64, shape (spike,)
        Sorted by neuron and time.
    counts : ndarray of int64, shape (n,)
    """

    neuron: Int64
    step: Int64
    counts: Int64


class FrozenNetwork:
    """Neurons under a current that is the same in every run, whose recurrent weights change from run to run.

    A network is the concatenation of all populations of neurons of a circuit. It is built once, in its ``with`` block.

    Parameters
    ----------
    circuit : Circuit
        Without sources; its projections have dense weights. Where it has currents of its own, these count.
    currents : array_like, Quantity or Samples, shape (step, n), optional
        Frozen current of every neuron, mV/ms, instead of the circuit's drives; an array has one row per time step. By
        default the means of the circuit's drives, which must not be random. A neuron that takes its input in another
        form is driven by `drives`.
    drives : sequence of Drive, optional
        Frozen drives of any other form, instead of `currents`.
    dt : float or Quantity
        Time step, ms.
    duration : float or Quantity, optional
        Length of a run, ms; by default that of the currents.
    codegen : {"cpp_standalone", "runtime"}
        As of `build`.

    Attributes
    ----------
    populations : dict of str to int
        Size of each population, in the order of the neurons.
    size, n_steps : int
    dt, duration : float
        ms.
    weights : ndarray, shape (n, n)
        Those of the circuit, mV, target × source; 0 where there is no synapse.
    connections : ndarray of bool, shape (n, n)
        Which synapses there are: the weights that are not 0; in a projection of zeros all but autapses.
    signs : ndarray, shape (n,)
        1 for sources with no negative, -1 for those with no positive weight, 0 for those with both or none.

    Raises
    ------
    ValueError
        If the circuit has sources, no recurrent projection, weights that are not dense, random drives, several stimuli,
        or a current of another shape or length.
    """

    def __init__(
        self,
        circuit: Circuit,
        currents: Any = None,
        *,
        drives: Any = None,
        dt: Any = 0.1,
        duration: Any = None,
        codegen: Codegen = "cpp_standalone",
    ) -> None:
        require_circuit(circuit)
        self.dt, self.codegen = time_step(dt), codegen
        if currents is not None and drives is not None:
            raise ValueError("give either `currents` or `drives`, got both")
        self._slices = circuit.slices()
        self.populations = {population.name: population.size for population in circuit.neurons}
        self.size = circuit.n_neurons
        length = None if duration is None else float(in_unit(duration, "ms", "duration"))
        self.circuit, self._currents, length = self._frozen(circuit, currents, drives, length)
        self.duration = length
        self.n_steps = whole_steps(length, self.dt, "duration")
        self._require_dense()
        self.weights, self.connections = self._initial_weights()
        self._stack: ExitStack | None = None
        self._program: Program | None = None

    def _frozen(
        self, circuit: Circuit, currents: Any, drives: Any, length: float | None
    ) -> tuple[Circuit, Array | None, float]:
        """Return the circuit with its frozen drives, its currents where they are means of drives, and the length."""
        if circuit.sources:
            raise ValueError(
                f"a network to learn must have no sources, got {circuit.sources[0].name!r}: give what comes from "
                "outside as `currents`, frozen, the same in every run"
            )
        if currents is not None:
            samples = self._samples(currents)
            own = len(samples.values) * samples.dt
            length = own if length is None else length
            if length > own * (1 + 1e-9):
                raise ValueError(f"`currents` must be as long as the run, {length:g} ms, got {own:g} ms")
            circuit = circuit.with_parts(drives=self._drives(samples))
            return circuit, self._at_steps(samples, length), length
        circuit = circuit if drives is None else circuit.with_parts(drives=list(drives))
        if circuit.n_stimuli not in (None, 1):
            raise ValueError(f"a network to learn has one stimulus, got {circuit.n_stimuli}: `select` one of them")
        for drive in circuit.drives:
            steps = drive.steps(self.dt)
            noisy = steps.std is not None and (isinstance(steps.std, TimeCourse) or np.any(steps.std))
            if noisy or steps.loadings is not None or steps.jumps or any(c.normal or c.poisson for c in steps.code):
                raise ValueError(
                    f"currents must be frozen, the same in every run, and the {drive} draws random numbers: give "
                    "`currents`, one sample of what it gives"
                )
        if length is None:
            length = self._length_of_drives(circuit)
        return circuit, self._means(circuit, length), length

    def _drives(self, samples: Samples) -> list[Drive]:
        """Return the drives that give each population its part of the currents."""
        return [
            GaussianDrive(name, mean=Samples(np.ascontiguousarray(samples.values[:, part]), samples.dt, unit="mV/ms"))
            for name, part in self._slices.items()
        ]

    def _samples(self, currents: Any) -> Samples:
        if isinstance(currents, Samples):
            samples = currents.used_as("mV/ms", "currents")
        else:
            samples = Samples(in_unit(currents, "mV/ms", "currents"), self.dt, unit="mV/ms")
        if samples.values.ndim != 2 or samples.values.shape[1] != self.size:
            raise ValueError(
                f"`currents` must have one column per neuron, shape (step, {self.size}), got {samples.values.shape}"
            )
        return samples

    def _at_steps(self, samples: TimeCourse, length: float) -> Array:
        return samples.at(np.arange(round(length / self.dt)) * self.dt)

    def _length_of_drives(self, circuit: Circuit) -> float:
        courses = [drive.steps(self.dt).mean for drive in circuit.drives]
        lengths = [len(course.values) * course.dt for course in courses if isinstance(course, Samples)]
        if not lengths:
            raise ValueError("`duration` must be given where the currents have no length of their own, `Samples` do")
        return float(min(lengths))

    def _means(self, circuit: Circuit, length: float) -> Array | None:
        """Return the sum of the means of all drives, (step, n); None where a drive has another form."""
        n_steps = round(length / self.dt)
        total = np.zeros((n_steps, self.size))
        for drive in circuit.drives:
            steps = drive.steps(self.dt)
            if steps.code or steps.channels or steps.current is not None:
                return None
            mean = steps.mean
            if mean is None:
                continue
            values = self._at_steps(mean, length) if isinstance(mean, TimeCourse) else np.asarray(mean)
            part = self._slices[drive.target]
            total[:, part] += np.broadcast_to(
                values.reshape(len(values), -1) if values.ndim > 2 else values, (n_steps, part.stop - part.start)
            )
        return total

    def _require_dense(self) -> None:
        if not self.circuit.projections:
            raise ValueError("a network to learn needs recurrent projections, the circuit has none")
        pairs = [(projection.source, projection.target) for projection in self.circuit.projections]
        for pair, projection in zip(pairs, self.circuit.projections, strict=True):
            if pairs.count(pair) > 1:
                raise ValueError(f"a network to learn has at most one projection a pair, {projection} stands twice")
            if not isinstance(projection.weights, np.ndarray):
                raise ValueError(
                    f"weights of {projection} must be dense to be learned, (n_target, n_source): make the projection "
                    "anew with `weights=circuit.dense(projection)`"
                )
            if projection.plasticity:
                raise ValueError(f"{projection} has plasticity of its own: leave it out of a network to learn")

    def _initial_weights(self) -> tuple[Array, Bool]:
        weights = np.zeros((self.size, self.size))
        connections = np.zeros((self.size, self.size), dtype=bool)
        for projection in self.circuit.projections:
            place = self._slices[projection.target], self._slices[projection.source]
            own = np.asarray(projection.weights)
            weights[place] = own
            present = own != 0
            if not present.any():
                present = np.ones(own.shape, dtype=bool)
                if projection.source == projection.target:
                    np.fill_diagonal(present, False)
            connections[place] = present
        return weights, connections

    @cached_property
    def signs(self) -> Array:
        """Sign of the synapses of every source, (n,); 0 where they have both signs or are all 0."""
        excites, inhibits = (self.weights > 0).any(axis=0), (self.weights < 0).any(axis=0)
        return np.asarray(excites.astype(np.float64) - inhibits)

    # What only leaky integrate-and-fire neurons have

    @property
    def currents(self) -> Array:
        """Frozen currents, mV/ms, (step, n).

        Raises
        ------
        ValueError
            If the drives give them in another form.
        """
        if self._currents is None:
            raise ValueError(
                "the frozen input is not a current in mV/ms: only rules that need none, such as credit='pool', work"
            )
        return self._currents

    @property
    def has_currents(self) -> bool:
        """Whether the frozen input is a current in mV/ms."""
        return self._currents is not None

    @property
    def is_lif(self) -> bool:
        """Whether all neurons are leaky integrate-and-fire neurons with delta or exponential synapses."""
        return self._why_not_lif() is None

    def _why_not_lif(self) -> str | None:
        for population in self.circuit.neurons:
            if not isinstance(population.neuron, LIFParameters):
                return f"the neurons of {population.name!r} are {type(population.neuron).__name__}"
        for projection in self.circuit.projections:
            if projection.synapse is not None:
                return f"the synapses of {projection} are {type(projection.synapse).__name__}"
        return None

    def require_lif(self, what: str) -> None:
        """Raise a `TypeError` unless all neurons are LIF with delta or exponential synapses; `what` needs them."""
        if reason := self._why_not_lif():
            raise TypeError(
                f"{what} needs leaky integrate-and-fire neurons (LIFParameters) with delta or exponential synapses, "
                f"and {reason}: use PSPM with credit='pool', which needs no equations"
            )

    def _lif(self, name: str) -> Array:
        self.require_lif(f"`{name}`")
        values = []
        for population in self.circuit.neurons:
            value = getattr(population.lif, name)
            values.append(np.broadcast_to(np.asarray(value, dtype=np.float64), population.size))
        return np.concatenate(values)

    @cached_property
    def tau_m(self) -> Array:
        """Membrane time constants, ms, (n,)."""
        return self._lif("tau_m")

    @cached_property
    def v_th(self) -> Array:
        """Thresholds, mV from rest, (n,)."""
        return self._lif("v_th")

    @cached_property
    def v_reset(self) -> Array:
        """Reset potentials, mV from rest, (n,)."""
        return self._lif("v_reset")

    @cached_property
    def t_ref(self) -> Array:
        """Refractory periods, ms, (n,); 0 where neurons of another kind state none."""
        found = []
        for population in self.circuit.neurons:
            value = getattr(population.neuron, "t_ref", 0.0)
            found.append(np.broadcast_to(np.asarray(value, dtype=np.float64), population.size))
        return np.concatenate(found)

    @cached_property
    def start(self) -> Array:
        """Start values of the membrane potential, mV from rest, (n,)."""
        self.require_lif("`start`")
        values = []
        for population in self.circuit.neurons:
            initial = population.lif.initial
            value = initial["v"] if initial else 0.0
            values.append(np.broadcast_to(np.asarray(value, dtype=np.float64), population.size))
        return np.concatenate(values)

    @cached_property
    def tau_syn(self) -> Array:
        """Synaptic time constant of every source, ms, (n,); 0 for delta synapses.

        Raises
        ------
        ValueError
            If it depends on the target.
        """
        self.require_lif("`tau_syn`")
        return self._by_source({p: float(p.tau_syn) for p in self.circuit.projections}, "synaptic time constant")

    @cached_property
    def delay_steps(self) -> Int64:
        """Delay of every source in steps, (n,).

        Raises
        ------
        ValueError
            If it differs between the synapses of a source.
        """
        delays = {}
        for projection in self.circuit.projections:
            steps = np.unique(delay_steps(self.circuit, projection, self.dt))
            if len(steps) > 1:
                raise ValueError(f"{projection} must have one delay, got {len(steps)} different ones")
            delays[projection] = float(steps[0])
        return self._by_source(delays, "delay").astype(np.int64)

    @property
    def delay_steps_of_any(self) -> Int64:
        """Delay of every source in steps, (n,), rounded down to the shortest of a source that has several."""
        found = np.zeros(self.size)
        for name, part in self._slices.items():
            own = [delay_steps(self.circuit, p, self.dt).min() for p in self.circuit.projections if p.source == name]
            found[part] = min(own, default=0)
        return found.astype(np.int64)

    @property
    def delay(self) -> Array:
        """Delay of every source, ms, (n,)."""
        return np.asarray(self.delay_steps * self.dt, dtype=np.float64)

    def _by_source(self, values: Mapping[Projection, float], what: str) -> Array:
        found = np.zeros(self.size)
        for name, part in self._slices.items():
            own = {value for projection, value in values.items() if projection.source == name}
            if len(own) > 1:
                raise ValueError(
                    f"all synapses of population {name!r} must have one {what} here, got {', '.join(map(str, own))}"
                )
            if own:
                found[part] = own.pop()
        return found

    # Runs

    def __enter__(self) -> Self:
        stack = ExitStack()
        self._program = stack.enter_context(build(self.circuit, dt=self.dt, codegen=self.codegen))
        self._stack = stack
        return self

    def __exit__(self, *exception: Any) -> None:
        if self._stack is not None:
            self._stack.__exit__(*exception)
        self._stack, self._program = None, None

    def run(
        self,
        weights: npt.ArrayLike | None = None,
        *,
        currents: npt.ArrayLike | None = None,
        report: Callable[[int, int], None] | None = None,
    ) -> Passed:
        """Run the network from its start values.

        Parameters
        ----------
        weights : array_like, shape (n, n), optional
            Recurrent weights, mV; by default its own.
        currents : array_like, shape (step, n), optional
            Another current than the frozen one, mV/ms, one row per step, where the network has been given `currents`.
        report : callable, optional
            Called with the numbers of steps taken and to take.

        Raises
        ------
        RuntimeError
            If it is not within its ``with`` block.
        ValueError
            If the weights have another shape, or are not 0 where the circuit has no projection.
        """
        if self._program is None:
            raise RuntimeError("a FrozenNetwork runs within its `with` block: with FrozenNetwork(...) as network: ...")
        given = None if weights is None else self.blocks(weights)
        drives = None if currents is None else self._drives(self._samples(currents))
        recording = self._program.run(self.duration, weights=given, drives=drives, seed=0, processes=1, report=report)
        counts = recording.row_size.reshape(-1, self.size)[0].astype(np.int64)
        return Passed(np.repeat(np.arange(self.size), counts), recording.step.astype(np.int64), counts)

    def spikes(self, passed: Passed) -> SpikeTargets:
        """Return the spikes of a run as trains."""
        return SpikeTargets(
            steps=np.split(passed.step, np.cumsum(passed.counts)[:-1]),
            dt=self.dt,
            n_steps=self.n_steps,
            populations=self.populations,
        )

    def blocks(self, weights: npt.ArrayLike) -> dict[tuple[str, str], Array]:
        """Return a matrix of all recurrent weights, mV, (n, n), by (source, target).

        Raises
        ------
        ValueError
            If the weights have another shape, or are not 0 where the circuit has no projection.
        """
        whole = np.asarray(weights, dtype=np.float64)
        if whole.shape != (self.size, self.size):
            raise ValueError(f"weights must have shape ({self.size}, {self.size}), target × source, got {whole.shape}")
        found = {
            (p.source, p.target): whole[self._slices[p.target], self._slices[p.source]]
            for p in self.circuit.projections
        }
        if sum(np.count_nonzero(part) for part in found.values()) != np.count_nonzero(whole):
            raise ValueError(
                f"weights must be 0 mV where the circuit has no projection; it has "
                f"those of {', '.join(map(str, found))}"
            )
        return found

    def with_weights(self, weights: npt.ArrayLike) -> Circuit:
        """Return the circuit, its frozen drives included, with other recurrent weights, mV, (n, n)."""
        blocks = self.blocks(weights)
        return self.circuit.with_parts(
            projections=[replace(p, weights=blocks[p.source, p.target].copy()) for p in self.circuit.projections]
        )

    def targets(self, target: Any, window: Any = None) -> SpikeTargets:
        """Return spike trains to learn, as `read_targets` does for this network."""
        return read_targets(
            target, self.populations, dt=self.dt, duration=self.duration, t_ref=self.t_ref, window=window
        )
