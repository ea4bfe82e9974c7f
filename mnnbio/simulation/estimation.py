"""Estimates from what was recorded of neurons, with standard errors, in the schema of results."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr

from mnnbio.brian.moment_sums import stretch_windows
from mnnbio.brian.recorded import WindowMoments
from mnnbio.results import (
    Estimate,
    array,
    covariance_of_sums,
    estimate_covariance,
    estimate_fano,
    estimate_mean,
    estimate_variance,
    fano_of_sums,
    variance_of_sums,
)

Array = npt.NDArray[np.float64]
Sampler = Callable[[float], xr.DataArray]  # length of a window, ms → counts, ([stimulus,] trial, window, neuron)


class _Windowed(NamedTuple):
    """Estimates from the counts of windows."""

    number: int
    variance: Estimate
    fano: Estimate
    covariance: Estimate | None


def estimates_of_counts(sample: Sampler, *, duration: float, window: float, covariance: bool) -> xr.Dataset:
    """Return the statistics of neurons whose counts in windows of any length are known.

    Parameters
    ----------
    sample : callable
        Returns the counts in adjacent windows of a length, ms.
    duration, window : float
        ms.
    covariance : bool
        Whether to estimate the covariance matrices.
    """
    whole, table = sample(duration), sample(window)
    windowed, n_windows, trials = _samples(table), table.sizes["window"], table.sizes["trial"]
    joined = stretch_windows(n_windows, trials)
    length = duration if joined == n_windows else joined * window
    estimates = _Windowed(
        len(windowed),
        estimate_variance(windowed),
        estimate_fano(windowed),
        estimate_covariance(windowed) if covariance and len(windowed) > 1 else None,
    )
    lead = ["stimulus"] if "stimulus" in whole.dims else []
    return _dataset(lead, _samples(sample(length)), length, estimates, window, _samples(whole), duration, covariance)


def estimates_of_moments(moments: WindowMoments, *, stimuli: bool, duration: float) -> xr.Dataset:
    """Return the same statistics from moments of counts.

    Parameters
    ----------
    moments : WindowMoments
        Of all trials of all stimuli.
    stimuli : bool
        Whether results have the dimension of stimuli.
    duration : float
        ms.
    """

    def select(estimate: Estimate) -> Estimate:
        return estimate if stimuli else Estimate(estimate.value[0], estimate.se[0])

    def samples(table: npt.NDArray[np.int32]) -> Array:
        """Return (trial · stretch, [stimulus,] neuron) of (stimulus, trial, stretch, neuron)."""
        first = np.moveaxis(table, 0, 2).reshape(-1, table.shape[0], table.shape[-1])
        return np.asarray(first if stimuli else first[:, 0], dtype=np.float64)

    number, powers, products = moments.number, moments.powers, moments.products
    few = moments.stretch.shape[2] > 0
    estimates = _Windowed(
        int(number[0]),
        select(variance_of_sums(number, powers)),
        select(fano_of_sums(number, powers)),
        None if products is None or number[0] < 2 else select(covariance_of_sums(number, powers, products)),
    )
    whole = samples(moments.total[:, :, None])
    batch = samples(moments.stretch) if few else whole
    length = moments.stretch_windows * moments.window if few else duration
    lead = ["stimulus"] if stimuli else []
    return _dataset(lead, batch, length, estimates, moments.window, whole, duration, products is not None)


def _dataset(
    lead: list[str],
    batch: Array,
    length: float,
    windowed: _Windowed,
    window: float,
    whole: Array,
    duration: float,
    covariance: bool,
) -> xr.Dataset:
    """Return the estimates by name; lengths in ms, samples along the first axis."""
    found: dict[str, xr.DataArray] = {}

    def put(name: str, estimate: Estimate, unit: float = 1.0, **attrs: Any) -> None:
        dims = [*lead, "neuron", "neuron_j"] if name.endswith("covariance") else [*lead, "neuron"]
        for key, value in ((name, estimate.value), (f"{name}_se", estimate.se)):
            found[key] = array(key, dims, value / unit, **attrs)

    seconds, long_ = window * 1e-3, duration * 1e-3
    put("rate", estimate_mean(batch), length * 1e-3, n_samples=len(batch))
    put("count_variance", windowed.variance, window=seconds, n_samples=windowed.number)
    put("count_fano", windowed.fano, window=seconds, n_samples=windowed.number)
    if windowed.covariance is not None:
        put("count_covariance", windowed.covariance, window=seconds, n_samples=windowed.number)
    if len(whole) > 1:
        put("variance", estimate_variance(whole), long_, window=long_, n_samples=len(whole))
        put("fano", estimate_fano(whole), window=long_, n_samples=len(whole))
        if covariance:
            put("covariance", estimate_covariance(whole), long_, window=long_, n_samples=len(whole))
    return xr.Dataset(found, attrs={"duration": long_, "window": seconds, "n_samples": windowed.number})


def _samples(table: xr.DataArray) -> Array:
    """Return the counts of all windows of all trials, (trial · window, [stimulus,] neuron)."""
    stacked = table.stack(sample=("trial", "window"), create_index=False).transpose("sample", ...)
    return np.asarray(stacked.values, dtype=np.float64)
