"""Figures of models of tables: one function a figure, of models side by side and of the states of units through time.

Models come as `mnnbio.analyses.model_table` puts them, each in its colour, the first in the first colour.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from mnnbio.analyses.captions import number, percent
from mnnbio.analyses.figure_style import (
    DOUBLE_COLUMN,
    FAINT,
    INK,
    MUTED,
    PALETTE,
    SINGLE_COLUMN,
    Colors,
    Illustration,
    Panels,
    colours,
    figure_of,
    lettered,
    panels_in,
    sparse_ticks,
    styled,
)
from mnnbio.analyses.table_scores import (
    calibration_curve,
    class_scores,
    confusion_matrix,
    precision_recall_curve,
    roc_curve,
)

Array = npt.NDArray[np.float64]

_MANY_CLASSES = 12  # beyond which cells of a confusion matrix show colours only
_MOST_PANELS = 4  # beyond which curves of classes are pooled
_MANY = 400  # markers that become pixels inside vector files
_NORMAL_95 = 1.96


@styled
def plot_scores(table: xr.Dataset, *, colors: Colors = None, ax: Axes | None = None) -> Axes:
    """Draw accuracy or R² of each model with its 95 % interval.

    Parameters
    ----------
    table : Dataset
        As `model_table` returns it.
    colors : mapping or sequence of str, optional
        Colours of the models.
    ax : Axes, optional
        Where to draw.
    """
    names = _models(table)
    palette = colours(names, colors)
    score, label = ("accuracy", "Accuracy") if "accuracy" in table else ("r2", "R²")
    values, errors = table[score].to_numpy(), table[f"{score}_se"].to_numpy()
    (axes,) = panels_in(ax, 1, 1, (SINGLE_COLUMN, 16 + 6 * len(names)))
    for k, name in enumerate(names):
        half = _NORMAL_95 * errors[k] if np.isfinite(errors[k]) else 0.0
        axes.errorbar(
            values[k], k, xerr=half, fmt="o", color=palette[name], markersize=4, elinewidth=1, capsize=0,
        )  # fmt: skip
        axes.annotate(
            number(values[k]), (values[k], k), xytext=(0, 3), textcoords="offset points", ha="center", va="bottom",
            color=palette[name], fontsize=6.5,
        )  # fmt: skip
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.75)
    axes.set_xlabel(f"{label}, 95 % interval")
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.margins(x=0.12)
    axes.grid(axis="x", color=FAINT, linewidth=0.5)
    axes.set_axisbelow(True)
    return axes


@styled
@lettered
def plot_confusions(table: xr.Dataset, *, ax: Axes | Sequence[Axes] | None = None) -> Panels:
    """Draw the confusion matrix of each model: number and share of the stimuli of each class.

    Parameters
    ----------
    table : Dataset
        As `model_table` returns it, of classes.
    ax : Axes or sequence of Axes, optional
        One for each model.
    """
    _require(table, "probability", "classes")
    names, labels = _models(table), [str(label) for label in _labels(table)]
    n = len(labels)
    columns = min(len(names), 4)
    rows = -(-len(names) // columns)
    if ax is None:
        panels = panels_in(None, rows, columns, (min(DOUBLE_COLUMN, 12 + 50 * columns), 14 + 58 * rows))
        for spare in panels[len(names) :]:
            spare.remove()
        panels = Panels(panels[: len(names)])
    else:
        panels = panels_in(ax, 1, len(names), (DOUBLE_COLUMN, 60))
    for k, (axes, name) in enumerate(zip(panels, names, strict=True)):
        counts = confusion_matrix(table["true_class"].to_numpy(), table["decision"].isel(model=k).to_numpy(), labels)
        total = counts.to_numpy().sum(axis=1, keepdims=True)
        share = np.divide(counts.to_numpy(), total, out=np.full(counts.shape, np.nan), where=total > 0)
        image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
        axes.set_title(f"{name}\n{percent(float(class_scores(counts)['accuracy']), 3)} right", pad=3)
        places = np.arange(n) if n <= _MANY_CLASSES else np.unique(np.linspace(0, n - 1, 6).astype(int))
        shown = [labels[place] for place in places]
        long = max(map(len, shown)) > 3
        axes.set_xticks(places, shown, rotation=45 if long else 0, ha="right" if long else "center")
        axes.set_yticks(places, shown if k % columns == 0 or ax is not None else [""] * len(shown))
        axes.spines[:].set_visible(True)
        axes.set_xlabel("Decision")
        if k % columns == 0:
            axes.set_ylabel("True class")
        if n <= _MANY_CLASSES:
            _write_cells(axes, counts.to_numpy(), share, numbers=n <= 4)
    bar = panels.figure.colorbar(image, ax=list(panels), shrink=0.7, aspect=18, pad=0.02, label="Share of the class")
    bar.outline.set_visible(False)  # type: ignore[operator]
    return panels


@styled
@lettered
def plot_roc(table: xr.Dataset, *, colors: Colors = None, ax: Axes | Sequence[Axes] | None = None) -> Panels:
    """Draw receiver operating characteristics of all models, a panel for each class against all others.

    Of two classes, one panel is drawn, for the second; of more than four, one in which all classes are pooled.

    Parameters
    ----------
    table : Dataset
        As `model_table` returns it, of classes.
    colors : mapping or sequence of str, optional
        Colours of the models.
    ax : Axes or sequence of Axes, optional
        One for each panel.
    """

    def draw(axes: Axes, positive: npt.NDArray[np.int64], score: Array, colour: str, name: str) -> None:
        curve = roc_curve(positive, score).isel(output=1)
        text = f"{name}, {number(float(curve['area']))}"
        axes.plot(curve["false_positive_rate"], curve["true_positive_rate"], color=colour, label=text)

    panels = _curves(table, draw, colors, ax)
    for axes in panels:
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, linestyle=":", zorder=0)
        axes.set(xlabel="False positive rate", ylabel="True positive rate")
        axes.legend(loc="lower right", title="Area under the curve", title_fontsize=6.5, alignment="left")
    return panels


@styled
@lettered
def plot_precision_recall(
    table: xr.Dataset, *, colors: Colors = None, ax: Axes | Sequence[Axes] | None = None
) -> Panels:
    """Draw precision against recall of all models, a panel for each class, as `plot_roc` does.

    Parameters
    ----------
    table, colors, ax
        As for `plot_roc`.
    """

    def draw(axes: Axes, positive: npt.NDArray[np.int64], score: Array, colour: str, name: str) -> None:
        curve = precision_recall_curve(positive, score).isel(output=1)
        text = f"{name}, {number(float(curve['average_precision']))}"
        # Between two thresholds the precision is that of the further one.
        axes.step(curve["recall"], curve["precision"], where="pre", color=colour, label=text)
        axes.axhline(positive.mean(), color=MUTED, linewidth=0.8, linestyle=":", zorder=0)

    panels = _curves(table, draw, colors, ax)
    for axes in panels:
        axes.set(xlabel="Recall", ylabel="Precision")
        axes.legend(loc="lower left", title="Average precision", title_fontsize=6.5, alignment="left")
    return panels


@styled
@lettered
def plot_calibration(
    table: xr.Dataset, *, bins: int = 10, colors: Colors = None, ax: Sequence[Axes] | None = None
) -> Panels:
    """Draw how often models are right against the probability they give, and how often they give it.

    Of two classes the probability is that of the second, of more that of the decision. Bars are 95 % intervals.

    Parameters
    ----------
    table : Dataset
        As `model_table` returns it, of classes.
    bins : int
        Number of intervals of probability.
    colors : mapping or sequence of str, optional
        Colours of the models.
    ax : sequence of Axes, optional
        Two.
    """
    _require(table, "probability", "classes")
    names, labels = _models(table), _labels(table)
    palette = colours(names, colors)
    left, right = panels = panels_in(ax, 1, 2, (DOUBLE_COLUMN * 0.85, 66))
    left.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, linestyle=":", zorder=0)
    edges = np.linspace(0, 1, bins + 1)
    binary = len(labels) == 2
    for k, name in enumerate(names):
        curve = calibration_curve(
            table["true_class"].to_numpy(), table["probability"].isel(model=k).to_numpy(), labels, bins=bins
        )
        key, one = ("", curve.isel(output=1)) if binary else ("decision_", curve)
        n = one[f"{key}stimuli"].to_numpy()
        seen = n > 0
        x, y = one[f"{key}predicted"].to_numpy()[seen], one[f"{key}observed"].to_numpy()[seen]
        low, high = one[f"{key}observed_low"].to_numpy()[seen], one[f"{key}observed_high"].to_numpy()[seen]
        error = number(float(one[f"{key}calibration_error"]), 2)
        left.errorbar(
            x, y, yerr=np.clip([y - low, high - y], 0, None), fmt="o-", color=palette[name], markersize=2.5,
            markeredgewidth=0, elinewidth=0.6, label=f"{name}, {error}",
        )  # fmt: skip
        right.stairs(n, edges, color=palette[name], linewidth=1)
    what = f"Probability of {labels[1]}" if binary else "Probability of the decision"
    left.set(xlabel=what, ylabel=f"Share that is {labels[1]}" if binary else "Share that is right", box_aspect=1)
    left.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
    left.legend(loc="lower right", title="Calibration error", title_fontsize=6.5, alignment="left")
    right.set(xlabel=what, ylabel="Stimuli", xlim=(0, 1), box_aspect=1)
    sparse_ticks(left)
    sparse_ticks(right)
    return panels


@styled
@lettered
def plot_residuals(table: xr.Dataset, *, colors: Colors = None, ax: Sequence[Axes] | None = None) -> Panels:
    """Draw predicted against true values of each model, and below them the residuals.

    Parameters
    ----------
    table : Dataset
        As `model_table` returns it, of values.
    colors : mapping or sequence of str, optional
        Colours of the models.
    ax : sequence of Axes, optional
        Two for each model, first those of the predicted values.
    """
    _require(table, "predicted", "values")
    names = _models(table)
    palette = colours(names, colors)
    n = len(names)
    panels = panels_in(ax, 2, n, (min(DOUBLE_COLUMN, 12 + 48 * n), 84), sharex=True, sharey="row")
    true = table["true_value"].to_numpy()
    every = np.concatenate([true, table["predicted"].to_numpy().ravel()])
    margin = 0.05 * (np.ptp(every) or 1.0)
    low, high = float(every.min() - margin), float(every.max() + margin)
    reach = 1.08 * float(np.abs(table["predicted"].to_numpy() - true).max()) or 1.0
    for k, name in enumerate(names):
        guess = table["predicted"].isel(model=k).to_numpy()
        above, below = panels[k], panels[n + k]
        above.plot([low, high], [low, high], color=INK, linewidth=0.8, zorder=1)
        below.axhline(0, color=INK, linewidth=0.8, zorder=1)
        for axes, y in ((above, guess), (below, guess - true)):
            axes.plot(
                true, y, "o", color=palette[name], markersize=2.4, markeredgewidth=0,
                alpha=0.5 if len(true) > 100 else 0.85, rasterized=len(true) > _MANY,
            )  # fmt: skip
            sparse_ticks(axes, x=3, y=4)
        above.set_title(f"{name}\nR² = {number(float(table['r2'].isel(model=k)))}", pad=3)
        above.set(xlim=(low, high), ylim=(low, high))
        below.set(xlabel="True value", ylim=(-reach, reach))
    panels[0].set_ylabel("Predicted value")
    panels[n].set_ylabel("Predicted − true")
    return panels


@styled
@lettered
def plot_unit_states(
    states: xr.Dataset, *, stimuli: int = 3, trial: int = 0, ax: Sequence[Axes] | None = None
) -> Panels:
    """Draw the state of every unit through time, and below it its spikes or graded outputs, for the first stimuli.

    Parameters
    ----------
    states : Dataset
        As `unit_states` returns it: ``v`` and ``output`` over (stimulus, time, neuron).
    stimuli : int
        Largest number of stimuli drawn, a column each.
    trial : int
        Position of the trial, where there are several.
    ax : sequence of Axes, optional
        Two for each stimulus drawn, first those of the states.
    """
    if missing := [name for name in ("v", "output") if name not in states]:
        raise ValueError(f"expected states of units, as `unit_states` returns them, there is no `{missing[0]}`")
    if "trial" in states.dims:
        states = states.isel(trial=trial)
    shown = min(stimuli, states.sizes["stimulus"])
    if shown < 1:
        raise ValueError(f"`stimuli` must be ≥ 1 and there must be stimuli, got {stimuli}")
    dt = 1e3 * states.attrs["dt"]
    n = states.sizes["neuron"]
    time = 1e3 * states["time"].to_numpy()
    width = min(DOUBLE_COLUMN, 26 + 56 * shown)
    panels = panels_in(ax, 2, shown, (width, 96), sharex=True, sharey=True)
    pictures = {}
    for row, (name, map_name) in enumerate((("v", "viridis"), ("output", "Greys"))):
        values = states[name].transpose("stimulus", "neuron", "time").to_numpy()[:shown]
        low, high = (float(np.quantile(values, q)) for q in (0.005, 0.995)) if name == "v" else (0.0, values.max())
        for k in range(shown):
            axes = panels[row * shown + k]
            pictures[name] = axes.imshow(
                values[k], aspect="auto", cmap=map_name, vmin=low, vmax=high or 1.0, interpolation="nearest",
                extent=(time[0] - dt, time[-1], n - 0.5, -0.5), rasterized=True,
            )  # fmt: skip
            _mark_populations(axes, states)
            axes.spines[:].set_visible(True)
            if row == 0 and "target" in states.coords:
                axes.set_title(f"stimulus {k + 1}: {_shown(states['target'].to_numpy()[k])}", pad=3)
            if row == 1:
                axes.set_xlabel("Time (ms)")
                axes.xaxis.set_major_locator(MaxNLocator(4))
            if k == 0:
                axes.set_ylabel("Unit")
                axes.set_yticks([0, n - 1], ["1", str(n)])
    graded = float(states["output"].max()) not in (0.0, 1.0)
    titles = {"v": f"State ({states['v'].attrs.get('units', '1')})", "output": "Output" if graded else "Spike"}
    for row, name in enumerate(("v", "output")):
        part = list(panels[row * shown : (row + 1) * shown])
        extend: Any = "both" if name == "v" else "neither"
        bar = panels.figure.colorbar(pictures[name], ax=part, aspect=14, pad=0.02, label=titles[name], extend=extend)
        bar.locator = MaxNLocator(3) if name == "v" or graded else MaxNLocator(1, integer=True)
    return panels


def table_illustrations(tree: xr.DataTree) -> Iterator[Illustration]:
    """Yield the figures of models side by side, and of the states of units, each with its caption.

    Parameters
    ----------
    tree : DataTree
        With the groups ``models``, as `model_table` returns it, and ``states``, as `unit_states` does, or one of them.
    """
    if "models" in tree.children:
        yield from _model_illustrations(tree["models"].to_dataset())
    if "states" in tree.children:
        text = (
            "Top: state of every unit through time; bottom: its spikes, or the sizes of its outputs. One column a test "
        )
        text += "sample. Lines divide layers."
        figure = plot_unit_states(tree["states"].to_dataset()).figure
        yield Illustration("unit_states", "Units through time", figure, text)


def _model_illustrations(table: xr.Dataset) -> Iterator[Illustration]:
    n = table.sizes["stimulus"]
    text = f"Scores of all models on {n} test samples; bars: 95 % intervals."
    if "same_spikes" in table.attrs:
        text += f" {percent(table.attrs['same_spikes'], 4)} of the samples have the same spikes in PyTorch and Brian2."
    yield Illustration("models", "Models side by side", figure_of(plot_scores(table)), text)
    if "predicted" in table:
        text = "Predicted against true values (top; line: equality) and residuals (bottom)."
        yield Illustration("residuals", "Residuals", plot_residuals(table).figure, text)
        return
    shares = ", ".join(
        f"{label}: {int((table['true_class'] == k).sum())}" for k, label in enumerate(_labels(table)[:_MANY_CLASSES])
    )
    text = (
        f"Samples of each class (rows) by decision (columns): share of the class, and number. Test samples: {shares}."
    )
    yield Illustration("confusions", "Confusion matrices", plot_confusions(table).figure, text)
    text = "True against false positive rate, each class against all others; dotted: chance."
    yield Illustration("roc", "Receiver operating characteristics", plot_roc(table).figure, text)
    text = "Precision against recall, each class against all others; dotted: share of the class."
    yield Illustration("precision_recall", "Precision and recall", plot_precision_recall(table).figure, text)
    text = "a, how often models are right against the probability that they give, with 95 % intervals; dotted: perfect "
    text += "calibration. b, how often they give it."
    yield Illustration("calibration", "Calibration", plot_calibration(table).figure, text)


Draw = Callable[[Axes, npt.NDArray[np.int64], Array, str, str], None]


def _curves(table: xr.Dataset, draw: Draw, colors: Colors, ax: Axes | Sequence[Axes] | None) -> Panels:
    """Draw a curve for each model in a panel for each class, or in one for all."""
    _require(table, "probability", "classes")
    names, labels = _models(table), _labels(table)
    palette = colours(names, colors)
    truth = table["true_class"].to_numpy()
    probability = table["probability"].transpose("model", "stimulus", "output").to_numpy()
    pooled = len(labels) > _MOST_PANELS
    classes = [1] if len(labels) == 2 else [] if pooled else list(range(len(labels)))
    n = len(classes) or 1
    panels = panels_in(ax, 1, n, (min(DOUBLE_COLUMN, SINGLE_COLUMN * max(n, 1) * 0.85), 66 if n < 3 else 60))
    for axes in panels:
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), box_aspect=1)
        sparse_ticks(axes)
    for k, name in enumerate(names):
        if pooled:
            positive = (truth[:, None] == np.arange(len(labels))).astype(np.int64).ravel()
            draw(panels[0], positive, probability[k].ravel(), palette[name], name)
        for axes, one in zip(panels, classes, strict=False):
            draw(axes, (truth == one).astype(np.int64), probability[k, :, one], palette[name], name)
    for axes, one in zip(panels, classes, strict=False):
        axes.set_title(f"{labels[one]}")
    if pooled:
        panels[0].set_title("all classes, pooled")
    return panels


def _write_cells(axes: Axes, counts: npt.NDArray[np.int64], share: Array, *, numbers: bool) -> None:
    """Write percentages, and where there is space the numbers of stimuli, into cells that are not empty."""
    for (row, column), value in np.ndenumerate(share):
        if np.isfinite(value) and counts[row, column]:
            text = f"{100 * value:.0f}%\n{counts[row, column]}" if numbers else f"{100 * value:.0f}"
            colour = "white" if value > 0.6 else INK
            axes.text(column, row, text, ha="center", va="center", fontsize=6, color=colour, linespacing=1.3)


def _mark_populations(axes: Axes, states: xr.Dataset) -> None:
    """Draw a line between the populations."""
    owner = states["population"].to_numpy() if "population" in states.coords else np.array([])
    for edge in np.flatnonzero(owner[1:] != owner[:-1]) + 0.5:
        axes.axhline(edge, color=PALETTE[1], linewidth=0.6)


def _models(table: xr.Dataset) -> list[str]:
    if not isinstance(table, xr.Dataset) or "model" not in table.dims:
        raise ValueError("expected models side by side, as `model_table` returns them")
    return [str(name) for name in table["model"].to_numpy()]


def _labels(table: xr.Dataset) -> list[Any]:
    return list(table["output"].to_numpy()) if "output" in table.coords else list(range(table.sizes["output"]))


def _require(table: xr.Dataset, name: str, what: str) -> None:
    _models(table)
    if name not in table:
        raise ValueError(f"the figure is of models that predict {what}, there is no variable `{name}`")


def _shown(value: Any) -> str:
    return number(float(value)) if isinstance(value, float | np.floating) else str(value)
