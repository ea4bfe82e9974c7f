"""Few numbers by which results are told apart, and tables of rates, of any result."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import xarray as xr

from mnnbio.analyses import captions
from mnnbio.analyses.report_page import Table

_MOST_POPULATIONS = 6
_SIDES = {"simulation": "simulated", "prediction": "predicted"}


def key_figures(tree: xr.DataTree, comparison: xr.Dataset | None, decisions: xr.Dataset | None) -> dict[str, str]:
    """Return the key figures of a result by their labels, as text.

    Parameters
    ----------
    tree : DataTree
    comparison, decisions : Dataset, optional
        Comparison of all, and of the decisions.
    """
    found = dict(_sizes(tree))
    for side, word in _SIDES.items():
        if side in tree.children:
            found |= _rates(tree[side].to_dataset(), word)
    if comparison is not None:
        found |= dict(_agreement(comparison))
    if decisions is not None:
        for name, label in (
            ("moment_accuracy", "Accuracy, moments"),
            ("spiking_accuracy", "Accuracy, spikes"),
            ("agreement", "Agreement of decisions"),
        ):
            if name in decisions:
                found[label] = captions.percent(decisions[name], 3)
        for name, label in (("moment_r2", "R², moments"), ("spiking_r2", "R², spikes")):
            if name in decisions:
                found[label] = captions.number(decisions[name])
    return found


def _sizes(tree: xr.DataTree) -> Iterator[tuple[str, str]]:
    data = next((tree[name].to_dataset() for name in _SIDES if name in tree.children), None)
    if data is None:
        data = tree["comparison"].to_dataset() if "comparison" in tree.children else None
    if data is not None and "neuron" in data.sizes:
        yield "Neurons", f"{data.sizes['neuron']}"
    if data is not None and "stimulus" in data.sizes:
        yield "Stimuli", f"{data.sizes['stimulus']}"
    if {"trials", "duration"} <= set(tree.attrs):
        yield "Recorded", f"{tree.attrs['trials']} × {1e3 * float(tree.attrs['duration']):g} ms"
    if "spikes" in tree.children:
        yield "Spikes", f"{tree['spikes'].sizes['spike']:,}".replace(",", "\N{NO-BREAK SPACE}")


def _rates(data: xr.Dataset, word: str) -> dict[str, str]:
    """Return mean rates of populations, or of all neurons where there are many populations."""
    if "rate" not in data:
        return {}
    rate = data["rate"]
    if "population" in rate.dims:
        means = rate.mean([dim for dim in rate.dims if dim != "population"])
        names = means["population"].to_numpy().tolist()
        return {f"Rate of {name}, {word}": _hertz(means.sel(population=name)) for name in names[:_MOST_POPULATIONS]}
    names = list(dict.fromkeys(rate["population"].to_numpy().tolist())) if "population" in rate.coords else []
    if not 1 < len(names) <= _MOST_POPULATIONS:
        return {f"Rate, {word}": _hertz(rate.mean())}
    owners = rate["population"].to_numpy()
    return {f"Rate of {name}, {word}": _hertz(rate.isel(neuron=owners == name).mean()) for name in names}


def _hertz(value: xr.DataArray) -> str:
    return f"{captions.number(value)} Hz"


def _agreement(comparison: xr.Dataset) -> Iterator[tuple[str, str]]:
    key = captions.prefix(comparison, "rate")
    for name, label, text in (
        ("median_relative_error", "Rates, median relative error", captions.percent),
        ("r", "Rates, r", captions.correlation),
        ("z_rms", "Rates, r.m.s. z", captions.number),
        ("p", "Rates, p", captions.probability),
    ):
        if f"{key}_{name}" in comparison:
            shown = text(comparison[f"{key}_{name}"])
            yield label, shown.removeprefix("p = ").removeprefix("p ")
    variance = captions.prefix(comparison, "count_variance")
    if f"{variance}_median_ratio" in comparison:
        yield "Count variances, simulated/predicted", captions.number(comparison[f"{variance}_median_ratio"])
    for name in ("count_covariance", "covariance"):
        if f"{name}_r" in comparison:
            yield "Covariances of pairs, r", captions.correlation(comparison[f"{name}_r"])
            return


def rate_table(tree: xr.DataTree) -> Table | None:
    """Return a table of the populations of a prediction or a simulation; None where there are no rates."""
    side = next((name for name in _SIDES if name in tree.children and "rate" in tree[name]), None)
    if side is None:
        return None
    data = tree[side].to_dataset()
    rate = data["rate"]
    head = ["Population", "Neurons", "Mean rate (Hz)", "Lowest to highest", "Mean Fano factor"]
    fano = next((data[name] for name in ("count_fano", "fano") if name in data), None)
    rows = []
    over_populations = "population" in rate.dims
    if over_populations:
        members = [(str(name), {"population": [k]}, "–") for k, name in enumerate(rate["population"].to_numpy())]
    else:
        owners = rate["population"].to_numpy() if "population" in rate.coords else np.full(rate.sizes["neuron"], "all")
        members = []
        for name in dict.fromkeys(owners.tolist()):
            mine = np.flatnonzero(owners == name)
            members.append((str(name), {"neuron": mine.tolist()}, str(len(mine))))
    for name, place, number in members:
        own = rate.isel(place)
        spread = "–" if over_populations and own.size == 1 else _range(own)
        ratio = captions.number(fano.isel(place).mean()) if fano is not None and set(place) <= set(fano.dims) else "–"
        rows.append([name, number, captions.number(own.mean()), spread, ratio])
    what = "Simulated" if side == "simulation" else "Predicted"
    return Table(f"{what} firing rates by population", head, rows)


def _range(values: xr.DataArray) -> str:
    return f"{captions.number(values.min())} to {captions.number(values.max())}"


def contents(tree: xr.DataTree) -> Table:
    """Return a table of every variable of a tree: for results that no figure is known for."""
    rows = []
    for node in tree.subtree:
        for name, variable in node.to_dataset(inherit=False).data_vars.items():
            size = " × ".join(f"{dim} {n}" for dim, n in variable.sizes.items()) or "–"
            values = variable.to_numpy()
            if values.dtype.kind in "iuf" and values.size and np.isfinite(values).any():
                low, high = captions.number(np.nanmin(values)), captions.number(np.nanmax(values))
                shown = low if low == high else f"{low} to {high}"
            else:
                shown = str(values)[:40] if values.ndim == 0 else "–"
            where = f"{node.path.rstrip('/')}/{name}"
            text = str(variable.attrs.get("long_name", ""))
            rows.append([where, size, text, shown, str(variable.attrs.get("units", ""))])
    return Table("What the result holds", ["Variable", "Size", "What it is", "Values", "Unit"], rows)
