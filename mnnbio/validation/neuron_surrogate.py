"""Neurons of any model in Gaussian input of any spectrum, by surrogates: simulated singly, then averaged.

Exponential and adaptive neurons, those with conductances, and neurons of a user's own equations have no closed answer
to noise with a memory. A surrogate is the neuron itself, simulated by the engine that simulates circuits, in a current
that is given step by step. As for leaky neurons (`mnnbio.moments.lif_surrogate`), pairs of opposite input cancel what
is odd in it, and the same noise at every call makes the answers smooth functions of mean and spectrum.

On import, `neuron_surrogate` registers itself as the sampler of all models of neurons (`mnnbio.theory.sampler_of`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from mnnbio.circuit import Circuit, GaussianDrive, Population
from mnnbio.machine import require_integer
from mnnbio.moments import (
    PairRecord,
    Surrogate,
    frequencies,
    gaussian_transforms,
    pair_record,
    surrogate_of_records,
    synaptic_filter,
)
from mnnbio.neurons import NeuronModel
from mnnbio.spikes import simulate
from mnnbio.theory import register_sampler, taken
from mnnbio.units import in_unit
from mnnbio.values import Distribution, Steps

Array = npt.NDArray[np.float64]
Codegen = Literal["cpp_standalone", "runtime"]

POPULATION = "cells"
WARM_UP = 500.0  # ms before a record, of the input at its end, by default
AT_ONCE = 2_000_000  # numbers that are given to a simulation


def neuron_surrogate(
    mean: npt.ArrayLike,
    spectrum: npt.ArrayLike,
    neuron: NeuronModel,
    dt: Any,
    *,
    pairs: int = 24,
    seed: int = 0,
    tau_syn: Sequence[float] = (0.0,),
    warmup: Any = WARM_UP,
    codegen: Codegen = "cpp_standalone",
) -> Surrogate:
    """Return how neurons of any model answer Gaussian input of given mean and spectrum.

    Parameters
    ----------
    mean : array_like, shape (neuron,)
        Of the input, mV/ms; neurons with a capacitance receive this times it.
    spectrum : array_like, shape (neuron, frequency) or (frequency,)
        Two-sided, of the input, mV²/ms, on the `mnnbio.moments.frequencies` of a record: its length decides that of the
        records. `filtered_spectrum` is that of white noise through exponential synapses.
    neuron : NeuronModel
        One neuron, or as many as there are means.
    dt : float or Quantity
        Time step, ms.
    pairs : int
        Records of each neuron, each with its opposite.
    seed : int
        Of the noise, the same for all neurons.
    tau_syn : sequence of float
        Kinds of synapses (ms) through which the variance of the input is modulated.
    warmup : float or Quantity
        Time before a record, ms, in which the neuron receives the end of it; longer than its slowest variable.
    codegen : {"cpp_standalone", "runtime"}
        As of `mnnbio.simulate`.

    Returns
    -------
    Surrogate
        Rate, spectrum of the train, responses to mean and variance with standard errors over pairs, and the squared
        coefficient of variation of the intervals.

    Raises
    ------
    TypeError
        If `neuron` is no neuron model.
    ValueError
        If shapes do not fit, a spectrum is negative, or a parameter is a distribution.
    SimulationFailed
        If the neuron blows up in this input.

    Examples
    --------
    ::

        spectrum = filtered_spectrum(std=1.5, tau_syn=10.0, dt=0.1, duration=10_000.0)
        found = neuron_surrogate([1.8], spectrum, AdEx(), dt=0.1)
        found.rate, found.rate_error
    """
    step, before = (float(in_unit(value, "ms", name)) for value, name in ((dt, "dt"), (warmup, "warmup")))
    means, power = np.atleast_1d(np.asarray(mean, float)), np.atleast_2d(np.asarray(spectrum, float))
    _check(neuron, means, power, step, before, pairs)
    power = np.broadcast_to(power, (len(means), power.shape[1]))
    steps, warm = 2 * (power.shape[1] - 1), round(before / step)
    chunk = max(1, AT_ONCE // (2 * (steps + warm)))
    jobs = [(k, pair) for k in range(len(means)) for pair in range(pairs)]
    records: list[list[PairRecord]] = [[] for _ in means]
    for first in range(0, len(jobs), chunk):
        some = jobs[first : first + chunk]
        noise = [gaussian_transforms(power[k], step, np.random.default_rng((seed, pair))) for k, pair in some]
        deviation = np.fft.irfft(np.stack(noise), steps, axis=1)
        current = np.stack([deviation, -deviation], 1) + means[[k for k, _ in some], None, None]
        owners = np.repeat([k for k, _ in some], 2)
        spikes = _simulated(current.reshape(len(owners), steps), neuron, owners, step, warm, codegen)
        for (k, _), transform, trains in zip(some, noise, spikes.reshape(-1, 2, steps), strict=True):
            records[k].append(pair_record(transform, trains, power[k], step, tau_syn))
    return surrogate_of_records(records, steps, step)


def filtered_spectrum(std: Any, tau_syn: Any, dt: Any, duration: Any) -> Array:
    """Return the spectrum of white noise through exponential synapses, on the frequencies of records.

    Parameters
    ----------
    std : float or Quantity
        Standard deviation of the noise before the filter, mV/√ms.
    tau_syn : float or Quantity
        Synaptic time constant, ms; 0: white noise.
    dt : float or Quantity
        Time step, ms.
    duration : float or Quantity
        Of a record, ms; rounded up to an even number of steps.

    Returns
    -------
    ndarray, shape (frequency,)
        Two-sided, mV²/ms.
    """
    given = ((std, "mV/sqrt(ms)", "std"), (tau_syn, "ms", "tau_syn"), (dt, "ms", "dt"), (duration, "ms", "duration"))
    noise, tau, step, length = (float(in_unit(value, unit, name)) for value, unit, name in given)  # type: ignore[arg-type]
    for name, value, least in (
        ("std", noise, 0.0),
        ("tau_syn", tau, 0.0),
        ("dt", step, None),
        ("duration", length, None),
    ):
        if not (value > 0 if least is None else value >= least):
            raise ValueError(f"`{name}` must be {'> 0' if least is None else '≥ 0'}, got {value:g}")
    steps = 2 * int(np.ceil(length / step / 2))
    return np.asarray(noise**2 * np.abs(synaptic_filter(frequencies(steps, step), tau, step)) ** 2)


def _check(neuron: Any, means: Array, power: Array, dt: float, warmup: float, pairs: int) -> None:
    if not isinstance(neuron, NeuronModel):
        raise TypeError(f"`neuron` must be a neuron model such as AdEx() or EquationNeuron(...), got {neuron!r}")
    random = [name for name, value in neuron.items() if isinstance(value, Distribution)]
    if random:
        raise ValueError(f"`{random[0]}` of {type(neuron).__name__} is a distribution: give numbers, or one per neuron")
    if neuron.size not in (None, len(means)):
        raise ValueError(
            f"`neuron` describes {neuron.size} neurons and `mean` has {len(means)}: give one value for each"
        )
    if means.ndim != 1 or power.ndim != 2 or power.shape[1] < 2 or len(power) not in (1, len(means)):
        raise ValueError(
            f"`mean` must be (neuron,) and `spectrum` (neuron, frequency), got {means.shape} and {power.shape}"
        )
    if not (power >= 0).all():
        raise ValueError(f"`spectrum` must be ≥ 0 mV²/ms, got {power.min():g}")
    if not dt > 0 or not warmup >= 0:
        raise ValueError(f"`dt` must be > 0 ms and `warmup` ≥ 0 ms, got {dt:g} and {warmup:g}")
    require_integer("pairs", pairs, 1)


def _simulated(
    current: Array, neuron: NeuronModel, owners: npt.NDArray[np.int64], dt: float, warm: int, codegen: Codegen
) -> npt.NDArray[np.uint8]:
    """Return the spikes of neurons in given currents (mV/ms), (train, step)."""
    trains, steps = current.shape
    rounds = -(-warm // steps)
    given = np.concatenate([current] * (rounds + 1), axis=1)[:, rounds * steps - warm :]
    course = Steps(np.arange(warm + steps) * dt, given.T)
    own = taken(neuron, owners) if neuron.size is not None else neuron
    circuit = Circuit([Population(POPULATION, trains, own)], drives=[GaussianDrive(POPULATION, mean=course, std=0.0)])
    result = simulate(
        circuit,
        (warm + steps) * dt,
        dt=dt,
        seed=0,
        covariance=False,
        codegen=codegen,
        processes=1,
        record={POPULATION: "spikes"},
    )
    times, counts = (np.asarray(result[f"spikes/{name}"].values) for name in ("spike_time", "row_size"))
    place = np.floor(times * 1e3 / dt).astype(np.int64) - warm  # spikes stand in the middle of their steps
    train = np.repeat(np.arange(trains), counts.ravel())
    spikes = np.zeros((trains, steps), np.uint8)
    inside = (place >= 0) & (place < steps)
    np.add.at(spikes, (train[inside], place[inside]), 1)
    return spikes


register_sampler(NeuronModel, neuron_surrogate)
