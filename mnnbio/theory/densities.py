"""Densities of membrane potentials that change in time: the Fokker-Planck equation of integrate-and-fire neurons.

    ∂P/∂t = -∂J/∂V,    J = (mean - V/tau_m) P - (std²/2) ∂P/∂V

with P = 0 at the threshold; the flux through it is the firing rate, and re-enters at the reset potential after t_ref.
In space, exponentially fitted differences [1]_ keep densities positive and are exact where the flux is uniform; in
time, the trapezoidal rule. Several populations of neurons, each with its own threshold, are one tridiagonal system.

The potentials of n independent neurons deviate from their density. These deviations obey the same equation with a
random flux, ``∂J = -∂_V sqrt(std² P/n) ξ(V, t)`` [2]_: their spikes are those of n renewal processes, refractoriness
included, at a cost that does not depend on n.

References
----------
.. [1] D. L. Scharfetter, H. K. Gummel (1969), Large-signal analysis of a silicon Read diode oscillator, IEEE Trans.
   Electron Devices 16, 64.
.. [2] D. S. Dean (1996), Langevin equation for the density of a system of interacting Langevin processes, J. Phys. A
   29, L613. G. Dumont, A. Payeur, A. Longtin (2017), A stochastic-field description of finite-size spiking neural
   networks, PLoS Comput. Biol. 13, e1005691.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.linalg.lapack import dgtsv

from mnnbio.moments import Neuron

Array = npt.NDArray[np.float64]

DEPTH = 6.0  # how far below the mean potential the grid reaches, in standard deviations of the potential


class Flux(NamedTuple):
    """Flux across the upper side of each cell by the density below and above it, (group, cell), mV/ms."""

    up: Array
    down: Array


class Densities:
    """Membrane potentials of independent groups of neurons, stepped in time.

    Parameters
    ----------
    lif : LIFParameters or alike
        One value per group, or one for all.
    mean, std : ndarray, shape (group,)
        Typical inputs, mV/ms and mV/√ms, from which the grid's lower end follows.
    step : float
        Time step, ms.
    cells : int
        Grid points between the lower end and the threshold.
    neurons : ndarray, shape (group,), optional
        Numbers of neurons, whose deviations from the density are then drawn. By default they are infinite.
    generator : numpy.random.Generator, optional
        Of these deviations.

    Attributes
    ----------
    leaving : ndarray, shape (group,)
        Flux of the density through the threshold at the end of the last step, 1/ms.
    """

    def __init__(
        self,
        lif: Neuron,
        mean: Array,
        std: Array,
        step: float,
        cells: int = 400,
        neurons: Array | None = None,
        generator: np.random.Generator | None = None,
    ) -> None:
        groups = len(mean)
        self._tau_m, self._v_th, v_reset, t_ref = (
            np.broadcast_to(np.asarray(getattr(lif, name), dtype=np.float64), (groups,))
            for name in ("tau_m", "v_th", "v_reset", "t_ref")
        )
        spread = DEPTH * std * np.sqrt(self._tau_m / 2) + (self._v_th - v_reset)
        bottom = np.minimum(np.minimum(mean * self._tau_m, v_reset), 0.0) - spread
        # The reset potential is a point of the grid.
        above = np.maximum(1, np.round((self._v_th - v_reset) / (self._v_th - bottom) * cells)).astype(int)
        self._h = (self._v_th - v_reset) / above
        self._reset = cells - above
        self._points = self._v_th[:, None] - self._h[:, None] * np.arange(cells, 0, -1)
        self._middles = self._points + self._h[:, None] / 2
        self._lag = np.round(t_ref / step).astype(int)
        self._step, self._neurons = step, neurons
        self._generator = generator or np.random.default_rng()
        layers = 1 if neurons is None else 2  # the density, and deviations from it
        self._density = np.zeros((layers, *self._points.shape))
        longest = max(1, int(self._lag.max()))
        self._past: deque[Array] = deque([np.zeros((layers, groups))] * longest, maxlen=longest)
        self.leaving = np.zeros(groups)

    @property
    def expected(self) -> Array:
        """Mean flux of the density through the threshold during the last step, (group,), 1/ms."""
        return self._past[-1][0]

    @property
    def rate(self) -> Array:
        """Spikes of a neuron in the last step, (group,), 1/ms: those expected and what finite groups deviate by."""
        return np.asarray(self._past[-1].sum(0))

    @property
    def at_bottom(self) -> float:
        """Largest share of neurons at the lower end of the grid."""
        return float((self._density[0, :, 0] * self._h).max())

    def start_at(self, potential: float) -> None:
        """Put all neurons at one potential, mV, and none into the refractory state."""
        nearest = np.abs(self._points - potential).argmin(1)
        self._density[:] = 0.0
        self._density[0, np.arange(len(nearest)), nearest] = 1 / self._h

    def start_stationary(self, mean: Array, std: Array) -> None:
        """Take the densities that inputs of those moments hold, (group,) each, and their rates."""
        source = np.zeros_like(self._density[:1])
        source[0, np.arange(len(self._reset)), self._reset] = -1 / self._h
        below, diagonal, above = self._operator(self._flux(mean, std))
        density = _solved(below, diagonal, above, source)[0]
        rate = 1 / (density.sum(1) * self._h + self._lag * self._step)
        self._density[0], self.leaving = density * rate[:, None], rate
        past = np.zeros((len(self._past), *self._past[-1].shape))
        past[:, 0] = rate
        if self._neurons is not None:
            self._draw_start(past)
        self._past.extend(past)

    def advance(self, mean: Array, std: Array) -> Array:
        """Advance by one step under inputs of those moments (group,), and return `rate`."""
        flux = self._flux(mean, std)
        below, diagonal, above = self._operator(flux)
        half, P = self._step / 2, self._density
        right = P + half * (diagonal * P)
        right[..., 1:] += half * below[:, 1:] * P[..., :-1]
        right[..., :-1] += half * above[:, :-1] * P[..., 1:]
        groups = np.arange(len(self._reset))
        # Spikes without a refractory period return a step late.
        returning = np.stack([self._past[-max(1, lag)][:, k] for k, lag in enumerate(self._lag)], axis=1)
        right[:, groups, self._reset] += self._step * returning / self._h
        crossed = np.zeros_like(returning)
        if self._neurons is not None:
            moved = self._random_moves(flux)
            right[1] -= moved / self._h[:, None]
            right[1, :, 1:] += moved[:, :-1] / self._h[:, None]
            crossed[1] = moved[:, -1] / self._step
        self._density = _solved(-half * below, 1 - half * diagonal, -half * above, right)
        self.leaving = flux.up[:, -1] * self._density[0, :, -1]
        self._past.append(flux.up[:, -1] * (P[..., -1] + self._density[..., -1]) / 2 + crossed)
        return self.rate

    def _flux(self, mean: Array, std: Array) -> Flux:
        h, diffusion = self._h[:, None], (std**2 / 2)[:, None]
        z = h * (mean[:, None] - self._middles / self._tau_m[:, None]) / diffusion
        # z/(e^z - 1) at z and -z differ by z.
        down = _bernoulli(z)
        return Flux(diffusion / h * np.maximum(down + z, 0.0), diffusion / h * down)

    def _operator(self, flux: Flux) -> tuple[Array, Array, Array]:
        """Return the three diagonals of ``-∂J/∂V``."""
        h = self._h[:, None]
        below, above = np.zeros_like(flux.up), flux.down / h
        below[:, 1:] = flux.up[:, :-1] / h
        diagonal = -flux.up / h
        diagonal[:, 1:] -= flux.down[:, :-1] / h
        return below, diagonal, above

    def _random_moves(self, flux: Flux) -> Array:
        """Return by how much the neurons that cross the upper sides of cells deviate from their expected share."""
        assert self._neurons is not None
        P = np.maximum(self._density[0], 0.0)
        crossing = flux.up * P
        crossing[:, :-1] += flux.down[:, :-1] * P[:, 1:]
        spread = np.sqrt(self._step * crossing / self._neurons[:, None])
        return np.asarray(spread * self._generator.standard_normal(spread.shape))

    def _draw_start(self, past: Array) -> None:
        """Draw how the neurons of finite groups deviate from the stationary state, the refractory ones too."""
        assert self._neurons is not None
        for k, lag in enumerate(self._lag):
            share = np.concatenate([self._density[0, k] * self._h[k], np.full(lag, past[0, 0, k] * self._step)])
            drawn = np.sqrt(np.maximum(share, 0.0) / self._neurons[k]) * self._generator.standard_normal(len(share))
            drawn -= share * drawn.sum()  # none are made or lost
            cells = self._density.shape[-1]
            self._density[1, k] = drawn[:cells] / self._h[k]
            past[len(past) - lag :, 1, k] = drawn[cells:] / self._step


def _solved(below: Array, diagonal: Array, above: Array, right: Array) -> Array:
    """Return the solutions of tridiagonal systems (group, cell), one for each of several right sides."""
    upper, lower = above.copy(), below.copy()
    upper[:, -1] = 0.0
    lower[:, 0] = 0.0
    columns = right.reshape(len(right), -1).T
    *_, found, _ = dgtsv(lower.ravel()[1:], diagonal.ravel(), upper.ravel()[:-1], columns)
    return np.asarray(found.T).reshape(right.shape)


def _bernoulli(z: Array) -> Array:
    """Return ``z/(e^z - 1)``."""
    small = np.abs(z) < 1e-5
    safe = np.where(small, 1.0, z)
    with np.errstate(over="ignore"):
        return np.where(small, 1 - z / 2, safe / np.expm1(safe))
