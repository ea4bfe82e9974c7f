"""Artificial twins of moment networks, plain torch networks of the same shape, and networks that decide together."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence

import torch
from torch import nn

from mnnbio.moments import Sum
from mnnbio.nn.convolution import MomentAvgPool2d, MomentConv2d
from mnnbio.nn.encoders import Encoder
from mnnbio.nn.linear import SparseLinear
from mnnbio.nn.moment_network import MomentNetwork
from mnnbio.nn.state import Moments
from mnnbio.units import shown


class EncodedMean(nn.Module):
    """Give a plain network the input that a moment network receives: the mean of its encoder.

    Parameters
    ----------
    encoder : PoissonEncoder or GaussianEncoder
    """

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return the mean input, shape (..., out_features)."""
        return self.encoder(features).mean


def ann_twin(model: MomentNetwork, *, seed: int | None = None) -> nn.Sequential:
    """Return a plain torch network with the layers of a moment network, at new initial weights.

    Every layer of neurons becomes weights → batch normalisation → ReLU, pooling and dropout stay what they are, and
    the readout becomes a linear layer with bias. Weights are as many and start as torch has it.

    Parameters
    ----------
    model : MomentMLP or MomentCNN
        Not changed.
    seed : int, optional
        Of the initial weights; torch's global generator by default.

    Returns
    -------
    Sequential
        Takes features as the model does, shape (batch, in_features), and returns outputs, shape (batch, outputs). In
        the model's precision and on its device.

    Raises
    ------
    TypeError
        If it is no moment network.
    ValueError
        If the model has layers of fixed in-degree, of which torch has no like.

    Examples
    --------
    >>> from mnnbio.nn import MomentMLP
    >>> ann_twin(MomentMLP((4, 6, 3)))(torch.ones(2, 4)).shape
    torch.Size([2, 3])
    """
    if not isinstance(model, MomentNetwork):
        raise TypeError(f"`model` must be a MomentMLP or a MomentCNN, got {shown(model)}")
    state = torch.get_rng_state()
    try:
        if seed is not None:
            torch.manual_seed(seed)
        twin = nn.Sequential(*_layers(model))
    finally:
        if seed is not None:
            torch.set_rng_state(state)
    return twin.to(model.readout.weight)


def _layers(model: MomentNetwork) -> list[nn.Module]:
    layers: list[nn.Module] = [EncodedMean(copy.deepcopy(model.encoder))]
    image: tuple[int, ...] | None = None  # shape of what the next layer reads, where it is not flat
    for block in model.blocks:
        source = block.linear
        if isinstance(source, SparseLinear):
            raise ValueError("a layer of fixed in-degree has no twin among torch's layers")
        if isinstance(source, MomentConv2d):
            if image is None:
                layers.append(nn.Unflatten(1, tuple(source.image)))
            layers.append(
                nn.Conv2d(
                    source.image.channels,
                    source.out_image.channels,
                    source.kernel_size,
                    source.stride,
                    source.padding,
                    bias=False,
                )
            )
            image = source.out_image
            layers.append(nn.BatchNorm2d(source.out_image.channels, block.norm.eps, block.norm.momentum))
        else:
            if image is not None:
                layers.append(nn.Flatten())
                image = None
            layers.append(nn.Linear(source.in_features, source.out_features, bias=False))
            layers.append(nn.BatchNorm1d(source.out_features, block.norm.eps, block.norm.momentum))
        layers.append(nn.ReLU())
        if block.dropout is not None:
            layers.append(nn.Dropout(block.dropout.p))
        if block.pool is not None:
            divisor = None if isinstance(block.pool, MomentAvgPool2d) else 1
            layers.append(nn.AvgPool2d(block.pool.window, divisor_override=divisor))
    if image is not None:
        layers.append(nn.Flatten())
    layers.append(nn.Linear(model.readout.in_features, model.readout.out_features))
    return layers


class MomentEnsemble(nn.Module):
    """Average the outputs of several networks that are shown the same features.

    The mean is the mean of means, ``Σ μ_m / M``. Every member has input spike trains and noise of its own, so given
    the features members are independent and the covariance of the average is ``Σ C_m / M²``.

    Parameters
    ----------
    members : iterable of Module
        Networks, features to `Moments`, with one number of outputs; at least one.

    Attributes
    ----------
    members : ModuleList

    Raises
    ------
    ValueError
        If there is no member.
    """

    def __init__(self, members: Iterable[nn.Module]) -> None:
        super().__init__()
        if isinstance(members, nn.Module) and not isinstance(members, nn.ModuleList):
            raise TypeError(f"`members` must be several networks, got one {type(members).__name__}")
        self.members: Sequence[nn.Module] = nn.ModuleList(members)  # type: ignore[assignment]
        if not len(self.members):
            raise ValueError("an ensemble needs at least one member, got none")

    def forward(self, features: torch.Tensor) -> Moments:
        """Return the moments of the average output, for features as the members take them.

        Raises
        ------
        ValueError
            If members have different numbers of outputs.
        """
        return average([member(features) for member in self.members])


def average(outputs: Sequence[Moments]) -> Moments:
    """Return the moments of the average of independent variables of one shape.

    Raises
    ------
    ValueError
        If shapes differ.
    """
    shapes = [tuple(moments.mean.shape) for moments in outputs]
    if len(set(shapes)) > 1:
        raise ValueError(f"all members must have outputs of one shape, got {shapes}")
    share = 1 / len(outputs)
    mean = torch.stack([moments.mean for moments in outputs]).mean(0)
    scale = mean.new_full(mean.shape[-1:], share)
    return Moments(mean, Sum([moments.covariance.scale(scale) for moments in outputs]))
