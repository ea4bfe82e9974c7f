"""Plan of a simulation in plain NumPy: equations, tables of numbers, synapses.

A plan is made from a circuit (`planner.py`) and realised with Brian2 (`network.py`). Its *structure* decides which C++
program is generated: names, equations and sizes. Its numbers, and who is connected to whom, are files that the program
reads (`program_files.py`), so one program serves every circuit of the same structure.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from mnnbio.spikes.timing import Course, SampledCourse, sample

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Table = npt.NDArray[np.float64] | npt.NDArray[np.int32]
Carrier = Literal["engine", "product", "brian"]

TOPOLOGY = ("outgoing", "targets", "delay")

_SYNAPSES = 1 << 16  # salts of synapses begin here, beyond those of groups
_MOST_INDICES = 2**31 - 1  # indices of synapses are 32-bit integers
_LONGEST_SHOWN = 80  # characters of what two structures differ in


class Step(NamedTuple):
    """Code that a group runs in every step, at a slot of the schedule."""

    code: str
    when: str


class Draw(NamedTuple):
    """Random numbers that a variable holds, new ones in every step before anything else uses it.

    `distribution` is "normal", or "poisson" with the probability of 0 in the variable `quiet`; the counter of a draw is
    ``every · step + offset``.
    """

    distribution: Literal["normal", "poisson"]
    every: int = 1
    offset: int = 0
    quiet: str = ""

    @property
    def code(self) -> str:
        """The draw in Brian2's language."""
        counter = f"{self.every}*t_in_timesteps + {self.offset}"
        return f"{self.distribution}_draw(stream, {counter}{', ' + self.quiet if self.quiet else ''})"


@dataclass(eq=False, kw_only=True)
class PlannedGroup:
    """Elements that obey the same equations, `size` of them in every replica.

    Attributes
    ----------
    name : str
        Unique in the plan.
    size : int
    equations : str
        In Brian2's language.
    update : str
        Closed form of one step of ``v``; assignments to other variables may follow on lines of their own. Empty where
        no variable is integrated, or by `method`.
    method : str
        Brian2's method of integration; empty: none.
    threshold, reset, refractory : str
        As of `brian2.NeuronGroup`; empty: none.
    spikes_when, state_when : str
        Slots of the schedule at which the threshold is tested, and the state updated.
    is_source : bool
        Whether ``next_spike`` is drawn at the start of every presentation.
    playback : list of (ndarray of int64, ndarray of int64) or None
        Of each stimulus the steps, from the end of the warm-up on, and the elements of spikes that are given; ``fires``
        says who fires in a step.
    tables : dict
        Values of variables in SI units, (1 or stimulus, size): one row for all stimuli or one for each; (1, 1) for a
        variable in `shared`.
    shared : tuple of str
        Variables of which all elements have one value.
    courses : dict
        Variables that change in time, as functions of it.
    start : dict
        Values, in SI units, from which state variables start in every presentation.
    start_tables : dict
        The same for variables whose elements start from different values, (1, size).
    noises : tuple of str
        Stochastic variables of the equations; ``noise_<name>`` holds their standard normal numbers.
    states : dict
        Variables that can be recorded, with their units in Brian2's language.
    may_diverge : bool
        Whether the equations can blow up, so that the size of the states is watched.
    steps : list of Step
    draws : dict
        Variables that hold random numbers.
    draws_random : bool
        Whether the group draws random numbers: its variable ``stream`` tells them apart (`streams.py`).
    n_variables : int
        Numbers that every element takes, roughly; memory is estimated from it.
    salt : int
        Tells the random numbers of the group from those of others; -1 without.
    """

    name: str
    size: int
    equations: str
    update: str = ""
    method: str = ""
    threshold: str = ""
    reset: str = ""
    refractory: str = ""
    spikes_when: str = "thresholds"
    state_when: str = "groups"
    is_source: bool = False
    playback: list[tuple[Int64, Int64]] | None = None
    tables: dict[str, Table] = field(default_factory=dict)
    shared: tuple[str, ...] = ()
    courses: dict[str, Course] = field(default_factory=dict)
    start: dict[str, float | int | bool] = field(default_factory=dict)
    start_tables: dict[str, Table] = field(default_factory=dict)
    noises: tuple[str, ...] = ()
    states: dict[str, str] = field(default_factory=dict)
    may_diverge: bool = False
    steps: list[Step] = field(default_factory=list)
    draws: dict[str, Draw] = field(default_factory=dict)
    draws_random: bool = False
    n_variables: int = 0
    salt: int = -1

    def load(self, name: str, values: npt.ArrayLike) -> None:
        """Have a variable loaded from values that broadcast to (1 or stimulus, size)."""
        rows = np.atleast_2d(np.asarray(values))
        size = 1 if name in self.shared else self.size
        self.tables[name] = _table(np.broadcast_to(rows, (len(rows), size)))

    def start_from(self, name: str, value: Any) -> None:
        """Have a variable start from a value, or from one of its own for each element."""
        if np.ndim(value):
            self.start_tables[name] = _table(np.broadcast_to(np.atleast_2d(value), (1, self.size)))
            self.start.pop(name, None)
        else:
            self.start[name] = value

    def structure(self) -> dict[str, Any]:
        """Return what the generated program depends on."""
        numbers = ("name", "tables", "courses", "steps", "draws", "n_variables", "start_tables", "playback")
        plain = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in numbers}
        return plain | {
            "tables": _kinds(self.tables),
            "shared": list(self.shared),
            "start_tables": sorted(self.start_tables),
            "noises": list(self.noises),
            "playback": self.playback is not None,
            "courses": sorted(self.courses),
            "steps": [list(step) for step in self.steps],
            "draws": {name: list(draw) for name, draw in self.draws.items()},
        }


@dataclass(eq=False, kw_only=True)
class PlannedSynapses:
    """Synapses between two groups, the same in every replica.

    Attributes
    ----------
    name : str
        Unique in the plan.
    source, target : str
        Names of the groups.
    equations : str
        In Brian2's language.
    carrier : {"engine", "product", "brian"}
        What carries spikes: the engine adds the weight ``w_syn`` of a synapse to the variable `adds_to` of the target;
        or no spike is carried, and in every step `adds_to` is set to the product of a full matrix of ``w_syn`` and the
        variable `reads` of the source, before the states of neurons are updated; or Brian2 runs `code_pre` and
        `code_post` at every synapse.
    outgoing : ndarray of int32, shape (n_source,)
        Number of synapses of every source element.
    targets : ndarray of int32, shape (synapse,)
        Target element of every synapse, the synapses sorted by source element, so that those of one spike lie side by
        side in memory.
    adds_to : str
        Variable of the target to which a spike adds the weight.
    reads : str
        Variable of the source of which a product is made.
    when : str
        Slot of the schedule at which it does.
    delay : ndarray of int32, shape (1,) or (synapse,)
        Delay of a spike in steps, one for all or one for each.
    tables : dict
        Values of variables in SI units, (1 or stimulus, synapse), or (1, 1) for a variable in `shared`.
    shared : tuple of str
        Variables of which all synapses have one value.
    code_pre, code_post : str
        Statements of Brian2's pathways; empty: there is none.
    method : str
        Brian2's method of integration of the synapses' own equations; empty: none.
    start : dict
        Values, in SI units, from which variables of the synapses start in every presentation.
    states : dict
        Variables that can be recorded, with their units in Brian2's language.
    weight : str
        Variable that is the weight.
    renamed : dict
        Names here of variables that the circuit calls otherwise, as neurons at the ends have variables of those names.
    number : int
        Of the projection in the circuit; -1: it is none.
    changes_weights : bool
        Whether ``w`` changes in a presentation.
    salt : int
        Tells the random numbers of the synapses from those of others; -1 without.
    """

    name: str
    source: str
    target: str
    equations: str
    outgoing: Int32
    targets: Int32
    carrier: Carrier = "engine"
    adds_to: str = ""
    reads: str = ""
    when: str = "synapses"
    delay: Int32 = field(default_factory=lambda: np.zeros(1, np.int32))
    tables: dict[str, Table] = field(default_factory=dict)
    shared: tuple[str, ...] = ()
    code_pre: str = ""
    code_post: str = ""
    method: str = ""
    start: dict[str, float | int | bool] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)
    weight: str = "w_syn"
    renamed: dict[str, str] = field(default_factory=dict)
    number: int = -1
    changes_weights: bool = False
    salt: int = -1

    def load(self, name: str, values: npt.ArrayLike) -> None:
        """Have a variable loaded from values, (synapse,) or (1 or stimulus, synapse), or one number if it is shared."""
        self.tables[name] = _table(np.atleast_2d(np.asarray(values)))

    @property
    def carries_spikes(self) -> bool:
        """Whether spikes go through the synapses, carried by the engine."""
        return self.carrier == "engine"

    @property
    def on_pre(self) -> str:
        """What a spike does, as of `brian2.Synapses`; empty: nothing."""
        return f"{self.adds_to}_post += w_syn" if self.carries_spikes else self.code_pre

    @property
    def on_post(self) -> str:
        """What a spike of the target does, as of `brian2.Synapses`; empty: nothing."""
        return self.code_post

    def sources(self) -> Int32:
        """Return the source element of every synapse, (synapse,)."""
        return np.repeat(np.arange(len(self.outgoing), dtype=np.int32), self.outgoing)

    def share_topology(self, other: PlannedSynapses) -> None:
        """Take those arrays of another plan's synapses that are equal: who is connected to whom, and how late."""
        for name in TOPOLOGY:
            if np.array_equal(getattr(self, name), getattr(other, name)):
                setattr(self, name, getattr(other, name))

    def same_topology(self, other: PlannedSynapses) -> bool:
        """Return whether the two share who is connected to whom, and how late."""
        return all(getattr(self, name) is getattr(other, name) for name in TOPOLOGY)

    def structure(self) -> dict[str, Any]:
        """Return what the generated program depends on; numbers of synapses and their delays are not among it."""
        names = ("source", "target", "equations", "carrier", "adds_to", "when")
        own = {name: getattr(self, name) for name in names}
        if self.carrier == "product":
            own["reads"] = self.reads
        if self.carrier == "brian":
            more = ("code_pre", "code_post", "method", "start", "changes_weights", "salt")
            own |= {name: getattr(self, name) for name in more} | {"one_delay": len(self.delay) == 1}
        return own | {
            "shared": list(self.shared),
            "tables": _kinds(self.tables),
        }


@dataclass(eq=False, kw_only=True)
class Plan:
    """Groups and synapses of a circuit, simulated as `replicas` copies side by side.

    Element i of replica r of a group stands at ``r * size + i``.

    Attributes
    ----------
    dt : float
        Time step, ms.
    replicas : int
    groups, synapses : dict
        By name, in the order in which they were added.
    populations : dict
        Name of the group of every population of neurons.
    """

    dt: float
    replicas: int
    groups: dict[str, PlannedGroup] = field(default_factory=dict)
    synapses: dict[str, PlannedSynapses] = field(default_factory=dict)
    populations: dict[str, str] = field(default_factory=dict)

    def name(self, wish: str) -> str:
        """Return an identifier like `wish` that no group and no synapses of the plan have."""
        return free_name(wish, {*self.groups, *self.synapses})

    def add_group(self, wish: str, size: int, equations: str, **options: Any) -> PlannedGroup:
        """Add a group under a name like `wish`; `options` are attributes of `PlannedGroup`."""
        # The salt does not depend on who else draws random numbers.
        salt = len(self.groups) if options.get("draws_random") else -1
        group = PlannedGroup(name=self.name(wish), size=size, equations=equations, salt=salt, **options)
        self.groups[group.name] = group
        return group

    def add_product(
        self, wish: str, source: PlannedGroup, target: PlannedGroup, weights: npt.ArrayLike, **names: str
    ) -> PlannedSynapses:
        """Add a product of a full matrix under a name like `wish`.

        Parameters
        ----------
        wish : str
        source, target : PlannedGroup
        weights : array_like, shape (n_source, n_target) or (stimulus, n_source, n_target)
            In SI units.
        **names
            `reads` and `adds_to`, the variables of source and target, and `unit`, that of the weights in Brian2's
            language; the variable of the target has the unit too.
        """
        unit, reads, adds_to = names["unit"], names["reads"], names["adds_to"]
        synapses = self.add_synapses(
            wish,
            source,
            target,
            *all_to_all(source, target),
            equations=f"w_syn : {unit} (constant)\n{adds_to}_post = w_syn*{reads}_pre : {unit} (summed)",
            carrier="product",
            reads=reads,
            adds_to=adds_to,
        )
        table = np.asarray(weights)
        synapses.load("w_syn", table.reshape(*table.shape[:-2], source.size * target.size))
        return synapses

    def add_synapses(
        self, wish: str, source: PlannedGroup, target: PlannedGroup, targets: Int32, outgoing: Int32, **options: Any
    ) -> PlannedSynapses:
        """Add synapses under a name like `wish`; `options` are attributes of `PlannedSynapses`.

        Raises
        ------
        ValueError
            If there are too many for one program.
        """
        if len(targets) * self.replicas > _MOST_INDICES:
            raise ValueError(
                f"{source.name} → {target.name} must have at most {_MOST_INDICES} synapses in all replicas, got "
                f"{len(targets)} in each of {self.replicas}. Try fewer `replicas`"
            )
        salt = _SYNAPSES + len(self.synapses) if options.pop("draws_random", False) else -1
        synapses = PlannedSynapses(
            name=self.name(wish),
            salt=salt,
            source=source.name,
            target=target.name,
            targets=np.ascontiguousarray(targets, dtype=np.int32),
            outgoing=np.ascontiguousarray(outgoing, dtype=np.int32),
            **options,
        )
        self.synapses[synapses.name] = synapses
        return synapses

    def tables(self) -> Iterator[tuple[str, Table]]:
        """Yield every table under the name of its file, ``group.variable``."""
        owners: list[PlannedGroup | PlannedSynapses] = [*self.groups.values(), *self.synapses.values()]
        for owner in owners:
            for name, table in owner.tables.items():
                yield f"{owner.name}.{name}", table
        for group in self.groups.values():
            for name, table in group.start_tables.items():
                yield f"{group.name}.{name}.start", table

    def sampled(self, n_steps: int, warmup_steps: int) -> Iterator[tuple[str, str, SampledCourse]]:
        """Yield group, variable and values of all that changes in time, for presentations of so many steps.

        Raises
        ------
        ValueError
            As `mnnbio.spikes.timing.sample` does.
        """
        for name, group in self.groups.items():
            for variable, course in group.courses.items():
                label = f"{variable} of {name!r}"
                values = sample(course, n_steps=n_steps, warmup_steps=warmup_steps, dt=self.dt, name=label)
                yield name, variable, values

    @property
    def changes_in_time(self) -> bool:
        """Whether some variable follows a course."""
        return any(group.courses for group in self.groups.values())

    def same_network(self, other: Plan) -> bool:
        """Return whether a network made for another plan of the same structure has the synapses of this one."""
        return self.replicas == other.replicas and all(
            synapses.same_topology(other.synapses[name]) for name, synapses in self.synapses.items()
        )

    def structure(self) -> dict[str, Any]:
        """Return what the generated program depends on, in terms of JSON."""
        return {
            "dt": self.dt,
            "replicas": self.replicas,
            "groups": {name: group.structure() for name, group in self.groups.items()},
            "synapses": {name: synapses.structure() for name, synapses in self.synapses.items()},
            "populations": dict(self.populations),
        }


class Recordable(NamedTuple):
    """A state variable that can be recorded.

    Attributes
    ----------
    owner, variable : str
        Name of the group or synapses, and of the variable.
    unit : str
        In Brian2's language.
    of_synapses : bool
    limit : float
        Magnitude, in SI units, beyond which the equations have blown up; 0: it is not watched.
    label : str
        Whose it is, for messages.
    """

    owner: str
    variable: str
    unit: str
    of_synapses: bool
    limit: float
    label: str


_LIMITS = {"volt": 1e3, "amp": 1.0, "siemens": 1.0}  # SI; far beyond anything that lives


def recordables(plan: Plan) -> list[Recordable]:
    """Return the state variables of a plan that can be recorded, in the order in which its program knows them."""
    labels = {group: population for population, group in plan.populations.items()}
    found = [
        Recordable(
            name,
            variable,
            unit,
            False,
            _LIMITS.get(unit, 1e12) if group.may_diverge else 0.0,
            labels.get(name, name),
        )
        for name, group in plan.groups.items()
        for variable, unit in group.states.items()
    ]
    return found + [
        Recordable(name, variable, unit, True, 0.0, name)
        for name, synapses in plan.synapses.items()
        for variable, unit in synapses.states.items()
    ]


def all_to_all(source: PlannedGroup, target: PlannedGroup) -> tuple[Int32, Int32]:
    """Return `targets` and `outgoing` of synapses from every element of a group to every one of another."""
    targets = np.tile(np.arange(target.size, dtype=np.int32), source.size)
    return targets, np.full(source.size, target.size, dtype=np.int32)


def free_name(wish: str, taken: Collection[str]) -> str:
    """Return an identifier like `wish` that is not taken yet."""
    wish = re.sub(r"\W", "_", wish, flags=re.ASCII)
    wish = wish if wish[:1].isalpha() else f"group_{wish}"
    taken = {*taken, "network", "steps"}
    return next(name for name in (wish, *(f"{wish}_{k}" for k in range(1, len(taken) + 2))) if name not in taken)


def differences(compiled: Any, given: Any, place: Sequence[str] = ()) -> Iterator[str]:
    """Yield where two structures differ, as ``place: compiled → given``."""
    if isinstance(compiled, Mapping) and isinstance(given, Mapping):
        for key in [*compiled, *(key for key in given if key not in compiled)]:
            yield from differences(compiled.get(key), given.get(key), [*place, str(key)])
        if list(compiled) != list(given) and set(compiled) == set(given):
            yield f"order of {' '.join(place) or 'parts'}: {', '.join(compiled)} → {', '.join(given)}"
    elif compiled != given:
        yield f"{' '.join(place)}: {_shown(compiled)} → {_shown(given)}"


def _shown(value: Any) -> str:
    if value is None or value == "":
        return "none"
    if isinstance(value, Mapping):
        return "present"
    return textwrap.shorten(value if isinstance(value, str) else repr(value), _LONGEST_SHOWN, placeholder=" …")


def _table(values: npt.NDArray[Any]) -> Table:
    if values.dtype.kind in "iu":
        return np.ascontiguousarray(values, dtype=np.int32)
    return np.ascontiguousarray(values, dtype=np.float64)


def _kinds(tables: Mapping[str, Table]) -> dict[str, str]:
    return {name: str(table.dtype) for name, table in tables.items()}
