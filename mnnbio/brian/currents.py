"""Synaptic currents that decay exponentially, integrated exactly with the membrane.

In a step of dt a current I leaves ``exp(-dt/tau_syn) I`` and moves the membrane by ``P I``, with ``P`` the propagator
of Rotter & Diesmann (1999). Spikes that arrive in a step are added at its end, as the jumps of delta synapses are.

References
----------
S. Rotter, M. Diesmann (1999), Exact digital simulation of time-invariant linear systems with applications to neuronal
modeling, Biological Cybernetics 81, 381-402, sec. 3.1.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import special

from mnnbio.circuit import Circuit, PoissonDrive

Array = npt.NDArray[np.float64]


def synaptic_times(circuit: Circuit, name: str) -> list[float]:
    """Return the different synaptic time constants, ms, of a population's exponential inputs, as they first appear."""
    inputs = [p.tau_syn for p in circuit.projections if p.target == name]
    inputs += [d.tau_syn for d in circuit.drives if isinstance(d, PoissonDrive) and d.target == name]
    return list(dict.fromkeys(tau_syn for tau_syn in inputs if tau_syn > 0))


def propagator(tau_m: npt.ArrayLike, tau_syn: float, dt: float) -> Array:
    """Return how far a step of dt moves the membrane per current at its start, ms.

    ``tau_m tau_syn/(tau_syn - tau_m) (exp(-dt/tau_syn) - exp(-dt/tau_m))``, which has the finite limit
    ``dt exp(-dt/tau_m)`` for equal time constants. All in ms.
    """
    membrane = dt / np.asarray(tau_m, dtype=np.float64)
    return np.asarray(dt * np.exp(-membrane) * special.exprel(membrane - dt / tau_syn))
