"""Quadratic, exponential and adaptive exponential integrate-and-fire neurons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from mnnbio.neurons.biophysical import BiophysicalNeuron
from mnnbio.units import Unit


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class QIF(BiophysicalNeuron):
    """Quadratic integrate-and-fire neurons.

    ``tau_m dv/dt = (v - E_L)(v - v_t)/(v_t - E_L) + R I``: at rest at `E_L` with the membrane time constant `tau_m`,
    and beyond `v_t` off by itself; a spike where v exceeds `v_th`, the cut-off, then v is held at `v_reset` for
    `t_ref`. Integrated by Euler steps.

    Parameters
    ----------
    tau_m : float, array_like, Quantity or Distribution
        Membrane time constant at rest, ms; > 0.
    E_L, v_t : float, array_like, Quantity or Distribution
        Resting potential and unstable fixed point without input, mV; ``v_t > E_L``.
    v_th : float, array_like, Quantity or Distribution
        Potential at which a spike is noted, mV; far above `v_t`.
    v_reset : float, array_like, Quantity or Distribution
        Reset potential, mV.
    t_ref : float, array_like, Quantity or Distribution
        Absolute refractory period, ms; ≥ 0.
    C : float, array_like, Quantity or Distribution
        Membrane capacitance, pF; > 0. It turns conductances and currents in pA into mV/ms, nothing else.
    initial : mapping, optional
        Start values of ``v``; by default `E_L`.

    References
    ----------
    G. B. Ermentrout, N. Kopell (1986), Parabolic bursting in an excitable system coupled with a slow oscillation, SIAM
    J. Appl. Math. 46, 233. N. Brunel, P. E. Latham (2003), Firing rate of the noisy quadratic integrate-and-fire
    neuron, Neural Computation 15, 2281, eq. 2.1.
    """

    tau_m: Any = 20.0
    E_L: Any = -65.0
    v_t: Any = -50.0
    v_th: Any = 0.0
    v_reset: Any = -65.0
    t_ref: Any = 0.0
    C: Any = 200.0

    UNITS: ClassVar[Mapping[str, Unit]] = {
        "tau_m": "ms",
        "E_L": "mV",
        "v_t": "mV",
        "v_th": "mV",
        "v_reset": "mV",
        "t_ref": "ms",
        "C": "pF",
    }
    POSITIVE = ("tau_m", "C")
    EQUATIONS = "dv/dt = (v - E_L)*(v - v_t)/((v_t - E_L)*tau_m) + I_syn/C : volt (unless refractory)\n"


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class EIF(BiophysicalNeuron):
    """Exponential integrate-and-fire neurons.

    ``tau_m dv/dt = -(v - E_L) + delta_t exp((v - v_t)/delta_t) + R I``; a spike where v exceeds `v_th`, the cut-off of
    the upstroke, then v is held at `v_reset` for `t_ref`. Integrated by Euler steps.

    Parameters
    ----------
    tau_m : float, array_like, Quantity or Distribution
        Membrane time constant, ms; > 0.
    E_L : float, array_like, Quantity or Distribution
        Leak reversal potential, mV.
    v_t, delta_t : float, array_like, Quantity or Distribution
        Potential at which the spike sets in, and its sharpness, mV; ``delta_t > 0``.
    v_th : float, array_like, Quantity or Distribution
        Potential at which a spike is noted, mV; several `delta_t` above `v_t`.
    v_reset : float, array_like, Quantity or Distribution
        Reset potential, mV.
    t_ref : float, array_like, Quantity or Distribution
        Absolute refractory period, ms; ≥ 0.
    C : float, array_like, Quantity or Distribution
        Membrane capacitance, pF; > 0. It turns conductances and currents in pA into mV/ms, nothing else.
    initial : mapping, optional
        Start values of ``v``; by default `E_L`.

    References
    ----------
    N. Fourcaud-Trocmé, D. Hansel, C. van Vreeswijk, N. Brunel (2003), How spike generation mechanisms determine the
    neuronal response to fluctuating inputs, J. Neurosci. 23, 11628, eq. 1 and 3.
    """

    tau_m: Any = 20.0
    E_L: Any = -65.0
    v_t: Any = -53.0
    delta_t: Any = 2.0
    v_th: Any = -30.0
    v_reset: Any = -60.0
    t_ref: Any = 2.0
    C: Any = 200.0

    UNITS: ClassVar[Mapping[str, Unit]] = {
        "tau_m": "ms",
        "E_L": "mV",
        "v_t": "mV",
        "delta_t": "mV",
        "v_th": "mV",
        "v_reset": "mV",
        "t_ref": "ms",
        "C": "pF",
    }
    POSITIVE = ("tau_m", "delta_t", "C")
    EQUATIONS = "dv/dt = (E_L - v + delta_t*exp((v - v_t)/delta_t))/tau_m + I_syn/C : volt (unless refractory)\n"


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class AdEx(BiophysicalNeuron):
    """Adaptive exponential integrate-and-fire neurons.

    ``C dv/dt = -g_L (v - E_L) + g_L delta_t exp((v - v_t)/delta_t) - w + I`` and ``tau_w dw/dt = a (v - E_L) - w``; a
    spike where v exceeds `v_th`, then v is reset to `v_reset`, held there for `t_ref`, and w grows by `b`. Integrated
    by Euler steps, as in published scripts.

    Parameters
    ----------
    C : float, array_like, Quantity or Distribution
        Membrane capacitance, pF; > 0.
    g_L : float, array_like, Quantity or Distribution
        Leak conductance, nS; > 0.
    E_L : float, array_like, Quantity or Distribution
        Leak reversal potential, mV.
    v_t, delta_t : float, array_like, Quantity or Distribution
        Potential at which the spike sets in, and its sharpness, mV; ``delta_t > 0``.
    a : float, array_like, Quantity or Distribution
        Subthreshold adaptation, nS.
    tau_w : float, array_like, Quantity or Distribution
        Time constant of adaptation, ms; > 0.
    b : float, array_like, Quantity or Distribution
        Growth of the adaptation current at a spike, pA.
    v_reset, v_th : float, array_like, Quantity or Distribution
        Reset potential, and potential at which a spike is noted, mV.
    t_ref : float, array_like, Quantity or Distribution
        Absolute refractory period, ms; ≥ 0.
    initial : mapping, optional
        Start values of ``v`` (mV) and ``w`` (pA); by default `E_L` and 0.

    References
    ----------
    R. Brette, W. Gerstner (2005), Adaptive exponential integrate-and-fire model as an effective description of neuronal
    activity, J. Neurophysiol. 94, 3637, eq. 1 to 3; the defaults are those of its table 1.
    """

    C: Any = 281.0
    g_L: Any = 30.0
    E_L: Any = -70.6
    v_t: Any = -50.4
    delta_t: Any = 2.0
    a: Any = 4.0
    tau_w: Any = 144.0
    b: Any = 80.5
    v_reset: Any = -70.6
    v_th: Any = 20.0
    t_ref: Any = 0.0

    UNITS: ClassVar[Mapping[str, Unit]] = {
        "C": "pF",
        "g_L": "nS",
        "E_L": "mV",
        "v_t": "mV",
        "delta_t": "mV",
        "a": "nS",
        "tau_w": "ms",
        "b": "pA",
        "v_reset": "mV",
        "v_th": "mV",
        "t_ref": "ms",
    }
    POSITIVE = ("C", "g_L", "delta_t", "tau_w")
    VARIABLES: ClassVar[Mapping[str, str]] = {"v": "volt", "w": "amp"}
    EQUATIONS = """\
dv/dt = (g_L*(E_L - v) + g_L*delta_t*exp((v - v_t)/delta_t) - w + I_syn)/C : volt (unless refractory)
dw/dt = (a*(v - E_L) - w)/tau_w : amp
"""
    RESET = "v = v_reset; w += b"
