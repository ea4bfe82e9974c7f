"""Filtered spikes between discrete-time neurons, in mode space and pair by pair, against a loop in NumPy."""

import numpy as np
import pytest

import mnnbio
from mnnbio import (
    Circuit,
    EquationNeuron,
    LIFParameters,
    ModeMatrix,
    Population,
    Projection,
    Samples,
    SpikeSource,
    States,
    build,
    predict,
    simulate,
    to_brian2,
)
from mnnbio.circuit import ChannelDrive
from mnnbio.neurons import DiscreteLIF
from mnnbio.spikes import planner
from mnnbio.spikes.layout import choose_replicas_in_python, program_memory
from mnnbio.spikes.planner import plan_circuit
from mnnbio.synapses import Exponential, FilteredSpikes, Into, Target

DT, N, P, T, B = 2.0, 40, 3, 200, 3
RNG = np.random.default_rng(4)
MODES_IN, MODES_OUT = RNG.normal(size=(2, N, P)) / np.sqrt(P)
SCORES = RNG.normal(size=P) * 0.5
WEIGHTS = (MODES_IN * SCORES) @ MODES_OUT.T
WEIGHTS_IN = RNG.normal(size=(N, 4)) * 0.5
INPUTS = RNG.normal(0.3, 1.0, (T, B, 4))
FILTERS = {
    "single": FilteredSpikes("single", 30.0),
    "double, steps": FilteredSpikes("double", 30.0, 2.0),
    "double, rates": FilteredSpikes("double", 25.0, 4.0, "rates"),
}


def published_loop(arriving, weights, filtering, *, delay=1, tau_m=20.0, tau_syn=10.0, v_th=1.0, hold=5):
    """Spikes and filtered spikes, (T, N), in the order of the published code: current, potential, filter, spike.

    The filter takes the spikes of `delay` steps before, 1 in the published code.
    """
    l_s, l_m, l_d, l_r = (np.exp(-DT / tau) for tau in (tau_syn, tau_m, filtering.tau_decay, filtering.tau_rise))
    current, U, h, r, last = (np.zeros(weights.shape[0]) for _ in range(5))
    h, r, last = np.zeros(weights.shape[1]), np.zeros(weights.shape[1]), last - 10**9
    spikes, course = np.zeros((len(arriving) + delay, len(U))), []
    for i, external in enumerate(arriving):
        current = l_s * current + external + weights @ r
        U = (i > last + hold) * (l_m * U + (1 - l_m) * current) * (1 - spikes[i + delay - 1])
        s = spikes[i]
        if filtering.kind == "single":
            r = l_d * r + DT / filtering.tau_decay * s
        elif filtering.scale == "steps":
            h = l_r * h + s
            r = l_d * r + (1 - l_d) * h
        else:
            h = l_r * h + DT / (filtering.tau_decay * filtering.tau_rise) * s
            r = l_d * r + DT * h
        spikes[i + delay] = v_th < U
        last = np.where(v_th < U, i, last)
        course.append(r)
    return spikes[delay:], np.array(course)


def of_all_stimuli(filtering, **options):
    return np.stack([published_loop(INPUTS[:, b] @ WEIGHTS_IN.T, WEIGHTS, filtering, **options)[0] for b in range(B)])


def table(result, population="n", steps=T):
    """Spikes of the first trial, (stimulus, step, neuron)."""
    source = SpikeSource.from_result("again", result["spikes"].to_dataset(), population)
    found = np.zeros((source.n_stimuli or 1, steps, source.size))
    for own, (step, neuron) in zip(found, source.steps(DT), strict=True):
        own[step, neuron] = 1
    return found


def network(weights, filtering, inputs=INPUTS, **options):
    drive = ChannelDrive("n", WEIGHTS_IN, Samples(inputs, DT))
    return Circuit([Population("n", N, DiscreteLIF())], [recurrent(weights, filtering, **options)], [drive])


def recurrent(weights, filtering, **options):
    return Projection("n", "n", weights=weights, synapse=filtering, **options)


def run(circuit, **options):
    return simulate(circuit, T * DT, **{"dt": DT, "seed": 0, "codegen": "runtime", "covariance": False} | options)


FORMS = {"modes": ModeMatrix(MODES_IN, SCORES, MODES_OUT), "matrix": WEIGHTS}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", FILTERS)
def test_spikes_are_those_of_the_published_loop(kind, form):
    expected = of_all_stimuli(FILTERS[kind])
    assert expected.sum() > 500
    np.testing.assert_array_equal(table(run(network(FORMS[form], FILTERS[kind]))), expected)


@pytest.mark.slow
@pytest.mark.standalone
@pytest.mark.parametrize("form", FORMS)
def test_one_compiled_program_serves_all_filters_and_stimuli(form):
    kinds = list(FILTERS)
    with build(network(FORMS[form], FILTERS[kinds[0]]), dt=DT, replicas=2) as program:
        for kind in kinds:
            recording = program.run(T * DT, circuit=network(FORMS[form], FILTERS[kind]), seed=0)
            steps = np.floor(recording.time / (DT * 1e-3)).astype(int)
            found = np.zeros((B, T, N))
            owner = np.repeat(np.arange(B * N), recording.row_size.ravel())
            found[owner // N, steps, owner % N] = 1
            np.testing.assert_array_equal(found, of_all_stimuli(FILTERS[kind]))


@pytest.mark.parametrize("form", FORMS)
def test_delays_are_counted_in_steps(form):
    expected = of_all_stimuli(FILTERS["double, steps"], delay=4)
    found = table(run(network(FORMS[form], FILTERS["double, steps"], delay=4 * DT)))
    np.testing.assert_array_equal(found, expected)


def test_several_projections_add_up_and_spikes_of_sources_are_filtered_too():
    """Two projections in mode space, one pair by pair, each with a filter of its own."""
    rng = np.random.default_rng(8)
    fired = (rng.random((T, 6)) < 0.2).astype(float)
    first, second = FILTERS["double, steps"], FILTERS["single"]
    outer = ModeMatrix(rng.normal(size=(N, 2)), [0.4, -0.3], rng.normal(size=(6, 2)))
    pairs = rng.normal(0, 0.3, (N, 6))
    steps, elements = np.nonzero(fired)
    circuit = Circuit(
        [SpikeSource("in", steps * DT, elements, 6), Population("n", N, DiscreteLIF())],
        [
            recurrent(FORMS["modes"], first),
            Projection("in", "n", weights=outer, synapse=second),
            Projection("in", "n", weights=pairs, synapse=first),
            Projection("in", "n", weights=WEIGHTS_IN[:, [0, 1, 2, 3, 0, 1]], synapse=Into("I", "mV")),
        ],
    )

    def filtered(filtering, arrivals):
        """Filtered trains as the current of each step takes them, of spikes that arrive in the steps."""
        step = filtering.step(DT)
        h, r, found = np.zeros(6), np.zeros(6), np.zeros((T + 1, 6))
        for i, s in enumerate(arrivals):
            h = step.sink * h + s
            r = step.keep * r + step.feed * h
            found[i + 1] = r
        return found[:-1]

    arriving = filtered(second, fired) @ outer.to_dense().T + filtered(first, fired) @ pairs.T
    arriving += fired @ WEIGHTS_IN[:, [0, 1, 2, 3, 0, 1]].T
    expected, _ = published_loop(arriving, WEIGHTS, first)
    assert expected.sum() > 100
    np.testing.assert_array_equal(table(run(circuit))[0], expected)


def test_the_filtered_trains_can_be_recorded():
    kind = "double, rates"
    single = INPUTS[:, :1]
    record = {"n": ["spikes", States("filtered0", every=DT)]}
    result = run(network(WEIGHTS, FILTERS[kind], single), record=record)
    _, course = published_loop(INPUTS[:, 0] @ WEIGHTS_IN.T, WEIGHTS, FILTERS[kind])
    found = result["states/n"]["filtered0"].squeeze()
    expected = course @ WEIGHTS.T  # a sample is what the step before has left
    scale = {"V": 1e-3, "mV": 1.0}[found.attrs["units"]]
    np.testing.assert_allclose(found.values[1:], expected[:-1] * scale, atol=1e-9)


def test_the_area_of_a_filter_is_the_sum_of_its_course():
    for filtering in FILTERS.values():
        step = filtering.step(DT)
        impulse = np.zeros(2000)
        impulse[0] = 1
        h = r = total = 0.0
        for s in impulse:
            h = step.sink * h + s
            r = step.keep * r + step.feed * h
            total += r
        assert filtering.area(DT) == pytest.approx(total, rel=1e-9)
    # As the published constants give it: (1 - l_d)/((1 - l_r)(1 - l_d)), dt²/(τ_d τ_r)/…, (dt/τ_d)/(1 - l_d).
    assert FilteredSpikes().area(2.0) == pytest.approx(1.58, abs=0.005)
    assert FilteredSpikes(scale="rates").area(2.0) == pytest.approx(1.63, abs=0.01)
    assert FilteredSpikes("single").area(2.0) == pytest.approx(1.03, abs=0.005)


@pytest.mark.parametrize("form", FORMS)
def test_circuits_are_stored_and_read(form, tmp_path):
    circuit = network(FORMS[form], FILTERS["double, rates"])
    again = Circuit.from_json(circuit.to_json())
    assert again.hash() == circuit.hash()
    assert again.projections[0].synapse == FILTERS["double, rates"]
    result = run(again)
    mnnbio.save(result, tmp_path / "result.nc")
    loaded = mnnbio.load(tmp_path / "result.nc")
    assert Circuit.from_json(loaded["circuit"].item()).hash() == circuit.hash()
    np.testing.assert_array_equal(table(loaded), table(result))
    assert "FilteredSpikes" in circuit.describe()
    single = circuit.select(1)
    np.testing.assert_array_equal(table(run(single))[0], table(result)[1])


@pytest.fixture
def brian2():
    """Brian2 with its NumPy target, and as it was afterwards."""
    import brian2

    before = brian2.prefs["codegen.target"]
    brian2.prefs["codegen.target"] = "numpy"
    yield brian2
    brian2.prefs["codegen.target"] = before
    brian2.defaultclock.dt = 0.1 * brian2.ms


@pytest.mark.parametrize("form", FORMS)
def test_plain_brian2_objects_give_the_same_spikes(form, brian2):
    ms = brian2.ms
    made = to_brian2(network(FORMS[form], FILTERS["double, steps"]), dt=DT, stimulus=1, duration=T * DT)
    made.run(T * DT * ms)
    monitor = made["n_spikes"]
    found = np.zeros((T, N))
    found[np.rint(np.asarray(monitor.t / ms) / DT).astype(int), np.asarray(monitor.i)] = 1
    np.testing.assert_array_equal(found, of_all_stimuli(FILTERS["double, steps"])[1])


def test_mode_space_holds_no_matrix_of_pairs():
    """What is held grows as N·P, and every pair of neurons takes its weight and its target otherwise."""

    def held(n, form):
        rng = np.random.default_rng(0)
        modes = ModeMatrix(rng.normal(size=(n, P)), [1.0] * P, rng.normal(size=(n, P)))
        weights = modes if form == "modes" else modes.to_dense()
        projection = Projection("n", "n", weights=weights, synapse=FilteredSpikes())
        plan = plan_circuit(Circuit([Population("n", n, DiscreteLIF())], [projection]), dt=DT, replicas=1)
        largest = max(len(own.targets) for own in plan.synapses.values())
        return sum(program_memory(plan)), largest

    sizes = [held(n, "modes") for n in (500, 1000, 2000)]
    assert [largest for _, largest in sizes] == [1500, 3000, 6000]
    growth = np.diff([own for own, _ in sizes])
    assert growth[1] == pytest.approx(2 * growth[0], rel=1e-6)
    base = sizes[0][0] - growth[0]  # of a program without neurons
    matrix, _ = held(2000, "matrix")
    assert (matrix - base) / (sizes[2][0] - base) > 20


def test_modes_let_more_presentations_run_side_by_side_in_python():
    many = [choose_replicas_in_python(network(weights, FilteredSpikes())) for weights in FORMS.values()]
    large = np.ones((300, 1))
    modes = ModeMatrix(large, [0.1], large)
    circuits = [
        Circuit([Population("n", 300, DiscreteLIF())], [recurrent(weights, FilteredSpikes())])
        for weights in (modes, modes.to_dense())
    ]
    assert choose_replicas_in_python(circuits[0]) > choose_replicas_in_python(circuits[1])
    assert min(many) >= 1


def test_modes_take_spikes_that_are_found_before_the_synapses_of_their_step(monkeypatch):
    """A neuron that is tested first sends through modes what it sends pair by pair, at any delay of a step or more."""
    monkeypatch.setattr(planner, "_MOST_EXPANDED", 0)
    rng = np.random.default_rng(2)
    modes = ModeMatrix(rng.normal(size=(5, 2)), [1.5, -1.0], rng.normal(size=(3, 2)))
    first = EquationNeuron(
        equations="dv/dt = (12*mV - v)/(10*ms) : volt",
        threshold="v > 10*mV",
        reset="v = 0*mV",
        order="threshold_first",
    )

    def circuit(weights, delay):
        populations = [Population("a", 3, first), Population("b", 5, LIFParameters(v_th=2.0, t_ref=4.0))]
        return Circuit(populations, [Projection("a", "b", weights=weights, delay=delay)])

    def spikes(weights, delay):
        return run(circuit(weights, delay))["spikes/spike_time"].values

    for delay in (DT, 3 * DT):
        np.testing.assert_array_equal(spikes(modes, delay), spikes(modes.to_dense(), delay))
    with pytest.raises(ValueError, match=r"takes? spikes at the start of a step.*give a `delay` of 2 ms"):
        run(circuit(modes, 0.0))


def test_constant_inputs_add_in_every_step():
    inputs = np.array([[0.5, 0.1, 0.3, -0.2], [1.0, 0.0, 0.2, 0.4]])
    circuit = Circuit([Population("n", N, DiscreteLIF())], drives=[ChannelDrive("n", WEIGHTS_IN, inputs)])
    assert circuit.n_stimuli == 2
    found = table(run(circuit))
    for own, values in zip(found, inputs, strict=True):
        arriving = np.tile(WEIGHTS_IN @ values, (T, 1))
        expected, _ = published_loop(arriving, np.zeros((N, N)), FILTERS["single"])
        assert expected.any()
        np.testing.assert_array_equal(own, expected)


def test_inputs_through_weights_reach_the_membrane_of_other_neurons():
    """Into v of LIF neurons: jumps that every step brings, which decay with the membrane."""
    lif = LIFParameters(tau_m=20.0, v_th=1e3, t_ref=0.0)
    drive = ChannelDrive("n", [[1.0], [0.5]], Samples(np.arange(10.0)[:, None], DT), "v")
    circuit = Circuit([Population("n", 2, lif)], drives=[drive])
    record = {"n": States("v", every=DT)}
    found = simulate(circuit, 10 * DT, dt=DT, seed=0, codegen="runtime", record=record)["states/n"]["v"].squeeze()
    v, expected = np.zeros(2), []
    for x in np.arange(10.0):
        expected.append(v)
        v = np.exp(-DT / 20.0) * v + x * np.array([1.0, 0.5])
    np.testing.assert_allclose(found.values * {"V": 1e3, "mV": 1.0}[found.attrs["units"]], expected, atol=1e-9)


def test_what_has_no_theory_is_refused_by_name():
    drive = ChannelDrive("n", WEIGHTS_IN, np.ones(4))
    circuit = Circuit([Population("n", N, DiscreteLIF())], [recurrent(FORMS["modes"], FilteredSpikes())], [drive])
    with pytest.raises(TypeError, match="no theory for neurons of the type DiscreteLIF"):
        predict(circuit, dt=DT)
    lif = Circuit([Population("n", N, LIFParameters())], [recurrent(FORMS["modes"], FilteredSpikes())])
    with pytest.raises(TypeError, match="no theory for synapses of the type FilteredSpikes"):
        predict(lif, dt=0.1)
    drive = ChannelDrive("n", WEIGHTS_IN, np.ones(4), "v")
    with pytest.raises(TypeError, match="no theory for channel drive of 'n', a ChannelDrive"):
        predict(Circuit([Population("n", N, LIFParameters())], drives=[drive]), dt=0.1)


@pytest.mark.parametrize("form", FORMS)
def test_neurons_without_a_current_are_refused(form):
    lif = Circuit([Population("n", N, LIFParameters())], [recurrent(FORMS[form], FilteredSpikes())])
    with pytest.raises(TypeError, match=r"FilteredSpikes add to the current `I` of the target.*receives only v"):
        simulate(lif, 10.0, dt=1.0, codegen="runtime")
    with pytest.raises(TypeError, match="receives `I` in amp"):
        FilteredSpikes().steps(Target("Other", {"v": "volt", "I": "amp"}), "", DT)
    with pytest.raises(NotImplementedError, match="Exponential synapses have no filter of modes"):
        Exponential(5.0).mode_steps(Target("Other", {"v": "volt"}), DT)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FilteredSpikes("triple"), "Invalid value 'triple' for `kind`"),
        (lambda: FilteredSpikes(scale="units"), "Invalid value 'units' for `scale`"),
        (lambda: FilteredSpikes(tau_decay=0.0), "`tau_decay` must be a single time > 0 ms"),
        (lambda: FilteredSpikes(tau_rise=[1.0, 2.0]), "`tau_rise` must be a single time > 0 ms"),
        (lambda: ChannelDrive("n", np.ones(3), np.ones(3)), r"weights of channel drive of 'n' must have shape"),
        (lambda: ChannelDrive("n", np.ones((N, 4)), np.ones(3)), r"inputs of channel drive of 'n' must have shape"),
        (lambda: ChannelDrive("n", np.ones((N, 4)), 1.0), r"inputs of channel drive of 'n' must have shape"),
        (
            lambda: Circuit([Population("n", 3, DiscreteLIF())], drives=[ChannelDrive("n", WEIGHTS_IN, np.ones(4))]),
            r"weights of channel drive of 'n' must have shape \(n, channel\) with n = 3, got \(40, 4\)",
        ),
    ],
)
def test_bad_parts_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_inputs_of_other_steps_or_into_unknown_variables_are_refused():
    circuit = network(FORMS["modes"], FilteredSpikes())
    with pytest.raises(ValueError, match="given for steps of 2 ms and add in every step: simulate with dt = 2 ms"):
        simulate(circuit, 10.0, dt=1.0, codegen="runtime")
    drive = ChannelDrive("n", WEIGHTS_IN, np.ones(4), "g")
    with pytest.raises(ValueError, match="`g`, which the neurons lack: they receive v, I"):
        run(Circuit([Population("n", N, DiscreteLIF())], drives=[drive]))
