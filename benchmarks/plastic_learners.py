"""Accuracy of learners by plasticity beside their baselines: spatial patterns, digits, patterns in time.

    python benchmarks/plastic_learners.py [patterns digits reservoir] [--data-dir FOLDER] [--images 20000] [--seed 0]

Patterns: a detector of one pattern among others of the same number of spikes, 1,000 of either kind, and its accuracy as
they share more spikes; beside it a template and a perceptron without spikes. Digits: symmetric plasticity without a
trained readout, scikit-learn's digits with 100 neurons or, with `--data-dir`, MNIST with 400; beside it the same
network with fixed random weights and a linear classifier of pixels. Reservoir: three classes that differ in time alone;
beside it the same network without learning, and a linear classifier of the counts of the inputs, which knows nothing.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from sklearn.linear_model import LogisticRegression, Perceptron

from mnnbio.learning import (
    RewardReservoir,
    SpatialPatternDetector,
    SymmetricDigits,
    TemplateDetector,
    overlap_curve,
    timed_patterns,
)
from mnnbio.training import load_task

OVERLAPS = [None, 0.2, 0.5, 0.7, 0.8, 0.9, 0.95]


def patterns(seed: int) -> None:
    """Print the rates of detectors over the overlap of distractors with the pattern."""
    for detector in (SpatialPatternDetector(random_state=seed), TemplateDetector(), Perceptron(random_state=seed)):
        began = time.perf_counter()
        curve = overlap_curve(OVERLAPS, detector, seed=seed)
        print(f"{type(detector).__name__}, {time.perf_counter() - began:.0f} s")
        for overlap, rates in zip(OVERLAPS, curve, strict=True):
            print(
                f"  overlap {'any' if overlap is None else format(overlap, '.2f')}: detected {rates.detected:.3f}, "
                f"false alarms {rates.false_alarms:.3f}, accuracy {rates.accuracy:.3f}",
                flush=True,
            )


def digits(data_dir: str | None, images: int, seed: int) -> None:
    """Print the accuracies of digits."""
    task = load_task("mnist" if data_dir else "digits", data_dir)
    x, x_test = (part.reshape(len(part), -1).astype(float) for part in (task.x_train, task.x_test))
    chosen = np.random.default_rng(seed).permutation(len(x))[:images]
    x, y = x[chosen], task.y_train[chosen]
    common = {"labelled": 10_000, "random_state": seed}
    own = {"neurons": 400} if data_dir else {"neurons": 100, "activity": 0.012, "epochs": 3}
    network = {**own, **common}
    for name, classifier in {
        "linear classifier": LogisticRegression(max_iter=200),
        "symmetric plasticity": SymmetricDigits(**network),
        "fixed random weights": SymmetricDigits(plastic=False, **network),
    }.items():
        began = time.perf_counter()
        accuracy = classifier.fit(x, y).score(x_test, task.y_test)
        print(
            f"{task.name}, {name}: {accuracy:.4f} of {len(x_test)}, learned from {len(x)}, "
            f"{time.perf_counter() - began:.0f} s",
            flush=True,
        )


def reservoir(seed: int) -> None:
    """Print the accuracies of patterns in time."""
    shown, new = timed_patterns(600, seed=2 * seed + 1), timed_patterns(300, seed=2 * seed + 2)
    for learns in (True, False):
        began = time.perf_counter()
        classifier = RewardReservoir(learns=learns, random_state=seed).fit(shown.patterns, shown.classes)
        curve = ", ".join(f"{share:.2f}" for share in classifier.curve_)
        accuracy = classifier.score(new.patterns, new.classes)
        print(f"reservoir, {'learning' if learns else 'fixed'}: {accuracy:.3f}, {time.perf_counter() - began:.0f} s")
        print(f"  while it learns: {curve}", flush=True)
    counts, new_counts = (
        np.array([np.bincount(own.inputs, minlength=40) for own in part.patterns]) for part in (shown, new)
    )
    linear = LogisticRegression().fit(counts, shown.classes)
    print(f"reservoir, linear classifier of input counts: {linear.score(new_counts, new.classes):.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Print the accuracy of learners by plasticity.")
    parser.add_argument("which", nargs="*", default=["patterns", "digits", "reservoir"])
    parser.add_argument("--data-dir", help="folder with the IDX files of MNIST")
    parser.add_argument("--images", type=int, default=20_000, help="training images (default: 20000)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if unknown := set(options.which) - {"patterns", "digits", "reservoir"}:
        parser.error(f"there are patterns, digits and reservoir, not {sorted(unknown)[0]}")
    if "patterns" in options.which:
        patterns(options.seed)
    if "digits" in options.which:
        digits(options.data_dir, options.images, options.seed)
    if "reservoir" in options.which:
        reservoir(options.seed)


if __name__ == "__main__":
    main()
