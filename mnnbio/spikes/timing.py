"""Times as whole numbers of time steps.

Variables that follow a course in time, sampled once per step.

The value of a step is that at its middle: exact for steps at multiples of dt, and of second order in dt for smooth
courses. Steps in which nothing changes share one row.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mnnbio.units import in_unit
from mnnbio.values import TimeCourse

_MOST_STEPS = 10**9  # steps are counted in 32 bits


class Times(NamedTuple):
    """How long a presentation takes, in ms and in steps."""

    duration: float
    warmup: float
    duration_steps: int
    warmup_steps: int

    @classmethod
    def of(cls, duration: Any, warmup: Any, dt: float) -> Times:
        """Check the times (ms or quantities) and return them.

        Raises
        ------
        ValueError
            If a time is out of range or not a whole number of steps.
        """
        values = _number(duration, "duration"), _number(warmup, "warmup")
        if not values[0] > 0:
            raise ValueError(f"`duration` must be > 0 ms, got {values[0]}")
        if not values[1] >= 0:
            raise ValueError(f"`warmup` must be ≥ 0 ms, got {values[1]}")
        steps = (int(count_steps(value, dt, name)) for value, name in zip(values, ("duration", "warmup"), strict=True))
        return cls(*values, *steps)


def time_step(dt: Any) -> float:
    """Return the time step in ms.

    Raises
    ------
    ValueError
        If it is not positive.
    """
    value = _number(dt, "dt")
    if not value > 0:
        raise ValueError(f"`dt` must be > 0 ms, got {value}")
    return value


def _number(value: Any, name: str) -> float:
    number = in_unit(value, "ms", name)
    if not isinstance(number, float):
        raise ValueError(f"`{name}` must be a single number, ms, got an array of shape {number.shape}")
    return number


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


Array = npt.NDArray[np.float64]
Course = Callable[[Array], Array]  # times (ms), (time,) → values in SI units, (time, 1 or stimulus, 1 or size)

_MOST_VALUES = 250_000_000  # of one variable in a run: 2 GB
_VALUES_AT_ONCE = 4_000_000


class SampledCourse(NamedTuple):
    """Values of a variable in the steps of a presentation.

    Parameters
    ----------
    row : ndarray of int32, shape (n_steps,)
        Which row of `table` holds in each step.
    table : ndarray, shape (row, 1 or stimulus, 1 or size)
    """

    row: npt.NDArray[np.int32]
    table: Array


def over_time(value: Array | TimeCourse, times: Array) -> Array:
    """Return an input, constant or not, at some times (ms), (1 or time, 1 or stimulus, 1 or n)."""
    if isinstance(value, TimeCourse):
        found, shape = value.at(times), value.shape
    else:
        found, shape = np.asarray(value)[None], np.shape(value)
    return found.reshape(len(found), *(1,) * (2 - len(shape)), *shape)


def bounds(value: Array | TimeCourse) -> Array:
    """Return an upper bound of an input over all times, (1 or stimulus, 1 or n)."""
    return np.atleast_2d(value.highest() if isinstance(value, TimeCourse) else value)


def sample(course: Course, *, n_steps: int, warmup_steps: int, dt: float, name: str) -> SampledCourse:
    """Return the values of a variable in all steps of a presentation; time 0 is the end of the warm-up.

    Raises
    ------
    ValueError
        If a course ends too early, or its values take too much memory.
    """
    at_once = max(1, _VALUES_AT_ONCE // course(np.zeros(1)).size)
    row, kept, n_kept = np.empty(n_steps, np.int32), [], 0
    last: Array | None = None
    for start in range(0, n_steps, at_once):
        stop = min(start + at_once, n_steps)
        times: Array = (np.arange(start, stop, dtype=np.float64) + 0.5 - warmup_steps) * dt
        values = course(times)
        changed = np.ones(len(values), bool)
        changed[1:] = (values[1:] != values[:-1]).any(axis=(1, 2))
        changed[0] = last is None or bool((values[0] != last).any())
        row[start:stop] = n_kept - 1 + np.cumsum(changed)
        n_kept += int(changed.sum())
        if n_kept * values[0].size > _MOST_VALUES:
            raise ValueError(
                f"the time course of {name} takes more than {_MOST_VALUES} numbers, {values[0].size} in each step. "
                "Simulate a shorter time or fewer stimuli at once, or give all neurons one course"
            )
        kept.append(values[changed])
        last = values[-1]
    return SampledCourse(row, np.concatenate(kept))
