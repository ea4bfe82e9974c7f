"""Figures of the dynamics of circuits: one function a figure, xarray in, Matplotlib axes out, as in `plots`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from matplotlib.axes import Axes

from mnnbio.analyses.figure_style import (
    DOUBLE_COLUMN,
    INK,
    MUTED,
    SINGLE_COLUMN,
    Colors,
    Panels,
    lettered,
    palette_of,
    panels_in,
    plain_log,
    sparse_ticks,
    styled,
)
from mnnbio.results import single_time

Array = npt.NDArray[np.float64]
_MANY = 400  # points beyond which they are drawn as pixels
_TRACES = 8
_FEW_CELLS = 6  # cells of a phase diagram that are labelled one by one


@styled
def plot_population_rates(
    rates: xr.DataArray | xr.Dataset,
    *,
    trial: int = 0,
    stimulus: int = 0,
    start: Any = None,
    duration: Any = 500.0,
    populations: Sequence[str] | str | None = None,
    colors: Colors = None,
    ax: Axes | Sequence[Axes] | None = None,
) -> Panels:
    """Draw the rates of all populations in one trial against time, one panel each.

    Parameters
    ----------
    rates : DataArray or Dataset
        Population rates, as `population_rates` returns them.
    trial, stimulus : int
        Positions of the trial, and of the stimulus if there are several.
    start : float or Quantity, optional
        Where the time drawn begins, ms from the end of the warm-up; default: where the rates begin.
    duration : float or Quantity
        Longest time drawn, ms.
    populations : sequence of str, optional
        Populations drawn; default: all.
    colors : mapping or sequence of str, optional
        Colours of populations, by name or in the order of the circuit.
    ax : Axes or sequence of Axes, optional
        One for each population drawn.
    """
    values = rates["population_rate"] if isinstance(rates, xr.Dataset) else rates
    values = values.isel(trial=_position("trial", trial, values.sizes["trial"]))
    if "stimulus" in values.dims:
        values = values.isel(stimulus=_position("stimulus", stimulus, values.sizes["stimulus"]))
    length, middles = single_time(duration, "duration"), 1e3 * values["time"].to_numpy()
    half = 500 * float(values.attrs["bin"])
    begin = middles[0] - half if start is None else single_time(start, "start")
    inside = (middles > begin) & (middles < begin + length)
    if not inside.any():
        raise ValueError(
            f"`start` and `duration` must lie within the rates, {middles[0] - half:g} ms to {middles[-1] + half:g} ms, "
            f"got {begin:g} ms and {length:g} ms"
        )
    values, time = values.isel(time=inside), middles[inside]
    palette = palette_of(values["population"].to_numpy().tolist(), populations, colors)
    panels = panels_in(ax, len(palette), 1, (DOUBLE_COLUMN * 0.8, 12 + 18 * len(palette)), sharex=True)
    edges = np.append(time - half, time[-1] + half)
    for axes, (name, colour) in zip(panels, palette.items(), strict=True):
        own = values.sel(population=name).to_numpy()
        axes.stairs(own, edges, color=colour, fill=True, alpha=0.85, linewidth=0)
        axes.axhline(own.mean(), color=INK, linewidth=0.7, linestyle="--")
        axes.set(xlim=(edges[0], edges[-1]), ylim=(0, None))
        axes.set_ylabel(f"{name} (Hz)", color=colour)
        sparse_ticks(axes, x=6, y=2)
    panels[-1].set_xlabel("Time after warm-up (ms)")
    if ax is None:
        panels.figure.align_ylabels(list(panels))
    return panels


def _position(name: str, place: int, number: int) -> int:
    """Return a position among `number`, or say that there is none."""
    if not -number <= place < number:
        raise ValueError(f"`{name}` must be a position among the {number} there are, got {place}")
    return place


@styled
def plot_stimuli(
    simulation: xr.Dataset,
    prediction: xr.Dataset | None = None,
    *,
    populations: Sequence[str] | str | None = None,
    colors: Colors = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the mean rate of each population against the stimulus, simulated with errors, predicted as lines.

    Parameters
    ----------
    simulation, prediction : Dataset
        ``rate`` over (stimulus, neuron), the simulation's with ``rate_se``.
    populations : sequence of str, optional
        Populations drawn; default: all.
    colors : mapping or sequence of str, optional
        Colours of populations, by name or in the order of the circuit.
    ax : Axes, optional
        Where to draw.
    """
    if "stimulus" not in simulation.dims:
        raise ValueError("rates by stimulus need the dimension `stimulus`, the simulation has none")
    owner = simulation["population"].to_numpy()
    palette = palette_of(owner.tolist(), populations, colors)
    (axes,) = panels_in(ax, 1, 1, (SINGLE_COLUMN, 55))
    place = np.arange(simulation.sizes["stimulus"])
    for name, colour in palette.items():
        mine = np.flatnonzero(owner == name)
        rate = simulation["rate"].isel(neuron=mine).mean("neuron")
        se = (simulation["rate_se"].isel(neuron=mine) ** 2).mean("neuron") ** 0.5 / len(mine) ** 0.5
        axes.errorbar(place, rate, yerr=se.fillna(0.0), fmt="o", color=colour, markersize=3, label=name)
        if prediction is not None:
            axes.plot(place, prediction["rate"].isel(neuron=mine).mean("neuron"), color=colour, linewidth=0.8)
    labels = simulation["stimulus"].to_numpy() if "stimulus" in simulation.coords else place
    shown = place if len(place) <= 10 else np.unique(np.linspace(0, len(place) - 1, 6).astype(int))
    axes.set_xticks(shown, [str(label) for label in labels[shown]])
    axes.set(xlabel="Stimulus", ylabel="Population rate (Hz)", ylim=(0, None))
    axes.legend(loc="best")
    return axes


@styled
@lettered
def plot_spectra(
    spectra: xr.Dataset,
    predicted: xr.Dataset | None = None,
    *,
    stimulus: int = 0,
    populations: Sequence[str] | str | None = None,
    colors: Colors = None,
    ax: Sequence[Axes] | None = None,
) -> Panels:
    """Draw the power spectra of all populations, and the coherence of the first with the others.

    Parameters
    ----------
    spectra : Dataset
        Spectra, as `population_spectra` returns them.
    predicted : Dataset, optional
        Predicted ``power`` over (frequency, population), Hz, drawn as lines.
    stimulus : int
        Position of the stimulus if there are several.
    populations : sequence of str, optional
        Populations drawn; default: all.
    colors : mapping or sequence of str, optional
        Colours of populations, by name or in the order of the circuit.
    ax : sequence of Axes, optional
        Two.
    """
    shown = spectra
    if "stimulus" in spectra.dims:
        shown = spectra.isel(stimulus=_position("stimulus", stimulus, spectra.sizes["stimulus"]))
    palette = palette_of(shown["population"].to_numpy().tolist(), populations, colors)
    names = list(palette)
    left, right = panels = panels_in(ax, 1, 2, (DOUBLE_COLUMN * 0.8, 62))
    frequency = shown["frequency"].to_numpy()
    for name, colour in palette.items():
        power, se = (shown[key].sel(population=name).to_numpy() for key in ("power", "power_se"))
        left.fill_between(
            frequency, np.maximum(power - se, 1e-3 * power), power + se, color=colour, alpha=0.3, linewidth=0
        )
        left.plot(frequency, power, color=colour, label=name, linewidth=0.8)
        if predicted is not None:
            curve = predicted["power"].sel(population=name)
            left.plot(curve["frequency"], curve, color=INK, linewidth=0.8, linestyle="--")
    if predicted is not None:
        left.plot([], [], color=INK, linewidth=0.8, linestyle="--", label="predicted")
    left.set(xscale="log", yscale="log", xlabel="Frequency (Hz)", ylabel="Power of the population rate (Hz)")
    left.set_xlim(frequency[0], frequency[-1])
    plain_log(left.xaxis)
    plain_log(left.yaxis)
    left.legend(loc="best")
    highest = 0.0
    for name in names[1 : 1 + _TRACES]:
        coherence = shown["coherence"].sel(population=names[0], population_j=name)
        right.plot(frequency, coherence, color=palette[name], linewidth=0.8, label=f"{names[0]}, {name}")
        highest = max(highest, float(coherence.max()))
    chance = 1 / spectra.attrs["segments"]
    right.axhline(chance, color=MUTED, linewidth=0.8, linestyle=":", label="chance")
    right.set(xscale="log", xlabel="Frequency (Hz)", ylabel="Coherence")
    right.set_ylim(0, min(1.02, max(1.25 * highest, 4 * chance)))
    right.set_xlim(frequency[0], frequency[-1])
    plain_log(right.xaxis)
    right.legend(loc="best")
    return panels


@styled
@lettered
def plot_intervals(
    intervals: xr.Dataset,
    *,
    populations: Sequence[str] | str | None = None,
    colors: Colors = None,
    ax: Sequence[Axes] | None = None,
) -> Panels:
    """Draw how rates and coefficients of variation of intervals are distributed over the neurons of each population.

    Parameters
    ----------
    intervals : Dataset
        Statistics, as `spike_statistics` returns them.
    populations : sequence of str, optional
        Populations drawn; default: all.
    colors : mapping or sequence of str, optional
        Colours of populations, by name or in the order of the circuit.
    ax : sequence of Axes, optional
        Two.
    """
    owner = intervals["population"].to_numpy()
    palette = palette_of(owner.tolist(), populations, colors)
    left, right = panels = panels_in(ax, 1, 2, (DOUBLE_COLUMN * 0.8, 55))
    for axes, key, label in ((left, "rate", "Firing rate (Hz)"), (right, "cv", "CV of interspike intervals")):
        values = {name: intervals[key].isel(neuron=owner == name).to_numpy().ravel() for name in palette}
        values = {name: own[np.isfinite(own)] for name, own in values.items()}
        everything = np.concatenate(list(values.values()))
        bins = _bins(everything)
        for name, colour in palette.items():
            if len(values[name]):
                share = np.full(len(values[name]), 1 / len(values[name]))
                axes.hist(values[name], bins=bins.tolist(), weights=share, histtype="step", color=colour, label=name)
        axes.set(xlabel=label, xlim=(bins[0], bins[-1]))
        sparse_ticks(axes)
    right.axvline(1, color=MUTED, linewidth=0.8, linestyle=":")
    left.set_ylabel("Share of neurons")
    left.legend(loc="best")
    return panels


def _bins(values: Array) -> Array:
    """Return edges of 30 bins from zero, 12 if all values are alike, so that a peak keeps some width."""
    high = float(values.max()) if len(values) and values.max() > 0 else 1.0
    return np.linspace(0, 1.1 * high, 34)


@styled
@lettered
def plot_currents(
    currents: xr.Dataset,
    *,
    populations: Sequence[str] | str | None = None,
    colors: Colors = None,
    ax: Sequence[Axes] | None = None,
) -> Panels:
    """Draw the inhibitory against the excitatory current of every neuron, and how much of them cancels.

    Parameters
    ----------
    currents : Dataset
        Currents, as `current_balance` returns them.
    populations : sequence of str, optional
        Populations drawn; default: all.
    colors : mapping or sequence of str, optional
        Colours of populations, by name or in the order of the circuit.
    ax : sequence of Axes, optional
        Two.
    """
    owner = currents["population"].to_numpy()
    palette = palette_of(owner.tolist(), populations, colors)
    left, right = panels = panels_in(ax, 1, 2, (DOUBLE_COLUMN * 0.8, 62))
    e, i = 1e-3 * currents["excitation"].to_numpy(), -1e-3 * currents["inhibition"].to_numpy()
    high = 1.05 * max(float(e.max()), float(i.max()), 1e-9)
    left.plot([0, high], [0, high], color=INK, linewidth=0.8, zorder=1)
    cancelled = currents["cancelled"].to_numpy()
    bins = np.linspace(0, 1, 41)
    for name, colour in palette.items():
        mine = owner == name
        points = e[..., mine].ravel()
        left.plot(
            points, i[..., mine].ravel(), ".", color=colour, label=name, markersize=2.5, markeredgewidth=0,
            alpha=0.5, rasterized=len(points) > _MANY,
        )  # fmt: skip
        own = cancelled[..., mine].ravel()
        own = own[np.isfinite(own)]
        right.hist(
            own, bins=bins.tolist(), weights=np.full(len(own), 1 / max(len(own), 1)), histtype="step", color=colour
        )
    left.set(xlabel="Excitation (mV/ms)", ylabel="Inhibition, sign reversed (mV/ms)", box_aspect=1)
    left.set(xlim=(0, high), ylim=(0, high))
    right.set(xlabel="Part of the currents that cancels", ylabel="Share of neurons", xlim=(0, 1))
    for axes in (left, right):
        sparse_ticks(axes)
    left.legend(loc="upper left", markerscale=3)
    return panels


@styled
def plot_response(
    response: xr.Dataset,
    *,
    stimulus: int = 0,
    populations: Sequence[str] | str | None = None,
    colors: Colors = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the population rates around a step, with their standard errors.

    Parameters
    ----------
    response : Dataset
        A response, as `step_response` returns it.
    stimulus : int
        Position of the stimulus if there are several.
    populations : sequence of str, optional
        Populations drawn; default: all.
    colors : mapping or sequence of str, optional
        Colours of populations, by name or in the order of the circuit.
    ax : Axes, optional
        Where to draw.
    """
    shown = response
    if "stimulus" in response.dims:
        shown = response.isel(stimulus=_position("stimulus", stimulus, response.sizes["stimulus"]))
    palette = palette_of(shown["population"].to_numpy().tolist(), populations, colors)
    (axes,) = panels_in(ax, 1, 1, (SINGLE_COLUMN, 55))
    time = 1e3 * shown["time"].to_numpy()
    for name, colour in palette.items():
        rate, se = (shown[key].sel(population=name).to_numpy() for key in ("response", "response_se"))
        axes.fill_between(time, rate - se, rate + se, color=colour, alpha=0.3, linewidth=0)
        axes.plot(time, rate, color=colour, label=name)
    axes.axvline(0, color=MUTED, linewidth=0.8, linestyle=":")
    axes.set(xlabel="Time after the step (ms)", ylabel="Population rate (Hz)", xlim=(time[0], time[-1]), ylim=(0, None))
    sparse_ticks(axes, x=5)
    axes.legend(loc="best")
    return axes


@styled
@lettered
def plot_phase_diagram(
    diagram: xr.Dataset,
    x: str,
    y: str,
    *,
    labels: dict[str, str] | None = None,
    ax: Axes | Sequence[Axes] | None = None,
) -> Panels:
    """Draw a quantity over two parameters: predicted beside simulated, and their relative difference.

    Parameters
    ----------
    diagram : Dataset
        ``predicted`` and ``simulated`` over `x` and `y`, one of them or both; ``state`` over the same, if known, is
        written into the cells of the simulation by the initials of its words.
    x, y : str
        The parameters.
    labels : dict, optional
        Text to write instead of their names.
    ax : Axes or sequence of Axes, optional
        One for each side, and one for the difference where there are both.
    """
    sides = [name for name in ("predicted", "simulated") if name in diagram]
    if not sides:
        raise ValueError(
            f"a phase diagram needs `predicted` or `simulated`, got {', '.join(map(str, diagram.data_vars))}"
        )
    values = {name: diagram[name].transpose(y, x).to_numpy() for name in sides}
    high = max(float(np.nanmax(v)) for v in values.values())
    panels_wanted = len(sides) + (len(sides) == 2)
    panels = panels_in(ax, 1, panels_wanted, (DOUBLE_COLUMN * panels_wanted / 3, 55))
    figure = panels.figure
    edges = [_edges(diagram[name].to_numpy().astype(np.float64)) for name in (x, y)]
    unit = diagram[sides[0]].attrs.get("units", "")
    for axes, name in zip(panels, sides, strict=False):
        image = axes.pcolormesh(*edges, values[name], cmap="viridis", vmin=0, vmax=high, rasterized=True)
        axes.set_title(name.capitalize())
        if name == "simulated" and "state" in diagram:
            _write_states(axes, diagram["state"].transpose(y, x), values[name] > 0.6 * high, x, y)
    figure.colorbar(image, ax=list(panels[: len(sides)]), aspect=25, label=f"Rate ({unit})" if unit else None)
    if len(sides) == 2:
        with np.errstate(divide="ignore", invalid="ignore"):
            error = 100 * (values["simulated"] / values["predicted"] - 1)
        reach = float(np.nanquantile(np.abs(error[np.isfinite(error)]), 0.95)) if np.isfinite(error).any() else 1.0
        reach = max(reach, 1e-9)
        image = panels[-1].pcolormesh(*edges, error, cmap="RdBu_r", vmin=-reach, vmax=reach, rasterized=True)
        panels[-1].set_title("Simulated − predicted")
        figure.colorbar(image, ax=panels[-1], aspect=25, label="%", extend="both")
    for axes in panels:
        axes.set(xlabel=(labels or {}).get(x, x), ylabel=(labels or {}).get(y, y))
        for axis, name in ((axes.xaxis, x), (axes.yaxis, y)):
            centres = diagram[name].to_numpy()
            if len(centres) <= _FEW_CELLS:
                axis.set_ticks(centres, [f"{centre:g}" for centre in centres.tolist()])
    return panels


def _edges(centres: Array) -> Array:
    """Return the edges of cells around centres, evenly spaced or not."""
    if len(centres) == 1:
        return np.array([centres[0] - 0.5, centres[0] + 0.5])
    middle = (centres[1:] + centres[:-1]) / 2
    return np.concatenate([[2 * centres[0] - middle[0]], middle, [2 * centres[-1] - middle[-1]]])


def _write_states(axes: Axes, state: xr.DataArray, bright: npt.NDArray[np.bool_], x: str, y: str) -> None:
    for row, b in enumerate(state[y].to_numpy()):
        for column, a in enumerate(state[x].to_numpy()):
            words = str(state[row, column].item()).partition(",")[0].split()
            text = "–" if words == ["silent"] else "".join(word[0].upper() for word in words)
            axes.text(a, b, text, ha="center", va="center", fontsize=6, color=INK if bright[row, column] else "white")
