"""Encoders whose inputs are correlated: statistics of feature maps, and detectors of a drifting grating.

The inputs are Gaussian currents of a mean and a covariance that depend on what is shown. Exported, they become drives
with that covariance.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from torch import nn

from mnnbio.machine import check_choice, require_integer
from mnnbio.moments import Covariance, Dense, Diagonal, ImageShape, LowRank
from mnnbio.nn.state import Moments, looked_at
from mnnbio.units import checked_counts, flag, real_number, shown

Arrangement = Literal["hexagonal", "random"]

# Hexagonal grids: points of the square around a disc for one in it, and the height of rows.
SQUARE_POINTS, ROW_HEIGHT = 1.53, math.sqrt(3) / 2


def check_noise(noise_std: float) -> None:
    """Raise a `ValueError` unless a standard deviation is finite and ≥ 0."""
    if not 0 <= noise_std < math.inf:
        raise ValueError(f"`noise_std` must be ≥ 0 1/√ms, got {noise_std}")


class CorrelatedEncoder(nn.Module, ABC):
    """Base of encoders that make correlated currents of features.

    An encoder of a user's own derives from it, sets the attributes and has a ``forward`` from features to `Moments`: it
    encodes for a `MomentMLP`, and `export` makes a Gaussian drive of its moments, whatever they are.

    Attributes
    ----------
    in_features, out_features : int
        Numbers of features and of inputs.

    Examples
    --------
    >>> class Pairs(CorrelatedEncoder):
    ...     in_features, out_features = 1, 2
    ...
    ...     def forward(self, features):
    ...         correlated = torch.eye(2) + features.unsqueeze(-1) * (1 - torch.eye(2))
    ...         return Moments(torch.ones(*features.shape[:-1], 2), Dense(correlated))
    ...
    ...     def config(self):
    ...         return {"kind": "pairs"}
    >>> Pairs()(torch.tensor([[0.5], [0.0]])).covariance.to_dense()[0]
    tensor([[1.0000, 0.5000],
            [0.5000, 1.0000]])
    """

    in_features: int
    out_features: int

    @abstractmethod
    def forward(self, features: torch.Tensor) -> Moments:
        """Return mean and covariance of the inputs for features of shape (..., in_features)."""

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """Return what tells this encoder from others, as JSON can hold it."""

    def clipped(self, features: torch.Tensor, stacklevel: int = 2) -> torch.Tensor:
        """Return the features as they are."""
        return features

    def _require(self, features: torch.Tensor) -> None:
        """Raise an error unless features are real numbers, (..., in_features)."""
        if not isinstance(features, torch.Tensor) or not features.is_floating_point():
            raise TypeError(f"features must be a tensor of real numbers, got {shown(features)}")
        if features.ndim == 0 or features.shape[-1] != self.in_features:
            raise ValueError(f"expected {self.in_features} features, got an input of shape {tuple(features.shape)}")


class CommonNoiseEncoder(CorrelatedEncoder):
    """Encode features as currents that fluctuate together, with the variances of Poisson trains.

    ``μ_i = r x_i`` and ``C_ij = √(μ_i μ_j)``, a correlation of 1, with ``noise_std²`` more on the diagonal.

    Parameters
    ----------
    in_features : int
        Number of features, ≥ 0 each.
    max_rate : float
        r, 1/ms; > 0.
    noise_std : float
        Standard deviation of the noise that each input has of its own, 1/√ms; ≥ 0.

    Attributes
    ----------
    out_features : int
        Equal to `in_features`.
    """

    def __init__(self, in_features: int, max_rate: float = 1.0, noise_std: float = 0.0) -> None:
        super().__init__()
        require_integer("in_features", in_features, 1)
        self.in_features = self.out_features = in_features
        self.max_rate, self.noise_std = real_number(max_rate, "max_rate"), real_number(noise_std, "noise_std")
        if not 0 < self.max_rate < math.inf:
            raise ValueError(f"`max_rate` must be > 0 1/ms, got {max_rate}")
        check_noise(self.noise_std)

    def forward(self, features: torch.Tensor) -> Moments:
        """Return mean and covariance of the inputs for features of shape (..., in_features).

        Raises
        ------
        ValueError
            If the number of features is wrong, or one is negative.
        """
        self._require(features)
        if features.numel() and looked_at(features.detach().amin() < 0):
            raise ValueError(f"features must be ≥ 0, as variances are, got {features.min().item():g}")
        mean = self.max_rate * features
        return Moments(mean, LowRank(torch.full_like(mean, self.noise_std**2), mean.sqrt().unsqueeze(-1)))

    def config(self) -> dict[str, Any]:
        """Return what builds this encoder again."""
        return {
            "kind": "common_noise",
            "in_features": self.in_features,
            "max_rate": self.max_rate,
            "noise_std": self.noise_std,
        }

    def extra_repr(self) -> str:
        """Describe the settings."""
        return f"{self.in_features}, max_rate={self.max_rate}, noise_std={self.noise_std}"


class FeatureMapEncoder(CorrelatedEncoder):
    """Encode feature maps by the mean and covariance of each channel over the places of the image.

    ``μ_i = ⟨x_i⟩`` and ``C_ij = Σ (x_i − μ_i)(x_j − μ_j)/(places − 1)``, each channel one input. How channels vary
    together over an image says much of its texture, and a network of moments takes it as it takes noise correlations.

    Parameters
    ----------
    image : ImageShape or tuple of int
        Channels, height and width of the maps, as a convolutional network of torch gives them; at least two places.
        Features are flat, their axis runs over (channel, y, x): ``maps.flatten(-3)``.
    poisson : bool
        Whether each input has its mean as variance of its own besides, as spikes drawn at the rates of the maps have.
        Means must then be ≥ 0.
    correlations : bool
        Whether covariances are kept, or variances alone.

    Attributes
    ----------
    in_features, out_features : int
        Numbers of values and of channels.

    Raises
    ------
    ValueError
        If the image has a single place.

    References
    ----------
    Z. Zhu, Y. Qi, W. Lu, J. Feng (2024), arXiv:2401.00746.

    Examples
    --------
    >>> encoder = FeatureMapEncoder((3, 4, 4))
    >>> encoder(torch.rand(2, 3, 4, 4).flatten(-3)).covariance.to_dense().shape
    torch.Size([2, 3, 3])
    """

    def __init__(self, image: tuple[int, int, int], poisson: bool = True, correlations: bool = True) -> None:
        super().__init__()
        shape = checked_counts(image, "image")
        if len(shape) != 3 or shape[1] * shape[2] < 2:
            raise ValueError(f"`image` must be (channels, height, width) with at least two places, got {shape}")
        self.image = ImageShape(*shape)
        self.poisson, self.correlations = flag(poisson, "poisson"), flag(correlations, "correlations")
        self.in_features, self.out_features = self.image.size, self.image.channels

    def forward(self, features: torch.Tensor) -> Moments:
        """Return mean and covariance of the inputs for features of shape (..., in_features).

        Raises
        ------
        ValueError
            If the number of features is wrong, or the mean of a channel is negative (with `poisson`).
        """
        self._require(features)
        maps = features.unflatten(-1, (self.image.channels, -1))
        mean = maps.mean(-1)
        if self.poisson and mean.numel() and looked_at(mean.detach().amin() < 0):
            raise ValueError(
                f"with poisson=True the mean of a channel is a rate and must be ≥ 0, got {mean.min().item():g}: take "
                "the maps after a rectification, or poisson=False"
            )
        own = mean if self.poisson else torch.zeros_like(mean)
        factor = (maps - mean.unsqueeze(-1)) / math.sqrt(maps.shape[-1] - 1)
        return Moments(mean, self._covariance(own, factor))

    def _covariance(self, own: torch.Tensor, factor: torch.Tensor) -> Covariance:
        """Return ``diag(own) + factor factorᵀ``, in the form that takes the least memory."""
        if not self.correlations:
            return Diagonal(own + factor.square().sum(-1))
        if factor.shape[-1] < factor.shape[-2]:
            return LowRank(own, factor)
        return Dense(factor @ factor.mT + torch.diag_embed(own))

    def config(self) -> dict[str, Any]:
        """Return what builds this encoder again."""
        return {
            "kind": "feature_maps",
            "image": list(self.image),
            "poisson": self.poisson,
            "correlations": self.correlations,
        }

    def extra_repr(self) -> str:
        """Describe the settings."""
        return f"{tuple(self.image)}, poisson={self.poisson}, correlations={self.correlations}"


class Places(NamedTuple):
    """Where detectors look, each shape (n,), within the unit disc."""

    x: torch.Tensor
    y: torch.Tensor


def hexagonal_places(inputs: int) -> Places:
    """Return about half as many places as inputs on a hexagonal grid, twice: for detectors of both kinds."""
    wanted = SQUARE_POINTS * inputs / 2
    columns = int(math.sqrt(wanted / ROW_HEIGHT))
    rows = int(wanted // columns) if columns else 0
    x, y = np.meshgrid(np.arange(columns) * ROW_HEIGHT, np.arange(rows, dtype=float))
    x[::2] += ROW_HEIGHT / 2
    x, y = 2 * x / max(columns, 1) / ROW_HEIGHT**2 - 1, 2 * y / max(rows, 1) - 1
    inside = np.hypot(x, y) < 1
    return Places(*(torch.from_numpy(np.tile(values[inside], 2)) for values in (x, y)))


def random_places(inputs: int, seed: int) -> Places:
    """Return places drawn uniformly from the disc."""
    generator = torch.Generator().manual_seed(seed)
    angle, first, second = (torch.rand(inputs, generator=generator, dtype=torch.float32) for _ in range(3))
    # The sum of two uniform numbers, folded at 1, has a density that grows with the radius.
    radius = first + second
    radius = torch.where(radius > 1, 2 - radius, radius)
    angle = 2 * math.pi * angle
    return Places((radius * angle.cos()).double(), (radius * angle.sin()).double())


class GratingEncoder(CorrelatedEncoder):
    """Encode direction and contrast of a drifting grating by the correlations of detectors at many places.

    A grating of wave vector ``q = k (cos θ, sin θ)`` drifts with angular frequency ω. A detector of luminance at r has
    the rate ``a c0 (1 + g c cos(q·r − ω t))``, a detector of change ``b c0 (1 − ω g c sin(q·r − ω t))``: more where
    luminance falls. Over time all rates have the same mean, whatever the direction, so that a single detector tells
    nothing of it. The covariances of two detectors are those of their waves,

        C_ij = s_i s_j cos φ_ij, of the same kind,   ± s_i s_j sin φ_ij, of different kinds,   φ_ij = q·(r_i − r_j),

    with ``s = a c0 g c √(T/2)`` for luminance and ω b/a times that for change, T the time over which a rate counts as
    constant; besides, every input has its mean as variance of its own, as spikes have. The direction is a matter of
    correlations alone, which is what makes the task one for networks that pass them on.

    Parameters
    ----------
    inputs : int
        Number of detectors; of a hexagonal grid about so many, see `out_features`.
    arrangement : {"hexagonal", "random"}
        Two detectors, one of each kind, at every place of a grid, or places drawn for each.
    luminance_share : float
        Share of detectors of luminance, which come first; in [0, 1].
    frequency : float
        ω, radians/ms.
    wave_number : float
        k, radians per radius of the disc.
    rate : float
        c0, spikes/ms; > 0.
    gain : float
        g.
    luminance, change : float
        a and b, factors of the rates of the two kinds; > 0.
    window : float
        T, ms; > 0.
    seed : int
        Of random places.

    Attributes
    ----------
    in_features : int
        2: direction θ (radians) and contrast c, in this order.
    out_features : int
        Number of detectors; 254 for 256 on a hexagonal grid.
    x, y : Tensor, shape (out_features,)
        Places, in the unit disc.

    Raises
    ------
    ValueError
        If an argument is out of range, or the grid has no place.

    References
    ----------
    Z. Zhu, Y. Qi, W. Lu, J. Feng (2024), Learn to integrate parts for whole through correlated neural variability,
    arXiv:2401.00746: the task, with the parameters that are the defaults here.

    Examples
    --------
    >>> encoder = GratingEncoder(256)
    >>> encoder.out_features
    254
    >>> right, left = encoder(torch.tensor([[0.0, 0.1], [torch.pi, 0.1]]))  # a Moments: mean and covariance
    >>> bool((right[0] == right[1]).all())  # the means do not tell them apart
    True
    """

    x: torch.Tensor
    y: torch.Tensor

    def __init__(
        self,
        inputs: int = 256,
        arrangement: Arrangement = "hexagonal",
        *,
        luminance_share: float = 0.5,
        frequency: float = 1.0,
        wave_number: float = 5 * math.pi,
        rate: float = 1.0,
        gain: float = 5.0,
        luminance: float = 1.0,
        change: float = 1.0,
        window: float = 1.0,
        seed: int = 2,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        require_integer("inputs", inputs, 1)
        require_integer("seed", seed, 0)
        check_choice("arrangement", arrangement, sorted(get_args(Arrangement)))
        settings = {
            "luminance_share": luminance_share,
            "frequency": frequency,
            "wave_number": wave_number,
            "rate": rate,
            "gain": gain,
            "luminance": luminance,
            "change": change,
            "window": window,
        }
        self.settings = {name: real_number(value, name) for name, value in settings.items()}
        for name in ("rate", "luminance", "change", "window"):
            if not 0 < self.settings[name] < math.inf:
                raise ValueError(f"`{name}` must be > 0, got {self.settings[name]}")
        if not 0 <= luminance_share <= 1:
            raise ValueError(f"`luminance_share` must be in [0, 1], got {luminance_share}")
        places = hexagonal_places(inputs) if arrangement == "hexagonal" else random_places(inputs, seed)
        if not len(places.x):
            raise ValueError(f"a hexagonal grid needs more inputs for a place in the disc, got {inputs}")
        self.inputs, self.arrangement, self.seed = inputs, arrangement, seed
        self.in_features, self.out_features = 2, len(places.x)
        dtype = dtype or torch.get_default_dtype()
        self.register_buffer("x", places.x.to(dtype=dtype, device=device))
        self.register_buffer("y", places.y.to(dtype=dtype, device=device))

    def _of_kinds(self, luminance: float, change: float) -> torch.Tensor:
        """Return one value for each detector, of luminance and of change."""
        first = int(self.out_features * self.settings["luminance_share"])
        values = self.x.new_full((self.out_features,), change)
        values[:first] = luminance
        return values

    def _rates(self) -> torch.Tensor:
        s = self.settings
        return s["rate"] * self._of_kinds(s["luminance"], s["change"])

    def _modulation(self, contrast: torch.Tensor) -> torch.Tensor:
        """Return the amplitude of each detector's rate, shape (..., out_features), for contrasts (..., 1)."""
        s = self.settings
        return contrast * s["gain"] * self._rates() * self._of_kinds(1.0, s["frequency"])

    def _phases(self, direction: torch.Tensor) -> torch.Tensor:
        """Return the phase of each detector's wave, shape (..., out_features), for directions (..., 1).

        That of change leads by a quarter: its wave is a cosine too.
        """
        along = direction.cos() * self.x + direction.sin() * self.y
        return self.settings["wave_number"] * along + self._of_kinds(0.0, math.pi / 2)

    def forward(self, features: torch.Tensor) -> Moments:
        """Return mean and covariance of the detectors' rates for directions and contrasts, shape (..., 2).

        Raises
        ------
        ValueError
            If the number of features is wrong.
        """
        self._require(features)
        direction, contrast = features[..., :1], features[..., 1:]
        phases, mean = self._phases(direction), self._rates().expand(*features.shape[:-1], -1)
        spread = self._modulation(contrast) * math.sqrt(self.settings["window"] / 2)
        # cos(a − b) is the inner product of two waves a quarter apart.
        waves = spread.unsqueeze(-1) * torch.stack([phases.cos(), phases.sin()], dim=-1)
        return Moments(mean, LowRank(mean, waves))

    def rates(self, features: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
        """Return the rates of the detectors in time, spikes/ms.

        Parameters
        ----------
        features : Tensor, shape (..., 2)
            Directions and contrasts.
        times : Tensor, shape (t,)
            ms.

        Returns
        -------
        Tensor, shape (t, ..., out_features)
            As `mnnbio.PoissonSource` takes them in `mnnbio.values.Samples`, where they are ≥ 0: contrasts up to 1/gain.
        """
        self._require(features)
        direction, contrast = features[..., :1], features[..., 1:]
        clock = self.settings["frequency"] * times.reshape(-1, *[1] * features.ndim)
        return self._rates() + self._modulation(contrast) * (self._phases(direction) - clock).cos()

    def config(self) -> dict[str, Any]:
        """Return what builds this encoder again."""
        own = {"kind": "grating", "inputs": self.inputs, "arrangement": self.arrangement, "seed": self.seed}
        return own | self.settings

    def extra_repr(self) -> str:
        """Describe the settings."""
        return f"{self.inputs}, arrangement={self.arrangement!r}, {self.out_features} detectors"
