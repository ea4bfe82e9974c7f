"""Values of the project moment-neural-network, stored with their source in tests/data/moment_neural_network.json."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from mnnbio.moments.covariance import Dense
from mnnbio.nn import losses
from mnnbio.nn.convolution import MomentConv2d
from mnnbio.nn.correlated_inputs import CommonNoiseEncoder, FeatureMapEncoder, GratingEncoder
from mnnbio.nn.covariance_readout import CovarianceReadout
from mnnbio.nn.encoders import PoissonEncoder
from mnnbio.nn.linear import inverse_softplus
from mnnbio.nn.norm import MomentBatchNorm1d
from mnnbio.nn.state import Moments

STORED = json.loads((Path(__file__).parents[1] / "data" / "moment_neural_network.json").read_text())
f64 = torch.float64


def tensor(values, dtype=f64):
    return torch.tensor(values, dtype=dtype)


def close(found, expected, tolerance=1e-11):
    torch.testing.assert_close(found.detach(), tensor(expected), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("reads", STORED["decoders"]["answers"])
def test_readouts_of_covariances(reads):
    stored = STORED["decoders"]
    readout = CovarianceReadout(4, 2, reads, dtype=f64)
    with torch.no_grad():
        readout.weight.copy_(tensor(stored[f"weight_{readout.n_statistics}"]))
        readout.bias.copy_(tensor(stored["bias"]))
    found = readout(Moments(tensor(stored["mean"]), Dense(tensor(stored["covariance"]))))
    close(found.mean, stored["answers"][reads]["output"])
    assert not found.variance.any()


@pytest.mark.parametrize("poisson", [True, False])
@pytest.mark.parametrize("shape", [(3, 2, 4), (2, 1, 2)])
def test_pooling_of_feature_maps(poisson, shape):
    stored = STORED["pooling"]
    maps = tensor(stored["maps"])[:, : shape[0], : shape[1], : shape[2]]
    found = FeatureMapEncoder(shape, poisson)(maps.flatten(-3))
    if shape == (3, 2, 4):
        answer = stored["answers"]["poisson" if poisson else "no_poisson"]
        close(found.mean, answer["mean"])
        close(found.covariance.to_dense(), answer["covariance"])
    else:  # fewer places, for which covariances are kept as factors
        for moments, own in zip(found.covariance.to_dense(), maps.flatten(-2), strict=True):
            expected = np.cov(own) + poisson * np.diag(own.mean(-1))
            np.testing.assert_allclose(moments, expected, rtol=1e-12)


def stored_losses():
    stored = STORED["losses"]
    return tensor(stored["mean"]), tensor(stored["covariance"]), stored["answers"]


def classes():
    return tensor(STORED["losses"]["classes"], torch.int64)


def values():
    return tensor(STORED["losses"]["values"])


@pytest.mark.parametrize(
    ("name", "added", "shares"),
    [("likelihood", 0.0, (1.0, 1.0)), ("likelihood_eps", 1.0, (1.0, 1.0)), ("likelihood_gamma", 0.0, (1.0, 0.5))],
)
def test_likelihood_is_an_affine_function_of_ours(name, added, shares):
    mean, matrix, answers = stored_losses()
    moments = Moments(mean, Dense(matrix).add_diagonal(torch.full_like(mean, added)))
    found = 2 * losses.gaussian_likelihood(moments, values(), window=1.0) - 3 * math.log(2 * math.pi)
    found = found + (shares[1] - 1) * torch.logdet(moments.covariance.to_dense()).mean()
    assert found.item() == pytest.approx(answers[name], rel=1e-10)


def test_likelihood_of_smoothed_classes():
    mean, matrix, answers = stored_losses()
    target = losses.as_values(classes(), mean, label_smoothing=0.1)
    found = 2 * losses.gaussian_likelihood(Moments(mean, Dense(matrix)), target, window=1.0) - 3 * math.log(2 * math.pi)
    assert found.item() == pytest.approx(answers["likelihood_smoothed_classes"], rel=1e-10)


@pytest.fixture
def stored_noise(monkeypatch):
    """The normal numbers that the stored losses were computed with, (samples, batch, outputs)."""
    points = tensor(STORED["losses"]["points"]).transpose(0, 1)

    def randn(samples, *shape, dtype, device, generator):
        assert (samples, *shape) == points.shape
        return points

    monkeypatch.setattr(losses.torch, "randn", randn)


def sampled_as_there(eps):
    """Moments whose samples have the covariance that it adds to its own for the sake of Cholesky factors.

    It adds eps to the variances, ours 10⁻⁵ of their mean. Apart from that the losses are the same.
    """
    mean, matrix, answers = stored_losses()
    own = (matrix.diagonal(dim1=-2, dim2=-1).mean(-1) + eps) / (1 + losses.OWN_NOISE)
    added = own - matrix.diagonal(dim1=-2, dim2=-1).mean(-1)
    return Moments(mean, Dense(matrix + added[:, None, None] * torch.eye(3, dtype=f64))), answers


@pytest.mark.parametrize(
    ("name", "window", "beta"), [("sampled_cross_entropy", 1.0, 1.0), ("sampled_cross_entropy_t4_beta2", 4.0, 2.0)]
)
def test_sampled_cross_entropy(stored_noise, name, window, beta):
    moments, answers = sampled_as_there(1e-6)
    scaled = Moments(beta * moments.mean, Dense(beta**2 * moments.covariance.to_dense()))
    found = losses.sampled_cross_entropy(scaled, classes(), window, samples=5, average="probabilities")
    assert found.item() == pytest.approx(answers[name], rel=1e-10)


@pytest.mark.parametrize(("name", "window"), [("earth_mover", 1.0), ("earth_mover_t4", 4.0)])
def test_angles(stored_noise, name, window):
    moments, answers = sampled_as_there(1e-4)
    found = losses.sampled_angle(moments, values(), window, samples=5)
    assert found.item() == pytest.approx(answers[name], rel=1e-10)


def test_angles_to_classes(stored_noise):
    moments, answers = sampled_as_there(1e-4)
    found = losses.sampled_angle(moments, classes(), 1.0, samples=5)
    assert found.item() == pytest.approx(answers["earth_mover_classes"], rel=1e-10)


def test_without_that_allowance_sampled_losses_differ_in_the_fifth_digit(stored_noise):
    mean, matrix, answers = stored_losses()
    found = losses.sampled_angle(Moments(mean, Dense(matrix)), values(), 1.0, samples=5)
    assert found.item() == pytest.approx(answers["earth_mover"], rel=1e-4)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("fidelity", {}),
        ("fidelity_t4", {"window": 0.25, "weight": 0.5}),
        ("fidelity_runner_up", {"shares": [1.0, 0.0]}),
        ("fidelity_weights", {"shares": [0.5, 0.5]}),
    ],
)
def test_decision_entropy(name, options):
    mean, matrix, answers = stored_losses()
    found = losses.decision_entropy(Moments(mean, Dense(matrix)), classes(), **{"window": 1.0, **options})
    # It takes 10⁻⁶ off every probability, which moves an entropy by 10⁻⁶ |ln(p/(1 − p))|.
    assert found.item() == pytest.approx(answers[name], abs=1e-5)


def test_decision_entropy_of_two():
    mean, matrix, answers = stored_losses()
    moments = Moments(mean[:, :2], Dense(matrix[:, :2, :2]))
    found = losses.decision_entropy(moments, tensor([0, 1, 1, 0], torch.int64), 1.0)
    assert found.item() == pytest.approx(answers["fidelity_two"], abs=1e-5)


def norm_of(stored, total_variance):
    norm = MomentBatchNorm1d(3, total_variance=total_variance, dtype=f64)
    noise = torch.nn.functional.softplus(tensor(stored["bias_variance"])).sqrt()
    with torch.no_grad():
        norm.weight.copy_(tensor(stored["weight"]))
        norm.bias.copy_(tensor(stored["bias"]))
        norm.raw_noise.copy_(inverse_softplus(noise))
        norm.running_mean.copy_(tensor(stored["running_mean"]))
        norm.running_var.copy_(tensor(stored["running_variance"]))
    return norm, Moments(tensor(stored["mean"]), Dense(tensor(stored["covariance"])))


def test_normalisation_in_training():
    stored = STORED["batch_norm"]
    norm, moments = norm_of(stored, total_variance=True)
    found = norm.train()(moments)
    close(found.mean, stored["answers"]["mean"])
    close(found.covariance.to_dense(), stored["answers"]["covariance"])
    close(norm.running_mean, stored["answers"]["running_mean"])
    close(norm.running_var, stored["answers"]["running_variance"])


def test_normalisation_of_means_in_evaluation():
    norm, moments = norm_of(STORED["batch_norm"], total_variance=False)
    found, answers = norm.eval()(moments), STORED["batch_norm_of_means"]["answers"]
    close(found.mean, answers["mean"])
    # There covariances are divided by √v + eps, means by √(v + eps).
    close(found.covariance.to_dense(), answers["covariance"], 1e-4)


def test_convolution():
    """Theirs has one kernel for all channels of the input, and leaves out covariances between channels."""
    stored = STORED["convolution"]
    kernels, mean, blocks = (tensor(stored[name]) for name in ("kernels", "mean", "covariance"))
    layer = MomentConv2d((3, 3, 4), 2, 2, padding=0, dtype=f64)
    with torch.no_grad():
        layer.weight.copy_(kernels[:, None].expand(-1, 3, -1, -1))
    matrix = torch.block_diag(*blocks[0].reshape(3, 12, 12))
    found = layer(Moments(mean.flatten(1), Dense(matrix[None])))
    close(found.mean.reshape(1, 2, 2, 3), stored["answers"]["mean"])
    own = found.covariance.to_dense().reshape(1, 2, 6, 2, 6).diagonal(dim1=1, dim2=3).movedim(-1, 1)
    close(own.reshape(1, 2, 2, 3, 2, 3), stored["answers"]["covariance"])


@pytest.mark.parametrize("name", STORED["inputs"]["answers"])
def test_inputs(name):
    stored, noise = STORED["inputs"], 0.0 if name.endswith("None") else math.sqrt(0.3)
    if name.startswith("cov_embed"):
        encoder = CommonNoiseEncoder(4, 0.4, noise)
    else:
        encoder = PoissonEncoder(4, 0.4, noise_std=noise, dtype=f64)
    found = encoder(tensor(stored["data"]))
    close(found.mean, stored["answers"][name]["mean"])
    close(found.covariance.to_dense(), stored["answers"][name]["covariance"])


GRATINGS = {
    "hexagonal": {"inputs": 24},
    "random": {"inputs": 8, "arrangement": "random", "luminance_share": 0.25},
    "scaled": {
        "inputs": 8, "arrangement": "random", "frequency": 0.5, "rate": 2.0, "gain": 3.0, "wave_number": 2.0,
        "luminance": 0.7, "window": 4.0,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", GRATINGS)
def test_gratings(name):
    stored, answer = STORED["motion"], STORED["motion"]["answers"][name]
    encoder = GratingEncoder(**GRATINGS[name], dtype=f64)
    close(encoder.x, answer["x"])
    close(encoder.y, answer["y"])
    features = torch.stack([tensor(stored["directions"]), tensor(stored["contrasts"])], dim=-1)
    found = encoder(features)
    close(found.mean, answer["mean"])
    close(found.covariance.to_dense(), answer["covariance"])
    rates = encoder.rates(features, tensor(answer["times"]))
    close(rates.transpose(0, 1), answer["rates"])
    assert GratingEncoder(256).out_features == stored["inputs_of_256"]
