"""`torch.nn` modules of moment networks: they hold parameters and call the theory in `mnnbio.moments`."""

from mnnbio.nn.activation import MomentActivation
from mnnbio.nn.background import Background, GaussianBackground, PoissonBackground
from mnnbio.nn.cnn import MomentCNN
from mnnbio.nn.convolution import MomentConv2d
from mnnbio.nn.decisions import decision_probabilities, log_decision_probabilities, log_winner_probability
from mnnbio.nn.decoders import MeanDecoder, WindowDecoder
from mnnbio.nn.dropout import MomentDropout
from mnnbio.nn.encoders import Encoder, GaussianEncoder, PoissonEncoder
from mnnbio.nn.ensemble import MomentEnsemble
from mnnbio.nn.interoperability import mlp_from_moment_neural_network
from mnnbio.nn.linear import ModeLinear, MomentLinear
from mnnbio.nn.losses import (
    cross_entropy,
    earth_movers,
    fidelity_entropy,
    gaussian_likelihood,
    mean_squared_error,
    sampled_cross_entropy,
)
from mnnbio.nn.mlp import MomentMLP
from mnnbio.nn.network import MomentBlock, MomentNetwork
from mnnbio.nn.norm import AffineCurrent, MomentBatchNorm1d, MomentBatchNorm2d
from mnnbio.nn.pooling import MomentAvgPool2d, MomentSumPool2d
from mnnbio.nn.sparse import SparseLinear
from mnnbio.nn.state import Moments
from mnnbio.nn.twins import ann_twin

__all__ = [
    "AffineCurrent",
    "Background",
    "Encoder",
    "GaussianBackground",
    "GaussianEncoder",
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
    "MomentSumPool2d",
    "Moments",
    "PoissonBackground",
    "PoissonEncoder",
    "SparseLinear",
    "WindowDecoder",
    "ann_twin",
    "cross_entropy",
    "decision_probabilities",
    "earth_movers",
    "fidelity_entropy",
    "gaussian_likelihood",
    "log_decision_probabilities",
    "log_winner_probability",
    "mean_squared_error",
    "mlp_from_moment_neural_network",
    "sampled_cross_entropy",
]
