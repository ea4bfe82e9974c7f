"""Widths of distributions of covariances: random matrices in plain NumPy, realised circuits, and the published relation."""

import numpy as np
import pytest
from scipy import stats

from mnnbio import (
    Bernoulli,
    Circuit,
    FixedIndegree,
    GaussianDrive,
    LIFParameters,
    PoissonSource,
    Population,
    Projection,
    predict,
)
from mnnbio.circuits import brunel
from mnnbio.theory import covariance_width, radius_from_width
from mnnbio.theory.covariance_width import Blocks, block_variance

pytestmark = pytest.mark.filterwarnings(
    "ignore::mnnbio.theory.validity.FiniteWeightWarning", "ignore::mnnbio.theory.validity.LinearResponseWarning"
)

LIF = LIFParameters(tau_m=20.0, v_th=20.0, v_reset=10.0, t_ref=2.0)
SIZES = {"E": 1000, "I": 250}
DEGREE = {"E": 100, "I": 25}
DRAWS, ERRORS = 4, 3.0
LEFT_OUT = 0.01  # corrections of the size of an inverse in-degree, 1/100


def covariances(W, variance):
    """C = K D Kᵀ whose diagonal is the variances."""
    K = np.linalg.inv(np.eye(len(W)) - W)
    D = np.linalg.solve(K * K, variance)
    return (K * D) @ K.T


def off_diagonal(block):
    return block[~np.eye(len(block), dtype=bool)]


def test_one_population_has_the_published_width():
    """Dahmen et al. (2019): (σ/v)² N = 1/(1 - R²)² - 1, for weights of mean 0."""
    N, R, v = 800, 0.6, 0.02
    rng = np.random.default_rng(0)
    widths = []
    for _ in range(DRAWS):
        W = rng.normal(0, R / np.sqrt(N), (N, N))
        np.fill_diagonal(W, 0)
        widths.append(off_diagonal(covariances(W, np.full(N, v))).std() / v)
    error = ERRORS * np.std(widths, ddof=1) / np.sqrt(DRAWS)
    expected = np.sqrt((1 / (1 - R**2) ** 2 - 1) / N)
    assert np.mean(widths) == pytest.approx(expected, abs=error + 3 / N * expected)
    assert radius_from_width(expected, N) == pytest.approx(R, rel=1e-12)
    p = np.array([[R**2 / N]])
    alone = Blocks(np.array([float(N)]), np.array([v**2]), 0 * p, p, np.zeros((1, 1, 1)), N * p)
    assert np.sqrt(block_variance(alone, 0 * p)[0, 0]) / v == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("weights", [pytest.param((0.02, -0.09), marks=pytest.mark.slow), (0.024, -0.108)])
def test_two_populations_connected_at_random(weights):
    """Every pair with probability 0.1: rows and columns of the matrix differ, which the mean covariances make felt."""
    v, p = np.array([0.01, 0.015]), 0.1
    n = np.array(list(SIZES.values()))
    own = np.repeat([0, 1], n)
    w = np.array(weights)
    rng = np.random.default_rng(1)
    found, means = [], []
    for _ in range(DRAWS):
        W = (rng.random((n.sum(),) * 2) < p) * w[own]
        np.fill_diagonal(W, 0)
        C = covariances(W, v[own])
        blocks = [C[own == 0][:, own == 0], C[own == 0][:, own == 1], C[own == 1][:, own == 1]]
        values = [off_diagonal(b) if b.shape[0] == b.shape[1] else b.ravel() for b in blocks]
        found.append([x.std() for x in values])
        means.append([x.mean() for x in values])
    mean = np.mean(means, axis=0)
    ones = np.ones((2, 1))
    variance = ones * p * (1 - p) * w**2
    received = np.array([np.diag(variance[0] * n)] * 2)
    blocks = Blocks(n.astype(float), v**2, ones * p * w, variance, received, variance * n[:, None])
    expected = np.sqrt(block_variance(blocks, np.array([[mean[0], mean[1]], [mean[1], mean[2]]])))
    error = ERRORS * np.std(found, axis=0, ddof=1) / np.sqrt(DRAWS)
    got = np.array([expected[0, 0], expected[0, 1], expected[1, 1]])
    assert (np.abs(got - np.mean(found, axis=0)) < error + LEFT_OUT * got).all()


def coupled(rule=FixedIndegree, seed=0, weight=0.2, source=False):
    def connectivity(name):
        return FixedIndegree(DEGREE[name]) if rule is FixedIndegree else Bernoulli(0.1)

    populations = [Population(name, size, LIF) for name, size in SIZES.items()]
    projections = [
        Projection(a, b, weight=weight * (1 if a == "E" else -5), connectivity=connectivity(a), delay=1.5)
        for a in "EI"
        for b in "EI"
    ]
    drives = [GaussianDrive(name, mean=0.6 if source else 1.2, std=0.8 if source else 1.0) for name in "EI"]
    if source:
        populations.append(PoissonSource("X", 500, rates=0.02))
        projections += [Projection("X", b, weight=0.3, connectivity=FixedIndegree(100)) for b in "EI"]
    return Circuit(populations, projections, drives, seed=seed)


def both(**options):
    rules = covariance_width(coupled(**options), resolution="population")
    drawn = [covariance_width(coupled(seed=seed, **options)) for seed in range(DRAWS)]
    std = np.array([d["pair_covariance_std"].values for d in drawn])
    return rules, drawn, std.mean(0), ERRORS * std.std(0, ddof=1) / np.sqrt(DRAWS)


@pytest.mark.parametrize(
    "options",
    [
        {},
        pytest.param({"weight": 0.3}, marks=pytest.mark.slow),
        pytest.param({"source": True}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_the_rules_tell_the_width_of_realised_circuits(options):
    rules, _, std, error = both(**options)
    got = rules["pair_covariance_std"].values
    assert (np.abs(got - std) < error + LEFT_OUT * std).all()


@pytest.mark.slow
def test_in_degrees_that_differ_make_widths_a_tenth_uncertain():
    """Gains follow the in-degrees; that they count as independent is a stated limit."""
    rules, _, std, error = both(rule=Bernoulli)
    got = rules["pair_covariance_std"].values
    assert (np.abs(got - std) < error + 0.1 * std).all()


def test_realised_moments_are_those_of_the_matrix():
    circuit = coupled()
    found = covariance_width(circuit, dt=0.1)
    matrix = predict(circuit, dt=0.1, closure="poisson")["covariance"].values
    place = circuit.slices()
    for a in "EI":
        for b in "EI":
            block = matrix[place[a], place[b]]
            values = off_diagonal(block) if a == b else block.ravel()
            own = found.sel(population=a, population_j=b)
            assert own["pair_covariance"] == pytest.approx(values.mean(), rel=1e-10)
            assert own["pair_covariance_std"] == pytest.approx(values.std(), rel=1e-10)
            assert own["pair_covariance_skewness"] == pytest.approx(stats.skew(values), rel=1e-8)
            assert own["pair_covariance_kurtosis"] == pytest.approx(stats.kurtosis(values), rel=1e-8)


def test_the_mean_is_that_of_predict_and_the_whole_takes_no_synapse():
    circuit = brunel(g=5, nu_ext_ratio=2)
    found = covariance_width(circuit, resolution="population")
    mean = predict(circuit, resolution="population", closure="poisson")["pair_covariance"]
    np.testing.assert_allclose(found["pair_covariance"], mean, rtol=1e-7)
    assert (found["pair_covariance_std"] > np.abs(mean)).all()
    assert 0 < found.attrs["random_radius"] < 1
    with pytest.raises(ValueError, match="for up to 5,000 neurons, got 12,500: use resolution='population'"):
        covariance_width(circuit)


def test_what_is_wrong_is_said():
    with pytest.raises(ValueError, match=r"lie in a disc of the radius 1\.\d+ ≥ 1|fluctuations grow around this state"):
        covariance_width(coupled(weight=1.2), resolution="population")
    p = np.array([[0.002]])
    with pytest.raises(ValueError, match=r"disc of the radius 1\.41 ≥ 1: fluctuations grow"):
        block_variance(Blocks(np.array([1000.0]), np.ones(1), 0 * p, p, np.zeros((1, 1, 1)), p), 0 * p)
    shared = coupled().with_parts(
        drives=[GaussianDrive(name, mean=1.2, std=1.0, factor=np.ones((n, 1)) * 0.1) for name, n in SIZES.items()]
    )
    with pytest.raises(ValueError, match=r"neurons share noise of given loadings.*use resolution='neuron'"):
        covariance_width(shared, resolution="population")
    with pytest.raises(ValueError, match="Invalid value 'pair' for `resolution`"):
        covariance_width(coupled(), resolution="pair")
    with pytest.raises(ValueError, match="`relative_width` must be ≥ 0 and `size` > 0"):
        radius_from_width(-0.1, 100)


def test_few_neurons_have_no_width():
    alone = Circuit(
        [Population("A", 1, LIF), Population("B", 3, LIF)], [], [GaussianDrive(n, mean=1.0, std=1.0) for n in "AB"]
    )
    found = covariance_width(alone)
    assert np.isnan(found["pair_covariance_std"].sel(population="A", population_j="A"))
    assert found["pair_covariance_std"].sel(population="B", population_j="B") == 0
    rules = covariance_width(alone, resolution="population")
    assert np.isnan(rules["pair_covariance_std"].sel(population="A", population_j="A"))
    assert rules["pair_covariance_std"].sel(population="B", population_j="B") == 0
