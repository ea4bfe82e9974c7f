"""Pipeline from circuit to report: simulate, predict, compare, report, for runs, circuits and sweeps alike.

One rule for failure: a simulation that fails is an error; a prediction, comparison, analysis or report that fails is a
remark with its reason, which stands in the result, in the report and in the log, and the simulation stays.

One rule for doing again: what is finished is kept, and the next use does what is missing, failed or remarked.
"""

from __future__ import annotations

import json
import textwrap
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import xarray as xr

from mnnbio.machine import require_memory
from mnnbio.workflow.fingerprint import fingerprint, of_code
from mnnbio.workflow.run_folder import KEY, RunFolder, key_of, read_json, write_json

T = TypeVar("T")

# File of a run folder that says of what its report is.
REPORT_RECORD = ".report.json"
# Attribute of a result that holds its remarks, as JSON.
REMARKS = "remarks"
# Memory that a synapse takes at the most: drawn with row and column, stored by row, copied by source for the program.
BYTES_PER_SYNAPSE = 64
# Memory that a neuron takes at the least in each presentation: counts, their means and their errors.
BYTES_PER_COUNT = 16


class ReportFailed(RuntimeError):  # noqa: N818 - says what happened
    """The report could not be written; the result is there."""


@dataclass
class Journal:
    """Account of what a pipeline does: lines for the user and the log, warnings as notes, failures as remarks.

    Parameters
    ----------
    say : callable
        Tells the user a line.
    log : callable
        Keeps lines in the log.

    Attributes
    ----------
    notes : list of str
        Warnings, each once, as ``Category: message``.
    remarks : list of str
        Sentences on what there is not, and why.
    """

    say: Callable[[str], None]
    log: Callable[[str], None]
    notes: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def tell(self, text: str) -> None:
        """Say a line, and log it."""
        self.say(text)
        self.log(text)

    @contextmanager
    def stage(self, name: str, what: str) -> Iterator[None]:
        """Announce a stage, and log how long it took; its warnings become notes."""
        self.tell(f"{name:<10} {what}")
        start = time.monotonic()
        with self.listening():
            yield
        self.log(f"{name:<10} done in {time.monotonic() - start:.1f} s")

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Turn warnings into notes: the first of a kind is said, the others are only logged.

        Long runs warn of one batch of samples after the other. Begun anew for each stage: Brian2, when it is first
        imported, takes warnings for its own log.
        """
        said: set[type[Warning]] = set()

        def show(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
            if (note := f"{category.__name__}: {message}") not in self.notes:
                self.notes.append(note)
            tell = self.log if category in said else self.tell
            said.add(category)
            tell(f"{'':<10} note ({category.__name__}): {message}")

        with warnings.catch_warnings():
            warnings.simplefilter("always", UserWarning)
            warnings.simplefilter("ignore", DeprecationWarning)  # nothing that a user of the command could mend
            warnings.showwarning = show
            yield

    def attempt(self, what: str, make: Callable[[], T]) -> T | None:
        """Return what a function makes; if it fails, remark that there is none of it, and why, and return None."""
        try:
            return make()
        except Exception as error:
            remark = f"There is no {what}: {_reason(error)}"
            self.remarks.append(remark)
            self.tell(f"{'':<10} note: {remark}")
            self.log("".join(traceback.format_exception(error)))
            return None


def silent_journal() -> Journal:
    """Return an account that nobody is told of: notes and remarks are read from it."""
    return Journal(lambda _: None, lambda _: None)


class Theory(NamedTuple):
    """A way to predict a simulation: what it gives, for remarks, and the function that gives it."""

    what: str
    predict: Callable[[], xr.Dataset]


Comparison = Callable[[xr.Dataset, xr.DataTree], xr.Dataset]


def with_theory(
    tree: xr.DataTree, theories: Sequence[Theory], compare: Comparison | None, journal: Journal
) -> xr.DataTree:
    """Return a simulation with its prediction and their comparison, as far as there are any.

    Parameters
    ----------
    tree : DataTree
        A simulation. A prediction and comparison that it has are replaced.
    theories : sequence of Theory
        Tried one after the other, until one predicts.
    compare : callable, optional
        Compares a prediction with the tree; None: there is nothing to compare.
    journal : Journal
        What fails is remarked in it.
    """
    tree = tree.drop_nodes([name for name in ("prediction", "comparison") if name in tree.children])
    prediction = next(
        (found for theory in theories if (found := journal.attempt(theory.what, theory.predict)) is not None), None
    )
    if prediction is None:
        return tree
    # As the simulation's stimuli are labelled, so are those of what is said about it.
    coords = _stimulus_coords(tree)
    prediction = prediction.assign_coords(coords)
    tree = tree.assign({"prediction": xr.DataTree(prediction)})
    if compare is None:
        return tree
    comparison = journal.attempt("comparison", lambda: compare(prediction, tree))
    if comparison is None:
        return tree
    return tree.assign({"comparison": xr.DataTree(comparison.assign_coords(coords))})


def _stimulus_coords(tree: xr.DataTree) -> dict[str, xr.DataArray]:
    simulation = tree.children["simulation"].to_dataset()
    return {str(name): coord for name, coord in simulation.coords.items() if coord.dims == ("stimulus",)}


def labelled(tree: xr.DataTree, coords: xr.Dataset) -> xr.DataTree:
    """Return a result all of whose groups with stimuli have these coordinates."""
    tree = tree.copy()
    for name, node in tree.children.items():
        dataset = node.to_dataset(inherit=False)
        if "stimulus" in dataset.dims:
            node = node.copy()
            node.dataset = dataset.assign_coords(coords.coords)
            tree = tree.assign({name: node})
    return tree


def remarked(tree: xr.DataTree, remarks: Sequence[str]) -> xr.DataTree:
    """Return a result that holds these remarks, in place of others."""
    tree = tree.copy()
    tree.attrs = {name: value for name, value in tree.attrs.items() if name != REMARKS}
    if remarks:
        tree.attrs[REMARKS] = json.dumps(list(remarks), ensure_ascii=False)
    return tree


def verdict_of(tree: xr.DataTree) -> str:
    """Return the verdict of a result's comparison as lines of text, nothing where it has none."""
    if "comparison" not in tree.children:
        return ""
    text = str(tree.children["comparison"].attrs.get("verdict", ""))
    return textwrap.fill(text, 100, break_long_words=False, break_on_hyphens=False)


def remarks_of(tree: xr.DataTree) -> list[str]:
    """Return the remarks that a result holds."""
    return [str(remark) for remark in json.loads(tree.attrs.get(REMARKS, "[]"))]


def report_on(tree: xr.DataTree, path: Path, journal: Journal, **options: Any) -> bool:
    """Write the report on a result, its remarks at the head, and return whether that succeeded.

    Parameters
    ----------
    tree : DataTree
    path : Path
    journal : Journal
    **options
        Title and circuit, as `mnnbio.analyses.report` takes them.
    """
    from mnnbio.analyses import report

    remarks = dict.fromkeys([*remarks_of(tree), *journal.remarks])
    before = len(journal.remarks)
    journal.attempt("report", lambda: report(tree, path, remarks=list(remarks), **options))
    return len(journal.remarks) == before


def keep_report(
    tree: xr.DataTree, folder: RunFolder, journal: Journal, page: str, write: Callable[[xr.DataTree, Path], Any]
) -> None:
    """Write the report of a run, unless the one that is there is of the same result.

    Parameters
    ----------
    tree : DataTree
        The result, which holds its fingerprint.
    folder : RunFolder
    journal : Journal
    page : str
        Module that makes the report; where it has changed, the report is written again.
    write : callable
        Writes the report of a result to a file.

    Raises
    ------
    ReportFailed
        If it cannot be written.
    """
    key = fingerprint(key_of(tree), of_code(page))
    if folder.report.is_file() and folder.figures.is_dir() and read_json(folder.path / REPORT_RECORD).get(KEY) == key:
        journal.tell(f"{'report':<10} reused: {folder.report}")
        return
    with journal.stage("report", "figures and text"):
        if journal.attempt("report", lambda: write(tree, folder.report)) is None:
            raise ReportFailed(f"{journal.remarks[-1]} {folder.result} is whole; the same command tries again")
        write_json(folder.path / REPORT_RECORD, {KEY: key})


def require_affordable(*, neurons: int, synapses: float, presentations: int, remedy: str) -> None:
    """Raise a `NotEnoughMemory` if a simulation does not fit into the memory that is free.

    Parameters
    ----------
    neurons : int
    synapses : float
        Expected number.
    presentations : int
        Stimuli × trials.
    remedy : str
        A sentence on what to choose smaller.
    """
    require_memory(synapses * BYTES_PER_SYNAPSE, f"{synapses:.2g} synapses", remedy)
    counts = float(neurons) * presentations
    require_memory(
        counts * BYTES_PER_COUNT,
        f"counts of {neurons} neurons in {presentations:.3g} presentations",
        "Choose fewer trials or stimuli.",
    )


def n_synapses(circuit: Any) -> float:
    """Return the expected number of synapses of a circuit, without drawing them."""
    total = 0.0
    for projection in circuit.projections:
        target, source = circuit.population(projection.target), circuit.population(projection.source)
        if projection.connectivity is None:
            total += target.size * source.size
        else:
            autapses = projection.autapses or source is not target
            degree = projection.connectivity.mean_indegree(target.size, source.size, autapses=autapses)
            total += target.size * degree
    return total


def _reason(error: Exception) -> str:
    """Return why something failed, as the end of a sentence for readers of a report."""
    text = " ".join(str(error).split()).replace("`", "").rstrip(".")
    known = isinstance(error, ValueError | RuntimeError | ArithmeticError | OSError | MemoryError)
    return f"{text}." if known and text else f"{type(error).__name__}{': ' if text else ''}{text}."
