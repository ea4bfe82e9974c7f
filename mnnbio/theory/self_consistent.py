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

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from mnnbio.circuit import Circuit
from mnnbio.moments import NotConverged, Status
from mnnbio.theory.collective import Answers, Collective, averaged, collective, shared_factor
from mnnbio.theory.measured_answers import gaussian_answers, train_answers
from mnnbio.theory.population_surrogates import (
    GROUPS,
    TOLERANCE,
    Circle,
    Currents,
    Input,
    Spikes,
    Surrogates,
    input_skewness,
    rate_errors,
)
from mnnbio.theory.shifted_trains import jump_size, train_input

Array = npt.NDArray[np.float64]
Complex = npt.NDArray[np.complex128]

FEW = 3  # part of the records with which a state is looked for before all of them are used
GENERATIONS = 16  # of Gaussian input, for one state of what trains share
SHARINGS, SHARED = 8, 0.02  # steps of what trains share, and typical relative change of spectra at which it is found
POOLED, AVERAGED = 6, 3  # generations of trains, and how many of them, the last, are averaged
# Relative change of the mean of spectra over rates up to a frequency (1/ms) at which they are found.
SPECTRAL, LOW = 0.015, 0.01
COUNTED = 0.3  # 1/ms, frequency up to which changes of what trains share count
LARGE = 0.02  # jump over the distance from reset to threshold from which trains stand for Gaussian input
LEAST = 0.05  # factor by which correlations may lower the spectrum of an input


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
    node_mean: Array  # of the neurons that stand, mV/ms
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


class SpectralRun(NamedTuple):
    """State of a circuit, and the surrogates from which it is known."""

    circle: Circle
    state: SpectralState
    currents: Currents  # the last fluctuating input of each neuron that stands, (record, step), mV/ms


class RateSearch:
    """Broyden's method for rates at which neurons answer with the rates that they are given; keeps its slopes."""

    def __init__(
        self, rates: Callable[[list[Spikes]], tuple[Array, Array]], scale: float, rate: Array, jacobian: Array
    ) -> None:
        self.rates, self.scale, self.rate, self.jacobian = rates, scale, rate, jacobian
        self.spread = np.zeros_like(rate)

    def search(self, fire: Callable[[], list[Spikes]], most: int = 8) -> tuple[list[Spikes], float]:
        """Return the spikes that are fired at the rates that are found, and the relative residual of these."""
        last = None
        for _ in range(most):
            spikes = fire()
            answer, self.spread = self.rates(spikes)
            residual = answer - self.rate
            size = float(np.abs(residual).max()) / max(self.scale, float(self.rate.max()))
            if last is not None:
                step, change = self.rate - last[0], residual - last[1]
                if step @ step > 0:
                    self.jacobian = self.jacobian + np.outer(change - self.jacobian @ step, step) / (step @ step)
            if size < TOLERANCE:
                break
            last = self.rate.copy(), residual
            move = np.linalg.solve(self.jacobian, -residual)
            # A rate at most doubles in a step and never becomes negative.
            self.rate = np.clip(self.rate + move, self.rate / 2, 2 * self.rate + 0.1 * self.scale)
        return spikes, size


class Solver(RateSearch):
    """Rates of populations that are stood for by neurons in given currents."""

    def __init__(self, circle: Circle) -> None:
        self.circle = circle
        system, state = circle.system, circle.diffusion
        jacobian = state.gain[:, None] * system.recurrent.total - np.eye(len(system.sizes))
        super().__init__(circle.rates, circle.scale, np.maximum(state.rate, 1e-6), jacobian)

    @property
    def mean(self) -> Array:
        """Return the mean inputs at the rates that were found, mV/ms."""
        return self.circle.means(self.rate, self.spread)

    def solve(self, currents: Currents) -> tuple[list[Spikes], float]:
        """Return the spikes in given fluctuations at the rates that are found, and the residual of these."""
        return self.search(lambda: self.circle.fire(self.mean, currents))


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

    @property
    def power(self) -> Array:
        """Return the spectra of the inputs of populations, (population, frequency), mV²/ms."""
        return self.circle.spectra(self.circle.full(self.banded))

    def answers(self, noise: list[Complex], spikes: list[Spikes]) -> list[Answers]:
        """Return the answers of the neurons to Gaussian input, by each group of records."""
        return gaussian_answers(self.circle, self.solver.rate, self.solver.mean, self.power, noise, spikes)

    def settle(self, few: int) -> tuple[list[Complex], list[Spikes]]:
        """Repeat until rates and spectra stay; return the transforms of the input and the spikes."""
        circle, solver = self.circle, self.solver
        low = circle.bands.frequency < LOW
        last = np.inf
        for generation in range(GENERATIONS):
            noise = circle.noise(self.power, circle.counts(few))
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
        move = np.log(shared_factor(found.added, known, LEAST) / circle.shared)
        self.sharing = float(np.sqrt(np.mean(move[:, circle.bands.frequency < COUNTED] ** 2)))
        circle.shared = circle.shared * np.exp(step * move)

    @property
    def found(self) -> bool:
        """Return whether rates, spectra and what trains share stay."""
        return self.size < TOLERANCE and self.change < 2 * SPECTRAL and self.sharing < 2 * SHARED


def spectral_state(
    circuit: Circuit, dt: float, surrogates: Surrogates | None = None, *, start: Array | None = None
) -> SpectralRun:
    """Return the self-consistent rates and spectra of a circuit.

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
    kind: Input = chosen.input or ("trains" if jump > LARGE else "gaussian")
    for _ in range(SHARINGS if circle.coupled else 1):
        noise, spikes = run.settle(FEW)
        if not circle.coupled or run.size >= TOLERANCE:
            break
        found = collective(circle.wires, averaged(run.answers(noise, spikes)))
        if found.largest_real >= 1:
            break
        run.share(found)
        if run.sharing < SHARED:
            break
    noise, spikes = run.settle(1)
    settled, generation = run.found, run.count
    parts = run.answers(noise, spikes)
    currents = circle.currents(noise)
    rates, errors, skewness = [circle.rates(spikes)[0]], [rate_errors(spikes, dt)], [input_skewness(currents)]
    if kind == "trains":
        pooled, currents = _by_trains(circle, run, spikes, parts)
        rates, errors, skewness = ([getattr(p, name) for p in pooled] for name in ("rate", "error", "skewness"))
        parts = [averaged([p.parts[g] for p in pooled]) for g in range(GROUPS)]
        settled, generation = settled and run.size < 5 * TOLERANCE, generation + POOLED
    answers = averaged(parts)
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
        circle.means(rate, solver.spread),
        np.sqrt(power[:, 1:50].mean(1)),
        "converged" if settled else "not converged",
        float(max(run.size, run.change)),
        generation,
        run.keep,
        kind,
        stand.average(np.mean(skewness, axis=0)),
        circle.shared,
    )
    return SpectralRun(circle, state, currents)


class Found(Protocol):
    """State with a word on how it was found."""

    @property
    def status(self) -> Status: ...  # noqa: D102
    @property
    def residual(self) -> float: ...  # noqa: D102
    @property
    def iterations(self) -> int: ...  # noqa: D102
    @property
    def damping(self) -> float: ...  # noqa: D102


def require_found(state: Found) -> None:
    """Raise `NotConverged` with a remedy unless a self-consistent state was found."""
    if state.status != "converged":
        swings = state.damping > 0.75
        raise NotConverged(
            f"no self-consistent state was found: after {state.iterations} generations rates or spectra still change "
            f"by {state.residual:.2g}"
            + (f", and alternate although {state.damping:.0%} of each was kept" if swings else "")
            + ". Try rates of your own with `start`; more `pairs` or a longer `duration` of the surrogates; see with "
            "`fixed_points` which states there are; or take the best one found with `unconverged='report'`"
        )


class Pooled(NamedTuple):
    """Answers of the neurons to input that is made of their own trains, of one generation."""

    parts: list[Answers]
    rate: Array
    error: Array  # of the neurons that stand
    skewness: Array  # of their input


def _by_trains(
    circle: Circle, run: Generations, spikes: list[Spikes], parts: list[Answers]
) -> tuple[list[Pooled], Currents]:
    """Return the answers to input that is made of the neurons' own trains, and the last such input."""
    stand, found = circle.stand, []
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
        made = train_answers(circle, run.solver.rate, run.solver.mean, given, currents, spikes, parts)
        if k < POOLED - AVERAGED:
            answered = averaged(made)
            response = collective(circle.wires, answered)
            if response.largest_real < 1:
                run.shape = answered.spectrum / np.maximum(run.solver.rate, 1e-9)[:, None]
                run.share(response)
        else:
            found.append(
                Pooled(made, circle.rates(spikes)[0], rate_errors(spikes, circle.dt), input_skewness(currents))
            )
    return found, currents
