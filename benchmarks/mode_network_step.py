"""Training steps of mode-based spiking networks beside the published way of computing them.

    python benchmarks/mode_network_step.py

One gradient of contextual integration, batch 100, 500 steps, 3 modes, double filter, float32, on one thread: the
root of the summed squared error, from weights as networks have them before training. Beside ours runs the published
scheme, written anew: the matrix N×N formed once in a forward pass, products with it and automatic differentiation in
every step. A matrix N×N in our compiled steps is timed as well. Each network runs in a process of its own, so that its
peak memory is its own; the smallest of several processor times counts. Prints times, memory, their ratios, the slope of
log time over log N, and whether both compute the same.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from mnnbio.training.spiking import SpikingNetwork, SpikingNeuron, spiking_backend
from mnnbio.training.spiking.tasks import contextual_integration

MODES, BATCH, STEPS = 3, 100, 500
COMPARED, SIZES = (100, 1000), (100, 300, 1000, 3000, 10_000)
SCHEMES = ("ours", "matrix", "published")


class Surrogate(torch.autograd.Function):
    """A spike above 0, differentiated as a fast sigmoid of slope 25."""

    @staticmethod
    def forward(ctx, distance: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.save_for_backward(distance)
        return (distance > 0).float()

    @staticmethod
    def backward(ctx, *grads: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        (distance,) = ctx.saved_tensors
        return grads[0] / (1 + 25 * distance.abs()).square()


def published(network: SpikingNetwork, inputs: Tensor) -> Tensor:
    """Return the outputs as the published code computes them: times in s, columns of trials, all steps recorded."""
    modes_in, scores, modes_out = network.recurrent.factors()
    matrix = (scores * modes_in) @ modes_out.T
    dt = 2e-3
    fade, keep, fall, rise = (math.exp(-dt / tau) for tau in (10e-3, 20e-3, 30e-3, 2e-3))
    shape = (inputs.shape[1], network.size, 1)
    current, voltage, spikes, filtered, onset = (torch.zeros(shape) for _ in range(5))
    last = torch.full(shape, -1.0)
    course = []
    for step, given in enumerate(inputs[..., None]):
        current = fade * current + network.weight_in @ given + matrix @ filtered
        free = dt * step > last + 5 * dt
        voltage = free * (keep * voltage + (1 - keep) * current) * (1 - spikes)
        onset = rise * onset + spikes
        filtered = fall * filtered + (1 - fall) * onset
        spikes = Surrogate.apply(voltage - 1)
        last = last + (dt * step - last) * spikes
        course.append((voltage, spikes, filtered))
    _, _, filtered = (torch.stack(parts) for parts in zip(*course, strict=True))
    return (network.weight_out @ filtered)[..., 0]


def setting(scheme: str, size: int) -> tuple[SpikingNetwork, Callable[[Tensor], Tensor]]:
    """Return a network and how its outputs are computed."""
    network = SpikingNetwork.random(4, size, 1, modes=None if scheme == "matrix" else MODES, seed=0)
    return network, (lambda inputs: published(network, inputs)) if scheme == "published" else network


def training_step(
    network: SpikingNetwork, outputs: Callable[[Tensor], Tensor], inputs: Tensor, targets: Tensor
) -> None:
    network.zero_grad()
    (outputs(inputs) - targets).square().sum().sqrt().backward()


def measure(scheme: str, size: int, repeats: int) -> dict[str, float]:
    """Return the shortest processor time of a training step (s) and the peak memory of this process (GB)."""
    torch.set_num_threads(1)
    network, outputs = setting(scheme, size)
    inputs, targets = contextual_integration(BATCH, STEPS, seed=1)
    training_step(network, outputs, inputs[:5], targets[:5])  # builds the library
    times = []
    for _ in range(repeats):
        start = time.process_time()
        training_step(network, outputs, inputs, targets)
        times.append(time.process_time() - start)
    return {"time": min(times), "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6}


def in_own_process(scheme: str, size: int, repeats: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--one", scheme, "--size", str(size), "--repeats", str(repeats)]
    found: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    print(f"N = {size:>6,} {scheme:>9}: {found['time']:7.3f} s, peak memory {found['memory']:.2f} GB", flush=True)
    return found


def largest_difference(size: int = 100) -> tuple[float, float]:
    """Return the largest differences of outputs and of gradients, relative to the largest value of each."""
    neuron = SpikingNeuron(clock="single")  # as published; in whole steps, refractory periods differ
    network = SpikingNetwork.random(4, size, 1, modes=MODES, seed=0, neuron=neuron)
    inputs, targets = contextual_integration(10, 60, onset=0, stimulus=50, seed=1)
    found = []
    for outputs in (network, lambda x: published(network, x)):
        training_step(network, outputs, inputs, targets)
        gradients = torch.cat([parameter.grad.flatten() for parameter in network.parameters()])  # type: ignore[union-attr]
        with torch.no_grad():
            found.append((outputs(inputs), gradients))
    return tuple(float((a - b).abs().max() / b.abs().max()) for a, b in zip(*found, strict=True))  # type: ignore[return-value]


def main() -> None:
    parser = argparse.ArgumentParser(description="Time training steps of mode-based spiking networks.")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--one", choices=SCHEMES, help="measure this scheme in this process, and print JSON")
    parser.add_argument("--size", type=int, default=100)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one, options.size, options.repeats)))
        return
    print(f"backend: {spiking_backend()}")
    outputs, gradients = largest_difference()
    print(f"largest relative difference from the published scheme: outputs {outputs:.1e}, gradients {gradients:.1e}")
    ours = {size: in_own_process("ours", size, options.repeats) for size in SIZES}
    for size in COMPARED:
        own = ours[size]
        for scheme in SCHEMES[1:]:
            other = in_own_process(scheme, size, min(options.repeats, 3))
            times, memory = other["time"] / own["time"], other["memory"] / own["memory"]
            print(f"N = {size:,}: {scheme} takes {times:.1f} times as long as ours, {memory:.1f} times the memory")
    slope = np.polyfit(np.log(SIZES), np.log([ours[size]["time"] for size in SIZES]), 1)[0]
    print(f"slope of log time over log N: {slope:.2f}")


if __name__ == "__main__":
    main()
