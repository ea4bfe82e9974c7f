"""Quantities at the package's boundary as plain numbers in its working units."""

from __future__ import annotations

import datetime
import reprlib
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

Unit = Literal["ms", "mV", "1/ms", "mV/ms", "mV/sqrt(ms)", "mV^2/ms", "nS", "pA", "pF", "1"]
FloatOrArray = float | npt.NDArray[np.float64]

# Size of each working unit in SI base units, and its exponents of volt, second and ampere.
_SI_SIZE: Mapping[Unit, float] = {
    "ms": 1e-3,
    "mV": 1e-3,
    "1/ms": 1e3,
    "mV/ms": 1.0,
    "mV/sqrt(ms)": 1e-3 / np.sqrt(1e-3),
    "mV^2/ms": 1e-3,
    "nS": 1e-9,
    "pA": 1e-12,
    "pF": 1e-12,
    "1": 1.0,
}
_POWERS: Mapping[Unit, tuple[int, float, int]] = {
    "ms": (0, 1, 0),
    "mV": (1, 0, 0),
    "1/ms": (0, -1, 0),
    "mV/ms": (1, -1, 0),
    "mV/sqrt(ms)": (1, -0.5, 0),
    "mV^2/ms": (2, -1, 0),
    "nS": (-1, 0, 1),
    "pA": (0, 0, 1),
    "pF": (-1, 1, 1),
    "1": (0, 0, 0),
}
_BRIAN_NAMES: Mapping[Unit, str] = {
    "ms": "second",
    "mV": "volt",
    "1/ms": "hertz",
    "mV/ms": "volt/second",
    "mV/sqrt(ms)": "volt/second**0.5",
    "mV^2/ms": "volt**2/second",
    "nS": "siemens",
    "pA": "amp",
    "pF": "farad",
    "1": "1",
}

_LONGEST_SHOWN = 80  # characters of a value in a message
_TIMES = (np.datetime64, np.timedelta64, datetime.timedelta)
_NOT_NUMBERS = (str, bytes, bytearray, dict, set, type(None), np.void, *_TIMES)
_OTHER_UNITS = ("astropy", "pint", "quantities", "unyt", "xarray")  # packages whose arrays have a unit

_short = reprlib.Repr()
_short.maxlist = _short.maxtuple = 6


def is_quantity(value: Any) -> bool:
    """Return whether a value carries a unit of Brian2: a quantity, a unit, or the variable of a Brian2 group."""
    # No quantity exists before Brian2 is imported. Tensors have a method of the name `dim`.
    units = sys.modules.get("brian2.units.fundamentalunits")
    return units is not None and isinstance(getattr(value, "dim", None), units.Dimension)


def is_tensor(value: Any) -> bool:
    """Return whether a value is a tensor of torch, which is not imported for the question."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def shown(value: Any) -> str:
    """Return a value in one short line, for messages."""
    if is_tensor(value) or (isinstance(value, np.ndarray) and value.ndim and not is_quantity(value)):
        dtype = str(value.dtype).removeprefix("torch.")
        return f"{type(value).__name__.lower().replace('ndarray', 'array')} of {dtype}, shape {tuple(value.shape)}"
    text = " ".join((_short.repr(value) if isinstance(value, list | tuple | dict) else repr(value)).split())
    return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 1]}…"


def in_unit(value: Any, unit: Unit, name: str) -> FloatOrArray:
    """Return `value` as plain floats in `unit`.

    Parameters
    ----------
    value : number, array_like, Tensor or brian2.Quantity
        A Brian2 quantity is converted, also where it is one element of a list; anything else is taken to be in `unit`
        already. A tensor is detached and copied to the CPU.
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
        If the value is not made of real numbers: text, complex numbers, None, true and false (unless `unit` is "1"), a
        `TimedArray`, or a quantity of another package than Brian2.
    ValueError
        If a quantity has another dimension, or a value is masked, NaN or infinite.
    """
    if isinstance(value, list | tuple) and _has_parts(value):
        parts = [in_unit(part, unit, f"{name}[{k}]") for k, part in enumerate(value)]
        try:
            return np.array(parts, dtype=np.float64)
        except ValueError as error:  # rows of different length
            raise TypeError(f"`{name}` must be numeric, in rows of one length, got {shown(value)}") from error
    scale = 1.0
    _refuse_timed_array(value, name)
    if is_quantity(value):
        from brian2.units.fundamentalunits import have_same_dimensions

        if not have_same_dimensions(value, _dimensions(unit)):
            raise ValueError(f"`{name}` must be in {unit}, got a quantity of another dimension: {shown(value)}")
        scale = _SI_SIZE[unit]
    else:
        _refuse_foreign_units(value, unit, name)
    array = _real_numbers(value, unit, name) / scale
    if not np.isfinite(array).all():
        place = "" if array.ndim == 0 else f" at index {_first(~np.isfinite(array))}"
        raise ValueError(f"`{name}` must be finite, got {array[~np.isfinite(array)].flat[0]}{place}")
    return float(array) if array.ndim == 0 else array


def _has_parts(values: Any) -> bool:
    """Return whether a list holds quantities or tensors, whose unit and type NumPy would drop."""
    return any(
        is_quantity(part) or is_tensor(part) or (isinstance(part, list | tuple) and _has_parts(part)) for part in values
    )


def _real_numbers(value: Any, unit: Unit, name: str) -> npt.NDArray[np.float64]:
    """Return a float64 copy of what is made of real numbers and nothing else."""
    try:
        given = _from_tensor(value) if is_tensor(value) else np.asarray(value)
        kinds = {type(part) for part in given.flat} if given.dtype.kind == "O" else {given.dtype.type}
    except (TypeError, ValueError, RuntimeError) as error:
        raise _not_numeric(value, unit, name) from error
    if any(issubclass(kind, complex | np.complexfloating) for kind in kinds):
        raise TypeError(f"`{name}` must be real, got {shown(value)}: take `.real` or `abs()` of it, whichever is meant")
    if unit != "1" and any(issubclass(kind, bool | np.bool_) for kind in kinds):
        raise TypeError(f"`{name}` must be a number in {unit}, got true and false: multiply them by a value in {unit}")
    if any(issubclass(kind, _NOT_NUMBERS) for kind in kinds):
        raise _not_numeric(value, unit, name)
    if np.ma.is_masked(value):
        count = int(np.ma.count_masked(value))
        raise ValueError(f"`{name}` must not have masked values, got {count}: fill them first")
    try:
        return np.array(given, dtype=np.float64)
    except OverflowError as error:
        raise ValueError(f"`{name}` must be finite, got {shown(value)}, more than a float64 can hold") from error
    except (TypeError, ValueError) as error:
        raise _not_numeric(value, unit, name) from error


def _not_numeric(value: Any, unit: Unit, name: str) -> TypeError:
    return TypeError(f"`{name}` must be numeric, in {unit} or as a quantity, got {shown(value)}")


def _from_tensor(tensor: Any) -> npt.NDArray[np.generic]:
    """Return a tensor of any device as an array; those of precisions that NumPy lacks in float64."""
    plain = tensor.detach().cpu().resolve_conj().resolve_neg()
    if plain.is_floating_point():
        plain = plain.double()
    return np.asarray(plain.numpy())


def _refuse_timed_array(value: Any, name: str) -> None:
    """Raise a `TypeError` if a value is a `TimedArray`, whose place a course in time takes here."""
    module = sys.modules.get("brian2.input.timedarray")
    if module is not None and isinstance(value, module.TimedArray):
        raise TypeError(
            f"`{name}` must be a number, an array or a quantity, got a TimedArray: where values may change in time, "
            "give `Samples(values, dt)`, with the values and the dt of the TimedArray"
        )


def _refuse_foreign_units(value: Any, unit: Unit, name: str) -> None:
    """Raise a `TypeError` if a value states a unit in another way than Brian2's, which would be lost in silence."""
    package = type(value).__module__.partition(".")[0]
    if package not in _OTHER_UNITS:
        return
    own = getattr(value, "units", None) or getattr(value, "unit", None)
    if own is not None and str(own) not in ("", "1", "dimensionless", unit):
        raise TypeError(
            f"`{name}` must be a Brian2 quantity or a number in {unit}, got values of {package} in {own}: convert them"
        )


def common_unit(values: Mapping[str, Any], where: str) -> Unit | None:
    """Return the working unit of values given as Brian2 quantities, None if all are plain numbers.

    Parameters
    ----------
    values : mapping of str to number, array_like, Tensor or brian2.Quantity
        Values by name. A plain 0 goes with any unit.
    where : str
        What the values belong to, for error messages.

    Raises
    ------
    ValueError
        If they have different dimensions, or one for which there is no working unit.
    """
    found = {name: _unit_of(value, f"{name} of {where}") for name, value in values.items() if not _is_plain_zero(value)}
    if len(set(found.values())) > 1:
        listed = ", ".join(f"`{name}` {unit or 'a plain number'}" for name, unit in found.items())
        raise ValueError(f"values of {where} must have one unit, got {listed}")
    return next(iter(found.values()), None)


def _is_plain_zero(value: Any) -> bool:
    if is_tensor(value):
        return not bool((value != 0).any())
    return not np.any(np.asarray(value) != 0)


def _unit_of(value: Any, name: str) -> Unit | None:
    if isinstance(value, list | tuple) and _has_parts(value):
        return common_unit({f"{name}[{k}]": part for k, part in enumerate(value)}, name)
    if not is_quantity(value):
        return None
    from brian2.units.fundamentalunits import have_same_dimensions

    for unit in _POWERS:
        if have_same_dimensions(value, _dimensions(unit)):
            return None if unit == "1" else unit
    raise ValueError(f"`{name}` must be in one of {', '.join(_POWERS)}, got {shown(value)}")


def _dimensions(unit: Unit) -> Any:
    """Return the dimensions of a working unit, as Brian2 has them."""
    from brian2.units import amp, second, volt
    from brian2.units.fundamentalunits import DIMENSIONLESS, get_dimensions

    volts, seconds, amps = _POWERS[unit]
    return get_dimensions(volt**volts * second**seconds * amp**amps) if unit != "1" else DIMENSIONLESS


def brian_unit(unit: Unit) -> str:
    """Return the name, in Brian2's language, of the SI unit of a working unit: "volt" of "mV"."""
    return _BRIAN_NAMES[unit]


def si_size(unit: Unit) -> float:
    """Return the size of a working unit in SI units: 0.001 of "mV"."""
    return _SI_SIZE[unit]


def working_unit(brian_name: str) -> Unit:
    """Return the working unit whose SI unit has that name in Brian2's language, "1" where there is none."""
    return next((unit for unit, name in _BRIAN_NAMES.items() if name == brian_name), "1")


class SINumbers(NamedTuple):
    """Numbers in SI units with the name of their unit in Brian2's language."""

    value: float | npt.NDArray[np.float64]
    unit: str


def in_si(value: Any, name: str) -> SINumbers:
    """Return a quantity of any dimension in SI units, and its unit; plain numbers have the unit "1".

    Raises
    ------
    TypeError, ValueError
        If the value is not made of finite real numbers.
    """
    _refuse_timed_array(value, name)
    plain = in_unit(np.asarray(value) if is_quantity(value) else value, "1", name)
    return SINumbers(plain, _brian_name(value) if is_quantity(value) else "1")


def _brian_name(quantity: Any) -> str:
    """Return the SI unit of a quantity in Brian2's language."""
    from brian2.units.fundamentalunits import get_dimensions, have_same_dimensions

    for unit, known in _BRIAN_NAMES.items():
        if have_same_dimensions(quantity, _dimensions(unit)):
            return known
    names = ("metre", "kilogram", "second", "amp", "kelvin", "mole", "candle")
    powers = get_dimensions(quantity)._dims
    return "*".join(f"{base}**{power:g}" for base, power in zip(names, powers, strict=True) if power)


def _first(mask: npt.NDArray[np.bool_]) -> int | tuple[int, ...]:
    """Return the position of the first true element."""
    place = tuple(int(k) for k in np.argwhere(mask)[0])
    return place[0] if len(place) == 1 else place


def number_within(name: str, value: Any, unit: Unit, *, from_0: bool = False, below: float = np.inf) -> float:
    """Return an option as a number in `unit`, above 0 or from 0 on, and below a limit.

    Raises
    ------
    ValueError
        If it is none, is several, or is out of its range.
    """
    number = in_unit(value, unit, name)
    if not isinstance(number, float) or not (0 < number < below or (from_0 and number == 0)):
        limits = f"{'≥' if from_0 else '>'} 0{f' and < {below:g}' if below < np.inf else ''}"
        raise ValueError(f"`{name}` must be one number {limits}{'' if unit == '1' else f' {unit}'}, got {value!r}")
    return number


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


def flag(value: Any, name: str) -> bool:
    """Return an option that is true or false; a `TypeError` for anything else, for "no" would count as true."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"`{name}` must be True or False, got {shown(value)}")
    return bool(value)


def checked_counts(values: int | Sequence[int], name: str) -> tuple[int, ...]:
    """Return whole numbers ≥ 1 as a tuple; one number counts as a sequence of it."""
    sequence = [values] if isinstance(values, int | np.integer) else values
    if not isinstance(sequence, Iterable) or isinstance(sequence, str):
        raise TypeError(f"`{name}` must be a sequence of whole numbers, got {shown(values)}")
    numbers = tuple(sequence)
    if any(isinstance(n, bool | np.bool_) or not isinstance(n, int | np.integer) or n < 1 for n in numbers):
        raise ValueError(f"`{name}` must be whole numbers ≥ 1, got {numbers}")
    return tuple(int(n) for n in numbers)


def real_number(value: Any, name: str) -> float:
    """Return a number without a unit as a float, NaN and infinity too; a `TypeError` for anything else."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.integer | np.floating):
        raise TypeError(f"`{name}` must be a number, got {shown(value)}")
    return float(value)


_MOST_STEPS = 10**9  # steps are counted in 32 bits


def count_steps(time: npt.ArrayLike, dt: float, name: str) -> npt.NDArray[np.int32]:
    """Return times (ms) as whole numbers of steps.

    Raises
    ------
    ValueError
        If `dt` (ms) does not divide a time, up to rounding, or it takes more than 10⁹ steps.
    """
    times = np.asarray(time, dtype=np.float64)
    ratio = times / dt
    steps = np.rint(ratio)
    if (steps > _MOST_STEPS).any():
        raise ValueError(f"`{name}` must take at most {_MOST_STEPS} steps, got {ratio.max():g} of {dt:g} ms")
    uneven = np.abs(ratio - steps) > 1e-6 + 1e-9 * np.abs(steps)
    if uneven.any():
        value = float(times[uneven].flat[0])
        place = f" of neuron {int(np.argmax(uneven))}" if times.ndim else ""
        raise ValueError(
            f"`dt` must divide `{name}`: {value:g} ms{place} is {value / dt:g} steps of {dt:g} ms. "
            f"Try dt = {_divisor(value, dt):g} ms"
        )
    return steps.astype(np.int32)


def nearest_steps(times: npt.NDArray[np.float64], dt: float, name: str) -> npt.NDArray[np.int32]:
    """Return times (ms), 0 or at least dt, as the nearest numbers of time steps.

    Raises
    ------
    ValueError
        If a time lies between 0 and `dt` (ms), or takes more than 10⁹ steps.
    """
    short = (times > 0) & (times < dt * (1 - 1e-9))
    if short.any():
        raise ValueError(
            f"`{name}` must be at least one step of {dt:g} ms, got {times[short].min():g} ms ({int(short.sum())} of "
            f"{times.size} are shorter). Draw from a distribution with `low` = {dt:g}, or try a smaller dt"
        )
    steps = np.rint(times / dt)
    if (steps > _MOST_STEPS).any():
        raise ValueError(f"`{name}` must take at most {_MOST_STEPS} steps, got {steps.max():g} of {dt:g} ms")
    return steps.astype(np.int32)


def _divisor(value: float, dt: float) -> float:
    """Return a divisor of the value that is at most dt: the largest among those with the fewest decimals."""
    least = int(np.ceil(value / dt))
    candidates = value / np.arange(least, 10 * least + 1)
    for decimals in range(6):
        scaled = candidates * 10**decimals
        is_round = np.abs(scaled - np.rint(scaled)) < 1e-6 * scaled
        if is_round.any():
            return float(candidates[is_round][0])
    return float(candidates[0])
