"""Shot noise: what jumps of finite size do to the rate of a neuron beyond a diffusion of the same mean and variance.

A white input has the cumulants κ₂ (variance per time) and κ₃, and the logarithm ψ(θ) of its characteristic function per
time, its mean removed. To first order in the size of the jumps it changes the mean interval in two ways:

- A jump carries the potential beyond the threshold. Near it the potential is a random walk without drift, and the mean
  first-passage time vanishes not at the threshold but at the mean overshoot above it (Wald's identity),

      R = κ₃/(6κ₂) - (1/π) ∫₀^∞ θ⁻² ln[2|ψ(θ)|/(κ₂θ²)] dθ ;

  in steps of dt, ``|1 - e^{ψ dt}|/dt`` takes the place of |ψ| [1]_ [2]_. With Gaussian noise alone this is
  ``0.5826 √(κ₂dt)``, see `mnnbio.moments.overshoot`.
- Away from it the generator gains the term ``κ₃/6 ∂³``. As ``T' ∝ g(x)`` (see `mnnbio.moments.activation`), the
  equation for the change of T has an elementary solution: the mean interval changes by

      ΔT = -(2/9) κ₃ τ_m² (σ√τ_m)⁻³ [x g'(x) + g(x)] from lb to ub.

References
----------
.. [1] F. Spitzer (1960), A Tauberian theorem and its probability interpretation, Trans. AMS 94, 150.
.. [2] D. Siegmund (1985), Sequential Analysis, Springer, chapter VIII.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.special import erfcx

from mnnbio.moments import ZETA_HALF, NeuronTensors

Array = npt.NDArray[np.float64]
Complex = npt.NDArray[np.complex128]
Exponent: TypeAlias = Callable[[Array], Complex]

# Places θ at which the integrand is evaluated, in units of 1/√(κ₂dt) (1/√(κ₂ ms) in continuous time): Gauss-Legendre in
# ln θ.
LOWEST, HIGHEST, PLACES = 1e-3, 3e3, 80
FIRST = 1e-4  # place at which κ₂ is read from ψ
FEW = 8  # distinct weights up to which synapses are summed by weight
STRONGEST = 1.0  # relative change of the mean interval up to which the first order is followed


@dataclass(frozen=True, eq=False)
class Jumps:
    """Jumps that Poisson trains give to neurons.

    Parameters
    ----------
    weights : ndarray or csr_array, shape (n, m)
        Size of the jumps, mV.
    """

    weights: Array | sparse.csr_array

    @cached_property
    def _by_size(self) -> list[tuple[float, Array | sparse.csr_array]] | None:
        """Return the distinct weights and the synapses that have them, None if they are many."""
        values = self.weights.data if sparse.issparse(self.weights) else self.weights
        sizes = [float(v) for v in np.unique(values) if v != 0]
        if len(sizes) > FEW:
            return None
        if isinstance(self.weights, np.ndarray):
            return [(v, (self.weights == v).astype(np.float64)) for v in sizes]
        parts = []
        for v in sizes:
            part = self.weights.copy()
            part.data = (part.data == v).astype(np.float64)
            parts.append((v, part))
        return parts

    @cached_property
    def squared(self) -> Array | sparse.csr_array:
        """The squared weights, mV²."""
        if isinstance(self.weights, np.ndarray):
            return self.weights**2
        out = self.weights.copy()
        out.data = out.data**2
        return out

    def exponent(self, theta: Array, rate: Array) -> Complex:
        """Return ``Σ_j rate_j (e^{iθ_k w_kj} - 1)``, shape (n,), for θ (1/mV) of shape (n,) and rates (1/ms) (m,)."""
        if self._by_size is not None:
            parts = [np.expm1(1j * theta * size) * (synapses @ rate) for size, synapses in self._by_size]
            return np.sum(parts, axis=0) if parts else np.zeros(len(theta), dtype=complex)
        if isinstance(self.weights, np.ndarray):
            return np.asarray(np.expm1(1j * theta[:, None] * self.weights) @ rate, dtype=complex)
        degrees = np.diff(self.weights.indptr)
        turned = np.expm1(1j * np.repeat(theta, degrees) * self.weights.data)
        synapses = sparse.csr_array((turned, self.weights.indices, self.weights.indptr), shape=self.weights.shape)
        return np.asarray(synapses @ rate, dtype=complex)


def private_exponent(theta: Array, size: float | Array, rate: Array) -> Complex:
    """Return ``rate (e^{iθ size} - 1)``: of one Poisson train of its own for every neuron; all of shape (n,)."""
    return np.asarray(rate * np.expm1(1j * theta * size))


def joint_exponent(parts: Sequence[Exponent], mean: Array, variance: Array) -> Exponent:
    """Return ψ of independent jumps and Gaussian noise.

    Parameters
    ----------
    parts : sequence of callable
        Exponents of the jumps.
    mean : ndarray, shape (n,)
        Mean of all jumps per time, mV/ms, which is removed.
    variance : ndarray, shape (n,)
        Of the Gaussian noise, mV²/ms.
    """

    def exponent(theta: Array) -> Complex:
        total = np.asarray(-1j * theta * mean - variance * theta**2 / 2, dtype=complex)
        for part in parts:
            total = total + part(theta)
        return total

    return exponent


def jump_displacement(exponent: Exponent, variance: Array, dt: float | None = None) -> Array:
    """Return how far jumps, by their size alone, displace the threshold of a neuron beyond a diffusion.

    This is the integral in R of the module's introduction, less what it is for Gaussian noise of the same variance.

    Parameters
    ----------
    exponent : callable
        Gives ψ(θ), 1/ms, of shape (n,), for θ (1/mV) of shape (n,): the logarithm of the characteristic function of the
        input per time, its mean removed.
    variance : ndarray, shape (n,)
        κ₂, the variance of that input, mV²/ms; > 0. It sets a scale: the exponent's own counts.
    dt : float, optional
        Time step, ms; by default, continuous time.

    Returns
    -------
    ndarray, shape (n,)
        mV. Error below 1 % for jumps whose size does not form a lattice with their drift.

    Examples
    --------
    Excitatory jumps of one size overshoot by a third of it on average, κ₃/(6κ₂) and this, a sixth each.

    >>> import numpy as np
    >>> size, rate = 0.6, 2.0
    >>> psi = lambda theta: rate * (np.expm1(1j * theta * size) - 1j * theta * size)
    >>> jump_displacement(psi, np.array([rate * size**2])).round(3)
    array([0.1])
    """
    nodes, weights = np.polynomial.legendre.leggauss(PLACES)
    half = np.log(HIGHEST / LOWEST) / 2
    places = np.exp(half * nodes + np.log(HIGHEST * LOWEST) / 2)
    step = 1.0 if dt is None else dt
    smallest = FIRST / np.sqrt(variance * step)
    # The integral converges only with the very variance that the exponent has.
    scale = np.sqrt(-2 * step * exponent(smallest).real) / smallest
    total = np.zeros_like(variance)
    before = last = np.ones_like(variance)
    for place, weight in zip(places, half * weights, strict=True):
        psi = exponent(place / scale)
        before, last = last, np.abs(psi) if dt is None else np.abs(np.expm1(psi * dt))
        total += weight * np.log(2 * last / place**2) / place
    if dt is None:  # the drift outgrows the jumps, and Gaussian noise both: the rest follows a power law
        power = np.log(last / before) / np.log(places[-1] / places[-2])
        rest = np.log(2 * last / places[-1] ** 2) + (power - 2) * (1 + np.log(HIGHEST / places[-1]))
    else:  # |1 - e^ψ| fluctuates about 1
        rest = np.log(2 / HIGHEST**2) - 2
    gaussian = 0.0 if dt is None else -ZETA_HALF / np.sqrt(2 * np.pi)
    return scale * (-(total + rest / HIGHEST) / np.pi - gaussian)


def asymmetry_delay(mean: Array, variance: Array, third: Array, lif: NeuronTensors) -> Array:
    """Return by how much the third cumulant of the input prolongs the mean interval, ms: ΔT of the introduction.

    Parameters
    ----------
    mean, variance, third : ndarray, shape (n,)
        First three cumulants of the input per time: mV/ms, mV²/ms, mV³/ms.
    lif : NeuronTensors
        The neuron, with the displaced threshold.

    Returns
    -------
    ndarray, shape (n,)
    """
    tau_m, v_th, v_reset, _ = (v.numpy() for v in lif)
    scale = np.sqrt(variance * tau_m)

    def primitive(x: Array) -> Array:
        g = np.sqrt(np.pi) / 2 * erfcx(-x)
        return x * (1 + 2 * x * g) + g

    upper, lower = (v_th - mean * tau_m) / scale, (v_reset - mean * tau_m) / scale
    return -2 / 9 * third * tau_m**2 / scale**3 * (primitive(upper) - primitive(lower))
