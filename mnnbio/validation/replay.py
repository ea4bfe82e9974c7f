"""Surrogates of a simulation: the neurons of a circuit receive its own trains again, made simpler step by step.

Every neuron of the circuit is simulated once more with the trains that it received, but apart from the circuit: what it
fires goes nowhere. The trains are then shifted in time, each on its own, which takes their correlations; their
intervals are shuffled; they become Poisson trains of the same rates; and noise of the same mean and variance replaces
the jumps, at last without the filters of the synapses. What each step changes is what the property that it takes is
worth.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy import sparse

from mnnbio.circuit import Circuit, GaussianDrive, ModeMatrix, PoissonDrive, Population, SpikeSource
from mnnbio.neurons import LIFParameters
from mnnbio.spikes import Counts, simulate
from mnnbio.theory import charge, filter_time, trains, wire
from mnnbio.units import count_steps

Array = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]

Codegen = Literal["cpp_standalone", "runtime"]
Rung = Literal["replayed", "independent", "shuffled", "smooth", "poisson", "noise", "white"]
RUNGS: tuple[Rung, ...] = get_args(Rung)
OF_TRAINS: tuple[Rung, ...] = ("replayed", "independent", "shuffled", "poisson")  # one program serves these

# Trains that stand for one of the rung "smooth": each is a copy shifted on its own, with the weight over the root of
# their number, half of them with the other sign. Spectrum and variance stay, the third moment of the jumps vanishes and
# what the fourth has more than noise is divided by their number.
COPIES = 8
JUMPS_A_STEP = 25.0  # mean number, in a step, of the small jumps that stand for noise that synapses filter


def require_plain(circuit: Circuit) -> None:
    """Raise a `TypeError` unless a circuit is of LIF neurons with delta and exponential synapses that do not change."""
    for population in circuit.neurons:
        if not isinstance(population.neuron, LIFParameters):
            raise TypeError(
                f"the neurons of {population.name!r} are of the type {type(population.neuron).__name__}: surrogates "
                "and error budgets are for leaky integrate-and-fire neurons (LIFParameters). `compare` is for all"
            )
    # Delta and exponential synapses are kept as `tau_syn` alone.
    jumping = [(str(d), j.synapse, None) for d in circuit.drives for j in d.cumulants(None).jumps]
    for name, synapse, rules in [(str(p), p.synapse, p.plasticity) for p in circuit.projections] + jumping:
        if rules or synapse is not None:
            kind = "synapses that change" if rules else f"{type(synapse).__name__} synapses"
            raise TypeError(
                f"{name} has {kind}: surrogates and error budgets are for delta and exponential synapses (`tau_syn`)"
            )


class RecordedTrains(NamedTuple):
    """Spikes of a simulation after its warm-up, train after train, in steps."""

    step: Int64  # (spike,), from 0 on
    row_size: Int64  # (presentation, neuron)
    steps: int  # length

    @property
    def rows(self) -> Int64:
        """The train of every spike, counted through all presentations."""
        return np.repeat(np.arange(self.row_size.size), self.row_size.ravel())

    @property
    def rates(self) -> Array:
        """Mean spikes a step, (presentation, neuron)."""
        return self.row_size / self.steps


def recorded_trains(simulation: xr.DataTree, dt: float) -> RecordedTrains:
    """Return the trains of a simulation, presentations one after the other: all trials of a stimulus, then the next.

    Parameters
    ----------
    simulation : DataTree
        With the spikes of all neurons.
    dt : float
        Its time step, ms.

    Raises
    ------
    ValueError
        If it has no spikes.
    """
    if "spikes" not in simulation.children:
        raise ValueError(
            f"the simulation must hold its spikes, it has {', '.join(simulation.children) or 'no groups'}: simulate "
            "without `record`"
        )
    spikes = simulation["spikes"].to_dataset()
    sizes = spikes["row_size"].transpose(..., "trial", "neuron").values.astype(np.int64)
    sizes = sizes.reshape(-1, sizes.shape[-1])
    step = np.floor(1e3 * spikes["spike_time"].values / dt + 1e-6).astype(np.int64)
    row = np.repeat(np.arange(sizes.size), sizes.ravel())
    after = step >= 0
    kept = np.bincount(row[after], minlength=sizes.size).reshape(sizes.shape)
    return RecordedTrains(step[after], kept, int(count_steps(1e3 * float(spikes.attrs["duration"]), dt, "duration")))


def shifted(given: RecordedTrains, rng: np.random.Generator) -> RecordedTrains:
    """Return the trains, each shifted in time on its own; what leaves the end comes in at the beginning."""
    shift = rng.integers(given.steps, size=given.row_size.size)
    return given._replace(step=(given.step + shift[given.rows]) % given.steps)


def shuffled(given: RecordedTrains, rng: np.random.Generator) -> RecordedTrains:
    """Return the trains, each with its intervals in another order and from another time on.

    The last interval is that around the end, so that the rate stays.
    """
    rows = given.rows
    order = np.lexsort((given.step, rows))
    step, last = given.step[order], np.cumsum(given.row_size.ravel()) - 1
    following = np.append(step[1:], 0)
    filled = given.row_size.ravel() > 0
    first = step[(last - given.row_size.ravel() + 1)[filled]]
    following[last[filled]] = first + given.steps
    interval = following - step
    interval = interval[np.lexsort((rng.random(len(step)), rows))]
    total = np.cumsum(interval)
    before = np.repeat((total - interval)[(last - given.row_size.ravel() + 1)[filled]], given.row_size.ravel()[filled])
    begin = rng.integers(given.steps, size=given.row_size.size)
    return given._replace(step=(total - before + begin[rows]) % given.steps)


def poisson(given: RecordedTrains, rng: np.random.Generator, groups: int) -> RecordedTrains:
    """Return trains that fire in every step with the same probability, that of the mean over a group's presentations.

    The places of a Poisson number of points, of the mean ``-ln(1 - p)`` a step, are steps of that probability p.
    """
    shape = given.row_size.shape
    p = given.rates.reshape(groups, -1, shape[1]).mean(1, keepdims=True)
    mean = np.broadcast_to(-np.log1p(-p) * given.steps, (groups, shape[0] // groups, shape[1])).reshape(shape)
    number = rng.poisson(mean)
    row = np.repeat(np.arange(number.size), number.ravel())
    place = np.unique(row * np.int64(given.steps) + rng.integers(given.steps, size=len(row)))
    row, step = np.divmod(place, given.steps)
    return RecordedTrains(step, np.bincount(row, minlength=number.size).reshape(shape), given.steps)


def repeated(given: RecordedTrains, copies: int) -> RecordedTrains:
    """Return every train several times, the copies of all neurons one set after the other."""
    stop = np.cumsum(given.row_size.ravel()).reshape(given.row_size.shape)
    parts = [given.step[stop[k, 0] - given.row_size[k, 0] : stop[k, -1]] for k in range(len(stop))]
    steps = [np.tile(part, copies) for part in parts]
    return RecordedTrains(np.concatenate([*steps, np.zeros(0, np.int64)]), np.tile(given.row_size, copies), given.steps)


class NoiseInput(NamedTuple):
    """Input of all neurons as noise, for one stimulus; arrays of shape (neuron,)."""

    mean: Array  # mV/ms
    variance: Array  # white: of drives, and of jumps that no synapse filters, mV²/ms
    filtered: Mapping[float, Array]  # variance by the time constant of the synapses, ms
    loadings: Mapping[str, Array]  # of noise that neurons share, by population
    jumps: Array  # the part of `mean` that spikes bring


def noise_input(circuit: Circuit, rate: Array, dt: float, *, recurrent: bool = True) -> NoiseInput:
    """Return mean and variance of what the neurons of a circuit receive, all trains taken for Poisson trains.

    Parameters
    ----------
    circuit : Circuit
        With one stimulus.
    rate : ndarray, shape (neuron,)
        At which the neurons fire, 1/ms.
    dt : float
        Time step, ms.
    recurrent : bool
        Whether to count what the neurons send each other.
    """
    n = circuit.n_neurons
    wired = wire(circuit, dt)
    outside = [trains(source, dt) for source in circuit.sources]
    rates, spreads = (
        np.concatenate([np.zeros(0), *values]) for values in ([t.rate for t in outside], [t.variance for t in outside])
    )
    jumps, own = np.zeros(n), np.zeros(n)
    by_time: dict[float, Array] = {}
    senders = [(wired.sources, rates, spreads)]
    if recurrent:
        senders.append((wired.recurrent, rate, rate * (1 - rate * dt)))  # at most one spike a step
    for wiring, mean, spread in senders:
        for c in wiring.connections:
            jumps[c.rows] += c.dot(mean[c.columns])
            by_time.setdefault(float(c.tau_s), np.zeros(n))[c.rows] += c.squared_dot(spread[c.columns])
    mean = np.zeros(n)
    loadings: dict[str, Array] = {}
    for drive in circuit.drives:
        place, stated = circuit.slices()[drive.target], drive.cumulants(dt)
        population = circuit.population(drive.target)
        assert isinstance(population, Population)
        mean[place] += stated.mean
        own[place] += stated.variance
        if stated.loadings is not None:
            known = [loadings[drive.target]] if drive.target in loadings else []
            loadings[drive.target] = np.concatenate([*known, np.asarray(stated.loadings)], axis=1)
        for train in stated.jumps:
            size = train.weight * charge(train.synapse_model, population, dt)
            jumps[place] += size * train.rate
            tau = float(filter_time(train.synapse_model))
            by_time.setdefault(tau, np.zeros(n))[place] += size**2 * train.rate
    white = own + by_time.pop(0.0, np.zeros(n))
    return NoiseInput(mean + jumps, white, by_time, loadings, jumps)


@dataclass(frozen=True, eq=False)
class Replay:
    """A simulation whose neurons can be simulated again, apart from the circuit.

    Parameters
    ----------
    circuit : Circuit
        Of leaky integrate-and-fire neurons with delta or exponential synapses.
    simulation : DataTree
        Of all its neurons, with spikes.
    window : float
        Windows in which spikes are counted, ms.
    seed : int
        Of all that is drawn.
    codegen : {"cpp_standalone", "runtime"}
        As of `simulate`.

    Raises
    ------
    TypeError
        If the circuit has other neurons, or synapses of other kinds or that change.
    ValueError
        If the simulation is of another circuit or has no spikes.
    """

    circuit: Circuit
    simulation: xr.DataTree
    window: float
    seed: int
    codegen: Codegen = "cpp_standalone"

    def __post_init__(self) -> None:
        require_plain(self.circuit)
        made, own = self.simulation.attrs.get("circuit_hash"), self.circuit.hash()
        if made is not None and made != own:
            raise ValueError(
                f"the simulation is of another circuit (hash {str(made)[:12]}, that of `circuit` is {own[:12]}): "
                "simulate this one"
            )
        count_steps(self.window, self.dt, "window")

    @property
    def dt(self) -> float:
        """Time step, ms."""
        return round(1e3 * float(self.simulation.attrs["dt"]), 9)

    @property
    def duration(self) -> float:
        """Time of a presentation, ms."""
        return round(1e3 * float(self.simulation.attrs["duration"]), 9)

    @property
    def warmup(self) -> float:
        """Time before, ms; the trains of the warm-up are those of the end, so that it is never longer."""
        return min(round(1e3 * float(self.simulation.attrs["warmup"]), 9), self.duration)

    @property
    def trials(self) -> int:
        """Presentations of each stimulus."""
        return int(self.simulation.attrs["trials"])

    @property
    def stimuli(self) -> int:
        """Number of stimuli, 1 where the circuit has none."""
        return self.circuit.n_stimuli or 1

    @cached_property
    def single(self) -> list[Circuit]:
        """The circuit with each of its stimuli."""
        return (
            [self.circuit] if self.circuit.n_stimuli is None else [self.circuit.select(k) for k in range(self.stimuli)]
        )

    @cached_property
    def trains(self) -> RecordedTrains:
        """Trains of all presentations."""
        return recorded_trains(self.simulation, self.dt)

    @cached_property
    def rate(self) -> Array:
        """Mean rates, (stimulus, neuron), 1/ms."""
        found: Array = self.trains.rates.reshape(self.stimuli, self.trials, -1).mean(1) / self.dt
        return found

    @cached_property
    def sending(self) -> list[str]:
        """Names of the populations of neurons that others receive."""
        names = {p.source for p in self.circuit.projections}
        return [p.name for p in self.circuit.neurons if p.name in names]

    @property
    def filtered(self) -> bool:
        """Whether some synapse filters what it receives."""
        return self.circuit.has_exponential_synapses

    @property
    def jumping(self) -> bool:
        """Whether any neuron receives spikes at all."""
        return bool(self.circuit.projections) or any(d.cumulants(self.dt).jumps for d in self.circuit.drives)

    @cached_property
    def noise(self) -> list[NoiseInput]:
        """Input as noise at the simulated rates, of each stimulus."""
        return [noise_input(c, r, self.dt) for c, r in zip(self.single, self.rate, strict=True)]

    def simulated(self) -> Array:
        """Return the counts of the simulation itself, (stimulus, trial, window, neuron)."""
        steps = int(count_steps(self.window, self.dt, "window"))
        given, number = self.trains, self.trains.steps // steps
        if not number:
            raise ValueError(f"`window` must be at most `duration`, {self.duration:g} ms, got {self.window:g} ms")
        bins = given.step // steps
        inside = bins < number
        flat = np.bincount(given.rows[inside] * number + bins[inside], minlength=given.row_size.size * number)
        table = flat.reshape(self.stimuli, self.trials, given.row_size.shape[1], number)
        return np.moveaxis(table, -1, -2).astype(np.float64)

    def counts(self, rung: Rung) -> Array:
        """Return the counts of the neurons on a rung, (stimulus, trial, window, neuron)."""
        if rung in ("noise", "white"):
            return self._run(self._with_noise(white=rung == "white"), per_trial=False)
        if not self.sending:  # nothing but Poisson trains comes in, which are their own surrogates
            return self.counts("noise") if rung == "smooth" else self._run(self.circuit, per_trial=False)
        rng = np.random.default_rng([self.seed, RUNGS.index(rung)])
        if rung == "smooth":
            return self._run(self._smooth(rng), per_trial=True)
        given = self.trains
        if rung == "independent":
            given = shifted(given, rng)
        elif rung == "shuffled":
            given = shuffled(given, rng)
        elif rung == "poisson":
            given = poisson(given, rng, self.stimuli)
        return self._run(self._replaying(given), per_trial=True)

    def _run(self, circuit: Circuit, *, per_trial: bool) -> Array:
        """Simulate a circuit in which each presentation is a stimulus of its own, or stimuli have trials."""
        result = simulate(
            circuit,
            self.duration,
            1 if per_trial else self.trials,
            warmup=self.warmup,
            dt=self.dt,
            seed=self.seed,
            record=Counts(bin=self._bin),
            covariance=False,
            codegen=self.codegen,
        )
        table = result["counts/count"].transpose(..., "trial", "time", "neuron").values
        table = table.reshape(self.stimuli, self.trials, -1, table.shape[-1])
        joined = round(self.window / self._bin)
        whole = table.shape[2] // joined * joined
        shape = (self.stimuli, self.trials, whole // joined, joined, table.shape[-1])
        return np.asarray(table[:, :, :whole].reshape(shape).sum(3), dtype=np.float64)

    @cached_property
    def _bin(self) -> float:
        """Longest bin, ms, of which window and duration are whole numbers."""
        window, duration = (int(count_steps(t, self.dt, "window")) for t in (self.window, self.duration))
        return float(np.gcd(window, duration)) * self.dt

    def _presented(self) -> Circuit:
        """Return the circuit in which every presentation is a stimulus."""
        if self.circuit.n_stimuli is None:
            return self.circuit
        return self.circuit.select(np.repeat(np.arange(self.stimuli), self.trials))

    def _source(self, given: RecordedTrains, name: str, place: slice, copies: int = 1) -> SpikeSource:
        """Return a population's trains as a source; the warm-up is what comes before the end."""
        n, size = self.circuit.n_neurons, place.stop - place.start
        lead = int(count_steps(self.warmup, self.dt, "warmup")) if self.warmup else 0
        stop = np.cumsum(given.row_size.sum(1))
        times, indices = [], []
        for k, end in enumerate(stop):
            step = given.step[end - given.row_size[k].sum() : end]
            copy, neuron = np.divmod(np.repeat(np.arange(given.row_size.shape[1]), given.row_size[k]), n)
            own = (neuron >= place.start) & (neuron < place.stop)
            step, element = step[own], copy[own] * size + neuron[own] - place.start
            before = step >= given.steps - lead
            times.append((np.concatenate([step[before] - given.steps, step]) + 0.5) * self.dt)
            indices.append(np.concatenate([element[before], element]))
        return SpikeSource(trains_of(name), times, indices, size * copies)

    def _replaying(self, given: RecordedTrains) -> Circuit:
        """Return the circuit whose neurons receive given trains instead of each other's."""
        circuit, places = self._presented(), self.circuit.slices()
        sources = [self._source(given, name, places[name]) for name in self.sending]
        projections = []
        for own, p in zip(self.circuit.projections, circuit.projections, strict=True):
            name = trains_of(p.source) if p.source in self.sending else p.source
            realised: dict[str, Any] = {"weights": self.circuit.matrix(own), "weight": None, "connectivity": None}
            projections.append(replace(p, source=name, delay=self.circuit.delays(own), **realised))
        return replace(circuit, populations=[*circuit.populations, *sources], projections=projections, readout=None)

    def _smooth(self, rng: np.random.Generator) -> Circuit:
        """Return the circuit with trains of the same spectrum whose jumps are small and of both signs."""
        places = self.circuit.slices()
        given = shifted(repeated(self.trains, COPIES), rng)
        sources = [self._source(given, name, places[name], COPIES) for name in self.sending]
        signs = np.where(np.arange(COPIES) % 2, -1.0, 1.0) / np.sqrt(COPIES)
        projections = []
        for own in self.circuit.projections:
            if own.source not in self.sending:
                continue
            matrix = self.circuit.matrix(own)
            if isinstance(matrix, ModeMatrix):
                matrix = matrix.to_dense()
            stack = np.hstack if isinstance(matrix, np.ndarray) else (lambda m: sparse.csr_array(sparse.hstack(m)))
            realised: dict[str, Any] = {
                "weights": stack([s * matrix for s in signs]),
                "weight": None,
                "connectivity": None,
            }
            projections.append(replace(own, source=trains_of(own.source), delay=0.0, **realised))
        sent = [noise_input(c, r, self.dt, recurrent=False) for c, r in zip(self.single, self.rate, strict=True)]
        # The trains of both signs bring no mean: all of it comes from the drive.
        parts = [s._replace(mean=whole.mean) for s, whole in zip(sent, self.noise, strict=True)]
        drives = self._drives(parts, white=False, repeat=self.trials)
        return Circuit([*sources, *self.circuit.neurons], projections, drives)

    def _with_noise(self, *, white: bool) -> Circuit:
        """Return the neurons alone, with noise instead of spikes."""
        return Circuit(list(self.circuit.neurons), drives=self._drives(self.noise, white=white))

    def _drives(self, parts: list[NoiseInput], *, white: bool, repeat: int = 1) -> list[Any]:
        """Return the drives that give noise to all populations, through the filters of synapses unless `white`."""
        drives: list[Any] = []
        several = self.circuit.n_stimuli is not None

        def stacked(values: Iterable[Array]) -> Array:
            found = list(values)
            return np.repeat(np.array(found), repeat, axis=0) if several else found[0]

        for name, place in self.circuit.slices().items():
            filtered = [sum((v[place] for v in p.filtered.values()), np.zeros(place.stop - place.start)) for p in parts]
            variance = [p.variance[place] + (f if white else 0.0) for p, f in zip(parts, filtered, strict=True)]
            factor = stacked(p.loadings[name] for p in parts) if name in parts[0].loadings else None
            mean = stacked(p.mean[place] for p in parts)
            drives.append(GaussianDrive(name, mean, np.sqrt(stacked(variance)), factor))
            for tau in () if white else sorted({t for p in parts for t in p.filtered}):
                spread = stacked(p.filtered.get(tau, np.zeros(self.circuit.n_neurons))[place] for p in parts)
                if spread.any():
                    size = float(np.sqrt(spread.max() * self.dt / (2 * JUMPS_A_STEP)))
                    drives += [PoissonDrive(name, spread / (2 * size**2), w, tau) for w in (size, -size)]
        return drives


def trains_of(name: str) -> str:
    """Return the name of the source that replays a population."""
    return f"trains of {name}"
