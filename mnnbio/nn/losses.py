"""Losses on the moments of a readout.

A decision is taken from spike counts in a window of T ms; the average output over the window has mean `mean` and
covariance ``covariance/T``. Losses on the mean alone describe an unlimited window, and never evaluate a covariance.

Targets are classes, (n,) integers, or values, (n, outputs). Losses that compare values take classes as values of one
for the class and zero for the others; see `as_values`.
"""

from __future__ import annotations

import math

import torch
from scipy.optimize import linear_sum_assignment
from torch.nn import functional

from mnnbio.moments.roots import cholesky
from mnnbio.nn.decisions import (
    check_window,
    log_decision_probabilities,
    log_winner_probability,
    sampled_outputs,
    window_covariance,
)
from mnnbio.nn.state import Moments


def as_values(target: torch.Tensor, like: torch.Tensor, label_smoothing: float = 0.0) -> torch.Tensor:
    """Return targets as values of the shape and dtype of `like`, (n, outputs).

    Parameters
    ----------
    target : Tensor, shape (n,) of integers, or (n, outputs)
        Classes, which become ``1 − label_smoothing`` for the class plus ``label_smoothing/outputs`` for all; or values,
        which stay what they are.
    like : Tensor, shape (n, outputs)
    label_smoothing : float
        In [0, 1].

    Raises
    ------
    ValueError
        If shapes do not fit, a class does not exist, or values are to be smoothed.
    """
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"`label_smoothing` must be in [0, 1], got {label_smoothing}")
    if target.is_floating_point():
        if label_smoothing:
            raise ValueError(f"`label_smoothing` is for classes; the target holds values of dtype {target.dtype}")
        if target.shape != like.shape:
            raise ValueError(
                f"target values must have the outputs' shape {tuple(like.shape)}, got {tuple(target.shape)}"
            )
        return target
    outputs = like.shape[-1]
    if target.shape != like.shape[:-1]:
        raise ValueError(f"target classes must have shape {tuple(like.shape[:-1])}, got {tuple(target.shape)}")
    if bool(((target < 0) | (target >= outputs)).any()):
        bad = target[(target < 0) | (target >= outputs)][0].item()
        raise ValueError(f"target classes must be between 0 and {outputs - 1}, got {bad}")
    one_hot = functional.one_hot(target, outputs).to(like.dtype)
    return (1 - label_smoothing) * one_hot + label_smoothing / outputs


def cross_entropy(moments: Moments, target: torch.Tensor, label_smoothing: float = 0.0) -> torch.Tensor:
    """Return the mean cross-entropy of the softmax of the mean output.

    Parameters
    ----------
    moments : Moments
        Of the readout, batch shape (n,).
    target : Tensor, shape (n,) of integers, or (n, outputs)
        Class of each sample, or probability of each class.
    label_smoothing : float
        Probability spread evenly over all classes, in [0, 1].

    Returns
    -------
    Tensor, scalar
        In nats.
    """
    return functional.cross_entropy(moments.mean, target, label_smoothing=label_smoothing)


def mean_squared_error(moments: Moments, target: torch.Tensor) -> torch.Tensor:
    """Return the mean squared difference of mean output and target, (n, outputs), or classes, (n,)."""
    return functional.mse_loss(moments.mean, as_values(target, moments.mean))


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
        If `window` or `samples` is out of range, or the covariance is not symmetric and positive semidefinite.
    """
    outputs = sampled_outputs(moments, window, samples, generator)
    return functional.cross_entropy(outputs.flatten(0, 1), target.repeat(samples), label_smoothing=label_smoothing)


def gaussian_likelihood(moments: Moments, target: torch.Tensor, window: float) -> torch.Tensor:
    """Return the mean negative log-likelihood of targets under the Gaussian of a window's average output.

    Parameters
    ----------
    moments : Moments
        Of the readout, batch shape (n,).
    target : Tensor, shape (n, outputs), or (n,) of integers
        Values the average output should take, or classes.
    window : float
        Length T of the average, ms; > 0.

    Returns
    -------
    Tensor, scalar
        In nats.

    Raises
    ------
    ValueError
        If `window` is not positive, or the covariance is not symmetric and positive definite.
    """
    check_window(window)
    factor = cholesky(window_covariance(moments, window))
    residual = as_values(target, moments.mean) - moments.mean
    scaled = torch.linalg.solve_triangular(factor, residual.unsqueeze(-1), upper=False).squeeze(-1)
    log_determinant = 2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    constant = moments.mean.shape[-1] * math.log(2 * math.pi)
    return 0.5 * (scaled.square().sum(-1) + log_determinant + constant).mean()


def fidelity_entropy(
    moments: Moments, target: torch.Tensor, window: float, samples: int = 128, label_smoothing: float = 0.0
) -> torch.Tensor:
    """Return ``−ln P(the target wins)``, averaged: how sure a decision from counts in a window is to be right.

    P is the probability that the target's average output over the window is the largest; see
    `mnnbio.nn.log_winner_probability`. No random numbers, and no softmax: the noise is that of the spikes. For
    classification only.

    Parameters
    ----------
    moments : Moments
        Of the readout, batch shape (n,).
    target : Tensor, shape (n,), integer
        Class of each sample.
    window : float
        Decision time T, ms; > 0.
    samples : int
        Quasi-random points for more than two classes; powers of two are best.
    label_smoothing : float
        Weight spread evenly over all classes, in [0, 1]; it costs as many times more as there are classes.

    Returns
    -------
    Tensor, scalar
        In nats.

    Raises
    ------
    ValueError
        If an argument is out of range, or the covariance does not allow a decision.
    """
    if target.is_floating_point():
        raise ValueError(f"fidelity entropy needs classes as targets, got values of dtype {target.dtype}")
    weights = as_values(target, moments.mean, label_smoothing)
    if label_smoothing:
        return -(weights * log_decision_probabilities(moments, window, samples)).sum(-1).mean()
    return -log_winner_probability(moments, target, window, samples).mean()


def earth_movers(
    moments: Moments,
    target: torch.Tensor,
    window: float,
    samples: int = 32,
    label_smoothing: float = 0.0,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """Return the earth mover's distance between samples of a window's average output and the target, averaged.

    How far probability has to be carried, at best, to turn one distribution into the other:

    - for classes, from the softmax of every sampled output to the (smoothed) target distribution, classes being one
      apart: ``½ Σ_k |p_k − q_k|``, ``1 − p_target`` without smoothing;
    - for values, the mean Euclidean distance of samples to the target;
    - for several target samples of every output, that of the best assignment of as many sampled outputs to them.

    Parameters
    ----------
    moments : Moments
        Of the readout, batch shape (n,).
    target : Tensor, shape (n,) of integers, (n, outputs), or (m, n, outputs)
        Classes, values, or m samples of values.
    window : float
        Length T of the average, ms; > 0.
    samples : int
        Number of samples of every output; m if the target has m.
    label_smoothing : float
        For classes, in [0, 1].
    generator : torch.Generator, optional
        Source of the samples; the global one by default.

    Returns
    -------
    Tensor, scalar
        A probability for classes, in units of the outputs for values.

    Raises
    ------
    ValueError
        If an argument is out of range, shapes do not fit, or the covariance is not positive semidefinite.
    """
    mean = moments.mean
    if target.ndim == mean.ndim + 1 and target.shape[1:] == mean.shape:
        outputs = sampled_outputs(moments, window, len(target), generator)
        return torch.linalg.vector_norm(outputs - _assigned(outputs, target), dim=-1).mean()
    values = as_values(target, mean, label_smoothing)
    outputs = sampled_outputs(moments, window, samples, generator)
    if target.is_floating_point():
        return torch.linalg.vector_norm(outputs - values, dim=-1).mean()
    return 0.5 * (outputs.softmax(-1) - values).abs().sum(-1).mean()


@torch.no_grad()
def _assigned(outputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return the target samples, (m, n, outputs), in the order that brings them closest to the outputs."""
    columns = [
        linear_sum_assignment(torch.cdist(ours, theirs).cpu().numpy())[1]
        for ours, theirs in zip(outputs.unbind(1), target.unbind(1), strict=True)
    ]
    order = torch.stack([torch.as_tensor(column) for column in columns], dim=1).to(target.device)
    return target.gather(0, order.unsqueeze(-1).expand(target.shape))
