"""Distances of distributions over neurons and over pairs, judged against what chance and other seeds give."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from mnnbio.analyses.alignment import Aligned, align
from mnnbio.analyses.record_blocks import Blocks, Members

Array = npt.NDArray[np.float64]
Variables = dict[str, tuple[Any, Any, dict[str, str]]]

_DRAWS, _FEWEST = 99, 19
_FEW_SPIKES = 5
_BUDGET = 4e6  # values sorted in the draws of one distance
_PAIRS = 100_000
_REFERENCES = 3  # draws of noise that a distance of pairs is averaged over


def ks_distance(first: npt.ArrayLike, second: npt.ArrayLike) -> float:
    """Return the Kolmogorov–Smirnov distance of two samples: the largest difference of their distribution functions.

    Parameters
    ----------
    first, second : array_like
        Samples of any shape; NaN is left out.

    Returns
    -------
    float
        From 0 to 1; NaN if a sample is empty.
    """
    a, b = (np.sort(values[np.isfinite(values)]) for values in (np.ravel(first), np.ravel(second)))
    if not len(a) or not len(b):
        return float("nan")
    both = np.concatenate([a, b])
    below = np.searchsorted(a, both, side="right") / len(a) - np.searchsorted(b, both, side="right") / len(b)
    return float(np.abs(below).max())


def rate_distances(
    aligned: Aligned,
    members: Members,
    samples: Blocks | None,
    others: Sequence[Aligned],
    populations: list[str],
    rng: np.random.Generator,
) -> Variables:
    """Compare the distribution of rates over the neurons of each population with the predicted one.

    Parameters
    ----------
    aligned : Aligned
        Prediction and simulation.
    members : dict
        Indices of the neurons of each population, and of all neurons under None.
    samples : Blocks, optional
        What neurons did in blocks of the record.
    others : sequence of Aligned
        Further simulations of the same circuit, of other seeds.
    populations : list of str
    rng : numpy.random.Generator

    Returns
    -------
    dict
        Variables of a comparison. Sampling widens the simulated distribution; what it does to an exact prediction comes
        from predicted rates to which the noise of resampled blocks is added, with its correlations between neurons.
    """
    attrs = aligned.attrs
    time = float(attrs.get("duration", np.nan)) * float(attrs.get("trials", 1))
    # Expected rates are continuous, found ones are not: those of a few spikes in all count as one.
    least = _FEW_SPIKES / time if time > 0 else 0.0
    predicted = np.maximum(_flat(aligned.prediction["rate"]), least)
    simulated = [np.maximum(_flat(one.simulation["rate"]), least) for one in (aligned, *others)]
    columns: dict[str, list[float]] = {}
    for name in (None, *populations):
        mine = members[name]
        x, y = predicted[:, mine], [own[:, mine] for own in simulated]
        row = {"ks": ks_distance(x, y[0]), "ks_p": np.nan, "ks_expected": np.nan}
        row |= {"ks_halves": np.nan, "ks_halves_high": np.nan}
        if samples is not None and samples.number >= 4 and x.size:
            row |= _by_chance(x, samples.rate[..., mine], row["ks"], least, rng)
        if others:
            distances = [ks_distance(a, b) for a, b in combinations(y, 2)]
            row |= {"ks_seeds": float(np.mean(distances)), "ks_seeds_high": float(np.max(distances))}
        for key, value in row.items():
            columns.setdefault(key, []).append(float(value))
    out: Variables = {}
    for key, values in columns.items():
        described = {"long_name": _TEXTS[key].format("rates over neurons"), "units": "1"}
        out[f"rate_{key}"] = ((), values[0], described)
        if populations:
            own = {**described, "long_name": f"{described['long_name']}, per population"}
            out[f"layer_rate_{key}"] = ("layer", np.array(values[1:]), own)
    return out


_TEXTS = {
    "ks": "Kolmogorov–Smirnov distance of predicted and simulated {0}",
    "ks_p": "probability of a Kolmogorov–Smirnov distance of the {0} as large if the prediction were exact",
    "ks_expected": "mean Kolmogorov–Smirnov distance of the {0} if the prediction were exact",
    "ks_halves": "mean Kolmogorov–Smirnov distance of the {0} between halves of the record",
    "ks_halves_high": "Kolmogorov–Smirnov distance of the {0} that 95 % of halves of the record stay below",
    "ks_seeds": "mean Kolmogorov–Smirnov distance of the {0} between simulations of different seeds",
    "ks_seeds_high": "largest Kolmogorov–Smirnov distance of the {0} between simulations of different seeds",
}


def _by_chance(x: Array, rates: Array, found: float, least: float, rng: np.random.Generator) -> dict[str, float]:
    """Return distances of an exact prediction, and of halves of the record, (stimulus, block, neuron)."""
    strata, number, _ = rates.shape
    draws = int(np.clip(_BUDGET / max(x.size, 1), _FEWEST, _DRAWS))
    noise = (rates - rates.mean(axis=1, keepdims=True)) * np.sqrt(number / (number - 1))
    exact, halves = np.empty(draws), np.empty(draws)
    rows = np.arange(strata)[:, None]
    for k in range(draws):
        chosen = rng.integers(number, size=(strata, number))
        exact[k] = ks_distance(x, np.maximum(x + noise[rows, chosen].mean(axis=1), least))
        order = rng.permuted(np.tile(np.arange(number), (strata, 1)), axis=1)
        left, right = order[:, : number // 2], order[:, number // 2 : 2 * (number // 2)]
        both = (np.maximum(rates[rows, half].mean(axis=1), least) for half in (left, right))
        halves[k] = ks_distance(*both)
    return {
        "ks_p": (1 + float((exact >= found - 1e-12).sum())) / (1 + draws),
        "ks_expected": float(exact.mean()),
        "ks_halves": float(halves.mean()),
        "ks_halves_high": float(np.quantile(halves, 0.95)),
    }


def pair_distances(name: str, predicted: Array, simulated: Array, se: Array, rng: np.random.Generator) -> Variables:
    """Compare the distribution of covariances over pairs with the predicted one, widened by sampling.

    Parameters
    ----------
    name : str
        Name of the covariance.
    predicted, simulated, se : ndarray (neuron, neuron)
        Predicted and simulated covariances, and the errors of the latter.
    rng : numpy.random.Generator

    Returns
    -------
    dict
        Variables of a comparison. The errors of pairs are drawn as independent.
    """
    pairs = np.triu_indices(len(predicted), 1)
    x, y, error = predicted[pairs], simulated[pairs], se[pairs]
    known = np.flatnonzero(np.isfinite(x) & np.isfinite(y) & np.isfinite(error))
    row = dict.fromkeys(("ks", "ks_p", "ks_expected"), float("nan"))
    known = known[np.lexsort((error[known], y[known], x[known]))]  # draws do not depend on the order of neurons
    if len(known) > 2:
        known = rng.choice(known, _PAIRS, replace=False) if len(known) > _PAIRS else known
        x, y, error = x[known], y[known], error[known]
        draws = int(np.clip(_BUDGET / len(known) / _REFERENCES, _FEWEST, _DRAWS))
        reference = [x + error * rng.normal(size=len(x)) for _ in range(_REFERENCES)]
        found = float(np.mean([ks_distance(one, y) for one in reference]))
        chance = np.array(
            [
                np.mean([ks_distance(one, fresh) for one in reference])
                for fresh in (x + error * rng.normal(size=len(x)) for _ in range(draws))
            ]
        )
        row = {
            "ks": found,
            "ks_p": (1 + float((chance >= found).sum())) / (1 + draws),
            "ks_expected": float(chance.mean()),
        }
    text = "covariances over pairs, the predicted ones widened by sampling"
    return {
        f"{name}_{key}": ((), value, {"long_name": _TEXTS[key].format(text), "units": "1"})
        for key, value in row.items()
    }


def align_others(prediction: xr.Dataset | xr.DataTree, seeds: Sequence[xr.Dataset | xr.DataTree]) -> list[Aligned]:
    """Return further simulations with the prediction that they must match as the first does.

    Raises
    ------
    ValueError
        As of `align`, naming the simulation.
    """
    found = []
    for k, other in enumerate(seeds):
        try:
            found.append(align(prediction, other))
        except (TypeError, ValueError) as error:
            raise type(error)(f"`seeds[{k}]`: {error}") from error
    return found


def _flat(array: xr.DataArray) -> Array:
    return array.transpose(..., "neuron").to_numpy().astype(np.float64).reshape(-1, array.sizes["neuron"])
