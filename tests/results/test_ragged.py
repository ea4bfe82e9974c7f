"""Spike trains from elsewhere, and windows of any length, against counting by hand."""

import numpy as np
import pytest
import xarray as xr
from brian2 import Hz, ms, mV, second

from mnnbio.machine import NotEnoughMemory
from mnnbio.results import counts, label_stimuli, neuron_coords, ragged, with_stimuli


def make(trains, duration=1.0, *, trials=1, **attrs):
    """Return trains of the neurons of one trial; times and durations in s."""
    rows = [np.asarray(train, dtype=float) for train in trains]
    sizes = np.array([[len(row) for row in rows]] * trials, dtype=int).reshape(trials, len(rows))
    coords = {"trial": range(trials), **neuron_coords({"E": len(rows)})}
    flat = np.concatenate([*rows, []])
    return ragged(np.tile(flat, trials), sizes, ("trial", "neuron"), coords, duration=duration, warmup=0.0, **attrs)


@pytest.mark.parametrize(
    ("trains", "message"),
    [
        ([[0.1, 0.2], [0.3, 0.25]], r"ascend within a train, got 0.3 s before 0.25 s at trial 0, neuron 1: sort each"),
        ([[0.1], [0.2, np.nan]], "must be finite, got nan s at trial 0, neuron 1"),
        ([[0.1, np.inf]], "must be finite, got inf s at trial 0, neuron 0"),
        (
            [[], [0.1, 1.5]],
            r"before the end of the recording, 1 s, got 1.5 s at trial 0, neuron 1: give the `duration`",
        ),
        ([[0.1], [1.0]], "before the end of the recording, 1 s, got 1 s"),
        ([[100.0, 900.0]], "these look like milliseconds: times are in seconds, as results hold them; divide by 1000"),
        ([[-0.5, 0.1]], r"after the beginning of the warm-up, 0 s, got -0.5 s at trial 0, neuron 0"),
    ],
    ids=["unsorted", "nan", "infinite", "late", "at the end", "milliseconds", "early"],
)
def test_times_that_are_none_are_refused(trains, message):
    with pytest.raises(ValueError, match=message) as caught:
        make(trains)
    assert len(str(caught.value).splitlines()) <= 4


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"row_size": [[1, 2]]}, ValueError, "add up to the number of spikes, 2, got 3"),
        ({"row_size": [[3, -1]]}, ValueError, "row sizes must be ≥ 0, got -1"),
        ({"row_size": [[1.0, 1.0]]}, TypeError, "whole numbers, got float64"),
        ({"row_size": [1, 1]}, ValueError, r"must have the dimensions trial, neuron, got shape \(2,\)"),
        ({"dims": ("neuron", "trial")}, ValueError, r"must be \(\[stimulus,\] trial, neuron\), got \(neuron, trial\)"),
        ({"times": [0.1, 0.2j]}, TypeError, "real numbers in seconds or a quantity of time, got complex128"),
        ({"times": ["a", "b"]}, TypeError, "real numbers in seconds"),
        ({"times": [[0.1, 0.2]]}, ValueError, r"one flat array, train after train, got shape \(1, 2\)"),
        ({"times": [1, 2] * mV}, ValueError, "`times` must be in ms, got a quantity of another dimension"),
        ({"coords": neuron_coords({"E": 3})}, ValueError, "conflicting sizes for dimension 'neuron'"),
        ({"duration": -1.0}, ValueError, "`duration` must be a time > 0 s, got -1.0"),
        ({"duration": np.nan}, ValueError, "`duration` must be a time > 0 s, got nan"),
        ({"warmup": -1.0}, ValueError, "`warmup` must be a time ≥ 0 s, got -1.0"),
    ],
)
def test_trains_that_do_not_fit_together_are_refused(options, error, message):
    given = {"times": [0.1, 0.2], "row_size": [[1, 1]], "dims": ("trial", "neuron"), "coords": {}, "duration": 1.0}
    with pytest.raises(error, match=message):
        ragged(**{**given, **options})


def test_trains_may_begin_anew_and_times_may_repeat():
    trains = make([[0.5, 0.6], [], [0.1, 0.1, 0.2], [0.05]], trials=2)
    np.testing.assert_array_equal(counts(trains, 500)[:, 0], [[0, 0, 3, 1]] * 2)


def test_no_neurons_and_no_spikes_are_valid_answers():
    nobody = make([])
    assert nobody.sizes == {"spike": 0, "trial": 1, "neuron": 0}
    assert counts(nobody, 100).shape == (1, 10, 0)
    assert counts(make([[], []]), 100).sum() == 0
    assert neuron_coords({})["population"][1].size == 0


def test_quantities_are_converted():
    trains = ragged([100, 200] * ms, [[2]], ("trial", "neuron"), {}, duration=1 * second, warmup=200 * ms, dt=0.1 * ms)
    np.testing.assert_allclose(trains["spike_time"], [0.1, 0.2])
    assert (trains.attrs["duration"], trains.attrs["warmup"]) == (1.0, 0.2)
    assert trains.attrs["dt"] == pytest.approx(1e-4)
    np.testing.assert_array_equal(counts(trains, 0.15 * second).values.ravel(), [1, 1, 0, 0, 0, 0])
    np.testing.assert_array_equal(counts(trains, 150.0), counts(trains, 150 * ms))


def test_long_windows_keep_the_spikes_at_their_edges():
    # Half a step before the end of a window of a million steps: a tolerance that grows with the window loses them.
    edge = make([[99.99995, 100.00005, 199.99995]], 200.0)
    assert counts(edge, 100e3).values.ravel().tolist() == [1, 2]
    assert counts(edge).values.ravel().tolist() == [3]
    late = make([2000.0 - (np.arange(30)[::-1] + 0.5) * 1e-4], 2000.0)
    assert counts(late).values.ravel().tolist() == [30]


@pytest.mark.parametrize("dt", [1e-4, 3e-5])
def test_steps_are_counted_whatever_the_length_of_the_window(dt):
    steps = np.sort(np.random.default_rng(0).choice(4_000_000, 5000, replace=False))
    trains = make([steps * dt], 4_000_000 * dt, dt=dt)
    for number in (2_000_000, 800_000, 1000, 1):
        expected = np.bincount(steps // number, minlength=4_000_000 // number)
        np.testing.assert_array_equal(counts(trains, 1e3 * number * dt).values.ravel(), expected)


def test_neighbouring_samples_of_a_recording_stay_apart():
    # Two samples at 30 kHz, without a step that is known (cf. elephant, issue 196).
    trains = make([np.array([61528, 61529]) / 30000.0], 61530 / 30000.0)
    assert np.flatnonzero(counts(trains, 1e3 / 30000.0).values.ravel()).tolist() == [61528, 61529]


@pytest.mark.parametrize(
    ("window", "message"),
    [
        (
            1.0,
            r"whole number of steps, dt = 0.4 ms, got 1 ms, 2.5 steps, which would give false rhythms: take 0.8 or 1.2",
        ),
        (0.001, "at least one step, dt = 0.4 ms, got 0.001 ms: times are numbers in ms, or quantities"),
        (0.0, "longer than 0 ms"),
        (-5.0, "longer than 0 ms"),
        (np.nan, "`window` must be finite"),
        ([1.0, 2.0], "a single time in ms"),
        (5 * Hz, "`window` must be in ms, got a quantity of another dimension"),
        (5000.0, "does not fit between 0 ms and 1000 ms"),
    ],
)
def test_windows_that_do_not_suit_are_refused(window, message):
    with pytest.raises(ValueError, match=message):
        counts(make([[0.1]], dt=4e-4), window)


def test_memory_is_checked_before_it_is_taken():
    with pytest.raises(NotEnoughMemory, match=r"counts of 1 trains in 1\d{11} windows take .* Take longer windows"):
        counts(make([[0.1]], 1.0), 1e-8)


def test_counting_needs_whole_trains():
    with pytest.raises(TypeError, match="expected spike trains as `ragged` makes them, got ndarray"):
        counts(np.zeros(3), 1.0)
    with pytest.raises(ValueError, match="add up to 1, but there are 3 spikes: count all trains and select"):
        counts(make([[0.1], [0.2, 0.3]]).isel(neuron=[0]), 100)
    with pytest.raises(ValueError, match="have no attribute `duration`"):
        counts(ragged([0.1], [[1]], ("trial", "neuron"), {}), 100)


def test_stimuli_are_numbered_or_named():
    two = xr.Dataset({"rate": (("stimulus", "neuron"), np.ones((2, 3)))})
    assert with_stimuli(two)["stimulus"].to_numpy().tolist() == [0, 1]
    named = label_stimuli(two, ["left", "right"])
    assert with_stimuli(named)["stimulus"].to_numpy().tolist() == ["left", "right"]
    assert "stimulus" not in two.coords
    assert "stimulus" not in with_stimuli(xr.Dataset({"rate": ("neuron", [1.0])})).coords
    tree = xr.DataTree.from_dict({"/": xr.Dataset({"circuit": "{}"}, attrs={"seed": 1}), "/simulation": two})
    both = label_stimuli(tree, [10, 20])
    assert both["simulation"]["stimulus"].to_numpy().tolist() == [10, 20]
    assert both.attrs == {"seed": 1}


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["a"], r"one for each of \[2\] stimuli, got shape \(1,\)"),
        ([["a", "b"]], r"got shape \(1, 2\)"),
        (["a", "a"], "must differ from each other"),
    ],
)
def test_labels_that_do_not_suit_are_refused(labels, message):
    two = xr.Dataset({"rate": (("stimulus", "neuron"), np.ones((2, 3)))})
    with pytest.raises(ValueError, match=message):
        label_stimuli(two, labels)
    with pytest.raises(ValueError, match="there are no stimuli to label"):
        label_stimuli(two.isel(stimulus=0), labels)
