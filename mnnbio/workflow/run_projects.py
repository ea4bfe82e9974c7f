"""A simulation of a run as a C++ project that needs no Python, and its output as a result file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import xarray as xr

from mnnbio.results import save
from mnnbio.workflow.run_folder import DECISIONS, read_json, write_json
from mnnbio.workflow.run_session import Session, warnings_as_notes
from mnnbio.workflow.run_steps import (
    circuit_of,
    figures,
    labelled,
    planned_simulation,
    stimulus_coords,
    table,
    trained_network,
    with_decisions,
    with_statistics,
)

# What the project itself does not know: which of the simulations it is, and of what.
RECORD = "run.json"


def write(session: Session, part: str, path: Path) -> None:
    """Write one of the simulations of a run as a C++ project."""
    from mnnbio.spikes import write_project

    planned, shared = planned_simulation(session, part), session.config.simulation
    circuit = circuit_of(session, trained_network(session), planned)
    write_project(
        circuit,
        path,
        duration=planned.duration,
        trials=planned.trials,
        warmup=planned.warmup,
        window=planned.window,
        dt=shared.dt,
        seed=planned.seed,
    )
    coords = stimulus_coords(session, planned)
    stimuli = {name: coords[name].to_dict() for name in ("sample", "target")}
    record = {
        "part": part,
        "trained": session.config.model.closure,
        "closure": shared.closure,
        "theory": shared.theory,
        "stimuli": stimuli,
    }
    write_json(path / RECORD, record)
    session.say(f"{'cpp':<10} {path}: build and run it with `make && ./main` there, then `mnnbio read {path}`")


def read(path: Path, out: Path) -> str:
    """Turn the output of a C++ project into a result file.

    Parameters
    ----------
    path : Path
        Folder of the project, whose program has run.
    out : Path
        File to write.

    Returns
    -------
    str
        The figures, and the path.
    """
    from mnnbio.spikes import read_project

    record: dict[str, Any] = read_json(path / RECORD)
    decisions = record.get("part") == DECISIONS
    tree = read_project(path, covariance=not decisions)
    if "stimuli" in record:
        coords = xr.Dataset(coords={name: xr.DataArray.from_dict(c) for name, c in record["stimuli"].items()})
        tree = labelled(tree, coords)
    closure, theory = record.get("closure", "auto"), record.get("theory", "diffusion")
    trained = record.get("trained", "moments")
    with warnings_as_notes(print, lambda _: None):
        result = with_decisions(tree, trained) if decisions else with_statistics(tree, closure, theory)
    save(result, out)
    return f"{table(figures(result))}\n\n{out}"
