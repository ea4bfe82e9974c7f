"""From a trained spiking network to the circuit: the same spikes, the same outputs, and what LIF neurons make of it."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_iris

from mnnbio import GaussianDrive, LIFParameters, ModeMatrix, PoissonSource, SpikeSource, States, build, export, simulate
from mnnbio import predict as predict_circuit
from mnnbio.circuit import ChannelDrive
from mnnbio.exporting import read_outputs, read_spikes
from mnnbio.neurons import DiscreteLIF
from mnnbio.nn.mlp import MomentMLP
from mnnbio.training import SpikingModeClassifier
from mnnbio.training.spiking import FullWeights, ModeWeights, RateNetwork, SpikeFilter, SpikingNetwork, SpikingNeuron

DT, STEPS = 2.0, 150


def network(modes=3, *, neurons=50, n_in=4, seed=1, **options):
    """A network of random weights, strong enough that neurons make each other fire."""
    made = SpikingNetwork.random(n_in, neurons, 2, modes=modes, seed=seed, **options).double()
    with torch.no_grad():
        if modes is not None:
            made.recurrent.raw_scores.mul_(3.0)
    return made


def currents(stimuli, *, steps=STEPS, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 0.3 + torch.randn((steps, stimuli, 4), generator=generator, dtype=torch.float64)


def spikes(stimuli, *, steps=STEPS, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand((steps, stimuli, 4), generator=generator) < 0.4).double()


def run(circuit, steps=STEPS, **options):
    return simulate(circuit, steps * DT, **{"dt": DT, "seed": 0, "codegen": "runtime", "covariance": False} | options)


@torch.no_grad()
def assert_alike(model, inputs, result):
    """Every spike and all outputs are those of PyTorch."""
    expected = model.run(inputs)
    assert expected.spikes.sum() > 300
    torch.testing.assert_close(read_spikes(model, result), expected.spikes, rtol=0, atol=0)
    torch.testing.assert_close(read_outputs(model, result), expected.outputs, rtol=1e-12, atol=1e-12)


NETWORKS = {
    "modes": {},
    "full matrix": {"modes": None},
    "single filter": {"filter": SpikeFilter(kind="single")},
    "double filter in rates, maximum": {"filter": SpikeFilter(scale="rates"), "readout": "maximum"},
    "reset at once": {"neuron": SpikingNeuron(reset="at once", v_reset=-0.2, t_ref=4.0)},
    "learned constants": {"learn": ("tau_m", "tau_syn", "v_th")},
    "excitation and inhibition": {"constraints": {"signs": [1] * 40 + [-1] * 10}},
}


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("inputs", [currents(2), spikes(2)], ids=["currents", "spikes"])
def test_spikes_and_outputs_are_those_of_the_network(kind, inputs):
    model = network(**NETWORKS[kind])
    if kind == "learned constants":
        with torch.no_grad():
            for number, log in enumerate(model.logarithms.values()):
                log.add_(0.2 * torch.randn(50, generator=torch.Generator().manual_seed(number)))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert_alike(model, inputs, run(export(model, inputs)))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_modes_stay_factored_or_become_a_matrix():
    model, inputs = network(), currents(2)
    factored, full = export(model, inputs), export(model, inputs, weights="matrix")
    weights = factored.projections[0].weights
    assert isinstance(weights, ModeMatrix)
    np.testing.assert_allclose(weights.to_dense(), model.recurrent.matrix().detach().numpy(), rtol=1e-12)
    np.testing.assert_allclose(full.projections[0].weights, weights.to_dense())
    assert_alike(model, inputs, run(full))


@pytest.mark.slow
@pytest.mark.standalone
@pytest.mark.parametrize("weights", ["modes", "matrix"])
@pytest.mark.parametrize("make", [currents, spikes], ids=["currents", "spikes"])
def test_compiled_programs_and_python_give_all_spikes_of_a_hundred_stimuli(make, weights):
    """One build for all of them, and for networks trained on."""
    model, inputs = network(neurons=100), make(100, steps=300)
    circuit = export(model, inputs, weights=weights)
    assert_alike(model, inputs, run(circuit, 300, codegen="cpp_standalone"))
    assert_alike(model, inputs, run(circuit, 300))
    other = network(neurons=100, seed=5)
    with build(circuit, dt=DT) as program:
        recording = program.run(300 * DT, circuit=export(other, inputs, weights=weights), seed=0)
    assert recording.row_size.sum() == other.run(inputs).spikes.sum()


def test_trials_stand_beside_one_another():
    model = network()
    inputs = currents(3)
    result = run(export(model, inputs), trials=2)
    found = read_spikes(model, result)
    torch.testing.assert_close(found, model.run(inputs).spikes.detach().repeat_interleave(2, dim=1), rtol=0, atol=0)
    assert read_outputs(model, result).shape == (STEPS, 6, 2)
    one = export(model, inputs).select(1)
    torch.testing.assert_close(read_spikes(model, run(one)), found[:, 2:3], rtol=0, atol=0)


def test_stored_results_are_read_alike(tmp_path):
    from mnnbio import Circuit, load, save

    model, inputs = network(), spikes(2)
    circuit = export(model, inputs)
    assert Circuit.from_json(circuit.to_json()).hash() == circuit.hash()
    save(run(Circuit.from_json(circuit.to_json())), tmp_path / "result.nc")
    assert_alike(model, inputs, load(tmp_path / "result.nc"))


def test_the_readout_is_the_mean_of_the_outputs():
    """Up to what is still filtered at the end, which is small in a long trial."""
    model = network()
    inputs = currents(2, steps=2000)
    result = run(export(model, inputs, labels=["left", "right"]), 2000)
    found = result["simulation/readout"].squeeze("trial")
    assert list(found["output"].values) == ["left", "right"]
    expected = model(inputs).mean(0).detach().numpy()
    np.testing.assert_allclose(found.values, expected, rtol=0.03, atol=0.02 * np.abs(expected).max())
    assert export(network(readout="maximum"), inputs).readout is None


def test_common_stimuli_are_probabilities_of_spikes():
    model = network()
    circuit = export(model, [[0.2, 0.4, 0.0, 1.0], [0.1, 0.1, 0.1, 0.1]])
    source = circuit.population("input")
    assert isinstance(source, PoissonSource)
    np.testing.assert_allclose(source.rates * DT, [[0.2, 0.4, 0.0, 1.0], [0.1, 0.1, 0.1, 0.1]])
    assert circuit.n_stimuli == 2
    assert export(model, [0.2, 0.4, 0.0, 1.0]).n_stimuli is None


def test_common_currents_add_in_every_step():
    model = network()
    values = torch.tensor([[0.5, 0.2, -0.1, 0.7], [1.5, 0.0, 0.3, 0.2]], dtype=torch.float64)
    circuit = export(model, values, encoding="currents")
    assert isinstance(circuit.drives[0], ChannelDrive)
    assert_alike(model, values.expand(STEPS, 2, 4), run(circuit))


def test_how_inputs_enter_follows_from_their_values_unless_it_is_said():
    model = network()
    assert isinstance(export(model, spikes(2)).populations[0], SpikeSource)
    assert isinstance(export(model, currents(2)).drives[0], ChannelDrive)
    as_currents = export(model, spikes(2), encoding="currents")
    assert [type(p.neuron) for p in as_currents.populations] == [DiscreteLIF]
    assert_alike(model, spikes(2), run(as_currents))


# Onto the leaky integrate-and-fire neurons of the theory.


def silent(modes_in=None, **options):
    """Two neurons, the first of which drives the second by one mode; thresholds are out of reach."""
    neuron = SpikingNeuron(v_th=1e6, **options)
    weights = ModeWeights(
        torch.tensor([[0.0], [2.0]]), torch.tensor([0.7], dtype=torch.float64), torch.tensor([[1.0], [0.0]])
    )
    return SpikingNetwork(torch.eye(2), weights, torch.ones(1, 2), neuron=neuron, filter=SpikeFilter()).double()


def test_a_recurrent_spike_brings_the_charge_that_the_filter_brings():
    """The area under the second neuron's potential after one spike of the first, by brute force in the loop."""
    model = silent()
    lm, ls, ld, lr = (np.exp(-DT / tau) for tau in (20.0, 10.0, 30.0, 2.0))
    h = r = current = v = area = 0.0
    for step in range(3000):
        current = ls * current + 1.4 * r
        v = lm * v + (1 - lm) * current
        h = lr * h + (step == 0)
        r = ld * r + (1 - ld) * h
        area += v * DT  # mV ms
    projection = export(model, np.zeros((5, 1, 2)), neurons="lif").projections[-1]
    charge = projection.weights.to_dense()[1, 0]
    assert charge * 20.0 == pytest.approx(area, rel=1e-9)  # a charge decays with tau_m
    assert projection.synapse_model.tau_syn == pytest.approx(10.0 + 30.0 + 2.0)
    assert projection.delay == DT


def test_an_input_spike_brings_its_charge():
    model = silent(tau_m=[20.0, 12.0])
    projection = export(model, spikes(1)[..., :2], neurons="lif").projections[0]
    for neuron, tau_m in enumerate((20.0, 12.0)):
        lm, ls = np.exp(-DT / tau_m), np.exp(-DT / 10.0)
        current, v, area = 1.0, 0.0, 0.0
        for _ in range(3000):
            v = lm * v + (1 - lm) * current
            current *= ls
            area += v * DT
        assert projection.weights[neuron, neuron] * tau_m == pytest.approx(area, rel=1e-9)
    assert projection.tau_syn == 10.0


@pytest.mark.parametrize("common", [False, True])
def test_lif_neurons_without_recurrence_have_the_potentials_of_the_network(common):
    """Input currents are filtered beforehand and held over each step, so that the membrane is exact."""
    model = silent()
    inputs = currents(2, steps=60)[..., :2]
    if common:
        inputs = inputs[:1].expand(60, 2, 2)
    circuit = export(model, inputs[0] if common else inputs, neurons="lif", encoding="currents")
    assert isinstance(circuit.drives[0], GaussianDrive)
    record = {"hidden": States("v", every=DT)}
    found = run(circuit, 60, record=record)["states/hidden"]["v"].squeeze("trial")
    voltages = found.transpose("time", "stimulus", "neuron").values * {"V": 1e3, "mV": 1.0}[found.attrs["units"]]
    expected = model.run(inputs).voltages.detach().numpy()
    if common:  # the synaptic current is there from the first step on
        np.testing.assert_allclose(voltages[-1], expected[-2], rtol=0.05)
    else:
        np.testing.assert_allclose(voltages[1:], expected[:-1], atol=1e-9)


@pytest.mark.filterwarnings("ignore:.*:mnnbio.theory.validity.SlowSynapseWarning")
@pytest.mark.filterwarnings("ignore:.*:mnnbio.theory.validity.FiniteWeightWarning")
@pytest.mark.filterwarnings("ignore:.*:mnnbio.theory.validity.CorrelationWarning")
def test_the_theory_predicts_exported_lif_neurons():
    model = network()
    circuit = export(model, [0.3, 0.3, 0.3, 0.3], neurons="lif")
    assert isinstance(circuit.population("hidden").neuron, LIFParameters)
    prediction = predict_circuit(circuit, dt=0.1)
    assert prediction["mode_mean"].sizes == {"mode": 3}
    assert prediction["mode_covariance"].sizes == {"mode": 3, "mode_j": 3}
    # Modes read the rates of the neurons, in Hz.
    np.testing.assert_allclose(
        prediction["mode_mean"], model.recurrent.modes_out.detach().numpy().T @ prediction["rate"].values, rtol=1e-6
    )


# What cannot be exported.


def uneven():
    model = network(learn=("tau_decay",))
    with torch.no_grad():
        model.logarithms["tau_decay"][0] += 1.0
    return model


def uneven_synapses():
    model = network(learn=("tau_syn",))
    with torch.no_grad():
        model.logarithms["tau_syn"][0] += 1.0
    return model


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: export(RateNetwork.random(4, 5, 1, modes=2), currents(1)), TypeError, "RateNetwork, whose neurons"),
        (lambda: export(torch.nn.Linear(4, 2), currents(1)), TypeError, "a SpikingNetwork, or .* got Linear"),
        (lambda: export(network(), currents(1)[..., :3]), ValueError, r"must have shape \(step, stimulus, 4\)"),
        (lambda: export(network(), currents(0)), ValueError, r"got \(150, 0, 4\)"),
        (lambda: export(network(), np.full((5, 1, 4), np.nan)), ValueError, "`stimulus` must be finite"),
        (lambda: export(network(), [0.5, 0.5, 0.5, 1.5]), ValueError, "probabilities of a spike in a step.*got 1.5"),
        (lambda: export(network(), [0.5, 0.5, 0.5, -1.5]), ValueError, "probabilities of a spike.*got -1.5"),
        (lambda: export(network(), currents(1), encoding="spikes"), ValueError, "0 or 1 in every step .* at"),
        (lambda: export(network(), currents(1), encoding="rates"), ValueError, "Invalid value 'rates' for `encoding`"),
        (lambda: export(network(), currents(1), weights="full"), ValueError, "Invalid value 'full' for `weights`"),
        (lambda: export(network(), currents(1), neurons="eif"), ValueError, "Invalid value 'eif' for `neurons`"),
        (lambda: export(uneven(), currents(1)), ValueError, "`tau_decay` of the network must be one number"),
        (
            lambda: export(uneven_synapses(), currents(1), neurons="lif"),
            ValueError,
            "`tau_syn` of the network must be one number",
        ),
        (
            lambda: export(network(readout="maximum"), currents(1), labels=["a", "b"]),
            ValueError,
            "`labels` name outputs that are means over time",
        ),
        (
            lambda: export(MomentMLP((4, 5, 2)), [0.1] * 4, neurons="discrete"),
            ValueError,
            "are for spiking networks",
        ),
        (lambda: export(MomentMLP((4, 5, 2)), [0.1] * 4, weights="matrix"), ValueError, "are for spiking networks"),
        (
            lambda: export(network(neuron=SpikingNeuron(clock="single")), currents(1)),
            ValueError,
            "export networks with clock='steps'",
        ),
    ],
)
def test_what_cannot_be_exported_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_results_of_other_steps_and_without_spikes_are_refused():
    model = network()
    circuit = export(model, [0.2] * 4)
    with pytest.raises(ValueError, match="simulated in the time step of the network, 2 ms, got 1 ms"):
        read_spikes(model, run(circuit, 10, dt=1.0))
    with pytest.raises(ValueError, match="holds no spikes"):
        read_spikes(model, run(circuit, 10, record={"hidden": States("v", every=DT)}))
    with pytest.raises(ValueError, match="has 50 neurons, the network 20"):
        read_outputs(network(neurons=20), run(circuit, 10))


@pytest.mark.slow
@pytest.mark.skipif("MNNBIO_SMNN_DIR" not in os.environ, reason="MNNBIO_SMNN_DIR names no folder of parameters")
def test_published_parameters_fire_alike_and_decide_alike():
    """Contextual integration, N = 100, P = 3: all spikes of 100 trials, and the decisions that follow from them."""
    path = Path(os.environ["MNNBIO_SMNN_DIR"], "context_N100_P3_0_double.pth")
    own = {name: value.double() for name, value in torch.load(path, map_location="cpu", weights_only=True).items()}
    model = SpikingNetwork(own["Win"], ModeWeights(own["pin"], own["l"], own["pout"]), own["Wout"]).double()
    rng = np.random.default_rng(0)
    offset, context = rng.choice([-0.5, 0.5], (100, 2)), rng.integers(0, 2, 100)
    inputs = np.zeros((500, 100, 4))
    inputs[50:250, :, :2] = offset + rng.normal(size=(200, 100, 2))
    inputs[:, np.arange(100), 2 + context] = 1.0
    inputs = torch.from_numpy(inputs)
    for weights in ("modes", "matrix"):
        result = run(export(model, inputs, weights=weights), 500)
        assert_alike(model, inputs, result)
    outputs = read_outputs(model, result)[-125:].mean(0).squeeze(-1).numpy()
    right = np.sign(outputs) == np.sign(offset[np.arange(100), context])
    assert right.mean() >= 0.99


def test_full_matrices_have_no_modes_to_keep():
    model = SpikingNetwork(torch.eye(3), FullWeights(torch.zeros(3, 3)), torch.ones(1, 3)).double()
    circuit = export(model, spikes(1)[..., :3])
    np.testing.assert_array_equal(circuit.projections[-1].weights, np.zeros((3, 3)))


def test_a_classifier_decides_as_its_exported_spikes_do():
    """Spikes of all samples side by side: the task performance is the same."""
    x, y = load_iris(return_X_y=True)
    options = {"steps": 15, "epochs": 10, "batch_size": 16, "learning_rate": 0.03, "random_state": 0}
    classifier = SpikingModeClassifier(20, 2, **options).fit(x, y)
    circuit = export(classifier, x)
    assert circuit.n_stimuli == len(x)
    result = simulate(circuit, 15 * DT, dt=DT, seed=0, codegen="runtime", covariance=False)
    outputs = read_outputs(classifier.model_, result)
    np.testing.assert_array_equal(classifier.classes_[outputs.argmax(-1)], classifier.predict(x))
    np.testing.assert_allclose(outputs.softmax(-1), classifier.predict_proba(x), rtol=1e-9)
