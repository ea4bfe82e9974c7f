"""Linear maps known by what they do rather than by their matrix: convolutions and pooling of images.

Images are flattened: the last axis of a tensor runs over (channel, y, x), as ``image.flatten()`` gives it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from math import prod
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from typing_extensions import override


class ImageShape(NamedTuple):
    """Shape of an image or of a layer of neurons arranged like one."""

    channels: int
    height: int
    width: int

    @property
    def size(self) -> int:
        """Number of pixels or neurons."""
        return prod(self)


class Entries(NamedTuple):
    """The elements of a sparse matrix that may differ from zero, each of shape (element,)."""

    row: Tensor
    column: Tensor
    value: Tensor


class LinearMap(ABC):
    """A matrix W from images to images, of shape (row, column), that need not be formed.

    Attributes
    ----------
    image, out_image : ImageShape
        Of input and output.
    disjoint : bool
        Whether every input reaches at most one output: then ``W diag(v) Wᵀ`` is diagonal.
    """

    image: ImageShape
    out_image: ImageShape
    disjoint: ClassVar[bool]

    @property
    def rows(self) -> int:
        """Number of outputs."""
        return self.out_image.size

    @property
    def columns(self) -> int:
        """Number of inputs."""
        return self.image.size

    @abstractmethod
    def apply(self, vector: Tensor) -> Tensor:
        """Return ``W x``, shape (..., row), for x of shape (..., column)."""

    @abstractmethod
    def transpose(self, vector: Tensor) -> Tensor:
        """Return ``Wᵀ y``, shape (..., column), for y of shape (..., row)."""

    @abstractmethod
    def apply_squared(self, variance: Tensor) -> Tensor:
        """Return the diagonal of ``W diag(v) Wᵀ``, shape (..., row), for v of shape (..., column)."""

    @abstractmethod
    def entries(self) -> Entries:
        """Return the elements of W."""

    def to_dense(self) -> Tensor:
        """Return W itself, (row, column)."""
        row, column, value = self.entries()
        return value.new_zeros(self.rows, self.columns).index_put((row, column), value, accumulate=True)


class Convolution(LinearMap):
    """Convolution of images as neural networks have it (a cross-correlation), with zeros around the image.

    Parameters
    ----------
    kernel : Tensor, shape (out_channels, in_channels, height, width)
    image : ImageShape or tuple of int
        Channels, height and width of the input.
    stride, padding : int
        As in `torch.nn.Conv2d`.

    Raises
    ------
    ValueError
        If the kernel does not suit the image.
    """

    disjoint = False

    def __init__(self, kernel: Tensor, image: tuple[int, int, int], stride: int = 1, padding: int = 0) -> None:
        self.image = ImageShape(*image)
        if kernel.ndim != 4 or kernel.shape[1] != self.image.channels:
            raise ValueError(
                f"`kernel` must have the shape (out_channels, {self.image.channels}, height, width) for images of "
                f"{self.image.channels} channels, got {tuple(kernel.shape)}"
            )
        self.kernel, self.stride, self.padding = kernel, stride, padding
        height, width = (
            convolved(size, length, stride, padding)
            for size, length in zip(self.image[1:], kernel.shape[2:], strict=True)
        )
        self.out_image = ImageShape(kernel.shape[0], height, width)

    @override
    def apply(self, vector: Tensor) -> Tensor:
        return self._convolve(vector, self.kernel)

    @override
    def apply_squared(self, variance: Tensor) -> Tensor:
        return self._convolve(variance, self.kernel**2)

    @override
    def transpose(self, vector: Tensor) -> Tensor:
        images = vector.reshape(-1, *self.out_image)
        left_over = [
            (size + 2 * self.padding - length) % self.stride
            for size, length in zip(self.image[1:], self.kernel.shape[2:], strict=True)
        ]
        result = nn.functional.conv_transpose2d(
            images, self.kernel, stride=self.stride, padding=self.padding, output_padding=left_over
        )
        return result.reshape(*vector.shape[:-1], self.columns)

    @override
    def entries(self) -> Entries:
        device = self.kernel.device
        # Which input each element of the kernel meets at each place of the output; 0 where it meets the margin.
        numbers = torch.arange(1, self.columns + 1, dtype=torch.float64, device=device).reshape(1, *self.image)
        met = nn.functional.unfold(numbers, self.kernel.shape[2:], padding=self.padding, stride=self.stride)
        column = met[0].long() - 1  # (element of the kernel, place)
        places = column.shape[1]
        channels = self.out_image.channels
        row = torch.arange(self.rows, device=device).reshape(channels, 1, places).expand(-1, len(column), -1)
        column = column.expand(channels, -1, -1)
        value = self.kernel.reshape(channels, -1, 1).expand(-1, -1, places)
        inside = column >= 0
        return Entries(row[inside], column[inside], value[inside])

    def _convolve(self, vector: Tensor, kernel: Tensor) -> Tensor:
        images = vector.reshape(-1, *self.image)
        result = nn.functional.conv2d(images, kernel, stride=self.stride, padding=self.padding)
        return result.reshape(*vector.shape[:-1], self.rows)


class Pooling(LinearMap):
    """Weighted sum over square windows that do not overlap, channel by channel; what is left at the edges is not read.

    Parameters
    ----------
    image : ImageShape or tuple of int
        Channels, height and width of the input.
    window : int
        Side of the windows.
    like : Tensor
        Gives dtype and device of the weights.
    weight : float
        Of every element: 1 for a sum, 1/window² for an average.

    Raises
    ------
    ValueError
        If the window is larger than the image.
    """

    disjoint = True

    def __init__(self, image: tuple[int, int, int], window: int, like: Tensor, weight: float = 1.0) -> None:
        self.image, self.window, self.like, self.weight = ImageShape(*image), window, like, weight
        height, width = (convolved(size, window, window, 0) for size in self.image[1:])
        self.out_image = ImageShape(self.image.channels, height, width)

    @override
    def apply(self, vector: Tensor) -> Tensor:
        return self._sum(vector, self.weight)

    @override
    def apply_squared(self, variance: Tensor) -> Tensor:
        return self._sum(variance, self.weight**2)

    @override
    def transpose(self, vector: Tensor) -> Tensor:
        images = (self.weight * vector).reshape(-1, *self.out_image)
        spread = images.repeat_interleave(self.window, -1).repeat_interleave(self.window, -2)
        margins = (0, self.image.width - spread.shape[-1], 0, self.image.height - spread.shape[-2])
        return nn.functional.pad(spread, margins).reshape(*vector.shape[:-1], self.columns)

    @override
    def entries(self) -> Entries:
        rows = torch.arange(1, self.rows + 1, dtype=torch.float64, device=self.like.device)
        row = Pooling(self.image, self.window, rows).transpose(rows).long() - 1
        column = (row >= 0).nonzero()[:, 0]
        return Entries(row[column], column, self.like.new_full((len(column),), self.weight))

    def _sum(self, vector: Tensor, weight: float) -> Tensor:
        images = vector.reshape(-1, *self.image)
        result = nn.functional.avg_pool2d(images, self.window)
        factor = weight * self.window**2
        if factor != 1:
            result = result * factor
        return result.reshape(*vector.shape[:-1], self.rows)


def convolved(size: int, length: int, stride: int, padding: int) -> int:
    """Return the number of places of a window along an axis.

    Raises
    ------
    ValueError
        If there is none.
    """
    places = (size + 2 * padding - length) // stride + 1
    if places < 1:
        raise ValueError(
            f"a window of {length} pixels does not fit into an image side of {size} pixels with a padding of {padding}"
        )
    return places
