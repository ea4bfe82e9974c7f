"""Circuits that differ from another one in what may change between the runs of a program."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, TypeVar

from mnnbio.circuit import Circuit, Drive, GaussianDrive, PoissonDrive, PoissonSource, Population, Projection
from mnnbio.lif import LIFParameters

Key = TypeVar("Key")


class Changes(NamedTuple):
    """What a run changes; None: nothing. See `Program.run`."""

    stimulus: Any = None
    weights: Any = None
    lif: Any = None
    drives: Iterable[Drive] | None = None
    circuit: Circuit | None = None

    def apply(self, own: Circuit) -> Circuit:
        """Return the circuit to run instead of `own`, which itself stays as it is.

        Raises
        ------
        ValueError, TypeError
            If a name is not one of the circuit's, it is not clear what is meant, or the circuit refuses a value.
        """
        if all(change is None for change in self):
            return own
        if self.circuit is not None and not isinstance(self.circuit, Circuit):
            raise TypeError(f"`circuit` must be a Circuit, got {type(self.circuit).__name__}")
        if isinstance(self.drives, GaussianDrive | PoissonDrive):
            raise TypeError(f"`drives` must be a list of drives, got {self.drives}")
        base = self.circuit or own
        rates = _by_name(self.stimulus, [source.name for source in base.sources], "stimulus", "Poisson source")
        neurons = _by_name(self.lif, [population.name for population in base.neurons], "lif", "population of neurons")
        pairs = [(projection.source, projection.target) for projection in base.projections]
        weights = _by_name(self.weights, pairs, "weights", "projection")
        return base.with_parts(
            populations=[
                _with_rates(p, rates) if isinstance(p, PoissonSource) else _with_parameters(p, neurons)
                for p in base.populations
            ],
            projections=[_with_weights(projection, weights) for projection in base.projections],
            drives=self.drives,
        )


def _by_name(value: Any, names: list[Key], argument: str, what: str) -> Mapping[Key, Any]:
    """Return the values by name; one without a name belongs to the only part of its kind."""
    if value is None:
        return {}
    listed = ", ".join(map(str, names))
    if isinstance(value, Mapping):
        if unknown := [name for name in value if name not in names]:
            raise ValueError(f"`{argument}` names no {what}: {unknown[0]!r}. The circuit has {listed or 'none'}")
        if twice := [name for name in value if names.count(name) > 1]:
            raise ValueError(
                f"`{argument}` is ambiguous: the circuit has more than one {what} {twice[0]!r}. Give `circuit` instead"
            )
        return value
    if len(names) != 1:
        raise ValueError(
            f"`{argument}` must say which {what} is meant, as a dictionary: the circuit has {listed or 'none'}"
        )
    return {names[0]: value}


def _with_rates(source: PoissonSource, rates: Mapping[str, Any]) -> PoissonSource:
    return dataclasses.replace(source, rates=rates[source.name]) if source.name in rates else source


def _with_parameters(population: Population, neurons: Mapping[str, LIFParameters]) -> Population:
    return dataclasses.replace(population, lif=neurons[population.name]) if population.name in neurons else population


def _with_weights(projection: Projection, weights: Mapping[tuple[str, str], Any]) -> Projection:
    """Return the projection with other weights: one number for those of a rule, else a matrix."""
    pair = projection.source, projection.target
    if pair not in weights:
        return projection
    name = "weights" if projection.connectivity is None else "weight"
    return dataclasses.replace(projection, **{name: weights[pair]})
