"""Features of tables as inputs of spiking networks, step by step: currents, flicker, Poisson spikes and latencies."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from mnnbio.machine import check_choice
from mnnbio.nn import Encoder, GaussianEncoder, PoissonEncoder
from mnnbio.training.encoding import Scaling, make_encoder
from mnnbio.units import require

InputEncoding = Literal["current", "flicker", "poisson", "latency"]
INPUT_ENCODINGS = get_args(InputEncoding)
# Encodings that draw random numbers.
RANDOM = ("flicker", "poisson")


def constant_steps(values: Tensor, steps: int) -> Tensor:
    """Return the same values in every step, shape (steps, ...)."""
    return values.expand(steps, *values.shape)


def flicker_steps(values: Tensor, uniform: Tensor) -> Tensor:
    """Return values times uniform random numbers, new ones in every step, as published by pynmsnn.

    Parameters
    ----------
    values : Tensor, shape (batch, channels)
    uniform : Tensor, shape (steps, batch or 1, channels)
        In [0, 1).

    Returns
    -------
    Tensor, shape (steps, batch, channels)
    """
    return values * uniform


def bernoulli_steps(probability: Tensor, uniform: Tensor) -> Tensor:
    """Return independent spikes (0 or 1) of a probability per step; from probability 1 on, one in every step.

    Parameters
    ----------
    probability : Tensor, shape (batch, channels)
        ≥ 0.
    uniform : Tensor, shape (steps, batch or 1, channels)
        In [0, 1).

    Returns
    -------
    Tensor, shape (steps, batch, channels)
    """
    return (uniform < probability).to(probability.dtype)


def latency_steps(intensity: Tensor, steps: int) -> Tensor:
    """Return one spike a channel, the earlier the larger its intensity.

    It comes in step ``round((1 − intensity)(steps − 1))``, counted from 0: in the first for intensities from 1 on. An
    intensity of 0 gives no spike.

    Parameters
    ----------
    intensity : Tensor, shape (batch, channels)
        ≥ 0.
    steps : int

    Returns
    -------
    Tensor, shape (steps, batch, channels)
    """
    place = ((1 - intensity.clamp(max=1)) * (steps - 1)).round()
    at = torch.arange(steps, dtype=intensity.dtype, device=intensity.device)
    return ((at[:, None, None] == place) & (intensity > 0)).to(intensity.dtype)


def channel_encoder(
    features: npt.NDArray[np.floating], encoding: InputEncoding, scaling: Scaling, max_rate: float
) -> Encoder:
    """Return the encoder of a table's features as channels: their scaling, and pairs of channels for either sign.

    Parameters
    ----------
    features : ndarray, shape (n, features)
        Training data.
    encoding : {"current", "flicker", "poisson", "latency"}
        Currents carry values in standard deviations from the mean. Spikes carry intensities from 0 to 1: features that
        are never negative over their largest value, others by two channels, above and below the mean, with intensity 1
        at two standard deviations.
    scaling : {"feature", "global", "none"}
        As for `mnnbio.training.make_encoder`.
    max_rate : float
        Poisson rate at intensity 1, spikes/ms.

    Returns
    -------
    PoissonEncoder or GaussianEncoder

    Raises
    ------
    ValueError
        If an option is unknown.
    """
    check_choice("encoding", encoding, INPUT_ENCODINGS)
    return make_encoder(features, "auto" if encoding in ("poisson", "latency") else "gaussian", scaling, max_rate)


class StepEncoder(nn.Module):
    """Inputs of a network in every time step, from the channels of an encoder.

    In training every stimulus and step has random numbers of its own. In evaluation all stimuli share those of one
    draw, so that the answer to a stimulus does not depend on what stands beside it.

    Parameters
    ----------
    encoder : PoissonEncoder or GaussianEncoder
        As `channel_encoder` returns it.
    encoding : {"current", "flicker", "poisson", "latency"}
    steps : int
        Number of time steps; ≥ 1.
    dt : float
        Time step, ms.
    seed : int
        Of the random numbers.

    Attributes
    ----------
    draws : Tensor
        How many times random numbers were drawn in training: part of the state, so that a training goes on with
        others where it was interrupted.

    Raises
    ------
    ValueError
        If spikes meet an encoder of currents or the reverse, or a rate is above one spike a step.
    """

    draws: Tensor

    def __init__(self, encoder: Encoder, encoding: InputEncoding, steps: int, dt: float, seed: int) -> None:
        super().__init__()
        check_choice("encoding", encoding, INPUT_ENCODINGS)
        kind = PoissonEncoder if encoding in ("poisson", "latency") else GaussianEncoder
        if not isinstance(encoder, kind):
            raise ValueError(f"encoding={encoding!r} needs a {kind.__name__}, got a {type(encoder).__name__}")
        if isinstance(encoder, PoissonEncoder) and encoder.noise_std:
            raise ValueError(
                f"inputs of single steps have no Gaussian noise: noise_std must be 0, got {encoder.noise_std}"
            )
        if encoding == "poisson" and isinstance(encoder, PoissonEncoder):
            require(encoder.max_rate * dt <= 1, "max_rate", f"≤ 1/dt = {1 / dt:g} spikes/ms", encoder.max_rate)
        self.encoder, self.encoding, self.steps, self.dt, self.seed = encoder, encoding, steps, dt, seed
        self.register_buffer("draws", torch.zeros((), dtype=torch.int64))

    def channels(self, features: Tensor) -> Tensor:
        """Return the values of the channels, shape (batch, channels): currents, or intensities from 0 on."""
        values = self.encoder(features).mean
        return values / self.encoder.max_rate if isinstance(self.encoder, PoissonEncoder) else values

    def forward(self, features: Tensor) -> Tensor:
        """Return the inputs of all steps, shape (steps, batch, channels), for features of shape (batch, features)."""
        values = self.channels(features)
        if self.encoding == "current":
            return constant_steps(values, self.steps)
        if self.encoding == "latency":
            return latency_steps(values, self.steps)
        uniform = self._uniform(values)
        if self.encoding == "flicker":
            return flicker_steps(values, uniform)
        assert isinstance(self.encoder, PoissonEncoder)
        return bernoulli_steps(values * (self.encoder.max_rate * self.dt), uniform)

    def mean(self, features: Tensor) -> Tensor:
        """Return the mean input per step, shape (batch, channels)."""
        values = self.channels(features)
        if self.encoding == "flicker":
            return values / 2
        if self.encoding == "latency":
            return (values > 0).to(values.dtype) / self.steps
        if self.encoding == "poisson":
            assert isinstance(self.encoder, PoissonEncoder)
            return (values * (self.encoder.max_rate * self.dt)).clamp(max=1)
        return values

    def _uniform(self, values: Tensor) -> Tensor:
        """Return uniform random numbers, in training of every stimulus, else of one for all."""
        shape = (self.steps, len(values) if self.training else 1, values.shape[-1])
        generator = torch.Generator(device=values.device)
        if self.training:
            self.draws += 1
            # Far from the seeds of others, whatever the number of draws.
            generator.manual_seed((self.seed * 1_000_003 + int(self.draws)) % 2**63)
        else:
            generator.manual_seed(self.seed)
        # Drawn alike in every precision: a network and its copy in double precision see the same inputs.
        return torch.rand(shape, generator=generator, device=values.device).to(values.dtype)
