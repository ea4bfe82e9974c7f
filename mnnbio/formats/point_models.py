"""Populations of a circuit as models of point neurons that other simulators have.

Everything is in their common units: mV, ms, pF, nS and pA. Neurons without a capacitance get 1 pF, so that a current in
pA is one in mV/ms.
"""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from mnnbio.circuit import Circuit, JumpTrain, Population, Projection, delay_steps
from mnnbio.neurons import EIF, AdEx, ConductanceLIF, LIFParameters
from mnnbio.synapses import Conductance, Delta, DoubleExponential, Exponential, SynapseModel
from mnnbio.values import TimeCourse

Array = npt.NDArray[np.float64]
Kind = Literal["delta", "exponential", "alpha", "conductance"]

CAPACITANCE = 1.0  # pF, of neurons that have none of their own


class PoissonInput(NamedTuple):
    """Poisson trains of its own for every neuron: rate in Hz, one or one per neuron, or a course in spikes/ms."""

    rate: Any
    weight: float
    receptor: int


class PointModel(NamedTuple):
    """A population as another simulator sees it.

    Attributes
    ----------
    family : {"LIF", "AdEx"}
        Linear membrane, or exponential one.
    kind : {"delta", "exponential", "alpha", "conductance"}
        Of all its synapses.
    synapses : list of SynapseModel
        The different ones; a receptor is a place in this list.
    values : dict
        Parameters: ``C, tau_m, E_L, v_th, v_reset, t_ref, v`` and, of the exponential membrane, ``g_L, v_t, delta_t, a,
        b, tau_w, w``; one number, or one for each neuron.
    current : float or ndarray
        Constant input, pA.
    noise : float or ndarray
        Standard deviation of a current that is drawn anew in every step, pA, which has the effect of the white noise.
    poisson : list of PoissonInput
        With weights in the model's unit.
    courses : tuple of (TimeCourse, float or ndarray)
        Input that changes in time, and what it is multiplied by to be a current in pA.
    """

    family: Literal["LIF", "AdEx"]
    kind: Kind
    synapses: list[SynapseModel]
    values: dict[str, Any]
    current: float | Array
    noise: float | Array
    poisson: list[PoissonInput]
    courses: tuple[tuple[TimeCourse, Any], ...] = ()

    def require_constant(self, name: str, where: str) -> None:
        """Raise a `ValueError` if input of the population changes in time."""
        if self.courses or any(isinstance(train.rate, TimeCourse) for train in self.poisson):
            raise ValueError(_changes(f"input of {name!r}", where))

    def factor(self, receptor: int) -> float:
        """Return what a weight of the circuit is multiplied by to be one of the model: mV, pA at its peak, or nS."""
        synapse = self.synapses[receptor]
        if isinstance(synapse, Exponential) and synapse.unit == "mV":
            return CAPACITANCE / float(synapse.tau_syn)
        if isinstance(synapse, DoubleExponential) and synapse.unit == "mV":
            return CAPACITANCE / (math.e * float(synapse.tau_decay))
        return 1.0

    def receptor(self, synapse: SynapseModel) -> int:
        """Return the place of a synapse model."""
        return self.synapses.index(synapse)


def point_model(circuit: Circuit, population: Population, dt: float, where: str) -> PointModel:
    """Return the counterpart of a population with all that reaches it.

    Parameters
    ----------
    circuit : Circuit
        Without stimuli.
    population : Population
    dt : float
        Time step, ms.
    where : str
        Name of the other simulator, for messages.

    Raises
    ------
    TypeError
        If neurons, synapses or drives have no counterpart.
    ValueError
        If they have one, but not together, or inputs change in time.
    """
    name, neuron = population.name, population.neuron
    incoming = [projection for projection in circuit.projections if projection.target == name]
    for projection in incoming:
        if projection.plasticity is not None:
            rule = type(projection.plasticity[0]).__name__
            raise TypeError(f"{projection} has the plasticity {rule}, for which `{where}` has no counterpart")
    mean: Any = 0.0
    variance: Any = 0.0
    current: Any = 0.0
    jumps: list[JumpTrain] = []
    courses: list[tuple[TimeCourse, bool]] = []
    for drive in circuit.drives:
        if drive.target != name:
            continue
        steps = drive.steps(dt)
        if steps.loadings is not None:
            raise TypeError(f"{drive} has noise that neurons share (`factor`), for which `{where}` has no counterpart")
        if steps.code or steps.channels:
            raise TypeError(f"{drive} gives input step by step, for which `{where}` has no counterpart")
        if isinstance(steps.std, TimeCourse):
            raise ValueError(_changes(f"`std` of {drive}", where))
        given = ((steps.mean, True), (steps.current, False))
        courses += [(value, divided) for value, divided in given if isinstance(value, TimeCourse)]
        mean = mean + (0.0 if steps.mean is None or isinstance(steps.mean, TimeCourse) else steps.mean)
        variance = variance + (0.0 if steps.std is None else np.asarray(steps.std) ** 2)
        current = current + (0.0 if steps.current is None or isinstance(steps.current, TimeCourse) else steps.current)
        jumps += steps.jumps
    models = [projection.synapse_model for projection in incoming] + [train.synapse_model for train in jumps]
    synapses = list(dict.fromkeys(models))
    kind = _kind(name, synapses, where)
    family, values = _neurons(name, neuron, kind, where)
    capacitance = np.asarray(values["C"])
    made = PointModel(family, kind, synapses or [Delta()], values, 0.0, 0.0, [])
    for train in jumps:
        rate = train.rate if isinstance(train.rate, TimeCourse) else _plain(1e3 * np.asarray(train.rate))
        receptor = made.receptor(train.synapse_model)
        weight = float(train.weight) * made.factor(receptor)
        made.poisson.append(PoissonInput(rate, weight, receptor))
    if family == "LIF":
        tau = np.asarray(values["tau_m"])
        decay = np.exp(-dt / tau)
        # A current held for a step moves v by tau (1 - decay) I/C; noise of a step has std² tau (1 - decay²)/2.
        gain = np.sqrt((1 + decay) / (2 * tau * (1 - decay)))
    else:
        gain = np.asarray(1 / np.sqrt(dt))
    noise = capacitance * np.sqrt(variance) * gain
    return made._replace(
        current=_plain(capacitance * mean + current),
        noise=_plain(noise),
        courses=tuple((course, _plain(capacitance) if divided else 1.0) for course, divided in courses),
    )


def _kind(name: str, synapses: list[SynapseModel], where: str) -> Kind:
    kinds: dict[Kind, list[SynapseModel]] = {}
    for synapse in synapses:
        found: Kind | None = None
        if isinstance(synapse, Delta):
            found = "delta"
        elif isinstance(synapse, Exponential):
            found = "exponential"
        elif isinstance(synapse, DoubleExponential) and synapse.tau_rise == synapse.tau_decay:
            found = "alpha"
        elif isinstance(synapse, Conductance):
            found = "conductance"
        if found is None:
            raise TypeError(f"{name!r} has {synapse} synapses, for which `{where}` has no counterpart")
        kinds.setdefault(found, []).append(synapse)
    if len(kinds) > 1:
        raise ValueError(
            f"{name!r} has {' and '.join(kinds)} synapses, which no neuron of `{where}` has together: make them alike"
        )
    return next(iter(kinds), "delta")


def _neurons(name: str, neuron: Any, kind: Kind, where: str) -> tuple[Literal["LIF", "AdEx"], dict[str, Any]]:
    """Return the family of neurons and their parameters."""
    start = dict(neuron.initial or {}) if hasattr(neuron, "initial") else {}
    if type(neuron) is LIFParameters:
        rest = 0.0 if neuron.v_rest is None else neuron.v_rest
        values = {"C": CAPACITANCE, "E_L": rest, "v": start.get("v", rest)}
        return "LIF", values | {own: getattr(neuron, own) for own in ("tau_m", "v_th", "v_reset", "t_ref")}
    names = ("C", "E_L", "v_reset", "v_th", "t_ref")
    if type(neuron) is ConductanceLIF:
        if np.any(np.asarray(neuron.theta_plus) != 0):
            raise TypeError(f"the thresholds of {name!r} adapt (`theta_plus`), for which `{where}` has no counterpart")
        values = {own: getattr(neuron, own) for own in (*names, "g_L")}
        return "LIF", values | {"tau_m": _ratio(neuron.C, neuron.g_L), "v": start.get("v", neuron.E_L)}
    if type(neuron) is AdEx:
        own = {key: getattr(neuron, key) for key in (*names, "g_L", "v_t", "delta_t", "a", "b", "tau_w")}
    elif type(neuron) is EIF:
        own = {key: getattr(neuron, key) for key in (*names, "v_t", "delta_t")}
        own |= {"g_L": _ratio(neuron.C, neuron.tau_m), "a": 0.0, "b": 0.0, "tau_w": 100.0}
    else:
        raise TypeError(f"the neurons of {name!r} are {type(neuron).__name__}, for which `{where}` has no counterpart")
    own |= {"tau_m": _ratio(own["C"], own["g_L"]), "v": start.get("v", neuron.E_L), "w": start.get("w", 0.0)}
    return "AdEx", own


def _ratio(one: Any, other: Any) -> Any:
    return _plain(np.asarray(one) / np.asarray(other))


def _plain(value: Any) -> float | Array:
    array = np.asarray(value, dtype=np.float64)
    return float(array) if array.ndim == 0 else array


class Synapses(NamedTuple):
    """Realised synapses of a projection, those of weight 0 left out.

    Attributes
    ----------
    sources, targets : ndarray of int, shape (synapse,)
    weights : float or ndarray
        In the unit of the target's model; one where all are equal.
    delays : float or ndarray
        ms, whole steps, at least one.
    """

    sources: npt.NDArray[np.int64]
    targets: npt.NDArray[np.int64]
    weights: float | Array
    delays: float | Array


def realised_synapses(circuit: Circuit, projection: Projection, factor: float, dt: float) -> Synapses:
    """Return the synapses of a projection, with weights multiplied by a factor."""
    matrix, steps = circuit.matrix(projection), delay_steps(circuit, projection, dt)
    if hasattr(matrix, "to_dense"):
        matrix = matrix.to_dense()
    if isinstance(matrix, np.ndarray):
        targets, sources = np.nonzero(matrix)
        weights = matrix[targets, sources]
        delays = steps if len(steps) == 1 else steps.reshape(matrix.shape)[targets, sources]
    else:
        targets = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
        kept = matrix.data != 0
        sources, targets, weights = matrix.indices[kept], targets[kept], matrix.data[kept]
        delays = steps if len(steps) == 1 else steps[kept]
    return Synapses(
        np.asarray(sources, dtype=np.int64),
        np.asarray(targets, dtype=np.int64),
        _one(weights * factor),
        _one(np.maximum(delays, 1) * dt),
    )


def _one(values: npt.NDArray[Any]) -> float | Array:
    if len(values) and (values == values[0]).all():
        return float(values[0])
    return np.asarray(values, dtype=np.float64)


def require_constant(value: Any, name: str, where: str) -> None:
    """Raise a `ValueError` if something changes in time."""
    if isinstance(value, TimeCourse):
        raise ValueError(_changes(name, where))


def _changes(name: str, where: str) -> str:
    return (
        f"{name} changes in time, which `{where}` does not write: take `circuit.at_time(time)`, or `to_brian2_script`"
    )
