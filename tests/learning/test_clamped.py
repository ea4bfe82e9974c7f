"""Neurons clamped to spikes: their potentials are those of the simulation, affine in the weights."""

from types import SimpleNamespace

import numpy as np
import pytest

from mnnbio import Circuit, GaussianDrive, LIFParameters, Population, Projection, Samples, simulate
from mnnbio.learning import FrozenNetwork, SpikeTargets
from mnnbio.learning import clamped as module
from mnnbio.learning.clamped import ClampedNeurons
from mnnbio.spikes import States

N, DURATION, DT = 10, 200.0, 0.5


def case(tau_syn, delay, t_ref, seed):
    rng = np.random.default_rng(seed)
    weights = rng.normal(0, 2, (N, N))
    np.fill_diagonal(weights, 0)
    currents = Samples(0.9 + 1.5 * rng.standard_normal((round(DURATION / DT), N)), DT)
    lif = LIFParameters(tau_m=np.linspace(15, 25, N), v_th=20.0, v_reset=2.0, t_ref=t_ref, initial={"v": 3.0})
    synapse = {"tau_syn": tau_syn} if tau_syn else {}
    circuit = Circuit(
        [Population("n", N, lif)],
        [Projection("n", "n", weights=weights, delay=delay, **synapse)],
        [GaussianDrive("n", mean=currents)],
    )
    spikes = simulate(circuit, DURATION, dt=DT, seed=1, codegen="runtime")
    record = {"n": States("v", every=DT)}
    states = simulate(circuit, DURATION, dt=DT, seed=1, codegen="runtime", record=record)
    network = FrozenNetwork(circuit, dt=DT)
    targets = network.targets(spikes)
    voltage = np.squeeze(states["states/n"]["v"].values)
    voltage = voltage.T if voltage.shape[0] == N else voltage
    return SimpleNamespace(
        weights=weights, targets=targets, neurons=ClampedNeurons.of(network, targets), voltage=voltage, network=network
    )


CASES = {
    "exponential": (5.0, 1.0, 2.0, 0),
    "equal time constants": (20.0, 1.5, 2.0, 1),
    "delta": (0.0, 1.0, 2.0, 2),
    "no delay": (5.0, 0.0, 2.0, 4),
    "delta, no refractoriness": (0.0, 0.5, 0.0, 3),
}


@pytest.fixture(scope="module", params=CASES)
def simulated(request):
    return case(*CASES[request.param])


def test_potential_is_that_of_the_simulation(simulated):
    targets, neurons = simulated.targets, simulated.neurons
    scale = 1e3 if np.abs(simulated.voltage).max() < 1 else 1.0  # results may hold volts
    assert targets.n_spikes > 20
    for neuron in range(N):
        potential = neurons.potential(neuron, simulated.weights[neuron])
        # States are read at the start of a step, after the resets of the step before.
        after = np.where(targets.raster[:, neuron], neurons.v_reset[neuron], potential)
        np.testing.assert_allclose(after[:-1], scale * simulated.voltage[1:, neuron], atol=1e-9, rtol=0)


def test_potential_crosses_threshold_at_the_spikes_alone(simulated):
    for neuron, train in enumerate(simulated.targets.steps):
        potential, live = simulated.neurons.potential(neuron, simulated.weights[neuron]), simulated.neurons.live(neuron)
        assert np.array_equal(live[potential[live] >= 20.0], train)
        assert np.array_equal(simulated.neurons.fired(neuron, simulated.weights[neuron]), train)


def test_affine_potential_is_the_potential_in_any_blocks(simulated, monkeypatch):
    monkeypatch.setattr(module, "BLOCK", 37)
    monkeypatch.setattr(module, "KEPT_BYTES", 1)  # blocks are computed again and again
    neurons = ClampedNeurons.of(simulated.network, simulated.targets)
    for neuron in (0, N - 1):
        weights = simulated.weights[neuron]
        potential = simulated.neurons.potential(neuron, weights)
        parts = list(neurons.blocks(neuron))
        assert len(parts) > 3
        steps = np.concatenate([part.step for part in parts])
        assert np.array_equal(steps, neurons.live(neuron))
        found = np.concatenate([part.external + part.response @ weights for part in parts])
        np.testing.assert_allclose(found, potential[steps], atol=1e-9, rtol=0)
        fires = np.concatenate([part.fires for part in parts])
        assert np.array_equal(steps[fires], simulated.targets.steps[neuron])


def test_freed_neuron_fires_what_a_loop_says(simulated):
    neurons, rng = simulated.neurons, np.random.default_rng(5)
    weights = rng.normal(0, 3, N)
    keep = np.exp(-DT / neurons.tau_m[4])
    silent = ClampedNeurons(
        SpikeTargets(
            steps=[[] if k == 4 else train for k, train in enumerate(simulated.targets.steps)],
            dt=DT,
            n_steps=neurons.n_steps,
            populations={"n": N},
        ),
        neurons.currents,
        **{k: getattr(neurons, k) for k in ("tau_m", "tau_syn", "v_th", "v_reset", "start", "delay_steps")},
        t_ref=neurons.hold * DT,
    )
    weights[4] = 0
    free = silent.potential(4, weights)
    added = free - keep * np.r_[neurons.start[4], free[:-1]]
    v, wake, fired = neurons.start[4], 0, []
    for step in range(neurons.n_steps):
        if step < wake:
            v = neurons.v_reset[4]
            continue
        v = keep * v + added[step]
        if v >= neurons.v_th[4]:
            fired.append(step)
            v, wake = neurons.v_reset[4], step + 1 + neurons.hold[4]
    assert fired
    assert np.array_equal(neurons.fired(4, weights), fired)


def test_neurons_without_a_train_are_refused(simulated):
    mask = np.ones(N, dtype=bool)
    mask[3] = False
    targets = SpikeTargets(
        steps=simulated.targets.steps, dt=DT, n_steps=simulated.targets.n_steps, populations={"n": N}, has_target=mask
    )
    with pytest.raises(ValueError, match=r"need the spikes of every neuron, neuron 3 \(1 in all\) has no train"):
        ClampedNeurons.of(simulated.network, targets)


def test_currents_of_another_shape_are_refused(simulated):
    own = simulated.neurons
    names = ("tau_m", "tau_syn", "v_th", "v_reset", "start", "delay_steps")
    with pytest.raises(ValueError, match=r"`currents` must have shape \(step, neuron\), \(400, 10\), got \(399, 10\)"):
        ClampedNeurons(
            simulated.targets, own.currents[1:], t_ref=own.hold * DT, **{name: getattr(own, name) for name in names}
        )
