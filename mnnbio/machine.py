"""What compiled code depends on of this machine, and where it is kept."""

from __future__ import annotations

import os
import platform
from pathlib import Path

FOLDER_VARIABLE = "MNNBIO_CACHE_DIR"


def cache_folder() -> Path:
    """Return where compiled code is kept.

    ``$MNNBIO_CACHE_DIR``, else ``$XDG_CACHE_HOME/mnnbio``, else ``~/.cache/mnnbio``.
    """
    if own := os.environ.get(FOLDER_VARIABLE):
        return Path(own).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path("~/.cache").expanduser()) / "mnnbio"


def processor() -> str:
    """Return what tells processors with different instructions apart: code is compiled for the one it runs on."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        return platform.processor()
    return "".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features", "CPU part"))}))
