"""Polynomials with fixed coefficients, differentiable any number of times.

Dawson-type integrals of the first-passage problem of the leaky integrate-and-fire neuron.

The six functions solve a triangular chain of differential equations,

    g' = 1 + 2xg    h' = 2xh + g²    k' = 2xk + 2gh
    G' = g          H' = h           K' = k

with g, h, k → 0 at x → -∞ and G(0) = H(-∞) = K(-∞) = 0. In closed form ``g(x) = (√π/2) erfcx(-x)`` and
``h(x) = e^{x²} ∫_{-∞}^x e^{-u²} g(u)² du``, likewise k with the source 2gh.

Where the chain comes from: let ψ(x) = E[e^{-sT}] for the first passage T of ``dx = -L x dt + √L dW`` from x to a
threshold. It obeys ``L(ψ''/2 - xψ') = sψ`` [1]_, so that p = (ln ψ)' obeys the Riccati equation
``p' = 2xp - p² + 2s/L``. With ``p = p₁ s + p₂ s² + p₃ s³ + …`` its orders are ``p₁ = (2/L) g``, ``p₂ = -(2/L)² h`` and
``p₃ = (2/L)³ k``. As ``ln ψ = -κ₁ s + κ₂ s²/2 - κ₃ s³/6``, the cumulants of T from x = lb to x = ub are

    κ₁ = (2/L) [G(ub) - G(lb)]    κ₂ = 2 (2/L)² [H(ub) - H(lb)]    κ₃ = 6 (2/L)³ [K(ub) - K(lb)]

For x > 0 the functions grow like e^{x²}, e^{2x²} and e^{3x²}. They are therefore evaluated *scaled*, times
``e^{-mx²}`` (m = 1, 2, 3) for x > 0 and as they are for x ≤ 0, from piecewise polynomials of degree 6 in
``x / (3 + |x|)`` that reach 10⁻¹⁵ relative on the whole line. ``benchmarks/make_moment_tables.py`` generates them in
60 digits.

References
----------
.. [1] A. J. F. Siegert (1951), On the first passage time probability problem, Phys. Rev. 81, 617.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
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
        return (grad * _polynomial_slopes(*ctx.saved_tensors)).sum(0), None


def _polynomial_slopes(z: Tensor, coefficients: Tensor) -> Tensor:
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


class Integrals(NamedTuple):
    """Values of the six integrals, each of the shape of x."""

    g: Tensor
    G: Tensor
    h: Tensor
    H: Tensor
    k: Tensor
    K: Tensor


class Tables(NamedTuple):
    """Polynomial coefficients of the integrals; see ``benchmarks/make_moment_tables.py``."""

    pieces: Tensor  # (function, power, piece)
    tonic: Tensor  # (function, power)
    knee: float
    edge: float


_loaded: dict[tuple[torch.dtype, torch.device], Tables] = {}


@torch.compiler.assume_constant_result
def load_tables(dtype: torch.dtype, device: torch.device) -> Tables:
    """Return the tables, read once for each dtype and device."""
    if (dtype, device) not in _loaded:
        with np.load(Path(__file__).with_name("tables.npz")) as file:
            pieces, tonic = (torch.from_numpy(file[name]).to(device, dtype) for name in ("pieces", "tonic"))
            _loaded[dtype, device] = Tables(pieces, tonic, float(file["knee"]), float(file["edge"]))
    return _loaded[dtype, device]


@torch.library.custom_op("mnnbio::scaled_integrals", mutates_args=())
def _scaled(x: Tensor, order: int) -> Tensor:
    """Return (g, G), (g, G, h, H) or all six, scaled, stacked along a new first axis."""
    tables = load_tables(x.dtype, x.device)
    out = x.new_empty((2 * order, *x.shape))
    flat, flat_out = x.reshape(-1), out.view(2 * order, -1)
    for start in range(0, flat.numel(), CHUNK):
        stop = start + CHUNK
        _interpolate(flat[start:stop], flat_out[:, start:stop], tables)
    return out


def _interpolate(x: Tensor, out: Tensor, tables: Tables) -> None:
    """Fill `out`, shape (function, element), from the piecewise polynomials."""
    last = tables.pieces.shape[-1] - 1
    r = x.abs()
    place = (x / (r + tables.knee)).add_(1).mul_((last + 1) / 2)
    piece = place.to(torch.int64).clamp_(0, last)  # NaN lands in some piece and stays NaN through `z`
    z = place.sub_(piece).mul_(2).sub_(1)
    for row, value in enumerate(out):
        torch.index_select(tables.pieces[row, -1], 0, piece, out=value)
        for coefficients in tables.pieces[row, :-1].flip(0):
            value.mul_(z).add_(coefficients[piece])
    shrink, one = (r + 1).reciprocal_(), torch.ones_like(x)
    positive = x > 0
    left = torch.where(positive, one, shrink)  # 1/(1 + |x|) where x ≤ 0, else 1
    right = torch.where(positive, shrink, one)
    out[0].mul_(left)
    out[1].mul_(x).mul_(shrink).mul_(right).sub_(torch.where(positive, 0.0, torch.log1p(r) / 2))
    if len(out) > 2:
        out[2].mul_(shrink).mul_(left).mul_(left)
        out[3].mul_(shrink).mul_(shrink)
    if len(out) > 4:
        out[4].mul_(shrink).mul_(shrink).mul_(left).mul_(left).mul_(left)
        out[5].mul_(shrink).mul_(shrink).mul_(shrink).mul_(left)


@_scaled.register_fake
def _(x: Tensor, order: int) -> Tensor:
    return x.new_empty((2 * order, *x.shape))


@_scaled.register_vmap
def _(info: object, in_dims: tuple[int | None, None], x: Tensor, order: int) -> tuple[Tensor, int]:
    return _scaled(x.movedim(in_dims[0] or 0, 0), order), 1


class _Scaled(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, order: int) -> Tensor:
        return _scaled(x, order)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, int], output: Tensor) -> None:
        ctx.save_for_backward(inputs[0], output)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        slopes = _slopes(*ctx.saved_tensors)
        total = torch.zeros_like(slopes[0])
        for part, slope in zip(grad.unbind(0), slopes, strict=True):
            total = total + part * slope
        return total, None


def _slopes(x: Tensor, output: Tensor) -> list[Tensor]:
    """Return the derivatives by the chain of equations, in which scaling adds a term where x > 0."""
    positive = x > 0
    x_plus = torch.where(positive, x, 0.0)
    x_minus = torch.where(positive, 0.0, x)
    g, G, *rest = output.unbind(0)
    slopes = [torch.exp(-x_plus * x_plus) + 2 * x_minus * g, g - 2 * x_plus * G]
    if rest:
        h, H = rest[:2]
        slopes += [g * g + 2 * (x_minus - x_plus) * h, h - 4 * x_plus * H]
    if rest[2:]:
        k, K = rest[2:]
        slopes += [2 * g * h + 2 * (x_minus - 2 * x_plus) * k, k - 6 * x_plus * K]
    return slopes


def scaled_integrals(x: Tensor, order: int = 3) -> tuple[Tensor, ...]:
    """Return the integrals at x, times ``e^{-mx²}`` where x > 0.

    Differentiable any number of times; relative error below 4e-15 in float64.

    Parameters
    ----------
    x : Tensor
        Any shape, dimensionless.
    order : {1, 2, 3}
        How many pairs are wanted: (g, G), (g, G, h, H) or (g, G, h, H, k, K), with m = 1, 2 and 3.

    Returns
    -------
    tuple of Tensor
        The 2·order functions, each of the shape of x.
    """
    return _Scaled.apply(x, order).unbind(0)


def integrals(x: Tensor) -> Integrals:
    """Return g, G, h, H, k and K at x.

    They overflow beyond x = 26.6, 18.9 and 15.4 (the three pairs, in float64); `scaled_integrals` does not.

    Parameters
    ----------
    x : Tensor
        Any shape, dimensionless.

    Returns
    -------
    Integrals
        Each of the shape of x; relative error below 1e-12 in float64.
    """
    factor = torch.exp(torch.where(x > 0, x * x, 0.0))
    g, G, h, H, k, K = scaled_integrals(x)
    # One factor at a time: their product overflows before the integrals do.
    return Integrals(
        g * factor, G * factor, h * factor * factor, H * factor * factor,
        k * factor * factor * factor, K * factor * factor * factor,
    )  # fmt: skip
