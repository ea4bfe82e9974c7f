"""Figures of results: one function a figure, xarray in, Matplotlib axes out.

Every function draws in axes that are given as `ax`, or in a figure of its own. Figures of one panel return the `Axes`,
figures of several the `Panels`, a tuple of axes that has the `figure` and shows it in a notebook.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from scipy import stats

from mnnbio.analyses.captions import correlation, percent, prefix
from mnnbio.analyses.figure_style import (
    DOUBLE_COLUMN,
    INK,
    MUTED,
    PALETTE,
    SINGLE_COLUMN,
    Colors,
    Panels,
    chosen,
    lettered,
    palette_of,
    panels_in,
    plain_log,
    sparse_ticks,
    styled,
)

Array = npt.NDArray[np.float64]
# More markers than this become pixels inside vector files.
_MANY = 400
_MANY_CLASSES = 12  # beyond which a confusion matrix shows colours only


@styled
@lettered
def plot_training(
    training: xr.Dataset, *, colors: Sequence[str] = PALETTE, ax: Axes | Sequence[Axes] | None = None
) -> Panels:
    """Draw loss and score against epoch, a panel each.

    Parameters
    ----------
    training : Dataset
        Variables over ``epoch`` whose names end in ``loss``, ``accuracy`` or ``r2``, such as ``validation_loss``; an
        attribute ``best_epoch`` is marked.
    colors : sequence of str
        Colours of the curves of each panel.
    ax : Axes or sequence of Axes, optional
        One for each kind of curve.
    """
    labels = {"loss": "Loss", "accuracy": "Accuracy", "r2": "R²"}
    curves = {kind: [str(n) for n in training.data_vars if str(n).endswith(kind)] for kind in labels}
    curves = {kind: names for kind, names in curves.items() if names}
    if not curves:
        raise ValueError(f"no loss or score among the training variables {', '.join(map(str, training.data_vars))}")
    panels = panels_in(ax, 1, len(curves), (SINGLE_COLUMN if len(curves) == 1 else DOUBLE_COLUMN * 0.75, 50))
    for axes, (kind, names) in zip(panels, curves.items(), strict=True):
        if "best_epoch" in training.attrs:
            axes.axvline(training.attrs["best_epoch"], color=MUTED, linewidth=0.8, linestyle=":")
        for name, colour in zip(names, colors, strict=False):
            stem = name.removesuffix(kind).strip("_")
            epoch, values = training[name]["epoch"].to_numpy(), training[name].to_numpy()
            text = "training" if stem in ("", "train") else stem.replace("_", " ")
            axes.plot(epoch, values, color=colour, label=text, marker="." if len(values) < 3 else None)
        axes.set_xlabel("Epoch")
        axes.set_ylabel(labels[kind])
        sparse_ticks(axes, x=5, y=6)
        if kind == "loss" and all((training[name] > 0).all() for name in names):
            axes.set_yscale("log")
            plain_log(axes.yaxis)
        axes.legend()
    return panels


@styled
@lettered
def plot_rates(
    comparison: xr.Dataset,
    *,
    populations: Sequence[str] | str | None = None,
    colors: Colors = None,
    ax: Sequence[Axes] | None = None,
) -> Panels:
    """Draw simulated against predicted rates, and their difference, with standard errors.

    Parameters
    ----------
    comparison : Dataset
        A comparison, as `compare` returns it.
    populations : sequence of str, optional
        Populations drawn; default: all.
    colors : mapping or sequence of str, optional
        Colours of populations, by name or in the order of the circuit.
    ax : sequence of Axes, optional
        Two.
    """
    _require(comparison, "rate")
    selected = _select(comparison, populations)
    palette = _palette(comparison, selected, colors)
    x, y, se = _triple(selected, "rate")
    left, right = panels = panels_in(ax, 1, 2, (DOUBLE_COLUMN * 0.8, 62))
    _identity(left, selected, x, y, se, "rate (Hz)", palette)
    r = _correlation(comparison, "rate", selected)
    note = f"r = {correlation(r)}"
    left.text(0.97, 0.04, note, transform=left.transAxes, ha="right")
    right.axhline(0, color=INK, linewidth=0.8)
    _scatter(right, selected, x, y - x, se, palette)
    right.set_xlabel("Predicted rate (Hz)")
    right.set_ylabel("Simulated − predicted (Hz)")
    sparse_ticks(right)
    _symmetric(right, y - x, se)
    return panels


@styled
@lettered
def plot_count_statistics(
    comparison: xr.Dataset,
    *,
    populations: Sequence[str] | str | None = None,
    colors: Colors = None,
    ax: Sequence[Axes] | None = None,
) -> Panels:
    """Draw simulated against predicted count variances and Fano factors.

    If single stimuli have few samples both are means over stimuli; the Fano factors are then ratios of mean variance
    and mean count, and carry no error bars.

    Parameters
    ----------
    comparison : Dataset
        A comparison, as `compare` returns it.
    populations : sequence of str, optional
        Populations drawn; default: all.
    colors : mapping or sequence of str, optional
        Colours of populations, by name or in the order of the circuit.
    ax : sequence of Axes, optional
        Two.
    """
    _require(comparison, "count_variance")
    window = 1e3 * float(comparison.attrs["window"])
    selected = _select(comparison, populations)
    palette = _palette(comparison, selected, colors)
    left, right = panels = panels_in(ax, 1, 2, (DOUBLE_COLUMN * 0.8, 62))
    text = f"count variance in {window:g} ms"
    _identity(left, selected, *_triple(selected, "count_variance"), text, palette, legend=True)
    text = f"Fano factor in {window:g} ms"
    _identity(right, selected, *_triple(selected, "count_fano"), text, palette, legend=False)
    return panels


@styled
@lettered
def plot_covariance(
    comparison: xr.Dataset, *, populations: Sequence[str] | str | None = None, ax: Sequence[Axes] | None = None
) -> Panels:
    """Draw predicted and simulated covariance matrices (without diagonals) and their elements against each other.

    Parameters
    ----------
    comparison : Dataset
        A comparison, as `compare` returns it, with covariances.
    populations : sequence of str, optional
        Populations drawn; default: all.
    ax : sequence of Axes, optional
        Three.
    """
    if not {"count_covariance_predicted", "covariance_predicted"} & set(comparison.variables):
        raise ValueError("the comparison has no covariances: predict and simulate with covariances")
    whole, comparison = comparison, _select(comparison, populations)
    name = "count_covariance" if "count_covariance_predicted" in comparison else "covariance"
    x, y = (comparison[f"{name}_{side}"].to_numpy().copy() for side in ("predicted", "simulated"))
    for matrix in (x, y):
        np.fill_diagonal(matrix, np.nan)
    pairs = np.triu_indices(len(x), 1)
    extent = np.nanquantile(np.abs(np.concatenate([x[pairs], y[pairs]])), 0.995) or 1.0
    panels = panels_in(ax, 1, 3, (DOUBLE_COLUMN, 54))
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
    bar = panels.figure.colorbar(image, ax=list(panels[:2]), shrink=0.75, aspect=18, pad=0.02, label=label)
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
    known = comparison is whole and f"{name}_r" in whole
    ceiling = float(comparison[f"{name}_r_ceiling"]) if known else float("nan")
    note = f"r = {correlation(whole[f'{name}_r'] if known else _pearson(x[pairs], y[pairs]))}"
    if np.isfinite(ceiling):
        note += f"\n(exact: {ceiling:.2f})"
    scatter.text(0.97, 0.04, note, transform=scatter.transAxes, ha="right")
    return panels


@styled
@lettered
def plot_z(
    comparison: xr.Dataset,
    *,
    populations: Sequence[str] | str | None = None,
    color: str = PALETTE[0],
    ax: Axes | Sequence[Axes] | None = None,
) -> Panels:
    """Draw histograms of the differences in standard errors, with the standard normal distribution.

    Means over stimuli are drawn if single stimuli have few samples.

    Parameters
    ----------
    comparison : Dataset
        A comparison, as `compare` returns it.
    populations : sequence of str, optional
        Populations drawn; default: all.
    color : str
        Colour of the histograms.
    ax : Axes or sequence of Axes, optional
        One for rates and, where they are compared, one for count variances.
    """
    _require(comparison, "rate")
    comparison = _select(comparison, populations)
    names = [name for name in ("rate", "count_variance") if f"{name}_z" in comparison]
    panels = panels_in(ax, 1, len(names), (SINGLE_COLUMN * len(names), 52), sharey=True)
    grid = np.linspace(-4.5, 4.5, 181)
    for axes, name in zip(panels, names, strict=True):
        z = comparison[f"{prefix(comparison, name)}_z"].to_numpy().ravel()
        z = z[np.isfinite(z)]
        outside = np.abs(z) > 4.5
        axes.hist(
            np.clip(z, -4.49, 4.49), bins=np.linspace(-4.5, 4.5, 28).tolist(), density=True, color=color, alpha=0.55
        )
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
    return panels


@styled
def plot_accuracy(
    curve: xr.Dataset, *, moment_accuracy: float | None = None, color: str = PALETTE[0], ax: Axes | None = None
) -> Axes:
    """Draw accuracy against decision time, with the moment network's accuracy and chance.

    Parameters
    ----------
    curve : Dataset
        Accuracies, as `accuracy_against_time` returns them.
    moment_accuracy : float, optional
        Accuracy of the moment network.
    color : str
        Colour of the spikes' accuracy.
    ax : Axes, optional
        Where to draw.
    """
    (axes,) = panels_in(ax, 1, 1, (SINGLE_COLUMN, 55))
    time = 1e3 * curve["time"].to_numpy()
    accuracy, se = curve["accuracy"].to_numpy(), curve["accuracy_se"].to_numpy()
    axes.fill_between(time, accuracy - se, accuracy + se, color=color, alpha=0.25, linewidth=0)
    axes.plot(time, accuracy, color=color, marker="o" if len(time) < 15 else None, markersize=2.5)
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
    late = slice(len(time) // 2, None)
    below = float((accuracy - np.where(np.isfinite(se), se, 0.0))[late].min())
    axes.annotate(
        "spikes ± s.e.", (time[-1], below), xytext=(0, -4), textcoords="offset points", ha="right", va="top",
        color=color,
    )  # fmt: skip
    axes.set(xlabel="Decision time (ms)", ylabel="Accuracy", xlim=(0, None), ylim=(0, 1.06))
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1.0])
    return axes


@styled
@lettered
def plot_confusion(
    comparison: xr.Dataset, *, names: Sequence[str] | None = None, ax: Sequence[Axes] | None = None
) -> Panels:
    """Draw how often stimuli of each class are decided to be of each, by the moment network and by its spikes.

    Parameters
    ----------
    comparison : Dataset
        Decisions with labels, as `classification` or `compare` returns them.
    names : sequence of str, optional
        Names of the classes, in the order of the outputs; default: their numbers.
    ax : sequence of Axes, optional
        Two.
    """
    needed = ("true_class", "moment_decision", "spiking_decision")
    if missing := [name for name in needed if name not in comparison]:
        raise ValueError(f"a confusion matrix needs decisions and labels, there is no `{missing[0]}`: give `labels`")
    truth = comparison["true_class"].to_numpy()
    moment = comparison["moment_decision"].to_numpy()[:, None]
    spiking = comparison["spiking_decision"].transpose("stimulus", "trial").to_numpy()
    n = len(names) if names is not None else 1 + int(max(truth.max(), moment.max(), spiking.max()))
    if n <= max(truth.max(), moment.max(), spiking.max()):
        raise ValueError(f"`names` must name every output, got {n} names")
    labels = [str(name) for name in (names if names is not None else range(n))]
    panels = panels_in(ax, 1, 2, (DOUBLE_COLUMN * 0.85, 74))
    for axes, decision, title in zip(panels, (moment, spiking), ("Moment network", "Spikes"), strict=True):
        count = np.zeros((n, n))
        np.add.at(count, (np.repeat(truth, decision.shape[1]), decision.ravel()), 1)
        total = count.sum(axis=1, keepdims=True)
        share = np.divide(count, total, out=np.full(count.shape, np.nan), where=total > 0)
        image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
        axes.set_title(f"{title}: {percent(np.trace(count) / count.sum(), 3)} right")
        axes.set_xlabel("Decision")
        places = np.arange(n) if n <= _MANY_CLASSES else np.unique(np.linspace(0, n - 1, 6).astype(int))
        shown = [labels[k] for k in places]
        long = max(map(len, shown)) > 3
        axes.set_xticks(places, shown, rotation=45 if long else 0, ha="right" if long else "center")
        axes.set_yticks(places, shown)
        axes.spines[:].set_visible(True)
        if n <= _MANY_CLASSES:
            _write_shares(axes, share)
    panels[0].set_ylabel("True class")
    bar = panels.figure.colorbar(image, ax=list(panels), shrink=0.75, aspect=18, pad=0.02, label="Share of the class")
    bar.outline.set_visible(False)  # type: ignore[operator]
    return panels


def _write_shares(axes: Axes, share: Array) -> None:
    """Write percentages into the cells of a matrix, leaving zeros out."""
    for (row, column), value in np.ndenumerate(share):
        if np.isfinite(value) and value >= 0.005:
            colour = "white" if value > 0.6 else INK
            axes.text(column, row, f"{100 * value:.0f}", ha="center", va="center", fontsize=6, color=colour)


@styled
def plot_inputs(
    inputs: xr.DataArray, *, titles: Sequence[object] | None = None, number: int = 8, ax: Sequence[Axes] | None = None
) -> Panels:
    """Draw the first stimuli: images where they have rows and columns, else bars of their features.

    Parameters
    ----------
    inputs : DataArray
        Over (stimulus, row, column) or (stimulus, feature), whatever the first dimension is called; names of features
        may stand in the coordinate `feature`.
    titles : sequence, optional
        What to write above each, such as its true class; default: the stimulus.
    number : int
        Largest number of stimuli drawn.
    ax : sequence of Axes, optional
        One for each stimulus drawn.
    """
    if not isinstance(inputs, xr.DataArray):
        raise TypeError(f"expected inputs, a DataArray, got {type(inputs).__name__}")
    image = {"row", "column"} <= set(inputs.dims)
    of_one = ("row", "column") if image else ("feature",)
    others = [dim for dim in inputs.dims if dim not in of_one]
    if len(others) != 1 or not set(of_one) <= set(inputs.dims):
        raise ValueError(
            f"inputs must be over stimulus and row, column or feature, got {', '.join(map(str, inputs.dims)) or 'none'}"
        )
    lead = others[0]
    shown = min(number, inputs.sizes[lead])
    if shown < 1:
        raise ValueError(f"`number` must be ≥ 1 and there must be inputs, got {number} of {inputs.sizes[lead]}")
    values = inputs.transpose(lead, *of_one).to_numpy()[:shown].astype(np.float64)
    own = inputs[lead].to_numpy()
    above = [f"stimulus {label}" for label in own] if titles is None else [str(title) for title in titles]
    width = DOUBLE_COLUMN if image or shown > 3 else SINGLE_COLUMN * 1.2
    panels = panels_in(ax, 1, shown, (width, 30 if image else 42), sharey=not image)
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    for axes, one, title in zip(panels, values, above, strict=False):
        axes.set_title(title)
        if image:
            axes.imshow(one, cmap="gray_r", vmin=low, vmax=high, interpolation="nearest")
            axes.set_axis_off()
            continue
        axes.barh(np.arange(len(one)), one, color=PALETTE[0], height=0.8)
        axes.axvline(0, color=INK, linewidth=0.6)
        axes.set_xlabel("Value")
        axes.xaxis.set_major_locator(MaxNLocator(2))
        axes.set_ylim(len(one) - 0.5, -0.5)
    if not image:
        _name_features(panels[0], inputs)
    return panels


def _name_features(axes: Axes, inputs: xr.DataArray) -> None:
    """Label bars by the names of their features, where there are few."""
    n = inputs.sizes["feature"]
    if "feature" in inputs.coords and n <= 20:
        axes.set_yticks(np.arange(n), [str(name)[:24] for name in inputs["feature"].to_numpy()])
    else:
        axes.set_yticks([0, n - 1], ["1", str(n)])
        axes.set_ylabel("Feature")


def _triple(comparison: xr.Dataset, name: str) -> tuple[Array, Array, Array]:
    """Return predicted, simulated and standard error (NaN if there is none), each ([stimulus,] neuron)."""
    key = prefix(comparison, name)
    x, y = (comparison[f"{key}_{side}"].transpose(..., "neuron").to_numpy() for side in ("predicted", "simulated"))
    if f"{key}_se" not in comparison:
        return x, y, np.full(x.shape, np.nan)
    return x, y, comparison[f"{key}_se"].transpose(..., "neuron").to_numpy()


def _require(comparison: xr.Dataset, name: str) -> None:
    """Raise unless a dataset is a comparison of a quantity."""
    if not isinstance(comparison, xr.Dataset):
        raise TypeError(f"expected what `compare` returns, got {type(comparison).__name__}")
    if f"{name}_predicted" not in comparison:
        raise ValueError(f"the dataset has no comparison of `{name}`: expected what `compare` returns")


def _members(comparison: xr.Dataset) -> dict[str, npt.NDArray[np.bool_]]:
    if "population" not in comparison.coords:
        return {"": np.ones(comparison.sizes["neuron"], dtype=bool)}
    names = comparison["population"].to_numpy()
    return {name: names == name for name in dict.fromkeys(names.tolist())}


def _select(comparison: xr.Dataset, populations: Sequence[str] | str | None) -> xr.Dataset:
    """Return the comparison of the neurons of some populations."""
    if populations is None:
        return comparison
    members = _members(comparison)
    wanted = chosen(populations, list(members))
    mine = np.flatnonzero(np.any([members[name] for name in wanted], axis=0))
    return comparison.isel({dim: mine for dim in ("neuron", "neuron_j") if dim in comparison.dims})


def _palette(comparison: xr.Dataset, selected: xr.Dataset, colors: Colors) -> dict[str, str]:
    """Return the colours of the populations that are drawn, as in a figure of all."""
    return palette_of(list(_members(comparison)), list(_members(selected)), colors)


def _correlation(comparison: xr.Dataset, name: str, selected: xr.Dataset) -> float:
    """Return the correlation of the values drawn."""
    key = prefix(comparison, name)
    if selected is comparison and f"{key}_r" in comparison:
        return float(comparison[f"{key}_r"])
    return _pearson(*(selected[f"{key}_{side}"].to_numpy().ravel() for side in ("predicted", "simulated")))


def _pearson(x: Array, y: Array) -> float:
    both = np.isfinite(x) & np.isfinite(y)
    if both.sum() < 3 or not (np.ptp(x[both]) > 0 and np.ptp(y[both]) > 0):
        return float("nan")
    return float(np.corrcoef(x[both], y[both])[0, 1])


def _scatter(axes: Axes, comparison: xr.Dataset, x: Array, y: Array, se: Array, palette: dict[str, str]) -> None:
    """Draw one point with its error for each neuron (and stimulus), in the colour of its population."""
    members = _members(comparison)
    for name, colour in palette.items():
        mine = members[name]
        a, b, error = (values[..., mine].ravel() for values in (x, y, se))
        dense = a.size > _MANY
        # Of an unknown error no bar is drawn.
        bars = axes.errorbar(
            a, b, yerr=np.where(np.isfinite(error), error, 0.0), fmt="o", color=colour, label=name, markersize=2.4,
            markeredgewidth=0, elinewidth=0.6, alpha=0.5 if a.size > 100 else 0.85,
        )  # fmt: skip
        if dense:
            for artist in (bars[0], *bars[2]):
                artist.set_rasterized(True)


def _identity(
    axes: Axes,
    comparison: xr.Dataset,
    x: Array,
    y: Array,
    se: Array,
    quantity: str,
    palette: dict[str, str],
    *,
    legend: bool = True,
) -> None:
    """Draw simulated against predicted values with the line on which they are equal."""
    low, high = _limits(x, y)
    axes.plot([low, high], [low, high], color=INK, linewidth=0.8, zorder=1)
    _scatter(axes, comparison, x, y, se, palette)
    axes.set(xlim=(low, high), ylim=(low, high), box_aspect=1)
    axes.set_xlabel(f"Predicted {quantity}")
    axes.set_ylabel(f"Simulated {quantity}")
    sparse_ticks(axes)
    if legend and len(palette) > 1:
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
    reach = np.abs(values) + np.where(np.isfinite(se), se, 0.0)
    reach = reach[np.isfinite(reach)]
    limit = 1.1 * float(reach.max()) if reach.size and reach.max() > 0 else 1.0
    axes.set_ylim(-limit, limit)


def _mark_populations(axes: Axes, comparison: xr.Dataset) -> None:
    """Draw a line between the populations of a matrix."""
    names = comparison["population"].to_numpy() if "population" in comparison.coords else np.array([])
    for edge in np.flatnonzero(names[1:] != names[:-1]) + 0.5:
        axes.axhline(edge, color=MUTED, linewidth=0.5)
        axes.axvline(edge, color=MUTED, linewidth=0.5)
