"""What a step of a compiled program costs: for calling its parts, for a neuron, for a source.

    python benchmarks/step_costs.py [--steps 20000]

These are the constants of the layout of presentations (``mnnbio/spikes/layout.py``). Silent populations and sources of
growing size are simulated; a straight line through their times gives the fixed cost and that of an element. Copies of a
small network side by side show what is gained.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from mnnbio import Circuit, GaussianDrive, LIFParameters, PoissonSource, Population, build

DT = 0.1  # ms


def neurons(n: int) -> Circuit:
    """Return neurons with noise that seldom fire."""
    return Circuit([Population("n", n, LIFParameters())], drives=[GaussianDrive("n", mean=0.5, std=0.5)])


def sources(n: int) -> Circuit:
    """Return trains of 10 Hz beside one neuron."""
    return Circuit([PoissonSource("in", n, np.full(n, 0.01)), Population("n", 1, LIFParameters())])


def seconds_a_step(circuit: Circuit, steps: int, replicas: int) -> float:
    """Return the time of a step in one process, the time of starting the program taken off."""
    with build(circuit, dt=DT, replicas=replicas) as program:
        times = []
        for n in (steps // 10, steps) * 3:
            start = time.perf_counter()
            program.run(n * DT, trials=replicas, seed=0, processes=1)
            times.append(time.perf_counter() - start)
    return (min(times[1::2]) - min(times[::2])) / (steps - steps // 10)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what a step costs.")
    parser.add_argument("--steps", type=int, default=20000)
    options = parser.parse_args()
    for name, make, sizes in (("neuron", neurons, (10, 1000)), ("source", sources, (10, 10000))):
        costs = [seconds_a_step(make(n), options.steps, 1) for n in sizes]
        slope = (costs[1] - costs[0]) / (sizes[1] - sizes[0])
        fixed = costs[0] - slope * sizes[0]
        print(f"{name}: {slope * 1e9:.2f} ns each, {fixed * 1e9:.0f} ns a step besides")
    for replicas in (1, 8):
        cost = seconds_a_step(neurons(10), options.steps, replicas) / replicas
        print(f"10 neurons, {replicas} side by side: {cost * 1e9:.0f} ns a step and copy")


if __name__ == "__main__":
    main()
