"""Circuits as plain Brian2 networks, against the engine and in the user's hand."""

import numpy as np
import pytest

from mnnbio import (
    Circuit,
    CurrentDrive,
    GaussianDrive,
    LIFParameters,
    Population,
    Projection,
    SpikeSource,
    simulate,
    to_brian2,
)
from mnnbio.neurons import AdEx, ConductanceLIF
from mnnbio.synapses import STDP, Conductance, ShortTermPlasticity
from mnnbio.values import Steps

DT = 0.1
DURATION = 200.0
NAMES = ("L", "A", "C")


def sparse(seed, n_target, n_source, weight, share=0.3):
    rng = np.random.default_rng(seed)
    return weight * rng.uniform(0.5, 1.5, (n_target, n_source)) * (rng.random((n_target, n_source)) < share)


def mixed(plastic=True) -> Circuit:
    """Return a circuit without randomness that mixes neurons, synapses, start values and inputs."""
    rng = np.random.default_rng(0)
    excitatory, inhibitory = Conductance(5.0, 0.0), Conductance(10.0, -80.0, name="i")
    times = np.sort(rng.uniform(0.0, DURATION, 60))
    return Circuit(
        [
            SpikeSource("given", times, np.arange(60) % 6, 6),
            Population("L", 20, LIFParameters(tau_m=rng.uniform(10.0, 20.0, 20))),
            Population("A", 15, AdEx(b=rng.uniform(20.0, 80.0, 15), initial={"v": rng.uniform(-70.0, -55.0, 15)})),
            Population("C", 10, ConductanceLIF()),
        ],
        [
            Projection("given", "L", weights=sparse(1, 20, 6, 8.0), delay=0.5),
            Projection("L", "L", weights=sparse(2, 20, 20, -0.5), delay=rng.integers(1, 30, (20, 20)) * DT),
            Projection("L", "A", weights=sparse(3, 15, 20, 2.0), delay=1.0, synapse=excitatory),
            Projection("A", "L", weights=sparse(4, 20, 15, 1.0), delay=0.1, tau_syn=5.0),
            Projection(
                "A",
                "C",
                weights=sparse(5, 10, 15, 3.0),
                delay=1.5,
                synapse=excitatory,
                plasticity=STDP(w_max=6.0, A_plus=0.05, A_minus=0.05) if plastic else None,
            ),
            Projection("C", "A", weights=sparse(6, 15, 10, 3.0), delay=0.8, synapse=inhibitory),
            Projection(
                "A",
                "A",
                weights=sparse(7, 15, 15, 1.0),
                synapse=excitatory,
                plasticity=ShortTermPlasticity(U=0.5, tau_rec=100.0),
            ),
        ],
        [
            GaussianDrive("L", mean=1.4, std=0.0),
            CurrentDrive("A", current=Steps(times=[0.0, 60.5], values=[700.0, 900.0])),
            CurrentDrive("C", current=rng.uniform(90.0, 250.0, 10)),
        ],
    )


def engine_spikes(circuit, names=NAMES, **options):
    """Return steps and neurons of the spikes of every population, sorted."""
    result = simulate(circuit, DURATION, dt=DT, covariance=False, **options)
    spikes = result["spikes"].to_dataset()
    rows = spikes["row_size"].values.reshape(-1)
    neuron = np.repeat(np.arange(len(rows)), rows)
    step = np.floor(spikes["spike_time"].values / (DT * 1e-3)).astype(int)  # spike times are middles of steps
    owner = spikes["population"].values
    first = {name: int(np.flatnonzero(owner == name)[0]) for name in names}
    return {
        name: sorted((int(s), int(n) - first[name]) for s, n in zip(step, neuron, strict=True) if owner[n] == name)
        for name in names
    }


def monitored(network, names=NAMES):
    found = {}
    for name in names:
        monitor = network[f"{name}_spikes"]
        step = np.rint(np.asarray(monitor.t_[:]) / (DT * 1e-3)).astype(int)
        found[name] = sorted(zip(step.tolist(), np.asarray(monitor.i[:]).tolist(), strict=True))
    return found


@pytest.fixture
def brian():
    """Return Brian2, with its NumPy target, and set everything back."""
    import brian2

    before = brian2.prefs["codegen.target"]
    brian2.prefs["codegen.target"] = "numpy"
    yield brian2
    brian2.prefs["codegen.target"] = before
    brian2.defaultclock.dt = 0.1 * brian2.ms


def assert_same(found, expected):
    assert all(len(spikes) > 30 for spikes in expected.values()), {name: len(own) for name, own in expected.items()}
    assert found == expected


@pytest.mark.slow
def test_a_mixed_circuit_fires_as_in_the_engine_and_takes_more_objects(brian):
    expected = engine_spikes(mixed(), codegen="runtime")
    network = to_brian2(mixed(), dt=DT, duration=DURATION)
    voltage = brian.StateMonitor(network["A"], ["v", "w"], record=[0, 3])
    counter = brian.NeuronGroup(1, "n : 1", name="counter")
    count = brian.Synapses(network["C"], counter, on_pre="n_post += 1", name="count")
    count.connect()
    network.add(voltage, counter, count)
    network.run(DURATION * brian.ms)
    assert_same(monitored(network), expected)
    assert voltage.v.shape == (2, 2000)
    assert voltage.clock is network["A"].clock is counter.clock
    assert counter.n[0] == pytest.approx(len(expected["C"]), abs=10)  # those of the last step have not arrived
    weight = np.asarray(network["A_to_C"].w_syn_[:])  # the neurons have a w
    assert 0 <= weight.min() < weight.max() <= 6e-9


@pytest.mark.slow
@pytest.mark.standalone
def test_a_mixed_circuit_in_standalone_fires_as_in_the_engine(brian, tmp_path):
    from brian2.devices.device import reset_device

    expected = engine_spikes(mixed())
    brian.set_device("cpp_standalone", build_on_run=False)
    try:
        network = to_brian2(mixed(), dt=DT, duration=DURATION)
        voltage = brian.StateMonitor(network["C"], "v", record=True)
        network.add(voltage)
        network.run(DURATION * brian.ms)
        brian.get_device().build(directory=str(tmp_path), with_output=False)
        found, shape = monitored(network), voltage.v.shape
    finally:
        brian.get_device().reinit()
        reset_device()
    assert_same(found, expected)
    assert shape == (10, 2000)
