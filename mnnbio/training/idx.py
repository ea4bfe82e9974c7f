"""IDX files, the format of MNIST: a magic number, the sizes, then the values."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

_TYPES: dict[int, np.dtype[Any]] = {
    0x08: np.dtype(">u1"),
    0x09: np.dtype(">i1"),
    0x0B: np.dtype(">i2"),
    0x0C: np.dtype(">i4"),
    0x0D: np.dtype(">f4"),
    0x0E: np.dtype(">f8"),
}

ImagesAndLabels = tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]


def read_idx(path: str | PathLike[str]) -> npt.NDArray[Any]:
    """Read an IDX file, gzipped or not (told by its content, not its name).

    Parameters
    ----------
    path : path

    Returns
    -------
    ndarray
        Of the sizes and type the file declares, in native byte order.

    Raises
    ------
    ValueError
        If the file is not IDX, is damaged, or is shorter or longer than it declares.

    References
    ----------
    Y. LeCun, C. Cortes, C. J. C. Burges, The MNIST database, "File formats": two zero bytes, the type code, the
    number of dimensions, the dimensions as big-endian 32-bit integers, the values.
    """
    content = Path(path).read_bytes()
    if content[:2] == b"\x1f\x8b":
        try:
            content = gzip.decompress(content)
        except (EOFError, OSError, zlib.error) as error:
            raise ValueError(f"{path} is a damaged gzip file ({error}); fetch it again") from error
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in _TYPES or content[3] == 0:
        found = f"0x{content[:4].hex()}" if content else "an empty file"
        raise ValueError(f"{path} is not an IDX file: expected a magic number 0x0000TTDD of a known type, got {found}")
    dtype, ndim = _TYPES[content[2]], content[3]
    header = 4 + 4 * ndim
    if len(content) < header:
        raise ValueError(f"{path} is truncated: its header has {header} bytes, the file {len(content)}")
    shape = struct.unpack(f">{ndim}I", content[4:header])
    expected = header + dtype.itemsize * math.prod(shape)
    if len(content) != expected:
        state = "truncated" if len(content) < expected else "too long"
        raise ValueError(f"{path} is {state}: {shape} values need {expected} bytes, the file has {len(content)}")
    return np.frombuffer(content, dtype, offset=header).reshape(shape).astype(dtype.newbyteorder("="))


def read_mnist(data_dir: str | PathLike[str]) -> tuple[ImagesAndLabels, ImagesAndLabels]:
    """Read the four files of MNIST, or of any data set in its form, such as Fashion-MNIST.

    Parameters
    ----------
    data_dir : path
        Folder with ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte``, ``t10k-images-idx3-ubyte`` and
        ``t10k-labels-idx1-ubyte``, each with or without ``.gz``.

    Returns
    -------
    train, test : tuple of ndarray
        Images, uint8 (n, 28, 28), and labels, uint8 (n,) from 0 to 9.

    Raises
    ------
    FileNotFoundError
        If the folder or a file is missing.
    ValueError
        If a file is damaged, or has another shape or other labels.
    """
    folder = Path(data_dir)
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}; `data_dir` must be the folder with the IDX files of MNIST")
    return _read_part(folder, "train"), _read_part(folder, "t10k")


def _read_part(folder: Path, prefix: str) -> ImagesAndLabels:
    images_path = _find(folder, f"{prefix}-images-idx3-ubyte")
    labels_path = _find(folder, f"{prefix}-labels-idx1-ubyte")
    images, labels = read_idx(images_path), read_idx(labels_path)
    if images.dtype != np.uint8 or images.shape[1:] != (28, 28) or not len(images):
        raise ValueError(f"{images_path} must hold uint8 images (n, 28, 28), got {images.dtype} {images.shape}")
    if labels.dtype != np.uint8 or labels.shape != (len(images),):
        raise ValueError(
            f"{labels_path} must hold one uint8 label per image ({len(images)}), got {labels.dtype} {labels.shape}"
        )
    if labels.max() > 9:
        raise ValueError(f"{labels_path} must hold labels from 0 to 9, got {labels.max()}")
    return images, labels


def _find(folder: Path, name: str) -> Path:
    """Return the file of that name in the folder, gzipped or not."""
    for candidate in (folder / name, folder / f"{name}.gz"):
        if candidate.is_file():
            return candidate
    raise FileNotFoundError(f"neither {name} nor {name}.gz is in {folder}")
