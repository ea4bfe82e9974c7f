"""Kinds of recordings of a population, and the channels through which a run hands on what they read.

Spikes, counts in bins and moments of counts in windows are kinds of ours; a kind of a user's own is a `Reduction`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from mnnbio.machine import check_choice
from mnnbio.spikes.timing import Times
from mnnbio.units import count_steps, in_unit

Per = Literal["neuron", "population"]


class RecordingKind(ABC):
    """Kind of recording of a population, from counts in adjacent bins after the warm-up."""

    @abstractmethod
    def bin_length(self) -> tuple[str, float]:
        """Return the name of the option that is the length of the bins, and that length, ms."""

    @property
    def must_divide(self) -> bool:
        """Whether the bins must divide the duration; else the last one may be incomplete."""
        return False

    @property
    def pooled(self) -> bool:
        """Whether the spikes of all neurons are counted together."""
        return False


class Reduction(RecordingKind):
    """Kind of recording of a user's own: counts in bins are reduced while the run goes on.

    A subclass is a frozen dataclass. Of every presentation a state is begun by `start`, changed by `add` and ended by
    `result`; nothing else is kept. The arrays that `result` returns stand in the group `GROUP` of the result, with the
    dimensions of stimuli and trials in front.

    Attributes
    ----------
    GROUP : str
        Name of the group of the result.
    VARIABLES : mapping of str to tuple of str
        Dimensions of each array of `result`. Those of several populations are joined along "neuron", where there is
        such a dimension; else "population" is put in front.
    ATTRS : mapping of str to mapping
        Attributes of the variables, ``units`` and ``long_name`` among them.
    """

    GROUP: ClassVar[str]
    VARIABLES: ClassVar[Mapping[str, tuple[str, ...]]]
    ATTRS: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    @abstractmethod
    def start(self, size: int, n_bins: int) -> Any:
        """Return the state of a presentation before its first bin, for a population of that size."""

    @abstractmethod
    def add(self, state: Any, first: int, counts: npt.NDArray[np.int32]) -> Any:
        """Return the state after the counts of the bins `first`, `first` + 1, …, (bin, neuron)."""

    @abstractmethod
    def result(self, state: Any) -> Mapping[str, npt.ArrayLike]:
        """Return the arrays of a presentation by name."""


@dataclass(frozen=True, kw_only=True)
class Counts(RecordingKind):
    """Spike counts in adjacent bins from the end of the warm-up on, of every neuron or of a population together.

    Parameters
    ----------
    bin : float or Quantity
        Length of a bin, ms; it must divide the duration.
    per : {"neuron", "population"}

    Raises
    ------
    ValueError
        If `bin` is not positive, or `per` is unknown.
    """

    bin: Any
    per: Per = "neuron"

    def __post_init__(self) -> None:
        object.__setattr__(self, "bin", _length(self.bin, "bin"))
        check_choice("per", self.per, get_args(Per))

    def bin_length(self) -> tuple[str, float]:
        """Return the length of a bin."""
        return "bin", self.bin

    @property
    def must_divide(self) -> bool:
        """Whether the bins must divide the duration: they do."""
        return True

    @property
    def pooled(self) -> bool:
        """Whether the spikes of all neurons are counted together."""
        return self.per == "population"


@dataclass(frozen=True, kw_only=True)
class CountMoments(RecordingKind):
    """Running moments of the counts in adjacent windows from the end of the warm-up on: neither spikes nor counts stay.

    They give rates, count variances and Fano factors, with `covariance` the matrix of count covariances, with the
    standard errors that the spikes would give.

    Parameters
    ----------
    window : float or Quantity
        Length of a window, ms.
    covariance : bool
        Whether to accumulate the covariance matrix, 3 · 8 bytes a pair of neurons.

    Raises
    ------
    ValueError
        If `window` is not positive.
    """

    window: Any
    covariance: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "window", _length(self.window, "window"))

    def bin_length(self) -> tuple[str, float]:
        """Return the length of a window."""
        return "window", self.window


Kind = Literal["spikes"] | RecordingKind
Record = str | Sequence[str] | Mapping[str, Kind] | RecordingKind | None


def recorded_kinds(sizes: Mapping[str, int], record: Record) -> dict[str, Kind]:
    """Return what is recorded of each population, in the order of the circuit.

    Parameters
    ----------
    sizes : mapping
        Size of every population of neurons.
    record : str, sequence of str, mapping, RecordingKind or None
        Names of populations whose spikes are recorded; or what is recorded of each named population, ``"spikes"``,
        `Counts`, `CountMoments` or a `Reduction`; or one such kind for all populations; None: the spikes of all.

    Raises
    ------
    ValueError
        If a name is not that of a population of neurons, there is none, a kind is unknown, or counts or moments of
        populations differ in their options.
    """
    wanted: dict[str, Kind]
    if record is None or isinstance(record, RecordingKind):
        wanted = dict.fromkeys(sizes, "spikes" if record is None else record)
    elif isinstance(record, Mapping):
        wanted = dict(record)
    else:
        wanted = dict.fromkeys([record] if isinstance(record, str) else record, "spikes")
    if not wanted or any(name not in sizes for name in wanted):
        raise ValueError(f"`record` must name populations of neurons ({', '.join(sizes)}), got {list(wanted)}")
    for name, kind in wanted.items():
        if not isinstance(kind, RecordingKind) and kind != "spikes":
            raise ValueError(
                f"Invalid value {kind!r} for `record` of {name!r}. Must be 'spikes', Counts(...), CountMoments(...) "
                "or a Reduction"
            )
    for sort in {type(kind): None for kind in wanted.values() if isinstance(kind, RecordingKind)}:
        found = list(dict.fromkeys(kind for kind in wanted.values() if type(kind) is sort))
        if len(found) > 1:
            raise ValueError(
                f"all `{sort.__name__}` of a recording must be the same, so that they stand in one table, got "
                f"{' and '.join(map(str, found))}"
            )
    return {name: wanted[name] for name in sizes if name in wanted}


def _length(value: Any, name: str) -> float:
    length = in_unit(value, "ms", name)
    if not isinstance(length, float) or not length > 0:
        raise ValueError(f"`{name}` must be a time > 0 ms, got {value}")
    return length


Int32 = npt.NDArray[np.int32]


class Channel(NamedTuple):
    """Channel of a population: what a run hands on of its spikes.

    Attributes
    ----------
    population : str
    size : int
    bin_steps : int
        Length of the bins in which its spikes are counted; 0: every spike is handed on, -1: nothing.
    pooled : bool
        Whether the spikes of all neurons are counted together.
    """

    population: str
    size: int
    bin_steps: int = -1
    pooled: bool = False

    @property
    def cells(self) -> int:
        """Counts in a bin of one presentation."""
        return 1 if self.pooled else self.size

    def counts(self, element: Int32, step: Int32, n_steps: int, replicas: int) -> Int32:
        """Return the counts of spikes, (bin, replica, cell); steps count from the end of the warm-up.

        Spikes before it are left out; the last bin may be incomplete.
        """
        cell = element // self.size if self.pooled else element
        inside, n_bins, cells = step >= 0, -(-n_steps // self.bin_steps), replicas * self.cells
        place = step[inside] // self.bin_steps * np.int64(cells) + cell[inside]
        table = np.bincount(place, minlength=n_bins * cells).astype(np.int32)
        return np.asarray(table.reshape(n_bins, replicas, self.cells))


class StateChannel(NamedTuple):
    """Channel of a state variable: what a run hands on of it.

    Attributes
    ----------
    group : str
        Group of the result, ``states/<population>`` or ``weights/<source>_to_<target>``.
    variable, unit : str
        Name, and unit in Brian2's language.
    place : int
        Number of the variable among all that the program can record.
    every : int
        Steps between samples, from the end of the warm-up on; 0: once, at the end.
    elements : tuple of int or None
        Elements of the group or synapses; None: all.
    size : int
        Number of these elements.
    n_samples : int
        Samples of a presentation.
    projection : int
        Number of the projection in the circuit; -1: of a population.
    """

    group: str
    variable: str
    unit: str
    place: int
    every: int
    elements: tuple[int, ...] | None
    size: int
    n_samples: int
    projection: int = -1

    def numbers(self) -> list[int]:
        """Return what a program is told, see ``states.h``."""
        if self.elements is None:
            return [self.place, self.every, -1]
        return [self.place, self.every, len(self.elements), *self.elements]


class Block(NamedTuple):
    """Spikes, counts or states in one batch, in order of time.

    `values` is (2, spike), elements and steps; (bin, replica, cell), where the last bin of a batch may be incomplete;
    or (sample, replica, element) of states, whose `channel` is a `StateChannel`.
    """

    batch: int
    channel: Any
    values: npt.NDArray[Any]


def choose_channels(kinds: Mapping[str, Kind], sizes: Mapping[str, int], times: Times, dt: float) -> list[Channel]:
    """Return the channel of every population, of those that are not recorded too.

    Parameters
    ----------
    kinds : mapping
        What is recorded of the recorded populations.
    sizes : mapping
        Size of every population of neurons.
    times : Times
    dt : float
        ms.

    Raises
    ------
    ValueError
        If a bin or a window is not a whole number of steps or longer than the duration, or a bin does not divide it.
    """
    channels = []
    for name, size in sizes.items():
        kind = kinds.get(name)
        if isinstance(kind, RecordingKind):
            option, length = kind.bin_length()
            steps = _steps(length, option, times, dt)
            if kind.must_divide and times.duration_steps % steps:
                raise ValueError(f"`{option}` must divide `duration`, {times.duration:g} ms, got {length:g} ms")
            channels.append(Channel(name, size, steps, kind.pooled))
        else:
            channels.append(Channel(name, size, -1 if kind is None else 0))
    return channels


def _steps(length: float, name: str, times: Times, dt: float) -> int:
    steps = int(count_steps(length, dt, name))
    if not 1 <= steps <= times.duration_steps:
        raise ValueError(f"`{name}` must be at most `duration`, {times.duration:g} ms, got {length:g} ms")
    return steps
