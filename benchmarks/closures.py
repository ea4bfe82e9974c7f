"""Compare the closures with spikes, layer by layer, in a deep network trained on digits.

    python benchmarks/closures.py [--hidden 60,60] [--trials 80]

The closure says what drives the next neuron: the long-window count variance of a train ("moments"), its rate
("poisson"), or renewal trains of finite jumps ("renewal"). Prints, for each layer, the simulated mean rate and the
errors of the predictions: r, median and upper decile of the relative errors of neurons above 1 Hz, root mean square.
"""

from __future__ import annotations

import argparse
import warnings

import numpy as np
from brian2 import ms, second
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from mnnbio import export, predict, simulate
from mnnbio.analyses import compare
from mnnbio.theory.validity import CorrelationWarning, FiniteWeightWarning
from mnnbio.training.estimators import MomentClassifier


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare the closures with spikes in a deep network.")
    parser.add_argument("--hidden", default="60,60", help="neurons in each hidden layer")
    parser.add_argument("--stimuli", type=int, default=4)
    parser.add_argument("--trials", type=int, default=80)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0, help="of the training")
    parser.add_argument("--first-passage", action="store_true", help="show that theory too (slow)")
    options = parser.parse_args()
    hidden = tuple(int(n) for n in options.hidden.split(","))
    x, x_test, y, y_test = train_test_split(*load_digits(return_X_y=True), random_state=0)
    classifier = MomentClassifier(hidden=hidden, epochs=options.epochs, random_state=options.seed).fit(x, y)
    print(f"moment network {hidden}: test accuracy {classifier.score(x_test, y_test):.4f}")
    circuit = export(classifier, x_test[: options.stimuli])
    simulation = simulate(
        circuit, 1 * second, options.trials, warmup=0.2 * second, dt=0.1 * ms, seed=1, window=100 * ms, covariance=False
    )
    columns = ("rate (Hz)", "r", "median", "90 %", "r.m.s. (Hz)")
    print(f"{'theory':15}{'closure':10}{'layer':10}" + "".join(f"{c:>12}" for c in columns))
    kinds = [("diffusion", "moments"), ("diffusion", "poisson"), ("diffusion", "renewal")]
    for theory, closure in kinds + [("first_passage", "poisson")] * options.first_passage:
        with warnings.catch_warnings():
            for category in (FiniteWeightWarning, CorrelationWarning):
                warnings.simplefilter("ignore", category)
            prediction = predict(
                circuit, dt=0.1 * ms, window=100 * ms, theory=theory, closure=closure, covariance=False
            )
        result = compare(prediction, simulation)
        for layer in result["layer"].values:
            place = prediction["population"].values == layer
            simulated, own = (tree["rate"].values[:, place] for tree in (simulation["simulation"], prediction))
            error = np.abs(own / np.where(simulated > 1, simulated, np.nan) - 1)
            print(
                f"{theory:15}{closure:10}{layer:10}{simulated.mean():12.2f}"
                f"{result.sel(layer=layer)['layer_rate_r'].item():12.4f}{np.nanmedian(error):12.2%}"
                f"{np.nanquantile(error, 0.9):12.1%}{np.sqrt(np.mean((own - simulated) ** 2)):12.2f}"
            )


if __name__ == "__main__":
    main()
