"""A circuit as a script in PyNN, which runs on several simulators."""

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
from mnnbio.formats.nest_script import one_stimulus
from mnnbio.formats.point_models import PointModel, point_model, realised_synapses, require_constant
from mnnbio.formats.script_text import UNPACK, ScriptNames, array_code, import_or_say, shortest
from mnnbio.machine import check_choice, require_integer
from mnnbio.synapses import Conductance, Delta, DoubleExponential, Exponential
from mnnbio.units import count_steps, in_unit
from mnnbio.values import Distribution, Normal, Uniform

_WHERE = "to_pynn_script"
_MOST_SYNAPSES = 20_000_000  # that stand in a script
_CONNECT = '''
def connect(pre, post, i, j, weight, delay, receptor, label):
    """Make a synapse for each pair of numbers, i of `pre` and j of `post`."""
    values = np.broadcast_arrays(i, j, weight, delay)
    listed = list(zip(*(value.tolist() for value in values)))
    connector = sim.FromListConnector(listed, column_names=["weight", "delay"])
    return sim.Projection(pre, post, connector, sim.StaticSynapse(), receptor_type=receptor, label=label)
'''
_NOISE = '''
def add_noise(population, std):
    """Give each neuron a current of its own that is drawn anew in every step, nA."""
    for neuron, own in zip(population, np.broadcast_to(std, len(population)).tolist()):
        source = sim.NoisyCurrentSource(mean=0.0, stdev=own, start=0.0, stop=end, dt=sim.get_time_step())
        source.inject_into([neuron])
'''
_RESERVED = {
    "np",
    "sim",
    "base64",
    "zlib",
    "unpack",
    "connect",
    "add_noise",
    "end",
    "populations",
    "name",
    "population",
}

Simulator = Literal["nest", "brian2", "neuron"]


def to_pynn_script(
    circuit: Circuit,
    dt: Any = 0.1,
    duration: Any = 1000.0,
    seed: int = 1,
    *,
    warmup: Any = 0.0,
    stimulus: int = 0,
    synapses: Literal["realised", "rules"] = "realised",
    simulator: Simulator = "nest",
) -> str:
    """Return a circuit as a self-contained PyNN script, which records the spikes of all populations.

    Run by NEST, deterministic circuits of leaky integrate-and-fire neurons give the spikes of `simulate` one by one;
    other simulators have another order within a step, so that their spikes agree in the limit of small steps. Poisson
    sources may fire several times a step.

    Parameters
    ----------
    circuit : Circuit
        Of `LIFParameters`, `ConductanceLIF`, `EIF` or `AdEx`, with delta, exponential, alpha or conductance synapses,
        an excitatory and an inhibitory kind at most.
    dt, duration : float or Quantity
        Time step, and how long spikes are recorded, ms.
    seed : int
        Of the simulator's random numbers, ≥ 1.
    warmup : float or Quantity
        Time simulated before, ms. Its spikes are recorded too.
    stimulus : int
        Which stimulus drives the network.
    synapses : {"realised", "rules"}
        Whether the synapses of this circuit stand in the script, or its rules, by which PyNN draws others.
    simulator : {"nest", "brian2", "neuron"}
        Which one the script imports; it may be changed in its first lines.

    Raises
    ------
    TypeError, ValueError
        If something has no counterpart in PyNN, which is named, `dt` does not fit, or there is no such stimulus.

    References
    ----------
    A. P. Davison et al. (2009), PyNN: a common interface for neuronal network simulators, Frontiers in Neuroinformatics
    2, 11.
    """
    require_circuit(circuit)
    check_choice("synapses", synapses, ["realised", "rules"])
    check_choice("simulator", simulator, ["nest", "brian2", "neuron"])
    require_integer("seed", seed, 1)
    step = time_step(dt)
    circuit = one_stimulus(circuit, stimulus)
    check_time_step(circuit, step)
    before, length = (float(in_unit(value, "ms", name)) for value, name in ((warmup, "warmup"), (duration, "duration")))
    for value, name in ((before, "warmup"), (length, "duration")):
        count_steps(value, step, name)
    return _Script(circuit, step, length, before, synapses == "rules", simulator).text(seed)


class _Ends:
    """Which of a population's synapses are excitatory and which inhibitory, as PyNN has them."""

    def __init__(self, name: str, model: PointModel, signs: dict[int, set[int]]) -> None:
        self.model = model
        self.of: dict[tuple[int, int], str] = {}  # receptor and sign of the weights → receptor type
        number = len(model.synapses)
        if model.kind == "conductance":
            own = [one for one in model.synapses if isinstance(one, Conductance)]
            if number > 2 or any(one.tau_rise not in (0.0, one.tau_syn) for one in own):
                raise ValueError(
                    f"{name!r} has {number} kinds of conductances: neurons of PyNN have an excitatory and an "
                    "inhibitory one, exponential or alpha"
                )
            if len({bool(one.tau_rise) for one in own}) > 1:
                raise ValueError(f"{name!r} has conductances with and without a rise, which PyNN has not together")
            low = int(np.argmin([one.reversal for one in own]))
            for k in range(number):
                self.of[k, 1] = self.of[k, -1] = "inhibitory" if number == 2 and k == low else "excitatory"
            return
        for sign, end in ((1, "excitatory"), (-1, "inhibitory")):
            used = [k for k, found in signs.items() if sign in found]
            if len(used) > 1:
                raise ValueError(
                    f"{name!r} has {end} synapses of {len(used)} time constants: neurons of PyNN have one for "
                    "excitation and one for inhibition"
                )
            for k in used:
                self.of[k, sign] = end

    def synapse(self, end: str) -> Any:
        """Return the synapse model at one end, None where there is none."""
        return next((self.model.synapses[k] for (k, _), own in self.of.items() if own == end), None)


class _Script(ScriptNames):
    """A script while it is written."""

    def __init__(
        self, circuit: Circuit, dt: float, duration: float, warmup: float, rules: bool, simulator: Simulator
    ) -> None:
        self.circuit, self.dt, self.duration, self.warmup, self.rules = circuit, dt, duration, warmup, rules
        self.simulator = simulator
        super().__init__([part.name for part in circuit.populations], _RESERVED)
        self.models = {p.name: point_model(circuit, p, dt, _WHERE) for p in circuit.neurons}
        for name, model in self.models.items():
            model.require_constant(name, _WHERE)
        self.ends = {p.name: _Ends(p.name, self.models[p.name], self.signs(p)) for p in circuit.neurons}

    def signs(self, population: Population) -> dict[int, set[int]]:
        """Return the signs of the weights at each receptor of a population."""
        model = self.models[population.name]
        found: dict[int, set[int]] = {}
        for own in self.circuit.projections:
            if own.target != population.name:
                continue
            weight = own.weight if self.rules and own.connectivity is not None else None
            if weight is None:
                values = np.atleast_1d(realised_synapses(self.circuit, own, 1.0, self.dt).weights)
                signs = {int(np.sign(v)) for v in (values.min(initial=0), values.max(initial=0))}
            elif isinstance(weight, Distribution):
                signs = {1 if weight.moments().mean > 0 else -1}
            else:
                signs = {int(np.sign(weight))}
            found.setdefault(model.receptor(own.synapse_model), set()).update(signs - {0})
        for train in model.poisson:
            found.setdefault(train.receptor, set()).add(1 if train.weight >= 0 else -1)
        return found

    def text(self, seed: int) -> str:
        """Return the script."""
        parts = ["# Neurons, in mV, ms, nF, uS and nA"]
        parts += ["\n".join(self.neurons(p)) for p in self.circuit.neurons]
        if self.circuit.sources:
            parts += ["# Sources", *("\n".join(self.source(source)) for source in self.circuit.sources)]
        inputs = [text for p in self.circuit.neurons if (text := "\n".join(self.inputs(p)))]
        parts += ["# Input from outside", *inputs] if inputs else []
        if self.circuit.projections:
            listed = ("\n".join(self.projection(number, own)) for number, own in enumerate(self.circuit.projections))
            parts += ["# Synapses", *listed]
        parts += ["# Spikes", self.run()]
        body = "\n\n".join(parts)
        helpers = [code for code in (UNPACK, _CONNECT, _NOISE) if f"{code.split('(')[0].split()[-1]}(" in body]
        imports = ["import base64", "import zlib", ""] if UNPACK in helpers else []
        longest = max(
            (np.max(np.asarray(self.circuit.delays(p)), initial=0) for p in self.circuit.projections), default=0
        )
        longest = max(float(np.ceil(longest / self.dt)), 1.0) * self.dt
        wheel = {"nest": "nest-simulator"}.get(self.simulator, self.simulator)
        seeds = {"nest": f', spike_precision="on_grid", rng_seed={seed}', "brian2": "", "neuron": ""}[self.simulator]
        head = [
            f'"""A network of {len(self.circuit.neurons)} population(s) in PyNN."""',
            "",
            *imports,
            "import numpy as np",
            "",
            *import_or_say(f"import pyNN.{self.simulator} as sim", f"PyNN and its simulator: pip install PyNN {wheel}"),
            *(f"\n{code.rstrip()}\n" for code in helpers),
            "",
            f"end = {self.warmup + self.duration!r}  # ms",
            f"sim.setup(timestep={self.dt!r}, min_delay={self.dt!r}, max_delay={round(longest, 6)!r}{seeds})",
        ]
        if self.simulator == "brian2":
            head += ["import brian2", "", f"brian2.seed({seed})"]
        return "\n".join(head) + "\n\n" + body + "\n"

    def neurons(self, population: Population) -> Iterator[str]:
        """Yield the lines that make a population."""
        own, model = self.names[population.name], self.models[population.name]
        cell, values = _cell(population.name, model, self.ends[population.name])
        start = {"v": model.values["v"]} | (
            {"w": np.asarray(model.values["w"]) * 1e-3} if model.family == "AdEx" else {}
        )
        yield f"{own} = sim.Population("
        yield f"    {population.size},"
        yield f"    sim.{cell}("
        for name, value in values.items():
            yield f"        {name}={array_code(np.atleast_1d(value), shared=True)},"
        yield "    ),"
        listed = ", ".join(
            f'"{name}": {array_code(np.atleast_1d(value), shared=True)}' for name, value in start.items()
        )
        yield f"    initial_values={{{listed}}},"
        yield f'    label="{own}",'
        yield ")"
        if self.simulator == "nest" and cell == "IF_curr_delta":
            yield "# PyNN does not hand the start values of these cells on to NEST"
            yield f"{own}.node_collection.V_m = {array_code(np.atleast_1d(start['v']), shared=True)}"

    def source(self, source: Source) -> Iterator[str]:
        """Yield the lines that make a source."""
        own = self.names[source.name]
        if isinstance(source, PoissonSource):
            require_constant(source.rates, f"the rate of {source.name!r}", _WHERE)
            rate = array_code(source.rates * 1e3, shared=True)
            yield f'{own} = sim.Population({source.size}, sim.SpikeSourcePoisson(rate={rate}), label="{own}")'
            return
        if not isinstance(source, SpikeSource):
            raise TypeError(
                f"the source {source.name!r} is a {type(source).__name__}, of which PyNN has no counterpart"
            )
        steps, elements = source.steps(self.dt)[0]
        # A spike of ours in step k arrives in step k + delay, one of PyNN of time t in the step that ends at t + delay.
        stamps = steps + round(self.warmup / self.dt) + 1
        delays = [self.circuit.delays(p) for p in self.circuit.projections if p.source == source.name]
        if any(np.min(np.asarray(delay), initial=np.inf) < self.dt / 2 for delay in delays):
            raise ValueError(
                f"{source.name!r} has projections with a delay of 0, PyNN's least delay is a step: give {self.dt:g} ms"
            )
        kept = stamps >= 1
        order = np.lexsort((stamps[kept], elements[kept]))
        counts = np.bincount(elements[kept], minlength=source.size)
        times = self.variable(f"{own}_times")
        yield f"{times} = np.round({array_code(shortest(stamps[kept][order]))} * {self.dt!r}, 6)"
        ends = array_code(shortest(np.cumsum(counts)[:-1]))
        yield f"{times} = [train.tolist() for train in np.split({times}, {ends})]"
        yield f'{own} = sim.Population({source.size}, sim.SpikeSourceArray(spike_times={times}), label="{own}")'

    def inputs(self, population: Population) -> Iterator[str]:
        """Yield the lines that make noise and Poisson input."""
        own, model = self.names[population.name], self.models[population.name]
        if np.any(model.noise):
            yield f"add_noise({own}, {array_code(np.atleast_1d(model.noise) * 1e-3, shared=True)})"
        for train in model.poisson:
            name = self.variable(f"{own}_poisson")
            rate = array_code(np.atleast_1d(train.rate), shared=True)
            yield f'{name} = sim.Population({population.size}, sim.SpikeSourcePoisson(rate={rate}), label="{name}")'
            weight = float(self.weights(population.name, train.receptor, train.weight))
            end = self.ends[population.name].of[train.receptor, 1 if train.weight >= 0 else -1]
            yield "sim.Projection("
            yield f"    {name},"
            yield f"    {own},"
            yield "    sim.OneToOneConnector(),"
            yield f"    sim.StaticSynapse(weight={weight!r}, delay={self.dt!r}),"
            yield f'    receptor_type="{end}",'
            yield ")"

    def weights(self, target: str, receptor: int, weights: Any) -> Any:
        """Return weights as PyNN takes them: mV of delta synapses, else nA or uS."""
        model = self.models[target]
        if model.kind == "conductance" and np.any(np.asarray(weights) < 0):
            raise ValueError(
                f"conductances onto {target!r} must be ≥ 0 nS, got {np.min(weights):g}: the reversal potential makes a "
                "synapse inhibitory"
            )
        return weights if model.kind == "delta" else weights * 1e-3

    def projection(self, number: int, projection: Projection) -> Iterator[str]:
        """Yield the lines that make synapses, those of each sign on their own."""
        pre, post = self.names[projection.source], self.names[projection.target]
        model, ends = self.models[projection.target], self.ends[projection.target]
        receptor = model.receptor(projection.synapse_model)
        label = f"{pre}_to_{post}_{number}"
        if self.rules and projection.connectivity is not None:
            weight = self.weights(projection.target, receptor, 1.0) * model.factor(receptor) * projection.weight
            mean = weight.moments().mean if isinstance(weight, Distribution) else weight
            delay = projection.delay
            if isinstance(delay, float):
                delay = max(round(delay / self.dt), 1) * self.dt
            yield "sim.Projection("
            yield f"    {pre},"
            yield f"    {post},"
            yield f"    sim.{self.rule(projection)},"
            yield f"    sim.StaticSynapse(weight={_random(weight, projection)}, delay={_random(delay, projection)}),"
            yield f'    receptor_type="{ends.of[receptor, 1 if mean >= 0 else -1]}",'
            yield f'    label="{label}",'
            yield ")"
            return
        if self.circuit.n_synapses(projection) > _MOST_SYNAPSES:
            raise ValueError(
                f"{projection} has {self.circuit.n_synapses(projection):.2g} synapses, too many to stand in a script: "
                "write `synapses='rules'`, by which PyNN draws them"
            )
        made = realised_synapses(self.circuit, projection, model.factor(receptor), self.dt)
        weights = np.broadcast_to(self.weights(projection.target, receptor, made.weights), len(made.sources))
        for sign in (1, -1):
            mine = np.sign(weights) == sign
            if not mine.any():
                continue
            delays = np.round(np.broadcast_to(made.delays, len(weights))[mine], 6)
            yield "connect("
            yield f"    {pre},"
            yield f"    {post},"
            yield f"    {array_code(shortest(made.sources[mine]))},"
            yield f"    {array_code(shortest(made.targets[mine]))},"
            yield f"    {array_code(weights[mine], shared=True)},"
            yield f"    {array_code(delays, shared=True)},"
            yield f'    "{ends.of[receptor, sign]}",'
            yield f'    "{label}",'
            yield ")"

    def rule(self, projection: Projection) -> str:
        """Return the connector of PyNN for a connectivity."""
        own = projection.connectivity
        within = "" if projection.source != projection.target else f"allow_self_connections={projection.autapses}"
        comma = f", {within}" if within else ""
        if type(own) is AllToAll:
            return f"AllToAllConnector({within})"
        if type(own) is OneToOne:
            return "OneToOneConnector()"
        if type(own) is Bernoulli:
            return f"FixedProbabilityConnector({own.p!r}{comma})"
        if isinstance(own, FixedIndegree | FixedOutdegree) and float(own.n).is_integer():
            kind = "Pre" if isinstance(own, FixedIndegree) else "Post"
            return f"FixedNumber{kind}Connector({int(own.n)}, with_replacement={own.multapses}{comma})"
        if type(own) is FixedTotalNumber:
            return f"FixedTotalNumberConnector({own.n}, with_replacement={own.multapses}{comma})"
        raise TypeError(
            f"{projection} has the connectivity {own!r}, for which PyNN has no rule: write `synapses='realised'`"
        )

    def run(self) -> str:
        """Return the lines that record, run and print rates."""
        listed = ", ".join(f'"{p.name}": {self.names[p.name]}' for p in self.circuit.neurons)
        return "\n".join(
            [
                f"populations = {{{listed}}}",
                "for population in populations.values():",
                '    population.record("spikes")',
                "sim.run(end)",
                "for name, population in populations.items():",
                "    trains = population.get_data(clear=False).segments[0].spiketrains",
                f"    number = sum((train.magnitude > {self.warmup!r}).sum() for train in trains)",
                f'    print(f"{{name}}: {{number / population.size / {self.duration * 1e-3!r}:.6g}} Hz")',
            ]
        )


def _cell(name: str, model: PointModel, ends: _Ends) -> tuple[str, dict[str, Any]]:
    """Return PyNN's standard cell and its parameters."""
    own = model.values
    values: dict[str, Any] = {
        "cm": np.asarray(own["C"]) * 1e-3,
        "tau_m": own["tau_m"],
        "v_rest": own["E_L"],
        "v_reset": own["v_reset"],
        "tau_refrac": own["t_ref"],
        "i_offset": np.asarray(model.current) * 1e-3,
    }
    excitatory, inhibitory = ends.synapse("excitatory"), ends.synapse("inhibitory")
    if model.kind != "delta":
        values["tau_syn_E"], values["tau_syn_I"] = (
            _decay(end or other) for end, other in ((excitatory, inhibitory), (inhibitory, excitatory))
        )
    shape = "alpha" if model.kind == "alpha" or getattr(excitatory or inhibitory, "tau_rise", None) else "exp"
    if model.kind == "conductance":
        values |= {"e_rev_E": getattr(excitatory, "reversal", 0.0), "e_rev_I": getattr(inhibitory, "reversal", -80.0)}
    if model.family == "LIF":
        values["v_thresh"] = own["v_th"]
        kind = {"delta": "IF_curr_delta", "conductance": f"IF_cond_{shape}"}.get(model.kind, f"IF_curr_{shape}")
        return kind, values
    if model.kind != "conductance":
        raise ValueError(f"{name!r} has {model.kind} synapses, PyNN's exponential neurons have conductances alone")
    values |= {"v_thresh": own["v_t"], "v_spike": own["v_th"], "delta_T": own["delta_t"], "a": own["a"]}
    values |= {"b": np.asarray(own["b"]) * 1e-3, "tau_w": own["tau_w"]}
    return f"EIF_cond_{shape}_isfa_ista", values


def _decay(synapse: Any) -> float:
    if synapse is None or isinstance(synapse, Delta):
        return 5.0  # no spike arrives there
    if isinstance(synapse, DoubleExponential):
        return float(synapse.tau_decay)
    assert isinstance(synapse, Exponential | Conductance)
    return float(synapse.tau_syn)


def _random(value: Any, projection: Projection) -> str:
    """Return a weight or a delay as code: a number, or what draws it."""
    if not isinstance(value, Distribution):
        return repr(float(value))
    if type(value) is Uniform:
        return f'sim.RandomDistribution("uniform", low={value.low!r}, high={value.high!r})'
    if type(value) is Normal:
        if value.low is None and value.high is None:
            return f'sim.RandomDistribution("normal", mu={value.mean!r}, sigma={value.std!r})'
        low, high = (limit if limit is not None else sign * 1e9 for limit, sign in ((value.low, -1), (value.high, 1)))
        return (
            f'sim.RandomDistribution("normal_clipped", mu={value.mean!r}, sigma={value.std!r}, low={low!r}, '
            f"high={high!r})"
        )
    raise TypeError(f"{projection} draws from {value!r}, for which PyNN has no rule: write `synapses='realised'`")
