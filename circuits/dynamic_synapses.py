"""What depressing and facilitating synapses tell of a population: Tsodyks, Pawelzik & Markram (1998)."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from mnnbio.circuit import Circuit, FixedIndegree, PoissonSource, Population, Projection
from mnnbio.circuits.keeping_indegrees import scaled_size
from mnnbio.machine import check_choice
from mnnbio.neurons import ConductanceLIF
from mnnbio.synapses import Exponential, ShortTermPlasticity
from mnnbio.units import in_unit
from mnnbio.values import Steps

N_SOURCES, N_TARGETS = 1_000, 100


class Kind(NamedTuple):
    """Synapses and their targets.

    Absolute amplitude (pA), utilisation and time constants (ms) of synapses, and their number; membrane time constant
    (ms) and input resistance (GΩ) of the target.
    """

    amplitude: float
    use: float
    tau_rec: float
    tau_facil: float
    tau_syn: float
    indegree: int
    tau_m: float
    resistance: float


# Fig. 1 of the paper, A and B; the number of synapses, by which neurons reach their threshold, is ours.
KINDS = {
    "depressing": Kind(250.0, 0.5, 800.0, 0.0, 3.0, 300, 40.0, 0.1),
    "facilitating": Kind(1540.0, 0.03, 130.0, 530.0, 1.5, 8, 60.0, 1.0),
}


def tsodyks_markram1998(
    kind: Literal["depressing", "facilitating"] = "depressing",
    rates: tuple[float, float] = (0.01, 0.04),
    scale: float = 1.0,
    seed: int = 0,
    *,
    switch: Any = 200.0,
    delay: Any = 0.1,
) -> Circuit:
    r"""Return neurons that hear a population through synapses with short-term plasticity.

    1,000 Poisson trains (input) change their rate at `switch`; each of 100 leaky integrate-and-fire neurons (E)
    receives 300 of them by depressing synapses, or 8 by facilitating ones. Depressing synapses transmit the change:
    at stationary rates much above 1/(U tau_rec) the current that they bring no longer depends on the rate, while a step
    is answered by a burst. Facilitating ones transmit the rate, and more than in proportion.

    What differs from the paper: there one neuron hears one synapse, and a large population is described by its mean;
    threshold (20 mV above rest), reset and numbers of neurons are ours. Resources that a spike has used recover at
    once, where the paper has them inactive for some ms first.

    Parameters
    ----------
    kind : {"depressing", "facilitating"}
    rates : tuple of float
        Of an input before and after `switch`, spikes/ms.
    scale : float
        Factor of the number of receiving neurons.
    seed : int
        Seed of the connectivity.
    switch : float or Quantity
        Time of the change, ms from the end of the warm-up.
    delay : float or Quantity
        Of all synapses, ms.

    References
    ----------
    M. Tsodyks, K. Pawelzik, H. Markram (1998), Neural networks with dynamic synapses, Neural Comput. 10, 821-835, eq.
    2.1 to 2.4 and fig. 1.
    """
    check_choice("kind", kind, list(KINDS))
    own = KINDS[kind]
    before, after = (float(in_unit(rate, "1/ms", "rates")) for rate in rates)
    when = float(in_unit(switch, "ms", "switch"))
    neuron = ConductanceLIF(
        C=own.tau_m / own.resistance, g_L=1 / own.resistance, E_L=-70.0, v_th=-50.0, v_reset=-60.0, t_ref=2.0
    )
    return Circuit(
        populations=[
            PoissonSource("input", N_SOURCES, Steps([when - 1e6, when], [before, after])),
            Population("E", scaled_size(N_TARGETS, scale), neuron),
        ],
        projections=[
            Projection(
                "input",
                "E",
                weight=own.amplitude,
                connectivity=FixedIndegree(own.indegree),
                synapse=Exponential(own.tau_syn, unit="pA"),
                delay=delay,
                plasticity=ShortTermPlasticity(U=own.use, tau_rec=own.tau_rec, tau_facil=own.tau_facil),
            )
        ],
        seed=seed,
    )
