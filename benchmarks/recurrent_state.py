"""Time and memory of the theory of Brunel's network (2000), every neuron or populations.

    python benchmarks/recurrent_state.py [--scale 1.0]

At full scale: 12,500 neurons, 15.6 million synapses. Prints the time of drawing the synapses, of the self-consistent
state, of the leading eigenvalues, of the reduction to populations, and the largest memory of the process.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from typing import Any

from mnnbio import predict
from mnnbio.circuits import brunel
from mnnbio.theory.inputs import external_input, wire
from mnnbio.theory.stationary import stationary_state
from mnnbio.theory.wired_response import stability


def timed(name: str, call: Callable[[], Any]) -> Any:
    start = time.perf_counter()
    result = call()
    print(f"{name:32}{time.perf_counter() - start:8.3f} s")
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the theory of Brunel's network.")
    parser.add_argument("--scale", type=float, default=1.0)
    circuit = brunel(g=5, nu_ext_ratio=2, scale=parser.parse_args().scale)
    wired = timed("synapses", lambda: wire(circuit, None))
    external = external_input(circuit, wired, None)
    state = timed(
        "state of every neuron",
        lambda: stationary_state(wired.recurrent, external.mean, external.received, wired.neurons, closure="poisson"),
    )
    print(f"  {state.status} after {state.iterations} iterations, {1e3 * state.rate.mean():.2f} Hz")
    timed("eigenvalues", lambda: stability(wired.recurrent, state.gain))
    timed("populations", lambda: predict(circuit, closure="poisson", resolution="population"))
    timed("populations again", lambda: predict(circuit, closure="poisson", resolution="population"))
    print(f"{'largest memory':32}{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:8.2f} GB")


if __name__ == "__main__":
    main()
