"""Projections, coefficients, attractors, importance and dimensions of mode space against closed forms and brute force."""

import numpy as np
import pytest
import synthetic
import xarray as xr

import mnnbio.analyses as analyses
from mnnbio import ModeMatrix
from mnnbio.analyses import (
    ablation_curve,
    attractor_separation,
    condition_trajectories,
    curve_difference,
    mode_activity,
    mode_importance,
    orthogonal_coefficients,
    participation_ratio,
    power_laws,
    principal_angles,
    pruning_curve,
    switch_success,
)

RNG = np.random.default_rng(5)


def factored(n=20, modes=3, seed=0):
    rng = np.random.default_rng(seed)
    return ModeMatrix(rng.normal(size=(n, modes)), rng.normal(size=modes), rng.normal(size=(n, modes)))


def labelled(values, step=2e-3):
    return xr.DataArray(
        values, dims=("time", "trial", "neuron"), coords={"time": step * np.arange(len(values))}, attrs={"units": "Hz"}
    )


def test_projections_are_sums_over_neurons():
    weights, values = factored(), RNG.normal(size=(7, 4, 20))
    for side, matrix in (("output", weights.output_modes), ("input", weights.input_modes)):
        expected = np.zeros((7, 4, 3))
        for k in range(3):
            for i in range(20):
                expected[..., k] += matrix[i, k] * values[..., i]
        for given in (values, labelled(values)):
            found = mode_activity(given, weights, side=side)
            assert found.dims == ("trial", "time", "mode")
            np.testing.assert_allclose(found.transpose("time", "trial", "mode"), expected)
        np.testing.assert_allclose(mode_activity(values, matrix), found)
    assert mode_activity(labelled(values), weights).attrs["units"] == "Hz"


def test_a_result_is_projected_in_rates():
    result = synthetic.make({"a": 4, "b": 6}, trials=3, duration=0.5, seed=1).simulation
    counted = analyses.binned_counts(result, 20)
    modes = RNG.normal(size=(6, 2))
    found = mode_activity(result, modes, population="b", bin=20)
    expected = counted.isel(neuron=slice(4, 10)).values / 0.02 @ modes
    np.testing.assert_allclose(found, expected)
    with pytest.raises(ValueError, match="`population`"):
        mode_activity(result, modes)


def test_the_filter_is_that_of_an_exponential_synapse():
    values = np.zeros((50, 1, 2))
    values[3, 0, 0] = 1 / 2e-3  # one spike in a bin of 2 ms
    found = mode_activity(labelled(values), np.eye(2), tau=10).values[0]
    time = 2e-3 * np.arange(50)
    expected = np.where(time >= time[3], np.exp(-(time - time[3]) / 10e-3), 0) * (1 - np.exp(-0.2)) / 2e-3
    np.testing.assert_allclose(found[:, 0], expected, atol=1e-10)
    assert found[:, 0].sum() * 2e-3 == pytest.approx(1 - np.exp(-47 * 0.2), rel=1e-9)  # the charge is kept


def gram_schmidt(columns):
    """Orthonormal columns, one after another."""
    found = []
    for column in columns.T:
        rest = column - sum((column @ q) * q for q in found)
        found.append(rest / np.linalg.norm(rest))
    return np.stack(found, 1)


def test_coefficients_are_those_of_gram_and_schmidt():
    weights, weights_in = factored(), RNG.normal(size=(20, 4))
    values = RNG.normal(size=(6, 5, 20))
    found = orthogonal_coefficients(values, weights, weights_in)
    directions = gram_schmidt(np.concatenate([weights_in, weights.input_modes], 1))
    np.testing.assert_allclose(found["coefficient"].transpose("time", "trial", "mode"), values @ directions[:, 4:])
    np.testing.assert_allclose(
        found["input_coefficient"].transpose("time", "trial", "channel"), values @ directions[:, :4]
    )
    assert found["explained"] == pytest.approx(((values @ directions) ** 2).sum() / (values**2).sum())
    pure = values[..., :4] @ weights_in.T
    assert np.abs(orthogonal_coefficients(pure, weights, weights_in)["coefficient"]).max() < 1e-12


def test_a_mode_that_the_input_spans_is_named():
    weights = factored()
    spanned = np.stack([weights.input_modes[:, 1], RNG.normal(size=20)], 1)
    with pytest.raises(ValueError, match="mode 1"):
        orthogonal_coefficients(RNG.normal(size=(3, 20)), weights, spanned)


def test_trajectories_are_means_and_covariances_of_conditions():
    activity = mode_activity(labelled(RNG.normal(size=(8, 30, 20))), factored())
    condition = ["left", "right", "right"] * 10
    found = condition_trajectories(activity, condition)
    chosen = activity.values[np.array(condition) == "right"]
    assert found["condition"].values.tolist() == ["left", "right"]
    assert found["trials"].values.tolist() == [10, 20]
    np.testing.assert_allclose(found["mean"].sel(condition="right"), chosen.mean(0))
    np.testing.assert_allclose(found["covariance"].sel(condition="right")[3], np.cov(chosen[:, 3].T))
    pairs = condition_trajectories(activity, [(1, -1), (1, 1)] * 15)
    assert pairs["condition"].values.tolist() == [(1, -1), (1, 1)]


def clouds(distance, trials=40, seed=3, times=20, modes=2):
    """Trials that end around two points so far apart, with unit variance along each mode."""
    rng = np.random.default_rng(seed)
    label = np.repeat([0, 1], trials)
    end = rng.normal(size=(2 * trials, modes))
    end[:, 0] += distance * label
    values = np.repeat(end[:, None], times, 1)
    return xr.DataArray(values, dims=("trial", "time", "mode"), coords={"time": 2e-3 * np.arange(times)}), label


def test_separation_is_mean_distances_of_pairs():
    activity, label = clouds(8.0)
    found = attractor_separation(activity, label, last=10, resamples=300)
    ends = activity.values[:, -5:].mean(1)
    within, between = [], []
    for i in range(len(ends)):
        for j in range(i):
            (within if label[i] == label[j] else between).append(np.linalg.norm(ends[i] - ends[j]))
    assert found["within"] == pytest.approx(np.mean(within))
    assert found["between"] == pytest.approx(np.mean(between))
    assert found["distance"][0, 1] == pytest.approx(np.mean(between))
    # E|x - y| of normal points in the plane is √π
    assert found["within_low"] < np.sqrt(np.pi) < found["within_high"]
    assert 3 < found["ratio_low"] < found["ratio"] < found["ratio_high"] < 6
    mixed = attractor_separation(activity, RNG.permutation(label), resamples=300)
    assert mixed["ratio_low"] < 1 < mixed["ratio_high"]


@pytest.mark.slow
def test_intervals_of_the_separation_cover():
    """Of the true ratio of unmixed clouds, estimated by brute force, in 95 % of 100 samples; 4 standard errors."""
    truth = float(attractor_separation(*clouds(3.0, trials=700, seed=99, times=1), resamples=1)["ratio"])
    covered = 0
    for seed in range(100):
        found = attractor_separation(*clouds(3.0, trials=25, seed=seed, times=1), resamples=200)
        covered += bool(found["ratio_low"] <= truth <= found["ratio_high"])
    assert covered >= 95 - 4 * np.sqrt(100 * 0.95 * 0.05)


def test_success_has_the_exact_binomial_interval():
    outputs = np.zeros((8, 10))
    outputs[-2:] = np.array([1] * 9 + [-1])
    outputs[:6] = -5.0
    targets = np.ones(10)
    found = switch_success(outputs, targets)
    assert found["success"].sel(condition="all") == 0.9
    # Clopper & Pearson (1934): 9 of 10 at 95 %
    np.testing.assert_allclose(found["success_low"], 0.55498, atol=1e-5)
    np.testing.assert_allclose(found["success_high"], 0.99747, atol=1e-5)
    split = switch_success(outputs, np.tile(targets, (8, 1)), ["a"] * 5 + ["b"] * 5, dt=2, last=4)
    assert split["success"].values.tolist() == [0.9, 1.0, 0.8]
    assert split["condition"].values.tolist() == ["all", "a", "b"]
    assert switch_success(np.zeros((4, 3)), [1, -1, 1])["success"] == 0


def test_participation_ratio_of_known_spectra():
    directions, _ = np.linalg.qr(RNG.normal(size=(12, 3)))
    samples = RNG.normal(size=(40, 25, 3))
    samples -= samples.mean((0, 1))
    flat = np.linalg.qr(samples.reshape(-1, 3))[0].reshape(40, 25, 3)  # white
    for sizes in ([1, 1, 1], [1, 0, 0], [3, 2, 1]):
        found = participation_ratio(np.swapaxes(flat * sizes @ directions.T, 0, 1), resamples=50)
        power = np.array(sizes, float) ** 2
        assert found["participation_ratio"] == pytest.approx(power.sum() ** 2 / (power**2).sum())
        assert found["participation_ratio_low"] <= found["participation_ratio_high"] + 1e-9
    single = participation_ratio(flat[0], resamples=5)
    assert np.isnan(single["participation_ratio_low"])


def test_principal_angles_of_known_planes():
    angle = np.radians([20.0, 65.0])
    modes = np.zeros((6, 2))
    modes[0, 0] = modes[1, 1] = 1.0
    turned = np.zeros((2, 6))
    turned[0, [0, 2]] = np.cos(angle[0]), np.sin(angle[0])
    turned[1, [1, 3]] = np.cos(angle[1]), np.sin(angle[1])
    white = RNG.normal(size=(300, 2))
    white = np.linalg.qr(white - white.mean(0))[0]
    values = white * [2.0, 1.0] @ turned
    found = principal_angles(values, modes @ [[1.0, 2.0], [0.5, -1.0]])
    np.testing.assert_allclose(found["principal_angle"], [20, 65], atol=1e-6)
    np.testing.assert_allclose(found["captured"], (4 * np.cos(angle[0]) ** 2 + np.cos(angle[1]) ** 2) / 5)
    assert found["captured_most"] == pytest.approx(1)
    assert found["captured_chance"] == pytest.approx(1 / 3)
    assert (found["angle_chance_low"] < found["angle_chance_median"]).all()
    assert principal_angles(values, modes, components=1).sizes["angle"] == 1


def test_importance_is_the_published_measure():
    weights = factored(modes=4)
    found = mode_importance(weights)
    a = np.sqrt((weights.input_modes**2).sum(0))
    b = np.sqrt((weights.output_modes**2).sum(0))
    gamma = np.abs(weights.scores).sum() / (a.sum() + b.sum())
    np.testing.assert_allclose(found["tau"], gamma * a + gamma * b + np.abs(weights.scores))
    assert found["tau"].values[np.argsort(found["rank"].values)].tolist() == sorted(found["tau"].values)[::-1]
    scaled = ModeMatrix(weights.input_modes * 2, weights.scores / 2, weights.output_modes)
    np.testing.assert_allclose(mode_importance(scaled)["strength"], found["strength"])


def two_laws(noise, networks=1, ranks=30, k=10, seed=0):
    rank = np.arange(1, ranks + 1)
    law = np.where(rank <= k, 2 * rank**-0.1, 5 * rank**-0.5)
    return law * np.exp(noise * np.random.default_rng(seed).normal(size=(networks, ranks)))


def test_power_laws_are_recovered():
    found = power_laws(two_laws(1e-6), resamples=50)
    np.testing.assert_allclose(found["exponent"], [-0.1, -0.5], atol=1e-4)
    np.testing.assert_allclose(np.exp(found["intercept"]), [2, 5], rtol=1e-4)
    assert found["breakpoint"] == 10
    np.testing.assert_allclose(found["r2"], 1, atol=1e-6)
    given = power_laws(two_laws(1e-6), breakpoint=9, last=19, resamples=10)
    y, x = np.log(np.sort(two_laws(1e-6)[0])[::-1]), np.log(np.arange(1, 31))
    np.testing.assert_allclose(given["exponent"], [np.polyfit(x[:9], y[:9], 1)[0], np.polyfit(x[9:19], y[9:19], 1)[0]])


def test_alternatives_are_told_apart():
    two = power_laws(two_laws(0.02), resamples=999, level=0.999)
    assert two["aicc"].idxmin("model") == "two power laws"
    assert (two["p"].values[1:] <= 0.01).all()
    for low, high, truth in zip(two["exponent_low"], two["exponent_high"], (-0.1, -0.5), strict=True):
        assert low < truth < high
    rank, rng = np.arange(1, 31), np.random.default_rng(1)
    ones = [power_laws(rank**-0.3 * np.exp(0.01 * rng.normal(size=30)), resamples=199)["p"] for _ in range(10)]
    assert sum(float(p.sel(model="power law")) > 0.05 for p in ones) >= 7
    assert sum(float(p.sel(model="exponential")) < 0.05 for p in ones) >= 7
    decay = power_laws(np.exp(-0.05 * rank + 0.005 * rng.normal(size=30)), resamples=999)
    assert decay["aicc"].idxmin("model") == "exponential"
    assert decay["p"].sel(model="exponential") > 0.01


@pytest.mark.slow
def test_the_test_of_one_law_holds_its_level():
    """In 100 networks of one power law, sorted, p ≤ 0.1 in 10 %; 4 standard errors."""
    rank, rng = np.arange(1, 31), np.random.default_rng(2)
    laws = rank**-0.3 * np.exp(0.02 * rng.normal(size=(100, 30)))
    small = sum(float(power_laws(law, resamples=99)["p"].sel(model="power law")) <= 0.1 for law in laws)
    assert abs(small - 10) <= 4 * np.sqrt(100 * 0.1 * 0.9)


def test_networks_are_resampled_where_there_are_enough():
    found = power_laws(two_laws(0.05, networks=6), resamples=20)
    assert found.attrs["resampled"] == "networks"
    assert power_laws(two_laws(0.05, networks=3), resamples=20).attrs["resampled"] == "simulated"


def test_removal_is_in_order_of_importance():
    values = np.array([3.0, 1.0, 2.0, 5.0])
    curve = ablation_curve(lambda keep: float(values[keep].sum()), values, draws=50)
    np.testing.assert_allclose(curve["least_first"], [11, 10, 8, 5, 0])
    np.testing.assert_allclose(curve["most_first"], [11, 6, 3, 1, 0])
    assert (curve["least_first"] >= curve["random"]).all()
    # the mean of random removal is linear
    se = curve["random"].std("draw") / np.sqrt(50)
    assert (np.abs(curve["random"].mean("draw") - 11 * (1 - np.arange(5) / 4)) <= 4 * se + 1e-12).all()
    again = ablation_curve(lambda keep: float(values[keep].sum()), values, draws=50)
    xr.testing.assert_equal(curve, again)


def test_the_difference_of_curves_is_students():
    curves = xr.concat(
        [
            ablation_curve(lambda keep, v=v: float(v[keep].sum()), v, draws=3, seed=k)
            for k, v in enumerate(RNG.uniform(1, 2, (5, 4)))
        ],
        "network",
    )
    found = curve_difference(curves)
    sample = (curves["least_first"] - curves["random"].mean("draw")).values[:, 1:4].mean(1)
    half = 2.776445 * sample.std(ddof=1) / np.sqrt(5)  # Student's t, 4 degrees of freedom, 95 %
    assert found["mean_difference"] == pytest.approx(sample.mean())
    assert found["mean_difference_low"] == pytest.approx(sample.mean() - half, rel=1e-6)
    assert found.attrs["samples"] == 5
    assert np.isnan(curve_difference(curves.isel(network=0, draw=slice(1)))["mean_difference_low"])


def test_pruning_takes_the_smallest_weights():
    weights = RNG.normal(size=(6, 5))
    masks = []
    curve = pruning_curve(lambda keep: masks.append(keep) or float(keep.mean()), weights, [0, 0.5, 1], draws=2)
    np.testing.assert_allclose(curve["least_first"], [1, 0.5, 0])
    np.testing.assert_array_equal(masks[1], np.abs(weights) > np.median(np.abs(weights)))
    assert masks[0].shape == (6, 5)


BAD = [
    (lambda: mode_activity(np.zeros((3, 2, 19)), factored()), "of 20 neurons, the activity is of 19"),
    (lambda: mode_activity(np.zeros(3), factored()), r"\(time, trial, neuron\)"),
    (lambda: mode_activity(np.full((3, 20), np.nan), factored()), "finite"),
    (lambda: mode_activity(np.zeros((3, 20)), factored(), side="left"), "side"),
    (lambda: mode_activity(np.zeros((3, 20)), factored(), tau=5), "coordinate `time`"),
    (lambda: mode_activity(np.zeros((3, 20)), np.zeros(20)), "matrix"),
    (lambda: orthogonal_coefficients(np.zeros((3, 20)), factored(), np.zeros((19, 2))), "weights_in"),
    (lambda: condition_trajectories(mode_activity(np.zeros((3, 4, 20)), factored()), [1, 2]), "each of 4 trials"),
    (lambda: attractor_separation(mode_activity(np.zeros((3, 4, 20)), factored()), [1] * 4), "two conditions"),
    (lambda: switch_success(np.zeros((3, 4)), [1, 1, 0, 1]), "other than 0"),
    (lambda: switch_success(np.zeros((3, 4)), [1] * 4, dt=2, last=20), "`last`"),
    (lambda: principal_angles(np.zeros((9, 20)), np.ones((20, 2))), "depend"),
    (lambda: principal_angles(np.zeros((9, 20)), np.ones((20, 1)), components=30), "components"),
    (lambda: power_laws([1.0] * 5), "two segments"),
    (lambda: power_laws([1.0] * 9 + [0.0]), "> 0"),
    (lambda: mode_importance(ModeMatrix(np.ones((4, 2)), [1.0, 0.0], np.ones((4, 2)))), "mode 1"),
    (lambda: ablation_curve(lambda keep: np.nan, [1.0, 2.0]), "finite number"),
    (lambda: ablation_curve(lambda keep: 1.0, [1.0, 2.0], removed=[3]), "between 0 and 2"),
    (lambda: pruning_curve(lambda keep: 1.0, [1.0], [1.5]), "from 0 to 1"),
    (lambda: participation_ratio(np.zeros((4, 3)), wrong=1), "unknown option"),
]


@pytest.mark.parametrize(("call", "text"), BAD)
def test_bad_input_is_named(call, text):
    with pytest.raises((ValueError, TypeError), match=text) as error:
        call()
    assert len(str(error.value).splitlines()) <= 4


def test_figures_show_what_they_are_given():
    activity = mode_activity(labelled(RNG.normal(size=(8, 30, 20))), factored())
    condition = ["left", "right", "right"] * 10
    trajectories = condition_trajectories(activity, condition)
    axes = analyses.plot_mode_trajectories(trajectories, trajectories, modes=(0, 2), ellipses=2)
    np.testing.assert_allclose(axes.lines[0].get_xydata(), trajectories["mean"][0].values[:, [0, 2]])
    assert len(axes.patches) == 8  # two conditions, two times, found and predicted
    importance = mode_importance(factored(modes=12))
    _, right = analyses.plot_mode_importance(importance, power_laws(importance["tau"], resamples=9))
    assert right.get_yscale() == "log"
    curve = ablation_curve(lambda keep: float(keep.sum()), np.arange(4.0))
    drawn = analyses.plot_removal(curve, chance=0.1)
    np.testing.assert_allclose(drawn.lines[0].get_ydata(), curve["least_first"])
    success = switch_success(np.ones((4, 5)), [1, 1, 1, -1, 1], ["a", "b", "a", "b", "a"])
    assert [t.get_text() for t in analyses.plot_switch_success(success).get_xticklabels()] == ["all", "a", "b"]
    assert len(analyses.plot_separation(attractor_separation(activity, condition, resamples=20))) == 2
    angles = principal_angles(labelled(RNG.normal(size=(8, 30, 20))), factored())
    assert len(analyses.plot_dimensions(angles, participation_ratio(activity, resamples=9))) == 2
    assert len(analyses.plot_dimensions(angles)) == 1
