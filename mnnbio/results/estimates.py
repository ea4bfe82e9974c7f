"""Estimates from repeated spike counts, each with its standard error.

Every function takes samples along the first axis (trials and windows together) and returns value and standard error.
The standard errors assume that the samples are independent; windows much longer than the interspike interval are.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


class Estimate(NamedTuple):
    """An estimate and its standard error, NaN where the samples do not determine it."""

    value: Array
    se: Array


def estimate_mean(samples: npt.ArrayLike) -> Estimate:
    """Estimate the mean of samples, shape (n, ...)."""
    x = np.asarray(samples, dtype=np.float64)
    n = len(x)
    se = np.sqrt(_unbiased_variance(x) / n) if n > 1 else np.full(x.shape[1:], np.nan)
    return Estimate(x.mean(axis=0), se)


def estimate_variance(samples: npt.ArrayLike) -> Estimate:
    r"""Estimate the variance of samples, shape (n, ...).

    The standard error is that of the unbiased variance,
    :math:`\mathrm{Var}(s^2) = (m_4 - \frac{n-3}{n-1} s^4)/n`, with the sample's own fourth central moment.
    """
    x = np.asarray(samples, dtype=np.float64)
    n = len(x)
    if n < 2:
        nothing = np.full(x.shape[1:], np.nan)
        return Estimate(nothing, nothing)
    variance = _unbiased_variance(x)
    if n < 4:
        return Estimate(variance, np.full_like(variance, np.nan))
    fourth = ((x - x.mean(axis=0)) ** 4).mean(axis=0)
    return Estimate(variance, np.sqrt(np.maximum(fourth - (n - 3) / (n - 1) * variance**2, 0.0) / n))


def estimate_fano(samples: npt.ArrayLike) -> Estimate:
    """Estimate variance over mean of samples, shape (n, ...); the error by linear propagation of both.

    The influence of one sample on the ratio, ``(d² − s²)/m − s² d/m²`` with d its deviation from the mean m, gives the
    standard error with the correlation of mean and variance included. NaN where there are no spikes.
    """
    x = np.asarray(samples, dtype=np.float64)
    n = len(x)
    mean = x.mean(axis=0)
    safe = np.where(mean > 0, mean, np.nan)
    variance, _ = estimate_variance(x)
    if n < 4:
        return Estimate(variance / safe, np.full_like(mean, np.nan))
    deviation = x - mean
    influence = (deviation**2 - variance) / safe - variance / safe * deviation / safe
    return Estimate(variance / safe, np.sqrt(_unbiased_variance(influence) / n))


def estimate_covariance(samples: npt.ArrayLike) -> Estimate:
    """Estimate the covariance matrix of samples, shape (n, ..., neuron), and the error of every entry.

    The error is the spread of the products of deviations over √n; it needs no assumption on their distribution.
    """
    x = np.asarray(samples, dtype=np.float64)
    n = len(x)
    if n < 2:
        nothing = np.full((*x.shape[1:], x.shape[-1]), np.nan)
        return Estimate(nothing, nothing)
    d = np.moveaxis(x - x.mean(axis=0), 0, -2)  # (..., n, neuron)
    transposed = np.swapaxes(d, -1, -2)
    covariance = transposed @ d / (n - 1)
    if n < 4:
        return Estimate(covariance, np.full_like(covariance, np.nan))
    squares = (transposed**2) @ (d**2) / (n - 1)
    spread = np.maximum(squares - covariance**2 * (n - 1) / n, 0.0)
    return Estimate(covariance, np.sqrt(spread / n))


def _unbiased_variance(x: Array) -> Array:
    return np.asarray(x.var(axis=0, ddof=1))
