"""State variables and weights in a result, against a plain Brian2 script and closed forms."""

import numpy as np
import pytest

from mnnbio import (
    Circuit,
    Counts,
    GaussianDrive,
    LIFParameters,
    PoissonSource,
    Population,
    Projection,
    SpikeSource,
    build,
    load,
    save,
    simulate,
)
from mnnbio.circuit import CurrentDrive
from mnnbio.neurons import AdEx, ConductanceLIF
from mnnbio.spikes import Recording, States, Weights
from mnnbio.synapses import STDP, Conductance, ShortTermPlasticity

DT = 0.1
RATES = np.array([[0.02] * 30, [0.05] * 30])


def learning():
    """Poisson input that learns, into conductances, and leaky neurons behind."""
    rng = np.random.default_rng(0)
    return Circuit(
        [
            PoissonSource("in", 30, RATES),
            Population("P", 8, ConductanceLIF()),
            Population("L", 5, LIFParameters(v_rest=-65.0, v_th=-50.0, v_reset=-65.0, initial={"v": -60.0})),
        ],
        [
            Projection(
                "in",
                "P",
                weights=rng.uniform(0, 4, (8, 30)),
                synapse=Conductance(5.0, 0.0, name="e"),
                plasticity=STDP(w_max=8.0, A_plus=0.1, A_minus=0.1),
                delay=1.0,
            ),
            Projection("P", "L", weights=np.full((5, 8), 3.0), delay=0.5),
        ],
    )


RECORD = {
    "P": ["spikes", States("v", "g_e", neurons=[0, 3], every=0.5)],
    "L": States("v", every=1.0),
    ("in", "P"): Weights(every=50.0),
}


def run(circuit, codegen="runtime", **options):
    wanted = {
        "duration": 200.0,
        "trials": 2,
        "warmup": 20.0,
        "dt": DT,
        "seed": 1,
        "covariance": False,
        "record": RECORD,
    }
    return simulate(circuit, **(wanted | options), codegen=codegen)


def test_states_are_those_of_brian2s_own_monitor():
    from brian2 import Clock, Network, NeuronGroup, StateMonitor, defaultclock, ms, mV, nS, pA, pF, prefs

    prefs.codegen.target = "numpy"
    current = np.array([150.0, 700.0])
    circuit = Circuit([Population("A", 2, AdEx())], drives=[CurrentDrive("A", current)])
    found = simulate(circuit, 100, dt=DT, seed=1, codegen="runtime", record={"A": States("v", every=0.5)})
    equations = """
    dv/dt = (g_L*(E_L - v) + g_L*D*exp((v - V_T)/D) - z + I)/C : volt
    dz/dt = (a*(v - E_L) - z)/tau : amp
    I : amp (constant)
    """
    names = {"g_L": 30 * nS, "E_L": -70.6 * mV, "D": 2 * mV, "V_T": -50.4 * mV, "C": 281 * pF, "a": 4 * nS}
    names |= {"tau": 144 * ms, "b": 80.5 * pA}
    clock = Clock(DT * ms)
    group = NeuronGroup(
        2, equations, threshold="v > 20*mV", reset="v = E_L; z += b", method="euler", clock=clock, namespace=names
    )
    group.v, group.I = -70.6 * mV, current * pA
    monitor = StateMonitor(group, "v", record=True, dt=0.5 * ms)
    Network(group, monitor).run(100 * ms, namespace={})
    assert defaultclock.dt is not None
    v = found["states/A/v"]
    assert v.attrs["units"] == "mV"
    assert v.dims == ("trial", "time", "neuron")
    assert np.allclose(v["time"], np.asarray(monitor.t), atol=1e-12)
    assert np.abs(v[0].values.T - np.asarray(monitor.v) * 1e3).max() < 1e-9


def test_voltages_of_a_leaky_membrane_are_absolute_and_decay_to_rest():
    circuit = Circuit(
        [Population("L", 3, LIFParameters(v_rest=-65.0, v_th=-50.0, initial={"v": [-60.0, -65.0, -70.0]}))]
    )
    v = simulate(circuit, 50, dt=DT, seed=1, codegen="runtime", record={"L": States("v", every=1.0)})["states/L/v"]
    expected = -65.0 + np.array([5.0, 0.0, -5.0]) * np.exp(-np.arange(50)[:, None] / 20.0)
    assert np.abs(v[0].values - expected).max() < 1e-9


def test_samples_begin_after_the_warm_up_and_do_not_depend_on_what_else_is_recorded():
    whole = run(learning(), warmup=0.0, duration=220.0, record={"L": States("v", every=1.0)})["states/L/v"]
    part = run(learning())["states/L/v"]
    assert np.array_equal(whole.isel(time=slice(20, None)), part)
    assert run(learning())["spikes/spike_time"].equals(run(learning(), record={"P": "spikes"})["spikes/spike_time"])


@pytest.fixture(scope="module")
def both():
    return {carry: run(learning(), carry_weights=carry) for carry in (False, True)}


def test_every_presentation_starts_from_the_weights_of_the_circuit():
    found = run(learning(), warmup=0.0, duration=100.0)["weights/in_to_P"]
    start = found["weight_course"].isel(time=0)
    assert (start == start[0, 0]).all()
    assert not np.allclose(found["weight"], start)


def test_carried_weights_go_on_stimulus_after_stimulus_trial_after_trial(both):
    weights = both[True]["weights/in_to_P"]
    end, start = weights["weight"], weights["weight_course"].isel(time=0)
    # the warm-up lies between the start of a presentation and its first sample, so few weights have changed
    for before, after in (((0, 0), (1, 0)), ((1, 0), (0, 1)), ((0, 1), (1, 1))):
        same = np.isclose(end[before], start[after], atol=1.0)
        assert same.mean() > 0.6
    assert not np.allclose(end[0, 0], end[0, 1])


def test_a_circuit_goes_on_from_the_weights_of_a_result(both):
    result = both[False]
    learned = learning().with_weights(result, stimulus=1, trial=0)
    again = run(learned, warmup=0.0, trials=1)
    assert np.allclose(
        again["weights/in_to_P/weight_course"][0, 0, 0], result["weights/in_to_P/weight"][1, 0], rtol=1e-14
    )


def test_synapses_that_have_lost_their_weight_stay(both):
    changed = both[False].copy(deep=True)
    changed["weights/in_to_P"]["weight"].values[..., :50] = 0.0
    learned = learning().with_weights(changed)
    assert run(learned, trials=1)["weights/in_to_P"].sizes["synapse"] == 240


def test_ends_of_synapses_stand_beside_their_weights(both):
    weights = both[False]["weights/in_to_P"]
    matrix = learning().projections[0].weights
    start = run(learning(), warmup=0.0, trials=1)["weights/in_to_P/weight_course"][0, 0, 0]
    assert np.allclose(start, matrix[weights["target_index"], weights["source_index"]], rtol=1e-14)


def test_states_and_weights_go_through_a_file(both, tmp_path):
    save(both[False], tmp_path / "r.nc")
    read = load(tmp_path / "r.nc")
    assert read["states/P"].equals(both[False]["states/P"])
    assert learning().with_weights(read).hash() == learning().with_weights(both[False]).hash()


def test_shares_of_a_run_are_merged_with_their_states():
    with build(learning(), dt=DT, record=RECORD, codegen="runtime") as program:
        whole = program.run(50.0, trials=2, seed=1)
        parts = [program.run(50.0, trials=2, seed=1, presentations=[pair]) for pair in ((1, 1), (0, 0), (0, 1), (1, 0))]
    merged = Recording.merge(parts)
    assert all(np.array_equal(a.values, b.values) for a, b in zip(merged.states, whole.states, strict=True))


@pytest.mark.slow
@pytest.mark.standalone
def test_a_compiled_program_records_the_same(both):
    for carry, expected in both.items():
        found = run(learning(), "cpp_standalone", carry_weights=carry)
        assert found["spikes/spike_time"].equals(expected["spikes/spike_time"])
        for name in (
            "states/P/v",
            "states/P/g_e",
            "states/L/v",
            "weights/in_to_P/weight",
            "weights/in_to_P/weight_course",
        ):
            assert np.abs(found[name] - expected[name]).max() < 1e-9, name


def test_variables_of_synapses_can_be_recorded():
    source = SpikeSource("in", [10.0, 20.0, 30.0], [0, 0, 0])
    depressing = ShortTermPlasticity(U=0.5, tau_rec=800.0)
    projection = Projection("in", "L", weights=[[1.0]], plasticity=depressing)
    circuit = Circuit([source, Population("L", 1, LIFParameters())], [projection])
    wanted = {"L": "spikes", ("in", "L"): Weights(every=10.0, variables=("x",))}
    weights = simulate(circuit, 50, dt=DT, seed=1, codegen="runtime", record=wanted)["weights/in_to_L"]
    assert np.all(weights["weight"] == 1.0)
    assert "x_course" in weights


def test_states_beside_counts():
    circuit = Circuit([Population("L", 3, LIFParameters())], drives=[GaussianDrive("L", mean=1.2, std=1.0)])
    record = {"L": [Counts(bin=10.0), States("v", every=5.0)]}
    found = simulate(circuit, 100, dt=DT, seed=1, codegen="runtime", record=record)
    assert found["states/L/v"].sizes["time"] == 20
    assert "counts" in found.children


@pytest.mark.parametrize(
    ("record", "error", "message"),
    [
        ({"L": States("u", every=1.0)}, ValueError, "'L' has no state 'u'; it has v"),
        ({"X": States("v", every=1.0)}, ValueError, r"must name populations of neurons \(P, L\), got 'X'"),
        ({"L": States("v", neurons=[5], every=1.0)}, ValueError, "must be below 5, got 5"),
        ({"L": States("v", every=0.25)}, ValueError, "`dt` must divide"),
        ({"L": States("v", every=900.0)}, ValueError, "from 0.1 ms to `duration`, 200 ms, got 900 ms"),
        ({"L": [States("v", every=1.0), States("v", every=2.0)]}, ValueError, "recorded twice"),
        ({"L": ["spikes", Counts(bin=10.0)]}, ValueError, "must hold one of 'spikes'"),
        ({"L": Weights()}, ValueError, r"under the key \(source, target\)"),
        ({("P", "L"): Weights()}, ValueError, r"no plastic projection: \('P', 'L'\). The circuit has \('in', 'P'\)"),
        ({("in", "P"): Weights(variables=("q",))}, ValueError, "have no variable 'q'"),
        (States("v", every=1.0), TypeError, "must say of which population"),
    ],
)
def test_bad_records_raise(record, error, message):
    with pytest.raises(error, match=message):
        run(learning(), record=record)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: States(), "need names of variables"),
        (lambda: States("v", every=0.0), "must be a time > 0 ms"),
        (lambda: States("v", neurons=[1, 1]), "every neuron once"),
        (lambda: States("v", neurons=[-1]), "must be numbers of neurons ≥ 0"),
        (lambda: Weights(every=-1.0), "must be a time > 0 ms"),
    ],
)
def test_bad_states_raise(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_weights_of_another_circuit_are_refused(both):
    other = Circuit([Population("L", 3, LIFParameters())])
    with pytest.raises(ValueError, match="which the circuit lacks"):
        other.with_weights(both[False])
    with pytest.raises(ValueError, match="the result holds no weights"):
        other.with_weights(simulate(other, 10, dt=DT, seed=1, codegen="runtime"))
