"""Synapse models: the contract between a spike and what it does to its target."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from mnnbio.units import Unit

Array = npt.NDArray[np.float64]


class Target(NamedTuple):
    """Neurons as synapses see them.

    Attributes
    ----------
    neuron : str
        Name of the neuron model.
    receives : mapping of str to str
        Variables to which synapses may add, with their units in Brian2's language; the membrane potential is the first.
    tau_m : float or ndarray, optional
        Membrane time constant, ms, where the membrane is linear between spikes.
    current_unit : {"", "amp", "volt/second"}
        Unit of the current that the neurons take from synapses; empty: they take none.
    capacitance : str
        Parameter of the neurons by which an amp becomes a volt a second; empty: none.
    method : str
        Brian2's method by which the equations of the neurons, and those of the synapses among them, are integrated.
    """

    neuron: str
    receives: Mapping[str, str]
    tau_m: Any = None
    current_unit: str = ""
    capacitance: str = ""
    method: str = ""

    @property
    def membrane(self) -> str:
        """The membrane potential."""
        return next(iter(self.receives))

    def current(self, expression: str, unit: str, synapses: str) -> str:
        """Return a current of synapses, in ``amp`` or ``volt/second``, in the unit that the neurons take.

        Raises
        ------
        TypeError
            If they take no current, or have no capacitance by which one becomes the other.
        """
        if not self.current_unit:
            raise TypeError(
                f"{synapses} give a current, and {self.neuron} takes none from synapses: choose neurons that do, "
                "such as ConductanceLIF or AdEx, or name `current` in the equations of your own"
            )
        if unit == self.current_unit:
            return expression
        if not self.capacitance:
            raise TypeError(
                f"{synapses} give a current in pA, and {self.neuron} has no capacitance that would turn it into mV/ms: "
                "choose neurons that have one, such as ConductanceLIF or AdEx"
            )
        return f"{self.capacitance}*({expression})"


@dataclass(frozen=True, kw_only=True, eq=False)
class SynapseCode:
    """What every synapse does by itself, in Brian2's language; ``w`` is its weight.

    Parameters
    ----------
    equations : str
        Variables of a synapse but ``w``.
    before_pre, on_pre : str
        Statements where a spike of the source arrives, before and after it is transmitted.
    efficacy : str
        Factor of the transmitted weight; empty: 1.
    on_post : str
        Statements where the target fires.
    method : str
        Method of integration where equations are not event-driven.
    values : mapping of str to number
        Parameters that all synapses share, in SI units.
    units : mapping of str to str
        Brian2's units of these.
    start : mapping of str to number
        Values from which the variables start, in SI units.
    target : mapping of str to TimeCourse or number
        Variables without a dimension that the target group has for them, numbers or courses in time.
    changes_weights : bool
        Whether ``w`` changes while a network runs.
    """

    equations: str = ""
    before_pre: str = ""
    on_pre: str = ""
    efficacy: str = ""
    on_post: str = ""
    method: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    start: Mapping[str, Any] = field(default_factory=dict)
    target: Mapping[str, Any] = field(default_factory=dict)
    changes_weights: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class SynapseSteps:
    """Synapses of one kind onto a population, in steps of a simulation and in Brian2's language.

    Parameters
    ----------
    adds_to : str
        Variable of the target to which a spike adds; empty where `code` says what it does.
    unit : str
        Brian2's unit of that variable, and of the weights.
    declarations : str
        Of the variables that the synapses bring to the target.
    equations : str
        Differential equations of such variables, integrated with those of the neurons.
    current : str
        What the synapses add to the current of the neurons, in its unit; empty: nothing.
    values : mapping of str to number or ndarray
        Constants among these, one for all or one per neuron, in SI units.
    units : mapping of str to str
        Brian2's units of those constants that are not declared.
    start : mapping of str to float
        Values from which the others start, in SI units.
    updates : mapping of str to str
        The others after a step in which no spike arrives, in this order; spikes are added then.
    term : str
        Volts by which the synapses move the membrane potential in a step, from the variables at its start; empty: none.
    every_step : mapping of str to str
        Variables of the neurons to which the synapses add in every step, as arriving spikes do, and what they add.
    code : SynapseCode, optional
        What every synapse does by itself, where it is more than to add its weight.
    """

    adds_to: str
    unit: str
    declarations: str = ""
    equations: str = ""
    current: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    start: Mapping[str, float] = field(default_factory=dict)
    updates: Mapping[str, str] = field(default_factory=dict)
    term: str = ""
    every_step: Mapping[str, str] = field(default_factory=dict)
    code: SynapseCode | None = None


class ModeSteps(NamedTuple):
    """Filter of every mode of a projection, in steps of a simulation and in Brian2's language.

    Attributes
    ----------
    declarations : str
        Of the variables of a mode; ``activity`` is one that it has already, the projection of the spikes that arrive in
        a step.
    values : mapping of str to float
        Those that all modes share.
    start : mapping of str to float
        Values from which the others start.
    update : str
        Statements at the end of a step.
    output : str
        Variable that is projected onto the targets, as it is before the update of the step.
    adds_to, unit : str
        Variable of the targets to which the projection is added in every step, and its unit.
    """

    declarations: str
    values: Mapping[str, float]
    start: Mapping[str, float]
    update: str
    output: str
    adds_to: str
    unit: str


class SynapseModel(ABC):
    """Model of what a spike does at a synapse.

    A subclass is a frozen dataclass whose fields are its parameters. It is simulated by what `steps` returns, stored
    with its fields, and predicted where a theory is registered for its type.

    Attributes
    ----------
    UNIT : str
        Working unit of the weights; of the class, or a property.
    SHARED : bool
        Whether projections with equal synapses may share the variables that these bring to their target.
    FILTERED_IN_MODES : bool
        Whether weights that are factored into modes are simulated by a filter of each mode (`mode_steps`), so that the
        synapses bring nothing to their target.
    """

    UNIT: ClassVar[Unit] = "mV"
    SHARED: ClassVar[bool] = True
    FILTERED_IN_MODES: ClassVar[bool] = False

    @property
    def brings_variables(self) -> bool:
        """Whether the synapses bring variables of their own to their target."""
        return True

    @abstractmethod
    def spike(self, weight: Any) -> Any:
        """Return what a spike adds at a synapse of a weight (in the working unit), in SI units."""

    @abstractmethod
    def steps(self, target: Target, name: str, dt: float) -> SynapseSteps:
        """Return what the synapses are in steps of a simulation.

        Parameters
        ----------
        target : Target
            What the neurons of the target population offer.
        name : str
            Ending of the names of all variables that the synapses bring, so that several kinds can stand side by side.
        dt : float
            Time step, ms.
        """

    def mode_steps(self, target: Target, dt: float) -> ModeSteps:
        """Return the filter of each mode where weights are factored, as `FILTERED_IN_MODES` says.

        Parameters
        ----------
        target : Target
            What the neurons of the target population offer.
        dt : float
            Time step, ms.
        """
        raise NotImplementedError(f"{type(self).__name__} synapses have no filter of modes")


class PlasticityRule(ABC):
    """Rule by which synapses change while a network runs.

    A subclass is a frozen dataclass whose fields are its parameters. It works on synapses of any kind whose weight is
    a number of each.
    """

    def in_weight_unit(self, unit: Unit, name: str) -> Self:
        """Return the rule with weights that it states as quantities turned into numbers in a working unit."""
        return self

    @abstractmethod
    def code(self, unit: str, spike: Callable[[float], float]) -> SynapseCode:
        """Return what the rule does at every synapse.

        Parameters
        ----------
        unit : str
            Unit of the weights in Brian2's language.
        spike : callable
            Turns a weight in its working unit into SI units.
        """
