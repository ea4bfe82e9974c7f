"""Complexity of spike trains, and the dimensions that neurons share."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from mnnbio.analyses.rate_estimates import require_level
from mnnbio.analyses.spike_loops import lempel_ziv_words
from mnnbio.analyses.train_table import BLOCKS, table_blocks, train_table
from mnnbio.machine import require_integer, require_memory

Array = npt.NDArray[np.float64]

_WINDOW = 100.0  # ms
_ITERATIONS = 1000


def lempel_ziv_complexity(
    trains: Any,
    bin: Any = None,
    *,
    surrogates: int = 20,
    seed: int = 0,
    duration: Any = None,
    start: Any = None,
    stop: Any = None,
) -> xr.Dataset:
    r"""Return the Lempel-Ziv complexity of every neuron's train, as words and relative to a random train.

    The train becomes a row of bins with (1) or without (0) spikes, trial after trial. It is parsed from the left into
    words as short as possible that have not appeared before, those that overlap themselves included (Lempel and Ziv
    1976); c is their number. For a train of n bins and the share p of ones, :math:`c \log_2 n / n` tends to the
    entropy rate, at most :math:`-p \log_2 p - (1 - p) \log_2 (1 - p)` bits a bin, but slowly; ``relative`` is
    therefore c over its mean in trains of the same bins in random order: 1 where nothing can be foreseen, near 0 for a
    clock.

    Parameters
    ----------
    trains : DataTree, Dataset, or sequence of array_like
        A result with ``/spikes``; or plain trains, ms.
    bin : float or Quantity, optional
        Length of a bin, ms. Default: the one nearest to 5 ms.
    surrogates : int
        Random orders for ``relative`` and its error.
    seed : int
    duration : float or Quantity, optional
        Length of the record of plain trains, ms.
    start, stop : float or Quantity, optional
        Time looked at, ms; default: from the end of the warm-up to the end.

    Returns
    -------
    Dataset
        Over ([stimulus,] neuron): ``words``, c; ``complexity``, :math:`c \log_2 n / n` (bits per bin); ``relative``
        and ``relative_se``, the spread of c over random orders divided by their mean: how far chance moves it. Trains
        whose bins are all alike have the flag ``constant`` and the relative complexity 1.

    References ---------- Lempel, A., Ziv, J. (1976). On the complexity of finite sequences. *IEEE Trans. Inf. Theory*
    22, 75-81. Szczepanski, J. et al. (2003). Application of Lempel-Ziv complexity to the analysis of neural
    discharges. *Network* 14, 335-350.
    """
    require_integer("surrogates", surrogates, 2)
    rng = np.random.default_rng(seed)
    parts = []
    for table in table_blocks(trains, duration=duration, start=start, stop=stop):
        width = table.bin(bin, 5.0)
        counts = table.counts(width)
        bits = np.swapaxes(counts, 1, 2).reshape(table.stimuli * table.neurons, -1) > 0
        n = bits.shape[1]
        words = lempel_ziv_words(bits.astype(np.uint8))
        ones = bits.sum(axis=1)
        constant = (ones == 0) | (ones == n)
        random = {}
        for number in np.unique(ones[~constant]):  # trains of the same number of ones share their random orders
            orders = np.argsort(rng.random((surrogates, n)), axis=1) < number
            drawn = lempel_ziv_words(orders.astype(np.uint8))
            random[int(number)] = float(np.mean(drawn)), float(np.std(drawn, ddof=1))
        mean, spread = (
            np.array([random.get(int(k), (c, 0.0))[side] for k, c in zip(ones, words, strict=True)]) for side in (0, 1)
        )
        values = {
            "words": (words, "number of words", "1"),
            "complexity": (words * np.log2(max(n, 2)) / n, "Lempel-Ziv complexity", "bit"),
            "relative": (words / mean, "words relative to random order", "1"),
            "relative_se": (spread / mean, "spread of it by chance", "1"),
            "constant": (constant, "all bins are alike", "1"),
        }
        dims, shape = table.kept_dims, table.kept_shape
        data = {
            name: (dims, array.reshape(shape), {"units": unit, "long_name": text})
            for name, (array, text, unit) in values.items()
        }
        parts.append(xr.Dataset(data, coords=table.kept_coords(), attrs=table.attrs(bin=1e-3 * width, bins=n)))
    return parts[0] if len(parts) == 1 else xr.concat(parts, "neuron", data_vars="minimal", combine_attrs="override")


def shared_dimensionality(
    trains: Any,
    window: Any = None,
    *,
    factors: int | None = None,
    level: float = 0.95,
    resamples: int = 100,
    blocks: int = BLOCKS,
    seed: int = 0,
    duration: Any = None,
    start: Any = None,
    stop: Any = None,
) -> xr.Dataset:
    r"""Return how much variance neurons share, and in how many dimensions: factor analysis of spike counts.

    The covariance of counts is split into a shared part of low rank and a part of each neuron's own,
    :math:`C = L L^T + \mathrm{diag}(\psi)`, by maximum likelihood. With eigenvalues e of :math:`L L^T`,

    - ``shared_dimensionality``: :math:`(\sum e)^2 / \sum e^2`, the participation ratio of the shared part;
    - ``dimensions_95``: the least number of factors that hold 95 % of the shared variance;
    - ``shared_variance``: the mean over neurons of the shared part of their variance;
    - ``participation_ratio``: the same ratio of the whole covariance, without bias: for n samples the sums
      :math:`\mathrm{tr}\,C` squared and :math:`\mathrm{tr}\,C^2` are replaced by estimates free of the sampling noise
      that would spread eigenvalues, for Gaussian counts.

    Parameters
    ----------
    trains : DataTree, Dataset, or sequence of array_like
        A result with ``/spikes``; or plain trains, ms. Stimuli are taken off: deviations are from each stimulus' mean.
    window : float or Quantity, optional
        Counting window, ms. Default: the one nearest to 100 ms.
    factors : int, optional
        Rank of the shared part. Default: what held-out blocks of the record predict best, of 0 to 20.
    level : float
        Level of the intervals.
    resamples : int
        Records made of blocks drawn with replacement, for the intervals.
    blocks : int
        Blocks that each trial is cut into.
    seed : int
    duration : float or Quantity, optional
        Length of the record of plain trains, ms.
    start, stop : float or Quantity, optional
        Time looked at, ms; default: from the end of the warm-up to the end.

    Returns
    -------
    Dataset
        The four numbers with ``…_low`` and ``…_high``; ``factors``; ``eigenvalue`` of the shared part over ``factor``;
        and ``loading`` over (neuron, factor), counts. Neurons with constant counts are left out (attribute
        `constant_neurons`). Without a factor the shared dimensionality is 0.

    Raises
    ------
    ValueError
        If fewer than two neurons have counts that vary, or there are fewer than four windows a block.

    References ---------- Williamson, R. C. et al. (2016). Scaling properties of dimensionality reduction for neural
    populations and network models. *PLoS Comput. Biol.* 12, e1005141. Rubin, D. B., Thayer, D. T. (1982). EM
    algorithms for ML factor analysis. *Psychometrika* 47, 69-76. Ledoit, O., Wolf, M. (2002). Some hypothesis tests
    for the covariance matrix when the dimension is large compared to the sample size. *Ann. Statist.* 30, 1081-1102.
    """
    require_level(level)
    require_integer("resamples", resamples, 2)
    require_integer("blocks", blocks, 2)
    table = train_table(trains, duration=duration, start=start, stop=stop)
    width = table.bin(window, _WINDOW, "window")
    counts = table.counts(width).astype(np.float64)  # (stimulus, trial, neuron, window)
    counts -= counts.mean(axis=(1, 3), keepdims=True)
    length = counts.shape[3] // blocks
    if length < 4:
        raise ValueError(
            f"{counts.shape[3]} windows a trial are too few for {blocks} blocks: shorten `window`, or lower `blocks`"
        )
    cut = counts[..., : length * blocks].reshape(*counts.shape[:3], blocks, length)
    samples = np.moveaxis(cut, 2, -1).reshape(-1, length, table.neurons)  # (block, window, neuron)
    varying = samples.std(axis=(0, 1)) > 0
    if varying.sum() < 2:
        raise ValueError(f"shared variance needs two neurons whose counts vary, got {int(varying.sum())}")
    samples = samples[..., varying]
    n = samples.shape[-1]
    require_memory(8.0 * len(samples) * n**2, "a covariance matrix of every block", "Take fewer neurons or `blocks`.")
    second = samples.swapaxes(1, 2) @ samples / length
    freedom = table.stimuli / (len(samples) * length)
    whole = second.mean(axis=0) / (1 - freedom)
    most = min(20, n - 1)
    if factors is None:
        rank = _best_rank(second, most)
    else:
        require_integer("factors", factors, 0, n - 1)
        rank = factors
    loading, _ = _factor_analysis(whole, rank)
    value = _numbers(whole, loading, len(samples) * length)
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(resamples):
        weights = rng.multinomial(len(samples), np.full(len(samples), 1 / len(samples))) / len(samples)
        one = np.tensordot(weights, second, 1) / (1 - freedom)
        # Blocks that are drawn more than once count less as samples.
        effective = int(length / (weights**2).sum())
        drawn.append(_numbers(one, _factor_analysis(one, rank, loading)[0], effective))
    ends = np.quantile(np.array(drawn), [(1 - level) / 2, (1 + level) / 2], axis=0)
    texts = {
        "shared_dimensionality": "dimensions of the shared variance",
        "dimensions_95": "factors that hold 95 % of the shared variance",
        "shared_variance": "mean shared part of the variance of neurons",
        "participation_ratio": "participation ratio of the covariance, without bias",
    }
    data: dict[str, Any] = {}
    for k, (name, text) in enumerate(texts.items()):
        data[name] = ((), value[k], {"units": "1", "long_name": text})
        for side, end in zip(("low", "high"), ends, strict=True):
            data[f"{name}_{side}"] = ((), end[k], {"units": "1", "long_name": f"{side} end of the interval of it"})
    vectors, scales, _ = np.linalg.svd(loading, full_matrices=False)
    all_loadings = np.full((table.neurons, rank), np.nan)
    all_loadings[varying] = vectors * scales
    data["factors"] = ((), rank, {"units": "1", "long_name": "rank of the shared part"})
    data["eigenvalue"] = ("factor", scales**2, {"units": "1", "long_name": "shared variance of the factor"})
    data["loading"] = (("neuron", "factor"), all_loadings, {"units": "1", "long_name": "loading of the factor"})
    coords = {name: c for name, c in table.kept_coords().items() if set(c.dims) <= {"neuron"}}
    attrs = table.attrs(window=1e-3 * width, samples=len(samples) * length, level=level)
    return xr.Dataset(data, coords=coords, attrs=attrs | {"constant_neurons": int((~varying).sum())})


def _factor_analysis(covariance: Array, rank: int, first: Array | None = None) -> tuple[Array, Array]:
    """Return the likeliest loadings (neuron, factor) and own variances, by expectation and maximisation."""
    own = np.diag(covariance).copy()
    if rank == 0:
        return np.zeros((len(own), 0)), own
    floor = 1e-6 * own
    scale = np.sqrt(own)
    correlation = covariance / np.outer(scale, scale)
    if first is None:
        values, vectors = np.linalg.eigh(correlation)
        load = vectors[:, -rank:] * np.sqrt(np.maximum(values[-rank:] - 1, 0.05))
    else:
        load = first / scale[:, None]
    rest = np.maximum(1 - (load**2).sum(axis=1), 0.05)
    before = -np.inf
    for _ in range(_ITERATIONS):
        scaled = load / rest[:, None]
        inner = np.linalg.inv(np.eye(rank) + load.T @ scaled)
        weights = inner @ scaled.T  # of the factors given the counts
        moment = correlation @ weights.T
        load = moment @ np.linalg.inv(inner + weights @ moment)
        rest = np.maximum(1 - (load * moment).sum(axis=1), floor / own)
        now = _likelihood(correlation, load, rest)
        if now - before < 1e-7 * abs(now):
            break
        before = now
    return load * scale[:, None], rest * own


def _likelihood(covariance: Array, load: Array, rest: Array) -> float:
    """Return the mean logarithm of the Gaussian likelihood of counts of a covariance, up to a constant."""
    if not load.shape[1]:
        return -0.5 * float(np.log(rest).sum() + (np.diag(covariance) / rest).sum())
    scaled = load / rest[:, None]
    inner = np.eye(load.shape[1]) + load.T @ scaled
    log_determinant = np.linalg.slogdet(inner)[1] + np.log(rest).sum()
    trace = (np.diag(covariance) / rest).sum() - np.trace(np.linalg.solve(inner, scaled.T @ covariance @ scaled))
    return -0.5 * float(log_determinant + trace)


def _best_rank(second: Array, most: int) -> int:
    """Return the rank that predicts held-out blocks best, in five parts."""
    folds = min(5, len(second))
    part = np.arange(len(second)) % folds
    trained = [second[part != k].mean(axis=0) for k in range(folds)]
    tested = [second[part == k].mean(axis=0) for k in range(folds)]
    for one in trained:
        np.fill_diagonal(one, np.maximum(np.diag(one), 1e-6 * np.diag(second.mean(axis=0))))
    scores: list[float] = []
    for rank in range(most + 1):
        score = sum(
            _likelihood(test, *_factor_analysis(train, rank)) for train, test in zip(trained, tested, strict=True)
        )
        scores.append(score / folds)
        if rank - int(np.argmax(scores)) >= 3:  # no better for three ranks
            break
    return int(np.argmax(scores))


def _numbers(covariance: Array, loading: Array, samples: int) -> Array:
    scales = np.linalg.svd(loading, compute_uv=False) ** 2
    total = scales.sum()
    shared = (loading**2).sum(axis=1) / np.diag(covariance)
    ratio = total**2 / (scales**2).sum() if total > 0 else 0.0
    needed = float(np.searchsorted(np.cumsum(scales), 0.95 * total) + 1) if total > 0 else 0.0
    # With n degrees of freedom: E[tr S²] = (1 + 1/n) tr C² + (tr C)²/n and E[(tr S)²] = (tr C)² + 2 tr C²/n.
    trace, square = float(np.trace(covariance)), float((covariance**2).sum())
    matrix = np.array([[1.0, 2 / samples], [1 / samples, 1 + 1 / samples]])
    first, second = np.linalg.solve(matrix, [trace**2, square])
    free = first / second if second > 0 else float(len(covariance))
    return np.array([ratio, needed, shared.mean(), free])
