"""A circuit as a script that needs Brian2 and NumPy alone."""

from __future__ import annotations

import keyword
import textwrap
from collections.abc import Iterator
from typing import Any

import numpy as np

from mnnbio.circuit import Circuit, require_circuit
from mnnbio.formats.script_text import UNPACK, WIDTH, array_code, number_code
from mnnbio.machine import import_brian
from mnnbio.spikes import (
    SCHEDULE,
    Plan,
    PlannedGroup,
    PlannedSynapses,
    Step,
    plain_circuit,
    plain_courses,
    spiking_groups,
    variable_units,
)
from mnnbio.units import in_unit

_EXACT = '''
def exact_step(update):
    """Return a method of integration whose step is a closed form."""
    return lambda equations, variables, method_options=None: update
'''


def to_brian2_script(
    circuit: Circuit, dt: Any = 0.1, duration: Any = 1000.0, seed: int = 0, *, stimulus: int = 0
) -> str:
    """Return a circuit as a self-contained Brian2 script, which records the spikes of all populations.

    It makes the network that `to_brian2` makes, with the same schedule, and prints mean rates at its end. Numbers
    stand in the script; long arrays are compressed in it.

    Parameters
    ----------
    circuit : Circuit
    dt, duration : float or Quantity
        Time step, and how long the script runs, ms.
    seed : int
        Of Brian2's random numbers.
    stimulus : int
        Which stimulus drives the network.

    Raises
    ------
    ValueError
        If `dt` does not fit, or there is no such stimulus.
    """
    require_circuit(circuit)
    import_brian()
    dt, duration = float(in_unit(dt, "ms", "dt")), float(in_unit(duration, "ms", "duration"))
    plan = plain_circuit(circuit, dt=dt, stimulus=stimulus)
    return _Script(circuit, plan, stimulus).text(duration, seed)


class _Script:
    """Names of a script's variables and objects while it is written."""

    def __init__(self, circuit: Circuit, plan: Plan, stimulus: int) -> None:
        import brian2

        self.circuit, self.plan, self.stimulus = circuit, plan, stimulus
        self.reserved = {*dir(brian2), *keyword.kwlist, "np", "base64", "zlib", "unpack", "exact_step", "network"}
        self.labels = {*plan.groups, *plan.synapses}
        self.objects: list[str] = []
        self.recorded: dict[str, str] = {}

    def text(self, duration: float, seed: int) -> str:
        """Return the script."""
        parts = ["# Populations, sources, and what neurons share"]
        for group in self.plan.groups.values():
            parts.append("\n".join(self.group(group)))
        parts.append("# Inputs that change in time; a value holds for a step")
        courses = list(plain_courses(self.plan, stimulus=self.stimulus, duration=duration))
        for course in courses:
            own = self.variable(course.group)
            unit = variable_units(self.plan.groups[course.group].equations, [course.variable]).get(course.variable, "1")
            parts.append(
                f"{course.name} = TimedArray({array_code(course.values, unit)}, dt=defaultclock.dt)\n"
                f'{own}.run_regularly({course.code!r}, when="before_start", name={course.name!r})'
            )
        if not courses:
            parts.pop()
        if self.plan.synapses:
            parts.append("# Synapses")
        for synapses in self.plan.synapses.values():
            if len(synapses.targets):
                parts.append("\n".join(self.synapses(synapses)))
        parts += ["# Spikes", self.monitors(), self.run(duration)]
        body = "\n\n".join(parts)
        helpers = [code for code in (UNPACK, _EXACT) if f"{code.split('(')[0].split()[-1]}(" in body]
        imports = ["import base64", "import zlib", ""] if UNPACK in helpers else []
        head = [
            f'"""{len(self.circuit.populations)} populations in Brian2, in the units of the equations."""',
            "",
            *imports,
            "import numpy as np",
            "from brian2 import *",
            *(f"\n{code.rstrip()}\n" for code in helpers),
            f"defaultclock.dt = {self.plan.dt!r}*ms",
            f"seed({seed})",
        ]
        return "\n".join(head) + "\n\n" + body + "\n"

    def variable(self, name: str) -> str:
        """Return the variable of the script that holds a group or synapses."""
        return f"{name}_" if name in self.reserved else name

    def label(self, wish: str) -> str:
        """Return a name for an object, as `to_brian2` has it: Brian2 runs what is alike in the order of names."""
        found = next(n for n in (wish, *(f"{wish}_{k}" for k in range(1, 10**6))) if n not in self.labels)
        self.labels.add(found)
        return found

    def group(self, planned: PlannedGroup) -> Iterator[str]:
        """Yield the lines that make a group and give it its values."""
        own = self.variable(planned.name)
        self.objects.append(own)
        if planned.playback is not None:
            steps, elements = planned.playback[self.stimulus if len(planned.playback) > 1 else 0]
            times = steps * (self.plan.dt * 1e-3)
            yield f"{own} = SpikeGeneratorGroup("
            yield f"    {planned.size},"
            yield f"    indices={array_code(elements)},"
            yield f"    times={array_code(times, 'second')},"
            yield f'    when="{planned.spikes_when}",'
            yield "    sorted=True,"
            yield f'    name="{planned.name}",'
            yield ")"
            return
        yield f"{own} = NeuronGroup("
        yield f"    {planned.size},"
        yield f"    {_block(planned.equations)},"
        for name in ("threshold", "refractory"):
            if value := getattr(planned, name):
                yield f"    {name}={_block(value)},"
        if planned.threshold:
            yield f"    reset={_block(planned.reset)},"
        if planned.update:
            yield f"    method=exact_step({_block('v = ' + planned.update)}),"
        elif planned.method:
            yield f'    method="{planned.method}",'
        yield f'    name="{planned.name}",'
        yield ")"
        if planned.threshold and planned.spikes_when != "thresholds":
            yield f'{own}.thresholder["spike"].when = "{planned.spikes_when}"'
            if planned.spikes_when == "before_groups":
                yield f'{own}.resetter["spike"].when, {own}.resetter["spike"].order = "before_groups", 1'
        if planned.state_when != "groups":
            yield f'{own}.state_updater.when = "{planned.state_when}"'
        yield from self.values(own, planned)
        for step in planned.steps:
            yield self.step(planned.name, step)

    def step(self, group: str, step: Step) -> str:
        """Return the line of code that a group runs in every step."""
        label = self.label(f"{group}_{step.when}")
        return f'{self.variable(group)}.run_regularly({_block(step.code)}, when="{step.when}", name="{label}")'

    def values(self, own: str, planned: PlannedGroup | PlannedSynapses) -> Iterator[str]:
        """Yield the lines that give variables their values."""
        tables = planned.tables | (planned.start_tables if isinstance(planned, PlannedGroup) else {})
        units = variable_units(planned.equations, [*tables, *planned.start])
        for name, table in tables.items():
            row = table[self.stimulus if len(table) > 1 else 0]
            yield f"{own}.{name} = {array_code(row, units.get(name, '1'), shared=True)}"
        for name, value in planned.start.items():
            if name not in ("lastspike", "not_refractory", "lastupdate"):  # Brian2 starts these
                yield f"{own}.{name} = {number_code(value, units.get(name, '1'))}"

    def synapses(self, planned: PlannedSynapses) -> Iterator[str]:
        """Yield the lines that make synapses."""
        own, source, target = (self.variable(name) for name in (planned.name, planned.source, planned.target))
        self.objects.append(own)
        delay = planned.delay * (self.plan.dt * 1e-3)
        yield f"{own} = Synapses("
        yield f"    {source},"
        yield f"    {target},"
        yield f"    {_block(planned.equations)},"
        for name in ("on_pre", "on_post", "method"):
            if value := getattr(planned, name):
                yield f"    {name}={_block(value)},"
        if planned.on_pre and len(delay) == 1:
            more = ', "post": 0*second' if planned.on_post else ""
            yield f'    delay={{"pre": {number_code(delay[0], "second")}{more}}},'
        yield f'    name="{planned.name}",'
        yield ")"
        for pathway, present in (("pre", planned.on_pre), ("post", planned.on_post)):
            if present and planned.when != "synapses":
                yield f'{own}.{pathway}.when = "{planned.when}"'
        yield f"{own}.connect({self.pairs(planned)})"
        if planned.on_pre and len(delay) > 1:
            yield f"{own}.pre.delay = {array_code(delay, 'second')}"
        yield from self.values(own, planned)

    def pairs(self, planned: PlannedSynapses) -> str:
        """Return who is connected to whom, as arguments of ``connect``."""
        i, j = planned.sources(), planned.targets
        n, m = (self.plan.groups[name].size for name in (planned.source, planned.target))
        if len(j) == n * m and np.array_equal(j, np.tile(np.arange(m), n)):
            return ""
        if n == m == len(j) and np.array_equal(i, j):
            return 'j="i"'
        return f"i={array_code(i)}, j={array_code(j)}"

    def monitors(self) -> str:
        """Return the lines that record spikes."""
        lines = []
        for name, group in spiking_groups(self.circuit, self.plan).items():
            if name in self.plan.populations:
                label = self.label(f"{group}_spikes")
                self.recorded[self.variable(label)] = group
                lines.append(f'{self.variable(label)} = SpikeMonitor({self.variable(group)}, name="{label}")')
        return "\n".join(lines)

    def run(self, duration: float) -> str:
        """Return the lines that run the network and print rates."""
        slots = ", ".join(f'"{slot}"' for slot in SCHEDULE)
        listed = textwrap.fill(
            ", ".join([*self.objects, *self.recorded]), WIDTH, initial_indent="    ", subsequent_indent="    "
        )
        lines = [f"network = Network(\n{listed},\n)", f"network.schedule = [{slots}]", f"network.run({duration!r}*ms)"]
        for monitor, group in self.recorded.items():
            rate = f"{monitor}.num_spikes / ({duration!r}*ms) / {self.plan.groups[group].size}"
            lines.append(f'print("{group}:", {rate})')
        return "\n".join(lines)


def _block(text: str) -> str:
    """Return a text of Brian2 as a literal, over several lines where it has some."""
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    if len(lines) == 1:
        return f'"{lines[0]}"' if '"' not in lines[0] else repr(lines[0])
    return '"""\n' + "\n".join(f"    {line}" for line in lines) + '\n    """' if lines else '""'
