"""Targets of a recurrent layer, met by the smallest change of its parameters.

Rates of neurons and mean covariances of pairs are far fewer than weights. Of all changes δ of the trained parameters
that bring them to their targets in linear order, ``A δ = b``, the smallest is ``δ = Aᵀ (A Aᵀ)⁻¹ b``, and a few such
steps (Gauss-Newton) meet the targets to rounding. Gradient descent ends elsewhere, the farther from the start the
longer it runs; what is known of the network at the start, such as by how much its spikes differ from the theory, then
no longer holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mnnbio.machine import require_integer
from mnnbio.moments import NotConverged
from mnnbio.nn.recurrent import MomentRecurrent
from mnnbio.nn.state import Moments
from mnnbio.units import in_unit

MOST = 0.5  # change of a rate or a covariance asked of one step, relative to it
LONGEST = 1.0  # change of a parameter in one step
HALVINGS = 12
BETTER = 1e-3  # by which a step must lower the mismatch at least, relative to its length
SINGULAR = 1e-12  # relative


class PairTarget(NamedTuple):
    """A target for the mean covariance of pairs of neurons, of one group or of two; a neuron is no pair with itself."""

    first: Any
    """Indices of the neurons of one group."""
    second: Any
    """Indices of those of the other, or the same."""
    covariance: float
    """Mean of the long-window count covariances per time, 1/ms."""


class Pairs(NamedTuple):
    """The pairs of two groups of neurons, as factors of a mean over a matrix."""

    left: Tensor
    right: Tensor
    number: float

    def mean(self, matrix: Tensor) -> Tensor:
        """Return the mean of a symmetric matrix over the pairs."""
        return (self.left @ matrix @ self.right - (self.left * self.right) @ matrix.diagonal()) / self.number


def reach_targets(
    layer: MomentRecurrent,
    currents: Moments,
    rates: Any,
    covariances: Sequence[PairTarget] = (),
    *,
    tolerance: float = 1e-6,
    steps: int = 60,
) -> int:
    """Change a recurrent layer as little as possible until its state has given rates and mean covariances.

    Parameters
    ----------
    layer : MomentRecurrent
        Its parameters are changed in place: the sum of squared changes of what is trained (weights as they are stored,
        under Dale's law the logarithm of small ones) is the smallest, step by step.
    currents : Moments
        From outside, shape (features,).
    rates : array_like or Quantity, shape (features,)
        1/ms; > 0, or NaN for neurons that may fire as they do.
    covariances : sequence of PairTarget
    tolerance : float
        Largest relative error of any target.
    steps : int
        At most.

    Returns
    -------
    int
        Steps taken.

    Raises
    ------
    ValueError
        If a target does not fit the layer, or nothing is trained.
    NotConverged
        If the targets are not met, by name of the farthest one; the layer is then as it was.

    Examples
    --------
    ::

        reach_targets(layer, currents, rates, [PairTarget(range(160), range(160), 2e-5)])
    """
    require_integer("steps", steps, 1)
    wanted = Targets.of(layer, rates, covariances)
    parameters = layer.trained()
    start = [parameter.detach().clone() for parameter in parameters]
    try:
        found, taken = wanted.state(layer, currents), 0
        while float((mismatch := wanted.mismatch(found)).abs().max()) > tolerance:
            moved = _moved(layer, currents, wanted, mismatch, parameters) if taken < steps else None
            if moved is None:
                raise NotConverged(wanted.missed(found, taken))
            found, taken = moved, taken + 1
    except BaseException:
        _set(parameters, start)
        raise
    return taken


class Targets(NamedTuple):
    """Rates of some neurons and mean covariances of pairs, and how far a state is from them."""

    neurons: Tensor
    rates: Tensor
    pairs: list[Pairs]
    covariances: Tensor

    @classmethod
    def of(cls, layer: MomentRecurrent, rates: Any, covariances: Sequence[PairTarget]) -> Targets:
        """Return targets that are checked.

        Raises
        ------
        ValueError
            If they do not fit the layer.
        """
        n = layer.features
        given = checked_rates(rates, n)
        like = layer.mask.new_zeros(0, dtype=torch.float64)
        known = np.flatnonzero(np.isfinite(given))
        pairs = [_pairs(target, n, like) for target in covariances]
        values = [float(in_unit(target.covariance, "1/ms", "covariance")) for target in covariances]
        if not len(known) and not pairs:
            raise ValueError("there must be a target at least, got rates that are all NaN and no covariances")
        return cls(
            torch.as_tensor(known, device=like.device), like.new_tensor(given[known]), pairs, like.new_tensor(values)
        )

    def state(self, layer: MomentRecurrent, currents: Moments) -> Tensor:
        """Return what the layer has for the targets, with gradients of the covariances."""
        if not self.pairs:
            return layer.rates(currents)[self.neurons].detach()
        found = layer(currents)
        matrix = found.covariance.to_dense()
        return torch.stack([*found.mean.detach()[self.neurons], *(pairs.mean(matrix) for pairs in self.pairs)])

    def mismatch(self, state: Tensor) -> Tensor:
        """Return what is missing, relative to the targets (a covariance: to the larger of target and state)."""
        wanted = torch.cat([self.rates, self.covariances])
        return (wanted - state.detach()) / self.scale(state)

    def scale(self, state: Tensor) -> Tensor:
        """Return the sizes relative to which a mismatch is meant."""
        own = state.detach()[len(self.rates) :]
        return torch.cat([self.rates, torch.maximum(self.covariances.abs(), own.abs()).clamp(min=1e-300)])

    def missed(self, state: Tensor, steps: int) -> str:
        """Return the message of targets that are not met."""
        mismatch = self.mismatch(state)
        worst = int(mismatch.abs().argmax())
        value, number = float(state[worst].detach()) * 1e3, len(self.rates)
        what, wanted = (
            (f"neuron {int(self.neurons[worst])} fires at", float(self.rates[worst]))
            if worst < number
            else (f"pairs {worst - number} have a mean covariance of", float(self.covariances[worst - number]))
        )
        return (
            f"no small change of the layer meets its targets: after {steps} steps {what} {value:.4g} Hz instead of "
            f"{wanted * 1e3:.4g} Hz. Give targets nearer to what it does, more connections, or weights that are free"
        )


def checked_rates(rates: Any, n: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return target rates, 1/ms, NaN where there is none.

    Raises
    ------
    ValueError
        If they are not one per neuron, or not > 0.
    """
    given = np.asarray(rates.detach().cpu() if isinstance(rates, Tensor) else rates, dtype=object)
    free = np.array([isinstance(r, float) and np.isnan(r) for r in given.ravel().tolist()]).reshape(given.shape)
    if given.shape != (n,):
        raise ValueError(f"`rates` must be one per neuron, shape ({n},), got {given.shape}")
    found = np.full(n, np.nan)
    if not free.all():
        found[~free] = in_unit(rates[~free] if hasattr(rates, "dim") else given[~free].tolist(), "1/ms", "rates")
    if (wrong := np.flatnonzero(found <= 0)).size:
        raise ValueError(f"`rates` must be > 0 1/ms or NaN, got {found[wrong[0]]:g} for neuron {wrong[0]}")
    return found


def _pairs(target: PairTarget, n: int, like: Tensor) -> Pairs:
    sides = []
    for name, own in zip(("first", "second"), target[:2], strict=True):
        chosen = np.asarray(list(own) if isinstance(own, range) else own)
        if chosen.ndim != 1 or chosen.dtype.kind not in "iu" or not len(chosen):
            raise ValueError(f"`{name}` of a pair target must be indices of neurons, got {own!r}")
        if chosen.min() < 0 or chosen.max() >= n or len(np.unique(chosen)) != len(chosen):
            raise ValueError(f"`{name}` of a pair target must be different neurons from 0 to {n - 1}, got {own!r}")
        side = like.new_zeros(n)
        side[torch.as_tensor(chosen, device=like.device)] = 1.0
        sides.append(side)
    number = float(sides[0].sum() * sides[1].sum() - (sides[0] * sides[1]).sum())
    if number == 0:
        raise ValueError(f"a pair target needs two neurons at least, got {target.first!r} and {target.second!r}")
    return Pairs(sides[0], sides[1], number)


def _moved(
    layer: MomentRecurrent, currents: Moments, wanted: Targets, mismatch: Tensor, parameters: list[Tensor]
) -> Tensor | None:
    """Move a layer towards its targets and return what it has then; None if no step leads nearer."""
    before = [parameter.detach().clone() for parameter in parameters]
    step = _smallest_change(
        layer, currents, wanted, parameters, mismatch * min(1.0, MOST / float(mismatch.abs().max()))
    )
    fraction, off = 1.0, float(mismatch.norm())
    for _ in range(HALVINGS):
        _set(parameters, [b + fraction * s for b, s in zip(before, step, strict=True)])
        try:
            found = wanted.state(layer, currents)
        except (NotConverged, ValueError):  # no stable state there
            found = None
        if found is not None and float(wanted.mismatch(found).norm()) < (1 - BETTER * fraction) * off:
            return found
        fraction /= 2
    _set(parameters, before)
    return None


def _smallest_change(
    layer: MomentRecurrent, currents: Moments, wanted: Targets, parameters: list[Tensor], change: Tensor
) -> list[Tensor]:
    """Return the change of the parameters of least norm that changes what the targets are of, relative to them."""
    slopes, n = layer.slopes(currents), layer.features
    state = wanted.state(layer, currents)
    loops = slopes.loops[wanted.neurons].flatten(1)  # (m, k n)
    number = len(wanted.rates)
    own = [
        torch.cat([g.reshape(n, -1) for g in torch.autograd.grad(value, parameters, retain_graph=True)], 1)
        for value in state[number:]
    ]
    overlap = torch.einsum("kjp,ljp->kjl", slopes.own, slopes.own)  # parameters of two neurons are different ones
    gram = torch.einsum("akj,kjl,blj->ab", slopes.loops[wanted.neurons], overlap, slopes.loops[wanted.neurons])
    if own:
        pairs = torch.stack(own)
        mixed = loops @ torch.einsum("kjp,cjp->kjc", slopes.own, pairs).flatten(0, 1)
        gram = torch.cat(
            [torch.cat([gram, mixed], 1), torch.cat([mixed.mT, torch.einsum("cjp,djp->cd", pairs, pairs)], 1)]
        )
    scale = wanted.scale(state)
    relative = gram / scale[:, None] / scale
    size = relative.diagonal().clamp(min=1e-300).sqrt()
    multipliers = torch.linalg.pinv(relative / size[:, None] / size, rtol=SINGULAR, hermitian=True) @ (change / size)
    multipliers = multipliers / size / scale
    found = torch.einsum("kj,kjp->jp", (multipliers[:number] @ loops).reshape(-1, n), slopes.own)
    if own:
        found = found + torch.einsum("c,cjp->jp", multipliers[number:], pairs)
    found = found * (LONGEST / found.abs().max().clamp(min=LONGEST))
    parts = found.split([parameter.numel() // n for parameter in parameters], dim=1)
    return [part.reshape(parameter.shape) for part, parameter in zip(parts, parameters, strict=True)]


def _set(parameters: list[Tensor], values: list[Tensor]) -> None:
    with torch.no_grad():
        for parameter, value in zip(parameters, values, strict=True):
            parameter.copy_(value)
