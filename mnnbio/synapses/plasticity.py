"""Rules by which synapses change while a network runs.

A rule is given to a projection of any kind, ``Projection(…, plasticity=STDP(…))``. Its traces are event-driven: they
cost nothing between spikes. A spike is transmitted with the weight that it finds, then the rule changes it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self

from mnnbio.machine import check_choice
from mnnbio.synapses.conductance import settle_parameters
from mnnbio.synapses.current import positive_time
from mnnbio.synapses.synapse_model import PlasticityRule, SynapseCode
from mnnbio.units import Unit, in_unit, shown
from mnnbio.values import TimeCourse

_TRACE = "d{name}/dt = -{name}/{tau} : 1 (event-driven)\n"


def _traces(**names: str) -> str:
    return "".join(_TRACE.format(name=name, tau=tau) for name, tau in names.items())


def _pair_times(tau_plus: float, tau_minus: float) -> tuple[dict[str, str], dict[str, float]]:
    """Return the names of the time constants of both traces and their values, s.

    Equal ones have one name: the compiler then takes the decay of both traces by one exponential.
    """
    if tau_plus == tau_minus:
        return dict.fromkeys(("trace_source", "trace_target"), "tau_plus"), {"tau_plus": tau_plus * 1e-3}
    names = {"trace_source": "tau_plus", "trace_target": "tau_minus"}
    return names, {"tau_plus": tau_plus * 1e-3, "tau_minus": tau_minus * 1e-3}


def _number(value: Any, name: str, *, least: float | None = None) -> float:
    number = in_unit(value, "1", name)
    if not isinstance(number, float) or (least is not None and number < least):
        raise ValueError(f"`{name}` must be a single number{'' if least is None else f' ≥ {least:g}'}, got {value!r}")
    return number


@dataclass(frozen=True, kw_only=True)
class _BoundedRule(PlasticityRule):
    """Rule that keeps weights between 0 and `w_max`, of the sign that they have."""

    w_max: Any

    def _settle(self, times: tuple[str, ...], numbers: tuple[str, ...]) -> None:
        for name in times:
            object.__setattr__(self, name, positive_time(getattr(self, name), name))
        for name in numbers:
            object.__setattr__(self, name, _number(getattr(self, name), name))

    def in_weight_unit(self, unit: Unit, name: str) -> Self:
        """Return the rule with `w_max` as a number in the working unit of the weights."""
        most = in_unit(self.w_max, unit, f"w_max of {name}")
        if not isinstance(most, float) or most == 0:
            raise ValueError(f"`w_max` of {name} must be a single weight in {unit}, not 0, got {self.w_max!r}")
        return replace(self, w_max=most)

    def _limits(self, unit: str, spike: Callable[[float], float]) -> tuple[dict[str, float], dict[str, str]]:
        """Return the bounds of the weight and its scale in SI units, and their units."""
        most = float(spike(self.w_max))
        return {"w_most": max(most, 0.0), "w_least": min(most, 0.0), "w_scale": most}, dict.fromkeys(
            ("w_most", "w_least", "w_scale"), unit
        )


@dataclass(frozen=True, kw_only=True)
class STDP(_BoundedRule):
    """Pair-based spike-timing-dependent plasticity.

    A spike of the target after one of the source changes the weight by ``A_plus exp(-Δt/tau_plus)``, the other order by
    ``-A_minus exp(-Δt/tau_minus)``, in units of `w_max`. With ``bounds="soft"`` growth is multiplied by
    ``(1 - w/w_max)^mu`` and decay by ``(w/w_max)^mu``; weights stay within 0 and `w_max`.

    Parameters
    ----------
    A_plus, A_minus : float
        Greatest change of a pair, relative to `w_max`. A negative `A_minus` makes the rule symmetric in sign.
    tau_plus, tau_minus : float or Quantity
        Time constants, ms; > 0.
    w_max : float
        Greatest weight, in the unit of the projection's weights; negative for inhibitory synapses.
    pairing : {"all", "nearest"}
        Whether every pair counts, or that with the nearest spike only.
    bounds : {"hard", "soft"}
    mu : float
        Exponent of the soft bounds; 0 is additive, 1 multiplicative.

    References
    ----------
    S. Song, K. D. Miller, L. F. Abbott (2000), Competitive Hebbian learning through spike-timing-dependent synaptic
    plasticity, Nature Neurosci. 3, 919, eq. 1. R. Gütig, R. Aharonov, S. Rotter, H. Sompolinsky (2003), Learning input
    correlations through nonlinear temporally asymmetric Hebbian plasticity, J. Neurosci. 23, 3697, eq. 2 and 3.
    """

    A_plus: Any = 0.01
    A_minus: Any = 0.0105
    tau_plus: Any = 20.0
    tau_minus: Any = 20.0
    pairing: Literal["all", "nearest"] = "all"
    bounds: Literal["hard", "soft"] = "hard"
    mu: Any = 1.0

    def __post_init__(self) -> None:
        self._settle(("tau_plus", "tau_minus"), ("A_plus", "A_minus", "mu"))
        check_choice("pairing", self.pairing, ["all", "nearest"])
        check_choice("bounds", self.bounds, ["hard", "soft"])

    def code(self, unit: str, spike: Callable[[float], float]) -> SynapseCode:
        """Return traces of both sides, and what their spikes change."""
        values, units = self._limits(unit, spike)
        values |= {"A_plus": self.A_plus, "A_minus": self.A_minus}
        units |= {"A_plus": "1", "A_minus": "1"}
        taus, times = _pair_times(self.tau_plus, self.tau_minus)
        values |= times
        units |= dict.fromkeys(times, "second")
        grow, shrink = "A_plus", "A_minus"
        if self.bounds == "soft":
            values["mu"], units["mu"] = self.mu, "1"
            grow, shrink = "A_plus*(1 - w/w_scale)**mu", "A_minus*(w/w_scale)**mu"
        kept = "= 1" if self.pairing == "nearest" else "+= 1"
        return SynapseCode(
            equations=_traces(**taus),
            on_pre=f"w = clip(w - w_scale*{shrink}*trace_target, w_least, w_most)\ntrace_source {kept}",
            on_post=f"w = clip(w + w_scale*{grow}*trace_source, w_least, w_most)\ntrace_target {kept}",
            values=values,
            units=units,
            start={"trace_source": 0.0, "trace_target": 0.0},
            changes_weights=True,
        )


@dataclass(frozen=True, kw_only=True)
class TripletSTDP(_BoundedRule):
    """Triplet spike-timing-dependent plasticity.

    Traces r1, r2 of the source and o1, o2 of the target; a spike of the source changes the weight by
    ``-o1 (A2_minus + A3_minus r2)``, one of the target by ``r1 (A2_plus + A3_plus o2)``, in units of `w_max`, with r2
    and o2 as they were before the spike.

    Parameters
    ----------
    w_max : float
        Greatest weight, in the unit of the projection's weights; negative for inhibitory synapses.
    A2_plus, A3_plus, A2_minus, A3_minus : float
        Amplitudes of pairs and triplets, relative to `w_max`.
    tau_plus, tau_minus, tau_x, tau_y : float or Quantity
        Time constants of r1, o1, r2, o2, ms; > 0.
    pairing : {"all", "nearest"}

    References
    ----------
    J.-P. Pfister, W. Gerstner (2006), Triplets of spikes in a model of spike timing-dependent plasticity, J. Neurosci.
    26, 9673, eq. 2 to 4; the defaults are the full all-to-all model of visual cortex, its table 3.
    """

    A2_plus: Any = 5e-10
    A3_plus: Any = 6.2e-3
    A2_minus: Any = 7e-3
    A3_minus: Any = 2.3e-4
    tau_plus: Any = 16.8
    tau_minus: Any = 33.7
    tau_x: Any = 101.0
    tau_y: Any = 125.0
    pairing: Literal["all", "nearest"] = "all"

    def __post_init__(self) -> None:
        self._settle(("tau_plus", "tau_minus", "tau_x", "tau_y"), ("A2_plus", "A3_plus", "A2_minus", "A3_minus"))
        check_choice("pairing", self.pairing, ["all", "nearest"])

    def code(self, unit: str, spike: Callable[[float], float]) -> SynapseCode:
        """Return four traces, and what spikes change."""
        values, units = self._limits(unit, spike)
        for name in ("A2_plus", "A3_plus", "A2_minus", "A3_minus"):
            values[name], units[name] = getattr(self, name), "1"
        for name in ("tau_plus", "tau_minus", "tau_x", "tau_y"):
            values[name], units[name] = getattr(self, name) * 1e-3, "second"
        kept = "= 1" if self.pairing == "nearest" else "+= 1"
        return SynapseCode(
            equations=_traces(r1="tau_plus", r2="tau_x", o1="tau_minus", o2="tau_y"),
            on_pre=f"w = clip(w - w_scale*o1*(A2_minus + A3_minus*r2), w_least, w_most)\nr1 {kept}\nr2 {kept}",
            on_post=f"w = clip(w + w_scale*r1*(A2_plus + A3_plus*o2), w_least, w_most)\no1 {kept}\no2 {kept}",
            values=values,
            units=units,
            start={"r1": 0.0, "r2": 0.0, "o1": 0.0, "o2": 0.0},
            changes_weights=True,
        )


@dataclass(frozen=True, kw_only=True)
class SymmetricSTDP(_BoundedRule):
    """Symmetric plasticity: near coincidences strengthen a synapse in either order, spikes of the source weaken it.

    A pair changes the weight by ``eta exp(-|Δt|/tau)``, a spike of the source alone by ``-eta alpha``, in units of
    `w_max`. For inhibitory synapses onto excitatory neurons this is the rule of Vogels et al., which brings the rate of
    the target to ``alpha/(2 tau)``: `inhibitory_plasticity` takes that rate.

    Parameters
    ----------
    w_max : float
        Greatest weight, in the unit of the projection's weights.
    eta : float
        Learning rate, relative to `w_max`.
    alpha : float
        Depression by a spike of the source, in units of a coincidence.
    tau : float or Quantity
        Time constant of the traces, ms; > 0.

    References
    ----------
    T. P. Vogels, H. Sprekeler, F. Zenke, C. Clopath, W. Gerstner (2011), Inhibitory plasticity balances excitation and
    inhibition in sensory pathways and memory networks, Science 334, 1569, eq. 1 and supplement.
    """

    eta: Any = 0.01
    alpha: Any = 0.0
    tau: Any = 20.0

    def __post_init__(self) -> None:
        self._settle(("tau",), ("eta", "alpha"))

    def code(self, unit: str, spike: Callable[[float], float]) -> SynapseCode:
        """Return traces of both sides, and what their spikes change."""
        values, units = self._limits(unit, spike)
        values |= {"eta": self.eta, "alpha": self.alpha, "tau": self.tau * 1e-3}
        units |= {"eta": "1", "alpha": "1", "tau": "second"}
        return SynapseCode(
            equations=_traces(trace_source="tau", trace_target="tau"),
            on_pre="trace_source += 1\nw = clip(w + w_scale*eta*(trace_target - alpha), w_least, w_most)",
            on_post="trace_target += 1\nw = clip(w + w_scale*eta*trace_source, w_least, w_most)",
            values=values,
            units=units,
            start={"trace_source": 0.0, "trace_target": 0.0},
            changes_weights=True,
        )


def inhibitory_plasticity(*, rate: Any = 5e-3, eta: Any = 1e-2, tau: Any = 20.0, w_max: Any) -> SymmetricSTDP:
    """Return the rule by which inhibitory synapses bring their targets to a rate.

    Parameters
    ----------
    rate : float or Quantity
        Rate of the target, spikes/ms.
    eta : float
        Learning rate, relative to `w_max`.
    tau : float or Quantity
        Time constant of the traces, ms; > 0.
    w_max : float
        Greatest weight, in the unit of the projection's weights.

    References
    ----------
    T. P. Vogels et al. (2011), Science 334, 1569, eq. 1, with ``alpha = 2 rate tau``.
    """
    wanted = in_unit(rate, "1/ms", "rate")
    if not isinstance(wanted, float) or wanted < 0:
        raise ValueError(f"`rate` must be one rate ≥ 0 spikes/ms, got {rate!r}")
    time = positive_time(tau, "tau")
    return SymmetricSTDP(w_max=w_max, eta=eta, alpha=2 * wanted * time, tau=time)


@dataclass(frozen=True, kw_only=True, eq=False)
class RewardSTDP(_BoundedRule):
    """Reward-modulated plasticity: pairs leave an eligibility trace, which reward turns into weight.

    ``dc/dt = -c/tau_c`` plus the change of pair-based plasticity at spikes, and ``dw/dt = c d`` with the reward d.

    Parameters
    ----------
    w_max : float
        Greatest weight, in the unit of the projection's weights; negative for inhibitory synapses.
    reward : float, TimeCourse or str
        Reward per ms: a number, a course in time, or the name of a variable (1/ms) of the target's neurons, to which
        other synapses may add.
    A_plus, A_minus : float
        Greatest change of a pair, relative to `w_max`.
    tau_plus, tau_minus, tau_c : float or Quantity
        Time constants of the pairs and of the eligibility trace, ms; > 0.

    References
    ----------
    E. M. Izhikevich (2007), Solving the distal reward problem through linkage of STDP and dopamine signaling, Cerebral
    Cortex 17, 2443, eq. 1 to 3.
    """

    reward: Any
    A_plus: Any = 0.01
    A_minus: Any = 0.0105
    tau_plus: Any = 20.0
    tau_minus: Any = 20.0
    tau_c: Any = 1000.0

    def __post_init__(self) -> None:
        self._settle(("tau_plus", "tau_minus", "tau_c"), ("A_plus", "A_minus"))
        if isinstance(self.reward, TimeCourse):
            object.__setattr__(self, "reward", self.reward.used_as("1/ms", "reward"))
        elif isinstance(self.reward, str):
            if not self.reward.isidentifier():
                raise ValueError(f"`reward` must be the name of a variable of the target, got {self.reward!r}")
        else:
            value = in_unit(self.reward, "1/ms", "reward")
            if not isinstance(value, float):
                raise ValueError(f"`reward` must be one number, a time course or a name, got {shown(self.reward)}")
            object.__setattr__(self, "reward", value)

    def code(self, unit: str, spike: Callable[[float], float]) -> SynapseCode:
        """Return traces of both sides, the eligibility trace, and how reward turns it into weight."""
        values, units = self._limits(unit, spike)
        values |= {"A_plus": self.A_plus, "A_minus": self.A_minus}
        units |= {"A_plus": "1", "A_minus": "1"}
        taus, times = _pair_times(self.tau_plus, self.tau_minus)
        times["tau_c"] = self.tau_c * 1e-3
        values |= times
        units |= dict.fromkeys(times, "second")
        named = isinstance(self.reward, str)
        reward = f"{self.reward}_post" if named else "reward_post*kHz"
        return SynapseCode(
            equations=(
                _traces(**taus)
                + "deligibility/dt = -eligibility/tau_c : 1 (clock-driven)\n"
                # what a step would bring beyond the bounds is left out
                + f"dw/dt = clip(w_scale*eligibility*{reward}, (w_least - w)/dt, (w_most - w)/dt) : {unit} "
                + "(clock-driven)\n"
            ),
            on_pre="w = clip(w, w_least, w_most)\neligibility -= A_minus*trace_target\ntrace_source += 1",
            on_post="w = clip(w, w_least, w_most)\neligibility += A_plus*trace_source\ntrace_target += 1",
            method="euler",
            values=values,
            units=units,
            start={"trace_source": 0.0, "trace_target": 0.0, "eligibility": 0.0},
            target={} if named else {"reward": self.reward},
            changes_weights=True,
        )


@dataclass(frozen=True, kw_only=True)
class SynapticScaling(_BoundedRule):
    """Synaptic scaling: weights grow or shrink in proportion until the target fires at its rate.

    ``dw/dt = beta w (rate - r)``, with r the rate of the target smoothed over `tau_rate`. The change since the last
    spike of the source is made up when the next one arrives, so that it costs nothing between spikes.

    Parameters
    ----------
    w_max : float
        Greatest weight, in the unit of the projection's weights; negative for inhibitory synapses, which then grow
        where the target fires too much.
    rate : float or Quantity
        Rate to which the target is brought, spikes/ms; ≥ 0.
    beta : float
        Speed: relative change of a weight per spike too few.
    tau_rate : float or Quantity
        Time over which the rate is smoothed, ms; > 0.

    References
    ----------
    M. C. W. van Rossum, G. Q. Bi, G. G. Turrigiano (2000), Stable Hebbian learning from spike timing-dependent
    plasticity, J. Neurosci. 20, 8812, eq. 6, its proportional part.
    """

    rate: Any
    beta: Any = 1e-3
    tau_rate: Any = 1e4

    def __post_init__(self) -> None:
        self._settle(("tau_rate",), ("beta",))
        rate = in_unit(self.rate, "1/ms", "rate")
        if not isinstance(rate, float) or rate < 0:
            raise ValueError(f"`rate` must be one rate ≥ 0 spikes/ms, got {self.rate!r}")
        object.__setattr__(self, "rate", rate)

    def code(self, unit: str, spike: Callable[[float], float]) -> SynapseCode:
        """Return the smoothed rate, and what has changed since the last spike."""
        values, units = self._limits(unit, spike)
        values |= {"beta": self.beta, "rate_wanted": self.rate * 1e3, "tau_rate": self.tau_rate * 1e-3}
        units |= {"beta": "1", "rate_wanted": "hertz", "tau_rate": "second"}
        # The rate decays between spikes of the target, so that its integral since the last change is known. An exponent
        # of 500 stands for more, where nothing is left of it.
        decayed = "rate_found*tau_rate*(exp(clip((t - last_change)/tau_rate, 0, 500)) - 1)"
        change = f"exp(direction*beta*(rate_wanted*(t - last_change) - {decayed}))"
        values["direction"], units["direction"] = (1.0 if values["w_scale"] >= 0 else -1.0), "1"
        return SynapseCode(
            equations="drate_found/dt = -rate_found/tau_rate : hertz (event-driven)\nlast_change : second\n",
            before_pre=f"w = clip(w*{change}, w_least, w_most)\nlast_change = t",
            on_post=f"w = clip(w*{change}, w_least, w_most)\nlast_change = t\nrate_found += 1/tau_rate",
            values=values,
            units=units,
            start={"rate_found": self.rate * 1e3, "last_change": 0.0},
            changes_weights=True,
        )


@dataclass(frozen=True, kw_only=True)
class ShortTermPlasticity(PlasticityRule):
    """Short-term depression and facilitation of synapses.

    Between spikes ``dx/dt = (1 - x)/tau_rec`` and ``du/dt = -u/tau_facil``. At a spike of the source
    ``u ← u + U (1 - u)``, then ``w u x`` is transmitted, then ``x ← x - u x``. The first spike finds ``u = U`` and
    ``x = 1``; with ``tau_facil = 0`` every spike finds ``u = U``.

    Parameters
    ----------
    U : float
        Utilisation of synaptic resources, in (0, 1].
    tau_rec : float or Quantity
        Time constant of recovery from depression, ms; > 0.
    tau_facil : float or Quantity
        Time constant of facilitation, ms; 0: none.

    References
    ----------
    M. Tsodyks, K. Pawelzik, H. Markram (1998), Neural networks with dynamic synapses, Neural Computation 10, 821, eq.
    2.1 and 2.2.
    """

    U: Any
    tau_rec: Any
    tau_facil: Any = 0.0

    def __post_init__(self) -> None:
        use = _number(self.U, "U")
        if not 0 < use <= 1:
            raise ValueError(f"`U` must be in (0, 1], got {self.U!r}")
        object.__setattr__(self, "U", use)
        object.__setattr__(self, "tau_rec", positive_time(self.tau_rec, "tau_rec"))
        facil = in_unit(self.tau_facil, "ms", "tau_facil")
        if not isinstance(facil, float) or facil < 0:
            raise ValueError(f"`tau_facil` must be a single time ≥ 0 ms, got {self.tau_facil!r}")
        object.__setattr__(self, "tau_facil", facil)

    def code(self, unit: str, spike: Callable[[float], float]) -> SynapseCode:
        """Return resources and utilisation of every synapse."""
        values = {"U": self.U, "tau_rec": self.tau_rec * 1e-3}
        units = {"U": "1", "tau_rec": "second"}
        x = "dx/dt = (1 - x)/tau_rec : 1 (event-driven)\n"
        if not self.tau_facil:
            return SynapseCode(
                equations=x, on_pre="x -= U*x", efficacy="U*x", values=values, units=units, start={"x": 1.0}
            )
        return SynapseCode(
            equations=x + "du/dt = -u/tau_facil : 1 (event-driven)\n",
            before_pre="u += U*(1 - u)",
            on_pre="x -= u*x",
            efficacy="u*x",
            values=values | {"tau_facil": self.tau_facil * 1e-3},
            units=units | {"tau_facil": "second"},
            start={"x": 1.0, "u": 0.0},
        )

    def steady_state(self, rate: Any) -> float:
        """Return ``u x`` at the spikes of a source that fires regularly at a rate (1/ms), the closed form."""
        import math

        interval = 1.0 / float(in_unit(rate, "1/ms", "rate"))
        recovered = math.exp(-interval / self.tau_rec)
        fading = math.exp(-interval / self.tau_facil) if self.tau_facil else 0.0
        u = self.U / (1 - (1 - self.U) * fading) if self.tau_facil else self.U
        return u * (1 - recovered) / (1 - (1 - u) * recovered)


@dataclass(frozen=True, kw_only=True, eq=False)
class EquationPlasticity(PlasticityRule):
    """Plasticity by equations and statements in Brian2's language; ``w`` is the weight.

    Parameters
    ----------
    equations : str
        Variables of every synapse beside ``w``, as of `brian2.Synapses`; event-driven ones cost nothing between spikes.
    on_pre, on_post : str
        Statements after a spike of the source was transmitted, and where the target fires.
    before_pre : str
        Statements before the spike is transmitted.
    efficacy : str
        Factor of the transmitted weight, an expression without a dimension; empty: 1.
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

    equations: str = ""
    on_pre: str = ""
    on_post: str = ""
    before_pre: str = ""
    efficacy: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    initial: Mapping[str, Any] = field(default_factory=dict)
    method: str = "exact"
    units: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        settle_parameters(self)

    def code(self, unit: str, spike: Callable[[float], float]) -> SynapseCode:
        """Return the equations and statements."""
        return SynapseCode(
            equations=self.equations,
            before_pre=self.before_pre,
            on_pre=self.on_pre,
            efficacy=self.efficacy,
            on_post=self.on_post,
            method=self.method,
            values=self.parameters,
            units=self.units,
            start=self.initial,
            changes_weights=True,
        )
