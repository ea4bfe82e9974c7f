"""Moments of a feed-forward circuit: from its sources through every layer of neurons, all stimuli at once.

Inputs are Gaussian white noise; or, by first passage in discrete time, jumps of their true size and the rest as noise.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mnnbio.circuit import Circuit, Population
from mnnbio.moments import (
    Passage,
    StepInput,
    first_passage,
    interval_skewness,
    jump_factors,
    moment_activation,
)
from mnnbio.neurons import LIFParameters
from mnnbio.theory.answers import Answer, answer, membrane_time
from mnnbio.theory.inputs import Cumulants, add_drive, drives_into, trains
from mnnbio.theory.labelled import Output
from mnnbio.theory.layer_weights import LayerWeights
from mnnbio.theory.stationary import Closure, driving_variance
from mnnbio.theory.train_input import effective_layer
from mnnbio.theory.transmission import arrival
from mnnbio.theory.validity import Fluctuations, check_validity, warn_of_correlations

Theory = Literal["diffusion", "first_passage"]


class CircuitMoments(NamedTuple):
    """Statistics of all populations of neurons, by name; covariance blocks (stimulus, n, m) by pair of names."""

    outputs: dict[str, Output]
    covariance: dict[tuple[str, str], Tensor]


class _Current(NamedTuple):
    """Moments of the currents into one population, each of shape (stimulus, n)."""

    mean: Tensor  # mV/ms
    variance: Tensor  # mV²/ms
    third: Tensor  # third moment of the jumps, mV³/ms: the first one that a diffusion leaves out


class _Trains(NamedTuple):
    """Spike trains as far as they are known, by population."""

    rate: dict[str, Tensor]
    drive: dict[str, Tensor]  # variance per time with which a train drives its targets
    blocks: dict[tuple[str, str], Tensor]  # covariances; on the own diagonal the driving variance

    def received(self, weights: LayerWeights, source: str, partner: str) -> Tensor | None:
        """Return the covariance of ``weights · source`` with the partner's trains, None where there is none."""
        if source == partner and (source, source) not in self.blocks:  # independent trains are never expanded
            return weights.driven_by(self.drive[source])
        block = self.blocks.get((source, partner))
        return None if block is None else weights.times(block)


def propagate(
    circuit: Circuit, *, dt: float | None, closure: Closure, theory: Theory, covariance: bool
) -> CircuitMoments:
    """Return the moments of every population of a feed-forward circuit.

    Every population sums its inputs, ``μ = Σ W r`` and ``Σ = Σ W C Wᵀ``, and answers with the moment activation; off
    the diagonal ``C_ij → gain_i gain_j C_ij``, between populations as within one, so that a population which reads
    several others sees their correlation.

    Parameters
    ----------
    circuit : Circuit
        Feed-forward.
    dt : float, optional
        Time step of the simulation to describe, ms; None for continuous time.
    closure : {"moments", "poisson", "renewal"}
        Whether a train drives the next neuron with its count variance, with its rate, or as jumps with the spectrum of
        a renewal process.
    theory : {"diffusion", "first_passage"}
        Inputs as Gaussian white noise, or Poisson jumps of their true size in discrete time (needs `dt`); spikes of
        neurons count as such jumps under the closure "poisson".
    covariance : bool
        Whether the covariances within and between all populations are wanted; without, only what the following layers
        need is computed.

    Returns
    -------
    CircuitMoments

    Raises
    ------
    ValueError
        If the circuit is recurrent.

    Warns
    -----
    FiniteWeightWarning
        If the asymmetry of jumps makes a rate doubtful.
    CorrelationWarning
        If currents are too correlated for the covariance of the trains to follow linearly.
    """
    layers = circuit.layers
    if layers is None:
        raise ValueError(f"moments propagate through feed-forward circuits only, {circuit!r} is recurrent")
    reads = _weights_into(circuit, dt)
    known = _Trains({}, {}, {})
    for outside in circuit.sources:
        given = trains(outside, dt)
        known.rate[outside.name], known.drive[outside.name] = _rows(given.rate), _rows(given.variance)
    outputs: dict[str, Output] = {}
    states: list[Fluctuations] = []
    for population in layers:
        name, incoming = population.name, reads[population.name]
        feeds_neurons = any(name in sources for sources in reads.values())
        current, common = _own_drive(circuit, population, dt)
        for source, weights in incoming.items():
            rate = known.rate[source]
            current = current._replace(
                mean=current.mean + weights.powers(rate, 1), third=current.third + weights.powers(rate, 3)
            )
        cross: dict[str, Tensor] = {}
        between = common @ common.mT
        if covariance or feeds_neurons or any(source in outputs for source in incoming):
            cross = _cross_covariances(known, incoming, [*outputs, *_partners(circuit, reads, incoming)])
            for source, weights in incoming.items():
                between = between + weights.after(cross[source])
            received = torch.diagonal(between, dim1=-2, dim2=-1)
        else:
            received = (common**2).sum(-1)
            for source, weights in incoming.items():
                received = received + weights.powers(known.drive[source], 2)

        mean, std = torch.broadcast_tensors(current.mean, (current.variance + received).sqrt())
        driving = std  # the white noise that acts like the input
        if theory == "first_passage":
            assert dt is not None
            jumps = {n: r for n, r in known.rate.items() if closure == "poisson" or n not in outputs}
            rate, variance, gain, skewness = exact_passages(circuit, population, jumps, mean, std, dt)
        else:
            if closure == "renewal":
                slow = fast = current.variance + (common**2).sum(-1)
                for source, weights in incoming.items():
                    slow = slow + weights.powers(known.drive[source], 2)
                    highest = known.rate[source] if source in outputs else known.drive[source]
                    fast = fast + weights.powers(highest, 2)
                whole = mean, fast, current.third, std**2 - slow
                full = {source: weights.full() for source, weights in incoming.items()}
                driving, lif = effective_layer(circuit, population, full, known.rate, outputs, whole, dt)
                found = Answer(*moment_activation(mean, driving, lif), interval_skewness(mean, driving, lif))
            else:
                found = answer(population.neuron, mean, std, dt)
            rate, variance, gain, skewness = found[:4]
            time = membrane_time(population.neuron)
            if time is not None:
                tau_m = torch.tensor(time, dtype=torch.float64)
                states.append(Fluctuations(population, True, std, current.third, rate, gain, tau_m))
        outputs[name] = Output(mean, driving, rate, variance, skewness)
        known.rate[name] = rate
        known.drive[name] = driving_variance(closure, rate, variance)
        if covariance or feeds_neurons:
            warn_of_correlations(population, between, std, rate)
            correlated = gain[..., :, None] * between * gain[..., None, :]
            known.blocks[name, name] = _with_diagonal(correlated, known.drive[name])
            for partner, value in cross.items():
                known.blocks[name, partner] = gain[..., :, None] * value
                known.blocks[partner, name] = known.blocks[name, partner].mT

    check_validity(circuit, states, diffusion=closure != "renewal")
    blocks = {pair: block for pair, block in known.blocks.items() if set(pair) <= set(outputs)} if covariance else {}
    for name in outputs if covariance else ():
        blocks[name, name] = _with_diagonal(blocks[name, name], outputs[name].variance)
    return CircuitMoments(outputs, blocks)


def _weights_into(circuit: Circuit, dt: float | None) -> dict[str, dict[str, LayerWeights]]:
    """Return the weights into each population by source.

    In discrete time, jumps count for more than a current of the same mean: see `jump_factors`.
    """
    reads: dict[str, dict[str, LayerWeights]] = {p.name: {} for p in circuit.neurons}
    for projection in circuit.projections:
        population = circuit.population(projection.target)
        assert isinstance(population, Population)
        factor = torch.as_tensor(arrival(population, dt, projection.tau_syn), dtype=torch.float64)
        weights, sources = LayerWeights.of(circuit, projection, factor.numpy()), reads[projection.target]
        before = sources.get(projection.source)
        sources[projection.source] = weights if before is None else before.plus(weights)
    return reads


def _rows(values: npt.NDArray[np.float64]) -> Tensor:
    """Return values with a stimulus dimension in front; a copy, for tensors must not share frozen arrays."""
    return torch.tensor(np.atleast_2d(values))


def _partners(
    circuit: Circuit, reads: dict[str, dict[str, LayerWeights]], incoming: dict[str, LayerWeights]
) -> list[str]:
    """Return the sources whose covariance with a population matters: those it reads, and those read more than once."""
    return [
        s.name
        for s in circuit.sources
        if s.name in incoming or sum(s.name in sources for sources in reads.values()) > 1
    ]


def _cross_covariances(trains: _Trains, incoming: dict[str, LayerWeights], partners: list[str]) -> dict[str, Tensor]:
    """Return the covariance of the currents into a population with the trains of each partner, (stimulus, n, m)."""
    cross = {}
    for partner in partners:
        terms = [trains.received(weights, source, partner) for source, weights in incoming.items()]
        present = [term for term in terms if term is not None]
        if present:
            cross[partner] = present[0] if len(present) == 1 else torch.stack(torch.broadcast_tensors(*present)).sum(0)
    return cross


def _own_drive(circuit: Circuit, population: Population, dt: float | None) -> tuple[_Current, Tensor]:
    """Return what the drives give to a population, and the loadings of the noise that its neurons share."""
    total = Cumulants(*(np.zeros((1, population.size)) for _ in Cumulants._fields))
    factors = [torch.zeros(1, population.size, 0, dtype=torch.float64)]
    for given in drives_into(circuit, population, dt):
        total = add_drive(total, given, shared=False)
        if given.loadings is not None:
            factors.append(torch.tensor(given.loadings.reshape(-1, *given.loadings.shape[-2:])))
    stimuli = max(len(factor) for factor in factors)
    common = torch.cat([factor.expand(stimuli, -1, -1) for factor in factors], dim=-1)
    current = _Current(*(torch.from_numpy(v) for v in (total.mean, total.variance, total.third)))
    return current, common


def _with_diagonal(matrix: Tensor, diagonal: Tensor) -> Tensor:
    result = matrix.expand(*diagonal.shape, diagonal.shape[-1]).clone()
    result.diagonal(dim1=-2, dim2=-1).copy_(diagonal)
    return result


def exact_passages(
    circuit: Circuit, population: Population, rates: Mapping[str, Tensor], mean: Tensor, std: Tensor, dt: float
) -> Passage:
    """Return the output statistics of a population in discrete time, each of shape (stimulus, n).

    Parameters
    ----------
    circuit : Circuit
    population : Population
        One of the circuit's.
    rates : mapping of str to Tensor, shape (1 or stimulus, size)
        Rates of the populations whose spikes are Poisson jumps, spikes/ms.
    mean, std : Tensor, shape (stimulus, n)
        Moments of the whole input current, mV/ms and mV/√ms. What is neither from those populations nor jumps of
        drives is taken for Gaussian white noise; none is left where correlations make the total variance smaller than
        that of the jumps.
    dt : float
        Time step, ms.
    """
    factors = jump_factors(population.lif, dt)
    mean_factor, variance_factor = (f.expand(population.size) for f in (factors.mean, factors.variance))
    weights, expected, bernoulli = _jumps(circuit, population, rates, len(mean), dt)
    results = []
    for stimulus, row in enumerate(expected):
        for k in range(population.size):
            w, n = weights[k], row[k] if row.ndim == 2 else row
            jump_variance = w**2 * torch.where(bernoulli, n * (1 - n), n) / dt
            current = mean[stimulus, k] - mean_factor[k] * (w * n).sum() / dt
            noise = (std[stimulus, k] ** 2 - variance_factor[k] * jump_variance.sum()).relu().sqrt()
            used = (w != 0) & (n > 0)
            step = StepInput(current, noise, w[used], n[used], bernoulli[used])
            results.append(first_passage(step, _neuron(population.lif, k), dt))
    return Passage(*(torch.stack(values).reshape(mean.shape) for values in zip(*results, strict=True)))


def _jumps(
    circuit: Circuit, population: Population, rates: Mapping[str, Tensor], stimuli: int, dt: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return weights (n, m), expected jumps a step (stimulus, n, m), and which inputs give at most one a step (m,)."""
    weights, expected, bernoulli = [torch.zeros(population.size, 0)], [torch.zeros(stimuli, population.size, 0)], []
    shape = (stimuli, population.size, -1)
    for projection in circuit.projections:
        if projection.target == population.name and projection.source in rates:
            weights.append(torch.tensor(circuit.dense(projection)))
            expected.append((rates[projection.source] * dt)[:, None, :].expand(shape))
            bernoulli.append(torch.ones(weights[-1].shape[1], dtype=torch.bool))
    for given in drives_into(circuit, population, dt):
        for jumps in given.jumps:
            weights.append(torch.full((population.size, 1), jumps.weight, dtype=torch.float64))
            rate = np.broadcast_to(np.atleast_2d(jumps.rate), (len(np.atleast_2d(jumps.rate)), population.size))
            expected.append(torch.tensor(rate * dt)[:, :, None].expand(shape))
            bernoulli.append(torch.zeros(1, dtype=torch.bool))
    flags = torch.cat(bernoulli) if bernoulli else torch.zeros(0, dtype=torch.bool)
    return torch.cat(weights, 1).double(), torch.cat(expected, 2).double(), flags


def _neuron(lif: LIFParameters, index: int) -> LIFParameters:
    """Return the parameters of one neuron."""
    return LIFParameters(
        **{name: value[index] if isinstance(value, np.ndarray) else value for name, value in lif.items()}
    )
