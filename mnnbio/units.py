"""Quantities at the package's boundary as plain numbers in its working units."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Unit = Literal["ms", "mV", "1/ms", "mV/ms", "mV/sqrt(ms)", "mV^2/ms", "1"]
FloatOrArray = float | npt.NDArray[np.float64]

# Size of each working unit in SI base units, and its exponents of volt and second.
_SI_SIZE: Mapping[Unit, float] = {
    "ms": 1e-3,
    "mV": 1e-3,
    "1/ms": 1e3,
    "mV/ms": 1.0,
    "mV/sqrt(ms)": 1e-3 / np.sqrt(1e-3),
    "mV^2/ms": 1e-3,
    "1": 1.0,
}
_VOLT_SECOND: Mapping[Unit, tuple[int, float]] = {
    "ms": (0, 1),
    "mV": (1, 0),
    "1/ms": (0, -1),
    "mV/ms": (1, -1),
    "mV/sqrt(ms)": (1, -0.5),
    "mV^2/ms": (2, -1),
    "1": (0, 0),
}


def in_unit(value: Any, unit: Unit, name: str) -> FloatOrArray:
    """Return `value` as plain floats in `unit`.

    Parameters
    ----------
    value : number, array_like or brian2.Quantity
        A Brian2 quantity is converted; anything else is taken to be in `unit` already.
    unit : str
        The working unit.
    name : str
        What the value is, for error messages.

    Returns
    -------
    float or ndarray
        A float for a scalar, a float64 array otherwise (always a copy).

    Raises
    ------
    TypeError
        If the value is not numeric.
    ValueError
        If a quantity has another dimension, or a value is NaN or infinite.
    """
    scale = 1.0
    if hasattr(value, "dim"):  # a Brian2 quantity: Brian2 is loaded already
        from brian2.units import second, volt
        from brian2.units.fundamentalunits import DIMENSIONLESS, have_same_dimensions

        volts, seconds = _VOLT_SECOND[unit]
        wanted = volt**volts * second**seconds if unit != "1" else DIMENSIONLESS
        if not have_same_dimensions(value, wanted):
            raise ValueError(f"`{name}` must be in {unit}, got a quantity of another dimension: {value!r}")
        scale = _SI_SIZE[unit]
    try:
        array = np.array(value, dtype=np.float64) / scale
    except (TypeError, ValueError) as error:
        raise TypeError(f"`{name}` must be numeric, in {unit} or as a quantity, got {value!r}") from error
    if not np.isfinite(array).all():
        place = "" if array.ndim == 0 else f" at index {_first(~np.isfinite(array))}"
        raise ValueError(f"`{name}` must be finite, got {array[~np.isfinite(array)].flat[0]}{place}")
    return float(array) if array.ndim == 0 else array


def common_unit(values: Mapping[str, Any], where: str) -> Unit | None:
    """Return the working unit of values given as Brian2 quantities, None if all are plain numbers.

    Parameters
    ----------
    values : mapping of str to number, array_like or brian2.Quantity
        Values by name. A plain 0 goes with any unit.
    where : str
        What the values belong to, for error messages.

    Raises
    ------
    ValueError
        If they have different dimensions, or one for which there is no working unit.
    """
    found = {name: _unit_of(value, f"{name} of {where}") for name, value in values.items() if np.any(value)}
    if len(set(found.values())) > 1:
        listed = ", ".join(f"`{name}` {unit or 'a plain number'}" for name, unit in found.items())
        raise ValueError(f"values of {where} must have one unit, got {listed}")
    return next(iter(found.values()), None)


def _unit_of(value: Any, name: str) -> Unit | None:
    if not hasattr(value, "dim"):
        return None
    from brian2.units import second, volt
    from brian2.units.fundamentalunits import have_same_dimensions

    for unit, (volts, seconds) in _VOLT_SECOND.items():
        if have_same_dimensions(value, volt**volts * second**seconds):
            return None if unit == "1" else unit
    raise ValueError(f"`{name}` must be in one of {', '.join(_VOLT_SECOND)}, got {value!r}")


def _first(mask: npt.NDArray[np.bool_]) -> int | tuple[int, ...]:
    """Return the position of the first true element."""
    place = tuple(int(k) for k in np.argwhere(mask)[0])
    return place[0] if len(place) == 1 else place


def require(condition: Any, name: str, rule: str, value: Any, *, where: str = "neuron") -> None:
    """Raise a `ValueError` naming the first element at which `condition` is false."""
    condition = np.asarray(condition)
    if condition.all():
        return
    value = np.asarray(value)
    if condition.ndim == 0:
        raise ValueError(f"`{name}` must be {rule}, got {value[()]}")
    place = _first(~condition)
    got = np.broadcast_to(value, condition.shape)[place]
    raise ValueError(f"`{name}` must be {rule}, got {got} at {where} {place}")
