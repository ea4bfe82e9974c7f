"""Time per image of simulating a trained layer, against a dense simulation in PyTorch run beside it.

    python benchmarks/mnist_layer_simulation.py [--data-dir FOLDER] [--images 50] [--trials 100] [--threads 2]

A 784-100-10 moment network is trained for a few batches on MNIST (``--data-dir``: the folder of its IDX files; without
it, on scikit-learn's digits enlarged to 28 × 28) and exported. Every image is presented in 100 trials of 100 ms in
steps of 0.1 ms. The reference simulates the same neurons clock-driven: all trials of an image are one batch, a step is
Bernoulli spikes, a matrix product, the exact decay of the membrane, threshold, reset and refractory period, in float32.
Ours runs the compiled program warm: all images in one run, and image by image, each a run of its own. Both use the same
number of threads or processes, and PyTorch one thread too, as small operations gain little from more. Rounds alternate,
and the shortest of each counts. The time of one core that each takes stands beside: on a machine with other work it
says more. The mean rates of both stand below.
"""

from __future__ import annotations

import argparse
import resource
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mnnbio import GaussianDrive, build, export
from mnnbio.circuit.circuit import Circuit
from mnnbio.nn.losses import cross_entropy
from mnnbio.nn.mlp import MomentMLP
from mnnbio.training.data import read_idx

DT, DURATION = 0.1, 100.0  # ms


def images_and_labels(folder: Path | None) -> tuple[Tensor, Tensor]:
    """Return images in [0, 1], (n, 784), and labels."""
    if folder is not None:
        images, labels = (read_idx(next(iter(sorted(folder.glob(f"train-{name}*"))))) for name in ("images", "labels"))
        return torch.tensor(images).reshape(len(images), -1).float() / 255, torch.tensor(labels).long()
    from sklearn.datasets import load_digits

    digits = load_digits()
    large = np.zeros((len(digits.images), 28, 28))
    large[:, 2:26, 2:26] = np.kron(digits.images / 16, np.ones((3, 3)))
    return torch.tensor(large.reshape(len(large), -1)).float(), torch.tensor(digits.target).long()


def trained(images: Tensor, labels: Tensor, batches: int) -> MomentMLP:
    """Return a network after some batches of 50."""
    model = MomentMLP((784, 100, 10), seed=0, dtype=torch.float32)
    optimiser = torch.optim.AdamW(model.parameter_groups(0.003))
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    for rows in order.repeat(1 + 50 * batches // len(order)).split(50)[:batches]:
        loss = cross_entropy(model(images[rows]), labels[rows])
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
    return model.eval()


class DenseLayer:
    """The hidden layer of a circuit as tensors, simulated step by step."""

    def __init__(self, circuit: Circuit) -> None:
        lif = circuit.population("hidden").lif
        tau_m = torch.tensor(np.broadcast_to(lif.tau_m, 100).copy(), dtype=torch.float32)
        self.decay = torch.exp(-DT / tau_m)
        self.v_th, self.v_reset = float(np.max(lif.v_th)), float(np.max(lif.v_reset))
        self.hold = round(float(np.max(lif.t_ref)) / DT)
        self.weights = torch.tensor(circuit.dense(circuit.projections[0]).T.copy(), dtype=torch.float32)
        drives = [drive for drive in circuit.drives if isinstance(drive, GaussianDrive)]
        mean = sum((np.broadcast_to(drive.mean, 100) for drive in drives), np.zeros(100))
        variance = sum((np.broadcast_to(drive.std, 100) ** 2 for drive in drives), np.zeros(100))
        self.rest = torch.tensor(mean, dtype=torch.float32) * tau_m
        self.kick = torch.tensor(np.sqrt(variance), dtype=torch.float32) * torch.sqrt(tau_m * (1 - self.decay**2) / 2)
        self.noisy = bool((self.kick > 0).any())

    @torch.no_grad()
    def counts(self, rates: Tensor, trials: int) -> Tensor:
        """Return the spike counts of all trials of an image, (trial, neuron); `rates` in spikes/ms."""
        probability = (rates * DT).expand(trials, -1)
        v = torch.zeros(trials, 100)
        held = torch.zeros(trials, 100, dtype=torch.int32)
        counts = torch.zeros(trials, 100)
        for _ in range(round(DURATION / DT)):
            jumps = torch.bernoulli(probability) @ self.weights
            free = held <= 0
            drift = self.rest + self.decay * (v - self.rest) + jumps
            if self.noisy:
                drift += self.kick * torch.randn(trials, 100)
            v = torch.where(free, drift, v)
            fired = free & (v >= self.v_th)
            v = torch.where(fired, self.v_reset, v)
            held = torch.where(fired, self.hold, held - 1)
            counts += fired
        return counts


def core_seconds() -> float:
    """Return the time of cores that this process and its children have used."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the simulation of a trained layer.")
    parser.add_argument("--data-dir", type=Path, help="folder of MNIST's IDX files")
    parser.add_argument("--images", type=int, default=50)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--threads", type=int, default=2, help="of the reference; as many processes are ours")
    parser.add_argument("--batches", type=int, default=200, help="of training")
    parser.add_argument("--replicas", type=int, default=8, help="presentations side by side in ours")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    images, labels = images_and_labels(options.data_dir)
    model = trained(images, labels, options.batches)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the readout's noise is not simulated by either
        circuit = export(model, images[: options.images].numpy())
    rates = np.atleast_2d(circuit.sources[0].rates)
    layer, times = DenseLayer(circuit), dict[str, list[tuple[float, float]]]()

    @contextmanager
    def timed(name: str, n_images: int) -> Iterator[None]:
        start, used = time.perf_counter(), core_seconds()
        yield
        taken = time.perf_counter() - start, core_seconds() - used
        times.setdefault(name, []).append((taken[0] / n_images, taken[1] / n_images))

    with build(circuit, dt=DT, replicas=options.replicas) as program:
        ours = {"trials": options.trials, "seed": 1, "processes": options.threads}
        program.run(DURATION, **ours)
        for _ in range(options.rounds):
            few = rates[:: max(len(rates) // 3, 1)]  # a few images tell its time; all together would take minutes
            for threads in dict.fromkeys((options.threads, 1)):
                torch.set_num_threads(threads)
                with timed(f"PyTorch, dense, threads: {threads}", len(few)):
                    counts = [layer.counts(torch.tensor(x).float(), options.trials) for x in few]
            with timed("ours, all images in one run", len(rates)):
                recording = program.run(DURATION, **ours)
            with timed("ours, one run an image", len(rates)):
                for x in rates:
                    program.run(DURATION, stimulus=x, **ours)
    wall, cores = (np.array([min(t[k] for t in taken) for taken in times.values()]) * 1e3 for k in range(2))
    for name, one, other in zip(times, wall, cores, strict=True):
        print(
            f"{name:>30}: {one:7.1f} ms an image, {wall[0] / one:5.1f}× as fast; {other:7.1f} ms of a core, "
            f"{cores[0] / other:5.1f}×"
        )
    expected = torch.stack(counts).mean(dim=(1, 2)).numpy()
    found = recording.row_size.mean(axis=(1, 2))[:: max(len(rates) // 3, 1)]
    print(f"mean rates of {len(few)} images, Hz: {np.round(expected * 10, 2)} and {np.round(found * 10, 2)}")


if __name__ == "__main__":
    main()
