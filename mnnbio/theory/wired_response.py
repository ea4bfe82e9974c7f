"""Linear response of a circuit as it is wired: covariances, covariances of sums, and stability, by sparse products.

The theory, and its dense and low-rank forms on tensors, stand in `mnnbio.moments.linear_response`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigs, gmres

from mnnbio.moments import Covariance, NotConverged, dense_response, low_rank_response
from mnnbio.theory.wiring import Wiring

Array = npt.NDArray[np.float64]

DENSE_EIGENVALUES = 600  # neurons up to which all eigenvalues are computed
LEADING = 2  # eigenvalues that are looked for in larger circuits
RESTARTS, POWER_STEPS = 5, 50
SOLVER_TOLERANCE = 1e-10


class Stability(NamedTuple):
    """Eigenvalues of ``A W`` that matter."""

    spectral_radius: float  # the largest modulus
    largest_real: float  # the largest real part: linear response diverges as it reaches 1, above the state is unstable


def linear_response(wiring: Wiring, gain: Array, variance: Array, loadings: Array | None = None) -> Covariance:
    """Return the covariance of all neurons.

    Parameters
    ----------
    wiring : Wiring
        Weights among the neurons, shape (n, n). If all are factored into modes, the result is diagonal plus low rank
        and costs O(n P²), else it is full and costs O(n³).
    gain : ndarray, shape (n,)
        ∂rate/∂mean, 1/mV.
    variance : ndarray, shape (n,)
        Count variances per time, 1/ms: the diagonal of the result.
    loadings : ndarray, shape (n, k), optional
        L, loadings of independent noise sources on the external currents, ``Σ = L Lᵀ``, mV/√ms.

    Returns
    -------
    Covariance
        1/ms. Positive semidefinite unless `variance` is smaller than what is transmitted to a neuron.
    """
    modes = wiring.modes()
    gains, variances = torch.from_numpy(gain), torch.from_numpy(variance)
    noise = None if loadings is None else torch.from_numpy(loadings)
    if modes is None:
        return dense_response(torch.from_numpy(wiring.to_dense()), gains, variances, noise)
    left, scores, right = (torch.from_numpy(v) for v in modes)
    return low_rank_response(left, scores, right, gains, variances, noise, _iterated_own_noise)


def _iterated_own_noise(F: torch.Tensor, right: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return what `mnnbio.moments.woodbury_own_noise` does, in O(n P²) per iteration."""
    f, r = F.numpy(), right.numpy()
    found = _solve(lambda d: d + 2 * d * (f * r).sum(1) + ((f @ ((r.T * d) @ r)) * f).sum(1), target.numpy())
    return torch.from_numpy(found)


def projected_response(
    wiring: Wiring, gain: Array, variance: Array, directions: Array, loadings: Wiring | None = None
) -> Array:
    """Return ``Uᵀ C U``, the covariance of weighted sums over neurons, by sparse products alone.

    Nothing of size n × n is formed. D comes from ``(K∘K)^{-1} ≈ I - (A W)∘(A W)``, which is exact where at
    most one path joins two neurons. In random networks of 500 neurons the sums are off by up to 4 %, in larger ones
    less.

    Parameters
    ----------
    wiring, gain, variance
        As for `linear_response`.
    directions : ndarray, shape (n, k)
        U.
    loadings : Wiring, optional
        L, of shape (n, sources).

    Returns
    -------
    ndarray, shape (k, k)

    Raises
    ------
    NotConverged
        If ``I - A W`` is too close to singular for an iterative solution.
    """
    columns = [
        _solve(lambda x: x - wiring.transposed_dot((gain * x)[:, None])[:, 0], column) for column in directions.T
    ]
    pulled = np.stack(columns, axis=1)
    own = variance - gain**2 * wiring.received(variance).variance
    if loadings is None:
        return np.asarray((pulled.T * own) @ pulled)
    common = loadings.transposed_dot(gain[:, None] * pulled)
    own = own - gain**2 * loadings.received(np.ones(loadings.shape[1])).variance
    return np.asarray((pulled.T * own) @ pulled + common.T @ common)


def stability(wiring: Wiring, gain: Array) -> Stability:
    """Return the leading eigenvalues of ``A W``.

    In circuits of more than 600 neurons only eigenvalues that stand out are looked for (to 1 %). Those of what is
    random about the weights crowd in a disc, at whose edge no iteration converges: its radius is the square root of the
    largest eigenvalue of ``(A W)∘(A W)`` [1]_.

    Parameters
    ----------
    wiring, gain
        As for `linear_response`.

    References
    ----------
    .. [1] J. Aljadeff, M. Stern, T. Sharpee (2015), Transition to chaos in random networks with cell-type-specific
       connectivity, Phys. Rev. Lett. 114, 088101.
    """
    n = len(gain)
    modes = wiring.modes()
    if modes is not None:
        values = np.linalg.eigvals(modes.scores[:, None] * (modes.right.T @ (gain[:, None] * modes.left)))
    elif n <= DENSE_EIGENVALUES:
        values = np.linalg.eigvals(gain[:, None] * wiring.to_dense())
    else:
        operator = LinearOperator((n, n), matvec=lambda x: gain * wiring.dot(np.ravel(x)), dtype=np.float64)
        start = np.random.default_rng(0).normal(size=n)
        outstanding = [_leading(operator, which, start) for which in ("LM", "LR")]
        values = np.concatenate([*outstanding, [_random_radius(wiring, gain)]])
    return Stability(float(np.abs(values).max(initial=0.0)), float(values.real.max(initial=-np.inf)))


def _leading(operator: LinearOperator, which: str, start: Array) -> npt.NDArray[np.complex128]:
    try:
        found = eigs(operator, LEADING, which=which, v0=start, tol=1e-2, maxiter=RESTARTS, return_eigenvectors=False)
        return np.asarray(found)
    except ArpackNoConvergence as partial:
        return np.asarray(partial.eigenvalues)


def _random_radius(wiring: Wiring, gain: Array) -> float:
    """Return the square root of the largest eigenvalue of ``(A W)∘(A W)``, by power iteration."""
    x, value = np.ones(len(gain)), 0.0
    for _ in range(POWER_STEPS):
        x = gain**2 * wiring.received(x).variance
        before, value = value, float(np.abs(x).max())
        if value == 0 or abs(value - before) <= 1e-3 * value:
            break
        x = x / value
    return float(np.sqrt(value))


def _solve(product: Callable[[Array], Array], right: Array) -> Array:
    operator = LinearOperator((len(right),) * 2, matvec=product, dtype=np.float64)
    x, code = gmres(operator, right, rtol=SOLVER_TOLERANCE, atol=0.0, restart=60, maxiter=20)
    if code:
        raise NotConverged(
            "the equations of linear response did not converge: an eigenvalue of A W is close to 1, where they have no "
            "solution. Weaken the recurrent weights, or leave the covariance out"
        )
    return np.asarray(x)
