"""Fixed points of maps: Anderson's acceleration of a damped iteration."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Status = Literal["converged", "not converged"]

MEMORY = 8  # earlier points that an extrapolation uses
RANK_TOLERANCE = 1e-5  # of the differences of residuals: weaker directions are rounding
PATIENCE = 12  # extrapolations without a smaller residual
SETTLING = 10  # plain steps after extrapolations that led away, at first; twice as many each time after
LEAST_DAMPING, TOLERATED_RISE = 1e-3, 2.0


class NotConverged(ArithmeticError):  # noqa: N818 - a state, not a mistake
    """An iteration did not reach a solution."""


class FixedPoint(NamedTuple):
    """Where an iteration arrived, and how."""

    value: Array
    status: Status
    residual: float  # largest change that one more step of the map would make, relative to the largest element
    iterations: int


def fixed_point(
    step: Callable[[Array], Array], start: Array, *, tolerance: float = 1e-9, max_iterations: int = 500
) -> FixedPoint:
    """Find x ≥ 0 with ``step(x) = x``.

    Every point is a damped step from an extrapolation of the last ones that makes the residual smallest [1]_. Where
    that leads away or nowhere, the iteration goes back, forgets, and takes some plain steps with half the damping
    factor: it then is a relaxation ``dx/dt = step(x) - x``, whose residual may rise on the way to a state that is
    stable under it.

    Parameters
    ----------
    step : callable
        The map, of arrays to arrays of one shape, non-negative.
    start : ndarray
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
    >>> import numpy as np
    >>> fixed_point(np.cos, np.ones(1)).value.round(6)
    array([0.739085])
    """
    points: deque[Array] = deque(maxlen=MEMORY)
    changes: deque[Array] = deque(maxlen=MEMORY)
    x, damping = np.asarray(start, dtype=np.float64), 1.0
    settling, pause, patience = 0, SETTLING, PATIENCE
    best = nearest = FixedPoint(x, "not converged", np.inf, max_iterations)  # of all points, since the last new start
    for iteration in range(1, max_iterations + 1):
        change = step(x) - x
        residual = float(np.abs(change).max() / max(np.abs(x + change).max(), np.finfo(float).tiny))
        if residual <= tolerance:
            return FixedPoint(x, "converged", residual, iteration)
        here = FixedPoint(x, "not converged", residual, max_iterations)
        best = min(best, here, key=lambda point: point.residual)
        if settling:
            settling -= 1
            x = np.maximum(x + damping * change, 0.0)
        elif residual < TOLERATED_RISE * nearest.residual and patience:
            patience -= 1
            if residual < nearest.residual:
                nearest, patience = here, PATIENCE
            points.append(x)
            changes.append(change)
            x = np.maximum(_extrapolate(points, changes, damping), 0.0)
        else:
            x = nearest.value
            if patience:  # the residual rose
                damping = max(LEAST_DAMPING, damping / 2)
            settling, pause, patience = pause, 2 * pause, PATIENCE
            nearest = nearest._replace(residual=np.inf)
            points.clear()
            changes.clear()
    return best


def _extrapolate(points: deque[Array], changes: deque[Array], damping: float) -> Array:
    if len(points) == 1:
        return points[0] + damping * changes[0]
    last, change = points[-1], changes[-1]
    moves = np.stack([last - p for p in list(points)[:-1]], axis=1)
    differences = np.stack([change - c for c in list(changes)[:-1]], axis=1)
    weights = np.linalg.lstsq(differences, change, rcond=RANK_TOLERANCE)[0]
    return last + damping * change - (moves + damping * differences) @ weights
