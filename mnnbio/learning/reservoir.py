"""Reservoir of Izhikevich neurons whose readout learns by a three-factor rule which pattern in time was shown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from mnnbio.circuit import Circuit, Population, Projection, SpikeSource
from mnnbio.machine import require_integer
from mnnbio.neurons import EquationNeuron, Izhikevich
from mnnbio.spikes import Counts, Program, build
from mnnbio.synapses import EquationSynapse, Exponential, RewardSTDP
from mnnbio.units import flag

Array = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]

_DT = 0.5
_TAU_FEEDBACK = 5.0  # ms within which it fades
_BLOCK = 200  # presentations of a run

_READOUT = """\
dv/dt = -v/(20*ms) + I_syn : volt
dfeedback/dt = -feedback/tau_feedback : hertz
fired : 1
"""


class TimedPattern(NamedTuple):
    """Spikes of a presentation.

    Attributes
    ----------
    times : ndarray, shape (spike,)
        ms.
    inputs : ndarray of int, shape (spike,)
        Which input fires.
    """

    times: Array
    inputs: Int64


class TimedPatterns(NamedTuple):
    """Presentations of patterns in time and their classes, (presentation,)."""

    patterns: list[TimedPattern]
    classes: Int64


def timed_patterns(
    presentations: int,
    *,
    classes: int = 3,
    inputs: int = 40,
    spikes: int = 4,
    duration: float = 200.0,
    jitter: float = 4.0,
    seed: int = 0,
    templates: int = 0,
) -> TimedPatterns:
    """Return presentations of patterns that differ in time alone: in all of them every input fires equally often.

    Parameters
    ----------
    presentations, classes, inputs : int
    spikes : int
        Of every input in a presentation.
    duration, jitter : float
        Length of a pattern, and standard deviation by which every spike is moved in a presentation, ms.
    seed : int
        Of order and jitter.
    templates : int
        Seed of the patterns themselves.
    """
    for name, value, least in (
        ("presentations", presentations, 1),
        ("classes", classes, 2),
        ("inputs", inputs, 1),
        ("spikes", spikes, 1),
    ):
        require_integer(name, value, least)
    if not duration > 0 or not jitter >= 0:
        raise ValueError(f"`duration` must be > 0 ms and `jitter` ≥ 0 ms, got {duration!r} and {jitter!r}")
    own = np.random.default_rng(templates).uniform(0, duration, (classes, inputs * spikes))
    rng = np.random.default_rng(seed)
    which = rng.permutation(presentations) % classes
    who = np.repeat(np.arange(inputs), spikes)
    moved = own[which] + rng.normal(0, jitter, (presentations, inputs * spikes))
    # reflected at the ends, so that no spike is lost
    moved = np.abs(moved)
    moved = np.clip(np.where(moved > duration, 2 * duration - moved, moved), 0, duration - 1e-6)
    return TimedPatterns([TimedPattern(times, who) for times in moved], which)


class RewardReservoir(ClassifierMixin, BaseEstimator):
    """Classifier of patterns in time: random Izhikevich neurons, and one neuron a class that learns from feedback.

    The inputs drive a random recurrent network of regular spiking excitatory and fast spiking inhibitory neurons, which
    does not learn. Its excitatory neurons excite a readout neuron of every class through synapses with three factors:
    spikes before and after leave an eligibility trace, and after the pattern the feedback, the wanted number of spikes
    less that which was fired, turns it into weight. The answer is the class whose neuron fires most.

    Parameters
    ----------
    neurons : int
        Of the reservoir, a fifth of them inhibitory.
    duration : float
        Length of a pattern, ms.
    epochs : int
    learns : bool
        Whether weights change; otherwise they stay as they start, the baseline.
    speed : float
        Change of a weight by an eligibility of one pair and a feedback of one spike, relative to `w_max`.
    wanted : int
        Spikes of the neuron of the class that is shown; the others should not fire.
    w_max : float
        Greatest weight, mV; all start at random below its half.
    random_state : int, RandomState or None
        Of the network and of the order.

    Attributes
    ----------
    weights_ : ndarray, shape (class, excitatory neuron)
        mV.
    curve_ : ndarray, shape (run,)
        Share of right answers while it learns, before the weights change, in the runs one after the other.
    classes_ : ndarray, shape (class,)
    n_inputs_ : int

    References
    ----------
    E. M. Izhikevich (2003), Simple model of spiking neurons, IEEE Trans. Neural Networks 14, 1569: the neurons and
    their spread. E. M. Izhikevich (2007), Solving the distal reward problem through linkage of STDP and dopamine
    signaling, Cerebral Cortex 17, 2443, eq. 1 to 3: the rule, here with feedback for every neuron.
    """

    weights_: Array
    curve_: Array
    classes_: npt.NDArray[Any]
    n_inputs_: int

    def __init__(
        self,
        neurons: int = 200,
        *,
        duration: float = 200.0,
        epochs: int = 4,
        learns: bool = True,
        speed: float = 1e-3,
        wanted: int = 5,
        w_max: float = 6.0,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.neurons = neurons
        self.duration = duration
        self.epochs = epochs
        self.learns = learns
        self.speed = speed
        self.wanted = wanted
        self.w_max = w_max
        self.random_state = random_state

    def fit(self, X: Sequence[TimedPattern], y: npt.ArrayLike) -> Self:
        """Learn from patterns and their labels (n,).

        Raises
        ------
        ValueError
            If there are not as many labels as patterns, one class only, or a spike is outside of the pattern.
        """
        for name, least in (("neurons", 10), ("epochs", 1), ("wanted", 1)):
            require_integer(name, getattr(self, name), least)
        flag(self.learns, "learns")
        for name in ("duration", "speed", "w_max"):
            if not getattr(self, name) > 0:
                raise ValueError(f"`{name}` must be > 0, got {getattr(self, name)!r}")
        labels = np.asarray(y)
        if labels.shape != (len(X),):
            raise ValueError(f"there must be one label a pattern, {len(X)}, got shape {labels.shape}")
        self.classes_, classes = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"there must be at least two classes, got {self.classes_.tolist()}")
        patterns = self._checked(X)
        self.n_inputs_ = 1 + max(int(own.inputs.max(initial=0)) for own in patterns)
        rng = np.random.default_rng(check_random_state(self.random_state).randint(2**31))
        self._network = _Reservoir.random(self.neurons, self.n_inputs_, rng)
        weights = rng.uniform(0, 0.5 * self.w_max, (len(self.classes_), self._network.excitatory))
        curve = []
        with self._program(weights) as program:
            for _ in range(self.epochs):
                order = rng.permutation(len(patterns))
                for part in np.split(order, range(_BLOCK, len(order), _BLOCK)):
                    shown = [patterns[k] for k in part]
                    circuit = self._circuit(weights, shown, classes[part])
                    found = program.run(self._length, circuit=circuit, carry_weights=True, seed=0, processes=1)
                    assert found.counts is not None
                    counts = found.counts.count.reshape(len(part), -1, len(self.classes_))[:, 0]
                    curve.append(float((counts.argmax(axis=1) == classes[part]).mean()))
                    if self.learns:
                        ends = found.states[0].values.reshape(len(part), -1)[-1] * 1e3
                        # a weight of 0 would be no synapse, which could not grow again
                        weights = np.maximum(ends.reshape(-1, len(self.classes_)).T, 1e-6 * self.w_max)
        self.weights_, self.curve_ = weights, np.array(curve)
        return self

    def decision_function(self, X: Sequence[TimedPattern]) -> Array:
        """Return the spikes of the neuron of every class, (n, class)."""
        check_is_fitted(self)
        patterns = self._checked(X)
        if (most := max(int(own.inputs.max(initial=0)) for own in patterns)) >= self.n_inputs_:
            raise ValueError(f"there are inputs 0 to {self.n_inputs_ - 1}, got {most}")
        with self._program(self.weights_) as program:
            circuit = self._circuit(self.weights_, patterns, None)
            found = program.run(self._length, circuit=circuit, seed=0, processes=1)
        assert found.counts is not None
        return found.counts.count.reshape(len(patterns), -1, len(self.classes_))[:, 0].astype(np.float64)

    def predict(self, X: Sequence[TimedPattern]) -> npt.NDArray[Any]:
        """Return the label whose neuron fires most, (n,)."""
        counts = self.decision_function(X)
        return self.classes_[counts.argmax(axis=1)]

    @property
    def _length(self) -> float:
        """Time of a presentation, ms: a whole number of lengths of feedback, by which spikes are counted."""
        return 2 * self.duration

    def _checked(self, X: Sequence[TimedPattern]) -> list[TimedPattern]:
        patterns = [TimedPattern(np.asarray(own[0], dtype=np.float64), np.asarray(own[1])) for own in X]
        if not patterns:
            raise ValueError("there must be at least one pattern, got none")
        for number, own in enumerate(patterns):
            if own.times.shape != own.inputs.shape or own.times.ndim != 1:
                raise ValueError(
                    f"times and inputs of pattern {number} must go together, got {own.times.shape}, {own.inputs.shape}"
                )
            outside = (own.times < 0) | (own.times >= self.duration)
            if outside.any():
                raise ValueError(
                    f"times must be from 0 to below `duration`, {self.duration:g} ms, got {own.times[outside][0]:g} in "
                    f"pattern {number}"
                )
        return [_in_steps(own) for own in patterns]

    @contextmanager
    def _program(self, weights: Array) -> Iterator[Program]:
        circuit = self._circuit(weights, [TimedPattern(np.empty(0), np.empty(0, dtype=int))], np.zeros(1, dtype=int))
        with build(circuit, dt=_DT, replicas=1, record={"readout": Counts(bin=self.duration)}) as program:
            yield program

    def _circuit(self, weights: Array, patterns: Sequence[TimedPattern], classes: Int64 | None) -> Circuit:
        """Return the network; where no class is wanted, without feedback."""
        own = self._network
        number, shown = len(weights), len(patterns)
        teacher = [np.empty(0)] * shown
        which = [np.empty(0, dtype=int)] * shown
        if classes is not None:
            teacher = [np.array([self.duration])] * shown
            which = [np.array([k]) for k in classes]
        # the feedback that one spike brings over all its time is `speed`, relative to the greatest weight
        strength = self.speed / _TAU_FEEDBACK * 1e3
        readout = EquationNeuron(
            equations=_READOUT,
            threshold="v > 20*mV",
            reset="v = 0*mV; fired += 1",
            refractory=2.0,
            method="exact",
            parameters={"tau_feedback": 1e-3 * _TAU_FEEDBACK},
            units={"tau_feedback": "second"},
            initial={"v": 0.0, "feedback": 0.0, "fired": 0.0},
            receives=("v", "feedback"),
            current="I_syn",
            current_unit="volt/second",
        )
        wanted = np.where(np.eye(number) == 1, float(self.wanted), 1e-9)  # 0 would be no synapse
        rule = RewardSTDP(w_max=self.w_max, reward="feedback", A_plus=1.0, A_minus=0.0, tau_c=2 * self.duration)
        answer = EquationSynapse(
            on_pre="feedback_post += strength*(w - fired_post)",
            unit="1",
            parameters={"strength": strength},
            units={"strength": "hertz"},
        )
        return Circuit(
            populations=[
                SpikeSource("inputs", [p.times for p in patterns], [p.inputs for p in patterns], size=self.n_inputs_),
                SpikeSource("teacher", teacher, which, size=number),
                Population("excitatory", own.excitatory, own.regular),
                Population("inhibitory", own.inhibitory, own.fast),
                Population("readout", number, readout),
            ],
            projections=[
                Projection("inputs", "excitatory", weights=own.from_inputs, synapse=Exponential(_TAU_FEEDBACK)),
                *own.recurrent(),
                Projection("excitatory", "readout", weights=weights, plasticity=rule),
                Projection("teacher", "readout", weights=wanted, synapse=answer),
            ],
        )


def _in_steps(pattern: TimedPattern) -> TimedPattern:
    """Return a pattern in which an input fires once at most in a step."""
    steps = np.floor(pattern.times / _DT + 1e-9).astype(np.int64)
    pairs = np.unique(np.stack([steps, pattern.inputs.astype(np.int64)]), axis=1)
    return TimedPattern(pairs[0] * _DT, pairs[1])


class _Reservoir(NamedTuple):
    """Neurons and weights, mV, that do not learn."""

    regular: Izhikevich
    fast: Izhikevich
    from_inputs: Array
    weights: Array

    @property
    def inhibitory(self) -> int:
        return len(self.weights) // 5

    @property
    def excitatory(self) -> int:
        return len(self.weights) - self.inhibitory

    @classmethod
    def random(cls, neurons: int, inputs: int, rng: np.random.Generator) -> _Reservoir:
        """Return neurons spread as by Izhikevich (2003), and sparse random synapses."""
        n_i = neurons // 5
        n_e = neurons - n_i
        r_e, r_i = rng.uniform(size=n_e), rng.uniform(size=n_i)
        weights = np.where(rng.uniform(size=(neurons, neurons)) < 0.1, rng.uniform(0, 1, (neurons, neurons)), 0.0)
        weights[:, :n_e] *= 4.0
        weights[:, n_e:] *= -8.0
        chosen = rng.uniform(size=(n_e, inputs)) < 0.2
        return cls(
            regular=Izhikevich(c=-65 + 15 * r_e**2, d=8 - 6 * r_e**2),
            fast=Izhikevich(a=0.02 + 0.08 * r_i, b=0.25 - 0.05 * r_i, c=-65.0, d=2.0),
            from_inputs=np.where(chosen, rng.uniform(10, 30, chosen.shape), 0.0),
            weights=weights,
        )

    def recurrent(self) -> list[Projection]:
        """Return the projections among the neurons."""
        n_e = self.excitatory
        parts = {"excitatory": slice(0, n_e), "inhibitory": slice(n_e, None)}
        return [
            Projection(source, target, weights=self.weights[there, here], delay=1.0)
            for source, here in parts.items()
            for target, there in parts.items()
        ]
