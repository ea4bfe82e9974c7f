"""Base of networks of spiking units that learn tables: features in, inputs step by step, units, outputs."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor, nn

from mnnbio.machine import check_choice, require_integer
from mnnbio.nn import DTYPES, Encoder, MomentLinear, Moments, encoder_from_config
from mnnbio.training.spiking.encodings import InputEncoding, StepEncoder
from mnnbio.units import checked_counts, count_steps, in_unit, require


class UnitActivity(NamedTuple):
    """Course of a layer of units; T time steps of B stimuli.

    Attributes
    ----------
    spikes : Tensor, shape (T, B, N)
        0 or 1; of graded units, the sizes of their outputs.
    voltages : Tensor, shape (T, B, N)
        Membrane potentials, mV; of graded units, their inner states.
    """

    spikes: Tensor
    voltages: Tensor


class Timing(NamedTuple):
    """Time steps of a network: `dt` in ms, how many in all, and how many before the readout begins."""

    dt: float
    steps: int
    settle: int


def timing(duration: Any, dt: Any, settle: Any) -> Timing:
    """Return durations, ms or quantities, as whole steps.

    Raises
    ------
    ValueError
        If a time is out of range, or no whole number of steps.
    """
    given = {"dt": dt, "duration": duration, "settle": settle}
    times = {name: in_unit(value, "ms", name) for name, value in given.items()}
    for name, value in times.items():
        if not isinstance(value, float):
            raise ValueError(f"`{name}` must be one number in ms, got {value}")
    require(times["dt"] > 0, "dt", "> 0 ms", times["dt"])
    require(times["settle"] >= 0, "settle", "≥ 0 ms", times["settle"])
    step = float(times["dt"])
    steps, before = (int(count_steps(times[name], step, name)) for name in ("duration", "settle"))
    require(steps > before, "duration", f"longer than `settle` = {times['settle']:g} ms", times["duration"])
    return Timing(step, steps, before)


class TableNetwork(nn.Module):
    """Base of `SpikingTableNetwork` and `GradedTableNetwork`: what the training loop and the estimators use.

    Parameters
    ----------
    sizes : sequence of int
        Number of channels of the encoder, of units in each hidden layer, and of outputs.
    encoder : PoissonEncoder or GaussianEncoder
        Of the features, as `channel_encoder` makes it.
    encoding : {"current", "flicker", "poisson", "latency"}
    duration, dt, settle : float or Quantity
        How long a stimulus is shown, the time step, and how long after the onset the readout begins, ms.
    seed : int
        Of initial weights and of the random numbers of the encoding.

    Attributes
    ----------
    readout : MomentLinear
        From what is read of the last layer to the outputs.
    step_encoder : StepEncoder
    timing : Timing
    sizes : tuple of int
    """

    UNIT: ClassVar[tuple[str, type]]  # the parameter that describes the units, and its type
    readout: MomentLinear

    def __init__(
        self,
        sizes: Sequence[int],
        encoder: Encoder,
        *,
        encoding: InputEncoding,
        duration: Any,
        dt: Any,
        settle: Any,
        seed: int,
    ) -> None:
        super().__init__()
        self.sizes = checked_counts(tuple(sizes), "sizes")
        if len(self.sizes) < 3:
            raise ValueError(f"`sizes` must be channels, hidden layers and outputs, three or more, got {self.sizes}")
        if self.sizes[0] != encoder.out_features:
            raise ValueError(f"`sizes` must begin with the {encoder.out_features} channels, got {self.sizes}")
        require_integer("seed", seed, 0)
        self.seed, self.timing = int(seed), timing(duration, dt, settle)
        self.step_encoder = StepEncoder(encoder, encoding, self.timing.steps, self.timing.dt, self.seed)

    @property
    def encoder(self) -> Encoder:
        """Encoder of the features."""
        return self.step_encoder.encoder

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the parameters."""
        return self.readout.weight.dtype

    def inputs(self, features: Tensor) -> Tensor:
        """Return what the first layer receives, shape (T, B, channels), for features of shape (B, features)."""
        return self.step_encoder(features)

    @abstractmethod
    def run(self, inputs: Tensor) -> list[UnitActivity]:
        """Return the course of every layer of units for inputs of shape (T, B, channels)."""

    @abstractmethod
    def read(self, activity: Sequence[UnitActivity]) -> Tensor:
        """Return what the readout reads of the layers, shape (B, readout.in_features)."""

    def forward(self, features: Tensor) -> Moments:
        """Return the outputs, shape (B, outputs), for features of shape (B, features); they have no variance."""
        return self.readout(Moments.without_variance(self.read(self.run(self.inputs(features)))))

    @abstractmethod
    def start_from(self, features: Tensor) -> None:
        """Scale the initial weights so that units begin in their sensitive range with these features (n, features)."""

    @abstractmethod
    def parameter_groups(self, learning_rate: float, weight_decay: float = 0.0) -> list[dict[str, Any]]:
        """Return optimiser groups with a learning rate that suits each parameter's size."""

    def config(self) -> dict[str, Any]:
        """Return what builds this network again (as JSON can hold it), apart from its state dict."""
        names = {dtype: name for name, dtype in DTYPES.items()}
        return {
            "network": type(self).__name__,
            "sizes": list(self.sizes),
            "encoder": self.encoder.config(),
            "encoding": self.step_encoder.encoding,
            "duration": self.timing.steps * self.timing.dt,
            "dt": self.timing.dt,
            "settle": self.timing.settle * self.timing.dt,
            "seed": self.seed,
            "dtype": names[self.dtype],
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Build the network that `config` describes; its weights come with the state dict.

        Raises
        ------
        ValueError
            If it is the configuration of another network.
        """
        options = dict(config)
        check_choice("network", options.pop("network", None), [cls.__name__])
        name, kind = cls.UNIT
        made = {name: kind(**options.pop(name)), "dtype": DTYPES[options.pop("dtype")]}
        return cls(options.pop("sizes"), encoder_from_config(options.pop("encoder")), **made, **options)


def spread(values: Tensor) -> Tensor:
    """Return the standard deviation of values (B, N) over stimuli; where they do not vary their size, or 1 for 0."""
    deviation, size = values.std(0, correction=0), values.square().mean(0).sqrt()
    found = torch.where(deviation > 1e-6 * size, deviation, size)
    return torch.where(found > 0, found, 1.0)


def plain(values: Any) -> Any:
    """Return a number, or an array as a list, as JSON can hold it."""
    return np.asarray(values, dtype=np.float64).tolist()
