"""Loops over spikes and pairs of trains: compiled where there is a C++ compiler, else the same by NumPy.

Trains lie in one flat array `times`, ascending within a train; `start`, shape (train + 1,), holds the place of the
first spike of each and the end. Pairs are two arrays of trains. Both ways give the same numbers up to rounding; the
compiled one is some ten to a hundred times faster for pairs.
"""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mnnbio.machine import LibrarySource, load_library

Array = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

SOURCE = Path(__file__).with_name("spike_loops.cpp")
FLAGS = ("-std=c++17", "-O3", "-shared", "-fPIC", "-fno-math-errno", "-fno-trapping-math")
_SEGMENT = 64.0  # time constants; e⁶⁴ is far from the largest number
_WIDTH = 15  # columns of `interval_moments`


class IntervalMoments(NamedTuple):
    """Sums over the interspike intervals of each unit, shape (unit,); local measures over pairs of neighbours."""

    number: Array
    mean: Array
    """ms."""
    second: Array
    """Sum of squared deviations from the mean, ms²; `third` and `fourth` of higher powers."""
    third: Array
    fourth: Array
    pairs: Array
    """Number of pairs of neighbouring intervals."""
    local: Array
    """Means of CV2, LV and LvR, shape (3, unit)."""
    squares: Array
    """Sums of their squared deviations, shape (3, unit)."""
    products: Array
    """Sums of products of deviations of pairs that share an interval, shape (3, unit)."""


@cache
def library() -> ctypes.CDLL | None:
    """Return the compiled loops, or None where there is no compiler."""
    found, _ = load_library(LibrarySource("spikes", "the compiled loops over spikes", SOURCE, FLAGS))
    if found is not None:
        size, number, pointer = ctypes.c_int64, ctypes.c_double, ctypes.c_void_p
        signatures = {
            "interval_moments": [size, size, pointer, pointer, pointer, number, pointer],
            "counts_between": [size, size, *[pointer] * 4],
            "count_products": [size, size, size, *[pointer] * 4],
            "stamp": [size, size, size, *[pointer] * 5],
            "correlograms": [size, *[pointer] * 4, size, pointer],
            "tiled_spikes": [size, *[pointer] * 4, number, pointer],
            "exponential_products": [size, *[pointer] * 6, number, pointer, pointer],
            "exponential_matrix": [size, size, *[pointer] * 4, number, pointer],
            "least_costs": [size, *[pointer] * 4, number, pointer],
            "kreuz_distances": [size, *[pointer] * 4, number, number, pointer],
            "shuffle_rows": [size, *[pointer] * 3],
            "sort_rows": [size, *[pointer] * 2],
            "lempel_ziv": [size, size, *[pointer] * 2],
        }
        for name, types in signatures.items():
            function = getattr(found, name)
            function.argtypes, function.restype = types, None
    return found


def _call(name: str, *arguments: Any) -> None:
    """Call a compiled loop; arrays are passed by their address, and must be contiguous."""
    passed = [a.ctypes.data if isinstance(a, np.ndarray) else a for a in arguments]
    getattr(library(), name)(*passed)


def _floats(values: npt.ArrayLike) -> Array:
    return np.ascontiguousarray(values, dtype=np.float64)


def _integers(values: npt.ArrayLike) -> Integers:
    return np.ascontiguousarray(values, dtype=np.int64)


def owners(start: Integers) -> Integers:
    """Return the train of each spike."""
    return np.repeat(np.arange(len(start) - 1), np.diff(start))


def interval_moments(times: Array, start: Integers, unit: Integers, units: int, refractory: float) -> IntervalMoments:
    """Return sums over the intervals of trains, pooled over the trains of one unit.

    Parameters
    ----------
    times, start : ndarray
        Trains, ms.
    unit : ndarray of int, shape (train,)
        Unit of each train.
    units : int
        Number of units.
    refractory : float
        R of LvR, ms.
    """
    if library() is not None:
        out = np.zeros((units, _WIDTH))
        _call(
            "interval_moments",
            len(start) - 1,
            units,
            _floats(times),
            _integers(start),
            _integers(unit),
            refractory,
            out,
        )
    else:
        out = _moments_by_numpy(times, start, unit, units, refractory)
    local, squares, products = (out[:, 6 + k :: 3].T for k in range(3))
    number, mean, second, third, fourth, pairs = out[:, :6].T
    return IntervalMoments(number, mean, second, third, fourth, pairs, local, squares, products)


def _moments_by_numpy(times: Array, start: Integers, unit: Integers, units: int, refractory: float) -> Array:
    row = owners(start)
    differences = np.diff(times)
    same = row[1:] == row[:-1]
    interval, owner = differences[same], unit[row[1:][same]]
    paired = same[1:] & same[:-1]
    earlier, later, pair_owner = differences[:-1][paired], differences[1:][paired], unit[row[2:][paired]]
    follows = np.diff(np.flatnonzero(paired)) == 1
    total = earlier + later
    # Two intervals of zero are equal: spikes of one time from a recording with coarse steps.
    inverse = np.divide(1, total, out=np.zeros(len(total)), where=total > 0)
    contrast = (later - earlier) * inverse
    number = np.bincount(owner, minlength=units)
    pairs = np.bincount(pair_owner, minlength=units)

    def mean(values: Array, whose: Integers, n: Integers) -> Array:
        return np.bincount(whose, values, units) / np.maximum(n, 1)

    average = mean(interval, owner, number)
    deviation = interval - average[owner]
    columns = [number, average, *(np.bincount(owner, deviation**k, units) for k in (2, 3, 4)), pairs]
    for values in (2 * np.abs(contrast), 3 * contrast**2, 3 * contrast**2 * (1 + 4 * refractory * inverse)):
        own = mean(values, pair_owner, pairs)
        d = values - own[pair_owner]
        shared = np.where(follows, d[1:] * d[:-1], 0.0)
        columns += [own, np.bincount(pair_owner, d**2, units), np.bincount(pair_owner[1:], shared, units)]
    return np.stack([np.asarray(column, dtype=np.float64) for column in columns], axis=1)


def counts_between(times: Array, start: Integers, edges: Array) -> Array:
    """Return the number of spikes of each train from each edge to before the next, shape (train, len(edges) - 1)."""
    parts = len(edges) - 1
    if library() is not None:
        out = np.zeros((len(start) - 1, parts))
        _call("counts_between", len(start) - 1, parts, _floats(times), _integers(start), _floats(edges), out)
        return out
    place = np.searchsorted(edges, times, "right") - 1
    inside = (place >= 0) & (place < parts)
    flat = np.bincount(owners(start)[inside] * parts + place[inside], minlength=(len(start) - 1) * parts)
    return flat.reshape(-1, parts).astype(np.float64)


def count_products(place: Integers, start: Integers, neuron: Integers, neurons: int, bins: int) -> Array:
    """Return sums over bins of the products of counts of every two neurons, shape (neuron, neuron).

    Parameters
    ----------
    place : ndarray of int, shape (spike,)
        Bin of each spike, of 0 to `bins`.
    start : ndarray of int
        As of trains.
    neuron : ndarray of int, shape (train,)
        Neuron of each train, which rises within the trains of one trial.
    neurons, bins : int
        Their numbers.
    """
    if library() is not None:
        out = np.zeros((neurons, neurons))
        _call(
            "count_products", len(start) - 1, neurons, bins, _integers(place), _integers(start), _integers(neuron), out
        )
        # Trains of later trials have bins of their own, so that a bin lists its neurons in order.
        return np.triu(out) + np.triu(out, 1).T
    from scipy import sparse

    row = neuron[owners(start)]
    table = sparse.csr_matrix((np.ones(len(row)), (row, place)), shape=(neurons, bins))
    found: Array = (table @ table.T).toarray()
    return found


def stamp(place: Integers, start: Integers, target: Integers, rows: int, bins: int, kernel: Array) -> Array:
    """Return the sums of kernels around the bins of spikes, shape (row, bin).

    Parameters
    ----------
    place, start : ndarray of int
        Bin of each spike, and the trains.
    target : ndarray of int, shape (train,)
        Row to which each train adds.
    rows, bins : int
        Shape of the result.
    kernel : ndarray
        An odd number of values, the middle one for a spike's own bin.
    """
    out = np.zeros((rows, bins))
    half = len(kernel) // 2
    if library() is not None:
        _call(
            "stamp",
            len(start) - 1,
            bins,
            half,
            _integers(place),
            _integers(start),
            _integers(target),
            _floats(kernel),
            out,
        )
        return out
    row = target[owners(start)]
    counts = np.bincount(row * bins + place, minlength=rows * bins).reshape(rows, bins)
    for k, value in enumerate(kernel):
        shift = k - half
        if abs(shift) >= bins:
            continue
        if shift >= 0:
            out[:, shift:] += value * counts[:, : bins - shift]
        else:
            out[:, :shift] += value * counts[:, -shift:]
    return out


def correlograms(place: Integers, start: Integers, first: Integers, second: Integers, reach: int) -> Array:
    """Return numbers of coincidences of pairs at lags of -`reach` to `reach` bins, shape (pair, lag).

    A lag is the bin of a spike of the second train minus that of one of the first.
    """
    out = np.zeros((len(first), 2 * reach + 1))
    if library() is not None:
        _call(
            "correlograms",
            len(first),
            _integers(first),
            _integers(second),
            _integers(place),
            _integers(start),
            reach,
            out,
        )
        return out
    for p, (i, j) in enumerate(zip(first, second, strict=True)):
        own, other = place[start[i] : start[i + 1]], place[start[j] : start[j + 1]]
        low, high = np.searchsorted(other, own - reach, "left"), np.searchsorted(other, own + reach, "right")
        number = high - low
        begin = np.repeat(low - np.concatenate([[0], np.cumsum(number)[:-1]]), number)
        lags = other[begin + np.arange(number.sum())] - np.repeat(own, number) + reach
        out[p] = np.bincount(lags, minlength=2 * reach + 1)
    return out


def tiled_spikes(times: Array, start: Integers, first: Integers, second: Integers, window: float) -> Array:
    """Return how many spikes of each train of a pair lie within `window` of any spike of the other, (pair, 2)."""
    out = np.zeros((len(first), 2))
    if library() is not None:
        _call(
            "tiled_spikes",
            len(first),
            _integers(first),
            _integers(second),
            _floats(times),
            _integers(start),
            window,
            out,
        )
        return out
    for p, pair in enumerate(zip(first, second, strict=True)):
        sides = [times[start[k] : start[k + 1]] for k in pair]
        for side in range(2):
            own, other = sides[side], np.concatenate([[-np.inf], sides[1 - side], [np.inf]])
            after = np.searchsorted(other, own)
            near = (own - other[after - 1] <= window) | (other[after] - own <= window)
            out[p, side] = near.sum()
    return out


def exponential_products(times: Array, start: Integers, first: Integers, second: Integers, tau: float) -> Array:
    r"""Return :math:`\sum_{kl} e^{-|t_k - t_l|/\tau}` over all spikes k, l of each pair, shape (pair,)."""
    out = np.zeros(len(first))
    origin = float(times.min()) if len(times) else 0.0
    if library() is not None:
        segment = np.floor((times - origin) / (_SEGMENT * tau))
        grow = np.exp((times - origin) / tau - _SEGMENT * segment)
        _call(
            "exponential_products", len(first), _integers(first), _integers(second), _floats(times), grow, 1 / grow,
            _integers(segment), float(np.exp(-_SEGMENT)), _integers(start), out,
        )  # fmt: skip
        return out
    for p, (i, j) in enumerate(zip(first, second, strict=True)):
        own, other = times[start[i] : start[i + 1]], times[start[j] : start[j + 1]]
        out[p] = np.exp(-np.abs(own[:, None] - other) / tau).sum()
    return out


def exponential_matrix(times: Array, start: Integers, tau: float) -> Array:
    """Return the sums of `exponential_products` of every two trains, shape (train, train)."""
    trains = len(start) - 1
    if library() is None:
        first, second = np.triu_indices(trains)
        whole = np.zeros((trains, trains))
        whole[first, second] = whole[second, first] = exponential_products(times, start, first, second, tau)
        return whole
    order = np.argsort(times, kind="stable")
    ordered = times[order]
    origin = float(ordered[0]) if len(ordered) else 0.0
    segment = np.floor((ordered - origin) / (_SEGMENT * tau))
    grow = np.exp((ordered - origin) / tau - _SEGMENT * segment)
    out = np.zeros((trains, trains))
    _call(
        "exponential_matrix", trains, len(ordered), _integers(owners(start)[order]), grow, 1 / grow, _integers(segment),
        float(np.exp(-_SEGMENT)), out,
    )  # fmt: skip
    out += out.T.copy()
    out[np.diag_indices(trains)] += np.diff(start)  # each spike with itself
    return out


def least_costs(times: Array, start: Integers, first: Integers, second: Integers, cost: float) -> Array:
    r"""Return the least cost of turning the first train of each pair into the second, shape (pair,).

    A spike added or removed costs 1, one moved by Δt `cost` times \|Δt\|; `cost` > 0, 1/ms.
    """
    out = np.zeros(len(first))
    if library() is not None:
        _call(
            "least_costs", len(first), _integers(first), _integers(second), _floats(times), _integers(start), cost, out
        )
        return out
    for p, (i, j) in enumerate(zip(first, second, strict=True)):
        own, other = times[start[i] : start[i + 1]], times[start[j] : start[j + 1]]
        ladder = np.arange(len(other) + 1.0)
        row = ladder.copy()
        for time in own:
            best = np.minimum(row[1:] + 1, row[:-1] + cost * np.abs(time - other))
            # The step to the right is a running minimum once a row's own slope of 1 is taken off.
            row = np.minimum.accumulate(np.concatenate([[row[0] + 1], best]) - ladder) + ladder
        out[p] = row[-1]
    return out


def kreuz_distances(
    times: Array, start: Integers, first: Integers, second: Integers, begin: float, end: float
) -> tuple[Array, Array]:
    """Return the ISI-distance and the SPIKE-distance of pairs over a recording, each of shape (pair,)."""
    out = np.zeros((len(first), 2))
    if library() is not None:
        _call(
            "kreuz_distances", len(first), _integers(first), _integers(second), _floats(times), _integers(start), begin,
            end, out,
        )  # fmt: skip
    else:
        for p, (i, j) in enumerate(zip(first, second, strict=True)):
            sides = [times[start[k] : start[k + 1]] for k in (i, j)]
            own, other = (side if len(side) else np.array([begin, end]) for side in sides)
            out[p] = _kreuz_by_numpy(own, other, begin, end)
    return out[:, 0], out[:, 1]


def _kreuz_by_numpy(x: Array, y: Array, begin: float, end: float) -> tuple[float, float]:
    edges = np.unique(np.concatenate([[begin], x, y, [end]]))
    edges = edges[(edges >= begin) & (edges <= end)]
    low, high = edges[:-1], edges[1:]
    length = high - low
    found = [_intervals_and_profile(one, other, low, high, begin, end) for one, other in ((x, y), (y, x))]
    (a, x_low, x_high), (b, y_low, y_high) = found
    isi = (length * np.abs(a - b) / np.maximum(a, b)).sum()
    spike = (length * (x_low * b + y_low * a + x_high * b + y_high * a) / (a + b) ** 2).sum()
    return float(isi / (end - begin)), float(spike / (end - begin))


def _intervals_and_profile(
    x: Array, y: Array, low: Array, high: Array, begin: float, end: float
) -> tuple[Array, Array, Array]:
    """Return of each piece of time the interval of x around it, and the dissimilarity of x at its two ends."""

    def ends(train: Array) -> tuple[float, float]:
        if len(train) == 1:
            return begin, end
        return min(begin, 2 * train[0] - train[1]), max(end, 2 * train[-1] - train[-2])

    before, after = ends(y)
    known = np.concatenate([[before], y, [after]])
    distance = np.abs(x[:, None] - known).min(axis=1)
    inner = np.diff(x)
    first = max(x[0] - begin, inner[0]) if len(inner) else x[0] - begin
    last = max(end - x[-1], inner[-1]) if len(inner) else end - x[-1]
    intervals = np.concatenate([[first], inner, [last]])
    passed = np.searchsorted(x, low, "right")
    inside = (passed > 0) & (passed < len(x))
    left, right = np.clip(passed - 1, 0, len(x) - 1), np.clip(passed, 0, len(x) - 1)
    outside = distance[np.where(passed == 0, 0, len(x) - 1)]
    width = np.where(inside, x[right] - x[left], 1.0)
    at = [
        np.where(inside, (distance[left] * (x[right] - time) + distance[right] * (time - x[left])) / width, outside)
        for time in (low, high)
    ]
    return intervals[passed], at[0], at[1]


def shuffle_rows(values: Array, start: Integers, uniform: Array) -> Array:
    """Return the values of each row in random order, driven by one uniform number of [0, 1) a value."""
    out = np.array(values, dtype=np.float64)
    if library() is not None:
        _call("shuffle_rows", len(start) - 1, _integers(start), _floats(uniform), out)
        return out
    size = np.diff(start)
    for k in range(int(size.max(initial=0)) - 1, 0, -1):
        rows = start[:-1][size > k]
        chosen = rows + (uniform[rows + k] * (k + 1)).astype(np.int64)
        out[rows + k], out[chosen] = out[chosen], out[rows + k]
    return out


def sort_rows(values: Array, start: Integers) -> Array:
    """Return the values of each row in ascending order; fast for rows that are nearly so."""
    out = np.array(values, dtype=np.float64)
    if library() is not None:
        _call("sort_rows", len(start) - 1, _integers(start), out)
        return out
    ordered: Array = out[np.lexsort((out, owners(start)))]
    return ordered


def lempel_ziv_words(bits: npt.NDArray[np.uint8]) -> Array:
    """Return the number of words of the exhaustive history of Lempel and Ziv of each row of zeros and ones."""
    rows = np.ascontiguousarray(bits, dtype=np.uint8)
    out = np.zeros(len(rows))
    if library() is not None:
        _call("lempel_ziv", len(rows), rows.shape[1], rows, out)
        return out
    for r, row in enumerate(rows):
        text = row.tobytes()
        begin = 0
        while begin < len(text):
            end, found = begin + 1, 0
            # A longer word appears no earlier than a shorter one.
            while end <= len(text) and (found := text.find(text[begin:end], found, end - 1)) >= 0:
                end += 1
            out[r] += 1
            begin = end
    return out
