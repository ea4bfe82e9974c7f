"""Circuits as moments: predictions of rates, variances, covariances and spectra."""

from mnnbio.theory.answers import Answer, NeuronInput, Neurons, answer, answer_to, leak, taken
from mnnbio.theory.covariance_width import covariance_width, radius_from_width
from mnnbio.theory.external_rates import ExternalRates, external_rates
from mnnbio.theory.fixed_points import fixed_points
from mnnbio.theory.inputs import External, Trains, Wired, external_input, trains, wire
from mnnbio.theory.jumps import Exponent, Jumps, asymmetry_delay, joint_exponent, jump_displacement, private_exponent
from mnnbio.theory.labelled import windowed_variance
from mnnbio.theory.mode_dynamics import (
    ModeAnswer,
    ModeDynamics,
    mode_dynamics,
    predict_mode_course,
    predict_modes,
)
from mnnbio.theory.mode_states import mode_basins, mode_fixed_points
from mnnbio.theory.neural_fields import neural_field_stability, profile_transform, space_transform
from mnnbio.theory.oscillation_sensitivity import oscillation_sensitivity
from mnnbio.theory.oscillations import predict_oscillations, predict_spectra
from mnnbio.theory.population_surrogates import Surrogates
from mnnbio.theory.predict import predict
from mnnbio.theory.rate_model import (
    Channels,
    LowPass,
    fit_low_pass,
    fit_transfer_function,
    lambert_roots,
    rightmost_root,
)
from mnnbio.theory.renewal import (
    EDGES,
    Effective,
    Sensitivity,
    TrainInput,
    effective_input,
    rate_sensitivity,
    regrid,
    renewal_deficit,
)
from mnnbio.theory.samplers import Bench, BenchMaker, Sampler, bench_maker, register_bench, register_sampler, sampler_of
from mnnbio.theory.second_order import predict_second_order
from mnnbio.theory.spatial_stability import spatial_stability
from mnnbio.theory.stationary import (
    ExternalJumps,
    RecurrentTrains,
    Response,
    StationaryState,
    respond,
    stationary_state,
)
from mnnbio.theory.subcircuits import predict_subcircuit_spectra
from mnnbio.theory.time_course import predict_time_course
from mnnbio.theory.transmission import charge, efficacy, filter_time
from mnnbio.theory.validity import (
    AdaptationWarning,
    CollectiveActivityWarning,
    CorrelationWarning,
    DisorderWarning,
    FiniteWeightWarning,
    LinearResponseWarning,
    SamplingWarning,
    SlowSynapseWarning,
)
from mnnbio.theory.wired_response import Stability, linear_response, projected_response, stability
from mnnbio.theory.wiring import (
    Conductances,
    Connection,
    Efficacy,
    Filtered,
    Kinds,
    Modes,
    Received,
    Weights,
    Wiring,
)

__all__ = [
    "EDGES",
    "AdaptationWarning",
    "Answer",
    "Bench",
    "BenchMaker",
    "Channels",
    "CollectiveActivityWarning",
    "Conductances",
    "Connection",
    "CorrelationWarning",
    "DisorderWarning",
    "Effective",
    "Efficacy",
    "Exponent",
    "External",
    "ExternalJumps",
    "ExternalRates",
    "Filtered",
    "FiniteWeightWarning",
    "Jumps",
    "Kinds",
    "LinearResponseWarning",
    "LowPass",
    "ModeAnswer",
    "ModeDynamics",
    "Modes",
    "NeuronInput",
    "Neurons",
    "Received",
    "RecurrentTrains",
    "Response",
    "Sampler",
    "SamplingWarning",
    "Sensitivity",
    "SlowSynapseWarning",
    "Stability",
    "StationaryState",
    "Surrogates",
    "TrainInput",
    "Trains",
    "Weights",
    "Wired",
    "Wiring",
    "answer",
    "answer_to",
    "asymmetry_delay",
    "bench_maker",
    "charge",
    "covariance_width",
    "effective_input",
    "efficacy",
    "external_input",
    "external_rates",
    "filter_time",
    "fit_low_pass",
    "fit_transfer_function",
    "fixed_points",
    "joint_exponent",
    "jump_displacement",
    "lambert_roots",
    "leak",
    "linear_response",
    "mode_basins",
    "mode_dynamics",
    "mode_fixed_points",
    "neural_field_stability",
    "oscillation_sensitivity",
    "predict",
    "predict_mode_course",
    "predict_modes",
    "predict_oscillations",
    "predict_second_order",
    "predict_spectra",
    "predict_subcircuit_spectra",
    "predict_time_course",
    "private_exponent",
    "profile_transform",
    "projected_response",
    "radius_from_width",
    "rate_sensitivity",
    "register_bench",
    "register_sampler",
    "regrid",
    "renewal_deficit",
    "respond",
    "rightmost_root",
    "sampler_of",
    "space_transform",
    "spatial_stability",
    "stability",
    "stationary_state",
    "taken",
    "trains",
    "windowed_variance",
    "wire",
]
