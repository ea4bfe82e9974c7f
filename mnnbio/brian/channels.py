"""What runs hand on while they run: blocks of spikes or of counts of each population."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mnnbio.brian.recording import Counts, Kind, Moments
from mnnbio.brian.steps import Times, count_steps

Int32 = npt.NDArray[np.int32]


class Channel(NamedTuple):
    """What is handed on of a population.

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


class Block(NamedTuple):
    """Spikes or counts of a population in one batch, in order of time.

    `values` is (2, spike), elements and steps, or (bin, replica, cell). The last bin of a batch may be incomplete.
    """

    batch: int
    channel: Channel
    values: Int32


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
        if isinstance(kind, Counts):
            steps = _steps(kind.bin, "bin", times, dt)
            if times.duration_steps % steps:
                raise ValueError(f"`bin` must divide `duration`, {times.duration:g} ms, got {kind.bin:g} ms")
            channels.append(Channel(name, size, steps, kind.per == "population"))
        elif isinstance(kind, Moments):
            channels.append(Channel(name, size, _steps(kind.window, "window", times, dt)))
        else:
            channels.append(Channel(name, size, -1 if kind is None else 0))
    return channels


def _steps(length: float, name: str, times: Times, dt: float) -> int:
    steps = int(count_steps(length, dt, name))
    if not 1 <= steps <= times.duration_steps:
        raise ValueError(f"`{name}` must be at most `duration`, {times.duration:g} ms, got {length:g} ms")
    return steps
