"""The compiled loops over spikes and their NumPy twins give the same."""

import numpy as np
import pytest

from mnnbio.analyses import spike_loops


@pytest.fixture
def both(monkeypatch):
    """Return a function that calls a loop in both ways."""
    if spike_loops.library() is None:
        pytest.skip("there is no C++ compiler")

    def call(name, *arguments):
        compiled = getattr(spike_loops, name)(*arguments)
        with monkeypatch.context() as patch:
            patch.setattr(spike_loops, "library", lambda: None)
            plain = getattr(spike_loops, name)(*arguments)
        return compiled, plain

    return call


@pytest.fixture
def trains():
    """Return times, starts and all pairs of trains, empty ones, single spikes and equal times among them."""
    rng = np.random.default_rng(1)
    sizes = np.array([0, 1, 2, 30, 50, 40, 3, 60])
    rows = [np.sort(np.round(rng.uniform(0, 1000, s), 0 if k % 2 else 3)) for k, s in enumerate(sizes)]
    return np.concatenate(rows), np.concatenate([[0], np.cumsum(sizes)]), np.triu_indices(8)


def test_interval_moments(both, trains):
    times, start, _ = trains
    for found in zip(*both("interval_moments", times, start, np.array([0, 0, 1, 2, 3, 3, 4, 5]), 6, 5.0), strict=True):
        np.testing.assert_allclose(*found, rtol=1e-11, atol=1e-9)


def test_counts_and_kernels(both, trains):
    times, start, (i, j) = trains
    place = (times // 5).astype(np.int64)
    np.testing.assert_array_equal(*both("counts_between", times, start, np.linspace(100, 900, 7)))
    np.testing.assert_array_equal(*both("count_products", place, start, np.arange(8), 8, 201))
    kernel = np.random.default_rng(0).random(7)
    np.testing.assert_allclose(*both("stamp", place, start, np.arange(8) // 2, 4, 201, kernel), rtol=1e-12)
    np.testing.assert_array_equal(*both("correlograms", place, start, i, j, 20))


def test_pairs(both, trains):
    times, start, (i, j) = trains
    np.testing.assert_array_equal(*both("tiled_spikes", times, start, i, j, 5.0))
    # Time constants of which the record holds many: sums are carried from segment to segment.
    for tau in (0.01, 2.0, 500.0):
        np.testing.assert_allclose(*both("exponential_products", times, start, i, j, tau), rtol=1e-11)
        np.testing.assert_allclose(*both("exponential_matrix", times, start, tau), rtol=1e-11)
    for cost in (0.001, 0.05, 3.0):
        np.testing.assert_allclose(*both("least_costs", times, start, i, j, cost), rtol=1e-11)
    for found in zip(*both("kreuz_distances", times, start, i, j, 0.0, 1000.0), strict=True):
        np.testing.assert_allclose(*found, rtol=1e-11, atol=1e-13)


def test_rows(both, trains):
    times, start, _ = trains
    rng = np.random.default_rng(3)
    np.testing.assert_array_equal(*both("shuffle_rows", times, start, rng.random(len(times))))
    np.testing.assert_array_equal(*both("sort_rows", times + rng.normal(0, 50, len(times)), start))
    bits = (rng.random((30, 300)) < np.linspace(0, 1, 30)[:, None]).astype(np.uint8)
    np.testing.assert_array_equal(*both("lempel_ziv_words", bits))


def test_shuffles_are_even():
    # Every order of three values is as likely.
    rng = np.random.default_rng(0)
    start = np.arange(0, 3 * 6001, 3)
    found = spike_loops.shuffle_rows(np.tile([0.0, 1.0, 2.0], 6000), start, rng.random(18000)).reshape(-1, 3)
    number = np.unique(found @ [9, 3, 1], return_counts=True)[1]
    assert len(number) == 6
    assert np.abs(number - 1000).max() < 4.5 * np.sqrt(1000 * 5 / 6)


def test_nothing_compiled_in_an_analysis(monkeypatch):
    import mnnbio.analyses as a

    rows = [np.arange(1.0, 90, 7), np.arange(2.0, 90, 5), np.zeros(0)]
    whole = a.spike_statistics(rows, duration=100.0, min_intervals=2)
    matrix = a.spike_time_tiling(rows, 2.0, duration=100.0, blocks=2)
    monkeypatch.setattr(spike_loops, "library", lambda: None)
    np.testing.assert_allclose(
        a.spike_statistics(rows, duration=100.0, min_intervals=2)["lvr"], whole["lvr"], rtol=1e-12
    )
    plain = a.spike_time_tiling(rows, 2.0, duration=100.0, blocks=2)
    np.testing.assert_allclose(plain["tiling"], matrix["tiling"], rtol=1e-12)
