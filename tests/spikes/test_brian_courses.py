"""Simulated inputs that change in time, each on a case with a known answer."""

import dataclasses

import numpy as np
import pytest
from scipy import stats

from mnnbio import Circuit, GaussianDrive, LIFParameters, PoissonDrive, PoissonSource, Population, Projection
from mnnbio.spikes import timing as courses
from mnnbio.spikes.building import build
from mnnbio.spikes.cpp_project import write_project
from mnnbio.spikes.network import make_network, start_presentations
from mnnbio.spikes.planner import check_time_step, plan_circuit
from mnnbio.spikes.session import brian_session
from mnnbio.spikes.streams import presentation_key
from mnnbio.spikes.timing import sample
from mnnbio.values import Oscillation, Ramp, Samples, Steps

DT = 0.1
K = 4.0  # standard errors
SILENT = LIFParameters(v_th=1e6)
ECHO = LIFParameters(v_th=1.0, t_ref=0.0)  # fires at every spike of 2 mV


def membranes(circuit, n_steps, replicas=1):
    """Membrane potentials (mV) of the population `n` after some steps, (replica, neuron)."""
    with brian_session("runtime"):
        from brian2 import ms

        made = make_network(plan_circuit(circuit, dt=DT, replicas=replicas), connected=True)
        made.sample_courses(n_steps, 0)
        keys = np.array([presentation_key(1, 0, trial) for trial in range(replicas)])
        start_presentations(made, np.zeros(replicas, np.int64), keys)
        made.network.run(n_steps * DT * ms, namespace={})
        return 1e3 * np.array(made.groups["n"].v_[:]).reshape(replicas, -1)


def counts(circuit, duration, trials, bins, seed=2, warmup=0.0):
    """Spikes of every trial in every bin (edges in ms), (trial, neuron, bin)."""
    with build(circuit, dt=DT, codegen="runtime") as program:
        trains = program.run(duration, trials=trials, seed=seed, warmup=warmup)
    rows = trains.row_size[0].reshape(trials, -1)
    place = np.repeat(np.arange(rows.size), rows.ravel())
    which = np.digitize((trains.step + 0.5) * DT, bins) - 1
    found = np.zeros((rows.size, len(bins) - 1), int)
    inside = (which >= 0) & (which < len(bins) - 1)
    np.add.at(found, (place[inside], which[inside]), 1)
    return found.reshape(*rows.shape, -1)


def echo(rates, size=1):
    """Neurons that fire exactly when their own train of a source does."""
    return Circuit(
        [PoissonSource("in", size, rates), Population("n", size, ECHO)],
        [Projection("in", "n", weights=2.0 * np.eye(size))],
    )


def test_steps_in_which_nothing_changes_share_a_row():
    course = Steps([0.0, 1.0, 2.0], [1.0, 3.0, 1.0])
    found = sample(lambda t: courses.over_time(course, t), n_steps=40, warmup_steps=5, dt=DT, name="x")
    assert found.table.ravel().tolist() == [1.0, 3.0, 1.0]
    assert found.row.tolist() == [0] * 15 + [1] * 10 + [2] * 15


def test_values_are_those_at_the_middle_of_a_step(monkeypatch):
    monkeypatch.setattr(courses, "_VALUES_AT_ONCE", 7)  # in several blocks
    found = sample(
        lambda t: courses.over_time(Ramp(0.0, 4.0, 0.0, 4.0), t), n_steps=60, warmup_steps=10, dt=DT, name="x"
    )
    np.testing.assert_allclose(found.table[found.row].ravel(), np.clip((np.arange(60) - 9.5) * DT, 0, 4), atol=1e-12)
    assert len(found.table) == 42  # constant before and after


def test_the_membrane_follows_a_current():
    # dV/dt = -V/tau + I(t): closed forms for a step, a ramp and an oscillation.
    tau, n = 20.0, 300
    t, omega = n * DT, 2 * np.pi * 0.05
    mean = {
        "step": Steps([0.0, 10.0], [0.5, -1.0]),
        "ramp": Ramp(0.0, 100.0, 0.0, 10.0),
        "oscillation": Oscillation(0.3, 0.2, 0.05),
    }
    expected = {
        "step": 0.5 * tau * (np.exp(-(t - 10.0) / tau) - np.exp(-t / tau)) - tau * (1 - np.exp(-(t - 10.0) / tau)),
        "ramp": 0.1 * tau * (t - tau * (1 - np.exp(-t / tau))),
        "oscillation": 0.3 * tau * (1 - np.exp(-t / tau))
        + 0.2 * (np.sin(omega * t) / tau - omega * np.cos(omega * t) + omega * np.exp(-t / tau)) / (tau**-2 + omega**2),
    }
    for name, course in mean.items():
        circuit = Circuit([Population("n", 1, SILENT)], drives=[GaussianDrive("n", mean=course)])
        # A current constant in each step is exact for steps, and off by omega² dt²/24 for the others.
        tolerance = 1e-12 if name == "step" else 1e-4
        assert membranes(circuit, n)[0, 0] == pytest.approx(expected[name], rel=tolerance), name


@pytest.mark.slow
def test_noise_whose_strength_changes():
    # Variance after a step of the noise: what was there decays, what is new builds up. Constant noise adds.
    replicas, t, tau = 4000, 15.0, 20.0
    drives = [GaussianDrive("n", std=Steps([0.0, 5.0], [[1.0, 0.0], [0.2, 0.8]])), GaussianDrive("n", std=0.3)]
    v = membranes(Circuit([Population("n", 2, SILENT)], drives=drives), round(t / DT), replicas)
    early, late = np.exp(-2 * (t - 5.0) / tau) - np.exp(-2 * t / tau), 1 - np.exp(-2 * (t - 5.0) / tau)
    first, second = np.array([1.0, 0.0]) ** 2 + 0.09, np.array([0.2, 0.8]) ** 2 + 0.09
    expected = tau / 2 * (first * early + second * late)
    assert (np.abs(v.var(0) - expected) < K * expected * np.sqrt(2 / replicas)).all()
    assert (np.abs(v.mean(0)) < K * np.sqrt(expected / replicas)).all()


@pytest.mark.slow
def test_a_source_fires_at_its_rate_of_the_moment():
    course = Steps([0.0, 5.0, 10.0], [[0.5, 0.0], [4.0, 10.0], [0.0, 1.0]])
    found = counts(echo(course, 2), 15.0, 800, [0.0, 5.0, 10.0, 15.0])
    p, n = course.values.T * DT, 50
    assert (np.abs(found.mean(0) - n * p) <= K * np.sqrt(n * p * (1 - p) / 800)).all()
    # Spikes of different steps are independent: binomial counts.
    variance = n * p * (1 - p)
    fourth = 3 * variance**2 + variance * (1 - 6 * p * (1 - p))
    assert (np.abs(found.var(0) - variance) <= K * np.sqrt((fourth - variance**2) / 800) + 1e-12).all()
    together = np.corrcoef(found[:, 0, 0], found[:, 0, 1])[0, 1], np.corrcoef(found[:, 0, 1], found[:, 1, 2])[0, 1]
    assert np.abs(together).max() < K / np.sqrt(800)


@pytest.mark.slow
def test_a_source_follows_an_oscillation():
    course = Oscillation(2.0, 1.5, frequency=0.1, phase=0.5)
    edges = np.arange(0.0, 21.0, 1.0)
    found = counts(echo(course), 20.0, 800, edges)[:, 0].sum(0)
    expected = 800 * course.at(np.arange(0.05, 20.0, DT)).reshape(20, 10).sum(1) * DT
    assert stats.chi2.sf(((found - expected) ** 2 / expected).sum(), 20) > 1e-4


@pytest.mark.slow
def test_a_constant_course_gives_a_constant_source():
    # Thinning at the highest rate keeps every spike: the very spikes of a source without a course.
    one, other = (counts(echo(rates), 20.0, 5, [0.0, 20.0]) for rates in (3.0, Steps([0.0], [3.0])))
    np.testing.assert_array_equal(one, other)


def test_time_counts_from_the_end_of_the_warmup():
    course = Steps([0.0, 5.0], [0.0, 10.0])  # silent through the warm-up and until 5 ms
    found = counts(echo(course), 10.0, 1, [0.0, 5.0, 10.0], warmup=20.0)
    assert found.tolist() == [[[0, 50]]]


@pytest.mark.slow
def test_private_poisson_input_that_changes():
    # Jumps too small to reach the threshold: mean and variance of the potential by Campbell's theorem.
    replicas, tau, t = 4000, 20.0, 20.0
    course = Ramp(0.0, 20.0, 1.0, 5.0)
    drives = [PoissonDrive("n", course, 0.2)]
    v = membranes(Circuit([Population("n", 1, SILENT)], drives=drives), round(t / DT), replicas)[:, 0]
    steps = np.arange(200)
    rate = 1.0 + 0.2 * (steps + 0.5) * DT
    left = np.exp(-(199 - steps) * DT / tau)  # a jump comes at the end of its step
    mean, variance = 0.2 * (rate * left).sum() * DT, 0.04 * (rate * left**2).sum() * DT
    assert abs(v.mean() - mean) < K * np.sqrt(variance / replicas)
    assert abs(v.var() - variance) < K * variance * np.sqrt(2 / replicas)


def test_the_rate_of_neurons_follows_a_step_of_current():
    lif = LIFParameters(t_ref=2.0)
    drive = GaussianDrive("n", mean=Steps([0.0, 200.0], [[1.2, 1.5], [2.0, 1.05]]))
    with build(Circuit([Population("n", 2, lif)], drives=[drive]), dt=DT, codegen="runtime") as program:
        trains = program.run(600.0, seed=0)
    for neuron, steps in enumerate(np.split(trains.step, np.cumsum(trains.row_size.ravel())[:-1])):
        for part, after in ((steps < 2000, 0), (steps >= 2000, 1)):
            mean = drive.mean.values[after, neuron] * 20.0
            interval = np.ceil(20.0 * np.log(mean / (mean - 20.0)) / DT) + 20
            assert set(np.diff(steps[part])[1 - after :]) <= {interval}
            assert len(steps[part]) >= 3


def test_bad_courses_raise_before_anything_runs():
    with pytest.raises(ValueError, match=r"at most one spike a step, 10 spikes/ms at dt = 0.1 ms, got 12"):
        check_time_step(echo(Oscillation(8.0, 4.0, 0.1)), DT)
    too_many = Circuit([Population("n", 1, SILENT)], drives=[PoissonDrive("n", Ramp(0, 1, 1.0, 2000.0), 0.1)])
    with pytest.raises(ValueError, match="at most 100 spikes a step, got 200"):
        check_time_step(too_many, DT)
    with (
        build(echo(Samples([1.0, 2.0], dt=5.0)), dt=DT, codegen="runtime") as program,
        pytest.raises(ValueError, match=r"Samples end at 10 ms, the value at 10.95 ms was asked for"),
    ):
        program.run(11.0)
    with (
        build(echo(Steps([0.0, 5.0], [1.0, 2.0])), dt=DT, codegen="runtime") as program,
        pytest.raises(ValueError, match=r"differs in structure .* in courses: \['kept'\] → \[\]"),
    ):
        program.run(11.0, stimulus=[1.0])


def test_courses_that_take_too_much_memory_raise(monkeypatch):
    monkeypatch.setattr(courses, "_MOST_VALUES", 1000)
    phases = Oscillation(1.0, 0.5, 0.01, phase=np.linspace(0, 1, 20))
    with (
        build(echo(phases, 20), dt=DT, codegen="runtime") as program,
        pytest.raises(
            ValueError, match="the time course of kept of 'in' takes more than 1000 numbers, 20 in each step"
        ),
    ):
        program.run(11.0)


def changing(seed=0):
    """A circuit in which everything that may change in time does, for three stimuli."""
    rng = np.random.default_rng(seed)
    return Circuit(
        [
            PoissonSource("in", 10, Steps([0.0, 20.0, 40.0], rng.uniform(0.1, 2.0, (3, 3, 10)))),
            PoissonSource("constant", 10, 0.5),
            Population("E", 20, LIFParameters()),
        ],
        [
            Projection("in", "E", weights=rng.uniform(0.0, 2.0, (20, 10))),
            Projection("constant", "E", weights=rng.uniform(0.0, 2.0, (20, 10)), tau_syn=4.0),
        ],
        [
            GaussianDrive("E", mean=Oscillation(0.3, 0.2, 0.03, phase=np.linspace(0, 3, 20)), std=Ramp(5.0, 50.0, 0.1, 0.5)),
            GaussianDrive("E", mean=rng.uniform(0.0, 0.2, (3, 20))),
            PoissonDrive("E", rate=Samples(rng.uniform(0.0, 2.0, 7), dt=10.0), weight=0.3),
        ],
    )  # fmt: skip


@pytest.mark.standalone
@pytest.mark.slow
def test_a_compiled_program_gives_the_spikes_of_python():
    first, second = changing(), changing(1)
    second = dataclasses.replace(second, projections=first.projections)
    with build(first, dt=DT) as program:
        compiled = [
            program.run(50.0, warmup=15.0, trials=4, seed=7, circuit=circuit, processes=2)
            for circuit in (first, second)
        ]
        longer = program.run(60.0, trials=1, seed=7)
    for circuit, trains in zip((first, second), compiled, strict=True):
        with build(circuit, dt=DT, codegen="runtime", replicas=5) as program:
            expected = program.run(50.0, warmup=15.0, trials=4, seed=7)
        assert len(expected.step) > 300
        np.testing.assert_array_equal(trains.row_size, expected.row_size)
        np.testing.assert_array_equal(trains.step, expected.step)
    assert (np.diff(longer.row_size.ravel()) != 0).any()


@pytest.mark.slow
def test_a_project_holds_the_courses(tmp_path):
    folder = write_project(changing(), tmp_path / "project", duration=50.0, warmup=15.0, dt=DT, trials=2, seed=1)
    rows = np.fromfile(folder / "inputs" / "in.kept.rows", np.int32)
    assert rows[:2].tolist() == [3, 10]
    assert rows[2:].tolist() == [0] * 350 + [1] * 200 + [2] * 100
    table = np.fromfile(folder / "inputs" / "in.kept").reshape(3, 3, 10)
    values = changing().sources[0].rates.values
    np.testing.assert_allclose(table, values / values.max(0))


@pytest.mark.slow
def test_a_network_written_by_hand_gives_the_same_spikes():
    """Exponential synapses, delays and steps of current in Brian2's own words, integrated by its exact method."""
    from brian2 import (
        Network,
        NeuronGroup,
        SpikeMonitor,
        Synapses,
        TimedArray,
        defaultclock,
        ms,
        mV,
        second,
        start_scope,
    )

    rng = np.random.default_rng(5)
    n, tau_syn = 12, {"E": 3.0, "I": 7.0}
    weights = {
        name: sign * rng.uniform(2.0, 6.0, (n, n)) * (rng.random((n, n)) < 0.4) for name, sign in (("E", 1), ("I", -1))
    }
    delays = {name: rng.integers(1, 40, (n, n)) * DT for name in "EI"}
    means = rng.uniform(1.02, 1.6, (2, n))
    lif = LIFParameters(tau_m=20.0, t_ref=2.0)
    circuit = Circuit(
        [Population("E", n, lif), Population("I", n, lif)],
        [Projection(s, t, weights=weights[s], delay=delays[s], tau_syn=tau_syn[s]) for s in "EI" for t in "EI"],
        [
            GaussianDrive(name, mean=Steps([0.0, 150.0], np.stack([means[k], means[k] + 0.3])))
            for k, name in enumerate("EI")
        ],
    )
    with build(circuit, dt=DT, codegen="runtime") as program:
        trains = program.run(300.0, seed=0)
    ours = np.split(trains.step, np.cumsum(trains.row_size.ravel())[:-1])

    with brian_session("runtime"):
        start_scope()
        defaultclock.dt = DT * ms
        extra = TimedArray([0.0, 0.3] * mV / ms, dt=150 * ms)
        equations = """
        dv/dt = -v/(20*ms) + mean + extra_now + IE + II : volt (unless refractory)
        dIE/dt = -IE/(3*ms) : volt/second
        dII/dt = -II/(7*ms) : volt/second
        mean : volt/second (constant)
        extra_now : volt/second
        """
        namespace = {"extra": extra}
        groups = {}
        network = Network()
        network.schedule = ["start", "groups", "synapses", "thresholds", "resets", "end"]
        for k, name in enumerate("EI"):
            group = NeuronGroup(
                n, equations, threshold="v >= 20*mV", reset="v = 0*mV", refractory=2 * ms + DT * ms, method="exact",
                namespace=namespace, name=f"by_hand_{name}",
            )  # fmt: skip
            group.mean = means[k] * mV / ms
            network.add(group.run_regularly("extra_now = extra(t)", when="start"))
            groups[name] = group
        for source in "EI":
            for target in "EI":
                synapses = Synapses(groups[source], groups[target], "w : volt/second", on_pre=f"I{source}_post += w")
                row, column = np.nonzero(weights[source])
                synapses.connect(i=column, j=row)
                synapses.w = weights[source][row, column] / tau_syn[source] * mV / ms
                synapses.delay = (delays[source][row, column] - DT) * ms  # Brian2 counts from the next step
                network.add(synapses)
        monitors = [SpikeMonitor(groups[name]) for name in "EI"]
        network.add(*groups.values(), *monitors)
        network.run(0.3 * second)
        theirs = [np.rint(np.array(m.t / ms)[np.array(m.i) == k] / DT).astype(int) for m in monitors for k in range(n)]
    assert sum(map(len, ours)) > 100
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one, other)
