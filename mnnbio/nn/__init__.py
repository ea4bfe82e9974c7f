"""`torch.nn` modules of moment networks: they hold parameters and call the theory in `mnnbio.moments`."""

from mnnbio.nn.cnn import MomentCNN
from mnnbio.nn.convolution import MomentAvgPool2d, MomentConv2d, MomentSumPool2d
from mnnbio.nn.correlated_inputs import CommonNoiseEncoder, CorrelatedEncoder, FeatureMapEncoder, GratingEncoder
from mnnbio.nn.covariance_readout import CovarianceReadout
from mnnbio.nn.encoders import (
    Encoder,
    FeatureRangeWarning,
    GaussianEncoder,
    MeanDecoder,
    PoissonEncoder,
    WindowDecoder,
    encoder_from_config,
)
from mnnbio.nn.linear import ModeLinear, MomentLinear, SparseLinear
from mnnbio.nn.losses import (
    cross_entropy,
    decision_entropy,
    decision_probabilities,
    earth_movers,
    fidelity_entropy,
    gaussian_likelihood,
    log_decision_probabilities,
    log_winner_probability,
    mean_squared_error,
    sampled_angle,
    sampled_cross_entropy,
)
from mnnbio.nn.mlp import MomentMLP, Reads, mlp_from_moment_neural_network
from mnnbio.nn.moment_network import DTYPES, Closure, MomentBlock, MomentNetwork
from mnnbio.nn.norm import AffineCurrent, MomentBatchNorm1d, MomentBatchNorm2d, MomentDropout
from mnnbio.nn.recurrent import MomentRecurrent
from mnnbio.nn.recurrent_targets import PairTarget, checked_rates, reach_targets
from mnnbio.nn.spiking_layers import Background, GaussianBackground, MomentActivation, PoissonBackground
from mnnbio.nn.state import Moments, SkipConnection, add, add_independent, join, tracked
from mnnbio.nn.twins import MomentEnsemble, ann_twin

__all__ = [
    "DTYPES",
    "AffineCurrent",
    "Background",
    "Closure",
    "CommonNoiseEncoder",
    "CorrelatedEncoder",
    "CovarianceReadout",
    "Encoder",
    "FeatureMapEncoder",
    "FeatureRangeWarning",
    "GaussianBackground",
    "GaussianEncoder",
    "GratingEncoder",
    "MeanDecoder",
    "ModeLinear",
    "MomentActivation",
    "MomentAvgPool2d",
    "MomentBatchNorm1d",
    "MomentBatchNorm2d",
    "MomentBlock",
    "MomentCNN",
    "MomentConv2d",
    "MomentDropout",
    "MomentEnsemble",
    "MomentLinear",
    "MomentMLP",
    "MomentNetwork",
    "MomentRecurrent",
    "MomentSumPool2d",
    "Moments",
    "PairTarget",
    "PoissonBackground",
    "PoissonEncoder",
    "Reads",
    "SkipConnection",
    "SparseLinear",
    "WindowDecoder",
    "add",
    "add_independent",
    "ann_twin",
    "checked_rates",
    "cross_entropy",
    "decision_entropy",
    "decision_probabilities",
    "earth_movers",
    "encoder_from_config",
    "fidelity_entropy",
    "gaussian_likelihood",
    "join",
    "log_decision_probabilities",
    "log_winner_probability",
    "mean_squared_error",
    "mlp_from_moment_neural_network",
    "reach_targets",
    "sampled_angle",
    "sampled_cross_entropy",
    "tracked",
]
