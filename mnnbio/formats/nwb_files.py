"""Results as files of Neurodata Without Borders (NWB), and recorded spikes from such files."""

from __future__ import annotations

import datetime
import os
import uuid
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr

from mnnbio.circuit import Circuit, PoissonSource
from mnnbio.formats.packages import package
from mnnbio.formats.recorded_data import (
    LAYOUT,
    Array,
    Layout,
    Presented,
    Recorded,
    Series,
    arranged,
    labelled,
    recorded_parts,
    seconds,
)
from mnnbio.machine import written_aside

# Working units of states, and how NWB writes them: unit, and factor to it.
_UNITS = {"mV": ("volts", 1e-3), "pA": ("amperes", 1e-12), "nS": ("siemens", 1e-9)}
_EXACT, _NUMBER = "time_in_trial", "presentation"  # columns of units that lose no digit
_SLACK = 1e-6  # s, by which observed intervals may miss the ends of trials


def to_nwb(
    result: Any,
    path: str | os.PathLike[str],
    *,
    description: str = "Simulated spiking network",
    start: datetime.datetime | None = None,
) -> None:
    """Write a result to an NWB file.

    Presentations follow each other in time. The table of trials has ``start_time`` at the end of the warm-up,
    ``stop_time``, ``trial`` and ``stimulus``; that of units a row for every neuron, with ``spike_times`` and
    ``obs_intervals`` (warm-ups included), ``population`` and ``index``, and times in their trial to the last digit.
    States and counts are time series of the acquisition, (time, neuron), in volts, amperes and siemens by their
    conversion; rates of Poisson sources are among the stimuli.

    Parameters
    ----------
    result : DataTree or Dataset
        A result with recorded spikes, counts or states, or its group ``spikes``.
    path : path-like
        File to write, replaced as a whole once everything is on disk.
    description : str
        Of the session.
    start : datetime, optional
        When the session starts, with a time zone; by default now.

    Raises
    ------
    PackageMissing
        If PyNWB is not installed.
    ValueError
        If nothing is recorded.
    FileError
        If the folder cannot be written to.

    Warns
    -----
    LeftOutWarning
        If the result has groups that the file does not hold.
    """
    pynwb = package("pynwb", "`to_nwb`")
    parts = recorded_parts(result, "to_nwb")
    begin = start if start is not None else datetime.datetime.now(datetime.UTC)
    length = parts.warmup + parts.duration
    zero: Array = np.arange(len(parts.presentations), dtype=np.float64) * length + parts.warmup
    with _quiet():
        file = pynwb.NWBFile(session_description=description, identifier=str(uuid.uuid4()), session_start_time=begin)
        _add_trials(file, parts, zero)
        if parts.spikes is not None:
            _add_units(pynwb, file, parts, zero)
        for own in parts.series:
            file.add_acquisition(_time_series(pynwb, own, parts, zero))
        for series in _stimuli(pynwb, result, parts, zero):
            file.add_stimulus(series)
        file.add_scratch(parts.layout, name=LAYOUT, description="Labels and attributes of the result, for from_nwb")
        with written_aside(path) as aside, pynwb.NWBHDF5IO(str(aside), "w") as handle:
            handle.write(file)


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out what PyNWB says of itself and of files of its older versions."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"(pynwb|hdmf)\b")
        warnings.filterwarnings("ignore", message="(?i).*(cached namespace|deprecat)")
        yield


def _add_trials(file: Any, parts: Recorded, zero: Array) -> None:
    file.add_trial_column("trial", "number of the trial of its stimulus")
    if parts.stimuli is not None:
        file.add_trial_column("stimulus", "label of the stimulus")
    for (stimulus, trial), begin in zip(parts.presentations, zero.tolist(), strict=True):
        marks = {} if parts.stimuli is None else {"stimulus": parts.label(stimulus)}
        file.add_trial(start_time=begin, stop_time=begin + parts.duration, trial=trial, **marks)


def _add_units(pynwb: Any, file: Any, parts: Recorded, zero: Array) -> None:
    spikes = parts.spikes
    assert spikes is not None
    resolution = {"resolution": float(spikes.attrs["dt"])} if "dt" in spikes.attrs else {}
    file.units = pynwb.misc.Units(name="units", description="neurons of the network", **resolution)
    file.add_unit_column("population", "population of the neuron")
    file.add_unit_column("index", "number of the neuron in its population")
    file.add_unit_column(_EXACT, "time of every spike from the end of the warm-up of its trial, s", index=True)
    file.add_unit_column(_NUMBER, "row in the table of trials of every spike", index=True)
    table = [list(parts.trains(*place)) for place in parts.presentations]
    observed = np.stack([zero - parts.warmup, zero + parts.duration], axis=1)
    for k in range(spikes.sizes["neuron"]):
        trains = [one[k] for one in table]
        file.add_unit(
            id=int(spikes["neuron"].values[k]) if "neuron" in spikes.coords else k,
            spike_times=np.concatenate([train + begin for train, begin in zip(trains, zero, strict=True)]),
            obs_intervals=observed,
            population=str(spikes["population"].values[k]),
            index=int(spikes["index"].values[k]),
            **{_EXACT: np.concatenate(trains), _NUMBER: np.repeat(np.arange(len(trains)), [len(t) for t in trains])},
        )


def _time_series(pynwb: Any, own: Series, parts: Recorded, zero: Array) -> Any:
    unit, factor = _UNITS.get(str(own.values.attrs.get("units")), (str(own.values.attrs.get("units", "1")), 1.0))
    return pynwb.TimeSeries(
        name=_series_name(own.group, own.variable),
        data=np.concatenate([parts.samples(own, *place) for place in parts.presentations]),
        unit=unit,
        conversion=factor,
        timestamps=np.concatenate([own.times + begin for begin in zero.tolist()]),
        description=f"{own.variable} of {own.population}, all trials one after the other",
    )


def _series_name(group: str, variable: str) -> str:
    return f"{group}_{variable}".replace("/", "_").replace(":", "_")


def _stimuli(pynwb: Any, result: Any, parts: Recorded, zero: Array) -> Iterator[Any]:
    """Yield the rates of the Poisson sources of a result's circuit, Hz, as they are from each presentation on."""
    stored = result.get("circuit") if isinstance(result, xr.DataTree) else None
    if stored is None:
        return
    try:
        circuit = Circuit.from_json(str(stored.item()))
    except ValueError:  # parts of a user's own whose classes are not imported: the layout holds the text
        return
    for source in circuit.sources:
        if isinstance(source, PoissonSource) and isinstance(source.rates, np.ndarray):
            rates = 1e3 * np.broadcast_to(np.atleast_2d(source.rates), (circuit.n_stimuli or 1, source.size))
            yield pynwb.TimeSeries(
                name=f"rates_{source.name}".replace("/", "_").replace(":", "_"),
                data=rates[[stimulus for stimulus, _ in parts.presentations]],
                unit="Hz",
                timestamps=zero - parts.warmup,
                description=f"rates of the Poisson trains of {source.name}, from this time on",
            )


def from_nwb(
    path: str | os.PathLike[str] | Any,
    *,
    align: str = "start_time",
    duration: Any = None,
    warmup: Any = 0.0,
    trials: Sequence[int] | None = None,
    units: Sequence[int] | None = None,
    population: str = "population",
    stimulus: str = "stimulus",
    series: Mapping[str, str] | None = None,
    dt: Any = None,
    window: Any = None,
    covariance: bool = True,
) -> xr.DataTree:
    """Return the spikes of an NWB file as a result, with rates, variances and their standard errors.

    Parameters
    ----------
    path : path-like or pynwb.NWBFile
        What `to_nwb` wrote comes back as it was, whatever else is given.
    align : str
        Column of the table of trials that is time 0. Without a table there is one trial, which starts where observation
        does.
    duration : float or Quantity, optional
        Length of every trial from time 0, ms; by default up to ``stop_time``, where all trials last equally long, and
        without trials as long as all units were observed.
    warmup : float or Quantity
        Time before 0 whose spikes are kept, at negative times, ms.
    trials : sequence of int, optional
        Rows of the table of trials; by default all.
    units : sequence of int, optional
        Rows of the table of units; by default all.
    population, stimulus : str
        Columns of units and of trials that name population and stimulus. Without them all units are of the population
        "neurons", and there are no stimuli.
    series : mapping of str to str, optional
        Time series of the acquisition to be read as states, by the name that their population gets, such as
        ``{"E": "CurrentClampSeries"}``.
    dt : float or Quantity, optional
        Step of the clock by which spikes were recorded, ms.
    window : float or Quantity, optional
        Length of the windows of count variance and covariance, ms; default: the duration.
    covariance : bool
        Whether to estimate the covariance matrices.

    Returns
    -------
    DataTree
        Groups ``simulation`` and ``spikes``, as `simulate` returns them, and ``states/<population>``.

    Raises
    ------
    PackageMissing
        If PyNWB is not installed.
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file has no units or no such column, a unit was not observed in a trial, or a duration is needed.
    """
    pynwb = package("pynwb", "`from_nwb`")
    options = _Options(
        align,
        duration,
        seconds(warmup, "warmup"),
        trials,
        units,
        population,
        stimulus,
        series or {},
        dt,
        window,
        covariance,
    )
    if isinstance(path, pynwb.NWBFile):
        return _read(path, options)
    if not os.path.exists(path):
        raise FileNotFoundError(f"no NWB file {path}")
    with _quiet():
        try:
            handle = pynwb.NWBHDF5IO(str(path), "r")
            file = handle.read()
        except (OSError, KeyError, ValueError, TypeError) as error:
            raise ValueError(f"cannot read {path}: not a complete NWB file ({error})") from error
        with handle:
            return _read(file, options)


class _Options(NamedTuple):
    """How a file is read that another program wrote."""

    align: str
    duration: Any
    warmup: float
    trials: Sequence[int] | None
    units: Sequence[int] | None
    population: str
    stimulus: str
    series: Mapping[str, str]
    dt: Any
    window: Any
    covariance: bool


class _Unit(NamedTuple):
    """Spikes of a unit and when it was observed, None where the file does not say; s of the session."""

    times: Array
    observed: Array | None


def _read(file: Any, options: _Options) -> xr.DataTree:
    layout = file.scratch.get(LAYOUT) if file.scratch else None
    if layout is not None:
        return _as_written(file, Layout(str(layout.data)))
    if file.units is None or not len(file.units):
        held = ", ".join([*file.acquisition, *file.processing]) or "nothing else"
        raise ValueError(
            f"the NWB file has no units, which hold sorted spikes (it has {held}): sort the recording first, or read "
            "spikes of another table with `from_trains`"
        )
    rows = range(len(file.units)) if options.units is None else options.units
    if wrong := [k for k in rows if not 0 <= k < len(file.units)]:
        raise ValueError(f"`units` must be from 0 to {len(file.units) - 1}, got {wrong[0]}")
    if "spike_times" not in file.units.colnames:
        raise ValueError(f"the units of the NWB file have no `spike_times`, only {', '.join(file.units.colnames)}")
    units = [_unit(file.units, k) for k in rows]
    names = [str(file.units[options.population][k]) for k in rows] if options.population in file.units.colnames else []
    zero, labels, length = _presentations(file, units, options)
    for unit, row in zip(units, rows, strict=True):
        _require_observed(unit, row, zero, length, options.warmup)
    presented = [
        Presented(label, [_cut(unit.times, begin, options.warmup, length) for unit in units])
        for begin, label in zip(zero.tolist(), labels, strict=True)
    ]
    step = None if options.dt is None else seconds(options.dt, "dt")
    spikes = arranged(presented, names or ["neurons"] * len(units), duration=length, warmup=options.warmup, dt=step)
    order = [k for label in dict.fromkeys(labels) for k, own in enumerate(labels) if own == label]
    stimuli = spikes["stimulus"].values if "stimulus" in spikes.coords else None
    states = {
        f"states/{name}": _samples(file, source, zero[order], length, stimuli)
        for name, source in options.series.items()
    }
    return labelled(spikes, states, window=options.window, covariance=options.covariance)


def _unit(table: Any, row: int) -> _Unit:
    times = np.asarray(table["spike_times"][row], dtype=np.float64)
    observed = np.asarray(table["obs_intervals"][row], dtype=np.float64) if "obs_intervals" in table.colnames else None
    return _Unit(times, observed if observed is not None and observed.size else None)


def _presentations(file: Any, units: Sequence[_Unit], options: _Options) -> tuple[Array, list[Any], float]:
    """Return where presentations have their time 0, their stimuli, and how long they last, s."""
    given = None if options.duration is None else seconds(options.duration, "duration")
    if file.trials is None or not len(file.trials):
        observed = [unit.observed for unit in units if unit.observed is not None]
        if not observed:
            if given is None:
                raise ValueError(
                    "the NWB file has neither trials nor observed intervals, so that nothing says how long was "
                    "recorded: give `duration`, ms"
                )
            return np.array([options.warmup]), [None], given
        start = max(float(own.min()) for own in observed) + options.warmup
        return np.array([start]), [None], given or min(float(own.max()) for own in observed) - start
    columns = list(file.trials.colnames)
    if options.align not in columns:
        raise ValueError(f"`align` must name a column of the trials, {', '.join(columns)}; got {options.align!r}")
    rows = list(range(len(file.trials)) if options.trials is None else options.trials)
    if wrong := [k for k in rows if not 0 <= k < len(file.trials)]:
        raise ValueError(f"`trials` must be from 0 to {len(file.trials) - 1}, got {wrong[0]}")
    zero = np.asarray(file.trials[options.align][:], dtype=np.float64)[rows]
    if not np.isfinite(zero).all():
        k = rows[int(np.argmin(np.isfinite(zero)))]
        raise ValueError(
            f"`{options.align}` must be finite in all trials, it is not in trial {k}: leave it out by `trials`"
        )
    labels = (
        [_label(file.trials[options.stimulus][k]) for k in rows] if options.stimulus in columns else [None] * len(rows)
    )
    if given is None:
        lengths = np.asarray(file.trials["stop_time"][:], dtype=np.float64)[rows] - zero
        if np.ptp(lengths) > _SLACK:
            raise ValueError(
                f"trials last from {lengths.min():g} s to {lengths.max():g} s from `{options.align}` on: give the "
                "`duration` of all, ms, at most the shortest"
            )
        given = float(np.round(lengths.min(), 9))  # a difference of session times has lost digits
    return zero, labels, given


def _label(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _require_observed(unit: _Unit, row: int, zero: Array, length: float, warmup: float) -> None:
    """Raise where a unit was not observed: no spikes there would look like silence."""
    if unit.observed is None:
        return
    intervals = unit.observed[np.argsort(unit.observed[:, 0])]
    merged = [intervals[0].tolist()]
    for begin, end in intervals[1:].tolist():
        if begin <= merged[-1][1] + _SLACK:
            merged[-1][1] = max(merged[-1][1], end)
        else:
            merged.append([begin, end])
    for number, start in enumerate(zero.tolist()):
        if not any(a <= start - warmup + _SLACK and start + length <= b + _SLACK for a, b in merged):
            raise ValueError(
                f"unit {row} was not observed in all of trial {number}, {start - warmup:g} s to {start + length:g} s, "
                "where no spikes do not mean silence: choose other `units` or `trials`, or a shorter `duration`"
            )


def _cut(times: Array, zero: float, warmup: float, length: float) -> Array:
    own = times - zero if zero else times
    return own[(own >= -warmup) & (own < length)]


def _samples(file: Any, name: str, zero: Array, length: float, stimuli: npt.NDArray[Any] | None) -> xr.Dataset:
    """Return a time series cut into presentations, as a group of states."""
    if name not in file.acquisition:
        raise ValueError(
            f"`series` must name time series of the acquisition, {', '.join(file.acquisition)}; got {name!r}"
        )
    own = file.acquisition[name]
    number = len(own.data)
    if own.rate is not None:
        begin, rate = float(own.starting_time), float(own.rate)
    else:
        times = np.asarray(own.timestamps[:], dtype=np.float64)
        steps = np.diff(times)
        if not len(steps) or np.ptp(steps) > 1e-3 * steps.mean():
            raise ValueError(f"the time series {name!r} is not sampled regularly: resample it first")
        begin, rate = float(times[0]), float(1 / steps.mean())
    samples = round(length * rate)
    first = np.ceil((zero - begin) * rate - 1e-6).astype(np.int64)
    if first.min() < 0 or first.max() + samples > number:
        raise ValueError(
            f"the time series {name!r} lasts from {begin:g} s to {begin + number / rate:g} s, less than the trials do: "
            "choose other `trials` or a shorter `duration`"
        )
    unit, factor = next(
        ((ours, theirs[1]) for ours, theirs in _UNITS.items() if theirs[0] == own.unit), (str(own.unit), 1.0)
    )
    conversion, offset = float(own.conversion) / factor, float(own.offset or 0.0) / factor
    parts = [np.asarray(own.data[k : k + samples], dtype=np.float64) * conversion + offset for k in first.tolist()]
    values, dims = np.stack([part.reshape(samples, -1) for part in parts]), ["trial", "time", "neuron"]
    if stimuli is not None:
        values = values.reshape(len(stimuli), -1, *values.shape[1:])
        dims.insert(0, "stimulus")
    coords: dict[str, Any] = {
        "time": ("time", np.arange(samples) / rate, {"units": "s", "long_name": "time from the end of the warm-up"}),
        "index": ("neuron", np.arange(values.shape[-1]), {"long_name": "number of the neuron in its population"}),
    }
    if stimuli is not None:
        coords["stimulus"] = ("stimulus", stimuli)
    variable = "v" if unit == "mV" else "value"
    return xr.Dataset({variable: (dims, values, {"units": unit, "long_name": variable})}, coords)


def _as_written(file: Any, layout: Layout) -> xr.DataTree:
    number = len(file.trials)
    trains: list[list[Array]] | None = None
    if file.units is not None:
        trains = [[] for _ in range(number)]
        for row in range(len(file.units)):
            times = np.asarray(file.units[_EXACT][row], dtype=np.float64)
            owner = np.asarray(file.units[_NUMBER][row], dtype=np.int64)
            for k, part in enumerate(np.split(times, np.searchsorted(owner, np.arange(1, number)))):
                trains[k].append(part)
    samples = []
    for stored in layout.series:
        data = np.asarray(file.acquisition[_series_name(stored["group"], stored["variable"])].data[:])
        samples.append(np.split(data, number))
    return layout.result(trains, samples)
