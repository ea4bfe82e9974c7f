"""Decoders of spike counts: how often they find the stimulus, predicted from moments and measured on spikes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy import stats

from mnnbio.analyses.alignment import group
from mnnbio.analyses.binned_counts import binned_counts
from mnnbio.analyses.circuit_text import result_of
from mnnbio.analyses.stimulus_moments import cholesky_root, count_moments, of_populations
from mnnbio.machine import require_integer

Array = npt.NDArray[np.float64]

_ORTHANT = {"abseps": 1e-5, "releps": 1e-5, "maxpts": 200_000}  # of integrals of four decisions or more


class LinearDecoder(NamedTuple):
    """Decoder that chooses the stimulus with the largest ``weights @ counts + bias``."""

    weights: Array
    """Shape (stimulus, neuron)."""
    bias: Array
    """Shape (stimulus,)."""


def choice_probabilities(mean: npt.ArrayLike, covariance: npt.ArrayLike) -> Array:
    """Return how often each of several correlated Gaussian decision variables is the largest.

    Variable k wins if all differences to the others are positive: an orthant probability, exact for two and three
    variables, by quasi-random integration (error below about 1e-4) for more.

    Parameters
    ----------
    mean : array_like (..., output)
    covariance : array_like (..., output, output)
        Positive semidefinite.

    Returns
    -------
    ndarray (..., output)
        They add up to 1 within the error of integration.

    Raises
    ------
    ValueError
        If the shapes do not suit each other or a value is not finite.

    References
    ----------
    Genz (1992), J. Comput. Graph. Stat. 1, 141.
    """
    m, c = np.asarray(mean, dtype=np.float64), np.asarray(covariance, dtype=np.float64)
    if m.ndim < 1 or c.shape != (*m.shape, m.shape[-1]):
        raise ValueError(f"mean (..., output) and covariance (..., output, output), got {m.shape} and {c.shape}")
    if not (np.isfinite(m).all() and np.isfinite(c).all()):
        raise ValueError("mean and covariance of the decision variables must be finite")
    number = m.shape[-1]
    out = np.ones(m.shape)
    for place in np.ndindex(m.shape[:-1]):
        for k in range(number if number > 1 else 0):
            out[(*place, k)] = _largest(m[place], c[place], k)
    return out


def _largest(mean: Array, covariance: Array, k: int) -> float:
    """Return the probability that Gaussian variable k is the largest."""
    others = np.delete(np.arange(len(mean)), k)
    contrast = -np.eye(len(mean))[others]
    contrast[:, k] = 1.0
    margin, spread = contrast @ mean, contrast @ covariance @ contrast.T
    fixed = np.diagonal(spread) <= 1e-14 * max(float(np.abs(covariance).max()), 1e-300)
    if (margin[fixed] < 0).any():
        return 0.0
    share = 0.5 ** int((margin[fixed] == 0).sum())  # a tie is broken by chance
    margin, spread = margin[~fixed], spread[np.ix_(~fixed, ~fixed)]
    if not len(margin):
        return share
    scale = np.sqrt(np.diagonal(spread))
    if len(margin) == 1:
        return share * float(stats.norm.cdf(margin[0] / scale[0]))
    correlation = spread / scale[:, None] / scale[None, :]
    normal = stats.multivariate_normal(np.zeros(len(margin)), correlation, allow_singular=True, seed=0, **_ORTHANT)
    return share * float(normal.cdf(margin / scale))


def predicted_accuracy(
    result: xr.Dataset | xr.DataTree,
    *,
    population: str | Sequence[str] | None = None,
    decoder: LinearDecoder | None = None,
) -> xr.Dataset:
    """Predict how often a linear decoder finds the stimulus from the counts of one window, from moments alone.

    Counts are taken as Gaussian with mean and covariance of each stimulus; the decision variables are then Gaussian,
    and a decision is right with an orthant probability (`choice_probabilities`). Two stimuli of one covariance are told
    apart with probability Φ(d′/2).

    Parameters
    ----------
    result : Dataset or DataTree
        A prediction, or a simulation, with stimuli and covariances.
    population : str or sequence of str, optional
        Populations that are read; default: all neurons.
    decoder : LinearDecoder, optional
        Default: the best for the mean covariance (`linear_decoder`).

    Returns
    -------
    Dataset
        ``accuracy`` (stimulus), ``confusion`` (stimulus, choice) and ``mean_accuracy``; attributes `window`, `chance`.

    Raises
    ------
    ValueError
        If there are fewer than two stimuli or no covariances.
    """
    moments = count_moments(result, population=population)
    decoder = linear_decoder(moments.mean, moments.covariance.mean(axis=0)) if decoder is None else decoder
    weights, bias = decoder
    mean = moments.mean @ weights.T + bias
    covariance = np.einsum("kn,snm,lm->skl", weights, moments.covariance, weights)
    return _accuracies(choice_probabilities(mean, covariance), moments.stimulus, moments.window)


def linear_decoder(mean: npt.ArrayLike, covariance: npt.ArrayLike) -> LinearDecoder:
    """Return the linear decoder that is best for Gaussian counts of one covariance and stimuli of equal probability.

    ``weights = μ Σ⁻¹`` and ``bias = −½ μ Σ⁻¹ μᵀ`` (Fisher's discriminant). Neurons without variance get no weight.

    Parameters
    ----------
    mean : array_like (stimulus, neuron)
    covariance : array_like (neuron, neuron)
        Positive definite.

    Raises
    ------
    ValueError
        If the covariance is not positive definite.
    """
    m, c = np.asarray(mean, dtype=np.float64), np.asarray(covariance, dtype=np.float64)
    kept = np.flatnonzero(np.diagonal(c) > 0)
    if not len(kept):
        raise ValueError("no neuron has counts that vary: there is nothing to decode")
    scale = np.sqrt(np.diagonal(c)[kept])
    root = cholesky_root(c[np.ix_(kept, kept)] / scale[:, None] / scale[None, :])
    centre = m.mean(axis=0)
    white = np.linalg.solve(root, ((m - centre)[:, kept] / scale).T)
    weights = np.zeros(m.shape)
    weights[:, kept] = np.linalg.solve(root.T, white).T / scale
    bias = -0.5 * np.square(white).sum(axis=0) - weights @ centre
    return LinearDecoder(weights, bias)


def spike_accuracy(
    result: xr.Dataset | xr.DataTree,
    *,
    window: Any = None,
    population: str | Sequence[str] | None = None,
    decoder: LinearDecoder | None = None,
    folds: int = 5,
) -> xr.Dataset:
    """Measure how often a linear decoder finds the stimulus from the spikes of one window.

    Parameters
    ----------
    result : Dataset or DataTree
        A result with ``/spikes`` or counts of neurons, and stimuli.
    window : float or Quantity, optional
        Window that is decoded, ms; default: that of the result.
    population : str or sequence of str, optional
        Populations that are read; default: all recorded neurons.
    decoder : LinearDecoder, optional
        A decoder that is given, such as that of a prediction, is tested on all data. Default: one is fitted to a part
        of the data and tested on the rest, part after part (cross-validation).
    folds : int
        Parts: of whole trials, so that windows of one trial are never on both sides; of a single trial, stretches.

    Returns
    -------
    Dataset
        ``accuracy`` (stimulus) with ``accuracy_se``; ``confusion`` (stimulus, choice); ``mean_accuracy`` with
        ``mean_accuracy_se`` and the 95 % interval ``mean_accuracy_low``, ``mean_accuracy_high`` (Wilson). The errors
        are those of the decisions that were tested; that a decoder fitted to other data would differ is not in them.

    Raises
    ------
    ValueError
        If there are no stimuli, fewer trials (or windows) than `folds`, or the window does not suit the recording.

    Notes
    -----
    A fitted decoder uses the pooled covariance within stimuli, its correlations shrunk towards 0 by as much as their
    sampling error suggests (Schäfer & Strimmer 2005, Stat. Appl. Genet. Mol. Biol. 4, 32, eq. 10). With few trials it
    is worse than the best decoder, and so than its prediction; a given decoder is not.
    """
    require_integer("folds", folds, 2)
    counts = _window_counts(result, window)
    stimulus, length = counts["stimulus"].to_numpy(), float(counts.attrs["bin"])
    table = of_populations(counts, population).transpose("stimulus", "trial", "time", "neuron").to_numpy().astype(float)
    number, size = len(table), table.shape[-1]
    if number < 2:
        raise ValueError(f"decoding needs at least two stimuli, got {number}")
    samples = table.reshape(number, -1, size)
    if decoder is not None:
        if decoder.weights.shape != (number, size):
            raise ValueError(
                f"`decoder` is for {decoder.weights.shape}, the spikes are {(number, size)} (stimulus, neuron)"
            )
        choice = _choices(samples, decoder)
    else:
        owner = _folds(table.shape[1], table.shape[2], folds)
        choice = np.empty(samples.shape[:2], dtype=np.int64)
        for fold in range(folds):
            test = owner == fold
            train = samples[:, ~test]
            fitted = linear_decoder(train.mean(axis=1), _shrunk_covariance(train))
            choice[:, test] = _choices(samples[:, test], fitted)
    share = np.stack([(choice == k).mean(axis=1) for k in range(number)], axis=1)
    out = _accuracies(share, stimulus, length)
    n, right = samples.shape[1], np.diagonal(share)
    error = np.sqrt(right * (1 - right) / max(n - 1, 1))
    _add_errors(out, error, n)
    out.attrs |= {"n_samples": n, "decoder": "given" if decoder is not None else f"fitted, {folds} folds"}
    return out


def compare_decoding(
    prediction: xr.Dataset | xr.DataTree,
    simulation: xr.Dataset | xr.DataTree,
    *,
    population: str | Sequence[str] | None = None,
    folds: int = 5,
) -> xr.Dataset:
    """Compare the accuracy that predicted moments imply with that of spikes.

    Parameters
    ----------
    prediction : Dataset or DataTree
        With stimuli and ``count_covariance`` of the window that is decoded; or a result that has it.
    simulation : DataTree
        With the spikes of the same stimuli; it may be the same result.
    population : str or sequence of str, optional
        Populations that are read; default: all neurons.
    folds : int
        Parts of the data for the decoder that is fitted.

    Returns
    -------
    Dataset
        ``accuracy_predicted``; ``accuracy_spikes`` of the *predicted* decoder applied to spikes, a test of the moments
        that nothing is fitted for; ``accuracy_fitted`` of a decoder fitted to spikes; each over ``stimulus`` and as
        ``mean_…``, those of spikes with ``_se``. ``mean_accuracy_z`` = (spikes − predicted)/se.

    Raises
    ------
    ValueError
        If stimuli or windows differ, or something is missing.
    """
    side = group(prediction, "prediction")  # of a whole result, which may have both
    moments = count_moments(side, population=population)
    if "window" not in side.attrs:
        raise ValueError("decoding needs a prediction of counts: predict with `window`, the time that is decoded")
    window = 1e3 * moments.window
    decoder = linear_decoder(moments.mean, moments.covariance.mean(axis=0))
    predicted = predicted_accuracy(side, population=population, decoder=decoder)
    given = spike_accuracy(simulation, window=window, population=population, decoder=decoder)
    differ = predicted["stimulus"].to_numpy() != given["stimulus"].to_numpy()
    if np.any(differ):
        raise ValueError(
            f"stimuli differ: {moments.stimulus.tolist()} in the prediction, "
            f"{given['stimulus'].to_numpy().tolist()} in the simulation"
        )
    fitted = spike_accuracy(simulation, window=window, population=population, folds=folds)
    out = xr.Dataset(coords=predicted.coords, attrs=dict(given.attrs) | {"decoder": fitted.attrs["decoder"]})
    for suffix, side in (("predicted", predicted), ("spikes", given), ("fitted", fitted)):
        for name in ("accuracy", "mean_accuracy"):
            out[f"{name}_{suffix}"] = side[name]
            if f"{name}_se" in side:
                out[f"{name}_{suffix}_se"] = side[f"{name}_se"]
    gap = float(given["mean_accuracy"] - predicted["mean_accuracy"])
    error = float(given["mean_accuracy_se"])
    out["mean_accuracy_z"] = (
        (),
        gap / error if error > 0 else np.nan,
        {"units": "1", "long_name": "z of the accuracy"},
    )
    return out


def _window_counts(result: xr.Dataset | xr.DataTree, window: Any) -> xr.DataArray:
    """Return counts in windows over (stimulus, trial, time, neuron)."""
    if window is None:
        attrs = result_of(result).attrs if isinstance(result, xr.DataTree) else result.attrs
        if "window" not in attrs:
            raise ValueError("the result has no counting window: give `window`, ms, the time that is decoded")
        window = 1e3 * float(attrs["window"])
    counts = binned_counts(result, window)
    if "neuron" not in counts.dims or "stimulus" not in counts.dims:
        raise ValueError(
            f"decoding needs counts of neurons for several stimuli, the result has {', '.join(map(str, counts.dims))}"
        )
    if "stimulus" not in counts.coords:
        counts = counts.assign_coords(stimulus=np.arange(counts.sizes["stimulus"]))
    return counts


def _folds(trials: int, windows: int, folds: int) -> npt.NDArray[np.int64]:
    """Return the part of the data that every sample belongs to: whole trials, or stretches of a lone one."""
    if trials >= folds:
        return np.repeat(np.arange(trials) * folds // trials, windows)
    if trials > 1 or windows < folds:
        raise ValueError(
            f"`folds` must be at most the number of trials, {trials} (of one trial: of windows, {windows}), got "
            f"{folds}: lower it, or simulate more trials"
        )
    return np.arange(windows) * folds // windows


def _choices(samples: Array, decoder: LinearDecoder) -> npt.NDArray[np.int64]:
    """Return the stimulus that is chosen for each sample, shape (stimulus, sample)."""
    return np.asarray((samples @ decoder.weights.T + decoder.bias).argmax(axis=-1), dtype=np.int64)


def _shrunk_covariance(samples: Array) -> Array:
    """Return the pooled covariance of (stimulus, sample, neuron), its correlations shrunk towards 0."""
    number, n, _ = samples.shape
    if n < 2:
        raise ValueError(f"a decoder needs at least two samples of each stimulus to be fitted to, got {n}")
    deviation = (samples - samples.mean(axis=1, keepdims=True)).reshape(number * n, -1)
    freedom = number * (n - 1)
    variance = np.square(deviation).sum(axis=0) / freedom
    scale = np.sqrt(variance)
    unit = np.divide(deviation, scale, out=np.zeros_like(deviation), where=scale > 0)
    correlation = unit.T @ unit / freedom
    # Variance of each coefficient over samples, from the spread of the products that it is the mean of.
    spread = (np.square(unit).T @ np.square(unit) / freedom - correlation**2) / freedom
    off = ~np.eye(len(scale), dtype=bool)
    total = float(np.square(correlation[off]).sum())
    shrink = min(max(float(spread[off].sum()) / total, 0.0), 1.0) if total > 0 else 1.0
    shrunk = np.where(off, (1 - shrink) * correlation, 1.0)
    return np.asarray(shrunk * scale[:, None] * scale[None, :], dtype=np.float64)


def _accuracies(share: Array, stimulus: npt.NDArray[Any], window: float) -> xr.Dataset:
    """Return the dataset of how often each stimulus (rows) is taken for each (columns)."""
    right = np.diagonal(share).copy()
    return xr.Dataset(
        {
            "accuracy": ("stimulus", right, {"units": "1", "long_name": "share of right decisions"}),
            "confusion": (("stimulus", "choice"), share, {"units": "1", "long_name": "share of decisions"}),
            "mean_accuracy": ((), float(right.mean()), {"units": "1", "long_name": "mean share of right decisions"}),
        },
        coords={"stimulus": stimulus, "choice": stimulus},
        attrs={"window": window, "chance": 1 / len(right)},
    )


def _add_errors(out: xr.Dataset, error: Array, n: int) -> None:
    """Add standard errors and the interval of the mean accuracy, of n decisions a stimulus."""
    mean, total = float(out["mean_accuracy"]), n * len(error)
    text = "standard error of the {}"
    out["accuracy_se"] = ("stimulus", error, {"units": "1", "long_name": text.format("share of right decisions")})
    value = float(np.sqrt(np.square(error).sum()) / len(error))
    out["mean_accuracy_se"] = ((), value, {"units": "1", "long_name": text.format("mean share of right decisions")})
    interval = stats.binomtest(round(mean * total), total).proportion_ci(0.95, method="wilson")
    for name, bound in (("low", interval.low), ("high", interval.high)):
        attrs = {"units": "1", "long_name": f"{name} end of the 95 % interval of the mean share of right decisions"}
        out[f"mean_accuracy_{name}"] = ((), float(bound), attrs)
