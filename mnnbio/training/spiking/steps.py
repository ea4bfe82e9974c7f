"""One time step of spiking and of rate neurons, as pure functions of tensors that PyTorch differentiates.

The order within a step is that of the published networks: current, membrane, filter, spike. The filter takes the
spikes of the step before, so recurrent input in step i comes from spikes up to step i − 2. `fused` does the same steps
compiled; this is what it is checked against, and what runs where there is no compiler.

References
----------
Z. Lin, H. Huang (2024), Spiking mode-based neural networks, Phys. Rev. E 110, 024306 (arXiv 2310.14621), eq. 1 to 4, in
the order of its published code. F. Zenke, S. Ganguli (2018), SuperSpike, Neural Computation 30 (the surrogate).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from mnnbio.machine import check_choice
from mnnbio.units import count_steps, in_unit, require, shown

SLOPE = 25.0  # 1/mV, of the surrogate gradient


@dataclass(frozen=True, kw_only=True, eq=False)
class SpikingNeuron:
    """Parameters of current-based leaky integrate-and-fire neurons in discrete time.

    In a step the current I decays by ``exp(-dt/tau_syn)`` and takes what arrives; then
    ``v ← (l v + (1 - l) I) · (1 - s)`` with ``l = exp(-dt/tau_m)`` and s = 1 where the neuron has fired in the step
    before: the reset takes effect one step late, and gradients flow through it. v is 0 in the ``t_ref/dt`` steps after
    a spike; there is a spike where v exceeds `v_th`.

    Parameters
    ----------
    tau_m, tau_syn : float, array_like or Quantity
        Time constants of the membrane and of the synaptic current, ms; > 0.
    v_th : float, array_like or Quantity
        Threshold, mV; > 0.
    v_reset : float, array_like or Quantity
        Reset potential, mV, below `v_th`; 0 where the reset is late.
    t_ref : float, array_like or Quantity
        Refractory period, ms, whole steps; ≥ 0.
    reset : {"late", "at once"}
        "late" as above; "at once": v decays from `v_reset` in the step after a spike.
    clock : {"steps", "single"}
        How the end of the refractory period is told. "steps": `t_ref/dt` silent steps, which is 5 for 10 ms of 2 ms
        steps. "single": times of spikes are kept and compared in single precision as the published code does, by whose
        rounding it is sometimes 5 steps and sometimes 4; with one `t_ref` for all neurons. Its published parameters
        give the published values only so.

    Raises
    ------
    ValueError
        If a value is out of its range.
    """

    tau_m: Any = 20.0
    tau_syn: Any = 10.0
    v_th: Any = 1.0
    v_reset: Any = 0.0
    t_ref: Any = 10.0
    reset: Literal["late", "at once"] = "late"
    clock: Literal["steps", "single"] = "steps"

    def __post_init__(self) -> None:
        units: dict[str, Any] = {"tau_m": "ms", "tau_syn": "ms", "v_th": "mV", "v_reset": "mV", "t_ref": "ms"}
        for name, unit in units.items():
            object.__setattr__(self, name, _per_neuron(getattr(self, name), unit, name))
        for name in ("tau_m", "tau_syn", "v_th"):
            require(np.asarray(getattr(self, name)) > 0, name, f"> 0 {units[name]}", getattr(self, name))
        require(np.asarray(self.t_ref) >= 0, "t_ref", "≥ 0 ms", self.t_ref)
        require(np.less(self.v_reset, self.v_th), "v_reset", "below `v_th`", self.v_reset)
        check_choice("reset", self.reset, ["late", "at once"])
        check_choice("clock", self.clock, ["steps", "single"])
        if self.clock == "single" and not isinstance(self.t_ref, float):
            raise ValueError(f"`t_ref` must be one number where `clock` is 'single', got {shown(self.t_ref)}")
        if self.reset == "late":
            require(np.equal(self.v_reset, 0), "v_reset", "0 mV where the reset is late", self.v_reset)


@dataclass(frozen=True, kw_only=True, eq=False)
class SpikeFilter:
    """Exponential filter through which spikes act on neurons and readout.

    With s the spikes of the step before and ``l = exp(-dt/tau)`` of either time constant:

    - single: ``r ← l_decay r + (dt/tau_decay) s``
    - double, in steps: ``h ← l_rise h + s``, ``r ← l_decay r + (1 - l_decay) h`` (published for contextual integration)
    - double, in rates: ``h ← l_rise h + dt/(tau_decay tau_rise) s``, ``r ← l_decay r + dt h`` (published for digits)

    Parameters
    ----------
    kind : {"double", "single"}
    tau_decay, tau_rise : float, array_like or Quantity
        Time constants, ms; > 0. A single filter has no rise.
    scale : {"steps", "rates"}
        The size of a double filter.

    Raises
    ------
    ValueError
        If a value is out of its range.
    """

    kind: Literal["double", "single"] = "double"
    tau_decay: Any = 30.0
    tau_rise: Any = 2.0
    scale: Literal["steps", "rates"] = "steps"

    def __post_init__(self) -> None:
        for name in ("tau_decay", "tau_rise"):
            value = _per_neuron(getattr(self, name), "ms", name)
            require(np.asarray(value) > 0, name, "> 0 ms", value)
            object.__setattr__(self, name, value)
        check_choice("kind", self.kind, ["double", "single"])
        check_choice("scale", self.scale, ["steps", "rates"])


def _per_neuron(value: Any, unit: Any, name: str) -> Any:
    """Return a number, or one value per neuron that cannot be written to."""
    number = in_unit(value, unit, name)
    if isinstance(number, np.ndarray):
        if number.ndim != 1:
            raise ValueError(f"`{name}` must be a number or one value per neuron, got an array of shape {number.shape}")
        number.setflags(write=False)
    return number


class Constants(NamedTuple):
    """What a step multiplies with; each a number or one value per neuron, as tensors.

    Attributes
    ----------
    keep, fade : Tensor
        Decay of membrane and current in a step.
    rise, fall : Tensor
        Decay of the two stages of the filter in a step; `rise` is 0 for a single filter.
    jump, gain : Tensor
        What a spike adds to the first stage, and the first stage to the second.
    v_th, v_reset : Tensor
        mV.
    hold : Tensor
        Silent steps after a spike.
    """

    keep: Tensor
    fade: Tensor
    rise: Tensor
    fall: Tensor
    jump: Tensor
    gain: Tensor
    v_th: Tensor
    v_reset: Tensor
    hold: Tensor


LEARNABLE = ("tau_m", "tau_syn", "tau_decay", "tau_rise", "v_th")


def step_constants(
    neuron: SpikingNeuron,
    filter: SpikeFilter,
    dt: float,
    *,
    learned: dict[str, Tensor] | None = None,
    dtype: torch.dtype | None = None,
    device: torch.device | None = None,
) -> Constants:
    """Return the constants of a step.

    Parameters
    ----------
    neuron, filter : SpikingNeuron, SpikeFilter
    dt : float
        Time step, ms.
    learned : dict of str to Tensor, optional
        Values that take the place of those of `neuron` and `filter` and that gradients reach: names of `LEARNABLE`.
    dtype, device
        Of the results.

    Raises
    ------
    ValueError
        If the refractory period is not a whole number of steps.
    """
    learned = learned or {}

    def value(owner: Any, name: str) -> Tensor:
        # In double precision up to here, so that a constant does not depend on the precision of the network.
        if name in learned:
            return learned[name].double()
        return torch.as_tensor(np.array(getattr(owner, name)), dtype=torch.float64, device=device)

    tau_decay, tau_rise = value(filter, "tau_decay"), value(filter, "tau_rise")
    fall, rise = torch.exp(-dt / tau_decay), torch.exp(-dt / tau_rise)
    if filter.kind == "single":
        rise, jump, gain = torch.zeros_like(rise), torch.ones_like(rise), dt / tau_decay
    elif filter.scale == "steps":
        jump, gain = torch.ones_like(rise), 1 - fall
    else:
        jump, gain = dt / (tau_decay * tau_rise), torch.full_like(rise, dt)
    hold = torch.as_tensor(count_steps(neuron.t_ref, dt, "t_ref"), device=device)
    found = Constants(
        keep=torch.exp(-dt / value(neuron, "tau_m")),
        fade=torch.exp(-dt / value(neuron, "tau_syn")),
        rise=rise,
        fall=fall,
        jump=jump,
        gain=gain,
        v_th=value(neuron, "v_th"),
        v_reset=value(neuron, "v_reset"),
        hold=hold,
    )
    return Constants(*(tensor.to(dtype or torch.get_default_dtype()) for tensor in found))


class State(NamedTuple):
    """State of spiking neurons at the end of a step; all of shape (batch, neurons).

    Attributes
    ----------
    current : Tensor
        Synaptic current I, mV.
    voltage : Tensor
        Membrane potential v, mV, before a reset at once.
    onset, filtered : Tensor
        The two stages h and r of the filter.
    spikes : Tensor
        0 or 1.
    silent : Tensor
        Refractory steps that are left; by the clock in single precision, the time of the last spike, s.
    """

    current: Tensor
    voltage: Tensor
    onset: Tensor
    filtered: Tensor
    spikes: Tensor
    silent: Tensor

    @classmethod
    def rest(cls, batch: int, neurons: int, like: Tensor, *, clock: bool = False) -> State:
        """Return the state before the first step: zeros, and by the clock in single precision a spike before 1 s."""
        zeros = [like.new_zeros(batch, neurons) for _ in cls._fields[:-1]]
        return cls._make([*zeros, like.new_full((batch, neurons), -1.0 if clock else 0.0)])

    def detach(self) -> State:
        """Return the same state, from which no gradient flows back."""
        return State(*(tensor.detach() for tensor in self))


class _FastSigmoid(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, distance: Tensor, slope: float) -> Tensor:
        ctx.save_for_backward(distance)
        ctx.slope = slope
        return (distance > 0).to(distance.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (distance,) = ctx.saved_tensors
        return grads[0] / (1 + ctx.slope * distance.abs()).square(), None


def spike(distance: Tensor, slope: float = SLOPE) -> Tensor:
    """Return 1 where the distance above threshold (mV) is > 0, else 0, differentiated as a fast sigmoid.

    The derivative is taken to be ``1/(1 + slope |distance|)²``, `slope` in 1/mV.
    """
    return _FastSigmoid.apply(distance, slope)


class Clock(NamedTuple):
    """Time as the published code has it, in double precision until it meets times of spikes.

    Attributes
    ----------
    now, t_ref : float
        Time of the step and refractory period, s.
    """

    now: float
    t_ref: float

    def free(self, last: Tensor) -> Tensor:
        """Return whether neurons may fire whose last spike was at `last`, s."""
        return self.now > last.float() + self.t_ref

    def spiked(self, last: Tensor, spikes: Tensor) -> Tensor:
        """Return the times of the last spikes after this step."""
        single = last.float()
        return torch.where(spikes > 0, single + (self.now - single), single).to(last)


def spiking_step(
    arriving: Tensor,
    state: State,
    constants: Constants,
    reset: Literal["late", "at once"] = "late",
    slope: float = SLOPE,
    clock: Clock | None = None,
) -> State:
    """Return the state after a step.

    Parameters
    ----------
    arriving : Tensor, shape (batch, neurons)
        What the current takes, mV: external and recurrent input.
    state : State
        At the end of the step before.
    constants : Constants
    reset : {"late", "at once"}
    slope : float
        Of the surrogate gradient, 1/mV.
    clock : Clock, optional
        For neurons whose refractory period is told in single precision.
    """
    spikes = state.spikes
    current = constants.fade * state.current + arriving
    voltage = state.voltage
    if reset == "at once":
        voltage = voltage - spikes * (voltage - constants.v_reset)
    voltage = constants.keep * voltage + (1 - constants.keep) * current
    if reset == "late":
        voltage = voltage * (1 - spikes)
    free = state.silent == 0 if clock is None else clock.free(state.silent)
    voltage = torch.where(free, voltage, 0.0)
    onset = constants.rise * state.onset + constants.jump * spikes
    filtered = constants.fall * state.filtered + constants.gain * onset
    spikes = spike(voltage - constants.v_th, slope)
    if clock is None:
        silent = torch.where(spikes > 0, constants.hold, (state.silent - 1).clamp(min=0))
    else:
        silent = clock.spiked(state.silent, spikes)
    return State(current, voltage, onset, filtered, spikes, silent)


@dataclass(frozen=True, kw_only=True)
class SequenceOptions:
    """What a sequence of steps does besides its tensors.

    Parameters
    ----------
    reset, slope
        As for `spiking_step`.
    readout : {"trace", "maximum"}
        ``W_out r_t`` in every step, or ``W_out max_t r_t``.
    truncate : int, optional
        Gradients do not reach back beyond multiples of so many steps.
    checkpoint_every : int, optional
        Steps of a segment; states are kept at the beginnings of segments alone, and the rest is computed again where
        gradients need it. By default `fused_sequence` chooses, and `sequence` keeps everything.
    clock : tuple of float, optional
        Time step and refractory period in s, where times of spikes are compared in single precision.
    record : bool
        Whether the course of all neurons is returned.
    """

    reset: Literal["late", "at once"] = "late"
    slope: float = SLOPE
    readout: Literal["trace", "maximum"] = "trace"
    truncate: int | None = None
    checkpoint_every: int | None = None
    clock: tuple[float, float] | None = None
    record: bool = False


class Course(NamedTuple):
    """What a sequence of steps computes.

    Attributes
    ----------
    outputs : Tensor, shape (T, B, n_out) or (B, n_out)
    spikes, voltages, filtered : Tensor or None
        Shape (T, B, N), where they are recorded.
    """

    outputs: Tensor
    spikes: Tensor | None
    voltages: Tensor | None
    filtered: Tensor | None


def recurrent_input(filtered: Tensor, recurrent: Sequence[Tensor]) -> Tensor:
    """Return ``W r``, shape (..., N): of modes as ``ξ_in (λ (ξ_outᵀ r))``, else with the matrix W."""
    if len(recurrent) == 1:
        return filtered @ recurrent[0].T
    modes_in, scores, modes_out = recurrent
    return ((filtered @ modes_out) * scores) @ modes_in.T


def sequence(
    inputs: Tensor,
    weight_in: Tensor,
    recurrent: Sequence[Tensor],
    weight_out: Tensor,
    constants: Constants,
    options: SequenceOptions,
) -> Course:
    """Return what a spiking network does, step by step in PyTorch.

    Parameters
    ----------
    inputs : Tensor, shape (T, B, n_in)
    weight_in : Tensor, shape (N, n_in)
    recurrent : sequence of Tensor
        ξ_in (N, P), λ (P,) and ξ_out (N, P), or the one matrix (N, N).
    weight_out : Tensor, shape (n_out, N)
    constants : Constants
    options : SequenceOptions
    """
    steps, batch, _ = inputs.shape

    def segment(first: int, given: Tensor, best: Tensor | None, *parts: Tensor) -> tuple[Tensor | None, ...]:
        state = State(*parts)
        states = []
        for step, current in enumerate(given @ weight_in.T, start=first):
            if options.truncate and step % options.truncate == 0:
                state = state.detach()
            arriving = current + recurrent_input(state.filtered, recurrent)
            clock = options.clock and Clock(options.clock[0] * step, options.clock[1])
            state = spiking_step(arriving, state, constants, options.reset, options.slope, clock)
            states.append(state)
        filtered = torch.stack([state.filtered for state in states])
        if options.readout == "trace":
            read = filtered @ weight_out.T
        else:
            highest = filtered.max(dim=0).values
            read = highest if best is None else torch.where(highest > best, highest, best)
        record: list[Tensor | None] = [None] * 3
        if options.record:
            record = [torch.stack([getattr(state, name) for state in states]) for name in ("spikes", "voltage")]
            record.append(filtered)
        return (read, *record, *state)

    state = State.rest(batch, len(weight_in), inputs, clock=options.clock is not None)
    length = options.checkpoint_every or steps
    reads: list[Any] = []
    records: list[Any] = []
    for first in range(0, steps, length):
        best = reads[-1] if reads and options.readout == "maximum" else None
        arguments = (first, inputs[first : first + length], best, *state)
        if options.checkpoint_every and torch.is_grad_enabled():
            found = checkpoint(segment, *arguments, use_reentrant=False)
        else:
            found = segment(*arguments)
        reads.append(found[0])
        records.append(found[1:4])
        state = State(*found[4:])
    outputs = torch.cat(reads) if options.readout == "trace" else reads[-1] @ weight_out.T
    if not options.record:
        return Course(outputs, None, None, None)
    return Course(outputs, *(torch.cat(parts) for parts in zip(*records, strict=True)))


def rate_step(arriving: Tensor, potential: Tensor, keep: Tensor) -> Tensor:
    """Return the potential of rate neurons after a step, ``U ← l U + (1 - l) I``, shape (batch, neurons).

    Parameters
    ----------
    arriving : Tensor, shape (batch, neurons)
        External input and ``W tanh(U)``.
    potential : Tensor, shape (batch, neurons)
    keep : Tensor
        ``l = exp(-dt/tau_m)``.
    """
    return keep * potential + (1 - keep) * arriving
