"""Feed-forward spiking networks for tables: layers of integrate-and-fire neurons and a linear readout of their spikes.

The neurons are those of `steps`, without recurrent weights. A layer receives the spikes that the layer before has fired
in the step before.

References
----------
E. O. Neftci, H. Mostafa, F. Zenke (2019), Surrogate gradient learning in spiking neural networks, IEEE Signal Process.
Mag. 36, 51. S. Thorpe, A. Delorme, R. Van Rullen (2001), Spike-based strategies for rapid processing, Neural Networks
14, 715 (first spikes).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

from mnnbio.machine import check_choice
from mnnbio.nn import Encoder, MomentLinear, Moments
from mnnbio.training.spiking.encodings import InputEncoding
from mnnbio.training.spiking.fused import SequenceOptions, fused_sequence
from mnnbio.training.spiking.steps import (
    SLOPE,
    Constants,
    SpikeFilter,
    SpikingNeuron,
    State,
    spiking_step,
    step_constants,
)
from mnnbio.training.spiking.table_network import TableNetwork, Timing, UnitActivity, plain, spread
from mnnbio.units import real_number, require, shown

SpikeReadout = Literal["count", "membrane", "first_spike"]
SPIKE_READOUTS = get_args(SpikeReadout)
# Inverse of the typical size of what is read: rates of 0.05 spikes/ms, first spikes in the middle of the time.
READ_SCALE = {"count": 20.0, "membrane": 20.0, "first_spike": 2.0}
TAU_READOUT = 20.0  # ms


def layer_course(
    arriving: Tensor,
    weight: Tensor,
    bias: Tensor,
    constants: Constants,
    reset: Literal["late", "at once"] = "late",
    slope: float = SLOPE,
) -> UnitActivity:
    """Return spikes and potentials of a layer of neurons that are not connected with each other.

    Parameters
    ----------
    arriving : Tensor, shape (T, B, n)
        What reaches the layer in each step: inputs, or spikes of the layer before.
    weight : Tensor, shape (N, n)
        mV.
    bias : Tensor, shape (N,)
        Constant input in every step, mV.
    constants, reset, slope
        As for `spiking_step`.
    """
    # The constant is an input that is always 1.
    inputs = torch.cat([arriving, arriving.new_ones(*arriving.shape[:2], 1)], dim=-1)
    joined = torch.cat([weight, bias[:, None]], dim=1)
    # No recurrent weights (one mode of strength 0) and no readout: spikes alone are wanted, and gradients of them.
    none = (weight.new_zeros(len(weight), 1), weight.new_zeros(1), weight.new_zeros(len(weight), 1))
    options = SequenceOptions(reset=reset, slope=slope, readout="trace", record=True)
    found = fused_sequence(inputs, joined, none, weight.new_zeros(0, len(weight)), constants, options)
    if found is not None:
        assert found.spikes is not None
        assert found.voltages is not None
        return UnitActivity(found.spikes, found.voltages)
    state = State.rest(arriving.shape[1], len(weight), arriving)
    spikes, voltages = [], []
    for current in inputs @ joined.T:
        state = spiking_step(current, state, constants, reset, slope)
        spikes.append(state.spikes)
        voltages.append(state.voltage)
    return UnitActivity(torch.stack(spikes), torch.stack(voltages))


def read_spikes(spikes: Tensor, readout: SpikeReadout, times: Timing, tau: float = TAU_READOUT) -> Tensor:
    """Return one number a neuron that stands for its spike train.

    - count: spikes per ms, from the end of `settle` on
    - membrane: potential of a leaky integrator that the spikes reach, ``r ← l r + (1 − l) s`` with
      ``l = exp(−dt/tau)``, averaged over the same time, per ms
    - first spike: the share of the time that is left at the first spike; 1 for one in the first step, 0 without one

    Parameters
    ----------
    spikes : Tensor, shape (T, B, N)
        0 or 1.
    readout : {"count", "membrane", "first_spike"}
    times : Timing
    tau : float
        Time constant of the leaky integrator, ms.

    Returns
    -------
    Tensor, shape (B, N)
    """
    check_choice("readout", readout, SPIKE_READOUTS)
    dt, steps, settle = times
    at = torch.arange(steps, dtype=spikes.dtype, device=spikes.device)
    if readout == "first_spike":
        left = torch.where(at >= settle, (steps - at) / (steps - settle), 0.0)
        return _FirstSpike.apply(spikes, left)
    weight = (at >= settle).to(spikes.dtype)
    if readout == "membrane":
        keep = math.exp(-dt / tau)
        weight = keep ** (settle - at).clamp(min=0) * (1 - keep ** (steps - at.clamp(min=settle)))
    return torch.einsum("tbn,t->bn", spikes, weight / ((steps - settle) * dt))


class _FirstSpike(torch.autograd.Function):
    """Value of the first spike, ``Σ_t left_t s_t Π_{t' < t} (1 − s_t')``, with the gradient of this polynomial."""

    @staticmethod
    def forward(ctx: Any, spikes: Tensor, left: Tensor) -> Tensor:
        ctx.save_for_backward(spikes, left)
        return (spikes * left[:, None, None]).amax(0)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        spikes, left = ctx.saved_tensors
        value = spikes * left[:, None, None]
        first = value.amax(0)
        second = torch.where(value == first, 0.0, value).amax(0)
        # A spike before the first would take its place; without the first, the second would count.
        gain = torch.where(value == first, left[:, None, None] - second, left[:, None, None] - first)
        return grads[0] * gain.clamp(min=0), None


class SpikingTableNetwork(TableNetwork):
    """Layers of leaky integrate-and-fire neurons that are shown a table's features for a while, and a linear readout.

    Parameters
    ----------
    sizes, encoder, encoding, duration, dt, settle, seed
        As for `TableNetwork`.
    neuron : SpikingNeuron, optional
        Of all layers.
    readout : {"count", "membrane", "first_spike"}
        What is read of each neuron of the last layer; see `read_spikes`.
    slope : float
        Of the surrogate gradient, per threshold.
    dtype : torch.dtype, optional

    Attributes
    ----------
    weights : ParameterList of shape (N, channels), (N, N before), …
        mV.
    biases : ParameterList of shape (N,)
        Constant input in every step, mV.

    Raises
    ------
    ValueError
        If an option is out of range.
    """

    UNIT = ("neuron", SpikingNeuron)

    def __init__(
        self,
        sizes: Sequence[int],
        encoder: Encoder,
        *,
        neuron: SpikingNeuron | None = None,
        encoding: InputEncoding = "current",
        readout: SpikeReadout = "count",
        duration: Any = 100.0,
        dt: Any = 2.0,
        settle: Any = 0.0,
        slope: float = SLOPE,
        seed: int = 0,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(sizes, encoder, encoding=encoding, duration=duration, dt=dt, settle=settle, seed=seed)
        check_choice("readout", readout, SPIKE_READOUTS)
        if neuron is not None and not isinstance(neuron, SpikingNeuron):
            raise TypeError(f"`neuron` must be a SpikingNeuron, got {shown(neuron)}")
        self.neuron = neuron or SpikingNeuron()
        for field in fields(self.neuron):
            if isinstance(getattr(self.neuron, field.name), np.ndarray):
                raise ValueError(f"`{field.name}` must be one number for all layers, got one value per neuron")
        self.reads, self.slope = readout, real_number(slope, "slope")
        require(self.slope > 0, "slope", "> 0", self.slope)
        step_constants(self.neuron, SpikeFilter(), self.timing.dt)
        generator = torch.Generator().manual_seed(self.seed)
        pairs = list(zip(self.sizes[:-2], self.sizes[1:-1], strict=True))
        self.weights = nn.ParameterList(
            torch.randn(after, before, generator=generator).to(dtype) * (self.sensitive / math.sqrt(before))
            for before, after in pairs
        )
        self.biases = nn.ParameterList(torch.full((after,), self.sensitive, dtype=dtype) for _, after in pairs)
        scale = READ_SCALE[readout]
        self.readout = MomentLinear(
            self.sizes[-2], self.sizes[-1], True, weight_scale=scale, generator=generator, dtype=dtype
        )

    @property
    def weight_in(self) -> Tensor:
        """Weights of the first layer, shape (N, channels), mV."""
        return self.weights[0]

    @property
    def size(self) -> int:
        """Number of neurons of the last layer."""
        return self.sizes[-2]

    @property
    def dt(self) -> float:
        """Time step, ms."""
        return self.timing.dt

    @property
    def sensitive(self) -> float:
        """Input per step that brings the membrane to threshold in the end, ``v_th (1 − exp(−dt/tau_syn))``, mV."""
        return float(self.neuron.v_th * -np.expm1(-self.timing.dt / self.neuron.tau_syn))

    def constants(self) -> Constants:
        """Return the constants of a step."""
        weight = self.weights[0]
        return step_constants(self.neuron, SpikeFilter(), self.timing.dt, dtype=weight.dtype, device=weight.device)

    def run(self, inputs: Tensor) -> list[UnitActivity]:
        """Return the course of every layer of neurons, first to last.

        Parameters
        ----------
        inputs : Tensor, shape (T, B, channels)
            As `inputs` returns them.
        """
        constants, slope = self.constants(), self.slope / float(self.neuron.v_th)
        layers, arriving = [], inputs
        for weight, bias in zip(self.weights, self.biases, strict=True):
            layers.append(layer_course(arriving, weight, bias, constants, self.neuron.reset, slope))
            arriving = delayed(layers[-1].spikes)
        return layers

    def read(self, activity: Sequence[UnitActivity]) -> Tensor:
        """Return the numbers that stand for the spike trains of the last layer, shape (B, N)."""
        return read_spikes(activity[-1].spikes, self.reads, self.timing)

    def outputs_of(self, spikes: Tensor) -> Tensor:
        """Return the outputs, shape (B, outputs), that spikes of the last layer give, shape (T, B, N)."""
        return self.readout(Moments.without_variance(read_spikes(spikes, self.reads, self.timing))).mean

    @torch.no_grad()
    def start_from(self, features: Tensor) -> None:
        """Scale weights and biases so that currents begin around the threshold, and spread between stimuli as far.

        Parameters
        ----------
        features : Tensor, shape (n, features)

        References
        ----------
        D. Mishkin, J. Matas (2016), All you need is a good init, ICLR (initial weights scaled by data).
        """
        mean = self.step_encoder.mean(features)
        inputs = self.inputs(features)
        constants = self.constants()
        for weight, bias in zip(self.weights, self.biases, strict=True):
            weight.mul_(self.sensitive / spread(mean @ weight.T)[:, None])
            bias.copy_(self.sensitive - (mean @ weight.T).mean(0))
            spikes = layer_course(inputs, weight, bias, constants, self.neuron.reset).spikes
            mean, inputs = spikes.mean(0), delayed(spikes)

    def parameter_groups(self, learning_rate: float, weight_decay: float = 0.0) -> list[dict[str, Any]]:
        """Return optimiser groups with a learning rate that suits each parameter's size.

        Optimisers of the Adam family move every parameter by about the learning rate whatever its size. Weight decay
        is for weights only, and divided likewise, so that it pulls all weights at one pace.
        """
        unit, scale = self.sensitive, READ_SCALE[self.reads]
        return [
            {"params": list(self.weights), "lr": learning_rate * unit, "weight_decay": weight_decay / unit},
            {"params": list(self.biases), "lr": learning_rate * unit, "weight_decay": 0.0},
            {"params": [self.readout.weight], "lr": learning_rate * scale, "weight_decay": weight_decay / scale},
            {"params": [self.readout.bias], "lr": learning_rate, "weight_decay": 0.0},
        ]

    def config(self) -> dict[str, Any]:
        """Return what builds this network again (as JSON can hold it), apart from its state dict."""
        neuron = {field.name: plain_parameter(getattr(self.neuron, field.name)) for field in fields(self.neuron)}
        return super().config() | {"neuron": neuron, "readout": self.reads, "slope": self.slope}


def delayed(spikes: Tensor) -> Tensor:
    """Return spikes one step later, as the next layer receives them, shape (T, B, N)."""
    return torch.cat([torch.zeros_like(spikes[:1]), spikes[:-1]])


def plain_parameter(value: Any) -> Any:
    """Return a parameter as JSON can hold it."""
    return value if isinstance(value, str) else plain(value)
