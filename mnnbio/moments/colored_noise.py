"""Neurons that receive exponential synapses: noise with a memory of tau_s, instead of white noise.

A synapse of time constant tau_s filters white noise. For ``tau_s ≪ tau_m`` the filtered noise acts like white noise on
a neuron whose threshold and reset potential are higher by ``(α/2) √tau_s std``, ``α = √2 |ζ(1/2)|`` [1]_: the potential
is smooth on times shorter than tau_s, and seldom comes back once it crossed the threshold. A threshold that is tested
in steps is displaced for the same reason (see `mnnbio.moments.overshoot`).

References
----------
.. [1] N. Fourcaud, N. Brunel (2002), Dynamics of the firing probability of noisy integrate-and-fire neurons, Neural
   Comput. 14, 2057, section 4.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mnnbio.moments.drive import Neuron, NeuronTensors, as_parameter, from_rest
from mnnbio.moments.overshoot import ZETA_HALF, discrete_lif

HALF_ALPHA = -ZETA_HALF / math.sqrt(2)  # α/2


def colored_lif(std: Tensor, lif: Neuron, tau_s: Tensor | float) -> NeuronTensors:
    """Return the neuron that driven by white noise fires like `lif` driven by that noise through synapses.

    Parameters
    ----------
    std : Tensor
        Standard deviation of the input current before the synaptic filter, mV/√ms.
    lif : LIFParameters or alike
    tau_s : Tensor or float
        Synaptic time constant, ms; ≥ 0.

    Returns
    -------
    NeuronTensors
        `v_th` and `v_reset` have the broadcast shape of `std` and the parameters.

    Raises
    ------
    ValueError
        If tau_s is negative.

    Examples
    --------
    >>> import torch
    >>> from mnnbio import LIFParameters
    >>> colored_lif(torch.tensor(1.0), LIFParameters(), tau_s=0.25).v_th
    tensor(20.5163)
    """
    tau = as_parameter(tau_s, std)
    if not bool((tau >= 0).all()):
        raise ValueError(f"`tau_s` must be ≥ 0 ms, got {float(tau.min())}")
    own = from_rest(lif)
    tau_m, v_th, v_reset, t_ref = (as_parameter(getattr(own, name), std) for name in NeuronTensors._fields)
    shift = HALF_ALPHA * tau.sqrt() * std
    return NeuronTensors(tau_m, v_th + shift, v_reset + shift, t_ref)


def effective_lif(
    mean: Tensor, std: Tensor, lif: Neuron, dt: float | None = None, tau_s: Tensor | float = 0.0
) -> NeuronTensors:
    """Return the neuron that in continuous time, driven by white noise, fires like `lif` as it is simulated.

    Synapses and time steps both displace the threshold. Noise with a memory overshoots by less: the velocity with which
    it crosses the threshold times half a step. The overshoot of white noise over ``√(1 + tau_s/dt)`` has both limits,
    and gives the rates of simulations with ``tau_s ≥ 3 dt`` within 1.5 %.

    Parameters
    ----------
    mean, std, lif
        As for `moment_activation`.
    dt : float, optional
        Time step in which the threshold is tested, ms; by default, continuous time.
    tau_s : Tensor or float
        Synaptic time constant, ms; 0 for delta synapses.
    """
    colored = colored_lif(std, lif, tau_s)
    if dt is None:
        return colored
    stepped = discrete_lif(mean, std, lif, dt)
    overshoot = stepped.v_th - as_parameter(from_rest(lif).v_th, std)
    return colored._replace(v_th=colored.v_th + overshoot / torch.sqrt(1 + as_parameter(tau_s, std) / dt))
