"""Differences in units of their standard errors, and whether many of them together are real."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats

from mnnbio.analyses.chi_square_mixtures import mixture_sf

Array = npt.NDArray[np.float64]


def z_scores(difference: npt.ArrayLike, standard_error: npt.ArrayLike) -> Array:
    """Return differences divided by their standard errors.

    Parameters
    ----------
    difference, standard_error : array_like
        Of one shape (or broadcast to it) and one unit.

    Returns
    -------
    ndarray
        NaN where the standard error is zero (no spikes), NaN or infinite (one sample): there the data cannot say
        how far from chance the difference is.
    """
    difference, standard_error = np.broadcast_arrays(
        np.asarray(difference, dtype=np.float64), np.asarray(standard_error, dtype=np.float64)
    )
    known = np.isfinite(standard_error) & (standard_error > 0) & np.isfinite(difference)
    return np.divide(difference, standard_error, out=np.full(difference.shape, np.nan), where=known)


def normal_equivalent_square(z: npt.ArrayLike, dof: npt.ArrayLike) -> Array:
    """Return the squares that standard normal variables of the same p-values would have.

    A difference divided by an *estimated* standard error follows Student's t, not a normal distribution; with few
    samples its squares add up to far more than a chi-square allows. Each z is therefore mapped through its t
    distribution to the normal quantile of the same probability.

    Parameters
    ----------
    z : array_like
        Differences in units of their estimated standard errors.
    dof : array_like
        Degrees of freedom of the standard errors, broadcast against `z`; infinite for known ones.

    Returns
    -------
    ndarray
        Chi-square variables of one degree of freedom each, if the expectation of every difference is zero.
    """
    z, dof = np.broadcast_arrays(np.abs(np.asarray(z, dtype=np.float64)), np.asarray(dof, dtype=np.float64))
    square = stats.norm.isf(stats.t.sf(z, dof)) ** 2
    # The tail probability underflows beyond |z| ~ 38: any huge value will do, and z² is at hand.
    return np.where(np.isfinite(square), square, z**2)


def p_values(z: npt.ArrayLike, dof: npt.ArrayLike) -> Array:
    """Return two-sided probabilities of Student's t as far from zero as z; NaN with fewer than two degrees of freedom.

    Parameters
    ----------
    z : array_like
        Differences in units of their estimated standard errors.
    dof : array_like
        Degrees of freedom of the standard errors, broadcast against `z`; infinite for known ones.
    """
    z, dof = np.broadcast_arrays(np.abs(np.asarray(z, dtype=np.float64)), np.asarray(dof, dtype=np.float64))
    known = np.isfinite(z) & (dof >= 2)
    return np.where(known, 2 * stats.t.sf(z, np.where(known, dof, np.inf)), np.nan)


class JointTest(NamedTuple):
    """A test that many differences are all zero."""

    statistic: float
    """Sum of the normal-equivalent squares."""
    size: int
    """Number of differences that entered."""
    effective_dof: float
    """Degrees of freedom after allowing for correlated differences; `size` if they are independent."""
    p: float
    """Probability of a sum at least as large, were every difference zero in expectation; NaN without data."""


def joint_test(
    z: npt.ArrayLike,
    dof: npt.ArrayLike = np.inf,
    *,
    sum_squared_correlations: float | None = None,
    eigenvalues: npt.ArrayLike | None = None,
) -> JointTest:
    r"""Test whether differences deviate from zero more than their standard errors allow.

    Under the null hypothesis the sum of the n normal-equivalent squares has mean n and variance
    :math:`2 \sum_{ij} \rho_{ij}^2`, where ρ are the correlations of the differences. It is compared with the scaled
    chi-square distribution of that mean and variance, which is the plain chi-square if the differences are
    independent; or, where the eigenvalues of their correlations are known, with its own distribution, that of
    :math:`\sum_k \lambda_k z_k^2` (see `chi_square_mixtures`).

    Parameters
    ----------
    z : array_like
        Differences in units of their standard errors; NaN is left out.
    dof : array_like
        Degrees of freedom of the standard errors, broadcast against `z`. Differences with fewer than two are left out:
        their z says next to nothing.
    sum_squared_correlations : float, optional
        :math:`\sum_{ij} \rho_{ij}^2` over the differences that are not NaN, the diagonal included. Default:
        independent.
    eigenvalues : array_like, optional
        Those of the matrix of the correlations ρ of the differences that are not NaN.

    Returns
    -------
    JointTest
        Statistic, count, effective degrees of freedom and p-value.

    Notes
    -----
    The p-value rests on the standard errors: it assumes that each difference is close to normal, which takes some
    tens of samples and of spikes.

    References
    ----------
    Satterthwaite, F. E. (1946). An approximate distribution of estimates of variance components. *Biometrics
    Bulletin* 2, 110-114, Eq. 17.
    """
    z = np.asarray(z, dtype=np.float64)
    known = np.isfinite(z) & (np.broadcast_to(dof, z.shape) >= 2)
    count = int(known.sum())
    if count == 0:
        return JointTest(0.0, 0, 0.0, float("nan"))
    statistic = float(normal_equivalent_square(z[known], np.broadcast_to(dof, z.shape)[known]).sum())
    if eigenvalues is not None:
        own = np.maximum(np.asarray(eigenvalues, dtype=np.float64), 0.0)
        own *= count / own.sum()
        return JointTest(statistic, count, count**2 / float((own**2).sum()), mixture_sf(statistic, own))
    spread = count if sum_squared_correlations is None else max(float(sum_squared_correlations), count)
    effective_dof = count**2 / spread
    return JointTest(
        statistic, count, effective_dof, float(stats.chi2.sf(statistic * effective_dof / count, effective_dof))
    )


def holm(p: npt.ArrayLike) -> Array:
    """Return p-values corrected so that one below α among many true hypotheses comes with a probability of at most α.

    Parameters
    ----------
    p : array_like
        Of any shape and dependence; NaN is left out and stays.

    Returns
    -------
    ndarray
        Of the same shape.

    References
    ----------
    Holm, S. (1979). A simple sequentially rejective multiple test procedure. *Scandinavian Journal of Statistics* 6,
    65-70.
    """
    return _adjusted(p, lambda values, n: np.maximum.accumulate(values * (n - np.arange(len(values)))))


def benjamini_hochberg(p: npt.ArrayLike) -> Array:
    """Return p-values corrected so that of those below α an expected share of at most α are of true hypotheses.

    Parameters
    ----------
    p : array_like
        Of any shape, independent or positively dependent; NaN is left out and stays.

    Returns
    -------
    ndarray
        Of the same shape.

    References
    ----------
    Benjamini, Y. & Hochberg, Y. (1995). Controlling the false discovery rate. *Journal of the Royal Statistical Society
    B* 57, 289-300; Benjamini, Y. & Yekutieli, D. (2001) *Annals of Statistics* 29, 1165-1188 (dependence).
    """
    return _adjusted(
        p, lambda values, n: np.minimum.accumulate((values * n / np.arange(1, len(values) + 1))[::-1])[::-1]
    )


def _adjusted(p: npt.ArrayLike, correct: Callable[[Array, int], Array]) -> Array:
    """Return corrected p-values; `correct` takes them in ascending order, and their number."""
    values = np.asarray(p, dtype=np.float64)
    known = np.isfinite(values)
    out = np.full(values.shape, np.nan)
    flat = values[known]
    order = np.argsort(flat, kind="stable")
    corrected = np.empty(len(flat))
    corrected[order] = np.minimum(correct(flat[order], len(flat)), 1.0)
    out[known] = corrected
    return out


# Samples that one degree of freedom of an estimated standard error costs. That of a mean has n - 1; those of second
# moments are noisier and vary with the estimate itself. With these factors the normal-equivalent squares of Gaussian
# counts, and of Poisson counts of mean 1 and 4, have means of 0.7 to 1.2 (1 is exact) from 20 to 1000 samples.
SAMPLES_PER_DOF = {"mean": 1.0, "variance": 10.0, "covariance": 3.0}

# With this many groups their scatter tells the error of their mean, whatever the quality of the single errors.
ENOUGH_GROUPS = 20


def degrees_of_freedom(samples: float | None, kind: Literal["mean", "variance", "covariance"]) -> float:
    """Return the effective degrees of freedom of standard errors estimated from `samples`; infinite if None."""
    return np.inf if samples is None else max(float(samples) - 1.0, 1.0) / SAMPLES_PER_DOF[kind]


class PooledError(NamedTuple):
    """Standard error of a mean over groups, and its degrees of freedom."""

    se: Array
    dof: Array


def pooled_error(difference: Array, standard_error: Array, dof: float) -> PooledError:
    """Return the standard error of a mean difference over the first axis.

    Parameters
    ----------
    difference, standard_error : ndarray (group, ...)
        Difference of each group and its standard error.
    dof : float
        Degrees of freedom of each standard error.

    Returns
    -------
    PooledError
        From the scatter of the groups if there are at least 20; else from the groups' errors (degrees of freedom after
        Welch and Satterthwaite, NaN where every error is zero).
    """
    groups = len(difference)
    if groups >= ENOUGH_GROUPS:
        se = difference.std(axis=0, ddof=1) / np.sqrt(groups)
        return PooledError(se, np.full(se.shape, groups - 1.0))
    square = standard_error**2
    total, quartic = square.sum(axis=0), (square**2).sum(axis=0)
    freedom = np.divide(total**2, quartic, out=np.full(total.shape, np.nan), where=quartic > 0)
    return PooledError(np.sqrt(total) / groups, dof * freedom if np.isfinite(dof) else np.full(total.shape, np.inf))


def mantel_test(
    predicted: Array, simulated: Array, *, permutations: int, rng: np.random.Generator
) -> tuple[float, float]:
    """Correlate the off-diagonal elements of two symmetric matrices.

    The elements of a row share a neuron, so they are not independent samples, and the textbook p-value of Pearson's
    r is wrong. The reference distribution comes from relabelling the neurons of one matrix.

    Parameters
    ----------
    predicted, simulated : ndarray (neuron, neuron)
        Symmetric matrices; pairs where either is NaN or infinite are left out of r.
    permutations : int
        Number of relabellings; the smallest possible p is 1 / (1 + permutations).
    rng : numpy.random.Generator
        Source of the relabellings.

    Returns
    -------
    r : float
        Pearson correlation over the pairs i < j; NaN with fewer than three pairs or without variation.
    p : float
        Share of relabellings with a correlation at least as large (one-sided), the identity included.

    References
    ----------
    Mantel, N. (1967). The detection of disease clustering and a generalized regression approach. *Cancer Research*
    27, 209-220.
    """
    valid = np.isfinite(predicted) & np.isfinite(simulated)
    np.fill_diagonal(valid, False)
    if valid.sum() < 6:
        return float("nan"), float("nan")
    a = np.where(valid, predicted - predicted[valid].mean(), 0.0)
    b = np.where(valid, simulated - simulated[valid].mean(), 0.0)
    scale = np.sqrt((a**2).sum() * (b**2).sum())
    if not scale > 0:
        return float("nan"), float("nan")
    observed = (a * b).sum()
    n = len(a)
    threshold = observed - 1e-12 * scale  # a relabelling that changes nothing must count
    above = 0
    for _ in range(permutations):
        order = rng.permutation(n)
        above += bool((a * b[np.ix_(order, order)]).sum() >= threshold)
    return float(observed / scale), (1 + above) / (1 + permutations)
