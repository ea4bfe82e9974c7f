"""Polynomials with fixed coefficients, differentiable any number of times."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

CHUNK = 1 << 15  # elements worked on at a time, so that what comes between stays in the processor's cache


@torch.library.custom_op("mnnbio::polynomials", mutates_args=())
def _polynomials(z: Tensor, coefficients: Tensor) -> Tensor:
    out = z.new_empty((coefficients.shape[0], *z.shape))
    flat, flat_out = z.reshape(-1), out.view(coefficients.shape[0], -1)
    for start in range(0, flat.numel(), CHUNK):
        part = flat[start : start + CHUNK]
        for row, c in enumerate(coefficients.tolist()):
            value = torch.full_like(part, c[-1])
            for coefficient in reversed(c[:-1]):
                value.mul_(part).add_(coefficient)
            flat_out[row, start : start + CHUNK] = value
    return out


@_polynomials.register_fake
def _(z: Tensor, coefficients: Tensor) -> Tensor:
    return z.new_empty((coefficients.shape[0], *z.shape))


@_polynomials.register_vmap
def _(info: object, in_dims: tuple[int, None], z: Tensor, coefficients: Tensor) -> tuple[Tensor, int]:
    return _polynomials(z.movedim(in_dims[0], 0), coefficients), 1


class _Polynomials(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(z: Tensor, coefficients: Tensor) -> Tensor:
        return _polynomials(z, coefficients)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return (grad * _slopes(*ctx.saved_tensors)).sum(0), None


def _slopes(z: Tensor, coefficients: Tensor) -> Tensor:
    """Return the derivatives of the polynomials, stacked."""
    rows, terms = coefficients.shape
    if terms == 1:
        return z.new_zeros((rows, *z.shape))
    powers = torch.arange(1, terms, dtype=coefficients.dtype, device=coefficients.device)
    return _Polynomials.apply(z, coefficients[:, 1:] * powers)


def polynomials(z: Tensor, coefficients: Tensor) -> tuple[Tensor, ...]:
    """Return ``Σ_n coefficients[i, n] zⁿ`` for each row i, by Horner's rule.

    Parameters
    ----------
    z : Tensor
        Any shape.
    coefficients : Tensor
        Shape (row, power), of the dtype of z. Constants: gradients reach z only.

    Returns
    -------
    tuple of Tensor
        A tensor of the shape of z for each row.
    """
    return _Polynomials.apply(z, coefficients).unbind(0)
