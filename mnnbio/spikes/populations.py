"""Synaptic currents that decay exponentially, integrated exactly with the membrane.

In a step of dt a current I leaves ``exp(-dt/tau_syn) I`` and moves the membrane by ``P I``, with ``P`` the propagator
of Rotter & Diesmann (1999). Spikes that arrive in a step are added at its end, as the jumps of delta synapses are.

References
----------
S. Rotter, M. Diesmann (1999), Exact digital simulation of time-invariant linear systems with applications to neuronal
modeling, Biological Cybernetics 81, 381-402, sec. 3.1.

Poisson sources and LIF populations as groups of a plan.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import numpy as np
import numpy.typing as npt
from scipy import special

from mnnbio.circuit import Circuit, GaussianDrive, PoissonDrive, PoissonSource, Population
from mnnbio.spikes.plan import Draw, Plan, PlannedGroup, Step, all_to_all
from mnnbio.spikes.streams import gap_scale
from mnnbio.spikes.timing import Course, bounds, count_steps, over_time
from mnnbio.values import TimeCourse

Array = npt.NDArray[np.float64]


def synaptic_times(circuit: Circuit, name: str) -> list[float]:
    """Return the different synaptic time constants, ms, of a population's exponential inputs, as they first appear."""
    inputs = [p.tau_syn for p in circuit.projections if p.target == name]
    inputs += [d.tau_syn for d in circuit.drives if isinstance(d, PoissonDrive) and d.target == name]
    return list(dict.fromkeys(tau_syn for tau_syn in inputs if tau_syn > 0))


def propagator(tau_m: npt.ArrayLike, tau_syn: float, dt: float) -> Array:
    """Return how far a step of dt moves the membrane per current at its start, ms.

    ``tau_m tau_syn/(tau_syn - tau_m) (exp(-dt/tau_syn) - exp(-dt/tau_m))``, which has the finite limit
    ``dt exp(-dt/tau_m)`` for equal time constants. All in ms.
    """
    membrane = dt / np.asarray(tau_m, dtype=np.float64)
    return np.asarray(dt * np.exp(-membrane) * special.exprel(membrane - dt / tau_syn))


MV = 1e-3  # volt
_MOST_JUMPS = 100.0  # mean jumps a step of a Poisson drive; more make their inversion slow

_SOURCE = """
next_spike : integer
gap_scale : 1 (constant)
stream : integer (constant)
"""
_NEURON = """
dv/dt = (v_inf - v)/tau_m : volt (unless refractory)
tau_m : second (constant)
decay : 1 (constant)
v_inf : volt
v_th : volt (constant)
v_reset : volt (constant)
hold : integer (constant)
wake : integer
"""


def spike_probability(source: PoissonSource, dt: float) -> Array:
    """Return the probability that a train of a Poisson source fires in a step, (1 or stimulus, 1 or size).

    Where rates change in time, it is that of the highest rate.

    Raises
    ------
    ValueError
        If it exceeds 1.
    """
    rates = bounds(source.rates)
    probability = rates * dt
    if (probability > 1).any():
        stimulus, index = np.unravel_index(int(np.argmax(probability)), probability.shape)
        raise ValueError(
            f"`rates` of {source.name!r} must be at most one spike a step, {1 / dt:g} spikes/ms at dt = {dt:g} ms, got "
            f"{rates[stimulus, index]:g} at stimulus {stimulus}, index {index}. Try dt = {1 / rates.max():.2g} ms"
        )
    return probability


def quiet_probability(drive: PoissonDrive, dt: float) -> Array | Course:
    """Return the probability that a Poisson drive brings no spike in a step, (1 or stimulus, 1 or n), or its course.

    Raises
    ------
    ValueError
        If it brings more than 100 spikes on average.
    """
    expected = bounds(drive.rate) * dt
    if (expected > _MOST_JUMPS).any():
        raise ValueError(
            f"{drive} must give at most {_MOST_JUMPS:g} spikes a step, got {expected.max():g} in {dt:g} ms. "
            f"Try dt = {dt * _MOST_JUMPS / expected.max():.2g} ms or less, or a GaussianDrive"
        )
    if isinstance(drive.rate, TimeCourse):
        return lambda times: np.exp(-over_time(drive.rate, times) * dt)
    return np.exp(-expected)


def refractory_steps(population: Population, dt: float) -> npt.NDArray[np.int32]:
    """Return the refractory periods in steps.

    Raises
    ------
    ValueError
        If `dt` does not divide one.
    """
    return count_steps(population.lif.t_ref, dt, f"t_ref of {population.name!r}")


def add_source(plan: Plan, source: PoissonSource) -> PlannedGroup:
    """Add a Poisson source: each train fires in a step with probability rate · dt, independently of other steps.

    The steps between two spikes of such a train are geometric, so one random number is drawn per spike, not per step.
    Where rates change in time, spikes are drawn at the highest rate and each is kept with the probability by which the
    present rate falls short of it (thinning; Lewis & Shedler 1979).
    """
    most = spike_probability(source, plan.dt)
    options = {"spikes_when": "start", "is_source": True}  # before the synapses: a spike arrives in its own step
    if not isinstance(source.rates, TimeCourse):
        group = plan.add_group(
            source.name,
            source.size,
            _SOURCE,
            threshold="t_in_timesteps == next_spike",
            reset="next_spike = t_in_timesteps + bernoulli_gap(stream, t_in_timesteps + 1, gap_scale)",
            **options,
        )
    else:
        # Counters below 0 are those that the gaps leave free.
        kept = "uniform_draw(stream, -1 - t_in_timesteps) < kept"
        group = plan.add_group(
            source.name,
            source.size,
            f"{_SOURCE}kept : 1\n",
            threshold=f"t_in_timesteps == next_spike and {kept}",
            **options,
        )
        group.steps.append(Step("next_spike = later_spike(next_spike, t_in_timesteps, stream, gap_scale)", "end"))
        group.courses["kept"] = _share(source.rates, most / plan.dt)
    group.load("gap_scale", gap_scale(most))
    return group


def _share(course: TimeCourse, most: Array) -> Course:
    """Return a course relative to its highest values, (1 or stimulus, 1 or size); 0 where these are 0."""
    scale = np.divide(1.0, most, out=np.zeros_like(most), where=most > 0)
    return lambda times: over_time(course, times) * scale


def add_neurons(
    plan: Plan,
    circuit: Circuit,
    population: Population,
    mode_inputs: Sequence[float] = (),
    noisy: Collection[str] = (),
) -> PlannedGroup:
    """Add a population of LIF neurons with its drives.

    Between spikes the membrane is integrated exactly: ``v ← v_inf + a (v − v_inf) + noise + jumps`` with
    ``v_inf = tau_m · mean``, ``a = exp(−dt/tau_m)`` and Gaussian noise of variance ``std² tau_m (1 − a²)/2``. The jumps
    of a Poisson drive are a Poisson number a step, ``rate · dt`` on average. After a spike v is held at ``v_reset`` for
    ``t_ref/dt`` steps, in which all input to v is lost. A current of exponential synapses adds ``P current`` to v and
    decays by itself (`currents.py`), also while v is held.

    Parameters
    ----------
    plan : Plan
    circuit : Circuit
    population : Population
        One of the circuit's.
    mode_inputs : sequence of float
        Synaptic time constant, ms, of each variable ``mode_input<k>`` whose value is added in every step; 0: to v.
    noisy : collection of str
        Names of groups that draw their own Gaussian noise even if its standard deviation is 0.
    """
    n, lif, dt = population.size, population.lif, plan.dt
    decay = np.exp(-dt / np.asarray(lif.tau_m))
    step_noise = np.sqrt(np.asarray(lif.tau_m) * -np.expm1(-2 * dt / np.asarray(lif.tau_m)) / 2)  # of unit white noise
    mean, std, factor = _gaussian(circuit, population)
    jumps = [drive for drive in circuit.drives if isinstance(drive, PoissonDrive) and drive.target == population.name]
    values: dict[str, npt.ArrayLike | Course] = {
        "tau_m": np.asarray(lif.tau_m) * 1e-3,
        "decay": decay,
        "v_inf": _times(mean, lif.tau_m * MV),
        "v_th": np.asarray(lif.v_th) * MV,
        "v_reset": np.asarray(lif.v_reset) * MV,
        "hold": refractory_steps(population, dt),
    }
    equations, terms = _NEURON, ["v_inf + decay*(v - v_inf)"]
    # Every drive draws at counters of its own, whichever others there are.
    draws: dict[str, Draw] = {}
    if callable(std) or std.any() or plan.name(population.name) in noisy:
        equations += "kick : volt\nnoise : 1\n"
        values["kick"] = _times(std, step_noise * MV)
        draws["noise"] = Draw("normal", 1 + len(jumps))
        terms.append("kick*noise")
    times = synaptic_times(circuit, population.name)
    arriving: dict[float, list[str]] = {0.0: terms, **{tau: [f"fade{k}*current{k}"] for k, tau in enumerate(times)}}
    for k, drive in enumerate(jumps):
        equations += f"jump{k} : {_unit(drive.tau_syn)} (constant)\nquiet{k} : 1\narrivals{k} : 1\n"
        values[f"jump{k}"] = drive.weight / drive.tau_syn if drive.tau_syn else drive.weight * MV  # mV/ms = V/s
        values[f"quiet{k}"] = quiet_probability(drive, dt)
        draws[f"arrivals{k}"] = Draw("poisson", 1 + len(jumps), k + 1, f"quiet{k}")
        arriving[drive.tau_syn].append(f"jump{k}*arrivals{k}")
    if draws:
        equations += "stream : integer (constant)\n"
    for k, tau in enumerate(mode_inputs):
        equations += f"mode_input{k} : {_unit(tau)}\n"
        arriving[tau].append(f"mode_input{k}")
    if factor is not None:
        equations += "shared_noise : volt\n"
        terms.append("shared_noise")
    for k, tau in enumerate(times):
        equations += f"current{k} : volt/second\nfade{k} : 1 (constant)\npropagate{k} : second (constant)\n"
        values[f"fade{k}"] = np.exp(-dt / tau)
        values[f"propagate{k}"] = propagator(lif.tau_m, tau, dt) * 1e-3
        terms.append(f"propagate{k}*current{k}")
    update = [" + ".join(terms), *(f"current{k} = {' + '.join(arriving[tau])}" for k, tau in enumerate(times))]
    group = plan.add_group(
        population.name,
        n,
        equations,
        update="\n".join(update),
        threshold="v >= v_th",
        reset="v = v_reset; wake = t_in_timesteps + 1 + hold",
        refractory="t_in_timesteps < wake",
        start={"v": 0.0, "wake": 0, "not_refractory": True, "lastspike": -1e4}
        | {f"current{k}": 0.0 for k in range(len(times))},
        draws=draws,
    )
    for name, value in values.items():
        if callable(value):
            group.courses[name] = value
        else:
            group.load(name, value)
    if factor is not None:
        _share_noise(plan, population, group, factor * np.broadcast_to(step_noise, n)[:, None] * MV)
    return group


def _unit(tau_syn: float) -> str:
    """Return Brian2's unit of what a spike adds to the membrane or to a current."""
    return "volt" if tau_syn == 0 else "volt/second"


def _times(value: Array | Course, scale: npt.ArrayLike) -> Array | Course:
    """Return a value, or a course of it, in other units."""
    if isinstance(value, np.ndarray):
        return value * np.asarray(scale, dtype=np.float64)
    return lambda times: value(times) * np.asarray(scale, dtype=np.float64)


def _gaussian(circuit: Circuit, population: Population) -> tuple[Array | Course, Array | Course, Array | None]:
    """Return mean and std of all Gaussian drives, (1 or stimulus, 1 or n) or courses of such values, and their factor.

    The factor, (1 or stimulus, n, k), is None without shared noise.
    """
    drives = [d for d in circuit.drives if isinstance(d, GaussianDrive) and d.target == population.name]
    mean = _combined([d.mean for d in drives], lambda values: sum(values, np.zeros((1, 1))))
    std = _combined([d.std for d in drives], lambda values: np.sqrt(sum((v**2 for v in values), np.zeros((1, 1)))))
    factors = [d.factor if d.factor.ndim == 3 else d.factor[None] for d in drives if d.factor is not None]
    if not factors:
        return mean, std, None
    rows = max(len(factor) for factor in factors)
    together = np.concatenate([np.broadcast_to(f, (rows, *f.shape[1:])) for f in factors], axis=2)
    return mean, std, together


def _combined(values: Sequence[Array | TimeCourse], combine: Callable[[list[Array]], Array]) -> Array | Course:
    """Return what several inputs give together, a course where one of them changes in time."""
    constant = [np.atleast_2d(value) for value in values if not isinstance(value, TimeCourse)]
    if len(constant) == len(values):
        return combine(constant)
    return lambda times: combine([over_time(value, times) for value in values])


def _share_noise(plan: Plan, population: Population, group: PlannedGroup, factor: Array) -> None:
    """Add noise sources that the neurons share; `factor`, (1 or stimulus, n, k), is scaled to the noise of one step.

    With unequal time constants a step's noise has the covariance of the continuous process up to relative order
    ``(dt/tau_i − dt/tau_j)²/24``.
    """
    rows, n, k = factor.shape
    noise = plan.add_group(f"{population.name}_noise", k, "z : 1\nstream : integer (constant)")
    noise.draws["z"] = Draw("normal")
    synapses = plan.add_synapses(
        f"{population.name}_noise_factor",
        noise,
        group,
        *all_to_all(noise, group),
        equations="w : volt (constant)\nshared_noise_post = w*z_pre : volt (summed)",
    )
    synapses.load("w", factor.transpose(0, 2, 1).reshape(rows, n * k))
