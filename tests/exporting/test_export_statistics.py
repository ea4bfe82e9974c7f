"""Networks of correlated inputs and readouts of covariances as circuits: what is predicted, simulated and refused."""

import numpy as np
import pytest
import torch
from torch import nn

from mnnbio import LIFParameters, export, predict, simulate
from mnnbio.exporting import read_outputs
from mnnbio.moments import Dense
from mnnbio.nn import (
    CommonNoiseEncoder,
    CorrelatedEncoder,
    CovarianceReadout,
    FeatureMapEncoder,
    GratingEncoder,
    MomentActivation,
    MomentAvgPool2d,
    MomentBatchNorm1d,
    MomentBlock,
    MomentLinear,
    MomentMLP,
    Moments,
    PoissonEncoder,
    join,
    tracked,
)
from mnnbio.training import TrainingOptions, motion_directions, train

D = torch.float64
READS = ["covariance", "mean_and_covariance", "second_moments"]

pytestmark = [
    pytest.mark.filterwarnings("ignore::mnnbio.theory.validity.FiniteWeightWarning"),
    pytest.mark.filterwarnings("ignore::mnnbio.theory.validity.CorrelationWarning"),
]

ENCODERS = {
    "grating": GratingEncoder(30, dtype=D),
    "feature maps": FeatureMapEncoder((6, 2, 4)),
    "common noise": CommonNoiseEncoder(5, noise_std=0.3),
    "noisy trains": PoissonEncoder(5, noise_std=0.3, dtype=D),
}


def block(n_in, n_out):
    return MomentBlock(
        MomentLinear(n_in, n_out, dtype=D), MomentBatchNorm1d(n_out, dtype=D), MomentActivation(LIFParameters())
    )


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("stimuli", [None, 3], ids=["one", "three"])
def test_circuits_of_correlated_inputs_predict_what_networks_compute(name, stimuli):
    encoder = ENCODERS[name]
    model = MomentMLP((encoder.out_features, 9, 7, 2), encoder=encoder, seed=0, dtype=D).eval()
    shape = (encoder.in_features,) if stimuli is None else (stimuli, encoder.in_features)
    features = torch.rand(shape, dtype=D, generator=torch.Generator().manual_seed(2))
    prediction, own = predict(export(model, features)), model(features)
    np.testing.assert_allclose(prediction["readout"], own.mean.detach(), rtol=1e-10)
    matrix = own.covariance.to_dense().detach()
    np.testing.assert_allclose(1e3 * prediction["readout_covariance"], matrix, rtol=1e-9, atol=1e-14)


class Branches(nn.Module):
    """Two layers read one encoder of correlated currents side by side, and their trains are joined."""

    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder
        self.weights, self.layer = MomentLinear(encoder.out_features, 6, dtype=D), block(6, 5)
        self.readout = MomentLinear(5, 2, bias=True, dtype=D)

    def forward(self, features):
        return self.readout(self.layer(self.weights(self.encoder(features))))


def test_correlated_inputs_of_a_module_of_ones_own():
    module, features = Branches(ENCODERS["grating"]).eval(), torch.rand(2, 2, dtype=D)
    expected = module(features).mean.detach()
    np.testing.assert_allclose(predict(export(module, features))["readout"], expected, rtol=1e-10)


def test_feature_maps_of_a_convolutional_network_of_torch():
    """As its pooling stands between a backbone and a classifier."""
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Conv2d(1, 6, 3, dtype=D), nn.ReLU(), nn.Flatten())
    classifier = MomentMLP((6, 7, 3), encoder=FeatureMapEncoder((6, 4, 3)), seed=0, dtype=D)
    module, images = nn.Sequential(backbone, classifier).eval(), torch.rand(2, 1, 6, 5, dtype=D)
    prediction = predict(export(module, images))
    np.testing.assert_allclose(prediction["readout"], module(images).mean.detach(), rtol=1e-10)


class Given(CorrelatedEncoder):
    """An encoder of a user's own: features are the moments themselves."""

    in_features, out_features = 5, 2

    def forward(self, features):
        row, column = torch.triu_indices(2, 2)
        matrix = torch.zeros(*features.shape[:-1], 2, 2, dtype=features.dtype)
        matrix[..., row, column] = matrix[..., column, row] = features[..., 2:]
        return Moments(features[..., :2], Dense(matrix))

    def config(self):
        return {"kind": "given"}


def test_moments_that_are_given():
    model = MomentMLP((2, 5, 3), encoder=Given(), seed=0, dtype=D).eval()
    features = torch.tensor([[1.0, 0.5, 0.4, -0.2, 0.3], [1.0, 0.5, 0.4, 0.2, 0.3]], dtype=D)
    own = model(features).mean.detach()
    assert not torch.allclose(own[0], own[1])
    np.testing.assert_allclose(predict(export(model, features))["readout"], own, rtol=1e-10)
    with pytest.raises(ValueError, match=r"positive semidefinite, its smallest eigenvalue is -0\.6"):
        export(model, torch.tensor([1.0, 0.5, 0.4, 1.0, 0.4], dtype=D))
    with pytest.raises(ValueError, match="Invalid encoder kind 'given'"):
        MomentMLP.from_config(model.config())


def test_noise_on_trains_does_not_reach_two_populations():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder, self.left, self.right = PoissonEncoder(3, noise_std=0.2, dtype=D), block(3, 4), block(3, 4)

        def forward(self, features):
            trains = tracked(self.encoder(features))
            return join(self.left(trains), self.right(trains))

    with pytest.raises(ValueError, match="the noise of one encoder reaches 'left' and 'right'"):
        export(Shared().eval(), torch.rand(3))


@pytest.mark.parametrize("reads", READS)
def test_what_is_predicted_is_read_as_the_network_reads_it(reads):
    encoder = GratingEncoder(32, dtype=D)
    model = MomentMLP((encoder.out_features, 9, 7, 2), encoder=encoder, reads=reads, seed=0, dtype=D).eval()
    features = torch.rand(3, 2, dtype=D)
    circuit = export(model, features)
    assert not circuit.readouts
    found = read_outputs(model, predict(circuit))
    torch.testing.assert_close(found, model(features).mean.detach(), rtol=1e-10, atol=1e-14)
    torch.testing.assert_close(read_outputs(model.readout, predict(circuit), "hidden_2"), found)


def test_a_readout_in_a_module_of_ones_own():
    class Reading(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder, self.layer = PoissonEncoder(3, dtype=D), block(3, 4)
            self.readout = CovarianceReadout(4, 2, dtype=D)

        def forward(self, features):
            return self.readout(self.layer(self.encoder(features))).mean

    module, features = Reading().eval(), torch.rand(2, 3, dtype=D)
    prediction = predict(export(module, features))
    found = read_outputs(module.readout, prediction, "layer")
    torch.testing.assert_close(found, module(features).detach(), rtol=1e-10, atol=1e-14)


WINDOW = 50.0


@pytest.fixture(scope="module")
def simulated():
    encoder = GratingEncoder(20, dtype=D)
    model = MomentMLP((encoder.out_features, 6, 5, 2), encoder=encoder, seed=3, reads="covariance", dtype=D).eval()
    circuit = export(model, torch.tensor([[0.3, 0.1], [2.0, 0.16]], dtype=D))
    result = simulate(circuit, 1000, trials=3, warmup=100, dt=0.1, window=WINDOW, covariance=True, seed=4)
    return model, result


@pytest.mark.slow
def test_what_is_simulated_is_read_from_counts_of_spikes(simulated):
    """Against counts in windows, of the spikes themselves, by NumPy."""
    model, result = simulated
    found = read_outputs(model, result).numpy()
    spikes = result["spikes"]
    names = np.asarray(spikes["population"])
    assert (names == "hidden_2").sum() == 5
    for k in range(2):
        windows = []
        for trial in range(3):
            trains = [trains_of(spikes, k, trial, neuron) for neuron in np.flatnonzero(names == "hidden_2")]
            edges = np.arange(0, 1000 + WINDOW / 2, WINDOW) * 1e-3
            windows.append(np.array([np.histogram(times, edges)[0] for times in trains]).T)
        matrix = np.cov(np.concatenate(windows).T) / WINDOW
        statistics = matrix[np.triu_indices(5)]
        expected = model.readout.weight.detach().numpy() @ statistics + model.readout.bias.detach().numpy()
        np.testing.assert_allclose(found[k], expected, rtol=1e-9)


def trains_of(spikes, stimulus, trial, neuron):
    """The spike times (s) of one neuron in one trial."""
    sizes = np.asarray(spikes["row_size"])
    ends = np.cumsum(sizes.ravel()).reshape(sizes.shape)
    stop = ends[stimulus, trial, neuron]
    times = np.asarray(spikes["spike_time"])[stop - sizes[stimulus, trial, neuron] : stop]
    return times[times >= 0]


@pytest.mark.slow
def test_quadrants_of_motion_are_told_apart_in_spikes():
    """Rates are the same for all directions; of four quadrants three in four are asked for, chance is one in four."""
    encoder, gratings = GratingEncoder(256), motion_directions(1500)
    model = MomentMLP((encoder.out_features, 16, 4), encoder=encoder, reads="covariance", seed=0)
    options = TrainingOptions(label_smoothing=0.1, epochs=10)
    train(model, gratings.features, quadrants(gratings.features), options)
    angle = torch.arange(8, dtype=D) * torch.pi / 4 - 7 * torch.pi / 8  # within the quadrants, two in each
    features = torch.stack([angle, torch.full_like(angle, 0.16)], dim=-1)
    circuit = export(model.double(), features)
    result = simulate(circuit, 1000, trials=4, warmup=100, dt=0.1, window=WINDOW, covariance=True, seed=5)
    right = read_outputs(model, result).argmax(-1) == quadrants(features)
    assert right.double().mean() >= 0.75


def quadrants(features):
    return ((features[:, 0] + torch.pi) / (torch.pi / 2)).long().clamp(max=3)


@pytest.mark.slow
def test_errors_of_results(simulated):
    model, result = simulated
    linear = MomentMLP((20, 6, 5, 2), seed=0)
    with pytest.raises(ValueError, match=r"reads the means of its neurons, whose outputs are `readout` of the result"):
        read_outputs(linear, result)
    with pytest.raises(ValueError, match="give `population`, the name of the neurons that the readout reads"):
        read_outputs(model.readout, result)
    with pytest.raises(ValueError, match="the readout reads 5 neurons, `result` has 6 of 'hidden_1'"):
        read_outputs(model.readout, result, "hidden_1")
    with pytest.raises(ValueError, match="the readout reads 5 neurons, `result` has 0 of 'layer'"):
        read_outputs(model, result, "layer")


def test_results_without_covariances():
    model = MomentMLP((3, 4, 2), reads="covariance", seed=0, dtype=D).eval()
    prediction = predict(export(model, torch.rand(3, dtype=D)), covariance=False)
    with pytest.raises(ValueError, match="`result` holds no covariances: give covariance=True"):
        read_outputs(model, prediction)


def test_readouts_of_what_is_no_train_are_refused():
    pooled = nn.Sequential(
        PoissonEncoder(3, dtype=D), block(3, 16), MomentAvgPool2d((1, 4, 4), 2), CovarianceReadout(4, 2, dtype=D)
    )
    with pytest.raises(ValueError, match="must read the trains of 4 neurons as they are to be exported: let it follow"):
        export(pooled.eval(), torch.rand(3))
    after = nn.Sequential(
        PoissonEncoder(3, dtype=D), block(3, 4), CovarianceReadout(4, 2, dtype=D), MomentLinear(2, 2, dtype=D)
    )
    with pytest.raises(TypeError, match="takes moments, got Mean"):
        export(after.eval(), torch.rand(3))
