"""The results of a sweep as one labelled dataset, read when used."""

from __future__ import annotations

import json
import math
import uuid
import warnings
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
import xarray as xr

from mnnbio.machine import check_choice
from mnnbio.results import read_attributes, read_variable
from mnnbio.workflow.sweep_folder import SweepFolderError, read_manifest
from mnnbio.workflow.sweep_work import DONE, Layout

Resolution = Literal["neuron", "population"]
Index = tuple[int, ...]

ABSENT, MISSING = "absent", "missing"
# What is told of every point, and what stands where there is none.
_COLUMNS: dict[str, Any] = {"status": ABSENT, "file": "", "circuit_hash": "", "spike_seed": -1, "seconds": np.nan}


class SweepWarning(UserWarning):
    """A sweep is not complete, or some of its results do not fit together."""


class _Found(NamedTuple):
    """A result: its file, and what it holds."""

    path: Path
    layout: Layout


class _Variable(NamedTuple):
    """A variable as all points have it: dimensions, and what each is labelled by."""

    dims: tuple[str, ...]
    labels: tuple[Any, ...]


def open_sweep(folder: Path | str, *, resolution: Resolution = "neuron") -> xr.DataTree:
    """Open the results of a sweep as one labelled tree. Nothing but labels is read before it is used.

    Parameters
    ----------
    folder : path-like
        The sweep's folder; the sweep may still be running.
    resolution : {"neuron", "population"}
        The results as they are, or their means over the neurons of each population: those fit together also where the
        points differ in their neurons. The standard error of such a mean takes neurons as independent.

    Returns
    -------
    DataTree
        Groups as in every result, such as ``simulation``, ``prediction``, ``comparison``; their variables have a
        dimension for every parameter of the grid, and ``point`` for the sets of the list. NaN where there is no result.
        At the root ``status``, ``file``, ``spike_seed``, ``seconds`` and ``circuit_hash`` of every point. A
        parameter whose name is taken by a result is called ``parameter_<name>``. Spike trains differ in length and stay
        in the files.

    Raises
    ------
    FileNotFoundError
        If the folder holds no sweep.
    SweepFolderError
        If its manifest is damaged, or it holds a result of another sweep or circuit.
    ResultFileError
        If a file is damaged.

    Warns
    -----
    SweepWarning
        If points have no result, or variables are left out as their shapes or labels differ between points.

    Examples
    --------
    ::

        sweep = open_sweep("sweeps/brunel", resolution="population")
        sweep["simulation/rate"].sel(population="E").plot(x="g")
    """
    check_choice("resolution", resolution, get_args(Resolution))
    path = Path(folder)
    manifest = read_manifest(path)
    found = _results(path, manifest)
    axes, places = _axes(manifest, _taken(found.values()))
    groups = {"/": _account(manifest, axes, places)}
    results = {places[key]: result for key, result in found.items()}
    names = dict.fromkeys(group for result in results.values() for group in result.layout)
    left_out: dict[str, str] = {}
    for name in names:
        groups[f"/{name}"] = _group(name, results, axes, resolution, left_out)
    _warn(manifest, left_out, resolution)
    groups["/"].attrs |= {"sweep": manifest["sweep"], "config": json.dumps(manifest["config"])}
    return xr.DataTree.from_dict(groups)


def _results(path: Path, manifest: dict[str, Any]) -> dict[str, _Found]:
    """Return the results that are there by key, and bring the manifest's records up to them."""
    points = manifest["points"]
    found: dict[str, _Found] = {}
    for file in sorted((path / "points").glob("[!.]*.nc")):
        attributes = read_attributes(file)
        record = points.get(file.stem)
        if attributes.get("sweep") != manifest["sweep"] or record is None:
            raise SweepFolderError(
                f"{file} is not a result of the sweep in {path}: it is of another sweep, or made by hand (its circuit: "
                f"{attributes.get('circuit_hash', 'unknown')}); move it elsewhere"
            )
        own = json.loads(attributes["sweep_point"])
        if record["status"] == DONE and own["circuit_hash"] != record["circuit_hash"]:
            raise SweepFolderError(
                f"{file} is of another circuit ({own['circuit_hash']}) than the manifest says "
                f"({record['circuit_hash']}); remove it and run the sweep again"
            )
        record |= own
        found[file.stem] = _Found(file, json.loads(attributes["sweep_layout"]))
    for key, record in points.items():
        if record["status"] == DONE and key not in found:
            record["status"] = MISSING
    return found


class _Axes(NamedTuple):
    """Dimensions of the sweep, and the coordinates on them."""

    sizes: dict[str, int]
    coords: dict[str, tuple[str, npt.NDArray[Any]]]


def _taken(found: Iterable[_Found]) -> set[str]:
    """Return names that parameters cannot have in the tree, for results have them."""
    groups = [group for result in found for group in result.layout.values()]
    return {"point", "index", *_COLUMNS}.union(
        *(group["variables"] for group in groups), *(group["dims"] for group in groups)
    )


def _axes(manifest: dict[str, Any], taken: Collection[str]) -> tuple[_Axes, dict[str, Index]]:
    """Return the dimensions of a sweep, and where every point stands on them."""

    def label(name: str) -> str:
        return f"parameter_{name}" if name in taken else name

    config, records = manifest["config"], manifest["points"]
    values: dict[str, list[Any]] = {}
    rows: dict[tuple[Any, ...], int] = {}
    for record in records.values():
        for name in config["grid"]:
            values.setdefault(name, []).append(record["parameters"][name])
        if config["list"]:
            rows.setdefault(tuple(record["parameters"][name] for name in config["list"]), len(rows))
    grid = {name: _ordered(values[name]) for name in config["grid"]}
    sizes = ({"point": len(rows)} if rows else {}) | {label(name): len(entries) for name, entries in grid.items()}
    coords = {label(name): (label(name), np.array(entries)) for name, entries in grid.items()}
    columns = zip(*rows, strict=True) if rows else ()
    coords |= {label(n): ("point", np.array(column)) for n, column in zip(config["list"], columns, strict=True)}
    places = {
        key: (
            *([rows[tuple(record["parameters"][name] for name in config["list"])]] if rows else []),
            *(grid[name].index(record["parameters"][name]) for name in config["grid"]),
        )
        for key, record in records.items()
    }
    return _Axes(sizes, coords), places


def _ordered(values: list[Any]) -> list[Any]:
    """Return each value once: numbers in ascending order, texts as they come."""
    distinct = list(dict.fromkeys(values))
    return distinct if any(isinstance(value, str) for value in distinct) else sorted(distinct)


def _account(manifest: dict[str, Any], axes: _Axes, places: Mapping[str, Index]) -> xr.Dataset:
    """Return what became of every point."""
    shape, dims = tuple(axes.sizes.values()), tuple(axes.sizes)
    columns = {name: np.full(shape, nothing, dtype=object) for name, nothing in _COLUMNS.items()}
    for key, record in manifest["points"].items():
        for name, column in columns.items():
            field = "seed" if name == "spike_seed" else name  # `seed` may be a parameter of the circuit
            column[places[key]] = record.get(field, _COLUMNS[name])
    variables = {name: (dims, column.astype(type(_COLUMNS[name]))) for name, column in columns.items()}
    dataset = xr.Dataset(variables, coords=axes.coords)
    dataset["seconds"].attrs = {"units": "s", "long_name": "time that the point took"}
    return dataset


def _group(
    group: str, results: Mapping[Index, _Found], axes: _Axes, resolution: Resolution, left_out: dict[str, str]
) -> xr.Dataset:
    """Return a group of all results; names that do not fit together go to `left_out`, with what differs."""
    having = {place: result for place, result in results.items() if group in result.layout}
    names = dict.fromkeys(name for result in having.values() for name in result.layout[group]["variables"])
    merged: dict[Path, dict[str, tuple[_Variable, Any]]] = {}
    coords: dict[str, Any] = dict(axes.coords)
    for name in names:
        places = {place: r for place, r in having.items() if name in r.layout[group]["variables"]}
        kinds = {_variable(result.layout[group], name, resolution) for result in places.values()}
        if None in kinds:
            continue
        if len(kinds) > 1:
            left_out[f"{group}/{name}"] = ", ".join(_differing(kinds))
            continue
        kind, template = kinds.pop(), next(iter(places.values()))
        assert kind is not None
        merged.setdefault(template.path, {})[name] = kind, _lazy(group, name, places, axes, kind)
        if kind.dims != tuple(template.layout[group]["variables"][name][0]):
            coords["population"] = list(template.layout[group]["populations"])
    variables: dict[str, Any] = {}
    for path, found in merged.items():
        with xr.open_dataset(path, group=group, engine="netcdf4") as opened:
            variables |= {
                name: ((*axes.sizes, *kind.dims), data, opened[name].attrs) for name, (kind, data) in found.items()
            }
            dims = {dim for kind, _ in found.values() for dim in kind.dims}
            fitting = {str(n): c.load() for n, c in opened.coords.items() if c.dims and set(c.dims) <= dims}
            coords = fitting | coords
    return xr.Dataset({name: variables[name] for name in names if name in variables}, coords=coords)


def _variable(layout: dict[str, Any], name: str, resolution: Resolution) -> _Variable | None:
    """Return a variable as it is merged, None if it cannot be."""
    dims, dtype = layout["variables"][name]
    if np.dtype(dtype).kind not in "fiub":
        return None
    labels = [tuple(layout["dims"][dim]) for dim in dims]
    if resolution == "population" and "neuron" in dims:
        if "neuron_j" in dims:
            return None
        place = dims.index("neuron")
        dims = [*dims[:place], "population", *dims[place + 1 :]]
        labels[place] = tuple(layout["populations"])
    return _Variable(tuple(dims), tuple(labels))


def _differing(kinds: set[_Variable | None]) -> list[str]:
    """Return the dimensions in which variables differ."""
    some = [kind for kind in kinds if kind is not None]
    names = dict.fromkeys(dim for kind in some for dim in kind.dims)
    by_dim = {n: {k.labels[k.dims.index(n)] if n in k.dims else None for k in some} for n in names}
    return [name for name, labels in by_dim.items() if len(labels) > 1]


def _lazy(
    group: str,
    name: str,
    places: Mapping[Index, _Found],
    axes: _Axes,
    kind: _Variable,
) -> Any:
    """Return a variable of all points as a Dask array, one block a point."""
    import dask.array as da

    layout = next(iter(places.values())).layout[group]
    averaged = kind.dims != tuple(layout["variables"][name][0])
    lengths = {dim: size for dim, (size, _) in layout["dims"].items()}
    shape = tuple(len(layout["populations"]) if d == "population" and averaged else lengths[d] for d in kind.dims)
    dtype = np.dtype(layout["variables"][name][1])
    if dtype.kind != "f" and (averaged or len(places) < math.prod(axes.sizes.values())):
        dtype = np.dtype(np.float64)  # there is no whole number for nothing
    table = {
        place: (result.path, list(result.layout[group]["populations"].values())) for place, result in places.items()
    }
    return da.map_blocks(
        _read,
        chunks=(*((1,) * size for size in axes.sizes.values()), *((size,) for size in shape)),
        dtype=dtype,
        meta=np.empty((0,) * (len(axes.sizes) + len(shape)), dtype),
        name=f"{group}/{name}-{uuid.uuid4().hex}",
        table=table,
        where=(group, name),
        shape=shape,
        block_type=dtype,
        averaged=kind.dims.index("population") if averaged else None,
    )


def _read(
    table: Mapping[Index, tuple[Path, list[int]]],
    where: tuple[str, str],
    shape: tuple[int, ...],
    block_type: np.dtype[Any],
    averaged: int | None,
    block_id: Index = (),
) -> npt.NDArray[Any]:
    """Return one variable of one point."""
    place = block_id[: len(block_id) - len(shape)]
    lead = (1,) * len(place)
    if place not in table:
        return np.full(lead + shape, np.nan, block_type)
    path, sizes = table[place]
    values = read_variable(path, *where)
    if averaged is not None:
        values = _averaged(values, sizes, averaged, error=where[1].endswith("_se"))
    return values.astype(block_type).reshape(lead + shape)


def _averaged(values: npt.NDArray[Any], sizes: list[int], axis: int, *, error: bool) -> npt.NDArray[np.float64]:
    """Return means over the neurons of each population, of those that have a value; or the errors of such means."""
    parts = np.split(np.asarray(values, dtype=np.float64), np.cumsum(sizes)[:-1], axis=axis)

    def mean(part: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        known = ~np.isnan(part)
        number = known.sum(axis=axis)
        total = np.where(known, part**2 if error else part, 0.0).sum(axis=axis)
        total = np.sqrt(total) if error else total
        return np.where(number > 0, total / np.maximum(number, 1), np.nan)

    return np.stack([mean(part) for part in parts], axis=axis)


def _warn(manifest: dict[str, Any], left_out: Mapping[str, str], resolution: Resolution) -> None:
    numbers = Counter(record["status"] for record in manifest["points"].values())
    if lacking := numbers.total() - numbers[DONE]:
        listed = ", ".join(f"{number} {status}" for status, number in sorted(numbers.items()) if status != DONE)
        warnings.warn(
            f"{lacking} of {numbers.total()} points have no result ({listed}); they are NaN, and `status` says which",
            SweepWarning,
            stacklevel=3,
        )
    if left_out:
        listed = ", ".join(f"{name} ({dims})" for name, dims in left_out.items())
        remedy = "" if resolution == "population" else ", or take means with resolution='population'"
        warnings.warn(
            f"left out, for their dimensions differ between points: {listed}; open the files one by one{remedy}",
            SweepWarning,
            stacklevel=3,
        )
