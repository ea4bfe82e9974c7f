"""Self-consistent state of populations of any neurons, in trains of each other through their circuit's synapses.

Neurons that stand for each population receive trains of the last generation, each shifted in time at random, and fire
the next one [1]_. Rates are solved for in each generation on the same trains, by scaling what they bring. What trains
share by the circuit changes the spectrum of what arrives, and is found with the rest.

References
----------
.. [1] B. Dummer, S. Wieland, B. Lindner (2014), Self-consistent determination of the spike-train power spectrum in a
   neural network with sparse connectivity, Front. Comput. Neurosci. 8, 104.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mnnbio.circuit import Circuit
from mnnbio.moments import Status
from mnnbio.neurons import LIFParameters
from mnnbio.synapses import Delta, Exponential
from mnnbio.theory.answers import membrane_time
from mnnbio.theory.collective import Collective, averaged, interpolated, shared_factor
from mnnbio.theory.fed_populations import FITTED, FedAnswers, FedPopulations
from mnnbio.theory.fed_trains import Given, Pool
from mnnbio.theory.population_surrogates import GROUPS, TOLERANCE, Input, Surrogates
from mnnbio.theory.samplers import Bench, bench_maker
from mnnbio.theory.self_consistent import LEAST, LOW, SPECTRAL, RateSearch
from mnnbio.theory.stationary import array_fixed_point
from mnnbio.theory.volleys import Volleys, asymmetry, grid
from mnnbio.theory.wired_response import Stability

Array = npt.NDArray[np.float64]
Complex = npt.NDArray[np.complex128]

FIRST, FEW = 8, 4  # parts of a record with which rates and spectra are looked for
CLOSE, STEPS = 0.02, 40  # relative change at which rates in white noise are found, and evaluations at most
CHANGE = 0.1  # of rates, relative, from which the first slopes are taken
GENERATIONS, SETTLING, AVERAGED = 8, 2, 3  # of parts of records; of whole ones, to settle and to be averaged
MEMBRANE = 20.0  # ms, time constant of neurons of which none is known
GRID = 2e-4  # 1/ms, between frequencies at which loops are looked at


class FedState(NamedTuple):
    """Self-consistent rates and spectra; see `mnnbio.theory.self_consistent.SpectralState`."""

    frequency: Array  # (band,), 1/ms
    rate: Array  # 1/ms
    rate_error: Array
    answers: FedAnswers
    parts: tuple[FedAnswers, ...]
    records: Array  # frequencies of the records, 1/ms
    status: Status
    residual: float
    iterations: int
    damping: float
    input: Input

    @property
    def spectrum(self) -> Array:
        """Return the spectra of trains, (population, band), 1/ms."""
        return self.answers.spectrum


def is_fed(circuit: Circuit, surrogates: Surrogates) -> bool:
    """Return whether neurons of a circuit are simulated by the engine, with the synapses that they have."""
    if surrogates.input is not None:
        return surrogates.input == "synapses"
    models = [p.synapse_model for p in circuit.projections]
    models += [jump.synapse_model for drive in circuit.drives for jump in drive.steps(1.0).jumps]
    plain = all(isinstance(m, Delta) or (isinstance(m, Exponential) and m.unit == "mV") for m in models)
    return not plain or not all(isinstance(p.neuron, LIFParameters) for p in circuit.neurons)


class Search:
    """State of the populations while it is looked for."""

    def __init__(self, fed: FedPopulations, bench: Bench, start: Array | None) -> None:
        self.fed, self.bench, self.count = fed, bench, 0
        given = fed.white(fed.steps // FIRST)
        steps = fed.steps // FIRST

        def answer(rate: Array) -> Array:
            return fed.rates(fed.fire(bench, given, rate, steps))[0]

        first = np.zeros(len(fed.names)) if start is None else start
        rate = array_fixed_point(answer, first, tolerance=CLOSE, max_iterations=STEPS).value
        rate = np.maximum(rate, fed.scale)
        here, found = answer(rate), np.empty((len(rate), len(rate)))
        for k in range(len(rate)):
            moved = rate.copy()
            moved[k] *= 1 + CHANGE
            found[:, k] = (answer(moved) - here) / (CHANGE * rate[k])
        self.solver = RateSearch(fed.rates, fed.scale, rate, found - np.eye(len(rate)))
        self.spikes = fed.fire(bench, fed.white(fed.steps // FEW), rate, fed.steps // FEW)

    def generation(self) -> tuple[Given, list[Pool], float]:
        """Let the neurons fire in their own trains; return these, and the residual of the rates."""
        self.count += 1
        steps = self.spikes[0].shape[1]
        given, pools = self.fed.trains(self.spikes, self.count)
        self.spikes, size = self.solver.search(
            lambda: self.fed.fire(self.bench, given, self.solver.rate, steps, self.count)
        )
        return given, pools, size

    def lengthen(self) -> None:
        """Go on with whole records, which repeat the spikes of parts of such."""
        times = self.fed.steps // self.spikes[0].shape[1]
        self.spikes = [np.tile(own, (1, times)) for own in self.spikes]

    def learn(self, answers: FedAnswers, step: float = 0.5) -> None:
        """Take the slopes of the rates from answers, and move what trains share by a step of its logarithm."""
        fed = self.fed
        if not fed.coupled:
            return
        found, known = fed.fluctuations(fed.bands.frequency, answers), fed.received(answers)
        if found.largest_real >= 1:
            return
        self.solver.jacobian = slopes(found)
        fed.shared = fed.shared * (shared_factor(found.added, known, LEAST) / fed.shared) ** step


def slopes(found: Collective) -> Array:
    """Return the derivatives of the residual of rates, by the response at the lowest frequency."""
    effective = found.effective[0].real
    return np.asarray(effective - np.eye(len(effective)))


def fed_state(fed: FedPopulations, start: Array | None = None) -> FedState:
    """Return the self-consistent rates and spectra of populations."""
    low = fed.bands.frequency < LOW
    with bench_maker()(fed.circuit, fed.chosen, fed.models, fed.dt) as bench:
        run = Search(fed, bench, start)
        shape = None
        for _ in range(GENERATIONS if fed.coupled else 1):
            given, _, size = run.generation()
            answers = averaged(fed.answers(given, run.solver.rate, run.spikes))
            run.learn(answers)
            last, shape = shape, answers.spectrum[:, low].mean(1) / np.maximum(run.solver.rate, 1e-9)
            if last is not None and np.abs(shape - last).max() < 2 * SPECTRAL:
                break
        run.lengthen()
        found, rates, errors, sizes = [], [], [], []
        for k in range(SETTLING + AVERAGED):
            given, pools, size = run.generation()
            rate = run.solver.rate.copy()
            if k < SETTLING:
                run.learn(averaged(fed.answers(given, rate, run.spikes)))
                continue
            still = fed.still(bench, given, pools, rate, run.count) if fed.coupled else None
            found.append(fed.answers(given, rate, run.spikes, still))
            answered = fed.rates(run.spikes)[0]
            rates.append(answered)
            errors.append(fed.rate_errors(run.spikes))
            sizes.append(size)
    parts = [averaged([own[g] for own in found]) for g in range(GROUPS)]
    answers, rate = averaged(parts), np.mean(rates, axis=0)
    each = np.sqrt(np.mean(np.square(errors), axis=0) / len(errors))
    around = np.linalg.solve(slopes(fed.fluctuations(fed.bands.frequency, answers)), np.diag(each))
    error = np.sqrt((around**2).sum(1))
    spread, floor = np.std(rates, axis=0), np.maximum(rate, fed.scale)
    drift = float((spread / floor).max())
    # Generations differ by the noise of their records, too.
    steady = spread < np.maximum(CLOSE * floor, 3 * np.sqrt(AVERAGED) * error)
    settled = max(sizes) < 10 * TOLERANCE and bool(steady.all())
    return FedState(
        fed.bands.frequency,
        rate,
        error,
        answers,
        tuple(parts),
        fed.frequency,
        "converged" if settled else "not converged",
        max(max(sizes), drift),
        run.count,
        0.0,
        "synapses",
    )


def growing_modes(loops: Complex) -> int:
    """Return how many deviations grow around loops of a response: windings of ``det(I - loops)`` around 0 (Nyquist).

    Parameters
    ----------
    loops : ndarray, shape (frequency, population, population)
        From frequency 0 to where they have decayed, close enough for the determinant to turn by less than π.
    """
    turned = np.unwrap(np.angle(np.linalg.det(np.eye(loops.shape[1]) - loops)))
    return abs(round((turned[-1] - turned[0]) / np.pi))


class FedSolution(NamedTuple):
    """Self-consistent state of populations of any neurons, and their fluctuations around it."""

    circuit: Circuit
    system: FedPopulations
    state: FedState
    found: Collective  # at the frequencies of the state
    volleys: Volleys
    dt: float

    def fluctuations(self, answers: FedAnswers) -> Collective:
        """Return the fluctuations that follow from answers at the frequencies of the state."""
        return self.system.fluctuations(self.state.frequency, answers)

    def cross(self, frequency: Array, answers: FedAnswers | None = None) -> Complex:
        """Return the cross-spectra at other frequencies, (frequency, population, population), 1/ms."""
        own = answers or self.state.answers
        there = FedAnswers(*(interpolated(frequency, self.state.frequency, values) for values in own))
        return self.system.fluctuations(frequency, there).cross

    @property
    def growing(self) -> int:
        """Return the number of deviations that grow, delays included."""
        f = np.asarray(np.arange(0.0, FITTED, GRID), dtype=np.float64)
        response = interpolated(f, self.state.frequency, self.state.answers.response)
        loops = self.system.wires(f, response).total
        return growing_modes(loops)

    @property
    def stability(self) -> Stability:
        """Return the eigenvalues of the response of the rates to each other at the lowest frequency."""
        values = np.linalg.eigvals(self.found.effective[0].real)
        return Stability(float(np.abs(values).max()), float(values.real.max()))


def fed_volleys(fed: FedPopulations, state: FedState, found: Collective) -> Volleys:
    """Return how large and how asymmetric the common input of each population is, as its rate answers to it.

    A membrane of their time constant weighs the frequencies, as for leaky neurons (`mnnbio.theory.volleys`).
    """
    times = [membrane_time(p.neuron) for p in fed.circuit.neurons]
    tau = np.array([MEMBRANE if own is None else float(np.mean(own)) for own in times])[:, None]
    wired = fed.wires(state.frequency, state.answers.response)
    whole = np.maximum(fed.received(state.answers) + fed.from_drives(state.answers) + found.added, found.shared)
    passed = 1 / (1 + (2 * np.pi * state.frequency * tau) ** 2)
    common, all_ = (np.trapezoid(power * passed, state.frequency) for power in (found.shared, whole))
    f = grid()
    through = interpolated(f, state.frequency, (wired.total @ found.kernel).transpose(1, 2, 0))
    seen = np.asarray(through / (1 / tau + 2j * np.pi * f)[:, None], dtype=np.complex128).transpose(2, 0, 1)
    return Volleys(common / np.where(all_ > 0, all_, np.inf), *asymmetry(seen, fed.sizes, state.rate))
