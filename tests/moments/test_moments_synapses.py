"""Noise through exponential synapses: published rates, the Fokker-Planck equation, and both limits of slow synapses."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from mnnbio import LIFParameters
from mnnbio.moments.activation import moment_activation
from mnnbio.moments.colored_noise import colored_activation, colored_lif, effective_lif, joint_filter
from mnnbio.moments.drive import NeuronTensors
from mnnbio.moments.fokker_planck import fokker_planck
from mnnbio.moments.overshoot import discrete_lif

PUBLISHED = json.loads((Path(__file__).parents[1] / "data" / "lif_networks.json").read_text())["schuecker2015"]
LIF = LIFParameters(tau_m=20.0, v_th=20.0, v_reset=5.0, t_ref=4.0)


def scalar(value):
    return torch.tensor(value, dtype=torch.float64)


@pytest.mark.parametrize(("mu", "sigma", "delta", "exponential"), PUBLISHED["points"])
def test_rates_of_schuecker_2015(mu, sigma, delta, exponential):
    """Their σ√τ ξ is our std τ, and the printed rates have six digits."""
    tau_m = PUBLISHED["tau_m_ms"]
    lif = LIFParameters(
        tau_m=tau_m, t_ref=PUBLISHED["t_ref_ms"], v_reset=PUBLISHED["v_reset_mV"], v_th=PUBLISHED["v_th_mV"]
    )
    mean, std = scalar(mu / tau_m), scalar(sigma / tau_m**0.5)
    assert 1e3 * moment_activation(mean, std, lif).rate.item() == pytest.approx(delta, rel=1e-5)
    shifted = colored_lif(std, lif, tau_s=0.5)
    assert 1e3 * moment_activation(mean, std, shifted).rate.item() == pytest.approx(exponential, rel=1e-5)


def test_steps_alone_are_what_they_are():
    mean, std = scalar([0.8, 1.2]), scalar([1.0, 0.4])
    stepped = effective_lif(mean, std, LIF, dt=0.1)
    torch.testing.assert_close(stepped.v_th, discrete_lif(mean, std, LIF, 0.1).v_th)
    fine = effective_lif(mean, std, LIF, dt=1e-6, tau_s=0.5)
    torch.testing.assert_close(fine.v_th, effective_lif(mean, std, LIF, tau_s=0.5).v_th, rtol=1e-6, atol=0)


@pytest.mark.parametrize("ratio", [1e-4, 1e-3])
@pytest.mark.parametrize("t_ref", [0.0, 4.0])
def test_fast_synapses_displace_the_threshold_by_their_expansion(ratio, t_ref):
    """The reset potential is displaced by what is left of the current, which relaxes in the refractory period."""
    lif = LIFParameters(tau_m=20.0, v_th=20.0, v_reset=5.0, t_ref=t_ref)
    mean, std = scalar([0.8, 1.0, 1.2]), scalar([1.0, 1.0, 0.5])
    found = colored_activation(mean, std, lif, 20.0 * ratio).rate
    expanded = colored_lif(std, lif, 20.0 * ratio)
    reset = scalar(5.0) if t_ref else expanded.v_reset
    expected = moment_activation(mean, std, expanded._replace(v_reset=reset)).rate
    white = moment_activation(mean, std, lif).rate
    # Terms of order √ratio are left, and the error of splines whose nodes are farther apart than this.
    assert ((found - expected) / (white - expected)).abs().max() < 0.05 + 3 * ratio**0.5


CASES = [  # mean, std, tau_s, share of white noise, t_ref: drawn once, from tonic to rare firing
    (0.7, 1.2, 4.0, 0.0, 4.0),
    (0.9, 0.8, 20.0, 0.0, 2.0),
    (1.3, 1.5, 60.0, 0.3, 0.0),
    (1.1, 0.3, 1.0, 0.0, 5.0),
    (0.5, 2.5, 200.0, 0.1, 1.0),
    (1.6, 0.6, 10.0, 0.7, 8.0),
    (0.2, 2.0, 0.3, 0.0, 4.0),
]


@pytest.mark.parametrize(("mean", "std", "tau_s", "white", "t_ref"), CASES)
def test_the_table_is_the_fokker_planck_equation(mean, std, tau_s, white, t_ref):
    lif = LIFParameters(tau_m=20.0, v_th=20.0, v_reset=5.0, t_ref=t_ref)
    shares = scalar([1 - white])
    found = colored_activation(scalar(mean), scalar(std), lif, scalar([tau_s]), shares=shares)
    exact = fokker_planck(mean, std, lif, tau_s, white=white)
    low, high = (fokker_planck(mean + s * 1e-3, std, lif, tau_s, white=white).rate for s in (-1, 1))
    assert found.rate.item() == pytest.approx(exact.rate, rel=5e-3)
    assert found.gain.item() == pytest.approx((high - low) / 2e-3, rel=2e-2)
    assert found.variance.item() == pytest.approx(exact.variance, rel=3e-2)
    effective = effective_lif(scalar(mean), scalar(std), lif, None, scalar([tau_s]), shares=shares)
    rate = moment_activation(scalar(mean), scalar(std), effective).rate
    torch.testing.assert_close(rate, found.rate, rtol=1e-9, atol=0)


@pytest.mark.parametrize("tau_s", [0.5, 10.0, 1000.0])
def test_rates_have_the_derivatives_that_they_say(tau_s):
    mean, std, tau = (scalar([v]).requires_grad_() for v in (0.9, 1.1, tau_s))

    def rate(mean, std, tau):
        return colored_activation(mean, std, LIF, tau).rate

    assert torch.autograd.gradcheck(rate, (mean, std, tau), eps=1e-5, rtol=1e-4)
    (slope,) = torch.autograd.grad(rate(mean, std, tau), mean)
    torch.testing.assert_close(colored_activation(mean, std, LIF, tau).gain, slope)


def test_infinitely_slow_synapses_average_the_answers_to_constant_input():
    mean, slow, tau_s = 0.9, 0.35, 1e9  # standard deviation of the current, mV/ms
    found = colored_activation(scalar([mean]), scalar([slow * (2 * tau_s) ** 0.5]), LIF, tau_s).rate.item()
    y, weight = np.linspace(-8, 8, 400_001), 16 / 400_000 / (2 * np.pi) ** 0.5
    current = mean + slow * y
    over = current > 1.0
    ratio = np.where(over, current * 20 - 5, 1.0) / np.where(over, current * 20 - 20, 1.0)
    steady = np.where(over, 1 / (4.0 + 20.0 * np.log(ratio)), 0.0)
    assert found == pytest.approx((steady * np.exp(-(y**2) / 2)).sum() * weight, rel=5e-3)


def test_a_slow_synapse_above_threshold_leaves_the_rate_of_its_mean():
    """1.4 mV/ms by 2,000 jumps a second: 36.96 Hz, whatever the noise of a hundredth of a tau_s would do."""
    lif = LIFParameters(tau_m=20.0, v_th=20.0, v_reset=0.0, t_ref=2.0)
    still = moment_activation(scalar([1.4]), scalar([0.0]), lif).rate
    for tau_s, within in ((100.0, 3e-3), (1e3, 5e-4), (1e4, 1e-4)):
        found = colored_activation(scalar([1.4]), scalar([2.0**0.5 * 0.7]), lif, tau_s).rate
        torch.testing.assert_close(found, still, rtol=within, atol=0)


def test_no_noise_and_silence_are_ordinary():
    found = colored_activation(scalar([0.5, 1.3]), scalar([0.0, 0.0]), LIF, 10.0)
    torch.testing.assert_close(found.rate, moment_activation(scalar([0.5, 1.3]), scalar([0.0, 0.0]), LIF).rate)
    assert torch.isfinite(torch.stack(found[:5])).all()
    silent = colored_activation(scalar([-5.0]), scalar([0.1]), LIF, 10.0)
    assert silent.rate == silent.variance == silent.gain == 0


def test_units_of_time_and_voltage_do_not_matter():
    mean, std, tau = scalar([0.7, 1.1]), scalar([1.2, 0.6]), scalar([3.0, 40.0])
    shares = scalar([[0.5, 0.2], [0.3, 0.8]])
    lif = NeuronTensors(*(scalar(v) for v in (20.0, 20.0, 5.0, 4.0)))
    found = colored_activation(mean, std, lif, tau, shares=shares)
    time, volt = 3.0, 0.7
    scaled = NeuronTensors(lif.tau_m * time, lif.v_th * volt, lif.v_reset * volt, lif.t_ref * time)
    other = colored_activation(mean * volt / time, std * volt / time**0.5, scaled, tau * time, shares=shares)
    torch.testing.assert_close(other.rate * time, found.rate)
    torch.testing.assert_close(other.variance * time, found.variance)
    torch.testing.assert_close(other.gain * volt, found.gain)
    order = [1, 0]
    again = colored_activation(mean, std, lif, tau[order], shares=shares[order])
    torch.testing.assert_close(again.rate, found.rate)


def test_filters_together_leave_the_potential_its_variance():
    power, tau = scalar([[0.3], [0.5], [0.2]]), scalar([0.0, 2.0, 50.0])
    joint = joint_filter(power, tau, scalar(20.0))
    assert joint.white.item() == pytest.approx(0.3)
    assert 0.3 + 0.7 / (1 + joint.tau_s.item() / 20) == pytest.approx(0.3 + 0.5 / 1.1 + 0.2 / 3.5)
    nothing = joint_filter(power[:1], tau[:1], scalar(20.0))
    assert nothing == (0.0, 0.0)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="`tau_s` must be ≥ 0 ms, got -1"):
        colored_lif(scalar(1.0), LIF, -1.0)
    with pytest.raises(ValueError, match=r"`shares` must be ≥ 0 and their sum ≤ 1, got 0\.7 and a sum of 1\.4"):
        colored_activation(scalar([1.0]), scalar([1.0]), LIF, scalar([1.0, 2.0]), shares=scalar([0.7, 0.7]))
    with pytest.raises(ValueError, match=r"`tau_s` and `shares` must be \(kind,\) and \(kind, \.\.\.\)"):
        colored_activation(scalar([1.0]), scalar([1.0]), LIF, 1.0, shares=scalar([0.7]))
    with pytest.raises(ValueError, match=r"`white` must be in \[0, 1\), got 1"):
        fokker_planck(1.0, 1.0, LIF, 5.0, white=1.0)
    with pytest.raises(ValueError, match="`tau_s` must be > 0, got 0; `moment_activation`"):
        fokker_planck(1.0, 1.0, LIF, 0.0)
