"""Neurons with equations of a user's own: noise, parameters, blow-ups, and messages about what cannot be."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from brian2 import Network, NeuronGroup, SpikeMonitor, ms, mV, pF, prefs, start_scope
from brian2 import seed as seed_brian
from test_biophysical import assert_same_spikes, spike_steps

from mnnbio import (
    Circuit,
    CurrentDrive,
    EquationNeuron,
    LIFParameters,
    Normal,
    Population,
    SimulationFailed,
    Uniform,
    build,
    simulate,
)
from mnnbio.neurons import QIF, AdEx, DiscreteLIF

DT = 0.1  # ms

NOISY = {
    "equations": "dv/dt = (mu - v)/tau + sigma*sqrt(2/tau)*xi : volt (unless refractory)",
    "threshold": "v > v_th",
    "reset": "v = 0*mV",
    "refractory": 2 * ms,
    "parameters": {"mu": 12 * mV, "tau": 10 * ms, "sigma": 4 * mV, "v_th": 15 * mV},
}
ESCAPE = {  # spikes at random, the more likely the higher v is
    "equations": "dv/dt = (mu - v)/tau : volt",
    "threshold": "rand() < exp((v - v_th)/delta)*dt/tau",
    "reset": "v = 0*mV",
    "parameters": {"mu": 14 * mV, "tau": 10 * ms, "v_th": 15 * mV, "delta": 2 * mV},
}
RANDOM_RESET = {**ESCAPE, "reset": "v = 3*mV*randn() - 2*mV*rand()"}
RANDOM = pytest.mark.parametrize("texts", [NOISY, ESCAPE, RANDOM_RESET], ids=["xi", "rand", "randn"])

BLOWS_UP = {"equations": "dv/dt = v**2/(volt*ms) : volt", "threshold": "v > 1e9*volt"}


def circuit_of(neuron, n=4, **parts):
    return Circuit([Population("cells", n, neuron)], **parts)


def runtime(circuit, duration=100.0, **options):
    return simulate(circuit, duration, **{"dt": DT, "seed": 1, "codegen": "runtime", "covariance": False, **options})


def plain_counts(texts, n, duration):
    """Return spike counts of a plain Brian2 script with random numbers of its own."""
    start_scope()
    before, prefs.codegen.target = prefs.codegen.target, "numpy"
    try:
        seed_brian(11)
        given = {"method": "euler", **texts}
        group = NeuronGroup(
            n,
            given["equations"],
            threshold=given["threshold"],
            reset=given["reset"],
            refractory=given.get("refractory", False),
            method="euler",
            namespace=dict(given["parameters"]),
            dt=DT * ms,
        )
        spikes = SpikeMonitor(group)
        Network(group, spikes).run(duration * ms)
        return np.array(spikes.count)
    finally:
        prefs.codegen.target = before


@RANDOM
def test_random_numbers_do_not_depend_on_what_runs_beside(texts):
    circuit, found = circuit_of(EquationNeuron(**texts)), []
    for replicas in (1, 3):
        with build(circuit, dt=DT, codegen="runtime", replicas=replicas) as program:
            found.append(program.run(100.0, trials=3, seed=5))
    np.testing.assert_array_equal(found[0].step, found[1].step)
    np.testing.assert_array_equal(found[0].row_size, found[1].row_size)
    counts = found[0].row_size[0]  # (trial, neuron)
    ends = np.cumsum(counts.sum(axis=1))[:-1]
    trials = np.split(found[0].step, ends)
    assert len(found[0].step) > 20
    assert not np.array_equal(trials[0], trials[1])
    assert len({tuple(train) for train in np.split(found[0].step, np.cumsum(counts.ravel())[:-1])}) == counts.size


@pytest.mark.slow
@RANDOM
def test_rates_are_those_of_a_plain_script_within_four_standard_errors(texts):
    n, duration = 1000, 150.0
    result = runtime(circuit_of(EquationNeuron(**texts), n), duration)
    ours = np.array([len(steps) for steps in spike_steps(result)])
    theirs = plain_counts(texts, n, duration)
    error = np.sqrt((ours.var(ddof=1) + theirs.var(ddof=1)) / n)
    assert theirs.mean() > 1
    assert abs(ours.mean() - theirs.mean()) < 4 * error
    assert abs(ours.var(ddof=1) / theirs.var(ddof=1) - 1) < 4 * np.sqrt(4 / n)  # kurtosis of a Gaussian


@pytest.mark.slow
@pytest.mark.standalone
def test_compiled_random_numbers_do_not_depend_on_processes():
    kinds = {"noisy": NOISY, "escape": ESCAPE, "random": RANDOM_RESET}
    circuit = Circuit([Population(name, 5, EquationNeuron(**texts)) for name, texts in kinds.items()])
    options = {"trials": 4, "dt": DT, "seed": 3, "covariance": False}
    found = [simulate(circuit, 200.0, **options, processes=processes) for processes in (1, 2)]
    found.append(simulate(circuit, 200.0, **options, codegen="runtime"))
    for result in found[1:]:
        for name in kinds:
            assert_same_spikes(spike_steps(result, name), spike_steps(found[0], name), at_least=20)


def test_parameters_are_one_per_neuron():
    mu = np.array([10.0, 16.0, 20.0, 30.0])
    texts = {**NOISY, "parameters": {**NOISY["parameters"], "sigma": 0 * mV, "mu": mu * mV}}
    found = spike_steps(runtime(circuit_of(EquationNeuron(**texts)), 40.0))
    for k, one in enumerate(mu):
        single = {**texts, "parameters": {**texts["parameters"], "mu": one * mV}}
        assert_same_spikes([found[k]], spike_steps(runtime(circuit_of(EquationNeuron(**single), 1), 40.0)), at_least=0)
    assert [len(steps) > 0 for steps in found] == [False, True, True, True]


def test_distributions_are_drawn_once_by_the_circuit():
    texts = {**NOISY, "parameters": {**NOISY["parameters"], "mu": Normal(12 * mV, 2 * mV)}}
    neuron = EquationNeuron(**texts, initial={"v": Uniform(0.0, 10.0)})
    one, same, other = (circuit_of(neuron, 50, seed=seed) for seed in (3, 3, 4))
    drawn = one.neurons[0].neuron
    assert drawn.size == 50
    assert 9e-3 < drawn.parameters["mu"].mean() < 15e-3  # volt
    assert 0 <= drawn.initial["v"].min() < drawn.initial["v"].max() <= 10  # mV
    for name in ("parameters", "initial"):
        for key, value in getattr(drawn, name).items():
            np.testing.assert_array_equal(value, getattr(same.neurons[0].neuron, name)[key])
    assert one.hash() == same.hash() != other.hash()
    again = Circuit.from_json(one.to_json())
    assert again.hash() == one.hash()
    np.testing.assert_array_equal(again.neurons[0].neuron.parameters["mu"], drawn.parameters["mu"])
    assert_same_spikes(spike_steps(runtime(again, 30.0)), spike_steps(runtime(one, 30.0)), at_least=10)


def test_ready_neurons_draw_distributions_too():
    circuit = circuit_of(AdEx(b=Uniform(20.0, 100.0), initial={"w": Normal(50.0, 5.0)}), 20)
    drawn = circuit.neurons[0].neuron
    assert drawn.b.shape == drawn.initial["w"].shape == (20,)
    again = Circuit.from_json(circuit.to_json())
    assert again.neurons[0].neuron == drawn
    assert again.hash() == circuit.hash() == circuit_of(circuit.neurons[0].neuron, 20).hash()


@pytest.mark.parametrize(
    "codegen", ["runtime", pytest.param("cpp_standalone", marks=[pytest.mark.slow, pytest.mark.standalone])]
)
def test_equations_that_blow_up_are_an_error_that_says_where_and_when(codegen):
    # v(t) = 1/(1/v(0) - t) in V and ms: neuron 2, from 0.5 V, is off at 2 ms, neuron 1 only after 1 s.
    circuit = circuit_of(EquationNeuron(**BLOWS_UP, initial={"v": np.array([0.0, 1.0, 500.0, -500.0])}))
    message = (
        r"the equations blow up: v of neuron 2 of 'cells' is \S+ \(SI units\) 12\.8 ms after the warm-up, stimulus 0\. "
        "Try a smaller dt, another method of integration, or other parameters"
    )
    with pytest.raises(SimulationFailed, match=message):
        simulate(circuit, 50.0, dt=DT, seed=1, codegen=codegen)


def test_a_blow_up_after_the_last_check_is_found_at_the_end():
    circuit = circuit_of(EquationNeuron(**BLOWS_UP, initial={"v": 500.0}))
    with pytest.raises(SimulationFailed, match=r"neuron 0 of 'cells' is \S+ \(SI units\) 4 ms after"):
        runtime(circuit, 3.0 + 1.0, warmup=0.0)
    with pytest.raises(SimulationFailed, match=r"3 ms after the warm-up"):
        runtime(circuit, 3.0, warmup=2.0)
    runtime(circuit, 1.0)  # not yet


UNIT_ERRORS = [
    ({"parameters": {**NOISY["parameters"], "tau": 10.0}}, "equations", "does not have the expected unit|different"),
    ({"threshold": "v > 15*ms"}, "threshold", "Comparison of expressions with different units"),
    ({"reset": "v = 3*ms"}, "reset", r'statement "v = 3\*ms" does not have the expected unit'),
    ({"equations": NOISY["equations"] + "\nx = v*v : volt"}, "equations", "Inconsistent units in subexpression x"),
    ({"refractory": "3*mV"}, r"state update \(method 'euler'\)", "Refractory expression has to evaluate to a timespan"),
    ({"method": "exact"}, r"state update \(method 'exact'\)", "stochastic"),
    ({"threshold": "v"}, "threshold", "Threshold condition 'v' is not a boolean expression"),
]


@pytest.mark.parametrize("codegen", ["runtime", "cpp_standalone"])
@pytest.mark.parametrize(
    ("changed", "what", "why"), UNIT_ERRORS, ids=[e[1] + str(k) for k, e in enumerate(UNIT_ERRORS)]
)
def test_what_brian_refuses_is_said_in_a_few_lines(changed, what, why, codegen, monkeypatch, capfd):
    def compile_nothing(*_):
        raise AssertionError("the compiler must not be called")

    monkeypatch.setattr("mnnbio.spikes.building.compile_with_parts", compile_nothing)
    with pytest.raises(ValueError, match=f"the {what} of 'cells' cannot be simulated") as caught:
        simulate(circuit_of(EquationNeuron(**{**NOISY, **changed})), 1.0, codegen=codegen, seed=1)
    assert caught.match(why)
    assert len(str(caught.value).splitlines()) <= 4
    assert "WARNING" not in "".join(capfd.readouterr())


BAD_TEXTS = [
    ({"equations": "dv/dt = (mu - v)/tow : volt"}, r"`equations` names 'tow', which is no variable of the equations"),
    ({"threshold": "v > v_threshold"}, r"`threshold` names 'v_threshold'.*give it in `parameters`"),
    ({"threshold": " "}, r"`threshold` must be a condition such as .* For neurons that never fire write 'False'"),
    ({"reset": "v = rest"}, r"`reset` names 'rest'"),
    ({"refractory": "pause"}, r"`refractory` names 'pause'"),
    ({"equations": "dv/dt = -v/tau volt"}, r"`equations` cannot be read as Brian2 equations: .*Expected end of text"),
    ({"equations": "dv/dt = (-v/tau : volt"}, r"`equations` cannot be read as Brian2 equations: '\(' was never closed"),
    ({"equations": "dv/dt = -v/tau : bolt"}, r"cannot be read as Brian2 equations: .*refers to 'bolt'"),
    ({"equations": "v : volt"}, r"`equations` must hold a differential equation such as"),
    ({"threshold": "v > > 3"}, r"`threshold` cannot be read: invalid syntax"),
    ({"reset": "v = 3 +"}, r"`reset` cannot be read: invalid syntax"),
    ({"initial": {"u": 3.0}}, r"`initial` of EquationNeuron names 'u'; the variables are v"),
    ({"initial": {"v": 3 * ms}}, r"`initial v` must be in mV, got a quantity of another dimension"),
    ({"refractory": -1.0}, r"`refractory` must be one time ≥ 0 ms"),
    ({"refractory": 3 * mV}, r"`refractory` must be in ms, got a quantity of another dimension"),
    ({"receives": ["u"]}, r"`receives` must name variables \(v\), got 'u'"),
    ({"order": "first"}, r"Invalid value 'first' for `order`"),
    ({"method": "rk17"}, r"Invalid value 'rk17' for `method`. Must be one of .*'euler'"),
    ({"current": "v"}, r"`current` = 'v' is what synapses and drives bring: do not define it"),
]


@pytest.mark.parametrize(("changed", "message"), BAD_TEXTS)
def test_texts_that_cannot_be_are_errors(changed, message):
    with pytest.raises(ValueError, match=message) as caught:
        EquationNeuron(**{**NOISY, **changed})
    assert len(str(caught.value).splitlines()) == 1


def test_neurons_that_never_fire_are_simulated():
    circuit = circuit_of(EquationNeuron(**{**NOISY, "threshold": "False"}))
    result = simulate(circuit, 5.0, dt=DT, seed=1, codegen="runtime", covariance=False)
    assert (result["simulation/rate"] == 0).all()


def test_parameters_that_do_not_fit_are_errors():
    given = NOISY["parameters"]
    with pytest.raises(ValueError, match=r"per-neuron parameters must have one length, got \{'mu': 3, 'v_th': 2\}"):
        EquationNeuron(**{**NOISY, "parameters": {**given, "mu": [1, 2, 3] * mV, "v_th": [1, 2] * mV}})
    with pytest.raises(ValueError, match=r"neurons of 'cells' are described for 3, the population has 4"):
        circuit_of(EquationNeuron(**{**NOISY, "parameters": {**given, "mu": [1, 2, 3] * mV}}))
    with pytest.raises(ValueError, match=r"parameter `mu` must be a number or one value per neuron"):
        EquationNeuron(**{**NOISY, "parameters": {**given, "mu": np.ones((2, 2)) * mV}})
    with pytest.raises(ValueError, match=r"`parameters` give 'v', which the equations define"):
        EquationNeuron(**{**NOISY, "parameters": {**given, "v": 1 * mV}})
    with pytest.raises(TypeError, match=r"`parameters` must be a dictionary"):
        EquationNeuron(**{**NOISY, "parameters": [1, 2]})
    with pytest.raises(TypeError, match=r"`threshold` must be text in Brian2's language"):
        EquationNeuron(**{**NOISY, "threshold": 15 * mV})
    with pytest.raises(TypeError, match=r"`initial` of EquationNeuron must be a dictionary such as"):
        EquationNeuron(**NOISY, initial=3.0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: QIF(tau_m=20 * mV), r"`tau_m` must be in ms, got a quantity of another dimension"),
        (lambda: QIF(C=0.0), r"`C` must be > 0 pF, got 0"),
        (lambda: QIF(C=[200.0, -1.0]), r"`C` must be > 0 pF, got -1.0 at neuron 1"),
        (lambda: QIF(t_ref=-1.0), r"`t_ref` must be ≥ 0 ms, got -1"),
        (lambda: AdEx(b=[1.0, 2.0], a=[1.0, 2.0, 3.0]), r"must have one length, got \{'a': 3, 'b': 2\}"),
        (lambda: AdEx(b=[1.0, 2.0], initial={"w": [1.0] * 3}), r"must have one length"),
        (lambda: AdEx(initial={"u": 1.0}), r"`initial` of AdEx names 'u'; the variables are v, w"),
        (lambda: AdEx(initial={"w": 1 * mV}), r"`initial w` must be in pA, got a quantity of another dimension"),
        (lambda: AdEx(b=Normal(1 * mV, 1 * mV)), r"`b` must be in pA, got Normal in mV"),
        (lambda: LIFParameters(initial={"u": 1.0}), r"`initial` of LIFParameters names 'u'; the variables are v"),
        (lambda: circuit_of(AdEx(b=[1.0, 2.0]), 3), r"described for 2, the population has 3"),
    ],
)
def test_parameters_of_ready_neurons_that_do_not_fit_are_errors(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_closed_form_without_a_differential_equation_is_an_error():
    @dataclass(frozen=True, kw_only=True, eq=False, repr=False)
    class Still(DiscreteLIF):
        def dynamics(self, dt):
            own = super().dynamics(dt)
            return replace(own, equations=own.equations.replace("dv/dt = -v/second : volt", "v : volt"))

    with pytest.raises(ValueError, match="'cells' has an `update` but no differential equation"):
        runtime(circuit_of(Still()))


def test_a_current_drive_needs_a_capacitance():
    circuit = circuit_of(EquationNeuron(**NOISY), drives=[CurrentDrive("cells", 100.0)])
    with pytest.raises(TypeError, match="a CurrentDrive is in pA and needs neurons with a capacitance, such as AdEx"):
        runtime(circuit)


def test_the_current_of_drives_stands_where_the_equations_say():
    neuron = EquationNeuron(
        equations="dv/dt = -v/tau + I_in/C : volt",
        threshold="v > 10*mV",
        reset="v = 0*mV",
        parameters={"tau": 20 * ms, "C": 200 * pF},
        current="I_in",
        capacitance="C",
    )
    result = runtime(circuit_of(neuron, 2, drives=[CurrentDrive("cells", [150.0, 300.0])]))
    # Euler steps of v/mV: v ← v + 0.1 (-v/20 + I/200)
    expected = []
    for current in (150.0, 300.0):
        v, steps = 0.0, []
        for step in range(1000):
            v += DT * (-v / 20 + current / 200)
            if v > 10:
                steps.append(step)
                v = 0.0
        expected.append(steps)
    assert_same_spikes(spike_steps(result), expected, at_least=10)
