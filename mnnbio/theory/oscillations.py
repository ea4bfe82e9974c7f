"""Spectra of population activity, and the oscillations that a circuit tends to, by linear response in frequency.

Populations answer to each other through the responses of their neurons, delays and synaptic filters.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy.interpolate import CubicSpline

from mnnbio.circuit import Circuit
from mnnbio.machine import check_choice, require_memory
from mnnbio.moments import NeuronTensors, transfer_function
from mnnbio.results import versions
from mnnbio.theory.inputs import mean_phase, received_sums
from mnnbio.theory.labelled import step_attributes
from mnnbio.theory.loop_modes import GRID, HZ, eigenvalues_of, label_modes, label_spectra, modes_of
from mnnbio.theory.population_surrogates import Surrogates
from mnnbio.theory.population_theory import (
    PopulationState,
    System,
    fluctuations,
    own_noise,
    population_stability,
    population_start,
    population_system,
    solve,
)
from mnnbio.theory.recurrence import require_converged, require_stable, stability_attributes
from mnnbio.theory.second_order import require_single
from mnnbio.theory.stationary import Closure, closure_name
from mnnbio.theory.surrogate_spectra import surrogate_oscillations, surrogate_spectra
from mnnbio.theory.validity import LinearResponseWarning, check_predictable, check_validity, checked_step, warn_user
from mnnbio.theory.wired_response import Stability
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
    effective = _effective(circuit, system, gain, to_variance, f, dt, noise=noise)
    from_sources, _ = _transmitted(circuit, [s.name for s in circuit.sources], f, dt)
    return Modulation(effective, gain[:, :, None] * from_sources, gain, answers.spectrum @ chosen.members.T)


def _effective(
    circuit: Circuit,
    system: System,
    gain: Complex,
    to_variance: Complex,
    frequency: Complex,
    dt: float | None,
    *,
    noise: bool,
) -> Complex:
    """Return the response of a row's rate to a column's, (frequency, population, population)."""
    total, squares = _transmitted(circuit, system.names, frequency, dt)
    effective = gain[:, :, None] * total
    return effective + to_variance[:, :, None] * squares if noise else effective


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
    assert state.node_lif is not None  # other neurons were refused
    lif = NeuronTensors(*(value.expand(state.node_mean.shape)[index] for value in state.node_lif))
    members = (system.nodes.owner[index] == np.arange(len(system.sizes))[:, None]) * np.concatenate(weights)
    return Representatives(index, members, state.node_mean[index], state.node_std[index], lif)


COARSE = 16  # steps of that grid between responses that are computed; closer where they bend
BEND = 1e-4  # error of an interpolated response, relative to the largest one, from which it is computed

ResponseTo = Literal["mean", "mean+variance"]


def predict_spectra(
    circuit: Circuit,
    frequencies: Any,
    *,
    dt: Any = None,
    closure: Closure = "poisson",
    start: Any = None,
    response: ResponseTo = "mean+variance",
    unstable: Literal["raise", "report"] = "raise",
    surrogates: Surrogates | None = None,
) -> xr.Dataset:
    """Return the power and cross-spectra of the mean activity of populations around the stationary state.

    ``C(ω) = K D K†`` with ``K = (I - M(ω))^{-1}``: M is the response of the rates to each other, through delays and
    synapses, and D the noise of the single trains, of which population and circuit see sums.

    Parameters
    ----------
    circuit : Circuit
        With one stimulus, not changing in time.
    frequencies : array_like or Quantity, shape (frequency,)
        In spikes/ms, that is kHz; or a quantity.
    dt : float or Quantity, optional
        Time step of the simulation to be predicted, ms.
    closure : {"poisson", "moments", "self_consistent"}
        Of the stationary state, see `predict`. With "self_consistent", spectra and responses are those of neurons in
        input that has the spectrum of the circuit's trains, and the covariances of `predict` are integrals of these
        cross-spectra; it needs `dt`.
    start : float, array_like or dict, optional
        Rates from which it is looked for; see `predict`.
    response : {"mean+variance", "mean"}
        What of the input follows a modulated rate: its mean and its variance, as in spiking networks; or its mean
        alone, as in much of the published theory, where oscillations set in later.
    unstable : {"raise", "report"}
        What to do where the state is unstable: raise, or return the spectra that linear response gives for it, which no
        simulation has, and say so in the attributes.
    surrogates : Surrogates, optional
        Options of the simulated neurons of closure="self_consistent".

    Returns
    -------
    Dataset
        Over ``(frequency, population)`` ``power`` and over ``(frequency, population, population_j)`` ``cross_real``,
        ``cross_imag`` (Hz) and ``coherence``: two-sided densities of the mean rate of a population's neurons,
        ``S_ab(f) = ∫ cov[A_a(t), A_b(t + u)] e^{-2πifu} du``, as `mnnbio.analyses.population_spectra` estimates them.
        N independent Poisson processes of rate r have r/N. Frequencies in Hz. With closure="self_consistent" the
        standard error `power_se`. The attributes `stability` and
        `largest_real` are those of `predict`, without delays; `stability_with_delays` and `unstable_frequency` (Hz)
        those of `predict_oscillations`.

    Raises
    ------
    ValueError
        If the circuit has several stimuli or changes in time, `dt` is refused as by `simulate`, or the state is
        unstable: it then oscillates, and has no stationary spectrum.
    NotConverged
        If there is no stationary state.
    NotEnoughMemory
        If the spectra would not fit into memory.

    Warns
    -----
    SlowSynapseWarning, FiniteWeightWarning, LinearResponseWarning
        As by `predict`.

    References
    ----------
    B. Lindner, B. Doiron, A. Longtin (2005), Phys. Rev. E 72, 061919. N. Brunel, V. Hakim (1999), Neural Comput. 11,
    1621.
    """
    f = np.asarray(in_unit(frequencies, "1/ms", "frequencies"))
    if f.ndim != 1 or not (f >= 0).all():
        raise ValueError(f"`frequencies` must be a list of frequencies ≥ 0 in 1/ms, got {frequencies!r}")
    noise = _follows_variance(response)
    check_choice("unstable", unstable, ("raise", "report"))
    require_memory(
        16.0 * 6 * len(f) * len(circuit.neurons) ** 2,
        f"spectra of {len(circuit.neurons)} populations at {len(f)} frequencies",
        "Ask for fewer frequencies, or for some at a time",
    )
    _check_closure(closure, surrogates)
    if closure == "self_consistent":
        return surrogate_spectra(
            circuit, f, dt=dt, start=start, noise=noise, unstable=unstable, surrogates=surrogates
        ).assign_attrs(response=response)
    system, state, step = _stationary(circuit, dt, closure, start)
    eigenvalues = population_stability(system, state)
    modes = population_modes(circuit, system, state, step, highest=0.5, noise=noise)
    delayed = delayed_stability(circuit, eigenvalues, modes)
    if unstable == "raise":
        _require_stationary(eigenvalues, delayed, response)
    steady = delayed["stability_with_delays"] == "stable"
    check_validity(circuit, fluctuations(circuit, system, state), eigenvalues=eigenvalues if steady else None)
    found = modulation(circuit, system, state, f, step, noise=noise)
    return label_spectra(f, system.names, spectra(system, found)).assign_attrs(
        _attributes(circuit, closure, step, response), **stability_attributes(eigenvalues), **delayed
    )


def delayed_stability(circuit: Circuit, eigenvalues: Stability, modes: list[dict[str, float]]) -> dict[str, Any]:
    """Return the attributes of a result about the stability of its state with delays.

    Oscillations beyond `highest_known` are not counted; a warning says where one would grow.
    """
    limit = highest_known(circuit) / HZ
    growing = [mode["frequency"] for mode in modes if mode["growth"] > 0]
    counted, beyond = [f for f in growing if f < limit], [f for f in growing if f >= limit]
    if beyond and not counted:
        warn_user(
            f"an oscillation at {beyond[0]:.3g} Hz grows in linear response. It does not count as an instability: the "
            f"response to noise through synapses is known up to 1/(2π tau_syn) = {limit:.3g} Hz",
            LinearResponseWarning,
        )
    stable = not counted and eigenvalues.largest_real < 1
    return {
        "stability_with_delays": "stable" if stable else "unstable",
        **({"unstable_frequency": float(counted[0])} if counted else {}),
    }


def highest_known(circuit: Circuit) -> float:
    """Return the frequency, 1/ms, up to which the response of neurons that receive each other's spikes is known.

    The theory of filtered noise is an expansion for ``ω tau_syn ≪ 1``. The fastest synapses among neurons count; it is
    infinite where some are delta synapses.
    """
    names = {p.name for p in circuit.neurons}
    times = [p.tau_syn for p in circuit.projections if p.source in names]
    fastest = min(times, default=0.0)
    return 1 / (2 * np.pi * fastest) if fastest > 0 else float(np.inf)


def _require_stationary(eigenvalues: Stability, delayed: dict[str, Any], response: str) -> None:
    """Raise a `ValueError` where a state is unstable, with or without delays."""
    require_stable(eigenvalues, covariance=True)
    if delayed["stability_with_delays"] == "unstable":
        other = "; response='mean', as in much of the published theory, may be stable" if "variance" in response else ""
        raise ValueError(
            f"the stationary state is unstable: it oscillates at {delayed['unstable_frequency']:.3g} Hz and has no "
            "stationary spectrum. See `predict_oscillations`, and `predict_time_course` for the oscillation itself"
            f"{other}; unstable='report' gives the linear response anyway"
        )


def predict_oscillations(
    circuit: Circuit,
    *,
    highest: Any = 0.5,
    dt: Any = None,
    closure: Closure = "poisson",
    start: Any = None,
    response: ResponseTo = "mean+variance",
    surrogates: Surrogates | None = None,
) -> xr.Dataset:
    """Return the oscillations to which small deviations from the stationary state tend, the least damped first.

    A deviation e^{st} keeps itself alive where an eigenvalue of the response ``M(s)`` of the rates to each other,
    through delays and synapses, is 1. Such s are looked for near the frequencies at which an eigenvalue of M is real
    and positive: there a loop is in phase, and the eigenvalue tells how close to 1, the onset of the oscillation, it
    is. From each such frequency the search leads to one s: strongly damped loops can have others, which are not listed
    and may be less damped.

    Parameters
    ----------
    circuit : Circuit
        With one stimulus, not changing in time.
    highest : float or Quantity
        Highest frequency, 1/ms.
    dt, closure, start, response, surrogates
        As for `predict_spectra`. With closure="self_consistent" responses are measured at real frequencies and
        continued to complex ones by those in white noise times a smooth function, which holds for deviations that
        change by less than e in some 3 ms.

    Returns
    -------
    Dataset
        Over ``oscillation``: `frequency` (Hz) and `growth` (1/s; the oscillation is damped where it is negative) of
        the deviation, `onset_frequency` (Hz), at which the loop is in phase, and `loop_gain`, the eigenvalue there:
        the stationary state is unstable where it is > 1. The attribute `oscillates` says whether any is; `stability`
        and `largest_real` are those of `predict`, without delays, and `stability_with_delays` covers both. With
        exponential synapses, oscillations faster than 1/(2π tau_syn) are listed but not counted, with a warning.

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
    noise = _follows_variance(response)
    _check_closure(closure, surrogates)
    if closure == "self_consistent":
        return surrogate_oscillations(
            circuit, limit, dt=dt, start=start, noise=noise, surrogates=surrogates
        ).assign_attrs(response=response)
    system, state, step = _stationary(circuit, dt, closure, start)
    eigenvalues = population_stability(system, state)
    check_validity(circuit, fluctuations(circuit, system, state))
    modes = population_modes(circuit, system, state, step, highest=limit, noise=noise)
    delayed = delayed_stability(circuit, eigenvalues, modes)
    return label_modes(modes).assign_attrs(
        _attributes(circuit, closure, step, response),
        oscillates=int("unstable_frequency" in delayed),
        **stability_attributes(eigenvalues),
        **delayed,
    )


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
    require_single(circuit, "spectra are")
    check_predictable(circuit)
    step = checked_step(circuit, dt, drawn=False)
    system = population_system(circuit, step)
    state = solve(system, closure, step, population_start(circuit, start))
    require_converged(state.status, state.residual, state.iterations)
    return system, state, step


def _check_closure(closure: Closure, surrogates: Surrogates | None) -> None:
    if not callable(closure):
        check_choice("closure", closure, ("moments", "poisson", "self_consistent"))
    if surrogates is not None and closure != "self_consistent":
        raise ValueError(f"`surrogates` are for closure='self_consistent', got closure={closure_name(closure)!r}")


def _follows_variance(response: str) -> bool:
    check_choice("response", response, get_args(ResponseTo))
    return response == "mean+variance"


def population_modes(
    circuit: Circuit,
    system: System,
    state: PopulationState,
    dt: float | None,
    *,
    highest: float = 0.5,
    noise: bool = True,
) -> list[dict[str, float]]:
    """Return the oscillations around a state up to a frequency in 1/ms, by falling growth."""
    chosen = representatives(system, state)
    f = np.asarray(np.arange(GRID * HZ, highest + GRID * HZ, GRID * HZ), dtype=np.float64)
    responses = _interpolated(chosen, f)
    on_grid = _effective(circuit, system, *responses, f.astype(complex), dt, noise=noise)

    def loops(s: Complex) -> Complex:
        places = s / (2j * np.pi)
        return eigenvalues_of(_effective(circuit, system, *_responses(chosen, places), places, dt, noise=noise))

    return modes_of(f, on_grid, loops)


def _responses(chosen: Representatives, frequency: Complex) -> tuple[Complex, Complex]:
    """Return the responses of populations to mean and variance of their input, (frequency, population) each."""
    answers = transfer_function(frequency, chosen.mean, chosen.std, chosen.lif)
    return answers.mean @ chosen.members.T, answers.variance @ chosen.members.T


def _interpolated(chosen: Representatives, frequency: npt.NDArray[Any]) -> tuple[Complex, Complex]:
    """Return the responses on a fine grid of frequencies: computed on a coarse one, and closer where they bend."""
    count = len(frequency)
    if count <= 2 * COARSE:
        return _responses(chosen, frequency.astype(complex))

    def table(places: npt.NDArray[np.int64]) -> Complex:
        return np.concatenate(_responses(chosen, frequency[places].astype(complex)), axis=1)

    known = np.unique([*range(0, count, COARSE), count - 1])
    values = table(known)
    scale = np.maximum(np.abs(values).max(0), np.finfo(float).tiny)
    doubtful = np.stack([known[:-1], known[1:]], axis=1)
    while len(doubtful := doubtful[doubtful[:, 1] - doubtful[:, 0] > 1]):
        middle = doubtful.sum(1) // 2
        true = table(middle)
        bends = (np.abs(true - CubicSpline(known, values)(middle)) > BEND * scale).any(1)
        order = np.argsort(np.concatenate([known, middle]))
        known, values = np.concatenate([known, middle])[order], np.concatenate([values, true])[order]
        doubtful = np.concatenate(
            [
                np.stack([doubtful[bends, 0], middle[bends]], axis=1),
                np.stack([middle[bends], doubtful[bends, 1]], axis=1),
            ]
        )
    mean, variance = np.split(CubicSpline(known, values)(np.arange(count)), 2, axis=1)
    return mean, variance


def _attributes(circuit: Circuit, closure: Closure, dt: float | None, response: str) -> dict[str, Any]:
    return {
        "group": "prediction",
        "closure": closure_name(closure),
        "response": response,
        **step_attributes(dt),
        "circuit_hash": circuit.hash(),
        **versions(),
    }
