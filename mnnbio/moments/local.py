"""Variances behind two convolutions, window by window.

Through a second convolution the variance of a neuron, ``Σ_m v_m (Σ_j w_j a_j t_jm)²``, depends only on the pixels m in
its window of the image; sending every pixel through the second convolution (see `mnnbio.moments.Transformed`) computes
mostly zeros where that window is small. Here a is the gain of the first layer, which differs from place to place, and t
the kernel of the first layer seen from the window of the second, which does not.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mnnbio.moments.maps import Convolution, Pooling

# The window method forms (out_channels, window) numbers a place and a product over the first layer's window; it must
# save this factor in pixels to be worth while.
WORTHWHILE = 4


def window_side(outer: Convolution, pool: Pooling | None, inner: Convolution) -> tuple[int, int]:
    """Return height and width of the window of the image that a neuron of the second convolution sees."""
    factor = 1 if pool is None else pool.window
    height, width = (
        (side * factor - 1) * inner.stride + own
        for side, own in zip(outer.kernel.shape[2:], inner.kernel.shape[2:], strict=True)
    )
    return height, width


def is_worthwhile(outer: Convolution, pool: Pooling | None, inner: Convolution) -> bool:
    """Return whether the window is much smaller than the image."""
    height, width = window_side(outer, pool, inner)
    return WORTHWHILE * height * width <= inner.image.height * inner.image.width


def variance_by_windows(
    outer: Convolution, pool: Pooling | None, gain: Tensor, inner: Convolution, variance: Tensor
) -> Tensor:
    """Return the diagonal of ``W P A V diag(v) Vᵀ A Pᵀ Wᵀ`` for convolutions W and V, pooling P, ``A = diag(gain)``.

    Parameters
    ----------
    outer, inner : Convolution
        W and V.
    pool : Pooling, optional
        P; nothing between the convolutions if left out.
    gain : Tensor
        Of the neurons of the first convolution, shape (..., inner.rows).
    variance : Tensor
        v, of the pixels, shape (..., inner.columns).

    Returns
    -------
    Tensor
        Shape (..., outer.rows).
    """
    batch = torch.broadcast_shapes(gain.shape[:-1], variance.shape[:-1])
    factor = 1 if pool is None else pool.window
    kernel = outer.kernel
    if pool is not None:  # every weight is spread over its window
        kernel = pool.weight * kernel.repeat_interleave(factor, -1).repeat_interleave(factor, -2)
    places = outer.out_image[1:]
    side = window_side(outer, pool, inner)
    gains = gain.expand(*batch, -1).reshape(-1, *inner.out_image)
    # Rows and columns that fill no pooling window are not read.
    gains = gains[..., : outer.image.height * factor, : outer.image.width * factor]
    near = _windows(gains, tuple(kernel.shape[2:]), outer.stride * factor, outer.padding * factor, places)
    seen = _windows(
        variance.expand(*batch, -1).reshape(-1, *inner.image),
        side,
        outer.stride * factor * inner.stride,
        outer.padding * factor * inner.stride + inner.padding,
        places,
    )
    weights = kernel.flatten(1)[:, None, None] * near  # (out channel, sample, place, neuron of the window)
    paths = weights @ _seen_from_window(inner, tuple(kernel.shape[2:]), side)
    result = (paths**2 * seen).sum(-1)  # (out channel, sample, place)
    return result.movedim(0, 1).reshape(*batch, outer.rows)


def _windows(images: Tensor, side: tuple[int, ...], stride: int, padding: int, places: tuple[int, ...]) -> Tensor:
    """Return the windows of images at the given places, shape (sample, place, element)."""
    padded = nn.functional.pad(images, (padding,) * 4)
    windows = padded.unfold(-2, side[0], stride).unfold(-2, side[1], stride)  # (sample, channel, y, x, *side)
    windows = windows[:, :, : places[0], : places[1]]
    return windows.permute(0, 2, 3, 1, 4, 5).reshape(len(images), places[0] * places[1], -1)


def _seen_from_window(inner: Convolution, neurons: tuple[int, ...], side: tuple[int, int]) -> Tensor:
    """Return the weights from a window of pixels to the window of neurons behind it, shape (neuron, pixel)."""
    window = Convolution(inner.kernel, (inner.image.channels, *side), inner.stride, 0)
    assert window.out_image[1:] == neurons
    return window.to_dense()
