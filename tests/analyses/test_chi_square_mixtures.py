"""Sums of weighted chi-square variables, against closed forms and sums of drawn squares."""

import numpy as np
import pytest
from scipy import stats

from mnnbio.analyses.chi_square_mixtures import mixture_quantile, mixture_sf


@pytest.mark.parametrize("x", [0.3, 1.0, 6.0, 25.0, 60.0])
def test_two_pairs_are_two_exponentials(x):
    # Weights 2, 2, 1, 1: the sum of exponentials of means 4 and 2.
    exact = (4 * np.exp(-x / 4) - 2 * np.exp(-x / 2)) / 2
    assert mixture_sf(x, [2, 1, 2, 1]) == pytest.approx(exact, rel=0.1 if exact < 1e-6 else 1e-6)


@pytest.mark.parametrize("pairs", [15, 40])
def test_many_pairs_are_a_hypoexponential(pairs):
    # Distinct means m_k = 2 λ_k, each twice: P(S > x) = Σ_k exp(-x/m_k) Π_{j≠k} m_k/(m_k - m_j), in exact arithmetic.
    import mpmath

    with mpmath.workdps(60):
        means = [2 * (1 + mpmath.mpf(k) / 10) for k in range(pairs)]
        for share in (0.6, 1.0, 1.5):
            x = share * sum(means)
            exact = sum(
                mpmath.exp(-x / m) * mpmath.fprod(m / (m - other) for j, other in enumerate(means) if j != k)
                for k, m in enumerate(means)
            )
            found = mixture_sf(float(x), np.repeat([float(m) / 2 for m in means], 2))
            assert found == pytest.approx(float(exact), rel=1e-6)


def test_equal_weights_are_the_chi_square_distribution():
    assert mixture_sf(7.0, np.full(5, 0.5)) == pytest.approx(stats.chi2.sf(14, 5), rel=1e-12)
    assert mixture_quantile(0.95, [2.0, 2.0]) == pytest.approx(2 * stats.chi2.ppf(0.95, 2), rel=1e-12)
    assert mixture_sf(0.0, [1, 2]) == 1


def test_one_dominant_eigenvalue_against_drawn_sums():
    weights = np.r_[15.5, np.full(29, 0.5)]
    rng = np.random.default_rng(0)
    draws = (weights * rng.normal(size=(100_000, 30)) ** 2).sum(axis=1)
    for probability in (0.025, 0.5, 0.975):
        x = mixture_quantile(probability, weights)
        error = np.sqrt(probability * (1 - probability) / len(draws))
        assert abs((draws < x).mean() - probability) < 4 * error


@pytest.mark.parametrize("weights", [[], [0.0], [-1.0, 2.0], [np.nan]])
def test_impossible_weights_raise(weights):
    with pytest.raises(ValueError, match="finite and ≥ 0"):
        mixture_sf(1.0, weights)
