"""From a trained moment network to the spiking circuit that it describes."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse

from mnnbio.circuit import Circuit, Drive, GaussianDrive, PoissonDrive, PoissonSource, Population, Projection, Readout
from mnnbio.nn import (
    GaussianBackground,
    GaussianEncoder,
    MomentAvgPool2d,
    MomentBlock,
    MomentConv2d,
    MomentNetwork,
    MomentSumPool2d,
    PoissonBackground,
    PoissonEncoder,
    SparseLinear,
)
from mnnbio.units import in_unit

INPUT = "input"

Array = npt.NDArray[np.float64]


class ReadoutNoiseWarning(UserWarning):
    """A network's readout has noise of its own, which a readout of spike counts has not."""


class _Currents(NamedTuple):
    """Currents of a layer's neurons: weights (mV), constant current (mV/ms), noise (mV/√ms)."""

    weights: Any  # Array or csr_array, (n_target, n_source)
    bias: Array
    noise: Array


def export_moment(model: Any, network: MomentNetwork, stimulus: Any, labels: Sequence[Any] | None) -> Circuit:
    """Return the circuit of leaky integrate-and-fire neurons that a trained moment network describes; see `export`.

    Batch normalisation is folded into weights and constant currents, learned noise becomes a Gaussian drive, and the
    readout stays a linear readout of spike counts.

    Parameters
    ----------
    model : object
        The network, or the fitted estimator that holds it.
    network : MomentNetwork
    stimulus : array_like or Tensor, shape (features,) or (stimulus, features)
    labels : sequence, optional
    """
    if labels is None:
        labels = getattr(model, "classes_", None)
    features = _features(stimulus, network.encoder.in_features)

    names = ["hidden"] if len(network.blocks) == 1 else [f"hidden_{k + 1}" for k in range(len(network.blocks))]
    populations: list[PoissonSource | Population] = []
    projections, drives = [], list[Drive]()
    with torch.no_grad():
        inputs = network.encoder(network.encoder.clipped(features.to(network.readout.weight), stacklevel=4))
    source, pool = INPUT, None
    for name, block in zip(names, network.blocks, strict=True):
        weights, bias, noise = _currents(block, pool)
        factor = None
        if source == INPUT and isinstance(network.encoder, GaussianEncoder):
            bias = (weights @ _array(inputs.mean).T).T + bias
            if network.encoder.std > 0:
                factor = network.encoder.std * (weights.toarray() if sparse.issparse(weights) else weights)
        else:
            projections.append(Projection(source, name, weights=weights))
        populations.append(Population(name, weights.shape[0], block.activation.lif()))
        std = np.hypot(noise, block.activation.fixed_std)
        if isinstance(block.background, PoissonBackground):
            drives.append(PoissonDrive(name, block.background.rate, block.background.weight))
        elif isinstance(block.background, GaussianBackground):
            bias, std = bias + block.background.mean, np.hypot(std, block.background.std)
        drives.append(GaussianDrive(name, mean=bias, std=std, factor=factor))
        source, pool = name, block.pool
    if isinstance(network.encoder, PoissonEncoder):
        populations.insert(0, PoissonSource(INPUT, network.encoder.out_features, rates=_array(inputs.mean)))
    if network.readout.bias_std is not None:
        warnings.warn(
            "the noise of the network's readout is left out: a readout of spike counts has that of the spikes only",
            ReadoutNoiseWarning,
            stacklevel=3,
        )
    offset = network.readout.bias
    readout = Readout(
        names[-1],
        _through(_array(network.readout.weight), pool),
        np.zeros(network.outputs) if offset is None else _array(offset),
        None if labels is None else tuple(str(label) for label in labels),
    )
    return Circuit(populations, projections, drives, readout)


def _currents(block: MomentBlock, pool: MomentAvgPool2d | MomentSumPool2d | None) -> _Currents:
    """Return what a layer is without its normalisation, and with the pooling of the layer that it reads."""
    layer = block.linear
    folded = block.norm.fold(layer.weight)
    weights = _array(folded.weight)
    if isinstance(layer, MomentConv2d):
        weights = _sparse(layer.map(folded.weight))
    elif isinstance(layer, SparseLinear):
        weights = sparse.csr_array(weights)
    return _Currents(_through(weights, pool), _array(folded.bias_current), _array(folded.noise_std))


def _through(weights: Any, pool: MomentAvgPool2d | MomentSumPool2d | None) -> Any:
    """Return the weights of a layer that reads another through pooling."""
    return weights if pool is None else weights @ _sparse(pool.map(torch.empty(0, dtype=torch.float64)))


def _sparse(linear_map: Any) -> sparse.csr_array:
    """Return the matrix of a `mnnbio.moments.LinearMap`."""
    row, column, value = (part.detach().cpu().numpy() for part in linear_map.entries())
    matrix = sparse.coo_array((value.astype(np.float64), (row, column)), (linear_map.rows, linear_map.columns))
    return matrix.tocsr()


def _features(stimulus: Any, n_features: int) -> torch.Tensor:
    features = torch.as_tensor(in_unit(stimulus, "1", "stimulus"), dtype=torch.float64)
    if features.ndim not in (1, 2) or features.shape[-1] != n_features:
        raise ValueError(
            f"`stimulus` must have shape ({n_features},) or (stimulus, {n_features}), got {tuple(features.shape)}"
        )
    return features


def _array(tensor: torch.Tensor) -> Array:
    return tensor.detach().to("cpu", torch.float64).numpy()
