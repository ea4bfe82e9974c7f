"""Theory of leaky integrate-and-fire neurons as pure functions on tensors, in ms and mV."""

from mnnbio.moments.activation import Activation, fano_factor, interval_skewness, moment_activation
from mnnbio.moments.compiled import ActivationBackend, activation_backend
from mnnbio.moments.counts import count_variance, long_window_count_variance
from mnnbio.moments.covariance import Covariance, LowRank, Mapped
from mnnbio.moments.drive import Neuron, NeuronTensors
from mnnbio.moments.first_passage import Passage, StepInput, first_passage
from mnnbio.moments.integrals import Integrals, integrals, scaled_integrals
from mnnbio.moments.maps import Convolution, ImageShape, LinearMap, Pooling
from mnnbio.moments.orthant import log_orthant_probability
from mnnbio.moments.overshoot import JumpFactors, discrete_lif, jump_factors, overshoot
from mnnbio.moments.plain import Dense, Diagonal
from mnnbio.moments.summed import Sum
from mnnbio.moments.transformed import Transformed, transform

__all__ = [
    "Activation",
    "ActivationBackend",
    "Convolution",
    "Covariance",
    "Dense",
    "Diagonal",
    "ImageShape",
    "Integrals",
    "JumpFactors",
    "LinearMap",
    "LowRank",
    "Mapped",
    "Neuron",
    "NeuronTensors",
    "Passage",
    "Pooling",
    "StepInput",
    "Sum",
    "Transformed",
    "activation_backend",
    "count_variance",
    "discrete_lif",
    "fano_factor",
    "first_passage",
    "integrals",
    "interval_skewness",
    "jump_factors",
    "log_orthant_probability",
    "long_window_count_variance",
    "moment_activation",
    "overshoot",
    "scaled_integrals",
    "transform",
]
