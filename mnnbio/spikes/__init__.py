"""Circuits as spikes: simulated with Brian2, in generated C++ or in Python."""

from mnnbio.spikes.brian_texts import variable_units
from mnnbio.spikes.building import build
from mnnbio.spikes.compiling import BuildFailed, CompilerNotFound, available_cores, require_compiler
from mnnbio.spikes.cpp_project import read_project, write_project
from mnnbio.spikes.description import estimates_of_counts
from mnnbio.spikes.devices import DeviceUnavailable
from mnnbio.spikes.network import SCHEDULE
from mnnbio.spikes.plain import plain_circuit, plain_courses
from mnnbio.spikes.plan import Plan, PlannedGroup, PlannedSynapses, Step
from mnnbio.spikes.processes import SimulationTimeout
from mnnbio.spikes.program import Program
from mnnbio.spikes.program_cache import Entry, ProgramCache
from mnnbio.spikes.program_files import SimulationFailed
from mnnbio.spikes.recorded import BinnedCounts, Recording, WindowMoments
from mnnbio.spikes.recording import CountMoments, Counts, Kind, Record, RecordingKind, Reduction
from mnnbio.spikes.session import BrianBusyError, patience
from mnnbio.spikes.sharing import SchedulerError, cancel, losses_named, require_version, watch
from mnnbio.spikes.simulate import simulate
from mnnbio.spikes.state_recording import States, Weights
from mnnbio.spikes.to_brian2 import spiking_groups, to_brian2

__all__ = [
    "SCHEDULE",
    "BinnedCounts",
    "BrianBusyError",
    "BuildFailed",
    "CompilerNotFound",
    "CountMoments",
    "Counts",
    "DeviceUnavailable",
    "Entry",
    "Kind",
    "Plan",
    "PlannedGroup",
    "PlannedSynapses",
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
    "Step",
    "Weights",
    "WindowMoments",
    "available_cores",
    "build",
    "cancel",
    "estimates_of_counts",
    "losses_named",
    "patience",
    "plain_circuit",
    "plain_courses",
    "read_project",
    "require_compiler",
    "require_version",
    "simulate",
    "spiking_groups",
    "to_brian2",
    "variable_units",
    "watch",
    "write_project",
]
