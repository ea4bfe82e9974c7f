"""The scikit-learn classifier of spiking networks of few modes."""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from mnnbio.nn import FeatureRangeWarning
from mnnbio.training.spiking.mode_classifier import SpikingModeClassifier
from mnnbio.training.spiking.steps import SpikeFilter, SpikingNeuron

FAST = {"steps": 15, "epochs": 25, "batch_size": 16, "learning_rate": 0.03, "random_state": 0}


@pytest.mark.slow
@parametrize_with_checks([SpikingModeClassifier(30, 2, steps=100, batch_size=16, random_state=0)])
@pytest.mark.filterwarnings("ignore::mnnbio.nn.FeatureRangeWarning")  # the checks draw training and test data apart
def test_scikit_learns_checks(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def iris():
    x, y = load_iris(return_X_y=True)
    return x, np.array(["setosa", "versicolor", "virginica"])[y]


@pytest.fixture(scope="module")
def classifier(iris):
    return SpikingModeClassifier(20, 2, **FAST).fit(*iris)


def test_it_learns(classifier, iris):
    x, y = iris
    assert classifier.score(x, y) > 0.75  # a third by chance
    proba = classifier.predict_proba(x)
    np.testing.assert_allclose(proba.sum(1), 1)
    np.testing.assert_array_equal(classifier.classes_[proba.argmax(1)], classifier.predict(x))
    assert classifier.n_iter_ == len(classifier.history_["loss"]) == 25 * 10
    assert classifier.model_.recurrent.modes_in.shape == (20, 2)


def test_the_network_takes_the_spikes_of_the_features(classifier, iris):
    x, _ = iris
    spikes = classifier.encode(x)
    assert spikes.shape == (15, 150, 4)
    outputs = classifier.model_(spikes).detach()
    np.testing.assert_array_equal(outputs.softmax(-1), classifier.predict_proba(x))
    low, high = x.min(0), x.max(0)
    expected = (x - low) / (high - low)
    rates = np.mean([classifier.encode(x, k).numpy().mean(0) for k in range(60)], 0)
    assert np.all(np.abs(rates - expected) < 5 * np.sqrt(expected * (1 - expected) / 900) + 1e-9)


def test_a_sample_is_decided_alone_as_among_others(classifier, iris):
    x, _ = iris
    together = classifier.encode(x)
    for k in (0, 77):
        assert torch.equal(classifier.encode(x[k : k + 1])[:, 0], together[:, k])


def test_presentations_are_averaged(classifier, iris):
    x, _ = iris
    several = clone(classifier).set_params(presentations=3, epochs=1).fit(*iris)
    outputs = [several.model_(several.encode(x, k)).detach() for k in range(3)]
    np.testing.assert_allclose(several.decision_function(x), torch.stack(outputs).mean(0))
    assert not torch.equal(outputs[0], outputs[1])


def test_it_continues_from_a_checkpoint(iris, tmp_path):
    x, y = iris
    few = SpikingModeClassifier(10, 2, steps=8, epochs=2, random_state=3, checkpoint_dir=tmp_path)
    first = few.fit(x, y)
    again = clone(few).fit(x, y)
    assert torch.equal(first.model_.weight_in, again.model_.weight_in)
    assert again.history_ == first.history_
    with pytest.raises(ValueError, match="checkpoint of other trials"):
        clone(few).set_params(steps=9).fit(x, y)


def test_two_classes_full_weights_and_learned_constants(iris):
    x, y = iris
    two = y != "setosa"
    classifier = SpikingModeClassifier(
        10, None, neuron=SpikingNeuron(t_ref=4.0), filter=SpikeFilter(kind="single"), learn=("tau_m",), **FAST
    ).fit(x[two], y[two])
    assert classifier.decision_function(x[two]).shape == (100,)
    assert classifier.model_.recurrent.weight.shape == (10, 10)
    assert classifier.model_.filter.kind == "single"
    assert np.ptp(classifier.model_.neuron.tau_m) > 0
    assert classifier.score(x[two], y[two]) > 0.6


@pytest.mark.slow
def test_inside_pipeline_and_grid_search(iris):
    x, y = iris
    pipeline = make_pipeline(StandardScaler(), SpikingModeClassifier(20, 1, **FAST))
    with pytest.warns(FeatureRangeWarning):  # of folds that hold the extremes
        search = GridSearchCV(pipeline, {"spikingmodeclassifier__neurons": [1, 20]}, cv=2).fit(x, y)
    assert search.best_params_ == {"spikingmodeclassifier__neurons": 20}


def test_values_beyond_the_training_data_count_as_the_nearest(classifier, iris):
    x, _ = iris
    far = x[:2].copy()
    far[0, 1] = 99.0
    with pytest.warns(FeatureRangeWarning, match=r"1 of 8 values, such as 99 at index \(0, 1\), are outside the range"):
        proba = classifier.predict_proba(far)
    far[0, 1] = x[:, 1].max()
    np.testing.assert_array_equal(proba, classifier.predict_proba(far))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"neurons": 0}, "`neurons`"),
        ({"modes": 0}, "`modes`"),
        ({"loss": "mean_squared_error"}, "`loss`"),
        ({"scaling": "rows"}, "`scaling`"),
        ({"scaling": "none"}, r"values, such as 5.1 at index \(0, 0\), are not in \[0, 1\]"),
        ({"dtype": "float16"}, "`dtype`"),
        ({"learn": "tau"}, "`learn`"),
    ],
)
def test_bad_parameters_are_refused(iris, options, message):
    with pytest.raises(ValueError, match=message):
        SpikingModeClassifier(**{"neurons": 5, "epochs": 1, **options}).fit(*iris)


def test_one_class_is_refused():
    with pytest.raises(ValueError, match="at least two classes, got one class only: 1"):
        SpikingModeClassifier(5).fit(np.eye(3), np.ones(3))
