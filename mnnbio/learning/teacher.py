"""Teacher forcing: neurons receive the spikes of the target, as if all the others already fired them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from mnnbio.circuit import Circuit, SpikeSource
from mnnbio.learning.frozen_network import FrozenNetwork, Passed
from mnnbio.learning.targets import SpikeTargets
from mnnbio.spikes import Program, build

_PREFIX = "target_"


class TeacherForced:
    """A network whose recurrent synapses carry the spikes of the target; its neurons fire and reset on their own."""

    def __init__(self, network: FrozenNetwork, program: Program) -> None:
        self._network, self._program = network, program

    def run(self, weights: npt.ArrayLike) -> Passed:
        """Run under recurrent weights, mV, (n, n)."""
        blocks = self._network.blocks(weights)
        given = {(_PREFIX + source, target): block for (source, target), block in blocks.items()}
        recording = self._program.run(self._network.duration, weights=given, seed=0, processes=1)
        counts = recording.row_size.reshape(-1, self._network.size)[0].astype(np.int64)
        return Passed(np.repeat(np.arange(self._network.size), counts), recording.step.astype(np.int64), counts)


@contextmanager
def teacher_forced(network: FrozenNetwork, target: SpikeTargets) -> Iterator[TeacherForced]:
    """Build a network that receives the spikes of a target; neurons without one send nothing.

    Yields
    ------
    TeacherForced
    """
    neuron, step = target.flat
    populations: list[Any] = []
    start = 0
    for population in network.circuit.neurons:
        inside = (neuron >= start) & (neuron < start + population.size)
        times = step[inside] * network.dt
        populations.append(SpikeSource(_PREFIX + population.name, times, neuron[inside] - start, population.size))
        start += population.size
    circuit = Circuit(
        populations=[*populations, *network.circuit.populations],
        projections=[replace(p, source=_PREFIX + p.source) for p in network.circuit.projections],
        drives=network.circuit.drives,
    )
    names = [population.name for population in network.circuit.neurons]
    with build(circuit, dt=network.dt, codegen=network.codegen, record=names) as program:
        yield TeacherForced(network, program)
