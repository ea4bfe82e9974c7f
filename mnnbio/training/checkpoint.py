"""Models and training states on disk: one safetensors file each, its header holding the rest as JSON.

One file is replaced in one step, so weights and what describes them cannot come apart; nothing is unpickled.
"""

from __future__ import annotations

import json
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes

from mnnbio.machine import written_aside
from mnnbio.nn import MomentCNN, MomentMLP

MODEL_FILE = "model.safetensors"


def _networks() -> dict[str, Any]:
    """Return the classes of networks that are kept, by name."""
    from mnnbio.training.spiking import GradedTableNetwork, SpikingTableNetwork  # which import this file

    kinds = (MomentCNN, MomentMLP, SpikingTableNetwork, GradedTableNetwork)
    return {kind.__name__: kind for kind in kinds}


class Stored(NamedTuple):
    """Content of a file.

    Attributes
    ----------
    tensors : dict of str to Tensor
    description : dict
        What was stored as JSON.
    """

    tensors: dict[str, torch.Tensor]
    description: dict[str, Any]


def write_file(path: Path, kind: str, tensors: dict[str, torch.Tensor], description: dict[str, Any]) -> None:
    """Write tensors and a description as JSON, aside first and renamed when complete.

    Raises
    ------
    OSError
        If the file cannot be written; what was there before is left whole.
    """
    header = {"format": f"mnnbio {kind}", "description": json.dumps(description)}
    content = to_bytes({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, header)
    with written_aside(path) as aside:
        aside.write_bytes(content)


def read_file(path: Path, kind: str) -> Stored:
    """Read what `write_file` wrote.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is damaged or holds something else.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged or not a safetensors file: {error}") from error
    if header.get("format") != f"mnnbio {kind}":
        raise ValueError(f"{path} does not hold a {kind} of mnnbio: its format is {header.get('format')!r}")
    return Stored(tensors, json.loads(header["description"]))


def save_model(model: Any, folder: str | PathLike[str]) -> Path:
    """Save a network, its configuration included.

    Parameters
    ----------
    model : MomentMLP, MomentCNN, SpikingTableNetwork or GradedTableNetwork
    folder : path
        Made if missing; a model already there is replaced.

    Returns
    -------
    Path
        The file written, ``model.safetensors``.

    Raises
    ------
    OSError
        If it cannot be written; a model that was there is left whole.
    TypeError
        If it is another network.
    """
    kind, networks = type(model).__name__, _networks()
    if kind not in networks:
        raise TypeError(f"`model` must be one of {sorted(networks)}, got {kind}")
    path = Path(folder) / MODEL_FILE
    write_file(path, "model", model.state_dict(), model.config())
    return path


def load_model(folder: str | PathLike[str]) -> Any:
    """Load a network saved by `save_model`, in evaluation mode.

    Parameters
    ----------
    folder : path

    Returns
    -------
    MomentMLP, MomentCNN, SpikingTableNetwork or GradedTableNetwork
        On the CPU, in the precision it was saved in.

    Raises
    ------
    FileNotFoundError
        If there is no model in the folder.
    ValueError
        If the file is damaged, or holds an unknown network, or its weights do not fit its configuration.
    """
    path = Path(folder) / MODEL_FILE
    tensors, config = read_file(path, "model")
    kind, networks = config.get("network"), _networks()
    if kind not in networks:
        raise ValueError(f"{path} holds a network of the kind {kind!r}, which is none of {sorted(networks)}")
    model = networks[kind].from_config(config)
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise ValueError(f"the weights in {path} do not fit its configuration: {error}") from error
    return model.eval()
