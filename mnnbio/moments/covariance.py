"""Covariance matrices by structure, evaluated only where something needs them.

Through weights a covariance becomes ``W C Wᵀ``; through an activation its off-diagonal elements become
``gain_i gain_j C_ij`` and its diagonal the output variance. Under both rules *diagonal plus low rank* keeps its form,
and a diagonal input covariance (independent inputs) never needs expanding. Four kinds cover this behind one interface:
`Diagonal`, `LowRank`, `Dense`, and `Mapped`, the unevaluated ``A W C Wᵀ A`` plus a diagonal.

Why not ``linear_operator`` (GPyTorch), whose algebra is lazy too: none of its operators (0.6.1) replaces a diagonal,
the step that every activation makes; the diagonal of an unevaluated product is computed row by row through products
with unit vectors unless both factors are dense; and beyond 800 rows its solves and determinants turn to conjugate
gradients and random traces, where ours stay exact.

Covariances stored as they are: diagonal and dense.

Covariance of a sum of independent variables.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property, reduce
from operator import add

import torch
from torch import Tensor
from typing_extensions import override

from mnnbio.moments.orthant import cholesky, semidefinite_root
from mnnbio.moments.trilinear import column_forms, weighted_product


class Covariance(ABC):
    """A symmetric positive semidefinite matrix (neuron, neuron) for each element of the leading batch dimensions."""

    @property
    @abstractmethod
    def size(self) -> int:
        """Number of rows."""

    @abstractmethod
    def diagonal(self) -> Tensor:
        """Return the variances, shape (..., neuron)."""

    @abstractmethod
    def to_dense(self) -> Tensor:
        """Return the matrix, shape (..., neuron, neuron)."""

    @abstractmethod
    def scale(self, gain: Tensor) -> Covariance:
        """Return ``A C A`` with ``A = diag(gain)``, gain of shape (..., neuron)."""

    @abstractmethod
    def with_diagonal(self, variance: Tensor) -> Covariance:
        """Return the matrix with its diagonal replaced by `variance`, shape (..., neuron)."""

    @abstractmethod
    def add_diagonal(self, variance: Tensor) -> Covariance:
        """Return the matrix plus ``diag(variance)``, variance of shape (..., neuron)."""

    @abstractmethod
    def quadratic(self, weight: Tensor) -> Tensor:
        """Return ``W C Wᵀ`` evaluated, shape (..., row, row), for weight of shape (..., row, neuron)."""

    @abstractmethod
    def quadratic_diagonal(self, weight: Tensor) -> Tensor:
        """Return the diagonal of ``W C Wᵀ``, shape (..., row), for weight of shape (..., row, neuron)."""

    def linear(self, weight: Tensor) -> Covariance:
        """Return ``W C Wᵀ`` for weight of shape (row, neuron), unevaluated where that saves work."""
        return Mapped(weight, self)

    def linear_modes(self, input_modes: Tensor, scores: Tensor, output_modes: Tensor) -> LowRank:
        """Return ``W C Wᵀ`` for ``W = input_modes diag(scores) output_modesᵀ``: exactly of rank P.

        Parameters
        ----------
        input_modes : Tensor
            Where the modes arrive, shape (row, P).
        scores : Tensor
            Shape (P,).
        output_modes : Tensor
            What the modes read, shape (neuron, P).
        """
        if output_modes.ndim < 2 or output_modes.shape[-2] != self.size:
            raise ValueError(f"`output_modes` must have the shape ({self.size}, mode), got {tuple(output_modes.shape)}")
        if not input_modes.shape[-1] == scores.shape[-1] == output_modes.shape[-1]:
            raise ValueError(
                "`input_modes`, `scores` and `output_modes` must have one number of modes as their last axis, got "
                f"{input_modes.shape[-1]}, {scores.shape[-1]} and {output_modes.shape[-1]}"
            )
        core = self.quadratic(output_modes.mT) * scores[..., :, None] * scores[..., None, :]
        return LowRank(core.new_zeros(*core.shape[:-2], input_modes.shape[-2]), input_modes, core)

    def check(self) -> None:
        """Raise a `ValueError` unless the matrix is symmetric and positive semidefinite, to rounding.

        It costs an eigendecomposition: meant for what comes from outside, not for every layer.
        """
        matrix = self.to_dense().detach()
        difference = float((matrix - matrix.mT).abs().max())
        if difference > 1e3 * torch.finfo(matrix.dtype).eps * float(matrix.abs().max()):
            raise ValueError(
                f"the covariance must be symmetric, an element differs from its mirror by {difference:.3g}"
            )
        semidefinite_root(matrix)

    def solve(self, right: Tensor) -> Tensor:
        """Return ``C⁻¹ right`` for right of shape (..., neuron, column)."""
        return torch.cholesky_solve(right, cholesky(self.to_dense()))

    def logdet(self) -> Tensor:
        """Return the logarithm of the determinant, shape (...)."""
        return 2 * cholesky(self.to_dense()).diagonal(dim1=-2, dim2=-1).log().sum(-1)

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Return `n` Gaussian samples of zero mean, shape (n, ..., neuron)."""
        root = semidefinite_root(self.to_dense())
        return (root @ normal_samples(n, root[..., 0, :], generator)[..., None])[..., 0]


class LowRank(Covariance):
    """A diagonal plus a matrix of low rank, ``diag(d) + A B M Bᵀ A`` with ``A = diag(gain)``.

    The gain is kept apart: that of an activation differs over the batch, B is shared by it as a rule, and their product
    would be the largest array of the whole computation.

    Parameters
    ----------
    diagonal : Tensor
        d, shape (..., neuron). It may be negative where replacing the diagonal asks for it.
    base : Tensor
        B, shape (..., neuron, P).
    core : Tensor, optional
        M, symmetric, shape (..., P, P); the identity if left out.
    gain : Tensor, optional
        Shape (..., neuron); ones if left out.
    """

    def __init__(self, diagonal: Tensor, base: Tensor, core: Tensor | None = None, gain: Tensor | None = None) -> None:
        if base.ndim < 2 or diagonal.ndim < 1 or base.shape[-2] != diagonal.shape[-1]:
            raise ValueError(
                "`diagonal` and `base` must have the shapes (..., neuron) and (..., neuron, P), got "
                f"{tuple(diagonal.shape)} and {tuple(base.shape)}"
            )
        if core is not None and tuple(core.shape[-2:]) != (base.shape[-1],) * 2:
            raise ValueError(f"`core` must end in the shape {(base.shape[-1],) * 2}, got {tuple(core.shape)}")
        self.remainder, self.base, self.core = diagonal, base, core
        self.gain = None if gain is None else check_vector(gain, "gain", base.shape[-2])

    @property
    @override
    def size(self) -> int:
        return self.base.shape[-2]

    @property
    def factor(self) -> Tensor:
        """``F = A B``, shape (..., neuron, P)."""
        return self.base if self.gain is None else self.base * self.gain[..., None]

    @property
    def weighted(self) -> Tensor:
        """``F M``."""
        return self.factor if self.core is None else self.factor @ self.core

    @cached_property
    def _bare_diagonal(self) -> Tensor:
        """Diagonal of ``B M Bᵀ``."""
        if self.core is None:
            return (self.base * self.base).sum(-1)
        if self.base.ndim > 2:
            return (self.base @ self.core * self.base).sum(-1)
        return column_forms(self.base.mT, self.core, self.base.mT)

    @property
    def _shared(self) -> Tensor:
        """Diagonal of ``F M Fᵀ``."""
        return self._bare_diagonal if self.gain is None else self._bare_diagonal * self.gain**2

    def _derived(self, diagonal: Tensor, gain: Tensor | None) -> LowRank:
        """Return another diagonal and gain of the same matrix of low rank, whose diagonal is computed once."""
        new = LowRank(diagonal, self.base, self.core, gain)
        if "_bare_diagonal" in self.__dict__:
            new.__dict__["_bare_diagonal"] = self._bare_diagonal
        return new

    @override
    def diagonal(self) -> Tensor:
        return self.remainder + self._shared

    @override
    def to_dense(self) -> Tensor:
        return torch.diag_embed(self.remainder) + self.weighted @ self.factor.mT

    @override
    def scale(self, gain: Tensor) -> LowRank:
        gain = check_vector(gain, "gain", self.size)
        return self._derived(self.remainder * gain**2, gain if self.gain is None else self.gain * gain)

    @override
    def with_diagonal(self, variance: Tensor) -> LowRank:
        return self._derived(check_vector(variance, "variance", self.size) - self._shared, self.gain)

    @override
    def add_diagonal(self, variance: Tensor) -> LowRank:
        return self._derived(self.remainder + check_vector(variance, "variance", self.size), self.gain)

    @override
    def quadratic(self, weight: Tensor) -> Tensor:
        mapped = self._mapped(weight)
        inner = mapped if self.core is None else mapped @ self.core
        return weighted_square(weight, self.remainder) + inner @ mapped.mT

    @override
    def quadratic_diagonal(self, weight: Tensor) -> Tensor:
        mapped = self._mapped(weight)
        inner = mapped if self.core is None else mapped @ self.core
        return apply_weight(weight * weight, self.remainder) + (inner * mapped).sum(-1)

    def _mapped(self, weight: Tensor) -> Tensor:
        """Return ``W F``."""
        if self.gain is None:
            return weight @ self.base
        if weight.ndim > 2 or self.base.ndim > 2:
            return (weight * self.gain[..., None, :]) @ self.base
        return weighted_product(weight, self.gain, self.base.mT)

    def _capacitance(self) -> Tensor:
        """Return ``I + M Fᵀ diag(d)⁻¹ F``, the small matrix of Woodbury's identity."""
        inner = self.weighted.mT @ (self.factor / self.remainder[..., None])
        return inner + torch.eye(inner.shape[-1], dtype=inner.dtype, device=inner.device)

    @override
    def solve(self, right: Tensor) -> Tensor:
        scaled = right / self.remainder[..., None]
        inner = torch.linalg.solve(self._capacitance(), self.weighted.mT @ scaled)
        return scaled - (self.factor @ inner) / self.remainder[..., None]

    @override
    def logdet(self) -> Tensor:
        # A negative remainder makes both determinants change sign: that of the whole is positive.
        return self.remainder.abs().log().sum(-1) + torch.linalg.slogdet(self._capacitance()).logabsdet

    @override
    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        if bool((self.remainder < 0).any()):
            return super().sample(n, generator)
        factor = self.factor if self.core is None else self.factor @ semidefinite_root(self.core)
        shared = normal_samples(n, (factor[..., 0, :] + self.remainder[..., :1]), generator)
        own = normal_samples(n, self.remainder + factor[..., 0], generator)
        return self.remainder.sqrt() * own + (factor @ shared[..., None])[..., 0]


class Product(Covariance):
    """The unevaluated ``A W C Wᵀ A`` plus a diagonal, with ``A = diag(gain)`` and a linear map W that subclasses hold.

    Parameters
    ----------
    inner : Covariance
        C.
    gain : Tensor, optional
        Shape (..., row); ones if left out.
    added : Tensor, optional
        What is added to the diagonal, shape (..., row).
    """

    def __init__(self, inner: Covariance, gain: Tensor | None, added: Tensor | None) -> None:
        self.inner, self.gain, self.added = inner, gain, added

    @property
    @abstractmethod
    def _bare_diagonal(self) -> Tensor:
        """Diagonal of ``W C Wᵀ``, computed once."""

    @property
    @abstractmethod
    def _bare_matrix(self) -> Tensor:
        """``W C Wᵀ``, computed once."""

    @abstractmethod
    def _derived(self, gain: Tensor | None, added: Tensor | None) -> Product:
        """Return another gain and added diagonal of the same product."""

    @abstractmethod
    def _pull_back(self, weight: Tensor) -> Tensor:
        """Return ``weight · A W``, shape (..., row of weight, row of C)."""

    @cached_property
    def _dense(self) -> Tensor:
        matrix = self._bare_matrix
        if self.gain is not None:
            matrix = matrix * self.gain[..., :, None] * self.gain[..., None, :]
        return matrix if self.added is None else matrix + torch.diag_embed(self.added)

    @override
    def diagonal(self) -> Tensor:
        variance = self._bare_diagonal if self.gain is None else self._bare_diagonal * self.gain**2
        return variance if self.added is None else variance + self.added

    @override
    def to_dense(self) -> Tensor:
        return self._dense

    def _sharing(self, new: Product) -> Product:
        """Return another gain and added diagonal of the same product, of which nothing is computed twice."""
        for name in ("_bare_diagonal", "_bare_matrix"):
            if name in self.__dict__:
                new.__dict__[name] = self.__dict__[name]
        return new

    @override
    def scale(self, gain: Tensor) -> Product:
        gain = check_vector(gain, "gain", self.size)
        added = None if self.added is None else self.added * gain**2
        return self._sharing(self._derived(gain if self.gain is None else self.gain * gain, added))

    @override
    def with_diagonal(self, variance: Tensor) -> Product:
        return self.add_diagonal(check_vector(variance, "variance", self.size) - self.diagonal())

    @override
    def add_diagonal(self, variance: Tensor) -> Product:
        variance = check_vector(variance, "variance", self.size)
        return self._sharing(self._derived(self.gain, variance if self.added is None else self.added + variance))

    @override
    def quadratic(self, weight: Tensor) -> Tensor:
        if self._is_formed_for(weight):
            return weight @ self._dense @ weight.mT
        matrix = self.inner.quadratic(self._pull_back(weight))
        return matrix if self.added is None else matrix + (weight * self.added[..., None, :]) @ weight.mT

    @override
    def quadratic_diagonal(self, weight: Tensor) -> Tensor:
        if self._is_formed_for(weight):
            return ((weight @ self._dense) * weight).sum(-1)
        variance = self.inner.quadratic_diagonal(self._pull_back(weight))
        return variance if self.added is None else variance + apply_weight(weight * weight, self.added)

    def _is_formed_for(self, weight: Tensor) -> bool:
        """Return whether the full matrix is the cheaper way to combine the rows by weight, (..., row, neuron)."""
        return weight.shape[-2] >= self.size or "_dense" in self.__dict__


class Mapped(Product):
    """The unevaluated ``A W C Wᵀ A`` plus a diagonal, for a matrix W.

    Parameters
    ----------
    weight : Tensor
        W, shape (row, neuron).
    inner : Covariance
        C, of `neuron` rows.
    gain, added : Tensor, optional
        As in `Product`.
    """

    def __init__(
        self, weight: Tensor, inner: Covariance, gain: Tensor | None = None, added: Tensor | None = None
    ) -> None:
        super().__init__(inner, gain, added)
        self.weight = check_matrix(weight, "weight", inner.size)

    @property
    @override
    def size(self) -> int:
        return self.weight.shape[-2]

    @cached_property
    def _bare_diagonal(self) -> Tensor:
        return self.inner.quadratic_diagonal(self.weight)

    @cached_property
    def _bare_matrix(self) -> Tensor:
        return self.inner.quadratic(self.weight)

    @override
    def _derived(self, gain: Tensor | None, added: Tensor | None) -> Mapped:
        return Mapped(self.weight, self.inner, gain, added)

    @override
    def _pull_back(self, weight: Tensor) -> Tensor:
        return (weight if self.gain is None else weight * self.gain[..., None, :]) @ self.weight


def normal_samples(n: int, like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Return independent standard normal samples, shape (n, shape of like)."""
    return torch.randn((n, *like.shape), generator=generator, dtype=like.dtype, device=like.device)


def weighted_square(weight: Tensor, diagonal: Tensor) -> Tensor:
    """Return ``W diag(d) Wᵀ`` for weight (..., row, neuron), diagonal (..., neuron)."""
    if weight.ndim > 2:
        return (weight * diagonal[..., None, :]) @ weight.mT
    return weighted_product(weight, diagonal, weight)


def apply_weight(weight: Tensor, vector: Tensor) -> Tensor:
    """Return the matrix-vector product for weight (..., row, neuron), vector (..., neuron)."""
    if weight.ndim == 2:
        return vector @ weight.mT
    return (weight @ vector[..., None])[..., 0]


def check_vector(value: Tensor, name: str, size: int) -> Tensor:
    """Return the value if its last axis has the given size."""
    if value.ndim == 0 or value.shape[-1] != size:
        raise ValueError(f"`{name}` must have the shape (..., {size}), got {tuple(value.shape)}")
    return value


def check_matrix(value: Tensor, name: str, size: int) -> Tensor:
    """Return the value if it is a matrix with the given number of columns."""
    if value.ndim < 2 or value.shape[-1] != size:
        raise ValueError(f"`{name}` must have the shape (..., row, {size}), got {tuple(value.shape)}")
    return value


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
