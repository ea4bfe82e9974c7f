"""Leaky integrate-and-fire neurons clamped to given spikes: their potential as an affine function of their weights."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt
from scipy import signal

from mnnbio.learning.frozen_network import FrozenNetwork
from mnnbio.learning.targets import SpikeTargets
from mnnbio.synapses import propagator

Array = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]
Int64 = npt.NDArray[np.int64]

BLOCK = 4096  # steps that are computed together
KEPT_BYTES = 2**29  # of blocks that are kept


class AffinePotential(NamedTuple):
    """Potential of a clamped neuron, ``external + response @ weights``, in some steps.

    Attributes
    ----------
    step : ndarray of int64, shape (step,)
    external : ndarray, shape (step,)
        mV: what the neuron's current, start value and resets give.
    response : ndarray, shape (step, n)
        mV per mV of the weight from each source.
    fires : ndarray of bool, shape (step,)
        Whether the neuron is to fire.
    """

    step: Int64
    external: Array
    response: Array
    fires: Bool


class ClampedNeurons:
    """Leaky integrate-and-fire neurons whose sources, and whose own resets, follow given spike trains.

    With all spikes given, the potential of neuron i before its threshold is tested is linear between its own spikes,

    ``V_i(k) = V_ext,i(k) + Σ_j K_ij(k) W_ij``,

    in which the trace of source j since the last reset, with ``l = exp(-dt/tau_m)``, P the propagator of the exact
    step and e the last step in which the neuron is held, is ``K(k) = u(k) - l^(k-e) u(e)``; u is the trace without
    resets, ``u(k) = l u(k-1) + P c(k)``, ``c(k) = exp(-dt/tau_syn) c(k-1) + s(k-1-d)/tau_syn``, with s the spikes of
    the source and d its delay in steps. So input that comes while a neuron is held is lost, and synaptic currents run
    on. The order within a step is that of simulations. In double precision; blocks of steps are computed when needed.

    Parameters
    ----------
    targets : SpikeTargets
        Trains of all neurons.
    currents : ndarray, shape (step, n)
        Frozen currents, mV/ms.
    tau_m, v_th, v_reset, t_ref, start : ndarray, shape (n,)
        Of the neurons: ms, mV, mV, ms, mV.
    tau_syn : ndarray, shape (n,)
        Of the sources, ms; 0 for delta synapses.
    delay_steps : ndarray of int64, shape (n,)
        Of the sources.

    Raises
    ------
    ValueError
        If neurons have no train, or the currents another shape.

    References
    ----------
    S. Rotter, M. Diesmann (1999), Exact digital simulation of time-invariant linear systems with applications to
    neuronal modeling, Biological Cybernetics 81, 381-402, sec. 3.1.
    """

    def __init__(
        self,
        targets: SpikeTargets,
        currents: Array,
        *,
        tau_m: Array,
        tau_syn: Array,
        v_th: Array,
        v_reset: Array,
        t_ref: Array,
        start: Array,
        delay_steps: Int64,
    ) -> None:
        if not targets.has_target.all():
            missing = np.flatnonzero(~targets.has_target)
            raise ValueError(
                f"rules on clamped input need the spikes of every neuron, neuron {missing[0]} ({len(missing)} in all) "
                "has no train: give trains of all, or learn with PSPM"
            )
        if np.shape(currents) != (targets.n_steps, targets.size):
            raise ValueError(
                f"`currents` must have shape (step, neuron), ({targets.n_steps}, {targets.size}), got "
                f"{np.shape(currents)}"
            )
        self.targets, self.currents = targets, currents
        self.size, self.n_steps, self.dt = targets.size, targets.n_steps, targets.dt
        self.tau_m, self.tau_syn, self.v_th, self.v_reset = tau_m, tau_syn, v_th, v_reset
        # A spike without delay arrives in the next step: its own step has taken its arrivals before the threshold.
        self.start, self.delay_steps = start, np.maximum(np.asarray(delay_steps, dtype=np.int64), 1)
        self.hold = np.rint(np.asarray(t_ref) / self.dt).astype(np.int64)
        self._raster = targets.raster
        delta = tau_syn == 0
        safe = np.where(delta, 1.0, tau_syn)
        self._jump, self._charge = delta.astype(np.float64), np.where(delta, 0.0, 1 / safe)
        self._fade = np.where(delta, 0.0, np.exp(-self.dt / safe))
        self._safe = safe
        # State of currents and traces before each block, by membrane time constant.
        self._starts: dict[float, list[tuple[Array, Array]]] = {}
        self._kept: OrderedDict[tuple[float, int], Array] = OrderedDict()

    @classmethod
    def of(cls, network: FrozenNetwork, targets: SpikeTargets) -> Self:
        """Return the neurons of a network, clamped to trains.

        Raises
        ------
        TypeError
            If they are not LIF neurons with delta or exponential synapses.
        ValueError
            If neurons have no train, or the network's input is not a current.
        """
        network.require_lif("learning on clamped input")
        return cls(
            targets,
            network.currents,
            tau_m=network.tau_m,
            tau_syn=network.tau_syn,
            v_th=network.v_th,
            v_reset=network.v_reset,
            t_ref=network.t_ref,
            start=network.start,
            delay_steps=network.delay_steps,
        )

    def last_held(self, neuron: int, steps: npt.ArrayLike) -> Int64:
        """Return the last step in which a neuron is held by its spikes before each step; -1 before its first spike."""
        train = self.targets.steps[neuron]
        before = np.searchsorted(train, np.asarray(steps), side="left") - 1
        held = train[np.maximum(before, 0)] + self.hold[neuron] if train.size else np.zeros_like(before)
        return np.where(before < 0, -1, held).astype(np.int64)

    def live(self, neuron: int) -> Int64:
        """Return the steps in which a neuron is not held, so that its threshold counts."""
        steps = np.arange(self.n_steps)
        return np.flatnonzero(self.last_held(neuron, steps) < steps)

    def external(self, neuron: int) -> Array:
        """Return what current, start value and resets give, mV, in every step, (n_steps,); `v_reset` where held."""
        return self._since_reset(neuron, self._external(neuron), self.v_reset[neuron])

    def potential(self, neuron: int, weights: Array) -> Array:
        """Return the potential under incoming weights, mV, (n,), in every step, (n_steps,), mV.

        By one pass over the summed current: the response is not needed.
        """
        return self._since_reset(neuron, self._without_resets(neuron, weights), self.v_reset[neuron])

    def fired(self, neuron: int, weights: Array) -> Int64:
        """Return the steps in which a neuron fires if its sources are clamped and its own resets are free."""
        free, keep = self._without_resets(neuron, weights), np.exp(-self.dt / self.tau_m[neuron])
        v_th, v_reset, hold = self.v_th[neuron], self.v_reset[neuron], int(self.hold[neuron])
        above = np.flatnonzero(free >= v_th)
        found: list[int] = [int(above[0])] if above.size else []
        while found and (held := found[-1] + hold) < self.n_steps - 1:
            gone, first = free[held] - v_reset, held + 1
            while first < self.n_steps:
                last = min(first + BLOCK // 16, self.n_steps)
                crossed = free[first:last] - keep ** np.arange(first - held, last - held) * gone >= v_th
                if crossed.any():
                    found.append(first + int(np.argmax(crossed)))
                    break
                first = last
            else:
                break
        return np.array(found, dtype=np.int64)

    def _external(self, neuron: int) -> Array:
        keep = float(np.exp(-self.dt / self.tau_m[neuron]))
        given = (1 - keep) * self.tau_m[neuron] * self.currents[:, neuron]
        return _decayed(given[:, None], np.array([keep]), self.start[[neuron]])[:, 0]

    def _without_resets(self, neuron: int, weights: Array) -> Array:
        keep = np.exp(-self.dt / self.tau_m[[neuron]])
        moved = np.zeros(self.n_steps)
        for tau in np.unique(self.tau_syn[weights != 0]):
            sources = np.flatnonzero((self.tau_syn == tau) & (weights != 0))
            arriving = np.zeros(self.n_steps)
            for source in sources:
                steps = self.targets.steps[source] + self.delay_steps[source] + (tau > 0)
                arriving[steps[steps < self.n_steps]] += weights[source]
            if tau > 0:
                current = _decayed(arriving[:, None] / tau, np.array([np.exp(-self.dt / tau)]))[:, 0]
                arriving = float(propagator(self.tau_m[neuron], float(tau), self.dt)) * current
            moved += arriving
        return self._external(neuron) + _decayed(moved[:, None], keep)[:, 0]

    def _since_reset(self, neuron: int, free: Array, reset: float) -> Array:
        """Return a course that starts anew from `reset` after every spike of a neuron."""
        steps = np.arange(self.n_steps)
        held = self.last_held(neuron, steps)
        keep = np.exp(-self.dt / self.tau_m[neuron])
        place = np.minimum(np.maximum(held, 0), self.n_steps - 1)
        gone = keep ** np.maximum(steps - held, 0) * (free[place] - reset)
        return np.where(held < 0, free, np.where(held >= steps, reset, free - gone))

    def response(self, neuron: int, steps: Int64) -> Array:
        """Return K: how the potential in some steps, ascending, answers to each weight, (step, n); 0 where held."""
        tau_m = float(self.tau_m[neuron])
        held = self.last_held(neuron, steps)
        found = self._traces(tau_m, steps)
        after = (held >= 0) & (held < steps)
        if after.any():
            ends, which = np.unique(held[after], return_inverse=True)
            gone = np.exp(-self.dt / tau_m) ** (steps[after] - held[after])
            found[after] -= gone[:, None] * self._traces(tau_m, ends)[which]
        found[held >= steps] = 0.0
        return found

    def affine(self, neuron: int, steps: Int64, external: Array | None = None) -> AffinePotential:
        """Return the potential of a neuron in some steps, ascending, as a function of its weights.

        Parameters
        ----------
        neuron : int
        steps : ndarray of int64, shape (step,)
        external : ndarray, shape (n_steps,), optional
            What `external` returns, where it is known already.
        """
        whole = self.external(neuron) if external is None else external
        return AffinePotential(steps, whole[steps], self.response(neuron, steps), self._raster[steps, neuron])

    def blocks(self, neuron: int) -> Iterator[AffinePotential]:
        """Yield the potential in all steps in which a neuron is not held, block by block."""
        steps, external = self.live(neuron), self.external(neuron)
        for first in range(0, self.n_steps, BLOCK):
            low, high = np.searchsorted(steps, [first, first + BLOCK])
            if high > low:
                yield self.affine(neuron, steps[low:high], external)

    def _traces(self, tau_m: float, steps: Int64) -> Array:
        """Return the traces without resets in some steps, ascending, (step, n)."""
        found = np.empty((len(steps), self.size))
        blocks = steps // BLOCK
        for block in np.unique(blocks):
            chosen = blocks == block
            found[chosen] = self._block(tau_m, int(block))[steps[chosen] - block * BLOCK]
        return found

    def _block(self, tau_m: float, block: int) -> Array:
        """Return the traces without resets in a block of steps, (step, n)."""
        if (tau_m, block) in self._kept:
            self._kept.move_to_end((tau_m, block))
            return self._kept[tau_m, block]
        starts = self._starts.setdefault(tau_m, [(np.zeros(self.size), np.zeros(self.size))])
        for earlier in range(len(starts) - 1, block):
            self._computed(tau_m, earlier)
        found = self._computed(tau_m, block)
        self._kept[tau_m, block] = found
        while len(self._kept) > 1 and sum(part.nbytes for part in self._kept.values()) > KEPT_BYTES:
            self._kept.popitem(last=False)
        return found

    def _computed(self, tau_m: float, block: int) -> Array:
        starts = self._starts[tau_m]
        current, trace = starts[block]
        first, last = block * BLOCK, min((block + 1) * BLOCK, self.n_steps)
        into_current = self._arriving(first, last, self.delay_steps + 1) * self._charge
        into_membrane = self._arriving(first, last, self.delay_steps) * self._jump
        currents = _decayed(into_current, self._fade, current)
        moved = np.array([propagator(tau_m, float(tau), self.dt) for tau in self._safe]) * currents + into_membrane
        found = _decayed(moved, np.full(self.size, np.exp(-self.dt / tau_m)), trace)
        if len(starts) == block + 1:
            starts.append((currents[-1], found[-1]))
        return found

    def _arriving(self, first: int, last: int, late: Int64) -> Array:
        """Return the spikes of each source, `late` steps later, in steps from first to last."""
        found = np.zeros((last - first, self.size))
        for steps in np.unique(late):
            low, high = max(first - steps, 0), max(last - steps, 0)
            columns = late == steps
            found[len(found) - (high - low) :, columns] = self._raster[low:high, columns]
        return found


def _decayed(given: Array, keep: Array, start: Array | None = None) -> Array:
    """Return ``y(k) = keep y(k-1) + given(k)`` along the first axis, y before it being `start`, per column."""
    found = np.empty_like(given)
    before = np.zeros(given.shape[1]) if start is None else start
    for factor in np.unique(keep):
        columns = keep == factor
        state = (factor * before[columns])[None]
        found[:, columns] = signal.lfilter([1.0], [1.0, -factor], given[:, columns], axis=0, zi=state)[0]
    return found
