"""Figures of recorded state variables: voltages of single neurons with their spikes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import xarray as xr
from matplotlib.axes import Axes

from mnnbio.analyses.binned_counts import population_names
from mnnbio.analyses.figure_style import (
    INK,
    MUTED,
    SINGLE_COLUMN,
    Colors,
    Panels,
    palette_of,
    panels_in,
    sparse_ticks,
    styled,
)
from mnnbio.analyses.membrane import spike_times, trace_of
from mnnbio.machine import require_integer
from mnnbio.results import single_time


@styled
def plot_voltages(
    states: xr.DataTree | xr.Dataset,
    spikes: xr.DataTree | xr.Dataset | None = None,
    population: str | None = None,
    *,
    variable: str = "v",
    neurons: int = 4,
    stimulus: int = 0,
    trial: int = 0,
    start: Any = 0.0,
    duration: Any = 300.0,
    threshold: Any = None,
    colors: Colors = None,
    ax: Axes | Sequence[Axes] | None = None,
) -> Panels:
    """Draw a recorded variable of single neurons against time, a panel each, with spikes marked above.

    Parameters
    ----------
    states : DataTree or Dataset
        The group ``states/<population>`` of a result, or the result.
    spikes : DataTree or Dataset, optional
        The group ``/spikes``; default: that of the result that `states` belongs to, or no marks.
    population : str, optional
        Population of the neurons; needed where `states` does not tell and spikes are given.
    variable : str
        Name of the variable.
    neurons : int
        Largest number of neurons drawn, the first that were recorded.
    stimulus, trial : int
        Positions of the stimulus and the trial.
    start, duration : float or Quantity
        Beginning and longest extent of the time drawn, ms from the end of the warm-up.
    threshold : float, optional
        A level drawn as a dashed line, in the unit of the variable.
    colors : mapping or sequence of str, optional
        Colours of populations, by name or in the order of the circuit.
    ax : Axes or sequence of Axes, optional
        One for each neuron drawn.

    Returns
    -------
    Panels
        One a neuron.

    Raises
    ------
    ValueError
        If there is no such variable, population, stimulus or trial, or no sample in the time to draw.
    """
    trace = trace_of(states, variable, population, spikes)
    samples = trace.samples
    given = trace if trace.population is not None else trace._replace(population=population)
    require_integer("neurons", neurons, 1)
    lead: list[int] = []
    for name, value in (("stimulus", stimulus), ("trial", trial)):
        count = samples.sizes.get(name, 1)
        if not 0 <= value < count:
            raise ValueError(f"`{name}` must be from 0 to {count - 1}, got {value}")
        lead += [value] if name in samples.dims else []
    begin, length = single_time(start, "start"), single_time(duration, "duration")
    if not length > 0:
        raise ValueError(f"`duration` must be a time > 0 ms, got {length:g} ms")
    time = 1e3 * samples["time"].to_numpy()
    inside = (time >= begin - 1e-6) & (time <= begin + length + 1e-6)
    if inside.sum() < 2:
        raise ValueError(
            f"fewer than two samples from {begin:g} ms to {begin + length:g} ms; there are {len(time)} from "
            f"{time[0]:g} ms to {time[-1]:g} ms"
        )
    shown = min(neurons, samples.sizes["neuron"])
    numbers = samples["index"].to_numpy()
    own = samples.isel({"trial": trial, **({"stimulus": stimulus} if "stimulus" in samples.dims else {})})
    values = own.transpose("neuron", "time").to_numpy()[:shown][:, inside]
    marks = spike_times(given) if trace.spikes is not None else {}
    name = given.population or ""
    owner = [name] if trace.spikes is None else population_names(trace.spikes).tolist()
    colour = palette_of(owner, name, colors)[name]
    size = (SINGLE_COLUMN * 1.2, 12 + 17.0 * shown)
    panels = panels_in(ax, shown, 1, size, **({"sharex": True, "sharey": True} if ax is None else {}))
    end = min(begin + length, float(time[-1]))
    scale, unit = (1.0, "ms") if end - begin <= 2000 else (1e-3, "s")
    levels = [values.min(), values.max(), *([] if threshold is None else [float(threshold)])]
    low, high = float(min(levels)), float(max(levels))
    extent = high - low or 1.0
    for k, axes in enumerate(panels):
        axes.plot(scale * time[inside], values[k], color=colour, linewidth=0.8)
        if threshold is not None:
            axes.axhline(float(threshold), color=MUTED, linewidth=0.6, linestyle="--")
        if marks:
            at = 1e3 * marks[(*lead, k)]
            at = at[(at >= begin) & (at <= end)]
            axes.vlines(scale * at, high + 0.08 * extent, high + 0.24 * extent, color=INK, linewidth=0.8)
        axes.set_ylim(low - 0.06 * extent, high + (0.28 if marks else 0.06) * extent)
        axes.set_xlim(scale * begin, scale * end)
        label = f"{name} {numbers[k]}".strip()
        axes.annotate(
            label, (1.0, 0.5), xycoords="axes fraction", xytext=(3, 0), textcoords="offset points", ha="left",
            va="center", color=colour, rotation=90,
        )  # fmt: skip
        sparse_ticks(axes, y=3)
    units = samples.attrs.get("units", "1")
    text = variable if units == "1" else f"{variable} ({units})"
    for axes in panels:
        axes.set_ylabel(text)
    panels[-1].set_xlabel(f"Time after warm-up ({unit})")
    return panels
