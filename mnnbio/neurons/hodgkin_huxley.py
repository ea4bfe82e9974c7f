"""Hodgkin–Huxley neurons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from scipy import special

from mnnbio.neurons.biophysical import BiophysicalNeuron
from mnnbio.units import Unit


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class HodgkinHuxley(BiophysicalNeuron):
    """Hodgkin–Huxley neurons with the sodium and potassium currents of Traub and Miles.

    ``C dv/dt = g_L (E_L - v) - g_Na m³ h (v - E_Na) - g_K n⁴ (v - E_K) + I``. A spike is noted where v exceeds `v_th`,
    and no other before `t_ref` has passed; nothing is reset. Integrated by the exponential Euler method.

    Parameters
    ----------
    C : float, array_like, Quantity or Distribution
        Membrane capacitance, pF; > 0.
    g_L, g_Na, g_K : float, array_like, Quantity or Distribution
        Leak, sodium and potassium conductance, nS; g_L > 0.
    E_L, E_Na, E_K : float, array_like, Quantity or Distribution
        Their reversal potentials, mV.
    v_t : float, array_like, Quantity or Distribution
        Shift of the gates along the voltage, which sets the threshold, mV.
    v_th : float, array_like, Quantity or Distribution
        Potential at which a spike is noted, mV.
    t_ref : float, array_like, Quantity or Distribution
        Time after a spike in which no other is noted, ms; ≥ 0.
    initial : mapping, optional
        Start values of ``v`` (mV) and the gates ``m``, ``n``, ``h``; by default the steady state at `E_L`.

    References
    ----------
    R. D. Traub, R. Miles (1991), Neuronal Networks of the Hippocampus, Cambridge University Press. R. Brette et al.
    (2007), Simulation of networks of spiking neurons: a review of tools and strategies, J. Comput. Neurosci. 23, 349,
    benchmark 3, whose values are the defaults.
    """

    C: Any = 200.0
    g_L: Any = 10.0
    E_L: Any = -60.0
    g_Na: Any = 20000.0
    E_Na: Any = 50.0
    g_K: Any = 6000.0
    E_K: Any = -90.0
    v_t: Any = -63.0
    v_th: Any = -20.0
    t_ref: Any = 3.0

    UNITS: ClassVar[Mapping[str, Unit]] = {
        "C": "pF",
        "g_L": "nS",
        "E_L": "mV",
        "g_Na": "nS",
        "E_Na": "mV",
        "g_K": "nS",
        "E_K": "mV",
        "v_t": "mV",
        "v_th": "mV",
        "t_ref": "ms",
    }
    POSITIVE = ("C", "g_L")
    VARIABLES: ClassVar[Mapping[str, str]] = {"v": "volt", "m": "1", "n": "1", "h": "1"}
    # x/(exp(x) - 1) = 1/exprel(x) is finite where x = 0.
    EQUATIONS = """\
dv/dt = (g_L*(E_L - v) - g_Na*(m*m*m)*h*(v - E_Na) - g_K*(n*n*n*n)*(v - E_K) + I_syn)/C : volt
dm/dt = alpha_m*(1 - m) - beta_m*m : 1
dn/dt = alpha_n*(1 - n) - beta_n*n : 1
dh/dt = alpha_h*(1 - h) - beta_h*h : 1
alpha_m = 0.32*4/exprel((13*mV - v + v_t)/(4*mV))/ms : Hz
beta_m = 0.28*5/exprel((v - v_t - 40*mV)/(5*mV))/ms : Hz
alpha_h = 0.128*exp((17*mV - v + v_t)/(18*mV))/ms : Hz
beta_h = 4/(1 + exp((40*mV - v + v_t)/(5*mV)))/ms : Hz
alpha_n = 0.032*5/exprel((15*mV - v + v_t)/(5*mV))/ms : Hz
beta_n = 0.5*exp((10*mV - v + v_t)/(40*mV))/ms : Hz
"""
    RESET = ""
    METHOD = "exponential_euler"

    def rest(self) -> Mapping[str, Any]:
        """Return `E_L` and the steady state of the gates there."""
        u = np.asarray(self.E_L, dtype=np.float64) - np.asarray(self.v_t)
        opening = {
            "m": (1.28 / special.exprel((13 - u) / 4), 1.4 / special.exprel((u - 40) / 5)),
            "n": (0.16 / special.exprel((15 - u) / 5), 0.5 * np.exp((10 - u) / 40)),
            "h": (0.128 * np.exp((17 - u) / 18), 4 / (1 + np.exp((40 - u) / 5))),
        }
        return {"v": self.E_L} | {gate: alpha / (alpha + beta) for gate, (alpha, beta) in opening.items()}
