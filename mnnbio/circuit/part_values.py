"""Values of a circuit's parts: frozen arrays and time courses in their working units, checked when they are given."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mnnbio.units import Unit, in_unit, require
from mnnbio.values import Distribution, TimeCourse

Array = npt.NDArray[np.float64]


def frozen(value: float | Array) -> Array:
    """Return an array that cannot be written to."""
    array = np.asarray(value, dtype=np.float64)
    array.setflags(write=False)
    return array


def single_number(value: Any, unit: Unit, name: str) -> float:
    """Return one number in its unit."""
    number = in_unit(value, unit, name)
    if not isinstance(number, float):
        raise ValueError(f"{name} must be a single number in {unit}, got an array of shape {number.shape}")
    return number


def synaptic_time(value: Any, name: str) -> float:
    """Return a synaptic time constant, ms, ≥ 0."""
    tau_syn = single_number(value, "ms", f"tau_syn of {name}")
    require(tau_syn >= 0, f"tau_syn of {name}", "≥ 0 ms", tau_syn)
    return tau_syn


def number_or_distribution(value: Any, unit: Unit, name: str) -> float | Distribution:
    """Return one number or a distribution in its unit."""
    return value.used_as(unit, name) if isinstance(value, Distribution) else single_number(value, unit, name)


_SHOWN: dict[Unit, str] = {"1/ms": "spikes/ms", "mV/sqrt(ms)": "mV/√ms"}


def input_value(value: Any, unit: Unit, name: str, *, least: float = -np.inf) -> Any:
    """Return an input as a frozen array or a time course in its unit, checked to be at least `least`."""
    if isinstance(value, TimeCourse):
        checked: Any = value.used_as(unit, name)
        lowest = checked.lowest()
    else:
        checked = lowest = frozen(in_unit(value, unit, name))
    require(lowest >= least, name, f"≥ {least:g} {_SHOWN.get(unit, unit)}", lowest, where="index")
    return checked


def check_shape(shape: tuple[int, ...], name: str, size: int) -> None:
    """Raise a `ValueError` unless values are one number, one per neuron, or that for every stimulus."""
    if len(shape) > 2 or (shape and shape[-1] != size):
        raise ValueError(f"{name} must be a number or have shape ({size},) or (stimulus, {size}), got {shape}")


def per_neuron(value: Any, unit: Unit, name: str, size: int) -> Array:
    """Return the value with its neuron axis in full, (size,) or (stimulus, size)."""
    array = np.asarray(in_unit(value, unit, name))
    check_shape(array.shape, name, size)
    return frozen(np.full(size, float(array)) if array.ndim == 0 else array)


def highest_value(value: Array | TimeCourse) -> Array:
    """Return an upper bound of an input over all times, (1 or stimulus, 1 or n)."""
    return np.atleast_2d(value.highest() if isinstance(value, TimeCourse) else value)
