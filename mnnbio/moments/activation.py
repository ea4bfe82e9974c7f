"""The moment activation: output statistics of the leaky integrate-and-fire neuron driven by Gaussian white noise.

With ``L = 1/tau_m``, ``s = √L std``, ``ub = (L v_th - mean)/s`` and ``lb = (L v_reset - mean)/s`` the renewal theory of
the first passage from reset to threshold gives, with the integrals of `mnnbio.moments.integrals`,

    rate     = 1 / (t_ref + (2/L) [G(ub) - G(lb)])
    fano     = (8/L²) rate² [H(ub) - H(lb)]
    gain     = ∂rate/∂mean = (2/(L s)) rate² [g(ub) - g(lb)]
    skewness = (48/L³) rate³ [K(ub) - K(lb)]

As they stand they overflow below threshold and are 0/0 at zero noise. Three regimes cover all inputs, each with
formulas that are smooth and well conditioned there:

- *tonic* (ub ≤ -5): the noise is small against the distance ``a = mean - L v_th`` above threshold. The integrals are
  powers of s/a times polynomials in (s/a)², so that zero noise is an ordinary point.
- *noisy* (-5 < ub < 40): the formulas above with e^{ub²} taken out of numerator and denominator.
- *silent* (ub ≥ 40): the rate, below e^{-1600}, is zero, and so are its derivatives.

References
----------
N. Brunel (2000), J. Comput. Neurosci. 8, 183, appendix A.1 (rate and coefficient of variation; the Fano factor is its
square). J. Feng, Y. Deng, E. Rossoni (2006), Phys. Rev. E 73, 041906 (moment neuronal networks). The third cumulant is
derived in `mnnbio.moments.integrals`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mnnbio.moments.drive import Drive, Neuron, relate
from mnnbio.moments.integrals import load_tables, polynomials, scaled_integrals
from mnnbio.moments.kernel import fused_activation


class Activation(NamedTuple):
    """Output statistics of a neuron: rate (1/ms), long-window count variance per time (1/ms), gain (1/mV)."""

    rate: Tensor
    variance: Tensor
    gain: Tensor


class _Statistics(NamedTuple):
    rate: Tensor
    gain: Tensor
    fano: Tensor
    skewness: Tensor | None


def moment_activation(mean: Tensor, std: Tensor, lif: Neuron) -> Activation:
    """Return rate, count variance and gain of neurons driven by Gaussian white noise.

    On the CPU a compiled kernel computes it, if there is a C++ compiler (see `activation_backend`); elsewhere, under
    function transforms and for derivatives of derivatives PyTorch does, with the same results.

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
        broadcast shape, with the dtype and device of the input. Differentiable any number of times with respect to
        all inputs, at zero noise too, except at the threshold itself.

    Raises
    ------
    TypeError
        If `mean` or `std` is not a floating-point tensor.
    ValueError
        If `std` is negative, a parameter is out of its range, or shapes or devices do not go together.

    Examples
    --------
    >>> import torch
    >>> from mnnbio import LIFParameters
    >>> moment_activation(torch.tensor([1.2]), torch.tensor([0.0]), LIFParameters()).rate
    tensor([0.0245])
    """
    found = fused_activation(mean, std, lif, _by_torch)
    return _by_torch(mean, std, lif) if found is None else Activation(*found)


def _by_torch(mean: Tensor, std: Tensor, lif: Neuron) -> Activation:
    rate, gain, fano, _ = _statistics(relate(mean, std, lif), 2)
    dtype = torch.promote_types(mean.dtype, std.dtype)
    return Activation(rate.to(dtype), (fano * rate).to(dtype), gain.to(dtype))


def fano_factor(mean: Tensor, std: Tensor, lif: Neuron) -> Tensor:
    """Return the long-window Fano factor, variance over rate, also where both vanish.

    It equals the squared coefficient of variation of the interspike interval. Neurons that fall silent fire ever more
    like a Poisson process: they get 1.

    Parameters
    ----------
    mean, std, lif
        As for `moment_activation`.

    Returns
    -------
    Tensor
        Dimensionless, of the broadcast shape.
    """
    fano = _statistics(relate(mean, std, lif), 2).fano
    return fano.to(torch.promote_types(mean.dtype, std.dtype))


def interval_skewness(mean: Tensor, std: Tensor, lif: Neuron) -> Tensor:
    """Return the third central moment of the interspike interval over its mean cubed.

    It is 2 for a Poisson process and ``3 fano²`` for an inverse-Gaussian interval (no leak, no refractory period). The
    refractory period adds to the mean interval only. Neurons that fall silent get 2.

    Parameters
    ----------
    mean, std, lif
        As for `moment_activation`.

    Returns
    -------
    Tensor
        Dimensionless, of the broadcast shape.
    """
    skewness = _statistics(relate(mean, std, lif), 3).skewness
    assert skewness is not None
    return skewness.to(torch.promote_types(mean.dtype, std.dtype))


def _statistics(drive: Drive, order: int) -> _Statistics:
    """Return the statistics up to the given cumulant of the interval."""
    limits = (0.0, 0.0, 1.0, 2.0)  # a neuron that falls silent
    joined = [
        None
        if tonic is None or noisy is None
        else torch.where(drive.tonic, tonic, torch.where(drive.silent, limit, noisy))
        for tonic, noisy, limit in zip(_tonic(drive, order), _noisy(drive, order), limits, strict=True)
    ]
    return _Statistics(*joined)  # type: ignore[arg-type]


def _tonic(drive: Drive, order: int) -> _Statistics:
    """Evaluate the tonic regime; elsewhere the values are finite and mean nothing."""
    tau_m, _, _, t_ref = drive.lif
    tables = load_tables(drive.s.dtype, drive.s.device)
    a = torch.where(drive.tonic, drive.above_th, 1.0)
    s = torch.where(drive.tonic, drive.s, 0.0)
    b = a + drive.span
    power = s * s
    inverse_a, inverse_b = 1 / (a * a), 1 / (b * b)
    rows = tables.tonic[[0, 1, 3, 5]] if order > 2 else tables.tonic[[0, 1, 3]]
    scale = 2 * tables.edge**2
    g_a, G_a, H_a, *K_a = polynomials(scale * power * inverse_a - 1, rows)
    g_b, G_b, H_b, *K_b = polynomials(scale * power * inverse_b - 1, rows)
    rate = 1 / (t_ref + tau_m * (torch.log1p(drive.span / a) + 2 * (G_a - G_b)))
    gain = tau_m * rate * rate * (g_a / a - g_b / b)
    relative = tau_m * rate
    fano = relative**2 * power * (H_a * inverse_a - H_b * inverse_b) / 2
    if order == 2:
        return _Statistics(rate, gain, fano, None)
    third = K_a[0] * inverse_a**2 - K_b[0] * inverse_b**2
    return _Statistics(rate, gain, fano, 0.75 * relative**3 * power**2 * third)


def _noisy(drive: Drive, order: int) -> _Statistics:
    """Evaluate the noisy regime; elsewhere the values are finite and mean nothing."""
    tau_m, _, _, t_ref = drive.lif
    other = drive.tonic | drive.silent
    s = torch.where(other, 1.0, drive.s)
    ub = torch.where(other, 0.0, -drive.above_th) / s
    lb = ub - drive.span / s
    ub_plus, lb_plus = (torch.where(x > 0, x, 0.0) for x in (ub, lb))
    escape = torch.exp(-ub_plus * ub_plus)
    ratio = torch.exp((lb_plus - ub_plus) * (lb_plus + ub_plus))  # of the scales at the bounds
    g_ub, G_ub, _, H_ub, *K_ub = scaled_integrals(ub, order)
    g_lb, G_lb, _, H_lb, *K_lb = scaled_integrals(lb, order)
    period = t_ref * escape + 2 * tau_m * (G_ub - ratio * G_lb)
    rate = escape / period
    relative = tau_m / period
    gain = 2 * relative * rate * (g_ub - ratio * g_lb) / s
    fano = 8 * relative**2 * (H_ub - ratio**2 * H_lb)
    if order == 2:
        return _Statistics(rate, gain, fano, None)
    return _Statistics(rate, gain, fano, 48 * relative**3 * (K_ub[1] - ratio**3 * K_lb[1]))
