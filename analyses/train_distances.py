"""Distances of every two spike trains: ISI- and SPIKE-distance, van Rossum, Victor and Purpura."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import xarray as xr

from mnnbio.analyses.paired_trains import SpikeTrains, both_trains, recording_length
from mnnbio.analyses.spike_loops import exponential_matrix, exponential_products, kreuz_distances, least_costs
from mnnbio.analyses.train_table import BLOCKS, TrainTable, train_table
from mnnbio.machine import check_choice, require_integer, require_memory
from mnnbio.results import single_time
from mnnbio.units import in_unit

Array = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Kind = Literal["isi", "spike", "van_rossum", "victor_purpura"]

_KINDS: dict[str, str] = {
    "isi": "ISI-distance",
    "spike": "SPIKE-distance",
    "van_rossum": "van Rossum distance",
    "victor_purpura": "Victor-Purpura distance",
}


def isi_distance(own: Any, target: Any, duration: Any) -> Array:
    r"""Return the ISI-distance of every neuron's trains, the mean over time of :math:`|x - y| / \max(x, y)`.

    x and y are the interspike intervals that both trains are in at a time: 0 for equal rates, near 1 for very
    different ones. Before the first spike the interval is the time to it, or the first one if that is longer; likewise
    at the end. A train without spikes is one interval as long as the record.

    Parameters
    ----------
    own, target : SpikeTrains, array_like or sequence of array_like
        Times of one neuron; or one array for each neuron, ms, from 0 to `duration`.
    duration : float or Quantity
        Length of the record, ms.

    Returns
    -------
    ndarray, shape (neuron,)
        Dimensionless, from 0 to 1.

    Raises
    ------
    ValueError
        If trains are unsorted, not finite, outside the record, or of different numbers of neurons.

    References ---------- Kreuz, T. et al. (2007). Measuring spike train synchrony. *J. Neurosci. Methods* 165,
    151-161. Kreuz, T. et al. (2013). Monitoring spike train synchrony. *J. Neurophysiol.* 109, 1457-1472, Eqs. 1 and
    2.

    Examples
    --------
    >>> isi_distance([2.0, 4.0, 6.0], [1.0, 4.0, 5.0, 6.0], 10.0).round(4)
    array([0.3])
    """
    return _kreuz(own, target, duration)[0]


def kreuz_spike_distance(own: Any, target: Any, duration: Any) -> Array:
    r"""Return the SPIKE-distance of every neuron's trains (Kreuz et al. 2013), the mean over time of S(t).

    .. math:: S(t) = \frac{S_1(t)\, x_2(t) + S_2(t)\, x_1(t)}{(x_1(t) + x_2(t))^2 / 2}

    with x the interspike intervals at t, and S\ :sub:`1` the distance of the train's spikes before and after t from
    their nearest spikes in the other train, interpolated. It is 0 for equal trains. Before the first spike and after
    the last, S\ :sub:`1` is that of this spike, and intervals are as of `isi_distance`; a train without spikes has one
    at each end.

    Parameters
    ----------
    own, target, duration
        As of `isi_distance`.

    Returns
    -------
    ndarray, shape (neuron,)
        Dimensionless.

    References
    ----------
    Kreuz, T., Chicharro, D., Houghton, C., Andrzejak, R. G., Mormann, F. (2013). Monitoring spike train synchrony.
    *J. Neurophysiol.* 109, 1457-1472, Eqs. 3 to 8.
    """
    return _kreuz(own, target, duration)[1]


def _kreuz(own: Any, target: Any, duration: Any) -> tuple[Array, Array]:
    mine, theirs = both_trains(own, target)
    length = recording_length((mine, theirs), duration)
    number = len(mine.counts)
    both = SpikeTrains(np.concatenate([mine.times, theirs.times]), np.concatenate([mine.counts, theirs.counts]))
    first = np.arange(number)
    return kreuz_distances(both.times, both.starts, first, number + first, 0.0, length)


def distance_matrix(
    trains: Any,
    kind: Kind,
    *,
    tau: Any = None,
    cost: Any = None,
    blocks: int = BLOCKS,
    duration: Any = None,
    start: Any = None,
    stop: Any = None,
) -> xr.Dataset:
    """Return the distance of every two neurons' trains, each trial's apart, averaged over trials.

    Parameters
    ----------
    trains : DataTree, Dataset, or sequence of array_like
        A result with ``/spikes``; or plain trains, ms.
    kind : {"isi", "spike", "van_rossum", "victor_purpura"}
        `isi_distance`, `kreuz_spike_distance`, `van_rossum_distance` (not squared, exponential kernel),
        `victor_purpura_distance`.
    tau : float or Quantity
        Time constant of the van Rossum distance, ms.
    cost : float or Quantity
        Cost of time of the Victor-Purpura distance, 1/ms, ≥ 0.
    blocks : int
        Pieces of the record for the error where there is one trial; 0: none. With several trials the error is their
        spread.
    duration : float or Quantity, optional
        Length of the record of plain trains, ms.
    start, stop : float or Quantity, optional
        Time looked at, ms; default: from the end of the warm-up to the end.

    Returns
    -------
    Dataset
        ``distance`` and ``distance_se`` over ([stimulus,] neuron, neuron_j), and ``spike_count``: neurons without
        spikes have distances as well, which `spike_count` and the attribute `silent_neurons` show.

    Raises
    ------
    ValueError
        If `tau` or `cost` is missing or out of its range.
    """
    check_choice("kind", kind, tuple(_KINDS))
    require_integer("blocks", blocks, 0)
    table = train_table(trains, duration=duration, start=start, stop=stop)
    measure = _measure(kind, tau, cost)
    n = table.neurons
    first, second = np.triu_indices(n, 1)
    require_memory(48.0 * n**2 * table.stimuli, f"distances of {n} neurons", "Take fewer neurons.")
    each = _by_run(table, measure, first, second)
    value = each.mean(axis=1)
    se, note = np.full(value.shape, np.nan), "one trial, and no `blocks`: no standard error"
    if table.trials > 1:
        se, note = each.std(axis=1, ddof=1) / np.sqrt(table.trials), ""
    elif blocks > 1:
        cut = table.cut(blocks)
        total, square = (np.zeros(value.shape) for _ in range(2))
        for k in range(blocks):
            piece = _of_runs(cut, measure, first, second, [s * blocks + k for s in range(table.stimuli)])
            piece = piece**2 if kind == "van_rossum" else piece
            total += piece
            square += piece**2
        spread = np.sqrt(np.maximum(square / blocks - (total / blocks) ** 2, 0.0) * blocks / (blocks - 1))
        # Sums over pieces of distances that add up; means of those that are means over time.
        se = spread / np.sqrt(blocks) if kind in ("isi", "spike") else spread * np.sqrt(blocks)
        if kind == "van_rossum":
            se = np.divide(se, 2 * value, out=np.zeros(se.shape), where=value > 0)
        note = ""
    lead = table.kept_dims[:-1]
    data: dict[str, Any] = {}
    for name, array, text in (("distance", value, _KINDS[kind]), ("distance_se", se, "standard error of it")):
        matrix = np.zeros((table.stimuli, n, n))
        matrix[:, first, second] = array
        matrix[:, second, first] = array
        data[name] = ((*lead, "neuron", "neuron_j"), matrix if lead else matrix[0], {"units": "1", "long_name": text})
    number = table.sizes.reshape(table.stimuli, table.trials, n).sum(axis=1)
    data["spike_count"] = (
        (*lead, "neuron"),
        number if lead else number[0],
        {"units": "1", "long_name": "spikes, all trials"},
    )
    attrs = table.attrs(kind=kind, note=note)
    if kind == "van_rossum":
        attrs["tau"] = 1e-3 * single_time(tau, "tau")
    if kind == "victor_purpura":
        attrs["cost"] = 1e3 * float(in_unit(cost, "1/ms", "cost"))
    return xr.Dataset(data, coords=table.pair_coords(), attrs=attrs)


Measure = Callable[[TrainTable, Integers, Integers], Array]


def _measure(kind: Kind, tau: Any, cost: Any) -> Measure:
    """Return a function of trains and pairs of rows that gives their distances."""
    if kind in ("isi", "spike"):
        side = 0 if kind == "isi" else 1
        return lambda t, i, j: kreuz_distances(t.times, t.start, i, j, t.begin, t.end)[side]
    if kind == "van_rossum":
        if tau is None:
            raise ValueError("the van Rossum distance needs `tau`, the time constant of its kernel in ms")
        width = single_time(tau, "tau")
        if not width > 0:
            raise ValueError(f"`tau` must be a time > 0 ms, got {width:g} ms")

        def rossum(t: TrainTable, i: Integers, j: Integers) -> Array:
            if not len(i):
                return np.zeros(0)
            low, high = int(min(i.min(), j.min())), int(max(i.max(), j.max())) + 1
            times, start = t.times[t.start[low] : t.start[high]], t.start[low : high + 1] - t.start[low]
            own, other = i - low, j - low
            products = exponential_matrix(times, start, width)
            size = 0.5 * (products[own, own] + products[other, other])
            square = size - products[own, other]
            # Of nearly equal trains only rounding is left: pair by pair equal ones are exactly so.
            near = np.flatnonzero(square < 1e-9 * size)
            if len(near):
                sides = [(own[near], own[near]), (other[near], other[near]), (own[near], other[near])]
                exact = [exponential_products(times, start, a, b, width) for a, b in sides]
                square[near] = 0.5 * (exact[0] + exact[1]) - exact[2]
            return np.sqrt(np.maximum(square, 0.0))  # below 0 by rounding only

        return rossum
    if cost is None:
        raise ValueError("the Victor-Purpura distance needs `cost`, of time, in 1/ms")
    q = float(in_unit(cost, "1/ms", "cost"))
    if not q >= 0:
        raise ValueError(f"`cost` must be a number ≥ 0 per ms, got {q}")
    if q == 0:
        return lambda t, i, j: np.abs(np.diff(t.start)[i] - np.diff(t.start)[j]).astype(np.float64)
    return lambda t, i, j: least_costs(t.times, t.start, i, j, q)


def _of_runs(table: TrainTable, measure: Measure, first: Integers, second: Integers, runs: list[int]) -> Array:
    return np.stack([measure(table, k * table.neurons + first, k * table.neurons + second) for k in runs])


def _by_run(table: TrainTable, measure: Measure, first: Integers, second: Integers) -> Array:
    """Return distances (stimulus, trial, pair)."""
    runs = list(range(table.stimuli * table.trials))
    return _of_runs(table, measure, first, second, runs).reshape(table.stimuli, table.trials, len(first))
