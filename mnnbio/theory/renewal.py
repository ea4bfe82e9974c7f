"""Dependence of a neuron's mean rate on the spectrum of its input noise, frequency by frequency.

A weak Gaussian noise of spectrum S(ω), added to white noise, changes the mean rate of the leaky integrate-and-fire
neuron by ``∫ S(ω) K(ω) dω/2π`` over all frequencies. Second-order perturbation of the Fokker-Planck equation gives K as
a sum over its modes; but the functions in it, ``T' ∝ g`` and Φ_s (see `mnnbio.moments.transfer`) and their derivatives,
are all eigenfunctions of the adjoint operator, so that every integral over the density is a difference of boundary
values (Dynkin's formula). With ``s = iωτ_m``, g and the bounds ``lb, ub`` of `mnnbio.moments.activation`, and Δ for the
difference of values at ub and lb,

    K(ω) = 2 (τ_m rate/σ)² Re{ [ Δg'/2 - X(s) (g(ub) - e^{-iωt_ref} g(lb)) ] / (s - 1) },
    X(s) = ΔΦ_s' / [(1 + s) (Φ_s(ub) - e^{-iωt_ref} Φ_s(lb))],

where X is the response of the rate to a modulation of the mean. ``K(0) = ½ ∂²rate/∂mean²``, and ``∫ K dω/2π =
∂rate/∂σ²``. Below threshold the slow half of the spectrum, up to about 1/(2πτ_m), does most; a neuron that fires
regularly gains from fast noise and loses by slow noise.

References
----------
R. Moreno, J. de la Rocha, A. Renart, N. Parga (2002), Response of spiking neurons to correlated inputs, Phys. Rev.
Lett. 89, 288101 (perturbation by exponential correlations). N. Brunel, V. Hakim (1999), Neural Comput. 11, 1621
(response to modulations).

Neurons driven by the spike trains of other neurons: renewal processes, whose spikes are jumps of finite size.

A train of rate r has the spectrum r at high frequencies and ``fano · r`` at low ones; the neuron that receives it sees
something between, which depends on the neuron (`mnnbio.theory.renewal`). To first order in what is missing to a
Poisson process, the white noise that acts like trains of spectrum S is their mean over frequencies, weighted with the
sensitivity K of the rate. But K changes its sign, so here the mean is weighted with |K|, which always lies within the
spectrum, and what the mean misses is added to the rate in first order. Jumps of finite size displace the threshold and
change the mean interval (`mnnbio.theory.jumps`). The result is stated as the neuron and the white noise that have the
same rate.

References
----------
D. R. Cox, P. A. W. Lewis (1966), The Statistical Analysis of Series of Events, chapter 4.6 (spectrum of a renewal
process). B. Dummer, S. Wieland, B. Lindner (2014), Self-consistent determination of the spike-train power spectrum in a
neural network with sparse connectivity, Front. Comput. Neurosci. 8, 104 (the problem, and its solution by simulation).
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import erfcx

from mnnbio.moments import (
    Neuron,
    NeuronTensors,
    as_parameter,
    delayed_gamma,
    discrete_lif,
    first_passage_transform,
    moment_activation,
)
from mnnbio.theory.jumps import STRONGEST, Exponent, asymmetry_delay, jump_displacement

Array = npt.NDArray[np.float64]
Complex = npt.NDArray[np.complex128]

# Cells of frequency, in units of 1/tau_m: fine where trains and membranes have structure, coarse where both are smooth.
EDGES = np.concatenate([np.arange(0.0, 3.2, 0.04), np.geomspace(3.2, 50.0, 30)])
# Bounds x between which Φ_s is tabulated, and the step of the table. Below, the noise is too small to matter; above,
# the neuron is silent.
LOWEST, HIGHEST, STEP = -40.0, 21.0, 0.02


class _Table(NamedTuple):
    """Φ_s on a grid of x; shape (x, frequency)."""

    s: Complex
    slope: Complex  # Φ'/Φ
    logarithm: Complex  # of Φ, from the lowest x on


@cache
def _table() -> _Table:
    """Integrate Riccati's equation ``p' = 2xp + 2s - p²`` of ``p = Φ'/Φ`` upwards, in which direction it is stable."""
    s = 2j * np.pi * (EDGES[1:] + EDGES[:-1]) / 2
    count = round((HIGHEST - LOWEST) / STEP) + 1
    slope, logarithm = np.empty((count, len(s)), dtype=complex), np.zeros((count, len(s)), dtype=complex)
    start = np.array(LOWEST)
    p = first_passage_transform(s, start, start + STEP).lower
    slope[0], h = p, STEP
    for i in range(count - 1):
        x = LOWEST + i * h
        k1 = _riccati(x, p, s)
        k2 = _riccati(x + h / 2, p + h / 2 * k1, s)
        k3 = _riccati(x + h / 2, p + h / 2 * k2, s)
        k4 = _riccati(x + h, p + h * k3, s)
        following = p + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        curvature = k1 - _riccati(x + h, following, s)
        logarithm[i + 1] = logarithm[i] + h / 2 * (p + following) + h * h / 12 * curvature
        slope[i + 1] = p = following
    return _Table(s, slope, logarithm)


def _riccati(x: float | Array, p: Complex, s: Complex) -> Complex:
    return 2 * x * p + 2 * s - p * p


def _look_up(x: Array) -> tuple[Complex, Complex]:
    """Return Φ'/Φ and ln Φ at x, shape (n, frequency), by cubic interpolation with exact slopes."""
    s, slope, logarithm = _table()
    place = (x - LOWEST) / STEP
    i = np.clip(place.astype(int), 0, len(slope) - 2)
    w, x0 = (place - i)[:, None], (LOWEST + i * STEP)[:, None]
    p0, p1 = slope[i], slope[i + 1]
    basis = (1 + 2 * w) * (1 - w) ** 2, w * w * (3 - 2 * w), STEP * w * (1 - w) ** 2, STEP * w * w * (w - 1)

    def hermite(*terms: Complex) -> Complex:
        return sum((b * term for b, term in zip(basis, terms, strict=True)), start=np.zeros_like(p0))

    return (
        hermite(p0, p1, _riccati(x0, p0, s), _riccati(x0 + STEP, p1, s)),
        hermite(logarithm[i], logarithm[i + 1], p0, p1),
    )


class Sensitivity(NamedTuple):
    """Dependence of the rate on the input's spectrum."""

    by_cell: Array  # ∫ K dω/2π over each cell of frequency, both signs, (cell, n); 1/ms per mV²/ms
    white: Array  # ∫ K dω/2π over all frequencies, (n,)


def rate_sensitivity(mean: Array, std: Array, lif: NeuronTensors, rate: Array) -> Sensitivity:
    """Return how the rates of neurons depend on the spectrum of their noise.

    Parameters
    ----------
    mean, std : ndarray, shape (n,)
        Moments of the input current, mV/ms and mV/√ms; white noise with std > 0.
    lif : NeuronTensors
    rate : ndarray, shape (n,)
        What such noise makes of the neurons, 1/ms: the moment activation.

    Returns
    -------
    Sensitivity
        In the cells between ``EDGES / tau_m``. Zero for neurons that are silent or practically noiseless. K has a
        relative error below 1e-5; its integral over a cell is the value in the middle times the width.
    """
    tau_m, v_th, v_reset, t_ref = (np.broadcast_to(v.numpy(), mean.shape) for v in lif)
    scale = std * np.sqrt(tau_m)
    upper, lower = (v_th - mean * tau_m) / scale, (v_reset - mean * tau_m) / scale
    counted = (lower > LOWEST) & (upper < HIGHEST - 1)
    by_cell, white = np.zeros((len(EDGES) - 1, len(mean))), np.zeros(len(mean))
    ub, lb, tau_m, rate, std = (v[counted] for v in (upper, lower, tau_m, rate, std))
    g_ub, g_lb = (np.sqrt(np.pi) / 2 * erfcx(-x) for x in (ub, lb))
    white[counted] = (rate / std) ** 2 * tau_m * (ub * g_ub - lb * g_lb)

    s = _table().s
    p_ub, log_ub = _look_up(ub)
    p_lb, log_lb = _look_up(lb)
    ratio = np.exp(log_lb - log_ub)
    hold = np.exp(-s * (t_ref[counted] / tau_m)[:, None])
    response = (p_ub - p_lb * ratio) / (1 - hold * ratio) / (1 + s)
    slope = ub * g_ub - lb * g_lb  # Δg'/2
    bracket = (slope[:, None] - response * (g_ub[:, None] - hold * g_lb[:, None])) / (s - 1)
    k = 2 * ((tau_m * rate / std) ** 2)[:, None] * bracket.real
    by_cell[:, counted] = (k * 2 * np.diff(EDGES) / tau_m[:, None]).T
    return Sensitivity(by_cell, white)


SAMPLES = 4  # places in a cell of frequency at which a spectrum is taken
REGULAR = 1e-6  # least Fano factor that is told from zero
SILENT = 1e-15  # rate below which nothing is corrected, spikes/ms
SLOWEST = 1e-7  # rate below which a train counts as Poisson, spikes/ms
ROUNDS = 3  # times that the effective noise is found anew from the sensitivity that it gives
LEAST = 0.1  # part of the white noise that is left at least
NEWTON_STEPS = 12


class TrainInput(NamedTuple):
    """Input of neurons, all but `deficit` and `exponent` of shape (n,)."""

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
