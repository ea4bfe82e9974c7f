"""Compiled programs kept on disk, each under the key of all that it depends on, so that circuits start at once."""

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
from typing import Any, NamedTuple

from mnnbio.machine import (
    FileError,
    UnsafeFolder,
    cache_folder,
    file_error,
    folder_written_aside,
    locked,
    private_folder,
    processor,
    require_private,
)
from mnnbio.spikes.common_parts import PARTS
from mnnbio.spikes.compiling import compiler_options, temporary_files
from mnnbio.spikes.plan import Plan
from mnnbio.spikes.program_files import SimulationFailed, may_not_start

SIZE_VARIABLE = "MNNBIO_CACHE_SIZE"
PROGRAM = "main"
ANY_COMPILER = "-*"  # end of a key that is of no certain compiler

_DEFAULT_SIZE = 10**9  # bytes
_UNITS = {"": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9}
_MANIFEST = "manifest.json"
_ABANDONED = 3600.0  # s after which a folder that is being filled is taken for left behind
_LONGEST_CHECK = 30.0  # s, for starting a program
_log = logging.getLogger("mnnbio")


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
            with suppress(OSError):
                self._private()
                # A lock that somebody may wait for cannot be removed, so there are at most 256 of them.
                stack.enter_context(locked(self.folder / f".lock-{key[:2]}"))
            yield

    def _private(self) -> None:
        """Make the folder if needed; raise a `FileError` if it cannot be made, or others could put programs there."""
        private_folder(self.folder.parent)
        private_folder(self.folder)

    def find(self, key: str) -> str | None:
        """Return the key of a program that is there, of any compiler where `key` ends in `ANY_COMPILER`.

        Among several it is the last used.
        """
        if not key.endswith(ANY_COMPILER):
            return key if (self.folder / key).is_dir() else None
        start = key.removesuffix(ANY_COMPILER)
        return next((entry.key for entry in self.entries() if entry.key.startswith(start)), None)

    def take(self, key: str, destination: Path) -> bool:
        """Copy the program of a key to a file, and return whether there was one that is whole and can be started.

        Only a program that is damaged itself is removed.

        Raises
        ------
        FileError
            If the file cannot be written.
        UnsafeFolder
            If others own the cache, or may write to it.
        SimulationFailed
            If no program may be started where the file is.
        """
        folder = self.folder / key
        if not folder.is_dir():
            return False
        for place in (self.folder.parent, self.folder):
            require_private(place)
        try:
            require_private(folder)
            content = self._read(folder)
        except FileNotFoundError:
            if not folder.is_dir():  # somebody has made room
                return False
            reason = "it is incomplete"
        except UnsafeFolder as error:
            reason = str(error)
        except PermissionError as error:
            _log.warning("the program %s in the cache cannot be read and is built anew: %s", folder, error)
            return False
        except OSError as error:
            raise file_error(f"cannot read the program {folder} in the cache", error) from error
        except (ValueError, KeyError, TypeError) as error:
            reason = str(error)
        else:
            with temporary_files():
                destination.write_bytes(content)
                destination.chmod(0o755)
            try:
                _start(destination)
            except _Unusable as error:
                reason = str(error)
            else:
                with suppress(OSError):  # a cache that can only be read is of use, too
                    os.utime(folder / _MANIFEST)
                return True
        _log.warning("the program %s in the cache is damaged and is built anew: %s", folder, reason)
        destination.unlink(missing_ok=True)
        self._remove(key)
        return False

    def _read(self, folder: Path) -> bytes:
        """Return the program in a folder of the cache; raise a `ValueError` if it is not what was put there."""
        manifest = json.loads((folder / _MANIFEST).read_text())
        content = (folder / PROGRAM).read_bytes()
        if hashlib.sha256(content).hexdigest() != manifest["sha256"]:
            raise ValueError("its contents have changed")
        return content

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
        FileError
            If the folder cannot be written, nothing is left in it; or others own it or may write to it.
        """
        self._private()
        content = program.read_bytes()
        manifest = {**about, "sha256": hashlib.sha256(content).hexdigest()}
        try:
            with folder_written_aside(self.folder / key) as aside:
                (aside / PROGRAM).write_bytes(content)
                (aside / _MANIFEST).write_text(json.dumps(manifest, indent=1))
        except FileError:
            if not (self.folder / key).is_dir():  # else another process was first
                raise
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
        # Beside the programs are what they have in common, and the kernels of the theory, of which each run uses one.
        for pattern in (f"{PARTS}/*", "moments-*.so*", "building-*"):
            for file in self.folder.parent.glob(pattern):
                with suppress(OSError):
                    if time.time() - file.stat().st_mtime >= older_than:
                        shutil.rmtree(file) if file.is_dir() else file.unlink()
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


class _Unusable(Exception):  # noqa: N818 - says what is the matter
    """A program is not one that can be started on this machine."""


def _start(program: Path) -> None:
    """Check that a program can be started; raise `_Unusable` if that is the program's own fault."""
    for last in [False] * 20 + [True]:
        try:
            subprocess.run([program, "--check"], check=True, capture_output=True, timeout=_LONGEST_CHECK)
            return
        except PermissionError as error:
            raise may_not_start(program, error) from error
        except subprocess.TimeoutExpired as error:
            raise SimulationFailed(f"the program {program} does not start within {_LONGEST_CHECK:g} s") from error
        except subprocess.CalledProcessError as error:
            raise _Unusable(error) from error
        except OSError as error:
            if error.errno == errno.ENOEXEC:
                raise _Unusable(error) from error
            # Another thread may have forked while the file was open for writing; that lasts for milliseconds.
            if error.errno != errno.ETXTBSY or last:
                raise file_error(f"cannot start the program {program}", error) from error
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


def program_key(plan: Plan, compiler: str | None) -> str:
    """Return the key of the program of a plan: 32 hexadecimal digits, a hyphen and what tells compilers apart.

    The first part depends on the plan's structure, on who generates the code (this package and Brian2) and on the
    processor, the second one on the compiler and its options.

    Parameters
    ----------
    plan : Plan
    compiler : str or None
        How the compiler describes itself; None: any will do, as there is none to build another program with.
    """
    parts = {
        "structure": plan.structure(),
        "mnnbio": [version("mnnbio"), _own_sources()],
        "brian2": version("brian2"),
        "processor": [platform.system(), platform.machine(), processor()],
    }
    of_compiler = ANY_COMPILER if compiler is None else f"-{_hash([compiler, compiler_options()])[:8]}"
    return _hash(parts)[:32] + of_compiler


def _hash(content: Any) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _own_sources() -> str:
    """Return a fingerprint of this folder, part of which ends up in every program, headers included."""
    digest = hashlib.sha256()
    for folder in (files("mnnbio.spikes"), files("mnnbio.spikes").joinpath("cpp")):
        for file in sorted(folder.iterdir(), key=lambda file: file.name):
            if file.name.endswith((".py", ".h", ".cpp")):
                digest.update(file.read_bytes())
    return digest.hexdigest()
