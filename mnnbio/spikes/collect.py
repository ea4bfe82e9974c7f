"""Recordings from the blocks that a run hands on, which never hold more than themselves and a few blocks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mnnbio.spikes.recorded import BinnedCounts, Recording, Reduced, WindowMoments
from mnnbio.spikes.recording import Block, Channel, CountMoments, Counts, Per, Reduction, StateChannel
from mnnbio.spikes.runs import Run
from mnnbio.spikes.state_recording import StateCollector

Int32 = npt.NDArray[np.int32]
Uint64 = npt.NDArray[np.uint64]

_FEWEST_STRETCHES = 16  # samples below which the standard error of a rate is itself too uncertain
_EXACT = 2.0**53  # integers below are exact in float64


def stretch_windows(n_windows: int, trials: int) -> int:
    """Return how many windows to join for the error of a rate (batch means).

    Counts of neighbouring windows are correlated, so the stretches are as long as leaves 16 of them in all trials.
    """
    wanted = min(max(-(-_FEWEST_STRETCHES // trials), 1), n_windows)
    return n_windows // wanted


class MomentSums:
    """Sums over windows of powers and products of counts, and counts of longer stretches of every presentation.

    Parameters
    ----------
    populations : mapping
        Sizes.
    n_stimuli, n_presentations : int
    shape : tuple of int
        Numbers of stimuli and of trials, or of presentations.
    window_steps, duration_steps : int
    trials : int
        Trials of every stimulus in the whole run.
    covariance : bool
        Whether to sum products of pairs.
    """

    def __init__(
        self,
        populations: Mapping[str, int],
        *,
        n_stimuli: int,
        n_presentations: int,
        shape: tuple[int, ...],
        window_steps: int,
        duration_steps: int,
        trials: int,
        covariance: bool,
    ) -> None:
        n = sum(populations.values())
        self.populations, self.shape, self.window_steps = dict(populations), shape, window_steps
        self.n_windows = duration_steps // window_steps
        self.stretch_windows = stretch_windows(self.n_windows, trials)
        whole = self.stretch_windows == self.n_windows  # the total is then all that is needed
        n_stretches = 0 if whole else self.n_windows // self.stretch_windows
        self.number = np.zeros(n_stimuli, np.int64)
        self.powers = np.zeros((n_stimuli, 4, n), np.uint64)
        self.products = np.zeros((n_stimuli, 3, n, n), np.uint64) if covariance else None
        self.total = np.zeros((n_presentations, n), np.int32)
        self.stretch = np.zeros((n_presentations, n_stretches, n), np.int32)

    def add(self, presentation: int, stimulus: int, first: int, counts: Int32) -> None:
        """Add the counts of windows `first`, `first` + 1, … of a presentation, (window, neuron).

        A window after the last complete one counts for the total only.
        """
        self.total[presentation] += counts.sum(axis=0, dtype=np.int32)
        counts = counts[: self.n_windows - first]
        stretch = (first + np.arange(len(counts))) // self.stretch_windows
        for number in np.unique(stretch):
            if number < self.stretch.shape[1]:
                self.stretch[presentation, number] += counts[stretch == number].sum(axis=0, dtype=np.int32)
        self.number[stimulus] += len(counts)
        power = c = counts.astype(np.uint64)
        for sums in self.powers[stimulus]:
            sums += power.sum(axis=0)
            power = power * c
        if self.products is not None and len(counts):
            _add_products(self.products[stimulus], counts)

    def result(self, dt: float) -> WindowMoments:
        """Return the sums; `dt` in ms."""
        return WindowMoments(
            populations=self.populations,
            window=self.window_steps * dt,
            number=self.number,
            powers=self.powers,
            products=self.products,
            total=self.total.reshape(*self.shape, -1),
            stretch=self.stretch.reshape(*self.shape, *self.stretch.shape[1:]),
            stretch_windows=self.stretch_windows,
        )


def _add_products(products: Uint64, counts: Int32) -> None:
    """Add sums of c_i c_j, c_i² c_j and c_i² c_j²: in float64, which is fast, as many windows at once as stay exact."""
    largest = float(max(counts.max(), 1)) ** 4
    if largest >= _EXACT:
        c = counts.astype(np.uint64)
        for sums, one, other in zip(products, (c, c * c, c * c), (c, c, c * c), strict=True):
            sums += one.T @ other
        return
    at_once = int(_EXACT / largest)
    for start in range(0, len(counts), at_once):
        x = counts[start : start + at_once].astype(np.float64)
        for sums, left, right in zip(products, (x, x**2, x**2), (x, x, x**2), strict=True):
            sums += (left.T @ right).astype(np.uint64)


def collect(blocks: Iterable[Block], run: Run, replicas: int) -> Recording:
    """Put the blocks of a run into a recording.

    Parameters
    ----------
    blocks : iterable of Block
        Batch after batch; those of a channel and a batch in order of time.
    run : Run
    replicas : int
        Presentations in a batch.
    """

    def of_kind(kind: type) -> list[Channel]:
        return [channel for channel in run.channels if isinstance(run.kinds.get(channel.population), kind)]

    spikes = _Spikes(of_kind(str), run, replicas)
    counts = _Counts(of_kind(Counts), run, replicas)
    moments = _Moments(of_kind(CountMoments), run, replicas)
    reductions = [_Reductions(kind, of_kind(kind), run, replicas) for kind in _reduction_types(run)]
    states = StateCollector(run.states, len(run.pairs), replicas)
    collectors: list[_Collector] = [spikes, counts, moments, *reductions]
    owners = {name: collector for collector in collectors for name in collector.sizes}
    batch = 0
    for block in blocks:
        if block.batch != batch:
            spikes.end_batch(batch)
            batch = block.batch
        if isinstance(block.channel, StateChannel):
            states.add(block)
        else:
            owners[block.channel.population].add(block)
    spikes.end_batch(batch)
    return Recording(
        step=spikes.steps(),
        row_size=spikes.row_size.reshape(*run.shape, spikes.cells),
        populations=spikes.sizes,
        dt=run.dt,
        duration=run.times.duration,
        warmup=run.times.warmup,
        seed=run.seed,
        counts=counts.result() if counts.sizes else None,
        moments=moments.sums.result(run.dt) if moments.sizes else None,
        reduced={own.kind.GROUP: own.reduced() for own in reductions},
        presentations=run.pairs if run.is_share else None,
        states=states.result(run.shape),
    )


def _reduction_types(run: Run) -> list[type[Reduction]]:
    return list({type(kind): None for kind in run.kinds.values() if isinstance(kind, Reduction)})


class _Collector(ABC):
    """Collector of the blocks of some channels."""

    def __init__(self, channels: Sequence[Channel], run: Run, replicas: int) -> None:
        self.run, self.replicas = run, replicas
        self.sizes = {channel.population: channel.size for channel in channels}
        self.cells = sum(channel.cells for channel in channels)
        widths = np.cumsum([0, *(channel.cells for channel in channels)])
        self.first = dict(zip(self.sizes, widths.tolist(), strict=False))  # column of each population

    @abstractmethod
    def add(self, block: Block) -> None:
        """Take a block."""

    def presentations(self, batch: int) -> slice:
        """Return which presentations a batch holds."""
        return slice(batch * self.replicas, min((batch + 1) * self.replicas, len(self.run.pairs)))


class _Spikes(_Collector):
    """Spikes, sorted as soon as their batch is complete."""

    def __init__(self, channels: Sequence[Channel], run: Run, replicas: int) -> None:
        super().__init__(channels, run, replicas)
        self.row_size = np.zeros((len(run.pairs), self.cells), np.int32)
        self.blocks: list[Block] = []
        self.sorted: list[Int32] = [np.empty(0, np.int32)]

    def add(self, block: Block) -> None:
        self.blocks.append(block)

    def end_batch(self, batch: int) -> None:
        if not self.blocks:
            return
        row = np.concatenate([self._row(block) for block in self.blocks])
        step = np.concatenate([block.values[1] for block in self.blocks])
        self.blocks = []
        place = self.presentations(batch)
        n_rows = (place.stop - place.start) * self.cells
        if place.stop - place.start < self.replicas:
            row, step = row[row < n_rows], step[row < n_rows]
        self.row_size[place] = np.bincount(row, minlength=n_rows).reshape(-1, self.cells)
        self.sorted.append(step[np.argsort(row, kind="stable")])

    def _row(self, block: Block) -> Int32:
        """Return the number of the train, within the batch, of every spike."""
        replica, neuron = np.divmod(block.values[0], np.int32(block.channel.size))
        return np.asarray(replica * np.int32(self.cells) + neuron + np.int32(self.first[block.channel.population]))

    def steps(self) -> Int32:
        """Return the steps of all spikes, 0 the first one after the warm-up."""
        pieces, self.sorted = self.sorted, []
        together = np.concatenate(pieces)
        together -= np.int32(self.run.times.warmup_steps)
        return together


class _Counts(_Collector):
    """Counts in bins."""

    def __init__(self, channels: Sequence[Channel], run: Run, replicas: int) -> None:
        super().__init__(channels, run, replicas)
        self.bin_steps = channels[0].bin_steps if channels else run.times.duration_steps
        self.per: Per = "population" if channels and channels[0].pooled else "neuron"
        self.n_bins = run.times.duration_steps // self.bin_steps
        self.table = np.zeros((len(run.pairs), self.n_bins, self.cells), np.int32)
        self.next: dict[tuple[int, str], int] = {}

    def add(self, block: Block) -> None:
        name = block.channel.population
        start = self.next.get((block.batch, name), 0)
        stop = start + len(block.values)
        place, column = self.presentations(block.batch), self.first[name]
        values = block.values.swapaxes(0, 1)[: place.stop - place.start]
        self.table[place, start:stop, column : column + block.channel.cells] = values
        self.next[block.batch, name] = stop

    def result(self) -> BinnedCounts:
        table = self.table.reshape(*self.run.shape, self.n_bins, self.cells)
        return BinnedCounts(populations=self.sizes, count=table, bin=self.bin_steps * self.run.dt, per=self.per)


class _Moments(_Collector):
    """Moments of several populations together: their blocks are joined where all have handed on the same windows."""

    def __init__(self, channels: Sequence[Channel], run: Run, replicas: int) -> None:
        super().__init__(channels, run, replicas)
        self.sums = MomentSums(
            self.sizes,
            n_stimuli=run.n_stimuli,
            n_presentations=len(run.pairs),
            shape=run.shape,
            window_steps=channels[0].bin_steps if channels else run.times.duration_steps,
            duration_steps=run.times.duration_steps,
            trials=run.trials,
            covariance=any(isinstance(kind, CountMoments) and kind.covariance for kind in run.kinds.values()),
        )
        self.waiting: dict[str, list[Int32]] = {name: [] for name in self.sizes}
        self.batch, self.next = -1, 0

    def add(self, block: Block) -> None:
        if block.batch != self.batch:
            self.batch, self.next = block.batch, 0
        self.waiting[block.channel.population].append(block.values)
        ready = min(sum(map(len, blocks)) for blocks in self.waiting.values())
        if not ready:
            return
        tables = {name: np.concatenate(blocks) for name, blocks in self.waiting.items()}
        self.waiting = {name: [table[ready:]] for name, table in tables.items()}
        place = self.presentations(block.batch)
        together = np.concatenate([table[:ready] for table in tables.values()], axis=2)
        for replica, presentation in enumerate(range(place.start, place.stop)):
            self.sums.add(presentation, int(self.run.pairs[presentation, 0]), self.next, together[:, replica])
        self.next += ready


class _Reductions(_Collector):
    """Reductions of a user's own kind, presentation by presentation."""

    def __init__(self, kind: type[Reduction], channels: Sequence[Channel], run: Run, replicas: int) -> None:
        super().__init__(channels, run, replicas)
        found = run.kinds[channels[0].population]
        assert isinstance(found, kind)
        self.kind: Reduction = found
        self.bin_steps = channels[0].bin_steps
        self.n_bins = run.times.duration_steps // self.bin_steps
        self.states: dict[tuple[int, str], tuple[int, Any]] = {}

    def add(self, block: Block) -> None:
        place, name = self.presentations(block.batch), block.channel.population
        for replica, presentation in enumerate(range(place.start, place.stop)):
            known = self.states.get((presentation, name))
            first, state = (0, self.kind.start(block.channel.size, self.n_bins)) if known is None else known
            counts = block.values[: self.n_bins - first, replica]
            if len(counts):
                state = self.kind.add(state, first, counts)
            self.states[presentation, name] = first + len(counts), state

    def reduced(self) -> Reduced:
        """Return the arrays of all presentations, those of several populations together."""
        tables = {
            name: [self.kind.result(self.states[number, name][1]) for number in range(len(self.run.pairs))]
            for name in self.sizes
        }
        values = {}
        for variable, dims in self.kind.VARIABLES.items():
            parts = [np.stack([np.asarray(row[variable]) for row in rows]) for rows in tables.values()]
            axis = 1 + dims.index("neuron") if "neuron" in dims else None
            together = np.stack(parts, axis=1) if axis is None else np.concatenate(parts, axis=axis)
            values[variable] = together.reshape(*self.run.shape, *together.shape[1:])
        return Reduced(populations=self.sizes, kind=self.kind, values=values)
