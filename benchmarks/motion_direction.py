"""Which way a grating drifts, told by correlations alone: moment networks trained on it, and their spikes.

254 detectors of luminance and change have the same mean rates whatever the direction (`mnnbio.nn.GratingEncoder`, the
task of Zhu et al. 2024, arXiv:2401.00746). Two networks with one hidden layer are trained: one whose outputs read
rates, with the published loss, and one whose outputs read covariances. Printed are median errors of the direction over
a grid of directions and contrasts; then, at the largest contrast, those of spikes: of Gaussian currents with the
covariance that the network was trained with, and, for the first network, of detectors that fire as the grating drifts::

    python benchmarks/motion_direction.py [--epochs 12] [--directions 16] [--trials 8]
"""

from __future__ import annotations

import argparse
import time
import warnings

import numpy as np
import torch

from mnnbio import Circuit, GaussianDrive, PoissonSource, Population, Projection, export, simulate
from mnnbio.circuit import Readout
from mnnbio.exporting import read_outputs
from mnnbio.nn import GratingEncoder, MomentMLP
from mnnbio.training import TrainingOptions, direction_errors, direction_grid, motion_directions, train
from mnnbio.values import Oscillation

DT, DURATION, WINDOW, CONTRAST = 0.1, 1000.0, 50.0, 0.16  # ms; the last without unit


def trained(reads: str, hidden: int, loss: str, epochs: int) -> MomentMLP:
    """Return a network that has learned directions, in double precision."""
    encoder = GratingEncoder(256)
    model = MomentMLP((encoder.out_features, hidden, 2), encoder=encoder, reads=reads, seed=0)
    options = TrainingOptions(loss=loss, label_smoothing=0, window=100, epochs=epochs)
    start = time.perf_counter()
    train(model, *motion_directions(4000), options)
    print(f"outputs read {reads}, {hidden} hidden neurons: trained in {time.perf_counter() - start:.0f} s")
    return model.double()


def median_degrees(outputs: torch.Tensor, features: torch.Tensor) -> float:
    """Return the median error of the direction."""
    return float(direction_errors(outputs, features).rad2deg().median())


def report_moments(model: MomentMLP) -> None:
    """Print errors of the moment network over a grid of stimuli."""
    number = 20
    test = direction_grid(number, dtype=torch.float64)
    with torch.no_grad():
        errors = direction_errors(model(test.features).mean, test.features).rad2deg().reshape(number, number)
    lowest, middle, highest = errors[0], errors[number // 2 - 1], errors[-1]
    print(f"  moments: median error {errors.median():.2f}° over all contrasts; at the contrasts 0.008, 0.08, 0.16:")
    print(f"  {lowest.median():.2f}°, {middle.median():.2f}°, {highest.median():.2f}° (chance 90°)")


def stimuli(directions: int) -> torch.Tensor:
    """Return directions around the circle at the largest contrast."""
    angle = torch.arange(directions, dtype=torch.float64) * 2 * torch.pi / directions - torch.pi + 0.1
    return torch.stack([angle, torch.full_like(angle, CONTRAST)], dim=-1)


def drifting(model: MomentMLP, features: torch.Tensor) -> Circuit:
    """Return the network behind detectors that fire at rates which follow the grating."""
    encoder, block = model.encoder, model.blocks[0]
    assert isinstance(encoder, GratingEncoder)
    folded = block.norm.fold(block.linear.weight)
    quarter = torch.tensor([0.0, np.pi / 2], dtype=torch.float64) / encoder.settings["frequency"]
    mean = encoder(features).mean.detach().numpy()
    cosine, sine = encoder.rates(features, quarter).numpy() - mean  # of A cos(φ − ω t) at two times
    amplitude, phase = np.hypot(cosine, sine), np.arctan2(sine, cosine)
    # cos(φ − ω t) = sin(ω t − φ + π/2), in cycles per ms.
    rates = Oscillation(mean, amplitude, encoder.settings["frequency"] / (2 * np.pi), phase=np.pi / 2 - phase)
    readout, size = model.readout, block.norm.features
    return Circuit(
        [PoissonSource("input", encoder.out_features, rates=rates), Population("hidden", size, model.lif)],
        [Projection("input", "hidden", weights=folded.weight.numpy())],
        [GaussianDrive("hidden", mean=folded.bias_current.numpy(), std=folded.noise_std.numpy())],
        Readout("hidden", readout.weight.detach().numpy(), readout.bias.detach().numpy()),
    )


def trial_outputs(circuit: Circuit, trials: int) -> torch.Tensor:
    """Return the outputs of single trials of one second, (stimulus, trial, 2)."""
    result = simulate(circuit, DURATION, trials=trials, warmup=100, dt=DT, seed=1)
    return torch.from_numpy(result["simulation/readout"].to_numpy())


def main() -> None:
    """Train, simulate, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--directions", type=int, default=16)
    parser.add_argument("--trials", type=int, default=8)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    features = stimuli(given.directions)

    model = trained("mean", 128, "sampled_angle", given.epochs)
    report_moments(model)
    outputs = trial_outputs(export(model, features), given.trials)
    each = features[:, None].expand(-1, given.trials, -1)
    print(f"  spikes, single trials of 1 s, Gaussian currents: {median_degrees(outputs, each):.1f}°")
    waves = trial_outputs(drifting(model, features), given.trials)
    print(f"  spikes, single trials of 1 s, drifting grating: {median_degrees(waves, each):.1f}°")

    model = trained("covariance", 64, "mean_squared_error", given.epochs)
    report_moments(model)
    circuit = export(model, features)
    result = simulate(circuit, DURATION, trials=given.trials, warmup=100, dt=DT, window=WINDOW, covariance=True, seed=1)
    error = median_degrees(read_outputs(model, result), features)
    windows = int(given.trials * DURATION / WINDOW)
    print(f"  spikes, covariances of counts in {windows} windows of {WINDOW:g} ms, Gaussian currents: {error:.1f}°")


if __name__ == "__main__":
    main()
