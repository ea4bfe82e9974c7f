"""What a result holds, and how its dimensions are labelled: enough to know which results fit together, unread."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import xarray as xr

from mnnbio.run.fingerprint import DIGITS

# Spike trains differ in length from point to point, and are read point by point.
_NEVER_MERGED = ("spikes",)

Layout = dict[str, dict[str, Any]]


def layout_of(tree: xr.DataTree) -> Layout:
    """Return variables and dimensions of every group, as JSON can hold them.

    Returns
    -------
    dict
        By group: ``variables``, by name their dimensions and type; ``dims``, by name the size and the fingerprint of
        all labels along the dimension; ``populations``, by name the number of neurons, in their order.
    """
    return {
        node.path.lstrip("/"): _group(node.to_dataset())
        for node in tree.subtree
        if node.path != "/" and node.path.split("/")[1] not in _NEVER_MERGED and node.data_vars
    }


def _group(dataset: xr.Dataset) -> dict[str, Any]:
    populations: dict[str, int] = {}
    if "population" in dataset.coords and dataset["population"].dims == ("neuron",):
        names = dataset["population"].values
        populations = {str(name): int(np.count_nonzero(names == name)) for name in dict.fromkeys(names.tolist())}
    return {
        "variables": {str(name): [list(v.dims), v.dtype.str] for name, v in dataset.data_vars.items()},
        "dims": {str(dim): [int(size), _labels(dataset, str(dim))] for dim, size in dataset.sizes.items()},
        "populations": populations,
    }


def _labels(dataset: xr.Dataset, dim: str) -> str:
    digest = hashlib.sha256()
    for name in sorted(str(name) for name, coord in dataset.coords.items() if coord.dims == (dim,)):
        values = dataset[name].values
        digest.update(f"{name}{values.dtype.kind}".encode())
        digest.update("\0".join(map(str, values.tolist())).encode())
    return digest.hexdigest()[:DIGITS]
