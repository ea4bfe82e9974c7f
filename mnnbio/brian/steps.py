"""Times as whole numbers of time steps."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mnnbio.lif import in_unit

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
