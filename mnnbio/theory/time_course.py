"""Population rates in time: the Fokker-Planck equations of all populations, coupled through their rates."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr
from tqdm import tqdm

from mnnbio.circuit import Circuit
from mnnbio.machine import check_choice, require_integer, require_memory
from mnnbio.neurons import LIFParameters
from mnnbio.results import array, versions
from mnnbio.theory.densities import Densities
from mnnbio.theory.inputs import received_sums
from mnnbio.theory.labelled import step_attributes
from mnnbio.theory.population_response import representatives
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

Initial = Literal["stationary", "rest"]

INPUT_INTERVAL = 0.5  # ms between looks at inputs that change in time
TOLERATED_AT_BOTTOM = 1e-3
DELAYS = 2000  # quantiles that stand for a distribution of delays
LEAST_CELLS = 10
LEAST = 1e-12  # variance of an input, mV²/ms
MOST_STEPS = 1e8  # some hours for two populations


class _Channels(NamedTuple):
    """Projections: sums of weights, delays as kernels over steps, and filters; arrays over projections."""

    rows: Array  # 1 where a population is the target, (population, projection)
    column: npt.NDArray[np.int64]  # sender, of the populations and the sources after them
    total: Array
    squares: Array  # of what neurons do not share with each other, where trains are finite in number
    unequal: Array  # noise that all targets share because few trains have many of them, likewise
    kernel: Array  # (lag, projection)
    decay: Array  # of the synaptic current over a step, 0 for delta synapses

    def sent(self, rates: Array) -> Array:
        """Return the delayed rates of the senders, from those of the past (lag, sender)."""
        return np.asarray((self.kernel * rates[:, self.column]).sum(0))


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
        Seed of one realisation of finite populations: the potentials of their neurons, and of the trains of sources,
        deviate from their densities at random. Spikes that reach many neurons are input that these have in common,
        volleys included, what is left is noise of each. Rates are then means over the intervals that end at `times`.
        The cost does not depend on the number of neurons. By default, populations are infinite.
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
    number = int(np.ceil(steps - 1e-9))
    course = _Course(
        circuit, system, state, dt=delta, step=width, cells=cells, number=number, initial=initial, seed=fluctuations
    )
    rates = _integrate(course, wanted, number, progress=progress)
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


class _Course:
    """Populations of a circuit in time.

    Without `seed` they are infinite. With one, they have the spikes of their neurons: those that reach all neurons of a
    population are part of the mean input, what is left of the input's variance is noise of each neuron.
    """

    def __init__(
        self,
        circuit: Circuit,
        system: System,
        state: PopulationState,
        *,
        dt: float | None,
        step: float,
        cells: int,
        number: int,
        initial: Initial,
        seed: int | None,
    ) -> None:
        self.circuit, self.system, self.dt, self.step, self.size = circuit, system, dt, step, len(system.sizes)
        self.generator = None if seed is None else np.random.default_rng(seed)
        chosen = self.chosen = representatives(system, state)
        neurons = None if seed is None else system.sizes @ chosen.members
        lif = LIFParameters(**{name: value.numpy() for name, value in chosen.lif._asdict().items()})
        self.densities = Densities(lif, chosen.mean, chosen.std, step, cells, neurons, self.generator)
        self.channels = _channels(circuit, system, step, dt, finite=seed is not None)
        self.reach = len(self.channels.kernel)
        shape = self.reach + number, self.size + len(system.source_rate)
        self.rates = np.zeros(shape)  # of trains, the past first, 1/ms
        self.likely = self.rates if seed is None else np.zeros(shape)  # without what finite numbers bring
        self.spreads = np.zeros(shape)  # variance of a train per time, 1/ms
        self.common = system.shared / system.sizes[:, None]  # of noise that neurons share, mV/√ms
        self.ends = np.zeros((number + 1, self.size))  # expected rates at the ends of steps, 1/ms
        self.owed = np.zeros(self.size)  # variance below 0, to be taken from later steps
        if initial == "rest":
            self.densities.start_at(0.0)
        else:
            self.densities.start_stationary(chosen.mean, chosen.std)
            start = chosen.members @ self.densities.expected
            self.rates[: self.reach, : self.size] = self.likely[: self.reach, : self.size] = start
            self.spreads[: self.reach, : self.size] = start
        self.ends[0] = chosen.members @ self.densities.leaving
        for past in (self.rates, self.likely):
            past[: self.reach, self.size :] = system.source_rate
        self.spreads[: self.reach, self.size :] = system.source_spread
        senders = self.channels.column
        start = np.stack([self.rates[0, senders], self.spreads[0, senders]])
        self.filtered = start * np.stack([self.channels.total, self.channels.squares])

    def advance(self, n: int, time: float, *, look: bool) -> None:
        """Advance by the step of a number, which begins at a time (ms); `look` at inputs that change."""
        if look:
            self.system = with_inputs(self.system, self.circuit.at_time(time), self.dt)
        now, size, chosen = n + self.reach, self.size, self.chosen
        mean, std = self._input(n)
        self.rates[now, :size] = chosen.members @ self.densities.advance(mean, std)
        self.likely[now, :size] = chosen.members @ self.densities.expected
        self.spreads[now, :size] = self.rates[now, :size]
        self.ends[n + 1] = chosen.members @ self.densities.leaving
        for past in (self.rates, self.likely):
            past[now, size:] = self.system.source_rate
        self.spreads[now, size:] = self.system.source_spread
        if self.generator is not None and self.rates.shape[1] > size:
            spread = self.system.source_spread / (self.system.sources.sizes * self.step)
            self.rates[now, size:] += np.sqrt(spread) * self.generator.standard_normal(len(spread))

    def _input(self, n: int) -> tuple[Array, Array]:
        """Return mean and standard deviation of the input of the chosen neurons in a step."""
        system, chosen, ways = self.system, self.chosen, self.channels
        rates, spreads, likely = (
            ways.sent(values[n : n + self.reach][::-1]) for values in (self.rates, self.spreads, self.likely)
        )
        sent = np.stack([ways.total * rates, ways.squares * spreads])
        if self.generator is not None:
            noise = np.sqrt(np.maximum(ways.unequal * likely, 0.0) / self.step)
            sent[0] += noise * self.generator.standard_normal(len(noise))
        self.filtered = ways.decay * self.filtered + (1 - ways.decay) * sent
        mean, variance = self.filtered @ ways.rows.T
        if self.generator is not None:
            mean = mean + self.common @ self.generator.standard_normal(self.common.shape[1]) / np.sqrt(self.step)
            variance = variance - (self.common**2).sum(1)
        each, nodes, index = self.densities.expected, system.nodes, chosen.places
        average = chosen.members @ each
        disorder = np.sqrt(quenched_variance(system, average, np.maximum(chosen.members @ each**2 - average**2, 0.0)))
        owner, outside = nodes.owner[index], nodes.variance[index]
        # Few neurons have more or fewer spikes in a step than are likely, even less than none.
        variance = variance + self.owed
        least = np.array([outside[owner == row].min() for row in range(self.size)])
        self.owed = np.minimum(least + variance - LEAST, 0.0)
        total = outside + (variance - self.owed)[owner]
        shifted = nodes.mean[index] + mean[owner] + nodes.offset[index] * disorder[owner]
        return np.asarray(shifted), np.asarray(np.sqrt(total))


def _integrate(course: _Course, times: Array, number: int, *, progress: bool) -> Array:
    """Return the rates at the wanted times, (time, population), 1/ms."""
    step = course.step
    look, at_bottom = max(1, round(INPUT_INTERVAL / step)), 0.0
    # `disable=None`: shown where standard error is a terminal.
    for n in tqdm(range(number), desc="time course", unit=" steps", disable=None if progress else True):
        course.advance(n, float(times[0] + n * step), look=course.circuit.changes_in_time and n % look == 0)
        at_bottom = max(at_bottom, course.densities.at_bottom)
    if at_bottom > TOLERATED_AT_BOTTOM:
        raise ValueError(
            f"membrane potentials leave the grid: {at_bottom:.1%} of the neurons reach its lower end. The inhibition "
            "during the transient is too strong for this method; begin with initial='stationary', or closer to it"
        )
    place = (times - times[0]) / step
    if course.generator is not None:
        return _means(course.rates[course.reach :, : course.size], place)
    return np.stack([np.interp(place, np.arange(number + 1), rate) for rate in course.ends.T], axis=1)


def _means(rates: Array, ends: Array) -> Array:
    """Return means over the intervals that end at some times, in steps; over one step at the first."""
    counted = np.concatenate([np.zeros((1, rates.shape[1])), np.cumsum(rates, axis=0)])
    at = np.stack([np.interp(ends, np.arange(len(counted)), column) for column in counted.T], axis=1)
    return np.concatenate([rates[:1], np.diff(at, axis=0) / np.diff(ends)[:, None]])


def _channels(circuit: Circuit, system: System, step: float, dt: float | None, *, finite: bool) -> _Channels:
    """Return the projections of a circuit, for populations that are finite or infinite."""
    senders = [*system.names, *(s.name for s in circuit.sources)]
    sizes = np.concatenate([system.sizes, system.sources.sizes])
    count = len(circuit.projections)
    rows, column = np.zeros((len(system.names), count)), np.zeros(count, int)
    total, squares, unequal, decay = np.zeros((4, count))
    kernels = []
    for k, projection in enumerate(circuit.projections):
        row, column[k] = system.names.index(projection.target), senders.index(projection.source)
        found, own = received_sums(circuit, projection, dt), sizes[column[k]]
        rows[row, k] = 1.0
        total[k], squares[k] = found.total, found.squares
        if finite:
            # What neurons receive of their own averages out as trains of random numbers of targets do.
            squares[k] -= found.total**2 / own
            unequal[k] = max(own / sizes[row] * found.column_variance - squares[k], 0.0) / sizes[row]
        decay[k] = np.exp(-step / projection.tau_syn) if projection.tau_syn > 0 else 0.0
        delay = projection.delay
        values = delay.quantiles(DELAYS) if isinstance(delay, Distribution) else delay
        kernels.append(_kernel(np.ravel(np.asarray(values, dtype=np.float64)) / step))
    longest = max((len(kernel) for kernel in kernels), default=1)
    padded = [np.pad(kernel, (0, longest - len(kernel))) for kernel in kernels]
    return _Channels(rows, column, total, squares, unequal, np.array(padded).reshape(count, longest).T, decay)


def _kernel(lags: Array) -> Array:
    """Return the weights of the rates in past steps, latest first, whose mean is the rate `lags` before a step."""
    place = np.maximum(lags - 1.0, 0.0)
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
