"""Time a million elements of rate and variance, forward and backward, against one `torch.special.erfcx` of that size.

    python benchmarks/moment_activation_speed.py [--compile]

prints the times and their ratio, both measured in this run.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mnnbio import LIFParameters
from mnnbio.moments import moment_activation

ELEMENTS, REPEATS = 1_000_000, 7


def fastest(function: Callable[[], Any]) -> float:
    """Return the shortest of several run times, after one run to warm up."""
    function()
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the moment activation against erfcx.")
    parser.add_argument("--compile", action="store_true", help="time the function after torch.compile")
    options = parser.parse_args()
    torch.set_num_threads(2)
    torch.manual_seed(0)
    lif = LIFParameters()

    def total(mean: Tensor, std: Tensor) -> Tensor:
        rate, variance, _ = moment_activation(mean, std, lif)
        return rate.sum() + variance.sum()

    function = torch.compile(total) if options.compile else total
    mean = (torch.rand(ELEMENTS, dtype=torch.float64) * 4 - 1).requires_grad_()
    std = (torch.rand(ELEMENTS, dtype=torch.float64) * 10).requires_grad_()
    reference = fastest(lambda: torch.special.erfcx(mean.detach()))
    ours = fastest(lambda: torch.autograd.grad(function(mean, std), (mean, std)))
    print(
        f"erfcx {reference * 1e3:.1f} ms, activation forward and backward {ours * 1e3:.0f} ms: {ours / reference:.1f}×"
    )


if __name__ == "__main__":
    main()
