"""Fingerprints: a step is done again when anything that it depends on has another one."""

from __future__ import annotations

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
    """Return the fingerprint of the code of modules, of packages with everything in them."""
    digest = hashlib.sha256()
    for module in modules:
        for file in _sources(module):
            digest.update(file.name.encode())
            digest.update(file.read_bytes())
    return _short(digest)


def _sources(module: str) -> Iterable[Path]:
    """Return the files of a module or package."""
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"no module {module}")
    origin = Path(spec.origin)
    if not spec.submodule_search_locations:
        return [origin]
    return sorted(file for file in origin.parent.rglob("*") if file.is_file() and "__pycache__" not in file.parts)


def _short(digest: Any) -> str:
    return str(digest.hexdigest()[:DIGITS])
