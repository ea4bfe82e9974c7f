"""Moments of networks that differ by their weights: the noise that stands for frozen currents, and the comparison."""

import numpy as np
import pytest

from mnnbio import Circuit, CurrentDrive, LIFParameters, Population, Projection, predict
from mnnbio.learning import FrozenNetwork, compare_moments, with_stationary_noise
from mnnbio.neurons import AdEx

N, STEPS, DT = 8, 4000, 0.5


def network(neuron=None, tau=5.0, seed=0):
    """Return a network under Ornstein-Uhlenbeck currents of 0.3 mV/ms and time constant `tau`, ms."""
    rng = np.random.default_rng(seed)
    keep = np.exp(-DT / tau)
    current = np.zeros((STEPS, N))
    for k in range(1, STEPS):
        current[k] = keep * current[k - 1] + 0.3 * np.sqrt(1 - keep**2) * rng.standard_normal(N)
    weights = rng.normal(0.0, 0.3, (N, N)) * (1 - np.eye(N))
    circuit = Circuit(
        populations=[Population("n", N, neuron or LIFParameters(tau_m=20.0, t_ref=2.0))],
        projections=[Projection("n", "n", weights=weights, delay=1.0)],
    )
    return FrozenNetwork(circuit, current + 0.9, dt=DT), weights


def test_noise_has_the_mean_and_the_power_of_the_currents():
    own, _ = network()
    (drive,) = with_stationary_noise(own, 5.0).drives
    np.testing.assert_allclose(drive.mean, own.currents.mean(0))
    np.testing.assert_allclose(drive.std, own.currents.std(0) * np.sqrt(10.0))
    # 2 τ var is the power at low frequencies: the mean over 200 ms varies by it over the time, within sampling.
    blocks = own.currents.reshape(-1, 400, N).mean(1)
    power = blocks.var(axis=0, ddof=1).mean() * 200.0
    expected = (drive.std**2).mean()
    error = expected * np.sqrt(2 / (N * (len(blocks) - 1)))
    assert abs(power - expected) < 4 * error


def test_moments_are_those_of_predict_and_the_reference_agrees_with_itself():
    own, weights = network()
    compared = {"true": weights, "none": np.zeros_like(weights)}
    found = compare_moments(own, compared, reference="true", correlation_time=5.0)
    circuit = own.with_weights(weights).with_parts(drives=with_stationary_noise(own, 5.0).drives)
    expected = predict(circuit, dt=DT, window=100.0)
    np.testing.assert_allclose(found["rate"].sel(network="true"), expected["rate"])
    np.testing.assert_allclose(found["covariance"].sel(network="true"), expected["count_covariance"])
    assert float(found["rate_r"].sel(network="true")) == pytest.approx(1.0)
    assert float(found["rate_rms"].sel(network="true")) == 0.0
    # Without recurrence trains are independent.
    pairs = ~np.eye(N, dtype=bool)
    np.testing.assert_allclose(found["covariance"].sel(network="none").values[pairs], 0.0, atol=1e-12)
    assert np.isnan(found["covariance_r"].sel(network="none"))
    assert float(found["rate_rms"].sel(network="none")) > 0


def test_bad_input_is_named():
    own, weights = network()
    with pytest.raises(ValueError, match=r"`reference` must be one of \['learned'\], got 'true'"):
        compare_moments(own, {"learned": weights}, reference="true", correlation_time=5.0)
    with pytest.raises(ValueError, match=r"`correlation_time` must be a time > 0 ms, got 0"):
        with_stationary_noise(own, 0.0)


def test_other_neurons_are_refused():
    circuit = Circuit(
        populations=[Population("n", 3, AdEx())],
        projections=[Projection("n", "n", weights=np.ones((3, 3)), delay=1.0)],
    )
    own = FrozenNetwork(circuit, drives=[CurrentDrive("n", 100.0)], dt=DT, duration=10.0)
    with pytest.raises(TypeError, match=r"the theory of the moments needs leaky integrate-and-fire neurons.*AdEx"):
        with_stationary_noise(own, 5.0)
