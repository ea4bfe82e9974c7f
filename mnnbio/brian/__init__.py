"""Circuits as Brian2 networks, in C++ or in Python: the only home of Brian2's simulation objects."""

from mnnbio.brian.compiler import BuildFailed, CompilerNotFound, require_compiler
from mnnbio.brian.program import Program, build
from mnnbio.brian.session import BrianBusyError
from mnnbio.brian.standalone import SimulationFailed
from mnnbio.brian.trains import SpikeTrains

__all__ = [
    "BrianBusyError",
    "BuildFailed",
    "CompilerNotFound",
    "Program",
    "SimulationFailed",
    "SpikeTrains",
    "build",
    "require_compiler",
]
