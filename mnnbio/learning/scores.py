"""Scores of a network's spikes beside those of its target, and their chance level, in the arrays of a pass."""

from __future__ import annotations

import numpy as np

from mnnbio.analyses import SpikeTrains, chance_match, match_spikes, van_rossum_distance
from mnnbio.learning.frozen_network import FrozenNetwork, Passed

_CHANCES = 20  # sets of shifted trains


def trains(passed: Passed) -> SpikeTrains:
    """Return the spikes of a pass as the analyses read them, in steps."""
    return SpikeTrains(passed.step.astype(np.float64), passed.counts)


def matched_f(own: Passed, target: Passed, window: int) -> float:
    """Return F of all neurons, the harmonic mean of precision and recall, for a window in steps."""
    pairs = match_spikes(trains(own), trains(target), float(window))
    total = len(own.step) + len(target.step)
    return 2 * float(pairs.own_matched.sum()) / total if total else 1.0


def chance_f(target: Passed, window: int, n_steps: int, seed: int) -> float:
    """Return the mean F of the target's own trains shifted at random, NaN where the run is too short for it."""
    least = n_steps / 20
    if not len(target.step) or n_steps <= 2 * least:
        return float("nan")
    side = trains(target)
    found = chance_match(side, side, float(window), _CHANCES, seed, duration=float(n_steps), least_shift=least)
    return float(found.f_score)


def spike_distance(network: FrozenNetwork, own: Passed, target: Passed, tau: float = 10.0) -> float:
    """Return the van Rossum distance, not squared, of all trains together: the root of the sum of squares of neurons.

    See `mnnbio.analyses.van_rossum_distance`; τ, ms, is that of its exponential kernel.
    """
    mine, theirs = (SpikeTrains(side.step.astype(np.float64) * network.dt, side.counts) for side in (own, target))
    return float(np.sqrt(van_rossum_distance(mine, theirs, tau, squared=True).sum()))
