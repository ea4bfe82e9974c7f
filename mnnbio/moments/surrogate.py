"""Leaky integrate-and-fire neurons in Gaussian input of any spectrum, by surrogates: simulated, then averaged.

No closed form says how a spiking neuron answers coloured noise. A surrogate is the neuron itself, driven for seconds
by input that has the given spectrum. Pairs of opposite input cancel what is odd in it, and the same noise at
every call makes the answers smooth functions of mean and spectrum, which can be solved and differentiated.

Two responses come from the same runs. For Gaussian input x of spectrum S and spikes s, ``E[∂s/∂x]`` is the cross
spectrum of s and ``y = x/S``, the response to the mean; and half of ``E[∂²s/∂x²]``, the cross spectrum of s and
``(y² - E y²)/2``, is the response to the variance of white noise in the input (Furutsu-Novikov theorem [1]_).

The loops run compiled (`mnnbio.machine.load_library`), or by NumPy where there is no compiler.

References
----------
.. [1] E. A. Novikov (1965), Functionals and the random-force method in turbulence theory, Sov. Phys. JETP 20, 1290.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mnnbio.machine import LibrarySource, load_library
from mnnbio.moments.drive import Neuron, from_rest

Array = npt.NDArray[np.float64]
Complex = npt.NDArray[np.complex128]
Spikes = npt.NDArray[np.uint8]

SOURCE = Path(__file__).with_name("surrogate.cpp")
FLAGS = ("-std=c++17", "-O3", "-shared", "-fPIC", "-fno-math-errno", "-fno-trapping-math")
WARM_UP = 500.0  # ms before a record, of the input at its end

# Widths of the bands in which spectra are averaged: Hz up to a frequency, and the factor from there on.
BAND, LINEAR, FACTOR = 1.0, 50.0, 1.03
WIDE = 1.5  # factor of the bands of the response to the variance, whose estimate is noisier


class Bands(NamedTuple):
    """Bands of frequencies over which spectra are averaged."""

    place: npt.NDArray[np.int64]  # band of each frequency of the record above zero
    number: Array  # of frequencies of each band
    frequency: Array  # mean of each, 1/ms

    def average(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the averages over bands of values (frequency,), the one at zero frequency left out."""
        parts = [
            np.bincount(self.place, part[1:], len(self.number)) / self.number for part in (values.real, values.imag)
        ]
        return parts[0] + 1j * parts[1] if np.iscomplexobj(values) else parts[0]


class Surrogate(NamedTuple):
    """Answer of neurons to Gaussian input; errors are standard errors over pairs, NaN with one pair."""

    frequency: Array  # of the bands, (band,), 1/ms
    rate: Array  # (neuron,), 1/ms
    rate_error: Array
    spectrum: Array  # two-sided, of the spike train, (neuron, band), 1/ms
    spectrum_error: Array
    response: Complex  # of the rate to the mean, (neuron, band), 1/mV
    response_error: Array
    wide_frequency: Array  # of wider bands, (wide,), 1/ms
    variance_response: Complex  # of the rate to the variance of each kind of input, (neuron, kind, wide), 1/mV²
    variance_response_error: Array
    interval_cv2: Array  # squared coefficient of variation of the intervals, (neuron,)


def frequencies(steps: int, dt: float) -> Array:
    """Return the frequencies (1/ms) of records of a number of time steps, from 0 to 1/(2 dt)."""
    return np.asarray(np.fft.rfftfreq(steps, dt), dtype=np.float64)


def spectral_bands(
    steps: int, dt: float, *, factor: float = FACTOR, linear: float = LINEAR, width: float = BAND
) -> Bands:
    """Return bands of equal width up to a frequency (Hz), then in geometric progression."""
    f = frequencies(steps, dt)[1:]
    top = f[-1] * 1e3
    low = np.arange(width, min(linear, top), width)
    high = (
        np.geomspace(linear, top, max(2, round(np.log(max(top / linear, 1.01)) / np.log(factor))))
        if top > linear
        else [top]
    )
    edges = np.concatenate([low, high])[:-1] * 1e-3
    index = np.searchsorted(edges, f, side="right")
    used, index = np.unique(index, return_inverse=True)
    count = np.bincount(index, minlength=len(used)).astype(float)
    return Bands(index, count, np.bincount(index, f, len(used)) / count)


def synaptic_filter(frequency: npt.ArrayLike, tau_syn: float, dt: float) -> Complex:
    """Return the transform of the current of an exponential synapse in steps, 1 at zero frequency.

    Parameters
    ----------
    frequency : array_like
        1/ms.
    tau_syn : float
        ms; 0 for jumps.
    dt : float
        ms.
    """
    f = np.asarray(frequency)
    if tau_syn == 0:
        return np.ones(f.shape, complex)
    left = np.exp(-dt / tau_syn)
    return np.asarray((1 - left) / (1 - left * np.exp(-2j * np.pi * f * dt)))


def gaussian_transforms(spectrum: Array, dt: float, rng: np.random.Generator) -> Complex:
    """Return the transform of a record of Gaussian noise of a spectrum (mV²/ms) on the frequencies of a record."""
    steps = 2 * (len(spectrum) - 1)
    white = rng.standard_normal(len(spectrum)) + 1j * rng.standard_normal(len(spectrum))
    white[[0, -1]] = white[[0, -1]].real * np.sqrt(2)
    white[0] = 0  # a record's mean is the given one: the spectrum there is that of infinitely slow input
    found: Complex = white * np.sqrt(spectrum * steps / (2 * dt))
    return found


def lif_spikes(current: Array, lif: Neuron, dt: float) -> Spikes:
    """Return the spikes of neurons in given currents, (neuron, step).

    Parameters
    ----------
    current : ndarray, shape (neuron, step)
        Constant within each step, mV/ms. Its end comes first as a warm-up.
    lif : LIFParameters or alike
        Numbers, or one for each neuron.
    dt : float
        ms.
    """
    current = np.ascontiguousarray(current, dtype=np.float64)
    trains, steps = current.shape
    own = from_rest(lif)
    tau_m, v_th, v_reset, t_ref = (
        np.ascontiguousarray(np.broadcast_to(np.asarray(value, dtype=np.float64), trains))
        for value in (own.tau_m, own.v_th, own.v_reset, own.t_ref)
    )
    decay, scale = np.exp(-dt / tau_m), -tau_m * np.expm1(-dt / tau_m)
    hold = np.rint(t_ref / dt).astype(np.int64)
    warm = min(steps, round(WARM_UP / dt))
    spikes = np.empty((trains, steps), np.uint8)
    library = _library()
    if library is None:
        return _by_numpy(current, decay, scale, v_th, v_reset, hold, warm)
    arrays = (decay, scale, v_th, v_reset, hold, current, spikes)
    library.lif_spikes(trains, steps, warm, *(a.ctypes.data for a in arrays))
    return spikes


def shifted_sum(pool: Spikes, which: npt.NDArray[np.int64], shift: npt.NDArray[np.int64]) -> npt.NDArray[np.uint16]:
    """Return the sum of trains of a pool, (train, step), each shifted in time by steps around the end."""
    total = np.zeros(pool.shape[1], np.uint16)
    library = _library()
    if library is None:
        for train, steps in zip(which, shift, strict=True):
            total += np.roll(pool[train], steps)
        return total
    which, shift = (np.ascontiguousarray(a, dtype=np.int64) for a in (which, shift))
    pool = np.ascontiguousarray(pool)
    arrays = (which, shift, pool, total)
    library.add_shifted(len(which), pool.shape[1], *(a.ctypes.data for a in arrays))
    return total


def lif_surrogate(
    mean: npt.ArrayLike,
    spectrum: npt.ArrayLike,
    lif: Neuron,
    dt: float,
    *,
    pairs: int = 24,
    seed: int = 0,
    tau_syn: Sequence[float] = (0.0,),
) -> Surrogate:
    """Return how neurons answer Gaussian input of given mean and spectrum.

    Parameters
    ----------
    mean : array_like, shape (neuron,)
        Of the input, mV/ms.
    spectrum : array_like, shape (neuron, frequency)
        Two-sided, of the input, mV²/ms, on the `frequencies` of a record; white noise of `std` has std². Its length
        is that of the records.
    lif : LIFParameters or alike
        Numbers, or one for each neuron.
    dt : float
        Time step, ms.
    pairs : int
        Records of each neuron, each with its opposite.
    seed : int
        Of the noise, the same for all neurons.
    tau_syn : sequence of float
        Kinds of synapses (ms) through which the variance of the input is modulated.

    Raises
    ------
    ValueError
        If shapes do not fit, a spectrum is negative or a number of pairs is not positive.
    """
    means, power = np.atleast_1d(np.asarray(mean, float)), np.atleast_2d(np.asarray(spectrum, float))
    if means.ndim != 1 or power.ndim != 2 or power.shape[1] < 2 or len(power) not in (1, len(means)):
        raise ValueError(
            f"`mean` must be (neuron,) and `spectrum` (neuron, frequency), got {means.shape} and {power.shape}"
        )
    if not (power >= 0).all():
        raise ValueError(f"`spectrum` must be ≥ 0 mV²/ms, got {power.min():g}")
    if pairs < 1:
        raise ValueError(f"`pairs` must be ≥ 1, got {pairs}")
    power = np.broadcast_to(power, (len(means), power.shape[1]))
    records = [
        [_pair(m, s, _taken(lif, k, len(means)), dt, (seed, pair), tau_syn) for pair in range(pairs)]
        for k, (m, s) in enumerate(zip(means, power, strict=True))
    ]
    return surrogate_of_records(records, 2 * (power.shape[1] - 1), dt)


class PairRecord(NamedTuple):
    """What one neuron answers to a record of input and to its opposite."""

    rate: float  # 1/ms
    spectrum: Array  # (band,), 1/ms
    response: Complex  # (band,), 1/mV
    variance_response: Complex  # (kind, wide), 1/mV²
    intervals: Array  # in steps


def pair_record(noise: Complex, spikes: Spikes, spectrum: Array, dt: float, tau_syn: Sequence[float]) -> PairRecord:
    """Return the statistics of a pair of trains.

    Parameters
    ----------
    noise : ndarray, shape (frequency,)
        Transform of the input's deviation from its mean in the first of them, as of `gaussian_transforms`.
    spikes : ndarray, shape (2, step)
        Counts in steps, with that input and with its opposite.
    spectrum, dt, tau_syn
        As for `surrogate_responses`.
    """
    transforms = np.fft.rfft(spikes.astype(float), axis=1)
    found = [
        surrogate_responses(sign * noise, t, spectrum, dt, tau_syn) for sign, t in zip((1, -1), transforms, strict=True)
    ]
    own, to_mean, to_variance = (np.mean([part[i] for part in found], axis=0) for i in range(3))
    intervals = np.concatenate([np.diff(np.flatnonzero(train)) for train in spikes]).astype(float)
    return PairRecord(float(spikes.mean()) / dt, own, to_mean, to_variance, intervals)


def surrogate_of_records(records: Sequence[Sequence[PairRecord]], steps: int, dt: float) -> Surrogate:
    """Return the answer of neurons, averaged over the pairs of records of each.

    Parameters
    ----------
    records : sequence of sequence of PairRecord
        Of each neuron, as many of each.
    steps : int
        Of a record.
    dt : float
        ms.
    """
    narrow, wide = spectral_bands(steps, dt), wide_bands(steps, dt)
    values = [np.array([[record[i] for record in of] for of in records]) for i in range(4)]
    (rate, spec, response, to_variance) = (value.mean(1) for value in values)
    errors = [_error(value) for value in values]
    cv2 = np.array([_cv2(np.concatenate([record[4] for record in of])) for of in records])
    return Surrogate(
        narrow.frequency, rate, errors[0], spec, errors[1], response, errors[2],
        wide.frequency, to_variance, errors[3], cv2,
    )  # fmt: skip


def wide_bands(steps: int, dt: float) -> Bands:
    """Return the bands of the response to the variance."""
    return spectral_bands(steps, dt, factor=WIDE, linear=5.0, width=5.0)


def surrogate_responses(
    input_: Complex, spikes: Complex, spectrum: Array, dt: float, tau_syn: Sequence[float]
) -> tuple[Array, Complex, Complex]:
    """Return spectrum, response to the mean and to the variance from the transforms of one record.

    Parameters
    ----------
    input_ : ndarray, shape (frequency,)
        Of the input's deviation from its mean, mV/ms.
    spikes : ndarray, shape (frequency,)
        Of the counts in steps.
    spectrum : ndarray, shape (frequency,)
        Of the input, mV²/ms.
    dt : float
        ms.
    tau_syn : sequence of float
        As for `lif_surrogate`.
    """
    steps = 2 * (len(spectrum) - 1)
    narrow = spectral_bands(steps, dt)
    own = narrow.average(np.abs(spikes) ** 2) / (steps * dt)
    crossed = narrow.average(spikes * input_.conj()) / narrow.average(np.abs(input_) ** 2) / dt
    return own, crossed, variance_responses(input_, spikes, spectrum, dt, tau_syn)


def variance_responses(
    input_: Complex, spikes: Complex, spectrum: Array, dt: float, tau_syn: Sequence[float]
) -> Complex:
    """Return the responses to the variance, (kind, wide), of one record; see `surrogate_responses`."""
    steps, wide = 2 * (len(spectrum) - 1), wide_bands(2 * (len(spectrum) - 1), dt)
    inverse = input_ / np.where(spectrum > 0, spectrum, np.inf)  # white in the sense of the theorem, 1/mV
    squared = []
    for tau in tau_syn:
        y = np.fft.irfft(synaptic_filter(frequencies(steps, dt), tau, dt).conj() * inverse, steps)
        squared.append(wide.average(spikes * np.fft.rfft(y * y).conj()) / (2 * steps))
    return np.array(squared)


def _pair(
    mean: float, spectrum: Array, lif: Neuron, dt: float, seed: tuple[int, int], tau_syn: Sequence[float]
) -> PairRecord:
    noise = gaussian_transforms(spectrum, dt, np.random.default_rng(seed))
    current = np.fft.irfft(noise, 2 * (len(spectrum) - 1))
    return pair_record(noise, lif_spikes(np.stack([mean + current, mean - current]), lif, dt), spectrum, dt, tau_syn)


def _error(values: npt.NDArray[Any]) -> Array:
    """Return standard errors over the second axis; of complex values, the root of both parts' squares."""
    if values.shape[1] < 2:
        return np.full(values.mean(1).shape, np.nan)
    return np.asarray(np.sqrt(np.var(values, axis=1, ddof=1) / values.shape[1]))


def _cv2(intervals: Array) -> float:
    return float(intervals.var() / intervals.mean() ** 2) if len(intervals) > 1 else np.nan


class _One(NamedTuple):
    tau_m: Any
    v_th: Any
    v_reset: Any
    t_ref: Any


def _taken(lif: Neuron, k: int, count: int) -> Neuron:
    own = from_rest(lif)
    values = (own.tau_m, own.v_th, own.v_reset, own.t_ref)
    return _One(*(np.broadcast_to(np.asarray(value, float), count)[k] for value in values))


@cache
def _library() -> ctypes.CDLL | None:
    library, _ = load_library(LibrarySource("surrogate", "the compiled surrogate neurons", SOURCE, FLAGS))
    if library is not None:
        size, pointer = ctypes.c_int64, ctypes.c_void_p
        library.lif_spikes.argtypes, library.lif_spikes.restype = [size, size, size, *[pointer] * 7], None
        library.add_shifted.argtypes, library.add_shifted.restype = [size, size, *[pointer] * 4], None
    return library


def _by_numpy(
    current: Array, decay: Array, scale: Array, v_th: Array, v_reset: Array, hold: npt.NDArray[np.int64], warm: int
) -> Spikes:
    trains, steps = current.shape
    spikes = np.zeros((trains, steps), np.uint8)
    v, held = v_reset.copy(), np.zeros(trains, np.int64)
    kicks = np.ascontiguousarray((scale[:, None] * current).T)
    for t in [*range(steps - warm, steps), *range(steps)]:
        free = held == 0
        v = np.where(free, decay * v + kicks[t], v)
        fired = free & (v >= v_th)
        v = np.where(fired, v_reset, v)
        held = np.where(fired, hold, np.maximum(held - 1, 0))
        spikes[:, t] = fired  # those of the warm-up are written over
    return spikes
