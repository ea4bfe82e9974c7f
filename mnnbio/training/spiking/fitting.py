"""Training of spiking networks by surrogate gradients: batches, published losses, clipping, exact continuation."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from os import PathLike
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, get_args

import torch
from torch import Tensor, nn
from tqdm import tqdm

from mnnbio.machine import check_choice, require_integer
from mnnbio.training.checkpoint import read_file, write_file
from mnnbio.training.loop import Schedule, learning_rate_factor
from mnnbio.training.spiking.networks import Activity, SpikingNetwork
from mnnbio.training.spiking.stored_networks import Network, settings_of
from mnnbio.training.spiking.tasks import (
    DT,
    Trials,
    bernoulli_pixels,
    context_switch,
    contextual_integration,
    decisions,
)
from mnnbio.units import real_number, shown

Loss = Literal["cross_entropy", "softmax_twice", "mean_squared_error", "root_of_sum"]
CLASSES = ("cross_entropy", "softmax_twice")

FITTING_FILE = "fitting.safetensors"
# Seconds between two states on disk.
SAVED_EVERY = 20.0
# Neurons up to which more threads gain nothing, and on a busy machine lose time waiting for one another.
SMALL = 2000
# Trials at once where no gradients are kept.
EVALUATION_BATCH = 500


class Batch(NamedTuple):
    """Trials to train on.

    Attributes
    ----------
    inputs : Tensor, shape (steps, batch, n_in)
    targets : Tensor
        The course of the outputs, shape (steps, batch, n_out), or classes, int64 (batch,).
    """

    inputs: Tensor
    targets: Tensor


class Batches(Protocol):
    """Source of trials."""

    def draw(self, size: int, step: int, generator: torch.Generator) -> Batch:
        """Return the trials of a training step; what is random comes from the generator."""
        ...

    def identity(self) -> dict[str, Any]:
        """Return what tells this source from others, as JSON can hold it."""
        ...


@dataclass(frozen=True, kw_only=True)
class ContextualBatches:
    """Trials of contextual integration, each of which may have a switch of context.

    Parameters
    ----------
    steps, dt, onset, stimulus, offset, noise, last
        As in `mnnbio.training.spiking.context_switch`.
    switching : float
        Probability that the context of a trial changes after the stimulus.
    together : bool
        Whether all trials of a batch change or none, as published.
    """

    steps: int = 500
    dt: float = DT
    onset: float | None = None
    stimulus: float | None = None
    offset: float = 0.5
    noise: float = 1.0
    last: float | None = None
    switching: float = 0.0
    together: bool = False

    def draw(self, size: int, step: int, generator: torch.Generator) -> Batch:
        """Return new trials."""
        own: dict[str, Any] = {
            "onset": self.onset,
            "stimulus": self.stimulus,
            "offset": self.offset,
            "noise": self.noise,
        }
        if not self.switching:
            return Batch(*contextual_integration(size, self.steps, self.dt, seed=generator, **own))
        change: dict[str, Any] = {"last": self.last, "probability": self.switching, "together": self.together}
        return Batch(*context_switch(size, self.steps, self.dt, seed=generator, **own, **change))

    def identity(self) -> dict[str, Any]:
        """Return the parameters."""
        return {"task": "contextual integration", **asdict(self)}


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageBatches:
    """Images as spikes: every image once in an epoch, in an order of its own, with new spikes each time.

    Parameters
    ----------
    images : Tensor or ndarray, shape (n, pixels)
        Values in [0, 1].
    labels : Tensor or ndarray of int64, shape (n,)
    steps : int
        Length of a presentation.
    """

    images: Any
    labels: Any
    steps: int = 50

    def __post_init__(self) -> None:
        for name in ("images", "labels"):
            object.__setattr__(self, name, torch.as_tensor(getattr(self, name)))
        if self.images.ndim != 2 or self.labels.shape != self.images.shape[:1] or self.labels.dtype != torch.int64:
            raise ValueError(
                "`images` must have the shape (n, pixels) and `labels`, int64, (n,), got "
                f"{shown(self.images)} and {shown(self.labels)}"
            )

    def draw(self, size: int, step: int, generator: torch.Generator) -> Batch:
        """Return the images of a step; where fewer are left in an epoch, the next one begins."""
        size = min(size, len(self.images))
        epoch, place = divmod(step, len(self.images) // size)
        rows = _order(len(self.images), generator.initial_seed(), epoch)[place * size : (place + 1) * size]
        return Batch(bernoulli_pixels(self.images[rows], self.steps, seed=generator), self.labels[rows])

    def identity(self) -> dict[str, Any]:
        """Return the length of presentations, and a digest of images and labels."""
        digest = hashlib.sha256()
        for tensor in (self.images, self.labels):
            digest.update(tensor.detach().cpu().contiguous().numpy().data)
        return {"task": "images", "steps": self.steps, "data": digest.hexdigest()}


@lru_cache(maxsize=2)
def _order(number: int, seed: int, epoch: int) -> Tensor:
    # A generator of its own for each epoch: an order then depends on the epoch alone, wherever a run is continued.
    return torch.randperm(number, generator=torch.Generator().manual_seed((seed * 1_000_003 + epoch) % 2**63))


@dataclass(frozen=True, kw_only=True)
class FittingOptions:
    """Options of the training of a spiking network.

    Parameters
    ----------
    loss : {"cross_entropy", "softmax_twice", "mean_squared_error", "root_of_sum"}
        For classes, the cross-entropy of the softmax of the outputs, or that of the softmax of their softmax, as
        published, which is never below 1.461 for ten classes. For courses, the mean of the squared errors, or the
        root of their sum over time and batch, as published; Adam follows both alike, apart from clipping.
    steps : int
        Steps of the optimiser.
    batch_size : int
        Trials in a step.
    repeats : int
        Steps in a row on the same trials; the published training of contextual integration has 3.
    learning_rate : float
        Peak rate of Adam.
    schedule : {"constant", "cosine", "one_cycle"}
        Course of the learning rate; published is "constant".
    max_norm : float, optional
        The gradient of all parameters together is scaled down to this norm where it is longer; published are 20 and
        30.
    label_smoothing : float
        Of the cross-entropy, in [0, 1).
    seed : int
        Of trials and their order.

    Raises
    ------
    TypeError
        If a value is no number.
    ValueError
        If a value is out of range.
    """

    loss: Loss = "cross_entropy"
    steps: int = 1000
    batch_size: int = 100
    repeats: int = 1
    learning_rate: float = 1e-3
    schedule: Schedule = "constant"
    max_norm: float | None = 20.0
    label_smoothing: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        check_choice("loss", self.loss, sorted(get_args(Loss)))
        check_choice("schedule", self.schedule, sorted(get_args(Schedule)))
        for name, least in (("steps", 1), ("batch_size", 1), ("repeats", 1), ("seed", 0)):
            require_integer(name, getattr(self, name), least)
            object.__setattr__(self, name, int(getattr(self, name)))  # as JSON takes it
        for name in ("learning_rate", "label_smoothing", *(["max_norm"] if self.max_norm is not None else [])):
            object.__setattr__(self, name, real_number(getattr(self, name), name))
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"`learning_rate` must be > 0, got {self.learning_rate}")
        if self.max_norm is not None and not self.max_norm > 0:
            raise ValueError(f"`max_norm` must be > 0, or None for no clipping, got {self.max_norm}")
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"`label_smoothing` must be in [0, 1), got {self.label_smoothing}")


History = dict[str, list[float]]
Evaluation = Callable[[Network], dict[str, float]]


class Fitting(NamedTuple):
    """Result of a training besides the weights.

    Attributes
    ----------
    history : dict of str to list of float
        For every step `loss`, `learning_rate` and `gradient_norm` (before clipping); for every evaluation `evaluated`,
        the number of steps before it, and its measures.
    seconds : float
        Time that the steps took, those before a continuation included.
    """

    history: History
    seconds: float


@dataclass
class _Progress:
    """Progress of a training: what a checkpoint holds besides weights, optimiser and generator."""

    step: int = 0
    seconds: float = 0.0
    history: History = field(default_factory=dict)

    def add(self, measures: dict[str, float]) -> None:
        for name, value in measures.items():
            self.history.setdefault(name, []).append(value)


def fit(
    network: Network,
    batches: Batches,
    options: FittingOptions,
    *,
    evaluate: Evaluation | None = None,
    evaluate_every: int = 100,
    checkpoint_dir: str | PathLike[str] | None = None,
    progress: bool = False,
) -> Fitting:
    """Train a spiking or a rate network in place, by Adam.

    Parameters
    ----------
    network : SpikingNetwork or RateNetwork
    batches : Batches
        Where trials come from: `ContextualBatches`, `ImageBatches` or a class of your own.
    options : FittingOptions
    evaluate : callable, optional
        Takes the network, and returns measures by name; called every `evaluate_every` steps and at the end, without
        gradients.
    evaluate_every : int
    checkpoint_dir : path, optional
        Where the state is saved now and then, and at the end (``fitting.safetensors``). A run that finds one of the
        same network, trials and options there continues it, and ends with bitwise the weights of an uninterrupted run
        (on the same machine).
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    Fitting

    Raises
    ------
    ValueError
        If the checkpoint is of another run, or outputs and targets do not fit together.
    FloatingPointError
        If the loss is not finite.
    """
    require_integer("evaluate_every", evaluate_every, 1)
    run = _Run(network, batches, options)
    path = None if checkpoint_dir is None else Path(checkpoint_dir) / FITTING_FILE
    if path is not None and path.is_file():
        run.resume(path)
    state, saved = run.progress, time.monotonic()
    with tqdm(total=options.steps, initial=state.step, disable=not progress, unit="step") as bar, _one_thread(network):
        while state.step < options.steps:
            start = time.monotonic()
            loss = run.step()
            state.seconds += time.monotonic() - start
            bar.set_postfix_str(f"loss {loss:.4f}", refresh=False)
            bar.update()
            if evaluate is not None and (state.step % evaluate_every == 0 or state.step == options.steps):
                with torch.no_grad():
                    measures = evaluate(network)
                state.add({"evaluated": float(state.step), **measures})
                bar.set_description(", ".join(f"{name} {value:.4f}" for name, value in measures.items()))
            if path is not None and (time.monotonic() - saved > SAVED_EVERY or state.step == options.steps):
                run.save(path)
                saved = time.monotonic()
    return Fitting(state.history, state.seconds)


class _Run:
    """A training in motion: network, optimiser, random generator and how far it is."""

    def __init__(self, network: Network, batches: Batches, options: FittingOptions) -> None:
        self.network, self.batches, self.options = network, batches, options
        self.progress = _Progress()
        self.generator = torch.Generator().manual_seed(options.seed)
        self.optimiser = torch.optim.Adam(network.parameters(), lr=options.learning_rate)
        self.batch: Batch | None = None

    def step(self) -> float:
        """Take a step, and return its loss."""
        state, options = self.progress, self.options
        fresh, repeated = divmod(state.step, options.repeats)
        if self.batch is None or not repeated:
            self.drawn_with = self.generator.get_state()  # a continuation draws the batch of repeated steps again
            self.batch = self.batches.draw(options.batch_size, fresh, self.generator)
        rate = options.learning_rate * learning_rate_factor(options.schedule, state.step / options.steps)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        loss = loss_of(self.network(self.batch.inputs), self.batch.targets, options)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        limit = math.inf if options.max_norm is None else options.max_norm
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), limit)
        value = float(loss.detach())
        if not (math.isfinite(value) and math.isfinite(float(norm))):
            raise FloatingPointError(
                f"training diverged: loss {value:g} and gradient norm {float(norm):g} in step {state.step + 1}; a "
                "smaller `learning_rate` or `max_norm` may help"
            )
        self.optimiser.step()
        state.step += 1
        state.add({"loss": value, "learning_rate": rate, "gradient_norm": float(norm)})
        return value

    def save(self, path: Path) -> None:
        """Write all that the rest of the run depends on."""
        tensors = {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        for index, slots in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{index}.{slot}": value for slot, value in slots.items()}
        inside = self.progress.step % self.options.repeats != 0
        tensors["generator"] = self.drawn_with if inside else self.generator.get_state()
        write_file(path, "fitting state", tensors, {"run": self.identity, "progress": asdict(self.progress)})

    def resume(self, path: Path) -> None:
        """Continue from a file.

        Raises
        ------
        ValueError
            If it is of another network, other trials or other options.
        """
        tensors, description = read_file(path, "fitting state")
        _require_same(description["run"], self.identity, path)
        own = {name.removeprefix("network."): value for name, value in tensors.items() if name.startswith("network.")}
        self.network.load_state_dict(own)
        slots: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            part, _, rest = name.partition(".")
            if part == "optimiser":
                index, _, slot = rest.partition(".")
                slots.setdefault(int(index), {})[slot] = tensor
        self.optimiser.load_state_dict({"state": slots, "param_groups": self.optimiser.state_dict()["param_groups"]})
        self.generator.set_state(tensors["generator"])
        self.progress = _Progress(**description["progress"])

    @property
    def identity(self) -> dict[str, Any]:
        """What must agree for a checkpoint to belong to this run."""
        tensors = {name: [str(value.dtype), *value.shape] for name, value in self.network.state_dict().items()}
        settings = settings_of(self.network)
        for name in settings.get("learn", ()):  # they change
            for part in (settings["neuron"], settings["filter"]):
                part.pop(name, None)
        network = {"kind": type(self.network).__name__, **tensors, **settings}
        identity = {"network": network, "trials": self.batches.identity(), "options": asdict(self.options)}
        return json.loads(json.dumps(identity))


def loss_of(outputs: Tensor, targets: Tensor, options: FittingOptions) -> Tensor:
    """Return the loss of outputs.

    Parameters
    ----------
    outputs : Tensor, shape (batch, n_out) or (steps, batch, n_out)
    targets : Tensor
        Classes, shape (batch,), or the course of the outputs.
    options : FittingOptions

    Raises
    ------
    ValueError
        If outputs, targets and loss do not fit together.
    """
    if options.loss in CLASSES:
        if outputs.ndim != 2 or targets.shape != outputs.shape[:1] or targets.is_floating_point():
            raise ValueError(
                f"loss={options.loss!r} needs one output for each class and trial, (batch, n_out), and a class for "
                f"each trial, got outputs {tuple(outputs.shape)} and targets {tuple(targets.shape)}: read the maximum "
                "in time (readout='maximum')"
            )
        scores = outputs.softmax(-1) if options.loss == "softmax_twice" else outputs
        return nn.functional.cross_entropy(scores, targets, label_smoothing=options.label_smoothing)
    if outputs.shape != targets.shape:
        raise ValueError(
            f"loss={options.loss!r} needs targets of the shape of the outputs, {tuple(outputs.shape)}, got "
            f"{tuple(targets.shape)}"
        )
    squares = (outputs - targets).square()
    return squares.mean() if options.loss == "mean_squared_error" else squares.sum().sqrt()


@contextmanager
def _one_thread(network: Network) -> Iterator[None]:
    """Run steps of small networks on one thread, whose sums are then rounded alike on every machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1 if network.size < SMALL else threads)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _require_same(stored: dict[str, Any], current: dict[str, Any], path: Path) -> None:
    """Raise an error that names the first difference between two runs."""
    nouns = {"network": "another network", "trials": "other trials", "options": "other training options"}
    for part, noun in nouns.items():
        for key in sorted({*stored[part], *current[part]}):
            if stored[part].get(key) != current[part].get(key):
                raise ValueError(
                    f"{path} is a checkpoint of {noun}: `{key}` is {stored[part].get(key)!r} there and "
                    f"{current[part].get(key)!r} here; use another checkpoint folder or remove the file"
                )


@torch.no_grad()
def contextual_scores(network: Network, trials: Trials) -> dict[str, float]:
    """Measures of a network in trials of contextual integration.

    Parameters
    ----------
    network : SpikingNetwork or RateNetwork
        That reads the trace.
    trials : Trials

    Returns
    -------
    dict of str to float
        `mse`, the mean squared error over the whole trial; `right`, the share of right decisions, which are the signs
        of the mean output in the last quarter; of spiking networks `rate`, the mean firing rate, Hz.
    """
    squares, right, spikes, number = 0.0, 0.0, 0.0, trials.inputs.shape[1]
    for k in range(0, number, EVALUATION_BATCH):
        inputs, targets = (tensor[:, k : k + EVALUATION_BATCH] for tensor in trials)
        course = network.run(inputs)
        share = inputs.shape[1] / number
        squares += share * (course.outputs - targets).square().mean().item()
        right += share * (decisions(course.outputs) == targets[-1, :, 0].sign()).double().mean().item()
        if isinstance(course, Activity):
            spikes += share * course.spikes.mean().item()
    scores = {"mse": squares, "right": right}
    return scores | {"rate": 1e3 * spikes / network.dt} if isinstance(network, SpikingNetwork) else scores


@torch.no_grad()
def image_scores(network: Network, images: Any, labels: Any, steps: int, *, seed: int = 0) -> dict[str, float]:
    """Measures of a network that reads images as spikes.

    Parameters
    ----------
    network : SpikingNetwork or RateNetwork
        That reads the maximum in time.
    images : Tensor or ndarray, shape (n, pixels)
    labels : Tensor or ndarray of int64, shape (n,)
    steps : int
        Length of a presentation.
    seed : int
        Of the spikes.

    Returns
    -------
    dict of str to float
        `accuracy`, and of spiking networks `rate`, the mean firing rate, Hz.
    """
    generator = torch.Generator().manual_seed(seed)
    images, labels = torch.as_tensor(images), torch.as_tensor(labels)
    right, spikes, number = 0, 0.0, len(images)
    for k in range(0, number, EVALUATION_BATCH):
        shown, classes = (tensor[k : k + EVALUATION_BATCH] for tensor in (images, labels))
        course = network.run(bernoulli_pixels(shown, steps, seed=generator))
        right += int((course.outputs.argmax(-1) == classes).sum())
        if isinstance(course, Activity):
            spikes += len(shown) / number * course.spikes.mean().item()
    scores = {"accuracy": right / number}
    return scores | {"rate": 1e3 * spikes / network.dt} if isinstance(network, SpikingNetwork) else scores
