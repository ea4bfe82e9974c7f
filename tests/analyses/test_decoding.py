"""Discriminability and accuracy against closed forms, Monte Carlo with stated errors, and a known two-neuron formula."""

import numpy as np
import pytest
import synthetic
import xarray as xr
from scipy import stats

from mnnbio.analyses import (
    choice_probabilities,
    compare_decoding,
    discriminability,
    linear_decoder,
    predicted_accuracy,
    signal_and_noise_correlations,
    spike_accuracy,
    tuning_curves,
)
from mnnbio.results import array, neuron_coords, ragged

WINDOW = 0.1


def prediction(mean, covariance, stimulus=None, **attrs):
    """Return a prediction of mean counts (stimulus, neuron) and covariances (stimulus, neuron, neuron)."""
    mean, covariance = np.asarray(mean, float), np.asarray(covariance, float)
    coords = neuron_coords({"a": mean.shape[1]}, second=True)
    coords["stimulus"] = np.arange(len(mean)) if stimulus is None else np.asarray(stimulus)
    data = {
        "rate": array("rate", ("stimulus", "neuron"), mean / WINDOW),
        "count_covariance": array("count_covariance", ("stimulus", "neuron", "neuron_j"), covariance),
    }
    return xr.Dataset(data, coords=coords, attrs={"window": WINDOW, **attrs})


def simulation(samples, stimulus=None):
    """Return a simulation with the moments of Gaussian counts (stimulus, sample, neuron)."""
    covariance = np.stack([np.cov(one.T) for one in samples])
    out = prediction(samples.mean(axis=1), covariance, stimulus, n_samples=samples.shape[1])
    se = samples.std(axis=1, ddof=1) / np.sqrt(samples.shape[1]) / WINDOW
    return out.assign(rate_se=array("rate_se", ("stimulus", "neuron"), se))


def draw(mean, covariance, number, rng):
    root = np.linalg.cholesky(covariance)
    return mean[:, None] + rng.standard_normal((len(mean), number, len(root))) @ root.T


def test_two_neurons_have_the_published_formula():
    # Averbeck, Latham & Pouget (2006): unit variances, correlation c, signal (u, v).
    c, u, v = 0.3, 0.8, -0.5
    found = discriminability(prediction([[1, 2], [1 + u, 2 + v]], [[[1, c], [c, 1]]] * 2, [0.0, 2.0]))
    value = (u * u + v * v - 2 * c * u * v) / (1 - c * c)
    assert float(found["d_prime_squared"][0]) == pytest.approx(value, rel=1e-12)
    assert float(found["fisher_information"][0]) == pytest.approx(value / 4, rel=1e-12)
    assert float(found["covariance_gain"][0]) == pytest.approx(value / (u * u + v * v), rel=1e-12)
    assert not [name for name in found if name.endswith("_se")]


def test_information_of_a_noise_along_the_signal_saturates():
    # Differential correlations, Σ = D + ε f′f′ᵀ: I = I₀/(1 + ε I₀) (Moreno-Bote et al. 2014).
    slope, epsilon = np.linspace(0.5, 2, 6), 0.3
    noise = np.diag(np.arange(1.0, 7)) + epsilon * np.outer(slope, slope)
    mean = np.stack([5 + slope * s for s in (0.0, 0.1, 0.4)])
    found = discriminability(prediction(mean, [noise] * 3, [0.0, 0.1, 0.4]), pairs="all")
    alone = (slope**2 / np.arange(1.0, 7)).sum()
    np.testing.assert_allclose(found["fisher_information"], alone / (1 + epsilon * alone), rtol=1e-10)
    assert found.sizes["pair"] == 3


def test_corrected_estimates_have_no_bias_and_the_errors_stated():
    rng = np.random.default_rng(1)
    n, size, repeats = 30, 12, 1000
    root = rng.normal(size=(size, size)) / 4
    noise = root @ root.T + np.diag(rng.uniform(0.5, 2, size))
    mean = np.stack([np.zeros(size), 0.4 * rng.normal(size=size)])
    truth = discriminability(prediction(mean, [noise] * 2))
    names = ("d_prime_squared", "d_prime_squared_independent")
    found = {name: [] for name in (*names, *(f"{name}_se" for name in names), "low", "high")}
    for _ in range(repeats):
        one = discriminability(simulation(draw(mean, noise, n, rng)))
        for name in found:
            found[name].append(float(one[f"d_prime_{name}" if name in ("low", "high") else name][0]))
    values = {name: np.array(column) for name, column in found.items()}
    for name in names:
        error = values[name].std(ddof=1) / np.sqrt(repeats)
        assert abs(values[name].mean() - float(truth[name][0])) < 4 * error, name
        # The plug-in variance is right on average to a fifth; its root to a tenth.
        assert np.sqrt((values[f"{name}_se"] ** 2).mean()) == pytest.approx(values[name].std(), rel=0.2), name
    root_truth = float(truth["d_prime"][0])
    inside = ((values["low"] <= root_truth) & (root_truth <= values["high"])).mean()
    assert abs(inside - 0.95) < 4 * np.sqrt(0.95 * 0.05 / repeats)


def test_two_gaussians_are_told_apart_as_often_as_the_textbook_says():
    noise = np.array([[2.0, 0.7], [0.7, 1.0]])
    both = prediction([[3.0, 2.0], [4.0, 1.5]], [noise] * 2)
    d = float(discriminability(both)["d_prime"][0])
    found = predicted_accuracy(both)
    np.testing.assert_allclose(found["accuracy"], stats.norm.cdf(d / 2), rtol=1e-12)
    assert found.attrs["chance"] == 0.5
    np.testing.assert_allclose(found["confusion"].sum("choice"), 1, rtol=1e-12)


@pytest.mark.parametrize("number", [3, 4, 7])
def test_choices_against_monte_carlo(number):
    rng = np.random.default_rng(number)
    mean = 0.7 * rng.normal(size=(2, number))
    root = rng.normal(size=(2, number, number))
    found = choice_probabilities(mean, root @ root.transpose(0, 2, 1))
    draws = 200_000
    for k in range(2):
        choice = (mean[k] + rng.standard_normal((draws, number)) @ root[k].T).argmax(axis=1)
        share = np.bincount(choice, minlength=number) / draws
        error = np.sqrt(np.maximum(share * (1 - share), 1e-5) / draws)
        assert (np.abs(found[k] - share) < 4.5 * error + 1e-4).all()
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-3)
    np.testing.assert_array_equal(found, choice_probabilities(mean, root @ root.transpose(0, 2, 1)))


def test_choices_without_noise_and_of_equals():
    np.testing.assert_array_equal(choice_probabilities([1.0, 3.0, 2.0], np.zeros((3, 3))), [0, 1, 0])
    np.testing.assert_allclose(choice_probabilities(np.zeros(4), np.eye(4)), 0.25, atol=1e-4)
    np.testing.assert_allclose(choice_probabilities([0.0, 0.0, -9.0], np.zeros((3, 3))), [0.5, 0.5, 0])
    np.testing.assert_array_equal(choice_probabilities([2.0], [[1.0]]), [1])
    for bad, text in ((([0.0, 1.0], np.eye(3)), "got"), (([0.0, np.nan], np.eye(2)), "finite")):
        with pytest.raises(ValueError, match=text):
            choice_probabilities(*bad)


def test_one_neuron_decides_between_many_stimuli():
    # One-dimensional: decisions change half-way between neighbouring means.
    mean = np.array([2.0, 5.0, 6.0, 10.0])[:, None]
    found = predicted_accuracy(prediction(mean, np.full((4, 1, 1), 1.5)))
    edges = np.concatenate([[-np.inf], (mean[1:, 0] + mean[:-1, 0]) / 2, [np.inf]])
    normal = stats.norm(mean[:, 0], np.sqrt(1.5))
    np.testing.assert_allclose(found["accuracy"], normal.cdf(edges[1:]) - normal.cdf(edges[:-1]), atol=2e-5)


@pytest.fixture(scope="module")
def made():
    rates = np.array([[8, 30, 12, 20], [14, 24, 12, 26], [20, 18, 30, 14.0]]) + 6
    return synthetic.make({"a": 2, "b": 2}, stimuli=3, trials=60, duration=1.0, shared=4.0, rates=rates, seed=3)


def poisson_accuracy(rates, decoder, rng, number=200_000):
    """Return the accuracy of a decoder of Poisson counts of neurons of which 0 and 2 have nobody to share with."""
    counts = rng.poisson(np.asarray(rates)[:, None] * WINDOW, (len(rates), number, rates.shape[1]))
    choice = (counts @ decoder.weights.T + decoder.bias).argmax(axis=-1)
    return (choice == np.arange(len(rates))[:, None]).mean(axis=1)


def test_spikes_are_decoded_as_often_as_a_plain_simulation_says(made):
    moments = made.prediction
    mean, noise = moments["rate"].to_numpy() * WINDOW, moments["count_covariance"].to_numpy().mean(axis=0)
    decoder = linear_decoder(mean, noise)
    truth = poisson_accuracy(moments["rate"].to_numpy(), decoder, np.random.default_rng(0))
    found = spike_accuracy(made.simulation, decoder=decoder)
    assert (np.abs(found["accuracy"] - truth) < 4 * found["accuracy_se"]).all()
    assert found.attrs["n_samples"] == 600
    low, mean, high = (float(found[f"mean_accuracy{end}"]) for end in ("_low", "", "_high"))
    assert low < mean < high
    # Gaussian counts are not Poisson counts: small ones are skewed, and decisions tie.
    both = compare_decoding(moments, made.simulation)
    assert float(both["mean_accuracy_predicted"]) == pytest.approx(truth.mean(), abs=0.02)
    np.testing.assert_array_equal(both["accuracy_spikes"], found["accuracy"])
    assert float(both["mean_accuracy_fitted"]) == pytest.approx(truth.mean(), abs=4 * float(found["mean_accuracy_se"]))


def test_populations_and_a_window_of_its_own(made):
    found = spike_accuracy(made.simulation, window=500, population="b")
    assert found.attrs["window"] == 0.5
    assert float(found["mean_accuracy"]) > float(spike_accuracy(made.simulation, population="b")["mean_accuracy"])
    with pytest.raises(ValueError, match="`population` names 'c', there are a, b"):
        spike_accuracy(made.simulation, population="c")
    with pytest.raises(ValueError, match=r"`decoder` is for \(2, 2\), the spikes are \(3, 4\)"):
        spike_accuracy(made.simulation, decoder=linear_decoder(np.eye(2), np.eye(2)))


def test_a_decoder_of_labels_that_mean_nothing_is_at_chance():
    rates = np.full((4, 6), 20.0)
    same = synthetic.make({"a": 6}, stimuli=4, trials=50, duration=1.0, rates=rates, seed=5)
    found = spike_accuracy(same.simulation)
    # Folds share training data, which correlates decisions a little: five standard errors.
    assert abs(float(found["mean_accuracy"]) - 0.25) < 5 * float(found["mean_accuracy_se"])


def test_a_single_trial_is_cut_into_stretches():
    one = synthetic.make({"a": 5}, stimuli=2, trials=1, duration=4.0, seed=6)
    assert spike_accuracy(one.simulation).attrs["n_samples"] == 40
    with pytest.raises(ValueError, match=r"number of trials, 2 .* got 5"):
        spike_accuracy(synthetic.make({"a": 5}, stimuli=2, trials=2, seed=6).simulation)


def test_low_rank_covariances_are_put_together():
    rng = np.random.default_rng(0)
    factor, core, own = rng.normal(size=(3, 5, 2)), np.diag([1.0, 0.5]), rng.uniform(1, 2, (3, 5))
    rate = rng.uniform(5, 20, (3, 5))
    coords = {"stimulus": [0, 1, 2], **neuron_coords({"a": 5})}
    low = xr.Dataset(
        {
            "rate": array("rate", ("stimulus", "neuron"), rate),
            "covariance_diagonal": array("covariance_diagonal", ("stimulus", "neuron"), own),
            "covariance_factor": array("covariance_factor", ("stimulus", "neuron", "factor"), factor),
            "covariance_core": array("covariance_core", ("factor", "factor_j"), core),
        },
        coords=coords,
    )
    whole = factor @ core @ factor.transpose(0, 2, 1) + np.eye(5) * own[:, None]
    difference, noise = rate[1] - rate[0], (whole[0] + whole[1]) / 2
    expected = difference @ np.linalg.solve(noise, difference)
    assert float(discriminability(low)["d_prime_squared"][0]) == pytest.approx(expected, rel=1e-10)


def test_tuning_curves_have_slopes_and_preferences():
    place = np.array([0.0, 1.0, 3.0, 4.0])
    rate = np.stack([2 * place**2, 30 - 5 * place], axis=1)
    noise = np.broadcast_to(np.eye(2), (4, 2, 2))
    found = tuning_curves(prediction(rate * WINDOW, noise, place))
    np.testing.assert_allclose(found["slope"][1:3, 0], 4 * place[1:3])  # exact for a parabola, inside
    np.testing.assert_allclose(found["slope"][:, 1], -5)
    assert found["preferred"].to_numpy().tolist() == [4.0, 0.0]
    np.testing.assert_allclose(found["modulation"], [32, 20])
    shuffled = tuning_curves(prediction(rate * WINDOW, noise, place).isel(stimulus=[2, 0, 3, 1]))
    xr.testing.assert_allclose(shuffled.sortby("stimulus"), found)
    sampled = simulation(draw(rate * WINDOW, np.eye(2), 50, np.random.default_rng(0)), place)
    spread = tuning_curves(sampled)
    weight = np.gradient(np.eye(4), place, axis=0)[1]
    expected = np.sqrt((weight**2) @ sampled["rate_se"][:, 0].to_numpy() ** 2)
    assert float(spread["slope_se"][1, 0]) == pytest.approx(expected)
    named = tuning_curves(prediction(rate * WINDOW, noise, list("wxyz")))
    assert "slope" not in named
    assert named["preferred"].to_numpy().tolist() == ["z", "w"]


def test_signal_and_noise_correlations_have_their_definitions():
    rng = np.random.default_rng(2)
    mean = rng.uniform(2, 9, (6, 4))
    root = rng.normal(size=(6, 4, 4))
    noise = root @ root.transpose(0, 2, 1)
    found = signal_and_noise_correlations(prediction(mean, noise))
    pairs = np.triu_indices(4, 1)
    np.testing.assert_allclose(found["signal_correlation"].to_numpy()[pairs], np.corrcoef(mean.T)[pairs])
    scale = np.sqrt(np.einsum("sii->si", noise))
    each = noise / scale[:, :, None] / scale[:, None, :]
    np.testing.assert_allclose(found["noise_correlation"].to_numpy()[pairs], each.mean(axis=0)[pairs])
    assert np.isnan(np.diag(found["noise_correlation"])).all()
    r = np.corrcoef(np.corrcoef(mean.T)[pairs], each.mean(axis=0)[pairs])[0, 1]
    assert float(found["signal_noise_r"]) == pytest.approx(r)


def test_simulated_correlations_scatter_about_the_truth():
    rng = np.random.default_rng(4)
    number, n = 12, 40
    mean = rng.uniform(0, 1.5, (number, 3))
    noise = np.array([[1, 0.4, 0], [0.4, 1, -0.2], [0, -0.2, 1.0]])
    truth = signal_and_noise_correlations(prediction(mean, [noise] * number))
    parts = [signal_and_noise_correlations(simulation(draw(mean, noise, n, rng))) for _ in range(400)]
    for name, (i, j) in (("noise", (0, 1)), ("noise", (1, 2)), ("signal", (0, 2)), ("signal", (0, 1))):
        values = np.array([float(one[f"{name}_correlation"][i, j]) for one in parts])
        error = values.std(ddof=1) / 20
        # Ratios have a bias of second order.
        assert abs(values.mean() - float(truth[f"{name}_correlation"][i, j])) < 4 * error + 0.01
    stated = np.mean([float(one["noise_correlation_se"][0, 1]) for one in parts])
    spread = np.std([float(one["noise_correlation"][0, 1]) for one in parts])
    assert stated == pytest.approx(spread, rel=0.15)


def test_bad_input_says_what_to_do(made):
    good = prediction(np.ones((3, 4)) * [[1], [2], [3]], [np.eye(4)] * 3)
    with pytest.raises(ValueError, match="both: give result"):
        discriminability(xr.DataTree.from_dict({"/prediction": good, "/simulation": good}))
    with pytest.raises(ValueError, match=r"has no covariances, it has rate over .* `covariance=True` and a `window`"):
        discriminability(good.drop_vars("count_covariance"))
    with pytest.raises(ValueError, match="rates of at least two stimuli"):
        discriminability(good.isel(stimulus=[0]))
    with pytest.raises(ValueError, match=r"for `pairs`\. Must be one of"):
        discriminability(good, pairs="some")
    with pytest.raises(ValueError, match="between 0 and 1"):
        discriminability(good, level=95)
    bad = good.copy(deep=True)
    bad["count_covariance"][1, 2, 2] = np.nan
    with pytest.raises(ValueError, match="must be finite, got nan at stimulus 1, neuron 2"):
        predicted_accuracy(bad)
    with pytest.raises(ValueError, match="neuron 0 has no variance but means that differ"):
        discriminability(prediction([[1, 2], [2, 3]], np.zeros((2, 2, 2))))
    with pytest.raises(ValueError, match="nothing to decode"):
        discriminability(prediction([[1, 2], [1, 2]], np.zeros((2, 2, 2))))
    with pytest.raises(ValueError, match="positive definite, the smallest eigenvalue"):
        discriminability(prediction([[1, 2], [2, 3]], np.ones((2, 2, 2))))
    few = simulation(np.random.default_rng(0).normal(size=(2, 8, 12)))
    with pytest.raises(ValueError, match="12 neurons needs more than 8 counts of each stimulus, got 8"):
        discriminability(few)
    with pytest.raises(ValueError, match="at least three stimuli"):
        signal_and_noise_correlations(good.isel(stimulus=[0, 1]))
    long = good.rename(count_covariance="covariance")
    long.attrs = {}
    with pytest.raises(ValueError, match="predict with `window`"):
        compare_decoding(long, made.simulation)
    with pytest.raises(ValueError, match="stimuli differ"):
        compare_decoding(made.prediction.assign_coords(stimulus=[3, 4, 5]), made.simulation)
    with pytest.raises(ValueError, match="several stimuli"):
        spike_accuracy(synthetic.make({"a": 3}, trials=6, seed=1).simulation)
    with pytest.raises(TypeError, match="expected a prediction or a simulation"):
        tuning_curves(3)


def test_spikes_without_stimulus_labels_are_numbered():
    sizes = np.full((2, 6, 2), 2)
    times = np.tile([0.01, 0.02], sizes.size)
    bare = ragged(times, sizes, ("stimulus", "trial", "neuron"), neuron_coords({"a": 2}), duration=0.1, warmup=0.0)
    # Nothing varies, so no decoder can be fitted.
    with pytest.raises(ValueError, match="nothing to decode"):
        spike_accuracy(bare, window=100)
