"""Arrays, tables and CSV files: nothing is guessed, and round trips lose no bit."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from brian2 import ms, second
from recorded_results import one_stimulus, population_counts, spikes_and_voltages

from mnnbio.formats import from_csv, from_dataframe, from_trains, to_csv, to_dataframe


def spikes(result):
    return result["spikes"].to_dataset()


def test_rates_and_their_errors_are_those_of_the_counts():
    rng = np.random.default_rng(0)
    trains = [[np.sort(rng.uniform(0, 2, n)) for n in (10 + trial, 3)] for trial in range(5)]
    recorded = from_trains(trains, unit="s", duration=2 * second, window=500)
    number = np.array([[len(train) for train in trial] for trial in trains])
    np.testing.assert_allclose(recorded["simulation/rate"].values, number.mean(axis=0) / 2)
    counted = np.array([[np.histogram(train, np.arange(5) * 0.5)[0] for train in trial] for trial in trains])
    samples = counted.transpose(0, 2, 1).reshape(-1, 2)
    np.testing.assert_allclose(recorded["simulation/count_variance"].values, samples.var(axis=0, ddof=1))
    np.testing.assert_allclose(recorded["simulation/count_covariance"].values, np.cov(samples.T))
    assert recorded["simulation/rate"].attrs["units"] == "Hz"


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_units_are_those_given(unit):
    scale = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}[unit]
    recorded = from_trains([np.array([0.1, 0.25]) * scale], unit=unit, duration=500)
    np.testing.assert_allclose(recorded["spikes/spike_time"].values, [0.1, 0.25])


def test_quantities_carry_their_unit():
    recorded = from_trains([[100, 250] * ms], duration=500 * ms)
    np.testing.assert_allclose(recorded["spikes/spike_time"].values, [0.1, 0.25])


def test_neurons_trials_and_stimuli_are_told_by_depth():
    train = np.array([0.1])
    dims = {1: [train, train], 2: [[train, train]] * 3, 3: [[[train, train]] * 3] * 4}
    for depth, trains in dims.items():
        sizes = from_trains(trains, unit="s", duration=200)["spikes/row_size"].sizes
        assert dict(sizes) == {1: {"trial": 1}, 2: {"trial": 3}, 3: {"stimulus": 4, "trial": 3}}[depth] | {"neuron": 2}
    silent = from_trains([[[], []], [[], [0.1]]], unit="s", duration=200)
    np.testing.assert_allclose(silent["simulation/rate"].values, [0.0, 2.5])


def test_populations_are_named():
    recorded = from_trains([[1.0]] * 3, unit="ms", duration=5, population=["E", "I", "E"])
    assert list(recorded["simulation/index"].values) == [0, 0, 1]
    with pytest.raises(ValueError, match="population of each of 3 neurons, got 2 names"):
        from_trains([[1.0]] * 3, unit="ms", duration=5, population=["E", "I"])


def test_what_is_not_said_is_asked_for():
    with pytest.raises(ValueError, match="`unit` of `trains` must be given, one of 's', 'ms'"):
        from_trains([[1.0]], duration=5)
    with pytest.raises(ValueError, match="Invalid value 'sec' for `unit`"):
        from_trains([[1.0]], unit="sec", duration=5)
    with pytest.raises(ValueError, match="these look like milliseconds"):
        from_trains([[150.0]], unit="s", duration=500)
    with pytest.raises(ValueError, match="before the end of the recording"):
        from_trains([[5.0]], unit="ms", duration=5)
    with pytest.raises(ValueError, match="sort each train"):
        from_trains([[2.0, 1.0]], unit="ms", duration=5)
    with pytest.raises(TypeError, match="must be a list with the spike times of each neuron, got array"):
        from_trains(np.zeros(3), unit="s", duration=5)
    with pytest.raises(ValueError, match="at least one neuron"):
        from_trains([], unit="s", duration=5)
    with pytest.raises(ValueError, match="the same neurons, got 2 and 1"):
        from_trains([[[1.0], [2.0]], [[1.0]]], unit="ms", duration=5)
    with pytest.raises(ValueError, match="at most the duration, 5 ms, got 6 ms"):
        from_trains([[1.0]], unit="ms", duration=5, window=6)


@pytest.mark.parametrize("result", [spikes_and_voltages, one_stimulus])
def test_tables_come_back_bit_by_bit(result, tmp_path):
    made = result()
    window = 1e3 * made["simulation"].attrs["window"]
    frame = to_dataframe(made)
    back = from_dataframe(frame, window=window)
    xr.testing.assert_identical(spikes(back), spikes(made))
    xr.testing.assert_equal(back["simulation/rate_se"], made["simulation/rate_se"])
    shuffled = frame.sample(frac=1, random_state=0)
    shuffled.attrs = frame.attrs
    xr.testing.assert_identical(spikes(from_dataframe(shuffled)), spikes(made))
    to_csv(made, tmp_path / "spikes.csv")
    sizes = {"E": made["spikes/population"].values.tolist().count("E")}
    if "I" in made["spikes/population"].values:
        sizes["I"] = 2
    options = {"duration": 1e3 * made.attrs["duration"], "warmup": 1e3 * made.attrs["warmup"], "dt": 0.1}
    read = from_csv(tmp_path / "spikes.csv", unit="s", sizes=sizes, trials=made.attrs["trials"], **options)
    np.testing.assert_array_equal(read["spikes/spike_time"].values, made["spikes/spike_time"].values)
    np.testing.assert_array_equal(read["spikes/row_size"].values, made["spikes/row_size"].values)


def test_tables_of_others_are_asked_what_they_do_not_say(tmp_path):
    frame = pd.DataFrame({"time": [3.0, 1.0, 2.0], "index": [1, 0, 1]})
    recorded = from_dataframe(frame, unit="ms", duration=10)
    np.testing.assert_array_equal(recorded["spikes/spike_time"].values, [1e-3, 2e-3, 3e-3])
    assert from_dataframe(frame, unit="ms", duration=10, sizes={"neurons": 4})["spikes"].sizes["neuron"] == 4
    with pytest.raises(ValueError, match="`unit` of the table must be given"):
        from_dataframe(frame, duration=10)
    with pytest.raises(ValueError, match="`duration` of the table must be given"):
        from_dataframe(frame, unit="ms")
    with pytest.raises(ValueError, match="'index' is missing: it has time, unit"):
        from_dataframe(frame.rename(columns={"index": "unit"}), unit="ms", duration=10)
    with pytest.raises(ValueError, match="below its size, 1, got 1 in row 0"):
        from_dataframe(frame, unit="ms", duration=10, sizes={"neurons": 1})
    with pytest.raises(ValueError, match="must hold whole numbers ≥ 0"):
        from_dataframe(frame.assign(index=[0.5, 1, 1]), unit="ms", duration=10)
    with pytest.raises(ValueError, match="`sizes` must name every population, 'neurons' is missing"):
        from_dataframe(frame, unit="ms", duration=10, sizes={"E": 1})
    with pytest.raises(ValueError, match="`trial` must be below `trials`, 1, got 1"):
        from_dataframe(frame.assign(trial=[0, 1, 0]), unit="ms", duration=10, trials=1)
    frame.to_csv(tmp_path / "x.csv", index=False)
    with pytest.raises(ValueError, match="`unit` of the table"):
        from_csv(tmp_path / "x.csv", duration=10)
    with pytest.raises(ValueError, match="needs spikes: the result has none"):
        to_dataframe(population_counts())
