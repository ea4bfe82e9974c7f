import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import multivariate_normal, norm, wasserstein_distance
from test_nn_linear import random_moments

from mnnbio.moments.covariance import Dense
from mnnbio.nn.losses import (
    as_values,
    cross_entropy,
    decision_entropy,
    decision_probabilities,
    earth_movers,
    fidelity_entropy,
    gaussian_likelihood,
    log_winner_probability,
    mean_squared_error,
    sampled_angle,
    sampled_cross_entropy,
    sampled_outputs,
)
from mnnbio.nn.state import Moments

f64 = torch.float64


def test_cross_entropy_of_the_mean():
    moments = random_moments(3)
    target = torch.tensor([0, 1, 2, 0, 1])
    p = np.exp(moments.mean.numpy())
    p /= p.sum(1, keepdims=True)
    expected = -np.log(p[np.arange(5), target]).mean()
    assert cross_entropy(moments, target).item() == pytest.approx(expected, rel=1e-12)
    smooth = 0.9 * expected - 0.1 * np.log(p).mean()
    assert cross_entropy(moments, target, label_smoothing=0.1).item() == pytest.approx(smooth, rel=1e-12)


def test_mean_squared_error():
    moments = random_moments(3)
    assert mean_squared_error(moments, moments.mean + 2).item() == pytest.approx(4.0)


def test_gaussian_likelihood_against_scipy():
    moments, window = random_moments(3), 50.0
    target = torch.randn(5, 3, dtype=f64, generator=torch.Generator().manual_seed(1))
    expected = -np.mean(
        [
            multivariate_normal(mean, C / window).logpdf(value)
            for mean, C, value in zip(
                moments.mean.numpy(), moments.covariance.to_dense().numpy(), target.numpy(), strict=True
            )
        ]
    )
    assert gaussian_likelihood(moments, target, window).item() == pytest.approx(expected, rel=1e-9)


def test_sampled_cross_entropy_of_two_classes_against_quadrature():
    # Two classes: −ln softmax is softplus of the difference, which is Gaussian. k = 4 standard errors, fixed seed.
    mean, C, window, samples = np.array([0.3, -0.2]), np.array([[2.0, 0.6], [0.6, 1.0]]), 4.0, 40_000
    difference, std = mean[1] - mean[0], math.sqrt((2.0 + 1.0 - 1.2) / window)
    node, weight = np.polynomial.hermite_e.hermegauss(60)
    values = np.logaddexp(0, difference + std * node)
    weight = weight / weight.sum()
    expected = weight @ values
    error = math.sqrt((weight @ values**2 - expected**2) / samples)
    moments = Moments(torch.tensor(mean)[None], Dense(torch.tensor(C)[None]))
    loss = sampled_cross_entropy(
        moments, torch.tensor([0]), window, samples, generator=torch.Generator().manual_seed(0)
    )
    assert abs(loss.item() - expected) < 4 * error


def test_sampled_cross_entropy_of_a_long_window_is_that_of_the_mean():
    moments, target = random_moments(3), torch.tensor([0, 1, 2, 0, 1])
    sampled = sampled_cross_entropy(moments, target, 1e16, samples=2)
    assert sampled.item() == pytest.approx(cross_entropy(moments, target).item(), abs=1e-6)


def test_sampled_cross_entropy_of_opposite_outputs():
    # A singular covariance: y and −y.
    matrix = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
    moments = Moments(torch.zeros(3, 2), Dense(matrix.expand(3, 2, 2)))
    assert torch.isfinite(sampled_cross_entropy(moments, torch.tensor([0, 1, 0]), 10.0))


def test_errors():
    moments, target = random_moments(3), torch.tensor([0, 1, 2, 0, 1])
    with pytest.raises(ValueError, match="`window` must be > 0 ms, got 0"):
        sampled_cross_entropy(moments, target, 0)
    with pytest.raises(ValueError, match="`window` must be > 0 ms, got -1"):
        gaussian_likelihood(moments, moments.mean, -1)
    with pytest.raises(ValueError, match="`samples` must be an integer ≥ 1, got 0"):
        sampled_cross_entropy(moments, target, 10.0, samples=0)


def normalised(moments):
    """Return the moments with covariances of unit scale."""
    return Moments(moments.mean, Dense(moments.covariance.to_dense() / 5))


def test_classes_as_values():
    moments, target = random_moments(3), torch.tensor([0, 1, 2, 0, 1])
    one_hot = torch.nn.functional.one_hot(target, 3).to(f64)
    torch.testing.assert_close(as_values(target, moments.mean, 0.3), 0.7 * one_hot + 0.1)
    assert mean_squared_error(moments, target) == mean_squared_error(moments, one_hot)
    assert gaussian_likelihood(moments, target, 10.0) == gaussian_likelihood(moments, one_hot, 10.0)


def test_fidelity_entropy_of_two_classes_is_exact():
    moments, target, window = random_moments(2), torch.tensor([0, 1, 1, 0, 1]), 20.0
    mean, C = moments.mean.numpy(), moments.covariance.to_dense().numpy() / window
    sign = 1 - 2 * target.numpy()
    z = sign * (mean[:, 0] - mean[:, 1]) / np.sqrt(C[:, 0, 0] + C[:, 1, 1] - 2 * C[:, 0, 1])
    assert fidelity_entropy(moments, target, window).item() == pytest.approx(-norm.logcdf(z).mean(), rel=1e-13)
    smooth = -(0.9 * norm.logcdf(z) + 0.05 * (norm.logcdf(z) + norm.logcdf(-z))).mean()
    loss = fidelity_entropy(moments, target, window, label_smoothing=0.1)
    assert loss.item() == pytest.approx(smooth, rel=1e-13)


def test_fidelity_entropy_of_hopeless_classes_is_finite():
    moments = Moments(torch.tensor([[0.0, 1e4]], dtype=f64, requires_grad=True), Dense(torch.eye(2, dtype=f64)[None]))
    loss = fidelity_entropy(moments, torch.tensor([0]), 100.0)
    loss.backward()
    assert loss.item() == pytest.approx(-norm.logcdf(-1e4 / math.sqrt(0.02)), rel=1e-12)
    assert bool(torch.isfinite(moments.mean.grad).all())


def test_fidelity_entropy_of_independent_classes_against_quadrature():
    # P(y_0 largest) = ∫ φ(y) Π_j Φ((y + m_0 − m_j)/σ_j) dy for independent outputs.
    mean, std, window = np.array([0.5, 0.2, -0.3, 0.4]), np.array([1.0, 0.7, 1.3, 0.4]), 2.0
    scaled = std / math.sqrt(window)

    def density(y):
        return norm.pdf(y, mean[0], scaled[0]) * np.prod(norm.cdf((y - mean[1:]) / scaled[1:]))

    expected = -math.log(quad(density, -10, 10, epsabs=1e-12)[0])
    moments = Moments(torch.tensor(mean)[None], Dense(torch.diag(torch.tensor(std**2))[None]))
    target = torch.tensor([0])
    assert fidelity_entropy(moments, target, window, samples=4096).item() == pytest.approx(expected, abs=3e-4)
    assert fidelity_entropy(moments, target, window).item() == pytest.approx(expected, abs=1e-2)


def test_decision_probabilities_against_counted_winners():
    moments, window, n = normalised(random_moments(5)), 3.0, 200_000
    rng = np.random.default_rng(0)
    probability = decision_probabilities(moments, window, samples=1024)
    for mean, C, p in zip(
        moments.mean.numpy(), moments.covariance.to_dense().numpy(), probability.numpy(), strict=True
    ):
        winners = rng.multivariate_normal(mean, C / window, n).argmax(1)
        counted = np.bincount(winners, minlength=5) / n
        assert (np.abs(counted - p) < 4 * np.sqrt((p * (1 - p) + 1e-6) / n) + 2e-3 * p).all()
    np.testing.assert_allclose(probability.sum(-1), 1, atol=5e-3)
    for k in range(5):
        alone = log_winner_probability(moments, torch.full((5,), k), window, samples=1024)
        torch.testing.assert_close(alone.exp(), probability[:, k])


def test_permuted_classes_have_permuted_probabilities():
    moments, order = normalised(random_moments(4)), torch.tensor([2, 0, 3, 1])
    permuted = Moments(moments.mean[:, order], Dense(moments.covariance.to_dense()[:, order][:, :, order]))
    torch.testing.assert_close(decision_probabilities(permuted, 5.0), decision_probabilities(moments, 5.0)[:, order])


def test_earth_movers_distance_of_classes_is_the_missed_probability():
    moments, target = random_moments(3), torch.tensor([0, 1, 2, 0, 1])
    missed = 1 - moments.mean.softmax(-1)[torch.arange(5), target].mean()
    # Without noise (a long window) the samples are the mean.
    assert earth_movers(moments, target, 1e16).item() == pytest.approx(missed.item(), abs=1e-6)


def test_earth_movers_distance_to_a_value_is_the_mean_distance():
    # One output: E|x| of a Gaussian (folded normal). k = 4 standard errors, fixed seed.
    mean, std, samples = 0.3, 0.8, 100_000
    moments = Moments(torch.tensor([[mean]], dtype=f64), Dense(torch.tensor([[[4 * std**2]]], dtype=f64)))
    loss = earth_movers(moments, torch.zeros(1, 1, dtype=f64), 4.0, samples, generator=torch.Generator().manual_seed(0))
    expected = std * math.sqrt(2 / math.pi) * math.exp(-(mean**2) / (2 * std**2)) + mean * math.erf(mean / std / 2**0.5)
    error = math.sqrt((mean**2 + std**2 - expected**2) / samples)
    assert abs(loss.item() - expected) < 4 * error


def test_earth_movers_distance_of_samples_against_scipy():
    moments, window, m = random_moments(1, batch=3), 5.0, 400
    target = torch.randn(m, 3, 1, dtype=f64, generator=torch.Generator().manual_seed(1)) + 0.5
    loss = earth_movers(moments, target, window, generator=torch.Generator().manual_seed(2))
    ours = sampled_outputs(moments, window, m, torch.Generator().manual_seed(2))
    expected = [wasserstein_distance(ours[:, k, 0], target[:, k, 0]) for k in range(3)]
    assert loss.item() == pytest.approx(np.mean(expected), rel=1e-12)


def test_earth_movers_distance_of_shifted_samples_is_the_shift():
    moments = random_moments(2)
    ours = sampled_outputs(moments, 5.0, 50, torch.Generator().manual_seed(2))
    order = torch.randperm(50, generator=torch.Generator().manual_seed(3))
    target = ours[order] + torch.tensor([0.03, 0.04], dtype=f64)
    loss = earth_movers(moments, target, 5.0, generator=torch.Generator().manual_seed(2))
    assert loss.item() == pytest.approx(0.05, rel=1e-9)


CLASSES = torch.tensor([0, 2, 1])
VALUES = torch.randn(3, 3, dtype=f64, generator=torch.Generator().manual_seed(5))
MANY = torch.randn(4, 3, 3, dtype=f64, generator=torch.Generator().manual_seed(6))
LOSSES = {
    "cross-entropy": lambda m, g: cross_entropy(m, CLASSES, 0.1),
    "squared error": lambda m, g: mean_squared_error(m, VALUES),
    "likelihood of values": lambda m, g: gaussian_likelihood(m, VALUES, 3.0),
    "likelihood of classes": lambda m, g: gaussian_likelihood(m, CLASSES, 3.0),
    "sampled cross-entropy": lambda m, g: sampled_cross_entropy(m, CLASSES, 3.0, 4, 0.1, g),
    "sampled probabilities": lambda m, g: sampled_cross_entropy(m, CLASSES, 3.0, 4, 0.1, g, "probabilities"),
    "decision entropy": lambda m, g: decision_entropy(m, CLASSES, 3.0, 0.7, label_smoothing=0.1),
    "angle": lambda m, g: sampled_angle(m, VALUES, 3.0, 4, generator=g),
    "fidelity": lambda m, g: fidelity_entropy(m, CLASSES, 3.0, 8),
    "smooth fidelity": lambda m, g: fidelity_entropy(m, CLASSES, 3.0, 8, 0.1),
    "earth mover, classes": lambda m, g: earth_movers(m, CLASSES, 3.0, 4, 0.1, g),
    "earth mover, values": lambda m, g: earth_movers(m, VALUES, 3.0, 4, generator=g),
    "earth mover, samples": lambda m, g: earth_movers(m, MANY, 3.0, generator=g),
}


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_of_mean_and_every_element_of_the_covariance(name):
    moments = normalised(random_moments(3, batch=3))

    def loss(mean, matrix):
        symmetric = (matrix + matrix.mT) / 2  # so that elements can be moved one by one
        return LOSSES[name](Moments(mean, Dense(symmetric)), torch.Generator().manual_seed(0))

    inputs = (moments.mean.requires_grad_(), moments.covariance.to_dense().requires_grad_())
    assert torch.autograd.gradcheck(loss, inputs)


@pytest.mark.parametrize("name", [name for name in LOSSES if name not in ("cross-entropy", "squared error")])
def test_covariances_that_are_none_are_errors(name):
    asymmetric = torch.eye(3, dtype=f64).expand(3, 3, 3).clone()
    asymmetric[1, 0, 2] = 0.5
    moments = random_moments(3, batch=3)
    with pytest.raises(ValueError, match=r"must be symmetric, an element differs from its mirror by 0\.5"):
        LOSSES[name](Moments(moments.mean, Dense(asymmetric)), None)
    indefinite = torch.diag(torch.tensor([1.0, 2.0, -0.25], dtype=f64)).expand(3, 3, 3)
    with pytest.raises(ValueError, match=r"positive semidefinite, its smallest eigenvalue is -0\.25"):
        LOSSES[name](Moments(moments.mean, Dense(indefinite)), None)


def test_decision_entropy_against_scipy():
    moments, window = random_moments(3), 2.0
    target = torch.tensor([0, 1, 2, 0, 1])
    expected = cross_entropy(moments, target).item()
    for mean, C, own in zip(moments.mean.numpy(), moments.covariance.to_dense().numpy(), target, strict=True):
        order = np.argsort(-mean)
        for share, other in zip((0.8, 0.2), order[1:], strict=True):
            spread = np.sqrt((C[order[0], order[0]] + C[other, other] - 2 * C[order[0], other]) / window)
            p = norm.cdf((mean[order[0]] - mean[other]) / spread)
            unsure = -p * np.log(p) - (1 - p) * np.log1p(-p)
            expected += 0.5 * share * unsure * (1 if order[0] == own else -1) / 5
    found = decision_entropy(moments, target, window, weight=0.5)
    assert found.item() == pytest.approx(expected, rel=1e-10)


def test_sure_decisions_cost_nothing():
    moments = Moments(torch.tensor([[1e3, 0.0, -1e3]], dtype=f64), Dense(torch.eye(3, dtype=f64)[None]))
    assert decision_entropy(moments, torch.tensor([0]), 1.0).item() == 0


def test_mean_probabilities_of_two_classes_against_quadrature():
    # p of the first class is the logistic function of a Gaussian difference. k = 4 standard errors, fixed seed.
    mean, C, window, samples = np.array([0.3, -0.2]), np.array([[2.0, 0.6], [0.6, 1.0]]), 4.0, 40_000
    centre, spread = mean[0] - mean[1], np.sqrt((C[0, 0] + C[1, 1] - 2 * C[0, 1]) / window)

    def moment(order):
        return quad(lambda z: norm.pdf(z) / (1 + np.exp(-centre - spread * z)) ** order, -9, 9)[0]

    moments = Moments(torch.from_numpy(mean)[None], Dense(torch.from_numpy(C)[None]))
    g = torch.Generator().manual_seed(0)
    found = sampled_cross_entropy(moments, torch.tensor([0]), window, samples, generator=g, average="probabilities")
    error = np.sqrt((moment(2) - moment(1) ** 2) / samples)
    assert abs(math.exp(-found.item()) - moment(1)) < 4 * error


def test_angles_do_not_depend_on_lengths():
    mean = torch.tensor([[3.0, 0.0], [0.0, 0.5]], dtype=f64)
    moments = Moments(mean, Dense(1e-12 * torch.eye(2, dtype=f64).expand(2, 2, 2)))
    target = torch.tensor([[0.0, 7.0], [0.0, 2.0]], dtype=f64)
    expected = (math.pi / 2 + math.acos(0.99)) / 2
    assert sampled_angle(moments, target, 1.0).item() == pytest.approx(expected, abs=1e-4)


def test_errors_of_losses_on_decisions():
    moments, classes = random_moments(3), torch.tensor([0, 1, 2, 0, 1])
    with pytest.raises(ValueError, match="decision entropy needs classes as targets, got values"):
        decision_entropy(moments, moments.mean, 1.0)
    with pytest.raises(ValueError, match="`shares` must have one number for each of 2 pairs of outputs, got 3"):
        decision_entropy(moments, classes, 1.0, shares=[1, 0, 0])
    with pytest.raises(ValueError, match="a decision needs at least 2 outputs, got 1"):
        decision_entropy(random_moments(1), torch.zeros(5, dtype=torch.int64), 1.0)
    alike = Moments(moments.mean, Dense(torch.ones(5, 3, 3, dtype=f64)))
    with pytest.raises(ValueError, match="decisions between pairs of outputs need differences that vary on their own"):
        decision_entropy(alike, classes, 1.0)
    with pytest.raises(ValueError, match="`window` must be > 0 ms, got 0"):
        sampled_angle(moments, moments.mean, 0)
    with pytest.raises(ValueError, match="Invalid value 'samples' for `average`"):
        sampled_cross_entropy(moments, classes, 1.0, average="samples")


def test_errors_of_targets():
    moments = random_moments(3)
    with pytest.raises(ValueError, match="target classes must be between 0 and 2, got 3"):
        fidelity_entropy(moments, torch.tensor([0, 1, 2, 3, 0]), 10.0)
    with pytest.raises(ValueError, match=r"target classes must have shape \(5,\), got \(4,\)"):
        mean_squared_error(moments, torch.tensor([0, 1, 2, 0]))
    with pytest.raises(ValueError, match=r"target values must have the outputs' shape \(5, 3\), got \(5, 2\)"):
        mean_squared_error(moments, torch.zeros(5, 2))
    with pytest.raises(ValueError, match="`label_smoothing` is for classes"):
        earth_movers(moments, moments.mean, 10.0, label_smoothing=0.1)
    with pytest.raises(ValueError, match=r"`label_smoothing` must be in \[0, 1\], got 2"):
        as_values(torch.tensor([0, 1, 2, 0, 1]), moments.mean, 2)
    with pytest.raises(ValueError, match="fidelity entropy needs classes as targets, got values"):
        fidelity_entropy(moments, moments.mean, 10.0)
    with pytest.raises(ValueError, match="a decision needs at least 2 outputs, got 1"):
        fidelity_entropy(random_moments(1), torch.zeros(5, dtype=torch.int64), 10.0)
    with pytest.raises(ValueError, match="a decision needs at least 2 outputs, got 1"):
        decision_probabilities(random_moments(1), 10.0)
    with pytest.raises(ValueError, match=r"winners must be whole numbers between 0 and 2, got \[3, 3"):
        log_winner_probability(moments, torch.full((5,), 3), 10.0)
    with pytest.raises(ValueError, match="`samples` must be an integer ≥ 1, got 0"):
        fidelity_entropy(moments, torch.tensor([0, 1, 2, 0, 1]), 10.0, samples=0)


def test_losses_on_the_mean_never_evaluate_a_covariance():
    from test_nn_activation import Forbidden

    mean = torch.zeros(5, 4, dtype=f64)
    cross_entropy(Moments(mean, Forbidden()), torch.zeros(5, dtype=torch.int64), 0.1)
    mean_squared_error(Moments(mean, Forbidden()), mean)
