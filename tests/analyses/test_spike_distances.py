"""Distances of spike trains against integrals of their kernels and the recursion of the paper that defines them."""

import functools

import numpy as np
import pytest
from brian2 import Hz, ms, mV
from scipy.ndimage import gaussian_filter1d

from mnnbio.analyses import (
    SpikeTrains,
    interval_histogram_distance,
    smoothed_population_distance,
    smoothed_train_distance,
    spike_distance,
    van_rossum_distance,
    victor_purpura_distance,
)
from mnnbio.results import neuron_coords, ragged


def trains(seed, neurons=6, length=300.0, most=12):
    rng = np.random.default_rng(seed)
    return [np.sort(rng.uniform(0, length, rng.integers(0, most + 1))) for _ in range(neurons)]


GRID = np.arange(-400, 1400, 0.02) + 0.0101


def smooth(times, kernel):
    return sum((kernel(GRID - t) for t in times), np.zeros_like(GRID))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("tau", [5.0, 40.0])
def test_van_rossum_is_the_integral_of_its_kernels(seed, tau):
    own, target = trains(seed), trains(seed + 50)
    kernels = {
        "exponential": (lambda t: np.where(t >= 0, np.exp(-np.maximum(t, 0) / tau), 0.0), tau),
        "gaussian": (lambda t: np.exp(-(t**2) / (2 * tau**2)), 2 * np.sqrt(np.pi) * tau),
    }
    for name, (kernel, norm) in kernels.items():
        expected = [
            ((smooth(a, kernel) - smooth(b, kernel)) ** 2).sum() * 0.02 / norm for a, b in zip(own, target, strict=True)
        ]
        found = van_rossum_distance(own, target, tau, kernel=name, squared=True)
        np.testing.assert_allclose(found, expected, rtol=4e-3, atol=2e-3)
        np.testing.assert_allclose(van_rossum_distance(own, target, tau, kernel=name) ** 2, found)


def test_van_rossum_of_pairs_is_that_of_the_recursion():
    own, target = trains(1, 5, 200.0), trains(2, 5, 200.0)
    for a, b, found in zip(own, target, van_rossum_distance(own, target, 7.0, squared=True), strict=True):
        total = lambda x, y: np.exp(-np.abs(np.subtract.outer(x, y)) / 7.0).sum()  # noqa: E731
        assert found == pytest.approx(0.5 * (total(a, a) + total(b, b) - 2 * total(a, b)), abs=1e-12)


@pytest.mark.parametrize("kernel", ["exponential", "gaussian"])
def test_van_rossum_of_known_trains(kernel):
    distance = functools.partial(van_rossum_distance, kernel=kernel)
    assert distance([], [], 10.0) == 0
    assert distance([3.0], [], 10.0, squared=True) == 0.5
    assert distance([3.0], [3e3], 10.0) == pytest.approx(1)
    same = trains(4)
    assert (distance(same, same, 10 * ms) == 0).all()
    assert distance([3.0, 3.0], [3.0], 10.0, squared=True) == 0.5
    rng = np.random.default_rng(0)
    a, b, c = ([np.sort(rng.uniform(0, 500, 20)) for _ in range(50)] for _ in range(3))
    assert (distance(a, c, 30.0) <= distance(a, b, 30.0) + distance(b, c, 30.0)).all()
    np.testing.assert_allclose(distance(a, b, 30.0), distance(b, a, 30.0))
    scaled = distance([7 * x for x in a], [7 * x for x in b], 210.0)
    np.testing.assert_allclose(scaled, distance(a, b, 30.0))


def victor_purpura_by_the_book(a, b, q):
    table = np.zeros((len(a) + 1, len(b) + 1))
    table[:, 0], table[0] = np.arange(len(a) + 1), np.arange(len(b) + 1)
    for i in range(len(a)):
        for j in range(len(b)):
            move = table[i, j] + q * abs(a[i] - b[j])
            table[i + 1, j + 1] = min(table[i, j + 1] + 1, table[i + 1, j] + 1, move)
    return table[-1, -1]


@pytest.mark.parametrize("cost", [0.0, 1e-3, 0.02, 0.1, 1.0, 50.0])
def test_victor_purpura_is_the_published_recursion(cost):
    for seed in range(20):
        own, target = trains(seed, most=25), trains(seed + 100, most=25)
        expected = [victor_purpura_by_the_book(a, b, cost) for a, b in zip(own, target, strict=True)]
        np.testing.assert_allclose(victor_purpura_distance(own, target, cost), expected, atol=1e-10)


def test_victor_purpura_takes_quantities():
    assert victor_purpura_distance([10 * ms], [12 * ms], 100 * Hz) == pytest.approx(0.2)


def test_smoothed_distances_are_those_of_sampled_trains():
    rng = np.random.default_rng(2)
    step, steps, sigma = 1.0, 8000, 74.0
    own, target = ((rng.random((9, steps)) < 0.01).astype(float) for _ in range(2))
    times = [[step * np.flatnonzero(row) + step / 2 for row in side] for side in (own, target)]
    peak = np.sqrt(2 * np.pi) * sigma
    smoothed = [peak * gaussian_filter1d(side, sigma, axis=1, mode="constant", truncate=8) for side in (own, target)]
    difference = smoothed[0] - smoothed[1]
    expected = (difference**2).mean(axis=1).sum()
    assert smoothed_train_distance(*times, step * steps) == pytest.approx(expected, rel=1e-3)
    expected = (difference.sum(axis=0) ** 2).mean() / 9
    assert smoothed_population_distance(*times, step * steps) == pytest.approx(expected, rel=1e-3)
    assert smoothed_population_distance(times[0], times[0][::-1], step * steps) == 0


def published_network(rng, inhibitory, current):
    """Return the trains, ms, of a network of Bagley et al. (2020): their step of 3 ms in plain NumPy."""
    weights = rng.uniform(0, 1.5, (400, 400)) * np.where(inhibitory, -1, 1)
    v, fired = np.zeros(400), np.zeros((len(current), 400), dtype=bool)
    for t, external in enumerate(current):
        fired[t] = spike = v > 30
        drive = weights @ spike + external
        v = np.where(spike, 0.09 * drive, v + 0.09 * (drive - v))
    return [3.0 * np.flatnonzero(column) for column in fired.T]


def test_smoothed_distances_are_as_large_as_the_published_ones():
    # Reference and naive learner of the paper's code: D_P = 61.8 and D_A = 28.0 in one run. A kernel of area 1, or a
    # sum of spikes instead of a mean over time, would miss them by orders.
    rng = np.random.default_rng(0)
    inhibitory, current = rng.permutation(400) < 80, rng.normal(25, 10, (5000, 400))
    reference, naive = (published_network(rng, inhibitory, current) for _ in range(2))
    assert 30 < smoothed_train_distance(naive, reference, 15_000) < 120
    assert 8 < smoothed_population_distance(naive, reference, 15_000) < 90


def test_interval_histograms_differ_by_their_fractions():
    own, target = [[0.0, 5.0, 10.0, 25.0], [0.0], [0.0, 20.0]], [[0.0, 15.0], [0.0, 1.0], [10.0, 30.0]]
    found = interval_histogram_distance(own, target, 10.0)
    np.testing.assert_allclose(found, [np.sqrt(2 * (2 / 3) ** 2), np.nan, 0.0])
    assert np.isnan(interval_histogram_distance([[], [1.0]], [[], []])).all()
    steps = 0.1 * np.cumsum(np.full(50, 3))  # intervals of 0.3 ms, three bins but for rounding
    assert interval_histogram_distance(steps, [0.0, 0.3], 0.1) == 0


def result(per_row, trials, duration=0.4):
    neurons = len(per_row) // trials
    return ragged(
        1e-3 * np.concatenate(per_row),
        np.array([len(one) for one in per_row]).reshape(trials, neurons),
        ("trial", "neuron"),
        {**neuron_coords({"e": neurons}), "trial": ("trial", np.arange(trials))},
        duration=duration,
    )


def test_distances_of_results_are_those_of_their_trials():
    own, target = trains(8), trains(9)
    found = spike_distance(result(own, 2), result(target, 2), tau=15.0, cost=0.05)
    square = van_rossum_distance(own, target, 15.0, squared=True)
    np.testing.assert_allclose(found.van_rossum, np.sqrt(square).reshape(2, 3).mean(axis=0))
    np.testing.assert_allclose(found.van_rossum_squared, square.reshape(2, 3).mean(axis=0))
    assert found.total_van_rossum == pytest.approx(np.sqrt(square.sum()))
    assert found.total_victor_purpura == pytest.approx(victor_purpura_distance(own, target, 0.05).sum())
    parts = [smoothed_population_distance(own[k : k + 3], target[k : k + 3], 400.0) for k in (0, 3)]
    assert found.smoothed_population == pytest.approx(np.mean(parts))
    parts = [smoothed_train_distance(own[k : k + 3], target[k : k + 3], 400.0) for k in (0, 3)]
    assert found.smoothed_trains == pytest.approx(np.mean(parts))
    plain = spike_distance(own, target, duration=400 * ms)
    assert plain.smoothed_trains == pytest.approx(smoothed_train_distance(own, target, 400.0))
    assert "smoothed_trains" not in spike_distance(own, target)
    assert spike_distance([[1.0], [1.0, 2.0]], [[2.0], [3.0, 4.0]]).note.values.tolist() == ["no intervals", ""]
    pooled = spike_distance(result([[1.0, 5.0], [1.0, 25.0]], 2), result([[1.0, 5.0], [1.0, 5.0]], 2))
    assert pooled.interval_histogram.values == pytest.approx(np.sqrt(0.5))
    # Intervals of all neurons: halves in two bins against one bin.
    shared = spike_distance([[1.0, 5.0], [1.0, 25.0]], [[1.0, 5.0], [1.0, 5.0]])
    assert shared.total_interval_histogram == pytest.approx(np.sqrt(0.5))


def test_wrong_input_is_refused():
    with pytest.raises(ValueError, match="`tau` must be a time > 0 ms, got 0 ms"):
        van_rossum_distance([1.0], [1.0], 0.0)
    with pytest.raises(ValueError, match="`tau` must be in ms"):
        van_rossum_distance([1.0], [1.0], 1 * mV)
    with pytest.raises(ValueError, match="Invalid value 'box' for `kernel`"):
        van_rossum_distance([1.0], [1.0], 1.0, kernel="box")
    with pytest.raises(ValueError, match="`cost` must be a number ≥ 0 per ms"):
        victor_purpura_distance([1.0], [1.0], -1.0)
    with pytest.raises(ValueError, match="must ascend"):
        victor_purpura_distance([2.0, 1.0], [1.0], 1.0)
    with pytest.raises(ValueError, match="`bin` must be a time > 0"):
        interval_histogram_distance([1.0], [1.0], -1.0)
    with pytest.raises(ValueError, match="must lie between 0 and the duration"):
        smoothed_train_distance([1.0, 50.0], [1.0], 40.0)
    with pytest.raises(ValueError, match="`duration` must be a time > 0"):
        smoothed_train_distance([], [], 0.0)
    with pytest.raises(ValueError, match="the same neurons, got 1 and 2 trains"):
        spike_distance(SpikeTrains(np.array([1.0]), np.array([1])), [[1.0], [2.0]])
