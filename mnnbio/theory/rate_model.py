"""Rate models of a circuit: low-pass filters with delays in place of the responses of its neurons.

A linear rate model has the response ``h(ω) = g e^{-iωd}/(1 + iωτ)`` from population to population. Fitted to what the
leaky integrate-and-fire neurons of a circuit respond [1]_, it is the effective model whose stability can be told in
closed form: with one time constant and one delay, deviations ``e^{st}`` keep themselves alive where

    (1 + sτ) e^{sd} = c,    s = -1/τ + W_b(c d/τ e^{d/τ})/d,

c being an eigenvalue of the gains and W_b the branches of Lambert's function, of which the principal one has the
largest real part [2]_. With several, the rightmost s are eigenvalues of the generator of the delay differential
equation, approximated by polynomials over the delay [3]_, and then refined.

References
----------
.. [1] J. Senk, K. Korvasová, J. Schuecker, E. Hagen, T. Tetzlaff, M. Diesmann, M. Helias (2020), Conditions for wave
   trains in spiking neural networks, Phys. Rev. Research 2, 023174, section II C and eq. 7.
.. [2] H. Shinozaki, T. Mori (2006), Robust stability analysis of linear time-delay systems by Lambert W function: Some
   extreme point results, Automatica 42, 1791.
.. [3] D. Breda, S. Maset, R. Vermiglio (2005), Pseudospectral differencing methods for characteristic roots of delay
   differential equations, SIAM J. Sci. Comput. 27, 482.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy.linalg import eig
from scipy.optimize import least_squares
from scipy.special import lambertw

from mnnbio.circuit import Circuit, require_circuit
from mnnbio.machine import check_choice
from mnnbio.results import array
from mnnbio.theory.inputs import mean_phase
from mnnbio.theory.oscillations import HZ
from mnnbio.theory.population_response import (
    ResponseTo,
    follows_variance,
    modulation,
    response_attributes,
    stationary_populations,
)
from mnnbio.theory.population_theory import fluctuations
from mnnbio.theory.stationary import Closure
from mnnbio.theory.validity import check_validity
from mnnbio.units import in_unit

Array = npt.NDArray[np.float64]
Complex = npt.NDArray[np.complex128]

# Where fits start: time constants and delays, ms, of which the best few are refined.
TIME_CONSTANTS, DELAYS = np.logspace(-2, 3, 41), np.linspace(0.0, 20.0, 41)
STARTS = 3
# Frequencies of the published fit, 1/ms.
FREQUENCIES = np.arange(1.0, 201.0) * 1e-3

POINTS = 16  # of the polynomials over the delay
CANDIDATES = 8  # of their eigenvalues, besides two a channel, that are refined
FARTHEST = 500.0  # decay times delay up to which roots are looked for
NEWTON_STEPS, ROOT_TOLERANCE = 60, 1e-14
LONGEST = 500.0  # delay over time constant, up to which Lambert's function is evaluated

Delay = Literal["fit", "projection"]


class LowPass(NamedTuple):
    """A low-pass filter with a delay, ``gain e^{-iωd}/(1 + iωτ)``."""

    gain: float
    time_constant: float  # ms
    delay: float  # ms
    error: float  # root-mean-square, relative to the response that was fitted

    def at(self, frequency: npt.ArrayLike) -> Complex:
        """Return the response at frequencies, 1/ms."""
        return self.gain * _filter(np.asarray(frequency, dtype=np.float64), self.time_constant, self.delay)


def _filter(frequency: Array, time_constant: Any, delay: Any) -> Complex:
    omega = 2j * np.pi * frequency
    return np.asarray(np.exp(-omega * delay) / (1 + omega * time_constant))


def fit_low_pass(frequency: npt.ArrayLike, response: npt.ArrayLike, *, delay: float | None = None) -> LowPass:
    """Return the low-pass filter with a delay that comes closest to a response, by least squares.

    Parameters
    ----------
    frequency : array_like, shape (frequency,)
        1/ms; three or more.
    response : array_like of complex, shape (frequency,)
        Not zero everywhere.
    delay : float, optional
        Delay to be kept, ms; by default it is fitted.

    Returns
    -------
    LowPass
        The gain has either sign; time constant and delay are ≥ 0.

    Raises
    ------
    ValueError
        If there are fewer than three frequencies, shapes differ, or the response is zero or not finite.

    Examples
    --------
    >>> f = np.array([0.001, 0.01, 0.1])
    >>> found = fit_low_pass(f, LowPass(-2.0, 5.0, 1.5, 0.0).at(f))
    >>> [round(value, 6) for value in found[:3]]
    [-2.0, 5.0, 1.5]
    """
    f, wanted = np.asarray(frequency, dtype=np.float64), np.asarray(response, dtype=np.complex128)
    if f.ndim != 1 or f.shape != wanted.shape or len(f) < 3:
        raise ValueError(
            f"`frequency` and `response` must be of one length ≥ 3, got the shapes {f.shape} and {wanted.shape}"
        )
    size = float(np.sqrt((np.abs(wanted) ** 2).mean()))
    if not 0 < size < np.inf:
        raise ValueError(f"`response` must be finite and not zero everywhere, got a mean square of {size**2:g}")
    target = wanted / size

    def gain(filters: Complex) -> Any:
        return (filters.conj() * target).real.sum(-1) / (np.abs(filters) ** 2).sum(-1)

    delays = DELAYS if delay is None else np.array([delay])
    tried = _filter(f, TIME_CONSTANTS[:, None, None], delays[:, None])
    cost = (np.abs(target - gain(tried)[..., None] * tried) ** 2).sum(-1)
    best: LowPass | None = None
    for place in np.argsort(cost.ravel())[:STARTS]:
        row, column = np.unravel_index(place, cost.shape)
        start = [TIME_CONSTANTS[row], delays[column]][: 2 if delay is None else 1]

        def mismatch(x: Array) -> Array:
            filters = _filter(f, x[0], x[1] if delay is None else delay)
            left = target - gain(filters) * filters
            return np.concatenate([left.real, left.imag])

        x = least_squares(mismatch, start, bounds=(0, np.inf), x_scale=np.maximum(start, 0.1), xtol=1e-15, ftol=1e-15)
        time_constant, lag = float(x.x[0]), float(x.x[1]) if delay is None else delay
        error = float(np.sqrt((x.fun**2).sum() / len(f)))
        found = LowPass(float(gain(_filter(f, time_constant, lag))) * size, time_constant, float(lag), error)
        best = found if best is None or found.error < best.error else best
    assert best is not None
    return best


def fit_transfer_function(
    circuit: Circuit,
    frequencies: Any = FREQUENCIES,
    *,
    delay: Delay = "fit",
    dt: Any = None,
    closure: Closure = "poisson",
    start: Any = None,
    response: ResponseTo = "mean+variance",
) -> xr.Dataset:
    """Return the rate model of a circuit: what populations respond to each other, as low-pass filters with delays.

    Parameters
    ----------
    circuit : Circuit
        With one stimulus, not changing in time.
    frequencies : array_like or Quantity, shape (frequency,)
        At which filters are fitted, 1/ms; by default 1, 2, … 200 Hz.
    delay : {"fit", "projection"}
        Whether delays are fitted, too, or are the mean delays of the projections, as published.
    dt, closure, start, response
        As for `predict_spectra`.

    Returns
    -------
    Dataset
        Over ``(population, population_j)``, target and source, `gain`, the response of the rate to that of the other at
        zero frequency, `time_constant` and `delay` (s), and `fit_error`, the root-mean-square error relative to the
        response. Where a population does not respond to another the gain is 0 and the others are NaN.

    Raises
    ------
    ValueError
        If an option is invalid; else as for `predict_spectra`, but for a state that is unstable.
    NotConverged
        If there is no stationary state.

    Warns
    -----
    SlowSynapseWarning, FiniteWeightWarning
        As by `predict`.

    References
    ----------
    J. Senk et al. (2020), Phys. Rev. Research 2, 023174, section II C and Fig. 5 (there with the delay of the synapses
    and the response to the mean).
    """
    require_circuit(circuit)
    f = np.asarray(in_unit(frequencies, "1/ms", "frequencies"))
    if f.ndim != 1 or len(f) < 3 or not (f >= 0).all():
        raise ValueError(f"`frequencies` must be three or more frequencies ≥ 0 in 1/ms, got {frequencies!r}")
    check_choice("delay", delay, get_args(Delay))
    noise = follows_variance(response)
    system, state, step = stationary_populations(circuit, dt, closure, start)
    check_validity(circuit, fluctuations(circuit, system, state))
    effective = modulation(circuit, system, state, f, step, noise=noise).effective
    size = len(system.names)
    gain, time_constant, lag, error = np.zeros((size, size)), *np.full((3, size, size), np.nan)
    for row, column in zip(*np.nonzero(np.abs(effective).max(0)), strict=True):
        kept = None
        if delay == "projection":
            kept = mean_delay(circuit, system.names[column], system.names[row])
        found = fit_low_pass(f, effective[:, row, column], delay=kept)
        place = row, column
        gain[place], time_constant[place], lag[place], error[place] = found
    pairs = ("population", "population_j")
    note = "NaN: the population does not respond to the other"
    labelled = [
        array("gain", pairs, gain),
        array("time_constant", pairs, time_constant * 1e-3, note=note),
        array("delay", pairs, lag * 1e-3, note=note),
        array("fit_error", pairs, error, note=note),
    ]
    return xr.Dataset(
        {v.name: v for v in labelled}, coords={"population": system.names, "population_j": system.names}
    ).assign_attrs(
        response_attributes(circuit, closure, step, response),
        fitted_delay=delay,
        lowest_frequency=float(f.min()) / HZ,
        highest_frequency=float(f.max()) / HZ,
    )


def mean_delay(circuit: Circuit, source: str, target: str) -> float:
    """Return the mean delay (ms) of the synapses between two populations, by weight where projections differ."""
    small = np.array([1e-6 + 0j])
    delays, weights = [], []
    for projection in circuit.projections:
        if (projection.source, projection.target) == (source, target):
            delays.append(float((1 - mean_phase(projection, small).real[0]) / 1e-6))
            weights.append(circuit.n_synapses(projection))
    return float(np.average(delays, weights=weights))


class Channels(NamedTuple):
    """A linear rate model: filters from populations (columns) to populations (rows), each array of shape (channel,)."""

    size: int  # number of populations
    row: npt.NDArray[np.int64]
    column: npt.NDArray[np.int64]
    gain: Array
    time_constant: Array  # ms
    delay: Array  # ms

    def some(self, chosen: npt.NDArray[np.bool_]) -> Channels:
        """Return some of the filters."""
        kept = (self.gain[chosen], self.time_constant[chosen], self.delay[chosen])
        return Channels(self.size, self.row[chosen], self.column[chosen], *kept)

    def response(self, s: complex) -> Complex:
        """Return the response of the rates to each other at s (1/ms), (population, population)."""
        return self._sum(self._each(s))

    def slope(self, s: complex) -> Complex:
        """Return its derivative by s."""
        filters = self._each(s)
        return self._sum(-filters * (self.delay + self.time_constant / (1 + s * self.time_constant)))

    def _each(self, s: complex) -> Complex:
        return np.asarray(self.gain * np.exp(-s * self.delay) / (1 + s * self.time_constant))

    def _sum(self, values: Complex) -> Complex:
        found = np.zeros((self.size, self.size), dtype=complex)
        np.add.at(found, (self.row, self.column), values)
        return found


def rightmost_root(channels: Channels) -> complex:
    """Return the s (1/ms) of largest real part, and imaginary part ≥ 0, with ``det(1 - M(s)) = 0``.

    Parameters
    ----------
    channels : Channels
        Time constants > 0. Where gains are too small for a root, rates relax with the slowest of the filters.

    Raises
    ------
    ValueError
        If time constants or delays are out of range.
    """
    if not len(channels.gain) or not (channels.time_constant > 0).all() or not (channels.delay >= 0).all():
        raise ValueError(
            "a rate model needs time constants > 0 ms and delays ≥ 0 ms, got "
            f"{np.min(channels.time_constant, initial=np.inf):g} and {np.min(channels.delay, initial=np.inf):g}"
        )
    slowest = float(channels.time_constant.max())
    active = np.abs(channels.gain) > 1e-14
    used = channels.some(active)
    if not active.any():
        return complex(-1 / slowest)
    tau, delay = used.time_constant, used.delay
    alike = (np.ptp(tau) <= 1e-12 * tau[0]) and (np.ptp(delay) <= 1e-12 * delay[0])
    if alike and delay[0] <= LONGEST * tau[0]:
        return _lambert(used)
    best = complex(-np.inf)
    for s in sorted(_generator(used), key=lambda value: -value.real)[: CANDIDATES + 2 * len(tau)]:
        found = _refined(used, complex(s))
        if found is not None and found.real > best.real:
            best = found
    if not np.isfinite(best.real):
        return complex(-1 / slowest)
    return complex(best.real, abs(best.imag))


def lambert_roots(coupling: npt.ArrayLike, time_constant: float, delay: float, branches: npt.ArrayLike = 0) -> Complex:
    """Return s (1/ms) with ``(1 + sτ) e^{sd} = c``; couplings and branches of Lambert's function broadcast.

    Parameters
    ----------
    coupling : array_like
        c.
    time_constant, delay : float
        τ > 0 and d ≥ 0, ms; ``d/τ ≤ 500``. Without a delay there is one root, and branches do not matter.
    branches : array_like of int
        The principal branch, 0, has the largest real part.

    References
    ----------
    J. Senk et al. (2020), Phys. Rev. Research 2, 023174, eq. 7.
    """
    c = np.asarray(coupling, dtype=np.complex128)
    if delay == 0:
        return (c - 1) / time_constant + 0 * np.asarray(branches)
    ratio = delay / time_constant
    return np.asarray(-1 / time_constant + lambertw(c * ratio * np.exp(ratio), branches) / delay)


def _lambert(channels: Channels) -> complex:
    """Return the rightmost root where all filters are alike."""
    coupling = np.linalg.eigvals(
        Channels(channels.size, *channels[1:4], *np.zeros((2, len(channels.gain)))).response(0)
    )
    roots = lambert_roots(coupling, float(channels.time_constant[0]), float(channels.delay[0]))
    best = roots[int(roots.real.argmax())]
    return complex(best.real, abs(best.imag) if abs(best.imag) > 1e-12 * abs(best) else 0.0)


def _generator(channels: Channels) -> Complex:
    """Return approximate roots: eigenvalues of the generator of the delay differential equation of all filters.

    Each channel is ``τ x' = -x + g r_column(t - d)``, and a rate is the sum of the channels that end in it.
    """
    number, longest = len(channels.gain), float(channels.delay.max())
    joins = (channels.row[None, :] == channels.column[:, None]).astype(float)  # which channels another one hears
    now = -np.diag(1 / channels.time_constant)
    fed = (channels.gain / channels.time_constant)[:, None] * joins
    if longest == 0:
        return np.asarray(np.linalg.eigvals(now + fed), dtype=np.complex128)
    places = np.cos(np.pi * np.arange(POINTS + 1) / POINTS)  # from now, 1, to the longest delay ago, -1
    total = np.kron(_differentiation(places) * 2 / longest, np.eye(number)).astype(float)
    total[:number] = 0.0
    total[:number, :number] += now
    for k, delay in enumerate(channels.delay):
        shares = _interpolation(places, 1 - 2 * delay / longest)
        total[k] += np.kron(shares, fed[k])
    return np.asarray(np.linalg.eigvals(total), dtype=np.complex128)


def _differentiation(places: Array) -> Array:
    """Return the matrix that differentiates polynomials given at Chebyshev places."""
    count = len(places)
    c = np.ones(count) * (-1.0) ** np.arange(count)
    c[[0, -1]] *= 2
    away = places[:, None] - places + np.eye(count)
    matrix = np.outer(c, 1 / c) / away
    return np.asarray(matrix - np.diag(matrix.sum(1)))


def _interpolation(places: Array, x: float) -> Array:
    """Return the shares of the values at Chebyshev places in a polynomial at x."""
    hit = np.abs(places - x) < 1e-14
    if hit.any():
        return hit.astype(float) / hit.sum()
    weights = (-1.0) ** np.arange(len(places))
    weights[[0, -1]] /= 2
    shares = weights / (x - places)
    return np.asarray(shares / shares.sum())


def _refined(channels: Channels, s: complex) -> complex | None:
    """Return the root near an approximate one, by Newton's method for the eigenvalue nearest to 1; None if it fails."""
    start = s
    step = complex(np.inf)
    for _ in range(NEWTON_STEPS):
        if np.abs(1 + s * channels.time_constant).min() < 1e-9 or -s.real * channels.delay.max() > FARTHEST:
            return None  # a pole of a filter, whose channel relaxes alone; or a decay faster than numbers hold
        values, left, right = eig(channels.response(s), left=True, right=True)
        k = int(np.abs(values - 1).argmin())
        v = left[:, k].conj()
        slope = complex(v @ channels.slope(s) @ right[:, k])
        if slope == 0:
            return None
        step = (1 - complex(values[k])) * complex(v @ right[:, k]) / slope
        s += step
        if not np.isfinite(s.real) or abs(s - start) > 10 * (abs(start) + 1 / float(channels.time_constant.min())):
            return None
        if abs(step) <= ROOT_TOLERANCE * max(abs(s), 1e-6):
            return s
    return s if abs(step) <= 1e-10 * max(abs(s), 1e-6) else None
