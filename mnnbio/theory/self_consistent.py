"""Self-consistent spectra: neurons of a circuit in input that has the spectrum of their own trains.

Spike trains are no white noise. A neuron that receives many trains of spectra ``S_j(f)`` through weights w sees
Gaussian input of the spectrum ``Σ_j w_j² |F(f)|² S_j(f)``, with the synapses' filter F, and answers with a train
whose spectrum has to be that of the senders again [1]_ [2]_. Each population is stood for by some neurons in such
input (`mnnbio.moments.surrogate`); rates follow by quasi-Newton steps on the same noise, spectra by damped repetition.
What the trains share by the circuit (`mnnbio.theory.collective`) is part of the input, and found with it.

Where single jumps are large, Gaussian input is the wrong input. The input of the last generations is then made of the
surrogates' own trains (`mnnbio.theory.shifted_trains`): jumps and spectrum are both right.

References
----------
.. [1] A. Lerchner, C. Ursta, J. Hertz, M. Ahmadi, P. Ruffiot, S. Enemark (2006), Response variability in balanced
   cortical networks, Neural Comput. 18, 634.
.. [2] B. Dummer, S. Wieland, B. Lindner (2014), Self-consistent determination of the spike-train power spectrum in a
   neural network with sparse connectivity, Front. Comput. Neurosci. 8, 104.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from scipy import fft

from mnnbio.circuit import Circuit
from mnnbio.machine import check_choice
from mnnbio.moments import (
    Bands,
    NeuronTensors,
    NotConverged,
    Status,
    discrete_lif,
    frequencies,
    gaussian_transforms,
    lif_spikes,
    spectral_bands,
    synaptic_filter,
    transfer_function,
    variance_responses,
    wide_bands,
)
from mnnbio.theory.collective import Answers, Collective, Wires, collective, form, interpolated, wires
from mnnbio.theory.population_theory import System, population_system, quenched_variance, solve
from mnnbio.theory.shifted_trains import Senders, TrainInput, Way, jump_size, senders, train_input
from mnnbio.units import in_unit

Array = npt.NDArray[np.float64]
Complex = npt.NDArray[np.complex128]
Spikes = npt.NDArray[np.uint8]
Currents = list[npt.NDArray[np.float32]]  # of each neuron that stands, (record, step), mV/ms

REPRESENTATIVES, LEAST_PAIRS = 12, 4  # neurons that stand for a population whose neurons differ, and records of each
GROUPS = 4  # of records, over which standard errors are taken
FEW = 3  # part of the records with which a state is looked for before all of them are used
GENERATIONS = 16  # of Gaussian input, for one state of what trains share
SHARINGS, SHARED = 8, 0.03  # steps of what trains share, and relative change of spectra at which it is found
POOLED, AVERAGED = 6, 3  # generations of trains, and how many of them, the last, are averaged
# Relative changes of rates, and of the mean of spectra over rates up to a frequency (1/ms), at which they are found.
TOLERANCE, SPECTRAL = 1e-3, 0.015
LOW = 0.01
CHANGE = 0.05  # relative change of a rate from which its slopes are taken
STILL = 0.008  # 1/ms, up to which the response to the variance counts as that at zero frequency
LARGE = 0.02  # jump over the distance from reset to threshold from which trains stand for Gaussian input
LEAST = 0.05  # factor by which correlations may lower the spectrum of an input
FASTEST = 300.0  # 2πf tau_m up to which the closed form of the response to the variance is computed
RESPONSE_BAND, RESPONSE_FACTOR = 5.0, 1.15  # Hz, widths of the bands in which the response to the mean is taken

Input = Literal["gaussian", "trains"]


@dataclass(frozen=True, kw_only=True)
class Surrogates:
    """Options of the simulated neurons from which the closure "self_consistent" takes rates, spectra and responses.

    Parameters
    ----------
    input : {"gaussian", "trains"}, optional
        What they receive: Gaussian input of the self-consistent spectrum, or each other's trains, shifted in time,
        which keeps the size of single jumps. By default the latter where a jump is larger than 2 % of the distance from
        reset to threshold.
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
            check_choice("input", self.input, ["gaussian", "trains"])
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


class SpectralState(NamedTuple):
    """Self-consistent rates and spectra; arrays over populations, spectra averaged over bands of frequencies."""

    frequency: Array  # (band,), 1/ms
    rate: Array  # 1/ms
    rate_error: Array  # standard error from the records
    answers: Answers  # at these frequencies
    parts: tuple[Answers, ...]  # the same from each group of records
    records: Array  # frequencies of the records, (frequency,), 1/ms
    power: Array  # spectrum of the input, (population, frequency), mV²/ms
    tau_syn: tuple[float, ...]  # ms
    mean_input: Array  # mV/ms
    std_input: Array  # of white noise of the same power at low frequencies, mV/√ms
    status: Status
    residual: float
    iterations: int
    damping: float  # the part of a spectrum that was kept from one generation to the next
    input: Input
    skewness: Array  # of the input, without correlations
    shared: Array  # factor that correlations bring to the spectra of inputs, (population, band)

    @property
    def spectrum(self) -> Array:
        """Return the spectra of trains, (population, band), 1/ms."""
        return self.answers.spectrum


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
        self.between = spectral_bands(
            self.steps, dt, factor=RESPONSE_FACTOR, linear=RESPONSE_BAND, width=RESPONSE_BAND
        )
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
                gaussian_transforms(ones, dt, np.random.default_rng((self.seed, int(owner), k, pair))).astype(np.complex64)
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

    def noise(self, power: Array, few: int = 1) -> list[Complex]:
        """Return the transforms of the fluctuating inputs of each neuron that stands, (pair, frequency)."""
        found = []
        for k, owner in enumerate(self.stand.owner):
            own = power[owner] + (self.louder[k] - 1) * self.given.outside[owner]
            count = max(GROUPS, -(-len(self.white[k]) // few))
            found.append(np.sqrt(own).astype(np.float32) * np.stack(self.white[k][:count]))
        return found

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
            place, each = _groups(len(s)), s.mean(1) / self.dt
            own.append([each[place == g].mean() for g in range(GROUPS)])
        return np.asarray(self.stand.average(np.array(own)).T)

    def train_spectra(self, spikes: list[Spikes]) -> Array:
        """Return the spectra of trains in each group of records, (group, population, band), 1/ms."""
        own = []
        for s in spikes:
            place, each = _groups(len(s)), np.empty((len(s), len(self.bands.frequency)))
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
        return Stand(
            kind, nodes, system.nodes.owner[nodes], np.concatenate(shares), np.concatenate(counts), tensors
        )

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


def _groups(records: int) -> npt.NDArray[np.int64]:
    """Return the group of each record; a pair of opposites is in one."""
    return np.arange(records) % (records // 2) % GROUPS


class Solver:
    """Rates at which the neurons answer with the rates that they are given; keeps what it learns of the slopes."""

    def __init__(self, circle: Circle) -> None:
        self.circle = circle
        system, state = circle.system, circle.diffusion
        self.jacobian = state.gain[:, None] * system.recurrent.total - np.eye(len(system.sizes))
        self.rate = np.maximum(state.rate, 1e-6)
        self.spread = np.zeros_like(self.rate)

    @property
    def mean(self) -> Array:
        """Return the mean inputs at the rates that were found, mV/ms."""
        return self.circle.means(self.rate, self.spread)

    def solve(self, currents: Currents, most: int = 8) -> tuple[list[Spikes], float]:
        """Return the spikes at the rates that are found, and the relative residual of these (Broyden's method)."""
        circle, last = self.circle, None
        for _ in range(most):
            spikes = circle.fire(self.mean, currents)
            answer, self.spread = circle.rates(spikes)
            residual = answer - self.rate
            size = float(np.abs(residual).max()) / max(circle.scale, float(self.rate.max()))
            if last is not None:
                step, change = self.rate - last[0], residual - last[1]
                if step @ step > 0:
                    self.jacobian = self.jacobian + np.outer(change - self.jacobian @ step, step) / (step @ step)
            if size < TOLERANCE:
                break
            last = self.rate.copy(), residual
            move = np.linalg.solve(self.jacobian, -residual)
            # A rate at most doubles in a step and never becomes negative.
            self.rate = np.clip(self.rate + move, self.rate / 2, 2 * self.rate + 0.1 * circle.scale)
        return spikes, size


class Generations:
    """Damped repetition of spectra, and of what trains share; keeps where it stands."""

    def __init__(self, circle: Circle) -> None:
        self.circle, self.solver = circle, Solver(circle)
        self.shape = np.ones((len(circle.system.sizes), len(circle.bands.frequency)))  # spectrum over rate
        self.keep, self.count, self.size, self.change = 0.5, 0, np.inf, np.inf
        self.sharing = 0.0  # last change of what trains share

    @property
    def banded(self) -> Array:
        """Return the spectra of trains, (population, band), 1/ms."""
        return self.solver.rate[:, None] * self.shape

    def settle(self, few: int) -> tuple[list[Complex], list[Spikes]]:
        """Repeat until rates and spectra stay; return the transforms of the input and the spikes."""
        circle, solver = self.circle, self.solver
        low = circle.bands.frequency < LOW
        last = np.inf
        for generation in range(GENERATIONS):
            noise = circle.noise(circle.spectra(circle.full(self.banded)), few)
            spikes, self.size = solver.solve(circle.currents(noise))
            answer = circle.train_spectra(spikes).mean(0) / np.maximum(solver.rate, 1e-9)[:, None]
            self.change = float(np.abs((answer - self.shape)[:, low].mean(1)).max())
            self.count += 1
            if self.change < SPECTRAL and self.size < TOLERANCE:
                break
            if self.change > last:  # generations alternate
                self.keep = min(0.9, (1 + self.keep) / 2)
            last = self.change
            first = self.count == 1 and generation == 0
            self.shape = answer if first else self.keep * self.shape + (1 - self.keep) * answer
        return noise, spikes

    def share(self, found: Collective, step: float = 0.5) -> None:
        """Move what trains share towards that of a linear response, by a step of its logarithm."""
        circle = self.circle
        known = np.stack([circle.bands.average(row) for row in circle.private(circle.full(self.banded))])
        target = np.maximum(1 + found.added / np.where(known > 0, known, np.inf), LEAST)
        move = np.log(target / circle.shared)
        self.sharing = float(np.abs(move).max())
        circle.shared = circle.shared * np.exp(step * move)

    @property
    def found(self) -> bool:
        """Return whether rates, spectra and what trains share stay."""
        return self.size < TOLERANCE and self.change < 2 * SPECTRAL and self.sharing < 2 * SHARED


def spectral_state(
    circuit: Circuit, dt: float, surrogates: Surrogates | None = None, *, start: Array | None = None
) -> tuple[System, SpectralState, Wires]:
    """Return the equations of a circuit, its self-consistent rates and spectra, and sums of its weights.

    Parameters
    ----------
    circuit : Circuit
        Of leaky integrate-and-fire neurons with delta or exponential synapses, with one stimulus.
    dt : float
        Time step of the simulation to be predicted, ms.
    surrogates : Surrogates, optional
    start : ndarray, shape (population,), optional
        Rates to start from, 1/ms.
    """
    chosen = surrogates or Surrogates()
    circle = Circle(circuit, dt, chosen, start)
    run = Generations(circle)
    solver = run.solver
    jump = jump_size(circle.senders, circle.stand.lif)
    kind: Input = chosen.input or ("trains" if jump > LARGE and circle.coupled else "gaussian")
    for _ in range(SHARINGS if circle.coupled else 1):
        noise, spikes = run.settle(FEW)
        if not circle.coupled or run.size >= TOLERANCE:
            break
        found = collective(circle.wires, _mean(_answers(circle, run, noise, spikes)))
        if found.largest_real >= 1:
            break
        run.share(found)
        if run.sharing < SHARED:
            break
    noise, spikes = run.settle(1)
    settled, generation = run.found, run.count
    parts = _answers(circle, run, noise, spikes)
    currents = circle.currents(noise)
    rates, errors, skewness = [circle.rates(spikes)[0]], [_errors(spikes, dt)], [_skewness(currents)]
    if kind == "trains":
        pooled = _by_trains(circle, run, spikes, parts)
        rates, errors, skewness = ([getattr(p, name) for p in pooled] for name in ("rate", "error", "skewness"))
        parts = [_mean([p.parts[g] for p in pooled]) for g in range(GROUPS)]
        settled, generation = settled and run.size < 5 * TOLERANCE, generation + POOLED
    answers = _mean(parts)
    power = circle.spectra(circle.full(answers.spectrum))
    stand, rate = circle.stand, np.mean(rates, axis=0)
    members = (stand.owner == stand.kind[:, None]) * stand.share
    each = members * np.sqrt(np.mean(np.square(errors), axis=0) / len(errors))
    spread = np.linalg.solve(solver.jacobian, each)  # what errors become around the loops
    state = SpectralState(
        circle.bands.frequency,
        rate,
        np.sqrt((spread**2).sum(1)),
        answers,
        tuple(parts),
        circle.frequency,
        power,
        circle.tau_syn,
        stand.average(circle.means(rate, solver.spread)),
        np.sqrt(power[:, 1:50].mean(1)),
        "converged" if settled else "not converged",
        float(max(run.size, run.change)),
        generation,
        run.keep,
        kind,
        stand.average(np.mean(skewness, axis=0)),
        circle.shared,
    )
    return circle.system, state, circle.wires


def require_found(state: SpectralState) -> None:
    """Raise `NotConverged` with a remedy unless a self-consistent state was found."""
    if state.status != "converged":
        swings = state.damping > 0.75
        raise NotConverged(
            f"no self-consistent state was found: after {state.iterations} generations rates or spectra still change by "
            f"{state.residual:.2g}"
            + (f", and alternate although {state.damping:.0%} of each was kept" if swings else "")
            + ". Try rates of your own with `start`; more `pairs` or a longer `duration` of the surrogates; see with "
            "`fixed_points` which states there are; or take the best one found with `unconverged='report'`"
        )


def _mean(parts: list[Answers]) -> Answers:
    return Answers(*(np.mean(values, axis=0) for values in zip(*parts, strict=True)))


def _answers(circle: Circle, run: Generations, noise: list[Complex], spikes: list[Spikes]) -> list[Answers]:
    """Return the answers of the neurons to Gaussian input, by each group of records.

    At the lowest frequencies responses are differences on the same noise, which are far more precise than
    cross-spectra.
    """
    stand, f, size = circle.stand, circle.bands.frequency, len(circle.system.sizes)
    power = circle.spectra(circle.full(run.banded))
    gains = np.empty((len(spikes), GROUPS, len(circle.between.frequency)), complex)
    slopes = np.zeros((len(spikes), GROUPS, len(circle.tau_syn), len(circle.wide.frequency)), complex)
    for k, (own, trains) in enumerate(zip(noise, spikes, strict=True)):
        place, owner = _groups(len(trains)), stand.owner[k]
        spectrum = power[owner] + (circle.louder[k] - 1) * circle.given.outside[owner]
        above, below = np.zeros((2, GROUPS, len(circle.frequency)), np.complex64)
        for at, train in enumerate(trains):
            x = own[at % len(own)] * np.float32(1 if at < len(own) else -1)
            fired = transformed(train)
            above[place[at]] += fired * x.conj()
            below[place[at]] += np.abs(x) ** 2
            if circle.coupled:
                found = variance_responses(x.astype(complex), fired.astype(complex), spectrum, circle.dt, circle.tau_syn)
                slopes[k, place[at]] += found / (place == place[at]).sum()
        for g in range(GROUPS):
            gains[k, g] = _ratio(circle.between, above[g], below[g].real, circle.dt)
    gain, slope = (stand.average(values) for values in (gains, slopes))  # (population, group, …)
    currents, mean = circle.currents(noise), run.solver.mean
    step = _step(run, gain[:, :, 0].real.mean(1))
    gain_still = _slope(circle, (mean + step[stand.owner], mean - step[stand.owner]), (currents, currents), step)
    slope_still = np.empty((GROUPS, size, len(circle.tau_syn)))
    few = FEW if any(len(own) < len(white) for own, white in zip(noise, circle.white, strict=True)) else 1
    for kind, tau in enumerate(circle.tau_syn if circle.coupled else ()):
        passed = circle.filters[tau]
        extra = 2 * CHANGE * (power @ passed) / (passed @ passed)
        both = [power + sign * np.minimum(extra[:, None] * passed, 0.5 * power) for sign in (1, -1)]
        louder, quieter = (circle.currents(circle.noise(p, few)) for p in both)
        slope_still[:, :, kind] = _slope(circle, (mean, mean), (louder, quieter), extra)
    known = np.concatenate([[0.0], circle.between.frequency])
    wide = np.concatenate([[0.0], circle.wide.frequency])
    spectra, parts, white = circle.train_spectra(spikes), [], _white_slopes(circle, mean, power)
    for g in range(GROUPS):
        to_mean = interpolated(f, known, np.concatenate([gain_still[g][:, None], gain[:, g]], axis=1))
        to_variance = np.zeros((size, len(circle.tau_syn), size, len(f)), complex)
        for kind, tau in enumerate(circle.tau_syn if circle.coupled else ()):
            still = slope_still[g][:, kind]
            if tau > 0:
                own = np.concatenate([still[:, None], slope[:, g, kind]], axis=1)
                own[:, wide < STILL] = still[:, None]
                found = interpolated(f, wide, own)
            else:
                shapes = form(to_mean)
                found = np.stack(
                    [_fitted(circle, white[row], still[row], slope[row, g, kind], shapes[row]) for row in range(size)]
                )
            to_variance[:, kind] = found[:, None]
        parts.append(Answers(spectra[g], to_mean, to_variance))
    return parts


def _ratio(bands: Bands, above: Complex, below: Array, dt: float) -> Complex:
    """Return a response in bands from the cross-spectrum of spikes and input and the power of the input."""
    return np.asarray(bands.average(above) / bands.average(below) / dt)


def _white_slopes(circle: Circle, mean: Array, power: Array) -> Complex:
    """Return the responses to the variance of white noise that neurons have in white noise, (population, band).

    Its strength is what the membrane sees of their input.
    """
    stand, dt = circle.stand, circle.dt
    own = power[stand.owner] + (circle.louder - 1)[:, None] * circle.given.outside[stand.owner]
    passed = 1 / (stand.lif.tau_m.numpy()[:, None] ** -2 + (2 * np.pi * circle.frequency) ** 2)
    std = np.sqrt((own * passed).sum(1) / passed.sum(1))
    noisy = std > 0
    known = np.minimum(circle.bands.frequency, FASTEST / (2 * np.pi * stand.lif.tau_m.numpy().max()))
    found = np.zeros((len(std), len(known)), complex)
    if noisy.any():
        own_lif = NeuronTensors(*(value[torch.from_numpy(noisy)] for value in stand.lif))
        lif = discrete_lif(torch.from_numpy(mean[noisy]), torch.from_numpy(std[noisy]), own_lif, dt)
        found[noisy] = np.asarray(transfer_function(known, mean[noisy], std[noisy], lif).variance).T
    return np.asarray(stand.average(found))


def _fitted(circle: Circle, white: Complex, still: float, measured: Complex, shape: Complex, spread: float = 1.0) -> Complex:
    """Return the response to the variance of white noise on the bands, smooth in frequency.

    Measured ones are noisy where they hardly decay. They are fitted by that in white noise times a straight line over
    the logarithm of the frequency; at the lowest ones they become the difference `still`.
    """
    f = circle.bands.frequency
    line = np.stack([np.ones_like(f), np.log(np.maximum(f, STILL))])
    basis = white * line - white[0].real * line[:, :1] * shape
    used = circle.wide.frequency >= STILL
    at, known, weight = circle.wide.frequency[used], still * shape, np.sqrt(circle.wide.number[used])
    columns = interpolated(at, f, basis) * weight
    target = (measured[used] - interpolated(at, f, known)) * weight
    parts = np.concatenate([columns.real, columns.imag], axis=1), np.concatenate([target.real, target.imag])
    values, *_ = np.linalg.lstsq(parts[0].T, parts[1], rcond=None)
    return np.asarray(known + values @ basis)


class Pooled(NamedTuple):
    """Answers of the neurons to input that is made of their own trains, of one generation."""

    parts: list[Answers]
    rate: Array
    error: Array  # of the neurons that stand
    skewness: Array  # of their input


def _by_trains(circle: Circle, run: Generations, spikes: list[Spikes], parts: list[Answers]) -> list[Pooled]:
    """Return the answers to input that is made of the neurons' own trains, of the last generations."""
    stand, found = circle.stand, []
    power = circle.spectra(circle.full(run.banded))
    white = _white_slopes(circle, run.solver.mean, power)
    for k in range(POOLED):
        factors = circle.full(circle.shared) if (circle.shared != 1).any() else None
        given = train_input(
            circle.senders, spikes, stand.owner, stand.share, stand.kind, louder=circle.louder, factors=factors,
            dt=circle.dt, seed=(circle.seed, k),
        )  # fmt: skip
        currents = given.currents()
        spikes, run.size = run.solver.solve(currents)
        if k == 0:
            continue
        made = _answers_to_trains(circle, run, given, currents, spikes, parts, white)
        if k < POOLED - AVERAGED:
            response = collective(circle.wires, _mean(made))
            if response.largest_real < 1:
                run.shape = _mean(made).spectrum / np.maximum(run.solver.rate, 1e-9)[:, None]
                run.share(response)
        else:
            found.append(Pooled(made, circle.rates(spikes)[0], _errors(spikes, circle.dt), _skewness(currents)))
    return found


def _answers_to_trains(
    circle: Circle,
    run: Generations,
    given: TrainInput,
    currents: Currents,
    spikes: list[Spikes],
    parts: list[Answers],
    white: Complex,
) -> list[Answers]:
    """Return the answers in one generation, by each group of records.

    The response to the mean keeps its form over frequency and becomes, at the lowest ones, that of neurons in such
    input. What a sender's jumps bring beyond it follows from some of its trains more or fewer, and from the
    cross-spectra of spikes and what each sender gave: all orders of the jumps count.
    """
    stand, solver, size = circle.stand, run.solver, len(circle.system.sizes)
    mean, step = solver.mean, _step(run, np.mean([part.gain[:, 0].real for part in parts], axis=0))
    gains = _slope(circle, (mean + step[stand.owner], mean - step[stand.owner]), (currents, currents), step)
    slopes = np.zeros((GROUPS, size, size))
    for column in range(size):
        taken = np.array([given.taken(int(stand.kind[row]), column, solver.rate[column]) for row in range(size)])
        if taken.any():
            part = given.part(column)
            more = [c + np.roll(p, circle.steps // 2, axis=1) for c, p in zip(currents, part, strict=True)]
            fewer = [c - p for c, p in zip(currents, part, strict=True)]
            slopes[:, :, column] = _slope(circle, (mean, mean), (more, fewer), np.where(taken > 0, taken, np.inf))
    ways = [way for way in circle.senders.inside if way.tau_syn == 0 and len(way.jumps) == 1]
    crossed = {way: _crossed(circle, given, spikes, way) for way in ways if stand.kind[way.row] == way.row}
    spectra, made = circle.train_spectra(spikes), []
    for g, part in enumerate(parts):
        gain, to_variance = part.gain * (gains[g] / part.gain[:, 0].real)[:, None], part.to_variance.copy()
        shapes = form(gain)
        for way in circle.senders.inside:
            kind, still = circle.tau_syn.index(way.tau_syn), slopes[g, way.row, way.column]
            same = next((w for w in crossed if w.row == stand.kind[way.row] and w.column == way.column), None)
            before, row = part.to_variance[way.row, kind, way.column], way.row
            if same is None:
                found = before + (still - before[0].real) * shapes[row]
            else:
                weight = same.jumps[0].weight
                extra = (crossed[same][g] - interpolated(circle.wide.frequency, circle.bands.frequency, gain[row])) / weight
                found = _fitted(circle, white[row], still, extra, shapes[row])
            to_variance[row, kind, way.column] = found
        made.append(Answers(spectra[g], gain, to_variance))
    return made


def _crossed(circle: Circle, given: TrainInput, spikes: list[Spikes], way: Way) -> Complex:
    """Return the response to one sender's jumps per mV, by the cross-spectra with what it gave, (group, wide)."""
    stand, found = circle.stand, np.zeros((len(spikes), GROUPS, len(circle.wide.frequency)), complex)
    at = given.senders.inside.index(way)
    for k in np.flatnonzero(stand.owner == way.row):
        place = _groups(len(spikes[k]))
        above, below = np.zeros((2, GROUPS, len(circle.frequency)), np.complex64)
        for record, train in enumerate(spikes[k]):
            x = transformed(given.component(int(k), record, at))
            above[place[record]] += transformed(train) * x.conj()
            below[place[record]] += np.abs(x) ** 2
        for g in range(GROUPS):
            found[k, g] = _ratio(circle.wide, above[g], below[g].real, circle.dt)
    return np.asarray(stand.average(found)[way.row])


def _step(run: Generations, gain: Array) -> Array:
    """Return the steps of mean inputs that change rates by a small part, mV/ms."""
    return CHANGE * np.maximum(run.solver.rate, 1e-6) / np.maximum(np.abs(gain), 1e-6)


def _slope(circle: Circle, means: tuple[Array, Array], currents: tuple[Currents, Currents], step: Array) -> Array:
    """Return the change of rates from the second to the first of two inputs over twice a step, (group, population)."""
    above, below = (circle.group_rates(circle.fire(m, c)) for m, c in zip(means, currents, strict=True))
    return (above - below) / (2 * step)


def _errors(spikes: list[Spikes], dt: float) -> Array:
    """Return the standard errors of the rates of neurons, from their pairs of records, 1/ms."""
    found = []
    for own in spikes:
        pairs = own.mean(1).reshape(2, -1).mean(0) / dt
        found.append(pairs.std(ddof=1) / np.sqrt(len(pairs)))
    return np.array(found)


def _skewness(currents: Currents) -> Array:
    found = []
    for own in currents:
        squared = own * own
        variance = squared.mean(dtype=np.float64)
        found.append((squared * own).mean(dtype=np.float64) / variance**1.5 if variance > 0 else 0.0)
    return np.array(found)
