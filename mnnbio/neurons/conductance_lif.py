"""Leaky integrate-and-fire neurons with a capacitance and a leak conductance, for conductance-based synapses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from mnnbio.neurons.biophysical import BiophysicalNeuron
from mnnbio.neurons.neuron_model import NeuronDynamics
from mnnbio.units import Unit


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ConductanceLIF(BiophysicalNeuron):
    """Leaky integrate-and-fire neurons for conductance-based synapses.

    ``C dv/dt = g_L (E_L - v) + I``; a spike where v exceeds the threshold ``v_th + theta``, then v is held at `v_reset`
    for `t_ref`. The threshold may adapt: theta grows by `theta_plus` at a spike and decays with `tau_theta`
    (homeostasis). Integrated by the exponential Euler method, with the conductances of the beginning of each step: at
    dt = 0.1 ms and synapses of 5 and 10 ms rates come out some 2 % too high, in proportion to the step.

    Parameters
    ----------
    C : float, array_like, Quantity or Distribution
        Membrane capacitance, pF; > 0.
    g_L : float, array_like, Quantity or Distribution
        Leak conductance, nS; > 0.
    E_L : float, array_like, Quantity or Distribution
        Leak reversal potential, mV.
    v_th, v_reset : float, array_like, Quantity or Distribution
        Threshold and reset potential, mV.
    t_ref : float, array_like, Quantity or Distribution
        Absolute refractory period, ms; ≥ 0.
    theta_plus : float, array_like, Quantity or Distribution
        Growth of the threshold at a spike, mV; 0: it is fixed.
    tau_theta : float, array_like, Quantity or Distribution
        Time constant with which the threshold comes back, ms; > 0.
    initial : mapping, optional
        Start values of ``v`` and ``theta``, mV; by default `E_L` and 0.

    References
    ----------
    T. P. Vogels, L. F. Abbott (2005), Signal propagation and logic gating in networks of integrate-and-fire neurons,
    J. Neurosci. 25, 10786. P. U. Diehl, M. Cook (2015), Unsupervised learning of digit recognition using
    spike-timing-dependent plasticity, Front. Comput. Neurosci. 9, 99, for adaptive thresholds.
    """

    C: Any = 200.0
    g_L: Any = 10.0
    E_L: Any = -60.0
    v_th: Any = -50.0
    v_reset: Any = -60.0
    t_ref: Any = 5.0
    theta_plus: Any = 0.0
    tau_theta: Any = 1e4

    UNITS: ClassVar[Mapping[str, Unit]] = {
        "C": "pF",
        "g_L": "nS",
        "E_L": "mV",
        "v_th": "mV",
        "v_reset": "mV",
        "t_ref": "ms",
        "theta_plus": "mV",
        "tau_theta": "ms",
    }
    POSITIVE = ("C", "g_L", "tau_theta")
    VARIABLES: ClassVar[Mapping[str, str]] = {"v": "volt", "theta": "volt"}
    EQUATIONS = "dv/dt = (g_L*(E_L - v) + I_syn)/C : volt (unless refractory)\n"
    METHOD = "exponential_euler"

    def dynamics(self, dt: float) -> NeuronDynamics:
        """Return the equations of the neurons; the threshold has one only where it adapts."""
        plain, own = super().dynamics(dt), {"theta_plus", "tau_theta"}
        if isinstance(self.theta_plus, float) and self.theta_plus == 0:
            return replace(
                plain,
                values=_without(plain.values, own),
                units=_without(plain.units, own),
                start=_without(plain.start, {"theta"}),
                receives=_without(plain.receives, {"theta"}),
            )
        return replace(
            plain,
            equations=f"{plain.equations}dtheta/dt = -theta/tau_theta : volt\n",
            threshold="v > v_th + theta",
            reset=f"{plain.reset}; theta += theta_plus",
        )


def _without(mapping: Mapping[str, Any], names: set[str]) -> dict[str, Any]:
    return {name: value for name, value in mapping.items() if name not in names}
