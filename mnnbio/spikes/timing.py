"""Times of a presentation as whole numbers of time steps, and variables that follow a course in time.

The value of a course in a step is that at its middle: exact for steps at multiples of dt, and of second order in dt for
smooth courses. Steps in which nothing changes share one row.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mnnbio.units import count_steps, in_unit
from mnnbio.values import TimeCourse


class Times(NamedTuple):
    """Times of a presentation, in ms and in steps."""

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


def _number(value: Any, name: str) -> float:
    number = in_unit(value, "ms", name)
    if not isinstance(number, float):
        raise ValueError(f"`{name}` must be a single number, ms, got an array of shape {number.shape}")
    return number


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
