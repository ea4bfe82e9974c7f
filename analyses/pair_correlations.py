"""Correlations of spike counts of every two neurons, and their distribution without the noise of sampling."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy import stats

from mnnbio.analyses.binned_counts import population_names
from mnnbio.analyses.rate_estimates import require_level
from mnnbio.analyses.spike_loops import count_products
from mnnbio.analyses.train_table import BLOCKS, TrainTable, train_table
from mnnbio.machine import check_choice, require_integer, require_memory

Array = npt.NDArray[np.float64]
Kind = Literal["correlation", "covariance"]

_WINDOW = 100.0  # ms
_CLASSES = 12  # sizes of errors that are told apart
_PER_BIN = 4  # steps of the grid of the true distribution in a bin of the histogram


def count_correlations(
    trains: Any,
    window: Any = None,
    *,
    duration: Any = None,
    start: Any = None,
    stop: Any = None,
) -> xr.Dataset:
    r"""Return covariances and correlation coefficients of spike counts of every two neurons.

    The sums :math:`\sum_t n_i(t) n_j(t)` are taken over the spikes of each window, not over all windows of all pairs.
    Trials and windows are samples of one mean; stimuli stay apart. The error of a coefficient is that of independent
    Gaussian samples, :math:`(1 - \rho^2)/\sqrt{n - 1}`; `correlation_distribution` makes none of these assumptions.

    Parameters
    ----------
    trains : DataTree, Dataset, or sequence of array_like
        A result with ``/spikes``; or plain trains, ms.
    window : float or Quantity, optional
        Counting window, ms. Default: the one nearest to 100 ms.
    duration : float or Quantity, optional
        Length of the record of plain trains, ms.
    start, stop : float or Quantity, optional
        Time looked at, ms; default: from the end of the warm-up to the end.

    Returns
    -------
    Dataset
        ``covariance`` (unbiased), ``correlation`` and ``correlation_se``, over ([stimulus,] neuron, neuron_j).
        Coefficients with a neuron whose counts do not vary are NaN, and `constant_neurons` counts these.

    Raises
    ------
    ValueError
        If there are fewer than two windows.
    """
    table = train_table(trains, duration=duration, start=start, stop=stop)
    width = table.bin(window, _WINDOW, "window")
    place, begin, number = table.places(width)
    n, samples = table.neurons, number * table.trials
    if samples < 2:
        raise ValueError(f"covariances need two windows or more, the record holds {samples} of {width:g} ms")
    require_memory(40.0 * n**2 * table.stimuli, f"covariances of {n} neurons", "Take fewer neurons.")
    runs = np.repeat(np.arange(table.stimuli * table.trials), n)
    covariance = np.empty((table.stimuli, n, n))
    for s in range(table.stimuli):
        rows = slice(s * table.trials * n, (s + 1) * table.trials * n)
        low, high = begin[rows.start], begin[rows.stop]
        trial = np.repeat(runs[rows] - s * table.trials, np.diff(begin[rows.start : rows.stop + 1]))
        edges = begin[rows.start : rows.stop + 1] - low
        neuron = np.tile(np.arange(n), table.trials)
        products = count_products(place[low:high] + trial * number, edges, neuron, n, samples)
        total = np.diff(edges).reshape(table.trials, n).sum(axis=0).astype(np.float64)
        products -= np.outer(total, total / samples)
        covariance[s] = np.divide(products, samples - 1, out=products)
    spread = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
    constant = spread <= 1e-12
    scale = np.where(constant, np.nan, spread)
    correlation = covariance / scale[:, :, None]
    correlation /= scale[:, None, :]
    se = (1 - correlation**2) / np.sqrt(samples - 1)
    lead = table.kept_dims[:-1]
    texts = {
        "covariance": (covariance, "covariance of spike counts"),
        "correlation": (correlation, "correlation coefficient of spike counts"),
        "correlation_se": (se, "standard error of it, of independent samples"),
    }
    return xr.Dataset(
        {
            name: ((*lead, "neuron", "neuron_j"), array if lead else array[0], {"units": "1", "long_name": text})
            for name, (array, text) in texts.items()
        },
        coords=table.pair_coords(),
        attrs=table.attrs(window=1e-3 * width, samples=samples, constant_neurons=int(constant.any(axis=0).sum())),
    )


def correlation_distribution(
    trains: Any,
    window: Any = None,
    *,
    kind: Kind = "correlation",
    predicted: Any = None,
    bins: int = 60,
    iterations: int = 50,
    level: float = 0.95,
    blocks: int = 2 * BLOCKS,
    duration: Any = None,
    start: Any = None,
    stop: Any = None,
) -> xr.Dataset:
    r"""Return the distribution of pair correlations between populations, and what it is without the noise of sampling.

    The histogram of correlations from a finite record is wider than the true one. Each trial is cut into blocks; the
    deviations of each block from its own mean give every pair a covariance :math:`c_b` for each of the B blocks,
    independent of each other if blocks are longer than the memory of the network. Then :math:`[(\sum_b c_b)^2 - \sum_b
    c_b^2]/[B(B - 1)]` is the square of the true covariance without bias, and so the variance of the true distribution,

    .. math:: V_\mathrm{true} = \langle C_{ij}^2 \rangle - \langle C_{ij} \rangle^2 ,

    is known without any model of the noise; what is left of the observed variance is `sampling_variance`. The
    interval is :math:`V_\mathrm{true}` ± a multiple of its error, by leaving out one block after the other.

    The shape is found by maximum likelihood: each pair's observed value is the true one with Gaussian noise of its own
    error (of its blocks), and `iterations` steps of expectation and maximisation from an even distribution keep it
    smooth. A prediction is shown as it is and with the same noise, to be laid on the observed histogram.

    Parameters
    ----------
    trains : DataTree, Dataset, or sequence of array_like
        A result with ``/spikes``; or plain trains, ms. Stimuli are pooled as trials, each with its own mean.
    window : float or Quantity, optional
        Counting window, ms. Default: the one nearest to 100 ms.
    kind : {"correlation", "covariance"}
        Coefficients, with the variances of the whole record; or covariances of counts.
    predicted : array_like or DataArray, shape (neuron, neuron_j), optional
        Predicted values of the same kind, for the same neurons.
    bins : int
        Bins of the histogram, over all values of all populations.
    iterations : int
        Steps of the estimate of the shape: more make it sharper, and rougher.
    level : float
        Level of the interval.
    blocks : int
        Blocks that each trial is cut into, each of four windows or more.
    duration : float or Quantity, optional
        Length of the record of plain trains, ms.
    start, stop : float or Quantity, optional
        Time looked at, ms; default: from the end of the warm-up to the end.

    Returns
    -------
    Dataset
        Over (population, population_j): ``mean`` and ``mean_se``; ``observed_variance``, ``sampling_variance``,
        ``true_variance`` with ``true_variance_se``, ``…_low`` and ``…_high``; ``resolved``, true where the interval
        lies above 0, and ``pairs``, their number. Over (population, population_j, value): ``density_observed``,
        ``density_true`` and, with `predicted`, ``density_predicted`` and ``density_predicted_noisy``; then also
        ``predicted_variance`` and ``predicted_distance``, the largest difference of the distribution functions of
        observed and noisy prediction. A negative true variance is 0 within its error. Neurons with constant counts are
        left out (`constant_neurons`); populations without pairs have `pairs` 0 and NaN.

    Raises
    ------
    ValueError
        If blocks are too short, fewer than two neurons have counts that vary, or `predicted` is of another shape or
        not finite.

    References ---------- Richardson, W. H. (1972). Bayesian-based iterative method of image restoration. *J. Opt. Soc.
    Am.* 62, 55-59. Dahmen, D. et al. (2019). Second type of criticality in the brain uncovers rich multiple-neuron
    dynamics. *PNAS* 116, 13051-13060 (Methods: bias of the variance of covariances).
    """
    check_choice("kind", kind, ("correlation", "covariance"))
    require_level(level)
    require_integer("blocks", blocks, 4)
    require_integer("bins", bins, 5)
    require_integer("iterations", iterations, 1)
    table = train_table(trains, duration=duration, start=start, stop=stop)
    width = table.bin(window, _WINDOW, "window")
    names = population_names(xr.Dataset(coords={"population": table.coords["population"]}))
    order = list(dict.fromkeys(names.tolist()))
    each, kept = _block_values(table, width, blocks, kind)
    theory = _checked_prediction(predicted, table.neurons)
    names = names[kept]
    number = len(each)
    total = each.mean(axis=0)
    error = each.std(axis=0, ddof=1) / np.sqrt(number)
    upper = np.triu(np.ones(total.shape, dtype=bool), 1)
    spread = total[upper]
    if theory is not None:
        theory = theory[np.ix_(kept, kept)]
        spread = np.concatenate([spread, theory[upper]])
    low, high = float(spread.min()), float(spread.max())
    pad = 0.05 * (high - low) if high > low else max(abs(low), 1e-9)
    edges = np.linspace(low - pad, high + pad, bins + 1)
    shape = (len(order), len(order))
    scalars = {
        name: np.full(shape, np.nan)
        for name in ("mean", "mean_se", "observed_variance", "sampling_variance", "true_variance", "true_variance_se")
    }
    pairs = np.zeros(shape, dtype=np.int64)
    densities = {name: np.full((*shape, bins), np.nan) for name in ("density_observed", "density_true")}
    if theory is not None:
        scalars |= {name: np.full(shape, np.nan) for name in ("predicted_variance", "predicted_distance")}
        densities |= {
            name: np.full((*shape, bins), np.nan) for name in ("density_predicted", "density_predicted_noisy")
        }
    for a, first in enumerate(order):
        for b, second in enumerate(order[a:], a):
            mask = np.outer(names == first, names == second)
            mask = (mask | mask.T) & upper
            pairs[a, b] = pairs[b, a] = mask.sum()
            if not mask.any():
                continue
            own = _variances(each[:, mask])
            values, noise = total[mask], error[mask]
            found: dict[str, Any] = own._asdict()
            shown = {
                "density_observed": _density(values, edges),
                "density_true": _deconvolved(values, noise, edges, iterations),
            }
            if theory is not None:
                expected = theory[mask]
                shown["density_predicted"] = _density(expected, edges)
                shown["density_predicted_noisy"] = _with_noise(expected, noise, edges)
                found["predicted_variance"] = float(expected.var())
                found["predicted_distance"] = _distance(values, expected, noise)
            for store, part in ((scalars, found), (densities, shown)):
                for name, value in part.items():
                    store[name][a, b] = store[name][b, a] = value
    reach = stats.t.ppf(0.5 + level / 2, number - 1) * scalars["true_variance_se"]
    scalars["true_variance_low"], scalars["true_variance_high"] = (
        scalars["true_variance"] + k * reach for k in (-1, 1)
    )
    dims = ("population", "population_j")
    data: dict[str, Any] = {
        name: (dims, array, {"units": "1", "long_name": name.replace("_", " ")}) for name, array in scalars.items()
    }
    data["resolved"] = (
        dims,
        scalars["true_variance_low"] > 0,
        {"units": "1", "long_name": "the interval lies above 0"},
    )
    data["pairs"] = (dims, pairs, {"units": "1", "long_name": "number of pairs"})
    data |= {
        name: ((*dims, "value"), array, {"units": "1", "long_name": name.replace("_", " ")})
        for name, array in densities.items()
    }
    middles = 0.5 * (edges[1:] + edges[:-1])
    coords = {"population": order, "population_j": order}
    coords["value"] = ("value", middles, {"units": "1", "long_name": f"{kind} of spike counts"})  # type: ignore[assignment]
    attrs = table.attrs(window=1e-3 * width, kind=kind, blocks=number, level=level, constant_neurons=int((~kept).sum()))
    return xr.Dataset(data, coords=coords, attrs=attrs)


class Variances(NamedTuple):
    """Mean and variance over pairs, of what was observed and of the true values."""

    mean: float
    mean_se: float
    observed_variance: float
    sampling_variance: float
    true_variance: float
    true_variance_se: float


def _block_values(table: TrainTable, width: float, blocks: int, kind: Kind) -> tuple[Array, npt.NDArray[np.bool_]]:
    """Return covariances or correlations of each block (block, neuron, neuron), and the neurons that vary."""
    counts = table.counts(width)
    length = counts.shape[3] // blocks
    if length < 4:
        raise ValueError(
            f"{counts.shape[3]} windows a trial are too few for {blocks} blocks of 4 or more: "
            "shorten `window`, or lower `blocks`"
        )
    cut = counts[..., : length * blocks].reshape(*counts.shape[:3], blocks, length)
    samples = np.moveaxis(cut, 2, -1).reshape(-1, length, table.neurons).astype(np.float64)
    samples -= samples.mean(axis=1, keepdims=True)
    variance = (samples**2).sum(axis=(0, 1)) / (len(samples) * (length - 1))
    kept = variance > 0
    if kept.sum() < 2:
        raise ValueError(f"correlations need two neurons whose counts vary, got {int(kept.sum())}")
    n = int(kept.sum())
    require_memory(
        10.0 * len(samples) * n**2,
        f"covariances of {n} neurons in {len(samples)} blocks",
        "Lower `blocks`, or take fewer neurons.",
    )
    samples = samples[..., kept]
    if kind == "correlation":
        samples /= np.sqrt(variance[kept])
    return samples.swapaxes(1, 2) @ samples / (length - 1), kept


def _variances(each: Array) -> Variances:
    """Return mean and variances over pairs of values (block, pair)."""
    blocks = len(each)
    total = each.sum(axis=0)
    squares = (each**2).sum(axis=0)
    means = each.mean(axis=1)

    def true(total_square: float, square: float, mean_total: float, mean_square: float, number: int) -> float:
        scale = number * (number - 1)
        return (total_square - square) / scale - (mean_total**2 - mean_square) / scale

    own = (each**2).mean(axis=1)
    crossed = (each * total).mean(axis=1)
    total_square, square = float((total**2).mean()), float(squares.mean())
    mean_total, mean_square = float(means.sum()), float((means**2).sum())
    value = true(total_square, square, mean_total, mean_square, blocks)
    left = np.array(
        [
            true(
                total_square - 2 * crossed[k] + own[k], square - own[k], mean_total - means[k],
                mean_square - means[k] ** 2, blocks - 1,
            )
            for k in range(blocks)
        ]
    )  # fmt: skip
    observed = float((total / blocks).var())
    se = float(np.sqrt((blocks - 1) * left.var()))
    return Variances(
        float(means.mean()), float(means.std(ddof=1) / np.sqrt(blocks)), observed, observed - value, value, se
    )


def _density(values: Array, edges: Array) -> Array:
    found: Array = np.histogram(values, edges)[0] / (len(values) * np.diff(edges))
    return found


def _classes(noise: Array) -> tuple[Array, npt.NDArray[np.int64]]:
    """Return a few sizes of errors, and the one that each pair has."""
    ends = np.unique(np.quantile(noise, np.linspace(0, 1, _CLASSES + 1)))
    which = np.clip(np.searchsorted(ends, noise, "right") - 1, 0, max(len(ends) - 2, 0))
    number = np.bincount(which)
    sizes = np.sqrt(np.bincount(which, noise**2) / np.maximum(number, 1))
    return sizes, which


def _deconvolved(values: Array, noise: Array, edges: Array, iterations: int) -> Array:
    """Return the density of true values in bins that explains the observed ones with their noise."""
    sizes, which = _classes(noise)
    fine = np.linspace(edges[0], edges[-1], _PER_BIN * (len(edges) - 1) + 1)
    grid = 0.5 * (fine[1:] + fine[:-1])
    weight = np.full(len(grid), 1 / len(grid))
    likelihoods, numbers = [], []
    step = fine[1] - fine[0]
    for k, size in enumerate(sizes):
        mine = values[which == k]
        if not len(mine):
            continue
        sigma = max(size, 0.5 * step)
        below = stats.norm.cdf((fine[:, None] - grid) / sigma)
        likelihoods.append(np.diff(below, axis=0))
        numbers.append(np.histogram(mine, fine)[0])
    for _ in range(iterations):
        new = np.zeros(len(grid))
        for likelihood, number in zip(likelihoods, numbers, strict=True):
            seen = number > 0
            expected = likelihood[seen] @ weight
            new += (number[seen] / np.maximum(expected, 1e-300)) @ likelihood[seen]
        weight = weight * new
        weight /= weight.sum()
    density: Array = weight.reshape(-1, _PER_BIN).sum(axis=1) / np.diff(edges)
    return density


def _with_noise(expected: Array, noise: Array, edges: Array) -> Array:
    """Return the density in bins of predicted values with the noise of their own pairs."""
    found = np.zeros(len(edges) - 1)
    for one in range(0, len(expected), 20_000):
        some = slice(one, one + 20_000)
        sigma = np.maximum(noise[some], 1e-300)
        found += np.diff(stats.norm.cdf((edges[:, None] - expected[some]) / sigma), axis=0).sum(axis=1)
    return found / (len(expected) * np.diff(edges))


def _distance(values: Array, expected: Array, noise: Array) -> float:
    """Return the largest difference of the distribution of values from that of the noisy prediction."""
    places = np.quantile(values, np.linspace(0.005, 0.995, 100))
    own = np.searchsorted(np.sort(values), places, "right") / len(values)
    theirs = np.zeros(len(places))
    for one in range(0, len(expected), 20_000):
        some = slice(one, one + 20_000)
        sigma = np.maximum(noise[some], 1e-300)
        theirs += stats.norm.cdf((places[:, None] - expected[some]) / sigma).sum(axis=1)
    return float(np.abs(own - theirs / len(expected)).max())


def _checked_prediction(predicted: Any, neurons: int) -> Array | None:
    if predicted is None:
        return None
    if isinstance(predicted, xr.DataArray):
        if not {"neuron", "neuron_j"} <= set(predicted.dims) or predicted.ndim != 2:
            raise ValueError(f"`predicted` must be over neuron and neuron_j, got {tuple(predicted.dims)}")
        predicted = predicted.transpose("neuron", "neuron_j").to_numpy()
    matrix = np.asarray(predicted, dtype=np.float64)
    if matrix.shape != (neurons, neurons):
        raise ValueError(f"`predicted` must be of shape ({neurons}, {neurons}), as the neurons are, got {matrix.shape}")
    off = matrix[~np.eye(neurons, dtype=bool)]
    if not np.isfinite(off).all():
        raise ValueError("`predicted` must be finite off the diagonal, got NaN or infinite values")
    return matrix
