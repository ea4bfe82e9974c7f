"""Spike trains on the time steps of a simulation: those that a network is to learn, and those that it fires."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from mnnbio.circuit import Circuit, time_step
from mnnbio.results import neuron_coords, ragged, whole_steps
from mnnbio.spikes import build
from mnnbio.units import in_unit, is_quantity

Array = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]
Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class SpikeTargets:
    """Spike trains of some populations, counted in time steps; a neuron may be without a train to learn.

    Parameters
    ----------
    steps : sequence of ndarray of int, one per neuron
        Steps of the spikes, ascending; of step k are the spikes fired in (k dt, (k + 1) dt].
    dt : float
        Time step, ms.
    n_steps : int
        Length of the record.
    populations : mapping of str to int
        Size of each population; the neurons stand in this order.
    has_target : ndarray of bool, shape (n,), optional
        Whether a neuron has a train, which may be empty; by default all have.

    Raises
    ------
    ValueError
        If trains are unsorted, hold a step twice or a step outside the record, or their number is another one than
        that of the neurons.
    """

    steps: Sequence[Int64]
    dt: float
    n_steps: int
    populations: Mapping[str, int]
    has_target: Any = None

    def __post_init__(self) -> None:
        trains = tuple(np.asarray(train, dtype=np.int64).ravel() for train in self.steps)
        size = sum(self.populations.values())
        if len(trains) != size:
            raise ValueError(
                f"spike trains must be as many as the neurons, {size} ({_listed(self.populations)}), got {len(trains)}"
            )
        object.__setattr__(self, "steps", trains)
        mask = np.ones(size, bool) if self.has_target is None else np.asarray(self.has_target, dtype=bool)
        if mask.shape != (size,):
            raise ValueError(f"`has_target` must have one entry per neuron, ({size},), got shape {mask.shape}")
        object.__setattr__(self, "has_target", mask)
        for neuron, train in enumerate(trains):
            if train.size and (train[0] < 0 or train[-1] >= self.n_steps):
                outside = train[(train < 0) | (train >= self.n_steps)]
                place = int(outside[0]) if outside.size else int(train[-1])
                raise ValueError(
                    f"spikes of neuron {neuron} must lie within the record, 0 to {self.duration:g} ms, got one at "
                    f"{place * self.dt:g} ms: give the `duration` of the whole record, or leave such spikes out"
                )
            if (np.diff(train) <= 0).any():
                place = int(train[1:][np.diff(train) <= 0][0])
                raise ValueError(
                    f"spikes of neuron {neuron} must ascend, at most one a step of {self.dt:g} ms, got two out of "
                    f"order or in one step at {place * self.dt:g} ms: sort each train, or take a smaller dt"
                )

    @property
    def size(self) -> int:
        """Number of neurons."""
        return len(self.steps)

    @property
    def duration(self) -> float:
        """Length of the record, ms."""
        return self.n_steps * self.dt

    @property
    def counts(self) -> Int64:
        """Number of spikes of each neuron, (n,)."""
        return np.array([len(train) for train in self.steps], dtype=np.int64)

    @property
    def n_spikes(self) -> int:
        """Number of all spikes."""
        return int(self.counts.sum())

    @property
    def rate(self) -> float:
        """Mean rate of the neurons, Hz."""
        return 1e3 * self.n_spikes / (max(self.size, 1) * self.duration)

    @property
    def flat(self) -> tuple[Int64, Int64]:
        """Neuron and step of every spike, (spike,) each, sorted by neuron and time."""
        steps = np.concatenate([np.zeros(0, np.int64), *self.steps])
        return np.repeat(np.arange(self.size), self.counts), steps

    @property
    def raster(self) -> Bool:
        """Whether a neuron fires in a step, (step, neuron)."""
        fired = np.zeros((self.n_steps, self.size), dtype=bool)
        neuron, step = self.flat
        fired[step, neuron] = True
        return fired

    @property
    def times(self) -> list[Array]:
        """Spike times of each neuron, ms: the middle of the step."""
        return [np.asarray((train + 0.5) * self.dt, dtype=np.float64) for train in self.steps]

    def to_dataset(self) -> xr.Dataset:
        """Return the trains as results hold them, of one trial, with `has_target` of every neuron."""
        _, step = self.flat
        trains = ragged(
            (step + 0.5) * (self.dt * 1e-3),
            self.counts[None],
            ("trial", "neuron"),
            neuron_coords(dict(self.populations)),
            duration=self.duration * 1e-3,
            warmup=0.0,
            dt=self.dt * 1e-3,
        )
        trains["has_target"] = ("neuron", self.has_target, {"long_name": "whether the neuron has a train to learn"})
        return trains

    @staticmethod
    def from_raster(fired: npt.ArrayLike, dt: float, populations: Mapping[str, int]) -> SpikeTargets:
        """Return the trains of a boolean array, (step, neuron)."""
        raster = np.asarray(fired, dtype=bool)
        trains = [np.flatnonzero(column) for column in raster.T]
        return SpikeTargets(steps=trains, dt=dt, n_steps=len(raster), populations=populations)

    @staticmethod
    def from_flat(
        neuron: npt.ArrayLike, step: npt.ArrayLike, *, dt: float, n_steps: int, populations: Mapping[str, int]
    ) -> SpikeTargets:
        """Return the trains of spikes given by neuron and step, in any order."""
        neurons, steps = np.asarray(neuron, dtype=np.int64), np.asarray(step, dtype=np.int64)
        order = np.lexsort((steps, neurons))
        ends = np.cumsum(np.bincount(neurons, minlength=sum(populations.values())))
        return SpikeTargets(
            steps=np.split(steps[order], ends[:-1]), dt=dt, n_steps=n_steps, populations=dict(populations)
        )

    def __repr__(self) -> str:
        without = "" if self.has_target.all() else f", {int((~self.has_target).sum())} neurons without a target"
        return (
            f"SpikeTargets({_listed(self.populations)}; {self.n_spikes} spikes in {self.duration:g} ms, "
            f"{self.rate:.3g} Hz{without})"
        )


def read_targets(
    target: Any,
    populations: Mapping[str, int],
    *,
    dt: Any,
    duration: Any,
    t_ref: npt.ArrayLike = 0.0,
    window: Any = None,
    seed: int = 0,
) -> SpikeTargets:
    """Return spike trains to learn, whatever they are given as.

    Parameters
    ----------
    target : SpikeTargets, DataTree, Dataset, Circuit or array_like
        A result of `simulate` with one trial (and stimulus); a circuit, which is simulated in steps of `dt` with its
        own drives; a boolean array, (step, neuron); or one array of spike times per neuron, ms or quantities, None for
        a neuron that has no train to learn.
    populations : mapping of str to int
        Size of each population of the network that learns, in its order.
    dt, duration : float or Quantity
        Time step and length of the record, ms.
    t_ref : array_like, shape () or (n,)
        Refractory period of the neurons, ms: no neuron can fire two spikes that lie closer.
    window : float or Quantity, optional
        Longest distance, ms, at which a spike counts as that of the target; at least one step.
    seed : int
        Of the simulation, where the target is a circuit.

    Raises
    ------
    ValueError
        If there is no spike, the number of neurons or the duration is another one than that of the network, spikes lie
        outside the record or closer than the refractory period allows, or the window is shorter than a step.
    TypeError
        If it is none of these.
    """
    step = time_step(dt)
    length = float(in_unit(duration, "ms", "duration"))
    n_steps = whole_steps(length, step, "duration")
    if window is not None:
        require_window(window, step)
    found = _read(target, populations, step, n_steps, seed)
    _require_fitting(found, populations, step, n_steps)
    _require_apart(found, t_ref)
    return found


def require_window(window: Any, dt: float) -> float:
    """Return a window in ms, at least one step long.

    Raises
    ------
    ValueError
        If it is shorter than the step, dt, ms.
    """
    length = in_unit(window, "ms", "window")
    if not isinstance(length, float) or length < dt * (1 - 1e-9):
        raise ValueError(
            f"`window` must be one time of at least a step, {dt:g} ms, got {window!r}: within a shorter one no spike "
            "can be told from the next step's"
        )
    return length


def _read(target: Any, populations: Mapping[str, int], dt: float, n_steps: int, seed: int) -> SpikeTargets:
    if isinstance(target, SpikeTargets):
        return target
    if isinstance(target, Circuit):
        return _simulated(target, populations, dt, n_steps, seed)
    if isinstance(target, xr.DataTree):
        if "spikes" not in target.children:
            raise ValueError(
                f"the result holds no spikes, its groups are {', '.join(target.groups)}: simulate with record='spikes'"
            )
        target = target["spikes"].to_dataset()
    if isinstance(target, xr.Dataset):
        return _of_dataset(target, populations, dt)
    if isinstance(target, np.ndarray) and target.dtype == bool:
        if target.ndim != 2:
            raise ValueError(f"a boolean target must have shape (step, neuron), got {target.shape}")
        return SpikeTargets.from_raster(target, dt, _sizes(populations, target.shape[1]))
    if isinstance(target, Iterable) and not isinstance(target, str | bytes | Mapping) and not is_quantity(target):
        return _of_times(list(target), populations, dt, n_steps)
    raise TypeError(
        "`target` must be a result of `simulate`, a Circuit, a boolean array (step, neuron), or one array of spike "
        f"times per neuron, got {type(target).__name__}"
    )


def _simulated(circuit: Circuit, populations: Mapping[str, int], dt: float, n_steps: int, seed: int) -> SpikeTargets:
    if missing := [name for name in populations if name not in circuit.slices()]:
        raise ValueError(f"the target circuit has no population {missing[0]!r}, it has {', '.join(circuit.slices())}")
    if circuit.n_stimuli is not None and circuit.n_stimuli != 1:
        raise ValueError(f"the target circuit must have one stimulus, got {circuit.n_stimuli}: `select` one")
    with build(circuit, dt=dt, record=list(populations)) as program:
        recording = program.run(n_steps * dt, seed=seed)
    sizes = recording.row_size.reshape(-1, recording.row_size.shape[-1])[0]
    trains = dict(zip(_numbered(recording.populations), np.split(recording.step, np.cumsum(sizes)[:-1]), strict=True))
    return SpikeTargets(
        steps=[
            trains[place].astype(np.int64)
            for place in _numbered({name: circuit.population(name).size for name in populations})
        ],
        dt=dt,
        n_steps=n_steps,
        populations={name: circuit.population(name).size for name in populations},
    )


def _numbered(populations: Mapping[str, int]) -> list[tuple[str, int]]:
    return [(name, index) for name, size in populations.items() for index in range(size)]


def _of_dataset(spikes: xr.Dataset, populations: Mapping[str, int], dt: float) -> SpikeTargets:
    if "row_size" not in spikes or "spike_time" not in spikes:
        raise ValueError("a dataset of spikes needs `spike_time` and `row_size`, as results of `simulate` have them")
    sizes = spikes["row_size"].values
    if sizes.size != sizes.shape[-1]:
        lead = dict(zip(spikes["row_size"].dims[:-1], sizes.shape[:-1], strict=True))
        raise ValueError(f"the target must be one presentation, got {lead}: simulate one trial of one stimulus")
    own = float(spikes.attrs.get("dt", dt * 1e-3)) * 1e3
    if abs(own - dt) > 1e-9 * dt:
        raise ValueError(f"the target was simulated in steps of {own:g} ms, the network runs in steps of {dt:g} ms")
    ends = np.cumsum(sizes.ravel())
    trains = [np.floor(part * 1e3 / dt + 1e-6).astype(np.int64) for part in np.split(spikes.spike_time.values, ends)]
    names = np.asarray(spikes["population"].values) if "population" in spikes.coords else None
    if names is not None and (missing := [name for name in populations if name not in names]):
        raise ValueError(f"the target has no population {missing[0]!r}, it has {', '.join(dict.fromkeys(names))}")
    if names is None:
        chosen, found = list(range(sizes.shape[-1])), _sizes(populations, sizes.shape[-1])
    else:
        chosen = [int(k) for name in populations for k in np.flatnonzero(names == name)]
        found = {name: int((names == name).sum()) for name in populations}
    length = spikes.attrs.get("duration")
    last = max((int(trains[k][-1]) for k in chosen if trains[k].size), default=0)
    n_steps = round(float(length) * 1e3 / dt) if length is not None else last + 1
    mask = spikes["has_target"].values[chosen] if "has_target" in spikes else None
    # Spikes of the warm-up have negative times.
    return SpikeTargets(
        steps=[trains[k][trains[k] >= 0] for k in chosen], dt=dt, n_steps=n_steps, populations=found, has_target=mask
    )


def _of_times(trains: list[Any], populations: Mapping[str, int], dt: float, n_steps: int) -> SpikeTargets:
    steps = []
    for neuron, train in enumerate(trains):
        times = np.zeros(0) if train is None else np.atleast_1d(in_unit(train, "ms", f"spike times of neuron {neuron}"))
        if times.ndim != 1:
            raise ValueError(f"spike times of neuron {neuron} must be one flat array, got shape {times.shape}")
        # A time that is a whole number of steps up to rounding belongs to the step that begins there.
        steps.append(np.floor(np.sort(times) / dt + 1e-9).astype(np.int64))
    return SpikeTargets(
        steps=steps,
        dt=dt,
        n_steps=n_steps,
        populations=_sizes(populations, len(trains)),
        has_target=np.array([train is not None for train in trains], dtype=bool),
    )


def _sizes(populations: Mapping[str, int], given: int) -> Mapping[str, int]:
    """Return the populations, or raise if the trains given are not as many as their neurons."""
    size = sum(populations.values())
    if given != size:
        raise ValueError(
            f"the target must have one train per neuron of the network, {size} ({_listed(populations)}), got {given}"
        )
    return dict(populations)


def _require_fitting(found: SpikeTargets, populations: Mapping[str, int], dt: float, n_steps: int) -> None:
    if dict(found.populations) != dict(populations):
        raise ValueError(
            f"the target must have the neurons of the network, {_listed(populations)}, got {_listed(found.populations)}"
        )
    if abs(found.dt - dt) > 1e-9 * dt:
        raise ValueError(f"the target has steps of {found.dt:g} ms, the network runs in steps of {dt:g} ms")
    if found.n_steps != n_steps:
        raise ValueError(
            f"the target must be as long as the run, {n_steps * dt:g} ms, got {found.duration:g} ms: cut it, or give "
            "currents of its length"
        )
    if not found.counts[found.has_target].any():
        raise ValueError("the target holds no spikes: there is nothing to learn from")


def _require_apart(found: SpikeTargets, t_ref: npt.ArrayLike) -> None:
    """Raise if a neuron fires sooner after a spike than its refractory period lets it.

    A neuron is held for ``t_ref/dt`` steps after that of the spike, and may fire in the next one.
    """
    hold = np.broadcast_to(np.rint(np.asarray(t_ref, dtype=np.float64) / found.dt).astype(np.int64), found.size)
    for neuron in np.flatnonzero(found.has_target):
        gaps = np.diff(found.steps[neuron])
        close = np.flatnonzero(gaps <= hold[neuron]) if hold[neuron] else np.zeros(0, np.int64)
        if close.size:
            first, second = found.steps[neuron][close[0] : close[0] + 2] * found.dt
            raise ValueError(
                f"spikes of neuron {neuron} lie closer than its refractory period of {hold[neuron] * found.dt:g} ms, "
                f"at {first:g} and {second:g} ms: it cannot fire them. Leave one out, or shorten `t_ref`"
            )


def _listed(populations: Mapping[str, int]) -> str:
    return ", ".join(f"{name}: {size}" for name, size in populations.items())
