"""The state of a network: synchronous or asynchronous, regular or irregular."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from mnnbio.analyses.alignment import group
from mnnbio.analyses.binned_counts import population_rates
from mnnbio.analyses.spectra import oscillation, population_spectra
from mnnbio.analyses.spike_trains import spike_statistics

EVERYTHING = "all"


def network_state(
    result: xr.DataTree | xr.Dataset,
    *,
    bin: float = 1e-3,
    segment: float | None = None,
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
    bin : float
        Bin of the global activity, s; short against the period of an oscillation.
    segment : float, optional
        Length of the segments of its spectrum, s; see `population_spectra`.
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

    References
    ----------
    N. Brunel (2000), J. Comput. Neurosci. 8, 183-208, sec. 1 and Fig. 8.
    """
    spikes = group(result, "spikes")
    pooled = _pooled(population_rates(spikes, bin))
    statistics = spike_statistics(spikes, windows=(), min_intervals=min_intervals)
    n = spikes.sizes["neuron"]
    rate = pooled.mean(["trial", "time"]).isel(population=0, drop=True)
    variance = pooled.var(["trial", "time"], ddof=1).isel(population=0, drop=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        excess = variance / rate**2 - 1 / (n * bin * rate)
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
    return out.assign_attrs(bin=bin, synchronous_above=synchronous_above, regular_below=regular_below, neurons=n)


def _pooled(rates: xr.DataArray) -> xr.DataArray:
    """Return the rate of all neurons together."""
    size: Any = rates["size"]
    together = (rates * size).sum("population") / size.sum()
    return together.expand_dims(population=[EVERYTHING], axis=-1).assign_attrs(rates.attrs)
