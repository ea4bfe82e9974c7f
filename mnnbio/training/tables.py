"""Tables from files, CSV or NPZ, as learning tasks."""

from __future__ import annotations

import difflib
import zipfile
from os import PathLike
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.model_selection import train_test_split

from mnnbio.training.data import Kind, Task

# A column of text with more values than this is taken for an identifier, not a category.
MAX_CATEGORIES = 50
# Whole numbers with at most this many values are taken for classes when `kind` is not given.
MAX_INFERRED_CLASSES = 20


def load_table(
    path: str | PathLike[str],
    target: str,
    kind: Kind | None = None,
    test_fraction: float = 0.25,
    seed: int = 0,
) -> Task:
    """Read a table and split it into training and test data.

    In a CSV file with a header, every column but `target` is a feature; columns of text (or of true and false) become
    one 0/1 feature per value. In an NPZ file, `target` names a one-dimensional array, and every other array is a
    feature (n,) or several (n, k).

    Parameters
    ----------
    path : path
        A ``.csv`` or ``.npz`` file. NPZ files are read without unpickling.
    target : str
        Name of the column to predict.
    kind : {"classification", "regression"}, optional
        By default a classification if the target is text, true and false, or whole numbers of at most
        20 different values.
    test_fraction : float
        Share of the rows kept for testing, in (0, 1); classes keep their proportions.
    seed : int
        Of the split.

    Returns
    -------
    Task

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file cannot be read as a table, a column is missing, a value is missing or infinite, or the target
        does not suit the kind.
    """
    path = Path(path)
    if kind not in (None, "classification", "regression"):
        raise ValueError(f"Invalid value {kind!r} for `kind`. Must be one of ['classification', 'regression']")
    if not 0 < test_fraction < 1:
        raise ValueError(f"`test_fraction` must be in (0, 1), got {test_fraction}")
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    table = _read(path)
    if target not in table.columns:
        raise ValueError(f"{path} has no column {target!r}{_nearest(target, list(table.columns))}")
    if not len(table):
        raise ValueError(f"{path} has no rows")
    if table.shape[1] < 2:
        raise ValueError(f"{path} has no column besides the target {target!r}")
    y, class_names = _target(table.pop(target), kind, path)
    x, feature_names = _features(table, path)
    try:
        x_train, x_test, y_train, y_test = train_test_split(
            x, y, test_size=test_fraction, random_state=seed, stratify=y if class_names else None
        )
    except ValueError as error:
        raise ValueError(f"{path} is too small to be split into training and test data: {error}") from error
    return Task(
        name=path.stem,
        kind="classification" if class_names else "regression",
        x_train=x_train,
        y_train=y_train,
        x_test=x_test,
        y_test=y_test,
        feature_names=feature_names,
        class_names=class_names,
    )


def _read(path: Path) -> pd.DataFrame:
    suffix = path.suffix.lower()
    if suffix == ".csv":
        try:
            return pd.read_csv(path, skipinitialspace=True)
        except ValueError as error:  # what pandas' parser and the decoder raise
            raise ValueError(f"{path} cannot be read as CSV: {error}") from error
    if suffix == ".npz":
        try:
            with np.load(path, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
        except (zipfile.BadZipFile, OSError, EOFError, ValueError) as error:
            raise ValueError(f"{path} cannot be read as NPZ: {error}") from error
        return _from_arrays(arrays, path)
    raise ValueError(f"a table must be a .csv or .npz file, got {path}")


def _from_arrays(arrays: dict[str, npt.NDArray[np.generic]], path: Path) -> pd.DataFrame:
    """Return the arrays side by side; an array (n, k) becomes the columns name_0 … name_{k−1}."""
    columns: dict[str, npt.NDArray[np.generic]] = {}
    rows = {len(array) for array in arrays.values() if array.ndim in (1, 2)}
    for name, array in arrays.items():
        if array.ndim not in (1, 2) or len(rows) != 1:
            shapes = {key: value.shape for key, value in arrays.items()}
            raise ValueError(f"the arrays in {path} must be (n,) or (n, k) with one n, got {shapes}")
        if array.ndim == 1:
            columns[name] = array
        else:
            columns.update({f"{name}_{k}": array[:, k] for k in range(array.shape[1])})
    return pd.DataFrame(columns)


def _nearest(name: str, names: list[str]) -> str:
    """Return a hint at the columns there are."""
    close = difflib.get_close_matches(name, names, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; its columns are {names}"


def _target(
    column: pd.Series, kind: Kind | None, path: Path
) -> tuple[npt.NDArray[np.int64] | npt.NDArray[np.float64], tuple[str, ...]]:
    """Return class indices and names, or values and no names."""
    where = f"target {column.name!r} of {path}"
    if column.isna().any():
        raise ValueError(f"the {where} is missing in row {_row(column.isna().to_numpy())}; drop or fill such rows")
    numeric = _is_numeric(column)
    if kind is None:
        whole = numeric and bool((column % 1 == 0).all()) and column.nunique() <= MAX_INFERRED_CLASSES
        kind = "classification" if whole or not numeric else "regression"
    if kind == "regression":
        if not numeric:
            raise ValueError(f"the {where} must be numbers for a regression, got {column.iloc[0]!r}")
        values = column.to_numpy(dtype=np.float64)
        if not np.isfinite(values).all():
            raise ValueError(f"the {where} must be finite, got an infinite value in row {_row(~np.isfinite(values))}")
        return values, ()
    classes, indices = np.unique(column.to_numpy(), return_inverse=True)
    if len(classes) < 2:
        raise ValueError(f"the {where} must have at least two classes, got only {classes[0]!r}")
    return indices.astype(np.int64), tuple(str(name) for name in classes.tolist())


def _features(table: pd.DataFrame, path: Path) -> tuple[npt.NDArray[np.float64], tuple[str, ...]]:
    """Return the features as numbers, columns of text one-hot, and their names."""
    columns: list[npt.NDArray[np.float64]] = []
    names: list[str] = []
    for name, column in table.items():
        if column.isna().any():
            raise ValueError(
                f"{path} has a missing value in row {_row(column.isna().to_numpy())}, column {name!r}; "
                "drop or fill such rows"
            )
        if _is_numeric(column):
            values = column.to_numpy(dtype=np.float64)
            if not np.isfinite(values).all():
                raise ValueError(f"{path} has an infinite value in row {_row(~np.isfinite(values))}, column {name!r}")
            columns.append(values)
            names.append(str(name))
            continue
        categories = np.unique(column.to_numpy().astype(str))
        if len(categories) > MAX_CATEGORIES:
            raise ValueError(
                f"column {name!r} of {path} is text with {len(categories)} different values (at most "
                f"{MAX_CATEGORIES} become features); drop it, or turn it into numbers"
            )
        text = column.to_numpy().astype(str)
        columns.extend((text == category).astype(np.float64) for category in categories)
        names.extend(f"{name}={category}" for category in categories)
    return np.column_stack(columns), tuple(names)


def _is_numeric(column: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)


def _row(mask: npt.NDArray[np.bool_]) -> int:
    """Return the number of the first marked row, counting data rows from 1."""
    return int(np.argmax(mask)) + 1
