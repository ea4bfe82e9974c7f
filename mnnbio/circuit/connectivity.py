"""Rules that say who is connected to whom.

A rule names a random (or fixed) set of pairs; the circuit draws it once, from its seed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np

from mnnbio.circuit.sampling import (
    Pairs,
    any_in_rows,
    distinct_in_rows,
    each_with_probability,
    pairs_of_cells,
    pairs_of_rows,
    some_cells,
    turned,
)
from mnnbio.lif import in_unit


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
    """Each target neuron has exactly `n` synapses, from distinct sources or, with `multapses`, from any."""

    n: int
    multapses: bool = False

    def __post_init__(self) -> None:
        check_count(self.n, "a degree")

    def check(self, n_target: int, n_source: int, *, autapses: bool) -> None:
        """Raise a `ValueError` if there are fewer than `n` sources."""
        super().check(n_target, n_source, autapses=autapses)
        _check_fits(self.n, n_source - (not autapses), "in-degree", "sources", multapses=self.multapses)

    def sample(self, n_target: int, n_source: int, rng: np.random.Generator, *, autapses: bool) -> Pairs:
        """Draw the sources of every target."""
        self.check(n_target, n_source, autapses=autapses)
        draw = any_in_rows if self.multapses else distinct_in_rows
        return pairs_of_rows(draw(n_target, self.n, n_source - (not autapses), rng), skip_self=not autapses)

    def mean_indegree(self, n_target: int, n_source: int, *, autapses: bool) -> float:
        """Return `n`."""
        return float(self.n)


@dataclass(frozen=True)
class FixedOutdegree(Connectivity):
    """Each source neuron has exactly `n` synapses, onto distinct targets or, with `multapses`, onto any."""

    n: int
    multapses: bool = False

    def __post_init__(self) -> None:
        check_count(self.n, "a degree")

    def check(self, n_target: int, n_source: int, *, autapses: bool) -> None:
        """Raise a `ValueError` if there are fewer than `n` targets."""
        super().check(n_target, n_source, autapses=autapses)
        _check_fits(self.n, n_target - (not autapses), "out-degree", "targets", multapses=self.multapses)

    def sample(self, n_target: int, n_source: int, rng: np.random.Generator, *, autapses: bool) -> Pairs:
        """Draw the targets of every source."""
        self.check(n_target, n_source, autapses=autapses)
        draw = any_in_rows if self.multapses else distinct_in_rows
        targets = draw(n_source, self.n, n_target - (not autapses), rng)
        return turned(*pairs_of_rows(targets, skip_self=not autapses), n_source, n_target)

    def mean_indegree(self, n_target: int, n_source: int, *, autapses: bool) -> float:
        """Return the number of synapses per target."""
        return self.n * n_source / n_target


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


def _check_fits(n: int, available: int, what: str, of: str, *, multapses: bool) -> None:
    if n > available and not (multapses and available > 0):
        raise ValueError(f"{what} {n} is larger than the {available} available {of}")
