"""Matrix roots of covariances, with errors that say what is wrong."""

from __future__ import annotations

import torch
from torch import Tensor


def cholesky(matrix: Tensor) -> Tensor:
    """Return the lower Cholesky factor of positive definite matrices, shape (..., neuron, neuron)."""
    root, status = torch.linalg.cholesky_ex(matrix)
    if bool((status != 0).any()):
        least = torch.linalg.eigvalsh(matrix)[..., 0].min()
        raise ValueError(
            f"the covariance must be positive definite, its smallest eigenvalue is {float(least):.3g}; "
            "add a variance of its own to every variable (`add_diagonal`)"
        )
    return root


def semidefinite_root(matrix: Tensor) -> Tensor:
    """Return R with ``R Rᵀ = matrix`` for positive semidefinite matrices, shape (..., neuron, neuron)."""
    value, vector = torch.linalg.eigh(matrix)
    floor = -1e3 * torch.finfo(matrix.dtype).eps * value[..., -1:].abs()
    if bool((value < floor).any()):
        raise ValueError(
            f"the covariance must be positive semidefinite, its smallest eigenvalue is {float(value.min()):.3g}"
        )
    return vector * value.clamp(min=0).sqrt()[..., None, :]
