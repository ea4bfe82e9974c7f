"""Self-consistent rates and variances of a recurrent circuit.

Every neuron receives noise of mean ``μ = W r + μ_ext`` and variance ``σ² = (W∘W) v + σ²_ext`` and answers with the
moment activation; r are the rates and v the variances with which trains drive their targets: what is looked for is the
point that reproduces itself. Trains count as independent here. Correlations follow from it
(`mnnbio.moments.linear_response`).

References
----------
N. Brunel (2000), Dynamics of sparsely connected networks of excitatory and inhibitory spiking neurons, J. Comput.
Neurosci. 8, 183 (v = r). W. Lu, E. Rossoni, J. Feng (2010), On a Gaussian neuronal field model, NeuroImage 52, 913
(v = count variance).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from mnnbio.moments.activation import interval_skewness, moment_activation
from mnnbio.moments.drive import Neuron, NeuronTensors
from mnnbio.moments.fixed_point import Status, fixed_point
from mnnbio.moments.recurrent_trains import RecurrentTrains
from mnnbio.moments.renewal import effective_input
from mnnbio.moments.synapses import effective_lif
from mnnbio.moments.wiring import Received, Wiring

Array = npt.NDArray[np.float64]
Closure = Literal["moments", "poisson", "renewal"]


class Response(NamedTuple):
    """What neurons answer to their input, each of shape (n,)."""

    rate: Array  # 1/ms
    variance: Array  # long-window count variance per time, 1/ms
    gain: Array  # ∂rate/∂mean, 1/mV
    lif: NeuronTensors  # the neuron that in continuous time and white noise answers so


class StationaryState(NamedTuple):
    """Self-consistent state of a circuit, each array of shape (n,)."""

    rate: Array  # 1/ms
    variance: Array  # 1/ms
    gain: Array  # 1/mV
    mean_input: Array  # mV/ms
    std_input: Array  # mV/√ms
    lif: NeuronTensors
    status: Status
    residual: float
    iterations: int


def respond(mean: Array, received: Received, lif: Neuron, dt: float | None) -> Response:
    """Return the answer of neurons to an input of that mean (mV/ms) and those fluctuations."""
    std = np.sqrt(received.variance)
    tau_s = (received.colored / np.where(received.variance > 0, received.variance, 1.0)) ** 2
    inputs = torch.from_numpy(mean), torch.from_numpy(std)
    neuron = effective_lif(*inputs, lif, dt, torch.from_numpy(tau_s))
    rate, variance, gain = (v.numpy() for v in moment_activation(*inputs, neuron))
    return Response(rate, variance, gain, neuron)


def stationary_state(
    wiring: Wiring,
    mean: Array,
    external: Received,
    lif: Neuron,
    *,
    closure: Closure = "moments",
    dt: float | None = None,
    start: Array | None = None,
    tolerance: float = 1e-9,
    max_iterations: int = 500,
    trains: RecurrentTrains | None = None,
) -> StationaryState:
    """Return a self-consistent state of a circuit.

    Parameters
    ----------
    wiring : Wiring
        Recurrent weights, shape (n, n).
    mean : ndarray, shape (n,)
        Mean of the external input, mV/ms.
    external : Received
        Fluctuations of the external input.
    lif : LIFParameters or alike
    closure : {"moments", "poisson", "renewal"}
        Whether a train drives its targets with its count variance, with its rate, or as jumps with the spectrum of a
        renewal process; the last needs `trains`.
    dt : float, optional
        Time step of the simulation to describe, ms; by default, continuous time.
    start : ndarray, shape (n,), optional
        Rates to start from, 1/ms; by default silence. Where several states exist, it decides which one is found.
    tolerance : float
        Largest residual of the rates, relative to the highest rate.
    max_iterations : int
    trains : RecurrentTrains, optional
        The same wiring and neurons, for the closure "renewal".

    Returns
    -------
    StationaryState
        With the status "not converged" it is the best point found, and its residual says how far off it is.
    """
    if closure == "renewal":
        if trains is None:
            raise ValueError("closure='renewal' needs `trains`")
        return _renewal_state(trains, mean, external, dt, start, tolerance, max_iterations)
    n = wiring.shape[0]

    def answer(rate: Array, drive: Array) -> tuple[Array, Array, Response]:
        inner = wiring.received(drive)
        total = Received(inner.variance + external.variance, inner.colored + external.colored)
        current = wiring.dot(rate) + mean
        return current, np.sqrt(total.variance), respond(current, total, lif, dt)

    def step(x: Array) -> Array:
        response = answer(x[:n], x[-n:])[2]
        return response.rate if closure == "poisson" else np.concatenate([response.rate, response.variance])

    first = np.zeros(n) if start is None else np.asarray(start, dtype=np.float64)
    begin = first if closure == "poisson" else np.concatenate([first, first])
    found = fixed_point(step, begin, tolerance=tolerance, max_iterations=max_iterations)
    current, std, response = answer(found.value[:n], found.value[-n:])
    return StationaryState(found.value[:n], response.variance, response.gain, current, std, response.lif, *found[1:])


def _renewal_state(
    trains: RecurrentTrains,
    mean: Array,
    external: Received,
    dt: float | None,
    start: Array | None,
    tolerance: float,
    max_iterations: int,
) -> StationaryState:
    """Return a self-consistent state of rates, count variances and skewness times rate."""
    n = len(mean)

    def answer(x: Array) -> tuple[Array, Array, Response, Array]:
        rate, variance, asymmetry = x.reshape(3, n)
        current = trains.wiring.dot(rate) + mean
        fast = trains.wiring.received(rate).variance + external.variance
        firing = rate > 0
        safe = np.where(firing, rate, 1.0)
        fano, skewness = np.where(firing, variance / safe, 1.0), np.where(firing, asymmetry / safe, 2.0)
        std, lif = effective_input(trains.received(current, fast, rate, fano, skewness), trains.lif, dt)
        inputs = torch.from_numpy(current), torch.from_numpy(std)
        rate, variance, gain = (v.numpy() for v in moment_activation(*inputs, lif))
        asymmetry = rate * interval_skewness(*inputs, lif).numpy()
        return current, std, Response(rate, variance, gain, lif), np.concatenate([rate, variance, asymmetry])

    first = np.zeros(n) if start is None else np.asarray(start, dtype=np.float64)
    begin = np.concatenate([first, first, 2 * first])
    found = fixed_point(lambda x: answer(x)[3], begin, tolerance=tolerance, max_iterations=max_iterations)
    current, std, response, _ = answer(found.value)
    return StationaryState(found.value[:n], response.variance, response.gain, current, std, response.lif, *found[1:])
