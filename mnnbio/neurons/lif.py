"""Leaky integrate-and-fire neurons."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from mnnbio.neurons.neuron_model import (
    NeuronDynamics,
    NeuronModel,
    parameter,
    require_one_length,
    start_values,
)
from mnnbio.units import FloatOrArray, count_steps, require
from mnnbio.values import STORED_IF_GIVEN, Distribution

_MV = 1e-3  # volt
_EQUATIONS = """
dv/dt = (v_inf - v)/tau_m : volt (unless refractory)
tau_m : second (constant)
decay : 1 (constant)
v_inf : volt
v_th : volt (constant)
v_reset : volt (constant)
hold : integer (constant)
wake : integer
"""
_STACK = 4  # from the warning to the call that makes the parameters


class AbsoluteVoltageWarning(UserWarning):
    """A threshold lies below rest, as absolute voltages do that are given without `v_rest`."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LIFParameters(NeuronModel):
    """Parameters of leaky integrate-and-fire neurons.

    ``dV/dt = -(V - v_rest)/tau_m + I(t)``; a spike when V reaches `v_th`, then V is held at `v_reset` for `t_ref`.
    Voltages are measured from the resting potential, or are absolute where `v_rest` is given.

    Parameters
    ----------
    tau_m : float, array_like or Quantity
        Membrane time constant, ms; > 0.
    v_th : float, array_like or Quantity
        Firing threshold, mV; by default 20 mV above rest.
    v_reset : float, array_like or Quantity
        Reset potential, mV; below `v_th`; by default rest.
    t_ref : float, array_like or Quantity
        Absolute refractory period, ms; ≥ 0.
    v_rest : float, array_like or Quantity, optional
        Resting potential, mV. With it, `v_th` and `v_reset` are absolute; by default they are measured from rest.
    initial : mapping, optional
        Start values of ``v``, mV, measured as the other voltages are; by default rest. The theory of stationary states
        does not depend on them.

    Each is a number, an array with one value per neuron, or a distribution from which the circuit draws these.

    Raises
    ------
    ValueError
        If a value is outside its range, or arrays differ in length.

    Warns
    -----
    AbsoluteVoltageWarning
        If `v_th` is not above rest: such a neuron fires without any input.

    Examples
    --------
    >>> LIFParameters(tau_m=10.0, v_reset=10.0, t_ref=2.0)
    LIFParameters(tau_m=10.0, v_th=20.0, v_reset=10.0, t_ref=2.0)
    >>> LIFParameters(v_rest=-65.0, v_th=-50.0, v_reset=-60.0).from_rest()
    LIFParameters(tau_m=20.0, v_th=15.0, v_reset=5.0, t_ref=5.0)
    """

    tau_m: Any = 20.0
    v_th: Any = None
    v_reset: Any = None
    t_ref: Any = 5.0
    v_rest: Any = None
    initial: Any = field(default=None, metadata=STORED_IF_GIVEN)

    def __post_init__(self) -> None:
        units = {"tau_m": "ms", "t_ref": "ms", "v_rest": "mV", "v_th": "mV", "v_reset": "mV"}
        for name, unit in units.items():
            given = getattr(self, name)
            if given is None and name == "v_rest":
                continue
            if given is None and name in ("v_th", "v_reset"):
                rest = 0.0 if self.v_rest is None else self.v_rest
                given = rest + 20.0 if name == "v_th" else rest
            object.__setattr__(self, name, parameter(given, unit, name))  # type: ignore[arg-type]
        initial = start_values(self.initial, {"v": "volt"}, "LIFParameters")
        object.__setattr__(self, "initial", initial or None)
        require_one_length({**dict(self.items()), **initial})
        if not any(isinstance(value, Distribution) for _, value in self.items()):
            self._check()

    def _check(self) -> None:
        """Check the ranges of what is given as numbers."""
        require(np.asarray(self.tau_m) > 0, "tau_m", "> 0 ms", self.tau_m)
        require(np.asarray(self.t_ref) >= 0, "t_ref", "≥ 0 ms", self.t_ref)
        require(np.less(self.v_reset, self.v_th), "v_reset", "below `v_th`", self.v_reset)
        rest = 0.0 if self.v_rest is None else self.v_rest
        if np.any(np.less_equal(self.v_th, rest)):
            warnings.warn(
                f"`v_th` = {np.min(self.v_th):g} mV is not above rest, {np.max(rest):g} mV: such a neuron fires "
                "without any input. Give `v_rest` where voltages are absolute",
                AbsoluteVoltageWarning,
                stacklevel=_STACK,
            )

    def items(self) -> list[tuple[str, FloatOrArray]]:
        """Return the parameters that are given as (name, value) pairs."""
        pairs = [(own.name, getattr(self, own.name)) for own in fields(self) if own.name != "initial"]
        return [(name, value) for name, value in pairs if value is not None]

    def from_rest(self) -> LIFParameters:
        """Return the same neurons with voltages measured from rest."""
        if self.v_rest is None:
            return self
        initial = self.initial and {"v": self.initial["v"] - self.v_rest}
        return replace(
            self, v_th=self.v_th - self.v_rest, v_reset=self.v_reset - self.v_rest, v_rest=None, initial=initial
        )

    def check_time_step(self, dt: float, name: str) -> None:
        """Raise a `ValueError` if `dt`, ms, does not divide a refractory period."""
        count_steps(self.t_ref, dt, f"t_ref of {name!r}")

    def dynamics(self, dt: float) -> NeuronDynamics:
        """Return the equations of the neurons, integrated exactly in steps of `dt`, ms; v is measured from rest.

        After a spike v is held at ``v_reset`` for ``t_ref/dt`` whole steps, in which all input to it is lost.
        """
        own = self.from_rest()
        return NeuronDynamics(
            equations=_EQUATIONS,
            threshold="v >= v_th",
            reset="v = v_reset; wake = t_in_timesteps + 1 + hold",
            refractory="t_in_timesteps < wake",
            update="v_inf + decay*(v - v_inf)",
            values={
                "tau_m": np.asarray(own.tau_m) * 1e-3,
                "decay": np.exp(-dt / np.asarray(own.tau_m)),
                "v_th": np.asarray(own.v_th) * _MV,
                "v_reset": np.asarray(own.v_reset) * _MV,
                "hold": count_steps(own.t_ref, dt, "t_ref"),
            },
            start={
                "v": np.asarray(own.initial["v"]) * _MV if own.initial else 0.0,
                "wake": 0,
                "not_refractory": True,
                "lastspike": -1e4,
            },
            receives={"v": "volt"},
            tau_m=own.tau_m,
            v_rest=0.0 if self.v_rest is None else self.v_rest,
        )

    def __repr__(self) -> str:
        listed = ", ".join(f"{name}={value!r}" for name, value in self.items())
        return f"LIFParameters({listed}{f', initial={self.initial!r}' if self.initial else ''})"

    def to_dict(self) -> dict[str, Any]:
        """Return the parameters as plain numbers and lists, in ms and mV."""
        values = {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in self.items()}
        if self.initial:
            start = self.initial["v"]
            values["initial"] = {"v": start.tolist() if isinstance(start, np.ndarray) else start}
        return values

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, LIFParameters):
            return NotImplemented
        return self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash(repr(self.to_dict()))
