"""Neuron models: the contract between a population's neurons, theory and simulation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

import numpy as np

from mnnbio.machine import check_choice

# Order within a time step. "synapses_first": state, synapses, threshold, reset, so that the jumps of a step count
# before its test. "threshold_first": state, threshold, synapses, reset, which is Brian2's default.
Order = Literal["synapses_first", "threshold_first"]


@dataclass(frozen=True, kw_only=True, eq=False)
class NeuronDynamics:
    """Equations that neurons obey, in Brian2's language, with their numbers.

    Parameters
    ----------
    equations : str
        Differential equations, and declarations of the variables in `values`.
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
    values : mapping of str to number, ndarray or Quantity
        Parameters, one for all or one per neuron, in SI units.
    start : mapping of str to number or bool
        Values from which the variables start in every presentation, in SI units; name every differential variable.
    receives : mapping of str to str
        Variables to which synapses may add, with their units in Brian2's language. Drives add to the first of them,
        which is the membrane potential.
    tau_m : float or ndarray, optional
        Membrane time constant, ms, where the membrane is linear between spikes.
    order : {"synapses_first", "threshold_first"}
    """

    equations: str
    threshold: str
    reset: str = ""
    refractory: str = ""
    method: str = ""
    update: str = ""
    values: Mapping[str, Any]
    start: Mapping[str, Any]
    receives: Mapping[str, str]
    tau_m: Any = None
    order: Order = "synapses_first"

    def __post_init__(self) -> None:
        check_choice("order", self.order, get_args(Order))
        if bool(self.method) == bool(self.update):
            raise ValueError(f"give either `method` or `update`, got {self.method!r} and {self.update!r}")
        if arrays := [name for name, value in self.start.items() if np.ndim(value)]:
            raise ValueError(f"`start` must hold single values, got an array for {arrays[0]!r}")
        object.__setattr__(self, "start", {name: _plain(value) for name, value in self.start.items()})
        if not self.receives:
            raise ValueError("`receives` must name the membrane potential, got nothing")


def _plain(value: Any) -> float | int | bool:
    """Return a number without its unit, SI, in Python's own type."""
    number: float | int | bool = np.asarray(value).item()
    return number


class NeuronModel(ABC):
    """Model of the neurons of a population.

    A subclass is a frozen dataclass whose fields are its parameters, each a number or one value per neuron. It is
    simulated by what `dynamics` returns, stored with its fields, and predicted where a theory is registered for its
    type.
    """

    @abstractmethod
    def dynamics(self, dt: float) -> NeuronDynamics:
        """Return the equations of the neurons for a simulation in steps of `dt`, ms."""

    def items(self) -> list[tuple[str, Any]]:
        """Return the parameters as (name, value) pairs."""
        return [(field.name, getattr(self, field.name)) for field in fields(self)]  # type: ignore[arg-type]

    @property
    def size(self) -> int | None:
        """Number of neurons described, None if every parameter is a single number."""
        return next((len(value) for _, value in self.items() if np.ndim(value)), None)

    def check_time_step(self, dt: float, name: str) -> None:
        """Raise a `ValueError` if neurons of the population `name` cannot be simulated in steps of `dt`, ms."""
        self.dynamics(dt)
