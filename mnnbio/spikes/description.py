"""Recordings in the schema of results: spikes, counts, and estimates with standard errors.

Beside them stands all that says how they were made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr

from mnnbio.circuit import Circuit, output_dim
from mnnbio.results import (
    Estimate,
    array,
    counts,
    covariance_of_sums,
    estimate_covariance,
    estimate_fano,
    estimate_mean,
    estimate_variance,
    fano_of_sums,
    neuron_coords,
    ragged,
    variance_of_sums,
    versions,
    with_stimuli,
)
from mnnbio.spikes.collect import stretch_windows
from mnnbio.spikes.recorded import BinnedCounts, Recording, Reduced, WindowMoments
from mnnbio.spikes.state_recording import state_datasets

Array = npt.NDArray[np.float64]
Sampler = Callable[[float], xr.DataArray]  # length of a window, ms → counts, ([stimulus,] trial, window, neuron)


class _Windowed(NamedTuple):
    """Estimates from the counts of windows."""

    number: int
    variance: Estimate
    fano: Estimate
    covariance: Estimate | None


def estimates_of_counts(sample: Sampler, *, duration: float, window: float, covariance: bool) -> xr.Dataset:
    """Return the statistics of neurons whose counts in windows of any length are known.

    Parameters
    ----------
    sample : callable
        Returns the counts in adjacent windows of a length, ms.
    duration, window : float
        ms.
    covariance : bool
        Whether to estimate the covariance matrices.
    """
    whole, table = sample(duration), sample(window)
    windowed, n_windows, trials = _samples(table), table.sizes["window"], table.sizes["trial"]
    joined = stretch_windows(n_windows, trials)
    length = duration if joined == n_windows else joined * window
    estimates = _Windowed(
        len(windowed),
        estimate_variance(windowed),
        estimate_fano(windowed),
        estimate_covariance(windowed) if covariance and len(windowed) > 1 else None,
    )
    lead = ["stimulus"] if "stimulus" in whole.dims else []
    return _dataset(lead, _samples(sample(length)), length, estimates, window, _samples(whole), duration, covariance)


def estimates_of_moments(moments: WindowMoments, *, stimuli: bool, duration: float) -> xr.Dataset:
    """Return the same statistics from moments of counts.

    Parameters
    ----------
    moments : WindowMoments
        Of all trials of all stimuli.
    stimuli : bool
        Whether results have the dimension of stimuli.
    duration : float
        ms.
    """

    def select(estimate: Estimate) -> Estimate:
        return estimate if stimuli else Estimate(estimate.value[0], estimate.se[0])

    def samples(table: npt.NDArray[np.int32]) -> Array:
        """Return (trial · stretch, [stimulus,] neuron) of (stimulus, trial, stretch, neuron)."""
        first = np.moveaxis(table, 0, 2).reshape(-1, table.shape[0], table.shape[-1])
        return np.asarray(first if stimuli else first[:, 0], dtype=np.float64)

    number, powers, products = moments.number, moments.powers, moments.products
    few = moments.stretch.shape[2] > 0
    estimates = _Windowed(
        int(number[0]),
        select(variance_of_sums(number, powers)),
        select(fano_of_sums(number, powers)),
        None if products is None or number[0] < 2 else select(covariance_of_sums(number, powers, products)),
    )
    whole = samples(moments.total[:, :, None])
    batch = samples(moments.stretch) if few else whole
    length = moments.stretch_windows * moments.window if few else duration
    lead = ["stimulus"] if stimuli else []
    return _dataset(lead, batch, length, estimates, moments.window, whole, duration, products is not None)


def _dataset(
    lead: list[str],
    batch: Array,
    length: float,
    windowed: _Windowed,
    window: float,
    whole: Array,
    duration: float,
    covariance: bool,
) -> xr.Dataset:
    """Return the estimates by name; lengths in ms, samples along the first axis."""
    found: dict[str, xr.DataArray] = {}

    def put(name: str, estimate: Estimate, unit: float = 1.0, **attrs: Any) -> None:
        dims = [*lead, "neuron", "neuron_j"] if name.endswith("covariance") else [*lead, "neuron"]
        for key, value in ((name, estimate.value), (f"{name}_se", estimate.se)):
            found[key] = array(key, dims, value / unit, **attrs)

    seconds, long_ = window * 1e-3, duration * 1e-3
    put("rate", estimate_mean(batch), length * 1e-3, n_samples=len(batch))
    put("count_variance", windowed.variance, window=seconds, n_samples=windowed.number)
    put("count_fano", windowed.fano, window=seconds, n_samples=windowed.number)
    if windowed.covariance is not None:
        put("count_covariance", windowed.covariance, window=seconds, n_samples=windowed.number)
    if len(whole) > 1:
        put("variance", estimate_variance(whole), long_, window=long_, n_samples=len(whole))
        put("fano", estimate_fano(whole), window=long_, n_samples=len(whole))
        if covariance:
            put("covariance", estimate_covariance(whole), long_, window=long_, n_samples=len(whole))
    return xr.Dataset(found, attrs={"duration": long_, "window": seconds, "n_samples": windowed.number})


def _samples(table: xr.DataArray) -> Array:
    """Return the counts of all windows of all trials, (trial · window, [stimulus,] neuron)."""
    stacked = table.stack(sample=("trial", "window"), create_index=False).transpose("sample", ...)
    return np.asarray(stacked.values, dtype=np.float64)


def labelled_result(
    circuit: Circuit, recording: Recording, *, window: float, codegen: str, covariance: bool = True
) -> xr.DataTree:
    """Return a recording and its statistics in the schema of results.

    Parameters
    ----------
    circuit : Circuit
    recording : Recording
        Of all trials of all stimuli.
    window : float
        Length of the windows of count statistics, ms.
    codegen : str
        How the spikes were made.
    covariance : bool
        Whether to estimate the covariance matrices of neurons whose spikes or counts are recorded.

    Returns
    -------
    DataTree
        As `mnnbio.simulate.simulate` returns it.

    Raises
    ------
    ValueError
        If presentations are missing.
    """
    n_stimuli = circuit.n_stimuli or 1
    if recording.presentations is not None or recording.shape[0] != n_stimuli:
        raise ValueError(
            f"`recording` must have all trials of {n_stimuli} stimuli, got a share of {np.prod(recording.shape)} "
            "presentations. Merge it with the other shares first"
        )
    attrs = {name: getattr(recording, name) * 1e-3 for name in ("duration", "warmup", "dt")}
    made = {"trials": recording.shape[1], "seed": recording.seed, "codegen": codegen, "circuit_hash": circuit.hash()}
    groups = {"/": xr.Dataset({"circuit": circuit.to_json()}, attrs={**attrs, "window": window * 1e-3, **made})}
    groups["/"].attrs |= versions()
    parts: list[xr.Dataset] = []
    if recording.populations:
        groups["/spikes"] = spikes = _spike_dataset(circuit, recording).assign_attrs(attrs)
        sample: Sampler = partial(_windows, spikes)
        parts.append(_count_statistics(sample, spikes, recording, window, covariance))
    if recording.counts is not None:
        groups["/counts"] = binned = _count_dataset(circuit, recording.counts).assign_attrs(attrs)
        if recording.counts.per == "neuron":
            sample = partial(_join, binned, recording.counts.bin)
            parts.append(_count_statistics(sample, binned, recording, window, covariance))
        elif not recording.populations and recording.moments is None:
            parts.append(_population_rates(circuit, recording.counts))
    if recording.moments is not None:
        moments = recording.moments
        part = estimates_of_moments(moments, stimuli=circuit.n_stimuli is not None, duration=recording.duration)
        parts.append(part.assign_coords(_coords(circuit, moments.populations)))
    groups["/simulation"] = _together(parts).assign_attrs(duration=attrs["duration"], window=window * 1e-3)
    groups |= {f"/{group}": _reduced_dataset(circuit, reduced) for group, reduced in recording.reduced.items()}
    groups |= {
        f"/{name}": part.assign_attrs(attrs)
        for name, part in state_datasets(circuit, recording.states, recording.dt).items()
    }
    groups["/simulation"] = groups["/simulation"].assign(_decisions(circuit, recording, groups))
    order = ["/", "/simulation", "/spikes", "/counts", *(f"/{group}" for group in recording.reduced)]
    order += [name for name in groups if name.startswith(("/states/", "/weights/"))]
    return xr.DataTree.from_dict({name: with_stimuli(groups[name]) for name in order if name in groups})


def _spike_dataset(circuit: Circuit, recording: Recording) -> xr.Dataset:
    has_stimuli = circuit.n_stimuli is not None
    return ragged(
        recording.time,
        recording.row_size if has_stimuli else recording.row_size[0],
        [*(["stimulus"] if has_stimuli else []), "trial", "neuron"],
        _coords(circuit, recording.populations),
    )


def _count_dataset(circuit: Circuit, binned: BinnedCounts) -> xr.Dataset:
    """Return the counts; `time` is the start of each bin, s."""
    has_stimuli, step = circuit.n_stimuli is not None, binned.bin * 1e-3
    table = binned.count if has_stimuli else binned.count[0]
    coords: dict[str, Any] = {"population": np.array(list(binned.populations), dtype=str)}
    if binned.per == "neuron":
        coords = _coords(circuit, binned.populations)
    start = np.arange(table.shape[-2]) * step
    coords["time"] = ("time", start, {"units": "s", "long_name": "start of the bin, zero at the end of the warm-up"})
    dims = [*(["stimulus"] if has_stimuli else []), "trial", "time", binned.per]
    return xr.Dataset({"count": array("count", dims, table, bin=step)}, coords=coords)


def _reduced_dataset(circuit: Circuit, reduced: Reduced) -> xr.Dataset:
    """Return the arrays of a user's own kind of recording."""
    has_stimuli = circuit.n_stimuli is not None
    lead = [*(["stimulus"] if has_stimuli else []), "trial"]
    variables, kind = {}, reduced.kind
    for name, own in kind.VARIABLES.items():
        dims = [*lead, *([] if "neuron" in own else ["population"]), *own]
        values = reduced.values[name] if has_stimuli else reduced.values[name][0]
        variables[name] = (dims, values, dict(kind.ATTRS.get(name, {"units": "1"})))
    dataset = xr.Dataset(variables)
    if "neuron" in dataset.dims:
        dataset = dataset.assign_coords(_coords(circuit, reduced.populations))
    elif "population" in dataset.dims:
        dataset = dataset.assign_coords(population=np.array(list(reduced.populations), dtype=str))
    return dataset


def _coords(circuit: Circuit, populations: Mapping[str, int]) -> dict[str, Any]:
    coords = xr.Dataset(coords=neuron_coords({p.name: p.size for p in circuit.neurons}))
    kept = coords.isel(neuron=np.isin(coords["population"], list(populations)))
    return {str(name): coord for name, coord in kept.coords.items()}


def _windows(spikes: xr.Dataset, length: float) -> xr.DataArray:
    return counts(spikes, length)


def _join(binned: xr.Dataset, step: float, length: float) -> xr.DataArray:
    """Return counts in windows of a length, ms, of bins of length `step`."""
    bins = binned["count"].drop_vars("time").rename(time="window")
    return bins.coarsen(window=round(length / step), boundary="trim").sum()


def _count_statistics(
    sample: Sampler, labels: xr.Dataset, recording: Recording, window: float, covariance: bool
) -> xr.Dataset:
    estimates = estimates_of_counts(sample, duration=recording.duration, window=window, covariance=covariance)
    return estimates.assign_coords({name: c for name, c in labels.coords.items() if "neuron" in c.dims})


def _population_rates(circuit: Circuit, binned: BinnedCounts) -> xr.Dataset:
    """Return the mean rate of the neurons of each population, Hz, from the counts of every trial."""
    sizes, seconds = np.array(list(binned.populations.values())), binned.count.shape[2] * binned.bin * 1e-3
    trials = np.moveaxis(binned.count.sum(axis=2), 1, 0) / (sizes * seconds)
    estimate = estimate_mean(trials if circuit.n_stimuli is not None else trials[:, 0])
    dims = [*(["stimulus"] if circuit.n_stimuli is not None else []), "population"]
    found = {"rate": estimate.value, "rate_se": estimate.se}
    return xr.Dataset(
        {name: array(name, dims, values, n_samples=len(trials)) for name, values in found.items()},
        coords={"population": list(binned.populations)},
        attrs={"n_samples": len(trials)},
    )


def _together(parts: list[xr.Dataset]) -> xr.Dataset:
    """Return the statistics of all neurons; matrices only where all are recorded in one way, so that none has gaps."""
    if not parts:
        return xr.Dataset()
    if len(parts) > 1:
        kept = [set(part.data_vars) - {name for name in part if "neuron_j" in part[name].dims} for part in parts]
        common = [name for name in parts[0].data_vars if all(name in names for names in kept)]
        return xr.concat([part[common] for part in parts], "neuron").sortby("neuron")
    (statistics,) = parts
    if "neuron_j" in statistics.dims:
        names = ("neuron", "population", "index")
        statistics = statistics.assign_coords({f"{n}_j": ("neuron_j", statistics[n].values) for n in names})
    return statistics


def _decisions(circuit: Circuit, recording: Recording, groups: Mapping[str, xr.Dataset]) -> dict[str, xr.DataArray]:
    """Return the decision variables of every trial by readout, from the counts over the whole duration."""
    found = {}
    for name, readout in circuit.readouts.items():
        tables = [_trial_counts(circuit, recording, groups, source) for source in readout.sources]
        known = [table for table in tables if table is not None]
        if len(known) < len(tables):
            continue
        table = np.concatenate(known, axis=-1)
        output = output_dim(name)
        values = table / recording.duration @ readout.weights.T + readout.bias
        dims = [*(["stimulus"] if circuit.n_stimuli is not None else []), "trial", output]
        decisions = array("readout", dims, values).rename(name)
        labels = {} if readout.labels is None else {output: list(readout.labels)}
        found[name] = decisions.assign_coords(labels)
    return found


def _trial_counts(
    circuit: Circuit, recording: Recording, groups: Mapping[str, xr.Dataset], population: str
) -> npt.NDArray[np.integer] | None:
    """Return the counts of a population over the whole duration, ([stimulus,] trial, neuron)."""
    if recording.moments is not None and population in recording.moments.populations:
        sizes = recording.moments.populations
        owner = np.repeat(list(sizes), list(sizes.values()))
        table = recording.moments.total[..., owner == population]
        return table if circuit.n_stimuli is not None else table[0]
    if population in recording.populations:
        found = counts(groups["/spikes"]).isel(window=0)
    elif (
        recording.counts is not None and recording.counts.per == "neuron" and population in recording.counts.populations
    ):
        found = groups["/counts"]["count"].sum("time")
    else:
        return None
    return np.asarray(found.isel(neuron=np.flatnonzero(found["population"].values == population)).values)
