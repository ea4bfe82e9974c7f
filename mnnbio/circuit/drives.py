"""Drives: input that comes into every neuron of a population from outside the circuit.

A drive says what it is twice: as `InputCumulants`, which the theory reads, and as `InputSteps`, which a simulation
takes in every time step. Both are plain numbers; a drive of a user's own is a frozen dataclass with the two methods.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import numpy as np

from mnnbio.circuit.part_values import Array, frozen, highest_value, input_value, single_number, synaptic_time
from mnnbio.synapses import Delta, Exponential, SynapseModel
from mnnbio.units import in_unit
from mnnbio.values import STORED_IF_GIVEN, Samples

_MOST_JUMPS = 100.0  # mean number a step; more make their inversion slow


class JumpTrain(NamedTuple):
    """A Poisson train of jumps of its own into every neuron.

    Attributes
    ----------
    weight : float
        Charge of one jump, mV.
    rate : ndarray or TimeCourse, shape (), (n,) or (stimulus, n)
        Jumps per ms.
    tau_syn : float
        Time constant of the synapses, ms; 0 for jumps of the membrane potential.
    synapse : SynapseModel, optional
        Other synapses, whose unit the weight then has.
    """

    weight: float
    rate: Any
    tau_syn: float = 0.0
    synapse: SynapseModel | None = None

    @property
    def synapse_model(self) -> SynapseModel:
        """The model of the synapses."""
        if self.synapse is not None:
            return self.synapse
        return Exponential(self.tau_syn) if self.tau_syn > 0 else Delta()


class InputCumulants(NamedTuple):
    """Cumulants per time of the input of a drive; arrays of shape (), (n,) or (stimulus, n).

    Attributes
    ----------
    mean : ndarray
        Of the continuous current, mV/ms; jumps add to it.
    variance : ndarray
        Of the Gaussian white noise that every neuron has of its own, mV²/ms; jumps add to it.
    loadings : ndarray, shape (n, k) or (stimulus, n, k), optional
        Of independent noise sources that the neurons share, mV/√ms.
    jumps : tuple of JumpTrain
    current : ndarray
        Current that divides by the capacitance of the neurons, pA.
    """

    mean: Array | float = 0.0
    variance: Array | float = 0.0
    loadings: Array | None = None
    jumps: tuple[JumpTrain, ...] = ()
    current: Array | float = 0.0


class StepCode(NamedTuple):
    """Input in Brian2's language: what is added to the membrane potential in every step.

    Attributes
    ----------
    expression : str
        Volts a step, such as ``"size*(arrivals > 0)"``.
    values : mapping of str to ndarray or TimeCourse
        Variables of the expression, in SI units, of shape (), (n,) or (stimulus, n).
    units : mapping of str to str
        Brian2's units of these, such as ``{"size": "volt"}``; those that are missing have none.
    normal : tuple of str
        Variables that hold standard normal numbers, new ones in every step.
    poisson : mapping of str to ndarray or TimeCourse
        Variables that hold Poisson numbers, new ones in every step, with their means.
    """

    expression: str
    values: Mapping[str, Any] = {}
    units: Mapping[str, str] = {}
    normal: tuple[str, ...] = ()
    poisson: Mapping[str, Any] = {}


class Channels(NamedTuple):
    """Inputs that neurons sum up through weights in every step.

    Attributes
    ----------
    variable : str
        Variable of the neurons to which the sums are added, in mV.
    weights : ndarray, shape (n, channel)
        mV for an input of 1 in a step.
    inputs : ndarray or TimeCourse, shape (channel,) or (stimulus, channel)
    """

    variable: str
    weights: Array
    inputs: Any


class InputSteps(NamedTuple):
    """Input that a drive gives in every time step of a simulation; numbers may be courses in time.

    Attributes
    ----------
    mean : ndarray or TimeCourse, optional
        Current, mV/ms, held over the step.
    std : ndarray or TimeCourse, optional
        Standard deviation of white noise that every neuron has of its own, mV/√ms.
    loadings : ndarray, optional
        Of independent noise sources that the neurons share, mV/√ms.
    jumps : tuple of JumpTrain
        A Poisson number of jumps a step.
    code : tuple of StepCode
        Whatever else is added.
    current : ndarray or TimeCourse, optional
        Current that divides by the capacitance of the neurons, pA, held over the step.
    channels : tuple of Channels
        What is summed up through weights.
    """

    mean: Any = None
    std: Any = None
    loadings: Array | None = None
    jumps: tuple[JumpTrain, ...] = ()
    code: tuple[StepCode, ...] = ()
    current: Any = None
    channels: tuple[Channels, ...] = ()


@dataclass(frozen=True, eq=False)
class Drive(ABC):
    """Input from outside into every neuron of a population.

    A subclass is a frozen dataclass. It works in `simulate` by `steps`, in `predict` by `cumulants`, and is stored with
    its fields.

    Parameters
    ----------
    target : str
        Name of the population.

    Attributes
    ----------
    INPUTS : mapping of str to int
        Fields that may differ between stimuli or change in time, and how many axes each has without that of stimuli: 1
        for values of neurons.
    """

    target: str

    INPUTS: ClassVar[Mapping[str, int]] = {}

    @abstractmethod
    def cumulants(self, dt: float | None) -> InputCumulants:
        """Return the cumulants of the input, as the theory takes it.

        Parameters
        ----------
        dt : float, optional
            Time step of the simulation to be predicted, ms; None for continuous time.
        """

    @abstractmethod
    def steps(self, dt: float) -> InputSteps:
        """Return the input in steps of `dt`, ms."""

    def check_time_step(self, dt: float) -> None:
        """Raise a `ValueError` if the drive brings more than 100 jumps in a step of `dt`, ms."""
        for train in self.steps(dt).jumps:
            expected = highest_value(train.rate) * dt
            if (expected > _MOST_JUMPS).any():
                raise ValueError(
                    f"{self} must give at most {_MOST_JUMPS:g} spikes a step, got {expected.max():g} in {dt:g} ms. "
                    f"Try dt = {dt * _MOST_JUMPS / expected.max():.2g} ms or less, or a GaussianDrive"
                )

    def check_size(self, size: int) -> None:
        """Raise a `ValueError` if the inputs do not suit a population of that size."""
        for name, axes in self.given_inputs().items():
            value = getattr(self, name)
            if not np.shape(value):
                continue
            if len(value.shape) not in (axes, axes + 1) or value.shape[-axes] != size:
                shape = "(n, k) or (stimulus, n, k)" if axes == 2 else "(n,) or (stimulus, n)"
                raise ValueError(f"{name} of {self} must have shape {shape} with n = {size}, got {value.shape}")

    def given_inputs(self) -> Mapping[str, int]:
        """Return those of `INPUTS` that are given."""
        return {name: axes for name, axes in self.INPUTS.items() if getattr(self, name) is not None}

    def __str__(self) -> str:
        return f"{type(self).__name__} of {self.target!r}"


@dataclass(frozen=True, eq=False)
class GaussianDrive(Drive):
    """Gaussian white-noise current into every neuron of a population.

    Parameters
    ----------
    target : str
        Name of the population.
    mean : array_like, Quantity or TimeCourse
        Mean, mV/ms: a number, (n,) or (stimulus, n), or a course in time of such values.
    std : array_like, Quantity or TimeCourse
        Standard deviation of the noise that is independent between neurons, mV/√ms; as for `mean`.
    factor : array_like or Quantity, optional
        Loadings of noise sources shared by the neurons, mV/√ms: (n, k) or (stimulus, n, k); they add
        ``factor @ factorᵀ`` to the covariance of the currents.
    """

    mean: Any = 0.0
    std: Any = 0.0
    factor: Any = None

    INPUTS: ClassVar[Mapping[str, int]] = {"mean": 1, "std": 1, "factor": 2}

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", input_value(self.mean, "mV/ms", f"mean of {self}"))
        object.__setattr__(self, "std", input_value(self.std, "mV/sqrt(ms)", f"std of {self}", least=0.0))
        if self.factor is not None:
            object.__setattr__(self, "factor", frozen(in_unit(self.factor, "mV/sqrt(ms)", f"factor of {self}")))

    def cumulants(self, dt: float | None) -> InputCumulants:
        """Return mean, variance and loadings."""
        return InputCumulants(self.mean, self.std**2, self.factor)

    def steps(self, dt: float) -> InputSteps:
        """Return mean, standard deviation and loadings."""
        return InputSteps(self.mean, self.std, self.factor)

    def __str__(self) -> str:
        return f"Gaussian drive of {self.target!r}"


@dataclass(frozen=True, eq=False)
class PoissonDrive(Drive):
    """Poisson input of its own for every neuron of a population.

    Parameters
    ----------
    target : str
        Name of the population.
    rate : array_like, Quantity or TimeCourse
        Rate of the input, spikes/ms: a number, (n,) or (stimulus, n), or a course in time of such values; ≥ 0.
    weight : float or Quantity
        Charge of one input spike as a change of the membrane potential, mV: the jump at a delta synapse; with `synapse`
        in the working unit of its weights.
    tau_syn : float or Quantity
        Synaptic time constant, ms; 0 for delta synapses. As in `Projection`.
    synapse : SynapseModel, optional
        Another model of the synapses, such as `Conductance`. As in `Projection`.
    """

    rate: Any
    weight: Any
    tau_syn: Any = 0.0
    synapse: SynapseModel | None = field(default=None, metadata=STORED_IF_GIVEN)

    INPUTS: ClassVar[Mapping[str, int]] = {"rate": 1}

    def __post_init__(self) -> None:
        object.__setattr__(self, "rate", input_value(self.rate, "1/ms", f"rate of {self}", least=0.0))
        object.__setattr__(self, "tau_syn", synaptic_time(self.tau_syn, str(self)))
        if self.synapse is not None and not isinstance(self.synapse, SynapseModel):
            raise TypeError(
                f"`synapse` of {self} must be a SynapseModel such as Exponential(5.0), got {self.synapse!r}"
            )
        if self.synapse is not None and self.tau_syn > 0:
            raise ValueError(f"give either `tau_syn` or `synapse` of {self}, got both")
        unit = "mV" if self.synapse is None else self.synapse.UNIT
        object.__setattr__(self, "weight", single_number(self.weight, unit, f"weight of {self}"))

    def cumulants(self, dt: float | None) -> InputCumulants:
        """Return the jumps: any number of them may arrive in a step."""
        return InputCumulants(jumps=self.steps(1.0).jumps)

    def steps(self, dt: float) -> InputSteps:
        """Return the jumps."""
        return InputSteps(jumps=(JumpTrain(self.weight, self.rate, self.tau_syn, self.synapse),))

    def __str__(self) -> str:
        return f"Poisson drive of {self.target!r}"


@dataclass(frozen=True, eq=False)
class CurrentDrive(Drive):
    """Current in pA into every neuron of a population; the neurons must have a capacitance.

    Parameters
    ----------
    target : str
        Name of the population.
    current : array_like, Quantity or TimeCourse
        Current, pA: a number, (n,) or (stimulus, n), or a course in time of such values.
    """

    current: Any

    INPUTS: ClassVar[Mapping[str, int]] = {"current": 1}

    def __post_init__(self) -> None:
        object.__setattr__(self, "current", input_value(self.current, "pA", f"current of {self}"))

    def cumulants(self, dt: float | None) -> InputCumulants:
        """Return the current."""
        return InputCumulants(current=self.current)

    def steps(self, dt: float) -> InputSteps:
        """Return the current."""
        return InputSteps(current=self.current)

    def __str__(self) -> str:
        return f"current drive of {self.target!r}"


@dataclass(frozen=True, eq=False)
class ChannelDrive(Drive):
    """Inputs that are given in every step, the same in every trial, and reach every neuron through weights.

    In each step ``weights @ inputs`` is added to a variable of the neurons, as spikes that arrive are. A few channels
    drive many neurons at a cost of one product for each neuron and channel.

    Parameters
    ----------
    target : str
        Name of the population.
    weights : array_like or Quantity, shape (n, channel)
        What an input of 1 adds in a step, mV.
    inputs : array_like or TimeCourse, shape (channel,) or (stimulus, channel)
        Inputs, without a unit: constant ones, or a course in time, such as ``Samples(x, dt)`` with x of shape
        (step, [stimulus,] channel) and the time step of the simulation.
    variable : str
        Variable to which they add, one that the neurons receive in mV.
    """

    weights: Any
    inputs: Any
    variable: str = "I"

    INPUTS: ClassVar[Mapping[str, int]] = {"inputs": 1}

    def __post_init__(self) -> None:
        weights = frozen(in_unit(self.weights, "mV", f"weights of {self}"))
        if weights.ndim != 2:
            raise ValueError(f"weights of {self} must have shape (n, channel), got {weights.shape}")
        inputs = input_value(self.inputs, "1", f"inputs of {self}")
        if len(inputs.shape) not in (1, 2) or inputs.shape[-1] != weights.shape[1]:
            raise ValueError(
                f"inputs of {self} must have shape (channel,) or (stimulus, channel) with as many channels as `weights`"
                f", {weights.shape[1]}, got {inputs.shape}"
            )
        object.__setattr__(self, "weights", weights)
        object.__setattr__(self, "inputs", inputs)

    def check_size(self, size: int) -> None:
        """Raise a `ValueError` if the weights are not those of as many neurons."""
        if len(self.weights) != size:
            raise ValueError(
                f"weights of {self} must have shape (n, channel) with n = {size}, got {self.weights.shape}"
            )

    def check_time_step(self, dt: float) -> None:
        """Raise a `ValueError` if inputs that every step brings are samples of other steps."""
        if isinstance(self.inputs, Samples) and not np.isclose(self.inputs.dt, dt, rtol=1e-9):
            raise ValueError(
                f"inputs of {self} are given for steps of {self.inputs.dt:g} ms and add in every step: simulate with "
                f"dt = {self.inputs.dt:g} ms, got {dt:g}"
            )

    def cumulants(self, dt: float | None) -> InputCumulants:
        """Raise `NotImplementedError`: what adds to a variable in steps of unknown length has no mean per time."""
        raise NotImplementedError

    def steps(self, dt: float) -> InputSteps:
        """Return the channels."""
        return InputSteps(channels=(Channels(self.variable, self.weights, self.inputs),))

    def __str__(self) -> str:
        return f"channel drive of {self.target!r}"
