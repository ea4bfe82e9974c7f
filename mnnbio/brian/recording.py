"""What a simulation records of a population: every spike, counts in bins, or moments of counts in windows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from mnnbio.lif import in_unit

Per = Literal["neuron", "population"]


@dataclass(frozen=True, kw_only=True)
class Counts:
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
        if self.per not in get_args(Per):
            raise ValueError(f"Invalid value {self.per!r} for `per`. Must be one of {list(get_args(Per))}")


@dataclass(frozen=True, kw_only=True)
class Moments:
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


Kind = Literal["spikes"] | Counts | Moments
Record = str | Sequence[str] | Mapping[str, Kind] | Counts | Moments | None


def recorded_kinds(sizes: Mapping[str, int], record: Record) -> dict[str, Kind]:
    """Return what is recorded of each population, in the order of the circuit.

    Parameters
    ----------
    sizes : mapping
        Size of every population of neurons.
    record : str, sequence of str, mapping, Counts, Moments or None
        Names of populations whose spikes are recorded; or what is recorded of each named population, ``"spikes"``,
        `Counts` or `Moments`; or one such kind for all populations; None: the spikes of all.

    Raises
    ------
    ValueError
        If a name is not that of a population of neurons, there is none, a kind is unknown, or counts or moments of
        populations differ in their options.
    """
    wanted: dict[str, Kind]
    if record is None or isinstance(record, Counts | Moments):
        wanted = dict.fromkeys(sizes, "spikes" if record is None else record)
    elif isinstance(record, Mapping):
        wanted = dict(record)
    else:
        wanted = dict.fromkeys([record] if isinstance(record, str) else record, "spikes")
    if not wanted or any(name not in sizes for name in wanted):
        raise ValueError(f"`record` must name populations of neurons ({', '.join(sizes)}), got {list(wanted)}")
    for name, kind in wanted.items():
        if kind != "spikes" and not isinstance(kind, Counts | Moments):
            raise ValueError(
                f"Invalid value {kind!r} for `record` of {name!r}. Must be 'spikes', Counts(...) or Moments(...)"
            )
    for sort in (Counts, Moments):
        found = list(dict.fromkeys(kind for kind in wanted.values() if isinstance(kind, sort)))
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
