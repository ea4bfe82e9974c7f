"""Spike trains as CF contiguous ragged arrays: one flat array of times, one row size per train."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr


def ragged(
    times: npt.ArrayLike, row_size: npt.ArrayLike, dims: Iterable[str], coords: Mapping[str, Any], **attrs: Any
) -> xr.Dataset:
    """Return spike trains as a dataset.

    Parameters
    ----------
    times : array_like, shape (spike,)
        Spike times in seconds, zero at the end of the warm-up; train after train, in the order of `row_size`, and
        ascending within a train.
    row_size : array_like of int
        Number of spikes of each train.
    dims : iterable of str
        Dimensions of `row_size`: ``([stimulus,] trial, neuron)``.
    coords : mapping
        Coordinates of those dimensions.
    **attrs
        Attributes; `duration` and `warmup` in seconds are expected by `counts`.
    """
    sizes = np.asarray(row_size)
    flat = np.asarray(times, dtype=np.float64)
    if sizes.sum() != flat.size:
        raise ValueError(f"row sizes must add up to the number of spikes, {flat.size}, got {sizes.sum()}")
    return xr.Dataset(
        {
            "spike_time": ("spike", flat, {"units": "s", "long_name": "spike time, zero at the end of the warm-up"}),
            "row_size": (
                tuple(dims),
                sizes.astype(np.int32),
                {"units": "1", "long_name": "number of spikes of the train", "sample_dimension": "spike"},
            ),
        },
        coords=dict(coords),
        attrs={"featureType": "trajectory", **attrs},
    )


def spike_trains(spikes: xr.Dataset, **labels: Any) -> Iterator[npt.NDArray[np.float64]]:
    """Yield the spike times (s) of the trains with the given coordinate labels, in stored order.

    Examples
    --------
    ``spike_trains(spikes, trial=0, population="hidden")``
    """
    sizes = spikes["row_size"]
    chosen = np.ones(sizes.shape, dtype=bool)
    for name, label in labels.items():
        if name not in sizes.coords:
            raise ValueError(f"spike trains are labelled by {', '.join(map(str, sizes.coords))}, not by {name!r}")
        chosen &= np.isin(sizes[name].broadcast_like(sizes).transpose(*sizes.dims).values, label)
    stops = np.cumsum(sizes.values.ravel())
    times = spikes["spike_time"].values
    for row in np.flatnonzero(chosen.ravel()):
        yield times[stops[row] - sizes.values.ravel()[row] : stops[row]]


def counts(
    spikes: xr.Dataset, window: float | None = None, *, start: float = 0.0, stop: float | None = None
) -> xr.DataArray:
    """Count spikes in adjacent windows.

    Parameters
    ----------
    spikes : Dataset
        Spike trains as `ragged` makes them.
    window : float, optional
        Length of a window, s; default: all of the time from `start` to `stop`.
    start, stop : float
        Time covered, s; default: from the end of the warm-up to the end. A last, incomplete window is left out.

    Returns
    -------
    DataArray
        Counts over ``([stimulus,] trial, window, neuron)``.
    """
    stop = spikes.attrs["duration"] if stop is None else stop
    window = stop - start if window is None else window
    # Spikes fall on steps and windows are whole numbers of steps: a tolerance far below a step absorbs rounding.
    number = int(np.floor((stop - start) / window + 1e-6))
    if number < 1:
        raise ValueError(f"a window of {window} s does not fit between {start} s and {stop} s")
    sizes = spikes["row_size"]
    n_rows = sizes.size
    row = np.repeat(np.arange(n_rows), sizes.values.ravel())
    bins = np.floor((spikes["spike_time"].values - start) / window + 1e-6).astype(np.int64)
    inside = (bins >= 0) & (bins < number)
    flat = np.bincount(row[inside] * number + bins[inside], minlength=n_rows * number)
    table = flat.reshape(*sizes.shape, number)
    return xr.DataArray(
        np.moveaxis(table, -1, -2),
        dims=(*sizes.dims[:-1], "window", "neuron"),
        coords={name: coord for name, coord in sizes.coords.items() if set(coord.dims) <= set(sizes.dims)},
        attrs={"units": "1", "long_name": "spike count", "window": window},
    )
