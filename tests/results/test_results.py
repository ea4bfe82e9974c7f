"""Spike trains, estimates with standard errors, and result files."""

import errno
import os

import numpy as np
import pytest
import xarray as xr

import mnnbio
from mnnbio.machine import FileError
from mnnbio.results.estimates import estimate_covariance, estimate_fano, estimate_mean, estimate_variance
from mnnbio.results.files import ResultFileError
from mnnbio.results.ragged import counts, ragged, spike_trains
from mnnbio.results.schema import array, neuron_coords


@pytest.fixture
def spikes():
    """Ragged trains of 2 stimuli × 3 trials × 4 neurons, 0.1 s of warm-up and 1 s of counting."""
    rng = np.random.default_rng(0)
    sizes = rng.integers(0, 9, (2, 3, 4))
    times = np.concatenate([np.sort(rng.uniform(-0.1, 1.0, n)) for n in sizes.ravel()])
    coords = {"stimulus": [0, 1], "trial": range(3), **neuron_coords({"E": 3, "I": 1})}
    return ragged(times, sizes, ("stimulus", "trial", "neuron"), coords, duration=1.0, warmup=0.1)


def test_counts_equal_counting_train_by_train(spikes):
    found = counts(spikes, 250)
    assert found.dims == ("stimulus", "trial", "window", "neuron")
    trains = iter(spike_trains(spikes))
    for stimulus in range(2):
        for trial in range(3):
            for neuron in range(4):
                expected, _ = np.histogram(next(trains), np.linspace(0, 1, 5))
                np.testing.assert_array_equal(found[stimulus, trial, :, neuron], expected)
    whole = counts(spikes)
    np.testing.assert_array_equal(whole.sum("window"), found.sum("window"))
    part = counts(spikes, 250, start=250, stop=800)
    assert part.sizes["window"] == 2
    np.testing.assert_array_equal(part, found.isel(window=[1, 2]))


def test_a_spike_on_a_window_edge_counts_once():
    """Steps of 0.1 ms are not exact in binary; a spike at the start of a window belongs to it."""
    steps = np.arange(0, 10000)
    trains = ragged(steps * 1e-4, [[len(steps)]], ("trial", "neuron"), {"trial": [0]}, duration=1.0)
    np.testing.assert_array_equal(counts(trains, 100.0).values.ravel(), np.full(10, 1000))
    np.testing.assert_array_equal(counts(trains, 0.3).values.ravel(), np.full(3333, 3))


def test_trains_are_chosen_by_label(spikes):
    chosen = list(spike_trains(spikes, population="I", trial=1))
    assert len(chosen) == 2
    everything = list(spike_trains(spikes))
    np.testing.assert_array_equal(chosen[0], everything[4 + 3])
    with pytest.raises(ValueError, match="not by 'layer'"):
        next(spike_trains(spikes, layer=1))


def test_trains_that_do_not_add_up_raise():
    with pytest.raises(ValueError, match="add up to the number of spikes, 3, got 2"):
        ragged([0.1, 0.2, 0.3], [[1, 1]], ("trial", "neuron"), {})


def test_a_window_that_does_not_fit_raises(spikes):
    with pytest.raises(ValueError, match="a window of 2000 ms does not fit between 0 ms and 1000 ms"):
        counts(spikes, 2000)


# Gamma counts are skewed and over-dispersed: they would expose a standard error that assumes Gaussian or Poisson data.
@pytest.mark.parametrize("draw", ["poisson", "gamma"])
def test_standard_errors_are_those_of_repeated_experiments(draw):
    rng = np.random.default_rng(7)
    n, experiments = 200, 4000
    if draw == "poisson":
        x, mean, variance = rng.poisson(3.0, (n, experiments)).astype(float), 3.0, 3.0
    else:
        x, mean, variance = rng.gamma(4.0, 0.5, (n, experiments)), 2.0, 1.0
    for estimate, truth in ((estimate_mean, mean), (estimate_variance, variance), (estimate_fano, variance / mean)):
        found = estimate(x)
        spread = found.value.std()
        # Relative error of the spread of 4000 experiments: about 1/√8000, larger for heavy tails.
        assert abs(np.sqrt((found.se**2).mean()) / spread - 1) < 4 * 0.02
        assert abs(found.value.mean() - truth) < 4 * spread / np.sqrt(experiments) + truth / n


def test_standard_errors_of_covariances():
    rng = np.random.default_rng(8)
    true = np.array([[2.0, 0.8], [0.8, 1.0]])
    x = rng.multivariate_normal([0, 0], true, size=(300, 3000))
    found = estimate_covariance(x)
    assert found.value.shape == (3000, 2, 2)
    spread = found.value.std(axis=0)
    np.testing.assert_allclose(np.sqrt((found.se**2).mean(axis=0)), spread, rtol=0.08)
    assert (np.abs(found.value.mean(axis=0) - true) < 4 * spread / np.sqrt(3000)).all()
    np.testing.assert_allclose(found.value[0], np.cov(x[:, 0].T), rtol=1e-12)


def test_too_few_samples_have_no_error():
    one = np.ones((1, 3))
    assert np.isnan(estimate_mean(one).se).all()
    assert np.isnan(estimate_variance(one).value).all()
    assert np.isnan(estimate_covariance(one).value).all()
    three = np.array([[0.0], [1.0], [5.0]])
    assert np.isfinite(estimate_variance(three).value).all()
    assert np.isnan(estimate_variance(three).se).all()
    assert np.isnan(estimate_fano(three).se).all()
    assert np.isnan(estimate_covariance(three).se).all()
    assert np.isnan(estimate_fano(np.zeros((5, 2))).value).all()


def test_files_hold_everything(tmp_path, spikes):
    path = tmp_path / "deep" / "result.nc"
    tree = xr.DataTree.from_dict({"/": xr.Dataset({"circuit": ((), "x" * 100_000)}), "/spikes": spikes})
    mnnbio.save(tree, path)
    again = mnnbio.load(path)
    xr.testing.assert_identical(again["spikes"].to_dataset(), spikes)
    assert again["circuit"].item() == "x" * 100_000
    with xr.open_datatree(path) as plain:
        assert plain["spikes/row_size"].attrs["sample_dimension"] == "spike"
    assert [p.name for p in path.parent.iterdir()] == ["result.nc"]


def test_a_single_dataset_becomes_its_group(tmp_path):
    prediction = xr.Dataset({"rate": array("rate", ["neuron"], [1.0])}, attrs={"group": "prediction"})
    mnnbio.save(prediction, tmp_path / "p.nc")
    assert mnnbio.load(tmp_path / "p.nc")["prediction/rate"].attrs["units"] == "Hz"


def test_unreadable_files_raise(tmp_path, spikes):
    with pytest.raises(FileNotFoundError, match="no result file"):
        mnnbio.load(tmp_path / "none.nc")
    text = tmp_path / "text.nc"
    text.write_text("not netCDF")
    with pytest.raises(ResultFileError, match="not a complete netCDF-4 file"):
        mnnbio.load(text)
    mnnbio.save(spikes, tmp_path / "whole.nc")
    truncated = tmp_path / "half.nc"
    truncated.write_bytes((tmp_path / "whole.nc").read_bytes()[:-2000])
    with pytest.raises(ResultFileError, match="truncated"):
        mnnbio.load(truncated)
    foreign = tmp_path / "foreign.nc"
    xr.Dataset({"t": ("x", [1.0])}).to_netcdf(foreign)
    with pytest.raises(ResultFileError, match="of something else"):
        mnnbio.load(foreign)


def test_a_full_disk_leaves_the_old_file(tmp_path, spikes, monkeypatch):
    path = tmp_path / "result.nc"
    mnnbio.save(spikes, path)
    before = path.read_bytes()

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(xr.DataTree, "to_netcdf", full)
    with pytest.raises(FileError, match=r"No space left on device.*unchanged"):
        mnnbio.save(spikes, path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["result.nc"]


def test_a_place_that_cannot_be_written_raises(tmp_path, spikes):
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="cannot write"):
        mnnbio.save(spikes, tmp_path / "file" / "result.nc")


def test_coordinates_label_populations():
    coords = neuron_coords({"E": 2, "I": 1}, second=True)
    assert coords["population"][1].tolist() == ["E", "E", "I"]
    assert coords["index"][1].tolist() == [0, 1, 0]
    assert coords["population_j"][0] == "neuron_j"


def test_a_file_of_a_later_schema_is_refused(tmp_path):
    import netCDF4

    path = tmp_path / "result.nc"
    mnnbio.save(xr.Dataset({"rate": array("rate", ["neuron"], [1.0])}), path)
    with netCDF4.Dataset(path, "a") as file:
        file.setncattr("Conventions", "CF-1.11 mnnbio-2")
    with pytest.raises(ResultFileError, match="is of a later version: its schema is mnnbio-2, this version reads"):
        mnnbio.load(path)
