"""Pre-synaptic pool modification as pure functions: errors of paired trains, credit, local and homeostatic updates."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from mnnbio.analyses import SpikeTrains, match_spikes, match_spikes_least_shift
from mnnbio.learning.frozen_network import Passed

Array = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]
Int64 = npt.NDArray[np.int64]
Pairing = Literal["most", "least shift"]
Amounts = Literal["uniform", "integers", "equal"]


class Errors(NamedTuple):
    """Spikes of a network and of its target that found no partner.

    Attributes
    ----------
    neuron, step : ndarray of int64, shape (error,)
        Sorted by neuron.
    sign : ndarray, shape (error,)
        -1 for a spike that should not be, 1 for one that is missing.
    matched : int
        Number of pairs.
    unmatched_own, unmatched_target : int
    """

    neuron: Int64
    step: Int64
    sign: Array
    matched: int
    unmatched_own: int
    unmatched_target: int

    @property
    def f(self) -> float:
        """Harmonic mean of precision and recall: twice the pairs over all spikes."""
        total = 2 * self.matched + self.unmatched_own + self.unmatched_target
        return 2 * self.matched / total if total else 1.0

    @property
    def precision(self) -> float:
        """Share of the own spikes that have a partner."""
        total = self.matched + self.unmatched_own
        return self.matched / total if total else 1.0

    @property
    def recall(self) -> float:
        """Share of the target's spikes that have a partner."""
        total = self.matched + self.unmatched_target
        return self.matched / total if total else 1.0


def find_errors(own: Passed, target: Passed, window: int, has_target: Bool, pairing: Pairing = "most") -> Errors:
    """Pair the spikes of every neuron with those of its target, and return what is left over.

    Parameters
    ----------
    own, target : Passed
        Spikes, sorted by neuron and time.
    window : int
        Largest distance of a pair, steps.
    has_target : ndarray of bool, shape (n,)
        Neurons without a target have no errors.
    pairing : {"most", "least shift"}
        As many pairs as can be, or the published dynamic programme; see `mnnbio.analyses.match_spikes` and
        `match_spikes_least_shift`.
    """
    match = match_spikes if pairing == "most" else match_spikes_least_shift
    trains = [SpikeTrains(side.step.astype(np.float64), side.counts) for side in (own, target)]
    pairs = match(trains[0], trains[1], float(window))
    extra, missing = ~pairs.own_matched & has_target[own.neuron], ~pairs.target_matched & has_target[target.neuron]
    neuron = np.concatenate([own.neuron[extra], target.neuron[missing]])
    step = np.concatenate([own.step[extra], target.step[missing]])
    n_extra, n_missing = int(extra.sum()), int(missing.sum())
    sign = np.concatenate([np.full(n_extra, -1.0), np.ones(n_missing)])
    order = np.argsort(neuron, kind="stable")
    matched = int((pairs.own_matched & has_target[own.neuron]).sum())
    return Errors(neuron[order], step[order], sign[order], matched, n_extra, n_missing)


def until_first(errors: Errors, window: int, size: int) -> Errors:
    """Return the errors of each neuron up to its first one plus the window, in steps.

    What follows a first error is partly its consequence, so a neuron has nothing to learn from it yet.
    """
    if not len(errors.step):
        return errors
    first = np.full(size, np.iinfo(np.int64).max)
    np.minimum.at(first, errors.neuron, errors.step)
    early = errors.step <= first[errors.neuron] + window
    return errors._replace(neuron=errors.neuron[early], step=errors.step[early], sign=errors.sign[early])


def pool_credit(passed: Passed, step: Int64, pool: int, delay: Int64, n_steps: int) -> Array:
    """Return 1 for every source that fired in the pool before an error, else 0, (error, n).

    A source is in the pool of step t if it fired in steps t - d - pool to t - d, with d its delay.

    Parameters
    ----------
    passed : Passed
        Presynaptic spikes.
    step : ndarray of int64, shape (error,)
    pool : int
        Length of the pool, steps.
    delay : ndarray of int64, shape (n,)
        Steps.
    n_steps : int
        Length of the run.
    """
    size = len(passed.counts)
    fired = np.zeros((n_steps + 1, size), dtype=np.int32)
    fired[passed.step + 1, passed.neuron] = 1
    np.cumsum(fired, axis=0, out=fired)
    credit = np.empty((len(step), size))
    for steps in np.unique(delay):
        chosen = delay == steps
        last = step - steps + 1
        before, after = np.clip(last - pool - 1, 0, n_steps), np.clip(last, 0, n_steps)
        # Whole rows where all sources have one delay, which is much faster.
        rows = fired if chosen.all() else fired[:, chosen]
        credit[:, chosen] = rows[after] > rows[before]
    return credit


def local_update(errors: Errors, credit: Array, size: int, rng: np.random.Generator, amounts: Amounts) -> Array:
    """Return the change of every weight, (n, n), in units of the learning rate.

    Every error of neuron i changes the weight of source j by ``sign · credit · u``: u is uniform in (0, 1); a whole
    number from 0 to 9 as published; or 1.

    Parameters
    ----------
    errors : Errors
    credit : ndarray, shape (error, n)
        Of every source for every error.
    size : int
        Number of neurons n.
    rng : numpy.random.Generator
    amounts : {"uniform", "integers", "equal"}

    References
    ----------
    Bagley, Bordelon, Moseley & Wessel (2020), PLOS ONE 15(2), e0229083, Methods.
    """
    change = np.zeros((size, size))
    if not len(errors.step):
        return change
    if amounts == "uniform":
        credit = credit * rng.random(credit.shape)
    elif amounts == "integers":
        credit = credit * rng.integers(0, 10, credit.shape)
    begins = np.flatnonzero(np.diff(errors.neuron, prepend=-1))
    change[errors.neuron[begins]] = np.add.reduceat(credit * errors.sign[:, None], begins, axis=0)
    return change


def homeostatic_factors(own: Int64, target: Int64) -> Array:
    """Return how far the counts of every neuron lie below the target's, relative to it, cut to [-1, 1], (n,)."""
    return np.clip((target - own) / np.maximum(target, 1), -1.0, 1.0)


def scaled_weights(weights: Array, factors: Array, strength: float) -> Array:
    """Return weights scaled towards the target's counts: excitation by ``1 + h d``, inhibition by ``1 - h d``.

    Parameters
    ----------
    weights : ndarray, shape (n, n)
        mV.
    factors : ndarray, shape (n,)
        d of each target neuron, see `homeostatic_factors`.
    strength : float
        h, from 0 to below 1.
    """
    return np.asarray(weights * (1 + strength * factors[:, None] * np.sign(weights)))


def shifted_weights(own: Int64, target: Int64, step: float) -> Array:
    """Return the published homeostatic change of every weight onto each neuron, mV: ``step (N_target - N_own)``."""
    return np.asarray((step * (target - own))[:, None], dtype=np.float64)


def at_random_synapses(change: Array, connections: Bool, rng: np.random.Generator) -> Array:
    """Return the same changes at synapses drawn at random among all: the control of the published procedure."""
    found = np.zeros_like(change)
    found[connections] = rng.permutation(change[connections])
    return found


def keep_signs(weights: Array, signs: Array) -> Array:
    """Return weights cut at 0 where they have another sign than their synapse may have; 0: either sign."""
    return np.where(weights * signs < 0, 0.0, weights)
