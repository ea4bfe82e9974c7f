"""Statistics of populations from spikes, under the names that predictions of populations have."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr

from mnnbio.analyses import binned_counts
from mnnbio.results import array

Array = npt.NDArray[np.float64]

BLOCKS = 20  # of the record, for standard errors


class Sums(NamedTuple):
    """Sums over windows, of which statistics are made; the first axis are blocks of the record."""

    number: Array  # (block,)
    counts: Array  # (block, neuron)
    squares: Array  # (block, neuron)
    products: Array  # of populations, (block, population, population)

    def without_each(self) -> Sums:
        """Return the sums over all blocks but one, for each."""
        return Sums(*(part.sum(0) - part for part in self))

    def all(self) -> Sums:
        """Return the sums over all blocks."""
        return Sums(*(part.sum(0, keepdims=True) for part in self))


def spike_targets(result: xr.DataTree | xr.Dataset, window: Any) -> xr.Dataset:
    """Return what `fit_circuit` takes as targets from simulated or recorded spikes, with standard errors.

    Parameters
    ----------
    result : DataTree or Dataset
        With spikes or counts of neurons that are labelled by their population, of one stimulus.
    window : float or Quantity
        Length of the windows of counts, ms.

    Returns
    -------
    Dataset
        Over ``population`` `rate` (Hz), `count_variance` and `count_fano` of counts in windows, means over neurons, and
        over ``(population, population_j)`` `count_covariance`, the mean over pairs of different neurons, and
        `pair_covariance`, that per time (Hz). Each with `<name>_se` by leaving out each of 20 blocks of the record, and
        `<name>_blocks`, over ``block`` besides, what each block moves it by: their products, summed over blocks, are
        the covariances of the errors of several statistics, which share the fluctuations of the network.

    Raises
    ------
    ValueError
        If there are several stimuli, or too few windows.
    """
    table = binned_counts(result, window)
    if table.sizes.get("stimulus", 1) > 1:
        raise ValueError("targets are of one stimulus: choose one, `result.isel(stimulus=0)`")
    length = float(table.attrs["bin"])
    counts = table.transpose(..., "time", "neuron").to_numpy().astype(np.float64)
    windows = counts.reshape(-1, counts.shape[-1])
    blocks = min(BLOCKS, len(windows) // 2)
    if blocks < 2:
        raise ValueError(f"targets need 4 windows at least, got {len(windows)} of {1e3 * length:g} ms")
    owner = table["population"].to_numpy()
    names = list(dict.fromkeys(owner.tolist()))
    member = np.array([owner == name for name in names], dtype=np.float64).T  # (neuron, population)
    sums = _sums(windows, member, blocks)
    found = _statistics(sums.all(), member, length)
    left = _statistics(sums.without_each(), member, length)
    variables = {}
    for name, values in found.items():
        moved = np.sqrt((blocks - 1) / blocks) * (left[name].mean(0) - left[name])
        dims = ("population", "population_j")[: values.ndim - 1]
        variables[name] = array(name, dims, values[0], window=length)
        variables[f"{name}_se"] = array(f"{name}_se", dims, np.sqrt((moved**2).sum(0)), window=length)
        variables[f"{name}_blocks"] = xr.DataArray(moved, dims=("block", *dims), attrs=variables[name].attrs)
    return xr.Dataset(variables, coords={"population": names, "population_j": names})


def _sums(windows: Array, member: Array, blocks: int) -> Sums:
    parts = []
    for own in np.array_split(windows, blocks):
        totals = own @ member
        parts.append((len(own), own.sum(0), (own**2).sum(0), totals.T @ totals))
    return Sums(*(np.array(part, dtype=np.float64) for part in zip(*parts, strict=True)))


def _statistics(sums: Sums, member: Array, length: float) -> dict[str, Array]:
    """Return statistics of populations; the first axis is that of the sums."""
    number, sizes = sums.number[:, None], member.sum(0)
    variance = (sums.squares - sums.counts**2 / number) / (number - 1)
    totals, own = sums.counts @ member, variance @ member
    covariance = sums.products - totals[:, :, None] * totals[:, None, :] / number[..., None]
    covariance = covariance / (number[..., None] - 1) - own[:, :, None] * np.eye(len(sizes))
    pairs = np.outer(sizes, sizes) - np.diag(sizes)
    with np.errstate(invalid="ignore", divide="ignore"):  # one neuron has no pairs, and silence no Fano factor
        mean_covariance = np.where(pairs > 0, covariance / pairs, np.nan)
        fano = own / (totals / number)
    return {
        "rate": totals / number / sizes / length,
        "count_variance": own / sizes,
        "count_fano": fano,
        "count_covariance": mean_covariance,
        "pair_covariance": mean_covariance / length,
    }
