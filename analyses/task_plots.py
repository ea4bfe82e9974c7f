"""Figures of networks that were trained on a task: errors and outputs in time, example trials, modes by condition."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

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
from mnnbio.results import spike_trains

# Steps of a training over which a curve of losses is averaged.
SMOOTHED = 50
COLOURS = (*PALETTE, "#8C564B", "#7F7F7F", "#BCBD22", "#000000")  # ten classes


@styled
@lettered
def plot_fitting(training: xr.Dataset, *, ax: Axes | Sequence[Axes] | None = None) -> Panels:
    """Draw the loss of every step, their running mean, and what evaluations measured.

    Parameters
    ----------
    training : Dataset
        `loss` over `step`, and measures over `evaluated`.
    ax : Axes or sequence of Axes, optional
        One for the loss and for each measure.
    """
    names = [str(name) for name, values in training.data_vars.items() if values.dims == ("evaluated",)]
    panels = panels_in(ax, 1, 1 + len(names), (DOUBLE_COLUMN if names else SINGLE_COLUMN, 48))
    step, loss = training["step"].to_numpy(), training["loss"].to_numpy()
    panels[0].plot(step, loss, color=FAINT, linewidth=0.6)
    width = max(1, min(SMOOTHED, len(loss) // 5))
    running = np.convolve(loss, np.ones(width) / width, "valid")
    panels[0].plot(step[width - 1 :], running, color=PALETTE[0], label=f"mean of {width} steps")
    panels[0].set_ylabel("Loss")
    panels[0].set_yscale("log")
    plain_log(panels[0].yaxis)
    panels[0].legend()
    words = {"mse": "Mean squared error", "right": "Right decisions", "accuracy": "Accuracy"}
    words["right_switch"] = "Right, context changed"
    for axes, name in zip(panels[1:], names, strict=True):
        axes.plot(training["evaluated"], training[name], color=PALETTE[0], marker=".")
        axes.set_ylabel(words.get(name, name))
    for axes in panels:
        axes.set_xlabel("Step")
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    return panels


@styled
def plot_score_in_time(test: xr.Dataset, switch: xr.Dataset | None = None, *, ax: Axes | None = None) -> Axes:
    """Draw error or accuracy in time, with bands of one standard error.

    Parameters
    ----------
    test : Dataset
        `score` and `score_se` over `time`.
    switch : Dataset, optional
        The same of trials in which the context changes.
    ax : Axes, optional
        Where to draw.
    """
    (axes,) = panels_in(ax, 1, 1, (SINGLE_COLUMN, 52))
    shown = {"context kept": test} if switch is None else {"context kept": test, "context changed": switch}
    for colour, (label, data) in zip(PALETTE, shown.items(), strict=False):
        time, mean, error = 1e3 * data["time"], data["score"], data["score_se"]
        axes.fill_between(time, mean - error, mean + error, color=colour, alpha=0.25, linewidth=0)
        axes.plot(time, mean, color=colour, label=label)
    axes.set_xlabel("Time (ms)")
    axes.set_ylabel("Accuracy" if test.attrs["measure"] == "accuracy" else "Mean squared error")
    axes.set_ylim(bottom=0, top=1 if test.attrs["measure"] == "accuracy" else None)
    if switch is not None:
        axes.legend()
    sparse_ticks(axes, x=5)
    return axes


@styled
def plot_examples(
    examples: xr.Dataset,
    spikes: xr.Dataset | None = None,
    *,
    v_th: float | None = None,
    ax: Sequence[Axes] | None = None,
) -> Panels:
    """Draw trials, a column each: what was shown, spikes, potentials, activity of the modes and outputs.

    Parameters
    ----------
    examples : Dataset
        `output`, `voltage`, `mode_activity`, and `input` or `image`, as a run stores them.
    spikes : Dataset, optional
        Spike trains of the same trials.
    v_th : float, optional
        Threshold, mV, marked among the potentials.
    ax : sequence of Axes, optional
        One for each row of a trial, row after row.
    """
    number = min(examples.sizes["trial"], 4)
    rows = ["given"] if {"image", "input"} & set(examples) else []
    rows += ["spikes"] if spikes is not None else []
    rows += ["voltage", *(["modes"] if examples.sizes["mode"] else []), "output"]
    heights = {"given": 1.0, "spikes": 1.6, "voltage": 1.0, "modes": 1.0, "output": 1.0}
    panels = panels_in(
        ax, len(rows), number, (DOUBLE_COLUMN, 30 * len(rows)), height_ratios=[heights[row] for row in rows],
        sharey="row",
    )  # fmt: skip
    grid = np.array(panels, dtype=object).reshape(len(rows), number)
    time = 1e3 * examples["time"].to_numpy()
    for k in range(number):
        one = examples.isel(trial=k)
        for axes, row in zip(grid[:, k], rows, strict=True):
            _draw_row(axes, row, one, spikes, k, time, v_th)
            if "image" not in examples or row != "given":
                axes.set_xlim(0, time[-1])
                sparse_ticks(axes, x=3, y=3)
        grid[0, k].set_title(str(one["condition"].item()))
        grid[-1, k].set_xlabel("Time (ms)")
    labels = {"given": "Input", "spikes": "Neuron", "voltage": "Potential (mV)", "modes": "Modes", "output": "Output"}
    for axes, row in zip(grid[:, 0], rows, strict=True):
        axes.set_ylabel(labels[row])
    if "input" in examples:
        _legend_above(panels)
    return panels


def _legend_above(panels: Panels) -> None:
    """Explain the curves of the first panel above all panels, where nothing is covered."""
    handles, labels = panels[0].get_legend_handles_labels()
    columns = len(labels) if len(panels) > 1 else 2
    panels.figure.legend(handles, labels, loc="outside upper center", ncols=columns, columnspacing=1.2)


def _draw_row(
    axes: Axes,
    row: str,
    one: xr.Dataset,
    spikes: xr.Dataset | None,
    trial: int,
    time: npt.NDArray[np.float64],
    v_th: float | None,
) -> None:
    """Draw one kind of data of a trial."""
    if row == "given" and "image" in one:
        axes.imshow(one["image"], cmap="gray_r", vmin=0, vmax=1)
        axes.set_xticks([])
        axes.set_yticks([])
    elif row == "given":
        names = ("stimulus 1", "stimulus 2", "context 1", "context 2")
        for k, values in enumerate(one["input"].transpose("input_index", "time").to_numpy()):
            axes.plot(time, values, color=PALETTE[k % 2], linewidth=0.3 if k < 2 else 1.2, label=names[k], alpha=0.8)
    elif row == "spikes":
        assert spikes is not None
        trains = list(spike_trains(spikes, trial=spikes["trial"].to_numpy()[trial]))
        axes.eventplot([1e3 * train for train in trains], colors=INK, linewidths=0.4, linelengths=0.9)
        axes.set_ylim(-1, len(trains))
    elif row == "voltage":
        for k, values in enumerate(one["voltage"].transpose("traced", "time").to_numpy()):
            axes.plot(time, values, color=PALETTE[k], linewidth=0.6)
        if v_th is not None:
            axes.axhline(v_th, color=MUTED, linewidth=0.6, linestyle=":")
    else:
        name, dim = ("mode_activity", "mode") if row == "modes" else ("output", "output_index")
        for k, values in enumerate(one[name].transpose(dim, "time").to_numpy()[: len(COLOURS)]):
            axes.plot(time, values, color=COLOURS[k], linewidth=0.8)
        if row == "output" and "target" in one:
            axes.plot(time, one["target"], color=INK, linewidth=0.8, linestyle="--")


@styled
@lettered
def plot_conditions(
    conditions: xr.Dataset, variable: str = "output", *, most: int = 6, ax: Axes | Sequence[Axes] | None = None
) -> Panels:
    """Draw a variable in time by condition, mean and standard deviation over trials, a panel for each of its entries.

    Parameters
    ----------
    conditions : Dataset
        `output` and `output_std`, or `mode_activity` and `mode_activity_std`, over condition and time.
    variable : str
    most : int
        Entries drawn, at most.
    ax : Axes or sequence of Axes, optional
        One for each entry, in rows of three.
    """
    (dim,) = (str(dim) for dim in conditions[variable].dims if dim not in ("condition", "time"))
    number = min(conditions.sizes[dim], most)
    size = SINGLE_COLUMN if number == 1 else DOUBLE_COLUMN
    columns = min(number, 3)
    rows = -(-number // columns)
    panels = panels_in(ax, rows, columns, (size, 52 * rows))
    time = 1e3 * conditions["time"]
    for k, axes in enumerate(panels[:number]):
        for colour, name in zip(COLOURS, conditions["condition"].to_numpy(), strict=False):
            mean = conditions[variable].sel(condition=name).isel({dim: k})
            spread = conditions[f"{variable}_std"].sel(condition=name).isel({dim: k})
            axes.fill_between(time, mean - spread, mean + spread, color=colour, alpha=0.15, linewidth=0)
            axes.plot(time, mean, color=colour, label=str(name))
        axes.set_xlabel("Time (ms)")
        word = "Output" if variable == "output" else f"Mode {k + 1}"
        axes.set_ylabel(word if number > 1 or variable != "output" else "Output")
        sparse_ticks(axes, x=4)
    for axes in panels[number:]:
        axes.set_visible(False)
    _legend_above(panels)
    return panels


@styled
@lettered
def plot_trajectories(conditions: xr.Dataset, *, ax: Axes | Sequence[Axes] | None = None) -> Panels:
    """Draw mean trajectories of the modes by condition, each pair of the first three modes a panel; dots: the end.

    Parameters
    ----------
    conditions : Dataset
        `mode_activity` over condition, mode and time.
    ax : Axes or sequence of Axes, optional
        One for each pair of modes.
    """
    number = min(conditions.sizes["mode"], 3)
    pairs = [(i, j) for i in range(number) for j in range(i + 1, number)]
    panels = panels_in(ax, 1, len(pairs), (DOUBLE_COLUMN if len(pairs) > 1 else SINGLE_COLUMN, 58))
    for axes, (i, j) in zip(panels, pairs, strict=True):
        for colour, name in zip(COLOURS, conditions["condition"].to_numpy(), strict=False):
            x, y = (conditions["mode_activity"].sel(condition=name).isel(mode=k).to_numpy() for k in (i, j))
            axes.plot(x, y, color=colour, linewidth=0.8, label=str(name))
            axes.plot(x[-1], y[-1], "o", color=colour, markersize=3)
        axes.set_xlabel(f"Mode {i + 1}")
        axes.set_ylabel(f"Mode {j + 1}")
        sparse_ticks(axes)
    _legend_above(panels)
    return panels


@styled
def plot_class_confusion(test: xr.Dataset, *, ax: Axes | None = None) -> Axes:
    """Draw how often images of each class (rows) are decided to be of each class (columns), percent of a row.

    Parameters
    ----------
    test : Dataset
        `target` and `decision` over `trial`.
    ax : Axes, optional
        Where to draw.
    """
    (axes,) = panels_in(ax, 1, 1, (SINGLE_COLUMN, SINGLE_COLUMN * 0.85))
    target, decision = (test[name].to_numpy().astype(np.int64) for name in ("target", "decision"))
    classes = int(max(target.max(), decision.max())) + 1
    counts = np.zeros((classes, classes))
    np.add.at(counts, (target, decision), 1)
    share = 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=100)
    for (row, column), value in np.ndenumerate(share):
        if value >= 0.5:
            axes.text(
                column, row, f"{value:.0f}", ha="center", va="center", fontsize=5, color="white" if value > 60 else INK
            )
    axes.set_xticks(range(classes))
    axes.set_yticks(range(classes))
    axes.set_xlabel("Decision")
    axes.set_ylabel("Class")
    return axes
