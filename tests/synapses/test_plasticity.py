"""Rules of plasticity against plain Brian2 scripts with the published equations, closed forms, and compiled runs."""

from dataclasses import replace
from typing import NamedTuple

import competing_inputs
import numpy as np
import pytest
from brian2 import SpikeGeneratorGroup, Synapses, ms, mV, nS, pA
from observed import DT, observe, plain_brian, run_script, some_slow, train

from mnnbio import (
    Circuit,
    EquationNeuron,
    GaussianDrive,
    LIFParameters,
    ModeMatrix,
    PoissonDrive,
    PoissonSource,
    Population,
    Projection,
    SimulationFailed,
    SpikeSource,
    Steps,
    build,
    simulate,
)
from mnnbio.neurons import AdEx, ConductanceLIF
from mnnbio.synapses import (
    NMDA,
    STDP,
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
    ShortTermPlasticity,
    SymmetricSTDP,
    SynapticScaling,
    TripletSTDP,
    inhibitory_plasticity,
)

N_PRE, N_POST = 4, 3
DURATION = 500.0  # ms, of given spikes
W_MAX = 0.02  # mV, so weak that only what is given makes the targets fire
RELAY = LIFParameters(tau_m=20.0, v_th=15.0, v_reset=0.0, t_ref=0.1)


class Rule(NamedTuple):
    """A rule, and how a script has it; ``W`` is the greatest weight."""

    rule: object
    equations: str
    on_pre: str
    on_post: str
    names: dict
    start: dict = {}  # noqa: RUF012 - of a NamedTuple
    method: str = "euler"


PAIR = "da/dt = -a/({plus}*ms) : 1 (event-driven)\ndb/dt = -b/({minus}*ms) : 1 (event-driven)\n"
TRIPLET = (
    "dr1/dt = -r1/(16.8*ms) : 1 (event-driven)\ndr2/dt = -r2/(101*ms) : 1 (event-driven)\n"
    "do1/dt = -o1/(33.7*ms) : 1 (event-driven)\ndo2/dt = -o2/(125*ms) : 1 (event-driven)\n"
)
OWN = EquationPlasticity(
    equations="dq/dt = -q/tau_q : 1 (event-driven)",
    before_pre="w *= (1 - loss)",
    on_pre="q += 1",
    on_post="w += gain*q",
    parameters={"tau_q": 30 * ms, "loss": 0.01, "gain": 1e-3 * mV},
)

RULES = {
    "STDP": Rule(
        STDP(w_max=W_MAX, A_plus=0.03, A_minus=0.02, tau_plus=15.0, tau_minus=25.0),
        PAIR.format(plus=15, minus=25),
        "a += 0.03; w = clip(w - W*b, 0*W, W)",
        "b += 0.02; w = clip(w + W*a, 0*W, W)",
        {},
    ),
    "STDP, soft bounds": Rule(
        STDP(w_max=W_MAX, A_plus=0.2, A_minus=0.2, bounds="soft", mu=0.7),
        PAIR.format(plus=20, minus=20),
        "w = clip(w - W*0.2*(w/W)**0.7*b, 0*W, W); a += 1",
        "w = clip(w + W*0.2*(1 - w/W)**0.7*a, 0*W, W); b += 1",
        {},
    ),
    "STDP, nearest": Rule(
        STDP(w_max=W_MAX, A_plus=0.03, A_minus=0.03, pairing="nearest"),
        PAIR.format(plus=20, minus=20),
        "w = clip(w - W*0.03*b, 0*W, W); a = 1",
        "w = clip(w + W*0.03*a, 0*W, W); b = 1",
        {},
    ),
    "triplets": Rule(
        TripletSTDP(w_max=W_MAX),
        TRIPLET,
        "w = clip(w - W*o1*(7e-3 + 2.3e-4*r2), 0*W, W); r1 += 1; r2 += 1",
        "w = clip(w + W*r1*(5e-10 + 6.2e-3*o2), 0*W, W); o1 += 1; o2 += 1",
        {},
    ),
    "triplets, nearest": Rule(
        TripletSTDP(w_max=W_MAX, pairing="nearest"),
        TRIPLET,
        "w = clip(w - W*o1*(7e-3 + 2.3e-4*r2), 0*W, W); r1 = 1; r2 = 1",
        "w = clip(w + W*r1*(5e-10 + 6.2e-3*o2), 0*W, W); o1 = 1; o2 = 1",
        {},
    ),
    "symmetric": Rule(
        SymmetricSTDP(w_max=W_MAX, eta=0.02, alpha=0.3, tau=18.0),
        PAIR.format(plus=18, minus=18),
        "a += 1; w = clip(w + 0.02*W*(b - 0.3), 0*W, W)",
        "b += 1; w = clip(w + 0.02*W*a, 0*W, W)",
        {},
    ),
    "inhibition": Rule(
        inhibitory_plasticity(rate=0.01, eta=0.05, tau=20.0, w_max=-W_MAX),
        PAIR.format(plus=20, minus=20),
        "a += 1; w = clip(w - 0.05*W*(b - 2*0.01*20), -W, 0*W)",
        "b += 1; w = clip(w - 0.05*W*a, -W, 0*W)",
        {},
    ),
    "reward": Rule(
        RewardSTDP(w_max=W_MAX, reward=0.004, A_plus=0.1, A_minus=0.12, tau_c=300.0),
        PAIR.format(plus=20, minus=20) + "dc/dt = -c/(300*ms) : 1 (clock-driven)\n"
        "dw/dt = W*c*0.004/ms : volt (clock-driven)\n",
        "c -= 0.12*b; a += 1",
        "c += 0.1*a; b += 1",
        {},
    ),
    "own equations": Rule(
        OWN, "dq/dt = -q/(30*ms) : 1 (event-driven)\n", "w *= 0.99; q += 1", "w += 1e-3*mV*q", {}
    ),
}  # fmt: skip


def trains(duration=DURATION, number=20):
    """Return given spikes of sources, and of targets: these are at least 1 ms apart."""
    return train(N_PRE, number, duration, seed=1), train(N_POST, number, duration, seed=2, gap=10)


def start_weights(sign=1.0):
    weights = np.random.default_rng(3).uniform(0.1, 0.9, (N_POST, N_PRE)) * W_MAX * sign
    weights[0, 1] = 0.0  # no synapse
    return weights


def given_circuit(rule, weights, delay=0.0, duration=DURATION, target=RELAY, strong=200.0, synapse=None):
    (times, which), (post_times, post_which) = trains(duration)
    return Circuit(
        [
            SpikeSource("pre", times, which),
            SpikeSource("teacher", post_times, post_which),
            Population("post", N_POST, target),
        ],
        [
            Projection("pre", "post", weights=weights, delay=delay, plasticity=rule, synapse=synapse),
            Projection("teacher", "post", weights=np.eye(N_POST) * strong),
        ],
    )


def script_weights(own, weights, pre, post, delay=0.0, duration=DURATION, unit=mV):
    """Return the last weights (SI units) of a script, sorted by source: `pre` and `post` are (times, elements)."""
    with plain_brian():
        source = SpikeGeneratorGroup(weights.shape[1], pre[1], pre[0] * ms, dt=DT * ms)
        target = SpikeGeneratorGroup(weights.shape[0], post[1], post[0] * ms, dt=DT * ms)
        equations = own.equations if "dw/dt" in own.equations else f"w : volt\n{own.equations}"
        synapses = Synapses(
            source, target, equations, on_pre=own.on_pre, on_post=own.on_post, method=own.method, dt=DT * ms,
            namespace={"W": W_MAX * unit, **own.names},
        )  # fmt: skip
        i, j = np.nonzero(weights.T)
        synapses.connect(i=i, j=j)
        synapses.w = weights[j, i] * unit
        for name, value in own.start.items():
            setattr(synapses, name, value)
        synapses.pre.delay = np.broadcast_to(delay, weights.shape)[j, i] * ms
        if "dw/dt" in own.equations:
            synapses.run_regularly("w = clip(w, 0*W, W)", when="after_groups", dt=DT * ms)
        run_script([source, target, synapses], duration)
        return np.array(synapses.w_)


def fired(found, name, later=1):
    """Return times and elements of spikes; those of leaky neurons are found after the synapses of their step."""
    steps = found.spikes[name]
    return (np.concatenate(steps) + later) * DT, np.repeat(np.arange(len(steps)), [len(own) for own in steps])


DELAYS = {"at once": 0.0, "one delay": 1.7, "delays": np.random.default_rng(4).integers(0, 80, (N_POST, N_PRE)) * DT}


@pytest.mark.parametrize("name", some_slow(RULES, "STDP", "reward"))
def test_weights_after_half_a_second_are_those_of_a_script(name):
    own = RULES[name]
    weights = start_weights(-1.0 if name == "inhibition" else 1.0)
    # Rules differ, delays do not: each rule has one of them.
    delay = list(DELAYS.values())[list(RULES).index(name) % 3]
    found = observe(given_circuit(own.rule, weights, delay), DURATION)
    post = trains()[1]
    assert [len(steps) for steps in found.spikes["post"]] == [20] * N_POST
    times, which = fired(found, "post")
    np.testing.assert_allclose(times, post[0] + DT, atol=1e-9)  # who fires when is what was given
    expected = script_weights(own, weights, trains()[0], (times, which), delay)
    ours = found.weights("pre_to_post")
    assert np.abs(ours / (weights.T[np.nonzero(weights.T)] * 1e-3) - 1).max() > 0.02  # they have changed
    np.testing.assert_allclose(ours, expected, rtol=1e-12, atol=1e-12 * W_MAX * 1e-3)


@pytest.mark.slow
def test_pairs_add_up_to_the_closed_form():
    # Far from the bounds: A+ Σ exp(-Δ/τ+) over pairs with the source first, less A- Σ exp(-Δ/τ-) over the others.
    weights = np.full((N_POST, N_PRE), 0.5 * W_MAX)
    rule = STDP(w_max=W_MAX, A_plus=1e-3, A_minus=7e-4, tau_plus=15.0, tau_minus=25.0)
    found = observe(given_circuit(rule, weights), DURATION)
    (pre, i), (post, j) = trains()[0], fired(found, "post")
    for source in range(N_PRE):
        for target in range(N_POST):
            delta = post[j == target][:, None] - pre[i == source]  # source and target in one step: both orders count
            delta = np.rint(delta / DT) * DT
            grown = 1e-3 * np.exp(-delta[delta >= 0] / 15.0).sum()
            shrunk = 7e-4 * np.exp(delta[delta < 0] / 25.0).sum()
            expected = W_MAX * 1e-3 * (0.5 + grown - shrunk)
            assert found.weights("pre_to_post")[source * N_POST + target] == pytest.approx(expected, rel=1e-10)


@pytest.mark.slow
def test_triplets_add_up_to_the_published_sums():
    # Pfister & Gerstner (2006), eq. 3 and 4, with traces as sums over all earlier spikes.
    weights = np.full((N_POST, N_PRE), 0.5 * W_MAX)
    found = observe(given_circuit(TripletSTDP(w_max=W_MAX, A3_plus=1e-3, A2_minus=1e-3), weights), DURATION)
    (pre, i), (post, j) = trains()[0], fired(found, "post")

    def trace(earlier, now, tau):
        return np.exp(-(now - earlier[earlier < now - 1e-6]) / tau).sum()

    for source in range(N_PRE):
        for target in range(N_POST):
            x, y = pre[i == source], post[j == target]
            assert not np.isclose(x[:, None], y).any()
            change = sum(trace(x, t, 16.8) * (5e-10 + 1e-3 * trace(y, t, 125.0)) for t in y)
            change -= sum(trace(y, t, 33.7) * (1e-3 + 2.3e-4 * trace(x, t, 101.0)) for t in x)
            expected = W_MAX * 1e-3 * (0.5 + change)
            assert found.weights("pre_to_post")[source * N_POST + target] == pytest.approx(expected, rel=1e-10)


@pytest.mark.slow
def test_scaling_solves_its_equation():
    # d ln w/dt = beta (rate - r), r the target's spikes filtered with tau_rate, up to the last spike of either side.
    beta, wanted, tau = 0.05, 0.01, 120.0
    weights = np.full((N_POST, N_PRE), 0.5 * W_MAX)
    for sign in (1.0, -1.0):
        rule = SynapticScaling(w_max=10 * sign * W_MAX, rate=wanted, beta=beta, tau_rate=tau)
        found = observe(given_circuit(rule, sign * weights), DURATION)
        (pre, i), (post, j) = trains()[0], fired(found, "post")
        for source in range(N_PRE):
            for target in range(N_POST):
                y = post[j == target]
                end = max(pre[i == source].max(), y.max())
                # the smoothed rate starts from the rate that is wanted
                area = wanted * tau * (1 - np.exp(-end / tau)) + (1 - np.exp(-(end - y) / tau)).sum()
                expected = sign * 0.5 * W_MAX * 1e-3 * np.exp(sign * beta * (wanted * end - area))
                ours = found.weights("pre_to_post")[source * N_POST + target]
                assert ours == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("facil", [0.0, 400.0])
@pytest.mark.parametrize("rate", some_slow([0.01, 0.05], 0.05))
def test_short_term_plasticity_reaches_its_steady_state(facil, rate):
    rule = ShortTermPlasticity(U=0.25, tau_rec=120.0, tau_facil=facil)
    times = np.arange(1, 51) / rate
    circuit = Circuit(
        [SpikeSource("in", times, np.zeros(50, int)), Population("n", 1, LIFParameters(tau_m=20.0, v_th=1e6))],
        [Projection("in", "n", weights=[[1.0]], plasticity=rule)],
    )
    v = observe(circuit, 50 / rate + 1.0, {"n": ["v"]}).states["n", "v"][0] * 1e3
    step = np.rint(times / DT).astype(int)
    sent = v[step] - v[step - 1] * np.exp(-DT / 20.0)
    # Tsodyks, Pawelzik & Markram (1998), eq. 2.1 and 2.2, spike by spike
    u, x, expected = 0.0, 1.0, []
    for _ in range(50):
        u *= np.exp(-1 / rate / facil) if facil else 0.0
        u += 0.25 * (1 - u)
        x = 1 - (1 - x) * np.exp(-1 / rate / 120.0)
        expected.append(u * x)
        x -= u * x
    np.testing.assert_allclose(sent, expected, rtol=1e-10)
    assert sent[-1] == pytest.approx(rule.steady_state(rate), rel=1e-6)
    # Fixed point in closed form: u of Markram, Wang & Tsodyks (1998), eq. 5; x from x = 1 - (1 - x + u x) e.
    e, f = np.exp(-1 / rate / 120.0), np.exp(-1 / rate / facil) if facil else 0.0
    u = 0.25 / (1 - 0.75 * f) if facil else 0.25
    assert sent[-1] == pytest.approx(u * (1 - e) / (1 - (1 - u) * e), rel=1e-6)


def test_depressing_synapses_have_delays_of_their_own():
    rule = ShortTermPlasticity(U=0.5, tau_rec=100.0)
    delay = np.array([[0.0, 1.2], [3.4, 0.7]])
    circuit = Circuit(
        [SpikeSource("in", [1.0, 3.0], [0, 1]), Population("n", 2, LIFParameters(v_th=1e6))],
        [Projection("in", "n", weights=[[1.0, 2.0], [3.0, 4.0]], delay=delay, plasticity=rule)],
    )
    v = observe(circuit, 10.0, {"n": ["v"]}).states["n", "v"] * 1e3
    jumps = v[:, 1:] - v[:, :-1] * np.exp(-DT / 20.0)
    for target, steps in enumerate(([10, 42], [44, 37])):
        assert np.flatnonzero(np.abs(jumps[target]) > 1e-9).tolist() == sorted(k - 1 for k in steps)


@pytest.mark.parametrize("end", some_slow(["source", "target", "both"]))
def test_neurons_may_have_a_variable_w_at_either_end(end):
    # AdEx neurons adapt with a w of their own, which Brian2 would take for the weight.
    own = RULES["STDP"]
    weights = start_weights()
    (times, which), (post_times, post_which) = trains()
    adex, strong, relay = AdEx(), 60.0, 200.0
    kinds = {"pre": adex if end != "target" else RELAY, "post": adex if end != "source" else RELAY}
    circuit = Circuit(
        [
            SpikeSource("in", times, which),
            SpikeSource("teacher", post_times, post_which),
            Population("pre", N_PRE, kinds["pre"]),
            Population("post", N_POST, kinds["post"]),
        ],
        [
            Projection("in", "pre", weights=np.eye(N_PRE) * (strong if end != "target" else relay)),
            Projection("teacher", "post", weights=np.eye(N_POST) * (strong if end != "source" else relay)),
            Projection("pre", "post", weights=weights, plasticity=own.rule),
        ],
    )
    found = observe(circuit, DURATION)
    assert min(len(steps) for steps in [*found.spikes["pre"], *found.spikes["post"]]) > 5
    pre = fired(found, "pre", 0 if end != "target" else 1)
    post = fired(found, "post", 0 if end != "source" else 1)
    np.testing.assert_allclose(
        found.weights("pre_to_post"), script_weights(own, weights, pre, post), rtol=1e-12, atol=1e-12 * W_MAX * 1e-3
    )


@pytest.mark.slow
def test_names_of_parameters_may_be_those_of_the_neurons():
    # tau, beta, mu, x and u stand in neurons as in rules.
    neuron = EquationNeuron(
        equations="dv/dt = (mu - v)/tau : volt\nx : 1\ndu/dt = -u/tau : 1",
        threshold="v > 10*mV",
        reset="v = 0*mV; u += 1",
        parameters={"mu": 0 * mV, "tau": 20 * ms},
        receives=("v",),
    )
    own = RULES["symmetric"]
    weights = start_weights()
    rules = [own.rule, ShortTermPlasticity(U=0.5, tau_rec=100.0, tau_facil=50.0)]
    found = observe(given_circuit(rules, weights, target=neuron, strong=60.0), DURATION)
    assert min(map(len, found.spikes["post"])) > 5
    expected = script_weights(own, weights, trains()[0], fired(found, "post", 0))
    np.testing.assert_allclose(found.weights("pre_to_post"), expected, rtol=1e-12, atol=1e-12 * W_MAX * 1e-3)


@pytest.mark.slow
def test_weights_of_conductances_learn_in_their_unit():
    own, weights = RULES["STDP"], start_weights()
    neuron = ConductanceLIF(t_ref=0.1)
    circuit = given_circuit(own.rule, weights, target=neuron, strong=60.0, synapse=Conductance(5.0, 0.0))
    found = observe(circuit, DURATION)
    expected = script_weights(own, weights, trains()[0], fired(found, "post", 0))
    np.testing.assert_allclose(found.weights("pre_to_post"), expected * 1e-6, rtol=1e-12, atol=1e-24)


@pytest.mark.parametrize("reward", some_slow([1.0, -1.0]))
def test_reward_keeps_weights_within_their_bounds(reward):
    rule = RewardSTDP(w_max=W_MAX, reward=reward, A_plus=1.0, A_minus=0.0)
    found = observe(given_circuit(rule, start_weights()), DURATION)
    weights = found.weights("pre_to_post") / (W_MAX * 1e-3)
    np.testing.assert_allclose(weights, 1.0 if reward > 0 else 0.0, atol=1e-9)


@pytest.mark.slow
def test_reward_may_change_in_time_and_be_a_variable_of_the_target():
    # Reward of 0.004/ms from 300 to 600 ms: as a course, and as a variable that neurons hold.
    neuron = {"equations": "dv/dt = -v/tau : volt\nreward = 0.004/ms*int(t >= 300*ms)*int(t < 600*ms) : Hz"}
    neuron |= {"threshold": "v > 10*mV", "reset": "v = 0*mV", "parameters": {"tau": 20 * ms}, "receives": ("v",)}
    found = []
    for named in (False, True):
        reward = "dopamine" if named else Steps([0.0, 300.0, 600.0], [0.0, 0.004, 0.0])
        rule = RewardSTDP(w_max=W_MAX, reward=reward, A_plus=0.1, A_minus=0.12, tau_c=300.0)
        own = {**neuron, "equations": neuron["equations"].replace("reward", "dopamine" if named else "unused")}
        target = EquationNeuron(**own)
        found.append(observe(given_circuit(rule, start_weights(), duration=1000.0, target=target, strong=60.0), 1000.0))
    np.testing.assert_allclose(*(own.weights("pre_to_post") for own in found), rtol=1e-12)
    assert np.ptp(found[0].weights("pre_to_post") / W_MAX * 1e3) > 0.05


@pytest.mark.slow
@pytest.mark.standalone
@pytest.mark.parametrize("rate", [0.005, 0.012])
def test_inhibition_brings_neurons_to_their_rate(rate):
    # An inhibitory spike itself delays the spikes of its target, so that the rule rests where 2 tau times the rate exceeds
    # alpha by that share: it grows with the weights, and with 10 Hz and four times the weights it was 7 % of the rate.
    n, n_inhibitory = 40, 100
    circuit = Circuit(
        [PoissonSource("I", n_inhibitory, 0.04), Population("E", n, LIFParameters(tau_m=20.0, v_th=15.0))],
        [
            Projection(
                "I",
                "E",
                weights=np.full((n, n_inhibitory), -0.005),
                plasticity=inhibitory_plasticity(rate=rate, eta=5e-4, w_max=-0.5),
            )
        ],
        [GaussianDrive("E", mean=np.linspace(0.8, 1.0, n), std=0.6)],
    )
    result = simulate(circuit, 100e3, warmup=100e3, trials=1, dt=DT, seed=1, covariance=False, codegen="cpp_standalone")
    rates = result["simulation/rate"].values * 1e-3  # rows of spikes hold those of the warm-up too
    assert abs(rates.mean() / rate - 1) < 0.05
    assert np.abs(rates / rate - 1).max() < 0.25  # each neuron too
    fixed = replace(circuit, projections=[replace(circuit.projections[0], plasticity=None)])
    before = spike_counts(simulate(fixed, 1e3, dt=DT, seed=1, covariance=False, codegen="runtime", trials=1), "E")
    assert before.mean() / 1e3 > 1.5 * rate


def spike_counts(result, name):
    spikes = result["spikes"]
    rows = spikes["row_size"].values.reshape(-1, spikes["row_size"].shape[-1]).sum(axis=0)
    return rows[spikes["population"].values == name]


def everything():
    """Return a circuit with all rules and kinds of synapses."""
    rng = np.random.default_rng(0)

    def weights(n_target, n_source, size):
        return rng.uniform(0.2, 1.0, (n_target, n_source)) * (rng.uniform(size=(n_target, n_source)) < 0.8) * size

    gap = np.full((5, 5), 1.0) - np.eye(5)
    delays = rng.integers(0, 40, (6, 10)) * DT
    populations = [
        PoissonSource("in", 10, 0.04),
        SpikeSource("given", *train(4, 10, 200.0, seed=9)),
        Population("L", 6, LIFParameters(v_th=15.0)),
        Population("A", 5, AdEx()),
        Population("C", 4, ConductanceLIF()),
    ]
    parts = [
        ("in", "L", Delta(), 5.0, STDP(w_max=6.0), 0.5),
        ("in", "L", Exponential(5.0), 6.0, [TripletSTDP(w_max=8.0)], delays),
        ("in", "L", Alpha(3.0), 6.0, None, 1.0),
        ("given", "L", DoubleExponential(1.0, 5.0), 12.0, ShortTermPlasticity(U=0.5, tau_rec=80.0), 0.0),
        ("L", "L", Delta(), -1.0, inhibitory_plasticity(w_max=-2.0), 1.5),
        ("in", "A", Conductance(5.0, 0.0), 20.0, SymmetricSTDP(w_max=25.0, alpha=0.1), 0.3),
        ("in", "A", NMDA(), 5.0, None, 0.0),
        ("in", "A", Exponential(5.0, "pA"), 300.0, OWN_PA, 0.7),
        ("given", "A", Conductance(6.0, 0.0, 1.0), 20.0, SynapticScaling(w_max=60.0, rate=0.02, beta=0.05), 0.0),
        ("A", "A", GapJunction(), 1.0, None, 0.0),
        ("A", "C", Conductance(4.0, 0.0), 15.0, STDP(w_max=30.0, bounds="soft", pairing="nearest", A_plus=0.1), 0.4),
        ("A", "L", Delta(), 4.0, None, 0.0),
        ("L", "A", Into("v", "mV"), 1.0, None, 0.2),
        ("L", "C", Conductance(5.0, 0.0), 12.0, RewardSTDP(w_max=40.0, reward=0.001, A_plus=0.2), 0.6),
        ("C", "A", EquationSynapse(on_pre="v_post += w*r; r *= 0.7", equations="dr/dt = (1 - r)/(50*ms) : 1 "
                                   "(event-driven)", initial={"r": 1.0}), 3.0, None, 0.9),
        ("given", "C", Conductance(4.0, 0.0), 25.0,
         [STDP(w_max=40.0), ShortTermPlasticity(U=0.4, tau_rec=60.0, tau_facil=200.0)], 0.0),
        ("in", "C", Conductance(4.0, 0.0), 6.0, EquationPlasticity(efficacy="int(rand() < 0.6)"), 1.1),
    ]  # fmt: skip
    size = {own.name: own.size for own in populations}
    projections = []
    for source, target, synapse, scale, rule, delay in parts:
        own = gap if isinstance(synapse, GapJunction) else weights(size[target], size[source], scale)
        projections.append(Projection(source, target, weights=own, synapse=synapse, plasticity=rule, delay=delay))
    return Circuit(populations, projections, [PoissonDrive("C", 0.5, 2.0, synapse=Conductance(4.0, 0.0))])


OWN_PA = replace(OWN, parameters={"tau_q": 30 * ms, "loss": 0.02, "gain": 4 * pA}, units={})


def trains_of(circuit, codegen, **options):
    with build(circuit, dt=DT, codegen=codegen, **options) as program:
        found = program.run(200.0, trials=3, seed=4)
    return found.step, found.row_size


@pytest.fixture(scope="module")
def in_python():
    """Three trials of everything, side by side."""
    return trains_of(everything(), "runtime", replicas=3)


@pytest.mark.slow
def test_replicas_and_trials_do_not_know_of_each_other(in_python):
    one = trains_of(everything(), "runtime", replicas=1)
    for ours, theirs in zip(one, in_python, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert (one[1].reshape(3, -1).sum(axis=0) > 0).mean() > 0.9


def test_every_trial_starts_from_the_weights_of_the_circuit():
    # No randomness is left, so trials are equal: weights, traces and queues are those of the start.
    circuit = given_circuit([STDP(w_max=60.0, A_plus=0.5, A_minus=0.2), ShortTermPlasticity(U=0.5, tau_rec=100.0)],
                            start_weights() / W_MAX * 40.0, delay=DELAYS["delays"] * 20, duration=200.0)  # fmt: skip
    with build(circuit, dt=DT, codegen="runtime") as program:
        found = program.run(200.0, trials=2, seed=4)
    rows = found.row_size.reshape(2, -1)
    np.testing.assert_array_equal(rows[0], rows[1])
    first, second = np.split(found.step, [rows[0].sum()])
    np.testing.assert_array_equal(first, second)
    assert rows[0].sum() > 80  # more than the teacher's


@pytest.mark.slow
@pytest.mark.standalone
def test_all_rules_and_kinds_fire_compiled_as_in_python(in_python):
    found = trains_of(everything(), "cpp_standalone", replicas=2)
    for ours, theirs in zip(found, in_python, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.slow
@pytest.mark.standalone
def test_compiled_trials_start_from_the_weights_of_the_circuit():
    circuit = given_circuit([STDP(w_max=60.0, A_plus=0.5, A_minus=0.2), ShortTermPlasticity(U=0.5, tau_rec=100.0)],
                            start_weights() / W_MAX * 40.0, delay=DELAYS["delays"] * 20, duration=200.0)  # fmt: skip
    runs = []
    for codegen, replicas in (("runtime", 1), ("cpp_standalone", 1), ("cpp_standalone", 2)):
        with build(circuit, dt=DT, codegen=codegen, replicas=replicas) as program:
            runs.append(program.run(200.0, trials=2, seed=4))
    for found in runs:
        rows = found.row_size.reshape(2, -1)
        np.testing.assert_array_equal(rows[0], rows[1])
        np.testing.assert_array_equal(*np.split(found.step, [rows[0].sum()]))
        np.testing.assert_array_equal(found.step, runs[0].step)


def plastic(rule, synapse=None, weights=((1.0,),)):
    return Projection("pre", "post", weights=np.array(weights), synapse=synapse, plasticity=rule)


def quick(rule):
    circuit = Circuit([PoissonSource("pre", 1, 0.1), Population("post", 1, RELAY)], [plastic(rule)])
    return simulate(circuit, 1.0, dt=DT, seed=1, codegen="runtime", covariance=False)


@pytest.mark.parametrize(
    ("run", "error", "message"),
    [
        (
            lambda: Projection("a", "b", weights=ModeMatrix(np.ones((2, 1)), [1.0], np.ones((3, 1))),
                               plasticity=STDP(w_max=1.0)),
            ValueError,
            r"changes single synapses, and its weights are factored into modes: give `weights.to_dense\(\)`",
        ),
        (lambda: plastic(STDP(w_max=1 * nS)), ValueError, "w_max of .* mV"),
        (lambda: plastic(STDP(w_max=1 * mV), Conductance(5.0, 0.0)), ValueError, "w_max of .* nS"),
        (lambda: plastic(STDP(w_max=0.0)), ValueError, "`w_max` of .* must be a single weight in mV, not 0, got 0.0"),
        (lambda: plastic(STDP(w_max=[1.0, 2.0])), ValueError, "must be a single weight in mV, not 0"),
        (lambda: plastic("STDP"), TypeError, r"must be a rule such as STDP\(w_max=1.0\), or a list of rules"),
        (lambda: STDP(w_max=1.0, tau_plus=0.0), ValueError, "`tau_plus` must be a single time > 0 ms"),
        (lambda: STDP(w_max=1.0, pairing="some"), ValueError, "pairing"),
        (lambda: STDP(w_max=1.0, bounds="none"), ValueError, "bounds"),
        (lambda: STDP(w_max=1.0, A_plus=[1.0, 2.0]), ValueError, "`A_plus` must be a single number"),
        (lambda: ShortTermPlasticity(U=0.0, tau_rec=1.0), ValueError, r"`U` must be in \(0, 1\]"),
        (lambda: ShortTermPlasticity(U=0.5, tau_rec=-1.0), ValueError, "`tau_rec` must be a single time > 0 ms"),
        (lambda: ShortTermPlasticity(U=0.5, tau_rec=1.0, tau_facil=-1.0), ValueError, "`tau_facil` must be"),
        (lambda: inhibitory_plasticity(rate=-1.0, w_max=1.0), ValueError, "`rate` must be one rate ≥ 0 spikes/ms"),
        (lambda: SynapticScaling(rate=-1.0, w_max=1.0), ValueError, "`rate` must be one rate ≥ 0 spikes/ms"),
        (lambda: RewardSTDP(reward="a b", w_max=1.0), ValueError, "`reward` must be the name of a variable"),
        (lambda: RewardSTDP(reward=[1.0, 2.0], w_max=1.0), ValueError, "`reward` must be one number, a time course"),
        (
            lambda: quick([STDP(w_max=1.0), SymmetricSTDP(w_max=1.0)]),
            ValueError,
            "two rules of .* bring the variable 'trace_source', which they cannot share: leave one out",
        ),
        (
            lambda: quick([STDP(w_max=1.0), SynapticScaling(w_max=2.0, rate=0.01)]),
            ValueError,
            "bring the variable 'w_most', which they cannot share: leave one out, or give both the same `w_max`",
        ),
        (
            lambda: quick([EquationPlasticity(equations="q : 1"), EquationPlasticity(equations="q : 1")]),
            ValueError,
            "two rules of .* bring the variable 'q', which they cannot share",
        ),
        (
            lambda: quick(EquationPlasticity(on_pre="w += 1*nS")),
            ValueError,
            "what a spike of the source does in 'pre_to_post' cannot be simulated",
        ),
        (
            lambda: quick(EquationPlasticity(on_post="w += q")),
            ValueError,
            'what a spike of the target does in .*\n.*"q" could not be resolved. Give it in `parameters`, or name a variable',
        ),
        (
            lambda: quick(EquationPlasticity(on_pre="u_post += 1")),
            ValueError,
            "what a spike of the source does in .*\nThere is no variable 'u_post'",
        ),
        (lambda: quick(RewardSTDP(w_max=1.0, reward="dopamine")), ValueError, "dopamine"),
    ],
)  # fmt: skip
def test_bad_rules_raise(run, error, message):
    with pytest.raises(error, match=message):
        run()


def test_weights_that_blow_up_stop_with_an_error():
    circuit = Circuit(
        [SpikeSource("pre", np.arange(1.0, 12.0), np.zeros(11, int), size=2), Population("post", 2, RELAY)],
        [plastic(EquationPlasticity(on_pre="w *= 1e40"), weights=((0.0, 0.1), (1e-6, 0.1)))],
    )
    message = r"blow up: the weight of synapse 0 of 'pre_to_post' is inf at the end of presentation 0\. .*`w = clip"
    with pytest.raises(SimulationFailed, match=message):
        simulate(circuit, 20.0, dt=DT, seed=1, codegen="runtime", covariance=False)


@pytest.mark.slow
def test_rules_of_one_greatest_weight_stand_together():
    # STDP at a target that scaling would leave alone for its rate is wanted and lasts.
    own, weights = RULES["STDP"], start_weights()
    found = observe(given_circuit([own.rule, SynapticScaling(w_max=W_MAX, rate=0.0, beta=0.0)], weights), DURATION)
    expected = script_weights(own, weights, trains()[0], fired(found, "post"))
    np.testing.assert_allclose(found.weights("pre_to_post"), expected, rtol=1e-12, atol=1e-12 * W_MAX * 1e-3)


@pytest.mark.slow
@pytest.mark.standalone
def test_inputs_compete_until_their_weights_are_bimodal():
    # One of the rates of Song et al. (2000); `tests/reproduce` has others.
    start = np.full((1, 1000), competing_inputs.W_MAX)
    circuit = competing_inputs.competing([20.0], start, A_plus=0.005)
    result = simulate(circuit, 100e3, warmup=900e3, trials=1, dt=DT, seed=1, covariance=False)
    competing_inputs.assert_bimodal(result["weights/excitation_to_neuron"]["weight"].values.ravel())
