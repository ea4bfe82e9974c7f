"""Tables from files, CSV or NPZ, as learning tasks."""

from __future__ import annotations

import difflib
import warnings
from os import PathLike
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.model_selection import train_test_split

from mnnbio.training.data import Kind, Task
from mnnbio.training.table_files import TableWarning, has_decimal_comma, is_number, read_columns

# A column of text with more values than this is taken for an identifier, not a category.
MAX_CATEGORIES = 50
# Names of columns in a message.
MOST_SHOWN = 12
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
    one 0/1 feature per value. Fields may be separated by commas, semicolons or tabs; with semicolons and tabs, numbers
    may have decimal commas. Spaces around names, labels and values do not count. "NA", "None" and the like are missing
    values in a column of numbers, and values like others in a column of text. In an NPZ file, `target` names an array
    (n,) or (n, 1), and every other array is a feature (n,) or several (n, k).

    Parameters
    ----------
    path : path
        A ``.csv``, ``.tsv`` or ``.npz`` file. NPZ files are read without unpickling.
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
        If the file cannot be read as a table, rows differ in their number of fields, two columns have one name, a
        column is missing, a value is missing or infinite, a column is neither of numbers nor of text, or the target
        does not suit the kind.

    Warns
    -----
    TableWarning
        If the row numbers that ``DataFrame.to_csv`` writes are left out, or two labels differ in their capitals only.
    """
    path = Path(path)
    if kind not in (None, "classification", "regression"):
        raise ValueError(f"Invalid value {kind!r} for `kind`. Must be one of ['classification', 'regression']")
    if isinstance(test_fraction, bool) or not isinstance(test_fraction, float | int) or not 0 < test_fraction < 1:
        raise ValueError(f"`test_fraction` must be in (0, 1), got {test_fraction!r}")
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise ValueError(f"`seed` must be a whole number from 0 to 2³² − 1, got {seed!r}")
    if not isinstance(target, str):
        raise TypeError(f"`target` must be the name of a column, got {target!r}")
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    target = target.strip()
    table = read_columns(path, target)
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


def _nearest(name: str, names: list[str]) -> str:
    """Return a hint at the columns there are."""
    close = difflib.get_close_matches(name, names, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; its columns are {_listed(names)}"


def _listed(names: list[str]) -> str:
    shown = [str(name) for name in names[:MOST_SHOWN]]
    return f"{shown}" if len(names) <= MOST_SHOWN else f"{shown[:-1]}".removesuffix("]") + f", …] ({len(names)} in all)"


def _target(
    column: pd.Series, kind: Kind | None, path: Path
) -> tuple[npt.NDArray[np.int64] | npt.NDArray[np.float64], tuple[str, ...]]:
    """Return class indices and names, or values and no names."""
    where = f"target {column.name!r} of {path}"
    if (missing := _missing(column)).any():
        raise ValueError(f"the {where} is missing in row {_row(missing)}; drop or fill such rows")
    numeric = _is_numeric(column)
    if kind is None:
        whole = numeric and bool((column % 1 == 0).all()) and column.nunique() <= MAX_INFERRED_CLASSES
        kind = "classification" if whole or not numeric else "regression"
    if kind == "regression":
        if not numeric:
            bad = next((value for value in column if not is_number(str(value))), column.iloc[0])
            raise ValueError(f"the {where} must be numbers for a regression, got {bad!r}")
        values = column.to_numpy(dtype=np.float64)
        if not np.isfinite(values).all():
            raise ValueError(f"the {where} must be finite, got an infinite value in row {_row(~np.isfinite(values))}")
        return values, ()
    classes, indices = np.unique(column.to_numpy(), return_inverse=True)
    if len(classes) < 2:
        raise ValueError(f"the {where} must have at least two classes, got only {classes[0]!r}")
    names = tuple(str(name) for name in classes.tolist())
    counts = np.bincount(indices)
    if counts.min() < 2:
        raise ValueError(
            f"every class of the {where} must have at least two rows, to train and to test, got one of "
            f"{names[int(counts.argmin())]!r}; add rows, or join or drop the class"
        )
    first: dict[str, str] = {}
    for name in names:
        if (other := first.setdefault(name.casefold(), name)) != name:
            warnings.warn(
                f"the {where} has the labels {other!r} and {name!r}, which differ in capitals only: two classes",
                TableWarning,
                stacklevel=3,
            )
    return indices.astype(np.int64), names


def _features(table: pd.DataFrame, path: Path) -> tuple[npt.NDArray[np.float64], tuple[str, ...]]:
    """Return the features as numbers, columns of text one-hot, and their names."""
    columns: list[npt.NDArray[np.float64]] = []
    names: list[str] = []
    for name, column in table.items():
        if (missing := _missing(column)).any():
            raise ValueError(
                f"{path} has a missing value in row {_row(missing)}, column {name!r}; drop or fill such rows"
            )
        if _is_numeric(column):
            values = column.to_numpy(dtype=np.float64)
            if not np.isfinite(values).all():
                raise ValueError(f"{path} has an infinite value in row {_row(~np.isfinite(values))}, column {name!r}")
            columns.append(values)
            names.append(str(name))
            continue
        _require_text(column, path)
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


def _require_text(column: pd.Series, path: Path) -> None:
    """Raise a `ValueError` if the values of a column of text are numbers for the most part."""
    values = [str(value) for value in column]
    commas = [k for k, value in enumerate(values) if has_decimal_comma(value)]
    if commas and 2 * len(commas) >= len(values):
        raise ValueError(
            f"column {column.name!r} of {path} has numbers with commas, got {values[commas[0]]!r} in row "
            f"{commas[0] + 1}; write them with points and without separators of thousands"
        )
    others = [k for k, value in enumerate(values) if not is_number(value)]
    if others and 2 * len(others) <= len(values):
        raise ValueError(
            f"column {column.name!r} of {path} has numbers, and {values[others[0]]!r} in row {others[0] + 1}; "
            "replace it, or drop such rows"
        )


def _missing(column: pd.Series) -> npt.NDArray[np.bool_]:
    """Return where a value is missing: NaN among numbers, nothing among text."""
    missing = column.isna().to_numpy()
    return missing if pd.api.types.is_numeric_dtype(column) else missing | (column == "").to_numpy(dtype=bool)


def _is_numeric(column: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)


def _row(mask: npt.NDArray[np.bool_]) -> int:
    """Return the number of the first marked row, counting data rows from 1."""
    return int(np.argmax(mask)) + 1
