"""Predicted against simulated covariance matrices."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from mnnbio.analyses.alignment import Aligned
from mnnbio.analyses.significance import degrees_of_freedom, joint_test, mantel_test, pooled_error, z_scores
from mnnbio.results.schema import QUANTITIES

Array = npt.NDArray[np.float64]

_CORRELATION = {"count_covariance": "count_correlation", "covariance": "correlation"}
# Elements read in one relabelling test: more would take seconds.
_TEST_BUDGET = 3e8


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
    dof: Array | float = degrees_of_freedom(samples, "covariance")
    if x.ndim == 3:
        error = pooled_error(y - x, se, dof)
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
    test = joint_test(z_counted[pairs], np.broadcast_to(dof, z.shape)[pairs])
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
