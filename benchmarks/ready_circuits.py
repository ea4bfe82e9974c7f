"""Population rates of ready-made circuits: simulated over predicted.

    python benchmarks/ready_circuits.py                     all, some minutes
    python benchmarks/ready_circuits.py balanced --seconds 2

Brunel's panel C at full scale; a balanced network, whose neurons differ, with the correlation of their rates over
neurons; the cortical microcircuit at a tenth of its neurons, with in-degrees scaled by 0.3 and, where single weights
are strong, 0.1.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable

import numpy as np

from mnnbio import Circuit, predict, simulate
from mnnbio.circuits import balanced, brunel, microcircuit

CIRCUITS: dict[str, Callable[[], Circuit]] = {
    "brunel": lambda: brunel(g=5, nu_ext_ratio=2),
    "balanced": lambda: balanced(scale=0.5),
    "microcircuit": lambda: microcircuit(scale=0.1, indegree_scale=0.3),
    "microcircuit_strong": lambda: microcircuit(scale=0.1),
}


def measure(name: str, seconds: float, seed: int) -> None:
    """Predict and simulate a circuit, and print what comes out."""
    circuit = CIRCUITS[name]()
    began = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of finite weights; their effect is what is measured
        prediction = predict(circuit, dt=0.1, covariance=False)
    predicted = time.perf_counter() - began
    began = time.perf_counter()
    simulation = simulate(circuit, 1e3 * seconds, warmup=500, dt=0.1, seed=seed, covariance=False)["simulation"]
    print(f"\n{name}: {circuit.n_neurons} neurons; predicted in {predicted:.1f} s, {seconds:g} s simulated in "
          f"{time.perf_counter() - began:.1f} s")  # fmt: skip
    print(f"{'population':<12}{'predicted (Hz)':>16}{'simulated (Hz)':>16}{'ratio':>9}{'r':>8}")
    names = prediction["population"].to_numpy()
    for population in dict.fromkeys(names.tolist()):
        mine = names == population
        theory, spikes = prediction["rate"].to_numpy()[mine], simulation["rate"].to_numpy()[mine]
        r = np.corrcoef(theory, spikes)[0, 1] if theory.std() > 1e-6 * theory.mean() else np.nan
        ratio = spikes.mean() / theory.mean()
        print(f"{population:<12}{theory.mean():>16.3f}{spikes.mean():>16.3f}{ratio:>9.3f}{r:>8.3f}")


def main() -> None:
    """Measure the circuits that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("circuits", nargs="*", metavar="NAME", help=f"of {', '.join(CIRCUITS)}; default: all")
    parser.add_argument("--seconds", type=float, default=4.0, help="time simulated (default: 4)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the spikes (default: 1)")
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.circuits if name not in CIRCUITS]:
        parser.error(f"no circuit {unknown[0]!r}; there are {', '.join(CIRCUITS)}")
    for name in arguments.circuits or CIRCUITS:
        measure(name, arguments.seconds, arguments.seed)


if __name__ == "__main__":
    main()
