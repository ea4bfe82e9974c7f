"""The points of a sweep: parameters, and what follows from them."""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

from mnnbio.run.fingerprint import fingerprint
from mnnbio.sweep.config import SweepConfig
from mnnbio.sweep.values import Scalar, plain


class Point(NamedTuple):
    """One set of parameters.

    Attributes
    ----------
    key : str
        Fingerprint of everything that the point's result depends on, apart from the code.
    parameters : dict
        The swept parameters.
    seed : int
        Seed of the spikes. It follows from the sweep's seed and the point's parameters, so that points may be added
        without changing those that are there.
    """

    key: str
    parameters: dict[str, Scalar]
    seed: int

    @property
    def file(self) -> str:
        """Name of the result, relative to the sweep's folder."""
        return f"points/{self.key}.nc"

    def __str__(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in self.parameters.items())


def points_of(config: SweepConfig) -> list[Point]:
    """Return all points: each set of the list with each of the grid's product."""
    grid = [dict(zip(config.grid, values, strict=True)) for values in itertools.product(*config.grid.values())]
    return [point_of(config, row | values) for row in config.rows or ({},) for values in grid]


def point_of(config: SweepConfig, parameters: dict[str, Scalar]) -> Point:
    """Return the point with these parameters."""
    told: dict[str, Any] = {name: plain(value) for name, value in parameters.items()}
    seed = int(fingerprint(config.seed, told), 16) >> 16  # 48 bits
    return Point(fingerprint(config.fixed(), told), parameters, seed)
