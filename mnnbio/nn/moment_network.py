"""Base of feed-forward moment networks: an encoder, layers of neurons and a linear readout."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import nn

from mnnbio.machine import check_choice
from mnnbio.neurons import LIFParameters
from mnnbio.nn.convolution import MomentAvgPool2d, MomentConv2d, MomentSumPool2d
from mnnbio.nn.covariance_readout import CovarianceReadout
from mnnbio.nn.encoders import Encoder, PoissonEncoder, encoder_from_config
from mnnbio.nn.linear import MomentLinear, SparseLinear
from mnnbio.nn.norm import MomentBatchNorm1d, MomentBatchNorm2d, MomentDropout
from mnnbio.nn.spiking_layers import (
    Background,
    Correlations,
    MomentActivation,
    NeuronParameter,
    background_from_config,
    checked_learn,
)
from mnnbio.nn.state import Moments
from mnnbio.units import flag, real_number, shown

DTYPES = {"float32": torch.float32, "float64": torch.float64}

# Hidden rates spread over some 0.05 spikes/ms: readout weights of this size give outputs of order one.
READOUT_SCALE = 20.0


# Variance with which a spike train drives the next layer: its count variance, or its rate.
Closure = Literal["moments", "poisson"]


class MomentBlock(nn.Module):
    """One hidden layer of neurons: `linear`, `norm`, `background` if there is one, `activation`, `dropout` if any.

    `pool`, if there is one, is how the next layer reads the spike trains; it is not applied by the block itself.
    """

    def __init__(
        self,
        linear: MomentLinear | SparseLinear | MomentConv2d,
        norm: MomentBatchNorm1d | MomentBatchNorm2d,
        activation: MomentActivation,
        background: Background | None = None,
        dropout: MomentDropout | None = None,
        pool: MomentAvgPool2d | MomentSumPool2d | None = None,
    ) -> None:
        super().__init__()
        self.linear, self.norm, self.activation = linear, norm, activation
        self.background, self.dropout, self.pool = background, dropout, pool

    def forward(self, moments: Moments) -> Moments:
        """Return the moments of the layer's spike trains."""
        moments = self.norm(self.linear(moments))
        if self.background is not None:
            moments = self.background(moments)
        moments = self.activation(moments)
        return moments if self.dropout is None else self.dropout(moments)


class MomentNetwork(nn.Module):
    """Feed-forward network of leaky integrate-and-fire neurons, described by mean and covariance.

    The base of `MomentMLP` and `MomentCNN`, which describe the parameters.

    Attributes
    ----------
    encoder : Module
    blocks : ModuleList of MomentBlock
    readout : MomentLinear or CovarianceReadout
    lif : LIFParameters
    """

    blocks: Sequence[MomentBlock]
    readout: MomentLinear | CovarianceReadout
    total_variance: bool = False

    def __init__(
        self,
        inputs: int,
        outputs: int,
        lif: LIFParameters | None,
        encoder: Encoder | None,
        noise: bool,
        learn: Iterable[NeuronParameter],
        correlations: Correlations,
        fixed_std: float,
        dropout: float,
        background: Background | None,
        closure: Closure,
        momentum: float,
        eps: float,
    ) -> None:
        super().__init__()
        check_choice("closure", closure, get_args(Closure))
        check_choice("correlations", correlations, sorted(get_args(Correlations)))
        for name, value, kinds in (
            ("lif", lif, LIFParameters),
            ("encoder", encoder, Encoder),
            ("background", background, Background),
        ):
            if value is not None and not isinstance(value, kinds):
                raise TypeError(f"`{name}` must be {_names(kinds)}, got {shown(value)}")
        if closure == "poisson" and correlations == "none":
            raise ValueError("closure='poisson' is about variances, which correlations='none' leaves out")
        self.closure = closure
        self.inputs, self.outputs = inputs, outputs
        self.lif = LIFParameters() if lif is None else lif.from_rest()
        self.noise = noise = flag(noise, "noise")
        if noise and correlations == "none":
            raise ValueError("neurons with correlations='none' cannot learn noise: give noise=False")
        self.learn = checked_learn(learn, self.lif)
        self.correlations, self.fixed_std = correlations, real_number(fixed_std, "fixed_std")
        self.dropout, self.background = real_number(dropout, "dropout"), background
        self.momentum, self.eps = real_number(momentum, "momentum"), real_number(eps, "eps")
        self.encoder: Encoder = encoder if encoder is not None else PoissonEncoder(inputs)

    def _block(
        self,
        linear: MomentLinear | SparseLinear | MomentConv2d,
        generator: torch.Generator | None,
        pool: MomentAvgPool2d | MomentSumPool2d | None = None,
    ) -> MomentBlock:
        """Return a layer of neurons behind the given weights, its currents starting in their sensitive range."""
        centre, spread, noise_std = _sensitive_currents(self.lif)
        if self.background is not None:
            centre -= self.background.mean
        options: dict[str, Any] = {
            "noise": self.noise,
            "momentum": self.momentum,
            "eps": self.eps,
            "initial_bias": centre,
            "initial_weight": spread,
            "initial_noise": noise_std,
            "total_variance": self.total_variance,
        }
        norm = (
            MomentBatchNorm2d(linear.out_image, **options)
            if isinstance(linear, MomentConv2d)
            else MomentBatchNorm1d(linear.out_features, **options)
        )
        activation = MomentActivation(
            self.lif, linear.out_features, learn=self.learn, correlations=self.correlations, fixed_std=self.fixed_std
        )
        dropout = None
        if self.dropout:
            dropout = MomentDropout(self.dropout, int(torch.randint(2**31, (), generator=generator)))
        return MomentBlock(linear, norm, activation, self.background, dropout, pool)

    def forward(self, features: torch.Tensor) -> Moments:
        """Return the moments of the readout.

        Parameters
        ----------
        features : Tensor, shape (..., in_features)
            As the encoder takes them.

        Returns
        -------
        Moments
            Mean ``W · rate + b``, shape (..., outputs), and long-window covariance per ms: an average over a window
            of T ms has the covariance divided by T.
        """
        return self.readout(_read(self.blocks[-1], self.hidden(features)[-1]))

    def hidden(self, features: torch.Tensor) -> list[Moments]:
        """Return the moments of the spike trains of every hidden layer, first to last.

        Raises
        ------
        TypeError
            If the features are not a tensor of real numbers, or are of another precision than the network.
        """
        if isinstance(features, torch.Tensor) and features.is_floating_point() and features.dtype != self.dtype:
            own, given = (str(dtype).removeprefix("torch.") for dtype in (self.dtype, features.dtype))
            raise TypeError(
                f"features must be of the network's precision {own}, got {given}: `features.to(model.dtype)`"
            )
        moments = self.encoder(features)
        layers = []
        for block in self.blocks:
            trains = block(moments)
            layers.append(trains)
            if self.closure == "poisson":
                trains = trains._replace(covariance=trains.covariance.with_diagonal(trains.mean))
            moments = _read(block, trains)
        return layers

    @property
    def sizes(self) -> tuple[int, ...]:
        """Numbers of inputs, of neurons in each hidden layer, and of outputs."""
        return self.inputs, *(block.linear.out_features for block in self.blocks), self.outputs

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the parameters."""
        return self.readout.weight.dtype

    def parameter_groups(self, learning_rate: float, weight_decay: float = 0.0) -> list[dict[str, Any]]:
        """Return optimiser groups with a learning rate that suits each parameter's size.

        Readout weights are some `READOUT_SCALE` times larger than the others, and optimisers of the Adam family
        move every parameter by about the learning rate whatever its size. Weight decay is for weights only, and
        divided likewise, so that it pulls all weights at one pace.
        """
        readout = [self.readout.weight]
        weights = [parameter for block in self.blocks for parameter in block.linear.parameters()]
        named = {id(parameter) for parameter in [*readout, *weights]}
        others = [parameter for parameter in self.parameters() if id(parameter) not in named]
        return [
            {"params": weights, "lr": learning_rate, "weight_decay": weight_decay},
            {
                "params": readout,
                "lr": learning_rate * READOUT_SCALE,
                "weight_decay": weight_decay / READOUT_SCALE,
            },
            {"params": others, "lr": learning_rate, "weight_decay": 0.0},
        ]

    def config(self) -> dict[str, Any]:
        """Return what builds this network again (as JSON can hold it), apart from its state dict."""
        names: dict[torch.dtype, Literal["float32", "float64"]] = {
            torch.float32: "float32",
            torch.float64: "float64",
        }
        return {
            "network": type(self).__name__,
            "lif": self.lif.to_dict(),
            "encoder": self.encoder.config(),
            "noise": self.noise,
            "learn": list(self.learn),
            "correlations": self.correlations,
            "fixed_std": self.fixed_std,
            "dropout": self.dropout,
            "background": None if self.background is None else self.background.config(),
            "closure": self.closure,
            "momentum": self.momentum,
            "eps": self.eps,
            "dtype": names[self.dtype],
        }


def _read(block: MomentBlock, trains: Moments) -> Moments:
    """Return a block's spike trains as the next layer reads them."""
    return trains if block.pool is None else block.pool(trains)


COMMON = {
    "network", "lif", "encoder", "noise", "learn", "correlations", "fixed_std", "dropout", "background", "closure",
    "momentum", "eps", "dtype",
}  # fmt: skip


def arguments_from_config(
    kind: str, config: dict[str, Any], own: set[str], earlier: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the arguments that build a network of that kind from its configuration, of the common keys and its own.

    Parameters
    ----------
    kind : str
    config : dict
    own : set of str
        Keys besides those that all networks have.
    earlier : mapping, optional
        Values of keys that earlier configurations lack.

    Raises
    ------
    ValueError
        If a key is missing or unknown, or the configuration is of another kind of network.
    """
    expected = COMMON | own
    if config.get("network", kind) != kind:
        raise ValueError(f"the configuration is of a {config['network']}, not of a {kind}")
    earlier = earlier or {}
    if set(config) | set(earlier) != expected:
        raise ValueError(f"a network's configuration has the keys {sorted(expected)}, got {sorted(config)}")
    check_choice("dtype", config["dtype"], sorted(DTYPES))
    background = config["background"]
    arguments = {**earlier, **config} | {
        "lif": LIFParameters(**config["lif"]),
        "encoder": encoder_from_config(config["encoder"]),
        "background": None if background is None else background_from_config(background),
        "dtype": DTYPES[config["dtype"]],
    }
    del arguments["network"]
    return arguments


def checked_dtype(dtype: torch.dtype | None) -> torch.dtype:
    """Return the precision of a network, torch's default if none is given.

    Raises
    ------
    ValueError
        If it is neither float32 nor float64.
    """
    dtype = dtype or torch.get_default_dtype()
    if dtype not in DTYPES.values():
        raise ValueError(f"`dtype` must be torch.float32 or torch.float64, got {dtype}")
    return dtype


def generator_from(seed: int | torch.Generator | None) -> torch.Generator | None:
    """Return a generator of that seed; a generator as it is; None for the global one."""
    if seed is None or isinstance(seed, torch.Generator):
        return seed
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
        raise TypeError(f"`seed` must be a whole number or a torch.Generator, got {shown(seed)}")
    return torch.Generator().manual_seed(int(seed))


def _names(kinds: Any) -> str:
    """Return the name of a class, or of those of a union."""
    return " or ".join(kind.__name__ for kind in get_args(kinds) or (kinds,))


def _sensitive_currents(lif: LIFParameters) -> tuple[float, float, float]:
    """Return centre (at threshold) and spread (its distance from reset) of currents at the start, and their noise.

    The noise moves the membrane by ``σ √(tau_m/2)``, about a sixth of the way from reset to threshold.
    """
    distance = np.subtract(lif.v_th, lif.v_reset)
    return (
        float(np.mean(np.divide(lif.v_th, lif.tau_m))),
        float(np.mean(distance / lif.tau_m)),
        float(np.mean(0.25 * distance / np.sqrt(lif.tau_m))),
    )
