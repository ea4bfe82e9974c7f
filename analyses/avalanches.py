"""Neuronal avalanches: their sizes and durations, the power laws of these, and the branching ratio of the activity."""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy import optimize, stats

from mnnbio.analyses.binned_counts import binned_counts, recorded
from mnnbio.machine import require_integer
from mnnbio.units import in_unit

Array = npt.NDArray[np.float64]

_PERCENTILE = 35.0  # Bagley et al. (2020)
_BIN = 4.0  # ms
_STEEPEST = 60.0  # largest exponent that is looked for, of either sign


def avalanches(activity: Any, *, bin: Any = None, percentile: float | None = _PERCENTILE) -> xr.Dataset:
    """Cut the summed activity of all neurons into avalanches: runs of bins above a threshold.

    The size of an avalanche is the number of its spikes, its duration that of its bins. Runs that touch the beginning
    or the end of a recording are cut off and left out.

    Parameters
    ----------
    activity : DataTree, Dataset or array_like, shape ([trial,] time)
        A result with ``/spikes`` or ``/counts``; or the numbers of spikes of all neurons in bins.
    bin : float or Quantity, optional
        Bin of a result, ms. Default: the one nearest to 4 ms. Sizes and durations depend on it.
    percentile : float or None
        Percentile of the summed activity that avalanches lie above; None: bins without spikes part them.

    Returns
    -------
    Dataset
        Over ``avalanche``: `size` (spikes), `duration` (bins), `trial`. Attributes: `threshold`, `bin` (s, of a
        result), `cut_off` (number of runs left out) and `note`, which says why there is none: "no spikes", "never above
        the threshold" or "never below the threshold".

    Raises
    ------
    ValueError
        If counts are negative, NaN or not over time, or the percentile is not between 0 and 100.

    References
    ----------
    Beggs, J. M., Plenz, D. (2003). Neuronal avalanches in neocortical circuits. *J. Neurosci.* 23, 11167-11177.
    Bagley, B. A. et al. (2020). *PLOS ONE* 15, e0229083, Methods (the 35th percentile).
    """
    counts, length = _summed(activity, bin)
    if percentile is not None and not 0 <= percentile < 100:
        raise ValueError(f"`percentile` must be ≥ 0 and < 100, or None for bins without spikes, got {percentile!r}")
    threshold = 0.0 if percentile is None else float(np.percentile(counts, percentile))
    above = counts > threshold
    padded = np.pad(above, ((0, 0), (1, 1)))
    trial, begin = np.nonzero(padded[:, 1:] & ~padded[:, :-1])
    _, end = np.nonzero(padded[:, :-1] & ~padded[:, 1:])
    complete = (begin > 0) & (end < counts.shape[1])
    sums = np.pad(np.cumsum(counts, axis=1), ((0, 0), (1, 0)))
    size = sums[trial, end] - sums[trial, begin]
    note = ""
    if not complete.any():
        reasons = {"no spikes": not counts.any(), "never above the threshold": not above.any()}
        note = next((reason for reason, holds in reasons.items() if holds), "never below the threshold")
    attrs = {"threshold": threshold, "cut_off": int((~complete).sum()), "note": note}
    return xr.Dataset(
        {
            "size": ("avalanche", size[complete], {"long_name": "spikes of the avalanche", "units": "1"}),
            "duration": ("avalanche", (end - begin)[complete], {"long_name": "bins of the avalanche", "units": "1"}),
            "trial": ("avalanche", trial[complete]),
        },
        attrs=attrs if length is None else attrs | {"bin": 1e-3 * length},
    )


class _Law(NamedTuple):
    """A law whose logarithm is -exponent times a statistic, on whole numbers or on a continuous range."""

    support: Array
    """Statistic at whole numbers, or at the nodes of a quadrature."""
    weights: Array

    def moments(self, exponent: float) -> tuple[float, float, float]:
        """Return the logarithm of the norm, and mean and variance of the statistic."""
        logs = -exponent * self.support
        top = logs.max()
        parts = self.weights * np.exp(logs - top)
        norm = parts.sum()
        mean = (parts * self.support).sum() / norm
        return top + np.log(norm), mean, (parts * (self.support - mean) ** 2).sum() / norm

    def exponent(self, mean: float) -> float:
        """Return the exponent of greatest likelihood, at which the mean of the statistic is that of the sample."""
        spread = max(1e-300, float(np.ptp(self.support)))
        edge = _STEEPEST * max(1.0, np.log(1e3) / spread)
        found: float = optimize.brentq(lambda a: self.moments(a)[1] - mean, -edge, edge, xtol=1e-10)
        return found


def fit_power_law(
    values: Any, *, least: float = 1.0, most: float | None = None, discrete: bool = True, level: float = 0.95
) -> xr.Dataset:
    r"""Fit a truncated power law :math:`p(x) \propto x^{-\alpha}`, least ≤ x ≤ most, by maximum likelihood.

    At the maximum, the mean of ln x under the law is that of the values, and the Fisher information is n times its
    variance. An exponential law on the same range is fitted beside it: a power law means little unless it is clearly
    the more likely one (Vuong's test of the likelihood ratio).

    Parameters
    ----------
    values : array_like or DataArray, shape (value,)
        Sizes or durations; those outside the range are left out.
    least, most : float
        Range; by default from 1 to the largest value.
    discrete : bool
        Whole numbers, or a continuous density.
    level : float
        Of the normal interval of the exponent.

    Returns
    -------
    Dataset
        `exponent`, `exponent_se`, `exponent_low`, `exponent_high`; `ks`, the largest distance of cumulative
        distributions; `number` of values in the range; `log_likelihood_ratio` of the power law over the exponential, a
        value, and its two-sided `p`. Attributes: `least`, `most`, `discrete`.

    Raises
    ------
    ValueError
        If values are not positive and finite, not whole where `discrete`, fewer than two different ones lie in the
        range, or the values pile up at an end so that no exponent is found.

    References
    ----------
    Clauset, A., Shalizi, C. R., Newman, M. E. J. (2009). Power-law distributions in empirical data. *SIAM Rev.* 51,
    661-703. Deluca, A., Corral, Á. (2013). Fitting and goodness-of-fit test of non-truncated and truncated power-law
    distributions. *Acta Geophys.* 61, 1351-1394.
    """
    data = np.ravel(in_unit(values, "1", "values"))
    if not (data > 0).all():
        raise ValueError(f"values of a power law must be > 0, got {data.min():g}: leave them out")
    if discrete and (data != np.round(data)).any():
        raise ValueError("values must be whole numbers: give `discrete=False` for a continuous law")
    if not 0 < level < 1:
        raise ValueError(f"`level` must be between 0 and 1, got {level!r}")
    high = float(data.max()) if most is None and len(data) else most
    if high is None or not 0 < least < high or not np.isfinite(high):
        raise ValueError(f"the range of a power law must be 0 < least < most, got {least!r} to {high!r}")
    data = np.sort(data[(data >= least) & (data <= high)])
    if len(np.unique(data)) < 2:
        raise ValueError(f"a power law needs two different values from {least:g} to {high:g}, got {len(data)} values")
    points, weights = _points(least, high, discrete)
    power = _Law(np.log(points), weights)
    try:
        exponent = power.exponent(float(np.log(data).mean()))
        other = _Law(points / high, weights)
        rate = other.exponent(float(data.mean() / high))
    except ValueError as error:
        raise ValueError(
            f"values from {least:g} to {high:g} pile up at one end, no exponent fits them: choose another range"
        ) from error
    norm, _, variance = power.moments(exponent)
    se = float(1 / np.sqrt(len(data) * variance))
    reach = se * float(stats.norm.ppf(0.5 + level / 2))
    gain = (-exponent * np.log(data) - norm) - (-rate * data / high - other.moments(rate)[0])
    spread = float(gain.std())
    z = float(gain.mean() * np.sqrt(len(data)) / spread) if spread > 0 else 0.0
    numbers = {
        "exponent": exponent,
        "exponent_se": se,
        "exponent_low": exponent - reach,
        "exponent_high": exponent + reach,
        "ks": _largest_gap(data, points, weights * np.exp(-exponent * np.log(points) - norm), discrete),
        "log_likelihood_ratio": float(gain.mean()),
        "p": float(2 * stats.norm.sf(abs(z))),
    }
    out = xr.Dataset({name: ((), value, {"units": "1"}) for name, value in numbers.items()})
    out["number"] = ((), len(data))
    out.attrs = {"least": float(least), "most": high, "discrete": int(discrete), "level": level}
    return out


def branching_ratio(activity: Any, *, bin: Any = None, lags: int = 20, blocks: int = 10) -> xr.Dataset:
    r"""Estimate the branching ratio m of the activity: how many spikes follow from one, bin by bin.

    The slope of the regression of the activity on itself k bins earlier is :math:`r_k = b\,m^k`. Where every spike is
    seen b = 1 and the naive estimate r\ :sub:`1` is m; where only a part of the neurons is seen, b < 1 and
    r\ :sub:`1` is too small, but the decay with k is not (multistep regression).

    Parameters
    ----------
    activity : DataTree, Dataset or array_like, shape ([trial,] time)
        As of `avalanches`; a stationary process.
    bin : float or Quantity, optional
        Bin of a result, ms; m is that of a bin. Default: the one nearest to 4 ms.
    lags : int
        Largest k. The slopes should have decayed there, but not be all noise.
    blocks : int
        Blocks of time of the standard errors (delete-one jackknife).

    Returns
    -------
    Dataset
        `naive` and `multistep` with `…_se`, `b`, `slope` over ``lag`` (bins), `autocorrelation_time`
        (-bin / ln m; ms of a result, else bins) and `note`: "no decay" where no m between 0 and 1 fits the slopes, so
        that it is NaN (activity without memory, or not stationary); "no decay without some block" where its error is.

    Raises
    ------
    ValueError
        If the activity does not vary, or is too short for the lags and blocks.

    References
    ----------
    Wilting, J., Priesemann, V. (2018). Inferring collective dynamical states from widely unobserved systems. *Nat.
    Commun.* 9, 2325, Eqs. 3-5.
    """
    counts, length = _summed(activity, bin)
    require_integer("lags", lags, 2)
    require_integer("blocks", blocks, 2)
    if counts.shape[1] < blocks * 2 * lags:
        raise ValueError(
            f"{counts.shape[1]} bins a trial are too few for {lags} lags and {blocks} blocks: at least "
            f"{2 * lags * blocks}"
        )
    sums = _products(counts, lags, blocks)
    total = sums.sum(axis=0)
    slopes = _slopes(total)
    if not np.isfinite(slopes).all():
        raise ValueError(
            "the activity does not vary: a branching ratio needs spikes in some bins and none, or more, in others"
        )
    b, m = _decay(slopes)
    left = np.array([[s[0], _decay(s)[1]] for s in map(_slopes, total - sums)])
    errors = np.sqrt((blocks - 1) * left.var(axis=0))
    time = -1 / np.log(m) if np.isfinite(m) else np.nan
    unit = "1" if length is None else "ms"
    out = xr.Dataset({"slope": ("lag", slopes, {"units": "1"})}, coords={"lag": np.arange(1, lags + 1)})
    numbers = {"naive": slopes[0], "naive_se": errors[0], "multistep": m, "multistep_se": errors[1], "b": b}
    for name, value in numbers.items():
        out[name] = ((), float(value), {"units": "1"})
    out["autocorrelation_time"] = ((), float(time * (length or 1.0)), {"units": unit})
    flaw = "" if np.isfinite(errors[1]) else "no decay without some block"
    out["note"] = ((), flaw if np.isfinite(m) else "no decay")
    out.attrs = {"blocks": blocks} if length is None else {"blocks": blocks, "bin": 1e-3 * length}
    return out


def _summed(activity: Any, bin: Any) -> tuple[Array, float | None]:
    """Return the spikes of all neurons in bins, over (trial, time), and the bin of a result, ms."""
    if isinstance(activity, xr.DataTree | xr.Dataset):
        length = recorded(activity).bin(bin, _BIN)
        table = binned_counts(activity, length)
        neurons = "neuron" if "neuron" in table.dims else "population"
        counts = table.sum(neurons).transpose(..., "time").to_numpy().astype(np.float64)
        return counts.reshape(-1, counts.shape[-1]), length
    if bin is not None:
        raise ValueError("`bin` is of results, counts that are given have their bins")
    counts = np.atleast_2d(in_unit(activity, "1", "activity"))
    if counts.ndim != 2 or not counts.shape[1]:
        raise ValueError(f"activity must be over ([trial,] time), got shape {np.shape(activity)}")
    if not (counts >= 0).all():
        raise ValueError(f"activity must be numbers of spikes ≥ 0, got {counts.min():g}")
    return counts, None


def _points(least: float, most: float, discrete: bool) -> tuple[Array, Array]:
    """Return the points that a law's norm sums over and their weights: whole numbers, or nodes even in ln x."""
    if discrete:
        points = np.arange(np.ceil(least), np.floor(most) + 1)
        return points, np.ones(len(points))
    # Gauss-Legendre on 200 pieces of ln x: exponents up to the largest looked for are exact to rounding.
    nodes, own = np.polynomial.legendre.leggauss(8)
    edges = np.linspace(np.log(least), np.log(most), 201)
    half = 0.5 * np.diff(edges)[:, None]
    places = (0.5 * (edges[:-1] + edges[1:])[:, None] + half * nodes).ravel()
    points = np.exp(places)
    return points, (half * own).ravel() * points


def _largest_gap(data: Array, points: Array, probability: Array, discrete: bool) -> float:
    """Return the largest distance of the sample's cumulative distribution from the law's."""
    cumulative = np.cumsum(probability)
    below = np.searchsorted(data, points, side="right") / len(data)
    if discrete:
        return float(np.abs(below - cumulative).max())
    at_data = np.interp(data, points, cumulative)
    ranks = np.arange(len(data) + 1) / len(data)
    return float(max(np.abs(at_data - ranks[1:]).max(), np.abs(at_data - ranks[:-1]).max()))


def _products(counts: Array, lags: int, blocks: int) -> Array:
    """Return of every block and lag the sums n, x, y, xx, xy of pairs of bins, shape (block, lag, 5)."""
    edges = np.linspace(0, counts.shape[1], blocks + 1).astype(int)
    sums = np.empty((blocks, lags, 5))
    for k in range(lags):
        for block, (begin, end) in enumerate(itertools.pairwise(edges)):
            x = counts[:, begin : min(end, counts.shape[1] - k - 1)]
            y = counts[:, begin + k + 1 : min(end + k + 1, counts.shape[1])]
            sums[block, k] = x.size, x.sum(), y.sum(), (x * x).sum(), (x * y).sum()
    return sums


def _slopes(sums: Array) -> Array:
    n, x, y, xx, xy = sums.T
    variance = xx - x * x / n
    # Products of whole numbers are exact: a variance of rounding size is one of equal counts.
    return np.divide(xy - x * y / n, variance, out=np.full(len(n), np.nan), where=variance > 1e-12 * xx)


def _decay(slopes: Array) -> tuple[float, float]:
    """Return b and m of the least-squares fit of b m^k, NaN where no m between 0 and 1 is inside the fit's range."""
    k = np.arange(1, len(slopes) + 1)

    def lost(m: float) -> float:
        shape = m**k
        return float(((slopes - shape * (shape @ slopes) / (shape @ shape)) ** 2).sum())

    grid = np.concatenate([np.linspace(0.02, 0.9, 45), 1 - np.geomspace(0.1, 1e-4, 60)])
    best = int(np.argmin([lost(m) for m in grid]))
    if not np.isfinite(slopes).all() or best in (0, len(grid) - 1):
        return np.nan, np.nan
    m = float(optimize.minimize_scalar(lost, bounds=(grid[best - 1], grid[best + 1]), method="bounded").x)
    b = float((m**k) @ slopes / ((m**k) @ (m**k)))
    return (b, m) if b > 0 else (np.nan, np.nan)
