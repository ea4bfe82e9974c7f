"""Pooling of spike trains: weighted sums over small windows of a layer arranged like an image.

Not a layer of neurons: the next layer reads the window through one common weight, so that on export pooling becomes
part of its synapses.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn

from mnnbio.moments import ImageShape, Pooling, transform
from mnnbio.nn.convolution import require_image
from mnnbio.nn.state import Moments


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
