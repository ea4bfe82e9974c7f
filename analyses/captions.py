"""Sentences that say what a comparison shows, and whether a difference is real."""

from __future__ import annotations

import numpy as np
import xarray as xr

from mnnbio.analyses.alignment import FEW_SAMPLES

SIGNIFICANT = 0.01
SPACE = "\N{NO-BREAK SPACE}"


def prefix(comparison: xr.Dataset, name: str) -> str:
    """Return the name under which a quantity is shown: means over stimuli if single stimuli have few samples."""
    few = comparison.attrs.get("n_samples", FEW_SAMPLES) < FEW_SAMPLES
    return f"{name}_pooled" if few and f"{name}_pooled_predicted" in comparison else name


def number(value: float | xr.DataArray, digits: int = 3) -> str:
    """Return a number as a reader wants it: significant digits, no exponent for everyday sizes, a dash for NaN."""
    value = float(value)
    if not np.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    decimals = digits - 1 - int(np.floor(np.log10(abs(value))))
    if -3 <= decimals <= 7:
        return f"{value:.{max(decimals, 0)}f}".replace("-", "−")
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    return f"{mantissa}·10^{int(exponent)}".replace("-", "−")


def percent(value: float | xr.DataArray, digits: int = 2) -> str:
    """Return a share as a percentage."""
    text = number(100 * float(value), digits)
    return text if text == "–" else f"{text}\N{NO-BREAK SPACE}%"


def probability(p: float | xr.DataArray) -> str:
    """Return ``p = ...``, or a bound for what no test can tell from zero."""
    return "p < 0.0001" if float(p) < 1e-4 else f"p = {number(p, 2)}"


def correlation(r: float | xr.DataArray) -> str:
    """Return a correlation coefficient with enough digits to tell it from one."""
    r = float(r)
    if not np.isfinite(r):
        return "–"
    return f"{r:.5f}" if abs(r) > 0.999 else f"{r:.3f}"


def verdict(comparison: xr.Dataset, name: str) -> str:
    """Say whether the differences of a quantity are real.

    Parameters
    ----------
    comparison : Dataset
        What `compare` returns.
    name : str
        A quantity, such as ``rate``.
    """
    key = prefix(comparison, name)
    p, error = float(comparison[f"{key}_p"]), float(comparison[f"{key}_median_relative_error"])
    size = f"the median relative error is {percent(error)}" if np.isfinite(error) else "relative errors are not defined"
    if not np.isfinite(p):
        return f"Whether the differences are real cannot be said from these data: too few samples or spikes; {size}."
    sampling = float(comparison[f"{key}_sampling_relative_error"])
    alone = f", where sampling alone would leave {percent(sampling)}" if np.isfinite(sampling) else ""
    if p >= SIGNIFICANT:
        return f"The differences are no larger than chance allows ({probability(p)}); {size}{alone}."
    bias = float(comparison[f"{key}_z_mean"])
    side = "above" if bias > 0 else "below"
    leaning = f", on average {number(abs(bias), 2)} standard errors {side} the prediction" if abs(bias) > 0.3 else ""
    worst = worst_layer(comparison, key)
    largest = "" if worst is None else f". They are largest, for their sampling error, in {worst}"
    return f"The differences are real ({probability(p)}){leaning}; {size}{alone}{largest}."


def worst_layer(comparison: xr.Dataset, key: str) -> str | None:
    """Name the population whose median error exceeds sampling most, with both; None where there are not several."""
    if comparison.sizes.get("layer", 0) < 2:
        return None
    error, sampling = (comparison[f"layer_{key}_{s}"] for s in ("median_relative_error", "sampling_relative_error"))
    excess = (error / sampling.where(sampling > 0)).to_numpy()
    if not np.isfinite(excess).any():
        return None
    worst = int(np.nanargmax(excess))
    name = str(comparison["layer"].to_numpy()[worst])
    return f"{name} ({percent(error[worst])} against {percent(sampling[worst])})"


def covariance_verdict(comparison: xr.Dataset, name: str) -> str:
    """Say whether predicted and simulated covariances of pairs agree."""
    r, ceiling, p = (float(comparison[f"{name}_{key}"]) for key in ("r", "r_ceiling", "r_p"))
    if not np.isfinite(r):
        return "The prediction does not vary between pairs (or there are too few), so there is no correlation to test."
    text = f"Over pairs, r = {correlation(r)} (p = {number(p, 1)}, relabelling test)"
    if np.isfinite(ceiling):
        text += f"; an exact prediction would reach about {ceiling:.2f} at this sampling error"
    return f"{text}. The slope of simulated on predicted covariances is {number(comparison[f'{name}_slope'])}."


def decision_verdict(comparison: xr.Dataset) -> str | None:
    """Say how well moments and spikes decide, or fit values; None if nothing is known."""
    if "accuracy_difference" in comparison:
        return accuracy_verdict(comparison)
    if "agreement" in comparison:
        return f"Moments and spikes agree on {percent(comparison['agreement'], 3)} of the trials."
    if {"moment_r2", "spiking_r2"} <= set(comparison):
        moment, spiking = (number(comparison[f"{side}_r2"]) for side in ("moment", "spiking"))
        return f"R² of the moment network is {moment}, of the spiking network {spiking}."
    return None


def accuracy_verdict(comparison: xr.Dataset) -> str:
    """Say how the accuracies of moments and spikes differ."""
    difference, se = float(comparison["accuracy_difference"]), float(comparison["accuracy_difference_se"])
    text = (
        f"The moment network is right on {percent(comparison['moment_accuracy'], 3)} of "
        f"{int(comparison['n_stimuli'])} stimuli, the spiking network on "
        f"{number(100 * float(comparison['spiking_accuracy']), 3)} ± "
        f"{number(100 * float(comparison['spiking_accuracy_se']), 2)}\N{NO-BREAK SPACE}%"
    )
    if np.isfinite(se) and se > 0:
        real = "real" if abs(difference) > 2.58 * se else "within chance"
        text += (
            f"; the difference of {number(100 * difference, 2)} ± {number(100 * se, 2)} percentage points "
            f"(paired by stimulus) is {real}"
        )
    text += f". Moments and spikes agree on {percent(comparison['agreement'], 3)} of the trials."
    if "spiking_accuracy_predicted" in comparison:
        text += (
            f" The predicted covariance of the decision variables implies a spiking accuracy of "
            f"{percent(comparison['spiking_accuracy_predicted'], 3)}."
        )
    return text
