"""Neurons that obey equations of a user's own, in Brian2's language."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import numpy as np

from mnnbio.machine import check_choice, import_brian
from mnnbio.neurons.neuron_model import NeuronDynamics, NeuronModel, Order, require_one_length, start_values
from mnnbio.units import brian_unit, count_steps, in_si, in_unit, is_quantity, shown, si_size, working_unit
from mnnbio.values import Dimensioned, Distribution, TimeCourse

_OWN = {"t", "dt", "t_in_timesteps", "i", "N", "lastspike", "not_refractory", "int", "clip", "xi"}


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class EquationNeuron(NeuronModel):
    """Neurons that obey equations in Brian2's language.

    Parameters
    ----------
    equations : str
        Differential equations and subexpressions, as of `brian2.NeuronGroup`. ``xi``, ``randn()`` and ``rand()`` draw
        from the streams of the simulation.
    threshold : str
        Condition of a spike; ``"False"`` for neurons that never fire.
    reset : str
        Statements that follow it.
    refractory : float, Quantity or str
        Refractory period, ms; or a condition or the name of a parameter, as of `brian2.NeuronGroup`; 0: none.
    method : str
        Brian2's method of integration: ``"euler"``, ``"exponential_euler"``, ``"exact"``, ``"rk4"``, ``"heun"``, ….
    parameters : mapping of str to number, array_like, Quantity, Distribution or TimeCourse
        Values of the names that the equations use, one for all or one per neuron; plain numbers have no dimension, or
        are in SI units where `units` says so. A `TimeCourse` changes them in time, a `Distribution` is drawn by the
        circuit.
    initial : mapping of str to number, array_like, Quantity or Distribution
        Values from which variables start in every presentation; plain numbers in mV, pA, nS, ms; the others start at 0.
    receives : sequence of str, optional
        Variables to which synapses may add, the membrane potential first; by default all differential variables.
    current : str
        Name in the equations, not a parameter, that stands for the current of synapses and drives; empty: the neurons
        take none, and synapses add to variables only.
    current_unit : {"amp", "volt/second"}
        Unit of that current.
    capacitance : str
        Parameter that turns an amp into a volt a second; needed with ``current_unit="amp"``.
    units : mapping of str to str
        Units, in Brian2's language, of parameters given as plain numbers in SI units, as they are stored.
    order : {"threshold_first", "synapses_first", "state_last", "input_first"}
        Order within a time step; Brian2's own by default.

    Raises
    ------
    ValueError, TypeError
        If the equations cannot be read, or name what is neither a variable nor a parameter.

    Examples
    --------
    >>> neuron = EquationNeuron(
    ...     equations="dv/dt = (E_L - v + R*I)/tau : volt (unless refractory)",
    ...     threshold="v > -50*mV", reset="v = E_L", refractory=2.0, method="exact",
    ...     parameters={"E_L": -0.07, "R": 1e8, "I": 3e-10, "tau": 0.02},
    ...     units={"E_L": "volt", "R": "ohm", "I": "amp", "tau": "second"}, initial={"v": -70.0},
    ... )
    >>> neuron.variables
    {'v': 'volt'}
    """

    equations: str
    threshold: str
    reset: str = ""
    refractory: Any = 0.0
    method: str = "euler"
    parameters: Mapping[str, Any] = field(default_factory=dict)
    initial: Any = None
    receives: Any = None
    current: str = ""
    current_unit: Literal["amp", "volt/second"] = "amp"
    capacitance: str = ""
    units: Mapping[str, str] = field(default_factory=dict)
    order: Order = "threshold_first"

    def __post_init__(self) -> None:
        check_choice("order", self.order, get_args(Order))
        for name in ("equations", "threshold", "reset", "method"):
            if not isinstance(getattr(self, name), str):
                raise TypeError(f"`{name}` must be text in Brian2's language, got {shown(getattr(self, name))}")
        if not self.threshold.strip():
            raise ValueError(
                "`threshold` must be a condition such as 'v > -50*mV': nothing is carried from neurons that have none. "
                "For neurons that never fire write 'False'"
            )
        if not isinstance(self.refractory, str):
            value = in_unit(self.refractory, "ms", "refractory")
            if not isinstance(value, float) or value < 0:
                raise ValueError(f"`refractory` must be one time ≥ 0 ms, or text, got {shown(self.refractory)}")
            object.__setattr__(self, "refractory", value)
        self._settle_parameters()
        own = self._read()
        self._check_method()
        variables = {name: _unit_of(own, name) for name in own.diff_eq_names}
        if not variables:
            raise ValueError("`equations` must hold a differential equation such as 'dv/dt = -v/tau : volt'")
        object.__setattr__(self, "_variables", variables)
        known = variables | {name: _unit_of(own, name) for name in own.parameter_names}
        object.__setattr__(self, "initial", start_values(self.initial, known, "EquationNeuron") or None)
        receives = tuple(variables) if self.receives is None else tuple(self.receives)
        if not receives or (missing := [name for name in receives if name not in known]):
            found = missing[0] if receives else None
            raise ValueError(f"`receives` must name variables ({', '.join(known)}), got {found!r}")
        object.__setattr__(self, "receives", receives)
        object.__setattr__(self, "_known", known)
        require_one_length({**self.parameters, **(self.initial or {})})
        self._check_names(own)

    def _settle_parameters(self) -> None:
        values: dict[str, Any] = {}
        units = dict(self.units)
        if not isinstance(self.parameters, Mapping):
            raise TypeError(f"`parameters` must be a dictionary, got {shown(self.parameters)}")
        for name, given in self.parameters.items():
            if isinstance(given, Distribution | TimeCourse):
                values[name] = given
                units.setdefault(name, _brian_unit_of(given))
                continue
            plain = in_si(given, f"parameter {name}")
            if is_quantity(given):
                units[name] = plain.unit
            units.setdefault(name, "1")
            if isinstance(plain.value, np.ndarray):
                if plain.value.ndim != 1:
                    raise ValueError(f"parameter `{name}` must be a number or one value per neuron, got {shown(given)}")
                plain.value.setflags(write=False)
            values[name] = plain.value
        object.__setattr__(self, "parameters", values)
        object.__setattr__(self, "units", {name: unit for name, unit in units.items() if name in values})

    def _read(self) -> Any:
        import_brian()
        from brian2 import Equations
        from brian2.equations.equations import EquationError

        try:
            return Equations(self.equations)
        except (EquationError, SyntaxError, ValueError, TypeError) as error:
            raise ValueError(f"`equations` cannot be read as Brian2 equations: {_first_line(error)}") from error

    def _check_method(self) -> None:
        from brian2.stateupdaters.base import StateUpdateMethod

        check_choice("method", self.method, sorted(StateUpdateMethod.stateupdaters))

    def _check_names(self, own: Any) -> None:
        """Raise a `ValueError` if the texts name something unknown."""
        from brian2.core.functions import DEFAULT_CONSTANTS, DEFAULT_FUNCTIONS
        from brian2.units.allunits import all_units
        from brian2.units.fundamentalunits import Unit
        from brian2.units.stdunits import stdunits

        units = {str(unit) for unit in all_units} | set(stdunits) | {u.name for u in all_units if isinstance(u, Unit)}
        known = {*own.names, *self.parameters, *DEFAULT_FUNCTIONS, *DEFAULT_CONSTANTS, *units, *_OWN, self.current}
        texts = [("threshold", self.threshold), ("reset", self.reset)]
        if isinstance(self.refractory, str):
            texts.append(("refractory", self.refractory))
        named: list[tuple[str, Iterable[str]]] = [("equations", own.identifiers)]
        named += [(what, _names_in(text, what)) for what, text in texts if text]
        for what, names in named:
            unknown = sorted(n for n in names if n not in known and not n.startswith("xi_"))
            if unknown:
                raise ValueError(
                    f"`{what}` names {unknown[0]!r}, which is no variable of the equations ({', '.join(own.names)}) "
                    f"and no parameter: give it in `parameters`"
                )
        clash = [name for name in self.parameters if name in own.diff_eq_names or name in own.subexpr_names]
        if clash:
            raise ValueError(f"`parameters` give {clash[0]!r}, which the equations define")
        if self.current and (self.current in own.names or self.current in self.parameters):
            raise ValueError(f"`current` = {self.current!r} is what synapses and drives bring: do not define it")
        if self.current and self.current_unit == "amp" and self.capacitance not in self.parameters:
            raise ValueError("`capacitance` must name the parameter by which an amp becomes a volt a second")

    @property
    def variables(self) -> dict[str, str]:
        """The differential variables with their units in Brian2's language."""
        return dict(self._variables)  # type: ignore[attr-defined]

    def drawn(self, size: int, rng: np.random.Generator) -> EquationNeuron:
        """Return `size` neurons with values drawn for every distribution."""
        values = {
            name: value.sample(size, rng) * si_size(value.unit or "1") if isinstance(value, Distribution) else value
            for name, value in self.parameters.items()
        }
        return NeuronModel.drawn(replace(self, parameters=values), size, rng)

    def check_time_step(self, dt: float, name: str) -> None:
        """Raise a `ValueError` if `dt`, ms, does not divide the refractory period."""
        if isinstance(self.refractory, float):
            count_steps(self.refractory, dt, f"refractory of {name!r}")

    def dynamics(self, dt: float) -> NeuronDynamics:
        """Return the equations with their numbers in SI units."""
        known: Mapping[str, str] = self._known  # type: ignore[attr-defined]
        own = self._read()
        refractory = f"{self.refractory!r}*ms" if isinstance(self.refractory, float) else self.refractory
        if self.refractory == 0:
            refractory = ""
        initial = self.initial or {}
        start = dict.fromkeys(self.variables, 0.0) | {
            name: np.asarray(value) * si_size(working_unit(known[name])) for name, value in initial.items()
        }
        return NeuronDynamics(
            equations=self.equations.rstrip() + "\n",
            threshold=self.threshold,
            reset=self.reset,
            refractory=refractory,
            method=self.method,
            values={name: _si(value) for name, value in self.parameters.items()},
            units={name: unit for name, unit in self.units.items() if name not in own.names},
            start=start,
            receives={name: known[name] for name in self.receives},
            current=self.current,
            current_unit=self.current_unit if self.current else "",
            capacitance=self.capacitance if self.current and self.current_unit == "amp" else "",
            order=self.order,
        )

    def items(self) -> list[tuple[str, Any]]:
        """Return the parameters as (name, value) pairs."""
        return list(self.parameters.items())

    def __repr__(self) -> str:
        lines = [line.strip() for line in self.equations.strip().splitlines()]
        return f"EquationNeuron({'; '.join(lines)})"


def _si(value: Any) -> Any:
    """Return a number or array as it is, a course in its SI unit."""
    return value * si_size(value.unit or "1") if isinstance(value, TimeCourse) else value


def _brian_unit_of(value: Dimensioned) -> str:
    return brian_unit(value.unit or "1")


def _unit_of(equations: Any, name: str) -> str:
    """Return the unit of a variable in Brian2's language."""
    from brian2.units.fundamentalunits import DIMENSIONLESS, Quantity

    if equations[name].dim is DIMENSIONLESS:
        return "1"
    return in_si(Quantity(1.0, dim=equations[name].dim), name).unit


def _names_in(text: str, what: str) -> Iterator[str]:
    """Yield the names in statements or an expression."""
    try:
        tree = ast.parse("\n".join(part.strip() for part in text.replace(";", "\n").splitlines()))
    except SyntaxError as error:
        raise ValueError(f"`{what}` cannot be read: {_first_line(error)}") from error
    yield from {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def _first_line(error: Exception) -> str:
    """Return what an error says first; of a parser's error also which line and what was expected."""
    first, *rest = (line.strip() for line in str(error).strip().splitlines())
    return first if not first.endswith(":") else " ".join([first, *(line for line in rest if line.strip("^"))])
