"""Theory of leaky integrate-and-fire neurons as pure, differentiable functions on tensors, in ms and mV."""

from mnnbio.moments.activation import Activation, fano_factor, interval_skewness, moment_activation
from mnnbio.moments.colored_noise import colored_lif, effective_lif
from mnnbio.moments.counts import count_variance, delayed_gamma, long_window_count_variance
from mnnbio.moments.covariance import Covariance, Dense, Diagonal, LowRank, Mapped, Sum
from mnnbio.moments.drive import Neuron, NeuronTensors, as_parameter
from mnnbio.moments.first_passage import Passage, StepInput, first_passage
from mnnbio.moments.fixed_point import FixedPoint, NotConverged, Status, fixed_point
from mnnbio.moments.integrals import Integrals, integrals, scaled_integrals
from mnnbio.moments.kernel import ActivationBackend, activation_backend
from mnnbio.moments.linear_response import dense_response, low_rank_response, woodbury_own_noise
from mnnbio.moments.maps import Convolution, ImageShape, LinearMap, Pooling, Transformed, transform
from mnnbio.moments.orthant import cholesky, log_orthant_probability
from mnnbio.moments.overshoot import ZETA_HALF, JumpFactors, discrete_lif, jump_factors, overshoot
from mnnbio.moments.transfer import FirstPassageTransform, Transfer, first_passage_transform, transfer_function

__all__ = [
    "ZETA_HALF",
    "Activation",
    "ActivationBackend",
    "Convolution",
    "Covariance",
    "Dense",
    "Diagonal",
    "FirstPassageTransform",
    "FixedPoint",
    "ImageShape",
    "Integrals",
    "JumpFactors",
    "LinearMap",
    "LowRank",
    "Mapped",
    "Neuron",
    "NeuronTensors",
    "NotConverged",
    "Passage",
    "Pooling",
    "Status",
    "StepInput",
    "Sum",
    "Transfer",
    "Transformed",
    "activation_backend",
    "as_parameter",
    "cholesky",
    "colored_lif",
    "count_variance",
    "delayed_gamma",
    "dense_response",
    "discrete_lif",
    "effective_lif",
    "fano_factor",
    "first_passage",
    "first_passage_transform",
    "fixed_point",
    "integrals",
    "interval_skewness",
    "jump_factors",
    "log_orthant_probability",
    "long_window_count_variance",
    "low_rank_response",
    "moment_activation",
    "overshoot",
    "scaled_integrals",
    "transfer_function",
    "transform",
    "woodbury_own_noise",
]
