"""Circuits as spikes: simulated with Brian2, in generated C++ or in Python."""

from mnnbio.spikes.building import build
from mnnbio.spikes.compiling import BuildFailed, CompilerNotFound, available_cores, require_compiler
from mnnbio.spikes.cpp_project import read_project, write_project
from mnnbio.spikes.devices import DeviceUnavailable
from mnnbio.spikes.processes import SimulationTimeout
from mnnbio.spikes.program import Program
from mnnbio.spikes.program_cache import Entry, ProgramCache
from mnnbio.spikes.program_files import SimulationFailed
from mnnbio.spikes.recorded import BinnedCounts, Recording, WindowMoments
from mnnbio.spikes.recording import CountMoments, Counts, Kind, Record, RecordingKind, Reduction
from mnnbio.spikes.session import BrianBusyError, patience
from mnnbio.spikes.sharing import SchedulerError, cancel, losses_named, require_version, watch
from mnnbio.spikes.simulate import simulate
from mnnbio.spikes.states import States, Weights
from mnnbio.spikes.to_brian2 import to_brian2

__all__ = [
    "BinnedCounts",
    "BrianBusyError",
    "BuildFailed",
    "CompilerNotFound",
    "CountMoments",
    "Counts",
    "DeviceUnavailable",
    "Entry",
    "Kind",
    "Program",
    "ProgramCache",
    "Record",
    "Recording",
    "RecordingKind",
    "Reduction",
    "SchedulerError",
    "SimulationFailed",
    "SimulationTimeout",
    "States",
    "Weights",
    "WindowMoments",
    "available_cores",
    "build",
    "cancel",
    "losses_named",
    "patience",
    "read_project",
    "require_compiler",
    "require_version",
    "simulate",
    "to_brian2",
    "watch",
    "write_project",
]
