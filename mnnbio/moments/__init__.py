"""Theory of leaky integrate-and-fire neurons as pure functions on tensors, in ms and mV."""

from mnnbio.moments.activation import Activation, Neuron, interval_skewness, moment_activation
from mnnbio.moments.counts import count_variance
from mnnbio.moments.covariance import Covariance, Dense, Diagonal, LowRank, Mapped
from mnnbio.moments.integrals import Integrals, integrals, scaled_integrals
from mnnbio.moments.overshoot import DiscreteNeuron, JumpFactors, discrete_lif, jump_factors, overshoot

__all__ = [
    "Activation",
    "Covariance",
    "Dense",
    "Diagonal",
    "DiscreteNeuron",
    "Integrals",
    "JumpFactors",
    "LowRank",
    "Mapped",
    "Neuron",
    "count_variance",
    "discrete_lif",
    "integrals",
    "interval_skewness",
    "jump_factors",
    "moment_activation",
    "overshoot",
    "scaled_integrals",
]
