"""Time first and later builds, a first run in a new process from the cache, and a thousand short runs.

    python benchmarks/program_cache.py [--neurons 100] [--duration 100] [--runs 1000]

A layer of 784 Poisson trains onto LIF neurons is built with an empty cache, then one of another size, which shares the
common parts of programs. The first is run in new processes with other weights: what such a process takes, from its
start to its spikes, stands beside what the same C++ program takes when it is written as a project, built with make and
started by hand. The short runs have new rates each; what they leave on disk is counted.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

CIRCUIT = """
import json, sys, time
import numpy as np
from mnnbio.circuit import Circuit, PoissonSource, Population, Projection
from mnnbio.neurons.lif import LIFParameters
options = json.loads(sys.argv[1])
rng = np.random.default_rng(options["seed"])
circuit = Circuit(
    [PoissonSource("in", 784, rng.uniform(0, 0.1, 784)), Population("n", options["neurons"], LIFParameters())],
    [Projection("in", "n", weights=rng.normal(0.05, 0.2, (options["neurons"], 784)))],
)
"""
BUILD = """
from mnnbio.spikes import build
with build(circuit) as program:
    program.run(options["duration"], seed=1)
print(json.dumps({"seconds": time.time() - options["started"], "brian2": "brian2" in sys.modules}))
"""
SIMULATE = """
from mnnbio.simulate import simulate
simulate(circuit, options["duration"], seed=1)
print(json.dumps({"seconds": time.time() - options["started"]}))
"""
SHORT = """
from mnnbio.spikes import build
with build(circuit) as program:
    def size():
        return sum(path.stat().st_size for path in program.folder.rglob("*"))
    program.run(options["duration"], seed=1)
    before, start = size(), time.time()
    for _ in range(options["runs"]):
        program.run(options["duration"], stimulus=rng.uniform(0, 0.1, 784), seed=1)
    print(json.dumps({"seconds": (time.time() - start) / options["runs"], "before": before, "after": size()}))
"""
PROJECT = """
from mnnbio.spikes.cpp_project import write_project
write_project(circuit, options["folder"], duration=options["duration"], seed=1)
print("{}")
"""


def process(code: str, cache: str, **options: Any) -> dict[str, Any]:
    """Run code in a new process and return what it prints."""
    given = json.dumps(options | {"started": time.time()})
    done = subprocess.run(
        [sys.executable, "-c", CIRCUIT + code, given],
        env=os.environ | {"MNNBIO_CACHE_DIR": cache}, check=True, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    return json.loads(done.stdout)


def alone(cache: str, folder: Path, repeats: int, **options: Any) -> float:
    """Return the least time that the C++ program takes by itself."""
    process(PROJECT, cache, folder=str(folder), **options)
    subprocess.run(["make", "-j"], cwd=folder, check=True, capture_output=True)
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        subprocess.run(["./main"], cwd=folder, check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description="Time building, starting from the cache, and many short runs.")
    parser.add_argument("--neurons", type=int, default=100)
    parser.add_argument("--duration", type=float, default=100.0, help="ms of each run")
    parser.add_argument("--runs", type=int, default=1000, help="short runs")
    parser.add_argument("--repeats", type=int, default=5, help="new processes, of which the fastest counts")
    options = parser.parse_args()
    common = {"neurons": options.neurons, "duration": options.duration}
    with tempfile.TemporaryDirectory() as folder:
        cache = str(Path(folder, "cache"))
        cold = process(BUILD, cache, seed=0, **common)
        print(f"{'cold: build and first run':<44} {cold['seconds']:8.2f} s")
        other = process(BUILD, cache, seed=0, neurons=options.neurons + 1, duration=options.duration)
        print(f"{'another structure: build and first run':<44} {other['seconds']:8.2f} s")
        program = alone(cache, Path(folder, "project"), options.repeats, seed=1, **common)
        print(f"{'the C++ program alone':<44} {program:8.3f} s")
        for name, code in (("build(...), run(...)", BUILD), ("simulate(...)", SIMULATE)):
            found = [process(code, cache, seed=1, **common) for _ in range(options.repeats)]
            assert not any(each.get("brian2") for each in found), "the program was not taken from the cache"
            seconds = min(each["seconds"] for each in found)
            label = f"new process, cached: {name}"
            print(f"{label:<44} {seconds:8.3f} s, {seconds - program:.3f} s more than the program")
        short = process(SHORT, cache, seed=2, runs=options.runs, **common)
        print(f"{f'each of {options.runs} runs with rates of its own':<44} {short['seconds']:8.4f} s")
        print(f"{'bytes on disk before and after them':<44} {short['before']} {short['after']}")
        stored = sum(path.stat().st_size for path in Path(cache).rglob("*") if path.is_file())
        print(f"{'bytes in the cache':<44} {stored}")


if __name__ == "__main__":
    main()
