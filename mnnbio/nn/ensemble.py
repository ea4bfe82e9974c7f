"""Several networks that decide together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import nn

from mnnbio.moments.summed import Sum
from mnnbio.nn.state import Moments


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
