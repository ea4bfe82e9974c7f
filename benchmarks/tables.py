"""Scores of networks trained directly as spikes on tables, beside the published graded network and other models.

    python benchmarks/tables.py [iris] [diabetes] [classification] [default] [--splits 5] [--threads 1]

Every table is split several times into three quarters to train and one to test. Each line: mean and standard deviation
of the test score over the splits (accuracy, or R²), and the time of all fits.

- spiking: `SpikingClassifier` or `SpikingRegressor`, leaky integrate-and-fire neurons, decided from spike counts
- graded: the same with the graded units of pynmsnn and flickering inputs (50 steps; published: up to 500)
- twin: the non-spiking twin of the spiking network (weights → batch normalisation → ReLU, and a linear readout)
- moment: `MomentClassifier` or `MomentRegressor` of the same size
- boosting: scikit-learn's gradient-boosted trees; ridge: linear regression, regularised by cross-validation

"iris" and "diabetes" are scikit-learn's; "classification" is ``make_classification(10_000, 20, n_informative=10)``, and
"default" the same with two informative features, ``random_state=1``: with its default settings, what can be reached
depends on the random state, from 0.90 to 0.96 for boosting.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.datasets import load_diabetes, load_iris, make_classification
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import train_test_split

from mnnbio.training import (
    MomentClassifier,
    MomentRegressor,
    SpikingClassifier,
    SpikingRegressor,
    gradient_boosting,
    twin_of,
)


class Table(NamedTuple):
    """A table, whether it is a classification, and the options of its networks."""

    features: np.ndarray
    targets: np.ndarray
    classes: bool
    shared: dict[str, Any]
    spiking: dict[str, Any]
    graded: dict[str, Any]


def tables() -> dict[str, Callable[[], Table]]:
    """Return functions that make the tables, by name."""
    small = {"hidden": (50,), "batch_size": 16, "epochs": 40}
    values = {"hidden": (50,), "batch_size": 32, "epochs": 30, "learning_rate": 0.003, "weight_decay": 1.0}
    large = {"hidden": (64,), "batch_size": 256, "epochs": 25, "label_smoothing": 0.02}
    flicker = {"unit": "graded", "encoding": "flicker"}
    return {
        "iris": lambda: Table(*load_iris(return_X_y=True), True, small, {"readout": "membrane"}, flicker),
        "diabetes": lambda: Table(
            *load_diabetes(return_X_y=True), False, values, {}, flicker | {"head": (32, 16), "weight_decay": 0.1}
        ),
        "classification": lambda: Table(
            *make_classification(10_000, 20, n_informative=10, random_state=0),
            True, large, {"duration": 60}, flicker | {"epochs": 10},
        ),
        "default": lambda: Table(
            *make_classification(10_000, 20, random_state=1), True, large, {"duration": 60}, flicker | {"epochs": 10}
        ),
    }  # fmt: skip


def models(table: Table, seed: int) -> dict[str, Any]:
    """Return the models to fit, by name."""
    spiking, moment = (SpikingClassifier, MomentClassifier) if table.classes else (SpikingRegressor, MomentRegressor)
    first = spiking(random_state=seed, **(table.shared | table.spiking))
    found = {
        "spiking": first,
        "graded": spiking(random_state=seed, **(table.shared | table.graded)),
        "twin": twin_of(first),
        "moment": moment(random_state=seed, **table.shared),
        "boosting": gradient_boosting("classification" if table.classes else "regression", seed),
    }
    return found if table.classes else found | {"ridge": RidgeCV(np.logspace(-3, 2, 20))}


def measure(name: str, table: Table, splits: int) -> None:
    """Fit all models on all splits, and print their scores."""
    scores: dict[str, list[float]] = {}
    spent: dict[str, float] = {}
    for seed in range(splits):
        parts = train_test_split(
            table.features, table.targets, test_size=0.25, random_state=seed,
            stratify=table.targets if table.classes else None,
        )  # fmt: skip
        x_train, x_test, y_train, y_test = parts
        for kind, model in models(table, seed).items():
            start = time.process_time()
            score = model.fit(x_train, y_train).score(x_test, y_test)
            spent[kind] = spent.get(kind, 0.0) + time.process_time() - start
            scores.setdefault(kind, []).append(score)
    what = "accuracy" if table.classes else "R²"
    print(f"{name}: {table.features.shape[0]} × {table.features.shape[1]}, {what} on test data, {splits} splits")
    for kind, found in scores.items():
        each = " ".join(f"{score:.3f}" for score in found)
        print(f"  {kind:<10} {np.mean(found):.3f} ± {np.std(found, ddof=1):.3f}   {each}   {spent[kind]:6.1f} s of CPU")
    print(flush=True)


def main() -> None:
    """Measure the tables that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="*", choices=[*tables(), []], help="which tables; default: all")
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    warnings.simplefilter("ignore")
    for name in arguments.tables or tables():
        measure(name, tables()[name](), arguments.splits)


if __name__ == "__main__":
    main()
