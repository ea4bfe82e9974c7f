"""Rules that say who is connected to whom, and their vectorised sampling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
from scipy import sparse

Pairs = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]


class Connectivity(Protocol):
    """A rule that draws the pairs (target, source) of one projection."""

    def sample(self, n_target: int, n_source: int, rng: np.random.Generator, *, autapses: bool) -> Pairs:
        """Return the indices of targets and sources, one pair a synapse."""
        ...


@dataclass(frozen=True)
class AllToAll:
    """Every source neuron projects to every target neuron."""

    def sample(self, n_target: int, n_source: int, rng: np.random.Generator, *, autapses: bool) -> Pairs:
        """Return all pairs, without self-connections unless `autapses`."""
        target, source = np.divmod(np.arange(n_target * n_source), n_source)
        keep = np.ones(target.shape, bool) if autapses else target != source
        return target[keep], source[keep]


@dataclass(frozen=True)
class OneToOne:
    """Source neuron i projects to target neuron i; both populations have one size."""

    def sample(self, n_target: int, n_source: int, rng: np.random.Generator, *, autapses: bool) -> Pairs:
        """Return the pairs (i, i)."""
        if n_target != n_source:
            raise ValueError(f"OneToOne needs populations of one size, got {n_source} sources and {n_target} targets")
        return np.arange(n_target), np.arange(n_target)


@dataclass(frozen=True)
class Bernoulli:
    """Each pair is connected with probability `p`, independently."""

    p: float

    def __post_init__(self) -> None:
        if not 0 <= self.p <= 1:
            raise ValueError(f"`p` must be a probability in [0, 1], got {self.p}")

    def sample(self, n_target: int, n_source: int, rng: np.random.Generator, *, autapses: bool) -> Pairs:
        """Draw the number of synapses of every target, then their sources."""
        available = n_source if autapses else np.where(np.arange(n_target) < n_source, n_source - 1, n_source)
        return _choose(rng.binomial(available, self.p, size=n_target), n_source, rng, autapses=autapses)


@dataclass(frozen=True)
class FixedIndegree:
    """Each target neuron has exactly `n` distinct sources."""

    n: int

    def __post_init__(self) -> None:
        _check_degree(self.n)

    def sample(self, n_target: int, n_source: int, rng: np.random.Generator, *, autapses: bool) -> Pairs:
        """Draw `n` distinct sources for every target."""
        _check_fits(self.n, n_source, "in-degree", "sources", autapses=autapses)
        return _choose(np.full(n_target, self.n), n_source, rng, autapses=autapses)


@dataclass(frozen=True)
class FixedOutdegree:
    """Each source neuron has exactly `n` distinct targets."""

    n: int

    def __post_init__(self) -> None:
        _check_degree(self.n)

    def sample(self, n_target: int, n_source: int, rng: np.random.Generator, *, autapses: bool) -> Pairs:
        """Draw `n` distinct targets for every source."""
        _check_fits(self.n, n_target, "out-degree", "targets", autapses=autapses)
        source, target = _choose(np.full(n_source, self.n), n_target, rng, autapses=autapses)
        return target, source


RULES: dict[str, type] = {
    rule.__name__: rule for rule in (AllToAll, OneToOne, Bernoulli, FixedIndegree, FixedOutdegree)
}


def _check_degree(n: int) -> None:
    if not isinstance(n, (int, np.integer)) or n < 0:
        raise ValueError(f"a degree must be a whole number ≥ 0, got {n!r}")


def _check_fits(n: int, available: int, what: str, of: str, *, autapses: bool) -> None:
    usable = available - (not autapses)
    if n > usable:
        raise ValueError(f"{what} {n} is larger than the {usable} available {of}")


def _choose(counts: npt.NDArray[np.int64], n: int, rng: np.random.Generator, *, autapses: bool) -> Pairs:
    """Choose counts[k] distinct partners out of n for every k; without `autapses`, k itself is never chosen."""
    partners = [np.empty(0, np.int64)]
    for k, count in enumerate(counts):
        if autapses or k >= n:
            partners.append(rng.choice(n, count, replace=False, shuffle=False))
        else:
            chosen = rng.choice(n - 1, count, replace=False, shuffle=False)
            partners.append(chosen + (chosen >= k))
    return np.repeat(np.arange(len(counts)), counts), np.concatenate(partners)


def realise(
    rule: Connectivity, n_target: int, n_source: int, weight: float, rng: np.random.Generator, *, autapses: bool
) -> sparse.csr_array:
    """Return one sample of the weight matrix, (n_target, n_source), mV."""
    target, source = rule.sample(n_target, n_source, rng, autapses=autapses)
    values = np.full(target.shape, weight, dtype=np.float64)
    return sparse.csr_array((values, (target, source)), shape=(n_target, n_source))
