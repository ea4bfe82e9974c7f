"""Spectra and oscillations of populations by the closure "self_consistent": from the answers of surrogate neurons.

Responses are measured at real frequencies. At complex ones they are those of the same neurons in white noise times a
smooth function, or such a function alone: a polynomial with real coefficients in ``(sτ - 1)/(sτ + 1)``, which is
causal, and fitted at real frequencies.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr

from mnnbio.circuit import Circuit
from mnnbio.results import array, versions
from mnnbio.theory.collective import Answers, collective, effective_loops, wires
from mnnbio.theory.fed_populations import FedAnswers
from mnnbio.theory.fed_state import is_fed
from mnnbio.theory.labelled import step_attributes
from mnnbio.theory.loop_modes import GRID, HZ, eigenvalues_of, label_modes, label_spectra, modes_of
from mnnbio.theory.measured_answers import white_responses
from mnnbio.theory.population_surrogates import Surrogates
from mnnbio.theory.recurrence import require_stable
from mnnbio.theory.second_order import (
    AnySolution,
    Solution,
    at_frequencies,
    checked_surrogates,
    fed_solution,
    jackknife,
    require_single,
    solution_attributes,
    solved,
)

Array = npt.NDArray[np.float64]
Complex = npt.NDArray[np.complex128]

MEMORY = 3.0  # ms, τ of the polynomials
DEGREE = 8
HIGHEST = 0.5  # 1/ms, up to which oscillations decide whether a state is stable


def surrogate_spectra(
    circuit: Circuit,
    frequency: Array,
    *,
    dt: Any,
    start: Any,
    noise: bool,
    unstable: str,
    surrogates: Surrogates | None,
) -> xr.Dataset:
    """Return the labelled spectra of the populations of a circuit; see `mnnbio.predict_spectra`."""
    require_single(circuit, "spectra are")
    options = checked_surrogates(surrogates)
    if is_fed(circuit, options):
        return fed_spectra(circuit, frequency, options, dt=dt, start=start, noise=noise, unstable=unstable)
    solution = solved(circuit, dt, surrogates=surrogates, start=start, covariance=unstable == "raise")
    _require_known(frequency, solution.dt)
    modes = surrogate_modes(solution, HIGHEST, noise=noise)
    delayed = _delayed(solution, modes)
    if unstable == "raise":
        require_stable(solution.stability, covariance=True)
        if "unstable_frequency" in delayed:
            raise ValueError(
                f"the stationary state is unstable: it oscillates at {delayed['unstable_frequency']:.3g} Hz and has no "
                "stationary spectrum. See `predict_oscillations`; unstable='report' gives the linear response anyway"
            )
    wired = wires(circuit, solution.system, frequency, solution.dt)

    def quantities(answers: Answers) -> dict[str, npt.NDArray[Any]]:
        at = at_frequencies(solution.state, frequency, answers)
        return {"cross": collective(wired, at if noise else _of_mean(at)).cross}

    means, errors = jackknife(
        lambda answers: {**(found := quantities(answers)), "power": np.einsum("faa->fa", found["cross"]).real},
        solution.state,
    )
    found = label_spectra(frequency, solution.system.names, means["cross"])
    error = array("power_se", ("frequency", "population"), errors["power"] / HZ)
    return found.assign(power_se=error).assign_attrs(_attributes(circuit, solution), **delayed)


def fed_spectra(
    circuit: Circuit,
    frequency: Array,
    surrogates: Surrogates,
    *,
    dt: Any,
    start: Any,
    noise: bool,
    unstable: str,
) -> xr.Dataset:
    """Return the labelled spectra of populations of any neurons."""
    if not noise:
        raise ValueError(
            "response='mean' is for LIFParameters with Delta and Exponential synapses, got other neurons or synapses, "
            "whose responses to mean and variance are measured as one: leave out `response`"
        )
    solution = fed_solution(circuit, dt, surrogates, start=start, unconverged="raise", covariance=unstable == "raise")
    _require_known(frequency, solution.dt)
    growing = solution.growing
    if unstable == "raise" and growing:
        raise ValueError(
            f"the stationary state is unstable: {growing} deviations grow with the circuit's delays, so that it has "
            "no stationary spectrum. Simulate; unstable='report' gives the linear response anyway"
        )

    def quantities(answers: FedAnswers) -> dict[str, npt.NDArray[Any]]:
        cross = solution.cross(frequency, answers)
        return {"cross": cross, "power": np.einsum("faa->fa", cross).real}

    means, errors = jackknife(quantities, solution.state)
    error = array("power_se", ("frequency", "population"), errors["power"] / HZ)
    return (
        label_spectra(frequency, solution.system.names, means["cross"])
        .assign(power_se=error)
        .assign_attrs(_attributes(circuit, solution), stability_with_delays="unstable" if growing else "stable")
    )


def surrogate_oscillations(
    circuit: Circuit, highest: float, *, dt: Any, start: Any, noise: bool, surrogates: Surrogates | None
) -> xr.Dataset:
    """Return the labelled oscillations of a circuit; see `mnnbio.predict_oscillations`."""
    require_single(circuit, "oscillations are")
    if is_fed(circuit, checked_surrogates(surrogates)):
        raise TypeError(
            "oscillations of the closure 'self_consistent' are for LIFParameters with Delta and Exponential synapses, "
            "whose responses are continued to complex frequencies: `predict_spectra` has the resonances of others, and "
            "says whether their state is stable"
        )
    solution = solved(circuit, dt, surrogates=surrogates, start=start, covariance=False)
    _require_known(np.array([highest]), solution.dt)
    modes = surrogate_modes(solution, highest, noise=noise)
    delayed = _delayed(solution, modes)
    return label_modes(modes).assign_attrs(
        _attributes(circuit, solution), oscillates=int("unstable_frequency" in delayed), **delayed
    )


def surrogate_modes(solution: Solution, highest: float, *, noise: bool) -> list[dict[str, float]]:
    """Return the oscillations around a state up to a frequency in 1/ms, by falling growth."""
    circuit, system, state = solution.circuit, solution.system, solution.state
    f = np.arange(GRID * HZ, min(highest, state.frequency[-1]) + GRID * HZ, GRID * HZ)
    here = at_frequencies(state, f)
    here = here if noise else _of_mean(here)
    on_grid = effective_loops(wires(circuit, system, f, solution.dt), here.gain, here.to_variance)
    continued = _continued(solution)

    def loops(s: Complex) -> Complex:
        places = s / (2j * np.pi)
        gain, to_variance = continued.at(places)
        wired = wires(circuit, system, places, solution.dt)
        return eigenvalues_of(effective_loops(wired, gain, to_variance if noise else 0 * to_variance))

    return modes_of(f, on_grid, loops)


class Continued(NamedTuple):
    """Responses at complex frequencies."""

    solution: Solution
    ratio: Array  # coefficients of the response to the mean over that in white noise, (population, degree)
    to_variance: Array  # of the response to the variance, (row, time constant, sender, degree)

    def at(self, frequency: Complex) -> tuple[Complex, Complex]:
        """Return the responses to mean and variance at complex frequencies in 1/ms."""
        circle, state = self.solution.run.circle, self.solution.state
        white = white_responses(circle, state.node_mean, state.power, frequency)[0]
        basis = _basis(frequency)
        return white * (self.ratio @ basis), np.asarray(self.to_variance @ basis)


def _continued(solution: Solution) -> Continued:
    circle, state = solution.run.circle, solution.state
    used = state.frequency <= 2 * HIGHEST
    f = state.frequency[used]
    white = white_responses(circle, state.node_mean, state.power, f)[0]
    weight = np.sqrt(circle.bands.number[used])
    ratio = np.where(white != 0, state.answers.gain[:, used] / np.where(white != 0, white, 1.0), 0.0)
    gain = _polynomials(ratio, f, weight)
    return Continued(solution, gain, _polynomials(state.answers.to_variance[..., used], f, weight))


def _basis(frequency: npt.NDArray[Any]) -> Complex:
    s = 2j * np.pi * frequency * MEMORY
    return np.asarray(((s - 1) / (s + 1)) ** np.arange(DEGREE)[:, None])


def _polynomials(values: Complex, frequency: Array, weight: Array) -> Array:
    """Return the coefficients of values (..., frequency)."""
    basis = _basis(frequency) * weight
    both = np.concatenate([basis.real, basis.imag], axis=1)
    flat = (values * weight).reshape(-1, len(frequency))
    found, *_ = np.linalg.lstsq(both.T, np.concatenate([flat.real, flat.imag], axis=1).T, rcond=None)
    return np.asarray(found.T.reshape(*values.shape[:-1], DEGREE))


def _of_mean(answers: Answers) -> Answers:
    return answers._replace(to_variance=0 * answers.to_variance)


def _delayed(solution: Solution, modes: list[dict[str, float]]) -> dict[str, Any]:
    """Return the attributes about the stability of a state with delays; measured responses are known at all of them."""
    growing = [mode["frequency"] for mode in modes if mode["growth"] > 0]
    stable = not growing and solution.stability.largest_real < 1
    return {
        "stability_with_delays": "stable" if stable else "unstable",
        **({"unstable_frequency": float(growing[0])} if growing else {}),
    }


def _require_known(frequency: Array, dt: float) -> None:
    """Raise a `ValueError` for frequencies that no steps of time resolve."""
    most = float(frequency.max(initial=0.0))
    if most > 0.5 / dt:
        raise ValueError(
            f"frequencies must be at most 1/(2 dt) = {0.5 / dt:g} in 1/ms, that is {500 / dt:g} Hz, got {most:g}: in "
            f"steps of {dt:g} ms faster ones do not exist. Ask for lower ones, or give a smaller `dt`"
        )


def _attributes(circuit: Circuit, solution: AnySolution) -> dict[str, Any]:
    return {
        "group": "prediction",
        "closure": "self_consistent",
        **step_attributes(solution.dt),
        "circuit_hash": circuit.hash(),
        **versions(),
        **solution_attributes(solution),
    }
