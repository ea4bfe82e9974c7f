"""Surrogate neurons in filtered Gaussian noise against their Fokker-Planck equation, on thirty inputs.

Prints for each input the rate of the equation, that of `lif_surrogate` with its standard error (below 0.5 %), their
difference in standard errors, and the same of the spectrum of the train around 20 Hz; of white noise, against the
closed form for steps. Some five minutes for all:

    python benchmarks/single_neurons.py [FIRST [LAST]]
"""

from __future__ import annotations

import sys
from typing import NamedTuple

import numpy as np
import torch

from mnnbio import LIFParameters
from mnnbio.moments import (
    discrete_lif,
    fokker_planck,
    fokker_planck_spectrum,
    frequencies,
    lif_surrogate,
    moment_activation,
    spectral_bands,
    synaptic_filter,
    transfer_function,
)

DT, SLOW_DT, SLOW = 0.05, 0.1, 20.0  # ms; the coarser step for synapses from SLOW on
RECORDS = 2000.0  # length of a record in tau_s: what the input lacks is the power at frequency zero
SHORTEST = 6500.0  # ms
ACCURACY = 0.0045  # standard error of the rate that is aimed at
PAIRS_AT_ONCE, MOST_PAIRS = 40, 1200
TAU_M, V_TH = 20.0, 20.0
BAND = 0.02  # 1/ms, where spectra are compared


class Input(NamedTuple):
    """One neuron and what it receives, in ms and mV."""

    mean: float
    std: float
    tau_s: float
    v_reset: float
    t_ref: float

    def lif(self, late: float = 0.0) -> LIFParameters:
        """Return the neuron, or one that is held for longer by some ms."""
        return LIFParameters(tau_m=TAU_M, v_th=V_TH, v_reset=self.v_reset, t_ref=self.t_ref + late)


def inputs() -> list[Input]:
    """Return thirty inputs, from thresholds 1.5 standard deviations below the mean potential to as much above it."""
    rng = np.random.default_rng(13)
    found = []
    for k in range(30):
        ratio = (0.0, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0)[k % 8]
        threshold, sigma = rng.uniform(-1.5, 1.5), rng.uniform(2.0, 8.0)
        std = sigma * np.sqrt(2 * (1 + ratio) / TAU_M)
        place = (V_TH - threshold * sigma) / TAU_M, std, ratio * TAU_M
        found.append(Input(*map(float, place), float(rng.choice([0.0, 10.0])), float(rng.choice([0.0, 2.0, 5.0]))))
    return found


class Compared(NamedTuple):
    """Rate and spectrum of equation and surrogate, 1/ms, and the standard errors of the latter."""

    rate: float
    surrogate: float
    error: float
    spectrum: float
    surrogate_spectrum: float
    spectrum_error: float


def compared(given: Input) -> Compared:
    """Return equation and surrogate for one input."""
    mean, std, lif = given.mean, given.std, given.lif()
    dt = DT if given.tau_s < SLOW else SLOW_DT
    steps = 1 << int(np.ceil(np.log2(max(SHORTEST, RECORDS * given.tau_s) / dt)))
    bands = spectral_bands(steps, dt).frequency
    band = int(np.argmin(np.abs(bands - BAND)))
    frequency = bands[[band]]
    if given.tau_s > 0:
        late = given.lif(dt / 2)  # a threshold that is crossed smoothly is noticed half a step late
        exact = fokker_planck(mean, std, late, given.tau_s)
        rate, fano = exact.rate, exact.variance / exact.rate
        spectrum = float(fokker_planck_spectrum(frequency, mean, std, late, given.tau_s)[0])
    else:
        noise = torch.tensor([mean], dtype=torch.float64), torch.tensor([std], dtype=torch.float64)
        stepped = discrete_lif(*noise, lif, dt)
        answer = moment_activation(*noise, stepped)
        rate, fano = answer.rate.item(), (answer.variance / answer.rate).item()
        neuron = stepped._replace(**{name: getattr(stepped, name).reshape(-1) for name in stepped._fields})
        spectrum = float(transfer_function(frequency, mean, std, neuron).spectrum[0, 0])
    power = std**2 * np.abs(synaptic_filter(frequencies(steps, dt), given.tau_s, dt)) ** 2
    pairs = int(np.clip(fano / ACCURACY**2 / (2 * steps * dt * rate), 20, MOST_PAIRS))
    parts = []
    for seed, first in enumerate(range(0, pairs, PAIRS_AT_ONCE)):
        count = max(2, min(PAIRS_AT_ONCE, pairs - first))
        parts.append((count, lif_surrogate(mean, power, lif, dt, pairs=count, seed=seed)))
    weights = np.array([count for count, _ in parts], float)
    weights /= weights.sum()
    columns = np.array([(s.rate[0], s.rate_error[0], s.spectrum[0, band], s.spectrum_error[0, band]) for _, s in parts])
    means = weights @ columns
    errors = np.sqrt(weights**2 @ columns**2)
    return Compared(rate, float(means[0]), float(errors[1]), spectrum, float(means[2]), float(errors[3]))


def main() -> None:
    """Print one line for each input."""
    bounds = [int(value) for value in sys.argv[1:]] or [0]
    chosen = list(enumerate(inputs()))[slice(*bounds) if len(bounds) > 1 else slice(bounds[0], None)]
    worst = 0.0
    for k, given in chosen:
        found = compared(given)
        deviation = (found.surrogate - found.rate) / found.error
        spectral = (found.surrogate_spectrum - found.spectrum) / found.spectrum_error
        worst = max(worst, abs(deviation))
        print(
            f"{k:2d}  tau_s/tau_m {given.tau_s / TAU_M:4.2f}  mean {given.mean:5.3f}  std {given.std:5.3f}  "
            f"t_ref {given.t_ref:1.0f}  rate {1e3 * found.rate:7.3f} Hz  surrogate {1e3 * found.surrogate:7.3f} "
            f"± {found.error / found.rate:.2%}: {deviation:+.1f} se  spectrum {spectral:+.1f} se",
            flush=True,
        )
    print(f"largest deviation of the rate: {worst:.1f} standard errors")


if __name__ == "__main__":
    main()
