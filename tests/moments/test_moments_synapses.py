"""Exponential synapses by shifted thresholds, against published rates."""

import json
from pathlib import Path

import pytest
import torch

from mnnbio import LIFParameters
from mnnbio.moments.activation import moment_activation
from mnnbio.moments.colored_noise import colored_lif, effective_lif
from mnnbio.moments.overshoot import discrete_lif

PUBLISHED = json.loads((Path(__file__).parents[1] / "data" / "lif_networks.json").read_text())["schuecker2015"]


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


def test_synapses_and_steps_alone_are_what_they_are():
    lif, mean, std = LIFParameters(t_ref=2.0), scalar([0.8, 1.2]), scalar([1.0, 0.4])
    stepped = effective_lif(mean, std, lif, dt=0.1)
    torch.testing.assert_close(stepped.v_th, discrete_lif(mean, std, lif, 0.1).v_th)
    torch.testing.assert_close(effective_lif(mean, std, lif, tau_s=0.5).v_th, colored_lif(std, lif, 0.5).v_th)
    fine = effective_lif(mean, std, lif, dt=1e-6, tau_s=0.5)
    torch.testing.assert_close(fine.v_th, colored_lif(std, lif, 0.5).v_th, rtol=1e-7, atol=0)


def test_a_negative_time_constant_is_refused():
    with pytest.raises(ValueError, match="`tau_s` must be ≥ 0 ms, got -1"):
        colored_lif(scalar(1.0), LIFParameters(), -1.0)
