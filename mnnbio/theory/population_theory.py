"""Theory of a circuit at the resolution of populations: their equations, and how alike the neurons of each are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr

from mnnbio.circuit import Circuit, Population
from mnnbio.moments import NeuronTensors, Status, interval_skewness
from mnnbio.results import array
from mnnbio.theory.answers import Neurons, taken
from mnnbio.theory.inputs import Cumulants, Sums, add_drive, drive_input, drives_into, received_sums, trains
from mnnbio.theory.labelled import Output, Slow, statistics
from mnnbio.theory.recurrence import require_converged, require_stable, stability_attributes, start_rates
from mnnbio.theory.stationary import Closure, Found, Response, array_fixed_point, driving_variance, respond
from mnnbio.theory.transmission import efficacy_of, filter_time, reversal
from mnnbio.theory.validity import Fluctuations, check_validity
from mnnbio.theory.wired_response import Stability
from mnnbio.theory.wiring import Conductances, Efficacy, Filtered, Received, joined_conductances

Array = npt.NDArray[np.float64]

# Nodes of the Gauss-Hermite quadrature over the mean inputs of a population's neurons.
QUENCHED, QUENCHED_WEIGHTS = np.polynomial.hermite_e.hermegauss(9)


class Pathway(NamedTuple):
    """Projection whose weights depend on the state: conductances, or synapses with plasticity."""

    row: int
    column: int
    sums: Sums  # of charges, mV, or nS ms of conductances
    tau_syn: float  # ms
    reversal: float | None  # mV, of conductances
    efficacy: Efficacy | None

    def transmitted(self, rate: float, *, small: bool = False) -> Sums:
        """Return the sums as the synapses transmit trains of a rate (1/ms), or, if `small`, small changes of it."""
        if self.efficacy is None:
            return self.sums
        at = np.array(rate)
        mean = float(self.efficacy.slope(at) if small else self.efficacy.mean(at))
        square = mean**2 if small else float(self.efficacy.square(at))
        s = self.sums
        return Sums(
            mean * s.total, square * s.squares, mean**2 * s.row_variance, mean**2 * s.column_variance, mean**3 * s.cubes
        )


class Inputs(NamedTuple):
    """Sums of weights onto the populations (rows) from some senders (columns); see `mnnbio.theory.inputs.Sums`."""

    total: Array
    squares: Array
    filtered: dict[float, Array]  # squares of synapses with a filter, by its time constant, ms
    row_variance: Array
    column_variance: Array
    cubes: Array
    sizes: Array  # of the senders
    pathways: tuple[Pathway, ...] = ()  # those that these sums leave out

    def at(
        self,
        rate: Array,
        potential: Array | None = None,
        capacitance: Array | None = None,
        *,
        small: bool = False,
    ) -> Inputs:
        """Return the sums of all pathways that are currents.

        Parameters
        ----------
        rate : ndarray, shape (sender,)
            1/ms.
        potential, capacitance : ndarray, shape (population,), optional
            Potentials (mV) at which conductances count as currents, of neurons of a capacitance (pF); by default
            conductances are left out.
        small : bool
            Whether what is transmitted are small changes of the rate.
        """
        if not self.pathways:
            return self
        found = self._replace(
            total=self.total.copy(),
            squares=self.squares.copy(),
            filtered={tau: squares.copy() for tau, squares in self.filtered.items()},
            row_variance=self.row_variance.copy(),
            column_variance=self.column_variance.copy(),
            cubes=self.cubes.copy(),
            pathways=(),
        )
        for way in self.pathways:
            pull = 1.0
            if way.reversal is not None:
                if potential is None or capacitance is None:
                    continue
                pull = (way.reversal - potential[way.row]) / capacitance[way.row]
            _add(found, way, way.transmitted(float(rate[way.column]), small=small), pull)
        return found

    def received(self, variance: Array) -> Filtered:
        """Return the filtered fluctuations that trains of that variance per time (sender,) give to each population."""
        return Filtered({tau: squares @ variance for tau, squares in self.filtered.items()})

    def scaled(self, factor: Array, square: Array, cube: Array) -> Inputs:
        """Return the sums with weights, their squares and their cubes times factors (population, sender)."""
        return self._replace(
            total=self.total * factor,
            squares=self.squares * square,
            filtered={tau: squares * square for tau, squares in self.filtered.items()},
            row_variance=self.row_variance * square,
            column_variance=self.column_variance * square,
            cubes=self.cubes * cube,
        )

    def opened(self, rate: Array, variance: Array) -> Conductances | None:
        """Return the conductances that trains of that rate and variance per time (sender,) open in each population."""
        found = None
        for way in self.pathways:
            if way.reversal is None:
                continue
            found = Conductances.none(len(self.total)) if found is None else found
            s, powers = way.transmitted(float(rate[way.column])), way.reversal ** np.arange(4.0)
            mean, noise = s.total * rate[way.column], s.squares * variance[way.column]
            found.mean[way.row] += mean
            found.pull[way.row] += way.reversal * mean
            found.variance[:, way.row] += powers[:3] * noise
            found.third[:, way.row] += powers * s.cubes * rate[way.column]
            if way.tau_syn > 0:
                part = Filtered({way.tau_syn: powers[:3] * noise}).placed((..., way.row), (3, len(self.total)))
                found = found._replace(filtered=found.filtered + part)
        return found


def _add(tables: Inputs, way: Pathway, sums: Sums, pull: float = 1.0) -> None:
    """Add the sums of a pathway, its weights times a factor, to tables."""
    place = way.row, way.column
    tables.total[place] += pull * sums.total
    tables.squares[place] += pull**2 * sums.squares
    if way.tau_syn > 0:
        tables.filtered.setdefault(way.tau_syn, np.zeros_like(tables.squares))[place] += pull**2 * sums.squares
    tables.row_variance[place] += pull**2 * sums.row_variance
    tables.column_variance[place] += pull**2 * sums.column_variance
    tables.cubes[place] += pull**3 * sums.cubes


class Nodes(NamedTuple):
    """Representatives of neurons, each of shape (node,)."""

    owner: npt.NDArray[np.int64]  # population
    weight: Array  # share of its population
    offset: Array  # mean input in standard deviations of the quenched disorder
    mean: Array  # external input: mV/ms
    variance: Array
    third: Array
    filtered: Filtered
    neurons: Neurons
    opened: Conductances | None = None  # from outside


class System(NamedTuple):
    """A circuit, with one stimulus, as equations for its populations."""

    names: list[str]
    sizes: Array
    recurrent: Inputs
    sources: Inputs
    source_rate: Array  # 1/ms, mean over each source
    source_spread: Array  # variance of its trains per time, 1/ms
    source_disorder: Array  # variance of the rates among its trains, 1/ms²
    shared: Array  # summed loadings of noise shared by neurons, (population, noise source), mV/√ms
    shared_own: Array  # its mean variance in a neuron, (population,), mV²/ms
    nodes: Nodes


class PopulationState(NamedTuple):
    """Self-consistent averages over populations; arrays of shape (population,) but for those of the nodes."""

    rate: Array
    variance: Array
    gain: Array
    mean_input: Array
    std_input: Array
    status: Status
    residual: float
    iterations: int
    node_mean: Array  # (node,), mV/ms
    node_std: Array  # mV/√ms
    node_lif: NeuronTensors | None  # None where some neurons are no leaky integrate-and-fire neurons
    node_rate: Array  # 1/ms
    node_gain: Array  # 1/mV
    node_interval_skewness: Array | None = None  # where it is not that of `node_lif`
    node_potential: Array | None = None  # at which small conductances count as currents, mV, likewise
    node_slow: Array | None = None  # the part of the variance that slow noise of the input brings, 1/ms; None: none
    node_slow_time: Array | None = None  # of that noise, ms

    @property
    def node_skewness(self) -> Array:
        """Third central moment of the intervals over their mean cubed."""
        if self.node_interval_skewness is not None:
            return self.node_interval_skewness
        assert self.node_lif is not None
        inputs = torch.from_numpy(self.node_mean), torch.from_numpy(self.node_std)
        found: Array = interval_skewness(*inputs, self.node_lif).numpy()
        return found


def population_system(circuit: Circuit, dt: float | None, *, keep: bool = False) -> System:
    """Return the equations of a circuit that has one stimulus.

    Neurons with inputs of their own are one node where these are equal, unless `keep` says that they will differ.
    """
    neurons, sources = circuit.neurons, circuit.sources
    recurrent = _inputs(circuit, [p.name for p in neurons], dt)
    outside = _inputs(circuit, [s.name for s in sources], dt)
    rate, spread, disorder = source_moments(circuit, dt)
    external, opened = zip(*(_drive(circuit, p, dt, keep=keep) for p in neurons), strict=True)
    factors = [np.zeros((len(neurons), 0))]
    own = np.zeros(len(neurons))
    for drive in circuit.drives:
        given = drive_input(circuit, drive, dt).loadings
        if given is not None:
            row = [p.name for p in neurons].index(drive.target)
            loadings = np.zeros((len(neurons), given.shape[1]))
            loadings[row] = given.sum(0)
            factors.append(loadings)
            own[row] += (given**2).sum(1).mean()
    alike = not recurrent.row_variance.any() and not outside.row_variance.any() and not disorder.any()
    alike = alike and not any(way.sums.row_variance for inputs in (recurrent, outside) for way in inputs.pathways)
    coupled = recurrent.squares.any() or recurrent.pathways
    alike = alike and not (coupled and any(len(given.mean) > 1 for given in external))
    return System(
        [p.name for p in neurons],
        np.array([float(p.size) for p in neurons]),
        recurrent,
        outside,
        rate,
        spread,
        disorder,
        np.concatenate(factors, axis=1),
        own,
        _nodes(neurons, external, opened, split=not alike),
    )


def with_inputs(system: System, circuit: Circuit, dt: float | None) -> System:
    """Return the equations of the same circuit with other inputs, for a system whose nodes were kept."""
    external, opened = zip(*(_drive(circuit, p, dt, keep=True) for p in circuit.neurons), strict=True)
    rate, spread, disorder = source_moments(circuit, dt)
    nodes = _nodes(circuit.neurons, external, opened, split=bool(system.nodes.offset.any()))
    return system._replace(source_rate=rate, source_spread=spread, source_disorder=disorder, nodes=nodes)


def source_moments(circuit: Circuit, dt: float | None) -> tuple[Array, Array, Array]:
    """Return mean rate (1/ms), mean variance of the trains per time and variance of the rates of each source."""
    found = [trains(source, dt) for source in circuit.sources]
    rates, spreads = [t.rate for t in found], [t.variance for t in found]
    mean, spread, disorder = (
        np.array([f(v) for v in values]) for f, values in ((np.mean, rates), (np.mean, spreads), (np.var, rates))
    )
    return mean, spread, disorder


def solve(
    system: System, closure: Closure, dt: float | None, start: Array | None = None, max_iterations: int = 500
) -> PopulationState:
    """Return a self-consistent state of the populations.

    Neurons of a population differ in their mean input where in-degrees, weights or the rates of their sources do; these
    differences are Gaussian (quenched disorder), and rates are averaged over them.

    Parameters
    ----------
    system : System
    closure : {"moments", "poisson"}
    dt : float, optional
        Time step, ms.
    start : ndarray, shape (population,), optional
        Rates to start from, 1/ms.
    max_iterations : int
    """
    size = len(system.sizes)
    shape = (3, size)

    def step(x: Array) -> Array:
        response = node_answers(system, x.reshape(shape), dt)[2]
        drive = driving_variance(closure, response.rate, response.variance)
        mean = average(system, response.rate)
        # The disorder of the rates and the driving variances, in the units of the rates.
        spread = np.sqrt(average(system, (response.rate - mean[system.nodes.owner]) ** 2))
        return np.concatenate([mean, spread, average(system, drive)])

    first = np.zeros(size) if start is None else start
    found = array_fixed_point(step, np.concatenate([first, 0 * first, first]), max_iterations=max_iterations)
    mean, std, response = node_answers(system, found.value.reshape(shape), dt, responses=True)
    return state_of(system, found, mean, std, response)


def state_of(system: System, found: Found, mean: Array, std: Array, response: Response) -> PopulationState:
    """Return the state of populations at rates that were found, (population, …), from the answer of its nodes."""
    return PopulationState(
        found.value[: len(system.sizes)],
        average(system, response.variance),
        average(system, response.gain),
        average(system, mean),
        average(system, std),
        *found[1:],
        mean,
        std,
        response.lif,
        response.rate,
        response.gain,
        response.skewness,
        response.potential,
        response.slow,
        response.slow_time,
    )


def linearised(system: System, state: PopulationState) -> System:
    """Return the equations with the sums of weights as small changes of the rates around a state see them."""
    if not system.recurrent.pathways and not system.sources.pathways:
        return system
    potential, capacitance = None, _capacitance(system)
    if state.node_potential is not None:
        gain = average(system, state.node_gain)
        weighted = average(system, state.node_gain * state.node_potential)
        plain = average(system, state.node_potential)
        potential = np.where(gain > 0, weighted / np.where(gain > 0, gain, 1.0), plain)
    return system._replace(
        recurrent=system.recurrent.at(state.rate, potential, capacitance, small=True),
        sources=system.sources.at(system.source_rate, potential, capacitance),
    )


def _capacitance(system: System) -> Array:
    return average(system, system.nodes.neurons.capacitance)


def fluctuations(circuit: Circuit, system: System, state: PopulationState) -> list[Fluctuations]:
    """Return the state of each population as the checks of validity see it."""
    recurrent, sources = system.recurrent.at(state.rate), system.sources.at(system.source_rate)
    cubes = recurrent.cubes @ state.rate + sources.cubes @ system.source_rate
    third, opened = system.nodes.third + cubes[system.nodes.owner], _opened(system, state.rate, state.rate)
    if opened is not None and state.node_potential is not None:
        third = third + opened.asymmetry(state.node_potential, system.nodes.neurons.capacitance)
    tau_m = system.nodes.neurons.membrane_time(opened)
    found = []
    for row, population in enumerate(circuit.neurons):
        own = system.nodes.owner == row
        if np.isnan(tau_m[own]).any():
            continue
        values = (state.node_std, third, state.node_rate, state.node_gain, tau_m)
        found.append(Fluctuations(population, False, *(torch.from_numpy(v[None, own]) for v in values)))
    return found


def average(system: System, values: Array) -> Array:
    """Return the averages over populations of values at the nodes, the last axis."""
    members = system.nodes.owner == np.arange(len(system.sizes))[:, None]
    return np.asarray((values[..., None, :] * members * system.nodes.weight).sum(-1))


def node_answers(
    system: System, x: Array, dt: float | None, *, responses: bool = False
) -> tuple[Array, Array, Response]:
    """Return mean and standard deviation of the inputs of the nodes, and how they answer.

    Parameters
    ----------
    system : System
    x : ndarray, shape (3, population)
        Mean and spread among neurons of the rates, and the variance with which trains drive their targets, 1/ms.
    dt : float, optional
        Time step, ms.
    responses : bool
        Whether all of the answer is wanted, or rates and variances alone.
    """
    rate, spread, drive = x
    nodes = system.nodes
    recurrent, sources = system.recurrent.at(rate), system.sources.at(system.source_rate)
    mean = recurrent.total @ rate + sources.total @ system.source_rate
    variance = recurrent.squares @ drive + sources.squares @ system.source_spread
    filtered = recurrent.received(drive) + sources.received(system.source_spread)
    opened, seen = _opened(system, rate, drive), system
    if (
        system.recurrent.pathways or system.sources.pathways
    ):  # conductances differ among neurons as the currents that they are
        at = average(system, nodes.neurons.equilibrium(nodes.mean + mean[nodes.owner], opened))
        C = _capacitance(system)
        seen = system._replace(
            recurrent=system.recurrent.at(rate, at, C), sources=system.sources.at(system.source_rate, at, C)
        )
    disorder = quenched_variance(seen, rate, spread**2)
    current = nodes.mean + mean[nodes.owner] + nodes.offset * np.sqrt(disorder)[nodes.owner]
    received = Received(nodes.variance + variance[nodes.owner], nodes.filtered + filtered[nodes.owner])
    response = respond(current, received, nodes.neurons, dt, opened, responses=responses)
    if response.mean_input is not None and response.std_input is not None:
        return response.mean_input, response.std_input, response
    return current, np.sqrt(received.variance), response


def _opened(system: System, rate: Array, drive: Array) -> Conductances | None:
    """Return the mean conductances of the nodes; None if there are none."""
    found = system.nodes.opened
    inner, outer = system.recurrent.opened(rate, drive), system.sources.opened(system.source_rate, system.source_spread)
    for part in (inner, outer):
        if part is not None:
            own = part.at(system.nodes.owner)
            found = own if found is None else found.plus(own)
    return found


def quenched_variance(system: System, rate: Array, variance: Array) -> Array:
    """Return the variance of the mean input among the neurons of each population, mV²/ms².

    Parameters
    ----------
    system : System
    rate, variance : ndarray, shape (population,)
        Mean and variance among neurons of the rates, 1/ms and 1/ms².
    """
    from_sources = _disorder(system.sources, system.source_rate, system.source_disorder)
    return _disorder(system.recurrent, rate, variance) + from_sources


def _disorder(inputs: Inputs, rate: Array, variance: Array) -> Array:
    drawn = np.maximum(inputs.squares - inputs.total**2 / inputs.sizes, 0.0)
    return np.asarray(inputs.row_variance @ rate**2 + drawn @ variance)


def _inputs(circuit: Circuit, senders: list[str], dt: float | None) -> Inputs:
    targets = [p.name for p in circuit.neurons]
    sizes = np.array([float(circuit.population(name).size) for name in senders])
    total, squares, rows, columns, cubes = np.zeros((5, len(targets), len(senders)))
    found = Inputs(total, squares, {}, rows, columns, cubes, sizes)
    pathways = []
    for projection in circuit.projections:
        if projection.source in senders:
            synapse = projection.synapse_model
            way = Pathway(
                targets.index(projection.target),
                senders.index(projection.source),
                received_sums(circuit, projection, dt),
                filter_time(synapse),
                reversal(synapse),
                efficacy_of(projection),
            )
            if way.reversal is None and way.efficacy is None:
                _add(found, way, way.sums)
            else:
                pathways.append(way)
    return found._replace(pathways=tuple(pathways))


def _drive(
    circuit: Circuit, population: Population, dt: float | None, *, keep: bool
) -> tuple[Cumulants, Conductances | None]:
    """Return the cumulants of the drives and what they open, one value where the neurons are alike."""
    size = population.size if population.neuron.size is not None else 1
    total, opened = Cumulants.none(size), None
    for given in drives_into(circuit, population, dt):
        total = add_drive(total, given, shared=True)
        own = given.opened(population.size)
        if own is not None:
            opened = own if opened is None else opened.plus(own)
    parts = list(total.filtered.parts.items())
    columns = list(np.broadcast_arrays(*total[:3], *(part for _, part in parts)))
    differs = opened is not None and not all(
        (value == value[..., :1]).all() for value in (*opened[:4], *opened.filtered.parts.values())
    )
    if differs:
        columns = [np.broadcast_to(values, population.size) for values in columns]
    elif size == 1 and not keep and all((values == values[0]).all() for values in columns):
        columns = [values[:1] for values in columns]
    filtered = Filtered({tau: values for (tau, _), values in zip(parts, columns[3:], strict=True)})
    total = Cumulants(columns[0], columns[1], columns[2], filtered)
    return total, None if opened is None else opened.at(np.arange(len(total.mean)))


def _nodes(
    populations: tuple[Population, ...],
    external: Sequence[Cumulants],
    opened: Sequence[Conductances | None],
    *,
    split: bool,
) -> Nodes:
    offsets, shares = (QUENCHED, QUENCHED_WEIGHTS / QUENCHED_WEIGHTS.sum()) if split else (np.zeros(1), np.ones(1))
    owners = [np.full(len(given.mean) * len(offsets), row) for row, given in enumerate(external)]
    columns: dict[str, list[Array]] = {name: [] for name in ("weight", "offset", "mean", "variance", "third")}
    groups, parts, first, size = [], [], 0, sum(len(own) for own in owners)
    filtered = Filtered()
    for population, given, open_ in zip(populations, external, opened, strict=True):
        count = len(given.mean)
        for name in ("mean", "variance", "third"):
            columns[name].append(np.repeat(getattr(given, name), len(offsets)))
        columns["offset"].append(np.tile(offsets, count))
        columns["weight"].append(np.tile(shares, count) / count)
        members = np.repeat(np.arange(count), len(offsets))
        places = first + np.arange(len(members))
        filtered = filtered + given.filtered.map(lambda part: np.repeat(part, len(offsets))).placed(places, (size,))
        groups.append((places, taken(population.neuron, members)))
        parts.append((Conductances.none(count) if open_ is None else open_).at(members))
        first += len(members)
    joined = {name: np.concatenate(values) for name, values in columns.items()}
    together = None
    if any(open_ is not None for open_ in opened):
        together = joined_conductances(parts)
    return Nodes(np.concatenate(owners), **joined, filtered=filtered, neurons=Neurons(groups), opened=together)


def population_prediction(
    circuit: Circuit,
    *,
    dt: float | None,
    window: float | None,
    closure: Closure,
    covariance: bool,
    start: Any,
    unconverged: str,
) -> xr.Dataset:
    """Return the labelled statistics of the populations of a circuit with one stimulus; see `mnnbio.predict`."""
    system = population_system(circuit, dt)
    state = solve(system, closure, dt, population_start(circuit, start))
    if unconverged == "raise":
        require_converged(state.status, state.residual, state.iterations)
    eigenvalues = population_stability(system, state)
    require_stable(eigenvalues, covariance)
    check_validity(
        circuit,
        fluctuations(circuit, system, state),
        responses=False,
        eigenvalues=eigenvalues if covariance else None,
    )
    return label_populations(system, state, eigenvalues, window=window, covariance=covariance)


def label_populations(
    system: System, state: PopulationState, eigenvalues: Stability, *, window: float | None, covariance: bool
) -> xr.Dataset:
    """Return the labelled statistics of a state of the populations."""
    fields = (state.mean_input, state.std_input, state.rate, state.variance, average(system, state.node_skewness))
    slow = None
    if state.node_slow is not None and state.node_slow_time is not None:
        slow = Slow(*(torch.from_numpy(average(system, v)) for v in (state.node_slow, state.node_slow_time)))
    t_ref = average(system, system.nodes.neurons.values(lambda neuron: getattr(neuron, "t_ref", None), 0.0))
    output = Output(*(torch.from_numpy(value) for value in fields))
    found, _ = statistics(output, torch.from_numpy(t_ref), window, ("population",), slow)
    coords = {"population": system.names}
    if covariance:
        summed = summed_covariance(system, state)
        pairs = ("population", "population_j")
        found.append(array("population_covariance", pairs, summed * 1e3))
        found.append(array("pair_covariance", pairs, pair_covariance(summed, system.sizes, state.variance) * 1e3))
        coords["population_j"] = system.names
    labelled = xr.Dataset({variable.name: variable for variable in found}, coords=coords)
    return labelled.assign_attrs(
        status=state.status, residual=state.residual, iterations=state.iterations, **stability_attributes(eigenvalues)
    )


def population_start(circuit: Circuit, start: Any) -> Array | None:
    """Return the rates to start from, (population,), 1/ms; see `mnnbio.theory.recurrence.start_rates`."""
    rates = start_rates(circuit, start)
    return None if rates is None else np.array([rates[place].mean() for place in circuit.slices().values()])


def population_stability(system: System, state: PopulationState) -> Stability:
    """Return the leading eigenvalues of ``A W``: those of the averages, and the radius of what is random about W.

    Eigenvalues of a large random matrix fill a disc whose squared radius is the largest eigenvalue of the table of
    variances, each times the size of the sender.

    References
    ----------
    J. Aljadeff, M. Stern, T. Sharpee (2015), Transition to chaos in random networks with cell-type-specific
    connectivity, Phys. Rev. Lett. 114, 088101.
    """
    system = linearised(system, state)
    inputs = system.recurrent
    averages = np.linalg.eigvals(state.gain[:, None] * inputs.total)
    variances = state.gain[:, None] ** 2 * np.maximum(inputs.squares - inputs.total**2 / inputs.sizes, 0.0)
    radius = float(np.sqrt(np.abs(np.linalg.eigvals(variances)).max()))
    return Stability(max(radius, float(np.abs(averages).max())), max(radius, float(averages.real.max())))


def unstable_directions(system: System, state: PopulationState) -> list[Array]:
    """Return directions of the rates, (population,), in which deviations from a state grow, of largest element 1."""
    system = linearised(system, state)
    values, vectors = np.linalg.eig(state.gain[:, None] * system.recurrent.total)
    growing = [vectors[:, k].real for k in np.argsort(-values.real) if values[k].real >= 1]
    return [v / np.abs(v).max() for v in growing if np.abs(v).max() > 0]


def own_noise(system: System, gain_squared: Array, spectrum: Array, source_spectrum: Array) -> Array:
    """Return the noise that the neurons of each population add to its summed activity.

    The whole spectrum of a train counts, but for what a neuron receives from trains that its population receives as a
    whole: that is transmitted by the averages already. Out-degrees that differ among neurons keep part of it.

    Parameters
    ----------
    system : System
    gain_squared : ndarray, shape (..., population)
        Squared modulus of the response of a neuron.
    spectrum : ndarray, shape (..., population)
        Of a train of each population, 1/ms.
    source_spectrum : ndarray, shape (source,)

    Returns
    -------
    ndarray, shape (..., population)
    """
    sizes = system.sizes

    def received(inputs: Any, sent: Array) -> Array:
        common = sizes[:, None] * inputs.squares - inputs.sizes * inputs.column_variance
        return np.asarray(sent @ common.T)

    transmitted = received(system.recurrent, spectrum) + received(system.sources, source_spectrum)
    return np.asarray(sizes * spectrum - gain_squared * (transmitted + sizes * system.shared_own))


def summed_covariance(system: System, state: PopulationState) -> Array:
    """Return the covariance per time of the summed counts of populations, (population, population), 1/ms."""
    system = linearised(system, state)
    noise = own_noise(system, state.gain**2, state.variance, system.source_spread)
    ratio = system.sizes[:, None] / system.sources.sizes
    common = state.gain[:, None] * system.sources.total * ratio * np.sqrt(system.sources.sizes * system.source_spread)
    shared = np.concatenate([common, state.gain[:, None] * system.shared], axis=1)
    effective = state.gain[:, None] * system.recurrent.total * system.sizes[:, None] / system.sizes
    K = np.linalg.inv(np.eye(len(system.sizes)) - effective)
    return np.asarray(K @ (np.diag(noise) + shared @ shared.T) @ K.T)


def pair_covariance(summed: Array, sizes: Array, variance: Array) -> Array:
    """Return the mean covariance of two different neurons, given that of sums; NaN for a population of one."""
    pairs = np.outer(sizes, sizes) - np.diag(sizes)
    left = summed - np.diag(sizes * variance)
    return np.asarray(np.where(pairs > 0, left / np.where(pairs > 0, pairs, 1.0), np.nan))
