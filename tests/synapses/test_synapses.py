"""Synapse models against closed forms and plain Brian2 scripts with the published equations."""

from typing import NamedTuple

import numpy as np
import pytest
import xarray as xr
from brian2 import (
    NeuronGroup,
    SpikeGeneratorGroup,
    SpikeMonitor,
    StateMonitor,
    Synapses,
    TimedArray,
    ms,
    mV,
    nS,
    pA,
    pF,
    second,
)
from observed import DT, by_neuron, observe, plain_brian, run_script, some_slow, train
from scipy import linalg

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
    Weights,
    simulate,
)
from mnnbio.neurons import AdEx, ConductanceLIF
from mnnbio.synapses import (
    NMDA,
    Alpha,
    Conductance,
    Delta,
    DoubleExponential,
    EquationPlasticity,
    EquationSynapse,
    Exponential,
    GapJunction,
    Into,
    RewardSTDP,
)

SILENT = LIFParameters(tau_m=20.0, v_th=1e6)


def chain(*taus):
    """Return the linear system of what a spike brings: it flows through filters into a membrane of the last tau."""
    n = len(taus)
    matrix = np.diag([-1 / tau for tau in taus])
    for k in range(n - 1):
        matrix[k + 1, k] = 1 / taus[k]
    return matrix


# Synapse, time constants of what a spike of 1 mV passes before the membrane of 20 ms.
ON_LIF = {
    "delta": (Delta(), ()),
    "exponential": (Exponential(5.0), (5.0,)),
    "exponential as the membrane": (Exponential(20.0), (20.0,)),
    "alpha": (Alpha(4.0), (4.0, 4.0)),
    "double exponential": (DoubleExponential(1.5, 9.0), (1.5, 9.0)),
    "rise as the membrane": (DoubleExponential(20.0, 7.0), (20.0, 7.0)),
}


@pytest.mark.parametrize("kind", some_slow(ON_LIF, "exponential", "double exponential"))
@pytest.mark.parametrize("delay", some_slow([0.0, 1.3], 1.3))
def test_leaky_neurons_take_exact_steps_through_many_spikes(kind, delay):
    synapse, taus = ON_LIF[kind]
    times, which = train(3, 6, 60.0, seed=3)
    weights = np.array([[1.0, -0.4, 2.0], [0.3, 0.0, -1.5]])
    circuit = Circuit(
        [SpikeSource("in", times, which), Population("n", 2, SILENT)],
        [Projection("in", "n", weights=weights, synapse=synapse, delay=delay)],
    )
    found = observe(circuit, 80.0, {"n": ["v"]}).states["n", "v"] * 1e3
    matrix = chain(*taus, 20.0)
    step, state = linalg.expm(matrix * DT), np.eye(len(matrix))[0]
    response = np.empty(800)
    for k in range(800):
        response[k], state = state[-1], step @ state
    expected = np.zeros((2, 800))
    for t, source in zip(times, which, strict=True):
        arrival = round((t + delay) / DT)
        if arrival < 800:
            expected[:, arrival:] += weights[:, source, None] * response[: 800 - arrival]
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(found, expected, atol=1e-12)


class Kind(NamedTuple):
    """A kind of synapses, and how a script of AdEx neurons has it: current ``I``, equations, statements at a spike."""

    synapse: object
    scale: float  # of the weights
    current: str
    equations: str
    on_pre: str
    names: dict = {}  # noqa: RUF012 - of a NamedTuple


def two_exponentials(rise, decay):
    """Return the peak of exp(-t/decay) - exp(-t/rise)."""
    t = np.log(decay / rise) * decay * rise / (decay - rise)
    return np.exp(-t / decay) - np.exp(-t / rise)


# `a` and `b` of a script are the two exponentials of a double one: their difference, by its peak or charge.
TWO = "da/dt = -a/({decay}*ms) : {unit}\ndb/dt = -b/({rise}*ms) : {unit}\n"
BOTH = "a_post += x*{size}; b_post += x*{size}"

ON_ADEX = {
    "delta": Kind(Delta(), 8.0, "0*pA", "", "v_post += x*mV"),
    "exponential, mV": Kind(
        Exponential(5.0), 12.0, "Cm*J", "dJ/dt = -J/(5*ms) : volt/second\n", "J_post += x*mV/(5*ms)"
    ),
    "exponential, pA": Kind(Exponential(5.0, "pA"), 900.0, "J", "dJ/dt = -J/(5*ms) : amp\n", "J_post += x*pA"),
    "alpha, mV": Kind(
        Alpha(3.0),
        12.0,
        "Cm*J",
        "dJ/dt = (h - J)/(3*ms) : volt/second\ndh/dt = -h/(3*ms) : volt/second\n",
        "h_post += x*mV/(3*ms)",
    ),
    "alpha, pA": Kind(
        Alpha(3.0, "pA"), 700.0, "J", "dJ/dt = (h - J)/(3*ms) : amp\ndh/dt = -h/(3*ms) : amp\n", "h_post += e1*x*pA",
        {"e1": np.e},
    ),
    "double exponential, mV": Kind(
        DoubleExponential(1.0, 6.0), 12.0, "Cm*(a - b)", TWO.format(rise=1, decay=6, unit="volt/second"),
        BOTH.format(size="mV/(5*ms)"),
    ),
    "double exponential, pA": Kind(
        DoubleExponential(1.0, 6.0, "pA"), 800.0, "a - b", TWO.format(rise=1, decay=6, unit="amp"),
        BOTH.format(size="pA/top"), {"top": two_exponentials(1.0, 6.0)},
    ),
    "conductance": Kind(
        Conductance(5.0, 0.0), 12.0, "g*(0*mV - v)", "dg/dt = -g/(5*ms) : siemens\n", "g_post += x*nS"
    ),
    "conductance that rises": Kind(
        Conductance(6.0, 0.0, 1.5), 14.0, "(a - b)*(0*mV - v)", TWO.format(rise=1.5, decay=6, unit="siemens"),
        BOTH.format(size="nS/top"), {"top": two_exponentials(1.5, 6.0)},
    ),
    "conductance, alpha": Kind(
        Conductance(3.0, -10.0, 3.0), 14.0, "g*(-10*mV - v)",
        "dg/dt = (h - g)/(3*ms) : siemens\ndh/dt = -h/(3*ms) : siemens\n", "h_post += e1*x*nS", {"e1": np.e},
    ),
    "NMDA": Kind(
        NMDA(2.0, 80.0, 0.0, 0.8), 25.0, "(a - b)*(0*mV - v)/(1 + 0.8/3.57*exp(-0.062*v/mV))",
        TWO.format(rise=2, decay=80, unit="siemens"), BOTH.format(size="nS/top"), {"top": two_exponentials(2.0, 80.0)},
    ),
    "into the potential": Kind(Into("v", "mV"), 8.0, "0*pA", "", "v_post += x*mV"),
    "equations": Kind(
        EquationSynapse(on_pre="v_post += w*r; r *= 1 - use", equations="dr/dt = (1 - r)/tau_r : 1 (event-driven)",
                        parameters={"use": 0.4, "tau_r": 50 * ms}, initial={"r": 1.0}),
        14.0, "0*pA", "", "v_post += x*mV*r; r *= 0.6",
    ),
}  # fmt: skip

N_SOURCES, N_TARGETS = 6, 3


def wiring(scale, seed=0):
    """Return dense weights with gaps."""
    rng = np.random.default_rng(seed)
    return rng.uniform(0.3, 1.0, (N_TARGETS, N_SOURCES)) * (rng.uniform(size=(N_TARGETS, N_SOURCES)) < 0.8) * scale


def adex_script(kinds, weights, delays, times, which, duration, gap=None):
    """Return spikes and potentials of AdEx neurons in a script; kinds with lists of weights and delays (ms)."""
    current = " + ".join(f"({kind.current})" for kind in kinds)
    equations = f"""
    dv/dt = (-gL*(v - EL) + gL*2*mV*exp((v + 50.4*mV)/(2*mV)) + I - z)/Cm : volt
    dz/dt = (4*nS*(v - EL) - z)/(144*ms) : amp
    I = {current} + {"I_gap" if gap is not None else "0*pA"} + 300*pA : amp
    """
    equations += "".join(kind.equations for kind in kinds) + ("I_gap : amp\n" if gap is not None else "")
    names = {"gL": 30 * nS, "EL": -70.6 * mV, "Cm": 281 * pF}
    with plain_brian():
        group = NeuronGroup(
            N_TARGETS, equations, threshold="v > 20*mV", reset="v = EL; z += 80.5*pA", method="euler", namespace=names,
            dt=DT * ms,
        )  # fmt: skip
        group.v = -70.6 * mV
        source = SpikeGeneratorGroup(N_SOURCES, which, times * ms, dt=DT * ms)
        objects = [group, source]
        for kind, own, delay in zip(kinds, weights, delays, strict=True):
            own_variables = "x : 1" + ("\ndr/dt = (1 - r)/(50*ms) : 1 (event-driven)" if "r *=" in kind.on_pre else "")
            synapses = Synapses(source, group, own_variables, on_pre=kind.on_pre, namespace=kind.names, dt=DT * ms)
            target, pre = np.nonzero(own)
            synapses.connect(i=pre, j=target)
            synapses.x = own[target, pre]
            synapses.delay = np.broadcast_to(delay, own.shape)[target, pre] * ms
            if "r *=" in kind.on_pre:
                synapses.r = 1
            objects.append(synapses)
        if gap is not None:
            junctions = Synapses(
                group, group, "x : siemens\nI_gap_post = x*(v_pre - v_post) : amp (summed)", dt=DT * ms
            )
            target, pre = np.nonzero(gap)
            junctions.connect(i=pre, j=target)
            junctions.x = gap[target, pre] * nS
            objects.append(junctions)
        spikes, states = SpikeMonitor(group), StateMonitor(group, "v", record=True, when="end", dt=DT * ms)
        run_script([*objects, spikes, states], duration)
        return by_neuron(spikes, N_TARGETS), np.array(states.v_)


def adex_circuit(kinds, weights, delays, times, which, gap=None, plasticity=None):
    projections = [
        Projection("in", "n", weights=own, synapse=kind.synapse, delay=delay, plasticity=plasticity)
        for kind, own, delay in zip(kinds, weights, delays, strict=True)
    ]
    if gap is not None:
        projections.append(Projection("n", "n", weights=gap, synapse=GapJunction()))
    return Circuit(
        [SpikeSource("in", times, which, size=N_SOURCES), Population("n", N_TARGETS, AdEx())],
        projections,
        [CurrentDrive("n", 300.0)],
    )


def assert_same(circuit, expected, duration, at_least=5):
    found = observe(circuit, duration, {"n": ["v"]})
    for ours, theirs in zip(found.spikes["n"], expected[0], strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert sum(map(len, expected[0])) >= at_least
    np.testing.assert_allclose(found.states["n", "v"], expected[1], rtol=0, atol=1e-9)


@pytest.mark.parametrize("kind", some_slow(ON_ADEX, "conductance that rises", "NMDA"))
def test_adex_neurons_fire_as_in_a_script(kind):
    own = ON_ADEX[kind]
    times, which = train(N_SOURCES, 12, 100.0, seed=1)
    weights = [wiring(own.scale)]
    expected = adex_script([own], weights, [0.7], times, which, 100.0)
    assert_same(adex_circuit([own], weights, [0.7], times, which), expected, 100.0)


@pytest.mark.parametrize("carrier", some_slow(["ours", "Brian2's"], "Brian2's"))
def test_every_synapse_has_a_delay_of_its_own(carrier):
    own = ON_ADEX["conductance"]
    times, which = train(N_SOURCES, 12, 100.0, seed=5)
    weights = [wiring(own.scale)]
    delays = [np.random.default_rng(2).integers(0, 60, (N_TARGETS, N_SOURCES)) * DT]
    expected = adex_script([own], weights, delays, times, which, 100.0)
    rule = None if carrier == "ours" else EquationPlasticity(equations="seen : 1", on_pre="seen += 1")
    circuit = adex_circuit([own], weights, delays, times, which, plasticity=rule)
    assert_same(circuit, expected, 100.0)


@pytest.mark.slow
def test_a_synapse_that_brian_carries_has_one_delay():
    own = ON_ADEX["delta"]
    times, which = train(N_SOURCES, 12, 100.0, seed=6)
    weights = [wiring(own.scale)]
    expected = adex_script([own], weights, [2.3], times, which, 100.0)
    rule = EquationPlasticity(equations="seen : 1", on_pre="seen += 1")
    assert_same(adex_circuit([own], weights, [2.3], times, which, plasticity=rule), expected, 100.0)


def test_gap_junctions_couple_two_neurons():
    own = ON_ADEX["exponential, pA"]
    times, which = train(N_SOURCES, 12, 150.0, seed=7)
    weights = wiring(own.scale)
    weights[1:] = 0.0  # what reaches the others goes through junctions
    gap = np.array([[0.0, 12.0, 0.0], [12.0, 0.0, 30.0], [0.0, 30.0, 0.0]])
    expected = adex_script([own], [weights], [0.0], times, which, 150.0, gap)
    assert_same(adex_circuit([own], [weights], [0.0], times, which, gap), expected, 150.0)
    alone = observe(adex_circuit([own], [weights], [0.0], times, which), 150.0, {"n": ["v"]})
    assert np.abs(alone.states["n", "v"][1:] - expected[1][1:]).max() > 1e-3


@pytest.mark.slow
def test_many_kinds_stand_side_by_side():
    times, which = train(N_SOURCES, 12, 100.0, seed=8)
    # Variables of a script have one name each, so kinds are chosen that share none.
    kinds = [ON_ADEX[k] for k in ("delta", "exponential, pA", "conductance", "NMDA", "equations")]
    inhibition = Kind(
        Conductance(8.0, -80.0, name="i"), 15.0, "gi*(-80*mV - v)", "dgi/dt = -gi/(8*ms) : siemens\n", "gi_post += x*nS"
    )
    kinds.append(inhibition)
    weights = [wiring(kind.scale / 2, seed) for seed, kind in enumerate(kinds)]
    delays = [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]
    gap = np.array([[0.0, 3.0, 0.0], [3.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    expected = adex_script(kinds, weights, delays, times, which, 100.0, gap)
    assert_same(adex_circuit(kinds, weights, delays, times, which, gap), expected, 100.0)


@pytest.mark.slow
@pytest.mark.parametrize(("tau_syn", "rise"), [(5.0, 0.0), (5.0, 1.0), (4.0, 4.0)])
def test_the_weight_of_a_conductance_is_its_peak(tau_syn, rise):
    dt = 0.01
    circuit = Circuit(
        [SpikeSource("in", [1.0], [0]), Population("n", 1, ConductanceLIF())],
        [Projection("in", "n", weights=[[3.0]], synapse=Conductance(tau_syn, 0.0, rise, name="e"))],
    )
    g = observe(circuit, 20.0, {"n": ["g_e"]}, dt=dt).states["n", "g_e"][0] * 1e9
    assert g.max() == pytest.approx(3.0, rel=0.6 * dt / rise if rise else 1e-12)  # h is held within a step
    if rise:
        peak = tau_syn if rise == tau_syn else np.log(tau_syn / rise) * tau_syn * rise / (tau_syn - rise)
        assert np.argmax(g) * dt == pytest.approx(1.0 + peak, abs=2 * dt)


@pytest.mark.parametrize("dt", [0.1, 0.5])
@pytest.mark.parametrize("neuron", [ConductanceLIF(), AdEx()], ids=["exponential Euler", "Euler"])
def test_what_rises_brings_its_whole_charge_at_any_step(neuron, dt):
    synapses = [Conductance(6.0, 0.0, 1.5, name="e"), NMDA(2.0, 15.0, name="n"), DoubleExponential(1.0, 7.0, "pA")]
    circuit = Circuit(
        [SpikeSource("in", [1.0], [0]), Population("n", 1, neuron)],
        [Projection("in", "n", weights=[[0.5]], synapse=synapse) for synapse in synapses],
    )
    states = observe(circuit, 600.0, {"n": ["g_e", "g_n", "current2"]}, dt=dt).states
    for name, scale, rise, decay in (("g_e", 1e9, 1.5, 6.0), ("g_n", 1e9, 2.0, 15.0), ("current2", 1e12, 1.0, 7.0)):
        area = 0.5 * (decay - rise) / two_exponentials(rise, decay)
        assert states["n", name].sum() * scale * dt == pytest.approx(area, rel=1e-9)


@pytest.mark.parametrize(("magnesium", "v"), [(1.0, -65.0), (1.0, -20.0), (0.0, -65.0)])
def test_magnesium_blocks_nmda_receptors(magnesium, v):
    # A membrane that hardly moves gathers the charge g (E - v) B(v) t; Jahr & Stevens (1990), eq. 4a.
    neuron = ConductanceLIF(C=1e6, g_L=1e-6, E_L=v, v_th=100.0, v_reset=v)
    circuit = Circuit(
        [SpikeSource("in", [0.0], [0]), Population("n", 1, neuron)],
        [Projection("in", "n", weights=[[1.0]], synapse=NMDA(1.0, 50.0, 0.0, magnesium, name="n"))],
    )
    found = observe(circuit, 30.0, {"n": ["v", "g_n"]})
    charge = (found.states["n", "v"][0, -1] * 1e3 - v) * 1e6  # mV pF = nS mV ms
    opened = 1 / (1 + magnesium / 3.57 * np.exp(-0.062 * v))
    expected = found.states["n", "g_n"][0].sum() * 1e9 * DT * (0.0 - v) * opened
    assert charge == pytest.approx(expected, rel=0.02)


def test_synapses_add_to_a_variable_of_the_neurons():
    neuron = EquationNeuron(
        equations="dv/dt = (E - v)/tau + g*(0*mV - v)/C : volt\ndg/dt = -g/tau_g : siemens",
        threshold="v > v_th",
        reset="v = E",
        parameters={"E": -60 * mV, "tau": 20 * ms, "C": 200 * pF, "tau_g": 4 * ms, "v_th": 100 * mV},
        initial={"v": -60 * mV},
        receives=("v", "g"),
    )
    times, which = train(2, 5, 30.0, seed=4)
    weights = np.array([[2.0, 3.0]])
    circuit = Circuit(
        [SpikeSource("in", times, which), Population("n", 1, neuron)],
        [Projection("in", "n", weights=weights, synapse=Into("g"), delay=0.4)],
    )
    g = observe(circuit, 40.0, {"n": ["g"]}).states["n", "g"][0] * 1e9
    expected = np.zeros(400)
    for t, source in zip(times, which, strict=True):
        arrival = round((t + 0.4) / DT)
        expected[arrival:] += weights[0, source] * (1 - DT / 4.0) ** np.arange(400 - arrival)
    np.testing.assert_allclose(g, expected, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("rise", [0.0, 2.0])
def test_a_poisson_drive_opens_a_conductance_with_the_moments_of_shot_noise(rise):
    # Campbell's theorem: mean r ∫g, variance r ∫g²; of Euler's exponential per step for the variance.
    n, rate, weight, tau = 3000, 0.8, 2.0, 4.0
    drive = PoissonDrive("n", rate, weight, synapse=Conductance(tau, 0.0, rise, name="e"))
    circuit = Circuit([Population("n", n, AdEx())], drives=[drive, CurrentDrive("n", -2000.0)])  # silent
    g = observe(circuit, 60.0, {"n": ["g_e"]}).states["n", "g_e"][:, -1] * 1e9
    if rise:
        top = two_exponentials(rise, tau)
        area = (tau - rise) / top
        square = (tau / 2 + rise / 2 - 2 * tau * rise / (tau + rise)) / top**2
    else:
        area, square = tau, tau / 2
    mean, variance = rate * weight * area, rate * weight**2 * square
    assert abs(g.mean() - mean) < 4 * np.sqrt(variance / n) + 1e-5 * mean
    assert abs(g.var() - variance) < 4 * variance * np.sqrt(2.5 / n) + 0.02 * variance  # dt/(2 tau)


def quick(projection, neuron=None, size=1, source=None):
    neuron = ConductanceLIF() if neuron is None else neuron
    circuit = Circuit([source or PoissonSource("in", 1, 0.1), Population("n", size, neuron)], [projection])
    return simulate(circuit, 1.0, dt=DT, seed=1, codegen="runtime", covariance=False)


@pytest.mark.parametrize(
    ("run", "error", "message"),
    [
        (
            lambda: quick(Projection("in", "n", weights=[[1.0]], synapse=Conductance(5.0, 0.0)), LIFParameters()),
            TypeError,
            "conductances give a current, and LIFParameters takes none from synapses: choose neurons that do",
        ),
        (
            lambda: quick(Projection("in", "n", weights=[[1.0]], synapse=NMDA()), LIFParameters()),
            TypeError,
            "NMDA receptors give a current, and LIFParameters takes none",
        ),
        (
            lambda: quick(Projection("in", "n", weights=[[1.0]], synapse=GapJunction()), LIFParameters()),
            TypeError,
            "gap junctions give a current, and LIFParameters takes none",
        ),
        (
            lambda: quick(Projection("in", "n", weights=[[1.0]], synapse=Exponential(5.0, "pA")), LIFParameters()),
            TypeError,
            "exponential synapses give a current, and LIFParameters takes none",
        ),
        (lambda: Projection("in", "n", weights=[[1.0]] * mV, synapse=Conductance(5.0, 0.0)), ValueError, "nS"),
        (lambda: Projection("in", "n", weights=[[1.0]] * nS), ValueError, "mV"),
        (lambda: Projection("in", "n", weights=[[1.0]] * pA, synapse=Exponential(5.0)), ValueError, "mV"),
        (
            lambda: quick(Projection("in", "n", weights=[[1.0]], synapse=Into("x"))),
            ValueError,
            "add to `x`, which ConductanceLIF lacks: it receives v",
        ),
        (
            lambda: quick(Projection("in", "n", weights=[[1.0]], synapse=Into("v"))),
            ValueError,
            r"must have weights in mV, got Into\('v', 'nS'\): write Into\('v', 'mV'\)",
        ),
        (lambda: Into("a b"), ValueError, "`variable` must be a name"),
        (lambda: Into("g", "m"), ValueError, "unit"),
        (lambda: Conductance(0.0, 0.0), ValueError, "`tau_syn` must be a single time > 0 ms"),
        (lambda: Conductance(5.0, 0.0, -1.0), ValueError, "`tau_rise` must be a single time ≥ 0 ms"),
        (lambda: Conductance(5.0, 3 * nS), ValueError, "reversal"),
        (lambda: Conductance(5.0, 0.0, name="a b"), ValueError, "`name` must be letters, digits and underscores"),
        (lambda: NMDA(magnesium=-1.0), ValueError, "`magnesium` must be a concentration ≥ 0 mM"),
        (lambda: DoubleExponential(0.0, 5.0), ValueError, "`tau_rise` must be a single time > 0 ms"),
        (lambda: EquationSynapse(parameters={"a": [1.0, 2.0]}), ValueError, "`a` of EquationSynapse must be a single"),
        (lambda: EquationSynapse(on_pre=3), TypeError, "`on_pre` must be text in Brian2's language"),
        (
            lambda: quick(
                Projection("in", "n", weights=[[1.0]], synapse=EquationSynapse(on_pre="v_post += w", unit="nS"))
            ),
            ValueError,
            "what a spike of the source does in 'in_to_n' cannot be simulated",
        ),
    ],
)
def test_bad_synapses_raise(run, error, message):
    with pytest.raises(error, match=message):
        run()


def test_a_drive_through_gap_junctions_is_refused():
    circuit = Circuit([Population("n", 1, AdEx())], drives=[PoissonDrive("n", 1.0, 1.0, synapse=GapJunction())])
    with pytest.raises(TypeError, match="needs synapses that add to a variable, got GapJunction"):
        simulate(circuit, 1.0, dt=DT, seed=1, codegen="runtime", covariance=False)


def with_variable(name, rule=None):
    """Return a circuit of neurons that have a variable of some name, as their synapses may."""
    neuron = EquationNeuron(
        equations=f"dv/dt = -v/(10*ms) : volt\n{name} : 1",
        threshold="v > 10*mV",
        reset="v = 0*mV",
        initial={"v": 0 * mV},
    )
    times, which = train(5, 6, 50.0, seed=8)
    return Circuit(
        [SpikeSource("in", times, which), Population("n", 2, neuron)],
        [Projection("in", "n", weights=np.full((2, 5), 2.0), synapse=Into("v", "mV"), plasticity=rule)],
    )


def test_variables_of_synapses_are_recorded_by_the_names_that_users_give_them():
    rule = EquationPlasticity(
        equations="dx/dt = (1 - x)/(80*ms) : 1 (event-driven)\nx_syn : 1",
        on_pre="x -= 0.4*x; w -= 0.01*w; x_syn = x",
        efficacy="x",
        initial={"x": 1.0},
    )
    record = {"n": "spikes", ("in", "n"): Weights(every=5.0, variables=("x", "x_syn"))}
    options = {"dt": DT, "record": record, "codegen": "runtime", "covariance": False}
    own = {}
    for name in ("x", "w", "other"):  # names of neurons and synapses clash in the first two
        result = simulate(with_variable(name, rule), 50.0, **options)
        own[name] = result["weights/in_to_n"].to_dataset()
        assert {"weight", "weight_course", "x", "x_course", "x_syn"} <= set(own[name].data_vars)
    assert float(own["other"]["x"].max()) < 1.0
    for name in ("x", "w"):
        xr.testing.assert_identical(own[name], own["other"])
    with pytest.raises(ValueError, match=r"have no variable 'y'; they have .*x_syn"):
        simulate(with_variable("x", rule), 50.0, **options | {"record": {("in", "n"): Weights(variables=("y",))}})


@pytest.mark.parametrize("name", ["w_syn", "stream_syn"])
def test_names_that_synapses_always_have_are_refused_in_neurons(name):
    with pytest.raises(ValueError, match=f"the neurons of 'n' have a variable '{name}', .* give it another one"):
        simulate(with_variable(name), 5.0, dt=DT, codegen="runtime")


COURSE = TimedArray([1.0, 2.0] * mV / ms, dt=10 * ms)


@pytest.mark.parametrize(
    "make",
    [
        lambda: PoissonSource("in", 5, rates=TimedArray([10.0, 20.0], dt=10 * ms)),
        lambda: PoissonSource("in", 5, rates=TimedArray([10.0, 20.0] / second, dt=10 * ms)),
        lambda: GaussianDrive("n", mean=COURSE),
        lambda: GaussianDrive("n", mean=1.0, std=COURSE),
        lambda: PoissonDrive("n", TimedArray([10.0, 20.0] / second, dt=10 * ms), 0.1),
        lambda: CurrentDrive("n", TimedArray([1.0, 2.0] * pA, dt=10 * ms)),
        lambda: EquationNeuron(equations="dv/dt = I : volt", threshold="v > 1*mV", parameters={"I": COURSE}),
        lambda: EquationNeuron(equations="dv/dt = I(t) : volt", threshold="v > 1*mV", parameters={"I": COURSE}),
        lambda: AdEx(E_L=TimedArray([-70.0, -60.0] * mV, dt=10 * ms)),
        lambda: RewardSTDP(w_max=1.0, reward=TimedArray([0.0, 1.0] / second, dt=10 * ms)),
        lambda: EquationSynapse(on_pre="v_post += w*a", parameters={"a": COURSE}),
    ],
)
def test_a_timed_array_is_told_to_be_samples(make):
    with pytest.raises(
        TypeError, match=r"got a TimedArray: where values may change in time, give `Samples\(values, dt"
    ):
        make()
