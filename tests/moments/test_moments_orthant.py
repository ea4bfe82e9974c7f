import mpmath
import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal, norm

from mnnbio.moments.orthant import log_normal_quantile, log_orthant_probability

f64 = torch.float64


def random_gaussian(k, batch=6, shift=0.0, seed=0):
    g = torch.Generator().manual_seed(seed)
    root = torch.randn(batch, k, k + 2, dtype=f64, generator=g)
    return torch.randn(batch, k, dtype=f64, generator=g) + shift, root @ root.mT / k


@pytest.mark.parametrize("value", [-1e-3, -0.5, -1.999, -2.001, -30.0, -1e3, -1e6])
def test_quantiles_against_mpmath(value):
    x = log_normal_quantile(torch.tensor(value, dtype=f64)).item()
    with mpmath.workdps(30):
        again = mpmath.log(mpmath.ncdf(mpmath.mpf(x))) if x > -1e2 else None
    if again is None:  # asymptotic series of the tail
        again = -(x**2) / 2 - np.log(-x * np.sqrt(2 * np.pi)) + np.log1p(-1 / x**2 + 3 / x**4)
    assert float(again) == pytest.approx(value, rel=1e-11)


def test_quantile_is_twice_differentiable():
    value = torch.tensor([-0.1, -1.0, -3.0, -40.0], dtype=f64, requires_grad=True)
    assert torch.autograd.gradcheck(log_normal_quantile, value)
    assert torch.autograd.gradgradcheck(log_normal_quantile, value)


def test_one_variable_is_exact():
    mean = torch.tensor([[0.3], [-50.0], [8.0]], dtype=f64)
    found = log_orthant_probability(mean, torch.full((3, 1, 1), 4.0, dtype=f64))
    np.testing.assert_allclose(found, norm.logcdf(mean[:, 0] / 2), rtol=1e-14)


@pytest.mark.parametrize(("k", "samples", "tolerance"), [(2, 128, 2e-3), (3, 256, 5e-3), (9, 2048, 2e-2)])
def test_several_variables_against_scipy(k, samples, tolerance):
    mean, covariance = random_gaussian(k, shift=1.0)
    found = log_orthant_probability(mean, covariance, samples)
    # The orthant of x = m + y is y > −m, and −y is distributed as y.
    expected = [
        np.log(multivariate_normal(np.zeros(k), C, seed=0, abseps=1e-6, releps=1e-6, maxpts=200_000).cdf(m))
        for m, C in zip(mean.numpy(), covariance.numpy(), strict=True)
    ]
    np.testing.assert_allclose(found, expected, atol=tolerance)


def test_equicorrelated_variables_of_no_mean():
    # Correlation 1/2 makes all orders of k + 1 independent variables equally likely: P = 1/(k + 1).
    for k in (2, 4, 9):
        covariance = 0.5 * (torch.eye(k, dtype=f64) + 1)
        found = log_orthant_probability(torch.zeros(k, dtype=f64), covariance, 4096)
        assert found.exp().item() == pytest.approx(1 / (k + 1), rel=5e-3)


def test_order_of_variables_does_not_matter():
    mean, covariance = random_gaussian(4)
    order = [2, 0, 3, 1]
    permuted = log_orthant_probability(mean[:, order], covariance[:, order][:, :, order])
    torch.testing.assert_close(permuted, log_orthant_probability(mean, covariance))


def test_batch_equals_loop():
    mean, covariance = random_gaussian(3)
    alone = torch.stack([log_orthant_probability(m, C) for m, C in zip(mean, covariance, strict=True)])
    torch.testing.assert_close(log_orthant_probability(mean, covariance), alone)


def test_gradients():
    mean, covariance = random_gaussian(3, batch=2)
    inputs = (mean.requires_grad_(), covariance.requires_grad_())

    def function(m, C):
        return log_orthant_probability(m, (C + C.mT) / 2, 4)

    assert torch.autograd.gradcheck(function, inputs)
    assert torch.autograd.gradgradcheck(function, inputs)


def test_errors():
    with pytest.raises(ValueError, match="`samples` must be ≥ 1, got 0"):
        log_orthant_probability(torch.zeros(2), torch.eye(2), 0)
    with pytest.raises(ValueError, match="must be positive definite, its smallest eigenvalue is 0"):
        log_orthant_probability(torch.zeros(2), torch.diag(torch.tensor([1.0, 0.0])))
