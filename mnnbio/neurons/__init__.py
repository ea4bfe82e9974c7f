"""Neuron models: what the neurons of a population are."""

from mnnbio.neurons.lif import AbsoluteVoltageWarning, LIFParameters
from mnnbio.neurons.neuron_model import NeuronDynamics, NeuronModel, Order

__all__ = ["AbsoluteVoltageWarning", "LIFParameters", "NeuronDynamics", "NeuronModel", "Order"]
