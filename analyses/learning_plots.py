"""Figures of learning from spikes: matched spikes, scores over passes, recovered weights, avalanches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from matplotlib.axes import Axes

from mnnbio.analyses.avalanches import fit_power_law
from mnnbio.analyses.figure_style import (
    DOUBLE_COLUMN,
    FAINT,
    INK,
    MUTED,
    PALETTE,
    SINGLE_COLUMN,
    Panels,
    lettered,
    panels_in,
    plain_log,
    sparse_ticks,
    styled,
)
from mnnbio.analyses.learned_weights import weight_classes, weight_matrix, weight_recovery
from mnnbio.analyses.paired_trains import checked_window, paired_trains
from mnnbio.analyses.spike_matching import match_spikes, spike_match
from mnnbio.machine import require_integer
from mnnbio.results import single_time
from mnnbio.units import shown

Array = npt.NDArray[np.float64]

MATCHED, MISSING, EXTRA = INK, PALETTE[1], PALETTE[5]
_SCORES = {"F": PALETTE[0], "precision": PALETTE[2], "recall": PALETTE[3]}
_CLASSES = {"excitatory": PALETTE[0], "inhibitory": PALETTE[1], "absent": MUTED}


@styled
def plot_spike_match(
    own: Any,
    target: Any,
    window: Any = 4.0,
    *,
    start: Any = 0.0,
    duration: Any = None,
    neurons: int = 25,
    run: int = 0,
    ax: Axes | None = None,
) -> Axes:
    """Draw target spikes and own spikes of every neuron, and which of them match, are missing or are extra.

    In the row of a neuron, target spikes are the upper ticks and own spikes the lower ones.

    Parameters
    ----------
    own, target, window
        As of `spike_match`.
    start, duration : float or Quantity
        Time drawn, ms; by default all.
    neurons : int
        Largest number of neurons drawn, evenly chosen.
    run : int
        Which of the trials of a result, or stimuli and trials, counted on.
    ax : Axes, optional
        Where to draw.

    Raises
    ------
    ValueError
        As of `spike_match`, or if there is no such run or time.
    """
    both = paired_trains(own, target)
    runs = both.runs()
    require_integer("neurons", neurons, 1)
    require_integer("run", run, 0, len(runs) - 1)
    mine, theirs = runs[run]
    length = checked_window(window)
    f_score = float(spike_match(mine, theirs, length).total_f_score)
    pairs = match_spikes(mine, theirs, length)
    begin = single_time(start, "start")
    last = max((float(side.times.max()) for side in (mine, theirs) if len(side.times)), default=0.0)
    end = begin + single_time(duration, "duration") if duration is not None else (both.duration or last)
    if not end > begin:
        raise ValueError(f"the time drawn must be > 0 ms, got {begin:g} ms to {end:g} ms")
    size = len(mine.counts)
    shown = np.unique(np.linspace(0, size - 1, min(neurons, size)).astype(int))
    place = np.full(size, -1)
    place[shown] = np.arange(len(shown))
    (axes,) = panels_in(ax, 1, 1, (DOUBLE_COLUMN, 22 + 3.2 * len(shown)))
    sides = (
        (theirs, pairs.target_matched, 0.06, 0.42, MISSING, "missing"),
        (mine, pairs.own_matched, -0.42, -0.06, EXTRA, "extra"),
    )
    scale = 1.0 if end - begin <= 2000 else 1e-3  # ms or s
    for trains, matched, low, high, colour, kind in sides:
        rows = place[trains.owner]
        drawn = (rows >= 0) & (trains.times >= begin) & (trains.times <= end)
        # Pairs are named once, by their target spikes; numbers are of the whole run.
        matched_label = f"matched ({int(matched.sum())})" if trains is theirs else "_"
        lone_label = f"{kind} ({int((~matched).sum())})"
        for which, ink, width, label in (
            (drawn & matched, MATCHED, 0.8, matched_label),
            (drawn & ~matched, colour, 1.4, lone_label),
        ):
            y = rows[which]
            axes.vlines(scale * trains.times[which], y + low, y + high, color=ink, linewidth=width, label=label)
    for k in range(1, len(shown)):
        axes.axhline(k - 0.5, color=FAINT, linewidth=0.4, zorder=0)
    axes.set(xlim=(scale * begin, scale * end), ylim=(-0.6, len(shown) - 0.4))
    axes.set_yticks([0, len(shown) - 1] if len(shown) > 1 else [0])
    axes.set_yticklabels([str(k) for k in ([shown[0], shown[-1]] if len(shown) > 1 else shown)])
    axes.set(xlabel="Time ({})".format("ms" if scale == 1 else "s"), ylabel="Neuron (target above own)")
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=3, borderaxespad=0.2, columnspacing=1.2)
    axes.set_title(f"F = {f_score:.2f} within ±{length:g} ms", loc="left", fontsize=7)
    return axes


@styled
def plot_learning_history(
    history: xr.Dataset | Mapping[str, xr.Dataset],
    *,
    chance: Any = None,
    naive: float | None = None,
    ceiling: float | None = None,
    smooth: int | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the scores of every pass of learning, beside the levels without which they mean little.

    Parameters
    ----------
    history : Dataset or mapping of str to Dataset
        `F`, `precision` and `recall` (the last two optional) over ``pass``, NaN where a pass was not scored; of
        several learners, by their names, F is drawn.
    chance : float or Dataset, optional
        Chance level, or that of `chance_match` with its interval.
    naive, ceiling : float, optional
        F before learning, and of the true weights with a little noise.
    smooth : int, optional
        Passes of the running mean drawn over the single values; default: a fiftieth of the passes.
    ax : Axes, optional
        Where to draw.

    Raises
    ------
    ValueError
        If there are no passes with an F.
    """
    several = not isinstance(history, xr.Dataset)
    histories = _by_name(history, "history")
    (axes,) = panels_in(ax, 1, 1, (SINGLE_COLUMN * 1.25, 60))
    for k, (name, one) in enumerate(histories.items()):
        if "F" not in one or "pass" not in one["F"].dims or not np.isfinite(one["F"]).any():
            raise ValueError(f"a history must have `F` over `pass`, scored at least once, got {list(one.data_vars)}")
        curves = {name: ("F", PALETTE[k % len(PALETTE)])} if several else {s: (s, c) for s, c in _SCORES.items()}
        for label, (score, colour) in curves.items():
            if score in one:
                _draw_curve(axes, one[score], colour, label, smooth)
    _draw_level(axes, chance, "chance", ":", MUTED)
    _draw_level(axes, naive, "naive", "--", MUTED)
    _draw_level(axes, ceiling, "ceiling", "-.", MUTED)
    axes.set(xlabel="Pass", ylabel="F" if several else "Score", ylim=(0, 1.02))
    axes.set_xlim(0, max(max(float(one["pass"].max()), 1.0) for one in histories.values()))
    sparse_ticks(axes, y=5)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return axes


@styled
def plot_weight_recovery(
    learned: Any, true: Any, *, autapses: bool = True, points: int = 4000, ax: Axes | None = None
) -> Axes:
    """Draw learned against true weights, by the sign of the true ones, with their correlations.

    Parameters
    ----------
    learned, true, autapses
        As of `weight_recovery`.
    points : int
        Largest number of weights drawn, chosen at random; correlations are of all.
    ax : Axes, optional
        Where to draw.

    Raises
    ------
    ValueError
        As of `weight_recovery`, or if no learned weight is known.
    """
    require_integer("points", points, 1)
    found = weight_recovery(learned, true, autapses=autapses)
    truth, mine = weight_matrix(true, "true"), weight_matrix(learned, "learned")
    if not np.isfinite(mine).any():
        raise ValueError("a figure of weights needs learned weights that are known, all are NaN or there are none")
    counted = np.isfinite(mine) & (np.ones(truth.shape, dtype=bool) if autapses else ~np.eye(len(truth), dtype=bool))
    rng = np.random.default_rng(0)
    kept = np.zeros(truth.size, dtype=bool)
    kept[rng.choice(truth.size, min(points, truth.size), replace=False)] = True
    counted &= kept.reshape(truth.shape)
    (axes,) = panels_in(ax, 1, 1, (SINGLE_COLUMN, 75))
    for name, chosen in weight_classes(truth).items():
        if name not in _CLASSES or not int(found["number"].sel(sign=name)):
            continue
        r = float(found["correlation"].sel(sign=name))
        label = f"{name}, r = {r:.2f}" if np.isfinite(r) else name
        style: Any = {"markersize": 2, "markeredgewidth": 0, "alpha": 0.5, "rasterized": True}
        axes.plot(truth[chosen & counted], mine[chosen & counted], "o", color=_CLASSES[name], label=label, **style)
    ends = np.array([min(np.nanmin(truth), np.nanmin(mine)), max(np.nanmax(truth), np.nanmax(mine))])
    margin = 0.05 * (float(np.ptp(ends)) or 1.0)
    limits = (ends[0] - margin, ends[1] + margin)
    axes.plot(limits, limits, color=INK, linewidth=0.6, linestyle="--")
    axes.set(xlim=limits, ylim=limits, aspect="equal", xlabel="True weight (mV)", ylabel="Learned weight (mV)")
    sparse_ticks(axes)
    legend = axes.legend(loc="upper left", markerscale=2.5)
    for handle in legend.legend_handles:
        if handle is not None:
            handle.set_alpha(1.0)
    return axes


@lettered
@styled
def plot_avalanches(
    found: xr.Dataset | Mapping[str, xr.Dataset],
    *,
    fitted: bool = True,
    ax: Axes | Sequence[Axes] | None = None,
) -> Panels:
    """Draw the distributions of sizes and durations of avalanches with their fitted power laws.

    Parameters
    ----------
    found : Dataset or mapping of str to Dataset
        Of `avalanches`, or of several networks by their names.
    fitted : bool
        Draw the power law of `fit_power_law` over each distribution, its exponent in the legend.
    ax : sequence of Axes, optional
        Two: sizes, durations.

    Raises
    ------
    ValueError
        If a network has no avalanche.
    """
    networks = _by_name(found, "found")
    for name, one in networks.items():
        if not one.sizes.get("avalanche", 0):
            whose = f" of {name!r}" if name else ""
            raise ValueError(f"the activity{whose} has no avalanches: {one.attrs.get('note') or 'none is complete'}")
    panels = panels_in(ax, 1, 2, (DOUBLE_COLUMN * 0.85, 62))
    for axes, quantity, text in zip(
        panels, ("size", "duration"), ("Avalanche size (spikes)", "Duration (bins)"), strict=True
    ):
        for k, (name, one) in enumerate(networks.items()):
            colour, marker = PALETTE[k % len(PALETTE)], "os^Dv"[k % 5]
            values = one[quantity].to_numpy().astype(np.float64)
            place, density = _log_histogram(values)
            label = name
            if fitted and len(np.unique(values)) >= 3:
                law = fit_power_law(values, least=float(values.min()))
                exponent, reach = float(law["exponent"]), float(law["exponent_high"] - law["exponent"])
                x = np.geomspace(values.min(), values.max(), 50)
                whole = np.arange(values.min(), values.max() + 1)
                axes.plot(x, x**-exponent / (whole**-exponent).sum(), color=colour, linewidth=0.8, alpha=0.8)
                label = f"{name + ', ' if name else ''}α = {exponent:.2f} ± {reach:.2f}"
            axes.plot(place, density, marker, color=colour, markersize=3, markerfacecolor="none", label=label or None)
        axes.set(xscale="log", yscale="log", xlabel=text, ylabel="Probability")
        plain_log(axes.xaxis)
        if any(line.get_label() and not str(line.get_label()).startswith("_") for line in axes.get_lines()):
            axes.legend(loc="lower left")
    return panels


def _by_name(data: xr.Dataset | Mapping[str, xr.Dataset], name: str) -> Mapping[str, xr.Dataset]:
    """Return datasets by the names of what they are of; one alone has none."""
    if isinstance(data, xr.Dataset):
        return {"": data}
    named: Any = data  # a dataset is a mapping too, which types cannot tell from one of datasets
    if not isinstance(named, Mapping) or not all(isinstance(one, xr.Dataset) for one in named.values()):
        raise TypeError(f"`{name}` must be a dataset, or a mapping of names to datasets, got {shown(named)}")
    if not named:
        raise ValueError(f"`{name}` must have at least one dataset, the mapping is empty")
    return named


def _draw_curve(axes: Axes, values: xr.DataArray, colour: str, label: str, smooth: int | None) -> None:
    scored = np.isfinite(values.to_numpy())
    x, y = values["pass"].to_numpy()[scored], values.to_numpy()[scored]
    width = max(1, len(y) // 50) if smooth is None else smooth
    require_integer("smooth", width, 1)
    if width == 1 or len(y) <= width:
        axes.plot(x, y, color=colour, label=label)
        return
    axes.plot(x, y, color=colour, linewidth=0.4, alpha=0.3)
    mean = np.convolve(y, np.full(width, 1 / width), mode="valid")
    first = (width - 1) // 2
    axes.plot(x[first : first + len(mean)], mean, color=colour, label=label)


def _draw_level(axes: Axes, level: Any, label: str, line: str, colour: str) -> None:
    if level is None:
        return
    if isinstance(level, xr.Dataset):
        axes.axhspan(float(level["f_score_low"]), float(level["f_score_high"]), color=FAINT, linewidth=0, zorder=0)
        level = float(level["f_score"])
    axes.axhline(float(level), color=colour, linestyle=line, linewidth=0.9, label=label, zorder=1)


def _log_histogram(values: Array, per_decade: int = 6) -> tuple[Array, Array]:
    """Return the centres and mean probabilities of whole numbers in bins even in the logarithm."""
    low, high = values.min(), values.max()
    steps = max(2, int(np.ceil(per_decade * np.log10((high + 1) / low))) + 1)
    edges = np.unique(np.ceil(np.geomspace(low, high + 1, steps)))
    counts, _ = np.histogram(values, edges)
    widths = np.diff(edges)
    density = counts / widths / len(values)
    centres = np.sqrt(edges[:-1] * np.maximum(edges[1:] - 1, edges[:-1]))
    return centres[counts > 0], density[counts > 0]
