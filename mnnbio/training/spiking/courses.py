"""What a trained network does in test trials, in time and by condition, as arrays: the data of reports."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from mnnbio.training.spiking.fitting import EVALUATION_BATCH
from mnnbio.training.spiking.networks import Activity, RateActivity
from mnnbio.training.spiking.recurrent_weights import ModeWeights
from mnnbio.training.spiking.stored_networks import Network
from mnnbio.training.spiking.tasks import Trials, bernoulli_pixels, decisions

Array = npt.NDArray[np.float64]

# Conditions of contextual integration: the context at the end, and the right decision there.
CONTEXTUAL_CONDITIONS = ("context 1, −", "context 1, +", "context 2, −", "context 2, +")


class Examples(NamedTuple):
    """Course of a few trials.

    Attributes
    ----------
    trials : ndarray of int, shape (k,)
        Their numbers among all.
    inputs : ndarray, shape (T, k, n_in)
    outputs : ndarray, shape (T, k, n_out)
    spikes : ndarray of bool, shape (T, k, N)
        None of rate networks.
    voltages : ndarray, shape (T, k, N)
        mV.
    modes : ndarray, shape (T, k, P)
        ``ξ_outᵀ r``; without modes P = 0.
    """

    trials: npt.NDArray[np.int64]
    inputs: Array
    outputs: Array
    spikes: npt.NDArray[np.bool_]
    voltages: Array
    modes: Array


class Course(NamedTuple):
    """Course of all test trials; T steps, C conditions.

    Attributes
    ----------
    conditions : tuple of str
    condition : ndarray of int, shape (n,)
        That of each trial.
    decisions, targets : ndarray of int, shape (n,)
        Of contextual integration the signs of the mean output in the last quarter, and the right ones; of images
        classes.
    score, score_se : ndarray, shape (T,)
        Of contextual integration the squared error, mean over trials; of images the share of right decisions if a
        presentation ended there. With standard errors.
    outputs, outputs_std : ndarray, shape (C, T, n_out)
        Mean and standard deviation over the trials of a condition.
    modes, modes_std : ndarray, shape (C, T, P)
        Of ``ξ_outᵀ r``; without modes P = 0.
    rates : ndarray, shape (N,)
        Firing rates of the neurons, Hz; NaN for rate networks.
    population_rate : ndarray, shape (C, T)
        Hz; NaN for rate networks.
    examples : Examples
        Of the first trial of each condition, up to the number asked for.
    """

    conditions: tuple[str, ...]
    condition: npt.NDArray[np.int64]
    decisions: npt.NDArray[np.int64]
    targets: npt.NDArray[np.int64]
    score: Array
    score_se: Array
    outputs: Array
    outputs_std: Array
    modes: Array
    modes_std: Array
    rates: Array
    population_rate: Array
    examples: Examples


def contextual_course(network: Network, trials: Trials, *, examples: int = 4) -> Course:
    """Return what a network does in trials of contextual integration.

    Parameters
    ----------
    network : SpikingNetwork or RateNetwork
        That reads the trace.
    trials : Trials
    examples : int
        At most so many trials are kept as they are.
    """
    condition = 2 * trials.context[-1] + (trials.decisions > 0).long()
    found = _Sums(network, CONTEXTUAL_CONDITIONS, condition, examples)
    for rows in torch.arange(trials.inputs.shape[1]).split(EVALUATION_BATCH):
        inputs, targets = trials.inputs[:, rows], trials.targets[:, rows]
        with torch.no_grad():
            course = network.run(inputs)
        found.add(rows, inputs, course, course.outputs, (course.outputs - targets).square().mean(-1))
        found.decided.append(decisions(course.outputs))
    return found.course(trials.decisions)


def image_course(network: Network, images: Any, labels: Any, steps: int, *, seed: int = 0, examples: int = 4) -> Course:
    """Return what a network does that is shown images as spikes.

    Parameters
    ----------
    network : SpikingNetwork or RateNetwork
        That reads the maximum in time.
    images : Tensor or ndarray, shape (n, pixels)
    labels : Tensor or ndarray of int64, shape (n,)
    steps : int
        Length of a presentation.
    seed : int
        Of the spikes; those that `image_scores` shows.
    examples : int
        At most so many trials are kept as they are.
    """
    images, labels = torch.as_tensor(images), torch.as_tensor(labels)
    classes = tuple(str(k) for k in range(network.weight_out.shape[0]))
    found = _Sums(network, classes, labels, examples)
    generator = torch.Generator().manual_seed(seed)
    for rows in torch.arange(len(images)).split(EVALUATION_BATCH):
        inputs = bernoulli_pixels(images[rows], steps, seed=generator)
        with torch.no_grad():
            course = network.run(inputs)
            outputs = course.filtered.cummax(0).values @ network.weight_out.T
        found.add(rows, inputs, course, outputs, (outputs.argmax(-1) == labels[rows]).to(outputs.dtype))
        found.decided.append(outputs[-1].argmax(-1))
    return found.course(labels)


class _Sums:
    """Sums over trials, collected batch by batch."""

    def __init__(self, network: Network, conditions: tuple[str, ...], condition: Tensor, examples: int) -> None:
        self.conditions, self.condition, self.dt = conditions, condition, network.dt
        self.number = torch.bincount(condition, minlength=len(conditions)).double()
        weights = network.recurrent
        self.readers = weights.modes_out if isinstance(weights, ModeWeights) else network.weight_in.new_zeros(0, 0)
        firsts = [(condition == k).nonzero()[:1, 0] for k in range(len(conditions))]
        self.shown = torch.cat(firsts).tolist()[:examples]
        self.kept: dict[int, tuple[Tensor, ...]] = {}
        self.sums: dict[str, Tensor] = {}
        self.decided: list[Tensor] = []

    @torch.no_grad()
    def add(
        self, rows: Tensor, inputs: Tensor, course: Activity | RateActivity, outputs: Tensor, score: Tensor
    ) -> None:
        filtered, voltages = course.filtered, course.voltages
        spikes = course.spikes if isinstance(course, Activity) else torch.full_like(voltages, torch.nan)
        modes = filtered @ self.readers if self.readers.numel() else filtered[..., :0]
        member = torch.nn.functional.one_hot(self.condition[rows], len(self.conditions)).double()
        for name, value in {"outputs": outputs, "modes": modes, "rate": spikes.mean(-1, keepdim=True)}.items():
            self._sum(name, torch.einsum("tbk,bc->ctk", value.double(), member))
            self._sum(f"{name}²", torch.einsum("tbk,bc->ctk", value.double().square(), member))
        self._sum("spikes", spikes.double().sum((0, 1)))
        self._sum("score", score.double().sum(1))
        self._sum("score²", score.double().square().sum(1))
        for place, row in enumerate(rows.tolist()):
            if row in self.shown:
                self.kept[row] = tuple(part[:, place] for part in (inputs, outputs, spikes, voltages, modes))

    def _sum(self, name: str, value: Tensor) -> None:
        self.sums[name] = self.sums[name] + value if name in self.sums else value

    def _moments(self, name: str) -> tuple[Array, Array]:
        number = self.number[:, None, None]  # without trials: NaN
        mean = self.sums[name] / number
        return mean.numpy(), (self.sums[f"{name}²"] / number - mean.square()).clamp(min=0).sqrt().numpy()

    def course(self, targets: Tensor) -> Course:
        total = float(self.number.sum())
        score = self.sums["score"] / total
        variance = (self.sums["score²"] / total - score.square()).clamp(min=0)
        outputs, outputs_std = self._moments("outputs")
        modes, modes_std = self._moments("modes")
        steps = outputs.shape[1]
        parts = [torch.stack(part, 1).numpy() for part in zip(*(self.kept[row] for row in self.shown), strict=True)]
        inputs, shown_outputs, spikes, voltages, shown_modes = (np.asarray(part, dtype=np.float64) for part in parts)
        per_second = 1e3 / self.dt
        return Course(
            conditions=self.conditions,
            condition=self.condition.numpy(),
            decisions=torch.cat(self.decided).long().numpy(),
            targets=targets.long().numpy(),
            score=score.numpy(),
            score_se=(variance / max(total - 1, 1)).sqrt().numpy(),
            outputs=outputs,
            outputs_std=outputs_std,
            modes=modes,
            modes_std=modes_std,
            rates=(self.sums["spikes"] / (total * steps) * per_second).numpy(),
            population_rate=per_second * self._moments("rate")[0][..., 0],
            examples=Examples(
                np.array(self.shown, dtype=np.int64), inputs, shown_outputs, spikes > 0, voltages, shown_modes
            ),
        )


def pixel_baseline(
    x_train: npt.NDArray[np.floating],
    y_train: npt.NDArray[Any],
    x_test: npt.NDArray[np.floating],
    y_test: npt.NDArray[Any],
    *,
    most: int = 10_000,
) -> float:
    """Return the accuracy of a logistic regression on pixels, the baseline of networks that read images as spikes.

    Parameters
    ----------
    x_train, x_test : ndarray, shape (n, pixels)
    y_train, y_test : ndarray of int, shape (n,)
    most : int
        It is fitted to the first training images, at most so many.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the accuracy settles long before the weights
        model = LogisticRegression(max_iter=100).fit(x_train[:most], y_train[:most])
    return float(model.score(x_test, y_test))
