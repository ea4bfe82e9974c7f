"""Wrong inputs of networks, losses, estimators, training and export: documented errors of few lines, nothing written."""

import numpy as np
import pytest
import torch

from mnnbio import export
from mnnbio.moments import Dense
from mnnbio.neurons import LIFParameters
from mnnbio.nn import (
    GaussianBackground,
    GaussianEncoder,
    MeanDecoder,
    MomentActivation,
    MomentCNN,
    MomentEnsemble,
    MomentMLP,
    Moments,
    PoissonBackground,
    PoissonEncoder,
    WindowDecoder,
    ann_twin,
    cross_entropy,
    earth_movers,
    fidelity_entropy,
    gaussian_likelihood,
    mean_squared_error,
    sampled_cross_entropy,
)
from mnnbio.training import MomentClassifier, MomentRegressor, TrainingOptions, load_model, save_model, train

SIZES = (4, 5, 2)
X = np.random.default_rng(0).uniform(size=(20, 3))
Y = np.arange(20) % 2


def refused(call, kind, message):
    """Check that a call raises an error of at most four lines."""
    with pytest.raises(kind, match=message) as caught:
        call()
    assert len(str(caught.value).splitlines()) <= 4


@pytest.mark.parametrize(
    ("arguments", "options", "kind", "message"),
    [
        ((8,), {}, ValueError, r"`sizes` must be at least three positive whole numbers .* got \(8,\)"),
        ((4, 2), {}, ValueError, r"at least three .* got \(4, 2\)"),
        ((4, 0, 2), {}, ValueError, r"at least three positive whole numbers .* got \(4, 0, 2\)"),
        ((4, 5.5, 2), {}, ValueError, r"got \(4, 5.5, 2\)"),
        ((4, True, 2), {}, ValueError, r"got \(4, True, 2\)"),
        ("abc", {}, TypeError, "`sizes` must be a sequence of whole numbers, got 'abc'"),
        (None, {}, TypeError, "`sizes` must be a sequence of whole numbers, got None"),
        (SIZES, {"lif": {"tau_m": 5}}, TypeError, r"`lif` must be LIFParameters, got \{'tau_m': 5\}"),
        (
            SIZES,
            {"encoder": "poisson"},
            TypeError,
            "`encoder` must be PoissonEncoder or GaussianEncoder or CorrelatedEncoder, got 'poisson'",
        ),
        (SIZES, {"background": 3}, TypeError, "`background` must be PoissonBackground or GaussianBackground, got 3"),
        (SIZES, {"noise": "no"}, TypeError, "`noise` must be True or False, got 'no'"),
        (SIZES, {"readout_noise": 1}, TypeError, "`readout_noise` must be True or False, got 1"),
        (SIZES, {"learn": "v"}, ValueError, "Invalid value 'v' for `learn`"),
        (SIZES, {"learn": 3}, TypeError, "`learn` must be names of parameters, got 3"),
        (SIZES, {"correlations": "no"}, ValueError, "Invalid value 'no' for `correlations`. Must be one of"),
        (SIZES, {"closure": None}, ValueError, "Invalid value None for `closure`"),
        (SIZES, {"in_degree": 1.5}, ValueError, "`in_degree` must be an integer ≥ 1, got 1.5"),
        (SIZES, {"dropout": "a"}, TypeError, "`dropout` must be a number, got 'a'"),
        (SIZES, {"dropout": 1.0}, ValueError, r"`p` must be in \[0, 1\), got 1.0"),
        (SIZES, {"fixed_std": None}, TypeError, "`fixed_std` must be a number, got None"),
        (SIZES, {"eps": "small"}, TypeError, "`eps` must be a number, got 'small'"),
        (SIZES, {"momentum": float("nan")}, ValueError, r"`momentum` must be in \(0, 1\], got nan"),
        (SIZES, {"seed": 1.5}, TypeError, "`seed` must be a whole number or a torch.Generator, got 1.5"),
        (SIZES, {"seed": True}, TypeError, "`seed` must be a whole number or a torch.Generator, got True"),
        (SIZES, {"dtype": torch.float16}, ValueError, "`dtype` must be torch.float32 or torch.float64"),
    ],
)
def test_networks(arguments, options, kind, message):
    refused(lambda: MomentMLP(arguments, **options), kind, message)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: MomentCNN((1, 4), (2,), 2), ValueError, r"`image` must be \(channels, height, width\), got \(1, 4\)"),
        (lambda: MomentCNN(16, (2,), 2), ValueError, r"`image` must be \(channels, height, width\), got \(16,\)"),
        (lambda: MomentCNN((1, 4, 4), (), 2), ValueError, "`channels` must name at least one convolution"),
        (lambda: MomentCNN((1, 4, 4), "2", 2), TypeError, "`channels` must be a sequence of whole numbers, got '2'"),
        (lambda: MomentCNN((1, 4, 4), (2,), 2.5), ValueError, r"`outputs` must be whole numbers ≥ 1, got \(2.5,\)"),
        (lambda: MomentCNN((1, 4, 4), (2,), 2, pooling=None), ValueError, "Invalid value None for `pooling`"),
        (lambda: MomentActivation(5), TypeError, "`lif` must be LIFParameters, got 5"),
        (lambda: PoissonEncoder(2, "fast"), TypeError, "`max_rate` must be a number, got 'fast'"),
        (lambda: PoissonEncoder(2, on_off="no"), TypeError, "`on_off` must be True or False, got 'no'"),
        (lambda: PoissonEncoder(2.5), ValueError, "`in_features` must be an integer ≥ 1, got 2.5"),
        (lambda: GaussianEncoder(2, std=None), TypeError, "`std` must be a number, got None"),
        (lambda: PoissonBackground("1", 2), TypeError, "`rate` must be a number, got '1'"),
        (lambda: GaussianBackground(1.0, None), TypeError, "`mean` must be a number, got None"),
        (lambda: WindowDecoder("long"), TypeError, "`window` must be a number, got 'long'"),
        (lambda: WindowDecoder(0), ValueError, "`window` must be > 0 ms, got 0"),
        (lambda: MomentEnsemble(MomentMLP(SIZES)), TypeError, "`members` must be several networks, got one MomentMLP"),
        (lambda: MomentEnsemble([]), ValueError, "needs at least one member"),
        (lambda: ann_twin(None), TypeError, "`model` must be a MomentMLP or a MomentCNN, got None"),
    ],
)
def test_parts_of_networks(call, kind, message):
    refused(call, kind, message)


@pytest.mark.parametrize(
    ("features", "kind", "message"),
    [
        (
            np.ones((2, 4)),
            TypeError,
            r"features must be a tensor of real numbers, got array of float64, shape \(2, 4\)",
        ),
        ([1.0, 2.0, 3.0, 4.0], TypeError, "features must be a tensor of real numbers, got"),
        (torch.ones(2, 4) * 1j, TypeError, "features must be a tensor of real numbers, got tensor of complex64"),
        (torch.ones(2, 4, dtype=torch.float64), TypeError, "of the network's precision float32, got float64"),
        (torch.ones(2, 5), ValueError, r"expected 4 features, got an input of shape \(2, 5\)"),
        (-torch.ones(2, 4), ValueError, "Poisson rates must be ≥ 0.*encoding='on_off' of the estimators"),
    ],
)
def test_features_of_networks(features, kind, message):
    refused(lambda: MomentMLP(SIZES).eval()(features), kind, message)


STATE = Moments(torch.zeros(3, 2), Dense(torch.eye(2).expand(3, 2, 2)))
CLASSES = torch.tensor([0, 1, 1])


@pytest.mark.parametrize(
    "loss",
    [cross_entropy, mean_squared_error, gaussian_likelihood, sampled_cross_entropy, fidelity_entropy, earth_movers],
)
@pytest.mark.parametrize(
    ("target", "kind", "message"),
    [
        (np.array([0, 1, 1]), TypeError, "targets must be a tensor of classes or of real values, got array of int64"),
        (torch.ones(3, 2) * 1j, TypeError, "targets must be a tensor of classes or of real values"),
        (torch.tensor([0, 1, 2]), ValueError, "target classes must be between 0 and 1, got 2"),
        (torch.tensor([0, 1, -1]), ValueError, "target classes must be between 0 and 1, got -1"),
        (torch.tensor([0, 1]), ValueError, r"target classes must have shape \(3,\), got \(2,\)"),
        (torch.zeros(3, 3), ValueError, "must have the outputs' shape|needs classes as targets"),
    ],
)
def test_targets_of_losses(loss, target, kind, message):
    window = () if loss in (cross_entropy, mean_squared_error) else (100.0,)
    refused(lambda: loss(STATE, target, *window), kind, message)


@pytest.mark.parametrize("loss", [gaussian_likelihood, sampled_cross_entropy, fidelity_entropy, earth_movers])
def test_windows_of_losses(loss):
    refused(lambda: loss(STATE, CLASSES, "100"), TypeError, "`window` must be a number, got '100'")
    refused(lambda: loss(STATE, CLASSES, float("nan")), ValueError, "`window` must be > 0 ms, got nan")


@pytest.mark.parametrize("loss", [cross_entropy, lambda *a, **k: sampled_cross_entropy(*a, 100.0, **k)])
def test_label_smoothing_of_losses(loss):
    refused(
        lambda: loss(STATE, CLASSES, label_smoothing=2.0), ValueError, r"`label_smoothing` must be in \[0, 1\], got 2"
    )
    refused(lambda: loss(STATE, CLASSES, label_smoothing="a"), TypeError, "`label_smoothing` must be a number, got 'a'")


@pytest.mark.parametrize(("loss", "rank"), [(gaussian_likelihood, 2), (fidelity_entropy, 2)])
def test_outputs_of_fewer_neurons_than_they_need(loss, rank):
    weight = torch.randn(4, rank, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    state = Moments(torch.zeros(1, 4, dtype=torch.float64), Dense((weight @ weight.T)[None]))
    message = rf"4 outputs needs [34] .*the covariance has rank {rank}: N hidden neurons cannot give more than N"
    refused(lambda: loss(state, torch.tensor([0]), 100.0), ValueError, message)


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"hidden": "8"}, TypeError, "`hidden` must be a sequence of whole numbers, got '8'"),
        ({"hidden": 8.5}, TypeError, "`hidden` must be a sequence of whole numbers, got 8.5"),
        ({"hidden": (8, 0)}, ValueError, r"`hidden` must be whole numbers ≥ 1, got \(8, 0\)"),
        ({"hidden": True}, ValueError, r"`hidden` must be whole numbers ≥ 1, got \(True,\)"),
        ({"channels": (2,), "image_shape": "3"}, TypeError, "`image_shape` must be a sequence of whole numbers"),
        ({"lif": 3}, TypeError, "`lif` must be LIFParameters, got 3"),
        ({"noise": "no"}, TypeError, "`noise` must be True or False, got 'no'"),
        ({"progress": "no"}, TypeError, "`progress` must be True or False, got 'no'"),
        ({"max_rate": "a"}, TypeError, "`max_rate` must be a number, got 'a'"),
        ({"max_rate": float("nan")}, ValueError, "`max_rate` must be > 0 spikes/ms, got nan"),
        ({"epochs": 1.5}, ValueError, "`epochs` must be an integer ≥ 1, got 1.5"),
        ({"epochs": True}, ValueError, "`epochs` must be an integer ≥ 1, got True"),
        ({"batch_size": 1}, ValueError, "`batch_size` must be an integer ≥ 2, got 1"),
        ({"learning_rate": "a"}, TypeError, "`learning_rate` must be a number, got 'a'"),
        ({"learning_rate": float("inf")}, ValueError, "`learning_rate` must be > 0, got inf"),
        ({"weight_decay": None}, TypeError, "`weight_decay` must be a number, got None"),
        ({"label_smoothing": 1.0}, ValueError, r"`label_smoothing` must be in \[0, 1\), got 1.0"),
        ({"window": 0}, ValueError, "`window` must be > 0 ms, got 0"),
        ({"validation_fraction": "a"}, TypeError, "`validation_fraction` must be a number, got 'a'"),
        ({"validation_fraction": 1}, ValueError, r"`validation_fraction` must be in \[0, 1\), got 1"),
        ({"patience": 0}, ValueError, "`patience` must be an integer ≥ 1, got 0"),
        ({"schedule": 3}, ValueError, "Invalid value 3 for `schedule`. Must be one of"),
        ({"loss": None}, ValueError, "Invalid value None for `loss`. Must be one of"),
        ({"dtype": float}, ValueError, "Invalid value <class 'float'> for `dtype`"),
        ({"encoding": None}, ValueError, "Invalid value None for `encoding`"),
        ({"scaling": "none "}, ValueError, "Invalid value 'none ' for `scaling`"),
        ({"device": "gpu7"}, ValueError, "`device` must be one that torch can use here, such as 'cpu', got 'gpu7'"),
        ({"device": 3.5}, ValueError, "`device` must be one that torch can use here, such as 'cpu', got 3.5"),
        ({"random_state": "a"}, ValueError, "cannot be used to seed"),
        ({"checkpoint_dir": 3}, TypeError, "expected str, bytes or os.PathLike"),
    ],
)
def test_options_of_estimators(tmp_path, monkeypatch, options, kind, message):
    monkeypatch.chdir(tmp_path)
    for estimator in (MomentClassifier, MomentRegressor):
        refused(lambda: estimator(**{"epochs": 1, **options}).fit(X, Y), kind, message)  # noqa: B023 (called at once)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("loss", "hidden", "message"),
    [
        ("gaussian_likelihood", 2, "2 hidden neurons cannot give 4 outputs .* read at least 4 neurons"),
        ("fidelity_entropy", 2, "2 hidden neurons cannot give 4 outputs .* read at least 3 neurons"),
    ],
)
def test_losses_that_need_more_neurons_say_so_before_the_training(tmp_path, loss, hidden, message):
    classifier = MomentClassifier(hidden, loss=loss, epochs=1, checkpoint_dir=tmp_path, random_state=0)
    refused(lambda: classifier.fit(X, np.arange(20) % 4), ValueError, message)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (X[:, None], Y, "Found array with dim 3"),
        (X, Y[:5], "inconsistent numbers of samples"),
        (X, X[:, 0], "Unknown label type: continuous"),
        (X, np.where(Y, np.nan, 0.0), "Input y contains NaN"),
        (X.astype(str) + np.array("a"), Y, "could not convert string to float"),
        (X[:1], Y[:1], "minimum of 2 is required"),
    ],
)
def test_data_of_estimators(x, y, message):
    refused(lambda: MomentClassifier(epochs=1).fit(x, y), ValueError, message)


def test_numbers_of_numpy_and_single_numbers_are_taken():
    options = {"epochs": np.int64(2), "learning_rate": np.float32(0.01), "random_state": 0, "noise": np.True_}
    found = MomentClassifier(np.int64(6), **options).fit(X, Y)
    same = MomentClassifier((6,), epochs=2, learning_rate=float(np.float32(0.01)), random_state=0).fit(X, Y)
    np.testing.assert_array_equal(found.predict_proba(X), same.predict_proba(X))
    assert found.model_.sizes == (3, 6, 2)
    assert MomentClassifier(4, channels=2, epochs=1).fit(np.hstack([X, X[:, :1]]), Y).model_.sizes[-2:] == (4, 2)
    torch.testing.assert_close(
        MomentMLP(SIZES, seed=np.int64(3)).readout.weight, MomentMLP(SIZES, seed=3).readout.weight
    )


def test_tensors_are_taken_by_estimators_and_export():
    classifier = MomentClassifier(4, epochs=1, random_state=0).fit(torch.tensor(X), torch.tensor(Y))
    rates = export(classifier, torch.tensor(X[:2], requires_grad=True)).populations[0].rates
    np.testing.assert_array_equal(rates, export(classifier, X[:2]).populations[0].rates)


@pytest.mark.parametrize(
    ("features", "targets", "kind", "message"),
    [
        (np.ones((8, 4)), torch.zeros(8, dtype=torch.int64), TypeError, "`features` must be a tensor, got array"),
        (torch.ones(8, 4), [0] * 8, TypeError, "`targets` must be a tensor, got"),
        (
            torch.ones(8, 3),
            torch.zeros(8, dtype=torch.int64),
            ValueError,
            r"the shape \(n, 4\) and dtype torch.float32",
        ),
        (torch.ones(8, 4).double(), torch.zeros(8, dtype=torch.int64), ValueError, "dtype torch.float32, got"),
        (
            torch.ones(8, 4),
            torch.zeros(7, dtype=torch.int64),
            ValueError,
            "`targets` must be as many as the features, 8",
        ),
    ],
)
def test_data_of_a_training(tmp_path, features, targets, kind, message):
    refused(
        lambda: train(MomentMLP(SIZES), features, targets, TrainingOptions(epochs=1), checkpoint_dir=tmp_path),
        kind,
        message,
    )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("model", "stimulus", "kind", "message"),
    [
        (
            None,
            np.ones(4),
            TypeError,
            "`model` must be a module of layers of mnnbio.nn such as .* got None",
        ),
        (MomentClassifier(), np.ones(4), TypeError, "holds a MomentClassifier without a network: fit it"),
        (MomentMLP(SIZES), None, TypeError, "`stimulus` must be numeric"),
        (MomentMLP(SIZES), "abcd", TypeError, "`stimulus` must be numeric"),
        (MomentMLP(SIZES), np.ones(4) * 1j, TypeError, "`stimulus` must be real"),
        (
            MomentMLP(SIZES),
            torch.ones(3),
            ValueError,
            r"`stimulus` must have shape \(4,\) or \(stimulus, 4\), got \(3,\)",
        ),
        (MomentMLP(SIZES), np.empty((0, 4)), ValueError, "one stimulus or more, got none"),
        (MomentMLP(SIZES), [1, 2, 3, np.inf], ValueError, "must be finite, got inf at index 3"),
    ],
)
def test_export(model, stimulus, kind, message):
    refused(lambda: export(model, stimulus), kind, message)


def test_models_in_files(tmp_path):
    refused(lambda: save_model(MeanDecoder(), tmp_path), TypeError, "got MeanDecoder")
    refused(lambda: load_model(tmp_path), FileNotFoundError, "no file")
    (tmp_path / "model.safetensors").write_bytes(b"no tensors")
    refused(lambda: load_model(tmp_path), ValueError, "is damaged or not a safetensors file")
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]


def test_absolute_voltages_are_the_same_neurons():
    absolute = LIFParameters(v_rest=-65.0, v_th=-45.0, v_reset=-65.0)
    x = torch.rand(3, 4, generator=torch.Generator().manual_seed(0))
    networks = [MomentMLP(SIZES, lif, learn=("v_th",), seed=0).eval() for lif in (absolute, LIFParameters())]
    torch.testing.assert_close(networks[0](x).mean, networks[1](x).mean, rtol=0, atol=0)
