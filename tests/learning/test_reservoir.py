"""A reservoir of Izhikevich neurons whose readout learns by a three-factor rule."""

import numpy as np
import pytest

from mnnbio.learning.reservoir import RewardReservoir, TimedPattern, timed_patterns


def test_patterns_of_all_classes_have_the_same_counts_and_differ_in_time():
    shown = timed_patterns(30, classes=3, inputs=10, spikes=4, seed=1)
    assert np.bincount(shown.classes).tolist() == [10, 10, 10]
    for pattern in shown.patterns:
        assert np.bincount(pattern.inputs).tolist() == [4] * 10
        assert ((pattern.times >= 0) & (pattern.times < 200)).all()
    times = np.array([pattern.times for pattern in shown.patterns])
    # spread within a class is the jitter, 4 ms, less what is reflected; between classes that of uniform times
    within = times[shown.classes == 0].std(axis=0, ddof=1).mean()
    between = np.abs(times[shown.classes == 0].mean(axis=0) - times[shown.classes == 1].mean(axis=0)).mean()
    assert 3 < within < 5
    assert between > 40


def test_the_templates_are_the_same_for_other_presentations():
    first, second = timed_patterns(4, jitter=0.0, seed=1), timed_patterns(4, jitter=0.0, seed=2)
    one = first.patterns[int(np.argmax(first.classes == 0))]
    other = second.patterns[int(np.argmax(second.classes == 0))]
    np.testing.assert_array_equal(one.times, other.times)


@pytest.mark.slow
def test_the_readout_learns_from_feedback_what_it_does_not_know_without():
    shown, new = timed_patterns(600, seed=1), timed_patterns(300, seed=2)
    learned = RewardReservoir(random_state=0).fit(shown.patterns, shown.classes)
    fixed = RewardReservoir(epochs=1, learns=False, random_state=0).fit(shown.patterns, shown.classes)
    standard_error = np.sqrt(0.25 / 300)
    assert learned.score(new.patterns, new.classes) > 1 / 3 + 3 * standard_error
    assert learned.score(new.patterns, new.classes) > fixed.score(new.patterns, new.classes)
    assert len(learned.curve_) == 4 * 3
    with pytest.raises(ValueError, match="there are inputs 0 to 39, got 40"):
        learned.predict([TimedPattern(np.array([1.0]), np.array([40]))])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"presentations": 0}, "`presentations` must be"),
        ({"classes": 1}, "`classes` must be"),
        ({"jitter": -1.0}, "`jitter` ≥ 0 ms, got 200.0 and -1.0"),
    ],
)
def test_patterns_that_cannot_be_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        timed_patterns(**{"presentations": 3, **options})


ONE = TimedPattern(np.array([1.0]), np.array([0]))


@pytest.mark.parametrize(
    ("options", "patterns", "labels", "message"),
    [
        ({"speed": 0.0}, [ONE, ONE], [0, 1], "`speed` must be > 0, got 0.0"),
        ({"neurons": 5}, [ONE, ONE], [0, 1], "`neurons` must be"),
        ({}, [ONE, ONE], [0], r"one label a pattern, 2, got shape \(1,\)"),
        ({}, [ONE, ONE], [1, 1], r"at least two classes, got \[1\]"),
        (
            {},
            [ONE, TimedPattern(np.array([300.0]), np.array([0]))],
            [0, 1],
            "below `duration`, 200 ms, got 300 in pattern 1",
        ),
        ({}, [ONE, TimedPattern(np.array([3.0]), np.array([0, 1]))], [0, 1], "pattern 1 must go together"),
    ],
)
def test_what_a_reservoir_cannot_learn_is_refused(options, patterns, labels, message):
    with pytest.raises(ValueError, match=message):
        RewardReservoir(**options).fit(patterns, labels)
