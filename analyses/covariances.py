"""Covariances of spike counts: predicted matrices against simulated ones, and means over pairs of populations."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from mnnbio.analyses.alignment import Aligned
from mnnbio.analyses.binned_counts import binned_counts, population_names, recorded
from mnnbio.analyses.significance import (
    benjamini_hochberg,
    degrees_of_freedom,
    holm,
    joint_test,
    mantel_test,
    p_values,
    pooled_error,
    z_scores,
)
from mnnbio.machine import require_integer
from mnnbio.results import QUANTITIES

Array = npt.NDArray[np.float64]

_CORRELATION = {"count_covariance": "count_correlation", "covariance": "correlation"}
_WINDOW = 100.0  # ms
# Elements read in one relabelling test: more would take seconds.
_TEST_BUDGET = 3e8
_MOST_EIGENVALUES = 1500  # neurons


def compare_matrices(
    aligned: Aligned, name: str, *, min_spikes: float, permutations: int, rng: np.random.Generator
) -> dict[str, xr.DataArray]:
    """Compare two covariance matrices, averaged over stimuli.

    Parameters
    ----------
    aligned : Aligned
        Prediction and simulation.
    name : {"count_covariance", "covariance"}
        Which covariance.
    min_spikes : float
        Pairs with a neuron that is expected to fire fewer spikes in all are left out of the summaries.
    permutations : int
        Number of relabellings of the correlation's test; fewer (at least 99) for more than some 500 neurons.
    rng : numpy.random.Generator
        Source of the relabellings.

    Returns
    -------
    dict
        Variables of the comparison (see `compare`).
    """
    predicted, simulated, attrs = aligned
    (unit, long_name), correlation = QUANTITIES[name], _CORRELATION[name]
    x, y, se = (_values(array) for array in (predicted[name], simulated[name], simulated[f"{name}_se"]))
    samples = simulated[f"{name}_se"].attrs.get("n_samples", attrs.get("n_samples"))
    freedom = degrees_of_freedom(samples, "covariance")
    dof: Array | float = freedom
    if x.ndim == 3:
        error = pooled_error(y - x, se, freedom)
        x, y, se, dof = x.mean(axis=0), y.mean(axis=0), error.se, error.dof
    n = len(x)
    z = z_scores(y - x, se)
    loud = _expected_total(predicted, attrs) >= min_spikes
    z_counted = np.where(loud[:, None] & loud[None, :], z, np.nan)
    x_pairs, y_pairs = (np.where(loud[:, None] & loud[None, :], matrix, np.nan) for matrix in (x, y))
    pairs = np.triu_indices(n, 1)
    budgeted = int(np.clip(_TEST_BUDGET / max(n, 1) ** 2, 99, permutations)) if permutations > 99 else permutations
    r, p = mantel_test(x_pairs, y_pairs, permutations=budgeted, rng=rng)
    ceiling, slope = _ceiling_and_slope(x_pairs[pairs], y_pairs[pairs], se[pairs])
    counted = np.isfinite(z_counted).any(axis=0)
    test = joint_test(
        z_counted[pairs], np.broadcast_to(dof, z.shape)[pairs], eigenvalues=_pair_eigenvalues(x[counted][:, counted])
    )
    p_holm, p_fdr = (np.full(z.shape, np.nan) for _ in range(2))
    for matrix, correct in ((p_holm, holm), (p_fdr, benjamini_hochberg)):
        matrix[pairs] = correct(p_values(z_counted, dof)[pairs])
        matrix.T[pairs] = matrix[pairs]
    z_pairs = z_counted[pairs][np.isfinite(z_counted[pairs])]
    dims = ("neuron", "neuron_j")
    coords = {
        key: value for key, value in predicted[name].coords.items() if set(value.dims) <= set(dims) and value.dims
    }

    def array(values: Any, text: str, units: str = "1", over: tuple[str, ...] = ()) -> xr.DataArray:
        return xr.DataArray(
            values, dims=over, coords=coords if over else None, attrs={"long_name": text, "units": units}
        )

    pairwise = f"{long_name} of pairs of neurons"
    return {
        f"{name}_predicted": array(x, f"predicted {long_name}", unit, dims),
        f"{name}_simulated": array(y, f"simulated {long_name}", unit, dims),
        f"{name}_se": array(se, f"standard error of the simulated {long_name}", unit, dims),
        f"{name}_z": array(z, f"{long_name}, (simulated − predicted) / standard error", "1", dims),
        f"{name}_p_holm": array(p_holm, f"p of the {long_name} after Holm, over pairs i < j", "1", dims),
        f"{name}_p_fdr": array(
            p_fdr, f"p of the {long_name} after Benjamini and Hochberg, over pairs i < j", "1", dims
        ),
        f"{correlation}_predicted": array(_normalise(x), f"predicted correlation coefficient, {long_name}", "1", dims),
        f"{correlation}_simulated": array(_normalise(y), f"simulated correlation coefficient, {long_name}", "1", dims),
        f"{name}_r": array(r, f"Pearson correlation of predicted and simulated {pairwise}"),
        f"{name}_r_p": array(p, f"one-sided p of that correlation, {budgeted} relabellings of the neurons"),
        f"{name}_r_ceiling": array(ceiling, f"r of the {pairwise} that an exact prediction would reach"),
        f"{name}_slope": array(slope, f"regression slope of simulated on predicted {pairwise}"),
        f"{name}_z_rms": array(
            np.sqrt(np.mean(z_pairs**2)) if len(z_pairs) else np.nan, f"root mean square z of the {pairwise}"
        ),
        f"{name}_p": array(
            test.p, f"probability of z of the {pairwise} at least as large if the prediction were exact"
        ),
        f"{name}_z_count": array(len(z_pairs), f"number of z values of the {pairwise} that count"),
    }


def _pair_eigenvalues(covariance: Array) -> Array | None:
    """Return weights of the sum of squares of estimated covariances of Gaussian counts; None where they cannot be.

    The errors of c_ij and c_kl have the covariance C_ik C_jl + C_il C_jk, whose eigenvalues are products λ_i λ_j of
    those of C. Those of the diagonal elements are among them, which matters little where neurons are many.
    """
    correlations = _normalise(covariance)
    if not np.isfinite(correlations).all() or len(correlations) < 2 or len(correlations) > _MOST_EIGENVALUES:
        return None
    own = np.maximum(np.linalg.eigvalsh(correlations), 0.0)
    return np.asarray(np.outer(own, own)[np.triu_indices(len(own))])


def _values(matrix: xr.DataArray) -> Array:
    return matrix.transpose(..., "neuron", "neuron_j").to_numpy().astype(np.float64)


def _expected_total(predicted: xr.Dataset, attrs: dict[str, Any]) -> Array:
    """Return the number of spikes (neuron,) expected in all the data; infinite if the duration is unknown."""
    rate = predicted["rate"].transpose(..., "neuron").to_numpy()
    total = rate.sum(axis=0) if rate.ndim == 2 else rate
    if "duration" not in attrs:
        return np.full(total.shape, np.inf)
    return np.asarray(total * float(attrs["duration"]) * float(attrs.get("trials", 1)), dtype=np.float64)


def _normalise(covariance: Array) -> Array:
    """Return correlation coefficients, NaN for neurons without variance."""
    scale = np.sqrt(np.diag(covariance))
    scale = scale[:, None] * scale[None, :]
    return np.divide(covariance, scale, out=np.full(covariance.shape, np.nan), where=scale > 0)


def _ceiling_and_slope(x: Array, y: Array, se: Array) -> tuple[float, float]:
    """Return the largest r that sampling errors `se` allow, and the regression slope of `y` on `x`.

    An exact prediction correlates with its noisy measurement as sqrt(var x / (var x + mean se²)).
    """
    valid = np.isfinite(x) & np.isfinite(y)
    if valid.sum() < 3 or not np.ptp(x[valid]) > 0:
        return float("nan"), float("nan")
    variance = x[valid].var()
    slope = float(((x[valid] - x[valid].mean()) * (y[valid] - y[valid].mean())).mean() / variance)
    noise = np.mean(se[valid] ** 2)
    return float(np.sqrt(variance / (variance + noise))), slope


def population_covariances(result: xr.DataTree | xr.Dataset, window: Any = None, *, blocks: int = 10) -> xr.Dataset:
    r"""Estimate covariances of populations from spike counts.

    The covariance of the summed counts of two populations is a sum over all pairs of their neurons, so that the mean
    over pairs of different neurons needs the summed counts and the single variances only:
    :math:`\langle C_{ij} \rangle = [\mathrm{Var}(S) - \sum_i \mathrm{Var}(n_i)]/[N(N - 1)]` within a population.

    Parameters
    ----------
    result : DataTree or Dataset
        A result with ``/spikes`` or counts of neurons.
    window : float or Quantity, optional
        Counting window, ms: a whole number of steps. Default: the one nearest to 100 ms.
    blocks : int
        Blocks that each trial is cut into for the standard errors (delete-one jackknife over all blocks).

    Returns
    -------
    Dataset
        Over ([stimulus,] population, population_j), per time (Hz): ``population_covariance`` of the summed activity,
        and ``pair_covariance``, the mean over pairs of different neurons, each with its error ``<name>_se``; as
        `predict` names them for populations.

    Raises
    ------
    ValueError
        If only populations were counted, or a trial has fewer than two windows a block.
    """
    require_integer("blocks", blocks, 2)
    width = recorded(result).bin(window, _WINDOW, "window")
    table = binned_counts(result, width)
    if "neuron" not in table.dims:
        raise ValueError("covariances of pairs need counts of single neurons, these are of populations")
    length = table.sizes["time"] // blocks
    if length < 2:
        raise ValueError(
            f"{table.sizes['time']} windows a trial are too few for {blocks} blocks: simulate longer, or lower `blocks`"
        )
    populations = population_names(table)
    names = list(dict.fromkeys(populations.tolist()))
    if not names:
        raise ValueError("covariances need neurons, the result has none")
    members = [np.flatnonzero(populations == name) for name in names]
    lead = [str(d) for d in table.dims if d not in ("trial", "time", "neuron")]
    cut = table.isel(time=slice(length * blocks)).transpose(*lead, "trial", "time", "neuron").to_numpy()
    counts = cut.reshape(*cut.shape[: len(lead)], -1, length, cut.shape[-1]).astype(np.float64)
    # Counts are small whole numbers, so that sums of products lose nothing.
    summed = np.stack([counts[..., mine].sum(axis=-1) for mine in members], axis=-1)
    squares = np.stack([(counts[..., mine] ** 2).sum(axis=(-1, -2)) for mine in members], axis=-1)
    products = np.einsum("...bta,...btc->...bac", summed, summed)
    single = counts.sum(axis=-2)
    value, se = _jackknife(single, summed.sum(axis=-2), squares, products, members, length)
    dims = (*lead, "population", "population_j")
    data: dict[str, Any] = {}
    for k, (name, text) in enumerate(
        {
            "population_covariance": "covariance of the summed activity per time",
            "pair_covariance": "mean covariance of two different neurons per time",
        }.items()
    ):
        data[name] = (dims, value[k] / (1e-3 * width), {"units": "Hz", "long_name": text})
        data[f"{name}_se"] = (
            dims,
            se[k] / (1e-3 * width),
            {"units": "Hz", "long_name": f"standard error of the {text}"},
        )
    coords = {name: table.coords[name] for name in lead if name in table.coords}
    return xr.Dataset(data, coords={**coords, "population": names, "population_j": names}).assign_attrs(
        window=1e-3 * width, blocks=counts.shape[-3]
    )


def _jackknife(
    single: Array, summed: Array, squares: Array, products: Array, members: list[npt.NDArray[np.int64]], length: int
) -> tuple[Array, Array]:
    """Return covariances (kind, ..., population, population) and their errors, from sums over the time of each block.

    `single` (..., block, neuron) and `summed` (..., block, population) are sums of counts, `squares` (..., block,
    population) of the squares of single counts, `products` (..., block, population, population) of summed ones.
    """
    number = single.shape[-2]
    parts = ((single, -2), (summed, -2), (squares, -2), (products, -3))
    whole = [part.sum(axis=axis, keepdims=True) for part, axis in parts]
    value = np.stack(_covariances(*whole, members=members, samples=length * number))[..., 0, :, :]
    left = [total - part for total, (part, _) in zip(whole, parts, strict=True)]
    spread = np.stack(_covariances(*left, members=members, samples=length * (number - 1)))
    return value, np.sqrt((number - 1) * spread.var(axis=-3))


def _covariances(
    single: Array, summed: Array, squares: Array, products: Array, *, members: list[npt.NDArray[np.int64]], samples: int
) -> tuple[Array, Array]:
    """Return the covariance of sums and the mean over pairs, each (..., set, population, population)."""
    total = (products - summed[..., :, None] * summed[..., None, :] / samples) / (samples - 1)
    own = np.stack([(single[..., mine] ** 2).sum(axis=-1) for mine in members], axis=-1)
    variances = (squares - own / samples) / (samples - 1)
    sizes = np.array([len(mine) for mine in members], dtype=np.float64)
    pairs = sizes[:, None] * sizes - np.diag(sizes)
    between = total - variances[..., :, None] * np.eye(len(members))
    return total, np.divide(between, pairs, out=np.full(total.shape, np.nan), where=pairs > 0)


def mean_covariances(covariance: xr.DataArray) -> xr.DataArray:
    """Average a covariance matrix over pairs of different neurons.

    Parameters
    ----------
    covariance : DataArray
        Over ([stimulus,] neuron, neuron_j), predicted or simulated.

    Returns
    -------
    DataArray
        Over ([stimulus,] population, population_j), in the same unit; NaN for a population of one neuron.
    """
    if not isinstance(covariance, xr.DataArray) or not {"neuron", "neuron_j"} <= set(covariance.dims):
        shown = covariance.dims if isinstance(covariance, xr.DataArray) else type(covariance).__name__
        raise ValueError(f"expected a covariance matrix, a DataArray over neuron and neuron_j, got {shown}")
    lead = [str(d) for d in covariance.dims if d not in ("neuron", "neuron_j")]
    matrix = covariance.transpose(*lead, "neuron", "neuron_j").to_numpy().copy()
    populations = population_names(covariance)
    names = list(dict.fromkeys(populations.tolist()))
    diagonal = np.arange(len(populations))
    matrix[..., diagonal, diagonal] = 0.0
    member = (populations[:, None] == np.array(names)).astype(np.float64)
    sizes = member.sum(axis=0)
    pairs = sizes[:, None] * sizes - np.diag(sizes)
    sums = member.T @ matrix @ member
    values = np.divide(sums, pairs, out=np.full(sums.shape, np.nan), where=pairs > 0)
    coords: dict[str, Any] = {name: covariance.coords[name] for name in lead if name in covariance.coords}
    coords |= {"population": names, "population_j": names}
    attrs = {**covariance.attrs, "long_name": f"mean {covariance.attrs.get('long_name', 'covariance')} of two neurons"}
    return xr.DataArray(values, dims=(*lead, "population", "population_j"), coords=coords, attrs=attrs)
