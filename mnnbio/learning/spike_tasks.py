"""Tasks of learning from spikes: a reference network under a frozen current, what it fires, and a naive learner."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.signal import lfilter

from mnnbio.circuit import Circuit, Population, Projection
from mnnbio.learning.frozen_network import Codegen, FrozenNetwork
from mnnbio.learning.membrane_input import membrane_ratio
from mnnbio.learning.targets import SpikeTargets
from mnnbio.machine import require_integer
from mnnbio.neurons import LIFParameters
from mnnbio.results import single_time, whole_steps
from mnnbio.units import in_unit, real_number

Array = npt.NDArray[np.float64]

TAU_M, TAU_SYN, T_REF, DELAY = 20.0, 5.0, 2.0, 1.0  # ms
TAU_CURRENT = 5.0
"""Correlation time of the frozen currents of tasks, ms."""
V_TH = 20.0  # mV
_EXTERNAL = 0.25  # standard deviation of the external part of the membrane potential, of the threshold
_INHIBITION = 4.0  # magnitude of inhibitory weights over that of excitatory ones
_SETTLING = 200.0  # ms of a current before it is used
_CLOSE = 0.02  # relative distance of ρ from what was asked for
_FAR = 0.1  # the same, beyond which no task is made: spikes of few neurons come and go with the weights, and ρ jumps
_FAR_RATE = 0.2  # relative distance of the rate, which jumps with the current in chaotic networks


@dataclass(frozen=True, kw_only=True, eq=False)
class SpikeTask:
    """A reference network under a frozen current, its spikes, and a learner that has to fire them.

    Attributes
    ----------
    reference, learner : Circuit
        One population "neurons"; they differ in their weights alone, which are drawn alike.
    currents : ndarray, shape (step, n)
        Frozen current, mV/ms.
    target : SpikeTargets
        What the reference fires.
    held_out : list of ndarray, shape (step, n)
        Other currents of the same statistics, mV/ms.
    held_out_targets : list of SpikeTargets
        What the reference fires under them.
    dt : float
        ms.
    rho : float
        Ratio of recurrent to external input of the reference, see `membrane_ratio`.
    """

    reference: Circuit
    learner: Circuit
    currents: Array
    target: SpikeTargets
    held_out: list[Array]
    held_out_targets: list[SpikeTargets]
    dt: float
    rho: float

    def network(self, circuit: Circuit | None = None, *, codegen: Codegen = "cpp_standalone") -> FrozenNetwork:
        """Return the learner, or another circuit of its structure, under the frozen current, ready to be built."""
        return FrozenNetwork(circuit or self.learner, self.currents, dt=self.dt, codegen=codegen)


def spike_task(
    seed: int,
    *,
    n: int = 50,
    rho: float = 0.6,
    rate: float = 10.0,
    duration: Any = 1000.0,
    dt: Any = 0.5,
    held_out: int = 3,
    codegen: Codegen = "cpp_standalone",
) -> SpikeTask:
    """Return a task whose reference fires at a given rate and has a given ratio of recurrent to external input.

    LIF neurons (membrane 20 ms, threshold 20 mV, reset 0 mV, refractory 2 ms), four fifths excitatory, all-to-all
    without autapses, exponential synapses of 5 ms with a delay of 1 ms; weights are |N(0, J²)|, inhibitory ones
    -4 times that. The current of each neuron is an Ornstein-Uhlenbeck process of 5 ms, which alone moves the membrane
    by 5 mV (standard deviation). Its mean is tuned to the rate, and J to ρ.

    Parameters
    ----------
    seed : int
    n : int
        Number of neurons, at least 5.
    rho : float
        > 0, up to about 2.
    rate : float
        Hz.
    duration, dt : float or Quantity
        ms.
    held_out : int
        Number of other currents.
    codegen : {"cpp_standalone", "runtime"}

    Raises
    ------
    ValueError
        If an argument is out of range, or no weights have this ρ.
    """
    require_integer("seed", seed, 0)
    require_integer("n", n, 5)
    require_integer("held_out", held_out, 0)
    wanted, hertz = real_number(rho, "rho"), real_number(rate, "rate")
    if not wanted > 0 or not hertz > 0:
        raise ValueError(f"`rho` and `rate` must be > 0, got {wanted:g} and {hertz:g}")
    step = single_time(dt, "dt")
    length = float(in_unit(duration, "ms", "duration"))
    n_steps = whole_steps(length, step, "duration")
    rng = np.random.default_rng(seed)
    shape = _weights(n, rng)
    noises = [frozen_current(n_steps, n, step, rng) for _ in range(1 + held_out)]
    naive = _weights(n, np.random.default_rng([seed, 1]))
    scale = 5.0 * wanted / 3.0  # mV, about right for fifty neurons at 10 Hz
    closest = float("inf")
    kept = scale, 0.0
    with FrozenNetwork(_circuit(shape * scale), noises[0], dt=step, codegen=codegen) as network:
        mean = 0.0
        for _ in range(12):
            mean = _tuned_mean(network, shape * scale, noises[0], hertz)
            passed = network.run(shape * scale, currents=noises[0] + mean)
            found = membrane_ratio(network, shape * scale, passed)
            if abs(found / wanted - 1) < abs(closest / wanted - 1):
                closest, kept = found, (scale, mean)
            if abs(closest / wanted - 1) < _CLOSE:
                break
            scale *= min(max(wanted / max(found, 1e-9), 0.5), 2.0)
        scale, mean = kept
        if abs(closest / wanted - 1) > _FAR:
            raise ValueError(
                f"no weights with ρ = {wanted:g} at {hertz:g} Hz were found, the nearest had {closest:.3g}: ask for "
                "another ρ, rate or seed"
            )
        currents = [noise + mean for noise in noises]
        reached = network.spikes(network.run(shape * scale, currents=currents[0])).rate
        # One spike more or less is all that a short record allows.
        if abs(reached - hertz) > max(_FAR_RATE * hertz, 2e3 / (length * n)):
            raise ValueError(
                f"no current makes the reference fire at {hertz:g} Hz, the nearest was {reached:.3g} Hz: ask for a "
                f"rate below {1e3 / T_REF:g} Hz, and for more neurons or a longer record where it has few spikes"
            )
        spikes = [network.spikes(network.run(shape * scale, currents=current)) for current in currents]
    return SpikeTask(
        reference=_circuit(shape * scale),
        learner=_circuit(naive * scale),
        currents=currents[0],
        target=spikes[0],
        held_out=currents[1:],
        held_out_targets=spikes[1:],
        dt=step,
        rho=closest,
    )


def frozen_current(n_steps: int, n: int, dt: float, rng: np.random.Generator) -> Array:
    """Return Ornstein-Uhlenbeck currents of mean 0, mV/ms, (step, n), that move the membrane by 5 mV.

    A current of variance s² and time constant τ_x leaves ``s τ_m √(τ_x/(τ_x + τ_m))`` on the membrane.
    """
    keep = np.exp(-dt / TAU_CURRENT)
    settling = round(_SETTLING / dt)
    noise = rng.standard_normal((settling + n_steps, n)) * np.sqrt(1 - keep**2)
    unit = lfilter([1.0], [1.0, -keep], noise, axis=0)[settling:]
    size = _EXTERNAL * V_TH / (TAU_M * np.sqrt(TAU_CURRENT / (TAU_CURRENT + TAU_M)))
    return np.asarray(unit * size)


def _weights(n: int, rng: np.random.Generator) -> Array:
    """Return weights of magnitude |N(0, 1)|, the last fifth of the sources inhibitory and stronger, no autapses."""
    found = np.abs(rng.standard_normal((n, n)))
    found[:, n - n // 5 :] *= -_INHIBITION
    np.fill_diagonal(found, 0.0)
    return found


def _circuit(weights: Array) -> Circuit:
    lif = LIFParameters(tau_m=TAU_M, v_th=V_TH, v_reset=0.0, t_ref=T_REF)
    return Circuit(
        populations=[Population("neurons", len(weights), lif)],
        projections=[Projection("neurons", "neurons", weights=weights, delay=DELAY, tau_syn=TAU_SYN)],
    )


def _tuned_mean(network: FrozenNetwork, weights: Array, noise: Array, rate: float) -> float:
    """Return the mean current, mV/ms, at which the network fires at a rate, Hz, by bisection."""
    low, high = -3.0 * V_TH / TAU_M, 6.0 * V_TH / TAU_M
    wanted = rate * 1e-3 * network.duration * network.size
    for _ in range(24):
        middle = (low + high) / 2
        number = len(network.run(weights, currents=noise + middle).step)
        low, high = (low, middle) if number > wanted else (middle, high)
    return (low + high) / 2
