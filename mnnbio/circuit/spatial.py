"""Connections that depend on the distance between neurons, on a ring, a torus or a sheet.

Lengths are plain numbers in one unit of the user's choice, the same for spaces, profiles and positions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from mnnbio.circuit.connectivity import Connectivity, Pairs, check_count, probability
from mnnbio.units import in_unit

Array = npt.NDArray[np.float64]

_CELLS = 1_000_000  # distances held at a time


class Profile(ABC):
    """Fall of the tendency to connect with distance, from 1 at distance 0."""

    @abstractmethod
    def at(self, distance: Array) -> Array:
        """Return the profile at distances, between 0 and 1."""


@dataclass(frozen=True)
class GaussianProfile(Profile):
    """``exp(-d²/(2 sigma²))``."""

    sigma: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "sigma", _length(self.sigma, "sigma"))

    def at(self, distance: Array) -> Array:
        """Return the profile at distances."""
        return np.asarray(np.exp(distance**2 * (-0.5 / self.sigma**2)))


@dataclass(frozen=True)
class ExponentialProfile(Profile):
    """``exp(-d/length)``."""

    length: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "length", _length(self.length, "length"))

    def at(self, distance: Array) -> Array:
        """Return the profile at distances."""
        return np.asarray(np.exp(distance * (-1 / self.length)))


@dataclass(frozen=True)
class BoxProfile(Profile):
    """1 up to distance `radius`, 0 beyond."""

    radius: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "radius", _length(self.radius, "radius"))

    def at(self, distance: Array) -> Array:
        """Return the profile at distances."""
        # Neighbours on a lattice lie at a radius up to rounding.
        return (distance <= self.radius * (1 + 1e-9)).astype(np.float64)


class Space(ABC):
    """Space in which neurons lie: their positions and distances."""

    @abstractmethod
    def positions(self, n: int) -> Array:
        """Return regular positions of `n` neurons, (n, dimension)."""

    @abstractmethod
    def distances(self, one: Array, other: Array) -> Array:
        """Return the distances between two sets of positions, (n, m)."""

    @property
    @abstractmethod
    def dimension(self) -> int:
        """Number of coordinates."""


@dataclass(frozen=True)
class Ring(Space):
    """A closed line; neurons lie evenly spaced in the order of their indices."""

    length: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "length", _length(self.length, "length"))

    def positions(self, n: int) -> Array:
        """Return regular positions of `n` neurons, (n, 1)."""
        return (np.arange(n)[:, None] + 0.5) / n * self.length

    def distances(self, one: Array, other: Array) -> Array:
        """Return the distances along the ring between two sets of positions, (n, m)."""
        return _around(one[:, 0], other[:, 0], self.length)

    @property
    def dimension(self) -> int:
        """Number of coordinates."""
        return 1


@dataclass(frozen=True)
class _Rectangle(Space):
    """A rectangle; neurons lie on a lattice, row by row."""

    width: float = 1.0
    height: float = 1.0

    def __post_init__(self) -> None:
        for name in ("width", "height"):
            object.__setattr__(self, name, _length(getattr(self, name), name))

    def positions(self, n: int) -> Array:
        """Return regular positions of `n` neurons, (n, 2)."""
        return _lattice(n, self.width, self.height)

    @property
    def dimension(self) -> int:
        """Number of coordinates."""
        return 2


@dataclass(frozen=True)
class Torus(_Rectangle):
    """A rectangle whose opposite edges are joined; neurons lie on a lattice, row by row."""

    def distances(self, one: Array, other: Array) -> Array:
        """Return the shortest distances between two sets of positions, (n, m)."""
        x, y = (_around(one[:, k], other[:, k], period) for k, period in enumerate((self.width, self.height)))
        return _length_of(x, y)


@dataclass(frozen=True)
class Sheet(_Rectangle):
    """A rectangle with open edges; neurons lie on a lattice, row by row."""

    def distances(self, one: Array, other: Array) -> Array:
        """Return the distances between two sets of positions, (n, m)."""
        return _length_of(*(one[:, k, None] - other[:, k] for k in range(2)))


@dataclass(frozen=True, eq=False)
class DistanceDependent(Connectivity):
    """Connections by distance: with probability ``p · profile(distance)``, or of a fixed in-degree.

    Parameters
    ----------
    profile : Profile
        `GaussianProfile`, `ExponentialProfile` or `BoxProfile`.
    p : float, optional
        Probability of a connection at distance 0.
    indegree : int, optional
        Number of distinct sources of every target, drawn one after the other with probabilities proportional to the
        profile. Give either `p` or `indegree`.
    space : Space
        `Ring`, `Torus` or `Sheet`.
    target_positions, source_positions : array_like, shape (n,) or (n, dimension), optional
        Where the neurons lie; default: regularly in the space.

    Examples
    --------
    >>> rule = DistanceDependent(BoxProfile(0.1), p=1.0)  # ten neurons: each hears its neighbours
    >>> [array.tolist() for array in rule.sample(10, 10, np.random.default_rng(0), autapses=False)]
    [[0, 0, 1, 1, ...], [1, 9, 0, 2, ...]]
    """

    profile: Profile
    p: float | None = None
    indegree: int | None = None
    space: Space = field(default_factory=Ring)
    target_positions: Any = None
    source_positions: Any = None

    def __post_init__(self) -> None:
        if not isinstance(self.profile, Profile) or not isinstance(self.space, Space):
            raise TypeError(
                "`profile` must be a GaussianProfile, ExponentialProfile or BoxProfile and `space` a Ring, Torus or "
                f"Sheet, got {self.profile!r} and {self.space!r}"
            )
        if (self.p is None) == (self.indegree is None):
            raise ValueError("DistanceDependent needs either `p` or `indegree`")
        if self.p is not None:
            object.__setattr__(self, "p", probability(self.p))
        else:
            check_count(self.indegree, "`indegree`")
        for name in ("target_positions", "source_positions"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, self._positions(getattr(self, name), name))

    def check(self, n_target: int, n_source: int, *, autapses: bool) -> None:
        """Raise a `ValueError` if positions are missing or sources too few."""
        super().check(n_target, n_source, autapses=autapses)
        for name, n in (("target_positions", n_target), ("source_positions", n_source)):
            positions = getattr(self, name)
            if positions is not None and len(positions) != n:
                raise ValueError(f"`{name}` must have one row per neuron, {n}, got {len(positions)}")
        usable = n_source - (not autapses)
        if self.indegree is not None and self.indegree > usable:
            raise ValueError(f"in-degree {self.indegree} is larger than the {usable} available sources")

    def sample(self, n_target: int, n_source: int, rng: np.random.Generator, *, autapses: bool) -> Pairs:
        """Draw the pairs.

        Raises
        ------
        ValueError
            If fewer sources than the in-degree lie within reach of a target.
        """
        targets, sources = [np.empty(0, np.int32)], [np.empty(0, np.int32)]
        for start, tendency in self._tendencies(n_target, n_source, autapses=autapses):
            if self.p is not None:
                tendency *= self.p
                row, column = np.divmod(np.flatnonzero(rng.random(tendency.shape) < tendency), n_source)
            else:
                row, column = self._nearest(start, tendency, rng)
            targets.append((row + start).astype(np.int32))
            sources.append(column.astype(np.int32))
        return np.concatenate(targets), np.concatenate(sources)

    def mean_indegree(self, n_target: int, n_source: int, *, autapses: bool) -> float:
        """Return the expected number of sources of a target, averaged over targets."""
        if self.p is None:
            assert self.indegree is not None
            return float(self.indegree)
        total = sum(part.sum() for _, part in self._tendencies(n_target, n_source, autapses=autapses))
        return float(self.p * total / n_target)

    def _positions(self, value: Any, name: str) -> Array:
        positions = np.asarray(in_unit(value, "1", name))
        if positions.ndim == 1 and self.space.dimension == 1:
            positions = positions[:, None]
        if positions.ndim != 2 or positions.shape[1] != self.space.dimension:
            raise ValueError(
                f"`{name}` must have shape (n, {self.space.dimension}) on a {type(self.space).__name__}, "
                f"got {positions.shape}"
            )
        positions.setflags(write=False)
        return positions

    def _tendencies(self, n_target: int, n_source: int, *, autapses: bool) -> Iterator[tuple[int, Array]]:
        """Yield the profile at the distances of some targets from all sources, (rows, n_source), and the first row."""
        self.check(n_target, n_source, autapses=autapses)
        targets, sources = (
            self.space.positions(n) if given is None else given
            for given, n in ((self.target_positions, n_target), (self.source_positions, n_source))
        )
        rows = max(1, _CELLS // n_source)
        for start in range(0, n_target, rows):
            tendency = self.profile.at(self.space.distances(targets[start : start + rows], sources))
            if not autapses:
                own = np.arange(len(tendency))
                tendency[own, own + start] = 0.0
            yield start, tendency

    def _nearest(self, start: int, tendency: Array, rng: np.random.Generator) -> tuple[npt.NDArray[Any], ...]:
        """Draw sources without replacement: those with the smallest exponential times (Efraimidis & Spirakis 2006)."""
        count = int(self.indegree or 0)
        reach = np.count_nonzero(tendency, axis=1)
        if (reach < count).any():
            row = int(np.argmax(reach < count))
            raise ValueError(
                f"in-degree {count} is larger than the {reach[row]} sources within reach of target {start + row}. "
                "Widen the profile or lower the in-degree"
            )
        with np.errstate(divide="ignore", over="ignore"):
            times = rng.standard_exponential(tendency.shape) / tendency
        chosen = np.argpartition(times, count - 1, axis=1)[:, :count] if count else np.empty((len(times), 0), np.int64)
        chosen = np.sort(chosen, axis=1)
        return np.repeat(np.arange(len(times)), count), chosen.ravel()


def _length(value: Any, name: str) -> float:
    length = in_unit(value, "1", name)
    if not isinstance(length, float) or not length > 0:
        raise ValueError(f"`{name}` must be a length > 0, got {value}")
    return length


def _around(one: Array, other: Array, period: float) -> Array:
    """Return distances on a circle between all pairs, (n, m)."""
    away = (one % period)[:, None] - other % period
    np.abs(away, out=away)
    return np.minimum(away, period - away, out=away)


def _length_of(x: Array, y: Array) -> Array:
    """Return the lengths of vectors; `x` and `y` are overwritten."""
    np.multiply(x, x, out=x)
    np.multiply(y, y, out=y)
    x += y
    return np.sqrt(x, out=x)


def _lattice(n: int, width: float, height: float) -> Array:
    """Return `n` points in rows of equal numbers, up to one, evenly spaced in both directions, (n, 2)."""
    n_rows = max(1, min(n, round(np.sqrt(n * height / width))))
    # Prefer a near number of rows that divides n: then the lattice is perfect.
    near = sorted(range(max(1, (n_rows + 1) // 2), min(n, 2 * n_rows) + 1), key=lambda rows: abs(rows - n_rows))
    n_rows = next((rows for rows in near if n % rows == 0), n_rows)
    row = np.arange(n) * n_rows // n
    in_row = np.bincount(row, minlength=n_rows)
    column = np.arange(n) - np.repeat(np.cumsum(in_row) - in_row, in_row)
    return np.column_stack([(column + 0.5) / in_row[row] * width, (row + 0.5) / n_rows * height])
