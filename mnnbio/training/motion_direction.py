"""The task of motion direction: which way a grating drifts, told by correlations of detectors alone."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, get_args

import torch

from mnnbio.machine import check_choice, require_integer
from mnnbio.units import real_number

Contrasts = Literal["linear", "logarithmic"]

# Detectors of gain 5 are modulated by up to 80 % at this contrast: rates stay above 0.
MAX_CONTRAST = 0.16


class Directions(NamedTuple):
    """Gratings and the directions in which they drift.

    Attributes
    ----------
    features : Tensor, shape (n, 2)
        Direction (radians, in (−π, π]) and contrast, as `mnnbio.nn.GratingEncoder` takes them.
    targets : Tensor, shape (n, 2)
        Cosine and sine of the direction.
    """

    features: torch.Tensor
    targets: torch.Tensor


def motion_directions(
    samples: int, max_contrast: float = MAX_CONTRAST, seed: int = 0, dtype: torch.dtype | None = None
) -> Directions:
    """Draw gratings of all directions and of contrasts between 0 and a largest one, both uniform.

    Parameters
    ----------
    samples : int
        ≥ 1.
    max_contrast : float
        > 0.
    seed : int
    dtype : torch.dtype, optional
        Torch's default if not given.

    Raises
    ------
    ValueError
        If an argument is out of range.

    References
    ----------
    Z. Zhu, Y. Qi, W. Lu, J. Feng (2024), Learn to integrate parts for whole through correlated neural variability,
    arXiv:2401.00746.

    Examples
    --------
    >>> from mnnbio.nn import GratingEncoder, MomentMLP
    >>> from mnnbio.training import TrainingOptions, train
    >>> encoder, gratings = GratingEncoder(64), motion_directions(500)
    >>> model = MomentMLP((encoder.out_features, 20, 2), encoder=encoder, seed=0)
    >>> options = TrainingOptions(loss="sampled_angle", label_smoothing=0, window=1, epochs=2)
    >>> training = train(model, gratings.features, gratings.targets, options)
    """
    require_integer("samples", samples, 1)
    require_integer("seed", seed, 0)
    _require_contrast(max_contrast)
    generator = torch.Generator().manual_seed(seed)
    # Directions in (−π, π]: the draw is of [0, 1).
    direction = math.pi - 2 * math.pi * torch.rand(samples, generator=generator, dtype=dtype)
    return _directions(direction, max_contrast * torch.rand(samples, generator=generator, dtype=dtype))


def direction_grid(
    number: int,
    max_contrast: float = MAX_CONTRAST,
    contrasts: Contrasts = "linear",
    dtype: torch.dtype | None = None,
) -> Directions:
    """Return gratings of every pair of so many directions and contrasts, for testing.

    Parameters
    ----------
    number : int
        Of directions, even around the circle up to π, and of contrasts; ≥ 1.
    max_contrast : float
        The largest, > 0.
    contrasts : {"linear", "logarithmic"}
        Even between 0, which is left out, and the largest; or even in the logarithm from a tenth of it on.
    dtype : torch.dtype, optional
        Torch's default if not given.

    Returns
    -------
    Directions
        All directions of the lowest contrast first.

    Raises
    ------
    ValueError
        If an argument is out of range.
    """
    require_integer("number", number, 1)
    check_choice("contrasts", contrasts, sorted(get_args(Contrasts)))
    _require_contrast(max_contrast)
    direction = torch.linspace(-math.pi, math.pi, number + 1, dtype=dtype)[1:]
    if contrasts == "linear":
        contrast = torch.linspace(0, max_contrast, number + 1, dtype=dtype)[1:]
    else:
        contrast = max_contrast * torch.logspace(-1, 0, number, dtype=dtype)
    return _directions(direction.repeat(number), contrast.repeat_interleave(number))


def direction_errors(outputs: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
    """Return the angles between directions as outputs have them and as they are.

    Parameters
    ----------
    outputs : Tensor, shape (..., 2)
        Along cosine and sine, of any length.
    features : Tensor, shape (..., 2)
        As in `Directions`.

    Returns
    -------
    Tensor, shape (...)
        Radians, in [0, π]; π/2 on average for answers that have nothing to do with the direction.
    """
    difference = torch.atan2(outputs[..., 1], outputs[..., 0]) - features[..., 0]
    return torch.atan2(difference.sin(), difference.cos()).abs()


def _directions(direction: torch.Tensor, contrast: torch.Tensor) -> Directions:
    targets = torch.stack([direction.cos(), direction.sin()], dim=-1)
    return Directions(torch.stack([direction, contrast], dim=-1), targets)


def _require_contrast(value: float) -> None:
    if not 0 < real_number(value, "max_contrast") < math.inf:
        raise ValueError(f"`max_contrast` must be > 0, got {value}")
