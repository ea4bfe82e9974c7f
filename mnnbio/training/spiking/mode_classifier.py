"""Spiking networks of few modes as a scikit-learn classifier: features as spikes, read by their maximum in time."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from os import PathLike
from typing import Any, Literal, Self, get_args

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import Tags, check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from mnnbio.machine import check_choice, require_integer
from mnnbio.nn import DTYPES, FeatureRangeWarning
from mnnbio.training.loop import Schedule
from mnnbio.training.spiking.fitting import (
    CLASSES,
    EVALUATION_BATCH,
    FittingOptions,
    History,
    ImageBatches,
    Loss,
    fit,
)
from mnnbio.training.spiking.networks import SpikingNetwork
from mnnbio.training.spiking.steps import SpikeFilter, SpikingNeuron
from mnnbio.units import flag

Scaling = Literal["feature", "global", "none"]

INPUT_DTYPES = (np.float64, np.float32)


class SpikingModeClassifier(ClassifierMixin, BaseEstimator):
    """Classifier that trains a recurrent spiking network, whose weights have few modes, by surrogate gradients.

    A feature spikes in every step with a probability that is its value, scaled to [0, 1]. The outputs are linear in the
    largest filtered activity that each neuron reaches.

    Parameters
    ----------
    neurons : int
    modes : int or None
        Modes of the recurrent weights; None for a full matrix.
    neuron : SpikingNeuron, optional
        The published ones if not given.
    filter : SpikeFilter, optional
        That of the published networks for digits if not given: double, in rates.
    steps : int
        Length of a presentation.
    dt : float or Quantity
        Time step, ms.
    scaling : {"feature", "global", "none"}
        Whether features are brought from their range in the training data to [0, 1] one by one, or all by one shift and
        factor (pixels), or are so already. New values beyond count as the nearest, with a
        `mnnbio.nn.FeatureRangeWarning`.
    learn : iterable of str
        Constants that are learned, as in `SpikingNetwork`.
    loss : {"cross_entropy", "softmax_twice"}
        As in `FittingOptions`.
    epochs : int
        Times that every sample is shown.
    batch_size, learning_rate, schedule, max_norm, label_smoothing : optional
        As in `FittingOptions`.
    presentations : int
        How often a sample is shown, with other spikes, for a decision by the mean of the outputs.
    dtype : {"float32", "float64"}
        Precision of the training; the fitted network is float64 in any case.
    progress : bool
        Whether to show a progress bar.
    checkpoint_dir : path, optional
        Where the state of the training is saved now and then, and continued from; for that, `random_state` must be a
        number.
    random_state : int, RandomState or None
        Of initial weights, order and spikes.

    Attributes
    ----------
    model_ : SpikingNetwork
        The trained network, float64. It takes spikes, see `encode`.
    history_ : dict of str to list of float
        See `Fitting`.
    n_iter_ : int
        Steps of the optimiser.
    classes_ : ndarray, shape (classes,)
        Labels, in the order of the network's outputs.
    n_features_in_ : int

    References
    ----------
    Z. Lin, H. Huang (2024), Spiking mode-based neural networks, Phys. Rev. E 110, 024306 (arXiv 2310.14621).

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> x, y = load_digits(return_X_y=True)
    >>> classifier = SpikingModeClassifier(100, 3, scaling="global", epochs=10, random_state=0).fit(x[:1000], y[:1000])
    >>> bool(classifier.score(x[1000:], y[1000:]) > 0.85)
    True
    """

    model_: SpikingNetwork
    history_: History
    n_iter_: int
    classes_: npt.NDArray[Any]
    n_features_in_: int

    def __init__(
        self,
        neurons: int = 100,
        modes: int | None = 3,
        *,
        neuron: SpikingNeuron | None = None,
        filter: SpikeFilter | None = None,
        steps: int = 50,
        dt: Any = 2.0,
        scaling: Scaling = "feature",
        learn: Iterable[str] = (),
        loss: Loss = "cross_entropy",
        epochs: int = 30,
        batch_size: int = 64,
        learning_rate: float = 0.01,
        schedule: Schedule = "one_cycle",
        max_norm: float | None = 20.0,
        label_smoothing: float = 0.0,
        presentations: int = 1,
        dtype: Literal["float32", "float64"] = "float32",
        progress: bool = False,
        checkpoint_dir: str | PathLike[str] | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.neurons = neurons
        self.modes = modes
        self.neuron = neuron
        self.filter = filter
        self.steps = steps
        self.dt = dt
        self.scaling = scaling
        self.learn = learn
        self.loss = loss
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.schedule = schedule
        self.max_norm = max_norm
        self.label_smoothing = label_smoothing
        self.presentations = presentations
        self.dtype = dtype
        self.progress = progress
        self.checkpoint_dir = checkpoint_dir
        self.random_state = random_state

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.non_deterministic = self.random_state is None
        return tags

    def fit(self, X: npt.ArrayLike, y: npt.ArrayLike) -> Self:
        """Train on features (n, features) and labels (n,).

        Raises
        ------
        ValueError
            If features are not finite numbers, are not in [0, 1] where they are not scaled, there is only one class, or
            a parameter is out of range.
        """
        check_choice("dtype", self.dtype, sorted(DTYPES))
        check_choice("loss", self.loss, sorted(CLASSES))
        check_choice("scaling", self.scaling, sorted(get_args(Scaling)))
        for name in ("neurons", "steps", "epochs", "batch_size", "presentations"):
            require_integer(name, getattr(self, name), 1)
        flag(self.progress, "progress")
        x, labels = validate_data(self, X, y, dtype=INPUT_DTYPES, ensure_min_samples=2)
        check_classification_targets(labels)
        self.classes_, targets = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                f"targets must have at least two classes, got one class only: {self.classes_.tolist()[0]!r}"
            )
        seed = int(check_random_state(self.random_state).randint(2**31))
        self._shift, self._scale = self._range(x)
        dtype = DTYPES[self.dtype]
        batches = ImageBatches(
            images=self._scaled(x, stacklevel=3).to(dtype),
            labels=torch.tensor(targets.astype(np.int64)),
            steps=self.steps,
        )
        size = min(self.batch_size, len(x))
        options = FittingOptions(
            loss=self.loss,
            steps=self.epochs * math.ceil(len(x) / size),
            batch_size=size,
            learning_rate=self.learning_rate,
            schedule=self.schedule,
            max_norm=self.max_norm,
            label_smoothing=self.label_smoothing,
            seed=seed,
        )
        model = SpikingNetwork.random(
            x.shape[1],
            self.neurons,
            len(self.classes_),
            modes=self.modes,
            seed=seed,
            neuron=self.neuron,
            filter=self.filter if self.filter is not None else SpikeFilter(scale="rates"),
            dt=self.dt,
            readout="maximum",
            learn=self.learn,
        ).to(dtype)
        fitting = fit(model, batches, options, checkpoint_dir=self.checkpoint_dir, progress=self.progress)
        self.history_, self.n_iter_ = fitting.history, options.steps
        self.model_ = model.to(torch.float64)
        self._seed = seed
        return self

    def encode(self, X: npt.ArrayLike, presentation: int = 0) -> Tensor:
        """Return the spikes that stand for features (n, features), float64, shape (steps, n, features).

        Spikes of a sample do not depend on the others: in a step, all samples are compared with the same random
        numbers, one for each feature.
        """
        check_is_fitted(self)
        x = self._scaled(validate_data(self, X, reset=False, dtype=INPUT_DTYPES), stacklevel=3)
        return self._spikes(x, presentation)

    def decision_function(self, X: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return the outputs, (n, classes); for two classes their difference, (n,)."""
        outputs = self._outputs(X)
        return outputs[:, 1] - outputs[:, 0] if len(self.classes_) == 2 else outputs

    def predict_proba(self, X: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return the softmax of the outputs, (n, classes)."""
        return torch.as_tensor(self._outputs(X)).softmax(-1).numpy()

    def predict(self, X: npt.ArrayLike) -> npt.NDArray[Any]:
        """Return the label with the largest output, (n,)."""
        outputs = self._outputs(X)  # first: it reports an estimator that is not fitted
        return self.classes_[outputs.argmax(-1)]

    @torch.no_grad()
    def _outputs(self, X: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return the outputs, mean over presentations, shape (n, classes)."""
        check_is_fitted(self)
        x = self._scaled(validate_data(self, X, reset=False, dtype=INPUT_DTYPES), stacklevel=4)
        total = torch.zeros((len(x), len(self.classes_)), dtype=torch.float64)
        for presentation in range(self.presentations):
            parts = x.split(EVALUATION_BATCH)
            total += torch.cat([self.model_(self._spikes(part, presentation)) for part in parts])
        return (total / self.presentations).numpy()

    def _spikes(self, x: Tensor, presentation: int) -> Tensor:
        generator = torch.Generator().manual_seed(self._seed + 1 + presentation)
        thresholds = torch.rand((self.steps, 1, x.shape[1]), generator=generator, dtype=torch.float64)
        return (thresholds < x).to(torch.float64)

    def _range(self, x: npt.NDArray[np.floating]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return shift and scale of each feature, or of all; those that never vary keep the scale 1."""
        if self.scaling == "none":
            return np.zeros(1), np.ones(1)
        axis = 0 if self.scaling == "feature" else None
        low, high = (np.atleast_1d(edge.astype(np.float64)) for edge in (x.min(axis=axis), x.max(axis=axis)))
        return low, np.where(high > low, high - low, 1.0)

    def _scaled(self, x: npt.NDArray[np.floating], stacklevel: int) -> Tensor:
        """Return features in [0, 1], float64; values beyond are brought there with a warning.

        Raises
        ------
        ValueError
            If features that are not scaled are not in [0, 1].
        """
        z = torch.as_tensor((x.astype(np.float64) - self._shift) / self._scale)
        # Half a unit of the last place is lost by scaling, which is no reason to warn.
        beyond = (z < -1e-9) | (z > 1 + 1e-9)
        if bool(beyond.any()):
            place = tuple(int(k) for k in beyond.nonzero()[0])
            text = f"{int(beyond.sum())} of {z.numel()} values, such as {x[place]:g} at index {place}, are "
            if self.scaling == "none":
                raise ValueError(f"{text}not in [0, 1], as probabilities of spikes are: take scaling='feature'")
            warnings.warn(
                f"{text}outside the range of the training data and count as its nearest value",
                FeatureRangeWarning,
                stacklevel=stacklevel,
            )
        return z.clamp(0.0, 1.0)
