"""Covariances in a recurrent network by linear response: differentiable functions of weights, gains and variances.

A small deviation of the counts of neuron j changes the rate of neuron i by ``gain_i W_ij`` times it, directly, and
around all loops by the elements of ``K = (I - A W)^{-1}`` with ``A = diag(gain)``. Long-window count covariances per
time are then [1]_ [2]_

    C = K (D + A Σ A) Kᵀ

with Σ the covariance of the external currents that neurons share, and D, diagonal, what every neuron adds of its own.
The count variance of a neuron, `moment_activation` tells: its input is noise of known variance, wherever that comes
from. So D is what makes the diagonal of C equal to these variances: the solution of ``(K∘K) D = variance - diag(K A Σ A
Kᵀ)``. In a feed-forward circuit this is the rule "``gain_i gain_j C_ij`` off the diagonal, the variance on it"; taking
the variances themselves for D would count the noise that neurons receive from each other twice. Iterating the
feed-forward rule around the loops of a circuit instead gives something else, which is wrong: it drops all correlations
across time lags.

Weights factored into modes, ``W = left diag(scores) rightᵀ`` with P modes, are never expanded: by Woodbury's identity
``K = I + F rightᵀ`` with ``F = A left (I - diag(scores) rightᵀ A left)^{-1} diag(scores)``, and C is diagonal plus low
rank.

References
----------
.. [1] B. Lindner, B. Doiron, A. Longtin (2005), Theory of oscillatory firing induced by spatially correlated noise and
   delayed inhibitory feedback, Phys. Rev. E 72, 061919.
.. [2] J. Trousdale, Y. Hu, E. Shea-Brown, K. Josić (2012), Impact of network structure and cellular response on spike
   time correlations, PLoS Comput. Biol. 8, e1002408.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mnnbio.moments.covariance import Covariance, Dense, LowRank


def dense_response(
    weights: Tensor,
    gain: Tensor,
    variance: Tensor,
    loadings: Tensor | None = None,
    external: Covariance | None = None,
) -> Dense:
    """Return the covariance of neurons with a full matrix of weights, in O(n³).

    Parameters
    ----------
    weights : Tensor, shape (..., n, n)
        W, mV; rows receive.
    gain : Tensor, shape (..., n)
        ∂rate/∂mean, 1/mV.
    variance : Tensor, shape (..., n)
        Count variances per time, 1/ms: the diagonal of the result.
    loadings : Tensor, shape (..., n, k), optional
        L, loadings of independent noise sources on the external currents, ``Σ = L Lᵀ``, mV/√ms.
    external : Covariance, optional
        Σ itself instead, mV²/ms.

    Returns
    -------
    Dense
        1/ms. Positive semidefinite unless `variance` is smaller than what is transmitted to a neuron.

    Examples
    --------
    Two neurons, of which the first drives the second.

    >>> W = torch.tensor([[0.0, 0.0], [0.5, 0.0]])
    >>> dense_response(W, torch.ones(2), torch.tensor([1.0, 2.0])).to_dense()
    tensor([[1.0000, 0.5000],
            [0.5000, 2.0000]])
    """
    K = torch.linalg.inv(_identity(gain.shape[-1], gain) - gain[..., :, None] * weights)
    if external is not None:
        shared = external.quadratic(K * gain[..., None, :])
        own = torch.linalg.solve(K * K, variance - shared.diagonal(dim1=-2, dim2=-1))
        return Dense((K * own[..., None, :]) @ K.mT + shared)
    common = K @ _shared(gain, loadings)
    own = torch.linalg.solve(K * K, variance - (common**2).sum(-1))
    return Dense((K * own[..., None, :]) @ K.mT + common @ common.mT)


# Finds D with ((I + F rightᵀ)∘(I + F rightᵀ)) D = target, given F, right and target.
OwnNoise = Callable[[Tensor, Tensor, Tensor], Tensor]


def low_rank_response(
    left: Tensor,
    scores: Tensor,
    right: Tensor,
    gain: Tensor,
    variance: Tensor,
    loadings: Tensor | None = None,
    own_noise: OwnNoise | None = None,
) -> LowRank:
    """Return the covariance of neurons with weights factored into modes, in O(n P⁴) as it stands.

    Parameters
    ----------
    left, right : Tensor, shape (n, P)
    scores : Tensor, shape (P,)
        ``W = left diag(scores) rightᵀ``, mV.
    gain, variance : Tensor, shape (n,)
        As for `dense_response`.
    loadings : Tensor, shape (n, k), optional
        Likewise.
    own_noise : callable, optional
        Solver of the equation of D, for many modes; by default `woodbury_own_noise`.

    Returns
    -------
    LowRank
        1/ms, with 2P + k columns.
    """
    identity = _identity(len(scores), gain)
    answered = gain[:, None] * left
    loop = identity - scores[:, None] * (right.mT @ answered)
    F = answered @ torch.linalg.solve(loop, torch.diag(scores))
    shared = _shared(gain, loadings)
    common = shared + F @ (right.mT @ shared)
    own = (own_noise or woodbury_own_noise)(F, right, variance - (common**2).sum(-1))
    base = torch.cat([F, own[:, None] * right, common], 1)
    upper = torch.cat([(right.mT * own) @ right, identity], 1)
    lower = torch.cat([identity, torch.zeros_like(identity)], 1)
    core = torch.block_diag(torch.cat([upper, lower]), _identity(common.shape[1], gain))
    return LowRank(own, base, core)


def woodbury_own_noise(F: Tensor, right: Tensor, target: Tensor) -> Tensor:
    """Return D with ``(K∘K) D = target`` for ``K = I + F rightᵀ``.

    ``K∘K = Δ + F̃ R̃ᵀ`` with ``Δ = I + 2 diag(F rightᵀ)``, and F̃, R̃ the products of all pairs of columns: Woodbury's
    identity again, with P(P + 1)/2 unknowns. Where neurons are fewer than these, K∘K is formed.

    Parameters
    ----------
    F, right : Tensor, shape (n, P)
    target : Tensor, shape (n,)
    """
    n, rank = F.shape
    one, other = torch.triu_indices(rank, rank, device=F.device)
    if n <= len(one):
        K = _identity(n, F) + F @ right.mT
        return torch.linalg.solve(K * K, target)
    twice = torch.where(one == other, 1.0, 2.0).to(F.dtype)
    many, read = twice * F[:, one] * F[:, other], right[:, one] * right[:, other]
    diagonal = 1 + 2 * (F * right).sum(-1)
    scaled = many / diagonal[:, None]
    inner = _identity(len(one), F) + read.mT @ scaled
    first = target / diagonal
    return first - scaled @ torch.linalg.solve(inner, read.mT @ first)


def _shared(gain: Tensor, loadings: Tensor | None) -> Tensor:
    """Return what the noise sources do to the rates, directly, (..., n, k)."""
    return gain.new_zeros(*gain.shape, 0) if loadings is None else gain[..., :, None] * loadings


def _identity(size: int, like: Tensor) -> Tensor:
    return torch.eye(size, dtype=like.dtype, device=like.device)
