"""C++ compiler: whether there is one, building a project with it, and the folders in which that is done."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path


class CompilerNotFound(RuntimeError):  # noqa: N818 - says what happened
    """There is no C++ compiler or no make."""


class BuildFailed(RuntimeError):  # noqa: N818 - says what happened
    """The C++ compiler rejected a generated project."""


def require_compiler() -> None:
    """Check that C++ programs can be built here.

    Raises
    ------
    CompilerNotFound
        If the C++ compiler or make is missing, with what to install.
    """
    compiler = os.environ.get("CXX", "").split()[:1] or ["g++"]
    missing = [tool for tool in (*compiler, "make") if shutil.which(tool) is None]
    if missing:
        raise CompilerNotFound(
            f"{' and '.join(missing)} not found: simulating in generated C++ needs a C++ compiler and make. Install "
            "them (Debian or Ubuntu: apt install build-essential; macOS: xcode-select --install; conda: conda install "
            'cxx-compiler make), or simulate with codegen="runtime", which needs neither and is slower'
        )


def compiler_version() -> str:
    """Return how the compiler describes itself.

    Raises
    ------
    CompilerNotFound
        If the C++ compiler or make is missing.
    """
    require_compiler()
    command = [*(os.environ.get("CXX", "").split() or ["g++"]), "--version"]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    return done.stdout


def compile_project(folder: Path) -> None:
    """Build the program of a generated project.

    Raises
    ------
    CompilerNotFound
        If the C++ compiler or make is missing.
    BuildFailed
        If the compiler reports an error.
    """
    require_compiler()
    # Without DEPS make skips the list of dependencies, which only matters to someone who edits the sources.
    command = ["make", f"-j{available_cores()}", "DEPS="]
    # A group of its own, because the compilers that make has started would outlive it.
    with subprocess.Popen(
        command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace",
        process_group=0,
    ) as process:  # fmt: skip
        try:
            _, said = process.communicate()
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    if process.returncode != 0:
        raise BuildFailed(f"building the C++ project in {folder} failed; the compiler says:\n{_errors(said)}")


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
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX)).absolute()
    keep = False
    with ExitStack() as stack:
        with suppress(OSError, ImportError):
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


def remove_abandoned() -> None:
    """Remove the temporary folders of processes that have been killed."""
    with suppress(ImportError):
        import fcntl

        for lock in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*/{_LOCK}"):
            with suppress(OSError), lock.open("ab") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails while the owner lives
                shutil.rmtree(lock.parent, ignore_errors=True)


@contextmanager
def _claimed(folder: Path) -> Iterator[None]:
    """Hold a lock in a folder, which the system gives back when this process ends, however it ends."""
    import fcntl

    with (folder / f"{_LOCK}.new").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        os.rename(file.name, folder / _LOCK)  # the lock is never there without being held
        yield
