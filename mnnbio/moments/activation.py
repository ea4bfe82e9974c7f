"""The moment activation: output statistics of the leaky integrate-and-fire neuron driven by Gaussian white noise.

With ``L = 1/tau_m``, ``s = √L std``, ``ub = (L v_th - mean)/s`` and ``lb = (L v_reset - mean)/s`` the renewal theory of
the first passage from reset to threshold gives, with the integrals of `mnnbio.moments.integrals`,

    rate     = 1 / (t_ref + (2/L) [G(ub) - G(lb)])
    variance = (8/L²) rate³ [H(ub) - H(lb)]
    gain     = ∂rate/∂mean = (2/(L s)) rate² [g(ub) - g(lb)]
    skewness = (48/L³) rate³ [K(ub) - K(lb)]

Evaluated so, they overflow below threshold and are 0/0 at zero noise. Three regimes cover all inputs, each with formulas
that are smooth and well conditioned there:

- *tonic* (ub ≤ -5): the noise is small against the distance a = mean - L v_th above threshold. The integrals are
  polynomials in (s/a)², so that zero noise is an ordinary point.
- *noisy* (-5 < ub < 40): the formulas above with e^{-ub²} taken out of numerator and denominator.
- *silent* (ub ≥ 40): the rate, below e^{-1600}, is zero, and so are its derivatives.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from mnnbio.moments.integrals import load_tables, scaled_integrals
from mnnbio.moments.polynomial import polynomial

SILENT = 40.0


class Neuron(Protocol):
    """Anything that holds the parameters of leaky integrate-and-fire neurons, in ms and mV.

    Each is a number, an array or a tensor that broadcasts with the inputs (one value per neuron: their last axis).
    """

    @property
    def tau_m(self) -> Any: ...  # noqa: D102
    @property
    def v_th(self) -> Any: ...  # noqa: D102
    @property
    def v_reset(self) -> Any: ...  # noqa: D102
    @property
    def t_ref(self) -> Any: ...  # noqa: D102


class Activation(NamedTuple):
    """Output statistics of a neuron: rate (1/ms), long-window count variance per time (1/ms), gain (1/mV)."""

    rate: Tensor
    variance: Tensor
    gain: Tensor


class Drive(NamedTuple):
    """Input relative to the neuron, sorted by regime."""

    above_th: Tensor  # mean - L v_th, mV/ms
    span: Tensor  # L (v_th - v_reset), mV/ms
    s: Tensor  # √L std, mV/ms
    tau_m: Tensor
    t_ref: Tensor
    tonic: Tensor
    silent: Tensor


def moment_activation(mean: Tensor, std: Tensor, lif: Neuron) -> Activation:
    """Return rate, count variance and gain of neurons driven by Gaussian white noise.

    Parameters
    ----------
    mean : Tensor
        Mean of the input current, mV/ms; shape (..., neuron).
    std : Tensor
        Its standard deviation, mV/√ms, ≥ 0; broadcasts with `mean`.
    lif : LIFParameters or alike
        `tau_m`, `t_ref` in ms, `v_th`, `v_reset` in mV: numbers, arrays or tensors, which may require gradients.

    Returns
    -------
    Activation
        `rate` (1/ms), `variance` (long-window count variance per time, 1/ms), `gain` (∂rate/∂mean, 1/mV), each of the
        broadcast shape, with the dtype and device of the input. Any number of times differentiable with respect to
        all inputs; at zero noise their exact limits, whose derivatives are finite off threshold.

    Raises
    ------
    TypeError
        If `mean` or `std` is not a floating-point tensor.
    ValueError
        If `std` is negative somewhere, or shapes or devices do not go together.

    Examples
    --------
    >>> import torch
    >>> from mnnbio import LIFParameters
    >>> moment_activation(torch.tensor([1.2]), torch.tensor([0.0]), LIFParameters()).rate
    tensor([0.0245])
    """
    dtype = torch.promote_types(mean.dtype, std.dtype)
    drive = sort_by_regime(mean, std, lif)
    tonic, noisy = _tonic(drive), _noisy(drive)
    zero = torch.zeros_like(tonic.rate)
    return Activation(
        *(
            torch.where(drive.tonic, t, torch.where(drive.silent, zero, n)).to(dtype)
            for t, n in zip(tonic, noisy, strict=True)
        )
    )


def interval_skewness(mean: Tensor, std: Tensor, lif: Neuron) -> Tensor:
    """Return the third central moment of the interspike interval over its mean cubed.

    It is 2 for a Poisson process and ``3 fano²`` for an inverse-Gaussian interval (no leak, no refractory period). The
    refractory period adds to the mean interval only. Silent neurons fire ever more like a Poisson process as their rate
    vanishes: they get 2.

    Parameters
    ----------
    mean, std, lif
        As for `moment_activation`.

    Returns
    -------
    Tensor
        Dimensionless, of the broadcast shape.
    """
    dtype = torch.promote_types(mean.dtype, std.dtype)
    drive = sort_by_regime(mean, std, lif)
    tables = load_tables(drive.s.dtype, drive.s.device)
    a, b, w_a, w_b = _tonic_arguments(drive)
    third = (polynomial(w_a, tables.tonic[5]) / a**4 - polynomial(w_b, tables.tonic[5]) / b**4) * drive.s**4 / 64
    tonic = 48 * drive.tau_m**3 * third * _tonic(drive).rate ** 3

    ub, lb, escape, ratio = _noisy_arguments(drive)
    at_ub, at_lb = scaled_integrals(ub, 3), scaled_integrals(lb, 3)
    period = drive.t_ref * escape + 2 * drive.tau_m * (at_ub[1] - ratio * at_lb[1])
    noisy = 48 * drive.tau_m**3 * (at_ub[5] - ratio**3 * at_lb[5]) / period**3
    two = torch.full_like(tonic, 2.0)
    return torch.where(drive.tonic, tonic, torch.where(drive.silent, two, noisy)).to(dtype)


def sort_by_regime(mean: Tensor, std: Tensor, lif: Neuron) -> Drive:
    """Return the dimensionless drive in working precision, all of one shape."""
    working = torch.float64 if mean.device.type != "mps" else torch.float32
    mean, std = mean.to(working), std.to(working)
    tau_m, v_th, v_reset, t_ref = (
        torch.as_tensor(value, dtype=working, device=mean.device)
        for value in (lif.tau_m, lif.v_th, lif.v_reset, lif.t_ref)
    )
    above_th, span, s = torch.broadcast_tensors(mean - v_th / tau_m, (v_th - v_reset) / tau_m, std / tau_m.sqrt())
    tonic = (above_th > 0) & (above_th >= 5.0 * s)
    silent = (above_th <= 0) & (-above_th >= SILENT * s)
    return Drive(above_th, span, s, tau_m, t_ref, tonic, silent)


def _tonic_arguments(drive: Drive) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the distances above threshold and reset, and the relative noise powers."""
    a = torch.where(drive.tonic, drive.above_th, 1.0)
    b = a + drive.span
    power = torch.where(drive.tonic, drive.s, 0.0) ** 2
    scale = 2 * 5.0**2
    return a, b, scale * power / a**2 - 1, scale * power / b**2 - 1


def _tonic(drive: Drive) -> Activation:
    a, b, w_a, w_b = _tonic_arguments(drive)
    tables = load_tables(drive.s.dtype, drive.s.device).tonic
    period = torch.log1p(drive.span / a) / 2 + polynomial(w_a, tables[1]) - polynomial(w_b, tables[1])
    rate = 1 / (drive.t_ref + 2 * drive.tau_m * period)
    spread = (polynomial(w_a, tables[3]) / a**2 - polynomial(w_b, tables[3]) / b**2) * drive.s**2 / 16
    variance = 8 * drive.tau_m**2 * rate**3 * spread
    gain = drive.tau_m * rate**2 * (polynomial(w_a, tables[0]) / a - polynomial(w_b, tables[0]) / b)
    return Activation(rate, variance, gain)


def _noisy_arguments(drive: Drive) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return ub, lb, e^{-ub²} and e^{lb²-ub²}, where a square counts as 0 for a negative argument."""
    noisy = ~(drive.tonic | drive.silent)
    s = torch.where(noisy, drive.s, 1.0)
    ub = torch.where(noisy, -drive.above_th, 0.0) / s
    lb = ub - drive.span / s
    ub_plus, lb_plus = (torch.where(x > 0, x, 0.0) for x in (ub, lb))
    return ub, lb, torch.exp(-ub_plus * ub_plus), torch.exp((lb_plus - ub_plus) * (lb_plus + ub_plus))


def _noisy(drive: Drive) -> Activation:
    ub, lb, escape, ratio = _noisy_arguments(drive)
    s = torch.where(drive.tonic | drive.silent, 1.0, drive.s)
    g_ub, G_ub, _, H_ub = scaled_integrals(ub, 2)
    g_lb, G_lb, _, H_lb = scaled_integrals(lb, 2)
    period = drive.t_ref * escape + 2 * drive.tau_m * (G_ub - ratio * G_lb)
    rate = escape / period
    variance = 8 * drive.tau_m**2 * rate / period**2 * (H_ub - ratio**2 * H_lb)
    gain = 2 * drive.tau_m / s * rate / period * (g_ub - ratio * g_lb)
    return Activation(rate, variance, gain)
