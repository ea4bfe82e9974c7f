"""The spiking nonlinearity as a module: moments of the current in, moments of the spike trains out."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from mnnbio.lif import LIFParameters
from mnnbio.moments import moment_activation
from mnnbio.nn.state import Moments


def square_root(variance: torch.Tensor) -> torch.Tensor:
    """Return √variance with gradient 0 instead of infinity where the variance is exactly 0."""
    positive = variance > 0
    return torch.where(positive, torch.where(positive, variance, 1.0).sqrt(), 0.0 * variance)


class MomentActivation(nn.Module):
    """Map the moments of input currents to those of the spike trains of leaky integrate-and-fire neurons.

    Mean and variance follow `mnnbio.moments.moment_activation`; off the diagonal, ``C_ij → gain_i gain_j C_ij``
    (linear response).

    Parameters
    ----------
    lif : LIFParameters
        The neurons, alike or one value per neuron.
    dtype, device
        Of the buffers `tau_m`, `t_ref` (ms), `v_th`, `v_reset` (mV).
    """

    tau_m: torch.Tensor
    v_th: torch.Tensor
    v_reset: torch.Tensor
    t_ref: torch.Tensor

    def __init__(
        self,
        lif: LIFParameters,
        *,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        for name, value in lif.items():
            buffer = torch.tensor(np.array(value), dtype=dtype or torch.get_default_dtype(), device=device)
            self.register_buffer(name, buffer)

    def forward(self, moments: Moments) -> Moments:
        """Return the moments of the spike trains: spikes/ms, and long-window count covariance per ms."""
        rate, variance, gain = moment_activation(moments.mean, square_root(moments.variance), self)
        return Moments(rate, moments.covariance.scale(gain).with_diagonal(variance))
