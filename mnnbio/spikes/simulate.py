"""Simulate a circuit as spiking neurons and estimate what the theory predicts, with standard errors."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import xarray as xr

from mnnbio.circuit import Circuit, check_time_step, require_circuit, time_step
from mnnbio.machine import require_integer
from mnnbio.spikes.building import build
from mnnbio.spikes.description import labelled_result
from mnnbio.spikes.devices import Device
from mnnbio.spikes.layout import require_room, require_room_for_run
from mnnbio.spikes.processes import check_timeout
from mnnbio.spikes.recording import CountMoments, Counts, Kind, Record, choose_channels
from mnnbio.spikes.runs import choose_seed
from mnnbio.spikes.session import Codegen
from mnnbio.spikes.sharing import Report, SharedRun, run_on_workers
from mnnbio.spikes.state_recording import recorded_kinds_of, split_record
from mnnbio.spikes.timing import Times
from mnnbio.units import count_steps, flag, in_unit

if TYPE_CHECKING:
    from distributed import Client


def simulate(
    circuit: Circuit,
    duration: Any,
    trials: int = 1,
    warmup: Any = 0.0,
    dt: Any = 0.1,
    seed: int | None = None,
    window: Any = None,
    record: Record = None,
    codegen: Codegen = "cpp_standalone",
    covariance: bool = True,
    progress: bool | Report = False,
    processes: int | None = None,
    build_dir: str | os.PathLike[str] | None = None,
    client: Client | None = None,
    timeout: float | None = None,
    device: Device | None = None,
    carry_weights: bool = False,
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
        Length of the windows of count variance and covariance, ms; default: that of recorded `CountMoments`, else
        `duration`.
    record : str, sequence of str, mapping, Counts or CountMoments, optional
        Populations that the result is about, with all their spikes; or what is recorded of each named population,
        ``"spikes"``, `Counts` or `CountMoments`; or one such kind for all; default: the spikes of all populations of
        neurons. All but spikes need little memory however long the simulation is. State variables are recorded beside
        them, ``{"E": ["spikes", States("v", neurons=[0, 1], every=0.5)]}``, and weights that change,
        ``{("input", "E"): Weights(every=100.0)}``.
    codegen : {"cpp_standalone", "runtime"}
        Compile a C++ program, or run in Python with NumPy, which needs no compiler and is slower.
    covariance : bool
        Whether to estimate the covariance matrices; `CountMoments` say so themselves. They are there only where all
        populations are recorded in one way.
    progress : bool or callable
        Whether to show a progress bar; or a function that is called with the numbers of steps taken and to take.
    processes : int, optional
        Processes that share the presentations of a compiled program; default: one per core. With a client, processes
        of each of the shares that a worker does at once; default: 1.
    build_dir : path-like, optional
        Folder of the C++ project, which is kept; default: a temporary one.
    client : distributed.Client, optional
        Dask client whose workers share the presentations. The result is the same.
    timeout : float, optional
        Seconds that the run may take on the clock, building and statistics not included; default: any time.
    carry_weights : bool
        Whether weights that plasticity has changed are carried on: all stimuli one after the other, trial after trial,
        in one process. By default every presentation starts with the weights of the circuit.
    device : {"cuda_standalone", "genn"}, optional
        Another device of Brian2 instead of `codegen`, where brian2cuda or brian2genn is installed. Its random numbers
        are its own: the spikes are other ones, and depend on what else is simulated.

    Returns
    -------
    DataTree
        Group ``simulation``: over ([stimulus,] neuron) ``rate`` (Hz), ``count_variance`` and ``count_fano`` of windows
        of length `window`; with two trials or more ``variance`` (Hz) and ``fano`` of counts over `duration`; with
        `covariance` the matrices ``count_covariance`` and ``covariance`` (Hz), over ([stimulus,] neuron, neuron_j);
        each with its standard error ``<name>_se``, NaN where the samples do not determine it. If the circuit has a
        readout and its population is recorded, ``readout`` over ([stimulus,] trial, output), the decision variable of
        every trial.
        Where only counts of whole populations are recorded, ``rate`` over ([stimulus,] population).
        Group ``spikes``: spike times as a contiguous ragged array. A spike's time is the middle of the step in which it
        was fired, in seconds from the end of the warm-up. Group ``counts``: ``count`` over ([stimulus,] trial, time,
        neuron or population). Groups ``states/<population>``: the recorded variables over ([stimulus,] trial, time,
        neuron), with their units. Groups ``weights/<source>_to_<target>``: of every plastic projection ``weight`` over
        ([stimulus,] trial, synapse), at the end of each presentation, with the ends of the synapses. The root holds the
        circuit, seed, times and versions.

    Raises
    ------
    ValueError
        If an argument is out of range, `dt` does not divide a time, or a Poisson rate is too high for it.
    NotEnoughMemory
        If synapses or presentations would not fit into memory; nothing is drawn or built.
    CompilerNotFound, BuildFailed, SimulationFailed
        If the program cannot be compiled, or fails.
    SimulationTimeout
        If the run takes longer than `timeout`. Nothing of it goes on.
    DeviceUnavailable
        If the package of `device` is not installed, or cannot be imported.
    SchedulerError
        If the scheduler of `client` is lost.

    Examples
    --------
    ::

        result = simulate(circuit, duration=5 * second, trials=4, warmup=0.5 * second, dt=0.1 * ms, seed=1)
        result["simulation/rate"]
    """
    require_circuit(circuit)
    covariance = flag(covariance, "covariance")
    circuit.hash()  # what cannot be stored is said before anything is computed
    step = time_step(dt)
    times = Times.of(duration, warmup, step)  # whatever is wrong is said before the compiler starts
    sizes = {population.name: population.size for population in circuit.neurons}
    kinds = recorded_kinds_of(sizes, split_record(record))
    choose_channels(kinds, sizes, times, step)
    window_ms = check_window(window, times, step, kinds)
    require_integer("trials", trials, 1)
    require_room(circuit)
    require_room_for_run(circuit, (circuit.n_stimuli or 1) * trials)
    seed = choose_seed(seed)
    if processes is not None:
        require_integer("processes", processes, 1)
    check_timeout(timeout)
    how: dict[str, Any] = {"dt": step, "record": record, "codegen": codegen, "device": device}
    run: dict[str, Any] = {"duration": times.duration, "trials": trials, "warmup": times.warmup, "seed": seed}
    with _reported(progress) as report:
        if client is None:
            if flag(carry_weights, "carry_weights"):
                how["replicas"], run["carry_weights"] = 1, True
            with build(circuit, **how, build_dir=build_dir) as program:
                recording = program.run(**run, processes=processes, report=report, timeout=timeout)
        else:
            if carry_weights:
                raise ValueError("`carry_weights` runs in one process; leave out `client`")
            if build_dir is not None:
                raise ValueError(
                    "`build_dir` is of this machine, and the workers of a `client` build; give one of the two"
                )
            check_time_step(circuit, step)
            shared = SharedRun(circuit, how, run, processes or 1, version("mnnbio"))
            recording = run_on_workers(shared, client, times=times, report=report, timeout=timeout)
    return labelled_result(circuit, recording, window=window_ms, codegen=device or codegen, covariance=covariance)


def check_window(window: Any, times: Times, dt: float, kinds: Mapping[str, Kind] | None = None) -> float:
    """Return the length of the windows in ms: that of recorded moments, else by default the duration.

    Raises
    ------
    ValueError
        If it is not a whole number of steps, longer than the duration, or does not suit what is recorded.
    """
    found = list((kinds or {}).values())
    moments = next((kind for kind in found if isinstance(kind, CountMoments)), None)
    default = times.duration if moments is None else moments.window
    value = default if window is None else float(in_unit(window, "ms", "window"))
    steps = int(count_steps(value, dt, "window"))
    if not 1 <= steps <= times.duration_steps:
        raise ValueError(f"`window` must be > 0 ms and at most `duration`, {times.duration:g} ms, got {value:g} ms")
    if moments is not None and steps != int(count_steps(moments.window, dt, "window")):
        raise ValueError(
            f"`window` must be that of the recorded moments, {moments.window:g} ms, got {value:g} ms. Leave it out"
        )
    for kind in found:
        if isinstance(kind, Counts) and kind.per == "neuron" and steps % int(count_steps(kind.bin, dt, "bin")):
            raise ValueError(f"`window` must be a multiple of the recorded `bin`, {kind.bin:g} ms, got {value:g} ms")
    return value


@contextmanager
def _reported(progress: bool | Report) -> Iterator[Report | None]:
    """Give the function that a run is to call, if any."""
    if not progress or callable(progress):
        yield progress or None
        return
    from tqdm.auto import tqdm

    with tqdm(desc="simulate", unit=" steps", unit_scale=True) as bar:

        def report(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield report
