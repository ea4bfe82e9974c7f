"""C++ compiler: whether there is one, building a project with it, and the folders in which that is done."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from mnnbio.machine import FileError, compiler_command, file_error, locked, run_tool

TIME_VARIABLE = "MNNBIO_COMPILER_TIMEOUT"

_DEFAULT_TIME = 1200.0  # s, for building a program; a large circuit on a busy core takes minutes
_LONGEST_ANSWER = 60.0  # s, for a compiler to say what it is


class CompilerNotFound(RuntimeError):  # noqa: N818 - says what happened
    """There is no C++ compiler or no make."""


class BuildFailed(RuntimeError):  # noqa: N818 - says what happened
    """The C++ compiler rejected a generated project, or does not come to an end."""


def require_compiler() -> None:
    """Check that C++ programs can be built here.

    Raises
    ------
    CompilerNotFound
        If the C++ compiler or make is missing, with what to install.
    """
    missing = [tool for tool in (compiler_command()[0], "make") if shutil.which(tool) is None]
    if missing:
        raise CompilerNotFound(
            f"{' and '.join(missing)} not found: simulating in generated C++ needs a C++ compiler and make. Install "
            "them (Debian or Ubuntu: apt install build-essential; macOS: xcode-select --install; conda: conda install "
            'cxx-compiler make), or simulate with codegen="runtime", which needs neither and is slower'
        )


def compiler_version() -> str | None:
    """Return how the compiler describes itself, None where there is none.

    Raises
    ------
    BuildFailed
        If it does not answer.
    """
    command = [*compiler_command(), "--version"]
    if shutil.which(command[0]) is None:
        return None
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=_LONGEST_ANSWER
        )
    except subprocess.TimeoutExpired as error:
        raise BuildFailed(
            f"the C++ compiler does not answer `{' '.join(command)}` within {_LONGEST_ANSWER:g} s: name another in the "
            "variable CXX"
        ) from error
    except OSError as error:
        raise file_error(f"cannot start the C++ compiler, `{' '.join(command)}`", error) from error
    return done.stdout


def compiler_options() -> list[str]:
    """Return what the environment says about how to compile."""
    return [os.environ.get(name, "") for name in ("CXX", "CXXFLAGS", "MAKEFLAGS")]


def compile_project(folder: Path, *, only: Sequence[str] = (), made: Sequence[str] = ()) -> None:
    """Build the program of a generated project.

    Parameters
    ----------
    folder : Path
    only : sequence of str
        Files to build; default: the program, and all that it needs.
    made : sequence of str
        Files that are there and are not built, whatever their age.

    Raises
    ------
    CompilerNotFound
        If the C++ compiler or make is missing.
    BuildFailed
        If the compiler reports an error, or takes longer than ``$MNNBIO_COMPILER_TIMEOUT`` seconds (default: 1200).
    """
    require_compiler()
    limit = time_limit()
    # Without DEPS make skips the list of dependencies, which only matters to someone who edits the sources.
    old = [f"--old-file={name}" for name in made]
    command = ["make", f"-j{available_cores()}", "DEPS=", *old, *only]
    try:
        done = run_tool(command, folder, time_limit=limit)
    except subprocess.TimeoutExpired as error:
        raise BuildFailed(
            f"building the C++ project in {folder} took longer than {limit:g} s and was stopped. Try `make` there; a "
            f"compiler that needs more time gets it by the variable {TIME_VARIABLE}, in seconds"
        ) from error
    if done.returncode != 0:
        full = os.strerror(errno.ENOSPC) in done.stderr
        remedy = "\nFree some space, or set TMPDIR to a folder on another disk" if full else ""
        raise BuildFailed(
            f"building the C++ project in {folder} failed; the compiler says:\n{_errors(done.stderr)}{remedy}"
        )


def time_limit() -> float:
    """Return how many seconds a program may take to build.

    Raises
    ------
    ValueError
        If ``$MNNBIO_COMPILER_TIMEOUT`` is no time > 0.
    """
    text = os.environ.get(TIME_VARIABLE, "")
    try:
        seconds = float(text or _DEFAULT_TIME)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < threading.TIMEOUT_MAX:
        raise ValueError(f"the environment variable {TIME_VARIABLE} must be a time > 0 s, got {text!r}")
    return seconds


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _errors(log: str, n_lines: int = 20) -> str:
    """Return the lines of a compiler's output that matter."""
    lines = log.strip().splitlines()
    first = next((k for k, line in enumerate(lines) if "error" in line.lower()), max(len(lines) - n_lines, 0))
    return "\n".join(lines[first : first + n_lines])


_PREFIX, _LOCK = "mnnbio_", ".in-use"


@contextmanager
def work_folder(own: str | os.PathLike[str] | None) -> Iterator[Path]:
    """Yield the folder of a program.

    Parameters
    ----------
    own : path-like or None
        The folder to take, which is kept. None: a temporary one. It is removed at the end, whatever happens, unless a
        build fails, whose message names it. If this process is killed, a later one removes it.
    """
    if own is not None:
        yield Path(own).absolute()
        return
    remove_abandoned()
    with temporary_files():
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX)).absolute()
    keep = False
    with ExitStack() as stack:
        with suppress(OSError):
            stack.enter_context(_claimed(folder))
        try:
            yield folder
        except BuildFailed:
            keep = True
            (folder / _LOCK).unlink(missing_ok=True)
            raise
        finally:
            if not keep:
                shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def temporary_files() -> Iterator[None]:
    """Say what to do where the folder for temporary files cannot be written."""
    try:
        yield
    except FileError:
        raise
    except OSError as error:
        # NumPy gives no number where a disk is full.
        folder = os.environ.get("TMPDIR") or (tempfile.tempdir or "the folder for temporary files")
        found = file_error(f"cannot write to {folder}, where programs are built and run", error)
        if error.errno != errno.EMFILE:
            found.args = (f"{found}, or set TMPDIR to another folder",)
        raise found from error


def remove_abandoned() -> None:
    """Remove the temporary folders of processes that have been killed.

    Others may share the folder for temporary files: what is theirs is passed over.
    """
    with suppress(OSError):
        for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
            with suppress(OSError):
                lock = folder / _LOCK
                if folder.lstat().st_uid != os.geteuid() or folder.is_symlink() or not lock.exists():
                    continue
                with locked(lock, wait=False):  # fails while the owner lives
                    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _claimed(folder: Path) -> Iterator[None]:
    """Hold a lock in a folder, which the system gives back when this process ends, however it ends."""
    new = folder / f"{_LOCK}.new"
    with locked(new):
        new.rename(folder / _LOCK)  # the lock is never there without being held
        yield
