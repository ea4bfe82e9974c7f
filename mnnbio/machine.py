"""Services of the machine: folders, locks, files written as a whole, free memory, compilers, checks of options.

Every room may use it, so it imports the standard library alone.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import hashlib
import logging
import os
import platform
import secrets
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from numbers import Integral
from pathlib import Path
from typing import Any, NamedTuple

FOLDER_VARIABLE = "MNNBIO_CACHE_DIR"


# Folders and files


class FileError(OSError):
    """A file or folder cannot be used: the message says which, why, and what to do."""


class CacheWarning(UserWarning):
    """Compiled code could not be kept, or what was kept could not be used."""


class UnsafeFolder(FileError):  # noqa: N818 - says what is the matter
    """Others own a folder, or may write to it, so what is in it may be theirs and is not run."""


def cache_folder() -> Path:
    """Return the folder in which compiled code is kept.

    ``$MNNBIO_CACHE_DIR``, else ``$XDG_CACHE_HOME/mnnbio``, else ``~/.cache/mnnbio``.
    """
    if own := os.environ.get(FOLDER_VARIABLE):
        return Path(own).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path("~/.cache").expanduser()) / "mnnbio"


def private_folder(path: Path) -> Path:
    """Return a folder that nobody else can write to; it is made, readable by its owner alone, if it is not there.

    Raises
    ------
    FileError
        If it cannot be made.
    UnsafeFolder
        As `require_private` does.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            path.mkdir(mode=0o700)
        except FileExistsError:
            if not path.is_dir():
                raise
        else:
            path.chmod(0o700)  # whatever the umask took away
    except OSError as error:
        raise file_error(f"cannot make the folder {path}", error) from error
    require_private(path)
    return path


def require_private(path: Path) -> None:
    """Raise an `UnsafeFolder` if others than this user and root own a folder or may write to it.

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    """
    found = path.stat()
    if found.st_uid not in (os.geteuid(), 0):
        reason, remedy = f"belongs to another user (number {found.st_uid})", "S"
    elif found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        reason = f"can be written by others (mode {stat.S_IMODE(found.st_mode):04o})"
        remedy = f"If all who can are trusted: chmod go-w {path}; else s"
    else:
        return
    raise UnsafeFolder(
        f"the folder {path} {reason}, so compiled code in it is not run. {remedy}et {FOLDER_VARIABLE} to a folder of "
        "your own"
    )


def file_error(what: str, error: OSError) -> FileError:
    """Return an error that adds a remedy to an error of the system.

    Parameters
    ----------
    what : str
        What cannot be done, such as "cannot write log.txt".
    error : OSError
    """
    remedies = {
        errno.EMFILE: "Too few files may be open at once: raise the limit, ulimit -n 1024",
        errno.ENFILE: "The system has too many files open: end other programs",
        errno.ENAMETOOLONG: "Choose a shorter name",
    }
    remedy = remedies.get(error.errno or 0, "Check the folder's permissions and free space")
    found = FileError(f"{what}: {error.strerror or error}. {remedy}")
    found.errno = error.errno
    return found


@contextmanager
def written_aside(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a path beside `path` to write to, and put it in place once that succeeded.

    Whatever happens on the way, `path` holds either what it held before or all of the new content.

    Raises
    ------
    FileError
        If the folder cannot be written to, or the disk is full.
    """
    path = Path(path)
    aside = path.with_name(f".{path.stem[:40]}-{secrets.token_hex(4)}.part{path.suffix}") if path.name else path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # With the permissions that any new file has.
        os.close(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))
        try:
            yield aside
            _to_disk(aside)
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)
    except FileError:
        raise
    except OSError as error:
        found = file_error(f"cannot write {path}", error)
        found.args = (f"{found}; what was there before is unchanged",)
        raise found from error


@contextmanager
def folder_written_aside(path: Path) -> Iterator[Path]:
    """Give a private folder beside `path` to fill, and put it in place once that succeeded.

    Raises
    ------
    FileError
        If it cannot be written, or `path` is a folder that is not empty.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name[:40]}-"))
        try:
            yield aside
            for file in aside.rglob("*"):
                if file.is_file():
                    _to_disk(file)
            aside.replace(path)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    except FileError:
        raise
    except OSError as error:
        raise file_error(f"cannot write {path}", error) from error


def _to_disk(file: Path) -> None:
    """Have a file's content on the disk before its name says so."""
    with file.open("rb") as written:
        os.fsync(written.fileno())


@contextmanager
def locked(path: Path, *, wait: bool = True, mode: int = 0o600) -> Iterator[None]:
    """Hold the lock of a file, which the system gives back when this process ends, however it ends.

    The file may lie in a folder that others can write: neither links nor pipes of theirs are followed or waited for.

    Parameters
    ----------
    path : Path
        The file; it is made if it is not there.
    wait : bool
        Whether to wait for another process that holds it.
    mode : int
        Permissions of a new file.

    Raises
    ------
    BlockingIOError
        If another process holds it and `wait` is false.
    OSError
        If it cannot be opened, is no ordinary file, or the file system knows no locks.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, mode)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "not an ordinary file", str(path))
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
    finally:
        os.close(handle)


# Memory


class NotEnoughMemory(MemoryError):  # noqa: N818 - says what is missing
    """Less memory is free than what is asked for would take."""


def require_memory(needed: float, what: str, remedy: str) -> None:
    """Check that there is memory for something before it is taken.

    Parameters
    ----------
    needed : float
        Bytes.
    what : str
        What takes them, in the plural, such as "2e10 synapses".
    remedy : str
        A sentence.

    Raises
    ------
    NotEnoughMemory
        If less is free.
    """
    free = free_memory()
    if free is not None and needed > free:
        raise NotEnoughMemory(f"{what} take {needed / 1e9:.3g} GB of memory, {free / 1e9:.3g} GB are free. {remedy}")


def free_memory() -> float | None:
    """Return the bytes of memory that can be had now, None where the system does not say.

    It is the least of what the machine, the control groups of this process and its limit of addresses (``ulimit -v``)
    leave.
    """
    found = [*_of_machine(), *_of_groups(), *_of_limit()]
    return max(min(found), 0.0) if found else None


_GROUPS = Path("/sys/fs/cgroup")


def _of_machine() -> Iterator[float]:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        yield from (1024.0 * float(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except OSError:
        if "SC_PHYS_PAGES" in os.sysconf_names:
            yield float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


def _of_groups() -> Iterator[float]:
    """Yield what the control groups leave, of version 2 and of version 1; none where there is no limit."""
    own = ""
    with suppress(OSError):
        lines = Path("/proc/self/cgroup").read_text().splitlines()
        own = next((line[len("0::/") :] for line in lines if line.startswith("0::/")), "")
    for folder in (_GROUPS / own, *(_GROUPS / own).parents):
        if folder.is_relative_to(_GROUPS):
            yield from _of_group(folder, "memory.max", "memory.current", "inactive_file")
    names = "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
    yield from _of_group(_GROUPS / "memory", *names)


def _of_group(folder: Path, limit: str, in_use: str, reclaimable: str) -> Iterator[float]:
    """Yield what a group leaves: its limit less what is in use, of which copies of files can be dropped."""
    with suppress(OSError, ValueError):  # no such group, or no limit ("max")
        left = float((folder / limit).read_text()) - float((folder / in_use).read_text())
        with suppress(OSError):
            for line in (folder / "memory.stat").read_text().splitlines():
                name, _, number = line.partition(" ")
                left += float(number) if name == reclaimable else 0.0
        yield left


def _of_limit() -> Iterator[float]:
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY:
        with suppress(OSError):
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            yield float(limit - pages * os.sysconf("SC_PAGE_SIZE"))


# Compilers


# A shell that runs the tool ("$@") and watches a pipe of ours: if we die, whoever kills us, the pipe closes and the
# shell's whole process group ends. Without it compilers and what they have started would work on for nobody.
_WATCHED = """exec 3<&0
( read -r _ <&3; kill -s KILL 0 ) >/dev/null 2>&1 &
"$@" 3<&- </dev/null
status=$?
kill -s KILL $! 2>/dev/null
exit $status"""


def run_tool(command: Sequence[str], folder: Path, *, time_limit: float) -> subprocess.CompletedProcess[str]:
    """Run a compiler, or make, to its end; it does not outlive this process, nor an interrupt.

    Parameters
    ----------
    command : sequence of str
    folder : Path
        Where it runs. Its temporary files are in a folder below, which goes at the end.
    time_limit : float
        Seconds.

    Returns
    -------
    CompletedProcess
        With its status and what it said, as text.

    Raises
    ------
    subprocess.TimeoutExpired
        If it takes longer; it has been ended.
    """
    ours, held = os.pipe()
    try:
        with tempfile.TemporaryDirectory(
            dir=folder, prefix="compiling-", ignore_cleanup_errors=True
        ) as temporary, subprocess.Popen(
            ["/bin/sh", "-c", _WATCHED, "sh", *command], cwd=folder, env={**os.environ, "TMPDIR": temporary},
            stdin=ours, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace", process_group=0,
        ) as process:  # fmt: skip
            os.close(ours)
            ours = -1
            try:
                said, complained = process.communicate(timeout=time_limit)
            except BaseException:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                raise
        return subprocess.CompletedProcess(list(command), process.returncode, said, complained)
    finally:
        os.close(held)
        if ours >= 0:
            os.close(ours)


def compiler_command() -> list[str]:
    """Return the words of the command of the C++ compiler: ``$CXX``, else g++."""
    return shlex.split(os.environ.get("CXX", "")) or ["g++"]


def processor() -> str:
    """Return what tells processors with different instructions apart: code is compiled for the one it runs on."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        return platform.processor()
    return "".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features", "CPU part"))}))


KERNEL_VARIABLE = "MNNBIO_KERNEL"
# Tried in turn, for compilers that lack one or both.
_OPTIONAL_FLAGS = (("-march=native", "-fopenmp"), ("-march=native",), ("-fopenmp",), ())


class LibrarySource(NamedTuple):
    """A C++ file that becomes a library of this process, and how.

    Attributes
    ----------
    kind : str
        What the file's name begins with.
    what : str
        What it is to users, for messages.
    source : Path
    flags : tuple of str
        Options of the compiler, constants included.
    content : tuple
        Whatever else tells libraries of the same source and options apart.
    time_limit : float
        Seconds for one run of the compiler.
    """

    kind: str
    what: str
    source: Path
    flags: tuple[str, ...]
    content: tuple[Any, ...] = ()
    time_limit: float = 120.0


def load_library(source: LibrarySource) -> tuple[ctypes.CDLL | None, str]:
    """Return a library and its path, from the cache or built now, or None and the reason.

    It is built once for each version of the source, compiler and processor, and kept in `cache_folder`; where that
    cannot be written it is built anew by every process. ``MNNBIO_KERNEL=torch`` in the environment turns it off.

    Raises
    ------
    ValueError
        If ``MNNBIO_KERNEL`` is neither "compiled" nor "torch".

    Warns
    -----
    CacheWarning
        If the cache folder is not safe.
    """
    wanted = os.environ.get(KERNEL_VARIABLE, "compiled")
    check_choice(KERNEL_VARIABLE, wanted, ["compiled", "torch"])
    if wanted == "torch":
        return None, f"turned off by {KERNEL_VARIABLE}=torch"
    parts = [*source.flags, platform.machine(), processor(), *source.content]
    start = f"{source.kind}-{_digest(source.source.read_bytes() + repr(parts).encode(), 24)}-"
    command = compiler_command()
    compiler = shutil.which(command[0])
    if compiler is None:
        reason = f"there is no C++ compiler {command[0]!r}: install one, or name yours in the variable CXX"
        with suppress(OSError):
            return _kept_library(start) or (None, reason)
        return None, reason
    command = [compiler, *command[1:], *source.flags]
    name = f"{start}{_fingerprint_of_compiler(command)}"
    reasons = []
    try:
        return _kept_library(f"{name}-") or _built_library(source, command, private_folder(cache_folder()), name)
    except (OSError, subprocess.SubprocessError) as error:
        reasons.append(_reason(error))
        if isinstance(error, UnsafeFolder):
            text = f"{source.what} cannot be kept, and is built anew by every process: {error}"
            warnings.warn(text, CacheWarning, stacklevel=3)
    try:
        with tempfile.TemporaryDirectory(prefix="mnnbio-") as folder:  # once loaded, the file is not needed any more
            return _built_library(source, command, Path(folder), name)
    except (OSError, subprocess.SubprocessError) as error:
        reasons.append(_reason(error))
    return None, "the library could not be built: " + "; then ".join(reasons)


def _fingerprint_of_compiler(command: list[str]) -> str:
    """Return what tells libraries of different compilers and options apart."""
    compiler = Path(command[0]).resolve()
    status = compiler.stat()
    parts = [*command, str(compiler), status.st_size, status.st_mtime_ns, _OPTIONAL_FLAGS]
    return _digest(repr(parts).encode(), 8)


def _kept_library(start: str) -> tuple[ctypes.CDLL, str] | None:
    """Return the library in the cache whose name starts so, the newest of several; those that are damaged are removed.

    The name ends in the checksum of the content: a damaged library can end the process that loads it.
    """
    folder = cache_folder()
    with suppress(FileNotFoundError):
        require_private(folder)
        found = [(path.stat().st_mtime, path) for path in folder.glob(f"{start}*.so")]
        for _, path in sorted(found, reverse=True):
            if path.stem.endswith(f"-{_digest(path.read_bytes(), 16)}"):
                with suppress(OSError):
                    return ctypes.CDLL(str(path)), str(path)
            path.unlink(missing_ok=True)
    return None


def _built_library(source: LibrarySource, command: list[str], folder: Path, name: str) -> tuple[ctypes.CDLL, str]:
    """Compile aside and rename, so that several processes may build at once."""
    for left in folder.glob("building-*"):
        with suppress(OSError):  # of a process that was killed
            if time.time() - left.stat().st_mtime > 10 * source.time_limit:
                shutil.rmtree(left) if left.is_dir() else left.unlink()
    with tempfile.TemporaryDirectory(dir=folder, prefix="building-") as own:
        made = Path(own) / f"{name}.so"
        for flags in _OPTIONAL_FLAGS:
            call = [*command, *flags, str(source.source), "-o", str(made)]
            done = run_tool(call, Path(own), time_limit=source.time_limit)
            if done.returncode == 0:
                break
        done.check_returncode()
        path = folder / f"{name}-{_digest(made.read_bytes(), 16)}.so"
        with written_aside(path) as aside:
            aside.write_bytes(made.read_bytes())
    return ctypes.CDLL(str(path)), str(path)


def _digest(content: bytes, length: int) -> str:
    return hashlib.sha256(content).hexdigest()[:length]


def _reason(error: Exception) -> str:
    text = getattr(error, "stderr", None) or str(error)
    lines = text.strip().splitlines()
    return next((line for line in lines if "error" in line.lower()), lines[0] if lines else type(error).__name__)


# What is given


def check_choice(name: str, value: Any, choices: Iterable[Any]) -> None:
    """Raise a `ValueError` unless the value of an option is one of its choices."""
    choices = list(choices)
    if not any(isinstance(value, type(choice)) and value == choice for choice in choices):
        raise ValueError(f"Invalid value {value!r} for `{name}`. Must be one of {choices}")


def require_integer(name: str, value: Any, least: int, most: int | None = None) -> None:
    """Raise a `ValueError` unless `value` is an integer of at least `least`, and at most `most`."""
    upper = "" if most is None else f" and ≤ {most}"
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not whole or value < least or (most is not None and value > most):
        raise ValueError(f"`{name}` must be an integer ≥ {least}{upper}, got {value!r}")


@contextmanager
def _importable() -> Iterator[None]:
    """Let Brian2 be imported in any thread: it then sets a handler for Ctrl-C, as only the main thread may."""
    if threading.current_thread() is threading.main_thread() or "brian2" in sys.modules:
        yield
        return
    original = signal.signal
    signal.signal = lambda *_: signal.SIG_DFL  # type: ignore[assignment]
    try:
        yield
    finally:
        signal.signal = original


def import_brian() -> None:
    """Import Brian2, which leaves Ctrl-C as it is and, where nobody has imported it before, no files behind."""
    if "brian2" not in sys.modules:
        with _importable():
            import brian2  # noqa: F401
        _remove_logs()
    _mend_interrupts()


def _remove_logs() -> None:
    """Remove the log and the copy of the script that Brian2 makes for its users, and which a kill would leave."""
    from brian2.utils.logger import BrianLogger

    if BrianLogger.file_handler is not None:
        logging.getLogger("brian2").removeHandler(BrianLogger.file_handler)
        BrianLogger.file_handler.close()
    for path in (BrianLogger.tmp_log, BrianLogger.tmp_script):
        if path is not None:
            Path(path).unlink(missing_ok=True)
    BrianLogger.file_handler = BrianLogger.tmp_log = BrianLogger.tmp_script = None


def _mend_interrupts() -> None:
    """Have Ctrl-C ignored again where it was before Brian2 was imported, as in background jobs.

    Brian2's handler calls the one that it has found, and fails where that is no function.
    """
    found = getattr(signal.getsignal(signal.SIGINT), "previous_handler", None)
    if isinstance(found, signal.Handlers) and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, found)
