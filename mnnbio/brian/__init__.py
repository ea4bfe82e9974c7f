"""Circuits as Brian2 networks, in C++ or in Python: the only home of Brian2's simulation objects."""

from mnnbio.brian.building import build
from mnnbio.brian.cache import CacheWarning
from mnnbio.brian.compiler import BuildFailed, CompilerNotFound, require_compiler
from mnnbio.brian.processes import SimulationFailed, SimulationTimeout
from mnnbio.brian.program import Program
from mnnbio.brian.session import BrianBusyError
from mnnbio.brian.trains import SpikeTrains

__all__ = [
    "BrianBusyError",
    "BuildFailed",
    "CacheWarning",
    "CompilerNotFound",
    "Program",
    "SimulationFailed",
    "SimulationTimeout",
    "SpikeTrains",
    "build",
    "require_compiler",
]
