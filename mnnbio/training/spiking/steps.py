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

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mnnbio.machine import check_choice
from mnnbio.units import count_steps, in_unit, require

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
        Refractory period, ms, whole steps; ≥ 0. Published networks compare times in single precision, by which 10 ms
        of 2 ms steps are sometimes five silent steps and sometimes four; here they are five.
    reset : {"late", "at once"}
        "late" as above; "at once": v decays from `v_reset` in the step after a spike.

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

    def __post_init__(self) -> None:
        units: dict[str, Any] = {"tau_m": "ms", "tau_syn": "ms", "v_th": "mV", "v_reset": "mV", "t_ref": "ms"}
        for name, unit in units.items():
            object.__setattr__(self, name, _per_neuron(getattr(self, name), unit, name))
        for name in ("tau_m", "tau_syn", "v_th"):
            require(np.asarray(getattr(self, name)) > 0, name, f"> 0 {units[name]}", getattr(self, name))
        require(np.asarray(self.t_ref) >= 0, "t_ref", "≥ 0 ms", self.t_ref)
        require(np.less(self.v_reset, self.v_th), "v_reset", "below `v_th`", self.v_reset)
        check_choice("reset", self.reset, ["late", "at once"])
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
        Refractory steps that are left.
    """

    current: Tensor
    voltage: Tensor
    onset: Tensor
    filtered: Tensor
    spikes: Tensor
    silent: Tensor

    @classmethod
    def rest(cls, batch: int, neurons: int, like: Tensor) -> State:
        """Return the state before the first step: zeros."""
        return cls(*(like.new_zeros(batch, neurons) for _ in cls._fields))

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


def spiking_step(
    arriving: Tensor,
    state: State,
    constants: Constants,
    reset: Literal["late", "at once"] = "late",
    slope: float = SLOPE,
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
    """
    spikes = state.spikes
    current = constants.fade * state.current + arriving
    voltage = state.voltage
    if reset == "at once":
        voltage = voltage - spikes * (voltage - constants.v_reset)
    voltage = constants.keep * voltage + (1 - constants.keep) * current
    if reset == "late":
        voltage = voltage * (1 - spikes)
    voltage = torch.where(state.silent == 0, voltage, 0.0)
    onset = constants.rise * state.onset + constants.jump * spikes
    filtered = constants.fall * state.filtered + constants.gain * onset
    spikes = spike(voltage - constants.v_th, slope)
    silent = torch.where(spikes > 0, constants.hold, (state.silent - 1).clamp(min=0))
    return State(current, voltage, onset, filtered, spikes, silent)


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
