"""Statistics of single spike trains: rate, Fano factor, irregularity of intervals."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from mnnbio.analyses.binned_counts import recorded
from mnnbio.analyses.spike_loops import counts_between, interval_moments
from mnnbio.analyses.train_table import TrainTable, as_spikes, table_blocks
from mnnbio.machine import require_integer
from mnnbio.results import estimate_fano, single_time
from mnnbio.units import in_unit

Array = npt.NDArray[np.float64]
_WINDOW = 100.0  # ms
_PIECES = 10  # of a single trial, for the error of the rate
_LOCAL = {
    "cv2": "CV2 of the interspike intervals",
    "lv": "local variation of the intervals",
    "lvr": "local variation of the intervals, refractoriness taken off",
}


def spike_statistics(
    result: Any,
    *,
    windows: Any = None,
    min_intervals: int = 10,
    refractory: Any = 5.0,
    duration: Any = None,
    start: Any = None,
    stop: Any = None,
) -> xr.Dataset:
    r"""Describe every neuron's spike trains.

    Intervals I between successive spikes of one trial, after the warm-up, are pooled over trials:

    - ``cv``: their standard deviation over their mean;
    - ``cv2``: mean of :math:`2|I_{k+1} - I_k| / (I_{k+1} + I_k)` (Holt et al. 1996);
    - ``lv``: mean of :math:`3 (I_{k+1} - I_k)^2 / (I_{k+1} + I_k)^2` (Shinomoto et al. 2003);
    - ``lvr``: mean of :math:`3 (I_{k+1} - I_k)^2 / (I_{k+1} + I_k)^2 \cdot [1 + 4R / (I_{k+1} + I_k)]`, which takes the
      regularity off that a refractory time R brings (Shinomoto et al. 2009).

    The first three are 1 for a Poisson process and 0 for a clock. ``cv2``, ``lv`` and ``lvr`` compare neighbours, so
    slow changes of the rate do not raise them. Standard errors ``<name>_se`` take intervals as independent (a renewal
    process); that neighbouring pairs share an interval is accounted for. That of the rate is the spread over trials,
    or over ten pieces of a single trial. Trials much shorter than ten mean intervals bias ``cv`` downwards: they
    cannot hold long intervals.

    Parameters
    ----------
    result : DataTree, Dataset, or sequence of array_like
        A result with ``/spikes``, in memory or opened, or that group; or plain trains, one array of times (ms) a
        neuron.
    windows : sequence of float, or Quantity; optional
        Counting windows of the Fano factor, ms, each a whole number of steps; one number does as well, and an empty
        sequence leaves the Fano factor out. Default: the one nearest to 100 ms, or the whole trial if that is shorter.
    min_intervals : int
        Neurons with fewer intervals (or pairs of them) get NaN, and the flag `few_intervals`.
    refractory : float or Quantity
        R of ``lvr``, ms.
    duration : float or Quantity, optional
        Length of the record of plain trains, ms.
    start, stop : float or Quantity, optional
        Time looked at, ms; default: from the end of the warm-up to the end.

    Returns
    -------
    Dataset
        Over ([stimulus,] neuron): ``rate`` (Hz), ``spike_count``, ``interval_count``, ``cv``, ``cv2``, ``lv``, ``lvr``
        and the errors of these and of the rate, and ``few_intervals``, which is true where there is no ``cv``; over
        (window, [stimulus,] neuron): ``fano``, ``fano_se`` and ``window_count`` (window), the number of counts of
        each; the coordinate `window` is in s. Attributes say how many neurons are silent and how many spikes have the
        time of the one before.

    Raises
    ------
    ValueError
        If there are no spike trains, or a window is longer than the recording or not a whole number of steps.

    References ---------- Holt, G. R. et al. (1996). Comparison of discharge variability in vitro and in vivo in cat
    visual cortex neurons. *J. Neurophysiol.* 75, 1806-1814, Eq. 5. Shinomoto, S., Shima, K., Tanji, J. (2003).
    Differences in spiking patterns among cortical neurons. *Neural Comput.* 15, 2823-2842, Eq. 2.1. Shinomoto, S. et
    al. (2009). Relating neuronal firing patterns to functional differentiation of cerebral cortex. *PLoS Comput.
    Biol.* 5, e1000433, Eq. 3.
    """
    spikes = as_spikes(result, duration)
    source = recorded(spikes)
    begin = 0.0 if start is None else single_time(start, "start")
    length = (1e3 * float(spikes.attrs["duration"]) if stop is None else single_time(stop, "stop")) - begin
    asked = [None] if windows is None else np.atleast_1d(in_unit(windows, "ms", "windows"))
    lengths = [source.bin(window, min(_WINDOW, length), "window") for window in asked]
    for one in lengths:
        if one > length * (1 + 1e-9):
            raise ValueError(f"a window of {one:g} ms does not fit into the record, {length:g} ms: take a shorter one")
    require_integer("min_intervals", min_intervals, 1)
    dead = single_time(refractory, "refractory")
    if not dead >= 0:
        raise ValueError(f"`refractory` must be a time ≥ 0 ms, got {dead:g} ms")
    parts = [
        _of_table(table, lengths, min_intervals, dead) for table in table_blocks(source.data, start=start, stop=stop)
    ]
    out = parts[0] if len(parts) == 1 else xr.concat(parts, "neuron", data_vars="minimal", combine_attrs="override")
    for name in ("silent_neurons", "duplicate_spikes"):
        out.attrs[name] = sum(part.attrs[name] for part in parts)
    return out.assign_attrs(min_intervals=min_intervals, refractory=1e-3 * dead)


def _of_table(table: TrainTable, lengths: list[float], min_intervals: int, refractory: float) -> xr.Dataset:
    dims, shape = table.kept_dims, table.kept_shape
    size = int(np.prod(shape))
    number = table.sizes.reshape(table.stimuli, table.trials, table.neurons)
    sums = interval_moments(table.times, table.start, table.unit, size, refractory)
    n = sums.number
    enough = n >= min_intervals
    variance = sums.second / np.maximum(n - 1, 1)
    spread, mean = np.sqrt(variance), sums.mean
    known = enough & (mean > 0)  # all at one time: undefined
    cv = np.divide(spread, mean, out=np.full(size, np.nan), where=known)
    # How much one interval moves the CV, to first order, squared and averaged; not at all where all are equal.
    s, m = np.where(known & (spread > 0), spread, 1.0), np.where(known, mean, 1.0)
    second, third, fourth = (np.where(known, x / np.maximum(n, 1), 0.0) for x in (sums.second, sums.third, sums.fourth))
    influence = (fourth - 2 * s**2 * second + s**4) / (2 * s * m) ** 2 - third / m**3 + s**2 * second / m**4
    influence = np.where(spread > 0, influence, 0.0)
    cv_se = np.where(known, np.sqrt(np.maximum(influence, 0.0) / np.maximum(n, 1)), np.nan)
    total = number.sum(axis=1).ravel()
    values: dict[str, tuple[npt.NDArray[Any], str, str]] = {
        "rate": (total / (1e-3 * table.duration * table.trials), "firing rate", "Hz"),
        "rate_se": (_rate_error(table, number).ravel(), "standard error of the firing rate", "Hz"),
        "spike_count": (total, "number of spikes, all trials", "1"),
        "interval_count": (n.astype(np.int64), "number of interspike intervals, all trials", "1"),
        "few_intervals": (~known, "too few interspike intervals for their statistics", "1"),
        "cv": (cv, "coefficient of variation of the interspike intervals", "1"),
        "cv_se": (cv_se, "standard error of the coefficient of variation", "1"),
    }
    for k, (name, text) in enumerate(_LOCAL.items()):
        local, error = _local(sums.pairs, sums.local[k], sums.squares[k], sums.products[k], min_intervals)
        values |= {name: (local, text, "1"), f"{name}_se": (error, f"standard error of the {text}", "1")}
    out = xr.Dataset(
        {
            name: (dims, array.reshape(shape), {"long_name": text, "units": units})
            for name, (array, text, units) in values.items()
        },
        coords=table.kept_coords(),
        attrs=table.attrs(),
    )
    fano, fano_se, samples = [], [], []
    for length in lengths:
        counts = table.counts(length)  # (stimulus, trial, neuron, window)
        rows = counts.transpose(1, 3, 0, 2).reshape(table.trials * counts.shape[-1], *shape)
        estimate = estimate_fano(rows)
        fano.append(estimate.value)
        fano_se.append(estimate.se)
        samples.append(len(rows))
    out = out.assign_coords(
        window=("window", 1e-3 * np.asarray(lengths, dtype=np.float64), {"long_name": "counting window", "units": "s"})
    )
    over, shape_over = ("window", *dims), (len(lengths), *shape)
    out["fano"] = (over, np.reshape(fano, shape_over), {"long_name": "Fano factor", "units": "1"})
    out["fano_se"] = (over, np.reshape(fano_se, shape_over), {"long_name": "standard error of it", "units": "1"})
    out["window_count"] = ("window", np.array(samples, dtype=np.int64), {"long_name": "number of counts", "units": "1"})
    return out


def _rate_error(table: TrainTable, number: npt.NDArray[np.int64]) -> Array:
    """Return the error of the rate, Hz, (stimulus, neuron): the spread over trials, or over pieces of one trial."""
    pieces: Array = number.astype(np.float64)
    length = table.duration
    if table.trials == 1:
        parts = _PIECES if table.step is None else int(min(_PIECES, np.floor(table.duration / table.step + 1e-9)))
        if parts < 2:
            return np.full((table.stimuli, table.neurons), np.nan)
        length = table.duration / parts if table.step is None else table.step * (table.duration // (parts * table.step))
        # Spikes lie on multiples of the step, up to rounding.
        edges = table.begin + length * np.arange(parts + 1, dtype=np.float64) - 1e-3 * (table.step or 0.0)
        number_of = counts_between(table.times, table.start, edges)
        pieces = np.swapaxes(number_of.reshape(table.stimuli, table.neurons, parts), 1, 2)
    error: Array = pieces.std(axis=1, ddof=1) / np.sqrt(pieces.shape[1]) / (1e-3 * length)
    return error


def _local(pairs: Array, mean: Array, squares: Array, products: Array, minimum: int) -> tuple[Array, Array]:
    """Return the mean of each unit's pairs of intervals and its error; neighbouring pairs share an interval."""
    variance = squares + 2 * products
    enough = pairs >= minimum
    # Negative by chance only, in few pairs.
    known = enough & (variance > 0)
    error = np.where(known, np.sqrt(np.where(known, variance, 0.0)) / np.maximum(pairs, 1), np.nan)
    return np.where(enough, mean, np.nan), error
