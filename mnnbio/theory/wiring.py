"""Weights of a whole circuit, block by block as they are stored: full, sparse, or factored into modes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import sparse

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
