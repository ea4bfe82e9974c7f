"""A circuit as a plain Brian2 network, in the user's hand."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from mnnbio.circuit import Circuit, require_circuit
from mnnbio.machine import import_brian
from mnnbio.spikes.network import make_network
from mnnbio.spikes.plain import load_plain, plain_circuit, plain_courses
from mnnbio.spikes.plan import Plan, free_name
from mnnbio.units import in_unit


def to_brian2(
    circuit: Circuit,
    dt: Any = 0.1,
    seed: int | None = None,
    stimulus: int = 0,
    record: Collection[str] | None = None,
    *,
    duration: Any = None,
) -> Any:
    """Return a circuit as a `brian2.Network` of plain Brian2 objects, to which anything can be added.

    Groups have the names of the populations, synapses are ``<source>_to_<target>`` and spike monitors
    ``<population>_spikes``; all hold their values. They are made for Brian2's present device, and their clock is its
    ``defaultclock``, which is set to `dt`. A circuit without randomness gives the spikes that `simulate` gives; random
    numbers are Brian2's own, so where they matter the statistics agree.

    Parameters
    ----------
    circuit : Circuit
    dt : float or Quantity
        Time step, ms.
    seed : int, optional
        Of Brian2's random numbers (`brian2.seed`), which by default are others every time.
    stimulus : int
        Which stimulus drives the network.
    record : collection of str, optional
        Populations and sources whose spikes are recorded; by default all populations.
    duration : float or Quantity, optional
        For how long inputs that change in time are needed, ms; required where there are such. The last values hold from
        then on.

    Returns
    -------
    brian2.Network

    Raises
    ------
    ValueError
        If there is no such stimulus or population, `dt` does not fit, or `duration` is missing.

    Examples
    --------
    >>> from mnnbio import Circuit, GaussianDrive, LIFParameters, Population, to_brian2
    >>> circuit = Circuit([Population("E", 3, LIFParameters())], drives=[GaussianDrive("E", mean=1.5)])
    >>> network = to_brian2(circuit)
    >>> from brian2 import StateMonitor, ms
    >>> voltage = StateMonitor(network["E"], "v", record=[0])
    >>> network.add(voltage)
    >>> network.run(50 * ms)  # doctest: +SKIP
    """
    require_circuit(circuit)
    dt = float(in_unit(dt, "ms", "dt"))
    plan = plain_circuit(circuit, dt=dt, stimulus=stimulus)
    courses = list(plain_courses(plan, stimulus=stimulus, duration=duration))
    names = spiking_groups(circuit, plan)
    recorded = list(plan.populations) if record is None else list(record)
    if unknown := [name for name in recorded if name not in names]:
        raise ValueError(f"`record` must name populations of the circuit, {', '.join(names)}; got {unknown[0]!r}")

    import_brian()
    from brian2 import Quantity, SpikeMonitor, TimedArray, defaultclock, ms
    from brian2 import seed as set_seed

    defaultclock.dt = dt * ms
    made = make_network(plan, connected=True, clock=defaultclock, stimulus=np.array([stimulus]))
    load_plain(made)
    for course in courses:
        own = made.groups[course.group]
        values = Quantity(course.values, dim=own.variables[course.variable].dim)
        own.namespace[course.name] = TimedArray(values, dt=dt * ms)
        made.network.add(own.run_regularly(course.code, when="before_start", clock=made.clock, name=course.name))
    taken = {own.name for own in made.network.objects}
    for name in recorded:
        monitor = SpikeMonitor(made.groups[names[name]], name=free_name(f"{names[name]}_spikes", taken))
        taken.add(monitor.name)
        made.network.add(monitor)
    if seed is not None:
        set_seed(seed)
    return made.network


def spiking_groups(circuit: Circuit, plan: Plan) -> dict[str, str]:
    """Return the names of the groups of all populations and sources; what neurons share or sum has no threshold."""
    groups = (name for name, group in plan.groups.items() if group.threshold)
    return {part.name: group for part, group in zip(circuit.populations, groups, strict=True)}
