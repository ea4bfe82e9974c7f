"""Calibration of `compare`: how often its intervals cover, its tests err and its verdicts are wrong.

Counts are drawn from the prediction itself, 1,000 times: Gaussian, correlated between neurons and in time, in many
trials, few, or one. Then z is Student's t, p uniform, intervals of 95 % cover in 95 %, and a test that an error is
below a margin errs in 5 % where the error is the margin. Each share is printed with its distance from what is promised,
in standard errors of the repetitions. Run as

    python benchmarks/calibration.py [repetitions] [case ...] [exact] [margin]

`circuit` draws from simulations of a small circuit: each of many seeds against the mean of all others. `exact` and
`margin` choose one part: exact predictions, and those whose errors are as large as their margins.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from scipy import stats

from mnnbio import simulate
from mnnbio.analyses import ComparisonWarning, compare
from mnnbio.circuits import brunel

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from drawn_counts import WINDOW, Law, law

SIZES = {"E": 40, "I": 10}
# Populations, law, trials, windows of a trial.
CASES: dict[str, tuple[Law, int, int]] = {
    "many trials": (law(SIZES), 50, 10),
    "four trials": (law(SIZES), 4, 50),
    "one trial": (law(SIZES), 1, 200),
    "independent": (law(SIZES, correlation=0.0), 20, 10),
    "strongly correlated": (law(SIZES, correlation=0.3), 20, 10),
    "memory": (law(SIZES, memory=0.3), 1, 400),
    "regular": (law(SIZES, fano=0.2, memory=-0.3), 4, 100),
    "large": (law({"E": 160, "I": 40}, correlation=0.02), 20, 10),
}
ASPECTS = ("rate", "count_variance", "summed_variance")


def main(repetitions: int, chosen: list[str]) -> None:
    """Print the calibration of every case."""
    parts = [part for part in ("exact", "margin") if part in chosen] or ["exact", "margin"]
    for name in [name for name in chosen if name not in parts] or [*CASES, "circuit"]:
        print(f"\n{name}: {repetitions} repetitions")
        if name == "circuit":
            show(circuit_comparisons(repetitions))
            continue
        own, trials, windows = CASES[name]
        if "exact" in parts:
            show(comparisons(own, trials, windows, repetitions))
        if "margin" in parts:
            level(own, trials, windows, repetitions)


def comparisons(own: Law, trials: int, windows: int, repetitions: int, **options: Any) -> Iterator[xr.Dataset]:
    """Yield comparisons of an exact prediction with what it drew."""
    prediction = own.prediction()
    for k in range(repetitions):
        simulation = own.simulation(np.random.default_rng([k, 1]), trials, windows)
        yield compared(prediction, simulation, **options)


def compared(prediction: xr.Dataset, simulation: xr.DataTree, **options: Any) -> xr.Dataset:
    """Return a comparison without its warnings of few samples."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ComparisonWarning)
        return compare(prediction, simulation, permutations=1, **options)


def show(found: Iterator[xr.Dataset]) -> None:
    """Print what must be uniform, and what must cover, of comparisons of an exact prediction."""
    uniform: dict[str, list[float]] = {}
    shares: dict[str, list[bool]] = {}
    for c in found:
        uniform.setdefault("p of the rate of neuron 0", []).append(float(c["rate_p_value"][0]))
        uniform.setdefault("joint p of the rates", []).append(float(c["rate_p"]))
        uniform.setdefault("p of the variance of neuron 0", []).append(float(c["count_variance_p_value"][0]))
        uniform.setdefault("joint p of the variances", []).append(float(c["count_variance_p"]))
        uniform.setdefault("joint p of the covariances", []).append(float(c["count_covariance_p"]))
        low, z, high = (float(c[f"rate_z_rms{end}"]) for end in ("_low", "", "_high"))
        shares.setdefault("rms z of rates within its range|0.95", []).append(low < z < high)
        for aspect in ASPECTS:
            if f"{aspect}_bias" not in c:
                continue
            uniform.setdefault(f"p of the bias of {aspect}", []).append(float(c[f"{aspect}_bias_p"]))
            covers = float(c[f"{aspect}_bias_low"]) < 0 < float(c[f"{aspect}_bias_high"])
            shares.setdefault(f"interval of the bias of {aspect} covers 0|0.95", []).append(covers)
            first = c.isel(layer=0)
            covers = float(first[f"layer_{aspect}_bias_low"]) < 0 < float(first[f"layer_{aspect}_bias_high"])
            shares.setdefault("... of the first population|0.95", []).append(covers)
        high = float(c["rate_deviation_bias_low"])
        shares.setdefault("single rates seem to deviate (one-sided interval)|0.025", []).append(high > 0)
        shares.setdefault("verdict says that an exact prediction differs|≤ 0.05", []).append(
            c.attrs["verdict_status"] == "differs"
        )
        shares.setdefault("Holm finds a neuron's rate different|≤ 0.05", []).append(
            bool((c["rate_p_holm"] < 0.05).any())
        )
        shares.setdefault("Holm finds a pair's covariance different|≤ 0.05", []).append(
            bool((c["count_covariance_p_holm"] < 0.05).any())
        )
    for name, p in uniform.items():
        known = np.array(p)[np.isfinite(p)]
        if len(known):
            test = stats.kstest(known, "uniform")
            below = (known < 0.05).mean()
            print(f"  {name:<58} KS p = {test.pvalue:.3f}, below 0.05: {below:.3f} {distance(below, 0.05, len(known))}")
    for name, hits in shares.items():
        text, promised = name.split("|")
        print_share(text, hits, promised)


def level(own: Law, trials: int, windows: int, repetitions: int) -> None:
    """Print how often errors as large as their margin are taken for smaller ones."""
    margins = {"rate": 0.05, "count_variance": 0.1, "summed_variance": 0.2, "rate_deviation": 0.05}
    shifted = own.prediction(margins["rate"])
    for name, factor in (("count_variance", "count_variance"), ("count_covariance", "summed_variance")):
        shifted[name] = shifted[name] / (1 + margins[factor])
    # Rates of single neurons that are wrong by as much up and down.
    true, n = own.mean / WINDOW, len(own.mean)
    signs = np.random.default_rng(9).permutation(np.resize([1.0, -1.0], n))
    wrong = own.prediction()
    wrong["rate"] = wrong["rate"] + signs * margins["rate_deviation"] * true.mean()
    size = margins["rate_deviation"] * true.mean() / float(wrong["rate"].mean())
    hits: dict[str, list[bool]] = {}
    for k in range(repetitions):
        simulation = own.simulation(np.random.default_rng([k, 2]), trials, windows)
        c = compared(shifted, simulation, margin=margins)
        for aspect in ("rate", "count_variance", "summed_variance"):
            hits.setdefault(aspect, []).append(float(c[f"{aspect}_equivalence_p"]) < 0.05)
        c = compared(wrong, simulation, margin={"rate_deviation": size})
        hits.setdefault("rate_deviation", []).append(float(c["rate_deviation_equivalence_p"]) < 0.05)
    for aspect, found in hits.items():
        promised = "≤ 0.05" if aspect == "rate_deviation" else "0.05"
        print_share(f"error of {aspect} as large as its margin is taken for smaller", found, promised)


def circuit_comparisons(repetitions: int) -> Iterator[xr.Dataset]:
    """Yield comparisons of simulations of a recurrent circuit with the mean of all others."""
    circuit = brunel(g=5, nu_ext_ratio=2, scale=0.008)
    made = [
        simulate(circuit, duration=1000, trials=20, warmup=200, dt=0.1, window=100, seed=seed)
        for seed in range(repetitions)
    ]
    names = ("rate", "count_variance", "count_covariance", "variance", "covariance")
    total = {name: sum(tree["simulation"][name] for tree in made) for name in names}
    for tree in made:
        others = {name: (total[name] - tree["simulation"][name]) / (repetitions - 1) for name in names}
        prediction = xr.Dataset(others).assign_attrs(window=0.1, dt=1e-4)
        yield compared(prediction, tree)


def print_share(name: str, hits: list[bool], promised: str) -> None:
    """Print how often something happened, and how far that is from what is promised."""
    share = float(np.mean(hits))
    number = float(promised.removeprefix("≤ "))
    print(f"  {name:<66} {share:.3f} (promised {promised}) {distance(share, number, len(hits))}")


def distance(share: float, promised: float, number: int) -> str:
    """Return a difference of shares in standard errors."""
    return f"[{(share - promised) / np.sqrt(promised * (1 - promised) / number):+.1f} s.e.]"


if __name__ == "__main__":
    repeats = [int(argument) for argument in sys.argv[1:] if argument.isdigit()]
    main(repeats[0] if repeats else 1000, [argument for argument in sys.argv[1:] if not argument.isdigit()])
