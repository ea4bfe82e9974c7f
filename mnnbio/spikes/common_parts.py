"""Parts that all programs have in common: compiled once, kept beside the programs, and linked into each new one."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from mnnbio.machine import (
    FileError,
    UnsafeFolder,
    folder_written_aside,
    locked,
    private_folder,
    processor,
    require_private,
)
from mnnbio.spikes.compiling import compile_project, compiler_options

PARTS = "parts"  # the folder within the cache

_HEADERS = "prelude.h.gch"
_OBJECTS = ("presentations.o", "network.o", "synapses_classes.o")
_OF_CIRCUIT = {"main.cpp", "objects.cpp", "objects.h", "run.cpp", "run.h"}
_MANIFEST = "manifest.json"
_MOST = 4  # sets of parts, about 60 MB each: one for each compiler, its options and the version of this package
_ABANDONED = 3600.0  # s after which a folder that is being filled is taken for left behind
_log = logging.getLogger("mnnbio")


def compile_with_parts(project: Path, compiler: str, cache: Path) -> None:
    """Build the program of a project with the common parts of a cache, where they are built now if need be.

    Where the cache cannot be read, written or trusted, the parts are built in the project alone.

    Parameters
    ----------
    project : Path
        Folder that `write_cpp` has filled.
    compiler : str
        How the compiler describes itself.
    cache : Path
        Folder of the parts.

    Raises
    ------
    CompilerNotFound, BuildFailed
        As `compile_project` does.
    """
    # Clang checks that the headers still lie where they were compiled.
    parts = _OBJECTS if "clang" in compiler else (_HEADERS, *_OBJECTS)
    kept = cache / parts_key(project, compiler)
    try:
        if not _take(kept, parts, project):
            with _locked(cache):
                if not _take(kept, parts, project):  # else somebody else has built them meanwhile
                    compile_project(project, only=parts)
                    _keep(kept, parts, project)
        compile_project(project, made=parts)
    finally:
        if (project / _HEADERS).is_symlink():  # a later `make` there would write into the cache
            (project / _HEADERS).unlink()


def parts_key(project: Path, compiler: str) -> str:
    """Return the key of the parts of a project: of all sources but the circuit's own, rules, compiler and processor."""
    makefile = (project / "makefile").read_text().splitlines()
    rules = [line for line in makefile if not line.startswith(("SRCS", "H_SRCS"))]
    sources = [*project.glob("*.cpp"), *project.glob("*.h"), *project.glob("brianlib/*")]
    texts = {path.name: path.read_text() for path in sources if path.name not in _OF_CIRCUIT}
    content = [compiler, compiler_options(), platform.machine(), processor(), rules, sorted(texts.items())]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]


def _take(kept: Path, parts: Sequence[str], project: Path) -> bool:
    """Put parts of the cache into a project, and return whether all are there and whole."""
    if not kept.is_dir():
        return False
    try:
        for folder in (kept.parent.parent, kept.parent, kept):
            require_private(folder)
        sums = json.loads((kept / _MANIFEST).read_text())
        contents = {part: (kept / part).read_bytes() for part in parts}
        for part, content in contents.items():
            if hashlib.sha256(content).hexdigest() != sums[part]:
                raise ValueError(f"{part} has changed")
    except UnsafeFolder:  # as is said when the program is kept
        return False
    except (OSError, ValueError, KeyError, TypeError) as error:
        if kept.is_dir():  # else somebody has made room
            _log.warning("the compiled parts %s in the cache are damaged and are built anew: %s", kept, error)
            shutil.rmtree(kept, ignore_errors=True)
        return False
    for part, content in contents.items():
        if part == _HEADERS:
            (project / part).symlink_to(kept / part)
        else:
            (project / part).write_bytes(content)
    with suppress(OSError):  # a cache that can only be read is of use, too
        os.utime(kept)
    return True


def _keep(kept: Path, parts: Sequence[str], project: Path) -> None:
    """Keep the parts that a project has built; where that fails, the next project builds them again."""
    with suppress(FileError):
        private_folder(kept.parent.parent)
        private_folder(kept.parent)
        with folder_written_aside(kept) as aside:
            sums = {part: hashlib.sha256((project / part).read_bytes()).hexdigest() for part in parts}
            for part in parts:
                shutil.copyfile(project / part, aside / part)
            (aside / _MANIFEST).write_text(json.dumps(sums))
        _make_room(kept.parent)


def _make_room(cache: Path) -> None:
    """Remove parts that have not been used for longest, and what interrupted processes have left behind."""
    with suppress(OSError):
        found = sorted((-folder.stat().st_mtime, folder) for folder in cache.iterdir() if folder.is_dir())
        whole = [folder for _, folder in found if not folder.name.startswith(".")]
        left = [folder for age, folder in found if folder.name.startswith(".") and time.time() + age > _ABANDONED]
        for folder in [*whole[_MOST:], *left]:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _locked(cache: Path) -> Iterator[None]:
    """Let no other process build parts meanwhile, where the file system knows locks; without, both build them."""
    with ExitStack() as stack:
        with suppress(OSError):
            private_folder(cache.parent)
            private_folder(cache)
            stack.enter_context(locked(cache / ".lock"))
        yield
