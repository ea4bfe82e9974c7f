"""Power and cross-spectra of population activity, with errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy import signal

Array = npt.NDArray[Any]

SEGMENT = 0.25  # s


def population_spectra(rates: xr.DataArray, segment: float | None = None) -> xr.Dataset:
    r"""Estimate spectra of population rates by Welch's method.

    The spectral density is two-sided, :math:`S_{ab}(f) = \int \mathrm{cov}[A_a(t), A_b(t + u)] e^{-2\pi i f u} du` with
    A the mean rate of a population's neurons, in Hz; N independent Poisson processes of rate r have
    :math:`S = r/N` at every frequency, and :math:`S(0)` is the long-window covariance per time. Trials are cut into
    segments that overlap by half, each tapered by a Hann window; the error is the spread over segments, with the
    correlation that the overlap brings.

    Parameters
    ----------
    rates : DataArray
        What `population_rates` returns.
    segment : float, optional
        Length of a segment, s; its inverse is the resolution in frequency. By default a quarter of a second, or a whole
        trial if that is shorter.

    Returns
    -------
    Dataset
        Over ([stimulus,] frequency, population, population_j): ``cross_real`` and ``cross_imag`` (Hz) and ``coherence``
        :math:`|S_{ab}|^2/(S_{aa} S_{bb})`; over ([stimulus,] frequency, population): ``power`` and ``power_se``. Of
        frequencies > 0, up to half the inverse bin.

    Raises
    ------
    ValueError
        If a segment holds fewer than 8 bins, or a trial no segment.

    References
    ----------
    P. D. Welch (1967), The use of fast Fourier transform for the estimation of power spectra, IEEE Trans. Audio
    Electroacoust. 15, 70-73, Eq. 12 for the correlation of overlapping segments.
    """
    bin = float(rates.attrs["bin"])
    available = rates.sizes["time"]
    segment = min(SEGMENT, available * bin) if segment is None else segment
    size = round(segment / bin)
    if size < 8:
        raise ValueError(f"`segment` must hold 8 bins of {bin:g} s or more, got {segment:g} s")
    if size > available:
        raise ValueError(f"`segment` is longer than a trial, {available * bin:g} s, got {segment:g} s")
    lead = [str(d) for d in rates.dims if d not in ("trial", "time", "population")]
    values = rates.transpose(*lead, "trial", "population", "time").to_numpy().astype(np.float64)
    taper = signal.windows.hann(size, sym=False)
    hop = size - size // 2
    pieces = np.lib.stride_tricks.sliding_window_view(values, size, axis=-1)[..., ::hop, :]
    centred = pieces - values.mean(axis=(-3, -1), keepdims=True)[..., None]
    transform = np.fft.rfft(centred * taper, axis=-1)[..., 1:] * np.sqrt(bin / (taper**2).sum())
    # (..., trial, population, piece, frequency) → (..., sample, frequency, population)
    transform = np.moveaxis(transform, -3, -1)
    transform = transform.reshape(*transform.shape[: len(lead)], -1, *transform.shape[-2:])
    cross = np.einsum("...sfa,...sfb->...fab", transform.conj(), transform) / transform.shape[-3]
    power = np.abs(transform) ** 2
    samples = power.shape[-3]
    overlap = (taper[hop:] * taper[: size - hop]).sum() / (taper**2).sum()
    spread = power.std(axis=-3, ddof=1) if samples > 1 else np.full(power.shape[:-3] + power.shape[-2:], np.nan)
    density = np.real(np.einsum("...faa->...fa", cross))
    frequency = np.fft.rfftfreq(size, bin)[1:]
    return _dataset(rates, lead, frequency, cross, density, spread * np.sqrt((1 + 2 * overlap**2) / samples), samples)


def _dataset(
    rates: xr.DataArray, lead: list[str], frequency: Array, cross: Array, density: Array, se: Array, samples: int
) -> xr.Dataset:
    one, two = (*lead, "frequency", "population"), (*lead, "frequency", "population", "population_j")
    product = density[..., :, None] * density[..., None, :]
    coherence = np.divide(np.abs(cross) ** 2, product, out=np.full(product.shape, np.nan), where=product > 0)
    names = rates["population"].to_numpy()
    coords: dict[str, Any] = {name: rates.coords[name] for name in lead if name in rates.coords}
    coords |= {
        "frequency": ("frequency", frequency, {"units": "Hz", "long_name": "frequency"}),
        "population": names,
        "population_j": names,
    }
    return xr.Dataset(
        {
            "power": (one, density, {"units": "Hz", "long_name": "power spectral density of the population rate"}),
            "power_se": (one, se, {"units": "Hz", "long_name": "standard error of it"}),
            "cross_real": (two, cross.real, {"units": "Hz", "long_name": "cross-spectral density, real part"}),
            "cross_imag": (two, cross.imag, {"units": "Hz", "long_name": "cross-spectral density, imaginary part"}),
            "coherence": (two, coherence, {"units": "1", "long_name": "coherence of the population rates"}),
        },
        coords=coords,
        attrs={"segments": samples, "bin": float(rates.attrs["bin"])},
    )


def oscillation(spectra: xr.Dataset, low: float = 5.0, high: float | None = None) -> xr.Dataset:
    r"""Find the strongest oscillation of every population.

    Parameters
    ----------
    spectra : Dataset
        What `population_spectra` returns.
    low, high : float
        Frequencies searched, Hz; by default from 5 Hz to the highest.

    Returns
    -------
    Dataset
        Over ([stimulus,] population): ``frequency_peak`` (Hz), the vertex of the parabola through the logarithms of the
        largest power and its neighbours; ``peak_power`` (Hz); ``prominence``, the peak over the median power of the
        frequencies searched, which is near 1 to 3 where nothing oscillates.

    Raises
    ------
    ValueError
        If fewer than five frequencies are between `low` and `high`.
    """
    frequency = spectra["frequency"].to_numpy()
    searched = np.flatnonzero((frequency >= low) & (frequency <= (np.inf if high is None else high)))
    if len(searched) < 5:
        raise ValueError(f"fewer than five frequencies lie between {low:g} Hz and {high} Hz: widen them")
    power = spectra["power"].transpose(..., "population", "frequency")
    values = power.to_numpy()[..., searched]
    best = values.argmax(axis=-1)
    inner = np.clip(best, 1, len(searched) - 2)
    around = [np.take_along_axis(values, (inner + k)[..., None], axis=-1)[..., 0] for k in (-1, 0, 1)]
    with np.errstate(divide="ignore", invalid="ignore"):
        before, at, after = (np.log(v) for v in around)
        offset = np.where(best == inner, 0.5 * (before - after) / (before - 2 * at + after), best - inner)
        largest = values.max(axis=-1)
        prominence = largest / np.median(values, axis=-1)
    dims = tuple(str(d) for d in power.dims if d != "frequency")
    return xr.Dataset(
        {
            "frequency_peak": (
                dims,
                frequency[searched][inner] + (frequency[1] - frequency[0]) * offset,
                {"units": "Hz"},
            ),
            "peak_power": (dims, largest, {"units": "Hz"}),
            "prominence": (dims, prominence, {"units": "1"}),
        },
        coords={name: power.coords[name] for name in dims if name in power.coords},
    )
