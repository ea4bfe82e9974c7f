"""Simulate a circuit as spiking neurons and estimate what the theory predicts, with standard errors."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from mnnbio.brian import SpikeTrains, build
from mnnbio.brian.program import choose_seed, require_integer
from mnnbio.brian.session import Codegen
from mnnbio.brian.steps import Times, count_steps, time_step
from mnnbio.circuit import Circuit
from mnnbio.lif import in_unit
from mnnbio.results import (
    Estimate,
    array,
    counts,
    estimate_covariance,
    estimate_fano,
    estimate_mean,
    estimate_variance,
    neuron_coords,
    ragged,
    versions,
)

Array = npt.NDArray[np.float64]

_FEWEST_BATCHES = 16  # samples below which the standard error of a rate is itself too uncertain


def simulate(
    circuit: Circuit,
    duration: Any,
    trials: int = 1,
    warmup: Any = 0.0,
    dt: Any = 0.1,
    seed: int | None = None,
    window: Any = None,
    record: Sequence[str] | None = None,
    codegen: Codegen = "cpp_standalone",
    covariance: bool = True,
    progress: bool = False,
    processes: int | None = None,
    build_dir: str | os.PathLike[str] | None = None,
) -> xr.DataTree:
    """Simulate a circuit with Brian2 and return spikes and their statistics.

    Every stimulus is presented `trials` times, each time from rest, with noise of its own. Within a step a neuron
    integrates exactly, takes the step's jumps and is then tested against its threshold. A Poisson source fires at most
    once a step, with probability rate · dt; a Poisson drive gives each neuron a Poisson number of jumps a step. The
    spikes of a presentation depend on `seed`, the number of the stimulus and the number of the trial only, not on what
    else is simulated, nor on `processes`; `codegen` changes the rounding of voltages, nothing else.

    Parameters
    ----------
    circuit : Circuit
    duration : float or Quantity
        Time recorded, ms.
    trials : int
        Presentations of every stimulus.
    warmup : float or Quantity
        Time simulated before, ms; its spikes are kept at negative times and left out of the statistics.
    dt : float or Quantity
        Time step, ms; it must divide duration, warmup, window, refractory periods and delays.
    seed : int, optional
        Seed of sources and noise; default: a new one. It stands in the result's attributes.
    window : float or Quantity, optional
        Length of the windows of count variance and covariance, ms; default: `duration`.
    record : sequence of str, optional
        Populations that the result is about; default: all of LIF neurons.
    codegen : {"cpp_standalone", "runtime"}
        Compile a C++ program, or run in Python with NumPy, which needs no compiler and is slower.
    covariance : bool
        Whether to estimate the covariance matrices.
    progress : bool
        Whether to show a progress bar.
    processes : int, optional
        Processes that share the presentations of a compiled program; default: one per core.
    build_dir : path-like, optional
        Folder of the C++ project, which is kept; default: a temporary one.

    Returns
    -------
    DataTree
        Group ``simulation``: over ([stimulus,] neuron) ``rate`` (Hz), ``count_variance`` and ``count_fano`` of windows
        of length `window`; with two trials or more ``variance`` (Hz) and ``fano`` of counts over `duration`; with
        `covariance` the matrices ``count_covariance`` and ``covariance`` (Hz), over ([stimulus,] neuron, neuron_j);
        each with its standard error ``<name>_se``, NaN where the samples do not determine it. If the circuit has a
        readout and its population is recorded, ``readout`` over ([stimulus,] trial, output), the decision variable of
        every trial.
        Group ``spikes``: spike times as a contiguous ragged array. A spike's time is the middle of the step in which it
        was fired, in seconds from the end of the warm-up. The root holds the circuit, seed, times and versions.

    Raises
    ------
    ValueError
        If an argument is out of range, `dt` does not divide a time, or a Poisson rate is too high for it.
    CompilerNotFound, BuildFailed, SimulationFailed
        If the program cannot be compiled, or fails.

    Examples
    --------
    ::

        result = simulate(circuit, duration=5 * second, trials=4, warmup=0.5 * second, dt=0.1 * ms, seed=1)
        result["simulation/rate"]
    """
    step = time_step(dt)
    times = Times.of(duration, warmup, step)  # whatever is wrong is said before the compiler starts
    window_ms = check_window(window, times, step)
    require_integer(trials, "trials", 1)
    seed = choose_seed(seed)
    if processes is not None:
        require_integer(processes, "processes", 1)
    with (
        build(circuit, dt=step, record=record, codegen=codegen, build_dir=build_dir) as program,
        _progress_bar(progress) as report,
    ):
        trains = program.run(times.duration, trials, times.warmup, seed=seed, processes=processes, report=report)
    return describe(circuit, trains, window=window_ms, codegen=codegen, covariance=covariance)


def check_window(window: Any, times: Times, dt: float) -> float:
    """Return the length of the windows in ms, by default the duration.

    Raises
    ------
    ValueError
        If it is not a whole number of steps, or longer than the duration.
    """
    if window is None:
        return times.duration
    value = float(in_unit(window, "ms", "window"))
    steps = int(count_steps(value, dt, "window"))
    if not 1 <= steps <= times.duration_steps:
        raise ValueError(f"`window` must be > 0 ms and at most `duration`, {times.duration:g} ms, got {value:g} ms")
    return value


def describe(
    circuit: Circuit, trains: SpikeTrains, *, window: float, codegen: str, covariance: bool = True
) -> xr.DataTree:
    """Return spike trains and their statistics in the schema of results.

    Parameters
    ----------
    circuit : Circuit
    trains : SpikeTrains
    window : float
        Length of the windows of count statistics, ms.
    codegen : str
        How the spikes were made.
    covariance : bool
        Whether to estimate the covariance matrices.
    """
    spikes = _spike_dataset(circuit, trains)
    trials = trains.row_size.shape[1]
    root = xr.Dataset(
        {"circuit": circuit.to_json()},
        attrs={
            "duration": trains.duration * 1e-3,
            "warmup": trains.warmup * 1e-3,
            "dt": trains.dt * 1e-3,
            "window": window * 1e-3,
            "trials": trials,
            "seed": trains.seed,
            "codegen": codegen,
            "circuit_hash": circuit.hash(),
            **versions(),
        },
    )
    statistics = _statistics(circuit, spikes, window * 1e-3, covariance=covariance)
    return xr.DataTree.from_dict({"/": root, "/simulation": statistics, "/spikes": spikes})


def _spike_dataset(circuit: Circuit, trains: SpikeTrains) -> xr.Dataset:
    coords = xr.Dataset(coords=neuron_coords({p.name: p.size for p in circuit.neurons}))
    coords = coords.isel(neuron=np.isin(coords["population"], list(trains.populations)))
    has_stimuli = circuit.n_stimuli is not None
    return ragged(
        trains.time,
        trains.row_size if has_stimuli else trains.row_size[0],
        [*(["stimulus"] if has_stimuli else []), "trial", "neuron"],
        {str(name): coord for name, coord in coords.coords.items()},
        duration=trains.duration * 1e-3,
        warmup=trains.warmup * 1e-3,
        dt=trains.dt * 1e-3,
    )


def _statistics(circuit: Circuit, spikes: xr.Dataset, window: float, *, covariance: bool) -> xr.Dataset:
    """Return the estimates; `window` in seconds."""
    duration = spikes.attrs["duration"]
    windowed, whole = (_samples(spikes, length) for length in (window, duration))
    lead = [dim for dim in ("stimulus",) if dim in spikes["row_size"].dims]
    found: dict[str, xr.DataArray] = {}

    def put(name: str, estimate: Estimate, dims: list[str], unit: float = 1.0, **attrs: Any) -> None:
        for key, value in ((name, estimate.value), (f"{name}_se", estimate.se)):
            found[key] = array(key, [*lead, *dims], value / unit, **attrs)

    batch, length = _batches(spikes, window)
    put("rate", estimate_mean(batch), ["neuron"], length, n_samples=len(batch))
    put("count_variance", estimate_variance(windowed), ["neuron"], window=window, n_samples=len(windowed))
    put("count_fano", estimate_fano(windowed), ["neuron"], window=window, n_samples=len(windowed))
    matrix = ["neuron", "neuron_j"]
    if covariance and len(windowed) > 1:
        put("count_covariance", estimate_covariance(windowed), matrix, window=window, n_samples=len(windowed))
    if len(whole) > 1:
        put("variance", estimate_variance(whole), ["neuron"], duration, window=duration, n_samples=len(whole))
        put("fano", estimate_fano(whole), ["neuron"], window=duration, n_samples=len(whole))
        if covariance:
            put("covariance", estimate_covariance(whole), matrix, duration, window=duration, n_samples=len(whole))
    dataset = xr.Dataset(found, coords={name: c for name, c in spikes.coords.items() if "neuron" in c.dims})
    if "neuron_j" in dataset.dims:
        dataset = dataset.assign_coords(
            {f"{name}_j": ("neuron_j", dataset[name].values) for name in ("neuron", "population", "index")}
        )
    if circuit.readout is not None and circuit.readout.source in spikes["population"].values:
        dataset["readout"] = _decisions(circuit, spikes)
        if circuit.readout.labels is not None:
            dataset = dataset.assign_coords(output=list(circuit.readout.labels))
    return dataset.assign_attrs(duration=duration, window=window, n_samples=len(windowed))


def _samples(spikes: xr.Dataset, window: float) -> Array:
    """Return the counts of all windows of all trials, (trial · window, [stimulus,] neuron)."""
    table = counts(spikes, window)
    return (
        table.stack(sample=("trial", "window"), create_index=False).transpose("sample", ...).values.astype(np.float64)
    )


def _batches(spikes: xr.Dataset, window: float) -> tuple[Array, float]:
    """Return counts for the error of a rate, and the length of their windows (batch means).

    Counts of neighbouring windows are correlated, so the windows are as long as leaves enough of them.
    """
    duration, trials = spikes.attrs["duration"], spikes.sizes["trial"]
    n_windows = int(duration / window + 1e-6)
    wanted = min(max(-(-_FEWEST_BATCHES // trials), 1), n_windows)
    n_joined = n_windows // wanted
    length = duration if wanted == 1 else n_joined * window
    return _samples(spikes, length), length


def _decisions(circuit: Circuit, spikes: xr.Dataset) -> xr.DataArray:
    """Return the decision variable of every trial, from the counts over the whole duration."""
    readout = circuit.readout
    assert readout is not None
    rates = counts(spikes).isel(window=0) / (spikes.attrs["duration"] * 1e3)
    rates = rates.isel(neuron=np.flatnonzero(spikes["population"].values == readout.source))
    return array("readout", [*rates.dims[:-1], "output"], rates.values @ readout.weights.T + readout.bias)


@contextmanager
def _progress_bar(show: bool) -> Iterator[Callable[[int, int], None] | None]:
    if not show:
        yield None
        return
    from tqdm.auto import tqdm

    with tqdm(desc="simulate", unit=" steps", unit_scale=True) as bar:

        def report(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield report
