"""The Fokker-Planck equation of filtered noise: its white limit, conservation, and simulated neurons."""

import numpy as np
import pytest
import torch

from mnnbio import LIFParameters
from mnnbio.moments import (
    fano_factor,
    fokker_planck,
    fokker_planck_spectrum,
    frequencies,
    lif_surrogate,
    moment_activation,
    synaptic_filter,
)
from mnnbio.moments.fokker_planck import ColoredPassage

LIF = LIFParameters(tau_m=20.0, v_th=20.0, v_reset=5.0, t_ref=4.0)


@pytest.mark.parametrize(("mean", "std"), [(0.7, 1.2), (1.0, 0.8), (1.4, 0.5)])
def test_with_white_noise_alone_it_has_the_closed_forms(mean, std):
    noise = torch.tensor(mean, dtype=torch.float64), torch.tensor(std, dtype=torch.float64)
    found = fokker_planck(mean, std, LIF, 10.0, white=1 - 1e-7)
    assert found.rate == pytest.approx(moment_activation(*noise, LIF).rate.item(), rel=2e-4)
    assert found.interval_cv2 == pytest.approx(fano_factor(*noise, LIF).item(), rel=2e-3)
    assert found.variance == pytest.approx(moment_activation(*noise, LIF).variance.item(), rel=2e-3)
    assert abs(found.correlation) < 1e-5


@pytest.mark.parametrize(("mean", "std", "tau_s", "white"), [(0.7, 1.2, 4.0, 0.0), (1.1, 1.5, 100.0, 0.3)])
def test_a_finer_mesh_changes_less_than_a_thousandth(mean, std, tau_s, white):
    coarse, fine = (fokker_planck(mean, std, LIF, tau_s, white=white, refinement=r) for r in (1.0, 2.0))
    np.testing.assert_allclose(coarse, fine, rtol=5e-4)


def test_every_neuron_reaches_the_threshold():
    passage = ColoredPassage(1.0, 0.5, 0.2, -3.0)
    once = passage._at(passage._still[0], -2.0)
    np.testing.assert_allclose(passage.current.one @ once[:-1], 1.0, rtol=1e-7)


def test_correlated_intervals_add_up_to_the_variance_of_counts():
    found = fokker_planck(1.1, 1.5, LIF, 60.0)
    assert found.correlation > 0.05
    assert found.variance / found.rate == pytest.approx(found.interval_cv2 * (1 + 2 * found.correlation), rel=1e-9)
    low, high = fokker_planck_spectrum([1e-6, 3.0], 1.1, 1.5, LIF, 60.0)
    assert low == pytest.approx(found.variance, rel=1e-4)
    assert high == pytest.approx(found.rate, rel=1e-3)


# mean, std, tau_s, t_ref: below and above threshold, tau_s from a tenth of tau_m to its double.
CASES = [(0.9, 1.3, 2.0, 2.0), (1.25, 0.9, 10.0, 5.0), (1.05, 2.0, 20.0, 0.0), (1.2, 2.4, 40.0, 4.0)]


@pytest.mark.parametrize(("mean", "std", "tau_s", "t_ref"), CASES)
def test_surrogate_neurons_fire_as_it_says(mean, std, tau_s, t_ref):
    """Three standard errors, each below 1 %; `benchmarks/single_neurons.py` has thirty inputs and half of that."""
    lif = LIFParameters(tau_m=20.0, v_th=20.0, v_reset=5.0, t_ref=t_ref)
    dt, steps = 0.1, 1 << 19  # records of fifty seconds: power at frequency zero is left out of them
    power = std**2 * np.abs(synaptic_filter(frequencies(steps, dt), tau_s, dt)) ** 2
    found = lif_surrogate(mean, power, lif, dt, pairs=8, seed=3)
    # A threshold that is crossed smoothly is noticed half a step late.
    late = LIFParameters(tau_m=20.0, v_th=20.0, v_reset=5.0, t_ref=t_ref + dt / 2)
    exact = fokker_planck(mean, std, late, tau_s)
    assert found.rate_error[0] < 0.01 * exact.rate
    assert abs(found.rate[0] - exact.rate) < 3 * found.rate_error[0]
    assert found.interval_cv2[0] == pytest.approx(exact.interval_cv2, rel=0.05)
    bands = [int(np.argmin(np.abs(found.frequency - f))) for f in (5e-3, 0.02, 0.1)]
    expected = fokker_planck_spectrum(found.frequency[bands], mean, std, late, tau_s)
    assert (np.abs(found.spectrum[0, bands] - expected) < 4 * found.spectrum_error[0, bands]).all()


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="`std` must be > 0, got 0; `moment_activation`"):
        fokker_planck(1.0, 0.0, LIF, 5.0)
    with pytest.raises(ValueError, match=r"`frequency` must be > 0 1/ms, got 0; the limit at 0 is"):
        fokker_planck_spectrum([0.0], 1.0, 1.0, LIF, 5.0)
