"""Processes that run a compiled program: its presentations divided among them, none of which outlives us."""

from __future__ import annotations

import os
import selectors
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from mnnbio.machine import file_error
from mnnbio.spikes.compiling import temporary_files
from mnnbio.spikes.program_files import Job, SimulationFailed, may_not_start, read_blocks, write_plan_file
from mnnbio.spikes.recording import Block

_LONGEST_WAIT = 3600.0  # s, between two looks at the clock


class SimulationTimeout(TimeoutError):  # noqa: N818 - says what happened
    """A simulation took longer than it was allowed to."""


class Deadline:
    """The end of the wall-clock time that a simulation may take.

    Parameters
    ----------
    timeout : float or None
        Seconds from now; None: no end.

    Raises
    ------
    ValueError
        As `check_timeout` does.
    """

    def __init__(self, timeout: float | None) -> None:
        check_timeout(timeout)
        self._end = float("inf") if timeout is None else time.monotonic() + timeout
        self.timeout = timeout

    def left(self) -> float:
        """Return the seconds that are left, infinite without an end."""
        return self._end - time.monotonic()

    def check(self, done: int, total: int) -> None:
        """Raise `SimulationTimeout` if the time is up, after `done` of `total` steps."""
        if self.left() <= 0:
            share = f"{100 * done / max(total, 1):.3g} % of its steps"
            raise SimulationTimeout(
                f"the simulation took longer than `timeout`, {self.timeout:g} s, and was stopped: {share} were done. "
                "Allow more time, or try a shorter `duration` or fewer `trials`"
            )


def check_timeout(timeout: Any) -> None:
    """Raise a `ValueError` unless `timeout` is None or a number of seconds > 0."""
    if timeout is None:
        return
    if isinstance(timeout, bool) or not isinstance(timeout, int | float | np.number) or not timeout > 0:
        raise ValueError(f"`timeout` must be a time > 0 s, got {timeout!r}")


def run_program(
    program: Path,
    inputs: Sequence[Path],
    job: Job,
    processes: int,
    report: Callable[[int], None],
    deadline: Deadline,
) -> Iterator[Block]:
    """Run a compiled program, its batches divided among processes, and yield what it records.

    Parameters
    ----------
    program : Path
    inputs : sequence of Path
        Folders with its input files; what is in the first counts.
    job : Job
    processes : int
    report : callable
        Told the number of steps taken since it was last told.
    deadline : Deadline

    Raises
    ------
    SimulationFailed
        If a process ends with an error, or complains.
    SimulationTimeout
        If the time is up.
    """
    shares = job.split(processes)
    with ExitStack() as stack:
        with temporary_files():
            run = stack.enter_context(tempfile.TemporaryDirectory(dir=program.parent, prefix="run_"))
            for number, share in enumerate(shares):
                write_plan_file(Path(run, f"plan_{number}.bin"), share)
        commands = []
        for number in range(len(shares)):
            plan, spikes = Path(run, f"plan_{number}.bin"), Path(run, f"spikes_{number}.bin")
            command = [str(program), "--plan", str(plan), "--spikes", str(spikes), "--until", "end-of-input"]
            commands.append(command + [word for folder in inputs for word in ("--inputs", str(folder))])
        _run_all(commands, Path(run), report, deadline, job.n_steps * len(job.batches))
        first = 0
        for number, share in enumerate(shares):
            path = Path(run, f"spikes_{number}.bin")
            yield from read_blocks(path, share, first)
            path.unlink()
            first += len(share.batches)


def _run_all(
    commands: list[list[str]], folder: Path, report: Callable[[int], None], deadline: Deadline, total: int
) -> None:
    """Run programs beside each other in a folder; if one fails, or we are interrupted, none survives."""
    with _started(commands, folder) as running, selectors.DefaultSelector() as selector:
        said = [_Output(command[0], folder / f"errors_{number}.txt") for number, command in enumerate(commands)]
        for number, process in enumerate(running):
            assert process.stdout is not None
            selector.register(process.stdout, selectors.EVENT_READ, number)
        while selector.get_map():
            ready = selector.select(min(max(deadline.left(), 0.0), _LONGEST_WAIT))
            deadline.check(sum(output.done for output in said), total)
            for key, _ in ready:
                text = os.read(key.fd, 65536).decode(errors="replace")
                if text:
                    report(said[key.data].take(text))
                else:
                    selector.unregister(key.fileobj)
                    said[key.data].check(running[key.data].wait())


@contextmanager
def _started(commands: list[list[str]], folder: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Start programs, and end those that still run when the block is left, however it is left.

    We hold the other end of their standard input: should we be killed, it closes, and they end by themselves.
    """
    running: list[subprocess.Popen[bytes]] = []
    try:
        for number, command in enumerate(commands):
            running.append(_start(command, folder, folder / f"errors_{number}.txt"))
        yield running
    finally:
        for process in running:
            if process.poll() is None:
                process.kill()
                process.wait()
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                pipe.close()


def _start(command: list[str], folder: Path, said: Path) -> subprocess.Popen[bytes]:
    with said.open("wb") as errors:
        try:
            return subprocess.Popen(command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors)
        except PermissionError as error:
            raise may_not_start(command[0], error) from error
        except OSError as error:
            raise file_error(f"cannot start the program {command[0]}", error) from error


class _Output:
    """Output of one process: its progress, and anything else, which is a complaint."""

    def __init__(self, program: str, errors: Path) -> None:
        self.program, self.errors = program, errors
        self.done, self._rest, self._complaints = 0, "", ""

    def take(self, text: str) -> int:
        """Read more of the standard output and return the number of steps taken since last time."""
        *lines, self._rest = (self._rest + text).split("\n")
        before = self.done
        for line in lines:
            words = line.split()
            if len(words) == 4 and words[0] == "steps" and words[1].isdigit():
                self.done = int(words[1])
            elif words[:3] != ["spikes", "are", "in"]:
                self._complaints += line + "\n"
        return self.done - before

    def check(self, status: int) -> None:
        """Raise `SimulationFailed` unless the process has ended well and said nothing but its progress."""
        said = (self._complaints + self._rest + self.errors.read_text(errors="replace")).strip()[-2000:]
        if status != 0:
            said = said or "it gave no reason"
            if "is the disk full?" in said:
                said += " Free some space, or set TMPDIR to a folder on another disk"
            raise SimulationFailed(f"the program {self.program} ended with status {status}: {said}")
        if said:
            raise SimulationFailed(f"the program {self.program} came to its end, but complained: {said}")
