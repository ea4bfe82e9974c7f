"""The cortical microcircuit under 1 mm² of early sensory cortex: Potjans & Diesmann (2014)."""

from __future__ import annotations

import numpy as np

from mnnbio.circuit import Circuit, FixedTotalNumber, PoissonDrive, Population, Projection
from mnnbio.circuits.downscaling import downscaled
from mnnbio.neurons import LIFParameters
from mnnbio.values import Normal

POPULATIONS = ("L23E", "L23I", "L4E", "L4I", "L5E", "L5I", "L6E", "L6I")
# Table 5: numbers of neurons and of external inputs.
SIZES = (20_683, 5_834, 21_915, 5_479, 4_850, 1_065, 14_395, 2_948)
EXTERNAL_INDEGREES = (1_600, 1_500, 2_100, 1_900, 2_000, 1_900, 2_900, 2_100)
EXTERNAL_RATE = 8e-3  # spikes/ms
# Table 5: connection probabilities, target by source.
PROBABILITIES = (
    (0.1009, 0.1689, 0.0437, 0.0818, 0.0323, 0.0, 0.0076, 0.0),
    (0.1346, 0.1371, 0.0316, 0.0515, 0.0755, 0.0, 0.0042, 0.0),
    (0.0077, 0.0059, 0.0497, 0.135, 0.0067, 0.0003, 0.0453, 0.0),
    (0.0691, 0.0029, 0.0794, 0.1597, 0.0033, 0.0, 0.1057, 0.0),
    (0.1004, 0.0622, 0.0505, 0.0057, 0.0831, 0.3726, 0.0204, 0.0),
    (0.0548, 0.0269, 0.0257, 0.0022, 0.06, 0.3158, 0.0086, 0.0),
    (0.0156, 0.0066, 0.0211, 0.0166, 0.0572, 0.0197, 0.0396, 0.2252),
    (0.0364, 0.001, 0.0034, 0.0005, 0.0277, 0.008, 0.0658, 0.1443),
)
# Table 4 C, 5: neurons (potentials from rest), synapses and delays (mean; the deviation is half of it).
NEURON = LIFParameters(tau_m=10.0, v_th=15.0, v_reset=0.0, t_ref=2.0)
TAU_SYN = 0.5
PSP, PSP_RELATIVE_STD, G = 0.15, 0.1, -4.0
DELAYS = {"E": 1.5, "I": 0.75}
# Rates of the full network (spikes/s) as its authors' implementation in NEST lists them, for scaling down.
FULL_RATES = (0.971, 2.868, 4.746, 5.396, 8.142, 9.078, 0.991, 7.523)


def microcircuit(
    scale: float = 1.0, seed: int = 0, *, indegree_scale: float | None = None, shortest_delay: float = 0.1
) -> Circuit:
    r"""Return the multi-layered network of Potjans & Diesmann (2014).

    77,169 neurons in four layers, excitatory (E) and inhibitory ones (I) in each, with 0.3 billion synapses at full
    scale. It is to reproduce the spontaneous rates of Fig. 6 with independent Poisson background: 0.97, 2.87, 4.75,
    5.40, 8.14, 9.08, 0.99, 7.52 spikes/s in the order of `POPULATIONS`.

    A pair of populations has :math:`\ln(1 - p)/\ln(1 - 1/(N_a N_b))` synapses between pairs drawn with replacement
    (Eq. 1). Synaptic currents decay exponentially; weights are normal, of 0.15 mV postsynaptic potential (0.3 mV from
    L4E to L23E) and −4 times that from I, with 10 % deviation and without change of sign; delays are normal, redrawn
    below `shortest_delay`.

    At a tenth of the neurons, in-degrees scaled by 0.3 (``indegree_scale=0.3``) keep the rates within 15 % of their
    prediction. Scaled by 0.1 as well, single weights reach 0.6 and −2.2 mV, and the sparsest populations, L23E and
    L6E, fire a quarter less than a diffusion theory predicts (``benchmarks/ready_circuits.py``).

    Parameters
    ----------
    scale : float
        Factor of the numbers of neurons; see `downscaled`. The background keeps its inputs.
    seed : int
        Seed of the connectivity, weights and delays.
    indegree_scale : float, optional
        Factor of the in-degrees; by default `scale`.
    shortest_delay : float
        Least delay, ms; at least the time step of a simulation.

    References
    ----------
    T. C. Potjans, M. Diesmann (2014), The cell-type specific cortical microcircuit: relating structure and activity
    in a full-scale spiking network model, Cereb. Cortex 24, 785-806, Tables 4 and 5. Scaling: S. J. van Albada et al.
    (2015), PLoS Comput. Biol. 11(9), e1004490.
    """
    unit = PSP / _psp_per_charge(NEURON.tau_m, TAU_SYN)
    circuit = Circuit(
        populations=[Population(name, size, NEURON) for name, size in zip(POPULATIONS, SIZES, strict=True)],
        projections=[
            _projection(target, source, unit, shortest_delay)
            for target in range(len(POPULATIONS))
            for source in range(len(POPULATIONS))
            if PROBABILITIES[target][source]
        ],
        drives=[
            PoissonDrive(name, rate=number * EXTERNAL_RATE, weight=unit, tau_syn=TAU_SYN)
            for name, number in zip(POPULATIONS, EXTERNAL_INDEGREES, strict=True)
        ],
        seed=seed,
    )
    rates = dict(zip(POPULATIONS, 1e-3 * np.array(FULL_RATES), strict=True))
    return downscaled(circuit, scale, indegree_scale, rates)


def _projection(target: int, source: int, unit: float, shortest_delay: float) -> Projection:
    names = POPULATIONS[source], POPULATIONS[target]
    kind = names[0][-1]
    weight = unit * (G if kind == "I" else 2.0 if names == ("L4E", "L23E") else 1.0)
    pairs = SIZES[target] * SIZES[source]
    number = round(np.log1p(-PROBABILITIES[target][source]) / np.log1p(-1 / pairs))
    delay = DELAYS[kind]
    return Projection(
        *names,
        weight=Normal(
            weight, PSP_RELATIVE_STD * abs(weight), low=None if weight < 0 else 0.0, high=0.0 if weight < 0 else None
        ),
        connectivity=FixedTotalNumber(number),
        delay=Normal(delay, delay / 2, low=shortest_delay),
        autapses=True,
        tau_syn=TAU_SYN,
    )


def _psp_per_charge(tau_m: float, tau_s: float) -> float:
    """Return the peak of the potential after a spike that brings the charge of a jump of 1 mV."""
    ratio, difference = tau_m / tau_s, tau_m - tau_s
    return float(tau_m / difference * (ratio ** (-tau_s / difference) - ratio ** (-tau_m / difference)))
