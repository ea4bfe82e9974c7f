"""Spike trains in arrays, tables and CSV files, from and to results."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from mnnbio.formats.packages import package
from mnnbio.formats.recorded_data import Array, Presented, arranged, labelled, recorded_parts, seconds, seconds_of
from mnnbio.machine import written_aside
from mnnbio.units import in_unit, is_quantity, shown

_UNIT, _DURATION, _WARMUP, _STEP = "time_unit", "duration", "warmup", "dt"  # attributes of a table


def from_trains(
    trains: Any,
    *,
    duration: Any,
    unit: str | None = None,
    population: Any = "neurons",
    warmup: Any = 0.0,
    dt: Any = None,
    window: Any = None,
    covariance: bool = True,
) -> xr.DataTree:
    """Return spike trains given as arrays as a result, with rates, variances and their standard errors.

    Parameters
    ----------
    trains : sequence
        Spike times, ascending, from the end of the warm-up on: an array for each neuron; for several trials a list of
        such lists; for several stimuli a list of those. Brian2 quantities carry their unit.
    duration : float or Quantity
        Length of every trial without its warm-up, ms.
    unit : {"s", "ms", "us", "ns"}
        Unit of times that are plain numbers; there is no default.
    population : str or sequence of str
        Name of the population of all neurons, or of each one.
    warmup : float or Quantity
        Time before, ms, whose spikes stand at negative times and are not counted.
    dt : float or Quantity, optional
        Step of the clock by which spikes were recorded, ms: windows are then whole numbers of it.
    window : float or Quantity, optional
        Length of the windows of count variance and covariance, ms; default: the duration.
    covariance : bool
        Whether to estimate the covariance matrices.

    Returns
    -------
    DataTree
        Groups ``simulation`` and ``spikes``, as `simulate` returns them.

    Raises
    ------
    ValueError
        If no unit is given, trials differ in neurons, or a time lies outside the recording.

    Examples
    --------
    >>> recorded = from_trains([[0.1, 0.4], [0.2]], unit="s", duration=500)
    >>> recorded["simulation/rate"].values
    array([4., 2.])
    """
    nested, depth = _nested(trains)
    stimuli = nested if depth == 3 else [nested if depth == 2 else [nested]]
    presented = [
        Presented(k if depth == 3 else None, [_seconds(train, unit) for train in trial])
        for k, trials in enumerate(stimuli)
        for trial in trials
    ]
    number = len(presented[0].trains) if presented else 0
    names = [population] * number if isinstance(population, str) else list(population)
    if len(names) != number:
        raise ValueError(f"`population` must name the population of each of {number} neurons, got {len(names)} names")
    step = None if dt is None else seconds(dt, "dt")
    spikes = arranged(
        presented, names, duration=seconds(duration, "duration"), warmup=seconds(warmup, "warmup"), dt=step
    )
    return labelled(spikes, {}, window=window, covariance=covariance)


def _nested(trains: Any) -> tuple[list[Any], int]:
    """Return trains in lists and how deep these are: 1 neurons, 2 trials, 3 stimuli."""
    if not isinstance(trains, list | tuple):
        raise TypeError(f"`trains` must be a list with the spike times of each neuron, got {shown(trains)}")
    if not trains:
        raise ValueError("`trains` must hold at least one neuron, got none")
    deep, level = 0, trains
    while isinstance(level, list | tuple) and any(isinstance(part, list | tuple | np.ndarray) for part in level):
        deep += 1
        # An empty list is a train without spikes, or stands for one: the first part that holds something decides.
        level = next((part for part in level if len(part)), level[0])
        if isinstance(level, np.ndarray):
            break
    if not 1 <= deep <= 3:
        raise TypeError("`trains` must be a list of arrays, or of lists of them for trials, and again for stimuli")
    return list(trains), deep


def _seconds(train: Any, unit: str | None) -> Array:
    if is_quantity(train):
        return np.atleast_1d(in_unit(train, "ms", "trains")) * 1e-3
    values = np.asarray(train)
    if not values.size:
        return np.zeros(0)
    if values.dtype.kind not in "iuf" or values.ndim != 1:
        raise TypeError(f"`trains` must be arrays of real numbers, one for each neuron, got {shown(train)}")
    return np.asarray(values, dtype=np.float64) * seconds_of(unit, "`trains`")


def to_dataframe(result: Any) -> Any:
    """Return the spikes of a result as a pandas table with a row for every spike.

    Parameters
    ----------
    result : DataTree or Dataset
        A result with spikes, or its group ``spikes``.

    Returns
    -------
    DataFrame
        Columns ``[stimulus,] trial, population, index, time``, times in s from the end of the warm-up. Its ``attrs``
        hold the unit of times, duration and warm-up (s), the sizes of the populations, and the numbers of trials.

    Raises
    ------
    ValueError
        If no spikes are recorded.
    """
    pandas = package("pandas", "`to_dataframe`")
    parts = recorded_parts(result, "to_dataframe")
    if parts.spikes is None:
        raise ValueError(
            "`to_dataframe` needs spikes: the result has none. `.to_dataframe()` of its groups gives others"
        )
    spikes = parts.spikes
    sizes = spikes["row_size"]
    place = np.indices(sizes.shape).reshape(sizes.ndim, -1)
    rows = np.repeat(np.arange(sizes.size), sizes.values.ravel())
    number = dict(zip(sizes.dims, place[:, rows], strict=True))
    columns: dict[str, Any] = {}
    if parts.stimuli is not None:
        columns["stimulus"] = parts.stimuli[number["stimulus"]]
    columns["trial"] = number["trial"]
    columns["population"] = spikes["population"].values[number["neuron"]]
    columns["index"] = spikes["index"].values[number["neuron"]]
    columns["time"] = spikes["spike_time"].values
    frame = pandas.DataFrame(columns)
    names, counts = np.unique(spikes["population"].values, return_counts=True)
    order = dict.fromkeys(spikes["population"].values.tolist())
    found = dict(zip(names.tolist(), counts.tolist(), strict=True))
    frame.attrs = {
        _UNIT: "s",
        _DURATION: parts.duration,
        _WARMUP: parts.warmup,
        "sizes": {name: found[name] for name in order},
        "trials": parts.trials,
    }
    if "dt" in spikes.attrs:
        frame.attrs[_STEP] = float(spikes.attrs["dt"])
    if parts.stimuli is not None:
        frame.attrs["stimuli"] = parts.stimuli.tolist()
    return frame


def from_dataframe(
    frame: Any,
    *,
    unit: str | None = None,
    duration: Any = None,
    warmup: Any = None,
    dt: Any = None,
    sizes: Mapping[str, int] | None = None,
    trials: int | None = None,
    window: Any = None,
    covariance: bool = True,
) -> xr.DataTree:
    """Return a table of spikes as a result, with rates, variances and their standard errors.

    Parameters
    ----------
    frame : DataFrame
        A row for every spike, in any order, with a column ``time``; ``index``, the number of the neuron in its
        population; and, where there are such, ``population``, ``trial`` (from 0) and ``stimulus``.
    unit : {"s", "ms", "us", "ns"}
        Unit of the times. A table that `to_dataframe` made knows it, others do not.
    duration, warmup : float or Quantity
        Length of every trial, and of what is before its time 0, ms; as for `unit`. The warm-up is 0 if none is given.
    dt : float or Quantity, optional
        Step of the clock by which spikes were recorded, ms.
    sizes : mapping of str to int, optional
        Sizes of the populations; by default the greatest index and 1, without neurons that never fire.
    trials : int, optional
        Number of trials; by default the greatest and 1.
    window, covariance
        As of `from_trains`.

    Returns
    -------
    DataTree
        Groups ``simulation`` and ``spikes``, as `simulate` returns them.

    Raises
    ------
    ValueError
        If a column, the unit or the duration is missing, or an index is out of range.
    """
    known = dict(getattr(frame, "attrs", {}))
    columns = list(frame.columns)
    if missing := [name for name in ("time", "index") if name not in columns]:
        raise ValueError(
            f"the table of spikes must have the columns `time` and `index`, {missing[0]!r} is missing: it has "
            f"{', '.join(map(str, columns))}. Rename them with `frame.rename(columns=…)`"
        )
    scale = seconds_of(unit if unit is not None else known.get(_UNIT), "the table")
    if duration is None and _DURATION not in known:
        raise ValueError("`duration` of the table must be given, ms: its last spike does not say when recording ended")
    length = known[_DURATION] if duration is None else seconds(duration, "duration")
    before = float(known.get(_WARMUP, 0.0)) if warmup is None else seconds(warmup, "warmup")
    step = known.get(_STEP) if dt is None else seconds(dt, "dt")
    index = _whole(frame["index"].to_numpy(), "index")
    trial = _whole(frame["trial"].to_numpy(), "trial") if "trial" in columns else np.zeros(len(frame), dtype=np.int64)
    names = frame["population"].to_numpy().astype(str) if "population" in columns else np.full(len(frame), "neurons")
    time = np.asarray(frame["time"].to_numpy(), dtype=np.float64) * scale
    stimulus = frame["stimulus"].to_numpy() if "stimulus" in columns else None
    widths = dict(sizes or known.get("sizes") or _sizes(names, index))
    if unknown := sorted(set(names.tolist()) - set(widths)):
        raise ValueError(f"`sizes` must name every population, {unknown[0]!r} is missing: it has {', '.join(widths)}")
    first = dict(zip(widths, np.cumsum([0, *widths.values()]).tolist(), strict=False))
    most = np.array([widths[name] for name in names.tolist()], dtype=np.int64)
    if (index >= most).any():
        k = int(np.argmax(index >= most))
        raise ValueError(f"`index` of {names[k]!r} must be below its size, {most[k]}, got {index[k]} in row {k}")
    n_trials = trials or known.get("trials") or int(trial.max(initial=0)) + 1
    if trial.max(initial=0) >= n_trials:
        raise ValueError(f"`trial` must be below `trials`, {n_trials}, got {int(trial.max())}")
    labels = [None] if stimulus is None else list(known.get("stimuli") or dict.fromkeys(stimulus.tolist()))
    which = np.zeros(len(frame), dtype=np.int64)
    if stimulus is not None:
        numbers = {label: k for k, label in enumerate(labels)}
        which = np.array([numbers[label] for label in stimulus.tolist()], dtype=np.int64)
    owner = np.array([first[name] for name in names.tolist()], dtype=np.int64) + index
    populations = [name for name, size in widths.items() for _ in range(size)]
    row = (which * n_trials + trial) * len(populations) + owner
    order = np.lexsort((time, row))
    counts = np.bincount(row, minlength=len(labels) * n_trials * len(populations))
    trains = np.split(time[order], np.cumsum(counts)[:-1])
    width = len(populations)
    presented = [
        Presented(labels[k // n_trials], trains[k * width : (k + 1) * width]) for k in range(len(labels) * n_trials)
    ]
    spikes = arranged(presented, populations, duration=length, warmup=before, dt=step)
    return labelled(spikes, {}, window=window, covariance=covariance)


def _whole(values: npt.NDArray[Any], name: str) -> npt.NDArray[np.int64]:
    if values.size and (values.dtype.kind not in "iu" or values.min() < 0):
        raise ValueError(f"the column `{name}` must hold whole numbers ≥ 0, got {shown(values[:6].tolist())}")
    return values.astype(np.int64)


def _sizes(names: Sequence[str] | npt.NDArray[Any], index: npt.NDArray[np.int64]) -> dict[str, int]:
    own = np.asarray(names)
    return {str(name): int(index[own == name].max()) + 1 for name in dict.fromkeys(own.tolist())}


def to_csv(result: Any, path: str | os.PathLike[str]) -> None:
    """Write the spikes of a result to a CSV file, the table of `to_dataframe`, with all digits.

    Raises
    ------
    ValueError
        If no spikes are recorded.
    FileError
        If the folder cannot be written to.
    """
    with written_aside(path) as aside:
        to_dataframe(result).to_csv(aside, index=False)


def from_csv(
    path: str | os.PathLike[str],
    *,
    unit: str | None = None,
    duration: Any = None,
    warmup: Any = None,
    dt: Any = None,
    sizes: Mapping[str, int] | None = None,
    trials: int | None = None,
    window: Any = None,
    covariance: bool = True,
) -> xr.DataTree:
    """Return a CSV file of spikes as a result, as `from_dataframe` does; it says neither unit nor duration.

    Parameters
    ----------
    path : path-like
        File with the columns of `from_dataframe`.
    unit, duration, warmup, dt, sizes, trials, window, covariance
        As of `from_dataframe`.

    Raises
    ------
    ValueError
        As of `from_dataframe`.
    """
    frame = package("pandas", "`from_csv`").read_csv(path, dtype={"time": str})
    if "time" in frame:  # pandas' own reading of numbers may lose the last digit
        frame["time"] = frame["time"].to_numpy(dtype=object).astype(np.float64)
    return from_dataframe(
        frame,
        unit=unit,
        duration=duration,
        warmup=warmup,
        dt=dt,
        sizes=sizes,
        trials=trials,
        window=window,
        covariance=covariance,
    )
