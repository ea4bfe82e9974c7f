"""The numbers of a plan as files that a compiled program reads."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mnnbio.brian.plan import Plan, PlannedSynapses, Table

INPUTS = "inputs"


@contextmanager
def changed_inputs(plan: Plan, known: Plan, folder: Path) -> Iterator[list[Path]]:
    """Write what a plan's numbers change in those of a known one, whose files are in ``folder/inputs``.

    Yields the folders to read from, the changes first. They are removed afterwards.
    """
    if plan is known:
        yield [folder / INPUTS]
        return
    with tempfile.TemporaryDirectory(dir=folder, prefix="changes_") as changes:
        write_inputs(plan, Path(changes), known)
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


def _write_topology(synapses: PlannedSynapses, folder: Path) -> None:
    for name in ("outgoing", "targets", "delay"):
        array: npt.NDArray[np.int32] = getattr(synapses, name)
        array.tofile(folder / f"{synapses.name}.{name}")


def _equal(known: Table | None, table: Table, most: int = 10_000) -> bool:
    """Return whether two tables are equal; large ones are written rather than compared."""
    return known is not None and known.size <= most and np.array_equal(known, table)
