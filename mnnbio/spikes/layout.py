"""Layout of presentations: side by side in a program, one batch after another, in several processes.

No layout changes a spike, so only time and memory count. A step of a compiled program costs about ``_FIXED`` for
calling its parts and then ``_NEURON`` or ``_SOURCE`` for every element, the more where they fire; the figures were
measured with ``benchmarks/step_costs.py``. Copies side by side share the fixed part. There are as many as make it half
of the cost at most: a program made for more would waste more whenever fewer presentations are run than it has copies.
Processes share nothing but the synapses, which they read in place; there are as many as cores, fewer where memory is
short.
"""

from __future__ import annotations

from scipy import sparse

from mnnbio.circuit import Circuit, ModeMatrix, Projection
from mnnbio.machine import free_memory, require_memory
from mnnbio.spikes.plan import Plan
from mnnbio.spikes.populations import filtered_in_modes

_FIXED, _NEURON, _SOURCE = 200e-9, 4e-9, 0.2e-9  # seconds a step
_MOST_REPLICAS = 100
_MOST_IN_PYTHON = 20_000, 1_000_000  # elements and synapses: NumPy's fixed cost is a thousand times higher
_USABLE = 0.8  # of the memory that is available now
_PROGRAM = 20e6  # bytes of a program that simulates nothing
_SYNAPSE = 40.0  # bytes of a synapse while it is drawn and sorted, at the least
_PRESENTATION = 300.0  # bytes of what is kept of a presentation, its number of spikes of every neuron not included


def choose_replicas(circuit: Circuit) -> int:
    """Return how many presentations a compiled program runs side by side."""
    neurons, sources = (sum(part.size for part in parts) for parts in (circuit.neurons, circuit.sources))
    cost = neurons * _NEURON + sources * _SOURCE
    return min(max(round(_FIXED / cost), 1), _MOST_REPLICAS)


def choose_replicas_in_python(circuit: Circuit) -> int:
    """Return how many presentations run side by side with NumPy."""
    size = {population.name: population.size for population in circuit.populations}
    synapses = sum(
        round(_synapses(circuit, p)) if filtered_in_modes(p) else size[p.source] * size[p.target]
        for p in circuit.projections
    )
    elements, most = _MOST_IN_PYTHON
    return max(1, min(elements // sum(size.values()), most // max(synapses, 1), _MOST_REPLICAS))


def choose_processes(plan: Plan, wanted: int) -> int:
    """Return how many processes run a plan's program: as many as wanted, or as have their memory."""
    memory = free_memory()
    if memory is None:
        return wanted
    own, shared = program_memory(plan)
    return min(max(int((memory * _USABLE - shared) / own), 1), wanted)


def program_memory(plan: Plan) -> tuple[float, float]:
    """Return roughly how many bytes a process of a plan's program has for itself, and how many all of them share."""
    own, shared = _PROGRAM, 0.0
    for group in plan.groups.values():
        own += 8 * group.n_variables * group.size * plan.replicas
        own += sum(table.nbytes for table in group.tables.values())
    for synapses in plan.synapses.values():
        number, weights = len(synapses.targets), sum(table.nbytes for table in synapses.tables.values())
        if synapses.carries_spikes:
            shared += 4 * number + weights
            own += 12 * number if len(synapses.delay) > 1 else 0  # sorted by delay
        elif synapses.carrier == "product":
            shared += weights
        else:
            own += (8 * number + weights) * plan.replicas
    return own, shared


def require_room(circuit: Circuit) -> None:
    """Raise `NotEnoughMemory` if the synapses of a circuit would not fit into memory, before any is drawn."""
    number = sum(_synapses(circuit, projection) for projection in circuit.projections)
    require_memory(
        number * _SYNAPSE,
        f"the {number:.2g} synapses of the circuit",
        "Simulate a smaller circuit, or one with fewer synapses",
    )


def require_room_for_run(circuit: Circuit, presentations: int) -> None:
    """Raise `NotEnoughMemory` if what a run keeps of its presentations would not fit, even if no neuron fires."""
    neurons = sum(population.size for population in circuit.neurons)
    require_memory(
        float(presentations) * (_PRESENTATION + 4.0 * neurons),
        f"{presentations:.3g} presentations of {neurons} neurons",
        "Simulate fewer `trials` or stimuli, or several runs of some `presentations` each",
    )


def _synapses(circuit: Circuit, projection: Projection) -> float:
    """Return how many synapses of a projection are held, of a rule the expected number."""
    weights = projection.weights
    if isinstance(weights, ModeMatrix):
        return float(sum(weights.shape) * len(weights.scores))
    return float(weights.nnz) if sparse.issparse(weights) else circuit.n_synapses(projection)
