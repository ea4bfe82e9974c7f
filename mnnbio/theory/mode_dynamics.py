"""Activity in mode space: its latent dynamics, its course in time, and stationary fluctuations.

In a circuit whose weights are ``W = ξ_in diag(λ) ξ_outᵀ``, neurons hear of each other through P numbers alone, the
filtered activity ``κ`` that the output modes read. With exponential synapses of time constant tau_syn, neurons that
answer to a slow input at once and trains that are many and independent [1]_ [2]_,

    tau_syn dκ/dt = -κ + ξ_outᵀ φ(κ),    φ_i(κ) = rate of neuron i at the mean input Σ_μ ξ_in,iμ λ_μ κ_μ + external,

a closed system of P equations. The rate is the moment activation of the neuron with all of its noise, that of the other
trains included, as in the stationary state of `predict`; where ``dκ/dt = 0`` the two are the same. Trains are finite in
number, so κ fluctuates about this course; linearised around it,

    dΣ/dt = J Σ + Σ Jᵀ + T⁻¹ ξ_outᵀ diag(variance) ξ_out T⁻¹,    T = diag(tau_syn),

with J the Jacobian of dκ/dt and the count variances per time of the neurons; regular spikes add what
`ModeDynamics.regularity` says, from the beginning. It holds for tau_syn longer than the
membrane's own response and the intervals between spikes; of faster synapses, fixed points and their static
stability remain right, and the course does not.

Costs are O(N P²) throughout; nothing of size N × N is formed.

References
----------
.. [1] F. Mastrogiuseppe, S. Ostojic (2018), Linking connectivity, dynamics, and computations in low-rank recurrent
   neural networks, Neuron 99, 609, eqs. 4 to 6 (rate units).
.. [2] L. Cimeša, L. Ciric, S. Ostojic (2023), Geometry of population activity in spiking networks with low-rank
   structure, PLoS Comput. Biol. 19, e1011315 (leaky integrate-and-fire neurons).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr
from scipy.linalg import expm

from mnnbio.circuit import Circuit, ModeMatrix, require_circuit
from mnnbio.machine import require_memory
from mnnbio.moments import ColoredAnswer, NotConverged, colored_activation, interval_skewness
from mnnbio.neurons import LIFParameters
from mnnbio.results import array, versions
from mnnbio.theory.inputs import external_input, wire
from mnnbio.theory.labelled import step_attributes
from mnnbio.theory.predict import default_closure
from mnnbio.theory.recurrence import (
    fluctuations,
    linearised,
    loadings_at,
    recurrent_state,
    require_converged,
    require_stable,
    start_rates,
)
from mnnbio.theory.stationary import Closure, closure_name, driving_variance
from mnnbio.theory.validity import check_predictable, check_validity, checked_step
from mnnbio.theory.wired_response import linear_response, stability
from mnnbio.theory.wiring import Filtered, Modes, Received
from mnnbio.units import in_unit
from mnnbio.values import Distribution

Array = npt.NDArray[np.float64]

VARIANCE_STEPS, VARIANCE_TOLERANCE = 100, 1e-9  # of the noise that trains bring, relative to all noise
DIFFERENCE = 1e-5  # for Jacobians, relative to the reach
STEPS_PER_TAU = 5  # of the integration in time
COURSE_TOLERANCE = 1e-7  # as VARIANCE_TOLERANCE, in time
AT_ONCE = 500_000  # neurons times points that are evaluated together
LONGEST_DELAY = 0.2  # in time constants of the synapses


@dataclass(frozen=True, eq=False)
class ModeDynamics:
    """Latent dynamics of a circuit, as `mode_dynamics` finds them in it: functions of κ, (..., P), 1/ms.

    Parameters
    ----------
    modes : Modes
        ``left diag(scores) rightᵀ``, shapes (N, P), (P,) and (N, P): mV.
    tau : ndarray, shape (P,)
        Time constants with which κ follows the activity, ms; 0 where unknown (delta synapses).
    filtered : ndarray, shape (P,)
        Time constants of the synapses' filters, ms, of which the thresholds know.
    mean : ndarray, shape (N,)
        Mean external input, mV/ms.
    received : Received
        Fluctuations of the external input.
    lif : LIFParameters
        The neurons.
    dt : float, optional
        Time step of the simulation to be described, ms.
    closure : {"moments", "poisson"} or callable
        Which variance of a train drives others.
    accuracy : float
        To which the noise of the trains is made consistent, relative to all noise.
    """

    modes: Modes
    tau: Array
    filtered: Array
    mean: Array
    received: Received
    lif: LIFParameters
    dt: float | None
    closure: Closure
    accuracy: float = VARIANCE_TOLERANCE

    @property
    def n_modes(self) -> int:
        """Number of modes."""
        return len(self.modes.scores)

    @property
    def reach(self) -> Array:
        """Largest |κ| of each mode that rates up to 1/t_ref can bring, (P,), 1/ms; those up to 1/ms without t_ref."""
        t_ref = np.maximum(np.broadcast_to(np.asarray(self.lif.t_ref, dtype=np.float64), len(self.mean)), 1.0)
        reading = self.modes.right / t_ref[:, None]
        found = np.maximum(np.maximum(reading, 0.0).sum(0), np.maximum(-reading, 0.0).sum(0))
        return np.where(found > 0, found, 1.0)

    def input(self, kappa: Array) -> Array:
        """Return the mean input of the neurons, (..., N), mV/ms."""
        return self.mean + (kappa * self.modes.scores) @ self.modes.left.T

    def answers(self, kappa: Array) -> ModeAnswer:
        """Return how the neurons answer to a constant κ, their noise made consistent with their rates.

        Raises
        ------
        NotConverged
            If no consistent noise is found: the trains' own noise then decides whether neurons fire.
        """
        points = np.asarray(kappa, dtype=np.float64).reshape(-1, self.n_modes)
        chunk = max(1, AT_ONCE // len(self.mean))
        parts = [self._answers(points[k : k + chunk]) for k in range(0, len(points), chunk)]
        shape = (*np.shape(kappa)[:-1], len(self.mean))
        return ModeAnswer(*(np.concatenate(values).reshape(shape) for values in zip(*parts, strict=True)))

    def _answers(self, points: Array) -> ModeAnswer:
        mean = self.input(points)
        drive = np.zeros_like(mean)
        before, last = np.zeros_like(mean), 1.0
        for _ in range(VARIANCE_STEPS):
            variance, filtered = self._noise(drive)
            found = self._fire(mean, variance, filtered)
            change = float((np.abs(variance - before) / np.maximum(variance, 1e-300)).max())
            # Changes shrink by one factor a step: the next one is known, and what it would change is spared.
            if change * min(change / last, 1.0) <= self.accuracy:
                return found
            drive = np.asarray(driving_variance(self.closure, found.rate, found.variance))
            before, last = variance, change
        raise NotConverged(
            f"the noise that trains give to each other did not settle in {VARIANCE_STEPS} steps (it still changes by "
            f"{change:.2g} of itself a step). Try weaker modes, or modes that more neurons share"
        )

    def _noise(self, drive: Array) -> tuple[Array, Filtered]:
        """Return variance (mV²/ms) of the input and what of it is filtered, for trains that drive with `drive`."""
        left, scores, right = self.modes
        variance = np.broadcast_to(self.received.variance, drive.shape)
        filtered = self.received.filtered.map(lambda part: np.broadcast_to(part, drive.shape))
        if not drive.any():
            return variance, filtered
        for tau in np.unique(self.filtered):  # synapses of different filters are different, independent trains' copies
            own = self.filtered == tau
            inner = np.einsum("sn,np,nq->spq", drive, right[:, own], right[:, own], optimize=True)
            inner = scores[own, None] * inner * scores[own]
            part = np.einsum("np,spq,nq->sn", left[:, own], inner, left[:, own], optimize=True)
            variance = variance + part
            if tau > 0:
                filtered = filtered + Filtered({float(tau): part})
        return variance, filtered

    def _fire(self, mean: Array, variance: Array, filtered: Filtered) -> ModeAnswer:
        return ModeAnswer(*(value.numpy() for value in self._colored(mean, variance, filtered)[:3]))

    def _colored(self, mean: Array, variance: Array, filtered: Filtered) -> ColoredAnswer:
        inputs = torch.from_numpy(mean), torch.from_numpy(np.sqrt(variance))
        kinds = filtered.kinds(variance)
        tau_s, shares = (0.0, None) if kinds is None else kinds.tensors()
        with torch.no_grad():
            return colored_activation(*inputs, self.lif, tau_s, shares=shares, dt=self.dt)

    def returned(self, kappa: Array) -> Array:
        """Return ``ξ_outᵀ φ(κ)``, (..., P), 1/ms, of which κ is a fixed point where it equals κ."""
        return self.answers(kappa).rate @ self.modes.right

    def velocity(self, kappa: Array) -> Array:
        """Return dκ/dt, (..., P), 1/ms².

        Raises
        ------
        ValueError
            If a time constant is unknown.
        """
        self.require_times()
        return (self.returned(kappa) - kappa) / self.tau

    def loop(self, kappa: Array) -> Array:
        """Return the matrix of loop gains, ``∂(ξ_outᵀ φ)/∂κ``, (..., P, P), the answer to the noise included."""
        h = DIFFERENCE * self.reach
        up, down = (self.returned(kappa[..., None, :] + sign * np.diag(h)) for sign in (1, -1))
        return np.asarray(np.swapaxes((up - down) / (2 * h[:, None]), -1, -2))

    def jacobian(self, kappa: Array) -> Array:
        """Return the Jacobian of dκ/dt, (..., P, P), 1/ms."""
        self.require_times()
        return np.asarray((self.loop(kappa) - np.eye(self.n_modes)) / self.tau[:, None])

    def own_noise(self, kappa: Array) -> Array:
        """Return ``ξ_outᵀ diag(variance) ξ_out``, the noise of finitely many trains, (..., P, P), 1/ms."""
        right = self.modes.right
        return np.asarray((right.T * self.answers(kappa).variance[..., None, :]) @ right)

    def regularity(self, kappa: Array) -> Array:
        """Return what regular spikes add to the covariance of κ, (S, P, P), 1/ms²; κ of shape (S, P).

        Counts in a window T vary by ``variance T + c``, ``c = 1/6 + fano²/2 - skewness/3`` (Cox 1962), as if spikes
        Counts in windows T vary by ``v T + c``, ``c = 1/6 + fano²/2 - skewness/3`` (Cox 1962), as if spikes were
        shifted in time independently; a filter of time constant τ, longer than intervals, makes ``c/(2 τ²)`` of it.
        """
        found = self.answers(kappa)
        drive = np.asarray(driving_variance(self.closure, found.rate, found.variance))
        variance, filtered = self._noise(drive)
        mean = self.input(kappa)
        with torch.no_grad():
            lif = self._colored(mean, variance, filtered).lif
            skewness = interval_skewness(torch.from_numpy(mean), torch.from_numpy(np.sqrt(variance)), lif).numpy()
        fires = found.rate > 0
        fano = found.variance / np.where(fires, found.rate, 1.0)
        constant = np.where(fires, 1 / 6 + fano**2 / 2 - skewness / 3, 0.0)
        right = self.modes.right
        return np.asarray((right.T * constant[:, None, :]) @ right / (2 * np.outer(self.tau, self.tau)))

    def require_times(self) -> None:
        """Raise a `ValueError` where a time constant is unknown."""
        if (self.tau <= 0).any():
            raise ValueError(
                "activity in mode space follows the synapses with their time constant, and those of this circuit are "
                "delta synapses (tau_syn = 0): give `tau`, ms, or ask for fixed points alone"
            )


class ModeAnswer(NamedTuple):
    """Answer of the neurons to a constant κ, each of shape (..., N)."""

    rate: Array  # 1/ms
    variance: Array  # of counts in long windows per time, 1/ms
    gain: Array  # ∂rate/∂mean, 1/mV


def mode_dynamics(circuit: Circuit, *, dt: Any = None, closure: Closure | None = None, tau: Any = None) -> ModeDynamics:
    """Return the latent dynamics of a circuit whose recurrent weights are all factored into modes.

    Parameters
    ----------
    circuit : Circuit
        Leaky integrate-and-fire neurons with one stimulus; `ModeMatrix` weights, delta, exponential or double
        exponential synapses. Of double exponential ones, rise and decay add up to one time constant.
    dt, closure : optional
        As for `predict`; not the closure "renewal".
    tau : float, Quantity or array_like, optional
        Time constants with which κ follows, ms, (), or (P,); by default those of the synapses.

    Raises
    ------
    ValueError
        If the circuit has several stimuli, recurrent weights that are not factored, or none; or `tau` is not > 0.
    TypeError
        If there is no theory for a part.
    """
    require_circuit(circuit)
    if circuit.n_stimuli is not None or circuit.changes_in_time:
        raise ValueError(
            "latent dynamics are of one stationary input, got several stimuli or an input that changes in time. Choose "
            "one with `circuit.select(...)` or `circuit.at_time(...)`"
        )
    chosen = default_closure(closure, dt)
    if chosen == "renewal":
        raise ValueError("closure='renewal' has no latent dynamics; use closure='poisson' or 'moments'")
    check_predictable(circuit)
    step = checked_step(circuit, dt, drawn=False)
    inner = {population.name for population in circuit.neurons}
    full = [str(p) for p in circuit.projections if p.source in inner and not isinstance(p.weights, ModeMatrix)]
    if full:
        raise ValueError(
            f"latent dynamics need all recurrent weights as ModeMatrix, and those of {full[0]} are not; "
            "`fixed_points` takes any"
        )
    wired = wire(circuit, step)
    modes = wired.recurrent.modes()
    if modes is None:
        raise ValueError("the circuit has no recurrent weights: there is no activity in mode space")
    if wired.neurons.lif is None or wired.recurrent.conductances or wired.sources.conductances:
        raise TypeError("latent dynamics are known of leaky integrate-and-fire neurons (LIFParameters) with currents")
    external = external_input(circuit, wired, step)
    filtered = np.concatenate([np.full(len(_scores(c.weights)), c.tau_s) for c in wired.recurrent.connections])
    return ModeDynamics(
        modes,
        filtered if tau is None else _times_of(tau, len(filtered)),
        filtered,
        external.mean,
        external.received,
        wired.neurons.lif,
        step,
        chosen,
    )


def _scores(weights: Any) -> Array:
    assert isinstance(weights, Modes)
    return weights.scores


def _times_of(tau: Any, size: int) -> Array:
    found = np.asarray(in_unit(tau, "ms", "tau"), dtype=np.float64)
    if found.shape not in ((), (size,)) or not (np.isfinite(found) & (found > 0)).all():
        raise ValueError(f"`tau` must be one time > 0 ms, or one for each of {size} modes, got {tau!r}")
    return np.broadcast_to(found, size).copy()


# Stationary statistics


def predict_modes(circuit: Circuit, *, dt: Any = None, closure: Closure | None = None, start: Any = None) -> xr.Dataset:
    """Return mean and long-window covariance of the activity that the output modes read, in O(N P²).

    The numbers are those of `predict`, without the statistics of single neurons: no covariance of all neurons is
    formed for circuits of any size. Filters of synapses keep the charge of a spike, so that they enter long-window
    covariances through rates and gains alone.

    Parameters
    ----------
    circuit, dt, closure, start
        As for `predict`; one stimulus, all recurrent weights `ModeMatrix`.

    Returns
    -------
    Dataset
        Over ``(mode, mode_j)``: `mode_mean`, Hz, and `mode_covariance`, per time, Hz; `mode_covariance_independent`,
        what independent neurons of the same variances would give; `loop_gain`, the matrix
        ``diag(λ) ξ_outᵀ diag(gain) ξ_in`` by which a deviation of the modes returns to them, whose eigenvalues are
        `loop_gain_real` and `loop_gain_imag` over ``eigenvalue``.

    Raises
    ------
    ValueError
        As of `mode_dynamics`, or if the state is unstable.
    NotConverged
        If no self-consistent state is found.

    Warns
    -----
    FiniteWeightWarning, LinearResponseWarning, SlowSynapseWarning
        As by `predict`.
    """
    dynamics = mode_dynamics(circuit, dt=dt, closure=closure)
    wired = wire(circuit, dynamics.dt)
    external = external_input(circuit, wired, dynamics.dt)
    with torch.no_grad():
        state = recurrent_state(
            circuit, wired, external, dt=dynamics.dt, closure=dynamics.closure, start=start_rates(circuit, start)
        )
        require_converged(state.status, state.residual, state.iterations)
        wiring, loadings = linearised(wired, state), loadings_at(wired, external, state)
        eigenvalues = stability(wiring, state.gain)
        require_stable(eigenvalues, covariance=True)
        doubtful = fluctuations(circuit, wired, external, state)
        check_validity(circuit, doubtful, responses=False, eigenvalues=eigenvalues)
        shared = loadings.to_dense() if loadings.connections else None
        left, scores, right = dynamics.modes
        response = linear_response(wiring, state.gain, state.variance, shared)
        covariance = response.quadratic(torch.from_numpy(np.ascontiguousarray(right.T))).numpy()
    loop = scores[:, None] * (right.T @ (state.gain[:, None] * left))
    gains = np.linalg.eigvals(loop)
    gains = gains[np.argsort(gains.real)]
    pair = ("mode", "mode_j")
    independent = (right.T * state.variance) @ right
    return xr.Dataset(
        {
            "mode_mean": array("mode_mean", ("mode",), right.T @ state.rate * 1e3),
            "mode_covariance": array("mode_covariance", pair, covariance * 1e3),
            "mode_covariance_independent": described(pair, independent * 1e3, "Hz", "the same of independent neurons"),
            "loop_gain": described(pair, loop, "1", "gain of a deviation around the loop"),
            "loop_gain_real": described(("eigenvalue",), gains.real, "1", "real part of a loop gain"),
            "loop_gain_imag": described(("eigenvalue",), gains.imag, "1", "imaginary part of a loop gain"),
        },
        attrs={**mode_attributes(circuit, dynamics), "status": state.status},
    )


# Course in time


def predict_mode_course(
    circuit: Circuit,
    times: Any,
    start: Any = None,
    *,
    dt: Any = None,
    closure: Closure | None = None,
    tau: Any = None,
    step: Any = None,
    covariance: bool = True,
) -> xr.Dataset:
    """Return the course of the activity in mode space, and of its covariance, from the latent dynamics.

    Inputs may change in time; neurons follow them at once. Delays are left out, so that only those short against the
    time constants are taken.

    Parameters
    ----------
    circuit, dt, closure, tau
        As for `mode_dynamics`; inputs may change in time.
    times : array_like or Quantity, shape (time,)
        When κ is wanted, ms, ascending, two or more. Integration begins at the first.
    start : array_like or Quantity, shape (P,) or (start, P), optional
        κ at the first time, 1/ms, with no covariance; by default 0, as of a simulation that begins without spikes.
    step : float or Quantity, optional
        Step of the integration (Runge-Kutta of order 4), ms; by default a fifth of the shortest time constant.
    covariance : bool
        Whether to integrate the covariance.

    Returns
    -------
    Dataset
        Over ``([start,] time, mode)``: `mode_activity`, Hz, of spikes filtered by the synapses (κ); `rate` over
        ``([start,] time, population)``, Hz; `mode_activity_covariance` over ``([start,] time, mode, mode_j)``, Hz².

    Raises
    ------
    ValueError
        If times do not ascend, time constants are unknown, or a delay is longer than a fifth of one of them.
    TypeError
        As of `mode_dynamics`.
    """
    wanted = np.asarray(in_unit(times, "ms", "times"), dtype=np.float64)
    if wanted.ndim != 1 or len(wanted) < 2 or not np.isfinite(wanted).all() or not (np.diff(wanted) > 0).all():
        raise ValueError(f"`times` must be two or more ascending times, ms, got {times!r}")
    at = _dynamics_at(circuit, float(wanted[0]), dt, closure, tau)
    first = at(float(wanted[0]))
    first.require_times()
    _require_short_delays(circuit, first)
    width = float(first.tau.min()) / STEPS_PER_TAU if step is None else _width(step)
    kappa = given_points(np.zeros(first.n_modes) if start is None else start, first, "start")
    spread = np.zeros((len(kappa), first.n_modes, first.n_modes))
    require_memory(
        8.0 * len(wanted) * kappa.size * (1 + first.n_modes), "the course of all modes", "Ask for fewer times"
    )
    places = list(circuit.slices().values())
    courses: list[tuple[Array, Array, Array]] = []
    for k, time in enumerate(wanted):
        if k:
            steps = max(1, int(np.ceil((time - wanted[k - 1]) / width - 1e-9)))
            h = (time - wanted[k - 1]) / steps
            for j in range(steps):
                kappa, spread = _advance(at, wanted[k - 1] + j * h, h, kappa, spread, covariance)
        rate = at(float(time)).answers(kappa).rate
        regular = at(float(time)).regularity(kappa) if covariance and k else 0.0
        courses.append((kappa, spread + regular, np.stack([rate[:, place].mean(1) for place in places], 1)))
    over, spreads, rates = (np.stack(values, 1) for values in zip(*courses, strict=True))
    many = ("start", "time")
    found = {
        "mode_activity": described((*many, "mode"), over * 1e3, "Hz", "filtered activity of the modes"),
        "rate": described((*many, "population"), rates * 1e3, "Hz", "rate"),
    }
    if covariance:
        found["mode_activity_covariance"] = described(
            (*many, "mode", "mode_j"), spreads * 1e6, "Hz²", "covariance of the filtered activity of the modes"
        )
    clock = ("time", wanted * 1e-3, {"units": "s"})
    coords: dict[str, Any] = {"time": clock, "population": [p.name for p in circuit.neurons]}
    result = xr.Dataset(found, coords=coords, attrs=mode_attributes(circuit, first))
    single = start is None or np.ndim(in_unit(start, "1/ms", "start")) == 1
    return result.isel(start=0) if single else result


def _advance(
    at: Callable[[float], ModeDynamics], time: float, h: float, kappa: Array, spread: Array, covariance: bool
) -> tuple[Array, Array]:
    """Return κ and its covariance a step later."""
    # Where an input steps at the end, its value before the step counts.
    begin, middle, end = at(time), at(time + h / 2), at(time + h * (1 - 1e-9))
    one = begin.velocity(kappa)
    two = middle.velocity(kappa + h / 2 * one)
    three = middle.velocity(kappa + h / 2 * two)
    four = end.velocity(kappa + h * three)
    later = kappa + h / 6 * (one + 2 * two + 2 * three + four)
    if not covariance:
        return later, spread
    halfway = kappa + h / 2 * two
    J = middle.jacobian(halfway)
    noise = middle.own_noise(halfway) / np.outer(middle.tau, middle.tau)
    whole, half = expm(h * J), expm(h / 2 * J)
    # Exact for constant J but for the noise, whose integral is Simpson's: positive semidefinite in any case.
    brought = noise + 4 * _around(half, noise) + _around(whole, noise)
    return later, _around(whole, spread) + h / 6 * brought


def _around(matrix: Array, inner: Array) -> Array:
    """Return ``M X Mᵀ`` of stacks of matrices."""
    return np.asarray(matrix @ inner @ np.swapaxes(matrix, -1, -2))


def _dynamics_at(
    circuit: Circuit, begin: float, dt: Any, closure: Closure | None, tau: Any
) -> Callable[[float], ModeDynamics]:
    """Return a function that gives the dynamics at a time; only the external input changes."""
    if not circuit.changes_in_time:
        always = replace(mode_dynamics(circuit, dt=dt, closure=closure, tau=tau), accuracy=COURSE_TOLERANCE)
        return lambda time: always
    first = mode_dynamics(circuit.at_time(begin), dt=dt, closure=closure, tau=tau)
    wired = wire(circuit.at_time(begin), first.dt)
    known: dict[float, ModeDynamics] = {}

    def at(time: float) -> ModeDynamics:
        if time not in known:
            external = external_input(circuit.at_time(time), wired, first.dt)
            while len(known) > 3:  # the stages of one step share their times
                known.pop(next(iter(known)))
            known[time] = replace(first, mean=external.mean, received=external.received, accuracy=COURSE_TOLERANCE)
        return known[time]

    return at


def _require_short_delays(circuit: Circuit, dynamics: ModeDynamics) -> None:
    limit = LONGEST_DELAY * float(dynamics.tau.min())
    inner = {population.name for population in circuit.neurons}
    for projection in circuit.projections:
        delay = projection.delay.quantiles(1000) if isinstance(projection.delay, Distribution) else projection.delay
        if projection.source in inner and (longest := float(np.max(np.asarray(delay)))) > limit:
            raise ValueError(
                f"latent dynamics leave delays out, and that of {projection}, {longest:g} ms, is longer than a fifth "
                f"of a time constant ({limit:g} ms). Shorten it; `mode_fixed_points` does not depend on delays"
            )


def _width(step: Any) -> float:
    number = in_unit(step, "ms", "step")
    if not isinstance(number, float) or not 0 < number < np.inf:
        raise ValueError(f"`step` must be a single time > 0 ms, got {step!r}")
    return number


# What answers share


def given_points(value: Any, dynamics: ModeDynamics, name: str) -> Array:
    """Return activities of the modes that a user gave, shape (n, P), 1/ms."""
    found = np.atleast_2d(np.asarray(in_unit(value, "1/ms", name), dtype=np.float64))
    if found.ndim != 2 or found.shape[1] != dynamics.n_modes or not len(found) or not np.isfinite(found).all():
        raise ValueError(
            f"`{name}` must be finite activities of {dynamics.n_modes} modes, 1/ms, of shape ({dynamics.n_modes},) or "
            f"({name}, {dynamics.n_modes}), got the shape {np.shape(value)}"
        )
    return found


def described(dims: tuple[str, ...], values: Any, units: str, long_name: str) -> xr.DataArray:
    """Return labelled values with their units."""
    return xr.DataArray(np.asarray(values), dims=dims, attrs={"units": units, "long_name": long_name})


def mode_attributes(circuit: Circuit, dynamics: ModeDynamics) -> dict[str, Any]:
    """Return the attributes of an answer: theory, closure, step, circuit and versions."""
    return {
        "group": "prediction",
        "theory": "mode dynamics",
        "closure": closure_name(dynamics.closure),
        **step_attributes(dynamics.dt),
        "circuit_hash": circuit.hash(),
        **versions(),
    }
