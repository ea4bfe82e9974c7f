"""Write a network as a C++ project with Brian2's standalone device, and run the compiled program."""

from __future__ import annotations

import os
import selectors
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mnnbio.brian.model import Model
from mnnbio.brian.trains import RawSpikes

_HEADERS = ("streams.h", "presentations.h")


class SimulationFailed(RuntimeError):  # noqa: N818 - says what happened
    """The compiled program ended with an error."""


def write_cpp(model: Model, folder: Path) -> None:
    """Write the C++ project of a network, and the tables that it reads, into a folder.

    Must run within the session of the standalone device in which the model was made. Brian2 generates what a step does;
    the loop over presentations and steps is ours (`presentations.h`), so that one program runs any number of them for
    any time, and Brian2's own loop, which looks up clocks in every step, is left at zero steps.
    """
    from brian2 import get_device, second

    device = get_device()
    device.insert_code("before_start", "const mnnbio::Job job = mnnbio::take_job(args);")
    model.network.run(0 * second, namespace={})
    device.insert_code("main", "\n".join(_main_lines(model)))
    # Without this, Brian2 would write every array of the network, weights included, to disk at the end.
    device.insert_code("before_end", "return 0;")
    folder.mkdir(parents=True, exist_ok=True)
    for header in _HEADERS:
        with as_file(files("mnnbio.brian") / header) as path:
            shutil.copyfile(path, folder / header)
    device.build(directory=str(folder), compile=False, run=False)
    main = folder / "main.cpp"
    main.write_text(f'#include "presentations.h"\n{main.read_text()}')
    (folder / "prelude.h").write_text(_PRELUDE)
    with (folder / "makefile").open("a") as makefile:
        makefile.write(_PRELUDE_RULES)
    (folder / "inputs").mkdir(exist_ok=True)
    for name, _, table in model.parameters:
        table.tofile(folder / "inputs" / name)


# Most of the time of compiling goes into the same headers again and again, so they are compiled once.
_PRELUDE = """#include "objects.h"
#include "brianlib/common_math.h"
#include <cmath>
#include <climits>
#include <ctime>
#include <fstream>
#include <iostream>
#include "streams.h"
"""
_PRELUDE_RULES = """
$(OBJS): prelude.h.gch
$(OBJS): CXXFLAGS += -include prelude.h
prelude.h.gch: prelude.h objects.h
\t$(CXX) $(CXXFLAGS) -x c++-header $< -o $@
"""


def write_plan(path: Path, n_steps: int, batches: npt.NDArray[np.int64]) -> None:
    """Write what a program shall present: `batches`, (batch, replica, 2), as `Presentations.batches` gives them."""
    n_batches, replicas, _ = batches.shape
    np.concatenate([[n_steps, replicas, n_batches], batches.ravel()]).astype(np.int64).tofile(path)


def read_spikes(path: Path, n_batches: int, populations: Sequence[str], first_batch: int = 0) -> Iterator[RawSpikes]:
    """Yield the spikes that a program has written.

    Raises
    ------
    SimulationFailed
        If the file is not complete.
    """
    if not path.exists():
        raise SimulationFailed(f"{path} is missing: the program has not run, or not to its end")
    with path.open("rb") as file:
        for batch in range(n_batches):
            for population in populations:
                number = np.fromfile(file, np.int64, 1)
                element, step = (np.fromfile(file, np.int32, int(number.sum())) for _ in range(2))
                if not len(number) or len(step) != number[0]:
                    raise SimulationFailed(f"{path} is incomplete: it ends in batch {batch + 1} of {n_batches}")
                yield RawSpikes(first_batch + batch, population, element, step)
        if file.read(1):
            raise SimulationFailed(f"{path} holds more than the {n_batches} batches of its plan: it is of another run")


def run_program(
    folder: Path,
    n_steps: int,
    batches: npt.NDArray[np.int64],
    populations: Sequence[str],
    processes: int,
    report: Callable[[int], None],
) -> Iterator[RawSpikes]:
    """Run a compiled program, its batches divided among processes, and yield the spikes.

    Parameters
    ----------
    folder : Path
        The compiled project.
    n_steps : int
        Steps of a presentation.
    batches : ndarray of int64, shape (batch, replica, 2)
        As `Presentations.batches` gives them.
    populations : sequence of str
        The recorded populations, in the order in which the program writes them.
    processes : int
    report : callable
        Told the number of steps taken since it was last told.

    Raises
    ------
    SimulationFailed
        If a process ends with an error.
    """
    shares = np.array_split(batches, processes)
    with tempfile.TemporaryDirectory(dir=folder, prefix="run_") as run:
        commands = []
        for number, share in enumerate(shares):
            plan, spikes = Path(run, f"plan_{number}.bin"), Path(run, f"spikes_{number}.bin")
            write_plan(plan, n_steps, share)
            commands.append([str(folder / "main"), "--plan", str(plan), "--spikes", str(spikes)])
        _run_all(commands, folder, Path(run), report)
        first = 0
        for number, share in enumerate(shares):
            yield from read_spikes(Path(run, f"spikes_{number}.bin"), len(share), populations, first)
            first += len(share)


def _run_all(commands: list[list[str]], folder: Path, run: Path, report: Callable[[int], None]) -> None:
    """Run programs beside each other; if one fails, or we are interrupted, none survives."""
    running: list[subprocess.Popen[str]] = []
    try:
        with selectors.DefaultSelector() as selector:
            for number, command in enumerate(commands):
                with (run / f"errors_{number}.txt").open("w") as errors:
                    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=errors, text=True)
                running.append(process)
                assert process.stdout is not None
                selector.register(process.stdout, selectors.EVENT_READ, number)
            done = [0] * len(commands)
            while selector.get_map():
                for key, _ in selector.select():
                    line = os.read(key.fd, 65536).decode()
                    if not line:
                        selector.unregister(key.fileobj)
                        if running[key.data].wait() != 0:
                            raise SimulationFailed(
                                _complaint(running[key.data], run / f"errors_{key.data}.txt", folder)
                            )
                    for words in (words.split() for words in line.splitlines()):
                        if len(words) == 4 and words[0] == "steps" and words[1].isdigit():
                            report(int(words[1]) - done[key.data])
                            done[key.data] = int(words[1])
    finally:
        for process in running:
            if process.poll() is None:
                process.kill()
                process.wait()
            assert process.stdout is not None
            process.stdout.close()


def _complaint(process: subprocess.Popen[str], errors: Path, folder: Path) -> str:
    said = errors.read_text(errors="replace").strip()[-2000:]
    return f"the program in {folder} ended with status {process.returncode}: {said or 'it gave no reason'}"


def _main_lines(model: Model) -> list[str]:
    """Return the C++ lines that tell the loop which arrays of the network are what."""
    from brian2 import get_device

    device = get_device()

    def pointer(variable: object) -> str:
        name = device.get_array_name(variable, access_data=False)
        return f"{name}.data()" if variable in device.dynamic_arrays else name

    lines = [f"mnnbio::Presentations presentations(job, {model.replicas});"]
    for name, variable, table in model.parameters:
        lines.append(f'presentations.parameter("{name}", {pointer(variable)}, {table.shape[1]});')
    for variable, start in model.states:
        value = str(start).lower() if isinstance(start, bool) else repr(start)
        array = pointer(variable)
        lines.append(f"presentations.state({array}, _num_{array}, ({_C_TYPES[np.dtype(variable.dtype).kind]}){value});")
    for variable, width, salt in model.streams:
        lines.append(f"presentations.streams({pointer(variable)}, {width}, {salt});")
    for group in model.sources:
        names = [pointer(group.variables[name]) for name in ("next_spike", "stream", "gap_scale")]
        lines.append(f"presentations.first_spikes({', '.join(names)}, {len(group)});")
    for group in model.groups:
        if "_spikespace" in group.variables:
            array = pointer(group.variables["_spikespace"])
            lines.append(f"presentations.state({array}, _num_{array}, (int32_t)0);")
    for synapses in model.synapses:
        lines += [f"presentations.queue({pathway.name});" for pathway in synapses._pathways]
    for monitor in model.monitors.values():
        arrays = [device.get_array_name(monitor.variables[name], access_data=False) for name in ("i", "t")]
        lines.append(f"presentations.record({', '.join(arrays)}, {model.clock.name}.dt[0]);")
    lines.append(f"presentations.run({model.network.name}, {model.clock.name});")
    return lines


_C_TYPES = {"f": "double", "i": "int32_t", "b": "char"}
