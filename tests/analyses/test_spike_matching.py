"""Pairing of spikes against every pairing there is, and the scores and chance levels that follow."""

import time

import numpy as np
import pytest
import xarray as xr
from brian2 import ms, mV

from mnnbio import machine
from mnnbio.analyses import (
    SpikeTrains,
    chance_match,
    match_spikes,
    match_spikes_least_shift,
    spike_match,
)
from mnnbio.results import neuron_coords, ragged


def every_pairing(own, target, window):
    """Yield each set of pairs within a window, crossing ones included."""
    if not len(own):
        yield []
        return
    yield from every_pairing(own[:-1], target, window)
    last = len(own) - 1
    for j, time_of in enumerate(target):
        if abs(own[last] - time_of) <= window:
            for pairs in every_pairing(own[:-1], [t if k != j else np.inf for k, t in enumerate(target)], window):
                yield [*pairs, (last, j)]


def cost(pairs, own, target, window):
    return sum(abs(own[i] - target[j]) for i, j in pairs) + (window + 1) * (len(own) + len(target) - 2 * len(pairs))


def pairs_of(found):
    pairs = [(i, int(j)) for i, j in enumerate(found.own_partner) if j >= 0]
    assert [(int(i), j) for j, i in enumerate(found.target_partner) if i >= 0] == sorted(pairs, key=lambda p: p[1])
    return pairs


def random_train(rng, most=5, length=24):
    return np.sort(rng.integers(0, length, rng.integers(0, most + 1))).astype(float)


@pytest.mark.parametrize("seed", range(4))
def test_pairings_are_the_best_of_all(seed):
    rng = np.random.default_rng(seed)
    for _ in range(75):
        own, target, window = random_train(rng), random_train(rng), float(rng.integers(0, 8))
        every = list(every_pairing(list(own), list(target), window))
        most = pairs_of(match_spikes(own, target, window))
        assert sorted(most) in [sorted(p) for p in every]
        assert len(most) == max(map(len, every))
        least = pairs_of(match_spikes_least_shift(own, target, window))
        assert sorted(least) in [sorted(p) for p in every]
        assert cost(least, own, target, window) == min(cost(p, own, target, window) for p in every)


def test_batch_equals_loop():
    rng = np.random.default_rng(7)
    own = [random_train(rng, most, 150) for most in rng.integers(0, 60, 40)]
    target = [random_train(rng, most, 150) for most in rng.integers(0, 60, 40)]
    flat = [SpikeTrains(np.concatenate(side), np.array([len(one) for one in side])) for side in (own, target)]
    for match in (match_spikes, match_spikes_least_shift):
        together = match(own, target, 3.0)
        for found in (match(*flat, 3.0), together):
            np.testing.assert_array_equal(found.own_partner, together.own_partner)
        begin_own = begin_target = 0
        for mine, theirs in zip(own, target, strict=True):
            alone = match(mine, theirs, 3.0).own_partner
            expected = np.where(alone >= 0, alone + begin_target, -1)
            np.testing.assert_array_equal(together.own_partner[begin_own : begin_own + len(mine)], expected)
            begin_own, begin_target = begin_own + len(mine), begin_target + len(theirs)


def test_time_reversal_and_exchange_keep_the_number_of_pairs():
    rng = np.random.default_rng(3)
    for _ in range(50):
        own, target = np.sort(rng.uniform(0, 200, 30)), np.sort(rng.uniform(0, 200, 40))
        number = match_spikes(own, target, 2.5).own_matched.sum()
        assert match_spikes(target, own, 2.5).own_matched.sum() == number
        assert match_spikes(-own[::-1], -target[::-1], 2.5).own_matched.sum() == number


def test_sums_of_steps_reach_the_edge_of_a_window():
    steps = np.arange(1, 2000, 90)
    own, target = 0.1 * steps, np.cumsum(np.full(2100, 0.1))[steps + 39]  # exactly 4 ms apart, but for rounding
    assert match_spikes(own[:1], target[:1], 4.0).own_matched.all()
    assert match_spikes(own, target, 4.0).target_matched.all()
    assert not match_spikes(own, target, 3.99).own_matched.any()
    assert match_spikes_least_shift(own, target, 4.0).own_matched.all()


@pytest.mark.parametrize(("neurons", "spikes", "limit"), [(50, 10, 2e-3), (400, 51, 0.1)])
@pytest.mark.parametrize("match", [match_spikes, match_spikes_least_shift])
def test_pairing_is_fast(match, neurons, spikes, limit):
    rng = np.random.default_rng(0)
    length = 1000.0 if neurons == 50 else 15000.0
    own, target = ([np.sort(rng.uniform(0, length, spikes)) for _ in range(neurons)] for _ in range(2))
    window = 4.0 if neurons == 50 else 45.0
    taken = []
    for _ in range(7):
        begin = time.perf_counter()
        match(own, target, window)
        taken.append(time.perf_counter() - begin)
    assert min(taken) < 3 * limit  # of a machine that is busy otherwise


def test_of_equal_costs_the_latest_pairs_are_taken():
    assert match_spikes_least_shift([0.0, 2.0], [1.0], 1.0).own_partner.tolist() == [-1, 0]
    assert match_spikes([0.0, 2.0], [1.0], 1.0).own_partner.tolist() == [0, -1]


def test_fewer_pairs_may_cost_less():
    own, target = 4.0 * np.arange(6), 4.0 * np.arange(1, 7)
    assert match_spikes(own, target, 4.0).own_matched.sum() == 6
    assert match_spikes_least_shift(own, target, 4.0).own_matched.sum() == 5  # 2 · 5 against 6 · 4


def test_a_long_train_without_pauses_is_paired():
    long = np.arange(1500.0)
    found = match_spikes_least_shift([long, long[:9]], [long + 0.4, long[:9]], 4.0)
    np.testing.assert_array_equal(found.own_partner, np.arange(1509))


def test_trains_without_pauses_need_memory_that_is_there(monkeypatch):
    monkeypatch.setattr(machine, "free_memory", lambda: 1e8)
    long = np.arange(5000.0)
    assert match_spikes_least_shift(long, long + 0.2, 0.4).own_matched.all()  # pauses part it
    with pytest.raises(
        machine.NotEnoughMemory, match="tables that pair 5000 with 5000 spikes, which no pause parts, take"
    ):
        match_spikes_least_shift(long, long + 0.5, 4.0)


def test_a_silent_neuron_and_no_neuron_have_no_pairs():
    for match in (match_spikes, match_spikes_least_shift):
        assert len(match([], [1.0], 4.0).own_partner) == 0
        assert not match([[], [2.0]], [[1.0], []], 4.0).target_matched.any()
        assert match([1 * ms, 5 * ms], [1.5 * ms], 1 * ms).own_partner.tolist() == [0, -1]


@pytest.mark.parametrize("match", [match_spikes, match_spikes_least_shift, spike_match])
def test_wrong_trains_and_windows_are_refused(match):
    with pytest.raises(ValueError, match=r"`own` must ascend within a train, got 5 before 2 in neuron 1"):
        match([[1.0], [5.0, 2.0]], [[1.0], []], 4.0)
    with pytest.raises(ValueError, match="must have the same neurons, got 2 and 1 trains"):
        match([[1.0], [5.0]], [[1.0]], 4.0)
    with pytest.raises(ValueError, match="must be finite, got nan"):
        match(np.array([1.0, np.nan]), [1.0], 4.0)
    with pytest.raises(TypeError, match="one array a neuron, got array of float64, shape"):
        match(np.zeros((3, 10)), [1.0], 4.0)
    with pytest.raises(ValueError, match="`window` must be a time ≥ 0 ms, got -1 ms"):
        match([1.0], [1.0], -1.0)
    with pytest.raises(ValueError, match="`window` must be finite, got nan"):
        match([1.0], [1.0], np.nan)
    with pytest.raises(ValueError, match="must be in ms"):
        match([1.0], [1.0], 4 * mV)
    with pytest.raises(ValueError, match="add up to its 2 spikes, got 3"):
        match(SpikeTrains(np.array([1.0, 2.0]), np.array([3])), [1.0], 4.0)


def spikes(times, trials=1, duration=1.0):
    """Return trains, ms, over (trial, neuron) as a result's group."""
    neurons = len(times) // trials
    return ragged(
        1e-3 * np.concatenate([np.asarray(one, dtype=float) for one in times]),
        np.array([len(one) for one in times]).reshape(trials, neurons),
        ("trial", "neuron"),
        {**neuron_coords({"e": neurons}), "trial": ("trial", np.arange(trials))},
        duration=duration,
        warmup=0.1,
    )


def test_scores_of_arrays_and_results_agree():
    own, target = [[10.0, 50.0, 90.0], [20.0], [], []], [[12.0, 91.0], [100.0, 200.0], [5.0], []]
    plain, labelled = spike_match(own, target), spike_match(spikes(own), spikes(target))
    for found in (plain, labelled):
        assert found.pairs.values.tolist() == [2, 0, 0, 0]
        np.testing.assert_allclose(found.precision, [2 / 3, 0, np.nan, np.nan])
        np.testing.assert_allclose(found.recall, [1, 0, 0, np.nan])
        np.testing.assert_allclose(found.f_score, [0.8, 0, 0, np.nan])
        np.testing.assert_allclose(found["shift"], [-1.5, np.nan, np.nan, np.nan])
        assert found.note.values.tolist() == ["", "no pairs", "no own spikes", "no spikes"]
        assert found.total_precision == 2 / 4
        assert found.total_recall == 2 / 5
        assert found.total_f_score == 4 / 9
        assert found.attrs["window"] == 4e-3
    assert "population" in labelled.coords
    assert spike_match(own, target, 1 * ms).pairs.sum() == 1


def test_trials_are_pooled_and_the_warm_up_is_left_out():
    own = spikes([[-20.0, 10.0], [30.0], [10.0], [40.0, 60.0]], trials=2)
    target = spikes([[-20.0, 11.0], [30.0], [100.0], [41.0]], trials=2)
    found = spike_match(xr.DataTree.from_dict({"/spikes": own}), target)
    assert found.own_spikes.values.tolist() == [2, 3]
    assert found.pairs.values.tolist() == [1, 2]


def test_repeated_spikes_are_counted():
    found = spike_match([5.0, 5.0, 5.0], [5.0, 6.0])
    assert found.attrs["own_duplicates"] == 2
    assert found.pairs.values.tolist() == [2]


def test_results_that_differ_are_refused():
    with pytest.raises(ValueError, match="neither `own` nor `target` has any"):
        spike_match([[], []], [[], []])
    with pytest.raises(ValueError, match="must have the same stimuli, trials and neurons"):
        spike_match(spikes([[1.0], [2.0]]), spikes([[1.0]]))
    with pytest.raises(ValueError, match="must be of the same duration, got 1 s and 2 s"):
        spike_match(spikes([[1.0]]), spikes([[1.0]], duration=2.0))
    other = spikes([[1.0]]).assign_coords(population=("neuron", ["i"]))
    with pytest.raises(ValueError, match="their `population` differs"):
        spike_match(spikes([[1.0]]), other)
    counted = xr.Dataset({"count": (("trial", "time", "neuron"), np.ones((1, 2, 1)), {"bin": 0.1})})
    with pytest.raises(ValueError, match="`own` must have spike trains, the result has counts only"):
        spike_match(counted, [[1.0]])
    assert spike_match([], [1.0]).attrs["note"] == "no own spikes"


def test_chance_of_poisson_trains_is_that_of_independent_ones():
    rng = np.random.default_rng(1)
    length, rate, neurons = 2000.0, 0.01, 40
    own, target = (
        [np.sort(rng.uniform(0, length, rng.poisson(rate * length))) for _ in range(neurons)] for _ in range(2)
    )
    # Own trains equal the target: shifting must take away all that they share.
    for one in (own, target):
        chance = chance_match(one, target, 4.0, n=40, seed=2, duration=length)
        fresh = [
            float(spike_match([np.sort(rng.uniform(0, length, len(t))) for t in one], target).total_f_score)
            for _ in range(40)
        ]
        spread = np.sqrt((np.var(fresh) + np.var(chance.f_score_samples.values)) / 40)
        assert abs(float(chance.f_score) - np.mean(fresh)) < 4 * spread
        assert chance.f_score_low < chance.f_score < chance.f_score_high
    repeated = chance_match(target, target, 4.0, n=40, seed=2, duration=length)
    xr.testing.assert_identical(repeated, chance)
    assert spike_match(target, target).total_f_score == 1


def test_chance_takes_the_duration_of_a_result():
    own = spikes([[100.0, 300.0], [500.0]])
    chance = chance_match(own, own, n=5)
    xr.testing.assert_equal(
        chance, chance_match([[100.0, 300.0], [500.0]], [[100.0, 300.0], [500.0]], n=5, duration=1000 * ms)
    )


def test_wrong_requests_of_a_chance_level_are_refused():
    with pytest.raises(ValueError, match="need `duration`"):
        chance_match([1.0], [1.0])
    with pytest.raises(ValueError, match="must lie between 0 and the duration, 100 ms"):
        chance_match([1.0, 200.0], [1.0], duration=100.0)
    with pytest.raises(ValueError, match="longer than two smallest shifts of 50 ms"):
        chance_match([1.0], [1.0], duration=100.0)
    with pytest.raises(ValueError, match="`target` has none"):
        chance_match([1.0], [], duration=1000.0)
    with pytest.raises(ValueError, match="`n` must be an integer"):
        chance_match([1.0], [1.0], n=0, duration=1000.0)
    with pytest.raises(ValueError, match="`level` must be between 0 and 1"):
        chance_match([1.0], [1.0], level=95, duration=1000.0)
