"""Independent samples of a simulation: what single neurons and populations did in trials, or in blocks of trials.

A mean over neurons has an error that depends on how they are correlated, a mean over time on how long their memory is.
Blocks much longer than that memory are independent, and what varies between them, summed over neurons, holds both.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr

from mnnbio.analyses.binned_counts import binned_counts, recorded
from mnnbio.analyses.circuit_text import result_of
from mnnbio.machine import require_integer

Array = npt.NDArray[np.float64]
Members = dict[str | None, npt.NDArray[np.int64]]

# Samples that leave Student's t close to a normal distribution, and blocks long against the memory of the neurons.
BLOCKS = 20
# Root mean square difference, in standard errors, beyond which rates are not those of the trains.
_UNLIKE = 2.0
# Counts held at a time.
_TABLE = 2e7


class Blocks(NamedTuple):
    """Statistics of a simulation in blocks of time, each (stimulus, block, ...); one stimulus where there are none."""

    rate: Array
    """(stimulus, block, neuron): spikes per time, Hz."""
    variance: Array | None
    """(stimulus, block, neuron): squared deviations of counts in windows from the neuron's mean; their mean over blocks
    is the unbiased variance. None without a window."""
    summed: dict[str | None, Array] | None
    """(stimulus, block): the same of the summed counts of each population, and of all neurons (None)."""
    length: float
    """Length of a block, s."""

    @property
    def number(self) -> int:
        """Number of blocks of each stimulus."""
        return self.rate.shape[1]


def record_blocks(
    simulation: xr.Dataset | xr.DataTree,
    simulated: xr.Dataset,
    members: Members,
    *,
    window: float | None,
    blocks: int | None = None,
) -> Blocks | None:
    """Return what neurons did in blocks of the record: in whole trials, if there are enough, else in parts of them.

    Parameters
    ----------
    simulation : Dataset or DataTree
        A result with ``/spikes`` or ``/counts`` of the neurons, or its group ``/simulation``.
    simulated : Dataset
        The group ``/simulation``.
    members : dict
        Indices of the neurons of each population, and of all neurons under None.
    window : float, optional
        Counting window, s.
    blocks : int, optional
        Number of blocks in all trials, at the least; default: 20.

    Returns
    -------
    Blocks or None
        None where neither spikes nor counts of these very neurons are there.

    Raises
    ------
    ValueError
        If `blocks` are asked for of which each would be shorter than a window.
    """
    require_integer("blocks", BLOCKS if blocks is None else blocks, 2)
    if not isinstance(simulation, xr.DataTree) or "neuron" not in simulated.dims:
        return None
    tree = result_of(simulation)
    try:
        data = recorded(tree)
        duration = 1e3 * float(tree.attrs.get("duration", data.data.attrs.get("duration", np.nan)))
    except (ValueError, TypeError):
        return None
    own = data.data["row_size" if "row_size" in data.data else "count"]
    if not np.isfinite(duration) or not _same_neurons(own, simulated):
        return None
    step = 1e3 * window if window is not None else (data.step or duration / BLOCKS)
    windows, trials = int(duration / step + 1e-6), own.sizes["trial"]
    wanted = -(-(BLOCKS if blocks is None else blocks) // trials)
    if blocks is not None and wanted > windows:
        raise ValueError(
            f"{blocks} `blocks` of {trials} trials of {duration:g} ms would be shorter than the counting window of "
            f"{step:g} ms: ask for fewer, or simulate more trials"
        )
    parts = max(min(wanted, windows), 1)
    length = windows // parts  # windows in a block
    if windows < 1:
        return None
    whole = length * step  # ms
    rate = _counts(tree, own, whole, 0.0, parts * whole) / (1e-3 * whole)
    rate = np.concatenate(np.moveaxis(rate, 2, 0), axis=1)  # (stimulus, part and trial, neuron)
    if not _same_rates(rate.mean(axis=1), simulated):
        return None
    center = 1e-3 * step * rate.mean(axis=1)
    found = [_block(tree, own, part * whole, length, step, center, members) for part in range(parts)]
    variance, *summed = (np.concatenate(arrays, axis=1) for arrays in zip(*found, strict=True))
    total = rate.shape[1] * length
    if window is None or total < 2:
        return Blocks(rate, None, None, 1e-3 * step * length)
    unbiased = total / (total - 1)
    sums = {name: values * unbiased for name, values in zip(members, summed, strict=True)}
    return Blocks(rate, variance * unbiased, sums, 1e-3 * step * length)


def _counts(tree: xr.DataTree, own: xr.DataArray, bin: float, start: float, stop: float) -> Array:
    """Return counts (stimulus, trial, time, neuron) in bins, times in ms."""
    table = binned_counts(tree, bin, start=start, stop=stop)
    lead = ["stimulus"] if "stimulus" in table.dims else []
    counts = table.transpose(*lead, "trial", "time", "neuron").to_numpy().astype(np.float64)
    return np.asarray(counts.reshape(own.sizes.get("stimulus", 1), *counts.shape[-3:]))


def _block(
    tree: xr.DataTree, own: xr.DataArray, start: float, length: int, step: float, center: Array, members: Members
) -> tuple[Array, ...]:
    """Return squared deviations, and those of sums, in the same block of every trial: (stimulus, trial, ...)."""
    strata, trials, neurons = len(center), own.sizes["trial"], center.shape[1]
    variance = np.zeros((strata, trials, neurons))
    summed = [np.zeros((strata, trials)) for _ in members]
    at_once = int(np.clip(_TABLE / max(variance.size, 1), 1, length))
    for first in range(0, length, at_once):
        number = min(at_once, length - first)
        begin = start + first * step
        deviation = _counts(tree, own, step, begin, begin + number * step) - center[:, None, None, :]
        variance += (deviation**2).sum(axis=2)
        for sums, mine in zip(summed, members.values(), strict=True):
            sums += (deviation[..., mine].sum(axis=-1) ** 2).sum(axis=2)
    return variance / length, *(sums / length for sums in summed)


def _same_neurons(own: xr.DataArray, simulated: xr.Dataset) -> bool:
    """Return whether trains or counts are of the neurons, and the stimuli, of the simulation."""
    if "neuron" not in own.dims or "trial" not in own.dims:
        return False
    if any(own.sizes.get(dim) != simulated.sizes.get(dim) for dim in ("neuron", "stimulus")):
        return False
    return all(
        np.array_equal(own[name].to_numpy(), simulated[name].to_numpy())
        for name in ("population", "index", "neuron")
        if name in own.coords and name in simulated.coords
    )


def _same_rates(found: Array, simulated: xr.Dataset) -> bool:
    """Return whether the rates that a simulation states are those of its trains, of which it may have left some out."""
    shape = found.shape
    stated, error = (simulated[name].transpose(..., "neuron").to_numpy().reshape(shape) for name in ("rate", "rate_se"))
    difference = found - stated
    alike = np.abs(difference) <= 1e-6 * np.abs(stated) + 1e-9
    known = np.isfinite(error) & (error > 0)
    if not known.any():
        return bool(alike.all())
    z = difference[known] / error[known]
    return bool(np.sqrt(np.mean(z**2)) < _UNLIKE)


def mean_error(samples: Array) -> tuple[float, float]:
    """Return the standard error of the mean of samples (stimulus, block), and its degrees of freedom.

    Blocks of one stimulus vary around that stimulus' own mean; the errors of stimuli add as those of independent data
    do, with degrees of freedom after Welch and Satterthwaite. With one block a stimulus the error comes from the
    scatter of 20 stimuli or more, and is NaN with fewer.
    """
    strata, number = samples.shape
    if number < 2:
        values = samples[:, 0]
        if strata < BLOCKS:
            return float("nan"), float("nan")
        return float(values.std(ddof=1) / np.sqrt(strata)), strata - 1.0
    square = samples.var(axis=1, ddof=1) / number
    total, quartic = float(square.sum()), float((square**2).sum())
    dof = (number - 1) * total**2 / quartic if quartic > 0 else float(strata * (number - 1))
    return float(np.sqrt(total) / strata), dof


class Excess(NamedTuple):
    """Mean square of true differences of neurons, beyond what sampling adds."""

    value: float
    variance: float
    """Its variance, at the differences found."""
    base: float
    """The part of it that does not depend on the differences."""
    slope: float
    """What is added for each unit of the mean square, if the differences have no direction of their own."""
    dof: float


def excess_square(samples: Array) -> Excess:
    r"""Return the mean square of neurons' true differences, beyond what sampling adds, and its error.

    With D the differences of block b and neuron i, :math:`\hat q = \sum_{b \ne b'} D_b \cdot D_{b'} / [N B (B - 1)]`
    has the expectation :math:`|\delta|^2/N`: noise of different blocks is independent, whatever its correlations
    between neurons. Its variance is :math:`[4\,\delta^T C \delta/B + 2\,\mathrm{tr}(C^2)/(B(B-1))]/N^2`, with C the
    covariance of a block's noise.

    Parameters
    ----------
    samples : ndarray (stimulus, block, neuron)
        Differences from the prediction.

    Returns
    -------
    Excess
        NaN with fewer than four blocks.

    References
    ----------
    Bai, Z. & Saranadasa, H. (1996). Effect of high dimension. *Statistica Sinica* 6, 311-329, Eq. 4.3 (trace of C²).
    """
    strata, number, neurons = samples.shape
    if number < 4 or neurons == 0:
        return Excess(*(float("nan"),) * 5)
    gram = samples @ np.swapaxes(samples, 1, 2)
    own = np.einsum("sbb->sb", gram)
    value = (gram.sum(axis=(1, 2)) - own.sum(axis=1)) / (number * (number - 1))
    centred = samples - samples.mean(axis=1, keepdims=True)
    inner = centred @ np.swapaxes(centred, 1, 2)
    trace = np.einsum("sbb->s", inner) / (number - 1)
    square = (inner**2).sum(axis=(1, 2)) / (number - 1) ** 2
    factor = (number - 1) ** 2 / ((number - 2) * (number + 1))
    noise = np.maximum(factor * (square - trace**2 / (number - 1)), 0.0)
    share = (gram.sum(axis=2) - own) / (number - 1)  # of each block
    # Shares of different blocks have all other blocks in common.
    linear = ((number - 1) / (number - 2)) ** 2 * np.maximum(share.var(axis=1, ddof=1) - noise / (number - 1), 0.0)
    base = 2 * noise / (number * (number - 1))
    variance = 4 * linear / number + base
    scale = neurons * strata
    total, quartic = float(variance.sum()), float((variance**2).sum())
    dof = (number - 1) * total**2 / quartic if quartic > 0 else float(strata * (number - 1))
    slope = 4 * float(trace.sum()) / number
    return Excess(float(value.sum()) / scale, total / scale**2, float(base.sum()) / scale**2, slope / scale**2, dof)


def require_blocks(blocks: Any) -> None:
    """Raise unless a number of blocks is None or a whole number of at least 2."""
    if blocks is not None:
        require_integer("blocks", blocks, 2)
