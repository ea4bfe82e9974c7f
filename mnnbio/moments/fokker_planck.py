r"""Leaky integrate-and-fire neurons in noise with a memory, by their two-dimensional Fokker-Planck equation.

The current is the sum of white noise and of an Ornstein-Uhlenbeck process: white noise through an exponential synapse.
With the potential x in units of its standard deviation, measured from its mean, the time in units of tau_m, the
filtered current ``a y``, y of variance 1, and ``k = tau_s/tau_m``, the density of neurons is ``w(y) f(x, y, t)``, w the
standard normal density, and

    w ∂f/∂t = -∂/∂x [w (a y - x) f - D w ∂f/∂x] + (1/k) ∂/∂y (w ∂f/∂y)

up to the threshold, which without white noise is crossed only where ``a y > x`` [1]_ [2]_. The current goes on while
the neuron is refractory, so that intervals depend on each other through y: spikes are a Markov renewal process with the
kernel ``G E``, E the relaxation of y during the refractory period and G what takes y at the release to y at the spike.
Its matrices of moments of the time give rate, variability of intervals, the count variance of long windows and the
spectrum.

**Numerics.** Finite elements of degree 4 in y, whose edges meet at the y from which the threshold is crossed, and a
discontinuous Galerkin method of degree 3 in x, upwind for the drift and with an interior penalty for the diffusion.
Elements shrink towards that corner, where the solution is singular. The adjoint problem is solved, which is smooth at
the reset potential: one factorisation of a block tridiagonal matrix, some 50 ms, serves all of them.

References
----------
.. [1] N. Brunel, S. Sergi (1998), Firing frequency of leaky integrate-and-fire neurons with synaptic current dynamics,
   J. theor. Biol. 195, 87.
.. [2] S. Vellmer, B. Lindner (2019), Theory of spike-train power spectra for multidimensional integrate-and-fire
   neurons, Phys. Rev. Research 1, 023024.
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numpy.polynomial.legendre import Legendre, legder, leggauss, legval, legvander
from scipy import linalg

from mnnbio.moments.drive import Neuron, from_rest

Array = npt.NDArray[np.float64]
Complex = npt.NDArray[np.complex128]

DEGREE, CURRENT_DEGREE = 3, 4  # of the elements in the potential and in the current
REACH = 5.5  # standard deviations that the mesh reaches from the mean
CELL, CURRENT_CELL = 0.5, 1.2  # largest elements, standard deviations
FIRST, FIRST_CURRENT = 0.05, 0.1  # smallest, at the corner where the solution is singular
FAR_CELL = 0.15  # largest elements far from the mean, of the distance to it
GROWTH = 2.0  # of neighbouring elements
BELOW = 3.0  # standard deviations below the reset potential
PENALTY = 2 * (DEGREE + 1) ** 2


class ColoredStatistics(NamedTuple):
    """Stationary statistics of a spike train; intervals depend on each other where the input has a memory."""

    rate: float  # 1/ms
    variance: float  # of counts in long windows per time, 1/ms
    interval_cv2: float  # squared coefficient of variation of the intervals
    correlation: float  # sum of the correlation coefficients of an interval with all later ones


class CurrentElements:
    """Finite elements in the current y, weighted with the standard normal density.

    Parameters
    ----------
    edges : ndarray
        Of the elements.
    """

    def __init__(self, edges: Array) -> None:
        q = CURRENT_DEGREE
        self.edges, count = edges, len(edges) - 1
        self.size = count * q + 1
        inner = np.sort(Legendre.basis(q).deriv().roots().real)
        self._to_nodes = np.linalg.inv(legvander(np.concatenate([[-1.0], inner, [1.0]]), q))
        self._place, self._weight = leggauss(q + 8)
        self._dof = np.arange(count)[:, None] * q + np.arange(q + 1)
        self._y, self._w = self._points(edges[:-1], edges[1:])
        self._values = self._at(self._place)
        slopes = np.stack([legval(self._place, legder(row)) for row in np.eye(q + 1)], -1) @ self._to_nodes
        slopes = slopes * (2 / np.diff(edges))[:, None, None]
        self.one = np.ones(self.size)
        self.mass = self._matrix(np.ones_like(self._y))
        self.first = self._matrix(self._y)  # of y
        self.stiffness = self._assembled(np.einsum("eq,eqa,eqb->eab", self._w, slopes, slopes))

    def crossing(self, a: float, x: float) -> Array:
        """Return the matrix of the positive part of ``a y - x``."""
        local = self._products(np.maximum(a * self._y - x, 0.0))
        kink = x / a if a else np.inf
        element = int(np.searchsorted(self.edges, kink)) - 1
        if 0 <= element < len(self.edges) - 1:
            low, high = self.edges[element], self.edges[element + 1]
            y, w = self._points(kink, high)
            values = self._at(2 * (y - low) / (high - low) - 1)
            local[element] = np.einsum("q,qa,qb->ab", w * (a * y - x), values, values)
        return self._assembled(local)

    @cached_property
    def _relaxation(self) -> tuple[Array, Array, Array]:
        values, vectors = linalg.eigh(self.stiffness, self.mass)
        return values, self.mass @ vectors, vectors.T

    def relaxed(self, time: float) -> Array:
        """Return the matrix by which the current relaxes in a time, in units of tau_s, on integrals with elements."""
        values, left, right = self._relaxation
        return np.asarray((left * np.exp(-values * time)) @ right)

    def _at(self, place: Array) -> Array:
        return np.asarray(legvander(place, CURRENT_DEGREE) @ self._to_nodes)

    def _points(self, low: Any, high: Any) -> tuple[Array, Array]:
        low, high = np.asarray(low)[..., None], np.asarray(high)[..., None]
        y = (low + high) / 2 + (high - low) / 2 * self._place
        return y, self._weight * (high - low) / 2 * np.exp(-(y**2) / 2) / math.sqrt(2 * math.pi)

    def _products(self, values: Array) -> Array:
        return np.asarray(np.einsum("eq,qa,qb->eab", self._w * values, self._values, self._values, optimize=True))

    def _matrix(self, values: Array) -> Array:
        return self._assembled(self._products(values))

    def _assembled(self, local: Array) -> Array:
        out = np.zeros((self.size, self.size))
        for dof, block in zip(self._dof, local, strict=True):
            out[np.ix_(dof, dof)] += block
        return out


class ColoredPassage:
    """First passages to a threshold in white and filtered noise, from every reset potential.

    Parameters
    ----------
    threshold : float
        Above the mean of the free potential, in its standard deviations.
    ratio : float
        ``tau_s/tau_m``; > 0.
    white : float
        Share of the variance of the potential that white noise causes, 0 to 1.
    lowest : float
        Lowest reset potential, like `threshold`.
    refinement : float
        Factor by which elements shrink.
    """

    def __init__(self, threshold: float, ratio: float, white: float, lowest: float, *, refinement: float = 1.0) -> None:
        self.ratio = ratio
        a, D = math.sqrt(max(1 - white, 0.0) * (1 + ratio) / ratio), white
        kink = threshold / a if a else math.inf
        highest = max(REACH, min(kink, REACH + 0.5) + 2.0)
        self.current = CurrentElements(_current_edges(kink, highest, refinement))
        layer = FIRST * min(1.0, math.sqrt(ratio), max(D, 1e-3) if D else 1.0)
        bottom = min(-REACH, lowest - BELOW)
        self._edges = _potential_edges(threshold, bottom, layer / refinement, refinement)
        self._blocks(a, D)

    def _blocks(self, a: float, D: float) -> None:
        """Set up the operator: its blocks of the potential's elements, each by that of its neighbours."""
        x, y, p = self._edges, self.current, DEGREE
        width, count = np.diff(x), len(x) - 1
        nodes, weights = leggauss(p + 3)
        values = legvander(nodes, p)
        slopes = np.stack([legval(nodes, legder(row)) for row in np.eye(p + 1)], -1)
        order = np.arange(p + 1)
        left, right = (-1.0) ** order, np.ones(p + 1)  # of the basis at the ends of an element, and its slopes
        right_slope = order * (order + 1) / 2.0
        left_slope = -left * right_slope
        size = (p + 1) * y.size
        self._diagonal, self._upper, self._lower = (np.zeros((n, size, size)) for n in (count, count - 1, count - 1))
        self._masses = np.stack([np.einsum("q,qi,qj->ij", weights * h / 2, values, values) for h in width])
        for e, h in enumerate(width):
            place = (x[e] + x[e + 1]) / 2 + h / 2 * nodes
            drift, shift, stiff = (
                np.einsum("q,qi,qj->ij", weights * v, slopes, u)
                for v, u in ((place, values), (np.ones_like(place), values), (D * 2 / h * np.ones_like(place), slopes))
            )
            self._diagonal[e] += np.kron(drift + stiff, y.mass) - a * np.kron(shift, y.first)
            self._diagonal[e] += np.kron(self._masses[e], y.stiffness) / self.ratio
        for f in range(1, count + 1):
            up = y.crossing(a, x[f])
            down = a * y.first - x[f] * y.mass - up
            h = width[f - 1]
            self._diagonal[f - 1] += np.kron(np.outer(right, right), up)
            if f == count:
                slope, rigid = 2 / h * right_slope, D * PENALTY / h
                leaving = np.outer(right, rigid * right - D * slope) - D * np.outer(slope, right)
                self._diagonal[f - 1] += np.kron(leaving, y.mass)
                self._outflow = np.kron(right[None], up) + np.kron((rigid * right - D * slope)[None], y.mass)
                break
            self._upper[f - 1] += np.kron(np.outer(right, left), down)
            self._lower[f - 1] -= np.kron(np.outer(left, right), up)
            self._diagonal[f] -= np.kron(np.outer(left, left), down)
            if D:
                rigid = D * PENALTY / min(h, width[f])
                mine, other = D * right_slope / h, D * left_slope / width[f]  # half of the slopes: of their mean
                self._diagonal[f - 1] += np.kron(
                    rigid * np.outer(right, right) - np.outer(right, mine) - np.outer(mine, right), y.mass
                )
                self._upper[f - 1] += np.kron(
                    np.outer(mine, left) - np.outer(right, other) - rigid * np.outer(right, left), y.mass
                )
                self._lower[f - 1] += np.kron(
                    np.outer(left, mine) - np.outer(other, right) - rigid * np.outer(left, right), y.mass
                )
                self._diagonal[f] += np.kron(
                    rigid * np.outer(left, left) + np.outer(left, other) + np.outer(other, left), y.mass
                )

    @cached_property
    def _still(self) -> tuple[Any, Any]:
        """The adjoint of passing to each element of the current and of the time, and that of the times' moments."""
        solve = _Factors(self._diagonal, self._upper, self._lower)
        count, size = self._diagonal.shape[:2]
        right = np.zeros((count, size, self.current.size + 1))
        right[-1, :, :-1] = self._outflow.T
        unit = np.kron(np.eye(DEGREE + 1)[0], self.current.one)
        right[:, :, -1:] = self._massive(np.tile(unit, (count, 1))[..., None])
        passage = solve(right)
        return passage, solve(self._massive(passage))

    def statistics(self, reset: float, refractory: float) -> ColoredStatistics:
        """Return the statistics of neurons of a reset potential (like the threshold) and refractory period (tau_m).

        Rates are per tau_m.
        """
        y, h = self.current, refractory
        once, twice = (self._at(part, reset) for part in self._still)
        E = y.relaxed(h / self.ratio)
        kernel = once[:-1] @ E
        spike = _stationary(kernel, y.one, y.mass @ y.one)
        released = E @ spike
        mean = h + once[-1] @ released
        variance = h * h + 2 * h * (once[-1] @ released) + 2 * twice[-1] @ released - mean**2
        timed = h * (kernel @ spike) + twice[:-1] @ released  # the interval, by y at its end
        later = np.linalg.solve(np.eye(y.size) - kernel + np.outer(spike, y.one), timed - mean * spike)
        correlated = h * (y.one @ later) + once[-1] @ (E @ later)
        numbers = (1 / mean, (variance + 2 * correlated) / mean**3, variance / mean**2, correlated / variance)
        return ColoredStatistics(*(float(value) for value in numbers))

    def spectrum(self, omega: Array, reset: float, refractory: float) -> Array:
        """Return the spectrum of the train at angular frequencies > 0 (1/tau_m), two-sided, per tau_m."""
        y = self.current
        E = y.relaxed(refractory / self.ratio)
        once = self._at(self._still[0], reset)
        spike = _stationary(once[:-1] @ E, y.one, y.mass @ y.one)
        rate = self.statistics(reset, refractory).rate
        mass = np.stack([np.kron(part, y.mass) for part in self._masses])
        right = np.zeros((*self._diagonal.shape[:2], y.size), complex)
        right[-1] = self._outflow.T
        found = []
        for w in omega:
            solve = _Factors(self._diagonal + 1j * w * mass, self._upper, self._lower)
            kernel = self._at(solve(right), reset) @ E * np.exp(-1j * w * refractory)
            again = np.linalg.solve(np.eye(y.size) - kernel, kernel @ spike)
            found.append(rate * (1 + 2 * (y.one @ again).real))
        return np.array(found)

    def _massive(self, vectors: Array) -> Array:
        parts = vectors.reshape(len(vectors), DEGREE + 1, self.current.size, -1)
        found = np.einsum("eij,ab,ejbr->eiar", self._masses, self.current.mass, parts, optimize=True)
        return np.asarray(found.reshape(vectors.shape))

    def _at(self, vectors: Any, reset: float) -> Any:
        """Return adjoint solutions at a potential, (solution, element of the current)."""
        e = int(np.clip(np.searchsorted(self._edges, reset) - 1, 0, len(vectors) - 1))
        low, high = self._edges[e], self._edges[e + 1]
        basis = legvander(np.array([2 * (reset - low) / (high - low) - 1]), DEGREE)[0]
        return np.einsum("i,iar->ra", basis, vectors[e].reshape(DEGREE + 1, self.current.size, -1))


class _Factors:
    """LU decomposition of the transpose of a block tridiagonal matrix."""

    def __init__(self, diagonal: Any, upper: Any, lower: Any) -> None:
        self._upper = upper
        self._own: list[Any] = []
        self._next: list[Any] = []
        for e, block in enumerate(diagonal):
            reduced = block.T - upper[e - 1].T @ self._next[-1] if e else block.T
            self._own.append(linalg.lu_factor(reduced, check_finite=False))
            if e < len(lower):
                self._next.append(linalg.lu_solve(self._own[-1], lower[e].T, check_finite=False))

    def __call__(self, right: Any) -> Any:
        found = right.copy()
        for e, own in enumerate(self._own):
            if e:
                found[e] -= self._upper[e - 1].T @ found[e - 1]
            found[e] = linalg.lu_solve(own, found[e], check_finite=False)
        for e in range(len(found) - 2, -1, -1):
            found[e] -= self._next[e] @ found[e + 1]
        return found


def fokker_planck(
    mean: float, std: float, lif: Neuron, tau_s: float, *, white: float = 0.0, refinement: float = 1.0
) -> ColoredStatistics:
    """Return the statistics of a neuron that receives noise through exponential synapses.

    A reference: rates within 1e-4, for some 0.1 s a neuron. `colored_activation` interpolates in a table of it.

    Parameters
    ----------
    mean, std : float
        Moments of the input current, mV/ms and mV/√ms; ``std²`` is the power of the noise at zero frequency.
    lif : LIFParameters or alike
        Of one neuron.
    tau_s : float
        Synaptic time constant, ms; > 0.
    white : float
        Share of ``std²`` that is white noise, the rest being filtered; 0 to 1, exclusive.
    refinement : float
        Factor by which the elements of the mesh shrink.

    Returns
    -------
    ColoredStatistics
        Per ms.

    Raises
    ------
    ValueError
        If `std` or `tau_s` is not positive or `white` not in [0, 1): white noise has closed forms.

    Examples
    --------
    >>> from mnnbio import LIFParameters
    >>> round(fokker_planck(0.8, 1.0, LIFParameters(), tau_s=20.0).rate, 5)
    0.00142
    """
    passage, reset, tau_m, t_ref = _prepared(mean, std, lif, tau_s, white, refinement)
    found = passage.statistics(reset, t_ref / tau_m)
    return found._replace(rate=found.rate / tau_m, variance=found.variance / tau_m)


def fokker_planck_spectrum(
    frequency: npt.ArrayLike,
    mean: float,
    std: float,
    lif: Neuron,
    tau_s: float,
    *,
    white: float = 0.0,
    refinement: float = 1.0,
) -> Array:
    """Return the spectrum of the spike train of a neuron that receives noise through exponential synapses.

    Parameters
    ----------
    frequency : array_like, shape (frequency,)
        1/ms; > 0. The limit at zero is the `variance` of `fokker_planck`.
    mean, std, lif, tau_s, white, refinement
        As for `fokker_planck`.

    Returns
    -------
    ndarray, shape (frequency,)
        Two-sided, 1/ms.

    Raises
    ------
    ValueError
        As `fokker_planck`, and if a frequency is not positive.
    """
    f = np.atleast_1d(np.asarray(frequency, dtype=np.float64))
    if not (f > 0).all():
        raise ValueError(
            f"`frequency` must be > 0 1/ms, got {f.min():g}; the limit at 0 is `fokker_planck(...).variance`"
        )
    passage, reset, tau_m, t_ref = _prepared(mean, std, lif, tau_s, white, refinement)
    return passage.spectrum(2 * np.pi * f * tau_m, reset, t_ref / tau_m) / tau_m


def _prepared(
    mean: float, std: float, lif: Neuron, tau_s: float, white: float, refinement: float
) -> tuple[ColoredPassage, float, float, float]:
    for name, value in (("std", std), ("tau_s", tau_s), ("refinement", refinement)):
        if not value > 0:
            raise ValueError(
                f"`{name}` must be > 0, got {value:g}; `moment_activation` is for white noise and for none"
            )
    if not 0 <= white < 1:
        raise ValueError(f"`white` must be in [0, 1), got {white:g}; `moment_activation` is for white noise alone")
    own = from_rest(lif)
    tau_m, v_th, v_reset, t_ref = (float(getattr(own, name)) for name in ("tau_m", "v_th", "v_reset", "t_ref"))
    ratio = tau_s / tau_m
    variance = std**2 * tau_m / 2 * (white + (1 - white) / (1 + ratio))
    share = white / (white + (1 - white) / (1 + ratio))
    scale = math.sqrt(variance)
    threshold, reset = ((v - mean * tau_m) / scale for v in (v_th, v_reset))
    return ColoredPassage(threshold, ratio, share, reset, refinement=refinement), reset, tau_m, t_ref


def _stationary(kernel: Array, one: Array, start: Array) -> Array:
    """Return the vector that a matrix, which keeps sums, leaves as it is, of sum 1."""
    source = kernel @ start
    return np.asarray(np.linalg.solve(np.eye(len(one)) - kernel + np.outer(source, one), source))


def _current_edges(kink: float, highest: float, refinement: float) -> Array:
    largest, first = CURRENT_CELL / refinement, FIRST_CURRENT / refinement
    if not -REACH + 0.3 < kink < highest - 0.3:
        return np.linspace(-REACH, highest, math.ceil((highest + REACH) / largest) + 1)
    sides = []
    for stop in (-REACH, highest):
        place, h, sign = [kink], first, math.copysign(1.0, stop - kink)
        while abs(stop - place[-1]) > 1.5 * h:
            place.append(place[-1] + sign * h)
            h = min(h * GROWTH, largest)
        sides.append([*place, stop])
    return np.array([*sides[0][::-1], *sides[1][1:]])


def _potential_edges(threshold: float, bottom: float, first: float, refinement: float) -> Array:
    place, h = [threshold], first
    while place[-1] - bottom > 1.5 * h:
        place.append(place[-1] - h)
        h = min(h * GROWTH, max(CELL, FAR_CELL * abs(place[-1])) / refinement)
    return np.array([bottom, *place[::-1]])
