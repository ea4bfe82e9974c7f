"""The numbers of a plan as files that a compiled program reads."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mnnbio.brian.plan import TOPOLOGY, Plan, PlannedSynapses, Table

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
    for name, synapses in plan.synapses.items():
        if known is None or not synapses.same_topology(known.synapses[name]):
            _write_topology(synapses, folder)


def write_courses(plan: Plan, folder: Path, n_steps: int, warmup_steps: int) -> None:
    """Write what changes in time, for presentations of so many steps: a table of values, and which row holds when."""
    for group, variable, samples in plan.sampled(n_steps, warmup_steps):
        _, stimuli, width = samples.table.shape
        np.concatenate([[stimuli, width], samples.row]).astype(np.int32).tofile(folder / f"{group}.{variable}.rows")
        samples.table.tofile(folder / f"{group}.{variable}")


def _write_topology(synapses: PlannedSynapses, folder: Path) -> None:
    for name in TOPOLOGY:
        array: npt.NDArray[np.int32] = getattr(synapses, name)
        array.tofile(folder / f"{synapses.name}.{name}")


def _equal(known: Table | None, table: Table, most: int = 10_000) -> bool:
    """Return whether two tables are equal; large ones are written rather than compared."""
    return known is not None and known.size <= most and np.array_equal(known, table)
