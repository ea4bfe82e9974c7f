import json
import math
from pathlib import Path

import pytest
import torch

from mnnbio.nn.correlated_inputs import GratingEncoder
from mnnbio.nn.mlp import MomentMLP
from mnnbio.training.loop import TrainingOptions, train
from mnnbio.training.motion_direction import direction_errors, direction_grid, motion_directions

STORED = json.loads((Path(__file__).parents[1] / "data" / "moment_neural_network.json").read_text())["motion"]


def test_the_grid_for_tests_is_that_of_the_published_task():
    grid = direction_grid(4)
    directions, contrasts = (torch.tensor(STORED["test_grid"][name]) for name in ("directions", "contrasts"))
    torch.testing.assert_close(grid.features.reshape(4, 4, 2)[0, :, 0], directions)
    torch.testing.assert_close(grid.features.reshape(4, 4, 2)[:, 0, 1], contrasts)
    torch.testing.assert_close(grid.targets[1], torch.tensor([directions[1].cos(), directions[1].sin()]))
    logarithmic = direction_grid(3, 0.2, "logarithmic", torch.float64)
    torch.testing.assert_close(
        logarithmic.features[::3, 1], torch.tensor([0.02, 0.2 / math.sqrt(10), 0.2], dtype=torch.float64)
    )


def test_targets_are_those_of_the_published_task():
    stored = STORED["answers"]["hexagonal"]["target"]
    directions = torch.tensor(STORED["directions"], dtype=torch.float64)
    torch.testing.assert_close(torch.stack([directions.cos(), directions.sin()], -1), torch.tensor(stored).double())


def test_draws_are_uniform():
    features, targets = motion_directions(20_000, 0.2, seed=1, dtype=torch.float64)
    direction, contrast = features.T
    assert bool((direction.abs() <= math.pi).all())
    assert bool(((contrast >= 0) & (contrast <= 0.2)).all())
    # Means of uniform numbers, within four standard errors.
    assert abs(direction.mean()) < 4 * math.pi / math.sqrt(3 * 20_000)
    assert abs(contrast.mean() - 0.1) < 4 * 0.1 / math.sqrt(3 * 20_000)
    torch.testing.assert_close(torch.atan2(targets[:, 1], targets[:, 0]), direction)
    assert torch.equal(motion_directions(5, seed=3).features, motion_directions(5, seed=3).features)


def test_errors_are_angles():
    features = torch.tensor([[3.0, 0.1], [0.0, 0.1], [-3.0, 0.1]])
    outputs = torch.tensor([[math.cos(-3.0), math.sin(-3.0)], [0.0, 2.0], [-1.0, 0.0]])
    expected = torch.tensor([2 * math.pi - 6, math.pi / 2, math.pi - 3])
    torch.testing.assert_close(direction_errors(outputs, features), expected)


@pytest.mark.slow
@pytest.mark.parametrize(("loss", "reads"), [("sampled_angle", "mean"), ("mean_squared_error", "covariance")])
def test_networks_learn_it(loss, reads):
    """With the published detectors. Chance is a median error of 90°; a third of that is asked for at high contrasts."""
    encoder, gratings = GratingEncoder(256), motion_directions(4000)
    model = MomentMLP((encoder.out_features, 24, 2), encoder=encoder, reads=reads, seed=0)
    train(model, *gratings, TrainingOptions(loss=loss, label_smoothing=0, window=100, epochs=12, seed=0))
    test = direction_grid(10)
    with torch.no_grad():
        errors = direction_errors(model(test.features).mean, test.features)
    assert errors[50:].median().rad2deg() < 30


def test_errors_of_input():
    with pytest.raises(ValueError, match="`samples` must be an integer ≥ 1, got 0"):
        motion_directions(0)
    with pytest.raises(ValueError, match="`seed` must be an integer ≥ 0, got -1"):
        motion_directions(3, seed=-1)
    for function in (motion_directions, direction_grid):
        with pytest.raises(ValueError, match="`max_contrast` must be > 0, got 0"):
            function(3, 0)
    with pytest.raises(ValueError, match="Invalid value 'log' for `contrasts`"):
        direction_grid(3, contrasts="log")
    with pytest.raises(ValueError, match="`number` must be an integer ≥ 1, got 0"):
        direction_grid(0)


@pytest.mark.parametrize("loss", ["sampled_angle", "gaussian_likelihood", "earth_movers"])
def test_statistics_have_no_fluctuations_to_train(loss):
    model = MomentMLP((46, 8, 2), encoder=GratingEncoder(48), reads="covariance", seed=0)
    with pytest.raises(ValueError, match=f"outputs that are statistics do not fluctuate, and loss='{loss}' is about"):
        train(model, *motion_directions(20), TrainingOptions(loss=loss, label_smoothing=0, epochs=1))
