"""Tables in files, as columns of numbers, of true and false, or of text.

CSV files are read twice: once as rows of fields, which must all be as many as the header has, and once by pandas.
"""

from __future__ import annotations

import csv
import io
import re
import unicodedata
import warnings
import zipfile
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

TEXT_SUFFIXES = (".csv", ".tsv")
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")
# What pandas calls a column without a name, in files that were written from such a table too.
_UNNAMED = re.compile(r"Unnamed: \d+(\.\d+)?|level_\d+")
_INVISIBLE = "\u200b\u2060\ufeff"  # spaces of no width, which `str.strip` leaves


class TableWarning(UserWarning):
    """Something in a table was left out, or looks like a mistake."""


class _Text(NamedTuple):
    """Text of a CSV file, its separator and the names of its columns."""

    content: str
    separator: str
    names: list[str]


def read_columns(path: Path, target: str) -> pd.DataFrame:
    """Return the columns of a table, by name.

    Parameters
    ----------
    path : Path
        A CSV file (fields separated by commas, semicolons or tabs), or an NPZ file of arrays.
    target : str
        A column that must be there, by which the separator is told.

    Returns
    -------
    DataFrame
        Columns of numbers (missing ones NaN), of booleans, or of text without spaces around it (missing ones empty).

    Raises
    ------
    ValueError
        If the file cannot be read, rows differ in their number of fields, or columns share a name or have none.

    Warns
    -----
    TableWarning
        If row numbers that came with the table are left out.
    """
    suffix = path.suffix.lower()
    if suffix in TEXT_SUFFIXES:
        return _from_text(_checked_text(path, target), path)
    if suffix == ".npz":
        try:
            with np.load(path, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
        except (zipfile.BadZipFile, OSError, EOFError, ValueError) as error:
            raise ValueError(f"{path} cannot be read as NPZ: {error}") from error
        return _from_arrays(arrays, target, path)
    raise ValueError(f"a table must be a .csv or .npz file, got {path}")


def stripped(text: str) -> str:
    """Return text without spaces around it, of any width, and with composed accents."""
    return unicodedata.normalize("NFC", text.strip().strip(_INVISIBLE).strip())


def is_number(text: str) -> bool:
    """Return whether text is a finite decimal number."""
    return _NUMBER.fullmatch(text) is not None


def has_decimal_comma(text: str) -> bool:
    """Return whether text is a number with a decimal comma (or one that separates thousands)."""
    return _DECIMAL_COMMA.fullmatch(text) is not None


def _checked_text(path: Path, target: str) -> _Text:
    """Return the text of a file whose rows all have the fields that its header names."""
    content = _decoded(path)
    try:
        separator, names = _header(content, target)
        # Line breaks of every kind end a row, as for pandas.
        rows = csv.reader(io.StringIO(content, newline=None), delimiter=separator, skipinitialspace=True, strict=True)
        first = next((row for row in rows if row), None)
        if first is None:
            raise ValueError(f"{path} cannot be read as CSV: it is empty")
        for row in rows:
            if row and len(row) != len(names):
                raise ValueError(_of_another_width(path, rows.line_num, row, names, separator))
    except csv.Error as error:
        raise ValueError(f"{path} cannot be read as CSV: {error}") from error
    if repeated := [name for name, count in Counter(names).items() if name and count > 1]:
        raise ValueError(f"{path} has two columns of the name {repeated[0]!r}; rename one of them")
    if nameless := [k + 1 for k, name in enumerate(names) if not name and k > 0]:
        raise ValueError(
            f"column {nameless[0]} of {path} has no name in the header; name it, or remove the separator before it"
        )
    return _Text(content, separator, names)


def _decoded(path: Path) -> str:
    """Return the text of a file in UTF-8, or in UTF-16 that says so."""
    content = path.read_bytes()
    is_wide = content[:2] in (b"\xff\xfe", b"\xfe\xff")
    encoding, name = ("utf-16", "UTF-16") if is_wide else ("utf-8-sig", "UTF-8")
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{path} cannot be read as CSV: byte 0x{content[error.start]:02x} in line {line} is not {name}; "
            "save it as UTF-8"
        ) from error


def _header(content: str, target: str) -> tuple[str, list[str]]:
    """Return the separator and the names of the columns: those with the target among them, else the most."""
    found = []
    for separator in SEPARATORS:
        rows = csv.reader(io.StringIO(content, newline=None), delimiter=separator, skipinitialspace=True, strict=True)
        try:
            names = [stripped(name) for name in next((row for row in rows if row), [])]
        except csv.Error:  # quotes that make sense with another separator only
            if separator == ",":
                raise
            continue
        found.append((target in names, len(names), separator, names))
    *_, separator, names = max(found, key=lambda one: one[:2])
    return separator, names


def _of_another_width(path: Path, line: int, row: list[str], names: list[str], separator: str) -> str:
    """Return what is wrong with a row of more or fewer fields than the header."""
    text = f"line {line} of {path} has {len(row)} fields, the header {len(names)}: "
    if len(names) == 1:
        return text + "the first line must name the columns; remove lines of comments before it"
    if len(row) < len(names):
        return text + "fields are missing"
    if not any(field.strip() for field in row[len(names) :]):
        return text + f"remove the {SEPARATORS[separator]} at the ends of the rows"
    if separator == ",":
        return text + "decimal commas need quotes, or semicolons between fields; row names need a name in the header"
    return text + f"fields that contain {SEPARATORS[separator]} need quotes; row names need a name in the header"


def _from_text(text: _Text, path: Path) -> pd.DataFrame:
    """Return the columns as pandas reads them, those of text without what pandas takes for missing."""
    typed = _parsed(text, path)
    dropped = [k for k, name in enumerate(text.names) if (k == 0 and not name) or _UNNAMED.fullmatch(name)]
    for k in dropped:
        name = f"is called {text.names[k]!r}" if text.names[k] else "has no name"
        warnings.warn(
            f"column {k + 1} of {path} is left out: it {name} and holds the row numbers that "
            "`DataFrame.to_csv` writes. Write tables with index=False",
            TableWarning,
            stacklevel=4,
        )
    texts = [k for k in range(len(text.names)) if k not in dropped and not _is_typed(typed[k])]
    if texts and text.separator != ",":
        continental = _parsed(text, path, decimal=",", usecols=texts)
        for k in texts:
            if _is_typed(continental[k]):
                typed[k] = continental[k]
        texts = [k for k in texts if not _is_typed(continental[k])]
    if texts:
        raw = _parsed(text, path, usecols=texts, dtype=str, keep_default_na=False, na_values=[])
        for k in texts:
            typed[k] = np.array([stripped(value) for value in raw[k]], dtype=object)
    typed = typed.drop(columns=dropped)
    return typed.set_axis([text.names[k] for k in typed.columns], axis="columns")


def _parsed(text: _Text, path: Path, **options: object) -> pd.DataFrame:
    """Return the columns that pandas reads, numbered from 0."""
    try:
        return pd.read_csv(
            io.StringIO(text.content),
            sep=text.separator,
            skipinitialspace=True,
            low_memory=False,
            header=0,
            names=range(len(text.names)),
            index_col=False,
            **options,  # type: ignore[call-overload]
        )
    except ValueError as error:  # what pandas' parser raises
        raise ValueError(f"{path} cannot be read as CSV: {error}") from error


def _is_typed(column: pd.Series) -> bool:
    """Return whether a column holds numbers, or true and false."""
    return pd.api.types.is_numeric_dtype(column)


def _from_arrays(arrays: dict[str, npt.NDArray[np.generic]], target: str, path: Path) -> pd.DataFrame:
    """Return the arrays side by side; an array (n, k) becomes the columns name_0 … name_{k−1}."""
    columns: dict[str, npt.NDArray[np.generic]] = {}
    rows = {len(array) for array in arrays.values() if array.ndim in (1, 2)}
    for name, array in arrays.items():
        if array.ndim not in (1, 2) or len(rows) != 1:
            shapes = {key: value.shape for key, value in arrays.items()}
            raise ValueError(f"the arrays in {path} must be (n,) or (n, k) with one n, got {shapes}")
        if array.dtype.kind not in "biufUS":
            raise ValueError(f"the array {name!r} in {path} must hold real numbers or text, got {array.dtype}")
        if array.dtype.kind in "US":
            texts = [stripped(value) for value in array.astype(str).ravel().tolist()]
            array = np.array(texts, dtype=object).reshape(array.shape)
        single = array.ndim == 1 or (name == target and array.shape[1] == 1)
        if single:
            new = {name: array.reshape(len(array))}
        else:
            new = {f"{name}_{k}": array[:, k] for k in range(array.shape[1])}
        if repeated := sorted(set(new) & set(columns)):
            raise ValueError(f"{path} has two columns of the name {repeated[0]!r}; rename one of the arrays")
        columns |= new
    return pd.DataFrame(columns)
