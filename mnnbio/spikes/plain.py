"""Plans without what our engine alone can do, so that any device of Brian2 realises them.

Random numbers are Brian2's own, given spikes come from a `SpikeGeneratorGroup`, and inputs that change in time from
`TimedArray`. Physics stays; where numbers are drawn, spikes are other ones.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mnnbio.circuit import Circuit
from mnnbio.spikes.brian_texts import restored, restored_equations
from mnnbio.spikes.network import MadeNetwork
from mnnbio.spikes.plan import Plan, PlannedGroup, PlannedSynapses, Step
from mnnbio.spikes.planner import plan_circuit
from mnnbio.units import count_steps, in_unit

_SOURCE = "chance : 1 (constant)\n"
# Brian2's own random numbers. The probability of no jump, which is what the variable holds, is exp(-mean).
_DRAWS = {"normal": "randn()", "poisson": "poisson(-log({quiet}))"}


class PlainCourse(NamedTuple):
    """Values that a variable takes one after the other, a step each.

    Attributes
    ----------
    group, variable : str
    values : ndarray, shape (time,) or (time, size)
        In SI units.
    """

    group: str
    variable: str
    values: npt.NDArray[np.float64]

    @property
    def name(self) -> str:
        """Name of the function of time that gives the values."""
        return f"{self.group}_{self.variable}_course"

    @property
    def code(self) -> str:
        """What every step begins with, in Brian2's language."""
        return f"{self.variable} = {self.name}({'t' if self.values.ndim == 1 else 't, i'})"


def plain_circuit(circuit: Circuit, *, dt: float, stimulus: int) -> Plan:
    """Return the plain plan of a circuit.

    Raises
    ------
    ValueError
        If there is no such stimulus, or as `plan_circuit` does.
    """
    if not 0 <= stimulus < (number := circuit.n_stimuli or 1):
        raise ValueError(f"`stimulus` must be from 0 to {number - 1}, got {stimulus}")
    return plain_plan(plan_circuit(circuit, dt=dt, replicas=1))


def plain_plan(plan: Plan) -> Plan:
    """Return a plan without our own random numbers."""
    groups = {name: plain_group(group) for name, group in plan.groups.items()}
    synapses = {name: plain_synapses(own) for name, own in plan.synapses.items()}
    return dataclasses.replace(plan, groups=groups, synapses=synapses)


def plain_group(group: PlannedGroup) -> PlannedGroup:
    """Return a group that draws Brian2's random numbers."""
    if group.is_source:
        with np.errstate(divide="ignore"):
            chance = -np.expm1(1.0 / group.tables["gap_scale"])  # gap_scale is 1 / log(1 - chance)
        changes = "kept" in group.courses
        return dataclasses.replace(
            group,
            equations=_SOURCE + ("kept : 1\n" if changes else ""),
            threshold="rand() < chance*kept" if changes else "rand() < chance",
            reset="",
            tables={"chance": chance},
            steps=[],
            is_source=False,
            draws_random=False,
            salt=-1,
        )
    own = {f"noise_{name}" for name in group.noises}  # Brian2 draws them itself
    drawn = [
        Step(f"{variable} = {_DRAWS[draw.distribution].format(quiet=draw.quiet)}", "start")
        for variable, draw in group.draws.items()
        if variable not in own
    ]
    return dataclasses.replace(
        group,
        equations=restored_equations(group.equations, own),
        threshold=restored(group.threshold),
        reset=restored(group.reset),
        steps=[*drawn, *group.steps],
        draws={},
        noises=(),
        draws_random=False,
        salt=-1,
    )


def plain_synapses(synapses: PlannedSynapses) -> PlannedSynapses:
    """Return synapses that draw Brian2's random numbers."""
    if synapses.salt < 0:
        return synapses
    return dataclasses.replace(
        synapses, code_pre=restored(synapses.code_pre), code_post=restored(synapses.code_post), salt=-1
    )


def plain_courses(plan: Plan, *, stimulus: int, duration: Any) -> Iterator[PlainCourse]:
    """Yield what changes in time, of one stimulus.

    Parameters
    ----------
    plan : Plan
    stimulus : int
    duration : float, Quantity or None
        How long, ms; the last values hold from then on.

    Raises
    ------
    ValueError
        If something changes in time and there is no duration, or as `Plan.sampled` does.
    """
    if not plan.changes_in_time:
        return
    if duration is None:
        raise ValueError(
            "the circuit has inputs that change in time: give `duration` (ms), for how long their values are needed"
        )
    n_steps = int(count_steps(float(in_unit(duration, "ms", "duration")), plan.dt, "duration"))
    if n_steps < 1:
        raise ValueError(f"`duration` must be > 0 ms, got {duration}")
    for group, variable, (row, table) in plan.sampled(n_steps, 0):
        values = table[row, stimulus if table.shape[1] > 1 else 0]
        yield PlainCourse(group, variable, values[:, 0] if values.shape[1] == 1 else values)


def load_plain(made: MadeNetwork) -> None:
    """Give every variable of a plain network its values, and every state its start."""
    stimulus = made.stimulus
    owners: list[tuple[Any, PlannedGroup | PlannedSynapses]] = [
        *((made.groups[name], planned) for name, planned in made.plan.groups.items()),
        *((made.synapses[name], made.plan.synapses[name]) for name in made.synapses),
    ]
    for own, planned in owners:
        if isinstance(planned, PlannedGroup) and planned.playback is not None:
            continue
        tables = planned.tables | (planned.start_tables if isinstance(planned, PlannedGroup) else {})
        for variable, table in tables.items():
            rows = stimulus if len(table) > 1 else np.zeros_like(stimulus)
            shared = table.shape[1] == 1 and own.variables[variable].scalar
            setattr(own, f"{variable}_", table[0, 0] if shared else table[rows].ravel())
        for variable, value in planned.start.items():
            if not own.variables[variable].read_only:  # Brian2 starts those that are
                setattr(own, f"{variable}_", value)
