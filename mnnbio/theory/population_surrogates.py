"""Surrogate neurons that stand for the populations of a circuit: their noise, input, spikes, rates and spectra.

The noise is the same at every call, which makes rates smooth functions of what the neurons receive.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
import torch
from scipy import fft

from mnnbio.circuit import Circuit
from mnnbio.machine import check_choice
from mnnbio.moments import (
    NeuronTensors,
    frequencies,
    gaussian_transforms,
    lif_spikes,
    spectral_bands,
    synaptic_filter,
    wide_bands,
)
from mnnbio.theory.collective import Wires, interpolated, wires
from mnnbio.theory.population_theory import population_system, quenched_variance, solve
from mnnbio.theory.shifted_trains import Senders, senders
from mnnbio.units import in_unit

Array = npt.NDArray[np.float64]
Complex = npt.NDArray[np.complex128]
Spikes = npt.NDArray[np.uint8]
Currents = list[npt.NDArray[np.float32]]  # of each neuron that stands, (record, step), mV/ms

REPRESENTATIVES, LEAST_PAIRS = 12, 4  # neurons that stand for a population whose neurons differ, and records of each
GROUPS = 4  # of records, over which standard errors are taken
TOLERANCE = 1e-3  # relative change of rates at which they are found
RESPONSE_BAND, RESPONSE_FACTOR = 5.0, 1.15  # Hz, widths of the bands in which the response to the mean is taken

Input = Literal["gaussian", "trains", "synapses"]


@dataclass(frozen=True, kw_only=True)
class Surrogates:
    """Options of the simulated neurons from which the closure "self_consistent" takes rates, spectra and responses.

    Parameters
    ----------
    input : {"gaussian", "trains", "synapses"}, optional
        What they receive: Gaussian input of the self-consistent spectrum; or each other's trains, shifted in time,
        which keeps the size of single jumps; or such trains through the synapses of the circuit, simulated by the
        engine, for any neurons. By default the last one for all but LIF neurons with delta and exponential synapses,
        and of these the second one where a jump is larger than 2 % of the distance from reset to threshold.
    pairs : int
        Records of each population, each with its opposite.
    duration : float or Quantity
        Of a record, ms; the next power of 2 of time steps is taken. A tenth of the errors takes a hundred times the
        product of both.
    seed : int
        Of the noise.
    accuracy : float, optional
        Relative standard error of rates that is asked for. A warning says how many pairs would reach it.
    """

    input: Input | None = None
    pairs: int = 24
    duration: Any = 13_000.0
    seed: int = 0
    accuracy: float | None = None

    def __post_init__(self) -> None:
        if self.input is not None:
            check_choice("input", self.input, list(get_args(Input)))
        duration = in_unit(self.duration, "ms", "duration")
        if isinstance(self.pairs, bool) or not isinstance(self.pairs, int) or self.pairs < GROUPS:
            raise ValueError(f"`pairs` must be a whole number ≥ {GROUPS}, got {self.pairs!r}")
        if not (isinstance(duration, float) and np.isfinite(duration) and duration > 0):
            raise ValueError(f"`duration` must be a single time > 0 ms, got {self.duration!r}")
        if self.accuracy is not None and not 0 < self.accuracy < 1:
            raise ValueError(f"`accuracy` must be a relative error between 0 and 1, got {self.accuracy!r}")
        object.__setattr__(self, "duration", duration)

    def longest_window(self, dt: Any) -> float:
        """Return the longest counting window for which records are long enough, ms."""
        step = None if dt is None else in_unit(dt, "ms", "dt")
        return self.steps(step) * step / 4 if isinstance(step, float) and step > 0 else np.inf

    def steps(self, dt: float) -> int:
        """Return the number of time steps (ms) of a record."""
        return 2 ** max(10, int(np.ceil(np.log2(self.duration / dt))))


class Stand(NamedTuple):
    """Neurons that stand for the populations."""

    kind: npt.NDArray[np.int64]  # the population whose neurons stand for each one; equal ones share them
    nodes: npt.NDArray[np.int64]  # of the system
    owner: npt.NDArray[np.int64]  # population of each
    share: Array  # of its population
    pairs: npt.NDArray[np.int64]  # records of each, each with its opposite
    lif: NeuronTensors  # as arrays

    def average(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return averages over populations of values of the neurons, the first axis."""
        members = (self.owner == self.kind[:, None]) * self.share
        return np.asarray(np.tensordot(members, values, axes=1))


class Received(NamedTuple):
    """Spectrum that a population receives, by its senders."""

    squares: dict[float, Array]  # of weights from populations by synaptic time constant, (population, population), mV²
    outside: Array  # spectrum of the input from outside, (population, frequency), mV²/ms


def received(circuit: Circuit, given: Senders, steps: int, dt: float, size: int) -> Received:
    """Return what the populations of a circuit receive."""
    f = frequencies(steps, dt)
    squares: dict[float, Array] = {}
    outside = given.white[:, None] * np.ones_like(f)
    for way in given.inside:
        squares.setdefault(way.tau_syn, np.zeros((size, size)))[way.row, way.column] += way.squares
    for way in given.outside:
        outside[way.row] += way.squares * way.spread * np.abs(synaptic_filter(f, way.tau_syn, dt)) ** 2
    return Received(squares, outside)


class Circle:
    """Equations of the populations on the same noise at every call.

    Parameters
    ----------
    circuit : Circuit
        Of leaky integrate-and-fire neurons, with one stimulus.
    dt : float
        Time step, ms.
    surrogates : Surrogates
    start : ndarray, shape (population,), optional
        Rates to start from, 1/ms.
    """

    def __init__(self, circuit: Circuit, dt: float, surrogates: Surrogates, start: Array | None = None) -> None:
        self.dt, self.steps, self.seed = dt, surrogates.steps(dt), surrogates.seed
        self.system = population_system(circuit, dt)
        self.diffusion = solve(self.system, "poisson", dt, start)
        size = len(self.system.sizes)
        self.senders = senders(circuit, self.system, dt)
        self.given = received(circuit, self.senders, self.steps, dt, size)
        self.bands, self.wide = spectral_bands(self.steps, dt), wide_bands(self.steps, dt)
        self.between = spectral_bands(self.steps, dt, factor=RESPONSE_FACTOR, linear=RESPONSE_BAND, width=RESPONSE_BAND)
        self.frequency = frequencies(self.steps, dt)
        self.wires: Wires = wires(circuit, self.system, self.bands.frequency, dt)
        self.tau_syn = tuple(sorted(self.given.squares)) or (0.0,)
        self.filters = {tau: np.abs(synaptic_filter(self.frequency, tau, dt)) ** 2 for tau in self.tau_syn}
        self.stand = self._stand(surrogates.pairs)
        nodes = self.system.nodes
        own = nodes.variance[self.stand.nodes]
        average = self.stand.average(own)[self.stand.owner]
        # Neurons of a population that receive more noise from outside than others receive more at all frequencies.
        self.louder = np.where(average > 0, own / np.where(average > 0, average, 1.0), 1.0)
        self.scale = max(1e-6, float(self.diffusion.rate.max()))
        self.coupled = bool(self.given.squares)
        self.shared = np.ones((size, len(self.bands.frequency)))
        ones = np.ones(len(self.frequency))
        self.white = [
            [
                gaussian_transforms(ones, dt, np.random.default_rng((self.seed, int(owner), k, pair))).astype(
                    np.complex64
                )
                for pair in range(self.stand.pairs[k])
            ]
            for k, owner in enumerate(self.stand.owner)
        ]

    def means(self, rate: Array, spread: Array) -> Array:
        """Return the mean inputs of the neurons that stand for the populations, mV/ms."""
        system, chosen = self.system, self.stand.nodes
        mean = system.recurrent.total @ rate + system.sources.total @ system.source_rate
        disorder = quenched_variance(system, rate, spread**2)
        offset = system.nodes.offset[chosen] * np.sqrt(disorder)[self.stand.owner]
        return np.asarray(system.nodes.mean[chosen] + mean[self.stand.owner] + offset)

    def private(self, train: Array) -> Array:
        """Return the spectra of inputs from independent trains of given spectra, (population, frequency)."""
        squares = self.given.squares
        return np.asarray(self.given.outside + sum(squares[tau] @ train * self.filters[tau] for tau in squares))

    def spectra(self, train: Array) -> Array:
        """Return the spectra of the inputs of populations, (population, frequency)."""
        return self.private(train) * self.full(self.shared)

    def noise(self, power: Array, counts: list[int]) -> list[Complex]:
        """Return the transforms of the fluctuating inputs of each neuron that stands, (pair, frequency)."""
        found = []
        for k, owner in enumerate(self.stand.owner):
            own = power[owner] + (self.louder[k] - 1) * self.given.outside[owner]
            found.append(np.sqrt(own).astype(np.float32) * np.stack(self.white[k][: counts[k]]))
        return found

    def counts(self, few: int = 1) -> list[int]:
        """Return the numbers of pairs of each neuron that stands, or about a part of them."""
        return [max(GROUPS, -(-len(own) // few)) for own in self.white]

    def currents(self, noise: list[Complex]) -> Currents:
        """Return the fluctuating inputs and their opposites."""
        found = []
        for own in noise:
            values = fft.irfft(own, self.steps, axis=1, workers=1).astype(np.float32)
            found.append(np.concatenate([values, -values]))
        return found

    def fire(self, mean: Array, currents: Currents) -> list[Spikes]:
        """Return the spikes of each neuron that stands, (record, step)."""
        parameters = self.stand.lif
        return [
            lif_spikes(m + own, NeuronTensors(*(value[k] for value in parameters)), self.dt)
            for k, (m, own) in enumerate(zip(mean, currents, strict=True))
        ]

    def rates(self, spikes: list[Spikes]) -> tuple[Array, Array]:
        """Return mean and standard deviation among neurons of the rates of populations, 1/ms."""
        own = np.array([s.mean() / self.dt for s in spikes])
        mean = self.stand.average(own)
        return mean, np.sqrt(np.maximum(self.stand.average(own**2) - mean**2, 0.0))

    def group_rates(self, spikes: list[Spikes]) -> Array:
        """Return the rates of populations in each group of records, (group, population), 1/ms."""
        own = []
        for s in spikes:
            place, each = groups(len(s)), s.mean(1) / self.dt
            own.append([each[place == g].mean() for g in range(GROUPS)])
        return np.asarray(self.stand.average(np.array(own)).T)

    def train_spectra(self, spikes: list[Spikes]) -> Array:
        """Return the spectra of trains in each group of records, (group, population, band), 1/ms."""
        own = []
        for s in spikes:
            place, each = groups(len(s)), np.empty((len(s), len(self.bands.frequency)))
            for values, train in zip(each, s, strict=True):
                values[:] = self.bands.average(np.abs(transformed(train)) ** 2) / (self.steps * self.dt)
            own.append([each[place == g].mean(0) for g in range(GROUPS)])
        return np.asarray(self.stand.average(np.array(own)).transpose(1, 0, 2))

    def full(self, banded: Array) -> Array:
        """Return spectra on the frequencies of the records from averages over bands."""
        return np.asarray(interpolated(self.frequency, self.bands.frequency, banded))

    def _stand(self, pairs: int) -> Stand:
        """Return neurons that stand for the populations: all nodes, or of many some of all parts of their rates."""
        system, rate = self.system, self.diffusion.node_rate
        lif = system.nodes.neurons.lif
        if lif is None:
            raise TypeError("self-consistent spectra are for leaky integrate-and-fire neurons (LIFParameters)")
        parameters = [
            np.broadcast_to(np.asarray(value, float), len(system.nodes.owner))
            for value in (lif.tau_m, lif.v_th, lif.v_reset, lif.t_ref)
        ]
        kind = self._kinds(parameters)
        chosen, shares, counts = [], [], []
        for row in np.unique(kind):
            own = np.flatnonzero(system.nodes.owner == row)
            share = system.nodes.weight[own]
            if len(own) > REPRESENTATIVES:
                own = _representatives(own, share, rate)
                share = np.full(REPRESENTATIVES, 1 / REPRESENTATIVES)
            chosen.append(own)
            shares.append(share)
            counts.append(np.maximum(LEAST_PAIRS, np.rint(pairs * share).astype(int)))
        nodes = np.concatenate(chosen)
        tensors = NeuronTensors(*(torch.from_numpy(value[nodes]) for value in parameters))
        return Stand(kind, nodes, system.nodes.owner[nodes], np.concatenate(shares), np.concatenate(counts), tensors)

    def _kinds(self, parameters: list[Array]) -> npt.NDArray[np.int64]:
        """Return for each population the first one that equals it in its neurons and in what they receive."""
        nodes, size = self.system.nodes, len(self.system.sizes)
        columns = [nodes.weight, nodes.offset, nodes.mean, nodes.variance, *parameters]
        recurrent, sources = self.system.recurrent, self.system.sources
        tables = [
            recurrent.total, recurrent.row_variance, sources.total, sources.row_variance, self.given.outside,
            *self.given.squares.values(),
        ]  # fmt: skip
        found = np.arange(size)
        for row in range(size):
            for other in range(row):
                here, there = nodes.owner == row, nodes.owner == other
                same = here.sum() == there.sum() and all(np.array_equal(c[here], c[there]) for c in columns)
                same = same and all(np.allclose(t[row], t[other], rtol=1e-12, atol=0) for t in tables)
                if same and self.senders.alike(row, other):
                    found[row] = other
                    break
        return found


def transformed(train: npt.NDArray[Any]) -> npt.NDArray[np.complex64]:
    """Return the transform of a record in single precision."""
    return np.asarray(fft.rfft(train.astype(np.float32), workers=1))


def _representatives(own: npt.NDArray[np.int64], share: Array, rate: Array) -> npt.NDArray[np.int64]:
    """Return nodes of rates nearest to the means of equal parts of a population, by rate."""
    order = np.argsort(rate[own], kind="stable")
    sorted_, above = own[order], np.cumsum(share[order])
    part = np.minimum((above - share[order] / 2) * REPRESENTATIVES, REPRESENTATIVES - 1e-9).astype(int)
    found = []
    for k in range(REPRESENTATIVES):
        members = np.flatnonzero(part == k)
        if not len(members):
            members = np.array([np.searchsorted(above, (k + 0.5) / REPRESENTATIVES)])
        weight = share[order][members]
        mean = rate[sorted_[members]] @ weight / weight.sum()
        found.append(sorted_[members[np.abs(rate[sorted_[members]] - mean).argmin()]])
    return np.array(found)


def groups(records: int) -> npt.NDArray[np.int64]:
    """Return the group of each record; a pair of opposites is in one."""
    return np.arange(records) % (records // 2) % GROUPS


def rate_errors(spikes: list[Spikes], dt: float) -> Array:
    """Return the standard errors of the rates of the neurons that stand, from their pairs of records, 1/ms."""
    found = []
    for own in spikes:
        pairs = own.mean(1).reshape(2, -1).mean(0) / dt
        found.append(pairs.std(ddof=1) / np.sqrt(len(pairs)))
    return np.array(found)


def input_skewness(currents: Currents) -> Array:
    """Return the skewness of the fluctuating input of each neuron that stands."""
    found = []
    for own in currents:
        squared = own * own
        variance = squared.mean(dtype=np.float64)
        found.append((squared * own).mean(dtype=np.float64) / variance**1.5 if variance > 0 else 0.0)
    return np.array(found)
