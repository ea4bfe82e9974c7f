"""Report of a sweep: what became of its points, and rates against its parameters."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from mnnbio.analyses import captions, dynamics_plots
from mnnbio.analyses.captions import SIGNIFICANT
from mnnbio.analyses.figure_style import (
    INK,
    SINGLE_COLUMN,
    Colors,
    Illustration,
    figure_of,
    palette_of,
    panels_in,
    sparse_ticks,
    styled,
)
from mnnbio.analyses.report_page import Page, Table

_MOST_ROWS = 200
_MOST_POPULATIONS = 4
_DONE = "done"


def is_sweep(tree: xr.DataTree) -> bool:
    """Return whether a tree is that of a sweep, as `open_sweep` returns it."""
    return "status" in tree.data_vars and "sweep" in tree.attrs


def sweep_page(tree: xr.DataTree, *, title: str | None = None) -> Page:
    """Return the page of a sweep.

    Parameters
    ----------
    tree : DataTree
        As `open_sweep` returns it, with ``resolution="population"``.
    title : str, optional
        Heading.
    """
    status = tree.to_dataset()["status"]
    states, numbers = np.unique(status.to_numpy(), return_counts=True)
    counts = dict(zip(states.tolist(), numbers.tolist(), strict=True))
    done, total = counts.get(_DONE, 0), int(numbers.sum())
    means = {side: _means(tree, side) for side in ("simulation", "prediction")}
    lacking = ", ".join(f"{number} {state}" for state, number in counts.items() if state != _DONE)
    figures = {"Points": f"{done} of {total} done"}
    verdict = _verdict(tree)
    return Page(
        title=title or "Sweep",
        verdict=verdict,
        findings=[("Points", f"{done} of {total} are done" + (f"; {lacking}." if lacking else "."))],
        notes=[f"{total - done} of {total} points have no result ({lacking})."] if lacking else [],
        illustrations=list(_illustrations(tree, means)),
        lists=[_table(tree, means)],
        key_figures=figures,
        provenance=[("Sweep", str(tree.attrs["sweep"])), ("Parameters", _parameters(status))],
    )


def _parameters(status: xr.DataArray) -> str:
    return ", ".join(f"{dim} ({size})" for dim, size in status.sizes.items()) or "none"


def _verdict(tree: xr.DataTree) -> list[str]:
    if "comparison" not in tree.children or "rate_p" not in tree["comparison"]:
        return ["Nothing is compared: the sweep has no comparisons of predictions with simulations."]
    p = tree["comparison/rate_p"].to_numpy()
    known = np.isfinite(p)
    if not known.any():
        return ["Whether differences of rates are real cannot be said at any point: too few samples or spikes."]
    fine = int((p[known] >= SIGNIFICANT).sum())
    text = f"At {fine} of {int(known.sum())} points the differences of rates are no larger than chance allows"
    error = tree["comparison"].get("rate_median_relative_error")
    if error is not None and np.isfinite(values := np.asarray(error.to_numpy(), dtype=np.float64)).any():
        low, high = captions.percent(np.nanmin(values)), captions.percent(np.nanmax(values))
        text += f"; median relative errors are {low} to {high}"
    return [f"{text}."]


def _means(tree: xr.DataTree, side: str) -> xr.DataArray | None:
    """Return rates of populations at every point, means over stimuli; None where there are none."""
    if side not in tree.children or "rate" not in tree[side]:
        return None
    rate = tree[side].to_dataset()["rate"]
    over = [dim for dim in rate.dims if dim not in (*tree.to_dataset()["status"].dims, "population")]
    return rate.mean(over).compute()


def _table(tree: xr.DataTree, means: dict[str, xr.DataArray | None]) -> Table:
    """Return a table of the points, a row each."""
    status = tree.to_dataset()["status"]
    names = [str(name) for name, coord in status.coords.items() if set(coord.dims) <= set(status.dims) and coord.dims]
    shown = {side: rate for side, rate in means.items() if rate is not None and "population" in rate.dims}
    populations: list[str] = next((r["population"].to_numpy().tolist()[:_MOST_POPULATIONS] for r in shown.values()), [])
    words = {"simulation": "simulated", "prediction": "predicted"}
    head = [*names, "status"]
    head += [f"{name}, {words[side]} (Hz)" for name in populations for side in shown]
    measures = {}
    if "comparison" in tree.children:
        for name, label in (("rate_median_relative_error", "median relative error"), ("rate_z_rms", "r.m.s. z")):
            if name in tree["comparison"]:
                measures[label] = tree["comparison"][name].to_numpy()
    rows = []
    for place in np.ndindex(status.shape):
        at = dict(zip(status.dims, place, strict=True))
        row = [_text(status[name].isel({d: at[d] for d in status[name].dims}).item()) for name in names]
        row.append(str(status.to_numpy()[place]))
        row += [captions.number(rate.isel(at).sel(population=name)) for name in populations for rate in shown.values()]
        for label, values in measures.items():
            show = captions.percent if "relative" in label else captions.number
            row.append(show(float(values[place])))
        rows.append(row)
    title = "Points"
    if len(rows) > _MOST_ROWS:
        title, rows = f"Points (the first {_MOST_ROWS} of {len(rows)})", rows[:_MOST_ROWS]
    return Table(title, [*head, *measures], rows)


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _illustrations(tree: xr.DataTree, means: dict[str, xr.DataArray | None]) -> Iterator[Illustration]:
    status = tree.to_dataset()["status"]
    axes = [
        str(dim) for dim, size in status.sizes.items()
        if size > 1 and dim in status.coords and status[dim].dtype.kind in "iuf"
    ]  # fmt: skip
    simulated, predicted = means["simulation"], means["prediction"]
    any_side = simulated if simulated is not None else predicted
    if any_side is None or not axes or "population" not in any_side.dims:
        return
    rest = {str(dim): 0 for dim in status.dims if dim not in axes[:2] and status.sizes[dim] > 0}
    fixed = "".join(f", {dim} = {_text(status[dim].values[0])}" for dim in rest if dim in status.coords)
    if len(axes) == 1:
        figure = figure_of(plot_parameter(simulated, predicted, axes[0], at=rest))
        text = f"Mean rates of populations against {axes[0]}{fixed}: simulated (points), predicted (lines)."
        yield Illustration("sweep", f"Rates against {axes[0]}", figure, text)
        return
    for name in any_side["population"].to_numpy().tolist()[:_MOST_POPULATIONS]:
        sides = {"predicted": predicted, "simulated": simulated}
        shown = {label: rate.isel(rest).sel(population=name) for label, rate in sides.items() if rate is not None}
        diagram = xr.Dataset({label: rate.drop_vars("population") for label, rate in shown.items()})
        for variable in diagram.data_vars.values():
            variable.attrs["units"] = "Hz"
        if not all(np.isfinite(v).any() for v in diagram.data_vars.values()):
            continue
        figure = figure_of(dynamics_plots.plot_phase_diagram(diagram, axes[0], axes[1]))
        text = f"Mean rate of {name} over {axes[0]} and {axes[1]}{fixed}."
        yield Illustration(f"sweep_{name}", f"Rate of {name}", figure, text)


@styled
def plot_parameter(
    simulated: xr.DataArray | None,
    predicted: xr.DataArray | None,
    parameter: str,
    *,
    at: dict[str, int] | None = None,
    colors: Colors = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the rates of populations against a parameter of a sweep.

    Parameters
    ----------
    simulated, predicted : DataArray, optional
        Hz, over the parameter and ``population``; one of them is enough.
    parameter : str
    at : dict of str to int, optional
        Positions along other parameters; default: they have none.
    colors : mapping or sequence of str, optional
        Colours of populations.
    ax : Axes, optional
        Where to draw.
    """
    sides = [(rate, side) for rate, side in ((predicted, "predicted"), (simulated, "simulated")) if rate is not None]
    if not sides:
        raise ValueError("give `simulated` or `predicted` rates, or both")
    (axes,) = panels_in(ax, 1, 1, (SINGLE_COLUMN, 55))
    palette = palette_of(sides[0][0]["population"].to_numpy().tolist(), None, colors)
    for rate, side in sides:
        own = rate.isel(at or {})
        place = own[parameter].to_numpy().astype(np.float64)
        for name, colour in palette.items():
            values = own.sel(population=name).to_numpy()
            if side == "predicted":
                axes.plot(place, values, color=colour, label=name if len(sides) == 1 else None)
            else:
                axes.plot(place, values, "o", color=colour, markersize=3, label=name)
    if len(sides) == 2:
        axes.plot([], [], color=INK, label="predicted")
    axes.set(xlabel=parameter, ylabel="Mean rate (Hz)", ylim=(0, None))
    sparse_ticks(axes, x=5)
    if all(rate[parameter].dtype.kind in "iu" for rate, _ in sides):
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.legend(loc="best")
    return axes
