"""Oscillations that loops sustain, found from their response in frequency, and the labels of these and of spectra."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy.optimize import root

from mnnbio.results import array

Array = npt.NDArray[np.float64]
Complex = npt.NDArray[np.complex128]

HZ = 1e-3  # in 1/ms
GRID = 1.0  # Hz, between the frequencies at which oscillations are looked for
LEAST_GAIN = 0.1  # of a loop: weaker ones are damped within a cycle
SECANT_STEPS, ROOT_TOLERANCE = 40, 1e-10


def modes_of(f: Array, on_grid: Complex, loops: Callable[[Complex], Complex]) -> list[dict[str, float]]:
    """Return the oscillations that loops sustain, by falling growth.

    Parameters
    ----------
    f : ndarray, shape (frequency,)
        Grid of frequencies on which they are looked for, 1/ms.
    on_grid : ndarray, shape (frequency, n, n)
        Response of the rates to each other there.
    loops : callable
        Gives the eigenvalues of that response, (k, n), at s of shape (k,), 1/ms.
    """
    found: list[dict[str, float]] = []
    for onset, gain, s in loop_roots(f, on_grid, loops):
        frequency = s.imag / (2 * np.pi * HZ)
        if not any(abs(frequency - other["frequency"]) < GRID for other in found):
            found.append(
                {"frequency": frequency, "growth": s.real / HZ, "onset_frequency": onset / HZ, "loop_gain": gain}
            )
    return sorted(found, key=lambda mode: -mode["growth"])


def loop_roots(
    f: Array, on_grid: Complex, loops: Callable[[Complex], Complex]
) -> Iterator[tuple[float, float, complex]]:
    """Yield onset (1/ms), gain there and root s (1/ms) wherever an eigenvalue of loops turns; as for `modes_of`."""
    values = _followed(eigenvalues_of(on_grid))
    onsets, gains = [], []
    for eigenvalue in values.T:
        turns = np.flatnonzero((eigenvalue.imag[:-1] > 0) != (eigenvalue.imag[1:] > 0))
        for k in turns[eigenvalue.real[turns] > LEAST_GAIN]:
            part = eigenvalue.imag[k] / (eigenvalue.imag[k] - eigenvalue.imag[k + 1])
            onsets.append(f[k] + part * (f[k + 1] - f[k]))
            gains.append(eigenvalue.real[k] + part * (eigenvalue.real[k + 1] - eigenvalue.real[k]))
    for onset, gain, near in zip(onsets, gains, _roots(loops, np.array(onsets), np.array(gains)), strict=True):
        s = complex(near) if _is_near(near, onset) else _hybrid_root(loops, onset)
        if _is_near(s, onset):
            yield onset, gain, s


def eigenvalues_of(matrices: Complex) -> Complex:
    """Return the eigenvalues of matrices, (..., n)."""
    return np.asarray(np.linalg.eigvals(matrices), dtype=np.complex128)


def _followed(values: Complex) -> Complex:
    """Return eigenvalues, (frequency, n), each in a column of its own: the nearest ones continue each other."""
    out = values.copy()
    for k in range(1, len(out)):
        left = list(range(out.shape[1]))
        for column in np.argsort(-np.abs(out[k - 1])):
            nearest = min(left, key=lambda j: abs(values[k, j] - out[k - 1, column]))
            out[k, column] = values[k, nearest]
            left.remove(nearest)
    return out


def _roots(loops: Callable[[Complex], Complex], onset: Array, gain: Array) -> Complex:
    """Return s (1/ms) near 2πi·onset at which an eigenvalue is 1, by the secant method; nan where there is none.

    Parameters
    ----------
    loops : callable
        Gives the eigenvalues of the response, (k, n), at s of shape (k,).
    onset : ndarray, shape (k,)
        Frequencies, 1/ms, at which an eigenvalue is real.
    gain : ndarray, shape (k,)
        That eigenvalue, which is followed.
    """
    found = np.full(len(onset), complex(np.nan, np.nan))
    open_ = np.arange(len(onset))
    before, last = 2j * np.pi * onset, gain.astype(complex)
    reach = np.abs(before) / 4
    step, expected = 1e-3 * np.abs(before) + 0j, last
    for _ in range(SECANT_STEPS):
        if not len(open_):
            break
        here = before + step
        values = loops(here)
        value = np.take_along_axis(values, np.abs(values - expected[:, None]).argmin(1)[:, None], 1)[:, 0]
        slope = np.where(value == last, 1.0, value - last) / step
        step = (1 - value) / slope
        step *= np.minimum(1.0, reach / np.maximum(np.abs(step), np.finfo(float).tiny))
        expected = value + slope * step
        settled = np.abs(step) <= ROOT_TOLERANCE * np.abs(here)
        found[open_[settled]] = (here + step)[settled]
        open_, before, last, step, expected, reach = (v[~settled] for v in (open_, here, value, step, expected, reach))
    return found


def _is_near(s: complex, onset: float) -> bool:
    """Return whether a root belongs to the frequency from which it was looked for; one that is nan does not."""
    return bool(abs(s.imag / (2 * np.pi) - onset) < onset / 2)


def _hybrid_root(loops: Callable[[Complex], Complex], onset: float) -> complex:
    """Return s (1/ms) with ``det(1 - M(s)) = 0`` by Powell's hybrid method, where the secant method led away."""

    def mismatch(x: Array) -> Array:
        value = np.prod(1 - loops(np.array([complex(*x)])))
        return np.array([value.real, value.imag])

    solution = root(mismatch, [0.0, 2 * np.pi * onset], tol=1e-9)
    return complex(*solution.x) if solution.success else complex(np.nan, np.nan)


def label_modes(modes: list[dict[str, float]]) -> xr.Dataset:
    """Return oscillations in the labelled schema."""
    names = ("frequency", "growth", "onset_frequency", "loop_gain")
    return xr.Dataset({name: array(name, ("oscillation",), [mode[name] for mode in modes]) for name in names})


def label_spectra(f: Array, names: list[str], cross: Complex) -> xr.Dataset:
    """Return spectra ``<X_a X_b*>``, (frequency, population, population), 1/ms, in the labelled schema."""
    cross = cross.conj() / HZ
    power = np.real(np.einsum("faa->fa", cross))
    both = power[:, :, None] * power[:, None, :]
    coherence = np.where(both > 0, np.abs(cross) ** 2 / np.where(both > 0, both, 1.0), np.nan)  # silence has none
    one, two = ("frequency", "population"), ("frequency", "population", "population_j")
    labelled = {
        "power": array("power", one, power),
        "cross_real": array("cross_real", two, cross.real),
        "cross_imag": array("cross_imag", two, cross.imag),
        "coherence": array("coherence", two, coherence),
    }
    coords = {
        "frequency": ("frequency", f / HZ, {"units": "Hz", "long_name": "frequency"}),
        "population": names,
        "population_j": names,
    }
    return xr.Dataset(labelled, coords=coords)
