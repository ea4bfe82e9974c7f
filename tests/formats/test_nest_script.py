"""Scripts for NEST: the spikes of deterministic circuits one by one, the rates of noisy ones, and what is refused."""

import json
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
from foreign_scripts import difference, foreign_spikes, our_steps, their_steps, window_rates

from mnnbio import (
    AllToAll,
    Bernoulli,
    Circuit,
    CurrentDrive,
    EquationNeuron,
    FixedIndegree,
    FixedOutdegree,
    FixedTotalNumber,
    GaussianDrive,
    LIFParameters,
    Normal,
    Oscillation,
    PoissonDrive,
    PoissonSource,
    Population,
    Projection,
    Samples,
    SpikeSource,
    Steps,
    Uniform,
    simulate,
)
from mnnbio.circuits import ring
from mnnbio.formats import to_nest_script, to_pynn_script
from mnnbio.neurons import EIF, AdEx, ConductanceLIF, Izhikevich
from mnnbio.synapses import NMDA, Alpha, Conductance, Delta, DoubleExponential, Exponential, ShortTermPlasticity

needs_nest = pytest.mark.skipif(
    find_spec("nest") is None, reason="NEST is not installed: pip install nest-simulator (GPL, for tests alone)"
)


def deterministic(kind):
    """Neurons that differ, four projections with delays of their own, spikes at given times."""
    rng = np.random.default_rng(0)
    lif = LIFParameters(
        tau_m=rng.uniform(8, 25, 40),
        v_rest=-65.0,
        v_th=rng.uniform(-52, -48, 40),
        v_reset=-60.0,
        t_ref=rng.choice([0.0, 0.5, 2.0], 40),
        initial={"v": rng.uniform(-65, -52, 40)},
    )
    own = {"delta": {}, "exponential": {"tau_syn": 3.0}, "two": {"tau_syn": 3.0}, "alpha": {"synapse": Alpha(3.0)}}[
        kind
    ]
    other = {"tau_syn": 8.0} if kind == "two" else own
    times = np.arange(1.0, 300.0, 7.3)
    return Circuit(
        [
            SpikeSource("clock", times, np.arange(len(times)) % 3),
            Population("E", 40, lif),
            Population("2nd I!", 10, LIFParameters(tau_m=10.0)),
        ],
        [
            Projection("E", "E", weight=Normal(0.9, 0.2), connectivity=Bernoulli(0.2), delay=Uniform(0.1, 3.0), **own),
            Projection("E", "2nd I!", weight=1.1, connectivity=FixedIndegree(10), delay=1.5, **own),
            Projection("2nd I!", "E", weights=-rng.uniform(0, 1.5, (40, 10)), **other),
            Projection("clock", "E", weights=rng.uniform(0, 4, (40, 3)), delay=0.0 if kind == "delta" else 0.4, **own),
        ],
        [GaussianDrive("E", mean=rng.uniform(0.7, 1.5, 40)), GaussianDrive("2nd I!", mean=1.8)],
        seed=1,
    )


@needs_nest
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["delta", "exponential", "two", "alpha"])
def test_a_deterministic_circuit_fires_spike_for_spike(kind, tmp_path):
    circuit = deterministic(kind)
    ours = simulate(circuit, 300, warmup=50, dt=0.1, seed=1, codegen="runtime", covariance=False)
    theirs = foreign_spikes(to_nest_script(circuit, 0.1, 300, warmup=50), tmp_path, "nest")
    for name in ("E", "2nd I!"):
        own = [spike for spike in our_steps(ours, name, 0.1) if spike[1] >= 0]
        assert len(own) > 80
        assert their_steps(theirs[name], 0.1, 50.0) == own


@needs_nest
@pytest.mark.slow
@pytest.mark.parametrize("neuron", [AdEx(t_ref=2.0), ConductanceLIF(), EIF()])
def test_conductances_and_exponential_neurons_fire_alike(neuron, tmp_path):
    """Methods of integration differ, so spikes do by a step here and there: their numbers agree within 2 %."""
    excite, inhibit = Conductance(5.0, reversal=0.0), Conductance(10.0, reversal=-80.0)
    circuit = Circuit(
        [SpikeSource("in", np.arange(2.0, 400.0, 2.0), np.zeros(199, int)), Population("E", 20, neuron)],
        [
            Projection("in", "E", weights=np.linspace(2, 6, 20)[:, None], synapse=excite, delay=0.1),
            Projection("E", "E", weight=0.5, connectivity=FixedIndegree(5), synapse=inhibit, delay=1.0),
        ],
        [CurrentDrive("E", np.linspace(100, 300, 20))],
    )
    ours = simulate(circuit, 400, dt=0.02, seed=1, codegen="runtime", covariance=False)
    theirs = foreign_spikes(to_nest_script(circuit, 0.02, 400), tmp_path, "nest")
    number = len(our_steps(ours, "E", 0.02))
    assert number > 100
    assert len(theirs["E"][0]) == pytest.approx(number, rel=0.02)


def noisy():
    lif = LIFParameters(tau_m=np.linspace(10, 20, 40), t_ref=2.0)
    return Circuit(
        [PoissonSource("in", 50, rates=0.02), Population("E", 40, lif), Population("I", 40, LIFParameters())],
        [
            Projection("in", "E", weight=0.6, connectivity=FixedIndegree(20)),
            Projection("E", "I", weight=0.3, connectivity=FixedIndegree(10), delay=1.0),
            Projection("I", "E", weight=-0.5, connectivity=FixedIndegree(10), delay=1.0),
        ],
        [
            GaussianDrive("E", mean=0.8, std=np.linspace(1.0, 2.0, 40)),
            GaussianDrive("I", mean=0.7, std=1.5),
            PoissonDrive("I", rate=0.5, weight=0.5),
        ],
    )


@needs_nest
@pytest.mark.slow
@pytest.mark.standalone
def test_a_noisy_circuit_fires_at_the_same_rates(tmp_path):
    circuit, duration = noisy(), 20_000.0
    ours = simulate(circuit, duration, warmup=200, dt=0.1, seed=1, covariance=False, processes=1)
    theirs = foreign_spikes(to_nest_script(circuit, 0.1, duration, seed=3, warmup=200), tmp_path, "nest")
    for name in "EI":
        rates = [
            window_rates(steps, 40, 0.1, duration, 500.0)
            for steps in (our_steps(ours, name, 0.1), their_steps(theirs[name], 0.1, 200.0))
        ]
        assert rates[0].mean() > 5
        assert difference(*rates) < 3


@needs_nest
@pytest.mark.slow
def test_currents_that_change_in_time_fire_spike_for_spike(tmp_path):
    rng = np.random.default_rng(0)
    circuit = Circuit(
        [Population("E", 20, LIFParameters(tau_m=rng.uniform(10, 20, 20)))],
        [Projection("E", "E", weight=0.5, connectivity=FixedIndegree(4), delay=1.0)],
        [
            GaussianDrive("E", mean=Samples(rng.uniform(0.8, 2, (50, 20)), dt=5.0)),
            GaussianDrive("E", mean=Steps([0.0, 50.0], [0.0, 0.2])),
        ],
    )
    ours = simulate(circuit, 200, warmup=50, dt=0.1, seed=1, codegen="runtime", covariance=False)
    theirs = foreign_spikes(to_nest_script(circuit, 0.1, 200, warmup=50), tmp_path, "nest")
    own = [spike for spike in our_steps(ours, "E", 0.1) if spike[1] >= 0]
    assert len(own) > 60
    assert their_steps(theirs["E"], 0.1, 50.0) == own


@needs_nest
@pytest.mark.slow
def test_rates_that_change_in_time(tmp_path):
    """Trains whose rate doubles, through weights so strong that every spike makes one: Poisson counts of both halves."""
    rates = Steps([0.0, 2000.0], [0.02, 0.04])
    circuit = Circuit(
        [
            PoissonSource("in", 50, rates=rates),
            Population("E", 50, LIFParameters(t_ref=0.0)),
            Population("F", 50, LIFParameters(t_ref=0.0)),
        ],
        [Projection("in", "E", weights=30 * np.eye(50))],
        [PoissonDrive("F", rate=rates, weight=30.0)],
    )
    theirs = foreign_spikes(to_nest_script(circuit, 0.1, 4000), tmp_path, "nest")
    for name in "EF":
        times = theirs[name][1]
        for found, expected in (((times < 2000).sum(), 2000), ((times >= 2000).sum(), 4000)):
            # Two spikes in a step make one: at most 0.4 % less.
            assert abs(found - expected) < 4 * np.sqrt(expected) + 0.004 * expected


@needs_nest
@pytest.mark.slow
def test_rules_connect_as_they_say(tmp_path):
    lif = LIFParameters()
    circuit = Circuit(
        [Population("E", 50, lif), Population("I", 40, lif)],
        [
            Projection("E", "E", weight=0.5, connectivity=FixedIndegree(7), delay=1.5),
            Projection("E", "I", weight=Uniform(0.1, 0.2), connectivity=FixedOutdegree(5), delay=Uniform(1.0, 2.0)),
            Projection("I", "E", weight=Normal(-1.0, 0.3, high=-0.5), connectivity=FixedTotalNumber(99)),
            Projection("I", "I", weight=-0.5, connectivity=AllToAll(), delay=0.3),
            Projection("I", "I", weight=-0.25, connectivity=Bernoulli(0.5), autapses=True),
        ],
    )
    script = (
        to_nest_script(circuit, 0.1, 1.0, synapses="rules")
        + """
import json
def found(pre, post):
    own = nest.GetConnections(populations[pre], populations[post])
    return [np.array(own.get(key)).tolist() for key in ("source", "target", "weight", "delay")]
print("FOUND" + json.dumps([found("E", "E"), found("E", "I"), found("I", "E"), found("I", "I")]))
"""
    )
    (tmp_path / "rules.py").write_text(script)
    done = subprocess.run([sys.executable, "rules.py"], capture_output=True, text=True, check=True, cwd=tmp_path)
    line = next(line for line in done.stdout.splitlines() if line.startswith("FOUND"))
    one, two, three, four = (np.array(own) for own in json.loads(line.removeprefix("FOUND")))
    assert np.bincount(one[1].astype(int)).tolist()[1:] == [7] * 50
    assert (one[0] != one[1]).all()
    assert set(one[2]) == {0.5}
    assert set(one[3]) == {1.5}
    assert np.bincount(two[0].astype(int)).tolist()[1:] == [5] * 50
    assert 0.1 <= two[2].min() < 0.12 < 0.18 < two[2].max() <= 0.2
    assert 1.0 <= two[3].min() < 1.2 < 1.8 < two[3].max() <= 2.0
    assert three.shape[1] == 99
    assert three[2].max() <= -0.5
    assert three[2].mean() == pytest.approx(-1.03, abs=0.12)  # of the truncated normal, with 4 standard errors
    assert set(three[3]) == {0.1}  # a delay of 0 is a step
    assert (four[2] == -0.5).sum() == 40 * 39
    assert abs((four[2] == -0.25).sum() - 800) < 4 * 20


def test_a_script_reads_as_one_writes_it():
    circuit = Circuit(
        [Population("E", 100, LIFParameters(t_ref=2.0))],
        [Projection("E", "E", weight=0.1, connectivity=FixedIndegree(10), delay=1.5)],
        [PoissonDrive("E", rate=20.0, weight=0.1)],
    )
    script = to_nest_script(circuit, 0.1, 1000, seed=7, synapses="rules")
    compile(script, "script", "exec")
    for line in (
        "nest.rng_seed = 7",
        'E = nest.Create("iaf_psc_delta", 100, {',
        '    "V_th": 20.0,',
        "E_poisson.rate = 20000.0",
        'nest.Connect(E_poisson, E, "all_to_all", {"weight": 0.1, "delay": 0.1})',
        'nest.Connect(E, E, {"rule": "fixed_indegree", "indegree": 10, "allow_multapses": False, '
        '"allow_autapses": False}, {"weight": 0.1, "delay": 1.5})',
        "nest.Simulate(1000.0)",
    ):
        assert line in script.splitlines()
    assert "unpack" not in script


def test_absent_simulators_are_named(monkeypatch):
    circuit = Circuit([Population("E", 1, LIFParameters())])
    for write, absent in ((to_nest_script, "nest"), (to_pynn_script, "pyNN")):
        monkeypatch.setitem(sys.modules, absent, None)
        with pytest.raises(SystemExit, match=r"this script needs .*: pip install .*nest-simulator"):
            exec(compile(write(circuit), "script", "exec"), {})


def refused(part, **more):
    population = part if isinstance(part, Population) else Population("E", 2, LIFParameters())
    return Circuit([population], **more)


@pytest.mark.parametrize(
    ("circuit", "error", "says"),
    [
        (refused(Population("E", 2, Izhikevich())), TypeError, "'E' are Izhikevich, for which `to_nest_script` has no"),
        (
            refused(Population("E", 2, ConductanceLIF(theta_plus=0.1))),
            TypeError,
            r"the thresholds of 'E' adapt \(`theta_plus`\)",
        ),
        (
            refused(
                Population(
                    "E",
                    2,
                    EquationNeuron(equations="dv/dt = -v/(10*ms) : volt", threshold="v > 1*mV", reset="v = 0*mV"),
                )
            ),
            TypeError,
            "'E' are EquationNeuron",
        ),
        (
            refused(0, drives=[GaussianDrive("E", 1.0, 0.5, factor=np.ones((2, 1)))]),
            TypeError,
            r"Gaussian drive of 'E' has noise that neurons share",
        ),
        (
            refused(0, drives=[GaussianDrive("E", mean=1.0, std=Oscillation(1.0, 0.5, 0.01))]),
            ValueError,
            "`std` of Gaussian drive of 'E' changes in time, which `to_nest_script` does not write",
        ),
        (
            refused(0, projections=[Projection("E", "E", weights=np.eye(2), synapse=DoubleExponential(1.0, 5.0))]),
            TypeError,
            "'E' has DoubleExponential",
        ),
        (
            refused(0, projections=[Projection("E", "E", weights=np.eye(2), tau_syn=t) for t in (0.0, 5.0)]),
            ValueError,
            "'E' has delta and exponential synapses, which no neuron",
        ),
        (
            refused(
                0,
                projections=[
                    Projection("E", "E", weights=np.eye(2), plasticity=ShortTermPlasticity(U=0.5, tau_rec=9.0))
                ],
            ),
            TypeError,
            "has the plasticity ShortTermPlasticity",
        ),
        (
            refused(Population("E", 2, AdEx()), projections=[Projection("E", "E", weights=np.eye(2), synapse=NMDA())]),
            TypeError,
            "'E' has NMDA",
        ),
        (
            refused(
                Population("E", 2, AdEx()),
                projections=[Projection("E", "E", weights=np.eye(2), synapse=Exponential(t, "pA")) for t in (1.0, 2.0)],
            ),
            ValueError,
            "exponential synapses of 2 time constants",
        ),
        (
            refused(
                Population("E", 2, ConductanceLIF()),
                projections=[
                    Projection("E", "E", weights=-np.eye(2), synapse=Conductance(5.0, reversal=-80.0)),
                ],
            ),
            ValueError,
            "conductances onto 'E' must be ≥ 0 nS, got -1",
        ),
    ],
)
def test_what_nest_has_no_counterpart_of_is_named(circuit, error, says):
    with pytest.raises(error, match=says):
        to_nest_script(circuit)


def test_other_bad_input():
    with pytest.raises(TypeError, match="`circuit` must be a Circuit"):
        to_nest_script(3)
    with pytest.raises(ValueError, match="Invalid value 'all' for `synapses`"):
        to_nest_script(noisy(), synapses="all")
    with pytest.raises(ValueError, match="`stimulus` must be an integer ≥ 0 and ≤ 0, got 1"):
        to_nest_script(noisy(), stimulus=1)
    with pytest.raises(ValueError, match="`seed` must be an integer ≥ 1"):
        to_nest_script(noisy(), seed=0)
    with pytest.raises(ValueError, match="fires in the first step of the simulation with a delay of 0"):
        to_nest_script(
            Circuit(
                [SpikeSource("in", [0.0], [0]), Population("E", 1, LIFParameters())],
                [Projection("in", "E", weights=[[1.0]], synapse=Delta())],
            )
        )
    with pytest.raises(TypeError, match="for which NEST has no rule: write `synapses='realised'`"):
        to_nest_script(ring(scale=0.1), synapses="rules")
