"""Accessor ``mnnbio`` of xarray Datasets and DataTrees, for what is done with results every day."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr

from mnnbio.results.schema import group_name

Labels = Any  # one label, or a sequence of them
DataFrame = Any  # of pandas, which is imported by xarray when it makes one

# Coordinates of neurons, and the argument by which each is selected.
_BY = {"population": "population", "neuron": "neuron", "index": "index"}
_SIDES = {"prediction": "predicted", "simulation": "simulated"}
_MOST_NAMED = 12


class Extension(NamedTuple):
    """What another room adds to the accessor: figures, and the summary of a comparison."""

    plots: Callable[[xr.Dataset | xr.DataTree], Any]
    summary: Callable[[xr.Dataset], str]


_extensions: list[Extension] = []


def extend_accessor(extension: Extension) -> None:
    """Add figures and summaries to the accessor, in place of those added before."""
    _extensions[:] = [extension]


@xr.register_datatree_accessor("mnnbio")
@xr.register_dataset_accessor("mnnbio")
class ResultAccessor:
    """Selection, tables, summary and figures of a result: ``result.mnnbio.select(population="E").mnnbio.summary()``.

    Parameters
    ----------
    data : Dataset or DataTree
        A prediction, a simulation, spike trains, a comparison; or a whole result.
    """

    def __init__(self, data: xr.Dataset | xr.DataTree) -> None:
        self._data = data

    def select(
        self, *, population: Labels = None, stimulus: Labels = None, neuron: Labels = None, index: Labels = None
    ) -> Any:
        """Return the part of a result of some populations, stimuli and neurons, in every group that has them.

        Parameters
        ----------
        population : str or sequence of str, optional
        stimulus : label or sequence of labels, optional
            One label drops the dimension, as of `xarray.Dataset.sel`.
        neuron : int or sequence of int, optional
            Labels of the coordinate `neuron`, which counts the neurons of all populations.
        index : int or sequence of int, optional
            Numbers of neurons within their populations.

        Returns
        -------
        Dataset or DataTree
            Covariances are of the selected pairs, spike trains of the selected neurons; order is that of the result.
            Of a comparison, summaries over neurons or stimuli that are no longer all there are left out: compare the
            selections instead.

        Raises
        ------
        ValueError
            If there is no such label, or nothing that is labelled so; the message names what there is.
        """
        wanted = {"population": population, "neuron": neuron, "index": index}
        wanted = {name: value for name, value in wanted.items() if value is not None}
        if isinstance(self._data, xr.Dataset):
            _require_dims([self._data], wanted, stimulus)
            return _selected(self._data, wanted, stimulus)
        nodes = {node.path: node.to_dataset(inherit=False) for node in self._data.subtree}
        _require_dims(list(nodes.values()), wanted, stimulus)
        return xr.DataTree.from_dict(
            {path: _selected(data, wanted, stimulus) for path, data in nodes.items()}, name=self._data.name
        )

    def to_dataframe(self, name: str | None = None) -> DataFrame:
        """Return a table: a row a neuron (and stimulus), or a row a spike, or a row an element of one variable.

        Parameters
        ----------
        name : str, optional
            A group or a variable, such as ``"spikes"``, ``"count_covariance"`` or ``"prediction/rate"``. Default: all
            quantities of single neurons (of populations where there are no neurons); of a whole result those of
            prediction and simulation beside each other, as ``rate_predicted``, ``rate_simulated`` and ``rate_se``.

        Raises
        ------
        ValueError
            If there is no such group or variable, or no table without a name; the message names what there is.
        """
        data = self._data
        if isinstance(data, xr.DataTree):
            if name is None:
                return _neurons(_both_sides(data))
            data, name = _found(data, name)
        if "row_size" in data and name in (None, "spike_time"):
            return _spikes(data)
        if name is None:
            return _neurons(data)
        if name not in data:
            raise ValueError(f"there is no {name!r}; there are {_listed(data.data_vars)}")
        return _frame(data[[name]])

    def summary(self) -> str:
        """Return what a result is, in a few lines of text: neurons, stimuli, recording, rates, spikes, verdict."""
        data = self._data
        if isinstance(data, xr.Dataset):
            if group_name(data) == "comparison" and "rate_predicted" in data and _extensions:
                return _extensions[0].summary(data)
            data = xr.DataTree.from_dict({f"/{group_name(data)}": xr.Dataset(data.variables, attrs=data.attrs)})
        rows = [("result", ", ".join(map(str, data.children)) or "nothing"), *_summary(data)]
        return "\n".join(f"{label:<12}{text}" for label, text in rows if text)

    @property
    def plot(self) -> Any:
        """Figures of the result: ``plot.raster()``, ``plot.rates()`` and others; they come with `mnnbio.analyses`.

        Raises
        ------
        AttributeError
            If `mnnbio.analyses` was not imported.
        """
        if not _extensions:
            raise AttributeError("figures come with the analyses: `import mnnbio.analyses` first")
        return _extensions[0].plots(self._data)

    def __repr__(self) -> str:
        return self.summary()


def _require_dims(datasets: Sequence[xr.Dataset], wanted: dict[str, Any], stimulus: Any) -> None:
    """Raise unless something is labelled by what is asked for."""
    for name in wanted:
        if not any(name in data.coords and data[name].ndim == 1 for data in datasets):
            known = sorted({str(coord) for data in datasets for coord in data.coords})
            raise ValueError(f"nothing here is labelled by `{name}`; there are {_listed(known)}")
    if stimulus is not None and not any("stimulus" in data.dims for data in datasets):
        raise ValueError("there are no stimuli to select: the result has no dimension `stimulus`")


def _selected(data: xr.Dataset, wanted: dict[str, Any], stimulus: Any) -> xr.Dataset:
    """Return the part of one dataset; of a comparison without summaries of what is left out."""
    places: dict[str, npt.NDArray[np.int64]] = {}
    for suffix in ("", "_j"):
        dim = f"neuron{suffix}"
        if dim in data.dims and wanted:
            places[dim] = _of_neurons(data, wanted, dim, suffix)
        name = f"population{suffix}"
        if name in data.dims and "population" in wanted:
            places[name] = _positions(data[name].to_numpy(), wanted["population"], "population")
    for name in ("layer", "group", "group_j"):  # populations of comparisons, and of covariances of populations
        if name in data.dims and name in data.coords and "population" in wanted:
            places[name] = _positions(data[name].to_numpy(), wanted["population"], "population")
    scalar = stimulus is not None and np.ndim(stimulus) == 0
    if stimulus is not None and "stimulus" in data.dims:
        labels = data["stimulus"].to_numpy()
        places["stimulus"] = _positions(labels, stimulus, "stimulus")
    if not places:
        return data
    out = _trains(data, places) if "row_size" in data else data.isel(places)
    fewer = {dim for dim, chosen in places.items() if len(chosen) < data.sizes[dim]}
    if group_name(data) == "comparison" and fewer:
        of_populations = set(wanted) <= {"population"}  # those that are left are whole
        stale = [name for name, variable in data.data_vars.items() if _is_stale(variable, fewer, of_populations)]
        out = out.drop_vars(stale)
        out.attrs = {name: value for name, value in data.attrs.items() if name != "verdict"}
    return out.squeeze("stimulus") if scalar and "stimulus" in places else out


def _is_stale(variable: xr.DataArray, fewer: set[str], of_populations: bool) -> bool:
    """Return whether a variable of a comparison sums up what was left out.

    Parameters
    ----------
    variable : DataArray
    fewer : set of str
        Dimensions along which something was left out.
    of_populations : bool
        Whether the populations that are left are whole.
    """
    dims = set(variable.dims)
    of_neurons = "neuron" in fewer and "neuron" not in dims and not ("layer" in dims and of_populations)
    return of_neurons or ("stimulus" in fewer and "stimulus" not in dims)


def _of_neurons(data: xr.Dataset, wanted: dict[str, Any], dim: str, suffix: str) -> npt.NDArray[np.int64]:
    kept = np.ones(data.sizes[dim], dtype=bool)
    for name, value in wanted.items():
        coordinate = f"{name}{suffix}"
        if coordinate not in data.coords:
            raise ValueError(f"neurons are not labelled by `{name}`; their coordinates: {_listed(data.coords)}")
        labels = data[coordinate].to_numpy()
        _positions(labels, value, name)
        kept &= np.isin(labels, np.atleast_1d(value))
    if not kept.any():
        asked = ", ".join(f"{name}={value!r}" for name, value in wanted.items())
        raise ValueError(f"no neuron has {asked} together")
    return np.flatnonzero(kept)


def _positions(labels: npt.NDArray[Any], wanted: Any, name: str) -> npt.NDArray[np.int64]:
    """Return where labels stand, in the order of the result."""
    values = np.atleast_1d(np.asarray(wanted))
    numbers = labels.dtype.kind == "f" and values.dtype.kind in "iuf"
    matches = np.isclose(labels[:, None], values[None, :], rtol=1e-9) if numbers else labels[:, None] == values[None, :]
    if np.shape(matches) != (len(labels), len(values)):  # of kinds that cannot be equal
        matches = np.zeros((len(labels), len(values)), dtype=bool)
    missing = np.flatnonzero(~matches.any(axis=0))
    if missing.size:
        known = list(dict.fromkeys(labels.tolist()))
        raise ValueError(f"`{name}` names {values.tolist()[missing[0]]!r}, there are {_listed(known)}")
    return np.flatnonzero(matches.any(axis=1))


def _listed(names: Any) -> str:
    """Return names as text, the first and the last where there are many."""
    texts = [str(name) for name in names]
    if not texts:
        return "none"
    if len(texts) > _MOST_NAMED:
        texts = [*texts[: _MOST_NAMED - 2], "…", texts[-1]]
    return ", ".join(texts)


def _trains(data: xr.Dataset, places: dict[str, npt.NDArray[np.int64]]) -> xr.Dataset:
    """Return the spike trains of some rows, with their spikes."""
    sizes = data["row_size"]
    kept = np.ones(sizes.shape, dtype=bool)
    for dim, chosen in places.items():
        if dim in sizes.dims:
            inside = np.zeros(sizes.sizes[dim], dtype=bool)
            inside[chosen] = True
            axis = sizes.dims.index(dim)
            kept &= inside.reshape([-1 if k == axis else 1 for k in range(sizes.ndim)])
    mine = np.repeat(kept.ravel(), sizes.to_numpy().ravel())
    return data.isel(places).isel(spike=np.flatnonzero(mine))


def _both_sides(tree: xr.DataTree) -> xr.Dataset:
    """Return prediction and simulation as one dataset, the one that there is as it is."""
    sides = {name: _of_single(tree[name].to_dataset()) for name in _SIDES if name in tree.children}
    if len(sides) < 2:
        if not sides:
            raise ValueError(
                f"there is neither /prediction nor /simulation to tabulate; name one of {_listed(tree.children)}"
            )
        return next(iter(sides.values()))
    renamed = []
    for name, data in sides.items():
        new = {v: v if str(v).endswith("_se") else f"{v}_{_SIDES[name]}" for v in data.data_vars}
        renamed.append(data.rename(new).drop_attrs())
    try:
        return xr.merge(renamed, join="exact", compat="no_conflicts")
    except ValueError as error:
        raise ValueError(
            "prediction and simulation are of different neurons or stimuli and make no common table: name one of "
            "'prediction', 'simulation'"
        ) from error


def _of_single(data: xr.Dataset) -> xr.Dataset:
    """Return the quantities of single neurons, or of populations."""
    unit = "neuron" if "neuron" in data.dims else "population"
    lead = {"stimulus", unit}
    names = [name for name, v in data.data_vars.items() if unit in v.dims and set(v.dims) <= lead]
    return data[names]


def _neurons(data: xr.Dataset) -> DataFrame:
    table = _of_single(data)
    if not table.data_vars:
        raise ValueError(f"there are no quantities of single neurons; name one of {_listed(data.data_vars)}")
    return _frame(table)


def _frame(data: xr.Dataset) -> DataFrame:
    """Return a dataset as a table, its labels as columns."""
    used = {dim for variable in data.data_vars.values() for dim in variable.dims}
    kept = data.drop_vars([name for name, coord in data.coords.items() if not set(coord.dims) <= used])
    order = max((variable.dims for variable in kept.data_vars.values()), key=len)
    frame = kept.to_dataframe(dim_order=[*order, *(dim for dim in kept.dims if dim not in order)]).reset_index()
    labels = [name for name in frame.columns if name not in data.data_vars]
    return frame[[*labels, *map(str, data.data_vars)]]


def _spikes(data: xr.Dataset) -> DataFrame:
    """Return spike trains as a table with a row a spike."""
    sizes = data["row_size"]
    rows = _frame(sizes.to_dataset())
    # The order of the rows of a table is that of the dimensions, as is that of the trains.
    labels = rows.drop(columns="row_size").loc[rows.index.repeat(sizes.to_numpy().ravel())]
    return labels.reset_index(drop=True).assign(time=data["spike_time"].to_numpy())


def _found(tree: xr.DataTree, name: str) -> tuple[xr.Dataset, str | None]:
    """Return the group that a name means, and the variable in it, if it means one."""
    head, _, variable = name.strip("/").partition("/")
    if head in tree.children:
        data = tree[head].to_dataset()
        if variable and variable not in data:
            raise ValueError(f"/{head} has no {variable!r}; it has {_listed(data.data_vars)}")
        return data, variable or None
    holders = [group for group, node in tree.children.items() if name in node.data_vars]
    if len(holders) == 1:
        return tree[holders[0]].to_dataset(), name
    if holders:
        raise ValueError(f"{name!r} is in several groups: name one, such as '{holders[0]}/{name}'")
    raise ValueError(f"there is no {name!r}; the groups are {_listed(tree.children)}")


def _summary(tree: xr.DataTree) -> list[tuple[str, str]]:
    """Return labelled lines on a result."""
    groups = {str(name): node.to_dataset() for name, node in tree.children.items()}
    attrs: dict[Any, Any] = {}
    for data in groups.values():
        attrs = {**data.attrs, **attrs}
    attrs |= tree.attrs
    first = next((data for data in groups.values() if "neuron" in data.sizes), None)
    rows = [("neurons", "" if first is None else _population_sizes(first))]
    stimuli = next((data["stimulus"].to_numpy() for data in groups.values() if "stimulus" in data.dims), None)
    if stimuli is not None:
        rows.append(("stimuli", f"{len(stimuli)}: {_listed(stimuli.tolist())}"))
    rows.append(("recorded", _recording(attrs)))
    rates = [
        f"{float(groups[name]['rate'].mean()):.3g} Hz {word}"
        for name, word in _SIDES.items()
        if name in groups and "rate" in groups[name] and groups[name]["rate"].size
    ]
    rows.append(("mean rate", ", ".join(rates)))
    if "spikes" in groups:
        rows.append(("spikes", f"{groups['spikes'].sizes['spike']:,}"))
    for name in ("comparison", "decisions"):
        verdict = groups[name].attrs.get("verdict", "") if name in groups else ""
        rows.append(("verdict", verdict if isinstance(verdict, str) else " ".join(verdict)))
    return rows


def _population_sizes(data: xr.Dataset) -> str:
    number = data.sizes["neuron"]
    if "population" not in data.coords or data["population"].dims != ("neuron",):
        return f"{number}"
    names, sizes = np.unique(data["population"].to_numpy(), return_counts=True)
    order = dict.fromkeys(data["population"].to_numpy().tolist())
    known = dict(zip(names.tolist(), sizes.tolist(), strict=True))
    return f"{number} ({_listed(f'{name} {known[name]}' for name in order)})"


def _recording(attrs: dict[Any, Any]) -> str:
    def milliseconds(name: str) -> str | None:
        value = attrs.get(name)
        return None if value is None or isinstance(value, str) else f"{1e3 * float(value):g} ms"

    parts = [f"{attrs['trials']} × {milliseconds('duration')}"] if {"trials", "duration"} <= set(attrs) else []
    for name, text in (("warmup", "{} warm-up"), ("dt", "dt {}"), ("window", "window {}")):
        if (shown := milliseconds(name)) is not None:
            parts.append(text.format(shown))
    return ", ".join([*parts, *([f"seed {attrs['seed']}"] if "seed" in attrs else [])])
