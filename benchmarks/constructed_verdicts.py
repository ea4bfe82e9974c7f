"""Judge predictions that were made wrong on purpose: is the error named as what it is?

    python benchmarks/constructed_verdicts.py [--circuit layer] [--cases 50] [--seed 1]

Four circuits, each simulated so often that a data set of its own goes to every case. A data set is as long as
`trials_needed` says for every neuron to show an error of half of 3 % of its rate and of 10 % of its count variance,
with a power of 0.99. Prints, for each error that was put into the prediction, how often the verdict was what it should
be, and what else was said.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections import Counter

import numpy as np
import xarray as xr

from mnnbio import (
    Bernoulli,
    Circuit,
    Counts,
    GaussianDrive,
    LIFParameters,
    PoissonSource,
    Population,
    Projection,
    predict,
    simulate,
)
from mnnbio.results import array, estimate_covariance, estimate_mean, estimate_variance, neuron_coords
from mnnbio.validation import explain, sensitivities, trials_needed

DT, WINDOW, TRIAL = 0.1, 100.0, 1000.0  # ms
COARSE = 0.5  # ms
RATE = 1.03
SEEN = {"rate": (RATE - 1) / 2, "count_variance": 0.1}  # relative errors that every neuron shows
LEVEL = 0.01  # at which a right prediction is called right


def layer(seed: int) -> Circuit:
    """Return neurons that share Poisson inputs of both signs."""
    rng = np.random.default_rng([seed, 1])
    n, m = 30, 50
    return Circuit(
        [
            PoissonSource("input", m, rates=rng.uniform(0.02, 0.25, m)),
            Population("cells", n, LIFParameters(v_reset=0.0)),
        ],
        [Projection("input", "cells", weights=rng.uniform(-0.15, 0.35, (n, m)))],
        [GaussianDrive("cells", mean=rng.uniform(0.5, 0.9, n), std=rng.uniform(0.5, 2.0, n))],
    )


def two_kinds(seed: int) -> Circuit:
    """Return two populations of different neurons behind the same inputs."""
    rng = np.random.default_rng([seed, 2])
    slow = LIFParameters(tau_m=25.0, v_th=18.0, v_reset=5.0, t_ref=3.0)
    fast = LIFParameters(tau_m=12.0, v_th=20.0, v_reset=0.0, t_ref=2.0)
    return Circuit(
        [
            PoissonSource("input", 40, rates=rng.uniform(0.05, 0.2, 40)),
            Population("slow", 16, slow),
            Population("fast", 14, fast),
        ],
        [
            Projection("input", "slow", weights=rng.uniform(-0.1, 0.25, (16, 40))),
            Projection("input", "fast", weights=rng.uniform(0.0, 0.4, (14, 40))),
        ],
        [
            GaussianDrive("slow", mean=rng.uniform(0.5, 0.75, 16), std=rng.uniform(0.5, 1.5, 16)),
            GaussianDrive("fast", mean=rng.uniform(0.7, 1.2, 14), std=rng.uniform(1.0, 2.6, 14)),
        ],
    )


def shared_noise(seed: int) -> Circuit:
    """Return neurons that noise alone makes fire, part of which they share."""
    rng = np.random.default_rng([seed, 3])
    n = 30
    return Circuit(
        [Population("cells", n, LIFParameters(tau_m=15.0, v_reset=0.0, t_ref=4.0))],
        drives=[
            GaussianDrive(
                "cells",
                mean=rng.uniform(1.1, 2.1, n),
                std=rng.uniform(0.8, 2.2, n),
                factor=rng.normal(0.0, 0.45, (n, 4)),
            ),
        ],
    )


def recurrent(seed: int) -> Circuit:
    """Return excitatory and inhibitory neurons, weakly coupled, in strong noise of their own."""
    lif, sizes = LIFParameters(v_reset=0.0, t_ref=3.0), {"E": 24, "I": 8}
    rng = np.random.default_rng([seed, 4])
    return Circuit(
        [Population(name, size, lif) for name, size in sizes.items()],
        [
            Projection(a, b, weight=0.15 if a == "E" else -0.5, connectivity=Bernoulli(0.3), delay=1.5)
            for a in sizes
            for b in sizes
        ],
        [
            GaussianDrive(
                name,
                mean=rng.uniform(1.0, 2.0, size),
                std=rng.uniform(0.8, 2.4, size),
                factor=rng.normal(0.0, 0.3, (size, 3)),
            )
            for name, size in sizes.items()
        ],
        seed=seed,
    )


CIRCUITS = {"layer": layer, "two kinds": two_kinds, "shared noise": shared_noise, "recurrent": recurrent}


def alike(seed: int) -> Circuit:
    """Return neurons that are all alike and far from saturation: rates alone do not tell a cause from another."""
    return Circuit(
        [Population("cells", 30, LIFParameters(v_reset=0.0))],
        drives=[GaussianDrive("cells", mean=1.1, std=1.5)],
        seed=seed,
    )


def simulated(circuit: Circuit, counts: np.ndarray, covariance: bool = True) -> xr.Dataset:
    """Return the statistics of one data set, as `simulate` labels them; counts (trial, window, neuron)."""
    samples = counts.reshape(-1, counts.shape[-1]).astype(float)
    found = {
        "rate": (estimate_mean(counts.sum(1)), 1e3 / TRIAL, len(counts)),
        "count_variance": (estimate_variance(samples), 1.0, len(samples)),
    }
    if covariance:
        found["count_covariance"] = (estimate_covariance(samples), 1.0, len(samples))
    data = {}
    for name, (estimate, unit, number) in found.items():
        dims = ("neuron", "neuron_j") if name.endswith("covariance") else ("neuron",)
        for key, value in ((name, estimate.value), (f"{name}_se", estimate.se)):
            data[key] = array(key, dims, value * unit, n_samples=number)
    coords = neuron_coords({p.name: p.size for p in circuit.neurons}, second=covariance)
    attrs = {"dt": 1e-3 * DT, "window": 1e-3 * WINDOW, "duration": 1e-3 * TRIAL, "trials": len(counts)}
    return xr.Dataset(data, coords=coords, attrs=attrs)


def with_membrane(circuit: Circuit, factor: float) -> Circuit:
    """Return a circuit with other membrane time constants, which is no listed cause."""
    populations = []
    for p in circuit.populations:
        if isinstance(p, Population):
            own = {name: value for name, value in p.lif.items() if name != "tau_m"}
            p = Population(p.name, p.size, LIFParameters(tau_m=p.lif.tau_m * factor, **own))
        populations.append(p)
    return circuit.with_parts(populations=populations)


def with_pause(circuit: Circuit, more: float) -> Circuit:
    """Return a circuit with longer refractory periods."""
    populations = []
    for p in circuit.populations:
        if isinstance(p, Population):
            own = {name: value for name, value in p.lif.items() if name != "t_ref"}
            p = Population(p.name, p.size, LIFParameters(t_ref=p.lif.t_ref + more, **own))
        populations.append(p)
    return circuit.with_parts(populations=populations)


def wrong_predictions(circuit: Circuit) -> dict[str, tuple[str, xr.Dataset]]:
    """Return what is judged: the verdict that it should get, and the prediction, without what is shuffled."""
    right = predict(circuit, dt=DT, window=WINDOW)
    too_high = right.copy(deep=True)
    too_high["rate"] = too_high["rate"] * RATE
    return {
        "right": ("right", right),
        "rates 3 % too high": ("rates", too_high),
        "window of 200 ms": ("window", predict(circuit, dt=DT, window=2 * WINDOW)),
        f"step of {COARSE:g} ms": ("time step", predict(circuit, dt=COARSE, window=WINDOW)),
        "membrane 10 % slower": ("unexplained", predict(with_membrane(circuit, 1.1), dt=DT, window=WINDOW)),
        "refractory period + 1 ms": ("refractory period", predict(with_pause(circuit, 1.0), dt=DT, window=WINDOW)),
    }


def shuffled(right: xr.Dataset, rng: np.random.Generator) -> xr.Dataset:
    """Return a prediction whose covariances stand at other pairs."""
    found = right.copy(deep=True)
    matrix = found["count_covariance"].values
    one, other = np.triu_indices(len(matrix), 1)
    values = rng.permutation(matrix[one, other])
    matrix[one, other], matrix[other, one] = values, values
    return found


def said(found: xr.Dataset) -> str:
    """Return the verdict in a word, or the causes that were named."""
    if found.attrs["verdict"] != "explained":
        return str(found.attrs["verdict"])
    return " or ".join(sorted(str(c) for c in found["cause"].values[found["named"].values]))


def data_sets(circuit: Circuit, trials: int, cases: int, seed: int, at_once: int = 10):
    """Yield the counts of each data set, (trial, window, neuron)."""
    for first in range(0, cases, at_once):
        number = min(at_once, cases - first)
        result = simulate(
            circuit, TRIAL, trials * number, warmup=200.0, dt=DT, seed=seed * 1000 + first,
            record=Counts(bin=WINDOW), covariance=False,
        )  # fmt: skip
        table = result["counts/count"].transpose("trial", "time", "neuron").values
        yield from table.reshape(number, trials, *table.shape[1:])


def judge(name: str, cases: int, seed: int) -> dict[str, tuple[str, Counter[str]]]:
    """Return for every error the verdict that it should get, and how often each was given."""
    circuit = CIRCUITS[name](seed)
    judged = wrong_predictions(circuit)
    right = judged["right"][1]
    trials = max(
        trials_needed(right, name, seen, duration=TRIAL, of="neuron", power=0.99).trials for name, seen in SEEN.items()
    )
    known = sensitivities(circuit, dt=DT, window=WINDOW)
    rng = np.random.default_rng(seed)
    found: dict[str, tuple[str, Counter[str]]] = {key: (wanted, Counter()) for key, (wanted, _) in judged.items()}
    found["covariances shuffled"] = ("shuffled covariance", Counter())
    print(
        f"{name}: {circuit.n_neurons} neurons, {right['rate'].values.min():.0f} to {right['rate'].values.max():.0f} "
        f"Hz, {cases} data sets of {trials} trials of {TRIAL / 1e3:g} s",
        flush=True,
    )
    for counts in data_sets(circuit, trials, cases, seed):
        data = simulated(circuit, counts)
        for key, (_, prediction) in judged.items():
            found[key][1][said(explain(circuit, prediction, data, known=known, level=LEVEL))] += 1
        other = explain(circuit, shuffled(right, rng), data, known=known, level=LEVEL)
        found["covariances shuffled"][1][said(other)] += 1
    return found


def judge_alike(cases: int, seed: int) -> dict[str, tuple[str, Counter[str]]]:
    """Return the verdicts where rates alone, of neurons that are alike, are compared."""
    circuit = alike(seed)
    right = predict(circuit, dt=DT, window=WINDOW)
    plan = trials_needed(right, "rate", RATE - 1, duration=TRIAL, of="neuron", power=0.99)
    causes = ("rates", "refractory period")
    known = sensitivities(circuit, dt=DT, window=WINDOW, features=("rate",), causes=causes)
    wrong = predict(with_pause(circuit, 1.0), dt=DT, window=WINDOW)
    verdicts: Counter[str] = Counter()
    for counts in data_sets(circuit, plan.trials, cases, seed):
        data = simulated(circuit, counts, covariance=False)
        verdicts[said(explain(circuit, wrong, data, known=known, features=("rate",), causes=causes))] += 1
    return {"refractory period + 1 ms, rates alone": (" or ".join(sorted(causes)), verdicts)}


def main() -> None:
    parser = argparse.ArgumentParser(description="Judge predictions that were made wrong on purpose.")
    parser.add_argument("--circuit", choices=[*CIRCUITS, "alike"], help="one circuit only")
    parser.add_argument("--cases", type=int, default=50, help="of every error in each circuit")
    parser.add_argument("--seed", type=int, default=1, help="of circuits and data")
    options = parser.parse_args()
    warnings.simplefilter("ignore", UserWarning)
    total: dict[str, list[int]] = {}
    for name in [options.circuit] if options.circuit else [*CIRCUITS, "alike"]:
        began = time.monotonic()
        found = (
            judge_alike(options.cases, options.seed) if name == "alike" else judge(name, options.cases, options.seed)
        )
        for key, (wanted, verdicts) in found.items():
            hits = verdicts.pop(wanted, 0)
            rest = ", ".join(f"{word} {number}" for word, number in verdicts.most_common())
            print(f"  {key:40}{wanted:32}{hits:4} of {options.cases}{'; else ' + rest if rest else ''}")
            total.setdefault(key, [0, 0])
            total[key][0] += hits
            total[key][1] += options.cases
        print(f"  {time.monotonic() - began:.0f} s", flush=True)
    print("\nall circuits")
    for key, (hits, cases) in total.items():
        print(f"  {key:40}{hits:4} of {cases}, {hits / cases:.1%}")


if __name__ == "__main__":
    main()
