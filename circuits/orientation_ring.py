"""A ring of orientation columns that sharpens weakly tuned input: Ben-Yishai et al. (1995)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mnnbio.circuit import Circuit, DistanceDependent, GaussianProfile, PoissonDrive, Population, Projection, Ring
from mnnbio.neurons import LIFParameters
from mnnbio.units import in_unit

N_E, N_I = 2_000, 500
ORIENTATIONS = 180.0  # degrees around the ring
# In-degrees, weights (mV) and widths (degrees) by (source, target): excitation is narrower than inhibition.
INDEGREES = {"E": 200, "I": 100}
WEIGHTS = {("E", "E"): 0.12, ("E", "I"): 0.15, ("I", "E"): -0.4, ("I", "I"): -0.4}
WIDTHS = {("E", "E"): 15.0, ("E", "I"): 30.0, ("I", "E"): 45.0, ("I", "I"): 45.0}
EXTERNAL_WEIGHT, EXTERNAL_RATE = 0.4, {"E": 3.0, "I": 2.5}  # mV; spikes/ms at contrast 1


def ring(
    contrast: Sequence[float] | float = (0.8, 1.2),
    tuning: float = 0.2,
    scale: float = 1.0,
    seed: int = 0,
    *,
    orientation: float = 90.0,
    delay: Any = 1.0,
) -> Circuit:
    r"""Return a ring of excitatory (E) and inhibitory neurons (I) with orientation-dependent connections.

    The neurons of each population prefer orientations evenly spread over 180°. Neurons receive in-degrees of 200 from
    E and 100 from I, sources being drawn with Gaussian probabilities of distance, narrower for excitation than for
    inhibition. A stimulus of orientation :math:`\theta_0` and contrast c drives them by Poisson input of rate

    .. math:: \nu(\theta) = c\, \nu_0 [1 - \epsilon + \epsilon \cos 2(\theta - \theta_0)]

    (:math:`\epsilon` is the argument `tuning`). The recurrent connections turn this weak tuning
    into a bump of activity at :math:`\theta_0` whose width hardly depends on contrast: it is to reproduce their main
    result, sharp, contrast-invariant tuning, with spiking neurons in place of threshold-linear rates and parameters
    of its own.

    Parameters
    ----------
    contrast : float or sequence of float
        c, one stimulus each.
    tuning : float
        :math:`\epsilon`, between 0 and 0.5.
    scale : float
        Factor of the numbers of neurons and of in-degrees. Weights are divided by it, so that the mean input stays;
        input variances grow by its inverse.
    seed : int
        Seed of the connectivity.
    orientation : float
        :math:`\theta_0`, degrees.
    delay : float or Quantity
        Of all synapses, ms.

    References
    ----------
    R. Ben-Yishai, R. L. Bar-Or, H. Sompolinsky (1995), Theory of orientation tuning in visual cortex, Proc. Natl.
    Acad. Sci. USA 92, 3844-3848.
    """
    contrasts = np.atleast_1d(in_unit(contrast, "1", "contrast"))
    if contrasts.ndim != 1 or not contrasts.size or (contrasts < 0).any():
        raise ValueError(f"`contrast` must be numbers ≥ 0, got {contrast!r}")
    if not 0 <= tuning <= 0.5:
        raise ValueError(f"`tuning` must be between 0 and 0.5, so that no rate is negative, got {tuning!r}")
    if not 0 < scale < np.inf:
        raise ValueError(f"`scale` must be a number > 0, got {scale!r}")
    space = Ring(ORIENTATIONS)
    sizes = {"E": max(1, round(scale * N_E)), "I": max(1, round(scale * N_I))}
    drives = []
    for name, size in sizes.items():
        angle = np.deg2rad(space.positions(size)[:, 0] - orientation)
        profile = 1 - tuning + tuning * np.cos(2 * angle)
        rate = contrasts[:, None] * EXTERNAL_RATE[name] * profile
        drives.append(PoissonDrive(name, rate=rate, weight=EXTERNAL_WEIGHT))
    return Circuit(
        populations=[
            Population(name, size, LIFParameters(tau_m=20.0, v_th=20.0, v_reset=10.0, t_ref=2.0))
            for name, size in sizes.items()
        ],
        projections=[
            Projection(
                source,
                target,
                weight=weight / scale,
                connectivity=DistanceDependent(
                    GaussianProfile(WIDTHS[source, target]), indegree=round(scale * INDEGREES[source]), space=space
                ),
                delay=delay,
            )
            for (source, target), weight in WEIGHTS.items()
        ],
        drives=drives,
        seed=seed,
    )
