"""Realisation of projections: one draw of weights and delays, and whether the drawn synapses obey Dale's law."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

import numpy as np
from scipy import sparse

from mnnbio.circuit.parts import Array, Matrix, ModeMatrix, Projection
from mnnbio.machine import check_choice
from mnnbio.values import Distribution

if TYPE_CHECKING:
    from mnnbio.circuit.circuit import Circuit


class Realised(NamedTuple):
    """Synapses of a projection.

    Parameters
    ----------
    matrix : ndarray, csr_array or ModeMatrix, shape (n_target, n_source)
        Weights, mV.
    delays : float or ndarray
        One delay, ms; or one per synapse, in the shape of a dense matrix or in the order of ``matrix.data``.
    """

    matrix: Matrix
    delays: float | Array


def realise(projection: Projection, n_target: int, n_source: int, seed: int, number: int, *, within: bool) -> Realised:
    """Draw what is random in a projection.

    Synapses, weights and delays have random numbers of their own: changing one leaves the others as they are.

    Parameters
    ----------
    projection : Projection
    n_target, n_source : int
        Sizes of its populations.
    seed, number : int
        Seed of the circuit and number of the projection in it.
    within : bool
        Whether the projection goes from a population to itself.
    """

    def generator(purpose: int) -> np.random.Generator:
        return np.random.default_rng([seed, number, purpose])

    if projection.connectivity is None:
        matrix = projection.weights
    else:
        matrix = _rule_matrix(projection, n_target, n_source, generator(0), generator(1), within=within)
    delays = projection.delay
    if isinstance(delays, Distribution):
        if isinstance(matrix, np.ndarray):
            delays = delays.sample(matrix.size, generator(2)).reshape(matrix.shape)
        else:
            delays = delays.sample(matrix.nnz, generator(2))
        delays.setflags(write=False)
    return Realised(matrix, delays)


def _rule_matrix(
    projection: Projection,
    n_target: int,
    n_source: int,
    pairs: np.random.Generator,
    values: np.random.Generator,
    *,
    within: bool,
) -> sparse.csr_array:
    assert projection.connectivity is not None
    target, source = projection.connectivity.sample(
        n_target, n_source, pairs, autapses=projection.autapses or not within
    )
    if (target[1:] < target[:-1]).any():
        order = np.lexsort((source, target))
        target, source = target[order], source[order]
    weight = projection.weight
    if isinstance(weight, Distribution):
        data = weight.sample(len(target), values)
    else:
        data = np.full(len(target), weight, dtype=np.float64)
    row_ends = np.cumsum(np.bincount(target, minlength=n_target))
    starts = np.concatenate([[0], row_ends]).astype(np.int32 if len(target) < 2**31 else np.int64)
    matrix = sparse.csr_array((data, source, starts), shape=(n_target, n_source))
    if not isinstance(projection.delay, Distribution):
        matrix.sum_duplicates()  # the spike arrives at all synapses of a pair at once
    return matrix


Sign = Literal["excitatory", "inhibitory"]


def check_dale(circuit: Circuit, signs: Mapping[str, Sign] | None = None) -> None:
    """Raise a `ValueError` that names the first neuron which breaks Dale's law; see `Circuit.check_dale`."""
    wanted = dict(signs or {})
    for name, sign in wanted.items():
        circuit.population(name)
        check_choice(f"signs[{name!r}]", sign, get_args(Sign))
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
