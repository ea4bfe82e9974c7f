"""Izhikevich neurons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from mnnbio.neurons.biophysical import BiophysicalNeuron
from mnnbio.units import Unit


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Izhikevich(BiophysicalNeuron):
    """Izhikevich neurons.

    ``dv/dt = 0.04 v² + 5 v + 140 - u + I`` and ``du/dt = a (b v - u)`` with v in mV, times in ms; a spike where v
    reaches 30 mV, then v is reset to `c` and u grows by `d`. Integrated by Euler steps.

    Parameters
    ----------
    a : float, array_like, Quantity or Distribution
        Rate of recovery, 1/ms; > 0.
    b : float, array_like, Quantity or Distribution
        Sensitivity of recovery to the potential, 1/ms.
    c : float, array_like, Quantity or Distribution
        Reset potential, mV.
    d : float, array_like, Quantity or Distribution
        Growth of u at a spike, mV/ms.
    initial : mapping, optional
        Start values of ``v`` (mV) and ``u`` (mV/ms); by default the resting state.

    References
    ----------
    E. M. Izhikevich (2003), Simple model of spiking neurons, IEEE Trans. Neural Networks 14, 1569, eq. 1 to 3; the
    defaults are those of its regular spiking neurons.
    """

    a: Any = 0.02
    b: Any = 0.2
    c: Any = -65.0
    d: Any = 8.0

    UNITS: ClassVar[Mapping[str, Unit]] = {"a": "1/ms", "b": "1/ms", "c": "mV", "d": "mV/ms"}
    POSITIVE = ("a",)
    VARIABLES: ClassVar[Mapping[str, str]] = {"v": "volt", "u": "volt/second"}
    EQUATIONS = """\
dv/dt = (0.04/ms/mV)*v**2 + (5/ms)*v + 140*mV/ms - u + I_syn : volt
du/dt = a*(b*v - u) : volt/second
"""
    THRESHOLD = "v >= 30*mV"
    RESET = "v = c; u += d"
    CURRENT_UNIT = "volt/second"

    def rest(self) -> Mapping[str, Any]:
        """Return the stable fixed point without input; where there is none, the middle of where it vanishes."""
        b = np.asarray(self.b, dtype=np.float64)
        # 0.04 v² + (5 - b) v + 140 = 0
        v = (-(5 - b) - np.sqrt(np.maximum((5 - b) ** 2 - 4 * 0.04 * 140, 0.0))) / (2 * 0.04)
        return {"v": v if v.ndim else float(v), "u": b * v if v.ndim else float(b * v)}
