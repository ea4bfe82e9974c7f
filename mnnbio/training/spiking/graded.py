"""Graded units: units whose outputs have sizes, as published by pynmsnn, and networks of them for tables.

A unit at a time step: ``a = W x + b + decay·s`` with its inner state s of the step before; output ``y = relu(a − θ)``;
``s ← a − (penalty + y)`` where y > 0, else ``s ← a``. Everything is piecewise linear, so back-propagation through time
needs no surrogate. Outputs have sizes: such networks cannot be run as spikes.

References
----------
A. Rajan, pynmsnn: low-code spiking neural networks (README, equations; published code).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mnnbio.nn import Encoder, MomentLinear
from mnnbio.training.spiking.encodings import InputEncoding
from mnnbio.training.spiking.table_network import TableNetwork, UnitActivity
from mnnbio.units import checked_counts, real_number, require, shown


@dataclass(frozen=True, kw_only=True)
class GradedUnit:
    """Parameters of graded units, dimensionless.

    Parameters
    ----------
    decay : float
        Share of the inner state that is left after a step, in [0, 1].
    threshold : float
        θ: a unit is active where its input and state exceed it.
    penalty : float
        What an active unit loses besides its output; ≥ 0. Published: 1.5 in classifiers, 2.0 and 2.5 as defaults.

    Raises
    ------
    ValueError
        If a value is out of its range.
    """

    decay: float = 0.9
    threshold: float = 1.0
    penalty: float = 1.5

    def __post_init__(self) -> None:
        for field in fields(self):
            object.__setattr__(self, field.name, real_number(getattr(self, field.name), field.name))
        require(0 <= self.decay <= 1, "decay", "in [0, 1]", self.decay)
        require(abs(self.threshold) < math.inf, "threshold", "finite", self.threshold)
        require(0 <= self.penalty < math.inf, "penalty", "≥ 0", self.penalty)


class GradedState(NamedTuple):
    """Inner state and output of graded units, both of shape (batch, units)."""

    inner: Tensor
    output: Tensor


def graded_step(arriving: Tensor, inner: Tensor, unit: GradedUnit) -> GradedState:
    """Return the state after a step.

    Parameters
    ----------
    arriving : Tensor, shape (batch, units)
        Weighted input and bias, ``W x + b``.
    inner : Tensor, shape (batch, units)
        State of the step before.
    unit : GradedUnit
    """
    level = arriving + unit.decay * inner
    output = torch.relu(level - unit.threshold)
    # Where nothing is given out, nothing is lost.
    lost = torch.where(output > 0, unit.penalty + output, 0.0)
    return GradedState(level - lost, output)


def graded_course(arriving: Tensor, unit: GradedUnit) -> UnitActivity:
    """Return what a layer returns in every step: states and outputs of the step before, 0 in the first.

    Parameters
    ----------
    arriving : Tensor, shape (T, B, N)
        Weighted input and bias.
    unit : GradedUnit
    """
    inner = torch.zeros_like(arriving[0])
    states, outputs = [inner], [inner]
    for one in arriving[:-1]:
        inner, output = graded_step(one, inner, unit)
        states.append(inner)
        outputs.append(output)
    return UnitActivity(torch.stack(outputs), torch.stack(states))


class GradedTableNetwork(TableNetwork):
    """Layers of graded units, of which the inner states of the last are summed over time, as published.

    Parameters
    ----------
    sizes, encoder, encoding, duration, dt, settle, seed
        As for `TableNetwork`; `settle` is the published ``begin_eval``. A unit of time has no meaning to graded units,
        the number of steps has.
    unit : GradedUnit, optional
    head : int or tuple of int
        Units of dense layers (ReLU) between the states, averaged over time, and the outputs. Without any, the last
        layer of graded units are the outputs, as in published classifiers; published regressions have two, which makes
        three layers of weights with the readout.
    dtype : torch.dtype, optional

    Attributes
    ----------
    layers : ModuleList of Linear
        W and b of each layer of graded units; Xavier weights, biases 0.
    dense : ModuleList of Linear
        The head.
    readout : MomentLinear
        The last dense layer; without a head the identity, whose weights are not trained.

    Raises
    ------
    ValueError
        If an option is out of range.
    """

    UNIT = ("unit", GradedUnit)

    def __init__(
        self,
        sizes: Sequence[int],
        encoder: Encoder,
        *,
        unit: GradedUnit | None = None,
        encoding: InputEncoding = "flicker",
        duration: Any = 100.0,
        dt: Any = 2.0,
        settle: Any = 0.0,
        head: int | tuple[int, ...] = (),
        seed: int = 0,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(sizes, encoder, encoding=encoding, duration=duration, dt=dt, settle=settle, seed=seed)
        if unit is not None and not isinstance(unit, GradedUnit):
            raise TypeError(f"`unit` must be a GradedUnit, got {shown(unit)}")
        self.unit = unit or GradedUnit()
        self.head = checked_counts(head, "head")
        generator = torch.Generator().manual_seed(self.seed)
        graded = self.sizes[:-1] if self.head else self.sizes
        self.layers = _dense_layers(graded, generator, dtype)
        dense = (graded[-1], *self.head)
        self.dense = _dense_layers(dense, generator, dtype)
        self.readout = MomentLinear(dense[-1], self.sizes[-1], True, generator=generator, dtype=dtype)
        if not self.head:
            with torch.no_grad():
                self.readout.weight.copy_(torch.eye(self.sizes[-1]))
            self.readout.requires_grad_(False)

    def run(self, inputs: Tensor) -> list[UnitActivity]:
        """Return the course of every layer of units, first to last, for inputs of shape (T, B, channels)."""
        activity, arriving = [], inputs
        for layer in self.layers:
            activity.append(graded_course(layer(arriving), self.unit))
            arriving = activity[-1].spikes
        return activity

    def read(self, activity: Sequence[UnitActivity]) -> Tensor:
        """Return the summed inner states of the last layer, or what the head makes of their mean, shape (B, N)."""
        states = activity[-1].voltages[self.timing.settle :]
        found = states.mean(0) if self.head else states.sum(0)  # dense layers start from numbers of order one
        for layer in self.dense:
            found = torch.relu(layer(found))
        return found

    def start_from(self, features: Tensor) -> None:
        """Leave the initial weights as they are: published networks begin with Xavier weights."""

    def parameter_groups(self, learning_rate: float, weight_decay: float = 0.0) -> list[dict[str, Any]]:
        """Return optimiser groups: weight decay is for weights only."""
        trained = [(name, parameter) for name, parameter in self.named_parameters() if parameter.requires_grad]
        return [
            {
                "params": [parameter for name, parameter in trained if name.endswith("weight")],
                "lr": learning_rate,
                "weight_decay": weight_decay,
            },
            {
                "params": [parameter for name, parameter in trained if not name.endswith("weight")],
                "lr": learning_rate,
                "weight_decay": 0.0,
            },
        ]

    def config(self) -> dict[str, Any]:
        """Return what builds this network again (as JSON can hold it), apart from its state dict."""
        return super().config() | {"unit": asdict(self.unit), "head": list(self.head)}


def _dense_layers(sizes: Sequence[int], generator: torch.Generator, dtype: torch.dtype | None) -> nn.ModuleList:
    """Return linear layers from each size to the next, with Xavier weights and biases 0."""
    layers = []
    for before, after in pairwise(sizes):
        layer = nn.utils.skip_init(nn.Linear, before, after, dtype=dtype)
        with torch.no_grad():
            bound = math.sqrt(6 / (before + after))
            layer.weight.copy_(bound * (2 * torch.rand(after, before, generator=generator) - 1))
            layer.bias.zero_()
        layers.append(layer)
    return nn.ModuleList(layers)
