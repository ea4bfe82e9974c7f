"""Input to the membranes of LIF neurons when nothing resets them: postsynaptic potentials, and the ratio ρ."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.signal import lfilter

from mnnbio.learning.frozen_network import FrozenNetwork, Passed
from mnnbio.synapses import propagator

Array = npt.NDArray[np.float64]
_LEAST = 0.05  # of the peak: what is left of a postsynaptic potential below it earns no credit


def postsynaptic_potentials(network: FrozenNetwork, passed: Passed, tau_m: float) -> Array:
    """Return the potential, (step, n), that a weight of 1 mV from each source leaves on a membrane without resets.

    As the simulation integrates it: a spike of step k arrives in step k + d, after the membrane's update; an
    exponential current then moves the membrane by the exact propagator in every step.

    Parameters
    ----------
    network : FrozenNetwork
        Of LIF neurons.
    passed : Passed
        Presynaptic spikes.
    tau_m : float
        Membrane time constant, ms.
    """
    arrivals = np.zeros((network.n_steps, network.size))
    # Without a delay spikes arrive in the next step: they are found after the synapses of their own.
    step = passed.step + np.maximum(network.delay_steps, 1)[passed.neuron]
    inside = step < network.n_steps
    arrivals[step[inside], passed.neuron[inside]] = 1.0
    return filtered_arrivals(arrivals, network.tau_syn, tau_m, network.dt)


def filtered_arrivals(arrivals: Array, tau_syn: Array, tau_m: float, dt: float) -> Array:
    """Return the potential of arriving spikes of 1 mV, (step, n), for the synaptic time constant, ms, of each source.

    ``I ← e^{-dt/τ_s} I + arrivals/τ_s``, ``v ← e^{-dt/τ_m} v + P I``, with P the propagator of the step (Rotter &
    Diesmann 1999, sec. 3.1); delta synapses add to v at once.
    """
    decay = np.exp(-dt / tau_m)
    found = np.empty_like(arrivals)
    for tau in np.unique(tau_syn):
        chosen = tau_syn == tau
        own = arrivals[:, chosen]
        if tau == 0:
            found[:, chosen] = lfilter([1.0], [1.0, -decay], own, axis=0)
            continue
        fade, reach = np.exp(-dt / tau), float(propagator(tau_m, tau, dt)) / tau
        # One filter of second order: current and membrane in a row, the current acting in the next step.
        found[:, chosen] = lfilter([0.0, reach], np.convolve([1.0, -fade], [1.0, -decay]), own, axis=0)
    return found


def relative_potentials(network: FrozenNetwork, passed: Passed, tau_m: float) -> Array:
    """Return `postsynaptic_potentials` in units of the peak of one, 0 where less than a twentieth of it is left."""
    potential = postsynaptic_potentials(network, passed, tau_m)
    length = int(np.ceil(10 * (tau_m + network.tau_syn.max()) / network.dt)) + 2
    pulse = np.zeros((length, network.size))
    pulse[0] = 1.0
    relative = potential / filtered_arrivals(pulse, network.tau_syn, tau_m, network.dt).max(axis=0)
    relative[relative < _LEAST] = 0.0
    return np.asarray(relative)


def membrane_ratio(network: FrozenNetwork, weights: npt.ArrayLike, passed: Passed) -> float:
    r"""Return ρ, the ratio of the standard deviations of recurrent and external input to the membrane.

    .. math:: \rho = \sqrt{\langle \mathrm{Var}_t\, u^\mathrm{rec}_i \rangle_i / \langle \mathrm{Var}_t\,
       u^\mathrm{ext}_i \rangle_i}

    with u the potential that the one or the other input alone leaves on the membrane of neuron i without threshold and
    reset, :math:`u^\mathrm{rec} = W \cdot` (postsynaptic potentials of the spikes), over the whole run. At small ρ the
    frozen current decides the spikes, and a score says nothing about learning.

    Parameters
    ----------
    network : FrozenNetwork
        Of LIF neurons with a frozen current.
    weights : array_like, shape (n, n)
        mV.
    passed : Passed
        Spikes that the network fires under them.

    Returns
    -------
    float
        Infinite where the external input does not vary.
    """
    whole = np.asarray(weights, dtype=np.float64)
    recurrent = external = 0.0
    for tau_m in np.unique(network.tau_m):
        chosen = network.tau_m == tau_m
        inside = postsynaptic_potentials(network, passed, float(tau_m)) @ whole[chosen].T
        decay = np.exp(-network.dt / tau_m)
        outside = lfilter([(1 - decay) * tau_m], [1.0, -decay], network.currents[:, chosen], axis=0)
        # The filter starts at its mean, so that it is not the charging of the membrane that varies.
        outside = (
            outside
            + network.currents[:, chosen].mean(axis=0) * tau_m * decay ** np.arange(1, network.n_steps + 1)[:, None]
        )
        recurrent += float(inside.var(axis=0).sum())
        external += float(outside.var(axis=0).sum())
    return float(np.sqrt(recurrent / external)) if external > 0 else float("inf")
