"""Time and peak memory of a large network over a long time: 12,500 neurons, 15.6 million synapses, 10⁹ neuron-steps.

    python benchmarks/large_runs.py [--fraction 1.0] [--duration 8000] [--record moments]

The network of Brunel (2000), Fig. 8 C (model A; g = 5, external input twice the threshold rate): 10,000 excitatory and
2,500 inhibitory neurons, each with 1,000 and 250 inputs; the published simulation fires at 37.7 Hz. ``--fraction``
takes so many of the neurons and keeps the inputs of each. What is recorded stays small however long the run is: moments
of counts in windows of 100 ms, counts of both populations in bins of 1 ms, or, for comparison, all spikes.
"""

from __future__ import annotations

import argparse
import os
import resource
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from mnnbio import (
    Circuit,
    CountMoments,
    Counts,
    FixedIndegree,
    LIFParameters,
    PoissonDrive,
    Population,
    Projection,
    build,
)

DT, J, G = 0.1, 0.1, 5.0  # ms, mV
INPUTS = {"E": 1000, "I": 250}
KINDS = {"moments": CountMoments(window=100.0), "counts": Counts(bin=1.0, per="population"), "spikes": None}

T = TypeVar("T")


def network(fraction: float) -> Circuit:
    """Return the network with a fraction of its neurons, none of which loses inputs."""
    lif = LIFParameters(tau_m=20.0, v_th=20.0, v_reset=10.0, t_ref=2.0)
    external = 2 * 20.0 / (J * 20.0)  # spikes/ms: twice what reaches the threshold on average
    return Circuit(
        [Population("E", round(10_000 * fraction), lif), Population("I", round(2_500 * fraction), lif)],
        [
            Projection(source, target, weight=weight, connectivity=FixedIndegree(INPUTS[source]), delay=1.5)
            for source, weight in (("E", J), ("I", -G * J))
            for target in "EI"
        ],
        [PoissonDrive(target, external, J) for target in "EI"],
    )


class Watch:
    """Peak memory of the programs that this process starts, asked of the system while they run."""

    def __init__(self) -> None:
        self.peak, self.over = 0, threading.Event()

    def look(self) -> None:
        """Ask until it is over."""
        while not self.over.wait(0.01):
            for children in Path("/proc/self/task").glob("*/children"):
                try:
                    for child in children.read_text().split():
                        status = Path("/proc", child, "status").read_text()
                        self.peak = max(self.peak, int(status.split("VmHWM:")[1].split()[0]) * 1024)
                except (OSError, IndexError):
                    continue


def told(what: str, work: Callable[[], T]) -> T:
    """Do some work and print its time and the peak memory of Python so far."""
    start = time.perf_counter()
    result = work()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(f"{what:>28}: {time.perf_counter() - start:7.1f} s, Python's peak {peak / 1e9:5.2f} GB", flush=True)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description="Simulate a large network for a long time.")
    parser.add_argument("--fraction", type=float, default=1.0, help="of the neurons")
    parser.add_argument("--duration", type=float, default=8000.0, help="ms; 8000 make 10⁹ neuron-steps")
    parser.add_argument("--record", choices=list(KINDS), default="moments")
    options = parser.parse_args()
    circuit = told("describe", lambda: network(options.fraction))
    synapses = told("connect", lambda: sum(circuit.matrix(projection).nnz for projection in circuit.projections))
    size = sum(population.size for population in circuit.neurons)
    opened = build(circuit, dt=DT, record=KINDS[options.record])
    program = told("build, or take from the cache", opened.__enter__)
    try:
        watch = Watch()
        thread = threading.Thread(target=watch.look)
        thread.start()
        try:
            recording = told("run", lambda: program.run(options.duration, warmup=100.0, seed=1))
        finally:
            watch.over.set()
            thread.join()
    finally:
        opened.__exit__(None, None, None)
    if recording.moments is not None:
        number = recording.moments.total.sum()
    elif recording.counts is not None:
        number = recording.counts.count.sum()
    else:
        number = (recording.step >= 0).sum()
    steps = size * round(options.duration / DT)
    print(
        f"{size} neurons, {synapses / 1e6:.1f} million synapses, {steps / 1e9:.2f}·10⁹ neuron-steps on {os.cpu_count()}"
        f" cores: {number / size / options.duration * 1e3:.2f} Hz; the program's peak: {watch.peak / 1e9:.2f} GB"
    )


if __name__ == "__main__":
    main()
