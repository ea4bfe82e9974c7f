"""Estimates from repeated spike counts, each with its standard error.

Functions ``estimate_*`` take samples along the first axis (trials and windows together) and return value and standard
error. The standard errors assume that the samples are independent; windows much longer than the interspike interval
are.

Functions ``*_of_sums`` make the same estimates from sums of powers and products of counts, without the counts. The sums
are integers modulo 2⁶⁴. Shifted to a whole number near the mean, still modulo 2⁶⁴, they become sums of powers of small
deviations, exact again, so that nothing cancels however large the counts are.
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
    square = np.square(x - x.mean(axis=0))
    fourth = np.square(square, out=square).mean(axis=0)  # a power of 4 takes ten times as long
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
    if n < 4:
        variance = _unbiased_variance(x) if n > 1 else np.full(mean.shape, np.nan)
        return Estimate(variance / safe, np.full_like(mean, np.nan))
    d = x - mean
    square = d * d
    # Sums of powers of the deviations, of which the spread of the influence is made without an array of it.
    second, third, fourth = (np.einsum("i...,i...->...", *pair) / n for pair in ((d, d), (square, d), (square, square)))
    variance = second * n / (n - 1)
    fano = variance / safe
    mean_square = (fourth - 2 * variance * second + variance**2) - 2 * fano * third + fano**2 * second
    spread = np.maximum(mean_square - (second - variance) ** 2, 0.0) * n / (n - 1)
    return Estimate(fano, np.sqrt(spread / n) / safe)


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


Uint64 = npt.NDArray[np.uint64]


class _Central(NamedTuple):
    """Mean, and second to fourth central moments of the samples (sums over n)."""

    mean: Array
    second: Array
    third: Array
    fourth: Array


def variance_of_sums(number: npt.ArrayLike, powers: Uint64) -> Estimate:
    """Estimate the variance as `estimate_variance` does.

    Parameters
    ----------
    number : array_like of int, shape (...)
        Numbers of samples.
    powers : ndarray of uint64, shape (..., 4, neuron)
        Sums of the first to fourth powers of integer samples, modulo 2⁶⁴.
    """
    n, moments = _central(number, powers)
    variance = _unless(n < 2, moments.second * n / np.maximum(n - 1, 1))
    spread = np.maximum(moments.fourth - (n - 3) / np.maximum(n - 1, 1) * variance**2, 0.0)
    return Estimate(variance, _unless(n < 4, np.sqrt(spread / n)))


def fano_of_sums(number: npt.ArrayLike, powers: Uint64) -> Estimate:
    """Estimate variance over mean as `estimate_fano` does; parameters as of `variance_of_sums`."""
    n, moments = _central(number, powers)
    mean = np.where(moments.mean > 0, moments.mean, np.nan)
    variance = variance_of_sums(number, powers).value
    # The influence of a sample is (d² - variance)/mean - variance d/mean², d its deviation: its variance in moments.
    slope = variance / mean
    influence = moments.fourth - moments.second**2 - 2 * slope * moments.third + slope**2 * moments.second
    spread = np.maximum(influence / mean**2, 0.0) * n / np.maximum(n - 1, 1)
    return Estimate(variance / mean, _unless(n < 4, np.sqrt(spread / n)))


def covariance_of_sums(number: npt.ArrayLike, powers: Uint64, products: Uint64) -> Estimate:
    """Estimate the covariance matrix as `estimate_covariance` does.

    Parameters
    ----------
    number, powers
        As of `variance_of_sums`.
    products : ndarray of uint64, shape (..., 3, neuron, neuron)
        Sums of ``c_i c_j``, ``c_i² c_j`` and ``c_i² c_j²``, modulo 2⁶⁴.
    """
    count = np.asarray(number).astype(np.uint64)
    p = _pivot(count, powers)
    n = np.asarray(number, dtype=np.float64)[..., None, None]
    first, second = (powers[..., k, :] for k in (0, 1))
    i, j = (lambda x: x[..., :, None]), (lambda x: x[..., None, :])
    c11, c21, c22 = (products[..., k, :, :] for k in range(3))
    c12 = np.swapaxes(c21, -1, -2)
    two, four, all_ = np.uint64(2), np.uint64(4), count[..., None, None]
    s11 = c11 - i(p) * j(first) - i(first) * j(p) + all_ * i(p) * j(p)
    s21 = c21 - two * i(p) * c11 + i(p * p) * j(first) - i(second) * j(p) + two * i(p * first) * j(p)
    s21 = s21 - all_ * i(p * p) * j(p)
    s22 = c22 - two * j(p) * c21 - two * i(p) * c12 + four * i(p) * j(p) * c11 + i(second) * j(p * p)
    s22 = s22 + i(p * p) * j(second) - two * i(p * p) * j(first * p) - two * i(first * p) * j(p * p)
    s22 = s22 + all_ * i(p * p) * j(p * p)
    # From deviations from the pivot to deviations from the mean, which are d = (c - p) - e with |e| ≤ 1/2.
    m11, m21, m22 = (_signed(s) / n for s in (s11, s21, s22))
    m12 = np.swapaxes(m21, -1, -2)
    shifted = _shift(count, powers, p)
    e, second_ = (_signed(shifted[..., k, :]) / n[..., 0] for k in (0, 1))
    covariance = m11 - i(e) * j(e)
    squares = (
        m22 - 2 * j(e) * m21 - 2 * i(e) * m12 + 4 * i(e) * j(e) * m11 + i(second_) * j(e**2) + i(e**2) * j(second_)
    )
    squares = squares - 3 * i(e**2) * j(e**2)
    ratio = n / np.maximum(n - 1, 1)
    value = _unless(n < 2, covariance * ratio)
    spread = np.maximum(squares * ratio - value**2 / ratio, 0.0)
    return Estimate(value, _unless(n < 4, np.sqrt(spread / n)))


def _central(number: npt.ArrayLike, powers: Uint64) -> tuple[Array, _Central]:
    """Return the number of samples, shaped for broadcasting, and the central moments."""
    count = np.asarray(number).astype(np.uint64)
    p = _pivot(count, powers)
    n = np.asarray(number, dtype=np.float64)[..., None]
    e, s2, s3, s4 = np.moveaxis(_signed(_shift(count, powers, p)) / n[..., None], -2, 0)
    second = s2 - e**2
    third = s3 - 3 * e * s2 + 2 * e**3
    fourth = s4 - 4 * e * s3 + 6 * e**2 * s2 - 3 * e**4
    return n, _Central(p.astype(np.float64) + e, second, third, fourth)


def _pivot(count: Uint64, powers: Uint64) -> Uint64:
    """Return the whole number nearest to the mean, (..., neuron)."""
    n = np.maximum(count, np.uint64(1))[..., None]
    return np.asarray((powers[..., 0, :] + n // np.uint64(2)) // n)


def _shift(count: Uint64, powers: Uint64, p: Uint64) -> Uint64:
    """Return the power sums of samples minus `p`, modulo 2⁶⁴."""
    n = count[..., None]
    s1, s2, s3, s4 = (powers[..., k, :] for k in range(4))
    three, four, six = np.uint64(3), np.uint64(4), np.uint64(6)
    p2 = p * p
    shifted = (
        s1 - n * p,
        s2 - np.uint64(2) * p * s1 + n * p2,
        s3 - three * p * s2 + three * p2 * s1 - n * p2 * p,
        s4 - four * p * s3 + six * p2 * s2 - four * p2 * p * s1 + n * p2 * p2,
    )
    return np.stack(shifted, axis=-2)


def _signed(sums: Uint64) -> Array:
    return sums.view(np.int64).astype(np.float64)


def _unless(missing: npt.NDArray[np.bool_], values: Array) -> Array:
    return np.where(missing, np.nan, values)
