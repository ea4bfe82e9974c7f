"""Poisson sources and populations of neurons as groups of a plan."""

from __future__ import annotations

import ast
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial, singledispatch
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mnnbio.circuit import (
    Channels,
    Circuit,
    InputSteps,
    ModeMatrix,
    PoissonSource,
    Population,
    Projection,
    Source,
    SpikeSource,
    highest_value,
)
from mnnbio.neurons import NeuronDynamics, Order
from mnnbio.spikes.brian_texts import Streams, variable_units
from mnnbio.spikes.plan import Draw, Plan, PlannedGroup, Step
from mnnbio.spikes.streams import gap_scale
from mnnbio.spikes.timing import Course, over_time
from mnnbio.synapses import SynapseModel, SynapseSteps, Target
from mnnbio.values import TimeCourse

Array = npt.NDArray[np.float64]

MV = 1e-3  # volt

_SOURCE = """
next_spike : integer
gap_scale : 1 (constant)
"""


@singledispatch
def add_source(source: Source, plan: Plan) -> PlannedGroup:
    """Add a source of spikes; a type of source registers how."""
    raise TypeError(f"sources of the type {type(source).__name__} cannot be simulated")


@add_source.register
def _(source: SpikeSource, plan: Plan) -> PlannedGroup:
    """Add a source whose spikes are given: who fires is set at the start of every step."""
    return plan.add_group(
        source.name,
        source.size,
        "fires : boolean\n",
        threshold="fires",
        spikes_when="start",
        playback=source.steps(plan.dt),
        start={"fires": False},
        n_variables=3,
    )


@add_source.register
def _(source: PoissonSource, plan: Plan) -> PlannedGroup:
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
        Different models of the synapses and drives that bring variables of their own, as they first appear; those that
        no two projections may share stand once for each.
    owners : list
        The projection of each kind that is its own, else None.
    """

    target: Target
    kinds: list[SynapseModel]
    owners: list[Any]

    def number(self, model: SynapseModel, projection: Any = None) -> int | None:
        """Return the number of a kind, None where the synapses bring no variables."""
        if not model.brings_variables:
            return None
        owner = None if model.SHARED else projection
        pairs = enumerate(zip(self.kinds, self.owners, strict=True))
        return next(k for k, (kind, own) in pairs if kind == model and own is owner)

    def steps(self, model: SynapseModel, dt: float, projection: Any = None) -> SynapseSteps:
        """Return what synapses of a model are in a step."""
        number = self.number(model, projection)
        return model.steps(self.target, "" if number is None else str(number), dt)


def receiver(circuit: Circuit, population: Population, dt: float) -> Receiver:
    """Return how synapses reach the neurons of a population.

    Raises
    ------
    TypeError
        If the neurons cannot have such synapses.
    """
    dynamics = population.neuron.dynamics(dt)
    models: list[tuple[SynapseModel, Any]] = [
        (p.synapse_model, None if p.synapse_model.SHARED else p)
        for p in circuit.projections
        if p.target == population.name and not filtered_in_modes(p)
    ]
    trains = [train for steps in _drive_steps(circuit, population, dt) for train in steps.jumps]
    models += [(train.synapse_model, None) for train in trains]
    pairs = list(dict.fromkeys(pair for pair in models if pair[0].brings_variables))
    target = Target(
        type(population.neuron).__name__,
        dynamics.receives,
        dynamics.tau_m,
        dynamics.current_unit,
        dynamics.capacitance,
        dynamics.method,
    )
    return Receiver(target, [model for model, _ in pairs], [owner for _, owner in pairs])


def filtered_in_modes(projection: Projection) -> bool:
    """Return whether a filter of each mode stands for the synapses of a projection."""
    return isinstance(projection.weights, ModeMatrix) and projection.synapse_model.FILTERED_IN_MODES


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

    Others are integrated by Brian2, the currents of synapses and the mean of drives with them. White noise,
    ``std · √dt · noise``, is added after the state update; jumps of drives with the spikes that arrive in the step.

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
    made = _Parts(dynamics, dt)
    made.values |= dynamics.values
    if made.closed or callable(given[0]) or np.any(given[0]):
        made.add_mean(given[0])
    for own in (step.current for step in steps if step.current is not None):
        made.add_current(own)
    own_draws = Streams(made.equations, dynamics.threshold, dynamics.reset)
    n_draws = 1 + len(jumps) + sum(len(code.normal) + len(code.poisson) for code in codes) + own_draws.number
    # Every drive draws at counters of its own, whichever others there are.
    if callable(given[1]) or given[1].any() or plan.name(population.name) in noisy:
        made.declare("kick : volt\nnoise : 1\n")
        made.values["kick"] = _times(given[1], made.step_noise * MV)
        made.draws["noise"] = Draw("normal", n_draws)
        made.add_noise("kick*noise")
    kinds = [model.steps(reached.target, str(k), dt) for k, model in enumerate(reached.kinds)]
    arriving: dict[str, list[str]] = {}
    for k, train in enumerate(jumps):
        model = train.synapse_model
        number = reached.number(model)
        own = model.steps(reached.target, "", dt) if number is None else kinds[number]
        if not own.adds_to:
            raise TypeError(
                f"a Poisson drive of {population.name!r} needs synapses that add to a variable, got {model!r}"
            )
        made.declare(f"jump{k} : {own.unit} (constant)\nquiet{k} : 1\narrivals{k} : 1\n")
        made.values[f"jump{k}"] = model.spike(train.weight)
        made.values[f"quiet{k}"] = quiet_probability(train.rate, dt)
        made.draws[f"arrivals{k}"] = Draw("poisson", n_draws, k + 1, f"quiet{k}")
        if own.adds_to in own.updates:
            arriving.setdefault(own.adds_to, []).append(f"jump{k}*arrivals{k}")
        else:
            made.add_jumps(own.adds_to, f"jump{k}*arrivals{k}")
    made.add_code(codes, n_draws, 1 + len(jumps), dt)
    for k, model in enumerate(mode_inputs):
        if model.FILTERED_IN_MODES:
            mode = model.mode_steps(reached.target, dt)
            made.declare(f"mode_input{k} : {mode.unit}\n")
            made.add_jumps(mode.adds_to, f"mode_input{k}")
            continue
        number = reached.number(model)
        own = model.steps(reached.target, "", dt) if number is None else kinds[number]
        made.declare(f"mode_input{k} : {own.unit}\n")
        if own.adds_to in own.updates:
            arriving.setdefault(own.adds_to, []).append(f"mode_input{k}")
        else:
            made.add_jumps(own.adds_to, f"mode_input{k}")
    channels = [own for step in steps for own in step.channels]
    for k, own in enumerate(channels):
        made.add_channels(own, k)
    if loadings is not None:
        made.declare("shared_noise : volt\n")
        made.add_noise("shared_noise")
    for own in kinds:
        made.add_kind(own, arriving)
    for name, value in _target_variables(circuit, population).items():
        made.declare(f"{name} : 1\n")
        made.values[name] = value
    group = made.add_to(plan, population, own_draws, n_draws)
    for name, value in made.values.items():
        if isinstance(value, TimeCourse):
            group.courses[name] = partial(over_time, value)
        elif callable(value):
            group.courses[name] = value
        else:
            group.load(name, value)
    if loadings is not None:
        step_noise = np.broadcast_to(made.step_noise, population.size)
        _share_noise(plan, population, group, loadings * step_noise[:, None] * MV)
    for k, own in enumerate(channels):
        _add_channels(plan, population, group, own, k)
    return group


def _target_variables(circuit: Circuit, population: Population) -> dict[str, Any]:
    """Return the variables that rules of plasticity need in the neurons.

    Raises
    ------
    ValueError
        If two rules want different values of one.
    """
    found: dict[str, Any] = {}
    for projection in circuit.projections:
        if projection.target != population.name:
            continue
        for rule in projection.plasticity or ():
            for name, value in rule.code("1", float).target.items():
                if name in found and found[name] is not value and not np.array_equal(found[name], value):
                    raise ValueError(
                        f"rules of plasticity want different values of {name!r} in {population.name!r}: give all "
                        "projections to it one"
                    )
                found[name] = value
    return found


class _Parts:
    """Parts of a group of neurons while they are collected."""

    def __init__(self, dynamics: NeuronDynamics, dt: float) -> None:
        self.dynamics = dynamics
        self.closed = bool(dynamics.update)
        self.variable = next(iter(dynamics.receives))
        self.equations = dynamics.equations
        self.mean_factor, self.step_noise = _noise_of_step(dynamics, dt)
        self.values: dict[str, Any] = {}
        self.terms: list[str] = []  # added to the closed form, or to v after its state update
        self.currents: list[str] = []  # of the neurons' current, in its unit
        self.jumps: dict[str, list[str]] = {}  # added to variables with the spikes of the step
        self.updates: list[str] = []
        self.draws: dict[str, Draw] = {}
        self.start: dict[str, Any] = dict(dynamics.start)
        self.brought: dict[str, str] = {}  # variables of synapses, with their units
        self.shared: list[str] = []
        for name, unit in dynamics.units.items():
            self.declare_value(name, unit, dynamics.values[name])

    def declare(self, text: str) -> None:
        """Add declarations of variables."""
        self.equations = f"{self.equations.rstrip()}\n{text}" if text else self.equations

    def declare_value(self, name: str, unit: str, value: Any) -> None:
        """Declare a parameter: one for all, one per neuron, or one that changes in time."""
        flags = " (constant)"
        if isinstance(value, TimeCourse) or callable(value):
            flags = ""
        elif np.size(value) == 1:
            flags = " (shared, constant)"
            self.shared.append(name)
        self.declare(f"{name} : {unit}{flags}\n")

    def _require_input(self, what: str) -> None:
        if self.closed and self.dynamics.tau_m is None:
            raise TypeError(
                f"{what} adds to the membrane potential, whose step is a map here: give a source or a PoissonDrive "
                "with synapses into a variable of the neurons"
            )

    def add_mean(self, mean: Array | Course) -> None:
        """Add a mean current, V/s: as the resting value, in the equations, or as what is added in a step."""
        if self.closed and self.dynamics.tau_m is not None:
            self.values["v_inf"] = _times(mean, self.mean_factor)
            return
        if self.closed and not callable(mean) and not np.any(mean):
            return
        self._require_input("a mean current")
        if self.dynamics.current:
            self.declare("mean_input : volt/second\n")
            self.currents.append(self._in_current("mean_input", "volt/second"))
            self.values["mean_input"] = _times(mean, 1.0)
            return
        self.declare("mean_input : volt\n")
        self.terms.append("mean_input")
        self.values["mean_input"] = _times(mean, self.mean_factor)

    def add_current(self, current: Any) -> None:
        """Add a current in pA."""
        if not self.dynamics.capacitance:
            raise TypeError(
                "a CurrentDrive is in pA and needs neurons with a capacitance, such as AdEx; for others give a "
                "GaussianDrive with a mean in mV/ms"
            )
        number = len([name for name in self.values if name.startswith("drive_current")])
        self.declare(f"drive_current{number} : amp\n")
        self.currents.append(f"drive_current{number}")
        self.values[f"drive_current{number}"] = (
            (lambda times: over_time(current, times) * 1e-12)
            if isinstance(current, TimeCourse)
            else np.atleast_2d(current) * 1e-12
        )

    def _in_current(self, expression: str, unit: str) -> str:
        return expression if unit == self.dynamics.current_unit else f"{self.dynamics.capacitance}*{expression}"

    def add_noise(self, term: str) -> None:
        """Add volts after the state update of every step."""
        self._require_input("noise")
        self.terms.append(term)

    def add_jumps(self, variable: str, term: str) -> None:
        """Add jumps to a variable, with the spikes of the step."""
        if self.closed and variable == self.variable and self.dynamics.tau_m is not None:
            self.terms.append(term)
        else:
            self.jumps.setdefault(variable, []).append(term)

    def add_channels(self, channels: Channels, number: int) -> None:
        """Add a variable for the sum over channels, and what it adds to in every step."""
        unit = self.dynamics.receives.get(channels.variable)
        if unit != "volt":
            known = ", ".join(name for name, own in self.dynamics.receives.items() if own == "volt")
            raise ValueError(
                f"inputs through weights add to a variable in mV, `{channels.variable}`, which the neurons lack: they "
                f"receive {known or 'nothing in mV'}"
            )
        self.declare(f"channel_input{number} : volt\n")
        self.add_jumps(channels.variable, f"channel_input{number}")

    def add_kind(self, own: SynapseSteps, arriving: Mapping[str, Sequence[str]]) -> None:
        """Add the variables of synapses of a kind."""
        self.declare(own.declarations)
        if own.equations and self.closed:
            raise TypeError(
                f"synapses with equations of their own need neurons that Brian2 integrates, and the step of "
                f"{self.variable} is a closed form here: choose others, such as ConductanceLIF"
            )
        self.declare(own.equations)
        for name, unit in own.units.items():
            self.declare_value(name, unit, own.values[name])
        self.values |= own.values
        self.start |= own.start
        self.brought |= dict.fromkeys(own.start, own.unit)
        if own.current:
            self.currents.append(own.current)
        if own.term:
            self.terms.append(own.term)
        for variable, what in own.every_step.items():
            self.add_jumps(variable, what)
        self.updates += [
            f"{name} = {' + '.join([update, *arriving.get(name, [])])}" for name, update in own.updates.items()
        ]

    def add_code(self, codes: Sequence[Any], every: int, offset: int, dt: float) -> None:
        """Add what drives state in Brian2's language; names of its variables get a number of their own."""
        for number, code in enumerate(codes):
            expression = code.expression
            names = [*code.values, *code.normal, *code.poisson]
            for name in names:
                expression = _renamed(expression, name, f"{name}_{number}")
            for name, value in code.values.items():
                self.declare(f"{name}_{number} : {code.units.get(name, '1')}\n")
                self.values[f"{name}_{number}"] = (
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
                self.values[quiet] = quiet_probability(mean, 1.0)
                self.draws[f"{name}_{number}"] = Draw("poisson", every, offset, quiet)
                offset += 1
            self.add_noise(f"({expression})")

    def add_to(self, plan: Plan, population: Population, own_draws: Streams, n_draws: int) -> PlannedGroup:
        """Add the group to a plan."""
        dynamics = self.dynamics
        equations, threshold, reset = self.equations, dynamics.threshold, dynamics.reset
        if own_draws:
            texts = own_draws.rewritten(equations, threshold, reset, every=n_draws)
            equations, threshold, reset = texts
            for k, name in enumerate(own_draws.noises):
                equations += f"noise_{name} : 1\n"
                self.draws[f"noise_{name}"] = Draw("normal", n_draws, n_draws - own_draws.number + k)
        if dynamics.current:
            total = " + ".join(self.currents) or f"0*{dynamics.current_unit}"
            equations = f"{equations.rstrip()}\n{dynamics.current} = {total} : {dynamics.current_unit}\n"
        options: dict[str, Any] = {"method": dynamics.method}
        if self.closed:
            first, *rest = dynamics.update.splitlines()
            options = {"update": "\n".join([" + ".join([first, *self.terms]), *rest, *self.updates])}
        if self.closed and dynamics.tau_m is not None:  # known without Brian2, which takes long to import
            options["states"] = {**dynamics.receives, **self.brought}
        else:
            options["states"] = variable_units(equations, [*self.start])
        start = dict(self.start)
        if dynamics.refractory and not self.closed:
            start |= {"not_refractory": True, "lastspike": -1e4}
        when, state_when = _SLOTS[dynamics.order]
        group = plan.add_group(
            population.name,
            population.size,
            equations,
            **options,
            threshold=threshold,
            reset=reset,
            refractory=dynamics.refractory,
            spikes_when=when,
            state_when=state_when,
            shared=tuple(self.shared),
            noises=tuple(own_draws.noises),
            may_diverge=not self.closed,
            draws=self.draws,
            draws_random=bool(self.draws) or own_draws.number > 0,
            n_variables=self.equations.count(":") + 5,  # and Brian2's own
        )
        for name, value in start.items():
            group.start_from(name, value)
        if not self.closed:
            added = [f"{self.variable} += {' + '.join(self.terms)}"] if self.terms else []
            if added or self.updates:
                group.steps.append(Step("\n".join([*added, *self.updates]), "after_groups"))
        if self.jumps:
            code = "\n".join(f"{name} += {' + '.join(terms)}" for name, terms in self.jumps.items())
            group.steps.append(Step(code, "synapses"))
        return group


# When the threshold is tested and the state updated, by order within a step.
_SLOTS: dict[Order, tuple[str, str]] = {
    "synapses_first": ("thresholds", "groups"),
    "threshold_first": ("before_synapses", "groups"),
    "state_last": ("before_groups", "groups"),
    "input_first": ("thresholds", "after_synapses"),
}


def _renamed(text: str, name: str, new: str) -> str:
    """Return an expression with a variable renamed."""
    tree = ast.parse(text.strip(), mode="eval")
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id == name:
            node.id = new
    return ast.unparse(tree)


def _noise_of_step(dynamics: NeuronDynamics, dt: float) -> tuple[Array, Array]:
    """Return what a unit mean current and unit white noise give in a step, mV per mV/ms and mV per mV/√ms."""
    if not dynamics.update or dynamics.tau_m is None:
        return np.asarray(dt * MV), np.asarray(np.sqrt(dt))
    tau_m = np.asarray(dynamics.tau_m)
    return tau_m * MV, np.sqrt(tau_m * -np.expm1(-2 * dt / tau_m) / 2)


def _drive_steps(circuit: Circuit, population: Population, dt: float) -> list[InputSteps]:
    """Return what the drives of a population give in a step, in the order of the circuit."""
    return [drive.steps(dt) for drive in circuit.drives if drive.target == population.name]


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
    noise = plan.add_group(f"{population.name}_noise", factor.shape[2], "z : 1\n", draws_random=True, n_variables=7)
    noise.draws["z"] = Draw("normal")
    weights = factor.transpose(0, 2, 1)
    name = f"{population.name}_noise_factor"
    plan.add_product(name, noise, group, weights, reads="z", adds_to="shared_noise", unit="volt")


def _add_channels(plan: Plan, population: Population, group: PlannedGroup, channels: Channels, number: int) -> None:
    """Add a group whose elements hold the inputs, which the neurons sum up through weights in every step."""
    n_source = channels.weights.shape[1]
    inputs = plan.add_group(f"{population.name}_channels", n_source, "x : 1\n", n_variables=4)
    if isinstance(channels.inputs, TimeCourse):
        inputs.courses["x"] = partial(over_time, channels.inputs)
    else:
        inputs.load("x", channels.inputs)
    name = f"{population.name}_channel_weights"
    weights = channels.weights.T * MV
    plan.add_product(name, inputs, group, weights, reads="x", adds_to=f"channel_input{number}", unit="volt")
