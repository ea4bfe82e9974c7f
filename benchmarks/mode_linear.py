"""Memory and time of mode-factored networks, from a thousand to a hundred thousand neurons a layer.

    python benchmarks/mode_linear.py

Two hidden layers of N neurons behind `ModeLinear` weights of 16 modes, 10 readouts, batch 8, float64: forward and
backward of a loss on the covariance of the readouts, on one thread. Each N runs in a process of its own, so that its
peak memory is its own; the smallest of several processor times counts, which others on the machine disturb least.
Prints the table, the slope of log time over log N, and the largest relative difference from the dense computation at
N = 300.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time

import numpy as np
import torch
from torch import Tensor, nn

from mnnbio import LIFParameters
from mnnbio.moments.covariance import Dense, Diagonal
from mnnbio.nn.linear import ModeLinear, MomentLinear
from mnnbio.nn.norm import MomentBatchNorm1d
from mnnbio.nn.spiking_layers import MomentActivation
from mnnbio.nn.state import Moments

MODES, BATCH, READOUTS = 16, 8, 10
SIZES = (1_000, 3_000, 10_000, 30_000, 100_000)


class ModeNetwork(nn.Module):
    """Two hidden layers of `size` neurons, `size` Poisson inputs, and a readout."""

    def __init__(self, size: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)

        def layer() -> nn.Sequential:
            return nn.Sequential(
                ModeLinear(size, size, MODES, generator=generator, dtype=torch.float64),
                MomentBatchNorm1d(size, dtype=torch.float64),
                MomentActivation(LIFParameters()),
            )

        self.layers = nn.Sequential(layer(), layer())
        self.readout = MomentLinear(size, READOUTS, weight_scale=20.0, generator=generator, dtype=torch.float64)

    def forward(self, rates: Tensor, dense: bool = False) -> Tensor:
        """Return the readouts' covariance for independent Poisson inputs; with full matrices throughout if `dense`."""
        variance = Diagonal(rates)
        moments = Moments(rates, Dense(variance.to_dense()) if dense else variance)
        if not dense:
            return self.readout(self.layers(moments)).covariance.to_dense()
        for linear, norm, activation in self.layers:  # type: ignore[misc]
            weight = linear.weight
            current = Moments(moments.mean @ weight.T, Dense(weight @ moments.covariance.to_dense() @ weight.T))
            moments = activation(norm(current))
        return self.readout.weight @ moments.covariance.to_dense() @ self.readout.weight.T


def gradients(network: ModeNetwork, rates: Tensor, dense: bool = False) -> list[Tensor]:
    """Return a loss on the readouts' covariance and its gradients."""
    network.zero_grad()
    covariance = network(rates, dense)
    loss = (covariance - torch.eye(READOUTS, dtype=covariance.dtype)).square().mean()
    loss.backward()
    found = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    return [loss.detach(), covariance.detach(), *found]


def largest_difference(size: int) -> float:
    """Return the largest difference between the two computations, relative to each quantity's largest element."""
    network = ModeNetwork(size)
    rates = torch.rand(BATCH, size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    ours = [value.clone() for value in gradients(network, rates)]
    dense = gradients(network, rates, dense=True)
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(ours, dense, strict=True))


def measure(size: int, repeats: int) -> dict[str, float]:
    """Return the shortest processor time of forward and backward (s) and the peak memory of this process (GB)."""
    torch.set_num_threads(1)
    network = ModeNetwork(size)
    rates = torch.rand(BATCH, size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    gradients(network, rates)
    times = []
    for _ in range(repeats):
        start = time.process_time()
        gradients(network, rates)
        times.append(time.process_time() - start)
    return {"time": min(times), "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6}


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure networks of mode-factored weights.")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--one", type=int, help="measure this number of neurons in this process, and print JSON")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one, options.repeats)))
        return
    times = []
    for size in SIZES:
        command = [sys.executable, __file__, "--one", str(size), "--repeats", str(options.repeats)]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        times.append(found["time"])
        print(f"N = {size:>7,}: {found['time'] * 1e3:8.1f} ms, peak memory {found['memory']:.2f} GB", flush=True)
    slope = np.polyfit(np.log(SIZES), np.log(times), 1)[0]
    print(f"slope of log time over log N: {slope:.2f}")
    print(f"largest relative difference from dense matrices at N = 300: {largest_difference(300):.1e}")


if __name__ == "__main__":
    main()
