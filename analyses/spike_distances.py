"""Distances of spike trains: van Rossum, Victor and Purpura, of smoothed trains, and of interval histograms."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy import special

from mnnbio.analyses.paired_trains import (
    Array,
    Integers,
    SpikeTrains,
    both_trains,
    paired_trains,
    recording_length,
)
from mnnbio.analyses.spike_matching import least_cost_pairs
from mnnbio.machine import check_choice
from mnnbio.results import single_time
from mnnbio.units import in_unit

_SIGMA = 74.0  # ms, Bagley et al. (2020)
_REACH = 12.0  # widths beyond which two Gaussians overlap by less than rounding

Kernel = Literal["exponential", "gaussian"]


def van_rossum_distance(
    own: Any, target: Any, tau: Any, *, kernel: Kernel = "exponential", squared: bool = False
) -> Array:
    r"""Return the van Rossum distance of every neuron's trains, or its square.

    Each spike becomes :math:`e^{-t/\tau}`, t ≥ 0, and

    .. math:: D^2 = \frac{1}{\tau} \int_{-\infty}^\infty [f(t) - g(t)]^2\, dt .

    One spike that the other train lacks gives D² = 1/2, two spikes far from each other D² = 1. With
    ``kernel="gaussian"`` each spike becomes :math:`e^{-t^2/2\tau^2}` and the integral is divided by
    :math:`2\sqrt\pi\,\tau`, so that these two values hold as well. Both are exact: the first by a recursion over
    spikes, the second by the overlaps of pairs.

    Parameters
    ----------
    own, target : SpikeTrains, array_like or sequence of array_like
        Times of one neuron; or one array for each neuron, or trains with counts; ms.
    tau : float or Quantity
        Time constant of the kernel, or standard deviation of the Gaussian one, ms.
    kernel : {"exponential", "gaussian"}
    squared : bool
        Return D² instead of D.

    Returns
    -------
    ndarray, shape (neuron,)
        Dimensionless.

    Raises
    ------
    ValueError
        If trains are unsorted, not finite or of different numbers of neurons, or `tau` is not > 0.

    References
    ----------
    van Rossum, M. C. W. (2001). A novel spike distance. *Neural Comput.* 13, 751-763, Eq. 2.2.

    Examples
    --------
    >>> van_rossum_distance([10.0], [], 20.0, squared=True)
    array([0.5])
    """
    check_choice("kernel", kernel, ("exponential", "gaussian"))
    width = _positive(tau, "tau")
    mine, theirs = both_trains(own, target)
    times, weights, owner = _difference(mine, theirs)
    number = len(mine.counts)
    if kernel == "gaussian":
        square = 0.5 * _overlap(times, weights, owner, number, width)
    else:
        square = _exponential_square(times, weights, owner, number, width)
    return square if squared else np.sqrt(square)


def victor_purpura_distance(own: Any, target: Any, cost: Any) -> Array:
    r"""Return the spike time distance of Victor and Purpura, the cheapest way to turn one train into the other.

    A spike is added or taken away at cost 1, and moved by Δt at cost :math:`q |\Delta t|`: pairs further apart than 2/q
    are never moved. With q = 0 it is the difference of spike counts.

    Parameters
    ----------
    own, target : SpikeTrains, array_like or sequence of array_like
        As of `van_rossum_distance`.
    cost : float or Quantity
        q, 1/ms.

    Returns
    -------
    ndarray, shape (neuron,)
        Dimensionless.

    Raises
    ------
    ValueError
        If trains are unsorted, not finite or of different numbers of neurons, or `cost` is negative.

    References
    ----------
    Victor, J. D., Purpura, K. P. (1996). Nature and precision of temporal coding in visual cortex: a metric-space
    analysis. *J. Neurophysiol.* 76, 1310-1326, D\ :sup:`spike`.

    Examples
    --------
    >>> victor_purpura_distance([10.0, 50.0], [12.0], 0.1)
    array([1.2])
    """
    q = in_unit(cost, "1/ms", "cost")
    if not isinstance(q, float) or not q >= 0:
        raise ValueError(f"`cost` must be a number ≥ 0 per ms, got {q}")
    mine, theirs = both_trains(own, target)
    if q == 0:
        return np.abs(mine.counts - theirs.counts).astype(np.float64)
    pairs = least_cost_pairs(mine, theirs, window=2 / q, unmatched=1 / q)
    matched = pairs.own_matched
    owner, number = mine.owner[matched], len(mine.counts)
    shifts = np.abs(mine.times[matched] - theirs.times[pairs.own_partner[matched]])
    left_over = mine.counts + theirs.counts - 2 * np.bincount(owner, minlength=number)
    return left_over + q * np.bincount(owner, shifts, number)


def smoothed_train_distance(own: Any, target: Any, duration: Any, sigma: Any = _SIGMA) -> float:
    r"""Return the mean squared difference of smoothed trains, summed over neurons.

    .. math:: D_P = \sum_i \frac{1}{T} \int_0^T [(k * s_i)(t) - (k * r_i)(t)]^2\, dt,
        \qquad k(t) = e^{-t^2/2\sigma^2}

    in closed form, spikes close to the ends included as far as their kernels lie in the recording.

    Parameters
    ----------
    own, target : SpikeTrains, array_like or sequence of array_like
        As of `van_rossum_distance`.
    duration : float or Quantity
        Length T of the recording, ms, from time 0.
    sigma : float or Quantity
        Standard deviation of the kernel, ms.

    Raises
    ------
    ValueError
        If spikes lie outside the recording, or as of `van_rossum_distance`.

    References
    ----------
    Bagley, B. A. et al. (2020). *PLOS ONE* 15, e0229083, Methods.
    """
    mine, theirs = both_trains(own, target)
    return float(_smoothed(mine, theirs, duration, sigma).sum())


def smoothed_population_distance(own: Any, target: Any, duration: Any, sigma: Any = _SIGMA) -> float:
    r"""Return the mean squared difference of the smoothed sums of all neurons' trains, over their number N.

    .. math:: D_A = \frac{1}{N T} \int_0^T \Bigl[\sum_i (k * s_i)(t) - \sum_i (k * r_i)(t)\Bigr]^2\, dt

    with the kernel of `smoothed_train_distance`: 0 wherever populations fire alike, whichever neurons do. Takes a time
    proportional to the pairs of spike times closer than twelve widths.

    Parameters
    ----------
    own, target, duration, sigma
        As of `smoothed_train_distance`.

    Raises
    ------
    ValueError
        As of `smoothed_train_distance`.

    References
    ----------
    Bagley, B. A. et al. (2020). *PLOS ONE* 15, e0229083, Methods.
    """
    mine, theirs = both_trains(own, target)
    pooled = [SpikeTrains(np.sort(side.times), np.array([len(side.times)])) for side in (mine, theirs)]
    return float(_smoothed(pooled[0], pooled[1], duration, sigma)[0]) / len(mine.counts)


def interval_histogram_distance(own: Any, target: Any, bin: Any = 10.0) -> Array:
    r"""Return the ℓ2 distance of the histograms of interspike intervals of every neuron.

    :math:`\sqrt{\sum_k (p_k - q_k)^2}`, p and q the fractions of intervals in bins from zero: 0 for equal histograms,
    at most √2. NaN where one train has fewer than two spikes, and so no interval.

    Parameters
    ----------
    own, target : SpikeTrains, array_like or sequence of array_like
        As of `van_rossum_distance`.
    bin : float or Quantity
        Width of a bin, ms.

    Returns
    -------
    ndarray, shape (neuron,)

    Raises
    ------
    ValueError
        If trains are unsorted, not finite or of different numbers of neurons, or `bin` is not > 0.
    """
    width = _positive(bin, "bin")
    mine, theirs = both_trains(own, target)
    number = len(mine.counts)
    first, second = (_interval_bins(side, width) for side in (mine, theirs))
    return _histogram_distance(first, second, number)


def spike_distance(
    own: Any,
    target: Any,
    *,
    tau: Any = 20.0,
    cost: Any = 0.1,
    bin: Any = 10.0,
    sigma: Any = _SIGMA,
    duration: Any = None,
) -> xr.Dataset:
    """Measure how far spike trains are from target trains, by every distance of this kind.

    Parameters
    ----------
    own, target : DataTree, Dataset, SpikeTrains, array_like or sequence of array_like
        Results with ``/spikes`` of the same stimuli, trials and neurons, whose warm-up is left out; or one array of
        times for each neuron, ms.
    tau : float or Quantity
        Time constant of the van Rossum distance, ms.
    cost : float or Quantity
        Cost of time of the Victor-Purpura distance, 1/ms.
    bin : float or Quantity
        Bin of interval histograms, ms.
    sigma : float or Quantity
        Width of the kernel of smoothed trains, ms.
    duration : float or Quantity, optional
        Length of the recording, ms, known to a result; without it smoothed trains are left out.

    Returns
    -------
    Dataset
        Over ([stimulus,] neuron): `van_rossum` (not squared) and `van_rossum_squared`, `victor_purpura`, means over
        trials; `interval_histogram`, intervals pooled over trials, NaN where `note` says "no intervals". In total, over
        all neurons, trials and stimuli: `total_van_rossum`, the root of the sum of squares (every neuron its own
        dimension), `total_van_rossum_squared`, `total_victor_purpura`, sums,
        `total_interval_histogram`, of the intervals of all neurons together; and with a duration `smoothed_trains` and
        `smoothed_population`, means over trials and stimuli of `smoothed_train_distance` and
        `smoothed_population_distance`.

    Raises
    ------
    ValueError
        If the two sides differ in neurons, trials, stimuli or duration, trains are unsorted, or an option is out of
        its range.
    """
    both = paired_trains(own, target)
    trials = both.shape[both.dims.index("trial")] if "trial" in both.dims else 1
    square = van_rossum_distance(both.own, both.target, tau, squared=True)
    moves = victor_purpura_distance(both.own, both.target, cost)
    width = _positive(bin, "bin")
    shape = tuple(size for dim, size in zip(both.dims, both.shape, strict=True) if dim != "trial")
    row = both.pooled_rows
    first, second = ((row[who], place) for who, place in (_interval_bins(t, width) for t in (both.own, both.target)))
    intervals = _histogram_distance(first, second, int(np.prod(shape))).reshape(shape)
    table = {
        "van_rossum": (both.over_trials(np.sqrt(square)) / trials, "van Rossum distance, not squared"),
        "van_rossum_squared": (both.over_trials(square) / trials, "squared van Rossum distance"),
        "victor_purpura": (both.over_trials(moves) / trials, "Victor-Purpura distance"),
        "interval_histogram": (intervals, "distance of interval histograms"),
    }
    out = xr.Dataset(
        {name: (both.kept_dims, values, {"long_name": text, "units": "1"}) for name, (values, text) in table.items()},
        coords=both.kept_coords,
    )
    out["note"] = (both.kept_dims, np.where(np.isnan(intervals), "no intervals", ""))
    totals = {
        "van_rossum": float(np.sqrt(square.sum())),
        "van_rossum_squared": float(square.sum()),
        "victor_purpura": float(moves.sum()),
    }
    everyone = [(np.zeros_like(who), place) for who, place in (first, second)]
    totals["interval_histogram"] = float(_histogram_distance(everyone[0], everyone[1], 1)[0])
    for name, value in totals.items():
        out[f"total_{name}"] = ((), value, {"long_name": f"{table[name][1]}, all neurons", "units": "1"})
    attrs = {"tau": 1e-3 * _positive(tau, "tau"), "cost": 1e3 * float(in_unit(cost, "1/ms", "cost"))}
    out.attrs = {**attrs, "bin": 1e-3 * width, "trials": trials}
    if duration is not None or both.duration is not None:
        length = recording_length(both, duration)
        trained = _smoothed(both.own, both.target, length, sigma)
        runs = both.runs()
        pooled = [smoothed_population_distance(one, other, length, sigma) for one, other in runs]
        out["smoothed_trains"] = ((), float(trained.sum()) / len(runs), {"units": "1"})
        out["smoothed_population"] = ((), float(np.mean(pooled)), {"units": "1"})
        out.attrs["sigma"] = 1e-3 * _positive(sigma, "sigma")
    return out


def _positive(value: Any, name: str) -> float:
    length = single_time(value, name)
    if not length > 0:
        raise ValueError(f"`{name}` must be a time > 0 ms, got {length:g} ms")
    return length


def _difference(own: SpikeTrains, target: SpikeTrains) -> tuple[Array, Array, Integers]:
    """Return times, weights and neurons of the difference of two trains: own spikes count 1, target spikes -1.

    Spikes at one time are one event, so that equal trains have a distance of exactly 0.
    """
    times = np.concatenate([own.times, target.times])
    weights = np.concatenate([np.ones(len(own.times)), -np.ones(len(target.times))])
    owner = np.concatenate([own.owner, target.owner])
    order = np.lexsort((times, owner))
    times, weights, owner = times[order], weights[order], owner[order]
    if not len(times):
        return times, weights, owner
    first = np.flatnonzero(np.concatenate([[True], (np.diff(times) > 0) | (np.diff(owner) > 0)]))
    return times[first], np.add.reduceat(weights, first), owner[first]


def _exponential_square(times: Array, weights: Array, owner: Integers, number: int, tau: float) -> Array:
    """Return D² as a sum without negative terms, of the squared difference that decays between events."""
    if not len(times):
        return np.zeros(number)
    same = np.diff(owner) == 0
    gaps = np.where(same, np.diff(times), np.inf) / tau
    value, after = 0.0, []
    for decay, weight in zip([0.0, *np.exp(-gaps).tolist()], weights.tolist(), strict=True):
        value = value * decay + weight
        after.append(value)
    terms = 0.5 * np.array(after) ** 2 * -np.expm1(-2 * np.append(gaps, np.inf))
    return np.bincount(owner, terms, number).astype(np.float64)


def _overlap(
    times: Array, weights: Array, owner: Integers, number: int, sigma: float, end: float | None = None
) -> Array:
    r"""Return each neuron's :math:`\sum_{kl} w_k w_l e^{-(t_k - t_l)^2/4\sigma^2}`, sorted times.

    That is the integral of the squared sum of Gaussians over :math:`\sqrt\pi\,\sigma`, over all times, or from 0 to
    `end`. Pairs are taken at one distance in the order of spikes after the other until none is close.
    """
    total = np.zeros(number)
    for lag in range(len(times)):
        stop = len(times) - lag
        near = (owner[lag:] == owner[:stop]) & (times[lag:] - times[:stop] < _REACH * sigma)
        if not near.any():
            break
        a, b = times[:stop][near], times[lag:][near]
        terms = weights[:stop][near] * weights[lag:][near] * np.exp(-(((b - a) / (2 * sigma)) ** 2))
        if end is not None:
            middle = 0.5 * (a + b)
            terms *= 0.5 * (special.erf((end - middle) / sigma) + special.erf(middle / sigma))
        total += (1 if lag == 0 else 2) * np.bincount(owner[:stop][near], terms, number)
    return np.maximum(total, 0.0)  # a square: below 0 by rounding only


def _smoothed(own: SpikeTrains, target: SpikeTrains, duration: Any, sigma: Any) -> Array:
    """Return the mean over time of each train's squared difference from its target after smoothing."""
    width = _positive(sigma, "sigma")
    length = recording_length((own, target), duration)
    times, weights, owner = _difference(own, target)
    return np.sqrt(np.pi) * width / length * _overlap(times, weights, owner, len(own.counts), width, length)


def _interval_bins(trains: SpikeTrains, width: float) -> tuple[Integers, Integers]:
    """Return the train and the bin of every interval."""
    owner = trains.owner
    same = owner[1:] == owner[:-1]
    # An interval of whole bins belongs to the bin that it opens, whatever the rounding of its ends.
    place = np.floor(np.diff(trains.times)[same] / width + 1e-9).astype(np.int64)
    return owner[1:][same], place


def _histogram_distance(own: tuple[Integers, Integers], target: tuple[Integers, Integers], number: int) -> Array:
    sides: list[npt.NDArray[Any]] = []
    # Only bins that hold an interval: a long pause would need a long histogram.
    filled, place = np.unique(np.concatenate([own[1], target[1]]), return_inverse=True)
    split = len(own[1])
    for owner, bins in ((own[0], place[:split]), (target[0], place[split:])):
        counts = np.bincount(owner * len(filled) + bins, minlength=number * len(filled)).reshape(number, len(filled))
        sums = counts.sum(axis=1, keepdims=True)
        sides.append(np.divide(counts, sums, out=np.full(counts.shape, np.nan), where=sums > 0))
    if not len(filled):
        return np.full(number, np.nan)
    distance: Array = np.sqrt(((sides[0] - sides[1]) ** 2).sum(axis=1))
    return distance
