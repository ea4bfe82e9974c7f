"""Stability of homogeneous states of networks in space: which wave of activity grows first, and how fast.

Where connections depend on distance alone, waves e^{ikx + st} do not mix. The response of the rates to each other at a
wave number k is that of the whole network, each connection times the Fourier transform of its profile relative to that
at k = 0, and a wave keeps itself alive where

    det(1 - M(s) ∘ P̂(k)) = 0.

The wave of the largest real part of s is the first that grows [1]_. By its wave number and frequency, that is

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
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy.optimize import brentq, minimize_scalar
from scipy.special import j1

from mnnbio.circuit import (
    BoxProfile,
    Circuit,
    DistanceDependent,
    ExponentialProfile,
    GaussianProfile,
    OneToOne,
    Profile,
    Projection,
    Ring,
    Space,
    Torus,
    require_circuit,
)
from mnnbio.machine import check_choice
from mnnbio.results import array, versions
from mnnbio.theory.inputs import mean_phase, received_sums
from mnnbio.theory.oscillations import (
    GRID,
    HZ,
    LEAST_GAIN,
    ResponseTo,
    _attributes,
    _eigenvalues,
    _followed,
    _follows_variance,
    _hybrid_root,
    _interpolated,
    _is_near,
    _responses,
    _roots,
    _stationary,
    highest_known,
    representatives,
)
from mnnbio.theory.population_theory import PopulationState, System, fluctuations
from mnnbio.theory.rate_model import FREQUENCIES, Channels, fit_low_pass, rightmost_root
from mnnbio.theory.stationary import Closure
from mnnbio.theory.validity import check_validity
from mnnbio.units import in_unit

Array = npt.NDArray[np.float64]
Complex = npt.NDArray[np.complex128]
Model = Literal["lif", "rate"]

WAVES = 32  # wave numbers of a ring or torus that are looked at
SHORTEST, STEPS = 20.0, 400  # of wave numbers in endless space: up to 20 over the shortest length
PANELS, NODES = 64, 16  # of integrals over profiles
LOWEST = 0.9  # of the fastest decay of a membrane, to which responses are known


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
    return _labelled(found, names, row, column, refine=root).assign_attrs(
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
        return _checked_numbers(given)
    lengths = [length for profile in table for length in vars(profile).values() if isinstance(length, float)]
    if not lengths:
        raise ValueError("give `wave_numbers`: the profiles state no length from which they could follow")
    return np.linspace(0.0, SHORTEST / min(lengths), STEPS + 1)


def _checked_numbers(given: npt.ArrayLike) -> Array:
    k = np.asarray(given, dtype=np.float64)
    if k.ndim != 1 or not len(k) or not (k >= 0).all() or not (np.diff(k) > 0).all():
        raise ValueError(f"`wave_numbers` must be ascending numbers ≥ 0, got {given!r}")
    return k


def spatial_stability(
    circuit: Circuit,
    wave_numbers: npt.ArrayLike | None = None,
    *,
    model: Model = "lif",
    highest: Any = 0.5,
    dt: Any = None,
    closure: Closure = "poisson",
    start: Any = None,
    response: ResponseTo = "mean+variance",
) -> xr.Dataset:
    """Return the least damped wave of activity around the homogeneous state of a circuit in space, by wave number.

    Parameters
    ----------
    circuit : Circuit
        With one stimulus, not changing in time. Its neurons lie regularly on a `Ring` or `Torus`, connected by
        `DistanceDependent` rules; projections of other rules connect places at random and carry wave number 0 alone,
        and `OneToOne` carries all.
    wave_numbers : array_like, shape (wave number,), optional
        1 over the unit of the lengths; along the width of a torus. By default the first that fit, multiples of 2π over
        the length.
    model : {"lif", "rate"}
        The response of the leaky integrate-and-fire neurons; or the rate model that comes closest to it, see
        `fit_transfer_function`, one filter for each projection.
    highest : float or Quantity
        Highest frequency (1/ms) at which waves of LIF neurons are looked for, at most that up to which their response
        is known (1/(2π tau_syn)).
    dt, closure, start, response
        As for `predict_spectra`.

    Returns
    -------
    Dataset
        As `neural_field_stability` returns it, with the names of the populations, and `rate` (Hz), that of the
        homogeneous state; `critical_wave_number` is one of those looked at. Where no wave of the LIF neurons was found
        `eigenvalue_real` and `eigenvalue_imag` are NaN: all loops fade within a cycle.

    Raises
    ------
    ValueError
        If neurons do not lie regularly in one homogeneous space, no projection depends on distance, or no wave was
        found; else as for `predict_spectra`, but for a state that is unstable.
    NotConverged
        If there is no stationary state.

    Warns
    -----
    SlowSynapseWarning, FiniteWeightWarning
        As by `predict`.

    Notes
    -----
    A rule of fixed in-degrees follows its profile where these are small against the number of neurons within reach.

    References
    ----------
    J. Senk et al. (2020), Phys. Rev. Research 2, 023174, sections II and III.
    """
    require_circuit(circuit)
    check_choice("model", model, get_args(Model))
    limit = in_unit(highest, "1/ms", "highest")
    if not isinstance(limit, float) or not 0 < limit < np.inf:
        raise ValueError(f"`highest` must be a frequency > 0 in 1/ms, got {highest!r}")
    noise = _follows_variance(response)
    names = [p.name for p in circuit.neurons]
    inner = [p for p in circuit.projections if p.source in names]
    space = _space(inner)
    length = space.length if isinstance(space, Ring) else space.width  # type: ignore[attr-defined]
    k = _checked_numbers(2 * np.pi / length * np.arange(WAVES + 1) if wave_numbers is None else wave_numbers)
    transforms = np.stack([_transform_of(projection, space, k) for projection in inner], axis=-1)
    system, state, step = _stationary(circuit, dt, closure, start)
    check_validity(circuit, fluctuations(circuit, system, state))
    field = _Field(circuit, inner, system, state, step, noise=noise)
    known = min(limit, highest_known(circuit))
    find = field.rate_roots if model == "rate" else lambda shares: field.lif_roots(shares, known)
    roots = find(transforms)
    if np.isnan(roots.real).all():
        raise ValueError(
            "no wave was found: at every wave number all loops fade within a cycle, and the state is stable. "
            "model='rate' says how fast"
        )
    row, column = field.row, field.column
    labelled = _labelled(Waves(k, transforms, roots), np.array(names), row, column)
    rate = array("rate", ("population",), state.rate * 1e3)
    attributes = _attributes(circuit, closure, step, response)
    return labelled.assign(rate=rate).assign_attrs(attributes, model=model, space=repr(space))


def _space(projections: list[Projection]) -> Space:
    """Return the space in which all neurons lie."""
    found: list[Space] = []
    for projection in projections:
        rule = projection.connectivity
        if rule is None:
            raise ValueError(
                f"{projection} has explicit weights, which say nothing of places: waves need rules such as "
                "DistanceDependent"
            )
        if isinstance(rule, DistanceDependent):
            if rule.target_positions is not None or rule.source_positions is not None:
                raise ValueError(
                    f"{projection} has neurons at positions of their own; waves need neurons that lie regularly: leave "
                    "out `target_positions` and `source_positions`"
                )
            found.append(rule.space)
    if not found:
        raise ValueError(
            "no projection among the neurons depends on distance; without places there are no waves. See "
            "`predict_oscillations`"
        )
    different = [space for space in found if space != found[0]]
    if different:
        raise ValueError(f"all projections must be in one space, got {found[0]!r} and {different[0]!r}")
    space_transform(found[0], GaussianProfile(1.0), np.zeros(1))
    return found[0]


def _transform_of(projection: Projection, space: Space, k: Array) -> Array:
    rule = projection.connectivity
    if isinstance(rule, DistanceDependent):
        return space_transform(space, rule.profile, k)
    return np.ones_like(k) if isinstance(rule, OneToOne) else (k == 0).astype(np.float64)


class _Field:
    """Responses of the projections of a circuit around its homogeneous state."""

    def __init__(
        self,
        circuit: Circuit,
        projections: list[Projection],
        system: System,
        state: PopulationState,
        dt: float | None,
        *,
        noise: bool,
    ) -> None:
        self._projections, self._noise = projections, noise
        self._sums = [received_sums(circuit, projection, dt) for projection in projections]
        self._chosen = representatives(system, state)
        self._size = len(system.names)
        self.row, self.column = (
            np.array([system.names.index(getattr(p, end)) for p in projections]) for end in ("target", "source")
        )
        self._longest = float(np.max(self._chosen.lif.tau_m.numpy()))

    def each(self, frequency: Complex, to_mean: Complex, to_variance: Complex) -> Complex:
        """Return what every projection transmits, (frequency, projection)."""
        omega = 2j * np.pi * frequency
        found = np.zeros((len(omega), len(self._projections)), dtype=complex)
        for k, (projection, sums) in enumerate(zip(self._projections, self._sums, strict=True)):
            filtered = mean_phase(projection, omega) / (1 + omega * projection.tau_syn)
            by_variance = to_variance[:, self.row[k]] * sums.squares * float(self._noise)
            found[:, k] = filtered * (to_mean[:, self.row[k]] * sums.total + by_variance)
        return found

    def rate_roots(self, transforms: Array) -> Complex:
        """Return the rightmost roots of the rate model, (wave number,)."""
        f = FREQUENCIES.astype(complex)
        responses = self.each(f, *_responses(self._chosen, f))
        fits = [fit_low_pass(FREQUENCIES, values) if values.any() else None for values in responses.T]
        used = np.array([fit is not None for fit in fits])
        if not used.any():
            raise ValueError(
                "no population responds to another: there is no wave. Ask for a state in which neurons fire"
            )
        table = np.array([fit[:3] for fit in fits if fit is not None]).T
        channels = Channels(self._size, self.row[used], self.column[used], *table)
        return np.array([rightmost_root(channels._replace(gain=table[0] * shares[used])) for shares in transforms])

    def lif_roots(self, transforms: Array, highest: float) -> Complex:
        """Return the rightmost roots of the neurons' own response, (wave number,); NaN where there are none."""
        f = np.arange(GRID * HZ, highest + GRID * HZ, GRID * HZ, dtype=np.float64)
        known = self.each(f.astype(complex), *_interpolated(self._chosen, f))
        return np.array([self._rightmost(shares, f, known, highest) for shares in transforms])

    def _matrices(self, transmitted: Complex, shares: Array) -> Complex:
        found = np.zeros((len(transmitted), self._size, self._size), dtype=complex)
        for k, (row, column) in enumerate(zip(self.row, self.column, strict=True)):
            found[:, row, column] += transmitted[:, k] * shares[k]
        return found

    def _rightmost(self, shares: Array, f: Array, known: Complex, highest: float) -> complex:
        def loops(s: Complex) -> Complex:
            places = np.atleast_1d(s) / (2j * np.pi)
            return _eigenvalues(self._matrices(self.each(places, *_responses(self._chosen, places)), shares))

        values = _followed(_eigenvalues(self._matrices(known, shares)))
        onsets, gains = [], []
        for eigenvalue in values.T:
            turns = np.flatnonzero((eigenvalue.imag[:-1] > 0) != (eigenvalue.imag[1:] > 0))
            for k in turns[eigenvalue.real[turns] > LEAST_GAIN]:
                part = eigenvalue.imag[k] / (eigenvalue.imag[k] - eigenvalue.imag[k + 1])
                onsets.append(f[k] + part * (f[k + 1] - f[k]))
                gains.append(eigenvalue.real[k] + part * (eigenvalue.real[k + 1] - eigenvalue.real[k]))
        found = []
        for onset, s in zip(onsets, _roots(loops, np.array(onsets), np.array(gains)), strict=True):
            root = complex(s) if _is_near(s, onset) else _hybrid_root(loops, onset)
            if _is_near(root, onset) and root.imag <= 2 * np.pi * highest:
                found.append(root)
        still = self._static_root(loops)
        found += [] if still is None else [still]
        return max(found, key=lambda s: s.real, default=complex(np.nan, np.nan))

    def _static_root(self, loops: Callable[[Complex], Complex]) -> complex | None:
        """Return the real root, if one is to the right of the decay of the membranes."""

        def excess(s: float) -> float:
            values = loops(np.array([complex(s)]))[0]
            real = values.real[np.abs(values.imag) <= 1e-9 * np.maximum(np.abs(values), 1e-30)]
            return float(real.max(initial=-1.0)) - 1

        low, high = -LOWEST / self._longest, 0.0
        if excess(high) > 0:
            low, high = 0.0, 1 / self._longest
            while excess(high) > 0:
                low, high = high, 2 * high
        elif excess(low) < 0:
            return None
        root = float(brentq(excess, low, high, xtol=1e-14, rtol=1e-13))
        return complex(root) if abs(excess(root)) < 1e-6 else None


def _labelled(
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
