"""Put the blocks that a run hands on into a recording, never holding more than it and a few blocks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from mnnbio.brian.channels import Block, Channel
from mnnbio.brian.moment_sums import MomentSums
from mnnbio.brian.recorded import BinnedCounts, Recording
from mnnbio.brian.recording import Counts, Moments, Per
from mnnbio.brian.runs import Run

Int32 = npt.NDArray[np.int32]


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
    moments = _Moments(of_kind(Moments), run, replicas)
    owners = {name: collector for collector in (spikes, counts, moments) for name in collector.sizes}
    batch = 0
    for block in blocks:
        if block.batch != batch:
            spikes.end_batch(batch)
            batch = block.batch
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
        presentations=run.pairs if run.is_share else None,
    )


class _Collector(ABC):
    """What takes the blocks of some channels."""

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
            covariance=any(isinstance(kind, Moments) and kind.covariance for kind in run.kinds.values()),
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
