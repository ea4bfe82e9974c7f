import json

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from mnnbio import LIFParameters, export, predict, simulate
from mnnbio.moments.activation import moment_activation
from mnnbio.nn.cnn import MomentCNN
from mnnbio.nn.encoders import GaussianEncoder, PoissonEncoder
from mnnbio.nn.mlp import MomentMLP
from mnnbio.training.loop import TrainingOptions, train

f64 = torch.float64

ARCHITECTURES = {
    "one convolution": {"channels": (3,), "pool": 1},
    "two convolutions": {"channels": (3, 4), "pool": (2, 1)},
    "three, no pooling": {"channels": (2, 3, 2), "pool": 1},
    "dense layers": {"channels": (2, 3), "hidden": (5, 4), "pooling": "sum"},
}


def seen_data(model, n=20, seed=0):
    """Return the model in evaluation mode, with running statistics of its own."""
    g = torch.Generator().manual_seed(seed)
    for _ in range(10):
        model(torch.rand(n, model.encoder.in_features, generator=g, dtype=model.dtype))
    return model.eval()


def network(architecture, **options):
    return seen_data(MomentCNN((1, 6, 6), outputs=3, seed=0, dtype=f64, **ARCHITECTURES[architecture], **options))


def matrix_of(module, shape):
    """The matrix of one of torch's modules, by its answers to unit images."""
    size = int(np.prod(shape))
    images = module(torch.eye(size, dtype=f64).reshape(size, *shape))
    return images.flatten(1).mT.detach(), tuple(images.shape[1:])


def reference(model, x, correlated=True):
    """Moments of every layer by matrices, with torch's own convolution, pooling and normalisation."""
    C, mean, shape, layers = torch.diag(x), x, tuple(model.image), []
    for block in model.blocks:
        norm = block.norm
        scale = norm.weight / (norm.running_var + norm.eps).sqrt()
        offset, noise = norm.bias - scale * norm.running_mean, norm.noise_std**2
        if len(shape) == 3 and block.linear.weight.ndim == 4:
            kernel = block.linear.weight
            convolution = torch.nn.Conv2d(*kernel.shape[1::-1], 3, padding=1, bias=False, dtype=f64)
            convolution.weight = torch.nn.Parameter(kernel.detach())
            W, shape = matrix_of(convolution, shape)
            scale, offset, noise = (v.repeat_interleave(shape[1] * shape[2]) for v in (scale, offset, noise))
        else:
            W, shape = block.linear.weight, (block.linear.out_features,)
        W = scale[:, None] * W
        mean, C = W @ mean + offset, W @ C @ W.T + torch.diag(noise)
        mean, variance, gain = moment_activation(mean, C.diagonal().sqrt(), model.lif)
        C = gain[:, None] * C * gain
        C = C - torch.diag(C.diagonal()) + torch.diag(variance) if correlated else torch.diag(variance)
        layers.append((mean, C))
        if block.pool is not None:
            divisor = 1 if model.pooling == "sum" else None
            W, shape = matrix_of(torch.nn.AvgPool2d(block.pool.window, divisor_override=divisor), shape)
            mean, C = W @ mean, W @ C @ W.T
    W = model.readout.weight
    return layers, (W @ mean + model.readout.bias, W @ C @ W.T)


@pytest.mark.parametrize("correlations", ["full", "variance"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_forward_equals_algebra_of_matrices(architecture, correlations):
    model = network(architecture, correlations=correlations)
    x = torch.rand(3, 36, dtype=f64)
    with torch.no_grad():
        out, layers = model(x), model.hidden(x)
        out_covariance = out.covariance.to_dense()
        dense = [layer.covariance.to_dense() for layer in layers]
        for k, sample in enumerate(x):
            expected_layers, (mean, covariance) = reference(model, sample, correlations == "full")
            tolerance = {"rtol": 1e-10, "atol": 1e-13}
            torch.testing.assert_close(out.mean[k], mean, **tolerance)
            torch.testing.assert_close(out_covariance[k], covariance, rtol=1e-10, atol=1e-11)
            for layer, matrix, (rate, C) in zip(layers, dense, expected_layers, strict=True):
                torch.testing.assert_close(layer.mean[k], rate, **tolerance)
                torch.testing.assert_close(layer.variance[k], C.diagonal(), **tolerance)
                torch.testing.assert_close(matrix[k], C, **tolerance)


def test_gradients_are_exact():
    model = MomentCNN((1, 4, 4), (2, 2), 2, hidden=(3,), pool=(2, 1), seed=0, dtype=f64)
    x = torch.rand(3, 16, dtype=f64, generator=torch.Generator().manual_seed(1))
    names = ["blocks.0.linear.weight", "blocks.1.linear.weight", "blocks.0.norm.raw_noise", "blocks.1.norm.weight"]

    def loss(*values):
        parameters = dict(zip(names, values, strict=True))
        out = torch.func.functional_call(model.eval(), parameters, (x,))
        return out.mean, out.covariance.to_dense()

    values = [model.get_parameter(name).detach().clone().requires_grad_() for name in names]
    assert torch.autograd.gradcheck(loss, values, fast_mode=True)


def test_gradients_reach_every_parameter():
    model = MomentCNN((1, 6, 6), (2, 3), 2, hidden=(4,), seed=0, dtype=f64)
    out = model(torch.rand(8, 36, dtype=f64))
    (out.mean.square().sum() + out.covariance.to_dense().sum()).backward()
    for name, parameter in model.named_parameters():
        assert bool(torch.isfinite(parameter.grad).all()), name
        assert bool((parameter.grad != 0).any()), name


def test_batch_equals_loop():
    model = network("dense layers")
    x = torch.rand(4, 36, dtype=f64)
    batch, alone = model(x), [model(row) for row in x]
    torch.testing.assert_close(batch.mean, torch.stack([moments.mean for moments in alone]))
    torch.testing.assert_close(
        batch.covariance.to_dense(), torch.stack([moments.covariance.to_dense() for moments in alone])
    )


def test_a_loss_on_the_mean_of_one_convolution_forms_no_covariance():
    """The covariance of its 1,048,576 neurons would take 8.8 TB."""
    model = MomentCNN((1, 512, 512), (4,), 2, pool=8, seed=0)
    model(torch.rand(1, 512 * 512)).mean.sum().backward()
    assert model.sizes == (262_144, 1_048_576, 2)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"encoder": GaussianEncoder(36, std=0.1, scale=3.0), "lif": LIFParameters(v_th=15.0), "pooling": "sum"},
        {"encoder": PoissonEncoder(18, on_off=True), "image": (2, 3, 6), "pool": (1, 2), "kernel": (3, 1)},
        {"correlations": "variance", "dropout": 0.2, "learn": ("tau_m",), "momentum": 0.2, "eps": 1e-4},
    ],
)
def test_configuration_and_state_restore_a_network(options):
    arguments = {"image": (1, 6, 6), "channels": (2, 3), "outputs": 3, "hidden": (4,)} | options
    model = seen_data(MomentCNN(**arguments, seed=0, dtype=f64))
    again = MomentCNN.from_config(json.loads(json.dumps(model.config()))).eval()
    again.load_state_dict(model.state_dict())
    x = torch.rand(4, model.encoder.in_features, dtype=f64)
    assert torch.equal(again(x).mean, model(x).mean)
    assert again.config() == model.config()


def test_parameter_groups_hold_every_parameter_once():
    model = MomentCNN((1, 6, 6), (2,), 3, hidden=(4,))
    grouped = [id(parameter) for group in model.parameter_groups(0.01) for parameter in group["params"]]
    assert sorted(grouped) == sorted(id(parameter) for parameter in model.parameters())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image": (6, 6)}, r"`image` must be \(channels, height, width\), got \(6, 6\)"),
        ({"image": (1, 6, 0)}, r"`image` must be whole numbers ≥ 1, got \(1, 6, 0\)"),
        ({"channels": ()}, "`channels` must name at least one convolution, got none"),
        ({"channels": (2, -1)}, r"`channels` must be whole numbers ≥ 1, got \(2, -1\)"),
        ({"outputs": 0}, r"`outputs` must be whole numbers ≥ 1, got \(0,\)"),
        ({"hidden": (2.5,)}, r"`hidden` must be whole numbers ≥ 1, got \(2.5,\)"),
        ({"kernel": (3, 3, 3)}, r"`kernel` must be a number or one for each of the 2 convolutions, got \(3, 3, 3\)"),
        ({"pool": 4}, "a window of 4 pixels does not fit into an image side of 1 pixels"),
        ({"pooling": "max"}, r"Invalid value 'max' for `pooling`. Must be one of \['average', 'sum'\]"),
        ({"encoder": PoissonEncoder(35)}, r"as many values as the encoder gives, 35, got \(1, 6, 6\) with 36"),
        ({"lif": LIFParameters(tau_m=[10.0, 20.0])}, "`lif` describes 2 neurons, the layer has 72"),
        ({"dtype": torch.float16}, r"`dtype` must be torch\.float32 or torch\.float64, got torch\.float16"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        MomentCNN(**{"image": (1, 6, 6), "channels": (2, 2), "outputs": 3, **options})


def test_configurations_of_other_networks_are_refused():
    config = MomentCNN((1, 6, 6), (2,), 3).config()
    with pytest.raises(ValueError, match="the configuration is of a MomentCNN, not of a MomentMLP"):
        MomentMLP.from_config(config)
    with pytest.raises(ValueError, match=r"has the keys \['background', 'channels', .* got \['image'\]"):
        MomentCNN.from_config({"image": [1, 6, 6]})


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::mnnbio.theory.validity.FiniteWeightWarning")
@pytest.mark.filterwarnings("ignore::mnnbio.theory.validity.CorrelationWarning")
def test_digits_are_learned_and_run_as_spikes():
    x, y = load_digits(return_X_y=True)
    x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.25, random_state=0, stratify=y)
    model = MomentCNN((1, 8, 8), (8,), 10, hidden=(50,), encoder=PoissonEncoder(64, scale=16.0), seed=0)
    options = TrainingOptions(loss="cross_entropy", epochs=10, seed=0)
    train(model, torch.tensor(x_train, dtype=torch.float32), torch.tensor(y_train), options)
    model = model.double()
    with torch.no_grad():
        decided = model(torch.tensor(x_test)).mean.argmax(-1)
    assert (decided.numpy() == y_test).mean() >= 0.965
    circuit = export(model, x_test[:2])
    simulation = simulate(circuit, duration=1000, trials=2, warmup=200, dt=0.5, seed=1, codegen="runtime")
    first = circuit.slices()["hidden_1"]
    found = simulation["simulation"]["rate"][:, first].values.ravel()
    prediction = predict(circuit, dt=0.5)
    expected = prediction["rate"][:, first].values.ravel()
    # The neurons share their inputs: the error of their mean rate in 2 trials of 1 s follows from the covariance.
    error = np.sqrt(prediction["covariance"][:, first, first].values.sum() / 2) / found.size
    assert abs(found.mean() - expected.mean()) < 4 * error
    assert np.corrcoef(found, expected)[0, 1] > 0.99
