"""Files of the published mode-based networks: their parameters as networks, and a check that the task is still solved.

A file holds the weights alone. Which filter they were trained with, and whether the neurons spike, has to be said.

References
----------
Z. Lin, H. Huang (2024), Spiking mode-based neural networks, Phys. Rev. E 110, 024306 (arXiv 2310.14621), and its public
code, github.com/LinZhanghan/SMNN.
"""

from __future__ import annotations

import pickle
import warnings
from os import PathLike, fspath
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from mnnbio.machine import check_choice
from mnnbio.training.spiking.networks import RateNetwork, Readout, SpikingNetwork
from mnnbio.training.spiking.recurrent_weights import ModeWeights
from mnnbio.training.spiking.steps import SpikeFilter, SpikingNeuron
from mnnbio.training.spiking.tasks import bernoulli_pixels, contextual_integration, decisions
from mnnbio.units import shown

NAMES = ("Win", "pin", "l", "pout", "Wout")
FILTERS = ("single", "double", "rate")
COLLAPSED = 0.15  # mean squared error of contextual integration; answering 0 throughout gives 0.5


class CollapsedTaskWarning(UserWarning):
    """A network does not solve the task that it was trained for: it is run in another way than it was trained."""


class UntoldFilterWarning(UserWarning):
    """The task is solved with either filter, so that it does not tell which one a network was trained with."""


class TaskCheck(NamedTuple):
    """How a network does in its task.

    Attributes
    ----------
    error : float or None
        Mean squared error over trials and all their time, of contextual integration.
    standard_error : float or None
        Of `error`, between trials.
    right : float or None
        Share of right decisions, or of right classes.
    rate : float or None
        Mean firing rate, Hz, of spiking networks.
    """

    error: float | None
    standard_error: float | None
    right: float | None
    rate: float | None


def load_smnn(
    path: str | PathLike[str],
    filter: Literal["single", "double", "rate"] | SpikeFilter | None = None,
    *,
    readout: Readout | None = None,
    reads: Literal["rates", "potentials"] = "rates",
    clock: Literal["steps", "single"] = "single",
) -> SpikingNetwork | RateNetwork:
    """Load a network from a file of the published project; nothing in it is executed.

    Constants are the published ones: steps of 2 ms, time constants of 20 ms (membrane), 10 ms (current), 30 and 2 ms
    (filter), threshold 1 and refractory period 10 ms.

    Parameters
    ----------
    path : path
        A ``.pth`` file.
    filter : {"single", "double", "rate"} or SpikeFilter
        The filter of the spikes that the network was trained with, or "rate" for a network of rate neurons. Files do
        not hold it, and with the wrong one the network fails: `check_smnn` tells for contextual integration. A double
        filter gets the published size of the task.
    readout : {"trace", "maximum"}, optional
        By default that of the task: "trace" for one output (contextual integration), "maximum" for more (digits).
    reads : {"rates", "potentials"}
        What of rate neurons is read out.
    clock : {"steps", "single"}
        How the refractory period ends; see `SpikingNeuron`. The published parameters were trained with, and give the
        published values with, "single". Only "steps" can be exported.

    Returns
    -------
    SpikingNetwork or RateNetwork

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If `filter` is not given; if the file is damaged, holds something else or more than weights, or its shapes
        contradict each other; if it has a score for every neuron instead of every mode, which is an older model, or
        decay constants for every neuron (``sigmoid_tau_d``), whose equations are not published.

    Warns
    -----
    ManyModesWarning
        If there are more modes than neurons, as in some published rate networks.
    """
    if filter is None:
        raise ValueError(
            f"`filter` is needed, as {fspath(path)} does not hold it: 'single', 'double', or 'rate' for rate neurons. "
            "`check_smnn` tells whether a choice solves contextual integration"
        )
    if not isinstance(filter, SpikeFilter):
        check_choice("filter", filter, FILTERS)
    tensors = _read(Path(path))
    threshold = tensors.pop("vthr", torch.tensor(1.0))
    shapes = {name: tuple(tensors[name].shape) for name in NAMES}
    size = shapes["Win"][0] if shapes["Win"] else 0
    if tensors["l"].ndim == 2 and shapes["l"] == (size, 1):
        raise ValueError(
            f"{path} has a score for each of its {size} neurons, `l` of shape {shapes['l']}: they scale neurons and "
            "not modes, diag(l) ξ_in ξ_outᵀ, an older model. Files with `l` of shape (modes,) can be run"
        )
    modes = shapes["l"][0] if len(shapes["l"]) == 1 else None
    fitting = len(shapes["Win"]) == len(shapes["Wout"]) == 2 and shapes["Wout"][1] == size
    if not fitting or shapes["pin"] != (size, modes) or shapes["pout"] != (size, modes):
        raise ValueError(
            f"the shapes in {path} contradict each other: expected Win (N, n_in), pin and pout (N, P), l (P,) and "
            f"Wout (n_out, N), got {', '.join(f'{name} {shape}' for name, shape in shapes.items())}"
        )
    if threshold.numel() != 1:
        raise ValueError(f"`vthr` in {path} must be one number, got shape {tuple(threshold.shape)}")
    readout = readout or ("trace" if len(tensors["Wout"]) == 1 else "maximum")
    try:
        recurrent = ModeWeights(tensors["pin"], tensors["l"], tensors["pout"])
        if filter == "rate":
            return RateNetwork(tensors["Win"], recurrent, tensors["Wout"], readout=readout, reads=reads)
        if not isinstance(filter, SpikeFilter):
            filter = SpikeFilter(kind=filter, scale="steps" if readout == "trace" else "rates")
        neuron = SpikingNeuron(v_th=float(threshold), clock=clock)
        return SpikingNetwork(tensors["Win"], recurrent, tensors["Wout"], neuron=neuron, filter=filter, readout=readout)
    except ValueError as error:
        raise ValueError(f"{path} cannot be run: {error}") from error


def _read(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file that has those of a network, and no others but a threshold."""
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, AttributeError) as error:
        reason = str(error).strip().splitlines()
        raise ValueError(
            f"{path} is damaged, or holds more than tensors and is not read for safety: "
            f"{(reason or [type(error).__name__])[0]:.160}"
        ) from error
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise ValueError(f"{path} must hold a dictionary of tensors, got {shown(content)}")
    tensors = dict(content)
    if "sigmoid_tau_d" in tensors:
        raise ValueError(
            f"{path} has decay constants of its own for every neuron, `sigmoid_tau_d`: how they enter the equations is "
            "not published, so it cannot be run. Files without them can"
        )
    missing = [name for name in NAMES if name not in tensors]
    unknown = [str(name) for name in tensors if name not in (*NAMES, "vthr")]
    if missing or unknown:
        raise ValueError(
            f"{path} must hold {', '.join(NAMES)}"
            + (f"; it lacks {', '.join(missing)}" if missing else "")
            + (f"; it also has {', '.join(unknown)[:80]}, of which nothing is known" if unknown else "")
        )
    return {name: value.float() for name, value in tensors.items()}


def check_smnn(
    network: SpikingNetwork | RateNetwork,
    task: Literal["context", "digits"],
    *,
    images: Any = None,
    labels: Any = None,
    trials: int = 100,
    steps: int | None = None,
    seed: int = 0,
) -> TaskCheck:
    """Return how a network does in its task, and warn where it was loaded in another way than it was trained.

    Parameters
    ----------
    network : SpikingNetwork or RateNetwork
    task : {"context", "digits"}
        Contextual integration, or digits as Bernoulli pixels.
    images, labels : array_like or Tensor, optional
        For digits: values in [0, 1] of shape (samples, pixels), and classes. Without them nothing is run.
    trials : int
        Trials of contextual integration.
    steps : int, optional
        Length of a trial; by default the published 500 or 50 steps.
    seed : int
        Of trials and pixels.

    Returns
    -------
    TaskCheck

    Warns
    -----
    CollapsedTaskWarning
        If the mean squared error of contextual integration is above 0.15.
    UntoldFilterWarning
        For digits: they are classified as well with either filter, so that they cannot tell which is right.
    """
    check_choice("task", task, ["context", "digits"])
    if task == "context":
        return _check_context(network, trials, steps or 500, seed)
    if isinstance(network, SpikingNetwork):
        warnings.warn(
            "digits do not tell which filter a network was trained with: published parameters classify as many with "
            "the single as with the double filter. Nothing is known against the one chosen, nor for it",
            UntoldFilterWarning,
            stacklevel=2,
        )
    if images is None or labels is None:
        return TaskCheck(None, None, None, None)
    inputs = bernoulli_pixels(images, steps or 50, seed=seed, dtype=network.weight_in.dtype)
    outputs, rate = _run(network, inputs)
    right = (outputs.argmax(-1) == torch.as_tensor(labels)).double().mean().item()
    return TaskCheck(None, None, right, rate)


def _check_context(network: SpikingNetwork | RateNetwork, trials: int, steps: int, seed: int) -> TaskCheck:
    drawn = contextual_integration(trials, steps, network.dt, seed=seed, dtype=network.weight_in.dtype)
    outputs, rate = _run(network, drawn.inputs)
    errors = (outputs - drawn.targets).double().square().mean((0, 2))
    error = errors.mean().item()
    if error > COLLAPSED:
        what = f"with a {network.filter.kind} filter" if isinstance(network, SpikingNetwork) else "of rate neurons"
        warnings.warn(
            f"the network {what} has a mean squared error of {error:.3g} in contextual integration, above {COLLAPSED}: "
            "it does not solve the task. Load it with another `filter`; some published files belong to no known model",
            CollapsedTaskWarning,
            stacklevel=3,
        )
    right = (decisions(outputs) == drawn.decisions).double().mean().item()
    return TaskCheck(error, (errors.std() / trials**0.5).item(), right, rate)


@torch.no_grad()
def _run(network: SpikingNetwork | RateNetwork, inputs: Tensor) -> tuple[Tensor, float | None]:
    """Return outputs and, of spiking networks, the mean rate in Hz."""
    if isinstance(network, RateNetwork):
        return network(inputs), None
    course = network.run(inputs)
    return course.outputs, course.spikes.mean().item() / network.dt * 1e3
