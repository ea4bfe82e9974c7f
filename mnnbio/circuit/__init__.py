"""The description of a spiking circuit, which theory and simulation both read."""

from mnnbio.circuit.circuit import Circuit, require_circuit
from mnnbio.circuit.connectivity import (
    AllToAll,
    Bernoulli,
    Connectivity,
    FixedIndegree,
    FixedOutdegree,
    FixedTotalNumber,
    OneToOne,
)
from mnnbio.circuit.drives import (
    ChannelDrive,
    Channels,
    CurrentDrive,
    Drive,
    GaussianDrive,
    InputCumulants,
    InputSteps,
    JumpTrain,
    PoissonDrive,
    StepCode,
)
from mnnbio.circuit.part_values import Array, highest_value
from mnnbio.circuit.parts import Matrix, ModeMatrix, Population, Projection, Readout, output_dim
from mnnbio.circuit.sources import PoissonSource, Source, SpikeSource
from mnnbio.circuit.spatial import (
    BoxProfile,
    DistanceDependent,
    ExponentialProfile,
    GaussianProfile,
    Profile,
    Ring,
    Sheet,
    Space,
    Torus,
)
from mnnbio.circuit.time_steps import check_time_step, delay_steps, time_step

__all__ = [
    "AllToAll",
    "Array",
    "Bernoulli",
    "BoxProfile",
    "ChannelDrive",
    "Channels",
    "Circuit",
    "Connectivity",
    "CurrentDrive",
    "DistanceDependent",
    "Drive",
    "ExponentialProfile",
    "FixedIndegree",
    "FixedOutdegree",
    "FixedTotalNumber",
    "GaussianDrive",
    "GaussianProfile",
    "InputCumulants",
    "InputSteps",
    "JumpTrain",
    "Matrix",
    "ModeMatrix",
    "OneToOne",
    "PoissonDrive",
    "PoissonSource",
    "Population",
    "Profile",
    "Projection",
    "Readout",
    "Ring",
    "Sheet",
    "Source",
    "Space",
    "SpikeSource",
    "StepCode",
    "Torus",
    "check_time_step",
    "delay_steps",
    "highest_value",
    "output_dim",
    "require_circuit",
    "time_step",
]
