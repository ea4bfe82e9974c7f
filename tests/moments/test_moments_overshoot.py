import mpmath as mp
import numpy as np
import pytest
import torch

from mnnbio import LIFParameters
from mnnbio.moments import overshoot
from mnnbio.moments.activation import moment_activation
from mnnbio.moments.overshoot import discrete_lif, jump_factors


def f64(*values):
    return torch.tensor(values, dtype=torch.float64)


def test_both_displacements_meet_their_series():
    drifts = (0.15, 0.6, 1.3, 1.999, 2.001, 4.0, 9.0)
    mean_overshoot, harmonic = overshoot(f64(*drifts))
    for i, b in enumerate(drifts):
        b = mp.mpf(b)
        terms = int(80 / b**2) + 10
        below = [mp.ncdf(-b * mp.sqrt(k)) for k in range(1, terms)]
        returns = mp.fsum(mp.npdf(b * mp.sqrt(k)) / mp.sqrt(k) - b * p for k, p in enumerate(below, 1))
        crossings = mp.fsum(p / k for k, p in enumerate(below, 1))
        assert mean_overshoot[i].item() == pytest.approx(float((b * b + 1) / (2 * b) - returns), abs=1e-12)
        assert harmonic[i].item() == pytest.approx(float((mp.log(2 * b * b) + 2 * crossings) / (2 * b)), abs=1e-12)


def test_displacements_near_zero_drift():
    rho = float(-mp.zeta(0.5) / mp.sqrt(2 * mp.pi))
    mean_overshoot, harmonic = overshoot(f64(0.0, 1e-3))
    assert mean_overshoot.tolist() == pytest.approx([rho, rho + 2.5e-4], abs=1e-7)
    assert harmonic.tolist() == pytest.approx([rho, rho], abs=1e-6)


@pytest.mark.parametrize("drift", [0.1, 0.5, 1.5])
def test_mean_overshoot_of_a_random_walk(drift):
    rng = np.random.default_rng(3)
    position, left = np.zeros(40_000), []
    while len(position):
        position = position + drift + rng.standard_normal(len(position))
        left.append(position[position > 25] - 25)
        position = position[position <= 25]
    excess = np.concatenate(left)
    assert abs(overshoot(f64(drift))[0].item() - excess.mean()) < 4 * excess.std() / np.sqrt(len(excess))


def mean_interval(mean, std, dt, n, rng, v_th=20.0, tau=20.0):
    """Return the mean first-passage time from 0 of neurons whose threshold is tested every dt, and its error."""
    a = np.exp(-dt / tau)
    v, k, times = np.zeros(n), 0, []
    while len(v):
        v = a * v + mean * tau * (1 - a) + std * np.sqrt(tau * (1 - a * a) / 2) * rng.standard_normal(len(v))
        k += 1
        times.append(np.full((v > v_th).sum(), k * dt))
        v = v[v <= v_th]
    times = np.concatenate(times)
    return times.mean(), times.std() / np.sqrt(n)


@pytest.mark.slow
@pytest.mark.parametrize("dt", [0.1, 0.5, 1.0])
@pytest.mark.parametrize(("mean", "std"), [(3.0, 2.0), (1.2, 1.0), (1.0, 1.0), (0.9, 1.0), (0.5, 3.0), (-1.0, 10.0)])
def test_rate_of_neurons_in_discrete_time(mean, std, dt):
    """Within 4 standard errors and 0.2 % (1 % for steps of 0.5 ms and more); continuous time is off by 1 to 33 %."""
    lif = LIFParameters(t_ref=0)
    simulated, error = mean_interval(mean, std, dt, 20_000, np.random.default_rng(11))
    found = 1 / moment_activation(f64(mean), f64(std), discrete_lif(f64(mean), f64(std), lif, dt)).rate.item()
    assert abs(found - simulated) < 4 * error + (0.002 if dt < 0.5 else 0.01) * simulated


@pytest.mark.parametrize("dt", [0.1, 0.5, 2.0])
@pytest.mark.parametrize("mean", [1.05, 1.37, 4.0])
def test_noiseless_neurons_fire_at_whole_steps(mean, dt):
    lif = LIFParameters(t_ref=6.0)
    steps = np.ceil(-20 * np.log(1 - 1 / mean) / dt)
    discrete = discrete_lif(f64(mean, mean), f64(0.0, 1e-7), lif, dt)
    intervals = 1 / moment_activation(f64(mean, mean), f64(0.0, 1e-7), discrete).rate
    assert intervals[0].item() == pytest.approx(6 + steps * dt, rel=1e-12)
    assert intervals[1].item() == pytest.approx(6 + steps * dt, rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("std", [0.003, 0.02, 0.06, 0.2])
def test_the_phase_of_the_crossing_fades_with_noise(std):
    simulated, error = mean_interval(1.5, std, 1.0, 20_000, np.random.default_rng(5))
    lif = LIFParameters(t_ref=0)
    found = 1 / moment_activation(f64(1.5), f64(std), discrete_lif(f64(1.5), f64(std), lif, 1.0)).rate.item()
    assert abs(found - simulated) < 4 * error + 0.02  # of a step of 1 ms, whose phase counts up to ±0.5


def test_only_the_threshold_changes():
    lif = LIFParameters(tau_m=[10.0, 20.0], v_reset=2.0, t_ref=3.0)
    found = discrete_lif(f64(1.0, 1.0), f64(2.0), lif, 0.1)
    assert found.tau_m.tolist() == [10.0, 20.0]
    assert (found.v_reset.item(), found.t_ref.item()) == (2.0, 3.0)
    assert (found.v_th > 20).all()


def test_finite_at_all_inputs_with_finite_gradients():
    mean = torch.linspace(-10, 20, 31, dtype=torch.float64)[:, None].expand(31, 30).clone().requires_grad_()
    std = torch.cat([f64(0.0), torch.logspace(-6, 2, 29, dtype=torch.float64)]).expand(31, 30).clone().requires_grad_()
    found = discrete_lif(mean, std, LIFParameters(), 0.1)
    gradients = torch.autograd.grad(found.v_th.sum(), (mean, std))
    off = mean != 1
    for value in (found.v_th, *gradients):
        assert value[off].isfinite().all()
    assert (found.v_th >= 20 - 1e-12).all()


@pytest.mark.parametrize("dt", [0.1, 1.0])
def test_jumps_count_for_what_they_do_to_the_membrane(dt):
    """Without threshold, V' = aV + J has mean J/(1 - a) and variance Var J/(1 - a²); a current: τ·mean, τ·std²/2."""
    tau, mean, power = 15.0, 0.7, 2.0
    a = np.exp(-dt / tau)
    factor = jump_factors(LIFParameters(tau_m=tau), dt)
    assert (factor.mean * mean * tau).item() == pytest.approx(mean * dt / (1 - a), rel=1e-12)
    assert (factor.variance * power * tau / 2).item() == pytest.approx(power * dt / (1 - a * a), rel=1e-12)


def test_bad_time_step():
    with pytest.raises(ValueError, match=r"`dt` must be > 0 ms, got 0"):
        discrete_lif(f64(1.0), f64(1.0), LIFParameters(), 0)
    with pytest.raises(ValueError, match=r"`dt` must be > 0 ms, got -1"):
        jump_factors(LIFParameters(), -1)
