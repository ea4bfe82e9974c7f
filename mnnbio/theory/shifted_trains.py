"""Input of surrogate neurons that is made of their own trains, each shifted in time at random.

Jumps of their true size and the trains' own spectrum are then both right, and what is left out are correlations among
trains. The senders of each population are kept as jumps of one size for each sign: ``Σw²/Σw``, as many as have the same
sum of weights and of squares.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import fft, sparse
from scipy.signal import lfilter

from mnnbio.circuit import Circuit, ModeMatrix, Projection
from mnnbio.moments import NeuronTensors, shifted_sum
from mnnbio.theory.inputs import QUANTILES, drive_input, received_sums, sums
from mnnbio.theory.population_theory import System
from mnnbio.values import Distribution

Array = npt.NDArray[np.float64]
Spikes = npt.NDArray[np.uint8]
Currents = list[npt.NDArray[np.float32]]

PART = 0.2  # of the trains of a sender, which are taken away or added to see what their fluctuations do


class Jumps(NamedTuple):
    """Trains of jumps of one size into a neuron."""

    number: float
    weight: float  # mV


class Way(NamedTuple):
    """Trains from one sender into the neurons of a population."""

    row: int
    column: int  # -1: from outside
    squares: float  # of the weights, mV²
    jumps: tuple[Jumps, ...]
    tau_syn: float  # ms
    rate: float = 0.0  # of trains from outside, 1/ms
    spread: float = 0.0  # variance of these per time, 1/ms


class Senders(NamedTuple):
    """All that the populations of a circuit receive besides means."""

    inside: tuple[Way, ...]
    outside: tuple[Way, ...]
    white: Array  # variance of the white noise from outside, (population,), mV²/ms

    def alike(self, row: int, other: int) -> bool:
        """Return whether two populations receive the same."""

        def of(place: int) -> list[Way]:
            return sorted(way._replace(row=0) for way in (*self.inside, *self.outside) if way.row == place)

        return bool(self.white[row] == self.white[other]) and of(row) == of(other)


class TrainInput(NamedTuple):
    """Where the trains come from of which input is made; the same numbers at every call."""

    senders: Senders
    pools: tuple[Spikes, ...]  # of each population, (train, step)
    chances: tuple[Array, ...]  # with which each train is taken
    owner: npt.NDArray[np.int64]  # population of the neurons that receive
    records: tuple[int, ...]  # of each of them
    louder: Array  # factor of the noise from outside
    factors: npt.NDArray[np.float32] | None  # root of what trains share, (population, frequency)
    dt: float
    seed: tuple[int, int]

    def currents(self) -> Currents:
        """Return the fluctuating inputs, (record, step) of each neuron, mV/ms."""
        found, steps = [], self.pools[0].shape[1]
        for k, owner in enumerate(self.owner):
            records = np.empty((self.records[k], steps), np.float32)
            for place, record in enumerate(records):
                parts: dict[float, npt.NDArray[np.float32]] = {}  # by synaptic time constant
                for at, way in enumerate(self.senders.inside):
                    if way.row == owner:
                        part = parts.setdefault(way.tau_syn, np.zeros(steps, np.float32))
                        part += self._trains(k, place, at, taken=False) + self._trains(k, place, at, taken=True)
                for at, way in enumerate(self.senders.outside):
                    if way.row == owner:
                        rng = np.random.default_rng((*self.seed, 3, k, place, at))
                        part = parts.setdefault(way.tau_syn, np.zeros(steps, np.float32))
                        for number, weight in way.jumps:
                            mean = number * way.rate * self.dt
                            scale = np.float32(weight * np.sqrt(self.louder[k]))
                            part += scale * (_poisson(rng, mean, steps) - np.float32(mean))
                record[:] = self._filtered(parts)
                white = self.senders.white[owner] * self.louder[k]
                if white > 0:
                    rng = np.random.default_rng((*self.seed, 4, k, place))
                    record += rng.standard_normal(steps, dtype=np.float32) * np.float32(np.sqrt(white / self.dt))
                if self.factors is not None:
                    transform = fft.rfft(record, workers=1) * self.factors[owner]
                    record[:] = fft.irfft(transform, steps, workers=1)
            found.append(records)
        return found

    def part(self, column: int) -> Currents:
        """Return the fluctuations that a part of the trains of one sender bring, which `currents` contain."""
        found, steps = [], self.pools[0].shape[1]
        for k, owner in enumerate(self.owner):
            records = np.zeros((self.records[k], steps), np.float32)
            ways = [(at, w) for at, w in enumerate(self.senders.inside) if w.row == owner and w.column == column]
            for place, record in enumerate(records):
                for at, way in ways:
                    record += self._filtered({way.tau_syn: self._trains(k, place, at, taken=True)})
            found.append(records)
        return found

    def component(self, k: int, record: int, at: int) -> npt.NDArray[np.float32]:
        """Return the fluctuations that the trains of one way bring to one record, mV/ms."""
        total = self._trains(k, record, at, taken=False) + self._trains(k, record, at, taken=True)
        return self._filtered({self.senders.inside[at].tau_syn: total})

    def taken(self, row: int, column: int, rate: float) -> float:
        """Return the variance per time of what `part` returns, mV²/ms."""
        ways = [w for w in self.senders.inside if w.row == row and w.column == column]
        return sum(
            rate * weight**2 * number * _part(number)[0] / sum(_part(number))
            for w in ways
            for number, weight in w.jumps
        )

    def _trains(self, k: int, record: int, at: int, *, taken: bool) -> npt.NDArray[np.float32]:
        """Return the jumps of one way, mV, without their mean: of the part that can be taken away, or of the others."""
        way, steps = self.senders.inside[at], self.pools[0].shape[1]
        rng = np.random.default_rng((*self.seed, int(taken), k, record, at))
        total = np.zeros(steps, np.float32)
        for number, weight in way.jumps:
            few, others = _part(number)
            count = few if taken else others
            if count == 0:
                continue
            which = rng.choice(len(self.pools[way.column]), count, p=self.chances[way.column])
            added = shifted_sum(self.pools[way.column], which, rng.integers(0, steps, count)).astype(np.float32)
            total += np.float32(weight * np.sqrt(number / (few + others))) * (added - added.mean(dtype=np.float64))
        return total

    def _filtered(self, parts: dict[float, npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
        """Return jumps (mV in each step) as currents (mV/ms) through the synapses."""
        record = np.zeros(self.pools[0].shape[1], np.float32)
        for tau, part in parts.items():
            if tau > 0:
                left = np.exp(-self.dt / tau)
                record += (lfilter([1 - left], [1, -left], part.astype(float)) / self.dt).astype(np.float32)
            else:
                record += part * np.float32(1 / self.dt)
        return record


def senders(circuit: Circuit, system: System, dt: float) -> Senders:
    """Return what the populations of a circuit receive, by its senders."""
    names, sources = system.names, [s.name for s in circuit.sources]
    inside, outside, white = [], [], np.zeros(len(names))
    for projection in circuit.projections:
        row, tau = names.index(projection.target), float(projection.tau_syn)
        found = received_sums(circuit, projection, dt)
        if found.squares == 0:
            continue
        jumps = _of_projection(circuit, projection, dt)
        if projection.source in names:
            inside.append(Way(row, names.index(projection.source), found.squares, jumps, tau))
        else:
            k = sources.index(projection.source)
            rates = float(system.source_rate[k]), float(system.source_spread[k])
            outside.append(Way(row, -1, found.squares, jumps, tau, *rates))
    for drive in circuit.drives:
        row, given = names.index(drive.target), drive_input(circuit, drive, dt)
        white[row] += float(np.mean(given.variance))
        if given.loadings is not None:
            white[row] += float((given.loadings**2).sum(-1).mean())
        for train in given.jumps:
            size, rate = float(np.mean(train.size)), float(np.mean(train.rate))
            if size and rate:
                squares = float(np.mean(train.moment(2))) / rate
                outside.append(Way(row, -1, squares, (Jumps(1.0, size),), train.tau_syn, rate, rate))
    return Senders(tuple(inside), tuple(outside), white)


def jump_size(given: Senders, lif: NeuronTensors) -> float:
    """Return the largest jump through delta synapses, over the distance from reset to threshold."""
    span = float((lif.v_th - lif.v_reset).min())
    ways = [way for way in (*given.inside, *given.outside) if way.tau_syn == 0]
    return max((abs(weight) for way in ways for _, weight in way.jumps), default=0.0) / span


def train_input(
    given: Senders,
    spikes: list[Spikes],
    owner: npt.NDArray[np.int64],
    share: Array,
    kind: npt.NDArray[np.int64],
    *,
    louder: Array,
    factors: Array | None,
    dt: float,
    seed: tuple[int, int],
) -> TrainInput:
    """Return input that is made of the spikes of neurons that stand for populations.

    Parameters
    ----------
    given : Senders
    spikes : list of ndarray
        Of each neuron that stands, (record, step).
    owner, share : ndarray, shape (neuron,)
        Population of each, and its share of that.
    kind : ndarray, shape (population,)
        The population whose neurons stand for each one.
    louder : ndarray, shape (neuron,)
    factors : ndarray, shape (population, frequency), optional
    dt : float
    seed : tuple of int
    """
    pools, chances = [], []
    for row in kind:
        own = np.flatnonzero(owner == row)
        pools.append(np.concatenate([spikes[k] for k in own]))
        chances.append(np.concatenate([np.full(len(spikes[k]), share[k] / len(spikes[k])) for k in own]))
    root = None if factors is None else np.sqrt(factors).astype(np.float32)
    records = tuple(len(s) for s in spikes)
    return TrainInput(given, tuple(pools), tuple(chances), owner, records, louder, root, dt, seed)


def _part(number: float) -> tuple[int, int]:
    """Return how many of a number of trains can be taken away, and how many stay."""
    count = max(1, round(number))
    few = max(1, round(PART * count)) if count > 1 else 0
    return few, count - few


def _poisson(rng: np.random.Generator, mean: float, steps: int) -> npt.NDArray[np.float32]:
    """Return Poisson counts; of small means by the times of all events, which is faster."""
    if mean > 0.5:
        return rng.poisson(mean, steps).astype(np.float32)
    events = rng.integers(0, steps, rng.poisson(mean * steps))
    return np.bincount(events, minlength=steps).astype(np.float32)


def _of_projection(circuit: Circuit, projection: Projection, dt: float) -> tuple[Jumps, ...]:
    counted, plain = received_sums(circuit, projection, dt), sums(circuit, projection)
    factor = float(np.sqrt(counted.squares / plain.squares))
    weights: Any
    if projection.connectivity is None:
        if isinstance(projection.weights, ModeMatrix):  # of either sign
            number = circuit.population(projection.source).size / 2
            size = factor * float(np.sqrt(plain.squares / (2 * number)))
            return Jumps(number, size), Jumps(number, -size)
        weights = projection.weights
        values, each = np.ravel(weights.data if sparse.issparse(weights) else weights), 1 / weights.shape[0]
    elif isinstance(projection.weight, Distribution):
        values = projection.weight.quantiles(QUANTILES)
        each = plain.squares / float((values**2).sum())
    else:
        return (Jumps(plain.squares / projection.weight**2, factor * float(projection.weight)),)
    found = []
    for sign in (1, -1):
        own = values[values * sign > 0]
        if len(own):
            total, squares = float(own.sum()), float((own**2).sum())
            found.append(Jumps(total**2 / squares * each, factor * squares / total))
    return tuple(found)
