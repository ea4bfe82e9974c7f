"""Inputs that change in time: steps, ramps, oscillations and sampled courses.

A course stands wherever a rate or a current may stand. Time 0 is the end of a simulation's warm-up, where recording
starts; the warm-up lies at negative times.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from mnnbio.circuit.dimensioned import Dimensioned
from mnnbio.lif import in_unit, require

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class TimeCourse(Dimensioned, ABC):
    """A value, or one per neuron, as a function of time."""

    LEADING: ClassVar[int] = 0  # dimensions of the values before those of stimulus and neuron: time, if any

    @abstractmethod
    def at(self, times: npt.ArrayLike) -> Array:
        """Return the values at times (ms, shape (time,)), shape ``(time, *shape)``."""

    @abstractmethod
    def time_average(self) -> Array:
        """Return the average over a long time, of shape `shape`."""

    @abstractmethod
    def lowest(self) -> Array:
        """Return a lower bound of the values over all times, of shape `shape`."""

    @abstractmethod
    def highest(self) -> Array:
        """Return an upper bound of the values over all times, of shape `shape`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the values at one time: (), (n,) or (stimulus, n)."""
        return np.broadcast_shapes(*(np.shape(value)[self.LEADING :] for value in self._parameters()))

    def select(self, index: Any) -> Self:
        """Return the course of some stimuli only, of one if `index` is an integer."""
        place = (slice(None),) * self.LEADING + (index,)
        picked: dict[str, Any] = {
            name: value[place]
            for name, value in vars(self).items()
            if isinstance(value, np.ndarray) and value.ndim == self.LEADING + 2
        }
        return replace(self, **picked)

    def __mul__(self, factor: float) -> Self:
        """Return the course of the values times a number."""
        scaled: dict[str, Any] = {name: getattr(self, name) * factor for name in self.VALUES}
        return replace(self, **scaled)

    def __rmul__(self, factor: float) -> Self:
        return self * factor

    def _parameters(self) -> list[Any]:
        return [getattr(self, name) for name in self.VALUES]

    def _check_shape(self) -> None:
        shapes = [np.shape(value)[self.LEADING :] for value in self._parameters()]
        try:
            shape = np.broadcast_shapes(*shapes)
        except ValueError as error:
            raise ValueError(
                f"values of {self!r} must have one shape, (), (n,) or (stimulus, n), got {shapes}"
            ) from error
        if len(shape) > 2:
            raise ValueError(f"values of {self!r} must have shape (), (n,) or (stimulus, n), got {shape}")


@dataclass(frozen=True, eq=False, repr=False)
class Steps(TimeCourse):
    """Values that change at given times and stay in between; before the first time the first value holds.

    Parameters
    ----------
    times : array_like or Quantity, shape (k,)
        Times from which the values hold, ms; increasing.
    values : array_like or Quantity, shape (k,), (k, n) or (k, stimulus, n)
        The values.

    Examples
    --------
    >>> Steps([0.0, 100.0], [1.0, 3.0]).at([-5.0, 99.0, 100.0])
    array([1., 1., 3.])
    """

    times: Any
    values: Any

    VALUES: ClassVar[tuple[str, ...]] = ("values",)
    LEADING: ClassVar[int] = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "times", _times(self.times))
        require(np.diff(self.times) > 0, "times of Steps", "increasing", self.times[1:], where="index")
        self._settle()
        if np.shape(self.values)[:1] != self.times.shape:
            raise ValueError(
                f"Steps needs one value per time, shape ({len(self.times)}, ...), got shape {np.shape(self.values)}"
            )
        self._check_shape()

    def at(self, times: npt.ArrayLike) -> Array:
        """Return the values at times (ms, shape (time,)), shape ``(time, *shape)``."""
        place = np.searchsorted(self.times, np.asarray(times, dtype=np.float64), side="right") - 1
        return np.asarray(self.values[np.maximum(place, 0)])

    def time_average(self) -> Array:
        """Return the average over a long time: the last value."""
        return np.asarray(self.values[-1])

    def lowest(self) -> Array:
        """Return a lower bound of the values."""
        return np.asarray(self.values.min(axis=0))

    def highest(self) -> Array:
        """Return an upper bound of the values."""
        return np.asarray(self.values.max(axis=0))


@dataclass(frozen=True, eq=False, repr=False)
class Ramp(TimeCourse):
    """A linear change from `first`, which holds until `start`, to `last`, which holds from `stop`.

    Parameters
    ----------
    start, stop : float or Quantity
        Times, ms; start < stop.
    first, last : array_like or Quantity, shape (), (n,) or (stimulus, n)
        Values before and after.
    """

    start: Any
    stop: Any
    first: Any
    last: Any

    VALUES: ClassVar[tuple[str, ...]] = ("first", "last")

    def __post_init__(self) -> None:
        for name in ("start", "stop"):
            object.__setattr__(self, name, _time(getattr(self, name), f"{name} of Ramp"))
        if not self.start < self.stop:
            raise ValueError(f"`start` of Ramp must be before `stop`, got {self.start:g} and {self.stop:g} ms")
        self._settle()
        self._check_shape()

    def at(self, times: npt.ArrayLike) -> Array:
        """Return the values at times (ms, shape (time,)), shape ``(time, *shape)``."""
        fraction = np.clip((np.asarray(times, dtype=np.float64) - self.start) / (self.stop - self.start), 0.0, 1.0)
        fraction = fraction.reshape(-1, *(1,) * len(self.shape))
        return (1 - fraction) * self.first + fraction * self.last

    def time_average(self) -> Array:
        """Return the average over a long time: the value after the ramp."""
        return np.array(np.broadcast_to(self.last, self.shape))

    def lowest(self) -> Array:
        """Return a lower bound of the values."""
        return np.asarray(np.minimum(self.first, self.last))

    def highest(self) -> Array:
        """Return an upper bound of the values."""
        return np.asarray(np.maximum(self.first, self.last))


@dataclass(frozen=True, eq=False, repr=False)
class Oscillation(TimeCourse):
    """``mean + amplitude · sin(2π · frequency · t + phase)``.

    Parameters
    ----------
    mean, amplitude : array_like or Quantity, shape (), (n,) or (stimulus, n)
    frequency : array_like or Quantity, shape (), (n,) or (stimulus, n)
        Oscillations per ms (a quantity in Hz does as well); ≥ 0.
    phase : array_like, shape (), (n,) or (stimulus, n)
        Phase at time 0, radian.
    """

    mean: Any
    amplitude: Any
    frequency: Any
    phase: Any = 0.0

    VALUES: ClassVar[tuple[str, ...]] = ("mean", "amplitude")

    def __post_init__(self) -> None:
        for name, unit in (("frequency", "1/ms"), ("phase", "1")):
            value = in_unit(getattr(self, name), unit, f"{name} of Oscillation")  # type: ignore[arg-type]
            if isinstance(value, np.ndarray):
                value.setflags(write=False)
            object.__setattr__(self, name, value)
        require(
            np.asarray(self.frequency) >= 0, "frequency of Oscillation", "≥ 0 per ms", self.frequency, where="index"
        )
        self._settle()
        self._check_shape()

    def _parameters(self) -> list[Any]:
        return [self.mean, self.amplitude, self.frequency, self.phase]

    def at(self, times: npt.ArrayLike) -> Array:
        """Return the values at times (ms, shape (time,)), shape ``(time, *shape)``."""
        time = np.asarray(times, dtype=np.float64).reshape(-1, *(1,) * len(self.shape))
        return np.asarray(self.mean + self.amplitude * np.sin(2 * np.pi * self.frequency * time + self.phase))

    def time_average(self) -> Array:
        """Return the average over a long time."""
        held = np.where(np.asarray(self.frequency) == 0, self.amplitude * np.sin(self.phase), 0.0)
        return np.array(np.broadcast_to(self.mean + held, self.shape))

    def lowest(self) -> Array:
        """Return a lower bound of the values."""
        return np.array(np.broadcast_to(self.mean - np.abs(self.amplitude), self.shape))

    def highest(self) -> Array:
        """Return an upper bound of the values."""
        return np.array(np.broadcast_to(self.mean + np.abs(self.amplitude), self.shape))


@dataclass(frozen=True, eq=False, repr=False)
class Samples(TimeCourse):
    """Values sampled from time 0 on, each held for `dt`; the first holds before, and the course ends with the last.

    Parameters
    ----------
    values : array_like or Quantity, shape (k,), (k, n) or (k, stimulus, n)
        The values.
    dt : float or Quantity
        Sampling interval, ms; > 0.
    """

    values: Any
    dt: Any

    VALUES: ClassVar[tuple[str, ...]] = ("values",)
    LEADING: ClassVar[int] = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "dt", _time(self.dt, "dt of Samples"))
        if not self.dt > 0:
            raise ValueError(f"`dt` of Samples must be > 0 ms, got {self.dt:g}")
        self._settle()
        if not np.size(self.values) or not np.ndim(self.values):
            raise ValueError(f"Samples needs values of shape (time, ...), got shape {np.shape(self.values)}")
        self._check_shape()

    def at(self, times: npt.ArrayLike) -> Array:
        """Return the values at times (ms, shape (time,)), shape ``(time, *shape)``.

        Raises
        ------
        ValueError
            If a time lies after the last sample.
        """
        # A time that is a multiple of dt up to rounding belongs to the sample that begins there.
        place = np.floor(np.asarray(times, dtype=np.float64) / self.dt + 1e-9).astype(np.int64)
        if place.size and place.max() >= len(self.values):
            raise ValueError(
                f"Samples end at {len(self.values) * self.dt:g} ms, the value at {np.max(times):g} ms was asked for. "
                "Give more samples, or simulate for a shorter time"
            )
        return np.asarray(self.values[np.maximum(place, 0)])

    def time_average(self) -> Array:
        """Return the average over the samples."""
        return np.asarray(self.values.mean(axis=0))

    def lowest(self) -> Array:
        """Return a lower bound of the values."""
        return np.asarray(self.values.min(axis=0))

    def highest(self) -> Array:
        """Return an upper bound of the values."""
        return np.asarray(self.values.max(axis=0))


def _time(value: Any, name: str) -> float:
    number = in_unit(value, "ms", name)
    if not isinstance(number, float):
        raise ValueError(f"{name} must be a single time, ms, got an array of shape {number.shape}")
    return number


def _times(value: Any) -> Array:
    times = np.asarray(in_unit(value, "ms", "times of Steps"))
    if times.ndim != 1 or not len(times):
        raise ValueError(f"times of Steps must be a sequence, got shape {times.shape}")
    times.setflags(write=False)
    return times
