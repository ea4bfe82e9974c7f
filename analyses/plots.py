"""Figures of results: one function a figure, xarray in, a Matplotlib `Figure` out."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy import stats

from mnnbio.analyses.alignment import group
from mnnbio.analyses.captions import correlation, prefix
from mnnbio.analyses.figure_style import (
    DOUBLE_COLUMN,
    FAINT,
    INK,
    MUTED,
    PALETTE,
    SINGLE_COLUMN,
    colours,
    letter_panels,
    new_figure,
    sparse_ticks,
    styled,
)

Array = npt.NDArray[np.float64]
# More markers than this become pixels inside vector files.
_MANY = 400


@styled
def plot_training(training: xr.Dataset) -> Figure:
    """Draw loss and score against epoch.

    Parameters
    ----------
    training : Dataset
        Variables over ``epoch`` whose names end in ``loss``, ``accuracy`` or ``r2``, such as ``validation_loss``; an
        attribute ``best_epoch`` is marked.
    """
    labels = {"loss": "Loss", "accuracy": "Accuracy", "r2": "R²"}
    curves = {kind: [str(n) for n in training.data_vars if str(n).endswith(kind)] for kind in labels}
    curves = {kind: names for kind, names in curves.items() if names}
    if not curves:
        raise ValueError(f"no loss or score among the training variables {', '.join(map(str, training.data_vars))}")
    figure = new_figure(SINGLE_COLUMN if len(curves) == 1 else DOUBLE_COLUMN * 0.75, 50)
    panels = figure.subplots(1, len(curves), squeeze=False)[0]
    for axes, (kind, names) in zip(panels, curves.items(), strict=True):
        if "best_epoch" in training.attrs:
            axes.axvline(training.attrs["best_epoch"], color=MUTED, linewidth=0.8, linestyle=":")
        for name, colour in zip(names, PALETTE, strict=False):
            stem = name.removesuffix(kind).strip("_")
            epoch, values = training[name]["epoch"].to_numpy(), training[name].to_numpy()
            text = "training" if stem in ("", "train") else stem.replace("_", " ")
            axes.plot(epoch, values, color=colour, label=text, marker="." if len(values) < 3 else None)
        axes.set_xlabel("Epoch")
        axes.set_ylabel(labels[kind])
        sparse_ticks(axes, x=5, y=6)
        if kind == "loss" and all((training[name] > 0).all() for name in names):
            axes.set_yscale("log")
        axes.legend()
    letter_panels(panels)
    return figure


@styled
def plot_raster(
    result: xr.DataTree | xr.Dataset, *, stimuli: int = 3, neurons: int = 150, trial: int = 0, span: float = 0.6
) -> Figure:
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
    span : float
        Longest time drawn after the warm-up, s; at most half as much is drawn before.
    """
    spikes = group(result, "spikes")
    row_size = spikes["row_size"]
    if "stimulus" not in row_size.dims:
        row_size = row_size.expand_dims("stimulus")
    row_size = row_size.transpose("stimulus", "trial", "neuron")
    shape = row_size.shape
    row = np.repeat(np.arange(row_size.size), row_size.to_numpy().ravel())
    stimulus_of, trial_of, neuron_of = np.unravel_index(row, shape)
    populations = spikes["population"].to_numpy()
    palette = colours(list(dict.fromkeys(populations.tolist())))
    shown = np.unique(np.linspace(0, shape[2] - 1, min(neurons, shape[2])).astype(int))
    place = np.full(shape[2], -1)
    place[shown] = np.arange(len(shown))
    shown_time = min(float(spikes.attrs["duration"]), span)
    unit, scale = ("s", 1.0) if shown_time > 2 else ("ms", 1e3)
    time, end = scale * spikes["spike_time"].to_numpy(), scale * shown_time
    # Half as much warm-up as recording is enough to see that the rates have settled.
    start = -min(scale * float(spikes.attrs.get("warmup", 0.0)), 0.5 * end)
    inside = (time >= start) & (time <= end)
    edges = np.linspace(start, end, 46)
    columns = min(stimuli, shape[0])
    figure = new_figure(DOUBLE_COLUMN if columns > 1 else SINGLE_COLUMN * 1.2, 80)
    panels = figure.subplots(2, columns, squeeze=False, sharex=True, sharey="row", height_ratios=[3, 1])
    for k, (top, bottom) in enumerate(panels.T):
        for name, colour in palette.items():
            mine = populations == name
            member = (stimulus_of == k) & mine[neuron_of]
            drawn = member & inside & (trial_of == trial) & (place[neuron_of] >= 0)
            size = max(1.2, min(4.0, 220 / len(shown)))
            style = {"color": colour, "markersize": size, "markeredgewidth": 0.5, "rasterized": True}
            top.plot(time[drawn], place[neuron_of[drawn]], "|", **style)
            number, _ = np.histogram(time[member], edges)
            rate = scale * number / (np.diff(edges) * shape[1] * mine.sum())
            bottom.stairs(rate, edges, color=colour, linewidth=0.8, baseline=None)
            if k == columns - 1:
                centre = float(place[mine & (place >= 0)].mean())
                top.annotate(
                    name, (1.0, centre), xycoords=("axes fraction", "data"), color=colour, rotation=90,
                    ha="left", va="center", xytext=(3, 0), textcoords="offset points", annotation_clip=False,
                )  # fmt: skip
        if start < 0:
            for axes in (top, bottom):
                axes.axvspan(start, 0, color=FAINT, alpha=0.5, linewidth=0, zorder=0)
        top.set_xlim(start, end)
        top.set_yticks([0, len(shown) - 1], ["1", str(shape[2])])
        top.set_ylim(-1, len(shown))
        sparse_ticks(bottom, y=2)
        bottom.set_xlabel(f"Time after warm-up ({unit})")
        if shape[0] > 1:
            label = spikes["stimulus"].to_numpy()[k] if "stimulus" in spikes.coords else k
            top.set_title(f"stimulus {label}")
    panels[1, 0].set_ylim(bottom=0)
    panels[0, 0].set_ylabel("Neuron")
    panels[1, 0].set_ylabel("Rate (Hz)")
    return figure


@styled
def plot_rates(comparison: xr.Dataset) -> Figure:
    """Draw simulated against predicted rates, and their difference, with standard errors."""
    x, y, se = _triple(comparison, "rate")
    figure = new_figure(DOUBLE_COLUMN * 0.8, 62)
    left, right = figure.subplots(1, 2)
    _identity(left, comparison, x, y, se, "rate (Hz)")
    note = f"r = {correlation(comparison[prefix(comparison, 'rate') + '_r'])}"
    left.text(0.97, 0.04, note, transform=left.transAxes, ha="right")
    right.axhline(0, color=INK, linewidth=0.8)
    _scatter(right, comparison, x, y - x, se)
    right.set_xlabel("Predicted rate (Hz)")
    right.set_ylabel("Simulated − predicted (Hz)")
    sparse_ticks(right)
    _symmetric(right, y - x, se)
    letter_panels([left, right])
    return figure


@styled
def plot_count_statistics(comparison: xr.Dataset) -> Figure:
    """Draw simulated against predicted count variances and Fano factors.

    If single stimuli have few samples both are means over stimuli; the Fano factors are then ratios of mean variance
    and mean count, and carry no error bars.
    """
    window = 1e3 * float(comparison.attrs["window"])
    figure = new_figure(DOUBLE_COLUMN * 0.8, 62)
    left, right = figure.subplots(1, 2)
    _identity(left, comparison, *_triple(comparison, "count_variance"), f"count variance in {window:g} ms", legend=True)
    _identity(right, comparison, *_triple(comparison, "count_fano"), f"Fano factor in {window:g} ms", legend=False)
    letter_panels([left, right])
    return figure


@styled
def plot_covariance(comparison: xr.Dataset) -> Figure:
    """Draw predicted and simulated covariance matrices (without diagonals) and their elements against each other."""
    name = "count_covariance" if "count_covariance_predicted" in comparison else "covariance"
    x, y = (comparison[f"{name}_{side}"].to_numpy().copy() for side in ("predicted", "simulated"))
    for matrix in (x, y):
        np.fill_diagonal(matrix, np.nan)
    pairs = np.triu_indices(len(x), 1)
    extent = np.nanquantile(np.abs(np.concatenate([x[pairs], y[pairs]])), 0.995) or 1.0
    figure = new_figure(DOUBLE_COLUMN, 54)
    panels = figure.subplots(1, 3)
    n = len(x)
    for axes, matrix, title in zip(panels, (x, y), ("Predicted", "Simulated"), strict=False):
        image = axes.imshow(matrix, cmap="RdBu_r", vmin=-extent, vmax=extent, interpolation="nearest", rasterized=True)
        axes.set_title(title)
        axes.set_xlabel("Neuron j")
        axes.set_ylabel("Neuron i")
        axes.set_xticks([0, n - 1], ["1", str(n)])
        axes.set_yticks([0, n - 1], ["1", str(n)])
        axes.spines[:].set_visible(True)
        axes.set_facecolor("white")
        _mark_populations(axes, comparison)
    unit = comparison[f"{name}_predicted"].attrs["units"]
    title = f"Covariance in {1e3 * comparison.attrs['window']:g} ms" if name.startswith("count") else "Covariance"
    label = title if unit == "1" else f"{title} ({unit})"
    bar = figure.colorbar(image, ax=panels[:2], shrink=0.75, aspect=18, pad=0.02, label=label)
    bar.outline.set_visible(False)  # type: ignore[operator]
    bar.locator = MaxNLocator(3)
    scatter = panels[2]
    low, high = _limits(x[pairs], y[pairs])
    scatter.plot([low, high], [low, high], color=INK, linewidth=0.8, zorder=1)
    scatter.plot(
        x[pairs], y[pairs], ".", color=PALETTE[0], markersize=2.5, markeredgewidth=0,
        alpha=float(np.clip(300 / len(pairs[0]), 0.08, 0.8)), rasterized=len(pairs[0]) > _MANY,
    )  # fmt: skip
    scatter.set(xlabel="Predicted, pairs i < j", ylabel="Simulated, pairs i < j", box_aspect=1)
    sparse_ticks(scatter)
    ceiling = float(comparison[f"{name}_r_ceiling"])
    note = f"r = {correlation(comparison[f'{name}_r'])}"
    if np.isfinite(ceiling):
        note += f"\n(exact: {ceiling:.2f})"
    scatter.text(0.97, 0.04, note, transform=scatter.transAxes, ha="right")
    letter_panels(panels)
    return figure


@styled
def plot_z(comparison: xr.Dataset) -> Figure:
    """Draw histograms of the differences in standard errors, with the standard normal distribution.

    Means over stimuli are drawn if single stimuli have few samples.
    """
    names = [name for name in ("rate", "count_variance") if f"{name}_z" in comparison]
    figure = new_figure(SINGLE_COLUMN * len(names), 52)
    panels = figure.subplots(1, len(names), squeeze=False, sharey=True)[0]
    grid = np.linspace(-4.5, 4.5, 181)
    for axes, name in zip(panels, names, strict=True):
        z = comparison[f"{prefix(comparison, name)}_z"].to_numpy().ravel()
        z = z[np.isfinite(z)]
        outside = np.abs(z) > 4.5
        axes.hist(np.clip(z, -4.49, 4.49), bins=np.linspace(-4.5, 4.5, 28), density=True, color=PALETTE[0], alpha=0.55)
        axes.plot(grid, stats.norm.pdf(grid), color=INK, linewidth=1)
        axes.set_xlabel(f"(simulated − predicted) / s.e., {name.replace('_', ' ')}")
        axes.set_xlim(-4.5, 4.5)
        axes.set_xticks([-4, -2, 0, 2, 4])
        axes.yaxis.set_major_locator(MaxNLocator(3))
        note = f"n = {len(z)}"
        if outside.any():
            note += f"\n{outside.sum()} beyond ±4.5"
        axes.text(0.98, 0.97, note, transform=axes.transAxes, ha="right", va="top")
    panels[0].set_ylabel("Density")
    panels[0].text(-0.9, 0.36, "normal", ha="right", color=INK)
    letter_panels(panels)
    return figure


@styled
def plot_accuracy(curve: xr.Dataset, *, moment_accuracy: float | None = None) -> Figure:
    """Draw accuracy against decision time, with the moment network's accuracy and chance.

    Parameters
    ----------
    curve : Dataset
        What `accuracy_against_time` returns.
    moment_accuracy : float, optional
        Accuracy of the moment network.
    """
    figure = new_figure(SINGLE_COLUMN, 55)
    axes = figure.subplots()
    time = 1e3 * curve["time"].to_numpy()
    accuracy, se = curve["accuracy"].to_numpy(), curve["accuracy_se"].to_numpy()
    axes.fill_between(time, accuracy - se, accuracy + se, color=PALETTE[0], alpha=0.25, linewidth=0)
    axes.plot(time, accuracy, color=PALETTE[0], marker="o" if len(time) < 15 else None, markersize=2.5)
    chance = 1 / curve.attrs["n_outputs"]
    lines = [(chance, "chance", ":", MUTED)]
    if moment_accuracy is not None:
        lines.append((moment_accuracy, f"moment network, {moment_accuracy:.3f}", "--", INK))
    for level, text, style, colour in lines:
        axes.axhline(level, linestyle=style, color=colour, linewidth=0.8)
        axes.annotate(
            text, (1, level), xycoords=("axes fraction", "data"), xytext=(0, 2), textcoords="offset points",
            ha="right", va="bottom", color=colour,
        )  # fmt: skip
    below = 0.5 * (accuracy[-1] + accuracy[len(accuracy) // 2])
    axes.annotate(
        "spikes ± s.e.", (time[-1], below), xytext=(0, -4), textcoords="offset points", ha="right", va="top",
        color=PALETTE[0],
    )  # fmt: skip
    axes.set(xlabel="Decision time (ms)", ylabel="Accuracy", xlim=(0, None), ylim=(0, 1.06))
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1.0])
    return figure


def _triple(comparison: xr.Dataset, name: str) -> tuple[Array, Array, Array]:
    """Return predicted, simulated and standard error (NaN if there is none), each ([stimulus,] neuron)."""
    key = prefix(comparison, name)
    x, y = (comparison[f"{key}_{side}"].transpose(..., "neuron").to_numpy() for side in ("predicted", "simulated"))
    if f"{key}_se" not in comparison:
        return x, y, np.full(x.shape, np.nan)
    return x, y, comparison[f"{key}_se"].transpose(..., "neuron").to_numpy()


def _populations(comparison: xr.Dataset) -> dict[str, npt.NDArray[np.bool_]]:
    if "population" not in comparison.coords:
        return {"": np.ones(comparison.sizes["neuron"], dtype=bool)}
    names = comparison["population"].to_numpy()
    return {name: names == name for name in dict.fromkeys(names.tolist())}


def _scatter(axes: Axes, comparison: xr.Dataset, x: Array, y: Array, se: Array) -> None:
    """Draw one point with its error for each neuron (and stimulus), in the colour of its population."""
    members = _populations(comparison)
    for name, colour in colours(list(members)).items():
        mine = members[name]
        a, b, error = (values[..., mine].ravel() for values in (x, y, se))
        dense = a.size > _MANY
        bars = axes.errorbar(
            a, b, yerr=np.nan_to_num(error), fmt="o", color=colour, label=name, markersize=2.4,
            markeredgewidth=0, elinewidth=0.6, alpha=0.5 if a.size > 100 else 0.85,
        )  # fmt: skip
        if dense:
            for artist in (bars[0], *bars[2]):
                artist.set_rasterized(True)


def _identity(
    axes: Axes, comparison: xr.Dataset, x: Array, y: Array, se: Array, quantity: str, *, legend: bool = True
) -> None:
    """Draw simulated against predicted values with the line on which they are equal."""
    low, high = _limits(x, y)
    axes.plot([low, high], [low, high], color=INK, linewidth=0.8, zorder=1)
    _scatter(axes, comparison, x, y, se)
    axes.set(xlim=(low, high), ylim=(low, high), box_aspect=1)
    axes.set_xlabel(f"Predicted {quantity}")
    axes.set_ylabel(f"Simulated {quantity}")
    sparse_ticks(axes)
    if legend and len(_populations(comparison)) > 1:
        axes.legend(loc="upper left", handletextpad=0.3)


def _limits(*values: Array) -> tuple[float, float]:
    """Return limits around all finite values, from zero if they are near it."""
    joined = np.concatenate([v[np.isfinite(v)] for v in values])
    if not joined.size:
        return 0.0, 1.0
    low, high = float(joined.min()), float(joined.max())
    margin = 0.06 * (high - low) or 0.5 * max(abs(high), 1.0)
    if 0 <= low < 0.4 * high:
        return -0.02 * high, high + margin
    return low - margin, high + margin


def _symmetric(axes: Axes, values: Array, se: Array) -> None:
    reach = np.abs(values) + np.nan_to_num(se)
    reach = reach[np.isfinite(reach)]
    limit = 1.1 * float(reach.max()) if reach.size and reach.max() > 0 else 1.0
    axes.set_ylim(-limit, limit)


def _mark_populations(axes: Axes, comparison: xr.Dataset) -> None:
    """Draw a line between the populations of a matrix."""
    names = comparison["population"].to_numpy() if "population" in comparison.coords else np.array([])
    for edge in np.flatnonzero(names[1:] != names[:-1]) + 0.5:
        axes.axhline(edge, color=MUTED, linewidth=0.5)
        axes.axvline(edge, color=MUTED, linewidth=0.5)
