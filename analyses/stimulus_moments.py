"""Moments of spike counts for every stimulus, of a prediction or of a simulation, as decoding needs them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr

from mnnbio.analyses.alignment import group
from mnnbio.analyses.binned_counts import population_names
from mnnbio.analyses.circuit_text import result_of

Array = npt.NDArray[np.float64]


class CountMoments(NamedTuple):
    """Mean (stimulus, neuron) and covariance (stimulus, neuron, neuron) of counts in a window, for every stimulus."""

    mean: Array
    covariance: Array
    samples: int | None
    """Counts of each stimulus that they are estimated from; None for a prediction."""
    window: float
    """s; 1 for long windows, whose moments are given per second."""
    stimulus: npt.NDArray[Any]


def count_moments(result: xr.Dataset | xr.DataTree, *, population: str | Sequence[str] | None = None) -> CountMoments:
    """Return mean and covariance of counts for every stimulus of a prediction or a simulation.

    Parameters
    ----------
    result : Dataset or DataTree
        A prediction or a simulation with stimuli; a tree that has one of them.
    population : str or sequence of str, optional
        Default: all neurons.

    Raises
    ------
    ValueError
        If there are fewer than two stimuli, no covariances, or values that are not finite.
    """
    data, side = one_side(result)
    if "rate" not in data or "stimulus" not in data["rate"].dims or data.sizes["stimulus"] < 2:
        raise ValueError(f"decoding needs rates of at least two stimuli, the {side} has {_held(data)}")
    data = of_populations(data, population)
    window = data.attrs.get(
        "window", result_of(result).attrs.get("window") if isinstance(result, xr.DataTree) else None
    )
    samples = data.attrs.get("n_samples")
    if "count_covariance" in data and window is not None and not isinstance(window, str):
        covariance, length = data["count_covariance"], float(window)
        samples = covariance.attrs.get("n_samples", samples)
    else:
        covariance, length = _long_covariance(data, side), 1.0
        samples = covariance.attrs.get("n_samples", samples if side == "simulation" else None)
        if samples is not None and "window" in covariance.attrs:
            length = float(covariance.attrs["window"])
            covariance = covariance * length
    mean = data["rate"].transpose("stimulus", "neuron").to_numpy().astype(np.float64) * length
    matrices = covariance.transpose("stimulus", "neuron", "neuron_j").to_numpy().astype(np.float64)
    for name, values in (("rate", mean), ("covariance", matrices)):
        if not np.isfinite(values).all():
            where = np.argwhere(~np.isfinite(values))[0]
            raise ValueError(
                f"the {name} of the {side} must be finite, got {values[tuple(where)]} at stimulus {where[0]}, neuron "
                f"{where[1]}: leave that neuron or stimulus out, or simulate more trials"
            )
    labels = data["stimulus"].to_numpy() if "stimulus" in data.coords else np.arange(len(mean))
    return CountMoments(mean, matrices, None if samples is None else int(samples), length, labels)


def one_side(result: xr.Dataset | xr.DataTree) -> tuple[xr.Dataset, str]:
    """Return the prediction or the simulation that is given, and which it is."""
    if isinstance(result, xr.DataTree):
        sides = [name for name in ("prediction", "simulation") if name in result.children or result.name == name]
        if len(sides) != 1:
            have = "both: give result['prediction'] or result['simulation']" if sides else ", ".join(result.groups)
            raise ValueError(f"expected a result with either /prediction or /simulation, it has {have}")
        return group(result, sides[0]), sides[0]
    if not isinstance(result, xr.Dataset):
        raise TypeError(f"expected a prediction or a simulation, a Dataset or DataTree, got {type(result).__name__}")
    simulated = "rate_se" in result or "n_samples" in result.attrs
    return result, "simulation" if simulated else "prediction"


def _long_covariance(data: xr.Dataset, side: str) -> xr.DataArray:
    """Return the long-window covariance per second of all neurons, put together where it is stored in factors."""
    if "covariance" in data:
        return data["covariance"]
    if {"covariance_diagonal", "covariance_factor"} <= set(data):
        factor = data["covariance_factor"]
        (rank,) = (str(dim) for dim in factor.dims if dim not in ("stimulus", "neuron"))
        other = factor.rename({rank: f"{rank}_j"}).rename(neuron="neuron_j")
        other = other.drop_vars([name for name in other.coords if "neuron_j" in other[name].dims])
        if "covariance_core" in data:
            low = xr.dot(factor, data["covariance_core"], other, dim=[rank, f"{rank}_j"])
        else:
            low = xr.dot(factor, other.rename({f"{rank}_j": rank}), dim=rank)
        own = data["covariance_diagonal"]
        eye = xr.DataArray(np.eye(data.sizes["neuron"]), dims=("neuron", "neuron_j"))
        return low + own * eye
    raise ValueError(
        f"the {side} has no covariances, it has {_held(data)}: predict and simulate with `covariance=True` and a "
        "`window`"
    )


def _held(data: xr.Dataset) -> str:
    """Name variables and sizes of a dataset, for messages."""
    names = ", ".join(map(str, list(data.data_vars)[:8])) or "no variables"
    return f"{names} over {', '.join(f'{dim} ({size})' for dim, size in data.sizes.items()) or 'nothing'}"


def of_populations(data: Any, population: str | Sequence[str] | None) -> Any:
    """Return the neurons of some populations."""
    if population is None:
        return data
    wanted = [population] if isinstance(population, str) else list(population)
    names = population_names(data)
    known = list(dict.fromkeys(names.tolist()))
    if unknown := [name for name in wanted if name not in known]:
        raise ValueError(f"`population` names {unknown[0]!r}, there are {', '.join(map(str, known))}")
    mine = np.flatnonzero(np.isin(names, wanted))
    return data.isel({dim: mine for dim in ("neuron", "neuron_j") if dim in data.dims})


def cholesky_root(correlation: Array) -> Array:
    """Return the lower Cholesky factor of a correlation matrix.

    Raises
    ------
    ValueError
        If it is not positive definite.
    """
    try:
        return np.asarray(np.linalg.cholesky(correlation), dtype=np.float64)
    except np.linalg.LinAlgError:
        least = float(np.linalg.eigvalsh(correlation)[0])
        raise ValueError(
            "the covariance of counts must be positive definite, the smallest eigenvalue of its correlation matrix is "
            f"{least:.3g}: name fewer neurons, or simulate more trials"
        ) from None
