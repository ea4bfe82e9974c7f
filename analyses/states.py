"""Synchrony of populations, and the state of a network: synchronous or asynchronous, regular or irregular."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from mnnbio.analyses.binned_counts import binned_counts, population_names, population_rates, recorded
from mnnbio.analyses.spectra import oscillation, population_spectra
from mnnbio.analyses.spike_trains import spike_statistics
from mnnbio.machine import require_integer

Array = npt.NDArray[np.float64]

_SYNCHRONY_BIN = 5.0  # ms

MEASURES = {
    "chi": "synchrony of Golomb and Rinzel",
    "mean_correlation": "mean correlation of pairs, weighted by their variances",
    "population_fano": "Fano factor of the summed count",
    "excess_variance": "squared coefficient of variation of the rate beyond independent Poisson trains",
}


def synchrony(result: xr.DataTree | xr.Dataset, bin: Any = None, *, blocks: int = 10) -> xr.Dataset:
    r"""Measure synchrony of every population from spike counts in bins.

    With x\ :sub:`i` the counts of N neurons, A their mean, and variances over time:

    - ``chi``: :math:`\chi = \sqrt{\mathrm{Var}(A) / \langle \mathrm{Var}(x_i) \rangle}`, 1 for identical trains and
      :math:`1/\sqrt N` for independent ones;
    - ``mean_correlation``: :math:`(N \chi^2 - 1)/(N - 1)`, 1 and 0 there;
    - ``population_fano``: :math:`N \mathrm{Var}(A)/\langle A \rangle`, 1 for independent Poisson trains;
    - ``excess_variance``: :math:`\mathrm{Var}(A)/\langle A \rangle^2 - 1/(N \langle A \rangle)`, the squared relative
      amplitude of the common rate's fluctuations; 0 for independent Poisson trains, below for regular ones.

    Parameters
    ----------
    result : DataTree or Dataset
        A result with ``/spikes`` or counts of neurons.
    bin : float or Quantity, optional
        Length of a bin, ms: a whole number of steps. Synchrony on shorter times is not seen. Default: the one nearest
        to 5 ms.
    blocks : int
        Blocks that each trial is cut into for the standard errors (delete-one jackknife over all blocks).

    Returns
    -------
    Dataset
        Each measure and its error ``<name>_se`` over ([stimulus,] population); NaN without spikes.

    Raises
    ------
    ValueError
        If only populations were counted, or a trial has fewer than two bins a block.

    References
    ----------
    D. Golomb, J. Rinzel (1994), Clustering in globally coupled inhibitory neurons, Physica D 72, 259-282.
    """
    require_integer("blocks", blocks, 2)
    table = binned_counts(result, recorded(result).bin(bin, _SYNCHRONY_BIN))
    if "neuron" not in table.dims:
        raise ValueError("synchrony needs counts of single neurons, these are of populations")
    length = table.sizes["time"] // blocks
    if length < 2:
        raise ValueError(f"{table.sizes['time']} bins a trial are too few for {blocks} blocks: shorten `bin`")
    names = population_names(table)
    order = list(dict.fromkeys(names.tolist()))
    if not order:
        raise ValueError("synchrony needs neurons, the result has none")
    lead = [str(d) for d in table.dims if d not in ("trial", "time", "neuron")]
    cut = table.isel(time=slice(length * blocks)).transpose(*lead, "trial", "time", "neuron")
    shape = cut.shape
    values = cut.to_numpy().reshape(*shape[: len(lead)], shape[-3] * blocks, length, shape[-1])
    found = [_jackknife(values[..., names == name].astype(np.float64)) for name in order]
    data: dict[str, Any] = {}
    dims = (*lead, "population")
    for k, (name, text) in enumerate(MEASURES.items()):
        value, se = (np.stack([one[side][..., k] for one in found], axis=-1) for side in (0, 1))
        data[name] = (dims, value, {"units": "1", "long_name": text})
        data[f"{name}_se"] = (dims, se, {"units": "1", "long_name": f"standard error of the {text}"})
    coords = {name: table.coords[name] for name in lead if name in table.coords} | {"population": order}
    return xr.Dataset(data, coords=coords, attrs={"bin": table.attrs["bin"], "blocks": blocks})


def _jackknife(values: Array) -> tuple[Array, Array]:
    """Return the measures of counts (..., block, time, neuron) and their standard errors, (..., measure)."""
    n, length = values.shape[-1], values.shape[-2]
    mean = values.mean(axis=-1)
    # Sums over the time of each block, of which all variances are made.
    parts = (values.sum(axis=-2), (values**2).sum(axis=-2), mean.sum(axis=-1), (mean**2).sum(axis=-1))
    number = values.shape[-3]
    whole = [part.sum(axis=k, keepdims=True) for part, k in zip(parts, (-2, -2, -1, -1), strict=True)]
    value = _measures(*whole, samples=length * number, n=n)[..., 0, :]
    left = [total - part for total, part in zip(whole, parts, strict=True)]
    spread = _measures(*left, samples=length * (number - 1), n=n)
    return value, np.sqrt((number - 1) * spread.var(axis=-2))


def _measures(own: Array, own_square: Array, mean: Array, square: Array, *, samples: int, n: int) -> Array:
    """Return the measures from sums over time, (..., set, measure)."""
    scale = samples / (samples - 1)
    single = (scale * (own_square / samples - (own / samples) ** 2)).mean(axis=-1)
    level = mean / samples
    variance = scale * (square / samples - level**2)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = variance / single
        pair = (n * ratio - 1) / (n - 1) if n > 1 else np.full(ratio.shape, np.nan)
        return np.stack([np.sqrt(ratio), pair, n * variance / level, variance / level**2 - 1 / (n * level)], axis=-1)


EVERYTHING = "all"


def network_state(
    result: xr.DataTree | xr.Dataset,
    *,
    bin: Any = None,
    segment: Any = None,
    synchronous_above: float = 0.35,
    regular_below: float = 0.2,
    min_intervals: int = 5,
) -> xr.Dataset:
    r"""Classify the activity of a whole network.

    After Brunel (2000), a state is *synchronous* where the global activity A varies in time even in an infinite
    network, *irregular* where neurons fire with a coefficient of variation well above zero. For a finite network the
    criteria are

    - ``excess_variance`` :math:`\mathrm{Var}(A)/\langle A\rangle^2 - 1/(N \langle A \rangle)`, with A the spikes per
      neuron in a bin: what independent Poisson trains would add is taken away; synchronous above `synchronous_above`;
    - ``cv``, the mean coefficient of variation of the neurons' intervals; regular below `regular_below`.

    Both limits are conventions: in a finite network transitions are continuous, and the fluctuations of an asynchronous
    state fall only as 1/N (Brunel's panel C has an excess variance of 0.28 with 12,500 neurons, of 1.5 with 2,500).

    Parameters
    ----------
    result : DataTree or Dataset
        A result with ``/spikes``, or that group.
    bin : float or Quantity, optional
        Bin of the global activity, ms: a whole number of steps, short against the period of an oscillation. Default:
        the one nearest to 1 ms.
    segment : float or Quantity, optional
        Length of the segments of its spectrum, ms; see `population_spectra`.
    synchronous_above, regular_below : float
        The limits.
    min_intervals : int
        Neurons with fewer intervals are left out of the mean of `cv`.

    Returns
    -------
    Dataset
        Over ([stimulus]): ``state``, such as "asynchronous irregular", "silent", or "asynchronous, too few
        intervals"; ``rate`` (Hz), ``cv``, ``excess_variance``, ``frequency_peak`` (Hz) and ``prominence`` of the
        global activity's spectrum (see `oscillation`).

    Raises
    ------
    ValueError
        If there are no spike trains or no neurons, or the bin or the segment does not suit them.

    References
    ----------
    N. Brunel (2000), J. Comput. Neurosci. 8, 183-208, sec. 1 and Fig. 8.
    """
    found_in = recorded(result)
    if "row_size" not in found_in.data:
        raise ValueError("the state of a network needs spike trains, the result has counts only")
    spikes = found_in.data
    if not spikes.sizes["neuron"]:
        raise ValueError("the state of a network needs neurons, the result has none")
    pooled = _pooled(population_rates(spikes, bin))
    width = float(pooled.attrs["bin"])
    statistics = spike_statistics(spikes, windows=(), min_intervals=min_intervals)
    n = spikes.sizes["neuron"]
    rate = pooled.mean(["trial", "time"]).isel(population=0, drop=True)
    variance = pooled.var(["trial", "time"], ddof=1).isel(population=0, drop=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        excess = variance / rate**2 - 1 / (n * width * rate)
    cv = statistics["cv"].mean("neuron")
    peak = oscillation(population_spectra(pooled, segment)).isel(population=0, drop=True)
    order = xr.where(excess > synchronous_above, "synchronous", "asynchronous")
    rhythm = xr.where(cv < regular_below, " regular", xr.where(cv.isnull(), ", too few intervals", " irregular"))
    state = xr.apply_ufunc(np.char.add, order.astype(str), rhythm.astype(str))
    state = xr.where(rate > 0, state, "silent")
    found: dict[str, tuple[xr.DataArray, str, str]] = {
        "state": (state, "", "state of the network"),
        "rate": (rate, "Hz", "mean rate of all neurons"),
        "cv": (cv, "1", "mean coefficient of variation of the interspike intervals"),
        "excess_variance": (excess, "1", "squared relative amplitude of the global activity beyond Poisson trains"),
        "frequency_peak": (peak["frequency_peak"], "Hz", "frequency of the strongest oscillation"),
        "prominence": (peak["prominence"], "1", "its power over the median power"),
    }
    out = xr.Dataset({name: value.drop_attrs() for name, (value, _, _) in found.items()})
    for name, (_, units, text) in found.items():
        out[name].attrs = {"long_name": text} | ({"units": units} if units else {})
    return out.assign_attrs(bin=width, synchronous_above=synchronous_above, regular_below=regular_below, neurons=n)


def _pooled(rates: xr.DataArray) -> xr.DataArray:
    """Return the rate of all neurons together."""
    size: Any = rates["size"]
    together = (rates * size).sum("population") / size.sum()
    return together.expand_dims(population=[EVERYTHING], axis=-1).assign_attrs(rates.attrs)
