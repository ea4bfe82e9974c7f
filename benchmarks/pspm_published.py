"""PSPM as published: 400 neurons, 15 s, 150 passes, beside ablations and the control with random synapses.

Prints one line of JSON per fit: D_P and D_A (smoothed trains and their sum) and mean |W - W_ref|, each over that of the
naive learner, and statistics of avalanches of reference, naive and learned network. Published code, one run: D_P 15.9
of 61.8, D_A 4.2 of 28.0, |W - W_ref| 0.521 of 0.501 mV, control D_P 68.5.

    python benchmarks/pspm_published.py --seeds 0 1 2
"""

import argparse
import json
import time
from typing import Any

import numpy as np

from mnnbio.analyses import (
    SpikeTrains,
    avalanches,
    branching_ratio,
    fit_power_law,
    smoothed_population_distance,
    smoothed_train_distance,
)
from mnnbio.learning import Passed, published_pspm, published_ratio, published_task

VARIANTS: dict[str, dict[str, Any]] = {
    "full": {},
    "local only": {"homeostatic_rate": 0.0},
    "homeostatic only": {"learning_rate": 0.0},
    "control": {"random_synapses": True},
}
LEAK = 0.09


def trains(passed: Passed, dt: float) -> SpikeTrains:
    """Return the spikes of a run in ms."""
    return SpikeTrains((passed.step + 0.5) * dt, passed.counts)


def avalanche_statistics(passed: Passed, n_steps: int) -> dict[str, float]:
    """Return exponents of sizes and durations, and the branching ratio, of a run's summed activity in steps."""
    activity = np.bincount(passed.step, minlength=n_steps)
    found = avalanches(activity)
    size, duration = (fit_power_law(found[name]) for name in ("size", "duration"))
    return {
        "number": found.sizes["avalanche"],
        "mean_size": float(found["size"].mean()),
        "size_exponent": float(size["exponent"]),
        "duration_exponent": float(duration["exponent"]),
        "branching_ratio": float(branching_ratio(activity)["naive"]),
    }


def measure(seed: int, n: int, n_steps: int, passes: int, variants: list[str]) -> None:
    """Fit one task with each variant, and print its measures."""
    task = published_task(seed, n=n, n_steps=n_steps)
    reference = task.reference.projections[0].weights
    with task.network() as network:
        wanted, naive = network.run(reference), network.run()

        def distances(passed: Passed) -> tuple[float, float]:
            both = trains(passed, network.dt), trains(wanted, network.dt)
            return (
                smoothed_train_distance(*both, network.duration),
                smoothed_population_distance(*both, network.duration),
            )

        before = distances(naive)
        apart = float(np.abs(network.weights - reference).mean())
        for name in variants:
            started = time.perf_counter()
            learned = published_pspm(passes=passes, seed=seed, **VARIANTS[name]).fit(task.target, network)
            seconds = time.perf_counter() - started
            weights = learned.details["weights"]
            last = network.run(weights)
            after, best = distances(last), distances(network.run(learned.details["best_weights"]))
            row = {
                "seed": seed,
                "variant": name,
                "status": learned.status,
                "D_P_naive": before[0],
                "D_P_ratio": after[0] / before[0],
                "D_P_ratio_best": best[0] / before[0],
                "D_A_naive": before[1],
                "D_A_ratio": after[1] / before[1],
                "D_A_ratio_best": best[1] / before[1],
                "weights_ratio": float(np.abs(weights - reference).mean()) / apart,
                "weights_naive_mV": apart / LEAK,
                "correlation_of_magnitudes": float(
                    np.corrcoef(np.abs(weights).ravel(), np.abs(reference).ravel())[0, 1]
                ),
                "counts_reference": [float(wanted.counts.mean()), float(wanted.counts.std())],
                "counts_naive": [float(naive.counts.mean()), float(naive.counts.std())],
                "counts_learned": [float(last.counts.mean()), float(last.counts.std())],
                "unmatched_first": [float(learned.history[v][0]) for v in ("unmatched_own", "unmatched_target")],
                "unmatched_last": [float(learned.history[v][-1]) for v in ("unmatched_own", "unmatched_target")],
                "F_naive": learned.scores["naive F"],
                "F_zero": learned.scores["zero-weight F"],
                "F_chance": learned.scores["chance F"],
                "F_last": learned.scores["last F"],
                "avalanches_reference": avalanche_statistics(wanted, network.n_steps),
                "avalanches_naive": avalanche_statistics(naive, network.n_steps),
                "avalanches_learned": avalanche_statistics(last, network.n_steps),
                "rho": published_ratio(network, reference, wanted),
                "seconds": seconds,
            }
            print(json.dumps(row), flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--neurons", type=int, default=400)
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--passes", type=int, default=150)
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    given = parser.parse_args()
    for seed in given.seeds:
        measure(seed, given.neurons, given.steps, given.passes, given.variants)


if __name__ == "__main__":
    main()
