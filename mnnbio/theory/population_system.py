"""Equations for the populations of a circuit: what they receive, and how alike the neurons of each are."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mnnbio.circuit import Circuit, GaussianDrive, Population
from mnnbio.lif import LIFParameters
from mnnbio.moments import NeuronTensors, Received, Response, fixed_point, respond
from mnnbio.moments.fixed_point import Status
from mnnbio.moments.stationary import Closure
from mnnbio.theory.reduction import sums
from mnnbio.theory.wired import arrival

Array = npt.NDArray[np.float64]

# Nodes of the Gauss-Hermite quadrature over the mean inputs of a population's neurons.
QUENCHED, QUENCHED_WEIGHTS = np.polynomial.hermite_e.hermegauss(9)


class Inputs(NamedTuple):
    """Sums of weights onto the populations (rows) from some senders (columns); see `mnnbio.theory.reduction.Sums`."""

    total: Array
    squares: Array
    colored: Array  # squares times √tau_syn
    row_variance: Array
    column_variance: Array
    sizes: Array  # of the senders


class Nodes(NamedTuple):
    """Representatives of neurons, each of shape (node,)."""

    owner: npt.NDArray[np.int64]  # population
    weight: Array  # share of its population
    offset: Array  # mean input in standard deviations of the quenched disorder
    mean: Array  # external input: mV/ms
    variance: Array
    colored: Array
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
        if isinstance(drive, GaussianDrive) and drive.factor is not None:
            row = [p.name for p in neurons].index(drive.target)
            loadings = np.zeros((len(neurons), drive.factor.shape[1]))
            loadings[row] = drive.factor.sum(0)
            factors.append(loadings)
            own[row] += (drive.factor**2).sum(1).mean()
    alike = not recurrent.row_variance.any() and not outside.row_variance.any() and not disorder.any()
    alike = alike and not (recurrent.squares.any() and any(len(mean) > 1 for mean, _, _ in external))
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
    rates = [np.asarray(s.rates) for s in circuit.sources]
    spreads = [r if dt is None else r * (1 - r * dt) for r in rates]
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
        drive = response.rate if closure == "poisson" else response.variance
        mean = average(system, response.rate)
        # The disorder of the rates and the driving variances, in the units of the rates.
        spread = np.sqrt(np.maximum(average(system, response.rate**2) - mean**2, 0.0))
        return np.concatenate([mean, spread, average(system, drive)])

    first = np.zeros(size) if start is None else start
    found = fixed_point(step, np.concatenate([first, 0 * first, first]), max_iterations=max_iterations)
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
    )


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
            target = circuit.population(projection.target)
            assert isinstance(target, Population)
            factor = float(np.mean(arrival(target, dt, projection.tau_syn)))
            found = sums(circuit, projection)
            tables["total"][place] += factor * found.total
            tables["squares"][place] += factor**2 * found.squares
            tables["colored"][place] += factor**2 * found.squares * np.sqrt(projection.tau_syn)
            tables["row_variance"][place] += factor**2 * found.row_variance
            tables["column_variance"][place] += factor**2 * found.column_variance
    return Inputs(**tables, sizes=np.array([float(circuit.population(name).size) for name in senders]))


def _drive(circuit: Circuit, population: Population, dt: float | None, *, keep: bool) -> tuple[Array, Array, Array]:
    """Return mean, variance and coloured variance of the drives, one value where the neurons are alike."""
    size = population.size if population.lif.size is not None else 1
    mean, variance, colored = np.zeros(size), np.zeros(size), np.zeros(size)
    for drive in circuit.drives:
        if drive.target != population.name:
            continue
        if isinstance(drive, GaussianDrive):
            mean, variance = mean + drive.mean, variance + drive.std**2
            if drive.factor is not None:
                variance = variance + (drive.factor**2).sum(1)
        else:
            jump = drive.weight * arrival(population, dt, drive.tau_syn)
            mean, variance = mean + drive.rate * jump, variance + drive.rate * jump**2
            colored = colored + drive.rate * jump**2 * np.sqrt(drive.tau_syn)
    mean, variance, colored = np.broadcast_arrays(mean, variance, colored)
    if size == 1 and not keep and all((values == values[0]).all() for values in (mean, variance, colored)):
        return mean[:1], variance[:1], colored[:1]
    return mean, variance, colored


def _nodes(neurons: tuple[Population, ...], external: list[tuple[Array, Array, Array]], *, split: bool) -> Nodes:
    offsets, shares = (QUENCHED, QUENCHED_WEIGHTS / QUENCHED_WEIGHTS.sum()) if split else (np.zeros(1), np.ones(1))
    names = ("weight", "offset", "mean", "variance", "colored")
    owners = [np.full(len(mean) * len(offsets), row) for row, (mean, _, _) in enumerate(external)]
    columns: dict[str, list[Array]] = {name: [] for name in names}
    lif: dict[str, list[Array]] = {name: [] for name in ("tau_m", "v_th", "v_reset", "t_ref")}
    for population, (mean, variance, colored) in zip(neurons, external, strict=True):
        count = len(mean)
        for name, values in {"mean": mean, "variance": variance, "colored": colored}.items():
            columns[name].append(np.repeat(values, len(offsets)))
        columns["offset"].append(np.tile(offsets, count))
        columns["weight"].append(np.tile(shares, count) / count)
        for name, parts in lif.items():
            parts.append(np.repeat(np.broadcast_to(getattr(population.lif, name), count), len(offsets)))
    joined = {name: np.concatenate(parts) for name, parts in columns.items()}
    parameters = LIFParameters(**{name: np.concatenate(parts) for name, parts in lif.items()})
    return Nodes(np.concatenate(owners), **joined, lif=parameters)
