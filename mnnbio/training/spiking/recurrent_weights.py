"""Recurrent weights that are learned: factored into modes, or a full matrix; sparse, or with the signs of neurons.

Weights of P modes are applied as ``ξ_in (λ (ξ_outᵀ r))``, at a cost of 2NP + P in a step, and never become an N×N
matrix.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn

from mnnbio.machine import require_integer
from mnnbio.training.spiking.steps import recurrent_input
from mnnbio.units import in_unit, shown


class ManyModesWarning(UserWarning):
    """Weights have more modes than neurons: a full matrix has fewer parameters."""


class ModeWeights(nn.Module):
    """Recurrent weights of few modes, ``W = ξ_in diag(λ) ξ_outᵀ``, applied mode by mode.

    Parameters
    ----------
    modes_in : array_like or Tensor, shape (N, P)
        ξ_in: how each mode drives the neurons.
    scores : array_like or Tensor, shape (P,)
        λ, mV: the strength of each mode; none is 0.
    modes_out : array_like or Tensor, shape (N, P)
        ξ_out: how each mode reads the filtered spikes.
    mask_in, mask_out : array_like of bool, shape (N, P), optional
        The entries of the modes that there are; the others are 0 and remain so. Sparse modes keep the cost of NP.
    signs : array_like, shape (N,), optional
        1 for excitatory and −1 for inhibitory neurons (Dale's law): sizes of all factors are learned, and the signs of
        ξ_out are those of the neurons. Every mode is then driven by excitation and reduced by inhibition.

    Attributes
    ----------
    modes_in, scores, modes_out : Tensor
        The weights with masks and signs; `raw_modes_in`, `raw_scores` and `raw_modes_out` are the parameters.

    Raises
    ------
    ValueError
        If shapes contradict each other, a value is not finite, a score is 0, or there is a score for every neuron.

    Warns
    -----
    ManyModesWarning
        If there are more modes than neurons.
    """

    mask_in: Tensor | None
    mask_out: Tensor | None
    signs: Tensor | None

    def __init__(
        self,
        modes_in: Any,
        scores: Any,
        modes_out: Any,
        *,
        mask_in: Any = None,
        mask_out: Any = None,
        signs: Any = None,
    ) -> None:
        super().__init__()
        given = [
            finite_tensor(modes_in, "modes_in"),
            finite_tensor(scores, "scores"),
            finite_tensor(modes_out, "modes_out"),
        ]
        _check_modes(*given)
        self.raw_modes_in, self.raw_scores, self.raw_modes_out = map(nn.Parameter, given)
        size, modes = given[0].shape
        if modes > size:
            warnings.warn(
                f"{modes} modes of {size} neurons: a matrix of {size} × {size} has the same rank and fewer parameters. "
                "Use FullWeights, or fewer modes",
                ManyModesWarning,
                stacklevel=2,
            )
        self.register_buffer("mask_in", _mask(mask_in, (size, modes), "mask_in", given[0]))
        self.register_buffer("mask_out", _mask(mask_out, (size, modes), "mask_out", given[0]))
        self.register_buffer("signs", _signs(signs, size, given[0]))

    @classmethod
    def random(cls, neurons: int, modes: int, *, seed: int | torch.Generator = 0, **constraints: Any) -> ModeWeights:
        """Return normal factors of the published sizes: entries of modes of variance 1/P, scores of variance 1/N.

        Parameters
        ----------
        neurons, modes : int
        seed : int or torch.Generator
        constraints
            `mask_in`, `mask_out` and `signs` of the class.
        """
        require_integer("neurons", neurons, 1)
        require_integer("modes", modes, 1)
        generator = _generator(seed)
        modes_in, modes_out = (_normal((neurons, modes), modes**-0.5, generator) for _ in range(2))
        return cls(modes_in, _normal((modes,), neurons**-0.5, generator), modes_out, **constraints)

    @property
    def size(self) -> int:
        """Number of neurons N."""
        return len(self.raw_modes_in)

    @property
    def modes_in(self) -> Tensor:
        """ξ_in, shape (N, P)."""
        return _constrained(self.raw_modes_in, self.mask_in, self.signs is not None)

    @property
    def scores(self) -> Tensor:
        """λ, mV, shape (P,)."""
        return self.raw_scores if self.signs is None else self.raw_scores.abs()

    @property
    def modes_out(self) -> Tensor:
        """ξ_out, shape (N, P)."""
        sizes = _constrained(self.raw_modes_out, self.mask_out, self.signs is not None)
        return sizes if self.signs is None else sizes * self.signs[:, None]

    def factors(self) -> tuple[Tensor, ...]:
        """Return ξ_in, λ and ξ_out."""
        return self.modes_in, self.scores, self.modes_out

    def matrix(self) -> Tensor:
        """Return W itself, shape (N, N), mV: for inspection, and for networks that are to have one."""
        return (self.modes_in * self.scores) @ self.modes_out.T

    def forward(self, filtered: Tensor) -> Tensor:
        """Return ``W r`` of filtered spikes r, shape (..., N)."""
        return recurrent_input(filtered, self.factors())

    def extra_repr(self) -> str:
        """Describe the shape."""
        return f"neurons={self.size}, modes={len(self.raw_scores)}"


class FullWeights(nn.Module):
    """Recurrent weights as a matrix, the baseline of `ModeWeights`.

    Parameters
    ----------
    weight : array_like or Tensor, shape (N, N)
        From column to row, mV.
    mask : array_like of bool, shape (N, N), optional
        The weights that there are; the others are 0 and remain so.
    signs : array_like, shape (N,), optional
        1 for excitatory and −1 for inhibitory neurons: sizes are learned, signs of columns are those of the neurons.

    Attributes
    ----------
    weight : Tensor
        With mask and signs; `raw_weight` is the parameter.

    Raises
    ------
    ValueError
        If the matrix is not square or not finite, or mask or signs do not fit.
    """

    mask: Tensor | None
    signs: Tensor | None

    def __init__(self, weight: Any, *, mask: Any = None, signs: Any = None) -> None:
        super().__init__()
        given = finite_tensor(weight, "weight")
        if given.ndim != 2 or given.shape[0] != given.shape[1]:
            raise ValueError(f"`weight` must have the shape (N, N), got {tuple(given.shape)}")
        self.raw_weight = nn.Parameter(given)
        self.register_buffer("mask", _mask(mask, tuple(given.shape), "mask", given))
        self.register_buffer("signs", _signs(signs, len(given), given))

    @classmethod
    def random(cls, neurons: int, *, seed: int | torch.Generator = 0, **constraints: Any) -> FullWeights:
        """Return normal weights of variance 1/N; `constraints` are `mask` and `signs` of the class."""
        require_integer("neurons", neurons, 1)
        return cls(_normal((neurons, neurons), neurons**-0.5, _generator(seed)), **constraints)

    @property
    def size(self) -> int:
        """Number of neurons N."""
        return len(self.raw_weight)

    @property
    def weight(self) -> Tensor:
        """W, shape (N, N), mV."""
        sizes = _constrained(self.raw_weight, self.mask, self.signs is not None)
        return sizes if self.signs is None else sizes * self.signs

    def factors(self) -> tuple[Tensor, ...]:
        """Return W alone."""
        return (self.weight,)

    def matrix(self) -> Tensor:
        """Return W, shape (N, N), mV."""
        return self.weight

    def forward(self, filtered: Tensor) -> Tensor:
        """Return ``W r`` of filtered spikes r, shape (..., N)."""
        return recurrent_input(filtered, self.factors())

    def extra_repr(self) -> str:
        """Describe the shape."""
        return f"neurons={self.size}"


Recurrent = ModeWeights | FullWeights


def random_weights(
    n_inputs: int,
    neurons: int,
    n_outputs: int,
    modes: int | None,
    seed: int | torch.Generator,
    constraints: dict[str, Any] | None,
) -> tuple[Tensor, Recurrent, Tensor]:
    """Return normal weights in, recurrent and out, of the published sizes (zero mean; variance 1/n_in and 1/n_out)."""
    for name, value in {"n_inputs": n_inputs, "neurons": neurons, "n_outputs": n_outputs}.items():
        require_integer(name, value, 1)
    generator = _generator(seed)
    weight_in = _normal((neurons, n_inputs), n_inputs**-0.5, generator)
    constraints = constraints or {}
    recurrent: Recurrent
    if modes is None:
        recurrent = FullWeights.random(neurons, seed=generator, **constraints)
    else:
        recurrent = ModeWeights.random(neurons, modes, seed=generator, **constraints)
    return weight_in, recurrent, _normal((n_outputs, neurons), n_outputs**-0.5, generator)


def _normal(shape: tuple[int, ...], std: float, generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator) * std


def _generator(seed: int | torch.Generator) -> torch.Generator:
    if isinstance(seed, torch.Generator):
        return seed
    require_integer("seed", seed, 0)
    return torch.Generator().manual_seed(seed)


def finite_tensor(value: Any, name: str) -> Tensor:
    """Return a copy as a tensor of finite numbers; single precision unless it has another one already."""
    if isinstance(value, Tensor) and value.is_floating_point():
        tensor = value.detach().clone()
    else:
        tensor = torch.as_tensor(in_unit(value, "mV", name)).to(torch.get_default_dtype())
    if not torch.isfinite(tensor).all():
        place = tuple(int(k) for k in torch.isfinite(tensor).logical_not().nonzero()[0])
        raise ValueError(f"`{name}` must be finite, got {float(tensor[place])} at {place}")
    return tensor


def _check_modes(modes_in: Tensor, scores: Tensor, modes_out: Tensor) -> None:
    """Raise a `ValueError` unless modes and scores fit together and no score is 0."""
    if modes_in.ndim != 2 or modes_out.shape != modes_in.shape:
        raise ValueError(
            "`modes_in` and `modes_out` must both have the shape (N, P), got "
            f"{tuple(modes_in.shape)} and {tuple(modes_out.shape)}"
        )
    size, modes = modes_in.shape
    if tuple(scores.shape) != (modes,):
        reason = ""
        if scores.numel() == size:
            reason = ": one score per neuron scales neurons, not modes, which is another model"
        raise ValueError(f"`scores` must have the shape (P,) = ({modes},), got {tuple(scores.shape)}{reason}")
    if (scores == 0).any():
        place = int((scores == 0).nonzero()[0, 0])
        raise ValueError(f"`scores` must not be 0, got 0 for mode {place}: leave the mode out")


def _mask(mask: Any, shape: tuple[int, ...], name: str, like: Tensor) -> Tensor | None:
    if mask is None:
        return None
    tensor = torch.as_tensor(mask)
    if tuple(tensor.shape) != shape:
        raise ValueError(f"`{name}` must have the shape {shape}, got {tuple(tensor.shape)}")
    return (tensor != 0).to(like)


def _signs(signs: Any, size: int, like: Tensor) -> Tensor | None:
    if signs is None:
        return None
    tensor = torch.as_tensor(signs)
    if tuple(tensor.shape) != (size,) or not (tensor.abs() == 1).all():
        raise ValueError(f"`signs` must be {size} numbers that are 1 or −1, got {shown(signs)}")
    return tensor.to(like)


def _constrained(raw: Tensor, mask: Tensor | None, sizes: bool) -> Tensor:
    """Return weights with a mask, and their sizes alone where signs are fixed."""
    weight = raw.abs() if sizes else raw
    return weight if mask is None else weight * mask
