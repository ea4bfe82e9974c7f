"""Time a million elements of rate and variance, forward and backward, against one `torch.special.erfcx` of that size.

    python benchmarks/moment_activation_speed.py [--dtype float32] [--compile]

prints the times and their ratio, both measured in this run, in turns, on two threads; before that, what the first use
costs: building the kernel into an empty cache, and loading it from a full one.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mnnbio import LIFParameters
from mnnbio.moments.activation import moment_activation
from mnnbio.moments.kernel import activation_backend

ELEMENTS, REPEATS, THREADS = 1_000_000, 15, 2
FIRST_USE = """
import time
from mnnbio.moments import activation_backend
start = time.perf_counter()
activation_backend()
print(time.perf_counter() - start)
"""


def seconds(function: Callable[[], Any]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def first_use(cache: str) -> float:
    """Return what asking for the kernel takes in a new process."""
    done = subprocess.run(
        [sys.executable, "-c", FIRST_USE],
        env=os.environ | {"XDG_CACHE_HOME": cache}, check=True, capture_output=True, text=True,
    )  # fmt: skip
    return float(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the moment activation against erfcx.")
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float64")
    parser.add_argument("--compile", action="store_true", help="time the function after torch.compile")
    options = parser.parse_args()
    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    dtype = getattr(torch, options.dtype)
    lif = LIFParameters()

    def total(mean: Tensor, std: Tensor) -> Tensor:
        rate, variance, _ = moment_activation(mean, std, lif)
        return rate.sum() + variance.sum()

    function = torch.compile(total) if options.compile else total
    mean = (torch.rand(ELEMENTS, dtype=dtype) * 4 - 1).requires_grad_()
    std = (torch.rand(ELEMENTS, dtype=dtype) * 10).requires_grad_()
    still, still_std = mean.detach(), std.detach()

    backend = activation_backend()
    print(f"backend: {backend.name} ({backend.detail})")
    if backend.name == "compiled":
        with tempfile.TemporaryDirectory() as cache:
            built, loaded = first_use(cache), first_use(cache)
        print(f"first use: {built:.2f} s with an empty cache, {loaded * 1e3:.0f} ms with the library in it")

    cases: dict[str, Callable[[], Any]] = {
        "erfcx": lambda: torch.special.erfcx(still),
        "forward": lambda: total(still, still_std),
        "forward and backward": lambda: torch.autograd.grad(function(mean, std), (mean, std)),
    }
    times: dict[str, list[float]] = {name: [] for name in cases}
    for case in cases.values():
        case()
    for _ in range(REPEATS):
        for name, case in cases.items():
            times[name].append(seconds(case))
    reference = min(times["erfcx"])
    for name, values in times.items():
        print(f"{name:22}{min(values) * 1e3:7.1f} ms {min(values) / reference:6.2f}×")


if __name__ == "__main__":
    main()
