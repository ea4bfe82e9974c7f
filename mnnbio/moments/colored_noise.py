r"""Neurons that receive noise with a memory: white noise that exponential synapses filter, beside white noise.

A synapse of time constant tau_s filters white noise. For every ratio ``k = tau_s/tau_m`` there is a neuron that white
noise drives to the same rate, and its thresholds are tabulated here. Let σ² be the variance of the free potential,

    σ² = (tau_m/2) std² (white + (1 - white)/(1 + k)),

``std²`` being the power of all noise at frequency zero and `white` the share of it that is not filtered. White noise
that brings the same σ makes the neuron fire at the same rate once its threshold and its reset potential are higher by
``δ σ``. The displacement δ is a smooth function of five numbers: of threshold and span in units of σ, of k, of the
share ``b`` of σ² that is due to white noise, and of the refractory period, in which the current relaxes while the
potential is held. It is 0 in white noise, ``(α/2) √(2 k)`` for small k, ``α = √2 |ζ(1/2)|`` [1]_, and stays finite in
the limit of slow synapses, where the rate is the average of that in constant input over the current [2]_.

``benchmarks/make_colored_table.py`` made the table from the Fokker-Planck equation (`mnnbio.moments.fokker_planck`),
and from that average for ``k → ∞``. Between its nodes cubic splines interpolate. Of 200 random neurons that fire at
0.005 spikes per tau_m and more, rates differ from the equation's by at most 0.5 % (95 % of them by 0.1 %), gains by
1 %, the variance by 2.6 % (0.7 %).

Counts in long windows vary by the spikes' own irregularity and by the slow current, whose power at frequency zero is
std² however slow it is:

    variance = A (1 + K/10) variance_w + gain² std² K/(1 + K),    K = (1 - b) k,

variance_w that of the neuron in white noise and A another function in the table, 1 in white noise and finite for all k;
K/10 is there for the answer to the current being nonlinear.

**Several filters.** For the slowest of them, all others are fast: noise that reaches the neuron through them counts as
white for its displacement, and is displaced in turn by what the next slower filter of what is left does, in units of
what is left of σ,

    displacement = Σ_j √B_j δ(threshold/√B_j, span/√B_j, k_j, b_j),

B_j being the share of σ² of filter j and all faster ones with white noise, and b_j that of the faster ones in it. Each
term is right where the time constants differ by much; rates of simulations with filters of 0.2 to 1,000 ms beside one
of 2 ms are met within 0.9 %.

References
----------
.. [1] N. Fourcaud, N. Brunel (2002), Dynamics of the firing probability of noisy integrate-and-fire neurons, Neural
   Comput. 14, 2057, section 4.
.. [2] R. Moreno-Bote, N. Parga (2004), Role of synaptic filtering on the firing response of simple model neurons, Phys.
   Rev. Lett. 92, 028102.
"""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mnnbio.moments.activation import moment_activation
from mnnbio.moments.drive import Neuron, NeuronTensors, as_parameter, from_rest
from mnnbio.moments.overshoot import ZETA_HALF, discrete_lif

HALF_ALPHA = -ZETA_HALF / math.sqrt(2)  # α/2

# Nodes of the table: coordinates of threshold, span, ratio of time constants, white share and refractory period.
THRESHOLD_NODES = np.linspace(0.0, 5.75, 24)
SPAN_NODES = np.linspace(0.05, 0.95, 11)
RATIO_NODES = np.linspace(0.0, 1.0, 13)
WHITE_NODES = np.linspace(0.0, 1.0, 6)
REFRACTORY_NODES = np.linspace(0.0, 0.8, 5)
AXES = (THRESHOLD_NODES, SPAN_NODES, RATIO_NODES, WHITE_NODES, REFRACTORY_NODES)

BEND, SPAN_SCALE = 16.0, 4.0  # of the coordinates of threshold and span
ROUNDING = 1e-9  # of shares that are all
NONLINEAR = 0.1  # of K, in the spikes' own irregularity
MATCHING_STEPS, MATCHING_TOLERANCE = 100, 1e-12  # of the threshold of a rate
AT_ONCE = 4096  # neurons that are interpolated at a time


def colored_lif(std: Tensor, lif: Neuron, tau_s: Tensor | float) -> NeuronTensors:
    """Return the neuron that in white noise fires like `lif` in that noise through fast synapses, to first order.

    Its threshold and reset potential are higher by ``(α/2) √tau_s std`` [1]_: the potential is smooth on times shorter
    than tau_s, and seldom comes back once it crossed the threshold. The error of the rate is some -1 % at a ratio
    tau_s/tau_m of 0.1, -4 % at 0.25, -13 % at 0.5; `effective_lif` holds at all. This one does not depend on the mean,
    so that its responses to fast modulations are those of [1]_.

    Parameters
    ----------
    std : Tensor
        Standard deviation of the input current before the synaptic filter, mV/√ms.
    lif : LIFParameters or alike
    tau_s : Tensor or float
        Synaptic time constant, ms; ≥ 0.

    Returns
    -------
    NeuronTensors
        `v_th` and `v_reset` have the broadcast shape of `std` and the parameters.

    Raises
    ------
    ValueError
        If tau_s is negative.

    References
    ----------
    .. [1] N. Fourcaud, N. Brunel (2002), Neural Comput. 14, 2057, section 4.

    Examples
    --------
    >>> import torch
    >>> from mnnbio import LIFParameters
    >>> colored_lif(torch.tensor(1.0), LIFParameters(), tau_s=0.25).v_th
    tensor(20.5163)
    """
    tau = _time(tau_s, std)
    tau_m, v_th, v_reset, t_ref = _parameters(lif, std)
    shift = HALF_ALPHA * tau.sqrt() * std
    return NeuronTensors(tau_m, v_th + shift, v_reset + shift, t_ref)


class JointFilter(NamedTuple):
    """Noise of several filters as white noise and that of one filter, each of shape (n,)."""

    tau_s: Tensor  # ms
    white: Tensor  # share of the power at zero frequency that is not filtered


def joint_filter(power: Tensor, tau_s: Tensor, tau_m: Tensor) -> JointFilter:
    """Return white noise and one filter that leave the potential the variance that several filters give it.

    Parameters
    ----------
    power : Tensor, shape (filter, ...)
        Variance per time of the noise through each, mV²/ms; ≥ 0.
    tau_s : Tensor, shape (filter,)
        Their time constants, ms; 0 for white noise.
    tau_m : Tensor
        Membrane time constants, ms; broadcasts with ``power[0]``.
    """
    tau = tau_s.reshape(-1, *(1,) * (power.ndim - 1))
    filtered = torch.where(tau > 0, power, 0.0)
    total, slow = power.sum(0), filtered.sum(0)
    left = (filtered / (1 + tau / tau_m)).sum(0)
    some = slow > 0
    ratio = torch.where(some, slow / torch.where(some, left, 1.0) - 1, 0.0)
    white = torch.where(some, 1 - slow / torch.where(some, total, 1.0), 0.0)
    return JointFilter(ratio.clamp(min=0.0) * tau_m, white.clamp(min=0.0))


class ColoredAnswer(NamedTuple):
    """Statistics of neurons in noise with a memory, and the neuron that in white noise fires at the same rate."""

    rate: Tensor  # 1/ms
    variance: Tensor  # of counts in long windows per time, 1/ms
    gain: Tensor  # ∂rate/∂mean, 1/mV
    slow_variance: Tensor  # the part of `variance` beyond that in white noise, which the slow current brings, 1/ms
    slow_time: Tensor  # with which the correlation of that current decays, ms
    lif: NeuronTensors


def colored_activation(
    mean: Tensor,
    std: Tensor,
    lif: Neuron,
    tau_s: Tensor | float = 0.0,
    *,
    shares: Tensor | None = None,
    dt: float | None = None,
) -> ColoredAnswer:
    """Return rate, count variance and gain of neurons in noise through exponential synapses of any time constants.

    Parameters
    ----------
    mean : Tensor
        Mean of the input current, mV/ms.
    std : Tensor
        Standard deviation of the input before the synaptic filter, mV/√ms, ≥ 0; broadcasts with `mean`.
    lif : LIFParameters or alike
    tau_s : Tensor or float
        Synaptic time constant, ms, 0 for delta synapses; or those of several kinds of synapses, (kind,).
    shares : Tensor, shape (kind, ...), optional
        Shares of ``std²`` that pass through each kind; what they leave is white noise. By default all passes through
        the one kind.
    dt : float, optional
        Time step in which the threshold is tested, ms; by default, continuous time.

    Returns
    -------
    ColoredAnswer
        Differentiable with respect to all inputs.

    Raises
    ------
    ValueError
        If a time constant is negative, or shares are negative or more than all.

    Examples
    --------
    >>> import torch
    >>> from mnnbio import LIFParameters
    >>> mean, std = torch.tensor([0.8], dtype=float), torch.tensor([1.0], dtype=float)
    >>> colored_activation(mean, std, LIFParameters(), tau_s=20.0).rate.round(decimals=4)
    tensor([0.0014], dtype=torch.float64)
    """
    found = _displaced(mean, std, lif, dt, tau_s, shares)
    rate, variance, gain = moment_activation(mean, std, found.lif)
    if found.slope is None:
        return ColoredAnswer(rate, variance, gain, torch.zeros_like(rate), torch.zeros_like(rate), found.lif)
    gain = gain * found.slope
    whole = (found.own * variance).clamp(min=0.0) + gain**2 * std**2 * found.slow
    slow = (whole - variance).clamp(min=0.0)
    return ColoredAnswer(rate, whole, gain, slow, found.slow_time.expand(slow.shape), found.lif)


def effective_lif(
    mean: Tensor,
    std: Tensor,
    lif: Neuron,
    dt: float | None = None,
    tau_s: Tensor | float = 0.0,
    *,
    shares: Tensor | None = None,
) -> NeuronTensors:
    """Return the neuron that in continuous time, driven by white noise, fires at the rate of `lif` as it is simulated.

    Synapses and time steps both displace the threshold, together by little more than the larger of the two: noise with
    a memory of a step and more is displaced as in continuous time, but for the drift in half a step.

    Its threshold and reset potential are displaced alike, by what gives its rate in noise of the same `std`: for fast
    synapses by that of `colored_lif`. It stands for the neuron where responses to modulations are asked for. Its gain
    is that of the neuron within 3 % for ``tau_s/tau_m`` up to 0.05, 10 % at 0.25 and 47 % at 2.5; `colored_activation`
    has it right.

    Parameters
    ----------
    mean, std, lif, tau_s, shares, dt
        As for `colored_activation`.
    """
    found = _displaced(mean, std, lif, dt, tau_s, shares)
    if found.slope is None:
        return found.lif
    target = moment_activation(mean, std, found.lif).rate
    start, target = (v.expand(torch.broadcast_shapes(v.shape, target.shape)) for v in (found.start, target))
    with torch.no_grad():
        shift = _matching(mean, std, found.base, target, start)
    reached = moment_activation(mean, std, _raised(found.base, shift))
    firing = (target > 0) & (reached.gain > 0)
    slope = torch.where(firing, reached.gain / found.base.tau_m, 1.0).detach()
    # One step of Newton's method, which changes nothing but carries the derivatives.
    return _raised(found.base, shift + torch.where(firing, (reached.rate - target) / slope, 0.0))


def _raised(lif: NeuronTensors, shift: Tensor) -> NeuronTensors:
    return lif._replace(v_th=lif.v_th + shift, v_reset=lif.v_reset + shift)


def _matching(mean: Tensor, std: Tensor, lif: NeuronTensors, target: Tensor, start: Tensor) -> Tensor:
    """Return by how much to raise thresholds for a rate: Newton's method within the bounds known so far."""
    firing = target > 0
    reach = std * lif.tau_m.sqrt() + 1e-300
    shift, low, high = start.clone(), torch.full_like(start, -torch.inf), torch.full_like(start, torch.inf)
    for _ in range(MATCHING_STEPS):
        found = moment_activation(mean, std, _raised(lif, shift))
        above = found.rate > target
        low, high = torch.where(above, shift, low), torch.where(above, high, shift)
        slope = found.gain / lif.tau_m
        # Of the logarithm of the rate, which bends less.
        excess = torch.log(found.rate.clamp(min=1e-300)) - torch.log(target.clamp(min=1e-300))
        step = (excess * found.rate / torch.where(slope > 0, slope, torch.inf)).clamp(-reach, reach)
        step = torch.where(slope > 0, step, torch.where(above, reach, -reach))
        following = shift + step
        middle = torch.where(torch.isfinite(low) & torch.isfinite(high), (low + high) / 2, following)
        following = torch.where((following >= low) & (following <= high), following, middle)
        following = torch.where(firing & (found.rate != target), following, shift)
        if bool(((following - shift).abs() <= MATCHING_TOLERANCE * reach).all()):
            return following
        shift = following
    return shift


class _Displaced(NamedTuple):
    lif: NeuronTensors  # which white noise of the same std drives to the rate
    base: NeuronTensors  # as the time step leaves it
    start: Tensor  # displacement by fast synapses, mV
    slope: Tensor | None = None  # of the place of the threshold with the mean, over that in white noise; None: the same
    own: Tensor = torch.ones(())  # A (1 + K/10), the count variance of the spikes' own irregularity over that of `lif`
    slow: Tensor = torch.zeros(())  # K/(1 + K)
    slow_time: Tensor = torch.zeros(())  # of the slow current, ms


def _displaced(
    mean: Tensor, std: Tensor, lif: Neuron, dt: float | None, tau_s: Tensor | float, shares: Tensor | None
) -> _Displaced:
    tau = _time(tau_s, std)
    tau, part = (tau[None], torch.ones_like(tau[None])) if shares is None else _kinds(tau, as_parameter(shares, std))
    base = _parameters(lif, std)
    if dt is not None:
        stepped = discrete_lif(mean, std, lif, dt)
        drifting = ((mean - base.v_th / base.tau_m) * dt / 2).clamp(min=0.0)
        felt = torch.sqrt(1 - part.sum(0) + (part * _stepped_part(tau / dt) ** 2).sum(0))
        base = base._replace(v_th=base.v_th + felt * (stepped.v_th - base.v_th) + (1 - felt) * drifting)
    start = HALF_ALPHA * (part * _root(tau)).sum(0) * std
    if not bool(((tau > 0) & (part > 0)).any()):
        return _Displaced(base, base, start)
    tau_m, v_th, v_reset, t_ref = base
    ratio = tau / tau_m
    fast = [1 - part.sum(0)]  # variance of the potential by white noise and the first filters, over that in white noise
    for share, k in zip(part, ratio, strict=True):
        fast.append(fast[-1] + share / (1 + k))
    left = fast[-1]
    stretch = left.rsqrt()
    scale = std * (tau_m / 2).sqrt()
    sigma = scale / stretch
    noisy = sigma > 0
    safe = torch.where(noisy, sigma, 1.0)
    threshold = torch.where(noisy, (v_th - mean * tau_m) / safe, 0.0)
    span = torch.where(noisy, (v_th - v_reset) / safe, 1.0)
    displacement, along, own = (torch.zeros_like(threshold) + v for v in (0.0, 1.0, 1.0))
    for faster, whole, k in zip(fast[:-1], fast[1:], ratio, strict=True):
        some = whole > 0
        root = torch.where(some, whole / left, 1.0).sqrt()
        white = faster / torch.where(some, whole, 1.0)
        at = threshold / root
        coordinates = table_coordinates(at, span / root, k, white, t_ref / tau_m)
        shape = torch.broadcast_shapes(*(c.shape for c in coordinates))
        moved, slope, factor = (v.to(std.dtype) for v in _interpolate(coordinates, shape))
        weight = torch.where(some, root, 0.0)
        displacement = displacement + weight * moved
        along = along + torch.where(some, slope * _threshold_slope(at), 0.0)
        own = own + weight**2 * (factor * (1 + NONLINEAR * (1 - white) * k) - 1)
    shift = torch.where(noisy, displacement, 0.0) * scale
    center = mean * tau_m
    raised = [center + (v - center) * stretch + shift for v in (v_th, v_reset)]
    found = base._replace(v_th=raised[0], v_reset=raised[1])
    slow = part * ratio / (1 + ratio)
    total = slow.sum(0)
    time = (slow * tau).sum(0) / torch.where(total > 0, total, 1.0)
    return _Displaced(found, base, start, stretch * torch.where(noisy, along, 1.0), own, 1 - left, time)


def _kinds(tau: Tensor, shares: Tensor) -> tuple[Tensor, Tensor]:
    """Return time constants, from the fastest, and shares of the noise, each (kind, ...)."""
    if tau.ndim != 1 or len(tau) != len(shares):
        raise ValueError(
            f"`tau_s` and `shares` must be (kind,) and (kind, ...), got {tuple(tau.shape)} and {tuple(shares.shape)}"
        )
    whole = shares.sum(0)
    if not bool((shares >= 0).all() and (whole <= 1 + ROUNDING).all()):
        raise ValueError(
            f"`shares` must be ≥ 0 and their sum ≤ 1, got {float(shares.min()):g} and a sum of {float(whole.max()):g}"
        )
    order = tau.argsort()
    return tau[order].reshape(-1, *(1,) * (shares.ndim - 1)), shares[order] / whole.clamp(min=1.0)


def table_coordinates(
    threshold: Tensor, span: Tensor, ratio: Tensor, white: Tensor, refractory: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the coordinates of the table: bounded, and such that the displacement is smooth in them.

    Parameters
    ----------
    threshold, span : Tensor
        Of the potential over σ, from the mean potential and from the reset potential.
    ratio : Tensor
        ``tau_s/tau_m``.
    white : Tensor
        b, the share of σ² that is due to white noise.
    refractory : Tensor
        ``t_ref/tau_m``.
    """
    root = (threshold**2 + BEND).sqrt()
    above = threshold > 0
    far = torch.where(above, (threshold + root) / 2, BEND / 2 / (root - torch.where(above, 0.0, threshold)))
    slow = _root(ratio)
    return (
        far,
        span / (span + SPAN_SCALE),
        slow / (1 + slow),
        _root(white.clamp(0.0, 1.0)),
        refractory / (refractory + ratio / (1 + ratio / 2) + 1e-12),
    )


def _root(x: Tensor) -> Tensor:
    """Return the square root, with the derivative 0 at 0."""
    some = x > 0
    return torch.where(some, torch.where(some, x, 1.0).sqrt(), 0.0)


def _stepped_part(steps: Tensor) -> Tensor:
    """Return which part of the overshoot of white noise displaces the threshold beyond what the filter does.

    With z the displacement ``(α/2) √tau_s std`` over the overshoot, their sum is the overshoot times
    ``(1 + z^8)^{1/8}`` in simulated walks with increments of a memory of tau_s, within 2 % of the deviation of a step:
    a walk that is overshot by more has less of its momentum left.
    """
    z = _root(math.pi * steps)
    return ((1 + z**8) ** (1 / 8) - z).clamp(min=0.0)


def _threshold_slope(threshold: Tensor) -> Tensor:
    """Return the derivative of the coordinate of the threshold."""
    return (1 + threshold / (threshold**2 + BEND).sqrt()) / 2


@cache
def _table() -> Tensor:
    """Return the coefficients of the splines of displacement and A, (…, 2)."""
    with np.load(Path(__file__).with_name("colored.npz")) as file:
        values = np.stack([file["displacement"], file["own"]], -1).astype(np.float64)
    return torch.from_numpy(spline_coefficients(values))


def spline_coefficients(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the coefficients of cubic B-splines that interpolate values on the nodes, two more along each axis."""
    for axis, nodes in enumerate(AXES):
        n = len(nodes)
        matrix, jump = np.zeros((n + 2, n + 2)), np.array([1.0, -4.0, 6.0, -4.0, 1.0])
        for k in range(n):
            matrix[k, k : k + 3] = 1 / 6, 2 / 3, 1 / 6
        matrix[n, :5], matrix[n + 1, -5:] = jump, jump  # the third derivative does not jump at the node next to an end
        right = np.zeros((n + 2, *np.delete(values.shape, axis)))
        right[:n] = np.moveaxis(values, axis, 0)
        solved = np.asarray(np.linalg.solve(matrix, right.reshape(n + 2, -1)), dtype=np.float64)
        values = np.moveaxis(solved.reshape(right.shape), 0, axis)
    return values


def _interpolate(coordinates: tuple[Tensor, ...], shape: torch.Size) -> tuple[Tensor, Tensor, Tensor]:
    """Return displacement, its derivative with the first coordinate, and A, each of a shape."""
    columns = [c.double().expand(shape).reshape(-1) for c in coordinates]
    parts = [_splines([c[k : k + AT_ONCE] for c in columns]) for k in range(0, max(1, columns[0].numel()), AT_ONCE)]
    return tuple(torch.cat(values).reshape(shape) for values in zip(*parts, strict=True))  # type: ignore[return-value]


def _splines(columns: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    table = _table().to(columns[0].device)
    place = torch.zeros((len(columns[0]), *(1,) * len(AXES)), dtype=torch.int64, device=table.device)
    weights, slopes = [], columns[0]
    for axis, (nodes, column) in enumerate(zip(AXES, columns, strict=True)):
        step = nodes[1] - nodes[0]
        t = ((column - nodes[0]) / step).clamp(0.0, len(nodes) - 1.0)
        first = t.detach().floor().clamp(0, len(nodes) - 2).long()
        f = t - first
        g = 1 - f
        weights.append(torch.stack([g**3, 4 - 6 * f**2 + 3 * f**3, 4 - 6 * g**2 + 3 * g**3, f**3], 1) / 6)
        if axis == 0:
            inside = (t > 0) & (t < len(nodes) - 1)
            slopes = torch.stack([-(g**2), 3 * f**2 - 4 * f, 4 * g - 3 * g**2, f**2], 1) / (2 * step)
            slopes = torch.where(inside[:, None], slopes, 0.0)
        shape = [1] * len(AXES)
        shape[axis] = 4
        steps = (first[:, None] + torch.arange(4, device=table.device)).reshape(-1, *shape)
        place = place * table.shape[axis] + steps
    values = table.reshape(-1, 2)[place]
    values = torch.einsum("nabcdev,nb,nc,nd,ne->nav", values, *weights[1:])
    value = torch.einsum("nav,na->vn", values, weights[0])
    return value[0], torch.einsum("na,na->n", values[..., 0], slopes), value[1]


def _time(tau_s: Tensor | float, like: Tensor) -> Tensor:
    tau = as_parameter(tau_s, like)
    if not bool((tau >= 0).all()):
        raise ValueError(f"`tau_s` must be ≥ 0 ms, got {float(tau.min())}")
    return tau


def _parameters(lif: Neuron, like: Tensor) -> NeuronTensors:
    own = from_rest(lif)
    return NeuronTensors(*(as_parameter(getattr(own, name), like) for name in NeuronTensors._fields))
