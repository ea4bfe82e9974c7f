"""A circuit as a diagram: populations as nodes, projections as arrows, inputs as stubs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
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
from mnnbio.circuit.drives import CurrentDrive, GaussianDrive, PoissonDrive
from mnnbio.circuit.parts import ModeMatrix, Projection
from mnnbio.circuit.sources import Source
from mnnbio.circuit.spatial import DistanceDependent
from mnnbio.synapses import NMDA, Conductance, GapJunction
from mnnbio.values import Distribution

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from mnnbio.circuit.circuit import Circuit

Point = npt.NDArray[np.float64]

# Colours that readers with any colour vision tell apart (Okabe & Ito 2008): excitation in that of the first population
# in figures of results, inhibition in that of the second.
_EXCITATORY, _INHIBITORY, _MIXED, _INK, _FILL = "#0072B2", "#D55E00", "#7A7A7A", "#222222", "#F2F2F2"
_LEGEND = {_EXCITATORY: "excitatory", _INHIBITORY: "inhibitory", _MIXED: "mixed signs"}
_USUAL_THRESHOLD = -50.0  # mV, of neurons that state none: conductances that reverse below it inhibit
_RADIUS = 0.28
_MOST_LABELLED = 12  # projections; with more, labels would cover each other


def plot(circuit: Circuit) -> Figure:
    """Return a diagram of a circuit; see `Circuit.plot`."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    places = _places(circuit)
    points = np.array(list(places.values()))
    low, high = points.min(0) - 0.85, points.max(0) + 0.85
    figure = Figure(figsize=tuple(1.5 * (high - low)), layout="constrained")
    axes = figure.add_subplot()
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect="equal")
    axes.set_axis_off()
    used: dict[str, None] = {}
    for projection in circuit.projections:
        colour = _colour(circuit, projection)
        used[colour] = None
        _draw_projection(axes, circuit, projection, places, colour)
    for name, place in places.items():
        _draw_population(axes, circuit, name, place)
    for name, place in places.items():
        drives = [drive for drive in circuit.drives if drive.target == name]
        for number, drive in enumerate(drives):
            _draw_drive(
                axes,
                place,
                _outward(circuit, place, places),
                number,
                _LABELS.get(type(drive), type(drive).__name__),
            )
    if used:
        handles = [Line2D([], [], color=colour, label=_LEGEND[colour]) for colour in used]
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=8)
    return figure


_LABELS: dict[type, str] = {PoissonDrive: "Poisson", GaussianDrive: "noise", CurrentDrive: "current"}


def _places(circuit: Circuit) -> dict[str, Point]:
    """Return where each population stands: by depth in a feed-forward circuit, else sources above a ring of neurons."""
    names = [p.name for p in circuit.neurons]
    sources = [p.name for p in circuit.sources]
    if circuit.layers is not None:
        depth = dict.fromkeys(sources, 0)
        for population in circuit.layers:
            before = [depth[p.source] for p in circuit.projections if p.target == population.name]
            depth[population.name] = 1 + max(before, default=0 if sources else -1)
        columns = [[name for name in depth if depth[name] == column] for column in range(max(depth.values()) + 1)]
        return {
            name: np.array([2.0 * x, (len(column) - 1) / 2 * 1.5 - 1.5 * y])
            for x, column in enumerate(columns)
            for y, name in enumerate(column)
        }
    radius = 0.0 if len(names) == 1 else max(1.0, 1.0 / np.sin(np.pi / len(names)))
    angles = np.pi - 2 * np.pi * np.arange(len(names)) / len(names)
    ring = {name: radius * np.array([np.cos(a), np.sin(a)]) for name, a in zip(names, angles, strict=True)}
    above = radius + 1.6
    return {
        **{name: np.array([1.5 * (k - (len(sources) - 1) / 2), above]) for k, name in enumerate(sources)},
        **ring,
    }


def _draw_population(axes: Axes, circuit: Circuit, name: str, place: Point) -> None:
    from matplotlib.patches import Circle, Rectangle

    population = circuit.population(name)
    style: dict[str, Any] = {"facecolor": _FILL, "edgecolor": _INK, "linewidth": 1.0, "zorder": 3}
    if isinstance(population, Source):
        side = 1.7 * _RADIUS
        axes.add_patch(Rectangle((place[0] - side / 2, place[1] - side / 2), side, side, **style))
    else:
        axes.add_patch(Circle((place[0], place[1]), _RADIUS, **style))
    axes.text(place[0], place[1], f"{name}\n{population.size}", ha="center", va="center", fontsize=8, zorder=4)


def _draw_projection(
    axes: Axes, circuit: Circuit, projection: Projection, places: dict[str, Point], colour: str
) -> None:
    """Draw an arrow, bent so that it and the one in the other direction lie apart; a loop within one population."""
    from matplotlib.patches import FancyArrowPatch

    start, end = places[projection.source], places[projection.target]
    head = "|-|,widthA=0,widthB=3" if colour == _INHIBITORY else "-|>,head_length=4,head_width=2.5"
    if projection.source == projection.target:
        out = _outward(circuit, start, places)
        across = np.array([-out[1], out[0]])
        first, last = (start + _RADIUS * (0.75 * out + side * 0.66 * across) for side in (1, -1))
        bend, label = -1.8, start + out * (_RADIUS + 0.42)
    else:
        direction = (end - start) / np.linalg.norm(end - start)
        first, last = start + 1.05 * _RADIUS * direction, end - 1.15 * _RADIUS * direction
        returns = any(p.source == projection.target and p.target == projection.source for p in circuit.projections)
        bend = -0.2 if returns else -0.35 if _is_in_the_way(first, last, places) else 0.0
        across = np.array([-direction[1], direction[0]])
        label = (first + last) / 2 + across * (0.12 + 0.55 * abs(bend) * float(np.linalg.norm(last - first)))
    axes.add_patch(
        FancyArrowPatch(
            (first[0], first[1]),
            (last[0], last[1]),
            connectionstyle=f"arc3,rad={bend}",
            arrowstyle=head,
            color=colour,
            linewidth=1.3,
            zorder=2,
        )
    )
    if len(circuit.projections) <= _MOST_LABELLED:
        axes.text(label[0], label[1], _label(projection), ha="center", va="center", fontsize=7, color=colour, zorder=5)


def _is_in_the_way(first: Point, last: Point, places: dict[str, Point]) -> bool:
    """Return whether a straight line would cross a population."""
    along = last - first
    for place in places.values():
        fraction = np.clip(along @ (place - first) / (along @ along), 0, 1)
        if np.linalg.norm(first + fraction * along - place) < 0.9 * _RADIUS:
            return True
    return False


def _outward(circuit: Circuit, place: Point, places: dict[str, Point]) -> Point:
    """Return the direction away from the other populations of neurons."""
    away = place - np.mean([places[p.name] for p in circuit.neurons], axis=0)
    length = float(np.linalg.norm(away))
    return away / length if length > 1e-6 else np.array([0.0, 1.0])


def _draw_drive(axes: Axes, place: Point, outward: Point, number: int, text: str) -> None:
    """Draw an arrow from below, or from beside a loop that may hang down."""
    below = 255.0 if outward[1] > -0.5 else 305.0 if outward[0] < -0.1 else 215.0
    angle = np.deg2rad(below + 30.0 * number)
    direction = np.array([np.cos(angle), np.sin(angle)])
    start, end = place + (_RADIUS + 0.4) * direction, place + _RADIUS * direction
    arrow = {"arrowstyle": "->", "color": _MIXED, "linewidth": 1.0, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", (end[0], end[1]), (start[0], start[1]), arrowprops=arrow)
    axes.text(start[0], start[1], text, ha="center", va="top", fontsize=7, color=_MIXED)


def _colour(circuit: Circuit, projection: Projection) -> str:
    """Return the colour for the sign of a projection's weights; of conductances, for where they pull the membrane."""
    if isinstance(projection.synapse, GapJunction):
        return _MIXED
    if isinstance(projection.synapse, Conductance | NMDA):
        neuron = circuit.population(projection.target).neuron  # type: ignore[union-attr]
        threshold = getattr(neuron, "v_t", getattr(neuron, "v_th", _USUAL_THRESHOLD))
        if not isinstance(threshold, float | np.ndarray):
            threshold = _USUAL_THRESHOLD
        return _INHIBITORY if projection.synapse.reversal < np.mean(threshold) else _EXCITATORY
    weight = projection.weights if projection.weight is None else projection.weight
    if isinstance(weight, Distribution):
        values = np.array([weight.moments().mean])
    elif isinstance(weight, ModeMatrix):
        values = weight.to_dense()
    else:
        values = weight.data if sparse.issparse(weight) else np.asarray(weight)
    if values.size and values.min() < 0 < values.max():
        return _MIXED
    return _INHIBITORY if values.size and values.min() < 0 else _EXCITATORY


def _label(projection: Projection) -> str:
    """Return the pattern of a projection in few characters."""
    rule: Connectivity | None = projection.connectivity
    match rule:
        case None:
            return ""
        case AllToAll():
            return "all"
        case OneToOne():
            return "1:1"
        case Bernoulli(p=p):
            return f"p = {p:g}"
        case FixedIndegree(n=n):
            return f"{n} in"
        case FixedOutdegree(n=n):
            return f"{n} out"
        case FixedTotalNumber(n=n):
            return f"{n} total"
        case DistanceDependent():
            return "p(distance)" if rule.p is not None else f"{rule.indegree} in, by distance"
    return type(rule).__name__
