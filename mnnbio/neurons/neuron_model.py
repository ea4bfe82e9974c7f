"""Neuron models: the contract between a population's neurons, theory and simulation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, Self, get_args

import numpy as np
import numpy.typing as npt

from mnnbio.machine import check_choice
from mnnbio.units import Unit, brian_unit, in_unit, shown, si_size, working_unit
from mnnbio.values import Distribution

# Order within a time step. "synapses_first": state, synapses, threshold, reset, so that the jumps of a step count
# before its test. "threshold_first": state, threshold, synapses, reset, which is Brian2's default. "state_last":
# threshold and reset of what the step before has left, then state, synapses. "input_first": synapses, state,
# threshold, reset, so that what arrives in a step counts in its state update.
Order = Literal["synapses_first", "threshold_first", "state_last", "input_first"]


@dataclass(frozen=True, kw_only=True, eq=False)
class NeuronDynamics:
    """Equations that neurons obey, in Brian2's language, with their numbers.

    Parameters
    ----------
    equations : str
        Differential equations, and declarations of those variables in `values` that are not in `units`.
    threshold : str
        Condition of a spike.
    reset : str
        Statements that follow it.
    refractory : str
        Condition or time, as of `brian2.NeuronGroup`; empty: none. Variables with the flag ``(unless refractory)`` rest
        meanwhile, and input to them is lost.
    method : str
        Method of integration, as of `brian2.NeuronGroup`, such as ``"euler"``; empty where `update` is given.
    update : str
        Closed form of the variable `receives` after a step without input, where there is one: input is added to it.
        Assignments to other variables may follow on lines of their own.
    values : mapping of str to number, ndarray, Quantity or TimeCourse
        Parameters, one for all or one per neuron, in SI units, or courses in time.
    units : mapping of str to str
        Brian2's units of those `values` that the equations do not declare.
    start : mapping of str to number, ndarray or bool
        Values from which the variables start in every presentation, in SI units, one for all or one per neuron; name
        every differential variable.
    receives : mapping of str to str
        Variables to which synapses may add, with their units in Brian2's language. Drives add to the first of them,
        which is the membrane potential.
    current : str
        Variable in the equations, not declared there, that stands for the current of synapses and drives; empty: the
        neurons take none.
    current_unit : {"", "amp", "volt/second"}
        Unit of that current.
    capacitance : str
        Parameter by which an amp becomes a volt a second; empty where the current is in volt/second.
    tau_m : float or ndarray, optional
        Membrane time constant, ms, where the membrane is linear between spikes.
    v_rest : float or ndarray
        Potential, mV, from which the simulated one is measured: it is added to voltages that are recorded.
    order : {"synapses_first", "threshold_first", "state_last", "input_first"}
    """

    equations: str
    threshold: str
    reset: str = ""
    refractory: str = ""
    method: str = ""
    update: str = ""
    values: Mapping[str, Any]
    units: Mapping[str, str] = field(default_factory=dict)
    start: Mapping[str, Any]
    receives: Mapping[str, str]
    current: str = ""
    current_unit: Literal["", "amp", "volt/second"] = ""
    capacitance: str = ""
    tau_m: Any = None
    v_rest: Any = 0.0
    order: Order = "synapses_first"

    def __post_init__(self) -> None:
        check_choice("order", self.order, get_args(Order))
        if bool(self.method) == bool(self.update):
            raise ValueError(f"give either `method` or `update`, got {self.method!r} and {self.update!r}")
        if bool(self.current) != bool(self.current_unit):
            raise ValueError(f"`current` and `current_unit` go together, got {self.current!r}, {self.current_unit!r}")
        if (self.current_unit == "amp") != bool(self.capacitance):
            raise ValueError("neurons that take a current in amp need a `capacitance`, others have none")
        object.__setattr__(self, "start", {name: _plain(value) for name, value in self.start.items()})
        if not self.receives:
            raise ValueError("`receives` must name the membrane potential, got nothing")


def _plain(value: Any) -> float | int | bool | npt.NDArray[Any]:
    """Return a number without its unit, SI, in Python's own type, or an array of such."""
    array = np.asarray(value)
    if array.ndim:
        return array
    number: float | int | bool = array.item()
    return number


class NeuronModel(ABC):
    """Model of the neurons of a population.

    A subclass is a frozen dataclass whose fields are its parameters, each a number, one value per neuron, or a
    distribution from which a circuit draws these. It is simulated by what `dynamics` returns, stored with its fields,
    and predicted where a theory is registered for its type.
    """

    @abstractmethod
    def dynamics(self, dt: float) -> NeuronDynamics:
        """Return the equations of the neurons for a simulation in steps of `dt`, ms."""

    def items(self) -> list[tuple[str, Any]]:
        """Return the parameters as (name, value) pairs."""
        return [(own.name, getattr(self, own.name)) for own in fields(self)]  # type: ignore[arg-type]

    @property
    def size(self) -> int | None:
        """Number of neurons described, None if every parameter is a single number."""
        return next((len(value) for value in self._values() if isinstance(value, np.ndarray) and value.ndim), None)

    def _values(self) -> Iterator[Any]:
        for own in fields(self):  # type: ignore[arg-type]
            value = getattr(self, own.name)
            yield from value.values() if isinstance(value, Mapping) else [value]

    def drawn(self, size: int, rng: np.random.Generator) -> Self:
        """Return `size` neurons with values drawn for every distribution."""
        changed: dict[str, Any] = {}
        for own in fields(self):  # type: ignore[arg-type]
            value = getattr(self, own.name)
            if isinstance(value, Distribution):
                changed[own.name] = value.sample(size, rng)
            elif isinstance(value, Mapping) and any(isinstance(one, Distribution) for one in value.values()):
                changed[own.name] = {
                    name: _sampled(one, size, rng) if isinstance(one, Distribution) else one
                    for name, one in value.items()
                }
        return replace(self, **changed) if changed else self  # type: ignore[type-var]

    def check_time_step(self, dt: float, name: str) -> None:
        """Raise a `ValueError` if neurons of the population `name` cannot be simulated in steps of `dt`, ms."""
        self.dynamics(dt)


def _sampled(distribution: Distribution, size: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    return distribution.sample(size, rng)


def parameter(value: Any, unit: Unit, name: str) -> Any:
    """Return a parameter in its working unit: a number, one value per neuron (read-only), or a distribution.

    Raises
    ------
    ValueError
        If it has another shape or dimension.
    """
    if isinstance(value, Distribution):
        return value.used_as(unit, name)
    number = in_unit(value, unit, name)
    if isinstance(number, np.ndarray):
        if number.ndim != 1:
            raise ValueError(f"`{name}` must be a number or one value per neuron, got an array of shape {number.shape}")
        number.setflags(write=False)
    return number


def require_one_length(values: Mapping[str, Any]) -> None:
    """Raise a `ValueError` if arrays of parameters differ in length."""
    lengths = {name: len(value) for name, value in values.items() if isinstance(value, np.ndarray) and value.ndim}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"per-neuron parameters must have one length, got {lengths}")


def start_values(given: Any, units: Mapping[str, str], what: str) -> dict[str, Any]:
    """Return start values in the working units of their variables.

    Parameters
    ----------
    given : mapping of str to number, array_like, Quantity or Distribution, or None
        By variable: one for all neurons, or one per neuron.
    units : mapping of str to str
        The variables that may be named, with their units in Brian2's language.
    what : str
        Whose they are, for error messages.

    Raises
    ------
    ValueError, TypeError
        If a variable is unknown, or a value does not suit its unit.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise TypeError(f"`initial` of {what} must be a dictionary such as {{'v': -60 * mV}}, got {shown(given)}")
    if unknown := [name for name in given if name not in units]:
        raise ValueError(f"`initial` of {what} names {unknown[0]!r}; the variables are {', '.join(units)}")
    return {name: parameter(value, working_unit(units[name]), f"initial {name}") for name, value in given.items()}


def si_values(values: Mapping[str, Any], units: Mapping[str, Unit]) -> dict[str, Any]:
    """Return numbers and arrays in working units in SI units."""
    return {name: np.asarray(value) * si_size(units[name]) for name, value in values.items()}


def brian_units(units: Mapping[str, Unit]) -> dict[str, str]:
    """Return the names, in Brian2's language, of the SI units of working units."""
    return {name: brian_unit(unit) for name, unit in units.items()}
