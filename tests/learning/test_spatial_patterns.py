"""A neuron that learns by supervised plasticity to detect a spatial pattern."""

import numpy as np
import pytest

from mnnbio.learning.spatial_patterns import (
    SpatialPatternDetector,
    TemplateDetector,
    detection_rates,
    overlap_curve,
    spatial_patterns,
)


@pytest.mark.parametrize("overlap", [None, 0.0, 0.5, 0.9])
def test_every_presentation_has_as_many_spikes_and_distractors_share_what_they_should(overlap):
    shown = spatial_patterns(201, inputs=60, spikes=20, overlap=overlap, seed=3)
    assert (shown.fires.sum(axis=1) == 20).all()
    assert shown.is_pattern.sum() == 101
    assert (shown.fires[shown.is_pattern] == shown.pattern).all()
    shared = (shown.fires[~shown.is_pattern] & shown.pattern).sum(axis=1)
    if overlap is None:
        # hypergeometric: mean 20·20/60, variance mean · (40/60) · (40/59)
        mean = 20 * 20 / 60
        assert abs(shared.mean() - mean) < 5 * np.sqrt(mean * (40 / 60) * (40 / 59) / 100)
    else:
        assert (shared == round(20 * overlap)).all()


def test_a_pattern_of_another_call_is_taken_and_the_same_seed_gives_the_same():
    first = spatial_patterns(10, seed=1)
    second = spatial_patterns(10, pattern=first.pattern, seed=2)
    np.testing.assert_array_equal(first.pattern, second.pattern)
    np.testing.assert_array_equal(first.fires, spatial_patterns(10, seed=1).fires)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"presentations": 1}, "`presentations` must be"),
        ({"spikes": 100}, "`spikes` must be"),
        ({"overlap": 1.0}, r"`overlap` must be in \[0, 1\), got 1.0"),
        ({"inputs": 30, "overlap": 0.0}, "need 40 inputs, got 30: take more inputs or a greater overlap"),
        ({"pattern": np.ones(100)}, r"`pattern` must have 20 of 100 inputs that fire, got 100 in shape \(100,\)"),
    ],
)
def test_patterns_that_cannot_be_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        spatial_patterns(**{"presentations": 10, **options})


@pytest.mark.slow
def test_one_pattern_is_always_detected_and_others_hardly_ever():
    shown = spatial_patterns(600, seed=10)
    new = spatial_patterns(800, pattern=shown.pattern, seed=11)
    detector = SpatialPatternDetector(random_state=0).fit(shown.fires.astype(float), shown.is_pattern)
    rates = detection_rates(detector, new)
    assert rates.detected == 1.0
    assert rates.false_alarms <= 0.01
    # what the pattern's inputs have learned stands apart from the others
    assert detector.weights_[shown.pattern].min() > detector.weights_[~shown.pattern].max()


@pytest.mark.slow
def test_accuracy_falls_as_patterns_grow_alike():
    curve = overlap_curve([0.5, 0.8, 0.95], SpatialPatternDetector(random_state=0), presentations=600, training=400)
    accuracies = [rates.accuracy for rates in curve]
    standard_error = 0.5 / np.sqrt(600)
    assert accuracies[0] > accuracies[1] + 3 * standard_error
    assert accuracies[1] > accuracies[2] + 3 * standard_error


def test_the_template_is_the_difference_of_the_means():
    shown = spatial_patterns(100, overlap=0.5, seed=4)
    x = shown.fires.astype(float)
    template = TemplateDetector().fit(x, shown.is_pattern)
    by_hand = x[shown.is_pattern].mean(axis=0) - x[~shown.is_pattern].mean(axis=0)
    np.testing.assert_allclose(template.template_, by_hand)
    assert detection_rates(template, shown) == (1.0, 0.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tau_m": 0.0}, "`tau_m` must be one number > 0 ms, got 0.0"),
        ({"w_max": -1.0}, "`w_max` must be one number > 0 mV, got -1.0"),
        ({"sliding": 1.0}, "`sliding` must be one number > 0 and < 1, got 1.0"),
        ({"noise": -0.1}, "`noise` must be one number ≥ 0 mV, got -0.1"),
        ({"spread": 12.0}, "`spread` must be one number ≥ 0 and < 10 ms, got 12.0"),
        ({"passes": 0}, "`passes` must be"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        SpatialPatternDetector(**options).fit(np.eye(2), [False, True])


@pytest.mark.parametrize("estimator", [SpatialPatternDetector(), TemplateDetector()])
def test_a_detector_needs_two_labels(estimator):
    with pytest.raises(ValueError, match="a detector needs two labels, others and pattern, got 1"):
        estimator.fit(np.eye(3), [0, 0, 0])


def test_features_are_zeros_and_ones():
    with pytest.raises(
        ValueError, match=r"features must be 1 where an input fires and 0 elsewhere, got 0.5 at \(0, 1\)"
    ):
        SpatialPatternDetector().fit([[1.0, 0.5], [0.0, 1.0]], [0, 1])
