"""Threshold integration against closed forms, quadrature of the passage time, the LIF theory and simulation."""

import sys
import warnings

import numpy as np
import pytest
import torch
from scipy.integrate import quad

from mnnbio import LIFParameters
from mnnbio.moments import (
    DriftNeuron,
    GridWarning,
    exponential_drift,
    interval_skewness,
    leaky_drift,
    moment_activation,
    quadratic_drift,
    threshold_integration,
    threshold_transfer,
    transfer_function,
)

LIF = DriftNeuron(drift=leaky_drift, parameters=(20.0, 0.0), v_th=20.0, v_reset=0.0, t_ref=5.0)
EIF = DriftNeuron(drift=exponential_drift, parameters=(20.0, -65.0, -53.0, 2.0), v_th=-30.0, v_reset=-60.0, t_ref=2.0)
QIF = DriftNeuron(drift=quadratic_drift, parameters=(20.0, -65.0, -50.0), v_th=0.0, v_reset=-65.0)
MEANS, STDS = (0.3, 0.6, 0.9, 1.1, 2.0), (0.3, 1.0, 3.0)


def grid(means, stds):
    return np.meshgrid(means, stds, indexing="ij")


def test_the_leaky_neuron_answers_as_its_closed_form():
    mean, std = grid(MEANS, STDS)
    mean_, std_ = torch.tensor(mean, requires_grad=True), torch.tensor(std, requires_grad=True)
    theory = moment_activation(mean_, std_, LIFParameters())
    slope = torch.autograd.grad(theory.rate.sum(), std_)[0].numpy() / (2 * std)
    found = threshold_integration(mean, std, LIF)
    firing = theory.rate.detach().numpy() > 1e-12
    for name, value, expected in [
        ("rate", found.rate, theory.rate),
        ("variance", found.variance, theory.variance),
        ("gain", found.gain, theory.gain),
        ("skewness", found.skewness, interval_skewness(mean_, std_, LIFParameters())),
    ]:
        np.testing.assert_allclose(value[firing], expected.detach().numpy()[firing], rtol=1e-5, err_msg=name)
    np.testing.assert_allclose(found.variance_gain[firing], slope[firing], rtol=1e-4, atol=1e-9)


def potential_of(neuron, mean):
    """Return the antiderivative of the drift of an EIF or QIF neuron."""
    if neuron.drift is exponential_drift:
        tau_m, E_L, v_t, delta_t = neuron.parameters
        return lambda v: (E_L * v - v**2 / 2 + delta_t**2 * np.exp((v - v_t) / delta_t)) / tau_m + mean * v
    tau_m, E_L, v_t = neuron.parameters
    return lambda v: (v**3 / 3 - (E_L + v_t) * v**2 / 2 + E_L * v_t * v) / ((v_t - E_L) * tau_m) + mean * v


def passage_by_quadrature(neuron, mean, std, low, points=30_001):
    """Return mean and variance of the passage time, from the double integrals of the backward equation.

    ``p(v) = ∫_low^v exp(-(U(v) - U(u))/D) du / D`` by the trapezoidal rule over u, the growth of the exponent being
    resolved by a fine grid.
    """
    D, U = std**2 / 2, potential_of(neuron, mean)
    v = np.linspace(low, neuron.v_th, points)
    h = v[1] - v[0]
    exponent = U(v) / D

    def carried(source):  # ∫ exp(-(Φ(v) - Φ(u))) source(u) du, kept in range by a running maximum of Φ
        total, out = 0.0, np.zeros(points)
        factor = np.exp(-(exponent[1:] - exponent[:-1]))
        for k in range(points - 1):
            total = factor[k] * (total + h / 2 * source[k]) + h / 2 * source[k + 1]
            out[k + 1] = total
        return out

    p = carried(np.full(points, 1 / D))
    q = carried(2 * p**2)
    above = v >= neuron.v_reset - 1e-9
    return np.trapezoid(p[above], v[above]), np.trapezoid(q[above], v[above])


@pytest.mark.parametrize(
    ("neuron", "mean", "std", "low"),
    [(EIF, 0.3, 1.0, -90.0), (EIF, 0.9, 2.0, -100.0), (QIF, 0.1, 1.0, -90.0), (QIF, 0.4, 1.5, -90.0)],
)
def test_exponential_and_quadratic_neurons_meet_quadrature(neuron, mean, std, low):
    # The reset is a node of the quadrature's grid, and the steepest part of the upstroke is cut off.
    cut = DriftNeuron(drift=neuron.drift, parameters=neuron.parameters, v_th=-40.0, v_reset=neuron.v_reset)
    T, V = passage_by_quadrature(cut, mean, std, low)
    found = threshold_integration(mean, std, cut)
    np.testing.assert_allclose(found.rate, 1 / T, rtol=1e-5)
    np.testing.assert_allclose(found.variance, V / T**3, rtol=1e-4)


@pytest.mark.parametrize(("mean", "std"), [(0.05, 0.7), (0.15, 1.0), (0.3, 2.0)])
def test_the_quadratic_neuron_between_infinite_bounds(mean, std):
    # With x from the middle of E_L and v_t, x' = (x² - 15²/4)/300 + mean; in the units of x' = x² + I, D = std²/2 · 300:
    # T = 2 √(π/D) ∫_0^∞ exp(-(I z² + z⁶/12)/D) dz, times 300 ms (Brunel & Latham 2003, eq. 3.11, in another variable).
    scale = 15.0 * 20.0
    current, D = scale * mean - 15.0**2 / 4, std**2 / 2 * scale
    integral = quad(lambda z: np.exp(-(current * z**2 + z**6 / 12) / D), 0, np.inf)[0]
    exact = 2 * np.sqrt(np.pi / D) * integral * scale
    wide = DriftNeuron(drift=quadratic_drift, parameters=QIF.parameters, v_th=2e3, v_reset=-2e3)
    # From ±2000 mV the ends of the way take 2 · 300/2000 ms less, as without noise.
    np.testing.assert_allclose(1 / threshold_integration(mean, std, wide).rate + 2 * scale / 2e3, exact, rtol=1e-4)


@pytest.mark.parametrize("mean", [0.2, 0.5, 3.0])
def test_the_quadratic_neuron_without_noise(mean):
    scale, top, bottom = 300.0, QIF.v_th + 57.5, QIF.v_reset + 57.5
    root = np.sqrt(scale * mean - 15.0**2 / 4)
    exact = scale / root * (np.arctan(top / root) - np.arctan(bottom / root))
    found = threshold_integration(mean, 0.0, QIF)
    np.testing.assert_allclose(found.rate, 1 / exact, rtol=1e-6)
    assert found.variance == 0
    slope = (1 / exact - 1 / threshold_integration(mean - 1e-4, 0.0, QIF).rate ** -1) / 1e-4
    np.testing.assert_allclose(found.gain, slope, rtol=1e-2)


@pytest.mark.parametrize("neuron", [LIF, EIF, QIF])
def test_without_noise_nothing_fires_below_the_threshold(neuron):
    found = threshold_integration([0.0, -0.2, 3.0], 0.0, neuron)
    assert (found.rate[:2] == 0).all()
    assert (found.gain[:2] == 0).all()
    assert (found.variance == 0).all()
    assert found.rate[2] > 0.02
    np.testing.assert_allclose(found.potential[:2], 20 * np.array([0.0, -0.2]) + neuron.parameters[1], atol=1.1)


@pytest.mark.parametrize("neuron", [LIF, EIF, QIF])
def test_derivatives_are_those_of_the_rate(neuron):
    mean, std, step = np.array([0.6, 0.9, 2.0]), 1.5, 1e-4

    def rate(mean=mean, std=std, leak=0.0):
        fields = {name: getattr(neuron, name) for name in ("drift", "parameters", "v_th", "v_reset", "t_ref")}
        return threshold_integration(mean, std, DriftNeuron(**fields, leak=leak)).rate

    found = threshold_integration(mean, std, neuron)
    by_mean = (rate(mean + step) - rate(mean - step)) / (2 * step)
    by_variance = (rate(std=np.sqrt(std**2 + step)) - rate(std=np.sqrt(std**2 - step))) / (2 * step)
    by_leak = (rate(leak=1e-6) - rate(leak=-1e-6)) / 2e-6
    np.testing.assert_allclose(found.gain, by_mean, rtol=1e-5)
    np.testing.assert_allclose(found.variance_gain, by_variance, rtol=1e-5)
    np.testing.assert_allclose(-found.gain * found.leak_potential, by_leak, rtol=1e-4)


def test_the_mean_potential_of_the_leaky_neuron_balances_its_current():
    # From the mean of dv/dt = 0: mean - <v>/tau_m = rate (v_th - v_reset) outside of the refractory time.
    mean, std = grid((0.6, 1.1), (1.0, 3.0))
    found = threshold_integration(mean, std, LIF)
    free = 1 - 5.0 * found.rate
    np.testing.assert_allclose(mean * free - found.potential / 20, 20 * found.rate, rtol=1e-6)


def test_transfer_of_the_leaky_neuron():
    mean, std = grid((0.6, 1.0, 1.2), (1.0, 3.0))
    frequency = np.array([0.0, 1e-3, 0.02, 0.2, 0.02 - 0.002j])
    found, exact = (
        threshold_transfer(frequency, mean, std, LIF),
        transfer_function(frequency, mean, std, LIFParameters()),
    )
    for name in ("mean", "variance"):
        np.testing.assert_allclose(getattr(found, name), getattr(exact, name), rtol=1e-5, err_msg=name)
    np.testing.assert_allclose(found.spectrum[:4], exact.spectrum[:4], rtol=1e-5)
    np.testing.assert_allclose(found.interval[1:], exact.interval[1:], rtol=1e-5)


@pytest.mark.parametrize("neuron", [EIF, QIF])
def test_slow_modulations_are_followed_as_the_stationary_rate(neuron):
    slow = threshold_transfer([0.0, 1e-6], [0.5, 1.0], 1.5, neuron)
    still = threshold_integration([0.5, 1.0], 1.5, neuron)
    for row in (0, 1):
        np.testing.assert_allclose(slow.mean[row].real, still.gain, rtol=1e-5)
        np.testing.assert_allclose(slow.variance[row].real, still.variance_gain, rtol=1e-5)
        np.testing.assert_allclose(slow.spectrum[row], still.variance, rtol=1e-4)


def test_fast_modulations_of_the_exponential_neuron_fall_off_with_its_sharpness():
    # |χ| → rate/(ω delta_t) (Fourcaud-Trocmé et al. 2003, eq. 3.18), where v_th is out of reach of a cycle.
    steep = DriftNeuron(drift=exponential_drift, parameters=EIF.parameters, v_th=0.0, v_reset=-60.0)
    frequency = np.array([1.0, 2.0])
    found = threshold_transfer(frequency, 0.8, 1.5, steep)
    rate = threshold_integration(0.8, 1.5, steep).rate
    np.testing.assert_allclose(abs(found.mean) * 2 * np.pi * frequency * 2.0 / rate, 1.0, rtol=0.1)


def test_units_shapes_and_chunks(monkeypatch):
    mean, std = grid((0.3, 0.9, 1.5), (1.0, 2.0))
    found = threshold_integration(mean, std, EIF)
    assert found.rate.shape == (3, 2)
    # Time in units of 0.1 ms, voltages in units of 0.01 V.
    tau_m, *volts = EIF.parameters
    scaled = DriftNeuron(
        drift=exponential_drift,
        parameters=(10 * tau_m, *(v / 10 for v in volts)),
        v_th=EIF.v_th / 10,
        v_reset=EIF.v_reset / 10,
        t_ref=20.0,
    )
    other = threshold_integration(mean / 100, std / 10 / np.sqrt(10), scaled)
    np.testing.assert_allclose(other.rate * 10, found.rate, rtol=1e-10)
    np.testing.assert_allclose(other.gain / 10, found.gain, rtol=1e-10)
    monkeypatch.setattr(sys.modules[threshold_integration.__module__], "NUMBERS", 2048)
    for name, value in threshold_integration(mean, std, EIF)._asdict().items():
        np.testing.assert_allclose(value, getattr(found, name), rtol=1e-10, err_msg=name)
    each = DriftNeuron(
        drift=exponential_drift, parameters=(20.0, -65.0, np.array([-53.0, -51.0]), 2.0), v_th=-30.0, v_reset=-60.0
    )
    assert (np.diff(threshold_integration(0.8, 1.0, each).rate) < 0).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"std": -1.0}, r"`std` must be ≥ 0 mV/√ms, got -1"),
        ({"v_reset": -20.0}, r"`v_reset` must be below `v_th`, got -20"),
        ({"t_ref": -1.0}, r"`t_ref` must be ≥ 0 ms, got -1"),
        ({"mean": np.nan}, r"`mean` must be a finite number, got nan"),
        ({"drift": lambda v: 0 * v, "parameters": (), "mean": -1.0}, "must hold the membrane potential from below"),
    ],
)
def test_bad_input(changes, message):
    fields = {name: getattr(EIF, name) for name in ("drift", "parameters", "v_th", "v_reset", "t_ref")}
    inputs = {name: changes.pop(name, 1.0) for name in ("mean", "std")}
    with pytest.raises(ValueError, match=message):
        threshold_integration(inputs["mean"], inputs["std"], DriftNeuron(**fields | changes))


def test_no_noise_has_no_transfer():
    with pytest.raises(ValueError, match=r"`std` must be > 0 mV/√ms"):
        threshold_transfer([0.1], 1.0, 0.0, EIF)


def test_a_grid_too_coarse_is_warned_of():
    with pytest.warns(GridWarning, match="an interval changes by"):
        threshold_integration(0.9999, 2e-4, LIF)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        threshold_integration(*grid(MEANS, (0.0, 0.01, *STDS)), EIF)


def simulated_passages(neuron, mean, std, dt, size, seed):
    """Return the times, ms, that `size` neurons take from reset to threshold, by Euler steps."""
    rng = np.random.default_rng(seed)
    v, times, n = np.full(size, float(neuron.v_reset)), [], 0
    while len(v):
        n += 1
        v += dt * (neuron.drift(v, *neuron.parameters) + mean) + std * np.sqrt(dt) * rng.normal(size=len(v))
        fired = v > neuron.v_th
        if fired.any():
            times += [n * dt] * int(fired.sum())
            v = v[~fired]
    return np.array(times)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("neuron", "mean", "std"), [(EIF, 0.4, 1.2), (EIF, 0.9, 1.0), (QIF, 0.15, 1.2), (QIF, 0.5, 1.0)]
)
def test_simulated_neurons(neuron, mean, std):
    times = simulated_passages(neuron, mean, std, 0.02, 4000, seed=1)
    found = threshold_integration(mean, std, neuron)
    T, V = 1 / found.rate - neuron.t_ref, found.variance / found.rate**3
    assert abs(times.mean() - T) < 3 * np.sqrt(V / len(times)) + 0.005 * T
    spread = times.var(ddof=1)
    error = np.sqrt((np.mean((times - times.mean()) ** 4) - spread**2) / len(times))
    assert abs(spread - V) < 3 * error + 0.01 * V
