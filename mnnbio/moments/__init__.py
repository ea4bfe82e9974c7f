"""Theory of leaky integrate-and-fire neurons as pure functions on tensors, in ms and mV."""

from mnnbio.moments.activation import Activation, Neuron, interval_skewness, moment_activation
from mnnbio.moments.integrals import Integrals, integrals, scaled_integrals

__all__ = [
    "Activation",
    "Integrals",
    "Neuron",
    "integrals",
    "interval_skewness",
    "moment_activation",
    "scaled_integrals",
]
