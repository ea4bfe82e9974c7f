"""Responses of population rates to a step, and diagrams of a quantity over two parameters of a sweep."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from mnnbio.analyses.spectra import bin_of
from mnnbio.results import single_time

Array = npt.NDArray[np.float64]


def step_response(
    rates: xr.DataArray, at: Any, *, before: Any = 100.0, after: Any = 200.0, settled: Any = 100.0
) -> xr.Dataset:
    """Average population rates around a step, and measure what it changed.

    Parameters
    ----------
    rates : DataArray
        Population rates, as `population_rates` returns them.
    at : float or Quantity
        Time of the step, ms from the end of the warm-up.
    before, after : float or Quantity
        Time shown and averaged before the step, and shown after it, ms.
    settled : float or Quantity
        Length of the end of `after` that is averaged as the new state, ms.

    Returns
    -------
    Dataset
        Over ([stimulus,] time, population): ``response`` (Hz), `time` counted from the step; over ([stimulus,]
        population): ``baseline`` and ``steady`` (Hz), their difference ``change``, and ``peak``, the largest deviation
        from the baseline (Hz), with ``peak_time`` (s). Errors ``<name>_se`` are over trials, NaN for a single one; the
        change's is paired. A peak is the largest of many bins, so noise makes it larger.

    Raises
    ------
    ValueError
        If the times around the step were not recorded, or `settled` is longer than `after`.
    """
    bin = bin_of(rates)
    step, pre, post, end = (
        single_time(value, name)
        for value, name in ((at, "at"), (before, "before"), (after, "after"), (settled, "settled"))
    )
    if not 0 < end <= post or pre <= 0:
        raise ValueError(
            "`before`, `after` and `settled` must be > 0 ms and `settled` at most `after`, got "
            f"{pre:g}, {post:g} and {end:g} ms"
        )
    time = 1e3 * rates["time"].to_numpy() - step
    if not len(time):
        raise ValueError("the rates hold no time")
    start, stop = time[0] - 500 * bin, time[-1] + 500 * bin
    if start > -pre + 1e-6 or stop < post - 1e-6:
        raise ValueError(
            f"the rates cover {start:g} ms to {stop:g} ms around the step, {-pre:g} ms to {post:g} ms are asked for"
        )
    if min(pre, post, end) < 1e3 * bin:
        raise ValueError(
            f"`before`, `after` and `settled` must hold a bin of {1e3 * bin:g} ms, got {min(pre, end):g} ms"
        )
    lead = [str(d) for d in rates.dims if d not in ("trial", "time", "population")]
    inside = (time > -pre) & (time < post)
    values = rates.transpose(*lead, "trial", "time", "population").to_numpy()[..., inside, :]
    shown = time[inside]
    baseline = values[..., shown < 0, :].mean(axis=-2)
    steady = values[..., shown > post - end, :].mean(axis=-2)
    data: dict[str, Any] = {}
    one, two = (*lead, "population"), (*lead, "time", "population")
    for name, sample, axis, dims, text in (
        ("response", values, -3, two, "population rate around the step"),
        ("baseline", baseline, -2, one, "rate before the step"),
        ("steady", steady, -2, one, "rate after the step"),
        ("change", steady - baseline, -2, one, "change of the rate"),
    ):
        data[name] = (dims, sample.mean(axis=axis), {"units": "Hz", "long_name": text})
        data[f"{name}_se"] = (dims, _se(sample, axis), {"units": "Hz", "long_name": f"standard error of the {text}"})
    deviation = values.mean(axis=-3)[..., shown > 0, :] - baseline.mean(axis=-2)[..., None, :]
    place = np.abs(deviation).argmax(axis=-2)
    peak = np.take_along_axis(deviation, place[..., None, :], axis=-2)[..., 0, :]
    data["peak"] = (one, peak, {"units": "Hz", "long_name": "largest deviation from the baseline"})
    data["peak_time"] = (one, 1e-3 * shown[shown > 0][place], {"units": "s", "long_name": "time of it after the step"})
    coords: dict[str, Any] = {name: rates.coords[name] for name in (*lead, "population") if name in rates.coords}
    coords["time"] = ("time", 1e-3 * shown, {"units": "s", "long_name": "time after the step"})
    return xr.Dataset(data, coords=coords, attrs={"at": 1e-3 * step, "trials": rates.sizes["trial"]})


def _se(sample: Array, axis: int) -> Array:
    n = sample.shape[axis]
    if n < 2:
        return np.full(sample.mean(axis=axis).shape, np.nan)
    return np.asarray(sample.std(axis=axis, ddof=1) / np.sqrt(n))


def phase_diagram(
    sweep: xr.DataTree, x: str, y: str, quantity: str = "rate", *, population: str | None = None
) -> xr.Dataset:
    """Arrange the results of a sweep as a diagram over two of its parameters.

    Parameters
    ----------
    sweep : DataTree
        Groups ``prediction`` and ``simulation`` (or one of them) with variables over the parameters, as `open_sweep`
        returns.
    x, y : str
        The parameters.
    quantity : str
        A variable of these groups.
    population : str, optional
        The population whose neurons are averaged; by default all neurons, or all populations, alike.

    Returns
    -------
    Dataset
        In memory, over (y, x): ``predicted``, ``simulated`` and, where it is known, ``simulated_se``.

    Raises
    ------
    ValueError
        If the sweep lacks a parameter, the quantity or the population, or has further parameters.
    """
    found: dict[str, xr.DataArray] = {}
    for name, side in (("prediction", "predicted"), ("simulation", "simulated")):
        if name not in sweep.children or quantity not in sweep[name].data_vars:
            continue
        values = sweep[name].to_dataset()
        found[side] = _averaged(values[quantity], x, y, population)
        error = values.get(f"{quantity}_se")
        if side == "simulated" and error is not None:
            squares, number = _averaged(error**2, x, y, population), _number(error, population)
            found["simulated_se"] = ((squares / number) ** 0.5).assign_attrs(error.attrs)
    if not found:
        raise ValueError(
            f"the sweep has no `{quantity}` in /prediction or /simulation; it has {', '.join(sweep.groups)}"
        )
    return xr.Dataset(found).compute()


def _averaged(values: xr.DataArray, x: str, y: str, population: str | None) -> xr.DataArray:
    for name in (x, y):
        if name not in values.dims:
            raise ValueError(f"the sweep varies {', '.join(map(str, values.dims))}, not {name!r}")
    chosen = _chosen(values, population)
    mean = chosen.mean([d for d in ("neuron", "population") if d in chosen.dims], keep_attrs=True)
    if further := sorted(map(str, set(mean.dims) - {x, y})):
        raise ValueError(f"the sweep varies {', '.join(further)} as well: select one value of each")
    return mean.transpose(y, x)


def _chosen(values: xr.DataArray, population: str | None) -> xr.DataArray:
    if population is None:
        return values
    dim = "neuron" if "neuron" in values.dims else "population"
    mine = values["population"].to_numpy() == population
    if not mine.any():
        known = ", ".join(dict.fromkeys(values["population"].to_numpy().astype(str).tolist()))
        raise ValueError(f"no population {population!r} in the sweep; it has {known}")
    return values.isel({dim: np.flatnonzero(mine)})


def _number(values: xr.DataArray, population: str | None) -> int:
    """Return over how many neurons or populations the mean is."""
    chosen = _chosen(values, population)
    return int(np.prod([chosen.sizes[d] for d in ("neuron", "population") if d in chosen.dims]))
