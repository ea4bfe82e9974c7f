"""Closures of the theory over many circuits, against spikes: rates, Fano factors, covariances, band power and cost.

    python benchmarks/closure_table.py [--circuit NAME] [--seconds 60] [--closure self_consistent] [--json FILE]

Errors in percent: of the mean rate; of the Fano factor of counts in 100 ms; of mean covariances of pairs in such
windows (within the first population, between it and the second, within the second), of the modulus of the first; of the
power of the first population in 2-20, 20-60 and 60-150 Hz. Simulated values stand above with standard errors, and
predicted ones are of the synapses that were drawn. The closures "moments" and "poisson" know covariances of long
windows, which stand for those of the window.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import xarray as xr
from recurrent_covariances import STATES
from recurrent_covariances import circuit as small
from second_order import CIRCUITS, noisy, realised

from mnnbio import (
    Bernoulli,
    Circuit,
    FixedIndegree,
    GaussianDrive,
    LIFParameters,
    NotConverged,
    PoissonDrive,
    PoissonSource,
    Population,
    Projection,
    predict,
    predict_spectra,
    simulate,
)
from mnnbio.analyses import population_rates, population_spectra
from mnnbio.circuits import balanced, brunel, inhibition_stabilised
from mnnbio.theory import predict_second_order
from mnnbio.values import LogNormal

WINDOW, TRIAL, DT = 100.0, 10.0, 0.1  # ms, s, ms
BANDS = ((2, 20), (20, 60), (60, 150))  # Hz
CLOSURES = ("moments", "poisson", "renewal", "self_consistent")
NAMES = ("rate", "Fano", "cov 1-1", "cov 1-2", "cov 2-2", "2-20", "20-60", "60-150")
LARGEST_RENEWAL = 1500  # neurons up to which the closure "renewal" is run


def uncoupled(tau_syn: float) -> Circuit:
    """Return neurons that receive Poisson trains through slow synapses alone."""
    lif = LIFParameters(v_th=20.0, v_reset=10.0, t_ref=2.0)
    return Circuit(
        [Population("A", 400, lif)],
        [],
        [
            PoissonDrive("A", rate=6.0 if tau_syn < 20 else 8.0, weight=0.8, tau_syn=tau_syn),
            PoissonDrive("A", rate=4.7 if tau_syn < 20 else 6.8, weight=-0.8, tau_syn=tau_syn),
        ],
    )


def clusters(count: int = 10) -> Circuit:
    """Return a circuit whose excitatory neurons form clusters, each a population."""
    lif, size = LIFParameters(v_th=20.0, v_reset=10.0, t_ref=2.0), 1000 // count
    names = [f"E{k}" for k in range(count)]
    return Circuit(
        [*(Population(name, size, lif) for name in names), Population("I", 250, lif)],
        [
            *(
                Projection(a, b, weight=0.4, delay=1.5, connectivity=FixedIndegree(19 if a == b else 9))
                for a in names for b in names
            ),
            *(Projection(a, "I", weight=0.4, delay=1.5, connectivity=FixedIndegree(10)) for a in names),
            *(Projection("I", b, weight=-2.4, delay=1.5, connectivity=FixedIndegree(25)) for b in [*names, "I"]),
        ],
        [PoissonDrive(name, rate=3.75, weight=0.4) for name in [*names, "I"]],
        seed=1,
    )  # fmt: skip


def layers(count: int = 3) -> Circuit:
    """Return layers of neurons that feed each other, behind Poisson trains."""
    lif = LIFParameters(v_th=20.0, v_reset=10.0, t_ref=2.0)
    names = [f"L{k}" for k in range(1, count + 1)]
    projections = [Projection("input", "L1", weight=0.2, connectivity=FixedIndegree(300), delay=1.0)]
    for before, after in pairwise(names):
        projections.append(Projection(before, after, weight=0.35, connectivity=FixedIndegree(100), delay=1.0))
    drives = [GaussianDrive("L1", mean=-0.1, std=0.8), *(GaussianDrive(n, mean=0.3, std=0.8) for n in names[1:])]
    return Circuit(
        [PoissonSource("input", 3000, rates=0.015), *(Population(n, 500, lif) for n in names)],
        projections,
        drives,
        seed=2,
    )


def unequal() -> Circuit:
    """Return a circuit with lognormal weights and time constants that differ."""
    tau = np.random.default_rng(5).uniform(12, 30, 500)
    neurons = {"E": slice(0, 400), "I": slice(400, 500)}
    return Circuit(
        [
            Population(n, p.stop - p.start, LIFParameters(tau_m=tau[p], v_reset=0.0, t_ref=5.0))
            for n, p in neurons.items()
        ],
        [
            Projection(
                a, b, weight=LogNormal(0.4, 0.4) if a == "E" else -2.0, connectivity=Bernoulli(0.1), delay=1.5
            )
            for a in "EI" for b in "EI"
        ],
        [GaussianDrive(n, mean=1.0, std=1.2) for n in "EI"],
        seed=3,
    )  # fmt: skip


TABLE: dict[str, Callable[[], Circuit]] = {
    **CIRCUITS,
    "ten clusters": clusters,
    "uncoupled, 10 ms": lambda: uncoupled(10.0),
    "uncoupled, 50 ms": lambda: uncoupled(50.0),
    "high": lambda: small(*STATES["high"]),
    "highest": lambda: small(*STATES["highest"]),
    "sparse 2000": lambda: noisy(0.2, 0.1, 1.1, sizes=(1600, 400)),
    "low": lambda: small(*STATES["low"]),
    "Brunel C": lambda: brunel(g=5, nu_ext_ratio=2, scale=0.1),
    "Brunel B": lambda: brunel(g=6, nu_ext_ratio=4, scale=0.2),
    "balanced": lambda: balanced(scale=0.25, indegree=100),
    "stabilised": lambda: inhibition_stabilised(stimulus=[0.0], scale=0.2).select(0),
    "layers": layers,
    "unequal": unequal,
}


def compared(circuit: Circuit) -> list[str]:
    """Return the two populations whose covariances are compared, of layers the last ones."""
    names = [p.name for p in circuit.neurons]
    if not circuit.is_recurrent:
        return names[-2:]
    return names if len(names) < 3 else [names[0], names[-1]]


def simulated(circuit: Circuit, seconds: float) -> np.ndarray:
    """Return the compared numbers of each trial, (trial, 8)."""
    found, names = [], compared(circuit)
    for trial in range(max(3, round(seconds / TRIAL))):
        result = simulate(circuit, TRIAL * 1e3, 1, 500.0, DT, seed=100 + trial, covariance=False)
        table = window_counts(result, circuit)
        own = np.concatenate([table[:, circuit.slices()[n]] for n in names], axis=1)
        row = [own.mean() / WINDOW * 1e3, own.var(0, ddof=1).mean() / own.mean()]
        for a, b in ((0, 0), (0, 1), (1, 1)):
            if b >= len(names):
                row.append(np.nan)
                continue
            row.append(pair_covariance(table, *(circuit.slices()[names[k]] for k in (a, b))))
        found.append([*row, *band_power(result, names[0], BANDS)])
    return np.array(found)


def window_counts(result: xr.DataTree, circuit: Circuit) -> np.ndarray:
    """Return the counts of a trial in windows, (window, neuron)."""
    times, rows = result["spikes/spike_time"].values, result["spikes/row_size"].values.ravel()
    owner, kept, windows = np.repeat(np.arange(circuit.n_neurons), rows), times >= 0, round(TRIAL * 1e3 / WINDOW)
    place = np.minimum((times[kept] / WINDOW * 1e3 + 1e-9).astype(int), windows - 1)
    table = np.zeros((windows, circuit.n_neurons))
    np.add.at(table, (place, owner[kept]), 1)
    return table


def pair_covariance(table: np.ndarray, first: slice, second: slice) -> float:
    """Return the mean covariance of counts of different neurons of two populations per time, Hz."""
    summed, same = np.cov(table[:, first].sum(1), table[:, second].sum(1)), first == second
    sizes = first.stop - first.start, second.stop - second.start
    covariance = summed[0, 0] - table[:, first].var(0, ddof=1).sum() if same else summed[0, 1]
    return float(covariance / (sizes[0] * (sizes[1] - same)) / WINDOW * 1e3)


def band_power(result: xr.DataTree, name: str, bands: Sequence[tuple[int, int]]) -> list[float]:
    """Return the mean power of a population's activity in bands, Hz."""
    spectra = population_spectra(population_rates(result, bin=1), segment=500)
    f = spectra.frequency.values
    # Counts in bins of 1 ms weigh the power with sinc².
    power = spectra.power.sel(population=name).values / np.sinc(f * 1e-3) ** 2
    return [float(power[(f >= low) & (f < high)].mean()) for low, high in bands]


def predicted(circuit: Circuit, closure: str) -> list[float]:
    """Return the compared numbers as a closure predicts them."""
    names, sizes = compared(circuit), {p.name: p.size for p in circuit.neurons}
    weight = np.array([sizes[n] for n in names]) / sum(sizes[n] for n in names)
    f = np.arange(1, 160, 1.0) * 1e-3
    if closure == "renewal":
        small_enough = circuit.n_neurons <= LARGEST_RENEWAL
        found = predict(circuit, dt=DT, window=WINDOW, closure=closure, covariance=small_enough)
        place = {n: circuit.slices()[n] for n in names}
        rate = np.array([found.rate.values[place[n]].mean() for n in names])
        variance = np.array([found.count_variance.values[place[n]].mean() for n in names])
        pairs = [np.nan] * 3
        if small_enough:
            pairs = [_block(found.covariance.values, place, names, pair) for pair in ((0, 0), (0, 1), (1, 1))]
        bands = [np.nan] * len(BANDS)
    else:
        if closure == "self_consistent":
            found = predict_second_order(circuit, dt=DT, window=WINDOW)  # both at once
            known = found.power.sel(population=names[0])
            power = np.interp(f * 1e3, known.frequency.values, known.values)
        else:
            found = predict(circuit, dt=DT, window=WINDOW, closure=closure, resolution="population")
            spectra = predict_spectra(circuit, f, dt=DT, closure=closure, unstable="report")
            power = spectra.power.sel(population=names[0]).values
        found = found.sel(population=names, population_j=names)
        rate, variance = found.rate.values, found.count_variance.values
        matrix = found.count_covariance / WINDOW * 1e3 if "count_covariance" in found else found.pair_covariance
        pairs = [float(matrix.values[a, b]) if b < len(names) else np.nan for a, b in ((0, 0), (0, 1), (1, 1))]
        bands = [power[(f >= low * 1e-3) & (f < high * 1e-3)].mean() for low, high in BANDS]
    mean = float(rate @ weight)
    return [mean, float(variance @ weight) / (mean * WINDOW * 1e-3), *pairs, *bands]


def _block(matrix: np.ndarray, place: dict[str, slice], names: list[str], pair: tuple[int, int]) -> float:
    if max(pair) >= len(names):
        return np.nan
    block = matrix[place[names[pair[0]]], place[names[pair[1]]]]
    same = np.trace(block) if pair[0] == pair[1] else 0.0
    return float((block.sum() - same) / (block.size - len(block) * (pair[0] == pair[1])))


def errors(values: list[float], mean: np.ndarray) -> list[float]:
    """Return errors in percent; those of covariances of the modulus of the first."""
    scale = np.abs(mean).copy()
    scale[2:5] = abs(mean[2])
    return list((np.array(values) - mean) / scale * 100)


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare closures of the theory with spikes over many circuits.")
    parser.add_argument("--seconds", type=float, default=60.0, help="simulated time, in trials of 10 s")
    parser.add_argument("--circuit", action="append", choices=TABLE, help="these circuits only")
    parser.add_argument("--closure", action="append", choices=CLOSURES, help="these closures only")
    parser.add_argument("--json", type=Path, help="append a line for each circuit to this file")
    options = parser.parse_args()
    print(f"{'circuit':18}{'':18}" + "".join(name.rjust(12) for name in NAMES) + "s".rjust(8))
    for name in options.circuit or TABLE:
        circuit = TABLE[name]()
        began = time.perf_counter()
        trials = simulated(circuit, options.seconds)
        mean, error = trials.mean(0), trials.std(0, ddof=1) / len(trials) ** 0.5
        spent = time.perf_counter() - began
        print(f"{name:18}{'simulated':18}" + "".join(f"{m:12.4g}" for m in mean) + f"{spent:8.1f}", flush=True)
        print(f"{'':18}{'standard error':18}" + "".join(f"{e:12.2g}" for e in error), flush=True)
        kept: dict[str, object] = {"circuit": name, "mean": list(mean), "error": list(error), "seconds": spent}
        drawn = realised(circuit)
        for closure in options.closure or CLOSURES:
            began = time.perf_counter()
            try:
                with warnings.catch_warnings(record=True) as caught:
                    warnings.simplefilter("always")
                    values = predicted(drawn, closure)
            except (ValueError, NotConverged) as refused:
                print(f"{'':18}{closure:18}{str(refused)[:110]}", flush=True)
                kept[closure] = str(refused)
                continue
            spent = time.perf_counter() - began
            said = sorted({w.category.__name__ for w in caught if issubclass(w.category, UserWarning)})
            row = "".join(f"{e:+12.1f}" for e in errors(values, mean))
            print(f"{'':18}{closure:18}{row}{spent:8.1f}  {' '.join(said)}", flush=True)
            kept[closure] = {"values": values, "seconds": spent, "warnings": said}
        if options.json:
            with options.json.open("a") as file:
                file.write(json.dumps(kept) + "\n")


if __name__ == "__main__":
    main()
