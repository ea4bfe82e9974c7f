"""Values of parameters in a configuration: lists, spaced numbers, sets of parameters."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mnnbio.run.options import ConfigError, require_known

Scalar = int | float | str | bool
Grid = dict[str, tuple[Scalar, ...]]
Rows = tuple[dict[str, Scalar], ...]


def grid_of(value: Any) -> Grid:
    """Return the values of every parameter of a grid."""
    return {name: _values(values, f"grid.{name}") for name, values in mapping(value, "grid").items()}


def rows_of(value: Any) -> Rows:
    """Return the sets of parameters of a list, all with the same names in the same order."""
    if value is None:
        return ()
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise ConfigError(f"list must be a list of parameter sets, got {value!r}")
    entries = [mapping(entry, f"list[{number}]") for number, entry in enumerate(value)]
    names = list(entries[0])
    for number, entry in enumerate(entries):
        if set(entry) != set(names) or not names:
            wanted = f"the same parameters as list[0], {names}" if names else "at least one parameter"
            raise ConfigError(f"list[{number}] must name {wanted}, got {list(entry)}")
    rows = tuple(
        {name: scalar(entry[name], f"list[{number}].{name}") for name in names} for number, entry in enumerate(entries)
    )
    if len({tuple(_identity(value) for value in row.values()) for row in rows}) < len(rows):
        raise ConfigError("list must hold each set of parameters once")
    return rows


def plain(value: Scalar) -> Scalar:
    """Return a value as it is told from others: 1 and 1.0 are one."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def scalar(value: Any, where: str) -> Scalar:
    """Return a finite number, text or a truth value."""
    if isinstance(value, str) and "e" in value.lower():
        try:
            value = float(value)  # YAML 1.1 reads 1e-3 as text
        except ValueError:
            return str(value)
    if not isinstance(value, int | float | str) or (isinstance(value, float) and not math.isfinite(value)):
        raise ConfigError(f"{where} must be a finite number, text, true or false, got {value!r}")
    return value


def mapping(value: Any, where: str) -> dict[str, Any]:
    """Return names and values, none where nothing is given."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where} must hold names and values, got {value!r}")
    return {str(name): entry for name, entry in value.items()}


def text(value: Any, where: str) -> str | None:
    """Return text, or None where nothing is given."""
    if value is not None and (not isinstance(value, str) or not value):
        raise ConfigError(f"{where} must be text, got {value!r}")
    return value


def whole(value: Any, where: str, least: int) -> int:
    """Return a whole number that is large enough."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(f"{where} must be a whole number ≥ {least}, got {value!r}")
    return value


def _values(value: Any, where: str) -> tuple[Scalar, ...]:
    """Return the values of a parameter: a list, or a number of values between two."""
    if isinstance(value, Mapping):
        return _spaced(value, where)
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise ConfigError(f"{where} must be a list of values, or {{start, stop, number}}, got {value!r}")
    values = tuple(scalar(entry, where) for entry in value)
    if len({_identity(entry) for entry in values}) < len(values):
        raise ConfigError(f"{where} must hold each value once, got {list(values)}")
    if len({isinstance(entry, str) for entry in values}) > 1:
        raise ConfigError(f"{where} must hold numbers or text, not both, got {list(values)}")
    return values


def _spaced(value: Mapping[str, Any], where: str) -> tuple[float, ...]:
    require_known(value, ("start", "stop", "number", "scale"), f"option in {where!r}:")
    if missing := [name for name in ("start", "stop", "number") if name not in value]:
        raise ConfigError(f"{where} must name start, stop and number; {missing[0]!r} is missing")
    start, stop = (scalar(value[name], f"{where}.{name}") for name in ("start", "stop"))
    number, scale = whole(value["number"], f"{where}.number", 2), value.get("scale", "linear")
    if scale not in ("linear", "log"):
        raise ConfigError(f"{where}.scale must be 'linear' or 'log', got {scale!r}")
    if any(isinstance(end, str | bool) for end in (start, stop)) or start == stop:
        raise ConfigError(f"{where} must have two different numbers as start and stop, got {start!r} and {stop!r}")
    low, high = float(start), float(stop)
    if scale == "log":
        if min(low, high) <= 0:
            raise ConfigError(f"{where} must have start and stop > 0 on a log scale, got {start!r} and {stop!r}")
        low, high = math.log(low), math.log(high)
    steps = [low + (high - low) * k / (number - 1) for k in range(number)]
    # Twelve digits: what rounding adds is nobody's parameter, and would stand in every label.
    return tuple(float(f"{math.exp(step) if scale == 'log' else step:.12g}") for step in steps)


def _identity(value: Scalar) -> tuple[bool, Scalar]:
    return isinstance(value, bool), plain(value)  # Python takes True for 1
