"""Answers of neurons: how they fire on the input that they receive, by the type of the neuron.

The leaky integrate-and-fire neuron answers by closed forms (`mnnbio.moments.moment_activation`). The others answer by
threshold integration (`mnnbio.moments.threshold_integration`), each with what its kind takes:

- *quadratic, exponential*: white noise as it is. Noise with a memory of ``tau_s`` has the fluctuations of the potential
  of white noise whose variance is smaller by ``1 + tau_s/tau``, and the power of the unfiltered one over long windows:
  the rate is taken from the former, the Fano factor from the latter.
- *conductances* G with reversal potentials E raise the leak to ``g = g_L + G``, and their fluctuations count as current
  at the potential to which mean conductances alone would bring the membrane [1]_ [2]_:
  ``tau = C/g``, ``V_0 = (g_L E_L + Σ G E + C mean)/g``, ``std² = Σ q² rate (E - V_0)²/C²``, q the charge of a spike in
  nS ms. `ConductanceLIF` is then a leaky neuron, with the threshold that its synapses displace.
- *adaptation* (`AdEx`): the adaptation current is replaced by its mean, ``w = a (⟨v⟩ - E_L) + b tau_w rate``, found
  together with the rate [3]_. A spike more brings ``b tau_w`` more of it, so that the response of the rate to slow
  inputs, and the deviations of counts in long windows from their mean, are smaller by ``1 + gain dw/d(mean)/C``.

References
----------
.. [1] M. J. E. Richardson (2004), Effects of synaptic conductance on the voltage distribution and firing rate of
   spiking neurons, Phys. Rev. E 69, 051918.
.. [2] M. J. E. Richardson, W. Gerstner (2005), Synaptic shot noise and conductance fluctuations affect the membrane
   voltage with equal significance, Neural Comput. 17, 923.
.. [3] M. Augustin, J. Ladenbauer, F. Baumann, K. Obermayer (2017), Low-dimensional spike rate models derived from
   networks of adaptive integrate-and-fire neurons, PLoS Comput. Biol. 13, e1005545.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property, singledispatch
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mnnbio.moments import (
    ColoredAnswer,
    DriftNeuron,
    Neuron,
    NeuronTensors,
    Passages,
    colored_activation,
    discrete_lif,
    exponential_drift,
    interval_skewness,
    moment_activation,
    quadratic_drift,
    threshold_integration,
)
from mnnbio.neurons import EIF, QIF, AdEx, ConductanceLIF, LIFParameters, NeuronModel
from mnnbio.theory.wiring import Conductances, Kinds, Received

Array = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]
N = TypeVar("N", bound=NeuronModel)

CELLS = 512  # of threshold integration: rates within 1e-5
LEAK_CHANGE = 1e-4  # relative, for the derivative of the leaky neuron's rate
ADAPTATION_TOLERANCE, ADAPTATION_STEPS = 1e-8, 60  # relative to the current that the rate would bring at once


class Answer(NamedTuple):
    """Statistics of the trains with which neurons answer to their input, each of shape (stimulus, n)."""

    rate: Tensor  # 1/ms
    variance: Tensor  # of counts in long windows per time, 1/ms
    gain: Tensor  # ∂rate/∂mean, 1/mV
    skewness: Tensor  # third central moment of the intervals over their mean cubed
    potential: Tensor | None = None  # at which a little more conductance counts as a current, mV
    slow: Tensor | None = None  # the part of `variance` that the slow noise of the input brings, 1/ms; None: none


class NeuronInput(NamedTuple):
    """What neurons receive, each of shape (stimulus, n)."""

    mean: Tensor  # of the currents, mV/ms
    std: Tensor  # of all fluctuations as white noise, mV/√ms
    tau_syn: Tensor | None = None  # time constant with which synapses filter them, ms; None: white noise
    conductance: Tensor | None = None  # mean of all conductances, nS; None: there are none
    pull: Tensor | None = None  # the same, each times its reversal potential, pA
    white: Tensor | None = None  # share of ``std²`` that is not filtered; None, with `tau_syn`: none is
    kinds: tuple[Tensor, Tensor] | None = (
        None  # where synapses differ: each time constant (kind,), and its share of std²
    )


def refusal(what: str, neuron: Any, remedy: str) -> str:
    """Return the text of an error about neurons for which there is no theory."""
    return (
        f"there is no theory for {what} of the type {type(neuron).__name__}: {remedy}; "
        "`predict` with closure='self_consistent', resolution='population' simulates such neurons, and "
        "`mnnbio.validation.matched_lif(model, mean, std)` fits the LIF neuron that comes closest"
    )


@singledispatch
def answer(neuron: Any, mean: Tensor, std: Tensor, dt: float | None) -> Answer:
    """Return how neurons answer to white noise; a type of neuron registers it (``@answer.register``).

    A registered theory serves all circuits in which its neurons receive delta synapses, white noise and currents,
    recurrent ones too. Answers to filtered noise and to conductances are registered with `answer_to`.

    Parameters
    ----------
    neuron : NeuronModel
    mean, std : Tensor, shape (stimulus, n)
        Moments of the input current, mV/ms and mV/√ms.
    dt : float, optional
        Time step of the simulation to be predicted, ms; None for continuous time.

    Raises
    ------
    TypeError
        If there is no theory for this type of neuron.
    """
    raise TypeError(
        refusal(
            "neurons",
            neuron,
            "a function registered with `mnnbio.theory.answer.register` would say how they answer to white noise",
        )
    )


@singledispatch
def answer_to(neuron: Any, given: NeuronInput, dt: float | None) -> Answer:
    """Return how neurons answer to filtered noise and conductances; by default, white noise alone, by `answer`.

    Parameters
    ----------
    neuron : NeuronModel
    given : NeuronInput
    dt : float, optional
        Time step of the simulation to be predicted, ms; None for continuous time.

    Raises
    ------
    TypeError
        If there is no theory for this type of neuron and input.
    """
    if given.tau_syn is not None or given.conductance is not None:
        raise TypeError(
            refusal(
                "conductances or filtered noise into neurons",
                neuron,
                "a function registered with `mnnbio.theory.answer_to.register` would say how they answer",
            )
        )
    return answer(neuron, given.mean, given.std, dt)


def has_answer(neuron: Any) -> bool:
    """Return whether there is a theory for this type of neuron."""
    return answer.dispatch(type(neuron)) is not answer.dispatch(object)


def answers_filtered(neuron: Any) -> bool:
    """Return whether there is a theory for this type of neuron with filtered noise."""
    return answer_to.dispatch(type(neuron)) is not answer_to.dispatch(object)


def takes_conductances(neuron: Any) -> bool:
    """Return whether there is a theory for this type of neuron with conductances."""
    return leak.dispatch(type(neuron)) is not leak.dispatch(object)


class Leak(NamedTuple):
    """Membrane without input, as its linear part has it; each a number or one value per neuron."""

    tau_m: Any  # ms
    E_L: Any  # mV
    C: Any  # pF


@singledispatch
def leak(neuron: Any) -> Leak:
    """Return the leak of neurons with a capacitance, which conductances add to; a type of neuron registers it."""
    raise TypeError(refusal("conductances into neurons", neuron, "they have no capacitance that a theory knows of"))


@leak.register
def _(neuron: EIF) -> Leak:
    return Leak(neuron.tau_m, neuron.E_L, neuron.C)


@leak.register
def _(neuron: QIF) -> Leak:
    return Leak(neuron.tau_m, neuron.E_L, neuron.C)


@leak.register
def _(neuron: AdEx) -> Leak:
    return Leak(neuron.C / neuron.g_L, neuron.E_L, neuron.C)


@leak.register
def _(neuron: ConductanceLIF) -> Leak:
    return Leak(neuron.C / neuron.g_L, neuron.E_L, neuron.C)


def membrane_time(neuron: Any) -> Any:
    """Return the membrane time constant, ms, a number or one value per neuron; None where a model has none."""
    if takes_conductances(neuron):
        return leak(neuron).tau_m
    return getattr(neuron, "tau_m", None)


def equilibrium(neuron: Any, mean: Array, conductance: Array, pull: Array) -> Array:
    """Return the potential to which mean current and conductances bring the leaky membrane, mV.

    Parameters
    ----------
    neuron : NeuronModel
    mean : ndarray
        mV/ms.
    conductance, pull : ndarray
        Sum of the mean conductances, nS, and of these times their reversal potentials, pA.
    """
    tau_m, E_L, C = leak(neuron)
    return np.asarray((E_L / tau_m + mean + pull / C) / (1 / tau_m + conductance / C))


def taken(neuron: N, places: Places) -> N:
    """Return neurons with the values of some places; single numbers stay."""
    changed: dict[str, Any] = {}
    for own in fields(neuron):  # type: ignore[arg-type]
        value = getattr(neuron, own.name)
        if isinstance(value, np.ndarray) and value.ndim:
            changed[own.name] = value[places]
        elif own.name == "initial" and value is not None:
            changed[own.name] = None  # no stationary state depends on it
    return replace(neuron, **changed) if changed else neuron  # type: ignore[type-var]


@answer.register
def _(neuron: LIFParameters, mean: Tensor, std: Tensor, dt: float | None) -> Answer:
    lif: Neuron = neuron.from_rest() if dt is None else discrete_lif(mean, std, neuron.from_rest(), dt)
    return Answer(*moment_activation(mean, std, lif), interval_skewness(mean, std, lif))


@answer_to.register
def _(neuron: LIFParameters, given: NeuronInput, dt: float | None) -> Answer:
    if given.conductance is not None:
        raise TypeError(
            refusal("conductances into neurons", neuron, "they have no capacitance; ConductanceLIF neurons do")
        )
    tau_syn, shares = _kinds(given)
    found = colored_activation(given.mean, given.std, neuron.from_rest(), tau_syn, shares=shares, dt=dt)
    skewness = interval_skewness(given.mean, given.std, found.lif)
    return Answer(*found[:3], skewness, slow=found.slow_variance)


def _kinds(given: NeuronInput) -> tuple[Tensor, Tensor | None]:
    """Return the time constants of the synapses, and the shares of the noise that pass through each."""
    if given.kinds is not None:
        return given.kinds
    tau_syn, white = _filter(given)
    if given.white is None or tau_syn.numel() == 1:
        return (tau_syn, None) if given.white is None else (tau_syn.reshape(1), (1 - white)[None])
    raise ValueError(
        "`white` beside several values of `tau_syn` needs `kinds`: time constants (kind,) and their shares"
    )


def _filter(given: NeuronInput) -> tuple[Tensor, Tensor]:
    """Return time constant and white share of the noise; zeros for white noise."""
    still = torch.zeros((), dtype=given.std.dtype)
    return still if given.tau_syn is None else given.tau_syn, still if given.white is None else given.white


def _white(neuron: Any, mean: Tensor, std: Tensor, dt: float | None) -> Answer:
    return answer_to(neuron, NeuronInput(mean, std), dt)


for _kind in (EIF, QIF, AdEx, ConductanceLIF):
    answer.register(_kind, _white)


@answer_to.register
def _(neuron: ConductanceLIF, given: NeuronInput, dt: float | None) -> Answer:
    """Answer as a leaky neuron with the time constant of all mean conductances, voltages measured from `E_L`."""
    if np.any(np.asarray(neuron.theta_plus) != 0):
        raise TypeError(refusal("adaptive thresholds (`theta_plus`) of neurons", neuron, "keep the threshold fixed"))
    mean, std = given.mean, given.std
    g_L, C, E_L, v_th, v_reset, t_ref = (
        torch.tensor(np.asarray(getattr(neuron, name), dtype=np.float64))
        for name in ("g_L", "C", "E_L", "v_th", "v_reset", "t_ref")
    )
    if given.conductance is not None and given.pull is not None:
        mean = mean + (given.pull - given.conductance * E_L) / C
        g_L = g_L + given.conductance
    held = t_ref if dt is None else _counted(t_ref, dt)
    tau_syn, shares = _kinds(given)

    def fired(tau_m: Tensor) -> ColoredAnswer:
        plain = NeuronTensors(tau_m, v_th - E_L, v_reset - E_L, held)
        return colored_activation(mean, std, plain, tau_syn, shares=shares, dt=dt)

    tau_m = C / g_L
    found = fired(tau_m)
    # ∂rate/∂(1/tau_m) = -gain · potential
    change = LEAK_CHANGE / tau_m
    slower, faster = (fired(1 / (1 / tau_m + s * change)).rate for s in (-1, 1))
    firing = found.gain > 0
    potential = torch.where(firing, (slower - faster) / (2 * change) / torch.where(firing, found.gain, 1.0), 0.0)
    potential = E_L + torch.where(firing, potential, torch.minimum(mean * tau_m, v_th - E_L))
    return Answer(*found[:3], interval_skewness(mean, std, found.lif), potential, found.slow_variance)


def _counted(t_ref: Any, dt: float) -> Any:
    """Return the refractory period as Brian2 counts it in steps: the step that ends it is a step of the membrane."""
    return (t_ref - dt).clip(min=0.0)


def _drift_neuron(neuron: Any, given: NeuronInput, dt: float | None) -> tuple[Array, Array, DriftNeuron, Array]:
    """Return mean, std and the neuron of threshold integration, and its membrane time constant, ms."""
    tau_m, E_L, C = leak(neuron)
    mean, std = given.mean.numpy(), given.std.numpy()
    extra = 0.0
    if given.conductance is not None and given.pull is not None:
        mean, extra = mean + given.pull.numpy() / C, given.conductance.numpy() / C
    drift: Callable[..., Array] = quadratic_drift if isinstance(neuron, QIF) else exponential_drift
    own = (neuron.v_t,) if isinstance(neuron, QIF) else (neuron.v_t, neuron.delta_t)
    t_ref = np.asarray(neuron.t_ref, dtype=np.float64)
    made = DriftNeuron(
        drift=drift,
        parameters=(tau_m, E_L, *own),
        v_th=neuron.v_th,
        v_reset=neuron.v_reset,
        t_ref=t_ref if dt is None else _counted(t_ref, dt),
        leak=extra,
        step=dt,
    )
    return mean, std, made, np.asarray(1 / (1 / np.asarray(tau_m) + extra))


def _integrated(
    mean: Array, std: Array, made: DriftNeuron, tau: Array, given: NeuronInput, *, counts: bool = True
) -> Passages:
    """Return the statistics with filtered noise: its rate, and, if `counts`, the Fano factor of the unfiltered one."""
    if given.tau_syn is None or not bool((given.tau_syn > 0).any()):
        return threshold_integration(mean, std, made, cells=CELLS)
    tau_syn, white = (v.numpy() for v in _filter(given))
    found = threshold_integration(mean, std * np.sqrt(white + (1 - white) / (1 + tau_syn / tau)), made, cells=CELLS)
    if not counts:
        return found
    power = threshold_integration(mean, std, made, cells=CELLS)
    fano = power.variance / np.where(power.rate > 0, power.rate, 1.0)
    return found._replace(variance=fano * found.rate, skewness=power.skewness)


def _answered(found: Passages) -> Answer:
    columns = (found.rate, found.variance, found.gain, found.skewness, found.leak_potential)
    return Answer(*(torch.from_numpy(np.ascontiguousarray(column)) for column in columns))


def _soft(neuron: Any, given: NeuronInput, dt: float | None) -> Answer:
    mean, std, made, tau = _drift_neuron(neuron, given, dt)
    return _answered(_integrated(mean, std, made, tau, given))


for _kind in (EIF, QIF):
    answer_to.register(_kind, _soft)


@answer_to.register
def _(neuron: AdEx, given: NeuronInput, dt: float | None) -> Answer:
    """Answer as the exponential neuron with the mean of the adaptation current that its own rate brings."""
    mean, std, made, tau = _drift_neuron(neuron, given, dt)

    def free(current: Array, *, counts: bool = False) -> Passages:
        return _integrated(mean - current / neuron.C, std, made, tau, given, counts=counts)

    a, b, tau_w, E_L, C = (np.asarray(getattr(neuron, name), float) for name in ("a", "b", "tau_w", "E_L", "C"))

    def brought(found: Passages) -> Array:
        return np.asarray(a * (found.potential - E_L) + b * tau_w * found.rate)

    w, found = _adaptation(free, brought, mean, b * tau_w / C, a * tau / C)
    # Of a small change of the mean input, adaptation leaves 1/(1 + feedback).
    step = 1e-3 * np.maximum(std / np.sqrt(tau), 1e-3 * (neuron.v_th - neuron.v_reset) / tau)
    changed = free(w - step * C)
    feedback = (brought(changed) - brought(found)) / step / C
    left = 1 / (1 + feedback)
    found = free(w, counts=True) if given.tau_syn is not None else found
    return _answered(
        found._replace(
            gain=found.gain * left, variance=found.variance * left**2, skewness=found.skewness * np.abs(left) ** 3
        )
    )


def _adaptation(
    free: Callable[[Array], Passages],
    brought: Callable[[Passages], Array],
    mean: Array,
    by_rate: Array,
    by_potential: Array,
) -> tuple[Array, Passages]:
    """Return the adaptation current w, pA, that the firing it leaves brings, and that firing.

    Newton's method within the bounds known so far: more current means less firing, and less current brought.
    """
    w = np.zeros(np.broadcast_shapes(mean.shape, np.shape(by_rate), np.shape(by_potential)))
    low, high = np.full(w.shape, -np.inf), np.full(w.shape, np.inf)
    found = free(w)
    for _ in range(ADAPTATION_STEPS):
        excess = w - brought(found)
        low, high = np.where(excess <= 0, w, low), np.where(excess >= 0, w, high)
        # Silent potentials follow the current; those of firing neurons hardly do.
        follows = np.where(found.rate > 0, 0.3, 1.0)
        newton = w - excess / (1 + by_rate * found.gain + follows * by_potential)
        middle = np.where(np.isfinite(low) & np.isfinite(high), (low + high) / 2, newton)
        following = np.where((newton >= low) & (newton <= high), newton, middle)
        if (np.abs(following - w) <= ADAPTATION_TOLERANCE * (np.abs(w) + 1.0)).all():
            return w, found
        w = following
        found = free(w)
    return w, found


@dataclass(frozen=True, eq=False)
class Neurons:
    """Neurons of a circuit by their types.

    Parameters
    ----------
    groups : sequence of (ndarray, NeuronModel)
        Places of the neurons of each type, in order, and what they are.
    """

    groups: Sequence[tuple[Places, NeuronModel]]

    @cached_property
    def lif(self) -> LIFParameters | None:
        """The parameters of all neurons where these are leaky integrate-and-fire neurons, else None."""
        if not all(isinstance(neuron, LIFParameters) for _, neuron in self.groups):
            return None
        parameters = {}
        for name in ("tau_m", "v_th", "v_reset", "t_ref"):
            found = [np.broadcast_to(getattr(n.from_rest(), name), len(p)) for p, n in self.groups]  # type: ignore[attr-defined]
            values = np.concatenate(found)
            parameters[name] = float(values[0]) if (values == values[0]).all() else values
        return LIFParameters(**parameters)

    @property
    def size(self) -> int:
        """Number of neurons."""
        return sum(len(places) for places, _ in self.groups)

    @cached_property
    def capacitance(self) -> Array:
        """Capacitance of each neuron, pF; 1 where a model has none."""
        found = np.ones(self.size)
        for places, neuron in self.groups:
            if takes_conductances(neuron):
                found[places] = leak(neuron).C
        return found

    def values(self, of: Callable[[Any], Any], default: float) -> Array:
        """Return a property of all neurons; the default where a model has none."""
        found = np.full(self.size, default)
        for places, neuron in self.groups:
            value = of(neuron)
            found[places] = default if value is None else value
        return found

    def membrane_time(self, opened: Conductances | None) -> Array:
        """Return the membrane time constants with mean conductances, ms; NaN where a model has none."""
        tau_m = self.values(membrane_time, np.nan)
        return tau_m if opened is None else np.asarray(1 / (1 / tau_m + opened.mean / self.capacitance))

    def equilibrium(self, mean: Array, opened: Conductances | None) -> Array:
        """Return the potentials to which mean currents (mV/ms) and conductances bring the membranes, mV; 0: unknown."""
        found = np.zeros(self.size)
        for places, neuron in self.groups:
            if opened is not None and takes_conductances(neuron):
                found[places] = equilibrium(neuron, mean[places], opened.mean[places], opened.pull[places])
        return found

    def at(self, places: Places) -> Neurons:
        """Return some neurons, in the order of the circuit."""
        groups = []
        for own, neuron in self.groups:
            chosen = np.flatnonzero(np.isin(places, own))
            if len(chosen):
                groups.append((chosen, taken(neuron, np.searchsorted(own, places[chosen]))))
        return Neurons(groups)

    def respond(self, mean: Array, received: Received, opened: Conductances | None, dt: float | None) -> Responses:
        """Return how the neurons answer, each group by its theory.

        Parameters
        ----------
        mean : ndarray, shape (n,)
            Of currents, mV/ms.
        received : Received
            Fluctuations of currents.
        opened : Conductances, optional
        dt : float, optional
            Time step, ms.
        """
        shown, std = mean.copy(), np.sqrt(received.variance)
        rate, spread, gain, skewness, potential, slow, slow_time = (np.zeros(self.size) for _ in range(7))
        times = self.membrane_time(opened)
        for places, neuron in self.groups:
            current, variance, filtered = mean[places], received.variance[places], received.filtered[places]
            conductance = pull = None
            if opened is not None and opened.mean[places].any():
                own = opened.at(places)
                C = self.capacitance[places]
                at = equilibrium(neuron, current, own.mean, own.pull)
                noise = own.received(at, C)
                variance, filtered = variance + noise.variance, filtered + noise.filtered
                conductance, pull = own.mean, own.pull
                shown[places] += (pull - conductance * at) / C
            std[places] = np.sqrt(variance)
            kinds = filtered.kinds(variance)
            tau_syn, white = (None, None) if kinds is None else kinds.joint(times[places])
            columns = (current, std[places], tau_syn, conductance, pull, white)
            answered = _answered_once(neuron, columns, kinds, dt)
            rate[places], spread[places], gain[places], skewness[places] = answered[:4]
            potential[places], slow[places] = answered[4:]
            slow_time[places] = 0.0 if tau_syn is None else tau_syn
        return Responses(rate, spread, gain, skewness, shown, std, potential, slow, slow_time)


def _answered_once(neuron: Any, columns: Sequence[Array | None], kinds: Kinds | None, dt: float | None) -> list[Array]:
    """Return the answers of neurons to the fields of `NeuronInput`, each (n,); like ones are asked once."""
    shares = () if kinds is None else kinds.shares
    given = [None if column is None else np.array(column) for column in (*columns, *shares)]
    back: slice | Places = slice(None)
    if getattr(neuron, "size", 1) is None:
        different, back = np.unique(np.stack([c for c in given if c is not None]), axis=1, return_inverse=True)
        rows = iter(different)
        given = [None if column is None else next(rows) for column in given]
    tensors = [None if column is None else torch.from_numpy(column)[None] for column in given]
    asked = NeuronInput(*tensors[: len(columns)])  # type: ignore[arg-type]
    if kinds is not None:
        asked = asked._replace(kinds=(torch.from_numpy(kinds.tau_s), torch.stack(tensors[len(columns) :])))  # type: ignore[arg-type]
    answered = answer_to(neuron, asked, dt)
    still = torch.zeros_like(answered.rate)
    answered = answered._replace(
        potential=still if answered.potential is None else answered.potential,
        slow=still if answered.slow is None else answered.slow,
    )
    return [value.numpy()[0][back] for value in answered]  # type: ignore[union-attr]


class Responses(NamedTuple):
    """Answers of all neurons of a circuit, each of shape (n,)."""

    rate: Array  # 1/ms
    variance: Array  # 1/ms
    gain: Array  # 1/mV
    skewness: Array
    mean_input: Array  # with the currents of mean conductances, mV/ms
    std_input: Array  # mV/√ms
    potential: Array  # at which small conductances count, mV; 0 where it is not known
    slow: Array  # the part of the variance that slow noise of the input brings, 1/ms
    slow_time: Array  # of that noise, ms
