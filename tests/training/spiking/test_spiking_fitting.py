"""Training of spiking networks: losses, batches, exact continuation, and that small tasks are learned."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from mnnbio.training.spiking import fitting
from mnnbio.training.spiking.fitting import (
    FITTING_FILE,
    Batch,
    ContextualBatches,
    FittingOptions,
    ImageBatches,
    contextual_scores,
    fit,
    image_scores,
    loss_of,
)
from mnnbio.training.spiking.networks import RateNetwork, SpikingNetwork
from mnnbio.training.spiking.tasks import contextual_integration, decisions

BRIEF = ContextualBatches(steps=30, switching=0.5)


def network(seed=0, **options):
    return SpikingNetwork.random(4, 12, 1, modes=2, seed=seed, **options)


def images(n=23, pixels=9):
    generator = torch.Generator().manual_seed(1)
    return torch.rand(n, pixels, generator=generator), torch.randint(3, (n,), generator=generator)


def test_losses_are_as_they_are_defined():
    generator = torch.Generator().manual_seed(0)
    outputs, targets = torch.randn(2, 7, 5, 1, generator=generator, dtype=torch.float64)
    errors = (outputs - targets).numpy()
    mean = loss_of(outputs, targets, FittingOptions(loss="mean_squared_error"))
    root = loss_of(outputs, targets, FittingOptions(loss="root_of_sum"))
    assert mean.item() == pytest.approx(np.mean(errors**2), rel=1e-12)
    assert root.item() == pytest.approx(np.linalg.norm(errors), rel=1e-12)
    scores, classes = torch.randn(6, 10, generator=generator, dtype=torch.float64), torch.arange(6)
    p = np.exp(scores.numpy()) / np.exp(scores.numpy()).sum(1, keepdims=True)
    once = -np.log(p[np.arange(6), np.arange(6)]).mean()
    q = np.exp(p) / np.exp(p).sum(1, keepdims=True)
    twice = -np.log(q[np.arange(6), np.arange(6)]).mean()
    assert loss_of(scores, classes, FittingOptions()).item() == pytest.approx(once, rel=1e-12)
    assert loss_of(scores, classes, FittingOptions(loss="softmax_twice")).item() == pytest.approx(twice, rel=1e-12)
    certain = 1e3 * torch.eye(10, dtype=torch.float64)
    least = loss_of(certain, torch.arange(10), FittingOptions(loss="softmax_twice")).item()
    assert least == pytest.approx(-math.log(math.e / (math.e + 9)))


def test_an_epoch_shows_every_image_once():
    x, _ = images(24)
    batches = ImageBatches(images=x, labels=torch.arange(24), steps=3)
    generator = torch.Generator().manual_seed(4)
    epochs = [torch.cat([batches.draw(6, 4 * e + k, generator).targets for k in range(4)]) for e in range(2)]
    for seen in epochs:
        assert sorted(seen.tolist()) == list(range(24))
    assert epochs[0].tolist() != epochs[1].tolist()
    inputs, targets = batches.draw(100, 0, generator)
    assert inputs.shape == (3, 24, 9)
    assert sorted(targets.tolist()) == list(range(24))


def test_contextual_trials_are_those_of_the_task():
    generator = torch.Generator().manual_seed(5)
    drawn = ContextualBatches(steps=50, noise=0.5).draw(4, 0, generator)
    expected = contextual_integration(4, 50, noise=0.5, seed=5)
    assert torch.equal(drawn.inputs, expected.inputs)
    changed = ContextualBatches(steps=50, switching=1.0).draw(4, 0, generator).inputs
    assert torch.equal(changed[0, :, 2:], 1 - changed[-1, :, 2:])


@pytest.mark.parametrize("repeats", [1, 3])
def test_a_continued_training_ends_as_an_uninterrupted_one(tmp_path, monkeypatch, repeats):
    options = FittingOptions(
        loss="root_of_sum", steps=8, batch_size=4, repeats=repeats, learning_rate=0.01, schedule="cosine", max_norm=1.0
    )
    whole = network()
    straight = fit(whole, BRIEF, options, evaluate=lambda net: {"in": float(net.weight_in.norm())}, evaluate_every=3)

    class StoppedError(Exception):
        pass

    class Interrupted(ContextualBatches):
        def draw(self, size, step, generator):
            if step == 7 // repeats:
                raise StoppedError
            return super().draw(size, step, generator)

    monkeypatch.setattr(fitting, "SAVED_EVERY", -1.0)  # after every step
    broken = network()
    with pytest.raises(StoppedError):
        fit(broken, Interrupted(steps=30, switching=0.5), options, checkpoint_dir=tmp_path)
    again = network(seed=3)  # whatever it starts from, the checkpoint holds
    resumed = fit(again, BRIEF, options, checkpoint_dir=tmp_path)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    assert resumed.history["loss"] == straight.history["loss"]
    assert straight.history["evaluated"] == [3.0, 6.0, 8.0]
    assert resumed.seconds > 0
    before = (tmp_path / FITTING_FILE).read_bytes()
    finished = network(seed=4)
    fit(finished, BRIEF, options, checkpoint_dir=tmp_path)
    assert torch.equal(finished.weight_in, whole.weight_in)
    assert (tmp_path / FITTING_FILE).read_bytes() == before


def test_repeats_take_the_same_trials():
    seen = []

    class Watched(ContextualBatches):
        def draw(self, size, step, generator):
            batch = super().draw(size, step, generator)
            seen.append((step, batch.inputs))
            return batch

    fit(network(), Watched(steps=30), FittingOptions(loss="root_of_sum", steps=5, batch_size=3, repeats=2))
    assert [step for step, _ in seen] == [0, 1, 2]
    assert not torch.equal(seen[0][1], seen[1][1])


def test_gradients_are_clipped_and_rates_scheduled():
    options = FittingOptions(loss="root_of_sum", steps=10, batch_size=5, schedule="one_cycle", max_norm=1e-3)
    net = network()
    history = fit(net, BRIEF, options).history
    assert min(history["gradient_norm"]) > 1e-3  # the norm before clipping
    rates = history["learning_rate"]
    assert max(rates) <= 1e-3
    assert rates[0] < rates[2] > rates[-1]

    moved = fit(network(), BRIEF, FittingOptions(loss="root_of_sum", steps=1, batch_size=5, max_norm=None))
    assert moved.history["loss"][0] == history["loss"][0]


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    options = FittingOptions(loss="root_of_sum", steps=1, batch_size=2)
    fit(network(), BRIEF, options, checkpoint_dir=tmp_path)
    cases = [
        (network(dt=1.0), BRIEF, options, "another network: `dt` is 2.0 there and 1.0 here"),
        (network(), ContextualBatches(steps=40), options, "other trials: `steps`"),
        (
            network(),
            BRIEF,
            FittingOptions(loss="root_of_sum", steps=2, batch_size=2),
            "other training options: `steps`",
        ),
        (SpikingNetwork.random(4, 12, 1, modes=3), BRIEF, options, "another network: `recurrent.raw_modes_in`"),
    ]
    for net, batches, chosen, message in cases:
        with pytest.raises(ValueError, match=message):
            fit(net, batches, chosen, checkpoint_dir=tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": "entropy"}, "`loss`"),
        ({"steps": 0}, "`steps`"),
        ({"schedule": "linear"}, "`schedule`"),
        ({"learning_rate": 0}, "`learning_rate` must be > 0"),
        ({"max_norm": -1}, "`max_norm` must be > 0"),
        ({"label_smoothing": 1}, "`label_smoothing` must be in"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        FittingOptions(**options)


def test_outputs_and_targets_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="readout='maximum'"):
        fit(network(), BRIEF, FittingOptions(steps=1))
    maximum = network(readout="maximum")
    with pytest.raises(ValueError, match="targets of the shape of the outputs"):
        fit(maximum, BRIEF, FittingOptions(loss="root_of_sum", steps=1))
    x, y = images()
    with pytest.raises(ValueError, match=r"`labels`, int64, \(n,\)"):
        ImageBatches(images=x, labels=y.float())

    class Broken(ContextualBatches):
        def draw(self, size, step, generator):
            inputs, targets = super().draw(size, step, generator)
            return Batch(inputs, targets * torch.inf)

    with pytest.raises(FloatingPointError, match=r"training diverged: loss .* in step 1; a smaller"):
        fit(network(), Broken(steps=30), FittingOptions(loss="root_of_sum", steps=1))


def test_scores_of_a_contextual_network(monkeypatch):
    monkeypatch.setattr(fitting, "EVALUATION_BATCH", 3)
    trials, net = contextual_integration(7, 40, seed=2), network(seed=1)
    scores = contextual_scores(net, trials)
    course = net.run(trials.inputs)
    outputs, targets = course.outputs.detach().numpy(), trials.targets.numpy()
    assert scores["mse"] == pytest.approx(np.mean((outputs - targets) ** 2), rel=1e-5)
    assert scores["right"] == np.mean(np.sign(outputs[30:].mean(0)[:, 0]) == targets[-1, :, 0])
    assert scores["rate"] == pytest.approx(course.spikes.mean().item() / 2e-3, rel=1e-5)
    rate = RateNetwork.random(4, 12, 1, modes=2)
    assert set(contextual_scores(rate, trials)) == {"mse", "right"}


def test_scores_of_images(monkeypatch):
    monkeypatch.setattr(fitting, "EVALUATION_BATCH", 10)
    x, y = images()
    net = SpikingNetwork.random(9, 15, 3, modes=2, readout="maximum")
    scores = image_scores(net, (x > 0.5).float(), y, 20)  # pixels of 0 and 1 leave nothing to chance
    course = net.run((x > 0.5).float().expand(20, -1, -1))
    assert scores["accuracy"] == pytest.approx((course.outputs.argmax(-1) == y).float().mean().item())
    assert scores["rate"] == pytest.approx(course.spikes.mean().item() / 2e-3, rel=1e-5)


@pytest.mark.slow
def test_bars_are_learned():
    """Images of one bar each, in noise: the place of the bar is the class."""
    generator = torch.Generator().manual_seed(3)
    labels = torch.arange(3).repeat(40)
    bars = nn.functional.one_hot(labels, 3).repeat_interleave(3, 1).float()
    x = (0.15 + 0.7 * bars) + 0.1 * torch.rand(120, 9, generator=generator)
    net = SpikingNetwork.random(9, 20, 3, modes=2, readout="maximum", seed=1)
    before = image_scores(net, x, labels, 20)["accuracy"]
    options = FittingOptions(steps=60, batch_size=40, learning_rate=0.02, schedule="one_cycle")
    history = fit(net, ImageBatches(images=x, labels=labels, steps=20), options).history
    assert np.mean(history["loss"][-10:]) < 0.6 * np.mean(history["loss"][:5])
    assert image_scores(net, x, labels, 20, seed=9)["accuracy"] > max(0.9, before)


@pytest.mark.slow
def test_the_attended_offset_is_learned_in_short_trials():
    """In 50 steps of weak noise, 4 of 5 decisions are right after few steps; half would be by chance."""
    net = SpikingNetwork.random(4, 40, 1, modes=3, seed=2)
    batches = ContextualBatches(steps=50, noise=0.2, offset=1.0)
    options = FittingOptions(loss="mean_squared_error", steps=150, batch_size=40, learning_rate=0.02, schedule="cosine")
    fit(net, batches, options)
    trials = contextual_integration(300, 50, noise=0.2, offset=1.0, seed=11)
    with torch.no_grad():
        right = (decisions(net(trials.inputs)) == trials.decisions).float().mean().item()
    assert right > 0.8
