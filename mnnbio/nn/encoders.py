"""Encoders of features as Poisson spike trains, one or two per feature, or as Gaussian currents, and decoders.

An encoder owns the scaling of the features (buffers `shift` and `scale`), so that whatever holds the model, a
simulator included, takes the features as the user has them. A decoder reads the outputs of a network: their mean, or
the moments of their average over a window.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from mnnbio.machine import require_integer
from mnnbio.moments import Diagonal
from mnnbio.nn.correlated_inputs import (
    CommonNoiseEncoder,
    CorrelatedEncoder,
    FeatureMapEncoder,
    GratingEncoder,
    check_noise,
)
from mnnbio.nn.losses import check_window
from mnnbio.nn.state import Moments, looked_at
from mnnbio.units import flag, real_number, shown


class FeatureRangeWarning(UserWarning):
    """Features are lower than an encoder can carry, and count as the lowest value that it can."""


class _Scaled(nn.Module):
    """Features shifted and scaled: ``z = (x − shift)/scale``."""

    shift: torch.Tensor
    scale: torch.Tensor

    def __init__(
        self,
        in_features: int,
        shift: Any,
        scale: Any,
        dtype: torch.dtype | None,
        device: torch.device | str | None,
    ) -> None:
        super().__init__()
        require_integer("in_features", in_features, 1)
        self.in_features = in_features
        dtype = dtype or torch.get_default_dtype()
        for name, value in (("shift", shift), ("scale", scale)):
            values = torch.as_tensor(value, dtype=dtype, device=device)
            if values.ndim and values.shape != (in_features,):
                raise ValueError(
                    f"`{name}` must be a number or one value per feature ({in_features}), got shape "
                    f"{tuple(values.shape)}"
                )
            self.register_buffer(name, values.expand(in_features).clone())
        if not bool((self.scale > 0).all()):
            raise ValueError(f"`scale` must be > 0, got {self.scale.min().item()}")

    def scaled(self, features: torch.Tensor) -> torch.Tensor:
        """Return ``(x − shift)/scale``.

        Raises
        ------
        TypeError
            If the features are not a tensor of real numbers.
        ValueError
            If the last dimension is not the number of features.
        """
        if not isinstance(features, torch.Tensor) or features.is_complex():
            raise TypeError(f"features must be a tensor of real numbers, got {shown(features)}")
        if features.ndim == 0 or features.shape[-1] != self.in_features:
            raise ValueError(f"expected {self.in_features} features, got an input of shape {tuple(features.shape)}")
        return (features - self.shift) / self.scale

    def clipped(self, features: torch.Tensor, stacklevel: int = 2) -> torch.Tensor:
        """Return features with those that the encoder cannot carry raised to the lowest value that it can.

        Parameters
        ----------
        features : Tensor, shape (..., in_features)
        stacklevel : int
            Of the warning: 1 is this function, 2 the caller.

        Warns
        -----
        FeatureRangeWarning
            If there are such features; with their number, and the lowest.
        """
        return features


class PoissonEncoder(_Scaled):
    """Encode features as independent Poisson spike trains.

    Rates are ``max_rate · z`` with ``z = (x − shift)/scale``; with `on_off`, the first half of the channels fire at
    ``max_rate · max(z, 0)`` and the second half at ``max_rate · max(−z, 0)``, so that features of either sign are
    carried by rates, which cannot be negative.

    Parameters
    ----------
    in_features : int
        Number of features.
    max_rate : float
        Rate at z = 1, spikes/ms; > 0. A larger z gives a higher rate.
    on_off : bool
        Two channels per feature instead of one.
    shift, scale : float or array_like, shape (in_features,)
        Of the features, in their own units; scale > 0.
    noise_std : float
        Standard deviation of Gaussian white noise that is added to each train before weights are applied, 1/√ms; ≥ 0.
    dtype, device
        Of the buffers.

    Attributes
    ----------
    out_features : int
        Number of spike trains.
    """

    def __init__(
        self,
        in_features: int,
        max_rate: float = 1.0,
        on_off: bool = False,
        *,
        shift: Any = 0.0,
        scale: Any = 1.0,
        noise_std: float = 0.0,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__(in_features, shift, scale, dtype, device)
        max_rate, on_off = real_number(max_rate, "max_rate"), flag(on_off, "on_off")
        self.noise_std = real_number(noise_std, "noise_std")
        check_noise(self.noise_std)
        if not 0 < max_rate < float("inf"):
            raise ValueError(f"`max_rate` must be > 0 spikes/ms, got {max_rate}")
        self.max_rate, self.on_off = float(max_rate), on_off
        self.out_features = 2 * in_features if on_off else in_features

    def forward(self, features: torch.Tensor) -> Moments:
        """Return rates and variances of the spike trains for features of shape (..., in_features).

        Raises
        ------
        ValueError
            If the number of features is wrong, or a rate would be negative (without `on_off`).
        """
        z = self.scaled(features)
        if self.on_off:
            z = torch.cat([z.relu(), (-z).relu()], dim=-1)
        elif z.numel() and looked_at(z.detach().amin() < 0):
            place = tuple(int(k) for k in (z < 0).nonzero()[0])
            raise ValueError(
                f"Poisson rates must be ≥ 0, got the value {features[place].item():g} at index {place}; "
                "features that can be negative need on/off channels (on_off=True; encoding='on_off' of the estimators) "
                "or Gaussian currents"
            )
        rates = self.max_rate * z
        return Moments(rates, Diagonal(rates + self.noise_std**2 if self.noise_std else rates))

    def clipped(self, features: torch.Tensor, stacklevel: int = 2) -> torch.Tensor:
        """Return features with those below `shift`, whose rate would be negative, raised to it; all with `on_off`."""
        z = self.scaled(features)
        if self.on_off or not bool((z < 0).any()):
            return features
        place = tuple(int(k) for k in (z == z.amin()).nonzero()[0])
        least = self.shift[place[-1]]
        warnings.warn(
            f"{int((z < 0).sum())} of {features.numel()} values are too low for Poisson rates and count as the lowest "
            f"possible: {features[place].item():g} at index {place} as {least.item():g}. Such values are carried with "
            "encoding='on_off' of the estimators (on_off=True of PoissonEncoder)",
            FeatureRangeWarning,
            stacklevel=stacklevel,
        )
        return torch.maximum(features, self.shift.to(features))

    def config(self) -> dict[str, Any]:
        """Return what builds this encoder again, apart from its buffers."""
        return {
            "kind": "poisson",
            "in_features": self.in_features,
            "max_rate": self.max_rate,
            "on_off": self.on_off,
            "noise_std": self.noise_std,
        }

    def extra_repr(self) -> str:
        """Describe the settings."""
        return f"{self.in_features}, max_rate={self.max_rate}, on_off={self.on_off}"


class GaussianEncoder(_Scaled):
    """Encode features as currents: mean ``z = (x − shift)/scale`` and independent white noise of fixed strength.

    Parameters
    ----------
    in_features : int
        Number of features.
    std : float
        Standard deviation of the noise of each input, 1/√ms (mV/√ms through a weight of 1 mV); ≥ 0. 0 makes the
        inputs constant.
    shift, scale, dtype, device
        As in `PoissonEncoder`.

    Attributes
    ----------
    out_features : int
        Equal to `in_features`.
    """

    def __init__(
        self,
        in_features: int,
        std: float = 0.0,
        *,
        shift: Any = 0.0,
        scale: Any = 1.0,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__(in_features, shift, scale, dtype, device)
        std = real_number(std, "std")
        if not 0 <= std < float("inf"):
            raise ValueError(f"`std` must be ≥ 0 1/√ms, got {std}")
        self.std = float(std)
        self.out_features = in_features

    def forward(self, features: torch.Tensor) -> Moments:
        """Return mean and variance of the inputs for features of shape (..., in_features).

        Raises
        ------
        ValueError
            If the number of features is wrong.
        """
        z = self.scaled(features)
        return Moments(z, Diagonal(torch.full_like(z, self.std**2)))

    def config(self) -> dict[str, Any]:
        """Return what builds this encoder again, apart from its buffers."""
        return {"kind": "gaussian", "in_features": self.in_features, "std": self.std}

    def extra_repr(self) -> str:
        """Describe the settings."""
        return f"{self.in_features}, std={self.std}"


Encoder = PoissonEncoder | GaussianEncoder | CorrelatedEncoder

KINDS: dict[str, Callable[..., Encoder]] = {
    "common_noise": CommonNoiseEncoder,
    "feature_maps": FeatureMapEncoder,
    "gaussian": GaussianEncoder,
    "grating": GratingEncoder,
    "poisson": PoissonEncoder,
}


def encoder_from_config(config: dict[str, Any]) -> Encoder:
    """Build the encoder that `config` describes; its buffers come with the state dict.

    Raises
    ------
    ValueError
        If the kind is unknown.
    """
    options = dict(config)
    kind = options.pop("kind", None)
    if kind not in KINDS:
        raise ValueError(f"Invalid encoder kind {kind!r}. Must be one of {sorted(KINDS)}")
    return KINDS[kind](**options)


class MeanDecoder(nn.Module):
    """Read the mean alone: the average over an unlimited window."""

    def forward(self, moments: Moments) -> torch.Tensor:
        """Return the mean output, shape (..., outputs)."""
        return moments.mean


class WindowDecoder(nn.Module):
    """Read the average over a window, with its covariance: ``mean`` and ``covariance/T``.

    Parameters
    ----------
    window : float
        T, ms; > 0. Long against the interspike intervals: the covariance is its long-window limit.

    Raises
    ------
    ValueError
        If the window is not positive.
    """

    def __init__(self, window: float) -> None:
        super().__init__()
        check_window(window)
        self.window = float(window)

    def forward(self, moments: Moments) -> Moments:
        """Return the moments of the average, evaluated no further than the outputs' own."""
        scale = moments.mean.new_full(moments.mean.shape[-1:], self.window**-0.5)
        return Moments(moments.mean, moments.covariance.scale(scale))

    def extra_repr(self) -> str:
        """Describe the settings."""
        return f"window={self.window}"
