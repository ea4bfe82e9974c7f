"""Readouts of covariances: weighted sums of the second-order statistics of spike trains, not of the trains."""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import nn

from mnnbio.machine import check_choice, require_integer
from mnnbio.nn.linear import uniform_
from mnnbio.nn.state import Moments

# What a readout of covariances weighs.
Statistics = Literal["covariance", "mean_and_covariance", "second_moments"]


def statistics_of(mean: torch.Tensor, covariance: torch.Tensor, reads: Statistics) -> torch.Tensor:
    """Return the numbers that a readout of covariances weighs.

    Elements of a symmetric matrix are taken once, row by row from the diagonal on.

    Parameters
    ----------
    mean : Tensor, shape (..., n)
    covariance : Tensor, shape (..., n, n)
    reads : {"covariance", "mean_and_covariance", "second_moments"}
        C, the means μ followed by C, or ``μ μᵀ + C``.

    Returns
    -------
    Tensor, shape (..., n (n + 1)/2), with the means (..., n + n (n + 1)/2)
    """
    matrix = covariance
    if reads == "second_moments":
        matrix = matrix + mean.unsqueeze(-1) * mean.unsqueeze(-2)
    row, column = torch.triu_indices(mean.shape[-1], mean.shape[-1], device=mean.device)
    elements = matrix[..., row, column].expand(*mean.shape[:-1], -1)
    return torch.cat([mean, elements], dim=-1) if reads == "mean_and_covariance" else elements


class CovarianceReadout(nn.Module):
    """Read the covariances of spike trains, and their rates if asked, by weights of their own.

    ``y_k = b_k + Σ_i≤j W_kij C_ij``, with "mean_and_covariance" ``+ Σ_i W_ki μ_i``, with "second_moments" of
    ``μ_i μ_j + C_ij`` in place of C_ij. A linear readout (`MomentLinear`) sees stimuli apart only where rates differ;
    this one also where rates are equal and correlations differ.

    The outputs are statistics, estimated from many windows, and do not fluctuate: their covariance is 0. No neuron
    reads them; `export` leaves the trains that they are made of as the output, and `mnnbio.exporting.read_outputs`
    applies the readout to the covariances of counts that were simulated.

    Parameters
    ----------
    in_features, out_features : int
        Numbers of neurons that are read and of outputs.
    reads : {"covariance", "mean_and_covariance", "second_moments"}
        What is weighed, in spikes/ms and spikes²/ms. Second moments add a squared rate to a variance per time, so that
        their weights are for counts in windows of 1 ms: they are here because networks trained elsewhere read them.
    bias : bool
        Whether a constant is added.
    weight_scale : float
        The weights start uniform within ±weight_scale/√in_features.
    generator : torch.Generator, optional
        Source of the initial weights; the global one by default.
    dtype, device
        Of the parameters.

    Attributes
    ----------
    weight : Parameter, shape (out_features, n_statistics)
        In the order of `reads`, covariances row by row from the diagonal on.
    bias : Parameter, shape (out_features,), or None
    n_statistics : int

    Raises
    ------
    ValueError
        If a size is not a positive whole number, or `reads` is unknown.

    References
    ----------
    Z. Zhu, Y. Qi, W. Lu, J. Feng (2024), Learn to integrate parts for whole through correlated neural variability,
    arXiv:2401.00746, for networks that tell stimuli apart by covariances alone.

    Examples
    --------
    >>> from mnnbio.moments import Dense
    >>> readout = CovarianceReadout(2, 1, "covariance", bias=False)
    >>> with torch.no_grad():
    ...     _ = readout.weight.copy_(torch.tensor([[1.0, 10.0, 100.0]]))
    >>> readout(Moments(torch.zeros(2), Dense(torch.tensor([[1.0, 2.0], [2.0, 3.0]])))).mean.item()
    321.0
    """

    bias: nn.Parameter | None

    def __init__(
        self,
        in_features: int,
        out_features: int,
        reads: Statistics = "mean_and_covariance",
        bias: bool = True,
        *,
        weight_scale: float = 1.0,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        require_integer("in_features", in_features, 1)
        require_integer("out_features", out_features, 1)
        check_choice("reads", reads, sorted(get_args(Statistics)))
        self.in_features, self.out_features, self.reads = in_features, out_features, reads
        means = in_features if reads == "mean_and_covariance" else 0
        self.n_statistics = means + in_features * (in_features + 1) // 2
        self.weight = nn.Parameter(torch.empty(out_features, self.n_statistics, dtype=dtype, device=device))
        self.bias = nn.Parameter(torch.zeros(out_features, dtype=dtype, device=device)) if bias else None
        uniform_(self.weight, weight_scale / math.sqrt(in_features), generator)

    @property
    def bias_std(self) -> None:
        """Noise of the outputs: none."""
        return None

    def forward(self, moments: Moments) -> Moments:
        """Return the outputs, shape (..., out_features), without variance.

        Raises
        ------
        ValueError
            If the number of neurons is wrong.
        """
        return Moments.without_variance(self.outputs_of(moments.mean, moments.covariance.to_dense()))

    def outputs_of(self, mean: torch.Tensor, covariance: torch.Tensor) -> torch.Tensor:
        """Return the outputs, shape (..., out_features), for means (..., n) and covariance matrices (..., n, n)."""
        if mean.ndim == 0 or mean.shape[-1] != self.in_features:
            raise ValueError(f"expected the moments of {self.in_features} neurons, got the shape {tuple(mean.shape)}")
        return nn.functional.linear(statistics_of(mean, covariance, self.reads), self.weight, self.bias)

    def extra_repr(self) -> str:
        """Describe the shape."""
        return f"{self.in_features}, {self.out_features}, reads={self.reads!r}, bias={self.bias is not None}"
