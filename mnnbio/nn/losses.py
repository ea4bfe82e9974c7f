"""Losses on the moments of a readout.

A decision is taken from spike counts in a window of T ms; the average output over the window has mean `mean` and
covariance ``covariance/T``. Losses on the mean alone describe an unlimited window.
"""

from __future__ import annotations

import math

import torch
from torch.nn import functional

from mnnbio.moments.covariance import cholesky
from mnnbio.nn.state import Moments

# Share of the mean variance that sampled outputs have of their own. Two outputs read with opposite weights, as two
# classes tend to be, have a singular covariance, and this is what lets it be factored in single precision.
OWN_NOISE = 1e-5


def cross_entropy(moments: Moments, target: torch.Tensor, label_smoothing: float = 0.0) -> torch.Tensor:
    """Return the mean cross-entropy of the softmax of the mean output.

    Parameters
    ----------
    moments : Moments
        Of the readout, batch shape (n,).
    target : Tensor, shape (n,), integer
        Class of each sample.
    label_smoothing : float
        Probability spread evenly over all classes, in [0, 1].

    Returns
    -------
    Tensor, scalar
        In nats.
    """
    return functional.cross_entropy(moments.mean, target, label_smoothing=label_smoothing)


def mean_squared_error(moments: Moments, target: torch.Tensor) -> torch.Tensor:
    """Return the mean squared difference of mean output and target, both (n, outputs)."""
    return functional.mse_loss(moments.mean, target)


def sampled_cross_entropy(
    moments: Moments,
    target: torch.Tensor,
    window: float,
    samples: int = 1,
    label_smoothing: float = 0.0,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """Return the cross-entropy of decisions from counts in a window, averaged over Gaussian samples of them.

    Parameters
    ----------
    moments : Moments
        Of the readout, batch shape (n,).
    target : Tensor, shape (n,), integer
        Class of each sample.
    window : float
        Decision time T, ms; > 0.
    samples : int
        Number of samples of every output; ≥ 1.
    label_smoothing : float
        As in `cross_entropy`.
    generator : torch.Generator, optional
        Source of the samples; the global one by default.

    Returns
    -------
    Tensor, scalar
        In nats.

    Raises
    ------
    ValueError
        If `window` or `samples` is out of range.
    """
    _check_window(window)
    if samples < 1:
        raise ValueError(f"`samples` must be ≥ 1, got {samples}")
    mean, covariance = moments.mean, moments.covariance
    own = OWN_NOISE * covariance.diagonal().mean(-1, keepdim=True).expand(mean.shape)
    factor = cholesky(covariance.add_diagonal(own).to_dense() / window)
    noise = torch.randn(samples, *mean.shape, dtype=mean.dtype, device=mean.device, generator=generator)
    outputs = mean + (factor @ noise.unsqueeze(-1)).squeeze(-1)
    return functional.cross_entropy(outputs.flatten(0, 1), target.repeat(samples), label_smoothing=label_smoothing)


def gaussian_likelihood(moments: Moments, target: torch.Tensor, window: float) -> torch.Tensor:
    """Return the mean negative log-likelihood of targets under the Gaussian of a window's average output.

    Parameters
    ----------
    moments : Moments
        Of the readout, batch shape (n,).
    target : Tensor, shape (n, outputs)
        Values the average output should take.
    window : float
        Length T of the average, ms; > 0.

    Returns
    -------
    Tensor, scalar
        In nats.

    Raises
    ------
    ValueError
        If `window` is not positive.
    """
    _check_window(window)
    factor = cholesky(moments.covariance.to_dense() / window)
    scaled = torch.linalg.solve_triangular(factor, (target - moments.mean).unsqueeze(-1), upper=False).squeeze(-1)
    log_determinant = 2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    constant = target.shape[-1] * math.log(2 * math.pi)
    return 0.5 * (scaled.square().sum(-1) + log_determinant + constant).mean()


def _check_window(window: float) -> None:
    if not window > 0:
        raise ValueError(f"`window` must be > 0 ms, got {window}")
