"""From a network that learned a table as spikes to the circuit that gives its spikes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from mnnbio.circuit import ChannelDrive, Circuit, Drive, Population, Projection, Readout, Source, SpikeSource
from mnnbio.exporting.signals import array
from mnnbio.neurons import DiscreteLIF
from mnnbio.synapses import Into
from mnnbio.training import SpikingTableNetwork
from mnnbio.units import in_unit
from mnnbio.values import Samples

INPUT = "input"

Array = npt.NDArray[np.float64]


def export_table(network: SpikingTableNetwork, stimulus: Any, labels: Sequence[Any] | None) -> Circuit:
    """Return the circuit of a network of spikes for tables; see `mnnbio.export`.

    Parameters
    ----------
    network : SpikingTableNetwork
    stimulus : array_like or Tensor, shape (features,) or (stimulus, features)
        Features, which the network's encoding turns into the inputs of every step, as in evaluation.
    labels : sequence, optional
    """
    inputs = _inputs(network, stimulus)
    own, dt = network.neuron, network.timing.dt
    neuron = DiscreteLIF(
        tau_m=own.tau_m, tau_syn=own.tau_syn, v_th=own.v_th, v_reset=own.v_reset, t_ref=own.t_ref, reset=own.reset
    )
    names = layer_names(network)
    populations: list[Source | Population] = []
    projections: list[Projection] = []
    drives: list[Drive] = []
    source = INPUT
    for name, weight, bias in zip(names, network.weights, network.biases, strict=True):
        matrix, constant = array(weight), array(bias)
        populations.append(Population(name, len(matrix), neuron))
        if source == INPUT and network.step_encoder.encoding in ("current", "flicker"):
            # The constant is a channel that is always 1.
            joined = np.column_stack([matrix, constant])
            shown = np.concatenate([inputs, np.ones((*inputs.shape[:-1], 1))], axis=-1)
            drives.append(ChannelDrive(name, joined, Samples(shown, dt)))
        else:
            projections.append(Projection(source, name, weights=matrix, synapse=Into("I", "mV")))
            drives.append(ChannelDrive(name, constant[:, None], np.ones(1)))
        source = name
    if network.step_encoder.encoding in ("poisson", "latency"):
        populations.insert(0, _source(inputs, dt))
    readout = None
    if network.reads == "count":
        shown_labels = None if labels is None else tuple(str(label) for label in labels)
        bias = network.readout.bias
        assert bias is not None
        readout = Readout(names[-1], array(network.readout.weight), array(bias), shown_labels)
    return Circuit(populations, projections, drives, readout)


def layer_names(network: SpikingTableNetwork) -> list[str]:
    """Return the names of the populations that the layers of neurons become."""
    number = len(network.weights)
    return ["hidden"] if number == 1 else [f"hidden_{k + 1}" for k in range(number)]


def _inputs(network: SpikingTableNetwork, stimulus: Any) -> Array:
    """Return what arrives in every step, shape (step, stimulus, channels)."""
    values = np.array(in_unit(stimulus, "1", "stimulus"), dtype=np.float64)
    features = network.encoder.in_features
    if values.ndim not in (1, 2) or values.shape[-1] != features or 0 in values.shape:
        raise ValueError(f"`stimulus` must have shape ({features},) or (stimulus, {features}), got {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError(f"`stimulus` must be finite, got {values[~np.isfinite(values)][0]}")
    if network.training:
        raise ValueError("the network is in training, where inputs are drawn anew each time: call its `eval` first")
    given = torch.from_numpy(np.atleast_2d(values)).to(network.dtype)
    with torch.no_grad():
        return array(network.inputs(network.encoder.clipped(given, stacklevel=5)))


def _source(inputs: Array, dt: float) -> SpikeSource:
    pairs = [np.nonzero(inputs[:, k]) for k in range(inputs.shape[1])]
    return SpikeSource(INPUT, [steps * dt for steps, _ in pairs], [channels for _, channels in pairs], inputs.shape[2])
