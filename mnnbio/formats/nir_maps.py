"""Linear layers of NIR as sparse matrices: convolution, pooling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import sparse

Array = npt.NDArray[np.float64]


class LinearMap(NamedTuple):
    """A matrix, an offset of every output, and the shape of the outputs; arrays are flattened row by row."""

    matrix: sparse.csr_array
    offset: Array
    shape: tuple[int, ...]


def dense_map(weight: Array, bias: Array | None) -> LinearMap:
    """Return a fully connected layer; weights are (output, input)."""
    matrix = sparse.csr_array(np.asarray(weight, dtype=np.float64))
    offset = np.zeros(matrix.shape[0]) if bias is None else np.asarray(bias, dtype=np.float64).ravel()
    return LinearMap(matrix, offset, (matrix.shape[0],))


def convolution(
    weight: Array,
    bias: Array | None,
    shape: Sequence[int],
    *,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
) -> LinearMap:
    """Return a two-dimensional convolution (cross-correlation, as frameworks have it) of an input of a shape.

    Parameters
    ----------
    weight : ndarray, shape (out, in/groups, rows, columns)
    bias : ndarray, shape (out,), optional
    shape : (in, height, width)
    stride, dilation : int or pair of int
    padding : int, pair of int, "same" or "valid"
    groups : int

    Raises
    ------
    ValueError
        If the input has another number of channels, or is smaller than the kernel.
    """
    weight = np.asarray(weight, dtype=np.float64)
    channels, height, width = (int(size) for size in shape)
    n_out, per_group, rows, columns = weight.shape
    if channels != per_group * groups:
        raise ValueError(f"the convolution takes {per_group * groups} channels, its input has {channels}")
    step, spread = _pair(stride), _pair(dilation)
    if isinstance(padding, str):
        total = [spread[k] * (size - 1) if padding == "same" else 0 for k, size in enumerate((rows, columns))]
        before = (total[0] // 2, total[1] // 2)
        after = (total[0] - before[0], total[1] - before[1])
    else:
        before = after = _pair(padding)
    sizes = [
        (size + before[k] + after[k] - spread[k] * (kernel - 1) - 1) // step[k] + 1
        for k, (size, kernel) in enumerate(((height, rows), (width, columns)))
    ]
    if min(sizes) < 1:
        raise ValueError(f"the kernel of {rows} × {columns} does not fit into an input of {height} × {width}")
    out, inner, row, column = np.meshgrid(*map(np.arange, weight.shape), indexing="ij")
    entries: list[npt.NDArray[Any]] = []
    source = out // (n_out // groups) * per_group + inner
    for i in range(sizes[0]):
        for j in range(sizes[1]):
            y = i * step[0] - before[0] + row * spread[0]
            x = j * step[1] - before[1] + column * spread[1]
            inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
            target = (out * sizes[0] + i) * sizes[1] + j
            place = (source * height + y) * width + x
            entries.append(np.stack([target[inside], place[inside], weight[inside]]))
    together = np.concatenate(entries, axis=1)
    full = (n_out * sizes[0] * sizes[1], channels * height * width)
    pairs = (together[0].astype(np.int64), together[1].astype(np.int64))
    matrix = sparse.csr_array(sparse.coo_array((together[2], pairs), shape=full))
    offset = np.zeros(n_out) if bias is None else np.broadcast_to(np.asarray(bias, dtype=np.float64), n_out)
    return LinearMap(matrix, np.repeat(offset, sizes[0] * sizes[1]), (n_out, *sizes))


def pooling(shape: Sequence[int], kernel: Any, stride: Any, padding: Any, *, mean: bool) -> LinearMap:
    """Return sum or average pooling of an input of shape (channel, height, width); padding counts in averages."""
    channels = int(shape[0])
    size = _pair(kernel)
    weight = np.full((channels, 1, *size), 1.0 / (size[0] * size[1]) if mean else 1.0)
    return convolution(weight, None, shape, stride=stride, padding=padding, dilation=1, groups=channels)


def _pair(value: Any) -> tuple[int, int]:
    both = np.broadcast_to(np.asarray(value).ravel() if np.ndim(value) else np.asarray(value), 2)
    return int(both[0]), int(both[1])
