import numpy as np
import pytest
import torch

from mnnbio.nn.mlp import MomentMLP
from mnnbio.training import loop as loop_module
from mnnbio.training.loop import TRAINING_FILE, TrainingOptions, score, split_rows, train

OPTIONS = TrainingOptions(epochs=6, batch_size=16, loss="sampled_cross_entropy", seed=3)


def network(hidden=8, **options):
    return MomentMLP((4, hidden, 3), seed=0, dtype=torch.float32, **options)


def data(n=90, seed=0):
    g = torch.Generator().manual_seed(seed)
    classes = torch.arange(n) % 3
    return torch.rand(n, 4, generator=g) + torch.eye(4)[classes], classes


class InterruptionError(Exception):
    """Stands for a kill."""


def interrupt_after(monkeypatch, epochs):
    """Make the run fail in the middle of the epoch after so many."""
    original, calls = loop_module.learning_rate_factor, []

    def counted(schedule, progress):
        calls.append(progress)
        if progress > (epochs + 0.4) / OPTIONS.epochs:
            raise InterruptionError
        return original(schedule, progress)

    monkeypatch.setattr(loop_module, "learning_rate_factor", counted)


@pytest.mark.parametrize("epochs", [0, 1, 4])
def test_an_interrupted_run_ends_with_the_same_bits(tmp_path, monkeypatch, epochs):
    whole = network()
    expected = train(whole, *data(), OPTIONS)
    part = network()
    interrupt_after(monkeypatch, epochs)
    with pytest.raises(InterruptionError):
        train(part, *data(), OPTIONS, checkpoint_dir=tmp_path)
    monkeypatch.undo()
    assert (tmp_path / TRAINING_FILE).exists() is (epochs > 0)
    resumed = network()
    result = train(resumed, *data(), OPTIONS, checkpoint_dir=tmp_path)
    assert result == expected
    for name, tensor in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], tensor), name


def test_masks_and_learned_neurons_are_continued_as_well(tmp_path, monkeypatch):
    options = {"dropout": 0.3, "learn": ("tau_m", "v_th"), "in_degree": 3}
    whole = network(**options)
    train(whole, *data(), OPTIONS)
    interrupt_after(monkeypatch, 2)
    with pytest.raises(InterruptionError):
        train(network(**options), *data(), OPTIONS, checkpoint_dir=tmp_path)
    monkeypatch.undo()
    resumed = network(**options)
    train(resumed, *data(), OPTIONS, checkpoint_dir=tmp_path)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], tensor), name
    assert len(set(resumed.blocks[0].activation.lif().tau_m)) == 8


def test_a_finished_run_is_not_repeated(tmp_path, monkeypatch):
    first, second = network(), network()
    expected = train(first, *data(), OPTIONS, checkpoint_dir=tmp_path)
    interrupt_after(monkeypatch, 0)
    assert train(second, *data(), OPTIONS, checkpoint_dir=tmp_path) == expected
    assert torch.equal(second.readout.weight, first.readout.weight)


@pytest.mark.parametrize(
    ("model", "samples", "options", "message"),
    [
        (
            network(9),
            data(),
            OPTIONS,
            r"checkpoint of another network: `sizes` is \[4, 8, 3\] there and \[4, 9, 3\] here",
        ),
        (
            network(),
            data(),
            TrainingOptions(epochs=7),
            "checkpoint of other training options: `batch_size` is 16 there",
        ),
        (network(), data(seed=1), OPTIONS, "checkpoint of other training data"),
    ],
)
def test_a_checkpoint_of_another_run(tmp_path, model, samples, options, message):
    train(network(), *data(), OPTIONS, checkpoint_dir=tmp_path)
    with pytest.raises(ValueError, match=message):
        train(model, *samples, options, checkpoint_dir=tmp_path)


def test_training_learns_and_keeps_the_best_epoch():
    model, (x, y) = network(), data()
    result = train(model, x, y, TrainingOptions(epochs=15, batch_size=16))
    losses = result.history["validation_loss"]
    assert result.best_epoch == np.argmin(losses) + 1
    assert all(len(values) == 15 for values in result.history.values())
    assert score(model(x).mean, y) > 0.9
    assert not model.training
    assert not result.stopped_early


def test_early_stopping():
    options = TrainingOptions(epochs=200, batch_size=16, patience=2, schedule="constant", learning_rate=0.1)
    result = train(network(), *data(), options)
    assert result.stopped_early
    assert len(result.history["train_loss"]) == result.best_epoch + 2


def test_without_validation_the_last_epoch_is_kept():
    result = train(network(), *data(), TrainingOptions(epochs=3, validation_fraction=0.0, patience=1))
    assert result.best_epoch == 3
    assert set(result.history) == {"learning_rate", "train_loss", "train_score"}


def test_global_random_numbers_play_no_part():
    weights = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        state = torch.get_rng_state()
        model = network()
        train(model, *data(), OPTIONS)
        assert torch.equal(torch.get_rng_state(), state)
        weights.append(model.readout.weight)
    assert torch.equal(*weights)


def test_progress_is_shown_on_request(capsys):
    train(network(), *data(), TrainingOptions(epochs=2), progress=True)
    shown = capsys.readouterr().err
    assert "epoch 2/2" in shown
    assert "loss=" in shown
    assert "accuracy=" in shown
    train(network(), *data(), TrainingOptions(epochs=2))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.3, 0.99])
def test_split_keeps_proportions_and_every_class(fraction):
    targets = torch.tensor([0] * 60 + [1] * 30 + [2])
    train_rows, validation_rows = split_rows(targets, fraction, torch.Generator().manual_seed(0))
    assert sorted(torch.cat([train_rows, validation_rows]).tolist()) == list(range(91))
    counts = torch.bincount(targets[validation_rows], minlength=3).tolist()
    assert counts == [min(round(fraction * n), n - 1) for n in (60, 30, 1)]


def test_score_of_values_is_r2():
    from sklearn.metrics import r2_score

    rng = np.random.default_rng(0)
    y, predicted = rng.normal(size=(2, 20, 3))
    assert score(torch.tensor(predicted), torch.tensor(y)) == pytest.approx(r2_score(y, predicted))
    assert score(torch.ones(4, 1), torch.zeros(4, 1)) == 0


def test_the_number_of_threads_is_left_as_it_was(monkeypatch):
    threads = []
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    train(network(), *data(), TrainingOptions(epochs=1))
    with pytest.raises(FloatingPointError):
        train(network(), torch.full((9, 4), torch.nan), data(9)[1], TrainingOptions(epochs=1))
    assert threads == [1, 3, 1, 3]


def test_errors():
    x, y = data()
    with pytest.raises(
        FloatingPointError, match=r"training diverged: .* not finite in epoch 1; a smaller `learning_rate`"
    ):
        train(network(), x * torch.tensor(float("nan")), y, OPTIONS)
    with pytest.raises(ValueError, match="at least 2 samples besides validation, got 1"):
        train(network(), x[:1], y[:1], OPTIONS)
