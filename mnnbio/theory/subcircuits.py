"""Spectra of parts of a circuit: only some connections carry fluctuations, while all neurons stay where they work.

A connection that is cut is one whose sources keep their mean rates and the noise of their single trains, which reaches
every target independently, but whose fluctuations of the population rate are not passed on. So means, variances and
responses are those of the whole circuit, and

    C(ω) = K D K†,    K = (I - M'(ω))^{-1},

with M' the response of the populations to each other through the connections that stay. Which of them make a peak of
the spectrum follows from the peaks that are left [1]_.

References
----------
.. [1] H. Bos, M. Diesmann, M. Helias (2016), Identifying anatomical origins of coexisting oscillations in the cortical
   microcircuit, PLoS Comput. Biol. 12, e1005132, Fig. 9.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import xarray as xr

from mnnbio.circuit import Circuit, require_circuit
from mnnbio.machine import check_choice, require_memory
from mnnbio.results import array
from mnnbio.theory.oscillations import HZ, delayed_stability, population_modes, require_stationary
from mnnbio.theory.population_response import (
    ResponseTo,
    follows_variance,
    modulation,
    response_attributes,
    spectra,
    stationary_populations,
)
from mnnbio.theory.population_theory import System, fluctuations, population_stability
from mnnbio.theory.recurrence import stability_attributes
from mnnbio.theory.stationary import Closure
from mnnbio.theory.validity import check_validity
from mnnbio.theory.wired_response import Stability
from mnnbio.units import in_unit

Array = npt.NDArray[np.float64]
Pair = tuple[str, str]


def predict_subcircuit_spectra(
    circuit: Circuit,
    frequencies: Any,
    *,
    populations: Iterable[str] | None = None,
    connections: Iterable[Pair] | None = None,
    without: Iterable[Pair] | None = None,
    dt: Any = None,
    closure: Closure = "poisson",
    start: Any = None,
    response: ResponseTo = "mean+variance",
    unstable: Literal["raise", "report"] = "raise",
) -> xr.Dataset:
    """Return the power and cross-spectra of populations that interact through some of their connections alone.

    The stationary state is that of the whole circuit: what is cut still brings mean, variance and independent noise.

    Parameters
    ----------
    circuit : Circuit
        With one stimulus, not changing in time.
    frequencies : array_like or Quantity, shape (frequency,)
        In spikes/ms, that is kHz; or a quantity.
    populations : iterable of str, optional
        Populations that interact, with all connections among them; the result has these.
    connections : iterable of (str, str), optional
        Connections that stay, as pairs of source and target.
    without : iterable of (str, str), optional
        Connections that are cut; all others stay. Give one of the three.
    dt, closure, start, response, unstable
        As for `predict_spectra`; stability is that of the part.

    Returns
    -------
    Dataset
        As `predict_spectra` returns it, with the attribute `connections`, those that stay as ``"source->target"``.

    Raises
    ------
    ValueError
        If a population or a connection is unknown, or none or several of the choices are given; else as for
        `predict_spectra`.
    NotConverged, NotEnoughMemory
        As for `predict_spectra`.

    Warns
    -----
    SlowSynapseWarning, FiniteWeightWarning, LinearResponseWarning
        As by `predict`.

    References
    ----------
    H. Bos, M. Diesmann, M. Helias (2016), PLoS Comput. Biol. 12, e1005132, eq. 18 and Fig. 9 (there with Poisson noise,
    here with that of renewal trains).
    """
    require_circuit(circuit)
    f = np.asarray(in_unit(frequencies, "1/ms", "frequencies"))
    if f.ndim != 1 or not (f >= 0).all():
        raise ValueError(f"`frequencies` must be a list of frequencies ≥ 0 in 1/ms, got {frequencies!r}")
    noise = follows_variance(response)
    check_choice("unstable", unstable, ("raise", "report"))
    stay, shown = _that_stay(circuit, populations, connections, without)
    require_memory(
        16.0 * 6 * len(f) * len(circuit.neurons) ** 2,
        f"spectra of {len(circuit.neurons)} populations at {len(f)} frequencies",
        "Ask for fewer frequencies, or for some at a time",
    )
    whole, state, step = stationary_populations(circuit, dt, closure, start)
    neurons = {p.name for p in circuit.neurons}
    part = circuit.with_parts(
        projections=[p for p in circuit.projections if p.source not in neurons or (p.source, p.target) in stay]
    )
    system = _cut(whole, stay)
    eigenvalues = population_stability(system, state)
    modes = population_modes(part, system, state, step, highest=0.5, noise=noise)
    delayed = delayed_stability(part, eigenvalues, modes)
    if unstable == "raise":
        _require_stable_part(eigenvalues)
        require_stationary(eigenvalues, delayed, response)
    steady = delayed["stability_with_delays"] == "stable"
    check_validity(circuit, fluctuations(circuit, whole, state), eigenvalues=eigenvalues if steady else None)
    cross = spectra(system, modulation(part, system, state, f, step, noise=noise)).conj() / HZ
    places = [system.names.index(name) for name in shown]
    cross = cross[:, places][:, :, places]
    power = np.real(np.einsum("faa->fa", cross))
    one, two = ("frequency", "population"), ("frequency", "population", "population_j")
    labelled = {
        "power": array("power", one, power),
        "cross_real": array("cross_real", two, cross.real),
        "cross_imag": array("cross_imag", two, cross.imag),
        "coherence": array("coherence", two, np.abs(cross) ** 2 / (power[:, :, None] * power[:, None, :])),
    }
    coords = {
        "frequency": ("frequency", f / HZ, {"units": "Hz", "long_name": "frequency"}),
        "population": shown,
        "population_j": shown,
    }
    return xr.Dataset(labelled, coords=coords).assign_attrs(
        response_attributes(circuit, closure, step, response),
        connections=[f"{source}->{target}" for source, target in sorted(stay)],
        **stability_attributes(eigenvalues),
        **delayed,
    )


def _that_stay(
    circuit: Circuit,
    populations: Iterable[str] | None,
    connections: Iterable[Pair] | None,
    without: Iterable[Pair] | None,
) -> tuple[set[Pair], list[str]]:
    """Return the connections that stay, as (source, target), and the populations that are shown."""
    given = {"populations": populations, "connections": connections, "without": without}
    chosen = [name for name, value in given.items() if value is not None]
    if len(chosen) != 1:
        raise ValueError(
            "give one of `populations`, `connections` and `without`, which say what of the circuit interacts, got "
            + (" and ".join(f"`{name}`" for name in chosen) or "none; the whole circuit is `predict_spectra`")
        )
    names = [p.name for p in circuit.neurons]
    present = {(p.source, p.target) for p in circuit.projections if p.source in names}
    if populations is not None:
        wanted = [populations] if isinstance(populations, str) else list(populations)
        unknown = [name for name in wanted if name not in names]
        if unknown or not wanted:
            raise ValueError(f"`populations` must be some of {', '.join(names)}, got {wanted!r}")
        return {pair for pair in present if set(pair) <= set(wanted)}, [name for name in names if name in wanted]
    pairs = [tuple(pair) for pair in (connections if connections is not None else without or ())]
    strange = [pair for pair in pairs if pair not in present]
    if strange:
        raise ValueError(
            f"`{chosen[0]}` must be pairs of source and target of projections of the circuit, got {strange[0]!r}; it "
            "has " + ", ".join(f"{source}->{target}" for source, target in sorted(present))
        )
    named = {(str(pair[0]), str(pair[1])) for pair in pairs}
    return (named if connections is not None else present - named), names


def _require_stable_part(eigenvalues: Stability) -> None:
    """Raise a `ValueError` where the connections that stay let rates run away."""
    if eigenvalues.largest_real >= 1:
        raise ValueError(
            "the connections that stay are unstable without the others: their effective weights have an eigenvalue "
            f"with the real part {eigenvalues.largest_real:.2f} ≥ 1, so there is no stationary spectrum. Let more "
            "inhibition stay; unstable='report' gives the linear response anyway"
        )


def _cut(system: System, stay: set[Pair]) -> System:
    """Return the equations with the sums of the connections that stay; those of the state are not to be asked of it."""
    kept = np.array([[(source, target) in stay for source in system.names] for target in system.names], dtype=float)
    return system._replace(recurrent=system.recurrent.scaled(kept, kept, kept))
