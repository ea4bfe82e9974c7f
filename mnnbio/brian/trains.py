"""Spike trains in whole steps, and the order in which presentations are run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mnnbio.brian.steps import Times
from mnnbio.brian.streams import presentation_key


class Presentations(NamedTuple):
    """What is presented, trial after trial within stimulus after stimulus.

    `stimulus` and `key` have one entry a presentation: the row of every table, and the key of its random numbers.
    """

    n_steps: int
    stimulus: npt.NDArray[np.int64]
    key: npt.NDArray[np.int64]

    @classmethod
    def of(cls, n_steps: int, n_stimuli: int, trials: int, seed: int) -> Presentations:
        """Return all trials of all stimuli."""
        pairs = np.stack(np.meshgrid(np.arange(n_stimuli), np.arange(trials), indexing="ij"), axis=-1)
        return cls.some(n_steps, pairs.reshape(-1, 2), seed)

    @classmethod
    def some(cls, n_steps: int, pairs: npt.NDArray[np.int64], seed: int) -> Presentations:
        """Return some (stimulus, trial) pairs, (presentation, 2), in the order given."""
        keys = [presentation_key(seed, s, t) for s, t in pairs.tolist()]
        return cls(n_steps, pairs[:, 0].astype(np.int64), np.array(keys, dtype=np.int64))

    def batches(self, size: int) -> npt.NDArray[np.int64]:
        """Return (stimulus, key) in batches of `size`, shape (batch, size, 2); the last one is filled up."""
        n_batches = -(-len(self.key) // size)
        rows = np.zeros((n_batches * size, 2), dtype=np.int64)
        rows[: len(self.key)] = np.column_stack([self.stimulus, self.key])
        return rows.reshape(n_batches, size, 2)


class RawSpikes(NamedTuple):
    """Spikes of one population in one batch; `element` is replica · size + neuron."""

    batch: int
    population: str
    element: npt.NDArray[np.int32]
    step: npt.NDArray[np.int32]


@dataclass(frozen=True, kw_only=True, eq=False)
class SpikeTrains:
    """Spikes of every recorded neuron in every presentation.

    Attributes
    ----------
    step : ndarray of int32, shape (spike,)
        Step of each spike, 0 the first one after the warm-up: a spike of step k was fired in (k dt, (k + 1) dt]. Sorted
        by stimulus, trial, neuron and time.
    row_size : ndarray of int32, shape (stimulus, trial, neuron)
        Number of spikes of each train, the warm-up's included; one stimulus if the circuit has no stimulus dimension.
        Where only some presentations were run, shape (presentation, neuron).
    populations : dict
        Size of each recorded population; the neurons stand in this order.
    dt, duration, warmup : float
        ms.
    seed : int
    presentations : ndarray of int64, shape (presentation, 2), or None
        The (stimulus, trial) pairs that were run, in the order of `row_size`; None: all of them.
    """

    step: npt.NDArray[np.int32]
    row_size: npt.NDArray[np.int32]
    populations: Mapping[str, int]
    dt: float
    duration: float
    warmup: float
    seed: int
    presentations: npt.NDArray[np.int64] | None = None

    @property
    def time(self) -> npt.NDArray[np.float64]:
        """Spike times in seconds: the middle of the step, so that no rounding moves a spike across a window's edge."""
        return (self.step.astype(np.float64) + 0.5) * (self.dt * 1e-3)


def collect_trains(
    raw: Iterable[RawSpikes],
    populations: Mapping[str, int],
    shape: tuple[int, ...],
    *,
    replicas: int,
    times: Times,
    dt: float,
    seed: int,
    presentations: npt.NDArray[np.int64] | None = None,
) -> SpikeTrains:
    """Put the spikes of all batches in order.

    Parameters
    ----------
    raw : iterable of RawSpikes
        Within a population and a batch in order of time.
    populations : mapping
        Size of each recorded population.
    shape : tuple of int
        Numbers of stimuli and of trials, or of presentations where only some were run.
    replicas : int
        Presentations in a batch; those that only fill up the last batch are left out.
    times : Times
    dt : float
        ms.
    seed : int
    presentations : ndarray of int64, shape (presentation, 2), optional
        The (stimulus, trial) pairs that were run, if not all.
    """
    n_neurons, n_presentations = sum(populations.values()), math.prod(shape)
    offsets = dict(zip(populations, np.cumsum([0, *populations.values()]).tolist(), strict=False))
    rows: list[npt.NDArray[np.int64]] = [np.empty(0, np.int64)]
    steps: list[npt.NDArray[np.int32]] = [np.empty(0, np.int32)]
    for batch, population, element, step in raw:
        replica, neuron = np.divmod(element.astype(np.int64), populations[population])
        presentation = batch * replicas + replica
        kept = presentation < n_presentations
        rows.append((presentation * n_neurons + offsets[population] + neuron)[kept])
        steps.append(step[kept])
    row = np.concatenate(rows)
    sizes = np.bincount(row, minlength=n_presentations * n_neurons)
    return SpikeTrains(
        step=np.concatenate(steps)[np.argsort(row, kind="stable")] - np.int32(times.warmup_steps),
        row_size=sizes.reshape(*shape, n_neurons).astype(np.int32),
        populations=populations,
        dt=dt,
        duration=times.duration,
        warmup=times.warmup,
        seed=seed,
        presentations=presentations,
    )
