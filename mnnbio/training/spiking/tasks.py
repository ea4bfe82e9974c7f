"""Tasks of spiking networks: contextual integration with and without a switch of context, and images as spikes.

Generators return trials as tensors, time first. The defaults are the published constants of the mode-based networks.

References
----------
V. Mante, D. Sussillo, K. V. Shenoy, W. T. Newsome (2013), Context-dependent computation by recurrent dynamics in
prefrontal cortex, Nature 503 (the task). Z. Lin, H. Huang (2024), Spiking mode-based neural networks, arXiv 2310.14621
(its form here).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from mnnbio.machine import require_integer
from mnnbio.units import count_steps, in_unit, real_number, shown

Seed = int | torch.Generator

DT = 2.0  # ms
# Parts of a trial of contextual integration: silence, stimulus, then as much time for silence and response.
ONSET_SHARE, STIMULUS_SHARE = 0.1, 0.4
# Part at the end of a trial whose mean output is the decision.
DECISION_SHARE = 0.25


class Trials(NamedTuple):
    """Trials of contextual integration.

    Attributes
    ----------
    inputs : Tensor, shape (steps, batch, 4)
        Two noisy stimuli, then the lines of the two contexts, one of which is 1.
    targets : Tensor, shape (steps, batch, 1)
        0 until the response begins, then the sign of the offset of the stimulus that the context names.
    """

    inputs: torch.Tensor
    targets: torch.Tensor

    @property
    def context(self) -> torch.Tensor:
        """The stimulus, 0 or 1, that the context names in every step, shape (steps, batch)."""
        return self.inputs[..., 2:].argmax(-1)

    @property
    def decisions(self) -> torch.Tensor:
        """The right decision at the end, −1 or 1, shape (batch,)."""
        return self.targets[-1, :, 0]


def contextual_integration(
    batch: int,
    steps: int = 500,
    dt: Any = DT,
    *,
    onset: Any = None,
    stimulus: Any = None,
    offset: float = 0.5,
    noise: float = 1.0,
    seed: Seed = 0,
    dtype: torch.dtype | None = None,
) -> Trials:
    """Trials of contextual integration: two noisy stimuli, of which the context says the one to decide on.

    A stimulus is its offset, ±`offset` with equal probability, plus independent Gaussian noise in every step. The
    context is that of the first or the second stimulus with equal probability, from beginning to end.

    Parameters
    ----------
    batch : int
        Number of trials.
    steps : int
        Length of a trial.
    dt : float or quantity
        Time step, ms.
    onset, stimulus : float or quantity, optional
        Silence before the stimulus, and its length, ms; a tenth and four tenths of the trial if not given. The
        response begins with the end of the stimulus.
    offset : float
        Mean of a stimulus, up to its sign.
    noise : float
        Standard deviation in each step. Noise of the same power at another time step is ``noise * (2 ms/dt)**0.5``.
    seed : int or torch.Generator
    dtype : torch.dtype, optional
        By default that of torch.

    Returns
    -------
    Trials

    Raises
    ------
    ValueError
        If the parts do not fit into a trial, or a number is out of range.
    """
    return _drawn(_Course.of(batch, steps, dt, onset, stimulus), offset, noise, _generator(seed), dtype)[0]


def context_switch(
    batch: int,
    steps: int = 500,
    dt: Any = DT,
    *,
    last: Any = None,
    probability: float = 1.0,
    together: bool = False,
    onset: Any = None,
    stimulus: Any = None,
    offset: float = 0.5,
    noise: float = 1.0,
    seed: Seed = 0,
    dtype: torch.dtype | None = None,
) -> Trials:
    """Trials of contextual integration in which the context changes after the stimulus.

    In the last part of such a trial the other context holds, and the target is the sign of the other offset: there is
    no new stimulus, so both offsets must have been stored.

    Parameters
    ----------
    batch, steps, dt, onset, stimulus, offset, noise, seed, dtype
        As in `contextual_integration`.
    last : float or quantity, optional
        Time that is left when the context changes, ms; four tenths of the trial if not given.
    probability : float
        Of a change, in [0, 1]; the published training has 0.1.
    together : bool
        Whether all trials of a batch change or none, as published, instead of each on its own.

    Returns
    -------
    Trials

    Raises
    ------
    ValueError
        If the context would change before the stimulus has ended, or a number is out of range.
    """
    course, generator = _Course.of(batch, steps, dt, onset, stimulus), _generator(seed)
    trials, offsets = _drawn(course, offset, noise, generator, dtype)
    share = real_number(probability, "probability")
    if not 0 <= share <= 1:
        raise ValueError(f"`probability` must be in [0, 1], got {share}")
    start = steps - (round(STIMULUS_SHARE * steps) if last is None else _steps(last, course.dt, "last"))
    if not course.end <= start < steps:
        raise ValueError(
            f"the context must change between the end of the stimulus and that of the trial, steps {course.end} to "
            f"{steps}, got `last` = {(steps - start) * course.dt:g} ms, which is step {start}"
        )
    drawn = torch.rand(1 if together else batch, generator=generator).expand(batch)
    changes = (drawn < share).nonzero()[:, 0]
    inputs, targets = trials
    other = 1 - inputs[0, changes, 2:].argmax(-1)
    inputs[start:, changes, 2:] = inputs[start:, changes, 2:].flip(-1)
    targets[start:, changes, 0] = offsets[changes, other].sign()
    return trials


def repeated_stimulus(
    batch: int,
    steps: int = 500,
    dt: Any = DT,
    *,
    onset: Any = None,
    stimulus: Any = None,
    offset: float = 0.5,
    noise: float = 1.0,
    seed: Seed = 0,
    dtype: torch.dtype | None = None,
) -> Trials:
    """Two trials of contextual integration in a row: the same stimuli in one context and then in the other.

    Parameters
    ----------
    batch, steps, dt, onset, stimulus, offset, noise, seed, dtype
        As in `contextual_integration`; `steps` is the length of one of the two.

    Returns
    -------
    Trials
        Of ``2 * steps`` steps.
    """
    course = _Course.of(batch, steps, dt, onset, stimulus)
    (inputs, targets), offsets = _drawn(course, offset, noise, _generator(seed), dtype)
    again, other = inputs.clone(), 1 - inputs[0, :, 2:].argmax(-1)
    again[..., 2:] = inputs[..., 2:].flip(-1)
    answers = torch.zeros_like(targets)
    answers[course.end :, :, 0] = offsets[torch.arange(batch), other].sign()
    return Trials(torch.cat((inputs, again)), torch.cat((targets, answers)))


def decisions(outputs: torch.Tensor, share: float = DECISION_SHARE) -> torch.Tensor:
    """Decisions of trials: the signs of the mean output in their last part.

    Parameters
    ----------
    outputs : Tensor, shape (steps, batch, 1)
    share : float
        The last part of a trial, in (0, 1].

    Returns
    -------
    Tensor, shape (batch,)
        −1, 0 or 1.
    """
    if not 0 < share <= 1:
        raise ValueError(f"`share` must be in (0, 1], got {share}")
    return outputs[-max(1, round(share * len(outputs))) :, :, 0].mean(0).sign()


def integrated_stimuli(trials: Trials) -> torch.Tensor:
    """Decisions of an observer that sums the stimulus named by the context at the end: the baseline of the task.

    Parameters
    ----------
    trials : Trials

    Returns
    -------
    Tensor, shape (batch,)
        −1, 0 or 1. With the published constants 1 − Φ(0.5 √200) = 8e-13 of them are wrong.
    """
    evidence = trials.inputs[..., :2].sum(0)
    return evidence[torch.arange(len(evidence)), trials.context[-1]].sign()


def bernoulli_pixels(
    images: npt.ArrayLike | torch.Tensor,
    steps: int = 50,
    *,
    seed: Seed = 0,
    dtype: torch.dtype | None = None,
) -> torch.Tensor:
    """Images as spikes: in every step a pixel spikes with the probability that is its value.

    Parameters
    ----------
    images : array_like or Tensor, shape (batch, pixels)
        Values in [0, 1].
    steps : int
        Length of a presentation; published are 50 and 100 steps of 2 ms.
    seed : int or torch.Generator
    dtype : torch.dtype, optional
        By default that of the images, where they are a floating tensor, else torch's.

    Returns
    -------
    Tensor, shape (steps, batch, pixels)
        0 and 1.

    Raises
    ------
    ValueError
        If a value is not in [0, 1], a spike a step being the most there is.
    """
    require_integer("steps", steps, 1)
    given = images if isinstance(images, torch.Tensor) else torch.as_tensor(np.asarray(images))
    if given.ndim != 2:
        raise ValueError(f"`images` must have the shape (batch, pixels), got {shown(images)}")
    if dtype is None:
        dtype = given.dtype if given.is_floating_point() else torch.get_default_dtype()
    values = given.to(dtype)
    outside = ~((values >= 0) & (values <= 1))
    if bool(outside.any()):
        image, pixel = outside.nonzero()[0].tolist()
        raise ValueError(
            f"`images` must have values in [0, 1], as a pixel spikes once a step at most, got "
            f"{values[image, pixel].item():g} at image {image}, pixel {pixel}: divide them by their largest value"
        )
    # Most pixels of images of digits are 0: nothing is drawn for them. NumPy draws and places twice as fast as PyTorch.
    rng = np.random.default_rng(int(torch.randint(2**62, (), generator=_generator(seed))))
    flat = values.detach().cpu().flatten().numpy()
    lit = np.flatnonzero(flat)
    spikes = np.zeros((steps, len(flat)), dtype=flat.dtype)
    for step in spikes:
        step[lit] = rng.random(len(lit), dtype=np.float32) < flat[lit]
    return torch.from_numpy(spikes).view(steps, *values.shape).to(values.device)


class _Course(NamedTuple):
    """Course of a trial: how many there are and how long, and the steps from and to which the stimulus lasts."""

    batch: int
    steps: int
    dt: float
    begin: int
    end: int

    @classmethod
    def of(cls, batch: int, steps: int, dt: Any, onset: Any, stimulus: Any) -> _Course:
        require_integer("batch", batch, 1)
        require_integer("steps", steps, 1)
        step = float(in_unit(dt, "ms", "dt"))
        if step <= 0:
            raise ValueError(f"`dt` must be > 0 ms, got {step}")
        begin = round(ONSET_SHARE * steps) if onset is None else _steps(onset, step, "onset")
        length = round(STIMULUS_SHARE * steps) if stimulus is None else _steps(stimulus, step, "stimulus")
        if not 0 < begin + length < steps or length < 1:
            raise ValueError(
                f"`onset` and a `stimulus` must leave time for a response in a trial of {steps} steps, got "
                f"{begin} and {length} steps: choose longer trials, or shorter parts"
            )
        return cls(batch, steps, step, begin, begin + length)


def _steps(time: Any, dt: float, name: str) -> int:
    return int(count_steps(np.asarray(in_unit(time, "ms", name)), dt, name))


def _generator(seed: Seed) -> torch.Generator:
    """Return a generator as it is, or a new one of that seed."""
    if isinstance(seed, torch.Generator):
        return seed
    require_integer("seed", seed, 0)
    return torch.Generator().manual_seed(int(seed))


def _drawn(
    course: _Course, offset: float, noise: float, generator: torch.Generator, dtype: torch.dtype | None
) -> tuple[Trials, torch.Tensor]:
    """Return trials without a change of context, and their offsets, shape (batch, 2)."""
    size, spread = real_number(offset, "offset"), real_number(noise, "noise")
    if not 0 < size < math.inf:
        raise ValueError(f"`offset` must be > 0, got {size}")
    if not 0 <= spread < math.inf:
        raise ValueError(f"`noise` must be ≥ 0, got {spread}")
    dtype = dtype or torch.get_default_dtype()
    batch, steps, _, begin, end = course
    offsets = size * (2.0 * torch.randint(2, (batch, 2), generator=generator).to(dtype) - 1)
    context = torch.randint(2, (batch,), generator=generator)
    inputs = torch.zeros((steps, batch, 4), dtype=dtype)
    inputs[begin:end, :, :2] = offsets + spread * torch.randn((end - begin, batch, 2), generator=generator, dtype=dtype)
    rows = torch.arange(batch)
    inputs[:, rows, 2 + context] = 1
    targets = torch.zeros((steps, batch, 1), dtype=dtype)
    targets[end:, :, 0] = offsets[rows, context].sign()
    return Trials(inputs, targets), offsets
