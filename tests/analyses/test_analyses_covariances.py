"""Covariances of populations against matrices of all pairs, and against trains whose covariance is known."""

import numpy as np
import pytest
import synthetic
import xarray as xr

from mnnbio.analyses import binned_counts
from mnnbio.analyses.covariances import mean_covariances, population_covariances
from mnnbio.results import counts


@pytest.fixture(scope="module")
def made() -> synthetic.Synthetic:
    return synthetic.make({"a": 9, "b": 6}, trials=5, duration=4.0, shared=6.0, seed=1)


def test_they_are_those_of_the_matrix_of_all_pairs(made):
    found = population_covariances(made.simulation, 100.0)
    table = counts(made.simulation["spikes"].to_dataset(), 100.0)
    samples = table.stack(sample=("trial", "window")).transpose("sample", "neuron").to_numpy()
    matrix = np.cov(samples, rowvar=False) / 0.1
    place = {"a": slice(0, 9), "b": slice(9, 15)}
    for one in "ab":
        for other in "ab":
            block = matrix[place[one], place[other]]
            pair = found.sel(population=one, population_j=other)
            assert float(pair["population_covariance"]) == pytest.approx(block.sum())
            different = block[~np.eye(len(block), dtype=bool)] if one == other else block
            assert float(pair["pair_covariance"]) == pytest.approx(different.mean())


def test_shared_spikes_are_found_within_their_errors():
    made = synthetic.make({"a": 9, "b": 6}, trials=40, duration=10.0, shared=6.0, seed=2)
    found = population_covariances(made.simulation, 100.0)
    # Each third neuron shares 6 Hz with the others of its population: 3 · 2 of 9 · 8 pairs, 2 · 1 of 6 · 5.
    for name, truth in (("a", 6.0 * 6 / 72), ("b", 6.0 * 2 / 30)):
        pair = found.sel(population=name, population_j=name)
        assert abs(float(pair["pair_covariance"]) - truth) < 4 * float(pair["pair_covariance_se"])
        assert float(pair["pair_covariance_se"]) < 0.3 * truth
    cross = found.sel(population="a", population_j="b")
    assert abs(float(cross["pair_covariance"])) < 4 * float(cross["pair_covariance_se"])


def test_errors_are_those_of_repetitions():
    runs = [
        population_covariances(synthetic.make({"a": 6}, trials=2, shared=8.0, seed=k).simulation) for k in range(40)
    ]
    for name in ("pair_covariance", "population_covariance"):
        spread = np.std([float(run[name].squeeze()) for run in runs], ddof=1)
        typical = np.sqrt(np.mean([float(run[f"{name}_se"].squeeze()) ** 2 for run in runs]))
        assert 0.6 < typical / spread < 1.7


def test_stimuli_stay_apart():
    made = synthetic.make({"a": 4}, stimuli=2, trials=3, seed=3)
    found = population_covariances(made.simulation)
    alone = made.simulation["spikes"].to_dataset()
    table = (
        counts(alone, 100.0).isel(stimulus=1).stack(sample=("trial", "window")).transpose("sample", "neuron").to_numpy()
    )
    assert float(found["population_covariance"].isel(stimulus=1).squeeze()) == pytest.approx(
        np.cov(table, rowvar=False).sum() / 0.1
    )


def test_means_of_a_matrix(made):
    covariance = made.prediction["covariance"]
    found = mean_covariances(covariance)
    values = covariance.to_numpy()
    off = values[:9, :9][~np.eye(9, dtype=bool)]
    assert float(found.sel(population="a", population_j="a")) == pytest.approx(off.mean())
    assert float(found.sel(population="a", population_j="b")) == pytest.approx(values[:9, 9:].mean())
    one = synthetic.make({"a": 1, "b": 2}, trials=4, seed=4).prediction["covariance"]
    assert np.isnan(mean_covariances(one).sel(population="a", population_j="a"))


def test_too_little_is_refused(made):
    with pytest.raises(ValueError, match="4 windows a trial are too few for 10 blocks"):
        population_covariances(made.simulation, 1000.0)
    table = (
        binned_counts(made.simulation, 100.0).sum("neuron").expand_dims(population=["a"], axis=-1).assign_attrs(bin=0.1)
    )
    with pytest.raises(ValueError, match="need counts of single neurons"):
        population_covariances(xr.Dataset({"count": table}))
