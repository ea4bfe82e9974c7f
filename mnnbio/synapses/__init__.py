"""Synapse models: what a spike does, and how synapses change."""

from mnnbio.synapses.conductance import NMDA, Conductance, EquationSynapse, GapJunction
from mnnbio.synapses.current import Alpha, Delta, DoubleExponential, Exponential, Into, propagator
from mnnbio.synapses.filtered import FilteredSpikes, FilterStep
from mnnbio.synapses.plasticity import (
    STDP,
    EquationPlasticity,
    RewardSTDP,
    ShortTermPlasticity,
    SymmetricSTDP,
    SynapticScaling,
    TripletSTDP,
    inhibitory_plasticity,
)
from mnnbio.synapses.synapse_model import ModeSteps, PlasticityRule, SynapseCode, SynapseModel, SynapseSteps, Target

__all__ = [
    "NMDA",
    "STDP",
    "Alpha",
    "Conductance",
    "Delta",
    "DoubleExponential",
    "EquationPlasticity",
    "EquationSynapse",
    "Exponential",
    "FilterStep",
    "FilteredSpikes",
    "GapJunction",
    "Into",
    "ModeSteps",
    "PlasticityRule",
    "RewardSTDP",
    "ShortTermPlasticity",
    "SymmetricSTDP",
    "SynapseCode",
    "SynapseModel",
    "SynapseSteps",
    "SynapticScaling",
    "Target",
    "TripletSTDP",
    "inhibitory_plasticity",
    "propagator",
]
