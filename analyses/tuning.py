"""Responses of neurons to stimuli: tuning curves, and correlations of signals and of noise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import xarray as xr

from mnnbio.analyses.stimulus_moments import CountMoments, count_moments, of_populations, one_side

Array = npt.NDArray[np.float64]


def tuning_curves(result: xr.Dataset | xr.DataTree, *, population: str | Sequence[str] | None = None) -> xr.Dataset:
    """Return the rates of neurons against the stimulus, their slopes and preferred stimuli.

    Parameters
    ----------
    result : Dataset or DataTree
        A prediction or a simulation with stimuli.
    population : str or sequence of str, optional
        Default: all neurons.

    Returns
    -------
    Dataset
        ``rate`` (stimulus, neuron), Hz, of a simulation with ``rate_se``; ``preferred`` (neuron), the stimulus of the
        largest rate; ``modulation`` (neuron), largest minus smallest rate. Where stimuli are numbers also ``slope``
        (stimulus, neuron), Hz per unit of the stimulus (second-order differences), with ``slope_se``.

    Raises
    ------
    ValueError
        If there are fewer than two stimuli.
    """
    data, side = one_side(result)
    if "rate" not in data or "stimulus" not in data["rate"].dims or data.sizes["stimulus"] < 2:
        raise ValueError(
            f"tuning curves need rates of at least two stimuli, the {side} has "
            f"{dict(data['rate'].sizes) if 'rate' in data else 'no rates'}"
        )
    data = of_populations(data, population)
    if "stimulus" not in data.coords:
        data = data.assign_coords(stimulus=np.arange(data.sizes["stimulus"]))
    rate = data["rate"].transpose("stimulus", ...)
    out = rate.to_dataset(name="rate")
    out["rate"].attrs = {"units": "Hz", "long_name": "firing rate"}
    errors = "rate_se" in data
    if errors:
        out["rate_se"] = data["rate_se"].transpose("stimulus", ...)
    stimulus = data["stimulus"].to_numpy()
    values = rate.to_numpy()
    known = np.where(np.isfinite(values), values, -np.inf)
    unit = rate.dims[1:]
    out["preferred"] = (unit, stimulus[known.argmax(axis=0)], {"long_name": "stimulus of the largest rate"})
    out["modulation"] = (unit, np.ptp(values, axis=0), {"units": "Hz", "long_name": "largest minus smallest rate"})
    if stimulus.dtype.kind in "iuf":
        place = stimulus.astype(np.float64)
        if len(np.unique(place)) < len(place):
            raise ValueError(f"stimuli must differ from each other, got {stimulus.tolist()}")
        order = np.argsort(place)
        # Differences are linear in the rates: their matrix gives slopes and errors alike.
        slope = np.zeros((len(place), len(place)))
        slope[np.ix_(order, order)] = np.gradient(np.eye(len(place)), place[order], axis=0)
        attrs = {"units": "Hz/stimulus", "long_name": "slope of the tuning curve"}
        out["slope"] = (rate.dims, np.tensordot(slope, values, axes=1), attrs)
        if errors:
            variance = np.tensordot(slope**2, np.square(out["rate_se"].to_numpy()), axes=1)
            attrs = {**attrs, "long_name": "standard error of the slope of the tuning curve"}
            out["slope_se"] = (rate.dims, np.sqrt(variance), attrs)
    return out


def signal_and_noise_correlations(
    result: xr.Dataset | xr.DataTree, *, population: str | Sequence[str] | None = None
) -> xr.Dataset:
    """Return correlations of pairs of neurons across stimuli (signal) and across trials of one stimulus (noise).

    Parameters
    ----------
    result : Dataset or DataTree
        A prediction or a simulation with at least three stimuli and covariances.
    population : str or sequence of str, optional
        Default: all neurons.

    Returns
    -------
    Dataset
        Over (neuron, neuron_j): ``signal_correlation``, of the mean counts over stimuli; ``noise_correlation``, the
        mean over stimuli of the correlation coefficients of counts. Each with its error ``<name>_se``: a jackknife over
        stimuli, and for noise from n counts of K stimuli ``(1 − r²)/√(K (n − 1))``, 0 for a prediction. NaN on the
        diagonal, and where a neuron never varies. Scalars, over pairs i < j: ``signal_noise_r``, the correlation of
        the two, and ``signal_noise_slope``, the regression slope of noise on signal.

    Raises
    ------
    ValueError
        If there are fewer than three stimuli or no covariances.

    Notes
    -----
    Errors of simulated means would add variance and noise covariance to the signal: what they add on average, the mean
    covariance over n, is subtracted. A signal correlation of a neuron that is hardly tuned may then lie beyond ±1; it
    is NaN where the corrected variance is not positive.

    References
    ----------
    Averbeck, Latham & Pouget (2006), Nat. Rev. Neurosci. 7, 358; Cohen & Kohn (2011), Nat. Neurosci. 14, 811.
    """
    moments = count_moments(result, population=population)
    number = len(moments.stimulus)
    if number < 3:
        raise ValueError(f"signal correlations need at least three stimuli, got {number}")
    data = of_populations(one_side(result)[0], population)
    signal = _signal(moments)
    parts = np.stack([_signal(_without(moments, k)) for k in range(number)])
    signal_se = np.sqrt((number - 1) * parts.var(axis=0))
    scale = np.sqrt(np.einsum("snn->sn", moments.covariance))
    scale = scale[:, :, None] * scale[:, None, :]
    each = np.divide(moments.covariance, scale, out=np.full(scale.shape, np.nan), where=scale > 0)
    known = np.isfinite(each).sum(axis=0)
    noise = np.divide(np.nansum(each, axis=0), known, out=np.full(known.shape, np.nan), where=known > 0)
    if moments.samples is None:
        noise_se = np.where(known > 0, 0.0, np.nan)
    else:
        freedom = known * (moments.samples - 1)
        noise_se = np.divide(1 - noise**2, np.sqrt(freedom), out=np.full(noise.shape, np.nan), where=freedom > 0)
    for matrix in (signal, signal_se, noise, noise_se):
        np.fill_diagonal(matrix, np.nan)
    dims = ("neuron", "neuron_j")
    coords = {name: c for name, c in data.coords.items() if c.dims in (("neuron",), ("neuron_j",))}
    out = xr.Dataset(coords=coords, attrs={"window": moments.window, "n_stimuli": number})
    for name, values in (("signal", signal), ("noise", noise)):
        error = signal_se if name == "signal" else noise_se
        text = f"{name} correlation of two neurons"
        out[f"{name}_correlation"] = (dims, values, {"units": "1", "long_name": text})
        out[f"{name}_correlation_se"] = (dims, error, {"units": "1", "long_name": f"standard error of the {text}"})
    pairs = np.triu_indices(len(signal), 1)
    x, y = signal[pairs], noise[pairs]
    valid = np.isfinite(x) & np.isfinite(y)
    r = slope = np.nan
    if valid.sum() > 2 and np.ptp(x[valid]) > 0 and np.ptp(y[valid]) > 0:
        r = float(np.corrcoef(x[valid], y[valid])[0, 1])
        slope = float(r * y[valid].std() / x[valid].std())
    out["signal_noise_r"] = ((), r, {"units": "1", "long_name": "correlation of signal and noise correlations"})
    out["signal_noise_slope"] = ((), slope, {"units": "1", "long_name": "slope of noise on signal correlations"})
    return out


def _signal(moments: CountMoments) -> Array:
    """Return correlations of mean counts over stimuli, freed of what errors of the means add."""
    covariance = np.atleast_2d(np.cov(moments.mean.T))
    if moments.samples is not None:
        covariance = covariance - moments.covariance.mean(axis=0) / moments.samples
    variance = np.diagonal(covariance)
    product = np.outer(variance, variance)
    both = (variance[:, None] > 0) & (variance[None, :] > 0)
    return np.divide(
        covariance, np.sqrt(np.where(both, product, 1.0)), out=np.full(covariance.shape, np.nan), where=both
    )


def _without(moments: CountMoments, k: int) -> CountMoments:
    """Return the moments without one stimulus."""
    left = np.delete(np.arange(len(moments.stimulus)), k)
    return moments._replace(
        mean=moments.mean[left], covariance=moments.covariance[left], stimulus=moments.stimulus[left]
    )
