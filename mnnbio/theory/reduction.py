"""A circuit reduced to its populations: sums of weights from the rules of connectivity, without drawing a synapse."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import sparse

from mnnbio.circuit import (
    AllToAll,
    Circuit,
    FixedIndegree,
    FixedOutdegree,
    FixedTotalNumber,
    ModeMatrix,
    OneToOne,
    Projection,
)
from mnnbio.values import Distribution

Array = npt.NDArray[np.float64]
Complex = npt.NDArray[np.complex128]


class Sums(NamedTuple):
    """Sums over the synapses of a projection, each expected for one neuron."""

    total: float  # of the weights that a target receives, mV
    squares: float  # of their squares, mV²
    row_variance: float  # variance of `total` among targets, mV²
    column_variance: float  # variance among sources of the weights that they give, mV²


def sums(circuit: Circuit, projection: Projection) -> Sums:
    """Return the sums of one projection.

    Explicit weights are summed; rules give expectations. A rule of distance is taken to connect like pairs drawn
    independently with its mean probability.
    """
    if projection.connectivity is None:
        return _of_matrix(projection.weights)
    n_target, n_source = circuit.population(projection.target).size, circuit.population(projection.source).size
    rule = projection.connectivity
    autapses = projection.autapses or projection.source != projection.target
    degree = rule.mean_indegree(n_target, n_source, autapses=autapses)
    weight = projection.weight
    mean, std = weight.moments() if isinstance(weight, Distribution) else (weight, 0.0)
    drawn = 1 - min(degree / n_source, 1.0)  # variance of a degree over its mean where pairs are drawn one by one
    in_degree = out_degree = drawn
    if isinstance(rule, AllToAll | OneToOne):
        in_degree = out_degree = 0.0
    elif isinstance(rule, FixedIndegree):
        in_degree, out_degree = 0.0, 1.0 if rule.multapses else drawn
    elif isinstance(rule, FixedOutdegree):
        in_degree, out_degree = 1.0 if rule.multapses else drawn, 0.0
    elif isinstance(rule, FixedTotalNumber) and rule.multapses:
        in_degree = out_degree = 1.0
    return Sums(
        degree * mean,
        degree * (mean**2 + std**2),
        degree * (mean**2 * in_degree + std**2),
        degree * (mean**2 * out_degree + std**2) * n_target / n_source,
    )


def mean_phase(projection: Projection, omega: Complex) -> Complex:
    """Return the mean of ``e^{-iω delay}`` over the synapses of a projection, of the shape of ω (1/ms).

    A distribution of delays is represented by 20,000 values; the error is below 1 %.
    """
    delay = projection.delay
    if isinstance(delay, Distribution):
        delay = delay.sample(20_000, np.random.default_rng(0))
    values = np.ravel(np.asarray(delay, dtype=np.float64))
    if projection.connectivity is None and values.size > 1:
        strength = np.abs(_values(projection.weights))
        return np.asarray((np.exp(-omega[..., None] * values) * strength).sum(-1) / strength.sum())
    return np.asarray(np.exp(-omega[..., None] * values).mean(-1))


def _values(weights: Array | sparse.csr_array) -> Array:
    return np.ravel(weights.data if sparse.issparse(weights) else weights)


def _of_matrix(weights: Array | sparse.csr_array | ModeMatrix) -> Sums:
    if isinstance(weights, ModeMatrix):
        left, scores, right = weights.input_modes, weights.scores, weights.output_modes
        rows, columns = left @ (scores * right.sum(0)), right @ (scores * left.sum(0))
        squares = float((left.T @ left * (scores[:, None] * (right.T @ right) * scores)).sum()) / len(left)
    else:
        rows, columns = (np.asarray(weights.sum(axis)).ravel() for axis in (1, 0))
        squares = float((_values(weights) ** 2).sum()) / weights.shape[0]
    return Sums(float(rows.mean()), squares, float(rows.var()), float(columns.var()))
