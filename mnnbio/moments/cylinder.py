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
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

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
