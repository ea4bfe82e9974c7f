"""The closure "self_consistent" for neurons and synapses of other kinds than leaky ones with currents, against spikes.

    python benchmarks/other_neurons.py [--circuit NAME] [--seconds 60] [--json FILE]

Rates and Fano factors of counts in 100 ms of both populations, mean covariances of pairs in such windows (Hz), and the
power of the first population in 2-20 and 20-60 Hz (Hz): simulated, their standard errors, predicted, standard errors of
the prediction, and errors in percent (of covariances, of the modulus of the first). All circuits have in-degrees of
about 100 and 25.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from closure_table import DT, TRIAL, WINDOW, band_power, pair_covariance, window_counts

from mnnbio import (
    Bernoulli,
    Circuit,
    FixedIndegree,
    GaussianDrive,
    PoissonDrive,
    Population,
    Projection,
    simulate,
)
from mnnbio.circuit import Drive
from mnnbio.neurons import EIF, QIF, AdEx, ConductanceLIF, Izhikevich, NeuronModel
from mnnbio.synapses import NMDA, Alpha, Conductance
from mnnbio.theory import predict_second_order

BANDS = ((2, 20), (20, 60))  # Hz
NAMES = ("rate E", "rate I", "Fano E", "Fano I", "cov E-E", "cov E-I", "cov I-I", "2-20", "20-60")
INDEGREES = {"E": 100, "I": 25}
EXCITE, INHIBIT = Conductance(5.0, reversal=0.0, name="e"), Conductance(10.0, reversal=-80.0, name="i")


def circuit(
    neurons: dict[str, NeuronModel],
    synapses: dict[str, dict[str, Any]],
    drive: Callable[[str], Drive],
    *,
    sizes: tuple[int, int] = (800, 200),
    drawn: bool = False,
    seed: int,
) -> Circuit:
    """Return an E/I circuit; in-degrees are fixed, or `drawn` for each neuron."""
    size = dict(zip("EI", sizes, strict=True))
    rule = {name: Bernoulli(n / size[name]) if drawn else FixedIndegree(n) for name, n in INDEGREES.items()}
    return Circuit(
        [Population(name, size[name], neurons[name]) for name in "EI"],
        [Projection(a, b, connectivity=rule[a], delay=1.5, **synapses[a]) for a in "EI" for b in "EI"],
        [drive(name) for name in "EI"],
        seed=seed,
    )


def adex(scale: int = 1) -> Circuit:
    """Return adaptive neurons with currents of 5 and 8 ms."""
    return circuit(
        {"E": AdEx(), "I": AdEx(a=0.0, b=0.0)},
        {"E": {"weight": 0.8, "tau_syn": 5.0}, "I": {"weight": -4.0, "tau_syn": 8.0}},
        lambda name: PoissonDrive(name, rate=5.0, weight=0.6, tau_syn=5.0),
        sizes=(800 * scale, 200 * scale),
        seed=11,
    )


def coba(excitation: float = 0.5, inhibition: float = 5.0, rate: float = 2.0, drive: float = 0.6) -> Circuit:
    """Return leaky neurons with conductances, all in nS, like those of Vogels & Abbott (2005)."""
    return circuit(
        {name: ConductanceLIF() for name in "EI"},
        {"E": {"weight": excitation, "synapse": EXCITE}, "I": {"weight": inhibition, "synapse": INHIBIT}},
        lambda name: PoissonDrive(name, rate=rate, weight=drive, synapse=EXCITE),
        sizes=(1600, 400),
        seed=12,
    )


def nmda() -> Circuit:
    """Return the same with slow NMDA receptors between the neurons."""
    return circuit(
        {name: ConductanceLIF() for name in "EI"},
        {"E": {"weight": 0.05, "synapse": NMDA(name="n")}, "I": {"weight": 3.0, "synapse": INHIBIT}},
        lambda name: PoissonDrive(name, rate=2.0, weight=0.8, synapse=EXCITE),
        seed=4,
    )


def noisy(neuron: NeuronModel, synapses: dict[str, dict[str, Any]], mean: float, std: float, **options: Any) -> Circuit:
    """Return neurons in white noise."""
    drives = lambda name: GaussianDrive(name, mean=mean, std=std)  # noqa: E731
    return circuit(dict.fromkeys("EI", neuron), synapses, drives, seed=4, **options)


TABLE: dict[str, Callable[[], Circuit]] = {
    "AdEx": adex,
    "COBA": coba,
    "AdEx, 8000": lambda: adex(8),
    "COBA, strong": lambda: coba(1.0, 10.0, 1.5, 1.5),
    "NMDA": nmda,
    "EIF, drawn": lambda: noisy(
        EIF(), {"E": {"weight": 0.3, "tau_syn": 3.0}, "I": {"weight": -1.8, "tau_syn": 6.0}}, 0.7, 1.0, drawn=True
    ),
    "QIF, alpha": lambda: noisy(
        QIF(), {"E": {"weight": 0.3, "synapse": Alpha(2.0)}, "I": {"weight": -1.5, "synapse": Alpha(3.0)}}, 0.6, 1.0
    ),
    "Izhikevich": lambda: noisy(Izhikevich(), {"E": {"weight": 0.3}, "I": {"weight": -1.5}}, 4.0, 3.0),
}


def simulated(circuit: Circuit, seconds: float) -> np.ndarray:
    """Return the compared numbers of each trial, (trial, 9)."""
    found, places = [], circuit.slices()
    for trial in range(max(3, round(seconds / TRIAL))):
        result = simulate(circuit, TRIAL * 1e3, 1, 500.0, DT, seed=100 + trial, covariance=False)
        table = window_counts(result, circuit)
        mean, variance = table.mean(0), table.var(0, ddof=1)
        row = [mean[places[name]].mean() / WINDOW * 1e3 for name in "EI"]
        row += [variance[places[name]].mean() / mean[places[name]].mean() for name in "EI"]
        row += [pair_covariance(table, places[a], places[b]) for a, b in ("EE", "EI", "II")]
        found.append([*row, *band_power(result, "E", BANDS)])
    return np.array(found)


def predicted(circuit: Circuit) -> tuple[np.ndarray, np.ndarray]:
    """Return the compared numbers as they are predicted, and their standard errors; none for power."""
    found = predict_second_order(circuit, dt=DT, window=WINDOW)
    f = np.arange(1, 160, 1.0)
    power = np.interp(f, found.frequency.values, found.power.sel(population="E").values)
    bands = [power[(f >= low) & (f < high)].mean() for low, high in BANDS]
    upper = np.triu_indices(2)

    def row(end: str) -> list[float]:
        pairs = found[f"count_covariance{end}"].values[upper] / WINDOW * 1e3
        return [*found[f"rate{end}"].values, *found[f"count_fano{end}"].values, *pairs]

    return np.array([*row(""), *bands]), np.array([*row("_se"), *[np.nan] * len(BANDS)])


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare predictions for neurons of several kinds with spikes.")
    parser.add_argument("--seconds", type=float, default=60.0, help="simulated time, in trials of 10 s")
    parser.add_argument("--circuit", action="append", choices=TABLE, help="these circuits only")
    parser.add_argument("--json", type=Path, help="append a line for each circuit to this file")
    options = parser.parse_args()
    print(f"{'circuit':14}{'':12}" + "".join(name.rjust(10) for name in NAMES) + "s".rjust(8))
    for name in options.circuit or TABLE:
        one = TABLE[name]()
        began = time.perf_counter()
        trials = simulated(one, options.seconds)
        mean, error = trials.mean(0), trials.std(0, ddof=1) / len(trials) ** 0.5
        spent = time.perf_counter() - began
        began = time.perf_counter()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            values, uncertain = predicted(one)
        took = time.perf_counter() - began
        scale = np.abs(mean)
        scale[4:7] = abs(mean[4])
        said = sorted({w.category.__name__ for w in caught if w.category.__module__.startswith("mnnbio")})
        rows = {
            "spikes": mean,
            "± spikes": error,
            "predicted": values,
            "± predicted": uncertain,
            "%": (values - mean) / scale * 100,
        }
        for label, row in rows.items():
            form = "{:+10.1f}" if label == "%" else "{:10.4g}" if "±" not in label else "{:10.2g}"
            seconds = {"spikes": f"{spent:8.1f}", "predicted": f"{took:8.1f}  {' '.join(said)}"}.get(label, "")
            head = name if label == "spikes" else ""
            print(f"{head:14}{label:12}" + "".join(form.format(v) for v in row) + seconds, flush=True)
        if options.json:
            kept = {label.strip(): list(row) for label, row in rows.items()} | {"circuit": name, "seconds": took}
            with options.json.open("a") as file:
                file.write(json.dumps(kept | {"warnings": said}) + "\n")


if __name__ == "__main__":
    main()
