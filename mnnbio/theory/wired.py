"""What the neurons of a circuit receive: the weights among them, as they are stored, and what comes from outside."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import sparse

from mnnbio.circuit import Circuit, GaussianDrive, ModeMatrix, PoissonSource, Population, Projection
from mnnbio.lif import LIFParameters
from mnnbio.moments import Connection, Modes, Received, Weights, Wiring, jump_factors

Array = npt.NDArray[np.float64]


class Wired(NamedTuple):
    """The weights of a circuit, in the order of its populations."""

    recurrent: Wiring  # (neuron, neuron)
    sources: Wiring  # (neuron, train of a source)
    lif: LIFParameters  # of all neurons


class External(NamedTuple):
    """What comes from outside, for one stimulus; arrays of shape (neuron,)."""

    mean: Array  # mV/ms
    received: Received
    third: Array  # third moment of the jumps, mV³/ms
    loadings: Wiring  # of independent noise sources on the currents, (neuron, noise source), mV/√ms


def wire(circuit: Circuit, dt: float | None) -> Wired:
    """Return the realised weights of a circuit; none is ever stored as a full matrix that is not one already.

    In discrete time, jumps count for more than a current of the same mean: see `mnnbio.moments.jump_factors`.
    """
    neurons, trains = circuit.slices(), source_slices(circuit)
    inner: list[Connection] = []
    outer: list[Connection] = []
    for projection in circuit.projections:
        target, source = circuit.population(projection.target), circuit.population(projection.source)
        assert isinstance(target, Population)
        from_outside = isinstance(source, PoissonSource)
        (outer if from_outside else inner).append(
            Connection(
                neurons[target.name],
                (trains if from_outside else neurons)[source.name],
                _weights(circuit, projection),
                arrival(target, dt, projection.tau_syn),
                projection.tau_syn,
            )
        )
    n = circuit.n_neurons
    m = max((place.stop for place in trains.values()), default=0)
    return Wired(Wiring((n, n), inner), Wiring((n, m), outer), _joined(circuit))


def external_input(circuit: Circuit, wired: Wired, dt: float | None) -> External:
    """Return what sources and drives give to the neurons of a circuit that has one stimulus."""
    n = circuit.n_neurons
    rate = np.concatenate([np.zeros(0), *(source.rates for source in circuit.sources)])
    spread = rate if dt is None else rate * (1 - rate * dt)  # at most one spike a step
    mean, third = wired.sources.dot(rate), wired.sources.third(rate)
    variance, colored = wired.sources.received(spread)
    loadings = [
        Connection(c.rows, c.columns, _times_columns(c.weights, np.sqrt(spread[c.columns])), c.scale)
        for c in wired.sources.connections
    ]
    sources = wired.sources.shape[1]
    for drive in circuit.drives:
        place = circuit.slices()[drive.target]
        if isinstance(drive, GaussianDrive):
            mean[place] += drive.mean
            variance[place] += drive.std**2
            if drive.factor is not None:
                variance[place] += (drive.factor**2).sum(-1)
                columns = slice(sources, sources + drive.factor.shape[-1])
                loadings.append(Connection(place, columns, np.array(drive.factor)))
                sources = columns.stop
        else:
            population = circuit.population(drive.target)
            assert isinstance(population, Population)
            jump = drive.weight * arrival(population, dt, drive.tau_syn)
            mean[place] += drive.rate * jump
            variance[place] += drive.rate * jump**2
            colored[place] += drive.rate * jump**2 * np.sqrt(drive.tau_syn)
            third[place] += drive.rate * jump**3
    return External(mean, Received(variance, colored), third, Wiring((n, sources), loadings))


def source_slices(circuit: Circuit) -> dict[str, slice]:
    """Return where each Poisson source stands in an array over all of their trains."""
    stops = np.cumsum([s.size for s in circuit.sources]).tolist()
    return {s.name: slice(stop - s.size, stop) for s, stop in zip(circuit.sources, stops, strict=True)}


def arrival(population: Population, dt: float | None, tau_syn: float) -> float | Array:
    """Return what a jump counts for; the current of an exponential synapse is no jump and keeps its charge."""
    if dt is None or tau_syn > 0:
        return 1.0
    factor = jump_factors(population.lif, dt).mean.numpy()
    return factor if factor.ndim else float(factor)


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


def _joined(circuit: Circuit) -> LIFParameters:
    """Return the parameters of all neurons; single numbers where all agree."""
    parameters = {}
    for name in ("tau_m", "v_th", "v_reset", "t_ref"):
        values = np.concatenate([np.broadcast_to(getattr(p.lif, name), p.size) for p in circuit.neurons])
        parameters[name] = float(values[0]) if (values == values[0]).all() else values
    return LIFParameters(**parameters)
