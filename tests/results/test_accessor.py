"""The accessor: selections are those of plain indexing, tables hold the numbers, errors name what there is."""

import subprocess
import sys

import numpy as np
import pytest
import synthetic
import xarray as xr

import mnnbio.results
from mnnbio.analyses import compare
from mnnbio.results import group_name, label_stimuli, load, save, spike_trains


@pytest.fixture(scope="module")
def whole():
    """Return a result with everything, of stimuli that have labels."""
    made = synthetic.make({"E": 5, "I": 3}, stimuli=3, trials=12, duration=1.0, shared=3.0, seed=1)
    tree = made.simulation.copy()
    tree["prediction"] = made.prediction
    tree["comparison"] = compare(tree, tree, permutations=9).to_dataset().assign_attrs(verdict="holds", window=0.1)
    return label_stimuli(tree, [0.5, 1.0, 2.0])


def test_a_selection_is_that_of_plain_indexing(whole):
    part = whole.mnnbio.select(population="I", stimulus=[0.5, 2.0])
    for group in ("prediction", "simulation"):
        plain = whole[group].to_dataset().isel(neuron=[5, 6, 7], neuron_j=[5, 6, 7], stimulus=[0, 2])
        xr.testing.assert_identical(part[group].to_dataset(), plain)
    assert part.attrs == whole.attrs
    assert whole.sizes == {}  # the whole is left as it was
    assert whole["simulation"].sizes["neuron"] == 8


def test_spike_trains_go_with_their_neurons(whole):
    spikes = whole["spikes"].to_dataset()
    part = spikes.mnnbio.select(neuron=[1, 6], stimulus=[1.0])
    for neuron in (1, 6):
        for trial in (0, 11):
            (mine,) = spike_trains(part, neuron=neuron, trial=trial)
            (theirs,) = spike_trains(spikes, neuron=neuron, trial=trial, stimulus=1.0)
            np.testing.assert_array_equal(mine, theirs)
    assert part.sizes["spike"] == int(part["row_size"].sum())
    assert part.attrs == spikes.attrs


def test_one_stimulus_drops_the_dimension_and_numbers_within_populations_select(whole):
    part = whole.mnnbio.select(stimulus=1.0, index=2)
    assert part["simulation"]["rate"].dims == ("neuron",)
    assert part["simulation"]["population"].to_numpy().tolist() == ["E", "I"]
    assert part["spikes"]["row_size"].dims == ("trial", "neuron")
    expected = whole["prediction/rate"].sel(stimulus=1.0).isel(neuron=[2, 7])
    np.testing.assert_array_equal(part["prediction/rate"], expected)


def test_summaries_of_what_was_left_out_are_left_out(whole):
    compared = whole["comparison"].to_dataset()
    of_population = compared.mnnbio.select(population=["I"])
    assert "rate_r" not in of_population
    assert "verdict" not in of_population.attrs
    assert of_population["layer_rate_r"].sizes == {"layer": 1}
    assert of_population.attrs["window"] == 0.1
    of_neurons = compared.mnnbio.select(neuron=[0, 1])
    assert "layer_rate_r" not in of_neurons
    assert of_neurons["count_covariance_z"].shape == (2, 2)
    of_stimulus = compared.mnnbio.select(stimulus=[0.5])
    assert "rate_pooled_z" not in of_stimulus
    assert "count_covariance_z" not in of_stimulus  # a mean over stimuli
    assert of_stimulus["rate_z"].shape == (1, 8)
    everything = compared.mnnbio.select(population=["E", "I"])
    xr.testing.assert_identical(everything, compared)


def test_covariances_of_populations_are_selected_too():
    data = xr.Dataset(
        {"rate": ("population", [1.0, 2.0]), "c": (("population", "population_j"), [[1.0, 2.0], [3.0, 4.0]])},
        coords={"population": ["E", "I"], "population_j": ["E", "I"]},
    )
    part = data.mnnbio.select(population="I")
    assert part["c"].to_numpy().tolist() == [[4.0]]
    assert data.mnnbio.to_dataframe().columns.tolist() == ["population", "rate"]


def test_tables_hold_the_numbers(whole):
    table = whole.mnnbio.to_dataframe()
    assert len(table) == 24
    assert table.columns[:4].tolist() == ["stimulus", "neuron", "population", "index"]
    row = table[(table.stimulus == 2.0) & (table.neuron == 6)].iloc[0]
    for side in ("prediction", "simulation"):
        word = {"prediction": "predicted", "simulation": "simulated"}[side]
        assert row[f"rate_{word}"] == float(whole[f"{side}/rate"].sel(stimulus=2.0, neuron=6))
    assert row["rate_se"] == float(whole["simulation/rate_se"].sel(stimulus=2.0, neuron=6))
    spikes = whole.mnnbio.to_dataframe("spikes")
    one = spikes[(spikes.stimulus == 1.0) & (spikes.trial == 3) & (spikes.neuron == 4)]
    (train,) = spike_trains(whole["spikes"].to_dataset(), stimulus=1.0, trial=3, neuron=4)
    np.testing.assert_array_equal(one["time"], train)
    pairs = whole.mnnbio.to_dataframe("prediction/count_covariance")
    assert len(pairs) == 3 * 64
    assert whole["prediction"].to_dataset().mnnbio.to_dataframe("rate")["rate"].sum() == pytest.approx(
        float(whole["prediction/rate"].sum())
    )
    assert len(whole.drop_nodes("prediction").mnnbio.to_dataframe()) == 24


def test_a_summary_says_what_there_is(whole):
    text = whole.mnnbio.summary()
    for part in ("8 (E 5, I 3)", "3: 0.5, 1.0, 2.0", "12 × 1000 ms, 200 ms warm-up, dt 0.1 ms, window 100 ms", "holds"):
        assert part in text
    assert repr(whole.mnnbio) == text
    assert "Hz predicted" in whole["prediction"].to_dataset().mnnbio.summary()
    assert whole["comparison"].to_dataset().mnnbio.summary().startswith("verdict")
    assert xr.Dataset().mnnbio.summary() == "result      prediction"


def test_figures_are_drawn_of_what_there_is(whole):
    assert repr(whole.mnnbio.plot) == "figures: comparison, covariance, raster, rates, tuning"
    assert len(whole.mnnbio.plot.raster(stimuli=1)) == 2
    assert whole.mnnbio.plot.rates().get_xlabel() == "Firing rate (Hz)"
    assert len(whole.mnnbio.plot.covariance()) == 3
    assert len(whole.mnnbio.plot.comparison()) == 2
    assert len(whole.drop_nodes("comparison").mnnbio.plot.comparison()) == 2
    assert len(whole["comparison"].to_dataset().mnnbio.select(population="E").mnnbio.plot.comparison()) == 2
    assert whole.mnnbio.plot.tuning(neurons=2).get_xlabel() == "Stimulus"
    assert whole["simulation"].to_dataset().mnnbio.plot.tuning().get_ylim()[0] == 0
    with pytest.raises(ValueError, match="a comparison needs /prediction and /simulation, the result has"):
        whole.drop_nodes(["comparison", "prediction"]).mnnbio.plot.comparison()


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"population": "X"}, "`population` names 'X', there are E, I"),
        ({"neuron": 99}, "`neuron` names 99, there are 0, 1, 2, 3, 4, 5, 6, 7"),
        ({"neuron": "E"}, "`neuron` names 'E', there are 0, 1"),
        ({"stimulus": [0.5, 7]}, "`stimulus` names 7.0, there are 0.5, 1.0, 2.0"),
        ({"population": "I", "index": 4}, "no neuron has population='I', index=4 together"),
    ],
)
def test_errors_name_what_exists(whole, asked, message):
    with pytest.raises(ValueError, match="^" + message.replace(".", r"\.")):
        whole.mnnbio.select(**asked)


def test_other_bad_input(whole):
    with pytest.raises(ValueError, match="no stimuli to select"):
        whole.mnnbio.select(stimulus=1.0).mnnbio.select(stimulus=1.0)
    with pytest.raises(ValueError, match="nothing here is labelled by `population`; there are a"):
        xr.Dataset(coords={"a": [1]}).mnnbio.select(population="E")
    with pytest.raises(ValueError, match="there is no 'rates'; the groups are simulation, spikes, prediction"):
        whole.mnnbio.to_dataframe("rates")
    with pytest.raises(ValueError, match="'rate' is in several groups: name one, such as 'simulation/rate'"):
        whole.mnnbio.to_dataframe("rate")
    with pytest.raises(ValueError, match="/simulation has no 'x'; it has rate, rate_se"):
        whole.mnnbio.to_dataframe("simulation/x")
    with pytest.raises(ValueError, match="there is no 'x'; there are"):
        whole["simulation"].to_dataset().mnnbio.to_dataframe("x")
    with pytest.raises(ValueError, match="neither /prediction nor /simulation to tabulate; name one of spikes"):
        xr.DataTree.from_dict({"/spikes": whole["spikes"].to_dataset()}).mnnbio.to_dataframe()
    other = whole.copy()
    other["prediction"] = whole["prediction"].to_dataset().isel(neuron=[0])
    with pytest.raises(ValueError, match="are of different neurons or stimuli"):
        other.mnnbio.to_dataframe()
    with pytest.raises(ValueError, match="no quantities of single neurons; name one of c"):
        xr.Dataset({"c": 1.0}).mnnbio.to_dataframe()


def test_without_the_analyses_everything_but_figures_works():
    code = (
        "import xarray as xr, mnnbio.results, sys\n"
        "data = xr.Dataset({'rate': ('neuron', [1.0])}, coords={'neuron': [0]})\n"
        "print(data.mnnbio.summary())\n"
        "try:\n    data.mnnbio.plot\nexcept AttributeError as error:\n    print(error)\n"
        "print('mnnbio.analyses' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "1 Hz predicted" in done.stdout
    assert "figures come with the analyses: `import mnnbio.analyses` first" in done.stdout
    assert done.stdout.endswith("False\n")
    assert mnnbio.results.ResultAccessor.__name__ == "ResultAccessor"


@pytest.mark.parametrize("name", ["prediction", "simulation", "spikes", "comparison"])
def test_a_single_dataset_is_saved_as_the_group_that_it_is(whole, tmp_path, name):
    data = whole[name].to_dataset()
    assert group_name(data) == name
    save(data, tmp_path / "one.nc")
    assert list(load(tmp_path / "one.nc").children) == [name]
