"""The published setting: its update order in the engine, its ensembles and its rule."""

import numpy as np
import pytest

from mnnbio.learning import (
    FrozenNetwork,
    SpikeTargets,
    probabilistic_target,
    published_currents,
    published_network,
    published_pspm,
    published_ratio,
    published_task,
    recorded_pspm,
    recorded_task,
)

N, STEPS = 40, 600


@pytest.fixture(scope="module")
def task():
    return published_task(1, n=N, n_steps=STEPS)


def test_spikes_are_those_of_the_published_loop():
    rng = np.random.default_rng(0)
    weights = rng.uniform(0, 4.5, (N, N)) * np.where(np.arange(N) < 8, -1, 1)
    inputs = rng.normal(25, 10, (STEPS, N))
    v, spikes, contributions = np.zeros(N), np.zeros((STEPS + 1, N), bool), np.zeros((2, STEPS, N))
    inside, outside = np.zeros(N), np.zeros(N)
    for step in range(STEPS):
        s = v > 30
        spikes[step] = s
        v = np.where(s, 0.0, v - 0.09 * v) + 0.09 * (weights @ s + inputs[step])
        outside = 0.91 * outside + 0.09 * (inputs[step] - inputs.mean(axis=0))
        contributions[1, step] = outside
    spikes[STEPS] = v > 30
    with FrozenNetwork(published_network(weights), published_currents(inputs), dt=3.0) as network:
        passed = network.run()
        assert spikes.sum() > 50
        assert np.array_equal(network.spikes(passed).raster, spikes[1:])
        for step in range(STEPS):
            inside = 0.91 * inside + 0.09 * (weights @ spikes[step + 1])
            contributions[0, step] = inside
        expected = np.sqrt(contributions[0].var(axis=0).sum() / contributions[1].var(axis=0).sum())
        assert published_ratio(network, network.weights, passed) == pytest.approx(expected, rel=1e-9)


def test_the_task_is_the_published_one(task):
    reference, learner = (c.projections[0].weights / 0.09 for c in (task.reference, task.learner))
    assert np.abs(reference).max() <= 1.5
    inhibitory = (reference < 0).any(axis=0)
    assert inhibitory.sum() == N // 5
    assert np.array_equal(inhibitory, (learner < 0).any(axis=0))
    assert np.count_nonzero(reference) == N * N  # autapses included
    # Uniform up to 1.5 mV: mean 0.75 mV, standard error 0.433/N, five of them.
    assert np.abs(reference).mean() == pytest.approx(0.75, abs=5 * 0.433 / N)
    assert task.currents.mean() * 3 / 0.09 == pytest.approx(25, abs=5 * 10 / np.sqrt(N * STEPS))
    assert task.rho > 0


def test_the_preset_learns_within_its_bounds(task):
    rule = published_pspm(passes=10)
    assert rule.window.at(0) == 42.0
    assert rule.window.at(149) == 15.0
    with task.network() as network:
        found = rule.fit(task.target, network)
        assert found.passes == 10
        change = found.details["weights"] - network.weights
        assert np.abs(change).max() > 0
        # Whole numbers of 0.09 times 0.8 µV, but for homeostasis and where weights are cut at 0.
        found = published_pspm(passes=1, homeostatic_rate=0.0, signs_stay=False).fit(task.target, network)
        steps = (found.details["weights"] - network.weights) / (0.09 * 8e-4)
        assert np.abs(steps - np.rint(steps)).max() < 1e-6
        assert np.abs(steps).max() >= 5


@pytest.mark.parametrize("ensemble", ["gaussian", "sparse", "half"])
def test_other_ensembles(ensemble):
    found = published_task(0, n=20, n_steps=20, ensemble=ensemble)
    reference, learner = (np.abs(c.projections[0].weights) / 0.09 for c in (found.reference, found.learner))
    if ensemble == "sparse":
        assert 0.4 < (reference == 0).mean() < 0.6
    if ensemble == "half":
        assert learner.max() <= 0.75 < reference.max()
    if ensemble == "gaussian":
        assert reference.std() == pytest.approx(0.25, rel=0.2)


def test_trains_of_other_kinds_are_learned_without_inhibition():
    target = probabilistic_target(0, n=20, n_steps=400)
    assert 0.5 < target.rate < 20
    task = recorded_task(target, seed=1)
    assert (task.learner.projections[0].weights >= 0).all()
    assert np.isnan(task.rho)
    with task.network() as network:
        found = recorded_pspm(passes=2).fit(task.target, network)
    assert found.passes == 2
    assert recorded_pspm().learning_rate == pytest.approx(0.09e-5)
    with pytest.raises(ValueError, match="steps of 3 ms, got a target in steps of 1 ms"):
        recorded_task(SpikeTargets(steps=[[1]], dt=1.0, n_steps=5, populations={"n": 1}), 0)
    with pytest.raises(ValueError, match="ensemble"):
        published_task(0, ensemble="other")
