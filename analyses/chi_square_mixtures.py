"""Sums of squares of correlated normal variables: weighted sums of chi-square variables, weights the eigenvalues."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import optimize, stats

Array = npt.NDArray[np.float64]

_ALIKE = 1e-9  # relative spread of weights that count as equal
_TAIL = 1e-6  # probabilities below which the integral loses digits
_FEW = 20  # effective number of weights below which the integral decays too slowly
_NODES = 32  # of the contour: more lose digits by rounding
_NEGLIGIBLE = 25.0  # logarithm of ρ where the rest of the integral is neglected
_TABLE = 4_000_000  # numbers held at a time
_MANY = 2000  # weights beyond which the smallest are joined


def mixture_sf(x: float, weights: npt.ArrayLike) -> float:
    r"""Return the probability that :math:`\sum_k \lambda_k z_k^2` of standard normal z exceeds x.

    By inverting the Laplace transform on a contour for few weights, by Imhof's integral of the characteristic function
    for many; probabilities below 10⁻⁶ by the saddlepoint approximation, whose relative error is a few per cent.

    Parameters
    ----------
    x : float
    weights : array_like
        Weights λ ≥ 0, such as the eigenvalues of a covariance matrix.

    Raises
    ------
    ValueError
        If a weight is negative or not finite, or all are zero.

    References
    ----------
    Imhof, J. P. (1961). Computing the distribution of quadratic forms in normal variables. *Biometrika* 48, 419-426,
    Eq. 3.2. Weideman, J. A. C. (2006). Optimizing Talbot's contours for the inversion of the Laplace transform. *SIAM
    Journal on Numerical Analysis* 44, 2342-2362, Table 1. Kuonen, D. (1999). Saddlepoint approximations for
    distributions of quadratic forms in normal variables. *Biometrika* 86, 929-935, Eq. 2.
    """
    own = _weights(weights)
    if x <= 0:
        return 1.0
    if np.ptp(own) <= _ALIKE * own.max():
        return float(stats.chi2.sf(x / own[0], len(own)))
    scale = own.max()
    own, x = own / scale, x / scale
    tail = _saddlepoint(x, own)
    if tail < _TAIL:
        return tail
    few = own.sum() ** 2 / (own**2).sum() < _FEW
    return float(np.clip(_talbot(x, own) if few else _imhof(x, own), 0.0, 1.0))


def mixture_quantile(probability: float, weights: npt.ArrayLike) -> float:
    """Return what a weighted sum of chi-square variables stays below with a probability."""
    own = _weights(weights)
    if np.ptp(own) <= _ALIKE * own.max():
        return float(own[0] * stats.chi2.ppf(probability, len(own)))
    mean, spread = own.sum(), np.sqrt(2 * (own**2).sum())
    upper = mean + 4 * spread
    while mixture_sf(upper, own) > 1 - probability:
        upper *= 2
    return float(optimize.brentq(lambda x: mixture_sf(x, own) - (1 - probability), 0.0, upper, xtol=1e-6 * mean))


def _weights(weights: npt.ArrayLike) -> Array:
    """Return the weights above zero, in descending order."""
    own = np.asarray(weights, dtype=np.float64).ravel()
    if not own.size or not np.isfinite(own).all() or own.max() <= 0 or own.min() < -1e-8 * own.max():
        raise ValueError("weights must be finite and ≥ 0, and not all zero")
    own = np.sort(own[own > 1e-12 * own.max()])[::-1]
    if len(own) > _MANY:  # a sum of many small parts: as many equal ones of the same mean
        rest = own[_MANY - 1 :]
        number = max(round(rest.sum() ** 2 / (rest**2).sum()), 1)
        own = np.concatenate([own[: _MANY - 1], np.full(number, rest.sum() / number)])
    return np.asarray(own)


def _talbot(x: float, weights: Array) -> float:
    """Return the probability by inverting the Laplace transform of the distribution function on Weideman's contour.

    All singularities of Π (1 + 2 λ p)^(-1/2) / p lie on the negative real axis, which the contour goes around.
    """
    theta = np.pi * (2 * np.arange(_NODES) + 1) / _NODES - np.pi
    a, b, c, d = 0.5017, 0.6407, 0.6122, 0.2645
    cot = 1 / np.tan(b * theta)
    p = _NODES / x * (a * theta * cot - c + 1j * d * theta)
    slope = _NODES / x * (a * cot - a * b * theta / np.sin(b * theta) ** 2 + 1j * d)
    exponent = p * x - 0.5 * np.log1p(2 * weights[:, None] * p).sum(axis=0)
    below = (np.exp(exponent) / p * slope).sum() / (1j * _NODES)
    return 1 - float(below.real)


def _imhof(x: float, weights: Array) -> float:
    """Return the probability by integrating sin θ(u)/(u ρ(u)) up to where ρ, of many weights, has ended it."""
    top = 1.0
    while 0.25 * np.log1p((weights * top) ** 2).sum() < _NEGLIGIBLE:
        top *= 1.25
    # The phase turns by x u/2: eight points a turn or more, of a rule that is exact for smooth functions.
    pieces = max(int(np.ceil(top * max(x, 1.0) / 16)), 16)
    nodes, rule = np.polynomial.legendre.leggauss(16)
    edges = np.linspace(0.0, top, pieces + 1)
    width = np.diff(edges) / 2
    u = (edges[:-1, None] + width[:, None] * (nodes + 1)).ravel()
    total = 0.0
    for part, share in zip(
        np.array_split(u, -(-u.size * len(weights) // _TABLE)),
        np.array_split((width[:, None] * rule).ravel(), -(-u.size * len(weights) // _TABLE)),
        strict=True,
    ):
        scaled = weights[:, None] * part
        theta = (np.arctan(scaled).sum(axis=0) - x * part) / 2
        rho = np.exp(0.25 * np.log1p(scaled**2).sum(axis=0))
        total += float((share * np.sin(theta) / (part * rho)).sum())
    return 0.5 + total / np.pi


def _saddlepoint(x: float, weights: Array) -> float:
    """Return the tail probability by Lugannani and Rice's formula."""
    mean = weights.sum()
    if abs(x - mean) < 1e-6 * mean:
        return 0.5
    top = 1 / (2 * weights[0])

    def slope(s: float) -> float:
        return float((weights / (1 - 2 * weights * s)).sum() - x)

    upper = top * (1 - 1e-12)
    low = -len(weights) / (2 * x) - 1.0
    while slope(low) > 0:
        low *= 2
    s = float(optimize.brentq(slope, low, upper, xtol=1e-14, rtol=1e-12))
    generating = -0.5 * np.log1p(-2 * weights * s).sum()
    curvature = 2 * (weights**2 / (1 - 2 * weights * s) ** 2).sum()
    w = np.sign(s) * np.sqrt(max(2 * (s * x - generating), 0.0))
    v = s * np.sqrt(curvature)
    if abs(w) < 1e-6 or v == 0:
        return 0.5
    return float(stats.norm.sf(w + np.log(v / w) / w))
