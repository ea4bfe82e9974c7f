"""Comparison of predictions and simulations, on Poisson trains whose every statistic is known."""

import pickle
import re
import warnings

import numpy as np
import pytest
import synthetic
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from mnnbio.analyses.alignment import FewSamplesWarning, TimeStepWarning, WarmupWarning, WindowWarning
from mnnbio.analyses.comparison import compare
from mnnbio.analyses.comparison_table import Comparison, summary
from mnnbio.results import label_stimuli, load, save


@pytest.fixture(scope="module")
def single():
    return synthetic.make({"hidden": 60, "output": 40}, trials=20, duration=4.0, shared=4.0, seed=1)


@pytest.fixture(scope="module")
def compared(single):
    return compare(single.prediction, single.simulation, permutations=99)


@pytest.fixture(scope="module")
def many():
    return synthetic.make({"hidden": 20, "output": 10}, stimuli=40, trials=8, duration=0.1, shared=4.0, seed=2)


def test_z_of_a_true_prediction_is_standard_normal(compared):
    z = compared["rate_z"].to_numpy()
    assert stats.kstest(z, "norm").pvalue > 1e-4
    # Of n independent normals the mean square has a standard deviation of sqrt(2/n); shared spikes raise it a little.
    assert abs(float(compared["rate_z_rms"]) ** 2 - 1) < 4 * np.sqrt(2.2 / z.size)
    assert float(compared["rate_p"]) > 1e-4
    assert float(compared["count_variance_p"]) > 1e-4
    assert int(compared["rate_z_count"]) == 100


def test_a_wrong_prediction_is_found(single):
    wrong = single.prediction.copy()
    wrong["rate"] = wrong["rate"] * 1.1
    c = compare(wrong, single.simulation, permutations=9)
    assert float(c["rate_p"]) < 1e-12
    # The median ratio of 100 neurons, each with a sampling error of about 2 %.
    assert float(c["rate_median_ratio"]) == pytest.approx(1 / 1.1, abs=4 * 1.2533 * 0.03 / 10)
    assert float(c["rate_r"]) > 0.99
    assert float(c["layer_rate_p"].sel(layer="hidden")) < 1e-6


def test_values_and_errors_are_subtraction(single, compared):
    rate, se = single.simulation["simulation"]["rate"], single.simulation["simulation"]["rate_se"]
    error = rate - single.prediction["rate"]
    xr.testing.assert_allclose(compared["rate_error"].drop_attrs(), error.drop_attrs())
    np.testing.assert_allclose(compared["rate_z"], error / se)
    np.testing.assert_allclose(compared["rate_relative_error"], error / single.prediction["rate"])
    for name, variable in compared.data_vars.items():
        assert {"long_name", "units"} <= set(variable.attrs), name


def test_sampling_alone_explains_the_relative_error_of_a_true_prediction(compared):
    measured, expected = compared["rate_median_relative_error"], compared["rate_sampling_relative_error"]
    # The median of 100 half-normals scatters by about 13 % of itself.
    assert float(measured) == pytest.approx(float(expected), rel=4 * 0.13)


def test_layers_are_the_comparison_of_their_neurons(single, compared):
    chosen = single.prediction["population"].to_numpy() == "output"
    alone = compare(
        single.prediction.isel(neuron=chosen, neuron_j=chosen),
        single.simulation["simulation"].to_dataset().isel(neuron=chosen, neuron_j=chosen).assign_attrs(
            single.simulation.attrs, n_samples=800
        ),
        permutations=9,
    )  # fmt: skip
    for name in ("r", "median_relative_error", "z_rms", "z_within_2", "z_count", "p"):
        assert float(compared[f"layer_rate_{name}"].sel(layer="output")) == pytest.approx(float(alone[f"rate_{name}"]))


def test_covariances(compared):
    # 800 windows of 0.1 s: true covariances 0.4 between neurons that share spikes.
    z = compared["count_covariance_z"].to_numpy()[np.triu_indices(100, 1)]
    assert abs(np.mean(z**2) - 1) < 0.1
    assert float(compared["count_covariance_r_p"]) == pytest.approx(0.01)
    assert float(compared["count_covariance_r"]) == pytest.approx(
        float(compared["count_covariance_r_ceiling"]), abs=0.05
    )
    assert float(compared["count_covariance_slope"]) == pytest.approx(1, abs=0.1)
    np.testing.assert_allclose(np.diag(compared["count_correlation_simulated"]), 1)


def test_many_stimuli_are_pooled(many):
    with pytest.warns(FewSamplesWarning, match="8 samples"):
        c = compare(many.prediction, many.simulation, permutations=99)
    assert c["rate_z"].dims == ("stimulus", "neuron")
    assert c["rate_pooled_z"].dims == ("neuron",)
    assert float(c["rate_pooled_p"]) > 1e-4
    assert float(c["count_variance_pooled_p"]) > 1e-4
    assert np.isnan(c["count_variance_p"])  # 8 samples say nothing about the error of a variance
    np.testing.assert_allclose(
        c["rate_pooled_simulated"], many.simulation["simulation"]["rate"].mean("stimulus"), rtol=1e-12
    )
    assert c["count_covariance_predicted"].dims == ("neuron", "neuron_j")
    assert float(c["count_fano_pooled_simulated"].mean()) == pytest.approx(1, abs=0.1)


def test_silent_neurons_and_single_samples_do_not_count():
    rates = np.array([20.0, 0.0, 30.0, 0.5])
    s = synthetic.make({"hidden": 4}, trials=10, rates=rates, seed=3)
    c = compare(s.prediction, s.simulation, permutations=9)
    assert np.isnan(c["rate_z"][1])
    assert np.isnan(c["rate_relative_error"][1])
    assert np.isnan(c["count_fano_z"][1])
    assert int(c["rate_relative_count"]) == 2  # predicted above 1 Hz
    assert int(c["rate_z_count"]) == 3  # the last neuron is expected to fire ten spikes
    one = s.simulation.copy()
    one["simulation"] = one["simulation"].to_dataset().assign(rate_se=np.nan * s.prediction["rate"])
    c = compare(s.prediction, one, permutations=9)
    assert int(c["rate_z_count"]) == 0
    assert np.isnan(c["rate_p"])
    assert np.isnan(c["rate_z_rms"])


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(st.permutations(range(8)))
def test_relabelling_neurons_relabels_the_comparison(order):
    s = small()
    order = list(order)
    simulation = s.simulation["simulation"].to_dataset().assign_attrs(s.simulation.attrs, n_samples=100)
    direct = compare(s.prediction, simulation, permutations=9).isel(neuron=order, neuron_j=order)
    both = {"neuron": order, "neuron_j": order}
    permuted = compare(s.prediction.isel(both), simulation.isel(both), permutations=9)
    for name in direct.data_vars:
        if not str(name).endswith("_r_p") and not str(name).startswith("layer"):
            np.testing.assert_allclose(permuted[name], direct[name], rtol=1e-9, atol=1e-9, err_msg=str(name))


_small: list[synthetic.Synthetic] = []


def small() -> synthetic.Synthetic:
    if not _small:
        _small.append(synthetic.make({"hidden": 5, "output": 3}, trials=5, seed=4))
    return _small[0]


@pytest.mark.slow
def test_everything_in_one_file(tmp_path):
    s = small()
    tree = s.simulation.copy()
    tree["prediction"] = s.prediction
    tree["comparison"] = compare(tree, tree, permutations=9)
    save(tree, tmp_path / "result.nc")
    back = load(tmp_path / "result.nc")
    again = compare(back, back, permutations=9)
    xr.testing.assert_allclose(again.to_dataset().drop_attrs(), back["comparison"].to_dataset().drop_attrs())
    assert again.attrs["window"] == pytest.approx(0.1)


# --- what is printed ---


def test_a_comparison_prints_its_verdict_and_ten_lines(many):
    with pytest.warns(FewSamplesWarning):
        c = compare(many.prediction, many.simulation, permutations=9)
    rows = re.sub(r"\n +", " ", repr(c))
    assert "".join(rows.split()) == "".join(repr(c).split())
    lines = rows.splitlines()
    assert len(lines) <= 11
    assert max(map(len, repr(c).splitlines())) < 120
    assert "".join(lines[0].split()) == "".join(f"verdict {c.attrs['verdict']}".split())
    assert lines[1].split(maxsplit=1) == ["prediction", "diffusion, closure moments, dt 0.1 ms, window 100 ms"]
    assert "8 × 100 ms, 200 ms warm-up, dt 0.1 ms, window 100 ms, seed 2" in lines[2]
    text = str(c)
    for part in (
        "30 (hidden 20, output 10), 40 stimuli",
        "Hz predicted",
        "r = ",
        "r.m.s.",
        "worst ",
        "variances",
        "verdict",
    ):
        assert part in text
    assert "differences of rates are no larger than chance allows (p = " in lines[-1]
    assert "<pre>" in c._repr_html_()


def test_what_is_printed_is_what_was_found(single, compared):
    text = str(compared)
    assert f"r = {float(compared['rate_r']):.3f}" in text
    assert f"r.m.s. {float(compared['rate_z_rms']):.3g}" in text
    assert f"median {100 * float(compared['rate_median_relative_error']):.2g}" in text
    wrong = single.prediction.copy()
    wrong["rate"] = wrong["rate"] * np.where(wrong["population"] == "output", 1.2, 1.0)
    text = str(compare(wrong, single.simulation, permutations=9))
    assert "worst output (1" in text
    assert "the differences of rates are real (p < 0.0001)" in text


def test_the_whole_table_is_at_hand(compared, tmp_path):
    plain = compared.to_dataset()
    assert type(plain) is xr.Dataset
    assert repr(plain).startswith("<xarray.Dataset>")
    assert set(plain.data_vars) == set(compared.data_vars)
    assert plain.attrs == compared.attrs
    assert "rate_r" in repr(compared[["rate_r"]])  # a selection prints as a dataset
    assert isinstance(compared.isel(neuron=slice(5), neuron_j=slice(5)), Comparison)
    tree = xr.DataTree.from_dict({"/comparison": compared})
    save(tree, tmp_path / "c.nc")
    stored = load(tmp_path / "c.nc")["comparison"].to_dataset()
    assert type(stored) is xr.Dataset
    assert summary(stored) == repr(compared)
    assert repr(pickle.loads(pickle.dumps(compared))) == repr(compared)


def test_continuous_time_and_long_windows_are_named():
    s = small()
    with pytest.warns(TimeStepWarning):
        c = compare(s.prediction.assign_attrs(dt="continuous"), s.simulation, permutations=9)
    assert "continuous time, window 100 ms" in str(c)


# --- labels of stimuli ---


def test_stimuli_are_aligned_by_their_labels(many):
    left, right = many.prediction, many.simulation["simulation"].to_dataset().assign_attrs(many.simulation.attrs)
    right = right.assign_attrs(n_samples=100)
    names = [f"angle {k}" for k in range(40)]
    c = compare(label_stimuli(left, names), label_stimuli(right, names), permutations=9)
    assert c["rate_z"]["stimulus"].to_numpy().tolist() == names
    for other in (right, label_stimuli(right, names[::-1]), right.drop_vars("stimulus")):
        with pytest.raises(ValueError, match=r"`stimulus` does not match at 40 of 40 places, .*'angle 0' in the pred"):
            compare(label_stimuli(left, names), other)
    compare(left.drop_vars("stimulus"), right, permutations=9)  # no labels are numbers


# --- what does not match ---


def test_other_labels_raise():
    s = small()
    with pytest.raises(
        ValueError, match=r"`neuron` does not match at 8 of 8 places, first at position 0: 1 in the pred"
    ):
        compare(s.prediction.assign_coords(neuron=s.prediction["neuron"] + 1), s.simulation)
    other = s.simulation["simulation"].to_dataset().assign_coords(population=("neuron", ["x"] * 8))
    with pytest.raises(ValueError, match=r"`population` does not match .* 'hidden' in the prediction, 'x' in the sim"):
        compare(s.prediction.assign_coords(population=("neuron", ["hidden"] * 8)), other)
    with pytest.raises(ValueError, match="`neuron` has 7 labels in the prediction and 8 in the simulation"):
        compare(s.prediction.isel(neuron=slice(7)), s.simulation)
    with pytest.raises(ValueError, match="the order differs: reindex one of them"):
        compare(s.prediction.isel(neuron=slice(None, None, -1)), s.simulation)
    with pytest.raises(ValueError, match="the prediction has the dimension `stimulus`, the simulation has not"):
        compare(s.prediction.expand_dims(stimulus=2), s.simulation)


def test_other_circuits_and_windows_raise():
    s = small()
    with pytest.raises(ValueError, match="come from different circuits"):
        compare(s.prediction.assign_attrs(circuit_hash="0" * 64), s.simulation)
    with pytest.raises(ValueError, match=r"windows of 50 ms, the simulation counted in windows of 100 ms"):
        compare(s.prediction.assign_attrs(window=0.05), s.simulation)


def test_weak_comparisons_warn():
    s = small()
    with pytest.warns(TimeStepWarning, match=r"continuous time, the simulation has dt = 0.1 ms"):
        compare(s.prediction.assign_attrs(dt="continuous"), s.simulation, permutations=9)
    with pytest.warns(TimeStepWarning, match=r"is for dt = 0.5 ms, the simulation ran with dt = 0.1 ms: part of the"):
        compare(s.prediction.assign_attrs(dt=5e-4), s.simulation, permutations=9)
    with pytest.warns(WarmupWarning, match=r"warm-up of 50 ms is 2.5 membrane time constants \(20 ms"):
        compare(s.prediction, with_attrs(s.simulation, warmup=0.05), permutations=9)
    attrs = {key: value for key, value in s.prediction.attrs.items() if key != "window"}
    longwindow = s.prediction.drop_vars(["count_variance", "count_fano", "count_covariance"]).drop_attrs(deep=False)
    with pytest.warns(WindowWarning, match="has no window, the simulation counted in windows of 100 ms"):
        c = compare(longwindow.assign_attrs(attrs), s.simulation, permutations=9)
    assert "rate_z" in c
    assert "count_variance_z" not in c


def test_missing_groups_and_quantities_raise():
    s = small()
    with pytest.raises(ValueError, match="no group /prediction"):
        compare(s.simulation, s.simulation)
    with pytest.raises(TypeError, match="must be an xarray Dataset or DataTree, got ndarray"):
        compare(np.zeros(3), s.simulation)
    with pytest.raises(ValueError, match="must both have `rate`"):
        compare(s.prediction, s.simulation["simulation"].to_dataset().drop_vars("rate_se"))
    with pytest.raises(ValueError, match="`labels` were given"):
        compare(s.prediction, s.simulation, labels=[0])


def test_a_damaged_circuit_is_named():
    s = small()
    tree = s.simulation.copy()
    tree["circuit"] = ((), "{")
    with pytest.raises(ValueError, match="`circuit` is not JSON"):
        compare(s.prediction, tree)


def test_no_stored_circuit_no_warmup_check():
    s = small()
    simulation = s.simulation["simulation"].to_dataset().assign_attrs(s.simulation.attrs, warmup=0.0, n_samples=100)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compare(s.prediction, simulation, permutations=9)


def with_attrs(tree: xr.DataTree, **attrs: object) -> xr.DataTree:
    tree = tree.copy()
    tree.attrs = {**tree.attrs, **attrs}
    return tree
