"""Learning tasks: what a data set is here, and the built-in ones."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from typing import Literal

import numpy as np
import numpy.typing as npt
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from mnnbio.training.idx import read_mnist

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
