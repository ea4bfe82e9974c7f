"""Neurons driven by the spike trains of other neurons: renewal processes, whose spikes are jumps of finite size.

A train of rate r has the spectrum r at high frequencies and ``fano · r`` at low ones; the neuron that receives it sees
something between, which depends on the neuron (`mnnbio.moments.sensitivity`). To first order in what is missing to a
Poisson process, the white noise that acts like trains of spectrum S is their mean over frequencies, weighted with the
sensitivity K of the rate. But K changes its sign, so here the mean is weighted with |K|, which always lies within the
spectrum, and what the mean misses is added to the rate in first order. Jumps of finite size displace the threshold and
change the mean interval (`mnnbio.moments.jumps`). The result is stated as the neuron and the white noise that have the
same rate.

References
----------
D. R. Cox, P. A. W. Lewis (1966), The Statistical Analysis of Series of Events, chapter 4.6 (spectrum of a renewal
process). B. Dummer, S. Wieland, B. Lindner (2014), Self-consistent determination of the spike-train power spectrum in a
neural network with sparse connectivity, Front. Comput. Neurosci. 8, 104 (the problem, and its solution by simulation).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import erfcx

from mnnbio.moments.activation import moment_activation
from mnnbio.moments.counts import delayed_gamma
from mnnbio.moments.drive import Neuron, NeuronTensors, as_parameter
from mnnbio.moments.jumps import STRONGEST, Exponent, asymmetry_delay, jump_displacement
from mnnbio.moments.overshoot import discrete_lif
from mnnbio.moments.sensitivity import EDGES, Sensitivity, rate_sensitivity

Array = npt.NDArray[np.float64]

SAMPLES = 4  # places in a cell of frequency at which a spectrum is taken
REGULAR = 1e-6  # least Fano factor that is told from zero
SILENT = 1e-15  # rate below which nothing is corrected, spikes/ms
SLOWEST = 1e-7  # rate below which a train counts as Poisson, spikes/ms
ROUNDS = 3  # times that the effective noise is found anew from the sensitivity that it gives
LEAST = 0.1  # part of the white noise that is left at least
NEWTON_STEPS = 12


class TrainInput(NamedTuple):
    """What neurons receive, all but `deficit` and `exponent` of shape (n,)."""

    mean: Array  # mV/ms
    variance: Array  # of the fast fluctuations, as if all trains were Poisson processes, mV²/ms
    third: Array  # third cumulant of the jumps, mV³/ms
    deficit: Array  # what the spectrum has more than `variance`, mean over each cell of frequency, (cell, n), mV²/ms
    exponent: Exponent  # logarithm of the characteristic function per time, mean removed; see `jump_displacement`


class Effective(NamedTuple):
    """White noise and neurons that fire alike in continuous time."""

    std: Array  # mV/√ms
    lif: NeuronTensors


def renewal_deficit(rate: Array, fano: Array, skewness: Array, t_ref: npt.ArrayLike, tau_m: float) -> Array:
    """Return what the spectra of renewal trains have more than those of Poisson trains; negative for regular firing.

    ``2 rate Re[ρ/(1 - ρ) - rate/s]``, with ρ(s) the Laplace transform of the interval: a constant plus a gamma
    variable, as in `count_variance`. The real part of s is the spacing of the samples, which smooths
    sharp lines over the cells.

    Parameters
    ----------
    rate, fano, skewness : ndarray, shape (m,)
        Of the trains, the rate in 1/ms.
    t_ref : array_like
        Refractory periods, ms.
    tau_m : float
        Membrane time constant that sets the cells of frequency, ms.

    Returns
    -------
    ndarray, shape (cell, m)
        1/ms.
    """
    firing = rate > SLOWEST
    out = np.zeros((len(EDGES) - 1, len(rate)))
    hold = np.broadcast_to(np.asarray(t_ref, dtype=np.float64), rate.shape)[firing]
    r, spread, third = rate[firing], np.maximum(fano[firing], REGULAR), skewness[firing]
    delay, scale, shape = (
        v.numpy() for v in delayed_gamma(*(torch.from_numpy(v) for v in (spread, third, np.minimum(hold * r, 0.999))))
    )
    width = np.diff(EDGES)[:, None]
    middle = 2j * np.pi * (EDGES[:-1, None] + width * (np.arange(SAMPLES) + 0.5) / SAMPLES)
    s = ((middle + 2 * np.pi * width / SAMPLES) / tau_m).ravel()[:, None] / r  # in units of the rate
    rho = np.exp(-s * delay - shape * np.log1p(s * scale))
    more = 2 * (rho / (1 - rho) - 1 / s).real
    out[:, firing] = r * more.reshape(len(out), SAMPLES, -1).mean(1)
    return out


def regrid(deficit: Array, tau_m: float, target: npt.ArrayLike) -> Array:
    """Return means over the cells of neurons with other membrane time constants.

    Parameters
    ----------
    deficit : ndarray, shape (cell, n)
        In the cells of `tau_m`.
    tau_m : float
        ms.
    target : array_like
        One membrane time constant per neuron, or for all, ms.

    Returns
    -------
    ndarray, shape (cell, n)
    """
    targets = np.broadcast_to(np.asarray(target, dtype=np.float64), deficit.shape[1:])
    if (targets == tau_m).all():
        return deficit
    total = np.concatenate([np.zeros((1, deficit.shape[1])), np.cumsum(deficit * np.diff(EDGES)[:, None], axis=0)])
    out = np.empty_like(deficit)
    for k, other in enumerate(targets):
        own = EDGES * (tau_m / other)
        out[:, k] = np.diff(np.interp(own, EDGES, total[:, k])) / np.diff(own)
    return out


def effective_input(received: TrainInput, lif: Neuron, dt: float | None = None) -> Effective:
    """Return the white noise and the neurons that fire as neurons do that receive spike trains.

    Parameters
    ----------
    received : TrainInput
    lif : LIFParameters or alike
    dt : float, optional
        Time step of the simulation to describe, ms; by default, continuous time.

    Returns
    -------
    Effective
        `moment_activation` of it gives rate, variance and gain. Only `v_th` differs from `lif`. Accuracy: see
        ``docs/closures.md``.
    """
    mean, white = received.mean, received.variance
    plain = _plain(mean, white, lif, dt)
    noisy = white > 0
    if not noisy.any():
        return Effective(np.sqrt(white), plain)
    safe = np.where(noisy, white, 1.0)
    displaced = np.where(noisy, jump_displacement(received.exponent, safe, dt), 0.0)
    shifted = plain._replace(v_th=plain.v_th + torch.from_numpy(displaced))

    variance = white
    for _ in range(ROUNDS):
        weight = np.abs(_sensitivity(mean, variance, shifted).by_cell)
        total = weight.sum(0)
        slow = (weight * received.deficit).sum(0) / np.where(total > 0, total, 1.0)
        variance = np.maximum(white + slow, LEAST * white)
    sensitivity = _sensitivity(mean, variance, shifted)
    missed = (sensitivity.by_cell * received.deficit).sum(0) + sensitivity.white * (white - variance)

    # Close to the threshold the noise is white: the density there is smaller by variance/white than the effective
    # noise would have it, and with it what a displacement does.
    asymmetry = received.third / (6 * safe)
    neuron = plain._replace(v_th=plain.v_th + torch.from_numpy(displaced * variance / safe + asymmetry))
    delay = asymmetry_delay(mean, np.where(noisy, variance, 1.0), received.third, neuron)
    target = _corrected(_rate(mean, variance, neuron), np.where(noisy, delay, 0.0), missed, plain.t_ref.numpy())
    return Effective(np.sqrt(variance), _with_rate(target, mean, variance, neuron))


def _plain(mean: Array, variance: Array, lif: Neuron, dt: float | None) -> NeuronTensors:
    """Return neurons, one value each, as white noise without jumps drives them."""
    inputs = torch.from_numpy(mean), torch.from_numpy(np.sqrt(variance))
    if dt is not None:
        found = discrete_lif(*inputs, lif, dt)
    else:
        found = NeuronTensors(*(as_parameter(getattr(lif, name), inputs[0]) for name in NeuronTensors._fields))
    return NeuronTensors(*(v.expand(inputs[0].shape) for v in found))


def _rate(mean: Array, variance: Array, lif: NeuronTensors) -> Array:
    rate: Array = moment_activation(torch.from_numpy(mean), torch.from_numpy(np.sqrt(variance)), lif).rate.numpy()
    return rate


def _sensitivity(mean: Array, variance: Array, lif: NeuronTensors) -> Sensitivity:
    noisy = variance > 0
    return rate_sensitivity(mean, np.sqrt(np.where(noisy, variance, 1.0)), lif, _rate(mean, variance, lif) * noisy)


def _corrected(rate: Array, delay: Array, missed: Array, t_ref: Array) -> Array:
    """Return rates after corrections of first order, which are made to saturate where they are not small."""
    rate = rate * np.exp(-np.clip(rate * delay, -STRONGEST, STRONGEST))
    half = rate / 2
    falls = np.where(half > 0, half * np.exp(np.minimum(missed / np.where(half > 0, half, 1.0) + 1, 0.0)), 0.0)
    corrected = np.where(missed > -half, rate + missed, falls)
    ceiling = np.where(t_ref > 0, (rate + 1 / np.where(t_ref > 0, t_ref, 1.0)) / 2, np.inf)
    return np.minimum(corrected, ceiling)


def _with_rate(target: Array, mean: Array, variance: Array, lif: NeuronTensors) -> NeuronTensors:
    """Return neurons whose threshold is such that they fire at the rates wanted; silent ones unchanged.

    Newton's method for the logarithm of the mean first-passage time, whose derivative by the threshold is
    ``2 √τ_m g(ub)/σ``.
    """
    tau_m, v_th, v_reset, t_ref = (v.numpy().copy() for v in lif)
    std = np.sqrt(np.where(variance > 0, variance, 1.0))
    found = lif
    for _ in range(NEWTON_STEPS):
        rate = _rate(mean, variance, found)
        active = (target > SILENT) & (rate > SILENT) & (variance > 0)
        passage, wanted = (1 / np.where(active, r, 1.0) - np.where(active, t_ref, 0.0) for r in (rate, target))
        slope = np.sqrt(np.pi * tau_m) / std * erfcx((mean * tau_m - v_th) / (std * np.sqrt(tau_m)))
        step = np.log(wanted / passage) * passage / np.where(active, slope, 1.0)
        span = (v_th - v_reset) / 2
        v_th = v_th + np.where(active, np.clip(step, -span, span), 0.0)
        found = lif._replace(v_th=torch.from_numpy(v_th))
    return found
