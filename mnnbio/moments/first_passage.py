"""Exact interspike intervals of a neuron that is simulated in steps and receives jumps of finite size.

Between spikes the membrane is a Markov chain, ``V' = aV + b + J`` with ``a = e^{−dt/tau_m}``, a constant b, and J the
sum of one step's jumps and noise; it is absorbed at threshold. The number n of steps from v to threshold obeys the
backward equation ``E[n](v) = 1 + Σ_J P(J) E[n](av + b + J)``, zero at threshold and above, and its higher moments
likewise (Kemeny & Snell, Finite Markov Chains, ch. 3, for the finite chain). With piecewise cubic functions on a
voltage grid this is one linear system, with three right-hand sides for three moments and one for the gain.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mnnbio.moments.drive import Neuron, as_parameter, from_rest

# Nodes between reset and threshold, and points of the distribution of J between two nodes. With some Gaussian noise,
# 800 nodes change rates by less than 0.1 %; without, where few inputs of equal weight make J a lattice, by up to 0.5 %.
NODES = 200
SUBDIVISION = 8
# How far below its mean the free potential is followed, and the distribution of J, in standard deviations.
REACH = 6.0


class Passage(NamedTuple):
    """Output statistics of a neuron: those of `Activation`, and `interval_skewness`."""

    rate: Tensor
    variance: Tensor
    gain: Tensor
    skewness: Tensor


class StepInput(NamedTuple):
    """Input of one neuron in one step.

    Attributes
    ----------
    current : Tensor, scalar
        Constant current, mV/ms.
    noise : Tensor, scalar
        Standard deviation of Gaussian white noise, mV/√ms.
    weights : Tensor, shape (m,)
        Jumps, mV.
    expected : Tensor, shape (m,)
        Expected number of each jump in a step.
    bernoulli : Tensor of bool, shape (m,)
        Whether an input gives at most one jump a step, or a Poisson number.
    """

    current: Tensor
    noise: Tensor
    weights: Tensor
    expected: Tensor
    bernoulli: Tensor


def first_passage(step: StepInput, lif: Neuron, dt: float) -> Passage:
    """Return the exact output statistics of one neuron in discrete time.

    Parameters
    ----------
    step : StepInput
        Its input.
    lif : LIFParameters or alike
        The neuron, in ms and mV.
    dt : float
        Time step, ms.

    Returns
    -------
    Passage
        Scalars: rate (1/ms), long-window count variance per time (1/ms), gain (∂rate/∂current, 1/mV), skewness.

    Notes
    -----
    Where the mean number of steps exceeds what float64 resolves (rates below some 1e-12 per step), the rate is 0.
    """
    own = from_rest(lif)
    tau_m, v_th, v_reset, t_ref = (as_parameter(x, step.current) for x in (own.tau_m, own.v_th, own.v_reset, own.t_ref))
    decay = torch.exp(-dt / tau_m)
    offset = -torch.expm1(-dt / tau_m) * tau_m * step.current
    step_noise = step.noise * torch.sqrt(-torch.expm1(-2 * dt / tau_m) * tau_m / 2)
    width = (v_th - v_reset) / NODES
    lowest = _lowest(step, step_noise, decay, offset, v_reset)
    # A jump across the whole range fires from everywhere: its size beyond that does not matter.
    step = step._replace(weights=torch.minimum(step.weights, v_th - lowest))
    jumps, probability = _distribution(step, step_noise, width / SUBDIVISION)
    below = int(torch.ceil((v_reset - lowest) / width).item())
    nodes = v_reset + width * torch.arange(-below, NODES + 1, dtype=v_th.dtype, device=v_th.device)

    kernel = _kernel(decay * nodes + offset, nodes, width, jumps, probability)
    system = torch.linalg.lu_factor(torch.eye(len(nodes), dtype=kernel.dtype, device=kernel.device) - kernel)

    def solve(right: Tensor) -> Tensor:
        return torch.linalg.lu_solve(*system, right[:, None])[:, 0]

    first = solve(torch.ones_like(nodes))
    second = solve(1 + 2 * (kernel @ first))
    third = solve(1 + 3 * (kernel @ first) + 3 * (kernel @ second))
    slope = (
        _kernel(decay * nodes + offset + width / 2, nodes, width, jumps, probability)
        - _kernel(decay * nodes + offset - width / 2, nodes, width, jumps, probability)
    ) @ (first / width)
    n, n2, n3, by_offset = (moment[below] for moment in (first, second, third, solve(slope)))
    if not 0 < n < 1e12:
        zero = torch.zeros_like(n)
        return Passage(zero, zero, zero, zero + 2)
    interval = t_ref + n * dt
    variance = (n2 - n**2) * dt**2
    central = (n3 - 3 * n * n2 + 2 * n**3) * dt**3
    rate = 1 / interval
    gain = -(rate**2) * by_offset * dt * -torch.expm1(-dt / tau_m) * tau_m
    return Passage(rate, variance * rate**3, gain, central * rate**3)


def _lowest(step: StepInput, step_noise: Tensor, decay: Tensor, offset: Tensor, v_reset: Tensor) -> Tensor:
    """Return a potential, mV, below which the membrane practically never is between reset and threshold."""

    def reached(weights: Tensor) -> Tensor:
        variance = (weights**2 * step.expected).sum() + step_noise**2
        mean = (offset + (weights * step.expected).sum()) / (1 - decay)
        spread = (variance / (1 - decay**2)).sqrt()
        # A walk that starts at reset and drifts upwards by m a step, with variance s², dips by d with probability
        # e^{−2md/s²}, or less.
        drift = ((1 - decay) * (mean - v_reset)).clamp(min=1e-12)
        dip = torch.minimum(REACH * spread, REACH**2 / 4 * variance / drift)
        return torch.minimum(mean - REACH * spread, v_reset - dip)

    # Excitation can only be absent: what is left without it bounds the potential too.
    return torch.minimum(v_reset, torch.maximum(reached(step.weights), reached(step.weights.clamp(max=0))))


def _distribution(step: StepInput, step_noise: Tensor, spacing: Tensor) -> tuple[Tensor, Tensor]:
    """Return the values of J on a grid, (k,), and their probabilities, from the characteristic function.

    Every jump is shared between the three nearest grid points so that its mean and variance are kept.
    """
    variance = (step.weights**2 * step.expected).sum() + step_noise**2
    reach = REACH * torch.sqrt(variance) + 4 * step.weights.abs().max() if len(step.weights) else REACH * step_noise
    half = int(torch.ceil((reach + (step.weights * step.expected).sum().abs()) / spacing).item()) + 2
    size = 1 << (2 * half + 1).bit_length()
    angle = 2 * torch.pi * torch.fft.rfftfreq(size, dtype=spacing.dtype, device=spacing.device)
    log_phi = torch.complex(-0.5 * (step_noise / spacing * angle) ** 2, torch.zeros_like(angle))
    position = step.weights / spacing
    nearest = position.round()
    f = position - nearest
    # e^{−iωw} ≈ e^{−iωn}(1 − f·i sin ω − f²(1 − cos ω)): the first two moments of w exactly.
    turn = torch.exp(-1j * angle[:, None] * nearest) * torch.complex(
        1 - f**2 * (1 - torch.cos(angle))[:, None], -f * torch.sin(angle)[:, None]
    )
    once = step.expected * (turn - 1)
    log_phi = log_phi + torch.where(step.bernoulli, torch.log1p(once), once).sum(1)
    mass = torch.fft.irfft(torch.exp(log_phi), n=size)
    mass = torch.roll(mass, half)[: 2 * half + 1]
    return spacing * torch.arange(-half, half + 1, dtype=spacing.dtype, device=spacing.device), mass / mass.sum()


def _kernel(start: Tensor, nodes: Tensor, width: Tensor, jumps: Tensor, probability: Tensor) -> Tensor:
    """Return the weights of a function's node values in its mean after a step from every `start`, (node, node).

    Cubic interpolation, for linear interpolation acts as additional noise of variance width²/6 a step. Nothing from the
    last node, the threshold, on; below the first node its value.
    """
    size = len(nodes)
    place = ((start[:, None] + jumps - nodes[0]) / width).clamp(min=0)
    alive = place < size - 1
    mass = torch.where(alive, probability, 0.0)
    first = (place.long() - 1).clamp(0, size - 4)
    t = torch.where(alive, place - first, 0.0)
    kernel = torch.zeros(size, size, dtype=nodes.dtype, device=nodes.device)
    lagrange = (
        -(t - 1) * (t - 2) * (t - 3) / 6,
        t * (t - 2) * (t - 3) / 2,
        -t * (t - 1) * (t - 3) / 2,
        t * (t - 1) * (t - 2) / 6,
    )
    for k, weight in enumerate(lagrange):
        kernel.scatter_add_(1, first + k, mass * weight)
    return kernel
