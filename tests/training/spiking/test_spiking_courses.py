"""Courses of networks in test trials: against presentations that are cut short, and sums by hand."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from mnnbio.training.spiking import courses
from mnnbio.training.spiking.courses import contextual_course, image_course, pixel_baseline
from mnnbio.training.spiking.networks import RateNetwork, SpikingNetwork
from mnnbio.training.spiking.tasks import contextual_integration


@pytest.mark.parametrize("make", [SpikingNetwork, RateNetwork])
def test_accuracy_in_time_is_that_of_presentations_that_end_there(make, monkeypatch):
    monkeypatch.setattr(courses, "EVALUATION_BATCH", 7)
    network = make.random(9, 15, 3, modes=2, readout="maximum", seed=1)
    images = (torch.rand(20, 9, generator=torch.Generator().manual_seed(2)) > 0.5).float()  # nothing is left to chance
    labels = torch.arange(20) % 3
    course = image_course(network, images, labels, 30, examples=2)
    for steps in (1, 12, 30):
        outputs = network(images.expand(steps, -1, -1))
        right = (outputs.argmax(-1) == labels).double().mean().item()
        assert course.score[steps - 1] == pytest.approx(right)
    spread = np.sqrt(course.score * (1 - course.score) / 19)
    np.testing.assert_allclose(course.score_se, spread)
    np.testing.assert_array_equal(course.decisions, outputs.argmax(-1))
    activity = network.run(images.expand(30, -1, -1))
    modes = (activity.filtered @ network.recurrent.modes_out).detach().numpy()
    for k in range(3):
        mine = modes[:, labels == k].astype(np.float64)
        np.testing.assert_allclose(course.modes[k], mine.mean(1), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(course.modes_std[k], mine.std(1), rtol=1e-3, atol=1e-4)
    assert course.examples.trials.tolist() == [0, 1]
    np.testing.assert_allclose(course.examples.modes, modes[:, :2], rtol=1e-4, atol=1e-6)
    if make is SpikingNetwork:
        spikes = activity.spikes.detach().numpy()
        np.testing.assert_allclose(course.rates, spikes.mean((0, 1)) / 2e-3, rtol=1e-5)
        np.testing.assert_allclose(course.population_rate[1], spikes[:, labels == 1].mean((1, 2)) / 2e-3, rtol=1e-5)
        np.testing.assert_array_equal(course.examples.spikes, spikes[:, :2] > 0)
    else:
        assert np.isnan(course.rates).all()


def test_a_full_matrix_has_no_modes():
    network = SpikingNetwork.random(4, 10, 1, modes=None)
    course = contextual_course(network, contextual_integration(6, 20, seed=1))
    assert course.modes.shape == (4, 20, 0)
    assert course.examples.modes.shape[2] == 0


def test_pixels_are_a_strong_baseline():
    x, y = load_digits(return_X_y=True)
    x = x / 16
    assert pixel_baseline(x[:1200], y[:1200], x[1200:], y[1200:]) > 0.85
    assert pixel_baseline(x[:1200], y[:1200], x[1200:], y[1200:], most=30) < 0.85
