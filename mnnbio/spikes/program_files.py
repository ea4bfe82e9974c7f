"""Files of a compiled program: what it presents and records, the numbers of its plan, and what it writes."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from mnnbio.spikes.plan import TOPOLOGY, Plan, PlannedSynapses, Table
from mnnbio.spikes.recording import Block, Channel, StateChannel


class SimulationFailed(RuntimeError):  # noqa: N818 - says what happened
    """The compiled program ended with an error, or complained."""


def may_not_start(program: object, error: OSError) -> SimulationFailed:
    """Return the error of a program that may not be started where it is, as on some file systems."""
    return SimulationFailed(
        f"the program {program} may not be started ({error}): set TMPDIR to a folder from which programs may be run"
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Job:
    """Work of a program: what it presents and records.

    Attributes
    ----------
    n_steps, warmup_steps : int
        Steps of a presentation, the warm-up included, and of the warm-up.
    channels : sequence of Channel
        Of all populations of neurons, in the order of the plan.
    batches : ndarray of int64, shape (batch, replica, 2)
        Stimulus and key of the random numbers of every presentation.
    states : sequence of StateChannel
        State variables that are recorded.
    carries : bool
        Whether weights that change are carried on from one presentation to the next.
    """

    n_steps: int
    warmup_steps: int
    channels: Sequence[Channel]
    batches: npt.NDArray[np.int64]
    states: Sequence[StateChannel] = ()
    carries: bool = False

    def block(self, batch: int, channel: Channel, element: npt.NDArray[np.int32], step: npt.NDArray[np.int32]) -> Block:
        """Return spikes as a program would hand them on; `step` counts from the start of the warm-up."""
        if channel.bin_steps == 0:
            return Block(batch, channel, np.stack([element, step]))
        after, n_steps = step - np.int32(self.warmup_steps), self.n_steps - self.warmup_steps
        return Block(batch, channel, channel.counts(element, after, n_steps, self.batches.shape[1]))

    def split(self, number: int) -> list[Job]:
        """Return jobs that have the batches between them, in order."""
        return [replace(self, batches=share) for share in np.array_split(self.batches, number)]


def write_plan_file(path: Path, job: Job) -> None:
    """Write the plan of a job as the program reads it (`presentations.h`)."""
    n_batches, replicas, _ = job.batches.shape
    states = [number for own in job.states for number in own.numbers()]
    head = [job.n_steps, job.warmup_steps, replicas, n_batches, len(job.channels), int(job.carries), len(states)]
    kept = [number for channel in job.channels for number in (channel.bin_steps, int(channel.pooled))]
    parts = [np.asarray(part, dtype=np.int64) for part in (head, kept, states)]  # keys have no room in a float
    np.concatenate([*parts, job.batches.ravel()]).tofile(path)


def read_blocks(path: Path, job: Job, first_batch: int = 0) -> Iterator[Block]:
    """Yield what a program has written, block after block (`recording.h`).

    Raises
    ------
    SimulationFailed
        If the file is missing or does not end where the plan does.
    """
    if not path.exists():
        raise SimulationFailed(f"{path} is missing: the program has not run, or not to its end")
    n_batches, replicas, _ = job.batches.shape
    with path.open("rb") as file:
        for batch in range(n_batches):
            cut = SimulationFailed(f"{path} is incomplete: it ends in batch {batch + 1} of {n_batches}")
            while True:
                header = _numbers(file, np.int64, 2)
                if len(header) < 2 or not -1 <= header[0] < len(job.channels) + len(job.states):
                    raise cut
                if header[0] < 0:
                    break
                if header[0] >= len(job.channels):
                    state, number = job.states[header[0] - len(job.channels)], int(header[1])
                    floats = _numbers(file, np.float64, number)
                    if len(floats) < number:
                        raise cut
                    yield Block(first_batch + batch, state, floats.reshape(-1, replicas, state.size))
                    continue
                channel = job.channels[header[0]]
                number = int(header[1]) if channel.bin_steps else 2 * int(header[1])
                values = _numbers(file, np.int32, number).astype(np.int32, copy=False)
                if len(values) < number:
                    raise cut
                shape = (-1, replicas, channel.cells) if channel.bin_steps else (2, -1)
                yield Block(first_batch + batch, channel, values.reshape(shape))
        if file.read(1):
            raise SimulationFailed(f"{path} holds more than the {n_batches} batches of its plan: it is of another run")


def _numbers(file: BinaryIO, dtype: type, number: int) -> npt.NDArray[Any]:
    """Return numbers, fewer where the file ends."""
    size = np.dtype(dtype).itemsize
    read = file.read(number * size)
    return np.frombuffer(read[: len(read) // size * size], dtype)


INPUTS = "inputs"


@contextmanager
def changed_inputs(plan: Plan, known: Plan, folder: Path, n_steps: int, warmup_steps: int) -> Iterator[list[Path]]:
    """Write what a run needs beside the numbers of a known plan, whose files are in ``folder/inputs``.

    These are the numbers that its own plan changes, and the courses in time of its presentations. Yields the folders
    to read from, the changes first. They are removed afterwards.
    """
    if plan is known and not plan.changes_in_time:
        yield [folder / INPUTS]
        return
    with tempfile.TemporaryDirectory(dir=folder, prefix="changes_") as changes:
        if plan is not known:
            write_inputs(plan, Path(changes), known)
        write_courses(plan, Path(changes), n_steps, warmup_steps)
        yield [Path(changes), folder / INPUTS]


def write_inputs(plan: Plan, folder: Path, known: Plan | None = None) -> None:
    """Write tables, synapses and delays of a plan into a folder, one file each, in the machine's own format.

    Parameters
    ----------
    plan : Plan
    folder : Path
        It is made if it does not exist.
    known : Plan, optional
        A plan of the same structure whose files the program finds elsewhere: what the two plans share is left out.
    """
    folder.mkdir(parents=True, exist_ok=True)
    there: dict[str, Table] = {} if known is None else dict(known.tables())
    for name, table in plan.tables():
        if there.get(name) is not table and not _equal(there.get(name), table):
            table.tofile(folder / name)
    for name, group in plan.groups.items():
        if group.playback is not None:
            _write_playback(name, group.playback, folder)
    for name, synapses in plan.synapses.items():
        if known is None or not synapses.same_topology(known.synapses[name]):
            _write_topology(synapses, folder)


def write_courses(plan: Plan, folder: Path, n_steps: int, warmup_steps: int) -> None:
    """Write what changes in time, for presentations of so many steps: a table of values, and which row holds when."""
    for group, variable, samples in plan.sampled(n_steps, warmup_steps):
        _, stimuli, width = samples.table.shape
        np.concatenate([[stimuli, width], samples.row]).astype(np.int32).tofile(folder / f"{group}.{variable}.rows")
        samples.table.tofile(folder / f"{group}.{variable}")


def _write_playback(
    name: str, spikes: Sequence[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]], folder: Path
) -> None:
    np.cumsum([len(steps) for steps, _ in spikes]).astype(np.int64).tofile(folder / f"{name}.stops")
    for number, what in enumerate(("steps", "elements")):
        np.concatenate([own[number] for own in spikes]).astype(np.int64).tofile(folder / f"{name}.{what}")


def _write_topology(synapses: PlannedSynapses, folder: Path) -> None:
    for name in TOPOLOGY:
        array: npt.NDArray[np.int32] = getattr(synapses, name)
        array.tofile(folder / f"{synapses.name}.{name}")


def _equal(known: Table | None, table: Table, most: int = 10_000) -> bool:
    """Return whether two tables are equal; large ones are written rather than compared."""
    return known is not None and known.size <= most and np.array_equal(known, table)
