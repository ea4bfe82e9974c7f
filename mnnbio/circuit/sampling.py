"""Vectorised draws of connections: millions of pairs a second, a few tens of megabytes of working memory."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import sparse

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Pairs = tuple[Int32, Int32]

_CELLS = 4_000_000  # numbers that are worked on at a time


def distinct_in_rows(n_rows: int, count: int, n: int, rng: np.random.Generator) -> Int32:
    """Draw `count` distinct numbers below `n` for every row, each set of them equally likely.

    Repeated numbers are drawn again until all are distinct: a row then holds the first `count` distinct values of a
    sequence of independent draws, and by symmetry those are any set with equal probability.

    Returns
    -------
    ndarray of int32, shape (n_rows, count)
        Each row in increasing order.
    """
    drawn = np.empty((n_rows, count), np.int32)
    if 2 * count > n:  # leave out instead: redrawing would take long
        rows = max(1, _CELLS // max(n, 1))
        for start in range(0, n_rows, rows):
            part = drawn[start : start + rows]
            kept = np.ones((len(part), n), bool)
            left_out = distinct_in_rows(len(part), n - count, n, rng)
            kept[np.arange(len(part))[:, None], left_out] = False
            part[:] = np.nonzero(kept)[1].reshape(part.shape)
        return drawn
    rows = max(1, _CELLS // max(count, 1))
    for start in range(0, n_rows, rows):
        part = drawn[start : start + rows]
        part[:] = rng.integers(0, n, part.shape, dtype=np.int32)
        _make_distinct(part, n, rng)
    return drawn


def _make_distinct(rows: npt.NDArray[np.integer], n: int, rng: np.random.Generator) -> None:
    """Sort the rows and replace repeated numbers, in place."""
    rows.sort(axis=1)
    open_, place = rows, np.arange(len(rows))
    while True:
        repeated = open_[:, 1:] == open_[:, :-1]
        unfinished = repeated.any(axis=1)
        if not unfinished.any():
            return
        open_, repeated, place = open_[unfinished], repeated[unfinished], place[unfinished]
        open_[:, 1:][repeated] = rng.integers(0, n, int(repeated.sum()), dtype=rows.dtype)
        open_.sort(axis=1)
        rows[place] = open_


def any_in_rows(n_rows: int, count: int, n: int, rng: np.random.Generator) -> Int32:
    """Draw `count` numbers below `n` for every row, with replacement; each row in increasing order."""
    drawn = np.empty((n_rows, count), np.int32)
    rows = max(1, _CELLS // max(count, 1))
    for start in range(0, n_rows, rows):
        part = drawn[start : start + rows]
        part[:] = rng.integers(0, n, part.shape, dtype=np.int32)
        part.sort(axis=1)
    return drawn


def each_with_probability(cells: int, p: float, rng: np.random.Generator) -> Int64:
    """Choose each of the numbers 0 … cells-1 with probability `p`, in increasing order.

    The gaps between chosen numbers are geometric, so the cost goes with how many are chosen.
    """
    if p == 0 or cells == 0:
        return np.empty(0, np.int64)
    if p == 1:
        return np.arange(cells)
    found, last = [np.empty(0, np.int64)], -1
    while last < cells - 1:
        expected = (cells - 1 - last) * p
        number = min(int(expected + 4 * np.sqrt(expected)) + 4, _CELLS)
        gaps = np.floor(rng.standard_exponential(number) * (-1 / np.log1p(-p)))
        places = last + np.cumsum(np.minimum(gaps, cells).astype(np.int64) + 1)
        last = int(places[-1])
        found.append(places[: np.searchsorted(places, cells)])
    return np.concatenate(found)


def some_cells(cells: int, count: int, rng: np.random.Generator, *, repeated: bool) -> Int64:
    """Draw `count` of the numbers 0 … cells-1, with replacement if `repeated`, in increasing order."""
    if repeated:
        return np.sort(rng.integers(0, cells, count))
    if 2 * count > cells:
        kept = np.ones(cells, bool)
        kept[some_cells(cells, cells - count, rng, repeated=False)] = False
        return np.flatnonzero(kept)
    drawn = rng.integers(0, cells, (1, count))
    _make_distinct(drawn, cells, rng)
    return drawn[0]


def pairs_of_rows(partners: Int32, *, skip_self: bool) -> Pairs:
    """Return (row, partner) for every entry; with `skip_self`, partners are counted without the row's own number."""
    n_rows, count = partners.shape
    rows = np.repeat(np.arange(n_rows, dtype=np.int32), count)
    flat = partners.reshape(-1)
    return rows, flat + (flat >= rows) if skip_self else flat


def pairs_of_cells(cells: Int64, n_columns: int, *, skip_self: bool) -> Pairs:
    """Return (row, column) of cells numbered row by row; with `skip_self`, columns leave out the row's own number."""
    quotients = cells // max(n_columns, 1)
    columns = (cells - quotients * n_columns).astype(np.int32)
    rows = quotients.astype(np.int32)
    return rows, columns + (columns >= rows) if skip_self else columns


def turned(rows: Int32, columns: Int32, n_rows: int, n_columns: int) -> Pairs:
    """Return (column, row) of pairs sorted by row, sorted by column and then by row."""
    ends = np.cumsum(np.bincount(rows, minlength=n_rows))
    starts = np.concatenate([[0], ends]).astype(np.int32 if len(rows) < 2**31 else np.int64)
    pairs = sparse.csr_array((np.ones(len(rows), np.int8), columns, starts), shape=(n_rows, n_columns)).tocsc()
    return np.repeat(np.arange(n_columns, dtype=np.int32), np.diff(pairs.indptr)), pairs.indices.astype(np.int32)
