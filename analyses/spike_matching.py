"""Pairing of the spikes of two trains within a window, and the scores and chance levels that follow from it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr

from mnnbio.analyses.paired_trains import (
    Array,
    Integers,
    SpikeTrains,
    both_trains,
    checked_window,
    paired_trains,
    recording_length,
)
from mnnbio.machine import require_integer, require_memory

_WINDOW = 4.0  # ms
_MUCH = 3e8  # bytes
_ROUNDING = 1e-11  # of the largest time: times that are sums of steps miss a window's edge by less


class SpikePairs(NamedTuple):
    """Pairs of own and target spikes of the same neuron; places are in the flat arrays of all trains."""

    own_partner: Integers
    """Shape (own spike,): the place of its target spike, -1 without one."""
    target_partner: Integers
    """Shape (target spike,): the place of its own spike, -1 without one."""

    @property
    def own_matched(self) -> npt.NDArray[np.bool_]:
        """Own spikes that have a target spike, shape (own spike,)."""
        return self.own_partner >= 0

    @property
    def target_matched(self) -> npt.NDArray[np.bool_]:
        """Target spikes that have an own spike, shape (target spike,)."""
        return self.target_partner >= 0


def match_spikes(own: Any, target: Any, window: Any) -> SpikePairs:
    """Pair own and target spikes that are at most a window apart, as many as can be.

    Both trains are walked through once: the earlier of two spikes that are too far apart can have no partner any more,
    and two that are close enough are paired. This leaves no larger set of pairs, in O(n + m).

    Parameters
    ----------
    own, target : SpikeTrains, array_like or sequence of array_like
        Times of one neuron; or one array for each neuron, or trains with counts. Each train ascends; spikes of one time
        count as several.
    window : float or Quantity
        Largest distance of a pair, ms (or steps, if times are steps).

    Raises
    ------
    ValueError
        If trains are unsorted, not finite or of different numbers of neurons, or the window is negative or NaN.

    Examples
    --------
    >>> match_spikes([3.0, 10.0, 30.0], [11.0, 13.0], 4.0).own_partner
    array([-1,  0, -1])
    """
    mine, theirs = both_trains(own, target)
    return _most_pairs(mine, theirs, checked_window(window))


def match_spikes_least_shift(own: Any, target: Any, window: Any) -> SpikePairs:
    r"""Pair own and target spikes at the least total cost: the shifts of pairs, and w + 1 for every spike left over.

    The cost is :math:`\sum_\mathrm{pairs} |\Delta t| + (w + 1)(n_\mathrm{own} + n_\mathrm{target} - 2n_\mathrm{pairs})`
    with pairs at most w apart, in the unit of the times, and is found by dynamic programming. Two spikes within a
    window are cheaper as a pair than left over, yet a long chain of shifts is not: there may be fewer pairs than
    `match_spikes` finds. Of equal costs, the pairing with the latest pairs is returned.

    Parameters
    ----------
    own, target : SpikeTrains, array_like or sequence of array_like
        As of `match_spikes`.
    window : float or Quantity
        Largest distance w of a pair, ms (or steps, if times are steps).

    Raises
    ------
    ValueError
        As of `match_spikes`.
    NotEnoughMemory
        If thousands of spikes follow each other within a window.

    References
    ----------
    Bagley, B. A., Bordelon, B., Moseley, B., Wessel, R. (2020). Pre-synaptic pool modification (PSPM): a supervised
    learning procedure for recurrent spiking neural networks. *PLOS ONE* 15, e0229083, Methods.
    """
    mine, theirs = both_trains(own, target)
    length = checked_window(window)
    return least_cost_pairs(mine, theirs, window=length, unmatched=length + 1)


def least_cost_pairs(own: SpikeTrains, target: SpikeTrains, *, window: float, unmatched: float) -> SpikePairs:
    """Pair spikes at the least sum of the shifts of pairs and of `unmatched` for each spike left over.

    Trains fall apart where neither has a spike for longer than a window: clusters of spikes are solved on their own,
    those of similar size together.

    Parameters
    ----------
    own, target : SpikeTrains
        Checked trains of the same neurons.
    window : float
        Largest shift of a pair, in the unit of the times.
    unmatched : float
        Cost of a spike without partner, in that unit.
    """
    pairs = SpikePairs(np.full(len(own.times), -1), np.full(len(target.times), -1))
    if not len(own.times) or not len(target.times):
        return pairs
    reach = window + _rounding(own, target, window)
    (own_start, n), (target_start, m) = _clusters(own, target, reach)
    level = np.ceil(np.log2(np.maximum(n, m))).astype(int)
    for size in np.unique(level):
        chosen = np.flatnonzero(level == size)
        # A table of costs for each cluster: few at a time where they are large.
        for some in np.array_split(chosen, min(len(chosen), 1 + int(len(chosen) * 4.0**size / 2e6))):
            _align(
                own.times, target.times, own_start[some], n[some], target_start[some], m[some], reach, unmatched, pairs
            )
    return pairs


def spike_match(own: Any, target: Any, window: Any = _WINDOW) -> xr.Dataset:
    """Score spike trains against target trains by the spikes that match within a window.

    Spikes are paired by `match_spikes`. Precision is the part of own spikes that have a target spike, recall the part
    of target spikes that have an own one, and F their harmonic mean, twice the pairs over all spikes. A score says
    little without its chance level (`chance_match`).

    Parameters
    ----------
    own, target : DataTree, Dataset, SpikeTrains, array_like or sequence of array_like
        Results with ``/spikes`` of the same stimuli, trials and neurons, whose trials are pooled and warm-up is left
        out; or one array of times for each neuron, ms.
    window : float or Quantity
        Largest distance of a pair, ms.

    Returns
    -------
    Dataset
        Over ([stimulus,] neuron): `pairs`, `own_spikes`, `target_spikes`, `precision`, `recall`, `f_score`, `shift`
        (mean distance of pairs, own minus target, ms) and `note`, which says of every score that is NaN why: "no own
        spikes", "no target spikes" or "no spikes"; "no pairs" has scores of 0 and a NaN shift. In total over all
        neurons: `total_precision`, `total_recall`, `total_f_score`. Attributes: `window` (s), and the numbers of
        `own_duplicates` and `target_duplicates`, spikes of one train at one time.

    Raises
    ------
    ValueError
        If neither side has a spike, the two sides differ in neurons, trials, stimuli or duration, trains are unsorted,
        or the window is negative or NaN.

    Examples
    --------
    >>> float(spike_match([[3.0, 10.0], [20.0]], [[11.0], [21.0, 40.0]]).total_f_score)
    0.6666666666666666
    """
    both = paired_trains(own, target)
    length = checked_window(window)
    if not len(both.own.times) and not len(both.target.times):
        raise ValueError("a match needs spikes, neither `own` nor `target` has any after the warm-up")
    pairs = _most_pairs(both.own, both.target, length)
    matched = pairs.own_matched
    owner = both.own.owner[matched]
    trains = len(both.own.counts)
    distance = both.own.times[matched] - both.target.times[pairs.own_partner[matched]]
    k = both.over_trials(np.bincount(owner, minlength=trains))
    n, m = both.over_trials(both.own.counts), both.over_trials(both.target.counts)
    table = {
        "pairs": (k, "number of pairs", "1"),
        "own_spikes": (n, "number of own spikes", "1"),
        "target_spikes": (m, "number of target spikes", "1"),
        "precision": (_ratio(k, n), "part of own spikes that match", "1"),
        "recall": (_ratio(k, m), "part of target spikes that match", "1"),
        "f_score": (_ratio(2 * k, n + m), "harmonic mean of precision and recall", "1"),
        "shift": (_ratio(both.over_trials(np.bincount(owner, distance, trains)), k), "mean shift of pairs", "ms"),
        "note": (_notes(n, m, k), "why a score is not defined", ""),
    }
    out = xr.Dataset(
        {
            name: (both.kept_dims, values, {"long_name": text, "units": units} if units else {"long_name": text})
            for name, (values, text, units) in table.items()
        },
        coords=both.kept_coords,
    )
    totals = {"precision": (k, n), "recall": (k, m), "f_score": (2 * k, n + m)}
    for name, (top, bottom) in totals.items():
        text = f"{table[name][1]}, all neurons"
        out[f"total_{name}"] = ((), float(_ratio(top.sum(), bottom.sum())), {"long_name": text, "units": "1"})
    out.attrs = {
        "window": 1e-3 * length,
        "own_duplicates": both.own.duplicates,
        "target_duplicates": both.target.duplicates,
        "note": str(_notes(n.sum(), m.sum(), k.sum())),
    }
    return out


def chance_match(
    own: Any,
    target: Any,
    window: Any = _WINDOW,
    n: int = 50,
    seed: int = 0,
    *,
    duration: Any = None,
    least_shift: Any = 50.0,
    level: float = 0.95,
) -> xr.Dataset:
    """Score trains of the same rates and intervals without relation to the target: the chance level of a match.

    Each own train is shifted circularly by a time of its own, uniform between `least_shift` and the duration less that.
    Give the target for `own` to learn what any network of the right rates has.

    Parameters
    ----------
    own, target, window
        As of `spike_match`.
    n : int
        Number of sets of shifted trains.
    seed : int
    duration : float or Quantity, optional
        Length of the recording, ms; needed for plain arrays, known to a result.
    least_shift : float or Quantity
        Smallest shift in either direction, ms.
    level : float
        Part of the scores within the interval.

    Returns
    -------
    Dataset
        `precision`, `recall` and `f_score`, means over the sets, each with `…_low` and `…_high`, percentiles of single
        sets, and `…_samples` over ``sample``.

    Raises
    ------
    ValueError
        If the duration is missing, shorter than the spikes, or at most two smallest shifts; if there are no spikes on
        either side; or as of `spike_match`.
    """
    both = paired_trains(own, target)
    length, least = checked_window(window), checked_window(least_shift, "least_shift")
    require_integer("n", n, 1)
    require_integer("seed", seed, 0)
    if not 0 < level < 1:
        raise ValueError(f"`level` must be between 0 and 1, got {level!r}")
    total = recording_length(both, duration)
    if total <= 2 * least:
        raise ValueError(
            f"a recording of {total:g} ms must be longer than two smallest shifts of {least:g} ms: lower `least_shift`"
        )
    for name, trains in (("own", both.own), ("target", both.target)):
        if not len(trains.times):
            raise ValueError(f"a chance level needs spikes, `{name}` has none")
    rng = np.random.default_rng(seed)
    found = np.empty(n)
    for k in range(n):
        shifts = rng.uniform(least, total - least, len(both.own.counts))
        found[k] = _most_pairs(_shifted(both.own, shifts, total), both.target, length).own_matched.sum()
    sizes = len(both.own.times), len(both.target.times)
    bounds = 50 * (1 - level), 50 * (1 + level)
    scores = {"precision": found / sizes[0], "recall": found / sizes[1], "f_score": 2 * found / sum(sizes)}
    out = xr.Dataset(attrs={"window": 1e-3 * length, "level": level, "seed": seed, "least_shift": 1e-3 * least})
    for name, values in scores.items():
        low, high = np.percentile(values, bounds)
        out[name] = ((), float(values.mean()), {"long_name": f"{name} of shifted trains, mean", "units": "1"})
        out[f"{name}_low"], out[f"{name}_high"] = ((), float(low)), ((), float(high))
        out[f"{name}_samples"] = ("sample", values)
    return out


def _most_pairs(own: SpikeTrains, target: SpikeTrains, window: float) -> SpikePairs:
    """Return the largest set of pairs within a window."""
    reach = window + _rounding(own, target, window)
    # Lists: single elements of arrays take ten times as long to read, and neurons have few spikes.
    mine, theirs = own.times.tolist(), target.times.tolist()
    own_partner, target_partner = [-1] * len(mine), [-1] * len(theirs)
    own_ends, target_ends = own.starts.tolist(), target.starts.tolist()
    for k in range(len(own.counts)):
        i, end_i, j, end_j = own_ends[k], own_ends[k + 1], target_ends[k], target_ends[k + 1]
        while i < end_i and j < end_j:
            apart = mine[i] - theirs[j]
            if apart > reach:
                j += 1
            elif apart < -reach:
                i += 1
            else:
                own_partner[i], target_partner[j] = j, i
                i += 1
                j += 1
    return SpikePairs(np.array(own_partner, dtype=np.int64), np.array(target_partner, dtype=np.int64))


def _rounding(own: SpikeTrains, target: SpikeTrains, window: float) -> float:
    largest = max((float(np.abs(side.times).max()) for side in (own, target) if len(side.times)), default=0.0)
    return _ROUNDING * max(largest, window if np.isfinite(window) else 0.0)


def _clusters(
    own: SpikeTrains, target: SpikeTrains, reach: float
) -> tuple[tuple[Integers, Integers], tuple[Integers, Integers]]:
    """Return the first spikes and the sizes, own and target, of clusters that have both."""
    times = np.concatenate([own.times, target.times])
    owner = np.concatenate([own.owner, target.owner])
    is_own = np.arange(len(times)) < len(own.times)
    order = np.lexsort((times, owner))
    begins = (np.diff(times[order]) > reach) | (np.diff(owner[order]) != 0)
    cluster = np.concatenate([[0], np.cumsum(begins)])
    number = int(cluster[-1]) + 1
    mine = is_own[order]
    n = np.bincount(cluster[mine], minlength=number)
    m = np.bincount(cluster[~mine], minlength=number)
    # Each side keeps its order when merged, so clusters hold runs of neighbouring spikes of either side.
    shared = (n > 0) & (m > 0)
    return ((np.cumsum(n) - n)[shared], n[shared]), ((np.cumsum(m) - m)[shared], m[shared])


def _align(
    own: Array,
    target: Array,
    own_start: Integers,
    n: Integers,
    target_start: Integers,
    m: Integers,
    reach: float,
    unmatched: float,
    pairs: SpikePairs,
) -> None:
    """Solve clusters of spikes by dynamic programming, side by side, and enter their pairs.

    ``table[:, i, j]`` is the least cost of the first i own and j target spikes. Within a row, spikes left over one
    after the other cost multiples of `unmatched`, so that a row is a running minimum. Entries beyond the size of
    a cluster are filled but never read.
    """
    rows, columns = int(n.max()), int(m.max())
    needed = 4 * 8 * len(n) * (rows + 1) * (columns + 1)
    if needed > _MUCH:  # asking what is free takes longer than most pairings
        require_memory(
            needed,
            f"tables that pair {rows} with {columns} spikes, which no pause parts,",
            "Take a shorter window, a higher cost of time, or shorter trains.",
        )
    place_own = np.minimum(own_start[:, None] + np.arange(rows), len(own) - 1)
    place_target = np.minimum(target_start[:, None] + np.arange(columns), len(target) - 1)
    apart = np.abs(own[place_own][:, :, None] - target[place_target][:, None, :])
    apart[apart > reach] = np.inf
    left_over = unmatched * np.arange(columns + 1)
    table = np.empty((len(n), rows + 1, columns + 1))
    table[:, 0] = left_over
    for place in range(rows):
        row = table[:, place] + unmatched
        np.minimum(row[:, 1:], table[:, place, :-1] + apart[:, place], out=row[:, 1:])
        row -= left_over
        np.minimum.accumulate(row, axis=1, out=row)
        table[:, place + 1] = row + left_over
    slack = 1e-12 * unmatched * (rows + columns)  # rounding must not turn equal costs into a preference
    every, i, j = np.arange(len(n)), n, m
    while len(every):
        before = table[every, i - 1, j - 1] + apart[every, i - 1, j - 1]
        without_own, without_target = table[every, i - 1, j] + unmatched, table[every, i, j - 1] + unmatched
        paired = before <= np.minimum(without_own, without_target) + slack
        a, b = (own_start[every] + i - 1)[paired], (target_start[every] + j - 1)[paired]
        pairs.own_partner[a], pairs.target_partner[b] = b, a
        drop_own = ~paired & (without_own <= without_target)
        i, j = i - (paired | drop_own), j - (paired | ~drop_own)
        going = (i > 0) & (j > 0)
        every, i, j = every[going], i[going], j[going]


def _shifted(trains: SpikeTrains, shifts: Array, duration: float) -> SpikeTrains:
    owner = trains.owner
    times = (trains.times + shifts[owner]) % duration
    return SpikeTrains(times[np.lexsort((times, owner))], trains.counts)


def _ratio(top: Any, bottom: Any) -> npt.NDArray[np.float64]:
    bottom = np.asarray(bottom)
    return np.divide(top, bottom, out=np.full(bottom.shape, np.nan), where=bottom > 0)


def _notes(own: Any, target: Any, pairs: Any) -> npt.NDArray[Any]:
    none, nothing = np.asarray(own) == 0, np.asarray(target) == 0
    return np.select(
        [none & nothing, none, nothing, np.asarray(pairs) == 0],
        ["no spikes", "no own spikes", "no target spikes", "no pairs"],
        "",
    )
