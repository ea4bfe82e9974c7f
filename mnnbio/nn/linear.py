"""Synaptic weights: full matrices, matrices factored into modes, and a fixed number of random sources a neuron."""

from __future__ import annotations

import math

import torch
from torch import nn

from mnnbio.nn.state import Moments


def uniform_(parameter: torch.Tensor, bound: float, generator: torch.Generator | None) -> None:
    """Fill a parameter with uniform numbers between −bound and bound."""
    with torch.no_grad():
        parameter.uniform_(-bound, bound, generator=generator)


def inverse_softplus(value: torch.Tensor) -> torch.Tensor:
    """Return x with softplus(x) = value, for values > 0."""
    return value + torch.log(-torch.expm1(-value))


def linear(
    moments: Moments,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    bias_std: torch.Tensor | None = None,
) -> Moments:
    """Return the moments of ``W x + b``, with b of mean `bias` and standard deviation `bias_std`, independent.

    The mean is ``W μ + bias``, the covariance ``W C Wᵀ + diag(bias_std²)`` (evaluated when asked for).
    """
    mean = nn.functional.linear(moments.mean, weight, bias)
    covariance = moments.covariance.linear(weight)
    if bias_std is not None:
        covariance = covariance.add_diagonal(bias_std.square().expand(mean.shape))
    return Moments(mean, covariance)


class MomentLinear(nn.Module):
    """Apply a weight matrix to mean and covariance.

    Parameters
    ----------
    in_features, out_features : int
        Numbers of sources and targets.
    bias : bool
        Whether a constant is added to the mean.
    bias_std : float, optional
        Where given, every output has independent noise of its own, a bias that fluctuates: its standard deviation is
        learned from this start, > 0 (mV/√ms for currents).
    weight_scale : float
        The weights start uniform within ±weight_scale/√in_features.
    generator : torch.Generator, optional
        Source of the initial weights; the global one by default.
    dtype, device
        Of the parameters.

    Attributes
    ----------
    weight : Parameter, shape (out_features, in_features)
        mV for synapses onto neurons.
    bias : Parameter, shape (out_features,), or None
    raw_bias_std : Parameter, shape (out_features,), or None
        ``bias_std = softplus(raw_bias_std)``: positive for every value, smooth.

    Raises
    ------
    ValueError
        If `bias_std` is not positive.
    """

    bias: nn.Parameter | None
    raw_bias_std: nn.Parameter | None

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = False,
        *,
        bias_std: float | None = None,
        weight_scale: float = 1.0,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        if bias_std is not None and not 0 < bias_std < math.inf:
            raise ValueError(f"`bias_std` must be > 0, got {bias_std}; None leaves the noise out")
        self.in_features, self.out_features = in_features, out_features
        self.weight = nn.Parameter(torch.empty(out_features, in_features, dtype=dtype, device=device))
        self.bias = nn.Parameter(torch.zeros(out_features, dtype=dtype, device=device)) if bias else None
        self.raw_bias_std = None
        if bias_std is not None:
            start = torch.full((out_features,), bias_std, dtype=dtype, device=device)
            self.raw_bias_std = nn.Parameter(inverse_softplus(start))
        uniform_(self.weight, weight_scale / math.sqrt(in_features), generator)

    @property
    def bias_std(self) -> torch.Tensor | None:
        """Standard deviation of the learned noise of each output, shape (out_features,); None without."""
        return None if self.raw_bias_std is None else nn.functional.softplus(self.raw_bias_std)

    def forward(self, moments: Moments) -> Moments:
        """Return the moments of the weighted sums, shape (..., out_features)."""
        return linear(moments, self.weight, self.bias, self.bias_std)

    @torch.no_grad()
    def rescale_outputs(self, scale: torch.Tensor, shift: torch.Tensor) -> None:
        """Change weight and bias in place so that every output y becomes ``scale · y + shift``, both (out_features,).

        Raises
        ------
        ValueError
            If the layer has no bias to hold the shift.
        """
        if self.bias is None:
            raise ValueError("outputs can be shifted only in a layer with bias=True")
        self.weight.mul_(scale[:, None])
        self.bias.mul_(scale).add_(shift)
        if self.raw_bias_std is not None and self.bias_std is not None:
            self.raw_bias_std.copy_(inverse_softplus(self.bias_std * scale.abs()))

    def extra_repr(self) -> str:
        """Describe the shape."""
        return (
            f"{self.in_features}, {self.out_features}, bias={self.bias is not None}, "
            f"bias_std={self.raw_bias_std is not None}"
        )


class ModeLinear(nn.Module):
    """Apply a weight matrix of few modes, ``W = ξ_in diag(λ) ξ_outᵀ``, without ever forming it.

    Mean and covariance cost O(modes · (in + out)); the covariance that leaves has rank `modes` exactly.

    Parameters
    ----------
    in_features, out_features : int
        Numbers of sources and targets.
    modes : int
        Number of modes, at least 1 and at most min(in_features, out_features).
    weight_scale, generator, dtype, device
        As in `MomentLinear`; the entries of the product start with the variance they have there.

    Attributes
    ----------
    input_modes : Parameter, shape (out_features, modes)
        ξ_in: how each mode enters the target neurons.
    scores : Parameter, shape (modes,)
        λ, mV: the strength of each mode.
    output_modes : Parameter, shape (in_features, modes)
        ξ_out: how each mode reads the source neurons.

    Raises
    ------
    ValueError
        If `modes` is out of range.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        modes: int,
        *,
        weight_scale: float = 1.0,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        if not 1 <= modes <= min(in_features, out_features):
            raise ValueError(
                f"`modes` must be between 1 and min(in_features, out_features) = {min(in_features, out_features)}, "
                f"got {modes}"
            )
        self.in_features, self.out_features, self.modes = in_features, out_features, modes
        self.input_modes = nn.Parameter(torch.empty(out_features, modes, dtype=dtype, device=device))
        self.scores = nn.Parameter(torch.empty(modes, dtype=dtype, device=device))
        self.output_modes = nn.Parameter(torch.empty(in_features, modes, dtype=dtype, device=device))
        uniform_(self.input_modes, math.sqrt(3.0), generator)
        uniform_(self.output_modes, math.sqrt(3.0), generator)
        # Unit-variance factors: an entry of W is a sum of `modes` terms of variance λ².
        nn.init.constant_(self.scores, weight_scale / math.sqrt(3.0 * in_features * modes))

    @property
    def weight(self) -> torch.Tensor:
        """The matrix itself, (out_features, in_features), mV: for small networks and for inspection."""
        return (self.input_modes * self.scores) @ self.output_modes.T

    def forward(self, moments: Moments) -> Moments:
        """Return the moments of the weighted sums, shape (..., out_features)."""
        return mode_linear(moments, self.input_modes, self.scores, self.output_modes)

    def extra_repr(self) -> str:
        """Describe the shape."""
        return f"{self.in_features}, {self.out_features}, modes={self.modes}"


def mode_linear(
    moments: Moments, input_modes: torch.Tensor, scores: torch.Tensor, output_modes: torch.Tensor
) -> Moments:
    """Return the moments of ``ξ_in diag(λ) ξ_outᵀ x``, mode by mode."""
    mean = ((moments.mean @ output_modes) * scores) @ input_modes.T
    return Moments(mean, moments.covariance.linear_modes(input_modes, scores, output_modes))


class SparseLinear(nn.Module):
    """Apply a weight matrix with `in_degree` weights in every row, at places drawn once.

    Only the weights that exist are parameters, so training cannot make others.

    Parameters
    ----------
    in_features, out_features : int
        Numbers of sources and targets.
    in_degree : int
        Sources of each target, drawn without repetition; at least 1 and at most `in_features`.
    bias : bool
        Whether a constant is added to the mean.
    weight_scale : float
        The weights start uniform within ±weight_scale/√in_degree.
    generator : torch.Generator, optional
        Source of places and initial weights; the global one by default.
    dtype, device
        Of the parameters.

    Attributes
    ----------
    values : Parameter, shape (out_features, in_degree)
        The weights, mV for synapses onto neurons.
    sources : Tensor, shape (out_features, in_degree), int64
        Where each comes from, ascending in every row; part of the state dict.
    bias : Parameter, shape (out_features,), or None

    Raises
    ------
    ValueError
        If `in_degree` is out of range.
    """

    sources: torch.Tensor
    bias: nn.Parameter | None

    def __init__(
        self,
        in_features: int,
        out_features: int,
        in_degree: int,
        bias: bool = False,
        *,
        weight_scale: float = 1.0,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        if not 1 <= in_degree <= in_features:
            raise ValueError(f"`in_degree` must be between 1 and in_features = {in_features}, got {in_degree}")
        self.in_features, self.out_features, self.in_degree = in_features, out_features, in_degree
        where = generator.device if generator is not None else torch.device("cpu")
        order = torch.rand(out_features, in_features, generator=generator, device=where).argsort(-1)
        self.register_buffer("sources", order[:, :in_degree].sort(-1).values.to(device))
        self.values = nn.Parameter(torch.empty(out_features, in_degree, dtype=dtype, device=device))
        self.bias = nn.Parameter(torch.zeros(out_features, dtype=dtype, device=device)) if bias else None
        uniform_(self.values, weight_scale / math.sqrt(in_degree), generator)

    @property
    def weight(self) -> torch.Tensor:
        """The matrix, (out_features, in_features), zero where there is no synapse."""
        zeros = self.values.new_zeros(self.out_features, self.in_features)
        return zeros.scatter(-1, self.sources, self.values)

    def forward(self, moments: Moments) -> Moments:
        """Return the moments of the weighted sums, shape (..., out_features)."""
        return linear(moments, self.weight, self.bias)

    def extra_repr(self) -> str:
        """Describe the shape."""
        return f"{self.in_features}, {self.out_features}, in_degree={self.in_degree}, bias={self.bias is not None}"
