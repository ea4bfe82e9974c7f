"""Smaller random networks whose neurons keep the number of their synapses, as a higher probability of connection."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mnnbio.circuit import Bernoulli


def scaled_size(size: int, scale: float) -> int:
    """Return a number of neurons times a factor, at least 1.

    Raises
    ------
    ValueError
        If the factor is not a number > 0.
    """
    if not (np.isreal(scale) and 0 < scale < np.inf):
        raise ValueError(f"`scale` must be a number > 0, got {scale!r}")
    return max(1, round(scale * size))


def scaled_sizes(sizes: Mapping[str, int], scale: float) -> dict[str, int]:
    """Return numbers of neurons by population, times a factor."""
    return {name: scaled_size(size, scale) for name, size in sizes.items()}


def scaled_rule(probability: float, scale: float) -> Bernoulli:
    """Return the rule by which neurons of a network that is `scale` times as large have as many synapses as before.

    Raises
    ------
    ValueError
        If there are fewer sources than synapses.
    """
    if probability > scale:
        raise ValueError(
            f"`scale` must be at least {probability:g}, so that there are enough neurons for the synapses of one, got "
            f"{scale:g}"
        )
    return Bernoulli(probability / scale)
