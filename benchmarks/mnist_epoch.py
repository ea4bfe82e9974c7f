"""Time of a training epoch on MNIST against a plain network of the same shape, trained beside it.

    python benchmarks/mnist_epoch.py --data-dir FOLDER [--batches 20] [--rounds 25] [--threads 2]

784-100-10, batch 50, float32, AdamW, two threads: `MomentMLP` with a loss on the mean, and with the Gaussian likelihood
of the full covariance of its outputs; and Linear-BatchNorm-ReLU-Linear with the cross-entropy of its outputs. All take
the same batches. Short rounds of the three alternate; the shortest round of each counts, which is what others on the
machine disturb least, and gives the time of an epoch of 1,200 batches (measured in full with ``--batches 1200``).
Beside the ratio of the shortest rounds stands the median ratio of rounds that ran one after the other.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from mnnbio.nn.losses import cross_entropy, gaussian_likelihood
from mnnbio.nn.mlp import MomentMLP
from mnnbio.training.data import read_idx

INPUTS, HIDDEN, CLASSES, BATCH = 784, 100, 10, 50
WINDOW = 100.0  # ms

Step = Callable[[Tensor, Tensor], Tensor]


def images_and_labels(folder: Path) -> tuple[Tensor, Tensor]:
    """Return the training images in [0, 1], (60000, 784), and labels, from the folder of MNIST's files."""
    images, labels = (read_idx(next(iter(sorted(folder.glob(f"train-{name}*"))))) for name in ("images", "labels"))
    return torch.tensor(images).reshape(len(images), -1).float() / 255, torch.tensor(labels).long()


def stepper(model: nn.Module, parameters: list, loss: Callable[..., Tensor]) -> Step:
    """Return a function that takes one step of training on a batch and returns the loss."""
    optimiser = torch.optim.AdamW(parameters)
    model.train()

    def step(features: Tensor, target: Tensor) -> Tensor:
        value = loss(model(features), target)
        optimiser.zero_grad(set_to_none=True)
        value.backward()
        optimiser.step()
        return value.detach()

    return step


def steppers() -> dict[str, Step]:
    """Return the three trainings by name, the reference first."""
    torch.manual_seed(0)
    plain = nn.Sequential(
        nn.Linear(INPUTS, HIDDEN, bias=False), nn.BatchNorm1d(HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, CLASSES)
    )
    first, second = (MomentMLP((INPUTS, HIDDEN, CLASSES), seed=0, dtype=torch.float32) for _ in range(2))
    return {
        "Linear-BatchNorm-ReLU-Linear": stepper(
            plain, [{"params": list(plain.parameters()), "lr": 0.003}], nn.CrossEntropyLoss()
        ),
        "moments, loss on the mean": stepper(first, first.parameter_groups(0.003), cross_entropy),
        "moments, Gaussian likelihood": stepper(
            second, second.parameter_groups(0.003), lambda moments, target: gaussian_likelihood(moments, target, WINDOW)
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Time training epochs on MNIST.")
    parser.add_argument("--data-dir", type=Path, required=True, help="folder of MNIST's IDX files")
    parser.add_argument("--batches", type=int, default=20, help="batches a round")
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    images, labels = images_and_labels(options.data_dir)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    batches = [(images[rows], labels[rows]) for rows in order.split(BATCH)[: options.batches]]
    trainings = steppers()
    times: dict[str, list[float]] = {name: [] for name in trainings}
    losses: dict[str, float] = {}
    for step in trainings.values():
        step(*batches[0])
    for _ in range(options.rounds):
        for name, step in trainings.items():
            start = time.perf_counter()
            for features, target in batches:
                loss = step(features, target)
            times[name].append(time.perf_counter() - start)
            losses[name] = loss.item()
    reference = next(iter(times.values()))
    for name, seconds in times.items():
        a_batch = min(seconds) / len(batches)
        ratios = [ours / theirs for ours, theirs in zip(seconds, reference, strict=True)]
        print(
            f"{name:>30}: {a_batch * len(images) / BATCH:6.2f} s an epoch ({a_batch * 1e3:.2f} ms a batch), "
            f"{min(seconds) / min(reference):5.2f}× (median of rounds {statistics.median(ratios):.2f}×), "
            f"last loss {losses[name]:.3f}"
        )


if __name__ == "__main__":
    main()
