"""Budgets of four circuits: what the gap between prediction and spikes is made of, and what stays unexplained.

    python benchmarks/error_budgets.py [--circuit digits] [--trials 40]

A network trained on digits with two hidden layers, a sparse random E/I circuit, one with slow synapses, and one with
large weights. Prints the budget of the rates and of the Fano factors of each, as `predict` describes the simulation by
default, and, for the first, as it describes a trained network (continuous time, closure "moments").
"""

from __future__ import annotations

import argparse
import time
import warnings

import numpy as np

from mnnbio import (
    Bernoulli,
    Circuit,
    FixedIndegree,
    GaussianDrive,
    LIFParameters,
    PoissonSource,
    Population,
    Projection,
    export,
    simulate,
)
from mnnbio.validation import error_budget

SIZES = {"E": 320, "I": 80}


def digits() -> Circuit:
    """Return a small trained network with four images."""
    from sklearn.datasets import load_digits

    from mnnbio.training import MomentClassifier

    x, y = load_digits(return_X_y=True)
    classifier = MomentClassifier(hidden=(50, 50), epochs=10, random_state=0).fit(x[:1500], y[:1500])
    return export(classifier, x[1500:1504])


def excitatory_inhibitory(weight: float, rule, mean: float, std: float, tau_syn: float = 0.0) -> Circuit:
    """Return 320 excitatory and 80 inhibitory neurons with random synapses."""
    lif = LIFParameters(v_reset=0.0, t_ref=5.0)
    return Circuit(
        [Population(name, size, lif) for name, size in SIZES.items()],
        [
            Projection(a, b, weight=weight if a == "E" else -5 * weight, connectivity=rule, delay=1.5, tau_syn=tau_syn)
            for a in SIZES
            for b in SIZES
        ],
        [GaussianDrive(name, mean=mean, std=std) for name in SIZES],
        seed=3,
    )


def large_weights() -> Circuit:
    """Return neurons behind few Poisson trains whose jumps are a tenth of the way to the threshold."""
    rng = np.random.default_rng(0)
    weights = rng.choice([2.0, -2.0], (60, 40), p=[0.62, 0.38]) * (rng.random((60, 40)) < 0.5)
    return Circuit(
        [PoissonSource("input", 40, rates=0.1), Population("cells", 60, LIFParameters(v_reset=0.0, t_ref=5.0))],
        [Projection("input", "cells", weights=weights)],
        [GaussianDrive("cells", mean=0.4, std=0.3)],
    )


CIRCUITS = {
    "digits": digits,
    "sparse E/I": lambda: excitatory_inhibitory(1.0, FixedIndegree(40), 1.0, 1.0),
    "slow synapses": lambda: excitatory_inhibitory(0.6, Bernoulli(0.1), 0.9, 0.5, tau_syn=10.0),
    "large weights": large_weights,
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Budgets of four circuits.")
    parser.add_argument("--circuit", choices=CIRCUITS, help="one circuit only")
    parser.add_argument("--trials", type=int, default=40, help="of two seconds each")
    options = parser.parse_args()
    warnings.simplefilter("ignore", UserWarning)
    for name in [options.circuit] if options.circuit else CIRCUITS:
        began = time.monotonic()
        circuit = CIRCUITS[name]()
        simulation = simulate(circuit, 2000, options.trials, warmup=200, dt=0.1, seed=1, covariance=False)
        print(f"\n== {name}")
        judged = [("rate", None), ("fano", None)]
        judged += [("rate", {"dt": None, "closure": "moments"})] if name == "digits" else []
        for quantity, predicted in judged:
            found = error_budget(circuit, simulation=simulation, quantity=quantity, predicted=predicted)
            print(found)
            print(f"unexplained: {found.attrs['unexplained']:+.1%} of the gap\n", flush=True)
        print(f"{time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
