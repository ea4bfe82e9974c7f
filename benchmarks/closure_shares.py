"""Measure what the error of a closure is made of: take from a layer's input one property after the other.

    python benchmarks/closure_shares.py [--hidden 50,50] [--layer 2] [--trials 40]

A deep network trained on digits is simulated in NumPy. The last of the layers is then driven again: by the same trains
with trials permuted for every presynaptic neuron (no correlations), by Poisson trains of the same rates (no spectrum),
by white noise of the same mean and variance (no jumps). Each line shows what the step changes in the layer's rates, in
neurons above 1 Hz: the median, quantiles of its size, and of all neurons the root mean square. The first line, with
other random numbers for the layer's own noise, shows what is chance. Then the errors of the closures.
"""

from __future__ import annotations

import argparse
import warnings

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from mnnbio import export, predict
from mnnbio.moments.overshoot import jump_factors
from mnnbio.theory.validity import CorrelationWarning, FiniteWeightWarning
from mnnbio.training.estimators import MomentClassifier

DT, WARMUP = 0.1, 5000


def layer(population, drive, weights, trains, seed, mean=None, std=None):
    """Return the spikes of a layer, (step, trial, neuron), for trains of that shape; None: white noise only."""
    lif, rng = population.lif, np.random.default_rng(seed)
    steps, trials = trains.shape[:2]
    decay = np.exp(-DT / lif.tau_m)
    offset = (drive.mean if mean is None else mean) * lif.tau_m * (1 - decay)
    noise = (drive.std if std is None else std) * np.sqrt((1 - decay**2) * lif.tau_m / 2)
    v = rng.uniform(lif.v_reset, lif.v_th, (trials, population.size))
    rest = np.zeros(v.shape, dtype=int)
    spikes = np.zeros((steps, *v.shape), dtype=bool)
    for step in range(steps):
        kick = offset + noise * rng.standard_normal(v.shape)
        if weights is not None:
            kick = kick + trains[step] @ weights.T
        v = np.where(rest == 0, v * decay + kick, v)
        fired = (rest == 0) & (v > lif.v_th)
        rest = np.maximum(rest - 1, 0)
        v[fired], rest[fired] = lif.v_reset, round(lif.t_ref / DT)
        spikes[step] = fired
    return spikes


def rates(spikes):
    """Return rates in Hz, (neuron,)."""
    return spikes[WARMUP:].mean((0, 1)) / DT * 1e3


def compare(label, found, reference):
    firing = reference > 1
    error = found[firing] / reference[firing] - 1
    quantiles = np.quantile(abs(error), [0.5, 0.75, 0.9])
    square = np.sqrt(np.mean((found - reference) ** 2))
    print(f"{label:34}{np.median(error):+9.1%}" + "".join(f"{q:9.1%}" for q in quantiles) + f"{square:11.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what the error of a closure is made of.")
    parser.add_argument("--hidden", default="50,50", help="neurons in each hidden layer")
    parser.add_argument("--layer", type=int, default=2, help="the layer to look at")
    parser.add_argument("--stimuli", type=int, default=4)
    parser.add_argument("--trials", type=int, default=40, help="of two seconds each")
    parser.add_argument("--epochs", type=int, default=30)
    options = parser.parse_args()
    x, x_test, y, _ = train_test_split(*load_digits(return_X_y=True), random_state=0)
    hidden = tuple(int(n) for n in options.hidden.split(","))
    circuit = export(
        MomentClassifier(hidden, epochs=options.epochs, random_state=0).fit(x, y), x_test[: options.stimuli]
    )
    layers = circuit.layers[: options.layer]
    weights = {p.target: circuit.matrix(p) for p in circuit.projections}
    drives = {d.target: d for d in circuit.drives}
    steps = WARMUP + 20_000
    variants: dict[str, list[np.ndarray]] = {}
    for stimulus in range(options.stimuli):
        rng = np.random.default_rng(stimulus)
        input_rates = circuit.sources[0].rates[stimulus]
        trains = rng.random((steps, options.trials, len(input_rates))) < input_rates * DT
        for k, population in enumerate(layers[:-1]):
            trains = layer(population, drives[population.name], weights[population.name], trains, 10 * stimulus + k)
        last = layers[-1]
        drive, w = drives[last.name], weights[last.name]
        received = rates(trains) * 1e-3
        independent = np.stack([t[:, rng.permutation(options.trials)] for t in np.moveaxis(trains, 2, 0)], axis=2)
        poisson = rng.random(trains.shape) < received * DT
        factor = float(jump_factors(last.lif, DT).mean)
        mean, std = drive.mean + factor * w @ received, np.sqrt(drive.std**2 + factor**2 * w**2 @ received)
        found = {
            "simulated": layer(last, drive, w, trains, 1),
            "again": layer(last, drive, w, trains, 2),
            "independent": layer(last, drive, w, independent, 3),
            "Poisson": layer(last, drive, w, poisson, 4),
            "white": layer(last, drive, None, trains, 5, mean, std),
        }
        for name, spikes in found.items():
            variants.setdefault(name, []).append(rates(spikes))
    simulated, again, independent, poisson, white = (np.stack(v) for v in variants.values())
    print(
        f"{'layer ' + str(options.layer):34}{'median':>9}"
        + "".join(f"{q:>9}" for q in ("|50 %|", "75 %", "90 %"))
        + "   r.m.s. (Hz)"
    )
    compare("once more (chance)", again, simulated)
    compare("without correlations", independent, simulated)
    compare("... without spectrum", poisson, independent)
    compare("... without jumps", white, poisson)
    for closure in ("moments", "poisson", "renewal"):
        with warnings.catch_warnings():
            for category in (FiniteWeightWarning, CorrelationWarning):
                warnings.simplefilter("ignore", category)
            prediction = predict(circuit, dt=DT, closure=closure, covariance=False)
        own = prediction["rate"].values[:, prediction["population"].values == last.name]
        compare(f"prediction, {closure}", own, simulated)
        if closure == "renewal":
            compare("  ... of independent trains", own, independent)


if __name__ == "__main__":
    main()
