"""How the populations of a circuit answer to each other at a frequency: responses, delays and synaptic filters."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mnnbio.circuit import Circuit, Population
from mnnbio.moments import NeuronTensors, transfer_function
from mnnbio.theory.population_system import PopulationState, System
from mnnbio.theory.reduction import mean_phase, sums
from mnnbio.theory.wired import arrival

Array = npt.NDArray[np.float64]
Complex = npt.NDArray[np.complex128]

REPRESENTATIVES = 24  # neurons that stand for a population whose neurons differ


class Representatives(NamedTuple):
    """Neurons that stand for the populations of a circuit."""

    places: npt.NDArray[np.int64]  # among the nodes
    members: Array  # weights of their averages, (population, neuron)
    mean: Array  # input, mV/ms
    std: Array  # mV/√ms
    lif: NeuronTensors


class Modulation(NamedTuple):
    """Linear response of populations at some frequencies."""

    effective: Complex  # response of a row's mean rate to a column's, (frequency, population, population)
    sources: Complex  # to a Poisson source's, (frequency, population, source)
    gain: Complex  # to the mean input, (frequency, population), 1/mV
    spectrum: Array  # of a neuron's spike train, (frequency, population), 1/ms


def modulation(
    circuit: Circuit, system: System, state: PopulationState, frequency: npt.ArrayLike, dt: float | None, *, noise: bool
) -> Modulation:
    """Return the response of the populations of a circuit at frequencies in 1/ms, which may be complex.

    Parameters
    ----------
    circuit : Circuit
        With one stimulus.
    system : System
    state : PopulationState
    frequency : array_like, shape (frequency,)
    dt : float, optional
        Time step, ms.
    noise : bool
        Whether a modulated rate modulates the variance of the input of its targets, too, and not the mean alone.
    """
    f = np.asarray(frequency, dtype=complex)
    chosen = representatives(system, state)
    answers = transfer_function(f, chosen.mean, chosen.std, chosen.lif)
    gain, to_variance = answers.mean @ chosen.members.T, answers.variance @ chosen.members.T
    spectrum = answers.spectrum @ chosen.members.T
    total, squares = _transmitted(circuit, system.names, f, dt)
    effective = gain[:, :, None] * total
    if noise:
        effective = effective + to_variance[:, :, None] * squares
    from_sources, _ = _transmitted(circuit, [s.name for s in circuit.sources], f, dt)
    return Modulation(effective, gain[:, :, None] * from_sources, gain, spectrum)


def _transmitted(circuit: Circuit, senders: list[str], frequency: Complex, dt: float | None) -> tuple[Complex, Complex]:
    """Return the sums of weights and of their squares, delayed and filtered, (frequency, population, sender)."""
    targets = [p.name for p in circuit.neurons]
    omega = 2j * np.pi * frequency
    total, squares = np.zeros((2, len(omega), len(targets), len(senders)), dtype=complex)
    for projection in circuit.projections:
        if projection.source not in senders:
            continue
        place = targets.index(projection.target), senders.index(projection.source)
        target = circuit.population(projection.target)
        assert isinstance(target, Population)
        factor = float(np.mean(arrival(target, dt, projection.tau_syn)))
        found, filtered = sums(circuit, projection), mean_phase(projection, omega) / (1 + omega * projection.tau_syn)
        total[:, *place] += factor * found.total * filtered
        squares[:, *place] += factor**2 * found.squares * filtered
    return total, squares


def representatives(system: System, state: PopulationState) -> Representatives:
    """Return neurons that stand for the populations: all nodes, or of many some at equal distances by mean input."""
    chosen, weights = [], []
    for row in range(len(system.sizes)):
        own = np.flatnonzero(system.nodes.owner == row)
        share = system.nodes.weight[own]
        if len(own) > REPRESENTATIVES:
            order = np.argsort(state.node_mean[own], kind="stable")
            quantiles = (np.arange(REPRESENTATIVES) + 0.5) / REPRESENTATIVES
            own = own[order][np.searchsorted(np.cumsum(share[order]), quantiles)]
            share = np.full(REPRESENTATIVES, 1 / REPRESENTATIVES)
        chosen.append(own)
        weights.append(share)
    index = np.concatenate(chosen)
    lif = NeuronTensors(*(value.expand(state.node_mean.shape)[index] for value in state.node_lif))
    members = (system.nodes.owner[index] == np.arange(len(system.sizes))[:, None]) * np.concatenate(weights)
    return Representatives(index, members, state.node_mean[index], state.node_std[index], lif)
