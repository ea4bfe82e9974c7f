"""Spike trains as the neurons that receive them see them: jumps of finite size, with the spectra of renewal trains."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mnnbio.circuit import Circuit, Population
from mnnbio.moments import NeuronTensors
from mnnbio.theory.inputs import Wired, all_trains, drive_input, drives_into
from mnnbio.theory.jumps import Exponent, Jumps, joint_exponent, private_exponent
from mnnbio.theory.labelled import Output
from mnnbio.theory.renewal import EDGES, TrainInput, effective_input, regrid, renewal_deficit
from mnnbio.theory.stationary import ExternalJumps, RecurrentTrains

Array = npt.NDArray[np.float64]

# Neurons follow a common input as far as their membranes let them: the spectrum of their correlation is taken to be
# that of a membrane, mean over each cell of frequency.
_PHASE = np.arctan(2 * np.pi * EDGES)
FOLLOWED = np.diff(_PHASE) / (2 * np.pi * np.diff(EDGES))


NO_JUMPS = ExternalJumps([], np.zeros(0), np.zeros(0), np.zeros(0))


def effective_layer(
    circuit: Circuit,
    population: Population,
    weights: Mapping[str, Tensor],
    rates: Mapping[str, Tensor],
    outputs: Mapping[str, Output],
    current: tuple[Tensor, Tensor, Tensor, Tensor],
    dt: float | None,
) -> tuple[Tensor, NeuronTensors]:
    """Return the white noise and the neurons that fire like a population of a feed-forward circuit.

    Parameters
    ----------
    circuit : Circuit
    population : Population
        One of the circuit's.
    weights : mapping of str to Tensor, shape (n, size)
        Weights from every population that it reads, mV.
    rates : mapping of str to Tensor, shape (1 or stimulus, size)
        Rates of these, spikes/ms.
    outputs : mapping of str to Output
        Statistics of those among them that are neurons.
    current : tuple of Tensor
        First three cumulants of the current as if all its parts were independent, in mV and ms, and what correlations
        between the trains add to its variance; each of shape (stimulus, n).
    dt : float, optional
        Time step, ms.

    Returns
    -------
    std : Tensor, shape (stimulus, n)
        mV/√ms.
    lif : NeuronTensors
        ``v_th`` of that shape.
    """
    mean, variance, third, correlated = (v.numpy() for v in torch.broadcast_tensors(*current))
    tau_m = np.broadcast_to(population.lif.tau_m, population.size)
    longest = float(tau_m.max())
    jumps = {name: Jumps(w.numpy()) for name, w in weights.items()}
    private = [jumps for given in drives_into(circuit, population, dt) for jumps in given.jumps]
    found = []
    for k in range(len(mean)):
        parts: list[Exponent] = []
        jumping, fluctuating = np.zeros(population.size), np.zeros(population.size)
        deficit = FOLLOWED[:, None] * correlated[k]
        for name, synapses in jumps.items():
            w, rate = weights[name].numpy(), _row(rates[name], k)
            parts.append(partial(synapses.exponent, rate=rate))
            jumping += w @ rate
            fluctuating += w**2 @ rate
            if name in outputs:
                deficit = deficit + _deficit(circuit, name, outputs[name], k, longest) @ (w**2).T
        for own in private:
            size, rate = own.size, np.broadcast_to(_row(own.rate, k), population.size)
            parts.append(partial(private_exponent, size=size, rate=rate))
            jumping += size * rate
            fluctuating += size**2 * rate
        noise = np.maximum(variance[k] - fluctuating, 0.0)  # rounding may leave less than none
        received = TrainInput(
            mean[k], variance[k], third[k], regrid(deficit, longest, tau_m), joint_exponent(parts, jumping, noise)
        )
        found.append(effective_input(received, population.lif, dt))
    std = torch.stack([torch.from_numpy(f.std) for f in found])
    return std, NeuronTensors(*(torch.stack(values) for values in zip(*(f.lif for f in found), strict=True)))


def _row(values: Tensor | Array, stimulus: int) -> Array:
    found: Array = np.atleast_2d(np.asarray(values))
    return found[stimulus if len(found) > 1 else 0]


def _deficit(circuit: Circuit, name: str, output: Output, stimulus: int, tau_m: float) -> Array:
    """Return what the spectra of a population's trains have more than Poisson trains, (cell, size)."""
    source = circuit.population(name)
    assert isinstance(source, Population)
    rate, variance, skewness = (_row(v, stimulus) for v in (output.rate, output.variance, output.skewness))
    fano = np.where(rate > 0, variance / np.where(rate > 0, rate, 1.0), 1.0)
    return renewal_deficit(rate, fano, skewness, source.lif.t_ref, tau_m)


def recurrent_trains(circuit: Circuit, wired: Wired, dt: float | None) -> RecurrentTrains:
    """Return the trains of a recurrent circuit with one stimulus, and the jumps that it gets from outside."""
    rate, lif = all_trains(circuit, dt).rate, wired.neurons.lif
    assert lif is not None
    parts: list[Exponent] = []
    if wired.sources.connections:
        sources = RecurrentTrains(wired.sources, NO_JUMPS, lif)
        parts.append(partial(sources.exponent, rate=rate))
    mean, third = wired.sources.dot(rate), wired.sources.third(rate)
    variance = wired.sources.received(rate).variance
    for drive in circuit.drives:
        place = circuit.slices()[drive.target]
        for jumps in drive_input(circuit, drive, dt).jumps:
            own, size = np.zeros(circuit.n_neurons), np.zeros(circuit.n_neurons)
            own[place], size[place] = jumps.rate, jumps.size
            parts.append(partial(private_exponent, size=size, rate=own))
            mean, variance, third = mean + own * size, variance + own * size**2, third + own * size**3
    return RecurrentTrains(wired.recurrent, ExternalJumps(parts, mean, variance, third), lif)
