import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_iris
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from mnnbio import export
from mnnbio.neurons.lif import LIFParameters
from mnnbio.nn.cnn import MomentCNN
from mnnbio.nn.encoders import FeatureRangeWarning, GaussianEncoder, PoissonEncoder
from mnnbio.training.encoding import make_encoder
from mnnbio.training.estimators import MomentClassifier, MomentRegressor
from mnnbio.training.tables import load_table

FAST = {"epochs": 15, "batch_size": 32, "learning_rate": 0.03, "random_state": 0}


def expected_failures(estimator):
    """Return the checks that fail, with their reasons."""
    if estimator.encoding != "poisson":
        return {}
    return {"check_decision_proba_consistency": "draws negative features in spite of the tag positive_only"}


@pytest.mark.slow
@parametrize_with_checks(
    [
        MomentClassifier((10,), **FAST),
        MomentClassifier((10,), encoding="poisson", **FAST),
        MomentRegressor((10,), **FAST),
    ],
    expected_failed_checks=expected_failures,
)
def test_scikit_learns_checks(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def iris():
    return load_iris(return_X_y=True)


@pytest.fixture(scope="module")
def classifier(iris):
    x, y = iris
    return MomentClassifier((10,), epochs=40, batch_size=16, random_state=0).fit(
        x, np.array(["setosa", "versicolor", "virginica"])[y]
    )


def test_classifier_learns(classifier, iris):
    x, y = iris
    assert classifier.score(x, classifier.classes_[y]) > 0.9
    assert set(classifier.predict(x)) == {"setosa", "versicolor", "virginica"}
    proba = classifier.predict_proba(x)
    np.testing.assert_allclose(proba.sum(1), 1)
    np.testing.assert_array_equal(classifier.classes_[proba.argmax(1)], classifier.predict(x))
    assert classifier.n_iter_ == len(classifier.history_["train_loss"])


def test_the_network_takes_the_features_as_fit_did(classifier, iris):
    x, _ = iris
    mean = classifier.model_(torch.tensor(x)).mean.detach()
    np.testing.assert_allclose(mean.softmax(-1), classifier.predict_proba(x))
    assert mean.dtype == torch.float64
    assert not classifier.model_.training


def test_inside_pipeline_grid_search_and_cross_validation(iris):
    x, y = iris
    pipeline = make_pipeline(StandardScaler(), MomentClassifier((8,), **FAST))
    assert cross_val_score(pipeline, x, y, cv=2).mean() > 0.85
    search = GridSearchCV(pipeline, {"momentclassifier__hidden": [(1,), (8,)]}, cv=2).fit(x, y)
    assert search.best_params_ == {"momentclassifier__hidden": (8,)}


def test_clone_keeps_neurons():
    lif = LIFParameters(tau_m=10.0)
    assert clone(MomentClassifier(lif=lif)).lif == lif
    assert clone(MomentClassifier(lif=lif)).set_params(lif=None).lif is None


def test_regressor_outputs_are_in_units_of_the_targets():
    x, y = load_diabetes(return_X_y=True)
    regressor = MomentRegressor((20,), epochs=40, random_state=0).fit(x[:300], y[:300])
    # A linear regression reaches 0.49 on these rows.
    assert regressor.score(x[300:], y[300:]) > 0.4
    mean = regressor.model_(torch.tensor(x)).mean.detach()[:, 0]
    np.testing.assert_allclose(mean, regressor.predict(x))


def test_regressor_of_several_targets():
    x = np.linspace(-1, 1, 200)[:, None]
    y = np.column_stack([100 * x[:, 0] + 7, np.full(200, 3.0), x[:, 0] ** 2])
    regressor = MomentRegressor((20,), epochs=60, random_state=0).fit(x, y)
    assert regressor.predict(x).shape == (200, 3)
    np.testing.assert_allclose(regressor.predict(x)[:, 1], 3.0, atol=0.2)
    for column in (0, 2):
        assert np.corrcoef(regressor.predict(x)[:, column], y[:, column])[0, 1] > 0.95
    likely = MomentRegressor((20,), loss="gaussian_likelihood", epochs=20, random_state=0).fit(x, y[:, [0, 2]])
    assert likely.history_["train_loss"][-1] < likely.history_["train_loss"][0]


@pytest.mark.parametrize(
    "loss", ["sampled_cross_entropy", "fidelity_entropy", "earth_movers", "mean_squared_error", "gaussian_likelihood"]
)
def test_losses_of_a_classifier(iris, loss):
    x, y = iris
    classifier = MomentClassifier(
        (10,), loss=loss, epochs=25, batch_size=16, learning_rate=0.03, dtype="float64", random_state=0
    ).fit(x, y)
    history = classifier.history_["train_loss"]
    assert history[-1] < history[0]
    assert classifier.score(x, y) > 0.6  # chance: a third


def test_earth_movers_regression():
    x = np.linspace(-1, 1, 200)[:, None]
    regressor = MomentRegressor((20,), loss="earth_movers", epochs=30, random_state=0).fit(x, 3 * x[:, 0] + 1)
    assert regressor.score(x, 3 * x[:, 0] + 1) > 0.8


def test_training_is_resumed_from_a_folder(tmp_path, iris):
    x, y = iris
    options = {"hidden": (5,), "epochs": 4, "random_state": 1}
    first, second = (MomentClassifier(**options, checkpoint_dir=tmp_path).fit(x, y) for _ in range(2))
    np.testing.assert_array_equal(first.predict_proba(x), second.predict_proba(x))
    np.testing.assert_array_equal(first.predict_proba(x), MomentClassifier(**options).fit(x, y).predict_proba(x))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_both_precisions_give_a_float64_network(iris, dtype):
    x, y = iris
    model = MomentClassifier((5,), epochs=2, dtype=dtype, random_state=0).fit(x, y).model_
    assert {tensor.dtype for tensor in model.state_dict().values()} == {torch.float64}
    assert model.config()["dtype"] == "float64"


def test_encoders_fit_the_data():
    x = np.array([[0.0, 10.0, 5.0], [2.0, 30.0, 5.0], [1.0, 20.0, 5.0]])
    poisson = make_encoder(x, "auto", "feature", 0.5)
    np.testing.assert_allclose(poisson(torch.tensor(x)).mean.max(0).values, 0.5)
    on_off = make_encoder(x - 1, "auto", "feature", 0.5)
    assert isinstance(on_off, PoissonEncoder)
    assert on_off.on_off
    z = on_off.scaled(torch.tensor(x - 1)).numpy()
    np.testing.assert_allclose(z.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(z.std(0), [0.5, 0.5, 0])
    gaussian = make_encoder(x, "gaussian", "global", 0.5)
    assert isinstance(gaussian, GaussianEncoder)
    np.testing.assert_allclose(gaussian(torch.tensor(x)).mean, (x - x.mean()) / x.std())
    unscaled = make_encoder(x, "poisson", "none", 0.5)
    np.testing.assert_allclose(unscaled(torch.tensor(x)).mean, 0.5 * x)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"encoding": "binary"}, r"Invalid value 'binary' for `encoding`. Must be one of \['auto', 'gaussian', "),
        ({"scaling": "rank"}, r"Invalid value 'rank' for `scaling`. Must be one of \['feature', 'global', 'none'\]"),
        ({"dtype": "float16"}, r"Invalid value 'float16' for `dtype`. Must be one of \['float32', 'float64'\]"),
        ({"loss": "hinge"}, "Invalid value 'hinge' for `loss`. Must be one of"),
        ({"epochs": 0}, "`epochs` must be an integer ≥ 1"),
        ({"max_rate": -1.0}, "`max_rate` must be > 0 spikes/ms, got -1.0"),
        ({"hidden": ()}, "`sizes` must be at least three"),
        ({"image_shape": (2, 2)}, r"`image_shape` is for networks with `channels` only, got \(2, 2\)"),
        ({"channels": (2,), "image_shape": (3, 2)}, r"of images of 4 values, .* got \(3, 2\)"),
        (
            {"channels": (2,), "image_shape": (4,)},
            r"must be \(height, width\) or \(channels, height, width\) .* got \(4,\)",
        ),
        ({"channels": (2, 2)}, "a window of 2 pixels does not fit into an image side of 1 pixels"),
    ],
)
def test_wrong_parameters(iris, options, message):
    with pytest.raises(ValueError, match=message):
        MomentClassifier(**options).fit(*iris)


def test_wrong_data(classifier, iris):
    x, y = iris
    with pytest.raises(ValueError, match="X has 3 features, but MomentClassifier is expecting 4 features"):
        classifier.predict(x[:, :3])
    bad = x.copy()
    bad[3, 1] = np.nan
    with pytest.raises(ValueError, match="Input X contains NaN"):
        MomentClassifier().fit(bad, y)
    bad[3, 1] = np.inf
    with pytest.raises(ValueError, match="Input X contains infinity"):
        classifier.predict(bad)
    with pytest.raises(ValueError, match="Found array with 0 sample"):
        MomentClassifier().fit(x[:0], y[:0])
    with pytest.raises(ValueError, match="at least two classes, got one class only: 0"):
        MomentClassifier().fit(x[:50], y[:50])
    with pytest.raises(ValueError, match=r"encoding='poisson' needs features ≥ 0, got -5\.1 in row 0, feature 0; use"):
        MomentClassifier(encoding="poisson").fit(-x, y)


def test_features_below_the_range_of_training_are_raised_to_it_with_a_warning(classifier, iris):
    x, _ = iris
    low = x.copy()
    low[3, 1], low[7, 2] = -0.5, -2.0
    with pytest.warns(FeatureRangeWarning, match=r"2 of 600 values .* -2 at index \(7, 2\) as 0.*encoding='on_off'"):
        proba = classifier.predict_proba(low)
    np.testing.assert_array_equal(proba, classifier.predict_proba(np.maximum(low, 0.0)))
    with pytest.warns(FeatureRangeWarning, match="2 of 600"):
        assert classifier.score(low, classifier.predict(np.maximum(low, 0.0))) == 1.0
    with pytest.warns(FeatureRangeWarning, match=r"1 of 4 values .* -2 at index \(2,\)") as caught:
        circuit = export(classifier, low[7])
    assert caught[0].filename == __file__
    np.testing.assert_array_equal(circuit.populations[0].rates[2], 0.0)
    with pytest.raises(ValueError, match="rates must be ≥ 0"):
        classifier.model_(torch.tensor(low))


def test_features_below_the_range_are_carried_by_on_off_channels_and_currents(iris):
    x, y = iris
    for encoding in ("on_off", "gaussian"):
        classifier = MomentClassifier((5,), encoding=encoding, epochs=2, random_state=0).fit(x, y)
        assert np.isfinite(classifier.predict_proba(x - 20)).all()


def test_from_a_table_in_a_few_lines(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 3))
    rows = np.column_stack([x, x[:, 0] > x[:, 1]])
    np.savetxt(tmp_path / "t.csv", rows, delimiter=",", header="a,b,c,larger", comments="")
    task = load_table(tmp_path / "t.csv", "larger")
    classifier = MomentClassifier((20,), epochs=20, random_state=0).fit(task.x_train, task.y_train)
    assert classifier.score(task.x_test, task.y_test) > 0.9


def stripes(n, seed=0):
    """Images of 6×6 pixels with a bright row or a bright column somewhere."""
    rng = np.random.default_rng(seed)
    images, labels = rng.uniform(0, 0.3, (n, 6, 6)), rng.integers(0, 2, n)
    for image, label, place in zip(images, labels, rng.integers(0, 6, n), strict=True):
        (image if label else image.T)[place] += 0.7
    return images.reshape(n, -1), labels


@pytest.mark.parametrize(("encoding", "image_shape"), [("poisson", None), ("on_off", (6, 6)), ("gaussian", (1, 6, 6))])
def test_convolutional_networks(encoding, image_shape):
    x, y = stripes(300)
    classifier = MomentClassifier((), channels=(4,), image_shape=image_shape, encoding=encoding, **FAST).fit(x, y)
    assert isinstance(classifier.model_, MomentCNN)
    assert classifier.model_.image[0] == (2 if encoding == "on_off" else 1)
    assert classifier.score(*stripes(200, seed=1)) > 0.9
    circuit = export(classifier, x[:2])
    assert circuit.n_neurons == 4 * 36


@pytest.mark.slow
def test_digits_by_convolution():
    from mnnbio.training.data import load_task

    task = load_task("digits")
    classifier = MomentClassifier((50,), channels=(8,), epochs=10, random_state=0).fit(task.x_train, task.y_train)
    assert classifier.score(task.x_test, task.y_test) >= 0.965


@pytest.mark.slow
def test_digits():
    # The defaults are good enough for images that 100 neurons can tell apart.
    from mnnbio.training.data import load_task

    task = load_task("digits")
    classifier = MomentClassifier(random_state=0).fit(task.x_train, task.y_train)
    assert classifier.score(task.x_test, task.y_test) >= 0.97


def test_outputs_that_read_covariances():
    rng = np.random.default_rng(0)
    x, y = rng.uniform(0, 1, (60, 4)), np.repeat([0, 1], 30)
    x[y == 1, 0] += 1
    classifier = MomentClassifier((6,), reads="mean_and_covariance", batch_size=16, random_state=0).fit(x, y)
    assert classifier.model_.reads == "mean_and_covariance"
    assert classifier.score(x, y) > 0.8
    with pytest.raises(ValueError, match="convolutional networks read means: reads='mean', got 'covariance'"):
        MomentClassifier((), channels=(2,), reads="covariance").fit(x, y)
    with pytest.raises(ValueError, match="outputs that are statistics do not fluctuate, and loss='fidelity_entropy'"):
        MomentClassifier((6,), reads="covariance", loss="fidelity_entropy").fit(x, y)
