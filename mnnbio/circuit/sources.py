"""Sources of spikes from outside: Poisson trains, and spikes given one by one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from mnnbio.circuit.part_values import Array, check_shape, frozen, highest_value, input_value, per_neuron
from mnnbio.units import in_unit, require, shown
from mnnbio.values import TimeCourse

Int64 = npt.NDArray[np.int64]

_LONGEST_NAME = 100


def check_name(name: str, size: int) -> None:
    """Raise a `ValueError` unless a population may have that name and size."""
    if not isinstance(name, str) or not name.strip() or not name.isprintable() or len(name) > _LONGEST_NAME:
        raise ValueError(f"the name of a population must be text of at most {_LONGEST_NAME} characters, got {name!r}")
    if isinstance(size, bool | np.bool_) or not isinstance(size, int | np.integer) or size < 1:
        raise ValueError(f"the size of {name!r} must be a whole number ≥ 1, got {size!r}")


@dataclass(frozen=True, eq=False)
class Source(ABC):
    """A population whose spikes come from outside the circuit."""

    name: str

    size: int  # of elements

    @property
    @abstractmethod
    def kind(self) -> str:
        """What the elements are, for tables and texts."""

    @abstractmethod
    def check_time_step(self, dt: float) -> None:
        """Raise a `ValueError` if the spikes cannot be given in steps of `dt`, ms."""


@dataclass(frozen=True, eq=False)
class PoissonSource(Source):
    """A population of independent Poisson spike trains.

    Parameters
    ----------
    name : str
        Name, unique in the circuit.
    size : int
        Number of trains.
    rates : array_like, Quantity or TimeCourse
        Rates, spikes/ms: a number, (size,), or (stimulus, size) for several stimuli; ≥ 0. Rates that change in time are
        a `Steps`, `Ramp`, `Oscillation` or `Samples`.
    """

    rates: Any

    def __post_init__(self) -> None:
        check_name(self.name, self.size)
        name = f"rates of {self.name!r}"
        if isinstance(self.rates, TimeCourse):
            rates: Array | TimeCourse = input_value(self.rates, "1/ms", name, least=0.0)
            check_shape(rates.shape, name, self.size)
        else:
            rates = per_neuron(self.rates, "1/ms", name, self.size)
            require(rates >= 0, name, "≥ 0 spikes/ms", rates, where="index")
        object.__setattr__(self, "rates", rates)

    @property
    def kind(self) -> str:
        """What the elements are."""
        return "Poisson trains"

    def check_time_step(self, dt: float) -> None:
        """Raise a `ValueError` if a rate is more than one spike in a step of `dt`, ms."""
        self.spike_probability(dt)

    def spike_probability(self, dt: float) -> Array:
        """Return the probability that a train fires in a step of `dt`, ms, (1 or stimulus, 1 or size).

        Where rates change in time, it is that of the highest rate.

        Raises
        ------
        ValueError
            If it exceeds 1.
        """
        rates = highest_value(self.rates)
        probability = rates * dt
        if (probability > 1).any():
            stimulus, index = np.unravel_index(int(np.argmax(probability)), probability.shape)
            raise ValueError(
                f"`rates` of {self.name!r} must be at most one spike a step, {1 / dt:g} spikes/ms at dt = {dt:g} ms, "
                f"got {rates[stimulus, index]:g} at stimulus {stimulus}, index {index}. Try dt = "
                f"{1 / rates.max():.2g} ms"
            )
        return probability


@dataclass(frozen=True, eq=False)
class SpikeSource(Source):
    """A population that fires at given times, the same in every trial.

    Parameters
    ----------
    name : str
        Name, unique in the circuit.
    times : array_like, Quantity or list of such
        Times of all spikes, ms from the end of the warm-up, in any order; of several stimuli a list of arrays. A spike
        of time t is fired in the step that begins at or before it.
    indices : array_like of int or list of such
        Which element fires at each time.
    size : int, optional
        Number of elements; by default the greatest index and 1.
    stops : array_like of int, optional
        Where the spikes of each stimulus end in flat `times`, as they are stored.

    Raises
    ------
    ValueError
        If times and indices differ in number, or an index is out of range.
    """

    size: int
    times: Any
    indices: Any
    stops: Any

    def __init__(self, name: str, times: Any, indices: Any, size: int | None = None, stops: Any = None) -> None:
        flat, which, ends = _flat(times, indices, stops, name)
        if len(flat) != len(which):
            raise ValueError(f"`times` and `indices` of {name!r} must go together, got {len(flat)} and {len(which)}")
        most = int(which.max()) + 1 if len(which) else 0
        found = most if size is None else size
        if found == 0:
            raise ValueError(f"{name!r} has no spikes: give `size`, the number of its elements")
        check_name(name, found)
        if len(which) and (which.min() < 0 or most > found):
            raise ValueError(f"`indices` of {name!r} must be from 0 to {found - 1}, got {which.min()} to {which.max()}")
        values = {"name": name, "size": int(found), "times": flat, "indices": which, "stops": ends}
        for key, value in values.items():
            object.__setattr__(self, key, value)

    @staticmethod
    def from_result(name: str, spikes: Any, population: str, *, trial: int = 0) -> SpikeSource:
        """Return a source that fires as a population did in a simulation.

        Parameters
        ----------
        name : str
            Name of the source.
        spikes : Dataset
            Group ``spikes`` of a result. Its stimuli become those of the source.
        population : str
            Whose spikes they are.
        trial : int
            Of which trial.
        """
        row_size = spikes["row_size"]
        if population not in (own := spikes["population"].values):
            raise ValueError(f"`spikes` hold no population {population!r}, only {', '.join(map(str, np.unique(own)))}")
        if not 0 <= trial < row_size.sizes["trial"]:
            raise ValueError(f"`trial` must be from 0 to {row_size.sizes['trial'] - 1}, got {trial}")
        table = row_size.transpose(..., "trial", "neuron").values
        rows = table.reshape(-1, *table.shape[-2:])
        stop = np.cumsum(rows.ravel()).reshape(rows.shape)
        neurons, spike_time = np.flatnonzero(own == population), spikes["spike_time"].values
        trains = [
            [spike_time[stop[k, trial, n] - rows[k, trial, n] : stop[k, trial, n]] for n in neurons]
            for k in range(len(rows))
        ]
        times = [np.concatenate(one) * 1e3 for one in trains]
        indices = [np.repeat(np.arange(len(neurons)), [len(train) for train in one]) for one in trains]
        if "stimulus" not in row_size.dims:
            return SpikeSource(name, times[0], indices[0], len(neurons))
        return SpikeSource(name, times, indices, len(neurons))

    @property
    def kind(self) -> str:
        """What the elements are."""
        return "given spike trains"

    @property
    def n_stimuli(self) -> int | None:
        """Number of stimuli, None if the spikes do not depend on them."""
        return None if self.stops is None else len(self.stops)

    def select(self, index: Any) -> SpikeSource:
        """Return the source with some of its stimuli only; an integer gives one without the stimulus dimension."""
        if self.stops is None:
            return self
        chosen = np.arange(len(self.stops))[index]
        if np.ndim(chosen) == 0:
            own = self._of(int(chosen))
            return SpikeSource(self.name, self.times[own], self.indices[own], self.size)
        parts = [self._of(int(k)) for k in chosen]
        return SpikeSource(
            self.name, [self.times[part] for part in parts], [self.indices[part] for part in parts], self.size
        )

    def _of(self, stimulus: int) -> slice:
        return slice(int(self.stops[stimulus - 1]) if stimulus else 0, int(self.stops[stimulus]))

    def steps(self, dt: float) -> list[tuple[Int64, Int64]]:
        """Return step, from the end of the warm-up on, and element of all spikes of each stimulus, in order of time.

        Raises
        ------
        ValueError
            If an element fires twice in a step.
        """
        found = []
        for stimulus in range(self.n_stimuli or 1):
            own = slice(None) if self.stops is None else self._of(stimulus)
            step = np.floor(self.times[own] / dt + 1e-6).astype(np.int64)
            order = np.lexsort((self.indices[own], step))
            step, element = step[order], self.indices[own][order]
            twice = (np.diff(step) == 0) & (np.diff(element) == 0)
            if twice.any():
                first = int(np.argmax(twice))
                raise ValueError(
                    f"element {element[first]} of {self.name!r} fires twice in the step of {dt:g} ms at "
                    f"{step[first] * dt:g} ms: remove a spike, or take a smaller dt"
                )
            found.append((step, element))
        return found

    def check_time_step(self, dt: float) -> None:
        """Raise a `ValueError` if an element fires twice in a step of `dt`, ms."""
        self.steps(dt)


def _flat(times: Any, indices: Any, stops: Any, name: str) -> tuple[Array, Int64, Int64 | None]:
    """Return times and indices of all stimuli one after the other, and where each ends."""
    if isinstance(times, list | tuple) and times and np.ndim(times[0]) == 1:
        if not isinstance(indices, list | tuple) or len(indices) != len(times):
            raise ValueError(f"`indices` of {name!r} must be a list of {len(times)} arrays, one for each stimulus")
        parts = [np.atleast_1d(in_unit(one, "ms", f"times of {name!r}")) for one in times]
        which = [_indices(one, name) for one in indices]
        for k, (one, other) in enumerate(zip(parts, which, strict=True)):
            if len(one) != len(other):
                raise ValueError(
                    f"`times` and `indices` of {name!r} must go together, got {len(one)}, {len(other)} at stimulus {k}"
                )
        return frozen(np.concatenate(parts)), np.concatenate(which), np.cumsum([len(one) for one in parts])
    flat = np.atleast_1d(in_unit(times, "ms", f"times of {name!r}"))
    if flat.ndim != 1:
        raise ValueError(f"`times` of {name!r} must be one-dimensional, got {shown(times)}")
    return frozen(flat), _indices(indices, name), None if stops is None else np.asarray(stops, dtype=np.int64)


def _indices(value: Any, name: str) -> Int64:
    array = np.atleast_1d(np.asarray(value))
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise ValueError(f"`indices` of {name!r} must be whole numbers, one for each time, got {shown(value)}")
    return array.astype(np.int64)


def with_inputs(source: Source, change: Any) -> Source:
    """Return a source with its input changed by a function of the value and the number of its axes of neurons."""
    return replace(source, rates=change(source.rates, 1)) if isinstance(source, PoissonSource) else source
