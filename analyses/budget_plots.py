"""Figure of an error budget: what the gap between prediction and simulation is made of, and what to change."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from mnnbio.analyses.figure_style import (
    DOUBLE_COLUMN,
    FAINT,
    INK,
    MUTED,
    PALETTE,
    Colors,
    Panels,
    lettered,
    palette_of,
    panels_in,
    sparse_ticks,
    styled,
)

WORTH_SAYING = 0.05  # share of the gap from which on a term is advised about
_NOT_TERMS = ("finite data", "unexplained")


@styled
@lettered
def plot_error_budget(
    budget: xr.Dataset,
    *,
    populations: Sequence[str] | str | None = None,
    colors: Colors = None,
    ax: Sequence[Axes] | None = None,
) -> Panels:
    """Draw the shares of the terms of an error budget with what to change, and their means in each population.

    Parameters
    ----------
    budget : Dataset
        As `mnnbio.validation.error_budget` returns it.
    populations : sequence of str, optional
        Populations of the second panel; default: all.
    colors : mapping or sequence of str, optional
        Colours of populations, by name or in the order of the circuit.
    ax : sequence of Axes, optional
        Two.

    Raises
    ------
    ValueError
        If the dataset is no error budget, or a population is unknown.
    """
    missing = [name for name in ("share", "share_se", "mean", "mean_se", "gap", "advice") if name not in budget]
    if missing:
        raise ValueError(
            f"`budget` must be an error budget, as `mnnbio.validation.error_budget` returns it; it has no "
            f"{missing[0]!r}"
        )
    every = [str(name) for name in budget["population_name"].values]
    palette = palette_of(every, populations, colors)
    ranked = _ranked(budget)
    left, right = panels = panels_in(ax, 1, 2, (DOUBLE_COLUMN, 14 + 7 * len(ranked)), sharey=ax is None)
    place = np.arange(len(ranked))[::-1]
    share, error = (100 * budget[name].sel(term=ranked).values for name in ("share", "share_se"))
    shades = [MUTED if term in _NOT_TERMS else PALETTE[0] for term in ranked]
    left.axvline(0, color=INK, linewidth=0.6)
    left.barh(place, share, 0.62, color=shades, xerr=error, error_kw={"ecolor": INK, "elinewidth": 0.8})
    left.set_yticks(place, ranked)
    left.tick_params(axis="y", length=0)
    left.set_xlabel("Share of the gap (%)")
    low, high = min(0.0, float((share - error).min())), max(0.0, float((share + error).max()))
    left.set_xlim(low - 0.05 * (high - low), high + 1.1 * (high - low))
    sparse_ticks(left, x=5, y=len(ranked))
    left.set_yticks(place, ranked)
    for y, term, size, spread in zip(place, ranked, share, error, strict=True):
        advice = str(budget["advice"].sel(term=term).values)
        if advice and abs(size) >= 100 * WORTH_SAYING:
            left.text(max(size + spread, 0.0) + 0.03 * (high - low), y, advice, va="center", fontsize=6, color=INK)
    _means(right, budget, ranked, place, palette)
    return panels


def _ranked(budget: xr.Dataset) -> list[str]:
    """Return the terms by the size of their shares, chance and what is left last."""
    terms = [str(term) for term in budget["term"].values]
    size = dict(zip(terms, np.abs(budget["share"].values), strict=True))
    return sorted((t for t in terms if t not in _NOT_TERMS), key=lambda t: -size[t]) + [
        t for t in _NOT_TERMS if t in terms
    ]


def _means(axes: Axes, budget: xr.Dataset, ranked: list[str], place: np.ndarray, palette: dict[str, str]) -> None:
    """Draw the mean contribution of every term to each population, with its standard error, and the gap below."""
    step = 0.62 / len(palette)
    axes.axvline(0, color=INK, linewidth=0.6)
    for k, (name, colour) in enumerate(palette.items()):
        offset = 0.31 - step * (k + 0.5)
        own = budget.sel(term=ranked, population_name=name)
        mean, error = own["mean"].values, own["mean_se"].values
        drawn = np.isfinite(mean)
        axes.errorbar(
            mean[drawn], (place + offset)[drawn], xerr=error[drawn], fmt="o", ms=3, lw=1, color=colour, label=name
        )
        axes.axvline(float(own["gap"]), color=colour, linewidth=0.8, linestyle=":", zorder=0)
    for y in place:
        axes.axhline(y - 0.5, color=FAINT, linewidth=0.4, zorder=0)
    units = str(budget.attrs.get("units", "1"))
    quantity = str(budget.attrs.get("quantity", "")).replace("_", " ")
    axes.set_xlabel(f"Mean contribution to the {quantity}{'' if units == '1' else f' ({units})'}; dotted: gap")
    axes.set_yticks(place, ranked)
    axes.tick_params(axis="y", length=0)
    axes.legend(loc="best")
