"""LIF neurons matched to other neurons: how far the moment theory holds for a biophysical neuron.

A neuron's rate and count variance are measured over a grid of white-noise input, mean by standard deviation, in one
simulation. The four parameters of a leaky integrate-and-fire neuron are then fitted so that the moment theory comes
closest to what was measured. What remains is what no LIF neuron can do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr
from scipy.optimize import least_squares

from mnnbio.circuit import Circuit, GaussianDrive, Population
from mnnbio.machine import require_integer
from mnnbio.moments import count_variance, long_window_count_variance
from mnnbio.neurons import LIFParameters, NeuronModel
from mnnbio.spikes import Counts, SimulationFailed, simulate
from mnnbio.theory import answer
from mnnbio.units import in_unit
from mnnbio.values import Distribution

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = npt.NDArray[np.float64]
Codegen = Literal["cpp_standalone", "runtime"]

POPULATION = "cells"
LEAST_POINTS = 4  # of the grid, and of those that fire for the fit: as many as there are parameters
JUDGED = 1.0  # Hz: below, a relative error says little
# Misfit that counts like one standard error, relative to what was measured: without it the points that are measured
# best, those of high rates, would decide alone, although no LIF neuron meets them within their error.
RATE_TOLERANCE, VARIANCE_TOLERANCE = 0.02, 0.1
COUNT_TOLERANCE = 0.02  # spikes² a window, for trains so regular that their counts depend on where windows begin
BOUNDS = {"tau_m": (0.5, 500.0), "v_th": (0.05, 500.0), "span": (0.05, 1000.0)}  # ms, mV, mV
# Derivatives by steps that are large beside the rounding of the theory.
SEARCH: dict[str, Any] = {"diff_step": 1e-4, "ftol": 1e-6, "xtol": 1e-6, "max_nfev": 40}
SEARCHES = 4  # from the best of all starts
TAU_STARTS, SPAN_STARTS, HOLD_STARTS = (5.0, 15.0, 40.0), (0.5, 1.5), (0.1, 0.6)


class FitError(NamedTuple):
    """How far a fit is from what was measured, over the points that fire above 1 Hz.

    Parameters
    ----------
    rate_rms, rate_median, rate_worst : float
        Relative error of the rate: root mean square, median and largest magnitude.
    worst_mean, worst_std : float
        Input at which the rate is worst, mV/ms and mV/√ms.
    fano_rms, fano_median : float
        Error of the Fano factor, not relative.
    rate_noise : float
        Root mean square of the relative standard errors of the measured rates: a perfect fit would have this
        `rate_rms`.
    points : int
        Number of points.
    """

    rate_rms: float
    rate_median: float
    rate_worst: float
    worst_mean: float
    worst_std: float
    fano_rms: float
    fano_median: float
    rate_noise: float
    points: int


@dataclass(frozen=True, kw_only=True, eq=False)
class MatchedLIF:
    """The LIF neuron closest to another neuron, as `matched_lif` returns it.

    Parameters
    ----------
    model : NeuronModel
        The neuron that was measured.
    lif : LIFParameters
        The neuron fitted, voltages from rest. Its refractory period is a multiple of the time step, so that it can be
        simulated as it is.
    surface : Dataset
        Over (mean, std): ``rate`` (Hz) and ``variance`` (Hz), the count variance in windows of ``window`` over its
        length, with standard errors ``rate_se``, ``variance_se``; the theory of the fitted neuron, ``lif_rate`` and
        ``lif_variance``, in the same windows and time steps; ``rate_difference`` and ``variance_difference``, theory
        minus measured.
    error : FitError
        How far the two are apart.
    """

    model: NeuronModel
    lif: LIFParameters
    surface: xr.Dataset
    error: FitError

    def __str__(self) -> str:
        own, e, name = self.lif, self.error, type(self.model).__name__
        return "\n".join(
            [
                f"LIF neuron closest to {name}: tau_m = {own.tau_m:.4g} ms, v_th = {own.v_th:.4g} mV, "
                f"v_reset = {own.v_reset:.4g} mV, t_ref = {own.t_ref:.4g} ms (voltages from rest)",
                f"rate: off by {e.rate_rms:.1%} r.m.s., {e.rate_median:.1%} median over {e.points} points above "
                f"{JUDGED:g} Hz (measured within {e.rate_noise:.1%})",
                f"worst: {e.rate_worst:.1%} at mean {e.worst_mean:.4g} mV/ms, std {e.worst_std:.4g} mV/√ms",
                f"Fano factor: off by {e.fano_rms:.2g} r.m.s., {e.fano_median:.2g} median",
            ]
        )

    def plot(self) -> Figure:
        """Return a figure of rate and Fano factor over the mean of the input: measured points and fitted lines.

        Bars are standard errors. Each colour is one standard deviation of the input. Fano factors are drawn where the
        neuron fires above 1 Hz.
        """
        from matplotlib import colormaps, rc_context
        from matplotlib.figure import Figure

        at = self.surface
        judged = at["rate"] > JUDGED
        curves = [
            ("Rate (Hz)", at["rate"], at["rate_se"], at["lif_rate"]),
            (
                "Fano factor",
                (at["variance"] / at["rate"]).where(judged),
                at["variance_se"] / at["rate"],
                (at["lif_variance"] / at["lif_rate"]).where(judged),
            ),
        ]
        style: dict[Any, Any] = {
            "font.size": 7,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "legend.frameon": False,
        }
        with rc_context(style):
            figure = Figure(figsize=(174 / 25.4, 65 / 25.4), layout="constrained")
            colors = colormaps["viridis"](np.linspace(0, 0.85, at.sizes["std"]))
            for axes, (label, measured, error, fitted) in zip(figure.subplots(1, 2), curves, strict=True):
                for k, color in enumerate(colors):
                    here = {"std": k}
                    x, y, bar = at["mean"], measured.isel(here), error.isel(here)
                    axes.errorbar(x, y, bar, fmt="o", ms=2.5, lw=0.8, color=color, label=f"{float(at['std'][k]):.3g}")
                    axes.plot(x, fitted.isel(here), color=color, lw=1)
                axes.set(xlabel="Mean of the input (mV/ms)", ylabel=label)
                axes.set_ylim(bottom=0)
            figure.axes[0].legend(title="Its std (mV/√ms)")
            figure.axes[0].set_title(
                f"Points: {type(self.model).__name__}, lines: theory of the LIF neuron", loc="left"
            )
        return figure


def matched_lif(
    model: NeuronModel,
    mean: Any,
    std: Any,
    *,
    dt: Any = 0.1,
    duration: Any = 10_000.0,
    warmup: Any = 500.0,
    window: Any = 500.0,
    neurons: int = 32,
    seed: int = 0,
    codegen: Codegen = "cpp_standalone",
    processes: int | None = None,
) -> MatchedLIF:
    """Return the LIF neuron whose moment theory comes closest to another neuron driven by white noise.

    One simulation measures rate and count variance at every point of the grid. Least squares, from several starts,
    fit `tau_m`, `v_th`, `v_reset` and `t_ref`; the refractory period is then rounded to a multiple of `dt` and the
    others are fitted again. A residual is theory minus measured, over the standard error and a tolerance of 2 % of the
    rate and 10 % of the variance, added in squares. The theory is that of LIF neurons simulated in steps of `dt`, in
    the same windows. An `EIF` neuron with its default parameters is met within 3 % r.m.s. of its rate.

    Parameters
    ----------
    model : NeuronModel
        One neuron: numbers as parameters, no arrays or distributions (start values may be any).
    mean : array_like or Quantity, shape (m,)
        Means of the input, mV/ms, increasing. A drive in pA is divided by the capacitance.
    std : array_like or Quantity, shape (s,)
        Standard deviations of the input, mV/√ms, ≥ 0, increasing. The grid is every mean with every standard deviation,
        four points or more. Without noise the rate alone is fitted.
    dt : float or Quantity
        Time step, ms.
    duration, warmup : float or Quantity
        Time measured and time before it, ms. Adapting neurons need a warm-up of several of their time constants.
    window : float or Quantity
        Windows of the count variance, ms; they divide the duration.
    neurons : int
        Independent copies at every point, two or more; standard errors come from the spread among them.
    seed : int
        Seed of the noise.
    codegen : {"cpp_standalone", "runtime"}
        As of `simulate`.
    processes : int, optional
        As of `simulate`.

    Returns
    -------
    MatchedLIF
        The neuron, both surfaces and how far they are apart; printed, four lines.

    Raises
    ------
    TypeError
        If `model` is no neuron model.
    ValueError
        If the grid has too few points, is out of order or out of range, or the neuron fires at fewer than four of its
        points.
    SimulationFailed
        If the neuron blows up somewhere on the grid.

    Examples
    --------
    ::

        match = matched_lif(AdEx(), mean=np.linspace(1.5, 5, 8), std=[0.5, 1.0, 2.0], warmup=1000 * ms)
        print(match)
        match.plot().savefig("adex.pdf")
    """
    _require_one_neuron(model)
    means, stds = _grid_axis(mean, "mV/ms", "mean"), _grid_axis(std, "mV/sqrt(ms)", "std")
    if stds[0] < 0:
        raise ValueError(f"`std` must be ≥ 0 mV/√ms, got {stds[0]:g}")
    if means.size * stds.size < LEAST_POINTS or means.size < 2:
        raise ValueError(
            f"the grid must have {LEAST_POINTS} points or more, two means among them, to fit four parameters; got "
            f"{means.size} in `mean` and {stds.size} in `std`"
        )
    require_integer("neurons", neurons, 2)
    step, length, bin_length = (
        float(in_unit(value, "ms", name)) for value, name in ((dt, "dt"), (duration, "duration"), (window, "window"))
    )
    if not step > 0:
        raise ValueError(f"`dt` must be > 0 ms, got {step:g}")
    at_mean, at_std = (part.ravel() for part in np.meshgrid(means, stds, indexing="ij"))
    grid = _Grid(at_mean, at_std, step, bin_length)
    measured = _measure(
        model,
        grid,
        neurons,
        {"duration": length, "warmup": warmup, "dt": step, "seed": seed, "codegen": codegen, "processes": processes},
    )
    firing = int((measured.rate > JUDGED / 1000).sum())
    if firing < LEAST_POINTS:
        top = 1000 * float(measured.rate.max())
        raise ValueError(
            f"the {type(model).__name__} neuron is silent at too much of the grid: it fires above {JUDGED:g} Hz at "
            f"{firing} of {measured.rate.size} points, at most at {top:.3g} Hz, and a fit needs {LEAST_POINTS}; raise "
            "`mean` or `std`"
        )
    lif = _fit(grid, measured)
    surface = _surface(means, stds, grid, measured, lif)
    surface.attrs |= {"model": type(model).__name__, "dt": step, "window": bin_length, "duration": length}
    surface.attrs |= {"neurons": neurons, "seed": seed}
    return MatchedLIF(model=model, lif=lif, surface=surface, error=_error(surface))


class _Grid(NamedTuple):
    """Points of input, with the time step and the windows of counts."""

    mean: Array  # (point,), mV/ms
    std: Array  # (point,), mV/√ms
    dt: float  # ms
    window: float  # ms


class _Measured(NamedTuple):
    """Statistics of the neuron at every point and their standard errors, 1/ms."""

    rate: Array
    rate_se: Array
    variance: Array
    variance_se: Array


def _require_one_neuron(model: Any) -> None:
    if not isinstance(model, NeuronModel):
        raise TypeError(f"`model` must be a neuron model such as AdEx() or EquationNeuron(...), got {model!r}")
    spread = [
        name
        for name, value in model.items()
        if name != "initial"
        and any(
            isinstance(one, Distribution) or (isinstance(one, np.ndarray) and one.size > 1)
            for one in (value.values() if isinstance(value, Mapping) else [value])
        )
    ]
    if spread or model.size is not None:
        which = ", ".join(f"`{name}`" for name in spread) or "its start values"
        raise ValueError(
            f"`model` must be one neuron, the same at every point, but {which} of {type(model).__name__} differ "
            "between neurons: give numbers"
        )


def _grid_axis(values: Any, unit: Literal["mV/ms", "mV/sqrt(ms)"], name: str) -> Array:
    axis = np.atleast_1d(np.asarray(in_unit(values, unit, name), dtype=np.float64))
    if axis.ndim != 1 or not axis.size or not np.isfinite(axis).all() or (np.diff(axis) <= 0).any():
        raise ValueError(f"`{name}` must be finite, increasing values along one axis of the grid, got {axis.tolist()}")
    return axis


def _measure(model: NeuronModel, grid: _Grid, neurons: int, options: dict[str, Any]) -> _Measured:
    """Simulate all points at once, `neurons` in a row for each."""
    mean, std = (np.repeat(values, neurons) for values in (grid.mean, grid.std))
    circuit = Circuit([Population(POPULATION, mean.size, model)], drives=[GaussianDrive(POPULATION, mean, std)])
    try:
        result = simulate(circuit, record={POPULATION: Counts(bin=grid.window)}, covariance=False, **options)
    except SimulationFailed as error:
        raise SimulationFailed(
            f"the {type(model).__name__} neuron could not be simulated on the whole grid (neuron k has the mean "
            f"k // {grid.mean.size // np.unique(grid.mean).size * neurons} and the standard deviation "
            f"(k // {neurons}) % {np.unique(grid.std).size}, counted from 0): {error}. Take a smaller `dt`, or a "
            "smaller range of `mean` and `std`"
        ) from error
    counts = np.asarray(result["counts/count"].transpose(..., "time", "neuron"), dtype=np.float64)
    counts = counts.reshape(-1, grid.mean.size, neurons)  # (window, point, copy)
    if len(counts) * neurons < 3:
        raise ValueError("the count variance needs two windows or more: a longer `duration`, or a shorter `window`")
    copies = counts.mean(0)
    rate = copies.mean(1)
    squares = ((counts - rate[:, None]) ** 2).mean(0)
    total = len(counts) * neurons
    return _Measured(
        rate / grid.window,
        copies.std(1, ddof=1) / np.sqrt(neurons) / grid.window,
        squares.mean(1) * total / (total - 1) / grid.window,
        squares.std(1, ddof=1) / np.sqrt(neurons) / grid.window,
    )


def _theory(grid: _Grid, lif: LIFParameters, *, long: bool = False) -> tuple[Array, Array]:
    """Return rate and count variance per time of LIF neurons in steps and windows of the grid, 1/ms.

    `long` takes all windows for long ones, which is smooth in the parameters and does for a search.
    """
    mean, std = torch.from_numpy(grid.mean)[None], torch.from_numpy(grid.std)[None]
    found = answer(lif, mean, std, grid.dt)
    fano = torch.where(found.rate > 0, found.variance / torch.where(found.rate > 0, found.rate, 1.0), 1.0)
    if long:
        variance = long_window_count_variance(found.rate, fano, found.skewness, grid.window).clamp(min=0)
    else:
        variance = count_variance(found.rate, fano, found.skewness, grid.window, lif.t_ref)
    return found.rate[0].numpy(), variance[0].numpy() / grid.window


def _fit(grid: _Grid, measured: _Measured) -> LIFParameters:
    """Return the neuron of least squares, its refractory period a multiple of the time step."""
    # Silent points and regular trains have standard errors of zero: no rate is known better than one spike tells.
    one = 1 / grid.window * COUNT_TOLERANCE
    rate_sigma = np.sqrt(measured.rate_se**2 + (RATE_TOLERANCE * measured.rate) ** 2 + (one / 2) ** 2)
    variance_sigma = np.sqrt(measured.variance_se**2 + (VARIANCE_TOLERANCE * measured.variance) ** 2 + one**2)
    noisy = grid.std > 0

    def residuals(point: Array, t_ref: float | None = None) -> Array:
        rate, variance = _theory(grid, _lif_of(point, t_ref), long=t_ref is None)
        return np.concatenate(
            [(rate - measured.rate) / rate_sigma, ((variance - measured.variance) / variance_sigma)[noisy]]
        )

    held = float(0.98 / measured.rate.max())  # ms: no longer than the shortest mean interval
    lower, upper = (np.array([*(np.log(bound[k]) for bound in BOUNDS.values()), (0.0, held)[k]]) for k in (0, 1))
    inside = [np.clip(start, lower + 1e-6, upper - 1e-6 * held) for start in _starts(grid, measured, held)]
    inside.sort(key=lambda start: float((residuals(start) ** 2).sum()))
    fits = [
        least_squares(residuals, start, bounds=(lower, upper), x_scale=[1, 1, 1, held], **SEARCH)
        for start in inside[:SEARCHES]
    ]
    best = min(fits, key=lambda fit: float(fit.cost)).x
    t_ref = round(round(float(best[3]) / grid.dt) * grid.dt, 9)
    final = least_squares(residuals, best[:3], bounds=(lower[:3], upper[:3]), args=(t_ref,), **SEARCH)
    return _lif_of(final.x, t_ref)


def _lif_of(point: Array, t_ref: float | None) -> LIFParameters:
    """Return the neuron at a point of the search: logarithms of `tau_m`, `v_th` and `v_th - v_reset`, then `t_ref`."""
    tau_m, v_th, span = (float(value) for value in np.exp(point[:3]))
    return LIFParameters(tau_m=tau_m, v_th=v_th, v_reset=v_th - span, t_ref=float(point[3]) if t_ref is None else t_ref)


def _starts(grid: _Grid, measured: _Measured, held: float) -> list[Array]:
    """Return where searches start: neurons that begin to fire where the measured one does."""
    active = measured.rate > 0.1 * measured.rate.max()
    onset = max(float(grid.mean[active].min()), 0.05 * float(np.abs(grid.mean).max()))  # mV/ms
    return [
        np.array([np.log(tau), np.log(onset * tau), np.log(span * onset * tau), hold * held])
        for tau in TAU_STARTS
        for span in SPAN_STARTS
        for hold in HOLD_STARTS
    ]


def _surface(means: Array, stds: Array, grid: _Grid, measured: _Measured, lif: LIFParameters) -> xr.Dataset:
    rate, variance = _theory(grid, lif)
    values = measured._asdict() | {
        "lif_rate": rate,
        "lif_variance": variance,
        "rate_difference": rate - measured.rate,
        "variance_difference": variance - measured.variance,
    }
    shape = means.size, stds.size
    return xr.Dataset(
        {name: (("mean", "std"), 1000 * value.reshape(shape), {"units": "Hz"}) for name, value in values.items()},
        coords={"mean": ("mean", means, {"units": "mV/ms"}), "std": ("std", stds, {"units": "mV/√ms"})},
    )


def _error(surface: xr.Dataset) -> FitError:
    points = surface.stack(point=("mean", "std"))
    points = points.isel(point=np.flatnonzero(points["rate"] > JUDGED))
    rate, lif_rate, variance, lif_variance, rate_se = (
        points[name].to_numpy() for name in ("rate", "lif_rate", "variance", "lif_variance", "rate_se")
    )
    relative = np.abs(lif_rate / rate - 1)
    safe = np.where(lif_rate > 0, lif_rate, 1.0)
    fano = np.abs(np.where(lif_rate > 0, lif_variance / safe, 1.0) - variance / rate)
    worst = int(relative.argmax())
    return FitError(
        rate_rms=float(np.sqrt((relative**2).mean())),
        rate_median=float(np.median(relative)),
        rate_worst=float(relative[worst]),
        worst_mean=float(points["mean"][worst]),
        worst_std=float(points["std"][worst]),
        fano_rms=float(np.sqrt((fano**2).mean())),
        fano_median=float(np.median(fano)),
        rate_noise=float(np.sqrt(((rate_se / rate) ** 2).mean())),
        points=rate.size,
    )
