"""Avalanches of known activity, exponents of sampled power laws, and the ratio of simulated branching processes."""

import numpy as np
import pytest
import synthetic
from brian2 import ms

from mnnbio.analyses import avalanches, branching_ratio, fit_power_law


def test_avalanches_of_written_activity():
    activity = [1, 0, 2, 3, 0, 0, 1, 1, 1, 0, 4]
    found = avalanches(activity, percentile=None)
    assert found["size"].values.tolist() == [5, 3]
    assert found.duration.values.tolist() == [2, 3]
    assert found.attrs["cut_off"] == 2
    high = avalanches([[0, 5, 1, 7, 8, 0], [0, 1, 9, 0, 0, 0]], percentile=60)
    threshold = np.percentile([0, 5, 1, 7, 8, 0, 0, 1, 9, 0, 0, 0], 60)
    assert high.attrs["threshold"] == threshold == 1
    assert high["size"].values.tolist() == [5, 15, 9]
    assert high.trial.values.tolist() == [0, 0, 1]


def brute(activity, threshold):
    sizes, now, whole = [], None, False
    for t, a in enumerate(activity):
        if a > threshold:
            if now is None:
                now, whole = 0, t > 0
            now += a
        else:
            if now is not None and whole:
                sizes.append(now)
            now = None
    return sizes


def test_avalanches_of_random_activity():
    rng = np.random.default_rng(3)
    for _ in range(50):
        activity = rng.poisson(rng.uniform(0.2, 3), 80)
        found = avalanches(activity)
        assert found["size"].values.tolist() == brute(activity, np.percentile(activity, 35))


def test_avalanches_of_a_result_are_those_of_its_counts():
    result = synthetic.make({"a": 5, "b": 3}, trials=3, duration=0.5, seed=4).simulation
    found = avalanches(result, bin=2 * ms, percentile=None)
    spikes = result["spikes"]
    rows = np.repeat(np.arange(24), spikes["row_size"].values.ravel()) // 8
    times = spikes["spike_time"].values
    edges = np.linspace(0, 0.5, 251)
    expected = [n for k in range(3) for n in brute(np.histogram(times[rows == k], edges)[0], 0)]
    assert abs(len(expected) - found.sizes["avalanche"]) <= 2  # spikes at an edge of a bin
    assert found["size"].sum() == pytest.approx(sum(expected), rel=0.02)
    assert found.attrs["bin"] == 2e-3


def test_activity_without_avalanches_says_why():
    assert avalanches(np.zeros(5)).attrs["note"] == "no spikes"
    assert avalanches(np.ones(5)).attrs["note"] == "never above the threshold"
    assert avalanches(np.ones(5), percentile=None).attrs["note"] == "never below the threshold"


@pytest.mark.parametrize(("exponent", "least", "most"), [(1.5, 1, 1000), (2.5, 3, 400), (0.7, 1, 50)])
def test_exponents_of_discrete_power_laws_are_found(exponent, least, most):
    rng = np.random.default_rng(11)
    x = np.arange(least, most + 1)
    p = x**-exponent / (x**-exponent).sum()
    sample = rng.choice(x, 5000, p=p)
    found = fit_power_law(sample, least=least, most=most)
    # At the maximum no other exponent is more likely.
    likely = lambda a: -a * np.log(sample).sum() - len(sample) * np.log((x**-a).sum())  # noqa: E731
    top = float(found.exponent)
    assert likely(top) > max(likely(top - 1e-3), likely(top + 1e-3))
    assert abs(top - exponent) < 4 * found.exponent_se
    assert found.ks < 1.95 / np.sqrt(5000)
    assert found.log_likelihood_ratio > 0
    assert found.p < 1e-3
    assert found.number == 5000


def test_errors_are_those_of_repeated_samples():
    rng = np.random.default_rng(5)
    x = np.arange(1, 201)
    p = x**-1.6 / (x**-1.6).sum()
    fits = [fit_power_law(rng.choice(x, 400, p=p), most=200) for _ in range(200)]
    spread = np.std([float(f.exponent) for f in fits])
    assert np.mean([float(f.exponent_se) for f in fits]) == pytest.approx(spread, rel=4 / np.sqrt(400))
    inside = np.mean([f.exponent_low < 1.6 < f.exponent_high for f in fits])
    assert abs(inside - 0.95) < 4 * np.sqrt(0.95 * 0.05 / 200)


def test_exponents_of_continuous_power_laws_are_found():
    rng = np.random.default_rng(2)
    u, a, least, most = rng.random(4000), 1.8, 0.5, 300.0
    sample = (least ** (1 - a) + u * (most ** (1 - a) - least ** (1 - a))) ** (1 / (1 - a))
    found = fit_power_law(sample, least=least, most=most, discrete=False)
    assert abs(found.exponent - a) < 4 * found.exponent_se
    assert found.ks < 1.95 / np.sqrt(4000)
    # The likelihood has a closed form.
    top = float(found.exponent)
    slope = np.log(sample).mean() - (
        (np.log(least) * least ** (1 - top) - np.log(most) * most ** (1 - top))
        / (least ** (1 - top) - most ** (1 - top))
        + 1 / (top - 1)
    )
    assert slope == pytest.approx(0, abs=1e-9)


def test_an_exponential_law_is_told_from_a_power_law():
    rng = np.random.default_rng(6)
    found = fit_power_law(rng.geometric(0.1, 2000))
    assert found.log_likelihood_ratio < 0
    assert found.p < 1e-3


def branching(m, drive, steps, seed, seen=1.0):
    rng = np.random.default_rng(seed)
    activity = np.zeros(steps, dtype=int)
    activity[0] = drive / (1 - m)
    for t in range(1, steps):
        activity[t] = rng.poisson(m * activity[t - 1]) + rng.poisson(drive)
    return rng.binomial(activity, seen)


@pytest.mark.parametrize("m", [0.6, 0.9, 0.98])
def test_the_ratio_of_a_branching_process_is_found(m):
    found = branching_ratio(branching(m, 10 * (1 - m), 60_000, 1), lags=30)
    assert abs(found.naive - m) < 4 * found.naive_se + 1e-3
    assert abs(found.multistep - m) < 4 * found.multistep_se + 1e-3
    assert found.multistep_se < 0.02
    assert found.b == pytest.approx(1, abs=0.1)
    assert found.autocorrelation_time == pytest.approx(-1 / np.log(found.multistep))


def test_the_multistep_ratio_does_not_mind_neurons_that_are_not_seen():
    m, seen = 0.95, 0.05
    found = branching_ratio(branching(m, 5.0, 150_000, 3, seen), lags=40)
    assert found.naive < 0.6
    assert abs(found.multistep - m) < 4 * found.multistep_se
    variance = 5 / (1 - m) / (1 - m**2)
    expected = seen**2 * variance / (seen**2 * variance + seen * (1 - seen) * 100)  # b of the seen part
    assert found.b == pytest.approx(expected, rel=0.1)


def test_activity_without_memory_has_no_decay():
    found = branching_ratio(np.tile([0.0, 3.0], 500), lags=5)
    assert found.note == "no decay"
    assert np.isnan(found.multistep)
    assert found.naive == pytest.approx(-1, abs=0.01)


def test_wrong_input_is_refused():
    with pytest.raises(ValueError, match="`percentile` must be ≥ 0 and < 100"):
        avalanches([1, 2], percentile=120)
    with pytest.raises(ValueError, match="`activity` must be finite, got nan at index 1"):
        avalanches([1, np.nan])
    with pytest.raises(ValueError, match="numbers of spikes ≥ 0, got -1"):
        avalanches([1, -1])
    with pytest.raises(TypeError, match="`activity` must be numeric"):
        avalanches("a")
    with pytest.raises(ValueError, match=r"over \(\[trial,\] time\)"):
        avalanches(np.zeros((2, 3, 4)))
    with pytest.raises(ValueError, match="`bin` is of results"):
        avalanches([1, 2], bin=2.0)
    with pytest.raises(ValueError, match="must be > 0, got 0"):
        fit_power_law([0, 1, 2])
    with pytest.raises(ValueError, match="`values` must be finite"):
        fit_power_law([1, np.inf])
    with pytest.raises(TypeError, match="`values` must be numeric"):
        fit_power_law(["a"])
    with pytest.raises(ValueError, match="must be whole numbers"):
        fit_power_law([1.5, 2])
    with pytest.raises(ValueError, match="0 < least < most"):
        fit_power_law([1, 1, 1])
    with pytest.raises(ValueError, match="0 < least < most"):
        fit_power_law([])
    with pytest.raises(ValueError, match="two different values from 1 to 10, got 3"):
        fit_power_law([4, 4, 4], most=10)
    with pytest.raises(ValueError, match="`level`"):
        fit_power_law([1, 2, 3], level=2)
    with pytest.raises(ValueError, match="does not vary"):
        branching_ratio(np.ones(2000))
    with pytest.raises(ValueError, match="too few for 20 lags and 10 blocks: at least 400"):
        branching_ratio(np.ones(200))
