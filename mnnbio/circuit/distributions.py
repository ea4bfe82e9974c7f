"""Distributions of synaptic weights and delays."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import numpy.typing as npt
from scipy import special

from mnnbio.circuit.dimensioned import Dimensioned

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

    def __mul__(self, factor: float) -> Uniform:
        return Uniform(*sorted((self.low * factor, self.high * factor)), unit=self.unit)
