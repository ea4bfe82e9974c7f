"""Rules of connectivity, and their vectorised draws: millions of pairs a second in some tens of megabytes.

A rule names a random (or fixed) set of pairs; the circuit draws it once, from its seed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from mnnbio.units import in_unit

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Pairs = tuple[Int32, Int32]

_CELLS = 4_000_000  # numbers that are worked on at a time


def distinct_in_rows(n_rows: int, count: int, n: int, rng: np.random.Generator) -> Int32:
    """Draw `count` distinct numbers below `n` for every row, each set of them equally likely.

    Repeated numbers are drawn again until all are distinct: a row then holds the first `count` distinct values of a
    sequence of independent draws, and by symmetry those are any set with equal probability.

    Returns
    -------
    ndarray of int32, shape (n_rows, count)
        Each row in increasing order.
    """
    drawn = np.empty((n_rows, count), np.int32)
    if 2 * count > n:  # leave out instead: redrawing would take long
        rows = max(1, _CELLS // max(n, 1))
        for start in range(0, n_rows, rows):
            part = drawn[start : start + rows]
            kept = np.ones((len(part), n), bool)
            left_out = distinct_in_rows(len(part), n - count, n, rng)
            kept[np.arange(len(part))[:, None], left_out] = False
            part[:] = np.nonzero(kept)[1].reshape(part.shape)
        return drawn
    rows = max(1, _CELLS // max(count, 1))
    for start in range(0, n_rows, rows):
        part = drawn[start : start + rows]
        part[:] = rng.integers(0, n, part.shape, dtype=np.int32)
        _make_distinct(part, n, rng)
    return drawn


def _make_distinct(rows: npt.NDArray[np.integer], n: int, rng: np.random.Generator) -> None:
    """Sort the rows and replace repeated numbers, in place."""
    rows.sort(axis=1)
    open_, place = rows, np.arange(len(rows))
    while True:
        repeated = open_[:, 1:] == open_[:, :-1]
        unfinished = repeated.any(axis=1)
        if not unfinished.any():
            return
        open_, repeated, place = open_[unfinished], repeated[unfinished], place[unfinished]
        open_[:, 1:][repeated] = rng.integers(0, n, int(repeated.sum()), dtype=rows.dtype)
        open_.sort(axis=1)
        rows[place] = open_


def any_in_rows(n_rows: int, count: int, n: int, rng: np.random.Generator) -> Int32:
    """Draw `count` numbers below `n` for every row, with replacement; each row in increasing order."""
    drawn = np.empty((n_rows, count), np.int32)
    rows = max(1, _CELLS // max(count, 1))
    for start in range(0, n_rows, rows):
        part = drawn[start : start + rows]
        part[:] = rng.integers(0, n, part.shape, dtype=np.int32)
        part.sort(axis=1)
    return drawn


def each_with_probability(cells: int, p: float, rng: np.random.Generator) -> Int64:
    """Choose each of the numbers 0 … cells-1 with probability `p`, in increasing order.

    The gaps between chosen numbers are geometric, so the cost goes with how many are chosen.
    """
    if p == 0 or cells == 0:
        return np.empty(0, np.int64)
    if p == 1:
        return np.arange(cells)
    found, last = [np.empty(0, np.int64)], -1
    while last < cells - 1:
        expected = (cells - 1 - last) * p
        number = min(int(expected + 4 * np.sqrt(expected)) + 4, _CELLS)
        gaps = np.floor(rng.standard_exponential(number) * (-1 / np.log1p(-p)))
        places = last + np.cumsum(np.minimum(gaps, cells).astype(np.int64) + 1)
        last = int(places[-1])
        found.append(places[: np.searchsorted(places, cells)])
    return np.concatenate(found)


def some_cells(cells: int, count: int, rng: np.random.Generator, *, repeated: bool) -> Int64:
    """Draw `count` of the numbers 0 … cells-1, with replacement if `repeated`, in increasing order."""
    if repeated:
        return np.sort(rng.integers(0, cells, count))
    if 2 * count > cells:
        kept = np.ones(cells, bool)
        kept[some_cells(cells, cells - count, rng, repeated=False)] = False
        return np.flatnonzero(kept)
    drawn = rng.integers(0, cells, (1, count))
    _make_distinct(drawn, cells, rng)
    return drawn[0]


def pairs_of_rows(partners: Int32, *, skip_self: bool) -> Pairs:
    """Return (row, partner) for every entry; with `skip_self`, partners are counted without the row's own number."""
    n_rows, count = partners.shape
    rows = np.repeat(np.arange(n_rows, dtype=np.int32), count)
    flat = partners.reshape(-1)
    return rows, flat + (flat >= rows) if skip_self else flat


def pairs_of_cells(cells: Int64, n_columns: int, *, skip_self: bool) -> Pairs:
    """Return (row, column) of cells numbered row by row; with `skip_self`, columns leave out the row's own number."""
    quotients = cells // max(n_columns, 1)
    columns = (cells - quotients * n_columns).astype(np.int32)
    rows = quotients.astype(np.int32)
    return rows, columns + (columns >= rows) if skip_self else columns


def turned(rows: Int32, columns: Int32, n_rows: int, n_columns: int) -> Pairs:
    """Return (column, row) of pairs sorted by row, sorted by column and then by row."""
    ends = np.cumsum(np.bincount(rows, minlength=n_rows))
    starts = np.concatenate([[0], ends]).astype(np.int32 if len(rows) < 2**31 else np.int64)
    pairs = sparse.csr_array((np.ones(len(rows), np.int8), columns, starts), shape=(n_rows, n_columns)).tocsc()
    return np.repeat(np.arange(n_columns, dtype=np.int32), np.diff(pairs.indptr)), pairs.indices.astype(np.int32)


class Connectivity(ABC):
    """A rule that draws the pairs (target, source) of one projection.

    In all methods, `autapses` says whether a neuron may be connected to itself; without them the sources are the
    targets, so both numbers are one.
    """

    @abstractmethod
    def sample(self, n_target: int, n_source: int, rng: np.random.Generator, *, autapses: bool) -> Pairs:
        """Return the indices of targets and sources, one pair a synapse, sorted by target and then by source."""

    @abstractmethod
    def mean_indegree(self, n_target: int, n_source: int, *, autapses: bool) -> float:
        """Return the expected number of synapses of a target neuron, averaged over targets."""

    def degree_spread(self, n_target: int, n_source: int, *, autapses: bool) -> tuple[float, float]:
        """Return the variance of in-degrees among targets, and of out-degrees among sources, over their means.

        By default, that of pairs drawn one by one with the mean probability.
        """
        drawn = 1 - min(self.mean_indegree(n_target, n_source, autapses=autapses) / n_source, 1.0)
        return drawn, drawn

    def check(self, n_target: int, n_source: int, *, autapses: bool) -> None:
        """Raise a `ValueError` if the rule does not fit populations of these sizes."""
        if not autapses and n_target != n_source:
            raise ValueError(
                "`autapses` = False means connections within one population, got "
                f"{n_source} sources and {n_target} targets"
            )


@dataclass(frozen=True)
class AllToAll(Connectivity):
    """Every source neuron projects to every target neuron."""

    def sample(self, n_target: int, n_source: int, rng: np.random.Generator, *, autapses: bool) -> Pairs:
        """Return all pairs, without self-connections unless `autapses`."""
        self.check(n_target, n_source, autapses=autapses)
        columns = n_source - (not autapses)
        return pairs_of_cells(np.arange(n_target * columns), columns, skip_self=not autapses)

    def mean_indegree(self, n_target: int, n_source: int, *, autapses: bool) -> float:
        """Return the number of sources."""
        return float(n_source - (not autapses))

    def degree_spread(self, n_target: int, n_source: int, *, autapses: bool) -> tuple[float, float]:
        """Return zeros: all degrees are equal."""
        return 0.0, 0.0


@dataclass(frozen=True)
class OneToOne(Connectivity):
    """Source neuron i projects to target neuron i; both populations have one size."""

    def check(self, n_target: int, n_source: int, *, autapses: bool) -> None:
        """Raise a `ValueError` unless the sizes are equal."""
        if n_target != n_source:
            raise ValueError(f"OneToOne needs populations of one size, got {n_source} sources and {n_target} targets")

    def sample(self, n_target: int, n_source: int, rng: np.random.Generator, *, autapses: bool) -> Pairs:
        """Return the pairs (i, i); within one population these are autapses and need no permission."""
        self.check(n_target, n_source, autapses=autapses)
        return np.arange(n_target, dtype=np.int32), np.arange(n_target, dtype=np.int32)

    def mean_indegree(self, n_target: int, n_source: int, *, autapses: bool) -> float:
        """Return 1."""
        return 1.0

    def degree_spread(self, n_target: int, n_source: int, *, autapses: bool) -> tuple[float, float]:
        """Return zeros: all degrees are equal."""
        return 0.0, 0.0


@dataclass(frozen=True)
class Bernoulli(Connectivity):
    """Each pair is connected with probability `p`, independently."""

    p: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "p", probability(self.p))

    def sample(self, n_target: int, n_source: int, rng: np.random.Generator, *, autapses: bool) -> Pairs:
        """Draw the connected pairs."""
        self.check(n_target, n_source, autapses=autapses)
        columns = n_source - (not autapses)
        cells = each_with_probability(n_target * columns, self.p, rng)
        return pairs_of_cells(cells, columns, skip_self=not autapses)

    def mean_indegree(self, n_target: int, n_source: int, *, autapses: bool) -> float:
        """Return `p` times the number of sources."""
        return self.p * (n_source - (not autapses))


@dataclass(frozen=True)
class FixedIndegree(Connectivity):
    """Each target neuron has exactly `n` synapses, from distinct sources or, with `multapses`, from any.

    An `n` that is no whole number is a mean: each target has one of the two whole numbers beside it, at random.
    """

    n: float
    multapses: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "n", _degree(self.n))

    def check(self, n_target: int, n_source: int, *, autapses: bool) -> None:
        """Raise a `ValueError` if there are fewer than `n` sources."""
        super().check(n_target, n_source, autapses=autapses)
        _check_fits(self.n, n_source - (not autapses), "in-degree", "sources", multapses=self.multapses)

    def sample(self, n_target: int, n_source: int, rng: np.random.Generator, *, autapses: bool) -> Pairs:
        """Draw the sources of every target."""
        self.check(n_target, n_source, autapses=autapses)
        return _pairs_of_degree(n_target, self.n, n_source, rng, multapses=self.multapses, autapses=autapses)

    def mean_indegree(self, n_target: int, n_source: int, *, autapses: bool) -> float:
        """Return `n`."""
        return float(self.n)

    def degree_spread(self, n_target: int, n_source: int, *, autapses: bool) -> tuple[float, float]:
        """Return that of in-degrees, 0 for a whole number, and of out-degrees."""
        _, drawn = super().degree_spread(n_target, n_source, autapses=autapses)
        return _rounding_spread(self.n), 1.0 if self.multapses else drawn


@dataclass(frozen=True)
class FixedOutdegree(Connectivity):
    """Each source neuron has exactly `n` synapses, onto distinct targets or, with `multapses`, onto any.

    An `n` that is no whole number is a mean: each source has one of the two whole numbers beside it, at random.
    """

    n: float
    multapses: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "n", _degree(self.n))

    def check(self, n_target: int, n_source: int, *, autapses: bool) -> None:
        """Raise a `ValueError` if there are fewer than `n` targets."""
        super().check(n_target, n_source, autapses=autapses)
        _check_fits(self.n, n_target - (not autapses), "out-degree", "targets", multapses=self.multapses)

    def sample(self, n_target: int, n_source: int, rng: np.random.Generator, *, autapses: bool) -> Pairs:
        """Draw the targets of every source."""
        self.check(n_target, n_source, autapses=autapses)
        pairs = _pairs_of_degree(n_source, self.n, n_target, rng, multapses=self.multapses, autapses=autapses)
        return turned(*pairs, n_source, n_target)

    def mean_indegree(self, n_target: int, n_source: int, *, autapses: bool) -> float:
        """Return the number of synapses per target."""
        return self.n * n_source / n_target

    def degree_spread(self, n_target: int, n_source: int, *, autapses: bool) -> tuple[float, float]:
        """Return that of in-degrees, and of out-degrees, 0 for a whole number."""
        drawn, _ = super().degree_spread(n_target, n_source, autapses=autapses)
        return 1.0 if self.multapses else drawn, _rounding_spread(self.n)


@dataclass(frozen=True)
class FixedTotalNumber(Connectivity):
    """`n` synapses between pairs drawn independently, so that a pair may have several (Potjans & Diesmann 2014).

    Parameters
    ----------
    n : int
        Number of synapses of the projection.
    multapses : bool
        Whether a pair may be drawn more than once.
    """

    n: int
    multapses: bool = True

    def __post_init__(self) -> None:
        check_count(self.n, "a number of synapses")

    def check(self, n_target: int, n_source: int, *, autapses: bool) -> None:
        """Raise a `ValueError` if there are fewer than `n` pairs, or none."""
        super().check(n_target, n_source, autapses=autapses)
        pairs = n_target * (n_source - (not autapses))
        _check_fits(self.n, pairs, "number of synapses", "pairs", multapses=self.multapses)

    def sample(self, n_target: int, n_source: int, rng: np.random.Generator, *, autapses: bool) -> Pairs:
        """Draw the pairs."""
        self.check(n_target, n_source, autapses=autapses)
        columns = n_source - (not autapses)
        cells = some_cells(n_target * columns, self.n, rng, repeated=self.multapses)
        return pairs_of_cells(cells, columns, skip_self=not autapses)

    def mean_indegree(self, n_target: int, n_source: int, *, autapses: bool) -> float:
        """Return the number of synapses per target."""
        return self.n / n_target

    def degree_spread(self, n_target: int, n_source: int, *, autapses: bool) -> tuple[float, float]:
        """Return ones with multapses, where degrees are almost those of a Poisson process."""
        return (1.0, 1.0) if self.multapses else super().degree_spread(n_target, n_source, autapses=autapses)


def _degree(value: Any) -> float:
    """Return a degree, an integer where it is a whole number."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not 0 <= value < np.inf:
        raise ValueError(f"a degree must be a number ≥ 0, got {value!r}")
    return int(value) if float(value).is_integer() else float(value)


def _pairs_of_degree(
    n_rows: int, degree: float, n_columns: int, rng: np.random.Generator, *, multapses: bool, autapses: bool
) -> Pairs:
    """Return pairs of which every row has as many as the degree says, or, where it is no whole number, on average."""
    draw = any_in_rows if multapses else distinct_in_rows
    whole, rest = divmod(degree, 1)
    partners = draw(n_rows, int(whole) + (rest > 0), n_columns - (not autapses), rng)
    if rest == 0:
        return pairs_of_rows(partners, skip_self=not autapses)
    # In rows that get one fewer, which one goes is random: the partners stand in order.
    kept = np.ones(partners.shape, bool)
    fewer = np.flatnonzero(rng.random(n_rows) >= rest)
    kept[fewer, rng.integers(0, partners.shape[1], len(fewer))] = False
    rows, columns = pairs_of_rows(partners, skip_self=not autapses)
    return rows[kept.ravel()], columns[kept.ravel()]


def _rounding_spread(degree: float) -> float:
    """Return variance over mean of a degree that is rounded at random."""
    rest = degree % 1
    return rest * (1 - rest) / degree if rest else 0.0


def probability(value: Any) -> float:
    """Return a probability as a float.

    Raises
    ------
    ValueError
        If it is not a number in [0, 1].
    """
    p = in_unit(value, "1", "p")
    if not isinstance(p, float) or not 0 <= p <= 1:
        raise ValueError(f"`p` must be a probability in [0, 1], got {value}")
    return p


def check_count(n: Any, what: str) -> None:
    """Raise a `ValueError` unless `n` is a whole number ≥ 0."""
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 0:
        raise ValueError(f"{what} must be a whole number ≥ 0, got {n!r}")


def _check_fits(n: float, available: int, what: str, of: str, *, multapses: bool) -> None:
    if np.ceil(n) > available and not (multapses and available > 0):
        raise ValueError(f"{what} {n} is larger than the {available} available {of}")
