"""Inhibition that learns to balance excitation: Vogels et al. (2011)."""

from __future__ import annotations

from typing import Any

from mnnbio.circuit import Circuit, CurrentDrive, Population, Projection
from mnnbio.circuits.keeping_indegrees import scaled_rule, scaled_sizes
from mnnbio.neurons import ConductanceLIF
from mnnbio.synapses import Conductance, inhibitory_plasticity
from mnnbio.units import in_unit
from mnnbio.values import Uniform

SIZES = {"E": 8_000, "I": 2_000}
PROBABILITY = 0.02
# Time constants (ms), reversal potentials (mV) and weights (nS) of fixed synapses; the greatest weight that is learnt.
TAU, REVERSAL, WEIGHTS, W_MAX = {"E": 5.0, "I": 10.0}, {"E": 0.0, "I": -80.0}, {"E": 0.3, "I": 3.0}, 100.0
BACKGROUND = 200.0  # pA: 20 mV, to 10 mV above threshold


def vogels2011(
    rate: Any = 0.005,
    scale: float = 1.0,
    seed: int = 0,
    *,
    eta: float = 0.01,
    weight: Any = 1e-6,
    delay: Any = 0.1,
) -> Circuit:
    r"""Return a network whose inhibitory synapses learn to balance its excitation.

    8,000 excitatory (E) and 2,000 inhibitory neurons (I) that a constant current lifts above threshold, connected with
    probability 2 %. Synapses from I to E begin at almost nothing, so that E fires as fast as it can; they obey the
    symmetric rule of the paper, which brings every neuron of E to `rate`, within seconds, and makes firing irregular.
    Give the command a duration, or a warm-up, of 10 s and more: every trial learns from the beginning.

    Parameters
    ----------
    rate : float or Quantity
        To which the rule brings E, spikes/ms.
    scale : float
        Factor of the numbers of neurons; the numbers of their synapses are kept.
    seed : int
        Seed of the connectivity.
    eta : float
        Learning rate: change by a coincidence, nS.
    weight : float or Quantity
        Of the synapses from I to E at the beginning, nS.
    delay : float or Quantity
        Of all synapses, ms.

    References
    ----------
    T. P. Vogels, H. Sprekeler, F. Zenke, C. Clopath, W. Gerstner (2011), Inhibitory plasticity balances excitation and
    inhibition in sensory pathways and memory networks, Science 334, 1569-1573, fig. 4 and supplement. The memories that
    the paper stores in the network are left to the user.
    """
    sizes, rule = scaled_sizes(SIZES, scale), scaled_rule(PROBABILITY, scale)
    neuron = ConductanceLIF(E_L=-60.0, v_th=-50.0, v_reset=-60.0, t_ref=5.0, initial={"v": Uniform(-60.0, -50.0)})
    learning = inhibitory_plasticity(rate=rate, eta=eta / W_MAX, tau=20.0, w_max=W_MAX)
    start = float(in_unit(weight, "nS", "weight"))
    projections = [
        Projection(
            source,
            target,
            weight=start if (source, target) == ("I", "E") else WEIGHTS[source],
            connectivity=rule,
            synapse=Conductance(TAU[source], reversal=REVERSAL[source], name=source.lower()),
            delay=delay,
            plasticity=learning if (source, target) == ("I", "E") else None,
        )
        for source in SIZES
        for target in SIZES
    ]
    populations = [Population(name, size, neuron) for name, size in sizes.items()]
    return Circuit(populations, projections, [CurrentDrive(name, BACKGROUND) for name in SIZES], seed=seed)
