"""Importance of modes: sizes and the measure τ, power laws of ranks, and what removing modes or weights costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy import stats

from mnnbio.analyses.modes import FactoredWeights
from mnnbio.machine import check_choice, require_integer

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

MODELS = ("two power laws", "power law", "exponential", "curved")
FEW_NETWORKS = 5  # from which networks are resampled; with fewer, they are simulated
BISECTIONS, CALIBRATED = 16, 200  # steps, and simulations, that find the scatter of importances around a law


def mode_importance(modes: FactoredWeights) -> xr.Dataset:
    """Return how important each mode is by its score and by the measure τ of Lin and Huang.

    ``τ_μ = γ (‖ξ_in,μ‖ + ‖ξ_out,μ‖) + |λ_μ|`` with ``γ = Σ|λ| / Σ(‖ξ_in‖ + ‖ξ_out‖)``, which gives vectors and scores
    one scale. A mode may be rescaled between vectors and score without changing the weights, and τ then changes:
    `strength`, ``|λ_μ| ‖ξ_in,μ‖ ‖ξ_out,μ‖``, the size of the mode's part of the weights, does not.

    Parameters
    ----------
    modes : FactoredWeights

    Returns
    -------
    Dataset
        Over ``mode``: `tau`, `score_size`, `norm_in`, `norm_out`, `strength`, and `rank` by τ, 1 being the highest.

    Raises
    ------
    ValueError
        If a score is 0 or NaN.

    References
    ----------
    Z. Lin, H. Huang (2024), Spiking mode-based neural networks, Phys. Rev. E 110, 024306, eq. 9.
    """
    if not isinstance(modes, FactoredWeights):
        raise TypeError(f"expected factored weights such as ModeMatrix, got {type(modes).__name__}")
    sizes = np.abs(np.asarray(modes.scores, dtype=np.float64))
    if not np.isfinite(sizes).all() or (sizes == 0).any():
        place = int(np.flatnonzero(~np.isfinite(sizes) | (sizes == 0))[0])
        raise ValueError(
            f"scores must be finite and other than 0, got {modes.scores[place]} for mode {place}: leave it out"
        )
    norm_in, norm_out = (
        np.linalg.norm(np.asarray(m, dtype=np.float64), axis=0) for m in (modes.input_modes, modes.output_modes)
    )
    gamma = sizes.sum() / (norm_in + norm_out).sum()
    tau = gamma * (norm_in + norm_out) + sizes
    rank = np.empty(len(tau), dtype=np.int64)
    rank[np.argsort(-tau, kind="stable")] = np.arange(1, len(tau) + 1)
    columns = {
        "tau": tau,
        "score_size": sizes,
        "norm_in": norm_in,
        "norm_out": norm_out,
        "strength": sizes * norm_in * norm_out,
        "rank": rank,
    }
    return xr.Dataset({name: ("mode", values) for name, values in columns.items()}, attrs={"gamma": float(gamma)})


class _Fit(NamedTuple):
    """Least squares of the logarithm of several samples, each (sample, …)."""

    coefficients: Array
    rss: Array  # sum of squared residuals
    fitted: Array
    breakpoint: npt.NDArray[np.int64]  # ranks in the first segment; 0 without segments


def power_laws(
    values: npt.ArrayLike,
    *,
    breakpoint: int | None = None,
    last: int | None = None,
    least: int = 4,
    level: float = 0.95,
    resamples: int = 999,
    seed: int = 0,
) -> xr.Dataset:
    """Return two power laws of importance against rank, joined at a breakpoint, and tests against simpler laws.

    ``log value = a log rank + b`` is fitted to the ranks before and after the breakpoint by least squares; the
    breakpoint with the smallest sum is taken. Alternatives are one power law, an exponential ``log value = a rank +
    b``, and a curved law, quadratic in ``log rank``. Values that are sorted have residuals alike at neighbouring ranks:
    tests therefore compare with networks that are simulated after a law and sorted likewise, and Akaike's criterion,
    which takes residuals for independent, favours two segments too much.

    Parameters
    ----------
    values : array_like, shape (rank,) or (network, rank)
        Positive importances, in any order; sorted, descending, in each network, and averaged over networks.
    breakpoint : int, optional
        Ranks in the first segment, instead of the best.
    last : int, optional
        Highest rank used; by default all.
    least : int
        Smallest number of ranks in a segment.
    level : float
        Of the percentile intervals.
    resamples : int
        Of the bootstrap: of networks where there are five or more, else simulated after the fit; and of each test.
    seed : int

    Returns
    -------
    Dataset
        Over ``segment`` (2): `exponent`, `exponent_low`, `exponent_high`, `intercept`, `r2` (as explained sum of
        squares over total); `breakpoint`, `…_low`, `…_high`; over ``model``: `aicc` and `preferred`, the part of the
        resamples in which it has the lowest; `p`, the probability of a gain in likelihood by two segments as large as
        is found, if the other model held (NaN for itself); over ``rank``: `value` and `fitted`.

    Raises
    ------
    ValueError
        If values are not positive, or too few for two segments.
    """
    table = np.atleast_2d(np.asarray(values, dtype=np.float64))
    if table.ndim != 2 or not np.isfinite(table).all() or not (table > 0).all():
        raise ValueError("importances must be finite and > 0, over rank or over (network, rank)")
    require_integer("resamples", resamples, 1)
    require_integer("least", least, 3)
    table = -np.sort(-table, axis=1)
    table = table[:, :last] if last is not None else table
    ranks = table.shape[1]
    if ranks < 2 * least or (breakpoint is not None and not least <= breakpoint <= ranks - least):
        raise ValueError(
            f"two segments need {least} ranks or more each, got {ranks} ranks"
            + ("" if breakpoint is None else f" and the breakpoint {breakpoint}")
        )
    if not 0 < level < 1:
        raise ValueError(f"`level` must be between 0 and 1, got {level!r}")
    rng = np.random.default_rng(seed)
    y = np.log(table.mean(0))
    designs = _designs(ranks, least, breakpoint)
    best = {name: _best(y[None], designs[name]) for name in MODELS}
    two = best["two power laws"]
    if len(table) >= FEW_NETWORKS:
        samples = np.log(table[rng.integers(0, len(table), (resamples, len(table)))].mean(1))
    else:
        samples = _simulated(two, designs["two power laws"], len(table), resamples, rng)
    drawn = {name: _best(samples, designs[name]) for name in MODELS}
    criteria = np.stack([_aicc(name, drawn[name], ranks) for name in MODELS])
    preferred = np.bincount(criteria.argmin(0), minlength=len(MODELS)) / resamples
    p = [np.nan]
    for name in MODELS[1:]:
        own = best[name]
        samples = _simulated(own, designs[name], len(table), resamples, rng)
        ratios = _best(samples, designs[name]).rss / _best(samples, designs["two power laws"]).rss
        p.append((1 + int((ratios >= own.rss / two.rss).sum())) / (1 + resamples))
    tails = [(1 - level) / 2, (1 + level) / 2]
    exponents, breaks = drawn["two power laws"].coefficients[:, [0, 2]], drawn["two power laws"].breakpoint
    k, coefficients, fitted = int(two.breakpoint[0]), two.coefficients[0], two.fitted[0]
    low, high = np.quantile(exponents, tails, axis=0)
    found: dict[str, Any] = {
        "exponent": ("segment", coefficients[[0, 2]]),
        "exponent_low": ("segment", low),
        "exponent_high": ("segment", high),
        "intercept": ("segment", coefficients[[1, 3]]),
        "r2": ("segment", np.array([_explained(y[part], fitted[part]) for part in (slice(k), slice(k, None))])),
        "breakpoint": k,
        "breakpoint_low": float(np.quantile(breaks, tails[0])),
        "breakpoint_high": float(np.quantile(breaks, tails[1])),
        "aicc": ("model", np.array([_aicc(name, best[name], ranks)[0] for name in MODELS])),
        "preferred": ("model", preferred),
        "p": ("model", np.array(p)),
        "value": ("rank", np.exp(y)),
        "fitted": ("rank", np.exp(fitted)),
    }
    return xr.Dataset(
        found,
        coords={"model": list(MODELS), "rank": np.arange(1, ranks + 1)},
        attrs={
            "level": level,
            "resamples": resamples,
            "resampled": "networks" if len(table) >= FEW_NETWORKS else "simulated",
            "networks": len(table),
            "breakpoint": "best" if breakpoint is None else "given",
            "seed": seed,
        },
    )


def _designs(ranks: int, least: int, breakpoint: int | None) -> dict[str, list[tuple[int, Array, Array]]]:
    """Return for each model its breakpoints, regressors and their pseudo-inverses."""
    rank = np.arange(1.0, ranks + 1)
    one, log = np.ones(ranks), np.log(rank)
    found = {
        "power law": [(0, np.stack([log, one], 1))],
        "exponential": [(0, np.stack([rank, one], 1))],
        "curved": [(0, np.stack([log, one, log**2], 1))],
        "two power laws": [],
    }
    for k in range(least, ranks - least + 1) if breakpoint is None else [breakpoint]:
        first = (rank <= k).astype(float)
        second = 1 - first
        found["two power laws"].append((k, np.stack([log * first, first, log * second, second], 1)))
    return {name: [(k, X, np.linalg.pinv(X)) for k, X in designs] for name, designs in found.items()}


def _best(samples: Array, designs: list[tuple[int, Array, Array]]) -> _Fit:
    """Return the best fits of samples (sample, rank) among breakpoints."""
    found: _Fit | None = None
    for k, X, inverse in designs:
        coefficients = samples @ inverse.T
        fitted = coefficients @ X.T
        rss = np.maximum(((samples - fitted) ** 2).sum(1), 1e-300)
        here = np.full(len(samples), k)
        if found is None:
            found = _Fit(coefficients, rss, fitted, here)
            continue
        better = rss < found.rss
        for old, fresh in zip(found, (coefficients, rss, fitted, here), strict=True):
            old[better] = fresh[better]
    assert found is not None
    return found


def _simulated(
    fit: _Fit, design: list[tuple[int, Array, Array]], networks: int, resamples: int, rng: np.random.Generator
) -> Array:
    """Return logarithms of mean importances of networks that obey a law, (resample, rank), sorted as data are.

    Each value scatters log-normally around the law, so widely that the sorted values leave the residuals that were
    found: sorting makes those of neighbours alike, and smaller than the scatter is.
    """
    noise = rng.normal(size=(resamples, networks, fit.fitted.shape[1]))

    def made(sigma: float, number: int = resamples) -> Array:
        values = np.exp(fit.fitted[0] + sigma * noise[:number])
        return np.asarray(np.log((-np.sort(-values, axis=-1)).mean(1)))

    plain = np.sqrt(fit.rss[0] / noise.shape[-1])
    low, high = 0.3 * plain, 100 * plain
    for _ in range(BISECTIONS):
        middle = np.sqrt(low * high)
        if np.median(_best(made(middle, CALIBRATED), design).rss) < fit.rss[0]:
            low = middle
        else:
            high = middle
    return made(np.sqrt(low * high))


def _aicc(name: str, fit: _Fit, ranks: int) -> Array:
    """Return Akaike's criterion corrected for few data; a chosen breakpoint and the error count as parameters."""
    number = fit.coefficients.shape[1] + 1 + (name == "two power laws")
    rest = ranks - number - 1
    few = 2 * number * (number + 1) / rest if rest > 0 else np.inf
    return np.asarray(ranks * np.log(fit.rss / ranks) + 2 * number + few)


def _explained(y: Array, fitted: Array) -> float:
    total = float(((y - y.mean()) ** 2).sum())
    return float(((fitted - y.mean()) ** 2).sum()) / total if total else np.nan


def ablation_curve(
    score: Callable[[Mask], float],
    importance: npt.ArrayLike,
    *,
    removed: Sequence[int] | None = None,
    draws: int = 20,
    seed: int = 0,
) -> xr.Dataset:
    """Return the score of a network against the number of modes removed, by importance and at random.

    Parameters
    ----------
    score : callable
        From a mask (mode,), True where a mode is kept, to the score of the network without the others (higher is
        better), such as its accuracy.
    importance : array_like, shape (mode,)
        Such as `tau` of `mode_importance`.
    removed : sequence of int, optional
        Numbers of modes removed; by default all from 0 to the number of modes.
    draws : int
        Random orders.
    seed : int

    Returns
    -------
    Dataset
        Over ``removed``: `least_first` and `most_first`, and `random` over ``(draw, removed)``. Those of several
        networks are joined by ``xr.concat(…, "network")``.
    """
    values = np.asarray(importance, dtype=np.float64)
    if values.ndim != 1:
        raise ValueError(f"`importance` must have the shape (mode,), got {values.shape}")
    numbers = np.arange(len(values) + 1) if removed is None else np.asarray(removed)
    return _curve(score, values, numbers, draws, seed, "removed", "modes removed")


def pruning_curve(
    score: Callable[[Mask], float],
    weights: npt.ArrayLike,
    fractions: Sequence[float] = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95),
    *,
    draws: int = 5,
    seed: int = 0,
) -> xr.Dataset:
    """Return the score of a network against the fraction of weights set to 0, by size and at random.

    Parameters
    ----------
    score : callable
        From a mask of the shape of `weights`, True where a weight is kept, to the score (higher is better).
    weights : array_like
        Of any shape; the smallest in absolute value are the least important.
    fractions : sequence of float
        From 0 to 1.
    draws, seed
        Random orders.

    Returns
    -------
    Dataset
        As of `ablation_curve`, over ``fraction``.
    """
    values = np.abs(np.asarray(weights, dtype=np.float64))
    parts = np.asarray(fractions, dtype=np.float64)
    if parts.ndim != 1 or not ((parts >= 0) & (parts <= 1)).all():
        raise ValueError(f"`fractions` must be numbers from 0 to 1, got {fractions!r}")
    numbers = np.round(parts * values.size).astype(int)
    curve = _curve(score, values, numbers, draws, seed, "fraction", "fraction of weights removed")
    return curve.assign_coords(fraction=("fraction", parts, {"long_name": "fraction of weights removed"}))


def _curve(
    score: Callable[[Mask], float], importance: Array, numbers: Any, draws: int, seed: int, dim: str, long_name: str
) -> xr.Dataset:
    require_integer("draws", draws, 1)
    size = importance.size
    if not np.isfinite(importance).all():
        raise ValueError("importances must be finite, got NaN or infinite values")
    if numbers.ndim != 1 or not len(numbers) or not np.issubdtype(numbers.dtype, np.integer):
        raise ValueError(f"`{dim}` must be whole numbers, got {numbers!r}")
    if (numbers < 0).any() or (numbers > size).any():
        raise ValueError(f"`{dim}` must be between 0 and {size}, got {numbers.min()} to {numbers.max()}")
    rng = np.random.default_rng(seed)
    ascending = np.argsort(importance, axis=None, kind="stable")
    orders = [ascending, ascending[::-1], *(rng.permutation(size) for _ in range(draws))]
    ends: dict[int, float] = {}  # nothing and everything removed are the same in all orders
    table = np.empty((len(orders), len(numbers)))
    for row, order in enumerate(orders):
        for column, number in enumerate(int(n) for n in numbers):
            if number in ends:
                table[row, column] = ends[number]
                continue
            keep = np.ones(size, dtype=bool)
            keep[order[:number]] = False
            value = float(score(keep.reshape(importance.shape)))
            if not np.isfinite(value):
                raise ValueError(f"the score must be a finite number, got {value} with {number} of {size} removed")
            table[row, column] = value
            if number in (0, size):
                ends[number] = value
    return xr.Dataset(
        {"least_first": (dim, table[0]), "most_first": (dim, table[1]), "random": (("draw", dim), table[2:])},
        coords={dim: (dim, numbers, {"long_name": long_name})},
        attrs={"seed": seed},
    )


def curve_difference(
    curves: xr.Dataset, one: str = "least_first", other: str = "random", *, level: float = 0.95
) -> xr.Dataset:
    """Return the difference of two orders of removal, its average over the curve, and Student's intervals.

    Parameters
    ----------
    curves : Dataset
        Of `ablation_curve` or `pruning_curve`; of several networks with the dimension ``network``, whose differences
        are then the sample. Of one network the draws at random are the sample.
    one, other : {"least_first", "most_first", "random"}
        The difference is one minus other; random orders are averaged in each network.
    level : float

    Returns
    -------
    Dataset
        `difference` with `…_low` and `…_high` over the curve, and `mean_difference` likewise, averaged over all
        removals that leave something to choose (not 0 and not all). An interval of one sample is NaN.
    """
    known = ["least_first", "most_first", "random"]
    check_choice("one", one, known)
    check_choice("other", other, known)
    (dim,) = (name for name in ("removed", "fraction") if name in curves.dims)
    difference = curves[one] - curves[other]
    sample = "draw"
    if "network" in difference.dims:
        difference, sample = (difference.mean("draw") if "draw" in difference.dims else difference), "network"
    if sample not in difference.dims:
        difference = difference.expand_dims(sample)
    places = curves[dim].to_numpy()
    inner = np.flatnonzero((places > 0) & (places < (1 if dim == "fraction" else places.max())))
    found: dict[str, Any] = {}
    parts = {"difference": difference, "mean_difference": difference.isel({dim: inner}).mean(dim)}
    for name, part in parts.items():
        mean, low, high = _student(part, sample, level)
        found |= {name: mean, f"{name}_low": low, f"{name}_high": high}
    return xr.Dataset(found, attrs={"level": level, "sample": sample, "samples": difference.sizes[sample]})


def _student(values: xr.DataArray, dim: str, level: float) -> tuple[xr.DataArray, xr.DataArray, xr.DataArray]:
    """Return mean and Student's interval over a dimension."""
    if not 0 < level < 1:
        raise ValueError(f"`level` must be between 0 and 1, got {level!r}")
    number, mean = values.sizes[dim], values.mean(dim)
    if number < 2:
        return mean, mean * np.nan, mean * np.nan
    half = stats.t.ppf((1 + level) / 2, number - 1) * values.std(dim, ddof=1) / np.sqrt(number)
    return mean, mean - half, mean + half


def curve_intervals(curves: xr.Dataset, *, level: float = 0.95) -> xr.Dataset:
    """Return the mean score of each order of removal with Student's interval over networks, or over random draws.

    Parameters
    ----------
    curves : Dataset
        As for `curve_difference`.
    level : float

    Returns
    -------
    Dataset
        `least_first`, `most_first`, `random`, each with `…_low` and `…_high`; NaN where there is one sample.
    """
    found: dict[str, Any] = {}
    for name in ("least_first", "most_first", "random"):
        own = curves[name]
        sample = "draw"
        if "network" in own.dims:
            own, sample = (own.mean("draw") if "draw" in own.dims else own), "network"
        mean, low, high = _student(own if sample in own.dims else own.expand_dims(sample), sample, level)
        found |= {name: mean, f"{name}_low": low, f"{name}_high": high}
    return xr.Dataset(found, attrs={"level": level})
