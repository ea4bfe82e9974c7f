"""Weights between two layers as they are kept, full, sparse or factored into modes, and what moments need of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse
from torch import Tensor

from mnnbio.circuit import Circuit, ModeMatrix, Projection

Array = npt.NDArray[np.float64]

_ROWS = 2_000_000  # numbers of a matrix of modes that are formed at a time, where its third powers are summed


class LayerWeights:
    """Weights from one population to another, (n, m), mV.

    Parameters
    ----------
    matrix : ndarray, csr_array or ModeMatrix
    """

    def __init__(self, matrix: Any) -> None:
        self.matrix = matrix

    @classmethod
    def of(cls, circuit: Circuit, projection: Projection, factor: Array) -> LayerWeights:
        """Return the weights of a projection, those onto each neuron times a factor, (1,) or (n,)."""
        matrix: Any = circuit.matrix(projection)
        factor = factor.reshape(-1, 1)
        if isinstance(matrix, ModeMatrix):
            return cls(ModeMatrix(matrix.input_modes * factor, matrix.scores, matrix.output_modes))
        if sparse.issparse(matrix):
            return cls(sparse.csr_array(matrix.multiply(factor)))
        return cls(torch.tensor(matrix) * torch.from_numpy(factor))

    def plus(self, other: LayerWeights) -> LayerWeights:
        """Return the sum, sparse where both are."""
        if sparse.issparse(self.matrix) and sparse.issparse(other.matrix):
            return LayerWeights(sparse.csr_array(self.matrix + other.matrix))
        return LayerWeights(self.full() + other.full())

    def full(self) -> Tensor:
        """Return the full matrix."""
        if isinstance(self.matrix, ModeMatrix):
            return torch.from_numpy(self.matrix.to_dense())
        if sparse.issparse(self.matrix):
            return torch.from_numpy(self.matrix.toarray())
        found: Tensor = self.matrix
        return found

    def times(self, block: Tensor) -> Tensor:
        """Return ``W B``, (..., n, k), for B of shape (..., m, k)."""
        if isinstance(self.matrix, Tensor):
            return self.matrix @ block
        if isinstance(self.matrix, ModeMatrix):
            inputs, scores, outputs = self._modes()
            return inputs @ (scores[:, None] * (outputs.T @ block))
        columns = block.movedim(-2, 0)
        product = self.matrix @ columns.reshape(len(columns), -1).numpy()
        return torch.from_numpy(product.reshape(-1, *columns.shape[1:])).movedim(0, -2)

    def after(self, block: Tensor) -> Tensor:
        """Return ``B Wᵀ``, (..., k, n), for B of shape (..., k, m)."""
        if isinstance(self.matrix, Tensor):
            return block @ self.matrix.T
        return self.times(block.mT).mT

    def powers(self, vector: Tensor, power: int) -> Tensor:
        """Return ``Σ_j W_ij^power x_j``, (..., n), for x of shape (..., m)."""
        if isinstance(self.matrix, Tensor):
            return vector @ (self.matrix if power == 1 else self.matrix**power).T
        if not isinstance(self.matrix, ModeMatrix):
            raised = self.matrix if power == 1 else sparse.csr_array(self.matrix.power(power))
            return LayerWeights(raised).times(vector[..., None])[..., 0]
        if power == 1:
            return self.times(vector[..., None])[..., 0]
        inputs, scores, outputs = self._modes()
        strength = inputs * scores
        if power == 2:
            core = (outputs.T * vector[..., None, :]) @ outputs
            return ((strength @ core) * strength).sum(-1)
        rows = max(1, _ROWS // len(outputs))
        parts = [vector @ (strength[k : k + rows] @ outputs.T).pow(power).T for k in range(0, len(strength), rows)]
        return torch.cat(parts, dim=-1)

    def driven_by(self, variance: Tensor) -> Tensor:
        """Return ``W diag(v)``, (stimulus, n, m): the covariance of the sums with independent trains of variance v."""
        return self.full() * variance[:, None, :]

    def _modes(self) -> tuple[Tensor, Tensor, Tensor]:
        own = self.matrix
        return torch.tensor(own.input_modes), torch.tensor(own.scores), torch.tensor(own.output_modes)
