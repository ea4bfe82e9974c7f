"""Weights of a whole circuit, block by block as they are stored: full, sparse, or factored into modes.

What the neurons of a circuit receive: the weights among them, as they are stored, and what comes from outside.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import sparse

from mnnbio.circuit import Circuit, GaussianDrive, ModeMatrix, PoissonSource, Population, Projection
from mnnbio.moments import jump_factors
from mnnbio.neurons import LIFParameters

Array = npt.NDArray[np.float64]


class Modes(NamedTuple):
    """Weights ``left diag(scores) rightᵀ``; shapes (n, P), (P,) and (m, P)."""

    left: Array
    scores: Array
    right: Array


Weights: TypeAlias = "Array | sparse.csr_array | Modes"


class Received(NamedTuple):
    """Fluctuations of input currents, each of shape (n,)."""

    variance: Array  # mV²/ms
    colored: Array  # the same, each part times √tau_s of its synapses, mV²/√ms


@dataclass(frozen=True, eq=False)
class Connection:
    """One block of a matrix of weights.

    Parameters
    ----------
    rows, columns : slice
        Where the block stands.
    weights : ndarray, csr_array or Modes
        mV.
    scale : float or ndarray, shape (rows,)
        What a jump counts for in the target, see `mnnbio.moments.jump_factors`.
    tau_s : float
        Synaptic time constant, ms.
    """

    rows: slice
    columns: slice
    weights: Weights
    scale: float | Array = 1.0
    tau_s: float = 0.0

    @cached_property
    def _squared(self) -> Array | sparse.csr_array:
        return self.powers(2)

    def powers(self, power: int) -> Array | sparse.csr_array:
        """Return the weights, elementwise to that power; sparse ones share their indices with the original."""
        weights = self.weights
        if isinstance(weights, Modes):
            return ((weights.left * weights.scores) @ weights.right.T) ** power
        if isinstance(weights, np.ndarray):
            return weights**power
        return sparse.csr_array((weights.data**power, weights.indices, weights.indptr), shape=weights.shape)

    def dot(self, x: Array) -> Array:
        """Return ``W x`` for x of shape (columns,)."""
        if isinstance(self.weights, Modes):
            left, scores, right = self.weights
            return self.scale * (left @ (scores * (right.T @ x)))
        return self.scale * (self.weights @ x)

    def transposed_dot(self, x: Array) -> Array:
        """Return ``Wᵀ x`` for x of shape (rows, k)."""
        scaled = np.reshape(self.scale, (-1, 1)) * x
        if isinstance(self.weights, Modes):
            left, scores, right = self.weights
            return right @ (scores[:, None] * (left.T @ scaled))
        return np.asarray(self.weights.T @ scaled)

    def squared_dot(self, x: Array) -> Array:
        """Return ``(W∘W) x`` for x of shape (columns,)."""
        if isinstance(self.weights, Modes):
            left, scores, right = self.weights
            inner = scores[:, None] * ((right * x[:, None]).T @ right) * scores
            return self.scale**2 * ((left @ inner) * left).sum(1)
        return self.scale**2 * (self._squared @ x)


@dataclass(frozen=True, eq=False)
class Wiring:
    """All weights into the neurons of a circuit, as connections that add up.

    Parameters
    ----------
    shape : tuple of int
        Numbers of neurons and of the trains that they receive.
    connections : sequence of Connection
    """

    shape: tuple[int, int]
    connections: Sequence[Connection] = ()

    def dot(self, x: Array) -> Array:
        """Return ``W x``, shape (n,), for x of shape (m,)."""
        out = np.zeros(self.shape[0])
        for c in self.connections:
            out[c.rows] += c.dot(x[c.columns])
        return out

    def transposed_dot(self, x: Array) -> Array:
        """Return ``Wᵀ x``, shape (m, k), for x of shape (n, k)."""
        out = np.zeros((self.shape[1], x.shape[1]))
        for c in self.connections:
            out[c.columns] += c.transposed_dot(x[c.rows])
        return out

    def received(self, variance: Array) -> Received:
        """Return the fluctuations that independent trains of that variance per time (m,) give to the neurons."""
        total, colored = np.zeros(self.shape[0]), np.zeros(self.shape[0])
        for c in self.connections:
            part = c.squared_dot(variance[c.columns])
            total[c.rows] += part
            if c.tau_s > 0:
                colored[c.rows] += np.sqrt(c.tau_s) * part
        return Received(total, colored)

    def third(self, rate: Array) -> Array:
        """Return ``Σ_j W_ij³ rate_j``, shape (n,), mV³/ms: the asymmetry of the jumps."""
        out = np.zeros(self.shape[0])
        for c in self.connections:
            out[c.rows] += c.scale**3 * (c.powers(3) @ rate[c.columns])
        return out

    def to_dense(self) -> Array:
        """Return the matrix, shape (n, m)."""
        out = np.zeros(self.shape)
        for c in self.connections:
            block = c.powers(1)
            full = block if isinstance(block, np.ndarray) else block.toarray()
            out[c.rows, c.columns] += np.reshape(c.scale, (-1, 1)) * full
        return out

    def modes(self) -> Modes | None:
        """Return the weights as modes over all neurons, None if some of them are not factored."""
        parts: list[Modes] = []
        for c in self.connections:
            if not isinstance(c.weights, Modes):
                return None
            size = len(c.weights.scores)
            left, right = np.zeros((self.shape[0], size)), np.zeros((self.shape[1], size))
            left[c.rows] = np.reshape(c.scale, (-1, 1)) * c.weights.left
            right[c.columns] = c.weights.right
            parts.append(Modes(left, c.weights.scores, right))
        if not parts:
            return None
        left, right = (np.concatenate([getattr(p, name) for p in parts], axis=1) for name in ("left", "right"))
        return Modes(left, np.concatenate([p.scores for p in parts]), right)


class Wired(NamedTuple):
    """The weights of a circuit, in the order of its populations."""

    recurrent: Wiring  # (neuron, neuron)
    sources: Wiring  # (neuron, train of a source)
    lif: LIFParameters  # of all neurons


class External(NamedTuple):
    """What comes from outside, for one stimulus; arrays of shape (neuron,)."""

    mean: Array  # mV/ms
    received: Received
    third: Array  # third moment of the jumps, mV³/ms
    loadings: Wiring  # of independent noise sources on the currents, (neuron, noise source), mV/√ms


def wire(circuit: Circuit, dt: float | None) -> Wired:
    """Return the realised weights of a circuit; none is ever stored as a full matrix that is not one already.

    In discrete time, jumps count for more than a current of the same mean: see `mnnbio.moments.jump_factors`.
    """
    neurons, trains = circuit.slices(), source_slices(circuit)
    inner: list[Connection] = []
    outer: list[Connection] = []
    for projection in circuit.projections:
        target, source = circuit.population(projection.target), circuit.population(projection.source)
        assert isinstance(target, Population)
        from_outside = isinstance(source, PoissonSource)
        (outer if from_outside else inner).append(
            Connection(
                neurons[target.name],
                (trains if from_outside else neurons)[source.name],
                _weights(circuit, projection),
                arrival(target, dt, projection.tau_syn),
                projection.tau_syn,
            )
        )
    n = circuit.n_neurons
    m = max((place.stop for place in trains.values()), default=0)
    return Wired(Wiring((n, n), inner), Wiring((n, m), outer), _joined(circuit))


def external_input(circuit: Circuit, wired: Wired, dt: float | None) -> External:
    """Return what sources and drives give to the neurons of a circuit that has one stimulus."""
    n = circuit.n_neurons
    rate = np.concatenate([np.zeros(0), *(source.rates for source in circuit.sources)])
    spread = rate if dt is None else rate * (1 - rate * dt)  # at most one spike a step
    mean, third = wired.sources.dot(rate), wired.sources.third(rate)
    variance, colored = wired.sources.received(spread)
    loadings = [
        Connection(c.rows, c.columns, _times_columns(c.weights, np.sqrt(spread[c.columns])), c.scale)
        for c in wired.sources.connections
    ]
    sources = wired.sources.shape[1]
    for drive in circuit.drives:
        place = circuit.slices()[drive.target]
        if isinstance(drive, GaussianDrive):
            mean[place] += drive.mean
            variance[place] += drive.std**2
            if drive.factor is not None:
                variance[place] += (drive.factor**2).sum(-1)
                columns = slice(sources, sources + drive.factor.shape[-1])
                loadings.append(Connection(place, columns, np.array(drive.factor)))
                sources = columns.stop
        else:
            population = circuit.population(drive.target)
            assert isinstance(population, Population)
            jump = drive.weight * arrival(population, dt, drive.tau_syn)
            mean[place] += drive.rate * jump
            variance[place] += drive.rate * jump**2
            colored[place] += drive.rate * jump**2 * np.sqrt(drive.tau_syn)
            third[place] += drive.rate * jump**3
    return External(mean, Received(variance, colored), third, Wiring((n, sources), loadings))


def source_slices(circuit: Circuit) -> dict[str, slice]:
    """Return where each Poisson source stands in an array over all of their trains."""
    stops = np.cumsum([s.size for s in circuit.sources]).tolist()
    return {s.name: slice(stop - s.size, stop) for s, stop in zip(circuit.sources, stops, strict=True)}


def arrival(population: Population, dt: float | None, tau_syn: float) -> float | Array:
    """Return what a jump counts for; the current of an exponential synapse is no jump and keeps its charge."""
    if dt is None or tau_syn > 0:
        return 1.0
    factor = jump_factors(population.lif, dt).mean.numpy()
    return factor if factor.ndim else float(factor)


def _weights(circuit: Circuit, projection: Projection) -> Weights:
    matrix = circuit.matrix(projection)
    return Modes(matrix.input_modes, matrix.scores, matrix.output_modes) if isinstance(matrix, ModeMatrix) else matrix


def _times_columns(weights: Weights, factors: Array) -> Weights:
    if isinstance(weights, Modes):
        return weights._replace(right=weights.right * factors[:, None])
    if isinstance(weights, np.ndarray):
        return weights * factors
    scaled = weights.data * factors[weights.indices]
    return sparse.csr_array((scaled, weights.indices, weights.indptr), shape=weights.shape)


def _joined(circuit: Circuit) -> LIFParameters:
    """Return the parameters of all neurons; single numbers where all agree."""
    parameters = {}
    for name in ("tau_m", "v_th", "v_reset", "t_ref"):
        values = np.concatenate([np.broadcast_to(getattr(p.lif, name), p.size) for p in circuit.neurons])
        parameters[name] = float(values[0]) if (values == values[0]).all() else values
    return LIFParameters(**parameters)
