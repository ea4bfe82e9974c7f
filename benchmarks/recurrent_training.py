"""A recurrent network of excitatory and inhibitory neurons trained to rates and a mean covariance, in spikes.

200 neurons, a fifth of them inhibitory, with given connections (p = 0.2) and Dale's law. `train_to_spikes` changes the
weights, or weights and thresholds, until every neuron fires at its own target rate and pairs of excitatory neurons have
a target mean covariance, in spikes. With weights alone the current from outside is weaker: where it makes neurons fire
at 15 Hz, no weights of these connections bring all of those that receive three or four inhibitory synapses below 8 Hz.

Printed are the errors of every stage, those of spikes of another seed, and the time of a gradient step of 1,000
neurons::

    python benchmarks/recurrent_training.py [--duration 1000] [--tolerance 0.01]
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch

from mnnbio import Circuit, LIFParameters, simulate
from mnnbio.moments import Diagonal
from mnnbio.nn import MomentRecurrent, Moments, PairTarget
from mnnbio.validation import train_to_spikes

N, EXCITATORY, P, DT, WINDOW = 200, 160, 0.2, 0.1, 500.0
STD = 1.2  # mV/√ms from outside
CASES: dict[str, tuple[float, tuple[str, ...]]] = {  # mean from outside (mV/ms), and what neurons learn
    "weights": (0.75, ()),
    "weights and thresholds": (0.9, ("v_th",)),
}
PAIRS = ~np.eye(EXCITATORY, dtype=bool)


def network(
    n: int, excitatory: int, mean: float = 0.9, learn: tuple[str, ...] = (), seed: int = 1
) -> tuple[MomentRecurrent, Moments]:
    """Return a layer with weights of random size, and currents from outside."""
    rng = np.random.default_rng(seed)
    mask = rng.random((n, n)) < P * N / n
    np.fill_diagonal(mask, False)
    signs = np.where(np.arange(n) < excitatory, 1.0, -1.0)
    weights = mask * rng.uniform(0.1, 0.3, (n, n)) * np.where(signs > 0, 1.0, -4.0)
    layer = MomentRecurrent(n, LIFParameters(t_ref=2.0), weights=weights, mask=mask, signs=signs, dt=DT, learn=learn)
    current = torch.full((n,), mean, dtype=torch.float64)
    return layer, Moments(current, Diagonal(torch.full_like(current, STD**2)))


def check(circuit: Circuit, target: np.ndarray, wanted: float, duration: float) -> str:
    """Return the errors of spikes of other seeds than those of the training."""
    rates, covariances = [], []
    for seed in range(1000, 1008):
        result = simulate(circuit, duration / 8, warmup=500.0, dt=DT, seed=seed, window=WINDOW)["simulation"]
        rates.append(result["rate"].to_numpy() * 1e-3)
        covariances.append(result["count_covariance"].to_numpy()[:EXCITATORY, :EXCITATORY][PAIRS].mean() / WINDOW)
    found, error = np.mean(rates, 0) / target - 1, np.std(rates, 0, ddof=1) / np.sqrt(8) / target
    sampling = (error**2).mean()
    mean, mean_error = np.mean(covariances), np.std(covariances, ddof=1) / np.sqrt(8)
    return (
        f"rates off by {100 * np.sqrt(max(0.0, (found**2).mean() - sampling)):.2f} % beyond sampling of "
        f"{100 * np.sqrt(sampling):.2f} %, mean {100 * found.mean():+.2f} %; covariance {1e3 * mean:.4f} ± "
        f"{1e3 * mean_error:.4f} Hz, {100 * (mean / wanted - 1):+.1f} %"
    )


def main() -> None:
    """Train, check, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--duration", type=float, default=1000.0, help="s, of the spikes of each stage")
    parser.add_argument("--tolerance", type=float, default=0.01, help="relative, of rates")
    parser.add_argument("--corrections", type=int, default=5)
    options = parser.parse_args()
    target = 0.01 * np.exp(0.3 * np.random.default_rng(2).standard_normal(N))
    for name, (mean, learn) in CASES.items():
        layer, currents = network(N, EXCITATORY, mean, learn)
        with torch.no_grad():
            start = layer(currents)
        before = float(start.covariance.to_dense().numpy()[:EXCITATORY, :EXCITATORY][PAIRS].mean())
        wanted = 1.5 * before
        print(
            f"{name}: from a mean rate of {1e3 * float(start.mean.mean()):.2f} Hz and a mean covariance of "
            f"{1e3 * before:.4f} Hz to rates of {1e3 * target.min():.1f} to {1e3 * target.max():.1f} Hz and "
            f"{1e3 * wanted:.4f} Hz"
        )
        begun = time.time()
        group = range(EXCITATORY)
        trained = train_to_spikes(
            layer,
            currents,
            target,
            [PairTarget(group, group, wanted)],
            duration=1e3 * options.duration,
            corrections=options.corrections,
            tolerance=options.tolerance,
        )
        print(f"{trained}\n  {time.time() - begun:.0f} s")
        print(f"  of other seeds: {check(trained.circuit, target, wanted, 2e3 * options.duration)}", flush=True)
    layer, currents = network(1000, 800)
    begun = time.time()
    found = layer(currents)
    (found.mean.square().sum() + found.covariance.to_dense().mean()).backward()
    print(f"a gradient step of 1,000 neurons: {time.time() - begun:.2f} s")


if __name__ == "__main__":
    main()
