"""Digits told apart by symmetric plasticity, synaptic scaling and dynamic thresholds, without a trained readout."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import Tags, check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from mnnbio.circuit import Circuit, PoissonSource, Population, Projection, SpikeSource
from mnnbio.machine import require_integer
from mnnbio.neurons import EquationNeuron
from mnnbio.spikes import Counts, Program, build
from mnnbio.synapses import EquationPlasticity, Into, SymmetricSTDP
from mnnbio.units import Unit, flag, number_within

Array = npt.NDArray[np.float64]
Counted = npt.NDArray[np.int32]

_W_MAX = 15.0  # greatest weight, relative to the mean at the start
_FLOOR = 0.25  # least threshold, relative to the first one
_BLOCK_BYTES = 2.5e8  # of the weights that a run brings back, those after every presentation
_TESTED = 1000  # presentations of a run in which nothing changes

_EQUATIONS = """\
dv/dt = -v/tau_m : volt
theta : volt
"""


class _State(NamedTuple):
    """Weights (neuron, pixel) and thresholds (neuron,), mV."""

    weights: Array
    thresholds: Array


class _Speed(NamedTuple):
    """Share by which a spike scales the weights, and mV by which it raises the threshold."""

    scaling: float
    step: float


class _Numbers(NamedTuple):
    """Options as plain numbers, in ms, mV and spikes/ms."""

    duration: float
    dt: float
    rate: float
    test_rate: float
    total_weight: float
    tau_m: float
    tau: float
    inhibition: float
    test_inhibition: float
    threshold: float
    activity: float
    speeds: tuple[_Speed, _Speed]


class SymmetricDigits(ClassifierMixin, BaseEstimator):
    """Classifier of images by neurons that compete, each of which learns one kind of image by plasticity alone.

    Every pixel is a Poisson train; all images have the same total rate. A neuron that fires silences the others. Its
    synapses grow by symmetric plasticity, by coincidences in either order, and each of its spikes scales all of them
    down by the same factor, so that their sum stays; weights become an average of the images for which it fires. Its
    threshold rises with its every spike and falls from presentation to presentation, so that all neurons take part.
    Every presentation starts from rest.

    Labels play no part in this. Afterwards nothing changes any more: a neuron is given the label for which it fires
    most in presentations of training images, and an image is given the label whose neurons fire most.

    Parameters
    ----------
    neurons : int
    epochs : int
        Times that all images are shown for learning.
    plastic : bool
        Whether weights change. Otherwise they stay random, the baseline, and thresholds alone adapt.
    duration, dt : float or Quantity
        Length of a presentation and time step, ms.
    rate : float or Quantity
        Sum of the rates of all pixels, spikes/ms.
    total_weight : float or Quantity
        Sum of the weights onto a neuron at the start, which scaling keeps, mV.
    tau_m, tau : float or Quantity
        Time constants of membrane and plasticity, ms.
    scaling : (float, float)
        Share of the weights that a spike replaces, at the start and at the end of learning; it falls geometrically.
    threshold_step : (float, float)
        mV by which a spike raises the threshold, likewise.
    activity : float
        Spikes of a neuron a presentation at which its threshold stays.
    inhibition : float or Quantity
        mV by which a spike moves the potential of all other neurons down.
    threshold : float or Quantity
        At the start, mV.
    labelled : int, optional
        Number of training images from which labels are given; by default all.
    presentations : int
        How often an image is shown, with other spikes, for a decision by all spikes, and for the labels.
    test_rate : float or Quantity
        The sum of rates in these, spikes/ms: higher, so that images of many pixels make neurons fire, too.
    test_inhibition : float or Quantity
        The inhibition in these, mV: weaker, so that more than one neuron decides.
    random_state : int, RandomState or None
        Of weights, order and spikes.

    Attributes
    ----------
    weights_ : ndarray, shape (neuron, pixel)
        mV.
    thresholds_ : ndarray, shape (neuron,)
        mV.
    labels_ : ndarray of int, shape (neuron,)
        Number of the class of every neuron; -1 for those that never fired.
    activity_ : ndarray, shape (run,)
        Spikes of all neurons a presentation, in the runs of learning one after the other.
    classes_ : ndarray, shape (class,)
    n_features_in_ : int

    References
    ----------
    P. U. Diehl, M. Cook (2015), Unsupervised learning of digit recognition using spike-timing-dependent plasticity,
    Front. Comput. Neurosci. 9, 99: the competition, thresholds and labels. Y. Hao, X. Huang, M. Dong, B. Xu (2020), A
    biologically plausible supervised learning method for spiking neural networks using the symmetric STDP rule, Neural
    Networks 121, 387: symmetric plasticity with scaling and dynamic thresholds.
    """

    weights_: Array
    thresholds_: Array
    labels_: npt.NDArray[np.int64]
    activity_: Array
    classes_: npt.NDArray[Any]
    n_features_in_: int

    def __init__(
        self,
        neurons: int = 400,
        *,
        epochs: int = 1,
        plastic: bool = True,
        duration: Any = 80.0,
        dt: Any = 1.0,
        rate: Any = 6.0,
        total_weight: Any = 78.0,
        tau_m: Any = 100.0,
        tau: Any = 20.0,
        scaling: tuple[float, float] = (0.15, 0.04),
        threshold_step: tuple[Any, Any] = (20.0, 4.0),
        activity: float = 0.003,
        inhibition: Any = 100.0,
        threshold: Any = 28.0,
        labelled: int | None = None,
        presentations: int = 10,
        test_rate: Any = 7.5,
        test_inhibition: Any = 30.0,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.neurons = neurons
        self.epochs = epochs
        self.plastic = plastic
        self.duration = duration
        self.dt = dt
        self.rate = rate
        self.total_weight = total_weight
        self.tau_m = tau_m
        self.tau = tau
        self.scaling = scaling
        self.threshold_step = threshold_step
        self.activity = activity
        self.inhibition = inhibition
        self.threshold = threshold
        self.labelled = labelled
        self.presentations = presentations
        self.test_rate = test_rate
        self.test_inhibition = test_inhibition
        self.random_state = random_state

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.positive_only = True
        tags.non_deterministic = self.random_state is None
        return tags

    def fit(self, X: npt.ArrayLike, y: npt.ArrayLike) -> Self:
        """Learn from images (n, pixel), ≥ 0, then give labels (n,) to neurons.

        Raises
        ------
        ValueError
            If a pixel is negative, all of an image are 0, there is one class only, or a parameter is out of range.
        """
        require_integer("neurons", self.neurons, 2)
        require_integer("epochs", self.epochs, 1)
        require_integer("presentations", self.presentations, 1)
        if self.labelled is not None:
            require_integer("labelled", self.labelled, 1)
        self._numbers = self._settle()
        x, labels = validate_data(self, X, y, dtype=np.float64, ensure_min_samples=2)
        check_classification_targets(labels)
        self.classes_, classes = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                f"targets must have at least two classes, got one class only: {self.classes_.tolist()[0]!r}"
            )
        own = self._numbers
        rates = self._rates(x, own.rate)
        rng = np.random.default_rng(check_random_state(self.random_state).randint(2**31))
        weights = rng.uniform(0.2, 1.0, (self.neurons, x.shape[1]))
        weights *= own.total_weight / weights.sum(axis=1, keepdims=True)
        state = _State(weights, np.full(self.neurons, own.threshold))
        state = self._learn(state, rates, rng)
        self.weights_, self.thresholds_ = state
        self._seed = int(rng.integers(2**31))
        chosen = rng.permutation(len(x))[: self.labelled]
        self.labels_ = label_neurons(
            self._counts(self._rates(x[chosen], own.test_rate)), classes[chosen], len(self.classes_)
        )
        self._usual = int(np.bincount(classes).argmax())
        return self

    def predict(self, X: npt.ArrayLike) -> npt.NDArray[Any]:
        """Return the label whose neurons fire most, the most frequent one of training where none fires, (n,)."""
        votes = self.decision_function(X)
        silent = votes.sum(axis=1) == 0
        return self.classes_[np.where(silent, self._usual, votes.argmax(axis=1))]

    def decision_function(self, X: npt.ArrayLike) -> Array:
        """Return the spikes of the neurons of every label, the mean over its neurons, (n, class)."""
        check_is_fitted(self)
        rates = self._rates(validate_data(self, X, reset=False, dtype=np.float64), self._numbers.test_rate)
        of_class = self.labels_[:, None] == np.arange(len(self.classes_))
        return self._counts(rates) @ (of_class / np.maximum(of_class.sum(axis=0), 1))

    def _learn(self, state: _State, rates: Array, rng: np.random.Generator) -> _State:
        """Return weights and thresholds after all presentations."""
        first, last = self._numbers.speeds
        size = max(int(_BLOCK_BYTES / (8 * state.weights.size)), 1)
        orders = [rng.permutation(len(rates)) for _ in range(self.epochs)]
        blocks = [part for order in orders for part in np.split(order, range(size, len(order), size))]
        activity = []
        with self._program(state, first) as program:
            for number, block in enumerate(blocks):
                done = number / len(blocks)
                speed = _Speed(*(a * (b / a) ** done for a, b in zip(first, last, strict=True)))
                found = program.run(
                    self._numbers.duration,
                    circuit=self._circuit(state, rates[block], speed),
                    carry_weights=True,
                    seed=int(rng.integers(2**31)),
                    processes=1,
                )
                assert found.counts is not None
                activity.append(found.counts.count.sum() / len(block))
                # synapses stand by source, then by target
                ends = {own.channel.group: own.values.reshape(len(block), -1)[-1] * 1e3 for own in found.states}
                weights = ends.get("weights/image_to_neurons")
                if weights is not None:
                    state = state._replace(weights=weights.reshape(-1, self.neurons).T)
                state = state._replace(thresholds=ends["weights/start_to_neurons"])
        self.activity_ = np.array(activity)
        return state

    def _counts(self, rates: Array) -> Counted:
        """Return the spikes of every neuron in presentations where nothing changes, (presentation, neuron)."""
        state = _State(self.weights_, self.thresholds_)
        found = []
        with self._program(state, None) as program:
            for number, part in enumerate(np.split(rates, range(_TESTED, len(rates), _TESTED))):
                circuit = self._circuit(state, part, None)
                run = program.run(
                    self._numbers.duration,
                    self.presentations,
                    circuit=circuit,
                    seed=self._seed + number,
                    processes=1,
                )
                assert run.counts is not None
                found.append(run.counts.count.sum(axis=(1, 2)))
        return np.concatenate(found)

    @contextmanager
    def _program(self, state: _State, speed: _Speed | None) -> Iterator[Program]:
        own = self._numbers
        circuit = self._circuit(state, np.zeros((2, state.weights.shape[1])), speed)
        record = {"neurons": Counts(bin=own.duration)}
        with build(circuit, dt=own.dt, replicas=None if speed is None else 1, record=record) as program:
            yield program

    def _circuit(self, state: _State, rates: Array, speed: _Speed | None) -> Circuit:
        """Return pixels and neurons; with a speed, weights and thresholds learn."""
        own = self._numbers
        rules: list[Any] | None = None
        remember = None
        if speed is not None:
            remember = EquationPlasticity(
                on_pre="w = clip(w - fall, least, 1*volt)",
                on_post="w = w + rise",
                parameters={
                    "fall": 1e-3 * speed.step * own.activity,
                    "rise": 1e-3 * speed.step,
                    "least": 1e-3 * _FLOOR * own.threshold,
                },
                units=dict.fromkeys(("fall", "rise", "least"), "volt"),
            )
            if self.plastic:
                w_max = _W_MAX * own.total_weight / rates.shape[1]
                # what all pairs of a spike bring at the total rate, in the middle of a presentation, replaces the loss
                pairs = 2 * own.rate * own.tau * (1 - 0.5 * own.tau / own.duration)
                rules = [
                    SymmetricSTDP(w_max=w_max, eta=speed.scaling * own.total_weight / (w_max * pairs), tau=own.tau),
                    EquationPlasticity(on_post="w = w*(1 - scaling)", parameters={"scaling": speed.scaling}),
                ]
        inhibition = own.inhibition if speed is not None else own.test_inhibition
        neuron = EquationNeuron(
            equations=_EQUATIONS,
            threshold="theta > 0*mV and v > theta",  # before the threshold has come, no neuron fires
            reset="v = 0*mV; theta += step",
            method="exact",
            parameters={"tau_m": 1e-3 * own.tau_m, "step": 0.0 if speed is None else 1e-3 * speed.step},
            units={"tau_m": "second", "step": "volt"},
            initial={"v": 0.0, "theta": 0.0},
            receives=("v", "theta"),
            order="synapses_first",
        )
        return Circuit(
            populations=[
                PoissonSource("image", rates.shape[1], rates=rates),
                # one spike at the start brings the thresholds, which synapses keep from one presentation to the next
                SpikeSource("start", [own.dt], [0], size=1),
                Population("neurons", self.neurons, neuron),
            ],
            projections=[
                Projection("image", "neurons", weights=state.weights, plasticity=rules),
                Projection(
                    "start",
                    "neurons",
                    weights=state.thresholds[:, None],
                    synapse=Into("theta", "mV"),
                    plasticity=remember,
                ),
                Projection("neurons", "neurons", weights=-inhibition * (1 - np.eye(self.neurons))),
            ],
        )

    def _rates(self, x: Array, total: float) -> Array:
        """Return the rates of pixels, spikes/ms, of the same total for all images.

        Raises
        ------
        ValueError
            If a pixel is negative, or an image has none above 0.
        """
        if (x < 0).any():
            place = tuple(int(k) for k in np.argwhere(x < 0)[0])
            raise ValueError(f"Negative values in data: pixels must be ≥ 0, got {x[place]:g} at {place}")
        light = x.sum(axis=1, keepdims=True)
        if (light == 0).any():
            raise ValueError(f"an image must have a pixel above 0, got none at {int(np.argmin(light[:, 0]))}")
        return np.minimum(total * x / light, 1 / self._numbers.dt)

    def _settle(self) -> _Numbers:
        """Return the options as plain numbers."""
        flag(self.plastic, "plastic")
        scaling = _pair("scaling", self.scaling, "1")
        if max(scaling) >= 1:
            raise ValueError(f"`scaling` must be below 1, got {self.scaling!r}")
        steps = _pair("threshold_step", self.threshold_step, "mV")
        return _Numbers(
            duration=number_within("duration", self.duration, "ms"),
            dt=number_within("dt", self.dt, "ms"),
            rate=number_within("rate", self.rate, "1/ms"),
            test_rate=number_within("test_rate", self.test_rate, "1/ms"),
            total_weight=number_within("total_weight", self.total_weight, "mV"),
            tau_m=number_within("tau_m", self.tau_m, "ms"),
            tau=number_within("tau", self.tau, "ms"),
            inhibition=number_within("inhibition", self.inhibition, "mV"),
            test_inhibition=number_within("test_inhibition", self.test_inhibition, "mV"),
            threshold=number_within("threshold", self.threshold, "mV"),
            activity=number_within("activity", self.activity, "1"),
            speeds=(_Speed(scaling[0], steps[0]), _Speed(scaling[1], steps[1])),
        )


def label_neurons(counts: npt.ArrayLike, classes: npt.ArrayLike, number: int) -> npt.NDArray[np.int64]:
    """Return the class for which every neuron fires most, on average over its presentations; -1 where it never fires.

    Parameters
    ----------
    counts : array_like, shape (presentation, neuron)
        Spikes.
    classes : array_like of int, shape (presentation,)
        From 0 on.
    number : int
        Of classes.

    References
    ----------
    P. U. Diehl, M. Cook (2015), section 2.7.
    """
    spikes, which = np.asarray(counts, dtype=np.float64), np.asarray(classes)
    shown = np.bincount(which, minlength=number)
    total = np.array([spikes[which == k].sum(axis=0) for k in range(number)])
    mean = total / np.maximum(shown, 1)[:, None]
    return np.where(total.sum(axis=0) > 0, mean.argmax(axis=0), -1)


def _pair(name: str, value: Any, unit: Unit) -> tuple[float, float]:
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise ValueError(f"`{name}` must be two numbers, at the start and at the end of learning, got {value!r}")
    return number_within(name, value[0], unit), number_within(name, value[1], unit)
