"""A Brian2 network together with what every presentation must set in it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mnnbio.brian.streams import brian_functions

if TYPE_CHECKING:
    from brian2 import NeuronGroup, SpikeMonitor, Synapses

Ints = npt.NDArray[np.int_]

SCHEDULE = ["start", "groups", "synapses", "thresholds", "resets", "end"]


class Parameter(NamedTuple):
    """A variable of the network and the table, (1 or stimulus, width), that its replicas are loaded from."""

    name: str
    variable: Any
    table: npt.NDArray[Any]


class State(NamedTuple):
    """A state variable and the value that every presentation starts from."""

    variable: Any
    start: float | int | bool


class Streams(NamedTuple):
    """A variable that holds streams of random numbers, and the salt that tells its group from others."""

    variable: Any
    width: int
    salt: int


@dataclass(eq=False)
class Model:
    """A Brian2 network of `replicas` copies of a circuit, side by side.

    The network does not hold the circuit's numbers: they are tables that a run loads, so that a compiled network serves
    every stimulus. Element i of replica r of a group stands at ``r * size + i``.

    Parameters
    ----------
    dt : float
        Time step, ms.
    replicas : int
        Number of copies.
    """

    dt: float
    replicas: int
    parameters: list[Parameter] = field(default_factory=list)
    states: list[State] = field(default_factory=list)
    streams: list[Streams] = field(default_factory=list)
    sources: list[NeuronGroup] = field(default_factory=list)
    groups: list[NeuronGroup] = field(default_factory=list)
    synapses: list[Synapses] = field(default_factory=list)
    monitors: dict[str, SpikeMonitor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        from brian2 import Clock, Network, ms

        self.clock = Clock(dt=self.dt * ms, name="steps")
        self.network = Network(name="network")
        self.network.schedule = SCHEDULE
        self._functions = brian_functions()
        self._names: set[str] = set()

    def name(self, wish: str) -> str:
        """Return an identifier like `wish` that no other object of the network has."""
        wish = re.sub(r"\W", "_", wish, flags=re.ASCII)
        wish = wish if wish[:1].isalpha() else f"group_{wish}"
        taken = {*self._names, "network", "steps"}
        name = next(name for name in (wish, *(f"{wish}_{k}" for k in range(1, len(taken) + 2))) if name not in taken)
        self._names.add(name)
        return name

    def add_group(self, name: str, size: int, equations: str, **options: Any) -> NeuronGroup:
        """Add a group of `size` elements in every replica; a variable `stream` becomes its random numbers."""
        from brian2 import NeuronGroup

        group = NeuronGroup(
            self.replicas * size,
            equations,
            name=self.name(name),
            clock=self.clock,
            namespace=self._functions,
            dtype={"stream": np.int64},
            **options,
        )
        self.network.add(group)
        if "stream" in group.variables:
            self.streams.append(Streams(group.variables["stream"], size, len(self.streams)))
        self.groups.append(group)
        return group

    def load(self, group: NeuronGroup | Synapses, name: str, table: npt.ArrayLike) -> None:
        """Have the variable of a group loaded from a table, (width,) or (1 or stimulus, width)."""
        variable = group.variables[name]
        rows = np.ascontiguousarray(np.atleast_2d(table), dtype=variable.dtype)
        self.parameters.append(Parameter(f"{group.name}.{name}", variable, rows))

    def start(self, group: NeuronGroup, **values: float | int | bool) -> None:
        """Have state variables of a group set at the start of every presentation, in SI units."""
        self.states += [State(group.variables[name], value) for name, value in values.items()]

    def connect(
        self,
        source: NeuronGroup,
        target: NeuronGroup,
        pairs: tuple[Ints, Ints],
        equations: str,
        name: str,
        **options: Any,
    ) -> Synapses:
        """Connect (source, target) index pairs within every replica; `options` go to `brian2.Synapses`."""
        from brian2 import Synapses

        synapses = Synapses(source, target, equations, name=self.name(name), clock=self.clock, namespace={}, **options)
        replica = np.arange(self.replicas)[:, None]
        sizes = len(source) // self.replicas, len(target) // self.replicas
        i, j = ((replica * size + index).ravel().astype(np.int32) for index, size in zip(pairs, sizes, strict=True))
        synapses.connect(i=i, j=j)
        self.network.add(synapses)
        self.synapses.append(synapses)
        return synapses

    def record(self, name: str, group: NeuronGroup) -> None:
        """Record the spikes of a group under the population's name."""
        from brian2 import SpikeMonitor

        self.monitors[name] = SpikeMonitor(group, name=self.name(f"{name}_spikes"))
        self.network.add(self.monitors[name])

    def run_each_step(self, group: NeuronGroup, code: str, when: str) -> None:
        """Run code on a group at a slot of every step."""
        self.network.add(group.run_regularly(code, when=when, clock=self.clock, name=self.name(f"{group.name}_{when}")))


def exact_step(update: str) -> Callable[..., str]:
    """Return a Brian2 integration method whose step is the closed form `update` of v."""

    def method(equations: Any, variables: Any, method_options: Any = None) -> str:
        return f"v = {update}"

    return method
