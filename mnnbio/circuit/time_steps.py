"""Time steps of a circuit: whether one suits it, and its delays counted in them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mnnbio.circuit.circuit import Circuit
from mnnbio.circuit.parts import Projection
from mnnbio.units import count_steps, in_unit, nearest_steps


def time_step(dt: Any) -> float:
    """Return the time step in ms.

    Raises
    ------
    ValueError
        If it is not one positive number.
    """
    value = in_unit(dt, "ms", "dt")
    if not isinstance(value, float):
        raise ValueError(f"`dt` must be a single number, ms, got an array of shape {value.shape}")
    if not value > 0:
        raise ValueError(f"`dt` must be > 0 ms, got {value}")
    return value


def check_time_step(circuit: Circuit, dt: float) -> None:
    """Check that a circuit can be simulated with a time step, ms, before anything is built or predicted.

    Raises
    ------
    ValueError
        If a Poisson rate is too high for the time step, `dt` does not divide a refractory period or a delay, or a delay
        is shorter than it.
    """
    for source in circuit.sources:
        source.check_time_step(dt)
    for population in circuit.neurons:
        population.neuron.check_time_step(dt, population.name)
    for drive in circuit.drives:
        drive.check_time_step(dt)
    for projection in circuit.projections:
        delay_steps(circuit, projection, dt)


def delay_steps(circuit: Circuit, projection: Projection, dt: float) -> npt.NDArray[np.int32]:
    """Return the delays of a projection in steps: one, (1,), or as many as `Circuit.delays` gives, in its order.

    A single delay must be a whole number of steps; delays of single synapses are rounded to one.

    Raises
    ------
    ValueError
        If the single one is not a whole number, or a delay is shorter than a step.
    """
    delays, name = circuit.delays(projection), f"delay of {projection}"
    if isinstance(delays, float):
        return np.atleast_1d(count_steps(delays, dt, name))
    return nearest_steps(delays.ravel(), dt, name)
