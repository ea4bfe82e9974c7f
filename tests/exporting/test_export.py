"""From a trained network to the circuit: nothing is lost, nothing is changed."""

import numpy as np
import pytest
import torch
from scipy import sparse

from mnnbio import LIFParameters, export, predict, simulate
from mnnbio.exporting import ReadoutNoiseWarning
from mnnbio.nn.cnn import MomentCNN
from mnnbio.nn.encoders import GaussianEncoder, PoissonEncoder
from mnnbio.nn.linear import MomentLinear
from mnnbio.nn.mlp import MomentMLP
from mnnbio.nn.spiking_layers import GaussianBackground, PoissonBackground

RNG = np.random.default_rng(0)

# Networks with random weights need not be fit for spikes; what is tested here is that nothing is lost.
pytestmark = [
    pytest.mark.filterwarnings("ignore::mnnbio.theory.validity.FiniteWeightWarning"),
    pytest.mark.filterwarnings("ignore::mnnbio.theory.validity.CorrelationWarning"),
]


def trained(sizes, **options):
    """A network whose normalisation, noise and biases are no longer at their initial values."""
    model = MomentMLP(sizes, dtype=torch.float64, seed=1, **options)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.rand(parameter.shape, generator=generator, dtype=torch.float64)
        for block in model.blocks:
            for name in ("running_mean", "running_var"):
                buffer = getattr(block.norm, name)
                buffer += torch.rand(buffer.shape, generator=generator, dtype=torch.float64)
    return model.eval()


ENCODERS = {
    "rates": None,
    "poisson": PoissonEncoder(6, max_rate=0.7, scale=2.0, dtype=torch.float64),
    "on/off": PoissonEncoder(6, max_rate=0.7, on_off=True, shift=0.5, dtype=torch.float64),
    "constant current": GaussianEncoder(6, std=0.0, shift=0.3, dtype=torch.float64),
    "noisy current": GaussianEncoder(6, std=0.8, shift=0.3, dtype=torch.float64),
}


@pytest.mark.parametrize("hidden", [(8,), (8, 7)], ids=["one layer", "two layers"])
@pytest.mark.parametrize("encoding", ENCODERS)
@pytest.mark.parametrize("noise", [True, False], ids=["noise", "no noise"])
def test_the_circuit_predicts_what_the_network_computes(hidden, encoding, noise):
    encoder = ENCODERS[encoding]
    inputs = 6 if encoder is None else encoder.out_features
    lif = LIFParameters(tau_m=15.0, v_reset=5.0, t_ref=2.0)
    model = trained((inputs, *hidden, 3), encoder=encoder, noise=noise, lif=lif)
    x = RNG.uniform(0.1, 1, (5, 6))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    prediction = predict(export(model, x))
    with torch.no_grad():
        layers = model.hidden(torch.from_numpy(x))
        output = model(torch.from_numpy(x))
    np.testing.assert_allclose(prediction["readout"], output.mean, rtol=1e-10, atol=1e-10)
    noise_of_readout = prediction["readout_covariance"] * 1e3  # s → ms
    np.testing.assert_allclose(noise_of_readout, output.covariance.to_dense().detach(), rtol=1e-10, atol=1e-10)
    start = 0
    for layer in layers:
        stop = start + layer.mean.shape[-1]
        np.testing.assert_allclose(prediction["rate"][:, start:stop] / 1e3, layer.mean, rtol=1e-10, atol=1e-13)
        block = prediction["covariance"][:, start:stop, start:stop] / 1e3
        np.testing.assert_allclose(block, layer.covariance.to_dense().detach(), rtol=1e-10, atol=1e-13)
        start = stop
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), f"export changed {name}"


OPTIONS = {
    "learned neurons": {"learn": ("tau_m", "v_th", "v_reset", "t_ref"), "lif": LIFParameters(v_reset=5.0)},
    "fixed in-degree": {"in_degree": 3},
    "Poisson background": {"background": PoissonBackground(0.4, 0.5)},
    "Gaussian background": {"background": GaussianBackground(0.4, 0.2)},
    "dropout": {"dropout": 0.3},
}


@pytest.mark.parametrize("option", OPTIONS)
def test_options_of_hidden_layers_are_exported(option):
    model = trained((6, 8, 7, 3), **OPTIONS[option])
    x = RNG.uniform(0.1, 1, (5, 6))
    circuit = export(model, x)
    prediction = predict(circuit)
    with torch.no_grad():
        output = model(torch.from_numpy(x))
    np.testing.assert_allclose(prediction["readout"], output.mean, rtol=1e-10, atol=1e-10)
    noise_of_readout = prediction["readout_covariance"] * 1e3  # s → ms
    np.testing.assert_allclose(noise_of_readout, output.covariance.to_dense().detach(), rtol=1e-10, atol=1e-10)
    if option == "learned neurons":
        assert [population.lif.size for population in circuit.neurons] == [8, 7]
        assert len(set(circuit.neurons[0].lif.v_th)) == 8
    if option == "fixed in-degree":
        assert all(sparse.issparse(projection.weights) for projection in circuit.projections)
        assert [projection.weights.nnz for projection in circuit.projections] == [24, 21]


def test_constant_currents_are_exported_with_their_noise():
    model = trained((6, 8, 3), correlations="none", fixed_std=1.5, noise=False)
    drive = export(model, np.ones(6)).drives[0]
    np.testing.assert_array_equal(drive.std, np.full(8, 1.5))


def test_a_network_of_rates_as_variances_is_predicted_with_its_closure():
    model = trained((6, 8, 7, 3), closure="poisson")
    x = RNG.uniform(0.1, 1, (5, 6))
    with torch.no_grad():
        output = model(torch.from_numpy(x))
    prediction = predict(export(model, x), closure="poisson")
    np.testing.assert_allclose(prediction["readout"], output.mean, rtol=1e-10, atol=1e-10)
    noise = prediction["readout_covariance"] * 1e3  # s → ms
    np.testing.assert_allclose(noise, output.covariance.to_dense().detach(), rtol=1e-10, atol=1e-10)
    assert abs(predict(export(model, x))["readout"] - output.mean.numpy()).max() > 1e-3


def test_a_network_in_training_mode_exports_its_running_statistics():
    model = trained((6, 8, 3))
    x = RNG.uniform(0, 1, (4, 6))
    evaluated = export(model, x)
    model.train()
    assert export(model, x).hash() == evaluated.hash()
    assert model.training


def test_one_stimulus_has_no_stimulus_dimension():
    model = trained((6, 8, 3))
    x = RNG.uniform(0, 1, 6)
    circuit = export(model, x, labels=["a", "b", "c"])
    assert circuit.n_stimuli is None
    prediction = predict(circuit)
    assert prediction["readout"].dims == ("output",)
    assert prediction["output"].values.tolist() == ["a", "b", "c"]
    many = predict(export(model, x[None]))
    np.testing.assert_array_equal(many["rate"][0], prediction["rate"])


def test_populations_are_named():
    assert [p.name for p in export(trained((6, 8, 3)), np.ones(6)).populations] == ["input", "hidden"]
    deep = export(trained((6, 8, 7, 3)), np.ones(6))
    assert [p.name for p in deep.populations] == ["input", "hidden_1", "hidden_2"]
    assert deep.readout.source == "hidden_2"


@pytest.mark.parametrize(
    ("stimulus", "message"),
    [
        (np.ones(5), r"shape \(6,\) or \(stimulus, 6\), got \(5,\)"),
        (np.ones((2, 3, 6)), r"got \(2, 3, 6\)"),
        ([0.1, 0.2, np.nan, 0, 0, 0], "must be finite, got nan at index 2"),
        (["a"] * 6, "must be numeric"),
    ],
)
def test_stimuli_that_do_not_fit_raise(stimulus, message):
    with pytest.raises((ValueError, TypeError), match=message):
        export(trained((6, 8, 3)), stimulus)


def test_other_models_raise():
    with pytest.raises(TypeError, match=r"must be a module of layers of mnnbio.nn such as .* got Linear without any"):
        export(torch.nn.Linear(2, 2), np.ones(2))


CONVOLUTIONAL = {
    "one convolution": {"channels": (3,), "pool": 1},
    "pooled": {"channels": (3,)},
    "two convolutions": {"channels": (3, 4), "pool": (2, 1)},
    "summed, with dense layer": {"channels": (2, 3), "hidden": (5,), "pooling": "sum", "pool": (2, 3)},
    "even kernel": {"channels": (2, 2), "kernel": (2, 3)},
}
IMAGE_ENCODERS = {
    "rates": None,
    "on/off": PoissonEncoder(36, max_rate=0.7, on_off=True, shift=0.5, dtype=torch.float64),
    "noisy current": GaussianEncoder(36, std=0.8, shift=0.3, dtype=torch.float64),
}


def randomised(model):
    """Move every parameter and statistic away from its start."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for value in [*model.parameters(), *(buffer for name, buffer in model.named_buffers() if "running" in name)]:
            value += 0.3 * torch.rand(value.shape, generator=generator, dtype=torch.float64)
    return model.eval()


@pytest.mark.parametrize("architecture", CONVOLUTIONAL)
@pytest.mark.parametrize("encoding", IMAGE_ENCODERS)
def test_the_circuit_predicts_what_a_convolutional_network_computes(architecture, encoding):
    encoder = IMAGE_ENCODERS[encoding]
    image = (2 if encoding == "on/off" else 1, 6, 6)
    model = randomised(
        MomentCNN(image, outputs=3, encoder=encoder, dtype=torch.float64, seed=1, **CONVOLUTIONAL[architecture])
    )
    x = RNG.uniform(0.1, 1, (3, 36))
    circuit = export(model, x)
    prediction = predict(circuit)
    with torch.no_grad():
        layers, output = model.hidden(torch.from_numpy(x)), model(torch.from_numpy(x))
    np.testing.assert_allclose(prediction["readout"], output.mean, rtol=1e-10, atol=1e-10)
    noise = prediction["readout_covariance"] * 1e3  # s → ms
    np.testing.assert_allclose(noise, output.covariance.to_dense().detach(), rtol=1e-10, atol=1e-10)
    for layer, (name, place) in zip(layers, circuit.slices().items(), strict=True):
        assert circuit.population(name).size == layer.mean.shape[-1]
        np.testing.assert_allclose(prediction["rate"][:, place] / 1e3, layer.mean, rtol=1e-10, atol=1e-13)
        block = prediction["covariance"][:, place, place] / 1e3
        np.testing.assert_allclose(block, layer.covariance.to_dense().detach(), rtol=1e-10, atol=1e-13)


def test_convolutions_are_exported_as_sparse_matrices():
    model = MomentCNN((1, 12, 12), (2, 3), 4, hidden=(5,), seed=1)
    first, second, dense = export(model, np.ones(144)).projections
    assert all(sparse.issparse(projection.weights) for projection in (first, second))
    assert first.weights.nnz <= 9 * first.weights.shape[0]
    # Pooling is part of the synapses: every neuron reads 2 channels, 3×3 windows of 2×2 neurons.
    assert second.weights.shape == (3 * 36, 2 * 144)
    assert second.weights.nnz <= 2 * 9 * 4 * second.weights.shape[0]
    assert dense.weights.shape == (5, 3 * 36)
    assert isinstance(dense.weights, np.ndarray)


def test_noise_of_the_readout_is_left_out_with_a_warning():
    model = randomised(MomentMLP((6, 8, 3), dtype=torch.float64, seed=1))
    model.readout = MomentLinear(8, 3, bias=True, bias_std=0.1, dtype=torch.float64)
    with pytest.warns(ReadoutNoiseWarning, match="the noise of the network's readout is left out"):
        export(model, np.ones(6))


@pytest.mark.parametrize("run", [predict, lambda *a, **k: simulate(*a, 10.0, codegen="runtime", **k)])
def test_predictions_and_simulations_refuse_what_is_no_circuit_and_no_choice(run):
    with pytest.raises(TypeError, match="`circuit` must be a Circuit, got NoneType"):
        run(None)
    with pytest.raises(TypeError, match="`covariance` must be True or False, got 'no'"):
        run(export(trained((6, 8, 3)), np.ones(6)), covariance="no")
