"""Surrogate spike trains that lack one feature of the data, and the significance that they give a statistic."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import xarray as xr

from mnnbio.analyses.rate_estimates import require_level
from mnnbio.analyses.spike_loops import owners, shuffle_rows, sort_rows
from mnnbio.analyses.train_table import TrainTable, train_table
from mnnbio.machine import check_choice, require_integer, require_memory
from mnnbio.results import single_time

Array = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Method = Literal["dither", "interval_dither", "jitter", "shuffle", "shift", "trial_shuffle", "renewal", "poisson"]
Side = Literal["two", "greater", "less"]

_WIDTH = 20.0  # ms


def surrogate_trains(
    trains: Any,
    method: Method = "dither",
    *,
    width: Any = None,
    seed: int | np.random.Generator = 0,
    duration: Any = None,
    start: Any = None,
    stop: Any = None,
) -> xr.Dataset:
    """Return spike trains that keep some features of the given ones and are random otherwise.

    ================  ==========================================================  ======================================
    method            what happens                                                what is kept
    ================  ==========================================================  ======================================
    dither            every spike is moved by up to `width` to either side,       counts, rates slower than `width`
                      and reflected at the ends of the record
    interval_dither   likewise, but not beyond its neighbours                     counts, order, most of the
    irregularity jitter            every spike is drawn anew in its window of length `width`   counts of windows,
    exactly shuffle           the intervals of a train in random order, the time before   intervals, not their order
                      the first spike included
    shift             every train as a whole by up to `width` (default: by any    all of a train; trains go their own
    ways
                      time), around the end of the record
    trial_shuffle     every neuron's trials in an order of its own                rates locked to the stimulus
    renewal           intervals drawn from those of the neuron, with              distribution of intervals; counts vary
                      replacement, from a random time within one
    poisson           times drawn evenly over the record                          counts
    ================  ==========================================================  ======================================

    Parameters
    ----------
    trains : DataTree, Dataset, or sequence of array_like
        A result with ``/spikes``; or plain trains, ms.
    method : str
        One of the table.
    width : float or Quantity, optional
        Of dither, jitter and shift, ms. Default: 20 ms, and the whole record of shift.
    seed : int or Generator
    duration : float or Quantity, optional
        Length of the record of plain trains, ms.
    start, stop : float or Quantity, optional
        Time looked at, ms; default: from the end of the warm-up to the end.

    Returns
    -------
    Dataset
        Spike trains of the same neurons and trials, as every analysis takes them. Their times are not multiples of a
        step.

    Raises
    ------
    ValueError
        If `width` is not > 0, or trials shall be shuffled of which there is one.

    References ---------- Grün, S. (2009). Data-driven significance estimation for precise spike correlation. *J.
    Neurophysiol.* 101, 1126-1140. Amarasingham, A., Harrison, M. T., Hatsopoulos, N. G., Geman, S. (2012). Conditional
    modeling and the jitter method of spike resampling. *J. Neurophysiol.* 107, 517-531.
    """
    table = train_table(trains, duration=duration, start=start, stop=stop)
    return _dataset(_surrogate(table, method, _checked_width(table, method, width), _generator(seed)))


def significance(
    statistic: Callable[[xr.Dataset], Any],
    trains: Any,
    *,
    surrogate: Method = "dither",
    n: int = 200,
    width: Any = None,
    side: Side = "two",
    level: float = 0.95,
    seed: int = 0,
    duration: Any = None,
    start: Any = None,
    stop: Any = None,
) -> xr.Dataset:
    r"""Return how far a statistic lies from what surrogates give, and the probability of that by chance.

    With k of n surrogates at least as extreme as the data, :math:`p = (k + 1)/(n + 1)`, which is exact if the
    surrogates are drawn from the hypothesis; of two sides it is twice the smaller one. ``p_adjusted`` controls the
    false discovery rate over all entries (Benjamini and Hochberg 1995).

    Parameters
    ----------
    statistic : callable
        Takes spike trains (a Dataset) and returns a number, an array or a DataArray, always of one shape; such as
        ``lambda s: spike_time_tiling(s, blocks=0)["tiling"]``.
    trains : DataTree, Dataset, or sequence of array_like
        A result with ``/spikes``; or plain trains, ms.
    surrogate : str
        Method of `surrogate_trains`: it states the hypothesis.
    n : int
        Number of surrogates; the smallest p is 1/(n + 1), or twice that of two sides.
    width : float or Quantity, optional
        As of `surrogate_trains`, ms.
    side : {"two", "greater", "less"}
        What is extreme: far from the middle of the surrogates, large, or small.
    level : float
        Level of the interval of the surrogates.
    seed : int
    duration, start, stop : float or Quantity, optional
        As of `surrogate_trains`.

    Returns
    -------
    Dataset
        With the dimensions of the statistic: ``observed``; of the surrogates ``expected``, ``spread``, ``low`` and
        ``high``; ``z``, (observed − expected)/spread; ``p`` and ``p_adjusted``; ``undefined``, true where the
        statistic is NaN of the data or of a surrogate, so that there is no p, or does not vary, so that there is no z.

    Raises
    ------
    ValueError
        If the statistic changes its shape, or is defined nowhere.

    References ---------- Davison, A. C., Hinkley, D. V. (1997). *Bootstrap Methods and their Application*, Eq. 4.11.
    Benjamini, Y., Hochberg, Y. (1995). Controlling the false discovery rate. *J. R. Stat. Soc. B* 57, 289-300.
    """
    check_choice("side", side, ("two", "greater", "less"))
    require_integer("n", n, 1)
    require_level(level)
    table = train_table(trains, duration=duration, start=start, stop=stop)
    reach = _checked_width(table, surrogate, width)
    # Spikes of a simulation lie on a grid, those of surrogates do not: the statistic must treat both alike.
    observed = _array(statistic(_dataset(table._replace(step=None))))
    rng = np.random.default_rng(seed)
    require_memory(
        8.0 * n * max(observed.size, 1), f"{n} surrogate statistics", "Give a smaller statistic, or lower `n`."
    )
    drawn = np.empty((n, *observed.shape))
    for k in range(n):
        value = _array(statistic(_dataset(_surrogate(table, surrogate, reach, rng))))
        if value.shape != observed.shape:
            raise ValueError(
                f"`statistic` must keep its shape, got {observed.shape} of the data, {value.shape} of a surrogate"
            )
        drawn[k] = value.to_numpy()
    own = observed.to_numpy().astype(np.float64)
    undefined = np.isnan(own) | np.isnan(drawn).any(axis=0)
    if undefined.all():
        raise ValueError("`statistic` is NaN of the data or of a surrogate everywhere: are there enough spikes?")
    # Equal up to rounding is as extreme.
    slack = 1e-12 * np.maximum(np.abs(own), np.abs(np.where(undefined, 0.0, drawn)).max(axis=0))
    above = (1 + (drawn >= own - slack).sum(axis=0)) / (n + 1)
    below = (1 + (drawn <= own + slack).sum(axis=0)) / (n + 1)
    p = {"greater": above, "less": below, "two": np.minimum(2 * np.minimum(above, below), 1.0)}[side]
    p = np.where(undefined, np.nan, p)
    safe = np.where(undefined, 0.0, drawn)
    mean, spread = safe.mean(axis=0), safe.std(axis=0, ddof=1) if n > 1 else np.zeros(own.shape)
    ends = np.quantile(safe, [(1 - level) / 2, (1 + level) / 2], axis=0)
    z = np.divide(own - mean, spread, out=np.full(own.shape, np.nan), where=spread > slack)
    unit = str(observed.attrs.get("units", "1"))
    values = {
        "observed": (own, "statistic of the data", unit),
        "expected": (np.where(undefined, np.nan, mean), "mean of surrogates", unit),
        "spread": (np.where(undefined, np.nan, spread), "standard deviation of surrogates", unit),
        "low": (np.where(undefined, np.nan, ends[0]), f"lower end of {100 * level:g} % of surrogates", unit),
        "high": (np.where(undefined, np.nan, ends[1]), f"upper end of {100 * level:g} % of surrogates", unit),
        "z": (np.where(undefined, np.nan, z), "(observed − expected) / spread", "1"),
        "p": (p, "probability of a statistic as extreme under the surrogates", "1"),
        "p_adjusted": (_false_discovery(p), "the same, for the false discovery rate of all entries", "1"),
        "undefined": (undefined | np.isnan(z), "NaN, or without spread", "1"),
    }
    return xr.Dataset(
        {name: (observed.dims, array, {"units": u, "long_name": text}) for name, (array, text, u) in values.items()},
        coords=observed.coords,
        attrs=table.attrs(surrogate=surrogate, n=n, width=1e-3 * reach, side=side, level=level),
    )


def _array(value: Any) -> xr.DataArray:
    if isinstance(value, xr.Dataset):
        raise TypeError(
            "`statistic` must return a number, an array or a DataArray, got a Dataset: choose a variable of "
            f"{', '.join(map(str, value.data_vars))}"
        )
    return value if isinstance(value, xr.DataArray) else xr.DataArray(np.asarray(value, dtype=np.float64))


def _false_discovery(p: Array) -> Array:
    flat = p.ravel()
    known = np.flatnonzero(~np.isnan(flat))
    order = known[np.argsort(flat[known])]
    rank = len(order) / np.arange(1, len(order) + 1)
    out = np.full(flat.shape, np.nan)
    out[order] = np.minimum(np.minimum.accumulate((flat[order] * rank)[::-1])[::-1], 1.0)
    return out.reshape(p.shape)


def _generator(seed: int | np.random.Generator) -> np.random.Generator:
    return seed if isinstance(seed, np.random.Generator) else np.random.default_rng(seed)


def _checked_width(table: TrainTable, method: Method, width: Any) -> float:
    check_choice("method", method, tuple(_METHODS))
    default = table.duration if method == "shift" else min(_WIDTH, table.duration)
    reach = default if width is None else single_time(width, "width")
    if not 0 < reach <= table.duration:
        raise ValueError(
            f"`width` must be a time > 0 ms and within the record, {table.duration:g} ms, got {reach:g} ms"
        )
    if method == "trial_shuffle" and table.trials < 2:
        raise ValueError('trials are shuffled of two or more, there is one: take another method, such as "shift"')
    return reach


def _surrogate(table: TrainTable, method: Method, width: float, rng: np.random.Generator) -> TrainTable:
    times, start = _METHODS[method](table, width, rng)
    return table._replace(times=times, start=start, step=None)


def _dither(table: TrainTable, width: float, rng: np.random.Generator) -> tuple[Array, Integers]:
    moved = rng.random(len(table.times))
    moved -= 0.5
    moved *= 2 * width
    moved += table.times
    # Reflected at the ends; `width` is no longer than the record, so that once is enough.
    np.abs(moved - table.begin, out=moved)
    moved += table.begin
    last = np.nextafter(table.end, table.begin)
    outside = np.flatnonzero(moved > last)
    moved[outside] = np.clip(2 * table.end - moved[outside], table.begin, last)
    return sort_rows(moved, table.start), table.start


def _interval_dither(table: TrainTable, width: float, rng: np.random.Generator) -> tuple[Array, Integers]:
    times, start = table.times, table.start
    before, after = np.empty_like(times), np.empty_like(times)
    before[1:], after[:-1] = times[:-1], times[1:]
    full = np.diff(start) > 0
    before[start[:-1][full]] = table.begin
    after[start[1:][full] - 1] = table.end
    # Half of each interval belongs to each of its spikes, so that the order is kept.
    low = np.maximum(times - width, np.where(before == table.begin, before, 0.5 * (before + times)))
    high = np.minimum(times + width, np.where(after == table.end, after, 0.5 * (times + after)))
    moved = low + rng.random(len(times)) * (high - low)
    return np.minimum(moved, np.nextafter(table.end, table.begin)), start


def _jitter(table: TrainTable, width: float, rng: np.random.Generator) -> tuple[Array, Integers]:
    window = np.floor((table.times - table.begin) / width)
    low = table.begin + window * width
    moved = low + rng.random(len(low)) * (np.minimum(low + width, table.end) - low)
    return sort_rows(np.minimum(moved, np.nextafter(table.end, table.begin)), table.start), table.start


def _shuffle(table: TrainTable, width: float, rng: np.random.Generator) -> tuple[Array, Integers]:
    intervals = np.empty_like(table.times)
    intervals[1:] = np.diff(table.times)
    first = table.start[:-1][np.diff(table.start) > 0]
    intervals[first] = table.times[first] - table.begin
    return _added(table, shuffle_rows(intervals, table.start, rng.random(len(intervals))), table.start), table.start


def _added(table: TrainTable, intervals: Array, start: Integers) -> Array:
    """Return times of rows of intervals from the beginning of the record on."""
    total = np.cumsum(intervals)
    sizes = np.diff(start)
    offset = np.concatenate([[0.0], total])[start[:-1]]
    total -= np.repeat(offset - table.begin, sizes)
    return np.clip(total, table.begin, np.nextafter(table.end, table.begin), out=total)


def _shift(table: TrainTable, width: float, rng: np.random.Generator) -> tuple[Array, Integers]:
    rows = len(table.start) - 1
    sizes = np.diff(table.start)
    whole = table.duration
    move = rng.uniform(-width, width, rows) if width < whole else rng.uniform(0, whole, rows)
    moved = table.times + np.repeat(move, sizes)
    late, early = moved >= table.end, moved < table.begin
    moved[late] -= whole
    moved[early] += whole
    moved = np.clip(moved, table.begin, np.nextafter(table.end, table.begin), out=moved)
    owner = owners(table.start)
    # A train is turned around: what left at one end comes in at the other.
    ahead = np.bincount(owner[late], minlength=rows) - np.bincount(owner[early], minlength=rows)
    place = np.arange(len(moved)) - np.repeat(table.start[:-1], sizes) + np.repeat(ahead, sizes)
    place %= np.repeat(np.maximum(sizes, 1), sizes)
    out = np.empty_like(moved)
    out[place + np.repeat(table.start[:-1], sizes)] = moved
    return out, table.start


def _trial_shuffle(table: TrainTable, width: float, rng: np.random.Generator) -> tuple[Array, Integers]:
    shape = (table.stimuli, table.trials, table.neurons)
    rows = np.arange(int(np.prod(shape))).reshape(shape)
    taken = rng.permuted(rows, axis=1).ravel()
    sizes = np.diff(table.start)[taken]
    start = np.concatenate([[0], np.cumsum(sizes)])
    place = np.repeat(table.start[:-1][taken] - start[:-1], sizes) + np.arange(start[-1])
    return table.times[place], start


def _renewal(table: TrainTable, width: float, rng: np.random.Generator) -> tuple[Array, Integers]:
    rows, sizes = len(table.start) - 1, np.diff(table.start)
    row = owners(table.start)
    same = row[1:] == row[:-1]
    units = int(table.unit.max(initial=-1)) + 1
    owner = table.unit[row[1:][same]]
    order = np.argsort(owner, kind="stable")
    pool, number = np.diff(table.times)[same][order], np.bincount(owner, minlength=units)
    begin = np.concatenate([[0], np.cumsum(number)])
    known = number[table.unit] > 0
    mean = np.divide(
        np.bincount(owner, np.diff(table.times)[same], units), number, out=np.ones(units), where=number > 0
    )
    # Enough intervals for every train, in rounds: most trains are filled by the first.
    pieces: list[tuple[Integers, Array]] = []
    clock = np.full(rows, table.begin)
    active = np.flatnonzero(known & (mean[table.unit] > 0))
    if len(active):
        # The record begins within an interval, a long one more likely than a short one.
        cumulated = np.concatenate([[0.0], np.cumsum(pool)])
        unit = table.unit[active]
        low, high = cumulated[begin[unit]], cumulated[begin[unit + 1]]
        at = low + rng.random(len(active)) * (high - low)
        inside = np.clip(np.searchsorted(cumulated, at, "right") - 1, 0, len(pool) - 1)
        clock[active] += np.maximum(cumulated[inside + 1] - at, 0.0)
        active = active[clock[active] < table.end]
        pieces.append((active, clock[active].copy()))
    while len(active):
        unit = table.unit[active]
        left = table.end - clock[active]
        count = np.ceil(1.1 * left / mean[unit] + 4 * np.sqrt(left / mean[unit] + 1)).astype(np.int64)
        target = np.repeat(active, count)
        which = begin[table.unit[target]] + (rng.random(len(target)) * number[table.unit[target]]).astype(np.int64)
        total = np.cumsum(pool[which])
        ends = np.cumsum(count)
        offset = np.repeat(np.concatenate([[0.0], total[ends[:-1] - 1]]) - clock[active], count)
        total -= offset
        clock[active] = total[ends - 1]
        inside_record = total < table.end
        pieces.append((target[inside_record], total[inside_record]))
        active = active[clock[active] < table.end]
    # A train of one spike, or of spikes at one time, has no intervals: its spikes are drawn evenly.
    lone = np.flatnonzero((sizes > 0) & ~(known & (mean[table.unit] > 0)))
    target = np.repeat(lone, sizes[lone])
    pieces.append((target, table.begin + rng.random(len(target)) * table.duration))
    target, times = (np.concatenate([piece[side] for piece in pieces]) for side in (0, 1))
    order = np.lexsort((times, target))
    start = np.concatenate([[0], np.cumsum(np.bincount(target.astype(np.int64), minlength=rows))])
    return np.minimum(times[order], np.nextafter(table.end, table.begin)), start


def _poisson(table: TrainTable, width: float, rng: np.random.Generator) -> tuple[Array, Integers]:
    sizes = np.diff(table.start)
    # Sums of exponential gaps over their total, with one more gap, are sorted uniform numbers.
    gaps = rng.standard_exponential(len(table.times) + len(sizes))
    total = np.cumsum(gaps)
    edges = table.start + np.arange(len(table.start))
    before = np.concatenate([[0.0], total])[edges]
    kept = np.ones(len(gaps), dtype=bool)
    kept[edges[1:] - 1] = False
    scale = table.duration / np.maximum(np.diff(before), np.finfo(np.float64).tiny)
    times = (total[kept] - np.repeat(before[:-1], sizes)) * np.repeat(scale, sizes) + table.begin
    return np.minimum(times, np.nextafter(table.end, table.begin)), table.start


_METHODS: dict[str, Callable[[TrainTable, float, np.random.Generator], tuple[Array, Integers]]] = {
    "dither": _dither,
    "interval_dither": _interval_dither,
    "jitter": _jitter,
    "shuffle": _shuffle,
    "shift": _shift,
    "trial_shuffle": _trial_shuffle,
    "renewal": _renewal,
    "poisson": _poisson,
}


def _dataset(table: TrainTable) -> xr.Dataset:
    """Return a table as a dataset of the schema; time from the beginning of what is looked at, s."""
    sizes = np.diff(table.start).reshape(table.shape).astype(np.int32)
    times = 1e-3 * (table.times - table.begin)
    attrs: dict[str, Any] = {"featureType": "trajectory", "duration": 1e-3 * table.duration, "warmup": 0.0}
    if table.step is not None:
        attrs["dt"] = 1e-3 * table.step
    return xr.Dataset(
        {
            "spike_time": ("spike", np.minimum(times, np.nextafter(attrs["duration"], 0)), {"units": "s"}),
            "row_size": (table.dims, sizes, {"units": "1", "sample_dimension": "spike"}),
        },
        coords=table.coords,
        attrs=attrs,
    )
