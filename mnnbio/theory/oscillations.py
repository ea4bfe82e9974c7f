"""Spectra of population activity, and the oscillations that a circuit tends to, by linear response in frequency.

Populations answer to each other through the responses of their neurons, delays and synaptic filters.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import xarray as xr

from mnnbio.circuit import Circuit
from mnnbio.machine import check_choice, require_memory
from mnnbio.theory.loop_modes import GRID, HZ, eigenvalues_of, label_modes, label_spectra, modes_of
from mnnbio.theory.population_response import (
    ResponseTo,
    effective_response,
    follows_variance,
    modulation,
    representatives,
    response_attributes,
    responses_at,
    responses_on_grid,
    spectra,
    stationary_populations,
)
from mnnbio.theory.population_surrogates import Surrogates
from mnnbio.theory.population_theory import (
    PopulationState,
    System,
    fluctuations,
    population_stability,
)
from mnnbio.theory.recurrence import require_stable, stability_attributes
from mnnbio.theory.stationary import Closure, closure_name
from mnnbio.theory.surrogate_spectra import surrogate_oscillations, surrogate_spectra
from mnnbio.theory.validity import LinearResponseWarning, check_validity, warn_user
from mnnbio.theory.wired_response import Stability
from mnnbio.units import in_unit

Array = npt.NDArray[np.float64]
Complex = npt.NDArray[np.complex128]


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
    noise = follows_variance(response)
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
    system, state, step = stationary_populations(circuit, dt, closure, start)
    eigenvalues = population_stability(system, state)
    modes = population_modes(circuit, system, state, step, highest=0.5, noise=noise)
    delayed = delayed_stability(circuit, eigenvalues, modes)
    if unstable == "raise":
        require_stationary(eigenvalues, delayed, response)
    steady = delayed["stability_with_delays"] == "stable"
    check_validity(circuit, fluctuations(circuit, system, state), eigenvalues=eigenvalues if steady else None)
    found = modulation(circuit, system, state, f, step, noise=noise)
    return label_spectra(f, system.names, spectra(system, found)).assign_attrs(
        response_attributes(circuit, closure, step, response), **stability_attributes(eigenvalues), **delayed
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


def require_stationary(eigenvalues: Stability, delayed: dict[str, Any], response: str) -> None:
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
    noise = follows_variance(response)
    _check_closure(closure, surrogates)
    if closure == "self_consistent":
        return surrogate_oscillations(
            circuit, limit, dt=dt, start=start, noise=noise, surrogates=surrogates
        ).assign_attrs(response=response)
    system, state, step = stationary_populations(circuit, dt, closure, start)
    eigenvalues = population_stability(system, state)
    check_validity(circuit, fluctuations(circuit, system, state))
    modes = population_modes(circuit, system, state, step, highest=limit, noise=noise)
    delayed = delayed_stability(circuit, eigenvalues, modes)
    return label_modes(modes).assign_attrs(
        response_attributes(circuit, closure, step, response),
        oscillates=int("unstable_frequency" in delayed),
        **stability_attributes(eigenvalues),
        **delayed,
    )


def _check_closure(closure: Closure, surrogates: Surrogates | None) -> None:
    if not callable(closure):
        check_choice("closure", closure, ("moments", "poisson", "self_consistent"))
    if surrogates is not None and closure != "self_consistent":
        raise ValueError(f"`surrogates` are for closure='self_consistent', got closure={closure_name(closure)!r}")


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
    responses = responses_on_grid(chosen, f)
    on_grid = effective_response(circuit, system, *responses, f.astype(complex), dt, noise=noise)

    def loops(s: Complex) -> Complex:
        places = s / (2j * np.pi)
        return eigenvalues_of(
            effective_response(circuit, system, *responses_at(chosen, places), places, dt, noise=noise)
        )

    return modes_of(f, on_grid, loops)
