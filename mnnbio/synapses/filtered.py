"""Filtered spike trains: currents that every step adds to, as spiking networks trained by surrogate gradients have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np

from mnnbio.machine import check_choice
from mnnbio.synapses.current import positive_time
from mnnbio.synapses.synapse_model import ModeSteps, SynapseModel, SynapseSteps, Target

_MV = 1e-3  # volt
_INTO = "I"  # the current of the target


class FilterStep(NamedTuple):
    """Numbers of a filter's step: ``h ← sink h + s``, then ``r ← keep r + feed h``."""

    sink: float
    keep: float
    feed: float


@dataclass(frozen=True)
class FilteredSpikes(SynapseModel):
    """Synapses that add a filtered spike train r, times their weight, to the current I of the target in every step.

    With ``l_d = exp(-dt/tau_decay)``, ``l_r = exp(-dt/tau_rise)`` and s = 1 in a step with a spike, the step is

    - "single": ``r ← l_d r + (dt/tau_decay) s``;
    - "double" in "steps": ``h ← l_r h + s``, then ``r ← l_d r + (1 - l_d) h``;
    - "double" in "rates": ``h ← l_r h + dt/(tau_decay tau_rise) s``, then ``r ← l_d r + dt h``.

    In a step I takes what r was at the end of the step before, and r the spikes that arrive in the step, those of the
    step before where there is no delay: a spike in step k is in I from step k + 2 on. With weights factored into modes,
    the projected spikes are filtered, two numbers for each mode, and no synapse has a variable.

    Parameters
    ----------
    kind : {"double", "single"}
        Number of exponential functions.
    tau_decay : float or Quantity
        Time constant of r, ms; > 0.
    tau_rise : float or Quantity
        Time constant of h, ms; > 0. A single exponential has none.
    scale : {"steps", "rates"}
        Normalisation of the double exponential. A single one has its own.

    References
    ----------
    Z. Lin, H. Huang (2024), Spiking mode-based neural networks, Phys. Rev. E 110, 024306, eq. 3 and 4; the
    normalisations and the order within a step are those of its published code.
    """

    kind: Literal["double", "single"] = "double"
    tau_decay: Any = 30.0
    tau_rise: Any = 2.0
    scale: Literal["steps", "rates"] = "steps"

    FILTERED_IN_MODES: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_choice("kind", self.kind, ["double", "single"])
        check_choice("scale", self.scale, ["steps", "rates"])
        for name in ("tau_decay", "tau_rise"):
            object.__setattr__(self, name, positive_time(getattr(self, name), name))

    def step(self, dt: float) -> FilterStep:
        """Return the numbers of the filter in steps of `dt`, ms.

        A single exponential is one whose h holds the spikes of the step alone. In "rates" h is counted in spikes here,
        so that `feed` takes both factors.
        """
        keep = float(np.exp(-dt / self.tau_decay))
        if self.kind == "single":
            return FilterStep(0.0, keep, dt / self.tau_decay)
        feed = 1 - keep if self.scale == "steps" else dt**2 / (self.tau_decay * self.tau_rise)
        return FilterStep(float(np.exp(-dt / self.tau_rise)), keep, feed)

    def area(self, dt: float) -> float:
        """Return the sum of r over all steps after one spike, ``feed/((1 - sink)(1 - keep))``."""
        sink, keep, feed = self.step(dt)
        return feed / ((1 - sink) * (1 - keep))

    def spike(self, weight: Any) -> Any:
        """Return what a spike adds to h times the weight, V."""
        return weight * _MV

    def steps(self, target: Target, name: str, dt: float) -> SynapseSteps:
        """Return the filter of each target, whose input is the weighted sum of spikes.

        Raises
        ------
        TypeError
            If the neurons have no current I in mV.
        """
        sink, keep, feed = self.step(dt)
        h, r = f"rise{name}", f"filtered{name}"
        return SynapseSteps(
            adds_to=h,
            unit=_unit_of_current(target),
            declarations=f"{h} : volt\n{r} : volt\n",
            values={f"sink{name}": sink, f"keep_r{name}": keep, f"feed{name}": feed},
            units=dict.fromkeys((f"sink{name}", f"keep_r{name}", f"feed{name}"), "1"),
            start={h: 0.0, r: 0.0},
            # What arrives is added to h after the state update of the step before, so h decays last.
            updates={r: f"keep_r{name}*{r} + feed{name}*{h}", h: f"sink{name}*{h}"},
            every_step={_INTO: r},
        )

    def mode_steps(self, target: Target, dt: float) -> ModeSteps:
        """Return the filter of each mode, whose input is the projection of the spikes.

        Raises
        ------
        TypeError
            If the neurons have no current I in mV.
        """
        sink, keep, feed = self.step(dt)
        return ModeSteps(
            declarations="rise : 1\nfiltered : 1\nsink : 1 (shared, constant)\nkeep : 1 (shared, constant)\n"
            "feed : 1 (shared, constant)\n",
            values={"sink": sink, "keep": keep, "feed": feed},
            start={"rise": 0.0, "filtered": 0.0},
            update="rise = sink*rise + activity\nfiltered = keep*filtered + feed*rise",
            output="filtered",
            adds_to=_INTO,
            unit=_unit_of_current(target),
        )


def _unit_of_current(target: Target) -> str:
    unit = target.receives.get(_INTO)
    if unit != "volt":
        found = f"`{_INTO}` in {unit}" if unit else f"only {', '.join(target.receives)}"
        raise TypeError(
            f"FilteredSpikes add to the current `{_INTO}` of the target, in mV, and {target.neuron} receives {found}: "
            "choose DiscreteLIF, or Exponential synapses for other neurons"
        )
    return unit
