"""Work at one point of a sweep, in whatever process it is done, and the layout of its result.

The layout, which variables there are and how their dimensions are labelled, tells which results fit together, unread.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import tempfile
import threading
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr

from mnnbio.spikes import require_version, watch
from mnnbio.workflow.fingerprint import DIGITS
from mnnbio.workflow.pipeline import (
    REMARKS,
    Journal,
    Theory,
    labelled,
    n_synapses,
    remarked,
    require_affordable,
    silent_journal,
    with_theory,
)
from mnnbio.workflow.sweep_config import Point, SweepConfig, record_of
from mnnbio.workflow.sweep_subjects import SIMULATION, Subject

if TYPE_CHECKING:
    from mnnbio.circuit import Circuit

# Spike trains differ in length from point to point, and are read point by point.
_NEVER_MERGED = ("spikes",)

Layout = dict[str, dict[str, Any]]


def layout_of(tree: xr.DataTree) -> Layout:
    """Return variables and dimensions of every group, as JSON can hold them.

    Returns
    -------
    dict
        By group: ``variables``, by name their dimensions and type; ``dims``, by name the size and the fingerprint of
        all labels along the dimension; ``populations``, by name the number of neurons, in their order.
    """
    return {
        node.path.lstrip("/"): _group(node.to_dataset())
        for node in tree.subtree
        if node.path != "/" and node.path.split("/")[1] not in _NEVER_MERGED and node.data_vars
    }


def _group(dataset: xr.Dataset) -> dict[str, Any]:
    populations: dict[str, int] = {}
    if "population" in dataset.coords and dataset["population"].dims == ("neuron",):
        names = dataset["population"].values
        populations = {str(name): int(np.count_nonzero(names == name)) for name in dict.fromkeys(names.tolist())}
    return {
        "variables": {str(name): [list(v.dims), v.dtype.str] for name, v in dataset.data_vars.items()},
        "dims": {str(dim): [int(size), _labels(dataset, str(dim))] for dim, size in dataset.sizes.items()},
        "populations": populations,
    }


def _labels(dataset: xr.Dataset, dim: str) -> str:
    digest = hashlib.sha256()
    for name in sorted(str(name) for name, coord in dataset.coords.items() if coord.dims == (dim,)):
        values = dataset[name].values
        digest.update(f"{name}{values.dtype.kind}".encode())
        digest.update("\0".join(map(str, values.tolist())).encode())
    return digest.hexdigest()[:DIGITS]


TOKEN_FILE = ".sweep"
DONE, FAILED, WAITING = "done", "failed", "waiting"

# The netCDF library is not made for several threads, and a worker may have some.
_netcdf = threading.Lock()


@dataclasses.dataclass(frozen=True)
class Work:
    """State that all points of a sweep share.

    Parameters
    ----------
    config : SweepConfig
    subject : Subject
    folder : str
        The sweep's folder. A worker that does not see it sends its results back instead.
    token : str
        What the folder is known by.
    version : str
        Of this package, where the sweep is led from.
    processes : int
        Processes of each simulation; None: one per core.
    """

    config: SweepConfig
    subject: Subject
    folder: str
    token: str
    version: str
    processes: int | None


class Outcome(NamedTuple):
    """Outcome of a point: its record, and the result file's content where the worker does not see the folder."""

    record: dict[str, Any]
    content: bytes | None = None


def do_point(work: Work, point: Point) -> Outcome:
    """Simulate and predict a point, and write its result.

    Whatever goes wrong is a failure of this point: it is recorded, and others go on.
    """
    start = time.monotonic()
    record: dict[str, Any] = {"parameters": point.parameters, "seed": point.seed, "file": point.file}
    journal = silent_journal()
    try:
        require_version(work.version)
        stored = stored_record(Path(work.folder), point, work.token)
        if stored is not None and not stored.get(REMARKS):
            return Outcome(stored)  # by a worker that was killed before it could say so
        simulation = None if stored is None else _stored_simulation(Path(work.folder), point)
        journal.notes += [] if stored is None else stored.get("warnings", [])
        tree = result_of(work, point, journal, simulation)
        record |= {"status": DONE, "circuit_hash": tree.attrs["circuit_hash"]}
        record |= {"seconds": time.monotonic() - start, "warnings": journal.notes, REMARKS: journal.remarks}
        content = _deliver(work, point, tree, record)
    except Exception as error:
        record |= {"status": FAILED, "message": f"{type(error).__name__}: {error}", "warnings": journal.notes}
        record |= {"traceback": traceback.format_exc(), "seconds": time.monotonic() - start}
        return Outcome(record)
    return Outcome(record, content)


def result_of(work: Work, point: Point, journal: Journal, simulation: xr.DataTree | None = None) -> xr.DataTree:
    """Return simulation, and prediction and comparison where asked for.

    Parameters
    ----------
    work : Work
    point : Point
    journal : Journal
        Gets warnings as notes, and what failed beside the simulation as remarks.
    simulation : DataTree, optional
        One that is there already.
    """
    from mnnbio.spikes import patience, simulate

    config = work.config
    with journal.listening(), patience():
        circuit, options = prepared(work, point.parameters)
        tree = simulation
        if tree is None:
            require_affordable(
                neurons=circuit.n_neurons,
                synapses=n_synapses(circuit),
                presentations=(circuit.n_stimuli or 1) * options["trials"],
                remedy="Choose a smaller circuit.",
            )
            tree = simulate(
                circuit,
                seed=point.seed,
                record=record_of(config.record),
                progress=watch() or False,
                codegen=config.simulation.codegen,
                device=config.simulation.device,
                covariance=config.simulation.covariance,
                processes=work.processes,
                **options,
            )
            if work.subject.stimuli is not None:
                tree = labelled(tree, work.subject.stimuli)
    if config.predict is not None:
        with journal.listening():
            tree = _with_prediction(tree, circuit, config, journal)
    return remarked(tree, journal.remarks)


def _stored_simulation(folder: Path, point: Point) -> xr.DataTree:
    """Return the simulation of a result whose prediction failed."""
    from mnnbio.results import load

    with _netcdf:
        return load(folder / point.file)


def prepared(work: Work, parameters: Mapping[str, Any]) -> tuple[Circuit, dict[str, Any]]:
    """Return the circuit of a point, and the times and trials of its simulation."""
    config = work.config
    every = {**config.parameters, **parameters}
    shared = config.simulation
    options = {"trials": config.trials, **{name: getattr(shared, name) for name in SIMULATION if name != "trials"}}
    own = {name: value for name, value in every.items() if name in SIMULATION and not work.subject.has(name)}
    circuit = work.subject.circuit({name: value for name, value in every.items() if name not in own})
    return circuit, options | own


def _with_prediction(tree: xr.DataTree, circuit: Circuit, config: SweepConfig, journal: Journal) -> xr.DataTree:
    from mnnbio.analyses import compare
    from mnnbio.theory import predict

    options = config.predict
    assert options is not None
    simulated = tree["simulation"].to_dataset()

    def make() -> xr.Dataset:
        prediction = predict(
            circuit,
            dt=1e3 * tree.attrs["dt"],  # s → ms
            window=1e3 * tree.attrs["window"],
            closure=None if options.closure == "auto" else options.closure,
            theory=options.theory,
            resolution=options.resolution,
            covariance=config.simulation.covariance,
        )
        if "neuron" not in simulated.dims:
            return prediction
        recorded = simulated["neuron"].values
        return prediction.sel({dim: recorded for dim in ("neuron", "neuron_j") if dim in prediction.dims})

    comparable = "neuron" in simulated.dims and options.resolution == "neuron"
    return with_theory(tree, [Theory("prediction", make)], compare if comparable else None, journal)


def _deliver(work: Work, point: Point, tree: xr.DataTree, record: dict[str, Any]) -> bytes | None:
    """Write a result into the sweep's folder, or return the file's content where the folder is not to be seen."""
    from mnnbio.results import save

    layout = layout_of(tree)
    tree.attrs |= {"sweep": work.token, "sweep_point": json.dumps(record), "sweep_layout": json.dumps(layout)}
    path = Path(work.folder, point.file)
    if _token(Path(work.folder)) == work.token:
        with _netcdf:
            save(tree, path)
        record["sha256"] = checksum(path)
        return None
    with tempfile.TemporaryDirectory(prefix="mnnbio_") as aside, _netcdf:
        save(tree, Path(aside, "result.nc"))
        content = Path(aside, "result.nc").read_bytes()
    record["sha256"] = hashlib.sha256(content).hexdigest()
    return content


def stored_record(folder: Path, point: Point, token: str) -> dict[str, Any] | None:
    """Return the record of a point in its file, None where there is no such file, or not all of it can be read."""
    from mnnbio.results import ResultFileError, load

    path = folder / point.file
    if not path.is_file():
        return None
    try:
        with _netcdf:
            attributes = load(path).attrs
    except ResultFileError:
        return None
    if attributes.get("sweep") != token:
        return None
    record: dict[str, Any] = json.loads(attributes["sweep_point"])
    return record | {"sha256": checksum(path)}


def checksum(path: Path) -> str:
    """Return the checksum of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _token(folder: Path) -> str | None:
    try:
        return (folder / TOKEN_FILE).read_text(encoding="utf-8").strip()
    except OSError:
        return None
