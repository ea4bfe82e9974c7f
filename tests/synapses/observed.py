"""Runs of circuits in Python whose states and weights are seen in every step, and runs of plain Brian2 scripts."""

from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import pytest
from brian2 import Network, ms, prefs, start_scope

from mnnbio.spikes.network import make_network, start_presentations
from mnnbio.spikes.planner import plan_circuit
from mnnbio.spikes.session import brian_session
from mnnbio.spikes.streams import presentation_key

DT = 0.1  # ms


@dataclass
class Observed:
    """What a run has shown: steps of spikes by neuron, states (neuron, step) and last values of synapses, SI units."""

    spikes: dict = field(default_factory=dict)
    states: dict = field(default_factory=dict)
    synapses: dict = field(default_factory=dict)

    def weights(self, name):
        """Return the last weights of a projection, sorted by source, then target."""
        values = self.synapses[name]
        return values.get("w_syn", values.get("w"))


def observe(circuit, duration, states=None, dt=DT):
    """Run a circuit from its start; `states` names variables of populations."""
    n_steps, found = round(duration / dt), Observed()
    with brian_session("runtime"):
        from brian2 import StateMonitor

        neurons = [own.name for own in circuit.populations if hasattr(own, "neuron")]
        made = make_network(plan_circuit(circuit, dt=dt, replicas=1), connected=True, record=neurons)
        made.sample_courses(n_steps, 0)
        start_presentations(made, np.zeros(1, np.int64), np.array([presentation_key(1, 0, 0)]))
        monitors = {
            name: StateMonitor(made.groups[name], list(names), record=True, clock=made.clock, when="end")
            for name, names in (states or {}).items()
        }
        made.network.add(*monitors.values())
        made.network.run(n_steps * dt * ms, namespace={})
        for name in neurons:
            monitor = made.monitors[name]
            found.spikes[name] = by_neuron(monitor, len(made.groups[name]), dt)
        for name, monitor in monitors.items():
            found.states |= {(name, own): np.array(getattr(monitor, f"{own}_")) for own in states[name]}
        for name, synapses in made.synapses.items():
            planned = made.plan.synapses[name]
            names = [*planned.tables, *planned.start]
            found.synapses[name] = {own: np.array(synapses.variables[own].get_value()) for own in names}
    return found


def by_neuron(monitor, n, dt=DT):
    """Return the steps of the spikes of every neuron."""
    steps = np.rint(monitor.t_[:] / (dt * 1e-3)).astype(int)
    return [np.sort(steps[monitor.i[:] == k]) for k in range(n)]


@contextmanager
def plain_brian():
    """Let Brian2 run objects of a script with its NumPy target."""
    start_scope()
    before, prefs.codegen.target = prefs.codegen.target, "numpy"
    try:
        yield
    finally:
        prefs.codegen.target = before


def run_script(objects, duration):
    """Run objects of a script, which have clocks of their own."""
    Network(*objects).run(duration * ms, namespace={})


def train(n, number, duration, seed, gap=1):
    """Return times (ms, on the grid) and elements of `number` random spikes of each of n elements."""
    rng = np.random.default_rng(seed)
    cells = np.arange(1, round(duration / DT) // gap - 1)
    steps = np.concatenate([np.sort(rng.choice(cells, number, replace=False)) * gap for _ in range(n)])
    return steps * DT, np.repeat(np.arange(n), number)


def some_slow(cases, *quick):
    """Return cases of a test, marked as slow but for the quick ones."""
    return [case if case in quick else pytest.param(case, marks=pytest.mark.slow) for case in cases]
