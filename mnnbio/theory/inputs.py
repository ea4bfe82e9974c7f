"""Input of neurons: the one place where the parts of a circuit become cumulants of what its neurons receive.

Every part states its own share. A drive says it by `Drive.cumulants`; the trains of sources are registered by the type
of the source in `trains`; a spike counts for what `mnnbio.theory.transmission` says; synapses of a rule add up to
`received_sums` without one of them being drawn. The theories put the shares together, each in its own way: neuron by
neuron (`wire`, `external_input`), population by population (`received_sums`, `mean_phase`), or as jumps of their true
size (`drives_into`). A part without a theory is refused by name.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import singledispatch
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import sparse

from mnnbio.circuit import (
    Circuit,
    Drive,
    JumpTrain,
    ModeMatrix,
    PoissonSource,
    Population,
    Projection,
)
from mnnbio.neurons import LIFParameters
from mnnbio.synapses import Delta, Exponential
from mnnbio.theory.answers import (
    Neurons,
    answer,
    answers_filtered,
    has_answer,
    leak,
    refusal,
    takes_conductances,
)
from mnnbio.theory.transmission import charge, efficacy_of, filter_time, reversal
from mnnbio.theory.wiring import Conductances, Connection, Filtered, Modes, Received, Weights, Wiring
from mnnbio.values import Distribution

Array = npt.NDArray[np.float64]
Complex = npt.NDArray[np.complex128]

QUANTILES = 1000  # that stand for a distribution of weights in the mean of its cubes


class Trains(NamedTuple):
    """Trains of a source, in time steps if there are any; arrays of shape (size,) or (stimulus, size)."""

    rate: Array  # 1/ms
    variance: Array  # of their counts per time, 1/ms


@singledispatch
def trains(source: Any, dt: float | None) -> Trains:
    """Return the trains of a source, whose type registers how (``@trains.register``).

    Parameters
    ----------
    source : PoissonSource or another source of spikes
    dt : float, optional
        Time step of the simulation to be predicted, ms; None for continuous time.

    Raises
    ------
    TypeError
        If there is no theory for this type of source.
    """
    raise TypeError(
        f"there is no theory for the source {getattr(source, 'name', source)!r}, a {type(source).__name__}: a function "
        "registered with `mnnbio.theory.trains.register` would say what its trains are"
    )


@trains.register
def _(source: PoissonSource, dt: float | None) -> Trains:
    """Independent Poisson trains; in steps, each gives at most one spike, which makes them quieter."""
    rate = np.asarray(source.rates)
    return Trains(rate, rate if dt is None else rate * (1 - rate * dt))


def source_slices(circuit: Circuit) -> dict[str, slice]:
    """Return where each source stands in an array over all of their trains."""
    stops = np.cumsum([s.size for s in circuit.sources]).tolist()
    return {s.name: slice(stop - s.size, stop) for s, stop in zip(circuit.sources, stops, strict=True)}


def all_trains(circuit: Circuit, dt: float | None) -> Trains:
    """Return the trains of all sources of a circuit with one stimulus, (train,)."""
    found = [trains(source, dt) for source in circuit.sources]
    return Trains(*(np.concatenate([np.zeros(0), *values]) for values in zip(*found, strict=True))) if found else _NONE


_NONE = Trains(np.zeros(0), np.zeros(0))


def check_parts(circuit: Circuit, *, any_neuron: bool = False) -> None:
    """Raise a `TypeError` that names the first part of a circuit for which there is no theory.

    Parameters
    ----------
    circuit : Circuit
    any_neuron : bool
        Whether neurons, synapses and plasticity of any registered type will do; else leaky integrate-and-fire neurons
        with delta and exponential synapses.
    """
    for population in circuit.neurons:
        neuron = population.neuron
        if not has_answer(neuron):
            answer_of_none(population)
        if not any_neuron and not isinstance(neuron, LIFParameters):
            raise TypeError(
                f"the neurons of {population.name!r} are of the type {type(neuron).__name__}, and this theory is for "
                "leaky integrate-and-fire neurons (LIFParameters); `predict` with closure 'moments' or 'poisson' has "
                "one for them, and `mnnbio.validation.matched_lif(model, mean, std)` fits the LIF neuron that comes "
                "closest"
            )
    for source in circuit.sources:
        if trains.dispatch(type(source)) is trains.dispatch(object):
            trains(source, None)
    for projection in circuit.projections:
        try:
            _check_synapse(circuit, projection.target, projection.synapse_model, any_neuron=any_neuron)
            if efficacy_of(projection) is not None and not any_neuron:
                raise TypeError(
                    "this theory has none for synapses that change; `predict` has one for stationary states"
                )
        except TypeError as error:
            raise TypeError(f"{projection}: {error}") from error
    for drive in circuit.drives:
        for jumps in drive.steps(1.0).jumps:
            try:
                _check_synapse(circuit, drive.target, jumps.synapse_model, any_neuron=any_neuron)
            except TypeError as error:
                raise TypeError(f"{drive}: {error}") from error


def answer_of_none(population: Population) -> None:
    """Raise the `TypeError` of neurons for which there is no theory."""
    try:
        answer(population.neuron, None, None, None)  # type: ignore[arg-type]
    except TypeError as error:
        raise TypeError(f"population {population.name!r}: {error}") from error


def _check_synapse(circuit: Circuit, target: str, synapse: Any, *, any_neuron: bool) -> None:
    """Raise a `TypeError` if there is no theory for synapses onto a population."""
    population = circuit.population(target)
    assert isinstance(population, Population)
    filtered = filter_time(synapse) > 0
    if not any_neuron and not isinstance(synapse, Delta | Exponential):
        raise TypeError(
            f"this theory is for Delta and Exponential synapses, not for {type(synapse).__name__}; `predict` has one "
            "for stationary states"
        )
    if filtered and not answers_filtered(population.neuron):
        raise TypeError(
            refusal(
                f"filtered noise, which {type(synapse).__name__} synapses bring, into neurons",
                population.neuron,
                "a function registered with `mnnbio.theory.answer_to.register` would say how they answer",
            )
        )
    if reversal(synapse) is not None and not takes_conductances(population.neuron):
        raise TypeError(
            refusal(
                "conductances into neurons", population.neuron, "ConductanceLIF, EIF, QIF and AdEx neurons take them"
            )
        )
    charge(synapse, population, None)


def has_spectra(circuit: Circuit) -> bool:
    """Return whether the theories of spectra and time courses know all parts of a circuit."""
    try:
        check_parts(circuit)
    except TypeError:
        return False
    return True


def is_white(circuit: Circuit) -> bool:
    """Return whether all synapses of a circuit are jumps that do not change: moments then pass from layer to layer."""
    return all(filter_time(p.synapse_model) == 0 and not p.plasticity for p in circuit.projections) and all(
        filter_time(jumps.synapse_model) == 0 for drive in circuit.drives for jumps in drive.steps(1.0).jumps
    )


class ArrivingJumps(NamedTuple):
    """Poisson train of jumps of its own into every neuron of a population."""

    weight: float  # mV
    size: float | Array  # that a jump counts for, mV: the weight times the factor of its arrival, (), (1,) or (n,)
    rate: Array  # 1/ms, (), (n,) or (stimulus, n)
    tau_syn: float  # ms
    reversal: float | None = None  # mV, of conductances, whose sizes are in nS ms

    def moment(self, order: int) -> Array:
        """Return ``rate · size^order``."""
        return np.asarray(self.rate * self.size**order)


class DriveInput(NamedTuple):
    """Input that one drive gives to the neurons of its population; see `mnnbio.circuit.InputCumulants`."""

    mean: Array  # of the continuous current, mV/ms, (), (n,) or (stimulus, n)
    variance: Array  # of the white noise of each neuron, mV²/ms
    loadings: Array | None  # of the noise that neurons share, mV/√ms, (n, k) or (stimulus, n, k)
    jumps: tuple[ArrivingJumps, ...]
    openings: tuple[ArrivingJumps, ...] = ()  # of conductances

    def opened(self, size: int) -> Conductances | None:
        """Return the conductances that are opened in a population of some size; None if there are none."""
        if not self.openings:
            return None
        found = Conductances.none(size)
        for train in self.openings:
            assert train.reversal is not None
            powers = train.reversal ** np.arange(4.0)[:, None]
            mean, noise, third = (np.broadcast_to(train.moment(order), size) for order in (1, 2, 3))
            found = found.plus(
                Conductances(
                    mean,
                    train.reversal * mean,
                    powers[:3] * noise,
                    powers * third,
                    Filtered({train.tau_syn: powers[:3] * noise} if train.tau_syn > 0 else {}),
                )
            )
        return found


def drive_input(circuit: Circuit, drive: Drive, dt: float | None) -> DriveInput:
    """Return the input that a drive of a circuit gives.

    Raises
    ------
    TypeError
        If there is no theory for the drive.
    ValueError
        If it states numbers that are no cumulants.
    """
    population = circuit.population(drive.target)
    assert isinstance(population, Population)
    try:
        stated = drive.cumulants(dt)
    except NotImplementedError as error:
        raise TypeError(f"there is no theory for {drive}, a {type(drive).__name__}: it states no cumulants") from error
    mean, variance = np.asarray(stated.mean, dtype=np.float64), np.asarray(stated.variance, dtype=np.float64)
    loadings = None if stated.loadings is None else np.asarray(stated.loadings, dtype=np.float64)
    rates = [("rate of the jumps", np.asarray(j.rate)) for j in stated.jumps]
    for name, value in [("mean", mean), ("variance", variance), *rates]:
        if value.ndim and value.shape[-1] != population.size:
            raise ValueError(
                f"the cumulants of {drive} must have shape (), (n,) or (stimulus, n) with n = {population.size}, got "
                f"the {name} of shape {value.shape}"
            )
        if name != "mean" and not (value >= 0).all():
            raise ValueError(f"the {name} in the cumulants of {drive} must be ≥ 0, got {value.min():g}")
    if np.any(np.asarray(stated.current) != 0):
        mean = mean + _over_capacitance(population, drive, np.asarray(stated.current, dtype=np.float64))
    arriving = [_arriving(population, train, dt) for train in stated.jumps]
    jumps, openings = (tuple(j for j in arriving if (j.reversal is not None) is opens) for opens in (False, True))
    return DriveInput(mean, variance, loadings, jumps, openings)


def _arriving(population: Population, train: JumpTrain, dt: float | None) -> ArrivingJumps:
    synapse = train.synapse_model
    size = train.weight * charge(synapse, population, dt)
    return ArrivingJumps(train.weight, size, np.asarray(train.rate), filter_time(synapse), reversal(synapse))


def _over_capacitance(population: Population, drive: Drive, current: Array) -> Array:
    """Return a current in pA as mV/ms."""
    if not takes_conductances(population.neuron):
        raise TypeError(
            f"{drive} gives a current in pA, which needs neurons with a capacitance; the theory knows of none of the "
            f"{type(population.neuron).__name__} neurons of {population.name!r}"
        )
    return np.asarray(current / leak(population.neuron).C)


def drives_into(circuit: Circuit, population: Population, dt: float | None) -> Iterator[DriveInput]:
    """Yield the inputs that the drives of a population give, in the order of the circuit."""
    for drive in circuit.drives:
        if drive.target == population.name:
            yield drive_input(circuit, drive, dt)


class Cumulants(NamedTuple):
    """First three cumulants of an input per time."""

    mean: Array  # mV/ms
    variance: Array  # mV²/ms
    third: Array  # of the jumps, mV³/ms
    filtered: Filtered = Filtered()  # the part of the variance that synapses filter

    @staticmethod
    def none(shape: int | tuple[int, ...]) -> Cumulants:
        """Return those of no input."""
        return Cumulants(np.zeros(shape), np.zeros(shape), np.zeros(shape))


def add_drive(total: Cumulants, given: DriveInput, *, shared: bool) -> Cumulants:
    """Return cumulants with those of a drive added; `shared` noise counts towards the variance or not."""
    mean, variance, third, filtered = total
    mean, variance = mean + given.mean, variance + given.variance
    if shared and given.loadings is not None:
        variance = variance + (given.loadings**2).sum(-1)
    for train in given.jumps:
        mean, variance, third = mean + train.moment(1), variance + train.moment(2), third + train.moment(3)
        if train.tau_syn > 0:
            filtered = filtered + Filtered({train.tau_syn: np.asarray(train.moment(2))})
    return Cumulants(mean, variance, third, filtered)


class Wired(NamedTuple):
    """The weights of a circuit, in the order of its populations."""

    recurrent: Wiring  # (neuron, neuron)
    sources: Wiring  # (neuron, train of a source)
    neurons: Neurons


class External(NamedTuple):
    """Input that comes from outside, for one stimulus; arrays of shape (neuron,)."""

    mean: Array  # mV/ms
    received: Received
    third: Array  # third moment of the jumps, mV³/ms
    loadings: Wiring  # of independent noise sources on the currents, (neuron, noise source), mV/√ms
    opened: Conductances | None = None


def neurons_of(circuit: Circuit) -> Neurons:
    """Return the neurons of a circuit in the order of its populations."""
    places = circuit.slices()
    return Neurons([(np.arange(places[p.name].start, places[p.name].stop), p.neuron) for p in circuit.neurons])


def wire(circuit: Circuit, dt: float | None) -> Wired:
    """Return the realised weights of a circuit; none is ever stored as a full matrix that is not one already.

    In discrete time, jumps count for more than a current of the same mean: see `mnnbio.moments.jump_factors`.
    """
    neurons, outside = circuit.slices(), source_slices(circuit)
    inner: tuple[list[Connection], list[Connection]] = ([], [])
    outer: tuple[list[Connection], list[Connection]] = ([], [])
    for projection in circuit.projections:
        target = circuit.population(projection.target)
        assert isinstance(target, Population)
        from_outside = projection.source in outside
        synapse = projection.synapse_model
        ends = reversal(synapse)
        (outer if from_outside else inner)[ends is not None].append(
            Connection(
                neurons[target.name],
                (outside if from_outside else neurons)[projection.source],
                _weights(circuit, projection),
                charge(synapse, target, dt),
                filter_time(synapse),
                ends,
                efficacy_of(projection),
            )
        )
    n = circuit.n_neurons
    m = max((place.stop for place in outside.values()), default=0)
    return Wired(Wiring((n, n), *inner), Wiring((n, m), *outer), neurons_of(circuit))


def external_input(circuit: Circuit, wired: Wired, dt: float | None) -> External:
    """Return what sources and drives give to the neurons of a circuit that has one stimulus."""
    n = circuit.n_neurons
    rate, spread = all_trains(circuit, dt)
    entering = wired.sources.at_rates(rate)
    mean, third = entering.dot(rate), entering.third(rate)
    variance, filtered = entering.received(spread)
    opened = entering.opened(rate, spread)
    loadings, openings = (
        [replace(c, weights=_times_columns(c.weights, np.sqrt(spread[c.columns])), tau_s=0.0) for c in kind]
        for kind in (entering.connections, entering.conductances)
    )
    sources = wired.sources.shape[1]
    for drive in circuit.drives:
        place, given = circuit.slices()[drive.target], drive_input(circuit, drive, dt)
        before = Cumulants(mean[place], variance[place], third[place])
        mean[place], variance[place], third[place], own_filtered = add_drive(before, given, shared=True)
        filtered = filtered + own_filtered.placed(place, (n,))
        if given.openings:
            own = given.opened(place.stop - place.start)
            assert own is not None
            opened = Conductances.none(n) if opened is None else opened
            for total, value in zip(opened[:4], own[:4], strict=True):
                total[..., place] += value
            opened = opened._replace(filtered=opened.filtered + own.filtered.placed((..., place), (3, n)))
        if given.loadings is not None:
            columns = slice(sources, sources + given.loadings.shape[-1])
            loadings.append(Connection(place, columns, np.array(given.loadings)))
            sources = columns.stop
    return External(mean, Received(variance, filtered), third, Wiring((n, sources), loadings, openings), opened)


def _weights(circuit: Circuit, projection: Projection) -> Weights:
    matrix = circuit.matrix(projection)
    return Modes(matrix.input_modes, matrix.scores, matrix.output_modes) if isinstance(matrix, ModeMatrix) else matrix


def _times_columns(weights: Weights, factors: Array) -> Weights:
    if isinstance(weights, Modes):
        return weights._replace(right=weights.right * factors[:, None])
    if isinstance(weights, np.ndarray):
        return weights * factors
    scaled = weights.data * factors[weights.indices]
    return sparse.csr_array((scaled, weights.indices, weights.indptr), shape=weights.shape)


class Sums(NamedTuple):
    """Sums over the synapses of a projection, each expected for one neuron."""

    total: float  # of the weights that a target receives, mV
    squares: float  # of their squares, mV²
    row_variance: float  # variance of `total` among targets, mV²
    column_variance: float  # variance among sources of the weights that they give, mV²
    cubes: float  # of the cubes of the weights that a target receives, mV³


def received_sums(circuit: Circuit, projection: Projection, dt: float | None) -> Sums:
    """Return the sums of one projection, of weights as they count for in their targets on average (`charge`)."""
    target = circuit.population(projection.target)
    assert isinstance(target, Population)
    factor = float(np.mean(charge(projection.synapse_model, target, dt)))
    found = sums(circuit, projection)
    return Sums(
        factor * found.total,
        factor**2 * found.squares,
        factor**2 * found.row_variance,
        factor**2 * found.column_variance,
        factor**3 * found.cubes,
    )


def sums(circuit: Circuit, projection: Projection) -> Sums:
    """Return the sums of one projection.

    Explicit weights are summed; rules give expectations. A rule that does not say how its degrees vary is taken to
    connect like pairs drawn independently with its mean probability.
    """
    if projection.connectivity is None:
        return _of_matrix(projection.weights)
    n_target, n_source = circuit.population(projection.target).size, circuit.population(projection.source).size
    rule = projection.connectivity
    autapses = projection.autapses or projection.source != projection.target
    degree = rule.mean_indegree(n_target, n_source, autapses=autapses)
    weight = projection.weight
    mean, std = weight.moments() if isinstance(weight, Distribution) else (weight, 0.0)
    cube = float((weight.quantiles(QUANTILES) ** 3).mean()) if isinstance(weight, Distribution) else weight**3
    in_degree, out_degree = rule.degree_spread(n_target, n_source, autapses=autapses)
    return Sums(
        degree * mean,
        degree * (mean**2 + std**2),
        degree * (mean**2 * in_degree + std**2),
        degree * (mean**2 * out_degree + std**2) * n_target / n_source,
        degree * cube,
    )


def mean_phase(projection: Projection, omega: Complex) -> Complex:
    """Return the mean of ``e^{-iω delay}`` over the synapses of a projection, of the shape of ω.

    Exact for one delay, for delays of single synapses and for distributions that know their transform
    (`mnnbio.values.Distribution.laplace`).

    Parameters
    ----------
    projection : Projection
    omega : ndarray of complex
        iω, 1/ms; with a real part where the activity grows.
    """
    delay = projection.delay
    if isinstance(delay, Distribution):
        return delay.laplace(omega)
    values = np.ravel(np.asarray(delay, dtype=np.float64))
    if projection.connectivity is None and values.size > 1:
        strength = np.abs(_values(projection.weights))
        different, place = np.unique(values, return_inverse=True)
        share = np.bincount(place, weights=strength) / strength.sum()
        return np.array([np.exp(-s * different) @ share for s in omega.ravel()]).reshape(omega.shape)
    return np.asarray(np.exp(-omega[..., None] * values).mean(-1))


def _values(weights: Array | sparse.csr_array) -> Array:
    return np.ravel(weights.data if sparse.issparse(weights) else weights)


def _of_matrix(weights: Array | sparse.csr_array | ModeMatrix) -> Sums:
    if isinstance(weights, ModeMatrix):
        left, scores, right = weights.input_modes, weights.scores, weights.output_modes
        rows, columns = left @ (scores * right.sum(0)), right @ (scores * left.sum(0))
        squares = float((left.T @ left * (scores[:, None] * (right.T @ right) * scores)).sum()) / len(left)
        cubes = sum(float((((row * scores) @ right.T) ** 3).sum()) for row in left) / len(left)
    else:
        rows, columns = (np.asarray(weights.sum(axis)).ravel() for axis in (1, 0))
        squares = float((_values(weights) ** 2).sum()) / weights.shape[0]
        cubes = float((_values(weights) ** 3).sum()) / weights.shape[0]
    return Sums(float(rows.mean()), squares, float(rows.var()), float(columns.var()), cubes)
