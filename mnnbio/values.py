"""Values whose unit is that of the place where they are used: distributions over synapses, and courses in time.

A distribution stands for a weight or a delay. A course stands wherever a rate or a current may stand; time 0 is the end
of a simulation's warm-up, where recording starts, and the warm-up lies at negative times.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import numpy.typing as npt
from scipy import special

from mnnbio.units import Unit, common_unit, in_unit, require

# Of a field that is None by default, and left out of stored circuits then: their hash is that of former versions.
STORED_IF_GIVEN = {"stored": "if given"}


@dataclass(frozen=True, kw_only=True, eq=False)
class Dimensioned:
    """Values in a working unit: that of the quantities they were given as, or, for plain numbers, of their use.

    Parameters
    ----------
    unit : str, optional
        Working unit, such as "mV"; None until plain numbers are used somewhere.
    """

    unit: Unit | None = None

    VALUES: ClassVar[tuple[str, ...]] = ()  # names of the fields that carry the unit

    def _settle(self) -> None:
        """Replace the values by plain numbers and arrays, and note the unit of quantities."""
        given = {name: getattr(self, name) for name in self.VALUES if getattr(self, name) is not None}
        unit = self.unit or common_unit(given, type(self).__name__)
        object.__setattr__(self, "unit", unit)
        for name, value in given.items():
            number = in_unit(value, unit or "1", f"{name} of {type(self).__name__}")
            if isinstance(number, np.ndarray):
                number.setflags(write=False)
            object.__setattr__(self, name, number)

    def used_as(self, unit: Unit, name: str) -> Self:
        """Return the same values, known to be in `unit`.

        Raises
        ------
        ValueError
            If they were given in another unit.
        """
        if self.unit not in (None, unit):
            raise ValueError(f"`{name}` must be in {unit}, got {type(self).__name__} in {self.unit}")
        return replace(self, unit=unit)

    def __repr__(self) -> str:
        listed = ((f.name, getattr(self, f.name)) for f in fields(self) if f.name != "unit")
        text = ", ".join(f"{name}={_brief(value)}" for name, value in listed if value is not None)
        return f"{type(self).__name__}({text})" + (f" in {self.unit}" if self.unit else "")


def _brief(value: Any) -> str:
    return f"array{value.shape}" if isinstance(value, np.ndarray) else f"{value:g}"


Array = npt.NDArray[np.float64]

_LEAST_MASS = 1e-3  # of a normal distribution between its bounds, so that redrawing ends soon


class Moments(NamedTuple):
    """Mean and standard deviation."""

    mean: float
    std: float


@dataclass(frozen=True, kw_only=True, repr=False)
class Distribution(Dimensioned, ABC):
    """A distribution of one number per synapse, in mV for weights and ms for delays."""

    @abstractmethod
    def sample(self, size: int, rng: np.random.Generator) -> Array:
        """Return `size` independent values."""

    @abstractmethod
    def moments(self) -> Moments:
        """Return the mean and the standard deviation of the values."""

    @property
    @abstractmethod
    def lowest(self) -> float:
        """Lower end of the support, ``-inf`` if there is none."""

    @abstractmethod
    def __mul__(self, factor: float) -> Self:
        """Return the distribution of the values times a number."""

    def laplace(self, s: npt.ArrayLike) -> npt.NDArray[np.complex128]:
        """Return the mean of ``e^{-s value}``, of the shape of s: at s = iω the characteristic function at -ω.

        A distribution that does not override this is represented by 2,000 of its quantiles.

        Parameters
        ----------
        s : array_like of complex
            In the inverse of the values' unit.
        """
        values = self.quantiles(2000)
        places = np.asarray(s, dtype=np.complex128)
        return np.array([np.exp(-one * values).mean() for one in places.ravel()]).reshape(places.shape)

    def quantiles(self, number: int) -> Array:
        """Return values that divide the distribution into equal parts: the quantiles at (k + ½)/number, ascending.

        A distribution that does not override this gives the quantiles of a fixed sample of 100,000.
        """
        sample = self.sample(100_000, np.random.default_rng(0))
        return np.asarray(np.quantile(sample, (np.arange(number) + 0.5) / number))

    def __rmul__(self, factor: float) -> Self:
        return self * factor

    def _settle(self) -> None:
        super()._settle()
        for name in self.VALUES:
            if isinstance(getattr(self, name), np.ndarray):
                raise ValueError(f"{name} of {type(self).__name__} must be a single number")


@dataclass(frozen=True, repr=False)
class Normal(Distribution):
    """Normal distribution; values outside [`low`, `high`] are drawn again.

    Parameters
    ----------
    mean, std : float or Quantity
        Mean and standard deviation before truncation; std ≥ 0.
    low, high : float or Quantity, optional
        Bounds of the values.

    Raises
    ------
    ValueError
        If less than one in a thousand values lies between the bounds.

    Examples
    --------
    >>> Normal(1.5, 0.75, low=0.1).moments()
    Moments(mean=1.5540..., std=0.6956...)
    """

    mean: Any
    std: Any
    low: Any = None
    high: Any = None

    VALUES: ClassVar[tuple[str, ...]] = ("mean", "std", "low", "high")

    def __post_init__(self) -> None:
        self._settle()
        if not self.std >= 0:
            raise ValueError(f"`std` of Normal must be ≥ 0, got {self.std:g}")
        if not self._mass() >= _LEAST_MASS:
            raise ValueError(
                f"at least {_LEAST_MASS:g} of a normal distribution must lie between its bounds, got "
                f"{self._mass():.2g} for {self!r}. Widen `low` and `high`, or use Uniform"
            )

    @property
    def lowest(self) -> float:
        """Lower end of the support."""
        if self.std == 0:
            return float(self.mean)
        return -np.inf if self.low is None else float(self.low)

    def sample(self, size: int, rng: np.random.Generator) -> Array:
        """Return `size` independent values."""
        values = rng.normal(self.mean, self.std, size)
        low, high = self._bounds()
        outside = np.flatnonzero((values < low) | (values > high))
        while len(outside):
            values[outside] = rng.normal(self.mean, self.std, len(outside))
            outside = outside[(values[outside] < low) | (values[outside] > high)]
        return values

    def moments(self) -> Moments:
        """Return mean and standard deviation of the truncated values (Johnson, Kotz & Balakrishnan 1994, 13.10)."""
        if self.std == 0:
            return Moments(self.mean, 0.0)
        ends = (np.array(self._bounds()) - self.mean) / self.std
        density = np.exp(-(ends**2) / 2) / np.sqrt(2 * np.pi)
        slope = np.where(np.isinf(ends), 0.0, np.where(np.isinf(ends), 0.0, ends) * density)
        shift = (density[0] - density[1]) / self._mass()
        spread = 1 + (slope[0] - slope[1]) / self._mass() - shift**2
        return Moments(float(self.mean + self.std * shift), float(self.std * np.sqrt(max(spread, 0.0))))

    def laplace(self, s: npt.ArrayLike) -> npt.NDArray[np.complex128]:
        """Return the mean of ``e^{-s value}``: ``G (Q(α) - Q(β))/mass``, with G that of the untruncated distribution.

        ``Q(x) = erfc(x/√2 + s std/√2)/2`` for the bounds in standard deviations. The products G Q are evaluated with
        the Faddeeva function, for G alone vanishes and Q grows beyond bounds at high frequencies.
        """
        places = np.asarray(s, dtype=np.complex128)
        if self.std == 0:
            return np.exp(-places * self.mean)
        whole = np.exp(-places * self.mean + (places * self.std) ** 2 / 2)

        def above(bound: float) -> npt.NDArray[np.complex128]:
            if np.isinf(bound):
                return whole if bound < 0 else np.zeros_like(places)
            end = (bound - self.mean) / self.std
            z = (end + places * self.std) / np.sqrt(2)
            right = z.real >= 0
            tail = np.exp(-places * bound - end**2 / 2) * special.wofz(1j * np.where(right, z, -z)) / 2
            return np.where(right, tail, whole - tail)

        low, high = self._bounds()
        return np.asarray((above(low) - above(high)) / self._mass())

    def quantiles(self, number: int) -> Array:
        """Return the quantiles at (k + ½)/number, ascending."""
        shares = (np.arange(number) + 0.5) / number
        if self.std == 0:
            return np.full(number, float(self.mean))
        below, above = (special.ndtr((end - self.mean) / self.std) for end in self._bounds())
        return np.asarray(self.mean + self.std * special.ndtri(below + shares * (above - below)))

    def __mul__(self, factor: float) -> Normal:
        ends = [None if end is None else end * factor for end in (self.low, self.high)]
        low, high = ends if factor >= 0 else ends[::-1]
        return Normal(self.mean * factor, self.std * abs(factor), low, high, unit=self.unit)

    def _bounds(self) -> tuple[float, float]:
        return -np.inf if self.low is None else self.low, np.inf if self.high is None else self.high

    def _mass(self) -> float:
        """Return the probability that a value needs no second draw."""
        low, high = self._bounds()
        if self.std == 0:
            return float(low <= self.mean <= high)
        below, above = (low - self.mean) / self.std, (high - self.mean) / self.std
        # In the upper tail a difference of lower tails would cancel.
        return float(
            special.ndtr(-below) - special.ndtr(-above) if below > 0 else special.ndtr(above) - special.ndtr(below)
        )


@dataclass(frozen=True, repr=False)
class LogNormal(Distribution):
    """Log-normal distribution.

    Parameters
    ----------
    mean : float or Quantity
        Mean of the values themselves; not 0. A negative mean gives negative values.
    std : float or Quantity
        Standard deviation of the values themselves; ≥ 0.
    """

    mean: Any
    std: Any

    VALUES: ClassVar[tuple[str, ...]] = ("mean", "std")

    def __post_init__(self) -> None:
        self._settle()
        if self.mean == 0:
            raise ValueError("`mean` of LogNormal must not be 0")
        if not self.std >= 0:
            raise ValueError(f"`std` of LogNormal must be ≥ 0, got {self.std:g}")

    @property
    def lowest(self) -> float:
        """Lower end of the support."""
        return 0.0 if self.mean > 0 else -np.inf

    def sample(self, size: int, rng: np.random.Generator) -> Array:
        """Return `size` independent values."""
        variance = np.log1p((self.std / self.mean) ** 2)
        logarithm = np.log(abs(self.mean)) - variance / 2
        return np.sign(self.mean) * rng.lognormal(logarithm, np.sqrt(variance), size)

    def moments(self) -> Moments:
        """Return mean and standard deviation of the values."""
        return Moments(self.mean, self.std)

    def laplace(self, s: npt.ArrayLike) -> npt.NDArray[np.complex128]:
        """Return the mean of ``e^{-s value}``, by the trapezoidal rule over the logarithm of the values.

        There is no closed form. The integrand and all its derivatives vanish at the ends, 9 standard deviations out, so
        that the error is that of rounding, below 1e-10 for ``|s| mean`` up to 100.
        """
        places = np.asarray(s, dtype=np.complex128)
        normal = np.linspace(-9.0, 9.0, 4001)
        share = np.exp(-(normal**2) / 2)
        variance = np.log1p((self.std / self.mean) ** 2)
        values = self.mean * np.exp(np.sqrt(variance) * normal - variance / 2)
        share /= share.sum()
        return np.array([np.exp(-one * values) @ share for one in places.ravel()]).reshape(places.shape)

    def quantiles(self, number: int) -> Array:
        """Return the quantiles at (k + ½)/number, ascending."""
        variance = np.log1p((self.std / self.mean) ** 2)
        normal = special.ndtri((np.arange(number) + 0.5) / number)
        return np.asarray(np.sort(self.mean * np.exp(np.sqrt(variance) * normal - variance / 2)))

    def __mul__(self, factor: float) -> LogNormal:
        return LogNormal(self.mean * factor, self.std * abs(factor), unit=self.unit)


@dataclass(frozen=True, repr=False)
class Uniform(Distribution):
    """Uniform distribution between `low` and `high`.

    Parameters
    ----------
    low, high : float or Quantity
        Ends; low ≤ high.
    """

    low: Any
    high: Any

    VALUES: ClassVar[tuple[str, ...]] = ("low", "high")

    def __post_init__(self) -> None:
        self._settle()
        if not self.low <= self.high:
            raise ValueError(f"`low` of Uniform must be at most `high`, got {self.low:g} and {self.high:g}")

    @property
    def lowest(self) -> float:
        """Lower end of the support."""
        return float(self.low)

    def sample(self, size: int, rng: np.random.Generator) -> Array:
        """Return `size` independent values."""
        return rng.uniform(self.low, self.high, size)

    def moments(self) -> Moments:
        """Return mean and standard deviation of the values."""
        return Moments((self.low + self.high) / 2, (self.high - self.low) / np.sqrt(12))

    def laplace(self, s: npt.ArrayLike) -> npt.NDArray[np.complex128]:
        """Return the mean of ``e^{-s value}``: ``(e^{-s low} - e^{-s high})/(s (high - low))``."""
        places = np.asarray(s, dtype=np.complex128)
        exponent = places * (self.high - self.low)
        small = np.abs(exponent) < 1e-8
        safe = np.where(small, 1.0, exponent)
        return np.asarray(np.exp(-places * self.low) * np.where(small, 1 - exponent / 2, -np.expm1(-safe) / safe))

    def quantiles(self, number: int) -> Array:
        """Return the quantiles at (k + ½)/number, ascending."""
        return np.asarray(self.low + (self.high - self.low) * (np.arange(number) + 0.5) / number)

    def __mul__(self, factor: float) -> Uniform:
        return Uniform(*sorted((self.low * factor, self.high * factor)), unit=self.unit)


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
