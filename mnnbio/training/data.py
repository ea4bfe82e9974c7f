"""Learning tasks: data sets, the built-in ones, and IDX files, the format of MNIST."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

Kind = Literal["classification", "regression"]
TASKS = ("digits", "mnist")


@dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """Features and targets, split into training and test data.

    Attributes
    ----------
    name : str
    kind : {"classification", "regression"}
    x_train, x_test : ndarray of float64 (MNIST: float32), shape (n, features)
    y_train, y_test : ndarray, shape (n,)
        Indices into `class_names` (int64) for a classification, float64 values for a regression.
    feature_names : tuple of str
    class_names : tuple of str
        Empty for a regression.
    image_shape : tuple of int or None
        Rows and columns, if the features are the pixels of an image.
    """

    name: str
    kind: Kind
    x_train: npt.NDArray[np.floating]
    y_train: npt.NDArray[np.int64] | npt.NDArray[np.float64]
    x_test: npt.NDArray[np.floating]
    y_test: npt.NDArray[np.int64] | npt.NDArray[np.float64]
    feature_names: tuple[str, ...]
    class_names: tuple[str, ...]
    image_shape: tuple[int, int] | None = None


def load_task(name: str, data_dir: str | PathLike[str] | None = None) -> Task:
    """Load a built-in task, pixels scaled to [0, 1].

    Parameters
    ----------
    name : {"digits", "mnist"}
        "digits" are the 1,797 images of 8×8 pixels that scikit-learn brings along; a fixed stratified quarter of
        them is the test set. "mnist" are 60,000 and 10,000 images of 28×28 pixels, read from `data_dir`.
    data_dir : path, optional
        Folder with the four IDX files of MNIST, gzipped or not.

    Returns
    -------
    Task

    Raises
    ------
    ValueError
        If the name is unknown, a folder is missing from the call, or a file is damaged.
    FileNotFoundError
        If a file is missing.
    """
    if name == "digits":
        return _digits()
    if name == "mnist":
        if data_dir is None:
            raise ValueError("the task 'mnist' needs `data_dir`, a folder with the four IDX files of MNIST")
        return _mnist(data_dir)
    raise ValueError(f"Invalid task {name!r}. Must be one of {list(TASKS)}; tables are read by `load_table`")


def _digits() -> Task:
    pixels, labels = load_digits(return_X_y=True)
    x_train, x_test, y_train, y_test = train_test_split(
        pixels / 16.0, labels.astype(np.int64), test_size=450, stratify=labels, random_state=0
    )
    return _images("digits", x_train, y_train, x_test, y_test, (8, 8))


def _mnist(data_dir: str | PathLike[str]) -> Task:
    (train_images, train_labels), (test_images, test_labels) = read_mnist(data_dir)
    return _images(
        "mnist",
        train_images.reshape(len(train_images), -1) / np.float32(255),
        train_labels.astype(np.int64),
        test_images.reshape(len(test_images), -1) / np.float32(255),
        test_labels.astype(np.int64),
        (28, 28),
    )


def _images(
    name: str,
    x_train: npt.NDArray[np.floating],
    y_train: npt.NDArray[np.int64],
    x_test: npt.NDArray[np.floating],
    y_test: npt.NDArray[np.int64],
    shape: tuple[int, int],
) -> Task:
    rows, columns = shape
    return Task(
        name=name,
        kind="classification",
        x_train=x_train,
        y_train=y_train,
        x_test=x_test,
        y_test=y_test,
        feature_names=tuple(f"pixel_{row}_{column}" for row in range(rows) for column in range(columns)),
        class_names=tuple(str(digit) for digit in range(10)),
        image_shape=shape,
    )


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
