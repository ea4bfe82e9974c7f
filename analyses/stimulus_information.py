"""Discriminability of stimuli and linear Fisher information of a population, with and without covariances."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy import optimize, stats

from mnnbio.analyses.stimulus_moments import CountMoments, cholesky_root, count_moments
from mnnbio.machine import check_choice

Array = npt.NDArray[np.float64]
Pairs = Literal["neighbours", "all"]

_LEVEL = 0.95


def discriminability(
    result: xr.Dataset | xr.DataTree,
    *,
    population: str | Sequence[str] | None = None,
    pairs: Pairs = "neighbours",
    level: float = _LEVEL,
) -> xr.Dataset:
    r"""Estimate how well a linear decoder can tell pairs of stimuli apart, with and without covariances.

    .. math::  d'^2 = \Delta\mu^T \Sigma^{-1} \Delta\mu, \qquad I = d'^2 / \Delta s^2,
               \qquad \Sigma = (\Sigma_1 + \Sigma_2)/2

    of spike counts in the window. Simulated moments are estimates, which make the naive value too large; what is
    returned is corrected, and without bias for Gaussian counts.

    Parameters
    ----------
    result : Dataset or DataTree
        A prediction or a simulation with stimuli and covariances.
    population : str or sequence of str, optional
        Populations that are read; default: all neurons.
    pairs : {"neighbours", "all"}
        Pairs of stimuli: each and the next, or every one. A prediction and a simulation with the same choice can be
        subtracted.
    level : float
        Confidence level of the intervals.

    Returns
    -------
    Dataset
        Over ``pair``, with the stimuli as coordinates `first` and `second`: ``d_prime_squared``; ``d_prime``, its root,
        0 where the corrected square is negative; ``d_prime_squared_independent``, of neurons with the same variances
        and no covariances (of shuffled trials); ``covariance_gain``, the ratio of the two: above 1 covariances help.
        Where stimuli are numbers also ``fisher_information``, per squared unit of the stimulus. Of a simulation all
        but ``covariance_gain`` with standard errors ``<name>_se``, and ``d_prime_low``, ``d_prime_high``.

    Raises
    ------
    ValueError
        If there are fewer than two stimuli, no covariances, too few samples for so many neurons, or neurons without
        variance whose means differ.

    Notes
    -----
    The naive value is Hotelling's T² but for a factor, so with n samples of each of two stimuli and N neurons its
    distribution is known: a noncentral F with N and 2n − N − 1 degrees of freedom. Corrected value, variance and
    interval follow. Successive windows count as independent samples. The standard error of the value of independent
    neurons is that of the delta method, with covariances.

    References
    ----------
    Kanitscheider, Coen-Cagli, Kohn & Pouget (2015), Measuring Fisher information accurately in correlated neural
    populations, PLoS Comput. Biol. 11, e1004218: the corrected estimators (bias-corrected linear Fisher information and
    its variance, and that of shuffled data). Averbeck, Latham & Pouget (2006), Nat. Rev. Neurosci. 7, 358: the gain.
    """
    check_choice("pairs", pairs, get_args(Pairs))
    if not 0 < level < 1:
        raise ValueError(f"`level` must be between 0 and 1, got {level}")
    moments = count_moments(result, population=population)
    chosen = _pairs(len(moments.stimulus), pairs)
    first, second = chosen.T
    if moments.samples is not None:
        _require_samples(moments)
    rows = [_pair(moments, int(i), int(j), level) for i, j in chosen]
    out = xr.Dataset(
        coords={"first": ("pair", moments.stimulus[first]), "second": ("pair", moments.stimulus[second])},
        attrs={"window": moments.window, "neurons": moments.mean.shape[1]},
    )
    if moments.samples is not None:
        out.attrs |= {"n_samples": moments.samples, "level": level}
    for name, text in _TEXTS.items():
        if name in rows[0]:
            out[name] = ("pair", np.array([row[name] for row in rows]), {"units": "1", "long_name": text})
    if moments.stimulus.dtype.kind in "iuf":
        step = (moments.stimulus[second] - moments.stimulus[first]).astype(np.float64)
        if not step.all():
            raise ValueError("stimuli must differ from each other, two have the same label")
        for suffix in ("", "_se"):
            if f"d_prime_squared{suffix}" in out:
                text = f"{'standard error of the ' if suffix else ''}linear Fisher information"
                values = out[f"d_prime_squared{suffix}"].to_numpy() / step**2
                out[f"fisher_information{suffix}"] = ("pair", values, {"units": "1/stimulus²", "long_name": text})
    return out


_TEXTS = {
    "d_prime_squared": "squared discriminability of a linear decoder",
    "d_prime_squared_se": "standard error of the squared discriminability",
    "d_prime": "discriminability of a linear decoder",
    "d_prime_se": "standard error of the discriminability",
    "d_prime_low": "lower end of the interval of the discriminability",
    "d_prime_high": "upper end of the interval of the discriminability",
    "d_prime_squared_independent": "squared discriminability without covariances",
    "d_prime_squared_independent_se": "standard error of the squared discriminability without covariances",
    "covariance_gain": "squared discriminability over that without covariances",
}


def _pairs(number: int, pairs: str) -> npt.NDArray[np.int64]:
    if pairs == "all":
        return np.column_stack(np.triu_indices(number, 1))
    return np.column_stack([np.arange(number - 1), np.arange(1, number)])


def _require_samples(moments: CountMoments) -> None:
    """Raise unless the corrected estimate has a finite variance."""
    assert moments.samples is not None
    n, neurons = moments.samples, moments.mean.shape[1]
    if 2 * n - neurons - 5 <= 0:
        raise ValueError(
            f"discriminability of {neurons} neurons needs more than {(neurons + 5) // 2} counts of each stimulus, got "
            f"{n}: simulate more trials, or name fewer neurons (`population`, or `select` of the accessor)"
        )


def _pair(moments: CountMoments, i: int, j: int, level: float) -> dict[str, float]:
    """Return everything about a pair of stimuli."""
    difference = moments.mean[j] - moments.mean[i]
    covariance = (moments.covariance[i] + moments.covariance[j]) / 2
    difference, covariance = _varying(difference, covariance)
    naive = _quadratic_form(difference, covariance)
    weight = difference / np.diagonal(covariance)
    alone = float(difference @ weight)
    if moments.samples is None:
        return _with_root({"d_prime_squared": naive, "d_prime_squared_independent": alone})
    n, size = moments.samples, len(difference)
    value = naive * (2 * n - size - 3) / (2 * n - 2) - 2 * size / n
    low, high = _interval(naive, n, size, level)
    found = _with_root(
        {
            "d_prime_squared": value,
            "d_prime_squared_se": float(np.sqrt(_variance(max(value, 0.0), n, size))),
            "d_prime_squared_independent": alone * (n - 2) / (n - 1) - 2 * size / n,
            "d_prime_squared_independent_se": float(np.sqrt(_independent_variance(weight, covariance, n))),
        }
    )
    root = found["d_prime"]
    error = found["d_prime_squared_se"] / (2 * root) if root > 0 else np.nan
    return {**found, "d_prime_se": error, "d_prime_low": float(np.sqrt(low)), "d_prime_high": float(np.sqrt(high))}


def _with_root(found: dict[str, float]) -> dict[str, float]:
    value, alone = found["d_prime_squared"], found["d_prime_squared_independent"]
    gain = value / alone if alone > 0 else np.nan
    return {**found, "d_prime": float(np.sqrt(max(value, 0.0))), "covariance_gain": gain}


def _varying(difference: Array, covariance: Array) -> tuple[Array, Array]:
    """Leave out neurons that never vary, for they tell nothing.

    Raises
    ------
    ValueError
        If one of them tells everything: its means differ.
    """
    variance = np.diagonal(covariance)
    silent = variance <= 0
    if (differ := np.flatnonzero(silent & (difference != 0))).size:
        k = int(differ[0])
        raise ValueError(
            f"neuron {k} has no variance but means that differ by {difference[k]:g} counts: its discriminability is "
            "infinite; give covariances of counts in a window, or leave the neuron out"
        )
    kept = np.flatnonzero(~silent)
    if not len(kept):
        raise ValueError("no neuron has counts that vary: there is nothing to decode")
    return difference[kept], covariance[np.ix_(kept, kept)]


def _quadratic_form(vector: Array, covariance: Array) -> float:
    """Return ``vᵀ C⁻¹ v`` for a positive definite covariance, shape (neuron, neuron).

    Raises
    ------
    ValueError
        If the covariance is not positive definite.
    """
    scale = np.sqrt(np.diagonal(covariance))
    root = cholesky_root(covariance / scale[:, None] / scale[None, :])
    return float(np.square(np.linalg.solve(root, vector / scale)).sum())


def _variance(square: float, n: int, size: int) -> float:
    """Return the variance of the corrected d′² (Kanitscheider et al. 2015), written so that d′ = 0 is no exception."""
    wide = 2 * n - 3
    return float(2 / (2 * n - size - 5) * (square**2 + 4 * wide * square / n + 4 * size * wide / n**2))


def _independent_variance(weight: Array, covariance: Array, n: int) -> float:
    """Return the variance of d′² without covariances: errors of means, to second order, and of variances, to first.

    What sampling adds to squared differences and squared correlations on average is taken off.
    """
    variance = np.diagonal(covariance)
    freedom = 2 * n - 2
    shared = (covariance**2 / np.outer(variance, variance) * freedom - 1) / (freedom - 1)
    np.fill_diagonal(shared, 1.0)
    noise = 8 / n**2 * float(shared.sum())
    signal = max(8 / n * float(weight @ covariance @ weight) - 2 * noise, 0.0)
    squared = np.maximum(weight**2 - 2 / (n * variance), 0.0)
    return signal + noise + float(squared @ covariance**2 @ squared) / (n - 1)


def _interval(naive: float, n: int, size: int, level: float) -> tuple[float, float]:
    """Return the confidence interval of d′², from the noncentral F that the naive value follows."""
    freedom = 2 * n - size - 1
    observed = freedom / (size * (2 * n - 2)) * naive * n / 2

    def bound(tail: float) -> float:
        def excess(centre: float) -> float:
            return float(stats.ncf.cdf(observed, size, freedom, centre)) - tail

        if float(stats.f.cdf(observed, size, freedom)) <= tail:
            return 0.0
        top = 4 * (size * observed + 10.0)
        while excess(top) > 0:
            top *= 2
        return float(optimize.brentq(excess, 1e-12, top, xtol=1e-9 * top)) * 2 / n

    return bound((1 + level) / 2), bound((1 - level) / 2)
