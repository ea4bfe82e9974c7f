"""Covariance of variables that have sources in common with others: what skip connections and branches need.

A covariance matrix says nothing about other variables. Where a state x and what a layer makes of it, f(x), are joined,
their covariance counts too. `Joint` therefore keeps, instead of a matrix, the loadings L of the variables on origins,
which are independent of each other: ``C = Σ_o L_o C_o L_oᵀ``, and between two states ``Σ_o L_o C_o L'_oᵀ``. Weights and
gains act on loadings; every layer of neurons adds an origin of its own, of the variance that its trains have beyond
what reaches them. That is linear response, as everywhere in this package, and exact in its terms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from typing_extensions import override

from mnnbio.moments.covariance import Covariance, Diagonal, check_matrix, check_vector

if TYPE_CHECKING:
    from mnnbio.moments.maps import LinearMap


class Origin:
    """Variables on which others load; told apart by identity.

    Parameters
    ----------
    covariance : Covariance
        Of a layer's own variability its diagonal may be negative: trains can be more regular than what reaches them.
    """

    def __init__(self, covariance: Covariance) -> None:
        self.covariance = covariance


class Loading(NamedTuple):
    """Loadings of variables on an origin, ``diag(gain) · matrix``; None is the identity, or ones."""

    matrix: Tensor | None = None  # (..., n, m)
    gain: Tensor | None = None  # (..., n)

    def dense(self, size: int, like: Tensor) -> Tensor:
        """Return the matrix, (..., n, m)."""
        if self.matrix is None:
            gain = torch.ones(size, dtype=like.dtype, device=like.device) if self.gain is None else self.gain
            return torch.diag_embed(gain)
        return self.matrix if self.gain is None else self.matrix * self.gain[..., :, None]

    def scaled(self, gain: Tensor) -> Loading:
        """Return the loadings of variables times a gain, (..., n)."""
        return Loading(self.matrix, gain if self.gain is None else self.gain * gain)

    def mapped(self, weight: Tensor) -> Loading:
        """Return the loadings of weighted sums of the variables, for weight of shape (row, n)."""
        weighted = weight if self.gain is None else weight * self.gain[..., None, :]
        return Loading(weighted if self.matrix is None else weighted @ self.matrix)


class Joint(Covariance):
    """Covariance of variables by their loadings on origins, which other variables may share.

    Costs O(n · m) for each origin of m variables: as much memory as the covariances of all layers with each other.

    Parameters
    ----------
    size : int
        Number of variables.
    loadings : mapping of Origin to Loading
        At least one.
    """

    def __init__(self, size: int, loadings: Mapping[Origin, Loading]) -> None:
        self._size, self.loadings = size, dict(loadings)

    @classmethod
    def of(cls, covariance: Covariance) -> Joint:
        """Return a covariance as that of variables that are an origin of their own; one that is joint as it is."""
        return covariance if isinstance(covariance, Joint) else cls(covariance.size, {Origin(covariance): Loading()})

    @property
    @override
    def size(self) -> int:
        return self._size

    def _like(self) -> Tensor:
        return next(iter(self.loadings)).covariance.diagonal()

    @override
    def diagonal(self) -> Tensor:
        parts = []
        for origin, loading in self.loadings.items():
            own, matrix = origin.covariance, loading.matrix
            variance = own.diagonal() if matrix is None else own.quadratic_diagonal(matrix)
            parts.append(variance if loading.gain is None else variance * loading.gain**2)
        return reduce(add, parts)

    @override
    def to_dense(self) -> Tensor:
        like = self._like()
        return reduce(
            add, (origin.covariance.quadratic(own.dense(self.size, like)) for origin, own in self.loadings.items())
        )

    def between(self, other: Joint) -> Tensor:
        """Return the covariance of these variables with others, shape (..., n, n of the others)."""
        like = self._like()
        shape = torch.broadcast_shapes(like.shape[:-1], other._like().shape[:-1])
        total = torch.zeros(*shape, self.size, other.size, dtype=like.dtype, device=like.device)
        for origin, own in self.loadings.items():
            if origin in other.loadings:
                theirs = other.loadings[origin].dense(other.size, like)
                total = total + own.dense(self.size, like) @ origin.covariance.to_dense() @ theirs.mT
        return total

    @override
    def scale(self, gain: Tensor) -> Joint:
        gain = check_vector(gain, "gain", self.size)
        return Joint(self.size, {origin: own.scaled(gain) for origin, own in self.loadings.items()})

    @override
    def with_diagonal(self, variance: Tensor) -> Joint:
        return self.add_diagonal(check_vector(variance, "variance", self.size) - self.diagonal())

    @override
    def add_diagonal(self, variance: Tensor) -> Joint:
        own = Origin(Diagonal(check_vector(variance, "variance", self.size)))
        return Joint(self.size, {**self.loadings, own: Loading()})

    @override
    def quadratic(self, weight: Tensor) -> Tensor:
        check_matrix(weight, "weight", self.size)
        return Joint.linear(self, weight).to_dense()

    @override
    def quadratic_diagonal(self, weight: Tensor) -> Tensor:
        check_matrix(weight, "weight", self.size)
        return Joint.linear(self, weight).diagonal()

    @override
    def linear(self, weight: Tensor) -> Joint:
        check_matrix(weight, "weight", self.size)
        return Joint(weight.shape[-2], {origin: own.mapped(weight) for origin, own in self.loadings.items()})

    @override
    def linear_modes(self, input_modes: Tensor, scores: Tensor, output_modes: Tensor) -> Joint:  # type: ignore[override]
        return self.linear(output_modes.mT).linear(input_modes * scores)

    def through(self, map: LinearMap) -> Joint:
        """Return the covariance of a linear map of the variables."""
        like = self._like()
        return Joint(
            map.rows,
            {origin: Loading(map.apply(own.dense(self.size, like).mT).mT) for origin, own in self.loadings.items()},
        )


def joined(parts: Sequence[Joint]) -> Joint:
    """Return the covariance of the variables of several states one after the other."""
    like = parts[0]._like()
    size = sum(part.size for part in parts)
    origins = dict.fromkeys(origin for part in parts for origin in part.loadings)
    found = {}
    for origin in origins:
        blocks = []
        for part in parts:
            own = part.loadings.get(origin)
            number = origin.covariance.size
            blocks.append(like.new_zeros(part.size, number) if own is None else own.dense(part.size, like))
        shape = torch.broadcast_shapes(*(block.shape[:-2] for block in blocks))
        found[origin] = Loading(torch.cat([block.expand(*shape, *block.shape[-2:]) for block in blocks], dim=-2))
    return Joint(size, found)


def added(parts: Sequence[Joint]) -> Joint:
    """Return the covariance of the sum of several states of one size."""
    like, size = parts[0]._like(), parts[0].size
    found: dict[Origin, Loading] = {}
    for part in parts:
        for origin, own in part.loadings.items():
            before = found.get(origin)
            found[origin] = own if before is None else Loading(before.dense(size, like) + own.dense(size, like))
    return Joint(size, found)
