"""Networks on which simulators are compared: Brette et al. (2007), benchmarks 1 to 3."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mnnbio.circuit import Bernoulli, Circuit, GaussianDrive, PoissonSource, Population, Projection
from mnnbio.circuits.keeping_indegrees import scaled_rule, scaled_sizes
from mnnbio.neurons import ConductanceLIF, HodgkinHuxley, LIFParameters, NeuronModel
from mnnbio.synapses import Conductance, Exponential, SynapseModel
from mnnbio.units import in_unit
from mnnbio.values import Steps, Uniform

# Appendix 2 of the paper: sizes, probability of connection, synaptic time constants (ms), reversal potentials (mV).
SIZES = {"E": 3_200, "I": 800}
PROBABILITY = 0.02
TAU = {"E": 5.0, "I": 10.0}
REVERSAL = {"E": 0.0, "I": -80.0}
# Potentials of the integrate-and-fire neurons, mV, and their membrane time constant and refractory period, ms.
V_REST, V_TH, V_RESET, TAU_M, T_REF = -60.0, -50.0, -60.0, 20.0, 5.0
# Constant input of benchmark 2 as a change of the resting potential, mV.
LIFT = 11.0
# Poisson sources that set benchmarks 1 and 3 going: number, rate (spikes/ms), probability, weight (nS), as in the PyNN
# version of the benchmarks.
KICK, KICK_RATE, KICK_PROBABILITY, KICK_WEIGHT = 20, 0.1, 0.01, 100.0


def coba(
    scale: float = 1.0,
    seed: int = 0,
    *,
    weights: tuple[float, float] = (6.0, 67.0),
    kick: Any = 50.0,
    delay: Any = 0.1,
) -> Circuit:
    r"""Return benchmark 1: leaky integrate-and-fire neurons with conductance-based synapses (COBA).

    3,200 excitatory (E) and 800 inhibitory neurons (I), each pair connected with probability 2 %, by conductances that
    decay with 5 and 10 ms towards 0 and −80 mV. Nothing drives the network: 20 Poisson sources of 100 Hz set it going
    until `kick`, in the warm-up too, and it then keeps itself active, asynchronous and irregular, at some 10 to 25 Hz.

    There is no stationary input that would say so, and smaller networks fall silent sooner. Start potentials are drawn
    between reset and threshold. How the network is set going is that of the PyNN version of the benchmarks, whose
    weights are weaker (4 and 51 nS); the Brian version draws conductances to start with instead.

    Parameters
    ----------
    scale : float
        Factor of the numbers of neurons; the numbers of their synapses are kept.
    seed : int
        Seed of the connectivity.
    weights : tuple of float
        Of E and of I, nS.
    kick : float or Quantity
        Time from the end of the warm-up until which the sources fire, ms; ≥ 0.
    delay : float or Quantity
        Of all synapses, ms. The paper has none; it is one time step.

    References
    ----------
    R. Brette et al. (2007), Simulation of networks of spiking neurons: a review of tools and strategies, J. Comput.
    Neurosci. 23, 349-398, appendix 2, after T. P. Vogels, L. F. Abbott (2005), J. Neurosci. 25, 10786-10795.
    """
    neuron = ConductanceLIF(
        C=200.0,
        g_L=10.0,
        E_L=V_REST,
        v_th=V_TH,
        v_reset=V_RESET,
        t_ref=T_REF,
        initial={"v": Uniform(V_RESET, V_TH)},
    )
    return _kicked(neuron, weights, scale, seed, kick, delay)


def cuba(
    scale: float = 1.0, seed: int = 0, *, weights: tuple[float, float] = (1.62, -9.0), delay: Any = 0.1
) -> Circuit:
    r"""Return benchmark 2: leaky integrate-and-fire neurons with current-based synapses (CUBA).

    As benchmark 1, but with exponential currents of 5 and 10 ms. A constant current lifts the resting potential from
    −60 to −49 mV, 1 mV above threshold, so that the network is active by itself. Neurons are integrated exactly.

    Parameters
    ----------
    scale : float
        Factor of the numbers of neurons; the numbers of their synapses are kept.
    seed : int
        Seed of the connectivity.
    weights : tuple of float
        Of E and of I, mV, as in the paper: the potential to which the current after a spike would lift a membrane in
        the end. The charge of a spike, which stands in the circuit, is that times ``tau_syn/tau_m``.
    delay : float or Quantity
        Of all synapses, ms. The paper has none; it is one time step.

    References
    ----------
    R. Brette et al. (2007), J. Comput. Neurosci. 23, 349-398, appendix 2, after Vogels & Abbott (2005).
    """
    neuron = LIFParameters(
        tau_m=TAU_M, v_th=V_TH, v_reset=V_RESET, t_ref=T_REF, v_rest=V_REST, initial={"v": Uniform(V_RESET, V_TH)}
    )
    charges = [float(in_unit(w, "mV", "weights")) * TAU[name] / TAU_M for name, w in zip(SIZES, weights, strict=True)]
    synapses: dict[str, SynapseModel] = {name: Exponential(tau) for name, tau in TAU.items()}
    populations, projections = _network(neuron, synapses, charges, scale, delay)
    return Circuit(populations, projections, [GaussianDrive(name, mean=LIFT / TAU_M) for name in SIZES], seed=seed)


def cobahh(
    scale: float = 1.0,
    seed: int = 0,
    *,
    weights: tuple[float, float] = (6.0, 67.0),
    kick: Any = 50.0,
    delay: Any = 0.1,
) -> Circuit:
    r"""Return benchmark 3: Hodgkin–Huxley neurons with conductance-based synapses (COBAHH).

    As benchmark 1, with the sodium and potassium currents of Traub and Miles in place of a threshold; parameters of the
    neurons are those of the published Brian script. Start potentials are drawn between −60 and −50 mV.

    Parameters
    ----------
    scale : float
        Factor of the numbers of neurons; the numbers of their synapses are kept.
    seed : int
        Seed of the connectivity.
    weights : tuple of float
        Of E and of I, nS.
    kick : float or Quantity
        Time from the end of the warm-up until which the sources fire, ms; ≥ 0.
    delay : float or Quantity
        Of all synapses, ms. The paper has none; it is one time step.

    References
    ----------
    R. Brette et al. (2007), J. Comput. Neurosci. 23, 349-398, appendix 2.
    """
    return _kicked(HodgkinHuxley(initial={"v": Uniform(V_RESET, V_TH)}), weights, scale, seed, kick, delay)


def _kicked(neuron: NeuronModel, weights: Sequence[Any], scale: float, seed: int, kick: Any, delay: Any) -> Circuit:
    """Return a network with conductances that sources set going and then leave alone."""
    synapses: dict[str, SynapseModel] = {
        name: Conductance(TAU[name], reversal=REVERSAL[name], name=name.lower()) for name in SIZES
    }
    peaks = [float(in_unit(weight, "nS", "weights")) for weight in weights]
    populations, projections = _network(neuron, synapses, peaks, scale, delay)
    until = float(in_unit(kick, "ms", "kick"))
    if not until >= 0:
        raise ValueError(f"`kick` must be a time ≥ 0 ms, got {until:g}")
    sources = PoissonSource("kick", KICK, Steps([-1e6, until], [KICK_RATE, 0.0]))
    projections += [
        Projection(
            "kick",
            name,
            weight=KICK_WEIGHT,
            connectivity=Bernoulli(KICK_PROBABILITY),
            synapse=synapses["E"],
            delay=delay,
        )
        for name in SIZES
    ]
    return Circuit([sources, *populations], projections, seed=seed)


def _network(
    neuron: NeuronModel, synapses: dict[str, SynapseModel], weights: Sequence[float], scale: float, delay: Any
) -> tuple[list[Population], list[Projection]]:
    """Return both populations and the projections between them."""
    sizes = scaled_sizes(SIZES, scale)
    rule = scaled_rule(PROBABILITY, scale)
    populations = [Population(name, size, neuron) for name, size in sizes.items()]
    projections = [
        Projection(source, target, weight=weight, connectivity=rule, synapse=synapses[source], delay=delay)
        for source, weight in zip(SIZES, weights, strict=True)
        for target in SIZES
    ]
    return populations, projections
