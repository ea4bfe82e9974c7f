"""Trains that neurons receive apart from their circuit: each shifted in time at random, through synapses of any kind.

What arrives at a neuron in a step is the sum of the weights of the trains that fire, in the unit of the synapses. It
may be scaled to other rates, be given another spectrum, or lack some trains, before synapses and neurons see it.
Synapses have to add what arrives to a variable, as all do that keep no memory of single trains.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import fft, sparse, special

from mnnbio.circuit import Circuit, ModeMatrix, Population, Projection
from mnnbio.synapses import SynapseModel, Target
from mnnbio.theory.inputs import Sums, sums
from mnnbio.values import Distribution

Array = npt.NDArray[np.float64]
Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]
Spikes = npt.NDArray[np.uint8]

EVERY = 5  # one of so many trains is taken away or added to see what it does
SETS, ALIKE = 500, 1e-9  # of neurons that are tried as representatives, and relative spread of equal neurons
AT_ONCE = 4_000_000  # spikes that are worked on at a time


class Link(NamedTuple):
    """Synapses of one projection onto the neurons that stand for its target."""

    row: int  # population
    column: int  # sender: populations, then sources
    projection: Projection
    sums: Sums  # of the weights, in their unit
    records: int  # neurons that stand for the target
    record: Int64  # neuron that each train reaches, ascending, (train,)
    weight: Array  # (train,)

    @property
    def model(self) -> SynapseModel:
        """The synapses."""
        return self.projection.synapse_model


class Pool(NamedTuple):
    """Spikes of neurons that stand for a sender."""

    step: Int64  # (spike,), train after train
    start: Int64  # where each train begins, and the end
    steps: int
    rate: float  # 1/step


def pool(spikes: Spikes) -> Pool:
    """Return the spikes of neurons, (train, step) of 0 and 1."""
    train, step = np.nonzero(spikes)
    start = np.concatenate([[0], np.cumsum(np.bincount(train, minlength=len(spikes)))])
    return Pool(step, start, spikes.shape[1], float(spikes.mean()))


def poisson_pool(rates: Array, trains: int, steps: int, dt: float, rng: np.random.Generator) -> Pool:
    """Return trains of a Poisson source of given rates (1/ms), which fire at most once in a step."""
    chance = np.quantile(np.ravel(rates), (np.arange(trains) + 0.5) / trains) * dt
    return pool((rng.random((trains, steps), dtype=np.float32) < chance[:, None]).astype(np.uint8))


def features(circuit: Circuit, population: Population) -> Array:
    """Return what tells the neurons of a population apart, (feature, neuron)."""
    found = [np.asarray(value, float) for _, value in population.neuron.items() if isinstance(value, np.ndarray)]
    for drive in (d for d in circuit.drives if d.target == population.name):
        given = [getattr(drive, name) for name, axes in drive.given_inputs().items() if axes == 1]
        found += [np.asarray(value, float).reshape(population.size) for value in given if np.ndim(value)]
    for projection in circuit.projections:
        if projection.target == population.name and projection.connectivity is None:
            weights = _plain(projection)
            found += [np.ravel(values.sum(1)) for values in (weights, weights**2)]
    varied = [v for v in found if v.ndim == 1 and len(v) == population.size and np.ptp(v) > ALIKE * np.abs(v).max()]
    return np.array(varied).reshape(len(varied), population.size)


def differ(circuit: Circuit) -> bool:
    """Return whether neurons of a population differ, or the numbers of their synapses do."""
    spreads = [sums(circuit, p).row_variance for p in circuit.projections if p.connectivity is not None]
    return any(spreads) or any(len(features(circuit, population)) for population in circuit.neurons)


def representatives(circuit: Circuit, population: Population, records: int, rng: np.random.Generator) -> Int64:
    """Return the numbers of neurons that stand for a population: of many sets the one that is most like it."""
    apart, size = features(circuit, population), population.size
    if not len(apart) or size <= records:
        return np.arange(records) % size
    scaled = (apart - apart.mean(1, keepdims=True)) / apart.std(1, keepdims=True)
    best, least = np.arange(records), np.inf
    for _ in range(SETS):
        chosen = rng.choice(size, records, replace=False)
        own = scaled[:, chosen]
        off = float((own.mean(1) ** 2).sum() + ((own.std(1) - 1) ** 2).sum())
        if off < least:
            best, least = chosen, off
    return best


def link(
    circuit: Circuit, projection: Projection, places: Mapping[str, int], chosen: Int64, rng: np.random.Generator
) -> Link:
    """Return the synapses of a projection onto chosen neurons of its target, or onto as many of its rule."""
    records = len(chosen)
    if projection.connectivity is None:
        rows = sparse.csr_array(_plain(projection)[chosen])
        record, weight = np.repeat(np.arange(records), np.diff(rows.indptr)), np.asarray(rows.data, float)
    else:
        degrees = _degrees(circuit, projection, records, rng)
        record, own = np.repeat(np.arange(records), degrees), projection.weight
        number = int(degrees.sum())
        weight = own.sample(number, rng) if isinstance(own, Distribution) else np.full(number, float(own))
    ends = places[projection.target], places[projection.source]
    return Link(*ends, projection, sums(circuit, projection), records, record, weight)


def require_adding(projection: Projection, target: Population, dt: float) -> None:
    """Raise a `TypeError` unless the synapses of a projection add what arrives to a variable and do not change."""
    model = projection.synapse_model
    if projection.plasticity:
        raise TypeError(
            f"{projection} has synapses that change ({type(projection.plasticity[0]).__name__}): the closure "
            "'self_consistent' is for those that do not"
        )
    d = target.neuron.dynamics(dt)
    seen = Target(type(target.neuron).__name__, d.receives, d.tau_m, d.current_unit, d.capacitance, d.method)
    steps = model.steps(seen, "", dt)
    if steps.code is not None or not steps.adds_to:
        raise TypeError(
            f"{projection} has {type(model).__name__} synapses, which do more than add what arrives to a variable: the "
            "closure 'self_consistent' is for delta, exponential, alpha and double exponential ones, conductances and "
            "NMDA receptors"
        )


class Given(NamedTuple):
    """What arrives in a record: fluctuations and means of each link."""

    links: tuple[Link, ...]
    whole: list[Float32]  # fluctuations, (neuron, step)
    mean: list[Array]  # mean a step of each neuron over that of all, (neuron,)
    reference: Array  # rates of the senders' trains, 1/step; 0: scaled from nothing

    def scale(self, k: int, rate: Array) -> float:
        """Return the factor of the fluctuations of a link at rates of the senders, 1/step."""
        own, known = rate[self.links[k].column], self.reference[self.links[k].column]
        return float(np.sqrt(own / known)) if known > 0 else 0.0

    def feed(self, k: int, rate: Array) -> Float32:
        """Return what a link brings in each step at rates of the senders, 1/step."""
        one = self.links[k]
        mean = one.sums.total * rate[one.column] * self.mean[k]
        return self.whole[k] * np.float32(self.scale(k, rate)) + mean[:, None].astype(np.float32)


def white_given(links: tuple[Link, ...], reference: Array, records: int, steps: int, seed: int) -> Given:
    """Return white noise of the mean and the variance of Poisson trains."""
    whole = []
    for k, one in enumerate(links):
        noise = np.random.default_rng((seed, k)).standard_normal((records, steps), dtype=np.float32)
        whole.append(noise * np.float32(np.sqrt(one.sums.squares * reference[one.column])))
    return Given(links, whole, [np.ones(records)] * len(links), reference)


def train_given(
    links: tuple[Link, ...], pools: list[Pool], factors: list[Array] | None, seed: tuple[int, int], *, alike: bool
) -> Given:
    """Return trains of pools, each shifted in time.

    Parameters
    ----------
    links : tuple of Link
    pools : list of Pool
        Of every sender.
    factors : list of ndarray, shape (frequency,), optional
        Of the spectrum of what reaches each population.
    seed : tuple of int
    alike : bool
        Whether all neurons of a population receive the same on average.
    """
    whole, means = [], []
    for k, one in enumerate(links):
        arrived = arrivals(one, pools[one.column], (*seed, k))
        mean = arrived.mean(1, dtype=np.float64)
        arrived -= mean[:, None].astype(np.float32)
        if factors is not None:
            root = np.sqrt(factors[one.row]).astype(np.float32)
            arrived = fft.irfft(fft.rfft(arrived, axis=1, workers=1) * root, arrived.shape[1], axis=1, workers=1)
        whole.append(arrived)
        average = float(mean.mean())
        means.append(np.ones(len(mean)) if alike or average == 0 else mean / average)
    return Given(links, whole, means, np.array([p.rate for p in pools]))


def arrivals(one: Link, given: Pool, seed: tuple[int, int, int], *, part: bool = False) -> Float32:
    """Return the weights that arrive in each step, (neuron, step), of all trains or of a part of them.

    Parameters
    ----------
    one : Link
    given : Pool
    seed : tuple of int
        The same trains and shifts for the same seed.
    part : bool
        Whether only every fifth train counts.
    """
    rng = np.random.default_rng(seed)
    which = rng.integers(0, len(given.start) - 1, len(one.record))
    shift = rng.integers(0, given.steps, len(one.record))
    chosen = np.arange(0, len(which), EVERY) if part else np.arange(len(which))
    number = (given.start[1:] - given.start[:-1])[which[chosen]]
    found = np.zeros((one.records, given.steps), np.float32)
    flat, stops = found.reshape(-1), np.cumsum(number)
    at = 0
    while at < len(chosen):
        end = max(at + 1, int(np.searchsorted(stops, (stops[at - 1] if at else 0) + AT_ONCE, side="right")))
        own, count = chosen[at:end], number[at:end]
        last = np.cumsum(count)
        index = np.arange(int(last[-1])) + np.repeat(given.start[which[own]] - last + count, count)
        place = (given.step[index] + np.repeat(shift[own], count)) % given.steps
        low, high = int(one.record[own[0]]), int(one.record[own[-1]]) + 1
        place += np.repeat(one.record[own] - low, count) * given.steps
        weight = np.repeat(one.weight[own], count)
        flat[low * given.steps : high * given.steps] += np.bincount(place, weight, (high - low) * given.steps)
        at = end
    return found


def _degrees(circuit: Circuit, projection: Projection, records: int, rng: np.random.Generator) -> Int64:
    """Return numbers of synapses of neurons, spread as the rule has them."""
    rule = projection.connectivity
    assert rule is not None
    sizes = circuit.population(projection.target).size, circuit.population(projection.source).size
    autapses = projection.autapses or projection.source != projection.target
    mean, spread = rule.mean_indegree(*sizes, autapses=autapses), rule.degree_spread(*sizes, autapses=autapses)[0]
    normal = special.ndtri((np.arange(records) + 0.5) / records)
    drawn = rng.permutation(mean + np.sqrt(spread * mean) * normal)
    return np.maximum(np.floor(drawn + (rng.random(records) if spread else 0.5)), 0).astype(np.int64)


def _plain(projection: Projection) -> Any:
    """Return the weights of a projection as a dense matrix or a sparse array."""
    weights = projection.weights
    found: Any = weights.to_dense() if isinstance(weights, ModeMatrix) else weights
    return found
