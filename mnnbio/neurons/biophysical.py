"""Neurons with equations of their own: what all ready models but the leaky integrate-and-fire neuron share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from mnnbio.neurons.neuron_model import (
    NeuronDynamics,
    NeuronModel,
    Order,
    brian_units,
    parameter,
    require_one_length,
    si_values,
    start_values,
)
from mnnbio.units import Unit, count_steps, require, si_size, working_unit

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class BiophysicalNeuron(NeuronModel):
    """Neurons whose equations Brian2 integrates.

    A subclass is a frozen dataclass that names the units of its parameters and states its equations in them. Its
    first variable is the membrane potential.

    Parameters
    ----------
    initial : mapping of str to number, array_like, Quantity or Distribution, optional
        Values from which variables start in every presentation; the others start at rest.

    Attributes
    ----------
    UNITS : mapping of str to str
        Working unit of every parameter.
    POSITIVE : tuple of str
        Parameters that must be > 0.
    VARIABLES : mapping of str to str
        The differential variables with their units in Brian2's language, the membrane potential first.
    EQUATIONS, THRESHOLD, RESET : str
        In Brian2's language. ``I_syn`` stands for the current of synapses and drives.
    METHOD : str
        Brian2's method of integration.
    CURRENT_UNIT : {"amp", "volt/second"}
        Unit of ``I_syn``.
    ORDER : str
        Order within a time step, see `NeuronDynamics`.
    """

    initial: Any = None

    UNITS: ClassVar[Mapping[str, Unit]]
    POSITIVE: ClassVar[tuple[str, ...]] = ()
    VARIABLES: ClassVar[Mapping[str, str]] = {"v": "volt"}
    EQUATIONS: ClassVar[str]
    THRESHOLD: ClassVar[str] = "v > v_th"
    RESET: ClassVar[str] = "v = v_reset"
    METHOD: ClassVar[str] = "euler"
    CURRENT_UNIT: ClassVar[Literal["amp", "volt/second"]] = "amp"
    ORDER: ClassVar[Order] = "threshold_first"

    def __post_init__(self) -> None:
        for name, unit in self.UNITS.items():
            object.__setattr__(self, name, parameter(getattr(self, name), unit, name))
        initial = start_values(self.initial, self.VARIABLES, type(self).__name__)
        object.__setattr__(self, "initial", initial or None)
        require_one_length({name: getattr(self, name) for name in self.UNITS} | initial)
        for name in self.POSITIVE:
            self._require(name, "> 0", lambda value: np.greater(value, 0))
        if "t_ref" in self.UNITS:
            self._require("t_ref", "≥ 0 ms", lambda value: np.greater_equal(value, 0))

    def _require(self, name: str, rule: str, holds: Any) -> None:
        value = getattr(self, name)
        if isinstance(value, float | np.ndarray):
            require(holds(value), name, f"{rule} {self.UNITS[name]}" if rule == "> 0" else rule, value)

    def rest(self) -> Mapping[str, Any]:
        """Return the values of the variables at rest without input, in their working units."""
        return {"v": getattr(self, "E_L", 0.0)} | {name: 0.0 for name in list(self.VARIABLES)[1:]}

    def check_time_step(self, dt: float, name: str) -> None:
        """Raise a `ValueError` if `dt`, ms, does not divide a refractory period."""
        if "t_ref" in self.UNITS:
            count_steps(self.t_ref, dt, f"t_ref of {name!r}")  # type: ignore[attr-defined]

    def dynamics(self, dt: float) -> NeuronDynamics:
        """Return the equations of the neurons, integrated by Brian2's method `METHOD`."""
        units = dict(self.UNITS)
        refractory = ""
        if "t_ref" in units:
            refractory = "t_ref" if np.any(np.asarray(self.t_ref) > 0) else ""  # type: ignore[attr-defined]
            if not refractory:
                units.pop("t_ref")
        start = {**self.rest(), **(self.initial or {})}
        return NeuronDynamics(
            equations=self.EQUATIONS if refractory else self.EQUATIONS.replace(" (unless refractory)", ""),
            threshold=self.THRESHOLD,
            reset=self.RESET,
            refractory=refractory,
            method=self.METHOD,
            values=si_values({name: getattr(self, name) for name in units}, units),
            units=brian_units(units),
            start={
                name: np.asarray(value) * si_size(working_unit(self.VARIABLES[name])) for name, value in start.items()
            },
            receives=self.VARIABLES,
            current="I_syn",
            current_unit=self.CURRENT_UNIT,
            capacitance="C" if self.CURRENT_UNIT == "amp" else "",
            order=self.ORDER,
        )

    def items(self) -> list[tuple[str, Any]]:
        """Return the parameters as (name, value) pairs."""
        return [(name, getattr(self, name)) for name in self.UNITS]

    def __repr__(self) -> str:
        defaults = {field.name: field.default for field in fields(self)}
        given = [(name, value) for name, value in self.items() if not _is_default(value, defaults[name])]
        listed = ", ".join(f"{name}={value!r}" for name, value in given)
        return f"{type(self).__name__}({listed})"

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(_same(getattr(self, f.name), getattr(other, f.name)) for f in fields(self))

    def __hash__(self) -> int:
        return hash((type(self), *(repr(value) for _, value in self.items())))


def _is_default(value: Any, default: Any) -> bool:
    return isinstance(value, float) and value == default


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return list(one) == list(other) and all(_same(one[name], other[name]) for name in one)
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return np.array_equal(one, other)
    return bool(one == other)
