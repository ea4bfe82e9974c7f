"""Densities of membrane potentials that change in time: the Fokker-Planck equation of integrate-and-fire neurons.

    ∂P/∂t = -∂J/∂V,    J = (mean - V/tau_m) P - (std²/2) ∂P/∂V

with P = 0 at the threshold; the flux through it is the firing rate, and re-enters at the reset potential after t_ref.
In space, exponentially fitted differences [1]_ keep densities positive and are exact where the flux is uniform; in
time, the trapezoidal rule. Several populations of neurons, each with its own threshold, are one tridiagonal system.

References
----------
.. [1] D. L. Scharfetter, H. K. Gummel (1969), Large-signal analysis of a silicon Read diode oscillator, IEEE Trans.
Electron
   Devices 16, 64.

Population rates in time: the Fokker-Planck equations of all populations, coupled through their rates.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy.linalg import solve_banded
from tqdm import tqdm

from mnnbio.circuit import Circuit
from mnnbio.machine import check_choice, require_integer, require_memory
from mnnbio.moments import Neuron
from mnnbio.neurons import LIFParameters
from mnnbio.results import array, versions
from mnnbio.theory.inputs import received_sums
from mnnbio.theory.labelled import step_attributes
from mnnbio.theory.oscillations import Representatives, representatives
from mnnbio.theory.population_theory import (
    PopulationState,
    System,
    population_start,
    population_system,
    quenched_variance,
    solve,
    with_inputs,
)
from mnnbio.theory.population_theory import fluctuations as seen
from mnnbio.theory.recurrence import require_converged
from mnnbio.theory.validity import check_predictable, check_validity, checked_step
from mnnbio.units import in_unit
from mnnbio.values import Distribution

Array = npt.NDArray[np.float64]

DEPTH = 6.0  # how far below the mean potential the grid reaches, in standard deviations of the potential


class Densities:
    """Membrane potentials of independent groups of neurons, stepped in time.

    Parameters
    ----------
    lif : LIFParameters or alike
        One value per group, or one for all.
    mean, std : ndarray, shape (group,)
        Typical inputs, mV/ms and mV/√ms, from which the grid's lower end follows.
    step : float
        Time step, ms.
    cells : int
        Grid points between the lower end and the threshold.

    Attributes
    ----------
    rate : ndarray, shape (group,)
        Flux through the threshold at the end of the last step, 1/ms.
    """

    def __init__(self, lif: Neuron, mean: Array, std: Array, step: float, cells: int = 400) -> None:
        groups = len(mean)
        self._tau_m, self._v_th, v_reset, t_ref = (
            np.broadcast_to(np.asarray(getattr(lif, name), dtype=np.float64), (groups,))
            for name in ("tau_m", "v_th", "v_reset", "t_ref")
        )
        spread = DEPTH * std * np.sqrt(self._tau_m / 2) + (self._v_th - v_reset)
        bottom = np.minimum(np.minimum(mean * self._tau_m, v_reset), 0.0) - spread
        # The reset potential is a point of the grid.
        above = np.maximum(1, np.round((self._v_th - v_reset) / (self._v_th - bottom) * cells)).astype(int)
        self._h = (self._v_th - v_reset) / above
        self._reset = cells - above
        self._points = self._v_th[:, None] - self._h[:, None] * np.arange(cells, 0, -1)
        self._middles = self._v_th[:, None] - self._h[:, None] * (np.arange(cells, -1, -1) + 0.5)[1:]
        self._lag = np.maximum(np.round(t_ref / step).astype(int), 0)
        self._step = step
        self._density = np.zeros_like(self._points)
        self._past: deque[Array] = deque([np.zeros(groups)] * int(self._lag.max() + 1), maxlen=int(self._lag.max() + 1))
        self.rate = np.zeros(groups)

    def start_at(self, potential: float) -> None:
        """Put all neurons at one potential, mV, and none into the refractory state."""
        nearest = np.abs(self._points - potential).argmin(1)
        self._density[:] = 0.0
        self._density[np.arange(len(nearest)), nearest] = 1 / self._h

    def start_stationary(self, mean: Array, std: Array) -> None:
        """Take the densities that inputs of those moments hold, (group,) each, and their rates."""
        below, diagonal, above, exit_ = self._operator(mean, std)
        source = np.zeros_like(self._density)
        source[np.arange(len(self._reset)), self._reset] = -1 / self._h
        density = self._solve(below, diagonal, above, source)
        refractory = self._lag * self._step
        rate = 1 / (density.sum(1) * self._h + refractory)
        self._density, self.rate = density * rate[:, None], rate
        self._past.extend([rate] * len(self._past))
        assert np.allclose(exit_ * self._density[:, -1], rate, rtol=1e-6)

    def advance(self, mean: Array, std: Array) -> Array:
        """Advance by one step under inputs of those moments (group,), and return the rates at its end, 1/ms."""
        below, diagonal, above, exit_ = self._operator(mean, std)
        half, P = self._step / 2, self._density
        right = P + half * (diagonal * P)
        right[:, 1:] += half * below[:, 1:] * P[:, :-1]
        right[:, :-1] += half * above[:, :-1] * P[:, 1:]
        groups = np.arange(len(self._reset))
        returning = np.array([self._returning(k, int(lag)) for k, lag in enumerate(self._lag)])
        right[groups, self._reset] += self._step * returning / self._h
        self._density = self._solve(-half * below, 1 - half * diagonal, -half * above, right)
        self.rate = exit_ * self._density[:, -1]
        self._past.append(self.rate)
        return self.rate

    @property
    def at_bottom(self) -> float:
        """Largest share of neurons at the lower end of the grid."""
        return float((self._density[:, 0] * self._h).max())

    def _returning(self, group: int, lag: int) -> float:
        """Return the flux that left the refractory state in the middle of the step."""
        if lag == 0:
            return float(self._past[-1][group])
        return float((self._past[-lag][group] + self._past[-lag - 1][group]) / 2)

    def _operator(self, mean: Array, std: Array) -> tuple[Array, Array, Array, Array]:
        """Return the three diagonals of ``-∂J/∂V``, and the flux through the threshold per density below it."""
        h = self._h[:, None]
        diffusion = (std**2 / 2)[:, None]
        z = h * (mean[:, None] - self._middles / self._tau_m[:, None]) / diffusion
        up, down = diffusion / h * _bernoulli(-z), diffusion / h * _bernoulli(z)  # across the upper side of each point
        below = np.zeros_like(up)
        below[:, 1:] = up[:, :-1] / h
        diagonal = -up / h
        diagonal[:, 1:] -= down[:, :-1] / h
        above = down / h
        return below, diagonal, above, up[:, -1]

    def _solve(self, below: Array, diagonal: Array, above: Array, right: Array) -> Array:
        bands = np.zeros((3, right.size))
        upper, lower = above.copy(), below.copy()
        upper[:, -1] = 0.0
        lower[:, 0] = 0.0
        bands[0, 1:], bands[1], bands[2, :-1] = upper.ravel()[:-1], diagonal.ravel(), lower.ravel()[1:]
        return np.asarray(solve_banded((1, 1), bands, right.ravel(), check_finite=False)).reshape(right.shape)


def _bernoulli(z: Array) -> Array:
    """Return ``z/(e^z - 1)``."""
    small = np.abs(z) < 1e-5
    safe = np.where(small, 1.0, z)
    with np.errstate(over="ignore"):
        return np.where(small, 1 - z / 2, safe / np.expm1(safe))


Initial = Literal["stationary", "rest"]

INPUT_INTERVAL = 0.5  # ms between looks at inputs that change in time
TOLERATED_AT_BOTTOM = 1e-3
DELAYS = 2000  # quantiles that stand for a distribution of delays
LEAST_CELLS = 10
MOST_STEPS = 1e8  # some hours for two populations


class _Channel(NamedTuple):
    """Channel of a projection: weights, delays as a kernel over steps, and its filter."""

    row: int
    column: int
    total: float
    squares: float
    kernel: Array  # (lag,)
    decay: float  # of the synaptic current over a step, 0 for delta synapses


def predict_time_course(
    circuit: Circuit,
    times: Any,
    *,
    dt: Any = None,
    initial: Initial = "stationary",
    start: Any = None,
    step: Any = 0.05,
    cells: int = 400,
    fluctuations: int | None = None,
    progress: bool = False,
) -> xr.Dataset:
    """Return the rates of populations in time, after a change of the input or from rest.

    The densities of membrane potentials of all populations follow the Fokker-Planck equation, with mean and variance of
    the input from the delayed rates of the others: exact for delta synapses in large, sparsely connected circuits,
    where inputs are many, small and independent (Brunel 2000), oscillations of any amplitude included. Trains drive
    their targets as Poisson processes of changing rate. Exponential synapses filter the input, with thresholds shifted
    as in the stationary state.

    Parameters
    ----------
    circuit : Circuit
        With one stimulus; its inputs may change in time, as `Steps` and others do.
    times : array_like or Quantity, shape (time,)
        When rates are wanted, ms, ascending, two or more. Integration begins at the first.
    dt : float or Quantity, optional
        Time step of the simulation to be predicted, ms: displaces thresholds as in the stationary state.
    initial : {"stationary", "rest"}
        Begin in the self-consistent state of the inputs at the first time, or with all neurons at rest (V = 0), as
        simulations do.
    start : float, array_like or dict, optional
        Rates from which that state is looked for; see `predict`.
    step : float or Quantity
        Step of the integration, ms. Shorter delays count as one step.
    cells : int
        Grid points of the membrane potential.
    fluctuations : int, optional
        Seed of the fluctuations of finite populations: one realisation of them is added to the rates that neurons
        receive, with the variance of the counts of independent neurons. By default, none: populations are infinite.
        Near the onset of an oscillation they change its frequency and the mean rate.
    progress : bool
        Whether to show a progress bar, where standard error is a terminal.

    Returns
    -------
    Dataset
        `rate` in Hz over ``(time, population)``; times in seconds.

    Raises
    ------
    ValueError
        If the circuit has several stimuli, times do not ascend, an input ends before the last of them, `dt` is refused
        as by `simulate`, or potentials leave the grid. All but the last is found before the integration begins.
    NotConverged
        If there is no stationary state to begin in.
    NotEnoughMemory
        If the rates of all steps would not fit into memory.

    Warns
    -----
    SlowSynapseWarning, FiniteWeightWarning
        As by `predict`, for the inputs at the first and at the last time.

    References
    ----------
    N. Brunel (2000), J. Comput. Neurosci. 8, 183, eqs. 6-17. D. Q. Nykamp, D. Tranchina (2000), A population density
    approach that facilitates large-scale modeling of neural networks, J. Comput. Neurosci. 8, 19.
    """
    wanted, width = _times(times), _step(step, "step")
    if circuit.n_stimuli is not None:
        raise ValueError(f"a time course is of one stimulus, got {circuit.n_stimuli}; choose one with `select`")
    if fluctuations is not None:
        require_integer("fluctuations", fluctuations, 0)
    require_integer("cells", cells, LEAST_CELLS)
    check_choice("initial", initial, ["stationary", "rest"])
    first, last = (circuit.at_time(float(t)) if circuit.changes_in_time else circuit for t in wanted[[0, -1]])
    for ends in (first, last):
        check_predictable(ends)
    delta = checked_step(circuit, dt, drawn=False)
    steps = (wanted[-1] - wanted[0]) / width
    if steps > MOST_STEPS:
        raise ValueError(
            f"the time course takes {steps:.3g} steps of {width:g} ms, at most {MOST_STEPS:g} are integrated. Ask for "
            "a shorter time, or give a longer `step`"
        )
    require_memory(
        16.0 * len(circuit.neurons) * (steps + len(wanted)),
        f"the rates of {len(circuit.neurons)} populations in {steps:.3g} steps",
        "Ask for a shorter time, or give a longer `step`",
    )
    system = population_system(first, delta, keep=circuit.changes_in_time)
    state = solve(system, "poisson", delta, population_start(circuit, start))
    require_converged(state.status, state.residual, state.iterations)
    check_validity(first, seen(first, system, state))
    if circuit.changes_in_time:
        after = with_inputs(system, last, delta)
        later = solve(after, "poisson", delta, state.rate)
        check_validity(last, seen(last, after, later) if later.status == "converged" else [])
    rates = _integrate(circuit, system, state, wanted, delta, initial, width, cells, fluctuations, progress)
    labelled = array("rate", ("time", "population"), rates * 1e3)
    coords = {"time": ("time", wanted * 1e-3, {"units": "s"}), "population": system.names}
    return xr.Dataset({"rate": labelled}, coords=coords).assign_attrs(
        group="prediction",
        theory="population density",
        closure="poisson",
        **step_attributes(delta),
        circuit_hash=circuit.hash(),
        **versions(),
    )


def _integrate(
    circuit: Circuit,
    system: System,
    state: PopulationState,
    times: Array,
    dt: float | None,
    initial: Initial,
    step: float,
    cells: int,
    fluctuations: int | None,
    progress: bool,
) -> Array:
    """Return the rates at the wanted times, (time, population), 1/ms."""
    chosen = representatives(system, state)
    densities = Densities(
        LIFParameters(**{name: value.numpy() for name, value in chosen.lif._asdict().items()}),
        chosen.mean,
        chosen.std,
        step,
        cells,
    )
    number = int(np.ceil((times[-1] - times[0]) / step - 1e-9))
    channels = _channels(circuit, system, step, dt)
    reach = max((len(c.kernel) for c in channels), default=1)
    rates = np.zeros((reach + number, len(system.sizes)))  # the past first
    filtered = np.zeros((len(channels), 2))
    if initial == "rest":
        densities.start_at(0.0)
    else:
        densities.start_stationary(chosen.mean, chosen.std)
        rates[:reach] = chosen.members @ densities.rate
        filtered = np.array([[c.total, c.squares] for c in channels]).reshape(-1, 2)
        filtered = filtered * np.array([rates[0, c.column] for c in channels])[:, None]
    noise = None if fluctuations is None else np.random.default_rng(fluctuations)
    look, at_bottom = max(1, round(INPUT_INTERVAL / step)), 0.0
    # `disable=None`: shown where standard error is a terminal.
    for n in tqdm(range(number), desc="time course", unit=" steps", disable=None if progress else True):
        if circuit.changes_in_time and n % look == 0:
            system = with_inputs(system, circuit.at_time(float(times[0] + n * step)), dt)
        past = rates[n : n + reach][::-1]
        for k, c in enumerate(channels):
            sent = c.kernel @ past[: len(c.kernel), c.column] * np.array([c.total, c.squares])
            filtered[k] = c.decay * filtered[k] + (1 - c.decay) * sent
        mean, std = _input(system, chosen, channels, filtered, past[0], densities.rate)
        rate = np.maximum(chosen.members @ densities.advance(mean, std), 0.0)
        if noise is not None:
            rate = rate + np.sqrt(rate / (system.sizes * step)) * noise.normal(size=len(rate))
        rates[n + reach] = rate
        at_bottom = max(at_bottom, densities.at_bottom)
    if at_bottom > TOLERATED_AT_BOTTOM:
        raise ValueError(
            f"membrane potentials leave the grid: {at_bottom:.1%} of the neurons reach its lower end. The inhibition "
            "during the transient is too strong for this method; begin with initial='stationary', or closer to it"
        )
    return np.stack(
        [np.interp(times - times[0], np.arange(number + 1) * step, course) for course in rates[reach - 1 :].T], axis=1
    )


def _input(
    system: System, chosen: Representatives, channels: list[_Channel], filtered: Array, rate: Array, each: Array
) -> tuple[Array, Array]:
    """Return mean and standard deviation of the input of the chosen neurons."""
    mean = system.sources.total @ system.source_rate
    variance = system.sources.squares @ system.source_spread
    for k, c in enumerate(channels):
        mean[c.row] += filtered[k, 0]
        variance[c.row] += filtered[k, 1]
    spread = np.maximum(chosen.members @ each**2 - rate**2, 0.0)
    disorder = np.sqrt(quenched_variance(system, rate, spread))
    nodes, index = system.nodes, chosen.places
    owner = nodes.owner[index]
    total = nodes.variance[index] + variance[owner]
    return nodes.mean[index] + mean[owner] + nodes.offset[index] * disorder[owner], np.sqrt(np.maximum(total, 1e-12))


def _channels(circuit: Circuit, system: System, step: float, dt: float | None) -> list[_Channel]:
    channels = []
    for projection in circuit.projections:
        if projection.source not in system.names:
            continue
        found = received_sums(circuit, projection, dt)
        delay = projection.delay
        values = delay.quantiles(DELAYS) if isinstance(delay, Distribution) else delay
        channels.append(
            _Channel(
                system.names.index(projection.target),
                system.names.index(projection.source),
                found.total,
                found.squares,
                _kernel(np.ravel(np.asarray(values, dtype=np.float64)) / step),
                float(np.exp(-step / projection.tau_syn)) if projection.tau_syn > 0 else 0.0,
            )
        )
    return channels


def _kernel(lags: Array) -> Array:
    """Return the weights of the past rates, latest first, whose mean is the rate `lags` before the middle of a step."""
    place = np.maximum(lags - 0.5, 0.0)
    low = np.floor(place).astype(int)
    kernel = np.zeros(int(low.max()) + 2)
    np.add.at(kernel, low, 1 - (place - low))
    np.add.at(kernel, low + 1, place - low)
    return np.asarray(kernel / len(lags))


def _times(value: Any) -> Array:
    times = np.asarray(in_unit(value, "ms", "times"))
    if times.ndim != 1 or len(times) < 2 or not np.isfinite(times).all() or not (np.diff(times) > 0).all():
        raise ValueError(f"`times` must be two or more ascending times, ms, got {value!r}")
    return times


def _step(value: Any, name: str) -> float:
    number = in_unit(value, "ms", name)
    if not isinstance(number, float) or not 0 < number < np.inf:
        raise ValueError(f"`{name}` must be a single time > 0 ms, got {value!r}")
    return number
