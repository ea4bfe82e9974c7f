"""Membranes, sizes and readout of a circuit, read from its JSON text in a result file."""

from __future__ import annotations

import base64
import json
import math
import zlib
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr

Array = npt.NDArray[np.float64]


class LinearReadout(NamedTuple):
    """Decision variable ``weights @ rate + bias``, rate in spikes/ms."""

    source: str | tuple[str, ...]
    weights: Array
    """(output, neuron of `source`)."""
    bias: Array
    """(output,)."""
    labels: tuple[str, ...] | None
    """Names of the outputs."""


def result_of(data: xr.DataTree) -> xr.DataTree:
    """Return the node that holds a whole result: the parent of one of its groups, else the node itself."""
    if data.name in ("prediction", "simulation", "spikes", "counts", "comparison") and data.parent is not None:
        return data.parent
    return data


def circuit_description(data: xr.Dataset | xr.DataTree) -> dict[str, Any] | None:
    """Return the circuit of a result as the dictionary its JSON text holds, None where no circuit is stored.

    Raises
    ------
    ValueError
        If the text is not JSON.
    """
    holder = result_of(data) if isinstance(data, xr.DataTree) else data
    if "circuit" not in holder:
        return None
    try:
        description = json.loads(str(holder["circuit"].item()))
    except json.JSONDecodeError as error:
        raise ValueError(f"the result's variable `circuit` is not JSON ({error}): the file is damaged") from error
    return description if isinstance(description, dict) else None


def slowest_membrane(data: xr.Dataset | xr.DataTree) -> float | None:
    """Return the longest membrane time constant of a result's circuit, s; None where none is stored."""
    description = circuit_description(data)
    if description is None:
        return None
    neurons = (p.get("neuron", p.get("lif")) for p in description.get("populations", ()))  # `lif` in older files
    constants = [_decode(neuron["tau_m"]).max() for neuron in neurons if neuron and "tau_m" in neuron]
    return 1e-3 * float(max(constants)) if constants else None


def stored_readout(data: xr.Dataset | xr.DataTree) -> LinearReadout | None:
    """Return the readout of a result's circuit, None where there is none, or several."""
    readout = (circuit_description(data) or {}).get("readout")
    if isinstance(readout, list) and len(readout) == 1:
        (readout,) = readout
    if not isinstance(readout, dict):
        return None
    labels = readout["labels"]
    return LinearReadout(
        readout["source"] if isinstance(readout["source"], str) else tuple(readout["source"]),
        _decode(readout["weights"]),
        _decode(readout["bias"]),
        None if labels is None else tuple(labels),
    )


def _decode(value: Any) -> Array:
    """Return a number or a packed array (base64 of zlib of the bytes) as an array."""
    if not isinstance(value, dict):
        return np.asarray(value, dtype=np.float64)
    try:
        kind, shape = np.dtype(value["dtype"]), tuple(int(n) for n in value["shape"])
        size = kind.itemsize * math.prod(shape)
        unpacker = zlib.decompressobj()
        # Bounded by the size that is stated: a few bytes can unpack to more than there is memory.
        content = unpacker.decompress(base64.b64decode(value["array"]), size + 1)
        if len(content) != size:
            raise ValueError(f"it does not hold {size} bytes")
        return np.frombuffer(content, dtype=kind).reshape(shape).astype(np.float64)
    except (KeyError, TypeError, ValueError, zlib.error) as error:
        raise ValueError(f"an array of the stored circuit does not decode ({error}): the file is damaged") from error
