"""The theory of a recurrent circuit, neuron by neuron: self-consistent state, then linear response."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr

from mnnbio.circuit import Circuit, ModeMatrix, Population
from mnnbio.moments import LowRank, NotConverged
from mnnbio.results import array
from mnnbio.theory.inputs import External, Wired, external_input, wire
from mnnbio.theory.labelled import Output, Slow, label_neurons
from mnnbio.theory.stationary import Closure, StationaryState, stationary_state
from mnnbio.theory.train_input import recurrent_trains
from mnnbio.theory.validity import Fluctuations, check_validity, warn_of_correlations
from mnnbio.theory.wired_response import Stability, linear_response, projected_response, stability
from mnnbio.theory.wiring import Wiring
from mnnbio.units import in_unit

Array = npt.NDArray[np.float64]

# Neurons up to which a full covariance matrix is given: 0.2 GB in float64, some 20 s.
DENSE = 5000


def recurrent_prediction(
    circuit: Circuit,
    *,
    dt: float | None,
    window: float | None,
    closure: Closure,
    covariance: bool,
    start: Any,
    unconverged: str,
) -> xr.Dataset:
    """Return the labelled statistics of a circuit with one stimulus; see `mnnbio.predict`."""
    wired = wire(circuit, dt)
    external = external_input(circuit, wired, dt)
    state = recurrent_state(circuit, wired, external, dt=dt, closure=closure, start=start_rates(circuit, start))
    if unconverged == "raise":
        require_converged(state.status, state.residual, state.iterations)
    eigenvalues = stability(linearised(wired, state), state.gain)
    require_stable(eigenvalues, covariance)
    check_validity(
        circuit,
        fluctuations(circuit, wired, external, state),
        diffusion=closure != "renewal",
        responses=False,
        eigenvalues=eigenvalues if covariance else None,
    )
    if covariance and circuit.n_neurons <= DENSE and loadings_at(wired, external, state).connections:
        warn_of_shared_input(circuit, loadings_at(wired, external, state), state.std_input, state.rate)
    return label_state(circuit, wired, external, state, eigenvalues, window=window, covariance=covariance)


def linearised(wired: Wired, state: StationaryState) -> Wiring:
    """Return the weights among the neurons as small changes of the rates around a state see them."""
    small = wired.recurrent.at_rates(state.rate, small=True)
    return small if state.potential is None else small.at_potential(state.potential, wired.neurons.capacitance)


def loadings_at(wired: Wired, external: External, state: StationaryState) -> Wiring:
    """Return the loadings of the noise from outside as currents, around a state."""
    if state.potential is None:
        return external.loadings
    return external.loadings.at_potential(state.potential, wired.neurons.capacitance)


def warn_of_shared_input(circuit: Circuit, noise: Wiring, std_input: Array, rates: Array) -> None:
    """Warn where what neurons share from outside makes their currents too correlated for linear response."""
    loadings = torch.from_numpy(noise.to_dense())
    for name, place in circuit.slices().items():
        population = circuit.population(name)
        assert isinstance(population, Population)
        between = loadings[place] @ loadings[place].T
        std, rate = (torch.from_numpy(values[place]) for values in (std_input, rates))
        warn_of_correlations(population, between[None], std[None], rate[None])


def recurrent_state(
    circuit: Circuit, wired: Wired, external: External, *, dt: float | None, closure: Closure, start: Array | None
) -> StationaryState:
    """Return a self-consistent state of a circuit with one stimulus."""
    return stationary_state(
        wired.recurrent,
        external.mean,
        external.received,
        wired.neurons,
        closure=closure,
        dt=dt,
        start=start,
        trains=recurrent_trains(circuit, wired, dt) if closure == "renewal" else None,
        opened=external.opened,
    )


def label_state(
    circuit: Circuit,
    wired: Wired,
    external: External,
    state: StationaryState,
    eigenvalues: Stability,
    *,
    window: float | None,
    covariance: bool,
) -> xr.Dataset:
    """Return the labelled statistics of a state."""
    mean, std = torch.from_numpy(state.mean_input), torch.from_numpy(state.std_input)
    skewness = torch.from_numpy(np.array(state.skewness))
    fields = (mean, std, torch.from_numpy(state.rate), torch.from_numpy(state.variance), skewness)
    output = Output(*(value[None] for value in fields))
    slow = None
    if state.slow is not None and state.slow_time is not None:
        slow = Slow(*(torch.from_numpy(np.array(value))[None] for value in (state.slow, state.slow_time)))
    matrix: torch.Tensor | None = None
    extra: list[xr.DataArray] = []
    if covariance:
        matrix, extra = _covariance(circuit, wired, external, state)
    labelled = label_neurons(circuit, output, matrix, window, slow).isel(stimulus=0)
    labelled = labelled.assign({variable.name: variable for variable in extra})
    if covariance:
        names = [p.name for p in circuit.neurons]
        labelled = labelled.assign_coords(group=names, group_j=names)
    return labelled.assign_attrs(
        status=state.status, residual=state.residual, iterations=state.iterations, **stability_attributes(eigenvalues)
    )


def require_converged(status: str, residual: float, iterations: int) -> None:
    """Raise `NotConverged` with a remedy unless the status says that a state was found."""
    if status != "converged":
        raise NotConverged(
            f"no self-consistent state was found: after {iterations} iterations the rates still change by "
            f"{residual:.2g} of the highest rate a step. Try rates of your own with `start`; see with `fixed_points` "
            "which states there are; or take the best point found with `unconverged='report'`"
        )


def stability_attributes(eigenvalues: Stability) -> dict[str, float | str]:
    """Return the attributes of a result about the stability of its state."""
    return {
        **eigenvalues._asdict(),
        "stability": "stable" if eigenvalues.largest_real < 1 else "unstable",
        "stability_covers": "static: the response of rates to the mean input, without delays (predict_oscillations has "
        "these)",
    }


def require_stable(eigenvalues: Stability, covariance: bool) -> None:
    """Raise a `ValueError` where covariances are asked for around a state that is none to stay in."""
    if covariance and eigenvalues.largest_real >= 1:
        raise ValueError(
            "fluctuations grow around this state: the effective weights have an eigenvalue with the real part "
            f"{eigenvalues.largest_real:.2f} ≥ 1, so there are no stationary covariances. Start from other rates with "
            "`start`, or ask for rates alone with `covariance=False`"
        )


def start_rates(circuit: Circuit, start: Any) -> Array | None:
    """Return the rates to start from, (neuron,), 1/ms.

    Parameters
    ----------
    circuit : Circuit
    start : float, array_like, Quantity or mapping of str to any of these, optional
        Rates of all neurons or by population, 1/ms.

    Raises
    ------
    ValueError
        If a population is unknown, or a rate negative.
    """
    if start is None:
        return None
    rates = np.zeros(circuit.n_neurons)
    places = circuit.slices()
    parts = start.items() if isinstance(start, dict) else [(None, start)]
    for name, value in parts:
        if name is not None and name not in places:
            raise ValueError(f"`start` names {name!r}; the circuit has the populations {', '.join(places)}")
        target = rates if name is None else rates[places[name]]
        number = np.asarray(in_unit(value, "1/ms", "start"))
        if number.ndim > 1 or (number.ndim and number.shape != target.shape) or not (number >= 0).all():
            raise ValueError(
                f"`start` must be a rate ≥ 0 spikes/ms, or {len(target)} of them, got {value!r}"
                + (f" for {name!r}" if name is not None else "")
            )
        target[:] = number
    return rates


def _covariance(
    circuit: Circuit, wired: Wired, external: External, state: StationaryState
) -> tuple[torch.Tensor | None, list[xr.DataArray]]:
    """Return the covariance matrix (1, n, n) where it is small enough, and what else is labelled."""
    n = circuit.n_neurons
    members = np.zeros((n, len(circuit.neurons)))
    for k, place in enumerate(circuit.slices().values()):
        members[place, k] = 1.0
    over_groups, over_modes = ("group", "group_j"), ("mode", "mode_j")
    wiring, loadings = linearised(wired, state), loadings_at(wired, external, state)
    if n > DENSE and wiring.modes() is None:
        shared = loadings if loadings.connections else None
        summed = projected_response(wiring, state.gain, state.variance, members, shared)
        return None, [array("population_covariance", over_groups, summed * 1e3)]
    shared_noise = loadings.to_dense() if loadings.connections else None
    found = linear_response(wiring, state.gain, state.variance, shared_noise)
    summed = found.quadratic(torch.from_numpy(members.T)).numpy()
    extra = [array("population_covariance", over_groups, summed * 1e3)]
    readers = mode_readers(circuit)
    if readers is not None:
        extra += [
            array("mode_mean", ("mode",), readers.T @ state.rate * 1e3),
            array("mode_covariance", over_modes, found.quadratic(torch.from_numpy(readers.T)).numpy() * 1e3),
        ]
    if n <= DENSE:
        return found.to_dense()[None], extra
    assert isinstance(found, LowRank)
    assert found.core is not None
    extra += [
        array("covariance_diagonal", ("neuron",), found.remainder * 1e3),
        array("covariance_factor", ("neuron", "factor"), found.base * 1e3**0.5),
        array("covariance_core", ("factor", "factor_j"), found.core),
    ]
    return None, extra


def mode_readers(circuit: Circuit) -> Array | None:
    """Return the output modes of all projections among neurons, (neuron, mode), None if one is not factored."""
    places, readers = circuit.slices(), []
    for projection in circuit.projections:
        if projection.source in places:
            if not isinstance(projection.weights, ModeMatrix):
                return None
            modes = np.zeros((circuit.n_neurons, len(projection.weights.scores)))
            modes[places[projection.source]] = projection.weights.output_modes
            readers.append(modes)
    return np.concatenate(readers, axis=1) if readers else None


def fluctuations(circuit: Circuit, wired: Wired, external: External, state: StationaryState) -> list[Fluctuations]:
    """Return the state of each population with a membrane time constant as the checks of validity see it."""
    sending = wired.recurrent.at_rates(state.rate)
    third = sending.third(state.rate) + external.third
    inner, opened = sending.opened(state.rate, state.rate), external.opened
    if inner is not None:
        opened = inner if opened is None else opened.plus(inner)
    if opened is not None and state.potential is not None:
        third = third + opened.asymmetry(state.potential, wired.neurons.capacitance)
    tau_m = wired.neurons.membrane_time(opened)
    found = []
    for population in circuit.neurons:
        place = circuit.slices()[population.name]
        if np.isnan(tau_m[place]).any():
            continue
        values = (state.std_input, third, state.rate, state.gain, tau_m)
        found.append(Fluctuations(population, True, *(torch.from_numpy(v[None, place]) for v in values)))
    return found
