"""Recurrent networks of spiking and of rate neurons, with weights factored into modes or as full matrices.

Modules hold parameters; what they compute stands in `steps`, and compiled in `fused`.

References
----------
Z. Lin, H. Huang (2024), Spiking mode-based neural networks, Phys. Rev. E 110, 024306 (arXiv 2310.14621).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from mnnbio.machine import check_choice, require_integer
from mnnbio.training.spiking.fused import fused_sequence
from mnnbio.training.spiking.recurrent_weights import (
    FullWeights,
    ModeWeights,
    Recurrent,
    finite_tensor,
    random_weights,
)
from mnnbio.training.spiking.steps import (
    LEARNABLE,
    SLOPE,
    Constants,
    Course,
    SequenceOptions,
    SpikeFilter,
    SpikingNeuron,
    rate_step,
    sequence,
    step_constants,
)
from mnnbio.units import in_unit, real_number, require, shown

Readout = Literal["trace", "maximum"]
READOUTS = ("trace", "maximum")


class Activity(NamedTuple):
    """Course of a spiking network; T time steps of B trials.

    Attributes
    ----------
    spikes : Tensor, shape (T, B, N)
        0 or 1.
    voltages : Tensor, shape (T, B, N)
        Membrane potentials, mV.
    filtered : Tensor, shape (T, B, N)
        Filtered spikes, which neurons and readout receive.
    outputs : Tensor, shape (T, B, n_out) or (B, n_out)
        What `forward` returns.
    """

    spikes: Tensor
    voltages: Tensor
    filtered: Tensor
    outputs: Tensor


class RateActivity(NamedTuple):
    """Course of a rate network; T time steps of B trials.

    Attributes
    ----------
    voltages : Tensor, shape (T, B, N)
        Potentials U.
    filtered : Tensor, shape (T, B, N)
        ``tanh(U)``, which neurons receive.
    outputs : Tensor, shape (T, B, n_out) or (B, n_out)
        What `forward` returns.
    """

    voltages: Tensor
    filtered: Tensor
    outputs: Tensor


class _Recurrence(nn.Module):
    """Weights that spiking and rate networks have, and what they check."""

    def __init__(self, weight_in: Any, recurrent: Recurrent, weight_out: Any, dt: Any, readout: Readout) -> None:
        super().__init__()
        if not isinstance(recurrent, ModeWeights | FullWeights):
            raise TypeError(f"`recurrent` must be ModeWeights or FullWeights, got {shown(recurrent)}")
        check_choice("readout", readout, READOUTS)
        self.dt, self.readout = _time_step(dt), readout
        self.weight_in = nn.Parameter(finite_tensor(weight_in, "weight_in"))
        self.recurrent = recurrent
        self.weight_out = nn.Parameter(finite_tensor(weight_out, "weight_out"))
        size = recurrent.size
        if self.weight_in.ndim != 2 or len(self.weight_in) != size:
            raise ValueError(
                f"`weight_in` must have the shape (N, n_in) with N = {size} neurons as the recurrent weights have, "
                f"got {tuple(self.weight_in.shape)}"
            )
        if self.weight_out.ndim != 2 or self.weight_out.shape[1] != size:
            raise ValueError(
                f"`weight_out` must have the shape (n_out, N) with N = {size} neurons as the recurrent weights have, "
                f"got {tuple(self.weight_out.shape)}"
            )

    @property
    def size(self) -> int:
        """Number of neurons N."""
        return self.recurrent.size

    def _checked(self, inputs: Tensor) -> Tensor:
        width = self.weight_in.shape[1]
        if not isinstance(inputs, Tensor):
            raise TypeError(f"`inputs` must be a tensor of shape (T, B, {width}), got {shown(inputs)}")
        if inputs.ndim != 3 or inputs.shape[2] != width or 0 in inputs.shape[:2]:
            raise ValueError(
                f"`inputs` must have the shape (T, B, {width}): steps, trials and the inputs that `weight_in` has, "
                f"got {tuple(inputs.shape)}"
            )
        inputs = inputs.to(self.weight_in.dtype)
        if not torch.isfinite(inputs).all():
            step = int(torch.isfinite(inputs).flatten(1).all(1).logical_not().nonzero()[0, 0])
            raise ValueError(f"`inputs` must be finite, got NaN or infinity in step {step}")
        return inputs

    def _read(self, filtered: Tensor) -> Tensor:
        """Return the outputs of what is read in every step, shape (T, B, N)."""
        return read_out(filtered, self.weight_out, self.readout)


def read_out(filtered: Tensor, weight_out: Tensor, readout: Readout) -> Tensor:
    """Return ``W_out r_t`` of every step (T, B, n_out), or ``W_out max_t r_t`` (B, n_out), of r of shape (T, B, N)."""
    if readout == "maximum":
        filtered = filtered.max(dim=0).values
    return filtered @ weight_out.T


class SpikingNetwork(_Recurrence):
    """Recurrent spiking network with linear readout of filtered spikes.

    Parameters
    ----------
    weight_in : array_like or Tensor, shape (N, n_in)
        mV.
    recurrent : ModeWeights or FullWeights
    weight_out : array_like or Tensor, shape (n_out, N)
    neuron : SpikingNeuron
    filter : SpikeFilter
    dt : float or Quantity
        Time step, ms.
    readout : {"trace", "maximum"}
        ``W_out r_t`` in every step, or ``W_out max_t r_t``.
    learn : iterable of str
        Constants that are learned, one value per neuron: of "tau_m", "tau_syn", "tau_decay", "tau_rise", "v_th". Their
        logarithms are the parameters, which keeps them positive.
    slope : float
        Of the surrogate gradient, 1/mV.
    truncate : int, optional
        Gradients do not reach back beyond multiples of so many steps; by default they reach the first step.
    checkpoint_every : int, optional
        Steps of a segment: states are kept at the beginnings of segments, everything else is computed again for the
        gradients. By default segments are so short that the processor's cache holds them, but at most 16.

    Attributes
    ----------
    neuron, filter : SpikingNeuron, SpikeFilter
        With the values that are learned, as they stand.

    Raises
    ------
    ValueError
        If shapes contradict each other, or a value is out of its range.
    """

    def __init__(
        self,
        weight_in: Any,
        recurrent: Recurrent,
        weight_out: Any,
        *,
        neuron: SpikingNeuron | None = None,
        filter: SpikeFilter | None = None,
        dt: Any = 2.0,
        readout: Readout = "trace",
        learn: Iterable[str] = (),
        slope: float = SLOPE,
        truncate: int | None = None,
        checkpoint_every: int | None = None,
    ) -> None:
        super().__init__(weight_in, recurrent, weight_out, dt, readout)
        self._neuron, self._filter = neuron or SpikingNeuron(), filter or SpikeFilter()
        self.slope = real_number(slope, "slope")
        require(self.slope > 0, "slope", "> 0 1/mV", self.slope)
        for name, value in {"truncate": truncate, "checkpoint_every": checkpoint_every}.items():
            if value is not None:
                require_integer(name, value, 1)
        self.truncate, self.checkpoint_every = truncate, checkpoint_every
        step_constants(self._neuron, self._filter, self.dt)
        self.logarithms = nn.ParameterDict()
        for name in [learn] if isinstance(learn, str) else learn:
            check_choice("learn", name, LEARNABLE)
            if name == "tau_rise" and self._filter.kind == "single":
                raise ValueError("a single filter has no `tau_rise` to learn: use SpikeFilter(kind='double')")
            start = np.broadcast_to(getattr(self._owner(name), name), self.size)
            self.logarithms[name] = nn.Parameter(torch.as_tensor(np.log(start)).to(self.weight_in))
        for owner in (self._neuron, self._filter):
            for name, value in vars(owner).items():
                if isinstance(value, np.ndarray) and len(value) != self.size:
                    raise ValueError(f"`{name}` has {len(value)} values, the network {self.size} neurons")

    @classmethod
    def random(
        cls,
        n_inputs: int,
        neurons: int,
        n_outputs: int,
        *,
        modes: int | None,
        seed: int | torch.Generator = 0,
        constraints: dict[str, Any] | None = None,
        **options: Any,
    ) -> SpikingNetwork:
        """Return a network of normal weights of the published sizes, before it is trained.

        Parameters
        ----------
        n_inputs, neurons, n_outputs : int
        modes : int or None
            Number of modes; None for a full matrix.
        seed : int or torch.Generator
        constraints : dict, optional
            Masks and signs for `ModeWeights` or `FullWeights`.
        options
            As for the class.
        """
        return cls(*random_weights(n_inputs, neurons, n_outputs, modes, seed, constraints), **options)

    def _owner(self, name: str) -> SpikingNeuron | SpikeFilter:
        return self._filter if hasattr(self._filter, name) else self._neuron

    def _learned(self, owner: SpikingNeuron | SpikeFilter) -> dict[str, Any]:
        learned = {name: log for name, log in self.logarithms.items() if hasattr(owner, name)}
        return {name: np.exp(log.detach().double().cpu().numpy()) for name, log in learned.items()}

    @property
    def neuron(self) -> SpikingNeuron:
        """Parameters of the neurons, those learned as they stand."""
        return replace(self._neuron, **self._learned(self._neuron))

    @property
    def filter(self) -> SpikeFilter:
        """Parameters of the filter, those learned as they stand."""
        return replace(self._filter, **self._learned(self._filter))

    def constants(self) -> Constants:
        """Return the constants of a step; gradients reach what is learned."""
        weight = self.weight_in
        learned = {name: log.exp() for name, log in self.logarithms.items()}
        return step_constants(
            self._neuron, self._filter, self.dt, learned=learned, dtype=weight.dtype, device=weight.device
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the outputs, shape (T, B, n_out) or, where the maximum is read, (B, n_out).

        Parameters
        ----------
        inputs : Tensor, shape (T, B, n_in)
            T steps of B trials.

        Raises
        ------
        TypeError, ValueError
            If they have another shape, or are not finite.
        """
        return self._course(inputs, record=False).outputs

    def run(self, inputs: Tensor) -> Activity:
        """Return the course of all neurons; see `forward`. Gradients flow through all parts of it."""
        course = self._course(inputs, record=True)
        assert course.spikes is not None
        assert course.voltages is not None
        assert course.filtered is not None
        return Activity(course.spikes, course.voltages, course.filtered, course.outputs)

    def _course(self, inputs: Tensor, *, record: bool) -> Course:
        neuron = self._neuron
        options = SequenceOptions(
            reset=neuron.reset,
            slope=self.slope,
            readout=self.readout,
            truncate=self.truncate,
            checkpoint_every=self.checkpoint_every,
            clock=(self.dt / 1000, neuron.t_ref / 1000) if neuron.clock == "single" else None,
            record=record,
        )
        given = self._checked(inputs), self.weight_in, self.recurrent.factors(), self.weight_out, self.constants()
        return fused_sequence(*given, options) or sequence(*given, options)


class RateNetwork(_Recurrence):
    """Recurrent network of rate neurons, ``U ← l U + (1 - l)(W_in x + W tanh(U))``: the baseline of spiking networks.

    Parameters
    ----------
    weight_in, recurrent, weight_out, dt, readout
        As for `SpikingNetwork`.
    tau_m : float or Quantity
        Time constant, ms.
    reads : {"rates", "potentials"}
        Whether ``tanh(U)`` or U is read out.

    Raises
    ------
    ValueError
        If shapes contradict each other, or a value is out of its range.
    """

    def __init__(
        self,
        weight_in: Any,
        recurrent: Recurrent,
        weight_out: Any,
        *,
        tau_m: Any = 20.0,
        dt: Any = 2.0,
        readout: Readout = "trace",
        reads: Literal["rates", "potentials"] = "rates",
    ) -> None:
        super().__init__(weight_in, recurrent, weight_out, dt, readout)
        check_choice("reads", reads, ["rates", "potentials"])
        self.tau_m, self.reads = float(in_unit(tau_m, "ms", "tau_m")), reads
        require(self.tau_m > 0, "tau_m", "> 0 ms", self.tau_m)

    @classmethod
    def random(
        cls,
        n_inputs: int,
        neurons: int,
        n_outputs: int,
        *,
        modes: int | None,
        seed: int | torch.Generator = 0,
        constraints: dict[str, Any] | None = None,
        **options: Any,
    ) -> RateNetwork:
        """Return a network of normal weights; see `SpikingNetwork.random`."""
        return cls(*random_weights(n_inputs, neurons, n_outputs, modes, seed, constraints), **options)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the outputs; see `SpikingNetwork.forward`."""
        return self.run(inputs).outputs

    def run(self, inputs: Tensor) -> RateActivity:
        """Return the course of all neurons; see `SpikingNetwork.forward`."""
        inputs = self._checked(inputs)
        currents = inputs @ self.weight_in.T
        keep = currents.new_tensor(math.exp(-self.dt / self.tau_m))
        potential = currents.new_zeros(currents.shape[1:])
        potentials = []
        for current in currents:
            potential = rate_step(current + self.recurrent(torch.tanh(potential)), potential, keep)
            potentials.append(potential)
        voltages = torch.stack(potentials)
        rates = torch.tanh(voltages)
        return RateActivity(voltages, rates, self._read(rates if self.reads == "rates" else voltages))


def _time_step(dt: Any) -> float:
    step = in_unit(dt, "ms", "dt")
    if not isinstance(step, float):
        raise ValueError(f"`dt` must be one number in ms, got {shown(dt)}")
    require(step > 0, "dt", "> 0 ms", step)
    return step
