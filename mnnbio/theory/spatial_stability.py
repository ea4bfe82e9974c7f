"""Stability of homogeneous states of circuits in space: which wave of activity grows first, and how fast.

Where connections depend on distance alone, waves e^{ikx + st} do not mix. The response of the rates to each other at a
wave number k is that of the whole circuit, each projection times the Fourier transform of its profile
(`mnnbio.theory.neural_fields`): leaky integrate-and-fire neurons take the place of the filters of a rate model [1]_.

References
----------
.. [1] J. Senk, K. Korvasová, J. Schuecker, E. Hagen, T. Tetzlaff, M. Diesmann, M. Helias (2020), Conditions for wave
   trains in spiking neural networks, Phys. Rev. Research 2, 023174.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy.optimize import brentq

from mnnbio.circuit import (
    Circuit,
    DistanceDependent,
    GaussianProfile,
    OneToOne,
    Projection,
    Ring,
    Space,
    require_circuit,
)
from mnnbio.machine import check_choice
from mnnbio.results import array
from mnnbio.theory.inputs import mean_phase, received_sums
from mnnbio.theory.loop_modes import eigenvalues_of, loop_roots
from mnnbio.theory.neural_fields import Waves, checked_wave_numbers, labelled_waves, space_transform
from mnnbio.theory.oscillations import GRID, HZ, highest_known
from mnnbio.theory.population_response import (
    ResponseTo,
    follows_variance,
    representatives,
    response_attributes,
    responses_at,
    responses_on_grid,
    stationary_populations,
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
LOWEST = 0.9  # of the slowest decay of a membrane, to which responses are known


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
    noise = follows_variance(response)
    names = [p.name for p in circuit.neurons]
    inner = [p for p in circuit.projections if p.source in names]
    space = _space(inner)
    length = space.length if isinstance(space, Ring) else space.width  # type: ignore[attr-defined]
    k = checked_wave_numbers(2 * np.pi / length * np.arange(WAVES + 1) if wave_numbers is None else wave_numbers)
    transforms = np.stack([_transform_of(projection, space, k) for projection in inner], axis=-1)
    system, state, step = stationary_populations(circuit, dt, closure, start)
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
    labelled = labelled_waves(Waves(k, transforms, roots), np.array(names), row, column)
    rate = array("rate", ("population",), state.rate * 1e3)
    attributes = response_attributes(circuit, closure, step, response)
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
        responses = self.each(f, *responses_at(self._chosen, f))
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
        known = self.each(f.astype(complex), *responses_on_grid(self._chosen, f))
        return np.array([self._rightmost(shares, f, known, highest) for shares in transforms])

    def _matrices(self, transmitted: Complex, shares: Array) -> Complex:
        found = np.zeros((len(transmitted), self._size, self._size), dtype=complex)
        for k, (row, column) in enumerate(zip(self.row, self.column, strict=True)):
            found[:, row, column] += transmitted[:, k] * shares[k]
        return found

    def _rightmost(self, shares: Array, f: Array, known: Complex, highest: float) -> complex:
        def loops(s: Complex) -> Complex:
            places = np.atleast_1d(s) / (2j * np.pi)
            return eigenvalues_of(self._matrices(self.each(places, *responses_at(self._chosen, places)), shares))

        roots = loop_roots(f, self._matrices(known, shares), loops)
        found = [s for _, _, s in roots if s.imag <= 2 * np.pi * highest]
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
