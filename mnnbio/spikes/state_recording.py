"""State variables in a recording: voltages, conductances, currents of neurons, and weights that change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy import sparse

from mnnbio.circuit import Circuit, ModeMatrix, Population
from mnnbio.machine import require_memory
from mnnbio.spikes.plan import Plan, Recordable, recordables
from mnnbio.spikes.program_files import SimulationFailed
from mnnbio.spikes.recording import Block, Kind, StateChannel, recorded_kinds
from mnnbio.spikes.timing import Times
from mnnbio.units import count_steps, in_unit, shown, si_size, working_unit

Float64 = npt.NDArray[np.float64]
Pair = tuple[str, str]


@dataclass(frozen=True, init=False)
class States:
    """State variables of a population, sampled from the end of the warm-up on, as they are at the start of a step.

    Parameters
    ----------
    *variables : str
        Names, such as ``"v"`` or ``"g_e"``.
    neurons : sequence of int, optional
        Which neurons; by default all.
    every : float or Quantity
        Time between samples, ms; a multiple of the time step.

    Raises
    ------
    ValueError
        If there is no variable, a neuron is named twice, or `every` is not positive.
    """

    variables: tuple[str, ...]
    neurons: tuple[int, ...] | None
    every: float

    def __init__(self, *variables: str, neurons: Sequence[int] | None = None, every: Any = 1.0) -> None:
        if not variables or not all(isinstance(name, str) for name in variables):
            raise ValueError(f"`States` need names of variables such as 'v', got {shown(list(variables))}")
        chosen = None
        if neurons is not None:
            array = np.atleast_1d(np.asarray(neurons))
            if array.ndim != 1 or not array.size or array.dtype.kind not in "iu" or (array < 0).any():
                raise ValueError(f"`neurons` must be numbers of neurons ≥ 0, got {shown(neurons)}")
            if len(np.unique(array)) < len(array):
                raise ValueError(f"`neurons` must name every neuron once, got {shown(neurons)}")
            chosen = tuple(int(k) for k in array)
        object.__setattr__(self, "variables", tuple(dict.fromkeys(variables)))
        object.__setattr__(self, "neurons", chosen)
        object.__setattr__(self, "every", _time(every))


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Weights of a plastic projection in time, and at the end of every presentation.

    Parameters
    ----------
    every : float or Quantity, optional
        Time between samples, ms; by default the weights at the end only, which every result holds.
    variables : tuple of str
        More variables of the synapses, such as ``("x",)`` of short-term plasticity.
    """

    every: Any = None
    variables: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.every is not None:
            object.__setattr__(self, "every", _time(self.every))
        names = (self.variables,) if isinstance(self.variables, str) else tuple(self.variables)
        object.__setattr__(self, "variables", names)


def _time(value: Any) -> float:
    number = in_unit(value, "ms", "every")
    if not isinstance(number, float) or not number > 0:
        raise ValueError(f"`every` must be a time > 0 ms, got {value}")
    return number


class Wanted(NamedTuple):
    """What is recorded.

    Attributes
    ----------
    kinds : Any
        Of spikes and counts, as of `mnnbio.spikes.recording.recorded_kinds`; an empty mapping: nothing.
    states : dict
        Of each population its `States`.
    weights : dict
        Of each projection, by source and target, its `Weights`.
    """

    kinds: Any
    states: dict[str, tuple[States, ...]]
    weights: dict[Pair, Weights]


def recorded_kinds_of(sizes: Mapping[str, int], wanted: Wanted) -> dict[str, Kind]:
    """Return what is recorded of spikes and counts; nothing where states or weights alone are wanted."""
    if isinstance(wanted.kinds, Mapping) and not wanted.kinds and (wanted.states or wanted.weights):
        return {}
    return recorded_kinds(sizes, wanted.kinds)


def split_record(record: Any) -> Wanted:
    """Return what is recorded of spikes, of states and of weights.

    Raises
    ------
    ValueError, TypeError
        If something in it cannot be recorded so.
    """
    if isinstance(record, States | Weights):
        raise TypeError(
            f"`record` must say of which population or projection, as in {{'E': ['spikes', States('v')]}}, got {record}"
        )
    if not isinstance(record, Mapping):
        return Wanted(record, {}, {})
    kinds: dict[str, Any] = {}
    states: dict[str, tuple[States, ...]] = {}
    weights: dict[Pair, Weights] = {}
    for name, given in record.items():
        parts = list(given) if isinstance(given, list | tuple) else [given]
        if isinstance(name, tuple):
            if len(name) != 2 or len(parts) != 1 or not isinstance(parts[0], Weights):
                raise ValueError(
                    f"`record` of the projection {name!r} must be Weights(...), under the key (source, target), got "
                    f"{shown(given)}"
                )
            weights[name[0], name[1]] = parts[0]
            continue
        own = [part for part in parts if not isinstance(part, States)]
        if any(isinstance(part, Weights) for part in own):
            raise ValueError(
                f"Weights are recorded of a projection: give them under the key (source, target), not {name!r}"
            )
        if len(own) > 1:
            raise ValueError(
                f"`record` of {name!r} must hold one of 'spikes', Counts(...) or CountMoments(...) beside States, got "
                f"{len(own)}"
            )
        if own:
            kinds[name] = own[0]
        if found := tuple(part for part in parts if isinstance(part, States)):
            states[name] = found
    return Wanted(kinds, states, weights)


def state_channels(
    plan: Plan, circuit: Circuit, wanted: Wanted, times: Times, n_presentations: int
) -> list[StateChannel]:
    """Return the channels of all states that are recorded, the weights at the end of plastic projections among them.

    Raises
    ------
    ValueError
        If a population, projection, variable or neuron is unknown, or `every` is not a whole number of steps.
    NotEnoughMemory
        If the states would not fit into memory.
    """
    known = recordables(plan)
    common = plan, circuit, wanted, times, known
    channels = [*_neuron_channels(*common), *_weight_channels(*common)]
    needed = 8.0 * n_presentations * sum(own.size * own.n_samples for own in channels)
    require_memory(needed, "the recorded states", "Record fewer neurons, fewer `trials`, or less often")
    return channels


def _neuron_channels(
    plan: Plan, circuit: Circuit, wanted: Wanted, times: Times, known: Sequence[Recordable]
) -> Iterator[StateChannel]:
    """Yield the channels of the states of neurons."""
    sizes = {population.name: population.size for population in circuit.neurons}
    for name, all_states in wanted.states.items():
        if name not in sizes:
            raise ValueError(f"`record` must name populations of neurons ({', '.join(sizes)}), got {name!r}")
        places = _places(known, plan.populations[name])
        pairs = [(states, variable) for states in all_states for variable in states.variables]
        names = [variable for _, variable in pairs]
        if twice := [variable for variable in names if names.count(variable) > 1]:
            raise ValueError(f"{twice[0]!r} of {name!r} is recorded twice: give all its neurons in one States(...)")
        for states, variable in pairs:
            every = _steps(states.every, plan.dt, times, f"every of the states of {name!r}")
            if states.neurons is not None and max(states.neurons) >= sizes[name]:
                raise ValueError(f"`neurons` of {name!r} must be below {sizes[name]}, got {max(states.neurons)}")
            if variable not in places:
                raise ValueError(f"{name!r} has no state {variable!r}; it has {', '.join(places)}")
            place = places[variable]
            number = sizes[name] if states.neurons is None else len(states.neurons)
            samples = -(-times.duration_steps // every)
            unit = known[place].unit
            yield StateChannel(f"states/{name}", variable, unit, place, every, states.neurons, number, samples)


def _weight_channels(
    plan: Plan, circuit: Circuit, wanted: Wanted, times: Times, known: Sequence[Recordable]
) -> Iterator[StateChannel]:
    """Yield the channels of weights that change, and of what else is wanted of their synapses."""
    plastic = [
        (circuit.projections[own.number], own)
        for own in plan.synapses.values()
        if own.carrier == "brian" and own.code_pre + own.code_post
    ]
    ends = [(projection.source, projection.target) for projection, _ in plastic]
    if unknown := [pair for pair in wanted.weights if pair not in ends]:
        listed = ", ".join(map(str, ends)) or "none"
        raise ValueError(f"`record` names no plastic projection: {unknown[0]!r}. The circuit has {listed}")
    for projection, synapses in plastic:
        own = wanted.weights.get((projection.source, projection.target))
        if not synapses.changes_weights and own is None:
            continue
        name = f"{projection.source!r} → {projection.target!r}"
        given = {here: there for there, here in synapses.renamed.items()}  # names as in the circuit
        places = {given.get(key, key): place for key, place in _places(known, synapses.name).items()}
        weight = given.get(synapses.weight, synapses.weight)
        for variable in dict.fromkeys([weight, *(own.variables if own else ())]):
            if variable not in places:
                raise ValueError(f"the synapses {name} have no variable {variable!r}; they have {', '.join(places)}")
            label = "weight" if variable == weight else variable
            unit = synapses.states[synapses.renamed.get(variable, variable)]
            group, number = f"weights/{synapses.name}", len(synapses.targets)
            base = StateChannel(group, label, unit, places[variable], 0, None, number, 1, synapses.number)
            yield base
            if own is not None and own.every is not None:
                every = _steps(own.every, plan.dt, times, f"every of the weights of {name}")
                yield base._replace(every=every, n_samples=-(-times.duration_steps // every))


def _places(known: Sequence[Recordable], owner: str) -> dict[str, int]:
    """Return the numbers of the state variables of a group or of synapses."""
    return {own.variable: number for number, own in enumerate(known) if own.owner == owner}


def _steps(time: float, dt: float, times: Times, name: str) -> int:
    steps = int(count_steps(time, dt, name))
    if not 1 <= steps <= times.duration_steps:
        raise ValueError(f"`{name}` must be from {dt:g} ms to `duration`, {times.duration:g} ms, got {time:g} ms")
    return steps


class RecordedState(NamedTuple):
    """Samples of a state variable: (stimulus, trial, sample, element), or (presentation, …) of a share, in SI units."""

    channel: StateChannel
    values: Float64


class StateCollector:
    """Collector of the blocks of states."""

    def __init__(self, channels: Sequence[StateChannel], n_presentations: int, replicas: int) -> None:
        self.replicas, self.number = replicas, n_presentations
        self.tables = {own: np.full((n_presentations, own.n_samples, own.size), np.nan) for own in channels}
        self.next: dict[tuple[int, StateChannel], int] = {}

    def add(self, block: Block) -> None:
        """Take a block."""
        channel = block.channel
        assert isinstance(channel, StateChannel)
        start = self.next.get((block.batch, channel), 0)
        stop = start + len(block.values)
        first = block.batch * self.replicas
        last = min(first + self.replicas, self.number)
        self.tables[channel][first:last, start:stop] = block.values.swapaxes(0, 1)[: last - first]
        self.next[block.batch, channel] = stop

    def result(self, shape: tuple[int, ...]) -> tuple[RecordedState, ...]:
        """Return the samples of all presentations.

        Raises
        ------
        SimulationFailed
            If weights or other variables of synapses are infinite or undefined at the end.
        """
        for own, table in self.tables.items():
            if own.group.startswith("weights/") and not own.every and not np.isfinite(table).all():
                presentation, _, k = (int(place[0]) for place in np.nonzero(~np.isfinite(table)))
                name = own.group.removeprefix("weights/")
                raise SimulationFailed(
                    f"the equations of synapses blow up: the {own.variable} of synapse {k} of {name!r} is "
                    f"{table[presentation, 0, k]:g} at the end of presentation {presentation}. Keep it within bounds, "
                    "as by `w = clip(w, 0, w_max)`, or try smaller changes"
                )
        return tuple(RecordedState(own, table.reshape(*shape, *table.shape[1:])) for own, table in self.tables.items())


def state_datasets(circuit: Circuit, states: Sequence[RecordedState], dt: float) -> dict[str, xr.Dataset]:
    """Return the groups of a result that hold states, by their names, in working units."""
    groups: dict[str, xr.Dataset] = {}
    lead = [*(["stimulus"] if circuit.n_stimuli is not None else []), "trial"]
    for own in states:
        channel = own.channel
        unit = working_unit(channel.unit)
        values = own.values if circuit.n_stimuli is not None else own.values[0]
        values = values / si_size(unit)
        kind, name = channel.group.split("/", 1)
        attrs = {"units": channel.unit if unit == "1" and channel.unit != "1" else unit, "long_name": channel.variable}
        if kind == "states":
            groups[channel.group] = _with_states(
                groups.get(channel.group), circuit, name, channel, values, lead, attrs, dt
            )
            continue
        dataset = groups.get(channel.group, xr.Dataset())
        if channel.every:
            time = np.arange(channel.n_samples) * channel.every * dt * 1e-3
            coords = {"time": ("time", time, {"units": "s", "long_name": "time from the end of the warm-up"})}
            course = xr.DataArray(values, dims=[*lead, "time", "synapse"], coords=coords, attrs=attrs)
            dataset = dataset.assign({f"{channel.variable}_course": course})
        else:
            end = xr.DataArray(values[..., 0, :], dims=[*lead, "synapse"], attrs=attrs | {"at": "end of presentation"})
            dataset = dataset.assign({channel.variable: end})
        groups[channel.group] = dataset.assign_coords(_ends(circuit, channel)).assign_attrs(_named(circuit, channel))
    return groups


def _ends(circuit: Circuit, channel: StateChannel) -> dict[str, Any]:
    """Return source and target of every synapse of a projection, in the order of the weights."""
    matrix = circuit.matrix(circuit.projections[channel.projection])
    assert not isinstance(matrix, ModeMatrix)
    entries = sparse.csr_array(matrix).tocsc()
    source = np.repeat(np.arange(entries.shape[1]), np.diff(entries.indptr))
    return {"source_index": ("synapse", source), "target_index": ("synapse", entries.indices.astype(np.int64))}


def _named(circuit: Circuit, channel: StateChannel) -> dict[str, Any]:
    projection = circuit.projections[channel.projection]
    shape = [circuit.population(name).size for name in (projection.target, projection.source)]
    named = {"source": projection.source, "target": projection.target}
    return {**named, "projection": channel.projection, "shape": shape}


def _with_states(
    dataset: xr.Dataset | None,
    circuit: Circuit,
    name: str,
    channel: StateChannel,
    values: Float64,
    lead: list[str],
    attrs: Mapping[str, str],
    dt: float,
) -> xr.Dataset:
    """Return the group of a population with one more variable; several `States` have dimensions of their own."""
    population = circuit.population(name)
    assert isinstance(population, Population)
    dynamics = population.neuron.dynamics(dt)
    index = np.arange(population.size) if channel.elements is None else np.array(channel.elements)
    if channel.variable == next(iter(dynamics.receives)):
        values = values + np.broadcast_to(np.asarray(dynamics.v_rest), population.size)[index]
    time = np.arange(channel.n_samples) * channel.every * dt * 1e-3
    dims = [*lead, "time", "neuron"]
    coords = {
        "time": ("time", time, {"units": "s", "long_name": "time from the end of the warm-up"}),
        "index": ("neuron", index, {"long_name": "number of the neuron in its population"}),
    }
    array = xr.DataArray(values, dims=dims, coords=coords, attrs=dict(attrs))
    if dataset is None:
        return xr.Dataset({channel.variable: array})
    same = all(dataset[key].equals(array[key]) if dataset[key].shape == array[key].shape else False for key in coords)
    if not same:
        suffix = f"_{channel.variable}"
        array = array.rename(time=f"time{suffix}", neuron=f"neuron{suffix}", index=f"index{suffix}")
    return dataset.assign({channel.variable: array})
