"""`torch.nn` modules of moment networks: they hold parameters and call the theory in `mnnbio.moments`."""

from mnnbio.nn.activation import MomentActivation
from mnnbio.nn.background import Background, GaussianBackground, PoissonBackground
from mnnbio.nn.dropout import MomentDropout
from mnnbio.nn.encoders import Encoder, GaussianEncoder, PoissonEncoder
from mnnbio.nn.linear import ModeLinear, MomentLinear
from mnnbio.nn.losses import cross_entropy, gaussian_likelihood, mean_squared_error, sampled_cross_entropy
from mnnbio.nn.mlp import MomentBlock, MomentMLP
from mnnbio.nn.norm import AffineCurrent, MomentBatchNorm1d
from mnnbio.nn.sparse import SparseLinear
from mnnbio.nn.state import Moments

__all__ = [
    "AffineCurrent",
    "Background",
    "Encoder",
    "GaussianBackground",
    "GaussianEncoder",
    "ModeLinear",
    "MomentActivation",
    "MomentBatchNorm1d",
    "MomentBlock",
    "MomentDropout",
    "MomentLinear",
    "MomentMLP",
    "Moments",
    "PoissonBackground",
    "PoissonEncoder",
    "SparseLinear",
    "cross_entropy",
    "gaussian_likelihood",
    "mean_squared_error",
    "sampled_cross_entropy",
]
