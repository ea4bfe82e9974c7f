"""Distributions of correlations without sampling noise, shared dimensions: against what was put in."""

import numpy as np
import pytest
from scipy import stats

import mnnbio.analyses as a

WINDOWS, NEURONS = 1500, 60


def counts_as_trains(counts, rng):
    """Return trains whose counts in windows of 100 ms are given, (window, neuron)."""
    return [
        np.sort(np.repeat(100.0 * np.arange(len(counts)), column) + rng.uniform(1, 99, column.sum()))
        for column in counts.T
    ]


def common(loadings: np.ndarray, seed: int, windows: int = WINDOWS) -> list[np.ndarray]:
    """Return trains of Poisson counts of means that share factors: covariances are those of the factors."""
    rng = np.random.default_rng(seed)
    factors = rng.uniform(-np.sqrt(3), np.sqrt(3), (windows, loadings.shape[1]))  # of variance 1, bounded
    mean = 8 + factors @ loadings.T
    assert mean.min() > 0
    return counts_as_trains(rng.poisson(mean), rng)


def test_true_variance_of_covariances_is_found():
    rng = np.random.default_rng(5)
    loadings = rng.uniform(-1, 1, (NEURONS, 1))
    truth = (loadings @ loadings.T)[np.triu_indices(NEURONS, 1)]
    found = a.correlation_distribution(
        common(loadings, 1), 100.0, kind="covariance", predicted=loadings @ loadings.T, duration=100.0 * WINDOWS
    )
    value, se = float(found["true_variance"][0, 0]), float(found["true_variance_se"][0, 0])
    assert abs(value - truth.var()) < 4 * se
    assert se < 0.2 * truth.var()
    assert float(found["observed_variance"][0, 0]) > truth.var() + 4 * se  # what the correction is for
    assert bool(found["resolved"][0, 0])
    assert float(found["mean"][0, 0]) == pytest.approx(truth.mean(), abs=5 * float(found["mean_se"][0, 0]))
    # The estimated shape has the variance of the true one, and the prediction with noise that of the observed one.
    step = float(found["value"][1] - found["value"][0])
    for name, variance in (
        ("density_true", value),
        ("density_predicted_noisy", float(found["observed_variance"][0, 0])),
    ):
        density = found[name][0, 0].to_numpy()
        assert density.sum() * step == pytest.approx(1, abs=0.01)
        mean = (density * found["value"]).sum() * step
        spread = float((density * (found["value"] - mean) ** 2).sum() * step)
        assert spread == pytest.approx(variance, rel=0.15), name
    assert float(found["predicted_distance"][0, 0]) < 0.05


def test_independent_neurons_have_no_true_variance():
    # The interval holds 0 at its level: 40 records, a binomial number of them outside.
    outside = 0
    for seed in range(40):
        rng = np.random.default_rng(100 + seed)
        rows = counts_as_trains(rng.poisson(3, (200, 20)), rng)
        found = a.correlation_distribution(rows, 100.0, duration=20000.0, blocks=20)
        low, high = (float(found[f"true_variance_{side}"][0, 0]) for side in ("low", "high"))
        outside += not low <= 0 <= high
        assert abs(float(found["true_variance"][0, 0])) < 0.3 * float(found["observed_variance"][0, 0])
    assert outside <= stats.binom.ppf(0.9999, 40, 0.08)


def test_noise_free_variance_is_the_product_of_blocks():
    # A plain loop over blocks and pairs.
    rng = np.random.default_rng(2)
    rows = counts_as_trains(rng.poisson(4, (80, 5)), rng)
    found = a.correlation_distribution(rows, 100.0, kind="covariance", duration=8000.0, blocks=4)
    table = np.stack([np.histogram(row, np.arange(0, 8001, 100))[0] for row in rows], axis=1)
    blocks = [np.cov(part.T)[np.triu_indices(5, 1)] for part in np.split(table, 4)]
    squares = np.mean([blocks[i] * blocks[j] for i in range(4) for j in range(4) if i != j])
    means = np.mean([blocks[i].mean() * blocks[j].mean() for i in range(4) for j in range(4) if i != j])
    assert float(found["true_variance"][0, 0]) == pytest.approx(squares - means, rel=1e-10)
    assert float(found["observed_variance"][0, 0]) == pytest.approx(np.mean(blocks, axis=0).var(), rel=1e-10)


def test_shared_dimensions_are_those_put_in():
    rng = np.random.default_rng(8)
    loadings = np.linalg.qr(rng.normal(size=(NEURONS, 2)))[0] * [6.0, 4.0]
    loadings = np.clip(loadings, -2, 2)
    found = a.shared_dimensionality(common(loadings, 3), 100.0, duration=100.0 * WINDOWS, resamples=30)
    eigenvalues = np.linalg.eigvalsh(loadings.T @ loadings)
    expected = {
        "shared_dimensionality": eigenvalues.sum() ** 2 / (eigenvalues**2).sum(),
        "dimensions_95": 2.0,
        "shared_variance": ((loadings**2).sum(1) / ((loadings**2).sum(1) + 8)).mean(),
    }
    covariance = loadings @ loadings.T + 8 * np.eye(NEURONS)
    expected["participation_ratio"] = np.trace(covariance) ** 2 / (covariance**2).sum()
    assert int(found["factors"]) == 2
    for name, value in expected.items():
        width = float(found[f"{name}_high"] - found[f"{name}_low"])
        assert float(found[name]) == pytest.approx(value, abs=width + 1e-9), name  # four standard errors
    shared = found["loading"].to_numpy() @ found["loading"].to_numpy().T
    assert np.abs(shared - loadings @ loadings.T).max() < 0.6


def test_independent_neurons_share_nothing():
    rng = np.random.default_rng(3)
    found = a.shared_dimensionality(
        counts_as_trains(rng.poisson(5, (400, 12)), rng), 100.0, duration=40000.0, resamples=5
    )
    assert int(found["factors"]) == 0
    assert float(found["shared_dimensionality"]) == 0
    # Without bias: few samples would make the plain ratio 12 / (1 + 12/400).
    assert float(found["participation_ratio"]) == pytest.approx(12, rel=0.03)


BAD = {
    "few windows": (
        lambda r: a.correlation_distribution(r, 100.0, duration=1000.0), "10 windows a trial are too few for 20 blocks"
    ),
    "one neuron": (
        lambda r: a.correlation_distribution(r[:1], 5.0, duration=1000.0), "two neurons whose counts vary, got 1"
    ),
    "silent": (lambda r: a.shared_dimensionality([[], []], 5.0, duration=1000.0), "two neurons whose counts vary, got 0"),
    "prediction of another size": (
        lambda r: a.correlation_distribution(r, 5.0, duration=1000.0, predicted=np.zeros((3, 3))), r"shape \(2, 2\)"
    ),
    "NaN in a prediction": (
        lambda r: a.correlation_distribution(r, 5.0, duration=1000.0, predicted=np.full((2, 2), np.nan)), "must be finite"
    ),
    "window": (lambda r: a.count_correlations(r, 2000.0, duration=1000.0), "`window` must fit into the record, 1000 ms"),
    "one window": (lambda r: a.count_correlations(r, 1000.0, duration=1000.0), "two windows or more"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case):
    call, message = BAD[case]
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match=message):
        call([np.sort(rng.uniform(0, 1000, 50)) for _ in range(2)])
