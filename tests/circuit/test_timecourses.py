"""Inputs that change in time."""

import numpy as np
import pytest
from brian2 import Hz, ms, mV
from hypothesis import given
from hypothesis import strategies as st

from mnnbio.values import Oscillation, Ramp, Samples, Steps

TIMES = np.array([-20.0, 0.0, 4.999, 5.0, 7.5, 10.0, 1000.0])


def test_steps_hold_from_their_times_on():
    course = Steps([0.0, 5 * 1.0, 10.0], [1.0, 2.0, -3.0])
    assert course.at(TIMES).tolist() == [1, 1, 1, 2, 2, -3, -3]
    assert (course.lowest(), course.highest(), course.time_average()) == (-3, 2, -3)


def test_ramp_is_linear_in_between():
    course = Ramp(5.0, 10.0, first=[0.0, 1.0], last=[2.0, 0.0])
    np.testing.assert_allclose(course.at([0.0, 5.0, 7.5, 9.0, 12.0]).T, [[0, 0, 1, 1.6, 2], [1, 1, 0.5, 0.2, 0]])
    assert course.time_average().tolist() == [2, 0]
    assert (course.lowest().tolist(), course.highest().tolist()) == ([0, 0], [2, 1])


def test_oscillation():
    course = Oscillation(2.0, 0.5, frequency=100 * Hz, phase=[0.0, np.pi / 2])
    np.testing.assert_allclose(course.at([0.0, 2.5, 5.0]).T, [[2, 2.5, 2], [2.5, 2, 1.5]], atol=1e-12)
    assert course.shape == (2,)
    assert course.time_average().tolist() == [2, 2]
    assert (course.lowest().tolist(), course.highest().tolist()) == ([1.5, 1.5], [2.5, 2.5])
    assert Oscillation(2.0, 0.5, 0.0, phase=np.pi / 2).time_average() == 2.5


def test_samples_hold_for_their_interval_and_end():
    course = Samples([1.0, 2.0, 4.0, 5.0], dt=0.1)
    assert course.at(np.arange(4) * 0.1).tolist() == [1, 2, 4, 5]
    assert course.at([-1.0, 0.05, 0.399]).tolist() == [1, 1, 5]
    assert course.time_average() == 3.0
    with pytest.raises(ValueError, match=r"Samples end at 0.4 ms, the value at 0.5 ms was asked for"):
        course.at([0.0, 0.5])


shapes = st.sampled_from([(), (3,), (2, 3)])


@given(shapes, st.integers(0, 1000))
def test_bounds_averages_and_stimuli(shape, seed):
    rng = np.random.default_rng(seed)
    values = rng.uniform(-1, 1, (6, *shape))
    courses = [
        Steps([0.0, 1.0, 2.0], values[:3]),
        Ramp(1.0, 3.0, values[0], values[1]),
        Oscillation(values[0], values[1], 0.25, 1.0),
        Samples(values, dt=2.0),
    ]
    times = np.linspace(-1.0, 11.0, 49)[:-1]
    for course in courses:
        found = course.at(times)
        assert found.shape == (48, *shape)
        assert course.shape == shape
        assert (found >= course.lowest() - 1e-12).all()
        assert (found <= course.highest() + 1e-12).all()
        assert course.time_average().shape == shape
        if len(shape) == 2:
            np.testing.assert_array_equal(course.select(1).at(times), found[:, 1])
            np.testing.assert_array_equal(course.select([1, 0]).at(times), found[:, [1, 0]])


def test_multiples():
    for course in (
        Steps([0.0, 5.0], [1.0, 2.0]),
        Ramp(0, 5, 1.0, 2.0),
        Oscillation(1.0, 0.5, 0.1),
        Samples([1.0] * 9, 2.0),
    ):
        np.testing.assert_allclose((course * 3.0).at([1.0, 7.0]), 3.0 * course.at([1.0, 7.0]))
        np.testing.assert_array_equal((0.5 * course).highest(), 0.5 * course.highest())


def test_units():
    course = Steps([0, 10] * ms, [1000.0, 500.0] * Hz)
    assert (course.unit, course.values.tolist(), course.times.tolist()) == ("1/ms", [1.0, 0.5], [0.0, 10.0])
    assert repr(course) == "Steps(times=array(2,), values=array(2,)) in 1/ms"
    with pytest.raises(ValueError, match="`mean` must be in mV/ms, got Steps in 1/ms"):
        course.used_as("mV/ms", "mean")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Steps([0.0, 0.0], [1.0, 2.0]), "`times of Steps` must be increasing, got 0.0 at index 0"),
        (lambda: Steps([0.0, 1.0], [1.0]), r"one value per time, shape \(2, ...\), got shape \(1,\)"),
        (lambda: Steps(0.0, 1.0), "times of Steps must be a sequence"),
        (lambda: Steps([0.0], 1.0), "one value per time"),
        (lambda: Steps([0.0], np.ones((1, 2, 3, 4))), r"must have shape \(\), \(n,\) or \(stimulus, n\)"),
        (lambda: Steps([0.0], [np.inf]), "must be finite, got inf"),
        (lambda: Steps([0.0] * mV, [1.0]), "another dimension"),
        (lambda: Ramp(5.0, 5.0, 1.0, 2.0), "`start` of Ramp must be before `stop`, got 5 and 5 ms"),
        (lambda: Ramp([0.0, 1.0], 5.0, 1.0, 2.0), "start of Ramp must be a single time, ms"),
        (lambda: Ramp(0.0, 5.0, [1.0, 2.0], [1.0, 2.0, 3.0]), "must have one shape"),
        (lambda: Oscillation(1.0, 1.0, -5.0), "`frequency of Oscillation` must be ≥ 0 per ms, got -5.0"),
        (lambda: Samples([], 1.0), r"Samples needs values of shape \(time, ...\), got shape \(0,\)"),
        (lambda: Samples(1.0, 1.0), "Samples needs values of shape"),
        (lambda: Samples([1.0], 0.0), "`dt` of Samples must be > 0 ms, got 0"),
    ],
)
def test_bad_courses_raise(make, message):
    with pytest.raises(ValueError, match=message):
        make()
