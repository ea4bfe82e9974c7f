"""How the populations of a circuit answer to each other at a frequency: responses, delays and synaptic filters.

Spectra of population activity, and the oscillations that a circuit tends to, by linear response in frequency.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy.optimize import root

from mnnbio.circuit import Circuit
from mnnbio.moments import NeuronTensors, transfer_function
from mnnbio.results import array, versions
from mnnbio.theory.inputs import mean_phase, received_sums
from mnnbio.theory.population_theory import (
    PopulationState,
    System,
    own_noise,
    population_start,
    population_system,
    solve,
)
from mnnbio.theory.recurrence import require_converged
from mnnbio.theory.stationary import Closure
from mnnbio.units import in_unit

Array = npt.NDArray[np.float64]
Complex = npt.NDArray[np.complex128]

REPRESENTATIVES = 24  # neurons that stand for a population whose neurons differ


class Representatives(NamedTuple):
    """Neurons that stand for the populations of a circuit."""

    places: npt.NDArray[np.int64]  # among the nodes
    members: Array  # weights of their averages, (population, neuron)
    mean: Array  # input, mV/ms
    std: Array  # mV/√ms
    lif: NeuronTensors


class Modulation(NamedTuple):
    """Linear response of populations at some frequencies."""

    effective: Complex  # response of a row's mean rate to a column's, (frequency, population, population)
    sources: Complex  # to a Poisson source's, (frequency, population, source)
    gain: Complex  # to the mean input, (frequency, population), 1/mV
    spectrum: Array  # of a neuron's spike train, (frequency, population), 1/ms


def modulation(
    circuit: Circuit, system: System, state: PopulationState, frequency: npt.ArrayLike, dt: float | None, *, noise: bool
) -> Modulation:
    """Return the response of the populations of a circuit at frequencies in 1/ms, which may be complex.

    Parameters
    ----------
    circuit : Circuit
        With one stimulus.
    system : System
    state : PopulationState
    frequency : array_like, shape (frequency,)
    dt : float, optional
        Time step, ms.
    noise : bool
        Whether a modulated rate modulates the variance of the input of its targets, too, and not the mean alone.
    """
    f = np.asarray(frequency, dtype=complex)
    chosen = representatives(system, state)
    answers = transfer_function(f, chosen.mean, chosen.std, chosen.lif)
    gain, to_variance = answers.mean @ chosen.members.T, answers.variance @ chosen.members.T
    spectrum = answers.spectrum @ chosen.members.T
    total, squares = _transmitted(circuit, system.names, f, dt)
    effective = gain[:, :, None] * total
    if noise:
        effective = effective + to_variance[:, :, None] * squares
    from_sources, _ = _transmitted(circuit, [s.name for s in circuit.sources], f, dt)
    return Modulation(effective, gain[:, :, None] * from_sources, gain, spectrum)


def _transmitted(circuit: Circuit, senders: list[str], frequency: Complex, dt: float | None) -> tuple[Complex, Complex]:
    """Return the sums of weights and of their squares, delayed and filtered, (frequency, population, sender)."""
    targets = [p.name for p in circuit.neurons]
    omega = 2j * np.pi * frequency
    total, squares = np.zeros((2, len(omega), len(targets), len(senders)), dtype=complex)
    for projection in circuit.projections:
        if projection.source not in senders:
            continue
        place = targets.index(projection.target), senders.index(projection.source)
        found = received_sums(circuit, projection, dt)
        filtered = mean_phase(projection, omega) / (1 + omega * projection.tau_syn)
        total[:, *place] += found.total * filtered
        squares[:, *place] += found.squares * filtered
    return total, squares


def representatives(system: System, state: PopulationState) -> Representatives:
    """Return neurons that stand for the populations: all nodes, or of many some at equal distances by mean input."""
    chosen, weights = [], []
    for row in range(len(system.sizes)):
        own = np.flatnonzero(system.nodes.owner == row)
        share = system.nodes.weight[own]
        if len(own) > REPRESENTATIVES:
            order = np.argsort(state.node_mean[own], kind="stable")
            quantiles = (np.arange(REPRESENTATIVES) + 0.5) / REPRESENTATIVES
            own = own[order][np.searchsorted(np.cumsum(share[order]), quantiles)]
            share = np.full(REPRESENTATIVES, 1 / REPRESENTATIVES)
        chosen.append(own)
        weights.append(share)
    index = np.concatenate(chosen)
    lif = NeuronTensors(*(value.expand(state.node_mean.shape)[index] for value in state.node_lif))
    members = (system.nodes.owner[index] == np.arange(len(system.sizes))[:, None]) * np.concatenate(weights)
    return Representatives(index, members, state.node_mean[index], state.node_std[index], lif)


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
