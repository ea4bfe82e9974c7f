"""Conductance-based synapses, NMDA receptors, gap junctions, and synapses of a user's own equations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from mnnbio.machine import check_choice
from mnnbio.synapses.current import feed_time, peak, positive_time
from mnnbio.synapses.synapse_model import SynapseCode, SynapseModel, SynapseSteps, Target
from mnnbio.units import Unit, brian_unit, in_si, in_unit, is_quantity, shown, si_size


@dataclass(frozen=True)
class Conductance(SynapseModel):
    """Conductance-based synapses: a spike opens a conductance g, which adds the current ``g (reversal - v)``.

    Without `tau_rise` g jumps by the weight (nS) and decays with `tau_syn`; with it g rises with `tau_rise` and decays
    with `tau_syn`, and the weight is its peak; equal time constants make an alpha function. A conductance that rises
    has its area whatever the time step; one that jumps has ``dt/(2 tau_syn)`` more of it in neurons integrated by
    exponential Euler, as a script of Brian2 has.

    Parameters
    ----------
    tau_syn : float or Quantity
        Time constant of the decay, ms; > 0.
    reversal : float or Quantity
        Reversal potential, mV.
    tau_rise : float or Quantity
        Time constant of the rise, ms; 0: at once.
    name : str
        The conductance is called ``g_<name>`` in results; by default ``g`` with a number.

    References
    ----------
    T. P. Vogels, L. F. Abbott (2005), Signal propagation and logic gating in networks of integrate-and-fire neurons,
    J. Neurosci. 25, 10786.
    """

    tau_syn: Any
    reversal: Any
    tau_rise: Any = 0.0
    name: str = ""

    UNIT: ClassVar[Unit] = "nS"

    def __post_init__(self) -> None:
        object.__setattr__(self, "tau_syn", positive_time(self.tau_syn, "tau_syn"))
        rise = in_unit(self.tau_rise, "ms", "tau_rise")
        if not isinstance(rise, float) or rise < 0:
            raise ValueError(f"`tau_rise` must be a single time ≥ 0 ms, got {self.tau_rise!r}")
        object.__setattr__(self, "tau_rise", rise)
        object.__setattr__(self, "reversal", _potential(self.reversal))
        _check_name(self.name)

    def spike(self, weight: Any) -> Any:
        """Return the jump, S."""
        return weight * si_size("nS") / (peak(self.tau_rise, self.tau_syn) if self.tau_rise else 1.0)

    def steps(self, target: Target, name: str, dt: float) -> SynapseSteps:
        """Return the conductance and its current.

        Raises
        ------
        TypeError
            If the neurons take no current in pA.
        """
        g, ends = _variable("g", self.name, name), self.name or name
        values = {f"tau_{g}": self.tau_syn * 1e-3, f"E_{ends}": self.reversal * 1e-3}
        equations, adds_to, start = f"d{g}/dt = -{g}/tau_{g} : siemens\n", g, {g: 0.0}
        if self.tau_rise:
            adds_to = f"h_{g}"
            equations = (
                f"d{g}/dt = -{g}/tau_{g} + h_{g}/feed_{g} : siemens\nd{adds_to}/dt = -{adds_to}/rise_{g} : siemens\n"
            )
            values |= {f"rise_{g}": self.tau_rise * 1e-3, f"feed_{g}": feed_time(target, self.tau_rise, dt) * 1e-3}
            start[adds_to] = 0.0
        return SynapseSteps(
            adds_to=adds_to,
            unit="siemens",
            equations=equations,
            current=target.current(f"{g}*(E_{ends} - {target.membrane})", "amp", "conductances"),
            values=values,
            units={key: "volt" if key.startswith("E_") else "second" for key in values},
            start=start,
        )


@dataclass(frozen=True)
class NMDA(SynapseModel):
    """NMDA receptors: a slow conductance that magnesium blocks at rest.

    The current is ``g (reversal - v)/(1 + [Mg]/3.57 exp(-0.062 v))``, with v in mV and [Mg] in mM; g rises with
    `tau_rise` and decays with `tau_decay`, and the weight (nS) is its peak without the block.

    Parameters
    ----------
    tau_rise, tau_decay : float or Quantity
        Time constants, ms; > 0.
    reversal : float or Quantity
        Reversal potential, mV.
    magnesium : float
        Concentration of magnesium, mM; ≥ 0.
    name : str
        The conductance is called ``g_<name>`` in results; by default ``g`` with a number.

    References
    ----------
    C. E. Jahr, C. F. Stevens (1990), Voltage dependence of NMDA-activated macroscopic conductances predicted by
    single-channel kinetics, J. Neurosci. 10, 3178, eq. 4a.
    """

    tau_rise: Any = 2.0
    tau_decay: Any = 100.0
    reversal: Any = 0.0
    magnesium: Any = 1.0
    name: str = ""

    UNIT: ClassVar[Unit] = "nS"

    def __post_init__(self) -> None:
        for name in ("tau_rise", "tau_decay"):
            object.__setattr__(self, name, positive_time(getattr(self, name), name))
        object.__setattr__(self, "reversal", _potential(self.reversal))
        magnesium = in_unit(self.magnesium, "1", "magnesium")
        if not isinstance(magnesium, float) or magnesium < 0:
            raise ValueError(f"`magnesium` must be a concentration ≥ 0 mM, got {self.magnesium!r}")
        object.__setattr__(self, "magnesium", magnesium)
        _check_name(self.name)

    def spike(self, weight: Any) -> Any:
        """Return the jump of what feeds the conductance, S."""
        return weight * si_size("nS") / peak(self.tau_rise, self.tau_decay)

    def steps(self, target: Target, name: str, dt: float) -> SynapseSteps:
        """Return the conductance and its current.

        Raises
        ------
        TypeError
            If the neurons take no current in pA.
        """
        g, ends, v = _variable("g", self.name, name), self.name or name, target.membrane
        current = f"{g}*(E_{ends} - {v})/(1 + block_{g}*exp(-0.062*{v}/mV))"
        values = {
            f"tau_{g}": self.tau_decay * 1e-3,
            f"rise_{g}": self.tau_rise * 1e-3,
            f"feed_{g}": feed_time(target, self.tau_rise, dt) * 1e-3,
            f"E_{ends}": self.reversal * 1e-3,
            f"block_{g}": self.magnesium / 3.57,
        }
        units = dict.fromkeys(values, "second") | {f"E_{ends}": "volt", f"block_{g}": "1"}
        return SynapseSteps(
            adds_to=f"h_{g}",
            unit="siemens",
            equations=f"d{g}/dt = -{g}/tau_{g} + h_{g}/feed_{g} : siemens\ndh_{g}/dt = -h_{g}/rise_{g} : siemens\n",
            current=target.current(current, "amp", "NMDA receptors"),
            values=values,
            units=units,
            start={g: 0.0, f"h_{g}": 0.0},
        )


@dataclass(frozen=True)
class GapJunction(SynapseModel):
    """Gap junctions: a current ``w (v_source - v_target)`` into the target, w in nS; no spike is carried.

    A junction conducts both ways, so its weights stand in both directions: one projection with a symmetric matrix
    within a population, or two projections between two.
    """

    UNIT: ClassVar[Unit] = "nS"
    SHARED: ClassVar[bool] = False

    def spike(self, weight: Any) -> Any:
        """Return the conductance, S."""
        return weight * si_size("nS")

    def steps(self, target: Target, name: str, dt: float) -> SynapseSteps:
        """Return the current of all junctions of a neuron.

        Raises
        ------
        TypeError
            If the neurons take no current in pA.
        """
        v = target.membrane
        return SynapseSteps(
            adds_to="",
            unit="siemens",
            declarations=f"I_gap{name} : amp\n",
            current=target.current(f"I_gap{name}", "amp", "gap junctions"),
            code=SynapseCode(equations=f"I_gap{name}_post = w*({v}_pre - {v}_post) : amp (summed)\n"),
        )


@dataclass(frozen=True, eq=False)
class EquationSynapse(SynapseModel):
    """Synapses that obey equations and statements in Brian2's language.

    Parameters
    ----------
    on_pre : str
        Statements where a spike of the source arrives, such as ``"g_post += w*x; x *= 1 - U"``; ``w`` is the weight.
    on_post : str
        Statements where the target fires.
    equations : str
        Variables of every synapse beside ``w``, as of `brian2.Synapses`.
    unit : str
        Working unit of the weights: "mV", "nS", "pA", "mV/ms" or "1".
    parameters : mapping of str to number or Quantity
        Values of names in the texts, the same for all synapses; plain numbers have no dimension, or are in SI units
        where `units` says so.
    initial : mapping of str to number or Quantity
        Values from which variables start; plain numbers in SI units; the others start at 0.
    method : str
        Method of integration of equations that are not event-driven.
    units : mapping of str to str
        Units, in Brian2's language, of parameters given as plain numbers, as they are stored.
    """

    on_pre: str = ""
    on_post: str = ""
    equations: str = ""
    unit: Unit = "mV"
    parameters: Mapping[str, Any] = field(default_factory=dict)
    initial: Mapping[str, Any] = field(default_factory=dict)
    method: str = "exact"
    units: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_choice("unit", self.unit, ["mV", "nS", "pA", "mV/ms", "1"])
        settle_parameters(self)

    @property
    def UNIT(self) -> Unit:  # type: ignore[override]  # noqa: N802 - the name of the class attribute
        """Working unit of the weights."""
        return self.unit

    def __hash__(self) -> int:
        return id(self)

    def spike(self, weight: Any) -> Any:
        """Return the weight in SI units."""
        return weight * si_size(self.unit)

    def steps(self, target: Target, name: str, dt: float) -> SynapseSteps:
        """Return the equations and statements."""
        return SynapseSteps(
            adds_to="",
            unit=brian_unit(self.unit),
            code=SynapseCode(
                equations=self.equations,
                on_pre=self.on_pre,
                on_post=self.on_post,
                method=self.method,
                values=self.parameters,
                units=self.units,
                start=self.initial,
                changes_weights=True,
            ),
        )


def settle_parameters(part: Any) -> None:
    """Turn the `parameters` and `initial` of synapses with equations into plain numbers in SI units, with `units`."""
    units, plain = dict(part.units), {}
    for kind in ("parameters", "initial"):
        given = getattr(part, kind)
        if not isinstance(given, Mapping):
            raise TypeError(f"`{kind}` must be a dictionary, got {shown(given)}")
        for name, value in given.items():
            number = in_si(value, name)
            if not isinstance(number.value, float):
                raise ValueError(f"`{name}` of {type(part).__name__} must be a single number, got {shown(value)}")
            plain[kind, name] = number.value
            if kind == "parameters":
                units[name] = number.unit if is_quantity(value) else units.get(name, "1")
        object.__setattr__(part, kind, {name: plain[kind, name] for name in given})
    object.__setattr__(part, "units", {name: unit for name, unit in units.items() if name in part.parameters})
    for name in ("equations", "on_pre", "on_post", "method"):
        if not isinstance(getattr(part, name), str):
            raise TypeError(f"`{name}` must be text in Brian2's language, got {shown(getattr(part, name))}")


def _potential(value: Any) -> float:
    number = in_unit(value, "mV", "reversal")
    if not isinstance(number, float):
        raise ValueError(f"`reversal` must be a single potential, mV, got {value!r}")
    return number


def _check_name(name: Any) -> None:
    if not isinstance(name, str) or (name and not f"g_{name}".isidentifier()):
        raise ValueError(f"`name` must be letters, digits and underscores, got {name!r}")


def _variable(letter: str, own: str, number: str) -> str:
    """Return the name of a variable of the synapses: with their own name, else with their number."""
    return f"{letter}_{own}" if own else f"{letter}{number}"
