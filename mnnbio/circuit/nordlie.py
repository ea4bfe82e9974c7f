"""Tables that describe a circuit completely, in the form of Nordlie, Gewaltig & Plesser (2009), as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields
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
from mnnbio.circuit.drives import GaussianDrive, PoissonDrive
from mnnbio.circuit.parts import ModeMatrix, Population, Projection
from mnnbio.circuit.sources import PoissonSource
from mnnbio.circuit.spatial import BoxProfile, DistanceDependent, ExponentialProfile, GaussianProfile, Profile
from mnnbio.neurons import LIFParameters
from mnnbio.values import Distribution, LogNormal, Normal, Oscillation, Ramp, Samples, Steps, TimeCourse, Uniform

if TYPE_CHECKING:
    from mnnbio.circuit.circuit import Circuit

Row = Sequence[str]


def describe(circuit: Circuit) -> str:
    """Return the tables of a circuit as Markdown; see `Circuit.describe`."""
    sections = [
        ("Model summary", ("", ""), _summary(circuit)),
        ("Populations", ("Name", "Elements", "Size"), _populations(circuit)),
        (
            "Connectivity",
            ("Source", "Target", "Pattern", "Weight (mV)", "Delay (ms)", "Synaptic time constant (ms)"),
            [_projection(circuit, projection) for projection in circuit.projections],
        ),
        ("Neuron model", ("", ""), _neuron_model(circuit)),
        (
            "Neuron parameters",
            ("Population", *_PARAMETERS.values()),
            [_parameters(p) for p in circuit.neurons if _is_lif(p)],
        ),
        ("Synapse model", ("", ""), _synapse_model(circuit)),
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
    names = ", ".join(p.name for p in circuit.populations)
    return [
        ("Populations", f"{len(circuit.populations)}: {names}"),
        ("Topology", ", ".join(sorted(spaces)) or "–"),
        ("Connectivity", ", ".join(sorted(patterns)) or "–"),
        ("Neuron model", "; ".join(dict.fromkeys(map(_kind_of_neuron, circuit.neurons)))),
        ("Channel models", "–"),
        ("Synapse model", " and ".join(_synapse_kinds(circuit)) or "–"),
        ("Plasticity", "–"),
        ("Input", ", ".join(sorted(inputs)) or "–"),
        ("Measurements", "spike times"),
    ]


_KIND_OF_INPUT: dict[type, str] = {
    PoissonSource: "Poisson spike trains shared by the neurons they project to",
    PoissonDrive: "Poisson spikes of its own for each neuron",
    GaussianDrive: "Gaussian white-noise current",
}


def _populations(circuit: Circuit) -> list[Row]:
    return [
        (p.name, "Poisson spike trains" if isinstance(p, PoissonSource) else p.kind, f"{p.size}")
        for p in circuit.populations
    ]


def _projection(circuit: Circuit, projection: Projection) -> Row:
    return (
        projection.source,
        projection.target,
        _pattern(circuit, projection),
        _values(projection.weights if projection.weight is None else projection.weight),
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
    others = {type(p.neuron).__name__: p.neuron for p in circuit.neurons if not _is_lif(p)}
    rows: list[Row] = [(name, _described(neuron)) for name, neuron in others.items()]
    if not any(_is_lif(p) for p in circuit.neurons):
        return rows
    return [
        *rows,
        ("Type", "leaky integrate-and-fire"),
        ("Subthreshold dynamics", "dV/dt = -V/tau_m + I(t); V in mV from rest, I in mV/ms"),
        ("Spiking", "if V ≥ v_th: a spike, then V = v_reset for t_ref; input to V is lost meanwhile"),
        ("Initial state", "V = 0"),
    ]


def _parameters(population: Population) -> Row:
    return (population.name, *(_values(value) for _, value in population.lif.items()))


def _synaptic_time(projection: Projection) -> str:
    if projection.synapse is not None:
        return type(projection.synapse).__name__
    return "delta" if projection.tau_syn == 0 else _values(projection.tau_syn)


def _synapse_kinds(circuit: Circuit) -> list[str]:
    kinds = {type(p.synapse).__name__ for p in circuit.projections if p.synapse is not None}
    times = [p.tau_syn for p in circuit.projections if p.synapse is None]
    times += [train.tau_syn for drive in circuit.drives for train in drive.steps(1.0).jumps]
    return sorted(kinds | {"exponential currents" if tau_syn > 0 else "delta currents" for tau_syn in times})


def _synapse_model(circuit: Circuit) -> list[Row]:
    forms = {
        "delta currents": ("Delta", "a spike of weight J changes V by J"),
        "exponential currents": ("Exponential", "a spike of weight J adds J/tau_syn to I, which decays with tau_syn"),
    }
    others = {type(p.synapse).__name__: p.synapse for p in circuit.projections if p.synapse is not None}
    forms |= {name: (name, _described(model)) for name, model in others.items()}
    return [forms[kind] for kind in _synapse_kinds(circuit)]


def _input(circuit: Circuit) -> list[Row]:
    rows: list[Row] = []
    for source in circuit.sources:
        rows.append((source.name, "Poisson spike trains", f"rate {_course(source.rates)} spikes/ms"))
    for drive in circuit.drives:
        if not isinstance(drive, PoissonDrive | GaussianDrive):
            rows.append((drive.target, type(drive).__name__, _described(drive)))
        elif isinstance(drive, PoissonDrive):
            synapse = f", tau_syn {drive.tau_syn:g} ms" if drive.tau_syn else ""
            text = f"rate {_course(drive.rate)} spikes/ms, weight {drive.weight:g} mV{synapse}"
            rows.append((drive.target, "Poisson spikes of its own", text))
        else:
            text = f"mean {_course(drive.mean)} mV/ms, standard deviation {_course(drive.std)} mV/√ms"
            if drive.factor is not None:
                text += f"; {drive.factor.shape[-1]} shared noise sources, loadings {_values(drive.factor)} mV/√ms"
            rows.append((drive.target, "Gaussian white noise", text))
    return rows


def _described(part: Any) -> str:
    """Return the fields of a part of a user's own, but for its target."""
    listed = ((field.name, getattr(part, field.name)) for field in fields(part) if field.name != "target")
    return ", ".join(f"{name} {_course(value)}" for name, value in listed if value is not None) or "–"


def _course(value: Any) -> str:
    match value:
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
    return _values(value)


def _measurements(circuit: Circuit) -> list[Row]:
    rows: list[Row] = [("Spike times", "of the populations " + ", ".join(p.name for p in circuit.neurons))]
    for readout in circuit.readouts.values():
        rows.append(
            ("Readout", f"{len(readout.bias)} linear decision variables of the spike counts of {readout.source}")
        )
    return rows
