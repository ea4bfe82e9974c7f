"""A circuit as a plan of its simulation."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import sparse

from mnnbio.circuit import (
    Circuit,
    Matrix,
    ModeMatrix,
    Population,
    Projection,
    Source,
    check_time_step,
    delay_steps,
)
from mnnbio.spikes.brian_texts import (
    count_calls,
    has_events,
    redrawn,
    variable_names,
    variable_units,
    with_names,
    with_own_names,
)
from mnnbio.spikes.plan import Plan, PlannedGroup, Step, all_to_all
from mnnbio.spikes.populations import Receiver, add_neurons, add_source, filtered_in_modes, receiver
from mnnbio.synapses import ModeSteps, SynapseSteps

# Entries up to which a mode matrix is expanded. A spike then costs one addition per target; factored, every step costs
# one per target and mode. With three modes and 18 Hz the two take the same time at about 900 neurons.
_MOST_EXPANDED = 1_000_000


_FOUND_EARLY = ("start", "before_groups", "before_synapses")  # slots of thresholds before the synapses of their step


class Planned(NamedTuple):
    """A circuit and the plan made from it."""

    circuit: Circuit
    plan: Plan


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
    noisy = (
        {name for name, group in like.plan.groups.items() if {"kick"} & {*group.tables, *group.courses}} if like else ()
    )
    factored = [p for p in circuit.projections if _stays_factored(circuit, p)]
    for population in circuit.populations:
        if isinstance(population, Source):
            groups[population.name] = add_source(population, plan)
            continue
        mode_inputs = [p.synapse_model for p in factored if p.target == population.name]
        groups[population.name] = add_neurons(plan, circuit, population, mode_inputs, noisy)
        _refuse_names_of_synapses(population.name, groups[population.name].equations)
        plan.populations[population.name] = groups[population.name].name
    for number, projection in enumerate(circuit.projections):
        connection = _Connection(circuit, projection, groups, dt)
        if projection in factored:
            siblings = [p for p in factored if p.target == projection.target]
            _add_modes(plan, connection, siblings.index(projection))
        elif like is None or not _reuse(plan, connection, number, like):
            _add_projection(plan, connection, like)
    for name, synapses in plan.synapses.items():
        if like is not None and name in like.plan.synapses:
            synapses.share_topology(like.plan.synapses[name])
    return plan


def _refuse_names_of_synapses(name: str, equations: str) -> None:
    """Raise a `ValueError` if neurons have a variable that the engine's synapses have, which Brian2 would confuse."""
    if clash := re.search(r"\b(w_syn|stream_syn)\b", equations):
        raise ValueError(
            f"the neurons of {name!r} have a variable {clash[0]!r}, a name that synapses have in every simulation: "
            "give it another one"
        )


class _Connection(NamedTuple):
    """A projection of a circuit with the groups at its ends."""

    circuit: Circuit
    projection: Projection
    groups: Mapping[str, PlannedGroup]
    dt: float

    @property
    def source(self) -> PlannedGroup:
        return self.groups[self.projection.source]

    @property
    def target(self) -> PlannedGroup:
        return self.groups[self.projection.target]

    @property
    def name(self) -> str:
        return f"{self.projection.source}_to_{self.projection.target}"

    @property
    def receiver(self) -> Receiver:
        """How synapses reach the target."""
        target = self.circuit.population(self.projection.target)
        assert isinstance(target, Population)
        return receiver(self.circuit, target, self.dt)

    @property
    def steps(self) -> SynapseSteps:
        """What the synapses are in a step."""
        return self.receiver.steps(self.projection.synapse_model, self.dt, self.projection)

    @property
    def mode_steps(self) -> ModeSteps | None:
        """What every mode is in a step, where modes are filtered."""
        if not filtered_in_modes(self.projection):
            return None
        return self.projection.synapse_model.mode_steps(self.receiver.target, self.dt)

    def spike(self, weight: Any) -> Any:
        """Return what a spike of a weight adds, in SI units."""
        return self.projection.synapse_model.spike(weight)

    def delay(self) -> npt.NDArray[np.int32]:
        """Return the delays in steps, counted as Brian2 does.

        A spike that is found after the synapses of its step arrives in the next one at the earliest; Brian2's delay
        counts from there, so that delays of 0 and dt are the same. One that is found before them, as that of a source,
        arrives in its own step.
        """
        steps = delay_steps(self.circuit, self.projection, self.dt)
        early = self.source.spikes_when in _FOUND_EARLY
        return steps if early else np.maximum(steps - 1, 0)

    def delay_to_modes(self) -> npt.NDArray[np.int32]:
        """Return the delays in steps of synapses onto modes, which take spikes at the start of a step.

        Raises
        ------
        ValueError
            If spikes must arrive in a step in which they are found only later.
        """
        steps = delay_steps(self.circuit, self.projection, self.dt)
        if self.source.spikes_when == "start":
            return steps
        if self.source.spikes_when in _FOUND_EARLY and not steps.all():
            raise ValueError(
                f"{self.projection} is factored into modes, which take spikes at the start of a step, before its "
                f"source is tested: give a `delay` of {self.dt:g} ms, or `weights.to_dense()`"
            )
        return np.maximum(steps - 1, 0)


def _stays_factored(circuit: Circuit, projection: Projection) -> bool:
    weights = projection.weights
    if not isinstance(weights, ModeMatrix):
        return False
    return filtered_in_modes(projection) or weights.shape[0] * weights.shape[1] > _MOST_EXPANDED


def _reuse(plan: Plan, connection: _Connection, number: int, like: Planned) -> bool:
    """Add the synapses of a projection that another plan holds already, and return whether there are such."""
    circuit, projection, others = connection.circuit, connection.projection, like.circuit.projections
    if number >= len(others) or others[number] is not projection or like.circuit.seed != circuit.seed:
        return False
    known = like.plan.synapses.get(plan.name(connection.name))
    ends = [circuit.population(name).size for name in (projection.source, projection.target)]
    if known is None or known.adds_to != connection.steps.adds_to:
        return False
    if ends != [like.plan.groups[name].size for name in (known.source, known.target)]:
        return False
    plan.synapses[known.name] = known
    return True


def _add_projection(plan: Plan, connection: _Connection, like: Planned | None) -> None:
    """Add a projection as one synapse per non-zero weight."""
    circuit, projection = connection.circuit, connection.projection
    steps = connection.steps
    own = steps.code is not None or bool(projection.plasticity)
    entries, delay = _by_source(circuit.matrix(projection), connection.delay(), zeros=own)
    if own:
        _add_own_synapses(plan, connection, steps, entries, delay)
        return
    name = plan.name(connection.name)
    shared = _is_uniform(projection, entries.data) and not _has_own_weights(name, like)
    synapses = plan.add_synapses(
        connection.name,
        connection.source,
        connection.target,
        entries.indices,
        np.diff(entries.indptr),
        equations=f"w_syn : {steps.unit} ({'shared, ' if shared else ''}constant)",
        adds_to=steps.adds_to,
        shared=("w_syn",) if shared else (),
        delay=delay,
    )
    synapses.load("w_syn", connection.spike(projection.weight if shared else entries.data))


def _add_own_synapses(
    plan: Plan, connection: _Connection, steps: SynapseSteps, entries: sparse.csc_array, delay: npt.NDArray[np.int32]
) -> None:
    """Add a projection whose synapses have variables of their own, which Brian2 carries.

    Raises
    ------
    ValueError
        If two rules bring different variables of one name.
    """
    projection = connection.projection
    model = projection.synapse_model
    codes = [rule.code(steps.unit, model.spike) for rule in projection.plasticity or ()]
    codes = [*([steps.code] if steps.code is not None else []), *codes]
    values: dict[str, Any] = {}
    units: dict[str, str] = {}
    start: dict[str, Any] = {}
    declared: dict[str, float] = {}
    for code in codes:
        for own, known in (
            (code.values, values),
            (code.start, start),
            (dict.fromkeys(variable_names(code.equations), 0.0) if code.equations else {}, declared),
        ):
            shared = own is code.values  # parameters of one value may be
            if clash := [name for name in own if name in known and not (shared and known[name] == own[name])]:
                raise ValueError(
                    f"two rules of {projection} bring the variable {clash[0]!r}, which they cannot share: leave one out"
                    + (", or give both the same `w_max`" if clash[0].startswith("w_") else "")
                )
            known.update(own)
        units |= code.units
    equations = "".join(f"{code.equations.rstrip()}\n" for code in codes if code.equations)
    changes = any(code.changes_weights for code in codes)
    if "w" not in variable_units(equations, ["w"]):
        equations = f"w : {steps.unit}{'' if changes else ' (constant)'}\n{equations}"
    equations += "".join(f"{name} : {units[name]} (shared, constant)\n" for name in values)
    factors = [f"({code.efficacy})" for code in codes if code.efficacy]
    sent = [f"{steps.adds_to}_post += {'*'.join(['w', *factors])}"] if steps.adds_to else []
    pre = [*(code.before_pre for code in codes), *sent, *(code.on_pre for code in codes)]
    texts = ["\n".join(filter(None, pre)), "\n".join(filter(None, (code.on_post for code in codes)))]
    ends = [connection.source.equations, connection.target.equations]
    # Statements keep their brackets, which Brian2 needs after `*=`.
    equations, new = with_own_names(equations, ends)
    texts = [with_names(text, new) for text in texts]
    values, start = ({new.get(name, name): value for name, value in own.items()} for own in (values, start))
    weight = new.get("w", "w")
    calls = [count_calls(text) for text in texts]
    drawn = sum(calls) > 0
    if drawn:  # not from `stream`, which neurons at the ends may have
        texts = [
            redrawn(text, every=sum(calls), first=first, stream="stream_syn")
            for text, first in zip(texts, (0, calls[0]), strict=True)
        ]
    variables = variable_units(equations, [*variable_names(equations)])
    synapses = plan.add_synapses(
        connection.name,
        connection.source,
        connection.target,
        entries.indices,
        np.diff(entries.indptr),
        equations=equations,
        carrier="brian",
        weight=weight,
        renamed=new,
        number=next(k for k, own in enumerate(connection.circuit.projections) if own is projection),
        adds_to=steps.adds_to,
        shared=tuple(values),
        delay=delay,
        code_pre=texts[0],
        code_post=texts[1],
        method=next((code.method for code in codes if code.method), ""),
        start=dict.fromkeys((name for name in variables if name not in {weight, *values}), 0.0) | start,
        states={name: unit for name, unit in variables.items() if name not in values},
        changes_weights=changes,
        draws_random=drawn,
    )
    if has_events(equations):
        synapses.start["lastupdate"] = 0.0
    synapses.load(weight, np.asarray(model.spike(entries.data), dtype=np.float64))
    for name, value in values.items():
        synapses.load(name, float(value))


def _by_source(
    matrix: Matrix, delay: npt.NDArray[np.int32], *, zeros: bool = False
) -> tuple[sparse.csc_array, npt.NDArray[np.int32]]:
    """Return the non-zero weights and their delays, sorted by source.

    Parameters
    ----------
    matrix : ndarray, csr_array or ModeMatrix
    delay : ndarray of int32
        One for all, (1,), or one per entry of a dense matrix or stored entry of a sparse one.
    zeros : bool
        Whether stored entries of 0 are synapses too, as where weights change.
    """
    rows = sparse.csr_array(matrix.to_dense() if isinstance(matrix, ModeMatrix) else matrix)
    entries = rows.tocsc(copy=True)
    if len(delay) > 1:
        stored = delay[matrix.ravel() != 0] if isinstance(matrix, np.ndarray) else delay
        delay = sparse.csr_array((stored, rows.indices, rows.indptr), shape=rows.shape).tocsc().data
        delay = delay if zeros else delay[entries.data != 0]
    if not zeros and not entries.data.all():
        entries.eliminate_zeros()
    return entries, delay


def _is_uniform(projection: Projection, weights: npt.NDArray[np.float64]) -> bool:
    """Return whether one weight stands for all synapses: then it is not stored for each."""
    return isinstance(projection.weight, float) and bool((weights == projection.weight).all())


def _has_own_weights(name: str, like: Planned | None) -> bool:
    known = None if like is None else like.plan.synapses.get(name)
    return known is not None and "w_syn" not in known.shared


def _add_modes(plan: Plan, connection: _Connection, number: int) -> None:
    """Add a projection through its modes: O(N·P) memory, where one synapse per pair would take O(N²).

    A step's spikes are summed into the modes before the state update, which then adds what the modes give each target:
    the sums themselves, or, where modes are filtered, what their filters held at the end of the step before.
    """
    matrix, own = connection.projection.weights, connection.mode_steps
    unit = own.unit if own else connection.steps.unit
    modes = plan.add_group(
        f"{connection.name}_modes",
        len(matrix.scores),
        "activity : 1\n" + (own.declarations if own else ""),
        start={"activity": 0.0, **(own.start if own else {})},
        shared=tuple(own.values) if own else (),
        n_variables=9 if own else 6,
    )
    for name, value in (own.values if own else {}).items():
        modes.load(name, value)
    modes.steps.append(Step(f"{own.update}\nactivity = 0" if own else "activity = 0", "end"))
    read = plan.add_synapses(
        f"{connection.name}_output_modes",
        connection.source,
        modes,
        *all_to_all(connection.source, modes),
        equations="w_syn : 1 (constant)",
        adds_to="activity",
        when="after_start",
        delay=connection.delay_to_modes(),
    )
    read.load("w_syn", matrix.output_modes.ravel())
    plan.add_product(
        f"{connection.name}_input_modes",
        modes,
        connection.target,
        connection.spike((matrix.input_modes * matrix.scores).T),
        reads=own.output if own else "activity",
        adds_to=f"mode_input{number}",
        unit=unit,
    )
