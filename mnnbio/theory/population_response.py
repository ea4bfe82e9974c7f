"""Linear response of populations in frequency: how their neurons answer, and what delays and synapses pass on."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
from scipy.interpolate import CubicSpline

from mnnbio.circuit import Circuit
from mnnbio.machine import check_choice
from mnnbio.moments import NeuronTensors, transfer_function
from mnnbio.results import versions
from mnnbio.theory.inputs import mean_phase, received_sums
from mnnbio.theory.labelled import step_attributes
from mnnbio.theory.population_theory import (
    PopulationState,
    System,
    own_noise,
    population_start,
    population_system,
    solve,
)
from mnnbio.theory.recurrence import require_converged
from mnnbio.theory.second_order import require_single
from mnnbio.theory.stationary import Closure, closure_name
from mnnbio.theory.validity import check_predictable, checked_step

Array = npt.NDArray[np.float64]
Complex = npt.NDArray[np.complex128]

REPRESENTATIVES = 24  # neurons that stand for a population whose neurons differ
COARSE = 16  # steps of that grid between responses that are computed; closer where they bend
BEND = 1e-4  # error of an interpolated response, relative to the largest one, from which it is computed

ResponseTo = Literal["mean", "mean+variance"]


class Representatives(NamedTuple):
    """Neurons that stand for the populations of a circuit."""

    places: npt.NDArray[np.int64]  # among the nodes
    members: Array  # weights of their averages, (population, neuron)
    mean: Array  # input, mV/ms
    std: Array  # mV/√ms
    lif: NeuronTensors


class Modulation(NamedTuple):
    """Linear response of populations at some frequencies."""

    effective: Complex  # response of a row's mean rate to a column's, (frequency, population, population)
    sources: Complex  # to a Poisson source's, (frequency, population, source)
    gain: Complex  # to the mean input, (frequency, population), 1/mV
    spectrum: Array  # of a neuron's spike train, (frequency, population), 1/ms


def stationary_populations(
    circuit: Circuit, dt: Any, closure: Closure, start: Any
) -> tuple[System, PopulationState, float | None]:
    """Return the equations of a circuit, its stationary state and the time step (ms), after checking all of it."""
    require_single(circuit, "spectra are")
    check_predictable(circuit)
    step = checked_step(circuit, dt, drawn=False)
    system = population_system(circuit, step)
    state = solve(system, closure, step, population_start(circuit, start))
    require_converged(state.status, state.residual, state.iterations)
    return system, state, step


def representatives(system: System, state: PopulationState) -> Representatives:
    """Return neurons that stand for the populations: all nodes, or of many some at equal distances by mean input."""
    chosen, weights = [], []
    for row in range(len(system.sizes)):
        own = np.flatnonzero(system.nodes.owner == row)
        share = system.nodes.weight[own]
        if len(own) > REPRESENTATIVES:
            order = np.argsort(state.node_mean[own], kind="stable")
            quantiles = (np.arange(REPRESENTATIVES) + 0.5) / REPRESENTATIVES
            own = own[order][np.searchsorted(np.cumsum(share[order]), quantiles)]
            share = np.full(REPRESENTATIVES, 1 / REPRESENTATIVES)
        chosen.append(own)
        weights.append(share)
    index = np.concatenate(chosen)
    assert state.node_lif is not None  # other neurons were refused
    lif = NeuronTensors(*(value.expand(state.node_mean.shape)[index] for value in state.node_lif))
    members = (system.nodes.owner[index] == np.arange(len(system.sizes))[:, None]) * np.concatenate(weights)
    return Representatives(index, members, state.node_mean[index], state.node_std[index], lif)


def modulation(
    circuit: Circuit, system: System, state: PopulationState, frequency: npt.ArrayLike, dt: float | None, *, noise: bool
) -> Modulation:
    """Return the response of the populations of a circuit at frequencies in 1/ms, which may be complex.

    Parameters
    ----------
    circuit : Circuit
        With one stimulus.
    system : System
    state : PopulationState
    frequency : array_like, shape (frequency,)
    dt : float, optional
        Time step, ms.
    noise : bool
        Whether a modulated rate modulates the variance of the input of its targets, too, and not the mean alone.
    """
    f = np.asarray(frequency, dtype=complex)
    chosen = representatives(system, state)
    answers = transfer_function(f, chosen.mean, chosen.std, chosen.lif)
    gain, to_variance = answers.mean @ chosen.members.T, answers.variance @ chosen.members.T
    effective = effective_response(circuit, system, gain, to_variance, f, dt, noise=noise)
    from_sources, _ = transmitted_sums(circuit, [s.name for s in circuit.sources], f, dt)
    return Modulation(effective, gain[:, :, None] * from_sources, gain, answers.spectrum @ chosen.members.T)


def spectra(system: System, found: Modulation) -> Complex:
    """Return ``<X_a X_b*>`` of the mean activity X of populations, (frequency, population, population), 1/ms."""
    sizes, outside = system.sizes, system.sources.sizes
    noise = own_noise(system, np.abs(found.gain) ** 2, found.spectrum, system.source_spread) / sizes**2
    common = found.sources * np.sqrt(system.source_spread / outside)
    shared = np.concatenate([common, found.gain[:, :, None] * system.shared / sizes[:, None]], axis=2)
    own = noise[:, :, None] * np.eye(len(sizes)) + shared @ shared.conj().swapaxes(1, 2)
    K = np.linalg.inv(np.eye(len(sizes)) - found.effective)
    return np.asarray(K @ own @ K.conj().swapaxes(1, 2))


def effective_response(
    circuit: Circuit,
    system: System,
    gain: Complex,
    to_variance: Complex,
    frequency: Complex,
    dt: float | None,
    *,
    noise: bool,
) -> Complex:
    """Return the response of a row's rate to a column's, (frequency, population, population)."""
    total, squares = transmitted_sums(circuit, system.names, frequency, dt)
    effective = gain[:, :, None] * total
    return effective + to_variance[:, :, None] * squares if noise else effective


def transmitted_sums(
    circuit: Circuit, senders: list[str], frequency: Complex, dt: float | None
) -> tuple[Complex, Complex]:
    """Return the sums of weights and of their squares, delayed and filtered, (frequency, population, sender)."""
    targets = [p.name for p in circuit.neurons]
    omega = 2j * np.pi * frequency
    total, squares = np.zeros((2, len(omega), len(targets), len(senders)), dtype=complex)
    for projection in circuit.projections:
        if projection.source not in senders:
            continue
        place = targets.index(projection.target), senders.index(projection.source)
        found = received_sums(circuit, projection, dt)
        filtered = mean_phase(projection, omega) / (1 + omega * projection.tau_syn)
        total[:, *place] += found.total * filtered
        squares[:, *place] += found.squares * filtered
    return total, squares


def responses_at(chosen: Representatives, frequency: Complex) -> tuple[Complex, Complex]:
    """Return the responses of populations to mean and variance of their input, (frequency, population) each."""
    answers = transfer_function(frequency, chosen.mean, chosen.std, chosen.lif)
    return answers.mean @ chosen.members.T, answers.variance @ chosen.members.T


def responses_on_grid(chosen: Representatives, frequency: npt.NDArray[Any]) -> tuple[Complex, Complex]:
    """Return the responses on a fine grid of frequencies: computed on a coarse one, and closer where they bend."""
    count = len(frequency)
    if count <= 2 * COARSE:
        return responses_at(chosen, frequency.astype(complex))

    def table(places: npt.NDArray[np.int64]) -> Complex:
        return np.concatenate(responses_at(chosen, frequency[places].astype(complex)), axis=1)

    known = np.unique([*range(0, count, COARSE), count - 1])
    values = table(known)
    scale = np.maximum(np.abs(values).max(0), np.finfo(float).tiny)
    doubtful = np.stack([known[:-1], known[1:]], axis=1)
    while len(doubtful := doubtful[doubtful[:, 1] - doubtful[:, 0] > 1]):
        middle = doubtful.sum(1) // 2
        true = table(middle)
        bends = (np.abs(true - CubicSpline(known, values)(middle)) > BEND * scale).any(1)
        order = np.argsort(np.concatenate([known, middle]))
        known, values = np.concatenate([known, middle])[order], np.concatenate([values, true])[order]
        doubtful = np.concatenate(
            [
                np.stack([doubtful[bends, 0], middle[bends]], axis=1),
                np.stack([middle[bends], doubtful[bends, 1]], axis=1),
            ]
        )
    mean, variance = np.split(CubicSpline(known, values)(np.arange(count)), 2, axis=1)
    return mean, variance


def follows_variance(response: str) -> bool:
    """Return whether a choice of `response` counts the response to the variance, after checking it."""
    check_choice("response", response, get_args(ResponseTo))
    return response == "mean+variance"


def response_attributes(circuit: Circuit, closure: Closure, dt: float | None, response: str) -> dict[str, Any]:
    """Return the attributes of a result of linear response."""
    return {
        "group": "prediction",
        "closure": closure_name(closure),
        "response": response,
        **step_attributes(dt),
        "circuit_hash": circuit.hash(),
        **versions(),
    }
