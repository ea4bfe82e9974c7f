"""Sums over many neurons between a few rows, for a whole batch, without an array of batch · rows · neurons.

The form ``Φ = Σ_n Σ_rs G_brs l_rn v_bn r_sn`` has rows l (R, neuron) and r (S, neuron), shared by the batch, and a
vector v and a small matrix G for each of its elements. Its derivatives with respect to G, v and l are what low-rank
covariances are made of, and the derivatives of these are again such forms. Each is computed in parts of the batch, and
keeps nothing but its arguments for the way back: memory O((R + S + batch) · neuron) instead of O(batch · R · neuron).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

PART = 1 << 21  # numbers held at a time, at least those of one element of the batch


def weighted_product(left: Tensor, weights: Tensor, right: Tensor) -> Tensor:
    """Return ``l diag(v) rᵀ``, shape (..., R, S), for l (R, neuron), v (..., neuron) and r (S, neuron).

    Differentiable any number of times.
    """
    product = _Product.apply(left, weights.reshape(-1, weights.shape[-1]), right)
    return product.reshape(*weights.shape[:-1], *product.shape[1:])


def column_forms(left: Tensor, matrix: Tensor, right: Tensor) -> Tensor:
    """Return ``Σ_rs l_rn G_rs r_sn``, shape (..., neuron), for l (R, neuron), G (..., R, S) and r (S, neuron).

    The diagonal of ``lᵀ G r``. Differentiable any number of times.
    """
    forms = _Forms.apply(left, matrix.reshape(-1, *matrix.shape[-2:]), right)
    return forms.reshape(*matrix.shape[:-2], forms.shape[-1])


def _parts(count: int, *rows: Tensor) -> Iterator[slice]:
    """Yield slices of the batch that are worked on at a time."""
    step = max(1, PART // max(1, max(row.numel() for row in rows)))
    yield from (slice(start, start + step) for start in range(0, count, step))


class _Product(torch.autograd.Function):
    """∂Φ/∂G: ``l diag(v) rᵀ``."""

    generate_vmap_rule = True

    @staticmethod
    def forward(left: Tensor, weights: Tensor, right: Tensor) -> Tensor:
        parts = [(left * weights[part, None, :]) @ right.mT for part in _parts(len(weights), left, right)]
        return torch.cat(parts) if parts else left.new_zeros(0, len(left), len(right))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        left, weights, right = ctx.saved_tensors
        need_left, need_weights, need_right = ctx.needs_input_grad
        return (
            _Rows.apply(grad, weights, right) if need_left else None,
            _Forms.apply(left, grad, right) if need_weights else None,
            _Rows.apply(grad.mT, weights, left) if need_right else None,
        )


class _Forms(torch.autograd.Function):
    """∂Φ/∂v: the diagonal of ``lᵀ G r``."""

    generate_vmap_rule = True

    @staticmethod
    def forward(left: Tensor, matrix: Tensor, right: Tensor) -> Tensor:
        parts = [(left * (matrix[part] @ right)).sum(-2) for part in _parts(len(matrix), left, right)]
        return torch.cat(parts) if parts else left.new_zeros(0, left.shape[-1])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        left, matrix, right = ctx.saved_tensors
        need_left, need_matrix, need_right = ctx.needs_input_grad
        return (
            _Rows.apply(matrix, grad, right) if need_left else None,
            _Product.apply(left, grad, right) if need_matrix else None,
            _Rows.apply(matrix.mT, grad, left) if need_right else None,
        )


class _Rows(torch.autograd.Function):
    """∂Φ/∂l: ``Σ_b G_b r diag(v_b)``, shape (R, neuron)."""

    generate_vmap_rule = True

    @staticmethod
    def forward(matrix: Tensor, weights: Tensor, right: Tensor) -> Tensor:
        total = right.new_zeros(matrix.shape[-2], right.shape[-1])
        for part in _parts(len(weights), total, right):
            total = total + ((matrix[part] @ right) * weights[part, None, :]).sum(0)
        return total

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        matrix, weights, right = ctx.saved_tensors
        need_matrix, need_weights, need_right = ctx.needs_input_grad
        return (
            _Product.apply(grad, weights, right) if need_matrix else None,
            _Forms.apply(grad, matrix, right) if need_weights else None,
            _Rows.apply(matrix.mT, weights, grad) if need_right else None,
        )
