"""What a readout decides from spike counts in a window: the distribution of its average output and of its winner.

The average output over a window of T ms is Gaussian with mean `mean` and covariance ``covariance/T`` (long-window
limit).
"""

from __future__ import annotations

import torch

from mnnbio.moments.orthant import log_orthant_probability
from mnnbio.moments.roots import cholesky
from mnnbio.nn.state import Moments

# Share of the mean variance that sampled outputs have of their own. Two outputs read with opposite weights, as two
# classes tend to be, have a singular covariance, and this is what lets it be factored in single precision.
OWN_NOISE = 1e-5


def check_window(window: float) -> None:
    """Raise a `ValueError` unless the window (ms) is positive."""
    if not window > 0:
        raise ValueError(f"`window` must be > 0 ms, got {window}")


def window_covariance(moments: Moments, window: float) -> torch.Tensor:
    """Return the covariance of the average output over a window, (..., outputs, outputs).

    Raises
    ------
    ValueError
        If the window is not positive, or the covariance is not symmetric or not positive semidefinite (to rounding).
    """
    check_window(window)
    matrix = moments.covariance.to_dense()
    with torch.no_grad():
        own = OWN_NOISE * matrix.diagonal(dim1=-2, dim2=-1).mean(-1)
        eye = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
        status = torch.linalg.cholesky_ex(matrix + own[..., None, None] * eye).info
        # Cholesky reads one triangle: the other must be its mirror.
        difference = (matrix - matrix.mT).abs().amax() - 1e3 * torch.finfo(matrix.dtype).eps * matrix.abs().amax()
        if bool((status != 0).any() | (difference > 0)):
            moments.covariance.check()  # says what is wrong, or that it was rounding
    size = moments.mean.shape[-1]
    return (matrix / window).expand(*moments.mean.shape, size)


def sampled_outputs(
    moments: Moments, window: float, samples: int, generator: torch.Generator | None = None
) -> torch.Tensor:
    """Return Gaussian samples of the average output over a window, differentiable in mean and covariance.

    Parameters
    ----------
    moments : Moments
        Of the readout, shape (..., outputs).
    window : float
        T, ms; > 0.
    samples : int
        Samples of every output; ≥ 1.
    generator : torch.Generator, optional
        Their source; the global one by default.

    Returns
    -------
    Tensor, shape (samples, ..., outputs)
        ``mean + L z`` with L the Cholesky factor of the covariance, to which `OWN_NOISE` of the mean variance is
        added.

    Raises
    ------
    ValueError
        If an argument is out of range, or the covariance is not positive semidefinite.
    """
    if samples < 1:
        raise ValueError(f"`samples` must be ≥ 1, got {samples}")
    matrix, mean = window_covariance(moments, window), moments.mean
    own = OWN_NOISE * matrix.diagonal(dim1=-2, dim2=-1).mean(-1, keepdim=True)
    root = cholesky(matrix + torch.diag_embed(own.expand(mean.shape)))
    noise = torch.randn(samples, *mean.shape, dtype=mean.dtype, device=mean.device, generator=generator)
    return mean + (root @ noise.unsqueeze(-1)).squeeze(-1)


def log_winner_probability(moments: Moments, winner: torch.Tensor, window: float, samples: int = 128) -> torch.Tensor:
    """Return the logarithm of the probability that an output is the largest of all, in a window's average.

    The differences between the winner and each other output are Gaussian; the probability that all are positive is
    exact for two outputs, otherwise it comes from `log_orthant_probability`.

    Parameters
    ----------
    moments : Moments
        Of the readout, shape (..., outputs), at least two outputs.
    winner : Tensor of int64, shape (...)
        Index of the output.
    window : float
        T, ms; > 0.
    samples : int
        Quasi-random points.

    Returns
    -------
    Tensor, shape (...)
        Smooth in mean and covariance; no random numbers.

    Raises
    ------
    ValueError
        If there is a single output, an argument is out of range, or a difference between outputs has no variance.
    """
    matrix, mean = window_covariance(moments, window), moments.mean
    size = mean.shape[-1]
    if size < 2:
        raise ValueError(f"a decision needs at least 2 outputs, got {size}")
    if winner.is_floating_point() or bool(((winner < 0) | (winner >= size)).any()):
        raise ValueError(
            f"winners must be whole numbers between 0 and {size - 1}, got {winner.flatten().tolist()[:5]}…"
        )
    return _log_winner_probability(mean, matrix, winner, samples)


def decision_probabilities(moments: Moments, window: float, samples: int = 128) -> torch.Tensor:
    """Return the probability of every output to be the largest in a window's average, shape (..., outputs).

    They sum to one up to the error of `log_winner_probability`, whose parameters these are.
    """
    return log_decision_probabilities(moments, window, samples).exp()


def log_decision_probabilities(moments: Moments, window: float, samples: int = 128) -> torch.Tensor:
    """Return the logarithm of `decision_probabilities`, finite however small they are."""
    matrix, mean = window_covariance(moments, window), moments.mean
    size = mean.shape[-1]
    if size < 2:
        raise ValueError(f"a decision needs at least 2 outputs, got {size}")
    winner = torch.arange(size, device=mean.device).expand(mean.shape)
    return _log_winner_probability(
        mean.unsqueeze(-2).expand(*mean.shape, size),
        matrix.unsqueeze(-3).expand(*mean.shape, size, size),
        winner,
        samples,
    )


def _log_winner_probability(
    mean: torch.Tensor, matrix: torch.Tensor, winner: torch.Tensor, samples: int
) -> torch.Tensor:
    size = mean.shape[-1]
    index = torch.arange(size - 1, device=mean.device)
    others = index + (index >= winner.unsqueeze(-1))  # (..., outputs - 1)
    place = winner.unsqueeze(-1)
    difference = mean.gather(-1, place) - mean.gather(-1, others)
    # Row of the winner, then what is left of the matrix without it.
    row = matrix.gather(-2, place.unsqueeze(-1).expand(*place.shape, size)).squeeze(-2)
    cross = row.gather(-1, others)
    rest = matrix.gather(-2, others.unsqueeze(-1).expand(*others.shape, size))
    rest = rest.gather(-1, others.unsqueeze(-2).expand(*others.shape, size - 1))
    own = row.gather(-1, place).unsqueeze(-1)
    return log_orthant_probability(difference, own - cross[..., :, None] - cross[..., None, :] + rest, samples)
