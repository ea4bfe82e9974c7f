"""Responses of population rates to a step, averaged over trials.

A quantity over two parameters, predicted and simulated.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

Array = npt.NDArray[np.float64]


def step_response(
    rates: xr.DataArray, at: float, *, before: float = 0.1, after: float = 0.2, settled: float = 0.1
) -> xr.Dataset:
    """Average population rates around a step, and measure what it changed.

    Parameters
    ----------
    rates : DataArray
        What `population_rates` returns.
    at : float
        Time of the step, s from the end of the warm-up.
    before, after : float
        Time shown and averaged before the step, and shown after it, s.
    settled : float
        Length of the end of `after` that is averaged as the new state, s.

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
    if not 0 < settled <= after or before <= 0:
        raise ValueError(
            "`before`, `after` and `settled` must be > 0 s and `settled` at most `after`, got "
            f"{before:g}, {after:g} and {settled:g}"
        )
    bin, time = float(rates.attrs["bin"]), rates["time"].to_numpy() - at
    start, stop = time[0] - bin / 2, time[-1] + bin / 2
    if start > -before + 1e-9 or stop < after - 1e-9:
        raise ValueError(
            f"the rates cover {start:g} s to {stop:g} s around the step, {-before:g} s to {after:g} s are asked for"
        )
    lead = [str(d) for d in rates.dims if d not in ("trial", "time", "population")]
    inside = (time > -before) & (time < after)
    values = rates.transpose(*lead, "trial", "time", "population").to_numpy()[..., inside, :]
    shown = time[inside]
    baseline = values[..., shown < 0, :].mean(axis=-2)
    steady = values[..., shown > after - settled, :].mean(axis=-2)
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
    data["peak_time"] = (one, shown[shown > 0][place], {"units": "s", "long_name": "time of it after the step"})
    coords: dict[str, Any] = {name: rates.coords[name] for name in (*lead, "population") if name in rates.coords}
    coords["time"] = ("time", shown, {"units": "s", "long_name": "time after the step"})
    return xr.Dataset(data, coords=coords, attrs={"at": at, "trials": rates.sizes["trial"]})


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
