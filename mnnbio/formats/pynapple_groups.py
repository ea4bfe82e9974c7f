"""Spike trains of results as groups of pynapple, and back."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from mnnbio.formats.packages import package
from mnnbio.formats.recorded_data import Array, Presented, arranged, labelled, recorded_parts, seconds
from mnnbio.machine import require_integer

_DIGITS = 9  # of times in pynapple, which rounds them


def to_pynapple(result: Any, *, stimulus: int = 0, trial: int = 0) -> Any:
    """Return the spikes of one presentation as a `pynapple.TsGroup`.

    Times are in s from the end of the warm-up, rounded by pynapple to the nanosecond; the time support is the whole
    presentation, its warm-up included. ``population`` and ``index_in_population`` are metadata.

    Parameters
    ----------
    result : DataTree or Dataset
        A result with spikes, or its group ``spikes``.
    stimulus, trial : int
        Which presentation.

    Raises
    ------
    PackageMissing
        If pynapple is not installed.
    ValueError
        If no spikes are recorded, or there is no such presentation.
    """
    nap = package("pynapple", "`to_pynapple`")
    parts = recorded_parts(result, "to_pynapple")
    if parts.spikes is None:
        raise ValueError("`to_pynapple` needs spikes: the result has none")
    require_integer("stimulus", stimulus, 0, (1 if parts.stimuli is None else len(parts.stimuli)) - 1)
    require_integer("trial", trial, 0, parts.trials - 1)
    support = nap.IntervalSet(-parts.warmup, parts.duration)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of trains without spikes
        trains = {k: nap.Ts(times) for k, times in enumerate(parts.trains(stimulus, trial))}
        labels = {name: parts.spikes[name].values for name in ("population", "index")}
        labels["index_in_population"] = labels.pop("index")  # `index` is pynapple's own
        return nap.TsGroup(trains, time_support=support, metadata=labels)


def from_pynapple(
    group: Any,
    trials: Any = None,
    *,
    duration: Any = None,
    warmup: Any = None,
    stimuli: Sequence[Any] | None = None,
    population: str = "population",
    dt: Any = None,
    window: Any = None,
    covariance: bool = True,
) -> xr.DataTree:
    """Return the spikes of a `pynapple.TsGroup` as a result, with rates, variances and their standard errors.

    Parameters
    ----------
    group : pynapple.TsGroup or sequence of it
        All units, or those of every trial.
    trials : pynapple.IntervalSet, optional
        Trials of one group, whose time 0 is their start; by default its time support is one trial.
    duration : float or Quantity, optional
        Length of every trial, ms; by default that of the trials, which must be one.
    warmup : float or Quantity, optional
        Time before 0 whose spikes are kept, ms; by default, without `trials`, from a negative start of the time support
        on, else 0.
    stimuli : sequence, optional
        Label of the stimulus of every trial.
    population : str
        Metadata that name the population; without them all units are of the population "neurons".
    dt : float or Quantity, optional
        Step of the clock by which spikes were recorded, ms. Times are then put in the middle of their steps, as those
        of simulations are, which undoes pynapple's rounding.
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
    PackageMissing
        If pynapple is not installed.
    ValueError
        If trials differ in length, or do not suit `stimuli`.
    """
    nap = package("pynapple", "`from_pynapple`")
    groups = [group] if isinstance(group, nap.TsGroup) else list(group)
    if not groups or not all(isinstance(own, nap.TsGroup) for own in groups):
        raise TypeError(f"`group` must be a pynapple.TsGroup or a list of them, got {type(group).__name__}")
    if trials is not None and len(groups) > 1:
        raise ValueError("`trials` cut one TsGroup into trials; of several, each is a trial already")
    spans = groups * len(trials) if trials is not None else groups
    ends = [trials] if trials is not None else [own.time_support for own in groups]
    limits = np.concatenate([np.asarray(own.values, dtype=np.float64) for own in ends])
    if len(limits) != len(spans):
        raise ValueError(
            f"the time support has {len(limits)} epochs for {len(spans)} trials: give the epochs as `trials` to have "
            "each be one"
        )
    before = seconds(warmup, "warmup") if warmup is not None else 0.0
    if trials is None and warmup is None:
        before = max(-float(limits[0, 0]), 0.0)
    zero = limits[:, 0] + (before if trials is None else 0.0)
    lengths = np.round(limits[:, 1] - zero, _DIGITS)
    if duration is None and np.ptp(lengths) > 0:
        raise ValueError(f"trials last from {lengths.min():g} s to {lengths.max():g} s: give the `duration` of all, ms")
    length = float(lengths[0]) if duration is None else seconds(duration, "duration")
    if stimuli is not None and len(stimuli) != len(spans):
        raise ValueError(f"`stimuli` must label each of {len(spans)} trials, got {len(stimuli)}")
    step = None if dt is None else seconds(dt, "dt")
    presented = [
        Presented(
            None if stimuli is None else stimuli[k],
            [_cut(np.asarray(own[key].t), float(begin), before, length, step) for key in own.keys()],  # noqa: SIM118
        )
        for k, (own, begin) in enumerate(zip(spans, zero, strict=True))
    ]
    first = groups[0]
    named = population in list(first.metadata_columns)
    names = [str(name) for name in first.get_info(population)] if named else ["neurons"] * len(first)
    spikes = arranged(presented, names, duration=length, warmup=before, dt=step)
    return labelled(spikes, {}, window=window, covariance=covariance)


def _cut(times: Array, zero: float, before: float, length: float, step: float | None) -> Array:
    own = times - zero if zero else times
    if step is not None:
        own = (np.floor(own / step + 1e-6) + 0.5) * step
    return own[(own >= -before) & (own < length)]
