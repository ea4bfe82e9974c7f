"""Simulations drawn from a prediction itself: Gaussian counts of known means, covariances and memory."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import xarray as xr

from mnnbio.results import array, neuron_coords
from mnnbio.spikes.description import estimates_of_counts

WINDOW = 0.1  # s


class Law(NamedTuple):
    """Counts of neurons in windows: Gaussian, with means, covariances, and correlations φ of successive windows."""

    sizes: dict[str, int]
    mean: np.ndarray
    covariance: np.ndarray
    memory: float

    def prediction(self, error: np.ndarray | float = 0.0) -> xr.Dataset:
        """Return the exact prediction, or one whose rates are too low, so that the simulated are 1 + error times them."""
        long = (1 + self.memory) / (1 - self.memory) / WINDOW
        variance = np.diag(self.covariance)
        mean = self.mean / (1 + np.asarray(error))
        vector, matrix = ("neuron",), ("neuron", "neuron_j")
        values = {
            "rate": (vector, mean / WINDOW),
            "variance": (vector, variance * long),
            "covariance": (matrix, self.covariance * long),
            "count_variance": (vector, variance),
            "count_fano": (vector, variance / mean),
            "count_covariance": (matrix, self.covariance),
        }
        found = {name: array(name, dims, value) for name, (dims, value) in values.items()}
        return xr.Dataset(found, coords=neuron_coords(self.sizes, second=True), attrs={"window": WINDOW, "dt": 1e-4})

    def counts(self, rng: np.random.Generator, trials: int, windows: int) -> np.ndarray:
        """Return counts (trial, window, neuron)."""
        root = np.linalg.cholesky(self.covariance)
        noise = rng.normal(size=(trials, windows, len(self.mean))) @ root.T
        if self.memory:
            fresh = np.sqrt(1 - self.memory**2)
            for k in range(1, windows):
                noise[:, k] = self.memory * noise[:, k - 1] + fresh * noise[:, k]
        return self.mean + noise

    def simulation(self, rng: np.random.Generator, trials: int, windows: int) -> xr.DataTree:
        """Return a simulated result with its counts."""
        drawn = self.counts(rng, trials, windows)

        def sample(length: float) -> xr.DataArray:
            joined = round(1e-3 * length / WINDOW)
            kept = drawn[:, : windows // joined * joined].reshape(trials, -1, joined, drawn.shape[-1]).sum(axis=2)
            return xr.DataArray(kept, dims=("trial", "window", "neuron"))

        duration = 1e3 * windows * WINDOW
        coords = neuron_coords(self.sizes, second=True)
        simulated = estimates_of_counts(sample, duration=duration, window=1e3 * WINDOW, covariance=True)
        count = xr.DataArray(
            drawn,
            dims=("trial", "time", "neuron"),
            coords={"time": WINDOW * np.arange(windows), **neuron_coords(self.sizes)},
            attrs={"bin": WINDOW, "units": "1"},
        )
        tree = xr.DataTree.from_dict(
            {"/simulation": simulated.assign_coords(coords), "/counts": xr.Dataset({"count": count})}
        )
        tree.attrs = {
            "duration": 1e-3 * duration,
            "warmup": 1.0,
            "dt": 1e-4,
            "window": WINDOW,
            "trials": trials,
            "seed": 0,
        }
        return tree


def law(
    sizes: dict[str, int], *, fano: float = 0.7, correlation: float = 0.05, memory: float = 0.0, seed: int = 0
) -> Law:
    """Return counts with rates of 10 to 60 Hz, one Fano factor, and one correlation within and between populations."""
    rng = np.random.default_rng(seed)
    n = sum(sizes.values())
    mean = rng.uniform(10, 60, n) * WINDOW
    scale = np.sqrt(fano * mean)
    matrix = np.full((n, n), correlation) + (1 - correlation) * np.eye(n)
    return Law(sizes, mean, matrix * scale[:, None] * scale[None, :], memory)
