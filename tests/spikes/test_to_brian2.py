"""Circuits as plain Brian2 networks, against the engine and in the user's hand."""

import json
import subprocess
import sys

import numpy as np
import pytest
from plain_programs import build_and_run

from mnnbio import (
    Circuit,
    CurrentDrive,
    EquationNeuron,
    GaussianDrive,
    LIFParameters,
    PoissonDrive,
    PoissonSource,
    Population,
    Projection,
    SpikeSource,
    simulate,
    to_brian2,
    to_brian2_script,
)
from mnnbio.neurons import AdEx, ConductanceLIF
from mnnbio.spikes.plain import plain_circuit
from mnnbio.synapses import STDP, Conductance, EquationPlasticity, ShortTermPlasticity
from mnnbio.values import Oscillation, Steps

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
        build_and_run(brian.get_device(), tmp_path)
        found, shape = monitored(network), voltage.v.shape
    finally:
        brian.get_device().reinit()
        reset_device()
    assert_same(found, expected)
    assert shape == (10, 2000)


_RUN = """
import json, runpy, sys
import brian2
brian2.prefs.codegen.target = "numpy"
made = runpy.run_path(sys.argv[1])
spikes = {n: [made[f"{n}_spikes"].t_[:].tolist(), made[f"{n}_spikes"].i[:].tolist()] for n in sys.argv[2:]}
print(json.dumps(spikes))
"""


def script_spikes(text, path, names=NAMES):
    """Run a script in a process of its own and return the spikes of every population, sorted."""
    path.write_text(text, encoding="utf-8")
    done = subprocess.run([sys.executable, "-c", _RUN, str(path), *names], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    steps = {n: np.rint(np.array(times) / (DT * 1e-3)).astype(int).tolist() for n, (times, _) in found.items()}
    return {n: sorted(zip(steps[n], elements, strict=True)) for n, (_, elements) in found.items()}


@pytest.mark.slow
def test_the_script_of_a_mixed_circuit_fires_as_the_engine(tmp_path):
    text = to_brian2_script(mixed(), dt=DT, duration=DURATION)
    assert "mnnbio" not in text
    assert_same(script_spikes(text, tmp_path / "mixed.py"), engine_spikes(mixed(), codegen="runtime"))


def noisy() -> Circuit:
    """Return independent neurons that draw random numbers in every way."""
    from brian2 import ms, mV

    own = EquationNeuron(
        equations="dv/dt = (mu - v)/tau + sigma*xi/tau**.5 : volt\nmu : volt\ntau : second\nsigma : volt",
        threshold="v > 15*mV + 1*mV*randn()",
        reset="v = 2*mV*rand()",
        method="euler",
        parameters={"mu": 12 * mV, "tau": 10 * ms, "sigma": 5 * mV},
    )
    return Circuit(
        [
            PoissonSource("input", 200, rates=Oscillation(mean=0.05, amplitude=0.02, frequency=10.0)),
            Population("G", 200, LIFParameters()),
            Population("P", 200, LIFParameters()),
            Population("X", 200, own),
        ],
        [Projection("input", "P", weights=np.eye(200) * 3.0)],
        [GaussianDrive("G", mean=0.9, std=1.0), PoissonDrive("P", rate=2.0, weight=0.45)],
    )


@pytest.mark.slow
def test_rates_of_noisy_neurons_agree(brian):
    result = simulate(noisy(), 500.0, dt=0.5, seed=1, codegen="runtime", covariance=False)
    spikes = result["spikes"].to_dataset()
    ours = spikes["row_size"].values.ravel()
    counts = {name: ours[spikes["population"].values == name] for name in "GPX"}
    network = to_brian2(noisy(), dt=0.5, seed=1, duration=500.0, record=["G", "P", "X", "input"])
    network.run(500 * brian.ms)
    for name, own in counts.items():
        other = np.asarray(network[f"{name}_spikes"].count[:])
        error = np.sqrt(own.var(ddof=1) / len(own) + other.var(ddof=1) / len(other))
        assert own.mean() > 3
        assert abs(own.mean() - other.mean()) < 4 * error, name
    # A Poisson number of spikes of mean 25 and less variance than that: a train fires once in a step at most.
    assert abs(np.mean(network["input_spikes"].count) - 25) < 4 * np.sqrt(25 / 200)


def test_random_numbers_of_equations_are_those_of_brian():
    rule = EquationPlasticity(on_pre="w = w*(1 - 0.1*rand())")
    circuit = noisy()
    more = Projection("G", "P", weights=np.eye(200), plasticity=rule)
    plan = plain_circuit(circuit.with_parts(projections=[*circuit.projections, more]), dt=DT, stimulus=0)
    group = plan.groups["X"]
    assert (group.threshold, group.reset, group.noises) == ("v > 15 * mV + 1 * mV * randn()", "v = 2 * mV * rand()", ())
    assert "noise_xi" not in group.equations
    assert "xi" in group.equations
    assert not group.steps
    assert plan.synapses["G_to_P"].code_pre.endswith("w = w * (1 - 0.1 * rand())")
    texts = [f"{g.equations}{g.threshold}{g.reset}{[s.code for s in g.steps]}" for g in plan.groups.values()]
    assert not any("stream" in text or "_draw" in text for text in texts)


def test_one_seed_gives_one_run(brian):
    small = Circuit([Population("E", 20, LIFParameters())], drives=[GaussianDrive("E", mean=1.1, std=1.0)])
    runs = []
    for seed in (3, 3, 4):
        network = to_brian2(small, dt=0.5, seed=seed)
        network.run(100 * brian.ms)
        runs.append(np.asarray(network["E_spikes"].t_[:]).tolist())
    assert runs[0] == runs[1] != runs[2]
    assert network["E"].clock.dt == 0.5 * brian.ms == brian.defaultclock.dt


def test_a_stimulus_is_chosen(brian):
    circuit = Circuit([Population("E", 2, LIFParameters())], drives=[GaussianDrive("E", mean=[[0.1, 0.1], [2.0, 0.1]])])
    spikes = []
    for stimulus in range(2):
        network = to_brian2(circuit, stimulus=stimulus)
        network.run(50 * brian.ms)
        spikes.append(set(network["E_spikes"].i[:]))
    assert spikes == [set(), {0}]
    with pytest.raises(ValueError, match="`stimulus` must be from 0 to 1, got 2"):
        to_brian2(circuit, stimulus=2)


def test_what_is_missing_is_said(brian):
    with pytest.raises(ValueError, match="inputs that change in time: give `duration`"):
        to_brian2(noisy())
    with pytest.raises(ValueError, match="`duration` must be > 0 ms, got 0"):
        to_brian2(noisy(), duration=0.0)
    with pytest.raises(ValueError, match="`record` must name populations of the circuit, input, G, P, X; got 'E'"):
        to_brian2(noisy(), duration=1.0, record=["E"])
