"""Self-consistent spectra: neurons of a recurrent circuit in input that has the spectrum of their own trains.

Spike trains are no white noise. A neuron that receives many trains of spectra ``S_j(f)`` through weights w sees
Gaussian input of the spectrum ``Σ_j w_j² |F(f)|² S_j(f)``, with the synapses' filter F, and answers with a train
whose spectrum has to be that of the senders again [1]_ [2]_. Each population is stood for by some neurons in such
input (`mnnbio.moments.surrogate`); rates follow by quasi-Newton steps on the same noise, spectra by damped repetition.

Where single jumps are large, Gaussian input is the wrong input. The input of the last generations is then made of the
surrogates' own trains, each shifted in time at random: jumps and spectrum are both right, and what is left out are
correlations among trains.

References
----------
.. [1] A. Lerchner, C. Ursta, J. Hertz, M. Ahmadi, P. Ruffiot, S. Enemark (2006), Response variability in balanced
   cortical networks, Neural Comput. 18, 634.
.. [2] B. Dummer, S. Wieland, B. Lindner (2014), Self-consistent determination of the spike-train power spectrum in a
   neural network with sparse connectivity, Front. Comput. Neurosci. 8, 104.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from mnnbio.circuit import Circuit
from mnnbio.moments import (
    NeuronTensors,
    Status,
    frequencies,
    gaussian_transforms,
    lif_spikes,
    shifted_sum,
    spectral_bands,
    synaptic_filter,
    variance_responses,
    wide_bands,
)
from mnnbio.theory.inputs import drive_input, received_sums
from mnnbio.theory.population_theory import System, population_system, quenched_variance, solve

Array = npt.NDArray[np.float64]
Complex = npt.NDArray[np.complex128]
Spikes = npt.NDArray[np.uint8]

STEPS = 2**17  # of a record
PAIRS = 24  # records of each population, each with its opposite
REPRESENTATIVES = 24  # neurons that stand for a population whose neurons differ
GENERATIONS = 12  # of Gaussian input
POOLED, AVERAGED = 5, 3  # generations of trains, and how many of them, the last, are averaged
# Relative changes of rates, and of the mean of spectra over rates up to a frequency (1/ms), at which they are found.
TOLERANCE, SPECTRAL = 1e-3, 0.015
LOW = 0.01
CHANGE = 0.05  # relative change of a rate from which its slopes are taken
STILL = 0.008  # 1/ms, up to which the response to the variance counts as that at zero frequency
LARGE = 0.02  # jump over the distance from reset to threshold from which trains stand for Gaussian input

Input = Literal["gaussian", "trains"]


class Stand(NamedTuple):
    """Neurons that stand for the populations."""

    nodes: npt.NDArray[np.int64]  # of the system
    owner: npt.NDArray[np.int64]  # population of each
    share: Array  # of its population
    pairs: npt.NDArray[np.int64]  # records of each, each with its opposite
    lif: NeuronTensors  # as arrays


class SpectralState(NamedTuple):
    """Self-consistent rates and spectra; arrays over populations, spectra averaged over bands of frequencies."""

    frequency: Array  # (band,), 1/ms
    rate: Array  # 1/ms
    rate_error: Array  # standard error from the records
    spectrum: Array  # of a train, (population, band), 1/ms
    records: Array  # frequencies of the records, (frequency,), 1/ms
    full: Array  # the spectrum on them, (population, frequency)
    wide: Array  # frequencies of the responses, (wide,), 1/ms
    gain: Complex  # response to the mean input, (population, wide), 1/mV
    to_variance: Complex  # (population, synaptic time constant, wide), 1/mV²
    power: Array  # spectrum of the input, (population, frequency), mV²/ms
    by_jumps: Array  # response to the variance at low frequencies by the jumps of a sender; NaN in Gaussian input
    tau_syn: tuple[float, ...]  # ms
    mean_input: Array  # mV/ms
    std_input: Array  # of white noise of the same power at low frequencies, mV/√ms
    status: Status
    residual: float
    iterations: int
    input: Input
    skewness: Array  # of the input that populations receive as a whole, without correlations


class Received(NamedTuple):
    """Spectrum and jumps that a population receives, by its senders."""

    squares: dict[float, Array]  # of weights from populations by synaptic time constant, (population, population), mV²
    outside: Array  # spectrum of the input from outside, (population, frequency), mV²/ms
    jumps: tuple[tuple[int, int, float, float, float], ...]  # row, column, in-degree, weight (mV), tau_syn
    jumps_outside: tuple[tuple[int, float, float, float], ...]  # row, rate (1/ms), weight (mV), tau_syn
    white: Array  # variance of the white noise from outside, (population,), mV²/ms


def received(circuit: Circuit, system: System, dt: float, steps: int) -> Received:
    """Return what the populations of a circuit receive."""
    names, sources = system.names, [s.name for s in circuit.sources]
    f = frequencies(steps, dt)
    squares: dict[float, Array] = {}
    outside, white = np.zeros((len(names), len(f))), np.zeros(len(names))
    jumps, jumps_outside = [], []
    for projection in circuit.projections:
        row, tau = names.index(projection.target), float(projection.tau_syn)
        sums = received_sums(circuit, projection, dt)
        if sums.squares == 0:
            continue
        weight, degree = sums.squares / sums.total, sums.total**2 / sums.squares
        if projection.source in names:
            column = names.index(projection.source)
            squares.setdefault(tau, np.zeros((len(names), len(names))))[row, column] += sums.squares
            jumps.append((row, column, degree, weight, tau))
        else:
            k = sources.index(projection.source)
            outside[row] += sums.squares * system.source_spread[k] * np.abs(synaptic_filter(f, tau, dt)) ** 2
            jumps_outside.append((row, degree * float(system.source_rate[k]), weight, tau))
    for drive in circuit.drives:
        row = names.index(drive.target)
        given = drive_input(circuit, drive, dt)
        own = float(np.mean(given.variance))
        if given.loadings is not None:
            own += float((given.loadings**2).sum(-1).mean())
        white[row] += own
        outside[row] += own
        for train in given.jumps:
            size, rate = float(np.mean(train.size)), float(np.mean(train.rate))
            outside[row] += float(np.mean(train.moment(2))) * np.abs(synaptic_filter(f, train.tau_syn, dt)) ** 2
            jumps_outside.append((row, rate, size, train.tau_syn))
    return Received(squares, outside, tuple(jumps), tuple(jumps_outside), white)


class Circle:
    """Equations of the populations on the same noise at every call.

    Parameters
    ----------
    circuit : Circuit
        Of leaky integrate-and-fire neurons, with one stimulus.
    dt : float
        Time step, ms.
    steps, pairs : int
        Length and number of the records.
    seed : int
    start : ndarray, shape (population,), optional
        Rates to start from, 1/ms.
    shared : ndarray, shape (population, frequency), optional
        Factor of the spectra of inputs that correlations among trains bring.
    """

    def __init__(
        self,
        circuit: Circuit,
        dt: float,
        *,
        steps: int,
        pairs: int,
        seed: int,
        start: Array | None = None,
        shared: Array | None = None,
    ) -> None:
        self.dt, self.steps, self.seed = dt, steps, seed
        self.system = population_system(circuit, dt)
        self.diffusion = solve(self.system, "poisson", dt, start)
        self.given = received(circuit, self.system, dt, steps)
        self.shared = np.ones((len(self.system.sizes), steps // 2 + 1)) if shared is None else shared
        self.bands, self.wide = spectral_bands(steps, dt), wide_bands(steps, dt)
        self.frequency = frequencies(steps, dt)
        self.tau_syn = tuple(sorted(self.given.squares)) or (0.0,)
        self.filters = {tau: np.abs(synaptic_filter(self.frequency, tau, dt)) ** 2 for tau in self.tau_syn}
        self.stand = _stand(self.system, self.diffusion.node_rate, pairs)
        nodes = self.system.nodes
        average = _average(self.stand, nodes.variance[self.stand.nodes], len(self.system.sizes))
        own = nodes.variance[self.stand.nodes]
        # Neurons of a population that receive more noise from outside than others receive more at all frequencies.
        self.louder = np.where(average[self.stand.owner] > 0, own / np.maximum(average[self.stand.owner], 1e-300), 1.0)
        self.scale = max(1e-6, float(self.diffusion.rate.max()))

    def means(self, rate: Array, spread: Array) -> Array:
        """Return the mean inputs of the neurons that stand for the populations, mV/ms."""
        system, chosen = self.system, self.stand.nodes
        mean = system.recurrent.total @ rate + system.sources.total @ system.source_rate
        disorder = quenched_variance(system, rate, spread**2)
        offset = system.nodes.offset[chosen] * np.sqrt(disorder)[self.stand.owner]
        return np.asarray(system.nodes.mean[chosen] + mean[self.stand.owner] + offset)

    def spectra(self, train: Array) -> Array:
        """Return the spectra of the inputs of populations whose trains have given ones, (population, frequency)."""
        squares = self.given.squares
        private = self.given.outside + sum(squares[tau] @ train * self.filters[tau] for tau in squares)
        return np.asarray(private * self.shared)

    def noise(self, power: Array) -> list[list[Complex]]:
        """Return the transforms of the fluctuating inputs of each neuron that stands, for each of its pairs."""
        found = []
        for k, owner in enumerate(self.stand.owner):
            own = power[owner] + (self.louder[k] - 1) * self.given.outside[owner]
            seeds = [(self.seed, int(owner), k, pair) for pair in range(self.stand.pairs[k])]
            found.append([gaussian_transforms(own, self.dt, np.random.default_rng(seed)) for seed in seeds])
        return found

    def currents(self, noise: list[list[Complex]]) -> list[npt.NDArray[np.float32]]:
        """Return the fluctuating inputs and their opposites, of each neuron (record, step), mV/ms."""
        found = []
        for own in noise:
            values = np.stack([np.fft.irfft(transform, self.steps) for transform in own])
            found.append(np.concatenate([values, -values]).astype(np.float32))
        return found

    def fire(self, mean: Array, currents: list[npt.NDArray[np.float32]]) -> list[Spikes]:
        """Return the spikes of each neuron that stands, (record, step)."""
        parameters = self.stand.lif
        return [
            lif_spikes(m + own, NeuronTensors(*(value[k] for value in parameters)), self.dt)
            for k, (m, own) in enumerate(zip(mean, currents, strict=True))
        ]

    def rates(self, spikes: list[Spikes]) -> tuple[Array, Array]:
        """Return mean and standard deviation among neurons of the rates of populations, 1/ms."""
        own = np.array([s.mean() / self.dt for s in spikes])
        size = len(self.system.sizes)
        mean = _average(self.stand, own, size)
        return mean, np.sqrt(np.maximum(_average(self.stand, own**2, size) - mean**2, 0.0))

    def train_spectra(self, spikes: list[Spikes]) -> Array:
        """Return the spectra of trains, averaged over bands, (population, band), 1/ms."""
        own = []
        for s in spikes:
            power = np.sum([np.abs(np.fft.rfft(train.astype(np.float32))) ** 2 for train in s], axis=0)
            own.append(self.bands.average(power / (len(s) * self.steps * self.dt)))
        return _average(self.stand, np.array(own), len(self.system.sizes))

    def full(self, banded: Array) -> Array:
        """Return spectra on the frequencies of the records from averages over bands."""
        return np.stack([np.interp(self.frequency, self.bands.frequency, values) for values in banded])


class Solver:
    """Rates at which the neurons answer with the rates that they are given; keeps what it learns of the slopes."""

    def __init__(self, circle: Circle) -> None:
        self.circle = circle
        system, state = circle.system, circle.diffusion
        self.jacobian = state.gain[:, None] * system.recurrent.total - np.eye(len(system.sizes))
        self.rate = np.maximum(state.rate, 1e-6)
        self.spread = np.zeros_like(self.rate)

    def solve(self, currents: list[npt.NDArray[np.float32]], most: int = 6) -> tuple[list[Spikes], float]:
        """Return the spikes at the rates that are found, and the relative residual of these (Broyden's method)."""
        circle, last = self.circle, None
        for _ in range(most):
            spikes = circle.fire(circle.means(self.rate, self.spread), currents)
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


def spectral_state(
    circuit: Circuit,
    dt: float,
    *,
    input: Input | None = None,
    steps: int | None = None,
    pairs: int | None = None,
    seed: int = 0,
    start: Array | None = None,
    shared: Array | None = None,
) -> tuple[System, SpectralState]:
    """Return the equations of a circuit and its self-consistent rates and spectra.

    Parameters
    ----------
    circuit : Circuit
        Of leaky integrate-and-fire neurons with delta or exponential synapses, with one stimulus.
    dt : float
        Time step of the simulation to be predicted, ms.
    input : {"gaussian", "trains"}, optional
        What the surrogates receive. By default trains where a jump is larger than 2 % of the distance from reset to
        threshold.
    steps, pairs : int, optional
        Length (a power of 2) and number of the records of each population.
    seed : int
    start : ndarray, shape (population,), optional
        Rates to start from, 1/ms.
    shared : ndarray, shape (population, frequency), optional
        Factor of the spectra of inputs that correlations among trains bring, on the frequencies of the records.
    """
    circle = Circle(circuit, dt, steps=steps or STEPS, pairs=pairs or PAIRS, seed=seed, start=start, shared=shared)
    system = circle.system
    if input is None:
        input = "trains" if _largest_jump(circle) > LARGE else "gaussian"
    solver, bands = Solver(circle), circle.bands
    low = bands.frequency < LOW
    shape = np.ones((len(system.sizes), len(bands.frequency)))
    keep, change, size, generation = 0.5, np.inf, np.inf, 0
    for generation in range(1, GENERATIONS + 1):
        noise = circle.noise(circle.spectra(circle.full(solver.rate[:, None] * shape)))
        spikes, size = solver.solve(circle.currents(noise))
        answer = circle.train_spectra(spikes) / np.maximum(solver.rate, 1e-9)[:, None]
        moved = float(np.abs((answer - shape)[:, low].mean(1)).max())
        if moved > change:  # generations alternate
            keep = min(0.9, (1 + keep) / 2)
        if moved < SPECTRAL and size < TOLERANCE:
            change = moved
            break
        change = moved
        shape = keep * shape + (1 - keep) * answer if generation > 1 else answer
    found = size < TOLERANCE and change < 2 * SPECTRAL
    records: list[Record] = []
    if input == "trains":
        for k in range(POOLED):
            pool = spikes
            currents = _shifted(circle, pool, generation)
            spikes, size = solver.solve(currents)
            generation += 1
            if k >= POOLED - AVERAGED:
                records.append(_record(circle, solver, currents, spikes))
        found = found and size < 5 * TOLERANCE
        by_jumps = _jump_slopes(circle, solver, pool, spikes, generation - 1)
        banded = np.mean([record.spectrum for record in records], axis=0)
        power = circle.spectra(circle.full(banded))
        noise = circle.noise(power)
        solver.rate = np.mean([record.rate for record in records], axis=0)
        spikes = circle.fire(circle.means(solver.rate, solver.spread), circle.currents(noise))
    else:
        power = circle.spectra(circle.full(solver.rate[:, None] * shape))
        records.append(_record(circle, solver, circle.currents(noise), spikes))
        by_jumps = np.full((len(system.sizes),) * 2, np.nan)
    gain, to_variance = _responses(circle, solver, noise, spikes, power)
    rate, error, banded, skewness = (np.mean(values, axis=0) for values in zip(*records, strict=True))
    state = SpectralState(
        bands.frequency,
        rate,
        error / np.sqrt(len(records)),
        banded,
        circle.frequency,
        circle.full(banded),
        np.concatenate([[0.0], circle.wide.frequency]),
        gain,
        to_variance,
        power,
        by_jumps,
        circle.tau_syn,
        _average(circle.stand, circle.means(solver.rate, solver.spread), len(system.sizes)),
        np.sqrt(power[:, 1:50].mean(1)),
        "converged" if found else "not converged",
        max(size, change),
        generation,
        input,
        skewness,
    )
    return system, state


class Record(NamedTuple):
    """Answers of the populations in one generation."""

    rate: Array
    error: Array
    spectrum: Array  # (population, band)
    skewness: Array  # of the input


def _record(circle: Circle, solver: Solver, currents: list[npt.NDArray[np.float32]], spikes: list[Spikes]) -> Record:
    size, stand = len(circle.system.sizes), circle.stand
    errors = []
    for own in spikes:
        rates = own.mean(1) / circle.dt
        errors.append(rates.std(ddof=1) / np.sqrt(len(rates)))
    return Record(
        circle.rates(spikes)[0],
        np.sqrt(_average(stand._replace(share=stand.share**2), np.array(errors) ** 2, size)),
        circle.train_spectra(spikes),
        _average(stand, np.array([_skewness(own) for own in currents]), size),
    )


def _responses(
    circle: Circle, solver: Solver, noise: list[list[Complex]], spikes: list[Spikes], power: Array
) -> tuple[Complex, Complex]:
    """Return the responses of populations to the mean and to the variance of Gaussian input.

    At the lowest frequencies they are differences on the same noise, which are far more precise than cross-spectra.
    """
    gains, slopes, stand = [], [], circle.stand
    for k, (own, trains) in enumerate(zip(noise, spikes, strict=True)):
        spectrum = power[stand.owner[k]] + (circle.louder[k] - 1) * circle.given.outside[stand.owner[k]]
        transforms = [*own, *(-x for x in own)]
        above, below, squares = np.zeros(len(circle.frequency), complex), np.zeros(len(circle.frequency)), []
        for x, train in zip(transforms, trains, strict=True):
            fired = np.fft.rfft(train.astype(float))
            above, below = above + fired * x.conj(), below + np.abs(x) ** 2
            squares.append(variance_responses(x, fired, spectrum, circle.dt, circle.tau_syn))
        gains.append(circle.wide.average(above) / circle.wide.average(below) / circle.dt)
        slopes.append(np.mean(squares, axis=0))
    size = len(circle.system.sizes)
    gain, slope = _average(stand, np.array(gains), size), _average(stand, np.array(slopes), size)
    mean, currents = circle.means(solver.rate, solver.spread), circle.currents(noise)
    still = gain[:, 0].real
    step = CHANGE * solver.rate / np.maximum(np.abs(still), 1e-6)
    moved = [circle.rates(circle.fire(mean + sign * step[stand.owner], currents))[0] for sign in (1, -1)]
    gain_still = (moved[0] - moved[1]) / (2 * step)
    slope_still = np.empty((size, len(circle.tau_syn)))
    for kind, tau in enumerate(circle.tau_syn):
        shape = circle.filters[tau] if tau in circle.filters else np.ones(len(circle.frequency))
        extra = 2 * CHANGE * (power @ shape) / (shape @ shape)
        added = [power + sign * np.minimum(extra[:, None] * shape, 0.5 * power) for sign in (1, -1)]
        moved = [circle.rates(circle.fire(mean, circle.currents(circle.noise(p))))[0] for p in added]
        slope_still[:, kind] = (moved[0] - moved[1]) / (2 * extra)
    flat = circle.wide.frequency < STILL
    slope[:, :, flat] = slope_still[:, :, None]
    return (
        np.concatenate([gain_still[:, None], gain], axis=1),
        np.concatenate([slope_still[:, :, None], slope], axis=2),
    )


def _stand(system: System, node_rate: Array, pairs: int) -> Stand:
    """Return neurons that stand for the populations: all nodes, or of many some at equal distances by rate."""
    lif = system.nodes.neurons.lif
    if lif is None:
        raise TypeError("self-consistent spectra are for leaky integrate-and-fire neurons (LIFParameters)")
    chosen, shares, counts = [], [], []
    for row in range(len(system.sizes)):
        own = np.flatnonzero(system.nodes.owner == row)
        share = system.nodes.weight[own]
        if len(own) > REPRESENTATIVES:
            order = np.argsort(node_rate[own], kind="stable")
            quantiles = (np.arange(REPRESENTATIVES) + 0.5) / REPRESENTATIVES
            own = own[order][np.searchsorted(np.cumsum(share[order]), quantiles)]
            share = np.full(REPRESENTATIVES, 1 / REPRESENTATIVES)
        chosen.append(own)
        shares.append(share)
        counts.append(np.maximum(1, np.rint(pairs * share).astype(int)))
    nodes = np.concatenate(chosen)
    values = (
        torch.from_numpy(np.broadcast_to(np.asarray(value, float), len(system.nodes.owner))[nodes])
        for value in (lif.tau_m, lif.v_th, lif.v_reset, lif.t_ref)
    )
    return Stand(
        nodes, system.nodes.owner[nodes], np.concatenate(shares), np.concatenate(counts), NeuronTensors(*values)
    )


def _average(stand: Stand, values: npt.NDArray[Any], populations: int) -> npt.NDArray[Any]:
    """Return averages over populations of values of the neurons that stand for them, the first axis."""
    members = (stand.owner == np.arange(populations)[:, None]) * stand.share
    return np.asarray(np.tensordot(members, values, axes=1))


def _largest_jump(circle: Circle) -> float:
    """Return the largest jump among neurons and from outside, over the distance from reset to threshold."""
    span = float((circle.stand.lif.v_th - circle.stand.lif.v_reset).min())
    inner = [abs(weight) for *_, weight, tau in circle.given.jumps if tau == 0]
    outer = [abs(weight) for *_, weight, tau in circle.given.jumps_outside if tau == 0]
    return max([*inner, *outer], default=0.0) / span


def _jump_slopes(circle: Circle, solver: Solver, pool: list[Spikes], spikes: list[Spikes], generation: int) -> Array:
    """Return the response of populations to the variance that each sender's jumps bring, 1/mV², (row, column).

    The same neurons fire without the fluctuations of some of that sender's trains: all orders of the jumps count.
    """
    size = len(circle.system.sizes)
    found = np.full((size, size), np.nan)
    before, mean = circle.rates(spikes)[0], circle.means(solver.rate, solver.spread)
    for column in range(size):
        rows = {row: (degree, weight) for row, sender, degree, weight, _ in circle.given.jumps if sender == column}
        if not rows:
            continue
        fewer = circle.rates(circle.fire(mean, _shifted(circle, pool, generation, fewer=column)))[0]
        for row, (degree, weight) in rows.items():
            share = _fewer(round(degree)) / max(1, round(degree))
            taken = share * degree * weight**2 * solver.rate[column]
            if taken > 0:
                found[row, column] = (before[row] - fewer[row]) / taken
    return found


def _fewer(number: int) -> int:
    """Return how many trains of a number are taken away to see what their fluctuations do."""
    return max(1, round(0.2 * number))


def _shifted(
    circle: Circle, spikes: list[Spikes], generation: int, *, fewer: int | None = None
) -> list[npt.NDArray[np.float32]]:
    """Return fluctuating inputs that are made of the neurons' own trains, each shifted in time at random.

    Without the fluctuations of a fifth of the trains of the population `fewer`, and else the same.
    """
    from scipy.signal import lfilter

    stand, steps, dt = circle.stand, circle.steps, circle.dt
    rng = np.random.default_rng((circle.seed, 1, generation))
    pools, chances = [], []
    for row in range(len(circle.system.sizes)):
        own = np.flatnonzero(stand.owner == row)
        pools.append(np.concatenate([spikes[k] for k in own]))
        chances.append(np.concatenate([np.full(len(spikes[k]), stand.share[k] / len(spikes[k])) for k in own]))
    found = []
    for k, owner in enumerate(stand.owner):
        records = np.zeros((len(spikes[k]), steps), np.float32)
        for record in records:
            parts: dict[float, Array] = {}  # by synaptic time constant
            for row, column, degree, weight, tau in circle.given.jumps:
                if row != owner:
                    continue
                number = max(1, round(degree))
                which = rng.choice(len(pools[column]), number, p=chances[column])
                shift = rng.integers(0, steps, number)
                if column == fewer:
                    which, shift = which[_fewer(number) :], shift[_fewer(number) :]
                total = shifted_sum(pools[column], which, shift).astype(float)
                part = parts.setdefault(tau, np.zeros(steps))
                part += weight * np.sqrt(degree / number) * (total - total.mean())
            for row, rate, weight, tau in circle.given.jumps_outside:
                if row == owner:
                    part = parts.setdefault(tau, np.zeros(steps))
                    part += weight * np.sqrt(circle.louder[k]) * (rng.poisson(rate * dt, steps) - rate * dt)
            for tau, part in parts.items():
                if tau > 0:
                    left = np.exp(-dt / tau)
                    record += (lfilter([1 - left], [1, -left], part) / dt).astype(np.float32)
                else:
                    record += (part / dt).astype(np.float32)
            white = circle.given.white[owner]
            if white > 0:
                record += rng.standard_normal(steps, dtype=np.float32) * np.float32(np.sqrt(white / dt))
            if (circle.shared[owner] != 1).any():
                record[:] = np.fft.irfft(np.fft.rfft(record) * np.sqrt(circle.shared[owner]), steps)
        found.append(records)
    return found


def _skewness(currents: npt.NDArray[np.float32]) -> float:
    return float((currents**3).mean() / (currents**2).mean() ** 1.5)
