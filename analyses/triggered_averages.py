"""Spike-triggered averages: of signals, of recorded states such as the voltage, and of population rates."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from mnnbio.analyses.binned_counts import population_names
from mnnbio.analyses.membrane import spike_times, trace_of
from mnnbio.analyses.rate_estimates import grouped_counts
from mnnbio.analyses.spike_loops import correlograms, owners
from mnnbio.analyses.train_table import BLOCKS, TrainTable, train_table
from mnnbio.machine import require_integer, require_memory
from mnnbio.results import single_time

Array = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

_AROUND = 50.0  # ms


def spike_triggered_average(
    trains: Any,
    signal: xr.DataArray,
    *,
    before: Any = _AROUND,
    after: Any = _AROUND,
    blocks: int = BLOCKS,
    duration: Any = None,
    start: Any = None,
    stop: Any = None,
) -> xr.Dataset:
    """Return the mean of a signal around the spikes of every neuron.

    The sample of a spike is the one at or before it. Spikes so close to an end of the signal that the time around them
    is not complete are left out and counted.

    Parameters
    ----------
    trains : DataTree, Dataset, or sequence of array_like
        A result with ``/spikes``; or plain trains, ms.
    signal : DataArray
        Over ([stimulus, trial,] time, [neuron]) with the coordinate `time` (s), evenly spaced. With `neuron` each
        neuron's spikes meet its own signal, so that there must be one for each; without, all meet the same.
    before, after : float or Quantity
        Time around a spike, ms.
    blocks : int
        Pieces of the record for the error (delete-one jackknife), which accounts for spikes whose surroundings overlap.
    duration : float or Quantity, optional
        Length of the record of plain trains, ms.
    start, stop : float or Quantity, optional
        Time in which spikes are taken, ms; default: from the end of the warm-up to the end.

    Returns
    -------
    Dataset
        ``average`` and ``average_se``, in the unit of the signal, over ([stimulus,] lag, neuron); ``spike_count``,
        spikes used, and ``unused`` over ([stimulus,] neuron). `lag` is in s. NaN for neurons without spikes, which
        `spike_count` shows.

    Raises
    ------
    ValueError
        If the signal is not finite or not evenly spaced, is not over the neurons of the trains, or is shorter than the
        time around a spike.

    References
    ----------
    de Boer, E., Kuyper, P. (1968). Triggered correlation. *IEEE Trans. Biomed. Eng.* 15, 169-179.
    """
    table = train_table(trains, duration=duration, start=start, stop=stop)
    values, origin, interval, own = _signal_values(signal, table)
    place = np.floor((table.times - origin) / interval + 1e-6).astype(np.int64)
    low, high = _around(before, after, interval, values.shape[-1])
    sums = _Sums(table, place, values.shape[-1], low, high, blocks)
    for k, lag in enumerate(sums.lags):
        at = sums.place + lag
        samples = (
            values[sums.stimulus, sums.trial, sums.neuron, at] if own else values[sums.stimulus, sums.trial, 0, at]
        )
        sums.add(k, samples)
    mean, se, used, unused = sums.result()
    unit = str(signal.attrs.get("units", "1"))
    name = str(signal.attrs.get("long_name", signal.name or "signal"))
    return _labelled(table, sums.lags, interval, mean, se, used, unused, unit, name, blocks)


def spike_triggered_rate(
    trains: Any,
    bin: Any = None,
    *,
    before: Any = _AROUND,
    after: Any = _AROUND,
    blocks: int = BLOCKS,
    duration: Any = None,
    start: Any = None,
    stop: Any = None,
) -> xr.Dataset:
    r"""Return the rate of every population around the spikes of every neuron, without the neuron's own spikes.

    Averaged over a population's neurons it shows how the activity of the others goes with a spike (population coupling,
    Okun et al. 2015).

    Parameters
    ----------
    trains : DataTree, Dataset, or sequence of array_like
        A result with ``/spikes``; or plain trains, ms.
    bin : float or Quantity, optional
        Bin of the rates, ms. Default: the one nearest to 1 ms.
    before, after, blocks, duration, start, stop
        As of `spike_triggered_average`.

    Returns
    -------
    Dataset
        As of `spike_triggered_average`, with the dimension ``population`` (of the rate) last; Hz. The rate of a
        population of one neuron without its own spikes is NaN, and the attribute `note` says so.

    References
    ----------
    Okun, M. et al. (2015). Diverse coupling of neurons to populations in sensory cortex. *Nature* 521, 511-515.
    """
    table = train_table(trains, duration=duration, start=start, stop=stop)
    width = table.bin(bin, 1.0)
    counts, names, sizes = grouped_counts(table, width, "population")
    place, begin, number = table.places(width)
    kept = table._replace(times=place.astype(np.float64), start=begin)  # bins for times: those of complete bins
    low, high = _around(before, after, width, number)
    member = np.array(
        [names.index(name) for name in population_names(xr.Dataset(coords={"population": table.coords["population"]}))]
    )
    averages = []
    own_counts = _own_counts(kept, place, begin, number, low, high, blocks)
    for group in range(len(names)):
        sums = _Sums(kept, place, number, low, high, blocks)
        mine = member == group
        others = np.asarray(sizes)[group] - mine  # neurons of the population that are not the neuron itself
        for k, lag in enumerate(sums.lags):
            sums.add(k, counts[sums.stimulus, sums.trial, sums.place + lag, group])
        sums.totals[:, mine] -= own_counts[:, mine]
        mean, se, used, unused = sums.result()
        scale = np.divide(1.0, others * 1e-3 * width, out=np.full(others.shape, np.nan), where=others > 0)
        averages.append((mean * scale[:, None], se * scale[:, None], used, unused))
    mean, se = (np.stack([one[side] for one in averages], axis=-1) for side in (0, 1))
    used, unused = (averages[0][side] if averages else np.zeros((table.stimuli, table.neurons)) for side in (2, 3))
    lags = np.arange(-low, high + 1)
    note = "a population of one neuron has no rate of others" if (np.asarray(sizes) == 1).any() else ""
    out = _labelled(table, lags, width, mean, se, used, unused, "Hz", "rate of the others", blocks, names)
    return out.assign_attrs(note=note)


def spike_triggered_voltage(
    result: xr.DataTree | xr.Dataset,
    variable: str = "v",
    *,
    population: str | None = None,
    spikes: xr.DataTree | xr.Dataset | None = None,
    before: Any = _AROUND,
    after: Any = 0.0,
    blocks: int = BLOCKS,
) -> xr.Dataset:
    """Return the mean voltage, or another recorded state, of every neuron around its own spikes.

    Parameters
    ----------
    result : DataTree or Dataset
        A result with ``/states`` and ``/spikes``, or the group ``states/<population>``.
    variable : str
        Which state.
    population : str, optional
        Whose; needed where states of several were recorded.
    spikes : DataTree or Dataset, optional
        The group ``/spikes``, where `result` does not lead to it.
    before, after, blocks
        As of `spike_triggered_average`.

    Returns
    -------
    Dataset
        As of `spike_triggered_average`, over the recorded neurons.

    Raises
    ------
    ValueError
        If there is no such state, its spikes are unknown, or it is shorter than the time around a spike.
    """
    trace = trace_of(result, variable, population, spikes)
    lead = [str(d) for d in trace.samples.dims if d == "stimulus"]
    samples = trace.samples.transpose(*lead, "trial", "time", "neuron")
    found = spike_times(trace)
    keys = [str(d) for d in trace.samples.dims if d not in ("time", "neuron")]
    shape = tuple(samples.sizes[d] for d in (*lead, "trial", "neuron"))
    rows = []
    for key in np.ndindex(shape):
        where = dict(zip((*lead, "trial", "neuron"), key, strict=True))
        times = 1e3 * found[tuple(where[d] for d in (*keys, "neuron"))]
        rows.append(times[times >= 0])
    sizes = np.array([len(row) for row in rows], dtype=np.int64)
    time = 1e3 * samples["time"].to_numpy()
    coords = {
        str(n): c
        for n, c in samples.coords.items()
        if "time" not in c.dims and set(c.dims) <= {*lead, "neuron", "trial"}
    }
    if trace.population is not None:
        coords["population"] = xr.DataArray(np.full(shape[-1], trace.population), dims="neuron")
    table = TrainTable(
        np.concatenate([*rows, np.zeros(0)]), np.concatenate([[0], np.cumsum(sizes)]), (*lead, "trial", "neuron"),
        shape, coords, 0.0, float(time[-1]) + 1e-6, None,
    )  # fmt: skip
    values, origin, interval, _ = _signal_values(samples, table)
    place = np.floor((table.times - origin) / interval + 1e-6).astype(np.int64)
    low, high = _around(before, after, interval, values.shape[-1])
    sums = _Sums(table, place, values.shape[-1], low, high, blocks)
    for k, lag in enumerate(sums.lags):
        sums.add(k, values[sums.stimulus, sums.trial, sums.neuron, sums.place + lag])
    mean, se, used, unused = sums.result()
    unit = str(samples.attrs.get("units", "1"))
    return _labelled(table, sums.lags, interval, mean, se, used, unused, unit, variable, blocks)


class _Sums:
    """Sums of samples around spikes, by neuron, piece of the record and lag."""

    def __init__(self, table: TrainTable, place: Integers, number: int, low: int, high: int, blocks: int) -> None:
        require_integer("blocks", blocks, 1)
        row = owners(table.start)
        used = (place - low >= 0) & (place + high < number)
        self.lags = np.arange(-low, high + 1)
        cells = table.stimuli * table.neurons * blocks * table.trials
        require_memory(16.0 * cells * len(self.lags), "sums around spikes", "Take fewer `blocks`, or a shorter time.")
        self.place, row = place[used], row[used]
        run, self.neuron = np.divmod(row, table.neurons)
        self.stimulus, self.trial = np.divmod(run, table.trials)
        # Pieces of all trials: as many as `blocks` in each.
        self.pieces = blocks * table.trials
        piece = self.trial * blocks + np.minimum(self.place * blocks // max(number, 1), blocks - 1)
        self._cell = (self.stimulus * table.neurons + self.neuron) * self.pieces + piece
        shape = (table.stimuli, table.neurons, self.pieces)
        self._size = int(np.prod(shape))
        self.totals = np.zeros((*shape, len(self.lags)))
        self.number = np.bincount(self._cell, minlength=self._size).reshape(shape).astype(np.float64)
        every = np.bincount(table.unit, np.diff(table.start), table.stimuli * table.neurons)
        self._unused = every.reshape(shape[:2]) - self.number.sum(axis=-1)

    def add(self, k: int, samples: Array) -> None:
        """Add the samples of all spikes at one lag."""
        self.totals[..., k] = np.bincount(self._cell, samples, self._size).reshape(self.totals.shape[:-1])

    def result(self) -> tuple[Array, Array, Array, Array]:
        """Return mean and error (stimulus, neuron, lag), and spikes used and not used (stimulus, neuron)."""
        number = self.number.sum(axis=-1)
        total = self.totals.sum(axis=-2)
        mean = np.divide(total, number[..., None], out=np.full(total.shape, np.nan), where=number[..., None] > 0)
        rest = (number[..., None] - self.number)[..., None]
        # Without its only piece a neuron has no mean: no error.
        left = np.divide(
            total[..., None, :] - self.totals, rest, out=np.full(self.totals.shape, np.nan), where=rest > 0
        )
        se = np.sqrt((self.pieces - 1) * left.var(axis=-2)) if self.pieces > 1 else np.full(mean.shape, np.nan)
        return mean, se, number, self._unused


def _own_counts(
    table: TrainTable, place: Integers, start: Integers, number: int, low: int, high: int, blocks: int
) -> Array:
    """Return coincidences of each neuron's used spikes with its own, (stimulus, neuron, piece, lag)."""
    sums = _Sums(table, place, number, low, high, blocks)
    reach = max(low, high)
    cell = (sums.stimulus * table.trials + sums.trial) * table.neurons + sums.neuron
    rows = len(start) - 1
    pieces = np.minimum(sums.place * blocks // max(number, 1), blocks - 1)
    # The used spikes of a train, piece by piece, stand beside all of its spikes.
    key = cell * blocks + pieces
    size = np.bincount(key, minlength=rows * blocks)
    both = np.concatenate([sums.place, place])
    edges = np.concatenate([[0], np.cumsum(size), len(sums.place) + start[1:]])
    first = np.arange(rows * blocks)
    found = correlograms(both, edges, first, rows * blocks + first // blocks, reach)
    found = found.reshape(table.stimuli, table.trials, table.neurons, blocks, -1)[..., reach - low : reach + high + 1]
    return np.moveaxis(found, 1, 2).reshape(table.stimuli, table.neurons, table.trials * blocks, -1)


def _signal_values(signal: xr.DataArray, table: TrainTable) -> tuple[Array, float, float, bool]:
    """Return a signal (stimulus, trial, neuron, time), its first time and interval, ms, and whether it has neurons."""
    if not isinstance(signal, xr.DataArray) or "time" not in signal.dims or "time" not in signal.coords:
        raise ValueError("`signal` must be a DataArray over `time` with that coordinate, s")
    own = "neuron" in signal.dims
    if unknown := [str(d) for d in signal.dims if d not in ("stimulus", "trial", "time", "neuron")]:
        raise ValueError(f"`signal` must be over ([stimulus, trial,] time, [neuron]), got the dimension {unknown[0]!r}")
    for dim, size in (("stimulus", table.stimuli), ("trial", table.trials), ("neuron", table.neurons)):
        if dim in signal.dims and signal.sizes[dim] != size:
            raise ValueError(
                f"`signal` must have the {size} of `{dim}` that the spike trains have, got {signal.sizes[dim]}"
            )
    time = 1e3 * signal["time"].to_numpy()
    steps = np.diff(time)
    if len(steps) < 1 or not np.allclose(steps, steps[0], rtol=1e-6, atol=0) or not steps[0] > 0:
        raise ValueError("times of the signal must be evenly spaced and rise, two or more")
    for dim in ("stimulus", "trial", "neuron"):
        if dim not in signal.dims:
            signal = signal.expand_dims(dim)
    values = signal.transpose("stimulus", "trial", "neuron", "time").to_numpy().astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError("the signal must be finite, got NaN or infinite values")
    shape = (table.stimuli, table.trials, values.shape[2], values.shape[3])
    return np.broadcast_to(values, shape), float(time[0]), float((time[-1] - time[0]) / len(steps)), own


def _around(before: Any, after: Any, interval: float, number: int) -> tuple[int, int]:
    sides = {name: single_time(value, name) for name, value in (("before", before), ("after", after))}
    low, high = (int(np.floor(time / interval + 1e-6)) for time in sides.values())
    if min(sides.values()) < 0 or low + high + 1 > number:
        raise ValueError(
            f"`before` and `after` must be times ≥ 0 ms that fit into the signal, {number * interval:g} ms, got "
            f"{sides['before']:g} ms and {sides['after']:g} ms"
        )
    return low, high


def _labelled(
    table: TrainTable, lags: Integers, interval: float, mean: Array, se: Array, used: Array, unused: Array, unit: str,
    name: str, blocks: int, names: list[str] | None = None,
) -> xr.Dataset:  # fmt: skip
    lead = table.kept_dims[:-1]
    dims = (*lead, "lag", "neuron") if names is None else (*lead, "lag", "neuron", "of_population")
    coords: dict[str, Any] = table.kept_coords()
    coords["lag"] = ("lag", 1e-3 * interval * lags, {"units": "s", "long_name": "time from the spike"})
    if names is not None:
        coords["of_population"] = names
    texts = {
        "average": (np.moveaxis(mean, 2, 1), dims, f"spike-triggered average of the {name}", unit),
        "average_se": (np.moveaxis(se, 2, 1), dims, "standard error of it", unit),
        "spike_count": (used, (*lead, "neuron"), "number of spikes used", "1"),
        "unused": (unused, (*lead, "neuron"), "number of spikes too close to the ends", "1"),
    }
    return xr.Dataset(
        {
            key: (over, array if lead else array[0], {"units": u, "long_name": text})
            for key, (array, over, text, u) in texts.items()
        },
        coords=coords,
        attrs=table.attrs(bin=1e-3 * interval, blocks=blocks),
    )
