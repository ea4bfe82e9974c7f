"""Batch normalisation of input currents: mean and covariance scaled together, noise learned."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import nn

from mnnbio.nn.state import Moments


class AffineCurrent(NamedTuple):
    """What a linear layer and its normalisation are together, once training is over.

    Attributes
    ----------
    weight : Tensor, shape (out_features, in_features)
        mV.
    bias_current : Tensor, shape (out_features,)
        Constant current, mV/ms.
    noise_std : Tensor, shape (out_features,)
        Standard deviation of the independent white-noise current, mV/√ms.
    """

    weight: torch.Tensor
    bias_current: torch.Tensor
    noise_std: torch.Tensor


def normalise(
    moments: Moments,
    centre: torch.Tensor,
    spread: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    noise_std: torch.Tensor | None,
) -> Moments:
    """Return mean ``weight (μ − centre)/spread + bias`` and the covariance of the same map plus independent noise."""
    scale = weight / spread
    covariance = moments.covariance.scale(scale)
    if noise_std is not None:
        covariance = covariance.add_diagonal((noise_std**2).expand(moments.mean.shape))
    return Moments(scale * (moments.mean - centre) + bias, covariance)


class MomentBatchNorm1d(nn.Module):
    """Normalise the mean current of every neuron over the batch, and scale its covariance by the same factor.

    ``μ' = w (μ − m)/√(v + eps) + b``,  ``C' = S C S + diag(σ²)`` with ``S = diag(w/√(v + eps))``: one affine map of
    the current plus independent white noise, so in evaluation mode it is exactly a change of weights, a constant
    current and a Gaussian drive (see `fold`).

    m and v are the mean and variance *of the mean currents* over the batch. The noise within each sample,
    ``E[C_ii]``, is left out of v: it is measured in mV²/ms, the other in (mV/ms)², and their sum would depend on
    the unit of time; and what the neuron has to tell apart is the spread of the means.

    Parameters
    ----------
    features : int
        Number of neurons.
    momentum : float
        Weight of the newest batch in the running statistics, in (0, 1].
    eps : float
        Added to v, (mV/ms)²; > 0.
    noise : bool
        Whether to learn the independent noise σ.
    initial_weight, initial_bias : float
        Spread and centre of the currents at the start, mV/ms. The defaults put the centre at ``v_th/tau_m`` of the
        default neuron, where its rate is most sensitive.
    initial_noise : float
        σ at the start, mV/√ms; > 0.
    dtype, device
        Of parameters and buffers.

    Attributes
    ----------
    weight, bias : Parameter, shape (features,)
        w and b, mV/ms.
    raw_noise : Parameter, shape (features,), or None
        ``noise_std = softplus(raw_noise)``: positive for every value, smooth.
    running_mean, running_var : Tensor, shape (features,)
        m and v of evaluation mode (v as an unbiased estimate).

    References
    ----------
    S. Ioffe, C. Szegedy (2015), Batch normalization, Algorithm 1, for the mean.
    """

    running_mean: torch.Tensor
    running_var: torch.Tensor
    raw_noise: nn.Parameter | None

    def __init__(
        self,
        features: int,
        momentum: float = 0.1,
        eps: float = 1e-5,
        noise: bool = True,
        *,
        initial_weight: float = 1.0,
        initial_bias: float = 1.0,
        initial_noise: float = 1.0,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        if not 0 < momentum <= 1:
            raise ValueError(f"`momentum` must be in (0, 1], got {momentum}")
        if not eps > 0:
            raise ValueError(f"`eps` must be > 0 (mV/ms)², got {eps}")
        if not initial_noise > 0:
            raise ValueError(f"`initial_noise` must be > 0 mV/√ms, got {initial_noise}; noise=False leaves it out")
        self.features, self.momentum, self.eps = features, momentum, eps

        def full(value: float) -> torch.Tensor:
            return torch.full((features,), value, dtype=dtype, device=device)

        self.weight = nn.Parameter(full(initial_weight))
        self.bias = nn.Parameter(full(initial_bias))
        self.raw_noise = nn.Parameter(full(math.log(math.expm1(initial_noise)))) if noise else None
        self.register_buffer("running_mean", full(0.0))
        self.register_buffer("running_var", full(1.0))

    @property
    def noise_std(self) -> torch.Tensor | None:
        """Standard deviation of the learned noise, mV/√ms, shape (features,); None without noise."""
        return None if self.raw_noise is None else nn.functional.softplus(self.raw_noise)

    def forward(self, moments: Moments) -> Moments:
        """Return the normalised moments; in training mode, update the running statistics.

        Raises
        ------
        ValueError
            If a batch has fewer than two samples in training mode.
        """
        centre, variance = self._batch_statistics(moments.mean) if self.training else self._running_statistics()
        return normalise(moments, centre, (variance + self.eps).sqrt(), self.weight, self.bias, self.noise_std)

    def _running_statistics(self) -> tuple[torch.Tensor, torch.Tensor]:
        return self.running_mean, self.running_var

    def _batch_statistics(self, mean: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        samples = mean.reshape(-1, self.features)
        count = len(samples)
        if count < 2:
            raise ValueError(
                f"batch normalisation needs at least 2 samples in training mode, got a batch of shape "
                f"{tuple(mean.shape)}; call eval() to use the running statistics"
            )
        variance, centre = torch.var_mean(samples, dim=0, correction=0)
        with torch.no_grad():
            self.running_mean.lerp_(centre, self.momentum)
            self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)
        return centre, variance

    def fold(self, weight: torch.Tensor) -> AffineCurrent:
        """Return the weights, constant current and noise that equal `weight` followed by this layer in eval mode.

        Parameters
        ----------
        weight : Tensor, shape (features, in_features)
            Weights of the linear layer before this one, mV.

        Returns
        -------
        AffineCurrent
            Detached from the graph; this module is not changed.

        Raises
        ------
        ValueError
            If `weight` has another number of rows.
        """
        if weight.ndim != 2 or len(weight) != self.features:
            raise ValueError(f"`weight` must have shape ({self.features}, in_features), got {tuple(weight.shape)}")
        with torch.no_grad():
            scale = self.weight / (self.running_var + self.eps).sqrt()
            noise_std = self.noise_std
            return AffineCurrent(
                weight=scale[:, None] * weight,
                bias_current=self.bias - scale * self.running_mean,
                noise_std=torch.zeros_like(scale) if noise_std is None else noise_std,
            )

    def extra_repr(self) -> str:
        """Describe the settings."""
        return f"{self.features}, momentum={self.momentum}, eps={self.eps}, noise={self.raw_noise is not None}"
