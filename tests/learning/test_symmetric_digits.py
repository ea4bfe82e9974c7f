"""Digits by symmetric plasticity, synaptic scaling and dynamic thresholds."""

import numpy as np
import pytest

from mnnbio.learning.symmetric_digits import SymmetricDigits, label_neurons


def bars(number, seed):
    """Return images of 6×6 pixels of a noisy row, which one is the label."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, number)
    images = rng.uniform(0, 0.1, (number, 6, 6))
    images[np.arange(number), labels] += 1.0
    return images.reshape(number, -1), labels


OPTIONS = {"activity": 0.06, "presentations": 2, "random_state": 0}


@pytest.fixture(scope="module")
def learned():
    x, labels = bars(300, 1)
    return SymmetricDigits(20, **OPTIONS).fit(x, labels)


@pytest.mark.slow
def test_neurons_share_the_kinds_of_images_without_labels(learned):
    x, labels = bars(200, 2)
    # chance is 0.25; a neuron's weights stand out in the row of its label
    assert learned.score(x, labels) > 0.9
    fired = learned.labels_ >= 0
    rows = learned.weights_.reshape(20, 6, 6).sum(axis=2)
    assert (rows[fired].argmax(axis=1) == learned.labels_[fired]).mean() > 0.8


@pytest.mark.slow
def test_nothing_changes_in_tests(learned):
    x, _ = bars(50, 3)
    weights, thresholds = learned.weights_.copy(), learned.thresholds_.copy()
    first = learned.decision_function(x)
    np.testing.assert_array_equal(learned.decision_function(x), first)
    np.testing.assert_array_equal(learned.weights_, weights)
    np.testing.assert_array_equal(learned.thresholds_, thresholds)


@pytest.mark.slow
def test_the_baseline_keeps_its_random_weights():
    x, labels = bars(100, 1)
    fixed = SymmetricDigits(20, plastic=False, **OPTIONS).fit(x, labels)
    np.testing.assert_allclose(fixed.weights_.sum(axis=1), 78.0)
    assert fixed.weights_.max() < 5 * fixed.weights_.mean()
    assert (fixed.thresholds_ != 28.0).all()


def test_neurons_get_the_class_for_which_they_fire_most_on_average():
    counts = [[3, 0, 0], [3, 0, 1], [3, 0, 0], [4, 0, 0]]
    # the first neuron fires 9 times for class 0 and 4 times for class 1, but 3 and 4 times a presentation
    np.testing.assert_array_equal(label_neurons(counts, [0, 0, 0, 1], 2), [1, -1, 0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"neurons": 1}, "`neurons` must be"),
        ({"presentations": 0}, "`presentations` must be"),
        ({"labelled": 0}, "`labelled` must be"),
        ({"tau": -1.0}, "`tau` must be one number > 0 ms, got -1.0"),
        ({"activity": 0.0}, "`activity` must be one number > 0, got 0.0"),
        ({"scaling": 0.1}, "`scaling` must be two numbers, at the start and at the end of learning, got 0.1"),
        ({"scaling": (1.0, 0.1)}, r"`scaling` must be below 1, got \(1.0, 0.1\)"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        SymmetricDigits(**options).fit(*bars(10, 1))


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ([[1.0, -0.5], [1.0, 0.0]], [0, 1], r"pixels must be ≥ 0, got -0.5 at \(0, 1\)"),
        ([[1.0, 0.5], [0.0, 0.0]], [0, 1], "an image must have a pixel above 0, got none at 1"),
        ([[1.0, 0.5], [1.0, 0.0]], [1, 1], "at least two classes, got one class only: 1"),
    ],
)
def test_images_that_cannot_be_shown_are_refused(x, y, message):
    with pytest.raises(ValueError, match=message):
        SymmetricDigits().fit(x, y)
