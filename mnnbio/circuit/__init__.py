"""The description of a spiking circuit, which theory and simulation both read."""

from mnnbio.circuit.circuit import Circuit
from mnnbio.circuit.connectivity import (
    AllToAll,
    Bernoulli,
    Connectivity,
    FixedIndegree,
    FixedOutdegree,
    FixedTotalNumber,
    OneToOne,
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

__all__ = [
    "AllToAll",
    "Array",
    "Bernoulli",
    "BoxProfile",
    "Circuit",
    "Connectivity",
    "DistanceDependent",
    "Drive",
    "ExponentialProfile",
    "FixedIndegree",
    "FixedOutdegree",
    "FixedTotalNumber",
    "GaussianDrive",
    "GaussianProfile",
    "Matrix",
    "ModeMatrix",
    "OneToOne",
    "PoissonDrive",
    "PoissonSource",
    "Population",
    "Projection",
    "Readout",
    "Ring",
    "Sheet",
    "Torus",
]
