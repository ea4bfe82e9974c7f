"""A circuit as a Brian2 network.

Within a time step the order is state → synapses → threshold → reset: the jumps of a step count before its threshold
test.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from mnnbio.brian.model import Model
from mnnbio.brian.populations import (
    MV,
    add_neurons,
    add_source,
    quiet_probability,
    refractory_steps,
    spike_probability,
)
from mnnbio.brian.steps import count_steps
from mnnbio.circuit import Circuit, ModeMatrix, PoissonDrive, PoissonSource, Projection

if TYPE_CHECKING:
    from brian2 import NeuronGroup

# Entries up to which a mode matrix is expanded. A spike then costs one addition per target; factored, every step costs
# one per target and mode. With three modes and 18 Hz the two take the same time at about 900 neurons.
_MOST_EXPANDED = 1_000_000


def check_time_step(circuit: Circuit, dt: float) -> None:
    """Check that a circuit can be simulated with a time step, ms, before anything is built.

    Raises
    ------
    ValueError
        If a Poisson rate is too high for the time step, or `dt` does not divide a refractory period or a delay.
    """
    if circuit.has_exponential_synapses:
        raise ValueError("the simulation has delta synapses only, got `tau_syn` > 0. Set it to 0")
    if circuit.changes_in_time:
        raise ValueError("the simulation has constant inputs only, got a time course. Try `circuit.at_time(...)`")
    for projection in circuit.projections:
        if not isinstance(projection.delay, float):
            raise ValueError(f"the simulation has one delay per projection, got {projection.delay!r} for {projection}")
    for source in circuit.sources:
        spike_probability(source, dt)
    for population in circuit.neurons:
        refractory_steps(population, dt)
    for drive in circuit.drives:
        if isinstance(drive, PoissonDrive):
            quiet_probability(drive, dt)
    for projection in circuit.projections:
        delay_steps(projection, dt)


def delay_steps(projection: Projection, dt: float) -> int:
    """Return the delay of a projection in steps.

    Raises
    ------
    ValueError
        If it is not a whole number.
    """
    return int(count_steps(projection.delay, dt, f"delay of {projection}"))


def build_network(circuit: Circuit, *, dt: float, replicas: int, record: Collection[str]) -> Model:
    """Return the Brian2 network of a circuit.

    Parameters
    ----------
    circuit : Circuit
    dt : float
        Time step, ms.
    replicas : int
        Number of independent copies side by side.
    record : collection of str
        Populations whose spikes are recorded.

    Returns
    -------
    Model

    Raises
    ------
    ValueError
        As `check_time_step` does.
    """
    check_time_step(circuit, dt)
    model = Model(dt, replicas)
    groups: dict[str, NeuronGroup] = {}
    factored = [p for p in circuit.projections if _stays_factored(circuit, p)]
    for population in circuit.populations:
        if isinstance(population, PoissonSource):
            groups[population.name] = add_source(model, population)
            continue
        n_mode_inputs = sum(p.target == population.name for p in factored)
        groups[population.name] = add_neurons(model, circuit, population, n_mode_inputs)
        if population.name in record:
            model.record(population.name, groups[population.name])
    for projection in circuit.projections:
        source, target = groups[projection.source], groups[projection.target]
        steps = delay_steps(projection, dt)
        if source not in model.sources:
            # A spike is found at the end of its step and arrives in the next one at the earliest; Brian2's delay counts
            # from there. So delays of 0 and dt are the same.
            steps = max(steps - 1, 0)
        if projection in factored:
            siblings = [p for p in factored if p.target == projection.target]
            _connect_modes(model, circuit, projection, source, target, steps, siblings.index(projection))
        else:
            _connect(model, circuit, projection, source, target, steps)
    return model


def _stays_factored(circuit: Circuit, projection: Projection) -> bool:
    matrix = circuit.matrix(projection)
    return isinstance(matrix, ModeMatrix) and matrix.shape[0] * matrix.shape[1] > _MOST_EXPANDED


def _connect(
    model: Model, circuit: Circuit, projection: Projection, source: NeuronGroup, target: NeuronGroup, steps: int
) -> None:
    """Add a projection as one synapse per non-zero weight."""
    from brian2 import ms

    matrix = circuit.matrix(projection)
    # Sorted by source, so that the synapses of one spike lie side by side in memory.
    entries = sparse.csc_array(matrix.to_dense() if isinstance(matrix, ModeMatrix) else matrix).tocoo()
    keep = entries.data != 0
    if not keep.any():
        return
    synapses = model.connect(
        source,
        target,
        (entries.col[keep], entries.row[keep]),
        "w : volt (constant)",
        f"{projection.source}_to_{projection.target}",
        on_pre="v_post += w",
        delay=steps * model.dt * ms,
    )
    model.load(synapses, "w", entries.data[keep] * MV)


def _connect_modes(
    model: Model,
    circuit: Circuit,
    projection: Projection,
    source: NeuronGroup,
    target: NeuronGroup,
    steps: int,
    number: int,
) -> None:
    """Add a projection through its modes: O(N·P) memory, where one synapse per pair would take O(N²).

    A step's spikes are summed into the modes before the state update, which then adds what the modes give each target.
    """
    from brian2 import ms

    matrix = circuit.matrix(projection)
    assert isinstance(matrix, ModeMatrix)
    (n_target, n_source), n_modes = matrix.shape, len(matrix.scores)
    name = f"{projection.source}_to_{projection.target}"
    modes = model.add_group(f"{name}_modes", n_modes, "activity : 1")
    model.start(modes, activity=0.0)
    model.run_each_step(modes, "activity = 0", when="end")
    index, mode = np.divmod(np.arange(n_source * n_modes), n_modes)
    read = model.connect(
        source,
        modes,
        (index, mode),
        "w : 1 (constant)",
        f"{name}_output_modes",
        on_pre="activity_post += w",
        delay=steps * model.dt * ms,
    )
    read.pre.when = "after_start"
    model.load(read, "w", matrix.output_modes.ravel())
    index, mode = np.divmod(np.arange(n_target * n_modes), n_modes)
    drive = model.connect(
        modes,
        target,
        (mode, index),
        f"w : volt (constant)\nmode_input{number}_post = w*activity_pre : volt (summed)",
        f"{name}_input_modes",
    )
    model.load(drive, "w", (matrix.input_modes * matrix.scores).ravel() * MV)
