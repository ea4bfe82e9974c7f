"""Rates against time: peristimulus histograms, kernel estimates, and the width of the kernel that suits the data."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy import fft, signal, stats

from mnnbio.analyses.binned_counts import population_names
from mnnbio.analyses.spike_loops import correlograms, owners, stamp
from mnnbio.analyses.train_table import TrainTable, table_blocks, train_table
from mnnbio.machine import check_choice, require_memory
from mnnbio.results import single_time
from mnnbio.units import in_unit

Array = npt.NDArray[np.float64]
Kernel = Literal["gaussian", "exponential", "alpha", "boxcar"]
Resolution = Literal["population", "neuron"]
Interval = Literal["trials", "poisson"]

_KERNELS = ("gaussian", "exponential", "alpha", "boxcar")
_GRID = 2048  # bins of a record in which the width of a kernel is sought
_ZOOM = 128  # bins within one of these, where the width is small
_WIDTHS = 96
_MANY = 10_000  # spikes of a row, above which pairs are counted by a Fourier transform
_FEW = 10  # spikes below which no width is sought


def psth(
    trains: Any,
    bin: Any = None,
    *,
    resolution: Resolution = "population",
    interval: Interval | None = None,
    level: float = 0.95,
    events: Any = None,
    before: Any = 0.0,
    after: Any = None,
    duration: Any = None,
    start: Any = None,
    stop: Any = None,
) -> xr.Dataset:
    r"""Return the peristimulus time histogram: the rate in bins, averaged over trials, with an interval.

    Intervals from trials are those of Student's t around the mean over trials. Poisson intervals are exact for the
    summed count n of a bin (Garwood 1936): :math:`\tfrac12 \chi^2_{\alpha/2}(2n)` to
    :math:`\tfrac12 \chi^2_{1-\alpha/2}(2n + 2)`; they hold without any repetition, if spikes are independent.

    Parameters
    ----------
    trains : DataTree, Dataset, or sequence of array_like
        A result with ``/spikes``; or plain trains, ms.
    bin : float or Quantity, optional
        Length of a bin, ms. Default: the one nearest to 10 ms.
    resolution : {"population", "neuron"}
        Mean rate of the neurons of each population, or rate of every neuron.
    interval : {"trials", "poisson"}, optional
        Default: "trials" where there are two or more, else "poisson".
    level : float
        Confidence level of the interval.
    events : sequence of float, or Quantity; optional
        Times of stimuli within the record, ms: the record around each becomes a trial.
    before, after : float or Quantity, optional
        Time around each event, ms. Default of `after`: up to the next event, at the shortest.
    duration : float or Quantity, optional
        Length of the record of plain trains, ms.
    start, stop : float or Quantity, optional
        Time looked at, ms; default: from the end of the warm-up to the end.

    Returns
    -------
    Dataset
        Over ([stimulus,] time, population) or ([stimulus,] time, neuron): ``rate``, ``rate_se``, ``rate_low``,
        ``rate_high`` (Hz) and ``count``, of all trials. `time` is the middle of a bin, s, from the event.

    Raises
    ------
    ValueError
        If a bin does not fit, events lie too close to the ends of the record, or a single trial shall give an interval
        from trials.

    References
    ----------
    Garwood, F. (1936). Fiducial limits for the Poisson distribution. *Biometrika* 28, 437-442.
    """
    check_choice("resolution", resolution, ("population", "neuron"))
    require_level(level)
    table = train_table(trains, duration=duration, start=start, stop=stop)
    if events is not None:
        table = around_events(table, events, before, after)
    width = table.bin(bin, 10.0)
    kind = interval or ("trials" if table.trials > 1 else "poisson")
    check_choice("interval", kind, ("trials", "poisson"))
    if kind == "trials" and table.trials < 2:
        raise ValueError('an interval from trials needs two trials or more, there is one: give `interval="poisson"`')
    counts, names, sizes = grouped_counts(table, width, resolution)
    trials = table.trials
    exposure = 1e-3 * width * np.asarray(sizes, dtype=np.float64)
    total = counts.sum(axis=1)
    rate = total / (trials * exposure)
    if kind == "trials":
        se = counts.std(axis=1, ddof=1) / np.sqrt(trials) / exposure
        reach = stats.t.ppf(0.5 + level / 2, trials - 1) * se
        low, high = np.maximum(rate - reach, 0.0), rate + reach
    else:
        se = np.sqrt(total) / (trials * exposure)
        # Counts repeat themselves: a quantile is found once for each.
        seen, place = np.unique(total, return_inverse=True)
        lower = np.where(seen > 0, stats.chi2.ppf(0.5 - level / 2, 2 * np.maximum(seen, 1)), 0.0)
        upper = stats.chi2.ppf(0.5 + level / 2, 2 * seen + 2)
        low, high = (side[place].reshape(total.shape) / 2 / (trials * exposure) for side in (lower, upper))
    values = {
        "rate": (rate, "rate", "Hz"),
        "rate_se": (se, "standard error of the rate", "Hz"),
        "rate_low": (low, f"lower end of the {100 * level:g} % interval of the rate", "Hz"),
        "rate_high": (high, f"upper end of the {100 * level:g} % interval of the rate", "Hz"),
        "count": (total, "number of spikes, all trials", "1"),
    }
    middles = 1e-3 * (table.begin + width * (np.arange(counts.shape[2], dtype=np.float64) + 0.5))
    return _over_time(table, values, middles, resolution, names, sizes).assign_attrs(
        table.attrs(bin=1e-3 * width, interval=kind, level=level)
    )


def around_events(table: TrainTable, events: Any, before: Any, after: Any) -> TrainTable:
    """Return the record around each event, as one trial each; times are from the event.

    Raises
    ------
    ValueError
        If there is no event, or the record does not hold the time asked for around each.
    """
    places = np.sort(np.atleast_1d(in_unit(events, "ms", "events")))
    early = single_time(before, "before")
    if not len(places) or not np.isfinite(places).all():
        raise ValueError(f"`events` must be one or more finite times, ms, got {len(places)} of them")
    gaps = np.diff(np.append(places, table.end))
    late = float(gaps.min()) if after is None else single_time(after, "after")
    if table.step is not None:
        late = table.step * np.floor(late / table.step + 1e-6)
    if not early >= 0 or not late + early > 0:
        raise ValueError(f"`before` must be ≥ 0 ms and `before` + `after` > 0 ms, got {early:g} ms and {late:g} ms")
    if places[0] - early < table.begin - 1e-9 or places[-1] + late > table.end + 1e-9:
        raise ValueError(
            f"the record, {table.begin:g} ms to {table.end:g} ms, must hold {early:g} ms before and {late:g} ms after "
            f"every event, the first is at {places[0]:g} ms and the last at {places[-1]:g} ms"
        )
    row = owners(table.start)
    slack = 1e-6 if table.step is None else 1e-3 * table.step
    times, targets = [], []
    rows = table.stimuli * table.trials
    for k, event in enumerate(places):
        inside = (table.times >= event - early - slack) & (table.times < event + late - slack)
        times.append(table.times[inside] - event)
        targets.append((row[inside] // table.neurons * len(places) + k) * table.neurons + row[inside] % table.neurons)
    target = np.concatenate(targets)
    order = np.argsort(target, kind="stable")
    size = np.bincount(target, minlength=rows * len(places) * table.neurons)
    return table._replace(
        times=np.concatenate(times)[order], start=np.concatenate([[0], np.cumsum(size)]),
        shape=(*table.shape[:-2], table.trials * len(places), table.neurons), begin=-early, end=late,
        coords={name: c for name, c in table.coords.items() if "trial" not in c.dims},
    )  # fmt: skip


def kernel_rate(
    trains: Any,
    bandwidth: Any = "auto",
    *,
    bin: Any = None,
    kernel: Kernel = "gaussian",
    resolution: Resolution = "neuron",
    cutoff: float = 5.0,
    edge_correction: bool = False,
    errors: bool = True,
    duration: Any = None,
    start: Any = None,
    stop: Any = None,
) -> xr.Dataset:
    r"""Estimate rates against time by a kernel, :math:`\hat r(t) = \frac{1}{R} \sum_i k(t - t_i)` over R trials.

    The error is that of Poisson spikes, :math:`\frac{1}{R} \sqrt{\sum_i k(t - t_i)^2}`. Spikes are taken at the middle
    of their bin, and the kernel at multiples of the bin, up to `cutoff` standard deviations.

    Parameters
    ----------
    trains : DataTree, Dataset, or sequence of array_like
        A result with ``/spikes``; or plain trains, ms.
    bandwidth : "auto", float or Quantity
        Standard deviation of the kernel, ms; "auto": of each neuron (or population) what `optimal_bandwidth` finds.
    bin : float or Quantity, optional
        Time between values, ms. Default: the one nearest to 1 ms.
    kernel : {"gaussian", "exponential", "alpha", "boxcar"}
        The exponential and the alpha kernel look into the past alone; their standard deviations are τ and √2 τ.
    resolution : {"population", "neuron"}
    cutoff : float
        Standard deviations beyond which the kernel is 0.
    edge_correction : bool
        Divide by the part of the kernel that lies in the record, so that the ends are not too low.
    errors : bool
        Whether ``rate_se`` is made, which is as large as the rates.
    duration, start, stop : float or Quantity, optional
        As of `psth`.

    Returns
    -------
    Dataset
        ``rate`` and ``rate_se`` (Hz) over ([stimulus,] time, neuron) or population; ``bandwidth`` (s) and
        ``few_spikes``, true where "auto" had too few to find a width and took the whole record.

    Raises
    ------
    ValueError
        If the width is not > 0, or is smaller than half a bin.
    NotEnoughMemory
        If so many values do not fit into memory.

    References
    ----------
    Shimazaki, H., Shinomoto, S. (2010). Kernel bandwidth optimization in spike rate estimation. *J. Comput. Neurosci.*
    29, 171-182.
    """
    check_choice("kernel", kernel, _KERNELS)
    check_choice("resolution", resolution, ("population", "neuron"))
    if not cutoff > 0:
        raise ValueError(f"`cutoff` must be > 0 standard deviations, got {cutoff}")
    table = train_table(trains, duration=duration, start=start, stop=stop)
    width = table.bin(bin, 1.0)
    place, begin, number = table.places(width)
    names, sizes, target, rows = groups(table, resolution)
    require_memory(32.0 * rows * number, f"rates of {rows} rows at {number} times", "Take a longer `bin`.")
    if isinstance(bandwidth, str):
        check_choice("bandwidth", bandwidth, ("auto",))
        found = _optimal(table, target, rows)
        sigma = np.where(np.isfinite(found[0]), found[0], table.duration)
        few = ~np.isfinite(found[0])
    else:
        own_width = single_time(bandwidth, "bandwidth")
        if not own_width >= 0.5 * width:
            raise ValueError(
                f"`bandwidth` must be at least half a bin of {width:g} ms, got {own_width:g} ms: shorten `bin`"
            )
        sigma = np.full(rows, own_width)
        few = np.zeros(rows, dtype=bool)
    sigma = np.maximum(sigma, 0.5 * width)
    scale = 1.0 / (table.trials * np.asarray(sizes, dtype=np.float64))
    # Rows of one width share a kernel; with "auto" there are as many as rows.
    widths, which = np.unique(sigma, return_inverse=True)
    alone = len(widths) == 1
    rate, square = (np.zeros((0 if alone else rows, number)) for _ in range(2))
    for k, one in enumerate(widths):
        values = _kernel_values(kernel, float(one), width, cutoff, number)
        if alone:
            rate = _summed(place, begin, target, rows, number, values)
            square = _summed(place, begin, target, rows, number, values**2) if errors else square
        else:
            own = np.flatnonzero(which == k)
            chosen = np.flatnonzero(np.isin(target, own))
            local = np.searchsorted(own, target[chosen])
            spikes = np.concatenate([np.arange(begin[c], begin[c + 1]) for c in chosen])
            edges = np.concatenate([[0], np.cumsum(np.diff(begin)[chosen])])
            for into, v in ((rate, values), (square, values**2))[: 2 if errors else 1]:
                into[own] = _summed(place[spikes], edges, local, len(own), number, v)
        if edge_correction:
            every = np.arange(number)
            inside = _summed(every, np.array([0, number]), np.zeros(1, dtype=np.int64), 1, number, values[::-1])
            share = np.minimum(inside[0] / values.sum(), 1.0)
            rate[which == k] /= share
            if errors:
                square[which == k] /= share**2
    shape = (table.stimuli, rows // max(table.stimuli, 1), number)
    columns = np.tile(scale, table.stimuli)[:, None]
    if (columns != 1).any():
        rate *= columns  # large arrays: nothing is copied
    values_of = {"rate": (rate.reshape(shape).swapaxes(1, 2), "rate", "Hz")}
    if errors:
        np.sqrt(square, out=square)
        if (columns != 1).any():
            square *= columns
        values_of["rate_se"] = (square.reshape(shape).swapaxes(1, 2), "standard error of the rate", "Hz")
    middles = 1e-3 * (table.begin + width * (np.arange(number, dtype=np.float64) + 0.5))
    data = _over_time(table, values_of, middles, resolution, names, sizes)
    dims = tuple(d for d in data["rate"].dims if d != "time")
    shape_kept = tuple(data.sizes[d] for d in dims)
    data["bandwidth"] = (
        dims, 1e-3 * sigma.reshape(shape_kept), {"units": "s", "long_name": "standard deviation of the kernel"}
    )  # fmt: skip
    data["few_spikes"] = (dims, few.reshape(shape_kept), {"units": "1", "long_name": "too few spikes for a width"})
    return data.assign_attrs(table.attrs(bin=1e-3 * width, kernel=kernel, cutoff=cutoff))


def optimal_bandwidth(
    trains: Any,
    *,
    resolution: Resolution = "neuron",
    blocks: int = 0,
    duration: Any = None,
    start: Any = None,
    stop: Any = None,
) -> xr.Dataset:
    r"""Find the width of a Gaussian kernel that estimates a rate best, from the spikes alone.

    It minimises the expected squared error of the rate up to a constant,

    .. math:: C(w) = \sum_{i,j} k_{\sqrt 2 w}(t_i - t_j) - 2 \sum_{i \neq j} k_w(t_i - t_j),

    over all spikes of all trials together. Differences are taken on a grid of 1/2048 of the record, and of 1/128 of
    that where the width is small.

    Parameters
    ----------
    trains : DataTree, Dataset, or sequence of array_like
        A result with ``/spikes``; or plain trains, ms.
    resolution : {"population", "neuron"}
    blocks : int
        Pieces of the record for the error of the width (delete-one jackknife); 0: none.
    duration, start, stop : float or Quantity, optional
        As of `psth`.

    Returns
    -------
    Dataset
        Over ([stimulus,] neuron) or population: ``bandwidth`` (s) and ``at_limit``, true where the cost falls up to the
        longest width tried, a quarter of the record: there is no structure to resolve. The ends of the record count as
        steps of the rate. Neurons with fewer than 10 spikes get NaN and the flag ``few_spikes``. With `blocks`,
        ``bandwidth_se``.

    References
    ----------
    Shimazaki, H., Shinomoto, S. (2010). Kernel bandwidth optimization in spike rate estimation. *J. Comput. Neurosci.*
    29, 171-182, Eq. 6.
    """
    check_choice("resolution", resolution, ("population", "neuron"))
    parts = []
    whole = resolution == "population"
    source = [train_table(trains, duration=duration, start=start, stop=stop)] if whole else table_blocks(
        trains, duration=duration, start=start, stop=stop
    )  # fmt: skip
    for table in source:
        names, _, target, rows = groups(table, resolution)
        width, limit = _optimal(table, target, rows)
        if whole:
            dims: tuple[str, ...] = (*table.kept_dims[:-1], "population")
            coords = {**table.kept_coords("neuron"), "population": names}
            shape: tuple[int, ...] = (*table.kept_shape[:-1], len(names))
        else:
            dims, coords, shape = table.kept_dims, table.kept_coords(), table.kept_shape
        data = {
            "bandwidth": (dims, 1e-3 * width.reshape(shape), {"units": "s", "long_name": "best standard deviation"}),
            "at_limit": (dims, limit.reshape(shape), {"units": "1", "long_name": "the longest width tried is best"}),
            "few_spikes": (dims, np.isnan(width).reshape(shape), {"units": "1", "long_name": "fewer than 10 spikes"}),
        }
        if blocks:
            left = np.stack([_optimal(one, target, rows)[0] for one in _left_out(table, blocks)])
            se = np.sqrt((blocks - 1) * left.var(axis=0))
            data["bandwidth_se"] = (
                dims, 1e-3 * se.reshape(shape), {"units": "s", "long_name": "standard error of it"}
            )  # fmt: skip
        parts.append(xr.Dataset(data, coords=coords, attrs=table.attrs()))
    return parts[0] if len(parts) == 1 else xr.concat(parts, "neuron", data_vars="minimal", combine_attrs="override")


def _left_out(table: TrainTable, blocks: int) -> list[TrainTable]:
    """Return the table without the spikes of each of `blocks` pieces of the record, times kept."""
    place = np.minimum((table.times - table.begin) / table.duration * blocks, blocks - 1).astype(np.int64)
    found = []
    for k in range(blocks):
        kept = place != k
        start = np.concatenate([[0], np.cumsum(kept)])[table.start]
        found.append(table._replace(times=table.times[kept], start=start))
    return found


def _optimal(table: TrainTable, target: npt.NDArray[np.int64], rows: int) -> tuple[Array, npt.NDArray[np.bool_]]:
    """Return the best width of each row, ms, NaN for few spikes, and whether it is the longest one."""
    step = table.duration / _GRID
    row = target[owners(table.start)]
    number = np.bincount(row, minlength=rows).astype(np.float64)
    place = np.minimum((table.times - table.begin) / step, _GRID - 1).astype(np.int64)
    lags = step * np.arange(_GRID, dtype=np.float64)
    widths = np.geomspace(2 * step, table.duration / 4, _WIDTHS)
    weights, own = _cost_weights(lags, widths)
    cost = np.zeros((rows, _WIDTHS))
    size = fft.next_fast_len(2 * _GRID, real=True)
    for begin in range(0, rows, 256):
        end = min(begin + 256, rows)
        mine = (row >= begin) & (row < end)
        flat = np.bincount((row[mine] - begin) * _GRID + place[mine], minlength=(end - begin) * _GRID)
        spectrum = fft.rfft(flat.reshape(-1, _GRID).astype(np.float64), size, axis=-1)
        pairs = fft.irfft(spectrum.real**2 + spectrum.imag**2, size, axis=-1)[:, :_GRID]
        pairs[:, 1:] *= 2
        pairs[:, 0] -= number[begin:end]  # of different spikes
        cost[begin:end] = pairs @ weights + number[begin:end, None] * own
    best, limit = _vertex(cost, widths)
    few = number < _FEW
    small = np.flatnonzero((best < 8 * step) & ~few)
    if len(small):
        best[small] = _zoomed(table, row, small, step)
    best[few] = np.nan
    return best, limit & ~few


def _zoomed(table: TrainTable, row: npt.NDArray[np.int64], small: npt.NDArray[np.int64], step: float) -> Array:
    """Return best widths below 16 steps of the grid, from differences on a grid _ZOOM times as fine."""
    fine, reach = step / _ZOOM, 8 * 16 * _ZOOM
    mine = np.isin(row, small)
    own_row, times = row[mine], table.times[mine]
    order = np.lexsort((times, own_row))
    own_row, times = own_row[order], times[order]
    start = np.searchsorted(own_row, np.append(small, small[-1] + 1))
    place = ((times - table.begin) / fine).astype(np.int64)
    index = np.arange(len(small))
    number = np.diff(start).astype(np.float64)
    lags, widths = fine * np.arange(reach + 1, dtype=np.float64), np.geomspace(2 * fine, 16 * step, _WIDTHS)
    weights, own = _cost_weights(lags, widths)
    cost = np.empty((len(small), _WIDTHS))
    for begin in range(0, len(small), 64):
        some = index[begin : begin + 64]
        if number[some].max() > _MANY:
            pairs = np.stack([_autocorrelation(place[start[k] : start[k + 1]], reach) for k in some])
        else:
            pairs = correlograms(place, start, some, some, reach)[:, reach:]
        pairs[:, 1:] *= 2
        pairs[:, 0] -= number[some]
        cost[some] = pairs @ weights + number[some, None] * own
    return _vertex(cost, widths)[0]


def _autocorrelation(place: npt.NDArray[np.int64], reach: int) -> Array:
    """Return the numbers of pairs of spikes at lags of 0 to `reach` bins, of many spikes."""
    counts = np.bincount(place).astype(np.float64)
    size = fft.next_fast_len(len(counts) + reach + 1, real=True)
    spectrum = fft.rfft(counts, size)
    found: Array = np.rint(fft.irfft(spectrum.real**2 + spectrum.imag**2, size)[: reach + 1])
    return np.pad(found, (0, reach + 1 - len(found)))


def _cost_weights(lags: Array, widths: Array) -> tuple[Array, Array]:
    """Return what a pair of different spikes at each lag adds to the cost, (lag, width), and a spike with itself."""

    def gauss(sigma: Array) -> Array:
        found: Array = np.exp(-0.5 * (lags[:, None] / sigma) ** 2) / (np.sqrt(2 * np.pi) * sigma)
        return found

    return gauss(np.sqrt(2) * widths) - 2 * gauss(widths), 1 / (2 * np.sqrt(np.pi) * widths)


def _vertex(cost: Array, widths: Array) -> tuple[Array, npt.NDArray[np.bool_]]:
    """Return the least place of each row, by a parabola in the logarithm of the width, and whether it is the last."""
    best = cost.argmin(axis=1)
    inner = np.clip(best, 1, cost.shape[1] - 2)
    rows = np.arange(len(cost))
    before, at, after = (cost[rows, inner + k] for k in (-1, 0, 1))
    bend = before - 2 * at + after
    shift = np.where(
        best == inner, np.divide(0.5 * (before - after), bend, out=np.zeros(len(bend)), where=bend > 0), 0.0
    )
    ratio = np.log(widths[1] / widths[0])
    found = np.where(best == inner, widths[inner] * np.exp(ratio * shift), widths[best])
    return found, best == cost.shape[1] - 1


def _kernel_values(kernel: Kernel, sigma: float, bin: float, cutoff: float, number: int) -> Array:
    """Return a kernel at multiples of a bin, Hz."""
    half = min(int(np.ceil(cutoff * sigma / bin - 1e-9)), number)
    time = bin * np.arange(-half, half + 1)
    if kernel == "gaussian":
        values = np.exp(-0.5 * (time / sigma) ** 2) / (np.sqrt(2 * np.pi) * sigma)
    elif kernel == "exponential":
        values = np.where(time >= 0, np.exp(-np.maximum(time, 0) / sigma) / sigma, 0.0)
    elif kernel == "alpha":
        tau = sigma / np.sqrt(2)
        values = np.where(time >= 0, time / tau**2 * np.exp(-np.maximum(time, 0) / tau), 0.0)
    else:
        values = np.where(np.abs(time) <= np.sqrt(3) * sigma * (1 + 1e-12), 1 / (2 * np.sqrt(3) * sigma), 0.0)
    return 1e3 * values


def _summed(
    place: npt.NDArray[np.int64],
    start: npt.NDArray[np.int64],
    target: npt.NDArray[np.int64],
    rows: int,
    number: int,
    values: Array,
) -> Array:
    """Return the sums of kernels around bins, (row, bin): one by one, or by Fourier transforms where these are long."""
    if not len(place) * float(len(values)) > 60.0 * rows * number:
        return stamp(place, start, target, rows, number, values)
    flat = np.bincount(target[owners(start)] * number + place, minlength=rows * number).reshape(rows, number)
    smooth = signal.fftconvolve(flat.astype(np.float64), values[None], mode="full", axes=1)
    half = len(values) // 2
    found: Array = np.maximum(smooth[:, half : half + number], 0.0)  # below 0 by rounding only
    return found


def groups(
    table: TrainTable, resolution: Resolution
) -> tuple[list[str], list[int] | npt.NDArray[np.int64], npt.NDArray[np.int64], int]:
    """Return names and sizes of what trains are summed over, the row that each train belongs to, and their number."""
    if resolution == "neuron":
        ones = np.ones(table.neurons, dtype=np.int64)
        return [], ones, table.unit, table.stimuli * table.neurons
    of_neuron = population_names(xr.Dataset(coords={"population": table.coords["population"]}))
    names = list(dict.fromkeys(of_neuron.tolist()))
    index = np.array([names.index(name) for name in of_neuron], dtype=np.int64)
    rows = np.arange(table.stimuli)[:, None, None] * len(names) + index
    target = np.broadcast_to(rows, (table.stimuli, table.trials, table.neurons)).ravel()
    return names, np.bincount(index, minlength=len(names)), target, table.stimuli * len(names)


def grouped_counts(table: TrainTable, bin: float, resolution: Resolution) -> tuple[Array, list[str], Any]:
    """Return counts (stimulus, trial, bin, group), names and sizes of the groups."""
    place, start, number = table.places(bin)
    names, sizes, _, rows = groups(table, resolution)
    count = rows // table.stimuli
    if resolution == "neuron":
        member = np.tile(np.arange(table.neurons), table.stimuli * table.trials)
    else:
        index = np.array([names.index(name) for name in table.coords["population"].to_numpy()], dtype=np.int64)
        member = np.tile(index, table.stimuli * table.trials)
    outer = np.repeat(np.arange(table.stimuli * table.trials), table.neurons)
    cells = table.stimuli * table.trials * count * number
    require_memory(24.0 * cells, f"counts in {cells} bins", "Take longer bins, or populations.")
    flat = np.bincount(np.repeat(outer * count + member, np.diff(start)) * number + place, minlength=cells)
    counts = flat.reshape(table.stimuli, table.trials, count, number)
    return counts.swapaxes(2, 3).astype(np.float64), names, sizes


def _over_time(
    table: TrainTable, values: dict[str, Any], middles: Array, resolution: Resolution, names: list[str], sizes: Any
) -> xr.Dataset:
    """Return arrays (stimulus, time, group) as a labelled dataset."""
    last = "neuron" if resolution == "neuron" else "population"
    lead = table.kept_dims[:-1]
    dims = (*lead, "time", last)
    coords: dict[str, Any] = table.kept_coords(*(() if resolution == "neuron" else ("neuron",)))
    if resolution == "population":
        coords |= {"population": names, "size": ("population", np.asarray(sizes))}
    coords["time"] = ("time", middles, {"units": "s", "long_name": "time"})
    data = {
        name: (dims, array if lead else array[0], {"units": units, "long_name": text})
        for name, (array, text, units) in values.items()
    }
    return xr.Dataset(data, coords=coords)


def require_level(level: float) -> None:
    """Raise unless a level lies between 0 and 1."""
    if not 0 < level < 1:
        raise ValueError(f"`level` must lie between 0 and 1, such as 0.95, got {level!r}")
