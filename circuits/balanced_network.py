"""A network whose excitation and inhibition cancel by themselves: van Vreeswijk & Sompolinsky (1996, 1998)."""

from __future__ import annotations

from typing import Any

import numpy as np

from mnnbio.circuit import Bernoulli, Circuit, PoissonDrive, Population, Projection
from mnnbio.neurons import LIFParameters
from mnnbio.units import in_unit

# Couplings of the figures of both papers, J_EE = J_IE = 1 being the unit.
J_E, J_I = 2.0, 1.8
DRIVE_E, DRIVE_I = 1.0, 0.8


def balanced(
    rate: Any = 0.01,
    indegree: int = 500,
    scale: float = 1.0,
    seed: int = 0,
    *,
    sizes: tuple[int, int] = (4000, 4000),
    delay: Any = 1.0,
) -> Circuit:
    r"""Return a balanced network of leaky integrate-and-fire neurons, with weights of the order :math:`1/\sqrt K`.

    Every pair is connected with probability K/N of its source, by weights :math:`J_{ab} \theta/\sqrt K` with
    :math:`J_{EE} = J_{IE} = 1`, :math:`J_{EI} = -2`, :math:`J_{II} = -1.8`; K external Poisson trains of rate
    :math:`r_0` drive each neuron by weights :math:`E \theta/\sqrt K` and :math:`I \theta/\sqrt K`, E = 1, I = 0.8. As K
    grows, inputs of order :math:`\sqrt K` must cancel, which fixes the rates whatever the neurons are:

    .. math::
        r_E = \frac{J_I E - J_E I}{J_E - J_I} r_0, \qquad r_I = \frac{E - I}{J_E - J_I} r_0,

    both :math:`r_0` here (1998, sec. 4). It is to reproduce this linear response of the population
    rates to the drive, approached as K grows, and irregular firing with rates that differ widely between
    neurons. The papers have binary neurons; what is taken over is the scaling, couplings and connection probability.

    Parameters
    ----------
    rate : float or Quantity
        :math:`r_0`, spikes/ms.
    indegree : int
        K, mean number of synapses from each population.
    scale : float
        Factor of the numbers of neurons and of K; weights follow as :math:`1/\sqrt K`, which is this model's own
        scaling.
    seed : int
        Seed of the connectivity.
    sizes : tuple of int
        Numbers of excitatory and inhibitory neurons at scale 1.
    delay : float or Quantity
        Of all synapses, ms.

    References
    ----------
    C. van Vreeswijk, H. Sompolinsky (1996), Chaos in neuronal networks with balanced excitatory and inhibitory
    activity, Science 274, 1724-1726; (1998), Chaotic balanced state in a model of cortical circuits, Neural Comput.
    10, 1321-1371.
    """
    r_0 = float(in_unit(rate, "1/ms", "rate"))
    if not 0 < scale < np.inf:
        raise ValueError(f"`scale` must be a number > 0, got {scale!r}")
    n = {name: max(1, round(scale * size)) for name, size in zip("EI", sizes, strict=True)}
    k = scale * indegree
    if not 0 < k <= min(n.values()):
        raise ValueError(f"`indegree` must be between 1 and the size of a population, {min(n.values())}, got {k:g}")
    lif = LIFParameters(tau_m=20.0, v_th=20.0, v_reset=0.0, t_ref=2.0)
    unit = float(lif.v_th) / np.sqrt(k)
    couplings = {("E", "E"): 1.0, ("E", "I"): 1.0, ("I", "E"): -J_E, ("I", "I"): -J_I}
    return Circuit(
        populations=[Population(name, size, lif) for name, size in n.items()],
        projections=[
            Projection(source, target, weight=unit * coupling, connectivity=Bernoulli(k / n[source]), delay=delay)
            for (source, target), coupling in couplings.items()
        ],
        drives=[
            PoissonDrive(name, rate=k * r_0, weight=unit * drive) for name, drive in (("E", DRIVE_E), ("I", DRIVE_I))
        ],
        seed=seed,
    )
