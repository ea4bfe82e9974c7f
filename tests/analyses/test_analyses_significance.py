"""Standard errors, joint tests and relabelling tests, on numbers whose distribution is known."""

import numpy as np
import pytest
from scipy import stats

from mnnbio.analyses.significance import (
    degrees_of_freedom,
    joint_test,
    mantel_test,
    normal_equivalent_square,
    pooled_error,
    z_scores,
)
from mnnbio.results.estimates import estimate_mean, estimate_variance


def test_z_is_nan_where_the_error_is_zero_or_unknown():
    z = z_scores([1.0, 1.0, 1.0, np.nan, 2.0], [0.0, np.nan, np.inf, 1.0, 0.5])
    np.testing.assert_array_equal(z, [np.nan, np.nan, np.nan, np.nan, 4.0])


def test_known_errors_leave_squares_as_they_are():
    np.testing.assert_allclose(normal_equivalent_square([0.3, -2.0, 5.0], np.inf), [0.09, 4.0, 25.0], rtol=1e-9)


def test_squares_of_students_t_keep_their_probability():
    square = normal_equivalent_square(-2.5, 4)
    assert stats.chi2.sf(square, 1) == pytest.approx(2 * stats.t.sf(2.5, 4), rel=1e-12)
    assert np.isfinite(normal_equivalent_square(1e3, np.inf))


def test_joint_test_is_the_chi_square_for_independent_normals():
    z = np.array([0.5, -1.5, 2.5, np.nan])
    test = joint_test(z)
    assert test.size == 3
    assert test.p == pytest.approx(stats.chi2.sf(0.25 + 2.25 + 6.25, 3), rel=1e-9)
    assert np.isnan(joint_test([np.nan]).p)
    assert joint_test([1.0, 1.0], 1.0).size == 0


@pytest.mark.parametrize("samples", [8, 30])
def test_joint_p_of_means_is_uniform(samples):
    # 400 tests of 30 means each; the Kolmogorov-Smirnov p of a uniform variable is above 1e-4 for all but 1 in 10^4.
    rng = np.random.default_rng(1)
    p = []
    for _ in range(400):
        estimate = estimate_mean(rng.poisson(5, (samples, 30)))
        p.append(joint_test(z_scores(estimate.value - 5, estimate.se), degrees_of_freedom(samples, "mean")).p)
    assert stats.kstest(p, "uniform").pvalue > 1e-4


def test_joint_p_of_correlated_means_is_calibrated():
    # One common factor: without the correction small p-values come several times too often.
    rng = np.random.default_rng(2)
    rho, n, tests = 0.5, 30, 2000
    z = np.sqrt(rho) * rng.normal(size=(tests, 1)) + np.sqrt(1 - rho) * rng.normal(size=(tests, n))
    spread = n + n * (n - 1) * rho**2
    corrected = np.mean([joint_test(row, sum_squared_correlations=spread).p < 0.05 for row in z])
    naive = np.mean([joint_test(row).p < 0.05 for row in z])
    # The scaled chi-square is an approximation to a sum with one dominant eigenvalue: within 0.03 of nominal.
    assert abs(corrected - 0.05) < 0.03
    assert naive > 0.12


@pytest.mark.parametrize("mean", [4, 20])
@pytest.mark.parametrize("samples", [50, 200])
def test_joint_test_of_variances_is_not_too_bold(mean, samples):
    rng = np.random.default_rng(3)
    estimate = estimate_variance(rng.poisson(mean, (samples, 20_000)))
    z = z_scores(estimate.value - mean, estimate.se)
    square = normal_equivalent_square(z, degrees_of_freedom(samples, "variance"))
    assert 0.85 < square.mean() < 1.1


def test_pooled_error_propagates_few_groups_and_scatters_many():
    se = np.array([[3.0, 0.0], [4.0, 0.0]])
    error = pooled_error(np.zeros((2, 2)), se, 9.0)
    np.testing.assert_allclose(error.se, [2.5, 0.0])
    np.testing.assert_allclose(error.dof, [9 * 625 / (81 + 256), np.nan])
    assert np.isinf(pooled_error(np.zeros((2, 2)), se, np.inf).dof).all()
    difference = np.random.default_rng(4).normal(size=(400, 3))
    error = pooled_error(difference, np.full((400, 3), np.nan), 3.0)
    np.testing.assert_allclose(error.se, stats.sem(difference, axis=0))
    assert (error.dof == 399).all()


def test_degrees_of_freedom():
    assert degrees_of_freedom(101, "mean") == 100
    assert degrees_of_freedom(101, "variance") == 10
    assert np.isinf(degrees_of_freedom(None, "covariance"))


def test_mantel_finds_agreement_and_only_that():
    rng = np.random.default_rng(5)
    a = rng.normal(size=(20, 20))
    a = a + a.T
    noise = rng.normal(size=(20, 20))
    b = a + noise + noise.T
    r, p = mantel_test(a, b, permutations=199, rng=rng)
    pairs = np.triu_indices(20, 1)
    assert r == pytest.approx(np.corrcoef(a[pairs], b[pairs])[0, 1], rel=1e-12)
    assert p == 1 / 200
    assert mantel_test(a, noise + noise.T, permutations=199, rng=rng)[1] > 0.01


def test_mantel_without_variation_or_pairs_is_nan():
    rng = np.random.default_rng(6)
    assert np.isnan(mantel_test(np.ones((5, 5)), rng.normal(size=(5, 5)), permutations=9, rng=rng)).all()
    assert np.isnan(mantel_test(np.eye(2), np.eye(2), permutations=9, rng=rng)).all()
