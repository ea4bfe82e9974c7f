"""Distributions of weights and delays."""

import numpy as np
import pytest
from brian2 import ms, mV
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mnnbio.values import LogNormal, Normal, Uniform

K = 4.0  # standard errors

# Each beside the same distribution of scipy.
CASES = {
    "normal": (Normal(0.3, 0.1), stats.norm(0.3, 0.1)),
    "low": (Normal(1.5, 0.75, low=0.1), stats.truncnorm((0.1 - 1.5) / 0.75, np.inf, 1.5, 0.75)),
    "high": (Normal(1.0, 2.0, high=0.0), stats.truncnorm(-np.inf, -0.5, 1.0, 2.0)),
    "tail": (Normal(0.0, 1.0, low=3.0), stats.truncnorm(3.0, np.inf)),
    "both": (Normal(-0.5, 0.4, low=-1.0, high=0.0), stats.truncnorm(-1.25, 1.25, -0.5, 0.4)),
    "lognormal": (LogNormal(2.0, 1.0), stats.lognorm(np.sqrt(np.log(1.25)), scale=2.0 / np.sqrt(1.25))),
    "uniform": (Uniform(0.5, 2.5), stats.uniform(0.5, 2.0)),
}


@pytest.mark.parametrize("name", CASES)
def test_values_follow_the_distribution(name):
    distribution, law = CASES[name]
    values = distribution.sample(20_000, np.random.default_rng(1))
    assert stats.kstest(values, law.cdf).pvalue > 1e-4
    assert values.min() >= distribution.lowest


@pytest.mark.parametrize("name", CASES)
def test_moments_are_those_of_the_truncated_values(name):
    distribution, law = CASES[name]
    assert distribution.moments() == pytest.approx((law.mean(), law.std()), rel=1e-9)


@given(st.floats(0.01, 5.0), st.floats(0.0, 3.0))
def test_lognormal_mean_and_std_are_those_of_the_values(mean, std):
    positive = LogNormal(mean, std).sample(50, np.random.default_rng(3))
    negative = LogNormal(-mean, std).sample(50, np.random.default_rng(3))
    np.testing.assert_array_equal(positive, -negative)
    assert (positive > 0).all()
    if std == 0:
        np.testing.assert_allclose(positive, mean)


def test_a_distribution_without_spread_is_a_number():
    rng = np.random.default_rng(0)
    for distribution in (Normal(1.5, 0.0), Normal(1.5, 0.0, low=0.0), Uniform(1.5, 1.5)):
        assert distribution.sample(3, rng).tolist() == [1.5] * 3
        assert distribution.moments() == (1.5, 0.0)
    assert Normal(1.5, 0.0).lowest == 1.5


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("factor", [2.0, -0.5])
def test_multiples_are_those_of_the_values(name, factor):
    distribution, law = CASES[name]
    scaled = distribution.used_as("mV", "weight") * factor
    assert scaled.moments() == pytest.approx((law.mean() * factor, law.std() * abs(factor)), rel=1e-9)
    assert scaled.unit == (factor * distribution.used_as("mV", "weight")).unit == "mV"
    drawn, plain = (d.sample(50, np.random.default_rng(1)) for d in (scaled, distribution))
    if factor > 0:
        np.testing.assert_allclose(drawn, plain * factor)
    assert type(scaled) is type(distribution)


def test_units():
    assert Normal(1.5 * ms, 750e-3 * ms, low=0) == Normal(1.5, 0.75, low=0.0, unit="ms")
    assert Normal(0.1, 0.05).used_as("mV", "weight") == Normal(0.1 * mV, 0.05 * mV)
    assert repr(Uniform(0.5 * ms, 2 * ms)) == "Uniform(low=0.5, high=2) in ms"
    assert repr(Normal(0.5, 2.0)) == "Normal(mean=0.5, std=2)"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Normal(1.0, -0.1), "`std` of Normal must be ≥ 0, got -0.1"),
        (lambda: Normal(1.0, 0.1, low=2.0), "must lie between its bounds, got 7.6e-24 for Normal"),
        (lambda: Normal(1.0, 0.1, low=2.0, high=1.0), "must lie between its bounds"),
        (lambda: Normal(1.0, 0.0, low=2.0), "must lie between its bounds"),
        (lambda: Normal(np.nan, 1.0), "`mean of Normal` must be finite, got nan"),
        (lambda: Normal([1.0, 2.0], 1.0), "mean of Normal must be a single number"),
        (lambda: Normal(1 * mV, 1 * ms), "values of Normal must have one unit, got `mean` mV, `std` ms"),
        (lambda: Normal(1 * mV, 0.1), "must have one unit, got `mean` mV, `std` a plain number"),
        (lambda: Normal(1 * mV**3, 1 * mV**3), r"`mean of Normal` must be in one of ms, mV"),
        (lambda: Normal(1.0, 1.0).used_as("ms", "delay").used_as("mV", "w"), "`w` must be in mV, got Normal in ms"),
        (lambda: LogNormal(0.0, 1.0), "`mean` of LogNormal must not be 0"),
        (lambda: LogNormal(1.0, -1.0), "`std` of LogNormal must be ≥ 0"),
        (lambda: Uniform(2.0, 1.0), "`low` of Uniform must be at most `high`, got 2 and 1"),
    ],
)
def test_bad_distributions_raise(make, message):
    with pytest.raises(ValueError, match=message):
        make()
