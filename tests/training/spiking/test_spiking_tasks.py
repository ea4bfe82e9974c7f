"""Tasks of spiking networks: statistics of the trials against their definition, and what is refused."""

import numpy as np
import pytest
import torch
from brian2 import ms, mV
from scipy.stats import norm

from mnnbio.training.spiking.tasks import (
    bernoulli_pixels,
    context_switch,
    contextual_integration,
    decisions,
    integrated_stimuli,
    repeated_stimulus,
)


def test_trials_are_made_of_offsets_noise_and_context():
    trials = contextual_integration(2000, seed=1, dtype=torch.float64)
    x, y = trials.inputs.numpy(), trials.targets.numpy()
    assert x.shape == (500, 2000, 4)
    assert y.shape == (500, 2000, 1)
    assert not x[:50, :, :2].any()
    assert not x[250:, :, :2].any()
    context = x[..., 2:]
    np.testing.assert_array_equal(context, np.broadcast_to(context[0], context.shape))
    np.testing.assert_array_equal(context[0].sum(-1), 1)
    # The mean of 200 steps lies within 5 standard deviations, 5/√200 = 0.35 < 0.5, of the offset.
    means = x[50:250, :, :2].mean(0)
    offsets = 0.5 * np.sign(means)
    noise = x[50:250, :, :2] - offsets
    n = noise.size
    assert abs(noise.mean()) < 4 / n**0.5
    assert abs(noise.var() - 1) < 4 * (2 / n) ** 0.5
    assert abs((noise[1:] * noise[:-1]).mean()) < 4 / n**0.5
    answer = np.sign(offsets[np.arange(2000), context[0].argmax(-1)])
    assert not y[:250].any()
    np.testing.assert_array_equal(y[250:, :, 0], np.broadcast_to(answer, (250, 2000)))
    # Signs and contexts are fair coins, independent of one another.
    coins = np.stack([np.sign(offsets[:, 0]), np.sign(offsets[:, 1]), 2 * context[0, :, 0] - 1])
    products = np.concatenate([coins, coins[[0, 0, 1]] * coins[[1, 2, 2]]])
    assert np.all(np.abs(products.mean(1)) < 4 / 2000**0.5)


def test_context_and_answer_change_after_the_stimulus():
    trials = context_switch(1000, seed=2, probability=0.3)
    x, y = trials.inputs.numpy(), trials.targets.numpy()
    changed = (x[0, :, 2:] != x[-1, :, 2:]).any(-1)
    assert abs(changed.mean() - 0.3) < 4 * (0.3 * 0.7 / 1000) ** 0.5
    means = np.sign(x[50:250, :, :2].mean(0))
    for steps, lines in ((slice(0, 300), x[0, :, 2:]), (slice(300, 500), x[-1, :, 2:])):
        np.testing.assert_array_equal(x[steps, :, 2:], np.broadcast_to(lines, x[steps, :, 2:].shape))
        answer = means[np.arange(1000), lines.argmax(-1)]
        shown = y[steps, :, 0][50 if steps.start else 250 :]
        np.testing.assert_array_equal(shown, np.broadcast_to(answer, shown.shape))
    np.testing.assert_array_equal(trials.context[-1].numpy(), x[-1, :, 2:].argmax(-1))
    np.testing.assert_array_equal(trials.decisions.numpy(), y[-1, :, 0])


def test_a_batch_changes_together_if_asked():
    shares = []
    for seed in range(40):
        inputs = context_switch(5, seed=seed, probability=0.5, together=True).inputs
        changed = (inputs[0, :, 2] != inputs[-1, :, 2]).float().mean().item()
        assert changed in (0.0, 1.0)
        shares.append(changed)
    assert 0 < np.mean(shares) < 1


def test_without_a_change_the_trials_are_those_of_contextual_integration():
    a, b = contextual_integration(20, seed=3), context_switch(20, seed=3, probability=0.0)
    torch.testing.assert_close(a.inputs, b.inputs, rtol=0, atol=0)
    torch.testing.assert_close(a.targets, b.targets, rtol=0, atol=0)


def test_stimulus_is_repeated_in_the_other_context():
    trials = repeated_stimulus(50, steps=100, seed=4)
    first, second = trials.inputs[:100], trials.inputs[100:]
    torch.testing.assert_close(first[..., :2], second[..., :2], rtol=0, atol=0)
    torch.testing.assert_close(first[..., 2:], 1 - second[..., 2:], rtol=0, atol=0)
    plain = contextual_integration(50, steps=100, seed=4)
    torch.testing.assert_close(first, plain.inputs, rtol=0, atol=0)
    torch.testing.assert_close(trials.targets[:100], plain.targets, rtol=0, atol=0)
    assert set(trials.targets[100:150].unique().tolist()) == {0.0}
    assert set(trials.targets[150:].unique().tolist()) == {-1.0, 1.0}


def test_times_are_quantities_or_ms():
    a = contextual_integration(5, 100, 1.0, onset=20, stimulus=30, seed=5)
    b = contextual_integration(5, 100, 1 * ms, onset=20 * ms, stimulus=30 * ms, seed=5)
    torch.testing.assert_close(a.inputs, b.inputs, rtol=0, atol=0)
    lit = a.inputs[..., 0].abs().sum(1) > 0
    assert lit.nonzero()[:, 0].tolist() == list(range(20, 50))
    assert a.targets.abs().sum((1, 2)).nonzero()[0].item() == 50


def test_the_sum_of_the_stimulus_decides_as_often_right_as_theory_says():
    trials = contextual_integration(4000, 50, stimulus=40, noise=2.0, seed=6)
    right = (integrated_stimuli(trials) == trials.decisions).double().mean().item()
    expected = norm.cdf(0.5 * 20**0.5 / 2)
    assert abs(right - expected) < 4 * (expected * (1 - expected) / 4000) ** 0.5
    assert (integrated_stimuli(context_switch(100, seed=7)) == context_switch(100, seed=7).decisions).all()


def test_decision_is_the_sign_of_the_last_quarter():
    outputs = torch.zeros(100, 3, 1)
    outputs[:75] = 5.0
    outputs[75:, 1] = -0.1
    outputs[80:, 2] = 0.1
    assert decisions(outputs).tolist() == [0, -1, 1]
    assert decisions(outputs, share=1.0).tolist() == [1, 1, 1]


def test_pixels_spike_with_their_probability():
    images = torch.linspace(0, 1, 11, dtype=torch.float64).repeat(40, 1)
    spikes = bernoulli_pixels(images, 200, seed=8)
    assert spikes.shape == (200, 40, 11)
    assert spikes.dtype == torch.float64
    assert set(spikes.unique().tolist()) == {0.0, 1.0}
    p, n = np.linspace(0, 1, 11), 200 * 40
    rates = spikes.mean((0, 1)).numpy()
    assert np.all(np.abs(rates - p) <= 4.5 * (p * (1 - p) / n) ** 0.5 + 1e-12)
    pairs = (spikes[1:] * spikes[:-1]).mean((0, 1)).numpy()
    assert np.all(np.abs(pairs - p**2) <= 4.5 * 2 * p * (p * (1 - p) / n) ** 0.5 + 4.5 / n**0.5 * p * (1 - p) + 1e-12)


@pytest.mark.parametrize("make", [contextual_integration, context_switch, repeated_stimulus])
def test_seeds_make_trials_again(make):
    a, b, c = make(4, 50, seed=9), make(4, 50, seed=9), make(4, 50, seed=10)
    assert torch.equal(a.inputs, b.inputs)
    assert not torch.equal(a.inputs, c.inputs)
    generator = torch.Generator().manual_seed(9)
    assert torch.equal(make(4, 50, seed=generator).inputs, a.inputs)
    assert not torch.equal(make(4, 50, seed=generator).inputs, a.inputs)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: contextual_integration(0), "`batch`"),
        (lambda: contextual_integration(5, dt=0), "`dt` must be > 0 ms"),
        (lambda: contextual_integration(5, 100, onset=100, stimulus=100), "must leave time for a response"),
        (lambda: contextual_integration(5, onset=1 * mV), "`onset` must be in ms"),
        (lambda: contextual_integration(5, onset=3), "`onset`"),
        (lambda: contextual_integration(5, noise=-1), "`noise` must be ≥ 0"),
        (lambda: contextual_integration(5, offset=0), "`offset` must be > 0"),
        (lambda: contextual_integration(5, seed=-1), "`seed`"),
        (lambda: context_switch(5, last=600), "must change between the end of the stimulus"),
        (lambda: context_switch(5, probability=1.5), r"`probability` must be in \[0, 1\]"),
        (lambda: decisions(torch.zeros(5, 5, 1), share=0), r"`share` must be in \(0, 1\]"),
        (lambda: bernoulli_pixels(torch.rand(5)), r"shape \(batch, pixels\)"),
        (lambda: bernoulli_pixels([[0.5, 1.5]]), "got 1.5 at image 0, pixel 1"),
        (lambda: bernoulli_pixels([[0.5], [float("nan")]]), "got nan at image 1, pixel 0"),
        (lambda: bernoulli_pixels([[0.5]], 0), "`steps`"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
