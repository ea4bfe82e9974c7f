"""Batch normalisation of input currents, mean and covariance together and noise learned, and dropout of neurons."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import nn

from mnnbio.moments import ImageShape
from mnnbio.nn.state import Moments
from mnnbio.units import flag


class AffineCurrent(NamedTuple):
    """Affine map that a linear layer and its normalisation are together, once training is over.

    Attributes
    ----------
    weight : Tensor, shape (out_features, in_features) or (out_channels, in_channels, height, width)
        Weights or kernel, mV.
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


class _MomentBatchNorm(nn.Module):
    """Batch normalisation of single neurons and of images: one affine map per channel."""

    running_mean: torch.Tensor
    running_var: torch.Tensor
    raw_noise: nn.Parameter | None

    def __init__(
        self,
        channels: int,
        neurons: int,
        momentum: float,
        eps: float,
        noise: bool,
        initial_weight: float,
        initial_bias: float,
        initial_noise: float,
        total_variance: bool,
        dtype: torch.dtype | None,
        device: torch.device | str | None,
    ) -> None:
        super().__init__()
        if not 0 < momentum <= 1:
            raise ValueError(f"`momentum` must be in (0, 1], got {momentum}")
        if not eps > 0:
            raise ValueError(f"`eps` must be > 0 (mV/ms)², got {eps}")
        if not initial_noise > 0:
            raise ValueError(f"`initial_noise` must be > 0 mV/√ms, got {initial_noise}; noise=False leaves it out")
        self.channels, self.neurons, self.momentum, self.eps = channels, neurons, momentum, eps
        self.total_variance = flag(total_variance, "total_variance")

        def full(value: float) -> torch.Tensor:
            return torch.full((channels,), value, dtype=dtype, device=device)

        self.weight = nn.Parameter(full(initial_weight))
        self.bias = nn.Parameter(full(initial_bias))
        self.raw_noise = nn.Parameter(full(math.log(math.expm1(initial_noise)))) if noise else None
        self.register_buffer("running_mean", full(0.0))
        self.register_buffer("running_var", full(1.0))

    @property
    def noise_std(self) -> torch.Tensor | None:
        """Standard deviation of the learned noise, mV/√ms, one value per channel; None without noise."""
        return None if self.raw_noise is None else nn.functional.softplus(self.raw_noise)

    def forward(self, moments: Moments) -> Moments:
        """Return the normalised moments; in training mode, update the running statistics.

        Raises
        ------
        ValueError
            If the number of neurons is wrong, or there are fewer than two samples in training mode.
        """
        mean = moments.mean
        if mean.ndim == 0 or mean.shape[-1] != self.neurons:
            raise ValueError(f"expected currents of {self.neurons} neurons, got the shape {tuple(mean.shape)}")
        centre, variance = self._batch_statistics(moments) if self.training else (self.running_mean, self.running_var)
        noise_std = self.noise_std
        return normalise(
            moments,
            self._per_neuron(centre),
            self._per_neuron((variance + self.eps).sqrt()),
            self._per_neuron(self.weight),
            self._per_neuron(self.bias),
            None if noise_std is None else self._per_neuron(noise_std),
        )

    def _per_neuron(self, values: torch.Tensor) -> torch.Tensor:
        """Return one value per neuron from one per channel."""
        return values if self.neurons == self.channels else values.repeat_interleave(self.neurons // self.channels)

    def _batch_statistics(self, moments: Moments) -> tuple[torch.Tensor, torch.Tensor]:
        mean = moments.mean
        samples = mean.reshape(-1, self.channels, self.neurons // self.channels)
        count = samples.shape[0] * samples.shape[2]
        if count < 2:
            raise ValueError(
                f"batch normalisation needs at least 2 samples in training mode, got a batch of shape "
                f"{tuple(mean.shape)}; call eval() to use the running statistics"
            )
        variance, centre = torch.var_mean(samples, dim=(0, 2), correction=0)
        unbiased = variance * (count / (count - 1))
        if self.total_variance:
            noise = moments.variance.expand_as(mean).reshape(samples.shape)
            variance = unbiased = unbiased + noise.mean((0, 2))
        with torch.no_grad():
            self.running_mean.lerp_(centre, self.momentum)
            self.running_var.lerp_(unbiased, self.momentum)
        return centre, variance

    def affine(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return what evaluation mode multiplies currents by, adds to them, and the std of its noise.

        Returns
        -------
        tuple of Tensor, each of shape (neurons,)
            Detached from the graph: dimensionless, mV/ms and mV/√ms.
        """
        with torch.no_grad():
            scale = self.weight / (self.running_var + self.eps).sqrt()
            noise_std = torch.zeros_like(scale) if self.noise_std is None else self.noise_std
            shift = self.bias - scale * self.running_mean
            return self._per_neuron(scale), self._per_neuron(shift), self._per_neuron(noise_std)

    def _fold(self, weight: torch.Tensor) -> AffineCurrent:
        """Return the weights scaled along their first axis, and current and noise per neuron; all detached."""
        scale, shift, noise_std = self.affine()
        with torch.no_grad():
            rows = scale[:: self.neurons // self.channels].reshape(-1, *[1] * (weight.ndim - 1))
            return AffineCurrent(rows * weight, shift, noise_std)


class MomentBatchNorm1d(_MomentBatchNorm):
    """Normalise the mean current of every neuron over the batch, and scale its covariance by the same factor.

    ``μ' = w (μ − m)/√(v + eps) + b``,  ``C' = S C S + diag(σ²)`` with ``S = diag(w/√(v + eps))``: one affine map of
    the current plus independent white noise, so in evaluation mode it is exactly a change of weights, a constant
    current and a Gaussian drive (see `fold`).

    m and v are the mean and variance *of the mean currents* over the batch. The noise within each sample,
    ``E[C_ii]``, is left out of v: it is measured in mV²/ms, the other in (mV/ms)², and their sum would depend on
    the unit of time; and what the neuron has to tell apart is the spread of the means. With `total_variance` it is
    included, as other implementations do, whose networks can then be trained on as they were.

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
    total_variance : bool
        Whether v is the unbiased variance of the means plus the mean of ``C_ii`` over the batch, in ms and mV.
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
        total_variance: bool = False,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__(
            features,
            features,
            momentum,
            eps,
            noise,
            initial_weight,
            initial_bias,
            initial_noise,
            total_variance,
            dtype,
            device,
        )
        self.features = features

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
        return self._fold(weight)

    def extra_repr(self) -> str:
        """Describe the settings."""
        return f"{self.features}, momentum={self.momentum}, eps={self.eps}, noise={self.raw_noise is not None}"


class MomentBatchNorm2d(_MomentBatchNorm):
    """Normalise the mean currents of a layer arranged like an image, channel by channel, over batch and space.

    The neurons of a channel share scale, centre and noise, as they share the kernel of the convolution before; for
    the rest see `MomentBatchNorm1d`.

    Parameters
    ----------
    image : ImageShape or tuple of int
        Channels, height and width of the layer: `out_image` of the convolution.
    momentum, eps, noise, initial_weight, initial_bias, initial_noise, total_variance, dtype, device
        As in `MomentBatchNorm1d`.

    Attributes
    ----------
    weight, bias, raw_noise, running_mean, running_var
        As in `MomentBatchNorm1d`, of shape (channels,).

    References
    ----------
    S. Ioffe, C. Szegedy (2015), Batch normalization, sec. 3.2.
    """

    def __init__(
        self,
        image: tuple[int, int, int],
        momentum: float = 0.1,
        eps: float = 1e-5,
        noise: bool = True,
        *,
        initial_weight: float = 1.0,
        initial_bias: float = 1.0,
        initial_noise: float = 1.0,
        total_variance: bool = False,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        shape = ImageShape(*image)
        super().__init__(
            shape.channels,
            shape.size,
            momentum,
            eps,
            noise,
            initial_weight,
            initial_bias,
            initial_noise,
            total_variance,
            dtype,
            device,
        )
        self.image = shape

    def fold(self, weight: torch.Tensor) -> AffineCurrent:
        """Return the kernel, constant current and noise that equal `weight` followed by this layer in eval mode.

        Parameters
        ----------
        weight : Tensor, shape (channels, in_channels, height, width)
            Kernel of the convolution before this one, mV.

        Returns
        -------
        AffineCurrent
            Current and noise one value per neuron. Detached from the graph; this module is not changed.

        Raises
        ------
        ValueError
            If `weight` is not a kernel with as many output channels.
        """
        if weight.ndim != 4 or len(weight) != self.channels:
            raise ValueError(
                f"`weight` must have shape ({self.channels}, in_channels, height, width), got {tuple(weight.shape)}"
            )
        return self._fold(weight)

    def extra_repr(self) -> str:
        """Describe the settings."""
        noise = self.raw_noise is not None
        return f"{tuple(self.image)}, momentum={self.momentum}, eps={self.eps}, noise={noise}"


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
