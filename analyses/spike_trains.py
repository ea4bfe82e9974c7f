"""Statistics of single spike trains: rate, Fano factor, irregularity of intervals."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from mnnbio.analyses.binned_counts import recorded
from mnnbio.machine import require_integer
from mnnbio.results import counts, estimate_fano
from mnnbio.units import in_unit

Array = npt.NDArray[np.float64]
_WINDOW = 100.0  # ms


def spike_statistics(result: xr.DataTree | xr.Dataset, *, windows: Any = None, min_intervals: int = 10) -> xr.Dataset:
    r"""Describe every neuron's spike trains.

    Intervals I between successive spikes of one trial, after the warm-up, are pooled over trials:

    - ``cv``: their standard deviation over their mean;
    - ``cv2``: mean of :math:`2|I_{k+1} - I_k| / (I_{k+1} + I_k)` (Holt et al. 1996);
    - ``lv``: mean of :math:`3 (I_{k+1} - I_k)^2 / (I_{k+1} + I_k)^2` (Shinomoto et al. 2003).

    All three are 1 for a Poisson process and 0 for a clock. ``cv2`` and ``lv`` compare neighbours, so slow changes of
    the rate do not raise them. Standard errors ``<name>_se`` take intervals as independent (a renewal process); that
    neighbouring pairs share an interval is accounted for. Trials much shorter than ten mean intervals bias ``cv``
    downwards: they cannot hold long intervals.

    Parameters
    ----------
    result : DataTree or Dataset
        A result with ``/spikes``, or that group.
    windows : sequence of float, or Quantity; optional
        Counting windows of the Fano factor, ms, each a whole number of steps; one number does as well, and an empty
        sequence leaves the Fano factor out. Default: the one nearest to 100 ms, or the whole trial if that is shorter.
    min_intervals : int
        Neurons with fewer intervals (or pairs of them) get NaN.

    Returns
    -------
    Dataset
        Over ([stimulus,] neuron): ``rate`` (Hz), ``spike_count``, ``interval_count``, ``cv``, ``cv2``, ``lv`` and the
        errors of these three; over
        (window, [stimulus,] neuron): ``fano``, ``fano_se`` and ``window_count`` (window), the number of counts of each;
        the coordinate `window` is in s.

    Raises
    ------
    ValueError
        If there are no spike trains, or a window is longer than the recording or not a whole number of steps.

    References
    ----------
    Holt, G. R. et al. (1996). Comparison of discharge variability in vitro and in vivo in cat visual cortex neurons.
    *J. Neurophysiol.* 75, 1806-1814, Eq. 5. Shinomoto, S., Shima, K., Tanji, J. (2003). Differences in spiking patterns
    among cortical neurons. *Neural Comput.* 15, 2823-2842, Eq. 2.1.
    """
    source = recorded(result)
    if "row_size" not in source.data:
        raise ValueError("statistics of intervals need spike trains, the result has counts only")
    spikes, sizes = source.data, source.data["row_size"]
    if "duration" not in spikes.attrs:
        raise ValueError("the spike trains have no attribute `duration`, s: give it to `ragged`")
    duration = float(spikes.attrs["duration"])
    asked = [None] if windows is None else np.atleast_1d(in_unit(windows, "ms", "windows"))
    lengths = [source.bin(window, min(_WINDOW, 1e3 * duration), "window") for window in asked]
    require_integer("min_intervals", min_intervals, 1)
    dims = tuple(str(dim) for dim in sizes.dims if dim != "trial")
    shape = tuple(sizes.sizes[dim] for dim in dims)
    coords = {name: c for name, c in sizes.coords.items() if "trial" not in c.dims}

    unit, trial, times = _flat_trains(spikes)
    size = int(np.prod(shape))
    number = np.bincount(unit, minlength=size)
    same = (trial[1:] == trial[:-1]) & (unit[1:] == unit[:-1])
    interval = np.diff(times)[same]
    owner = unit[1:][same]
    paired = same[1:] & same[:-1]
    later, earlier = np.diff(times)[1:][paired], np.diff(times)[:-1][paired]
    pair_owner = unit[2:][paired]

    n = np.bincount(owner, minlength=size)
    mean = _mean(interval, owner, size, 2)
    variance = _mean((interval - mean[owner]) ** 2, owner, size, 2) * n / np.maximum(n - 1, 1)
    enough = n >= min_intervals
    spread = np.sqrt(variance)
    cv = np.divide(spread, mean, out=np.full(size, np.nan), where=enough & (mean > 0))  # all at one time: undefined
    # How much one interval moves the CV, to first order; not at all where all are equal.
    d, s, m = interval - mean[owner], spread[owner], mean[owner]
    influence = np.divide(d**2 - s**2, 2 * s * m, out=np.zeros(len(d)), where=s > 0)
    influence -= np.divide(s * d, m**2, out=np.full(len(d), np.nan), where=m > 0)
    cv_se = np.where(enough, np.sqrt(_mean(influence**2, owner, size, 2) / np.maximum(n, 1)), np.nan)
    # Two intervals of zero are equal: spikes of one time from a recording with coarse steps.
    contrast = np.divide(later - earlier, later + earlier, out=np.zeros(len(later)), where=later + earlier > 0)
    follows = np.diff(np.flatnonzero(paired)) == 1
    trials = sizes.sizes["trial"]
    table: dict[str, tuple[npt.NDArray[Any], str, str]] = {
        "rate": (number / (duration * trials), "firing rate", "Hz"),
        "spike_count": (number, "number of spikes, all trials", "1"),
        "interval_count": (n, "number of interspike intervals, all trials", "1"),
        "cv": (cv, "coefficient of variation of the interspike intervals", "1"),
        "cv_se": (cv_se, "standard error of the coefficient of variation", "1"),
    }
    for name, values, text in (
        ("cv2", 2 * np.abs(contrast), "CV2 of the interspike intervals"),
        ("lv", 3 * contrast**2, "local variation of the intervals"),
    ):
        local, error = _local(values, pair_owner, follows, size, min_intervals)
        table |= {name: (local, text, "1"), f"{name}_se": (error, f"standard error of the {text}", "1")}
    out = xr.Dataset(
        {
            name: (dims, values.reshape(shape), {"long_name": text, "units": units})
            for name, (values, text, units) in table.items()
        },
        coords=coords,
    )
    fano, fano_se, samples = [], [], []
    for length in lengths:
        values = counts(spikes, length).transpose("trial", "window", ...).to_numpy()
        estimate = estimate_fano(values.reshape(values.shape[0] * values.shape[1], *shape))
        fano.append(estimate.value)
        fano_se.append(estimate.se)
        samples.append(values.shape[0] * values.shape[1])
    out = out.assign_coords(
        window=("window", 1e-3 * np.asarray(lengths, dtype=np.float64), {"long_name": "counting window", "units": "s"})
    )
    over, shape_over = ("window", *dims), (len(lengths), *shape)
    out["fano"] = (over, np.reshape(fano, shape_over), {"long_name": "Fano factor", "units": "1"})
    out["fano_se"] = (over, np.reshape(fano_se, shape_over), {"long_name": "standard error of it", "units": "1"})
    out["window_count"] = ("window", np.array(samples, dtype=np.int64), {"long_name": "number of counts", "units": "1"})
    out.attrs = {"duration": duration, "trials": trials, "min_intervals": min_intervals}
    return out


def _local(
    values: Array, owner: npt.NDArray[np.int64], follows: npt.NDArray[np.bool_], size: int, minimum: int
) -> tuple[Array, Array]:
    """Return the mean of each owner's pairs of intervals and its error.

    `follows` says of every pair but the first whether it shares an interval with the one before.
    """
    n = np.bincount(owner, minlength=size)
    mean = _mean(values, owner, size, minimum)
    deviation = values - mean[owner]
    products = np.where(follows, deviation[1:] * deviation[:-1], 0.0)
    own, shared = (
        np.bincount(whose, weights=terms, minlength=size)
        for whose, terms in ((owner, deviation**2), (owner[1:], products))
    )
    variance = own + 2 * shared
    # Negative by chance only, in few pairs.
    known = (n >= minimum) & (variance > 0)
    return mean, np.where(known, np.sqrt(np.where(known, variance, 0.0)) / np.maximum(n, 1), np.nan)


def _flat_trains(spikes: xr.Dataset) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Array]:
    """Return for every spike after the warm-up its unit ([stimulus,] neuron, flat), its trial and its time."""
    sizes = spikes["row_size"]
    times = spikes["spike_time"].to_numpy()
    trial_axis = sizes.dims.index("trial")
    grid = np.indices(sizes.shape)
    kept = [axis for axis in range(sizes.ndim) if axis != trial_axis]
    unit = np.ravel_multi_index(tuple(grid[axis] for axis in kept), tuple(sizes.shape[axis] for axis in kept))
    row = np.repeat(np.arange(sizes.size), sizes.to_numpy().ravel())
    after = times >= 0
    row = row[after]
    return unit.ravel()[row], grid[trial_axis].ravel()[row], times[after]


def _mean(values: Array, owner: npt.NDArray[np.int64], size: int, minimum: int) -> Array:
    """Return the mean of each owner's values, NaN where there are fewer than `minimum`."""
    n = np.bincount(owner, minlength=size)
    total = np.bincount(owner, weights=values, minlength=size)
    return np.divide(total, n, out=np.full(size, np.nan), where=n >= minimum)
