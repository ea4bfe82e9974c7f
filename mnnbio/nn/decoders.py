"""What is read from the outputs of a network: their mean, or the moments of their average over a window."""

from __future__ import annotations

import torch
from torch import nn

from mnnbio.nn.decisions import check_window
from mnnbio.nn.state import Moments


class MeanDecoder(nn.Module):
    """Read the mean alone: the average over an unlimited window."""

    def forward(self, moments: Moments) -> torch.Tensor:
        """Return the mean output, shape (..., outputs)."""
        return moments.mean


class WindowDecoder(nn.Module):
    """Read the average over a window, with its covariance: ``mean`` and ``covariance/T``.

    Parameters
    ----------
    window : float
        T, ms; > 0. Long against the interspike intervals: the covariance is its long-window limit.

    Raises
    ------
    ValueError
        If the window is not positive.
    """

    def __init__(self, window: float) -> None:
        super().__init__()
        check_window(window)
        self.window = float(window)

    def forward(self, moments: Moments) -> Moments:
        """Return the moments of the average, evaluated no further than the outputs' own."""
        scale = moments.mean.new_full(moments.mean.shape[-1:], self.window**-0.5)
        return Moments(moments.mean, moments.covariance.scale(scale))

    def extra_repr(self) -> str:
        """Describe the settings."""
        return f"window={self.window}"
