"""The compiled moment activation: built once with the system's C++ compiler, kept in a cache, loaded when first used.

Nothing needs it: without a compiler the same numbers come from PyTorch, more slowly; `activation_backend` says which
way is taken and why. Building takes two or three seconds, once for each version of the package, compiler and
processor. The library is kept in `mnnbio.machine.cache_folder`; where that cannot be written it is built anew by every
process. ``MNNBIO_KERNEL=torch`` in the environment turns it off.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
import threading
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from mnnbio.machine import cache_folder, processor
from mnnbio.moments.drive import SILENT
from mnnbio.moments.integrals import Tables, load_tables

VARIABLE = "MNNBIO_KERNEL"
SOURCE = Path(__file__).with_name("kernel.cpp")
# Comparisons need not trap nor functions set errno, which would keep loops from being vectorised; sums stay in order.
FLAGS = ("-std=c++17", "-O3", "-shared", "-fPIC", "-fno-math-errno", "-fno-trapping-math")
# Tried in turn, for compilers that lack one or both.
OPTIONAL_FLAGS = (("-march=native", "-fopenmp"), ("-march=native",), ("-fopenmp",), ())
TIME_LIMIT = 120.0  # s, for one run of the compiler


class ActivationBackend(NamedTuple):
    """Who computes the moment activation on the CPU, and from which library, or why without one."""

    name: Literal["compiled", "torch"]
    detail: str


class Kernel(NamedTuple):
    """A loaded library and the tables that it reads."""

    library: ctypes.CDLL
    path: Path
    tables: ctypes.Array[ctypes.c_void_p]
    kept: tuple[Tensor, ...]  # what `tables` points to


_lock = threading.Lock()


def activation_backend() -> ActivationBackend:
    """Return whether the moment activation runs compiled; builds it if this has not been done yet.

    Returns
    -------
    ActivationBackend
        ``("compiled", path of the library)`` or ``("torch", reason)``. Tensors on other devices or of other dtypes than
        float32 and float64, function transforms and derivatives of derivatives take PyTorch in any case.

    Raises
    ------
    ValueError
        If the environment variable ``MNNBIO_KERNEL`` is neither "compiled" nor "torch".
    """
    kernel, reason = load_kernel()
    return ActivationBackend("torch", reason) if kernel is None else ActivationBackend("compiled", str(kernel.path))


def load_kernel() -> tuple[Kernel | None, str]:
    """Return the kernel, built and loaded once for each process, or None and the reason."""
    with _lock:
        return _load()


@cache
def _load() -> tuple[Kernel | None, str]:
    wanted = os.environ.get(VARIABLE, "compiled")
    if wanted not in ("compiled", "torch"):
        raise ValueError(
            f"Invalid value {wanted!r} for the environment variable {VARIABLE}. Must be one of ['compiled', 'torch']"
        )
    if wanted == "torch":
        return None, f"turned off by {VARIABLE}=torch"
    command = shlex.split(os.environ.get("CXX", "")) or ["g++"]
    compiler = shutil.which(command[0])
    if compiler is None:
        return None, f"there is no C++ compiler {command[0]!r}: install one, or name yours in the variable CXX"
    tables = load_tables(torch.float64, torch.device("cpu"))
    command = [compiler, *command[1:], *FLAGS, *_definitions(tables)]
    name = f"moments-{_fingerprint(command, tables)}.so"
    try:
        return _open_or_build(command, cache_folder() / name, tables), ""
    except (OSError, subprocess.SubprocessError) as error:
        reasons = [_reason(error)]
    try:
        with tempfile.TemporaryDirectory(prefix="mnnbio-") as folder:  # once loaded, the file is not needed any more
            return _open_or_build(command, Path(folder) / name, tables), ""
    except (OSError, subprocess.SubprocessError) as error:
        reasons.append(_reason(error))
    return None, "the library could not be built: " + "; then ".join(reasons)


def _definitions(tables: Tables) -> list[str]:
    """Return the constants of the kernel, as options of the compiler."""
    values = {
        "PIECES": tables.pieces.shape[2],
        "DEGREE": tables.pieces.shape[1] - 1,
        "TONIC_DEGREE": tables.tonic.shape[1] - 1,
        "KNEE": tables.knee,
        "EDGE": tables.edge,
        "SILENT": SILENT,
    }
    return [f"-D{name}={value}" for name, value in values.items()]


def _fingerprint(command: list[str], tables: Tables) -> str:
    """Return a name for what a build depends on: source, options, compiler and processor."""
    compiler = Path(command[0]).resolve()
    status = compiler.stat()
    parts = [*command, str(compiler), status.st_size, status.st_mtime_ns, platform.machine(), processor()]
    digest = hashlib.sha256(SOURCE.read_bytes())
    digest.update(repr((parts, OPTIONAL_FLAGS, tables.pieces.shape, tables.tonic.shape)).encode())
    return digest.hexdigest()[:24]


def _open_or_build(command: list[str], path: Path, tables: Tables) -> Kernel:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.exists():
        try:
            return _open(path, tables)
        except OSError:  # damaged
            pass
    _build(command, path)
    return _open(path, tables)


def _build(command: list[str], path: Path) -> None:
    """Compile aside and rename, so that several processes may build at once."""
    handle, aside = tempfile.mkstemp(dir=path.parent, prefix="building-", suffix=".so")
    os.close(handle)
    try:
        for flags in OPTIONAL_FLAGS:
            done = subprocess.run(
                [*command, *flags, str(SOURCE), "-o", aside],
                capture_output=True, text=True, errors="replace", timeout=TIME_LIMIT,
            )  # fmt: skip
            if done.returncode == 0:
                os.replace(aside, path)
                return
        done.check_returncode()
    finally:
        Path(aside).unlink(missing_ok=True)


def _open(path: Path, tables: Tables) -> Kernel:
    library = ctypes.CDLL(str(path))
    pointer, number, size = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64
    for dtype in ("float32", "float64"):
        for name, pointers in (("forward", 4), ("backward", 7), ("combine", 4)):
            function = getattr(library, f"{name}_{dtype}")
            function.argtypes = [size, number, *[pointer] * pointers]
            function.restype = number if name != "combine" else None
    pieces = tables.pieces[:4].permute(2, 1, 0).contiguous()
    # Slopes with respect to w = (s/a)² of the polynomials in 2 EDGE² w - 1.
    powers = torch.arange(tables.tonic.shape[1], dtype=torch.float64, device="cpu")
    slopes = (tables.tonic[:2] * powers * 2 * tables.edge**2).roll(-1, dims=1)
    tonic = torch.cat([tables.tonic[:4], slopes]).T.contiguous()
    return Kernel(library, path, (pointer * 2)(pieces.data_ptr(), tonic.data_ptr()), (pieces, tonic))


def _reason(error: Exception) -> str:
    text = getattr(error, "stderr", None) or str(error)
    lines = text.strip().splitlines()
    return next((line for line in lines if "error" in line.lower()), lines[0] if lines else type(error).__name__)
