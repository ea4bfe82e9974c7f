"""Recordings of a run, spikes, binned counts and moments of counts, and how the shares of a run are merged."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from mnnbio.spikes.recording import Per, Reduction

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Uint64 = npt.NDArray[np.uint64]


@dataclass(frozen=True, kw_only=True, eq=False)
class BinnedCounts:
    """Spike counts in adjacent bins after the warm-up.

    Attributes
    ----------
    populations : dict
        Size of each population; they, or their neurons, stand in this order.
    count : ndarray of int32, shape (stimulus, trial, bin, neuron) or (stimulus, trial, bin, population)
        (presentation, bin, …) where only some presentations were run.
    bin : float
        ms.
    per : {"neuron", "population"}
    """

    populations: Mapping[str, int]
    count: Int32
    bin: float
    per: Per


@dataclass(frozen=True, kw_only=True, eq=False)
class WindowMoments:
    """Power sums of counts in windows, exact integers, and the counts of longer stretches.

    Attributes
    ----------
    populations : dict
        Size of each population; the neurons stand in this order.
    window : float
        ms.
    number : ndarray of int64, shape (stimulus,)
        Windows summed.
    powers : ndarray of uint64, shape (stimulus, 4, neuron)
        Sums of the first to fourth powers of the counts, modulo 2⁶⁴: sums of powers of deviations follow from them
        exactly, however large the counts are.
    products : ndarray of uint64, shape (stimulus, 3, neuron, neuron), or None
        Sums of ``c_i c_j``, ``c_i² c_j`` and ``c_i² c_j²``, modulo 2⁶⁴.
    total : ndarray of int32, shape (stimulus, trial, neuron)
        Counts over the whole duration; (presentation, neuron) where only some presentations were run.
    stretch : ndarray of int32, shape (stimulus, trial, stretch, neuron)
        Counts in adjacent stretches of `stretch_windows` windows, for the error of a rate; likewise. There is
        no stretch where trials are enough, so that the total serves.
    stretch_windows : int
    """

    populations: Mapping[str, int]
    window: float
    number: Int64
    powers: Uint64
    products: Uint64 | None
    total: Int32
    stretch: Int32
    stretch_windows: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Reduced:
    """Arrays to which the counts of some populations were reduced.

    Attributes
    ----------
    populations : dict
        Size of each population.
    kind : Reduction
    values : dict of ndarray, shape (stimulus, trial, ...)
        (presentation, ...) where only some presentations were run.
    """

    populations: Mapping[str, int]
    kind: Reduction
    values: Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Recording:
    """Record of all presentations of a run.

    Attributes
    ----------
    step : ndarray of int32, shape (spike,)
        Step of each spike of the populations whose spikes are recorded, 0 the first one after the warm-up: a spike of
        step k was fired in (k dt, (k + 1) dt]. Sorted by stimulus, trial, neuron and time.
    row_size : ndarray of int32, shape (stimulus, trial, neuron)
        Number of spikes of each train, the warm-up's included; one stimulus if the circuit has no stimulus dimension.
        Where only some presentations were run, shape (presentation, neuron).
    populations : dict
        Size of each population whose spikes are recorded; the neurons stand in this order.
    dt, duration, warmup : float
        ms.
    seed : int
    counts : BinnedCounts or None
    moments : WindowMoments or None
        Of the populations that are recorded so.
    reduced : dict of Reduced
        By group of the result.
    presentations : ndarray of int64, shape (presentation, 2), or None
        The (stimulus, trial) pairs that were run, in the order of `row_size`; None: all of them.
    states : sequence of RecordedState
        Samples of state variables, (stimulus, trial, sample, element) or (presentation, …), in SI units.
    """

    step: Int32
    row_size: Int32
    populations: Mapping[str, int]
    dt: float
    duration: float
    warmup: float
    seed: int
    counts: BinnedCounts | None = None
    moments: WindowMoments | None = None
    reduced: Mapping[str, Reduced] = field(default_factory=dict)
    presentations: Int64 | None = None
    states: Sequence[Any] = ()

    @property
    def time(self) -> npt.NDArray[np.float64]:
        """Spike times in seconds: the middle of the step, so that no rounding moves a spike across a window's edge."""
        return (self.step.astype(np.float64) + 0.5) * (self.dt * 1e-3)

    @property
    def shape(self) -> tuple[int, ...]:
        """Numbers of stimuli and trials, or of presentations where only some were run."""
        return self.row_size.shape[:-1]

    @staticmethod
    def merge(parts: Sequence[Recording]) -> Recording:
        """Put shares of a run together.

        Parameters
        ----------
        parts : sequence of Recording
            Of the same circuit and run; no presentation may be in two of them.

        Returns
        -------
        Recording
            As the undivided run gives it, if the parts have all trials of all stimuli between them; else a larger
            share, its presentations sorted by stimulus and trial.

        Raises
        ------
        ValueError
            If there is no part, the parts are of different runs, or a presentation is in two of them.
        """
        if not parts:
            raise ValueError("there must be at least one recording to merge, got none")
        first = parts[0]
        for part in parts[1:]:
            _require_same_run(first, part)
        pairs = np.concatenate([_pairs(part) for part in parts])
        order = np.lexsort(pairs.T[::-1])
        pairs = pairs[order]
        twice = (np.diff(pairs, axis=0) == 0).all(axis=1)
        if twice.any():
            raise ValueError(
                f"every presentation must be in one recording only, got stimulus and trial "
                f"{tuple(pairs[int(np.argmax(twice))].tolist())} twice"
            )
        stimuli, trials = (int(n) for n in pairs.max(axis=0) + 1)
        complete = len(pairs) == stimuli * trials
        shape = (stimuli, trials) if complete else (len(pairs),)

        def joined(choose: Callable[[Any], npt.NDArray[Any]]) -> npt.NDArray[Any]:
            flat = [
                (table := choose(part)).reshape(math.prod(part.shape), *table.shape[len(part.shape) :])
                for part in parts
            ]
            together = np.concatenate(flat)[order]
            return together.reshape(*shape, *together.shape[1:])

        counts = first.counts and replace(first.counts, count=joined(lambda part: part.counts.count))
        return replace(
            first,
            step=_sort_spikes(parts, order),
            row_size=joined(lambda part: part.row_size),
            counts=counts,
            moments=first.moments and _merge_moments(parts, joined),
            reduced={
                group: replace(one, values={name: joined(_values_of(group, name)) for name in one.values})
                for group, one in first.reduced.items()
            },
            presentations=None if complete else pairs,
            states=tuple(own._replace(values=joined(_state_of(number))) for number, own in enumerate(first.states)),
        )


def _values_of(group: str, name: str) -> Callable[[Any], npt.NDArray[Any]]:
    """Return a function that gives one array of a recording."""
    return lambda part: part.reduced[group].values[name]


def _state_of(number: int) -> Callable[[Any], npt.NDArray[Any]]:
    """Return a function that gives the samples of one state of a recording."""
    return lambda part: part.states[number].values


def _pairs(part: Recording) -> Int64:
    if part.presentations is not None:
        return part.presentations
    return np.stack(np.meshgrid(*map(np.arange, part.shape), indexing="ij"), axis=-1).reshape(-1, 2).astype(np.int64)


def _require_same_run(one: Recording, other: Recording) -> None:
    def facts(part: Recording) -> dict[str, Any]:
        counts, moments = part.counts, part.moments
        return {
            "seed": part.seed,
            "dt": part.dt,
            "duration": part.duration,
            "warmup": part.warmup,
            "populations recorded as spikes": dict(part.populations),
            "counts": counts and (dict(counts.populations), counts.bin, counts.per),
            "moments": moments and (dict(moments.populations), moments.window, moments.stretch.shape[-2:]),
            "reductions": {group: one.kind for group, one in part.reduced.items()},
            "states": [own.channel for own in part.states],
            "covariance": moments is not None and moments.products is not None,
            "number of stimuli": moments and len(moments.number),
        }

    for name, value in facts(one).items():
        if value != facts(other)[name]:
            raise ValueError(f"recordings to merge must be of the same run: {name} {value} and {facts(other)[name]}")


def _sort_spikes(parts: Sequence[Recording], order: Int64) -> Int32:
    """Return the spikes of all parts, their presentations in the given order."""
    ends = [np.cumsum(part.row_size.sum(axis=-1, dtype=np.int64)) for part in parts]
    pieces = [piece for part, end in zip(parts, ends, strict=True) for piece in np.split(part.step, end[:-1])]
    return np.concatenate([pieces[k] for k in order])


def _merge_moments(
    parts: Sequence[Recording], joined: Callable[[Callable[[Any], npt.NDArray[Any]]], npt.NDArray[Any]]
) -> WindowMoments:
    all_moments = [part.moments for part in parts if part.moments is not None]
    products = [moments.products for moments in all_moments if moments.products is not None]
    return replace(
        all_moments[0],
        number=np.sum([moments.number for moments in all_moments], axis=0),
        powers=np.sum([moments.powers for moments in all_moments], axis=0, dtype=np.uint64),
        products=np.sum(products, axis=0, dtype=np.uint64) if products else None,
        total=joined(lambda part: part.moments.total),
        stretch=joined(lambda part: part.moments.stretch),
    )
