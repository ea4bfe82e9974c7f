"""Brian2 networks of a plan, and runs of them inside Python with Brian2's NumPy target.

Within a time step the order is state → synapses → threshold → reset: the jumps of a step count before its threshold
test.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mnnbio.spikes.brian_texts import plain_errors
from mnnbio.spikes.plan import (
    Plan,
    PlannedGroup,
    PlannedSynapses,
    Recordable,
    Step,
    Table,
    free_name,
    recordables,
)
from mnnbio.spikes.program_files import Job, SimulationFailed
from mnnbio.spikes.recording import Block, StateChannel
from mnnbio.spikes.session import brian_session
from mnnbio.spikes.streams import bernoulli_gap, brian_functions, streams_of
from mnnbio.spikes.timing import SampledCourse

if TYPE_CHECKING:
    from brian2 import NeuronGroup, SpikeMonitor, Synapses

Int64 = npt.NDArray[np.int64]

_WATCHED_EVERY = 128  # steps, as in `presentations.h`
SCHEDULE = ["start", "groups", "synapses", "thresholds", "resets", "end"]


def slot_number(when: str) -> int:
    """Return the place of a slot in a step, of ``before_<slot>`` and ``after_<slot>`` too."""
    side, _, name = when.rpartition("_")
    return 3 * SCHEDULE.index(name) + {"before": -1, "": 0, "after": 1}[side]


@dataclass(eq=False)
class MadeNetwork:
    """The Brian2 objects of a plan, by the names that they have in it; monitors by population.

    The network does not hold the plan's numbers: every presentation starts by loading them. In Python, `courses` are
    the variables that change in time, and `stimulus` is the stimulus of every replica.
    """

    plan: Plan
    network: Any
    clock: Any
    groups: dict[str, NeuronGroup] = field(default_factory=dict)
    synapses: dict[str, Synapses] = field(default_factory=dict)
    monitors: dict[str, SpikeMonitor] = field(default_factory=dict)
    courses: list[tuple[Any, SampledCourse]] = field(default_factory=list)
    stimulus: Int64 = field(default_factory=lambda: np.zeros(1, np.int64))
    warmup_steps: int = 0
    n_steps: int = 0
    watched: list[tuple[Recordable, Any]] | None = None  # states that may blow up, from the first run on
    sampled: list[tuple[StateChannel, Any, list[Any]]] = field(default_factory=list)
    samples_states: bool = False  # whether the network has what takes them

    def choose_states(self, channels: Sequence[StateChannel]) -> None:
        """Choose the state variables that are recorded; `take_states` takes them from the first such run on."""
        if channels and not self.samples_states:
            from brian2 import NetworkOperation

            self.samples_states = True
            self.network.add(NetworkOperation(self.take_states, clock=self.clock, when="before_start", order=-1))
        known = recordables(self.plan)
        self.sampled = []
        for channel in channels:
            own = known[channel.place]
            holder = self.synapses.get(own.owner) if own.of_synapses else self.groups[own.owner]
            variable = None if holder is None else holder.variables[own.variable]  # synapses may have none
            self.sampled.append((channel, variable, []))

    def take_states(self) -> None:
        """Take the samples of the present step."""
        step = int(self.clock.variables["timestep"].get_value()[0]) - self.warmup_steps
        for channel, variable, samples in self.sampled:
            if channel.every and step >= 0 and step % channel.every == 0:
                samples.append(self._sample(channel, variable))

    def _sample(self, channel: StateChannel, variable: Any) -> npt.NDArray[np.float64]:
        """Return the present values, (replica, element)."""
        if variable is None:
            return np.zeros((self.plan.replicas, 0))
        values = np.array(variable.get_value(), dtype=np.float64).reshape(self.plan.replicas, -1)
        return values if channel.elements is None else values[:, list(channel.elements)]

    def end_states(self) -> Iterator[tuple[StateChannel, npt.NDArray[np.float64]]]:
        """Yield the samples of a batch, (sample, replica, element), and forget them."""
        for channel, variable, samples in self.sampled:
            if not channel.every:
                samples.append(self._sample(channel, variable))
            yield channel, np.array(samples)
            samples.clear()

    def changing_weights(self) -> list[tuple[Any, npt.NDArray[np.float64]]]:
        """Return the weights that change in a presentation, as they are now."""
        planned = ((own, self.plan.synapses[name]) for name, own in self.synapses.items())
        variables = [own.variables[plan.weight] for own, plan in planned if plan.changes_weights]
        return [(variable, np.array(variable.get_value())) for variable in variables]

    def watch_states(self, n_steps: int) -> None:
        """Have the states of equations that can blow up checked every 128 steps and at the end of `n_steps`.

        A run then raises `SimulationFailed` with the message of `states.h`.
        """
        self.n_steps = n_steps
        if self.watched is None:
            from brian2 import NetworkOperation

            own = [one for one in recordables(self.plan) if one.limit > 0]
            self.watched = [(one, self.groups[one.owner].variables[one.variable]) for one in own]
            if own:
                self.network.add(NetworkOperation(self._check_states, clock=self.clock, when="after_end", order=1))

    def _check_states(self) -> None:
        step = int(self.clock.variables["timestep"].get_value()[0])
        if step % _WATCHED_EVERY != _WATCHED_EVERY - 1 and step + 1 != self.n_steps:
            return
        for own, variable in self.watched or ():
            values = variable.get_value()
            within = np.abs(values) <= own.limit  # false where it is undefined
            if within.all():
                continue
            k, size = int(np.argmin(within)), len(values) // self.plan.replicas
            raise SimulationFailed(
                f"the equations blow up: {own.variable} of neuron {k % size} of {own.label!r} is {values[k]:g} "
                f"(SI units) {(step + 1 - self.warmup_steps) * self.plan.dt:g} ms after the warm-up, stimulus "
                f"{self.stimulus[k // size]}. Try a smaller dt, another method of integration, or other parameters"
            )

    def follow_courses(self) -> None:
        """Give the variables that change in time their values of the present step; see `sample_courses`."""
        step = int(self.clock.variables["timestep"].get_value()[0])
        for group, planned in self.playbacks():
            fires = group.variables["fires"].get_value().reshape(len(self.stimulus), planned.size)
            fires[:] = False
            assert planned.playback is not None
            for replica, stimulus in enumerate(self.stimulus):
                steps, elements = planned.playback[stimulus if len(planned.playback) > 1 else 0]
                first, last = np.searchsorted(steps, [step - self.warmup_steps, step - self.warmup_steps + 1])
                fires[replica, elements[first:last]] = True
        for variable, (row, table) in self.courses:
            if step == 0 or row[step] != row[step - 1]:
                values = table[row[step]]
                picked = values[self.stimulus if len(values) > 1 else np.zeros_like(self.stimulus)]
                own = variable.get_value().reshape(len(picked), -1)
                own[:] = picked

    def sample_courses(self, n_steps: int, warmup_steps: int) -> None:
        """Sample what changes in time, for presentations of so many steps."""
        self.warmup_steps = warmup_steps
        sampled = self.plan.sampled(n_steps, warmup_steps)
        self.courses = [(self.groups[group].variables[variable], samples) for group, variable, samples in sampled]

    def parameters(self) -> Iterator[tuple[Any, Table, bool]]:
        """Yield every variable with the table that it is loaded from, and whether all replicas share it."""
        for name, group in self.groups.items():
            planned_group = self.plan.groups[name]
            for variable, table in planned_group.tables.items():
                yield group.variables[variable], table, variable in planned_group.shared
            for variable, table in planned_group.start_tables.items():
                yield group.variables[variable], table, False
        for name, synapses in self.synapses.items():
            planned = self.plan.synapses[name]
            for variable, table in planned.tables.items():
                yield synapses.variables[variable], table, variable in planned.shared

    def states(self) -> Iterator[tuple[Any, float | int | bool]]:
        """Yield every state variable with the value that it starts from."""
        for name, group in self.groups.items():
            for variable, value in self.plan.groups[name].start.items():
                yield group.variables[variable], value
        for name, synapses in self.synapses.items():
            for variable, value in self.plan.synapses[name].start.items():
                yield synapses.variables[variable], value

    def streams(self) -> Iterator[tuple[Any, int, int]]:
        """Yield every variable that holds random numbers, with its width in a replica and its salt."""
        for name, group in self.groups.items():
            planned = self.plan.groups[name]
            if planned.salt >= 0:
                yield group.variables["stream"], planned.size, planned.salt
        for name, synapses in self.synapses.items():
            own = self.plan.synapses[name]
            if own.salt >= 0:
                yield synapses.variables["stream_syn"], len(own.targets), own.salt

    def playbacks(self) -> Iterator[tuple[NeuronGroup, PlannedGroup]]:
        """Yield the groups whose spikes are given."""
        for name, group in self.groups.items():
            if self.plan.groups[name].playback is not None:
                yield group, self.plan.groups[name]

    def sources(self) -> Iterator[NeuronGroup]:
        """Yield the groups whose first spikes are drawn at the start of a presentation."""
        for name, group in self.groups.items():
            if self.plan.groups[name].is_source:
                yield group


def make_network(
    plan: Plan,
    *,
    connected: bool,
    record: Collection[str] = (),
    clock: Any = None,
    stimulus: Int64 | None = None,
) -> MadeNetwork:
    """Return the Brian2 network of a plan.

    Parameters
    ----------
    plan : Plan
    connected : bool
        Whether to make the synapses and to draw random numbers. A generated program draws (`draws.h`), carries spikes
        and forms products itself (`synapses.h`, `products.h`), and fills the other synapses from the plan's files.
    record : collection of str
        Populations whose spikes Brian2 shall record; a generated program records them itself (`recording.h`).
    clock : brian2.Clock, optional
        The clock of all objects; by default one of their own.
    stimulus : ndarray of int64, optional
        Stimulus of every replica of a network from a plain plan (`plain.py`), in which no Python runs.
    """
    from brian2 import Clock, Network, NetworkOperation, SpikeMonitor, ms

    taken = {*plan.groups, *plan.synapses}

    def name(wish: str) -> str:
        found = free_name(wish, taken)
        taken.add(found)
        return found

    made = MadeNetwork(plan, Network(name="network"), clock or Clock(dt=plan.dt * ms, name="steps"))
    plain = stimulus is not None
    if stimulus is not None:
        made.stimulus = stimulus
    made.network.schedule = SCHEDULE
    functions = brian_functions()
    for group in plan.groups.values():
        if plain and group.playback is not None:
            made.groups[group.name] = _make_generator(group, made)
            continue
        made.groups[group.name] = own = _make_group(group, made, functions if group.draws_random else {})
        drawn = [Step(f"{variable} = {draw.code}", "start") for variable, draw in group.draws.items() if connected]
        for step in [*drawn, *group.steps]:
            label = name(f"{own.name}_{step.when}")
            made.network.add(own.run_regularly(step.code, when=step.when, clock=made.clock, name=label))
    for synapses in plan.synapses.values():
        if len(synapses.targets) if connected else synapses.carrier == "brian":
            made.synapses[synapses.name] = _make_synapses(synapses, made, connected=connected)
    if connected and not plain and (plan.changes_in_time or any(made.playbacks())):
        follow = NetworkOperation(made.follow_courses, clock=made.clock, when="before_start", name=name("courses"))
        made.network.add(follow)
    for population in record:
        monitor = SpikeMonitor(made.groups[plan.populations[population]], name=name(f"{population}_spikes"))
        made.monitors[population] = monitor
        made.network.add(monitor)
    return made


def _make_group(planned: PlannedGroup, made: MadeNetwork, functions: dict[str, Any]) -> NeuronGroup:
    from brian2 import NeuronGroup

    options = {name: getattr(planned, name) for name in ("threshold", "refractory") if getattr(planned, name)}
    if planned.threshold:
        options["reset"] = planned.reset
    if planned.update:
        options["method"] = _exact_step(planned.update)
    elif planned.method:
        options["method"] = _own_noise(planned) if planned.noises else planned.method
    group = NeuronGroup(
        made.plan.replicas * planned.size,
        planned.equations + ("\nstream : integer (constant)\n" if planned.draws_random else ""),
        name=planned.name,
        clock=made.clock,
        namespace=functions,
        dtype={"stream": np.int64},
        **options,
    )
    if planned.update and not group.equations.diff_eq_names:
        raise ValueError(f"{planned.name!r} has an `update` but no differential equation, so Brian2 would not take it")
    if planned.threshold:
        group.thresholder["spike"].when = planned.spikes_when
        if planned.spikes_when == "before_groups":
            group.resetter["spike"].when, group.resetter["spike"].order = "before_groups", 1
    group.state_updater.when = planned.state_when
    made.network.add(group)
    return group


def _make_generator(planned: PlannedGroup, made: MadeNetwork) -> Any:
    """Return a group that fires the given spikes, of the stimulus of every replica."""
    from brian2 import SpikeGeneratorGroup, second

    assert planned.playback is not None
    chosen = [planned.playback[k if len(planned.playback) > 1 else 0] for k in made.stimulus]
    steps = np.concatenate([own for own, _ in chosen])
    elements = np.concatenate([replica * planned.size + own for replica, (_, own) in enumerate(chosen)])
    order = np.lexsort((elements, steps))
    group = SpikeGeneratorGroup(
        made.plan.replicas * planned.size,
        elements[order],
        steps[order] * (made.plan.dt * 1e-3) * second,
        clock=made.clock,
        when=planned.spikes_when,
        name=planned.name,
        sorted=True,
    )
    made.network.add(group)
    return group


def _make_synapses(planned: PlannedSynapses, made: MadeNetwork, *, connected: bool) -> Synapses:
    from brian2 import Synapses, second

    source, target = made.groups[planned.source], made.groups[planned.target]
    options: dict[str, Any] = {"on_pre": planned.on_pre} if planned.on_pre else {}
    delay = planned.delay * (made.plan.dt * 1e-3)
    if planned.on_post:
        options["on_post"] = planned.on_post
    if planned.method:
        options["method"] = planned.method
    if planned.on_pre and len(delay) == 1 and (connected or not planned.carries_spikes):
        options["delay"] = {"pre": delay[0] * second, **({"post": 0 * second} if planned.on_post else {})}
    elif planned.on_post:
        options["delay"] = {"post": 0 * second}  # else a program would want one of every synapse
    equations = planned.equations + ("\nstream_syn : integer (constant)\n" if planned.salt >= 0 else "")
    synapses = Synapses(
        source,
        target,
        equations,
        name=planned.name,
        clock=made.clock,
        namespace=brian_functions() if planned.salt >= 0 else {},
        dtype={"stream_syn": np.int64},
        **options,
    )
    for pathway, present in (("pre", planned.on_pre), ("post", planned.on_post)):
        if present:
            getattr(synapses, pathway).when = planned.when
    if connected:
        replica = np.arange(made.plan.replicas, dtype=np.int32)[:, None]
        pairs = (planned.sources(), planned.targets)
        sizes = (made.plan.groups[name].size for name in (planned.source, planned.target))
        i, j = ((replica * size + index).ravel() for index, size in zip(pairs, sizes, strict=True))
        synapses.connect(i=i, j=j)
        if planned.on_pre and len(delay) > 1:
            synapses.pre.delay = np.tile(delay, made.plan.replicas) * second
    made.network.add(synapses)
    return synapses


def _exact_step(update: str) -> Callable[..., str]:
    """Return a Brian2 integration method whose step is the closed form `update` of v."""

    def method(equations: Any, variables: Any, method_options: Any = None) -> str:
        return f"v = {update}"

    return method


def _own_noise(planned: PlannedGroup) -> Callable[..., str]:
    """Return Brian2's integration method with the random numbers that the streams have drawn."""

    def method(equations: Any, variables: Any, method_options: Any = None) -> str:
        from brian2.stateupdaters.base import StateUpdateMethod

        code = str(StateUpdateMethod.stateupdaters[planned.method](equations, variables, method_options))
        for name in planned.noises:
            code = code.replace(f"{name} = dt**.5 * randn()", f"{name} = dt**.5 * noise_{name}")
        if "randn" in code:
            raise ValueError(
                f"method {planned.method!r} draws random numbers in a way that is unknown here: use 'euler'"
            )
        return code

    return method


def run_in_python(made: MadeNetwork, job: Job, report: Callable[[int], None]) -> Iterator[Block]:
    """Run all presentations and yield what is recorded.

    Parameters
    ----------
    made : MadeNetwork
        Made with the runtime device; it records the spikes of every population that a channel is about.
    job : Job
    report : callable
        Told the number of steps taken since it was last told; what it raises ends the run.
    """
    from brian2 import ms, second

    done, dt = 0, made.plan.dt

    def tell(elapsed: Any, completed: float, start: Any, duration: Any) -> None:
        nonlocal done
        now = number * job.n_steps + round(completed * job.n_steps)
        report(now - done)
        done = now

    made.sample_courses(job.n_steps, job.warmup_steps)
    made.choose_states(job.states)
    made.watch_states(job.n_steps)
    carried: list[tuple[Any, npt.NDArray[np.float64]]] = []
    with brian_session("runtime"):
        made.network.store("rest")
        try:
            for number, batch in enumerate(job.batches):
                made.network.restore("rest")
                start_presentations(made, batch[:, 0], batch[:, 1])
                for variable, weights in carried:
                    variable.get_value()[:] = weights
                # Numbers out of range are said once the states are checked.
                with plain_errors(made.plan, made.network), np.errstate(over="ignore", invalid="ignore"):
                    made.network.run(job.n_steps * dt * ms, report=tell, report_period=0.2 * second, namespace={})
                _require_end(made, job)
                for channel in job.channels:
                    if (monitor := made.monitors.get(channel.population)) is not None:  # one without spikes is false
                        step = np.rint(monitor.t_[:] / (dt * 1e-3)).astype(np.int32)
                        yield job.block(number, channel, np.array(monitor.i[:], dtype=np.int32), step)
                for state, samples in made.end_states():
                    yield Block(number, state, samples)
                carried = made.changing_weights() if job.carries else []
        finally:
            made.network.restore("rest")


def _require_end(made: MadeNetwork, job: Job) -> None:
    """Raise `SimulationFailed` if somebody has stopped Brian2, which then returns as if all had been done."""
    step = int(made.clock.variables["timestep"].get_value()[0])
    if step != job.n_steps:
        raise SimulationFailed(f"Brian2 was stopped after {step} of {job.n_steps} steps, so there is no result")


def start_presentations(made: MadeNetwork, stimulus: npt.NDArray[np.int64], key: npt.NDArray[np.int64]) -> None:
    """Put every replica at rest, with the parameters of its stimulus and its own random numbers."""
    made.stimulus = stimulus
    for variable, table, shared in made.parameters():
        rows = stimulus if len(table) > 1 else np.zeros_like(stimulus)
        variable.get_value()[:] = table[rows[:1] if shared else rows].ravel()
    for variable, start in made.states():
        variable.get_value()[:] = start
    for variable, width, salt in made.streams():
        variable.get_value()[:] = np.concatenate([streams_of(int(k), salt, width) for k in key])
    for group in made.sources():
        values = {name: group.variables[name].get_value() for name in ("next_spike", "stream", "gap_scale")}
        values["next_spike"][:] = bernoulli_gap(values["stream"], 0, values["gap_scale"]) - 1
