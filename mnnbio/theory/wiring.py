"""Weights of a whole circuit, block by block as they are stored: full, sparse, or factored into modes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import comb
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse

from mnnbio.moments import joint_filter

Array = npt.NDArray[np.float64]

ROWS_AT_ONCE = 2_000_000  # weights of modes that are expanded at a time
UNKNOWN = 1e6  # times the slowest synapses, a membrane without a time constant


class Modes(NamedTuple):
    """Weights ``left diag(scores) rightᵀ``; shapes (n, P), (P,) and (m, P)."""

    left: Array
    scores: Array
    right: Array


Weights: TypeAlias = "Array | sparse.csr_array | Modes"


class Kinds(NamedTuple):
    """Kinds of synapses by which noise is filtered."""

    tau_s: Array  # ms, (kind,)
    shares: Array  # of the power of all noise, (kind, …, n)

    def joint(self, tau_m: Array | float) -> tuple[Array, Array]:
        """Return one time constant (ms) and the share of white noise; see `mnnbio.moments.joint_filter`."""
        powers = np.concatenate([np.maximum(1 - self.shares.sum(0), 0.0)[None], self.shares])
        tau_m = np.where(np.isfinite(tau_m), tau_m, UNKNOWN * self.tau_s.max())  # the mean time constant remains
        values = (powers, np.array([0.0, *self.tau_s]), tau_m)
        found = joint_filter(*(torch.as_tensor(v, dtype=torch.float64) for v in values))
        return found.tau_s.numpy(), found.white.numpy()

    def tensors(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return both as tensors."""
        return torch.from_numpy(self.tau_s), torch.from_numpy(np.ascontiguousarray(self.shares))


@dataclass(frozen=True, eq=False)
class Filtered:
    """Fluctuations that pass through synapses with filters, apart by their time constants.

    Parameters
    ----------
    parts : mapping of float to ndarray
        Time constant, ms, to variance per time before the filter, arrays (…, n) of like shapes.
    """

    parts: Mapping[float, Array] = field(default_factory=dict)

    def __add__(self, other: Filtered) -> Filtered:
        """Return the sum of independent fluctuations."""
        found = dict(self.parts)
        for tau, part in other.parts.items():
            found[tau] = found[tau] + part if tau in found else part
        return Filtered(found)

    def __getitem__(self, places: Any) -> Filtered:
        """Return those of some neurons."""
        return self.map(lambda part: part[places])

    def map(self, change: Callable[[Array], Array]) -> Filtered:
        """Return the fluctuations with each part changed."""
        return Filtered({tau: change(part) for tau, part in self.parts.items()})

    def placed(self, places: Any, shape: tuple[int, ...]) -> Filtered:
        """Return those of more neurons, of which some places receive these, and the others none."""

        def among(part: Array) -> Array:
            found = np.zeros(shape)
            found[places] = part
            return found

        return self.map(among)

    def kinds(self, variance: Array) -> Kinds | None:
        """Return time constants and shares of all noise, white noise among it; None if nothing is filtered.

        Parameters
        ----------
        variance : ndarray, shape (…, n)
            Of all noise per time, these fluctuations among it, mV²/ms.
        """
        parts = {tau: part for tau, part in self.parts.items() if np.any(part)}
        if not parts:
            return None
        powers = np.stack([np.broadcast_to(part, np.shape(variance)) for part in parts.values()])
        whole = np.maximum(variance, powers.sum(0))  # but for rounding, the variance
        return Kinds(np.array(list(parts)), powers / np.where(whole > 0, whole, 1.0))


class Received(NamedTuple):
    """Fluctuations of input currents, each of shape (n,)."""

    variance: Array  # mV²/ms
    filtered: Filtered = Filtered()  # the part of it that synapses filter


class Conductances(NamedTuple):
    """Cumulants of conductances per time; the current of each, ``g (E - v)``, depends on where the potential is.

    Fluctuations are sums over synapses of ``charge² rate (E - v)²/C²`` and alike: polynomials in v, kept as the sums
    with the powers 0, 1, … of the reversal potential E (mV), along the first axis.
    """

    mean: Array  # nS, (n,)
    pull: Array  # each times its reversal potential, pA, (n,)
    variance: Array  # nS² ms, (3, n)
    third: Array  # nS³ ms², (4, n)
    filtered: Filtered = Filtered()  # the part of the variance that synapses filter, (3, n)

    @staticmethod
    def none(n: int) -> Conductances:
        """Return those of neurons without any."""
        return Conductances(np.zeros(n), np.zeros(n), np.zeros((3, n)), np.zeros((4, n)))

    def plus(self, other: Conductances) -> Conductances:
        """Return the sum of two."""
        return Conductances(
            self.mean + other.mean,
            self.pull + other.pull,
            self.variance + other.variance,
            self.third + other.third,
            self.filtered + other.filtered,
        )

    def at(self, places: npt.NDArray[np.int64]) -> Conductances:
        """Return those of some neurons."""
        return Conductances(
            self.mean[places],
            self.pull[places],
            self.variance[:, places],
            self.third[:, places],
            self.filtered[..., places],
        )

    def received(self, potential: Array, capacitance: Array) -> Received:
        """Return the fluctuations of the currents at a potential (mV), of neurons of a capacitance (pF)."""

        def current(value: Array) -> Array:
            found = _around(value, potential) / capacitance**2
            return np.maximum(found, 0.0)  # rounding may leave less than none

        return Received(current(self.variance), self.filtered.map(current))

    def asymmetry(self, potential: Array, capacitance: Array) -> Array:
        """Return the third cumulant of the currents at a potential, mV³/ms."""
        return _around(self.third, potential) / capacitance**3


def joined_conductances(parts: Sequence[Conductances]) -> Conductances:
    """Return those of several groups of neurons, one after the other."""
    stops = np.cumsum([len(part.mean) for part in parts])
    filtered = Filtered()
    for part, stop in zip(parts, stops, strict=True):
        filtered = filtered + part.filtered.placed((..., slice(stop - len(part.mean), stop)), (3, int(stops[-1])))
    mean, pull, variance, third = (
        np.concatenate(values, axis=-1) for values in zip(*(part[:4] for part in parts), strict=True)
    )
    return Conductances(mean, pull, variance, third, filtered)


def _around(sums: Array, potential: Array) -> Array:
    """Return Σ x (E - v)^k from the sums of x E^j, j = 0 … k, along the first axis."""
    order = len(sums) - 1
    return np.asarray(sum(comb(order, j) * (-potential) ** (order - j) * sums[j] for j in range(order + 1)))


class Efficacy(Protocol):
    """What synapses transmit of their weight, by the rate of their source, 1/ms."""

    def mean(self, rate: Array) -> Array:
        """Return the mean factor."""

    def square(self, rate: Array) -> Array:
        """Return the mean of its square."""

    def slope(self, rate: Array) -> Array:
        """Return the derivative of rate times mean factor by the rate."""


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
    reversal : float, optional
        Reversal potential of conductances, mV; weights times `scale` are then in nS ms.
    efficacy : Efficacy, optional
        Of synapses that change with the rate of their source.
    sent, sent_squared : float or ndarray, shape (columns,)
        Factors of weights, and of their squares, that the rates of the sources give.
    """

    rows: slice
    columns: slice
    weights: Weights
    scale: float | Array = 1.0
    tau_s: float = 0.0
    reversal: float | None = None
    efficacy: Efficacy | None = None
    sent: float | Array = 1.0
    sent_squared: float | Array = 1.0

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

    def at_rate(self, rate: Array, *, small: bool = False) -> Connection:
        """Return the block as it transmits trains of a rate (columns,), or, if `small`, small changes of that rate."""
        if self.efficacy is None:
            return self
        sent = self.efficacy.slope(rate) if small else self.efficacy.mean(rate)
        found = replace(self, sent=sent, sent_squared=sent**2 if small else self.efficacy.square(rate))
        vars(found).update({name: value for name, value in vars(self).items() if name == "_squared"})  # as it was
        return found

    def at_potential(self, potential: Array, capacitance: Array) -> Connection:
        """Return conductances as the currents that they are at a potential (n,), mV."""
        assert self.reversal is not None
        pull = (self.reversal - potential[self.rows]) / capacitance[self.rows]
        return replace(self, scale=self.scale * pull, reversal=None)

    def dot(self, x: Array) -> Array:
        """Return ``W x`` for x of shape (columns,)."""
        x = x if self.efficacy is None else self.sent * x
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
        found = np.asarray(self.weights.T @ scaled)
        return found if self.efficacy is None else np.reshape(self.sent, (-1, 1)) * found

    def squared_dot(self, x: Array) -> Array:
        """Return ``(W∘W) x`` for x of shape (columns,)."""
        x = x if self.efficacy is None else self.sent_squared * x
        if isinstance(self.weights, Modes):
            left, scores, right = self.weights
            inner = scores[:, None] * ((right * x[:, None]).T @ right) * scores
            return self.scale**2 * ((left @ inner) * left).sum(1)
        return self.scale**2 * (self._squared @ x)

    def cubed_dot(self, x: Array) -> Array:
        """Return ``(W∘W∘W) x``, without `scale`, for x of shape (columns,); modes are expanded by some rows at once."""
        if not isinstance(self.weights, Modes):
            return np.asarray(self.powers(3) @ x)
        left, scores, right = self.weights
        found = np.empty(len(left))
        rows = max(1, ROWS_AT_ONCE // max(1, len(right)))
        for k in range(0, len(left), rows):
            block = (left[k : k + rows] * scores) @ right.T
            found[k : k + rows] = (block * block * block) @ x
        return found


@dataclass(frozen=True, eq=False)
class Wiring:
    """All weights into the neurons of a circuit, as connections that add up.

    Parameters
    ----------
    shape : tuple of int
        Numbers of neurons and of the trains that they receive.
    connections : sequence of Connection
        Jumps and currents.
    conductances : sequence of Connection
        Those with a reversal potential, which are currents `at` a potential.
    """

    shape: tuple[int, int]
    connections: Sequence[Connection] = ()
    conductances: Sequence[Connection] = ()

    def at_rates(self, rate: Array, *, small: bool = False) -> Wiring:
        """Return the weights as they transmit trains of that rate (m,), or, if `small`, small changes of it."""
        if all(c.efficacy is None for c in (*self.connections, *self.conductances)):
            return self
        parts = (
            [c.at_rate(rate[c.columns], small=small) for c in kind] for kind in (self.connections, self.conductances)
        )
        return Wiring(self.shape, *parts)

    def at_potential(self, potential: Array, capacitance: Array) -> Wiring:
        """Return weights that add up, conductances as the currents that they are at a potential (n,), mV."""
        if not self.conductances:
            return self
        currents = [c.at_potential(potential, capacitance) for c in self.conductances]
        return Wiring(self.shape, [*self.connections, *currents])

    def opened(self, rate: Array, variance: Array) -> Conductances | None:
        """Return the conductances that trains of that rate and variance per time (m,) open; None if there are none."""
        if not self.conductances:
            return None
        found, filtered = Conductances.none(self.shape[0]), Filtered()
        for c in self.conductances:
            assert c.reversal is not None
            powers = c.reversal ** np.arange(4.0)[:, None]
            mean, noise = c.dot(rate[c.columns]), c.squared_dot(variance[c.columns])
            sent = rate[c.columns] if c.efficacy is None else c.sent**3 * rate[c.columns]
            third = c.scale**3 * (c.powers(3) @ sent)
            found.mean[c.rows] += mean
            found.pull[c.rows] += c.reversal * mean
            found.variance[:, c.rows] += powers[:3] * noise
            found.third[:, c.rows] += powers * third
            if c.tau_s > 0:
                part = Filtered({c.tau_s: powers[:3] * noise})
                filtered = filtered + part.placed((..., c.rows), (3, self.shape[0]))
        return found._replace(filtered=filtered)

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
        total, filtered = np.zeros(self.shape[0]), Filtered()
        for c in self.connections:
            part = c.squared_dot(variance[c.columns])
            total[c.rows] += part
            if c.tau_s > 0:
                filtered = filtered + Filtered({c.tau_s: part}).placed(c.rows, total.shape)
        return Received(total, filtered)

    def third(self, rate: Array) -> Array:
        """Return ``Σ_j W_ij³ rate_j``, shape (n,), mV³/ms: the asymmetry of the jumps."""
        out = np.zeros(self.shape[0])
        for c in self.connections:
            sent = rate[c.columns] if c.efficacy is None else c.sent**3 * rate[c.columns]
            out[c.rows] += c.scale**3 * c.cubed_dot(sent)
        return out

    def to_dense(self) -> Array:
        """Return the matrix, shape (n, m)."""
        out = np.zeros(self.shape)
        for c in self.connections:
            block = c.powers(1)
            full = block if isinstance(block, np.ndarray) else block.toarray()
            full = full if c.efficacy is None else full * c.sent
            out[c.rows, c.columns] += np.reshape(c.scale, (-1, 1)) * full
        return out

    def modes(self) -> Modes | None:
        """Return the weights as modes over all neurons, None if some of them are not factored."""
        parts: list[Modes] = []
        for c in self.connections:
            if not isinstance(c.weights, Modes):  # such synapses have no plasticity either
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
