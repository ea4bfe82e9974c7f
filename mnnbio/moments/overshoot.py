"""Neurons whose threshold is tested in time steps.

Seen at multiples of dt, the membrane potential overshoots the threshold before the spike is noticed. Over one step
it moves by ``m + s ξ`` near threshold, ξ standard normal: a Gaussian random walk of drift ``β = m/s`` in units of s. To
the first passage of such a walk the threshold appears displaced, in two ways:

- Its mean passage time, for β > 0, is that of a Brownian motion to a threshold higher by the mean overshoot
  ``R₁(β) = (β² + 1)/(2β) - Σ_{k≥1} E[S_k⁻]/k`` (Wald, Spitzer).
- Its probability of ever crossing, for β < 0, is that of a Brownian motion to a threshold higher by
  ``R₀(β) = [ln(2β²) + 2 Σ_{k≥1} Φ(-|β|√k)/k] / (2|β|)`` (Siegmund).

Any solution of the first-passage equation near threshold is a mixture of the two. With S the slope of the mean
first-passage time there, in steps per s, the displacement of the mixture is, to first order in their difference,
``R = R₀ + (R₁ - R₀)/(|β| S)``: R₁ for a neuron that drifts over its threshold (S = 1/β), R₀ for one that noise lifts
over it (S → ∞).

For ``|β| < 2√π`` both sums have closed forms in Riemann's zeta function, with
``R₀(0) = R₁(0) = -ζ(1/2)/√(2π) = 0.5826``; for larger β the sums converge within a few terms.

References
----------
F. Spitzer (1956), Trans. AMS 82, 323. D. Siegmund (1985), Sequential Analysis, Springer, chapters VIII and X.
J. T. Chang, Y. Peres (1997), Ann. Probab. 25, 787, theorem 1.1 (R₀). A. J. E. M. Janssen, J. S. H. van Leeuwaarden
(2007), Ann. Appl. Probab. 17, 421 (R₁).
"""

from __future__ import annotations

import math
from functools import cache
from typing import NamedTuple

import torch
from scipy.special import zeta
from torch import Tensor

from mnnbio.moments.activation import moment_activation
from mnnbio.moments.drive import Drive, Neuron, NeuronTensors, as_parameter, relate
from mnnbio.moments.integrals import polynomials, scaled_integrals

ZETA_HALF = -1.4603545088095868  # ζ(1/2)
SWITCH = 2.0  # drift at which the series in zeta gives way to the sums
SERIES_TERMS, SUM_TERMS = 40, 20  # either leaves less than 1e-16 there
FEW = 5  # steps on either side of the mean crossing that matter where the phase of the crossing does


class JumpFactors(NamedTuple):
    """Factors by which mean and variance of an input count that arrives in jumps, dimensionless."""

    mean: Tensor
    variance: Tensor


@cache
def _zeta_series() -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return R₀, and (R₁ - R₀(0) - β/4)/β², as power series in -β²/2."""

    def at(r: int) -> float:  # ζ(1/2 - r), by the reflection formula
        s = 0.5 - r
        return 2**s * math.pi ** (s - 1) * math.sin(math.pi * s / 2) * math.gamma(1 - s) * float(zeta(1 - s))

    values = [ZETA_HALF] + [at(r) for r in range(1, SERIES_TERMS + 1)]
    norm = -1 / math.sqrt(2 * math.pi)
    harmonic = tuple(norm * values[r] / (math.factorial(r) * (2 * r + 1)) for r in range(SERIES_TERMS))
    wald = tuple(norm * values[r + 1] / (math.factorial(r) * (2 * r + 1) * (2 * r + 2)) for r in range(SERIES_TERMS))
    return harmonic, wald


def overshoot(drift: Tensor) -> tuple[Tensor, Tensor]:
    """Return how far discrete steps displace the threshold of a Gaussian random walk of unit step deviation.

    Parameters
    ----------
    drift : Tensor
        |β|, mean over standard deviation of a step; ≥ 0.

    Returns
    -------
    mean_overshoot, harmonic : Tensor
        R₁ and R₀ of the module's introduction, in units of the step deviation; error below 1e-14.
    """
    series = torch.tensor(_zeta_series(), dtype=drift.dtype, device=drift.device)
    small = torch.where(drift < SWITCH, drift, 0.0)
    argument = -small * small / 2
    harmonic, remainder = polynomials(argument, series)
    wald = series[0, 0] + small / 4 + small * small * remainder

    large = torch.where(drift < SWITCH, SWITCH, drift)
    crossings, returns = torch.zeros_like(large), torch.zeros_like(large)
    for k in range(1, SUM_TERMS + 1):
        root = large * math.sqrt(k)
        below = torch.special.erfc(root / math.sqrt(2)) / 2
        crossings = crossings + below / k
        density = torch.exp(-root * root / 2) / math.sqrt(2 * math.pi)
        returns = returns + density / math.sqrt(k) - large * below
    near = drift < SWITCH
    return (
        torch.where(near, wald, (large + 1 / large) / 2 - returns),
        torch.where(near, harmonic, (torch.log(2 * large * large) + 2 * crossings) / (2 * large)),
    )


def discrete_lif(mean: Tensor, std: Tensor, lif: Neuron, dt: float) -> NeuronTensors:
    """Return the neuron that in continuous time fires like `lif` simulated in steps of dt.

    Between spikes the simulation integrates the membrane exactly; at the end of each step it tests the threshold. Only
    `v_th` changes. Where the noise is so small that a neuron crosses its threshold in a definite step, the overshoot
    depends on where in the step the crossing falls; without noise the interval is then a whole number of steps.

    Parameters
    ----------
    mean, std, lif
        As for `moment_activation`.
    dt : float
        Time step, ms; > 0.

    Returns
    -------
    NeuronTensors
        In working precision; `v_th` has the broadcast shape of `mean`, `std` and the parameters.

    Raises
    ------
    ValueError
        If dt is not positive.
    """
    if not dt > 0:
        raise ValueError(f"`dt` must be > 0 ms, got {dt}")
    drive = relate(mean, std, lif)
    tau_m, s = drive.lif.tau_m, drive.s
    decay = -torch.expm1(-dt / tau_m)  # 1 - e^{-dt/tau_m}
    step_mean = drive.above_th * tau_m * decay
    noisy = s > 0
    safe = torch.where(noisy, s, 1.0)
    step_std = safe * tau_m * torch.sqrt(decay * (2 - decay) / 2)
    drift = torch.where(noisy, step_mean.abs() / step_std, 1.0)

    wald, harmonic = overshoot(drift)
    x = torch.where(drive.silent | ~noisy, 0.0, -drive.above_th) / safe
    inverse_slope = torch.sqrt(dt / tau_m) / 2 * torch.exp(-torch.where(x > 0, x * x, 0.0)) / scaled_integrals(x, 1)[0]
    weight = torch.where(drive.silent, 0.0, inverse_slope / drift.clamp(min=1e-6))
    walk = step_std * (harmonic + (wald - harmonic) * weight)
    still = step_mean.clamp(min=0) / 2
    displacement = torch.where(noisy, walk, still) + _phase(drive, mean, std, dt)
    return drive.lif._replace(v_th=drive.lif.v_th + displacement)


def _phase(drive: Drive, mean: Tensor, std: Tensor, dt: float) -> Tensor:
    """Return what a definite phase of the crossing in its step adds to the mean displacement, mV.

    The first passage takes X steps, normal with the moments of the continuous theory; E[⌈X⌉] - E[X] is 1/2 where X
    spreads over more than about half a step.
    """
    tau_m, _, _, t_ref = drive.lif
    working = drive.s.dtype
    rate, variance, _ = moment_activation(mean.to(working), std.to(working), drive.lif)
    rate, variance = (torch.where(drive.tonic, value, 1.0) for value in (rate, variance))
    steps = (1 / rate - t_ref) / dt
    power = variance / rate**3 / dt**2
    spread = torch.where(power > 0, torch.sqrt(torch.where(power > 0, power, 1.0)), 0.0)
    definite = drive.tonic & (spread < 0.8)
    steps, spread = torch.where(definite, steps, 0.5), torch.where(definite, spread, 0.0)
    floor = steps.detach().floor()
    wait = floor - FEW - steps
    for n in range(-FEW, FEW + 1):
        distance = steps - floor - n
        later = torch.special.ndtr(distance / torch.where(spread > 0, spread, 1.0))
        wait = wait + torch.where(spread > 0, later, (distance > 0).to(later.dtype))
    shift = torch.expm1(-dt / tau_m) / 2 - torch.expm1(-wait * dt / tau_m)
    return torch.where(definite, drive.above_th * tau_m * shift, 0.0)


def jump_factors(lif: Neuron, dt: float) -> JumpFactors:
    """Return what an input counts for that arrives in jumps at the ends of steps, after the membrane's decay.

    Spikes through delta synapses arrive so: in ``V' = e^{-dt/tau_m} V + J`` a jump never decays within its own step.
    The same V follows from an exactly integrated current whose mean and variance are those of the jumps per time, times
    ``dt / (tau_m (1 - a))`` and ``2 dt / (tau_m (1 - a²))`` with ``a = e^{-dt/tau_m}``.

    Parameters
    ----------
    lif : LIFParameters or alike
        Only `tau_m` (ms) counts.
    dt : float
        Time step, ms; > 0.

    Raises
    ------
    ValueError
        If dt is not positive.
    """
    if not dt > 0:
        raise ValueError(f"`dt` must be > 0 ms, got {dt}")
    x = dt / as_parameter(lif.tau_m, torch.empty(0, dtype=torch.float64))
    return JumpFactors(x / -torch.expm1(-x), 2 * x / -torch.expm1(-2 * x))
