"""States of mode space: fixed points of the latent dynamics, their stability, and which starts lead to each.

The dynamics are those of `mode_dynamics`. Fixed points are looked for by Newton's method from a grid over all that
rates can bring, then along unstable directions and between points.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy.interpolate import RegularGridInterpolator

from mnnbio.circuit import Circuit
from mnnbio.machine import require_integer
from mnnbio.moments import NotConverged
from mnnbio.theory.mode_dynamics import ModeDynamics, described, given_points, mode_attributes, mode_dynamics
from mnnbio.theory.stationary import Closure
from mnnbio.units import in_unit

Array = npt.NDArray[np.float64]

NEWTON_STEPS, HALVINGS = 25, 6
RESIDUAL = 1e-9  # of a fixed point, relative to the reach of the mode
SAME = 1e-5  # fixed points closer than this part of the reach are one
REACHES = (-0.4, -0.05, 0.05, 0.4)  # starts, as parts of the reach of each mode
STARTS = 200  # drawn at random where a grid would hold more
SEARCHES = 3  # rounds of further starts while fixed points are known to be missing
BASIN_STEP, BASIN_TIME = 0.2, 100.0  # of the flow, in the shortest and longest time constants
BASIN_TOLERANCE = 1e-4  # of the noise that trains bring, relative to all noise
KNOTS, MARGIN = {1: 129, 2: 27, 3: 13}, 0.05  # of the table of a flow, a mode; around what has to lie within
ARRIVED = 0.02  # of the smallest distance between fixed points

# Fixed points


def mode_fixed_points(
    circuit: Circuit,
    starts: Any = None,
    *,
    dt: Any = None,
    closure: Closure | None = None,
    tau: Any = None,
    seed: int = 0,
) -> xr.Dataset:
    """Return the fixed points in mode space that a search from many starts finds, and their stability.

    Up to three modes, a grid over all κ that rates can bring is searched by Newton's method, then both sides of
    unstable points and the middles between points. Indices of fixed points of a bounded continuous map add up to 1
    (Brouwer): while those found do not, the search goes on from random points, and `index_sum` tells how it ended. A
    sum other than 1 says that points are missing; a sum of 1 does not prove that none is.

    Parameters
    ----------
    circuit, dt, closure, tau
        As for `mode_dynamics`.
    starts : array_like or Quantity, shape (start, P), optional
        κ to start from instead, 1/ms.
    seed : int
        Of random starts, which more than three modes have from the beginning.

    Returns
    -------
    Dataset
        Over ``fixed_point``, by the first mode: `kappa` (and `mode`), Hz; `rate`, mean over neurons, Hz; `index`, the
        sign of ``det(1 - loop gains)``; `stable`, whether all loop gains have real parts below 1 (delta synapses) or
        all `growth` is negative; `growth` and `frequency` over ``eigenvalue``, of small deviations, 1/s and Hz, NaN
        where time constants are unknown.

    Raises
    ------
    NotConverged
        If no start leads to a fixed point.
    ValueError, TypeError
        As of `mode_dynamics`.
    """
    require_integer("seed", seed, 0)
    dynamics = mode_dynamics(circuit, dt=dt, closure=closure, tau=tau)
    found = _all_fixed_points(dynamics, given_points(starts, dynamics, "starts") if starts is not None else None, seed)
    pair = ("fixed_point", "mode")
    each = ("fixed_point", "eigenvalue")
    kappa = np.stack([point.kappa for point in found.points])
    growth = np.stack([point.growth for point in found.points])
    index = [point.sign for point in found.points]
    rate = dynamics.answers(kappa).rate.mean(-1)
    return xr.Dataset(
        {
            "kappa": described(pair, kappa * 1e3, "Hz", "activity in mode space"),
            "rate": described(("fixed_point",), rate * 1e3, "Hz", "mean rate of the neurons"),
            "stable": described(("fixed_point",), [p.stable for p in found.points], "1", "whether deviations decay"),
            "index": described(("fixed_point",), index, "1", "index of the fixed point"),
            "growth": described(each, growth.real * 1e3, "1/s", "growth rate of small deviations"),
            "frequency": described(each, np.abs(growth.imag) * 1e3 / (2 * np.pi), "Hz", "frequency of deviations"),
        },
        attrs={**mode_attributes(circuit, dynamics), "starts": found.starts, "index_sum": int(sum(index))},
    )


class _Point(NamedTuple):
    """Fixed point with what is linear around it."""

    kappa: Array
    loop: Array
    growth: npt.NDArray[np.complex128]  # eigenvalues of the Jacobian, 1/ms
    stable: bool
    sign: int  # index of the fixed point


class _Search(NamedTuple):
    """Fixed points, by the first mode, and how many starts led to them."""

    points: list[_Point]
    starts: int


def _all_fixed_points(dynamics: ModeDynamics, starts: Array | None, seed: int) -> _Search:
    reach, rng = dynamics.reach, np.random.default_rng(seed)
    center = dynamics.returned(np.zeros(dynamics.n_modes))
    if starts is None:
        if dynamics.n_modes <= 3:
            parts = np.array(list(product(REACHES, repeat=dynamics.n_modes)))
        else:
            parts = rng.uniform(-1.0, 1.0, (STARTS, dynamics.n_modes)) ** 3
        starts = center + parts * reach
        starts = np.concatenate([starts, center[None], _relaxed(dynamics, starts, 5)])
    points: list[_Point] = []
    tried = 0
    for turn in range(2 + SEARCHES):
        new: list[_Point] = []
        for kappa in _newton(dynamics, starts):
            if all((np.abs(kappa - p.kappa) > SAME * reach).any() for p in points + new):
                new.append(_point(dynamics, kappa))
        tried += len(starts)
        points += new
        complete = sum(p.sign for p in points) == 1
        if turn and complete and not new:
            break
        starts = np.array(list(_further(dynamics, points)))
        if turn and not complete:
            spread = rng.uniform(-1.0, 1.0, (STARTS, dynamics.n_modes)) ** 3
            starts = np.concatenate([*([starts] if len(starts) else []), center + spread * reach])
        if not len(starts):
            break
    if not points:
        raise NotConverged(
            f"none of {tried} starts led to a fixed point in mode space. Give `starts` nearer to what you expect, "
            "per ms"
        )
    return _Search(sorted(points, key=lambda p: tuple(p.kappa)), tried)


def _further(dynamics: ModeDynamics, points: list[_Point]) -> Iterator[Array]:
    """Yield where to look next: away from unstable points, and between points."""
    for point in points:
        values, vectors = np.linalg.eig(point.loop)
        for k in np.flatnonzero(values.real >= 1):
            direction = vectors[:, k].real
            for size in (0.01, 0.1):
                for sign in (-1, 1):
                    yield from _relaxed(
                        dynamics, (point.kappa + sign * size * dynamics.reach.max() * direction)[None], 10
                    )
    for k, one in enumerate(points):
        for other in points[:k]:
            for part in (0.25, 0.5, 0.75):
                yield part * one.kappa + (1 - part) * other.kappa


def _relaxed(dynamics: ModeDynamics, starts: Array, steps: int) -> Array:
    """Return points after some steps of a damped iteration, which carry them to where activity can be."""
    for _ in range(steps):
        starts = 0.5 * (starts + dynamics.returned(starts))
    return starts


def _newton(dynamics: ModeDynamics, starts: Array) -> list[Array]:
    """Return the points, different or not, to which Newton's method with halved steps leads from many starts."""
    left, scores, right = dynamics.modes
    reach, identity = dynamics.reach, np.eye(len(scores))
    x = np.array(starts)
    going = np.ones(len(x), dtype=bool)
    arrived: list[Array] = []
    answers = dynamics.answers(x)
    residual = answers.rate @ right - x
    for _ in range(NEWTON_STEPS):
        size = np.abs(residual / reach).max(1)
        arrived += list(x[going & (size <= RESIDUAL)])
        going &= size > RESIDUAL
        if not going.any():
            break
        rows = np.flatnonzero(going)
        loop = np.einsum("ni,sn,nj->sij", right, answers.gain[rows], left * scores, optimize=True)
        move = np.stack(
            [np.linalg.lstsq(identity - m, r, rcond=None)[0] for m, r in zip(loop, residual[rows], strict=True)]
        )
        scale = np.ones(len(rows))
        waiting = np.arange(len(rows))
        for _ in range(HALVINGS):
            trial = x[rows[waiting]] + scale[waiting, None] * move[waiting]
            found = dynamics.answers(trial)
            rest = found.rate @ right - trial
            better = np.abs(rest / reach).max(1) < (1 - 1e-4 * scale[waiting]) * size[rows[waiting]]
            taken = rows[waiting[better]]
            x[taken], residual[taken] = trial[better], rest[better]
            for old, fresh in zip(answers, found, strict=True):
                old[taken] = fresh[better]
            waiting = waiting[~better]
            if not len(waiting):
                break
            scale[waiting] *= 0.5
        going[rows[waiting]] = False  # a minimum of the residual that is no fixed point
    return arrived


def _point(dynamics: ModeDynamics, kappa: Array) -> _Point:
    loop = dynamics.loop(kappa)
    known = bool((dynamics.tau > 0).all())
    values = np.linalg.eigvals(dynamics.jacobian(kappa)) if known else np.full(len(loop), np.nan + 0j)
    values = np.asarray(values[np.argsort(-values.real)], dtype=np.complex128)
    stable = bool((values.real < 0).all() if known else (np.linalg.eigvals(loop).real < 1).all())
    index = int(np.sign(np.linalg.det(np.eye(len(loop)) - loop)))
    return _Point(kappa, loop, values, stable, index)


# Basins


def mode_basins(
    circuit: Circuit,
    axes: Sequence[Any],
    *,
    dt: Any = None,
    closure: Closure | None = None,
    tau: Any = None,
    seed: int = 0,
) -> xr.Dataset:
    """Return which fixed point the activity goes to, from every point of a grid in mode space.

    Parameters
    ----------
    circuit, dt, closure, tau, seed
        As for `mode_fixed_points`; up to three modes.
    axes : sequence of array_like or Quantity
        For each mode the κ of the grid, 1/ms, one or more.

    Returns
    -------
    Dataset
        That of `mode_fixed_points`, and `basin` over ``(kappa_1, …, kappa_P)``: the position of a fixed point, -1 where
        none is reached in a hundred time constants (limit cycles, borders). Coordinates in Hz.

    Raises
    ------
    ValueError
        If there are more than three modes, or not one axis for each.
    """
    dynamics = mode_dynamics(circuit, dt=dt, closure=closure, tau=tau)
    dynamics.require_times()
    if dynamics.n_modes > 3:
        raise ValueError(f"basins are drawn for up to 3 modes, the circuit has {dynamics.n_modes}")
    if len(axes) != dynamics.n_modes:
        raise ValueError(f"`axes` must be one array for each of {dynamics.n_modes} modes, got {len(axes)}")
    grid = [np.atleast_1d(np.asarray(in_unit(axis, "1/ms", "axes"), dtype=np.float64)) for axis in axes]
    if any(axis.ndim != 1 or not len(axis) or not np.isfinite(axis).all() for axis in grid):
        raise ValueError("`axes` must hold finite numbers, 1/ms, one dimension each")
    points = mode_fixed_points(circuit, dt=dt, closure=closure, tau=tau, seed=seed)
    kappa = points["kappa"].to_numpy() * 1e-3
    stable = points["stable"].to_numpy().astype(bool)
    starts = np.stack(np.meshgrid(*grid, indexing="ij"), -1)
    basin = _flow(dynamics, starts.reshape(-1, dynamics.n_modes), kappa, stable).reshape(starts.shape[:-1])
    names = [f"kappa_{k + 1}" for k in range(dynamics.n_modes)]
    coords = {name: (name, axis * 1e3, {"units": "Hz"}) for name, axis in zip(names, grid, strict=True)}
    where = described(tuple(names), basin, "1", "fixed point that is reached").assign_coords(coords)
    return points.assign(basin=where)


def _flow(dynamics: ModeDynamics, x: Array, kappa: Array, stable: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Return the position of the stable point that each start ends at, -1 for none.

    The right-hand side is interpolated from a table, which costs the same for any number of starts.
    """
    basin = np.full(len(x), -1, dtype=np.int64)
    if not stable.any():
        return basin
    apart = [np.abs(a - b).max() for k, a in enumerate(kappa) for b in kappa[:k]]
    near = ARRIVED * (min(apart) if apart else float(dynamics.reach.max()))
    returned = _tabulated(dynamics, np.concatenate([x, kappa]))
    h = BASIN_STEP * float(dynamics.tau.min())
    rows, attractors = np.arange(len(x)), np.flatnonzero(stable)
    x = np.array(x)
    for k in range(int(BASIN_TIME * dynamics.tau.max() / h)):
        one = (returned(x) - x) / dynamics.tau
        two = (returned(x + h * one) - x - h * one) / dynamics.tau
        x = x + h / 2 * (one + two)
        if k % 4 == 0:
            distance = np.abs(x[:, None] - kappa[attractors]).max(-1)
            done = distance.min(1) < near
            basin[rows[done]] = attractors[distance[done].argmin(1)]
            rows, x = rows[~done], x[~done]
            if not len(rows):
                break
    return basin


def _tabulated(dynamics: ModeDynamics, points: Array) -> Callable[[Array], Array]:
    """Return `ModeDynamics.returned` as a spline over a box that holds the points and where they can go."""
    dynamics = replace(dynamics, accuracy=BASIN_TOLERANCE)
    low, high = points.min(0), points.max(0)
    for _ in range(2):  # steps mix points with what returns from them
        low, high = low - MARGIN * (high - low + SAME), high + MARGIN * (high - low + SAME)
        coarse = dynamics.returned(_box(low, high, 4))
        low, high = np.minimum(low, coarse.min(0)), np.maximum(high, coarse.max(0))
    knots = KNOTS[dynamics.n_modes]
    values = dynamics.returned(_box(low, high, knots))
    axes = tuple(np.linspace(a, b, knots) for a, b in zip(low, high, strict=True))
    table = values.reshape(*(knots,) * dynamics.n_modes, dynamics.n_modes)
    spline = RegularGridInterpolator(axes, table, method="cubic", bounds_error=False, fill_value=None)
    return lambda x: np.asarray(spline(x))


def _box(low: Array, high: Array, knots: int) -> Array:
    axes = [np.linspace(a, b, knots) for a, b in zip(low, high, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(axes))
