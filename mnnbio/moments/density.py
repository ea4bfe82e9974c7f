"""Densities of membrane potentials that change in time: the Fokker-Planck equation of integrate-and-fire neurons.

    ∂P/∂t = -∂J/∂V,    J = (mean - V/tau_m) P - (std²/2) ∂P/∂V

with P = 0 at the threshold; the flux through it is the firing rate, and re-enters at the reset potential after t_ref.
In space, exponentially fitted differences [1]_ keep densities positive and are exact where the flux is uniform; in
time, the trapezoidal rule. Several populations of neurons, each with its own threshold, are one tridiagonal system.

References
----------
.. [1] D. L. Scharfetter, H. K. Gummel (1969), Large-signal analysis of a silicon Read diode oscillator, IEEE Trans.
Electron
   Devices 16, 64.
"""

from __future__ import annotations

from collections import deque

import numpy as np
import numpy.typing as npt
from scipy.linalg import solve_banded

from mnnbio.moments.drive import Neuron

Array = npt.NDArray[np.float64]

DEPTH = 6.0  # how far below the mean potential the grid reaches, in standard deviations of the potential


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

    Attributes
    ----------
    rate : ndarray, shape (group,)
        Flux through the threshold at the end of the last step, 1/ms.
    """

    def __init__(self, lif: Neuron, mean: Array, std: Array, step: float, cells: int = 400) -> None:
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
        self._middles = self._v_th[:, None] - self._h[:, None] * (np.arange(cells, -1, -1) + 0.5)[1:]
        self._lag = np.maximum(np.round(t_ref / step).astype(int), 0)
        self._step = step
        self._density = np.zeros_like(self._points)
        self._past: deque[Array] = deque([np.zeros(groups)] * int(self._lag.max() + 1), maxlen=int(self._lag.max() + 1))
        self.rate = np.zeros(groups)

    def start_at(self, potential: float) -> None:
        """Put all neurons at one potential, mV, and none into the refractory state."""
        nearest = np.abs(self._points - potential).argmin(1)
        self._density[:] = 0.0
        self._density[np.arange(len(nearest)), nearest] = 1 / self._h

    def start_stationary(self, mean: Array, std: Array) -> None:
        """Take the densities that inputs of those moments hold, (group,) each, and their rates."""
        below, diagonal, above, exit_ = self._operator(mean, std)
        source = np.zeros_like(self._density)
        source[np.arange(len(self._reset)), self._reset] = -1 / self._h
        density = self._solve(below, diagonal, above, source)
        refractory = self._lag * self._step
        rate = 1 / (density.sum(1) * self._h + refractory)
        self._density, self.rate = density * rate[:, None], rate
        self._past.extend([rate] * len(self._past))
        assert np.allclose(exit_ * self._density[:, -1], rate, rtol=1e-6)

    def advance(self, mean: Array, std: Array) -> Array:
        """Advance by one step under inputs of those moments (group,), and return the rates at its end, 1/ms."""
        below, diagonal, above, exit_ = self._operator(mean, std)
        half, P = self._step / 2, self._density
        right = P + half * (diagonal * P)
        right[:, 1:] += half * below[:, 1:] * P[:, :-1]
        right[:, :-1] += half * above[:, :-1] * P[:, 1:]
        groups = np.arange(len(self._reset))
        returning = np.array([self._returning(k, int(lag)) for k, lag in enumerate(self._lag)])
        right[groups, self._reset] += self._step * returning / self._h
        self._density = self._solve(-half * below, 1 - half * diagonal, -half * above, right)
        self.rate = exit_ * self._density[:, -1]
        self._past.append(self.rate)
        return self.rate

    @property
    def at_bottom(self) -> float:
        """Largest share of neurons at the lower end of the grid."""
        return float((self._density[:, 0] * self._h).max())

    def _returning(self, group: int, lag: int) -> float:
        """Return the flux that left the refractory state in the middle of the step."""
        if lag == 0:
            return float(self._past[-1][group])
        return float((self._past[-lag][group] + self._past[-lag - 1][group]) / 2)

    def _operator(self, mean: Array, std: Array) -> tuple[Array, Array, Array, Array]:
        """Return the three diagonals of ``-∂J/∂V``, and the flux through the threshold per density below it."""
        h = self._h[:, None]
        diffusion = (std**2 / 2)[:, None]
        z = h * (mean[:, None] - self._middles / self._tau_m[:, None]) / diffusion
        up, down = diffusion / h * _bernoulli(-z), diffusion / h * _bernoulli(z)  # across the upper side of each point
        below = np.zeros_like(up)
        below[:, 1:] = up[:, :-1] / h
        diagonal = -up / h
        diagonal[:, 1:] -= down[:, :-1] / h
        above = down / h
        return below, diagonal, above, up[:, -1]

    def _solve(self, below: Array, diagonal: Array, above: Array, right: Array) -> Array:
        bands = np.zeros((3, right.size))
        upper, lower = above.copy(), below.copy()
        upper[:, -1] = 0.0
        lower[:, 0] = 0.0
        bands[0, 1:], bands[1], bands[2, :-1] = upper.ravel()[:-1], diagonal.ravel(), lower.ravel()[1:]
        return np.asarray(solve_banded((1, 1), bands, right.ravel(), check_finite=False)).reshape(right.shape)


def _bernoulli(z: Array) -> Array:
    """Return ``z/(e^z - 1)``."""
    small = np.abs(z) < 1e-5
    safe = np.where(small, 1.0, z)
    with np.errstate(over="ignore"):
        return np.where(small, 1 - z / 2, safe / np.expm1(safe))
