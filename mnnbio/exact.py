"""Exact first passage for the populations of a circuit: Poisson jumps of their true size, everything else as noise."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mnnbio.circuit import Circuit, ModeMatrix, PoissonDrive, PoissonSource, Population
from mnnbio.lif import LIFParameters
from mnnbio.moments import Passage, StepInput, first_passage, jump_factors


def exact_passages(circuit: Circuit, population: Population, mean: Tensor, std: Tensor, dt: float) -> Passage:
    """Return the output statistics of a population in discrete time, each of shape (stimulus, n).

    Parameters
    ----------
    circuit : Circuit
    population : Population
        One of the circuit's.
    mean, std : Tensor, shape (stimulus, n)
        Moments of the whole input current, mV/ms and mV/√ms. What does not come from Poisson sources and drives, the
        trains of other neurons included, is taken for Gaussian white noise.
    dt : float
        Time step, ms.
    """
    factors = jump_factors(population.lif, dt)
    mean_factor, variance_factor = (f.expand(population.size) for f in (factors.mean, factors.variance))
    weights, expected, bernoulli = _poisson_inputs(circuit, population, len(mean), dt)
    results = []
    for stimulus, row in enumerate(expected):
        for k in range(population.size):
            w, n = weights[k], row[k] if row.ndim == 2 else row
            jump_variance = w**2 * torch.where(bernoulli, n * (1 - n), n) / dt
            current = mean[stimulus, k] - mean_factor[k] * (w * n).sum() / dt
            # Without other noise the difference is zero up to rounding.
            noise = (std[stimulus, k] ** 2 - variance_factor[k] * jump_variance.sum()).relu().sqrt()
            used = (w != 0) & (n > 0)
            step = StepInput(current, noise, w[used], n[used], bernoulli[used])
            results.append(first_passage(step, _neuron(population.lif, k), dt))
    return Passage(*(torch.stack(values).reshape(mean.shape) for values in zip(*results, strict=True)))


def _poisson_inputs(circuit: Circuit, population: Population, stimuli: int, dt: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return weights (n, m), expected jumps a step (stimulus, n, m), and which inputs give at most one a step (m,)."""
    weights, expected, bernoulli = [torch.zeros(population.size, 0)], [torch.zeros(stimuli, population.size, 0)], []
    shape = (stimuli, population.size, -1)
    for projection in circuit.projections:
        source = circuit.population(projection.source)
        if projection.target == population.name and isinstance(source, PoissonSource):
            matrix = circuit.matrix(projection)
            if not isinstance(matrix, np.ndarray):
                matrix = matrix.to_dense() if isinstance(matrix, ModeMatrix) else matrix.toarray()
            weights.append(torch.tensor(matrix))
            rates = torch.tensor(np.atleast_2d(source.rates) * dt)
            expected.append(rates[:, None, :].expand(shape))
            bernoulli.append(torch.ones(source.size, dtype=torch.bool))
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
