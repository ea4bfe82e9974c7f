"""Surrogate neurons against the closed forms of white noise, and their parts against brute force."""

import numpy as np
import pytest
import torch

from mnnbio import LIFParameters
from mnnbio.moments import (
    discrete_lif,
    frequencies,
    gaussian_transforms,
    lif_spikes,
    lif_surrogate,
    moment_activation,
    shifted_sum,
    spectral_bands,
    synaptic_filter,
    transfer_function,
)
from mnnbio.moments import surrogate as module

DT, STEPS = 0.1, 2**15
LIF = LIFParameters(v_reset=10.0, t_ref=2.0)


@pytest.fixture(scope="module", params=[(0.8, 1.5), (0.9, 0.8), (1.2, 1.0)])
def white(request):
    mean, std = request.param
    found = lif_surrogate([mean], np.full((1, STEPS // 2 + 1), std**2), LIF, DT, pairs=24, seed=5)
    m, s = (torch.tensor([value], dtype=torch.float64) for value in (mean, std))
    return found, m, s, discrete_lif(m, s, LIF, DT)


def test_the_rate_in_white_noise_is_the_closed_form_s(white):
    found, mean, std, lif = white
    expected = moment_activation(mean, std, lif).rate.item()
    assert abs(found.rate[0] - expected) < 3 * found.rate_error[0]


def test_the_spectrum_in_white_noise_is_the_closed_form_s(white):
    found, mean, std, lif = white
    exact = transfer_function(found.frequency, mean.numpy(), std.numpy(), lif).spectrum[:, 0]
    few = found.frequency < 0.02  # a band is narrow against what the spectrum does there
    z = ((found.spectrum[0] - exact) / found.spectrum_error[0])[few]
    assert (z**2).mean() < 1 + 3 * np.sqrt(2 / few.sum()) + 0.3
    assert abs(z.mean()) < 3 / np.sqrt(few.sum()) * 1.5


def test_intervals_in_white_noise_vary_as_the_closed_form_says(white):
    found, mean, std, lif = white
    answer = moment_activation(mean, std, lif)
    intervals = found.rate[0] * 48 * STEPS * DT
    error = np.sqrt(2 / intervals) * 1.5 * found.interval_cv2[0] * 3
    assert abs(found.interval_cv2[0] - (answer.variance / answer.rate).item()) < error + 0.02 * found.interval_cv2[0]


def test_the_responses_in_white_noise_are_the_closed_forms(white):
    found, mean, std, lif = white
    exact = transfer_function(found.frequency, mean.numpy(), std.numpy(), lif).mean[:, 0]
    slow = found.frequency < 0.02
    z = (np.abs(found.response[0] - exact) / found.response_error[0])[slow]
    assert np.sqrt((z**2).mean()) < 3
    wide = transfer_function(found.wide_frequency, mean.numpy(), std.numpy(), lif).variance[:, 0]
    slow = found.wide_frequency < 0.02
    z = (np.abs(found.variance_response[0, 0] - wide) / found.variance_response_error[0, 0])[slow]
    assert np.sqrt((z**2).mean()) < 3


def test_noise_has_the_spectrum_that_is_asked_for():
    f = frequencies(STEPS, DT)
    spectrum = 1 / (1 + (2 * np.pi * f * 5) ** 2)
    rng = np.random.default_rng(1)
    power = np.mean([np.abs(gaussian_transforms(spectrum, DT, rng)) ** 2 for _ in range(50)], axis=0) * DT / STEPS
    bands = spectral_bands(STEPS, DT)
    ratio = bands.average(power) / bands.average(spectrum)
    assert np.all(np.abs(ratio - 1) < 5 / np.sqrt(50 * bands.number))


def test_numpy_and_compiled_neurons_fire_the_same_spikes(monkeypatch):
    current = 0.9 + np.random.default_rng(2).standard_normal((3, 4000)) * 3
    lif = LIFParameters(tau_m=np.array([10.0, 20.0, 30.0]), v_reset=5.0, t_ref=np.array([0.0, 2.0, 3.0]))
    compiled = lif_spikes(current, lif, DT)
    pool = compiled[:, ::-1].copy()
    which, shift = np.array([0, 2, 2]), np.array([0, 17, 3999])
    total = shifted_sum(pool, which, shift)
    monkeypatch.setattr(module, "_library", lambda: None)
    assert compiled.sum() > 0
    np.testing.assert_array_equal(lif_spikes(current, lif, DT), compiled)
    np.testing.assert_array_equal(shifted_sum(pool, which, shift), total)


def test_a_constant_current_gives_the_interval_of_the_membrane_equation():
    current = np.full((1, 20_000), 1.5)
    spikes = np.flatnonzero(lif_spikes(current, LIF, DT)[0])
    charging = 20 * np.log((30 - 10) / (30 - 20))  # ms from reset to threshold
    assert set(np.diff(spikes)) == {int(np.ceil(charging / DT)) + 20}


def test_a_synaptic_filter_is_the_transform_of_a_decaying_current():
    f = np.array([0.0, 0.01, 0.3])
    t = np.arange(4000)
    kernel = np.exp(-t * DT / 5.0)
    direct = (kernel * np.exp(-2j * np.pi * f[:, None] * t * DT)).sum(1) / kernel.sum()
    np.testing.assert_allclose(synaptic_filter(f, 5.0, DT), direct, atol=1e-12)
    np.testing.assert_array_equal(synaptic_filter(f, 0.0, DT), 1)


@pytest.mark.parametrize(
    ("mean", "spectrum", "options", "message"),
    [
        ([1.0, 1.0], np.ones((3, 9)), {}, "`mean` must be"),
        ([1.0], -np.ones((1, 9)), {}, "must be ≥ 0 mV²/ms"),
        ([1.0], np.ones((1, 9)), {"pairs": 0}, "`pairs` must be ≥ 1"),
    ],
)
def test_bad_input_is_refused(mean, spectrum, options, message):
    with pytest.raises(ValueError, match=message):
        lif_surrogate(mean, spectrum, LIF, DT, **options)
