"""What flows between modules: the first two moments of a layer's activity."""

from __future__ import annotations

from typing import NamedTuple

import torch

from mnnbio.moments import Covariance


class Moments(NamedTuple):
    """Mean and covariance of spike trains or of input currents.

    Attributes
    ----------
    mean : Tensor, shape (..., n)
        Spikes/ms for spike trains, mV/ms for currents.
    covariance : Covariance
        One of the kinds of `mnnbio.moments`, batch dimensions leading: long-window count covariance per time
        (spikes²/ms) for spike trains, mV²/ms for currents.
    """

    mean: torch.Tensor
    covariance: Covariance

    @property
    def variance(self) -> torch.Tensor:
        """Diagonal of the covariance, shape (..., n)."""
        return self.covariance.diagonal()


def looked_at(condition: torch.Tensor) -> bool | None:
    """Return whether a condition holds; None where values cannot be looked at.

    That is while a graph is compiled, or inside `torch.func.vmap`: there, inputs are not checked.
    """
    if torch.compiler.is_compiling():
        return None
    try:
        return bool(condition)
    except RuntimeError:
        return None
