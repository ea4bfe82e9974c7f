"""Warnings of where the theory of a circuit is doubtful, each with the number that it is about."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from mnnbio.circuit import Population
from mnnbio.theory.wired_response import Stability

# The diffusion approximation is called doubtful where the asymmetry of jumps may change rates by more than this
# fraction, in neurons that fire at all (spikes/ms).
TOLERATED_CHANGE = 0.05
LOWEST_RATE = 1e-4

# Correlation of two currents above which the linear rule misses the covariance of the trains. With shared noise of
# correlation 0.5, 0.7 and 0.9 simulated count covariances are 1.07-1.09, 1.10-1.12 and 1.13-1.32 times the rule's.
TOLERATED_CORRELATION = 0.7

# Real part of an eigenvalue of A W above which fluctuations are amplified, at least 25-fold in power, by what linear
# response takes from the state without them. Simulated covariances of summed activity are met within 6 % at spectral
# radii up to 0.26 and within 20 % at 0.4 (docs/recurrent.md).
TOLERATED_EIGENVALUE = 0.8


class FiniteWeightWarning(UserWarning):
    """Single jumps of the membrane potential are too large to be treated as a diffusion."""


class CorrelationWarning(UserWarning):
    """Input currents are too strongly correlated for the linear rule of covariances."""


class LinearResponseWarning(UserWarning):
    """A recurrent circuit is close to an instability, where fluctuations are not small."""


def warn_of_finite_weights(
    population: Population, std: Tensor, third: Tensor, rate: Tensor, gain: Tensor, *, depth: int = 4
) -> None:
    """Warn where the asymmetry of the jumps is felt at threshold; `depth` is how far up the caller of `predict` is.

    The mean size of the jumps that carry the variance, ``ΣrJ³/(3 Σ)``, is the scale by which a threshold is overshot or
    missed; displacing it by so much changes the rate by ``gain/(tau_m rate)`` times it.
    """
    tau_m = torch.tensor(population.lif.tau_m)
    displacement = (third / torch.where(std > 0, 3 * std**2, torch.inf)).abs()
    firing = rate > LOWEST_RATE
    change = torch.where(firing, displacement * gain / (tau_m * torch.where(firing, rate, 1.0)), 0.0)
    worst = change.amax(0)
    if bool((worst > TOLERATED_CHANGE).any()):
        place = int(worst.argmax())
        affected = (change > TOLERATED_CHANGE).double().mean().item()
        warnings.warn(
            f"the weights into {population.name!r} are not small: single jumps act like a threshold displaced by up to "
            f"{displacement[:, place].max().item():.2g} mV, a change of rate of {worst.max().item():.0%} in neuron "
            f"{place}, and of more than {TOLERATED_CHANGE:.0%} in {affected:.1%} of all cases. A diffusion may be off "
            "by as much there: with a time step, theory='first_passage' is exact in feed-forward circuits, and "
            "closure='renewal' takes jumps of their true size in all with delta synapses",
            FiniteWeightWarning,
            stacklevel=depth,
        )


def warn_of_correlations(population: Population, between: Tensor, std: Tensor, rate: Tensor) -> None:
    """Warn where two firing neurons receive currents whose correlation is too large for linear response."""
    scale = torch.where((std > 0) & (rate > LOWEST_RATE), 1 / torch.where(std > 0, std, 1.0), 0.0)
    correlation = (scale[..., :, None] * between * scale[..., None, :]).abs().triu(diagonal=1)
    largest = correlation.amax(0)
    if bool((largest > TOLERATED_CORRELATION).any()):
        one, other = divmod(int(largest.argmax()), population.size)
        share = (correlation > TOLERATED_CORRELATION).any(0).double().sum().item() / max(
            1, largest.numel() - len(largest)
        )
        warnings.warn(
            f"the currents into neurons {one} and {other} of {population.name!r} have a correlation of up to "
            f"{largest.max().item():.2f}, and {2 * share:.1%} of all pairs one above {TOLERATED_CORRELATION}; the "
            "covariances of their spike trains are larger than the linear rule predicts, by 10 % at 0.7 and up to 30 % "
            "at 0.9",
            CorrelationWarning,
            stacklevel=4,
        )


def warn_of_amplification(eigenvalues: Stability) -> None:
    """Warn where an eigenvalue is so close to 1 that linear response breaks down."""
    if eigenvalues.largest_real > TOLERATED_EIGENVALUE:
        warnings.warn(
            "the effective weights of the circuit have an eigenvalue with the real part "
            f"{eigenvalues.largest_real:.2f}, close to 1, where linear response diverges. Its covariances are "
            f"amplified up to {(1 - eigenvalues.largest_real) ** -2:.0f} times, more than those of finite fluctuations",
            LinearResponseWarning,
            stacklevel=5,
        )
