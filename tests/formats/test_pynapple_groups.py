"""Pynapple: trains, time support and labels go there and come back."""

import numpy as np
import pytest
import xarray as xr
from recorded_results import one_stimulus, population_counts, spikes_and_voltages

from mnnbio.formats import from_pynapple, to_pynapple

nap = pytest.importorskip("pynapple", reason="pynapple is not installed: pip install pynapple")
pytestmark = pytest.mark.filterwarnings("ignore:Some epochs:UserWarning")


def test_presentations_go_there_and_come_back():
    result = spikes_and_voltages()
    groups = [to_pynapple(result, stimulus=k, trial=trial) for k in range(2) for trial in range(3)]
    sizes = result["spikes"]["row_size"].values
    assert [len(groups[4][k]) for k in range(5)] == sizes[1, 1].tolist()
    np.testing.assert_allclose(groups[4].time_support.values, [[-0.1, 0.3]])
    assert list(groups[4]["population"]) == list("EEEII")
    back = from_pynapple(groups, stimuli=[0, 0, 0, 1, 1, 1], dt=0.1, window=100)
    xr.testing.assert_identical(back["spikes"].to_dataset(), result["spikes"].to_dataset())
    xr.testing.assert_equal(back["simulation/covariance"], result["simulation/covariance"])


def test_times_are_those_of_pynapple_within_a_nanosecond():
    result = one_stimulus()
    back = from_pynapple([to_pynapple(result, trial=trial) for trial in range(2)])
    ours, theirs = (own["spikes"]["spike_time"].values for own in (result, back))
    np.testing.assert_allclose(theirs, ours, atol=0.5001e-9)


def test_a_group_of_others_is_cut_into_trials(tmp_path):
    rng = np.random.default_rng(0)
    times = [np.sort(rng.uniform(0, 20, 400)), np.arange(0.05, 20, 0.1)]
    group = nap.TsGroup({3: nap.Ts(times[0]), 7: nap.Ts(times[1])}, metadata={"area": ["V", "A"]})
    group.save(tmp_path / "group.npz")  # a file of pynapple
    group = nap.load_file(tmp_path / "group.npz")
    trials = nap.IntervalSet([1.0, 5.0, 9.0], [3.0, 7.0, 11.0])
    recorded = from_pynapple(group, trials, population="area", warmup=100, window=500)
    number = [((times[0] >= t) & (times[0] < t + 2)).sum() for t in (1.0, 5.0, 9.0)]
    np.testing.assert_allclose(recorded["simulation/rate"].values, [np.mean(number) / 2, 10.0])
    assert list(recorded["spikes/population"].values) == ["V", "A"]


def test_what_cannot_be_read_is_said():
    group = nap.TsGroup({0: nap.Ts(np.array([0.1, 2.0, 5.0]))})
    with pytest.raises(TypeError, match=r"pynapple\.TsGroup or a list of them, got list"):
        from_pynapple([3])
    with pytest.raises(ValueError, match=r"from 1 s to 2 s: give the `duration`"):
        from_pynapple(group, nap.IntervalSet([0, 3], [1, 5]))
    with pytest.raises(ValueError, match="`stimuli` must label each of 2 trials, got 1"):
        from_pynapple(group, nap.IntervalSet([0, 3], [1, 4]), stimuli=["a"])
    with pytest.raises(ValueError, match="of several, each is a trial already"):
        from_pynapple([group, group], nap.IntervalSet([0, 3], [1, 4]))
    with pytest.raises(ValueError, match="has 2 epochs for 1 trials"):
        from_pynapple(group.restrict(nap.IntervalSet([0, 3], [1, 4])))
    with pytest.raises(ValueError, match="needs spikes: the result has none"):
        to_pynapple(population_counts())
    with pytest.raises(ValueError, match="`trial` must be an integer ≥ 0 and ≤ 1, got 2"):
        to_pynapple(one_stimulus(), trial=2)
