"""Weights that plasticity has changed, taken from a result back into the projections of a circuit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from scipy import sparse

from mnnbio.circuit.parts import Projection


def learned_projections(projections: Sequence[Projection], result: Any, stimulus: int, trial: int) -> list[Projection]:
    """Return projections with the weights that a result has at the end of a presentation; the others stay.

    Raises
    ------
    ValueError
        If the result holds no weights, or they are not those of the projections.
    """
    groups = result.children.get("weights")
    if groups is None or not groups.children:
        raise ValueError("the result holds no weights: simulate a circuit whose projections have a `plasticity`")
    changed = list(projections)
    for name, group in groups.children.items():
        dataset = group.to_dataset()
        number = int(dataset.attrs.get("projection", -1))
        ends = dataset.attrs.get("source"), dataset.attrs.get("target")
        if not 0 <= number < len(changed) or (changed[number].source, changed[number].target) != ends:
            raise ValueError(f"the weights {name!r} are of {ends[0]} → {ends[1]}, which the circuit lacks")
        weights = dataset["weight"].isel(trial=trial)
        values = weights.isel(stimulus=stimulus) if "stimulus" in weights.dims else weights
        changed[number] = _with_values(changed[number], dataset, np.asarray(values.values, dtype=np.float64))
    return changed


def _with_values(projection: Projection, dataset: Any, values: np.ndarray[Any, Any]) -> Projection:
    """Return a projection with a weight for every synapse."""
    target, source = dataset["target_index"].values, dataset["source_index"].values
    shape = tuple(int(size) for size in dataset.attrs["shape"])
    if np.ndim(projection.delay) or not isinstance(projection.delay, float):
        raise ValueError(
            f"the weights of {projection} cannot be taken over: its synapses differ in delay. Give it one delay"
        )
    matrix = sparse.csr_array((values, (target, source)), shape=shape)
    matrix.sort_indices()
    return replace(projection, weights=matrix, weight=None, connectivity=None)
