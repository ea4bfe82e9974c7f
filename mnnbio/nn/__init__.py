"""`torch.nn` modules of moment networks: they hold parameters and call the theory in `mnnbio.moments`."""

from mnnbio.nn.activation import MomentActivation
from mnnbio.nn.encoders import Encoder, GaussianEncoder, PoissonEncoder
from mnnbio.nn.linear import ModeLinear, MomentLinear
from mnnbio.nn.losses import cross_entropy, gaussian_likelihood, mean_squared_error, sampled_cross_entropy
from mnnbio.nn.mlp import MomentBlock, MomentMLP
from mnnbio.nn.norm import AffineCurrent, MomentBatchNorm1d
from mnnbio.nn.state import Moments

__all__ = [
    "AffineCurrent",
    "Encoder",
    "GaussianEncoder",
    "ModeLinear",
    "MomentActivation",
    "MomentBatchNorm1d",
    "MomentBlock",
    "MomentLinear",
    "MomentMLP",
    "Moments",
    "PoissonEncoder",
    "cross_entropy",
    "gaussian_likelihood",
    "mean_squared_error",
    "sampled_cross_entropy",
]
