"""Neuron models: what the neurons of a population are."""

from mnnbio.neurons.biophysical import BiophysicalNeuron
from mnnbio.neurons.conductance_lif import ConductanceLIF
from mnnbio.neurons.discrete import DiscreteLIF
from mnnbio.neurons.equations import EquationNeuron
from mnnbio.neurons.exponential import EIF, QIF, AdEx
from mnnbio.neurons.hodgkin_huxley import HodgkinHuxley
from mnnbio.neurons.izhikevich import Izhikevich
from mnnbio.neurons.lif import AbsoluteVoltageWarning, LIFParameters
from mnnbio.neurons.neuron_model import NeuronDynamics, NeuronModel, Order

__all__ = [
    "EIF",
    "QIF",
    "AbsoluteVoltageWarning",
    "AdEx",
    "BiophysicalNeuron",
    "ConductanceLIF",
    "DiscreteLIF",
    "EquationNeuron",
    "HodgkinHuxley",
    "Izhikevich",
    "LIFParameters",
    "NeuronDynamics",
    "NeuronModel",
    "Order",
]
