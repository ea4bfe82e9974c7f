"""Inputs that analyses cannot take are refused by a documented exception that says in at most four lines what to do."""

import numpy as np
import pytest
import synthetic
import xarray as xr
from brian2 import Hz, ms, mV
from matplotlib.figure import Figure

from mnnbio import analyses as a
from mnnbio.results import neuron_coords, ragged


class Things:
    """Results that are made once."""

    def __init__(self) -> None:
        self.made = synthetic.make({"E": 6, "I": 3}, stimuli=3, trials=4, duration=1.0, outputs=2, seed=1)
        self.simulation, self.prediction = self.made.simulation, self.made.prediction
        self.spikes = self.simulation["spikes"].to_dataset()
        self.one = synthetic.make({"E": 1}, trials=1, duration=0.05, window=0.05, seed=2)
        self.rates = a.population_rates(self.simulation, 5)
        self.spectra = a.population_spectra(self.rates)
        self.readout = a.stored_readout(self.simulation)
        self.comparison = a.compare(self.prediction, self.simulation, permutations=9)
        self.simulated = self.simulation["simulation"].to_dataset().assign_attrs(self.simulation.attrs)
        unnamed = neuron_coords({"E": 9})["index"]
        self.unlabelled = self.spikes.drop_vars(["population", "neuron", "index"]).assign_coords(index=unnamed)
        self.nobody = ragged([], np.zeros((2, 0)), ("trial", "neuron"), neuron_coords({}), duration=1.0)
        counted = a.binned_counts(self.simulation, 10)
        self.pooled = xr.Dataset({"count": counted.sum("neuron").expand_dims(population=["E"], axis=-1)})
        self.pooled["count"].attrs["bin"] = 0.01
        self.tree = xr.DataTree.from_dict({"/prediction": self.prediction})


@pytest.fixture(scope="module")
def t() -> Things:
    return Things()


RESULTS = {
    "no spikes in the result": (lambda t: a.population_rates(t.tree), "neither /spikes nor /counts"),
    "an array for a result": (lambda t: a.binned_counts(np.zeros(5), 1), "expected a result, an xarray DataTree"),
    "None for a result": (
        lambda t: a.spike_statistics(None),
        "expected a result, an xarray DataTree or Dataset, got Non",
    ),
    "a path for a result": (lambda t: a.synchrony("result.nc"), "got str"),
    "a prediction for spikes": (lambda t: a.population_rates(t.prediction), "expected spike trains or counts"),
    "counts for trains": (lambda t: a.spike_statistics(t.pooled), "need spike trains, the result has counts only"),
    "counts for a state": (lambda t: a.network_state(t.pooled), "needs spike trains, the result has counts only"),
    "counts for accuracy": (
        lambda t: a.accuracy_against_time(t.pooled, t.readout, t.made.labels, [10]),
        "needs spike trains, the result has counts only",
    ),
    "counts of populations, pairs": (lambda t: a.population_covariances(t.pooled, 10), "counts of single neurons"),
    "counts of populations, synchrony": (lambda t: a.synchrony(t.pooled, 10), "counts of single neurons"),
    "counts without their bin": (
        lambda t: a.binned_counts(t.pooled.drop_attrs(), 10),
        "must have the length of their bins",
    ),
    "trains without populations": (lambda t: a.population_rates(t.unlabelled), "labelled by a coordinate `population`"),
    "dynamics of a dataset": (lambda t: a.dynamics(t.spikes), "expected what `simulate` returns, a DataTree"),
    "dynamics without spikes": (lambda t: a.dynamics(t.tree), "no group /spikes"),
    "no neurons, state": (lambda t: a.network_state(t.nobody), "needs neurons, the result has none"),
    "no neurons, synchrony": (lambda t: a.synchrony(t.nobody), "needs neurons, the result has none"),
    "no neurons, covariances": (lambda t: a.population_covariances(t.nobody, 10), "need neurons, the result has none"),
    "trains without duration": (
        lambda t: a.spike_statistics(t.spikes.drop_attrs(deep=False)),
        "have no attribute `duration`",
    ),
    "some of the trains": (lambda t: a.binned_counts(t.spikes.isel(neuron=[0]), 10), "count all trains and select"),
}

TIMES = {
    "a bin of nothing": (lambda t: a.binned_counts(t.simulation, 0), "must be a time > 0 ms, got 0 ms"),
    "a negative bin": (lambda t: a.population_rates(t.simulation, -1), "must be a time > 0 ms"),
    "NaN": (lambda t: a.population_rates(t.simulation, np.nan), "`bin` must be finite"),
    "infinite": (lambda t: a.synchrony(t.simulation, np.inf), "`bin` must be finite"),
    "several bins": (lambda t: a.population_rates(t.simulation, [1, 2]), "a single time in ms"),
    "text": (lambda t: a.population_rates(t.simulation, "1 ms"), "`bin` must be"),
    "None where a bin is needed": (lambda t: a.population_covariances(t.one.simulation), "does not fit|too few"),
    "a voltage": (lambda t: a.population_rates(t.simulation, 1 * mV), "`bin` must be in ms"),
    "a frequency": (lambda t: a.population_spectra(t.rates, 4 * Hz), "`segment` must be in ms"),
    "a bin in seconds": (lambda t: a.population_rates(t.simulation, 0.001), "numbers in ms, or quantities"),
    "a bin between steps": (lambda t: a.network_state(t.simulation, bin=0.25), "whole number of steps, dt = 0.1 ms"),
    "longer than the record": (lambda t: a.binned_counts(t.simulation, 5000), "does not fit between"),
    "a window longer than the record": (lambda t: a.spike_statistics(t.simulation, windows=[5000]), "does not fit"),
    "a window between steps": (lambda t: a.spike_statistics(t.simulation, windows=[10, 0.15]), "whole number of steps"),
    "before the record": (lambda t: a.population_rates(t.simulation, start=-1000), "the recording lasts from"),
    "after the record": (lambda t: a.population_rates(t.simulation, stop=2000), "the recording lasts from"),
    "start after stop": (lambda t: a.population_rates(t.simulation, start=500, stop=400), "does not fit between"),
    "a segment in seconds": (lambda t: a.population_spectra(t.rates, 0.25), "must hold 8 bins of 5 ms or more"),
    "a segment longer than a trial": (lambda t: a.population_spectra(t.rates, 5000), "longer than a trial, 1000 ms"),
    "frequencies in Hz": (lambda t: a.oscillation(t.spectra, low=5.0), "`low` and `high` are numbers in 1/ms"),
    "a time for a frequency": (lambda t: a.oscillation(t.spectra, low=5 * ms), "`low` must be in 1/ms"),
    "no frequencies": (lambda t: a.oscillation(t.spectra, 0.02, 0.01), "fewer than five frequencies lie between"),
    "too few blocks": (lambda t: a.synchrony(t.simulation, blocks=1), "`blocks` must be an integer ≥ 2, got 1"),
    "half a block": (
        lambda t: a.population_covariances(t.simulation, blocks=2.5),
        "`blocks` must be an integer ≥ 2, got 2.5",
    ),
    "too many blocks": (lambda t: a.synchrony(t.simulation, 100), "bins a trial are too few for 10 blocks"),
    "no intervals": (
        lambda t: a.spike_statistics(t.simulation, min_intervals=0),
        "`min_intervals` must be an integer ≥ 1, got 0",
    ),
    "a step outside": (lambda t: a.step_response(t.rates, 5000), "the rates cover"),
    "a step in seconds": (lambda t: a.step_response(t.rates, 0.5), "the rates cover"),
    "no time before": (lambda t: a.step_response(t.rates, 500, before=0), "must be > 0 ms"),
    "settled too long": (lambda t: a.step_response(t.rates, 500, settled=300), "`settled` at most `after`"),
    "no decision times": (
        lambda t: a.accuracy_against_time(t.simulation, t.readout, t.made.labels, []),
        "`times` must be > 0 ms",
    ),
    "a decision before the start": (
        lambda t: a.accuracy_against_time(t.simulation, t.readout, t.made.labels, [-5]),
        "`times` must be > 0 ms",
    ),
    "a decision after the end": (
        lambda t: a.accuracy_against_time(t.simulation, t.readout, t.made.labels, [2000]),
        "at most the duration, 1000 ms",
    ),
}

ARRAYS = {
    "no population rates": (lambda t: a.population_spectra(t.rates.isel(trial=0)), "what `population_rates` returns"),
    "rates without a bin": (lambda t: a.population_spectra(t.rates.drop_attrs()), "with the attribute `bin`"),
    "a dataset of rates": (lambda t: a.population_spectra(t.prediction), "expected what `population_rates` returns"),
    "NaN rates": (lambda t: a.population_spectra(t.rates * np.nan), "with the attribute `bin`|must be finite"),
    "NaN in rates": (
        lambda t: a.step_response((t.rates * np.nan).assign_attrs(bin=0.005), 500),
        "the population rates must be finite",
    ),
    "no spectra": (lambda t: a.oscillation(t.prediction), "expected what `population_spectra` returns"),
    "no matrix": (lambda t: a.mean_covariances(t.prediction["rate"]), "expected a covariance matrix"),
    "no array": (lambda t: a.mean_covariances(np.eye(3)), "expected a covariance matrix"),
    "rates of other neurons": (
        lambda t: a.current_balance(t.prediction["rate"].isel(neuron=slice(3)), t.made.circuit),
        "expected values over all neurons of the circuit",
    ),
    "NaN currents": (
        lambda t: a.current_balance(t.prediction["rate"] * np.nan, t.made.circuit),
        "must be finite",
    ),
    "a list of rates": (
        lambda t: a.current_balance([1.0, 2.0], t.made.circuit),
        "expected rates, a DataArray or Dataset",
    ),
    "no rates": (lambda t: a.current_balance(t.prediction[["fano"]], t.made.circuit), "expected a variable `rate`"),
}

COMPARED = {
    "arrays": (lambda t: a.compare(np.zeros(3), t.simulation), "must be an xarray Dataset or DataTree"),
    "no prediction": (lambda t: a.compare(t.simulation, t.simulation), "no group /prediction"),
    "no rate": (lambda t: a.compare(t.prediction.drop_vars("rate"), t.simulation), "must both have `rate`"),
    "no errors": (lambda t: a.compare(t.prediction, t.simulated.drop_vars("rate_se")), "and the simulation `rate_se`"),
    "fewer neurons": (lambda t: a.compare(t.prediction.isel(neuron=slice(4)), t.simulation), "`neuron` has 4 labels"),
    "other neurons": (
        lambda t: a.compare(t.prediction.assign_coords(neuron=np.arange(1, 10)), t.simulation),
        "`neuron` does not match at 9 of 9 places",
    ),
    "another order": (
        lambda t: a.compare(t.prediction.isel(neuron=slice(None, None, -1)), t.simulation),
        "the order diff",
    ),
    "one stimulus": (lambda t: a.compare(t.prediction.isel(stimulus=0), t.simulation), "has the dimension `stimulus`"),
    "fewer stimuli": (lambda t: a.compare(t.prediction.isel(stimulus=[0, 1]), t.simulation), "`stimulus` has 2 labels"),
    "other stimuli": (
        lambda t: a.compare(t.prediction.assign_coords(stimulus=["a", "b", "c"]), t.simulation),
        "`stimulus` does not match at 3 of 3 places",
    ),
    "another circuit": (
        lambda t: a.compare(t.prediction.assign_attrs(circuit_hash="0"), t.simulation),
        "come from different circuits",
    ),
    "another window": (
        lambda t: a.compare(t.prediction.assign_attrs(window=0.2), t.simulation),
        "for windows of 200 ms",
    ),
    "labels of other number": (
        lambda t: a.compare(t.prediction, t.simulation, labels=["class 0"]),
        "one value for each of the 3 stimuli",
    ),
    "unknown labels": (
        lambda t: a.compare(t.prediction, t.simulation, labels=["cat"] * 3),
        "`labels` has 'cat'",
    ),
    "a rate in Hz": (lambda t: a.compare(t.prediction, t.simulation, min_rate=1.0), "from 0 to 1 spikes/ms"),
    "a time for a rate": (
        lambda t: a.compare(t.prediction, t.simulation, min_rate=1 * ms),
        "`min_rate` must be in 1/ms",
    ),
    "no relabelling": (
        lambda t: a.compare(t.prediction, t.simulation, permutations=0),
        "`permutations` must be an integer ≥ 1, got 0",
    ),
    "no readout": (
        lambda t: a.classification(t.prediction.drop_vars("readout"), t.simulation),
        "no variable `readout`",
    ),
}

FIGURES = {
    "no comparison": (lambda t: a.plot_rates(t.prediction), "no comparison of `rate`"),
    "no dataset": (lambda t: a.plot_z(None), "expected what `compare` returns"),
    "no covariances": (
        lambda t: a.plot_covariance(t.comparison.drop_vars([n for n in t.comparison if "covariance" in str(n)])),
        "has no covariances",
    ),
    "an unknown population": (
        lambda t: a.plot_rates(t.comparison, populations="X"),
        "`populations` names 'X', there are",
    ),
    "a colour of nobody": (
        lambda t: a.plot_rates(t.comparison, colors={"X": "red"}),
        "`colors` names 'X', there are E, I",
    ),
    "too few colours": (lambda t: a.plot_psth(t.simulation, colors=["red"]), "one colour for each of 2 populations"),
    "one colour": (lambda t: a.plot_psth(t.simulation, colors="red"), "`colors` must be a mapping"),
    "too few axes": (lambda t: a.plot_rates(t.comparison, ax=Figure().subplots()), "`ax` must be 2 axes"),
    "no axes": (lambda t: a.plot_rates(t.comparison, ax=[1, 2]), "must be Matplotlib axes, one or a sequence, got int"),
    "a figure for axes": (lambda t: a.plot_psth(t.simulation, ax=Figure()), "must be Matplotlib axes"),
    "a start outside": (lambda t: a.plot_raster(t.simulation, start=5000), "`start` must be in the recording"),
    "no time": (lambda t: a.plot_raster(t.simulation, duration=0), "`duration` must be a time > 0 ms"),
    "no such trial": (lambda t: a.plot_raster(t.simulation, trial=9), "`trial` must be within the 4 there are, got 9"),
    "a raster of counts": (lambda t: a.plot_raster(t.pooled), "a raster needs spike trains"),
    "a long histogram": (lambda t: a.plot_psth(t.simulation, duration=9000), "at most 1000 ms, got 9000 ms"),
    "no such stimulus": (lambda t: a.plot_psth(t.simulation, stimulus=3), "a position among the 3 there are, got 3"),
    "rates elsewhere": (lambda t: a.plot_population_rates(t.rates, start=5000), "must lie within the rates"),
    "no trial of rates": (lambda t: a.plot_population_rates(t.rates, trial=9), "a position among the 4 there are"),
    "stimuli that are none": (lambda t: a.plot_stimuli(t.one.prediction), "the simulation has none"),
    "decisions without labels": (lambda t: a.plot_confusion(t.comparison), "there is no `true_class`: give `labels`"),
    "inputs of nothing": (lambda t: a.plot_inputs(xr.DataArray(np.ones(3), dims="x")), "must be over stimulus and row"),
    "no training": (lambda t: a.plot_training(xr.Dataset({"speed": 1.0})), "no loss or score among"),
    "nothing to report": (lambda t: a.report(xr.DataTree(), "nowhere.html"), "nothing to report on"),
    "a figure that is none": (lambda t: a.plot_nothing, "has no attribute 'plot_nothing'"),
}

CASES = {
    f"{kind}: {name}": case
    for kind, cases in (
        ("result", RESULTS), ("time", TIMES), ("array", ARRAYS), ("comparison", COMPARED), ("figure", FIGURES)
    )
    for name, case in cases.items()
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_refused_in_a_few_lines(t, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call, message = CASES[name]
    error = AttributeError if name.endswith("a figure that is none") else (ValueError, TypeError)
    with pytest.raises(error, match=message) as caught:
        call(t)
    assert len(str(caught.value).splitlines()) <= 4
    assert len(str(caught.value)) < 480
    assert not list(tmp_path.iterdir()), "nothing half-written is left"


def test_there_are_many_cases():
    assert len(CASES) >= 100


# Small, but valid.


def test_one_neuron_one_trial_and_silence_are_answers(t):
    alone = t.one.simulation
    assert a.population_rates(alone).sizes["time"] == 50
    assert a.spike_statistics(alone)["rate"].shape == (1,)
    assert np.isnan(a.synchrony(alone, 1.0)["mean_correlation"]).all()
    silent = synthetic.make({"E": 2}, trials=2, rates=np.zeros(2), seed=0).simulation
    assert float(a.population_rates(silent).max()) == 0
    assert str(a.network_state(silent)["state"].item()) == "silent"
    assert a.population_spectra(a.population_rates(silent))["coherence"].isnull().all()
    assert a.plot_raster(silent)
    assert a.plot_psth(silent).get_ylabel() == "Population rate (Hz)"


def test_no_neurons_are_an_answer(t):
    assert a.binned_counts(t.nobody, 100).shape == (2, 10, 0)
    assert a.population_rates(t.nobody, 100).shape == (2, 10, 0)
    assert a.spike_statistics(t.nobody)["fano"].shape == (1, 0)
