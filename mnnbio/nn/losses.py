"""Losses on the moments of a readout, and the decisions that it takes from spike counts in a window.

The average output over a window of T ms is Gaussian with mean `mean` and covariance ``covariance/T`` (long-window
limit). Losses on the mean alone describe an unlimited window, and never evaluate a covariance.

Targets are classes, (n,) integers, or values, (n, outputs). Losses that compare values take classes as values of one
for the class and zero for the others; see `as_values`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from scipy.optimize import linear_sum_assignment
from torch.nn import functional

from mnnbio.machine import check_choice, require_integer
from mnnbio.moments import cholesky, log_orthant_probability
from mnnbio.nn.state import Moments, looked_at
from mnnbio.units import real_number, shown

# Share of the mean variance that sampled outputs have of their own. Two outputs read with opposite weights, as two
# classes tend to be, have a singular covariance, and this is what lets it be factored in single precision.
OWN_NOISE = 1e-5

# What is averaged over sampled outputs: their losses, or the probabilities that they give.
Average = Literal["losses", "probabilities"]

# Angles near 0 and π have gradients without bound: cosines are made smaller by this factor.
COSINE_SCALE = 0.99

# Share of the runner-up in `decision_entropy`; the other outputs share the rest.
RUNNER_UP = 0.8


def check_window(window: float) -> None:
    """Raise a `ValueError` unless the window (ms) is positive."""
    if not real_number(window, "window") > 0:
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
    require_integer("samples", samples, 1)
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
    if not isinstance(winner, torch.Tensor) or winner.is_floating_point():
        raise ValueError(f"winners must be a tensor of whole numbers between 0 and {size - 1}, got {shown(winner)}")
    if bool(((winner < 0) | (winner >= size)).any()):
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
    covariance = own - cross[..., :, None] - cross[..., None, :] + rest
    require_integer("samples", samples, 1)
    try:
        return log_orthant_probability(difference, covariance, samples)
    except ValueError as error:
        need = f"a decision between {size} outputs needs {size - 1} differences"
        raise ValueError(_singular(covariance, need)) from error


def _singular(matrix: torch.Tensor, need: str) -> str:
    """Return that variables of these covariances do not all vary on their own, and what to do."""
    size = matrix.shape[-1]
    rank = torch.linalg.matrix_rank(matrix, hermitian=True, rtol=10 * size * torch.finfo(matrix.dtype).eps).min()
    return (
        f"{need} that vary on their own, the covariance has rank {int(rank)}: N hidden neurons cannot give more than "
        "N, and silent neurons none. Read more neurons, give the readout noise of its own (readout_noise=True of "
        "MomentMLP), or take a loss that needs no inverse, such as 'sampled_cross_entropy' or 'earth_movers'"
    )


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
    _check_label_smoothing(label_smoothing)
    _require_tensor(target)
    if target.is_floating_point():
        if label_smoothing:
            raise ValueError(f"`label_smoothing` is for classes; the target holds values of dtype {target.dtype}")
        if target.shape != like.shape:
            raise ValueError(
                f"target values must have the outputs' shape {tuple(like.shape)}, got {tuple(target.shape)}"
            )
        return target
    outputs = like.shape[-1]
    _check_classes(target, like)
    one_hot = functional.one_hot(target, outputs).to(like.dtype)
    return (1 - label_smoothing) * one_hot + label_smoothing / outputs


def _check_label_smoothing(label_smoothing: float) -> None:
    if not 0 <= real_number(label_smoothing, "label_smoothing") <= 1:
        raise ValueError(f"`label_smoothing` must be in [0, 1], got {label_smoothing}")


def _require_tensor(target: torch.Tensor) -> None:
    if not isinstance(target, torch.Tensor) or target.is_complex():
        raise TypeError(f"targets must be a tensor of classes or of real values, got {shown(target)}")


def _check_classes(target: torch.Tensor, like: torch.Tensor) -> None:
    """Raise a `ValueError` unless classes are as many as the samples of outputs, and exist."""
    outputs = like.shape[-1]
    if target.shape != like.shape[:-1]:
        raise ValueError(f"target classes must have shape {tuple(like.shape[:-1])}, got {tuple(target.shape)}")
    if looked_at(((target < 0) | (target >= outputs)).any()):
        bad = target[(target < 0) | (target >= outputs)][0].item()
        raise ValueError(f"target classes must be between 0 and {outputs - 1}, got {bad}")


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
    _check_label_smoothing(label_smoothing)
    _require_tensor(target)
    if not target.is_floating_point():
        _check_classes(target, moments.mean)
    elif target.shape != moments.mean.shape:
        shape = tuple(moments.mean.shape)
        raise ValueError(f"target probabilities must have the outputs' shape {shape}, got {tuple(target.shape)}")
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
    average: Average = "losses",
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
    average : {"losses", "probabilities"}
        Whether the mean is taken of the cross-entropies of the samples, or of their softmax, ``−ln ⟨p_target⟩``: the
        cross-entropy of the decision as it is taken over many windows. Of one sample they are the same.

    Returns
    -------
    Tensor, scalar
        In nats.

    Raises
    ------
    ValueError
        If `window` or `samples` is out of range, or the covariance is not symmetric and positive semidefinite.
    """
    check_choice("average", average, sorted(get_args(Average)))
    _check_label_smoothing(label_smoothing)
    _require_tensor(target)
    if target.is_floating_point():
        raise ValueError(f"sampled cross-entropy needs classes as targets, got values of dtype {target.dtype}")
    _check_classes(target, moments.mean)
    outputs = sampled_outputs(moments, window, samples, generator)
    if average == "probabilities":
        weights = as_values(target, moments.mean, label_smoothing)
        log_probabilities = outputs.log_softmax(-1).logsumexp(0) - math.log(samples)
        return -(weights * log_probabilities).sum(-1).mean()
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
    residual = as_values(target, moments.mean) - moments.mean
    matrix = window_covariance(moments, window)
    try:
        factor = cholesky(matrix)
    except ValueError as error:
        outputs = matrix.shape[-1]
        raise ValueError(_singular(matrix, f"the likelihood of {outputs} outputs needs {outputs}")) from error
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
    _require_tensor(target)
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
    _require_tensor(target)
    if target.ndim == mean.ndim + 1 and target.shape[1:] == mean.shape:
        outputs = sampled_outputs(moments, window, len(target), generator)
        return torch.linalg.vector_norm(outputs - _assigned(outputs, target), dim=-1).mean()
    values = as_values(target, mean, label_smoothing)
    outputs = sampled_outputs(moments, window, samples, generator)
    if target.is_floating_point():
        return torch.linalg.vector_norm(outputs - values, dim=-1).mean()
    return 0.5 * (outputs.softmax(-1) - values).abs().sum(-1).mean()


def sampled_angle(
    moments: Moments,
    target: torch.Tensor,
    window: float,
    samples: int = 32,
    label_smoothing: float = 0.0,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """Return the angle between samples of a window's average output and the target, averaged.

    ``arccos(0.99 cos α)``, with α the angle between two vectors of outputs: lengths do not count, and the factor keeps
    gradients finite. For targets that are directions.

    Parameters
    ----------
    moments : Moments
        Of the readout, batch shape (n,).
    target : Tensor, shape (n, outputs), or (n,) of integers
        Values, or classes.
    window : float
        Length T of the average, ms; > 0.
    samples : int
        Number of samples of every output.
    label_smoothing : float
        For classes, in [0, 1].
    generator : torch.Generator, optional
        Source of the samples; the global one by default.

    Returns
    -------
    Tensor, scalar
        Radians; at least 0.14, arccos(0.99).

    Raises
    ------
    ValueError
        If an argument is out of range, shapes do not fit, or the covariance is not positive semidefinite.
    """
    values = as_values(target, moments.mean, label_smoothing)
    outputs = sampled_outputs(moments, window, samples, generator)
    return torch.arccos(COSINE_SCALE * functional.cosine_similarity(outputs, values, dim=-1)).mean()


def decision_entropy(
    moments: Moments,
    target: torch.Tensor,
    window: float,
    weight: float = 1.0,
    shares: Sequence[float] | None = None,
    label_smoothing: float = 0.0,
) -> torch.Tensor:
    """Return the cross-entropy of the mean output, plus how unsure decisions are where right, minus where wrong.

    The largest mean output is compared with each other one: their difference over a window is Gaussian, and p the
    probability that it is positive. The entropy ``−p ln p − (1 − p) ln(1 − p)`` of these pairs, averaged with weights,
    is added for samples whose largest mean is the target's, and subtracted for the others. For classification only.

    Parameters
    ----------
    moments : Moments
        Of the readout, batch shape (n,), at least two outputs.
    target : Tensor, shape (n,), integer
        Class of each sample.
    window : float
        Decision time T, ms; > 0.
    weight : float
        Of the entropies against the cross-entropy.
    shares : sequence of float, optional
        Weights of the pairs, from the second largest mean output to the smallest. By default the second has 0.8 and the
        others share 0.2 (of two outputs there is one pair). ``[1, 0, …]`` is the runner-up alone.
    label_smoothing : float
        Of the cross-entropy, in [0, 1].

    Returns
    -------
    Tensor, scalar
        In nats.

    Raises
    ------
    ValueError
        If an argument is out of range, or the covariance is not symmetric and positive semidefinite.
    """
    _require_tensor(target)
    if target.is_floating_point():
        raise ValueError(f"decision entropy needs classes as targets, got values of dtype {target.dtype}")
    entropy = cross_entropy(moments, target, label_smoothing)
    mean, matrix = moments.mean, window_covariance(moments, window)
    weights = _pair_weights(mean, shares)
    order = mean.argsort(dim=-1, descending=True)
    best, others = order[..., :1], order[..., 1:]
    own = matrix.diagonal(dim1=-2, dim2=-1)
    row = matrix.gather(-2, best.unsqueeze(-1).expand(*best.shape, mean.shape[-1])).squeeze(-2)
    variance = own.gather(-1, best) + own.gather(-1, others) - 2 * row.gather(-1, others)
    if looked_at((variance.detach() <= 0).any()):
        raise ValueError(_singular(matrix, "decisions between pairs of outputs need differences"))
    z = (mean.gather(-1, best) - mean.gather(-1, others)) / variance.sqrt()
    log_right, log_wrong = torch.special.log_ndtr(z), torch.special.log_ndtr(-z)
    unsure = -(log_right.exp() * log_right + log_wrong.exp() * log_wrong)
    sign = torch.where(best.squeeze(-1) == target, 1.0, -1.0)
    return entropy + weight * (sign * (unsure * weights).sum(-1)).mean()


def _pair_weights(mean: torch.Tensor, shares: Sequence[float] | None) -> torch.Tensor:
    """Return the weights of the pairs of the largest output with the others."""
    pairs = mean.shape[-1] - 1
    if pairs < 1:
        raise ValueError(f"a decision needs at least 2 outputs, got {pairs + 1}")
    if shares is None:
        rest = (1 - RUNNER_UP) / max(pairs - 1, 1)
        return mean.new_tensor([RUNNER_UP if pairs > 1 else 1.0] + [rest] * (pairs - 1))
    if len(shares) != pairs:
        raise ValueError(f"`shares` must have one number for each of {pairs} pairs of outputs, got {len(shares)}")
    return mean.new_tensor([real_number(share, "shares") for share in shares])


@torch.no_grad()
def _assigned(outputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return the target samples, (m, n, outputs), in the order that brings them closest to the outputs."""
    columns = [
        linear_sum_assignment(torch.cdist(ours, theirs).cpu().numpy())[1]
        for ours, theirs in zip(outputs.unbind(1), target.unbind(1), strict=True)
    ]
    order = torch.stack([torch.as_tensor(column) for column in columns], dim=1).to(target.device)
    return target.gather(0, order.unsqueeze(-1).expand(target.shape))
