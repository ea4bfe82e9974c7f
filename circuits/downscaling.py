"""Smaller versions of random networks whose neurons receive input of the same mean and variance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from mnnbio.circuit import (
    Bernoulli,
    Circuit,
    Connectivity,
    Drive,
    FixedIndegree,
    FixedTotalNumber,
    GaussianDrive,
    Population,
    Projection,
    Source,
)
from mnnbio.units import in_unit
from mnnbio.values import Distribution


class Thinned(NamedTuple):
    """A rule with fewer synapses, and which part of them is left."""

    rule: Connectivity
    kept: float


def downscaled(
    circuit: Circuit, scale: float, indegree_scale: float | None = None, rates: Mapping[str, Any] | None = None
) -> Circuit:
    r"""Return a random network with fewer neurons that keeps mean and variance of every neuron's input.

    Numbers of neurons are multiplied by `scale`, in-degrees by k = `indegree_scale`, weights by :math:`1/\sqrt k`. The
    variance :math:`K J^2 \nu` stays; the mean :math:`K J \nu` would fall by :math:`\sqrt k`, so every population gets
    the constant current :math:`(1 - \sqrt k) \sum_b K_b J_b \nu_b` that it lost. Drives, which have no neurons of their
    own, stay as they are.

    What cannot be kept: with `indegree_scale` < 1 feedback through the network is weaker by :math:`\sqrt k`, so
    oscillations shrink and covariances change; with `indegree_scale` = 1 and fewer neurons, feedback stays and pairs
    share more of their input.

    Parameters
    ----------
    circuit : Circuit
        Populations of neurons with one set of parameters each, projections by `FixedIndegree`,
        `FixedTotalNumber` or `Bernoulli`.
    scale : float
        Factor of the numbers of neurons; > 0.
    indegree_scale : float, optional
        Factor of the in-degrees; > 0; by default `scale`.
    rates : mapping of str to float or Quantity, optional
        Rate of every population of the full network, spikes/ms. By default those that the theory predicts (closure
        "poisson"); needed only where `indegree_scale` is not 1.

    Returns
    -------
    Circuit

    Raises
    ------
    ValueError
        If a factor is not positive, a population is a source or has parameters per neuron, a projection has another
        rule or explicit weights, or an in-degree exceeds its source.

    References
    ----------
    S. J. van Albada, M. Helias, M. Diesmann (2015), Scalability of asynchronous networks is limited by one-to-one
    mapping between effective connectivity and correlations, PLoS Comput. Biol. 11(9), e1004490.
    """
    indegree_scale = scale if indegree_scale is None else indegree_scale
    for name, value in (("scale", scale), ("indegree_scale", indegree_scale)):
        if not (np.isreal(value) and np.isfinite(value) and value > 0):
            raise ValueError(f"`{name}` must be a number > 0, got {value!r}")
    if scale == 1 and indegree_scale == 1:
        return circuit
    populations = [_smaller(population, scale) for population in circuit.populations]
    sizes = {population.name: population.size for population in populations}
    full = [population.name for population in circuit.populations]
    known = _rates(circuit, rates) if indegree_scale != 1 else dict.fromkeys(full, 0.0)
    projections, lost = [], dict.fromkeys(full, 0.0)
    for projection in circuit.projections:
        indegree = _indegree(circuit, projection)
        rule, kept = _thinned(projection, indegree, sizes, indegree_scale)
        weight = projection.weight
        projections.append(replace(projection, weight=_weaker(weight, 1 / np.sqrt(kept)), connectivity=rule))
        mean = weight.moments().mean if isinstance(weight, Distribution) else weight
        lost[projection.target] += (1 - np.sqrt(kept)) * indegree * mean * known[projection.source]
    drives: list[Drive] = [*circuit.drives]
    drives += [GaussianDrive(name, mean=mean) for name, mean in lost.items() if mean]
    return replace(circuit, populations=populations, projections=projections, drives=drives)


def _smaller(population: Source | Population, scale: float) -> Population:
    if isinstance(population, Source):
        raise ValueError(f"{population.name!r} is a Poisson source: drive the network by PoissonDrive to scale it down")
    if population.lif.size is not None:
        raise ValueError(f"{population.name!r} has parameters per neuron: only single values can be scaled down")
    return replace(population, size=max(1, round(scale * population.size)))


def _rates(circuit: Circuit, rates: Mapping[str, Any] | None) -> dict[str, float]:
    """Return the rates of the full network, spikes/ms."""
    given = dict(rates or {})
    names = [p.name for p in circuit.populations]
    if unknown := sorted(set(given) - set(names)):
        raise ValueError(f"`rates` must be of populations of the circuit ({', '.join(names)}), got {unknown}")
    missing = [name for name in names if name not in given]
    if missing:
        from mnnbio.theory import predict

        prediction = predict(circuit, resolution="population", closure="poisson", covariance=False)
        for name in missing:
            given[name] = 1e-3 * float(prediction["rate"].sel(population=name))
    return {name: float(in_unit(rate, "1/ms", f"rate of {name!r}")) for name, rate in given.items()}


def _indegree(circuit: Circuit, projection: Projection) -> float:
    """Return the mean number of synapses of a target."""
    rule = projection.connectivity
    if not isinstance(rule, FixedIndegree | Bernoulli | FixedTotalNumber):
        kind = "explicit weights" if rule is None else type(rule).__name__
        raise ValueError(
            f"{projection} has {kind}: only FixedIndegree, FixedTotalNumber and Bernoulli can be scaled down"
        )
    target, source = circuit.population(projection.target), circuit.population(projection.source)
    return rule.mean_indegree(target.size, source.size, autapses=projection.autapses or source is not target)


def _thinned(projection: Projection, indegree: float, sizes: Mapping[str, int], indegree_scale: float) -> Thinned:
    """Return the rule with fewer synapses."""
    rule, size, wanted = projection.connectivity, sizes[projection.source], indegree * indegree_scale
    available = size - (projection.source == projection.target and not projection.autapses)
    if wanted > available + 0.5 and not getattr(rule, "multapses", False):
        raise ValueError(
            f"{projection} needs {wanted:g} of {available} sources: choose a larger `scale` or a smaller "
            "`indegree_scale`"
        )
    if isinstance(rule, Bernoulli):
        return Thinned(Bernoulli(min(1.0, wanted / available)), indegree_scale)
    if isinstance(rule, FixedTotalNumber):
        number = max(1, round(wanted * sizes[projection.target]))
        return Thinned(replace(rule, n=number), number / sizes[projection.target] / indegree)
    assert isinstance(rule, FixedIndegree)
    number = max(1, round(wanted))
    return Thinned(replace(rule, n=number if rule.multapses else min(number, available)), number / indegree)


def _weaker(weight: float | Distribution, factor: float) -> Any:
    """Return a weight, or all values of a distribution of weights, times a factor > 0."""
    if not isinstance(weight, Distribution):
        return weight * factor
    values = {name: getattr(weight, name) for name in weight.VALUES}
    return replace(weight, **{name: value * factor for name, value in values.items() if value is not None})
