"""Estimates from sums are those from the samples, also where the counts are so large that the sums overflow."""

import numpy as np
import pytest

from mnnbio.results.estimates import (
    covariance_of_sums,
    estimate_covariance,
    estimate_fano,
    estimate_variance,
    fano_of_sums,
    variance_of_sums,
)


def sums(samples):
    """Numbers, powers and products modulo 2⁶⁴ of samples (n, stimulus, neuron)."""
    c = samples.astype(np.uint64)
    powers = np.stack([(c ** np.uint64(k)).sum(axis=0) for k in range(1, 5)], axis=-2)
    pairs = [(c, c), (c * c, c), (c * c, c * c)]
    products = np.stack([np.einsum("nsi,nsj->sij", one, other) for one, other in pairs], axis=-3)
    return np.full(samples.shape[1], len(samples)), powers, products


@pytest.mark.parametrize("n", [1, 2, 3, 5, 200])
@pytest.mark.parametrize("mean", [0.01, 3.0, 400.0, 1e6])
def test_estimates_are_those_of_the_samples(n, mean):
    samples = np.random.default_rng(n).poisson(mean, (n, 2, 6))
    samples[..., 1] = samples[..., 0]  # fully correlated
    samples[..., 2] = 7  # without variance
    samples[..., 5] = 0
    number, powers, products = sums(samples)
    for found, expected in (
        (variance_of_sums(number, powers), estimate_variance(samples)),
        (fano_of_sums(number, powers), estimate_fano(samples)),
        (covariance_of_sums(number, powers, products), estimate_covariance(samples)),
    ):
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9 * max(mean, 1.0))


def test_regular_firing_at_high_counts_keeps_its_small_variance():
    # Counts of 10⁹ ± 1: their fourth powers are far beyond 2⁶⁴, and differences of float64 sums would be noise.
    samples = 10**9 + np.random.default_rng(0).integers(-1, 2, (50, 1, 3))
    deviations = samples - 10**9
    number, powers, products = sums(samples)
    np.testing.assert_allclose(variance_of_sums(number, powers).value, deviations.var(axis=0, ddof=1), rtol=1e-12)
    covariance = covariance_of_sums(number, powers, products)
    np.testing.assert_allclose(covariance.value[0], np.cov(deviations[:, 0].T), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(covariance.se, estimate_covariance(deviations).se, rtol=1e-9)
