"""Plain Brian2 scripts with the published equations: what the ready neurons are compared with."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from brian2 import (
    Network,
    NeuronGroup,
    SpikeMonitor,
    StateMonitor,
    ms,
    mV,
    nS,
    pA,
    pF,
    prefs,
    start_scope,
)

DT = 0.1  # ms


@dataclass(frozen=True, kw_only=True)
class Script:
    """What a script gives to `brian2.NeuronGroup`: equations with the input ``I``, and names in them."""

    equations: str
    threshold: str = "v > v_cut"
    reset: str = "v = v_r"
    refractory: Any = False
    method: str = "euler"
    names: Mapping[str, Any]
    start: Mapping[str, Any]
    input_unit: Any = pA
    more: Mapping[str, Any] = field(default_factory=dict)

    def run(self, inputs, duration, record=()):
        """Return the steps of all spikes by neuron, and the recorded variables."""
        start_scope()
        before, prefs.codegen.target = prefs.codegen.target, "numpy"
        try:
            group = NeuronGroup(
                len(inputs),
                self.equations,
                threshold=self.threshold,
                reset=self.reset,
                refractory=self.refractory,
                method=self.method,
                namespace=dict(self.names),
                dt=DT * ms,
            )
            for name, value in {**self.start, "I": np.asarray(inputs) * self.input_unit}.items():
                setattr(group, name, value)
            spikes = SpikeMonitor(group)
            network = Network(group, spikes)
            states = StateMonitor(group, list(record), record=True) if record else None
            if states is not None:
                network.add(states)
            network.run(duration * ms)
            steps = np.rint(spikes.t_[:] / (DT * 1e-3)).astype(int)
            found = [np.sort(steps[spikes.i[:] == k]) for k in range(len(inputs))]
            return found, {name: np.array(getattr(states, f"{name}_")) for name in record}
        finally:
            prefs.codegen.target = before


def qif():
    """Brunel & Latham (2003), eq. 2.1, with the resting state and the unstable fixed point as parameters."""
    return Script(
        equations="dv/dt = ((v - V_rest)*(v - V_c)/(V_c - V_rest))/tau + I/C_m : volt\nI : amp",
        names={"V_rest": -65 * mV, "V_c": -50 * mV, "tau": 20 * ms, "C_m": 200 * pF, "v_cut": 0 * mV, "v_r": -65 * mV},
        start={"v": -65 * mV},
    )


def eif():
    """Fourcaud-Trocmé et al. (2003), eq. 1 and 3."""
    return Script(
        equations="dv/dt = (-(v - E) + D*exp((v - V_T)/D))/tau + I/C_m : volt (unless refractory)\nI : amp",
        refractory=2 * ms,
        names={
            "E": -65 * mV,
            "D": 2 * mV,
            "V_T": -53 * mV,
            "tau": 20 * ms,
            "C_m": 200 * pF,
            "v_cut": -30 * mV,
            "v_r": -60 * mV,
        },
        start={"v": -65 * mV},
    )


def adex(C=281, g_L=30, E_L=-70.6, v_t=-50.4, delta_t=2, a=4, tau_w=144, b=80.5, v_reset=-70.6):
    """Brette & Gerstner (2005), eq. 1 to 3; values of table 1 in pF, nS, mV, ms and pA."""
    return Script(
        equations="""
        dv/dt = (-gL*(v - EL) + gL*DeltaT*exp((v - VT)/DeltaT) + I - w)/Cm : volt
        dw/dt = (A*(v - EL) - w)/tauw : amp
        I : amp
        """,
        reset="v = v_r; w += B",
        names={
            "Cm": C * pF,
            "gL": g_L * nS,
            "EL": E_L * mV,
            "VT": v_t * mV,
            "DeltaT": delta_t * mV,
            "A": a * nS,
            "tauw": tau_w * ms,
            "B": b * pA,
            "v_cut": 20 * mV,
            "v_r": v_reset * mV,
        },
        start={"v": E_L * mV},
    )


def izhikevich():
    """Izhikevich (2003), eq. 1 to 3, regular spiking, from the fixed point -70 mV, -14 mV/ms."""
    return Script(
        equations="""
        dv/dt = (0.04/mV*v**2 + 5*v + 140*mV)/ms - u + I : volt
        du/dt = 0.02/ms*(0.2/ms*v - u) : volt/second
        I : volt/second
        """,
        threshold="v >= 30*mV",
        reset="v = -65*mV; u += 8*mV/ms",
        names={},
        start={"v": -70 * mV, "u": -14 * mV / ms},
        input_unit=mV / ms,
    )


def conductance_lif(theta_plus=0.0):
    """A leaky integrate-and-fire neuron with a threshold that grows at spikes, Diehl & Cook (2015)."""
    return Script(
        equations="""
        dv/dt = (10*nS*(-60*mV - v) + I)/(200*pF) : volt (unless refractory)
        dtheta/dt = -theta/(200*ms) : volt
        I : amp
        """,
        threshold="v > -50*mV + theta",
        reset="v = -60*mV; theta += jump",
        refractory=5 * ms,
        method="exponential_euler",
        names={"jump": theta_plus * mV},
        start={"v": -60 * mV},
    )


def hodgkin_huxley():
    """Brette et al. (2007), benchmark 3, as Brian2's example COBAHH writes it, from the steady state at -60 mV."""
    start = {"v": -60 * mV}
    u = 3.0  # mV above V_T
    rates = {
        "m": (0.32 * (13 - u) / (np.exp((13 - u) / 4) - 1), 0.28 * (u - 40) / (np.exp((u - 40) / 5) - 1)),
        "n": (0.032 * (15 - u) / (np.exp((15 - u) / 5) - 1), 0.5 * np.exp((10 - u) / 40)),
        "h": (0.128 * np.exp((17 - u) / 18), 4 / (1 + np.exp((40 - u) / 5))),
    }
    start |= {gate: alpha / (alpha + beta) for gate, (alpha, beta) in rates.items()}
    return Script(
        equations="""
        dv/dt = (gl*(El - v) - g_na*(m*m*m)*h*(v - ENa) - g_kd*(n*n*n*n)*(v - EK) + I)/Cm : volt
        dm/dt = alpha_m*(1 - m) - beta_m*m : 1
        dn/dt = alpha_n*(1 - n) - beta_n*n : 1
        dh/dt = alpha_h*(1 - h) - beta_h*h : 1
        alpha_m = 0.32*(mV**-1)*4*mV/exprel((13*mV - v + VT)/(4*mV))/ms : Hz
        beta_m = 0.28*(mV**-1)*5*mV/exprel((v - VT - 40*mV)/(5*mV))/ms : Hz
        alpha_h = 0.128*exp((17*mV - v + VT)/(18*mV))/ms : Hz
        beta_h = 4./(1 + exp((40*mV - v + VT)/(5*mV)))/ms : Hz
        alpha_n = 0.032*(mV**-1)*5*mV/exprel((15*mV - v + VT)/(5*mV))/ms : Hz
        beta_n = .5*exp((10*mV - v + VT)/(40*mV))/ms : Hz
        I : amp
        """,
        threshold="v > -20*mV",
        reset="",
        refractory=3 * ms,
        method="exponential_euler",
        names={
            "gl": 10 * nS,
            "El": -60 * mV,
            "g_na": 20000 * nS,
            "ENa": 50 * mV,
            "g_kd": 6000 * nS,
            "EK": -90 * mV,
            "VT": -63 * mV,
            "Cm": 200 * pF,
        },
        start=start,
    )


def adex_patterns(rows):
    """Many AdEx neurons with values of their own, each (C, g_L, E_L, a, tau_w, b, v_reset) in pF, nS, mV, ms and pA."""
    names = ("Cm", "gL", "EL", "A", "tauw", "B", "v_r")
    units = (pF, nS, mV, nS, ms, pA, mV)
    values = {
        name: np.array(column) * unit for name, column, unit in zip(names, zip(*rows, strict=True), units, strict=True)
    }
    return Script(
        equations="""
        dv/dt = (-gL*(v - EL) + gL*2*mV*exp((v + 50*mV)/(2*mV)) + I - w)/Cm : volt
        dw/dt = (A*(v - EL) - w)/tauw : amp
        Cm : farad
        gL : siemens
        EL : volt
        A : siemens
        tauw : second
        B : amp
        v_r : volt
        I : amp
        """,
        threshold="v > 0*mV",
        reset="v = v_r; w += B",
        names={},
        start={**values, "v": values["EL"]},
    )
