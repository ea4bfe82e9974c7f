"""Baselines beside networks of tables: their non-spiking twins, and gradient boosting."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.utils import Tags
from torch import nn

from mnnbio.machine import check_choice
from mnnbio.nn import Encoder, MomentLinear, MomentNetwork, Moments, ann_twin
from mnnbio.training.data import Kind, Task
from mnnbio.training.estimators import TableClassifier, TableEstimator, TableRegressor
from mnnbio.training.loop import EVALUATION_BATCH, Loss
from mnnbio.units import shown

# Losses that need no covariance, which a twin has not.
TWIN_LOSSES = {"auto", "cross_entropy", "mean_squared_error"}


class PlainNetwork(nn.Module):
    """Network without spikes and without time in the place of a network of spiking units.

    Channels of its encoder, for every hidden layer weights → batch normalisation → ReLU, then a linear readout.

    Parameters
    ----------
    encoder : PoissonEncoder or GaussianEncoder
    layers : Module
        From the channels to what is read.
    readout : MomentLinear
    """

    def __init__(self, encoder: Encoder, layers: nn.Module, readout: MomentLinear) -> None:
        super().__init__()
        self.encoder, self.layers, self.readout = encoder, layers, readout

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the parameters."""
        return self.readout.weight.dtype

    def forward(self, features: torch.Tensor) -> Moments:
        """Return the outputs, shape (n, outputs), for features of shape (n, features); they have no variance."""
        return self.readout(Moments.without_variance(self.layers(self.encoder(features).mean)))

    def parameter_groups(self, learning_rate: float, weight_decay: float = 0.0) -> list[dict[str, Any]]:
        """Return optimiser groups: weight decay is for weights only, not for biases and normalisation."""
        weights = [parameter for parameter in self.parameters() if parameter.ndim > 1]
        others = [parameter for parameter in self.parameters() if parameter.ndim < 2]
        return [
            {"params": weights, "lr": learning_rate, "weight_decay": weight_decay},
            {"params": others, "lr": learning_rate, "weight_decay": 0.0},
        ]

    def config(self) -> dict[str, Any]:
        """Return what tells this network from others."""
        shapes = {name: list(parameter.shape) for name, parameter in self.named_parameters()}
        return {"network": "PlainNetwork", "encoder": self.encoder.config(), "parameters": shapes}


def plain_twin(model: Any, *, seed: int) -> PlainNetwork:
    """Return a network of the shape of another, at new initial weights, without spikes and without time.

    Parameters
    ----------
    model : MomentMLP, MomentCNN, SpikingTableNetwork or GradedTableNetwork
        Not changed.
    seed : int
        Of the initial weights.

    Returns
    -------
    PlainNetwork
        In the model's precision and on its device.

    Raises
    ------
    TypeError
        If it is another network.
    """
    if isinstance(model, MomentNetwork):
        encoded, *found, last = ann_twin(model, seed=seed)
        layers: list[nn.Module] = list(found)
        encoder: Any = encoded.encoder
        before, outputs = int(last.in_features), int(last.out_features)  # type: ignore[arg-type]
    else:
        from mnnbio.training.spiking.table_network import TableNetwork

        if not isinstance(model, TableNetwork):
            raise TypeError(f"`model` must be a network of moments or of spiking units for tables, got {shown(model)}")
        generator = torch.Generator().manual_seed(seed)
        encoder, (*hidden, outputs) = model.encoder, model.sizes
        layers = []
        for n_in, n_out in pairwise(hidden):
            linear = nn.utils.skip_init(nn.Linear, n_in, n_out, bias=False)
            with torch.no_grad():
                linear.weight.copy_((2 * torch.rand(n_out, n_in, generator=generator) - 1) / n_in**0.5)
            layers += [linear, nn.BatchNorm1d(n_out), nn.ReLU()]
        before = hidden[-1]
    readout = MomentLinear(before, outputs, True, generator=torch.Generator().manual_seed(seed))
    return PlainNetwork(encoder, nn.Sequential(*layers), readout).to(model.readout.weight)


class TwinEstimator(TableEstimator):
    """Base of `TwinClassifier` and `TwinRegressor`.

    Parameters
    ----------
    estimator : MomentClassifier, MomentRegressor, SpikingClassifier or SpikingRegressor
        Whose twin is trained: with its encoder, scaling, sizes of layers, options of training, seeds and split.
        It need not be fitted, and is not changed. Losses that need a covariance are replaced by "auto".
    """

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.positive_only = getattr(self.estimator, "encoding", None) == "poisson" and not hasattr(
            self.estimator, "unit"
        )
        return tags

    def _options_from(self) -> Any:
        if not isinstance(self.estimator, TableEstimator) or isinstance(self.estimator, TwinEstimator):
            raise TypeError(f"`estimator` must be a moment or spiking estimator of tables, got {shown(self.estimator)}")
        if self.estimator.loss in TWIN_LOSSES:
            return self.estimator
        return clone(self.estimator).set_params(loss="auto")

    def _losses(self) -> Mapping[str, Loss]:
        return self.estimator.losses

    def _start(
        self, x: npt.NDArray[np.floating], outputs: int, seed: int, dtype: torch.dtype, device: Any
    ) -> PlainNetwork:
        """Return the twin before training."""
        return plain_twin(self.estimator._start(x, outputs, seed, dtype, device), seed=seed)


class TwinClassifier(TableClassifier, TwinEstimator):
    """Classifier that trains the non-spiking twin of another.

    Parameters and attributes are those of `TwinEstimator`, `model_` being a `PlainNetwork`.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from mnnbio.training import MomentClassifier
    >>> x, y = load_iris(return_X_y=True)
    >>> twin = TwinClassifier(MomentClassifier((20,), batch_size=16, random_state=0)).fit(x, y)
    >>> bool(twin.score(x, y) > 0.9)
    True
    """

    losses: ClassVar[Mapping[str, Loss]] = {}


class TwinRegressor(TableRegressor, TwinEstimator):
    """Regressor that trains the non-spiking twin of another; see `TwinClassifier`."""

    losses: ClassVar[Mapping[str, Loss]] = {}


def twin_of(estimator: Any) -> TwinClassifier | TwinRegressor:
    """Return the twin of an estimator, to be fitted."""
    return TwinClassifier(estimator) if isinstance(estimator, TableClassifier) else TwinRegressor(estimator)


def gradient_boosting(kind: Kind, seed: int) -> HistGradientBoostingClassifier | HistGradientBoostingRegressor:
    """Return gradient-boosted trees with scikit-learn's settings, the baseline that tables are mostly won by.

    Parameters
    ----------
    kind : {"classification", "regression"}
    seed : int
    """
    check_choice("kind", kind, ["classification", "regression"])
    boosted = HistGradientBoostingClassifier if kind == "classification" else HistGradientBoostingRegressor
    return boosted(random_state=seed)


@torch.no_grad()
def answers(network: Any, features: npt.ArrayLike, kind: Kind) -> npt.NDArray[np.float64]:
    """Return what a network answers: probabilities of classes (n, classes), or values (n,).

    Parameters
    ----------
    network : Module
        As estimators hold it in `model_`, in evaluation mode.
    features : array_like, shape (n, features)
    kind : {"classification", "regression"}
    """
    x = torch.as_tensor(np.asarray(features, dtype=np.float64)).to(network.dtype)
    parts = network.encoder.clipped(x, stacklevel=3).split(EVALUATION_BATCH)
    outputs = torch.cat([network(part).mean for part in parts]).double()
    return (outputs.softmax(-1) if kind == "classification" else outputs[:, 0]).numpy()


def baseline_answers(estimator: Any, task: Task, seed: int) -> dict[str, npt.NDArray[np.float64]]:
    """Return what the non-spiking twin of an estimator, and gradient boosting, answer to a task's test data.

    Parameters
    ----------
    estimator : MomentClassifier, MomentRegressor, SpikingClassifier or SpikingRegressor
    task : Task
    seed : int
        Of the boosting.
    """
    twin = twin_of(estimator).fit(task.x_train, task.y_train)
    boosted = gradient_boosting(task.kind, seed).fit(task.x_train, task.y_train)
    found = boosted.predict_proba if task.kind == "classification" else boosted.predict
    return {
        "non-spiking twin": answers(twin.model_, task.x_test, task.kind),
        "gradient boosting": found(task.x_test),
    }
