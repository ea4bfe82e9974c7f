"""Spike trains as CF contiguous ragged arrays: one flat array of times, one row size per train."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from mnnbio.machine import require_memory
from mnnbio.units import in_unit, is_quantity

_DIMS = (("trial", "neuron"), ("stimulus", "trial", "neuron"))
_MUCH = 1e8  # bytes
_PART_OF_STEP = 1e-3  # how far from a whole number of steps rounding may put a spike or a window


def ragged(
    times: npt.ArrayLike, row_size: npt.ArrayLike, dims: Iterable[str], coords: Mapping[str, Any], **attrs: Any
) -> xr.Dataset:
    """Return spike trains as a dataset of the schema, in which times are in seconds.

    Parameters
    ----------
    times : array_like or Quantity, shape (spike,)
        Spike times in *seconds*, as results hold them (or a quantity of time), zero at the end of the warm-up; train
        after train, in the order of `row_size`, and ascending within a train.
    row_size : array_like of int
        Number of spikes of each train. No neurons and no spikes are fine.
    dims : iterable of str
        Dimensions of `row_size`: ``([stimulus,] trial, neuron)``.
    coords : mapping
        Coordinates of those dimensions.
    **attrs
        Attributes; `duration` and `warmup` (in seconds, or quantities) are expected by `counts`. Where they are given,
        every spike must lie from the beginning of the warm-up to before the end. `dt` is the step of a simulation.

    Raises
    ------
    ValueError
        If times are NaN, infinite, unsorted within a train, or outside the recording (such as milliseconds given for
        seconds), or the row sizes do not suit the times, the dimensions or the coordinates.
    TypeError
        If times or row sizes are not real numbers.
    """
    names = tuple(dims)
    if names not in _DIMS:
        raise ValueError(f"`dims` must be ([stimulus,] trial, neuron), got ({', '.join(map(str, names))})")
    sizes = _row_sizes(row_size, names)
    flat = _seconds(times, "times")
    if flat.ndim != 1:
        raise ValueError(f"`times` must be one flat array, train after train, got shape {flat.shape}")
    if sizes.sum() != flat.size:
        raise ValueError(f"row sizes must add up to the number of spikes, {flat.size}, got {sizes.sum()}")
    for name in {"duration", "warmup", "dt"} & set(attrs):
        attrs[name] = _length(attrs[name], name)
    _require_times(flat, sizes, names, attrs.get("duration"), attrs.get("warmup"))
    return xr.Dataset(
        {
            "spike_time": ("spike", flat, {"units": "s", "long_name": "spike time, zero at the end of the warm-up"}),
            "row_size": (
                names,
                sizes.astype(np.int32),
                {"units": "1", "long_name": "number of spikes of the train", "sample_dimension": "spike"},
            ),
        },
        coords=dict(coords),
        attrs={"featureType": "trajectory", **attrs},
    )


def _row_sizes(row_size: npt.ArrayLike, dims: tuple[str, ...]) -> npt.NDArray[np.int64]:
    sizes = np.asarray(row_size)
    if not sizes.size:  # an empty list has no type of its own
        sizes = sizes.astype(np.int64)
    if sizes.dtype.kind not in "iu":
        raise TypeError(f"row sizes must be whole numbers, got {sizes.dtype}")
    if sizes.ndim != len(dims):
        raise ValueError(f"row sizes must have the dimensions {', '.join(dims)}, got shape {sizes.shape}")
    if sizes.size and sizes.min() < 0:
        raise ValueError(f"row sizes must be ≥ 0, got {sizes.min()}")
    return sizes.astype(np.int64)


def _seconds(value: Any, name: str) -> npt.NDArray[np.float64]:
    """Return times in seconds, a quantity converted."""
    if is_quantity(value):
        return np.asarray(in_unit(value, "ms", name)) * 1e-3
    array = np.asarray(value)
    if array.size and array.dtype.kind not in "iuf":
        raise TypeError(f"`{name}` must be real numbers in seconds or a quantity of time, got {array.dtype}")
    return array.astype(np.float64, copy=False)


def _length(value: Any, name: str) -> float:
    """Return an attribute that is a time, in seconds."""
    number = _seconds(value, name)
    least = "≥" if name == "warmup" else ">"
    if number.ndim or not (np.isfinite(number) and (number > 0 or (name == "warmup" and number == 0))):
        raise ValueError(f"`{name}` must be a time {least} 0 s, got {value!r}")
    return float(number)


def _require_times(
    times: npt.NDArray[np.float64],
    sizes: npt.NDArray[np.int64],
    dims: tuple[str, ...],
    duration: float | None,
    warmup: float | None,
) -> None:
    """Raise unless every spike has a finite time within the recording, ascending in its train."""
    if not times.size:
        return
    finite = np.isfinite(times)
    if not finite.all():
        place = int(np.argmin(finite))
        raise ValueError(f"spike times must be finite, got {times[place]} s {_train(place, sizes, dims)}")
    first, last = float(times.min()), float(times.max())
    if duration is not None and last >= duration:
        place = int(times.argmax())
        remedy = "give the `duration` of the whole recording, or leave such spikes out"
        if last > 10 * duration and last <= 1e3 * duration:
            remedy = "these look like milliseconds: times are in seconds, as results hold them; divide by 1000"
        raise ValueError(
            f"spike times must lie before the end of the recording, {duration:g} s, got {last:g} s "
            f"{_train(place, sizes, dims)}: {remedy}"
        )
    # A spike of the first step may lie below by rounding.
    if warmup is not None and first < -warmup - 1e-9 * max(warmup, 1.0):
        raise ValueError(
            f"spike times must lie after the beginning of the warm-up, {0.0 - warmup:g} s, got {first:g} s "
            f"{_train(int(times.argmin()), sizes, dims)}: times are in seconds from the end of the warm-up"
        )
    falls = np.empty(times.size + 1, dtype=bool)
    falls[[0, -1]] = False
    np.less(times[1:], times[:-1], out=falls[1:-1])
    falls[np.cumsum(sizes.ravel())] = False  # where a train begins times may start again
    if falls.any():
        place = int(falls.argmax())
        raise ValueError(
            f"spike times must ascend within a train, got {times[place - 1]:g} s before {times[place]:g} s "
            f"{_train(place, sizes, dims)}: sort each train"
        )


def _train(place: int, sizes: npt.NDArray[np.int64], dims: tuple[str, ...]) -> str:
    """Name the train that a spike, by its place among all, belongs to."""
    row = int(np.searchsorted(np.cumsum(sizes.ravel()), place, side="right"))
    where = np.unravel_index(row, sizes.shape)
    return "at " + ", ".join(f"{dim} {int(k)}" for dim, k in zip(dims, where, strict=True))


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


def single_time(value: Any, name: str) -> float:
    """Return a time, given as a number in ms or as a quantity, in ms."""
    number = in_unit(value, "ms", name)
    if not isinstance(number, float):
        raise ValueError(f"`{name}` must be a single time in ms, got an array of shape {number.shape}")
    return number


def whole_steps(length: float, dt: float, name: str, *, step: str = "dt") -> int:
    """Return how many steps a time holds.

    Windows of unequal numbers of steps count unequal numbers of spikes, which would look like a rhythm.

    Parameters
    ----------
    length, dt : float
        The time and the step, in one unit; ms in messages.
    name, step : str
        What they are, for messages.

    Raises
    ------
    ValueError
        If the time is not a whole number of steps, or shorter than one.
    """
    exact = length / dt
    steps = round(exact)
    if steps >= 1 and abs(exact - steps) <= _PART_OF_STEP + 1e-9 * steps:
        return steps
    if exact < 1 - _PART_OF_STEP:
        raise ValueError(
            f"`{name}` must be at least one step, {step} = {dt:g} ms, got {length:g} ms: times are numbers in ms, "
            "or quantities"
        )
    near = " or ".join(f"{k * dt:g}" for k in (int(exact), int(exact) + 1))
    raise ValueError(
        f"`{name}` must be a whole number of steps, {step} = {dt:g} ms, got {length:g} ms, {exact:.4g} steps, which "
        f"would give false rhythms: take {near} ms"
    )


def rounded_to_steps(length: float, dt: float | None) -> float:
    """Return the whole number of steps nearest to a time, at least one; the time itself where no step is known."""
    if dt is None:
        return length
    return dt * max(int(np.rint(length / dt)), 1)


def counts(spikes: xr.Dataset, window: Any = None, *, start: Any = 0.0, stop: Any = None) -> xr.DataArray:
    """Count spikes in adjacent windows.

    Parameters
    ----------
    spikes : Dataset
        Spike trains as `ragged` makes them.
    window : float or Quantity, optional
        Length of a window, ms; a whole number of steps where the trains have a step, the attribute `dt`. Default: all
        of the time from `start` to `stop`.
    start, stop : float or Quantity
        Time covered, ms; default: from the end of the warm-up to the end. A last, incomplete window is left out.

    Returns
    -------
    DataArray
        Counts over ``([stimulus,] trial, window, neuron)``; the attribute `window` is in s.

    Raises
    ------
    ValueError
        If a window does not fit, or is not a whole number of steps, or the time was not recorded.
    NotEnoughMemory
        If there is too little memory for so many windows.
    """
    if not isinstance(spikes, xr.Dataset) or "row_size" not in spikes:
        raise TypeError(f"expected spike trains as `ragged` makes them, got {type(spikes).__name__}")
    if stop is None and "duration" not in spikes.attrs:
        raise ValueError("the spike trains have no attribute `duration`: give it to `ragged` (s), or give `stop`")
    first = single_time(start, "start")
    last = 1e3 * float(spikes.attrs["duration"]) if stop is None else single_time(stop, "stop")
    _require_recorded(first, last, spikes.attrs)
    length = last - first if window is None else single_time(window, "window")
    if not length > 0:
        raise ValueError(f"a window must be longer than 0 ms, got {length:g} ms from {first:g} ms to {last:g} ms")
    step = spikes.attrs.get("dt")
    if window is not None and step is not None:
        dt = 1e3 * float(step)
        length = whole_steps(length, dt, "window") * dt
    tolerance = _tolerance(length, last, step)
    number = int(np.floor((last - first + tolerance) / length))
    if number < 1:
        raise ValueError(f"a window of {length:g} ms does not fit between {first:g} ms and {last:g} ms")
    sizes = spikes["row_size"]
    n_rows = sizes.size
    if int(sizes.sum()) != spikes.sizes["spike"]:
        raise ValueError(
            f"the row sizes add up to {int(sizes.sum())}, but there are {spikes.sizes['spike']} spikes: count all "
            "trains and select neurons or trials of the counts"
        )
    needed = 16.0 * n_rows * number + 32.0 * spikes.sizes["spike"]
    if needed > _MUCH:
        require_memory(
            needed, f"counts of {n_rows} trains in {number} windows", "Take longer windows, or a shorter time."
        )
    bins = window_numbers(1e3 * spikes["spike_time"].values, first, last, length, step)
    inside = (bins >= 0) & (bins < number)
    bins += np.repeat(np.arange(n_rows) * number, sizes.values.ravel())
    if not inside.all():
        bins = bins[inside]
    flat = np.bincount(bins, minlength=n_rows * number)
    table = flat.reshape(*sizes.shape, number)
    return xr.DataArray(
        np.moveaxis(table, -1, -2),
        dims=(*sizes.dims[:-1], "window", "neuron"),
        coords={name: coord for name, coord in sizes.coords.items() if set(coord.dims) <= set(sizes.dims)},
        attrs={"units": "1", "long_name": "spike count", "window": 1e-3 * length},
    )


def window_numbers(
    times: npt.NDArray[np.float64], first: float, last: float, length: float, step: float | None
) -> npt.NDArray[np.int64]:
    """Return the window of every spike; negative or too large for spikes outside.

    Parameters
    ----------
    times : ndarray
        Spike times, ms.
    first, last, length : float
        Begin and end of the time that is cut into windows, and the length of one, ms.
    step : float, optional
        Step of the simulation, s: rounding moves no spike across the edge of a window.
    """
    moved = times - (first - _tolerance(length, last, step))
    moved /= length
    # Truncation is `floor` from 0 on, and twice as fast.
    numbers = moved.astype(np.int64)
    if moved.size and moved.min() < 0:
        numbers[moved < 0] = -1
    return numbers


def _require_recorded(first: float, last: float, attrs: Mapping[Any, Any]) -> None:
    """Raise where a time (ms) lies outside the recording: no spikes there would look like silence."""
    begin, end = -1e3 * float(attrs.get("warmup", np.inf)), 1e3 * float(attrs.get("duration", np.inf))
    slack = 1e-6 + 1e-9 * abs(last)
    if first < begin - slack or last > end + slack:
        raise ValueError(
            f"the recording lasts from {begin:g} ms to {end:g} ms, {first:g} ms to {last:g} ms are asked for"
        )


def _tolerance(length: float, last: float, step: float | None) -> float:
    """Return how far before the beginning of a window (ms) rounding may put a spike that belongs to it.

    Of a simulation a small part of a step; of other trains what rounding of the times themselves leaves. It must not
    grow with the window: a millionth of 1,000 s would be ten steps.
    """
    rounding = 8 * float(np.finfo(np.float64).eps) * abs(last)
    own = _PART_OF_STEP * 1e3 * float(step) if step is not None else min(1e-6 * length, 1e-6)
    return max(own, rounding)
