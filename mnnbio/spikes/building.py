"""Make a circuit ready to run: from the cache of compiled programs, or by a build."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_args

from mnnbio.circuit import Circuit, check_time_step, require_circuit, time_step
from mnnbio.machine import FOLDER_VARIABLE, CacheWarning, FileError, UnsafeFolder, check_choice, require_integer
from mnnbio.spikes.common_parts import PARTS, compile_with_parts
from mnnbio.spikes.compiling import compile_project, compiler_version, require_compiler, temporary_files, work_folder
from mnnbio.spikes.devices import Device, DeviceProgram, require_device
from mnnbio.spikes.layout import choose_replicas, choose_replicas_in_python, require_room
from mnnbio.spikes.planner import Planned, plan_circuit
from mnnbio.spikes.program import CompiledProgram, Program, PythonProgram
from mnnbio.spikes.program_cache import PROGRAM, ProgramCache, program_key
from mnnbio.spikes.program_files import INPUTS, write_courses, write_inputs
from mnnbio.spikes.recording import Record
from mnnbio.spikes.session import Codegen
from mnnbio.spikes.standalone import write_cpp
from mnnbio.spikes.state_recording import recorded_kinds_of, split_record
from mnnbio.spikes.timing import Times


@contextmanager
def build(
    circuit: Circuit,
    *,
    dt: Any = 0.1,
    record: Record = None,
    codegen: Codegen = "cpp_standalone",
    build_dir: str | os.PathLike[str] | None = None,
    replicas: int | None = None,
    cache: bool = True,
    device: Device | None = None,
) -> Iterator[Program]:
    """Make a circuit ready to run.

    A compiled program serves every circuit of the same structure: populations, projections and drives of the same
    names, sizes and kinds. It is kept in a cache (see `ProgramCache`), so that it is compiled once: for other weights,
    rates or parameters, in later processes too.

    Parameters
    ----------
    circuit : Circuit
    dt : float or Quantity
        Time step, ms; it must divide every refractory period and delay.
    record : str, sequence of str, mapping, Counts or CountMoments, optional
        Populations whose spikes are recorded; or what is recorded of each named population, ``"spikes"``, `Counts` or
        `CountMoments`; or one such kind for all; default: the spikes of all populations of neurons.
    codegen : {"cpp_standalone", "runtime"}
        Compile a C++ program, or run in Python with NumPy, which needs no compiler and is slower.
    build_dir : path-like, optional
        Folder of the C++ project, which is then built anew, and kept; default: a temporary one.
    replicas : int, optional
        Presentations run side by side; default: by size. The spikes do not depend on it.
    cache : bool
        Whether to take a compiled program from the cache, and to keep it there.
    device : {"cuda_standalone", "genn"}, optional
        Another device of Brian2, instead of `codegen`: of brian2cuda or brian2genn, where they are installed. Every run
        is built anew, all presentations side by side. Random numbers are the device's own, so its spikes are other
        ones, and depend on which presentations are run together.

    Yields
    ------
    Program
        Usable within the ``with`` block.

    Raises
    ------
    ValueError
        If `dt` does not suit the circuit, or a recorded population is unknown.
    CompilerNotFound, BuildFailed
        If there is no compiler, or it fails.
    DeviceUnavailable
        If the package of `device` is not installed, or cannot be imported.
    BrianBusyError
        If Brian2 is in use by something else in this process.

    Warns
    -----
    CacheWarning
        If a program could not be kept in the cache. It works all the same.

    Examples
    --------
    ::

        with build(circuit, dt=0.1 * ms) as program:
            spikes = [program.run(1 * second, stimulus=rates, seed=1) for rates in stimuli]
    """
    check_choice("codegen", codegen, get_args(Codegen))
    require_circuit(circuit)
    require_room(circuit)
    step = time_step(dt)
    check_time_step(circuit, step)
    wanted = split_record(record)
    kinds = recorded_kinds_of({population.name: population.size for population in circuit.neurons}, wanted)
    if replicas is not None:
        require_integer("replicas", replicas, 1)
    if device is not None:
        if wanted.states or wanted.weights:
            raise ValueError(f"device={device!r} records spikes alone; leave out States and Weights, or `device`")
        require_device(device)
        yield DeviceProgram(_plan(circuit, step, 1), kinds, device, build_dir, replicas)
        return
    if codegen == "runtime":
        planned = _plan(circuit, step, replicas or choose_replicas_in_python(circuit))
        yield PythonProgram(planned, kinds, wanted)
        return
    kept = cache and build_dir is None
    if compiler_version() is None or not kept:
        cached = ProgramCache.of_user().entries() if kept else []
        if not cached:
            require_compiler()  # whatever is missing is said before the synapses are made
    planned = _plan(circuit, step, replicas or choose_replicas(circuit))
    with work_folder(build_dir) as folder:
        if kept:
            _take_or_build(planned, folder, ProgramCache.of_user())
        else:
            _build(planned, folder, compile_project)
        with temporary_files():
            write_inputs(planned.plan, folder / INPUTS)
        yield CompiledProgram(planned, kinds, folder, wanted)


def write_project_sources(circuit: Circuit, folder: Path, dt: float, times: Times) -> int:
    """Write the C++ project of a circuit with its inputs; return how many presentations run side by side."""
    planned = _plan(circuit, dt, choose_replicas(circuit))
    write_cpp(planned.plan, folder)
    write_inputs(planned.plan, folder / INPUTS)
    write_courses(planned.plan, folder / INPUTS, times.warmup_steps + times.duration_steps, times.warmup_steps)
    return planned.plan.replicas


def _plan(circuit: Circuit, dt: float, replicas: int) -> Planned:
    return Planned(circuit, plan_circuit(circuit, dt=dt, replicas=replicas))


def _take_or_build(planned: Planned, folder: Path, cache: ProgramCache) -> None:
    """Put the program of a plan into a folder."""
    compiler = compiler_version()
    key = program_key(planned.plan, compiler)
    if _take(key, folder, cache):
        return
    with cache.locked(key):
        if _take(key, folder, cache):  # somebody else has built it meanwhile
            return
        parts = cache.folder.parent / PARTS
        _build(planned, folder, lambda project: compile_with_parts(project, compiler or "", parts))
        try:
            cache.keep(key, folder / PROGRAM, _about(planned.circuit, compiler or ""))
        except FileError as error:
            warnings.warn(
                f"the compiled program cannot be kept in {cache.folder} ({error}): it was built in a temporary folder, "
                f"and will be built anew next time. Try {FOLDER_VARIABLE}=FOLDER for another folder",
                CacheWarning,
                stacklevel=4,
            )


def _take(key: str, folder: Path, cache: ProgramCache) -> bool:
    """Take a program from the cache, where it is there and the cache can be trusted."""
    try:
        found = cache.find(key)
        return found is not None and cache.take(found, folder / PROGRAM)
    except UnsafeFolder:  # as `keep` will say
        return False


def _build(planned: Planned, folder: Path, compile_: Callable[[Path], None]) -> None:
    require_compiler()
    with temporary_files():
        write_cpp(planned.plan, folder)
        compile_(folder)


def _about(circuit: Circuit, compiler: str) -> dict[str, str]:
    """Return what people want to know about a program."""
    return {
        "circuit": str(circuit),
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "mnnbio": version("mnnbio"),
        "brian2": version("brian2"),
        "compiler": (compiler.splitlines() or ["unknown"])[0],
    }
