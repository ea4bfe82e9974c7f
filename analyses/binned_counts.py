"""Spike counts in short bins, of neurons and of populations, from spike trains or from stored counts."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr

from mnnbio.analyses.alignment import group
from mnnbio.analyses.circuit_text import circuit_description, result_of
from mnnbio.results import counts, rounded_to_steps, single_time, whole_steps

_RATE_BIN = 1.0  # ms


class Recorded(NamedTuple):
    """Spike trains or counts of a result, and the time of which bins are whole multiples."""

    data: xr.Dataset
    step: float | None
    """Step of the simulation, or bin of the stored counts, ms; None for trains of unknown step."""

    @property
    def step_name(self) -> str:
        """Name of the step, for messages."""
        return "dt" if "row_size" in self.data else "the stored bin"

    def bin(self, bin: Any, default: float, name: str = "bin") -> float:
        """Return a bin that was asked for, ms, or the whole number of steps nearest to the default.

        Raises
        ------
        ValueError
            If it is not a time > 0, or not a whole number of steps.
        """
        if bin is None:
            return rounded_to_steps(default, self.step)
        length = single_time(bin, name)
        if not length > 0:
            raise ValueError(f"`{name}` must be a time > 0 ms, got {length:g} ms")
        return length if self.step is None else self.step * whole_steps(length, self.step, name, step=self.step_name)


def binned_counts(result: xr.DataTree | xr.Dataset, bin: Any, *, start: Any = 0.0, stop: Any = None) -> xr.DataArray:
    """Return spike counts in adjacent bins.

    Parameters
    ----------
    result : DataTree or Dataset
        A result with ``/spikes`` or ``/counts``, or such a group.
    bin : float or Quantity
        Length of a bin, ms: a whole number of steps of the simulation, or of stored bins, which are then summed.
    start : float or Quantity
        Where the first bin begins, ms from the end of the warm-up; negative within the warm-up.
    stop : float or Quantity, optional
        Where bins end at the latest, ms; default: the end of the recording.

    Returns
    -------
    DataArray
        Integers over ``([stimulus,] trial, time, neuron)``, or with ``population`` in place of ``neuron`` where only
        populations were counted; `time` is the middle of each bin, s. The attribute `bin` is its length, s.

    Raises
    ------
    ValueError
        If there is neither spikes nor counts, or the bin does not suit them.
    """
    source = recorded(result)
    length, first = source.bin(bin, _RATE_BIN), single_time(start, "start")
    last = None if stop is None else single_time(stop, "stop")
    if "row_size" in source.data:
        return _from_spikes(source.data, length, first, last)
    return _from_counts(source.data["count"], length, first, last)


def population_rates(
    result: xr.DataTree | xr.Dataset, bin: Any = None, *, start: Any = 0.0, stop: Any = None
) -> xr.DataArray:
    """Return the rate of every population against time, averaged over its neurons.

    Parameters
    ----------
    result : DataTree or Dataset
        A result with ``/spikes`` or ``/counts``, or such a group.
    bin : float or Quantity, optional
        Length of a bin, ms: a whole number of steps. Default: the one nearest to 1 ms.
    start : float or Quantity
        Where the first bin begins, ms from the end of the warm-up; negative within the warm-up.
    stop : float or Quantity, optional
        Where bins end at the latest, ms; default: the end of the recording.

    Returns
    -------
    DataArray
        Hz, over ``([stimulus,] trial, time, population)``, with the numbers of neurons as coordinate `size`; the
        attribute `bin` is in s.

    Raises
    ------
    ValueError
        As of `binned_counts`; or if counts of populations stand without the circuit that has their sizes.
    """
    length = recorded(result).bin(bin, _RATE_BIN)
    table = binned_counts(result, length, start=start, stop=stop)
    if "neuron" in table.dims:
        names = population_names(table)
        order = list(dict.fromkeys(names.tolist()))
        sizes = [int((names == name).sum()) for name in order]
        if order:
            sums = [table.isel(neuron=np.flatnonzero(names == name)).sum("neuron") for name in order]
            table = xr.concat(sums, xr.Variable("population", order)).transpose(..., "time", "population")
        else:
            table = table.drop_vars(["population", "index", "neuron"], errors="ignore").rename(neuron="population")
            table = table.assign_coords(population=np.array([], dtype=str))
    else:
        sizes = _sizes(result, table["population"].to_numpy().tolist())
    table = table.assign_coords(size=("population", sizes))
    rates: xr.DataArray = table / (table["size"] * 1e-3 * length)
    return rates.rename("population_rate").assign_attrs(units="Hz", long_name="population rate", bin=1e-3 * length)


def population_names(data: xr.DataArray | xr.Dataset) -> npt.NDArray[Any]:
    """Return the population of every neuron.

    Raises
    ------
    ValueError
        If neurons are not labelled by their population.
    """
    if "population" not in data.coords or data["population"].dims != ("neuron",):
        known = ", ".join(map(str, data.coords)) or "none"
        raise ValueError(f"neurons must be labelled by a coordinate `population` over `neuron`; coordinates: {known}")
    return np.asarray(data["population"].to_numpy())


def recorded(result: xr.DataTree | xr.Dataset) -> Recorded:
    """Return the spike trains of a result, or its counts where there are no trains, with their step.

    Raises
    ------
    ValueError
        If there are neither.
    TypeError
        If it is no result.
    """
    if isinstance(result, xr.DataTree):
        for name in ("spikes", "counts"):
            if name in result.children or result.name == name:
                return _with_step(group(result, name), result_of(result).attrs.get("dt"))
        raise ValueError(
            f"the result has neither /spikes nor /counts; it has {', '.join(result.groups)}. Simulate with "
            "`record` naming populations, or with Counts"
        )
    if not isinstance(result, xr.Dataset):
        raise TypeError(f"expected a result, an xarray DataTree or Dataset, got {type(result).__name__}")
    if "row_size" in result or "count" in result:
        return _with_step(result, None)
    raise ValueError(f"expected spike trains or counts, got a dataset of {', '.join(map(str, result.data_vars))}")


def _with_step(data: xr.Dataset, dt: float | None) -> Recorded:
    """Return data with their step: that of their own attributes, else `dt` (s)."""
    if "row_size" not in data:
        if "bin" not in data["count"].attrs:
            raise ValueError("stored counts must have the length of their bins, s, as the attribute `bin` of `count`")
        return Recorded(data, 1e3 * float(data["count"].attrs["bin"]))
    own = data.attrs.get("dt", dt)
    if own is None:
        return Recorded(data, None)
    # The step travels with the trains, so that counting knows it too.
    return Recorded(data.assign_attrs(dt=float(own)), 1e3 * float(own))


def _time(middles: npt.NDArray[Any]) -> tuple[str, npt.NDArray[Any], dict[str, str]]:
    return "time", middles, {"units": "s", "long_name": "time after the warm-up"}


def _from_spikes(spikes: xr.Dataset, bin: float, start: float, stop: float | None) -> xr.DataArray:
    table = counts(spikes, bin, start=start, stop=stop).rename(window="time")
    middles = 1e-3 * start + 1e-3 * bin * (np.arange(table.sizes["time"]) + 0.5)
    return table.assign_coords(time=_time(middles)).assign_attrs(bin=1e-3 * bin)


def _from_counts(stored: xr.DataArray, bin: float, start: float, stop: float | None) -> xr.DataArray:
    """Return sums of neighbouring stored counts."""
    own = float(stored.attrs["bin"])
    joined = round(1e-3 * bin / own)
    begins = stored["time"].to_numpy()
    last = np.inf if stop is None else 1e-3 * stop
    kept = stored.isel(time=np.flatnonzero((begins > 1e-3 * start - own / 2) & (begins + own / 2 < last)))
    number = kept.sizes["time"] // joined
    if number < 1:
        raise ValueError(f"a bin of {bin:g} ms does not fit into the {1e3 * kept.sizes['time'] * own:g} ms counted")
    table = kept.isel(time=slice(number * joined)).coarsen(time=joined).sum()
    # Stored times are the starts of bins; those of the joined ones are their mean.
    middles = table["time"].to_numpy() + own / 2
    return table.assign_coords(time=_time(middles)).assign_attrs({**stored.attrs, "bin": 1e-3 * bin})


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
