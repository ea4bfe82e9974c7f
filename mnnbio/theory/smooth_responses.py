"""Responses of surrogate neurons that are smooth in frequency: measured by sinusoids, and fitted by causal functions.

Where delays make a circuit resonate, ``|1 - B W|`` is small, and a few percent of error in B become tens of percent of
power. Cross-spectra of spikes and input know B within 10 to 20 % in a band of 10 Hz. Two things improve that. A few
sinusoids at once, added to the mean input and taken away from it on the same noise, put all their power into single
frequencies. And B over a known response, that in white noise, is smooth: a polynomial with real coefficients in
``(sτ - 1)/(sτ + 1)``, which is causal. Responses to jumps over B change over decades: a polynomial in log f.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mnnbio.theory.population_surrogates import GROUPS, Circle, Currents, groups

Array = npt.NDArray[np.float64]
Complex = npt.NDArray[np.complex128]

SINES = np.array([10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 115, 130, 150, 180, 220, 280]) * 1e-3  # 1/ms
AT_ONCE = 4  # sinusoids in one run
MODULATION = 0.12  # of the rate by each of them
CANCELLED = 2.0  # factor by which the same noise in both runs lowers the error
MEMORY = 3.0  # ms, τ of the polynomials
SLOWEST = 0.008  # 1/ms, below which responses to jumps keep their ratio to those to the mean


def sine_responses(circle: Circle, rate: Array, mean: Array, currents: Currents, known: Complex) -> Complex:
    """Return responses to the mean at the frequencies `sines`, (group, population, sine), 1/mV.

    Parameters
    ----------
    circle : Circle
    rate : ndarray, shape (population,)
        1/ms.
    mean : ndarray, shape (neuron,)
        Of the input of the neurons that stand, mV/ms.
    currents : list of ndarray
        Their fluctuating input.
    known : ndarray, shape (population, sine)
        About how they respond, which sets the amplitudes.
    """
    stand, steps = circle.stand, circle.steps
    place = np.rint(sines(circle) * steps * circle.dt).astype(int)
    phase = np.exp(2j * np.pi * np.random.default_rng((circle.seed, 5)).random(len(place)))
    amplitude = (MODULATION * rate[:, None] / np.maximum(np.abs(known), 1e-12))[stand.owner]
    found = np.zeros((len(currents), GROUPS, len(place)), complex)
    for first in range(-(-len(place) // AT_ONCE)):
        own = np.arange(first, len(place), -(-len(place) // AT_ONCE))
        spectrum = np.zeros((len(currents), steps // 2 + 1), complex)
        spectrum[:, place[own]] = amplitude[:, own] * phase[own] * steps / 2
        waves = np.fft.irfft(spectrum, steps, axis=1).astype(np.float32)
        above, below = (
            circle.fire(mean, [c + sign * w for c, w in zip(currents, waves, strict=True)]) for sign in (1, -1)
        )
        for k, (more, fewer) in enumerate(zip(above, below, strict=True)):
            group = groups(len(more))
            given = amplitude[k, own] * phase[own] * steps * circle.dt
            for g in range(GROUPS):
                answer = more[group == g].mean(0) - fewer[group == g].mean(0)
                found[k, g, own] = np.fft.rfft(answer)[place[own]] / np.where(given != 0, given, np.inf)
    return np.asarray(stand.average(found).swapaxes(0, 1))


def sines(circle: Circle) -> Array:
    """Return the frequencies of the sinusoids, of which a record holds whole numbers, 1/ms."""
    length = circle.steps * circle.dt
    return np.asarray(np.unique(np.maximum(np.rint(SINES * length), 1)) / length)


def relative_errors(circle: Circle, rate: float, known: Complex, power: Array) -> tuple[float, Array]:
    """Return about the relative errors of responses by sinusoids and by cross-spectra in bands, up to a common factor.

    Parameters
    ----------
    circle : Circle
    rate : float
        1/ms.
    known : ndarray, shape (band,)
        About the response in the bands `circle.between`.
    power : ndarray, shape (band,)
        Of the input in them, mV²/ms.
    """
    fired = max(rate, 1e-9)
    width = circle.between.number / (circle.steps * circle.dt)
    crossed = np.sqrt(fired / np.maximum(power * width, 1e-12)) / np.maximum(np.abs(known), 1e-12)
    return float(np.sqrt(2 / fired) / MODULATION / CANCELLED), np.asarray(crossed)


def causal(frequency: npt.NDArray[np.float64], degree: int) -> Complex:
    """Return causal functions at frequencies in 1/ms, (degree, frequency)."""
    s = 2j * np.pi * frequency * MEMORY
    return np.asarray(((s - 1) / (s + 1)) ** np.arange(degree)[:, None])


def slow(frequency: npt.NDArray[np.float64], degree: int) -> Complex:
    """Return powers of the logarithm of frequencies in 1/ms, (degree, frequency): for what changes over decades."""
    return np.asarray(np.log(np.maximum(frequency, SLOWEST) / SLOWEST) ** np.arange(degree)[:, None], dtype=complex)


def fitted_ratio(known: Complex, ratio: Complex, error: Array, wanted: Complex, *, real: bool = True) -> Complex:
    """Return a complex ratio as a sum of functions, fitted where it is known.

    Parameters
    ----------
    known : ndarray, shape (function, known)
        Functions where the ratio is known.
    ratio : ndarray, shape (known,)
    error : ndarray, shape (known,)
        Its standard errors, up to a factor.
    wanted : ndarray, shape (function, wanted)
        The same functions elsewhere.
    real : bool
        Whether their coefficients are real.
    """
    basis, target = known / error, ratio / error
    if real:
        basis = np.concatenate([basis.real, basis.imag], axis=1)
        target = np.concatenate([target.real, target.imag])
    values, *_ = np.linalg.lstsq(basis.T, target, rcond=None)
    return np.asarray(values @ wanted)
