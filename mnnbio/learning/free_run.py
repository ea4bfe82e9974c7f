"""Weights that were learned on clamped input, judged by what the network fires on its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mnnbio.analyses import match_spikes
from mnnbio.circuit import Circuit
from mnnbio.learning.frozen_network import Codegen, FrozenNetwork, Passed
from mnnbio.learning.membrane_input import membrane_ratio
from mnnbio.learning.outcome import Learned, Status, make_history
from mnnbio.learning.targets import SpikeTargets

Array = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]


class FreeRun(NamedTuple):
    """Spikes of a network under some weights, and how many of the target's it matches.

    Attributes
    ----------
    weights : ndarray, shape (n, n)
        mV.
    passed : Passed
        As the network returned them.
    spikes : SpikeTargets
        The same as trains.
    F, precision, recall : float
        F is the harmonic mean, twice the pairs over all spikes.
    rate : float
        Hz.
    """

    weights: Array
    passed: Passed
    spikes: SpikeTargets
    F: float
    precision: float
    recall: float
    rate: float


def entered(
    circuit: Circuit | FrozenNetwork, currents: Any, dt: Any, codegen: Codegen
) -> AbstractContextManager[FrozenNetwork]:
    """Return a network to enter: one of a circuit, or the given one, which is in its ``with`` block already.

    Raises
    ------
    ValueError
        If currents are given beside a network, which has its own.
    """
    if isinstance(circuit, FrozenNetwork):
        if currents is not None:
            raise ValueError("a FrozenNetwork has currents of its own: leave `currents` out, or give a Circuit")
        return nullcontext(circuit)
    return FrozenNetwork(circuit, currents, dt=dt, codegen=codegen)


def free_run(network: FrozenNetwork, weights: Array, target: SpikeTargets, window: float) -> FreeRun:
    """Run a network under some weights, mV, (n, n), and match its spikes with the target's within a window, ms."""
    passed = network.run(weights)
    spikes = network.spikes(passed)
    f, precision, recall = matched(spikes.steps, target, window)
    return FreeRun(weights, passed, spikes, f, precision, recall, spikes.rate)


def matched(trains: Sequence[Int64], target: SpikeTargets, window: float) -> tuple[float, float, float]:
    """Return F, precision and recall of trains, in steps, against the target's, of neurons that have one."""
    chosen = np.flatnonzero(target.has_target)
    own, theirs = [trains[k] for k in chosen], [target.steps[k] for k in chosen]
    pairs = int(match_spikes(own, theirs, round(window / target.dt)).own_matched.sum())
    n_own, n_target = sum(map(len, own)), sum(map(len, theirs))
    return 2 * pairs / max(n_own + n_target, 1), pairs / max(n_own, 1), pairs / max(n_target, 1)


def outcome_of(
    rule: str,
    network: FrozenNetwork,
    target: SpikeTargets,
    runs: Sequence[FreeRun],
    status: Status,
    message: str,
    *,
    scores: Mapping[str, float] | None = None,
    details: Mapping[str, Any] | None = None,
    columns: Mapping[str, Sequence[float]] | None = None,
) -> Learned:
    """Return what was learned: the last of some runs, and the one of greatest F.

    Parameters
    ----------
    rule : str
    network : FrozenNetwork
    target : SpikeTargets
    runs : sequence of FreeRun
        In the order of learning.
    status, message, scores, details
        As of `Learned`.
    columns : mapping of str to sequence of float, optional
        More variables of the history, one entry per run; where F is among them they are all of it, of any length.
    """
    last, best = runs[-1], max(runs, key=lambda run: run.F)
    names = ("F", "precision", "recall", "rate")
    own = dict(columns or {})
    history = own if "F" in own else {name: [getattr(run, name) for run in runs] for name in names} | own
    circuit = network.with_weights(best.weights)
    return Learned(
        circuit=network.with_weights(last.weights),
        best=circuit,
        history=make_history(history),
        status=status,
        message=message,
        rule=rule,
        target=target,
        spikes=last.spikes,
        best_spikes=best.spikes,
        rho=membrane_ratio(network, best.weights, best.passed),
        scores={"last F": last.F, "best F": best.F, **(scores or {})},
        details=dict(details or {}),
    )
