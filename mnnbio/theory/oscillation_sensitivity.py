"""Which connections make an oscillation: how its frequency and its damping change with each of them.

An eigenvalue λ of the response ``M(ω)`` of the populations to each other makes an oscillation where it comes close to
1. With its left and right eigenvectors v and u, a relative change α of the connection from population l to k moves it
by ``Z_kl α`` [1]_,

    Z_kl = ∂λ/∂α_kl = v_k (∂M_kl/∂α_kl) u_l / (v · u).

Along the direction from λ to 1 Z brings the eigenvalue closer to 1, and across it it shifts the frequency at which λ
passes. The oscillation itself is the deviation e^{st} that keeps itself alive, ``λ(s) = 1``, so that its frequency and
its growth change by ``ds/dα = -Z/λ'(s)``.

References
----------
.. [1] H. Bos, M. Diesmann, M. Helias (2016), Identifying anatomical origins of coexisting oscillations in the cortical
   microcircuit, PLoS Comput. Biol. 12, e1005132, eqs. 7-9.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy.linalg import eig
from scipy.optimize import minimize_scalar

from mnnbio.circuit import Circuit, require_circuit
from mnnbio.machine import check_choice, require_integer
from mnnbio.results import array
from mnnbio.theory.oscillations import HZ, population_modes
from mnnbio.theory.population_response import (
    Representatives,
    ResponseTo,
    follows_variance,
    representatives,
    response_attributes,
    responses_at,
    stationary_populations,
    transmitted_sums,
)
from mnnbio.theory.population_theory import Inputs, PopulationState, System, fluctuations, solve
from mnnbio.theory.recurrence import require_converged
from mnnbio.theory.stationary import Closure
from mnnbio.theory.validity import check_validity
from mnnbio.units import in_unit

Array = npt.NDArray[np.float64]
Complex = npt.NDArray[np.complex128]

Change = Literal["indegree", "weight"]
WorkingPoint = Literal["kept", "follows"]

STEP = 1e-3  # of the numerical derivative by s, relative to |s|: its errors are below 1e-9
PERTURBATION = 3e-4  # relative change of connections where the working point follows; states are found to 1e-9
CHORD_STEPS, ROOT_TOLERANCE = 50, 1e-12
FOLLOWED = 4.0  # Hz between places at which an eigenvalue is followed
NARROWEST = 2.0  # Hz around an oscillation, in which the closest approach to 1 is looked for


class Mode(NamedTuple):
    """An eigenvalue of a response, and its left and right eigenvectors with ``left · right = 1``."""

    value: complex
    left: Complex
    right: Complex


class Loops:
    """Response of the populations of a circuit to each other around a state, as a function of s (1/ms).

    Parameters
    ----------
    circuit : Circuit
    names : list of str
        Of its populations.
    chosen : Representatives
        Neurons in the state.
    dt : float, optional
        Time step, ms.
    noise : bool
        Whether the response to the variance of the input counts.
    """

    def __init__(
        self, circuit: Circuit, names: list[str], chosen: Representatives, dt: float | None, *, noise: bool
    ) -> None:
        self._circuit, self._names, self._chosen, self._dt, self._noise = circuit, names, chosen, dt, noise

    def parts(self, s: complex) -> tuple[Complex, Complex]:
        """Return what the means and what the variances of the inputs transmit, (population, population) each."""
        f = np.array([s / (2j * np.pi)])
        to_mean, to_variance = responses_at(self._chosen, f)
        total, squares = transmitted_sums(self._circuit, self._names, f, self._dt)
        by_variance = to_variance[0][:, None] * squares[0] * float(self._noise)
        return to_mean[0][:, None] * total[0], by_variance

    def at(self, s: complex) -> Complex:
        """Return the response of a row's rate to a column's."""
        mean, variance = self.parts(s)
        return mean + variance

    def derivative(self, s: complex, mode: Mode) -> complex:
        """Return dλ/ds of an eigenvalue, by a difference of the fifth order."""
        h = STEP * abs(s)
        slope = 8 * (self.at(s + h) - self.at(s - h)) - (self.at(s + 2 * h) - self.at(s - 2 * h))
        return complex(mode.left @ slope @ mode.right / (12 * h))


def eigenmode(matrix: Complex, near: complex = 1.0) -> Mode:
    """Return the eigenvalue of a matrix nearest to a number, with its eigenvectors."""
    values, left, right = eig(matrix, left=True, right=True)
    k = int(np.abs(values - near).argmin())
    v = left[:, k].conj()
    return Mode(complex(values[k]), v / (v @ right[:, k]), right[:, k])


def oscillation_sensitivity(
    circuit: Circuit,
    *,
    mode: int = 0,
    frequency: Any = None,
    change: Change = "indegree",
    working_point: WorkingPoint = "kept",
    dt: Any = None,
    closure: Closure = "poisson",
    start: Any = None,
    response: ResponseTo = "mean+variance",
    highest: Any = 0.5,
) -> xr.Dataset:
    """Return how each connection between populations changes the amplitude, frequency and growth of an oscillation.

    Parameters
    ----------
    circuit : Circuit
        With one stimulus, not changing in time.
    mode : int
        Which oscillation, by its number in `predict_oscillations`, the least damped first.
    frequency : float or Quantity, optional
        In 1/ms: takes the oscillation whose frequency is nearest instead, and evaluates its eigenvalue there, not where
        it comes closest to 1.
    change : {"indegree", "weight"}
        What changes by a relative amount: numbers of synapses, or the weight of each. They differ where the response to
        the variance counts.
    working_point : {"kept", "follows"}
        Whether other inputs keep mean and variance of what neurons receive, as in the published measure, or rates
        follow the change, which costs some hundred solutions of the circuit for eight populations. It concerns
        `frequency_change` and `growth_change`; Z is that of the kept working point.
    dt, closure, start, response, highest
        As for `predict_oscillations`.

    Returns
    -------
    Dataset
        Over ``(population, population_j)``, the target and the source of a connection: `sensitivity_real` and
        `sensitivity_imag`, Z; `sensitivity_amplitude`, its component towards 1; `sensitivity_frequency`, the component
        across, positive where a stronger connection shifts the closest approach to higher frequencies;
        `frequency_change` (Hz) and `growth_change` (1/s), the derivatives of the oscillation by a relative change of
        the connection (times 0.01 for one percent). Attributes `frequency` (Hz) at which Z is taken, and there
        `eigenvalue` (real and imaginary part); `mode_frequency` (Hz) and `mode_growth` (1/s) of the oscillation.

    Raises
    ------
    ValueError
        If an option is invalid, or the circuit has no such oscillation; else as for `predict_spectra`, but for a state
        that is unstable.
    NotConverged
        If there is no stationary state.

    Warns
    -----
    SlowSynapseWarning, FiniteWeightWarning
        As by `predict`.

    References
    ----------
    H. Bos, M. Diesmann, M. Helias (2016), PLoS Comput. Biol. 12, e1005132, eqs. 7-9 (there for a kept working point and
    the response to the mean).
    """
    require_circuit(circuit)
    require_integer("mode", mode, 0)
    check_choice("change", change, get_args(Change))
    check_choice("working_point", working_point, get_args(WorkingPoint))
    limit, given = (_frequency(value, name) for value, name in ((highest, "highest"), (frequency, "frequency")))
    assert limit is not None
    noise = follows_variance(response)
    system, state, step = stationary_populations(circuit, dt, closure, start)
    check_validity(circuit, fluctuations(circuit, system, state))
    modes = population_modes(circuit, system, state, step, highest=limit, noise=noise)
    chosen_mode = _chosen(modes, mode, given, limit)
    s = complex(chosen_mode["growth"], 2 * np.pi * chosen_mode["frequency"]) * HZ
    loops = Loops(circuit, system.names, representatives(system, state), step, noise=noise)
    at_root = eigenmode(loops.at(s))
    place = given if given is not None else _closest_approach(loops, s, at_root)
    found = _followed_mode(loops, at_root, s, 2j * np.pi * place)
    mean, variance = loops.parts(2j * np.pi * place)
    Z = _sensitivity(found, _changed(mean, variance, change))
    towards = (1 - found.value) / abs(1 - found.value)
    # Of the two directions across, the one against which the eigenvalue moves as the frequency rises.
    along = loops.derivative(2j * np.pi * place, found) * 1j
    across = 1j * towards * (-1.0 if (along * (1j * towards).conjugate()).real > 0 else 1.0)
    if working_point == "kept":
        moved = -_sensitivity(at_root, _changed(*loops.parts(s), change)) / loops.derivative(s, at_root)
    else:
        moved = _following(circuit, system, state, s, step, closure, change, noise=noise)
    pairs = ("population", "population_j")
    values = {
        "sensitivity_real": Z.real,
        "sensitivity_imag": Z.imag,
        "sensitivity_amplitude": (Z * towards.conjugate()).real,
        "sensitivity_frequency": (Z * across.conjugate()).real,
        "frequency_change": moved.imag / (2 * np.pi * HZ),
        "growth_change": moved.real / HZ,
    }
    coords = {"population": system.names, "population_j": system.names}
    labelled = {name: array(name, pairs, value) for name, value in values.items()}
    return xr.Dataset(labelled, coords=coords).assign_attrs(
        response_attributes(circuit, closure, step, response),
        change=change,
        working_point=working_point,
        frequency=place / HZ,
        eigenvalue=[found.value.real, found.value.imag],
        mode_frequency=s.imag / (2 * np.pi * HZ),
        mode_growth=s.real / HZ,
    )


def _frequency(value: Any, name: str) -> float | None:
    if value is None:
        return None
    number = in_unit(value, "1/ms", name)
    if not isinstance(number, float) or not 0 < number < np.inf:
        raise ValueError(f"`{name}` must be a frequency > 0 in 1/ms, got {value!r}")
    return number


def _chosen(modes: list[dict[str, float]], mode: int, frequency: float | None, highest: float) -> dict[str, float]:
    """Return the oscillation that is asked for."""
    if not modes:
        raise ValueError(
            f"the circuit has no oscillation up to {highest / HZ:.4g} Hz: no loop is in phase there with a gain above "
            "0.1. See `predict_oscillations`, and look further with `highest`"
        )
    if frequency is not None:
        return min(modes, key=lambda found: abs(found["frequency"] - frequency / HZ))
    if mode >= len(modes):
        frequencies = ", ".join(f"{found['frequency']:.3g}" for found in modes)
        raise ValueError(
            f"`mode` must be below {len(modes)}, the number of oscillations (at {frequencies} Hz), got {mode}; see "
            "`predict_oscillations`"
        )
    return modes[mode]


def _followed_mode(loops: Loops, mode: Mode, start: complex, stop: complex) -> Mode:
    """Return the eigenvalue that continues another one along a line, by the overlap of their eigenvectors."""
    steps = max(1, int(np.ceil(abs(stop - start) / (2 * np.pi * FOLLOWED * HZ))))
    for part in np.arange(1, steps + 1) / steps:
        values, left, right = eig(loops.at(start + part * (stop - start)), left=True, right=True)
        k = int(np.abs(mode.left @ right).argmax())
        v = left[:, k].conj()
        mode = Mode(complex(values[k]), v / (v @ right[:, k]), right[:, k])
    return mode


def _closest_approach(loops: Loops, s: complex, mode: Mode) -> float:
    """Return the frequency (1/ms) at which the eigenvalue of an oscillation comes closest to 1."""
    middle = s.imag / (2 * np.pi)
    reach = min(max(abs(s.real) / np.pi, NARROWEST * HZ), middle / 2)
    still = 2j * np.pi * middle
    on_axis = _followed_mode(loops, mode, s, still)

    def distance(f: float) -> float:
        return abs(_followed_mode(loops, on_axis, still, 2j * np.pi * f).value - 1)

    return float(minimize_scalar(distance, bounds=(middle - reach, middle + reach), options={"xatol": 1e-7}).x)


def _changed(mean: Complex, variance: Complex, change: Change) -> Complex:
    """Return the derivative of the response by a relative change of each connection."""
    return mean + variance * (2.0 if change == "weight" else 1.0)


def _sensitivity(mode: Mode, derivative: Complex) -> Complex:
    return mode.left[:, None] * derivative * mode.right


def _following(
    circuit: Circuit,
    system: System,
    state: PopulationState,
    s: complex,
    dt: float | None,
    closure: Closure,
    change: Change,
    *,
    noise: bool,
) -> Complex:
    """Return ds/dα with the working point following, by central differences."""
    size = len(system.names)
    moved = np.zeros((size, size), dtype=complex)
    base = Loops(circuit, system.names, representatives(system, state), dt, noise=noise)
    slope = base.derivative(s, eigenmode(base.at(s)))
    for place in zip(*np.nonzero(system.recurrent.squares), strict=True):
        ends = []
        for sign in (1, -1):
            factor = np.ones((size, size))
            factor[place] += sign * PERTURBATION
            changed = system._replace(recurrent=_scaled(system.recurrent, factor, change))
            other = solve(changed, closure, dt, state.rate)
            require_converged(other.status, other.residual, other.iterations)
            loops = Loops(circuit, system.names, representatives(changed, other), dt, noise=noise)
            ends.append(_root(partial(_response, loops, factor, change), s, slope))
        moved[place] = (ends[0] - ends[1]) / (2 * PERTURBATION)
    return moved


def _response(loops: Loops, factor: Array, change: Change, s: complex) -> Complex:
    mean, variance = loops.parts(s)
    return factor * mean + factor ** (2 if change == "weight" else 1) * variance


def _scaled(inputs: Inputs, factor: Array, change: Change) -> Inputs:
    """Return the sums of weights with the connections changed by factors."""
    if change == "weight":
        return inputs.scaled(factor, factor**2, factor**3)
    return inputs.scaled(factor, factor, factor)


def _root(response: Callable[[complex], Complex], s: complex, slope: complex) -> complex:
    """Return the s near another at which an eigenvalue is 1, given its derivative there."""
    for _ in range(CHORD_STEPS):
        step = (1 - eigenmode(response(s)).value) / slope
        s += step
        if abs(step) <= ROOT_TOLERANCE * abs(s):
            return s
    raise ValueError(
        f"the oscillation at {s.imag / (2 * np.pi * HZ):.4g} Hz was lost when a connection was changed by "
        f"{PERTURBATION:.1%}: it is about to vanish. Use working_point='kept'"
    )
