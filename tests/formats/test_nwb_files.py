"""NWB: round trips lose no bit, files of others are cut into trials, and what cannot be read is said."""

import datetime

import numpy as np
import pytest
import xarray as xr
from recorded_results import ALL, spikes_and_voltages

from mnnbio import Circuit, GaussianDrive, LIFParameters, Population, predict, simulate
from mnnbio.analyses import compare
from mnnbio.formats import from_nwb, to_nwb

pynwb = pytest.importorskip("pynwb", reason="PyNWB is not installed: pip install pynwb")

START = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


@pytest.mark.parametrize("kind", ALL)
def test_a_result_comes_back_bit_by_bit(kind, tmp_path):
    result = ALL[kind]()
    to_nwb(result, tmp_path / "result.nwb", start=START)
    xr.testing.assert_identical(from_nwb(tmp_path / "result.nwb"), result)


def test_a_file_says_what_a_user_of_nwb_looks_for(tmp_path):
    result = spikes_and_voltages()
    to_nwb(result, tmp_path / "result.nwb", start=START)
    with pynwb.NWBHDF5IO(str(tmp_path / "result.nwb"), "r") as handle:
        file = handle.read()
        trials, units = file.trials.to_dataframe(), file.units.to_dataframe()
        voltage, rates = file.acquisition["states_E_v"], file.stimulus["rates_input"]
        samples, times = voltage.data[:] * voltage.conversion, voltage.timestamps[:]
        np.testing.assert_allclose(rates.data[:, 0], [100.0] * 3 + [200.0] * 3)
        assert (rates.unit, voltage.unit) == ("Hz", "volts")
    np.testing.assert_allclose(trials["start_time"], 0.1 + 0.4 * np.arange(6))
    np.testing.assert_allclose(trials["stop_time"] - trials["start_time"], 0.3)
    assert list(trials["stimulus"]) == [0, 0, 0, 1, 1, 1]
    assert list(units["population"]) == list("EEEII")
    # A spike of neuron 2 in the last trial, found as any user of NWB finds it.
    row = result["spikes"]["row_size"].values[1, 2]
    stop = int(result["spikes"]["row_size"].values.sum() - row[3:].sum())
    own = result["spikes"]["spike_time"].values[stop - row[2] : stop]
    begin = trials["start_time"].iloc[5]
    found = np.asarray(units["spike_times"].iloc[2])
    np.testing.assert_allclose(found[found > begin - 0.1] - begin, own, atol=1e-12)
    np.testing.assert_allclose(units["obs_intervals"].iloc[0][:, 1] - units["obs_intervals"].iloc[0][:, 0], 0.4)
    per_trial = result["states/E/v"].values.shape[2]
    np.testing.assert_allclose(samples[:per_trial] * 1e3, result["states/E/v"].values[0, 0])
    assert times[0] == pytest.approx(0.1)


def test_the_reference_library_finds_no_fault(tmp_path):
    to_nwb(spikes_and_voltages(), tmp_path / "result.nwb", start=START)
    assert pynwb.validate(path=str(tmp_path / "result.nwb")) == []


def session(path, *, units=True, trials=True, observed=True, column=True):
    """A file as an experiment has it: three units for 10 s, four trials of 1 s, a voltage."""
    file = pynwb.NWBFile(session_description="x", identifier="x", session_start_time=START)
    rng = np.random.default_rng(0)
    times = [np.sort(rng.uniform(0, 10, 200)), np.arange(0.05, 10, 0.1), np.zeros(0)]
    if units:
        if column:
            file.add_unit_column("area", "x")
        for k, own in enumerate(times):
            marks = {"area": "VA"[k % 2]} if column else {}
            seen = {"obs_intervals": [[0.0, 10.0 if k else 9.0]]} if observed else {}
            file.add_unit(spike_times=own, **marks, **seen)
    if trials:
        file.add_trial_column("go_time", "x")
        file.add_trial_column("side", "x")
        for k in range(4):
            file.add_trial(start_time=2.0 * k + 1, stop_time=2.0 * k + 2, go_time=2.0 * k + 1.2, side="LR"[k % 2])
    file.add_acquisition(
        pynwb.TimeSeries(name="voltage", data=np.arange(10_000.0)[:, None], unit="volts", conversion=1e-3, rate=1e3)
    )
    with pynwb.NWBHDF5IO(str(path), "w") as handle:
        handle.write(file)
    return times


def test_a_file_of_others_is_cut_into_trials(tmp_path):
    times = session(tmp_path / "x.nwb")
    recorded = from_nwb(
        tmp_path / "x.nwb",
        align="go_time",
        duration=500,
        warmup=100,
        population="area",
        stimulus="side",
        series={"V": "voltage"},
        window=250,
    )
    assert list(recorded["spikes/population"].values) == ["V", "A", "V"]
    assert list(recorded["spikes/index"].values) == [0, 0, 1]
    assert list(recorded["spikes/stimulus"].values) == ["L", "R"]
    assert recorded["spikes/row_size"].sizes == {"stimulus": 2, "trial": 2, "neuron": 3}
    go = {"L": [1.2, 5.2], "R": [3.2, 7.2]}
    for side, starts in go.items():
        number = [((times[0] >= t) & (times[0] < t + 0.5)).sum() for t in starts]
        assert recorded["simulation/rate"].sel(stimulus=side).values[0] == pytest.approx(np.mean(number) / 0.5)
        assert recorded["simulation/rate"].sel(stimulus=side).values[1] == pytest.approx(10.0)
    assert recorded["spikes/spike_time"].values.min() < 0  # of the warm-up
    voltage = recorded["states/V/v"]
    assert voltage.attrs["units"] == "mV"
    np.testing.assert_allclose(voltage.sel(stimulus="L").values[1, :2, 0], [5200.0, 5201.0])


def test_a_file_without_trials_is_one(tmp_path):
    session(tmp_path / "x.nwb", trials=False)
    recorded = from_nwb(tmp_path / "x.nwb", window=1000)
    assert recorded.attrs["duration"] == pytest.approx(9.0)  # while all units were observed
    assert recorded["simulation/rate"].values[1] == pytest.approx(10.0)
    assert recorded["simulation/rate_se"].values[1] == pytest.approx(0.0, abs=1e-12)


def test_what_cannot_be_read_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match="no NWB file"):
        from_nwb(tmp_path / "none.nwb")
    (tmp_path / "text.nwb").write_text("x")
    with pytest.raises(ValueError, match="not a complete NWB file"):
        from_nwb(tmp_path / "text.nwb")
    session(tmp_path / "raw.nwb", units=False)
    with pytest.raises(ValueError, match=r"no units, which hold sorted spikes \(it has voltage\)"):
        from_nwb(tmp_path / "raw.nwb")
    session(tmp_path / "bare.nwb", trials=False, observed=False)
    with pytest.raises(ValueError, match=r"neither trials nor observed intervals.*give `duration`, ms"):
        from_nwb(tmp_path / "bare.nwb")
    assert from_nwb(tmp_path / "bare.nwb", duration=10_000).attrs["duration"] == 10
    session(tmp_path / "x.nwb")
    with pytest.raises(ValueError, match="`align` must name a column of the trials, start_time, stop_time, go_time"):
        from_nwb(tmp_path / "x.nwb", align="go")
    with pytest.raises(ValueError, match=r"unit 0 was not observed in all of trial 3, 7 s to 9\.5 s"):
        from_nwb(tmp_path / "x.nwb", duration=2500)
    with pytest.raises(ValueError, match="`trials` must be from 0 to 3, got 4"):
        from_nwb(tmp_path / "x.nwb", trials=[4])
    with pytest.raises(ValueError, match="`units` must be from 0 to 2, got 3"):
        from_nwb(tmp_path / "x.nwb", units=[3])
    with pytest.raises(ValueError, match="time series of the acquisition, voltage; got 'current'"):
        from_nwb(tmp_path / "x.nwb", series={"V": "current"})
    with pytest.raises(ValueError, match="all stimuli must have the same number of trials, got 'L' 2, 'R' 1"):
        from_nwb(tmp_path / "x.nwb", stimulus="side", trials=[0, 1, 2])


@pytest.fixture(scope="module")
def small_circuit():
    rng = np.random.default_rng(1)
    return Circuit([Population("E", 6, LIFParameters())], drives=[GaussianDrive("E", rng.uniform(0.6, 1.3, 6), 1.0)])


def test_recorded_against_predicted_is_simulated_against_predicted(small_circuit, tmp_path):
    """What went through a file gives the same comparison, and the file's own columns the same within rounding."""
    simulation = simulate(small_circuit, 1000, trials=10, warmup=200, window=100, seed=3, codegen="runtime")
    prediction = predict(small_circuit, dt=0.1, window=100)
    to_nwb(simulation, tmp_path / "x.nwb", start=START)
    theirs = compare(prediction, simulation).to_dataset()
    xr.testing.assert_identical(compare(prediction, from_nwb(tmp_path / "x.nwb")).to_dataset(), theirs)
    with pynwb.NWBHDF5IO(str(tmp_path / "x.nwb"), "r") as handle:
        file = handle.read()
        bare = pynwb.NWBFile(session_description="x", identifier="x", session_start_time=START)
        for begin, end in zip(file.trials["start_time"][:], file.trials["stop_time"][:], strict=True):
            bare.add_trial(start_time=begin, stop_time=end)
        bare.add_unit_column("population", "x")
        for k in range(6):
            own = {"spike_times": file.units["spike_times"][k], "obs_intervals": file.units["obs_intervals"][k]}
            bare.add_unit(**own, population="E")
    recorded = from_nwb(bare, warmup=200, dt=0.1, window=100)
    ours = compare(prediction, recorded).to_dataset()
    for name in ("rate_z", "count_variance_z", "rate_se", "count_fano_simulated"):
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-9)
    assert abs(float(ours["rate_z"].mean())) < 4 / np.sqrt(6)  # the theory holds, and the error bars are the data's own
