"""Polynomials with fixed coefficients, differentiable any number of times."""

from __future__ import annotations

import torch
from torch import Tensor


def polynomial(z: Tensor, coefficients: Tensor) -> Tensor:
    """Return ``Σ coefficients[n] zⁿ`` by Horner's rule."""
    value = torch.full_like(z, float(coefficients[-1]))
    for n in range(len(coefficients) - 2, -1, -1):
        value = value * z + coefficients[n]
    return value
