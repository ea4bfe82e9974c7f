"""Figures of mode space: trajectories, importance and power laws, removal, switches, attractors, dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.patches import Ellipse
from scipy import stats

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
from mnnbio.analyses.mode_importance import curve_intervals
from mnnbio.machine import require_integer

Array = npt.NDArray[np.float64]

ORDERS = {
    "least_first": ("least important first", 0),
    "random": ("at random", 5),
    "most_first": ("most important first", 1),
}


@styled
def plot_mode_trajectories(
    trajectories: xr.Dataset,
    predicted: xr.Dataset | None = None,
    *,
    modes: tuple[int, int] = (0, 1),
    ellipses: int = 4,
    level: float = 0.95,
    ax: Axes | None = None,
) -> Axes:
    """Draw the mean trajectory of every condition in the plane of two modes, with ellipses of trials and predictions.

    Parameters
    ----------
    trajectories : Dataset
        Of `condition_trajectories`; drawn filled, ends as squares.
    predicted : Dataset, optional
        Means and covariances of the same conditions in order, as `mode_activity` and `mode_activity_covariance` over
        ``(start or condition, time, mode)`` of `mnnbio.theory.predict_mode_course`, or `mean` and `covariance`; drawn
        as dashed black lines and outlines, at the same times as far as they are covered.
    modes : tuple of int
        Positions of the two modes.
    ellipses : int
        Times, evenly spaced and ending at the last, at which ellipses are drawn.
    level : float
        Probability that an ellipse holds of normal trials.
    ax : Axes, optional
        Where to draw.
    """
    require_integer("ellipses", ellipses, 0)
    number = trajectories.sizes["mode"]
    if len(modes) != 2 or not all(-number <= k < number for k in modes):
        raise ValueError(f"`modes` must be two positions among {number} modes, got {modes}")
    if not 0 < level < 1:
        raise ValueError(f"`level` must be between 0 and 1, got {level!r}")
    (axes,) = panels_in(ax, 1, 1, (SINGLE_COLUMN, 70))
    means, spreads = (trajectories[name].to_numpy() for name in ("mean", "covariance"))
    expected = None if predicted is None else _expected(predicted, len(means))
    for k, label in enumerate(trajectories["condition"].to_numpy().tolist()):
        colour = PALETTE[k % len(PALETTE)]
        path = means[k][:, modes]
        axes.plot(*path.T, color=colour, linewidth=1.0, label=_text(label))
        axes.plot(*path[-1], "s", color=colour, markersize=4)
        _draw_ellipses(axes, path, spreads[k], modes, ellipses, level, facecolor=colour, alpha=0.15, linewidth=0)
        if expected is not None:
            course = expected[0][k][:, modes]
            axes.plot(*course.T, color=INK, linewidth=0.8, linestyle="--", label="predicted" if k == 0 else None)
            if expected[1] is not None:
                _draw_ellipses(
                    axes, course, expected[1][k], modes, ellipses, level, fill=False, edgecolor=INK, linewidth=0.7
                )
    unit = trajectories["mean"].attrs.get("units", "1")
    suffix = "" if unit == "1" else f" ({unit})"
    axes.set(xlabel=f"Mode {modes[0] + 1}{suffix}", ylabel=f"Mode {modes[1] + 1}{suffix}")
    sparse_ticks(axes)
    axes.legend(loc="best")
    return axes


def _expected(predicted: xr.Dataset, conditions: int) -> tuple[Array, Array | None]:
    mean_name = "mode_activity" if "mode_activity" in predicted else "mean"
    spread_name = "mode_activity_covariance" if mean_name == "mode_activity" else "covariance"
    if mean_name not in predicted:
        raise ValueError("the prediction must have `mode_activity` or `mean`, over (condition, time, mode)")
    mean = predicted[mean_name].transpose(..., "time", "mode").to_numpy()
    mean = mean[None] if mean.ndim == 2 else mean
    if len(mean) != conditions:
        raise ValueError(f"the prediction must be of the {conditions} conditions that are drawn, got {len(mean)}")
    if spread_name not in predicted:
        return mean, None
    spread = predicted[spread_name].transpose(..., "time", "mode", "mode_j").to_numpy()
    return mean, spread[None] if spread.ndim == 3 else spread


def _draw_ellipses(
    axes: Axes, path: Array, spread: Array, modes: tuple[int, int], number: int, level: float, **style: Any
) -> None:
    if not number:
        return
    places = np.unique(np.linspace(0, len(path) - 1, number + 1).round().astype(int))[1:]
    size = np.sqrt(stats.chi2.ppf(level, 2))
    for place in places:
        own = spread[place][np.ix_(modes, modes)]
        if not np.isfinite(own).all():
            continue
        values, vectors = np.linalg.eigh(own)
        width, height = 2 * size * np.sqrt(np.maximum(values, 0.0))
        angle = np.degrees(np.arctan2(vectors[1, 0], vectors[0, 0]))
        axes.add_patch(Ellipse((path[place, 0], path[place, 1]), width, height, angle=angle, **style))


def _text(label: Any) -> str:
    return ", ".join(map(str, label)) if isinstance(label, tuple) else str(label)


@styled
@lettered
def plot_mode_importance(
    importance: xr.Dataset, laws: xr.Dataset | None = None, *, ax: Axes | Sequence[Axes] | None = None
) -> Panels:
    """Draw |λ| and τ of all modes against their rank, and, if given, the fitted power laws.

    Parameters
    ----------
    importance : Dataset
        Of `mode_importance`; of several networks joined along ``network``, means and standard deviations are drawn.
    laws : Dataset, optional
        Of `power_laws`.
    ax : sequence of Axes, optional
        Two.
    """
    left, right = panels_in(ax, 1, 2, (DOUBLE_COLUMN * 0.75, 55))
    table = {name: np.atleast_2d(importance[name].transpose(..., "mode").to_numpy()) for name in ("tau", "score_size")}
    order = np.argsort(-table["tau"], axis=1, kind="stable")
    for axes, name, label in ((left, "score_size", "|λ|"), (right, "tau", "τ")):
        values = np.take_along_axis(table[name], order, axis=1)
        rank = np.arange(1, values.shape[1] + 1)
        error = values.std(0, ddof=1) if len(values) > 1 else None
        axes.errorbar(rank, values.mean(0), error, fmt="o", markersize=2.5, linewidth=0.7, color=PALETTE[0])
        axes.set(xlabel="Rank of the mode by τ", ylabel=label)
    right.set(xscale="log", yscale="log")
    if laws is not None:
        rank, fitted, k = laws["rank"].to_numpy(), laws["fitted"].to_numpy(), int(laws["breakpoint"])
        for j, part in enumerate((slice(k), slice(k, None))):
            low, high = (float(laws[f"exponent_{end}"][j]) for end in ("low", "high"))
            text = f"exponent {float(laws['exponent'][j]):.3f} [{low:.3f}, {high:.3f}]"
            right.plot(rank[part], fitted[part], color=PALETTE[1 + j], label=text)
        right.legend(loc="lower left")
    sparse_ticks(left)
    plain_log(right.xaxis)
    plain_log(right.yaxis)
    return Panels((left, right))


@styled
def plot_removal(
    curves: xr.Dataset,
    *,
    chance: float | None = None,
    level: float = 0.95,
    ylabel: str = "Score",
    ax: Axes | None = None,
) -> Axes:
    """Draw the score against what is removed, by importance and at random, with intervals over networks or draws.

    Parameters
    ----------
    curves : Dataset
        Of `ablation_curve` or `pruning_curve`, of one network or joined along ``network``.
    chance : float, optional
        Score of guessing, a dotted line.
    level : float
        Of Student's intervals of the means, the bands.
    ylabel : str
    ax : Axes, optional
        Where to draw.
    """
    (axes,) = panels_in(ax, 1, 1, (SINGLE_COLUMN, 58))
    found = curve_intervals(curves, level=level)
    (dim,) = (name for name in ("removed", "fraction") if name in curves.dims)
    place = curves[dim].to_numpy()
    for name, (label, colour) in ORDERS.items():
        axes.plot(place, found[name], color=PALETTE[colour], marker="o", markersize=2.2, label=label)
        low, high = (found[f"{name}_{end}"].to_numpy() for end in ("low", "high"))
        if np.isfinite(low).any():
            axes.fill_between(place, low, high, color=PALETTE[colour], alpha=0.2, linewidth=0)
    if chance is not None:
        axes.axhline(chance, color=MUTED, linewidth=0.7, linestyle=":", label="chance")
    axes.set(xlabel="Modes removed" if dim == "removed" else "Fraction of weights removed", ylabel=ylabel)
    sparse_ticks(axes)
    axes.legend(loc="best")
    return axes


@styled
def plot_switch_success(success: xr.Dataset, *, chance: float = 0.5, ax: Axes | None = None) -> Axes:
    """Draw the share of right decisions of every condition with its interval.

    Parameters
    ----------
    success : Dataset
        Of `switch_success`, or of several joined along another dimension that has labels in place of ``condition``.
    chance : float
        A dotted line.
    ax : Axes, optional
        Where to draw.
    """
    (dim,) = success["success"].dims
    (axes,) = panels_in(ax, 1, 1, (SINGLE_COLUMN * 0.8, 52))
    value, low, high = (success[name].to_numpy() for name in ("success", "success_low", "success_high"))
    place = np.arange(len(value))
    axes.axhline(chance, color=MUTED, linewidth=0.7, linestyle=":")
    axes.bar(place, value, width=0.6, color=FAINT)
    axes.errorbar(place, value, [value - low, high - value], fmt="o", markersize=3, color=PALETTE[0])
    axes.set_xticks(place, [str(label) for label in success[dim].to_numpy()])
    axes.set(ylim=(0, 1.05), ylabel="Right decisions")
    return axes


@styled
@lettered
def plot_separation(separation: xr.Dataset, *, ax: Axes | Sequence[Axes] | None = None) -> Panels:
    """Draw the mean distances of trials' ends between all conditions, and within against between them.

    Parameters
    ----------
    separation : Dataset
        Of `attractor_separation`.
    ax : sequence of Axes, optional
        Two.
    """
    left, right = panels_in(ax, 1, 2, (DOUBLE_COLUMN * 0.7, 55))
    table = separation["distance"].to_numpy()
    labels = [_text(label) for label in separation["condition"].to_numpy().tolist()]
    image = left.imshow(table, cmap="Greys", vmin=0)
    left.set_xticks(range(len(labels)), labels, rotation=90 if max(map(len, labels)) > 3 else 0)
    left.set_yticks(range(len(labels)), labels)
    figure = Panels((left,)).figure
    figure.colorbar(image, ax=left, label="Mean distance of ends", shrink=0.85)
    for k, name in enumerate(("within", "between")):
        value, low, high = (float(separation[f"{name}{end}"]) for end in ("", "_low", "_high"))
        right.bar(k, value, width=0.6, color=FAINT)
        right.errorbar(k, value, [[value - low], [high - value]], fmt="o", markersize=3, color=PALETTE[0])
    right.set_xticks([0, 1], ["within", "between"])
    ratio, low, high = (float(separation[f"ratio{end}"]) for end in ("", "_low", "_high"))
    right.set(ylabel="Mean distance of ends", xlabel=f"between / within: {ratio:.3g} [{low:.3g}, {high:.3g}]")
    return Panels((left, right))


@styled
@lettered
def plot_dimensions(
    angles: xr.Dataset, dimensions: xr.Dataset | None = None, *, ax: Axes | Sequence[Axes] | None = None
) -> Panels:
    """Draw the principal angles between modes and activity, and the variance of the principal components.

    Parameters
    ----------
    angles : Dataset
        Of `principal_angles`.
    dimensions : Dataset, optional
        Of `participation_ratio`, for the second panel.
    ax : Axes or sequence of Axes, optional
        One, or two with `dimensions`.
    """
    number = 1 if dimensions is None else 2
    panels = panels_in(ax, 1, number, (SINGLE_COLUMN * 0.95 * number, 55))
    first = panels[0]
    place = np.arange(1, angles.sizes["angle"] + 1)
    first.fill_between(
        place,
        angles["angle_chance_low"],
        angles["angle_chance_median"],
        color=FAINT,
        linewidth=0,
        label="chance, 5–50 %",
    )
    if len(place) == 1:
        first.errorbar(place, angles["angle_chance_median"], fmt="_", color=MUTED, markersize=12)
    first.plot(place, angles["principal_angle"], "o-", markersize=3, color=PALETTE[0], label="modes and components")
    captured, most = (100 * float(angles[name]) for name in ("captured", "captured_most"))
    first.set(xlabel=f"Principal angle (modes hold {captured:.0f} % of the variance, at most {most:.0f} %)")
    first.set(ylabel="Angle (degrees)", ylim=(0, 93))
    sparse_ticks(first, x=min(6, max(1, len(place) - 1)))
    first.legend(loc="best")
    if dimensions is not None:
        second = panels[1]
        part = dimensions["eigenvalue"].to_numpy()
        part = part[part > 1e-12 * part[0]] / part.sum()
        second.plot(np.arange(1, len(part) + 1), part, "o", markersize=2.5, color=PALETTE[0])
        ratio, low, high = (float(dimensions[f"participation_ratio{end}"]) for end in ("", "_low", "_high"))
        text = f"participation ratio {ratio:.2f}" + (f" [{low:.2f}, {high:.2f}]" if np.isfinite(low) else "")
        second.axvline(ratio, color=PALETTE[1], linewidth=0.9, label=text)
        second.set(xlabel="Principal component", ylabel="Part of the variance", xscale="log", yscale="log")
        plain_log(second.xaxis)
        second.legend(loc="best")
    return panels
