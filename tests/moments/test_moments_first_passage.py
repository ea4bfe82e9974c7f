"""The exact route: closed forms of the discrete neuron, and the diffusion limit."""

import warnings

import numpy as np
import pytest
import torch

from mnnbio import Circuit, GaussianDrive, LIFParameters, PoissonDrive, PoissonSource, Population, Projection, predict
from mnnbio.moments import first_passage
from mnnbio.moments.activation import moment_activation
from mnnbio.moments.first_passage import StepInput
from mnnbio.moments.overshoot import discrete_lif
from mnnbio.theory.validity import FiniteWeightWarning


def step_input(current=0.0, noise=0.0, weights=(), expected=(), bernoulli=True):
    as_tensor = [torch.tensor(x, dtype=torch.float64) for x in (current, noise, weights, expected)]
    return StepInput(*as_tensor, torch.full((len(weights),), bernoulli))


@pytest.mark.slow
@pytest.mark.parametrize("bernoulli", [True, False])
def test_jumps_across_the_whole_range_wait_geometrically(bernoulli):
    """Every jump fires: the number of steps is geometric, with p the probability of a step with any jump."""
    dt, expected, lif = 0.1, 0.04, LIFParameters(t_ref=3.0)
    p = expected if bernoulli else -np.expm1(-expected)
    found = first_passage(step_input(weights=[40.0], expected=[expected], bernoulli=bernoulli), lif, dt)
    interval = 3.0 + dt / p
    assert found.rate.item() == pytest.approx(1 / interval, rel=1e-8)
    assert found.variance.item() == pytest.approx((1 - p) / p**2 * dt**2 / interval**3, rel=1e-8)
    third = (1 - p) * (2 - p) / p**3 * dt**3
    assert found.skewness.item() == pytest.approx(third / interval**3, rel=1e-8)


@pytest.mark.parametrize("current", [1.3, 2.0, 5.0])
def test_little_noise_counts_whole_steps(current):
    """With next to no noise the passage takes the first whole step at or above threshold."""
    dt, lif = 0.5, LIFParameters()
    steps = np.ceil(-20 * np.log1p(-20 / (20 * current)) / dt)
    found = first_passage(step_input(current, noise=0.002), lif, dt)
    assert found.rate.item() == pytest.approx(1 / (5 + steps * dt), rel=3e-3)  # one step more: 1.4 %


@pytest.mark.parametrize(("mean", "std"), [(0.8, 1.0), (0.5, 3.0), (1.2, 0.5), (3.0, 3.0)])
@pytest.mark.parametrize("lif", [LIFParameters(), LIFParameters(tau_m=10.0, v_reset=8.0, t_ref=2.0)], ids=["0", "8"])
def test_gaussian_noise_gives_the_diffusion(mean, std, lif):
    """The displaced threshold is accurate to some 0.5 % at dt = 0.05 ms."""
    dt = 0.05
    mean *= 20 / lif.tau_m  # the same resting potential
    m, s = torch.tensor(mean, dtype=torch.float64), torch.tensor(std, dtype=torch.float64)
    found = first_passage(step_input(mean, std), lif, dt)
    theory = moment_activation(m, s, discrete_lif(m, s, lif, dt))
    assert found.rate.item() == pytest.approx(theory.rate.item(), rel=5e-3)
    assert found.variance.item() == pytest.approx(theory.variance.item(), rel=3e-2)
    assert found.gain.item() == pytest.approx(theory.gain.item(), rel=2e-2)


def test_the_gain_is_the_derivative_of_the_rate():
    def rate(current):
        return first_passage(step_input(current, 0.5, [0.3, -0.4], [0.05, 0.03]), LIFParameters(), 0.1)

    slope = (rate(0.80).rate - rate(0.78).rate) / 0.02
    assert rate(0.79).gain.item() == pytest.approx(slope.item(), rel=1e-2)


def test_a_neuron_that_never_fires_has_rate_zero():
    found = first_passage(step_input(-2.0, 0.1), LIFParameters(), 0.1)
    assert found.rate.item() == 0
    assert found.gain.item() == 0


def simulated(current, noise, weights, numbers, rates, dt, lif, seed, neurons=1500, duration=1000.0):
    """Counts of independent neurons with groups of equal Bernoulli inputs, by a plain loop over steps."""
    rng = np.random.default_rng(seed)
    a = np.exp(-dt / lif.tau_m)
    step_noise = noise * np.sqrt((1 - a**2) * lif.tau_m / 2)
    v, wait, counts = np.zeros(neurons), np.zeros(neurons, int), np.zeros(neurons, int)
    warmup = round(200 / dt)
    for k in range(warmup + round(duration / dt)):
        jumps = sum(w * rng.binomial(n, r * dt, neurons) for w, n, r in zip(weights, numbers, rates, strict=True))
        free = wait == 0
        v = np.where(free, a * v + (1 - a) * lif.tau_m * current + step_noise * rng.normal(size=neurons) + jumps, v)
        wait = np.maximum(wait - 1, 0)
        fires = free & (v >= lif.v_th)
        v[fires], wait[fires] = lif.v_reset, round(lif.t_ref / dt)
        if k >= warmup:
            counts += fires
    return counts


@pytest.mark.slow
@pytest.mark.parametrize(
    ("current", "noise", "weights", "numbers", "rates"),
    [
        (0.8, 0.3, [0.1, -0.5], [100, 20], [0.05, 0.05]),
        (0.0, 0.1, [1.0], [20], [0.04]),
        (0.2, 0.2, [2.0], [10], [0.05]),
    ],
)
def test_finite_weights_meet_the_simulation_where_diffusion_misses(current, noise, weights, numbers, rates):
    dt, lif, duration = 0.1, LIFParameters(), 1000.0
    counts = simulated(current, noise, weights, numbers, rates, dt, lif, seed=11, duration=duration)
    rate, error = counts.mean() / duration, counts.std() / duration / np.sqrt(len(counts))
    n_inputs = sum(numbers)
    circuit = Circuit(
        [PoissonSource("input", n_inputs, np.repeat(rates, numbers)), Population("E", 1, lif)],
        [Projection("input", "E", weights=np.repeat(weights, numbers)[None])],
        [GaussianDrive("E", mean=current, std=noise)],
    )
    exact = predict(circuit, dt=dt, theory="first_passage", window=duration)
    assert abs(exact["rate"].item() / 1e3 - rate) < 4 * error + 1e-3 * rate
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FiniteWeightWarning)
        diffusion = predict(circuit, dt=dt)
    assert abs(diffusion["rate"].item() / 1e3 - rate) > 4 * error
    spread = counts.var() * np.sqrt(2 / len(counts))
    assert abs(exact["count_variance"].item() - counts.var()) < 4 * spread


def test_both_theories_agree_on_small_jumps():
    lif = LIFParameters(tau_m=[10.0, 20.0])
    circuit = Circuit(
        [PoissonSource("input", 30, np.full((2, 30), 0.4)), Population("E", 2, lif)],
        [Projection("input", "E", weights=np.full((2, 30), 0.05))],
        [GaussianDrive("E", mean=[[0.5, 0.1], [0.8, 0.3]], std=1.0), PoissonDrive("E", 0.5, 0.1)],
    )
    exact, diffusion = predict(circuit, dt=0.1, theory="first_passage"), predict(circuit, dt=0.1)
    assert exact["rate"].dims == ("stimulus", "neuron")
    np.testing.assert_allclose(exact["rate"], diffusion["rate"], rtol=1e-2)
    np.testing.assert_allclose(exact["covariance"], diffusion["covariance"], rtol=5e-2, atol=1e-3)


def test_options_are_checked():
    circuit = Circuit([Population("E", 1, LIFParameters())], drives=[GaussianDrive("E", 0.8, 1.0)])
    with pytest.raises(ValueError, match="needs `dt`"):
        predict(circuit, theory="first_passage")
    with pytest.raises(ValueError, match="Invalid value 'magic' for `theory`"):
        predict(circuit, theory="magic")
