"""Spike train statistics of processes whose irregularity is known."""

import numpy as np
import pytest
import synthetic

from mnnbio.analyses.binned_counts import population_rates
from mnnbio.analyses.spike_trains import spike_statistics
from mnnbio.results import neuron_coords, ragged


def trains(intervals: np.ndarray, *, trials: int, duration: float):
    """Return spike trains (trial, neuron) made of successive rows of intervals, cut at the duration."""
    rows = []
    for row in intervals:
        times = np.cumsum(row)
        assert times[-1] > duration
        rows.append(times[times < duration])
    sizes = np.array([len(r) for r in rows]).reshape(trials, -1)
    coords = {**neuron_coords({"cell": sizes.shape[1]}), "trial": ("trial", np.arange(trials))}
    return ragged(np.concatenate(rows), sizes, ("trial", "neuron"), coords, duration=duration, warmup=0.0)


@pytest.mark.parametrize("shape", [1.0, 4.0])
def test_gamma_process(shape):
    # Interspike intervals of a gamma process: CV 1/sqrt(k), LV 3/(2k + 1) (Shinomoto et al. 2003).
    rng = np.random.default_rng(1)
    mean, duration, trials, n = 0.02, 40.0, 2, 20
    s = spike_statistics(
        trains(rng.gamma(shape, mean / shape, (trials * n, 2600)), trials=trials, duration=duration), windows=[1000.0]
    )
    for name, truth in (("cv", shape**-0.5), ("lv", 3 / (2 * shape + 1)), ("rate", 1 / mean)):
        values = s[name].to_numpy()
        assert abs(values.mean() - truth) < 4 * values.std(ddof=1) / np.sqrt(n), name
    # A window of 50 mean intervals: the Fano factor is CV² but for a term of the order of 1/50.
    assert float(s["fano"].mean()) == pytest.approx(1 / shape, abs=0.03 + 4 * float(s["fano"].std()) / np.sqrt(n))
    if shape == 1.0:
        assert float(s["cv2"].mean()) == pytest.approx(1.0, abs=0.02)


def test_clock():
    s = spike_statistics(trains(np.full((2, 30), 0.1), trials=1, duration=2.05), windows=[500.0])
    np.testing.assert_allclose(s["cv"], 0, atol=1e-12)
    np.testing.assert_allclose(s["cv2"], 0, atol=1e-12)
    np.testing.assert_allclose(s["lv"], 0, atol=1e-12)
    np.testing.assert_array_equal(s["interval_count"], [19, 19])
    np.testing.assert_allclose(s["rate"], 20 / 2.05)


def test_intervals_never_span_trials_or_the_warmup():
    made = synthetic.make({"a": 3}, stimuli=2, trials=4, duration=1.0, seed=2)
    s = spike_statistics(made.simulation, min_intervals=2)
    spikes = made.simulation["spikes"].to_dataset()
    stops = np.cumsum(spikes["row_size"].values.ravel())
    rows = np.split(spikes["spike_time"].values, stops[:-1])
    cv, count = np.full((2, 3), np.nan), np.zeros((2, 3), dtype=int)
    for stimulus in range(2):
        for neuron in range(3):
            own = [np.diff(r[r >= 0]) for r in (rows[(stimulus * 4 + trial) * 3 + neuron] for trial in range(4))]
            pooled = np.concatenate(own)
            cv[stimulus, neuron], count[stimulus, neuron] = pooled.std(ddof=1) / pooled.mean(), len(pooled)
    assert s["cv"].dims == ("stimulus", "neuron")
    np.testing.assert_allclose(s["cv"], cv)
    np.testing.assert_array_equal(s["interval_count"], count)


def test_rate_and_fano_are_those_of_the_simulation():
    made = synthetic.make({"a": 3}, trials=5, seed=3)
    s = spike_statistics(made.simulation, windows=[1e3 * synthetic.WINDOW, 500.0])
    simulation = made.simulation["simulation"]
    np.testing.assert_allclose(s["rate"], simulation["rate"])
    np.testing.assert_allclose(s["fano"].isel(window=0), simulation["count_fano"])
    np.testing.assert_array_equal(s["window_count"], [100, 20])


def test_silent_neurons_are_nan():
    made = synthetic.make({"a": 2}, trials=2, rates=np.array([0.0, 30.0]), seed=4)
    s = spike_statistics(made.simulation)
    assert float(s["rate"][0]) == 0
    for name in ("cv", "cv2", "lv"):
        assert np.isnan(s[name][0])
        assert np.isfinite(s[name][1])
    assert np.isnan(s["fano"][0, 0])


def test_a_window_longer_than_the_recording_raises():
    made = synthetic.make({"a": 2}, trials=2, seed=4)
    with pytest.raises(ValueError, match="window of 5000 ms does not fit"):
        spike_statistics(made.simulation, windows=[5000.0])


def train(times, **attrs):
    return ragged(times, [[len(times)]], ("trial", "neuron"), neuron_coords({"cell": 1}), duration=1.0, **attrs)


def test_spikes_at_one_time_have_no_irregularity():
    s = spike_statistics(train([0.5] * 12), min_intervals=2)
    assert np.isnan(s["cv"][0])
    assert float(s["lv"][0]) == 0
    pairs = spike_statistics(train([0.1, 0.1, 0.2, 0.2, 0.3, 0.3, 0.4]), min_intervals=2)
    assert float(pairs["lv"][0]) == 3  # intervals of 0 and 100 ms in turn


def test_no_neurons_have_no_statistics():
    nobody = ragged([], np.zeros((2, 0)), ("trial", "neuron"), neuron_coords({}), duration=1.0)
    assert spike_statistics(nobody)["cv"].shape == (0,)
    assert population_rates(nobody).sizes == {"trial": 2, "time": 1000, "population": 0}


def test_a_short_trial_is_its_own_window():
    made = synthetic.make({"a": 2}, trials=5, duration=0.05, window=0.05, seed=4)
    assert spike_statistics(made.simulation)["window"].to_numpy().tolist() == [0.05]
