"""The function whose ratios are Laplace transforms of first-passage times of the leaky integrate-and-fire neuron.

``Φ_s(x) = e^{x²/2} D_{-s}(-√2 x)``, with Whittaker's parabolic cylinder function D, is the solution of
``Φ'' = 2xΦ' + 2sΦ`` that stays finite for x → -∞. In units of the membrane time constant, a first passage from x to y
lasts T with ``E[e^{-sT}] = Φ_s(x)/Φ_s(y)`` [1]_. Only such ratios and the logarithmic derivative ``p = Φ'/Φ`` are ever
needed, and both are of moderate size where Φ itself overflows:

- for x ≤ -2 a continued fraction gives p, ``p = √2 s R_s`` with ``1/R_s = z + (s + 1) R_{s+1}`` and ``z = -√2 x`` (from
  the recurrence of D in its order, [2]_ 12.8.1), and the ratio is the exponential of its integral;
- above, Taylor series of the differential equation carry both upwards, the direction in which Φ outgrows the other
  solution, so that errors fade.

References
----------
.. [1] A. J. F. Siegert (1951), On the first passage time probability problem, Phys. Rev. 81, 617.
.. [2] NIST Digital Library of Mathematical Functions, chapter 12.

How the firing rate of the leaky integrate-and-fire neuron follows a modulated input, and the spectrum of its spikes.

With ``s = iωτ_m``, the bounds ``lb, ub`` of `mnnbio.moments.activation` and Φ_s of `mnnbio.moments.transfer`, a
modulation ``mean + ε e^{iωt}`` of white noise changes the rate by ``ε χ e^{iωt}`` [1]_ [2]_, and one of its variance
likewise:

    D(ω)    = Φ(ub) - e^{-iωt_ref} Φ(lb)
    χ_mean  = √τ_m/std · rate/(1 + s) · [Φ'(ub) - Φ'(lb)] / D
    χ_var   = 1/(2 std²) · rate/(2 + s) · [Φ''(ub) - Φ''(lb)] / D

(the derivatives are with respect to the bound). At ω → 0 they are the derivatives of the rate. The intervals have the
characteristic function ``ρ = e^{-iωt_ref} Φ(lb)/Φ(ub)``, so that the spectrum of the spike train, a renewal process, is
``rate (1 - |ρ|²)/|1 - ρ|²``.

References
----------
.. [1] N. Brunel, V. Hakim (1999), Fast global oscillations in networks of integrate-and-fire neurons with low firing
   rates, Neural Comput. 11, 1621, appendix.
.. [2] B. Lindner, L. Schimansky-Geier (2001), Transmission of noise coded versus additive signals through a neuronal
   ensemble, Phys. Rev. Lett. 86, 2934.
.. [3] J. Schuecker, M. Diesmann, M. Helias (2015), Modulated escape from a metastable state driven by colored noise,
   Phys. Rev. E 92, 052119 (exponential synapses by shifted bounds).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from mnnbio.moments.activation import moment_activation
from mnnbio.moments.drive import Neuron, relate

Complex = npt.NDArray[np.complex128]
Real = npt.NDArray[np.float64]

JOIN = -2.0  # where the continued fraction gives way to the Taylor series
FRACTION_TERMS = 200
SERIES_TERMS = 40
REACH = 2.0  # step of the series, in units of the scale on which the function changes
NODES, NODE_WEIGHTS = np.polynomial.legendre.leggauss(48)


class FirstPassageTransform(NamedTuple):
    """Logarithmic derivatives of Φ_s at two places, and the ratio of its values there."""

    lower: Complex  # Φ'/Φ at the lower place
    upper: Complex
    ratio: Complex  # Φ(lower)/Φ(upper): the Laplace transform of the passage time


def first_passage_transform(s: Complex, lower: Real, upper: Real) -> FirstPassageTransform:
    """Return what the response of a neuron needs to know of Φ_s; error below 1e-11 for ``|s| ≤ 300``.

    Parameters
    ----------
    s : ndarray
        Laplace variable times the membrane time constant; real part > -1.
    lower, upper : ndarray
        Places, ``lower < upper``, dimensionless; all three broadcast.

    Returns
    -------
    FirstPassageTransform
        Each of the broadcast shape.
    """
    s, lower, upper = np.broadcast_arrays(np.asarray(s, complex), lower, upper)
    join = np.full(s.shape, JOIN)
    low, high = np.minimum(lower, join), np.minimum(upper, join)  # the part of the way below the join, perhaps none
    middle = np.maximum(lower, join)
    top = np.maximum(upper, middle)
    slope_middle, _ = _carry(s, join, middle, _fraction(s, join))
    slope_top, growth = _carry(s, middle, top, slope_middle)
    return FirstPassageTransform(
        np.where(lower < JOIN, _fraction(s, low), slope_middle),
        np.where(upper > JOIN, slope_top, _fraction(s, high)),
        np.exp(-growth - _growth_below(s, low, high)),
    )


def _fraction(s: Complex, x: Real) -> Complex:
    """Return Φ'/Φ for x ≤ JOIN."""
    z = -np.sqrt(2.0) * x
    last = s + FRACTION_TERMS + 1
    tail = 2 / (z + np.sqrt(z * z + 4 * last))  # of the recurrence with its order held fixed
    for k in range(FRACTION_TERMS, -1, -1):
        tail = 1 / (z + (s + k + 1) * tail)
    return np.sqrt(2.0) * s * tail


def _growth_below(s: Complex, low: Real, high: Real) -> Complex:
    """Return ln Φ(high)/Φ(low) for low ≤ high ≤ JOIN, by quadrature over ln|x|."""
    from_, to = np.log(-low), np.log(-high)
    x = -np.exp((from_ + to) / 2 + (to - from_) / 2 * NODES.reshape(-1, *(1,) * s.ndim))
    total = np.tensordot(NODE_WEIGHTS, _fraction(s, x) * x, axes=1)
    return np.asarray(total * (to - from_) / 2)


def _carry(s: Complex, start: Real, stop: Real, slope: Complex) -> tuple[Complex, Complex]:
    """Return Φ'/Φ at `stop` and ln Φ(stop)/Φ(start), given Φ'/Φ at `start`."""
    scale = np.maximum(np.maximum(np.abs(start), np.abs(stop)), np.maximum(1.0, np.sqrt(2 * np.abs(s))))
    steps = max(1, int(np.ceil(np.max((stop - start) * scale, initial=0.0) / REACH)))
    h = (stop - start) / steps
    growth = np.zeros(s.shape, complex)
    for k in range(steps):
        x = start + k * h
        previous, term = np.ones(s.shape, complex), slope * h
        value, derivative = previous + term, term.copy()  # the derivative times h
        for n in range(SERIES_TERMS):
            previous, term = (
                term,
                (2 * x * h * (n + 1) * term + 2 * h * h * (n + s) * previous) / ((n + 1) * (n + 2)),
            )
            value += term
            derivative += (n + 2) * term
        growth += np.log(value)
        slope = np.where(h > 0, derivative / (np.where(h > 0, h, 1.0) * value), slope)
    return slope, growth


SMALL = 1e-5  # |s| below which differences of Φ are lost in rounding, and the limit ω → 0 is taken


class Transfer(NamedTuple):
    """Response of the rate, and spectrum of the spikes, at each Laplace variable; shape (frequency, ...)."""

    mean: Complex  # change of the rate with the mean of the input, 1/mV
    variance: Complex  # change of the rate with the variance of the input, 1/mV²
    spectrum: Real  # of the spike train, 1/ms; at imaginary variables only
    interval: Complex  # Laplace transform of the interval density


def transfer_function(frequency: npt.ArrayLike, mean: npt.ArrayLike, std: npt.ArrayLike, lif: Neuron) -> Transfer:
    r"""Return the response of the firing rate to modulations of the input.

    For exponential synapses give the neuron of `colored_lif`, and filter the input with ``1/(1 + iωτ_s)``.

    Parameters
    ----------
    frequency : array_like, shape (frequency,)
        In 1/ms. A complex one, ``f - iλ/2π``, is a modulation that grows like e^{λt}.
    mean, std : array_like
        Moments of the input current, mV/ms and mV/√ms; std > 0.
    lif : LIFParameters or alike
        Broadcasts with `mean` and `std`.

    Returns
    -------
    Transfer
        Each of shape (frequency, \*broadcast shape of the input). Relative error below 1e-9 for ``ω τ_m ≤ 300``.

    Raises
    ------
    ValueError
        If std is not positive.

    Examples
    --------
    >>> from mnnbio import LIFParameters
    >>> slow, fast = abs(transfer_function([0.0, 0.2], 0.8, 1.0, LIFParameters()).mean)
    >>> float((fast / slow).round(3))
    0.259
    """
    drive_mean, drive_std = (torch.as_tensor(np.asarray(v, dtype=np.float64)) for v in (mean, std))
    if not bool((drive_std > 0).all()):
        raise ValueError(f"`std` must be > 0 mV/√ms for a response to modulations, got {float(drive_std.min())}")
    drive = relate(drive_mean, drive_std, lif)
    neuron = [v.numpy() for v in drive.lif]
    tau_m, t_ref = neuron[0], neuron[3]
    upper = (-drive.above_th / drive.s).numpy()
    lower = upper - (drive.span / drive.s).numpy()
    noise = np.broadcast_to(drive_std.numpy(), upper.shape)
    response = moment_activation(drive_mean, drive_std, lif)
    rate = np.broadcast_to(response.rate.numpy(), upper.shape)
    omega = 2j * np.pi * np.asarray(frequency, dtype=complex)
    omega = omega.reshape(omega.shape + (1,) * upper.ndim)
    s = omega * np.broadcast_to(tau_m, upper.shape)
    still = np.abs(s) < SMALL
    s = np.where(still, 1j * SMALL, s)  # the response is even in ω in its real part: off by 1e-10
    silent = drive.silent.numpy()
    passage = first_passage_transform(s, np.where(silent, -1.0, lower), np.where(silent, 1.0, upper))
    interval = np.exp(-s * t_ref / tau_m) * passage.ratio
    first = passage.upper - passage.lower * passage.ratio
    second = 2 * (upper * passage.upper - lower * passage.lower * passage.ratio) + 2 * s * (1 - passage.ratio)
    to_mean = np.sqrt(tau_m) / noise * rate / (1 + s) * first / (1 - interval)
    to_variance = rate / (2 * noise**2) / (2 + s) * second / (1 - interval)
    spectrum = rate * (1 - np.abs(interval) ** 2) / np.abs(1 - interval) ** 2
    to_mean, to_variance = (np.where(still, v.real, v) for v in (to_mean, to_variance))
    spectrum = np.where(still, response.variance.numpy(), spectrum)
    quiet = np.broadcast_to(silent, s.shape)
    return Transfer(
        np.where(quiet, 0.0, to_mean), np.where(quiet, 0.0, to_variance), np.where(quiet, 0.0, spectrum), interval
    )
