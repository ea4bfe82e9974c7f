"""Neurons of a circuit apart from it, whose synapses receive what is given in every step, simulated by the engine.

A bench is one program: it is built once, or taken from the cache, and every call runs it with other numbers. On import,
`neuron_bench` registers itself as the maker of benches of the theory (`mnnbio.theory.bench_maker`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from mnnbio.circuit import Circuit, Drive, InputCumulants, InputSteps, Population, Projection, SpikeSource
from mnnbio.neurons import NeuronModel
from mnnbio.spikes import Program, build
from mnnbio.synapses import SynapseModel, SynapseSteps, Target
from mnnbio.theory import Bench, register_bench, taken
from mnnbio.units import Unit

Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]
Spikes = npt.NDArray[np.uint8]
Codegen = Literal["cpp_standalone", "runtime"]

WARM_UP = 1000.0  # ms before a record


@dataclass(frozen=True)
class Fed(SynapseModel):
    """Synapses that receive what is given in every step, and spikes besides.

    Parameters
    ----------
    model : SynapseModel
        What they are.
    course : callable
        Times (ms, from the end of the warm-up) → sum of the weights that arrive, SI units, (time, 1, neuron).
    """

    model: SynapseModel
    course: Any

    @property
    def UNIT(self) -> Unit:  # type: ignore[override]  # noqa: N802 - the name of the class attribute
        """Working unit of the weights."""
        return self.model.UNIT

    def spike(self, weight: Any) -> Any:
        """Return what a spike adds, in SI units."""
        return self.model.spike(weight)

    def steps(self, target: Target, name: str, dt: float) -> SynapseSteps:
        """Return the synapses with a variable that adds in every step."""
        own, feed = self.model.steps(target, name, dt), f"brought_in{name}"
        return replace(
            own,
            values={**own.values, feed: self.course},
            units={**own.units, feed: own.unit},
            every_step={**own.every_step, own.adds_to: feed},
        )


@dataclass(frozen=True, eq=False)
class Behind(Drive):
    """A drive whose jumps arrive through synapses that are fed, where it has such."""

    drive: Drive
    fed: Mapping[SynapseModel, Fed]

    def cumulants(self, dt: float | None) -> InputCumulants:
        """Return those of the drive."""
        return self.drive.cumulants(dt)

    def steps(self, dt: float) -> InputSteps:
        """Return those of the drive, with synapses that are fed."""
        own = self.drive.steps(dt)
        jumps = (
            jump._replace(tau_syn=0.0, synapse=self.fed.get(jump.synapse_model, jump.synapse_model))
            for jump in own.jumps
        )
        return own._replace(jumps=tuple(jumps))


class Course:
    """What arrives at neurons in the steps of a record, which repeats before it begins."""

    def __init__(self, feed: Float32, unit: float, dt: float) -> None:
        self.feed, self.unit, self.dt = np.ascontiguousarray(feed.T), unit, dt

    def __call__(self, times: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return the values in the steps of some times."""
        step = np.floor(times / self.dt).astype(np.int64) % len(self.feed)
        return self.unit * self.feed[step][:, None].astype(np.float64)


@contextmanager
def neuron_bench(
    circuit: Circuit,
    chosen: Sequence[Int64],
    synapses: Sequence[Sequence[SynapseModel]],
    dt: float,
    /,
    *,
    codegen: Codegen = "cpp_standalone",
) -> Iterator[Bench]:
    """Make a bench of neurons of a circuit.

    Parameters
    ----------
    circuit : Circuit
        With one stimulus.
    chosen : sequence of ndarray
        Numbers of the neurons of each population; they may repeat.
    synapses : sequence of sequence of SynapseModel
        Different kinds onto each population.
    dt : float
        Time step, ms.
    codegen : {"cpp_standalone", "runtime"}
        As of `mnnbio.simulate`.

    Yields
    ------
    Bench
        Function of what arrives.
    """
    nothing = [[np.zeros((len(own), 1), np.float32)] * len(kinds) for own, kinds in zip(chosen, synapses, strict=True)]
    warm = round(WARM_UP / dt)
    with build(_circuit(circuit, chosen, synapses, nothing, dt), dt=dt, codegen=codegen, replicas=1) as program:

        def fire(feeds: Sequence[Sequence[Float32]], steps: int, seed: int) -> list[Spikes]:
            return _run(program, _circuit(circuit, chosen, synapses, feeds, dt), chosen, steps, warm, seed)

        yield fire


def _circuit(
    circuit: Circuit,
    chosen: Sequence[Int64],
    synapses: Sequence[Sequence[SynapseModel]],
    feeds: Sequence[Sequence[Float32]],
    dt: float,
) -> Circuit:
    """Return the circuit that is simulated: neurons whose synapses carry no spikes."""
    names = {p.name for p in circuit.populations}
    silent = next(name for k in range(len(names) + 1) if (name := f"silent{k}") not in names)
    populations: list[Any] = [SpikeSource(silent, [], [], 1)]
    projections: list[Projection] = []
    drives: list[Drive] = []
    for population, own, kinds, given in zip(circuit.neurons, chosen, synapses, feeds, strict=True):
        populations.append(Population(population.name, len(own), _some(population, own)))
        fed = {m: Fed(m, Course(feed, float(m.spike(1.0)), dt)) for m, feed in zip(kinds, given, strict=True)}
        none = np.zeros((len(own), 1))
        projections += [Projection(silent, population.name, weights=none, synapse=model) for model in fed.values()]
        drives += [
            Behind(population.name, _of(drive, own), fed) for drive in circuit.drives if drive.target == population.name
        ]
    return Circuit(populations, projections, drives)


def _some(population: Population, own: Int64) -> NeuronModel:
    return taken(population.neuron, own) if population.neuron.size is not None else population.neuron


def _of(drive: Drive, own: Int64) -> Drive:
    """Return a drive of some neurons of its population."""
    changed: dict[str, Any] = {
        name: np.take(value, own, axis=-axes)
        for name, axes in drive.given_inputs().items()
        if np.ndim(value := getattr(drive, name)) >= axes
    }
    return replace(drive, **changed) if changed else drive


def _run(program: Program, circuit: Circuit, chosen: Sequence[Int64], steps: int, warm: int, seed: int) -> list[Spikes]:
    """Return the spikes in the steps of a record."""
    dt = program.dt
    found = program.run(steps * dt, warmup=warm * dt, circuit=circuit, seed=seed, processes=1)
    sizes = [len(own) for own in chosen]
    spikes = np.zeros((sum(sizes), steps), np.uint8)
    inside = found.step >= 0
    spikes[np.repeat(np.arange(sum(sizes)), found.row_size.ravel())[inside], found.step[inside]] = 1
    return np.split(spikes, np.cumsum(sizes)[:-1])


register_bench(neuron_bench)
