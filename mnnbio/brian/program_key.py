"""What a compiled program depends on, as one key."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from importlib.metadata import version
from importlib.resources import files

from mnnbio.brian.compiler import compiler_version
from mnnbio.brian.plan import Plan
from mnnbio.machine import processor


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
    for file in sorted(files("mnnbio.brian").iterdir(), key=lambda file: file.name):
        if file.name.endswith((".py", ".h")):
            digest.update(file.read_bytes())
    return digest.hexdigest()
