"""C++ projects that stand alone: written here, built and run anywhere with make, read back into a result."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import xarray as xr

from mnnbio.circuit import Circuit, time_step
from mnnbio.machine import folder_written_aside, require_integer
from mnnbio.spikes.building import write_project_sources
from mnnbio.spikes.collect import collect
from mnnbio.spikes.description import labelled_result
from mnnbio.spikes.layout import require_room, require_room_for_run
from mnnbio.spikes.program_files import read_blocks, write_plan_file
from mnnbio.spikes.recording import recorded_kinds
from mnnbio.spikes.runs import Run, choose_seed
from mnnbio.spikes.simulate import check_window
from mnnbio.spikes.timing import Times

_FORMAT = "mnnbio C++ project 2"
_README = """A network of spiking neurons as a C++ program, written by mnnbio.

    make && ./main

needs a C++ compiler and make. The spikes go to spikes.bin; then, with mnnbio installed,

    mnnbio read {name}

or `mnnbio.spikes.cpp_project.read_project("{name}")` in Python turns them into a result with rates, variances and
covariances.
manifest.json describes the network and the run.
"""


class ProjectError(ValueError):
    """A folder does not hold a project, or cannot take one."""


def write_project(
    circuit: Circuit,
    folder: str | os.PathLike[str],
    *,
    duration: Any,
    trials: int = 1,
    warmup: Any = 0.0,
    dt: Any = 0.1,
    seed: int | None = None,
    window: Any = None,
    record: Sequence[str] | None = None,
) -> Path:
    """Write a simulation as a C++ project that builds with ``make`` and runs without Python.

    Parameters
    ----------
    circuit : Circuit
    folder : path-like
        New or empty folder. It is complete or, if something fails, not there.
    duration, trials, warmup, dt, seed, window, record
        As in `mnnbio.simulate.simulate`; the spikes are the same too.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    ProjectError
        If the folder is not empty.
    FileError
        If it cannot be written.
    NotEnoughMemory
        If synapses or presentations would not fit into memory.
    ValueError
        If an argument is out of range or `dt` does not suit the circuit.
    """
    step = time_step(dt)
    times = Times.of(duration, warmup, step)
    require_integer("trials", trials, 1)
    require_room(circuit)
    require_room_for_run(circuit, (circuit.n_stimuli or 1) * trials)
    manifest: dict[str, Any] = {
        "format": _FORMAT,
        "dt": step,
        "duration": times.duration,
        "warmup": times.warmup,
        "window": check_window(window, times, step),
        "trials": int(trials),
        "seed": choose_seed(seed),
        "populations": list(recorded_kinds(_sizes(circuit), record)),
    }
    folder = Path(folder).absolute()
    if folder.exists() and any(folder.iterdir()):
        raise ProjectError(f"{folder} is not empty: give a new folder, or remove what is in it")
    with folder_written_aside(folder) as aside:
        manifest["replicas"] = write_project_sources(circuit, aside, step, times)
        write_plan_file(aside / "plan.bin", _run(circuit, manifest).job(manifest["replicas"]))
        manifest["circuit"] = json.loads(circuit.to_json())
        (aside / "manifest.json").write_text(json.dumps(manifest, indent=1))
        (aside / "README.txt").write_text(_README.format(name=folder.name))
        aside.chmod(0o755)
    return folder


def read_project(folder: str | os.PathLike[str], *, covariance: bool = True) -> xr.DataTree:
    """Read what the program of a C++ project has written.

    Parameters
    ----------
    folder : path-like
        A folder that `write_project` wrote and in which ``./main`` has been run.
    covariance : bool
        Whether to estimate the covariance matrices.

    Returns
    -------
    DataTree
        As `mnnbio.simulate.simulate` returns it.

    Raises
    ------
    ProjectError
        If the folder does not hold a project.
    SimulationFailed
        If the program has not been run to its end.
    """
    folder = Path(folder)
    try:
        manifest = json.loads((folder / "manifest.json").read_text())
        if manifest["format"] != _FORMAT:
            raise ProjectError(f"{folder} holds a project of format {manifest['format']!r}, not {_FORMAT!r}")
        circuit = Circuit.from_json(json.dumps(manifest["circuit"]))
        run, replicas = _run(circuit, manifest), int(manifest["replicas"])
        recording = collect(read_blocks(folder / "spikes.bin", run.job(replicas)), run, replicas)
    except (FileNotFoundError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise ProjectError(f"{folder} does not hold a C++ project with a valid manifest.json ({error})") from error
    return labelled_result(
        circuit, recording, window=manifest["window"], codegen="cpp_standalone", covariance=covariance
    )


def _sizes(circuit: Circuit) -> dict[str, int]:
    return {population.name: population.size for population in circuit.neurons}


def _run(circuit: Circuit, manifest: Mapping[str, Any]) -> Run:
    """Return the run that a manifest describes."""
    times = Times.of(manifest["duration"], manifest["warmup"], manifest["dt"])
    kinds = recorded_kinds(_sizes(circuit), manifest["populations"])
    return Run.of(circuit, kinds, times, manifest["dt"], manifest["seed"], manifest["trials"])
