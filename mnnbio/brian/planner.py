"""A circuit as a plan of its simulation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import sparse

from mnnbio.brian.plan import Plan, PlannedGroup, Step, all_to_all
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

# Entries up to which a mode matrix is expanded. A spike then costs one addition per target; factored, every step costs
# one per target and mode. With three modes and 18 Hz the two take the same time at about 900 neurons.
_MOST_EXPANDED = 1_000_000


class Planned(NamedTuple):
    """A circuit and the plan made from it."""

    circuit: Circuit
    plan: Plan


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


def plan_circuit(circuit: Circuit, *, dt: float, replicas: int, like: Planned | None = None) -> Plan:
    """Return the plan of a circuit's simulation.

    Parameters
    ----------
    circuit : Circuit
    dt : float
        Time step, ms.
    replicas : int
        Number of independent copies side by side.
    like : Planned, optional
        A circuit planned before. Synapses of projections that the two have in common are taken from it, and parts that
        a value of 0 would let us leave out are kept where it has them, so that the two plans can have one structure.

    Returns
    -------
    Plan

    Raises
    ------
    ValueError
        As `check_time_step` does.
    """
    check_time_step(circuit, dt)
    plan = Plan(dt=dt, replicas=replicas)
    groups: dict[str, PlannedGroup] = {}
    noisy = {name for name, group in like.plan.groups.items() if "kick" in group.tables} if like else ()
    factored = [p for p in circuit.projections if _stays_factored(circuit, p)]
    for population in circuit.populations:
        if isinstance(population, PoissonSource):
            groups[population.name] = add_source(plan, population)
            continue
        n_mode_inputs = sum(p.target == population.name for p in factored)
        groups[population.name] = add_neurons(plan, circuit, population, n_mode_inputs, noisy)
        plan.populations[population.name] = groups[population.name].name
    for number, projection in enumerate(circuit.projections):
        connection = _Connection(circuit, projection, groups)
        if projection in factored:
            siblings = [p for p in factored if p.target == projection.target]
            _add_modes(plan, connection, siblings.index(projection))
        elif like is None or not _reuse(plan, circuit, number, like):
            _add_projection(plan, connection, like)
    return plan


class _Connection(NamedTuple):
    """A projection of a circuit with the groups at its ends."""

    circuit: Circuit
    projection: Projection
    groups: Mapping[str, PlannedGroup]

    @property
    def source(self) -> PlannedGroup:
        return self.groups[self.projection.source]

    @property
    def target(self) -> PlannedGroup:
        return self.groups[self.projection.target]

    @property
    def name(self) -> str:
        return f"{self.projection.source}_to_{self.projection.target}"

    def delay(self, dt: float) -> npt.NDArray[np.int32]:
        """Return the delay in steps, counted as Brian2 does.

        A neuron's spike is found at the end of its step and arrives in the next one at the earliest; Brian2's delay
        counts from there. So delays of 0 and dt are the same.
        """
        steps = np.atleast_1d(np.int32(delay_steps(self.projection, dt)))
        return steps if self.source.is_source else np.maximum(steps - 1, 0)


def _stays_factored(circuit: Circuit, projection: Projection) -> bool:
    weights = projection.weights
    return isinstance(weights, ModeMatrix) and weights.shape[0] * weights.shape[1] > _MOST_EXPANDED


def _reuse(plan: Plan, circuit: Circuit, number: int, like: Planned) -> bool:
    """Add the synapses of a projection that another plan holds already, and return whether there are such."""
    projection, others = circuit.projections[number], like.circuit.projections
    if number >= len(others) or others[number] is not projection or like.circuit.seed != circuit.seed:
        return False
    known = like.plan.synapses.get(plan.name(f"{projection.source}_to_{projection.target}"))
    ends = [circuit.population(name).size for name in (projection.source, projection.target)]
    if known is None or ends != [like.plan.groups[name].size for name in (known.source, known.target)]:
        return False
    plan.synapses[known.name] = known
    return True


def _add_projection(plan: Plan, connection: _Connection, like: Planned | None) -> None:
    """Add a projection as one synapse per non-zero weight."""
    circuit, projection = connection.circuit, connection.projection
    matrix = circuit.matrix(projection)
    entries = sparse.csc_array(matrix.to_dense() if isinstance(matrix, ModeMatrix) else matrix)
    if not entries.data.all():
        entries.eliminate_zeros()
    name = plan.name(connection.name)
    shared = _is_uniform(projection, entries.data) and not _has_own_weights(name, like)
    synapses = plan.add_synapses(
        connection.name,
        connection.source,
        connection.target,
        entries.indices,
        np.diff(entries.indptr),
        equations=f"w : volt ({'shared, ' if shared else ''}constant)",
        on_pre="v_post += w",
        delay=connection.delay(plan.dt),
    )
    synapses.load("w", (projection.weight if shared else entries.data) * MV)


def _is_uniform(projection: Projection, weights: npt.NDArray[np.float64]) -> bool:
    """Return whether one weight stands for all synapses: then it is not stored for each."""
    return isinstance(projection.weight, float) and bool((weights == projection.weight).all())


def _has_own_weights(name: str, like: Planned | None) -> bool:
    known = None if like is None else like.plan.synapses.get(name)
    return known is not None and not known.is_shared("w")


def _add_modes(plan: Plan, connection: _Connection, number: int) -> None:
    """Add a projection through its modes: O(N·P) memory, where one synapse per pair would take O(N²).

    A step's spikes are summed into the modes before the state update, which then adds what the modes give each target.
    """
    matrix = connection.projection.weights
    n_modes = len(matrix.scores)
    modes = plan.add_group(f"{connection.name}_modes", n_modes, "activity : 1", start={"activity": 0.0})
    modes.steps.append(Step("activity = 0", "end"))
    read = plan.add_synapses(
        f"{connection.name}_output_modes",
        connection.source,
        modes,
        *all_to_all(connection.source, modes),
        equations="w : 1 (constant)",
        on_pre="activity_post += w",
        when="after_start",
        delay=connection.delay(plan.dt),
    )
    read.load("w", matrix.output_modes.ravel())
    drive = plan.add_synapses(
        f"{connection.name}_input_modes",
        modes,
        connection.target,
        *all_to_all(modes, connection.target),
        equations=f"w : volt (constant)\nmode_input{number}_post = w*activity_pre : volt (summed)",
    )
    drive.load("w", (matrix.input_modes * matrix.scores).T.ravel() * MV)
