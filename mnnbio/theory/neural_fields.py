"""Waves of neural fields: rate models whose connections depend on distance, and the transforms of their profiles.

A wave e^{ikx + st} sees every connection times the Fourier transform of its profile relative to that at k = 0, and
keeps itself alive where

    det(1 - M(s) ∘ P̂(k)) = 0,

with M the response of the rates to each other. The wave of the largest real part of s is the first that grows [1]_. By
its wave number and frequency, that is

=============== ========= =========
pattern         k         frequency
=============== ========= =========
``"uniform"``   0         0
``"Turing"``    > 0       0
``"Hopf"``      0         > 0
``"wave"``      > 0       > 0
=============== ========= =========

References
----------
.. [1] J. Senk, K. Korvasová, J. Schuecker, E. Hagen, T. Tetzlaff, M. Diesmann, M. Helias (2020), Conditions for wave
   trains in spiking neural networks, Phys. Rev. Research 2, 023174.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import singledispatch
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy.optimize import minimize_scalar
from scipy.special import j1

from mnnbio.circuit import BoxProfile, ExponentialProfile, GaussianProfile, Profile, Ring, Space, Torus
from mnnbio.results import array, versions
from mnnbio.theory.rate_model import Channels, rightmost_root
from mnnbio.units import in_unit

Array = npt.NDArray[np.float64]
Complex = npt.NDArray[np.complex128]

SHORTEST, STEPS = 20.0, 400  # of wave numbers in endless space: up to 20 over the shortest length
PANELS, NODES = 64, 16  # of integrals over profiles


class Waves(NamedTuple):
    """Least damped waves."""

    number: Array  # (wave number,)
    transform: Array  # (wave number, channel)
    root: Complex  # s, (wave number,), 1/ms


@singledispatch
def profile_transform(profile: Profile, wave_number: npt.ArrayLike, dimension: int = 1) -> Array:
    """Return the Fourier transform of a profile in endless space, relative to that at wave number 0.

    A type of profile registers how (``@profile_transform.register``).

    Parameters
    ----------
    profile : GaussianProfile, ExponentialProfile, BoxProfile or a registered type
    wave_number : array_like
        1 over the unit of the lengths.
    dimension : {1, 2}
        Of the space; in a plane a profile is the same in all directions.

    Raises
    ------
    TypeError
        If there is none for this type of profile.

    References
    ----------
    J. Senk et al. (2020), Phys. Rev. Research 2, 023174, eq. 5 (boxcar in one dimension).
    """
    raise TypeError(
        f"there is no Fourier transform of {type(profile).__name__}: a function registered with "
        "`mnnbio.theory.profile_transform.register` would say what it is"
    )


@profile_transform.register
def _(profile: GaussianProfile, wave_number: npt.ArrayLike, dimension: int = 1) -> Array:
    return np.asarray(np.exp(-((np.asarray(wave_number) * profile.sigma) ** 2) / 2))


@profile_transform.register
def _(profile: ExponentialProfile, wave_number: npt.ArrayLike, dimension: int = 1) -> Array:
    return np.asarray((1 + (np.asarray(wave_number) * profile.length) ** 2) ** (-(dimension + 1) / 2))


@profile_transform.register
def _(profile: BoxProfile, wave_number: npt.ArrayLike, dimension: int = 1) -> Array:
    x = np.asarray(wave_number, dtype=np.float64) * profile.radius
    if dimension == 1:
        return np.asarray(np.sinc(x / np.pi))
    safe = np.where(x == 0, 1.0, x)
    return np.asarray(np.where(x == 0, 1.0, 2 * j1(safe) / safe))


@singledispatch
def space_transform(space: Space, profile: Profile, wave_number: npt.ArrayLike) -> Array:
    """Return the Fourier transform of a profile in a space, along its first coordinate, relative to that at 0.

    Distances end at half the length of a ring, and in both directions of a torus.

    Parameters
    ----------
    space : Ring, Torus or a registered type
    profile : Profile
    wave_number : array_like
        Those that fit are the multiples of 2π over the length.

    Raises
    ------
    ValueError
        If the space is not homogeneous, as a sheet with open edges is not.
    """
    raise ValueError(
        f"waves are of spaces in which all places are alike, a Ring or a Torus, got a {type(space).__name__}: at open "
        "edges neurons have fewer partners"
    )


@space_transform.register
def _(space: Ring, profile: Profile, wave_number: npt.ArrayLike) -> Array:
    half = space.length / 2
    if isinstance(profile, BoxProfile):
        return profile_transform(BoxProfile(min(profile.radius, half)), wave_number)
    return _cosine(lambda x: profile.at(x), half, np.asarray(wave_number, dtype=np.float64))


@space_transform.register
def _(space: Torus, profile: Profile, wave_number: npt.ArrayLike) -> Array:
    across, along = space.height / 2, space.width / 2
    k = np.asarray(wave_number, dtype=np.float64)
    if isinstance(profile, BoxProfile):
        radius = profile.radius
        return _cosine(
            lambda x: np.minimum(np.sqrt(np.maximum(radius**2 - x**2, 0.0)), across),
            min(radius, along),
            k,
            rounded=True,
        )
    y, weight = _quadrature(across)
    return _cosine(lambda x: (profile.at(np.hypot(x[:, None], y)) * weight).sum(1), along, k)


def _quadrature(length: float) -> tuple[Array, Array]:
    """Return places and weights of an integral from 0 to a length."""
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    edges = np.linspace(0.0, length, PANELS + 1)
    half = np.diff(edges) / 2
    return np.ravel((edges[:-1] + half)[:, None] + half[:, None] * nodes), np.ravel(half[:, None] * weights)


def _cosine(function: Callable[[Array], Array], length: float, k: Array, *, rounded: bool = False) -> Array:
    """Return ∫ f(x) cos(kx) dx / ∫ f(x) dx from 0 to a length; `rounded` where f ends like a square root."""
    if rounded:
        angle, weight = _quadrature(np.pi / 2)
        x, weight = length * np.sin(angle), weight * length * np.cos(angle)
    else:
        x, weight = _quadrature(length)
    share = function(x) * weight
    return np.asarray((np.cos(k[..., None] * x) * share).sum(-1) / share.sum())


def neural_field_stability(
    gain: npt.ArrayLike,
    time_constant: Any,
    delay: Any,
    profiles: Any,
    wave_numbers: npt.ArrayLike | None = None,
    *,
    dimension: Literal[1, 2] = 1,
) -> xr.Dataset:
    """Return the least damped wave of a rate model in endless space, for every wave number.

    Rates follow ``τ dr/dt = -r + g (p * r)(t - d)``, p being the profile of a connection, of area 1.

    Parameters
    ----------
    gain : array_like, shape (population, population)
        Of the rate of a target (rows) to that of a source.
    time_constant, delay : float, Quantity or array_like, shape (population, population)
        ms; > 0 and ≥ 0. With one of each, s is Lambert's function, else it is found numerically.
    profiles : Profile or nested sequence of Profile
        Of all connections, of the source populations, or of every connection, as `gain` is shaped.
    wave_numbers : array_like, shape (wave number,), optional
        1 over the unit of the lengths of the profiles; by default from 0 to 20 over the shortest of them.
    dimension : {1, 2}
        Of the space.

    Returns
    -------
    Dataset
        Over ``wave_number`` `eigenvalue_real` and `eigenvalue_imag`, of s (1/s), with an imaginary part ≥ 0; over
        ``(wave_number, population, population_j)`` `spatial_transform`. Attributes `critical_wave_number` (searched
        between those given), `critical_frequency` (Hz), `critical_growth` (1/s) of the least damped wave, its
        `pattern`, "uniform", "Turing", "Hopf" or "wave", and `stability`, "stable" where it fades.

    Raises
    ------
    ValueError
        If shapes do not fit or numbers are out of range.
    TypeError
        If a profile has no Fourier transform.

    References
    ----------
    J. Senk et al. (2020), Phys. Rev. Research 2, 023174, eqs. 2-7.

    Examples
    --------
    Far-reaching excitation and short-reaching inhibition that is stronger, with a delay.

    >>> profiles = [BoxProfile(0.2), BoxProfile(0.07)]
    >>> found = neural_field_stability([[3.0, -4.5], [3.0, -4.5]], 2.0, 1.5, profiles)
    >>> found.attrs["pattern"]
    'wave'
    """
    g = np.asarray(gain, dtype=np.float64)
    if g.ndim != 2 or g.shape[0] != g.shape[1] or not g.size:
        raise ValueError(f"`gain` must have shape (population, population), got {g.shape}")
    if dimension not in (1, 2):
        raise ValueError(f"`dimension` must be 1 or 2, got {dimension!r}")
    size = len(g)
    tau, lag = (_each_pair(value, name, size) for value, name in ((time_constant, "time_constant"), (delay, "delay")))
    table = _table(profiles, size)
    row, column = (part.ravel() for part in np.indices(g.shape))
    channels = Channels(size, row, column, g.ravel(), tau.ravel(), lag.ravel())
    k = _wave_numbers(wave_numbers, table)

    def transforms(number: Array) -> Array:
        return np.stack([profile_transform(profile, number, dimension) for profile in table], axis=-1)

    def root(number: float) -> complex:
        return rightmost_root(channels._replace(gain=channels.gain * transforms(np.array(number))))

    found = Waves(k, transforms(k), np.array([root(number) for number in k]))
    names = np.arange(size)
    return labelled_waves(found, names, row, column, refine=root).assign_attrs(
        group="prediction", model="rate", **versions()
    )


def _each_pair(value: Any, name: str, size: int) -> Array:
    number = np.asarray(in_unit(value, "ms", name), dtype=np.float64)
    if number.ndim and number.shape != (size, size):
        raise ValueError(f"`{name}` must be a time or have shape ({size}, {size}) as `gain`, got {number.shape}")
    return np.broadcast_to(number, (size, size))


def _table(profiles: Any, size: int) -> list[Profile]:
    """Return the profiles of all connections, row by row."""
    rows: list[Any]
    if isinstance(profiles, Profile):
        rows = [[profiles] * size] * size
    elif isinstance(profiles, Sequence) and len(profiles) == size and all(isinstance(p, Profile) for p in profiles):
        rows = [list(profiles)] * size
    else:
        rows = [list(row) if isinstance(row, Sequence) else [row] for row in profiles] if _is_listed(profiles) else []
    flat = [profile for row in rows for profile in row]
    if len(rows) != size or any(len(row) != size for row in rows) or not all(isinstance(p, Profile) for p in flat):
        raise ValueError(
            f"`profiles` must be a Profile such as GaussianProfile(0.1), {size} of them, one per source, or {size} x "
            f"{size}, got {profiles!r}"
        )
    return flat


def _is_listed(value: Any) -> bool:
    return isinstance(value, Sequence | np.ndarray) and not isinstance(value, str)


def _wave_numbers(given: npt.ArrayLike | None, table: list[Profile]) -> Array:
    if given is not None:
        return checked_wave_numbers(given)
    lengths = [length for profile in table for length in vars(profile).values() if isinstance(length, float)]
    if not lengths:
        raise ValueError("give `wave_numbers`: the profiles state no length from which they could follow")
    return np.linspace(0.0, SHORTEST / min(lengths), STEPS + 1)


def checked_wave_numbers(given: npt.ArrayLike) -> Array:
    """Return wave numbers as an array after checking that they ascend from 0 or more."""
    k = np.asarray(given, dtype=np.float64)
    if k.ndim != 1 or not len(k) or not (k >= 0).all() or not (np.diff(k) > 0).all():
        raise ValueError(f"`wave_numbers` must be ascending numbers ≥ 0, got {given!r}")
    return k


def labelled_waves(
    found: Waves,
    names: npt.NDArray[Any],
    row: npt.NDArray[np.int64],
    column: npt.NDArray[np.int64],
    refine: Callable[[float], complex] | None = None,
) -> xr.Dataset:
    """Return labelled waves, with the least damped one; searched between wave numbers if a function gives it there."""
    place = int(np.nanargmax(found.root.real))
    critical, root = float(found.number[place]), complex(found.root[place])
    if refine is not None and 0 < place < len(found.number) - 1:
        around = found.number[place - 1], found.number[place + 1]
        best = minimize_scalar(
            lambda k: -refine(float(k)).real, bounds=around, method="bounded", options={"xatol": 1e-10}
        )
        if -best.fun >= root.real and best.x > found.number[0]:
            critical, root = float(best.x), refine(float(best.x))
    oscillates = abs(root.imag) > 1e-9 * max(abs(root), 1e-9)
    patterns = {(False, False): "uniform", (True, False): "Turing", (False, True): "Hopf", (True, True): "wave"}
    size = len(names)
    table, count = np.zeros((len(found.number), size, size)), np.zeros((size, size))
    np.add.at(count, (row, column), 1.0)
    for k in range(len(row)):  # several projections of one pair: their mean
        table[:, row[k], column[k]] += found.transform[:, k] / count[row[k], column[k]]
    along = ("wave_number",)
    note = "NaN: all loops fade within a cycle"
    labelled = [
        array("eigenvalue_real", along, found.root.real * 1e3, note=note),
        array("eigenvalue_imag", along, np.abs(found.root.imag) * 1e3, note=note),
        array("spatial_transform", (*along, "population", "population_j"), table),
    ]
    coords = {
        "wave_number": ("wave_number", found.number, {"long_name": "wave number", "units": "1/length"}),
        "population": names,
        "population_j": names,
    }
    return xr.Dataset({v.name: v for v in labelled}, coords=coords).assign_attrs(
        critical_wave_number=critical,
        critical_frequency=abs(root.imag) / (2 * np.pi) * 1e3 if oscillates else 0.0,
        critical_growth=root.real * 1e3,
        pattern=patterns[critical > 0, oscillates],
        stability="stable" if root.real < 0 else "unstable",
    )
