"""Synapse models: the contract between a spike and what it does to its target."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

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
    """

    neuron: str
    receives: Mapping[str, str]
    tau_m: Any = None


@dataclass(frozen=True, kw_only=True, eq=False)
class SynapseSteps:
    """Synapses of one kind onto a population, in steps of a simulation and in Brian2's language.

    Parameters
    ----------
    adds_to : str
        Variable of the target to which a spike adds.
    unit : str
        Brian2's unit of that variable.
    declarations : str
        Of the variables that the synapses bring to the target.
    values : mapping of str to number or ndarray
        Constants among these, one for all or one per neuron, in SI units.
    start : mapping of str to float
        Values from which the others start, in SI units.
    updates : mapping of str to str
        The others after a step in which no spike arrives, in this order; spikes are added then.
    term : str
        Volts by which the synapses move the membrane potential in a step, from the variables at its start; empty: none.
    """

    adds_to: str
    unit: str
    declarations: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)
    start: Mapping[str, float] = field(default_factory=dict)
    updates: Mapping[str, str] = field(default_factory=dict)
    term: str = ""


class SynapseModel(ABC):
    """Model of what a spike does at a synapse.

    A subclass is a frozen dataclass whose fields are its parameters. It is simulated by what `steps` returns, stored
    with its fields, and predicted where a theory is registered for its type.

    Attributes
    ----------
    UNIT : str
        Working unit of the weights.
    """

    UNIT: ClassVar[Unit] = "mV"

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
