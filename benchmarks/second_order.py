"""Second-order statistics of recurrent circuits: self-consistent spectra, the closures of `predict`, and spikes.

    python benchmarks/second_order.py [--seconds 60] [--circuit "J=0.4, 31 Hz"] [--input trains]

For each circuit it prints the mean rate, the Fano factor of counts in 100 ms and the mean covariances of E-E, E-I and
I-I pairs in such windows (Hz) as simulated, with standard errors, and as predicted, with the time that it took.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from mnnbio import (
    Bernoulli,
    Circuit,
    Counts,
    FixedIndegree,
    GaussianDrive,
    LIFParameters,
    PoissonDrive,
    Population,
    Projection,
    predict,
    simulate,
)
from mnnbio.theory import Surrogates, predict_second_order

WINDOW, TRIAL = 100.0, 10.0  # ms, s
PAIRS = ((0, 0), (0, 1), (1, 1))


def sparse(
    weight: float, g: float, external: float, *, degrees=(100, 25), sizes=(1000, 250), tau_syn: float = 0.0
) -> Circuit:
    """Return neurons with fixed in-degrees and Poisson input of a mean in units of that which reaches threshold."""
    lif = LIFParameters(tau_m=20.0, v_th=20.0, v_reset=10.0, t_ref=2.0)
    return Circuit(
        [Population(name, size, lif) for name, size in zip("EI", sizes, strict=True)],
        [
            Projection(
                a, b, weight=weight if a == "E" else -g * weight, delay=1.5, tau_syn=tau_syn,
                connectivity=FixedIndegree(degrees["EI".index(a)]),
            )
            for a in "EI" for b in "EI"
        ],
        [PoissonDrive(name, rate=external / weight, weight=weight) for name in "EI"],
        seed=1,
    )  # fmt: skip


def noisy(weight: float, p: float, mean: float, *, sizes=(800, 200), g: float = 5.0, spread: float = 0.0) -> Circuit:
    """Return neurons connected at random, with Gaussian noise, whose thresholds may differ."""
    rng, rule = np.random.default_rng(1), Bernoulli(p)
    neurons = {}
    for name, size in zip("EI", sizes, strict=True):
        v_th = 20.0 if spread == 0 else rng.normal(20, spread, size)
        neurons[name] = LIFParameters(v_th=v_th, v_reset=0.0, t_ref=5.0)
    return Circuit(
        [Population(name, size, neurons[name]) for name, size in zip("EI", sizes, strict=True)],
        [_between(a, b, weight, g, rule) for a in "EI" for b in "EI"],
        [GaussianDrive(name, mean=mean, std=1.0) for name in "EI"],
        seed=3,
    )


def _between(a: str, b: str, weight: float, g: float, rule: Bernoulli) -> Projection:
    return Projection(a, b, weight=weight if a == "E" else -g * weight, connectivity=rule, delay=1.5)


CIRCUITS: dict[str, Callable[[], Circuit]] = {
    "J=0.1, 15 Hz": lambda: sparse(0.1, 6, 1.2, degrees=(400, 100), sizes=(2000, 500)),
    "J=0.4, 31 Hz": lambda: sparse(0.4, 6, 1.5),
    "J=0.4, 11 Hz": lambda: sparse(0.4, 6, 0.95),
    "thresholds": lambda: noisy(0.3, 0.1, 1.2, spread=1.5),
    "tau_syn=0.5": lambda: sparse(0.4, 6, 1.5, tau_syn=0.5),
    "tau_syn=2": lambda: sparse(0.4, 6, 1.5, tau_syn=2.0),
    "tau_syn=5": lambda: sparse(0.4, 6, 1.5, tau_syn=5.0),
    "middle": lambda: noisy(0.2, 0.4, 1.05, sizes=(320, 80)),
    "g=5": lambda: sparse(0.2, 5, 1.3),
    "Gaussian": lambda: noisy(0.2, 0.1, 1.1),
}


def realised(circuit: Circuit) -> Circuit:
    """Return a circuit with the very synapses that were drawn: means over populations differ by draws of them."""
    drawn = [replace(p, weight=None, connectivity=None, weights=circuit.matrix(p)) for p in circuit.projections]
    return circuit.with_parts(projections=drawn)


def simulated(circuit: Circuit, seconds: float) -> np.ndarray:
    """Return rate, Fano factor and covariances of each trial, (trial, 5)."""
    trials = max(2, round(seconds / TRIAL))
    result = simulate(
        circuit, TRIAL * 1e3, trials, 500.0, 0.1, seed=7, record=Counts(bin=WINDOW), covariance=False
    )  # fmt: skip
    counts = result["counts/count"].transpose("trial", "time", "neuron").values.astype(float)
    places, found = list(circuit.slices().values()), []
    for table in counts:
        variance = table.var(0, ddof=1)
        sums = np.cov([table[:, place].sum(1) for place in places])
        sizes = [place.stop - place.start for place in places]
        row = [table.mean() / WINDOW * 1e3, variance.mean() / table.mean()]
        for a, b in PAIRS:
            own = variance[places[a]].sum() if a == b else 0.0
            pairs = sizes[a] * (sizes[b] - (a == b))
            row.append((sums[a, b] - own) / pairs / WINDOW * 1e3)
        found.append(row)
    return np.array(found)


def self_consistent(circuit: Circuit, input: str | None) -> list[float]:
    """Return the same five numbers as predicted by self-consistent spectra."""
    options = Surrogates(input=input)
    found = predict_second_order(circuit, dt=0.1, window=WINDOW, surrogates=options, unconverged="report")
    weight = np.array([p.size for p in circuit.neurons])
    rate = (found.rate.values @ weight) / weight.sum()
    fano = (found.count_variance.values @ weight) / weight.sum() / (rate * WINDOW * 1e-3)
    covariance = found.count_covariance.values / WINDOW * 1e3
    return [rate, fano, *(covariance[pair] for pair in PAIRS)]


def present(circuit: Circuit) -> list[float]:
    """Return the same five numbers as predicted by the closure "poisson"; covariances are those of long windows."""
    found = predict(circuit, dt=0.1, window=WINDOW, resolution="population", closure="poisson")
    weight = np.array([p.size for p in circuit.neurons])
    rate = (found.rate.values @ weight) / weight.sum()
    fano = (found.count_variance.values @ weight) / weight.sum() / (rate * WINDOW * 1e-3)
    return [rate, fano, *(found.pair_covariance.values[pair] for pair in PAIRS)]


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare second-order statistics of recurrent circuits with spikes.")
    parser.add_argument("--seconds", type=float, default=60.0, help="simulated time, in trials of 10 s")
    parser.add_argument("--circuit", action="append", choices=CIRCUITS, help="these circuits only")
    parser.add_argument("--input", choices=("gaussian", "trains"), help="what the surrogates receive")
    options = parser.parse_args()
    print(f"{'circuit':14}{'':18}{'rate (Hz)':>16}{'Fano':>17}{'E-E (Hz)':>17}{'E-I':>17}{'I-I':>17}{'s':>7}")
    for name in options.circuit or CIRCUITS:
        circuit = CIRCUITS[name]()
        drawn, began = realised(circuit), time.perf_counter()
        trials = simulated(circuit, options.seconds)
        mean, error = trials.mean(0), trials.std(0, ddof=1) / len(trials) ** 0.5
        cells = "".join(f"{m:10.4f} ±{e:.4f}"[:17].rjust(17) for m, e in zip(mean, error, strict=True))
        print(f"{name:14}{'simulated':16}{cells}{time.perf_counter() - began:7.1f}", flush=True)
        for label, compute in (
            ("self-consistent", lambda c: self_consistent(c, options.input)),
            ("poisson", present),
        ):
            began = time.perf_counter()
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", UserWarning)  # their effect is what is measured
                    row = compute(drawn)
            except ValueError as error:
                print(f"{'':14}{label:16}{error}")
                continue
            cells = "".join(f"{value:17.4f}" for value in row)
            print(f"{'':14}{label:16}{cells}{time.perf_counter() - began:7.1f}", flush=True)


if __name__ == "__main__":
    main()
