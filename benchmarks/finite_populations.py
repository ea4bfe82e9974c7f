"""Finite populations in time against spikes: rates, covariances of summed activity, its asymmetry, band power and cost.

    python benchmarks/finite_populations.py [--state middle] [--seconds 60]

For the circuits of `recurrent_covariances.py` it prints, simulated and by `predict_time_course(fluctuations=…)`, mean
rates, covariances of the populations' mean activity in windows of 100 ms (E–E, E–I, I–I, Hz), the skewness of
excitatory activity in 5 ms, and its power in 2-20, 20-60 and 60-150 Hz, with standard errors over trials of 10 s. Then
the seconds that a second takes, and those of the same circuit with a hundred times as many neurons.
"""

from __future__ import annotations

import argparse
import time
import warnings
from dataclasses import replace

import numpy as np
from recurrent_covariances import SIZES, STATES, circuit

from mnnbio import Circuit, FixedIndegree, predict_time_course, simulate
from mnnbio.analyses import population_rates

TRIAL, BIN, WINDOW, VOLLEY, SEGMENT, DT = 10_000, 1, 100, 5, 500, 0.1  # ms
BANDS = ((2, 20), (20, 60), (60, 150))  # Hz
NAMES = ("rate E", "rate I", "cov E-E", "cov E-I", "cov I-I", "skewness", "2-20", "20-60", "60-150")


def statistics(rates: np.ndarray) -> list[float]:
    """Return the compared numbers of mean rates in bins of 1 ms, (time, population), Hz."""
    windows = rates.reshape(-1, WINDOW, 2).mean(1)
    covariance = np.cov(windows.T) * WINDOW * 1e-3
    volleys = rates[:, 0].reshape(-1, VOLLEY).mean(1)
    deviation = volleys - volleys.mean()
    skewness = (deviation**3).mean() / deviation.std() ** 3
    segments = rates[:, 0].reshape(-1, SEGMENT)
    f = np.fft.rfftfreq(SEGMENT, BIN * 1e-3)
    power = (abs(np.fft.rfft(segments - segments.mean(), axis=1)) ** 2).mean(0) * BIN * 1e-3 / SEGMENT
    power /= np.sinc(f * BIN * 1e-3) ** 2
    bands = [power[(f >= low) & (f < high)].mean() for low, high in BANDS]
    return [*rates.mean(0), covariance[0, 0], covariance[0, 1], covariance[1, 1], skewness, *bands]


def simulated(given: Circuit, trials: int) -> np.ndarray:
    result = simulate(given, TRIAL, trials, 500.0, DT, seed=1, covariance=False)
    rates = population_rates(result, bin=BIN).transpose("trial", "time", "population").values
    return np.array([statistics(own[: TRIAL // BIN]) for own in rates])


def in_time(given: Circuit, trials: int) -> tuple[np.ndarray, float]:
    """Return the compared numbers of each trial, and the seconds that a second of the circuit took."""
    found, began = [], time.process_time()
    times = np.arange(0.0, TRIAL + BIN / 2, BIN)
    for seed in range(trials):
        course = predict_time_course(given, times, dt=DT, step=0.1, cells=200, fluctuations=seed)
        found.append(statistics(course["rate"].values[1:]))
    return np.array(found), (time.process_time() - began) / trials / TRIAL * 1e3


def enlarged(given: Circuit, factor: int) -> Circuit:
    """Return a circuit with more neurons that each receive as many synapses."""
    populations = [replace(p, size=factor * p.size) for p in given.neurons]
    projections = []
    for p in given.projections:
        degree = p.connectivity.mean_indegree(SIZES[p.target], SIZES[p.source], autapses=False)
        projections.append(replace(p, connectivity=FixedIndegree(round(degree))))
    return Circuit(populations, projections, given.drives)


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare finite populations in time with spikes.")
    parser.add_argument("--state", action="append", choices=STATES, help="these states only")
    parser.add_argument("--seconds", type=float, default=60.0, help="in trials of 10 s")
    options = parser.parse_args()
    warnings.simplefilter("ignore", UserWarning)  # of weights that are not small
    trials = max(3, round(options.seconds * 1e3 / TRIAL))
    print(f"{'':22}" + "".join(name.rjust(16) for name in NAMES))
    for name in options.state or STATES:
        given = circuit(*STATES[name])
        found, cost = in_time(given, trials)
        for kind, values in (("simulated", simulated(given, trials)), ("in time", found)):
            mean, error = values.mean(0), values.std(0, ddof=1) / len(values) ** 0.5
            row = "".join(f"{m:.4g} ± {e:.1g}".rjust(16) for m, e in zip(mean, error, strict=True))
            print(f"{name if kind == 'simulated' else '':10}{kind:12}{row}", flush=True)
        times = np.arange(0.0, 1001.0)
        began = time.process_time()
        predict_time_course(enlarged(given, 100), times, dt=DT, step=0.1, cells=200, fluctuations=1)
        print(f"{'':22}a second in {cost:.2f} s of CPU; of 100 × the neurons {time.process_time() - began:.2f} s")


if __name__ == "__main__":
    main()
