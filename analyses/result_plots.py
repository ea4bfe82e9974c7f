"""Figures of a result, predicted, simulated or both: rates by population, and covariances ordered by population."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from mnnbio.analyses.alignment import group
from mnnbio.analyses.figure_style import (
    DOUBLE_COLUMN,
    INK,
    MUTED,
    SINGLE_COLUMN,
    Colors,
    Panels,
    chosen,
    lettered,
    palette_of,
    panels_in,
    sparse_ticks,
    styled,
)

Array = npt.NDArray[np.float64]

# Neurons of a matrix beyond which neighbours are averaged: a printed column has no more points.
_MOST_ROWS = 600
SIDES = ("prediction", "simulation")


@styled
@lettered
def plot_covariance_matrices(
    result: xr.Dataset | xr.DataTree,
    *,
    correlation: bool = False,
    populations: Sequence[str] | str | None = None,
    ax: Axes | Sequence[Axes] | None = None,
) -> Panels:
    """Draw covariance matrices of counts ordered by population: predicted, simulated, and their difference.

    Parameters
    ----------
    result : Dataset or DataTree
        A comparison, as `compare` returns it; a prediction, a simulation, or a result with one or both: of one alone
        its matrix is drawn. Means over stimuli. Diagonals, which are variances, are left out.
    correlation : bool
        Draw correlation coefficients.
    populations : sequence of str, optional
        Populations drawn; default: all.
    ax : Axes or sequence of Axes, optional
        One for each matrix.

    Raises
    ------
    ValueError
        If there are no covariances, or no such population.
    """
    found, unit, window = _matrices(result, correlation)
    names = _owners(next(iter(found.values())))
    wanted = chosen(populations, list(dict.fromkeys(names)))
    order = np.concatenate([np.flatnonzero(names == name) for name in wanted]) if wanted else np.arange(0)
    if len(order) < 2:
        raise ValueError(f"a covariance matrix needs two neurons or more, got {len(order)}")
    shown = {title: _off_diagonal(matrix, order) for title, matrix in found.items()}
    if len(shown) == 2:
        shown["Difference"] = shown["Simulated"] - shown["Predicted"]
    several = len(shown) > 1
    panels = panels_in(ax, 1, len(shown), (DOUBLE_COLUMN if several else SINGLE_COLUMN, 58 if several else 66))
    extent = float(np.nanquantile(np.abs(np.stack(list(shown.values()))), 0.995)) or 1.0
    edges = np.flatnonzero(names[order][1:] != names[order][:-1]) + 0.5
    number = len(order)
    for axes, (title, matrix) in zip(panels, shown.items(), strict=True):
        image = axes.imshow(
            _coarse(matrix), cmap="RdBu_r", vmin=-extent, vmax=extent, interpolation="nearest", rasterized=True,
            extent=(-0.5, number - 0.5, number - 0.5, -0.5),
        )  # fmt: skip
        axes.set_title("Simulated − predicted" if title == "Difference" else title)
        axes.spines[:].set_visible(True)
        for edge in edges:
            axes.axhline(edge, color=MUTED, linewidth=0.5)
            axes.axvline(edge, color=MUTED, linewidth=0.5)
        _name_blocks(axes, names[order], first=axes is panels[0])
    what = "Correlation" if correlation else "Covariance"
    label = what + (f" in {1e3 * window:g} ms" if window is not None else "") + ("" if unit == "1" else f" ({unit})")
    bar = panels.figure.colorbar(image, ax=list(panels), shrink=0.75, aspect=18, pad=0.02, label=label, extend="both")
    bar.outline.set_visible(False)  # type: ignore[operator]
    bar.locator = MaxNLocator(5)
    return panels


def _matrices(result: xr.Dataset | xr.DataTree, correlation: bool) -> tuple[dict[str, xr.DataArray], str, float | None]:
    """Return the matrices there are by title, their unit, and the window of counts, s."""
    if isinstance(result, xr.DataTree) and "comparison" in result.children:
        comparison = result["comparison"].to_dataset()
        if any(f"{name}_predicted" in comparison for name in _COVARIANCES):
            result = comparison
    if isinstance(result, xr.Dataset) and any(f"{name}_predicted" in result for name in _COVARIANCES):
        name = next(name for name in _COVARIANCES if f"{name}_predicted" in result)
        found = {side.capitalize(): result[f"{name}_{side}"] for side in ("predicted", "simulated")}
        attrs = result.attrs
    else:
        sides = _sides(result)
        name = next((name for name in _COVARIANCES if all(name in side for side in sides.values())), "")
        if not name:
            have = "; ".join(f"{side}: {', '.join(map(str, data.data_vars))}" for side, data in sides.items())
            raise ValueError(f"there are no covariances to draw ({have}): predict and simulate with `covariance=True`")
        found = {"Predicted" if side == SIDES[0] else "Simulated": data[name] for side, data in sides.items()}
        attrs = {key: value for data in sides.values() for key, value in data.attrs.items()}
    unit = str(next(iter(found.values())).attrs.get("units", "1"))
    found = {title: m.mean("stimulus") if "stimulus" in m.dims else m for title, m in found.items()}
    if correlation:
        unit, found = "1", {title: _normalised(matrix) for title, matrix in found.items()}
    window = attrs.get("window")
    if name != "count_covariance" or window is None or isinstance(window, str):
        return found, unit, None
    return found, unit, float(window)


_COVARIANCES = ("count_covariance", "covariance")


def _sides(result: xr.Dataset | xr.DataTree) -> dict[str, xr.Dataset]:
    """Return prediction and simulation by name, as far as they are there."""
    if isinstance(result, xr.DataTree):
        found = {name: group(result, name) for name in SIDES if name in result.children or result.name == name}
        if not found:
            raise ValueError(f"the result has neither /prediction nor /simulation; it has {', '.join(result.groups)}")
        return found
    if not isinstance(result, xr.Dataset):
        raise TypeError(f"expected a result, a DataTree or Dataset, got {type(result).__name__}")
    simulated = "rate_se" in result or "n_samples" in result.attrs
    return {SIDES[simulated]: result}


def _normalised(matrix: xr.DataArray) -> xr.DataArray:
    values = matrix.transpose("neuron", "neuron_j").to_numpy()
    scale = np.sqrt(np.maximum(np.diagonal(values), 0.0))
    product = np.outer(scale, scale)
    known = np.divide(values, product, out=np.full(values.shape, np.nan), where=product > 0)
    return matrix.transpose("neuron", "neuron_j").copy(data=known)


def _owners(data: xr.DataArray | xr.Dataset) -> npt.NDArray[np.str_]:
    """Return the population of every neuron, one name for all where they are not labelled."""
    if "population" in data.coords and data["population"].dims == ("neuron",):
        return np.asarray(data["population"].to_numpy(), dtype=str)
    return np.full(data.sizes["neuron"], "neurons")


def _off_diagonal(matrix: xr.DataArray, order: npt.NDArray[np.int64]) -> Array:
    values = matrix.transpose("neuron", "neuron_j").to_numpy()[np.ix_(order, order)].astype(np.float64)
    np.fill_diagonal(values, np.nan)
    return values


def _coarse(matrix: Array) -> Array:
    """Return a matrix averaged over neighbours, where it has more rows than can be printed."""
    step = -(-len(matrix) // _MOST_ROWS)
    if step == 1:
        return matrix
    edges = np.arange(0, len(matrix), step)
    known = np.isfinite(matrix)

    def sums(values: Array) -> Array:
        return np.add.reduceat(np.add.reduceat(values, edges, axis=0), edges, axis=1)

    number = sums(known.astype(np.float64))
    total = sums(np.where(known, matrix, 0.0))
    return np.divide(total, number, out=np.full(total.shape, np.nan), where=number > 0)


def _name_blocks(axes: Axes, owners: npt.NDArray[np.str_], *, first: bool) -> None:
    """Write the names of populations at the middle of their rows and columns; numbers where there is one."""
    names = list(dict.fromkeys(owners.tolist()))
    number = len(owners)
    if len(names) == 1:
        axes.set_xticks([0, number - 1], ["1", str(number)])
        axes.set_yticks([0, number - 1], ["1", str(number)] if first else ["", ""])
        axes.set_xlabel("Neuron j")
        axes.set_ylabel("Neuron i" if first else "")
        return
    middles = [float(np.flatnonzero(owners == name).mean()) for name in names]
    wide = [(owners == name).sum() >= 0.05 * number for name in names]
    long = max(map(len, names)) * len(names) > 22
    texts = [name if fits else "" for name, fits in zip(names, wide, strict=True)]
    axes.set_xticks(middles, texts, rotation=90 if long else 0)
    axes.set_yticks(middles, texts if first else [""] * len(texts))
    axes.tick_params(length=0)


@styled
def plot_rate_distribution(
    result: xr.Dataset | xr.DataTree,
    *,
    populations: Sequence[str] | str | None = None,
    colors: Colors = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the share of neurons of each population below each rate: simulated as lines, predicted dashed.

    Parameters
    ----------
    result : Dataset or DataTree
        A prediction, a simulation, or a result with one or both. All stimuli together.
    populations : sequence of str, optional
        Populations drawn; default: all.
    colors : mapping or sequence of str, optional
        Colours of populations, by name or in the order of the circuit.
    ax : Axes, optional
        Where to draw.

    Raises
    ------
    ValueError
        If there are no rates of neurons, or no such population.
    """
    sides = {name: data for name, data in _sides(result).items() if "rate" in data and "neuron" in data["rate"].dims}
    if not sides:
        raise ValueError("there are no rates of neurons to draw: the result is of populations, or has none")
    palette = palette_of(_owners(next(iter(sides.values()))).tolist(), populations, colors)
    (axes,) = panels_in(ax, 1, 1, (SINGLE_COLUMN, 55))
    both = len(sides) == 2
    for side, data in sides.items():
        values, owners = data["rate"].transpose(..., "neuron").to_numpy(), _owners(data)
        for name, colour in palette.items():
            rates = np.sort(values[..., owners == name].ravel())
            rates = rates[np.isfinite(rates)]
            if not len(rates):
                continue
            share = np.arange(len(rates) + 1) / len(rates)
            theory = side == SIDES[0]
            axes.step(
                np.concatenate([rates[:1], rates]), share, where="post", color=INK if both and theory else colour,
                linestyle="--" if both and theory else "-", linewidth=0.8 if both and theory else 1.1,
                label=None if both and theory else name,
            )  # fmt: skip
    if both:
        axes.plot([], [], color=INK, linestyle="--", linewidth=0.8, label="predicted")
    axes.set(xlabel="Firing rate (Hz)", ylabel="Share of neurons", ylim=(0, 1.02))
    axes.set_xlim(left=min(0.0, axes.get_xlim()[0]) if axes.get_xlim()[0] < 0 else 0.0)
    axes.set_yticks([0, 0.5, 1])
    sparse_ticks(axes, x=5, y=2)
    axes.legend(loc="lower right")
    return axes


@styled
@lettered
def plot_courses(result: xr.Dataset, *, colors: Colors = None, ax: Axes | Sequence[Axes] | None = None) -> Panels:
    """Draw quantities against time or frequency, a panel each, one line for every population, mode or the like.

    Parameters
    ----------
    result : Dataset
        With variables over ``time`` or ``frequency``, and one other dimension or none.
    colors : mapping or sequence of str, optional
        Colours of the lines, by label or in their order.
    ax : Axes or sequence of Axes, optional
        One for each quantity.

    Raises
    ------
    ValueError
        If there is no such variable.
    """
    shown = [variable for name, variable in result.data_vars.items() if is_course(str(name), variable)][:_MOST_COURSES]
    if not shown:
        raise ValueError(
            "there is no quantity over time or frequency and at most one other dimension among "
            f"{', '.join(map(str, result.data_vars)) or 'no variables'}"
        )
    panels = panels_in(ax, 1, len(shown), (SINGLE_COLUMN * min(len(shown), 2), 50))
    for axes, variable in zip(panels, shown, strict=True):
        along = next(dim for dim in ("time", "frequency") if dim in variable.dims)
        place = variable[along].to_numpy()
        others = [dim for dim in variable.dims if dim != along]
        values = variable.transpose(along, *others).to_numpy().reshape(len(place), -1)
        labels = [str(label) for label in variable[others[0]].to_numpy()] if others else [""]
        palette = palette_of(labels, None, colors)
        for k, label in enumerate(labels):
            axes.plot(place, values[:, k], color=palette[label], label=label or None)
        unit = str(variable.attrs.get("units", "1"))
        text = str(variable.attrs.get("long_name", variable.name)).partition(",")[0]
        label = text[:1].upper() + text[1:] + (f" ({unit})" if unit != "1" else "")
        axes.set_ylabel("\n".join(textwrap.wrap(label, _LABEL_WIDTH)))
        axes.set_xlabel("Time (s)" if along == "time" else "Frequency (Hz)")
        sparse_ticks(axes)
    if len(labels) > 1:
        panels[0].legend(loc="best")
    return panels


_MOST_COURSES, _MOST_LINES, _LABEL_WIDTH = 2, 12, 28


def is_course(name: str, variable: xr.DataArray, along: str | None = None) -> bool:
    """Return whether `plot_courses` draws a variable: over time or frequency (or `along` alone), with few lines."""
    dims = [dim for dim in ("time", "frequency") if dim in variable.dims]
    others = [dim for dim in variable.dims if dim not in dims]
    if len(dims) != 1 or len(others) > 1 or along not in (None, *dims) or variable.sizes[dims[0]] < 2:
        return False
    few = all(variable.sizes[dim] <= _MOST_LINES for dim in others)
    return variable.dtype.kind in "iuf" and not name.endswith("_se") and few
