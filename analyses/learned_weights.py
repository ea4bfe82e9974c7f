"""Learned weights against true ones: correlation, signs, differences and spectra, by the sign of the true weight."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy import optimize

from mnnbio.units import in_unit, is_quantity, shown

Array = npt.NDArray[np.float64]

SIGNS = ("excitatory", "inhibitory", "absent", "all")


def weight_classes(true: Array) -> dict[str, npt.NDArray[np.bool_]]:
    """Return which weights each class holds: those above, below and at zero in truth, and all."""
    return dict(zip(SIGNS, (true > 0, true < 0, true == 0, np.ones(true.shape, dtype=bool)), strict=True))


def weight_matrix(weights: Any, name: str) -> Array:
    """Return weights as a matrix of numbers, mV where they are quantities; NaN are unknown.

    Raises
    ------
    ValueError, TypeError
        If they are no matrix of numbers, or infinite.
    """
    given = weights.toarray() if hasattr(weights, "toarray") else weights
    if is_quantity(given):
        given = in_unit(given, "mV", name)
    try:
        matrix = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(f"`{name}` must be a matrix of numbers, got {shown(weights)}") from error
    if matrix.ndim != 2:
        raise ValueError(f"`{name}` must be over (target, source), got shape {matrix.shape}")
    if np.isinf(matrix).any():
        raise ValueError(f"`{name}` must be finite, or NaN where unknown, got infinite weights")
    return matrix


def weight_recovery(learned: Any, true: Any, *, autapses: bool = True) -> xr.Dataset:
    """Compare learned with true weights, class by class.

    The correlation over all weights mostly tells that excitatory and inhibitory weights have different signs, which a
    learner may have been given: recovery is in the correlations within a class.

    Parameters
    ----------
    learned, true : array_like, Quantity or sparse matrix, shape (target, source)
        Weights, mV or in one other unit. NaN among the learned ones are unknown: they are counted and left out.
    autapses : bool
        Count the diagonal of a square matrix.

    Returns
    -------
    Dataset
        Over ``sign`` ("excitatory", "inhibitory", "absent", true weights above, below and at zero, and "all"):
        `number` of weights compared, `unknown`, learned ones that are NaN; `correlation` (Pearson), `sign_agreement`
        (fraction; zero agrees with zero only), `mean_absolute_difference`, `learned_mean`, `true_mean`; `note` says why
        values are NaN: "no weights", or "equal weights", which have no correlation. Of square matrices without unknown
        weights: `eigenvalue_real`, `eigenvalue_imag` over (matrix, eigenvalue), largest first, `spectral_radius` over
        ``matrix`` ("learned", "true"), and `spectral_distance`, the mean distance of eigenvalues in the pairing that
        makes it least; `spectrum_note` says why they are missing.

    Raises
    ------
    ValueError
        If shapes differ, a true weight is NaN, or a weight is infinite.
    TypeError
        If weights are not numbers.
    """
    mine, truth = weight_matrix(learned, "learned"), weight_matrix(true, "true")
    if mine.shape != truth.shape:
        raise ValueError(f"`learned` and `true` must have one shape, got {mine.shape} and {truth.shape}")
    if np.isnan(truth).any():
        raise ValueError(f"`true` must not be NaN, got {int(np.isnan(truth).sum())} of them: set absent weights to 0")
    square = mine.shape[0] == mine.shape[1] and mine.size > 0
    counted = np.ones(mine.shape, dtype=bool)
    if not autapses:
        if not square:
            raise ValueError(f"`autapses=False` is of square matrices, got shape {mine.shape}")
        np.fill_diagonal(counted, False)
    unknown = np.isnan(mine)
    rows = [_of_class(mine, truth, chosen & counted, unknown) for chosen in weight_classes(truth).values()]
    meanings = {
        "number": "weights compared",
        "unknown": "learned weights that are NaN",
        "correlation": "correlation of learned with true weights",
        "sign_agreement": "part of learned weights with the true sign",
        "mean_absolute_difference": "mean absolute difference",
        "learned_mean": "mean of learned weights",
        "true_mean": "mean of true weights",
        "note": "why a value is not defined",
    }
    out = xr.Dataset(
        {name: ("sign", [row[name] for row in rows], {"long_name": text}) for name, text in meanings.items()},
        coords={"sign": list(SIGNS)},
    )
    for name in ("mean_absolute_difference", "learned_mean", "true_mean"):
        out[name].attrs["units"] = "mV"
    note = "not square" if not square else "unknown weights" if unknown.any() else ""
    if not note:
        _add_spectra(out, mine, truth)
    out["spectrum_note"] = ((), note)
    out.attrs = {"autapses": int(autapses)}
    return out


def _of_class(
    mine: Array, truth: Array, chosen: npt.NDArray[np.bool_], unknown: npt.NDArray[np.bool_]
) -> dict[str, Any]:
    a, b = mine[chosen & ~unknown], truth[chosen & ~unknown]
    row: dict[str, Any] = dict.fromkeys(
        ("correlation", "sign_agreement", "mean_absolute_difference", "learned_mean", "true_mean"), np.nan
    )
    row |= {"number": len(a), "unknown": int((chosen & unknown).sum()), "note": "" if len(a) else "no weights"}
    if not len(a):
        return row
    row |= {
        "sign_agreement": float((np.sign(a) == np.sign(b)).mean()),
        "mean_absolute_difference": float(np.abs(a - b).mean()),
        "learned_mean": float(a.mean()),
        "true_mean": float(b.mean()),
    }
    if any(np.ptp(side) <= 1e-12 * np.abs(side).max() for side in (a, b)):
        row["note"] = "equal weights"
    else:
        row["correlation"] = float(np.corrcoef(a, b)[0, 1])
    return row


def _add_spectra(out: xr.Dataset, mine: Array, truth: Array) -> None:
    spectra = [np.linalg.eigvals(matrix).astype(np.complex128) for matrix in (mine, truth)]
    spectra = [values[np.lexsort((values.imag, -values.real, -np.abs(values).round(12)))] for values in spectra]
    cost = np.abs(spectra[0][:, None] - spectra[1][None, :])
    pairs = optimize.linear_sum_assignment(cost)
    table = np.stack(spectra)
    out.coords["matrix"] = ["learned", "true"]
    for part, values in (("real", table.real), ("imag", table.imag)):
        out[f"eigenvalue_{part}"] = (("matrix", "eigenvalue"), values, {"units": "mV"})
    out["spectral_radius"] = ("matrix", np.abs(table).max(axis=1), {"units": "mV"})
    out["spectral_distance"] = ((), float(cost[pairs].mean()), {"units": "mV", "long_name": "distance of spectra"})
