"""Compiled programs kept on disk, so that a circuit of known structure starts without a compiler run.

What a compiled program depends on, as one key.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import platform
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import IO, NamedTuple

from mnnbio.machine import cache_folder, processor
from mnnbio.spikes.compiling import compiler_version
from mnnbio.spikes.plan import Plan
from mnnbio.spikes.program_files import may_not_start

SIZE_VARIABLE = "MNNBIO_CACHE_SIZE"
PROGRAM = "main"

_DEFAULT_SIZE = 10**9  # bytes
_UNITS = {"": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9}
_MANIFEST = "manifest.json"
_ABANDONED = 3600.0  # s after which a folder that is being filled is taken for left behind
_LONGEST_CHECK = 30.0  # s, for starting a program
_log = logging.getLogger("mnnbio")


class CacheWarning(UserWarning):
    """A compiled program could not be kept."""


class Entry(NamedTuple):
    """A program in the cache: its key, size in bytes, time of last use (s since 1970), and what it was built for."""

    key: str
    size: int
    used: float
    circuit: str


class ProgramCache:
    """A folder of compiled programs, each in a folder of its own named by its key.

    Several processes may use it at once: a program appears whole or not at all, and whoever takes one gets a copy.

    Parameters
    ----------
    folder : Path
    most_bytes : int
        Size that the programs may have together; the least recently used go first.
    """

    def __init__(self, folder: Path, most_bytes: int = _DEFAULT_SIZE) -> None:
        self.folder, self.most_bytes = folder, most_bytes

    @classmethod
    def of_user(cls) -> ProgramCache:
        """Return the cache that the environment names, see `cache_folder` and `cache_size`."""
        return cls(cache_folder() / "programs", cache_size())

    @contextmanager
    def locked(self, key: str) -> Iterator[None]:
        """Let no other process build the program of this key meanwhile, where the file system knows locks.

        Without them two processes may build the same program at once, which costs time and nothing else.
        """
        with ExitStack() as stack:
            with suppress(OSError, ImportError):
                import fcntl

                self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                # A lock that somebody may wait for cannot be removed, so there are at most 256 of them.
                lock: IO[bytes] = stack.enter_context((self.folder / f".lock-{key[:2]}").open("ab"))
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def take(self, key: str, destination: Path) -> bool:
        """Copy the program of a key to a file, and return whether there was one that is whole and can be started.

        Raises
        ------
        SimulationFailed
            If no program may be started where the file is.
        """
        folder = self.folder / key
        if not folder.is_dir():
            return False
        try:
            manifest = json.loads((folder / _MANIFEST).read_text())
            shutil.copyfile(folder / PROGRAM, destination)
            if _digest(destination) != manifest["sha256"]:
                raise ValueError("its contents have changed")
            destination.chmod(0o755)
            _start(destination)
        except FileNotFoundError:
            if not folder.is_dir():  # somebody has made room
                return False
            reason = "it is incomplete"
        except (OSError, ValueError, KeyError, TypeError, subprocess.SubprocessError) as error:
            reason = str(error)
        else:
            with suppress(OSError):  # a cache that can only be read is of use, too
                os.utime(folder / _MANIFEST)
            return True
        _log.warning("the program %s in the cache is damaged and is built anew: %s", folder, reason)
        destination.unlink(missing_ok=True)
        self._remove(key)
        return False

    def keep(self, key: str, program: Path, about: Mapping[str, object]) -> None:
        """Keep a program, and remove others if there is not room enough.

        Parameters
        ----------
        key : str
        program : Path
        about : mapping
            What the manifest says about it, ``circuit`` among it.

        Raises
        ------
        OSError
            If the folder cannot be written; nothing is left in it.
        """
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(dir=self.folder, prefix=f".{key}-"))
        try:
            shutil.copyfile(program, aside / PROGRAM)
            manifest = {**about, "sha256": _digest(program)}
            (aside / _MANIFEST).write_text(json.dumps(manifest, indent=1))
            if not (self.folder / key).exists():
                aside.rename(self.folder / key)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        self._make_room(key)

    def entries(self) -> list[Entry]:
        """Return what the cache holds, the last used first."""
        found = [_entry(folder) for folder in _folders(self.folder) if not folder.name.startswith(".")]
        return sorted((entry for entry in found if entry), key=lambda entry: -entry.used)

    def clear(self, older_than: float = 0.0) -> list[Entry]:
        """Remove programs that have not been used for `older_than` seconds, and return what they were."""
        old = [entry for entry in self.entries() if time.time() - entry.used >= older_than]
        for entry in old:
            self._remove(entry.key)
        self._remove_abandoned()
        return old

    def _make_room(self, newest: str) -> None:
        size = 0
        for entry in self.entries():
            size += entry.size
            if size > self.most_bytes and entry.key != newest:
                self._remove(entry.key)
        self._remove_abandoned()

    def _remove_abandoned(self) -> None:
        """Remove what interrupted processes have left behind."""
        for folder in _folders(self.folder):
            with suppress(OSError):
                if folder.name.startswith(".") and time.time() - folder.stat().st_mtime > _ABANDONED:
                    shutil.rmtree(folder, ignore_errors=True)

    def _remove(self, key: str) -> None:
        """Remove a program at once, so that nobody finds half of it."""
        with suppress(OSError):
            aside = Path(tempfile.mkdtemp(dir=self.folder, prefix=f".{key}-"))
            try:
                (self.folder / key).rename(aside / key)
            finally:
                shutil.rmtree(aside, ignore_errors=True)


def cache_size() -> int:
    """Return how many bytes the programs may take: ``$MNNBIO_CACHE_SIZE``, such as 500MB or 2GB; by default 1 GB.

    Raises
    ------
    ValueError
        If the variable does not hold a size.
    """
    text = os.environ.get(SIZE_VARIABLE, "")
    if not text:
        return _DEFAULT_SIZE
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?(kB|MB|GB|)", text.strip())
    if match is None:
        raise ValueError(
            f"the environment variable {SIZE_VARIABLE} must be a number of bytes or end in kB, MB or GB, got {text!r}"
        )
    return int(float(match[1]) * _UNITS[match[2]])


def _start(program: Path) -> None:
    """Check that a program can be started."""
    for last in [False] * 20 + [True]:
        try:
            subprocess.run([program, "--check"], check=True, capture_output=True, timeout=_LONGEST_CHECK)
            return
        except PermissionError as error:
            raise may_not_start(program, error) from error
        except OSError as error:
            # Another thread may have forked while the file was open for writing; that lasts for milliseconds.
            if error.errno != errno.ETXTBSY or last:
                raise
            time.sleep(0.05)


def _entry(folder: Path) -> Entry | None:
    """Return what is in a folder, None if it has just gone."""
    try:
        size = sum(file.stat().st_size for file in folder.iterdir())
        used = max(file.stat().st_mtime for file in (folder / _MANIFEST, folder) if file.exists())
        return Entry(folder.name, size, used, _circuit(folder))
    except OSError:
        return None


def _circuit(folder: Path) -> str:
    try:
        return str(json.loads((folder / _MANIFEST).read_text())["circuit"])
    except (OSError, ValueError, KeyError, TypeError):
        return "damaged"


def _folders(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if path.is_dir()]
    except OSError:
        return []


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def program_key(plan: Plan) -> str:
    """Return the key of the program of a plan, 32 hexadecimal digits.

    It depends on the plan's structure, on who generates the code (this package and Brian2) and on who compiles it
    (compiler, its options and the processor).
    """
    parts = {
        "structure": plan.structure(),
        "mnnbio": [version("mnnbio"), _own_sources()],
        "brian2": version("brian2"),
        "compiler": compiler_version(),
        "options": {name: os.environ.get(name, "") for name in ("CXX", "CXXFLAGS", "MAKEFLAGS")},
        "processor": [platform.system(), platform.machine(), processor()],
    }
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def _own_sources() -> str:
    """Return a fingerprint of this folder, part of which ends up in every program."""
    digest = hashlib.sha256()
    for file in sorted(files("mnnbio.spikes").iterdir(), key=lambda file: file.name):
        if file.name.endswith((".py", ".h")):
            digest.update(file.read_bytes())
    return digest.hexdigest()
