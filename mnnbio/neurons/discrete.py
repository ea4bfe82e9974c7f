"""Leaky integrate-and-fire neurons in discrete time, as networks trained by surrogate gradients have them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from mnnbio.neurons.biophysical import BiophysicalNeuron
from mnnbio.neurons.neuron_model import NeuronDynamics, brian_units, si_values
from mnnbio.units import Unit, count_steps

# Brian2 updates only what has a differential equation; its form does not count where there is an `update`.
_EQUATIONS = """\
dv/dt = -v/second : volt
I : volt
spiked : 1
last : integer
"""
_LATE, _AT_ONCE = "last = t_in_timesteps; spiked = 1", "last = t_in_timesteps; v = v_reset"


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class DiscreteLIF(BiophysicalNeuron):
    """Current-based leaky integrate-and-fire neurons whose step is a map, not an approximation of an equation.

    In a step the current I decays by ``l_s = exp(-dt/tau_syn)`` and takes what arrives; then
    ``v ← (l_m v + (1 - l_m) I) · (1 - s)``, with ``l_m = exp(-dt/tau_m)`` and s = 1 where the neuron has fired in the
    step before, so that the reset takes effect one step late; v is 0 also for the ``t_ref/dt`` steps that follow a
    spike; then a spike where v exceeds `v_th`. With ``reset="at once"`` v is `v_reset` at the end of the step of the
    spike.

    Synapses add to ``I`` (``synapse=Into("I", "mV")``): a spike of weight w moves v by ``(1 - l_m) w`` in its step. The
    recorded I is what is left of it after the decay of the next step.

    Parameters
    ----------
    tau_m, tau_syn : float, array_like, Quantity or Distribution
        Time constants of the membrane and of the synaptic current, ms; > 0.
    v_th : float, array_like, Quantity or Distribution
        Threshold, mV; > 0.
    v_reset : float, array_like, Quantity or Distribution
        Reset potential, mV; it must be 0 where the reset is late.
    t_ref : float, array_like, Quantity or Distribution
        Refractory period, ms, counted in whole steps; ≥ 0.
    reset : {"late", "at once"}
    initial : mapping, optional
        Start values of ``v`` and ``I``, mV; by default 0.

    References
    ----------
    Z. Lin, H. Huang (2024), Spiking mode-based neural networks, Phys. Rev. E 110, 024306, eq. 1 to 4, in the order of
    its published code.
    """

    tau_m: Any = 20.0
    tau_syn: Any = 10.0
    v_th: Any = 1.0
    v_reset: Any = 0.0
    t_ref: Any = 10.0
    reset: Literal["late", "at once"] = "late"

    UNITS: ClassVar[Mapping[str, Unit]] = {"tau_m": "ms", "tau_syn": "ms", "v_th": "mV", "v_reset": "mV", "t_ref": "ms"}
    POSITIVE = ("tau_m", "tau_syn", "v_th")
    VARIABLES: ClassVar[Mapping[str, str]] = {"v": "volt", "I": "volt"}
    ORDER = "input_first"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.reset not in ("late", "at once"):
            raise ValueError(f"Invalid value {self.reset!r} for `reset`. Must be one of 'late', 'at once'")
        if self.reset == "late" and np.any(np.asarray(self.v_reset) != 0):
            raise ValueError(f"`v_reset` must be 0 mV where the reset is late, got {self.v_reset}")

    def rest(self) -> Mapping[str, Any]:
        """Return 0 for all variables."""
        return {"v": 0.0, "I": 0.0}

    def dynamics(self, dt: float) -> NeuronDynamics:
        """Return the map of a step of `dt`, ms."""
        units = {"v_th": self.UNITS["v_th"], "v_reset": self.UNITS["v_reset"]}
        start = {**self.rest(), **(self.initial or {})}
        return NeuronDynamics(
            equations=_EQUATIONS,
            threshold="v > v_th",
            reset=_LATE if self.reset == "late" else _AT_ONCE,
            update=("(keep*v + (1 - keep)*I)*(1 - spiked)*int(t_in_timesteps > last + hold)\nspiked = 0\nI = fade*I"),
            values={
                **si_values({name: getattr(self, name) for name in units}, units),
                "keep": np.exp(-dt / np.asarray(self.tau_m)),
                "fade": np.exp(-dt / np.asarray(self.tau_syn)),
                "hold": count_steps(self.t_ref, dt, "t_ref"),
            },
            units={**brian_units(units), "keep": "1", "fade": "1", "hold": "integer"},
            start={
                **{name: np.asarray(value) * 1e-3 for name, value in start.items()},
                "spiked": 0.0,
                "last": -(10**9),
            },
            receives=self.VARIABLES,
            order=self.ORDER,
        )
