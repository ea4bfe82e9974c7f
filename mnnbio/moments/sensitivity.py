"""How the mean rate of a neuron depends on the spectrum of its input noise, frequency by frequency.

A weak Gaussian noise of spectrum S(ω), added to white noise, changes the mean rate of the leaky integrate-and-fire
neuron by ``∫ S(ω) K(ω) dω/2π`` over all frequencies. Second-order perturbation of the Fokker-Planck equation gives K as
a sum over its modes; but the functions in it, ``T' ∝ g`` and Φ_s (see `mnnbio.moments.cylinder`) and their derivatives,
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
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import erfcx

from mnnbio.moments.cylinder import first_passage_transform
from mnnbio.moments.drive import NeuronTensors

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
