"""Variances, covariances and spectra of populations, from the spectra that their trains have in the circuit.

``C(f) = K (S_η + B S_ext B†) K†`` for the mean activity of populations (`mnnbio.theory.collective`), with responses
measured in input of the self-consistent spectrum (`mnnbio.theory.self_consistent`). Counts in a window T weigh C(f)
with ``T² sinc²(fT)``; spectra are C(f) itself. All come from one object, `Solution`.

References
----------
B. Lindner, B. Doiron, A. Longtin (2005), Phys. Rev. E 72, 061919. A. Lerchner et al. (2006), Neural Comput. 18, 634.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import xarray as xr

from mnnbio.circuit import Circuit, require_circuit
from mnnbio.machine import check_choice
from mnnbio.results import array, versions
from mnnbio.theory.collective import Answers, Collective, averaged, collective, interpolated, wires
from mnnbio.theory.fed_populations import FedAnswers, FedPopulations, check_fed
from mnnbio.theory.fed_state import FedSolution, FedState, fed_state, fed_volleys, is_fed
from mnnbio.theory.labelled import step_attributes
from mnnbio.theory.population_surrogates import Circle, Surrogates
from mnnbio.theory.population_theory import System, pair_covariance, population_start
from mnnbio.theory.recurrence import require_stable
from mnnbio.theory.self_consistent import SpectralRun, SpectralState, require_found, spectral_state
from mnnbio.theory.validity import (
    LOWEST_RATE,
    check_predictable,
    checked_step,
    warn_of_amplification,
    warn_of_bursts,
    warn_of_collective_activity,
    warn_of_disorder,
    warn_of_few_samples,
    warn_of_swings,
)
from mnnbio.theory.volleys import Volleys, volleys
from mnnbio.theory.wired_response import Stability
from mnnbio.units import in_unit

Array = npt.NDArray[np.float64]
Complex = npt.NDArray[np.complex128]

AnySolution: TypeAlias = "Solution | FedSolution"

FASTEST_SWING = 0.5  # 1/ms, up to which populations act together
STABILITY_COVERS = "static: the response of rates to mean and variance of the input, without delays"


class Solution(NamedTuple):
    """Self-consistent state of the populations of a circuit, and their fluctuations around it."""

    circuit: Circuit
    run: SpectralRun
    found: Collective  # at the frequencies of the state
    volleys: Volleys
    dt: float

    @property
    def system(self) -> System:
        """Return the equations of the populations."""
        return self.run.circle.system

    @property
    def state(self) -> SpectralState:
        """Return the state of the populations."""
        return self.run.state

    def fluctuations(self, answers: Answers) -> Collective:
        """Return the fluctuations that follow from answers at the frequencies of the state."""
        return collective(self.run.circle.wires, answers)

    def cross(self, frequency: Array) -> Complex:
        """Return the cross-spectra at other frequencies, (frequency, population, population), 1/ms."""
        wired = wires(self.circuit, self.system, frequency, self.dt)
        return collective(wired, at_frequencies(self.state, frequency)).cross

    @property
    def stability(self) -> Stability:
        """Return the eigenvalues of the response of the rates to each other at the lowest frequency."""
        values = np.linalg.eigvals(self.found.effective[0].real)
        return Stability(float(np.abs(values).max()), float(values.real.max()))


def at_frequencies(state: SpectralState, frequency: Array, answers: Answers | None = None) -> Answers:
    """Return the answers of the neurons at other frequencies."""
    own = answers or state.answers
    return Answers(*(interpolated(frequency, state.frequency, values) for values in own))


def solved(
    circuit: Circuit,
    dt: Any,
    *,
    surrogates: Surrogates | None = None,
    start: Any = None,
    unconverged: str = "raise",
    covariance: bool = True,
) -> Solution:
    """Return the self-consistent state of a circuit with one stimulus, checked, and its linear response.

    Raises
    ------
    ValueError
        If there is no time step, or fluctuations grow around the state and covariances are wanted.
    NotConverged
        If no state is found.
    TypeError
        If there is no theory for a part of the circuit.

    Warns
    -----
    CollectiveActivityWarning, DisorderWarning, LinearResponseWarning, SamplingWarning
    """
    check_predictable(circuit)
    step, options = required_step(circuit, dt), checked_surrogates(surrogates)
    run = spectral_state(circuit, step, options, start=population_start(circuit, start))
    system, state, wired = run.circle.system, run.state, run.circle.wires
    if unconverged == "raise":
        require_found(state)
    found = collective(wired, state.answers)
    solution = Solution(circuit, run, found, volleys(system, state, wired, found), step)
    warn_of_disorder(system.names, disorder(run.circle, state.rate))
    check_solution(solution, options, covariance=covariance)
    return solution


def any_solution(
    circuit: Circuit,
    dt: Any,
    surrogates: Surrogates,
    *,
    start: Any,
    unconverged: str = "raise",
    covariance: bool = True,
) -> AnySolution:
    """Return the self-consistent state of a circuit of LIF neurons or others; see `solved`."""
    found = fed_solution if is_fed(circuit, surrogates) else solved
    return found(circuit, dt, surrogates=surrogates, start=start, unconverged=unconverged, covariance=covariance)


def fed_solution(
    circuit: Circuit, dt: Any, surrogates: Surrogates, *, start: Any, unconverged: str, covariance: bool
) -> FedSolution:
    """Return the state and the linear response of a circuit of any neurons; see `solved`."""
    step = required_step(circuit, dt)
    check_fed(circuit, step)
    fed = FedPopulations(circuit, step, surrogates)
    state = fed_state(fed, population_start(circuit, start))
    if unconverged == "raise":
        require_found(state)
    found = fed.fluctuations(state.frequency, state.answers)
    solution = FedSolution(circuit, fed, state, found, fed_volleys(fed, state, found), step)
    check_solution(solution, surrogates, covariance=covariance)
    return solution


def required_step(circuit: Circuit, dt: Any) -> float:
    """Return the time step in ms; raise a `ValueError` where there is none."""
    step = checked_step(circuit, dt, drawn=False)
    if step is None:
        raise ValueError(
            "closure='self_consistent' simulates neurons in time steps: give `dt`, that of the simulation to be "
            "predicted, or for continuous time a small one (0.02 ms)"
        )
    return step


def check_solution(solution: AnySolution, options: Surrogates, *, covariance: bool) -> None:
    """Raise or warn where a state is unstable, or linear response is doubtful."""
    state, common, names = solution.state, solution.volleys, solution.system.names
    require_stable(solution.stability, covariance)
    warn_of_few_samples(state.rate, state.rate_error, options.pairs, options.accuracy)
    firing = state.rate > 0
    warn_of_bursts(names, np.where(firing, state.spectrum[:, 0] / np.where(firing, state.rate, 1.0), 1.0))
    if covariance:
        warn_of_amplification(solution.stability)
        share = np.where(state.rate > LOWEST_RATE, common.share, 0.0)
        warn_of_swings(names, *swings(state, solution.found, solution.system.sizes))
        warn_of_collective_activity(names, share, common.skewness, common.kurtosis, solution.stability)


def disorder(circle: Circle, rate: Array) -> Array:
    """Return how the variances of the input differ among neurons by their in-degrees, over their mean."""
    recurrent = circle.system.recurrent
    given = sum(circle.given.squares.values(), np.zeros(recurrent.total.shape)) * rate
    part = recurrent.row_variance / np.where(recurrent.total != 0, recurrent.total, np.inf) ** 2
    whole = given.sum(1) + circle.given.outside[:, 1]
    return np.asarray(np.sqrt((given**2 * part).sum(1)) / np.where(whole > 0, whole, np.inf))


def swings(state: SpectralState | FedState, found: Collective, sizes: Array) -> tuple[Array, Array]:
    """Return the standard deviation of what populations do together over their rates, and where it is largest."""
    used = state.frequency <= FASTEST_SWING
    common = np.einsum("faa->af", found.cross[used]).real - state.spectrum[:, used] / sizes[:, None]
    variance = 2 * np.trapezoid(np.maximum(common, 0.0), state.frequency[used])
    firing = state.rate > LOWEST_RATE
    size = np.where(firing, np.sqrt(variance) / np.where(firing, state.rate, 1.0), 0.0)
    return size, state.frequency[used][common.argmax(1)]


def window_covariance(
    state: SpectralState | FedState,
    answers: Answers | FedAnswers,
    found: Collective,
    sizes: Array,
    window: float,
) -> tuple[Array, Array]:
    """Return the count variance of single trains and the covariance of summed counts in a window (ms)."""
    f, weight = state.records, window_weights(state.records, window)
    single = interpolated(f, state.frequency, answers.spectrum) @ weight
    private = answers.spectrum.T[:, :, None] * (np.eye(len(sizes)) / sizes)
    pairs = (found.cross - private).real.transpose(1, 2, 0)
    summed = interpolated(f, state.frequency, pairs) @ weight
    return single, (summed + np.diag(single / sizes)) * np.outer(sizes, sizes)


def checked_surrogates(surrogates: Surrogates | None) -> Surrogates:
    """Return the options of surrogate neurons, by default all of them."""
    if surrogates is not None and not isinstance(surrogates, Surrogates):
        raise TypeError(f"`surrogates` must be mnnbio.theory.Surrogates(...), got {surrogates!r}")
    return surrogates or Surrogates()


def window_weights(frequency: Array, window: float) -> Array:
    """Return what two-sided spectra on the frequencies of records count for in the variance of counts in a window."""
    weight = 2 * window**2 * np.sinc(frequency * window) ** 2 * frequency[1]
    weight[0] /= 2
    return np.asarray(weight)


def pair_spectra(solution: Solution, window: float) -> Array:
    """Return what the covariances of pairs in a window are beyond those of long windows, (population, population)."""
    state, sizes, found = solution.state, solution.system.sizes, solution.found
    single, summed = window_covariance(state, state.answers, found, sizes, window)
    long = found.cross[0].real * np.outer(sizes, sizes)
    counted = pair_covariance(summed, sizes, single) - window * pair_covariance(long, sizes, state.spectrum[:, 0])
    return np.where(np.isnan(counted), 0.0, counted)  # a population of one has no pairs


def checked_window(window: Any, longest: float) -> float | None:
    """Return a counting window in ms, after checking that records are long enough for it."""
    if window is None:
        return None
    span = in_unit(window, "ms", "window")
    if not (isinstance(span, float) and 0 < span <= longest * (1 + 1e-9)):
        raise ValueError(
            f"`window` must be a single time > 0 and ≤ {longest:.4g} ms, a quarter of a record, got {window}; "
            "Surrogates(duration=…) makes records longer"
        )
    return span


def second_order_prediction(
    circuit: Circuit,
    *,
    dt: Any,
    window: float | None,
    surrogates: Surrogates | None,
    covariance: bool,
    start: Any,
    unconverged: str,
) -> xr.Dataset:
    """Return the labelled statistics of the populations of a circuit with one stimulus; see `mnnbio.predict`."""
    options = checked_surrogates(surrogates)
    checked_window(window, options.longest_window(dt))
    solution = any_solution(circuit, dt, options, start=start, unconverged=unconverged, covariance=covariance)
    return label_solution(solution, window, covariance=covariance)


def label_solution(solution: AnySolution, window: float | None, *, covariance: bool) -> xr.Dataset:
    """Return the labelled statistics of populations, with standard errors from groups of records."""
    system, state = solution.system, solution.state
    checked_window(window, 0.25 / float(state.records[1]))  # records of neurons that differ may be shorter
    one, two = ("population",), ("population", "population_j")
    dims = {"variance": one, "fano": one, "count_variance": one, "count_fano": one}
    firing, rate = state.rate > 0, np.where(state.rate > 0, state.rate, 1.0)

    def quantities(answers: Any) -> dict[str, npt.NDArray[Any]]:
        variance = answers.spectrum[:, 0]
        values = {"variance": variance * 1e3, "fano": np.where(firing, variance / rate, 1.0)}
        found = solution.fluctuations(answers) if covariance or window is not None else solution.found
        if covariance:
            long = found.cross[0].real * np.outer(system.sizes, system.sizes)
            values["population_covariance"] = long * 1e3
            values["pair_covariance"] = pair_covariance(long, system.sizes, variance) * 1e3
        if window is not None:
            single, summed = window_covariance(state, answers, found, system.sizes, window)
            values["count_variance"] = single
            values["count_fano"] = np.where(firing, single / (rate * window), 1.0)
            if covariance:
                values["count_covariance"] = pair_covariance(summed, system.sizes, single)
        return values

    means, errors = jackknife(quantities, state)
    labelled = [
        array("rate", one, state.rate * 1e3),
        array("rate_se", one, state.rate_error * 1e3),
    ]
    if isinstance(state, SpectralState):  # other inputs may be no currents
        labelled.append(array("mean_input", one, state.mean_input * 1e3))
        labelled.append(array("std_input", one, state.std_input * 1e3**0.5))
    for name, values in means.items():
        over = dims.get(name, two)
        attrs = {"window": window * 1e-3} if window is not None and name.startswith("count_") else {}
        if name == "count_fano":
            attrs = {}
        labelled.append(array(name, over, values, **attrs))
        labelled.append(array(f"{name}_se", over, errors[name], **attrs))
    coords = {"population": system.names, **({"population_j": system.names} if covariance else {})}
    return xr.Dataset({v.name: v for v in labelled}, coords=coords).assign_attrs(solution_attributes(solution))


def jackknife(
    quantities: Callable[[Any], dict[str, npt.NDArray[Any]]], state: SpectralState | FedState
) -> tuple[dict[str, npt.NDArray[Any]], dict[str, npt.NDArray[Any]]]:
    """Return quantities of the answers, and their standard errors by leaving out one group of records after another."""
    parts = state.parts
    means, count = quantities(state.answers), len(parts)
    left = []
    for out in range(count):
        others = [part for k, part in enumerate(parts) if k != out]
        left.append(quantities(averaged(others)))
    errors = {name: np.sqrt((count - 1) * np.var([values[name] for values in left], axis=0)) for name in means}
    return means, errors


def solution_attributes(solution: AnySolution) -> dict[str, Any]:
    """Return the attributes of a result that say how its state was found."""
    state, stable = solution.state, solution.stability
    common = solution.volleys
    return {
        "status": state.status,
        "residual": state.residual,
        "iterations": state.iterations,
        "input": state.input,
        "damping": state.damping,
        **stable._asdict(),
        "stability": "stable" if stable.largest_real < 1 else "unstable",
        "stability_covers": STABILITY_COVERS,
        "common_input_share": float(common.share.max(initial=0.0)),
        "common_input_skewness": float(common.skewness[np.abs(common.skewness).argmax()]),
        "common_input_kurtosis": float(common.kurtosis.max(initial=0.0)),
    }


def predict_second_order(
    circuit: Circuit,
    *,
    dt: Any,
    window: Any = None,
    surrogates: Surrogates | None = None,
    start: Any = None,
    unconverged: Literal["raise", "report"] = "raise",
) -> xr.Dataset:
    """Return rates, variances, covariances and spectra of the populations of a circuit.

    What `predict` with ``closure="self_consistent", resolution="population"`` gives, and the spectra of
    `predict_spectra` at the frequencies of the records, from one state.

    Parameters
    ----------
    circuit : Circuit
        With one stimulus. Neurons other than leaky integrate-and-fire ones with delta or exponential synapses need
        `mnnbio.validation` to be imported.
    dt : float or Quantity
        Time step of the simulation to be predicted, ms.
    window : float or Quantity, optional
        Counting window, ms, of at most a quarter of a record (3.3 s by default). Adds the statistics of counts in it.
    surrogates : Surrogates, optional
        Options of the simulated neurons.
    start : float, array_like, Quantity or dict, optional
        Rates from which the state is looked for; see `predict`.
    unconverged : {"raise", "report"}
        What to do where no self-consistent state is found; see `predict`.

    Returns
    -------
    Dataset
        Over `population` `rate`, `variance` and `fano` (long windows), `mean_input`, `std_input`; over ``(population,
        population_j)`` `population_covariance` and `pair_covariance`; over ``(frequency, population)`` `power` and over
        ``(frequency, population, population_j)`` `cross_real`, `cross_imag`, as `predict_spectra` defines them. With a
        window `count_variance`, `count_fano` over `population` and `count_covariance`, the mean of two different
        neurons, over ``(population, population_j)``. Most with standard errors, ``<name>_se``. In Hz and seconds.
        Attributes as of `predict`.

    Raises
    ------
    ValueError
        If an option is invalid, or fluctuations grow around the state.
    NotConverged
        If no self-consistent state is found.
    TypeError
        If there is no theory for a part of the circuit.

    Warns
    -----
    CollectiveActivityWarning, DisorderWarning, LinearResponseWarning, SamplingWarning
        As by `predict`.
    """
    require_circuit(circuit)
    require_single(circuit, "the second order is")
    check_choice("unconverged", unconverged, ["raise", "report"])
    options = checked_surrogates(surrogates)
    span = checked_window(window, options.longest_window(dt))
    solution = any_solution(circuit, dt, options, start=start, unconverged=unconverged)
    found = label_solution(solution, span, covariance=True)
    cross = solution.found.cross.conj() * 1e3
    along = ("frequency", "population"), ("frequency", "population", "population_j")
    spectra = [
        array("power", along[0], np.einsum("faa->fa", cross).real),
        array("cross_real", along[1], cross.real),
        array("cross_imag", along[1], cross.imag),
    ]
    frequency = ("frequency", solution.state.frequency * 1e3, {"units": "Hz", "long_name": "frequency"})
    return (
        found.assign({v.name: v for v in spectra})
        .assign_coords(frequency=frequency)
        .assign_attrs(
            group="prediction",
            theory="diffusion",
            closure="self_consistent",
            **step_attributes(solution.dt),
            window="long" if span is None else span * 1e-3,
            circuit_hash=circuit.hash(),
            **versions(),
        )
    )


def require_single(circuit: Circuit, what: str) -> None:
    """Raise a `ValueError` unless a circuit has one stimulus that does not change."""
    if circuit.n_stimuli is not None or circuit.changes_in_time:
        raise ValueError(
            f"{what} of one stationary state, got several stimuli or an input that changes in time. Choose one with "
            "`circuit.select(...)`, `circuit.at_time(...)` or `circuit.averaged()`"
        )
