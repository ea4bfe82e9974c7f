"""Statistics of recorded state variables, such as the membrane potential, and their comparison with the free membrane.

The free membrane is a leaky integrator under white noise without threshold, an Ornstein-Uhlenbeck process: the
theory's input current alone gives its mean, standard deviation and correlation time.
"""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr

from mnnbio.analyses.alignment import ComparisonWarning
from mnnbio.analyses.binned_counts import population_names, recorded
from mnnbio.machine import require_integer
from mnnbio.results import single_time
from mnnbio.units import in_unit

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

MEASURES = ("mean", "std", "correlation_time")
_PARTS = 20  # least number of parts for standard errors, unless `blocks` is given
_LONG = 10.0  # correlation times that make a part nearly independent of the next
_WINDOW = 5.0  # correlation times over which the autocorrelation function is summed


class Trace(NamedTuple):
    """Samples of one variable.

    Attributes
    ----------
    samples : DataArray
        Over ([stimulus,] trial, time, neuron), `time` in s and `index`, the number of the neuron, as coordinates.
    population : str or None
        Whose they are, where it is known.
    spikes : Dataset or None
        Spike trains of the same result.
    """

    samples: xr.DataArray
    population: str | None
    spikes: xr.Dataset | None


def membrane_statistics(
    states: xr.DataTree | xr.Dataset,
    variable: str = "v",
    *,
    hold: Any = None,
    spikes: xr.DataTree | xr.Dataset | None = None,
    population: str | None = None,
    blocks: int | None = None,
) -> xr.Dataset:
    r"""Measure mean, standard deviation and correlation time of a recorded variable.

    With :math:`C(l)` the autocovariance at a lag of l samples h apart, around the mean over all trials, the correlation
    time is the integrated autocorrelation function up to a window of five correlation times,

    .. math:: \tau_L = h \left[\tfrac12 + \sum_{l=1}^{L} C(l)/C(0)\right], \qquad L = \min\{l: l h \ge 5 \tau_l\},

    the membrane time constant for an Ornstein-Uhlenbeck process, of which the window leaves out 0.7 %; for a variable
    that oscillates it is of the integral over all lags only the part within that window. An average around an estimated
    mean is too small by the variance of that mean, which is added to every :math:`C(l)` once L is found. Products
    across a gap are made wherever both samples are kept.

    Standard errors `<name>_se` are those of ratios of sums over parts of the recording (trials, each cut into blocks),
    to first order, with L held fixed: with such a window, that chance moves L makes no difference to first order, as
    the function has fallen to nothing there. For 250 Ornstein-Uhlenbeck processes of 500 correlation times the
    correlation time came out 1 % too short on average and spread 1.01 times its standard error.

    Parameters
    ----------
    states : DataTree or Dataset
        The group ``states/<population>`` of a result, or the result.
    variable : str
        Name of the variable.
    hold : float or Quantity, optional
        Time after every spike of a neuron whose samples are left out, ms: more than the refractory time and some
        membrane time constants where the reset is to be forgotten. The sample at the very time of a spike is from
        before it and stays. What is left is chosen by not having spiked, and so no sample of the free membrane.
        Default: all samples are kept.
    spikes : DataTree or Dataset, optional
        The group ``/spikes``; default: that of the result that `states` belongs to.
    population : str, optional
        Population of the neurons; needed where `states` does not tell.
    blocks : int, optional
        Blocks that each trial is cut into for standard errors. Default: as few as give 20 parts.

    Returns
    -------
    Dataset
        Over ([stimulus,] neuron): ``mean``, ``std`` (unit of the variable), ``correlation_time`` (s), their errors,
        and ``kept``, the fraction of samples used. NaN where nothing was kept or, for the correlation time, where the
        variable is constant or the window is longer than half a trial.

    Warns
    -----
    ComparisonWarning
        If parts are shorter than ten correlation times: errors are then too small.

    Raises
    ------
    ValueError
        If there is no such variable or population, a sample is not finite, or there are too few samples.

    References
    ----------
    A. D. Sokal (1997), Monte Carlo methods in statistical mechanics: foundations and new algorithms, Sec. 3 (integrated
    autocorrelation time and its automatic window).
    """
    trace = trace_of(states, variable, population, spikes)
    samples = trace.samples
    lead = [str(dim) for dim in samples.dims if dim not in ("trial", "time", "neuron")]
    ordered = samples.transpose(*lead, "neuron", "trial", "time")
    n_trials, n_samples = ordered.shape[-2:]
    number = -(-_PARTS // n_trials) if blocks is None else blocks
    require_integer("blocks", number, 1)
    if n_trials * number < 2:
        raise ValueError("standard errors need two parts or more: give `blocks` ≥ 2, or simulate more trials")
    if n_samples // number < 2:
        raise ValueError(
            f"{n_samples} samples a trial are too few for {number} blocks of two or more: record longer or more often, "
            "or give fewer `blocks`"
        )
    values = ordered.to_numpy().astype(np.float64)
    step = _spacing(ordered["time"].to_numpy())
    length = 0.0 if hold is None else single_time(hold, "hold")
    if not 0 <= length < np.inf:
        raise ValueError(f"`hold` must be a time ≥ 0 ms, got {length:g} ms")
    kept = np.ones(values.shape, dtype=np.bool_)
    if length > 0:
        kept = _kept(trace, ordered, 1e-3 * length)
    shape = values.shape[:-2]
    edges = np.arange(number) * n_samples // number
    found = np.array(
        [
            _measures(own, mask, edges, step)
            for own, mask in zip(
                values.reshape(-1, n_trials, n_samples), kept.reshape(-1, n_trials, n_samples), strict=True
            )
        ]
    ).reshape(*shape, 2, len(MEASURES))
    part = step * n_samples / number
    slowest = float(np.nanmax(found[..., 0, 2], initial=0.0))
    if part < _LONG * slowest:
        warnings.warn(
            f"parts of {1e3 * part:.3g} ms are shorter than {_LONG:g} correlation times ({1e3 * slowest:.3g} ms): "
            "standard errors are too small. Record longer, or give fewer `blocks`",
            ComparisonWarning,
            stacklevel=2,
        )
    units = str(samples.attrs.get("units", "1"))
    texts = dict(zip(MEASURES, ("mean", "standard deviation", "correlation time"), strict=True))
    dims = (*lead, "neuron")
    data: dict[str, Any] = {}
    for k, (name, text) in enumerate(texts.items()):
        attrs = {"units": "s" if name == "correlation_time" else units, "long_name": f"{text} of {variable}"}
        data[name] = (dims, found[..., 0, k], attrs)
        data[f"{name}_se"] = (dims, found[..., 1, k], attrs | {"long_name": f"standard error of the {text}"})
    data["kept"] = (dims, kept.mean(axis=(-2, -1)), {"units": "1", "long_name": "fraction of samples used"})
    coords = {name: c for name, c in ordered.coords.items() if set(c.dims) <= set(dims)}
    about: dict[str, Any] = {"variable": variable, "hold": 1e-3 * length, "blocks": number, "trials": n_trials}
    if trace.population is not None:
        about["population"] = trace.population
    return xr.Dataset(data, coords=coords, attrs=about)


def compare_membrane(
    statistics: xr.Dataset, prediction: xr.Dataset, *, tau_m: Any, v_rest: Any = 0.0, population: str | None = None
) -> xr.Dataset:
    r"""Compare statistics of membrane potentials with the free membrane under the predicted input current.

    For :math:`\tau_m \dot v = -(v - v_\text{rest}) + \tau_m I` with white noise I of mean :math:`\mu` and intensity
    :math:`\sigma` per square root of time, without threshold,

    .. math:: \langle v \rangle = v_\text{rest} + \mu \tau_m, \quad \mathrm{std}\, v = \sigma \sqrt{\tau_m / 2},

    and the correlation time is :math:`\tau_m`. Resets and refractory times lower the mean of neurons that spike, and
    input with a correlation time of its own (synapses that filter) gives another width and correlation time: the
    differences then say how far the free membrane is from the one simulated, not that either is wrong.

    Parameters
    ----------
    statistics : Dataset
        As `membrane_statistics` returns it, in mV.
    prediction : Dataset
        As `predict` returns it, with ``mean_input`` and ``std_input``.
    tau_m : float, array_like or Quantity
        Membrane time constant, ms; one number, or one for each neuron of the population.
    v_rest : float, array_like or Quantity
        Potential at rest, mV, likewise.
    population : str, optional
        Population of the neurons, where the statistics do not tell.

    Returns
    -------
    Dataset
        Over ([stimulus,] neuron), for ``mean``, ``std`` and ``correlation_time``: the measure and its ``_se``, and
        ``<name>_predicted``, ``<name>_difference`` (measured − predicted) and ``<name>_z`` (in standard errors, NaN
        where the error is zero or unknown).

    Raises
    ------
    ValueError
        If units, populations, neurons or stimuli do not fit.

    References
    ----------
    H. Risken (1989), *The Fokker-Planck Equation*, Sec. 3.1 (Ornstein-Uhlenbeck process).
    """
    if missing := [name for name in MEASURES if name not in statistics]:
        raise ValueError(f"expected what `membrane_statistics` returns, it has no {missing[0]!r}")
    if (unit := statistics["mean"].attrs.get("units")) != "mV":
        raise ValueError(f"the free membrane is compared in mV, the statistics are of a variable in {unit}")
    for name, expected in (("mean_input", "mV/s"), ("std_input", "mV/s^0.5")):
        if name not in prediction:
            raise ValueError(f"the prediction has no {name!r}: the free membrane needs mean_input and std_input")
        if (unit := prediction[name].attrs.get("units", expected)) != expected:
            raise ValueError(f"{name!r} of the prediction must be in {expected}, it is in {unit}")
    whose = population if population is not None else statistics.attrs.get("population")
    if whose is None:
        raise ValueError("give `population`: the statistics do not tell whose they are")
    index = statistics["index"].to_numpy()
    place, size = _places(prediction, whose, index)
    tau = 1e-3 * _of_neurons(tau_m, "ms", "tau_m", index, size)
    if not (tau > 0).all():
        raise ValueError(f"`tau_m` must be > 0 ms, got {1e3 * tau.min():g} ms")
    rest = _of_neurons(v_rest, "mV", "v_rest", index, size)
    mu, sigma = (prediction[key].isel(neuron=place).drop_vars("neuron", errors="ignore") for key in _INPUT)
    mine, theirs = (one.sizes.get("stimulus") for one in (statistics, mu))
    if theirs is not None and mine != theirs:
        raise ValueError(f"the prediction has {theirs} stimuli, the statistics have {mine or 'none'}")
    dims = statistics["mean"].dims
    shape = statistics["mean"].shape
    mean, std = (
        np.broadcast_to(one.transpose(*(dim for dim in dims if dim in one.dims)).to_numpy(), shape)
        for one in (mu, sigma)
    )
    free = {"mean": mean * tau + rest, "std": std * np.sqrt(tau / 2), "correlation_time": np.broadcast_to(tau, shape)}
    out = statistics[[*MEASURES, *(f"{key}_se" for key in MEASURES)]].copy()
    for key, values in free.items():
        text, se = out[key].attrs["long_name"], out[f"{key}_se"].to_numpy()
        difference = out[key].to_numpy() - values
        z = np.divide(difference, se, out=np.full(shape, np.nan), where=se > 0)
        units = out[key].attrs["units"]
        out[f"{key}_predicted"] = (dims, values, {"units": units, "long_name": f"{text}, free membrane"})
        out[f"{key}_difference"] = (dims, difference, {"units": units, "long_name": f"{text}, measured − predicted"})
        out[f"{key}_z"] = (dims, z, {"units": "1", "long_name": f"{text}, difference in standard errors"})
    out.attrs = statistics.attrs | {"population": whose}
    return out


_INPUT = ("mean_input", "std_input")


def trace_of(
    states: xr.DataTree | xr.Dataset,
    variable: str,
    population: str | None = None,
    spikes: xr.DataTree | xr.Dataset | None = None,
) -> Trace:
    """Return the samples of a variable, with the dimensions of a group of its own, and the spikes beside them.

    Raises
    ------
    ValueError
        If there is no such variable or population, or a sample is not finite.
    TypeError
        If these are no states.
    """
    if isinstance(states, xr.DataTree):
        root, dataset, population = _group(states, population)
        if spikes is None and "spikes" in root.children:
            spikes = root["spikes"]  # type: ignore[assignment]
    elif isinstance(states, xr.Dataset):
        dataset = states
    else:
        raise TypeError(f"`states` must be a group of a result, DataTree or Dataset, got {type(states).__name__}")
    if variable not in dataset:
        known = ", ".join(map(str, dataset.data_vars)) or "none"
        raise ValueError(f"no state {variable!r} was recorded, there are {known}")
    samples = dataset[variable]
    # A variable with neurons or times of its own has dimensions that bear its name.
    own = {f"{name}_{variable}": name for name in ("time", "neuron", "index")}
    samples = samples.drop_vars(
        [name for name in own.values() if f"{name}_{variable}" in samples.coords], errors="ignore"
    )
    samples = samples.rename({old: new for old, new in own.items() if old in samples.dims or old in samples.coords})
    if missing := [name for name in ("trial", "time", "neuron") if name not in samples.dims]:
        raise ValueError(f"{variable!r} must be over trial, time and neuron, it has no {missing[0]!r}")
    if missing := [name for name in ("time", "index") if name not in samples.coords]:
        raise ValueError(f"{variable!r} must have the coordinates time (s) and index, it has no {missing[0]!r}")
    if 0 in samples.shape:
        raise ValueError(f"{variable!r} has no samples")
    bad = ~np.isfinite(samples.to_numpy())
    if bad.any():
        where = dict(zip(samples.dims, (int(k[0]) for k in np.nonzero(bad)), strict=True))
        number = int(samples["index"][where["neuron"]])
        raise ValueError(
            f"samples of {variable!r} must be finite, {int(bad.sum())} are not, the first at neuron {number}, "
            f"trial {where['trial']}, {1e3 * float(samples['time'][where['time']]):g} ms"
        )
    return Trace(samples, population, None if spikes is None else recorded(spikes).data)


def _group(tree: xr.DataTree, population: str | None) -> tuple[xr.DataTree, xr.Dataset, str]:
    """Return the root of a tree, the states of a population in it, and its name."""
    if tree.name != "states" and tree.parent is not None and tree.parent.name == "states":
        if population is not None and population != tree.name:
            raise ValueError(f"`population` is {population!r}, these are the states of {tree.name!r}")
        return tree.root, tree.to_dataset(), str(tree.name)
    group = tree if tree.name == "states" else tree.children.get("states")
    known = [] if group is None else list(group.children)
    if group is None or not known:
        raise ValueError("the result has no states: simulate with `record={population: States('v')}`")
    if population is None and len(known) == 1:
        population = known[0]
    if population not in known:
        asked = "give `population`" if population is None else f"no states of {population!r} were recorded"
        raise ValueError(f"{asked}: there are those of {', '.join(map(str, known))}")
    assert population is not None
    return group.root, group[population].to_dataset(), population  # type: ignore[union-attr]


def spike_times(trace: Trace) -> dict[tuple[int, ...], Array]:
    """Return the times of spikes, s, by ([stimulus,] trial, neuron), positions in the samples.

    Raises
    ------
    ValueError
        If spikes, population or neurons are unknown, or the trials are of another number.
    """
    if trace.spikes is None:
        raise ValueError("the spikes are unknown: give `spikes`, or a result in which they are recorded")
    if "row_size" not in trace.spikes:
        raise ValueError("times of spikes are needed, `spikes` has counts only")
    if trace.population is None:
        raise ValueError("give `population`: `states` do not tell whose spikes to take")
    place, _ = _places(trace.spikes, trace.population, trace.samples["index"].to_numpy())
    sizes = trace.spikes["row_size"]
    lead = [str(dim) for dim in trace.samples.dims if dim not in ("time", "neuron")]
    if set(sizes.dims) != {*lead, "neuron"} or any(sizes.sizes[dim] != trace.samples.sizes[dim] for dim in lead):
        raise ValueError(f"spikes are over {dict(sizes.sizes)}, the states over {dict(trace.samples.sizes)}")
    edges = np.cumsum(sizes.to_numpy().ravel())
    first = xr.DataArray((edges - sizes.to_numpy().ravel()).reshape(sizes.shape), dims=sizes.dims)
    start, number = (one.transpose(*lead, "neuron").to_numpy()[..., place] for one in (first, sizes))
    times = trace.spikes["spike_time"].to_numpy()
    return {key: times[start[key] : start[key] + number[key]] for key in np.ndindex(start.shape)}


def _places(data: xr.Dataset, population: str, index: npt.NDArray[Any]) -> tuple[npt.NDArray[np.int64], int]:
    """Return where neurons of a population stand among all, and the population's size."""
    names = population_names(data)
    mine = np.flatnonzero(names == population)
    if not len(mine):
        raise ValueError(f"there is no population {population!r}, there are {', '.join(dict.fromkeys(names.tolist()))}")
    numbers = data["index"].to_numpy()[mine] if "index" in data.coords else np.arange(len(mine))
    at = {int(number): int(place) for number, place in zip(numbers, mine, strict=True)}
    if unknown := [int(number) for number in index if int(number) not in at]:
        raise ValueError(f"neuron {unknown[0]} of {population!r} is not among the {len(mine)} there are")
    return np.array([at[int(number)] for number in index]), len(mine)


def _of_neurons(value: Any, unit: Any, name: str, index: npt.NDArray[Any], size: int) -> Array:
    """Return a parameter of the neurons recorded, from one number or one for each of the population."""
    numbers = np.asarray(in_unit(value, unit, name))
    if numbers.ndim and numbers.shape != (size,):
        raise ValueError(f"`{name}` must be one number or {size}, one for each neuron, got shape {numbers.shape}")
    if not np.isfinite(numbers).all():
        raise ValueError(f"`{name}` must be finite, got {numbers}")
    return np.broadcast_to(numbers, size)[index]


def _spacing(time: Array) -> float:
    """Return the time between samples, s."""
    steps = np.diff(time)
    if not np.allclose(steps, steps[0], rtol=1e-6, atol=0) or not steps[0] > 0:
        raise ValueError(
            f"times of samples must be evenly spaced, they are {steps.min():g} s to {steps.max():g} s apart"
        )
    return float((time[-1] - time[0]) / len(steps))


def _kept(trace: Trace, ordered: xr.DataArray, hold: float) -> Mask:
    """Return which samples ([stimulus,] neuron, trial, time) lie in no time after a spike."""
    time = ordered["time"].to_numpy()
    slack = 1e-9  # s, far below a step: times are sums of rounded steps
    kept = np.ones(ordered.shape, dtype=np.bool_)
    for key, times in spike_times(trace).items():
        if len(times):
            last = np.searchsorted(times, time - slack) - 1  # the last spike before the sample, if there is one
            passed = np.where(last >= 0, time - times[np.maximum(last, 0)], np.inf)
            *lead, trial, neuron = key
            kept[(*lead, neuron, trial)] = passed > hold + slack
    return kept


def _measures(values: Array, kept: Mask, edges: npt.NDArray[np.int64], step: float) -> Array:
    """Return mean, standard deviation, correlation time of one neuron's (trial, time), and their errors: (2, 3)."""
    out = np.full((2, 3), np.nan)
    weight = kept.astype(np.float64)

    def parts(terms: Array) -> Array:
        return np.add.reduceat(terms, edges, axis=-1).ravel()

    number = parts(weight)
    total = number.sum()
    if total < 2:
        return out
    shift = values[kept][0]  # exact zeros where the variable is constant
    mean = (weight * (values - shift)).sum() / total + shift
    d = weight * (values - mean)
    spread = np.sqrt(len(number) / (len(number) - 1))
    mean_se = spread * np.linalg.norm(parts(d)) / total
    # An average around an estimated mean is too small by the variance of that mean.
    square = parts(d * d)
    raw = square.sum() / total
    variance = raw + mean_se**2
    out[:, 0] = mean, mean_se
    out[:, 1] = np.sqrt(variance), 0.0
    if not variance > 0:
        return out
    first = (square - raw * number) / total
    out[1, 1] = spread * np.linalg.norm(first) / (2 * np.sqrt(variance))
    integral, influence = 0.5, np.zeros(len(number))
    for lag in range(1, values.shape[-1] // 2 + 1):
        both, product = np.zeros_like(d), np.zeros_like(d)
        both[:, :-lag] = weight[:, lag:] * weight[:, :-lag]
        product[:, :-lag] = d[:, lag:] * d[:, :-lag]
        pairs, sums = parts(both), parts(product)
        n = pairs.sum()
        if n == 0:
            continue  # regular spikes may leave no pair at a lag
        own = sums.sum() / n
        rho = (own + mean_se**2) / variance
        integral += rho
        influence += ((sums - own * pairs) / n - rho * first) / variance
        if lag >= _WINDOW * integral:
            out[:, 2] = step * integral, step * spread * np.linalg.norm(influence)
            break
    return out
