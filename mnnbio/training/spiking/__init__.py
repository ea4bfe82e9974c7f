"""Spiking networks that are trained by surrogate gradients, those of few modes among them."""

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

__all__ = [
    "Activity",
    "FullWeights",
    "ManyModesWarning",
    "ModeWeights",
    "RateActivity",
    "RateNetwork",
    "SpikeFilter",
    "SpikingNetwork",
    "SpikingNeuron",
    "read_out",
]
