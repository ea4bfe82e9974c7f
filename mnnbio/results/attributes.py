"""Attributes of results as netCDF can hold them: what it has no type for is written as JSON and read back as it was."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import xarray as xr

_MARK = "mnnbio-json:"  # at the beginning of the text of such an attribute
_NUMBERS = (int, float, np.integer, np.floating)
_DATE, _DATETIME = "__date__", "__datetime__"


def storable(tree: xr.DataTree) -> xr.DataTree:
    """Return a tree whose attributes netCDF can hold.

    Raises
    ------
    TypeError
        If an attribute is neither text, a number, an array of them, true or false, None, a date, nor a list or a
        dictionary of such values.
    """
    return _with_attributes(tree, _stored)


def restored(tree: xr.DataTree) -> xr.DataTree:
    """Return a tree with its attributes as they were before `storable`."""
    return _with_attributes(tree, lambda value, _: from_stored(value))


def _with_attributes(tree: xr.DataTree, change: Callable[[Any, str], Any]) -> xr.DataTree:
    """Return a tree with every attribute of its groups and variables changed."""
    datasets = {}
    for node in tree.subtree:
        dataset = node.to_dataset(inherit=False)
        for name, variable in dataset.variables.items():
            variable.attrs = _changed(variable.attrs, f"{name} in {node.path}", change)
        dataset.attrs = _changed(dataset.attrs, node.path, change)
        datasets[node.path] = dataset
    return xr.DataTree.from_dict(datasets, name=tree.name)


def _changed(attributes: Mapping[Any, Any], where: str, change: Callable[[Any, str], Any]) -> dict[Any, Any]:
    return {name: change(value, f"attribute {name!r} of {where}") for name, value in attributes.items()}


def _stored(value: Any, where: str) -> Any:
    if _fits(value):
        return value
    try:
        return _MARK + json.dumps(value, default=_plain, allow_nan=True)
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(
            f"{where} is a {type(value).__name__} that a file cannot hold ({str(error).splitlines()[0]}): "
            "give text, numbers, dates, or lists and dictionaries of them"
        ) from error


def _fits(value: Any) -> bool:
    """Return whether netCDF holds a value as it is."""
    if isinstance(value, str):
        return not value.startswith(_MARK)
    if isinstance(value, list | tuple):
        return bool(value) and (all(isinstance(one, str) for one in value) or all(_is_number(one) for one in value))
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "iufU"
    return isinstance(value, bytes) or _is_number(value)


def _is_number(value: Any) -> bool:
    if isinstance(value, bool | np.bool_) or not isinstance(value, _NUMBERS):
        return False
    return not isinstance(value, int) or -(2**63) <= value < 2**64


def _plain(value: Any) -> Any:
    """Return what JSON has no type for in terms that it has."""
    if isinstance(value, datetime.datetime):
        return {_DATETIME: value.isoformat()}
    if isinstance(value, datetime.date):
        return {_DATE: value.isoformat()}
    if isinstance(value, np.datetime64):
        return {_DATETIME: str(value.astype("datetime64[us]"))}
    if isinstance(value, np.generic | np.ndarray) and value.dtype.kind in "biufU":
        return value.tolist()
    raise TypeError(f"no {type(value).__name__}")


def from_stored(value: Any) -> Any:
    """Return one attribute as it was before it was stored."""
    if not isinstance(value, str) or not value.startswith(_MARK):
        return value
    return json.loads(value.removeprefix(_MARK), object_hook=_dates)


def _dates(value: dict[str, Any]) -> Any:
    if set(value) == {_DATETIME}:
        return datetime.datetime.fromisoformat(value[_DATETIME])
    if set(value) == {_DATE}:
        return datetime.date.fromisoformat(value[_DATE])
    return value
