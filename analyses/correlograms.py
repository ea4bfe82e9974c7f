"""Correlations in time: cross-correlograms, covariance functions, correlation time, and the tiling of spikes."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy import fft, special

from mnnbio.analyses.rate_estimates import Resolution, grouped_counts, groups, require_level
from mnnbio.analyses.spike_loops import correlograms, owners, tiled_spikes
from mnnbio.analyses.train_table import BLOCKS, TrainTable, train_table
from mnnbio.machine import check_choice, require_integer, require_memory
from mnnbio.results import single_time

Array = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

_LAG = 50.0  # ms


def cross_correlogram(
    trains: Any,
    pairs: Any = None,
    *,
    bin: Any = None,
    max_lag: Any = _LAG,
    level: float = 0.95,
    duration: Any = None,
    start: Any = None,
    stop: Any = None,
) -> xr.Dataset:
    r"""Return the cross-correlogram of pairs of neurons: how often a spike of the second follows one of the first.

    With counts n of N bins, ``count`` at lag k is :math:`\sum_t n_i(t) n_j(t + k)`. Independent Poisson trains give
    ``expected``, :math:`n_i n_j (N - |k|) / N^2`, and counts of the Poisson interval between ``low`` and ``high``.
    ``correlation`` is :math:`[\sum_t n_i(t) n_j(t + k) - n_i n_j / N] / \sqrt{(\sum n_i^2 - n_i^2/N)(\sum n_j^2 -
    n_j^2/N)}`. Sums run over all trials.

    Parameters
    ----------
    trains : DataTree, Dataset, or sequence of array_like
        A result with ``/spikes``; or plain trains, ms.
    pairs : array_like of int, shape (pair, 2), optional
        Places of the two neurons of each pair; a neuron with itself gives its autocorrelogram, the peak at lag 0
        included. Default: every two different neurons.
    bin : float or Quantity, optional
        Length of a bin, ms. Default: the one nearest to 1 ms.
    max_lag : float or Quantity
        Longest lag, ms.
    level : float
        Level of the interval of independent trains.
    duration : float or Quantity, optional
        Length of the record of plain trains, ms.
    start, stop : float or Quantity, optional
        Time looked at, ms; default: from the end of the warm-up to the end.

    Returns
    -------
    Dataset
        Over ([stimulus,] pair, lag): ``count`` and its error √count, ``expected``, ``low``, ``high``, ``rate`` (Hz, of
        the second neuron at a lag from a spike of the first, corrected for the ends) and ``correlation``; with two or
        more trials ``shift_predictor``, the counts with the second neuron's next trial, which shows what the stimulus
        alone brings. `lag` is in s; coordinates ``neuron_first`` and ``neuron_second``. ``silent`` marks pairs with a
        neuron that has no spikes.

    Raises
    ------
    ValueError
        If the longest lag is not shorter than the record, or a pair names no neuron.

    References
    ----------
    Perkel, D. H., Gerstein, G. L., Moore, G. P. (1967). Neuronal spike trains and stochastic point processes II.
    *Biophys. J.* 7, 419-440.
    """
    require_level(level)
    table = train_table(trains, duration=duration, start=start, stop=stop)
    width = table.bin(bin, 1.0)
    reach = _reach(table, max_lag, width)
    first, second = _pairs(pairs, table.neurons)
    place, begin, number = table.places(width)
    lags = np.arange(-reach, reach + 1)
    runs = table.stimuli * table.trials
    require_memory(
        8.0 * len(first) * len(lags) * 6 * table.stimuli, f"correlograms of {len(first)} pairs", "Give fewer `pairs`."
    )
    sizes = np.diff(begin).reshape(table.stimuli, table.trials, table.neurons).astype(np.float64)
    squares = _squares(place, begin, number).reshape(sizes.shape)
    inner = (number - np.abs(lags)) / number
    count, shifted = (np.zeros((table.stimuli, len(first), len(lags))) for _ in range(2))
    for run in range(runs):
        s, r = divmod(run, table.trials)
        count[s] += correlograms(place, begin, run * table.neurons + first, run * table.neurons + second, reach)
        if table.trials > 1:
            other = s * table.trials + (r + 1) % table.trials
            shifted[s] += correlograms(place, begin, run * table.neurons + first, other * table.neurons + second, reach)
    product = (sizes[:, :, first] * sizes[:, :, second] / number).sum(axis=1)[..., None]
    spread = (squares - sizes**2 / number).sum(axis=1)
    scale = np.sqrt(spread[:, first] * spread[:, second])[..., None]
    given = sizes.sum(axis=1)[:, first][..., None]
    expected = product * inner
    values = {
        "count": (count, "coincidences", "1"),
        "count_se": (np.sqrt(count), "standard error of the coincidences, of independent events", "1"),
        "expected": (expected, "coincidences of independent trains", "1"),
        "low": (_poisson_quantile(0.5 - level / 2, expected), "lower end of their interval", "1"),
        "high": (_poisson_quantile(0.5 + level / 2, expected), "upper end of their interval", "1"),
        "rate": (
            np.divide(count, given * inner * 1e-3 * width, out=np.full(count.shape, np.nan), where=given > 0),
            "rate of the second neuron given a spike of the first", "Hz",
        ),
        "correlation": (
            np.divide(count - product, scale, out=np.full(count.shape, np.nan), where=scale > 0),
            "correlation coefficient of counts", "1",
        ),
    }  # fmt: skip
    if table.trials > 1:
        values["shift_predictor"] = (shifted, "coincidences with the next trial", "1")
    lead = table.kept_dims[:-1]
    names = np.arange(table.neurons) if "neuron" not in table.coords else table.coords["neuron"].to_numpy()
    out = xr.Dataset(
        {
            name: ((*lead, "pair", "lag"), array if lead else array[0], {"units": units, "long_name": text})
            for name, (array, text, units) in values.items()
        },
        coords={
            **table.kept_coords("neuron"),
            "lag": ("lag", 1e-3 * width * lags, {"units": "s", "long_name": "lag of the second neuron"}),
            "neuron_first": ("pair", names[first]),
            "neuron_second": ("pair", names[second]),
        },
        attrs=table.attrs(bin=1e-3 * width, level=level),
    )
    silent = (sizes.sum(axis=1)[:, first] == 0) | (sizes.sum(axis=1)[:, second] == 0)
    out["silent"] = ((*lead, "pair"), silent if lead else silent[0], {"units": "1", "long_name": "one has no spikes"})
    return out


def _poisson_quantile(level: float, mean: Array) -> Array:
    """Return the least counts with a distribution function of `level` or more; `mean` is even in its last axis."""
    half = mean[..., : mean.shape[-1] // 2 + 1]
    z = special.ndtri(level)
    # From the expansion of Cornish and Fisher, a step off at most but for small means.
    guess = np.maximum(np.floor(half + z * np.sqrt(half) + (z**2 - 1) / 6), 0.0)
    while (short := special.pdtr(guess, half) < level).any():
        guess += short
    while (long := (guess > 0) & (special.pdtr(np.maximum(guess - 1, 0), half) >= level)).any():
        guess -= long
    return np.concatenate([guess, guess[..., -2::-1]], axis=-1) if half.shape[-1] > 1 else guess


def covariance_functions(
    trains: Any,
    *,
    bin: Any = None,
    max_lag: Any = _LAG,
    resolution: Resolution = "population",
    blocks: int = BLOCKS,
    duration: Any = None,
    start: Any = None,
    stop: Any = None,
) -> xr.Dataset:
    r"""Estimate auto- and cross-covariance functions of rates.

    :math:`C_{ab}(\tau) = \mathrm{cov}[A_a(t), A_b(t + \tau)]`. With deviations d of the rates in bins from their mean
    over all trials and times, it is the mean of :math:`d_a(t)\, d_b(t + \tau)` over the N - \|k\| times that a trial
    holds at a lag of k bins. At lag 0 the autocovariance includes the spikes themselves: rate over bin (and over the
    number of neurons) for Poisson trains.

    Parameters
    ----------
    trains : DataTree, Dataset, or sequence of array_like
        A result with ``/spikes``; or plain trains, ms.
    bin : float or Quantity, optional
        Length of a bin, ms. Default: the one nearest to 1 ms.
    max_lag : float or Quantity
        Longest lag, ms.
    resolution : {"population", "neuron"}
        Of mean rates of populations, every two; or of every neuron with itself.
    blocks : int
        Pieces of each trial: errors are the spread over all pieces of all trials over the root of their number.
    duration, start, stop : float or Quantity, optional
        As of `cross_correlogram`.

    Returns
    -------
    Dataset
        ``covariance`` and ``covariance_se`` (Hz²), over ([stimulus,] lag, population, population_j) or ([stimulus,]
        lag, neuron); `lag` is in s.

    Raises
    ------
    ValueError
        If a piece is not longer than the longest lag.
    """
    check_choice("resolution", resolution, ("population", "neuron"))
    require_integer("blocks", blocks, 1)
    table = train_table(trains, duration=duration, start=start, stop=stop)
    width = table.bin(bin, 1.0)
    reach = _reach(table, max_lag, width)
    counts, names, sizes = grouped_counts(table, width, resolution)
    rates = np.swapaxes(counts, 2, 3) / (1e-3 * width * np.asarray(sizes)[:, None])  # (stimulus, trial, group, time)
    length = rates.shape[-1] // blocks
    if length <= reach:
        raise ValueError(
            f"a piece of {blocks} holds {length} bins, the longest lag is {reach}: "
            "take fewer `blocks` or a shorter `max_lag`"
        )
    deviation = rates - rates.mean(axis=(1, 3), keepdims=True)
    crossed = resolution == "population"
    value = _products(deviation, reach, crossed).mean(axis=1)
    cut = deviation[..., : length * blocks].reshape(*deviation.shape[:-1], blocks, length)
    cut = np.moveaxis(cut, -2, 2).reshape(deviation.shape[0], -1, deviation.shape[2], length)
    pieces = _products(cut, reach, crossed)
    number = pieces.shape[1]
    se = pieces.std(axis=1, ddof=1) / np.sqrt(number) if number > 1 else np.full(value.shape, np.nan)
    lead = table.kept_dims[:-1]
    last = ("population", "population_j") if crossed else ("neuron",)
    coords: dict[str, Any] = table.kept_coords(*(("neuron",) if crossed else ()))
    if crossed:
        coords |= {"population": names, "population_j": names}
    lags = 1e-3 * width * np.arange(-reach, reach + 1)
    coords["lag"] = ("lag", lags, {"units": "s", "long_name": "lag of the second"})
    note = "" if number > 1 else "one piece: no standard error"
    return xr.Dataset(
        {
            name: ((*lead, "lag", *last), array if lead else array[0], {"units": "Hz^2", "long_name": text})
            for name, array, text in (
                ("covariance", value, "covariance of rates"),
                ("covariance_se", se, "standard error of it"),
            )
        },
        coords=coords,
        attrs=table.attrs(bin=1e-3 * width, blocks=blocks, note=note),
    )


def _products(deviation: Array, reach: int, crossed: bool) -> Array:
    """Return mean products at lags, (stimulus, trial, lag, group, group) or (stimulus, trial, lag, group)."""
    length = deviation.shape[-1]
    size = fft.next_fast_len(length + reach, real=True)
    number = length - np.abs(np.arange(-reach, reach + 1))
    s, r, g, _ = deviation.shape
    out = np.zeros((s, r, 2 * reach + 1, g, g) if crossed else (s, r, 2 * reach + 1, g))
    for a in range(s):
        for b in range(r):
            spectrum = fft.rfft(deviation[a, b], size, axis=-1)
            if crossed:
                for k in range(g):
                    product = fft.irfft(spectrum[k].conj() * spectrum, size, axis=-1)
                    out[a, b, :, k] = (
                        np.concatenate([product[:, -reach:], product[:, : reach + 1]], axis=1).T
                        if (reach)
                        else product[:, :1].T
                    )
            else:
                product = fft.irfft(spectrum.real**2 + spectrum.imag**2, size, axis=-1)[:, : reach + 1]
                out[a, b] = np.concatenate([product[:, :0:-1], product], axis=1).T
    out /= number.reshape((-1, 1, 1) if crossed else (-1, 1))
    return out


def correlation_time(
    trains: Any,
    *,
    bin: Any = None,
    max_lag: Any = 100.0,
    resolution: Resolution = "neuron",
    blocks: int = BLOCKS,
    duration: Any = None,
    start: Any = None,
    stop: Any = None,
) -> xr.Dataset:
    r"""Return the correlation time of spike trains.

    .. math:: \tau = \int_{-\tau_\max}^{\tau_\max} [\hat C(u) / \hat C(0)]^2\, du

    with Ĉ the autocovariance of counts without the peak of the spikes themselves: its value at the first lag stands for
    Ĉ(0), and the integral is that of trapezoids.

    Parameters
    ----------
    trains : DataTree, Dataset, or sequence of array_like
        A result with ``/spikes``; or plain trains, ms.
    bin : float or Quantity, optional
        Length of a bin, ms. Default: the one nearest to 1 ms. Where few spikes lie in neighbouring bins, Ĉ(0) is noise
        and so is the time: lengthen it.
    max_lag : float or Quantity
        :math:`\tau_\max`, ms: longer than the time, but not much, as the square sums up noise.
    resolution : {"population", "neuron"}
        Of the summed spikes of populations, or of every neuron.
    blocks : int
        Pieces of each trial for the error (delete-one jackknife over all pieces).
    duration, start, stop : float or Quantity, optional
        As of `cross_correlogram`.

    Returns
    -------
    Dataset
        Over ([stimulus,] neuron) or population: ``correlation_time`` and ``correlation_time_se`` (s), and
        ``undefined``, true where there are fewer than 2 spikes or Ĉ(0) is 0.

    References
    ----------
    Wieland, S., Bernardi, D., Schwalger, T., Lindner, B. (2015). Slow fluctuations in recurrent networks of spiking
    neurons. *Phys. Rev. E* 92, 040901, Eq. 6.
    """
    check_choice("resolution", resolution, ("population", "neuron"))
    require_integer("blocks", blocks, 1)
    table = train_table(trains, duration=duration, start=start, stop=stop)
    width = table.bin(bin, 1.0)
    reach = _reach(table, max_lag, width)
    if reach < 2:
        raise ValueError(f"`max_lag` must be two bins of {width:g} ms or more, got {reach}")
    value, few = _times(*_summed_autocorrelations(table, width, reach, resolution), width)
    cut = table.cut(blocks)
    number = cut.trials
    if number > 1 and cut.duration > (reach + 1) * width:
        covariance, spikes = _summed_autocorrelations(cut, width, reach, resolution, split=True)
        left = [
            _times(covariance.sum(axis=1) - covariance[:, k], spikes.sum(axis=1) - spikes[:, k], width)[0]
            for k in range(number)
        ]
        se = np.sqrt((number - 1) * np.var(left, axis=0))
        note = ""
    else:
        se, note = np.full(value.shape, np.nan), "pieces are no longer than the longest lag: no standard error"
    lead = table.kept_dims[:-1]
    last = "neuron" if resolution == "neuron" else "population"
    coords: dict[str, Any] = table.kept_coords(*(() if resolution == "neuron" else ("neuron",)))
    if resolution == "population":
        coords["population"] = groups(table, resolution)[0]
    texts = {"correlation_time": "correlation time", "correlation_time_se": "standard error of it"}
    out = xr.Dataset(
        {
            name: ((*lead, last), 1e-3 * (array if lead else array[0]), {"units": "s", "long_name": text})
            for (name, text), array in zip(texts.items(), (value, se), strict=True)
        },
        coords=coords,
        attrs=table.attrs(bin=1e-3 * width, max_lag=1e-3 * reach * width, note=note),
    )
    out["undefined"] = (
        (*lead, last), few if lead else few[0], {"units": "1", "long_name": "fewer than 2 spikes, or no covariance"}
    )  # fmt: skip
    return out


def _summed_autocorrelations(
    table: TrainTable, bin: float, reach: int, resolution: Resolution, *, split: bool = False
) -> tuple[Array, Array]:
    """Return autocovariances at lags 1 to `reach`, summed over trials or apart, (stimulus, [trial,] group, lag)."""
    place, begin, number = table.places(bin)
    runs = table.stimuli * table.trials
    if resolution == "population":
        names, _, _, _ = groups(table, resolution)
        index = np.array([names.index(name) for name in table.coords["population"].to_numpy()], dtype=np.int64)
        target = np.repeat((np.arange(runs)[:, None] * len(names) + index).ravel(), np.diff(begin))
        order = np.lexsort((place, target))
        place, count = place[order], len(names)
        begin = np.concatenate([[0], np.cumsum(np.bincount(target, minlength=runs * count))])
    else:
        count = table.neurons
    every = np.arange(runs * count)
    found = np.concatenate(
        [
            correlograms(place, begin, part, part, reach)[:, reach + 1 :]
            for part in np.array_split(every, len(every) // 4096 + 1)
        ]
    )
    spikes = np.diff(begin).astype(np.float64)
    covariance = (found - spikes[:, None] ** 2 / number).reshape(table.stimuli, table.trials, count, reach)
    spikes = spikes.reshape(table.stimuli, table.trials, count)
    return (covariance, spikes) if split else (covariance.sum(axis=1), spikes.sum(axis=1))


def _times(covariance: Array, spikes: Array, bin: float) -> tuple[Array, npt.NDArray[np.bool_]]:
    few = (spikes < 2) | (covariance[..., 0] == 0)
    scaled = covariance / np.where(few, 1.0, covariance[..., 0])[..., None]
    time = 2 * bin * np.trapezoid(scaled**2, axis=-1)
    return np.where(few, np.nan, time), few


def spike_time_tiling(
    trains: Any,
    window: Any = 5.0,
    *,
    blocks: int = BLOCKS,
    duration: Any = None,
    start: Any = None,
    stop: Any = None,
) -> xr.Dataset:
    r"""Return the spike time tiling coefficient of every two neurons.

    .. math:: \tfrac12 \left(\frac{P_A - T_B}{1 - P_A T_B} + \frac{P_B - T_A}{1 - P_B T_A}\right)

    with T the part of the record within a window of a train's spikes, and P the part of a train's spikes within a
    window of the other's. Unlike the correlation coefficient it does not depend on rates. A term 0/0 is 1. Spikes and
    time are summed over trials.

    Parameters
    ----------
    trains : DataTree, Dataset, or sequence of array_like
        A result with ``/spikes``; or plain trains, ms.
    window : float or Quantity
        Δt, ms: windows reach so far to both sides.
    blocks : int
        Pieces of each trial for the error (delete-one jackknife over all pieces); 0: none.
    duration, start, stop : float or Quantity, optional
        As of `cross_correlogram`.

    Returns
    -------
    Dataset
        ``tiling`` and ``tiling_se`` over ([stimulus,] neuron, neuron_j), and ``spike_count`` over ([stimulus,]
        neuron): pairs with a neuron without spikes are NaN, and the attribute `undefined_pairs` counts them.

    References
    ----------
    Cutts, C. S., Eglen, S. J. (2014). Detecting pairwise correlations in spike trains: an objective comparison of
    methods and application to the study of retinal waves. *J. Neurosci.* 34, 14288-14303.
    """
    table = train_table(trains, duration=duration, start=start, stop=stop)
    reach = single_time(window, "window")
    if not 0 < reach <= table.duration:
        raise ValueError(
            f"`window` must be a time > 0 ms and within the record, {table.duration:g} ms, got {reach:g} ms"
        )
    require_integer("blocks", blocks, 0)
    n = table.neurons
    first, second = np.triu_indices(n)
    require_memory(8.0 * 6 * len(first) * table.stimuli, f"pairs of {n} neurons", "Take fewer neurons.")
    value = _tiling([part.sum(axis=1) for part in _tiling_parts(table, first, second, reach)], first, second)
    se = np.full(value.shape, np.nan)
    cut = table.cut(blocks) if blocks else table
    if blocks and cut.trials > 1:
        # Sums over pieces: sum and square of the values without each one, in two passes over the pieces.
        whole = [part.sum(axis=1) for part in _tiling_parts(cut, first, second, reach)]
        mean, square = np.zeros(value.shape), np.zeros(value.shape)
        for k in range(cut.trials):
            one = _tiling_parts(cut, first, second, reach, trial=k)
            left = _tiling([w - p[:, 0] for w, p in zip(whole, one, strict=True)], first, second)
            off = left - value
            mean += off
            square += off**2
        spread = np.maximum(square / cut.trials - (mean / cut.trials) ** 2, 0.0)
        se = np.sqrt((cut.trials - 1) * spread)
    lead = table.kept_dims[:-1]
    number = table.sizes.reshape(table.stimuli, table.trials, n).sum(axis=1)
    data: dict[str, Any] = {}
    for name, array, text in (
        ("tiling", value, "spike time tiling coefficient"),
        ("tiling_se", se, "standard error of it"),
    ):
        matrix = np.empty((table.stimuli, n, n))
        matrix[:, first, second] = array
        matrix[:, second, first] = array
        data[name] = ((*lead, "neuron", "neuron_j"), matrix if lead else matrix[0], {"units": "1", "long_name": text})
    data["spike_count"] = (
        (*lead, "neuron"), number if lead else number[0], {"units": "1", "long_name": "number of spikes, all trials"}
    )  # fmt: skip
    undefined = int(np.isnan(value[:, first < second]).sum())
    return xr.Dataset(
        data,
        coords=table.pair_coords(),
        attrs=table.attrs(window=1e-3 * reach, undefined_pairs=undefined, blocks=blocks),
    )


def _tiling_parts(
    table: TrainTable, first: Integers, second: Integers, window: float, *, trial: int | None = None
) -> tuple[Array, Array, Array, Array]:
    """Return tiled spikes (stimulus, trial, pair, 2), spikes and tiled time (…, neuron), and time (…, 1)."""
    trials = range(table.trials) if trial is None else [trial]
    n = table.neurons
    shape = (table.stimuli, len(trials))
    tiled = np.zeros((*shape, len(first), 2))
    for s in range(table.stimuli):
        for k, r in enumerate(trials):
            offset = (s * table.trials + r) * n
            tiled[s, k] = tiled_spikes(table.times, table.start, offset + first, offset + second, window)
    sizes = np.diff(table.start)
    owner = owners(table.start)
    covered = np.zeros(len(sizes))
    if len(owner):
        same = owner[1:] == owner[:-1]
        covered += np.bincount(owner[1:][same], np.minimum(np.diff(table.times)[same], 2 * window), len(sizes))
        full = sizes > 0
        at = table.start[:-1][full], table.start[1:][full] - 1
        covered[full] += np.minimum(table.times[at[0]] - table.begin, window)
        covered[full] += np.minimum(table.end - table.times[at[1]], window)
    chosen = np.asarray(trials)
    per_train = [x.reshape(table.stimuli, table.trials, n)[:, chosen] for x in (sizes.astype(np.float64), covered)]
    return tiled, per_train[0], per_train[1], np.full((*shape, 1), table.duration)


def _tiling(parts: list[Array], first: Integers, second: Integers) -> Array:
    """Return coefficients (stimulus, pair) of summed parts."""
    tiled, number, covered, time = parts
    share = covered / time
    sides = []
    for side, own, other in ((0, first, second), (1, second, first)):
        n = number[:, own]
        p = np.divide(tiled[..., side], n, out=np.full(n.shape, np.nan), where=n > 0)
        t = np.where(number[:, other] > 0, share[:, other], np.nan)
        rest = 1 - p * t
        sides.append(np.divide(p - t, rest, out=np.where(np.isnan(rest), np.nan, 1.0), where=np.abs(rest) > 0))
    found: Array = 0.5 * (sides[0] + sides[1])
    return found


def _pairs(pairs: Any, neurons: int) -> tuple[Integers, Integers]:
    if pairs is None:
        return np.triu_indices(neurons, 1)
    table = np.asarray(pairs)
    if table.ndim == 1 and table.shape == (2,):
        table = table[None]
    if table.ndim != 2 or table.shape[1] != 2 or table.dtype.kind not in "iu":
        raise ValueError(
            f"`pairs` must be places of neurons of shape (pair, 2), got {table.dtype} of shape {table.shape}"
        )
    if table.size and not (table.min() >= 0 and table.max() < neurons):
        raise ValueError(f"`pairs` must name places of the {neurons} neurons, got {table.min()} to {table.max()}")
    return table[:, 0].astype(np.int64), table[:, 1].astype(np.int64)


def _reach(table: TrainTable, max_lag: Any, bin: float) -> int:
    longest = single_time(max_lag, "max_lag")
    reach = int(np.floor(longest / bin + 1e-6))
    if not (longest >= 0 and reach * bin < table.duration):
        raise ValueError(
            f"`max_lag` must be a time ≥ 0 ms and shorter than the record, {table.duration:g} ms, got {longest:g} ms"
        )
    return reach


def _squares(place: Integers, start: Integers, number: int) -> Array:
    """Return the sum of squared counts of each train."""
    owner = owners(start)
    same = (owner[1:] == owner[:-1]) & (place[1:] == place[:-1])
    # A run of n equal bins adds n² = n + 2 (1 + … + n - 1).
    repeat = np.concatenate([[False], same])
    fresh = np.flatnonzero(~repeat)
    if not len(place):
        return np.zeros(len(start) - 1)
    depth = np.arange(len(place)) - np.repeat(fresh, np.diff(np.append(fresh, len(place))))
    found: Array = np.bincount(owner, 1.0 + 2.0 * depth, len(start) - 1).astype(np.float64)
    return found
