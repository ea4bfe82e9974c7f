"""Covariance of a sum of independent variables."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import add

from torch import Tensor
from typing_extensions import override

from mnnbio.moments.covariance import Covariance, check_vector
from mnnbio.moments.plain import Diagonal


class Sum(Covariance):
    """The sum of covariances, each kept in its own form: that of independent variables added up.

    Parameters
    ----------
    parts : sequence of Covariance
        At least one; all of one size.

    Raises
    ------
    ValueError
        If there is none, or sizes differ.
    """

    def __init__(self, parts: Sequence[Covariance]) -> None:
        self.parts = tuple(parts)
        sizes = {part.size for part in self.parts}
        if len(sizes) != 1:
            raise ValueError(f"`parts` must be covariances of one size, got sizes {sorted(sizes)}")

    @property
    @override
    def size(self) -> int:
        return self.parts[0].size

    @override
    def diagonal(self) -> Tensor:
        return reduce(add, (part.diagonal() for part in self.parts))

    @override
    def to_dense(self) -> Tensor:
        return reduce(add, (part.to_dense() for part in self.parts))

    @override
    def scale(self, gain: Tensor) -> Sum:
        return Sum([part.scale(gain) for part in self.parts])

    @override
    def with_diagonal(self, variance: Tensor) -> Sum:
        return self.add_diagonal(check_vector(variance, "variance", self.size) - self.diagonal())

    @override
    def add_diagonal(self, variance: Tensor) -> Sum:
        return Sum([*self.parts, Diagonal(check_vector(variance, "variance", self.size))])

    @override
    def quadratic(self, weight: Tensor) -> Tensor:
        return reduce(add, (part.quadratic(weight) for part in self.parts))

    @override
    def quadratic_diagonal(self, weight: Tensor) -> Tensor:
        return reduce(add, (part.quadratic_diagonal(weight) for part in self.parts))
