"""A recurrent network of excitatory and inhibitory neurons trained to rates and a mean covariance, in spikes.

200 neurons, a fifth of them inhibitory, with given connections (p = 0.2) and Dale's law. Weights are trained by
gradients of the self-consistent state until every neuron fires at its own target rate and pairs of excitatory neurons
have a target mean covariance. Corrections follow: the targets of training are shifted by what spikes of the network
differ from the theory. Printed are the errors in spikes after each stage, and the time of a gradient step of 1,000
neurons::

    python benchmarks/recurrent_training.py [--duration 200] [--steps 300]
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch

from mnnbio import Circuit, GaussianDrive, LIFParameters, Population, Projection, simulate
from mnnbio.moments import Diagonal
from mnnbio.nn import MomentRecurrent, Moments

N, EXCITATORY, P, DT, WINDOW = 200, 160, 0.2, 0.1, 500.0
MEAN, STD = 0.9, 1.2  # mV/ms and mV/√ms from outside


def network(n: int, excitatory: int, seed: int = 1) -> tuple[MomentRecurrent, Moments]:
    """Return a layer with weights of random size, and currents from outside."""
    rng = np.random.default_rng(seed)
    mask = rng.random((n, n)) < P * N / n
    np.fill_diagonal(mask, False)
    signs = np.where(np.arange(n) < excitatory, 1.0, -1.0)
    weights = mask * rng.uniform(0.1, 0.3, (n, n)) * np.where(signs > 0, 1.0, -4.0)
    layer = MomentRecurrent(n, LIFParameters(t_ref=2.0), weights=weights, mask=mask, signs=signs, dt=DT)
    mean = torch.full((n,), MEAN, dtype=torch.float64)
    return layer, Moments(mean, Diagonal(torch.full_like(mean, STD**2)))


def train(layer: MomentRecurrent, currents: Moments, rate: torch.Tensor, covariance: float, steps: int) -> None:
    """Train weights until rates (1/ms) and the mean covariance of excitatory pairs (1/ms) are those that are wanted."""
    optimiser = torch.optim.Adam(layer.parameters(), lr=0.03)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    pairs = ~torch.eye(EXCITATORY, dtype=torch.bool)
    for _ in range(steps):
        found = layer(currents)
        own = found.covariance.to_dense()[:EXCITATORY, :EXCITATORY][pairs].mean()
        loss = (found.mean / rate - 1).square().mean() + (own / covariance - 1).square()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()


def spikes_of(layer: MomentRecurrent, duration: float, trials: int) -> tuple[np.ndarray, np.ndarray, float, float]:
    """Return rates and the mean covariance of excitatory pairs, each with its standard error, 1/ms."""
    circuit = Circuit(
        [Population("neurons", N, LIFParameters(t_ref=2.0))],
        [Projection("neurons", "neurons", weights=layer.weight.detach().numpy())],
        [GaussianDrive("neurons", mean=MEAN, std=STD)],
    )
    found = []
    for seed in range(trials):  # one seed after the other, for an error of the covariance
        result = simulate(circuit, duration, warmup=500.0, dt=DT, seed=seed, window=WINDOW)["simulation"]
        block = result["count_covariance"].to_numpy()[:EXCITATORY, :EXCITATORY] / WINDOW
        mean = block[~np.eye(EXCITATORY, dtype=bool)].mean()
        found.append((result["rate"].to_numpy() * 1e-3, mean))
    rates, covariances = np.array([f[0] for f in found]), np.array([f[1] for f in found])
    root = np.sqrt(trials)
    return rates.mean(0), rates.std(0, ddof=1) / root, float(covariances.mean()), float(covariances.std(ddof=1) / root)


def main() -> None:
    """Train, correct by spikes, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--duration", type=float, default=200.0, help="s, of each simulation")
    parser.add_argument("--steps", type=int, default=300)
    options = parser.parse_args()
    layer, currents = network(N, EXCITATORY)
    with torch.no_grad():
        start = layer(currents)
    covariance = start.covariance.to_dense()[:EXCITATORY, :EXCITATORY]
    before = float(covariance[~torch.eye(EXCITATORY, dtype=torch.bool)].mean())
    target = 0.01 * np.exp(0.3 * np.random.default_rng(2).standard_normal(N))
    wanted = 1.5 * before
    print(f"at the start: mean rate {1e3 * float(start.mean.mean()):.2f} Hz, mean covariance {1e3 * before:.4f} Hz")
    print(
        f"targets: rates {1e3 * target.min():.1f} to {1e3 * target.max():.1f} Hz, mean covariance {1e3 * wanted:.4f} Hz"
    )
    aimed, aim = torch.as_tensor(target), wanted
    for stage in ("by theory", "corrected once", "corrected twice", "corrected three times"):
        begun = time.time()
        train(layer, currents, aimed, aim, options.steps)
        trained = time.time() - begun
        rate, error, mean, mean_error = spikes_of(layer, 1e3 * options.duration / 4, 4)
        relative = rate / target - 1
        print(
            f"{stage}: rates in spikes off by {100 * np.sqrt((relative**2).mean()):.2f} % (root mean square; sampling "
            f"{100 * np.sqrt(((error / target) ** 2).mean()):.2f} %), mean {100 * relative.mean():+.2f} %; covariance "
            f"{1e3 * mean:.4f} ± {1e3 * mean_error:.4f} Hz, {100 * (mean / wanted - 1):+.1f} %; {trained:.0f} s",
            flush=True,
        )
        aimed, aim = aimed * torch.as_tensor(target / rate), aim * wanted / mean
    layer, currents = network(1000, 800)
    begun = time.time()
    found = layer(currents)
    (found.mean.square().sum() + found.covariance.to_dense().mean()).backward()
    print(f"a gradient step of 1,000 neurons: {time.time() - begun:.2f} s")


if __name__ == "__main__":
    main()
