"""Figures of learned networks beside others: their scores, and the moments that theory predicts for them."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from mnnbio.analyses.figure_style import (
    DOUBLE_COLUMN,
    FAINT,
    INK,
    MUTED,
    PALETTE,
    Panels,
    lettered,
    panels_in,
    sparse_ticks,
    styled,
)

_MOST_PAIRS = 4000


@styled
def plot_learner_scores(scores: xr.Dataset, held_out: xr.Dataset | None = None, *, ax: Axes | None = None) -> Axes:
    """Draw F of networks under the current that was learned and under others, with the level of chance.

    Parameters
    ----------
    scores : Dataset
        `f_score` over ``network``; attributes `chance`, `chance_low` and `chance_high` give the level of chance.
    held_out : Dataset, optional
        `f_score` over ``network, current``.
    ax : Axes, optional
        Where to draw.

    Raises
    ------
    ValueError
        If there is no `f_score` over ``network``.
    """
    if "f_score" not in scores or scores["f_score"].dims != ("network",):
        raise ValueError(f"`scores` must have `f_score` over network, got {list(scores.data_vars)}")
    names = [str(name) for name in scores["network"].values]
    (axes,) = panels_in(ax, 1, 1, (DOUBLE_COLUMN * 0.75, 12 + 7 * len(names)))
    place = np.arange(len(names))[::-1]
    if "chance" in scores.attrs:
        axes.axvspan(scores.attrs["chance_low"], scores.attrs["chance_high"], color=FAINT, linewidth=0, zorder=0)
        axes.axvline(scores.attrs["chance"], color=MUTED, linestyle=":", linewidth=0.9, label="chance", zorder=1)
    axes.plot(scores["f_score"], place, "o", color=PALETTE[0], markersize=4, label="current that was learned")
    if held_out is not None:
        for name, y in zip(names, place, strict=True):
            if name in held_out["network"].values:
                values = held_out["f_score"].sel(network=name).values
                label = "other currents" if name == _first(names, held_out) else None
                axes.plot(values, np.full(len(values), y - 0.22), "|", color=PALETTE[1], markersize=5, label=label)
    axes.set_yticks(place, names)
    axes.set(xlabel="F", xlim=(0, 1.03), ylim=(-0.6, len(names) - 0.4))
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return axes


def _first(names: list[str], held_out: xr.Dataset) -> str:
    return next(name for name in names if name in held_out["network"].values)


@lettered
@styled
def plot_shared_moments(moments: xr.Dataset, *, ax: tuple[Axes, ...] | None = None) -> Panels:
    """Draw rates and pair covariances that theory predicts for networks, against those of a reference.

    Parameters
    ----------
    moments : Dataset
        `rate` over (network, neuron), `covariance` over (network, neuron, neuron_j), `rate_r` and `covariance_r` over
        ``network``; the attribute `reference` names the network on the horizontal axis.
    ax : tuple of Axes, optional
        Two, where to draw.

    Raises
    ------
    ValueError
        If the reference is none of the networks.
    """
    names = [str(name) for name in moments["network"].values]
    reference = str(moments.attrs.get("reference"))
    if reference not in names:
        raise ValueError(f"the attribute `reference` must name one of {names}, got {reference!r}")
    panels = panels_in(ax, 1, 2, (DOUBLE_COLUMN * 0.85, 66))
    size = moments.sizes["neuron"]
    pairs = np.flatnonzero(~np.eye(size, dtype=bool).ravel())
    if len(pairs) > _MOST_PAIRS:
        pairs = np.random.default_rng(0).choice(pairs, _MOST_PAIRS, replace=False)
    true = moments.sel(network=reference)
    for k, name in enumerate(n for n in names if n != reference):
        one = moments.sel(network=name)
        for axes, x, y, r, width in (
            (panels[0], true["rate"].values, one["rate"].values, one["rate_r"], 3.0),
            (
                panels[1],
                true["covariance"].values.ravel()[pairs],
                one["covariance"].values.ravel()[pairs],
                one["covariance_r"],
                1.5,
            ),
        ):
            label = f"{name}, r = {float(r):.2f}" if np.isfinite(float(r)) else name
            style: Any = {"markersize": width, "markeredgewidth": 0, "alpha": 0.6, "rasterized": True}
            axes.plot(x, y, "o", color=PALETTE[k % len(PALETTE)], label=label, **style)
    units = {"rate": "Hz", "covariance": "spikes²"}
    for axes, what in zip(panels, ("rate", "covariance"), strict=True):
        low, high = float(np.min(axes.dataLim.get_points())), float(np.max(axes.dataLim.get_points()))
        margin = 0.05 * (high - low or 1.0)
        limits = (low - margin, high + margin)
        axes.plot(limits, limits, color=INK, linewidth=0.6, linestyle="--")
        axes.set(
            xlim=limits,
            ylim=limits,
            aspect="equal",
            xlabel=f"{what.capitalize()} of the reference ({units[what]})",
            ylabel=f"{what.capitalize()} ({units[what]})",
        )
        sparse_ticks(axes)
        axes.legend(loc="upper left", markerscale=2, borderaxespad=0.2)
    return panels
