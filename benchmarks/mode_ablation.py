"""What a spiking network of 30 modes needs of its modes and weights: ablation and pruning on digits, over seeds.

    python benchmarks/mode_ablation.py [--modes 30] [--neurons 100] [--seeds 5] [--draws 10] [--out FIGURE.png]

scikit-learn's digits, three quarters for training. Modes are removed from the least important on (by the measure tau of
`mnnbio.analyses.mode_importance`), from the most important on, and at random; weights are set to 0 by size and at
random, those of the modes alone, and all of them (each matrix by its own root mean square). Every score is the accuracy
on the test images, which are shown with the same spikes each time. Intervals are Student's over the networks, 95 %.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
import xarray as xr
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from mnnbio import ModeMatrix
from mnnbio.analyses import (
    ablation_curve,
    curve_difference,
    curve_intervals,
    mode_importance,
    plot_removal,
    pruning_curve,
)
from mnnbio.training import SpikingModeClassifier

FRACTIONS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


def main() -> None:
    """Train the networks of all seeds, remove, and print what it costs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--modes", type=int, default=30)
    parser.add_argument("--neurons", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--out", type=Path, help="file of the figure")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    curves = [of_seed(arguments, seed) for seed in range(arguments.seeds)]
    joined = {name: xr.concat([own[name] for own in curves], "network") for name in curves[0]}
    for name, curve in joined.items():
        told(name, curve)
    if arguments.out:
        plot_removal(joined["modes"], chance=0.1, ylabel="Accuracy").figure.savefig(arguments.out, dpi=120)


def of_seed(arguments: argparse.Namespace, seed: int) -> dict[str, xr.Dataset]:
    """Train a network and return its curves."""
    began = time.process_time()
    x, y = load_digits(return_X_y=True)
    x, x_test, y, y_test = train_test_split(x, y, test_size=0.25, random_state=seed, stratify=y)
    classifier = SpikingModeClassifier(arguments.neurons, arguments.modes, scaling="global", random_state=seed)
    classifier.fit(x, y)
    network = classifier.model_
    spikes = classifier.encode(x_test)
    labels = torch.from_numpy(np.searchsorted(classifier.classes_, y_test))

    def accuracy() -> float:
        with torch.no_grad():
            return float((network(spikes).argmax(-1) == labels).double().mean())

    recurrent = network.recurrent
    matrices = [recurrent.modes_in, recurrent.modes_out, network.weight_in, network.weight_out]
    importance = mode_importance(ModeMatrix(*(own.detach().numpy() for own in recurrent.factors())))["tau"].to_numpy()
    print(f"seed {seed}: accuracy {accuracy():.4f}, {time.process_time() - began:.0f} s of core time", flush=True)

    def without_modes(keep: np.ndarray) -> float:
        return with_masks([recurrent.scores], [keep], accuracy)

    def pruned(which: list[torch.nn.Parameter], keep: np.ndarray) -> float:
        parts = np.split(keep, np.cumsum([own.numel() for own in which])[:-1])
        return with_masks(which, [part.reshape(own.shape) for part, own in zip(parts, which, strict=True)], accuracy)

    curves = {"modes": ablation_curve(without_modes, importance, draws=arguments.draws, seed=seed)}
    for name, which in {"weights of modes": matrices[:2], "all weights": matrices}.items():
        sizes = np.concatenate([(own / own.square().mean().sqrt()).detach().numpy().ravel() for own in which])
        curves[name] = pruning_curve(
            lambda keep, which=which: pruned(which, keep), sizes, FRACTIONS, draws=3, seed=seed
        )
    return curves


def with_masks(parameters: list[torch.nn.Parameter], masks: list[np.ndarray], measure: object) -> float:
    """Return a measure of a network while some of its numbers are 0."""
    kept = [own.detach().clone() for own in parameters]
    try:
        with torch.no_grad():
            for own, mask in zip(parameters, masks, strict=True):
                own.mul_(torch.from_numpy(np.ascontiguousarray(mask)))
        return measure()
    finally:
        with torch.no_grad():
            for own, values in zip(parameters, kept, strict=True):
                own.copy_(values)


def told(name: str, curve: xr.Dataset) -> None:
    """Print what removal costs."""
    means, difference = curve_intervals(curve), curve_difference(curve)
    (dim,) = (own for own in ("removed", "fraction") if own in curve.dims)
    low, high = (float(difference[f"mean_difference_{end}"]) for end in ("low", "high"))
    print(f"{name}: least important first, less at random, mean {float(difference['mean_difference']):+.4f} "
          f"[{low:+.4f}, {high:+.4f}]")  # fmt: skip
    places = curve[dim].to_numpy()
    for place in places if dim == "fraction" else places[:: max(1, len(places) // 10)]:
        at = means.sel({dim: place})
        shown = (f"{own} {float(at[own]):.3f} [{float(at[f'{own}_low']):.3f}, {float(at[f'{own}_high']):.3f}]"
                 for own in ("least_first", "random", "most_first"))  # fmt: skip
        print(f"    {place:4.3g}  {'  '.join(shown)}")


if __name__ == "__main__":
    main()
