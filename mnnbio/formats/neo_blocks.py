"""Results as blocks of Neo, the data model of Elephant and of many file formats of electrophysiology."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import xarray as xr

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

_UNITS = {"1": "dimensionless", "mV": "mV", "pA": "pA", "nS": "nS"}
_CLOSE = 1e-9  # s, by which lengths of segments may differ


def to_neo(result: Any) -> Any:
    """Return a result as a `neo.Block` with a segment for every presentation.

    A segment is annotated with its ``stimulus`` and ``trial`` and holds a `neo.SpikeTrain` for every neuron, annotated
    with ``population`` and ``index``, and a `neo.AnalogSignal` for every recorded variable of a population, and for
    counts. Time 0 is the end of the warm-up, at whose beginning segments start. The block has a `neo.Group` for every
    population, and the seed and all attributes of the result among its annotations.

    Parameters
    ----------
    result : DataTree or Dataset
        A result with recorded spikes, counts or states, or its group ``spikes``.

    Returns
    -------
    neo.Block
        From which `from_neo` gives the result back, bit by bit.

    Raises
    ------
    PackageMissing
        If Neo is not installed.
    ValueError
        If nothing is recorded.

    Warns
    -----
    LeftOutWarning
        If the result has groups that a block does not hold.
    """
    neo = package("neo", "`to_neo`")
    parts = recorded_parts(result, "to_neo")
    attrs = {name: _plain(value) for name, value in parts_attrs(result).items()}
    block = neo.Block(name="mnnbio", description="spiking network", **{LAYOUT: parts.layout}, **attrs)
    groups: dict[str, Any] = {}
    for stimulus, trial in parts.presentations:
        label = parts.label(stimulus)
        name = f"trial {trial}" if parts.stimuli is None else f"stimulus {label}, trial {trial}"
        marks = {"trial": trial} if parts.stimuli is None else {"stimulus": label, "trial": trial}
        segment = neo.Segment(name=name, index=len(block.segments), **marks)
        for train in _trains(neo, parts, stimulus, trial):
            segment.spiketrains.append(train)
            own = train.annotations["population"]
            groups.setdefault(own, neo.Group(name=own, allowed_types=[neo.SpikeTrain])).add(train)
        segment.analogsignals.extend([_signal(neo, own, parts, stimulus, trial) for own in parts.series])
        block.segments.append(segment)
    block.groups.extend(list(groups.values()))
    block.check_relationships()
    return block


def parts_attrs(result: Any) -> dict[str, Any]:
    """Return the attributes of a result that are numbers or short text."""
    return {
        name: value
        for name, value in result.attrs.items()
        if isinstance(value, int | float | str | np.number) and not isinstance(value, bool)
    }


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _trains(neo: Any, parts: Recorded, stimulus: int, trial: int) -> Iterator[Any]:
    spikes = parts.spikes
    if spikes is None:
        return
    labels = zip(spikes["population"].values.tolist(), spikes["index"].values.tolist(), strict=True)
    for times, (population, index) in zip(parts.trains(stimulus, trial), labels, strict=True):
        yield neo.SpikeTrain(
            times,
            units="s",
            t_start=-parts.warmup,
            t_stop=parts.duration,
            name=f"{population} {index}",
            population=population,
            index=index,
        )


def _signal(neo: Any, own: Series, parts: Recorded, stimulus: int, trial: int) -> Any:
    values = parts.samples(own, stimulus, trial)
    unit = _UNITS.get(str(own.values.attrs.get("units", "1")), "dimensionless")
    times, last = own.times, own.values.dims[-1]
    coords = own.values.coords
    index = next((coords[n].values for n in coords if str(n).startswith("index") and coords[n].dims == (last,)), None)
    return neo.AnalogSignal(
        values,
        units=unit,
        t_start=float(times[0]) if len(times) else 0.0,
        sampling_period=_period(own),
        name=f"{own.population} {own.variable}",
        array_annotations={"index": np.arange(values.shape[1]) if index is None else index},
        population=own.population,
        variable=own.variable,
    ).rescale(unit)


def _period(own: Series) -> Any:
    import quantities

    return own.step * quantities.s


def from_neo(
    block: Any,
    *,
    duration: Any = None,
    warmup: Any = None,
    population: str = "population",
    stimulus: str = "stimulus",
    dt: Any = None,
    window: Any = None,
    covariance: bool = True,
) -> xr.DataTree:
    """Return the spikes and signals of a Neo block as a result, with rates, variances and their standard errors.

    Every segment is a trial. Time 0 is the end of the warm-up, which starts where the segment does.

    Parameters
    ----------
    block : neo.Block or sequence of neo.Segment
        With the same neurons in every segment. What `to_neo` made comes back as it was, whatever else is given.
    duration, warmup : float or Quantity, optional
        Length of every trial after the warm-up, and of the warm-up, ms; by default all of a segment, with a warm-up
        from a negative start to 0. Segments of different lengths need both; spikes outside are left out.
    population, stimulus : str
        Annotations of spike trains and of segments that name population and stimulus. Trains without the first are of
        the population "neurons"; where no segment has the second there are no stimuli.
    dt : float or Quantity, optional
        Step of the clock by which spikes were recorded, ms.
    window : float or Quantity, optional
        Length of the windows of count variance and covariance, ms; default: the duration.
    covariance : bool
        Whether to estimate the covariance matrices.

    Returns
    -------
    DataTree
        Groups ``simulation`` and ``spikes``, as `simulate` returns them, and ``states/<name>`` of the analog signals
        that all segments have, voltages in mV, currents in pA, conductances in nS.

    Raises
    ------
    PackageMissing
        If Neo is not installed.
    ValueError
        If segments differ in neurons, or in length and `duration` is not given.
    """
    neo = package("neo", "`from_neo`")
    if isinstance(block, neo.Block):
        segments, layout = list(block.segments), block.annotations.get(LAYOUT)
    else:
        segments, layout = list(block), None
        if not all(isinstance(segment, neo.Segment) for segment in segments):
            raise TypeError(f"`block` must be a neo.Block or a list of neo.Segment, got {type(block).__name__}")
    if not segments:
        raise ValueError("`block` has no segments: there is nothing to read")
    if layout is not None:
        return _as_written(segments, Layout(layout))
    limits = [_limits(segment) for segment in segments]
    before = max(-limits[0][0], 0.0) if warmup is None else seconds(warmup, "warmup")
    length = _length(limits, before) if duration is None else seconds(duration, "duration")
    cut = duration is not None
    presented = [
        Presented(
            segment.annotations.get(stimulus),
            [_relative(train, start + before, before, length, cut) for train in segment.spiketrains],
        )
        for segment, (start, _) in zip(segments, limits, strict=True)
    ]
    first = segments[0].spiketrains
    names = [str(train.annotations.get(population, "neurons")) for train in first]
    step = None if dt is None else seconds(dt, "dt")
    spikes = arranged(presented, names, duration=length, warmup=before, dt=step) if names else None
    order = np.argsort([_rank(presented, k) for k in range(len(presented))], kind="stable")
    stimuli = spikes["stimulus"].values if spikes is not None and "stimulus" in spikes.coords else None
    zero = [start + before for start, _ in limits]
    series = dict(_states([segments[k] for k in order], [zero[k] for k in order], stimuli))
    return labelled(spikes, series, window=window, covariance=covariance)


def _as_written(segments: Sequence[Any], layout: Layout) -> xr.DataTree:
    trains = [[np.asarray(train.rescale("s").magnitude) for train in segment.spiketrains] for segment in segments]
    samples = [
        [np.asarray(segment.analogsignals[k].magnitude) for segment in segments] for k in range(len(layout.series))
    ]
    return layout.result(trains, samples)


def _limits(segment: Any) -> tuple[float, float]:
    """Return start and end of a segment, s."""
    parts = [*segment.spiketrains, *segment.analogsignals]
    if not parts:
        raise ValueError(f"the segment {segment.name!r} holds neither spike trains nor analog signals")
    starts = [float(part.t_start.rescale("s")) for part in parts]
    return min(starts), max(float(part.t_stop.rescale("s")) for part in parts)


def _length(limits: Sequence[tuple[float, float]], before: float) -> float:
    lengths = np.array([stop - start for start, stop in limits])
    if np.ptp(lengths) > _CLOSE:
        raise ValueError(
            f"segments last from {lengths.min():g} s to {lengths.max():g} s: give the `duration` of every trial, ms"
        )
    start, stop = limits[0]
    return stop - (start + before) if start + before else stop


def _relative(train: Any, zero: float, before: float, length: float, cut: bool) -> Array:
    times = np.asarray(train.rescale("s").magnitude, dtype=np.float64)
    times = times - zero if zero else times
    return times[(times >= -before) & (times < length)] if cut else times


def _rank(presented: Sequence[Presented], k: int) -> int:
    labels = list(dict.fromkeys(own.stimulus for own in presented))
    return labels.index(presented[k].stimulus)


def _states(segments: Sequence[Any], zero: Sequence[float], stimuli: Any) -> Iterator[tuple[str, xr.Dataset]]:
    """Yield the groups of the analog signals that all segments have with one shape."""
    for k, signal in enumerate(segments[0].analogsignals):
        same = [segment.analogsignals[k] for segment in segments if len(segment.analogsignals) > k]
        if len(same) < len(segments) or any(other.shape != signal.shape for other in same):
            continue
        unit = next((own for own in ("mV", "pA", "nS") if _converts(signal, own)), None)
        scaled = [np.asarray((other.rescale(unit) if unit else other).magnitude) for other in same]
        values, dims = np.stack(scaled), ["trial", "time", "neuron"]
        if stimuli is not None:
            values = values.reshape(len(stimuli), -1, *values.shape[1:])
            dims.insert(0, "stimulus")
        times = np.asarray(signal.times.rescale("s").magnitude) - zero[0]
        name = str(signal.annotations.get("population") or signal.name or f"signal_{k}").replace("/", "_")
        variable = str(signal.annotations.get("variable") or ("v" if unit == "mV" else "value"))
        attrs = {"units": unit or signal.dimensionality.string, "long_name": variable}
        index = np.asarray(signal.array_annotations.get("index", np.arange(signal.shape[1])))
        coords = {
            "time": ("time", times, {"units": "s", "long_name": "time from the end of the warm-up"}),
            "index": ("neuron", index, {"long_name": "number of the neuron in its population"}),
        }
        if stimuli is not None:
            coords["stimulus"] = ("stimulus", stimuli, {})
        yield f"states/{name}", xr.Dataset({variable: (dims, values, attrs)}, coords)


def _converts(signal: Any, unit: str) -> bool:
    try:
        signal.rescale(unit)
    except ValueError:
        return False
    return True
