"""Parameters of a stored circuit by path, such as ``drives.hidden.mean`` or ``populations.E.tau_m``."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mnnbio.circuit import (
    Circuit,
    GaussianDrive,
    ModeMatrix,
    PoissonDrive,
    PoissonSource,
    Population,
    Projection,
)
from mnnbio.lif import LIFParameters
from mnnbio.run.options import ConfigError, require_known

_LIF = [field.name for field in dataclasses.fields(LIFParameters)]
_DRIVES: dict[str, type[GaussianDrive | PoissonDrive]] = {
    "mean": GaussianDrive,
    "std": GaussianDrive,
    "rate": PoissonDrive,
    "weight": PoissonDrive,
    "tau_syn": PoissonDrive,
}


def paths_of(circuit: Circuit) -> list[str]:
    """Return the paths of everything in a circuit that a sweep may change.

    ================================== ==================================================================
    ``seed``                           of the connectivity
    ``sources.NAME.rates``             one rate for all trains, spikes/ms
    ``sources.NAME.scale``             factor of the rates
    ``populations.NAME.tau_m`` …       a neuron parameter, the same for all neurons
    ``drives.NAME.mean``, ``.std``     of the Gaussian drive of a population, the same for all neurons
    ``drives.NAME.rate`` …             ``rate``, ``weight`` or ``tau_syn`` of its Poisson drive
    ``projections.SOURCE.TARGET.scale``  factor of the weights
    ``….delay``, ``….tau_syn``         of a projection
    ``….weight``                       of a projection whose synapses a rule makes
    ================================== ==================================================================
    """
    found = ["seed"]
    for population in circuit.populations:
        if isinstance(population, PoissonSource):
            found += [f"sources.{population.name}.{name}" for name in ("rates", "scale")]
        else:
            found += [f"populations.{population.name}.{name}" for name in _LIF]
    for drive in circuit.drives:
        found += [f"drives.{drive.target}.{name}" for name, kind in _DRIVES.items() if isinstance(drive, kind)]
    for projection in circuit.projections:
        names = ["scale", "delay", "tau_syn", *(["weight"] if projection.weights is None else [])]
        found += [f"projections.{projection.source}.{projection.target}.{name}" for name in names]
    return found


def edited(circuit: Circuit, changes: Mapping[str, Any]) -> Circuit:
    """Return a circuit with some of its parameters changed.

    Parameters
    ----------
    circuit : Circuit
    changes : mapping
        Values by path, in the working units (ms, mV, spikes/ms).

    Raises
    ------
    ConfigError
        If a path is unknown, or means more than one part of the circuit.
    ValueError
        If a value does not fit.
    """
    known = paths_of(circuit)
    require_known(changes, known, "parameter of the circuit")
    for path in changes:
        if known.count(path) > 1:
            raise ConfigError(f"{path!r} is not unique: the circuit has {known.count(path)} such parts")
    for path, value in changes.items():
        kind, _, rest = path.partition(".")
        name, _, field = rest.rpartition(".")
        if kind == "seed":
            circuit = dataclasses.replace(circuit, seed=value)
        elif kind == "drives":
            circuit = dataclasses.replace(circuit, drives=[_drive(d, name, field, value) for d in circuit.drives])
        elif kind == "projections":
            changed = [_projection(p, name, field, value) for p in circuit.projections]
            circuit = dataclasses.replace(circuit, projections=changed)
        else:
            circuit = dataclasses.replace(circuit, populations=_populations(circuit.populations, name, field, value))
    return circuit


def _populations(
    populations: Sequence[PoissonSource | Population], name: str, field: str, value: Any
) -> list[PoissonSource | Population]:
    def change(population: PoissonSource | Population) -> PoissonSource | Population:
        if population.name != name:
            return population
        if isinstance(population, PoissonSource):
            rates = _scaled(population.rates, value, f"rates of {name!r}") if field == "scale" else value
            return dataclasses.replace(population, rates=rates)
        return dataclasses.replace(population, lif=dataclasses.replace(population.lif, **{field: value}))

    return [change(population) for population in populations]


def _drive(drive: Any, target: str, field: str, value: Any) -> Any:
    if drive.target != target or not isinstance(drive, _DRIVES[field]):
        return drive
    return dataclasses.replace(drive, **{field: value})


def _projection(projection: Projection, pair: str, field: str, value: Any) -> Projection:
    if f"{projection.source}.{projection.target}" != pair:
        return projection
    if field != "scale":
        return dataclasses.replace(projection, **{field: value})
    weights = projection.weights
    if weights is None:
        return dataclasses.replace(projection, weight=_scaled(projection.weight, value, f"weight of {projection}"))
    if isinstance(weights, ModeMatrix):
        return dataclasses.replace(projection, weights=dataclasses.replace(weights, scores=weights.scores * value))
    return dataclasses.replace(projection, weights=weights * value)


def _scaled(what: Any, factor: Any, name: str) -> Any:
    """Return numbers times a factor."""
    if not isinstance(what, int | float | np.ndarray):
        raise ValueError(f"only numbers can be scaled, {name} is {what!r}")
    return what * factor
