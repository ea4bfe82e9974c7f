"""Adaptive exponential integrate-and-fire neurons in a balanced network: Zerlaut et al. (2018)."""

from __future__ import annotations

from typing import Any

from mnnbio.circuit import Circuit, PoissonDrive, Population, Projection
from mnnbio.circuits.keeping_indegrees import scaled_rule, scaled_sizes
from mnnbio.neurons import AdEx
from mnnbio.synapses import Conductance
from mnnbio.units import in_unit
from mnnbio.values import Uniform

# Table 1 of the paper.
SIZES = {"E": 8_000, "I": 2_000}
PROBABILITY = 0.05
REVERSAL = {"E": 0.0, "I": -80.0}
TAU_SYN = 5.0
SHARPNESS = {"E": 2.0, "I": 0.5}
E_L, V_T = -65.0, -50.0


def adex_network(
    rate: Any = 0.004,
    scale: float = 1.0,
    seed: int = 0,
    *,
    weights: tuple[float, float] = (1.0, 5.0),
    a: Any = 4.0,
    b: Any = 20.0,
    delay: Any = 0.1,
) -> Circuit:
    r"""Return a balanced network of AdEx neurons with conductance-based synapses.

    8,000 excitatory neurons that adapt (E, regular spiking) and 2,000 inhibitory ones that do not (I, fast spiking),
    connected with probability 5 %; synapses decay with 5 ms. A neuron is driven by as many Poisson trains as it has
    excitatory synapses, 400. With 4 Hz each the state is asynchronous and irregular; inhibitory neurons are faster.

    The capacitance is that of the table, 150 pF; a script that the authors published has 200 pF. Where they start all
    neurons at rest, start potentials are drawn between rest and threshold.

    Parameters
    ----------
    rate : float or Quantity
        Of each external train, spikes/ms.
    scale : float
        Factor of the numbers of neurons; the numbers of their synapses are kept.
    seed : int
        Seed of the connectivity.
    weights : tuple of float
        Of E and of I, nS.
    a : float or Quantity
        Subthreshold adaptation of E, nS.
    b : float or Quantity
        Growth of the adaptation current of E at a spike, pA.
    delay : float or Quantity
        Of all synapses, ms. The paper has none; it is one time step.

    References
    ----------
    Y. Zerlaut, S. Chemla, F. Chavane, A. Destexhe (2018), Modeling mesoscopic cortical dynamics using a mean-field
    model of conductance-based networks of adaptive exponential integrate-and-fire neurons, J. Comput. Neurosci. 44,
    45-61, sec. 2 and table 1.
    """
    trains = float(in_unit(rate, "1/ms", "rate"))
    if not trains >= 0:
        raise ValueError(f"`rate` must be ≥ 0 spikes/ms, got {trains:g}")
    sizes, rule = scaled_sizes(SIZES, scale), scaled_rule(PROBABILITY, scale)
    synapses = {name: Conductance(TAU_SYN, reversal=REVERSAL[name], name=name.lower()) for name in SIZES}
    peaks = {name: float(in_unit(weight, "nS", "weights")) for name, weight in zip(SIZES, weights, strict=True)}
    adaptation = {"E": {"a": a, "b": b}, "I": {"a": 0.0, "b": 0.0}}
    populations = [
        Population(
            name,
            size,
            AdEx(
                C=150.0,
                g_L=10.0,
                E_L=E_L,
                v_t=V_T,
                delta_t=SHARPNESS[name],
                tau_w=500.0,
                v_reset=E_L,
                v_th=V_T + 5 * SHARPNESS[name],
                t_ref=5.0,
                initial={"v": Uniform(E_L, V_T)},
                **adaptation[name],
            ),
        )
        for name, size in sizes.items()
    ]
    projections = [
        Projection(source, target, weight=peaks[source], connectivity=rule, synapse=synapses[source], delay=delay)
        for source in SIZES
        for target in SIZES
    ]
    external = PROBABILITY * SIZES["E"] * trains
    drives = [PoissonDrive(name, rate=external, weight=peaks["E"], synapse=synapses["E"]) for name in SIZES]
    return Circuit(populations, projections, drives, seed=seed)
