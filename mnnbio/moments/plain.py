"""Covariances stored as they are: diagonal and dense."""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import override

from mnnbio.moments.covariance import Covariance, apply_weight, check_vector, normal_samples, weighted_square


class Diagonal(Covariance):
    """Independent variables.

    Parameters
    ----------
    variance : Tensor
        Shape (..., neuron).
    """

    def __init__(self, variance: Tensor) -> None:
        if variance.ndim == 0:
            raise ValueError("`variance` must have the shape (..., neuron), got a scalar")
        self.variance = variance

    @property
    @override
    def size(self) -> int:
        return self.variance.shape[-1]

    @override
    def diagonal(self) -> Tensor:
        return self.variance

    @override
    def to_dense(self) -> Tensor:
        return torch.diag_embed(self.variance)

    @override
    def scale(self, gain: Tensor) -> Diagonal:
        return Diagonal(self.variance * check_vector(gain, "gain", self.size) ** 2)

    @override
    def with_diagonal(self, variance: Tensor) -> Diagonal:
        return Diagonal(check_vector(variance, "variance", self.size))

    @override
    def add_diagonal(self, variance: Tensor) -> Diagonal:
        return Diagonal(self.variance + check_vector(variance, "variance", self.size))

    @override
    def quadratic(self, weight: Tensor) -> Tensor:
        return weighted_square(weight, self.variance)

    @override
    def quadratic_diagonal(self, weight: Tensor) -> Tensor:
        return apply_weight(weight * weight, self.variance)

    @override
    def solve(self, right: Tensor) -> Tensor:
        return right / self._positive(strictly=True)[..., None]

    @override
    def logdet(self) -> Tensor:
        return self._positive(strictly=True).log().sum(-1)

    @override
    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        return self._positive(strictly=False).sqrt() * normal_samples(n, self.variance, generator)

    def _positive(self, *, strictly: bool) -> Tensor:
        """Return the variances after a check that they are positive, or at least not negative."""
        least = float(self.variance.min())
        if least < 0 or (strictly and least == 0):
            kind = "positive definite" if strictly else "positive semidefinite"
            raise ValueError(f"the covariance must be {kind}, its smallest eigenvalue is {least:.3g}")
        return self.variance


class Dense(Covariance):
    """A full matrix.

    Parameters
    ----------
    matrix : Tensor
        Symmetric, shape (..., neuron, neuron).
    """

    def __init__(self, matrix: Tensor) -> None:
        if matrix.ndim < 2 or matrix.shape[-1] != matrix.shape[-2]:
            raise ValueError(f"`matrix` must have the shape (..., neuron, neuron), got {tuple(matrix.shape)}")
        self.matrix = matrix

    @property
    @override
    def size(self) -> int:
        return self.matrix.shape[-1]

    @override
    def diagonal(self) -> Tensor:
        return self.matrix.diagonal(dim1=-2, dim2=-1)

    @override
    def to_dense(self) -> Tensor:
        return self.matrix

    @override
    def scale(self, gain: Tensor) -> Dense:
        gain = check_vector(gain, "gain", self.size)
        return Dense(self.matrix * gain[..., :, None] * gain[..., None, :])

    @override
    def with_diagonal(self, variance: Tensor) -> Dense:
        return Dense(_replace_diagonal(self.matrix, check_vector(variance, "variance", self.size)))

    @override
    def add_diagonal(self, variance: Tensor) -> Dense:
        return Dense(self.matrix + torch.diag_embed(check_vector(variance, "variance", self.size)))

    @override
    def quadratic(self, weight: Tensor) -> Tensor:
        return weight @ self.matrix @ weight.mT

    @override
    def quadratic_diagonal(self, weight: Tensor) -> Tensor:
        return ((weight @ self.matrix) * weight).sum(-1)


def _replace_diagonal(matrix: Tensor, variance: Tensor) -> Tensor:
    eye = torch.eye(matrix.shape[-1], dtype=torch.bool, device=matrix.device)
    return torch.where(eye, variance[..., None, :], matrix)
