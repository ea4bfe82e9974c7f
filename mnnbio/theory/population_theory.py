"""The theory of a circuit at the resolution of populations."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr

from mnnbio.circuit import Circuit
from mnnbio.moments import Stability, interval_skewness
from mnnbio.moments.stationary import Closure
from mnnbio.results import array
from mnnbio.theory.labelled import Output, statistics
from mnnbio.theory.population_system import PopulationState, System, average, population_system, solve
from mnnbio.theory.recurrence import require_converged, require_stable, stability_attributes, start_rates
from mnnbio.theory.validity import warn_of_amplification

Array = npt.NDArray[np.float64]


def population_prediction(
    circuit: Circuit,
    *,
    dt: float | None,
    window: float | None,
    closure: Closure,
    covariance: bool,
    start: Any,
    unconverged: str,
) -> xr.Dataset:
    """Return the labelled statistics of the populations of a circuit with one stimulus; see `mnnbio.predict`."""
    system = population_system(circuit, dt)
    state = solve(system, closure, dt, population_start(circuit, start))
    if unconverged == "raise":
        require_converged(state.status, state.residual, state.iterations)
    eigenvalues = population_stability(system, state)
    require_stable(eigenvalues, covariance)
    skewness = interval_skewness(torch.from_numpy(state.node_mean), torch.from_numpy(state.node_std), state.node_lif)
    fields = (state.mean_input, state.std_input, state.rate, state.variance, average(system, skewness.numpy()))
    t_ref = average(system, np.broadcast_to(system.nodes.lif.t_ref, state.node_mean.shape))
    output = Output(*(torch.from_numpy(value) for value in fields))
    found, _ = statistics(output, torch.from_numpy(t_ref), window, ("population",))
    coords = {"population": system.names}
    if covariance:
        summed = summed_covariance(system, state)
        pairs = ("population", "population_j")
        found.append(array("population_covariance", pairs, summed * 1e3))
        found.append(array("pair_covariance", pairs, pair_covariance(summed, system.sizes, state.variance) * 1e3))
        coords["population_j"] = system.names
        warn_of_amplification(eigenvalues)
    labelled = xr.Dataset({variable.name: variable for variable in found}, coords=coords)
    return labelled.assign_attrs(
        status=state.status, residual=state.residual, iterations=state.iterations, **stability_attributes(eigenvalues)
    )


def population_start(circuit: Circuit, start: Any) -> Array | None:
    """Return the rates to start from, (population,), 1/ms; see `mnnbio.theory.recurrence.start_rates`."""
    rates = start_rates(circuit, start)
    return None if rates is None else np.array([rates[place].mean() for place in circuit.slices().values()])


def population_stability(system: System, state: PopulationState) -> Stability:
    """Return the leading eigenvalues of ``A W``: those of the averages, and the radius of what is random about W.

    Eigenvalues of a large random matrix fill a disc whose squared radius is the largest eigenvalue of the table of
    variances, each times the size of the sender.

    References
    ----------
    J. Aljadeff, M. Stern, T. Sharpee (2015), Transition to chaos in random networks with cell-type-specific
    connectivity, Phys. Rev. Lett. 114, 088101.
    """
    inputs = system.recurrent
    averages = np.linalg.eigvals(state.gain[:, None] * inputs.total)
    variances = state.gain[:, None] ** 2 * np.maximum(inputs.squares - inputs.total**2 / inputs.sizes, 0.0)
    radius = float(np.sqrt(np.abs(np.linalg.eigvals(variances)).max()))
    return Stability(max(radius, float(np.abs(averages).max())), max(radius, float(averages.real.max())))


def own_noise(system: System, gain_squared: Array, spectrum: Array, source_spectrum: Array) -> Array:
    """Return the noise that the neurons of each population add to its summed activity.

    The whole spectrum of a train counts, but for what a neuron receives from trains that its population receives as a
    whole: that is transmitted by the averages already. Out-degrees that differ among neurons keep part of it.

    Parameters
    ----------
    system : System
    gain_squared : ndarray, shape (..., population)
        Squared modulus of the response of a neuron.
    spectrum : ndarray, shape (..., population)
        Of a train of each population, 1/ms.
    source_spectrum : ndarray, shape (source,)

    Returns
    -------
    ndarray, shape (..., population)
    """
    sizes = system.sizes

    def received(inputs: Any, sent: Array) -> Array:
        common = sizes[:, None] * inputs.squares - inputs.sizes * inputs.column_variance
        return np.asarray(sent @ common.T)

    transmitted = received(system.recurrent, spectrum) + received(system.sources, source_spectrum)
    return np.asarray(sizes * spectrum - gain_squared * (transmitted + sizes * system.shared_own))


def summed_covariance(system: System, state: PopulationState) -> Array:
    """Return the covariance per time of the summed counts of populations, (population, population), 1/ms."""
    noise = own_noise(system, state.gain**2, state.variance, system.source_spread)
    ratio = system.sizes[:, None] / system.sources.sizes
    common = state.gain[:, None] * system.sources.total * ratio * np.sqrt(system.sources.sizes * system.source_spread)
    shared = np.concatenate([common, state.gain[:, None] * system.shared], axis=1)
    effective = state.gain[:, None] * system.recurrent.total * system.sizes[:, None] / system.sizes
    K = np.linalg.inv(np.eye(len(system.sizes)) - effective)
    return np.asarray(K @ (np.diag(noise) + shared @ shared.T) @ K.T)


def pair_covariance(summed: Array, sizes: Array, variance: Array) -> Array:
    """Return the mean covariance of two different neurons, given that of sums; NaN for a population of one."""
    pairs = np.outer(sizes, sizes) - np.diag(sizes)
    left = summed - np.diag(sizes * variance)
    return np.asarray(np.where(pairs > 0, left / np.where(pairs > 0, pairs, 1.0), np.nan))
