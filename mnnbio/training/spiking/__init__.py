"""Spiking networks that are trained by surrogate gradients, those of few modes among them."""

from mnnbio.training.spiking.encodings import InputEncoding
from mnnbio.training.spiking.feedforward import SpikingTableNetwork
from mnnbio.training.spiking.fused import SpikingBackend, spiking_backend
from mnnbio.training.spiking.graded import GradedTableNetwork, GradedUnit
from mnnbio.training.spiking.networks import (
    Activity,
    FullWeights,
    ManyModesWarning,
    ModeWeights,
    RateActivity,
    RateNetwork,
    SpikingNetwork,
    read_out,
)
from mnnbio.training.spiking.smnn_files import (
    CollapsedTaskWarning,
    TaskCheck,
    UntoldFilterWarning,
    check_smnn,
    load_smnn,
)
from mnnbio.training.spiking.steps import SpikeFilter, SpikingNeuron
from mnnbio.training.spiking.table_estimators import SpikingClassifier, SpikingRegressor, UnitStates

__all__ = [
    "Activity",
    "CollapsedTaskWarning",
    "FullWeights",
    "GradedTableNetwork",
    "GradedUnit",
    "InputEncoding",
    "ManyModesWarning",
    "ModeWeights",
    "RateActivity",
    "RateNetwork",
    "SpikeFilter",
    "SpikingBackend",
    "SpikingClassifier",
    "SpikingNetwork",
    "SpikingNeuron",
    "SpikingRegressor",
    "SpikingTableNetwork",
    "TaskCheck",
    "UnitStates",
    "UntoldFilterWarning",
    "check_smnn",
    "load_smnn",
    "read_out",
    "spiking_backend",
]
