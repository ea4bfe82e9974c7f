"""The distribution of pair covariances: how much single pairs of neurons differ from the mean of their populations.

In a network that is connected at random covariances of pairs are small on average and wide around it. With the realised
weights, ``C = K D Kᵀ`` has all of them. Without drawing any, their variance follows from what the weights are like
[1]_: let N be the sizes of populations, v the count variances of their neurons, and, of the weights times gains of
single pairs (from population b to a), ``m_ab`` the mean and ``s_ab`` the variance. Paths that are taken twice add up to

    X = (1 - s N)⁻¹ s,

and the covariances of pairs from a and b, around their mean, have the variance

    σ²_ab = X_ab v_b² + X_ba v_a² + Σ_c N_c X_ac X_bc v_c².

For one population this is ``(σ/v)² = [1/(1 - R²)² - 1]/N``, with ``R² = s N``, the squared radius of the disc in which
the eigenvalues of random weights lie: the width diverges as R reaches 1, where the mean may still be small. It is the
leading order in 1/N. The next is what the mean covariances Y bring where in- and out-degrees differ: a neuron i hears
population a in proportion ``e + η_i``, the variances of η in population a being V_a, and is heard through pairs whose
covariances with a population sum up to ``ζ_i``, so that

    σ²_ab += yᵦᵀ V_a yᵦ + yₐᵀ V_b yₐ + tr(V_a Y V_b Yᵀ) + (Q∘Q ζ)_ab + (Q∘Q ζ)_ba

with y the columns of Y, ``Q = (1 - m N)⁻¹ m``, ``V_a = R_a + Σ_c N_c X_ac R_c`` from the variances R of the sums of the
weights that neurons receive, and ζ likewise from those of the sums that they give.

References
----------
.. [1] D. Dahmen, S. Grün, M. Diesmann, M. Helias (2019), Second type of criticality in the brain uncovers rich
   multiple-neuron dynamics, Proc. Natl. Acad. Sci. USA 116, 13051 (one population, no mean weights).
.. [2] M. Layer, M. Helias, D. Dahmen (2024), Effect of synaptic heterogeneity on neuronal coordination, PRX Life 2,
   013013.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr

from mnnbio.circuit import Circuit, require_circuit
from mnnbio.machine import check_choice
from mnnbio.moments import moment_activation
from mnnbio.results import array, versions
from mnnbio.theory.labelled import step_attributes
from mnnbio.theory.population_theory import (
    PopulationState,
    System,
    average,
    fluctuations,
    pair_covariance,
    population_stability,
    population_start,
    population_system,
    solve,
    summed_covariance,
)
from mnnbio.theory.predict import predict
from mnnbio.theory.recurrence import DENSE, require_converged, require_stable, stability_attributes
from mnnbio.theory.stationary import Closure, closure_name
from mnnbio.theory.validity import check_predictable, check_validity, checked_step

Array = npt.NDArray[np.float64]
Resolution = Literal["neuron", "population"]


class Blocks(NamedTuple):
    """Weights times gains between populations, sources of spikes among them; rows receive."""

    sizes: Array  # (p,)
    squared_variance: Array  # mean square of the count variances of the neurons, (p,), 1/ms²
    mean: Array  # of the weight of a pair, (p, p)
    variance: Array
    received: Array  # covariances among neurons of the sums that they receive from two populations, (p, p, p)
    given: Array  # variances among neurons (columns) of the sums that they give to a population (rows), (p, p)


def covariance_width(
    circuit: Circuit,
    *,
    resolution: Resolution = "neuron",
    dt: Any = None,
    closure: Closure = "poisson",
    start: Any = None,
) -> xr.Dataset:
    """Return mean and standard deviation, over pairs of neurons, of the covariances between and within populations.

    Parameters
    ----------
    circuit : Circuit
        With one stimulus, not changing in time.
    resolution : {"neuron", "population"}
        The covariances of all pairs with the realised weights, of up to 5,000 neurons; or their width from the rules of
        connectivity, without drawing any synapse, at any size.
    dt, closure, start
        As for `predict`.

    Returns
    -------
    Dataset
        Over ``(population, population_j)`` `pair_covariance`, the mean, and `pair_covariance_std`, the standard
        deviation of long-window count covariances per time of two different neurons (Hz), and with
        ``resolution="neuron"`` `pair_covariance_skewness` and `pair_covariance_kurtosis` (in excess of a normal
        distribution). With ``resolution="population"`` the attribute `random_radius`, the radius R of the eigenvalues
        of what is random about the weights times gains. NaN where there are fewer than two pairs.

    Raises
    ------
    ValueError
        If the circuit has several stimuli or more neurons than the resolution allows, its state is unstable, in the
        mean or because R ≥ 1, or neurons share noise of given loadings, whose covariances no rule tells.
    NotConverged
        If there is no stationary state.
    TypeError
        If there is no theory for a part of the circuit.

    Warns
    -----
    FiniteWeightWarning, SlowSynapseWarning, LinearResponseWarning, CorrelationWarning
        As by `predict`.

    Notes
    -----
    From the rules, gains that differ among neurons count as independent of what the neurons receive, and corrections of
    the relative size of an in-degree's inverse are left out. Simulated covariances are wider than both: estimates from
    finite data scatter, which has to be subtracted first.

    References
    ----------
    D. Dahmen, S. Grün, M. Diesmann, M. Helias (2019), Proc. Natl. Acad. Sci. USA 116, 13051, eq. 3.
    """
    require_circuit(circuit)
    check_choice("resolution", resolution, get_args(Resolution))
    if circuit.n_stimuli is not None or circuit.changes_in_time:
        raise ValueError(
            "covariances are of one stationary state, got several stimuli or an input that changes in time. Choose one "
            "with `circuit.select(...)`, `circuit.at_time(...)` or `circuit.averaged()`"
        )
    if resolution == "neuron":
        return _of_neurons(circuit, dt, closure, start)
    check_predictable(circuit)
    step = checked_step(circuit, dt, drawn=False)
    system = population_system(circuit, step)
    if system.shared.any():
        raise ValueError(
            "neurons share noise of given loadings, so that covariances differ by them and not by the rules of "
            "connectivity alone: use resolution='neuron'"
        )
    state = solve(system, closure, step, population_start(circuit, start))
    require_converged(state.status, state.residual, state.iterations)
    eigenvalues = population_stability(system, state)
    require_stable(eigenvalues, covariance=True)
    check_validity(circuit, fluctuations(circuit, system, state), eigenvalues=eigenvalues)
    blocks = _blocks(system, state)
    size = len(system.names)
    mean = pair_covariance(summed_covariance(system, state), system.sizes, state.variance)
    variance = block_variance(blocks, mean)[:size, :size]
    pairs = np.outer(system.sizes, system.sizes) - np.diag(system.sizes)
    std = np.where(pairs >= 2, np.sqrt(variance), np.nan)
    radius = float(np.sqrt(np.abs(np.linalg.eigvals(blocks.variance * blocks.sizes)).max()))
    return _labelled(system.names, {"pair_covariance": mean * 1e3, "pair_covariance_std": std * 1e3}).assign_attrs(
        group="prediction",
        theory="diffusion",
        closure=closure_name(closure),
        resolution=resolution,
        random_radius=radius,
        **step_attributes(step),
        **stability_attributes(eigenvalues),
        circuit_hash=circuit.hash(),
        **versions(),
    )


def radius_from_width(relative_width: npt.ArrayLike, size: npt.ArrayLike) -> Array:
    """Return the radius R of the eigenvalues of random weights from the width of the distribution of covariances.

    ``R² = 1 - 1/√(1 + N Δ²)``, the inverse of the width of one population.

    Parameters
    ----------
    relative_width : array_like
        Δ, the standard deviation of the covariances of pairs over the mean variance of single neurons, both of counts
        in windows long against all correlations; ≥ 0. Scatter of the estimates has to be subtracted first.
    size : array_like
        N, the number of neurons of the network, not of those that were recorded.

    References
    ----------
    D. Dahmen, S. Grün, M. Diesmann, M. Helias (2019), Proc. Natl. Acad. Sci. USA 116, 13051, eq. 3.

    Examples
    --------
    >>> float(radius_from_width(0.05, 1000).round(3))
    0.682
    """
    width, number = np.asarray(relative_width, dtype=np.float64), np.asarray(size, dtype=np.float64)
    if not (width >= 0).all() or not (number > 0).all():
        raise ValueError(
            f"`relative_width` must be ≥ 0 and `size` > 0, got {np.min(width):g} and {np.min(number):g}: scatter of "
            "the estimates that is larger than the width leaves none to tell R from"
        )
    return np.asarray(np.sqrt(1 - 1 / np.sqrt(1 + number * width**2)))


def block_variance(blocks: Blocks, mean: Array) -> Array:
    """Return the variances of the covariances of pairs, (p, p), 1/ms².

    Parameters
    ----------
    blocks : Blocks
    mean : ndarray, shape (q, q)
        Mean covariances of pairs of the first q populations, 1/ms, that are not sources; NaN for populations of one.

    Raises
    ------
    ValueError
        If the radius of the random eigenvalues is 1 or more: there is no stationary state.
    """
    sizes, v2, p = blocks.sizes, blocks.squared_variance, len(blocks.sizes)
    radius = float(np.sqrt(np.abs(np.linalg.eigvals(blocks.variance * sizes)).max()))
    if radius >= 1:
        raise ValueError(
            f"the eigenvalues of random weights lie in a disc of the radius {radius:.2f} ≥ 1: fluctuations grow, and "
            "the width of covariances diverges. Weaken the recurrent weights"
        )
    X = np.linalg.solve(np.eye(p) - blocks.variance * sizes, blocks.variance)
    reached = np.einsum("ac,bc,c->ab", X, X, sizes * v2)
    leading = X * v2 + (X * v2).T + reached
    Y = np.zeros((p, p))
    Y[: len(mean), : len(mean)] = np.where(np.isnan(mean), 0.0, mean)  # one neuron has no pair that would be heard
    Y = _with_sources(blocks, Y, len(mean))
    Q = np.linalg.solve(np.eye(p) - blocks.mean * sizes, blocks.mean)
    V = blocks.received + np.einsum("ac,cij->aij", X * sizes, blocks.received)
    through = blocks.given @ (np.eye(p) + sizes[:, None] * X)
    zeta = through * v2 + np.einsum("bc,jc,c->bj", through, X, sizes * v2)
    heard = np.einsum("ib,aij,jb->ab", Y, V, Y)
    both = np.einsum("aij,jk,bkl,il->ab", V, Y, V, Y)
    passed = (Q**2 + np.einsum("acc,cb->ab", V, Q**2)) @ zeta
    return np.asarray(leading + heard + heard.T + both + passed + passed.T)


def _with_sources(blocks: Blocks, Y: Array, known: int) -> Array:
    """Return the mean covariances with those of neurons and the trains of sources, which they hear."""
    p = len(blocks.sizes)
    if p == known:
        return Y
    Q = np.linalg.solve(np.eye(p) - blocks.mean * blocks.sizes, blocks.mean)
    heard = Q[:known, known:] * np.sqrt(blocks.squared_variance[known:])
    Y[:known, known:], Y[known:, :known] = heard, heard.T
    return Y


def _blocks(system: System, state: PopulationState) -> Blocks:
    """Return the statistics of weights times gains around a state."""
    own, outside = len(system.names), len(system.source_rate)
    p = own + outside
    assert state.node_lif is not None  # other neurons were refused
    answers = moment_activation(torch.from_numpy(state.node_mean), torch.from_numpy(state.node_std), state.node_lif)
    squared = average(system, answers.variance.numpy() ** 2)
    sizes = np.concatenate([system.sizes, system.sources.sizes])
    gain, gain_squared = average(system, state.node_gain), average(system, state.node_gain**2)
    table = {
        name: np.concatenate([getattr(system.recurrent, name), getattr(system.sources, name)], axis=1)
        for name in ("total", "squares", "row_variance", "column_variance")
    }
    mean, variance, given = np.zeros((3, p, p))
    received = np.zeros((p, p, p))
    mean[:own] = gain[:, None] * table["total"] / sizes
    each = np.maximum(table["squares"] - table["total"] ** 2 / sizes, 0.0) / sizes
    variance[:own] = gain_squared[:, None] * each
    for a in range(own):
        received[a] = np.diag(gain_squared[a] * table["row_variance"][a])
        received[a] += max(gain_squared[a] - gain[a] ** 2, 0.0) * np.outer(table["total"][a], table["total"][a])
    # Sums that sources give are of the weights of all targets; gains of the targets average out.
    given[:own] = gain[:, None] ** 2 * table["column_variance"]
    return Blocks(sizes, np.concatenate([squared, system.source_spread**2]), mean, variance, received, given)


def _of_neurons(circuit: Circuit, dt: Any, closure: Closure, start: Any) -> xr.Dataset:
    """Return the statistics of the realised covariances."""
    if circuit.n_neurons > DENSE:
        raise ValueError(
            f"covariances of all pairs are computed for up to {DENSE:,} neurons, got {circuit.n_neurons:,}: use "
            "resolution='population', or a part of the circuit"
        )
    prediction = predict(circuit, dt=dt, closure=closure, start=start)
    matrix = prediction["covariance"].to_numpy()
    names, places = [p.name for p in circuit.neurons], circuit.slices()
    found = {
        name: np.full((len(names), len(names)), np.nan)
        for name in (
            "pair_covariance",
            "pair_covariance_std",
            "pair_covariance_skewness",
            "pair_covariance_kurtosis",
        )
    }
    for a, one in enumerate(names):
        for b, other in enumerate(names):
            block = matrix[places[one], places[other]]
            values = block[~np.eye(len(block), dtype=bool)] if a == b else block.ravel()
            for name, value in zip(found, _moments(values), strict=True):
                found[name][a, b] = value
    return _labelled(names, found).assign_attrs({**prediction.attrs, "resolution": "neuron"})


def _moments(values: Array) -> tuple[float, float, float, float]:
    """Return mean, standard deviation, skewness and excess kurtosis; NaN of what too few values do not have."""
    if not len(values):
        return (float("nan"),) * 4
    mean = float(values.mean())
    away = values - mean
    std = float(np.sqrt((away**2).mean()))
    if len(values) < 2:
        return mean, float("nan"), float("nan"), float("nan")
    if std <= 1e-12 * np.abs(values).max():
        return mean, std, 0.0, 0.0
    return mean, std, float((away**3).mean() / std**3), float((away**4).mean() / std**4 - 3)


def _labelled(names: list[str], values: dict[str, Array]) -> xr.Dataset:
    pairs = ("population", "population_j")
    labelled = {name: array(name, pairs, value) for name, value in values.items()}
    return xr.Dataset(labelled, coords={"population": names, "population_j": names})
