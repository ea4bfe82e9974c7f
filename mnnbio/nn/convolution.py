"""Convolutions and poolings of mean and covariance: synapses whose weights depend on the displacement only.

Pooling is a weighted sum of spike trains over small windows of a layer arranged like an image. It is not a layer of
neurons: the next layer reads the window through one common weight, so that on export pooling becomes part of its
synapses.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import nn

from mnnbio.moments import Convolution, ImageShape, Pooling, transform
from mnnbio.nn.linear import uniform_
from mnnbio.nn.state import Moments


class MomentConv2d(nn.Module):
    """Convolve the moments of a layer arranged like an image.

    A convolution is a linear map W of the flattened image, ``μ → W μ`` and ``C → W C Wᵀ``; W is sparse and never
    formed, and the covariance is evaluated only where something asks for it (see `mnnbio.moments.Transformed`).
    Moments are flat, their last axis runs over (channel, y, x): nothing needs flattening between a convolution and a
    dense layer.

    Parameters
    ----------
    image : ImageShape or tuple of int
        Channels, height and width of the input.
    out_channels : int
        Number of kernels.
    kernel_size : int
        Side of the kernels.
    stride, padding : int
        As in `torch.nn.Conv2d`. By default the output is as large as the input where `kernel_size` is odd.
    weight_scale : float
        The weights start uniform within ±weight_scale/√fan_in, of in_channels · kernel_size² inputs.
    generator : torch.Generator, optional
        Source of the initial weights; the global one by default.
    dtype, device
        Of the parameters.

    Attributes
    ----------
    weight : Parameter, shape (out_channels, in_channels, kernel_size, kernel_size)
        mV.
    image, out_image : ImageShape
        Shapes of input and output.

    Raises
    ------
    ValueError
        If a size is not a positive whole number, or the kernel is larger than the image.

    Examples
    --------
    >>> layer = MomentConv2d((1, 8, 8), 4, 3)
    >>> layer.out_image
    ImageShape(channels=4, height=8, width=8)
    """

    def __init__(
        self,
        image: tuple[int, int, int],
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int | None = None,
        *,
        weight_scale: float = 1.0,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        padding = (kernel_size - 1) // 2 if padding is None else padding
        for name, value, least in (
            ("image", min(image), 1),
            ("out_channels", out_channels, 1),
            ("kernel_size", kernel_size, 1),
            ("stride", stride, 1),
            ("padding", padding, 0),
        ):
            if value < least:
                raise ValueError(f"`{name}` must be at least {least}, got {image if name == 'image' else value}")
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding
        shape = out_channels, image[0], kernel_size, kernel_size
        kernel = torch.empty(shape, dtype=dtype, device=device)
        convolution = Convolution(kernel, image, stride, padding)
        self.image, self.out_image = convolution.image, convolution.out_image
        self.in_features, self.out_features = self.image.size, self.out_image.size
        self.weight = nn.Parameter(kernel)
        uniform_(self.weight, weight_scale / math.sqrt(math.prod(shape[1:])), generator)

    def map(self, weight: torch.Tensor | None = None) -> Convolution:
        """Return the linear map, of other weights than the layer's own if given."""
        return Convolution(self.weight if weight is None else weight, self.image, self.stride, self.padding)

    def forward(self, moments: Moments) -> Moments:
        """Return the moments of the convolved image, shape (..., out_features).

        Raises
        ------
        ValueError
            If the number of inputs is wrong.
        """
        require_image(moments, self.in_features, tuple(self.image))
        convolution = self.map()
        return Moments(convolution.apply(moments.mean), transform(moments.covariance, convolution))

    def extra_repr(self) -> str:
        """Describe the shapes."""
        return (
            f"{tuple(self.image)} → {tuple(self.out_image)}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"padding={self.padding}"
        )


def require_image(moments: Moments, size: int, image: tuple[int, ...]) -> None:
    """Raise a `ValueError` unless the moments are of a flattened image of that shape."""
    if moments.mean.ndim == 0 or moments.mean.shape[-1] != size:
        raise ValueError(
            f"expected flattened images of shape {image}, {size} values, got the shape {tuple(moments.mean.shape)}"
        )


class _MomentPool2d(nn.Module):
    """Sum over windows, channel by channel, with one weight for all."""

    averages: ClassVar[bool]

    def __init__(self, image: tuple[int, int, int], window: int) -> None:
        super().__init__()
        if window < 1:
            raise ValueError(f"`window` must be at least 1, got {window}")
        self.image, self.window = ImageShape(*image), window
        self.out_image = self.map(torch.empty(0)).out_image

    def map(self, like: torch.Tensor) -> Pooling:
        """Return the linear map, with the dtype and device of a tensor."""
        return Pooling(self.image, self.window, like, 1 / self.window**2 if self.averages else 1.0)

    def forward(self, moments: Moments) -> Moments:
        """Return the moments of the pooled trains, flattened like the input.

        Raises
        ------
        ValueError
            If the number of inputs is wrong.
        """
        require_image(moments, self.image.size, tuple(self.image))
        pooling = self.map(moments.mean)
        return Moments(pooling.apply(moments.mean), transform(moments.covariance, pooling))

    def extra_repr(self) -> str:
        """Describe the shapes."""
        return f"{tuple(self.image)} → {tuple(self.out_image)}, window={self.window}"


class MomentAvgPool2d(_MomentPool2d):
    """Average spike trains over windows that do not overlap.

    Mean and covariance are those of the average of the trains, ``P μ`` and ``P C Pᵀ`` with elements 1/window².

    Parameters
    ----------
    image : ImageShape or tuple of int
        Channels, height and width of the layer that is read.
    window : int
        Side of the windows; rows and columns left over at the edges are not read.

    Attributes
    ----------
    out_image : ImageShape
        Shape of the output.

    Raises
    ------
    ValueError
        If the window does not fit into the image.
    """

    averages = True


class MomentSumPool2d(_MomentPool2d):
    """Sum spike trains over windows that do not overlap; parameters and the rest as in `MomentAvgPool2d`."""

    averages = False
