import numpy as np
import pytest
from brian2 import ms, mV, second
from hypothesis import given
from hypothesis import strategies as st

from mnnbio.circuit import time_step
from mnnbio.spikes.timing import Times
from mnnbio.units import count_steps


@given(st.integers(0, 10**6), st.sampled_from([0.01, 0.025, 0.1, 0.3, 0.5, 1.0]))
def test_multiples_of_the_step_are_counted_whatever_the_rounding(steps, dt):
    assert count_steps(steps * dt, dt, "t") == steps


def test_times_come_in_ms_or_as_quantities():
    assert Times.of(1 * second, 50 * ms, 0.1) == Times.of(1000, 50.0, 0.1) == (1000.0, 50.0, 10_000, 500)
    assert time_step(0.1 * ms) == pytest.approx(0.1)


def test_a_step_that_does_not_divide_a_time_is_an_error_with_a_step_that_does():
    with pytest.raises(ValueError, match=r"`dt` must divide `duration`: 5 ms is 16\.6667 steps.* Try dt = 0\.2 ms"):
        count_steps(5.0, 0.3, "duration")
    with pytest.raises(ValueError, match=r"2\.05 ms of neuron 1 is 20\.5 steps .* Try dt = 0\.05 ms"):
        count_steps(np.array([2.0, 2.05]), 0.1, "t_ref")
    with pytest.raises(ValueError, match=r"Try dt = 0\.0981748 ms"):
        count_steps(np.pi, 0.0999, "window")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0.0, 0.0, 0.1), "`duration` must be > 0 ms, got 0"),
        ((10.0, -1.0, 0.1), "`warmup` must be ≥ 0 ms, got -1"),
        ((10.0, [1.0, 2.0], 0.1), "`warmup` must be a single number"),
        ((10 * mV, 0.0, 0.1), "`duration` must be in ms"),
        ((1e9, 0.0, 0.1), "at most 1000000000 steps"),
    ],
)
def test_times_out_of_range_are_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        Times.of(*arguments)


@pytest.mark.parametrize("dt", [0.0, -0.1])
def test_time_step_must_be_positive(dt):
    with pytest.raises(ValueError, match="`dt` must be > 0 ms"):
        time_step(dt)
