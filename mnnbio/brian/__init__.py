"""Circuits as Brian2 networks, in C++ or in Python: the only home of Brian2's simulation objects."""

from mnnbio.brian.building import build
from mnnbio.brian.cache import CacheWarning
from mnnbio.brian.compiler import BuildFailed, CompilerNotFound, require_compiler
from mnnbio.brian.devices import DeviceUnavailable
from mnnbio.brian.failures import SimulationFailed
from mnnbio.brian.processes import SimulationTimeout
from mnnbio.brian.program import Program
from mnnbio.brian.recorded import BinnedCounts, Recording, WindowMoments
from mnnbio.brian.session import BrianBusyError

__all__ = [
    "BinnedCounts",
    "BrianBusyError",
    "BuildFailed",
    "CacheWarning",
    "CompilerNotFound",
    "DeviceUnavailable",
    "Program",
    "Recording",
    "SimulationFailed",
    "SimulationTimeout",
    "WindowMoments",
    "build",
    "require_compiler",
]
