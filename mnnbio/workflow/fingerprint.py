"""Fingerprints: a step is done again when anything that it depends on has another one."""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy.typing as npt

DIGITS = 16


def fingerprint(*parts: Any) -> str:
    """Return the fingerprint of values that JSON can hold."""
    return _short(hashlib.sha256(json.dumps(parts, sort_keys=True).encode()))


def of_arrays(*arrays: npt.NDArray[Any]) -> str:
    """Return the fingerprint of arrays: their types, shapes and values."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(array.tobytes())
    return _short(digest)


def of_file(path: Path) -> str:
    """Return the fingerprint of a file's content."""
    with path.open("rb") as file:
        return _short(hashlib.file_digest(file, "sha256"))


@cache
def of_code(*modules: str) -> str:
    """Return the fingerprint of the code of modules, and of everything in this package that they import."""
    digest = hashlib.sha256()
    for module, files in sorted(_sources(modules).items()):
        digest.update(module.encode())
        for file in files:
            digest.update(file.read_bytes())
    return _short(digest)


def _sources(modules: Iterable[str]) -> dict[str, list[Path]]:
    """Return the files of modules and of all that they import, inside functions too; data files go with packages."""
    found: dict[str, list[Path]] = {}
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module in found:
            continue
        spec = find_spec(module)
        if spec is None or spec.origin is None:
            raise ModuleNotFoundError(f"no module {module}")
        path = Path(spec.origin)
        found[module] = [path]
        if spec.submodule_search_locations:
            found[module] += sorted(f for f in path.parent.iterdir() if f.is_file() and f.suffix not in (".py", ".pyc"))
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("mnnbio."):
                waiting.append(node.module)
                # A name may be a module of its own: from mnnbio.analyses import plots.
                waiting += [name for alias in node.names if _is_module(name := f"{node.module}.{alias.name}")]
    return found


@cache
def _is_module(name: str) -> bool:
    parent = find_spec(name.rpartition(".")[0])
    return parent is not None and parent.submodule_search_locations is not None and find_spec(name) is not None


def _short(digest: Any) -> str:
    return str(digest.hexdigest()[:DIGITS])
