"""The choice of encoder for a table of features, and its scaling."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import torch

from mnnbio.machine import check_choice
from mnnbio.nn import Encoder, GaussianEncoder, PoissonEncoder

Encoding = Literal["auto", "poisson", "on_off", "gaussian"]
Scaling = Literal["feature", "global", "none"]

# On/off channels reach `max_rate` at so many standard deviations from the mean.
FULL_INTENSITY = 2.0


def make_encoder(features: npt.NDArray[np.floating], encoding: Encoding, scaling: Scaling, max_rate: float) -> Encoder:
    """Return an encoder fitted to training data.

    Parameters
    ----------
    features : ndarray, shape (n, features)
    encoding : {"auto", "poisson", "on_off", "gaussian"}
        - "poisson": one Poisson spike train per feature, rate proportional to the value; the largest value has
          `max_rate`, negative values are errors.
        - "on_off": two trains per feature, for values above and below the mean; two standard deviations away they
          have `max_rate`.
        - "gaussian": a current in units of standard deviations from the mean.
        - "auto": "poisson" if no training value is negative, else "on_off".
    scaling : {"feature", "global", "none"}
        Whether largest value, or mean and standard deviation, are those of each feature, of all together (pixels of an
        image), or are left as 1, or 0 and 1.
    max_rate : float
        Spikes/ms.

    Returns
    -------
    PoissonEncoder or GaussianEncoder

    Raises
    ------
    ValueError
        If an option is unknown, or "poisson" meets a negative value.
    """
    for name, value, choices in (
        ("encoding", encoding, get_args(Encoding)),
        ("scaling", scaling, get_args(Scaling)),
    ):
        check_choice(name, value, sorted(choices))
    if encoding == "auto":
        encoding = "on_off" if (features < 0).any() else "poisson"
    if encoding == "poisson":
        _require_not_negative(features)
    in_features = features.shape[1]
    shift, scale = _scaling(features, encoding, scaling)
    if encoding == "gaussian":
        return GaussianEncoder(in_features, shift=shift, scale=scale, dtype=torch.float64)
    return PoissonEncoder(in_features, max_rate, encoding == "on_off", shift=shift, scale=scale, dtype=torch.float64)


def _scaling(
    features: npt.NDArray[np.floating], encoding: Encoding, scaling: Scaling
) -> tuple[npt.NDArray[np.float64] | float, npt.NDArray[np.float64] | float]:
    """Return shift and scale; features that never vary keep the scale 1."""
    if scaling == "none":
        return 0.0, 1.0
    axis = None if scaling == "global" else 0
    largest = features.max(axis=axis).astype(np.float64)
    if encoding == "poisson":
        return 0.0, np.where(largest > 0, largest, 1.0)
    # Sums of float32 values lose digits that the scaling should keep.
    centre = features.mean(axis=axis, dtype=np.float64)
    spread = features.std(axis=axis, dtype=np.float64)
    if encoding == "on_off":
        spread = FULL_INTENSITY * spread
    return centre, np.where(largest > features.min(axis=axis), spread, 1.0)


def _require_not_negative(features: npt.NDArray[np.floating]) -> None:
    negative = np.argwhere(features < 0)
    if len(negative):
        row, column = (int(k) for k in negative[0])
        raise ValueError(
            f"Negative values in data: encoding='poisson' needs features ≥ 0, got {features[row, column]} in row "
            f"{row}, feature {column}; use encoding='on_off' or 'gaussian'"
        )
