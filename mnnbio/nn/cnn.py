"""A convolutional moment network: convolutions with pooling, dense hidden layers, a linear readout."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, get_args

import torch
from torch import nn

from mnnbio.machine import check_choice
from mnnbio.moments import ImageShape
from mnnbio.neurons import LIFParameters
from mnnbio.nn.convolution import MomentAvgPool2d, MomentConv2d, MomentSumPool2d
from mnnbio.nn.encoders import Encoder
from mnnbio.nn.linear import MomentLinear
from mnnbio.nn.moment_network import (
    READOUT_SCALE,
    Closure,
    MomentBlock,
    MomentNetwork,
    arguments_from_config,
    checked_dtype,
    generator_from,
)
from mnnbio.nn.spiking_layers import Background, Correlations, NeuronParameter
from mnnbio.units import checked_counts

Pool = Literal["average", "sum"]


class MomentCNN(MomentNetwork):
    """Convolutional network of leaky integrate-and-fire neurons, described by mean and covariance.

    Every convolution, of stride 1 and with a margin of zeros that keeps the size of the image (of odd kernels), is
    followed by batch normalisation, the neurons, and pooling of their spike trains; then come dense hidden layers, if
    any, and the readout. Features are flattened images, in the order (channel, y, x).

    Covariances are kept in full, each evaluated only as far as the next layer needs. Their cost is small behind one
    convolution and moderate behind two; a third one forms the covariance matrix of the layer before it, for every
    sample. ``correlations="variance"`` passes on variances alone, at about the cost of two networks of rates.

    Parameters
    ----------
    image : ImageShape or tuple of int
        Channels, height and width of what the encoder gives: an encoder with on/off channels doubles the channels.
    channels : sequence of int
        Kernels of each convolution.
    outputs : int
        Number of outputs.
    kernel : int or sequence of int
        Side of the kernels, of all convolutions or of each.
    pool : int or sequence of int
        Side of the pooling windows; 1 for none.
    hidden : sequence of int
        Neurons of the dense hidden layers.
    pooling : {"average", "sum"}
        What pooling does with the trains of a window.
    lif, encoder, noise, learn, correlations, fixed_std, dropout, background, closure
        As in `MomentMLP`.
    momentum, eps, seed, dtype, device
        As in `MomentMLP`.

    Attributes
    ----------
    encoder, readout, lif
        As in `MomentMLP`.
    blocks : ModuleList of MomentBlock
        Hidden layers, convolutions first: `linear` is a `MomentConv2d` or a `MomentLinear`, `pool` how the next layer
        reads it (None: as it is).

    Raises
    ------
    ValueError
        If the sizes do not fit together.

    Examples
    --------
    >>> model = MomentCNN((1, 8, 8), (4, 8), 10, hidden=(20,), seed=0).eval()
    >>> [tuple(trains.mean.shape) for trains in model.hidden(torch.ones(2, 64))]
    [(2, 256), (2, 128), (2, 20)]
    """

    def __init__(
        self,
        image: tuple[int, int, int],
        channels: Sequence[int],
        outputs: int,
        *,
        kernel: int | Sequence[int] = 3,
        pool: int | Sequence[int] = 2,
        hidden: Sequence[int] = (),
        pooling: Pool = "average",
        lif: LIFParameters | None = None,
        encoder: Encoder | None = None,
        noise: bool = True,
        learn: Iterable[NeuronParameter] = (),
        correlations: Correlations = "full",
        fixed_std: float = 0.0,
        dropout: float = 0.0,
        background: Background | None = None,
        closure: Closure = "moments",
        momentum: float = 0.1,
        eps: float = 1e-5,
        seed: int | torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        dtype = checked_dtype(dtype)
        shape = _checked_image(image)
        numbers = {"channels": checked_counts(channels, "channels"), "hidden": checked_counts(hidden, "hidden")}
        if not numbers["channels"]:
            raise ValueError("`channels` must name at least one convolution, got none; use MomentMLP without any")
        (checked_outputs,) = checked_counts([outputs], "outputs")
        check_choice("pooling", pooling, get_args(Pool))
        super().__init__(
            shape.size,
            checked_outputs,
            lif,
            encoder,
            noise,
            learn,
            correlations,
            fixed_std,
            dropout,
            background,
            closure,
            momentum,
            eps,
        )
        self.image, self.channels, self.widths = shape, numbers["channels"], numbers["hidden"]
        self.kernel = _for_each(kernel, "kernel", len(self.channels))
        self.pool = _for_each(pool, "pool", len(self.channels))
        self.pooling = pooling
        if self.encoder.out_features != self.inputs:
            raise ValueError(
                f"`image` must have as many values as the encoder gives, {self.encoder.out_features}, "
                f"got {tuple(self.image)} with {self.inputs}"
            )
        generator = generator_from(seed)
        # A ModuleList, typed by what its users do with it: torch's does not know the type of its items.
        self.blocks = nn.ModuleList(self._layers(generator))  # type: ignore[assignment]
        last = self.blocks[-1]
        size = last.linear.out_features if last.pool is None else last.pool.out_image.size
        self.readout = MomentLinear(size, self.outputs, bias=True, weight_scale=READOUT_SCALE, generator=generator)
        # Drawn in the default precision on the CPU, then moved: the seed means the same weights everywhere.
        self.to(dtype=dtype, device=device)

    def _layers(self, generator: torch.Generator | None) -> list[MomentBlock]:
        """Return the hidden layers."""
        blocks, shape = [], self.image
        for number, kernel, window in zip(self.channels, self.kernel, self.pool, strict=True):
            convolution = MomentConv2d(shape, number, kernel, generator=generator)
            reader, shape = None, convolution.out_image
            if window > 1:
                reader = (MomentAvgPool2d if self.pooling == "average" else MomentSumPool2d)(shape, window)
                shape = reader.out_image
            blocks.append(self._block(convolution, generator, reader))
        size = shape.size
        for width in self.widths:
            blocks.append(self._block(MomentLinear(size, width, generator=generator), generator))
            size = width
        return blocks

    def config(self) -> dict[str, Any]:
        """Return what builds this network again (as JSON can hold it), apart from its state dict."""
        return {
            "image": list(self.image),
            "channels": list(self.channels),
            "outputs": self.outputs,
            "kernel": list(self.kernel),
            "pool": list(self.pool),
            "hidden": list(self.widths),
            "pooling": self.pooling,
            **super().config(),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> MomentCNN:
        """Build the network that `config` describes; load its state dict afterwards.

        Raises
        ------
        ValueError
            If a key is missing or unknown, or it is of another kind of network.
        """
        own = {"image", "channels", "outputs", "kernel", "pool", "hidden", "pooling"}
        return cls(**arguments_from_config("MomentCNN", config, own), seed=0)


def _checked_image(image: Sequence[int]) -> ImageShape:
    shape = checked_counts(image, "image")
    if len(shape) != 3:
        raise ValueError(f"`image` must be (channels, height, width), got {shape}")
    return ImageShape(*shape)


def _for_each(value: int | Sequence[int], name: str, count: int) -> tuple[int, ...]:
    """Return one number for each convolution."""
    values = checked_counts([value] * count if isinstance(value, int) else value, name)
    if len(values) != count:
        raise ValueError(f"`{name}` must be a number or one for each of the {count} convolutions, got {values}")
    return values
