"""Networks that run again and again with other weights, against a plain loop; ρ; what is refused."""

import numpy as np
import pytest

from mnnbio import (
    Circuit,
    FixedIndegree,
    GaussianDrive,
    LIFParameters,
    PoissonSource,
    Population,
    Projection,
    Samples,
    simulate,
)
from mnnbio.learning import FrozenNetwork, membrane_ratio, postsynaptic_potentials
from mnnbio.learning.teacher import teacher_forced
from mnnbio.neurons import AdEx

N_E, N_I, STEPS, DT = 9, 3, 400, 0.5
N = N_E + N_I
LIF = LIFParameters(tau_m=20.0, v_th=20.0, v_reset=2.0, t_ref=2.0, initial={"v": 5.0})


def draw(seed=0):
    rng = np.random.default_rng(seed)
    weights = np.abs(rng.normal(0, 3.0, (N, N)))
    weights[:, N_E:] *= -2
    np.fill_diagonal(weights, 0)
    return weights, 1.1 + 0.5 * rng.standard_normal((STEPS, N))


def parted(weights, lif=LIF):
    """Return the network as two populations with four projections."""
    parts = {"E": slice(0, N_E), "I": slice(N_E, N)}
    return Circuit(
        populations=[Population("E", N_E, lif), Population("I", N_I, lif)],
        projections=[
            Projection(source, target, weights=weights[parts[target], parts[source]], delay=1.0, tau_syn=5.0)
            for target in parts
            for source in parts
        ],
    )


def loop(weights, currents):
    """Return the raster of the network, integrated exactly step by step, the current after the membrane."""
    decay, fade = np.exp(-DT / 20), np.exp(-DT / 5)
    reach = 20 * 5 / (5 - 20) * (np.exp(-DT / 5) - np.exp(-DT / 20))
    v, current, wake = np.full(N, 5.0), np.zeros(N), np.zeros(N, int)
    raster = np.zeros((STEPS, N), bool)
    for step in range(STEPS):
        rest = 20 * currents[step]
        v = np.where(step >= wake, rest + decay * (v - rest) + reach * current, v)
        current = fade * current
        if step >= 2:
            current = current + weights @ raster[step - 2] / 5
        fired = (step >= wake) & (v >= 20)
        raster[step] = fired
        v[fired], wake[fired] = 2.0, step + 1 + 4
    return raster


@pytest.fixture(scope="module")
def network():
    weights, currents = draw()
    with FrozenNetwork(parted(weights), currents, dt=DT) as opened:
        yield opened


def test_runs_are_those_of_a_plain_loop(network):
    weights, currents = draw()
    assert network.spikes(network.run()).n_spikes > 20
    for given in (weights, 0 * weights, draw(1)[0]):
        assert np.array_equal(network.spikes(network.run(given)).raster, loop(given, currents))
    other = draw(2)[1]
    assert np.array_equal(network.spikes(network.run(weights, currents=other)).raster, loop(weights, other))
    assert np.array_equal(network.spikes(network.run()).raster, loop(weights, currents))


def test_what_a_network_says_of_itself(network):
    weights, currents = draw()
    assert network.populations == {"E": N_E, "I": N_I}
    assert np.array_equal(network.weights, weights)
    assert np.array_equal(network.connections, ~np.eye(N, dtype=bool))
    assert network.signs.tolist() == [1.0] * N_E + [-1.0] * N_I
    assert np.array_equal(network.currents, currents)
    assert (network.size, network.n_steps, network.duration) == (N, STEPS, 200.0)
    values = {"tau_m": 20, "tau_syn": 5, "v_th": 20, "v_reset": 2, "t_ref": 2, "delay": 1, "delay_steps": 2, "start": 5}
    for name, value in values.items():
        assert np.array_equal(getattr(network, name), np.full(N, value)), name


def test_a_learned_circuit_simulates_as_it_ran(network):
    given = draw(1)[0]
    result = simulate(network.with_weights(given), 200, trials=1, dt=DT, seed=3)
    assert np.array_equal(network.targets(result).raster, network.spikes(network.run(given)).raster)


def test_potentials_are_those_of_a_membrane_without_resets(network):
    weights, currents = draw()
    passed = network.run()
    raster = network.spikes(passed).raster
    decay, fade = np.exp(-DT / 20), np.exp(-DT / 5)
    reach = 20 * 5 / (5 - 20) * (np.exp(-DT / 5) - np.exp(-DT / 20))
    inside, outside, current = np.zeros((STEPS, N)), np.zeros((STEPS, N)), np.zeros(N)
    u, x = np.zeros(N), 20 * currents.mean(axis=0)
    for step in range(STEPS):
        u = decay * u + reach * current
        current = fade * current + (weights @ raster[step - 2] / 5 if step >= 2 else 0)
        x = decay * x + (1 - decay) * 20 * currents[step]
        inside[step], outside[step] = u, x
    assert np.allclose(postsynaptic_potentials(network, passed, 20.0) @ weights.T, inside, rtol=1e-9, atol=1e-9)
    rho = np.sqrt(inside.var(axis=0).mean() / outside.var(axis=0).mean())
    assert membrane_ratio(network, weights, passed) == pytest.approx(rho, rel=1e-9)


def test_a_taught_network_fires_its_own_spikes(network):
    """With the spikes that it fires as those that it receives, nothing changes; with none, it is a free one."""
    weights, currents = draw()
    own = network.spikes(network.run())
    with teacher_forced(network, own) as teacher:
        assert np.array_equal(network.spikes(teacher.run(weights)).raster, own.raster)
        assert np.array_equal(network.spikes(teacher.run(0 * weights)).raster, loop(0 * weights, currents))


def test_wrong_weights_are_refused(network):
    with pytest.raises(ValueError, match=r"shape \(12, 12\), target × source, got \(3, 3\)"):
        network.run(np.zeros((3, 3)))
    with pytest.raises(ValueError, match=r"one column per neuron, shape \(step, 12\), got \(400, 3\)"):
        network.run(currents=np.zeros((STEPS, 3)))


def single(**changes):
    weights, _ = draw()
    given = {"weights": weights, "delay": 1.0, "tau_syn": 5.0} | changes
    return Circuit(populations=[Population("n", N, LIF)], projections=[Projection("n", "n", **given)])


def test_weights_where_there_is_no_projection_are_refused():
    circuit = Circuit(
        populations=[Population("a", 1, LIF), Population("b", 1, LIF)],
        projections=[Projection("a", "b", weights=[[1.0]])],
    )
    network = FrozenNetwork(circuit, np.ones((10, 2)), dt=DT)
    with pytest.raises(ValueError, match="must be 0 mV where the circuit has no projection; it has those of"):
        network.blocks(np.ones((2, 2)))
    with pytest.raises(RuntimeError, match="within its `with` block"):
        network.run()


def test_currents_may_come_from_the_drives():
    _, currents = draw()
    driven = single().with_parts(
        drives=[GaussianDrive("n", mean=Samples(currents, DT)), GaussianDrive("n", mean=np.arange(N) / 10)]
    )
    network = FrozenNetwork(driven, dt=DT)
    assert network.duration == 200.0
    assert np.allclose(network.currents, currents + np.arange(N) / 10)
    assert FrozenNetwork(driven, dt=DT, duration=100.0).n_steps == 200


def test_synapses_of_zero_are_all_but_autapses_where_all_are_zero():
    network = FrozenNetwork(single(weights=np.zeros((N, N))), draw()[1], dt=DT)
    assert np.array_equal(network.connections, ~np.eye(N, dtype=bool))
    assert not network.signs.any()


@pytest.mark.parametrize(
    ("circuit", "given", "message"),
    [
        (single(), {"currents": np.ones((STEPS, 2))}, "`currents` must have one column per neuron"),
        (single(), {"currents": np.ones((STEPS, N)), "duration": 300.0}, "as long as the run, 300 ms, got 200 ms"),
        (single(), {"currents": np.ones((STEPS, N)), "drives": []}, "give either `currents` or `drives`"),
        (single(), {}, "`duration` must be given"),
        (
            Circuit(populations=[Population("n", N, LIF)]),
            {"currents": np.ones((STEPS, N))},
            "needs recurrent projections, the circuit has none",
        ),
        (
            single(weights=None, weight=1.0, connectivity=FixedIndegree(2)),
            {"currents": np.ones((STEPS, N))},
            "must be dense to be learned",
        ),
        (
            single().with_parts(drives=[GaussianDrive("n", mean=1.0, std=0.1)]),
            {"duration": 100.0},
            "currents must be frozen, the same in every run, and the Gaussian drive",
        ),
        (
            Circuit(
                populations=[PoissonSource("x", 1, rates=[0.1]), Population("n", N, LIF)],
                projections=[Projection("x", "n", weights=np.ones((N, 1)))],
            ),
            {"currents": np.ones((STEPS, N))},
            "must have no sources, got 'x'",
        ),
        (
            single().with_parts(drives=[GaussianDrive("n", mean=np.ones((2, N)))]),
            {"duration": 100.0},
            "has one stimulus, got 2: `select`",
        ),
    ],
)
def test_wrong_networks_are_refused(circuit, given, message):
    with pytest.raises(ValueError, match=message):
        FrozenNetwork(circuit, dt=DT, **given)


def test_other_neurons_lack_what_only_lif_neurons_have():
    circuit = Circuit(
        populations=[Population("n", 2, AdEx())],
        projections=[Projection("n", "n", weights=np.ones((2, 2)), tau_syn=5.0)],
    )
    network = FrozenNetwork(circuit, np.ones((10, 2)), dt=DT)
    assert not network.is_lif
    with pytest.raises(TypeError, match=r"`tau_m` needs leaky integrate-and-fire neurons.*'n' are AdEx: use PSPM with"):
        _ = network.tau_m
