"""PSPM as a whole: that it learns, what it keeps, how it ends, and that it goes on where it was."""

import numpy as np
import pytest
from brian2 import ms, mV

from mnnbio import Circuit, Population, Projection, load
from mnnbio.learning import PSPM, CheckpointError, FrozenNetwork, ShrinkingWindow, SpikeTargets, spike_task
from mnnbio.neurons import AdEx

N = 20


@pytest.fixture(scope="module")
def task():
    return spike_task(3, n=N, rho=0.5, duration=300.0, held_out=1)


@pytest.fixture(scope="module")
def network(task):
    with task.network() as opened:
        yield opened


@pytest.fixture(scope="module")
def learned(task, network):
    return PSPM(passes=150, narrowest=2.0).fit(task.target, network)


def test_a_task_has_the_rate_and_the_ratio_asked_for(task, network):
    # The number of spikes of so small a network jumps as its current grows.
    assert task.target.rate == pytest.approx(10.0, rel=0.2)
    assert task.rho == pytest.approx(0.5, rel=0.3)
    reference = task.reference.projections[0].weights
    assert np.array_equal(network.spikes(network.run(reference)).raster, task.target.raster)
    held_out = network.spikes(network.run(reference, currents=task.held_out[0]))
    assert np.array_equal(held_out.raster, task.held_out_targets[0].raster)
    assert np.all((reference >= 0)[:, : N - 4])
    assert np.all((reference <= 0)[:, N - 4 :])
    assert not np.array_equal(task.learner.projections[0].weights, reference)


def test_first_errors_lead_to_the_target(task, network, learned):
    assert learned.best_f > 0.9 > learned.scores["naive F"] + 0.1
    assert learned.scores["best F"] == learned.best_f == pytest.approx(learned.history["F"].max())
    assert learned.scores["zero-weight F"] < learned.best_f
    assert learned.scores["chance F"] < learned.scores["naive F"]
    best = network.spikes(network.run(learned.details["best_weights"]))
    assert np.array_equal(best.raster, learned.best_spikes.raster)
    weights = learned.best.projections[0].weights
    assert np.array_equal(weights, learned.details["best_weights"])
    assert np.all(weights * network.signs >= 0)
    assert not np.diag(weights).any()
    assert 0.2 < learned.rho < 1.5


def test_the_plain_rule_learns_less_but_learns(task, network):
    plain = PSPM(passes=100, errors="all", credit="pool", homeostatic_rate=0.03).fit(task.target, network)
    assert plain.best_f > plain.scores["naive F"] + 0.1
    assert plain.status in ("passes used up", "converged")


def test_an_outcome_says_what_it_is_and_is_stored(learned, tmp_path):
    text = str(learned)
    assert "PSPM" in text
    assert "ρ =" in text
    assert "chance F" in text
    learned.save(tmp_path / "learned.nc")
    found = load(tmp_path / "learned.nc")
    assert np.array_equal(found["history/F"], learned.history["F"])
    assert found.attrs["status"] == learned.status
    again = Circuit.from_json(found.attrs["best_circuit"])
    assert np.array_equal(again.projections[0].weights, learned.best.projections[0].weights)
    assert found["target/row_size"].sum() == learned.target.n_spikes
    assert learned.history["window"].attrs["units"] == "ms"


def test_a_true_learner_has_nothing_to_learn(task, network):
    circuit = network.with_weights(task.reference.projections[0].weights)
    found = PSPM(passes=5).fit(task.target, circuit, dt=task.dt)
    assert (found.status, found.passes, found.best_f) == ("converged", 1, 1.0)
    assert found.last_f == 1.0
    assert np.array_equal(found.circuit.projections[0].weights, task.reference.projections[0].weights)
    assert "Every spike is matched within 4 ms" in found.message


def test_neurons_without_a_target_keep_their_weights(task, network):
    trains = list(task.target.times)
    trains[2] = trains[5] = None
    found = PSPM(passes=5, homeostatic_rate=0.05).fit(trains, network)
    changed = (found.details["weights"] != network.weights).any(axis=1)
    assert not changed[[2, 5]].any()
    assert changed.sum() > N / 2
    assert found.target.has_target.sum() == N - 2


def test_given_synapses_alone_change(task, network):
    allowed = np.random.default_rng(0).random((N, N)) < 0.3
    found = PSPM(passes=5).fit(task.target, network, connections=allowed)
    changed = found.details["weights"] != network.weights
    assert changed.any()
    assert not changed[~allowed].any()
    with pytest.raises(ValueError, match=r"`connections` must have shape \(20, 20\), got \(2, 2\)"):
        PSPM().fit(task.target, network, connections=np.ones((2, 2)))


def test_a_fit_goes_on_with_the_same_numbers(task, network, tmp_path):
    rule, path = PSPM(passes=12, homeostatic_rate=0.02, seed=4), tmp_path / "fit.npz"
    whole = rule.fit(task.target, network)
    halved = rule.fit(task.target, network, checkpoint=path, progress=lambda number, f: number >= 6)
    assert (halved.status, halved.passes) == ("stopped", 6)
    assert "`progress` ended it" in halved.message
    rest = rule.fit(task.target, network, checkpoint=path)
    assert rest.passes == 12
    assert np.array_equal(rest.history["F"], whole.history["F"])
    assert np.array_equal(rest.details["weights"], whole.details["weights"])
    assert np.array_equal(rest.details["best_weights"], whole.details["best_weights"])
    with pytest.raises(CheckpointError, match="checkpoint of another fit"):
        PSPM(passes=12, seed=5).fit(task.target, network, checkpoint=path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(CheckpointError, match="not a complete checkpoint"):
        rule.fit(task.target, network, checkpoint=path)
    assert [file.name for file in tmp_path.iterdir()] == ["fit.npz"]


def test_a_network_that_runs_away_is_stopped(task, network):
    found = PSPM(passes=50, learning_rate=200.0, signs_stay=False, errors="all", credit="pool", runaway=3.0).fit(
        task.target, network
    )
    assert found.status == "ran away"
    assert "more than 3 times the target's spikes" in found.message
    assert found.spikes.n_spikes <= 3 * task.target.n_spikes
    assert found.best_spikes.n_spikes <= 3 * task.target.n_spikes


def test_a_teacher_may_begin(task, network):
    found = PSPM(passes=6, teacher_passes=3).fit(task.target, network)
    assert found.history["teacher_forced"].values.tolist() == [1, 1, 1, 0, 0, 0]
    assert np.isfinite(found.best_f)


def test_local_or_homeostatic_changes_can_be_left_out(task, network):
    still = PSPM(passes=2, learning_rate=0.0).fit(task.target, network)
    assert np.array_equal(still.details["weights"], network.weights)
    scaled = PSPM(passes=2, learning_rate=0.0, homeostatic_rate=0.1, anneal="constant").fit(task.target, network)
    ratio = scaled.details["weights"] / np.where(network.connections, network.weights, 1.0)
    excitatory = ratio[:, : N - 4]
    for row in range(N):
        values = excitatory[row][network.connections[row, : N - 4]]
        assert values == pytest.approx(values[0])
    moved = PSPM(passes=1, learning_rate=0.0, homeostasis="shifting", homeostatic_rate=1e-3 * mV).fit(
        task.target, network
    )
    change = moved.details["weights"] - network.weights
    expected = 1e-3 * (task.target.counts - network.run().counts)
    assert np.allclose(change[3, [0, 1, 2]], expected[3], atol=1e-12)


def test_the_control_changes_as_much_elsewhere(task, network):
    rule = {"passes": 1, "signs_stay": False, "errors": "all", "credit": "pool"}
    own = PSPM(**rule).fit(task.target, network).details["weights"] - network.weights
    other = PSPM(**rule, random_synapses=True).fit(task.target, network).details["weights"] - network.weights
    mask = network.connections
    assert np.allclose(np.sort(own[mask]), np.sort(other[mask]), atol=1e-12)
    assert not np.allclose(own, other)


def test_windows_shrink(task, network):
    window = ShrinkingWindow(4.0 * ms, 2.0, 1.0, 2)
    assert [window.at(k) for k in range(7)] == [4, 4, 3, 3, 2, 2, 2]
    found = PSPM(passes=6, window=window, anneal="error", pairing="least shift").fit(task.target, network)
    assert found.history["window"].values.tolist() == [4, 4, 3, 3, 2, 2]
    assert np.allclose(found.history["learning_rate"], 1 - found.history["F"])
    with pytest.raises(ValueError, match="a window must shrink"):
        ShrinkingWindow(1.0, 2.0, 1.0, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"passes": 0}, "passes"),
        ({"teacher_passes": 3000}, "teacher_passes"),
        ({"errors": "last"}, "errors"),
        ({"credit": "blame"}, "credit"),
        ({"anneal": "cosine"}, "anneal"),
        ({"pairing": "greedy"}, "pairing"),
        ({"amounts": "normal"}, "amounts"),
        ({"homeostasis": "none"}, "homeostasis"),
        ({"learning_rate": -1.0}, "`learning_rate` must be ≥ 0"),
        ({"homeostatic_rate": 1.5}, "`homeostatic_rate` must be < 1"),
        ({"runaway": 0.5}, "`runaway` must be > 1"),
        ({"narrowest": 5.0}, "`narrowest` must be at most the window, 4 ms"),
        ({"pool": -1.0}, "`pool` must be ≥ 0"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        PSPM(**options)


def test_wrong_fits_are_refused(task, network):
    with pytest.raises(ValueError, match=r"at least a step, 0.5 ms"):
        PSPM(window=0.25).fit(task.target, network)
    with pytest.raises(ValueError, match=r"at least a step, 0.5 ms"):
        PSPM(narrowest=0.1).fit(task.target, network)
    with pytest.raises(ValueError, match="holds no spikes"):
        PSPM().fit([[]] * N, network)
    with pytest.raises(ValueError, match="one train per neuron of the network, 20"):
        PSPM().fit([[1.0]], network)
    with pytest.raises(ValueError, match="closer than its refractory period of 2 ms"):
        PSPM().fit([[10.0, 11.0]] * N, network)
    with pytest.raises(ValueError, match="give `currents`, `drives` and `duration` to the FrozenNetwork"):
        PSPM().fit(task.target, network, task.currents)
    with pytest.raises(ValueError, match="`learning_rate` must be given, mV, where all weights start at 0"):
        PSPM().fit(task.target, network.with_weights(np.zeros((N, N))), dt=task.dt)


def test_other_neurons_learn_by_the_pool_alone():
    rng = np.random.default_rng(0)
    circuit = Circuit(
        populations=[Population("n", 3, AdEx())],
        projections=[Projection("n", "n", weights=rng.uniform(0.1, 1, (3, 3)), tau_syn=5.0, delay=1.0)],
    )
    target = SpikeTargets(steps=[[40], [60], [80, 150]], dt=0.5, n_steps=200, populations={"n": 3})
    with FrozenNetwork(circuit, np.full((200, 3), 3.0), dt=0.5, codegen="runtime") as network:
        with pytest.raises(TypeError, match="credit='psp' needs leaky integrate-and-fire"):
            PSPM().fit(target, network)
        found = PSPM(passes=3, credit="pool").fit(target, network)
    assert found.passes == 3
    assert np.isnan(found.rho)


def test_a_rate_that_no_current_gives_is_refused():
    with pytest.raises(
        ValueError, match=r"no current makes the reference fire at 900 Hz, the nearest was .* below 500"
    ):
        spike_task(3, n=N, rho=0.5, rate=900.0, duration=300.0, held_out=0)


def test_spike_tasks_refuse_what_cannot_be():
    with pytest.raises(ValueError, match="must be > 0"):
        spike_task(0, rho=0.0)
    with pytest.raises(ValueError, match="`n` must be"):
        spike_task(0, n=2)
