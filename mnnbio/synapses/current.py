"""Delta and exponential synapses: currents that only add."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import special

from mnnbio.synapses.synapse_model import SynapseModel, SynapseSteps, Target
from mnnbio.units import in_unit

Array = npt.NDArray[np.float64]

_MV = 1e-3  # volt


@dataclass(frozen=True)
class Delta(SynapseModel):
    """Delta synapses: a spike moves the membrane potential by its weight at once."""

    def spike(self, weight: Any) -> Any:
        """Return the jump, V."""
        return weight * _MV

    def steps(self, target: Target, name: str, dt: float) -> SynapseSteps:
        """Return that a spike adds to the membrane potential."""
        variable, unit = next(iter(target.receives.items()))
        return SynapseSteps(adds_to=variable, unit=unit)


@dataclass(frozen=True)
class Exponential(SynapseModel):
    """Exponential synapses: a spike adds ``weight/tau_syn`` (mV/ms) to a current that decays with `tau_syn`.

    The charge of a spike, as a change of the membrane potential, is that of the delta synapse. The current is
    integrated exactly with the membrane: in a step of dt a current I leaves ``exp(-dt/tau_syn) I`` and moves the
    membrane by ``P I``, with ``P`` the propagator [1]_. Spikes that arrive in a step are added at its end, as the jumps
    of delta synapses are.

    Parameters
    ----------
    tau_syn : float or Quantity
        Synaptic time constant, ms; > 0.

    References
    ----------
    .. [1] S. Rotter, M. Diesmann (1999), Exact digital simulation of time-invariant linear systems with applications to
       neuronal modeling, Biological Cybernetics 81, 381-402, sec. 3.1.
    """

    tau_syn: Any

    def __post_init__(self) -> None:
        value = in_unit(self.tau_syn, "ms", "tau_syn")
        if not isinstance(value, float) or not value > 0:
            raise ValueError(f"`tau_syn` must be a single time > 0 ms, got {self.tau_syn!r}")
        object.__setattr__(self, "tau_syn", value)

    def spike(self, weight: Any) -> Any:
        """Return the jump of the current, V/s."""
        return weight / self.tau_syn  # mV/ms = V/s

    def steps(self, target: Target, name: str, dt: float) -> SynapseSteps:
        """Return the current and how far it moves the membrane.

        Raises
        ------
        TypeError
            If the neurons have no linear membrane, with which the current could be integrated exactly.
        """
        if target.tau_m is None:
            raise TypeError(
                f"exponential synapses are integrated exactly with a linear membrane, which {target.neuron} does not "
                "have. Give the neurons a current of their own, and synapses that add to it"
            )
        return SynapseSteps(
            adds_to=f"current{name}",
            unit="volt/second",
            declarations=(
                f"current{name} : volt/second\nfade{name} : 1 (constant)\npropagate{name} : second (constant)\n"
            ),
            values={
                f"fade{name}": np.exp(-dt / self.tau_syn),
                f"propagate{name}": propagator(target.tau_m, self.tau_syn, dt) * 1e-3,
            },
            start={f"current{name}": 0.0},
            updates={f"current{name}": f"fade{name}*current{name}"},
            term=f"propagate{name}*current{name}",
        )


def propagator(tau_m: npt.ArrayLike, tau_syn: float, dt: float) -> Array:
    """Return how far a step of dt moves the membrane per current at its start, ms.

    ``tau_m tau_syn/(tau_syn - tau_m) (exp(-dt/tau_syn) - exp(-dt/tau_m))``, which has the finite limit
    ``dt exp(-dt/tau_m)`` for equal time constants. All in ms.
    """
    membrane = dt / np.asarray(tau_m, dtype=np.float64)
    return np.asarray(dt * np.exp(-membrane) * special.exprel(membrane - dt / tau_syn))
