"""The physics of a simulation, each point on a case with a known answer."""

import numpy as np
import pytest
from scipy import stats

from mnnbio import (
    Circuit,
    GaussianDrive,
    LIFParameters,
    ModeMatrix,
    PoissonDrive,
    PoissonSource,
    Population,
    Projection,
)
from mnnbio.spikes import planner
from mnnbio.spikes.building import build
from mnnbio.spikes.network import make_network, start_presentations
from mnnbio.spikes.planner import plan_circuit
from mnnbio.spikes.session import brian_session
from mnnbio.spikes.streams import presentation_key

DT = 0.1
K = 4.0  # standard errors


def spike_steps(circuit, duration, neuron=0, **options):
    """Steps at which one neuron fires, from the start, run in Python."""
    return all_spike_steps(circuit, duration, **options)[neuron]


def all_spike_steps(circuit, duration, *, dt=DT, seed=0):
    with build(circuit, dt=dt, codegen="runtime") as program:
        trains = program.run(duration, seed=seed)
    return np.split(trains.step, np.cumsum(trains.row_size.ravel())[:-1])


def membrane(circuit, n_steps, replicas, population):
    """Membrane potentials (mV) of independent copies after some steps, (replica, neuron)."""
    with brian_session("runtime"):
        from brian2 import ms

        made = make_network(plan_circuit(circuit, dt=DT, replicas=replicas), connected=True)
        keys = np.array([presentation_key(1, 0, trial) for trial in range(replicas)])
        start_presentations(made, np.zeros(replicas, np.int64), keys)
        made.network.run(n_steps * DT * ms, namespace={})
        return 1e3 * np.array(made.groups[population].v_[:]).reshape(replicas, -1)


def always(name, size=1):
    """A source that fires in every step."""
    return PoissonSource(name, size, rates=np.full(size, 1 / DT))


def never_firing(n, tau_m=20.0):
    return LIFParameters(tau_m=np.broadcast_to(tau_m, n), v_th=1e6)


def test_constant_current_gives_the_first_passage_and_the_refractory_period_exactly():
    mean = np.array([1.01, 1.5, 3.0, 1.2, 2.0])
    lif = LIFParameters(
        tau_m=[20.0, 20.0, 10.0, 20.0, 15.0],
        v_th=[20.0, 20.0, 20.0, 12.0, 5.0],
        v_reset=[0.0, 5.0, -3.0, 10.0, 0.0],
        t_ref=[5.0, 0.0, 2.0, 0.1, 1.3],
    )
    circuit = Circuit([Population("n", 5, lif)], drives=[GaussianDrive("n", mean=mean)])
    v_inf = lif.tau_m * mean
    first = np.ceil(-lif.tau_m * np.log1p(-lif.v_th / v_inf) / DT)
    passage = np.ceil(lif.tau_m * np.log((v_inf - lif.v_reset) / (v_inf - lif.v_th)) / DT)
    for n, steps in enumerate(all_spike_steps(circuit, 250.0)):
        assert steps[0] == first[n] - 1
        assert set(np.diff(steps)) == {passage[n] + round(lif.t_ref[n] / DT)}


@pytest.mark.parametrize("weight", [0.5, 3.0, 25.0])
def test_a_neuron_that_gets_a_spike_in_every_step_counts_it_before_the_threshold_test(weight):
    lif = LIFParameters(t_ref=2.0)
    circuit = Circuit([always("in"), Population("n", 1, lif)], [Projection("in", "n", weights=[[weight]])])
    steps = spike_steps(circuit, 60.0)
    a = np.exp(-DT / 20.0)
    passage = int(np.argmax(weight * (1 - a ** np.arange(400)) / (1 - a) >= 20.0))
    assert steps[0] == passage - 1
    assert set(np.diff(steps)) == {passage + 20}


def test_input_is_lost_for_exactly_the_refractory_period():
    # The driver fires every 10 steps; a driven neuron fires at each arrival that finds it ready.
    driver = LIFParameters(v_th=1.0, t_ref=0.9)
    driven = LIFParameters(t_ref=[0.0, 0.9, 1.0, 1.9, 2.0])
    circuit = Circuit(
        [always("in"), Population("driver", 1, driver), Population("driven", 5, driven)],
        [Projection("in", "driver", weights=[[2.0]]), Projection("driver", "driven", weights=np.full((5, 1), 30.0))],
    )
    driver_steps, *driven_steps = all_spike_steps(circuit, 30.0)
    assert set(np.diff(driver_steps)) == {10}
    assert [set(np.diff(steps)) for steps in driven_steps] == [{10}, {10}, {20}, {20}, {30}]


@pytest.mark.parametrize(("delay", "steps"), [(0.0, 1), (0.1, 1), (0.2, 2), (1.5, 15)])
def test_delays_between_neurons_are_exact_and_at_least_one_step(delay, steps):
    lif = LIFParameters(v_th=1.0, t_ref=1000.0)
    circuit = Circuit(
        [always("in"), Population("a", 1, lif), Population("b", 1, lif)],
        [Projection("in", "a", weights=[[2.0]]), Projection("a", "b", weights=[[2.0]], delay=delay)],
    )
    first, second = all_spike_steps(circuit, 10.0)
    assert (first[0], second[0]) == (0, steps)


@pytest.mark.parametrize(("delay", "steps"), [(0.0, 0), (0.1, 1), (1.5, 15)])
def test_the_spike_of_a_source_arrives_in_its_own_step_plus_the_delay(delay, steps):
    circuit = Circuit(
        [always("in"), Population("n", 1, LIFParameters(v_th=1.0, t_ref=1000.0))],
        [Projection("in", "n", weights=[[2.0]], delay=delay)],
    )
    assert spike_steps(circuit, 10.0)[0] == steps


def test_a_presentation_starts_from_rest_with_nothing_in_flight():
    # A spike that is under way, or a neuron that is refractory, at the end must not reach the next trial.
    lif = LIFParameters(v_th=1.0, t_ref=5.0)
    circuit = Circuit(
        [always("in"), Population("a", 1, lif), Population("b", 1, lif)],
        [Projection("in", "a", weights=[[2.0]]), Projection("a", "b", weights=[[2.0]], delay=1.0)],
    )
    with build(circuit, dt=DT, codegen="runtime", replicas=1) as program:
        trains = program.run(5.8, trials=3, seed=0)
    assert trains.row_size.tolist() == [[[2, 1]] * 3]
    assert trains.step.reshape(3, 3).tolist() == [[0, 51, 10]] * 3


def test_the_free_membrane_has_the_moments_of_the_continuous_process():
    # Two Gaussian drives add; noise shared through `factor` gives the covariances.
    factor = np.array([[0.5, 0.1], [0.3, -0.4], [0.0, 0.6]])
    mean, std = np.array([0.5, -0.2, 0.1]), np.array([0.4, 0.7, 0.0])
    circuit = Circuit(
        [Population("n", 3, never_firing(3))],
        drives=[GaussianDrive("n", mean=mean, std=std, factor=factor), GaussianDrive("n", mean=0.1, std=0.3)],
    )
    n_steps, replicas = 300, 4000
    v = membrane(circuit, n_steps, replicas, "n")
    decay = np.exp(-n_steps * DT / 20.0)
    expected_mean = 20.0 * (mean + 0.1) * (1 - decay)
    expected = (np.diag(std**2 + 0.3**2) + factor @ factor.T) * 10.0 * (1 - decay**2)
    assert np.all(np.abs(v.mean(0) - expected_mean) < K * np.sqrt(np.diag(expected) / replicas))
    spread = np.sqrt((expected**2 + np.outer(np.diag(expected), np.diag(expected))) / replicas)
    assert np.all(np.abs(np.cov(v.T) - expected) < K * spread)


def test_time_constants_of_single_neurons_shape_their_noise():
    tau_m = np.array([5.0, 20.0, 80.0])
    drive = GaussianDrive("n", mean=1.0, std=0.5, factor=np.full((3, 1), 0.5))
    v = membrane(Circuit([Population("n", 3, never_firing(3, tau_m))], drives=[drive]), 200, 4000, "n")
    leak = 1 / tau_m
    pair = leak[:, None] + leak
    expected = (0.25 * np.eye(3) + 0.25) * (1 - np.exp(-pair * 20.0)) / pair
    assert np.all(np.abs(v.mean(0) - tau_m * (1 - np.exp(-20.0 / tau_m))) < K * np.sqrt(np.diag(expected) / 4000))
    spread = np.sqrt((expected**2 + np.outer(np.diag(expected), np.diag(expected))) / 4000)
    assert np.all(np.abs(np.cov(v.T) - expected) < K * spread)


def test_jumps_of_sources_are_bernoulli_and_of_drives_poisson():
    rate, weight, n_steps, replicas = 4.0, 0.2, 100, 4000
    circuit = Circuit(
        [PoissonSource("in", 1, rates=[rate]), *(Population(name, 1, never_firing(1)) for name in "ab")],
        [Projection("in", "a", weights=[[weight]])],
        [PoissonDrive("b", rate, weight)],
    )
    a = np.exp(-DT / 20.0)
    total, squares = (1 - a**n_steps) / (1 - a), (1 - a ** (2 * n_steps)) / (1 - a**2)
    p = rate * DT
    for name, variance in (("a", p * (1 - p)), ("b", p)):
        v = membrane(circuit, n_steps, replicas, name)[:, 0]
        expected = weight**2 * variance * squares
        assert abs(v.mean() - weight * p * total) < K * np.sqrt(expected / replicas)
        assert abs(v.var() - expected) < K * expected * np.sqrt(2 / replicas)


@pytest.mark.slow
def test_a_source_fires_as_often_as_its_rate_says():
    # Every source spike makes its own neuron fire, so the neurons' counts are those of the trains.
    rates = np.array([0.0, 0.02, 0.5, 3.0, 9.0, 10.0])
    circuit = Circuit(
        [PoissonSource("in", 6, rates=rates), Population("n", 6, LIFParameters(v_th=1.0, t_ref=0.0))],
        [Projection("in", "n", weights=2.0 * np.eye(6))],
    )
    with build(circuit, dt=DT, codegen="runtime") as program:
        counts = program.run(10.0, trials=1000, seed=3).row_size[0]
    n, p = 100, rates * DT
    variance = n * p * (1 - p)
    assert np.all(np.abs(counts.mean(0) - n * p) <= K * np.sqrt(variance / 1000))
    # fourth central moment of the binomial distribution, for the error of the variance
    fourth = 3 * variance**2 + variance * (1 - 6 * p * (1 - p))
    assert np.all(np.abs(counts.var(0) - variance) <= K * np.sqrt((fourth - variance**2) / 1000) + 1e-12)
    correlation = np.corrcoef(counts[:, 1:5].T)[np.triu_indices(4, 1)]
    assert np.abs(correlation).max() < K / np.sqrt(1000)


def test_sources_are_shared_and_poisson_drives_private():
    lif = LIFParameters(v_th=1.0, t_ref=0.0)
    circuit = Circuit(
        [PoissonSource("in", 1, rates=[1.0]), Population("shared", 2, lif), Population("private", 2, lif)],
        [Projection("in", "shared", weights=[[2.0], [2.0]])],
        [PoissonDrive("private", 1.0, 2.0)],
    )
    with build(circuit, dt=DT, codegen="runtime") as program:
        trains = program.run(20.0, trials=100, seed=2)
    step = trains.step + 200 * np.repeat(np.arange(100), trains.row_size.sum(axis=(0, 2)))
    neuron = np.repeat(np.tile(np.arange(4), 100), trains.row_size.ravel())
    first, second, third, fourth = (step[neuron == n] for n in range(4))
    assert np.array_equal(first, second)
    n, p = 20_000, 1 - np.exp(-0.1)
    both = len(np.intersect1d(third, fourth))
    assert abs(len(third) - n * p) < K * np.sqrt(n * p * (1 - p))
    assert abs(both - n * p**2) < K * np.sqrt(n * p**2 * (1 - p**2))


@pytest.mark.parametrize("kind", ["sparse", "modes"])
def test_sparse_and_factored_weights_act_like_the_dense_matrix(kind, monkeypatch):
    from scipy import sparse

    monkeypatch.setattr(planner, "_MOST_EXPANDED", 10)
    rng = np.random.default_rng(0)
    modes = ModeMatrix(rng.normal(1, 1, (7, 2)), [3.0, -1.0], rng.normal(1, 1, (5, 2)))
    again = ModeMatrix(rng.normal(0, 1, (7, 1)), [3.0], rng.normal(0, 1, (7, 1)))
    lif = LIFParameters(t_ref=1.0)

    def spikes(forward, recurrent):
        circuit = Circuit(
            [PoissonSource("in", 5, rates=np.full(5, 0.3)), Population("n", 7, lif)],
            [Projection("in", "n", weights=forward), Projection("n", "n", weights=recurrent, delay=0.5)],
        )
        return all_spike_steps(circuit, 100.0)

    dense = spikes(modes.to_dense(), again.to_dense())
    other = spikes(sparse.csr_array(modes.to_dense()), sparse.csr_array(again.to_dense())) if kind == "sparse" else None
    other = spikes(modes, again) if other is None else other
    assert sum(map(len, dense)) > 15
    assert all(np.array_equal(one, two) for one, two in zip(dense, other, strict=True))


@pytest.mark.slow
def test_stimuli_load_their_own_rates_currents_and_noise():
    # Means, noise, shared noise, source and drive rates all depend on the stimulus; one stimulus alone is the reference.
    rng = np.random.default_rng(1)
    circuit = Circuit(
        [PoissonSource("in", 4, rates=rng.uniform(0, 1, (3, 4))), Population("n", 5, LIFParameters(t_ref=1.0))],
        [Projection("in", "n", weights=rng.uniform(0, 2, (5, 4)))],
        [
            GaussianDrive(
                "n", mean=rng.uniform(0, 1, (3, 5)), std=rng.uniform(0, 1, (3, 5)), factor=rng.normal(0, 1, (3, 5, 2))
            ),
            PoissonDrive("n", rng.uniform(0, 1, (3, 5)), 1.0),
        ],
    )
    with build(circuit, dt=DT, codegen="runtime", replicas=2) as program:
        together = program.run(50.0, trials=2, seed=5)
    assert together.row_size.sum(axis=(1, 2)).min() > 20
    with build(circuit.select(0), dt=DT, codegen="runtime") as program:
        alone = program.run(50.0, trials=2, seed=5)
    assert np.array_equal(alone.row_size[0], together.row_size[0])
    assert np.array_equal(alone.step, together.step[: len(alone.step)])


def test_any_population_name_will_do():
    circuit = Circuit(
        [always("_in"), Population("été", 1, LIFParameters()), Population("steps", 1, LIFParameters())],
        [Projection("_in", name, weights=[[2.0]]) for name in ("été", "steps")],
    )
    first, second = all_spike_steps(circuit, 20.0)
    assert len(first) > 0
    assert np.array_equal(first, second)


@pytest.mark.parametrize(
    ("circuit", "message"),
    [
        (
            Circuit([PoissonSource("in", 2, rates=[1.0, 12.0]), Population("n", 1, LIFParameters())]),
            r"at most one spike a step, 10 spikes/ms at dt = 0.1 ms, got 12 at stimulus 0, index 1. Try dt = 0.083 ms",
        ),
        (
            Circuit([Population("n", 1, LIFParameters())], drives=[PoissonDrive("n", 2000.0, 0.1)]),
            r"at most 100 spikes a step, got 200 in 0.1 ms. Try dt = 0.05 ms",
        ),
        (
            Circuit([Population("n", 2, LIFParameters(t_ref=[5.0, 2.25]))]),
            r"`dt` must divide `t_ref of 'n'`: 2.25 ms of neuron 1 is 22.5 steps",
        ),
        (
            Circuit([Population("n", 1, LIFParameters())], [Projection("n", "n", weights=[[1.0]], delay=0.25)]),
            r"`dt` must divide `delay of projection 'n' → 'n'`: 0.25 ms",
        ),
    ],
)
def test_a_time_step_that_does_not_suit_the_circuit_is_an_error(circuit, message):
    with pytest.raises(ValueError, match=message), build(circuit, dt=DT, codegen="runtime"):
        pass


@pytest.mark.slow
@pytest.mark.standalone
def test_rates_and_counts_meet_the_theory_of_discrete_time():
    # Drift- and noise-driven neurons at two time steps: theory with displaced threshold, closed form by quadrature.
    import torch

    from mnnbio.moments.activation import moment_activation
    from mnnbio.moments.overshoot import discrete_lif

    lif = LIFParameters(t_ref=2.0)
    regimes = np.array([[0.6, 1.5], [0.9, 1.0], [1.3, 1.0], [0.95, 3.0]])
    n = 50
    mean, std = np.repeat(regimes, n, axis=0).T
    circuit = Circuit([Population("n", len(mean), lif)], drives=[GaussianDrive("n", mean=mean, std=std)])
    drive = [torch.tensor(column) for column in regimes.T.copy()]
    for dt in (0.1, 0.5):
        theory = moment_activation(*drive, discrete_lif(*drive, lif, dt))
        with build(circuit, dt=dt) as program:
            trains = program.run(20_000.0, warmup=200.0, trials=4, seed=1)
        row = np.repeat(np.arange(trains.row_size.size), trains.row_size.ravel())
        counts = np.bincount(row[trains.step >= 0], minlength=trains.row_size.size).reshape(4, -1)
        counts = counts.reshape(4, len(regimes), n).transpose(1, 0, 2).reshape(len(regimes), -1)
        rate = counts.mean(1) / 20_000.0
        error = counts.std(1, ddof=1) / np.sqrt(counts.shape[1]) / 20_000.0
        # The displaced threshold is itself an approximation, good to about 0.2 % at these steps.
        np.testing.assert_array_less(np.abs(rate - theory.rate.numpy()), K * error + 0.003 * rate)
        ratio = counts.var(1, ddof=1) / 20_000.0 / theory.variance.numpy()
        np.testing.assert_array_less(np.abs(ratio - 1), K * np.sqrt(2 / counts.shape[1]))


@pytest.mark.slow
@pytest.mark.standalone
def test_interspike_intervals_of_independent_neurons_are_independent():
    # A renewal process: serial correlations would betray noise that is not white.
    circuit = Circuit([Population("n", 20, LIFParameters())], drives=[GaussianDrive("n", mean=0.9, std=1.5)])
    with build(circuit, dt=DT) as program:
        trains = program.run(20_000.0, seed=7)
    intervals = [np.diff(steps) for steps in np.split(trains.step, np.cumsum(trains.row_size.ravel())[:-1])]
    before, after = (np.concatenate([i[cut] for i in intervals]) for cut in (slice(None, -1), slice(1, None)))
    assert abs(stats.pearsonr(before, after).statistic) < K / np.sqrt(len(before))
    counts = np.array(
        [np.histogram(s, 200, (0, 200_000))[0] for s in np.split(trains.step, np.cumsum(trains.row_size.ravel())[:-1])]
    )
    correlation = np.corrcoef(counts)[np.triu_indices(20, 1)]
    assert abs(correlation.mean()) < K / np.sqrt(len(correlation) * 200)
