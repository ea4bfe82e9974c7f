"""Layers of spiking neurons: moments of the current in, moments of the spike trains out; and their background input."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import nn

from mnnbio.machine import check_choice
from mnnbio.moments import Diagonal, Neuron, NeuronTensors, moment_activation
from mnnbio.neurons import LIFParameters
from mnnbio.nn.state import Moments, looked_at
from mnnbio.units import real_number, shown

NeuronParameter = Literal["tau_m", "v_th", "v_reset", "t_ref"]
Correlations = Literal["full", "variance", "none"]


def standard_deviation(variance: torch.Tensor) -> torch.Tensor:
    """Return √variance of currents, with gradient 0 instead of infinity where the variance is exactly 0.

    Parameters
    ----------
    variance : Tensor, shape (..., n)
        mV²/ms. Where it is negative by no more than rounding, which sums of products may leave of zero, it counts as 0.

    Returns
    -------
    Tensor, shape (..., n)
        mV/√ms.

    Raises
    ------
    ValueError
        If a variance is negative, where values can be looked at.
    """
    all_positive = looked_at((variance.detach() > 0).all())
    if all_positive:
        return variance.sqrt()
    if all_positive is False:
        _require_not_negative(variance.detach())
    positive = variance > 0
    return torch.where(positive, torch.where(positive, variance, 1.0).sqrt(), 0.0 * variance)


def _require_not_negative(variance: torch.Tensor) -> None:
    """Raise a `ValueError` naming the first variance that is negative beyond rounding."""
    negative = variance < -1e3 * torch.finfo(variance.dtype).eps * variance.abs().amax(-1, keepdim=True)
    if bool(negative.any()):
        place = tuple(int(k) for k in negative.nonzero()[0])
        raise ValueError(
            f"the variance of a current must be ≥ 0 mV²/ms, got {variance[place].item():g} at index {place}: "
            "the covariance is not positive semidefinite"
        )


def learned_neurons(initial: NeuronTensors, raw: dict[str, torch.Tensor]) -> NeuronTensors:
    """Return neurons whose learned parameters stay in their valid range for every raw value θ.

    ``tau_m = tau_m⁰ e^θ``, ``t_ref = t_ref⁰ e^θ``, ``v_th = v_reset⁰ + (v_th⁰ − v_reset⁰) e^θ`` and
    ``v_reset = v_th − (v_th⁰ − v_reset⁰) e^θ``: θ = 0 is the initial value ⁰, and a step of θ a relative change, so
    that one learning rate suits all of them. A learned threshold stays above the initial reset potential.

    Parameters
    ----------
    initial : NeuronTensors
        ms and mV.
    raw : dict of str to Tensor
        θ by the name of the parameter, dimensionless, broadcasting with the initial values; those without one stay
        as they are.

    Returns
    -------
    NeuronTensors
    """
    tau_m, v_th, v_reset, t_ref = initial
    span = v_th - v_reset
    if "tau_m" in raw:
        tau_m = tau_m * raw["tau_m"].exp()
    if "t_ref" in raw:
        t_ref = t_ref * raw["t_ref"].exp()
    if "v_th" in raw:
        v_th = v_reset + span * raw["v_th"].exp()
    if "v_reset" in raw:
        v_reset = v_th - span * raw["v_reset"].exp()
    return NeuronTensors(tau_m, v_th, v_reset, t_ref)


class MomentActivation(nn.Module):
    """Map the moments of input currents to those of the spike trains of leaky integrate-and-fire neurons.

    Mean and variance follow `mnnbio.moments.moment_activation`; off the diagonal, ``C_ij → gain_i gain_j C_ij``
    (linear response).

    Parameters
    ----------
    lif : LIFParameters
        The neurons, alike or one value per neuron; where they are learned, the start.
    features : int, optional
        Number of neurons: each then learns parameters of its own. Without it, neurons that start alike stay alike.
    learn : iterable of {"tau_m", "v_th", "v_reset", "t_ref"}
        Parameters to learn, kept in their valid range by `learned_neurons`.
    correlations : {"full", "variance", "none"}
        What is passed on: mean and covariance; mean and variances, as if neurons were uncorrelated; or the mean alone,
        as if currents were constant up to white noise of strength `fixed_std` and spike trains had no variance.
    fixed_std : float
        Standard deviation of the currents under ``correlations="none"``, mV/√ms; ≥ 0. At 0 the rate starts with
        infinite slope at threshold and has no gradient below.
    dtype, device
        Of the learned parameters.

    Attributes
    ----------
    initial : LIFParameters
        As given, voltages measured from rest.
    raw : ParameterDict
        θ of the learned parameters, each of shape (features,) or (); 0 at the start.

    Raises
    ------
    ValueError
        If an option is invalid, sizes differ, or a refractory period of 0 is to be learned.
    """

    def __init__(
        self,
        lif: LIFParameters,
        features: int | None = None,
        *,
        learn: Iterable[NeuronParameter] = (),
        correlations: Correlations = "full",
        fixed_std: float = 0.0,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        check_choice("correlations", correlations, sorted(get_args(Correlations)))
        if not isinstance(lif, LIFParameters):
            raise TypeError(f"`lif` must be LIFParameters, got {shown(lif)}")
        fixed_std = real_number(fixed_std, "fixed_std")
        if not 0 <= fixed_std < float("inf"):
            raise ValueError(f"`fixed_std` must be ≥ 0 mV/√ms, got {fixed_std}")
        if fixed_std and correlations != "none":
            raise ValueError(
                f"`fixed_std` describes currents with correlations='none' only, got {fixed_std} with {correlations!r}"
            )
        if features is not None and lif.size not in (None, features):
            raise ValueError(f"`lif` describes {lif.size} neurons, the layer has {features}")
        self.initial = lif = lif.from_rest()
        self.learn = checked_learn(learn, lif)
        self.correlations, self.fixed_std = correlations, float(fixed_std)
        size = lif.size if features is None else features
        shape = () if size is None else (size,)
        self.raw = nn.ParameterDict(
            {name: nn.Parameter(torch.zeros(shape, dtype=dtype, device=device)) for name in self.learn}
        )

    def neurons(self) -> Neuron:
        """Return the parameters of the neurons as they are now, differentiable where they are learned."""
        if not self.learn:
            return self.initial
        like = self.raw[self.learn[0]]
        # float64, as the theory computes: rounding tau_m and v_th apart would move the threshold.
        dtype = torch.float32 if like.device.type == "mps" else torch.float64
        initial = NeuronTensors(
            *(torch.tensor(value, dtype=dtype, device=like.device) for _, value in self.initial.items())
        )
        return learned_neurons(initial, {name: self.raw[name].to(dtype) for name in self.learn})

    def lif(self) -> LIFParameters:
        """Return the neurons as they are now, detached from the graph: numbers, or one value per neuron."""
        neurons = self.neurons()
        if isinstance(neurons, LIFParameters):
            return neurons
        values: dict[str, Any] = dict(self.initial.items())
        # What a learned parameter leaves unchanged stays as it was given, to the last digit.
        for name in self.learn:
            values[name] = np.asarray(getattr(neurons, name).detach().to("cpu", torch.float64))
        return LIFParameters(**values)

    def forward(self, moments: Moments) -> Moments:
        """Return the moments of the spike trains: spikes/ms, and long-window count covariance per ms."""
        mean, neurons = moments.mean, self.neurons()
        if self.correlations == "none":
            rate = moment_activation(mean, mean.new_full((), self.fixed_std), neurons).rate
            return Moments(rate, Diagonal(torch.zeros_like(rate)))
        rate, variance, gain = moment_activation(mean, standard_deviation(moments.variance), neurons)
        if self.correlations == "variance":
            return Moments(rate, Diagonal(variance))
        return Moments(rate, moments.covariance.scale(gain).with_diagonal(variance))

    def extra_repr(self) -> str:
        """Describe the settings."""
        text = f"{self.initial}, learn={self.learn}, correlations={self.correlations!r}"
        return text + (f", fixed_std={self.fixed_std}" if self.fixed_std else "")


def checked_learn(learn: Iterable[NeuronParameter], lif: LIFParameters) -> tuple[NeuronParameter, ...]:
    """Return names of parameters, each once and in their usual order, after a check that they can be learned."""
    if not isinstance(learn, str | Iterable):
        raise TypeError(f"`learn` must be names of parameters, got {shown(learn)}")
    names = list(learn) if not isinstance(learn, str) else [learn]
    choices = get_args(NeuronParameter)
    for name in names:
        check_choice("learn", name, choices)
    if "t_ref" in names and not np.all(np.asarray(lif.t_ref) > 0):
        raise ValueError("`t_ref` can be learned only from a start above 0 ms: give `lif` a positive t_ref")
    return tuple(name for name in choices if name in names)


class PoissonBackground(nn.Module):
    """Add independent Poisson input: mean ``J r`` and variance ``J² r`` of the current.

    Parameters
    ----------
    rate : float
        Rate of the input into each neuron, spikes/ms; ≥ 0.
    weight : float
        Jump of the membrane potential per spike, mV.
    """

    def __init__(self, rate: float, weight: float) -> None:
        super().__init__()
        rate, weight = real_number(rate, "rate"), real_number(weight, "weight")
        if not 0 <= rate < float("inf"):
            raise ValueError(f"`rate` must be ≥ 0 spikes/ms, got {rate}")
        if not abs(weight) < float("inf"):
            raise ValueError(f"`weight` must be finite, in mV, got {weight}")
        self.rate, self.weight = float(rate), float(weight)

    @property
    def mean(self) -> float:
        """Mean of the current, mV/ms."""
        return self.rate * self.weight

    @property
    def variance(self) -> float:
        """Variance of the current, mV²/ms."""
        return self.rate * self.weight**2

    def forward(self, moments: Moments) -> Moments:
        """Return the moments of the currents with the background, for currents of shape (..., n)."""
        return with_background(moments, self.mean, self.variance)

    def config(self) -> dict[str, Any]:
        """Return what builds this background again."""
        return {"kind": "poisson", "rate": self.rate, "weight": self.weight}

    def extra_repr(self) -> str:
        """Describe the settings."""
        return f"rate={self.rate}, weight={self.weight}"


class GaussianBackground(nn.Module):
    """Add independent Gaussian white noise to the currents.

    Parameters
    ----------
    std : float
        Its standard deviation, mV/√ms; ≥ 0.
    mean : float
        Its mean, mV/ms.
    """

    def __init__(self, std: float, mean: float = 0.0) -> None:
        super().__init__()
        std, mean = real_number(std, "std"), real_number(mean, "mean")
        if not 0 <= std < float("inf"):
            raise ValueError(f"`std` must be ≥ 0 mV/√ms, got {std}")
        if not abs(mean) < float("inf"):
            raise ValueError(f"`mean` must be finite, in mV/ms, got {mean}")
        self.std, self.mean = float(std), float(mean)

    @property
    def variance(self) -> float:
        """Variance of the current, mV²/ms."""
        return self.std**2

    def forward(self, moments: Moments) -> Moments:
        """Return the moments of the currents with the background, for currents of shape (..., n)."""
        return with_background(moments, self.mean, self.variance)

    def config(self) -> dict[str, Any]:
        """Return what builds this background again."""
        return {"kind": "gaussian", "std": self.std, "mean": self.mean}

    def extra_repr(self) -> str:
        """Describe the settings."""
        return f"std={self.std}, mean={self.mean}"


Background = PoissonBackground | GaussianBackground


def with_background(moments: Moments, mean: float, variance: float) -> Moments:
    """Return the moments of currents plus independent ones, all of one mean (mV/ms) and variance (mV²/ms)."""
    added = torch.full_like(moments.mean, variance)
    return Moments(moments.mean + mean, moments.covariance.add_diagonal(added))


def background_from_config(config: dict[str, Any]) -> Background:
    """Build the background that `config` describes.

    Raises
    ------
    ValueError
        If the kind is unknown.
    """
    options = dict(config)
    kind = options.pop("kind", None)
    if kind == "poisson":
        return PoissonBackground(**options)
    if kind == "gaussian":
        return GaussianBackground(**options)
    raise ValueError(f"Invalid background kind {kind!r}. Must be one of ['gaussian', 'poisson']")
