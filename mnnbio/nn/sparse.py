"""Synaptic weights of neurons that receive from a fixed number of random sources each."""

from __future__ import annotations

import math

import torch
from torch import nn

from mnnbio.nn.linear import linear, uniform_
from mnnbio.nn.state import Moments


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
