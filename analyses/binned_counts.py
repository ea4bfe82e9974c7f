"""Spike counts in short bins, of neurons and of populations, from spike trains or from stored counts."""

from __future__ import annotations

import numpy as np
import xarray as xr

from mnnbio.analyses.alignment import group
from mnnbio.analyses.circuit_text import circuit_description
from mnnbio.results import counts


def binned_counts(result: xr.DataTree | xr.Dataset, bin: float, *, start: float = 0.0) -> xr.DataArray:
    """Return spike counts in adjacent bins.

    Parameters
    ----------
    result : DataTree or Dataset
        A result with ``/spikes`` or ``/counts``, or such a group.
    bin : float
        Length of a bin, s. Stored counts are summed: their bin must divide it.
    start : float
        Where the first bin begins, s from the end of the warm-up; negative within the warm-up.

    Returns
    -------
    DataArray
        Integers over ``([stimulus,] trial, time, neuron)``, or with ``population`` in place of ``neuron`` where only
        populations were counted; `time` is the middle of each bin, s. The attribute `bin` is its length.

    Raises
    ------
    ValueError
        If there is neither spikes nor counts, or the bin does not suit them.
    """
    if not (np.isfinite(bin) and bin > 0):
        raise ValueError(f"`bin` must be a time > 0 s, got {bin!r}")
    source = _source(result)
    if "row_size" in source:
        return _from_spikes(source, bin, start)
    return _from_counts(source["count"], bin, start)


def population_rates(result: xr.DataTree | xr.Dataset, bin: float = 1e-3, *, start: float = 0.0) -> xr.DataArray:
    """Return the rate of every population against time, averaged over its neurons.

    Parameters
    ----------
    result : DataTree or Dataset
        A result with ``/spikes`` or ``/counts``, or such a group.
    bin : float
        Length of a bin, s.
    start : float
        Where the first bin begins, s from the end of the warm-up.

    Returns
    -------
    DataArray
        Hz, over ``([stimulus,] trial, time, population)``, with the numbers of neurons as coordinate `size`.
    """
    table = binned_counts(result, bin, start=start)
    if "neuron" in table.dims:
        names = table["population"].to_numpy()
        order = list(dict.fromkeys(names.tolist()))
        sizes = [int((names == name).sum()) for name in order]
        sums = [table.isel(neuron=np.flatnonzero(names == name)).sum("neuron") for name in order]
        table = xr.concat(sums, xr.Variable("population", order)).transpose(..., "time", "population")
    else:
        sizes = _sizes(result, table["population"].to_numpy().tolist())
    table = table.assign_coords(size=("population", sizes))
    rates: xr.DataArray = table / (table["size"] * bin)
    return rates.rename("population_rate").assign_attrs(units="Hz", long_name="population rate", bin=bin)


def _source(result: xr.DataTree | xr.Dataset) -> xr.Dataset:
    """Return the spike trains of a result, or its counts where there are no trains."""
    if isinstance(result, xr.DataTree):
        for name in ("spikes", "counts"):
            if name in result.children or result.name == name:
                return group(result, name)
        raise ValueError(
            f"the result has neither /spikes nor /counts; it has {', '.join(result.groups)}. Simulate with "
            "`record` naming populations, or with Counts"
        )
    if "row_size" in result or "count" in result:
        return result
    raise ValueError(f"expected spike trains or counts, got a dataset of {', '.join(map(str, result.data_vars))}")


def _from_spikes(spikes: xr.Dataset, bin: float, start: float) -> xr.DataArray:
    table = counts(spikes, bin, start=start).rename(window="time")
    middles = start + bin * (np.arange(table.sizes["time"]) + 0.5)
    table = table.assign_coords(time=("time", middles, {"units": "s", "long_name": "time after the warm-up"}))
    return table.assign_attrs(bin=bin)


def _from_counts(stored: xr.DataArray, bin: float, start: float) -> xr.DataArray:
    """Return sums of neighbouring stored counts."""
    own = float(stored.attrs["bin"])
    joined = round(bin / own)
    if joined < 1 or abs(joined * own - bin) > 1e-6 * bin:
        raise ValueError(f"`bin` must be a multiple of the stored bin, {own:g} s, got {bin:g} s")
    kept = stored.isel(time=np.flatnonzero(stored["time"].to_numpy() > start - own / 2))
    number = kept.sizes["time"] // joined
    if number < 1:
        raise ValueError(f"a bin of {bin:g} s does not fit into the {kept.sizes['time'] * own:g} s counted")
    table = kept.isel(time=slice(number * joined)).coarsen(time=joined).sum()
    # Stored times are the starts of bins; those of the joined ones are their mean.
    middles = table["time"].to_numpy() + own / 2
    table = table.assign_coords(time=("time", middles, {"units": "s", "long_name": "time after the warm-up"}))
    return table.assign_attrs({**stored.attrs, "bin": bin})


def _sizes(result: xr.DataTree | xr.Dataset, names: list[str]) -> list[int]:
    """Return the numbers of neurons of populations, which stand in the circuit of a result."""
    description = circuit_description(result)
    known = {p["name"]: int(p["size"]) for p in (description or {}).get("populations", ())}
    if any(name not in known for name in names):
        raise ValueError(
            "counts of populations give rates only with the sizes of the populations, which stand in the circuit of a "
            "result: give the whole result, not its group /counts"
        )
    return [known[name] for name in names]
