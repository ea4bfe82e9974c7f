"""Linear programmes find weights that fire given spikes, or say which spikes contradict each other."""

import numpy as np
import pytest
from scipy import optimize

from mnnbio.learning import SpikeTargets, spike_task
from mnnbio.learning.clamped import ClampedNeurons
from mnnbio.learning.linear_programme import LinearProgramme

N, DT = 15, 0.5


def weights_of(circuit):
    (projection,) = circuit.projections
    return np.asarray(projection.weights)


@pytest.fixture(scope="module")
def task():
    return spike_task(3, n=N, rho=0.6, duration=400.0, held_out=0)


@pytest.fixture(scope="module")
def network(task):
    with task.network() as network:
        yield network


@pytest.fixture(scope="module")
def learned(task, network):
    return LinearProgramme().fit(task.target, network)


def with_train(task, neuron, steps):
    trains = list(task.target.steps)
    trains[neuron] = np.asarray(steps)
    return SpikeTargets(steps=trains, dt=DT, n_steps=task.target.n_steps, populations=task.target.populations)


def test_fires_the_target_of_its_own_kind_exactly(task, learned):
    assert learned.status == "converged"
    assert learned.best_f == 1.0
    assert learned.scores["F_clamped"] == 1.0
    for own, theirs in zip(learned.spikes.steps, task.target.steps, strict=True):
        assert np.array_equal(own, theirs)


def test_weights_keep_signs_and_synapses(network, learned):
    found = weights_of(learned.circuit)
    assert (found * network.signs >= 0).all()
    assert (found[~network.connections] == 0).all()
    assert not np.allclose(found, network.weights)


def test_added_steps_leave_the_solution_of_all_steps(task, network):
    """The greatest margin equals that of the programme with every step as a constraint, solved at once."""
    neurons = ClampedNeurons.of(network, task.target)
    options = LinearProgramme(norm=0.0, bound=10.0, margin=50.0)
    for neuron in (0, N - 1):
        found = options.solve(neurons, neuron, network.connections[neuron], network.signs, network.weights[neuron])
        own = neurons.affine(neuron, neurons.live(neuron))
        side = np.where(own.fires, 1.0, -1.0)
        sources = np.flatnonzero(network.connections[neuron])
        matrix = np.c_[-side[:, None] * own.response[:, sources], np.ones(len(side))]
        bounds = [(0, 10.0) if network.signs[k] > 0 else (-10.0, 0) for k in sources]
        whole = optimize.linprog(
            np.r_[np.zeros(len(sources)), -1.0],
            A_ub=matrix,
            b_ub=side * (own.external - 20.0),
            bounds=[*bounds, (None, 50.0)],
            method="highs-ipm",
        )
        assert found.margin == pytest.approx(whole.x[-1], abs=1e-5)
        assert found.rows < len(side) / 2
        distance = side * (own.external + own.response @ found.weights - 20.0)
        assert distance.min() == pytest.approx(found.margin, abs=1e-5)


def test_moved_targets_are_fired_by_slack(task, network):
    rng = np.random.default_rng(0)
    trains = []
    for train in task.target.steps:
        steps = np.unique(
            np.clip(np.rint(train + rng.normal(0, 2, len(train))), 0, task.target.n_steps - 1).astype(int)
        )
        trains.append(steps[np.r_[True, np.diff(steps) > 4]] if steps.size else steps)
    moved = SpikeTargets(steps=trains, dt=DT, n_steps=task.target.n_steps, populations=task.target.populations)
    found = LinearProgramme().fit(moved, network)
    assert found.best_f >= 0.8


def test_infeasible_neuron_is_named_with_the_steps(task, network):
    # Nothing can reach threshold in the first step: no spike has arrived by then.
    target = with_train(task, 2, [0, 300])
    found = LinearProgramme(slack="never", rounds=1).fit(target, network)
    assert found.status == "infeasible"
    assert "1 of 15 neurons (2) fire as asked" in found.message
    assert "cannot fire at 0 ms" in found.message
    assert list(found.details["conflicts"]) == [2]
    assert np.array_equal(found.details["conflicts"][2], [0])
    assert found.details["margin"][2] < 0
    np.testing.assert_array_equal(weights_of(found.circuit)[2], network.weights[2])


def test_slack_leaves_the_impossible_spike_out(task, network):
    found = LinearProgramme(rounds=1).fit(with_train(task, 2, [0, 300]), network)
    assert found.details["slack"][2] > 1
    assert found.details["slack"].sum() == pytest.approx(found.details["slack"][2])
    assert 0 not in found.spikes.steps[2]


def test_slack_always_and_tolerance_are_solved(task, network):
    found = LinearProgramme(slack="always", norm=0.1, tolerance=1.0, rounds=1).fit(task.target, network)
    assert found.scores["F_clamped"] > 0.8
    assert found.status in ("converged", "passes used up")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"margin": 0.0}, "`margin` must be ≥ 1e-05 mV"),
        ({"norm": -1.0}, "`norm` must be ≥ 0"),
        ({"bound": 0.0}, "`bound` must be > 0 mV"),
        ({"tolerance": -1.0}, "`tolerance` must be ≥ 0 ms"),
        ({"rounds": 0}, "`rounds` must be ≥ 1"),
        ({"slack": "sometimes"}, "slack"),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        LinearProgramme(**options)


def test_currents_beside_a_network_are_refused(task, network):
    with pytest.raises(ValueError, match="a FrozenNetwork has currents of its own"):
        LinearProgramme().fit(task.target, network, task.currents)


def test_window_shorter_than_a_step(task, network):
    with pytest.raises(ValueError, match="`window` must be one time of at least a step"):
        LinearProgramme(window=0.1).fit(task.target, network)
