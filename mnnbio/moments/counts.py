"""Variance of spike counts in finite windows."""

from __future__ import annotations

import torch
from torch import Tensor


def count_variance(rate: Tensor, fano: Tensor, skewness: Tensor, window: float | Tensor) -> Tensor:
    """Return the variance of the spike count of a stationary renewal train in a window."""
    return fano * rate * window + 1 / 6 + fano**2 / 2 - skewness / 3
