"""Poisson sources and populations of neurons as groups of a plan."""

from __future__ import annotations

import ast
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mnnbio.circuit import Circuit, InputSteps, JumpTrain, PoissonSource, Population, highest_value
from mnnbio.neurons import NeuronDynamics
from mnnbio.spikes.plan import Draw, Plan, PlannedGroup, Step, all_to_all
from mnnbio.spikes.streams import gap_scale
from mnnbio.spikes.timing import Course, over_time
from mnnbio.synapses import Delta, Exponential, SynapseModel, SynapseSteps, Target
from mnnbio.values import TimeCourse

Array = npt.NDArray[np.float64]

MV = 1e-3  # volt

_SOURCE = """
next_spike : integer
gap_scale : 1 (constant)
"""


def add_source(plan: Plan, source: PoissonSource) -> PlannedGroup:
    """Add a Poisson source: each train fires in a step with probability rate · dt, independently of other steps.

    The steps between two spikes of such a train are geometric, so one random number is drawn per spike, not per step.
    Where rates change in time, spikes are drawn at the highest rate and each is kept with the probability by which the
    present rate falls short of it (thinning; Lewis & Shedler 1979).
    """
    most = source.spike_probability(plan.dt)
    # Tested before the synapses: a spike arrives in its own step.
    options: dict[str, Any] = {"spikes_when": "start", "is_source": True, "draws_random": True, "n_variables": 9}
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


class Receiver(NamedTuple):
    """Neurons of a population as synapses reach them.

    Attributes
    ----------
    target : Target
    kinds : list of SynapseModel
        Different models of the synapses and drives that bring variables of their own, as they first appear.
    """

    target: Target
    kinds: list[SynapseModel]

    def steps(self, model: SynapseModel, dt: float) -> SynapseSteps:
        """Return what synapses of a model are in a step."""
        name = str(self.kinds.index(model)) if model in self.kinds else ""
        return model.steps(self.target, name, dt)


def receiver(circuit: Circuit, population: Population, dt: float) -> Receiver:
    """Return how synapses reach the neurons of a population.

    Raises
    ------
    TypeError
        If the neurons cannot have such synapses.
    """
    dynamics = population.neuron.dynamics(dt)
    models = [p.synapse_model for p in circuit.projections if p.target == population.name]
    models += [_model_of(train) for steps in _drive_steps(circuit, population, dt) for train in steps.jumps]
    kinds = list(dict.fromkeys(model for model in models if not isinstance(model, Delta)))
    return Receiver(Target(type(population.neuron).__name__, dynamics.receives, dynamics.tau_m), kinds)


def add_neurons(
    plan: Plan,
    circuit: Circuit,
    population: Population,
    mode_inputs: Sequence[SynapseModel] = (),
    noisy: Collection[str] = (),
) -> PlannedGroup:
    """Add a population of neurons with its drives.

    Where the neurons have a closed form, as leaky integrate-and-fire neurons do, the membrane is integrated exactly
    between spikes: ``v ← v_inf + a (v − v_inf) + noise + jumps`` with ``v_inf = tau_m · mean``, ``a = exp(−dt/tau_m)``
    and Gaussian noise of variance ``std² tau_m (1 − a²)/2``. The jumps of a Poisson drive are a Poisson number a step,
    ``rate · dt`` on average. While v is held after a spike, all input to it is lost. Currents of synapses move v and
    decay by themselves, also while v is held.

    Others are integrated by Brian2, and the input of a step, ``mean · dt + std · √dt · noise + jumps``, is added with
    the spikes that arrive in it.

    Parameters
    ----------
    plan : Plan
    circuit : Circuit
    population : Population
        One of the circuit's.
    mode_inputs : sequence of SynapseModel
        Synapses of each variable ``mode_input<k>`` whose value is added in every step.
    noisy : collection of str
        Names of groups that draw their own Gaussian noise even if its standard deviation is 0.

    Raises
    ------
    TypeError, ValueError
        If neurons, synapses and drives do not go together.
    """
    dt, dynamics, reached = plan.dt, population.neuron.dynamics(plan.dt), receiver(circuit, population, plan.dt)
    steps = _drive_steps(circuit, population, dt)
    given, loadings = _gaussian(steps)
    jumps = [train for step in steps for train in step.jumps]
    codes = [code for step in steps for code in step.code]
    made = _Parts(dynamics, *_noise_of_step(dynamics, dt))
    values: dict[str, Any] = {**dynamics.values}
    if made.closed or callable(given[0]) or np.any(given[0]):
        values |= made.mean_value(given[0])
    n_draws = 1 + len(jumps) + sum(len(code.normal) + len(code.poisson) for code in codes)
    # Every drive draws at counters of its own, whichever others there are.
    if callable(given[1]) or given[1].any() or plan.name(population.name) in noisy:
        made.declare("kick : volt\nnoise : 1\n")
        values["kick"] = _times(given[1], made.step_noise * MV)
        made.draws["noise"] = Draw("normal", n_draws)
        made.terms.append("kick*noise")
    kinds = {model: reached.steps(model, dt) for model in reached.kinds}
    arriving: dict[str, list[str]] = {}
    for k, train in enumerate(jumps):
        model = _model_of(train)
        own = kinds.get(model) or reached.steps(model, dt)
        made.declare(f"jump{k} : {own.unit} (constant)\nquiet{k} : 1\narrivals{k} : 1\n")
        values[f"jump{k}"] = model.spike(train.weight)
        values[f"quiet{k}"] = quiet_probability(train.rate, dt)
        made.draws[f"arrivals{k}"] = Draw("poisson", n_draws, k + 1, f"quiet{k}")
        if model in kinds:
            arriving.setdefault(own.adds_to, []).append(f"jump{k}*arrivals{k}")
        else:
            made.terms.append(f"jump{k}*arrivals{k}")
    made.add_code(codes, values, n_draws, 1 + len(jumps), dt)
    for k, model in enumerate(mode_inputs):
        own = kinds.get(model) or reached.steps(model, dt)
        made.declare(f"mode_input{k} : {own.unit}\n")
        if model in kinds:
            arriving.setdefault(own.adds_to, []).append(f"mode_input{k}")
        else:
            made.terms.append(f"mode_input{k}")
    if loadings is not None:
        made.declare("shared_noise : volt\n")
        made.terms.append("shared_noise")
    for own in kinds.values():
        made.declare(own.declarations)
        values |= own.values
        made.start |= own.start
        if own.term:
            made.terms.append(own.term)
        made.updates += [
            f"{name} = {' + '.join([update, *arriving.get(name, [])])}" for name, update in own.updates.items()
        ]
    group = made.add_to(plan, population)
    for name, value in values.items():
        if callable(value):
            group.courses[name] = value
        else:
            group.load(name, value)
    if loadings is not None:
        step_noise = np.broadcast_to(made.step_noise, population.size)
        _share_noise(plan, population, group, loadings * step_noise[:, None] * MV)
    return group


class _Parts:
    """Parts of a group of neurons while they are collected."""

    def __init__(self, dynamics: NeuronDynamics, mean_factor: Array, step_noise: Array) -> None:
        self.dynamics, self.mean_factor, self.step_noise = dynamics, mean_factor, step_noise
        self.closed = bool(dynamics.update)
        self.variable = next(iter(dynamics.receives))
        self.equations = dynamics.equations
        self.terms: list[str] = [dynamics.update] if self.closed else []
        self.updates: list[str] = []
        self.draws: dict[str, Draw] = {}
        self.start: dict[str, Any] = dict(dynamics.start)

    def declare(self, text: str) -> None:
        """Add declarations of variables."""
        self.equations = f"{self.equations.rstrip()}\n{text}" if text else self.equations

    def mean_value(self, mean: Array | Course) -> dict[str, Any]:
        """Return the variable that brings the mean current: the resting value, or what is added in a step."""
        if self.closed:
            return {"v_inf": _times(mean, self.mean_factor)}
        self.declare("mean_input : volt\n")
        self.terms.append("mean_input")
        return {"mean_input": _times(mean, self.mean_factor)}

    def add_code(self, codes: Sequence[Any], values: dict[str, Any], every: int, offset: int, dt: float) -> None:
        """Add what drives state in Brian2's language; names of its variables get a number of their own."""
        for number, code in enumerate(codes):
            expression = code.expression
            names = [*code.values, *code.normal, *code.poisson]
            for name in names:
                expression = _renamed(expression, name, f"{name}_{number}")
            for name, value in code.values.items():
                self.declare(f"{name}_{number} : {code.units.get(name, '1')}\n")
                values[f"{name}_{number}"] = (
                    (lambda times, v=value: over_time(v, times))
                    if isinstance(value, TimeCourse)
                    else np.atleast_2d(value)
                )
            for name in code.normal:
                self.declare(f"{name}_{number} : 1\n")
                self.draws[f"{name}_{number}"] = Draw("normal", every, offset)
                offset += 1
            for name, mean in code.poisson.items():
                quiet = f"quiet_{name}_{number}"
                self.declare(f"{name}_{number} : 1\n{quiet} : 1\n")
                values[quiet] = quiet_probability(mean, 1.0)
                self.draws[f"{name}_{number}"] = Draw("poisson", every, offset, quiet)
                offset += 1
            self.terms.append(f"({expression})")

    def add_to(self, plan: Plan, population: Population) -> PlannedGroup:
        """Add the group to a plan."""
        dynamics = self.dynamics
        options: dict[str, Any] = {"method": dynamics.method}
        if self.closed:
            options = {"update": "\n".join([" + ".join(self.terms), *self.updates])}
        group = plan.add_group(
            population.name,
            population.size,
            self.equations,
            **options,
            threshold=dynamics.threshold,
            reset=dynamics.reset,
            refractory=dynamics.refractory,
            spikes_when="thresholds" if dynamics.order == "synapses_first" else "before_synapses",
            start=self.start,
            draws=self.draws,
            draws_random=bool(self.draws),
            n_variables=self.equations.count(":") + 5,  # and Brian2's own
        )
        if not self.closed and (self.terms or self.updates):
            added = [f"{self.variable} += {' + '.join(self.terms)}"] if self.terms else []
            group.steps.append(Step("\n".join([*added, *self.updates]), "synapses"))
        return group


def _renamed(text: str, name: str, new: str) -> str:
    """Return an expression with a variable renamed."""
    tree = ast.parse(text.strip(), mode="eval")
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id == name:
            node.id = new
    return ast.unparse(tree)


def _noise_of_step(dynamics: NeuronDynamics, dt: float) -> tuple[Array, Array]:
    """Return what a unit mean current and unit white noise give in a step, mV per mV/ms and mV per mV/√ms."""
    if not dynamics.update:
        return np.asarray(dt * MV), np.asarray(np.sqrt(dt))
    tau_m = np.asarray(dynamics.tau_m)
    return tau_m * MV, np.sqrt(tau_m * -np.expm1(-2 * dt / tau_m) / 2)


def _drive_steps(circuit: Circuit, population: Population, dt: float) -> list[InputSteps]:
    """Return what the drives of a population give in a step, in the order of the circuit."""
    return [drive.steps(dt) for drive in circuit.drives if drive.target == population.name]


def _model_of(train: JumpTrain) -> SynapseModel:
    return Exponential(train.tau_syn) if train.tau_syn > 0 else Delta()


def quiet_probability(rate: Any, dt: float) -> Array | Course:
    """Return the probability that Poisson trains bring no spike in a step, (1 or stimulus, 1 or n), or its course."""
    if isinstance(rate, TimeCourse):
        return lambda times: np.exp(-over_time(rate, times) * dt)
    return np.exp(-(highest_value(rate) * dt))


def _times(value: Array | Course, scale: npt.ArrayLike) -> Array | Course:
    """Return a value, or a course of it, in other units."""
    if isinstance(value, np.ndarray):
        return value * np.asarray(scale, dtype=np.float64)
    return lambda times: value(times) * np.asarray(scale, dtype=np.float64)


def _gaussian(steps: Sequence[InputSteps]) -> tuple[tuple[Array | Course, Array | Course], Array | None]:
    """Return mean and std of all drives, (1 or stimulus, 1 or n) or courses of such values, and their loadings.

    The loadings, (1 or stimulus, n, k), are None without shared noise.
    """
    means = [step.mean for step in steps if step.mean is not None]
    stds = [step.std for step in steps if step.std is not None]
    mean = _combined(means, lambda values: sum(values, np.zeros((1, 1))))
    std = _combined(stds, lambda values: np.sqrt(sum((v**2 for v in values), np.zeros((1, 1)))))
    given = [step.loadings for step in steps if step.loadings is not None]
    factors = [factor if factor.ndim == 3 else factor[None] for factor in given]
    if not factors:
        return (mean, std), None
    rows = max(len(factor) for factor in factors)
    together = np.concatenate([np.broadcast_to(f, (rows, *f.shape[1:])) for f in factors], axis=2)
    return (mean, std), together


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
    noise = plan.add_group(f"{population.name}_noise", k, "z : 1\n", draws_random=True, n_variables=7)
    noise.draws["z"] = Draw("normal")
    synapses = plan.add_synapses(
        f"{population.name}_noise_factor",
        noise,
        group,
        *all_to_all(noise, group),
        equations="w : volt (constant)\nshared_noise_post = w*z_pre : volt (summed)",
        carrier="summed",
    )
    synapses.load("w", factor.transpose(0, 2, 1).reshape(rows, n * k))
