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

from mnnbio.moments.activation import moment_activation
from mnnbio.moments.drive import Neuron, NeuronTensors
from mnnbio.moments.fixed_point import Status, fixed_point
from mnnbio.moments.synapses import effective_lif
from mnnbio.moments.wiring import Received, Wiring

Array = npt.NDArray[np.float64]
Closure = Literal["moments", "poisson"]


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
    closure : {"moments", "poisson"}
        Whether a train drives its targets with its count variance, or with its rate.
    dt : float, optional
        Time step of the simulation to describe, ms; by default, continuous time.
    start : ndarray, shape (n,), optional
        Rates to start from, 1/ms; by default silence. Where several states exist, it decides which one is found.
    tolerance : float
        Largest residual of the rates, relative to the highest rate.
    max_iterations : int

    Returns
    -------
    StationaryState
        With the status "not converged" it is the best point found, and its residual says how far off it is.
    """
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
