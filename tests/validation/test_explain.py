"""Causes of wrong predictions, named from data that are drawn from a prediction: no simulation is needed to know."""

import numpy as np
import pytest
import xarray as xr

from mnnbio import Circuit, GaussianDrive, LIFParameters, PoissonSource, Population, Projection, predict
from mnnbio.results import array, estimate_covariance, estimate_mean, estimate_variance, neuron_coords
from mnnbio.validation import Cause, explain, sensitivities
from mnnbio.validation.causes import longer_refractory, scaled_weights
from mnnbio.validation.explain import squared_pair_correlations

DT, WINDOW, TRIALS, CASES = 0.1, 100.0, 600, 10
N = 16


@pytest.fixture(scope="module")
def circuit():
    rng = np.random.default_rng(11)
    return Circuit(
        [
            PoissonSource("in", 30, rates=rng.uniform(0.02, 0.25, 30)),
            Population("cells", N, LIFParameters(v_reset=0.0)),
        ],
        [Projection("in", "cells", weights=rng.uniform(-0.2, 0.5, (N, 30)))],
        [GaussianDrive("cells", mean=rng.uniform(0.5, 0.9, N), std=rng.uniform(0.5, 2.0, N))],
    )


@pytest.fixture(scope="module")
def right(circuit):
    return predict(circuit, dt=DT, window=WINDOW)


@pytest.fixture(scope="module")
def known(circuit):
    return sensitivities(circuit, dt=DT, window=WINDOW)


def drawn(prediction, seed, trials=TRIALS, names=("rate", "count_variance", "count_covariance")):
    """Return data of normal counts with the predicted moments, in trials of ten windows, as `simulate` labels them."""
    rng = np.random.default_rng(seed)
    mean = prediction["rate"].values * 1e-3 * WINDOW
    counts = rng.multivariate_normal(mean, prediction["count_covariance"].values, (trials, 10))
    # Windows are independent here; the rate then has the error that follows from their variance.
    estimates = {
        "rate": (estimate_mean(counts.sum(1)), 1.0),
        "count_variance": (estimate_variance(counts.reshape(-1, N)), 1.0),
        "count_covariance": (estimate_covariance(counts.reshape(-1, N)), 1.0),
    }
    found = {}
    for name in names:
        estimate, unit = estimates[name]
        dims = ("neuron", "neuron_j") if name == "count_covariance" else ("neuron",)
        found[name] = array(name, dims, estimate.value * unit, n_samples=trials)
        found[f"{name}_se"] = array(f"{name}_se", dims, estimate.se * unit, n_samples=trials)
    attrs = {"dt": 1e-3 * DT, "window": 1e-3 * WINDOW, "duration": 10e-3 * WINDOW, "trials": trials}
    return xr.Dataset(found, coords=neuron_coords({"cells": N}, second="count_covariance" in names), attrs=attrs)


def named(found):
    return [str(c) for c in found["cause"].values[found["named"].values]]


def verdicts(circuit, prediction, right, known, **options):
    found = [explain(circuit, prediction, drawn(right, seed), known=known, **options) for seed in range(CASES)]
    return [named(f) or [f.attrs["verdict"]] for f in found]


def test_a_right_prediction_is_called_right_at_the_stated_level(circuit, right, known):
    """Ten cases at the level 0.01: two that are not right have a probability of 0.4 %."""
    assert verdicts(circuit, right, right, known).count(["right"]) >= CASES - 1


def test_the_level_is_held_where_no_error_of_the_theory_is_allowed(circuit, right, known):
    """Without tolerances, 200 data sets at the level 0.1 give at most 20 ± 4.2 · 4 that are not called right."""
    none = {"rate": 0.0, "count_variance": 0.0, "covariance": 0.0}
    wrong = sum(
        explain(circuit, right, drawn(right, seed, 100), known=known, level=0.1, tolerances=none).attrs["verdict"]
        != "right"
        for seed in range(1000, 1200)
    )
    assert wrong <= 20 + 4 * np.sqrt(200 * 0.1 * 0.9)


def test_rates_that_are_too_high_are_named_with_their_size(circuit, right, known):
    wrong = right.copy(deep=True)
    wrong["rate"] = wrong["rate"] * 1.03
    assert verdicts(circuit, wrong, right, known).count(["rates"]) >= CASES - 1
    found = explain(circuit, wrong, drawn(right, 3), known=known)
    one = found.sel(cause="rates")
    assert abs(float(one["size"]) - 0.03) < 4 * float(one["size_se"])
    assert float(one["size"]) == pytest.approx(0.03, rel=0.2)
    assert found.attrs["sentence"].startswith("rates: the predicted rates are off by the factor of +")


@pytest.mark.parametrize("dt", [0.5, 1.0])
def test_too_coarse_a_step_is_named(circuit, right, known, dt):
    wrong = predict(circuit, dt=dt, window=WINDOW)
    assert verdicts(circuit, wrong, right, known).count(["time step"]) >= CASES - 1
    size = explain(circuit, wrong, drawn(right, 3), known=known)["size"].sel(cause="time step")
    assert float(size) == pytest.approx(1e-3 * dt, rel=0.2)


def test_a_wrong_window_is_named(circuit, right, known):
    wrong = predict(circuit, dt=DT, window=2 * WINDOW)
    assert verdicts(circuit, wrong, right, known).count(["window"]) >= CASES - 1
    size = explain(circuit, wrong, drawn(right, 3), known=known)["size"].sel(cause="window")
    assert float(size) == pytest.approx(2e-3 * WINDOW, rel=0.2)


def test_covariances_at_other_pairs_are_named(circuit, right, known):
    wrong, rng = right.copy(deep=True), np.random.default_rng(0)
    matrix = wrong["count_covariance"].values
    one, other = np.triu_indices(N, 1)
    values = rng.permutation(matrix[one, other])
    matrix[one, other], matrix[other, one] = values, values
    # Single covariances are small beside their errors, which takes longer data to see.
    found = [explain(circuit, wrong, drawn(right, s, 4 * TRIALS), known=known) for s in range(CASES)]
    assert [named(f) for f in found].count(["shuffled covariance"]) >= CASES - 1


def test_values_at_other_neurons_are_named(circuit, right, known):
    order = np.random.default_rng(1).permutation(N)
    wrong = right.copy(deep=True)
    for name in ("rate", "count_variance"):
        wrong[name].values[:] = right[name].values[order]
    wrong["count_covariance"].values[:] = right["count_covariance"].values[np.ix_(order, order)]
    assert verdicts(circuit, wrong, right, known).count(["shuffled neurons"]) >= CASES - 1


def test_weights_and_refractory_periods_are_named_with_their_size(circuit, right, known):
    wrong = predict(scaled_weights(circuit, 0.05), dt=DT, window=WINDOW)
    found = explain(circuit, wrong, drawn(right, 1), known=known)
    assert "weights" in named(found)
    assert float(found["size"].sel(cause="weights")) == pytest.approx(0.05, rel=0.2)
    wrong = predict(longer_refractory(circuit, 1.0), dt=DT, window=WINDOW)
    found = explain(circuit, wrong, drawn(right, 2), known=known)
    assert named(found) == ["refractory period"]
    assert float(found["size"].sel(cause="refractory period")) == pytest.approx(1.0, rel=0.2)


def test_an_error_that_is_not_listed_is_unexplained_until_it_is(circuit, right, known):
    def slower(given, size):
        populations = [
            Population(p.name, p.size, LIFParameters(tau_m=p.lif.tau_m * (1 + size), v_reset=0.0))
            if isinstance(p, Population)
            else p
            for p in given.populations
        ]
        return given.with_parts(populations=populations)

    wrong = predict(slower(circuit, 0.1), dt=DT, window=WINDOW)
    assert verdicts(circuit, wrong, right, known).count(["unexplained"]) >= CASES - 1
    own = Cause(name="membrane", change=slower, sizes=(-0.2, -0.1, 0.0, 0.1, 0.2))
    found = explain(circuit, wrong, drawn(right, 1), causes=("rates", "weights", own))
    assert named(found) == ["membrane"]
    assert float(found["size"].sel(cause="membrane")) == pytest.approx(0.1, rel=0.2)


def test_causes_that_data_cannot_tell_apart_are_named_together():
    """Rates alone of neurons that are all alike: a longer pause and lower rates are the same."""
    circuit = Circuit(
        [Population("cells", N, LIFParameters(v_reset=0.0))], drives=[GaussianDrive("cells", mean=1.1, std=1.5)]
    )
    right = predict(circuit, dt=DT, window=WINDOW)
    wrong = predict(longer_refractory(circuit, 1.0), dt=DT, window=WINDOW)
    data = drawn(right, 0, names=("rate",))
    found = explain(circuit, wrong, data, causes=("rates", "refractory period"))
    assert sorted(named(found)) == ["rates", "refractory period"]
    assert "cannot tell apart" in found.attrs["sentence"]
    assert len(repr(found).splitlines()) == 5


def test_squared_correlations_of_pairs_are_those_of_a_plain_loop():
    rng = np.random.default_rng(0)
    root = rng.normal(size=(5, 8))
    r = np.corrcoef(root)
    pairs = [(i, j) for i in range(5) for j in range(i + 1, 5)]
    expected = sum((r[i, k] * r[j, m] + r[i, m] * r[j, k]) ** 2 for i, j in pairs for k, m in pairs)
    assert squared_pair_correlations(r) == pytest.approx(expected)


def test_bad_input_is_refused(circuit, right, known):
    data = drawn(right, 0)
    broken = right.copy(deep=True)
    broken["rate"][3] = np.nan
    with pytest.raises(
        ValueError, match=r"prediction must be finite, got nan for rate at \(stimulus, place\) \(0, 3\)"
    ):
        explain(circuit, broken, data, known=known)
    with pytest.raises(ValueError, match="same \\(stimulus, neuron\\)"):
        explain(circuit, right, data.isel(neuron=slice(5), neuron_j=slice(5)), known=known)
    with pytest.raises(ValueError, match="`level`"):
        explain(circuit, right, data, level=2.0)
    with pytest.raises(ValueError, match="`features`"):
        explain(circuit, right, data, features=("voltage",))
    with pytest.raises(ValueError, match="`causes` are among"):
        explain(circuit, right, data, causes=("ghosts",))
    with pytest.raises(ValueError, match="must say its dt"):
        explain(circuit, right, data.drop_attrs(), known=known)
    with pytest.raises(TypeError, match="Dataset or DataTree"):
        explain(circuit, None, data)
    with pytest.raises(ValueError, match="simulate four trials"):
        explain(circuit, right, drawn(right, 0, 1), known=known)
    few = drawn(right, 0, 8)
    with pytest.raises(ValueError, match="rest on 8 samples"):
        explain(circuit, right, few, known=known)
    with pytest.raises(ValueError, match="0 among them"):
        Cause(name="x", change=scaled_weights, sizes=(1.0, 2.0, 3.0))
