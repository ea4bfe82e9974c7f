import json

import numpy as np
import pytest
import torch

from mnnbio.moments.activation import moment_activation
from mnnbio.neurons.lif import LIFParameters
from mnnbio.nn.encoders import GaussianEncoder, PoissonEncoder
from mnnbio.nn.mlp import MomentMLP
from mnnbio.nn.spiking_layers import GaussianBackground, PoissonBackground

f64 = torch.float64


def seen_data(model, n=50, seed=0):
    """Return the model in evaluation mode, with running statistics and noise of its own."""
    g = torch.Generator().manual_seed(seed)
    for _ in range(20):
        model(torch.rand(n, model.encoder.in_features, generator=g, dtype=model.dtype))
    with torch.no_grad():
        for block in model.blocks:
            block.norm.raw_noise += torch.randn(block.norm.features, generator=g)
    return model.eval()


def reference_forward(model, x):
    """Return mean and covariance of the readout, one sample at a time, from the folded weights with NumPy."""
    rates = model.encoder(torch.as_tensor(x)).mean.numpy()
    means, covariances = [], []
    for rate in rates:
        mean, C = rate, np.diag(rate)
        for block in model.blocks:
            W, bias, noise = (part.detach().numpy() for part in block.norm.fold(block.linear.weight))
            mu, C = W @ mean + bias, W @ C @ W.T + np.diag(noise**2)
            activation = moment_activation(torch.tensor(mu), torch.tensor(np.sqrt(np.diag(C))), model.lif)
            mean, variance, gain = (part.numpy() for part in activation)
            C = gain[:, None] * C * gain
            np.fill_diagonal(C, variance)
        W = model.readout.weight.detach().numpy()
        means.append(W @ mean + model.readout.bias.detach().numpy())
        covariances.append(W @ C @ W.T)
    return np.array(means), np.array(covariances)


@pytest.mark.parametrize("sizes", [(5, 7, 3), (5, 7, 6, 3), (5, 4, 8, 4, 2)])
def test_forward_equals_layer_by_layer_algebra(sizes):
    model = seen_data(MomentMLP(sizes, seed=0, dtype=f64))
    x = np.random.default_rng(0).random((4, 5))
    out = model(torch.tensor(x))
    mean, covariance = reference_forward(model, x)
    np.testing.assert_allclose(out.mean.detach(), mean, rtol=1e-11)
    np.testing.assert_allclose(out.covariance.to_dense().detach(), covariance, rtol=1e-10, atol=1e-14)


def test_hidden_layers_are_reported_in_order():
    model = seen_data(MomentMLP((5, 7, 6, 3), seed=0, dtype=f64))
    layers = model.hidden(torch.rand(4, 5, dtype=f64))
    assert [layer.mean.shape for layer in layers] == [(4, 7), (4, 6)]
    assert all(bool((layer.variance > 0).all()) for layer in layers)


def test_batch_equals_loop():
    model = seen_data(MomentMLP((5, 7, 6, 3), seed=0, dtype=f64))
    x = torch.rand(4, 5, dtype=f64)
    batch, alone = model(x), [model(row) for row in x]
    torch.testing.assert_close(batch.mean, torch.stack([moments.mean for moments in alone]))
    torch.testing.assert_close(
        batch.covariance.to_dense(), torch.stack([moments.covariance.to_dense() for moments in alone])
    )


def test_neurons_start_in_their_sensitive_range():
    # Input currents spread around threshold: rates neither all silent nor all saturated (1/t_ref), for any neuron.
    for lif in (LIFParameters(), LIFParameters(tau_m=5.0, v_th=1.0, v_reset=-0.5, t_ref=1.0)):
        model = MomentMLP((20, 200, 2), lif, seed=0, dtype=f64)
        rate = model.hidden(torch.rand(100, 20, dtype=f64))[0].mean * lif.t_ref
        assert 0.05 < rate.median() < 0.5
        assert rate.std() > 0.05


def test_gradients_reach_every_parameter():
    model = MomentMLP((5, 7, 6, 3), seed=0, dtype=f64)
    out = model(torch.rand(8, 5, dtype=f64))
    (out.mean.square().sum() + out.covariance.to_dense().sum()).backward()
    for name, parameter in model.named_parameters():
        assert bool(torch.isfinite(parameter.grad).all()), name
        assert bool((parameter.grad != 0).any()), name


def test_silent_input_without_noise_has_finite_gradients():
    model = MomentMLP((3, 4, 2), noise=False, seed=0, dtype=f64)
    x = torch.zeros(4, 3, dtype=f64)
    x[:2] = 1.0
    model(x).mean.sum().backward()
    assert all(bool(torch.isfinite(parameter.grad).all()) for parameter in model.parameters())


@pytest.mark.parametrize(
    ("encoder", "lif"),
    [(None, None), (GaussianEncoder(5, std=0.1, scale=3.0), LIFParameters(v_th=15.0)), (PoissonEncoder(5, 2.0), None)],
)
def test_configuration_and_state_restore_a_network(encoder, lif):
    model = seen_data(MomentMLP((5, 7, 6, 3), lif, encoder, seed=0, dtype=f64))
    again = MomentMLP.from_config(json.loads(json.dumps(model.config()))).eval()
    again.load_state_dict(model.state_dict())
    x = torch.rand(4, 5, dtype=f64)
    assert torch.equal(again(x).mean, model(x).mean)
    assert again.lif == model.lif


OPTIONS = {
    "learned neurons": {"learn": ("v_th", "tau_m")},
    "fixed in-degree": {"in_degree": 3},
    "dropout": {"dropout": 0.3},
    "Poisson background": {"background": PoissonBackground(0.4, 0.5)},
    "Gaussian background": {"background": GaussianBackground(0.4, 0.2)},
    "uncorrelated": {"correlations": "variance"},
    "rates as variances": {"closure": "poisson"},
    "constant currents": {"correlations": "none", "fixed_std": 1.0, "noise": False},
}


@pytest.mark.parametrize("option", OPTIONS)
def test_options_of_hidden_layers(option):
    options = OPTIONS[option]
    model = MomentMLP((5, 7, 6, 3), seed=0, dtype=f64, **options)
    x = torch.rand(8, 5, dtype=f64, generator=torch.Generator().manual_seed(0))
    optimiser = torch.optim.AdamW(model.parameter_groups(0.01))
    before = {name: value.clone() for name, value in model.named_parameters()}
    model(x).mean.square().sum().backward()
    optimiser.step()
    for name, value in model.named_parameters():
        assert not torch.equal(value, before[name]), name
    again = MomentMLP.from_config(json.loads(json.dumps(model.config())))
    assert again.config() == model.config()
    again.load_state_dict(model.state_dict())
    assert torch.equal(again(x).mean, model(x).mean)  # in training mode: masks are part of the state
    assert torch.equal(again.eval()(x).variance, model.eval()(x).variance)


def test_uncorrelated_network_keeps_variances_only():
    model = seen_data(MomentMLP((5, 7, 6, 3), seed=0, dtype=f64, correlations="variance"))
    x = np.random.default_rng(0).random((1, 5))
    mean = variance = torch.tensor(x[0])
    for block in model.blocks:
        W, bias, noise = (part.detach() for part in block.norm.fold(block.linear.weight))
        mean, variance, _ = moment_activation(W @ mean + bias, (W**2 @ variance + noise**2).sqrt(), model.lif)
    W = model.readout.weight.detach()
    out = model(torch.tensor(x))
    torch.testing.assert_close(out.mean[0].detach(), W @ mean + model.readout.bias.detach())
    torch.testing.assert_close(out.covariance.to_dense()[0].detach(), (W * variance) @ W.T)


@pytest.mark.parametrize("options", [{}, {"learn": ("tau_m", "v_th")}])
def test_function_transforms(options):
    model = seen_data(MomentMLP((5, 7, 6, 3), seed=0, dtype=f64, **options))
    x = 0.1 + torch.rand(4, 5, dtype=f64, generator=torch.Generator().manual_seed(0))
    jacobian = torch.func.vmap(torch.func.jacrev(lambda z: model(z).mean))(x)
    for row, expected in zip(x, jacobian, strict=True):
        torch.testing.assert_close(torch.autograd.functional.jacobian(lambda z: model(z).mean, row), expected)
    matrices = torch.func.vmap(lambda z: model(z).covariance.to_dense())(x)
    torch.testing.assert_close(matrices, model(x).covariance.to_dense())


def test_seed_decides_the_weights():
    first, second, other = (MomentMLP((5, 7, 3), seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.readout.weight, second.readout.weight)
    assert not torch.equal(first.readout.weight, other.readout.weight)


def test_parameter_groups_hold_every_parameter_once():
    model = MomentMLP((5, 7, 6, 3))
    groups = model.parameter_groups(0.01, weight_decay=0.1)
    grouped = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(grouped) == sorted(id(parameter) for parameter in model.parameters())
    # AdamW shrinks a weight by lr · decay per step: the same share for both kinds of weights, none for others.
    assert groups[0]["lr"] * groups[0]["weight_decay"] == pytest.approx(0.001)
    assert groups[1]["lr"] * groups[1]["weight_decay"] == pytest.approx(0.001)
    assert groups[2]["weight_decay"] == 0


def test_errors():
    with pytest.raises(ValueError, match=r"at least three positive whole numbers .* got \(5, 3\)"):
        MomentMLP((5, 3))
    with pytest.raises(ValueError, match=r"at least three positive whole numbers .* got \(5, 2.5, 3\)"):
        MomentMLP((5, 2.5, 3))
    with pytest.raises(
        ValueError, match=r"`sizes\[0\]` must be the number of inputs that the encoder gives, 10, got 5"
    ):
        MomentMLP((5, 7, 3), encoder=PoissonEncoder(5, on_off=True))
    with pytest.raises(ValueError, match=r"`lif` describes 2 neurons, but the hidden layers have \[7, 2\]"):
        MomentMLP((5, 7, 2, 3), LIFParameters(tau_m=[10.0, 20.0]))
    with pytest.raises(ValueError, match=r"`dtype` must be torch\.float32 or torch\.float64, got torch\.float16"):
        MomentMLP((5, 7, 3), dtype=torch.float16)
    with pytest.raises(ValueError, match="Invalid value 'brunel' for `closure`"):
        MomentMLP((5, 7, 3), closure="brunel")
    with pytest.raises(ValueError, match="closure='poisson' is about variances"):
        MomentMLP((5, 7, 3), closure="poisson", correlations="none", noise=False)
    with pytest.raises(ValueError, match="correlations='none' cannot learn noise: give noise=False"):
        MomentMLP((5, 7, 3), correlations="none")
    with pytest.raises(ValueError, match=r"`p` must be in \[0, 1\), got 1.5"):
        MomentMLP((5, 7, 3), dropout=1.5)
    config = MomentMLP((5, 7, 3)).config()
    with pytest.raises(ValueError, match="Invalid value 'float16' for `dtype`"):
        MomentMLP.from_config(config | {"dtype": "float16"})
    with pytest.raises(ValueError, match=r"a network's configuration has the keys \['background', .* got \['sizes'\]"):
        MomentMLP.from_config({"sizes": [5, 7, 3]})
