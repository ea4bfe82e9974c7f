"""Input to a neuron, checked and brought to the form that the theory needs."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from mnnbio.moments.integrals import load_tables
from mnnbio.neurons import LIFParameters

SILENT = 40.0  # (L v_th - mean)/(√L std) from which the rate, below e^{-1600}, is zero


class Neuron(Protocol):
    """Anything that holds the parameters of leaky integrate-and-fire neurons, in ms and mV.

    Each is a number, an array or a tensor that broadcasts with the inputs (one value per neuron: their last axis).
    """

    @property
    def tau_m(self) -> Any:
        """Membrane time constant, ms; > 0."""

    @property
    def v_th(self) -> Any:
        """Firing threshold, mV."""

    @property
    def v_reset(self) -> Any:
        """Reset potential, mV; below `v_th`."""

    @property
    def t_ref(self) -> Any:
        """Absolute refractory period, ms; ≥ 0."""


class NeuronTensors(NamedTuple):
    """NeuronTensors of neurons as tensors of one dtype on one device; ms and mV."""

    tau_m: Tensor
    v_th: Tensor
    v_reset: Tensor
    t_ref: Tensor


class Drive(NamedTuple):
    """Input relative to the neuron, with ``L = 1/tau_m``; all but the parameters of one shape."""

    above_th: Tensor  # mean - L v_th, mV/ms
    span: Tensor  # L (v_th - v_reset), mV/ms
    s: Tensor  # √L std, mV/ms
    lif: NeuronTensors
    tonic: Tensor  # above threshold, by at least EDGE times s
    silent: Tensor  # below threshold, by at least SILENT times s


def relate(mean: Tensor, std: Tensor, lif: Neuron) -> Drive:
    """Check the input and return it relative to the neuron, in working precision.

    float32 inputs are computed in float64 where the device has it: the exponents of the theory amplify rounding.

    Raises
    ------
    TypeError
        If `mean` or `std` is not a floating-point tensor.
    ValueError
        If `std` is negative, a parameter is out of its range, or shapes or devices do not go together.
    """
    for name, value in (("mean", mean), ("std", std)):
        if not isinstance(value, Tensor) or not value.is_floating_point():
            got = f"dtype {value.dtype}" if isinstance(value, Tensor) else f"{type(value).__name__}"
            raise TypeError(f"`{name}` must be a floating-point tensor, got {got}; convert it with `.double()`")
    if mean.device != std.device:
        raise ValueError(f"`mean` and `std` must be on one device, got {mean.device} and {std.device}")
    working = torch.float64 if mean.device.type != "mps" else torch.float32
    mean, std = mean.to(working), std.to(working)
    parameters = _parameters(lif, mean)
    shapes = {"mean": mean.shape, "std": std.shape, **{name: v.shape for name, v in parameters._asdict().items()}}
    try:
        torch.broadcast_shapes(*shapes.values())
    except RuntimeError as error:
        listed = ", ".join(f"`{name}` {tuple(shape)}" for name, shape in shapes.items() if len(shape))
        raise ValueError(f"shapes must broadcast (one parameter per neuron: the last axis), got {listed}") from error
    _require(std >= 0, "std", "≥ 0 mV/√ms", std, allow_nan=True)
    if not isinstance(lif, LIFParameters):  # which were checked when built
        _require(parameters.tau_m > 0, "tau_m", "> 0 ms", parameters.tau_m)
        _require(parameters.t_ref >= 0, "t_ref", "≥ 0 ms", parameters.t_ref)
        _require(parameters.v_reset < parameters.v_th, "v_reset", "below `v_th`", parameters.v_reset)
    tau_m, v_th, v_reset, t_ref = parameters
    above_th, span, s, _ = torch.broadcast_tensors(
        mean - v_th / tau_m, (v_th - v_reset) / tau_m, std / tau_m.sqrt(), t_ref
    )
    edge = load_tables(working, mean.device).edge
    tonic = (above_th > 0) & (above_th >= edge * s)
    silent = (above_th <= 0) & (-above_th >= SILENT * s)
    return Drive(above_th, span, s, parameters, tonic, silent)


def from_rest(lif: Neuron) -> Neuron:
    """Return neurons with voltages measured from rest, as all formulas take them."""
    return lif.from_rest() if isinstance(lif, LIFParameters) else lif


def as_parameter(value: Any, like: Tensor) -> Tensor:
    """Return a number, array or tensor as a tensor of the dtype and on the device of `like`."""
    if isinstance(value, Tensor):
        return value.to(like.device, like.dtype)
    return torch.tensor(value, dtype=like.dtype, device=like.device)  # a copy: arrays may be read-only


def _parameters(lif: Neuron, like: Tensor) -> NeuronTensors:
    lif = from_rest(lif)
    for name in NeuronTensors._fields:
        value = getattr(lif, name)
        if isinstance(value, Tensor) and value.ndim and value.device != like.device:
            raise ValueError(f"`{name}` must be on the device of `mean`, {like.device}, got {value.device}")
    return NeuronTensors(*(as_parameter(getattr(lif, name), like) for name in NeuronTensors._fields))


def _require(condition: Tensor, name: str, rule: str, value: Tensor, *, allow_nan: bool = False) -> None:
    """Raise a `ValueError` naming the first element at which `condition` is false.

    While a graph is compiled, or inside `torch.func.vmap`, values cannot be looked at, and nothing is checked.
    """
    if torch.compiler.is_compiling():
        return
    try:
        if bool(condition.all()):
            return
    except RuntimeError:
        return
    value = value.expand(condition.shape) if value.shape != condition.shape else value
    bad = ~condition & ~value.isnan() if allow_nan else ~condition
    if not bool(bad.any()):
        return
    place = tuple(int(k) for k in bad.nonzero()[0])
    where = f" at index {place[0] if len(place) == 1 else place}" if place else ""
    raise ValueError(f"`{name}` must be {rule}, got {float(value[place])}{where}")
