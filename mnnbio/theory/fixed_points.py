"""The self-consistent states of a circuit, looked for from several starts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import xarray as xr

from mnnbio.circuit import Circuit
from mnnbio.moments import NotConverged
from mnnbio.results import array
from mnnbio.theory.predict import Closure, Resolution, predict

STARTS = (0.0, 0.005, 0.02, 0.05, 0.1, 0.3)  # rates of all neurons, 1/ms
SAME = 1e-4  # states whose rates differ by less, relative to the highest rate, are one


def fixed_points(
    circuit: Circuit,
    starts: Iterable[Any] = STARTS,
    *,
    dt: Any = None,
    closure: Closure | None = None,
    resolution: Resolution = "population",
) -> xr.Dataset:
    """Return the different self-consistent states that are found from several starts, and whether they are stable.

    Other states may exist that no start leads to. The search relaxes, so it seldom ends in an unstable one.

    Parameters
    ----------
    circuit : Circuit
        With one stimulus.
    starts : iterable
        Rates to start from, each as `start` of `predict`: a rate in 1/ms, one per neuron, or a dict by population.
    dt, closure, resolution
        As for `predict`.

    Returns
    -------
    Dataset
        What `predict` returns without covariances, over ``fixed_point``, by rising mean rate; moreover
        `spectral_radius` and `largest_real`, the leading eigenvalues of gains times weights, and `stable`, whether the
        latter is below 1. The attribute `unconverged` is the number of starts that led nowhere.

    Raises
    ------
    ValueError
        If the circuit has several stimuli, or there is no start.
    NotConverged
        If no start leads to a state.
    """
    if circuit.n_stimuli is not None:
        raise ValueError(f"fixed points are of one stimulus, got {circuit.n_stimuli}; choose one with `select`")
    found: list[xr.Dataset] = []
    tried = 0
    for start in starts:
        tried += 1
        state = predict(
            circuit, dt=dt, closure=closure, resolution=resolution, covariance=False, start=start, unconverged="report"
        )
        if state.attrs.get("status", "converged") == "converged":
            found.append(state)
    if not tried:
        raise ValueError("`starts` must hold one start or more, got none")
    if not found:
        raise NotConverged(
            f"none of {tried} starts led to a self-consistent state. Give `starts` closer to the rates that you expect"
        )
    distinct: list[xr.Dataset] = []
    for state in sorted(found, key=lambda s: float(s["rate"].mean())):
        if not any(_is_same(state, other) for other in distinct):
            distinct.append(state)
    names = ("spectral_radius", "largest_real")
    labelled = xr.concat(distinct, "fixed_point", combine_attrs="drop_conflicts")
    numbers = {name: [state.attrs[name] for state in distinct] for name in names}
    numbers["stable"] = [float(value < 1) for value in numbers["largest_real"]]
    labelled = labelled.assign({name: array(name, ("fixed_point",), values) for name, values in numbers.items()})
    return labelled.assign_attrs(unconverged=tried - len(found))


def _is_same(one: xr.Dataset, other: xr.Dataset) -> bool:
    scale = max(float(one["rate"].max()), np.finfo(float).tiny)
    return bool(abs(one["rate"] - other["rate"]).max() <= SAME * scale)
