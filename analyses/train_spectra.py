"""Spectra and coherence of spike trains, rates and recorded signals, with intervals: Welch and multitaper."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy import fft, signal, stats

from mnnbio.analyses.rate_estimates import Resolution, grouped_counts, require_level
from mnnbio.analyses.train_table import train_table
from mnnbio.machine import check_choice, require_integer, require_memory
from mnnbio.results import single_time

Array = npt.NDArray[np.float64]
Complex = npt.NDArray[np.complex128]

_SEGMENT = 250.0  # ms
_CHUNK = 2**22  # samples that are transformed at once


class Signals(NamedTuple):
    """Signals at equal times, read in parts: (stimulus, trial, group, time)."""

    parts: Any
    """Function of a range of groups that returns their values."""
    shape: tuple[int, int, int, int]
    interval: float
    """Time between samples, s."""
    dims: tuple[str, ...]
    """([stimulus,] group)."""
    coords: dict[str, Any]
    unit: str
    attrs: dict[str, Any]
    """What is said of the trains that they are made of."""


def welch_spectra(
    data: Any,
    segment: Any = None,
    *,
    overlap: float = 0.5,
    taper: str = "hann",
    bin: Any = None,
    resolution: Resolution = "population",
    cross: bool | None = None,
    level: float = 0.95,
    duration: Any = None,
    start: Any = None,
    stop: Any = None,
) -> xr.Dataset:
    r"""Estimate spectra and coherence by Welch's method: tapered segments that overlap, averaged.

    The density is two-sided, :math:`S_{ab}(f) = \int \mathrm{cov}[x_a(t), x_b(t + u)] e^{-2\pi i f u} du`: half of
    what one-sided estimates show. The mean of each segment is taken off. With K segments of all trials and the
    correlation ρ² of the power of those that overlap, the power times ν over its expectation is χ² of :math:`\nu = 2K
    / [1 + 2 \sum_j (1 - j/K) \rho_j^2]` degrees of freedom, which gives its interval and its error
    :math:`S\sqrt{2/\nu}`; that of the coherence follows from :math:`\mathrm{artanh}|\gamma|`, of variance 1/(ν − 2).

    Parameters
    ----------
    data : DataTree, Dataset, DataArray, or sequence of array_like
        A result with ``/spikes`` or plain trains (ms), of which rates are taken; or signals over ([stimulus, trial,]
        time, [group]), such as recorded voltages or `population_rates`.
    segment : float or Quantity, optional
        Length of a segment, ms; its inverse is the resolution. Default: 250 ms, or the record if that is shorter.
    overlap : float
        Part by which segments overlap, from 0 to below 1.
    taper : str
        Name of a taper of `scipy.signal.get_window`.
    bin : float or Quantity, optional
        Bin of spikes, ms. Default: the one nearest to 1 ms.
    resolution : {"population", "neuron"}
        Mean rates of populations, or rates of all neurons.
    cross : bool, optional
        Whether cross-spectra of every two signals are made. Default: of up to 20 signals.
    level : float
        Level of intervals.
    duration, start, stop : float or Quantity, optional
        Record of plain trains, and the time looked at, ms.

    Returns
    -------
    Dataset
        Over ([stimulus,] frequency, population) or another group: ``power``, ``power_se``, ``power_low``,
        ``power_high``; with `cross`, over the group twice: ``cross_real``, ``cross_imag``, ``coherence``
        :math:`|S_{ab}|^2/(S_{aa} S_{bb})` with ``coherence_low`` and ``coherence_high``, and ``phase`` (rad; positive
        where the second follows). Attributes: `dof`, ν; `segments`; `coherence_threshold`, which the coherence of
        independent signals exceeds with probability 1 − level.

    Raises
    ------
    ValueError
        If a segment is longer than the record or holds fewer than 8 samples, or signals are not finite.

    References
    ----------
    Welch, P. D. (1967). The use of fast Fourier transform for the estimation of power spectra. *IEEE Trans. Audio
    Electroacoust.* 15, 70-73. Halliday, D. M. et al. (1995). A framework for the analysis of mixed time series/point
    process data. *Prog. Biophys. Mol. Biol.* 64, 237-278.
    """
    require_level(level)
    if not 0 <= overlap < 1:
        raise ValueError(f"`overlap` must be from 0 to below 1, got {overlap!r}")
    signals = _signals(data, bin, resolution, duration, start, stop)
    size = _samples(signals, segment, _SEGMENT)
    window = signal.get_window(taper, size)
    hop = size - int(size * overlap)
    number = (signals.shape[3] - size) // hop + 1
    correlations = [(window[j * hop :] * window[: size - j * hop]).sum() for j in range(1, -(-size // hop))]
    squares = (np.array(correlations) / (window**2).sum()) ** 2
    shares = 1 - np.arange(1, len(squares) + 1) / number
    dof = 2 * number * signals.shape[1] / (1 + 2 * float((np.maximum(shares, 0) * squares).sum()))
    return _estimated(signals, window[None], hop, dof, level, cross, {"segments": number * signals.shape[1]})


def multitaper_spectra(
    data: Any,
    half_bandwidth: float = 4.0,
    *,
    tapers: int | None = None,
    segment: Any = None,
    bin: Any = None,
    resolution: Resolution = "population",
    cross: bool | None = None,
    level: float = 0.95,
    duration: Any = None,
    start: Any = None,
    stop: Any = None,
) -> xr.Dataset:
    r"""Estimate spectra and coherence with discrete prolate spheroidal sequences (Thomson's multitaper method).

    Each segment (or the whole record) is multiplied by K orthogonal tapers that concentrate within W of a frequency;
    the mean over tapers, segments and trials has :math:`\nu = 2 K \cdot` (segments) degrees of freedom, from which
    errors and intervals follow as in `welch_spectra`. The density is two-sided, and the mean of each segment is taken
    off.

    Parameters
    ----------
    data : DataTree, Dataset, DataArray, or sequence of array_like
        As of `welch_spectra`.
    half_bandwidth : float
        Product NW of the length of a segment and the half bandwidth W, > 1/2: the resolution is 2 NW over the length.
    tapers : int, optional
        K. Default: 2 NW − 1.
    segment : float or Quantity, optional
        Length of a segment, ms; segments do not overlap. Default: the whole record.
    bin, resolution, cross, level, duration, start, stop
        As of `welch_spectra`.

    Returns
    -------
    Dataset
        As of `welch_spectra`, with the attribute `tapers`.

    Raises
    ------
    ValueError
        As of `welch_spectra`; or if NW is too small, or there are more tapers than 2 NW.

    References ---------- Thomson, D. J. (1982). Spectrum estimation and harmonic analysis. *Proc. IEEE* 70, 1055-1096.
    Jarvis, M. R., Mitra, P. P. (2001). Sampling properties of the spectrum and coherency of sequences of action
    potentials. *Neural Comput.* 13, 717-749.
    """
    require_level(level)
    signals = _signals(data, bin, resolution, duration, start, stop)
    size = _samples(signals, segment, 1e3 * signals.interval * signals.shape[3])
    if not 0.5 < half_bandwidth < size / 2:
        raise ValueError(f"`half_bandwidth` must be > 0.5 and below {size / 2:g}, got {half_bandwidth!r}")
    count = max(int(np.floor(2 * half_bandwidth)) - 1, 1) if tapers is None else tapers
    require_integer("tapers", count, 1, int(np.ceil(2 * half_bandwidth)))
    windows = _dpss(size, float(half_bandwidth), count)
    number = signals.shape[3] // size
    dof = 2.0 * count * number * signals.shape[1]
    attrs = {"segments": number * signals.shape[1], "tapers": count, "half_bandwidth": half_bandwidth}
    return _estimated(signals, windows, size, dof, level, cross, attrs)


@lru_cache(maxsize=8)
def _dpss(size: int, half_bandwidth: float, count: int) -> Array:
    found: Array = signal.windows.dpss(size, half_bandwidth, count, sym=False)
    return found


def _samples(signals: Signals, segment: Any, default: float) -> int:
    """Return the number of samples of a segment."""
    whole = 1e3 * signals.interval * signals.shape[3]
    length = min(default, whole) if segment is None else single_time(segment, "segment")
    size = round(1e-3 * length / signals.interval)
    if size > signals.shape[3]:
        raise ValueError(f"`segment` is longer than the record, {whole:g} ms, got {length:g} ms")
    if size < 8:
        raise ValueError(f"`segment` must hold 8 samples of {1e3 * signals.interval:g} ms or more, got {length:g} ms")
    return size


def _signals(data: Any, bin: Any, resolution: Resolution, duration: Any, start: Any, stop: Any) -> Signals:
    check_choice("resolution", resolution, ("population", "neuron"))
    if isinstance(data, xr.DataArray):
        return _of_array(data, start, stop)
    table = train_table(data, duration=duration, start=start, stop=stop)
    width = table.bin(bin, 1.0)
    if resolution == "population":
        counts, names, sizes = grouped_counts(table, width, resolution)
        rates = np.swapaxes(counts, 2, 3) / (1e-3 * width * np.asarray(sizes)[:, None])
        coords = {**table.kept_coords("neuron"), "population": names}

        def some(one: int, other: int) -> Array:
            return rates[:, :, one:other]

        shape = rates.shape
    else:
        coords = table.kept_coords()
        number = table.places(width)[2]
        shape = (table.stimuli, table.trials, table.neurons, number)

        def some(one: int, other: int) -> Array:
            part = table if (one, other) == (0, table.neurons) else table.select(np.arange(one, other))
            return part.counts(width) / (1e-3 * width)

    dims = (*table.kept_dims[:-1], resolution)
    return Signals(some, (shape[0], shape[1], shape[2], shape[3]), 1e-3 * width, dims, coords, "Hz", table.attrs())


def _of_array(data: xr.DataArray, start: Any, stop: Any) -> Signals:
    others = [str(d) for d in data.dims if d not in ("stimulus", "trial", "time")]
    if "time" not in data.dims or len(others) > 1 or "time" not in data.coords:
        raise ValueError(
            "signals must be over ([stimulus, trial,] time, [group]) with the coordinate `time`, s, got "
            f"{tuple(data.dims)}"
        )
    own = others[0] if others else "signal"
    lead = [d for d in ("stimulus",) if d in data.dims]
    for dim in ("stimulus", "trial", own):
        data = data if dim in data.dims else data.expand_dims(dim)
    time = data["time"].to_numpy()
    if start is not None or stop is not None:
        first = -np.inf if start is None else 1e-3 * single_time(start, "start")
        last = np.inf if stop is None else 1e-3 * single_time(stop, "stop")
        data = data.isel(time=np.flatnonzero((time >= first - 1e-12) & (time < last - 1e-12)))
        time = data["time"].to_numpy()
    steps = np.diff(time)
    if len(steps) < 7 or not np.allclose(steps, steps[0], rtol=1e-6, atol=0):
        raise ValueError(f"signals must have 8 or more samples at equal times, got {len(time)}")
    values = data.transpose("stimulus", "trial", own, "time").to_numpy().astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError("signals must be finite, got NaN or infinite values")
    coords = {
        str(n): c for n, c in data.coords.items() if set(c.dims) <= {*lead, own} and (c.dims or n in (*lead, own))
    }
    shape = values.shape
    interval = float(time[-1] - time[0]) / (len(time) - 1)
    return Signals(
        lambda one, other: values[:, :, one:other], (shape[0], shape[1], shape[2], shape[3]), interval, (*lead, own),
        coords, str(data.attrs.get("units", "1")), {},
    )  # fmt: skip


def _estimated(
    signals: Signals, windows: Array, hop: int, dof: float, level: float, cross: bool | None, attrs: dict[str, Any]
) -> xr.Dataset:
    """Return the labelled averages over segments, trials and tapers (taper, sample)."""
    groups, size = signals.shape[2], windows.shape[1]
    crossed = groups <= 20 if cross is None else cross
    norms = np.sqrt(signals.interval / (windows**2).sum(axis=1, keepdims=True))
    frequency = fft.rfftfreq(size, signals.interval)[1:]
    number = (signals.shape[3] - size) // hop + 1
    samples = number * signals.shape[1] * len(windows)
    require_memory(
        16.0 * signals.shape[0] * len(frequency) * (samples * groups + groups**2 if crossed else groups),
        f"spectra of {groups} signals", "Take a shorter `segment`, fewer signals, or `cross=False`.",
    )  # fmt: skip
    power = np.empty((signals.shape[0], len(frequency), groups))
    kept: list[Complex] = []
    for one, other in _ranges(signals, len(windows)):
        transform = _transforms(signals.parts(one, other), windows * norms, hop, number)
        power[:, :, one:other] = np.moveaxis((transform.real**2 + transform.imag**2).mean(axis=(1, 3, 4)), 1, 2)
        if crossed:
            kept.append(transform)
    unit = f"{signals.unit}^2/Hz" if signals.unit != "Hz" else "Hz"
    nu = max(dof, 1e-9)
    quantiles = stats.chi2.ppf([0.5 + level / 2, 0.5 - level / 2], nu) / nu
    text = "power spectral density, two-sided"
    data: dict[str, tuple[Array, str, str]] = {
        "power": (power, text, unit),
        "power_se": (power * np.sqrt(2 / nu), f"standard error of the {text}", unit),
        "power_low": (power / quantiles[0], f"lower end of the {100 * level:g} % interval", unit),
        "power_high": (power / quantiles[1], f"upper end of the {100 * level:g} % interval", unit),
    }
    one_dims = (*signals.dims[:-1], "frequency", signals.dims[-1])
    twice = (*one_dims, f"{signals.dims[-1]}_j")
    coords = {**signals.coords, "frequency": ("frequency", frequency, {"units": "Hz", "long_name": "frequency"})}
    if crossed:
        whole = np.concatenate(kept, axis=2)
        flat = np.moveaxis(whole, 2, -1).reshape(signals.shape[0], samples, len(frequency), groups)
        by_frequency = flat.transpose(0, 2, 3, 1)
        spectra = by_frequency.conj() @ by_frequency.swapaxes(-1, -2) / samples
        product = power[..., :, None] * power[..., None, :]
        coherence = np.divide(np.abs(spectra) ** 2, product, out=np.full(product.shape, np.nan), where=product > 0)
        low, high = _coherence_interval(coherence, nu, level)
        data |= {
            "cross_real": (spectra.real, "cross-spectral density, real part", unit),
            "cross_imag": (spectra.imag, "cross-spectral density, imaginary part", unit),
            "coherence": (coherence, "coherence", "1"),
            "coherence_low": (low, f"lower end of the {100 * level:g} % interval", "1"),
            "coherence_high": (high, f"upper end of the {100 * level:g} % interval", "1"),
            "phase": (-np.angle(spectra), "phase of the cross-spectrum, positive where the second follows", "rad"),
        }
        coords |= {
            f"{name}_j": (f"{signals.dims[-1]}_j", np.asarray(c))
            for name, c in signals.coords.items()
            if name == signals.dims[-1] or tuple(getattr(c, "dims", ())) == (signals.dims[-1],)
        }
    lead = len(signals.dims) > 1
    effective = nu / 2
    threshold = 1 - (1 - level) ** (1 / (effective - 1)) if effective > 1 else 1.0
    return xr.Dataset(
        {
            name: (
                twice if array.ndim == 4 else one_dims,
                array if lead else array[0],
                {"units": u, "long_name": words},
            )
            for name, (array, words, u) in data.items()
        },
        coords=coords,
        attrs={
            **signals.attrs,
            **attrs,
            "dof": nu,
            "level": level,
            "bin": signals.interval,
            "coherence_threshold": threshold,
        },
    )


def _ranges(signals: Signals, tapers: int) -> Iterator[tuple[int, int]]:
    s, r, groups, length = signals.shape
    step = max(int(_CHUNK / max(s * r * length * tapers, 1)), 1)
    for begin in range(0, groups, step):
        yield begin, min(begin + step, groups)


def _transforms(values: Array, windows: Array, hop: int, number: int) -> Complex:
    """Return transforms (stimulus, trial, group, segment, taper, frequency), without frequency 0."""
    size = windows.shape[1]
    pieces = np.lib.stride_tricks.sliding_window_view(values, size, axis=-1)[..., : number * hop : hop, :]
    centred = pieces - pieces.mean(axis=-1, keepdims=True)
    found: Complex = fft.rfft(centred[..., None, :] * windows, axis=-1, overwrite_x=True)[..., 1:]
    return found


def _coherence_interval(coherence: Array, dof: float, level: float) -> tuple[Array, Array]:
    """Return the ends of intervals of the coherence, by the variance of artanh of its root; 0 to 1 where unknown."""
    if dof <= 2:
        return np.zeros(coherence.shape), np.ones(coherence.shape)
    z = np.arctanh(np.sqrt(np.clip(coherence, 0, 1 - 1e-15)))
    reach = stats.norm.ppf(0.5 + level / 2) / np.sqrt(dof - 2)
    low, high = np.tanh(np.maximum(z - reach, 0)) ** 2, np.tanh(z + reach) ** 2
    whole = coherence >= 1 - 1e-12
    return np.where(whole, 1.0, low), np.where(whole, 1.0, high)
