"""Covariance behind a linear map that is known by what it does: a convolution, a pooling."""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor
from typing_extensions import override

from mnnbio.moments.covariance import Covariance, LowRank, Product
from mnnbio.moments.local import is_worthwhile, variance_by_windows
from mnnbio.moments.maps import Convolution, LinearMap, Pooling
from mnnbio.moments.plain import Diagonal


class Factors(NamedTuple):
    """A covariance as ``diag(d) + F diag(v) Fᵀ``; no F for independent variables."""

    diagonal: Tensor  # d, shape (..., neuron)
    columns: Tensor | None = None  # Fᵀ, shape (..., column, neuron)
    weights: Tensor | None = None  # v, shape (..., column); ones if left out

    @property
    def number(self) -> int:
        """Number of columns of F."""
        return 0 if self.columns is None else self.columns.shape[-2]


class Transformed(Product):
    """The unevaluated ``A W C Wᵀ A`` plus a diagonal, with ``A = diag(gain)`` and W a linear map.

    What is asked for is computed in the cheapest of four ways. A few linear combinations of the rows are pulled back
    through Wᵀ. Where C is diagonal, or a diagonal plus few columns (a convolution of an image that is smaller than the
    layers after it), the columns are sent through W. The variances behind two convolutions of a large image are
    computed window by window. Otherwise C is formed, and W applied from both sides.

    Parameters
    ----------
    map : LinearMap
        W, of shape (row, neuron).
    inner : Covariance
        C, of `neuron` rows.
    gain, added : Tensor, optional
        As in `Product`.

    Raises
    ------
    ValueError
        If the sizes do not fit.
    """

    def __init__(
        self, map: LinearMap, inner: Covariance, gain: Tensor | None = None, added: Tensor | None = None
    ) -> None:
        if map.columns != inner.size:
            raise ValueError(f"the map takes {map.columns} variables, the covariance has {inner.size}")
        super().__init__(inner, gain, added)
        self.map = map

    @property
    @override
    def size(self) -> int:
        return self.map.rows

    @cached_property
    def _bare_diagonal(self) -> Tensor:
        if (layers := self._two_convolutions()) is not None:
            return self._diagonal_by_windows(*layers)
        factors = factors_of(self.inner)
        if factors is None:
            return self._bare_matrix.diagonal(dim1=-2, dim2=-1)
        variance = self.map.apply_squared(factors.diagonal)
        if factors.columns is None:
            return variance
        squares = self.map.apply(factors.columns) ** 2
        if factors.weights is None:
            return variance + squares.sum(-2)
        return variance + (factors.weights[..., None, :] @ squares)[..., 0, :]

    def _two_convolutions(self) -> tuple[Pooling | None, Transformed] | None:
        """Return pooling and first convolution, where this is a second one of far smaller windows than the image."""
        first, pool = self.inner, None
        if isinstance(first, Transformed) and isinstance(first.map, Pooling) and first.gain is None:
            pool, first = (first.map, first.inner) if first.added is None else (None, first)
        if not isinstance(self.map, Convolution) or not isinstance(first, Transformed):
            return None
        if not isinstance(first.map, Convolution) or not isinstance(first.inner, Diagonal):
            return None
        return (pool, first) if is_worthwhile(self.map, pool, first.map) else None

    def _diagonal_by_windows(self, pool: Pooling | None, first: Transformed) -> Tensor:
        assert isinstance(self.map, Convolution)
        assert isinstance(first.map, Convolution)
        assert isinstance(first.inner, Diagonal)
        pixels = first.inner.variance
        gain = pixels.new_ones(first.size) if first.gain is None else first.gain
        variance = variance_by_windows(self.map, pool, gain, first.map, pixels)
        if first.added is None:
            return variance
        own = first.added if pool is None else pool.apply_squared(first.added)
        return variance + self.map.apply_squared(own)

    @cached_property
    def _bare_matrix(self) -> Tensor:
        factors = factors_of(self.inner)
        if factors is None:
            return self.map.apply(self.map.apply(self.inner.to_dense()).mT)
        matrix = self.map.apply(self.map.to_dense() * factors.diagonal[..., None, :])
        if factors.columns is None:
            return matrix
        columns = self.map.apply(factors.columns)
        left = columns if factors.weights is None else columns * factors.weights[..., None]
        return matrix + left.mT @ columns

    @override
    def _derived(self, gain: Tensor | None, added: Tensor | None) -> Transformed:
        return Transformed(self.map, self.inner, gain, added)

    @override
    def _pull_back(self, weight: Tensor) -> Tensor:
        return self.map.transpose(weight if self.gain is None else weight * self.gain[..., None, :])


def transform(covariance: Covariance, map: LinearMap) -> Covariance:
    """Return ``W C Wᵀ`` for a linear map W, unevaluated; diagonal where it stays so."""
    if map.disjoint and isinstance(covariance, Diagonal):
        return Diagonal(map.apply_squared(covariance.variance))
    return Transformed(map, covariance)


def factors_of(covariance: Covariance) -> Factors | None:
    """Return a covariance as a diagonal plus fewer columns than it has rows, None if it is not of that structure."""
    if isinstance(covariance, Diagonal):
        return Factors(covariance.variance)
    if isinstance(covariance, LowRank) and covariance.core is None:
        return Factors(covariance.remainder, covariance.factor.mT)
    if not isinstance(covariance, Transformed) or "_dense" in covariance.__dict__:
        return None
    inner = factors_of(covariance.inner)
    if inner is None:
        return None
    map, gain, added = covariance.map, covariance.gain, covariance.added
    if map.disjoint:
        diagonal = map.apply_squared(inner.diagonal)
        columns = None if inner.columns is None else map.apply(inner.columns)
        weights = inner.weights
        if gain is not None:
            diagonal = diagonal * gain**2
    elif inner.columns is None and map.columns < map.rows:
        # Unit vectors through the map: the columns, one after the other in memory.
        unit = torch.eye(map.columns, dtype=inner.diagonal.dtype, device=inner.diagonal.device)
        diagonal, columns, weights = unit.new_zeros(map.rows), map.apply(unit), inner.diagonal
    else:
        return None
    if gain is not None and columns is not None:
        columns = columns * gain[..., None, :]
    return Factors(diagonal if added is None else diagonal + added, columns, weights)
