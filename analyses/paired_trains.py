"""Spike trains that are compared neuron by neuron: of a result, or plain arrays, checked and put side by side."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr

from mnnbio.analyses.binned_counts import recorded
from mnnbio.results import single_time
from mnnbio.units import in_unit, is_quantity, shown

Array = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


class SpikeTrains(NamedTuple):
    """Spike trains of several neurons in one flat array, ascending within a train."""

    times: Array
    """Shape (spike,), train after train; ms, or steps of a simulation."""
    counts: Integers
    """Shape (train,), spikes of each train."""

    @property
    def owner(self) -> Integers:
        """Train of each spike, shape (spike,)."""
        return np.repeat(np.arange(len(self.counts)), self.counts)

    @property
    def starts(self) -> Integers:
        """Place of the first spike of each train, and the end of the last, shape (train + 1,)."""
        return np.concatenate([[0], np.cumsum(self.counts)])

    def train(self, k: int) -> Array:
        """Return the times of one train."""
        begin = int(self.counts[:k].sum())
        return self.times[begin : begin + int(self.counts[k])]

    @property
    def duplicates(self) -> int:
        """Number of spikes at the time of the one before in the same train."""
        owner = self.owner
        return int(((np.diff(self.times) == 0) & (owner[1:] == owner[:-1])).sum())


class PairedTrains(NamedTuple):
    """Own and target trains of the same neurons, and what labels them."""

    own: SpikeTrains
    target: SpikeTrains
    dims: tuple[str, ...]
    """Dimensions of the trains: ``([stimulus,] trial, neuron)``, or ``(neuron,)`` of plain arrays."""
    shape: tuple[int, ...]
    coords: dict[str, Any]
    duration: float | None
    """Length of the recording after the warm-up, ms, where it is known."""

    @property
    def kept_dims(self) -> tuple[str, ...]:
        """Dimensions that are left when trials are pooled."""
        return tuple(dim for dim in self.dims if dim != "trial")

    def over_trials(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the sum over trials of one value a train."""
        table = values.reshape(self.shape)
        pooled: npt.NDArray[Any] = table.sum(axis=self.dims.index("trial")) if "trial" in self.dims else table
        return pooled

    @property
    def pooled_rows(self) -> Integers:
        """Place of each train when trials are pooled, flat, shape (train,)."""
        kept = [size for dim, size in zip(self.dims, self.shape, strict=True) if dim != "trial"]
        rows = np.arange(int(np.prod(kept))).reshape(kept)
        if "trial" in self.dims:
            rows = np.expand_dims(rows, self.dims.index("trial"))
        return np.broadcast_to(rows, self.shape).ravel()

    def runs(self) -> list[tuple[SpikeTrains, SpikeTrains]]:
        """Return own and target trains of all neurons, of every stimulus and trial."""
        neurons = self.shape[-1]
        sides = []
        for trains in (self.own, self.target):
            starts = trains.starts[::neurons] if neurons else np.zeros(1, dtype=np.int64)
            blocks = list(trains.counts.reshape(-1, max(neurons, 1)))
            sides.append(
                [SpikeTrains(trains.times[starts[k] : starts[k + 1]], block) for k, block in enumerate(blocks)]
            )
        return list(zip(*sides, strict=True))

    @property
    def kept_coords(self) -> dict[str, Any]:
        """Coordinates that are left when trials are pooled."""
        return {name: c for name, c in self.coords.items() if "trial" not in c.dims}


def flat_trains(trains: Any, name: str) -> SpikeTrains:
    """Return spike trains as one flat array with the number of spikes of each.

    Parameters
    ----------
    trains : SpikeTrains, array_like or sequence of array_like
        Trains with their counts; the times of one neuron; or one array for each neuron. Numbers in ms (or steps), or
        quantities of time.
    name : str
        What they are, for messages.

    Raises
    ------
    ValueError
        If times are NaN, infinite or unsorted within a train, or counts do not add up to the spikes.
    TypeError
        If times are not numbers, or stand in an array of two dimensions.
    """
    if isinstance(trains, SpikeTrains):
        times = np.asarray(trains.times, dtype=np.float64)
        counts = np.asarray(trains.counts, dtype=np.int64)
        if times.ndim != 1 or counts.ndim != 1 or (counts < 0).any() or counts.sum() != len(times):
            raise ValueError(
                f"the counts of `{name}` must be ≥ 0 and add up to its {times.size} spikes, got {counts.sum()}"
            )
    elif isinstance(trains, list | tuple) and len(trains) and all(_is_train(part) for part in trains):
        parts = [_times(part, f"{name}[{k}]") for k, part in enumerate(trains)]
        times, counts = np.concatenate(parts), np.array([len(part) for part in parts], dtype=np.int64)
    else:
        times = _times(trains, name)
        counts = np.array([len(times)], dtype=np.int64)
    if not np.isfinite(times).all():
        raise ValueError(f"`{name}` must be finite, got {times[~np.isfinite(times)][0]}")
    flat = SpikeTrains(times, counts)
    falls = np.diff(times) < 0
    if falls.any():
        owner = flat.owner
        wrong = np.flatnonzero(falls & (owner[1:] == owner[:-1]))
        if len(wrong):
            k = int(wrong[0])
            raise ValueError(
                f"`{name}` must ascend within a train, got {times[k]:g} before {times[k + 1]:g} in neuron {owner[k]}: "
                "sort each train"
            )
    return flat


def both_trains(own: Any, target: Any) -> tuple[SpikeTrains, SpikeTrains]:
    """Return two sets of plain trains of the same number of neurons.

    Raises
    ------
    ValueError
        If their numbers of neurons differ, or as of `flat_trains`.
    """
    first, second = flat_trains(own, "own"), flat_trains(target, "target")
    if len(first.counts) != len(second.counts):
        raise ValueError(
            f"`own` and `target` must have the same neurons, got {len(first.counts)} and {len(second.counts)} trains"
        )
    return first, second


def paired_trains(own: Any, target: Any) -> PairedTrains:
    """Return the trains of two results, of two sets of arrays, or of one of each, neuron by neuron.

    Spikes of the warm-up of a result are left out.

    Parameters
    ----------
    own, target : DataTree, Dataset, SpikeTrains, array_like or sequence of array_like
        Results with ``/spikes``, or such groups; or plain trains, ms.

    Raises
    ------
    ValueError
        If a result has no spike trains, or the two differ in neurons, trials, stimuli or duration; or as of
        `flat_trains`.
    """
    sides = {name: _side(value, name) for name, value in (("own", own), ("target", target))}
    (first, labels), (second, other) = sides["own"], sides["target"]
    if labels is not None and other is not None:
        _require_alike(labels, other)
    if len(first.counts) != len(second.counts):
        raise ValueError(
            f"`own` and `target` must have the same neurons, got {len(first.counts)} and {len(second.counts)} trains"
        )
    known = labels if labels is not None else other
    if known is None:
        return PairedTrains(first, second, ("neuron",), (len(first.counts),), {}, None)
    sizes = known["row_size"]
    duration = 1e3 * float(known.attrs["duration"]) if "duration" in known.attrs else None
    return PairedTrains(
        first, second, tuple(map(str, sizes.dims)), sizes.shape, {str(k): c for k, c in sizes.coords.items()}, duration
    )


def checked_window(window: Any, name: str = "window") -> float:
    """Return a time ≥ 0, given as a number in ms or as a quantity, in ms.

    Raises
    ------
    ValueError
        If it is negative, NaN or infinite, or not a single time.
    """
    length = single_time(window, name)
    if not length >= 0:
        raise ValueError(f"`{name}` must be a time ≥ 0 ms, got {length:g} ms")
    return length


def recording_length(trains: PairedTrains | tuple[SpikeTrains, SpikeTrains], duration: Any) -> float:
    """Return the length of a recording, ms: what is given, else what the trains know.

    Raises
    ------
    ValueError
        If neither is known, it is not > 0, or spikes lie before 0 or after it.
    """
    known = trains.duration if isinstance(trains, PairedTrains) else None
    total = known if duration is None else single_time(duration, "duration")
    if total is None:
        raise ValueError("trains of plain arrays need `duration`, the length of the recording in ms")
    if not total > 0:
        raise ValueError(f"`duration` must be a time > 0 ms, got {total:g} ms")
    times = np.concatenate([trains[0].times, trains[1].times])
    if len(times) and not (times.min() >= 0 and times.max() <= total * (1 + 1e-12)):
        raise ValueError(
            f"spikes must lie between 0 and the duration, {total:g} ms, got {times.min():g} ms to {times.max():g} ms"
        )
    return total


def _is_train(part: Any) -> bool:
    """Return whether an element of a list is a train, not a time."""
    if is_quantity(part):
        return np.ndim(part) > 0
    return isinstance(part, list | tuple | np.ndarray) and np.ndim(part) > 0


def _times(values: Any, name: str) -> Array:
    # Arrays of floats, which arrive in every pass of learning, are not copied.
    plain = type(values) is np.ndarray and values.dtype.kind in "iuf"
    times = values.astype(np.float64, copy=False) if plain else np.atleast_1d(in_unit(values, "ms", name))
    if times.ndim != 1:
        raise TypeError(
            f"`{name}` must be the times of one neuron, or a list of one array a neuron, got {shown(values)}: turn "
            "raster rows into times by `numpy.flatnonzero`"
        )
    return times


def _side(value: Any, name: str) -> tuple[SpikeTrains, xr.Dataset | None]:
    if not isinstance(value, xr.DataTree | xr.Dataset):
        return flat_trains(value, name), None
    spikes = recorded(value).data
    if "row_size" not in spikes:
        raise ValueError(f"`{name}` must have spike trains, the result has counts only: record spikes")
    times, sizes = 1e3 * spikes["spike_time"].to_numpy(), spikes["row_size"].to_numpy().ravel()
    after = times >= 0
    owner = np.repeat(np.arange(len(sizes)), sizes)[after]
    flat = SpikeTrains(times[after], np.bincount(owner, minlength=len(sizes)).astype(np.int64))
    return flat_trains(flat, name), spikes


def _require_alike(own: xr.Dataset, target: xr.Dataset) -> None:
    """Raise unless the trains of two results have the same labels and duration."""
    mine, theirs = own["row_size"], target["row_size"]
    if mine.dims != theirs.dims or mine.shape != theirs.shape:
        raise ValueError(
            "`own` and `target` must have the same stimuli, trials and neurons, got "
            f"{dict(mine.sizes)} and {dict(theirs.sizes)}"
        )
    for label in ("population", "index"):
        if label in mine.coords and label in theirs.coords and not np.array_equal(mine[label], theirs[label]):
            raise ValueError(f"`own` and `target` must have the same neurons in one order, their `{label}` differs")
    lengths = [float(data.attrs["duration"]) for data in (own, target) if "duration" in data.attrs]
    if len(lengths) == 2 and not np.isclose(lengths[0], lengths[1], rtol=1e-9):
        raise ValueError(
            f"`own` and `target` must be of the same duration, got {lengths[0]:g} s and {lengths[1]:g} s: simulate "
            "them alike"
        )
