"""Spiking networks that are trained by surrogate gradients, those of few modes among them."""

from mnnbio.training.spiking.encodings import InputEncoding
from mnnbio.training.spiking.feedforward import SpikingTableNetwork
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
from mnnbio.training.spiking.steps import SpikeFilter, SpikingNeuron
from mnnbio.training.spiking.table_estimators import SpikingClassifier, SpikingRegressor, UnitStates

__all__ = [
    "Activity",
    "FullWeights",
    "GradedTableNetwork",
    "GradedUnit",
    "InputEncoding",
    "ManyModesWarning",
    "ModeWeights",
    "RateActivity",
    "RateNetwork",
    "SpikeFilter",
    "SpikingClassifier",
    "SpikingNetwork",
    "SpikingNeuron",
    "SpikingRegressor",
    "SpikingTableNetwork",
    "UnitStates",
    "read_out",
]
