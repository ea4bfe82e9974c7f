"""Scripts in PyNN: run by NEST they give the spikes of deterministic circuits one by one; what is refused."""

from importlib.util import find_spec

import numpy as np
import pytest
from foreign_scripts import difference, foreign_spikes, our_steps, their_steps, window_rates

from mnnbio import (
    Circuit,
    FixedIndegree,
    GaussianDrive,
    LIFParameters,
    PoissonDrive,
    PoissonSource,
    Population,
    Projection,
    SpikeSource,
    simulate,
)
from mnnbio.formats import to_pynn_script
from mnnbio.neurons import AdEx, ConductanceLIF, Izhikevich
from mnnbio.synapses import Alpha, Conductance

needs_pynn = pytest.mark.skipif(
    find_spec("pyNN") is None or find_spec("nest") is None,
    reason="PyNN or NEST is not installed: pip install PyNN nest-simulator (GPL, for tests alone)",
)


def deterministic(kind):
    rng = np.random.default_rng(0)
    lif = LIFParameters(
        tau_m=rng.uniform(8, 25, 30), v_rest=-65.0, v_th=-50.0, v_reset=-60.0, initial={"v": rng.uniform(-65, -52, 30)}
    )
    own = {"delta": {}, "exponential": {"tau_syn": 3.0}, "alpha": {"synapse": Alpha(3.0)}}[kind]
    other = {"tau_syn": 8.0} if kind == "exponential" else own
    times = np.arange(1.0, 250.0, 7.3)
    return Circuit(
        [
            SpikeSource("clock", times, np.arange(len(times)) % 3),
            Population("E", 30, lif),
            Population("I", 10, LIFParameters(tau_m=10.0, t_ref=2.0)),
        ],
        [
            Projection("E", "E", weights=rng.uniform(0, 0.3, (30, 30)), delay=rng.uniform(0.1, 3.0, (30, 30)), **own),
            Projection("E", "I", weight=1.1, connectivity=FixedIndegree(10), delay=1.5, **own),
            Projection("I", "E", weights=-rng.uniform(0, 1.5, (30, 10)), **other),
            Projection("clock", "E", weights=rng.uniform(0, 4, (30, 3)), delay=0.4, **own),
        ],
        [GaussianDrive("E", mean=rng.uniform(0.7, 1.5, 30)), GaussianDrive("I", mean=1.8)],
        seed=1,
    )


@needs_pynn
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["delta", "exponential", "alpha"])
def test_a_deterministic_circuit_fires_spike_for_spike(kind, tmp_path):
    circuit = deterministic(kind)
    ours = simulate(circuit, 250, warmup=50, dt=0.1, seed=1, codegen="runtime", covariance=False)
    theirs = foreign_spikes(to_pynn_script(circuit, 0.1, 250, warmup=50), tmp_path, "pynn")
    for name in "EI":
        assert len(our_steps(ours, name, 0.1)) > 80
        assert their_steps(theirs[name], 0.1, 50.0) == our_steps(ours, name, 0.1)


@needs_pynn
@pytest.mark.slow
@pytest.mark.standalone
def test_a_noisy_circuit_fires_at_the_same_rates(tmp_path):
    circuit, duration = (
        Circuit(
            [PoissonSource("in", 40, rates=0.02), Population("E", 30, LIFParameters(t_ref=2.0))],
            [
                Projection("in", "E", weight=0.6, connectivity=FixedIndegree(20), delay=0.1),
                Projection("E", "E", weight=-0.3, connectivity=FixedIndegree(5), delay=1.0),
            ],
            [GaussianDrive("E", mean=0.4, std=1.5), PoissonDrive("E", rate=0.5, weight=0.4)],
        ),
        10_000.0,
    )
    ours = simulate(circuit, duration, warmup=200, dt=0.1, seed=1, covariance=False, processes=1)
    theirs = foreign_spikes(to_pynn_script(circuit, 0.1, duration, seed=3, warmup=200), tmp_path, "pynn")
    rates = [
        window_rates(steps, 30, 0.1, duration, 500.0)
        for steps in (our_steps(ours, "E", 0.1), their_steps(theirs["E"], 0.1, 200.0))
    ]
    assert rates[0].mean() > 5
    assert difference(*rates) < 3


@needs_pynn
@pytest.mark.slow
@pytest.mark.parametrize("neuron", [AdEx(t_ref=2.0), ConductanceLIF()])
def test_conductances_fire_alike(neuron, tmp_path):
    """Methods of integration differ: the numbers of spikes agree within 2 %."""
    excite, inhibit = Conductance(5.0, reversal=0.0), Conductance(10.0, reversal=-80.0)
    circuit = Circuit(
        [SpikeSource("in", np.arange(2.0, 400.0, 1.0), np.zeros(398, int)), Population("E", 20, neuron)],
        [
            Projection("in", "E", weights=np.linspace(2, 6, 20)[:, None], synapse=excite, delay=0.1),
            Projection("E", "E", weight=0.5, connectivity=FixedIndegree(5), synapse=inhibit, delay=1.0),
        ],
    )
    ours = simulate(circuit, 400, dt=0.02, seed=1, codegen="runtime", covariance=False)
    theirs = foreign_spikes(to_pynn_script(circuit, 0.02, 400), tmp_path, "pynn")
    number = len(our_steps(ours, "E", 0.02))
    assert number > 150
    assert len(theirs["E"][0]) == pytest.approx(number, rel=0.02)


def test_a_script_reads_as_one_writes_it():
    circuit = Circuit(
        [Population("E", 100, LIFParameters(t_ref=2.0))],
        [Projection("E", "E", weight=0.5, connectivity=FixedIndegree(10), delay=1.5, tau_syn=5.0)],
        [PoissonDrive("E", rate=20.0, weight=0.1, tau_syn=5.0), GaussianDrive("E", 0.0, 1.0)],
    )
    script = to_pynn_script(circuit, 0.1, 1000, seed=7, synapses="rules", simulator="brian2")
    compile(script, "script", "exec")
    for line in (
        "    import pyNN.brian2 as sim",
        "brian2.seed(7)",
        "    sim.IF_curr_exp(",
        "    sim.FixedNumberPreConnector(10, with_replacement=False, allow_self_connections=False),",
        "    sim.StaticSynapse(weight=0.0001, delay=1.5),",
        '    receptor_type="excitatory",',
    ):
        assert line in script.splitlines()
    assert "def add_noise(" in script
    assert "def connect(" not in script


def test_what_pynn_has_no_counterpart_of_is_named():
    def circuit(neuron, *projections):
        return Circuit([Population("E", 2, neuron)], projections)

    with pytest.raises(TypeError, match="'E' are Izhikevich, for which `to_pynn_script` has no counterpart"):
        to_pynn_script(circuit(Izhikevich()))
    with pytest.raises(ValueError, match="'E' has delta synapses, PyNN's exponential neurons have conductances alone"):
        to_pynn_script(circuit(AdEx()))
    two = [Projection("E", "E", weights=np.eye(2), tau_syn=tau) for tau in (2.0, 5.0)]
    with pytest.raises(ValueError, match="'E' has excitatory synapses of 2 time constants"):
        to_pynn_script(circuit(LIFParameters(), *two))
    three = [Projection("E", "E", weights=np.eye(2), synapse=Conductance(t, reversal=0.0)) for t in (2.0, 5.0, 9.0)]
    with pytest.raises(ValueError, match="'E' has 3 kinds of conductances"):
        to_pynn_script(circuit(ConductanceLIF(), *three))
    shapes = [Projection("E", "E", weights=np.eye(2), synapse=Conductance(5.0, 0.0, rise)) for rise in (0.0, 5.0)]
    with pytest.raises(ValueError, match="with and without a rise"):
        to_pynn_script(circuit(ConductanceLIF(), *shapes))
    with pytest.raises(ValueError, match=r"'in' has projections with a delay of 0.*: give 0\.1 ms"):
        to_pynn_script(
            Circuit(
                [SpikeSource("in", [1.0], [0]), Population("E", 1, LIFParameters())],
                [Projection("in", "E", weights=[[1.0]])],
            )
        )
    with pytest.raises(ValueError, match="Invalid value 'arbor' for `simulator`"):
        to_pynn_script(circuit(LIFParameters()), simulator="arbor")
