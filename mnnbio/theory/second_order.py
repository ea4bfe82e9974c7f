"""Variances, covariances and spectra of recurrent circuits, from the spectra that their trains have in the circuit.

``C(f) = K (S_η + B S_ext B†) K†`` with ``K = (I - B W(f) - B_v W²(f))⁻¹`` for the mean activity of populations: W are
the sums of the weights and W² those of their squares, with delays and filters; B and B_v the responses of the rates to
mean and variance of the input, measured in input of the self-consistent spectrum (`mnnbio.theory.self_consistent`); and
S_η the noise of the single trains. Counts in a window T weigh C(f) with ``T² sinc²(fT)``.

References
----------
B. Lindner, B. Doiron, A. Longtin (2005), Phys. Rev. E 72, 061919. A. Lerchner et al. (2006), Neural Comput. 18, 634.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr

from mnnbio.circuit import Circuit, require_circuit
from mnnbio.machine import check_choice
from mnnbio.moments import synaptic_filter
from mnnbio.results import array, versions
from mnnbio.theory.inputs import mean_phase, received_sums
from mnnbio.theory.labelled import step_attributes
from mnnbio.theory.population_theory import System, own_noise, pair_covariance, population_start
from mnnbio.theory.recurrence import require_converged, require_stable
from mnnbio.theory.self_consistent import Input, SpectralState, spectral_state
from mnnbio.theory.validity import check_predictable, checked_step
from mnnbio.theory.wired_response import Stability
from mnnbio.units import in_unit

Array = npt.NDArray[np.float64]
Complex = npt.NDArray[np.complex128]


LEAST = 0.05  # factor by which correlations may lower the spectrum of an input


class SecondOrder(NamedTuple):
    """Second-order statistics of the mean activity of populations, at the frequencies of a state."""

    cross: Complex  # two-sided spectra, (band, population, population), 1/ms
    largest_real: float  # part of the eigenvalues of the loops at zero frequency


def loops(circuit: Circuit, system: System, state: SpectralState, dt: float) -> Complex:
    """Return the response of a row's rate to a column's, (band, population, population)."""
    names, omega = system.names, (2j * np.pi * state.frequency).astype(np.complex128)
    found, gain = np.zeros((len(omega), len(names), len(names)), complex), gains(state)
    for projection in circuit.projections:
        if projection.source not in names:
            continue
        row, column = names.index(projection.target), names.index(projection.source)
        sums, tau = received_sums(circuit, projection, dt), float(projection.tau_syn)
        if sums.squares == 0:
            continue
        phase = mean_phase(projection, omega)
        slope = _interpolated(state.frequency, state.wide, state.to_variance[row, state.tau_syn.index(tau)])
        by_jumps = state.by_jumps[row, column]
        if np.isfinite(by_jumps):
            slope = slope + by_jumps - state.to_variance[row, state.tau_syn.index(tau), 0].real
        to_mean = gain[row] * sums.total * synaptic_filter(state.frequency, tau, dt)
        found[:, row, column] += phase * (to_mean + slope * sums.squares)
    return found


def gains(state: SpectralState) -> Complex:
    """Return the responses to the mean input at the frequencies of the spectra, (population, band), 1/mV."""
    return np.stack([_interpolated(state.frequency, state.wide, values) for values in state.gain])


def second_order(circuit: Circuit, system: System, state: SpectralState, dt: float) -> SecondOrder:
    """Return the cross-spectra of the mean activity of the populations of a circuit around a state."""
    sizes, outside = system.sizes, system.sources.sizes
    effective, gain = loops(circuit, system, state, dt), gains(state)
    squared = np.abs(gain.T) ** 2
    # Trains that a population receives as a whole pass the synapses' filters, too.
    passed = _passed(circuit, system, state, dt)
    noise = own_noise(system, squared * passed, state.spectrum.T, system.source_spread) / sizes**2
    common = np.zeros((len(state.frequency), len(sizes), len(outside)), complex)
    sources = [s.name for s in circuit.sources]
    for projection in circuit.projections:
        if projection.source in sources:
            row, column = system.names.index(projection.target), sources.index(projection.source)
            total = received_sums(circuit, projection, dt).total
            filtered = gain[row] * total * synaptic_filter(state.frequency, float(projection.tau_syn), dt)
            common[:, row, column] += filtered * np.sqrt(system.source_spread[column] / outside[column])
    shared = np.concatenate([common, gain.T[:, :, None] * system.shared / sizes[:, None]], axis=2)
    own = noise[:, :, None] * np.eye(len(sizes)) + shared @ shared.conj().swapaxes(1, 2)
    K = np.linalg.inv(np.eye(len(sizes)) - effective)
    return SecondOrder(K @ own @ K.conj().swapaxes(1, 2), float(np.linalg.eigvals(effective[0].real).real.max()))


def shared_input(circuit: Circuit, system: System, state: SpectralState, found: SecondOrder, dt: float) -> Array:
    """Return the factor that correlations among trains bring to the spectra of inputs, (population, frequency).

    A neuron sees ``Σ_j w_j² S_j`` and, of the mean cross-spectra of pairs, ``W C W†`` with the sums W of its weights.
    """
    names, omega = system.names, (2j * np.pi * state.frequency).astype(np.complex128)
    sums = np.zeros((len(omega), len(names), len(names)), complex)
    for projection in circuit.projections:
        if projection.source in names:
            row, column = names.index(projection.target), names.index(projection.source)
            total = received_sums(circuit, projection, dt).total
            filtered = synaptic_filter(state.frequency, float(projection.tau_syn), dt)
            sums[:, row, column] += total * mean_phase(projection, omega) * filtered
    pairs = found.cross - state.spectrum.T[:, :, None] * (np.eye(len(names)) / system.sizes)
    added = np.einsum("fab,fbc,fac->fa", sums, pairs, sums.conj()).real
    factors = []
    for row, power in enumerate(state.power):
        known = np.interp(state.frequency, state.records, power)
        factor = np.maximum(1 + added[:, row] / np.where(known > 0, known, np.inf), LEAST)
        factors.append(np.interp(state.records, state.frequency, factor))
    return np.array(factors)


def window_covariance(state: SpectralState, found: SecondOrder, sizes: Array, window: float) -> tuple[Array, Array]:
    """Return the count variance of single trains and the covariance of summed counts in a window (ms)."""
    f = state.records
    weight = 2 * window**2 * np.sinc(f * window) ** 2 * f[1]
    weight[0] /= 2
    single = state.full @ weight
    private = state.spectrum.T[:, :, None] * (np.eye(len(sizes)) / sizes)
    collective = (found.cross - private).real
    size = len(sizes)
    summed = np.array(
        [[np.interp(f, state.frequency, collective[:, a, b]) @ weight for b in range(size)] for a in range(size)]
    )
    summed = (summed + np.diag(single / sizes)) * np.outer(sizes, sizes)
    return single, summed


def predict_second_order(
    circuit: Circuit,
    *,
    dt: Any,
    window: Any = None,
    input: Input | None = None,
    start: Any = None,
    seed: int = 0,
    unconverged: Literal["raise", "report"] = "raise",
) -> xr.Dataset:
    """Return rates, variances, covariances and spectra of the populations of a recurrent circuit.

    Rates and spectra are made self-consistent by surrogate neurons, which takes some ten seconds whatever the size of
    the circuit; covariances follow by linear response to mean and variance of the input, with delays and filters.

    Parameters
    ----------
    circuit : Circuit
        Of leaky integrate-and-fire neurons with delta or exponential synapses, with one stimulus.
    dt : float or Quantity
        Time step of the simulation to be predicted, ms.
    window : float or Quantity, optional
        Counting window, ms, of at most a quarter of a record (3.3 s). Adds the statistics of counts in the window.
    input : {"gaussian", "trains"}, optional
        What the surrogates receive: Gaussian input of the self-consistent spectrum, or each other's trains, shifted in
        time, which keeps the size of single jumps. By default the latter where a jump is larger than 2 % of the
        distance from reset to threshold.
    start : float, array_like, Quantity or dict, optional
        Rates from which the state is looked for; see `predict`.
    seed : int
        Of the surrogates' noise.
    unconverged : {"raise", "report"}
        What to do where no self-consistent state is found; see `predict`.

    Returns
    -------
    Dataset
        Over `population` `rate`, its standard error `rate_se` from the surrogates, `variance` and `fano` (long
        windows), `mean_input`, `std_input`; over ``(population, population_j)`` `population_covariance` and
        `pair_covariance`; over ``(frequency, population)`` `power` and over ``(frequency, population, population_j)``
        `cross_real`, `cross_imag`, as `predict_spectra` defines them. With a window `count_variance`, `count_fano` over
        `population` and `count_covariance`, the mean of two different neurons, over ``(population, population_j)``. In
        Hz and seconds.
        Attributes `status`, `residual`, `iterations`, `input`.

    Raises
    ------
    ValueError
        If an option is invalid, or fluctuations grow around the state.
    NotConverged
        If no self-consistent state is found.
    TypeError
        If there is no theory for a part of the circuit.
    """
    require_circuit(circuit)
    if circuit.n_stimuli is not None or circuit.changes_in_time:
        raise ValueError(
            "the second order is of one stationary state, got several stimuli or an input that changes in time. Choose "
            "one with `circuit.select(...)`, `circuit.at_time(...)` or `circuit.averaged()`"
        )
    check_choice("unconverged", unconverged, ["raise", "report"])
    if input is not None:
        check_choice("input", input, ["gaussian", "trains"])
    check_predictable(circuit)
    step = checked_step(circuit, dt, drawn=False)
    if step is None:
        raise ValueError("surrogate neurons run in time steps: give `dt`, that of the simulation to be predicted")
    span = None if window is None else in_unit(window, "ms", "window")
    first = population_start(circuit, start)
    system, state = spectral_state(circuit, step, input=input, seed=seed, start=first)
    coupled = any(projection.source in system.names for projection in circuit.projections)
    if coupled and state.status == "converged":
        found = second_order(circuit, system, state, step)
        if found.largest_real < 1:  # what trains share is part of what their targets receive
            # Half a step (of the logarithm): quieter input makes the trains share less in turn.
            shared = np.sqrt(shared_input(circuit, system, state, found, step))
            system, state = spectral_state(circuit, step, input=input, seed=seed, start=first, shared=shared)
    if unconverged == "raise":
        require_converged(state.status, state.residual, state.iterations)
    longest = state.full.shape[1] / 2 * step
    if span is not None and not (isinstance(span, float) and 0 < span <= longest):
        raise ValueError(
            f"`window` must be a single time > 0 and ≤ {longest:.4g} ms, a quarter of a record, got {window}"
        )
    found = second_order(circuit, system, state, step)
    require_stable(Stability(found.largest_real, found.largest_real), covariance=True)
    one, two = ("population",), ("population", "population_j")
    variance = state.spectrum[:, 0]
    rate = np.where(state.rate > 0, state.rate, 1.0)
    long = found.cross[0].real * np.outer(system.sizes, system.sizes)
    cross = found.cross.conj() * 1e3
    along = ("frequency", *one), ("frequency", *two)
    labelled = [
        array("rate", one, state.rate * 1e3),
        array("rate_se", one, state.rate_error * 1e3),
        array("variance", one, variance * 1e3),
        array("fano", one, np.where(state.rate > 0, variance / rate, 1.0)),
        array("mean_input", one, state.mean_input * 1e3),
        array("std_input", one, state.std_input * 1e3**0.5),
        array("population_covariance", two, long * 1e3),
        array("pair_covariance", two, pair_covariance(long, system.sizes, variance) * 1e3),
        array("power", along[0], np.einsum("faa->fa", cross).real),
        array("cross_real", along[1], cross.real),
        array("cross_imag", along[1], cross.imag),
    ]
    if span is not None:
        single, summed = window_covariance(state, found, system.sizes, span)
        labelled += [
            array("count_variance", one, single, window=span * 1e-3),
            array("count_fano", one, np.where(state.rate > 0, single / (rate * span), 1.0)),
            array("count_covariance", two, pair_covariance(summed, system.sizes, single), window=span * 1e-3),
        ]
    coords = {
        "population": system.names,
        "population_j": system.names,
        "frequency": ("frequency", state.frequency * 1e3, {"units": "Hz", "long_name": "frequency"}),
    }
    return xr.Dataset({v.name: v for v in labelled}, coords=coords).assign_attrs(
        group="prediction",
        theory="surrogate",
        closure="self_consistent",
        input=state.input,
        status=state.status,
        residual=state.residual,
        iterations=state.iterations,
        largest_real=found.largest_real,
        stability="stable" if found.largest_real < 1 else "unstable",
        stability_covers="static: the response of rates to mean and variance of the input, without delays",
        **step_attributes(step),
        window="long" if span is None else span * 1e-3,
        circuit_hash=circuit.hash(),
        **versions(),
    )


def _interpolated(frequency: Array, known: Array, values: Complex) -> Complex:
    return np.interp(frequency, known, values.real) + 1j * np.interp(frequency, known, values.imag)


def _passed(circuit: Circuit, system: System, state: SpectralState, dt: float) -> Array:
    """Return the mean squared modulus of the synapses' filters over what populations receive, (band, population)."""
    names, sources = system.names, [s.name for s in circuit.sources]
    weighed, total = np.zeros((2, len(state.frequency), len(names)))
    for projection in circuit.projections:
        row, squares = names.index(projection.target), received_sums(circuit, projection, dt).squares
        inner = projection.source in names
        spectrum = (
            state.spectrum[names.index(projection.source)]
            if inner
            else np.full(len(state.frequency), system.source_spread[sources.index(projection.source)])
        )
        total[:, row] += squares * spectrum
        filtered = np.abs(synaptic_filter(state.frequency, float(projection.tau_syn), dt)) ** 2
        weighed[:, row] += squares * spectrum * filtered
    return np.where(total > 0, weighed / np.where(total > 0, total, 1.0), 1.0)
