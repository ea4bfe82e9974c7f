"""How well PSPM learns spike trains: F by strength of recurrence, plain and first-error rule, five seeds.

Fifty neurons (40/10), a frozen Ornstein-Uhlenbeck current, 10 Hz, one second, window 4 ms. Prints one line of JSON per
fit and means with spread at the end.

    python benchmarks/pspm.py                        # all, about an hour
    python benchmarks/pspm.py --rho 0.6 --seeds 0 1  # one strength, two seeds
"""

import argparse
import json
import os
import time
from collections import defaultdict

import numpy as np

from mnnbio.learning import PSPM, membrane_ratio, spike_task
from mnnbio.learning.scores import matched_f, spike_distance

PASSES = {0.3: 2000, 0.6: 2000, 1.2: 6000}
RULES = {
    "first-error": {"errors": "first", "credit": "psp", "narrowest": 1.0},
    "plain": {"errors": "all", "credit": "pool", "homeostatic_rate": 0.03},
}
WINDOW = 8  # steps of 0.5 ms


def measure(rho: float, seed: int, name: str, passes: int) -> dict[str, float | str]:
    """Fit one task with one rule; return its scores."""
    task = spike_task(seed, rho=rho)
    rule = PSPM(passes=passes, seed=seed, **RULES[name])
    with task.network() as network:
        network.run()
        started, worked = time.perf_counter(), sum(os.times()[:4])
        learned = rule.fit(task.target, network)
        seconds, busy = time.perf_counter() - started, sum(os.times()[:4]) - worked
        f = learned.history["F"].values
        # Once every spike is matched nothing changes any more.
        f = np.concatenate([f, np.ones(passes - len(f))]) if learned.status == "converged" else f
        reference = task.reference.projections[0].weights
        wanted, naive = network.run(reference), network.run()
        best = network.run(learned.details["best_weights"])
        noisy = reference * (1 + 0.01 * np.random.default_rng(seed).standard_normal(reference.shape))
        held_out = [
            matched_f(
                network.run(learned.details["best_weights"], currents=current),
                network.run(reference, currents=current),
                WINDOW,
            )
            for current in task.held_out
        ]
        naive_held_out = [
            matched_f(network.run(currents=current), network.run(reference, currents=current), WINDOW)
            for current in task.held_out
        ]
        mask = network.connections
        return {
            "rho": rho,
            "seed": seed,
            "rule": name,
            "status": learned.status,
            "passes": learned.passes,
            "rho_reference": task.rho,
            "rho_naive": membrane_ratio(network, network.weights, naive),
            "rho_best": learned.rho,
            "F_best": learned.scores["best F"],
            "F_last_100": float(f[-100:].mean()),
            "F_naive": learned.scores["naive F"],
            "F_zero": learned.scores["zero-weight F"],
            "F_chance": learned.scores["chance F"],
            "F_ceiling": matched_f(network.run(noisy), wanted, WINDOW),
            "van_rossum_ratio": spike_distance(network, best, wanted) / spike_distance(network, naive, wanted),
            "F_held_out": float(np.mean(held_out)),
            "F_held_out_naive": float(np.mean(naive_held_out)),
            "weight_correlation": float(np.corrcoef(learned.details["best_weights"][mask], reference[mask])[0, 1]),
            "passes_a_minute": 60 * learned.passes / seconds,
            "passes_a_minute_of_processor_time": 60 * learned.passes / busy,
        }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rho", type=float, nargs="+", default=list(PASSES))
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(5)))
    parser.add_argument("--rules", nargs="+", choices=list(RULES), default=list(RULES))
    parser.add_argument("--passes", type=int, help="by default 2,000, and 6,000 for ρ = 1.2")
    given = parser.parse_args()
    rows = defaultdict(list)
    for rho in given.rho:
        for seed in given.seeds:
            for name in given.rules:
                row = measure(rho, seed, name, given.passes or PASSES.get(rho, 2000))
                rows[rho, name].append(row)
                print(json.dumps(row), flush=True)
    for (rho, name), found in rows.items():
        print(f"\nρ = {rho:g}, {name}, {len(found)} seeds: mean ± standard deviation (least to greatest)")
        for key in [key for key, value in found[0].items() if isinstance(value, float) and key != "rho"]:
            values = np.array([row[key] for row in found])
            print(f"  {key:20} {values.mean():8.3f} ± {values.std():.3f} ({values.min():.3f} to {values.max():.3f})")


if __name__ == "__main__":
    main()
