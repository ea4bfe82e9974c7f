"""What a sweep costs beside a loop that calls `simulate`, and what continuing and opening it cost.

The reference is the plainest script: one process, one point after another, each result saved. Both use the cached
program and all cores of this machine: the loop by the processes of each simulation, the sweep by workers that do a
point each.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from mnnbio import Circuit, open_sweep, run_sweep, save, simulate

BUILDER = """
from mnnbio import Circuit, GaussianDrive, LIFParameters, Population, Projection
from mnnbio.circuit import FixedIndegree

def network(mean, size=200):
    return Circuit(
        [Population("E", size, LIFParameters())],
        [Projection("E", "E", weight=0.1, connectivity=FixedIndegree(20), delay=1.5)],
        [GaussianDrive("E", mean=mean, std=1.0)],
    )
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=40)
    parser.add_argument("--duration", type=float, default=2000.0, help="ms")
    parser.add_argument("--trials", type=int, default=4)
    arguments = parser.parse_args()
    times = {"duration": arguments.duration, "warmup": 0.0, "dt": 0.1, "window": 100.0}
    means = np.linspace(0.8, 1.5, arguments.points).round(6).tolist()
    namespace: dict[str, object] = {}
    exec(BUILDER, namespace)
    network = namespace["network"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "build.py").write_text(BUILDER)
        config = {
            "circuit": str(folder / "build.py:network"),
            "grid": {"mean": means},
            "trials": arguments.trials,
            "simulation": times,
        }
        simulate(make(network, 1.0), trials=1, covariance=False, **times)  # builds the program

        start = time.perf_counter()
        for number, mean in enumerate(means):
            tree = simulate(make(network, mean), trials=arguments.trials, seed=number, covariance=False, **times)
            save(tree, folder / f"{number}.nc")
        loop = time.perf_counter() - start

        start = time.perf_counter()
        run_sweep(config, folder / "out")
        sweep = time.perf_counter() - start
        start = time.perf_counter()
        run_sweep(config, folder / "out", say=lambda _: None)
        again = time.perf_counter() - start
        start = time.perf_counter()
        opened = open_sweep(folder / "out")
        opening = time.perf_counter() - start
        start = time.perf_counter()
        mean_rate = float(opened["simulation/rate"].mean().compute())
        reading = time.perf_counter() - start
    print(f"{arguments.points} points of 200 neurons × {arguments.duration:g} ms × {arguments.trials} trials")
    print(f"loop of simulate            {loop:7.2f} s")
    print(f"sweep, workers included     {sweep:7.2f} s   {sweep / loop:.2f} × the loop")
    print(f"again, nothing to do        {again:7.2f} s")
    print(f"opened                      {opening:7.2f} s")
    print(f"mean rate of all            {reading:7.2f} s   {mean_rate:.1f} Hz")


def make(network: object, mean: float) -> Circuit:
    assert callable(network)
    circuit: Circuit = network(mean)
    return circuit


if __name__ == "__main__":
    main()
