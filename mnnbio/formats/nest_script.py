"""A circuit as a script for NEST."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np

from mnnbio.circuit import (
    AllToAll,
    Bernoulli,
    Circuit,
    FixedIndegree,
    FixedOutdegree,
    FixedTotalNumber,
    OneToOne,
    PoissonSource,
    Population,
    Projection,
    Source,
    SpikeSource,
    check_time_step,
    require_circuit,
    time_step,
)
from mnnbio.formats.point_models import CAPACITANCE, PointModel, point_model, realised_synapses
from mnnbio.formats.script_text import UNPACK, ScriptNames, array_code, import_or_say, number_code, shortest
from mnnbio.machine import check_choice, require_integer
from mnnbio.synapses import Conductance
from mnnbio.units import count_steps, in_unit
from mnnbio.values import Distribution, Normal, TimeCourse, Uniform

_WHERE = "to_nest_script"
_MOST_SYNAPSES = 20_000_000  # that stand in a script
_CONNECT = '''
def connect(pre, post, i, j, **values):
    """Make a synapse for each pair of numbers, i of `pre` and j of `post`, with its values."""
    count = len(i)
    spec = {name: np.broadcast_to(value, count) for name, value in values.items()}
    nest.Connect(np.array(pre.tolist())[i], np.array(post.tolist())[j], "one_to_one", spec)
'''
_RESERVED = {
    "np",
    "nest",
    "base64",
    "zlib",
    "unpack",
    "connect",
    "populations",
    "recorders",
    "name",
    "population",
    "rate",
}

SynapsesAs = Literal["realised", "rules"]


def to_nest_script(
    circuit: Circuit,
    dt: Any = 0.1,
    duration: Any = 1000.0,
    seed: int = 1,
    *,
    warmup: Any = 0.0,
    stimulus: int = 0,
    synapses: SynapsesAs = "realised",
) -> str:
    """Return a circuit as a self-contained NEST script, which records the spikes of all populations.

    Neurons, refractoriness, delays and the order within a step are those of `simulate`: deterministic circuits of leaky
    integrate-and-fire neurons give its spikes one by one, with NEST's time stamps half a step after ours, at the end of
    the step. Gaussian noise has the same distribution in every step. Random numbers are NEST's own, and a Poisson
    source may fire several times a step there; here it fires at most once. Exponential neurons and conductances are
    integrated by NEST's adaptive method, not by that of `simulate`.

    Parameters
    ----------
    circuit : Circuit
        Of `LIFParameters`, `ConductanceLIF`, `EIF` or `AdEx`, with delta, exponential, alpha or conductance synapses.
    dt, duration : float or Quantity
        Time step, and how long spikes are recorded, ms.
    seed : int
        Of NEST's random numbers, ≥ 1.
    warmup : float or Quantity
        Time simulated before, ms.
    stimulus : int
        Which stimulus drives the network.
    synapses : {"realised", "rules"}
        Whether the synapses of this circuit stand in the script, or its rules, by which NEST draws others, which needs
        no room in the script and lets NEST share them among machines. Explicit weights stand in the script in any case.

    Raises
    ------
    TypeError, ValueError
        If something has no counterpart in NEST, which is named, `dt` does not fit, or there is no such stimulus.

    Notes
    -----
    Currents change, and rates that change in time begin, in the third step at the earliest, for NEST's generators give
    nothing before. The membrane of its ``iaf`` models is that of S. Rotter, M. Diesmann (1999), Biological Cybernetics
    81, 381-402.
    """
    require_circuit(circuit)
    check_choice("synapses", synapses, ["realised", "rules"])
    require_integer("seed", seed, 1)
    step = time_step(dt)
    circuit = one_stimulus(circuit, stimulus)
    check_time_step(circuit, step)
    times = {"duration": duration, "warmup": warmup}
    lengths = {name: float(in_unit(value, "ms", name)) for name, value in times.items()}
    for name, value in lengths.items():
        count_steps(value, step, name)
    return _Script(circuit, step, lengths["duration"], lengths["warmup"], synapses).text(seed)


def one_stimulus(circuit: Circuit, stimulus: int) -> Circuit:
    """Return a circuit with one of its stimuli.

    Raises
    ------
    ValueError
        If there is none of that number.
    """
    require_integer("stimulus", stimulus, 0, (circuit.n_stimuli or 1) - 1)
    return circuit if circuit.n_stimuli is None else circuit.select(stimulus)


def source_steps(source: SpikeSource, dt: float, warmup: float, late: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return time stamps, in steps, and elements of a source's spikes on another simulator's clock.

    A spike of ours in step k arrives in step k + delay; a generator's spike of stamp s arrives in the step that ends at
    s + delay, at least one step later: the stamp is that of the end of the step, or, where a delay is 0, its start.

    Raises
    ------
    ValueError
        If a spike would have the stamp 0, which generators cannot give.
    """
    steps, elements = source.steps(dt)[0]
    steps = steps + round(warmup / dt)
    stamps = (steps + (1 if late else 0))[steps >= 0]
    if (stamps < 1).any():
        raise ValueError(
            f"{source.name!r} fires in the first step of the simulation with a delay of 0, which generators cannot: "
            f"give a `warmup` or a delay of {dt:g} ms"
        )
    return stamps, elements[steps >= 0]


class _Script(ScriptNames):
    """A script while it is written."""

    def __init__(self, circuit: Circuit, dt: float, duration: float, warmup: float, synapses: SynapsesAs) -> None:
        self.circuit, self.dt, self.duration, self.warmup, self.synapses = circuit, dt, duration, warmup, synapses
        super().__init__([part.name for part in circuit.populations], _RESERVED)
        self.models = {p.name: point_model(circuit, p, dt, _WHERE) for p in circuit.neurons}

    def text(self, seed: int) -> str:
        """Return the script."""
        parts = ["# Neurons, in mV, ms, pF, nS and pA"]
        if any(np.all(model.values["C"] == CAPACITANCE) for model in self.models.values()):
            parts[0] += ". A capacitance of 1 pF stands for none: currents in pA are mV/ms"
        parts += ["\n".join(self.neurons(p)) for p in self.circuit.neurons]
        if self.circuit.sources:
            parts += ["# Sources", *("\n".join(self.source(source)) for source in self.circuit.sources)]
        inputs = [text for p in self.circuit.neurons if (text := "\n".join(self.inputs(p)))]
        parts += ["# Input from outside", *inputs] if inputs else []
        if self.circuit.projections:
            parts += ["# Synapses", *("\n".join(self.projection(own)) for own in self.circuit.projections)]
        parts += ["# Spikes", self.run()]
        body = "\n\n".join(parts)
        helpers = [code for code in (UNPACK, _CONNECT) if f"{code.split('(')[0].split()[-1]}(" in body]
        imports = ["import base64", "import zlib", ""] if UNPACK in helpers else []
        head = [
            f'"""A network of {len(self.circuit.neurons)} population(s) in NEST 3."""',
            "",
            *imports,
            "import numpy as np",
            "",
            *import_or_say("import nest", "NEST: pip install nest-simulator"),
            *(f"\n{code.rstrip()}\n" for code in helpers),
            "",
            "nest.ResetKernel()",
            f"nest.resolution = {self.dt!r}",
            f"nest.rng_seed = {seed}",
            "# nest.local_num_threads = 4",
        ]
        return "\n".join(head) + "\n\n" + body + "\n"

    def neurons(self, population: Population) -> Iterator[str]:
        """Yield the lines that make a population."""
        own, model = self.names[population.name], self.models[population.name]
        template, values = _template(population.name, model)
        current = model.current + sum(self.first(course) * factor for course, factor in model.courses)
        if np.any(current):
            values["I_e"] = current
        shared = {name: value for name, value in values.items() if not isinstance(value, np.ndarray)}
        if any(isinstance(value, list) for value in shared.values()):  # `Create` would give each neuron one number
            name = self.variable(f"{own}_model")
            yield f'nest.CopyModel("{template}", "{name}", {{'
            yield from (f'    "{key}": {value!r},' for key, value in shared.items())
            yield "})"
            yield f'{own} = nest.Create("{name}", {population.size})'
        else:
            yield f'{own} = nest.Create("{template}", {population.size}, {{'
            yield from (f'    "{name}": {value!r},' for name, value in shared.items())
            yield "})"
        for name, value in values.items():
            if isinstance(value, np.ndarray):
                yield f"{own}.{name} = {array_code(value)}"

    def source(self, source: Source) -> Iterator[str]:
        """Yield the lines that make a source."""
        own = self.names[source.name]
        if isinstance(source, PoissonSource):
            generator = self.variable(f"{own}_generator")
            yield "# A generator fires differently onto each target; what a parrot repeats is one train for all."
            rates = source.rates if isinstance(source.rates, TimeCourse) else source.rates * 1e3
            yield from self.rates(generator, source.size, rates)
            yield f'{own} = nest.Create("parrot_neuron", {source.size})'
            yield f'nest.Connect({generator}, {own}, "one_to_one", {{"delay": {self.dt!r}}})'
            return
        if not isinstance(source, SpikeSource):
            raise TypeError(
                f"the source {source.name!r} is a {type(source).__name__}, which NEST has no counterpart of"
            )
        stamps, elements = source_steps(source, self.dt, self.warmup, self.late(source))
        order = np.lexsort((stamps, elements))
        counts = np.bincount(elements, minlength=source.size)
        times = self.variable(f"{own}_times")
        yield f'{own} = nest.Create("spike_generator", {source.size})'
        yield f"{times} = np.round({array_code(shortest(stamps[order]))} * {self.dt!r}, 6)"
        yield f"for node, train in zip({own}, np.split({times}, {array_code(shortest(np.cumsum(counts)[:-1]))})):"
        yield "    node.spike_times = train"

    def late(self, source: Source) -> bool:
        """Return whether all delays of a source are at least a step."""
        delays = [self.circuit.delays(p) for p in self.circuit.projections if p.source == source.name]
        return all(np.min(delay, initial=np.inf) >= self.dt / 2 for delay in map(np.asarray, delays))

    def inputs(self, population: Population) -> Iterator[str]:
        """Yield the lines that make noise and Poisson input."""
        own, model = self.names[population.name], self.models[population.name]
        if np.any(model.noise):
            name, count = self.variable(f"{own}_noise"), np.size(model.noise)
            yield f'{name} = nest.Create("noise_generator", {count}, {{"dt": {self.dt!r}}})'
            yield f"{name}.std = {array_code(np.asarray(model.noise), shared=True)}"
            rule = '"all_to_all"' if count == 1 else '"one_to_one"'
            yield f'nest.Connect({name}, {own}, {rule}, {{"delay": {self.dt!r}}})'
        for course, factor in model.courses:
            yield from self.current(own, course, factor)
        for train in model.poisson:
            name = self.variable(f"{own}_poisson")
            count = int(np.prod(np.shape(train.rate)))
            yield from self.rates(name, count, train.rate)
            rule = '"all_to_all"' if count == 1 else '"one_to_one"'
            weight = _signed(population.name, model, train.receptor, train.weight)
            spec = f'"weight": {number_code(weight)}, "delay": {self.dt!r}{_receptor(model, train.receptor)}'
            yield f"nest.Connect({name}, {own}, {rule}, {{{spec}}})"

    def rates(self, name: str, count: int, rate: Any) -> Iterator[str]:
        """Yield the lines that make Poisson generators: rates in Hz, or a course in spikes/ms."""
        if not isinstance(rate, TimeCourse):
            yield f'{name} = nest.Create("poisson_generator", {count})'
            yield f"{name}.rate = {array_code(np.asarray(rate), shared=True)}"
            return
        steps, values = self.changes(rate)
        yield f'{name} = nest.Create("inhomogeneous_poisson_generator", {count})'
        yield from self.each(name, "rate_times", "rate_values", steps, 1e3 * values)

    def current(self, own: str, course: TimeCourse, factor: Any) -> Iterator[str]:
        """Yield the lines that make a current that changes in time, pA: what is more than its first value, in I_e."""
        steps, values = self.changes(course)
        values = (values - self.first(course)) * factor
        count = values.shape[1] if values.ndim > 1 else 1
        name = self.variable(f"{own}_current")
        yield f'{name} = nest.Create("step_current_generator", {count})'
        yield from self.each(name, "amplitude_times", "amplitude_values", steps, values)
        rule = '"all_to_all"' if count == 1 else '"one_to_one"'
        yield f'nest.Connect({name}, {own}, {rule}, {{"delay": {self.dt!r}}})'

    def first(self, course: TimeCourse) -> np.ndarray:
        """Return the value of a course in the first step."""
        return np.asarray(course.at([0.5 * self.dt - self.warmup])[0])

    def changes(self, course: TimeCourse) -> tuple[np.ndarray, np.ndarray]:
        """Return the steps in which a course changes for a generator, and its values from then on.

        What generators give arrives a step later, so that they are a step early; NEST knows none before step 1.
        """
        number = round((self.warmup + self.duration) / self.dt)
        values = course.at((np.arange(number) + 0.5) * self.dt - self.warmup)
        rows = values.reshape(number, -1)
        new = np.concatenate([[True], (rows[1:] != rows[:-1]).any(axis=1)])
        steps = np.maximum(np.flatnonzero(new) - 1, 1)
        last = np.concatenate([steps[1:] != steps[:-1], [True]])  # of those that NEST cannot tell apart at the start
        return steps[last], values[new][last]

    def each(self, name: str, times: str, heights: str, steps: np.ndarray, values: np.ndarray) -> Iterator[str]:
        """Yield the lines that give each generator its values."""
        at = self.variable(f"{name}_times")
        table = values.reshape(len(steps), -1)
        yield f"{at} = np.round({array_code(shortest(steps))} * {self.dt!r}, 6)"
        if table.shape[1] == 1:
            yield f"for node in {name}:"
            yield f"    node.set({times}={at}, {heights}={array_code(table[:, 0])})"
            return
        yield f"for node, own in zip({name}, {array_code(np.ascontiguousarray(table.T))}):"
        yield f"    node.set({times}={at}, {heights}=own)"

    def projection(self, projection: Projection) -> Iterator[str]:
        """Yield the lines that make synapses."""
        pre, post = self.names[projection.source], self.names[projection.target]
        model = self.models[projection.target]
        number = model.receptor(projection.synapse_model)
        receptor = _receptor(model, number)
        if self.synapses == "rules" and projection.connectivity is not None:
            weight = projection.weight * (_sign(projection.target, model, number) * model.factor(number))
            delay = projection.delay
            if isinstance(delay, float):
                delay = max(round(delay / self.dt), 1) * self.dt
            spec = f'"weight": {_random(weight, projection)}, "delay": {_random(delay, projection)}{receptor}'
            yield f"nest.Connect({pre}, {post}, {{{self.rule(projection)}}}, {{{spec}}})"
            return
        if self.circuit.n_synapses(projection) > _MOST_SYNAPSES:
            raise ValueError(
                f"{projection} has {self.circuit.n_synapses(projection):.2g} synapses, too many to stand in a script: "
                "write `synapses='rules'`, by which NEST draws them"
            )
        made = realised_synapses(self.circuit, projection, model.factor(number), self.dt)
        if not len(made.sources):
            return
        weights = _signed(projection.target, model, number, made.weights)
        yield "connect("
        yield f"    {pre},"
        yield f"    {post},"
        yield f"    {array_code(shortest(made.sources))},"
        yield f"    {array_code(shortest(made.targets))},"
        yield f"    weight={array_code(np.atleast_1d(weights), shared=True)},"
        yield f"    delay={array_code(np.round(np.atleast_1d(made.delays), 6), shared=True)},"
        if receptor:
            yield f"    receptor_type={number + 1},"
        yield ")"

    def rule(self, projection: Projection) -> str:
        """Return the rule of NEST for a connectivity, as entries of a dictionary."""
        own, rule = projection.connectivity, ""
        if type(own) is AllToAll:
            rule = '"rule": "all_to_all"'
        elif type(own) is OneToOne:
            return '"rule": "one_to_one"'
        elif type(own) is Bernoulli:
            rule = f'"rule": "pairwise_bernoulli", "p": {own.p!r}'
        elif isinstance(own, FixedIndegree | FixedOutdegree) and float(own.n).is_integer():
            degree = "indegree" if isinstance(own, FixedIndegree) else "outdegree"
            rule = f'"rule": "fixed_{degree}", "{degree}": {int(own.n)}, "allow_multapses": {own.multapses}'
        elif type(own) is FixedTotalNumber:
            rule = f'"rule": "fixed_total_number", "N": {own.n}, "allow_multapses": {own.multapses}'
        else:
            raise TypeError(
                f"{projection} has the connectivity {own!r}, for which NEST has no rule: write `synapses='realised'`"
            )
        within = projection.source == projection.target
        return f'{rule}, "allow_autapses": {projection.autapses}' if within else rule

    def run(self) -> str:
        """Return the lines that record, run and print rates."""
        listed = ", ".join(f'"{p.name}": {self.names[p.name]}' for p in self.circuit.neurons)
        return "\n".join(
            [
                f"populations = {{{listed}}}",
                "recorders = {}",
                "for name, population in populations.items():",
                f'    recorders[name] = nest.Create("spike_recorder", params={{"start": {self.warmup!r}}})',
                "    nest.Connect(population, recorders[name])",
                f"nest.Simulate({self.warmup + self.duration!r})",
                "for name, population in populations.items():",
                f"    rate = recorders[name].n_events / len(population) / {self.duration * 1e-3!r}",
                '    print(f"{name}: {rate:.6g} Hz")',
            ]
        )


def _template(name: str, model: PointModel) -> tuple[str, dict[str, Any]]:
    """Return NEST's model and its parameters."""
    own, synapses = model.values, model.synapses
    values = {"C_m": own["C"], "E_L": own["E_L"], "V_reset": own["v_reset"], "t_ref": own["t_ref"], "V_m": own["v"]}
    several = len(synapses) > 1
    if model.family == "LIF":
        values["V_th"] = own["v_th"]
        if model.kind == "conductance":
            values["g_L"] = own["g_L"]
        else:
            values["tau_m"] = own["tau_m"]
        if model.kind in ("exponential", "alpha"):
            times = [float(one.tau_syn if model.kind == "exponential" else one.tau_decay) for one in synapses]  # type: ignore[attr-defined]
            short = "exp" if model.kind == "exponential" else "alpha"
            if several:
                return f"iaf_psc_{short}_multisynapse", values | {"tau_syn": times}
            return f"iaf_psc_{short}", values | {"tau_syn_ex": times[0], "tau_syn_in": times[0]}
        if model.kind == "delta":
            return "iaf_psc_delta", values
        return _conductances("iaf", name, model, values)
    values |= {"V_th": own["v_t"], "V_peak": own["v_th"], "Delta_T": own["delta_t"], "g_L": own["g_L"]}
    values |= {key: own[key] for key in ("a", "b", "tau_w", "w")}
    if model.kind == "delta":
        return "aeif_psc_delta", values
    if model.kind == "exponential" and not several:
        tau = float(synapses[0].tau_syn)  # type: ignore[attr-defined]
        return "aeif_psc_exp", values | {"tau_syn_ex": tau, "tau_syn_in": tau}
    if model.kind == "alpha" and not several:
        tau = float(synapses[0].tau_decay)  # type: ignore[attr-defined]
        return "aeif_psc_alpha", values | {"tau_syn_ex": tau, "tau_syn_in": tau}
    if model.kind == "conductance":
        return _conductances("aeif", name, model, values)
    raise ValueError(
        f"{name!r} has {model.kind} synapses of {len(synapses)} time constants, NEST's exponential neurons have one: "
        "make them alike, or use conductances"
    )


def _conductances(family: str, name: str, model: PointModel, values: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the model with conductances: an excitatory one and an inhibitory one, or any number of them."""
    own = [synapse for synapse in model.synapses if isinstance(synapse, Conductance)]
    rises = {bool(one.tau_rise) for one in own}
    if family == "aeif" and rises == {True}:
        lists = {
            "E_rev": [one.reversal for one in own],
            "tau_rise": [one.tau_rise for one in own],
            "tau_decay": [one.tau_syn for one in own],
        }
        return "aeif_cond_beta_multisynapse", values | lists
    if len(own) > 2 or len(rises) > 1:
        raise ValueError(
            f"{name!r} has {len(own)} kinds of conductances{', with and without a rise' if len(rises) > 1 else ''}: "
            "neurons of NEST have an excitatory and an inhibitory one, of one shape"
        )
    for number, one in enumerate(own):
        end = "ex" if _sign(name, model, number) > 0 else "in"
        values[f"E_{end}"] = one.reversal
        if one.tau_rise:
            values |= {f"tau_rise_{end}": one.tau_rise, f"tau_decay_{end}": one.tau_syn}
        else:
            values[f"tau_syn_{end}"] = one.tau_syn
    return f"{family}_cond_{'beta' if rises == {True} else 'exp'}", values


def _has_receptors(model: PointModel) -> bool:
    if model.kind == "conductance":
        return model.family == "AdEx" and all(getattr(one, "tau_rise", 0) for one in model.synapses)
    return model.family == "LIF" and len(model.synapses) > 1


def _receptor(model: PointModel, number: int) -> str:
    """Return the entry of a synapse specification that chooses the receptor, where the model has several."""
    return f', "receptor_type": {number + 1}' if _has_receptors(model) else ""


def _sign(name: str, model: PointModel, number: int) -> float:
    """Return the sign by which NEST tells an inhibitory conductance: that of the lower reversal potential."""
    if model.kind != "conductance" or _has_receptors(model) or len(model.synapses) < 2:
        return 1.0
    reversals = [getattr(one, "reversal", 0.0) for one in model.synapses]
    return -1.0 if number == int(np.argmin(reversals)) else 1.0


def _signed(name: str, model: PointModel, number: int, weights: Any) -> Any:
    """Return weights as NEST takes them.

    Raises
    ------
    ValueError
        If a conductance is negative.
    """
    if model.kind == "conductance" and np.any(np.asarray(weights) < 0):
        raise ValueError(
            f"conductances onto {name!r} must be ≥ 0 nS, got {np.min(weights):g}: the reversal potential makes a "
            "synapse inhibitory"
        )
    return _sign(name, model, number) * weights


def _random(value: Any, projection: Projection) -> str:
    """Return a weight or a delay as code: a number, or what draws it."""
    if not isinstance(value, Distribution):
        return repr(float(value))
    if type(value) is Uniform:
        return f"nest.random.uniform({value.low!r}, {value.high!r})"
    if type(value) is Normal:
        drawn = f"nest.random.normal({value.mean!r}, {value.std!r})"
        if value.low is None and value.high is None:
            return drawn
        ends = [limit if limit is not None else sign * 1e9 for limit, sign in ((value.low, -1), (value.high, 1))]
        return f"nest.math.redraw({drawn}, min={ends[0]!r}, max={ends[1]!r})"
    raise TypeError(f"{projection} draws from {value!r}, for which NEST has no rule: write `synapses='realised'`")
