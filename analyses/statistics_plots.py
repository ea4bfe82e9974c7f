"""Figures of spike statistics: rates and spectra with intervals, cross-correlograms, distributions of correlations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from mnnbio.analyses.figure_style import (
    FAINT,
    INK,
    MUTED,
    PALETTE,
    SINGLE_COLUMN,
    Colors,
    palette_of,
    panels_in,
    plain_log,
    sparse_ticks,
    styled,
)

_MOST_NEURONS = 6


@styled
def plot_rate_estimate(
    estimate: xr.Dataset,
    *,
    stimulus: int = 0,
    populations: Sequence[str] | str | None = None,
    neurons: Sequence[int] | None = None,
    colors: Colors = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw rates against time with their intervals, as `psth` or `kernel_rate` return them.

    Parameters
    ----------
    estimate : Dataset
        Over ([stimulus,] time, population) or ([stimulus,] time, neuron). A histogram is drawn as steps with its
        interval, a kernel estimate as a line with a band of two standard errors.
    stimulus : int
        Position of the stimulus if there are several.
    populations : sequence of str, optional
        Populations drawn; default: all.
    neurons : sequence of int, optional
        Positions of the neurons drawn; default: the first six.
    colors : mapping or sequence of str, optional
        Colours of populations, by name or in the order of the circuit.
    ax : Axes, optional
        Where to draw.

    Raises
    ------
    TypeError, ValueError
        If it is no such estimate, or there is no such stimulus.
    """
    _require(estimate, ("rate", "time"), "psth` or `kernel_rate")
    own = _of_stimulus(estimate, stimulus)
    lines = _lines(own, populations, neurons, colors)
    (axes,) = panels_in(ax, 1, 1, (SINGLE_COLUMN * 1.2, 55))
    middles, bin = own["time"].to_numpy(), float(own.attrs["bin"])
    long = middles[-1] - middles[0] > 2
    scale = 1.0 if long else 1e3
    histogram = "rate_low" in own
    edges = scale * np.append(middles - bin / 2, middles[-1] + bin / 2)
    for label, colour, where in lines:
        part = own.isel(where)
        rate = part["rate"].to_numpy()
        if histogram:
            low, high = part["rate_low"].to_numpy(), part["rate_high"].to_numpy()
            axes.stairs(rate, edges, color=colour, linewidth=0.8, baseline=None, label=label)
            axes.fill_between(
                edges,
                np.append(low, low[-1]),
                np.append(high, high[-1]),
                step="post",
                color=colour,
                alpha=0.25,
                linewidth=0,
            )
        else:
            reach = 2 * part["rate_se"].to_numpy() if "rate_se" in part else np.zeros(len(rate))
            axes.plot(scale * middles, rate, color=colour, linewidth=0.8, label=label)
            axes.fill_between(
                scale * middles, np.maximum(rate - reach, 0), rate + reach, color=colour, alpha=0.25, linewidth=0
            )
    axes.set(xlabel=f"Time ({'s' if long else 'ms'})", ylabel="Rate (Hz)", ylim=(0, None), xlim=(edges[0], edges[-1]))
    if edges[0] < 0 < edges[-1]:
        axes.axvline(0, color=MUTED, linewidth=0.6, linestyle=":", zorder=0)
    sparse_ticks(axes, x=5)
    if len(lines) > 1:
        axes.legend(loc="best")
    return axes


@styled
def plot_rate_histogram(
    statistics: xr.Dataset,
    *,
    stimulus: int = 0,
    populations: Sequence[str] | str | None = None,
    bins: int = 40,
    colors: Colors = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the distribution of firing rates over the neurons of each population.

    Parameters
    ----------
    statistics : Dataset
        As `spike_statistics` returns it, or any with ``rate`` over ([stimulus,] neuron).
    stimulus : int
        Position of the stimulus if there are several.
    populations : sequence of str, optional
        Populations drawn; default: all.
    bins : int
        Bins from 0 to the highest rate.
    colors : mapping or sequence of str, optional
        Colours of populations, by name or in the order of the circuit.
    ax : Axes, optional
        Where to draw.

    Raises
    ------
    TypeError, ValueError
        If there are no rates of neurons.
    """
    _require(statistics, ("rate", "population"), "spike_statistics")
    own = _of_stimulus(statistics, stimulus)
    names = own["population"].to_numpy()
    rates = own["rate"].to_numpy()
    if not rates.size:
        raise ValueError("there are no neurons, whose rates could be drawn")
    (axes,) = panels_in(ax, 1, 1, (SINGLE_COLUMN, 55))
    edges = np.linspace(0, max(float(rates.max()), 1e-3) * (1 + 1e-9), bins + 1)
    for name, colour in palette_of(names.tolist(), populations, colors).items():
        mine = rates[names == name]
        number = np.histogram(mine, edges)[0] / (len(mine) * np.diff(edges))
        axes.stairs(number, edges, color=colour, linewidth=0.8, label=f"{name}, mean {mine.mean():.3g} Hz")
        axes.stairs(number, edges, color=colour, fill=True, alpha=0.2, linewidth=0)
    axes.set(xlabel="Firing rate (Hz)", ylabel="Density of neurons (1/Hz)", ylim=(0, None), xlim=(0, edges[-1]))
    sparse_ticks(axes)
    axes.legend(loc="best")
    return axes


@styled
def plot_cross_correlogram(
    correlogram: xr.Dataset, pair: int = 0, *, stimulus: int = 0, color: str | None = None, ax: Axes | None = None
) -> Axes:
    """Draw the cross-correlogram of a pair, with what independent trains give and its interval.

    Parameters
    ----------
    correlogram : Dataset
        As `cross_correlogram` returns it.
    pair, stimulus : int
        Positions.
    color : str, optional
    ax : Axes, optional
        Where to draw.

    Raises
    ------
    TypeError, ValueError
        If it is no correlogram, or there is no such pair.
    """
    _require(correlogram, ("count", "expected", "low", "high", "lag"), "cross_correlogram")
    if not 0 <= pair < correlogram.sizes["pair"]:
        raise ValueError(f"`pair` must be a position among the {correlogram.sizes['pair']} there are, got {pair}")
    own = _of_stimulus(correlogram, stimulus).isel(pair=pair)
    (axes,) = panels_in(ax, 1, 1, (SINGLE_COLUMN, 55))
    lags, bin = 1e3 * own["lag"].to_numpy(), 1e3 * float(own.attrs["bin"])
    edges = np.append(lags - bin / 2, lags[-1] + bin / 2)
    axes.stairs(own["count"].to_numpy(), edges, color=color or PALETTE[0], fill=True, alpha=0.75, linewidth=0, zorder=2)
    level = 100 * float(own.attrs["level"])
    low, high = own["low"].to_numpy(), own["high"].to_numpy()
    axes.fill_between(
        lags, low, high, step="mid", color=FAINT, linewidth=0, zorder=1, label=f"independent, {level:g} %"
    )
    axes.plot(lags, own["expected"].to_numpy(), color=INK, linewidth=0.8, zorder=3)
    if "shift_predictor" in own:
        shifted = own["shift_predictor"].to_numpy()
        axes.stairs(shifted, edges, color=PALETTE[1], linewidth=0.6, baseline=None, zorder=3, label="next trial")
    axes.axvline(0, color=MUTED, linewidth=0.6, linestyle=":", zorder=0)
    first, second = (own[f"neuron_{which}"].item() for which in ("first", "second"))
    axes.set(
        xlabel=f"Spike of neuron {second} after neuron {first} (ms)", ylabel="Coincidences", xlim=(edges[0], edges[-1])
    )
    axes.set_ylim(0, 1.25 * max(float(own["count"].max()), float(high.max()), 1.0))
    sparse_ticks(axes, x=5)
    axes.legend(loc="upper right")
    return axes


@styled
def plot_correlation_histogram(
    distribution: xr.Dataset,
    population: str | None = None,
    population_j: str | None = None,
    *,
    color: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the histogram of pair correlations, with the distribution that is left without the noise of sampling.

    Parameters
    ----------
    distribution : Dataset
        As `correlation_distribution` returns it; a prediction in it is drawn with the noise of the pairs.
    population, population_j : str, optional
        Populations of the pairs; default: the first, and the same twice.
    color : str, optional
    ax : Axes, optional
        Where to draw.

    Raises
    ------
    TypeError, ValueError
        If it is no such distribution, or has no such pairs.
    """
    _require(distribution, ("density_observed", "density_true", "value"), "correlation_distribution")
    known = distribution["population"].to_numpy().tolist()
    first = known[0] if population is None else population
    second = first if population_j is None else population_j
    for name in (first, second):
        if name not in known:
            raise ValueError(f"there is no population {name!r}, there are {', '.join(known)}")
    own = distribution.sel(population=first, population_j=second)
    if not int(own["pairs"]):
        raise ValueError(f"there are no pairs of {first!r} and {second!r} to draw")
    (axes,) = panels_in(ax, 1, 1, (SINGLE_COLUMN, 60))
    middles = own["value"].to_numpy()
    step = float(middles[1] - middles[0])
    edges = np.append(middles - step / 2, middles[-1] + step / 2)
    observed = own["density_observed"].to_numpy()
    axes.stairs(observed, edges, color=FAINT, fill=True, linewidth=0, label="observed")
    axes.stairs(observed, edges, color=MUTED, linewidth=0.6, baseline=None)
    axes.plot(middles, own["density_true"].to_numpy(), color=color or PALETTE[0], label="without sampling noise")
    if "density_predicted_noisy" in own:
        noisy = own["density_predicted_noisy"].to_numpy()
        axes.plot(middles, noisy, color=INK, linestyle="--", linewidth=0.8, label="predicted, with noise")
    seen = edges[:-1][observed > 0]
    if len(seen):
        axes.set_xlim(seen[0] - 3 * step, seen[-1] + 4 * step)
    axes.axvline(0, color=MUTED, linewidth=0.6, linestyle=":", zorder=0)
    sd = {name: np.sqrt(max(float(own[f"{name}_variance"]), 0.0)) for name in ("observed", "true")}
    kind = distribution.attrs.get("kind", "correlation")
    axes.set(xlabel=f"{kind.capitalize()} of counts, {first}–{second}", ylabel="Density of pairs", ylim=(0, None))
    title = f"s.d. {sd['observed']:.2g}, without noise {sd['true']:.2g}"
    axes.set_title(title if bool(own["resolved"]) else f"s.d. {sd['observed']:.2g}, all of it may be noise", loc="left")
    sparse_ticks(axes)
    axes.legend(loc="best")
    return axes


@styled
def plot_power_spectra(
    spectra: xr.Dataset,
    *,
    stimulus: int = 0,
    populations: Sequence[str] | str | None = None,
    neurons: Sequence[int] | None = None,
    log: bool = True,
    colors: Colors = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw power spectra with their intervals, as `welch_spectra` and `multitaper_spectra` return them.

    Parameters
    ----------
    spectra : Dataset
    stimulus : int
        Position of the stimulus if there are several.
    populations : sequence of str, optional
        Populations drawn; default: all.
    neurons : sequence of int, optional
        Positions of neurons or signals drawn, where these are no populations; default: the first six.
    log : bool
        Logarithmic axes.
    colors : mapping or sequence of str, optional
        Colours of populations, by name or in the order of the circuit.
    ax : Axes, optional
        Where to draw.

    Raises
    ------
    TypeError, ValueError
        If these are no spectra.
    """
    _require(spectra, ("power", "power_low", "power_high", "frequency"), "welch_spectra` or `multitaper_spectra")
    own = _of_stimulus(spectra, stimulus)
    lines = _lines(own, populations, neurons, colors)
    (axes,) = panels_in(ax, 1, 1, (SINGLE_COLUMN, 60))
    frequency = own["frequency"].to_numpy()
    for label, colour, where in lines:
        part = own[["power", "power_low", "power_high"]].isel(where)
        axes.plot(frequency, part["power"].to_numpy(), color=colour, linewidth=0.8, label=label)
        low, high = part["power_low"].to_numpy(), part["power_high"].to_numpy()
        axes.fill_between(frequency, low, high, color=colour, alpha=0.25, linewidth=0)
    unit = str(own["power"].attrs.get("units", "1")).replace("^2", "²")
    axes.set(xlabel="Frequency (Hz)", ylabel=f"Power ({unit})", xlim=(frequency[0], frequency[-1]))
    if log and (own["power"] > 0).any():
        axes.set(xscale="log", yscale="log")
        plain_log(axes.xaxis)
        plain_log(axes.yaxis)
    else:
        axes.set_ylim(bottom=0)
        sparse_ticks(axes)
    if len(lines) > 1:
        axes.legend(loc="best")
    return axes


def _lines(
    data: xr.Dataset, populations: Sequence[str] | str | None, neurons: Sequence[int] | None, colors: Colors
) -> list[tuple[str, str, dict[str, Any]]]:
    """Return label, colour and place of each line: of populations, or of some neurons."""
    if "population" in data.dims:
        names = data["population"].to_numpy().tolist()
        palette = palette_of(names, populations, colors)
        return [(name, colour, {"population": names.index(name)}) for name, colour in palette.items()]
    last = next(str(dim) for dim in reversed(data[next(iter(data.data_vars))].dims) if dim not in ("time", "frequency"))
    size = data.sizes[last]
    chosen = list(range(min(size, _MOST_NEURONS))) if neurons is None else [int(k) for k in neurons]
    if any(not 0 <= k < size for k in chosen):
        raise ValueError(f"`neurons` must be positions among the {size} there are, got {chosen}")
    labels = data[last].to_numpy() if last in data.coords else np.arange(size)
    return [(f"{last} {labels[k]}", PALETTE[i % len(PALETTE)], {last: k}) for i, k in enumerate(chosen)]


def _of_stimulus(data: xr.Dataset, stimulus: int) -> xr.Dataset:
    if "stimulus" not in data.dims:
        return data
    if not 0 <= stimulus < data.sizes["stimulus"]:
        raise ValueError(f"`stimulus` must be a position among the {data.sizes['stimulus']} there are, got {stimulus}")
    return data.isel(stimulus=stimulus)


def _require(data: Any, names: Sequence[str], maker: str) -> None:
    if not isinstance(data, xr.Dataset):
        raise TypeError(f"expected what `{maker}` returns, a Dataset, got {type(data).__name__}")
    if missing := [name for name in names if name not in data.variables]:
        raise ValueError(f"expected what `{maker}` returns, got a dataset without {missing[0]!r}")
