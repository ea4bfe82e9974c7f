import math

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from test_nn_linear import random_moments

from mnnbio.moments import Dense
from mnnbio.nn import Moments, cross_entropy, gaussian_likelihood, mean_squared_error, sampled_cross_entropy

f64 = torch.float64


def test_cross_entropy_of_the_mean():
    moments = random_moments(3)
    target = torch.tensor([0, 1, 2, 0, 1])
    p = np.exp(moments.mean.numpy())
    p /= p.sum(1, keepdims=True)
    expected = -np.log(p[np.arange(5), target]).mean()
    assert cross_entropy(moments, target).item() == pytest.approx(expected, rel=1e-12)
    smooth = 0.9 * expected - 0.1 * np.log(p).mean()
    assert cross_entropy(moments, target, label_smoothing=0.1).item() == pytest.approx(smooth, rel=1e-12)


def test_mean_squared_error():
    moments = random_moments(3)
    assert mean_squared_error(moments, moments.mean + 2).item() == pytest.approx(4.0)


def test_gaussian_likelihood_against_scipy():
    moments, window = random_moments(3), 50.0
    target = torch.randn(5, 3, dtype=f64, generator=torch.Generator().manual_seed(1))
    expected = -np.mean(
        [
            multivariate_normal(mean, C / window).logpdf(value)
            for mean, C, value in zip(
                moments.mean.numpy(), moments.covariance.to_dense().numpy(), target.numpy(), strict=True
            )
        ]
    )
    assert gaussian_likelihood(moments, target, window).item() == pytest.approx(expected, rel=1e-9)


def test_sampled_cross_entropy_of_two_classes_against_quadrature():
    # Two classes: −ln softmax is softplus of the difference, which is Gaussian. k = 4 standard errors, fixed seed.
    mean, C, window, samples = np.array([0.3, -0.2]), np.array([[2.0, 0.6], [0.6, 1.0]]), 4.0, 40_000
    difference, std = mean[1] - mean[0], math.sqrt((2.0 + 1.0 - 1.2) / window)
    node, weight = np.polynomial.hermite_e.hermegauss(60)
    values = np.logaddexp(0, difference + std * node)
    weight = weight / weight.sum()
    expected = weight @ values
    error = math.sqrt((weight @ values**2 - expected**2) / samples)
    moments = Moments(torch.tensor(mean)[None], Dense(torch.tensor(C)[None]))
    loss = sampled_cross_entropy(
        moments, torch.tensor([0]), window, samples, generator=torch.Generator().manual_seed(0)
    )
    assert abs(loss.item() - expected) < 4 * error


def test_sampled_cross_entropy_of_a_long_window_is_that_of_the_mean():
    moments, target = random_moments(3), torch.tensor([0, 1, 2, 0, 1])
    sampled = sampled_cross_entropy(moments, target, 1e16, samples=2)
    assert sampled.item() == pytest.approx(cross_entropy(moments, target).item(), abs=1e-6)


def test_sampled_cross_entropy_of_opposite_outputs():
    # A singular covariance: y and −y.
    matrix = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
    moments = Moments(torch.zeros(3, 2), Dense(matrix.expand(3, 2, 2)))
    assert torch.isfinite(sampled_cross_entropy(moments, torch.tensor([0, 1, 0]), 10.0))


def test_errors():
    moments, target = random_moments(3), torch.tensor([0, 1, 2, 0, 1])
    with pytest.raises(ValueError, match="`window` must be > 0 ms, got 0"):
        sampled_cross_entropy(moments, target, 0)
    with pytest.raises(ValueError, match="`window` must be > 0 ms, got -1"):
        gaussian_likelihood(moments, moments.mean, -1)
    with pytest.raises(ValueError, match="`samples` must be ≥ 1, got 0"):
        sampled_cross_entropy(moments, target, 10.0, samples=0)
