"""Populations of any neurons, stood for by neurons that receive trains through their circuit's synapses.

Nothing is known of these neurons but how they fire. Responses are those to what arrives through each kind of synapse:
the cross-spectrum of spikes and arrivals over the spectrum of arrivals, and at the lowest frequencies the difference
that some trains more and fewer make on the same noise. All orders of the jumps are in them, what conductances multiply
too, and the filters of synapses.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import fft

from mnnbio.circuit import Circuit, Drive, InputCumulants, PoissonSource
from mnnbio.moments import Bands, frequencies, spectral_bands
from mnnbio.synapses import Delta, Exponential, SynapseModel
from mnnbio.theory.collective import Collective, Loops, fluctuations_in, interpolated
from mnnbio.theory.fed_trains import (
    EVERY,
    Given,
    Pool,
    arrivals,
    differ,
    link,
    poisson_pool,
    pool,
    representatives,
    require_adding,
    train_given,
    white_given,
)
from mnnbio.theory.inputs import mean_phase, sums, trains
from mnnbio.theory.population_surrogates import (
    GROUPS,
    Spikes,
    Surrogates,
    groups,
    transformed,
)
from mnnbio.theory.population_theory import source_moments
from mnnbio.theory.samplers import Bench
from mnnbio.theory.smooth_responses import MEMORY, causal

Array = npt.NDArray[np.float64]
Complex = npt.NDArray[np.complex128]
Response = Callable[[Array], Complex]

SPREAD = 4  # times as many neurons stand for populations whose neurons differ, in shorter records
HIGHEST = 0.2  # 1/ms, of rates that are tried
FITTED, PRECISION = 0.5, 30.0  # 1/ms, up to which responses are fitted; by how much differences are more precise
SLOWEST = 5  # bands, that are averaged to tell how strong an input is
# Times (ms) and number of the functions to which they are fitted, and the weight of what keeps these small.
DEGREE, LIKE, SLOW, RIDGE = 8, 6, (30.0, 100.0, 300.0), 0.2


class FedAnswers(NamedTuple):
    """How the neurons of populations answer at some frequencies."""

    spectrum: Array  # of a train, (population, frequency), 1/ms
    response: Complex  # of the rate to what a link brings, per unit of weight, (link, frequency)


class FedWires(NamedTuple):
    """Sums of weights times the responses to them at some frequencies, (frequency, row, …)."""

    total: Complex  # with delays
    squares: Array  # sums of squares
    unequal: Array  # the part of these that is due to unequal numbers of targets, as a mean of a row's neurons
    common: Complex  # amplitudes of what sources give to all neurons of a row, (frequency, row, source)
    given: Array  # the variance that the same sources give to a neuron, (frequency, row)

    def received(self, spectrum: Array) -> Array:
        """Return what independent trains bring, as the rate answers to it, (frequency, population), 1/ms."""
        return np.asarray(np.einsum("fab,fb->fa", self.squares, spectrum.T) + self.given)

    def explained(self, spectrum: Array) -> Array:
        """Return what of it the mean of a population does not keep, likewise."""
        return self.received(spectrum) - np.einsum("fab,fb->fa", self.unequal, spectrum.T)


class FedPopulations:
    """Neurons that stand for the populations of a circuit, and what they receive.

    Parameters
    ----------
    circuit : Circuit
        With one stimulus.
    dt : float
        Time step, ms.
    surrogates : Surrogates
    """

    def __init__(self, circuit: Circuit, dt: float, surrogates: Surrogates) -> None:
        self.circuit, self.dt, self.seed = circuit, dt, surrogates.seed
        self.names = [p.name for p in circuit.neurons]
        self.sizes = np.array([float(p.size) for p in circuit.neurons])
        self.alike = not differ(circuit)
        more = 1 if self.alike else SPREAD
        self.records, self.steps = 2 * surrogates.pairs * more, surrogates.steps(dt) // more
        rng = np.random.default_rng((self.seed, 0))
        self.chosen = [representatives(circuit, p, self.records, rng) for p in circuit.neurons]
        places = {name: k for k, name in enumerate([*self.names, *(s.name for s in circuit.sources)])}
        self.links = tuple(
            link(circuit, p, places, self.chosen[places[p.target]], rng)
            for p in circuit.projections
            if sums(circuit, p).squares > 0
        )
        self.models: list[list[SynapseModel]] = [
            list(dict.fromkeys(one.model for one in self.links if one.row == row)) for row in range(len(self.names))
        ]
        self.source_rate, self.source_spread, _ = source_moments(circuit, dt)
        self.source_sizes = np.array([float(s.size) for s in circuit.sources])
        self.frequency = frequencies(self.steps, dt)
        self.bands = spectral_bands(self.steps, dt)
        self.scale = 1e-3  # 1/ms; residuals of lower rates count over this
        self.shared = np.ones((len(self.names), len(self.bands.frequency)))

    @property
    def coupled(self) -> bool:
        """Return whether populations receive each other or sources."""
        return bool(self.links)

    def senders(self, rate: Array) -> Array:
        """Return the rates of all senders, 1/step, at rates of the populations, 1/ms."""
        return np.concatenate([np.minimum(rate, HIGHEST), self.source_rate]) * self.dt

    def white(self, steps: int) -> Given:
        """Return white noise for a part of a record."""
        known = np.concatenate([np.full(len(self.names), 0.01), self.source_rate]) * self.dt
        return white_given(self.links, known, self.records, steps, self.seed)

    def trains(self, spikes: list[Spikes], generation: int) -> tuple[Given, list[Pool]]:
        """Return input that is made of the spikes of the populations, and the trains of which it is made."""
        steps = spikes[0].shape[1]
        pools = [pool(own) for own in spikes]
        for k, source in enumerate(self.circuit.sources):
            rng = np.random.default_rng((self.seed, 1, k, generation))
            pools.append(poisson_pool(trains(source, self.dt).rate, self.records, steps, self.dt, rng))
        factors = None
        if (self.shared != 1).any():
            f = frequencies(steps, self.dt)
            factors = [interpolated(f, self.bands.frequency, row) for row in self.shared]
        return train_given(self.links, pools, factors, (self.seed, generation), alike=self.alike), pools

    def feeds(self, given: Given, rate: Array, extra: dict[int, npt.NDArray[np.float32]] | None = None) -> list[list]:
        """Return what arrives at each kind of synapse of each population, at rates in 1/ms."""
        sent, steps = self.senders(rate), given.whole[0].shape[1] if given.whole else 1
        found = [[np.zeros((self.records, steps), np.float32) for _ in kinds] for kinds in self.models]
        for k, one in enumerate(self.links):
            total = found[one.row][self.models[one.row].index(one.model)]
            total += given.feed(k, sent)
            if extra is not None and k in extra:
                total += extra[k]
        return found

    def fire(self, bench: Bench, given: Given, rate: Array, steps: int, seed: int = 0) -> list[Spikes]:
        """Return the spikes of the neurons at rates of the senders."""
        spikes: list[Spikes] = bench(self.feeds(given, rate), steps, self.seed + seed)
        return spikes

    def rates(self, spikes: list[Spikes]) -> tuple[Array, Array]:
        """Return mean and standard deviation among neurons of the rates of populations, 1/ms."""
        own = [s.mean(1) / self.dt for s in spikes]
        return np.array([o.mean() for o in own]), np.array([o.std() for o in own])

    def group_rates(self, spikes: list[Spikes]) -> Array:
        """Return the rates of populations in each group of records, (group, population), 1/ms."""
        place = groups(self.records)
        return np.array([[s[place == g].mean() / self.dt for s in spikes] for g in range(GROUPS)])

    def rate_errors(self, spikes: list[Spikes]) -> Array:
        """Return the standard errors of the rates from their differences among records, 1/ms."""
        return self.rates(spikes)[1] / np.sqrt(self.records - 1)

    def answers(self, given: Given, rate: Array, spikes: list[Spikes], still: Array | None = None) -> list[FedAnswers]:
        """Return spectra and responses by cross-spectra, by each group of records.

        Parameters
        ----------
        given : Given
        rate : ndarray, shape (population,)
            1/ms.
        spikes : list of ndarray
        still : ndarray, shape (group, link), optional
            Responses to slow changes, where they are known; see `still`.
        """
        steps, place, sent = spikes[0].shape[1], groups(self.records), self.senders(rate)
        bands = spectral_bands(steps, self.dt)
        spectra = np.empty((GROUPS, len(self.names), len(self.bands.frequency)))
        responses = np.zeros((GROUPS, len(self.links), len(self.bands.frequency)), complex)
        for row, own in enumerate(spikes):
            fired = np.stack([transformed(train) for train in own])
            power = np.abs(fired) ** 2 / (steps * self.dt)
            for g in range(GROUPS):
                known = bands.average(power[place == g].mean(0, dtype=np.float64))
                spectra[g, row] = interpolated(self.bands.frequency, bands.frequency, known)
            own_ways = [k for k, one in enumerate(self.links) if one.row == row and given.scale(k, sent) > 0]
            ratios = {k: self._ratios(given, k, sent, fired, place, bands) for k in own_ways}
            # Neurons answer alike to all that they receive: the strongest input says how, with the least noise.
            own_ways.sort(key=lambda k: -self._strength(k, sent, ratios[k]))
            for g in range(GROUPS):
                like: Response | None = None
                for k in own_ways:
                    found = smooth(bands, ratios[k][g], np.nan if still is None else float(still[g, k]), like)
                    like = like or found
                    responses[g, k] = found(self.bands.frequency)
        return [FedAnswers(spectra[g], responses[g]) for g in range(GROUPS)]

    def _ratios(
        self, given: Given, k: int, sent: Array, fired: npt.NDArray[Any], place: npt.NDArray[np.int64], bands: Bands
    ) -> Complex:
        """Return cross-spectra of spikes and what a link brings over the spectrum of the latter, (group, band)."""
        arrived, found = np.asarray(fft.rfft(given.whole[k], axis=1, workers=1)), []
        for g in range(GROUPS):
            mine = place == g
            above = (fired[mine] * arrived[mine].conj()).sum(0, dtype=np.complex128)
            below = (np.abs(arrived[mine]) ** 2).sum(0, dtype=np.float64)
            found.append(bands.average(above) / np.maximum(bands.average(below), 1e-300) / given.scale(k, sent))
        return np.array(found)

    def _strength(self, k: int, sent: Array, ratios: Complex) -> float:
        """Return the power of what a link brings as the rate answers to it in the first bands."""
        one = self.links[k]
        return float(one.sums.squares * sent[one.column] * np.abs(ratios[:, :SLOWEST].mean()) ** 2)

    def still(self, bench: Bench, given: Given, pools: list[Pool], rate: Array, generation: int) -> Array:
        """Return how rates answer to slow changes of what a link brings, (group, link): by some trains more and fewer.

        NaN where a part of the trains brings no mean.
        """
        found = np.full((GROUPS, len(self.links)), np.nan)
        sent, steps = self.senders(rate), given.whole[0].shape[1]
        ways = [[k for k, one in enumerate(self.links) if one.row == row] for row in range(len(self.names))]
        for turn in range(max(len(own) for own in ways)):
            changed = {
                own[turn]: self._part(given, pools, own[turn], sent, generation) for own in ways if turn < len(own)
            }
            more = {k: np.roll(part, steps // 2, axis=1) for k, part in changed.items()}
            fewer = {k: -part for k, part in changed.items()}
            above, below = (
                self.group_rates(bench(self.feeds(given, rate, extra), steps, self.seed + generation))
                for extra in (more, fewer)
            )
            for k, part in changed.items():
                one = self.links[k]
                step = float(part.mean(dtype=np.float64)) / self.dt  # weight per ms
                if abs(step) > 1e-3 * np.sqrt(one.sums.squares) * sent[one.column] / self.dt / EVERY:
                    found[:, k] = (above - below)[:, one.row] / (2 * step)
        return found

    def _part(self, given: Given, pools: list[Pool], k: int, sent: Array, generation: int) -> npt.NDArray[np.float32]:
        """Return what some of the trains of a link bring."""
        one = self.links[k]
        arrived = arrivals(one, pools[one.column], (self.seed, generation, k), part=True)
        return arrived * np.float32(given.scale(k, sent))

    def wires(self, frequency: Array, response: Complex) -> FedWires:
        """Return the sums of weights times the responses to them, at frequencies in 1/ms.

        What `mnnbio.theory.collective` knows as a gain and filters is one response here.
        """
        n, sources = len(self.names), len(self.source_sizes)
        total = np.zeros((len(frequency), n, n), complex)
        squares, unequal = np.zeros((2, len(frequency), n, n))
        common, given = np.zeros((len(frequency), n, sources), complex), np.zeros((len(frequency), n))
        omega = np.asarray(2j * np.pi * frequency, dtype=np.complex128)
        for one, answer in zip(self.links, response, strict=True):
            row, s = one.row, one.sums
            if one.column < n:
                column, share = one.column, self.sizes[one.column] / self.sizes[row]
                total[:, row, column] += s.total * mean_phase(one.projection, omega) * answer
                squares[:, row, column] += s.squares * np.abs(answer) ** 2
                unequal[:, row, column] += share * s.column_variance * np.abs(answer) ** 2
            else:
                k = one.column - n
                spread, size = self.source_spread[k], self.source_sizes[k]
                common[:, row, k] += s.total * answer * np.sqrt(spread / size)
                seen = s.squares - size / self.sizes[row] * s.column_variance
                given[:, row] += seen * spread * np.abs(answer) ** 2
        return FedWires(total, squares, unequal, common, given)

    def fluctuations(self, frequency: Array, answers: FedAnswers) -> Collective:
        """Return the cross-spectra of the populations, with answers at these frequencies."""
        wired = self.wires(frequency, answers.response)
        explained = wired.explained(answers.spectrum)
        loops = Loops(wired.total, wired.total, wired.common, wired.common, explained, self.sizes)
        return fluctuations_in(loops, answers.spectrum)

    def received(self, answers: FedAnswers) -> Array:
        """Return the spectra of what independent trains bring, as the rate answers to it, (population, band), 1/ms."""
        return self.wires(self.bands.frequency, answers.response).received(answers.spectrum).T

    def from_drives(self, answers: FedAnswers) -> Array:
        """Return the same of drives, where they come through synapses of the circuit or are currents beside such."""
        f, found = self.bands.frequency, np.zeros_like(answers.spectrum)
        for drive in self.circuit.drives:
            row, given = self.names.index(drive.target), _cumulants(drive, self.dt)
            own = {one.model: answers.response[k] for k, one in enumerate(self.links) if one.row == row}
            for jump in given.jumps:
                if jump.synapse_model in own:
                    answer = np.abs(own[jump.synapse_model]) ** 2
                    found[row] += jump.weight**2 * float(np.mean(jump.rate)) * answer
            charges = [(m, r) for m, r in own.items() if isinstance(m, Delta | Exponential) and m.UNIT == "mV"]
            if charges:
                model, answer = charges[0]
                tau = model.tau_syn if isinstance(model, Exponential) else 0.0
                passed = 1 / (1 + (2 * np.pi * f * tau) ** 2)
                found[row] += float(np.mean(given.variance)) * np.abs(answer) ** 2 / passed
        return found


def smooth(bands: Bands, values: Complex, still: float, like: Response | None = None) -> Response:
    """Return a response as a function of the frequency, fitted to what cross-spectra say in bands.

    It is a sum of causal functions with poles of given times: noise of single bands would count as power, and what
    trains share is the ratio of two powers that vanish together at high frequencies.

    Parameters
    ----------
    bands : Bands
    values : ndarray, shape (band,)
    still : float
        Response to slow changes, known from differences; NaN where it is not.
    like : callable, optional
        Another response of the same neurons, of which this one is a multiple that depends little on the frequency.
    """
    used = bands.frequency <= FITTED
    f, weight, target = bands.frequency[used], np.sqrt(bands.number[used]), values[used]
    known = None if like is None else like(f)
    scale = 1.0 if known is None else 1 / max(float(np.abs(known).max()), 1e-300)

    def basis(frequency: Array) -> Complex:
        return _causal(frequency, DEGREE) if like is None else _plain(frequency, LIKE) * (scale * like(frequency))

    if np.isfinite(still):
        f, target = np.concatenate([[0.0], f]), np.concatenate([[still], target])
        weight = np.concatenate([[PRECISION * weight[0]], weight])
    columns = basis(f) * weight
    small = RIDGE * np.sqrt(bands.number[0]) * np.eye(len(columns))
    both = np.concatenate([columns.real, columns.imag, small], axis=1)
    goal = np.concatenate([(target * weight).real, (target * weight).imag, np.zeros(len(columns))])
    found, *_ = np.linalg.lstsq(both.T, goal)
    return lambda frequency: np.asarray(found @ basis(frequency))


def _plain(frequency: Array, degree: int) -> Complex:
    """Return causal functions of a memory of some ms, (function, frequency)."""
    decaying = causal(frequency, degree) / (1 + 2j * np.pi * frequency * MEMORY)
    return np.concatenate([np.ones((1, len(frequency))), decaying])


def _causal(frequency: Array, degree: int) -> Complex:
    """Return causal functions of some ms, as `_plain` does, and some of a longer memory."""
    slow = [1 / (1 + 2j * np.pi * frequency * time) for time in SLOW]
    return np.concatenate([_plain(frequency, degree), slow])


def _cumulants(drive: Drive, dt: float) -> InputCumulants:
    """Return what a drive says of its input: nothing, if it cannot."""
    try:
        return drive.cumulants(dt)
    except NotImplementedError:
        return InputCumulants()


def check_fed(circuit: Circuit, dt: float) -> None:
    """Raise a `TypeError` that names the first part of a circuit that neurons on a bench cannot receive."""
    for source in circuit.sources:
        trains(source, dt)
        if type(source) is not PoissonSource:
            raise TypeError(
                f"the source {source.name!r} is a {type(source).__name__}, and the closure 'self_consistent' makes "
                "trains of Poisson sources alone for neurons that the engine simulates: give a PoissonSource"
            )
    for projection in circuit.projections:
        require_adding(projection, circuit.population(projection.target), dt)  # type: ignore[arg-type]
    for drive in circuit.drives:
        if drive.steps(dt).loadings is not None:
            raise TypeError(
                f"{drive} has noise that neurons share (`factor`): the closure 'self_consistent' knows it of LIF "
                "neurons with delta and exponential synapses alone. Give a PoissonSource that they share instead"
            )
