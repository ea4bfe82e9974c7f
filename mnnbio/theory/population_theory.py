"""Theory of a circuit at the resolution of populations: their equations, and how alike the neurons of each are."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr

from mnnbio.circuit import Circuit, Population
from mnnbio.moments import NeuronTensors, Status, interval_skewness
from mnnbio.neurons import LIFParameters
from mnnbio.results import array
from mnnbio.theory.inputs import Cumulants, add_drive, drive_input, drives_into, received_sums, trains
from mnnbio.theory.labelled import Output, statistics
from mnnbio.theory.recurrence import require_converged, require_stable, stability_attributes, start_rates
from mnnbio.theory.stationary import Closure, Response, array_fixed_point, driving_variance, respond
from mnnbio.theory.validity import Fluctuations, check_validity
from mnnbio.theory.wired_response import Stability
from mnnbio.theory.wiring import Received

Array = npt.NDArray[np.float64]

# Nodes of the Gauss-Hermite quadrature over the mean inputs of a population's neurons.
QUENCHED, QUENCHED_WEIGHTS = np.polynomial.hermite_e.hermegauss(9)


class Inputs(NamedTuple):
    """Sums of weights onto the populations (rows) from some senders (columns); see `mnnbio.theory.inputs.Sums`."""

    total: Array
    squares: Array
    colored: Array  # squares times √tau_syn
    row_variance: Array
    column_variance: Array
    cubes: Array
    sizes: Array  # of the senders


class Nodes(NamedTuple):
    """Representatives of neurons, each of shape (node,)."""

    owner: npt.NDArray[np.int64]  # population
    weight: Array  # share of its population
    offset: Array  # mean input in standard deviations of the quenched disorder
    mean: Array  # external input: mV/ms
    variance: Array
    colored: Array
    third: Array
    lif: LIFParameters


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
    node_lif: NeuronTensors
    node_rate: Array  # 1/ms
    node_gain: Array  # 1/mV


def population_system(circuit: Circuit, dt: float | None, *, keep: bool = False) -> System:
    """Return the equations of a circuit that has one stimulus.

    Neurons with inputs of their own are one node where these are equal, unless `keep` says that they will differ.
    """
    neurons, sources = circuit.neurons, circuit.sources
    recurrent = _inputs(circuit, [p.name for p in neurons], dt)
    outside = _inputs(circuit, [s.name for s in sources], dt)
    rate, spread, disorder = source_moments(circuit, dt)
    external = [_drive(circuit, p, dt, keep=keep) for p in neurons]
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
    alike = alike and not (recurrent.squares.any() and any(len(given.mean) > 1 for given in external))
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
        _nodes(neurons, external, split=not alike),
    )


def with_inputs(system: System, circuit: Circuit, dt: float | None) -> System:
    """Return the equations of the same circuit with other inputs, for a system whose nodes were kept."""
    external = [_drive(circuit, p, dt, keep=True) for p in circuit.neurons]
    rate, spread, disorder = source_moments(circuit, dt)
    nodes = _nodes(circuit.neurons, external, split=bool(system.nodes.offset.any()))
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
        response = _answer(system, x.reshape(shape), dt)[2]
        drive = driving_variance(closure, response.rate, response.variance)
        mean = average(system, response.rate)
        # The disorder of the rates and the driving variances, in the units of the rates.
        spread = np.sqrt(np.maximum(average(system, response.rate**2) - mean**2, 0.0))
        return np.concatenate([mean, spread, average(system, drive)])

    first = np.zeros(size) if start is None else start
    found = array_fixed_point(step, np.concatenate([first, 0 * first, first]), max_iterations=max_iterations)
    mean, std, response = _answer(system, found.value.reshape(shape), dt)
    return PopulationState(
        found.value[:size],
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
    )


def fluctuations(circuit: Circuit, system: System, state: PopulationState) -> list[Fluctuations]:
    """Return the state of each population as the checks of validity see it."""
    cubes = system.recurrent.cubes @ state.rate + system.sources.cubes @ system.source_rate
    third = system.nodes.third + cubes[system.nodes.owner]
    found = []
    for row, population in enumerate(circuit.neurons):
        own = system.nodes.owner == row
        values = (state.node_std, third, state.node_rate, state.node_gain, np.asarray(system.nodes.lif.tau_m))
        found.append(Fluctuations(population, False, *(torch.from_numpy(v[None, own]) for v in values)))
    return found


def average(system: System, values: Array) -> Array:
    """Return the averages over populations of values at the nodes, the last axis."""
    members = system.nodes.owner == np.arange(len(system.sizes))[:, None]
    return np.asarray((values[..., None, :] * members * system.nodes.weight).sum(-1))


def _answer(system: System, x: Array, dt: float | None) -> tuple[Array, Array, Response]:
    rate, spread, drive = x
    disorder = quenched_variance(system, rate, spread**2)
    nodes, recurrent, sources = system.nodes, system.recurrent, system.sources
    mean = recurrent.total @ rate + sources.total @ system.source_rate
    variance = recurrent.squares @ drive + sources.squares @ system.source_spread
    colored = recurrent.colored @ drive + sources.colored @ system.source_spread
    current = nodes.mean + mean[nodes.owner] + nodes.offset * np.sqrt(disorder)[nodes.owner]
    received = Received(nodes.variance + variance[nodes.owner], nodes.colored + colored[nodes.owner])
    return current, np.sqrt(received.variance), respond(current, received, nodes.lif, dt)


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
    tables = {name: np.zeros((len(targets), len(senders))) for name in Inputs._fields[:-1]}
    for projection in circuit.projections:
        if projection.source in senders:
            place = targets.index(projection.target), senders.index(projection.source)
            found = received_sums(circuit, projection, dt)
            tables["total"][place] += found.total
            tables["squares"][place] += found.squares
            tables["colored"][place] += found.squares * np.sqrt(projection.tau_syn)
            tables["row_variance"][place] += found.row_variance
            tables["column_variance"][place] += found.column_variance
            tables["cubes"][place] += found.cubes
    return Inputs(**tables, sizes=np.array([float(circuit.population(name).size) for name in senders]))


def _drive(circuit: Circuit, population: Population, dt: float | None, *, keep: bool) -> Cumulants:
    """Return the cumulants of the drives, one value where the neurons are alike."""
    size = population.size if population.lif.size is not None else 1
    total = Cumulants(*(np.zeros(size) for _ in Cumulants._fields))
    for given in drives_into(circuit, population, dt):
        total = add_drive(total, given, shared=True)
    total = Cumulants(*np.broadcast_arrays(*total))
    if size == 1 and not keep and all((values == values[0]).all() for values in total):
        return Cumulants(*(values[:1] for values in total))
    return total


def _nodes(neurons: tuple[Population, ...], external: list[Cumulants], *, split: bool) -> Nodes:
    offsets, shares = (QUENCHED, QUENCHED_WEIGHTS / QUENCHED_WEIGHTS.sum()) if split else (np.zeros(1), np.ones(1))
    owners = [np.full(len(given.mean) * len(offsets), row) for row, given in enumerate(external)]
    columns: dict[str, list[Array]] = {name: [] for name in ("weight", "offset", *Cumulants._fields)}
    lif: dict[str, list[Array]] = {name: [] for name in ("tau_m", "v_th", "v_reset", "t_ref")}
    for population, given in zip(neurons, external, strict=True):
        count = len(given.mean)
        for name, values in given._asdict().items():
            columns[name].append(np.repeat(values, len(offsets)))
        columns["offset"].append(np.tile(offsets, count))
        columns["weight"].append(np.tile(shares, count) / count)
        for name, parts in lif.items():
            parts.append(np.repeat(np.broadcast_to(getattr(population.lif, name), count), len(offsets)))
    joined = {name: np.concatenate(parts) for name, parts in columns.items()}
    parameters = LIFParameters(**{name: np.concatenate(parts) for name, parts in lif.items()})
    return Nodes(np.concatenate(owners), **joined, lif=parameters)


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
    check_validity(circuit, fluctuations(circuit, system, state), eigenvalues=eigenvalues if covariance else None)
    return label_populations(system, state, eigenvalues, window=window, covariance=covariance)


def label_populations(
    system: System, state: PopulationState, eigenvalues: Stability, *, window: float | None, covariance: bool
) -> xr.Dataset:
    """Return the labelled statistics of a state of the populations."""
    skewness = interval_skewness(torch.from_numpy(state.node_mean), torch.from_numpy(state.node_std), state.node_lif)
    fields = (state.mean_input, state.std_input, state.rate, state.variance, average(system, skewness.numpy()))
    t_ref = average(system, np.broadcast_to(system.nodes.lif.t_ref, state.node_mean.shape))
    output = Output(*(torch.from_numpy(value) for value in fields))
    found, _ = statistics(output, torch.from_numpy(t_ref), window, ("population",))
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
    inputs = system.recurrent
    averages = np.linalg.eigvals(state.gain[:, None] * inputs.total)
    variances = state.gain[:, None] ** 2 * np.maximum(inputs.squares - inputs.total**2 / inputs.sizes, 0.0)
    radius = float(np.sqrt(np.abs(np.linalg.eigvals(variances)).max()))
    return Stability(max(radius, float(np.abs(averages).max())), max(radius, float(averages.real.max())))


def unstable_directions(system: System, state: PopulationState) -> list[Array]:
    """Return directions of the rates, (population,), in which deviations from a state grow, of largest element 1."""
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
