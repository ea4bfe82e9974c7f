"""A quantity over two parameters, predicted and simulated."""

from __future__ import annotations

import numpy as np
import xarray as xr


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
