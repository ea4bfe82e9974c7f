"""The self-consistent states of a circuit, looked for from many starts and away from unstable states."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigs

from mnnbio.circuit import Circuit
from mnnbio.machine import check_choice
from mnnbio.moments import NotConverged
from mnnbio.results import array, versions
from mnnbio.theory.inputs import external_input, has_spectra, is_white, wire
from mnnbio.theory.labelled import step_attributes
from mnnbio.theory.oscillations import delayed_stability, population_modes
from mnnbio.theory.population_theory import (
    PopulationState,
    fluctuations,
    label_populations,
    population_stability,
    population_start,
    population_system,
    solve,
    unstable_directions,
)
from mnnbio.theory.predict import Resolution, default_closure
from mnnbio.theory.recurrence import fluctuations as neuron_fluctuations
from mnnbio.theory.recurrence import label_state, linearised, recurrent_state, start_rates
from mnnbio.theory.stationary import Closure, StationaryState, closure_name
from mnnbio.theory.validity import Fluctuations, check_predictable, check_validity, checked_step
from mnnbio.theory.wired_response import DENSE_EIGENVALUES, stability

Array = npt.NDArray[np.float64]

STARTS = (0.0, 0.005, 0.02, 0.05, 0.1, 0.3)  # rates of all neurons, 1/ms
HIGH, LOW = 0.1, 0.01  # 1/ms: one population fires and the others hardly
MOST_POPULATIONS = 50  # of which each in turn fires
PUSHES = (0.2, 1.0)  # along an unstable direction, relative to the highest rate
LEAST_PUSH = 0.005  # 1/ms
MOST_DIRECTIONS = 4  # of one state
MOST_STARTS = 400
SAME = 1e-4  # states whose rates differ by less, relative to the highest rate, are one


def fixed_points(
    circuit: Circuit,
    starts: Iterable[Any] | None = None,
    *,
    dt: Any = None,
    closure: Closure | None = None,
    resolution: Resolution = "population",
) -> xr.Dataset:
    """Return the different self-consistent states that are found from many starts, and whether they are stable.

    By default the search begins with all neurons at one of six rates, and with each population in turn at a high rate
    while the others are low, so that states are found which break the symmetry of a circuit. From every unstable state
    it goes on along the directions in which deviations grow, until no new state appears. It is deterministic. Other
    states may exist that no start leads to.

    Parameters
    ----------
    circuit : Circuit
        With one stimulus.
    starts : iterable, optional
        Rates to start from instead, each as `start` of `predict`: a rate in 1/ms, one per neuron, or a dict by
        population. The search along unstable directions follows as well.
    dt, closure, resolution
        As for `predict`. By default continuous time, as the attribute `dt_note` says.

    Returns
    -------
    Dataset
        What `predict` returns without covariances, over ``fixed_point``, by rising mean rate; moreover
        `spectral_radius` and `largest_real`, the leading eigenvalues of gains times weights, and

        - `stable`: whether the latter is below 1. This is static: it covers the response of the rates to the mean
          input, without delays;
        - `stable_with_delays`: whether moreover no oscillation grows that `predict_oscillations` knows, with delays,
          synaptic filters and the response to the variance. NaN with ``resolution="neuron"`` and closure "renewal", and
          where neurons, synapses or plasticity are others than those of `predict_oscillations`.

        The attribute `unconverged` is the number of starts that led nowhere.

    Raises
    ------
    ValueError
        If the circuit has several stimuli or changes in time, or there is no start.
    NotConverged
        If no start leads to a state.

    Warns
    -----
    SlowSynapseWarning, FiniteWeightWarning
        As by `predict`, for any of the states.
    """
    if circuit.n_stimuli is not None or circuit.changes_in_time:
        raise ValueError(
            "fixed points are of one stationary input, got several stimuli or an input that changes in time. Choose "
            "one with `circuit.select(...)`, `circuit.at_time(...)` or `circuit.averaged()`"
        )
    check_choice("resolution", resolution, ["neuron", "population"])
    closure = default_closure(closure, dt)
    if closure == "renewal" and (resolution == "population" or not is_white(circuit)):
        raise ValueError("closure='renewal' is for circuits with delta synapses at the resolution of neurons")
    check_predictable(circuit, any_neuron=closure != "renewal")
    step = checked_step(circuit, dt, drawn=resolution == "neuron")
    theory = (_Populations if resolution == "population" else _Neurons)(circuit, step, closure)
    with torch.no_grad():
        waiting = [theory.rates(start) for start in (_default_starts(circuit) if starts is None else starts)]
        if not waiting:
            raise ValueError("`starts` must hold one start or more, got none")
        found, failed, tried = _search(theory, waiting)
        if not found:
            raise NotConverged(
                f"none of {tried} starts led to a self-consistent state. Give `starts` closer to the rates that you "
                "expect"
            )
        found.sort(key=lambda state: float(state.rate.mean()))
        theory.check(found)
        labelled = [theory.label(state) for state in found]
    together = xr.concat([each.drop_attrs(deep=False) for each in labelled], "fixed_point")
    numbers = {name: [each.attrs[name] for each in labelled] for name in ("spectral_radius", "largest_real")}
    numbers["stable"] = [float(value < 1) for value in numbers["largest_real"]]
    numbers["stable_with_delays"] = [theory.stable_with_delays(state) for state in found]
    together = together.assign({name: array(name, ("fixed_point",), values) for name, values in numbers.items()})
    together["stable"].attrs["covers"] = "static: the response of rates to the mean input, without delays"
    together["stable_with_delays"].attrs["covers"] = (
        "static, and oscillations with delays, synaptic filters and the response to the variance; NaN: not computed"
    )
    return together.assign_attrs(
        group="prediction",
        theory="diffusion",
        closure=closure_name(closure),
        **step_attributes(step),
        window="long",
        unconverged=failed,
        starts=tried,
        circuit_hash=circuit.hash(),
        **versions(),
    )


State = PopulationState | StationaryState


class _Theory(Protocol):
    """States of a circuit at one resolution; rates are arrays over its units, neurons or populations, 1/ms."""

    def rates(self, start: Any) -> Array:
        """Return the rates of a start that a user may give."""

    def solve(self, start: Array) -> Any:
        """Return the state that a start leads to."""

    def directions(self, state: Any) -> list[Array]:
        """Return directions in which deviations of the rates from a state grow, of largest element 1."""

    def check(self, states: list[Any]) -> None:
        """Warn where the theory is doubtful."""

    def label(self, state: Any) -> xr.Dataset:
        """Return the statistics of a state."""

    def stable_with_delays(self, state: Any) -> float:
        """Return 1 if nothing grows, 0 if something does, NaN if it is not known."""


def _search(theory: _Theory, waiting: list[Array]) -> tuple[list[Any], int, int]:
    """Return the different states, how many starts led nowhere, and how many there were."""
    found: list[Any] = []
    failed = tried = 0
    while waiting and tried < MOST_STARTS:
        state = theory.solve(waiting.pop(0))
        tried += 1
        if state.status != "converged":
            failed += 1
        elif not any(_is_same(state, other) for other in found):
            found.append(state)
            size = max(float(state.rate.max()), LEAST_PUSH)
            for direction in theory.directions(state)[:MOST_DIRECTIONS]:
                waiting += [
                    np.maximum(state.rate + sign * push * size * direction, 0.0) for push in PUSHES for sign in (1, -1)
                ]
    return found, failed, tried


def _default_starts(circuit: Circuit) -> list[Any]:
    names = [p.name for p in circuit.neurons]
    uneven = [{other: HIGH if other == name else LOW for other in names} for name in names[:MOST_POPULATIONS]]
    return [*STARTS, *(uneven if len(names) > 1 else [])]


def _together(states: list[list[Fluctuations]]) -> list[Fluctuations]:
    """Return several states as one whose stimuli they are, so that each population is warned of once."""
    joined = []
    for same in zip(*states, strict=True):
        values = (torch.cat([getattr(s, name) for s in same]) for name in ("std", "third", "rate", "gain", "tau_m"))
        joined.append(Fluctuations(same[0].population, same[0].named, *values))
    return joined


def _is_same(one: Any, other: Any) -> bool:
    scale = max(float(one.rate.max()), np.finfo(float).tiny)
    return bool(np.abs(one.rate - other.rate).max() <= SAME * scale)


class _Populations:
    """States at the resolution of populations."""

    def __init__(self, circuit: Circuit, dt: float | None, closure: Closure) -> None:
        self._circuit, self._dt, self._closure = circuit, dt, closure
        self._system = population_system(circuit, dt)

    def rates(self, start: Any) -> Array:
        found = population_start(self._circuit, start)
        return np.zeros(len(self._system.sizes)) if found is None else found

    def solve(self, start: Array) -> PopulationState:
        return solve(self._system, self._closure, self._dt, start)

    def directions(self, state: PopulationState) -> list[Array]:
        return unstable_directions(self._system, state)

    def check(self, states: list[PopulationState]) -> None:
        check_validity(self._circuit, _together([fluctuations(self._circuit, self._system, s) for s in states]))

    def label(self, state: PopulationState) -> xr.Dataset:
        eigenvalues = population_stability(self._system, state)
        return label_populations(self._system, state, eigenvalues, window=None, covariance=False)

    def stable_with_delays(self, state: PopulationState) -> float:
        if state.node_lif is None or not has_spectra(self._circuit):
            return float("nan")
        modes = population_modes(self._circuit, self._system, state, self._dt)
        found = delayed_stability(self._circuit, population_stability(self._system, state), modes)
        return float(found["stability_with_delays"] == "stable")


class _Neurons:
    """States at the resolution of neurons, whose trains count as independent."""

    def __init__(self, circuit: Circuit, dt: float | None, closure: Closure) -> None:
        self._circuit, self._dt, self._closure = circuit, dt, closure
        self._wired = wire(circuit, dt)
        self._external = external_input(circuit, self._wired, dt)

    def rates(self, start: Any) -> Array:
        found = start_rates(self._circuit, start)
        return np.zeros(self._circuit.n_neurons) if found is None else found

    def solve(self, start: Array) -> StationaryState:
        return recurrent_state(
            self._circuit, self._wired, self._external, dt=self._dt, closure=self._closure, start=start
        )

    def directions(self, state: StationaryState) -> list[Array]:
        wiring, n = linearised(self._wired, state), len(state.gain)
        if n <= DENSE_EIGENVALUES:
            values, vectors = np.linalg.eig(state.gain[:, None] * wiring.to_dense())
        else:
            operator = LinearOperator((n, n), matvec=lambda x: state.gain * wiring.dot(np.ravel(x)), dtype=np.float64)
            try:
                values, vectors = eigs(operator, 2, which="LR", v0=np.random.default_rng(0).normal(size=n), tol=1e-2)
            except ArpackNoConvergence as partial:
                values, vectors = partial.eigenvalues, partial.eigenvectors
        growing = [vectors[:, k].real for k in np.argsort(-values.real) if values[k].real >= 1]
        return [v / np.abs(v).max() for v in growing if np.abs(v).max() > 0]

    def check(self, states: list[StationaryState]) -> None:
        doubtful = [neuron_fluctuations(self._circuit, self._wired, self._external, s) for s in states]
        check_validity(self._circuit, _together(doubtful), diffusion=self._closure != "renewal", responses=False)

    def label(self, state: StationaryState) -> xr.Dataset:
        eigenvalues = stability(linearised(self._wired, state), state.gain)
        return label_state(
            self._circuit, self._wired, self._external, state, eigenvalues, window=None, covariance=False
        )

    def stable_with_delays(self, state: StationaryState) -> float:
        return float("nan")
