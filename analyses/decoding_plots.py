"""Figures of what a population tells of its stimuli: tuning curves, discriminability, accuracy of decoders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.font_manager import FontProperties

from mnnbio.analyses.captions import number
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
from mnnbio.analyses.tuning import tuning_curves

Array = npt.NDArray[np.float64]


@styled
def plot_tuning_curves(
    prediction: xr.Dataset | xr.DataTree | None = None,
    simulation: xr.Dataset | xr.DataTree | None = None,
    *,
    neurons: int | Sequence[int] = 4,
    colors: Sequence[str] = PALETTE,
    ax: Axes | None = None,
) -> Axes:
    """Draw rates of neurons against the stimulus: predicted as lines, simulated as points with standard errors.

    Parameters
    ----------
    prediction, simulation : Dataset or DataTree, optional
        With stimuli; one of them is enough.
    neurons : int or sequence of int
        Labels of the neurons drawn; or how many: those that the stimuli modulate most, of different preferred stimuli
        before others.
    colors : sequence of str
        Colours of the neurons, repeated where there are more.
    ax : Axes, optional
        Where to draw.

    Raises
    ------
    ValueError
        If neither is given, there are fewer than two stimuli, or no such neuron.
    """
    sides = [tuning_curves(side) for side in (prediction, simulation) if side is not None]
    if not sides:
        raise ValueError("give a `prediction` or a `simulation`, or both")
    if "neuron" not in sides[0]["rate"].dims:
        raise ValueError("tuning curves are drawn of neurons, these rates are of populations")
    labels = _neurons(sides[0], neurons)
    stimulus = sides[0]["stimulus"].to_numpy()
    place = stimulus.astype(float) if stimulus.dtype.kind in "iuf" else np.arange(len(stimulus), dtype=float)
    order = np.argsort(place)
    (axes,) = panels_in(ax, 1, 1, (SINGLE_COLUMN, 58))
    for k, label in enumerate(labels):
        colour, name = colors[k % len(colors)], _named(sides[0], label)
        if prediction is not None:
            rate = sides[0]["rate"].sel(neuron=label).to_numpy()
            axes.plot(place[order], rate[order], color=colour, label=name)
        if simulation is not None:
            own = sides[-1].sel(neuron=label)
            error = own["rate_se"].to_numpy() if "rate_se" in own else np.zeros(len(place))
            style: Any = {"fmt": "o", "color": colour, "markersize": 2.6, "elinewidth": 0.7}
            shown = np.where(np.isfinite(error), error, 0.0)[order]
            text = name if prediction is None else None
            axes.errorbar(place[order], own["rate"].to_numpy()[order], yerr=shown, label=text, **style)
    axes.set_xlabel("Stimulus")
    axes.set_ylabel("Firing rate (Hz)")
    axes.set_ylim(bottom=0)
    sparse_ticks(axes, x=5)
    if stimulus.dtype.kind not in "iuf":
        axes.set_xticks(place, [str(name) for name in stimulus.tolist()])
    axes.margins(x=0.04)
    legend = axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=min(len(labels), 4), columnspacing=1.2)
    if len(sides) == 2:
        legend.set_title("Lines: predicted; points: spikes ± s.e.", FontProperties(size=6.5))
        legend.set_alignment("left")
    return axes


def _neurons(curves: xr.Dataset, wanted: int | Sequence[int]) -> list[int]:
    """Return the labels of the neurons drawn."""
    known = curves["neuron"].to_numpy()
    if not isinstance(wanted, int | np.integer):
        if unknown := [label for label in wanted if label not in known]:
            raise ValueError(f"`neurons` names {unknown[0]!r}, there are {known[0]} to {known[-1]}")
        return list(wanted)
    if wanted < 1:
        raise ValueError(f"`neurons` must be ≥ 1, or labels, got {wanted}")
    strength = np.where(np.isfinite(curves["modulation"]), curves["modulation"], -np.inf)
    preferred = curves["preferred"].to_numpy()
    best: list[int] = []
    ranked = np.argsort(-strength, kind="stable").tolist()
    for first_of_preference in (True, False):
        for k in ranked:
            seen = {preferred[j] for j in best}
            if len(best) < wanted and k not in best and (not first_of_preference or preferred[k] not in seen):
                best.append(k)
    return known[sorted(best)].tolist()


def _named(curves: xr.Dataset, label: int) -> str:
    one = curves.sel(neuron=label)
    if "population" in one.coords and "index" in one.coords:
        return f"{one['population'].item()} {int(one['index'])}"
    return f"neuron {label}"


@styled
@lettered
def plot_decoding(decoding: xr.Dataset, *, color: str = PALETTE[0], ax: Sequence[Axes] | None = None) -> Panels:
    """Draw how often each stimulus is found: accuracy from moments against accuracy from spikes, and their means.

    Parameters
    ----------
    decoding : Dataset
        What `compare_decoding` returns.
    color : str
        Colour of the spikes.
    ax : sequence of Axes, optional
        Two.
    """
    if not isinstance(decoding, xr.Dataset) or "accuracy_predicted" not in decoding:
        raise ValueError("expected what `compare_decoding` returns, a dataset with `accuracy_predicted`")
    left, right = panels = panels_in(ax, 1, 2, (SINGLE_COLUMN * 1.35, 55), width_ratios=[1.25, 1])
    x = decoding["accuracy_predicted"].to_numpy()
    y, se = decoding["accuracy_spikes"].to_numpy(), decoding["accuracy_spikes_se"].to_numpy()
    low = max(0.0, min(float(x.min()), float((y - se).min())) - 0.06)
    left.plot([low, 1.03], [low, 1.03], color=INK, linewidth=0.8, zorder=1)
    left.errorbar(x, y, yerr=se, fmt="o", color=color, markersize=2.6, elinewidth=0.7)
    left.set(xlim=(low, 1.03), ylim=(low, 1.03), box_aspect=1)
    left.set_xlabel("Accuracy from moments")
    left.set_ylabel("Accuracy from spikes")
    sparse_ticks(left)
    bars = [("moments", "predicted", INK), ("spikes", "spikes", color), ("spikes,\nfitted", "fitted", PALETTE[1])]
    for k, (_, name, colour) in enumerate(bars):
        mean = float(decoding[f"mean_accuracy_{name}"])
        error = float(decoding.get(f"mean_accuracy_{name}_se", xr.DataArray(0.0)))
        right.bar(k, mean, width=0.62, color=colour, alpha=0.85, yerr=error or None,
                  error_kw={"elinewidth": 0.8, "ecolor": INK, "capsize": 2})  # fmt: skip
        right.text(k, mean + error + 0.02, number(mean), ha="center", va="bottom", fontsize=6)
    right.axhline(decoding.attrs["chance"], color=MUTED, linestyle=":", linewidth=0.8)
    right.annotate("chance", (1, decoding.attrs["chance"]), xycoords=("axes fraction", "data"), xytext=(2, 0),
                   textcoords="offset points", va="center", color=MUTED, fontsize=6, annotation_clip=False)  # fmt: skip
    right.set_xticks(range(3), [text for text, _, _ in bars])
    right.set(ylim=(0, 1.12), xlim=(-0.55, 2.55))
    right.set_yticks([0, 0.5, 1])
    right.set_ylabel("Mean accuracy")
    return panels


@styled
def plot_discriminability(
    prediction: xr.Dataset, simulation: xr.Dataset | None = None, *, color: str = PALETTE[0], ax: Axes | None = None
) -> Axes:
    """Draw d′ of pairs of stimuli, predicted with and without covariances, and simulated with intervals.

    Parameters
    ----------
    prediction, simulation : Dataset
        What `discriminability` returns for either side; the simulation may be left out.
    color : str
        Colour of the simulation.
    ax : Axes, optional
        Where to draw.
    """
    for name, side in (("prediction", prediction), ("simulation", simulation)):
        if side is not None and (not isinstance(side, xr.Dataset) or "d_prime" not in side):
            raise ValueError(f"`{name}` must be what `discriminability` returns, a dataset with `d_prime`")
    if simulation is not None and simulation.sizes["pair"] != prediction.sizes["pair"]:
        raise ValueError(f"{prediction.sizes['pair']} pairs are predicted, {simulation.sizes['pair']} simulated")
    (axes,) = panels_in(ax, 1, 1, (SINGLE_COLUMN, 55))
    place = np.arange(prediction.sizes["pair"], dtype=float)
    alone = np.sqrt(np.maximum(prediction["d_prime_squared_independent"].to_numpy(), 0.0))
    axes.plot(place, alone, color=MUTED, linestyle="--", linewidth=0.9, label="predicted, no covariances")
    axes.plot(place, prediction["d_prime"].to_numpy(), color=INK, label="predicted", marker="_", markersize=6)
    if simulation is not None:
        value = simulation["d_prime"].to_numpy()
        low, high = (simulation.get(f"d_prime_{end}", simulation["d_prime"]).to_numpy() for end in ("low", "high"))
        error = np.maximum(np.stack([value - low, high - value]), 0.0)
        axes.errorbar(place, value, yerr=error, fmt="o", color=color, markersize=2.8, elinewidth=0.8, label="spikes")
    pairs = zip(prediction["first"].to_numpy().tolist(), prediction["second"].to_numpy().tolist(), strict=True)
    names = [f"{_short(i)}|{_short(j)}" for i, j in pairs]
    shown = np.unique(np.linspace(0, len(place) - 1, min(len(place), 8)).astype(int))
    axes.set_xticks(place[shown], [names[k] for k in shown])
    axes.set(xlabel="Pair of stimuli", ylabel="Discriminability d′", ylim=(0, None))
    axes.margins(x=0.06)
    axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=3, columnspacing=1.0)
    return axes


def _short(label: object) -> str:
    return f"{label:.3g}".replace("-", "−") if isinstance(label, float) else str(label)
