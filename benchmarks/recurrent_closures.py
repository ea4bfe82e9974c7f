"""Compare closures with spikes in recurrent circuits: panels B, C, D of Brunel (2000) and four heterogeneous circuits.

    python benchmarks/recurrent_closures.py [--scale 0.2] [--seconds 4] [--closures poisson,moments] [--circuit C]

The closure says what of a spike train drives its targets. For each circuit it prints the simulated mean rate and, for
each closure, the error of the mean rate, the median error of the rates of single neurons above 1 Hz, and their
correlation.
"""

from __future__ import annotations

import argparse
import warnings

import numpy as np
from brian2 import ms, second

from mnnbio import (
    Bernoulli,
    Circuit,
    Counts,
    FixedIndegree,
    GaussianDrive,
    LIFParameters,
    LogNormal,
    Population,
    Projection,
    predict,
    simulate,
)
from mnnbio.circuits import brunel
from mnnbio.theory.validity import FiniteWeightWarning

SIZES = {"E": 800, "I": 200}


def excitatory_inhibitory(weights, rule, lif=None, mean=1.0, std=1.0) -> Circuit:
    """Return a circuit of 800 and 200 neurons; `weights`, `lif` and `mean` by population."""
    lif = lif or {name: LIFParameters(v_reset=0.0, t_ref=5.0) for name in SIZES}
    return Circuit(
        [Population(name, size, lif[name]) for name, size in SIZES.items()],
        [Projection(a, b, weight=weights[a], connectivity=rule, delay=1.5) for a in SIZES for b in SIZES],
        [GaussianDrive(name, mean=mean, std=std) for name in SIZES],
        seed=3,
    )


def circuits(scale: float) -> dict[str, Circuit]:
    rng = np.random.default_rng(1)
    varied = {
        name: LIFParameters(
            tau_m=rng.uniform(12, 28, size),
            v_th=rng.normal(20, 1.5, size),
            v_reset=0.0,
            t_ref=rng.integers(20, 60, size) / 10,
        )
        for name, size in SIZES.items()
    }
    return {
        "B": brunel(g=6, nu_ext_ratio=4, scale=scale),
        "C": brunel(g=5, nu_ext_ratio=2, scale=scale),
        "D": brunel(g=4.5, nu_ext_ratio=0.9, scale=scale),
        "in-degrees": excitatory_inhibitory({"E": 0.3, "I": -1.5}, Bernoulli(0.1)),
        "neurons": excitatory_inhibitory({"E": 0.2, "I": -1.0}, FixedIndegree(60), varied),
        "weights": excitatory_inhibitory({"E": LogNormal(0.2, 0.2), "I": -1.0}, Bernoulli(0.1)),
        "strong noise": excitatory_inhibitory({"E": 0.3, "I": -1.5}, Bernoulli(0.1), mean=0.6, std=2.5),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare closures with spikes in recurrent circuits.")
    parser.add_argument("--scale", type=float, default=0.2, help="of Brunel's network")
    parser.add_argument("--seconds", type=float, default=4.0, help="simulated time, in trials of one second")
    parser.add_argument("--closures", default="poisson,moments")
    parser.add_argument("--circuit", help="one circuit only")
    options = parser.parse_args()
    closures = options.closures.split(",")
    print(f"{'circuit':14}{'rate (Hz)':>10}" + "".join(f"{c + ': mean':>18}{'median':>9}{'r':>8}" for c in closures))
    for name, circuit in circuits(options.scale).items():
        if options.circuit not in (None, name):
            continue
        result = simulate(
            circuit, 1 * second, round(options.seconds), 0.3 * second, 0.1 * ms, seed=1,
            record=Counts(bin=1 * second), covariance=False,
        )  # fmt: skip
        counts = result["counts/count"]
        rates = counts.mean([d for d in counts.dims if d != "neuron"]).values
        line = f"{name:14}{rates.mean():10.2f}"
        for closure in closures:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FiniteWeightWarning)
                own = predict(circuit, dt=0.1, closure=closure, covariance=False, start=0.02)["rate"].values
            active = rates > 1
            median = np.median(abs(own[active] / rates[active] - 1))
            r = np.corrcoef(own, rates)[0, 1] if own.std() > 1e-6 * own.mean() else np.nan
            line += f"{own.mean() / rates.mean() - 1:+18.1%}{median:9.1%}{r:8.3f}"
        print(line, flush=True)


if __name__ == "__main__":
    main()
