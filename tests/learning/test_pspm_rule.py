"""The parts of PSPM against loops over single spikes."""

import numpy as np
import pytest

from mnnbio.learning import Passed
from mnnbio.learning.pspm_rule import (
    at_random_synapses,
    find_errors,
    homeostatic_factors,
    keep_signs,
    local_update,
    pool_credit,
    scaled_weights,
    shifted_weights,
    until_first,
)

SIZE, STEPS = 6, 200


def passed(seed: int, rate: float = 0.05) -> Passed:
    raster = np.random.default_rng(seed).random((SIZE, STEPS)) < rate
    neuron, step = np.nonzero(raster)
    return Passed(neuron, step, raster.sum(axis=1))


def test_errors_are_the_spikes_left_over():
    own, target, has = passed(0), passed(1), np.array([True, True, False, True, True, True])
    errors = find_errors(own, target, 3, has)
    assert 2 not in errors.neuron
    assert np.all(np.diff(errors.neuron) >= 0)
    # By hand: the earliest partner for each spike in turn, which is the most there can be.
    matched = 0
    for k in np.flatnonzero(has):
        left = target.step[target.neuron == k].tolist()
        for step in own.step[own.neuron == k]:
            partner = next((t for t in left if abs(t - step) <= 3), None)
            if partner is not None:
                matched += 1
                left = [t for t in left if t > partner]
    assert errors.matched == matched
    n_own, n_target = (int(side.counts[has].sum()) for side in (own, target))
    assert (errors.unmatched_own, errors.unmatched_target) == (n_own - matched, n_target - matched)
    assert errors.f == pytest.approx(2 * matched / (n_own + n_target))
    assert errors.precision == pytest.approx(matched / n_own)
    assert errors.recall == pytest.approx(matched / n_target)
    assert errors.sign.sum() == errors.unmatched_target - errors.unmatched_own


def test_equal_trains_have_no_errors():
    both = passed(0)
    for pairing in ("most", "least shift"):
        errors = find_errors(both, both, 1, np.ones(SIZE, bool), pairing)
        assert len(errors.step) == 0
        assert errors.f == 1.0
        assert until_first(errors, 1, SIZE) is errors


def test_errors_after_the_first_and_the_window_are_left_out():
    errors = find_errors(passed(0), passed(1), 3, np.ones(SIZE, bool))
    early = until_first(errors, 5, SIZE)
    expected = [
        (n, t)
        for n, t in zip(errors.neuron, errors.step, strict=True)
        if t <= errors.step[errors.neuron == n].min() + 5
    ]
    assert list(zip(early.neuron, early.step, strict=True)) == expected
    assert 0 < len(early.step) < len(errors.step)
    assert early.matched == errors.matched


def test_the_pool_is_who_fired_before():
    before, delay = passed(2), np.array([0, 1, 2, 3, 4, 5])
    steps = np.array([0, 3, 50, 120, STEPS - 1])
    credit = pool_credit(before, steps, 10, delay, STEPS)
    for row, step in enumerate(steps):
        for source in range(SIZE):
            fired = before.step[before.neuron == source]
            inside = (fired >= step - delay[source] - 10) & (fired <= step - delay[source])
            assert credit[row, source] == float(inside.any())


def test_changes_add_up_over_errors():
    errors = find_errors(passed(0), passed(1), 3, np.ones(SIZE, bool))
    credit = np.random.default_rng(3).random((len(errors.step), SIZE))
    change = local_update(errors, credit, SIZE, np.random.default_rng(0), "equal")
    expected = np.zeros((SIZE, SIZE))
    for row in range(len(errors.step)):
        expected[errors.neuron[row]] += errors.sign[row] * credit[row]
    assert np.allclose(change, expected, rtol=1e-13, atol=0)


def test_amounts_are_random_as_published():
    errors = find_errors(passed(0), passed(1), 3, np.ones(SIZE, bool))
    one = errors._replace(neuron=errors.neuron[:1], step=errors.step[:1], sign=np.ones(1))
    drawn = np.concatenate(
        [
            local_update(one, np.ones((1, SIZE)), SIZE, np.random.default_rng(seed), "integers")[one.neuron[0]]
            for seed in range(200)
        ]
    )
    assert set(drawn) == set(range(10))
    uniform = local_update(one, np.ones((1, SIZE)), SIZE, np.random.default_rng(0), "uniform")[one.neuron[0]]
    assert np.all((uniform > 0) & (uniform < 1))
    assert not local_update(one._replace(neuron=one.neuron[:0], step=one.step[:0], sign=one.sign[:0]),
                            np.ones((0, SIZE)), SIZE, np.random.default_rng(0), "uniform").any()  # fmt: skip


def test_homeostasis_moves_towards_the_target():
    factors = homeostatic_factors(np.array([1, 4, 30]), np.array([2, 2, 0]))
    assert factors.tolist() == [0.5, -1.0, -1.0]
    weights = np.array([[1.0, -2.0, 0.0]] * 3)
    found = scaled_weights(weights, factors, 0.1)
    assert np.allclose(found, [[1.05, -1.9, 0.0], [0.9, -2.2, 0.0], [0.9, -2.2, 0.0]])
    assert np.allclose(shifted_weights(np.array([3, 1]), np.array([5, 1]), 0.2), [[0.4], [0.0]])


def test_the_control_moves_the_same_amounts_elsewhere():
    connections = ~np.eye(SIZE, dtype=bool)
    change = np.random.default_rng(0).normal(size=(SIZE, SIZE)) * connections
    other = at_random_synapses(change, connections, np.random.default_rng(1))
    assert np.allclose(np.sort(other[connections]), np.sort(change[connections]), rtol=0, atol=0)
    assert not np.diag(other).any()
    assert not np.array_equal(other, change)


def test_signs_are_kept_where_there_is_one():
    found = keep_signs(np.array([[1.0, -1.0, -1.0], [-1.0, 1.0, 1.0]]), np.array([1.0, -1.0, 0.0]))
    assert found.tolist() == [[1.0, -1.0, -1.0], [0.0, 0.0, 1.0]]
