"""Back-propagation through time: weights that follow the gradient of the distance of spike trains."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mnnbio.circuit import Circuit
from mnnbio.learning.free_run import FreeRun, entered, free_run, matched, outcome_of
from mnnbio.learning.frozen_network import Codegen, FrozenNetwork
from mnnbio.learning.outcome import Learned, Status
from mnnbio.learning.targets import require_window
from mnnbio.synapses import propagator
from mnnbio.training import spike
from mnnbio.units import in_unit, require

Array = npt.NDArray[np.float64]
Report = Callable[[int, float], bool | None]

BETAS = 0.9, 0.99  # of Adam


class StepNumbers(NamedTuple):
    """Numbers of the exact step of LIF neurons; tensors of shape (n,), by target or source.

    Attributes
    ----------
    keep, v_th, v_reset, start : Tensor
        Of the neurons: decay of the membrane in a step; mV.
    fade, charge, jump : Tensor
        Of the sources: decay of the current in a step, what a spike of 1 mV adds to it (1/ms), and to v at once.
    moves : Tensor, shape (n, n)
        Propagator, ms, target × source.
    hold, delay : ndarray of int64
        Steps, of neurons and sources.
    """

    keep: Tensor
    v_th: Tensor
    v_reset: Tensor
    start: Tensor
    fade: Tensor
    charge: Tensor
    jump: Tensor
    moves: Tensor
    hold: npt.NDArray[np.int64]
    delay: npt.NDArray[np.int64]


def step_numbers(network: FrozenNetwork) -> StepNumbers:
    """Return the numbers of a network's step, in double precision.

    Raises
    ------
    TypeError
        If its neurons are not LIF with delta or exponential synapses.
    """
    network.require_lif("back-propagation")
    delta = network.tau_syn == 0
    safe = np.where(delta, 1.0, network.tau_syn)
    moves = np.stack([np.asarray(propagator(network.tau_m, float(tau), network.dt)) for tau in safe], axis=1)
    return StepNumbers(
        keep=torch.from_numpy(np.exp(-network.dt / network.tau_m)),
        v_th=torch.from_numpy(network.v_th.copy()),
        v_reset=torch.from_numpy(network.v_reset.copy()),
        start=torch.from_numpy(network.start.copy()),
        fade=torch.from_numpy(np.where(delta, 0.0, np.exp(-network.dt / safe))),
        charge=torch.from_numpy(np.where(delta, 0.0, 1 / safe)),
        jump=torch.from_numpy(delta.astype(np.float64)),
        moves=torch.from_numpy(np.where(delta, 0.0, moves)),
        hold=np.rint(network.t_ref / network.dt).astype(np.int64),
        delay=np.maximum(network.delay_steps, 1),  # a spike without delay arrives in the next step
    )


def run_differentiably(weights: Tensor, given: Tensor, numbers: StepNumbers, slope: float) -> Tensor:
    """Return the spikes of a network, (step, n), 0 or 1, which gradients flow through.

    In a step the membrane decays and takes its frozen input and the synaptic currents of the step before by the exact
    propagator, spikes arrive, then the threshold is tested; a neuron that fires is held at its reset potential for its
    refractory period. Spikes are differentiated as a fast sigmoid, the reset is not differentiated.

    Parameters
    ----------
    weights : Tensor, shape (n, n)
        mV.
    given : Tensor, shape (step, n)
        What the frozen current adds in a step, mV.
    numbers : StepNumbers
    slope : float
        Of the surrogate gradient, per distance of threshold and reset potential.
    """
    n = len(numbers.keep)
    reach = weights * numbers.moves
    hold, late = torch.from_numpy(numbers.hold), [int(d) for d in np.unique(numbers.delay)]
    columns = [torch.from_numpy((numbers.delay == steps).astype(np.float64)) for steps in late]
    by_jump, by_current = bool(numbers.jump.any()), bool(numbers.charge.any())
    voltage, current = numbers.start, torch.zeros(n, dtype=given.dtype)
    silent = torch.zeros(n, dtype=torch.int64)
    found: list[Tensor] = []
    nothing = torch.zeros(n, dtype=given.dtype)
    scale = numbers.v_th - numbers.v_reset
    for step, added in enumerate(given):
        voltage = numbers.keep * voltage + added
        if by_current:
            voltage = voltage + reach @ current
        arriving = nothing
        for steps, own in zip(late, columns, strict=True):
            if step >= steps:
                arriving = found[step - steps] if len(late) == 1 else arriving + own * found[step - steps]
        if by_jump:
            voltage = voltage + weights @ (numbers.jump * arriving)
        if by_current:
            current = numbers.fade * current + numbers.charge * arriving
        free = silent == 0
        fired = spike((voltage - numbers.v_th) / scale, slope) * free
        found.append(fired)
        over = fired.detach() > 0
        voltage = torch.where(free & ~over, voltage, numbers.v_reset)
        silent = torch.where(over, hold, (silent - 1).clamp(min=0))
    return torch.stack(found)


class _Run(torch.autograd.Function):
    """`run_differentiably` with its gradient written out, which takes a tenth of the time."""

    @staticmethod
    def forward(ctx: Any, weights: Tensor, given: Tensor, numbers: StepNumbers, slope: float) -> Tensor:
        w, added = weights.detach().numpy(), given.numpy()
        n_steps, n = added.shape
        keep, v_th, v_reset, fade, charge, jump = (
            value.numpy()
            for value in (numbers.keep, numbers.v_th, numbers.v_reset, numbers.fade, numbers.charge, numbers.jump)
        )
        reach, jumps = w * numbers.moves.numpy(), w * jump
        by_jump, by_current = bool(jump.any()), bool(charge.any())
        # Arrivals begin with the longest delay, in which nothing arrives.
        late = int(numbers.delay.max())
        places = late - numbers.delay, np.arange(n)
        fired = np.zeros((late + n_steps, n))
        above, currents, free = np.empty((n_steps, n)), np.zeros((n_steps + 1, n)), np.empty((n_steps, n), dtype=bool)
        arrivals = np.empty((n_steps, n))
        voltage, wake = numbers.start.numpy().copy(), np.zeros(n, dtype=np.int64)
        for step in range(n_steps):
            voltage = keep * voltage + added[step]
            arriving = arrivals[step] = fired[step + places[0], places[1]]
            if by_current:
                voltage += reach @ currents[step]
                currents[step + 1] = fade * currents[step] + charge * arriving
            if by_jump:
                voltage += jumps @ arriving
            above[step] = voltage - v_th
            free[step] = wake <= step
            over = (above[step] > 0) & free[step]
            fired[late + step] = over
            held = over | ~free[step]
            voltage[held] = v_reset[held]
            wake[over] = step + 1 + numbers.hold[over]
        ctx.course = above, currents[:-1], free, arrivals
        ctx.numbers, ctx.weights, ctx.slope = numbers, w, slope
        return torch.from_numpy(fired[late:])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        above, currents, free, arrivals = ctx.course
        numbers, w = ctx.numbers, ctx.weights
        n_steps, n = above.shape
        keep, fade, charge, jump = (v.numpy() for v in (numbers.keep, numbers.fade, numbers.charge, numbers.jump))
        reach_back, jump_back = (w * numbers.moves.numpy()).T.copy(), (w * jump).T.copy()
        by_jump, by_current = bool(jump.any()), bool(charge.any())
        late = int(numbers.delay.max())
        steps_later, sources = numbers.delay, np.arange(n)
        scale = (numbers.v_th - numbers.v_reset).numpy()
        slopes = free / scale / np.square(1 + ctx.slope * np.abs(above) / scale)
        stays = keep * (free & ~(above > 0))
        of_spikes = grads[0].numpy()
        of_arrivals = np.zeros((n_steps + late, n))
        of_voltages = np.zeros((n_steps, n))
        voltage, current = np.zeros(n), np.zeros(n)
        for step in range(n_steps - 1, -1, -1):
            # Arrivals of a step are no earlier than its spikes, as delays are at least one step.
            arriving = of_spikes[step] + of_arrivals[step + steps_later, sources]
            voltage = slopes[step] * arriving + stays[step] * voltage
            of_voltages[step] = voltage
            if by_current:
                of_arrivals[step] = charge * current
                current = fade * current + reach_back @ voltage
            if by_jump:
                of_arrivals[step] += jump_back @ voltage
        found = (of_voltages.T @ currents) * numbers.moves.numpy() + (of_voltages.T @ arrivals) * jump
        return torch.from_numpy(found), None, None, None


def run_with_gradient(weights: Tensor, given: Tensor, numbers: StepNumbers, slope: float) -> Tensor:
    """Return what `run_differentiably` does, spikes and gradient with respect to the weights, ten times as fast.

    Gradients do not flow to `given`.
    """
    return _Run.apply(weights, given, numbers, slope)


def train_distance(spikes: Tensor, target: Tensor, keep: float, rate_cost: float) -> Tensor:
    """Return the loss: squared van Rossum distances plus squared differences of counts, over the target's spikes.

    ``Σ_i [ (1 - keep²) Σ_k (h ∗ (s - s*))² + rate_cost/n* (Σ_k s - s*)² ] / N*`` with h an exponential that decays by
    `keep` in a step, so that a spike without a partner counts 1 in the first part, n* the mean number of target spikes
    per neuron and N* that of all.

    Parameters
    ----------
    spikes, target : Tensor, shape (step, n)
    keep : float
    rate_cost : float

    References
    ----------
    M. C. W. van Rossum (2001), A novel spike distance, Neural Computation 13, 751-763, eq. 2.
    """
    difference = spikes - target
    # A product of spectra, padded so that what follows the record's end counts until it has decayed.
    tail = int(np.ceil(np.log(1e-9) / np.log(keep)))
    length = 2 ** int(np.ceil(np.log2(len(spikes) + tail)))
    kernel = keep ** torch.arange(tail, dtype=spikes.dtype)
    spectrum = torch.fft.rfft(difference, length, dim=0) * torch.fft.rfft(kernel, length)[:, None]
    trace = torch.fft.irfft(spectrum, length, dim=0)
    number = target.sum().clamp(min=1.0)
    counts = difference.sum(dim=0).square().sum() / (number / target.shape[1])
    return ((1 - keep**2) * trace.square().sum() + rate_cost * counts) / number


@dataclass(frozen=True, kw_only=True)
class BackPropagation:
    """Learn spike trains by back-propagation through time with surrogate gradients, of the freely running network.

    Each pass runs the network in PyTorch, with the steps of the simulation, takes the gradient of `train_distance`
    through its spikes, divides it by its norm and makes a step of Adam, whose size falls linearly to 0. Weights keep
    their sign and stay 0 where there is no synapse.

    Parameters
    ----------
    passes : int
        ≥ 1.
    rate : float or Quantity
        Size of the first step of a weight, mV; > 0.
    tau : float or Quantity
        Time constant of the van Rossum distance, ms; > 0.
    rate_cost : float
        Cost of differences of spike counts, ≥ 0.
    slope : float
        Of the surrogate gradient, per distance of threshold and reset potential; > 0.
    signs : bool
        Whether weights keep the sign that those of their source have in the circuit.
    window : float or Quantity
        Longest distance of spikes that match, ms, in the score.

    Raises
    ------
    ValueError
        If a value is out of its range.

    References
    ----------
    F. Zenke, S. Ganguli (2018), SuperSpike: supervised learning in multilayer spiking neural networks, Neural
    Computation 30, 1514-1541 (surrogate, eq. 2 to 4). D. P. Kingma, J. Ba (2015), Adam, ICLR.
    """

    passes: int = 300
    rate: Any = 0.1
    tau: Any = 8.0
    rate_cost: float = 0.05
    slope: float = 30.0
    signs: bool = True
    window: Any = 4.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "rate", in_unit(self.rate, "mV", "rate"))
        object.__setattr__(self, "tau", in_unit(self.tau, "ms", "tau"))
        object.__setattr__(self, "window", in_unit(self.window, "ms", "window"))
        require(np.asarray(self.passes) >= 1, "passes", "≥ 1", self.passes)
        require(np.asarray(self.rate) > 0, "rate", "> 0 mV", self.rate)
        require(np.asarray(self.tau) > 0, "tau", "> 0 ms", self.tau)
        require(np.asarray(self.rate_cost) >= 0, "rate_cost", "≥ 0", self.rate_cost)
        require(np.asarray(self.slope) > 0, "slope", "> 0", self.slope)

    def fit(
        self,
        target: Any,
        circuit: Circuit | FrozenNetwork,
        currents: Any = None,
        *,
        dt: Any = 0.1,
        codegen: Codegen = "cpp_standalone",
        progress: Report | None = None,
    ) -> Learned:
        """Return the network with the weights of the last pass, and with those of the best.

        Parameters
        ----------
        target, circuit, currents, dt, codegen
            As of `LinearProgramme.fit`, but neurons may be without a train; learning starts from the circuit's weights.
        progress : callable, optional
            Called with the passes done and F after every pass; learning stops if it returns True.

        Returns
        -------
        Learned
            ``history`` has one pass per gradient step, with the `loss` in it.
        """
        with entered(circuit, currents, dt, codegen) as network:
            targets = network.targets(target)
            window = require_window(self.window, network.dt)
            numbers = step_numbers(network)
            given = torch.from_numpy((1 - numbers.keep.numpy()) * network.tau_m * network.currents)
            wanted = torch.from_numpy(targets.raster.astype(np.float64))
            chosen = torch.from_numpy(targets.has_target)
            present = torch.from_numpy(network.connections.astype(np.float64))
            signs = torch.from_numpy(network.signs if self.signs else np.zeros(network.size))
            weights = torch.from_numpy(network.weights.copy()).requires_grad_()
            optimiser = torch.optim.Adam([weights], lr=self.rate, betas=BETAS)
            keep = float(np.exp(-network.dt / self.tau))
            course: dict[str, list[float]] = {"F": [], "precision": [], "recall": [], "rate": [], "loss": []}
            best, best_f = network.weights, -1.0
            last = network.weights
            status: Status = "passes used up"
            for done in range(1, self.passes + 1):
                optimiser.param_groups[0]["lr"] = self.rate * (1 - (done - 1) / self.passes)
                optimiser.zero_grad()
                spikes = run_with_gradient(weights, given, numbers, self.slope)
                loss = train_distance(spikes[:, chosen], wanted[:, chosen], keep, self.rate_cost)
                last = weights.detach().numpy().copy()
                fired = spikes.detach().numpy() > 0
                score = matched([np.flatnonzero(train) for train in fired.T], targets, window)
                hertz = 1e3 * float(fired.sum()) / (network.size * network.n_steps * network.dt)
                for name, value in zip(course, (*score, hertz, float(loss.detach())), strict=True):
                    course[name].append(value)
                if score[0] > best_f:
                    best, best_f = last, score[0]
                if progress is not None and progress(done, score[0]):
                    status = "stopped"
                    break
                if score[0] == 1:
                    status = "converged"
                    break
                torch.autograd.backward(loss)
                assert weights.grad is not None
                weights.grad *= present
                weights.grad /= weights.grad.norm() + 1e-12
                optimiser.step()
                with torch.no_grad():
                    weights.copy_(torch.where(weights * signs < 0, 0.0, weights))
            runs: list[FreeRun] = [free_run(network, own, targets, window) for own in (best, last)]
            message = "Every spike is matched." if status == "converged" else f"The best pass has F = {best_f:.3f}."
            return outcome_of("back-propagation through time", network, targets, runs, status, message, columns=course)
