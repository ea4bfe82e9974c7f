"""Fixed points of maps: Anderson's acceleration of a damped iteration."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor

Status = Literal["converged", "not converged"]

MEMORY = 8  # earlier points that an extrapolation uses
RANK_TOLERANCE = 1e-5  # of the differences of residuals: weaker directions are rounding
PATIENCE = 12  # extrapolations without a smaller residual
SETTLING = 10  # plain steps after extrapolations that led away, at first; twice as many each time after
LEAST_DAMPING, TOLERATED_RISE = 1e-3, 2.0


class NotConverged(ArithmeticError):  # noqa: N818 - a state, not a mistake
    """An iteration did not reach a solution."""


class FixedPoint(NamedTuple):
    """Point at which an iteration arrived, and how."""

    value: Tensor
    status: Status
    residual: float  # largest change that one more step of the map would make, relative to the largest element
    iterations: int


def fixed_point(
    step: Callable[[Tensor], Tensor], start: Tensor, *, tolerance: float = 1e-9, max_iterations: int = 500
) -> FixedPoint:
    """Find x ≥ 0 with ``step(x) = x``, without a record of the iteration for gradients.

    Every point is a damped step from an extrapolation of the last ones that makes the residual smallest [1]_. Where
    that leads away or nowhere, the iteration goes back, forgets, and takes some plain steps with half the damping
    factor: it then is a relaxation ``dx/dt = step(x) - x``, whose residual may rise on the way to a state that is
    stable under it.

    Parameters
    ----------
    step : callable
        The map, of tensors (n,) to tensors (n,), non-negative.
    start : Tensor, shape (n,)
        First point, ≥ 0.
    tolerance : float
        Residual at which the point is accepted.
    max_iterations : int
        Steps after which the best point is returned with the status "not converged".

    Returns
    -------
    FixedPoint

    References
    ----------
    .. [1] H. F. Walker, P. Ni (2011), Anderson acceleration for fixed-point iterations, SIAM J. Numer. Anal. 49, 1715.

    Examples
    --------
    >>> import torch
    >>> fixed_point(torch.cos, torch.ones(1, dtype=torch.float64)).value
    tensor([0.7391], dtype=torch.float64)
    """
    with torch.no_grad():
        return _iterate(step, start.detach(), tolerance, max_iterations)


def _iterate(step: Callable[[Tensor], Tensor], start: Tensor, tolerance: float, max_iterations: int) -> FixedPoint:
    points: deque[Tensor] = deque(maxlen=MEMORY)
    changes: deque[Tensor] = deque(maxlen=MEMORY)
    x, damping = start, 1.0
    settling, pause, patience = 0, SETTLING, PATIENCE
    best = nearest = FixedPoint(
        x, "not converged", torch.inf, max_iterations
    )  # of all points, since the last new start
    for iteration in range(1, max_iterations + 1):
        change = step(x) - x
        residual = float(change.abs().max() / (x + change).abs().max().clamp(min=torch.finfo(x.dtype).tiny))
        if residual <= tolerance:
            return FixedPoint(x, "converged", residual, iteration)
        here = FixedPoint(x, "not converged", residual, max_iterations)
        best = min(best, here, key=lambda point: point.residual)
        if settling:
            settling -= 1
            x = (x + damping * change).clamp(min=0.0)
        elif residual < TOLERATED_RISE * nearest.residual and patience:
            patience -= 1
            if residual < nearest.residual:
                nearest, patience = here, PATIENCE
            points.append(x)
            changes.append(change)
            x = _extrapolate(points, changes, damping).clamp(min=0.0)
        else:
            x = nearest.value
            if patience:  # the residual rose
                damping = max(LEAST_DAMPING, damping / 2)
            settling, pause, patience = pause, 2 * pause, PATIENCE
            nearest = nearest._replace(residual=torch.inf)
            points.clear()
            changes.clear()
    return best


def _extrapolate(points: deque[Tensor], changes: deque[Tensor], damping: float) -> Tensor:
    if len(points) == 1:
        return points[0] + damping * changes[0]
    last, change = points[-1], changes[-1]
    moves = torch.stack([last - p for p in list(points)[:-1]], 1)
    differences = torch.stack([change - c for c in list(changes)[:-1]], 1)
    weights = torch.linalg.pinv(differences, rtol=RANK_TOLERANCE) @ change
    return last + damping * change - (moves + damping * differences) @ weights
