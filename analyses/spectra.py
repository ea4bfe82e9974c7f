"""Power and cross-spectra of population activity, with errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy import signal

from mnnbio.results import single_time
from mnnbio.units import in_unit

Array = npt.NDArray[Any]

_SEGMENT = 250.0  # ms
_LOWEST = 0.005  # 1/ms


def population_spectra(rates: xr.DataArray, segment: Any = None) -> xr.Dataset:
    r"""Estimate spectra of population rates by Welch's method.

    The spectral density is two-sided, :math:`S_{ab}(f) = \int \mathrm{cov}[A_a(t), A_b(t + u)] e^{-2\pi i f u} du` with
    A the mean rate of a population's neurons, in Hz; N independent Poisson processes of rate r have
    :math:`S = r/N` at every frequency, and :math:`S(0)` is the long-window covariance per time. Trials are cut into
    segments that overlap by half, each tapered by a Hann window; the error is the spread over segments, with the
    correlation that the overlap brings.

    Parameters
    ----------
    rates : DataArray
        Population rates, as `population_rates` returns them.
    segment : float or Quantity, optional
        Length of a segment, ms; its inverse is the resolution in frequency. It is rounded to whole bins. By default
        250 ms, or a whole trial if that is shorter.

    Returns
    -------
    Dataset
        Over ([stimulus,] frequency, population, population_j): ``cross_real`` and ``cross_imag`` (Hz) and ``coherence``
        :math:`|S_{ab}|^2/(S_{aa} S_{bb})`; over ([stimulus,] frequency, population): ``power`` and ``power_se``. Of
        frequencies > 0, up to half the inverse bin.

    Raises
    ------
    ValueError
        If a segment holds fewer than 8 bins, or a trial no segment; or these are no population rates.

    References
    ----------
    P. D. Welch (1967), The use of fast Fourier transform for the estimation of power spectra, IEEE Trans. Audio
    Electroacoust. 15, 70-73, Eq. 12 for the correlation of overlapping segments.
    """
    bin = bin_of(rates)
    available = rates.sizes["time"]
    whole = 1e3 * available * bin
    length = min(_SEGMENT, whole) if segment is None else single_time(segment, "segment")
    size = round(1e-3 * length / bin)
    if size < 8:
        raise ValueError(f"`segment` must hold 8 bins of {1e3 * bin:g} ms or more, got {length:g} ms")
    if size > available:
        raise ValueError(f"`segment` is longer than a trial, {whole:g} ms, got {length:g} ms")
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


def bin_of(rates: xr.DataArray) -> float:
    """Return the length of the bins of population rates, s.

    Raises
    ------
    TypeError, ValueError
        If these are no population rates.
    """
    if not isinstance(rates, xr.DataArray):
        raise TypeError(f"expected what `population_rates` returns, a DataArray, got {type(rates).__name__}")
    missing = [dim for dim in ("trial", "time", "population") if dim not in rates.dims]
    if missing or "bin" not in rates.attrs:
        raise ValueError(
            "expected what `population_rates` returns, over trial, time and population with the attribute `bin`, got "
            f"an array over {', '.join(map(str, rates.dims)) or 'nothing'}"
        )
    if not np.isfinite(rates.to_numpy()).all():
        raise ValueError("the population rates must be finite, got NaN or infinite values")
    return float(rates.attrs["bin"])


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


def oscillation(spectra: xr.Dataset, low: Any = _LOWEST, high: Any = None) -> xr.Dataset:
    r"""Find the strongest oscillation of every population.

    Parameters
    ----------
    spectra : Dataset
        Spectra, as `population_spectra` returns them.
    low, high : float or Quantity
        Frequencies searched, 1/ms, as `predict_spectra` takes them; by default from 0.005/ms (5 Hz) to the highest.

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
    if not isinstance(spectra, xr.Dataset) or not {"power", "frequency"} <= set(spectra.variables):
        raise TypeError(f"expected what `population_spectra` returns, got {type(spectra).__name__}")
    frequency = spectra["frequency"].to_numpy()
    least = 1e3 * float(in_unit(low, "1/ms", "low"))
    most = frequency[-1] if high is None else 1e3 * float(in_unit(high, "1/ms", "high"))
    searched = np.flatnonzero((frequency >= least) & (frequency <= most))
    if len(searched) < 5:
        raise ValueError(
            f"fewer than five frequencies lie between {least:g} Hz and {most:g} Hz, of {frequency[0]:g} Hz to "
            f"{frequency[-1]:g} Hz: widen them; `low` and `high` are numbers in 1/ms, or quantities"
        )
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
