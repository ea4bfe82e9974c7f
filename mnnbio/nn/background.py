"""Background input that every neuron receives on its own, besides that from the network."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from mnnbio.nn.state import Moments


class PoissonBackground(nn.Module):
    """Add independent Poisson input: mean ``J r`` and variance ``J² r`` of the current.

    Parameters
    ----------
    rate : float
        Rate of the input into each neuron, spikes/ms; ≥ 0.
    weight : float
        Jump of the membrane potential per spike, mV.
    """

    def __init__(self, rate: float, weight: float) -> None:
        super().__init__()
        if not 0 <= rate < float("inf"):
            raise ValueError(f"`rate` must be ≥ 0 spikes/ms, got {rate}")
        if not abs(weight) < float("inf"):
            raise ValueError(f"`weight` must be finite, in mV, got {weight}")
        self.rate, self.weight = float(rate), float(weight)

    @property
    def mean(self) -> float:
        """Mean of the current, mV/ms."""
        return self.rate * self.weight

    @property
    def variance(self) -> float:
        """Variance of the current, mV²/ms."""
        return self.rate * self.weight**2

    def forward(self, moments: Moments) -> Moments:
        """Return the moments of the currents with the background, for currents of shape (..., n)."""
        return add_independent(moments, self.mean, self.variance)

    def config(self) -> dict[str, Any]:
        """Return what builds this background again."""
        return {"kind": "poisson", "rate": self.rate, "weight": self.weight}

    def extra_repr(self) -> str:
        """Describe the settings."""
        return f"rate={self.rate}, weight={self.weight}"


class GaussianBackground(nn.Module):
    """Add independent Gaussian white noise to the currents.

    Parameters
    ----------
    std : float
        Its standard deviation, mV/√ms; ≥ 0.
    mean : float
        Its mean, mV/ms.
    """

    def __init__(self, std: float, mean: float = 0.0) -> None:
        super().__init__()
        if not 0 <= std < float("inf"):
            raise ValueError(f"`std` must be ≥ 0 mV/√ms, got {std}")
        if not abs(mean) < float("inf"):
            raise ValueError(f"`mean` must be finite, in mV/ms, got {mean}")
        self.std, self.mean = float(std), float(mean)

    @property
    def variance(self) -> float:
        """Variance of the current, mV²/ms."""
        return self.std**2

    def forward(self, moments: Moments) -> Moments:
        """Return the moments of the currents with the background, for currents of shape (..., n)."""
        return add_independent(moments, self.mean, self.variance)

    def config(self) -> dict[str, Any]:
        """Return what builds this background again."""
        return {"kind": "gaussian", "std": self.std, "mean": self.mean}

    def extra_repr(self) -> str:
        """Describe the settings."""
        return f"std={self.std}, mean={self.mean}"


Background = PoissonBackground | GaussianBackground


def add_independent(moments: Moments, mean: float, variance: float) -> Moments:
    """Return the moments of currents plus independent ones, all of one mean (mV/ms) and variance (mV²/ms)."""
    added = torch.full_like(moments.mean, variance)
    return Moments(moments.mean + mean, moments.covariance.add_diagonal(added))


def background_from_config(config: dict[str, Any]) -> Background:
    """Build the background that `config` describes.

    Raises
    ------
    ValueError
        If the kind is unknown.
    """
    options = dict(config)
    kind = options.pop("kind", None)
    if kind == "poisson":
        return PoissonBackground(**options)
    if kind == "gaussian":
        return GaussianBackground(**options)
    raise ValueError(f"Invalid background kind {kind!r}. Must be one of ['gaussian', 'poisson']")
