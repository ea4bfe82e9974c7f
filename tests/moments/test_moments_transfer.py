"""The response to modulations against mpmath, static limits and an integration of the Fokker-Planck equation."""

import mpmath
import numpy as np
import pytest
import torch

from mnnbio import LIFParameters
from mnnbio.moments.activation import moment_activation
from mnnbio.moments.transfer import first_passage_transform, transfer_function

LIF = LIFParameters(tau_m=20.0, v_th=20.0, v_reset=10.0, t_ref=2.0)
DRIVES = [(0.8, 1.0), (1.2, 0.3), (0.5, 1.2), (1.6, 0.2)]


@pytest.mark.parametrize("s", [1e-6j, 0.3 + 5j, -0.5 + 3j, 126j])
@pytest.mark.parametrize("places", [(-30, -12), (-6, -3), (-5, 1), (-1, 0.5), (1, 2.5), (-3, 6)])
def test_the_transform_equals_parabolic_cylinder_functions(s, places):
    def phi(x, order=0):
        return mpmath.exp(mpmath.mpf(x) ** 2 / 2) * mpmath.pcfd(-s - order, -mpmath.sqrt(2) * x)

    with mpmath.workdps(30):
        slopes = [complex(mpmath.sqrt(2) * s * phi(x, 1) / phi(x)) for x in places]
        ratio = complex(phi(places[0]) / phi(places[1]))
    found = first_passage_transform(np.array([s]), np.array([float(places[0])]), np.array([float(places[1])]))
    np.testing.assert_allclose(np.ravel(found), [*slopes, ratio], rtol=1e-11)


@pytest.mark.parametrize(("mean", "std"), DRIVES)
def test_slow_modulations_change_the_rate_by_its_derivatives(mean, std):
    drive = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (mean, std)]
    answer = moment_activation(*drive, LIF)
    slopes = torch.autograd.grad(answer.rate, drive)
    still = transfer_function([0.0], mean, std, LIF)
    slow = transfer_function([1e-6], mean, std, LIF)
    np.testing.assert_allclose(still.mean[0], slopes[0].item(), rtol=1e-9)
    np.testing.assert_allclose(still.variance[0], slopes[1].item() / (2 * std), rtol=1e-9)
    np.testing.assert_allclose(still.spectrum[0], answer.variance.item(), rtol=1e-12)
    np.testing.assert_allclose(slow.mean.real, still.mean.real, rtol=1e-6)
    np.testing.assert_allclose(slow.spectrum, still.spectrum, rtol=1e-4)


def test_fast_parts_of_the_spectrum_are_those_of_a_poisson_process():
    found = transfer_function([2.0], 0.8, 1.0, LIF)
    assert found.spectrum[0] == pytest.approx(
        moment_activation(*torch.tensor([[0.8], [1.0]]), LIF).rate.item(), rel=1e-3
    )


def threshold_integration(frequency, mean, std, lif, n=12001):
    """Richardson (2007), Phys. Rev. E 76, 021919: integrate density and flux downwards from the threshold.

    Returns the responses of the rate to modulations of the mean and of the variance of the input.
    """
    v, dv = np.linspace(-40.0, lif.v_th, n, retstep=True)
    back = round((lif.v_reset - v[0]) / dv)
    middle = (v[1:] + v[:-1]) / 2
    D = std**2 / 2
    force = mean - middle / lif.tau_m
    A = np.exp(-dv * force / D)
    B = (1 - A) / force  # ∫ of the propagator over a cell, for a flux of 1

    density, flux = np.zeros(n), np.zeros(n)
    flux[-1] = 1.0
    for k in range(n - 1, 0, -1):
        flux[k - 1] = flux[k] - (k == back)
        density[k - 1] = density[k] * A[k - 1] + flux[k] * B[k - 1]
    rate = 1 / (density.sum() * dv + lif.t_ref)
    p0, slope = rate * density, np.gradient(rate * density, dv, edge_order=2)
    # The slope jumps at the reset: one-sided differences there come from the flux, j = force·p - D p'.
    force_at = mean - v / lif.tau_m
    j0 = rate * flux
    slope = (force_at * p0 - j0) / D

    omega = 2j * np.pi * frequency
    out = []
    for source in (p0, -slope / 2):  # what the modulation adds to the flux: ε p0, and -(ε/2) p0'
        parts = []
        for j_top, drive in ((1.0, 0.0), (0.0, 1.0)):
            p, j = 0.0 + 0j, j_top + 0j
            for k in range(n - 1, 0, -1):
                wave = (source[k] + source[k - 1]) / 2 * drive
                p_next = p * A[k - 1] + (j - wave) * B[k - 1]
                j = j + dv * omega * (p + p_next) / 2 - (np.exp(-omega * lif.t_ref) * j_top if k == back else 0.0)
                p = p_next
            parts.append(j)
        out.append(-parts[1] / parts[0])  # no flux at the bottom
    return out


@pytest.mark.slow
@pytest.mark.parametrize(("mean", "std"), [(0.8, 1.0), (1.1, 0.5)])
@pytest.mark.parametrize("frequency", [0.01, 0.08, 0.2])
def test_the_response_equals_threshold_integration(mean, std, frequency):
    expected = threshold_integration(frequency, mean, std, LIF)
    found = transfer_function([frequency], mean, std, LIF)
    np.testing.assert_allclose([found.mean[0], found.variance[0]], expected, rtol=5e-3)


def test_a_growing_modulation_has_a_real_response():
    found = transfer_function([-0.05j], 0.8, 1.0, LIF)
    still = transfer_function([0.0], 0.8, 1.0, LIF)
    assert found.mean[0].imag == pytest.approx(0, abs=1e-15)
    assert 0 < found.mean[0].real < still.mean[0].real


def test_many_neurons_equal_each():
    mean, std = np.array([0.8, 1.2]), np.array([1.0, 0.3])
    lif = LIFParameters(t_ref=[1.0, 4.0])
    together = transfer_function([0.0, 0.05], mean, std, lif)
    for k, t_ref in enumerate(lif.t_ref):
        alone = transfer_function([0.0, 0.05], mean[k], std[k], LIFParameters(t_ref=t_ref))
        np.testing.assert_allclose(together.mean[:, k], alone.mean, rtol=1e-10)
        np.testing.assert_allclose(together.spectrum[:, k], alone.spectrum, rtol=1e-10)


def test_silent_neurons_do_not_respond():
    found = transfer_function([0.05], -1.0, 0.1, LIF)
    assert found.mean[0] == found.variance[0] == found.spectrum[0] == 0


def test_a_response_needs_noise():
    with pytest.raises(ValueError, match="`std` must be > 0 mV/√ms for a response to modulations"):
        transfer_function([0.0], 1.2, 0.0, LIF)
