"""What spikes determine: weights from 1 to 10 s of spikes, and all rules for the same job side by side.

    python benchmarks/spike_recovery.py [--seeds 5] [--part length jitter rivals] [--rho 0.6 1.2] [--passes 300]
                                        [--pspm-passes 2000]

The reference has 50 neurons, 10 Hz, under a frozen current, and a learner's weights are drawn alike (`spike_task`).

- length: correlation of the linear programme's weights with the true ones (all; excitatory; inhibitory) after 1, 2, 5
  and 10 s, F on the train and on held-out currents.
- jitter: the same after the targets were moved by 1 ms (normal), F against the moved targets.
- rivals: linear programme, perceptron, tempotron, back-propagation and PSPM ("first" errors) on 1 s: best F on the
  train, on held-out currents, correlation of weights, time of this process and its programs. Beside them the learner
  without learning, no recurrent weights, and the true weights with 1 % noise as a ceiling.

Means over seeds ± standard deviations.
"""

from __future__ import annotations

import argparse
import resource

import numpy as np

from mnnbio.learning import (
    PSPM,
    BackPropagation,
    ClampedPerceptron,
    ClampedTempotron,
    LinearProgramme,
    SpikeTargets,
    spike_task,
)
from mnnbio.learning.free_run import matched

WINDOW = 4.0  # ms


def used():
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def weights_of(circuit):
    (projection,) = circuit.projections
    return np.asarray(projection.weights)


def correlations(found, true):
    off = ~np.eye(len(true), dtype=bool)
    inhibitory = np.arange(len(true)) >= len(true) - len(true) // 5
    groups = off, off & ~inhibitory, off & inhibitory
    return [np.corrcoef(found[g], true[g])[0, 1] if found[g].std() else 0.0 for g in groups]


def score(network, weights, currents, target):
    spikes = network.spikes(network.run(weights, currents=currents))
    return matched(spikes.steps, target, WINDOW)[0]


def scores(network, task, weights):
    """F on the train, mean F on held-out currents, and correlations of weights."""
    held = [score(network, weights, *pair) for pair in zip(task.held_out, task.held_out_targets, strict=True)]
    return [
        score(network, weights, task.currents, task.target),
        np.mean(held),
        *correlations(weights, weights_of(task.reference)),
    ]


def moved(target, jitter, rng, hold):
    """Targets with spikes moved by normal times of `jitter`, ms, without those in a refractory period, `hold` steps."""
    trains = []
    for train in target.steps:
        steps = np.rint(train + rng.normal(0, jitter / target.dt, len(train))).astype(int)
        kept = []
        for step in np.unique(np.clip(steps, 0, target.n_steps - 1)):
            if not kept or step - kept[-1] > hold:
                kept.append(step)
        trains.append(np.array(kept, dtype=int))
    return SpikeTargets(steps=trains, dt=target.dt, n_steps=target.n_steps, populations=target.populations)


def told(name, rows, columns):
    rows = np.array(rows, dtype=float)
    texts = [
        f"{c} {m:.3f} ± {s:.3f}" for c, m, s in zip(columns, np.mean(rows, axis=0), np.std(rows, axis=0), strict=True)
    ]
    print(f"{name:<28}", ", ".join(texts), f"(n = {len(rows)})", flush=True)


COLUMNS = ("F", "F held out", "r", "r exc", "r inh", "seconds")


def lengths(options):
    for rho in options.rho:
        for seconds in options.lengths:
            rows = []
            for seed in range(options.seeds):
                task = spike_task(seed, rho=rho, duration=1e3 * seconds, held_out=1)
                with task.network() as network:
                    began = used()
                    found = LinearProgramme().fit(task.target, network)
                    took = used() - began
                    rows.append([*scores(network, task, weights_of(found.best)), took])
            told(f"rho {rho:g}, {seconds:g} s", rows, COLUMNS)


def jitters(options):
    for rho in options.rho:
        for seconds in options.jitter_lengths:
            rows = []
            for seed in range(options.seeds):
                task = spike_task(seed, rho=rho, duration=1e3 * seconds, held_out=1)
                target = moved(task.target, 1.0, np.random.default_rng([seed, 2]), 4)
                with task.network() as network:
                    began = used()
                    found = LinearProgramme().fit(target, network)
                    took = used() - began
                    own = scores(network, task, weights_of(found.best))
                    first = float(found.history["F"][0])
                    rows.append([first, found.best_f, found.scores["F_clamped"], *own, took])
            told(
                f"rho {rho:g}, {seconds:g} s, jitter 1 ms",
                rows,
                ("F first round", "F best round", "F clamped", "F unmoved", *COLUMNS[1:]),
            )


def rivals(options):
    for rho in options.rho:
        tasks = [spike_task(seed, rho=rho, held_out=3) for seed in range(options.seeds)]
        rules = {
            "linear programme": LinearProgramme(),
            "perceptron": ClampedPerceptron(),
            "tempotron": ClampedTempotron(),
            "back-propagation": BackPropagation(passes=options.passes),
            "PSPM, first errors": PSPM(passes=options.pspm_passes, errors="first"),
        }
        naive, without, ceiling = [], [], []
        found = {name: [] for name in rules}
        for name, rule in rules.items():
            if options.rules and not any(name.startswith(part) for part in options.rules):
                continue
            for seed, task in enumerate(tasks):
                with task.network() as network:
                    true = weights_of(task.reference)
                    if len(naive) <= seed:
                        noise = 1 + 0.01 * np.random.default_rng([seed, 3]).standard_normal(true.shape)
                        naive.append(scores(network, task, network.weights))
                        without.append(scores(network, task, 0 * true))
                        ceiling.append(scores(network, task, true * noise))
                    began = used()
                    learned = rule.fit(task.target, network)
                    took = used() - began
                    found[name].append([*scores(network, task, weights_of(learned.best)), took])
            told(f"rho {rho:g}, {name}", found[name], COLUMNS)
        told(f"rho {rho:g}, naive", naive, COLUMNS[:-1])
        told(f"rho {rho:g}, no recurrence", without, COLUMNS[:-1])
        told(f"rho {rho:g}, true, 1 % noise", ceiling, COLUMNS[:-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rho", type=float, nargs="+", default=[0.6, 1.2])
    parser.add_argument("--lengths", type=float, nargs="+", default=[1, 2, 5, 10])
    parser.add_argument("--jitter-lengths", type=float, nargs="+", default=[1])
    parser.add_argument("--passes", type=int, default=300, help="of back-propagation")
    parser.add_argument("--rules", nargs="*", help="beginnings of names of rules, by default all")
    parser.add_argument("--pspm-passes", type=int, default=2000)
    parser.add_argument(
        "--part", nargs="+", choices=["length", "jitter", "rivals"], default=["length", "jitter", "rivals"]
    )
    options = parser.parse_args()
    for name, part in {"length": lengths, "jitter": jitters, "rivals": rivals}.items():
        if name in options.part:
            part(options)


if __name__ == "__main__":
    main()
