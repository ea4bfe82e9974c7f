"""Spike trains of a result, of an opened file or of plain arrays, as one flat table that statistics are made of."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr

from mnnbio.analyses.binned_counts import recorded
from mnnbio.analyses.paired_trains import SpikeTrains, flat_trains
from mnnbio.analyses.spike_loops import owners
from mnnbio.machine import require_memory
from mnnbio.results import ragged, rounded_to_steps, single_time, whole_steps, window_numbers
from mnnbio.units import is_quantity

Array = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

BLOCK = 3_000_000  # spikes that are read at once
BLOCKS = 10  # pieces of a recording for errors, unless told


class TrainTable(NamedTuple):
    """Spike trains in one flat array, over ([stimulus,] trial, neuron), with the time that was recorded."""

    times: Array
    """Shape (spike,), ms, train after train, ascending within a train."""
    start: Integers
    """Place of the first spike of each train, and the end, shape (train + 1,)."""
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    coords: dict[str, Any]
    begin: float
    """Where the time begins that is looked at, ms from the end of the warm-up."""
    end: float
    step: float | None
    """Step of the simulation, ms."""

    @property
    def sizes(self) -> Integers:
        """Spikes of each train, of the shape of the table."""
        return np.diff(self.start).reshape(self.shape)

    @property
    def duration(self) -> float:
        """Time that is looked at, ms."""
        return self.end - self.begin

    @property
    def neurons(self) -> int:
        """Number of neurons."""
        return self.shape[-1]

    @property
    def trials(self) -> int:
        """Number of trials."""
        return self.shape[-2]

    @property
    def stimuli(self) -> int:
        """Number of stimuli; 1 where there is no such dimension."""
        return self.shape[0] if len(self.shape) == 3 else 1

    @property
    def unit(self) -> Integers:
        """Place of each train when trials are pooled, ([stimulus,] neuron) flat, shape (train,)."""
        rows = np.arange(self.stimuli * self.neurons).reshape(self.stimuli, 1, self.neurons)
        return np.broadcast_to(rows, (self.stimuli, self.trials, self.neurons)).ravel()

    @property
    def kept_dims(self) -> tuple[str, ...]:
        """Dimensions without trials."""
        return tuple(dim for dim in self.dims if dim != "trial")

    @property
    def kept_shape(self) -> tuple[int, ...]:
        """Shape without trials."""
        return tuple(size for dim, size in zip(self.dims, self.shape, strict=True) if dim != "trial")

    def kept_coords(self, *without: str) -> dict[str, Any]:
        """Return the coordinates that have neither trials nor the dimensions named."""
        return {name: c for name, c in self.coords.items() if not {"trial", *without} & set(c.dims)}

    def pair_coords(self) -> dict[str, Any]:
        """Return the coordinates of matrices over (neuron, neuron_j)."""
        own = self.kept_coords()
        twins = {
            f"{name}_j": ("neuron_j", c.to_numpy(), c.attrs) for name, c in own.items() if tuple(c.dims) == ("neuron",)
        }
        return own | twins

    @property
    def duplicates(self) -> int:
        """Number of spikes at the time of the one before in the same train."""
        equal = self.times[1:] == self.times[:-1]
        if not equal.any():
            return 0
        owner = owners(self.start)
        return int((equal & (owner[1:] == owner[:-1])).sum())

    def attrs(self, **more: Any) -> dict[str, Any]:
        """Return what statistics say of the data that they are made of: time in s, numbers, and what is unusual."""
        empty = int((np.bincount(self.unit, self.sizes.ravel(), int(np.prod(self.kept_shape))) == 0).sum())
        found = {"duration": 1e-3 * self.duration, "trials": self.trials, "silent_neurons": empty}
        return found | {"duplicate_spikes": self.duplicates} | more

    def bin(self, bin: Any, default: float, name: str = "bin") -> float:
        """Return a bin that was asked for, ms, or the whole number of steps nearest to the default.

        Raises
        ------
        ValueError
            If it is not a time > 0, is not a whole number of steps, or is longer than the record.
        """
        if bin is None:
            length = rounded_to_steps(min(default, self.duration), self.step)
        else:
            length = single_time(bin, name)
            if not length > 0:
                raise ValueError(f"`{name}` must be a time > 0 ms, got {length:g} ms")
            if self.step is not None:
                length = self.step * whole_steps(length, self.step, name)
        if length > self.duration * (1 + 1e-9):
            raise ValueError(
                f"`{name}` must fit into the record, {self.duration:g} ms, got {length:g} ms: shorten it, or simulate "
                "longer"
            )
        return length

    def places(self, bin: float) -> tuple[Integers, Integers, int]:
        """Return the bin of every spike, where trains start without spikes of a last incomplete bin, and the number."""
        number = int(np.floor(self.duration / bin + 1e-6))
        step = None if self.step is None else 1e-3 * self.step
        place = window_numbers(self.times, self.begin, self.end, bin, step)
        if not len(place) or (place.min() >= 0 and place.max() < number):
            return place, self.start, number
        inside = (place >= 0) & (place < number)
        return place[inside], np.concatenate([[0], np.cumsum(inside)])[self.start], number

    def counts(self, bin: float) -> Integers:
        """Return spike counts in bins, (stimulus, trial, neuron, bin)."""
        place, start, number = self.places(bin)
        rows = len(start) - 1
        require_memory(16.0 * rows * number, f"counts of {rows} trains in {number} bins", "Take longer bins.")
        table = np.bincount(place + owners(start) * number, minlength=rows * number)
        return table.reshape(self.stimuli, self.trials, self.neurons, number)

    def select(self, neurons: npt.ArrayLike) -> TrainTable:
        """Return the trains of some neurons."""
        chosen = np.asarray(neurons)
        rows = np.arange(int(np.prod(self.shape))).reshape(self.shape)[..., chosen]
        sizes = np.diff(self.start)[rows.ravel()]
        start = np.concatenate([[0], np.cumsum(sizes)])
        place = np.repeat(self.start[:-1][rows.ravel()] - start[:-1], sizes) + np.arange(start[-1])
        coords = {
            name: c.isel(neuron=chosen) if "neuron" in getattr(c, "dims", ()) else c for name, c in self.coords.items()
        }
        return self._replace(times=self.times[place], start=start, shape=rows.shape, coords=coords)

    def cut(self, blocks: int) -> TrainTable:
        """Return the trains of each trial in `blocks` pieces of equal length, each a trial of its own.

        Raises
        ------
        ValueError
            If a piece would be shorter than a step.
        """
        if blocks == 1:
            return self
        length = self.duration / blocks
        if self.step is not None:
            length = self.step * np.floor(length / self.step + 1e-9)
        if not length > 0:
            raise ValueError(f"the record, {self.duration:g} ms, is too short for {blocks} blocks: lower `blocks`")
        step = None if self.step is None else 1e-3 * self.step
        place = window_numbers(self.times, self.begin, self.end, length, step)
        inside = (place >= 0) & (place < blocks)
        place, row = place[inside], owners(self.start)[inside]
        moved = self.times[inside] - self.begin - place * length
        shape = (self.stimuli, self.trials, self.neurons)
        target = (row // self.neurons * blocks + place) * self.neurons + row % self.neurons
        order = np.argsort(target, kind="stable")
        size = np.bincount(target, minlength=int(np.prod(shape)) * blocks)
        return self._replace(
            times=np.maximum(moved[order], 0.0), start=np.concatenate([[0], np.cumsum(size)]),
            shape=(*self.shape[:-2], self.trials * blocks, self.neurons), begin=0.0, end=length,
            coords={name: c for name, c in self.coords.items() if "trial" not in c.dims},
        )  # fmt: skip


def train_table(trains: Any, *, duration: Any = None, start: Any = None, stop: Any = None) -> TrainTable:
    """Return spike trains as a flat table.

    Parameters
    ----------
    trains : DataTree, Dataset, SpikeTrains, array_like or sequence of array_like
        A result with ``/spikes``, in memory or opened, or that group; or plain trains, one array of times (ms, or a
        quantity) for each neuron.
    duration : float or Quantity, optional
        Length of the record of plain trains, ms, from time 0. A result knows its own.
    start, stop : float or Quantity, optional
        Time looked at, ms; by default from the end of the warm-up (0) to the end.

    Raises
    ------
    ValueError
        If there are no spike trains, times are unsorted, NaN or outside the record, its length is not known, or the
        time looked at was not recorded.
    """
    return next(_tables(trains, duration, start, stop, most=None))


def table_blocks(
    trains: Any, *, duration: Any = None, start: Any = None, stop: Any = None, most: int = BLOCK
) -> Iterator[TrainTable]:
    """Yield spike trains as flat tables of some neurons each, of about `most` spikes.

    A file that is opened and not loaded is read piece by piece.
    """
    return _tables(trains, duration, start, stop, most=most)


def as_spikes(trains: Any, duration: Any = None) -> xr.Dataset:
    """Return spike trains as a dataset of the schema: those of a result, or plain trains as one trial.

    Raises
    ------
    ValueError
        As of `train_table`.
    """
    if isinstance(trains, xr.DataTree | xr.Dataset):
        spikes = recorded(trains).data
        if "row_size" not in spikes:
            raise ValueError("statistics of trains need spike trains, the result has counts only: record spikes")
        if "duration" not in spikes.attrs:
            raise ValueError("the spike trains have no attribute `duration`, s: give it to `ragged`")
        if duration is not None:
            raise ValueError("`duration` is of plain trains, a result has its own: choose a time by `start` and `stop`")
        return spikes
    if trains is None or isinstance(trains, str | os.PathLike | xr.DataArray):
        raise TypeError(
            f"expected a result, an xarray DataTree or Dataset, got {type(trains).__name__}; or give one array of "
            "spike times for each neuron"
        )
    plain = trains if isinstance(trains, SpikeTrains) or is_quantity(trains) else _listed(trains)
    flat = flat_trains(plain, "trains")
    if duration is None:
        raise ValueError("trains of plain arrays need `duration`, the length of the record in ms")
    length = single_time(duration, "duration")
    if not length > 0:
        raise ValueError(f"`duration` must be a time > 0 ms, got {length:g} ms")
    if len(flat.times) and not (flat.times.min() >= 0 and flat.times.max() <= length):
        raise ValueError(
            f"spikes must lie between 0 and the duration, {length:g} ms, got {flat.times.min():g} ms to "
            f"{flat.times.max():g} ms"
        )
    count = len(flat.counts)
    coords = {"neuron": np.arange(count), "trial": [0], "population": ("neuron", np.full(count, "all"))}
    coords["index"] = ("neuron", np.arange(count))
    # A spike at the very end belongs to the record.
    times = np.minimum(1e-3 * flat.times, np.nextafter(1e-3 * length, 0))
    return ragged(times, flat.counts[None], ("trial", "neuron"), coords, duration=1e-3 * length, warmup=0.0)


def _listed(trains: Any) -> Any:
    """Return a sequence of trains as a list; an empty one is no neurons, not one without spikes."""
    if isinstance(trains, list | tuple) and not len(trains):
        return SpikeTrains(np.zeros(0), np.zeros(0, dtype=np.int64))
    return trains


def _tables(trains: Any, duration: Any, start: Any, stop: Any, *, most: int | None) -> Iterator[TrainTable]:
    spikes = as_spikes(trains, duration)
    step = spikes.attrs.get("dt")
    whole, warmup = 1e3 * float(spikes.attrs["duration"]), 1e3 * float(spikes.attrs.get("warmup", 0.0))
    begin = 0.0 if start is None else single_time(start, "start")
    end = whole if stop is None else single_time(stop, "stop")
    slack = 1e-9 * max(whole, warmup)
    if not -warmup - slack <= begin < end <= whole + slack:
        raise ValueError(
            f"the time looked at must lie in the record, {0.0 - warmup:g} ms to {whole:g} ms, got {begin:g} ms to "
            f"{end:g} ms"
        )
    sizes = spikes["row_size"]
    table = sizes.to_numpy().astype(np.int64)
    names = tuple(str(dim) for dim in sizes.dims)
    bounds = np.concatenate([[0], np.cumsum(table.ravel())])
    if bounds[-1] != spikes.sizes["spike"]:
        raise ValueError(
            f"the row sizes add up to {bounds[-1]}, but there are {spikes.sizes['spike']} spikes: take statistics of "
            "all trains and select neurons or trials of them"
        )
    coords = {str(name): c for name, c in sizes.coords.items()}
    for one, other in _neuron_ranges(table, most):
        chosen = table[..., one:other]
        part = _read(spikes["spike_time"], bounds, table.shape, one, other)
        inside = part >= 1e-3 * begin - 1e-12
        if stop is not None:
            inside &= part < 1e-3 * end - 1e-12
        fully = bool(inside.all())
        kept = chosen.ravel()
        if not fully:
            edges = np.concatenate([[0], np.cumsum(inside)])[np.concatenate([[0], np.cumsum(kept)])]
            part, kept = part[inside], np.diff(edges)
        here = {n: c.isel(neuron=slice(one, other)) if "neuron" in c.dims else c for n, c in coords.items()}
        yield TrainTable(
            1e3 * part, np.concatenate([[0], np.cumsum(kept)]).astype(np.int64), names, chosen.shape, here, begin, end,
            None if step is None else 1e3 * float(step),
        )  # fmt: skip


def _neuron_ranges(table: Integers, most: int | None) -> Iterator[tuple[int, int]]:
    neurons = table.shape[-1]
    total = np.cumsum(table.sum(axis=tuple(range(table.ndim - 1))))
    begin = 0
    while most is not None and neurons and total[-1] - (total[begin - 1] if begin else 0) > most:
        before = int(total[begin - 1]) if begin else 0
        end = max(int(np.searchsorted(total, before + most, "right")), begin + 1)
        if end >= neurons:
            break
        yield begin, end
        begin = end
    yield begin, neurons


def _read(times: xr.DataArray, bounds: Integers, shape: tuple[int, ...], one: int, other: int) -> Array:
    """Return the spikes of a range of neurons, s, in pieces that lie together."""
    if (one, other) == (0, shape[-1]):
        return np.asarray(times.to_numpy(), dtype=np.float64)
    rows = np.arange(int(np.prod(shape[:-1]))) * shape[-1]
    pieces = [times.isel(spike=slice(int(bounds[r + one]), int(bounds[r + other]))).to_numpy() for r in rows]
    return np.concatenate(pieces).astype(np.float64, copy=False)
