"""Theory of leaky integrate-and-fire neurons as pure functions on tensors, in ms and mV."""

from mnnbio.moments.activation import Activation, fano_factor, interval_skewness, moment_activation
from mnnbio.moments.compiled import ActivationBackend, activation_backend
from mnnbio.moments.counts import count_variance, long_window_count_variance
from mnnbio.moments.covariance import Covariance, LowRank, Mapped
from mnnbio.moments.cylinder import FirstPassageTransform, first_passage_transform
from mnnbio.moments.drive import Neuron, NeuronTensors
from mnnbio.moments.first_passage import Passage, StepInput, first_passage
from mnnbio.moments.fixed_point import FixedPoint, NotConverged, fixed_point
from mnnbio.moments.integrals import Integrals, integrals, scaled_integrals
from mnnbio.moments.jumps import (
    Exponent,
    Jumps,
    asymmetry_delay,
    joint_exponent,
    jump_displacement,
    private_exponent,
)
from mnnbio.moments.linear_response import Stability, linear_response, projected_response, stability
from mnnbio.moments.maps import Convolution, ImageShape, LinearMap, Pooling
from mnnbio.moments.orthant import log_orthant_probability
from mnnbio.moments.overshoot import JumpFactors, discrete_lif, jump_factors, overshoot
from mnnbio.moments.plain import Dense, Diagonal
from mnnbio.moments.recurrent_trains import ExternalJumps, RecurrentTrains
from mnnbio.moments.renewal import Effective, TrainInput, effective_input, regrid, renewal_deficit
from mnnbio.moments.sensitivity import EDGES, Sensitivity, rate_sensitivity
from mnnbio.moments.stationary import Response, StationaryState, respond, stationary_state
from mnnbio.moments.summed import Sum
from mnnbio.moments.synapses import colored_lif, effective_lif
from mnnbio.moments.transfer import Transfer, transfer_function
from mnnbio.moments.transformed import Transformed, transform
from mnnbio.moments.wiring import Connection, Modes, Received, Weights, Wiring

__all__ = [
    "EDGES",
    "Activation",
    "ActivationBackend",
    "Connection",
    "Convolution",
    "Covariance",
    "Dense",
    "Diagonal",
    "Effective",
    "Exponent",
    "ExternalJumps",
    "FirstPassageTransform",
    "FixedPoint",
    "ImageShape",
    "Integrals",
    "JumpFactors",
    "Jumps",
    "LinearMap",
    "LowRank",
    "Mapped",
    "Modes",
    "Neuron",
    "NeuronTensors",
    "NotConverged",
    "Passage",
    "Pooling",
    "Received",
    "RecurrentTrains",
    "Response",
    "Sensitivity",
    "Stability",
    "StationaryState",
    "StepInput",
    "Sum",
    "TrainInput",
    "Transfer",
    "Transformed",
    "Weights",
    "Wiring",
    "activation_backend",
    "asymmetry_delay",
    "colored_lif",
    "count_variance",
    "discrete_lif",
    "effective_input",
    "effective_lif",
    "fano_factor",
    "first_passage",
    "first_passage_transform",
    "fixed_point",
    "integrals",
    "interval_skewness",
    "joint_exponent",
    "jump_displacement",
    "jump_factors",
    "linear_response",
    "log_orthant_probability",
    "long_window_count_variance",
    "moment_activation",
    "overshoot",
    "private_exponent",
    "projected_response",
    "rate_sensitivity",
    "regrid",
    "renewal_deficit",
    "respond",
    "scaled_integrals",
    "stability",
    "stationary_state",
    "transfer_function",
    "transform",
]
