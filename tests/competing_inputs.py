"""A neuron whose inputs compete by spike-timing-dependent plasticity, and criteria of how the competition ends.

S. Song, K. D. Miller, L. F. Abbott (2000), Competitive Hebbian learning through spike-timing-dependent synaptic
plasticity, Nature Neurosci. 3, 919: 1,000 excitatory Poisson inputs and 200 inhibitory ones of 10 Hz on a leaky
integrate-and-fire neuron with conductances in units of the leak; g_max 0.015, inhibition 0.05, A-/A+ = 1.05.
"""

import numpy as np

from mnnbio import Circuit, PoissonSource, Population, Projection
from mnnbio.neurons import ConductanceLIF
from mnnbio.synapses import STDP, Conductance

LEAK = 10.0  # nS
W_MAX = 0.015 * LEAK
NEURON = ConductanceLIF(C=20.0 * LEAK, g_L=LEAK, E_L=-70.0, v_th=-54.0, v_reset=-60.0, t_ref=0.0)  # tau_m 20 ms


def competing(rates, weights, A_plus=None):
    """Return the neuron with inputs of one rate (Hz) in each of several stimuli; no `A_plus`: weights stay."""
    excitation = np.repeat(np.asarray(rates)[:, None] * 1e-3, 1000, axis=1)
    rule = None if A_plus is None else STDP(w_max=W_MAX, A_plus=A_plus, A_minus=1.05 * A_plus)
    return Circuit(
        [
            PoissonSource("excitation", 1000, rates=excitation),
            PoissonSource("inhibition", 200, rates=0.01),
            Population("neuron", 1, NEURON),
        ],
        [
            Projection("excitation", "neuron", weights=weights, synapse=Conductance(5.0, 0.0), plasticity=rule),
            Projection("inhibition", "neuron", weights=np.full((1, 200), 0.05 * LEAK), synapse=Conductance(5.0, -70.0)),
        ],
    )


def assert_bimodal(weights):
    """Assert that half of the weights lie in the lowest and the highest tenth, and few in the middle."""
    share = np.histogram(weights / W_MAX, 10, (0.0, 1.0))[0] / len(weights)
    lowest, highest, middle = share[0], share[-1], share[4:6].mean()
    assert lowest + highest >= 0.5, share
    assert middle < min(lowest, highest) / 2, share
