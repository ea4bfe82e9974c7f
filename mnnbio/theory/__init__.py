"""Circuits as moments: predictions of rates, variances, covariances and spectra."""

from mnnbio.theory.answers import Answer, NeuronInput, Neurons, answer, answer_to, leak
from mnnbio.theory.fixed_points import fixed_points
from mnnbio.theory.inputs import Trains, external_input, trains, wire
from mnnbio.theory.jumps import Exponent, Jumps, asymmetry_delay, joint_exponent, jump_displacement, private_exponent
from mnnbio.theory.mode_dynamics import (
    ModeAnswer,
    ModeDynamics,
    mode_dynamics,
    predict_mode_course,
    predict_modes,
)
from mnnbio.theory.mode_states import mode_basins, mode_fixed_points
from mnnbio.theory.oscillations import predict_oscillations, predict_spectra
from mnnbio.theory.population_surrogates import Surrogates
from mnnbio.theory.predict import predict
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
from mnnbio.theory.second_order import predict_second_order
from mnnbio.theory.stationary import (
    ExternalJumps,
    RecurrentTrains,
    Response,
    StationaryState,
    respond,
    stationary_state,
)
from mnnbio.theory.time_course import predict_time_course
from mnnbio.theory.transmission import charge, efficacy, filter_time
from mnnbio.theory.validity import (
    AdaptationWarning,
    CollectiveActivityWarning,
    CorrelationWarning,
    FiniteWeightWarning,
    LinearResponseWarning,
    SamplingWarning,
    SlowSynapseWarning,
)
from mnnbio.theory.wired_response import Stability, linear_response, projected_response, stability
from mnnbio.theory.wiring import Conductances, Connection, Efficacy, Modes, Received, Weights, Wiring

__all__ = [
    "EDGES",
    "AdaptationWarning",
    "Answer",
    "CollectiveActivityWarning",
    "Conductances",
    "Connection",
    "CorrelationWarning",
    "Effective",
    "Efficacy",
    "Exponent",
    "ExternalJumps",
    "FiniteWeightWarning",
    "Jumps",
    "LinearResponseWarning",
    "ModeAnswer",
    "ModeDynamics",
    "Modes",
    "NeuronInput",
    "Neurons",
    "Received",
    "RecurrentTrains",
    "Response",
    "SamplingWarning",
    "Sensitivity",
    "SlowSynapseWarning",
    "Stability",
    "StationaryState",
    "Surrogates",
    "TrainInput",
    "Trains",
    "Weights",
    "Wiring",
    "answer",
    "answer_to",
    "asymmetry_delay",
    "charge",
    "effective_input",
    "efficacy",
    "external_input",
    "filter_time",
    "fixed_points",
    "joint_exponent",
    "jump_displacement",
    "leak",
    "linear_response",
    "mode_basins",
    "mode_dynamics",
    "mode_fixed_points",
    "predict",
    "predict_mode_course",
    "predict_modes",
    "predict_oscillations",
    "predict_second_order",
    "predict_spectra",
    "predict_time_course",
    "private_exponent",
    "projected_response",
    "rate_sensitivity",
    "regrid",
    "renewal_deficit",
    "respond",
    "stability",
    "stationary_state",
    "trains",
    "wire",
]
