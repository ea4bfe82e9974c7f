"""Spatial patterns, which inputs fire together, and a neuron that learns to detect one by supervised plasticity."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import Tags, check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from mnnbio.circuit import Circuit, Population, Projection, SpikeSource
from mnnbio.machine import require_integer
from mnnbio.neurons import EquationNeuron
from mnnbio.spikes import Counts, Program, build
from mnnbio.synapses import STDP, EquationPlasticity, Into
from mnnbio.units import number_within

Array = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]

# The course of a presentation, ms: pattern from _PATTERN on, the teacher before or after it, the decision.
_REFUSED, _PATTERN, _DECISION, _ACCEPTED, _DURATION = 10.0, 12.0, 25.0, 26.0, 30.0
_DT = 0.5
_CLAMP = 10.0  # mV that the teacher adds to a variable of its own, beyond the threshold of half of that
_BLOCK = 500  # presentations of a run

_EQUATIONS = """\
dv/dt = -v/tau_m + noise*sqrt(2/tau_m)*xi : volt
theta : volt
teacher : volt
"""


class SpatialPatterns(NamedTuple):
    """Presentations of a spatial pattern and of others.

    Attributes
    ----------
    fires : ndarray of bool, shape (presentation, input)
        Which inputs fire, one spike each.
    is_pattern : ndarray of bool, shape (presentation,)
        Whether a presentation is the pattern.
    pattern : ndarray of bool, shape (input,)
    """

    fires: Bool
    is_pattern: Bool
    pattern: Bool


def spatial_patterns(
    presentations: int,
    *,
    inputs: int = 100,
    spikes: int = 20,
    overlap: float | None = None,
    pattern: npt.ArrayLike | None = None,
    seed: int = 0,
) -> SpatialPatterns:
    """Return presentations, in random order, of which every second one is one pattern, and the others are distractors.

    Parameters
    ----------
    presentations : int
    inputs : int
    spikes : int
        Inputs that fire in a presentation, of the pattern and of distractors; from 1 to ``inputs - 1``.
    overlap : float, optional
        Share of the pattern's spikes that every distractor has, to the next whole number, below 1; by default
        distractors are any inputs, of which ``spikes/inputs`` belong to the pattern on average.
    pattern : array_like of bool, shape (input,), optional
        The pattern, as of another call; by default drawn.
    seed : int

    Raises
    ------
    ValueError
        If there are too few inputs for distractors so different, or an argument is out of range.
    """
    require_integer("presentations", presentations, 2)
    require_integer("inputs", inputs, 2)
    require_integer("spikes", spikes, 1, inputs - 1)
    rng = np.random.default_rng(seed)
    own = np.zeros(inputs, dtype=bool)
    if pattern is None:
        own[rng.choice(inputs, spikes, replace=False)] = True
    else:
        own = np.array(pattern, dtype=bool)
        if own.shape != (inputs,) or own.sum() != spikes:
            raise ValueError(
                f"`pattern` must have {spikes} of {inputs} inputs that fire, got {int(own.sum())} in shape {own.shape}"
            )
    shared = None if overlap is None else _shared(overlap, inputs, spikes)
    is_pattern = rng.permutation(presentations) % 2 == 0
    inside, outside = np.flatnonzero(own), np.flatnonzero(~own)
    fires = np.tile(own, (presentations, 1))
    for k in np.flatnonzero(~is_pattern):
        chosen = own
        while np.array_equal(chosen, own):
            chosen = np.zeros(inputs, dtype=bool)
            if shared is None:
                chosen[rng.choice(inputs, spikes, replace=False)] = True
            else:
                chosen[rng.choice(inside, shared, replace=False)] = True
                chosen[rng.choice(outside, spikes - shared, replace=False)] = True
        fires[k] = chosen
    return SpatialPatterns(fires, is_pattern, own)


def _shared(overlap: float, inputs: int, spikes: int) -> int:
    """Return how many spikes a distractor shares with the pattern."""
    if not 0 <= overlap < 1:
        raise ValueError(f"`overlap` must be in [0, 1), got {overlap!r}")
    shared = min(round(overlap * spikes), spikes - 1)
    if spikes - shared > inputs - spikes:
        raise ValueError(
            f"distractors of {spikes} spikes, {shared} of them of the pattern, need {2 * spikes - shared} inputs, got "
            f"{inputs}: take more inputs or a greater overlap"
        )
    return shared


@dataclass(frozen=True, kw_only=True)
class _Learned:
    """Weights (input,) and threshold of a detector, mV."""

    weights: Array
    threshold: float


class SpatialPatternDetector(ClassifierMixin, BaseEstimator):
    """Spiking neuron that learns by supervised plasticity which inputs fire together in a pattern.

    The inputs that fire do so once, each at a random time within `spread`, onto a leaky integrator with noise. While it
    learns, a teacher makes the neuron fire after a pattern that it is to detect, so that pair-based plasticity
    strengthens the inputs, and before any other, so that it weakens them. At the end of a presentation the neuron fires
    if its potential is above its threshold. The threshold is homeostatic: it slides towards the average of the
    potential at the decision, over presentations of either kind.

    Parameters
    ----------
    passes : int
        Times that all presentations are learned, in random order.
    A_plus, A_minus : float
        Greatest changes of a weight, relative to `w_max`, multiplicative in the distance from its bounds.
    tau : float or Quantity
        Time constant of the plasticity, ms.
    sliding : float
        Share of the distance to the potential by which the threshold moves in a presentation, in (0, 1).
    w_max : float or Quantity
        Greatest weight, mV; every one starts from its half.
    tau_m : float or Quantity
        Membrane time constant, ms.
    noise : float or Quantity
        Standard deviation of the potential without inputs, mV; ≥ 0.
    spread : float or Quantity
        Time within which the inputs of a presentation fire, ms; below 10.
    random_state : int, RandomState or None
        Of order, times and noise.

    Attributes
    ----------
    weights_ : ndarray, shape (input,)
        mV.
    threshold_ : float
        mV.
    classes_ : ndarray, shape (2,)
        Labels; the second one is that of the pattern.
    n_features_in_ : int

    References
    ----------
    R. Legenstein, C. Naeger, W. Maass (2005), What can a neuron learn with spike-timing-dependent plasticity?, Neural
    Computation 17, 2337, section 2: a teacher that makes the neuron fire. R. Gütig, R. Aharonov, S. Rotter, H.
    Sompolinsky (2003), J. Neurosci. 23, 3697, eq. 2 and 3: the rule. E. L. Bienenstock, L. N. Cooper, P. W. Munro
    (1982), Theory for the development of neuron selectivity, J. Neurosci. 2, 32: the sliding threshold.
    """

    weights_: Array
    threshold_: float
    classes_: npt.NDArray[Any]
    n_features_in_: int

    def __init__(
        self,
        *,
        passes: int = 1,
        A_plus: float = 0.05,
        A_minus: float = 0.05,
        tau: Any = 20.0,
        sliding: float = 0.02,
        w_max: Any = 1.0,
        tau_m: Any = 20.0,
        noise: Any = 0.3,
        spread: Any = 5.0,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.passes = passes
        self.A_plus = A_plus
        self.A_minus = A_minus
        self.tau = tau
        self.sliding = sliding
        self.w_max = w_max
        self.tau_m = tau_m
        self.noise = noise
        self.spread = spread
        self.random_state = random_state

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        tags.non_deterministic = self.random_state is None
        return tags

    def fit(self, X: npt.ArrayLike, y: npt.ArrayLike) -> Self:
        """Learn from presentations (n, input), non-zero where an input fires, and two labels (n,).

        Raises
        ------
        ValueError
            If there are not two labels, features are not 0 or 1, or a parameter is out of range.
        """
        x, labels = validate_data(self, X, y, dtype=np.float64, ensure_min_samples=2)
        fires = _fires(x)
        check_classification_targets(labels)
        classes = np.unique(labels)
        if len(classes) != 2:
            raise ValueError(f"a detector needs two labels, others and pattern, got {len(classes)}: {classes.tolist()}")
        require_integer("passes", self.passes, 1)
        self._settle()
        self.classes_ = classes
        wanted = labels == classes[1]
        rng = np.random.default_rng(check_random_state(self.random_state).randint(2**31))
        half = 0.5 * self._w_max
        learned = _Learned(weights=np.full(x.shape[1], half), threshold=half * fires.sum(axis=1).mean())
        with self._program(learned) as program:
            for _ in range(self.passes):
                order = rng.permutation(len(fires))
                for part in np.split(order, range(_BLOCK, len(order), _BLOCK)):
                    learned = self._learn(program, learned, fires[part], wanted[part], rng)
        self.weights_, self.threshold_ = learned.weights, learned.threshold
        self._seed = int(rng.integers(2**31))
        return self

    def predict(self, X: npt.ArrayLike) -> npt.NDArray[Any]:
        """Return the second label where the neuron fires, else the first, (n,)."""
        check_is_fitted(self)
        fires = _fires(validate_data(self, X, reset=False, dtype=np.float64))
        rng = np.random.default_rng(self._seed)
        learned = _Learned(weights=self.weights_, threshold=self.threshold_)
        fired = []
        with self._program(learned) as program:
            for part in np.split(fires, range(_BLOCK, len(fires), _BLOCK)):
                circuit = self._circuit(learned, part, None, rng)
                found = program.run(_DURATION, circuit=circuit, seed=int(rng.integers(2**31)), processes=1)
                assert found.counts is not None
                fired.append(found.counts.count.reshape(len(part)) > 0)
        return self.classes_[np.concatenate(fired).astype(int)]

    def _settle(self) -> None:
        """Take the times and voltages as numbers in ms and mV."""
        self._tau_m = number_within("tau_m", self.tau_m, "ms")
        self._w_max = number_within("w_max", self.w_max, "mV")
        self._sliding = number_within("sliding", self.sliding, "1", below=1.0)
        self._noise = number_within("noise", self.noise, "mV", from_0=True)
        self._spread = number_within("spread", self.spread, "ms", from_0=True, below=10.0)

    @contextmanager
    def _program(self, learned: _Learned) -> Iterator[Program]:
        one = np.ones((1, len(learned.weights)), dtype=bool)
        circuit = self._circuit(learned, one, np.ones(1, dtype=bool), np.random.default_rng(0))
        with build(circuit, dt=_DT, replicas=1, record={"detector": Counts(bin=_DURATION)}) as program:
            yield program

    def _learn(
        self, program: Program, learned: _Learned, fires: Bool, wanted: Bool, rng: np.random.Generator
    ) -> _Learned:
        circuit = self._circuit(learned, fires, wanted, rng)
        found = program.run(_DURATION, circuit=circuit, carry_weights=True, seed=int(rng.integers(2**31)), processes=1)
        ends = [state.values.reshape(len(fires), -1)[-1] * 1e3 for state in found.states]
        return _Learned(weights=ends[0], threshold=float(ends[1][0]))

    def _circuit(self, learned: _Learned, fires: Bool, wanted: Bool | None, rng: np.random.Generator) -> Circuit:
        """Return the neuron with its inputs and teacher, which learns, or, where nothing is wanted, decides alone."""
        taught = wanted is not None
        rule = STDP(
            w_max=self._w_max,
            A_plus=self.A_plus * taught,
            A_minus=self.A_minus * taught,
            tau_plus=self.tau,
            tau_minus=self.tau,
            bounds="soft",
        )
        slide = EquationPlasticity(on_pre="w += share*(v_post - w)", parameters={"share": self._sliding * taught})
        neuron = EquationNeuron(
            equations=_EQUATIONS,
            threshold="teacher > clamp or (theta > free and v > theta)",
            reset="v = 0*mV; theta = 0*mV; teacher = 0*mV",
            parameters={
                "tau_m": self._tau_m * 1e-3,
                "noise": self._noise * 1e-3,
                "clamp": 0.5e-3 * _CLAMP,
                "free": 1e3 if taught else 0.0,  # a neuron that is taught fires for its teacher alone
            },
            units={"tau_m": "second", "noise": "volt", "clamp": "volt", "free": "volt"},
            initial={"v": 0.0, "theta": 0.0, "teacher": 0.0},
            receives=("v", "theta", "teacher"),
        )
        number = len(fires)
        times = [_PATTERN + rng.uniform(0, self._spread, int(row.sum())) for row in fires]
        teacher = [np.empty(0)] * number
        if wanted is not None:
            teacher = [np.array([_ACCEPTED if own else _REFUSED]) for own in wanted]
        return Circuit(
            populations=[
                SpikeSource("inputs", times, [np.flatnonzero(row) for row in fires], size=fires.shape[1]),
                SpikeSource("teacher", teacher, [np.zeros(len(own), dtype=int) for own in teacher], size=1),
                SpikeSource("decision", [np.array([_DECISION])] * number, [np.zeros(1, dtype=int)] * number, size=1),
                Population("detector", 1, neuron),
            ],
            projections=[
                Projection("inputs", "detector", weights=learned.weights[None], plasticity=rule),
                Projection(
                    "decision",
                    "detector",
                    weights=np.array([[learned.threshold]]),
                    synapse=Into("theta", "mV"),
                    plasticity=slide,
                ),
                Projection("teacher", "detector", weights=np.array([[_CLAMP]]), synapse=Into("teacher", "mV")),
            ],
        )


def _fires(x: Array) -> Bool:
    """Return which inputs fire.

    Raises
    ------
    ValueError
        If a number is neither 0 nor 1.
    """
    other = (x != 0) & (x != 1)
    if other.any():
        place = tuple(int(k) for k in np.argwhere(other)[0])
        raise ValueError(f"features must be 1 where an input fires and 0 elsewhere, got {x[place]:g} at {place}")
    return x == 1


class DetectionRates(NamedTuple):
    """Shares of the presentations of a pattern that are detected, and of others that are taken for it."""

    detected: float
    false_alarms: float

    @property
    def accuracy(self) -> float:
        """Share of right decisions where either kind is as frequent."""
        return 0.5 * (self.detected + 1 - self.false_alarms)


def detection_rates(detector: Any, shown: SpatialPatterns) -> DetectionRates:
    """Return how often a fitted detector, or any classifier of its labels True and False, is right."""
    answer = np.asarray(detector.predict(shown.fires.astype(np.float64)), dtype=bool)
    return DetectionRates(float(answer[shown.is_pattern].mean()), float(answer[~shown.is_pattern].mean()))


class TemplateDetector(ClassifierMixin, BaseEstimator):
    """Baseline without spikes: the difference of the mean presentations, with the midpoint as threshold.

    Attributes
    ----------
    template_ : ndarray, shape (input,)
    threshold_ : float
    classes_ : ndarray, shape (2,)
    n_features_in_ : int
    """

    template_: Array
    threshold_: float
    classes_: npt.NDArray[Any]
    n_features_in_: int

    def fit(self, X: npt.ArrayLike, y: npt.ArrayLike) -> Self:
        """Learn from presentations (n, input) and two labels (n,)."""
        x, labels = validate_data(self, X, y, dtype=np.float64)
        self.classes_ = np.unique(labels)
        if len(self.classes_) != 2:
            raise ValueError(f"a detector needs two labels, others and pattern, got {len(self.classes_)}")
        others, pattern = (x[labels == label].mean(axis=0) for label in self.classes_)
        self.template_ = pattern - others
        self.threshold_ = float(self.template_ @ (pattern + others)) / 2
        return self

    def predict(self, X: npt.ArrayLike) -> npt.NDArray[Any]:
        """Return labels, (n,)."""
        check_is_fitted(self)
        x = validate_data(self, X, reset=False, dtype=np.float64)
        return self.classes_[(x @ self.template_ > self.threshold_).astype(int)]


def overlap_curve(
    overlaps: Sequence[float | None],
    detector: Any,
    *,
    presentations: int = 2000,
    training: int = 1000,
    seed: int = 0,
) -> list[DetectionRates]:
    """Return the rates of a detector for distractors of each overlap, each learned anew and judged by other ones.

    Parameters
    ----------
    overlaps : sequence of float or None
        As of `spatial_patterns`.
    detector : estimator
        Such as `SpatialPatternDetector` or `TemplateDetector`; a clone of it is fitted.
    presentations, training : int
        For the rates and for learning, half of them the pattern.
    seed : int
    """
    from sklearn.base import clone

    found = []
    for overlap in overlaps:
        shown = spatial_patterns(training, overlap=overlap, seed=seed)
        new = spatial_patterns(presentations, overlap=overlap, pattern=shown.pattern, seed=seed + 1)
        fitted = clone(detector).fit(shown.fires.astype(np.float64), shown.is_pattern)
        found.append(detection_rates(fitted, new))
    return found
