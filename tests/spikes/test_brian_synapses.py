"""Exponential synapses and delays of single synapses, each on a case with a known answer."""

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
from mnnbio.circuit import check_time_step
from mnnbio.circuit.connectivity import AllToAll, Bernoulli
from mnnbio.spikes import planner
from mnnbio.spikes.building import build
from mnnbio.spikes.network import make_network, start_presentations
from mnnbio.spikes.planner import plan_circuit
from mnnbio.spikes.populations import receiver
from mnnbio.spikes.session import brian_session
from mnnbio.spikes.streams import presentation_key
from mnnbio.synapses import Exponential, propagator
from mnnbio.values import Normal, Uniform

DT = 0.1
K = 4.0  # standard errors


def kinds(circuit):
    return receiver(circuit, circuit.population("n"), DT).kinds


SILENT = LIFParameters(v_th=1e6)
ONCE = LIFParameters(v_th=1.0, t_ref=1e4)  # fires once, at the first spike that arrives


def membranes(circuit, steps, replicas=1, population="n"):
    """Membrane potentials (mV) of independent copies after some numbers of steps, (time, replica, neuron)."""
    found, done = [], 0
    with brian_session("runtime"):
        from brian2 import ms

        made = make_network(plan_circuit(circuit, dt=DT, replicas=replicas), connected=True)
        keys = np.array([presentation_key(1, 0, trial) for trial in range(replicas)])
        start_presentations(made, np.zeros(replicas, np.int64), keys)
        for step in steps:
            made.network.run((step - done) * DT * ms, namespace={})
            found.append(1e3 * np.array(made.groups[population].v_[:]).reshape(replicas, -1))
            done = step
    return np.array(found)


def one_spike(tau_syn, lif=SILENT, weight=2.0, delay=1.0, size=1):
    """A neuron that fires in the first step sends its only spike to a population `n`."""
    return Circuit(
        [PoissonSource("in", 1, 1 / DT), Population("a", 1, ONCE), Population("n", size, lif)],
        [
            Projection("in", "a", weights=[[2.0]]),
            Projection("a", "n", weights=np.full((size, 1), weight), delay=delay, tau_syn=tau_syn),
        ],
    )


@pytest.mark.slow
@pytest.mark.parametrize("tau_syn", [0.5, 20.0])
def test_a_postsynaptic_potential_is_the_closed_form(tau_syn):
    # Difference of exponentials (alpha function for equal time constants), exact on the grid.
    tau_m = np.array([5.0, 20.0, 60.0])
    circuit = one_spike(tau_syn, LIFParameters(tau_m=tau_m, v_th=1e6), size=3)
    steps = [11, 12, 13, 30, 100, 400]
    # The spike is found at the end of the first step, 0.1 ms, and arrives a delay of 1 ms later.
    t = (np.array(steps)[:, None] - 11) * DT
    equal = 2.0 / tau_m * t * np.exp(-t / tau_m)
    different = tau_m != tau_syn
    ratio = np.where(different, tau_m / np.where(different, tau_m - tau_syn, 1.0), 0.0)
    expected = np.where(different, 2.0 * ratio * (np.exp(-t / tau_m) - np.exp(-t / tau_syn)), equal)
    np.testing.assert_allclose(membranes(circuit, steps)[:, 0], expected, atol=1e-12)


@pytest.mark.slow
def test_a_brief_synapse_is_a_delta_synapse():
    steps = [11, 12, 60]
    brief, delta = (membranes(one_spike(tau), steps)[:, 0, 0] for tau in (1e-4, 0.0))
    np.testing.assert_allclose(delta, 2.0 * np.exp(-np.array([0.0, 0.1, 4.9]) / 20.0), rtol=1e-12)
    np.testing.assert_allclose(brief[1:], delta[1:], rtol=1e-5)
    assert brief[0] == 0.0  # its charge flows after its arrival, within a step


@pytest.mark.slow
def test_several_time_constants_add():
    def circuit(*taus):
        base = one_spike(taus[0])
        more = [Projection("a", "n", weights=[[0.7]], delay=2.0 + k, tau_syn=tau) for k, tau in enumerate(taus[1:])]
        return Circuit(base.populations, [*base.projections, *more])

    steps = [15, 40, 100]
    both = membranes(circuit(5.0, 2.0, 5.0, 0.0), steps)
    parts = [membranes(circuit(5.0), steps)]
    for k, tau in enumerate((2.0, 5.0, 0.0)):
        parts.append(membranes(one_spike(tau, weight=0.7, delay=2.0 + k), steps))
    np.testing.assert_allclose(both, sum(parts), atol=1e-12)
    assert kinds(circuit(5.0, 2.0, 5.0, 0.0)) == [Exponential(5.0), Exponential(2.0)]


def test_a_current_outlasts_the_refractory_period():
    # The current of one large spike makes the neuron fire, decays while v is held, and goes on where it has got to.
    tau_m, tau_syn, weight, t_ref = 20.0, 10.0, 200.0, 3.0
    circuit = one_spike(tau_syn, LIFParameters(tau_m=tau_m, t_ref=t_ref), weight=weight, delay=0.1)
    with build(circuit, dt=DT, codegen="runtime") as program:
        trains = program.run(60.0, seed=0)
    fired = np.split(trains.step, np.cumsum(trains.row_size.ravel())[:-1])[1]

    a, e = np.exp(-DT / tau_m), np.exp(-DT / tau_syn)
    move = (tau_m * tau_syn / (tau_syn - tau_m)) * (e - a)
    v, current, held, expected = 0.0, weight / tau_syn, 0, []
    for step in range(2, 600):  # it has arrived at the end of step 1
        v, current = (v if held else a * v + move * current), current * e
        held = max(held - 1, 0)
        if v >= 20.0 and not held:
            expected.append(step)
            v, held = 0.0, round(t_ref / DT)
    assert fired.tolist() == expected
    assert len(expected) >= 3


@pytest.mark.slow
@pytest.mark.parametrize(("tau_syn", "tau_m"), [(5.0, 20.0), (20.0, 20.0), (40.0, 10.0)])
def test_filtered_poisson_input_has_the_moments_of_shot_noise(tau_syn, tau_m):
    # Campbell's theorem for the difference of exponentials: mean J r tau_m; variance J² r tau_m² / (2 (tau_m + tau_syn)).
    rate, weight, replicas = 2.0, 0.5, 4000
    circuit = Circuit(
        [Population("n", 1, LIFParameters(tau_m=tau_m, v_th=1e6))], drives=[PoissonDrive("n", rate, weight, tau_syn)]
    )
    n_steps = round(8 * max(tau_m, tau_syn) / DT)
    v = membranes(circuit, [n_steps], replicas)[0, :, 0]
    mean = weight * rate * tau_m
    variance = weight**2 * rate * tau_m**2 / (2 * (tau_m + tau_syn))
    assert abs(v.mean() - mean) < K * np.sqrt(variance / replicas) + 0.01 * mean  # e⁻⁸ (1 + 8) of the start, and dt
    assert abs(v.var() - variance) < K * variance * np.sqrt(2 / replicas) + 0.01 * variance


@pytest.mark.slow
def test_drive_and_projection_with_one_time_constant_share_a_current():
    base = one_spike(5.0)
    circuit = Circuit(
        base.populations, base.projections,
        [PoissonDrive("n", 0.0, 1.0, 5.0), PoissonDrive("n", 0.0, 1.0), GaussianDrive("n", mean=0.1)],
    )  # fmt: skip
    steps = [20, 100]
    constant = 2.0 * (1 - np.exp(-np.array(steps) * DT / 20.0))
    np.testing.assert_allclose(
        membranes(circuit, steps)[:, 0, 0], membranes(base, steps)[:, 0, 0] + constant, atol=1e-12
    )
    assert kinds(circuit) == [Exponential(5.0)]


@pytest.mark.slow
@pytest.mark.parametrize("tau_syn", [0.0, 5.0])
def test_modes_give_what_the_full_matrix_gives(tau_syn, monkeypatch):
    rng = np.random.default_rng(0)
    modes = ModeMatrix(rng.normal(size=(4, 2)), [3.0, 2.0], rng.normal(size=(3, 2)))

    def circuit(weights):
        return Circuit(
            [PoissonSource("in", 3, [0.2, 0.4, 0.1]), Population("n", 4, SILENT)],
            [Projection("in", "n", weights=weights, delay=0.5, tau_syn=tau_syn)],
        )

    full = membranes(circuit(modes.to_dense()), [100, 300], 2)
    monkeypatch.setattr(planner, "_MOST_EXPANDED", 0)
    np.testing.assert_allclose(membranes(circuit(modes), [100, 300], 2), full, atol=1e-10)


@pytest.mark.parametrize(("tau_m", "tau_syn"), [(20.0, 5.0), (20.0, 20.0), (20.0, 20.0 + 1e-9), (10.0, 1e-3)])
def test_propagator(tau_m, tau_syn):
    mpmath = pytest.importorskip("mpmath")
    with mpmath.workdps(40):
        a, s, h = mpmath.mpf(tau_m), mpmath.mpf(tau_syn), mpmath.mpf(DT)
        exact = h * mpmath.exp(-h / a) if a == s else a * s / (s - a) * (mpmath.exp(-h / s) - mpmath.exp(-h / a))
        assert float(propagator(tau_m, tau_syn, DT)) == pytest.approx(float(exact), rel=1e-13)


# Delays of single synapses


def arrivals(weights, delay):
    """Steps at which the spike of each of some neurons, all fired in step 0, reaches each target, by target."""
    n_target, n_source = weights.shape
    circuit = Circuit(
        [PoissonSource("in", 1, 1 / DT), Population("a", n_source, ONCE), Population("n", n_target, ONCE)],
        [
            Projection("in", "a", weights=np.full((n_source, 1), 2.0)),
            Projection("a", "n", weights=weights, delay=delay),
        ],
    )
    with build(circuit, dt=DT, codegen="runtime") as program:
        trains = program.run(20.0, seed=0)
    return trains.step[n_source:]


def test_every_synapse_has_its_own_delay():
    delays = np.array([0.1, 0.5, 1.0, 3.24, 3.26, 15.0])
    expected = [1, 5, 10, 32, 33, 150]
    np.testing.assert_array_equal(arrivals(np.full((6, 1), 2.0), delays[:, None]), expected)
    from scipy import sparse

    order = np.random.default_rng(0).permutation(6)
    one_each = sparse.csr_array((np.full(6, 2.0), order, np.arange(7)))  # target i hears source order[i]
    np.testing.assert_array_equal(arrivals(one_each, delays), expected)


def test_delays_stay_with_their_synapses_where_weights_are_zero():
    rng = np.random.default_rng(1)
    weights = np.where(rng.random((5, 7)) < 0.5, 2.0, 0.0)
    delays = rng.integers(1, 100, (5, 7)) * DT
    first = np.where(weights > 0, np.rint(delays / DT), 1000).min(axis=1)
    np.testing.assert_array_equal(arrivals(weights, delays), first)


def test_distributed_delays_have_their_distribution():
    circuit = Circuit(
        [PoissonSource("in", 1, 1 / DT), Population("a", 1, ONCE), Population("n", 2000, ONCE)],
        [
            Projection("in", "a", weights=[[2.0]]),
            Projection("a", "n", weight=2.0, connectivity=AllToAll(), delay=Normal(1.5, 0.75, low=DT)),
        ],
    )
    with build(circuit, dt=DT, codegen="runtime") as program:
        trains = program.run(20.0, seed=0)
    times = trains.step[1:] * DT
    drawn = circuit.delays(circuit.projections[1])
    np.testing.assert_allclose(times, np.rint(drawn / DT) * DT)
    law = stats.truncnorm((DT - 1.5) / 0.75, np.inf, 1.5, 0.75)
    edges = np.array([0.05, 0.55, 1.05, 1.55, 2.05, 2.55, 10.05])
    expected = np.diff(law.cdf(np.maximum(edges, DT))) * 2000
    assert stats.chisquare(np.histogram(times, edges)[0], expected).pvalue > 1e-4


def test_delays_that_do_not_suit_the_step_raise():
    def circuit(delay, source="n"):
        populations = [PoissonSource("in", 3, 0.1), Population("n", 3, SILENT)]
        return Circuit(populations, [Projection(source, "n", weights=np.ones((3, 3)), delay=delay)])

    check_time_step(circuit(0.0), DT)
    check_time_step(circuit(np.zeros((3, 3))), DT)
    with pytest.raises(ValueError, match=r"`dt` must divide `delay of projection 'n' → 'n'`: 0.05 ms is 0.5 steps"):
        check_time_step(circuit(0.05), DT)
    short = np.array([[1.0, 0.05, 2.0], [0.02, 0.0, 1.0], [1.0, 1.0, 0.1]])
    with pytest.raises(ValueError, match=r"must be at least one step of 0.1 ms, got 0.02 ms \(2 of 9 are shorter\)"):
        check_time_step(circuit(short), DT)
    with pytest.raises(ValueError, match=r"Draw from a distribution with `low` = 0.1"):
        check_time_step(circuit(Uniform(0.01, 0.05), "in"), DT)
    with pytest.raises(ValueError, match="must take at most 1000000000 steps"):
        check_time_step(circuit(np.full((3, 3), 1e12)), DT)


def test_another_time_constant_in_the_place_of_one_is_not_mistaken():
    # The synapses of the third projection are reused; the current that they feed has another number now.
    def circuit(first, third):
        projections = [Projection("in", "n", weights=[[1.0]], tau_syn=tau) for tau in (first, 5.0)]
        return Circuit([PoissonSource("in", 1, 5.0), Population("n", 1, SILENT)], [*projections, third])

    third = Projection("in", "n", weights=[[1.0]], tau_syn=2.0)
    with (
        build(circuit(2.0, third), dt=DT, codegen="runtime") as program,
        pytest.raises(ValueError, match="differs in structure"),
    ):
        program.run(1.0, circuit=circuit(5.0, third))


@pytest.mark.standalone
@pytest.mark.slow
def test_a_compiled_program_gives_the_spikes_of_python():
    rng = np.random.default_rng(2)

    def circuit(scale):
        return Circuit(
            [PoissonSource("in", 20, rng.uniform(0.1, 0.3, (2, 20))), Population("E", 30, LIFParameters()), Population("I", 10, LIFParameters(t_ref=2.0))],
            [
                Projection("in", "E", weights=rng.uniform(0, 2 * scale, (30, 20)), tau_syn=3.0),
                Projection("E", "E", weight=Normal(0.4, 0.2, low=0), connectivity=Bernoulli(0.2), delay=Uniform(0.5, 5.0)),
                Projection("E", "I", weight=1.0, connectivity=Bernoulli(0.5), delay=Uniform(0.5, 5.0), tau_syn=2.0),
                Projection("I", "E", weight=-0.8, connectivity=Bernoulli(0.5), delay=1.5, tau_syn=8.0),
            ],
            [PoissonDrive("E", 1.0, 0.6, tau_syn=3.0), PoissonDrive("I", 2.0, 0.5)],
        )  # fmt: skip

    first, second = circuit(1.0), circuit(1.3)
    with build(first, dt=DT) as program:
        compiled = [program.run(100.0, trials=3, seed=4, circuit=own) for own in (first, second)]
    for own, trains in zip((first, second), compiled, strict=True):
        with build(own, dt=DT, codegen="runtime") as program:
            expected = program.run(100.0, trials=3, seed=4)
        assert len(expected.step) > 500
        np.testing.assert_array_equal(trains.row_size, expected.row_size)
        np.testing.assert_array_equal(trains.step, expected.step)
