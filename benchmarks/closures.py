"""Compare both closures with spikes, layer by layer, in a deep network trained on digits.

    python benchmarks/closures.py [--hidden 60,60] [--trials 40]

The closure says which variance of a spike train drives the next neuron: its long-window count variance ("moments") or
its rate ("poisson"). Prints, for each layer, the simulated mean rate and the errors of both predictions.
"""

from __future__ import annotations

import argparse
import warnings

from brian2 import ms, second
from mnnbio.analyses import compare
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from mnnbio import export, predict, simulate
from mnnbio.training import MomentClassifier
from mnnbio.validity import CorrelationWarning, FiniteWeightWarning


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare both closures with spikes in a deep network.")
    parser.add_argument("--hidden", default="60,60", help="neurons in each hidden layer")
    parser.add_argument("--stimuli", type=int, default=4)
    parser.add_argument("--trials", type=int, default=80)
    parser.add_argument("--epochs", type=int, default=30)
    options = parser.parse_args()
    hidden = tuple(int(n) for n in options.hidden.split(","))
    x, x_test, y, y_test = train_test_split(*load_digits(return_X_y=True), random_state=0)
    classifier = MomentClassifier(hidden=hidden, epochs=options.epochs, random_state=0).fit(x, y)
    print(f"moment network {hidden}: test accuracy {classifier.score(x_test, y_test):.4f}")
    circuit = export(classifier, x_test[: options.stimuli])
    simulation = simulate(
        circuit, 1 * second, options.trials, warmup=0.2 * second, dt=0.1 * ms, seed=1, window=100 * ms, covariance=False
    )
    print(f"{'theory':15}{'closure':10}{'layer':10}{'rate (Hz)':>10}{'r':>9}{'median error':>14}{'r.m.s. z':>10}")
    for theory, closure in (("diffusion", "moments"), ("diffusion", "poisson"), ("first_passage", "poisson")):
        with warnings.catch_warnings():
            for category in (FiniteWeightWarning, CorrelationWarning):
                warnings.simplefilter("ignore", category)
            prediction = predict(
                circuit, dt=0.1 * ms, window=100 * ms, theory=theory, closure=closure, covariance=False
            )
        result = compare(prediction, simulation)
        for layer in result["layer"].values:
            own = result.sel(layer=layer)
            rate = simulation["simulation/rate"]
            mean = rate.where(rate["population"] == layer).mean().item()
            print(
                f"{theory:15}{closure:10}{layer:10}{mean:10.2f}{own['layer_rate_r'].item():9.4f}"
                f"{own['layer_rate_median_relative_error'].item():14.2%}{own['layer_rate_z_rms'].item():10.2f}"
            )


if __name__ == "__main__":
    main()
