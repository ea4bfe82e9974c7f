"""Theory as pure functions, in ms and mV: LIF neurons differentiable on tensors, others by threshold integration."""

from mnnbio.moments.activation import Activation, fano_factor, interval_skewness, moment_activation
from mnnbio.moments.colored_noise import colored_lif, effective_lif
from mnnbio.moments.counts import count_variance, delayed_gamma, long_window_count_variance
from mnnbio.moments.covariance import Covariance, Dense, Diagonal, LowRank, Mapped, Sum
from mnnbio.moments.drive import Neuron, NeuronTensors, as_parameter
from mnnbio.moments.first_passage import Passage, StepInput, first_passage
from mnnbio.moments.fixed_point import FixedPoint, NotConverged, Status, fixed_point
from mnnbio.moments.integrals import Integrals, integrals, scaled_integrals
from mnnbio.moments.joint import Joint, Loading, Origin, added, joined
from mnnbio.moments.kernel import ActivationBackend, activation_backend
from mnnbio.moments.linear_response import dense_response, low_rank_response, woodbury_own_noise
from mnnbio.moments.maps import Convolution, ImageShape, LinearMap, Pooling, Transformed, transform
from mnnbio.moments.orthant import cholesky, log_orthant_probability
from mnnbio.moments.overshoot import ZETA_HALF, JumpFactors, discrete_lif, jump_factors, overshoot
from mnnbio.moments.surrogate import (
    Bands,
    Surrogate,
    frequencies,
    gaussian_transforms,
    lif_spikes,
    lif_surrogate,
    shifted_sum,
    spectral_bands,
    surrogate_responses,
    synaptic_filter,
    variance_responses,
    wide_bands,
)
from mnnbio.moments.threshold_integration import (
    DriftNeuron,
    GridWarning,
    Passages,
    exponential_drift,
    leaky_drift,
    quadratic_drift,
    threshold_integration,
    threshold_transfer,
)
from mnnbio.moments.transfer import FirstPassageTransform, Transfer, first_passage_transform, transfer_function

__all__ = [
    "ZETA_HALF",
    "Activation",
    "ActivationBackend",
    "Bands",
    "Convolution",
    "Covariance",
    "Dense",
    "Diagonal",
    "DriftNeuron",
    "FirstPassageTransform",
    "FixedPoint",
    "GridWarning",
    "ImageShape",
    "Integrals",
    "Joint",
    "JumpFactors",
    "LinearMap",
    "Loading",
    "LowRank",
    "Mapped",
    "Neuron",
    "NeuronTensors",
    "NotConverged",
    "Origin",
    "Passage",
    "Passages",
    "Pooling",
    "Status",
    "StepInput",
    "Sum",
    "Surrogate",
    "Transfer",
    "Transformed",
    "activation_backend",
    "added",
    "as_parameter",
    "cholesky",
    "colored_lif",
    "count_variance",
    "delayed_gamma",
    "dense_response",
    "discrete_lif",
    "effective_lif",
    "exponential_drift",
    "fano_factor",
    "first_passage",
    "first_passage_transform",
    "fixed_point",
    "frequencies",
    "gaussian_transforms",
    "integrals",
    "interval_skewness",
    "joined",
    "jump_factors",
    "leaky_drift",
    "lif_spikes",
    "lif_surrogate",
    "log_orthant_probability",
    "long_window_count_variance",
    "low_rank_response",
    "moment_activation",
    "overshoot",
    "quadratic_drift",
    "scaled_integrals",
    "shifted_sum",
    "spectral_bands",
    "surrogate_responses",
    "synaptic_filter",
    "threshold_integration",
    "threshold_transfer",
    "transfer_function",
    "transform",
    "variance_responses",
    "wide_bands",
    "woodbury_own_noise",
]
