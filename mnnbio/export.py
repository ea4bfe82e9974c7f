"""From a trained moment network to the spiking circuit that it describes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse

from mnnbio.circuit import (
    Circuit,
    Drive,
    GaussianDrive,
    PoissonDrive,
    PoissonSource,
    Population,
    Projection,
    Readout,
)
from mnnbio.lif import in_unit
from mnnbio.nn import GaussianBackground, GaussianEncoder, MomentMLP, PoissonBackground, PoissonEncoder, SparseLinear

INPUT = "input"


def export(model: Any, stimulus: Any, *, labels: Sequence[Any] | None = None) -> Circuit:
    """Return the circuit of leaky integrate-and-fire neurons that a trained moment network describes.

    Batch normalisation is folded into weights and constant currents, learned noise becomes a Gaussian drive, and the
    readout stays a linear readout of spike counts. No weight is tuned: ``predict(export(model, x))`` without a time
    step equals ``model(x)`` in evaluation mode (of a network with full correlations: spiking neurons have them, whether
    or not the network took them into account). Learned neurons are exported as they are now, fixed in-degree weights
    as sparse matrices. The model is not changed.

    Parameters
    ----------
    model : MomentMLP, MomentClassifier or MomentRegressor
        A network, or a fitted estimator.
    stimulus : array_like, shape (features,) or (stimulus, features)
        What the network is shown, as the network takes it. With two dimensions, the circuit has several stimuli.
    labels : sequence, optional
        Names of the outputs; by default the classes of a fitted classifier.

    Returns
    -------
    Circuit
        Populations ``input`` (for Poisson encoding) and ``hidden``, or ``hidden_1``, ``hidden_2``, … of a deep network.

    Raises
    ------
    TypeError
        If `model` is neither a moment network nor a fitted estimator.
    ValueError
        If the stimulus does not fit, or is not finite.
    """
    if labels is None:
        labels = getattr(model, "classes_", None)
    network = getattr(model, "model_", model)
    if not isinstance(network, MomentMLP):
        raise TypeError(f"`model` must be a MomentMLP or a fitted estimator of one, got {type(model).__name__}")
    features = _features(stimulus, network.encoder.in_features)

    names = ["hidden"] if len(network.blocks) == 1 else [f"hidden_{k + 1}" for k in range(len(network.blocks))]
    populations: list[PoissonSource | Population] = []
    projections, drives = [], list[Drive]()
    with torch.no_grad():
        inputs = network.encoder(features.to(network.readout.weight))
    source = INPUT
    for name, block in zip(names, network.blocks, strict=True):
        weight, bias, noise = (_array(part) for part in block.norm.fold(block.linear.weight))
        factor = None
        if source == INPUT and isinstance(network.encoder, GaussianEncoder):
            bias = _array(inputs.mean) @ weight.T + bias
            factor = network.encoder.std * weight if network.encoder.std > 0 else None
        else:
            fixed_degree = isinstance(block.linear, SparseLinear)
            projections.append(Projection(source, name, sparse.csr_array(weight) if fixed_degree else weight))
        populations.append(Population(name, len(weight), block.activation.lif()))
        std = np.hypot(noise, block.activation.fixed_std)
        if isinstance(block.background, PoissonBackground):
            drives.append(PoissonDrive(name, block.background.rate, block.background.weight))
        elif isinstance(block.background, GaussianBackground):
            bias, std = bias + block.background.mean, np.hypot(std, block.background.std)
        drives.append(GaussianDrive(name, mean=bias, std=std, factor=factor))
        source = name
    if isinstance(network.encoder, PoissonEncoder):
        populations.insert(0, PoissonSource(INPUT, network.encoder.out_features, rates=_array(inputs.mean)))
    offset = network.readout.bias
    readout = Readout(
        names[-1],
        _array(network.readout.weight),
        np.zeros(network.sizes[-1]) if offset is None else _array(offset),
        None if labels is None else tuple(str(label) for label in labels),
    )
    return Circuit(populations, projections, drives, readout)


def _features(stimulus: Any, n_features: int) -> torch.Tensor:
    features = torch.as_tensor(in_unit(stimulus, "1", "stimulus"), dtype=torch.float64)
    if features.ndim not in (1, 2) or features.shape[-1] != n_features:
        raise ValueError(
            f"`stimulus` must have shape ({n_features},) or (stimulus, {n_features}), got {tuple(features.shape)}"
        )
    return features


def _array(tensor: torch.Tensor) -> npt.NDArray[np.float64]:
    return tensor.detach().to("cpu", torch.float64).numpy()
