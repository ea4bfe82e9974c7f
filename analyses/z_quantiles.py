"""Figure of how well differences in standard errors follow the distribution that an exact prediction gives them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from scipy import stats

from mnnbio.analyses.captions import number, prefix
from mnnbio.analyses.figure_style import (
    FAINT,
    INK,
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

_FARTHEST = 37.0  # normal quantiles beyond which probabilities underflow


@styled
@lettered
def plot_z_quantiles(
    comparison: xr.Dataset,
    *,
    populations: Sequence[str] | str | None = None,
    colors: Colors = None,
    ax: Axes | Sequence[Axes] | None = None,
) -> Panels:
    """Draw quantiles of z of single neurons against those of the standard normal distribution, with a band.

    Student's t is mapped to the normal variable of the same probability, so that few samples bend no curve. An exact
    prediction lies on the diagonal, each point of independent neurons with a probability of 95 % within the band (that
    of the largest population); correlated neurons leave it together, up or down. Differences that are real make the
    curve steep, a bias shifts it.

    Parameters
    ----------
    comparison : Dataset
        A comparison, as `compare` returns it.
    populations : sequence of str, optional
        Populations drawn; default: all.
    colors : mapping or sequence of str, optional
        Colours of populations, by name or in the order of the circuit.
    ax : Axes or sequence of Axes, optional
        One for rates and, where they are compared, one for count variances.
    """
    if not isinstance(comparison, xr.Dataset) or "rate_p_value" not in comparison:
        shown = type(comparison).__name__ if not isinstance(comparison, xr.Dataset) else "one without `rate_p_value`"
        raise ValueError(f"expected what `compare` returns, got {shown}")
    names = [name for name in ("rate", "count_variance") if f"{name}_p_value" in comparison]
    labels = comparison["population"].to_numpy() if "population" in comparison.coords else None
    every = ["all"] if labels is None else list(dict.fromkeys(labels.tolist()))
    shown_names = every if populations is None else chosen(populations, every)
    palette = palette_of(every, shown_names, colors)
    panels = panels_in(ax, 1, len(names), (SINGLE_COLUMN * 0.85 * len(names), 66))
    for axes, name in zip(panels, names, strict=True):
        key, reach, longest = prefix(comparison, name), 2.0, 0
        for population in shown_names:
            mine = slice(None) if labels is None else np.flatnonzero(labels == population)
            one = comparison[[f"{key}_p_value", f"{key}_z"]].isel(neuron=mine)
            p, z = one[f"{key}_p_value"].to_numpy().ravel(), one[f"{key}_z"].to_numpy().ravel()
            known = np.isfinite(p)
            size = np.minimum(stats.norm.isf(p[known] / 2), _FARTHEST)
            values = np.sort(np.sign(z[known]) * size)
            n = len(values)
            expected = stats.norm.ppf((np.arange(n) + 0.5) / max(n, 1))
            axes.plot(
                expected, values, ".", color=palette[population], markersize=3, markeredgewidth=0,
                label=f"{population} ({n})", zorder=3, rasterized=n > 400,
            )  # fmt: skip
            longest = max(longest, n)
            reach = max(reach, float(np.abs(expected).max(initial=0)), float(np.abs(values).max(initial=0)))
        reach *= 1.05
        _draw_band(axes, longest)
        across = max(2.0, 1.05 * float(stats.norm.ppf(1 - 0.5 / max(longest, 1))))
        axes.plot([-reach, reach], [-reach, reach], color=INK, linewidth=0.8, zorder=2)
        axes.set(xlim=(-across, across), ylim=(-reach, reach))
        axes.set_xlabel("Normal quantile")
        axes.set_ylabel(f"z of the {name.replace('_', ' ')}")
        sparse_ticks(axes, x=5, y=6)
        note = f"r.m.s. {number(comparison[f'{key}_z_rms'])}"
        low, high = (float(comparison[f"{key}_z_rms_{end}"]) for end in ("low", "high"))
        if populations is None and np.isfinite(low):
            axes.text(
                0.97, 0.04, f"{note}\n(exact: {number(low)} to {number(high)})", transform=axes.transAxes, ha="right"
            )
        axes.legend(loc="upper left", handletextpad=0.3)
    return panels


def _draw_band(axes: Axes, n: int) -> None:
    """Draw where 95 % of the k-th smallest of n independent normal variables lie."""
    if n < 2:
        return
    k = np.arange(1, n + 1)
    middle = stats.norm.ppf((k - 0.5) / n)
    low, high = (stats.norm.ppf(stats.beta.ppf(p, k, n + 1 - k)) for p in (0.025, 0.975))
    axes.fill_between(middle, low, high, color=FAINT, linewidth=0, zorder=1)
