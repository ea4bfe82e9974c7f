"""Training loop: mini-batches, validation, early stopping, checkpoints that resume exactly, and its options."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from os import PathLike
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, get_args

import torch
from tqdm import tqdm

from mnnbio.machine import check_choice, require_integer
from mnnbio.nn import (
    CovarianceReadout,
    Encoder,
    Moments,
    cross_entropy,
    decision_entropy,
    earth_movers,
    fidelity_entropy,
    gaussian_likelihood,
    mean_squared_error,
    sampled_angle,
    sampled_cross_entropy,
)
from mnnbio.training.checkpoint import read_file, write_file
from mnnbio.units import real_number, shown

Schedule = Literal["one_cycle", "cosine", "constant"]
Loss = Literal[
    "cross_entropy",
    "sampled_cross_entropy",
    "fidelity_entropy",
    "decision_entropy",
    "earth_movers",
    "sampled_angle",
    "mean_squared_error",
    "gaussian_likelihood",
]
# Losses that look at the means of outputs alone.
MEAN_LOSSES = ("cross_entropy", "mean_squared_error")

# One cycle: the rate rises linearly over the first share of the steps, from this fraction of its peak.
WARMUP_SHARE = 0.15
WARMUP_START = 0.04


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """Options of a training run.

    Parameters
    ----------
    loss : str
        The name of a function of `mnnbio.nn`: for classes "cross_entropy", "sampled_cross_entropy",
        "fidelity_entropy" or "decision_entropy", for classes or values "earth_movers", "sampled_angle",
        "mean_squared_error" or "gaussian_likelihood".
    epochs : int
        At most so many passes over the training data.
    batch_size : int
        Samples per step, at least 2 (batch normalisation compares them).
    learning_rate : float
        Peak rate of AdamW.
    schedule : {"one_cycle", "cosine", "constant"}
        Course of the learning rate: up and down, down, or neither.
    weight_decay : float
        Decay of the weights (not of biases and normalisation), as AdamW defines it.
    label_smoothing : float
        Of losses that compare classes, in [0, 1). Without it, outputs grow and overfit: on digits, with the
        cross-entropy, 0.1 lifts the accuracy from 0.974 to 0.990, and that of decisions from simulated spike counts in
        100 ms from 0.967 to 0.985.
    window : float
        Decision time that losses on the covariance assume, ms.
    validation_fraction : float
        Share of the samples kept out of training to choose the best epoch, in [0, 1); 0 keeps the last epoch.
    patience : int, optional
        Stop when the validation loss has not improved for so many epochs; None never stops early.
    seed : int
        Of validation split, order and samples.

    Raises
    ------
    TypeError
        If a value is no number.
    ValueError
        If a value is out of range.
    """

    loss: Loss = "cross_entropy"
    epochs: int = 60
    batch_size: int = 64
    learning_rate: float = 0.01
    schedule: Schedule = "one_cycle"
    weight_decay: float = 0.01
    label_smoothing: float = 0.1
    window: float = 100.0
    validation_fraction: float = 0.1
    patience: int | None = 20
    seed: int = 0

    def __post_init__(self) -> None:
        for name, choices in (("loss", get_args(Loss)), ("schedule", get_args(Schedule))):
            check_choice(name, getattr(self, name), sorted(choices))
        for name, least in (("epochs", 1), ("batch_size", 2), ("patience", 1), ("seed", 0)):
            value = getattr(self, name)
            if name == "patience" and value is None:
                continue
            require_integer(name, value, least)
            object.__setattr__(self, name, int(value))  # as JSON takes it
        for name in ("learning_rate", "weight_decay", "label_smoothing", "window", "validation_fraction"):
            object.__setattr__(self, name, real_number(getattr(self, name), name))
        _require(0 < self.learning_rate < math.inf, "learning_rate", "> 0", self.learning_rate)
        _require(0 <= self.weight_decay < math.inf, "weight_decay", "≥ 0", self.weight_decay)
        _require(0 <= self.label_smoothing < 1, "label_smoothing", "in [0, 1)", self.label_smoothing)
        _require(0 < self.window < math.inf, "window", "> 0 ms", self.window)
        _require(0 <= self.validation_fraction < 1, "validation_fraction", "in [0, 1)", self.validation_fraction)


def _require(condition: bool, name: str, rule: str, value: float) -> None:
    if not condition:
        raise ValueError(f"`{name}` must be {rule}, got {value}")


def learning_rate_factor(schedule: Schedule, progress: float) -> float:
    """Return the learning rate as a fraction of its peak.

    Parameters
    ----------
    schedule : {"one_cycle", "cosine", "constant"}
    progress : float
        Share of the steps done, in [0, 1].

    Returns
    -------
    float

    References
    ----------
    I. Loshchilov, F. Hutter (2017), SGDR, Eq. 5 (cosine); L. N. Smith, N. Topin (2018), Super-convergence
    (one cycle, here with a cosine descent).
    """
    if schedule == "constant":
        return 1.0
    if schedule == "one_cycle":
        if progress < WARMUP_SHARE:
            return WARMUP_START + (1 - WARMUP_START) * progress / WARMUP_SHARE
        progress = (progress - WARMUP_SHARE) / (1 - WARMUP_SHARE)
    return 0.5 * (1 + math.cos(math.pi * progress))


TRAINING_FILE = "training.safetensors"
# Samples per step where no gradients are kept.
EVALUATION_BATCH = 1000
# Quasi-random points of the fidelity entropy: an error of some 0.01 for ten classes, far below that of a batch.
FIDELITY_POINTS = 32
# Steps of fewer products of sample and parameter are run on one thread: at 10 million (784-100-10, batches of 128), two
# threads gain nothing on an idle machine and are 14 times slower on a busy one.
ONE_THREAD_WORK = 40_000_000

History = dict[str, list[float]]


class Readout(Protocol):
    """The linear readout of a network, as far as losses ask for it."""

    in_features: int
    out_features: int

    @property
    def bias_std(self) -> torch.Tensor | None:
        """Noise of the outputs of their own, None without."""
        ...


class TableModel(Protocol):
    """A network that the loop trains: a moment network, or any module like it that returns moments of its outputs."""

    @property
    def encoder(self) -> Encoder:
        """What takes the features."""
        ...

    @property
    def readout(self) -> Readout:
        """What gives the outputs."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the parameters."""
        ...

    def __call__(self, features: torch.Tensor, /) -> Moments: ...  # noqa: D102

    def parameter_groups(self, learning_rate: float, weight_decay: float = ..., /) -> list[dict[str, Any]]:
        """Return optimiser groups."""
        ...

    def config(self) -> dict[str, Any]:
        """Return what tells this network from others, as JSON can hold it."""
        ...

    def parameters(self) -> Iterator[torch.nn.Parameter]: ...  # noqa: D102

    def state_dict(self) -> dict[str, torch.Tensor]: ...  # noqa: D102

    def load_state_dict(self, state_dict: Mapping[str, Any], /) -> Any: ...  # noqa: D102

    def train(self) -> Any: ...  # noqa: D102

    def eval(self) -> Any: ...  # noqa: D102


class LossFunction(Protocol):
    """A loss of the readout's moments and the targets."""

    def __call__(self, moments: Moments, target: torch.Tensor, /) -> torch.Tensor: ...  # noqa: D102


class Training(NamedTuple):
    """Result of a training run besides the weights.

    Attributes
    ----------
    history : dict of str to list of float
        One value per epoch: `learning_rate`, `train_loss`, `train_score`, and with validation data
        `validation_loss`, `validation_score`. Scores are the accuracy of a classification, R² of a regression;
        those of the training data are collected during the epoch.
    best_epoch : int
        The epoch whose weights the model has, counted from 1.
    stopped_early : bool
    """

    history: History
    best_epoch: int
    stopped_early: bool


@dataclass
class _Progress:
    """Progress of a run: what a checkpoint holds besides model, optimiser and generators."""

    epoch: int = 0
    best_epoch: int = 0
    best_loss: float | None = None
    history: History = field(default_factory=dict)

    def stopped(self, patience: int | None) -> bool:
        return self.best_loss is not None and patience is not None and self.epoch - self.best_epoch >= patience


def train(
    model: TableModel,
    features: torch.Tensor,
    targets: torch.Tensor,
    options: TrainingOptions,
    *,
    checkpoint_dir: str | PathLike[str] | None = None,
    progress: bool = False,
) -> Training:
    """Train a network in place; it ends in evaluation mode with the weights of the best epoch.

    Parameters
    ----------
    model : MomentMLP, MomentCNN or another TableModel
    features : Tensor, shape (n, in_features)
        In the model's precision and on its device.
    targets : Tensor, shape (n,) of int64 or (n, outputs) of the model's precision
        Classes or values.
    options : TrainingOptions
    checkpoint_dir : path, optional
        Where the state is saved after every epoch (``training.safetensors``). A run that finds one of the same
        network, data and options there continues it, and ends with bitwise the weights of an uninterrupted run (on
        the same machine and number of threads).
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    Training

    Raises
    ------
    ValueError
        If the checkpoint is of another run, or there are fewer than 2 samples to train on.
    FloatingPointError
        If the loss is not finite.
    """
    run = _Run(model, features, targets, options)
    path = None if checkpoint_dir is None else Path(checkpoint_dir) / TRAINING_FILE
    if path is not None and path.is_file():
        run.resume(path)
    steps = len(run.batches(run.train_rows))
    with (
        tqdm(
            total=options.epochs * steps, initial=run.progress.epoch * steps, disable=not progress, unit="batch"
        ) as bar,
        _threads_for(model, options),
    ):
        while run.progress.epoch < options.epochs and not run.progress.stopped(options.patience):
            run.epoch(bar)
            if path is not None:
                run.save(path)
    model.load_state_dict(run.best)
    model.eval()
    return Training(run.progress.history, run.progress.best_epoch, run.progress.epoch < options.epochs)


class _Run:
    """A training run in motion: model, optimiser, random generators and how far it is."""

    def __init__(
        self, model: TableModel, features: torch.Tensor, targets: torch.Tensor, options: TrainingOptions
    ) -> None:
        self.model, self.features, self.targets, self.options = model, features, targets, options
        self.progress = _Progress()
        self.order = torch.Generator().manual_seed(options.seed)
        self.noise = torch.Generator(device=features.device).manual_seed(options.seed)
        _check_data(model, features, targets)
        _require_enough_neurons(model, options.loss)
        self.train_rows, self.validation_rows = split_rows(targets, options.validation_fraction, self.order)
        if len(self.train_rows) < 2:
            raise ValueError(f"training needs at least 2 samples besides validation, got {len(self.train_rows)}")
        self.optimiser = torch.optim.AdamW(model.parameter_groups(options.learning_rate, options.weight_decay))
        self.peaks = [group["lr"] for group in self.optimiser.param_groups]
        self.best = _copy(model)
        self.loss = _loss_function(options, self.noise, classes=not targets.is_floating_point())

    def batches(self, rows: torch.Tensor) -> list[torch.Tensor]:
        """Return the rows in batches of nearly one size, none of a single row."""
        count = max(1, round(len(rows) / self.options.batch_size))
        return list(rows.tensor_split(count))

    def epoch(self, bar: tqdm) -> None:
        """Train for one epoch, evaluate, and keep the weights if they are the best so far."""
        state, options = self.progress, self.options
        shuffled = self.train_rows[torch.randperm(len(self.train_rows), generator=self.order)]
        batches = self.batches(shuffled)
        bar.set_description(f"epoch {state.epoch + 1}/{options.epochs}")
        self.model.train()
        total, outputs = torch.zeros((), device=self.features.device), []
        for k, rows in enumerate(batches):
            factor = learning_rate_factor(options.schedule, (state.epoch + k / len(batches)) / options.epochs)
            for group, peak in zip(self.optimiser.param_groups, self.peaks, strict=True):
                group["lr"] = peak * factor
            moments = self.model(self.features[rows])
            _require_finite(moments.mean, state.epoch + 1)
            loss = self.loss(moments, self.targets[rows])
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()
            self.optimiser.step()
            total += len(rows) * loss.detach()
            outputs.append(moments.mean.detach())
            bar.update()
        state.epoch += 1
        _require_finite(total, state.epoch)
        measures = {
            "learning_rate": factor * options.learning_rate,
            "train_loss": total.item() / len(shuffled),
            "train_score": score(torch.cat(outputs), self.targets[shuffled]),
        }
        monitored = None
        if len(self.validation_rows):
            validation = self.evaluate(self.validation_rows)
            measures |= {"validation_loss": validation[0], "validation_score": validation[1]}
            monitored = validation[0]
        for name, value in measures.items():
            state.history.setdefault(name, []).append(value)
        if monitored is None or state.best_loss is None or monitored < state.best_loss:
            state.best_loss, state.best_epoch, self.best = monitored, state.epoch, _copy(self.model)
        part = "validation" if monitored is not None else "train"
        name = "R²" if self.targets.is_floating_point() else "accuracy"
        bar.set_postfix({"loss": f"{measures[f'{part}_loss']:.4f}", name: f"{measures[f'{part}_score']:.4f}"})

    @torch.no_grad()
    def evaluate(self, rows: torch.Tensor) -> tuple[float, float]:
        """Return loss (on the mean output) and score in evaluation mode."""
        self.model.eval()
        total, outputs = 0.0, []
        for part in rows.split(EVALUATION_BATCH):
            moments = self.model(self.features[part])
            total += len(part) * self.loss(moments, self.targets[part]).item()
            outputs.append(moments.mean)
        return total / len(rows), score(torch.cat(outputs), self.targets[rows])

    def save(self, path: Path) -> None:
        """Write all that the rest of the run depends on."""
        tensors = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        tensors |= {f"best.{name}": tensor for name, tensor in self.best.items()}
        for index, slots in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{index}.{slot}": value for slot, value in slots.items()}
        tensors |= {"generator.order": self.order.get_state(), "generator.noise": self.noise.get_state()}
        write_file(path, "training state", tensors, {"run": self.identity, "progress": asdict(self.progress)})

    def resume(self, path: Path) -> None:
        """Continue from a file.

        Raises
        ------
        ValueError
            If it is of another network, other data or other options.
        """
        tensors, description = read_file(path, "training state")
        _require_same_run(description["run"], self.identity, path)
        parts: dict[str, dict[str, torch.Tensor]] = {}
        for name, tensor in tensors.items():
            part, _, rest = name.partition(".")
            parts.setdefault(part, {})[rest] = tensor
        self.model.load_state_dict(parts["model"])
        self.best = {name: tensor.to(self.features.device) for name, tensor in parts["best"].items()}
        slots: dict[int, dict[str, torch.Tensor]] = {}
        for name, tensor in parts["optimiser"].items():
            index, _, slot = name.partition(".")
            slots.setdefault(int(index), {})[slot] = tensor
        self.optimiser.load_state_dict({"state": slots, "param_groups": self.optimiser.state_dict()["param_groups"]})
        self.order.set_state(parts["generator"]["order"])
        self.noise.set_state(parts["generator"]["noise"])
        self.progress = _Progress(**description["progress"])

    @cached_property
    def identity(self) -> dict[str, Any]:
        """Return what must agree for a checkpoint to belong to this run."""
        digest = hashlib.sha256()
        for tensor in (self.features, self.targets):
            digest.update(tensor.detach().cpu().contiguous().numpy().data)
        identity = {"network": self.model.config(), "options": asdict(self.options), "data": digest.hexdigest()}
        return json.loads(json.dumps(identity))


@contextmanager
def _threads_for(model: TableModel, options: TrainingOptions) -> Iterator[None]:
    """Let small steps run on one thread.

    They gain nothing from more, on a busy machine they lose tenfold by waiting for one another, and their sums are
    then rounded alike on every machine.
    """
    threads = torch.get_num_threads()
    work = options.batch_size * sum(parameter.numel() for parameter in model.parameters())
    torch.set_num_threads(1 if work < ONE_THREAD_WORK else threads)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def split_rows(targets: torch.Tensor, fraction: float, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw training and validation rows, of classes in equal proportions.

    Parameters
    ----------
    targets : Tensor
        One-dimensional integers are classes; every class keeps at least one training row.
    fraction : float
        Share of the rows (of each class) for validation, in [0, 1).
    generator : torch.Generator

    Returns
    -------
    train_rows, validation_rows : Tensor of int64
        In ascending order.
    """
    shuffled = torch.randperm(len(targets), generator=generator)
    if targets.is_floating_point():
        groups = [shuffled]
    else:
        labels = targets.cpu()[shuffled]
        groups = [shuffled[labels == label] for label in labels.unique()]
    counts = [min(round(fraction * len(group)), len(group) - 1) for group in groups]
    validation = [group[:count] for group, count in zip(groups, counts, strict=True)]
    train_part = [group[count:] for group, count in zip(groups, counts, strict=True)]
    return torch.cat(train_part).sort().values, torch.cat(validation).sort().values


def score(outputs: torch.Tensor, targets: torch.Tensor) -> float:
    """Return the accuracy for integer targets, R² for others (averaged over outputs; 0 for constant targets)."""
    if not targets.is_floating_point():
        return (outputs.argmax(-1) == targets).double().mean().item()
    residual = (outputs - targets).square().sum(0)
    total = (targets - targets.mean(0)).square().sum(0)
    explained = 1 - residual / torch.where(total > 0, total, 1.0)
    return torch.where(total > 0, explained, 0.0).mean().item()


def _loss_function(options: TrainingOptions, generator: torch.Generator, *, classes: bool) -> LossFunction:
    """Return the loss that the options name, as a function of moments and targets (classes, or else values)."""
    functions: dict[str, LossFunction] = {
        "cross_entropy": partial(cross_entropy, label_smoothing=options.label_smoothing),
        "sampled_cross_entropy": partial(
            sampled_cross_entropy,
            window=options.window,
            label_smoothing=options.label_smoothing,
            generator=generator,
        ),
        "fidelity_entropy": partial(
            fidelity_entropy,
            window=options.window,
            samples=FIDELITY_POINTS,
            label_smoothing=options.label_smoothing,
        ),
        "decision_entropy": partial(decision_entropy, window=options.window, label_smoothing=options.label_smoothing),
        "sampled_angle": partial(
            sampled_angle,
            window=options.window,
            label_smoothing=options.label_smoothing if classes else 0.0,
            generator=generator,
        ),
        "earth_movers": partial(
            earth_movers,
            window=options.window,
            label_smoothing=options.label_smoothing if classes else 0.0,
            generator=generator,
        ),
        "mean_squared_error": mean_squared_error,
        "gaussian_likelihood": partial(gaussian_likelihood, window=options.window),
    }
    return functions[options.loss]


def _check_data(model: TableModel, features: torch.Tensor, targets: torch.Tensor) -> None:
    """Raise an error unless there are as many samples of features, in the model's precision, as targets."""
    for name, value in (("features", features), ("targets", targets)):
        if not isinstance(value, torch.Tensor):
            raise TypeError(f"`{name}` must be a tensor, got {shown(value)}")
    if features.ndim != 2 or features.shape[1] != model.encoder.in_features or features.dtype != model.dtype:
        raise ValueError(
            f"`features` must have the shape (n, {model.encoder.in_features}) and dtype {model.dtype}, got "
            f"{tuple(features.shape)} and {features.dtype}"
        )
    if targets.ndim not in (1, 2) or len(targets) != len(features):
        raise ValueError(
            f"`targets` must be as many as the features, {len(features)}, got shape {tuple(targets.shape)}"
        )


def _require_enough_neurons(model: TableModel, loss: Loss) -> None:
    """Raise a `ValueError` if outputs that must vary do not, or too few neurons are read for them to."""
    if isinstance(model.readout, CovarianceReadout) and loss not in MEAN_LOSSES:
        raise ValueError(
            f"outputs that are statistics do not fluctuate, and loss={loss!r} is about fluctuations: take one of "
            f"{list(MEAN_LOSSES)}"
        )
    if loss not in ("gaussian_likelihood", "fidelity_entropy"):
        return
    neurons, outputs = model.readout.in_features, model.readout.out_features
    needed = outputs if loss == "gaussian_likelihood" else outputs - 1
    if neurons < needed and model.readout.bias_std is None:
        raise ValueError(
            f"{neurons} hidden neurons cannot give {outputs} outputs fluctuations of their own, which loss={loss!r} "
            f"needs: read at least {needed} neurons (better twice as many, for silent ones do not count), or take "
            "'sampled_cross_entropy' or 'earth_movers'"
        )


def _require_finite(values: torch.Tensor, epoch: int) -> None:
    if not bool(torch.isfinite(values).all()):
        raise FloatingPointError(
            f"training diverged: outputs or loss are not finite in epoch {epoch}; a smaller `learning_rate` may help"
        )


def _require_same_run(stored: dict[str, Any], current: dict[str, Any], path: Path) -> None:
    """Raise an error that names the first difference between two runs."""
    for part, noun in (("network", "another network"), ("options", "other training options")):
        for key in sorted({*stored[part], *current[part]}):
            if stored[part].get(key) != current[part].get(key):
                raise ValueError(
                    f"{path} is a checkpoint of {noun}: `{key}` is {stored[part].get(key)!r} there and "
                    f"{current[part].get(key)!r} here; use another checkpoint folder or remove the file"
                )
    if stored["data"] != current["data"]:
        raise ValueError(f"{path} is a checkpoint of other training data; use another folder or remove the file")


def _copy(model: TableModel) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
