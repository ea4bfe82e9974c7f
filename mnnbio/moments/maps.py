"""Linear maps known by what they do rather than by their matrix: convolutions and pooling of images.

Images are flattened: the last axis of a tensor runs over (channel, y, x), as ``image.flatten()`` gives it.

Variances behind two convolutions, window by window.

Through a second convolution the variance of a neuron, ``Σ_m v_m (Σ_j w_j a_j t_jm)²``, depends only on the pixels m in
its window of the image; sending every pixel through the second convolution (see `mnnbio.moments.Transformed`) computes
mostly zeros where that window is small. Here a is the gain of the first layer, which differs from place to place, and t
the kernel of the first layer seen from the window of the second, which does not.

Covariance behind a linear map that is known by what it does: a convolution, a pooling.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from math import prod
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from typing_extensions import override

from mnnbio.moments.covariance import Covariance, Diagonal, LowRank, Product
from mnnbio.moments.joint import Joint


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


class Factors(NamedTuple):
    """A covariance as ``diag(d) + F diag(v) Fᵀ``; no F for independent variables."""

    diagonal: Tensor  # d, shape (..., neuron)
    columns: Tensor | None = None  # Fᵀ, shape (..., column, neuron)
    weights: Tensor | None = None  # v, shape (..., column); ones if left out

    @property
    def number(self) -> int:
        """Number of columns of F."""
        return 0 if self.columns is None else self.columns.shape[-2]


class Transformed(Product):
    """The unevaluated ``A W C Wᵀ A`` plus a diagonal, with ``A = diag(gain)`` and W a linear map.

    What is asked for is computed in the cheapest of four ways. A few linear combinations of the rows are pulled back
    through Wᵀ. Where C is diagonal, or a diagonal plus few columns (a convolution of an image that is smaller than the
    layers after it), the columns are sent through W. The variances behind two convolutions of a large image are
    computed window by window. Otherwise C is formed, and W applied from both sides.

    Parameters
    ----------
    map : LinearMap
        W, of shape (row, neuron).
    inner : Covariance
        C, of `neuron` rows.
    gain, added : Tensor, optional
        As in `Product`.

    Raises
    ------
    ValueError
        If the sizes do not fit.
    """

    def __init__(
        self, map: LinearMap, inner: Covariance, gain: Tensor | None = None, added: Tensor | None = None
    ) -> None:
        if map.columns != inner.size:
            raise ValueError(f"the map takes {map.columns} variables, the covariance has {inner.size}")
        super().__init__(inner, gain, added)
        self.map = map

    @property
    @override
    def size(self) -> int:
        return self.map.rows

    @cached_property
    def _bare_diagonal(self) -> Tensor:
        if (layers := self._two_convolutions()) is not None:
            return self._diagonal_by_windows(*layers)
        factors = factors_of(self.inner)
        if factors is None:
            return self._bare_matrix.diagonal(dim1=-2, dim2=-1)
        variance = self.map.apply_squared(factors.diagonal)
        if factors.columns is None:
            return variance
        squares = self.map.apply(factors.columns) ** 2
        if factors.weights is None:
            return variance + squares.sum(-2)
        return variance + (factors.weights[..., None, :] @ squares)[..., 0, :]

    def _two_convolutions(self) -> tuple[Pooling | None, Transformed] | None:
        """Return pooling and first convolution, where this is a second one of far smaller windows than the image."""
        first, pool = self.inner, None
        if isinstance(first, Transformed) and isinstance(first.map, Pooling) and first.gain is None:
            pool, first = (first.map, first.inner) if first.added is None else (None, first)
        if not isinstance(self.map, Convolution) or not isinstance(first, Transformed):
            return None
        if not isinstance(first.map, Convolution) or not isinstance(first.inner, Diagonal):
            return None
        return (pool, first) if is_worthwhile(self.map, pool, first.map) else None

    def _diagonal_by_windows(self, pool: Pooling | None, first: Transformed) -> Tensor:
        assert isinstance(self.map, Convolution)
        assert isinstance(first.map, Convolution)
        assert isinstance(first.inner, Diagonal)
        pixels = first.inner.variance
        gain = pixels.new_ones(first.size) if first.gain is None else first.gain
        variance = variance_by_windows(self.map, pool, gain, first.map, pixels)
        if first.added is None:
            return variance
        own = first.added if pool is None else pool.apply_squared(first.added)
        return variance + self.map.apply_squared(own)

    @cached_property
    def _bare_matrix(self) -> Tensor:
        factors = factors_of(self.inner)
        if factors is None:
            return self.map.apply(self.map.apply(self.inner.to_dense()).mT)
        matrix = self.map.apply(self.map.to_dense() * factors.diagonal[..., None, :])
        if factors.columns is None:
            return matrix
        columns = self.map.apply(factors.columns)
        left = columns if factors.weights is None else columns * factors.weights[..., None]
        return matrix + left.mT @ columns

    @override
    def _derived(self, gain: Tensor | None, added: Tensor | None) -> Transformed:
        return Transformed(self.map, self.inner, gain, added)

    @override
    def _pull_back(self, weight: Tensor) -> Tensor:
        return self.map.transpose(weight if self.gain is None else weight * self.gain[..., None, :])


def transform(covariance: Covariance, map: LinearMap) -> Covariance:
    """Return ``W C Wᵀ`` for a linear map W, unevaluated; diagonal where it stays so."""
    if isinstance(covariance, Joint):
        return covariance.through(map)
    if map.disjoint and isinstance(covariance, Diagonal):
        return Diagonal(map.apply_squared(covariance.variance))
    return Transformed(map, covariance)


def factors_of(covariance: Covariance) -> Factors | None:
    """Return a covariance as a diagonal plus fewer columns than it has rows, None if it is not of that structure."""
    if isinstance(covariance, Diagonal):
        return Factors(covariance.variance)
    if isinstance(covariance, LowRank) and covariance.core is None:
        return Factors(covariance.remainder, covariance.factor.mT)
    if not isinstance(covariance, Transformed) or "_dense" in covariance.__dict__:
        return None
    inner = factors_of(covariance.inner)
    if inner is None:
        return None
    map, gain, added = covariance.map, covariance.gain, covariance.added
    if map.disjoint:
        diagonal = map.apply_squared(inner.diagonal)
        columns = None if inner.columns is None else map.apply(inner.columns)
        weights = inner.weights
        if gain is not None:
            diagonal = diagonal * gain**2
    elif inner.columns is None and map.columns < map.rows:
        # Unit vectors through the map: the columns, one after the other in memory.
        unit = torch.eye(map.columns, dtype=inner.diagonal.dtype, device=inner.diagonal.device)
        diagonal, columns, weights = unit.new_zeros(map.rows), map.apply(unit), inner.diagonal
    else:
        return None
    if gain is not None and columns is not None:
        columns = columns * gain[..., None, :]
    return Factors(diagonal if added is None else diagonal + added, columns, weights)
