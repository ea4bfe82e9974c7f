"""Moments that theory predicts for networks of different weights, to see what those of the same spikes share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from mnnbio.circuit import Circuit, Drive, GaussianDrive
from mnnbio.learning.frozen_network import FrozenNetwork
from mnnbio.theory import predict
from mnnbio.units import in_unit

Array = npt.NDArray[np.float64]


def with_stationary_noise(network: FrozenNetwork, correlation_time: Any) -> Circuit:
    """Return the circuit of a frozen network, driven by noise with the mean and power of its frozen currents.

    A frozen current is one sample; the theory needs what it is a sample of. Here that is white noise of the same mean
    and, at low frequencies, the same power ``2 τ var`` of each neuron's current, so that what a membrane slow against
    τ integrates is alike.

    Parameters
    ----------
    network : FrozenNetwork
        Of LIF neurons under currents in mV/ms.
    correlation_time : float or Quantity
        τ of the currents, ms: the integral of their autocorrelation over positive times.

    Raises
    ------
    ValueError
        If τ is not positive.
    TypeError
        If the neurons are not LIF.
    """
    network.require_lif("the theory of the moments")
    tau = in_unit(correlation_time, "ms", "correlation_time")
    if not isinstance(tau, float) or not (np.isfinite(tau) and tau > 0):
        raise ValueError(f"`correlation_time` must be a time > 0 ms, got {correlation_time!r}")
    mean = network.currents.mean(axis=0)
    std = network.currents.std(axis=0) * np.sqrt(2 * tau)
    drives: list[Drive] = []
    start = 0
    for name, size in network.populations.items():
        own = slice(start, start + size)
        drives.append(GaussianDrive(name, mean=mean[own], std=std[own]))
        start += size
    return network.circuit.with_parts(drives=drives)


def compare_moments(
    network: FrozenNetwork,
    weights: Mapping[str, npt.ArrayLike],
    *,
    reference: str = "reference",
    correlation_time: Any,
    window: Any = 100.0,
) -> xr.Dataset:
    """Return predicted rates and covariances of networks that differ by their weights, beside those of a reference.

    Parameters
    ----------
    network : FrozenNetwork
        Gives neurons, connections and currents.
    weights : mapping of str to array_like, shape (n, n)
        Recurrent weights, mV, target × source, by name of the network.
    reference : str
        Name of the one that the others are compared with.
    correlation_time : float or Quantity
        Of the currents, ms; see `with_stationary_noise`.
    window : float or Quantity
        Of the counts whose covariance is compared, ms.

    Returns
    -------
    Dataset
        Over ``network``: `rate` (Hz, neuron), `fano`, `covariance` of counts in the window (neuron, neuron_j);
        `rate_r` and `covariance_r`, Pearson's correlation with the reference over neurons and over pairs, NaN where
        either does not vary; `rate_rms` (Hz) and `covariance_rms`, root mean squares of the differences;
        `covariance_mean` over pairs; `status` of the prediction.

    Raises
    ------
    ValueError
        If there is no network of the name of the reference.

    References
    ----------
    Bagley et al., PLOS ONE 15, e0229083 (2020), ask whether spikes determine weights; the moments are those of
    `mnnbio.predict`.
    """
    if reference not in weights:
        raise ValueError(f"`reference` must be one of {list(weights)}, got {reference!r}")
    drives = with_stationary_noise(network, correlation_time).drives
    found = {}
    for name, matrix in weights.items():
        circuit = network.with_weights(matrix).with_parts(drives=drives)
        found[name] = predict(circuit, dt=network.dt, window=window)
    names = list(weights)
    rate = np.stack([found[name]["rate"].values for name in names])
    covariance = np.stack([found[name]["count_covariance"].values for name in names])
    pairs = ~np.eye(network.size, dtype=bool)
    true = names.index(reference)
    first = found[reference]
    labels = {
        name: first.coords[name]
        for name in ("neuron", "population", "index", "neuron_j", "population_j", "index_j")
        if name in first.coords
    }
    flat = covariance[:, pairs]
    return xr.Dataset(
        {
            "rate": (("network", "neuron"), rate, {"units": "Hz", "long_name": "predicted rate"}),
            "fano": (
                ("network", "neuron"),
                np.stack([found[name]["count_fano"].values for name in names]),
                {"units": "1"},
            ),
            "covariance": (
                ("network", "neuron", "neuron_j"),
                covariance,
                {"units": "1", "long_name": "predicted covariance of spike counts"},
            ),
            "rate_r": ("network", _correlations(rate, rate[true]), {"units": "1"}),
            "rate_rms": ("network", np.sqrt(((rate - rate[true]) ** 2).mean(axis=1)), {"units": "Hz"}),
            "covariance_r": ("network", _correlations(flat, flat[true]), {"units": "1"}),
            "covariance_rms": ("network", np.sqrt(((flat - flat[true]) ** 2).mean(axis=1)), {"units": "1"}),
            "covariance_mean": ("network", flat.mean(axis=1), {"units": "1"}),
            "status": ("network", [str(found[name].attrs["status"]) for name in names]),
        },
        coords={"network": names, **labels},
        attrs={"reference": reference, "window": first.attrs["window"]},
    )


def _correlations(rows: Array, reference: Array) -> Array:
    """Return Pearson's correlation of each row with a reference, NaN where either is constant."""
    if reference.std() == 0:
        return np.full(len(rows), np.nan)
    return np.array([np.corrcoef(row, reference)[0, 1] if row.std() > 0 else np.nan for row in rows])
