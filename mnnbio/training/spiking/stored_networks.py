"""Spiking and rate networks on disk: one safetensors file each, its header holding the settings as JSON."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from mnnbio.training.checkpoint import read_file, write_file
from mnnbio.training.spiking.networks import RateNetwork, SpikingNetwork
from mnnbio.training.spiking.recurrent_weights import FullWeights, ModeWeights
from mnnbio.training.spiking.steps import SpikeFilter, SpikingNeuron

NETWORK_FILE = "network.safetensors"
KIND = "recurrent network"

Network = SpikingNetwork | RateNetwork


def save_network(network: Network, path: str | PathLike[str]) -> Path:
    """Save a spiking or a rate network, its settings included.

    Parameters
    ----------
    network : SpikingNetwork or RateNetwork
    path : path
        File to write; one that is there is replaced as a whole. In a folder, ``network.safetensors``.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    file = _file(path)
    description = {
        "network": "spiking" if isinstance(network, SpikingNetwork) else "rate",
        "weights": "modes" if isinstance(network.recurrent, ModeWeights) else "full",
        "settings": settings_of(network),
    }
    write_file(file, KIND, network.state_dict(), description)
    return file


def load_network(path: str | PathLike[str]) -> Network:
    """Load a network saved by `save_network`; nothing is unpickled.

    Parameters
    ----------
    path : path
        The file, or its folder.

    Returns
    -------
    SpikingNetwork or RateNetwork
        On the CPU, in the precision it was saved in.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is damaged or holds something else.
    """
    file = _file(path)
    tensors, description = read_file(file, KIND)
    try:
        network = _built(tensors, description)
        network.load_state_dict(tensors)
    except (KeyError, TypeError, RuntimeError) as error:
        raise ValueError(f"the weights in {file} do not fit its settings: {error}") from error
    return network


def settings_of(network: Network) -> dict[str, Any]:
    """Return the settings of a network apart from its weights, as JSON can hold them.

    Constants that are learned have the values that they have now.
    """
    settings: dict[str, Any] = {"dt": network.dt, "readout": network.readout}
    if isinstance(network, RateNetwork):
        return settings | {"tau_m": network.tau_m, "reads": network.reads}
    settings |= {"neuron": _plain(network.neuron), "filter": _plain(network.filter)}
    return settings | {"learn": sorted(network.logarithms), "slope": network.slope, "truncate": network.truncate}


def _plain(owner: SpikingNeuron | SpikeFilter) -> dict[str, Any]:
    return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in vars(owner).items()}


def _built(tensors: dict[str, Tensor], description: dict[str, Any]) -> Network:
    own = {name.removeprefix("recurrent."): value for name, value in tensors.items() if name.startswith("recurrent.")}
    recurrent: ModeWeights | FullWeights
    if description["weights"] == "modes":
        masks = {name: own.get(name) for name in ("mask_in", "mask_out", "signs")}
        recurrent = ModeWeights(own["raw_modes_in"], own["raw_scores"], own["raw_modes_out"], **masks)
    else:
        recurrent = FullWeights(own["raw_weight"], mask=own.get("mask"), signs=own.get("signs"))
    settings = dict(description["settings"])
    weights = tensors["weight_in"], recurrent, tensors["weight_out"]
    if description["network"] == "rate":
        return RateNetwork(*weights, **settings)
    neuron, filter = SpikingNeuron(**settings.pop("neuron")), SpikeFilter(**settings.pop("filter"))
    return SpikingNetwork(*weights, neuron=neuron, filter=filter, **settings)


def _file(path: str | PathLike[str]) -> Path:
    return Path(path) / NETWORK_FILE if Path(path).is_dir() else Path(path)
