"""Recorded spikes, counts and voltages in the schema of results, whatever format they come from.

What is written from a result carries a *layout*, a text with everything that a format has no place of its own for:
labels, attributes and the circuit. With it, reading gives back the result bit by bit; without it, labels and times are
what the format says.
"""

from __future__ import annotations

import base64
import json
import warnings
import zlib
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr

from mnnbio.formats.packages import LeftOutWarning
from mnnbio.results import counts, ragged, single_time, with_stimuli
from mnnbio.spikes import estimates_of_counts
from mnnbio.units import shown

Array = npt.NDArray[np.float64]

LAYOUT = "mnnbio"  # under which a format keeps the layout
_VERSION = 1
_KEPT = ("simulation", "spikes", "counts", "states")  # groups that are written, or made anew from what is
_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}


class Series(NamedTuple):
    """One variable in time of a result: samples of states, or counts in bins.

    Attributes
    ----------
    group, variable : str
        Such as ``"states/E"`` and ``"v"``.
    values : DataArray
        Over ([stimulus,] trial, time, neuron or population), in the unit of its attributes.
    """

    group: str
    variable: str
    values: xr.DataArray

    @property
    def population(self) -> str:
        """What the samples are of, for names."""
        return self.group.partition("/")[2] or self.group

    @property
    def times(self) -> Array:
        """Times of the samples, s."""
        return np.asarray(self.values[self.values.dims[-2]].values, dtype=np.float64)

    @property
    def step(self) -> float:
        """Time between samples, s."""
        times = self.times
        return float(times[1] - times[0]) if len(times) > 1 else float(self.values.attrs.get("bin", 1e-3))


class Recorded(NamedTuple):
    """Parts of a result that other formats hold.

    Attributes
    ----------
    spikes : Dataset or None
    series : list of Series
    stimuli : ndarray or None
        Labels of the stimuli, None where there is no such dimension.
    trials : int
    duration, warmup : float
        s.
    layout : str
    """

    spikes: xr.Dataset | None
    series: list[Series]
    stimuli: npt.NDArray[Any] | None
    trials: int
    duration: float
    warmup: float
    layout: str

    @property
    def presentations(self) -> list[tuple[int, int]]:
        """Numbers of stimulus and trial of every presentation, in order."""
        return [
            (k, trial) for k in range(1 if self.stimuli is None else len(self.stimuli)) for trial in range(self.trials)
        ]

    def label(self, stimulus: int) -> Any:
        """Return the label of a stimulus, in Python's own type; its number where stimuli have none."""
        return stimulus if self.stimuli is None else self.stimuli[stimulus].item()

    def trains(self, stimulus: int, trial: int) -> Iterator[Array]:
        """Yield the spike times of all neurons in a presentation, s."""
        if self.spikes is None:
            return
        sizes = self.spikes["row_size"].values.reshape(-1, self.trials, self.spikes.sizes["neuron"])
        stops = np.cumsum(sizes).reshape(sizes.shape)
        times = self.spikes["spike_time"].values
        for size, stop in zip(sizes[stimulus, trial], stops[stimulus, trial], strict=True):
            yield times[stop - size : stop]

    def samples(self, series: Series, stimulus: int, trial: int) -> npt.NDArray[Any]:
        """Return the samples of a presentation, (time, neuron)."""
        values = series.values.values
        return np.asarray(values[trial] if self.stimuli is None else values[stimulus, trial])


def recorded_parts(result: Any, what: str) -> Recorded:
    """Return the parts of a result that other formats hold.

    Parameters
    ----------
    result : DataTree or Dataset
        A result with recorded spikes, counts or states, or its group ``spikes``.
    what : str
        Which function asks, for messages.

    Raises
    ------
    TypeError
        If it is no result.
    ValueError
        If nothing is recorded in it.

    Warns
    -----
    LeftOutWarning
        If it has groups that are not written.
    """
    if isinstance(result, xr.Dataset):
        result = xr.DataTree.from_dict({"/spikes": result})
    if not isinstance(result, xr.DataTree):
        raise TypeError(f"`{what}` writes a result, as `simulate` returns it, got {shown(result)}")
    spikes = _group(result, "spikes") if "spikes" in result.children else None
    series = [
        Series(node.path.strip("/"), str(name), values)
        for node in result.subtree
        if node.path.startswith(("/states/", "/counts"))
        for name, values in node.to_dataset(inherit=False).data_vars.items()
    ]
    if spikes is None and not series:
        raise ValueError(
            f"`{what}` found nothing recorded: the result has the groups {', '.join(result.children) or 'none'}, and "
            "spikes, counts or states are written"
        )
    if left := [name for name in result.children if name not in _KEPT]:
        warnings.warn(
            f"`{what}` leaves out {', '.join(f'/{name}' for name in left)}: the format holds spikes, counts and "
            "states; keep them with `mnnbio.save`",
            LeftOutWarning,
            stacklevel=3,
        )
    first = spikes["row_size"] if spikes is not None else series[0].values
    stimuli = (
        np.asarray(with_stimuli(first.to_dataset(name="x"))["stimulus"].values) if "stimulus" in first.dims else None
    )
    attrs = {**(spikes.attrs if spikes is not None else {}), **result.attrs}
    times = {name: attrs.get(name) for name in ("duration", "warmup")}
    if times["duration"] is None:
        raise ValueError(f"`{what}` needs the length of the recording: the result lacks the attribute `duration` (s)")
    return Recorded(
        spikes,
        series,
        stimuli,
        first.sizes["trial"],
        float(times["duration"]),
        float(times["warmup"] or 0.0),
        _layout(result, spikes, series),
    )


def _group(tree: xr.DataTree, name: str) -> xr.Dataset:
    """Return the dataset of a group, an empty one where there is none."""
    try:
        node = tree[name]  # by path, which `get` does not follow
    except KeyError:
        return xr.Dataset()
    return node.to_dataset(inherit=False) if isinstance(node, xr.DataTree) else xr.Dataset()


def _layout(result: xr.DataTree, spikes: xr.Dataset | None, series: Sequence[Series]) -> str:
    """Return everything about a result but its numbers, as text."""
    simulation = _group(result, "simulation") if "simulation" in result.children else None
    root = {
        str(name): value.item() for name, value in result.to_dataset(inherit=False).data_vars.items() if not value.ndim
    }
    content: dict[str, Any] = {"version": _VERSION, "attrs": result.attrs, "root": root, "simulation": False}
    if simulation is not None:
        # Estimates are made anew from the spikes or counts, but for those that these do not determine.
        source = spikes if spikes is not None else _group(result, "counts")
        made = (
            "neuron" in source.coords
            and "neuron" in simulation.coords
            and source["neuron"].equals(simulation["neuron"])
        )
        left = {name: own for name, own in simulation.data_vars.items() if not made or "neuron" not in own.dims}
        content |= {
            "simulation": made,
            "covariance": "count_covariance" in simulation,
            "window": simulation.attrs.get("window"),
            "estimates": None if made and not left else _whole(simulation[list(left)], attrs=not made),
        }
    if spikes is not None:
        content["spikes"] = {"dims": list(spikes["row_size"].dims), **_labels(spikes)}
    content["series"] = [
        {
            "group": own.group,
            "variable": own.variable,
            "dims": list(own.values.dims),
            "stimuli": int(own.values.sizes.get("stimulus", 1)),
            "dtype": own.values.dtype.str,
            "own": dict(own.values.attrs),
            **_labels(_group(result, own.group)),
        }
        for own in series
    ]
    return json.dumps(content, default=_plain)


def _labels(dataset: xr.Dataset) -> dict[str, Any]:
    """Return coordinates and attributes of a dataset."""
    coords = {str(n): [list(c.dims), _packed(np.asarray(c.values)), dict(c.attrs)] for n, c in dataset.coords.items()}
    return {"coords": coords, "attrs": dict(dataset.attrs)}


def _whole(dataset: xr.Dataset, *, attrs: bool) -> dict[str, Any]:
    """Return a small dataset as text."""
    variables = {
        str(n): [list(v.dims), _packed(np.asarray(v.values)), dict(v.attrs)] for n, v in dataset.data_vars.items()
    }
    stored = _labels(dataset)
    return {**stored, "variables": variables, "attrs": stored["attrs"] if attrs else {}}


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    raise TypeError(f"an attribute of the result is a {type(value).__name__}, which no other format holds: remove it")


def _packed(values: npt.NDArray[Any]) -> Any:
    """Return an array as text, without loss."""
    if values.dtype.kind not in "iufb":
        return {"list": values.tolist()}
    content = base64.b85encode(zlib.compress(np.ascontiguousarray(values).tobytes(), 6)).decode()
    return {"bytes": content, "dtype": values.dtype.str, "shape": list(values.shape)}


def _unpacked(stored: Mapping[str, Any]) -> npt.NDArray[Any]:
    if "list" in stored:
        return np.asarray(stored["list"])
    content = zlib.decompress(base64.b85decode(stored["bytes"]))
    return np.frombuffer(content, stored["dtype"]).reshape(stored["shape"]).copy()


class Layout:
    """Layout of a result that was written into another format."""

    def __init__(self, text: str) -> None:
        self.content = json.loads(text)
        if self.content.get("version") != _VERSION:
            raise ValueError(
                f"the layout is of version {self.content.get('version')!r}, this release reads {_VERSION}: read it "
                "with the release that wrote it"
            )

    @property
    def series(self) -> list[dict[str, Any]]:
        """Descriptions of the variables in time."""
        return list(self.content["series"])

    def result(
        self, trains: Sequence[Sequence[Array]] | None, samples: Sequence[Sequence[npt.NDArray[Any]]]
    ) -> xr.DataTree:
        """Return the result.

        Parameters
        ----------
        trains : sequence of sequence of ndarray
            Spike times, s, of all neurons of every presentation.
        samples : sequence of sequence of ndarray, (time, neuron)
            Of every variable in time, of every presentation.
        """
        spikes = None
        if trains is not None and "spikes" in self.content:
            stored = self.content["spikes"]
            coords = _coords(stored)
            sizes = {name: len(values) for name, (_, values, _) in coords.items()}
            shape = [sizes.get(dim, -1) for dim in stored["dims"]]
            if "neuron" in sizes and any(len(one) != sizes["neuron"] for one in trains):
                raise ValueError(
                    f"the file was written with {sizes['neuron']} neurons and holds {len(trains[0])} now: remove its "
                    f"entry {LAYOUT!r} to read it as any other file"
                )
            row_size = np.array([[len(train) for train in one] for one in trains]).reshape(shape)
            flat = np.concatenate([np.zeros(0), *(train for one in trains for train in one)])
            spikes = ragged(flat, row_size, stored["dims"], coords)
            spikes.attrs = dict(stored["attrs"])
        groups: dict[str, xr.Dataset] = {}
        for stored, parts in zip(self.series, samples, strict=True):
            values = np.stack([np.asarray(part, dtype=stored["dtype"]) for part in parts])
            coords = _coords(stored)
            lead = stored["dims"][:-2]
            number = int(stored["stimuli"])
            values = values.reshape(*([number] if "stimulus" in lead else []), len(parts) // number, *values.shape[1:])
            known = groups.get(stored["group"], xr.Dataset(coords=coords, attrs=stored["attrs"]))
            array = xr.DataArray(values, dims=stored["dims"], attrs=stored["own"])
            groups[stored["group"]] = known.assign({stored["variable"]: array})
        window = self.content.get("window")
        tree = labelled(
            spikes,
            groups,
            window=None if window is None else 1e3 * window,
            covariance=self.content.get("covariance", False),
            simulation=self.content["simulation"],
        )
        if left := self.content.get("estimates"):
            own = xr.Dataset({n: (d, _unpacked(v), a) for n, (d, v, a) in left["variables"].items()}, _coords(left))
            if self.content["simulation"]:
                tree["simulation"] = xr.DataTree(tree["simulation"].to_dataset().assign(own.data_vars))
            else:
                order = ["/simulation", *(node.path for node in tree.subtree if node.path != "/")]
                found = {node.path: node.to_dataset(inherit=False) for node in tree.subtree}
                found["/simulation"] = own.assign_attrs(left["attrs"])
                tree = xr.DataTree.from_dict({"/": found["/"]} | {name: found[name] for name in order})
        tree.attrs = dict(self.content["attrs"])
        for name, value in self.content["root"].items():
            tree[name] = xr.DataArray(value)
        return tree


def _coords(stored: Mapping[str, Any]) -> dict[str, Any]:
    return {name: (dims, _unpacked(values), attrs) for name, (dims, values, attrs) in stored["coords"].items()}


def labelled(
    spikes: xr.Dataset | None,
    series: Mapping[str, xr.Dataset],
    *,
    window: Any = None,
    covariance: bool = True,
    simulation: bool = True,
    **attrs: Any,
) -> xr.DataTree:
    """Return recorded data in the schema that `simulate` returns, with estimates and their standard errors.

    Parameters
    ----------
    spikes : Dataset or None
        As `mnnbio.results.ragged` makes it, with the attributes `duration` and `warmup`.
    series : mapping of str to Dataset
        Groups ``states/...`` and ``counts``.
    window : float or Quantity, optional
        Length of the windows of count statistics, ms; default: the duration.
    covariance : bool
        Whether to estimate the covariance matrices.
    simulation : bool
        Whether to estimate at all.
    **attrs
        Attributes of the root beside `duration`, `warmup`, `window` and `trials`.
    """
    groups: dict[str, xr.Dataset] = {}
    binned = series.get("counts")
    if spikes is not None:
        groups["/spikes"] = spikes
        duration = 1e3 * float(spikes.attrs["duration"])
        sample = partial(counts, spikes)
        labels, trials = spikes, spikes.sizes["trial"]
    elif binned is not None and "neuron" in binned["count"].dims:
        step = 1e3 * float(binned["count"].attrs["bin"])
        duration = step * binned.sizes["time"]
        sample = partial(_joined, binned, step)
        labels, trials = binned, binned.sizes["trial"]
    else:
        simulation = False
        duration, labels, trials = 0.0, xr.Dataset(), 0
    length = duration if window is None else single_time(window, "window")
    if simulation:
        if not 0 < length <= duration * (1 + 1e-9):
            raise ValueError(f"`window` must be > 0 ms and at most the duration, {duration:g} ms, got {length:g} ms")
        estimates = estimates_of_counts(sample, duration=duration, window=length, covariance=covariance)
        coords = {name: c for name, c in labels.coords.items() if {"neuron", "stimulus"} & set(c.dims)}
        estimates = estimates.assign_coords(coords)
        if "neuron_j" in estimates.dims:
            second = {f"{n}_j": ("neuron_j", estimates[n].values) for n in ("neuron", "population", "index")}
            estimates = estimates.assign_coords(second)
        estimates.attrs |= {"duration": duration * 1e-3, "window": length * 1e-3}
        groups["/simulation"] = estimates
    root = xr.Dataset(attrs={"duration": duration * 1e-3, "window": length * 1e-3, "trials": trials, **attrs})
    if spikes is not None:
        root.attrs |= {name: spikes.attrs[name] for name in ("warmup", "dt") if name in spikes.attrs}
    groups |= {f"/{name}": dataset for name, dataset in series.items()}
    order = ["/simulation", "/spikes", "/counts"]
    names = [*(name for name in order if name in groups), *(name for name in groups if name not in order)]
    return xr.DataTree.from_dict({"/": root} | {name: with_stimuli(groups[name]) for name in names})


def _joined(binned: xr.Dataset, step: float, length: float) -> xr.DataArray:
    """Return counts in windows of a length, ms, of bins of length `step`."""
    bins = binned["count"].drop_vars("time").rename(time="window")
    return bins.coarsen(window=round(length / step), boundary="trim").sum()


class Presented(NamedTuple):
    """Spike trains of one presentation.

    Attributes
    ----------
    stimulus : Any
        Its label, None where there are no stimuli.
    trains : list of ndarray
        Spike times of every neuron, s from the end of the warm-up.
    """

    stimulus: Any
    trains: list[Array]


def arranged(
    presented: Sequence[Presented],
    populations: Sequence[str],
    *,
    duration: float,
    warmup: float,
    dt: float | None = None,
) -> xr.Dataset:
    """Return the spikes of presentations as a group of a result.

    Parameters
    ----------
    presented : sequence of Presented
        Trials of one stimulus count up in the order in which they stand.
    populations : sequence of str
        Population of every neuron.
    duration, warmup, dt : float
        s.

    Raises
    ------
    ValueError
        If presentations differ in neurons, or stimuli in their number of trials.
    """
    labels = list(dict.fromkeys(own.stimulus for own in presented))
    rows = {label: [own.trains for own in presented if own.stimulus == label] for label in labels}
    numbers = {label: len(own) for label, own in rows.items()}
    if len(set(numbers.values())) > 1:
        listed = ", ".join(f"{label!r} {number}" for label, number in list(numbers.items())[:6])
        raise ValueError(f"all stimuli must have the same number of trials, got {listed}: choose as many of each")
    ordered = [trains for label in labels for trains in rows[label]]
    if wrong := [len(trains) for trains in ordered if len(trains) != len(populations)]:
        raise ValueError(f"all presentations must have the same neurons, got {len(populations)} and {wrong[0]}")
    shape = [next(iter(numbers.values()), 1), len(populations)]
    dims = ["trial", "neuron"]
    coords = population_coords(populations)
    if labels != [None]:
        shape.insert(0, len(labels))
        dims.insert(0, "stimulus")
        coords["stimulus"] = ("stimulus", np.asarray(labels))
    sizes = np.array([[len(train) for train in trains] for trains in ordered], dtype=np.int64).reshape(shape)
    flat = np.concatenate([np.zeros(0), *(train for trains in ordered for train in trains)])
    step = {} if dt is None else {"dt": dt}
    return ragged(flat, sizes, dims, coords, duration=duration, warmup=warmup, **step)


def population_coords(populations: Sequence[str]) -> dict[str, Any]:
    """Return the coordinates of neurons whose populations are named one by one; they are numbered within each."""
    seen: dict[str, int] = {}
    index = []
    for name in populations:
        index.append(seen.get(name, 0))
        seen[name] = index[-1] + 1
    return {
        "neuron": ("neuron", np.arange(len(populations))),
        "population": ("neuron", np.array([str(name) for name in populations], dtype=str)),
        "index": ("neuron", np.array(index, dtype=np.int64)),
    }


def seconds_of(unit: Any, what: str) -> float:
    """Return a unit of time in seconds.

    Raises
    ------
    ValueError
        If it is not given, or unknown.
    """
    if unit is None:
        raise ValueError(
            f"`unit` of {what} must be given, one of {', '.join(map(repr, _SECONDS))}: plain numbers do not say "
            "whether they are seconds or milliseconds. Samples of a clock are divided by its rate first"
        )
    if not isinstance(unit, str) or unit not in _SECONDS:
        raise ValueError(f"Invalid value {unit!r} for `unit` of {what}. Must be one of {list(_SECONDS)}")
    return _SECONDS[unit]


def seconds(value: Any, name: str) -> float:
    """Return a time, given as a number in ms or as a quantity, in s."""
    return single_time(value, name) * 1e-3
