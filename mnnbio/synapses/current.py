"""Delta, exponential, alpha and double exponential synapses: jumps and currents that only add."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import linalg, special

from mnnbio.machine import check_choice
from mnnbio.synapses.synapse_model import SynapseModel, SynapseSteps, Target
from mnnbio.units import Unit, brian_unit, in_unit, si_size, working_unit

Array = npt.NDArray[np.float64]

_MV = 1e-3  # volt


@dataclass(frozen=True)
class Delta(SynapseModel):
    """Delta synapses: a spike moves the membrane potential by its weight at once."""

    @property
    def brings_variables(self) -> bool:
        """Whether the synapses bring variables of their own to their target: no."""
        return False

    def spike(self, weight: Any) -> Any:
        """Return the jump, V."""
        return weight * _MV

    def steps(self, target: Target, name: str, dt: float) -> SynapseSteps:
        """Return that a spike adds to the membrane potential."""
        return SynapseSteps(adds_to=target.membrane, unit=target.receives[target.membrane])


@dataclass(frozen=True)
class Into(SynapseModel):
    """Synapses whose spikes add their weight to a variable of the target at once, such as a conductance of its own.

    Parameters
    ----------
    variable : str
        Name in the neuron's equations.
    unit : str
        Working unit of the weights: "mV", "nS", "pA", "mV/ms" or "1".
    """

    variable: str
    unit: Unit = "nS"

    def __post_init__(self) -> None:
        check_choice("unit", self.unit, ["mV", "nS", "pA", "mV/ms", "1"])
        if not isinstance(self.variable, str) or not self.variable.isidentifier():
            raise ValueError(f"`variable` must be a name in the equations of the neurons, got {self.variable!r}")

    @property
    def UNIT(self) -> Unit:  # type: ignore[override]  # noqa: N802 - the name of the class attribute
        """Working unit of the weights."""
        return self.unit

    @property
    def brings_variables(self) -> bool:
        """Whether the synapses bring variables of their own to their target: no."""
        return False

    def spike(self, weight: Any) -> Any:
        """Return what is added, in SI units."""
        return weight * si_size(self.unit)

    def steps(self, target: Target, name: str, dt: float) -> SynapseSteps:
        """Return that a spike adds to the variable.

        Raises
        ------
        ValueError
            If the neurons lack it, or it has another unit.
        """
        if self.variable not in target.receives:
            raise ValueError(
                f"synapses add to `{self.variable}`, which {target.neuron} lacks: it receives "
                f"{', '.join(target.receives)}"
            )
        unit = target.receives[self.variable]
        if unit != brian_unit(self.unit):
            raise ValueError(
                f"synapses into `{self.variable}` of {target.neuron} must have weights in {working_unit(unit)}, got "
                f"Into({self.variable!r}, {self.unit!r}): write Into({self.variable!r}, {working_unit(unit)!r})"
            )
        return SynapseSteps(adds_to=self.variable, unit=unit)


@dataclass(frozen=True)
class Exponential(SynapseModel):
    """Exponential synapses: a spike adds ``weight/tau_syn`` (mV/ms) to a current that decays with `tau_syn`.

    The charge of a spike, as a change of the membrane potential, is that of the delta synapse. The current is
    integrated exactly with a linear membrane: in a step of dt a current I leaves ``exp(-dt/tau_syn) I`` and moves the
    membrane by ``P I``, with ``P`` the propagator [1]_; with the other neurons it is integrated by their method. Spikes
    that arrive in a step are added at its end, as the jumps of delta synapses are.

    Parameters
    ----------
    tau_syn : float or Quantity
        Synaptic time constant, ms; > 0.
    unit : {"mV", "pA"}
        Unit of the weights: charge as a change of the membrane potential, or the current after a spike, which needs
        neurons with a capacitance.

    References
    ----------
    .. [1] S. Rotter, M. Diesmann (1999), Exact digital simulation of time-invariant linear systems with applications to
       neuronal modeling, Biological Cybernetics 81, 381-402, sec. 3.1.
    """

    tau_syn: Any
    unit: Literal["mV", "pA"] = "mV"

    def __post_init__(self) -> None:
        object.__setattr__(self, "tau_syn", positive_time(self.tau_syn, "tau_syn"))
        check_choice("unit", self.unit, ["mV", "pA"])

    @property
    def UNIT(self) -> Unit:  # type: ignore[override]  # noqa: N802 - the name of the class attribute
        """Working unit of the weights."""
        return self.unit

    def spike(self, weight: Any) -> Any:
        """Return the jump of the current, V/s or A."""
        return weight / self.tau_syn if self.unit == "mV" else weight * si_size("pA")  # mV/ms = V/s

    def steps(self, target: Target, name: str, dt: float) -> SynapseSteps:
        """Return the current and how far it moves the membrane.

        Raises
        ------
        TypeError
            If the neurons take no such current.
        """
        if target.tau_m is None or self.unit == "pA":
            unit = "volt/second" if self.unit == "mV" else "amp"
            return SynapseSteps(
                adds_to=f"current{name}",
                unit=unit,
                equations=f"dcurrent{name}/dt = -current{name}/tau_syn{name} : {unit}\n",
                current=target.current(f"current{name}", unit, "exponential synapses"),
                values={f"tau_syn{name}": self.tau_syn * 1e-3},
                units={f"tau_syn{name}": "second"},
                start={f"current{name}": 0.0},
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


@dataclass(frozen=True)
class DoubleExponential(SynapseModel):
    """Double exponential synapses: a current that rises with `tau_rise` and decays with `tau_decay`.

    ``dI/dt = -I/tau_decay + h/tau_rise`` and ``dh/dt = -h/tau_rise``; a spike adds to h. With weights in mV the charge
    is that of the delta synapse of the same weight; with weights in pA the weight is the peak of the current.

    Parameters
    ----------
    tau_rise, tau_decay : float or Quantity
        Time constants, ms; > 0. They may be equal.
    unit : {"mV", "pA"}
        Unit of the weights; pA needs neurons with a capacitance.

    References
    ----------
    S. Rotter, M. Diesmann (1999), Exact digital simulation of time-invariant linear systems with applications to
    neuronal modeling, Biological Cybernetics 81, 381-402, for the exact step with a linear membrane.
    """

    tau_rise: Any
    tau_decay: Any
    unit: Literal["mV", "pA"] = "mV"

    def __post_init__(self) -> None:
        for name in ("tau_rise", "tau_decay"):
            object.__setattr__(self, name, positive_time(getattr(self, name), name))
        check_choice("unit", self.unit, ["mV", "pA"])

    @property
    def UNIT(self) -> Unit:  # type: ignore[override]  # noqa: N802 - the name of the class attribute
        """Working unit of the weights."""
        return self.unit

    def spike(self, weight: Any) -> Any:
        """Return the jump of h, V/s or A."""
        if self.unit == "mV":
            return weight / self.tau_decay  # mV/ms = V/s
        return weight * si_size("pA") / peak(self.tau_rise, self.tau_decay)

    def steps(self, target: Target, name: str, dt: float) -> SynapseSteps:
        """Return the current and how far it moves the membrane.

        Raises
        ------
        TypeError
            If the neurons take no such current.
        """
        h, current = f"rise{name}", f"current{name}"
        if target.tau_m is None or self.unit == "pA":
            unit = "volt/second" if self.unit == "mV" else "amp"
            return SynapseSteps(
                adds_to=h,
                unit=unit,
                equations=(
                    f"d{current}/dt = -{current}/tau_decay{name} + {h}/feed{name} : {unit}\n"
                    f"d{h}/dt = -{h}/tau_rise{name} : {unit}\n"
                ),
                current=target.current(current, unit, "double exponential synapses"),
                values={
                    f"tau_decay{name}": self.tau_decay * 1e-3,
                    f"tau_rise{name}": self.tau_rise * 1e-3,
                    f"feed{name}": feed_time(target, self.tau_rise, dt) * 1e-3,
                },
                units=dict.fromkeys((f"tau_decay{name}", f"tau_rise{name}", f"feed{name}"), "second"),
                start={h: 0.0, current: 0.0},
            )
        step = self._exact_step(target.tau_m, dt)
        constants = {
            f"fade{name}": step[..., 1, 1],
            f"feed{name}": step[..., 1, 0],
            f"sink{name}": step[..., 0, 0],
            f"propagate{name}": step[..., 2, 1] * 1e-3,
            f"push{name}": step[..., 2, 0] * 1e-3,
        }
        return SynapseSteps(
            adds_to=h,
            unit="volt/second",
            declarations=f"{current} : volt/second\n{h} : volt/second\n",
            values=constants,
            units={key: "second" if key.startswith(("propagate", "push")) else "1" for key in constants},
            start={h: 0.0, current: 0.0},
            updates={current: f"fade{name}*{current} + feed{name}*{h}", h: f"sink{name}*{h}"},
            term=f"propagate{name}*{current} + push{name}*{h}",
        )

    def _exact_step(self, tau_m: Any, dt: float) -> Array:
        """Return what a step of dt does to (h, I, v), a matrix, or one for each membrane time constant."""
        times = np.asarray(tau_m, dtype=np.float64)
        matrix = np.zeros((*times.shape, 3, 3))
        matrix[..., 0, 0] = -1 / self.tau_rise
        matrix[..., 1, 0], matrix[..., 1, 1] = 1 / self.tau_rise, -1 / self.tau_decay
        matrix[..., 2, 1], matrix[..., 2, 2] = 1.0, -1 / times
        return np.asarray(linalg.expm(matrix * dt))


def Alpha(tau_syn: Any, unit: Literal["mV", "pA"] = "mV") -> DoubleExponential:  # noqa: N802 - names a model
    """Return alpha synapses: a current ``t/tau_syn exp(-t/tau_syn)``, double exponential with equal time constants.

    Parameters
    ----------
    tau_syn : float or Quantity
        Time to the peak, ms; > 0.
    unit : {"mV", "pA"}
        Unit of the weights: charge as a change of the membrane potential, or the peak of the current.
    """
    return DoubleExponential(tau_syn, tau_syn, unit)


def peak(tau_rise: float, tau_decay: float) -> float:
    """Return the greatest value of what rises with `tau_rise` and decays with `tau_decay`, after a unit jump of h."""
    ratio = tau_rise / tau_decay
    # t* / tau_decay = -r ln r / (1 - r), and the value there is exp(-t*/tau_decay), for h/tau_rise as the input.
    return float(np.exp(np.log(ratio) * ratio / (1 - ratio))) if abs(ratio - 1) > 1e-8 else float(np.exp(-1))


def feed_time(target: Target, tau: float, dt: float) -> float:
    """Return the time, ms, by which h is divided that feeds a current: its own `tau`, or what keeps the charge.

    Exponential Euler holds h within a step at its value at the start: the sum is ``dt/(1 - exp(-dt/tau))`` instead of
    the integral ``tau``, by some ``dt/(2 tau)`` of it too much. Euler's method, by which h decays faster, keeps it.
    """
    return float(dt / -np.expm1(-dt / tau)) if target.method == "exponential_euler" else tau


def positive_time(value: Any, name: str) -> float:
    """Return a time constant, ms; a `ValueError` unless it is one time > 0."""
    number = in_unit(value, "ms", name)
    if not isinstance(number, float) or not number > 0:
        raise ValueError(f"`{name}` must be a single time > 0 ms, got {value!r}")
    return number


def propagator(tau_m: npt.ArrayLike, tau_syn: float, dt: float) -> Array:
    """Return how far a step of dt moves the membrane per current at its start, ms.

    ``tau_m tau_syn/(tau_syn - tau_m) (exp(-dt/tau_syn) - exp(-dt/tau_m))``, which has the finite limit
    ``dt exp(-dt/tau_m)`` for equal time constants. All in ms.
    """
    membrane = dt / np.asarray(tau_m, dtype=np.float64)
    return np.asarray(dt * np.exp(-membrane) * special.exprel(membrane - dt / tau_syn))
