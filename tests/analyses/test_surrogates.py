"""Surrogates keep what they promise, and significance holds its level."""

import numpy as np
import pytest
from test_train_statistics import DURATION, NEURONS, ROWS, TRAINS, poisson, trains_of

import mnnbio.analyses as a
from mnnbio.results import counts

METHODS = ("dither", "interval_dither", "jitter", "shuffle", "shift", "trial_shuffle", "renewal", "poisson")


def rows_of(spikes):
    edges = np.cumsum(spikes["row_size"].to_numpy().ravel())[:-1]
    return np.split(1e3 * spikes["spike_time"].to_numpy(), edges)


@pytest.mark.parametrize("method", METHODS)
def test_surrogates_are_trains_of_the_same_neurons(method):
    rows = [*poisson(6, 500.0, 40, 3), [], [20.0]]
    own = trains_of(rows, neurons=4, duration=500.0, dt=0.05)
    found = a.surrogate_trains(own, method, seed=1)
    again = a.surrogate_trains(own, method, seed=1)
    np.testing.assert_array_equal(found["spike_time"], again["spike_time"])
    assert found["row_size"].dims == ("trial", "neuron")
    assert found["population"].to_numpy().tolist() == ["E", "E", "I", "I"]
    for row in rows_of(found):
        assert (np.diff(row) >= 0).all()
        assert ((row >= 0) & (row < 500)).all()
    a.spike_statistics(found)  # whatever takes trains takes them
    if method not in ("renewal", "trial_shuffle"):
        np.testing.assert_array_equal(found["row_size"], own["row_size"])
    if method != "trial_shuffle":
        assert not np.array_equal(found["spike_time"], own["spike_time"])


def test_what_each_surrogate_keeps():
    moved = rows_of(a.surrogate_trains(TRAINS, "interval_dither", width=3.0, seed=2))
    for row, other in zip(ROWS, moved, strict=True):
        assert np.abs(row - other).max() <= 3.0
    windows = counts(a.surrogate_trains(TRAINS, "jitter", width=25.0, seed=2), 25.0)
    np.testing.assert_array_equal(windows, counts(TRAINS, 25.0))
    for row, other in zip(ROWS, rows_of(a.surrogate_trains(TRAINS, "shuffle", seed=2)), strict=True):
        intervals = [np.sort(np.diff(t, prepend=0.0)) for t in (row, other)]
        np.testing.assert_allclose(*intervals, atol=1e-8)
        assert other[-1] == pytest.approx(row[-1])
    for row, other in zip(ROWS, rows_of(a.surrogate_trains(TRAINS, "shift", seed=2)), strict=True):
        # Around the end of the record the same intervals in the same order.
        circle = [np.diff(np.append(t, t[0] + DURATION)) for t in (row, other)]
        assert any(np.allclose(circle[0], np.roll(circle[1], k), atol=1e-8) for k in range(len(row)))
    trials = trains_of(poisson(10, 300.0, 50, 1), neurons=2, duration=300.0)
    mixed = a.surrogate_trains(trials, "trial_shuffle", seed=5)
    for n in range(2):
        before, after = (sorted(rows_of(k)[n::2], key=len) for k in (trials, mixed))
        assert [len(row) for row in before] == [len(row) for row in after]
        np.testing.assert_allclose(sorted(np.concatenate(before)), sorted(np.concatenate(after)), atol=1e-9)


def test_dither_stays_near_and_is_reflected():
    rows = [np.array([1.0, 100.0, 199.0])]
    found = np.concatenate(
        [rows_of(a.surrogate_trains(rows, "dither", width=10.0, seed=k, duration=200.0))[0] for k in range(300)]
    )
    near = np.abs(found[:, None] - rows[0]).min(axis=1)
    assert near.max() <= 10
    assert found.min() >= 0
    assert found.max() < 200


def test_renewal_surrogates_have_the_intervals_of_the_neuron():
    rng = np.random.default_rng(0)
    # Irregular trains: gamma intervals of shape 4 in one neuron, exponential in the other.
    rows = [np.cumsum(rng.gamma(4, 5, 1000)), np.cumsum(rng.exponential(20, 1000))]
    rows = [row[row < 15000] for row in rows]
    cv = a.spike_statistics(rows, duration=15000.0, windows=[])["cv"].to_numpy()
    drawn = [
        a.spike_statistics(a.surrogate_trains(rows, "renewal", seed=k, duration=15000.0), windows=[]) for k in range(20)
    ]
    for n in range(2):
        found = np.array([float(s["cv"][n]) for s in drawn])
        assert found.mean() == pytest.approx(cv[n], abs=5 * found.std() / np.sqrt(20) + 0.01)
        rate = np.array([float(s["rate"][n]) for s in drawn])
        assert rate.mean() == pytest.approx(len(rows[n]) / 15, abs=5 * rate.std() / np.sqrt(20) + 0.1)


def test_significance_holds_its_level_and_finds_synchrony():
    def tiling(trains):
        return a.spike_time_tiling(trains, 3.0, blocks=0)["tiling"]

    rows = poisson(40, 2000.0, 30, 11)
    found = a.significance(tiling, rows, surrogate="shift", n=99, duration=2000.0, seed=1)
    upper = np.triu_indices(40, 1)
    p = found["p"].to_numpy()[upper]
    # 780 pairs of 40 neurons; p of 0.1 and less in a tenth of them.
    assert (p <= 0.1).mean() == pytest.approx(0.1, abs=5 * np.sqrt(0.09 / 780))
    assert not (found["p_adjusted"].to_numpy()[upper] < 0.05).any()
    shared = poisson(1, 2000.0, 20, 12)[0]
    rng = np.random.default_rng(3)
    pair = [np.sort(np.append(np.clip(shared + rng.normal(0, 1, len(shared)), 0, 1999), row)) for row in rows[:2]]
    for surrogate in ("dither", "shift", "poisson", "renewal"):
        found = a.significance(tiling, pair, surrogate=surrogate, n=99, duration=2000.0)
        assert float(found["p"][0, 1]) == pytest.approx(2 / 100)
        assert float(found["z"][0, 1]) > 4
        assert bool(found["undefined"][0, 0])  # of a train with itself all surrogates are 1
    one = a.significance(
        lambda s: a.spike_statistics(s, windows=[])["cv"].mean(), pair, n=19, duration=2000.0, side="less"
    )
    assert one["p"].dims == ()


def test_p_counts_surrogates_as_extreme():
    # The statistic is the number of the call: the data are the first, surrogates come after.
    calls = iter([10.0, *range(1, 20)])
    found = a.significance(lambda _: next(calls), TRAINS, n=19, side="greater")
    assert float(found["p"]) == pytest.approx((1 + 10) / 20)  # 10 to 19
    calls = iter([10.0, *range(1, 20)])
    assert float(a.significance(lambda _: next(calls), TRAINS, n=19, side="less")["p"]) == pytest.approx((1 + 10) / 20)


def test_false_discovery_rate():
    from scipy import stats

    p = np.array([0.001, 0.04, 0.03, 0.5, 0.011])
    from mnnbio.analyses.surrogates import _false_discovery

    np.testing.assert_allclose(_false_discovery(p), stats.false_discovery_control(p))
    found = _false_discovery(np.append(p, np.nan))
    np.testing.assert_allclose(found[:5], stats.false_discovery_control(p))
    assert np.isnan(found[5])


BAD = {
    "a width of 0": (
        lambda: a.surrogate_trains(TRAINS, width=0),
        "`width` must be a time > 0 ms and within the record",
    ),
    "one trial": (lambda: a.surrogate_trains(TRAINS, "trial_shuffle"), "two or more, there is one"),
    "another method": (lambda: a.surrogate_trains(TRAINS, "bootstrap"), "method"),
    "a dataset": (lambda: a.significance(a.spike_statistics, TRAINS, n=2), "got a Dataset: choose a variable of rate"),
    "NaN": (lambda: a.significance(lambda _: np.nan, TRAINS, n=2), "NaN of the data or of a surrogate everywhere"),
    "no surrogate": (lambda: a.significance(lambda _: 1.0, TRAINS, n=0), "`n`"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case):
    call, message = BAD[case]
    with pytest.raises((ValueError, TypeError), match=message):
        call()


def test_statistics_of_changing_shape_are_refused():
    sizes = iter([2, 3])
    with pytest.raises(ValueError, match="must keep its shape"):
        a.significance(lambda _: np.zeros(next(sizes)), TRAINS, n=1)
    assert TRAINS.sizes["neuron"] == NEURONS
