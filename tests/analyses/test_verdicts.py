"""Verdicts on predictions, their intervals and tests, on counts drawn from the prediction itself."""

import warnings

import numpy as np
import pytest
import synthetic
import xarray as xr
from drawn_counts import WINDOW, law
from scipy import stats

from mnnbio.analyses import ComparisonWarning, compare
from mnnbio.analyses.alignment import MissingValuesWarning
from mnnbio.analyses.biases import MARGINS, require_margins
from mnnbio.analyses.distribution_distance import ks_distance
from mnnbio.analyses.record_blocks import excess_square, mean_error
from mnnbio.analyses.significance import benjamini_hochberg, holm, p_values

SIZES = {"E": 12, "I": 6}
# 4 standard errors, fixed beforehand.
K = 4


def compared(prediction, simulation, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ComparisonWarning)
        return compare(prediction, simulation, permutations=1, **options)


# --- calibration: the small version of benchmarks/calibration.py ---


@pytest.fixture(scope="module", params=["trials", "one trial"])
def repeated(request):
    """80 comparisons of an exact prediction, neurons correlated; one trial with a memory too."""
    if request.param == "trials":
        own, trials, windows = law(SIZES, correlation=0.2), 20, 5
    else:
        own, trials, windows = law(SIZES, correlation=0.2, memory=0.3), 1, 400
    prediction = own.prediction()
    return [
        compared(prediction, own.simulation(np.random.default_rng([5, k]), trials, windows)).to_dataset()
        for k in range(80)
    ]


@pytest.mark.slow
def test_p_of_an_exact_prediction_is_uniform(repeated):
    for name in ("rate_p", "rate_bias_p", "count_variance_bias_p", "summed_variance_bias_p"):
        p = [float(c[name]) for c in repeated]
        assert stats.kstest(p, "uniform").pvalue > 1e-4, name
    single = np.concatenate([c["rate_p_value"].to_numpy()[::6] for c in repeated])
    assert stats.kstest(single, "uniform").pvalue > 1e-4


@pytest.mark.slow
def test_intervals_cover_as_often_as_they_say(repeated):
    error = np.sqrt(0.95 * 0.05 / len(repeated))
    for aspect in ("rate", "count_variance", "summed_variance"):
        low, high = (np.array([float(c[f"{aspect}_bias_{end}"]) for c in repeated]) for end in ("low", "high"))
        assert ((low < 0) & (high > 0)).mean() > 0.95 - K * error, aspect
        within = np.array([float(c["rate_z_rms_low"] < c["rate_z_rms"]) for c in repeated])
        assert within.mean() > 0.975 - K * error


@pytest.mark.slow
def test_an_exact_prediction_rarely_differs(repeated):
    error = np.sqrt(0.95 * 0.05 / len(repeated))
    assert np.mean([c.attrs["verdict_status"] == "differs" for c in repeated]) < 0.05 + K * error
    assert np.mean([bool((c["rate_p_holm"] < 0.05).any()) for c in repeated]) < 0.05 + K * error


@pytest.mark.slow
def test_the_equivalence_test_holds_its_level_at_the_margin():
    own, n = law(SIZES, correlation=0.2), 80
    shifted = own.prediction(0.05)
    shifted["count_variance"] = shifted["count_variance"] / 1.1
    margin = {"rate": 0.05, "count_variance": 0.1}
    found = [compared(shifted, own.simulation(np.random.default_rng([6, k]), 20, 5), margin=margin) for k in range(n)]
    for aspect in margin:
        share = np.mean([float(c[f"{aspect}_equivalence_p"]) < 0.05 for c in found])
        assert abs(share - 0.05) < K * np.sqrt(0.05 * 0.95 / n), aspect


@pytest.mark.parametrize("correlation", [0.0, 0.3])
def test_the_excess_square_has_its_variance_and_level(correlation):
    rng, neurons, number, size = np.random.default_rng(1), 30, 20, 0.4
    root = np.linalg.cholesky(np.full((neurons, neurons), correlation) + (1 - correlation) * np.eye(neurons))
    delta = size * np.resize([1.0, -1.0], neurons)
    found = [excess_square(delta + rng.normal(size=(1, number, neurons)) @ root.T) for _ in range(1500)]
    value = np.array([one.value for one in found])
    assert abs(value.mean() - size**2) < K * value.std() / np.sqrt(len(value))
    at = np.sqrt([max(one.variance, one.base + one.slope * size**2) for one in found])
    level = (stats.t.cdf((value - size**2) / at, number - 1) < 0.05).mean()
    assert level < 0.05 + K * np.sqrt(0.05 * 0.95 / len(value))
    if not correlation:  # Var = [4 |δ|²/B + 2 N/(B (B - 1))]/N²
        exact = (4 * size**2 / number + 2 / (number * (number - 1))) / neurons
        assert value.var() == pytest.approx(exact, rel=K * np.sqrt(2 / len(value)) * 1.5)
        assert np.mean([one.variance for one in found]) == pytest.approx(exact, rel=0.1)


# --- what is said ---


def test_a_right_prediction_holds():
    own = law({"E": 30, "I": 20})
    c = compared(own.prediction(), own.simulation(np.random.default_rng(0), 100, 20))
    assert c.attrs["verdict_status"] == "holds"
    assert c.attrs["verdict"].startswith("The prediction holds: mean rates within 2")
    assert "variances of summed counts within 20" in c.attrs["verdict"]
    assert c["layer_status"].to_numpy().tolist() == ["holds", "holds"]
    assert str(c["layer_verdict"][1].item()).startswith("The prediction of I holds: mean rates within 2")
    assert repr(c).startswith("verdict     The prediction holds")
    assert c.attrs["errors_from"] == "blocks of the record"
    assert c.attrs["blocks"] == 100


def test_a_wrong_population_is_named_with_its_error():
    own = law({"E": 30, "I": 20})
    error = np.repeat([0.0, 0.06], [30, 20])
    c = compared(own.prediction(error), own.simulation(np.random.default_rng(1), 100, 20))
    assert c["layer_status"].to_numpy().tolist() == ["holds", "differs"]
    low, high = float(c["layer_rate_bias_low"][1]), float(c["layer_rate_bias_high"][1])
    assert low < 0.06 < high
    text = c.attrs["verdict"]
    assert text.startswith("The prediction differs from the simulation: mean rates by +")
    assert "in I (margin 2" in text
    assert "It holds in part: mean rates of E within 2" in text
    half = 100 * (high - low) / 2
    assert f"± {half:.1f}" in text or f"± {half:.2f}" in text


def test_too_few_data_say_how_many_would_do():
    own = law(SIZES)
    simulated = [own.simulation(np.random.default_rng([2, k]), trials, 10) for k, trials in ((0, 4), (1, 400))]
    few, many = (compared(own.prediction(), one, margin=0.05) for one in simulated)
    assert few.attrs["verdict_status"] == "undecided"
    assert few.attrs["verdict"].startswith("Whether the prediction holds cannot be told from these data: it is open")
    assert "trials of 1 s (here 4 trials)" in few.attrs["verdict"]
    assert many["layer_rate_equivalence_p"].max() < 0.05


def test_the_cause_is_said_where_it_is_known():
    own = law(SIZES)
    prediction = own.prediction(0.2).assign_attrs(dt="continuous")
    c = compared(prediction, own.simulation(np.random.default_rng(3), 20, 10))
    assert (
        "differs from the simulation, in part because it is of continuous time and the simulation of steps of 0.1"
        in (c.attrs["verdict"])
    )


def test_single_neurons_may_differ_where_means_do_not():
    own = law({"E": 40})
    signs = np.resize([0.1, -0.1], 40)
    prediction = own.prediction()
    prediction["rate"] = prediction["rate"] * (1 + signs)
    prediction["rate"] *= own.mean.mean() / WINDOW / prediction["rate"].mean()
    c = compared(prediction, own.simulation(np.random.default_rng(4), 100, 20))
    assert "rates of single neurons by 1" in c.attrs["verdict"]
    assert "mean rates within 2" in c.attrs["verdict"]


def test_errors_without_trains_come_from_matrices():
    own = law(SIZES, correlation=0.2)
    tree = own.simulation(np.random.default_rng(5), 50, 10)
    whole = compared(own.prediction(), tree)
    alone = compared(own.prediction(), tree["simulation"].to_dataset().assign_attrs(tree.attrs))
    assert alone.attrs["errors_from"] == "errors of single neurons and simulated correlations of their counts"
    # Two estimates of one error from the same 500 windows and 50 trials.
    for aspect in ("rate", "count_variance"):
        ratio = float(alone[f"{aspect}_bias_se"]) / float(whole[f"{aspect}_bias_se"])
        assert 1 / 1.5 < ratio < 1.5, aspect
    bare = tree["simulation"].to_dataset().assign_attrs(tree.attrs)
    bare = bare.drop_vars(["count_covariance", "count_covariance_se", "covariance", "covariance_se"])
    few = compared(own.prediction().drop_vars(["count_covariance", "covariance"]), bare)
    assert few.attrs["errors_from"] == "errors of single neurons, taken as independent of each other"


def test_blocks_and_counts_agree_with_a_plain_loop():
    own = law({"E": 5})
    tree = own.simulation(np.random.default_rng(6), 3, 40)
    c = compared(own.prediction(), tree, blocks=6)
    drawn = tree["counts"]["count"].to_numpy()
    means = [drawn[trial, 20 * half : 20 * half + 20].mean() for trial in range(3) for half in range(2)]
    predicted = own.mean.mean()
    assert float(c["rate_bias"]) == pytest.approx(np.mean(means) / predicted - 1)
    assert float(c["rate_bias_se"]) == pytest.approx(np.std(means, ddof=1) / np.sqrt(6) / predicted)
    assert c.attrs["block_length"] == pytest.approx(2.0)


def test_stimuli_are_strata():
    samples = np.array([[1.0, 2.0, 4.0], [10.0, 11.0, 15.0]])
    se, dof = mean_error(samples)
    own = samples.var(axis=1, ddof=1) / 3
    assert se == pytest.approx(np.sqrt(own.sum()) / 2)
    assert dof == pytest.approx(2 * own.sum() ** 2 / (own**2).sum())
    assert np.isnan(mean_error(samples[:, :1])).all()
    assert mean_error(np.arange(30.0)[:, None])[0] == pytest.approx(stats.sem(np.arange(30.0)))


# --- corrections, distances ---


def test_corrections_are_those_of_a_plain_loop():
    p = np.array([0.01, 0.04, np.nan, 0.03, 0.005])
    np.testing.assert_allclose(holm(p), [0.03, 0.06, np.nan, 0.06, 0.02])
    known = p[np.isfinite(p)]
    np.testing.assert_allclose(benjamini_hochberg(p)[np.isfinite(p)], stats.false_discovery_control(known, method="bh"))
    assert np.isnan(holm([np.nan])).all()
    np.testing.assert_allclose(p_values([2.0, 1.0, np.nan], [5, 1, 5]), [2 * stats.t.sf(2, 5), np.nan, np.nan])


def test_the_distance_is_that_of_scipy():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=40), np.r_[rng.normal(0.3, 1, 25), np.nan]
    assert ks_distance(a, b) == pytest.approx(stats.ks_2samp(a, b[:-1]).statistic)
    assert np.isnan(ks_distance([], [1.0]))


def test_distances_are_judged_by_chance_halves_and_seeds():
    own = law({"E": 60})
    first, second, third = (own.simulation(np.random.default_rng([7, k]), 20, 10) for k in range(3))
    right = compared(own.prediction(), first, seeds=[second, third])
    assert float(right["rate_ks_p"]) > 0.01
    assert float(right["rate_ks"]) <= float(right["rate_ks_halves_high"])
    rates = [tree["simulation/rate"].to_numpy() for tree in (first, second, third)]
    pairs = [(0, 1), (0, 2), (1, 2)]
    assert float(right["rate_ks_seeds_high"]) == pytest.approx(max(ks_distance(rates[i], rates[j]) for i, j in pairs))
    wrong = compared(own.prediction(0.5), first)
    assert float(wrong["rate_ks_p"]) == pytest.approx(0.01)
    assert float(wrong["rate_ks"]) > float(wrong["rate_ks_halves_high"])


# --- bad input ---


def test_no_spikes_one_neuron_one_sample():
    silent = synthetic.make({"a": 3}, trials=2, rates=np.full(3, 0.01), seed=4)
    c = compared(silent.prediction, silent.simulation)
    assert c.attrs["verdict_status"] == "undecided"
    assert "too few samples or spikes for a standard error" in c.attrs["verdict"]
    expected = synthetic.make({"a": 3}, trials=20, rates=np.full(3, 20.0), seed=4)
    none = expected.simulation.copy()
    none["spikes"] = none["spikes"].to_dataset().isel(spike=slice(0)).assign(row_size=0 * none["spikes/row_size"])
    none["simulation"] = none["simulation"].to_dataset() * 0.0
    none.attrs = expected.simulation.attrs
    c = compared(expected.prediction, none)
    assert "mean rates by −100" in c.attrs["verdict"]
    nothing = expected.prediction * 0.0
    c = compared(nothing.assign_attrs(expected.prediction.attrs), none)
    assert c.attrs["verdict"] == "The prediction cannot be judged: neither prediction nor simulation has spikes."
    c = compared(nothing.assign_attrs(expected.prediction.attrs), expected.simulation)
    assert "mean rates by spikes where none are predicted" in c.attrs["verdict"]

    own = law({"a": 1})
    c = compared(own.prediction(), own.simulation(np.random.default_rng(0), 20, 10))
    assert "summed_variance_bias" not in c or np.isnan(c["summed_variance_bias"])
    assert "mean rates" in c.attrs["verdict"]
    once = law(SIZES).simulation(np.random.default_rng(0), 1, 1)
    c = compared(law(SIZES).prediction(), once)
    assert c.attrs["verdict"].startswith("Whether the prediction holds cannot be told from these data")


def test_missing_predictions_are_named():
    own = law(SIZES)
    simulation = own.simulation(np.random.default_rng(8), 20, 10)
    broken = own.prediction()
    broken["rate"][3] = np.nan
    with pytest.warns(MissingValuesWarning, match="The prediction has no rate of 1 of 18 neurons"):
        c = compare(broken, simulation, permutations=1)
    assert c.attrs["verdict"].endswith("The prediction has no rate of 1 of 18 neurons.")
    assert np.isfinite(c["rate_bias"])
    broken["rate"][:] = np.nan
    with pytest.raises(ValueError, match="all rates of the prediction are NaN"):
        compare(broken, simulation)


def test_changed_rates_do_not_pass_for_those_of_the_trains():
    own = law(SIZES)
    simulation = own.simulation(np.random.default_rng(9), 20, 10)
    simulation["simulation"] = simulation["simulation"].to_dataset().assign(rate=simulation["simulation/rate"] * 2)
    assert compared(own.prediction(), simulation).attrs["errors_from"].startswith("errors of single neurons")


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"margin": {"rates": 0.1}}, "Invalid name 'rates' in `margin`"),
        ({"margin": -0.1}, "`margin` of rate must be a share above 0"),
        ({"margin": True}, "`margin` of rate must be a share"),
        ({"confidence": 95}, "`confidence` must be a probability between 0.5 and 1"),
        ({"blocks": 1}, "`blocks` must be an integer ≥ 2"),
        ({"blocks": 10_000}, "would be shorter than the counting window of 100 ms"),
    ],
)
def test_impossible_options_raise(options, match):
    own = law(SIZES)
    with pytest.raises(ValueError, match=match):
        compare(own.prediction(), own.simulation(np.random.default_rng(0), 20, 10), **options)


def test_seeds_must_match():
    own, other = law(SIZES), law({"E": 12, "I": 5})
    simulation = own.simulation(np.random.default_rng(0), 20, 10)
    with pytest.raises(ValueError, match=r"`seeds\[0\]`: `neuron` has 18 labels in the prediction and 17"):
        compare(own.prediction(), simulation, seeds=[other.simulation(np.random.default_rng(0), 20, 10)])


def test_margins():
    assert require_margins(None) == MARGINS
    assert require_margins(0.1) == dict.fromkeys(MARGINS, 0.1)
    assert require_margins({"rate": 0.1})["count_variance"] == MARGINS["count_variance"]


def test_everything_is_named_and_stored(tmp_path):
    from mnnbio.results import load, save

    own = law(SIZES)
    c = compared(own.prediction(), own.simulation(np.random.default_rng(0), 20, 10))
    for name, variable in c.data_vars.items():
        assert {"long_name", "units"} <= set(variable.attrs), name
    save(xr.DataTree.from_dict({"/comparison": c}), tmp_path / "c.nc")
    back = load(tmp_path / "c.nc")["comparison"].to_dataset()
    assert back.attrs["verdict"] == c.attrs["verdict"]
    assert back["layer_verdict"].to_numpy().tolist() == c["layer_verdict"].to_numpy().tolist()


def test_large_records_are_read_in_pieces(monkeypatch):
    from mnnbio.analyses import record_blocks

    own = law(SIZES)
    tree = own.simulation(np.random.default_rng(0), 3, 40)
    whole = compared(own.prediction(), tree)
    monkeypatch.setattr(record_blocks, "_TABLE", 100)
    pieces = compared(own.prediction(), tree)
    for aspect in MARGINS:
        for key in ("bias", "bias_se", "bias_p"):
            np.testing.assert_allclose(pieces[f"{aspect}_{key}"], whole[f"{aspect}_{key}"], rtol=1e-9)
