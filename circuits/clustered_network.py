"""Clusters of excitatory neurons: Litwin-Kumar & Doiron (2012)."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

from mnnbio.circuit import Bernoulli, Circuit, GaussianDrive, Population, Projection
from mnnbio.neurons import LIFParameters
from mnnbio.units import in_unit

# Methods, "Network": sizes, connection probabilities, cluster size, ratios within and between clusters.
N_E, N_I, CLUSTER = 4_000, 1_000, 80
P_EE, P = 0.2, 0.5
WEIGHT_RATIO = 1.9
# Methods, "Neuron model": time constants (ms), drive and weights in units of threshold over rest.
TAU_E, TAU_I, T_REF = 15.0, 10.0, 5.0
MU_E, MU_I = (1.1, 1.2), (1.0, 1.05)
J_EE, J_IE, J_EI, J_II = 0.024, 0.014, -0.045, -0.057
TAU_SYN_E, TAU_SYN_I = 3.0, 2.0
# Size of the unit here, mV.
V_TH = 20.0


def clustered(
    ratio: float = 2.5,
    scale: float = 1.0,
    seed: int = 0,
    *,
    delay: Any = 0.1,
    tau_syn: tuple[Any, Any] = (TAU_SYN_E, TAU_SYN_I),
) -> Circuit:
    r"""Return a balanced network whose excitatory neurons form clusters.

    4,000 excitatory neurons in 50 clusters of 80 and 1,000 inhibitory ones. Excitatory pairs are connected with
    probability 0.2 on average, `ratio` (R\ :sub:`EE`) times as often within a cluster as between, and 1.9 times as
    strongly; other pairs with probability 0.5. With `ratio` = 1 (and then equal weights) the network is the
    homogeneous one of their Fig. 1; with 2.5 clusters switch between low and high rates over hundreds of
    milliseconds, so that Fano factors of counts exceed one, which no stationary theory describes.

    What differs from the paper: synaptic currents have no rise time (theirs rise in 1 ms, and decay in 3 ms from E
    and 2 ms from I); the unit of voltage is 20 mV. As there, the constant drive of each neuron is drawn from a range
    above threshold for E, and at it for I.

    Parameters
    ----------
    ratio : float
        Connection probability within a cluster over that between clusters; ≥ 1.
    scale : float
        Factor of the numbers of neurons, cluster sizes included. Weights are divided by it, so that the mean recurrent
        input and the feedback within a cluster stay; input variances grow by its inverse.
    seed : int
        Seed of the connectivity and of the drives.
    delay : float or Quantity
        Of all synapses, ms.
    tau_syn : tuple of two floats or Quantities
        Decay times of the currents from E and I, ms.

    References
    ----------
    A. Litwin-Kumar, B. Doiron (2012), Slow dynamics and high variability in balanced cortical networks with clustered
    connections, Nat. Neurosci. 15, 1498-1505.
    """
    if not 1 <= ratio < np.inf:
        raise ValueError(f"`ratio` must be a number ≥ 1, got {ratio!r}")
    if not (0 < scale < np.inf and round(scale * CLUSTER) > 1):
        raise ValueError(f"`scale` must leave clusters of two neurons or more, > {1.5 / CLUSTER:g}, got {scale!r}")
    cluster = round(scale * CLUSTER)
    n_e, n_i = N_E // CLUSTER * cluster, round(scale * N_I)
    unit = V_TH / scale
    tau_e, tau_i = (float(in_unit(value, "ms", "tau_syn")) for value in tau_syn)
    rng = np.random.default_rng([seed, 0])
    inner_weight = 1.0 if ratio == 1 else WEIGHT_RATIO
    within = _excitatory_weights(n_e, cluster, ratio, unit * J_EE, inner_weight, rng)
    populations = {"E": (n_e, TAU_E, MU_E), "I": (n_i, TAU_I, MU_I)}
    rules = {("E", "I"): (J_IE, tau_e), ("I", "E"): (J_EI, tau_i), ("I", "I"): (J_II, tau_i)}
    return Circuit(
        populations=[
            Population(name, size, LIFParameters(tau_m=tau, v_th=V_TH, v_reset=0.0, t_ref=T_REF))
            for name, (size, tau, _) in populations.items()
        ],
        projections=[
            Projection("E", "E", weights=within, delay=delay, tau_syn=tau_e),
            *(
                Projection(source, target, weight=unit * weight, connectivity=Bernoulli(P), delay=delay, tau_syn=decay)
                for (source, target), (weight, decay) in rules.items()
            ),
        ],
        drives=[
            GaussianDrive(name, mean=V_TH * rng.uniform(*span, size) / tau)
            for name, (size, tau, span) in populations.items()
        ],
        seed=seed,
    )


def _excitatory_weights(
    n: int, cluster: int, ratio: float, weight: float, inner: float, rng: np.random.Generator
) -> sparse.csr_array:
    """Return weights whose mean connection probability is that of the network without clusters, mV."""
    between = P_EE * n / (cluster * (ratio - 1) + n)
    member = np.arange(n) // cluster
    rows = []
    for target in range(n):
        same = member == member[target]
        connected = rng.random(n) < np.where(same, ratio * between, between)
        connected[target] = False
        rows.append(sparse.csr_array(connected[None] * np.where(same, inner * weight, weight)[None]))
    return sparse.csr_array(sparse.vstack(rows))
