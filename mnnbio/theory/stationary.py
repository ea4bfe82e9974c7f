"""Self-consistent rates and variances of a recurrent circuit, whose trains may count as renewal processes.

Every neuron receives noise of mean ``μ = W r + μ_ext`` and variance ``σ² = (W∘W) v + σ²_ext`` and answers with the
moment activation; r are the rates and v the variances with which trains drive their targets: what is looked for is the
point that reproduces itself. Trains count as independent here. Correlations follow from it
(`mnnbio.theory.wired_response`).

References
----------
N. Brunel (2000), Dynamics of sparsely connected networks of excitatory and inhibitory spiking neurons, J. Comput.
Neurosci. 8, 183 (v = r). W. Lu, E. Rossoni, J. Feng (2010), On a Gaussian neuronal field model, NeuroImage 52, 913
(v = count variance).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse

from mnnbio.moments import (
    Neuron,
    NeuronTensors,
    Status,
    colored_activation,
    effective_lif,
    fixed_point,
    interval_skewness,
    moment_activation,
)
from mnnbio.theory.answers import Neurons
from mnnbio.theory.jumps import Exponent, Jumps, joint_exponent
from mnnbio.theory.renewal import EDGES, TrainInput, effective_input, regrid, renewal_deficit
from mnnbio.theory.wiring import Conductances, Connection, Received, Wiring

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ExternalJumps:
    """Jumps from outside a circuit: independent Poisson trains; arrays of shape (n,)."""

    parts: Sequence[Exponent]  # one per source or drive, θ to exponent
    mean: Array  # mV/ms
    variance: Array  # mV²/ms
    third: Array  # mV³/ms


@dataclass(frozen=True, eq=False)
class RecurrentTrains:
    """Weights and neurons of a circuit, prepared for finding what the neurons receive.

    Parameters
    ----------
    wiring : Wiring
        Weights among the neurons, of delta synapses.
    external : ExternalJumps
    lif : LIFParameters or alike
        Of all neurons.
    """

    wiring: Wiring
    external: ExternalJumps
    lif: Neuron

    @cached_property
    def _jumps(self) -> list[tuple[Connection, Jumps]]:
        return [(c, Jumps(_scaled(c))) for c in self.wiring.connections]

    def received(self, mean: Array, variance: Array, rate: Array, fano: Array, skewness: Array) -> TrainInput:
        """Return the input of all neurons.

        Parameters
        ----------
        mean, variance : ndarray, shape (n,)
            Of the whole input, every train taken for a Poisson process, mV/ms and mV²/ms.
        rate, fano, skewness : ndarray, shape (n,)
            Statistics of the trains, the rate in 1/ms.
        """
        n = len(mean)
        tau_m = np.broadcast_to(np.asarray(self.lif.tau_m, dtype=np.float64), n)
        longest = float(tau_m.max())
        of_trains = renewal_deficit(rate, fano, skewness, self.lif.t_ref, longest)
        deficit = np.zeros((len(EDGES) - 1, n))
        for c, jumps in self._jumps:
            deficit[:, c.rows] += (jumps.squared @ of_trains[:, c.columns].T).T
        fluctuating = self.wiring.received(rate).variance + self.external.variance
        exponent = joint_exponent(
            [*self.external.parts, partial(self.exponent, rate=rate)],
            self.wiring.dot(rate) + self.external.mean,
            np.maximum(variance - fluctuating, 0.0),
        )
        third = self.wiring.third(rate) + self.external.third
        return TrainInput(mean, variance, third, regrid(deficit, longest, tau_m), exponent)

    def exponent(self, theta: Array, rate: Array) -> npt.NDArray[np.complex128]:
        """Return ψ of all trains, their mean left in, shape (n,); see `Jumps.exponent`."""
        total = np.zeros(len(theta), dtype=complex)
        for c, jumps in self._jumps:
            total[c.rows] += jumps.exponent(theta[c.rows], rate[c.columns])
        return total


def _scaled(connection: Connection) -> Array | sparse.csr_array:
    """Return the weights of a block as what they count for in their targets, mV."""
    weights = connection.powers(1)
    if isinstance(weights, np.ndarray):
        return np.reshape(connection.scale, (-1, 1)) * weights
    scale = np.broadcast_to(connection.scale, weights.shape[0])
    data = weights.data * np.repeat(scale, np.diff(weights.indptr))
    return sparse.csr_array((data, weights.indices, weights.indptr), shape=weights.shape)


# A name, or a function of rate and long-window variance that returns the variance with which trains drive others, 1/ms.
Closure = Literal["moments", "poisson", "renewal"] | Callable[[Any, Any], Any]


def driving_variance(closure: Closure, rate: Any, variance: Any) -> Any:
    """Return the variance per time with which trains of a rate and count variance drive others, 1/ms."""
    if callable(closure):
        return closure(rate, variance)
    return rate if closure == "poisson" else variance


def closure_name(closure: Closure) -> str:
    """Return what a result calls a closure: its name, of a function that of the function."""
    return getattr(closure, "__name__", type(closure).__name__) if callable(closure) else closure


class Response(NamedTuple):
    """Response of neurons to their input, each of shape (n,)."""

    rate: Array  # 1/ms
    variance: Array  # long-window count variance per time, 1/ms
    gain: Array  # ∂rate/∂mean, 1/mV
    lif: NeuronTensors | None  # the LIF neuron that in continuous time and white noise answers so
    skewness: Array | None = None  # of the intervals, where these are not those of that neuron
    mean_input: Array | None = None  # with the currents of mean conductances, mV/ms, likewise
    std_input: Array | None = None  # mV/√ms, likewise
    potential: Array | None = None  # at which small conductances count as currents, mV, likewise
    slow: Array | None = None  # the part of the variance that slow noise of the input brings, 1/ms; None: none
    slow_time: Array | None = None  # of that noise, ms


class Found(NamedTuple):
    """Fixed point as arrays; see `mnnbio.moments.FixedPoint`."""

    value: Array
    status: Status
    residual: float
    iterations: int


def array_fixed_point(
    step: Callable[[Array], Array], start: Array, *, tolerance: float = 1e-9, max_iterations: int = 500
) -> Found:
    """Return the fixed point of a map of arrays; see `mnnbio.moments.fixed_point`."""
    found = fixed_point(
        lambda x: torch.from_numpy(step(x.numpy())),
        torch.from_numpy(np.asarray(start, dtype=np.float64)),
        tolerance=tolerance,
        max_iterations=max_iterations,
    )
    return Found(found.value.numpy(), *found[1:])


class StationaryState(NamedTuple):
    """Self-consistent state of a circuit, each array of shape (n,)."""

    rate: Array  # 1/ms
    variance: Array  # 1/ms
    gain: Array  # 1/mV
    mean_input: Array  # mV/ms
    std_input: Array  # mV/√ms
    lif: NeuronTensors | None  # None where some neurons are no leaky integrate-and-fire neurons
    status: Status
    residual: float
    iterations: int
    interval_skewness: Array | None = None  # where it is not that of `lif`
    potential: Array | None = None  # at which small conductances count as currents, mV, likewise
    slow: Array | None = None  # the part of the variance that slow noise of the input brings, 1/ms; None: none
    slow_time: Array | None = None  # of that noise, ms

    @property
    def skewness(self) -> Array:
        """Third central moment of the intervals over their mean cubed."""
        if self.interval_skewness is not None:
            return self.interval_skewness
        assert self.lif is not None
        inputs = torch.from_numpy(self.mean_input), torch.from_numpy(self.std_input)
        found: Array = interval_skewness(*inputs, self.lif).numpy()
        return found


def respond(
    mean: Array,
    received: Received,
    neurons: Neuron | Neurons,
    dt: float | None,
    opened: Conductances | None = None,
    *,
    responses: bool = False,
) -> Response:
    """Return the answer of neurons to an input of that mean (mV/ms), those fluctuations and conductances.

    Parameters
    ----------
    mean : ndarray, shape (n,)
    received : Received
    neurons : LIFParameters or alike, or Neurons
    dt : float, optional
        Time step, ms.
    opened : Conductances, optional
    responses : bool
        Whether `Response.lif` will be asked how it responds to modulations; see `mnnbio.moments.effective_lif`.
    """
    lif = neurons
    if isinstance(neurons, Neurons):
        if neurons.lif is None or opened is not None:
            found = neurons.respond(mean, received, opened, dt)
            return Response(*found[:3], None, *found[3:])
        lif = neurons.lif
    assert not isinstance(lif, Neurons)
    inputs = torch.from_numpy(mean), torch.from_numpy(np.sqrt(received.variance))
    kinds = received.filtered.kinds(received.variance)
    if kinds is None:
        neuron = effective_lif(*inputs, lif, dt)
        answered = moment_activation(*inputs, neuron)
        return Response(answered.rate.numpy(), answered.variance.numpy(), answered.gain.numpy(), neuron)
    tau_s, shares = kinds.tensors()
    colored = colored_activation(*inputs, lif, tau_s, shares=shares, dt=dt)
    skewness = interval_skewness(*inputs, colored.lif)
    neuron = effective_lif(*inputs, lif, dt, tau_s, shares=shares) if responses else colored.lif
    rate, variance, gain, slow, slow_time = (v.numpy() for v in colored[:5])
    return Response(rate, variance, gain, neuron, skewness.numpy(), slow=slow, slow_time=slow_time)


def stationary_state(
    wiring: Wiring,
    mean: Array,
    external: Received,
    lif: Neuron | Neurons,
    *,
    closure: Closure = "moments",
    dt: float | None = None,
    start: Array | None = None,
    tolerance: float = 1e-9,
    max_iterations: int = 500,
    trains: RecurrentTrains | None = None,
    opened: Conductances | None = None,
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
    lif : LIFParameters or alike, or Neurons
        Of one kind, or of several.
    closure : {"moments", "poisson", "renewal"} or callable
        Whether a train drives its targets with its count variance, with its rate, or as jumps with the spectrum of a
        renewal process, which needs `trains`; or a function of rate and variance.
    dt : float, optional
        Time step of the simulation to describe, ms; by default, continuous time.
    start : ndarray, shape (n,), optional
        Rates to start from, 1/ms; by default silence. Where several states exist, it decides which one is found.
    tolerance : float
        Largest residual of the rates, relative to the highest rate.
    max_iterations : int
    trains : RecurrentTrains, optional
        The same wiring and neurons, for the closure "renewal".
    opened : Conductances, optional
        From outside.

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

    def answer(rate: Array, drive: Array, *, responses: bool = False) -> tuple[Array, Array, Response]:
        sending = wiring.at_rates(rate)
        inner = sending.received(drive)
        total = Received(inner.variance + external.variance, inner.filtered + external.filtered)
        current = sending.dot(rate) + mean
        all_open = opened
        if sending.conductances:
            own = sending.opened(rate, drive)
            assert own is not None
            all_open = own if opened is None else opened.plus(own)
        response = respond(current, total, lif, dt, all_open, responses=responses)
        if response.mean_input is not None and response.std_input is not None:
            return response.mean_input, response.std_input, response
        return current, np.sqrt(total.variance), response

    def step(x: Array) -> Array:
        response = answer(x[:n], x[-n:])[2]
        if closure == "poisson":
            return response.rate
        return np.concatenate([response.rate, driving_variance(closure, response.rate, response.variance)])

    first = np.zeros(n) if start is None else np.asarray(start, dtype=np.float64)
    begin = first if closure == "poisson" else np.concatenate([first, first])
    found = array_fixed_point(step, begin, tolerance=tolerance, max_iterations=max_iterations)
    current, std, response = answer(found.value[:n], found.value[-n:], responses=True)
    return StationaryState(
        found.value[:n],
        response.variance,
        response.gain,
        current,
        std,
        response.lif,
        *found[1:],
        response.skewness,
        response.potential,
        response.slow,
        response.slow_time,
    )


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
    found = array_fixed_point(lambda x: answer(x)[3], begin, tolerance=tolerance, max_iterations=max_iterations)
    current, std, response, _ = answer(found.value)
    return StationaryState(found.value[:n], response.variance, response.gain, current, std, response.lif, *found[1:])
