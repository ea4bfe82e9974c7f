"""Networks that learn tables as scikit-learn estimators, moment networks among them."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from os import PathLike
from typing import Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import Tags, check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from mnnbio.machine import check_choice
from mnnbio.neurons import LIFParameters
from mnnbio.nn import DTYPES, Closure, Encoder, MomentCNN, MomentMLP, MomentNetwork, Reads
from mnnbio.training.encoding import Encoding, Scaling, make_encoder
from mnnbio.training.loop import EVALUATION_BATCH, History, Loss, Schedule, TrainingOptions, train
from mnnbio.units import checked_counts, flag, real_number

INPUT_DTYPES = (np.float64, np.float32)


class TableEstimator(BaseEstimator):
    """Base of estimators that train a network on a table: checks, options, training, and the answers of the network.

    A subclass has parameters of the names below, and builds its network in `_start`.

    Parameters
    ----------
    loss : str
        As in `TrainingOptions`; "auto" is "cross_entropy" or "mean_squared_error".
    epochs, batch_size, learning_rate, schedule, weight_decay, label_smoothing : optional
        As in `TrainingOptions`.
    validation_fraction, patience : optional
        As in `TrainingOptions`.
    dtype : {"float32", "float64"}
        Precision of the training; the fitted network is float64 in any case.
    device : str
        Where to train, as torch names it; the fitted network is on the CPU.
    progress : bool
        Whether to show a progress bar.
    checkpoint_dir : path, optional
        Save the state there after every epoch, and continue from there if it holds a state of the same run; for
        that, `random_state` must be a number.
    random_state : int, RandomState or None
        Of initial weights, validation split and order.

    Attributes
    ----------
    model_ : Module
        The trained network, float64, in evaluation mode. It takes features as `fit` did.
    history_ : dict of str to list of float
        See `mnnbio.training.Training`.
    best_epoch_, n_iter_ : int
        The epoch whose weights were kept, and the number of epochs trained.
    n_features_in_ : int
    """

    losses: ClassVar[Mapping[str, Loss]]
    model_: Any
    history_: History
    best_epoch_: int
    n_iter_: int
    n_features_in_: int

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.non_deterministic = self._options_from().random_state is None
        return tags

    def _options_from(self) -> Any:
        """Return the estimator whose parameters say how to train: this one."""
        return self

    def _losses(self) -> Mapping[str, Loss]:
        """Return the losses there are, by the name that the parameter has."""
        return self.losses

    @abstractmethod
    def _start(self, x: npt.NDArray[np.floating], outputs: int, seed: int, dtype: torch.dtype, device: Any) -> Any:
        """Return the network before training, for features (n, features) and so many outputs."""

    def _fit(self, x: npt.NDArray[np.floating], targets: npt.NDArray[Any], outputs: int) -> Any:
        """Train a network on checked features, and targets as class indices (n,) or values (n, outputs)."""
        own, losses = self._options_from(), self._losses()
        check_choice("dtype", own.dtype, sorted(DTYPES))
        check_choice("loss", own.loss, sorted(losses))
        flag(own.progress, "progress")
        seed = int(check_random_state(own.random_state).randint(2**31))
        options = TrainingOptions(
            loss=losses[own.loss],
            epochs=own.epochs,
            batch_size=own.batch_size,
            learning_rate=own.learning_rate,
            schedule=own.schedule,
            weight_decay=own.weight_decay,
            label_smoothing=own.label_smoothing,
            window=getattr(own, "window", TrainingOptions.window),
            validation_fraction=own.validation_fraction,
            patience=own.patience,
            seed=seed,
        )
        dtype, device = DTYPES[own.dtype], _device(own.device)
        model = self._start(x, outputs, seed, dtype, device)
        y = torch.tensor(targets, device=device)
        training = train(
            model,
            torch.tensor(x, dtype=dtype, device=device),
            y.to(dtype) if y.is_floating_point() else y,
            options,
            checkpoint_dir=own.checkpoint_dir if own is self else None,
            progress=own.progress,
        )
        self.history_, self.best_epoch_ = training.history, training.best_epoch
        self.n_iter_ = len(training.history["train_loss"])
        return model.to(device="cpu", dtype=torch.float64)

    @torch.no_grad()
    def _outputs(self, X: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return the mean output of the network, shape (n, outputs).

        Features that are lower than its encoder can carry, as those of new data may be, are raised, with a warning.
        """
        check_is_fitted(self)
        x = torch.tensor(validate_data(self, X, reset=False, dtype=INPUT_DTYPES, order="C"), dtype=torch.float64)
        parts = self.model_.encoder.clipped(x, stacklevel=5).split(EVALUATION_BATCH)
        return torch.cat([self.model_(part).mean for part in parts]).numpy()


class MomentEstimator(TableEstimator):
    """Base of `MomentClassifier` and `MomentRegressor`: their parameters and the training.

    Parameters
    ----------
    hidden : int or tuple of int
        Neurons in each hidden layer, one number for one layer; of a convolutional network, in each dense layer after
        the convolutions.
    channels : int or tuple of int
        Kernels (of 3×3 pixels) in each convolution, followed by pooling over 2×2 neurons; none for a dense network.
    image_shape : tuple of int, optional
        Height and width of the images that the features are, or channels, height and width; by default one square
        image. For convolutions only.
    lif : LIFParameters, optional
        The neurons; the default ones if not given.
    encoding : {"auto", "poisson", "on_off", "gaussian"}
        How features become inputs: "poisson", one Poisson spike train per feature (features ≥ 0); "on_off", two, for
        values above and below the mean; "gaussian", a current. "auto" takes "poisson" if no training value is
        negative, else "on_off". Where new data are lower than "poisson" can carry they are raised to 0, with a
        `mnnbio.nn.FeatureRangeWarning`.
    scaling : {"feature", "global", "none"}
        Whether features are scaled one by one, all by one factor (pixels), or not. The scaling is learned from the
        training data and kept in the network's encoder.
    max_rate : float
        Poisson rate at full intensity, spikes/ms.
    noise : bool
        Whether neurons learn independent input noise.
    closure : {"moments", "poisson"}
        Variance with which trains drive the next hidden layer, as in `MomentMLP`.
    reads : {"mean", "covariance", "mean_and_covariance", "second_moments"}
        What the outputs weigh, as in `MomentMLP`; others than "mean" for dense networks and losses on the mean only.
    loss : str
        As in `TrainingOptions`; "auto" is "cross_entropy" or "mean_squared_error".
    epochs, batch_size, learning_rate, schedule, weight_decay, label_smoothing, window : optional
        As in `TrainingOptions`.
    validation_fraction, patience : optional
        As in `TrainingOptions`.
    dtype : {"float32", "float64"}
        Precision of the training; the fitted network is float64 in any case.
    device : str
        Where to train, as torch names it; the fitted network is on the CPU.
    progress : bool
        Whether to show a progress bar.
    checkpoint_dir : path, optional
        Save the state there after every epoch, and continue from there if it holds a state of the same run; for
        that, `random_state` must be a number.
    random_state : int, RandomState or None
        Of initial weights, validation split and order.

    Attributes
    ----------
    model_ : MomentMLP or MomentCNN
        The trained network, float64, in evaluation mode. It takes features as `fit` did.
    history_ : dict of str to list of float
        See `mnnbio.training.Training`.
    best_epoch_, n_iter_ : int
        The epoch whose weights were kept, and the number of epochs trained.
    n_features_in_ : int
    """

    model_: MomentNetwork

    def __init__(
        self,
        hidden: int | tuple[int, ...] = (100,),
        *,
        channels: int | tuple[int, ...] = (),
        image_shape: tuple[int, ...] | None = None,
        lif: LIFParameters | None = None,
        encoding: Encoding = "auto",
        scaling: Scaling = "feature",
        max_rate: float = 1.0,
        noise: bool = True,
        closure: Closure = "moments",
        reads: Reads = "mean",
        loss: Loss | Literal["auto"] = "auto",
        epochs: int = 60,
        batch_size: int = 64,
        learning_rate: float = 0.01,
        schedule: Schedule = "one_cycle",
        weight_decay: float = 0.01,
        label_smoothing: float = 0.1,
        window: float = 100.0,
        validation_fraction: float = 0.1,
        patience: int | None = 20,
        dtype: Literal["float32", "float64"] = "float32",
        device: str = "cpu",
        progress: bool = False,
        checkpoint_dir: str | PathLike[str] | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.hidden = hidden
        self.channels = channels
        self.image_shape = image_shape
        self.lif = lif
        self.encoding = encoding
        self.scaling = scaling
        self.max_rate = max_rate
        self.noise = noise
        self.closure = closure
        self.reads = reads
        self.loss = loss
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.schedule = schedule
        self.weight_decay = weight_decay
        self.label_smoothing = label_smoothing
        self.window = window
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.dtype = dtype
        self.device = device
        self.progress = progress
        self.checkpoint_dir = checkpoint_dir
        self.random_state = random_state

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.positive_only = self.encoding == "poisson"
        return tags

    def _start(
        self, x: npt.NDArray[np.floating], outputs: int, seed: int, dtype: torch.dtype, device: Any
    ) -> MomentNetwork:
        """Return the network before training."""
        flag(self.noise, "noise")
        real_number(self.max_rate, "max_rate")
        encoder = make_encoder(x, self.encoding, self.scaling, self.max_rate)
        return self._network(encoder, outputs, x.shape[1], seed=seed, dtype=dtype, device=device)

    def _network(self, encoder: Encoder, outputs: int, features: int, **factory: Any) -> MomentNetwork:
        """Return the network at its start.

        Raises
        ------
        ValueError
            If the image does not have as many values as there are features.
        """
        hidden = checked_counts(self.hidden, "hidden")
        channels = checked_counts(self.channels, "channels")
        options = {"lif": self.lif, "encoder": encoder, "noise": self.noise, "closure": self.closure, **factory}
        if not channels:
            if self.image_shape is not None:
                raise ValueError(f"`image_shape` is for networks with `channels` only, got {self.image_shape}")
            return MomentMLP((encoder.out_features, *hidden, outputs), reads=self.reads, **options)
        if self.reads != "mean":
            raise ValueError(f"convolutional networks read means: reads='mean', got {self.reads!r}")
        shape: tuple[int, ...] = (math.isqrt(features),) * 2
        if self.image_shape is not None:
            shape = checked_counts(self.image_shape, "image_shape")
        if len(shape) not in (2, 3) or math.prod(shape) != features:
            raise ValueError(
                f"`image_shape` must be (height, width) or (channels, height, width) of images of {features} values, "
                f"the number of features (None: one square image), got {self.image_shape}"
            )
        planes, height, width = shape if len(shape) == 3 else (1, *shape)
        image = (planes * encoder.out_features // features, height, width)
        return MomentCNN(image, channels, outputs, hidden=hidden, **options)


def _device(name: str) -> torch.device:
    """Return a device that is there.

    Raises
    ------
    ValueError
        If torch knows no such device, or this machine has none.
    """
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, TypeError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"`device` must be one that torch can use here, such as 'cpu', got {name!r}: {reason}"
        ) from error
    return device


class TableClassifier(ClassifierMixin, TableEstimator):
    """Classifier among estimators of tables.

    Attributes
    ----------
    classes_ : ndarray, shape (classes,)
        Labels, in the order of the network's outputs.
    """

    classes_: npt.NDArray[Any]

    def fit(self, X: npt.ArrayLike, y: npt.ArrayLike) -> Self:
        """Train on features (n, features) and labels (n,).

        Raises
        ------
        ValueError
            If features are not finite numbers, do not suit the encoding, or there is only one class.
        """
        x, labels = validate_data(self, X, y, dtype=INPUT_DTYPES, ensure_min_samples=2)
        check_classification_targets(labels)
        self.classes_, targets = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                f"targets must have at least two classes, got one class only: {self.classes_.tolist()[0]!r}"
            )
        self.model_ = self._fit(x, targets.astype(np.int64), len(self.classes_))
        return self

    def decision_function(self, X: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return the mean outputs, (n, classes); for two classes their difference, (n,)."""
        outputs = self._outputs(X)
        return outputs[:, 1] - outputs[:, 0] if len(self.classes_) == 2 else outputs

    def predict_proba(self, X: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return the softmax of the mean outputs, (n, classes)."""
        return torch.as_tensor(self._outputs(X)).softmax(-1).numpy()

    def predict(self, X: npt.ArrayLike) -> npt.NDArray[Any]:
        """Return the label with the largest mean output, (n,)."""
        outputs = self._outputs(X)  # first: it reports an estimator that is not fitted
        return self.classes_[outputs.argmax(-1)]


class MomentClassifier(TableClassifier, MomentEstimator):
    """Classifier that trains a moment network, ready to be run as a spiking network.

    Parameters, and the attributes not listed here, are those of `MomentEstimator`.

    Attributes
    ----------
    classes_ : ndarray, shape (classes,)
        Labels, in the order of the network's outputs.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> x, y = load_iris(return_X_y=True)
    >>> classifier = MomentClassifier((20,), batch_size=16, random_state=0).fit(x, y)
    >>> bool(classifier.score(x, y) > 0.9)
    True
    """

    losses: ClassVar[Mapping[str, Loss]] = {
        "auto": "cross_entropy",
        "cross_entropy": "cross_entropy",
        "sampled_cross_entropy": "sampled_cross_entropy",
        "fidelity_entropy": "fidelity_entropy",
        "decision_entropy": "decision_entropy",
        "earth_movers": "earth_movers",
        "sampled_angle": "sampled_angle",
        "mean_squared_error": "mean_squared_error",
        "gaussian_likelihood": "gaussian_likelihood",
    }


class TableRegressor(RegressorMixin, TableEstimator):
    """Regressor among estimators of tables.

    Targets are standardised for the training; the fitted network's outputs are in the units of the targets.
    """

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.single_output = True
        tags.target_tags.multi_output = True
        return tags

    def fit(self, X: npt.ArrayLike, y: npt.ArrayLike) -> Self:
        """Train on features (n, features) and values (n,) or (n, outputs).

        Raises
        ------
        ValueError
            If features or targets are not finite numbers, or features do not suit the encoding.
        """
        x, y = validate_data(self, X, y, dtype=INPUT_DTYPES, ensure_min_samples=2, y_numeric=True, multi_output=True)
        targets = np.asarray(y, dtype=np.float64)
        self._one_output = targets.ndim == 1
        targets = targets.reshape(len(targets), -1)
        centre, spread = targets.mean(axis=0), targets.std(axis=0)
        spread = np.where(targets.max(axis=0) > targets.min(axis=0), spread, 1.0)
        model = self._fit(x, (targets - centre) / spread, targets.shape[1])
        model.readout.rescale_outputs(torch.as_tensor(spread), torch.as_tensor(centre))
        self.model_ = model
        return self

    def predict(self, X: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return the mean outputs, in the shape the targets had: (n,) or (n, outputs)."""
        outputs = self._outputs(X)
        return outputs[:, 0] if self._one_output else outputs


class MomentRegressor(TableRegressor, MomentEstimator):
    """Regressor that trains a moment network, ready to be run as a spiking network.

    Targets are standardised for the training; the fitted network's outputs are in the units of the targets.
    Parameters and attributes are those of `MomentEstimator`.

    Examples
    --------
    >>> x = np.linspace(0, 1, 200)[:, None]
    >>> regressor = MomentRegressor((20,), epochs=30, random_state=0).fit(x, 3 * x[:, 0] + 1)
    >>> bool(regressor.score(x, 3 * x[:, 0] + 1) > 0.9)
    True
    """

    losses: ClassVar[Mapping[str, Loss]] = {
        "auto": "mean_squared_error",
        "mean_squared_error": "mean_squared_error",
        "gaussian_likelihood": "gaussian_likelihood",
        "earth_movers": "earth_movers",
        "sampled_angle": "sampled_angle",
    }
