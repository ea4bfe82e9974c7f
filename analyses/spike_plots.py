"""Figures of spike trains: rasters with rates, and rates in time around stimuli (PSTH)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from matplotlib.axes import Axes

from mnnbio.analyses.binned_counts import Recorded, population_names, population_rates, recorded
from mnnbio.analyses.figure_style import (
    DOUBLE_COLUMN,
    FAINT,
    SINGLE_COLUMN,
    Colors,
    Panels,
    palette_of,
    panels_in,
    sparse_ticks,
    styled,
)
from mnnbio.results import rounded_to_steps, single_time

Array = npt.NDArray[np.float64]


@styled
def plot_raster(
    result: xr.DataTree | xr.Dataset,
    *,
    stimuli: int = 3,
    neurons: int = 150,
    trial: int = 0,
    start: Any = None,
    duration: Any = 600.0,
    populations: Sequence[str] | str | None = None,
    colors: Colors = None,
    ax: Axes | Sequence[Axes] | None = None,
) -> Panels:
    """Draw the spikes of one trial of the first stimuli, and the population rates over all trials below.

    Parameters
    ----------
    result : DataTree or Dataset
        A result with ``/spikes``, or that group.
    stimuli : int
        Number of stimuli side by side.
    neurons : int
        Largest number of neurons drawn, evenly chosen.
    trial : int
        Position of the trial.
    start : float or Quantity, optional
        Where the time drawn begins, ms from the end of the warm-up. Default: in the warm-up, half as long before its
        end as is drawn after it.
    duration : float or Quantity
        Longest time drawn from the end of the warm-up, or from `start`, ms.
    populations : sequence of str, optional
        Populations drawn; default: all.
    colors : mapping or sequence of str, optional
        Colours of populations, by name or in the order of the circuit.
    ax : Axes or sequence of Axes, optional
        One for the spikes of the first stimulus alone; or all rasters, then all rates.

    Returns
    -------
    Panels
        The rasters, then the rates.
    """
    source = recorded(result)
    if "row_size" not in source.data:
        raise ValueError("a raster needs spike trains, the result has counts only")
    n_stimuli, n_trials = (source.data.sizes.get(dim, 1) for dim in ("stimulus", "trial"))
    for name, value, number in (("stimuli", stimuli - 1, n_stimuli), ("trial", trial, n_trials)):
        if value < 0 or (name == "trial" and value >= number):
            raise ValueError(f"`{name}` must be within the {number} there are, got {value + (name == 'stimuli')}")
    alone = isinstance(ax, Axes) or (ax is not None and len(ax) == 1)
    columns = 1 if alone else min(stimuli, n_stimuli)
    begin, end = _shown_time(source, start, duration)
    panels = panels_in(
        ax, 1 if alone else 2, columns, (DOUBLE_COLUMN if columns > 1 else SINGLE_COLUMN * 1.2, 80),
        **({} if alone else {"sharex": True, "sharey": "row", "height_ratios": [3, 1]}),
    )  # fmt: skip
    palette = palette_of(population_names(source.data).tolist(), populations, colors)
    _draw_spikes(panels[:columns], source.data, palette, begin, end, trial=trial, neurons=neurons)
    label = "Time after warm-up ({})".format("s" if end - begin > 2000 else "ms")
    if not alone:
        bin = _tiling(end - begin, source.step)
        rates = population_rates(source.data, bin, start=begin, stop=end)
        limits = panels[0].get_xlim()
        for k, axes in enumerate(panels[columns:]):
            _draw_rates(axes, rates, palette, stimulus=k)
            axes.set_xlim(limits)  # the last bin may be incomplete
            axes.set_ylabel("Rate (Hz)" if k == 0 else "")
            sparse_ticks(axes, y=2)
        panels[columns].set_ylim(bottom=0)
    for axes in panels[-columns:]:
        axes.set_xlabel(label)
    panels[0].set_ylabel("Neuron")
    return panels


def _shown_time(source: Recorded, start: Any, duration: Any) -> tuple[float, float]:
    """Return where the time that is drawn begins and ends, ms."""
    attrs = source.data.attrs
    recorded_time, warmup = 1e3 * float(attrs["duration"]), 1e3 * float(attrs.get("warmup", 0.0))
    length = single_time(duration, "duration")
    if not length > 0:
        raise ValueError(f"`duration` must be a time > 0 ms, got {length:g} ms")
    if start is None:
        end = min(recorded_time, length)
        # Half as much warm-up as recording is enough to see that the rates have settled.
        return -min(warmup, 0.5 * end), end
    begin = single_time(start, "start")
    if not -warmup - 1e-6 <= begin < recorded_time:
        raise ValueError(f"`start` must be in the recording, {-warmup:g} ms to {recorded_time:g} ms, got {begin:g} ms")
    return begin, min(begin + length, recorded_time)


def _tiling(length: float, step: float | None, wanted: int = 45) -> float:
    """Return a bin of whole steps of which about `wanted` fill a time, if there is one, ms."""
    if step is None:
        return length / wanted
    steps = round(length / step)
    fitting = [n for n in range(wanted * 2 // 3, wanted * 4 // 3) if steps % n == 0]
    if not fitting:
        return rounded_to_steps(length / wanted, step)
    return step * (steps // min(fitting, key=lambda n: abs(n - wanted)))


def _draw_spikes(
    panels: Sequence[Axes],
    spikes: xr.Dataset,
    palette: dict[str, str],
    begin: float,
    end: float,
    *,
    trial: int,
    neurons: int,
) -> None:
    """Draw the spikes of one trial of the first stimuli, each neuron a row."""
    row_size = spikes["row_size"]
    if "stimulus" not in row_size.dims:
        row_size = row_size.expand_dims("stimulus")
    sizes = row_size.transpose("stimulus", "trial", "neuron").to_numpy().astype(np.int64)
    shape = sizes.shape
    names = population_names(spikes)
    drawn = np.flatnonzero(np.isin(names, list(palette)))
    shown = (
        drawn[np.unique(np.linspace(0, len(drawn) - 1, min(neurons, len(drawn))).astype(int))] if len(drawn) else drawn
    )
    place = np.full(shape[2], -1)
    place[shown] = np.arange(len(shown))
    scale = 1.0 if end - begin <= 2000 else 1e-3  # ms or s
    stops = np.cumsum(sizes.ravel()).reshape(shape)
    size = max(1.2, min(4.0, 220 / max(len(shown), 1)))
    for k, axes in enumerate(panels):
        # Of a long record only the trial that is drawn is read.
        own, first = sizes[k, trial], int(stops[k, trial, 0] - sizes[k, trial, 0]) if shape[2] else 0
        read = spikes["spike_time"].isel(spike=slice(first, first + int(own.sum()))).to_numpy()
        kept = np.repeat(place >= 0, own)
        times, neuron_of = 1e3 * scale * read[kept], np.repeat(np.arange(shape[2]), own)[kept]
        inside = (times >= scale * begin) & (times <= scale * end)
        for name, colour in palette.items():
            mine = inside & (names == name)[neuron_of]
            style: Any = {"color": colour, "markersize": size, "markeredgewidth": 0.5, "rasterized": True}
            axes.plot(times[mine], place[neuron_of[mine]], "|", **style)
            rows = place[(names == name) & (place >= 0)]
            if k == len(panels) - 1 and len(rows):
                axes.annotate(
                    name, (1.0, float(rows.mean())), xycoords=("axes fraction", "data"), color=colour, rotation=90,
                    ha="left", va="center", xytext=(3, 0), textcoords="offset points", annotation_clip=False,
                )  # fmt: skip
        if begin < 0:
            axes.axvspan(scale * begin, 0, color=FAINT, alpha=0.5, linewidth=0, zorder=0)
        axes.set_xlim(scale * begin, scale * end)
        axes.set_yticks([0, max(len(shown) - 1, 1)], ["1", str(len(drawn))])
        axes.set_ylim(-1, max(len(shown), 1))
        if shape[0] > 1:
            label = spikes["stimulus"].to_numpy()[k] if "stimulus" in spikes.coords else k
            axes.set_title(f"stimulus {label}")


def _draw_rates(
    axes: Axes, rates: xr.DataArray, palette: dict[str, str], *, stimulus: int = 0, errors: bool = False
) -> None:
    """Draw population rates, means over trials, as steps; with errors as bands of one standard error."""
    own = rates.isel(stimulus=stimulus) if "stimulus" in rates.dims else rates
    bin, middles = float(own.attrs["bin"]), own["time"].to_numpy()
    edges = np.append(middles - bin / 2, middles[-1] + bin / 2)
    scale = 1e3 if edges[-1] - edges[0] <= 2 else 1.0
    for name, colour in palette.items():
        values = own.sel(population=name).transpose("trial", "time").to_numpy()
        mean = values.mean(axis=0)
        axes.stairs(mean, scale * edges, color=colour, linewidth=0.8, baseline=None, label=name)
        if errors and len(values) > 1:
            se = values.std(axis=0, ddof=1) / np.sqrt(len(values))
            axes.fill_between(
                scale * edges, np.append(mean - se, mean[-1] - se[-1]), np.append(mean + se, mean[-1] + se[-1]),
                step="post", color=colour, alpha=0.25, linewidth=0,
            )  # fmt: skip
    if edges[0] < -1e-9:
        axes.axvspan(scale * edges[0], 0, color=FAINT, alpha=0.5, linewidth=0, zorder=0)
    axes.set_xlim(scale * edges[0], scale * edges[-1])


@styled
def plot_psth(
    result: xr.DataTree | xr.Dataset,
    bin: Any = None,
    *,
    start: Any = 0.0,
    duration: Any = None,
    stimulus: int = 0,
    populations: Sequence[str] | str | None = None,
    colors: Colors = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the peristimulus time histogram: population rates against time, means over trials with standard errors.

    Parameters
    ----------
    result : DataTree or Dataset
        A result with ``/spikes`` or ``/counts``, or such a group.
    bin : float or Quantity, optional
        Length of a bin, ms: a whole number of steps. Default: the one nearest to a fiftieth of the time drawn.
    start : float or Quantity
        Where the time drawn begins, ms from the end of the warm-up; negative within it.
    duration : float or Quantity, optional
        Time drawn, ms; default: to the end of the recording.
    stimulus : int
        Position of the stimulus if there are several.
    populations : sequence of str, optional
        Populations drawn; default: all.
    colors : mapping or sequence of str, optional
        Colours of populations, by name or in the order of the circuit.
    ax : Axes, optional
        Where to draw.
    """
    source, begin = recorded(result), single_time(start, "start")
    if "duration" not in source.data.attrs:
        raise ValueError("the recording has no attribute `duration`, s")
    whole = 1e3 * float(source.data.attrs["duration"]) - begin
    length = whole if duration is None else single_time(duration, "duration")
    if not 0 < length <= whole + 1e-6:
        raise ValueError(f"`duration` must be a time > 0 ms and at most {whole:g} ms, got {length:g} ms")
    width = source.bin(bin, length / 50)
    rates = population_rates(result, width, start=begin, stop=begin + length)
    number = rates.sizes.get("stimulus", 1)
    if not 0 <= stimulus < number:
        raise ValueError(f"`stimulus` must be a position among the {number} there are, got {stimulus}")
    palette = palette_of(rates["population"].to_numpy().tolist(), populations, colors)
    (axes,) = panels_in(ax, 1, 1, (SINGLE_COLUMN * 1.2, 55))
    _draw_rates(axes, rates, palette, stimulus=stimulus, errors=True)
    unit = "ms" if length <= 2000 else "s"
    axes.set(xlabel=f"Time after warm-up ({unit})", ylabel="Population rate (Hz)", ylim=(0, None))
    sparse_ticks(axes, x=5)
    if len(palette) > 1:
        axes.legend(loc="best")
    return axes
