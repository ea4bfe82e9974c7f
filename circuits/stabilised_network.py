"""A network that inhibition stabilises, and its paradoxical response: Tsodyks et al. (1997)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mnnbio.circuit import Circuit, FixedIndegree, PoissonDrive, Population, Projection
from mnnbio.circuits.downscaling import downscaled
from mnnbio.neurons import LIFParameters
from mnnbio.units import in_unit

N_E, N_I = 4_000, 1_000
K_E, K_I = 400, 100
# Weights (mV) onto E and I from each. Excitation onto I is the stronger, which keeps the rates low.
WEIGHTS = {("E", "E"): 0.2, ("I", "E"): -1.0, ("E", "I"): 0.25, ("I", "I"): -1.0}
EXTERNAL_RATE = {"E": 9.0, "I": 8.0}  # spikes/ms, each of weight 0.2 mV
EXTERNAL_WEIGHT = 0.2


def inhibition_stabilised(
    stimulus: Sequence[float] | Any = (0.0, 0.5, 1.0),
    scale: float = 1.0,
    seed: int = 0,
    *,
    delay: Any = 1.5,
    indegree_scale: float | None = None,
) -> Circuit:
    r"""Return a network in which more drive to the inhibitory neurons lowers their rate.

    With gains A of the rates, the excitatory population alone is unstable where :math:`A_E W_{EE} > 1`,
    :math:`W_{EE} = K_E J_{EE}`, and inhibition stabilises the network. Then, of a drive :math:`\delta` to I,

    .. math::
        \partial r_I/\partial \delta = A_I (1 - A_E W_{EE}) / \det(1 - A W) < 0 :

    the paradoxical effect, which a purely feedback-inhibited network (:math:`A_E W_{EE} < 1`) does not show. The
    circuit has one stimulus for each strength of the drive to I; rates of both E and I are to fall with it.

    Tsodyks et al. found the effect in a rate model; Sanzeni et al. (2020) show it in cortex and in
    networks of integrate-and-fire neurons. The spiking network here has the geometry and neurons of Brunel (2000,
    model A) with parameters of its own, chosen so that :math:`A_E W_{EE}` is several times one at 5 to 15 spikes/s.

    Parameters
    ----------
    stimulus : sequence of float or Quantity
        Rates of the additional drive to every inhibitory neuron, spikes/ms, through weights of 0.2 mV; one stimulus
        each.
    scale : float
        Factor of the numbers of neurons; see `downscaled`.
    seed : int
        Seed of the connectivity.
    delay : float or Quantity
        Of all synapses, ms.
    indegree_scale : float, optional
        Factor of the in-degrees; by default `scale`.

    References
    ----------
    M. V. Tsodyks, W. E. Skaggs, T. J. Sejnowski, B. L. McNaughton (1997), Paradoxical effects of external modulation of
    inhibitory interneurons, J. Neurosci. 17, 4382-4388. H. Ozeki et al. (2009), Inhibitory stabilization of the
    cortical network underlies visual surround suppression, Neuron 62, 578-592. A. Sanzeni et al. (2020), Inhibition
    stabilization is a widespread property of cortical networks, eLife 9, e54875.
    """
    extra = np.atleast_1d(in_unit(stimulus, "1/ms", "stimulus"))
    if extra.ndim != 1 or not extra.size:
        raise ValueError(f"`stimulus` must be a sequence of rates, got shape {extra.shape}")
    lif = LIFParameters(tau_m=20.0, v_th=20.0, v_reset=10.0, t_ref=2.0)
    sizes, indegrees = {"E": N_E, "I": N_I}, {"E": K_E, "I": K_I}
    full = Circuit(
        populations=[Population(name, size, lif) for name, size in sizes.items()],
        projections=[
            Projection(source, target, weight=weight, connectivity=FixedIndegree(indegrees[source]), delay=delay)
            for (source, target), weight in WEIGHTS.items()
        ],
        drives=[PoissonDrive(name, rate=rate, weight=EXTERNAL_WEIGHT) for name, rate in EXTERNAL_RATE.items()],
        seed=seed,
    )
    small = downscaled(full, scale, indegree_scale)
    n = small.population("I").size
    drive = PoissonDrive("I", rate=np.repeat(extra[:, None], n, axis=1), weight=EXTERNAL_WEIGHT)
    return Circuit(small.populations, small.projections, [*small.drives, drive], seed=seed)
