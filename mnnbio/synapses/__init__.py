"""Synapse models: what a spike does."""

from mnnbio.synapses.current import Delta, Exponential, propagator
from mnnbio.synapses.synapse_model import SynapseModel, SynapseSteps, Target

__all__ = ["Delta", "Exponential", "SynapseModel", "SynapseSteps", "Target", "propagator"]
