r"""Threshold integration: integrate-and-fire neurons with any drift, driven by Gaussian white noise.

    dv/dt = f(v) - κ v + mean + std ξ(t),   spike at v_th, then v_reset for t_ref

With ``A(v) = f(v) - κ v + mean`` and ``D = std²/2`` the cumulants of the time from v to the threshold follow from the
backward equation of the passage time. Its logarithmic generating function gives, for mean T, variance V and third
cumulant K as functions of the starting point, ``p = -T'``, ``q = -V'``, ``k = -K'``:

    D p' + A p = 1,    D q' + A q = 2 D p²,    D k' + A k = 6 D p q,

from a reflecting bound far below, where all vanish, up to the threshold; each is then integrated from reset to
threshold. All sources are positive, so that nothing cancels: neither raw moments nor large numbers are subtracted. The
same equation with the source p gives ``-∂T/∂mean``, with ``v p`` ``∂T/∂κ``, with v the mean of the potential.

In each cell of a grid A is a number, and the equations are solved exactly [1]_: the error is of second order in the
cell, however strong the drift is against the noise, so that zero noise is an ordinary point: p = 1/A. Results on a grid
and on every second node of it are extrapolated to fourth order.

A simulation by Euler's method in steps of dt obeys, but for terms of dt², the equation with

    A - dt/2 (A A' + D A'')   and   D (1 - dt A'/2)²

in place of A and D [3]_. Where ``dt A'`` is not small, on the upstroke of a spike, the noise does not matter: the time
from there to the test of the threshold that finds it crossed is that of the steps themselves, over all phases in which
they may fall.

References
----------
.. [1] M. J. E. Richardson (2007), Firing-rate response of linear and nonlinear integrate-and-fire neurons to modulated
   current-based and conductance-based synaptic drive, Phys. Rev. E 76, 021919 (threshold integration). M. J. E.
   Richardson (2008), Spike-train spectra and network response functions for non-linear integrate-and-fire neurons,
   Biol. Cybern. 99, 381 (spectra).
.. [2] M. Augustin, J. Ladenbauer, F. Baumann, K. Obermayer (2017), Low-dimensional spike rate models derived from
   networks of adaptive integrate-and-fire neurons, PLoS Comput. Biol. 13, e1005545.
.. [3] K. C. Zygalakis (2011), On the existence and the applications of modified equations for stochastic differential
   equations, SIAM J. Sci. Comput. 33, 102, for the Euler-Maruyama method with additive noise.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.linalg.lapack import dtbtrs

from mnnbio.moments.transfer import Transfer

Array = npt.NDArray[np.float64]
Complex = npt.NDArray[np.complex128]

CELLS = 1024  # between the lower bound and the threshold, by default
BELOW = 0.375  # share of the cells below the reset potential
PROBES = 128  # points at which the drift is looked at before the cells are laid out
STEPS_DOWN = 48  # on the way to a bound, each time that the way is doubled
PACKED = 0.6  # share of the cells that go where the drift vanishes; the others are equal
NUMBERS = 1_000_000  # cells times neurons held at a time: some 100 MB
BARRIER = 40.0  # the bound lies where the free potential is e^-40 times as likely as at its most likely value
HIGHEST_BARRIER = 60.0  # logarithm of a passage time, in units of that of the drift, beyond which a neuron is silent
LEAST_NOISE = 1e-11  # of a spread that counts as none, relative to the span from reset to threshold per √ms
TOLERATED_ERROR = 0.02  # change of an interval from half the cells to all, of which extrapolation removes nearly all
STEEP = 0.6  # change of the drift in a step, relative to it, from which the steps of an upstroke are followed
DIFFERENCE = 1e-4  # of the span from reset to threshold, for derivatives of the drift
PHASES = 16  # in which steps may fall where the upstroke begins
UPSTROKE_STEPS = 1000  # an upstroke of more is none
LOWEST_RATE = 1e-5  # 1/ms, above which it matters
STILL = 1e-7  # frequency, 1/ms, below which the limit of slow modulations is taken


class GridWarning(UserWarning):
    """A grid of membrane potentials is too coarse for the noise, which is very small close to the threshold."""


class Passages(NamedTuple):
    """Trains of neurons, each of the broadcast shape of the inputs."""

    rate: Array  # 1/ms
    variance: Array  # of counts in long windows per time, 1/ms
    gain: Array  # ∂rate/∂mean, 1/mV
    skewness: Array  # third central moment of the interval over its mean cubed
    variance_gain: Array  # ∂rate/∂std², 1/mV²
    potential: Array  # mean membrane potential, reset included, mV
    leak_potential: Array  # where a leak counts: ∂rate/∂κ = -gain · leak_potential, mV


@dataclass(frozen=True, kw_only=True, eq=False)
class DriftNeuron:
    """Integrate-and-fire neurons with a drift of their own.

    Parameters
    ----------
    drift : callable
        ``drift(v, *parameters)``, mV/ms: v has one axis more, the last, than the parameters broadcast to.
    parameters : sequence of array_like
        Of the drift, each a number or one value per neuron.
    v_th, v_reset : array_like
        Potential at which a spike is noted, and reset potential, mV.
    t_ref : array_like
        Refractory period, ms.
    leak : array_like
        κ, an additional leak, 1/ms: that of a mean conductance, per capacitance.
    step : float, optional
        Time step, ms, of a simulation by Euler's method whose threshold is tested once a step; by default, continuous
        time. It is for soft thresholds, where the drift is faster than the noise.
    """

    drift: Callable[..., Array]
    parameters: Sequence[npt.ArrayLike] = ()
    v_th: npt.ArrayLike
    v_reset: npt.ArrayLike
    t_ref: npt.ArrayLike = 0.0
    leak: npt.ArrayLike = 0.0
    step: float | None = None


def leaky_drift(v: Array, tau_m: Any, E_L: Any) -> Array:
    """Return the drift of leaky integrate-and-fire neurons, ``(E_L - v)/tau_m``, mV/ms."""
    return np.asarray((E_L - v) / tau_m)


def exponential_drift(v: Array, tau_m: Any, E_L: Any, v_t: Any, delta_t: Any) -> Array:
    """Return the drift of exponential integrate-and-fire neurons, mV/ms.

    ``(E_L - v + delta_t exp((v - v_t)/delta_t))/tau_m`` (Fourcaud-Trocmé et al. 2003, J. Neurosci. 23, 11628, eq. 3).
    """
    return np.asarray((E_L - v + delta_t * np.exp((v - v_t) / delta_t)) / tau_m)


def quadratic_drift(v: Array, tau_m: Any, E_L: Any, v_t: Any) -> Array:
    """Return the drift of quadratic integrate-and-fire neurons, ``(v - E_L)(v - v_t)/((v_t - E_L) tau_m)``, mV/ms."""
    return np.asarray((v - E_L) * (v - v_t) / ((v_t - E_L) * tau_m))


class _Batch(NamedTuple):
    """Inputs and neurons as flat arrays, (n,)."""

    mean: Array
    std: Array
    v_th: Array
    v_reset: Array
    t_ref: Array
    leak: Array
    parameters: tuple[Array, ...]
    drift: Callable[..., Array]
    step: float | None

    def at(self, v: Array) -> Array:
        """Return A(v), mV/ms, for v of shape (n, point)."""
        columns = (value[:, None] for value in self.parameters)
        return self.drift(v, *columns) - self.leak[:, None] * v + self.mean[:, None]

    def part(self, chosen: slice | npt.NDArray[np.int64]) -> _Batch:
        """Return some of the neurons."""
        return _batch([value[chosen] for value in (*self[:6], *self.parameters)], self.drift, self.step)


def _batch(arrays: Sequence[Array], drift: Callable[..., Array], step: float | None) -> _Batch:
    mean, std, v_th, v_reset, t_ref, leak, *parameters = arrays
    return _Batch(mean, std, v_th, v_reset, t_ref, leak, tuple(parameters), drift, step)


class _Cells(NamedTuple):
    """Cells of potentials, (n, cell), and what an exact step through each takes."""

    h: Array  # size, mV
    v: Array  # middle, mV
    drift: Array  # A, mV/ms
    over: Array  # h/D, ms/mV
    e: Array  # e^{-z}, z = A h/D
    phi: Array  # (1 - e^{-z})/z
    phi2: Array  # (z - 1 + e^{-z})/z²
    follow: Array | float  # ∂A/∂mean, 1 in continuous time
    timed: Array | float  # share of the cell whose time is that of the drift, 1 in continuous time
    delay: Array | float  # that steps bring beyond it, ms, (n,)
    reset: int  # first cell above the reset potential
    silent: npt.NDArray[np.bool_]  # (n,): the threshold is out of reach


def threshold_integration(
    mean: npt.ArrayLike, std: npt.ArrayLike, neuron: DriftNeuron, *, cells: int = CELLS
) -> Passages:
    """Return the statistics of the trains with which neurons answer to Gaussian white noise.

    Parameters
    ----------
    mean, std : array_like
        Moments of the input current, mV/ms and mV/√ms; they broadcast with each other and with the neuron's values.
    neuron : DriftNeuron
    cells : int
        Size of the grid, a multiple of 16. With 256 rates of some 1 Hz and more are off by 1e-5, with the default by
        1e-7 (noise of 0.3 mV/√ms and more).

    Returns
    -------
    Passages
        Zero noise is the deterministic limit, off the threshold. Neurons whose rate is below some e^-60 per membrane
        time constant are silent: rate 0.

    Raises
    ------
    ValueError
        If `std` is negative, a reset potential is not below the threshold, or the drift does not hold the potential
        from below.

    Warns
    -----
    GridWarning
        If the noise is so small that the grid does not resolve it close to the threshold; the number is the change of
        an interval from half the cells to all.

    Examples
    --------
    >>> lif = DriftNeuron(drift=leaky_drift, parameters=(20.0, 0.0), v_th=20.0, v_reset=0.0, t_ref=5.0)
    >>> threshold_integration(1.2, 0.0, lif).rate.round(4)
    array(0.0245)
    """
    batch, shape = _flat(mean, std, neuron)
    size = max(1, NUMBERS // cells)
    parts = [_passages(batch.part(slice(k, k + size)), cells) for k in range(0, len(batch.mean), size)]
    worst = max((error for _, error in parts), default=0.0)
    if worst > TOLERATED_ERROR:
        warnings.warn(
            f"the noise is too small for the grid of {cells} potentials close to the threshold: an interval changes by "
            f"{worst:.1%} from half the grid to all of it. Rates there are uncertain; add noise, or a mean further "
            "from the threshold",
            GridWarning,
            stacklevel=2,
        )
    columns = zip(*(found for found, _ in parts), strict=True)
    return Passages(*(np.concatenate(values).reshape(shape) for values in columns))


def _flat(mean: npt.ArrayLike, std: npt.ArrayLike, neuron: DriftNeuron) -> tuple[_Batch, tuple[int, ...]]:
    """Check the input and return it as flat arrays, with the broadcast shape."""
    given = (mean, std, neuron.v_th, neuron.v_reset, neuron.t_ref, neuron.leak, *neuron.parameters)
    arrays = np.broadcast_arrays(*(np.asarray(value, dtype=np.float64) for value in given))
    flat = [np.ravel(value) for value in arrays]
    for name, rule, bad in [
        ("std", "≥ 0 mV/√ms", ~(flat[1] >= 0)),
        ("v_reset", "below `v_th`", ~(flat[3] < flat[2])),
        ("t_ref", "≥ 0 ms", ~(flat[4] >= 0)),
        ("mean", "a finite number", ~np.isfinite(flat[0])),
    ]:
        if bad.any():
            place = int(bad.argmax())
            value = {"std": flat[1], "v_reset": flat[3], "t_ref": flat[4], "mean": flat[0]}[name][place]
            raise ValueError(f"`{name}` must be {rule}, got {value:g}{f' at neuron {place}' if len(bad) > 1 else ''}")
    return _batch(flat, neuron.drift, neuron.step), arrays[0].shape


def _passages(batch: _Batch, count: int) -> tuple[Passages, float]:
    """Return the statistics of some neurons, and the relative change of intervals from half the grid to all."""
    nodes = _nodes(batch, count)
    fine, silent = _integrals(batch, nodes)
    coarse, _ = _integrals(batch, nodes[:, ::2])
    T, V, K, by_mean, by_leak, potential, by_noise = _extrapolated(*np.where(silent, 1.0, [fine, coarse]))
    interval = batch.t_ref + T
    rate = np.where(silent, 0.0, 1 / interval)
    held = np.where(silent, np.nan, (potential + batch.t_ref * batch.v_reset) / interval)
    noisy = batch.std > 0
    variance = np.where(noisy, np.maximum(V, 0.0) * rate**3, 0.0)
    skewness = np.where(silent, 2.0, np.where(noisy, K * rate**3, 0.0))
    found = Passages(
        rate,
        variance,
        rate**2 * by_mean,
        skewness,
        -(rate**2) * by_noise / np.where(noisy, batch.std, 1.0) ** 2 * noisy,
        np.where(silent, _well(batch, nodes), held),
        np.where(silent, _well(batch, nodes), by_leak / by_mean),
    )
    changed = np.where(rate > LOWEST_RATE, np.abs(fine[0] - coarse[0]) / interval, 0.0)
    return found, float(changed.max(initial=0.0))


def _extrapolated(fine: Array, coarse: Array) -> Array:
    """Return integrals for ever smaller cells, from those of all cells and of half as many.

    The first four are positive: where a high barrier is not resolved the error is in their exponents.
    """
    found = (4 * fine - coarse) / 3
    f, c = (np.maximum(v[:4], np.finfo(np.float64).tiny) for v in (fine, coarse))
    found[:4] = np.where(found[:4] > f / 2, found[:4], np.exp((4 * np.log(f) - np.log(c)) / 3))
    return np.asarray(found)


def _well(batch: _Batch, nodes: Array) -> Array:
    """Return the potential at which silent neurons rest: where the drift first turns negative."""
    middle = (nodes[:, 1:] + nodes[:, :-1]) / 2
    falling = batch.at(middle) <= 0
    return np.asarray(np.take_along_axis(middle, falling.argmax(1)[:, None], 1)[:, 0])


def _integrals(batch: _Batch, nodes: Array) -> tuple[Array, npt.NDArray[np.bool_]]:
    """Return T, V, K, -∂T/∂mean, the same of the leak, the mean potential times T, and ∂T/∂ln D, (7, n)."""
    cells = _cells(batch, nodes)
    over, phi, phi2, v = cells.over, cells.phi, cells.phi2, cells.v

    def means(start: Array, source: Array) -> Array:
        """Return the means over each cell, given the values at its start and the source of the equation."""
        return phi * start + source * phi2

    free = over * np.stack([np.ones_like(v), v])
    p, potential = _recurrence(cells, free * phi)
    p_mean, potential_mean = means(p, free[0]), means(potential, free[1])
    # The derivative of the step itself by the noise, D dy/dD, so that it belongs to the same T.
    followed = p_mean * over * cells.follow
    driven = np.stack([2 * p_mean**2 * cells.h, followed, followed * v])
    by_noise_source = cells.e * over * (cells.drift * p - 1)
    q, by_mean, by_leak, by_noise = _recurrence(cells, np.concatenate([driven * phi, by_noise_source[None]]))
    q_mean = means(q, driven[0])
    third = 6 * p_mean * q_mean * cells.h
    k = _recurrence(cells, (third * phi)[None])[0]
    noise_mean = phi * by_noise + (phi - cells.e) * p - over * (phi - phi2)
    values = [
        p_mean,
        q_mean,
        means(k, third),
        means(by_mean, driven[1]),
        means(by_leak, driven[2]),
        potential_mean,
        noise_mean,
    ]
    values[0] = values[0] * cells.timed
    above = slice(cells.reset, None)
    sums = np.stack([(value * cells.h)[:, above].sum(1) for value in values])
    sums[0] += cells.delay
    return sums, cells.silent


def _recurrence(cells: _Cells, source: Array) -> Array:
    """Return ``y`` at the start of each cell, ``y_next = e y + source`` from zero, (number, n, cell)."""
    number, (n, count) = len(source), cells.e.shape
    bands = np.ones((2, n * count))
    below = -cells.e
    below[:, 0] = 0.0  # each neuron begins anew
    bands[1, :-1] = below.ravel()[1:]
    right = source.reshape(number, -1).T
    # Forward substitution, without pivoting: terms of one sign only add up.
    ends, _ = dtbtrs(bands, right, uplo="L", diag="U")
    starts = np.zeros((number, n, count))
    starts[:, :, 1:] = ends.T.reshape(number, n, count)[:, :, :-1]
    return starts


def _noise(batch: _Batch) -> Array:
    """Return D, mV²/ms, with the little that stands for none: the equations then have the limit without noise."""
    span = batch.v_th - batch.v_reset
    return np.asarray(np.maximum(batch.std, LEAST_NOISE * span) ** 2 / 2)


def _cells(batch: _Batch, nodes: Array) -> _Cells:
    h, v = np.diff(nodes), (nodes[:, 1:] + nodes[:, :-1]) / 2
    drift, D = batch.at(v), _noise(batch)[:, None]
    reset = round(h.shape[1] * BELOW)
    follow: Array | float = 1.0
    timed: Array | float = 1.0
    delay: Array | float = 0.0
    if batch.step is not None:
        drift, D, follow, timed, delay = _stepped(batch, nodes, drift, D, reset)
    over = h / D
    z = drift * over
    climbed = np.cumsum(-z, axis=1)
    barrier = (climbed - np.minimum(np.minimum.accumulate(climbed, axis=1), 0.0)).max(1)
    silent = ~(barrier < HIGHEST_BARRIER)
    z = np.where(silent[:, None], 1.0, z)
    e = np.exp(-z)
    small = np.abs(z) < 1e-2
    safe = np.where(small, 1.0, z)
    phi = np.where(small, 1 - z * (1 / 2 - z * (1 / 6 - z * (1 / 24 - z * (1 / 120 - z / 720)))), -np.expm1(-z) / safe)
    phi2 = np.where(small, 1 / 2 - z * (1 / 6 - z * (1 / 24 - z * (1 / 120 - z / 720))), (1 - phi) / safe)
    drift = np.where(silent[:, None], 1.0, drift)
    return _Cells(h, v, drift, over, e, phi, phi2, follow, timed, delay, reset, silent)


def _stepped(
    batch: _Batch, nodes: Array, drift: Array, D: Array, reset: int
) -> tuple[Array, Array, Array, Array, Array]:
    """Return drift, noise and their follow, timed and delay in steps; see `_Cells`."""
    assert batch.step is not None
    v, dt = (nodes[:, 1:] + nodes[:, :-1]) / 2, batch.step
    probe = DIFFERENCE * (batch.v_th - batch.v_reset)[:, None]
    upper, lower = batch.at(v + probe), batch.at(v - probe)
    slope, bend = (upper - lower) / (2 * probe), (upper - 2 * drift + lower) / probe**2
    steep = slope * dt > STEEP
    steep[:, :reset] = False
    upstroke = np.logical_or.accumulate(steep, axis=1)
    first = np.where(upstroke.any(1), upstroke.argmax(1), v.shape[1])
    begins = np.take_along_axis(nodes, first[:, None], 1)[:, 0]
    shift = np.where(upstroke, 0.0, dt / 2 * slope)
    follow = 1 - shift
    changed = drift * follow - np.where(upstroke, 0.0, dt / 2 * D * bend)
    return changed, D * follow**2, follow, 1.0 - upstroke, _steps_of_upstroke(batch, begins)


def _steps_of_upstroke(batch: _Batch, begins: Array) -> Array:
    """Return the mean time, ms, from a potential on the upstroke to the test that finds the threshold crossed."""
    dt = batch.step
    assert dt is not None
    phase = (np.arange(PHASES) + 0.5) / PHASES
    v = begins[:, None] + np.maximum(batch.at(begins[:, None]), 0.0) * dt * phase
    steps = np.broadcast_to(phase, v.shape).copy()
    for _ in range(UPSTROKE_STEPS):
        below = v <= batch.v_th[:, None]
        if not below.any():
            break
        steps += below
        with np.errstate(over="ignore"):
            v = np.where(below, v + dt * np.maximum(batch.at(np.minimum(v, batch.v_th[:, None])), 0.0), v)
    return np.asarray(dt * steps.mean(1))


def _nodes(batch: _Batch, count: int) -> Array:
    """Return the nodes of the grid, (n, count + 1), the reset potential among them.

    Part of the cells are equal, part are packed where the drift vanishes: there neurons wait, and the noise acts.
    """
    below = round(count * BELOW)
    lower = _layout(batch, _lower_bound(batch), batch.v_reset, below)
    return np.concatenate([lower, _layout(batch, batch.v_reset, batch.v_th, count - below)[:, 1:]], axis=1)


def _layout(batch: _Batch, start: Array, stop: Array, count: int) -> Array:
    place = np.linspace(0.0, 1.0, PROBES + 1)
    width = (stop - start)[:, None]
    v = start[:, None] + width * place
    drift, D = batch.at(v), _noise(batch)[:, None]
    slope = np.abs(np.gradient(drift, axis=1)) / np.where(width > 0, width, 1.0) * PROBES
    scale = np.sqrt(drift**2 + D * slope) / np.where(slope > 0, slope, 1.0)
    density = np.where(slope > 0, 1 / np.maximum(scale, 1e-3 * np.where(width > 0, width, 1.0)), 0.0)
    total = density.mean(1, keepdims=True)
    density = 1 - PACKED + PACKED * np.where(total > 0, density / np.where(total > 0, total, 1.0), 1.0)
    filled = np.concatenate([np.zeros((len(v), 1)), np.cumsum(density[:, 1:] + density[:, :-1], axis=1)], axis=1)
    filled /= filled[:, -1:]
    wanted = np.linspace(0.0, 1.0, count + 1)
    relative = np.stack([np.interp(wanted, row, place) for row in filled])
    nodes = start[:, None] + width * relative
    nodes[:, -1] = stop
    return np.asarray(nodes)


def _lower_bound(batch: _Batch) -> Array:
    """Return a potential below the reset that the membrane practically never reaches, mV.

    Raises
    ------
    ValueError
        If there is none: nothing holds the potential.
    """
    bound, waiting = batch.v_reset.copy(), np.arange(len(batch.mean))
    place = np.linspace(0.0, 1.0, STEPS_DOWN + 1)
    for doubling in range(-5, 14):
        own = batch.part(waiting)
        reach = (own.v_th - own.v_reset) * 2.0**doubling
        v = own.v_reset[:, None] - reach[:, None] * place
        climb = own.at((v[:, 1:] + v[:, :-1]) / 2) * (reach / STEPS_DOWN / _noise(own))[:, None]
        height = np.cumsum(climb, axis=1)
        height = height - np.minimum(np.minimum.accumulate(height, axis=1), 0.0)
        held = height[:, -1] >= BARRIER
        first = np.take_along_axis(v, (height >= BARRIER).argmax(1)[:, None] + 1, 1)[:, 0]
        bound[waiting[held]] = first[held]
        waiting = waiting[~held]
        if not len(waiting):
            return bound
    place_of = int(waiting[0])
    raise ValueError(
        f"the drift must hold the membrane potential from below, got {batch.mean[place_of]:g} mV/ms of mean input "
        "against which nothing pulls it up"
    )


def threshold_transfer(
    frequency: npt.ArrayLike, mean: npt.ArrayLike, std: npt.ArrayLike, neuron: DriftNeuron
) -> Transfer:
    r"""Return the response of the firing rate to modulations of the input, and the spectrum of the spikes.

    With M the Laplace transform of the passage time, ``D M'' + A M' = iω M``, 1 at the threshold, and P the stationary
    density, a modulation of the mean of the input changes the rate by

        χ = ∫ M' P dv / (1 - ρ),   ρ = M(v_reset) e^{-iω t_ref},

    and one of D by ``-∫ M' P' dv / (1 - ρ)``: Green's identity of forward and backward equation. M'/M is carried
    upwards and P downwards, through exact steps.

    Parameters
    ----------
    frequency : array_like, shape (frequency,)
        In 1/ms. A complex one, ``f - iλ/2π``, is a modulation that grows like e^{λt}.
    mean, std, neuron
        As for `threshold_integration`; std > 0. The response is that in continuous time.

    Returns
    -------
    Transfer
        Each of shape (frequency, \*broadcast shape of the input); silent neurons do not answer.

    Raises
    ------
    ValueError
        If std is not positive, or as by `threshold_integration`.
    """
    neuron = replace(neuron, step=None)
    batch, shape = _flat(mean, std, neuron)
    if not (batch.std > 0).all():
        raise ValueError(f"`std` must be > 0 mV/√ms for a response to modulations, got {batch.std.min():g}")
    omega = 2j * np.pi * np.ravel(np.asarray(frequency, dtype=complex))
    still = np.abs(omega) < 2 * np.pi * STILL
    slow = threshold_integration(mean, std, neuron)
    moving = np.where(still, 2j * np.pi * STILL, omega)
    size = max(1, NUMBERS // CELLS)
    parts = [_responses(batch.part(slice(k, k + size)), moving) for k in range(0, len(batch.mean), size)]
    to_mean, to_noise, interval = (
        np.concatenate([part[k] for part in parts], axis=1).reshape(-1, *shape) for k in range(3)
    )
    quiet = np.broadcast_to(still.reshape(-1, *(1,) * len(shape)), to_mean.shape)
    spectrum = slow.rate * (1 - np.abs(interval) ** 2) / np.abs(1 - interval) ** 2
    return Transfer(
        np.where(quiet, slow.gain, to_mean),
        np.where(quiet, slow.variance_gain, to_noise / 2),
        np.where(quiet, slow.variance, np.where(slow.rate > 0, spectrum, 0.0)),
        interval,
    )


def _responses(batch: _Batch, omega: Complex) -> tuple[Complex, Complex, Complex]:
    """Return the responses to mean and D, and the transform of the interval, (frequency, n), extrapolated."""
    nodes = _nodes(batch, CELLS)
    fine, coarse = _response(batch, nodes, omega), _response(batch, nodes[:, ::2], omega)
    to_mean, to_noise, log_passage = ((4 * f - c) / 3 for f, c in zip(fine, coarse, strict=True))
    interval = np.exp(log_passage - omega[:, None] * batch.t_ref)
    return to_mean / (1 - interval), to_noise / (1 - interval), interval


def _response(batch: _Batch, nodes: Array, omega: Complex) -> tuple[Complex, Complex, Complex]:
    """Return ``∫ M' P dv``, ``-∫ M' P' dv`` and ln M(v_reset)."""
    cells = _cells(batch, nodes)
    density, mean_density = _densities(batch, cells)
    D = _noise(batch)
    shape = (len(omega), len(D))
    slope, to_mean, to_noise, log_passage = np.zeros((4, *shape), dtype=complex)
    for k in range(cells.h.shape[1]):
        h, a = cells.h[:, k], cells.drift[:, k] / (2 * D)
        root = np.sqrt(a**2 + omega[:, None] / D)  # exponents of the cell: -a ± root
        # M over the cell, relative to its start: (e^{x+} (slope - x-) - e^{x-} (slope - x+)) / (2 root); the growing
        # exponential is taken out, so that neither overflows.
        rise, fall = root - a, -root - a
        fading = np.exp(-2 * root * h)
        twice = 2 * root
        growth = ((slope - fall) - (slope - rise) * fading) / twice
        slope = (rise * (slope - fall) - fall * (slope - rise) * fading) / twice / growth
        ratio = np.exp(-rise * h) / growth  # M at the start over M at the end
        change = 1 - ratio
        to_mean = to_mean * ratio + change * mean_density[:, k]
        moved = np.where(h > 0, (density[:, k + 1] - density[:, k]) / np.where(h > 0, h, 1.0), 0.0)
        to_noise = to_noise * ratio - change * moved
        if k >= cells.reset:
            log_passage = log_passage + np.log(ratio)
    silent = cells.silent
    return (
        np.where(silent, 0.0, to_mean),
        np.where(silent, 0.0, to_noise),
        np.where(silent, -1e3, log_passage),
    )


def _densities(batch: _Batch, cells: _Cells) -> tuple[Array, Array]:
    """Return the stationary density at the nodes and its mean in the cells, 1/mV; its integral is 1 - rate · t_ref."""
    n, count = cells.h.shape
    flux = np.arange(count) >= cells.reset  # of a rate of 1: through the cells above the reset potential alone
    source = cells.over * flux * cells.phi
    nodes, means = np.zeros((n, count + 1)), np.zeros((n, count))
    for k in range(count - 1, -1, -1):
        nodes[:, k] = cells.e[:, k] * nodes[:, k + 1] + source[:, k]
        means[:, k] = cells.phi[:, k] * nodes[:, k + 1] + cells.over[:, k] * flux[k] * cells.phi2[:, k]
    rate = 1 / (batch.t_ref + (means * cells.h).sum(1))
    rate = np.where(cells.silent, 0.0, rate)[:, None]
    return nodes * rate, means * rate
