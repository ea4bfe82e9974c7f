"""First passage in discrete time for the populations of a circuit: jumps of their true size, the rest as noise."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from mnnbio.circuit import Circuit, PoissonDrive, Population
from mnnbio.lif import LIFParameters
from mnnbio.moments import Passage, StepInput, first_passage, jump_factors


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
        Moments of the whole input current, mV/ms and mV/√ms. What is neither from those populations nor from Poisson
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
    for drive in circuit.drives:
        if isinstance(drive, PoissonDrive) and drive.target == population.name:
            weights.append(torch.full((population.size, 1), drive.weight, dtype=torch.float64))
            rate = np.broadcast_to(np.atleast_2d(drive.rate), (len(np.atleast_2d(drive.rate)), population.size))
            expected.append(torch.tensor(rate * dt)[:, :, None].expand(shape))
            bernoulli.append(torch.zeros(1, dtype=torch.bool))
    flags = torch.cat(bernoulli) if bernoulli else torch.zeros(0, dtype=torch.bool)
    return torch.cat(weights, 1).double(), torch.cat(expected, 2).double(), flags


def _neuron(lif: LIFParameters, index: int) -> LIFParameters:
    """Return the parameters of one neuron."""
    return LIFParameters(
        **{name: value[index] if isinstance(value, np.ndarray) else value for name, value in lif.items()}
    )
