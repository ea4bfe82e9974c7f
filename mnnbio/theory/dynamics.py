"""Spectra of population activity, and the oscillations that a circuit tends to, by linear response in frequency."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy.optimize import root

from mnnbio.circuit import Circuit
from mnnbio.lif import in_unit
from mnnbio.moments.stationary import Closure
from mnnbio.results import array, versions
from mnnbio.theory.modulation import Modulation, modulation
from mnnbio.theory.population_system import PopulationState, System, population_system, solve
from mnnbio.theory.population_theory import own_noise, population_start
from mnnbio.theory.recurrence import require_converged

Array = npt.NDArray[np.float64]
Complex = npt.NDArray[np.complex128]

HZ = 1e-3  # in 1/ms
GRID = 1.0  # Hz, between the frequencies at which oscillations are looked for
LEAST_GAIN = 0.1  # of a loop: weaker ones are damped within a cycle


def predict_spectra(
    circuit: Circuit, frequencies: Any, *, dt: Any = None, closure: Closure = "poisson", start: Any = None
) -> xr.Dataset:
    """Return the power and cross-spectra of the mean activity of populations around the stationary state.

    ``C(ω) = K D K†`` with ``K = (I - M(ω))^{-1}``: M is the response of the rates to each other, through delays and
    synapses, and D the noise of the single trains, of which population and circuit see sums. Both the mean and the
    variance of the input follow a modulated rate.

    Parameters
    ----------
    circuit : Circuit
        With one stimulus, not changing in time.
    frequencies : array_like or Quantity, shape (frequency,)
        In spikes/ms, that is kHz; or a quantity.
    dt : float or Quantity, optional
        Time step of the simulation to be predicted, ms.
    closure : {"poisson", "moments"}
        Of the stationary state, see `predict`.
    start : float, array_like or dict, optional
        Rates from which it is looked for; see `predict`.

    Returns
    -------
    Dataset
        Over ``(frequency, population)`` ``power`` and over ``(frequency, population, population_j)`` ``cross_real``,
        ``cross_imag`` (Hz) and ``coherence``: two-sided densities of the mean rate of a population's neurons,
        ``S_ab(f) = ∫ cov[A_a(t), A_b(t + u)] e^{-2πifu} du``, as `mnnbio.analyses.population_spectra` estimates them.
        N independent Poisson processes of rate r have r/N. Frequencies in Hz.

    Raises
    ------
    ValueError
        If the circuit has several stimuli or changes in time, or the state is unstable: it then oscillates, and has no
        stationary spectrum.
    NotConverged
        If there is no stationary state.

    References
    ----------
    B. Lindner, B. Doiron, A. Longtin (2005), Phys. Rev. E 72, 061919. N. Brunel, V. Hakim (1999), Neural Comput. 11,
    1621.
    """
    f = np.asarray(in_unit(frequencies, "1/ms", "frequencies"))
    if f.ndim != 1 or not (f >= 0).all():
        raise ValueError(f"`frequencies` must be a list of frequencies ≥ 0 in 1/ms, got {frequencies!r}")
    system, state, step = _stationary(circuit, dt, closure, start)
    growing = [s for s in _modes(circuit, system, state, step, 0.5) if s["growth"] > 0]
    if growing:
        raise ValueError(
            f"the stationary state is unstable: it oscillates at {growing[0]['frequency']:.3g} Hz and has no "
            "stationary spectrum. See `predict_oscillations`, and `predict_time_course` for the oscillation itself"
        )
    found = modulation(circuit, system, state, f, step, noise=True)
    cross = spectra(system, found).conj() / HZ
    power = np.real(np.einsum("faa->fa", cross))
    coherence = np.abs(cross) ** 2 / (power[:, :, None] * power[:, None, :])
    one, two = ("frequency", "population"), ("frequency", "population", "population_j")
    labelled = {
        "power": array("power", one, power),
        "cross_real": array("cross_real", two, cross.real),
        "cross_imag": array("cross_imag", two, cross.imag),
        "coherence": array("coherence", two, coherence),
    }
    coords = {
        "frequency": ("frequency", f / HZ, {"units": "Hz", "long_name": "frequency"}),
        "population": system.names,
        "population_j": system.names,
    }
    return xr.Dataset(labelled, coords=coords).assign_attrs(_attributes(circuit, closure, step))


def predict_oscillations(
    circuit: Circuit,
    *,
    highest: Any = 0.5,
    dt: Any = None,
    closure: Closure = "poisson",
    start: Any = None,
) -> xr.Dataset:
    """Return the oscillations to which small deviations from the stationary state tend, the least damped first.

    A deviation e^{st} keeps itself alive where an eigenvalue of the response ``M(s)`` of the rates to each other,
    through delays and synapses, is 1. Such s are looked for near the frequencies at which an eigenvalue of M is real
    and positive: there a loop is in phase, and the eigenvalue tells how close to 1, the onset of the oscillation, it
    is.

    Parameters
    ----------
    circuit : Circuit
        With one stimulus, not changing in time.
    highest : float or Quantity
        Highest frequency, 1/ms.
    dt, closure, start
        As for `predict_spectra`.

    Returns
    -------
    Dataset
        Over ``oscillation``: `frequency` (Hz) and `growth` (1/s; the oscillation is damped where it is negative) of
        the deviation, `onset_frequency` (Hz), at which the loop is in phase, and `loop_gain`, the eigenvalue there:
        the stationary state is unstable where it is > 1. The attribute `oscillates` says whether any is.

    Raises
    ------
    ValueError, NotConverged
        As for `predict_spectra`, which needs a stable state; this does not.

    References
    ----------
    N. Brunel (2000), J. Comput. Neurosci. 8, 183, section 4.
    """
    limit = in_unit(highest, "1/ms", "highest")
    if not isinstance(limit, float) or limit <= 0:
        raise ValueError(f"`highest` must be a frequency > 0 in 1/ms, got {highest!r}")
    system, state, step = _stationary(circuit, dt, closure, start)
    modes = _modes(circuit, system, state, step, limit)
    labelled = {
        name: array(name, ("oscillation",), [mode[name] for mode in modes])
        for name in ("frequency", "growth", "onset_frequency", "loop_gain")
    }
    oscillates = any(mode["growth"] > 0 for mode in modes)
    return xr.Dataset(labelled).assign_attrs(_attributes(circuit, closure, step), oscillates=int(oscillates))


def spectra(system: System, found: Modulation) -> Complex:
    """Return ``<X_a X_b*>`` of the mean activity X of populations, (frequency, population, population), 1/ms."""
    sizes, outside = system.sizes, system.sources.sizes
    noise = own_noise(system, np.abs(found.gain) ** 2, found.spectrum, system.source_spread) / sizes**2
    common = found.sources * np.sqrt(system.source_spread / outside)
    shared = np.concatenate([common, found.gain[:, :, None] * system.shared / sizes[:, None]], axis=2)
    own = noise[:, :, None] * np.eye(len(sizes)) + shared @ shared.conj().swapaxes(1, 2)
    K = np.linalg.inv(np.eye(len(sizes)) - found.effective)
    return np.asarray(K @ own @ K.conj().swapaxes(1, 2))


def _stationary(
    circuit: Circuit, dt: Any, closure: Closure, start: Any
) -> tuple[System, PopulationState, float | None]:
    if circuit.n_stimuli is not None or circuit.changes_in_time:
        raise ValueError(
            "spectra are of one stationary state, got several stimuli or an input that changes in time. Choose one "
            "with `circuit.select(...)`, `circuit.at_time(...)` or `circuit.averaged()`"
        )
    if closure not in ("moments", "poisson"):
        raise ValueError(f"Invalid value {closure!r} for `closure`. Must be one of ['moments', 'poisson']")
    step = None if dt is None else in_unit(dt, "ms", "dt")
    if step is not None and (not isinstance(step, float) or step <= 0):
        raise ValueError(f"`dt` must be a single time > 0 ms, got {dt!r}")
    system = population_system(circuit, step)
    state = solve(system, closure, step, population_start(circuit, start))
    require_converged(state.status, state.residual, state.iterations)
    return system, state, step


def _modes(
    circuit: Circuit, system: System, state: PopulationState, dt: float | None, highest: float
) -> list[dict[str, float]]:
    """Return the oscillations up to a frequency in 1/ms, by falling growth."""
    f = np.arange(GRID * HZ, highest + GRID * HZ, GRID * HZ)
    values = _followed(_eigenvalues(modulation(circuit, system, state, f, dt, noise=True).effective))
    found: list[dict[str, float]] = []
    for eigenvalue in values.T:
        turns = np.flatnonzero((eigenvalue.imag[:-1] > 0) != (eigenvalue.imag[1:] > 0))
        for k in turns[eigenvalue.real[turns] > LEAST_GAIN]:
            part = eigenvalue.imag[k] / (eigenvalue.imag[k] - eigenvalue.imag[k + 1])
            onset = f[k] + part * (f[k + 1] - f[k])
            gain = eigenvalue.real[k] + part * (eigenvalue.real[k + 1] - eigenvalue.real[k])
            s = _root(circuit, system, state, dt, onset)
            if s is not None and not any(abs(s.imag / (2 * np.pi * HZ) - other["frequency"]) < GRID for other in found):
                found.append(
                    {
                        "frequency": s.imag / (2 * np.pi * HZ),
                        "growth": s.real / HZ,
                        "onset_frequency": onset / HZ,
                        "loop_gain": gain,
                    }
                )
    return sorted(found, key=lambda mode: -mode["growth"])


def _eigenvalues(matrices: Complex) -> Complex:
    return np.asarray(np.linalg.eigvals(matrices), dtype=np.complex128)


def _followed(values: Complex) -> Complex:
    """Return eigenvalues, (frequency, n), each in a column of its own: the nearest ones continue each other."""
    out = values.copy()
    for k in range(1, len(out)):
        left = list(range(out.shape[1]))
        for column in np.argsort(-np.abs(out[k - 1])):
            nearest = min(left, key=lambda j: abs(values[k, j] - out[k - 1, column]))
            out[k, column] = values[k, nearest]
            left.remove(nearest)
    return out


def _root(circuit: Circuit, system: System, state: PopulationState, dt: float | None, onset: float) -> complex | None:
    """Return s near 2πi·onset with ``det(I - M(s)) = 0``, 1/ms; None if there is none."""

    def mismatch(x: Array) -> Array:
        s = complex(*x)
        response = modulation(circuit, system, state, [s / (2j * np.pi)], dt, noise=True).effective[0]
        value = np.linalg.det(np.eye(len(response)) - response)
        return np.array([value.real, value.imag])

    solution = root(mismatch, [0.0, 2 * np.pi * onset], tol=1e-9)
    near = abs(solution.x[1] / (2 * np.pi) - onset) < onset / 2
    return complex(*solution.x) if solution.success and near else None


def _attributes(circuit: Circuit, closure: str, dt: float | None) -> dict[str, Any]:
    return {
        "group": "prediction",
        "closure": closure,
        "dt": "continuous" if dt is None else dt * 1e-3,
        "circuit_hash": circuit.hash(),
        **versions(),
    }
