"""Weight, balance and drive of circuits from rates, Fano factors and covariances of their spikes.

Circuits of 800 excitatory and 200 inhibitory neurons with 100 synapses each are simulated, with connectivity of another
seed than that of the fits. `fit_circuit` looks for J, g and the rate of the drive, from the middle of wide bounds, and
`corrected` takes out the error of the theory. Printed are the relative errors of the parameters, and seconds::

    python benchmarks/fits_to_spikes.py [--closure poisson] [--data 200] [--seconds 10]
"""

from __future__ import annotations

import argparse
import os
import time
import warnings
from dataclasses import replace
from typing import NamedTuple

import xarray as xr

from mnnbio import Circuit, Counts, FixedIndegree, LIFParameters, PoissonDrive, Population, Projection, simulate
from mnnbio.validation import CircuitFit, fit_circuit, spike_targets

LIF = LIFParameters(tau_m=20, v_th=20, v_reset=10, t_ref=2)
TRUTHS = {  # weight (mV), ratio, rate of the drive (1/ms)
    "mean-driven": {"J": 0.2, "g": 6.0, "rate": 9.0},
    "balanced": {"J": 0.4, "g": 5.0, "rate": 3.0},
    "strong inhibition": {"J": 0.3, "g": 8.0, "rate": 5.0},
}
BOUNDS = {"J": (0.05, 1.0), "g": (4.2, 12.0), "rate": (1.0, 20.0)}
DT, WINDOW = 0.1, 100.0


def network(J: float, g: float, rate: float) -> Circuit:
    """Return a circuit of two populations that are alike."""
    rules = {"E": FixedIndegree(80), "I": FixedIndegree(20)}
    weights = {"E": J, "I": -g * J}
    return Circuit(
        [Population("E", 800, LIF), Population("I", 200, LIF)],
        [Projection(a, b, weight=weights[a], connectivity=rules[a], delay=1.5) for a in "EI" for b in "EI"],
        [PoissonDrive(target, rate=rate, weight=J) for target in "EI"],
    )


def measured(truth: dict[str, float], seed: int, covariance: str, seconds: float) -> xr.Dataset:
    """Return targets with standard errors from the spikes of a circuit: of E, and of three kinds of pairs."""
    circuit = replace(network(**truth), seed=seed)
    result = simulate(circuit, 250 * seconds, trials=4, warmup=500, dt=DT, seed=seed, record=Counts(bin=WINDOW))
    found = spike_targets(result, WINDOW)
    names = ["rate", "count_fano", covariance]
    found = found[[f"{name}{end}" for name in names for end in ("", "_se", "_blocks")]].load()
    for name in names[:2]:
        found[name] = found[name].where(found["population"] == "E")
    once = (found["population"] == "E") | (found["population_j"] == "I")
    found[covariance] = found[covariance].where(once)
    return found


class Spent(NamedTuple):
    """Seconds on the clock, and of processors, those of simulations included."""

    clock: float
    processors: float

    def __sub__(self, other: Spent) -> str:  # type: ignore[override]
        return f"{self.clock - other.clock:.0f} s ({self.processors - other.processors:.0f} s of processors)"


def spent() -> Spent:
    """Return the seconds that have been spent."""
    return Spent(time.time(), sum(os.times()[:4]))


def shown(found: CircuitFit, truth: dict[str, float]) -> str:
    """Return the relative errors of parameters, and standard errors, in percent."""
    return ", ".join(
        f"{name} {100 * (found.values[name] / value - 1):+.1f} ± {100 * found.errors[name] / value:.1f}"
        for name, value in truth.items()
    )


def main() -> None:
    """Simulate, fit, correct, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--closure", default="poisson")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each of four trials of a round")
    parser.add_argument("--data", type=float, default=200.0, help="s, of the spikes that are fitted")
    parser.add_argument("--starts", type=int, default=2)
    parser.add_argument("--seed", type=int, default=7, help="of the data")
    parser.add_argument("--only", choices=list(TRUTHS))
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    accurate = options.closure == "self_consistent"
    for name, truth in TRUTHS.items():
        if options.only not in (None, name):
            continue
        targets = measured(truth, options.seed, "count_covariance" if accurate else "pair_covariance", options.data)
        known = [f"{key} {float(targets[key].sel(population='E')):.4g}" for key in ("rate", "count_fano")]
        print(f"{name}: {', '.join(known)}")
        begun = spent()
        found = fit_circuit(
            network, targets, BOUNDS, starts=options.starts, dt=DT, window=WINDOW, closure=options.closure
        )
        print(f"  by theory: {shown(found, truth)} %; {spent() - begun}", flush=True)
        if accurate:
            continue
        found = found.corrected(1e3 * options.seconds)
        rounds = found.rounds.sizes["round"] - 1
        print(f"  corrected in {rounds} rounds: {shown(found, truth)} %; {spent() - begun} in all")
        way = "; ".join(" ".join(f"{value:.4g}" for value in row) for row in found.rounds["value"].values)
        print(f"    on the way: {way}", flush=True)


if __name__ == "__main__":
    main()
