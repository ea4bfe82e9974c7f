"""The description of a spiking circuit: what theory and simulation both read."""

from mnnbio.circuit.circuit import (
    Circuit,
)
from mnnbio.circuit.connectivity import (
    AllToAll,
    Bernoulli,
    Connectivity,
    FixedIndegree,
    FixedOutdegree,
    FixedTotalNumber,
    OneToOne,
)
from mnnbio.circuit.distributions import (
    Distribution,
    LogNormal,
    Normal,
    Uniform,
)
from mnnbio.circuit.parts import (
    Array,
    Drive,
    GaussianDrive,
    Matrix,
    ModeMatrix,
    PoissonDrive,
    PoissonSource,
    Population,
    Projection,
    Readout,
)
from mnnbio.circuit.spatial import (
    BoxProfile,
    DistanceDependent,
    ExponentialProfile,
    GaussianProfile,
    Ring,
    Sheet,
    Torus,
)
from mnnbio.circuit.timecourses import (
    Oscillation,
    Ramp,
    Samples,
    Steps,
    TimeCourse,
)

__all__ = [
    "AllToAll",
    "Array",
    "Bernoulli",
    "BoxProfile",
    "Circuit",
    "Connectivity",
    "DistanceDependent",
    "Distribution",
    "Drive",
    "ExponentialProfile",
    "FixedIndegree",
    "FixedOutdegree",
    "FixedTotalNumber",
    "GaussianDrive",
    "GaussianProfile",
    "LogNormal",
    "Matrix",
    "ModeMatrix",
    "Normal",
    "OneToOne",
    "Oscillation",
    "PoissonDrive",
    "PoissonSource",
    "Population",
    "Projection",
    "Ramp",
    "Readout",
    "Ring",
    "Samples",
    "Sheet",
    "Steps",
    "TimeCourse",
    "Torus",
    "Uniform",
]
