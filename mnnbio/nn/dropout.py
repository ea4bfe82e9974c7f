"""Dropout of neurons while training."""

from __future__ import annotations

import torch
from torch import nn

from mnnbio.nn.state import Moments


class MomentDropout(nn.Module):
    """Silence random neurons in training, and scale the others up so that means stay what they are on average.

    A neuron is silent or active for the whole presentation of a sample: with a mask ``m_i ∈ {0, 1/(1 − p)}`` drawn
    for each sample, ``μ' = m μ`` and ``C' = diag(m) C diag(m)``. The mask is drawn rather than averaged over: its
    own variance, ``μ² p/(1 − p)``, is a squared rate, which adds to a variance per time only once a window is chosen;
    and a regulariser should show the next layer the subnetworks, not their mean. In evaluation mode nothing happens.

    Masks depend on the seed and the number of calls alone, which is part of the state dict: training that continues
    from a checkpoint draws the masks that it would have drawn.

    Parameters
    ----------
    p : float
        Probability of silence, in [0, 1).
    seed : int
        Of the masks.

    Attributes
    ----------
    calls : Tensor, scalar, int64
        Masks drawn so far.

    References
    ----------
    N. Srivastava et al. (2014), Dropout, J. Mach. Learn. Res. 15, 1929, sec. 4.
    """

    calls: torch.Tensor

    def __init__(self, p: float = 0.5, seed: int = 0) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise ValueError(f"`p` must be in [0, 1), got {p}")
        self.p, self.seed = float(p), seed
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, moments: Moments) -> Moments:
        """Return the masked moments; in evaluation mode, or with p = 0, the moments as they are."""
        if not self.training or self.p == 0:
            return moments
        mean = moments.mean
        generator = torch.Generator(mean.device).manual_seed(self.seed + int(self.calls))
        self.calls += 1
        mask = torch.empty_like(mean).bernoulli_(1 - self.p, generator=generator) / (1 - self.p)
        return Moments(mask * mean, moments.covariance.scale(mask))

    def extra_repr(self) -> str:
        """Describe the settings."""
        return f"p={self.p}, seed={self.seed}"
