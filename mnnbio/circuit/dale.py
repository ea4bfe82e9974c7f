"""Dale's law: all synapses that a neuron makes have one sign."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np

from mnnbio.circuit.circuit import Circuit
from mnnbio.circuit.parts import (
    Array,
    Matrix,
    ModeMatrix,
)

Sign = Literal["excitatory", "inhibitory"]


def check_dale(circuit: Circuit, signs: Mapping[str, Sign] | None = None) -> None:
    """Raise a `ValueError` that names the first neuron which breaks Dale's law; see `Circuit.check_dale`."""
    wanted = dict(signs or {})
    for name, sign in wanted.items():
        circuit.population(name)
        if sign not in ("excitatory", "inhibitory"):
            raise ValueError(f"Invalid value {sign!r} for the sign of {name!r}. Must be 'excitatory' or 'inhibitory'")
    for population in circuit.populations:
        outgoing = [p for p in circuit.projections if p.source == population.name]
        lowest, highest = np.zeros(population.size), np.zeros(population.size)
        for projection in outgoing:
            low, high = _extremes(circuit.matrix(projection))
            lowest, highest = np.minimum(lowest, low), np.maximum(highest, high)
        rule = wanted.get(population.name)
        broken = {"excitatory": lowest < 0, "inhibitory": highest > 0}.get(rule or "", (lowest < 0) & (highest > 0))
        if broken.any():
            neuron = int(np.argmax(broken))
            expected = f"all {rule}" if rule else "all excitatory or all inhibitory"
            raise ValueError(
                f"Dale's law: the synapses of neuron {neuron} of {population.name!r} must be {expected}, got weights "
                f"from {lowest[neuron]:g} to {highest[neuron]:g} mV ({int(broken.sum())} such neurons)"
            )


def _extremes(matrix: Matrix) -> tuple[Array, Array]:
    """Return the least and the greatest weight of every source, with 0 in between."""
    dense = matrix.to_dense() if isinstance(matrix, ModeMatrix) else matrix
    if isinstance(dense, np.ndarray):
        return dense.min(axis=0), dense.max(axis=0)
    lowest, highest = np.zeros(dense.shape[1]), np.zeros(dense.shape[1])
    np.minimum.at(lowest, dense.indices, dense.data)
    np.maximum.at(highest, dense.indices, dense.data)
    return lowest, highest
