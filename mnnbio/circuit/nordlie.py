"""Tables that describe a circuit completely, in the form of Nordlie, Gewaltig & Plesser (2009), as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from mnnbio.circuit.connectivity import (
    AllToAll,
    Bernoulli,
    Connectivity,
    FixedIndegree,
    FixedOutdegree,
    FixedTotalNumber,
    OneToOne,
)
from mnnbio.circuit.drives import CurrentDrive, Drive, GaussianDrive, JumpTrain, PoissonDrive
from mnnbio.circuit.parts import ModeMatrix, Population, Projection
from mnnbio.circuit.sources import PoissonSource, Source, SpikeSource
from mnnbio.circuit.spatial import BoxProfile, DistanceDependent, ExponentialProfile, GaussianProfile, Profile
from mnnbio.neurons import BiophysicalNeuron, HodgkinHuxley, LIFParameters, NeuronDynamics, NeuronModel
from mnnbio.synapses import Delta, Exponential, PlasticityRule, SynapseModel
from mnnbio.units import si_size, working_unit
from mnnbio.values import Distribution, LogNormal, Normal, Oscillation, Ramp, Samples, Steps, TimeCourse, Uniform

if TYPE_CHECKING:
    from mnnbio.circuit.circuit import Circuit

Row = Sequence[str]


def describe(circuit: Circuit) -> str:
    """Return the tables of a circuit as Markdown; see `Circuit.describe`."""
    plain = all(projection.synapse_model.UNIT == "mV" for projection in circuit.projections)
    sections = [
        ("Model summary", ("", ""), _summary(circuit)),
        ("Populations", ("Name", "Elements", "Size"), _populations(circuit)),
        (
            "Connectivity",
            (
                "Source",
                "Target",
                "Pattern",
                "Weight (mV)" if plain else "Weight",
                "Delay (ms)",
                "Synaptic time constant (ms)" if plain else "Synapse, or its time constant (ms)",
            ),
            [_projection(circuit, projection, plain=plain) for projection in circuit.projections],
        ),
        ("Neuron model", ("", ""), _neuron_model(circuit)),
        *_parameter_tables(circuit),
        ("Synapse model", ("", ""), _synapse_model(circuit)),
        ("Plasticity", ("Source", "Target", "Rule", "Description"), _plasticity(circuit)),
        ("Input", ("Target", "Type", "Description"), _input(circuit)),
        ("Measurements", ("", ""), _measurements(circuit)),
    ]
    return "\n".join(_table(title, head, rows) for title, head, rows in sections if rows)


_PARAMETERS = {
    "tau_m": "Membrane time constant tau_m (ms)",
    "v_th": "Threshold v_th (mV)",
    "v_reset": "Reset v_reset (mV)",
    "t_ref": "Refractory period t_ref (ms)",
}
_ORDERS = {
    "synapses_first": "state, synapses, threshold, reset",
    "threshold_first": "state, threshold, synapses, reset",
    "state_last": "threshold, reset, state, synapses",
    "input_first": "synapses, state, threshold, reset",
}


def _table(title: str, head: Row, rows: Iterable[Row]) -> str:
    """Return one table, its columns aligned so that it reads as plain text too."""
    cells = [[cell.replace("|", "\\|") for cell in row] for row in (head, *rows)]
    widths = [max(3, *(len(row[k]) for row in cells)) for k in range(len(head))]
    lines = ["| " + " | ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) + " |" for row in cells]
    lines.insert(1, "|" + "|".join("-" * (w + 2) for w in widths) + "|")
    return "\n".join([f"## {title}", "", *lines, ""])


def _summary(circuit: Circuit) -> list[Row]:
    patterns = {_pattern(circuit, p).split(",")[0].split(" with ")[0] for p in circuit.projections}
    spaces = {
        type(p.connectivity.space).__name__.lower()
        for p in circuit.projections
        if isinstance(p.connectivity, DistanceDependent)
    }
    inputs = {_KIND_OF_INPUT.get(type(item), type(item).__name__) for item in (*circuit.sources, *circuit.drives)}
    rules = dict.fromkeys(type(rule).__name__ for _, rule in _rules(circuit))
    channels = any(isinstance(population.neuron, HodgkinHuxley) for population in circuit.neurons)
    names = ", ".join(p.name for p in circuit.populations)
    return [
        ("Populations", f"{len(circuit.populations)}: {names}"),
        ("Topology", ", ".join(sorted(spaces)) or "–"),
        ("Connectivity", ", ".join(sorted(patterns)) or "–"),
        ("Neuron model", "; ".join(dict.fromkeys(map(_kind_of_neuron, circuit.neurons)))),
        ("Channel models", "sodium and potassium of Traub and Miles" if channels else "–"),
        ("Synapse model", " and ".join(_synapse_kinds(circuit)) or "–"),
        ("Plasticity", ", ".join(rules) or "–"),
        ("Input", ", ".join(sorted(inputs)) or "–"),
        ("Measurements", "spike times"),
    ]


_KIND_OF_INPUT: dict[type, str] = {
    PoissonSource: "Poisson spike trains shared by the neurons they project to",
    PoissonDrive: "Poisson spikes of its own for each neuron",
    GaussianDrive: "Gaussian white-noise current",
    SpikeSource: "spikes at given times",
    CurrentDrive: "current",
}


def _populations(circuit: Circuit) -> list[Row]:
    return [
        (p.name, "Poisson spike trains" if isinstance(p, PoissonSource) else p.kind, f"{p.size}")
        for p in circuit.populations
    ]


def _projection(circuit: Circuit, projection: Projection, *, plain: bool) -> Row:
    weight = _values(projection.weights if projection.weight is None else projection.weight)
    return (
        projection.source,
        projection.target,
        _pattern(circuit, projection),
        weight if plain else _with_unit(weight, projection.synapse_model.UNIT),
        _values(projection.delay),
        _synaptic_time(projection),
    )


def _pattern(circuit: Circuit, projection: Projection) -> str:
    rule = projection.connectivity
    if rule is None:
        weights = projection.weights
        if isinstance(weights, ModeMatrix):
            return f"given weights, {len(weights.scores)} modes"
        stored = np.count_nonzero(weights) if isinstance(weights, np.ndarray) else weights.nnz
        return f"given weights, {stored} synapses"
    text = _rule(rule)
    if projection.source == projection.target and not isinstance(rule, OneToOne):
        text += ", autapses allowed" if projection.autapses else ", no autapses"
    return text


def _rule(rule: Connectivity) -> str:
    match rule:
        case AllToAll():
            return "all to all"
        case OneToOne():
            return "one to one"
        case Bernoulli(p=p):
            return f"pairwise random with probability {p:g}, no multapses"
        case FixedIndegree(n=n, multapses=multapses):
            return f"fixed in-degree with {n} sources, {_multapses(multapses)}"
        case FixedOutdegree(n=n, multapses=multapses):
            return f"fixed out-degree with {n} targets, {_multapses(multapses)}"
        case FixedTotalNumber(n=n, multapses=multapses):
            return f"fixed total number with {n} synapses, {_multapses(multapses)}"
        case DistanceDependent():
            amount = f"in-degree {rule.indegree}" if rule.p is None else f"probability {rule.p:g}"
            return f"distance-dependent with {amount}, {_profile(rule.profile)}, {rule.space!r}, no multapses"
    return repr(rule)


def _multapses(allowed: bool) -> str:
    return "multapses allowed" if allowed else "no multapses"


def _profile(profile: Profile) -> str:
    match profile:
        case GaussianProfile(sigma=sigma):
            return f"Gaussian of distance (sigma {sigma:g})"
        case ExponentialProfile(length=length):
            return f"exponential of distance (length {length:g})"
        case BoxProfile(radius=radius):
            return f"box of distance (radius {radius:g})"
    return repr(profile)


def _values(value: Any) -> str:
    """Return a number, distribution or array in words."""
    match value:
        case Normal(mean=mean, std=std, low=low, high=high):
            bounds = "".join(f", {sign} {end:g}" for sign, end in (("≥", low), ("≤", high)) if end is not None)
            return f"normal, mean {mean:g}, std {std:g}{bounds}"
        case LogNormal(mean=mean, std=std):
            return f"log-normal, mean {mean:g}, std {std:g}"
        case Uniform(low=low, high=high):
            return f"uniform, {low:g} to {high:g}"
        case Distribution():
            return repr(value)
        case ModeMatrix():
            return "mode scores " + _values(value.scores)
    numbers = value.data if sparse.issparse(value) else np.asarray(value)
    if numbers.size == 0:
        return "–"
    low, high = float(numbers.min()), float(numbers.max())
    return f"{low:g}" if low == high else f"{low:g} to {high:g} (mean {numbers.mean():.4g})"


def _is_lif(population: Population) -> bool:
    return isinstance(population.neuron, LIFParameters)


def _kind_of_neuron(population: Population) -> str:
    if _is_lif(population):
        return "leaky integrate-and-fire, fixed threshold, absolute refractory period"
    return type(population.neuron).__name__


def _neuron_model(circuit: Circuit) -> list[Row]:
    others = {_title(p.neuron): p.neuron for p in circuit.neurons if not _is_lif(p)}
    texts = {tuple(_equations_of(neuron)): None for neuron in others.values()}
    rows: list[Row] = [row for text in texts for row in text]
    lif = [p.lif for p in circuit.neurons if _is_lif(p)]
    if not lif:
        return rows
    start = "V = 0" if not any(neuron.initial for neuron in lif) else "V as in the table of parameters, else 0"
    return [
        *rows,
        ("Type", "leaky integrate-and-fire"),
        ("Subthreshold dynamics", "dV/dt = -V/tau_m + I(t); V in mV from rest, I in mV/ms"),
        ("Spiking", "if V ≥ v_th: a spike, then V = v_reset for t_ref; input to V is lost meanwhile"),
        ("Initial state", start),
    ]


def _title(neuron: NeuronModel) -> str:
    """Return a text that differs between models with other equations, and not with the values of parameters."""
    return f"{type(neuron).__name__} {getattr(neuron, 'equations', '')} {getattr(neuron, 'threshold', '')}"


def _equations_of(neuron: NeuronModel) -> list[Row]:
    """Return the rows that tell what neurons obey; equations in Brian2's language, in which they run."""
    name = type(neuron).__name__
    dynamics = _dynamics(neuron)
    if dynamics is None:
        return [("Type", name), ("Dynamics", _described(neuron))]
    equations = [line.strip() for line in dynamics.equations.splitlines()]
    shown = [line for line in equations if line and not line.endswith("(constant)")]
    if dynamics.update:
        membrane = next(iter(dynamics.receives))
        shown.append(f"a step: {membrane} ← " + "; ".join(dynamics.update.splitlines()))
    spiking = f"if {dynamics.threshold}: a spike" + (f", then {_in_a_row(dynamics.reset)}" if dynamics.reset else "")
    rows: list[Row] = [("Type", name), ("Dynamics", "; ".join(shown)), ("Spiking", spiking)]
    if dynamics.refractory:
        rows.append(("Refractory", dynamics.refractory))
    method = dynamics.method or "closed form of a step"
    return [*rows, ("Integration", f"{method}; order in a step: {_ORDERS[dynamics.order]}")]


def _dynamics(neuron: NeuronModel) -> NeuronDynamics | None:
    """Return the equations of neurons for a step that divides their times, None where none of the tried does."""
    for dt in (0.1, 0.01, 0.001):
        try:
            return neuron.dynamics(dt)
        except ValueError:
            continue
    return None


def _in_a_row(statements: str) -> str:
    return "; ".join(line.strip() for line in statements.splitlines() if line.strip())


def _parameter_tables(circuit: Circuit) -> list[tuple[str, Row, list[Row]]]:
    """Return one table for each kind of neurons, whose columns are their parameters and start values."""
    kinds: dict[Any, list[Population]] = {}
    for population in circuit.neurons:
        names = tuple(name for name, _ in _columns(population))
        kinds.setdefault((type(population.neuron), names), []).append(population)
    tables: list[tuple[str, Row, list[Row]]] = []
    for (kind, names), populations in kinds.items():
        name = "LIF" if issubclass(kind, LIFParameters) else kind.__name__
        title = "Neuron parameters" + (f": {name}" if len(kinds) > 1 else "")
        starts = [_starts(population) for population in populations]
        variables = list(dict.fromkeys(variable for start in starts for variable in start))
        rows: list[Row] = [
            (p.name, *(text for _, text in _columns(p)), *(start.get(variable, "–") for variable in variables))
            for p, start in zip(populations, starts, strict=True)
        ]
        tables.append((title, ("Population", *names, *(f"Initial {variable}" for variable in variables)), rows))
    return tables


def _starts(population: Population) -> dict[str, str]:
    """Return the start values that are given, by variable; the others start at rest."""
    neuron: Any = population.lif if _is_lif(population) else population.neuron
    initial = getattr(neuron, "initial", None)
    return {name: _course(value) for name, value in initial.items()} if isinstance(initial, Mapping) else {}


def _columns(population: Population) -> list[tuple[str, str]]:
    """Return heads and texts of the parameters of a population."""
    neuron: Any = population.neuron
    if _is_lif(population):
        neuron = population.lif
        listed = [(_PARAMETERS[name], _values(value)) for name, value in neuron.items()]
    elif isinstance(neuron, BiophysicalNeuron):
        listed = [(_head(name, neuron.UNITS[name]), _values(value)) for name, value in neuron.items()]
    else:
        units = getattr(neuron, "units", {})
        units = units if isinstance(units, Mapping) else {}
        listed = [_in_working_unit(name, value, units.get(name, "1")) for name, value in neuron.items()]
    return listed


def _head(name: str, unit: str) -> str:
    return name if unit == "1" else f"{name} ({unit})"


def _with_unit(text: str, unit: str) -> str:
    return text if unit == "1" or text == "–" else f"{text} {unit}"


def _in_working_unit(name: str, value: Any, unit: str) -> tuple[str, str]:
    """Return head and text of a parameter that is held in SI units, in the working unit where there is one."""
    own = working_unit(unit)
    if own == "1" or isinstance(value, bool) or not isinstance(value, float | int | np.ndarray):
        return _head(name, unit), _course(value)
    return _head(name, own), _values(np.asarray(value) / si_size(own))


def _synaptic_time(projection: Projection) -> str:
    if projection.synapse is not None:
        return _named(projection.synapse)
    return "delta" if projection.tau_syn == 0 else _values(projection.tau_syn)


def _trains(circuit: Circuit) -> list[JumpTrain]:
    return [train for drive in circuit.drives for train in drive.steps(1.0).jumps]


def _models(circuit: Circuit) -> list[SynapseModel]:
    """Return the synapses of projections and drives."""
    return [p.synapse_model for p in circuit.projections] + [train.synapse_model for train in _trains(circuit)]


def _kind_of_synapse(model: SynapseModel) -> str:
    match model:
        case Delta():
            return "delta currents"
        case Exponential(unit="mV"):
            return "exponential currents"
    return type(model).__name__


def _synapse_kinds(circuit: Circuit) -> list[str]:
    return sorted({_kind_of_synapse(model) for model in _models(circuit)})


def _synapse_model(circuit: Circuit) -> list[Row]:
    forms = {
        "delta currents": ("Delta", "a spike of weight J changes V by J"),
        "exponential currents": ("Exponential", "a spike of weight J adds J/tau_syn to I, which decays with tau_syn"),
    }
    rows: list[Row] = []
    for model in sorted(_models(circuit), key=_kind_of_synapse):
        kind = _kind_of_synapse(model)
        row = forms.get(kind) or (kind, f"{_summary_of(model)} {_described(model)}".replace(" –", "").strip())
        if row not in rows:
            rows.append(row)
    return rows


def _summary_of(part: Any) -> str:
    """Return the first line of the docstring of a part's class, where it has one of its own."""
    text = (type(part).__doc__ or "").strip().split("\n\n")[0]
    return "" if text.startswith(f"{type(part).__name__}(") else " ".join(text.split())


def _rules(circuit: Circuit) -> list[tuple[Projection, PlasticityRule]]:
    return [(projection, rule) for projection in circuit.projections for rule in projection.plasticity or ()]


def _plasticity(circuit: Circuit) -> list[Row]:
    return [(p.source, p.target, type(rule).__name__, _described(rule)) for p, rule in _rules(circuit)]


def _input(circuit: Circuit) -> list[Row]:
    rows: list[Row] = [(source.name, *_source(source)) for source in circuit.sources]
    return rows + [(drive.target, *_drive(drive)) for drive in circuit.drives]


def _source(source: Source) -> tuple[str, str]:
    match source:
        case PoissonSource():
            return "Poisson spike trains", f"rate {_course(source.rates)} spikes/ms"
        case SpikeSource():
            stimuli = f" of {source.n_stimuli} stimuli" if source.n_stimuli else ""
            times = f", at {_values(source.times)} ms" if len(source.times) else ""
            return "Given spike trains", f"{len(source.times)} spikes{stimuli}{times}"
    return type(source).__name__, source.kind


def _drive(drive: Drive) -> tuple[str, str]:
    match drive:
        case PoissonDrive():
            model = drive.synapse
            if model is None:
                synapse = f", tau_syn {drive.tau_syn:g} ms" if drive.tau_syn else ""
            else:
                synapse = f", {_named(model)}"
            weight = _with_unit(f"{drive.weight:g}", "mV" if model is None else model.UNIT)
            return "Poisson spikes of its own", f"rate {_course(drive.rate)} spikes/ms, weight {weight}{synapse}"
        case GaussianDrive():
            text = f"mean {_course(drive.mean)} mV/ms, standard deviation {_course(drive.std)} mV/√ms"
            if drive.factor is not None:
                text += f"; {drive.factor.shape[-1]} shared noise sources, loadings {_values(drive.factor)} mV/√ms"
            return "Gaussian white noise", text
        case CurrentDrive():
            return "Current", f"{_course(drive.current)} pA"
    return type(drive).__name__, _described(drive)


def _named(part: Any) -> str:
    """Return the class of a part with its fields."""
    listed = _described(part)
    return type(part).__name__ + (f" ({listed})" if listed != "–" else "")


def _described(part: Any) -> str:
    """Return the fields of a part, but for its target."""
    if not is_dataclass(part):
        return "–"
    listed = ((field.name, getattr(part, field.name)) for field in fields(part) if field.name != "target")
    return ", ".join(f"{name} {_course(value)}" for name, value in listed if not _is_empty(value)) or "–"


def _is_empty(value: Any) -> bool:
    return value is None or (isinstance(value, str | Mapping | tuple | list) and not len(value))


def _course(value: Any) -> str:
    """Return a number, distribution, array, course in time, text or part in words."""
    match value:
        case str():
            return _in_a_row(value)
        case bool():
            return "yes" if value else "no"
        case Mapping():
            return ", ".join(f"{name} {_course(one)}" for name, one in value.items())
        case tuple() | list():
            return ", ".join(map(_course, value))
        case SynapseModel():
            return _named(value)
        case Steps():
            return f"{_values(value.values)} in steps at {', '.join(f'{t:g}' for t in value.times)} ms"
        case Ramp():
            return (
                f"{_values(value.first)}, from {value.start:g} to {value.stop:g} ms linearly to {_values(value.last)}"
            )
        case Oscillation():
            hertz = _values(np.asarray(value.frequency) * 1e3)
            return (
                f"{_values(value.mean)} + {_values(value.amplitude)} · sin at {hertz} Hz, phase {_values(value.phase)}"
            )
        case Samples():
            return f"{_values(value.values)} in {len(value.values)} samples of {value.dt:g} ms"
        case TimeCourse():
            return repr(value)
        case float() | int() | np.ndarray() | np.generic() | Distribution() | ModeMatrix():
            return _values(value)
    return _values(value) if sparse.issparse(value) else repr(value)


def _measurements(circuit: Circuit) -> list[Row]:
    rows: list[Row] = [("Spike times", "of the populations " + ", ".join(p.name for p in circuit.neurons))]
    for readout in circuit.readouts.values():
        rows.append(
            (
                "Readout",
                f"{len(readout.bias)} linear decision variables of the spike counts of {', '.join(readout.sources)}",
            )
        )
    return rows
