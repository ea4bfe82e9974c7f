"""Figures of weights that change while a network runs."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from mnnbio.analyses.figure_style import (
    INK,
    MUTED,
    PALETTE,
    SINGLE_COLUMN,
    Panels,
    lettered,
    panels_in,
    sparse_ticks,
    styled,
)
from mnnbio.machine import require_integer

Projected = tuple[str, str] | str | None


@styled
@lettered
def plot_weights(
    result: xr.DataTree,
    projection: Projected = None,
    *,
    stimulus: int = 0,
    trial: int | None = None,
    bins: int = 40,
    ax: Axes | tuple[Axes, ...] | None = None,
) -> Panels:
    """Draw the weights of a plastic projection: histograms at start and end, and mean and middle half in time.

    Parameters
    ----------
    result : DataTree
        A result, with the weights at the end in ``weights/<projection>``. What was recorded in time, by
        ``Weights(every=...)``, gives the histogram at the start, the first sample, and the second panel.
    projection : tuple of str or str, optional
        Names of source and target, or of the group, such as ``"input_to_E"``. Default: the only one there is.
    stimulus : int
        Position of the stimulus.
    trial : int, optional
        Position of the trial; default: the weights of all trials together.
    bins : int
        Number of bins of the histograms, from the smallest to the greatest weight drawn.
    ax : Axes or sequence of Axes, optional
        One, or two where weights were recorded in time.

    Returns
    -------
    Panels
        The histograms and, where weights were recorded in time, their course.

    Raises
    ------
    ValueError
        If there is no such projection, stimulus or trial.
    TypeError
        If `result` is no result.
    """
    weights = weights_of(result, projection)
    require_integer("bins", bins, 1)
    for name, value in (("stimulus", stimulus), ("trial", trial)):
        count = weights["weight"].sizes.get(name, 1)
        if value is not None and not 0 <= value < count:
            raise ValueError(f"`{name}` must be from 0 to {count - 1}, got {value}")
    if "stimulus" in weights.dims:
        weights = weights.isel(stimulus=stimulus)
    if trial is not None:
        weights = weights.isel(trial=[trial])
    end, course = weights["weight"], weights.get("weight_course")
    drawn = {"end": end.to_numpy().ravel()}
    if course is not None:
        drawn = {"start": course.isel(time=0).to_numpy().ravel(), **drawn}
    unit = end.attrs.get("units", "1")
    label = "Weight" if unit == "1" else f"Weight ({unit})"
    number = 1 if course is None else 2
    panels = panels_in(ax, 1, number, (SINGLE_COLUMN * (0.8 if number == 1 else 1.6), 55.0))
    colors = {"start": MUTED, "end": PALETTE[0]}
    low, high = (float(f(np.concatenate(list(drawn.values())))) for f in (np.min, np.max))
    if not high > low:  # all of one value
        low, high = low - 0.5 * (abs(low) or 1.0), high + 0.5 * (abs(high) or 1.0)
    edges = np.linspace(low, high, bins + 1)
    first = panels[0]
    for when, values in drawn.items():
        share = 100.0 * np.histogram(values, edges)[0] / len(values)
        first.stairs(share, edges, color=colors[when], fill=when == "end", alpha=0.35 if when == "end" else 1.0)
        first.stairs(share, edges, color=colors[when], linewidth=1.0, label=when)
    first.set_xlabel(label)
    first.set_ylabel("Synapses (%)")
    first.set_ylim(bottom=0)
    if len(drawn) > 1:
        first.legend(loc="best")
    sparse_ticks(first, x=4, y=4)
    if course is None:
        return panels
    axes = panels[1]
    time = course["time"].to_numpy()
    scale, name = (1e3, "ms") if time[-1] - time[0] < 2 else (1.0, "s")
    others = [dim for dim in course.dims if dim != "time"]
    middle = course.quantile([0.25, 0.75], dim=others).to_numpy()
    axes.fill_between(scale * time, *middle, color=PALETTE[0], alpha=0.2, linewidth=0, label="middle half")
    axes.plot(scale * time, course.mean(others).to_numpy(), color=INK, label="mean")
    axes.set_xlabel(f"Time after warm-up ({name})")
    axes.set_ylabel(label)
    axes.legend(loc="best")
    sparse_ticks(axes, x=4, y=4)
    return panels


def weights_of(result: xr.DataTree, projection: Projected = None) -> xr.Dataset:
    """Return the weights of a plastic projection of a result.

    Raises
    ------
    ValueError
        If there is no such projection, or there are several.
    TypeError
        If `result` is no result.
    """
    if not isinstance(result, xr.DataTree):
        raise TypeError(f"`result` must be what `simulate` returns, a DataTree, got {type(result).__name__}")
    groups = {} if "weights" not in result.children else result["weights"].children
    known = {str(name): group.to_dataset() for name, group in groups.items() if "weight" in group}
    if not known:
        raise ValueError("the result has no weights: simulate projections with a `plasticity` that changes them")
    wanted = {
        name: own
        for name, own in known.items()
        if projection is None or projection == name or tuple(projection) == (own.attrs["source"], own.attrs["target"])
    }
    if len(wanted) != 1:
        asked = f"{len(wanted)} projections are" if wanted else "no projection is"
        what = "there" if projection is None else f"{projection!r}"
        raise ValueError(f"{asked} {what}: give `projection` as one of {', '.join(map(repr, wanted or known))}")
    return next(iter(wanted.values()))
