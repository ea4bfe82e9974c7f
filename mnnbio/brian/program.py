"""Build a circuit once, run it many times."""

from __future__ import annotations

import os
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from mnnbio.brian.compiler import available_cores, compile_project, require_compiler
from mnnbio.brian.model import Model
from mnnbio.brian.network import build_network, check_time_step
from mnnbio.brian.runtime import run_in_python
from mnnbio.brian.session import Codegen, brian_session
from mnnbio.brian.standalone import run_program, write_cpp
from mnnbio.brian.steps import Times, time_step
from mnnbio.brian.trains import Presentations, RawSpikes, SpikeTrains, collect_trains
from mnnbio.circuit import Circuit

Report = Callable[[int, int], None]


class Program(ABC):
    """A circuit made ready to run; `build` makes it.

    Attributes
    ----------
    circuit : Circuit
    dt : float
        Time step, ms.
    populations : dict
        Size of each recorded population.
    """

    def __init__(self, circuit: Circuit, dt: float, populations: Mapping[str, int]) -> None:
        self.circuit, self.dt, self.populations = circuit, dt, populations

    def run(
        self,
        duration: Any,
        trials: int = 1,
        warmup: Any = 0.0,
        *,
        seed: int | None = None,
        processes: int | None = None,
        report: Report | None = None,
        presentations: npt.ArrayLike | None = None,
    ) -> SpikeTrains:
        """Present every stimulus `trials` times, each time from rest, and return the spikes.

        Parameters
        ----------
        duration, warmup : float or Quantity
            Time recorded and time before it, ms.
        trials : int
        seed : int, optional
            Seed of sources and noise; the same seed gives the same spikes. None draws one.
        processes : int, optional
            Processes that share the presentations of a compiled program; default: one per core. The spikes do not
            depend on it.
        report : callable, optional
            Called with the numbers of steps taken and to take.
        presentations : array_like of int, shape (presentation, 2), optional
            The (stimulus, trial) pairs to run instead of all, so that several machines can share a run; `trials` is
            then not used. A presentation's spikes depend on `seed` and its pair, not on what else is run.

        Raises
        ------
        ValueError
            If a time is not a whole number of steps, or `trials`, `seed`, `processes` or `presentations` is out of
            range.
        SimulationFailed
            If the program ends with an error.
        """
        times = Times.of(duration, warmup, self.dt)
        if processes is not None:
            require_integer(processes, "processes", 1)
        seed = choose_seed(seed)
        some = None if presentations is None else choose_presentations(self.circuit, presentations)
        present = present_all(self.circuit, times, trials, seed) if some is None else present_some(some, times, seed)
        progress = _Progress(report)
        raw, replicas = self._spikes(present, processes or available_cores(), progress)
        trains = collect_trains(
            raw,
            self.populations,
            (self.circuit.n_stimuli or 1, int(trials)) if some is None else (len(some),),
            replicas=replicas,
            times=times,
            dt=self.dt,
            seed=seed,
            presentations=some,
        )
        progress.finish()
        return trains

    @abstractmethod
    def _spikes(
        self, presentations: Presentations, processes: int, progress: _Progress
    ) -> tuple[Iterator[RawSpikes], int]:
        """Return the spikes of all presentations, and the number of presentations in a batch."""


class CompiledProgram(Program):
    """A circuit compiled to a C++ program in `folder`."""

    def __init__(
        self, circuit: Circuit, dt: float, populations: Mapping[str, int], folder: Path, replicas: int
    ) -> None:
        super().__init__(circuit, dt, populations)
        self.folder, self.replicas = folder, replicas

    def _spikes(
        self, presentations: Presentations, processes: int, progress: _Progress
    ) -> tuple[Iterator[RawSpikes], int]:
        batches = presentations.batches(self.replicas)
        progress.total = len(batches) * presentations.n_steps
        processes = min(processes, len(batches))
        raw = run_program(self.folder, presentations.n_steps, batches, list(self.populations), processes, progress)
        return raw, self.replicas


class PythonProgram(Program):
    """A circuit that runs in Python with NumPy."""

    def __init__(self, circuit: Circuit, dt: float, populations: Mapping[str, int], replicas: int) -> None:
        super().__init__(circuit, dt, populations)
        self.most_replicas = replicas
        self._model: Model | None = None  # built at the first run, which says how many replicas are worth it

    def _spikes(
        self, presentations: Presentations, processes: int, progress: _Progress
    ) -> tuple[Iterator[RawSpikes], int]:
        replicas = min(self.most_replicas, len(presentations.key))
        if self._model is None or self._model.replicas != replicas:
            with brian_session("runtime"):
                self._model = build_network(self.circuit, dt=self.dt, replicas=replicas, record=self.populations)
        batches = presentations.batches(replicas)
        progress.total = len(batches) * presentations.n_steps
        return run_in_python(self._model, presentations.n_steps, batches, progress), replicas


@contextmanager
def build(
    circuit: Circuit,
    *,
    dt: Any = 0.1,
    record: Sequence[str] | None = None,
    codegen: Codegen = "cpp_standalone",
    build_dir: str | os.PathLike[str] | None = None,
    replicas: int | None = None,
) -> Iterator[Program]:
    """Make a circuit ready to run.

    Parameters
    ----------
    circuit : Circuit
    dt : float or Quantity
        Time step, ms; it must divide every refractory period and delay.
    record : sequence of str, optional
        Populations whose spikes are recorded; default: all of LIF neurons.
    codegen : {"cpp_standalone", "runtime"}
        Compile a C++ program, or run in Python with NumPy, which needs no compiler and is slower.
    build_dir : path-like, optional
        Folder of the C++ project, which is kept; default: a temporary one.
    replicas : int, optional
        Presentations run side by side; default: by size. The spikes do not depend on it.

    Yields
    ------
    Program
        Usable within the ``with`` block.

    Raises
    ------
    ValueError
        If `dt` does not suit the circuit, or a recorded population is unknown.
    CompilerNotFound, BuildFailed
        If there is no compiler, or it fails.
    BrianBusyError
        If Brian2 is in use by something else in this process.

    Examples
    --------
    ::

        with build(circuit, dt=0.1 * ms) as program:
            spikes = [program.run(1 * second, seed=seed) for seed in range(10)]
    """
    if codegen not in get_args(Codegen):
        raise ValueError(f"Invalid value {codegen!r} for `codegen`. Must be one of {list(get_args(Codegen))}")
    step = time_step(dt)
    check_time_step(circuit, step)
    populations = recorded_populations(circuit, record)
    if replicas is not None:
        require_integer(replicas, "replicas", 1)
    if codegen == "runtime":
        yield PythonProgram(circuit, step, populations, replicas or _replicas(circuit, 20_000, 1_000_000))
        return
    require_compiler()
    folder = Path(build_dir or tempfile.mkdtemp(prefix="mnnbio_")).absolute()
    keep = build_dir is not None
    try:
        replicas = write_sources(circuit, folder, step, populations, replicas)
        try:
            compile_project(folder)
        except Exception:
            keep = True  # the message names the folder, so that the sources can be looked at
            raise
        yield CompiledProgram(circuit, step, populations, folder, replicas)
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


def write_sources(
    circuit: Circuit, folder: Path, dt: float, populations: Mapping[str, int], replicas: int | None = None
) -> int:
    """Write the C++ project of a circuit into a folder and return the number of presentations that run side by side."""
    replicas = replicas or _replicas(circuit, 100, 100_000)
    with brian_session("cpp_standalone"):
        write_cpp(build_network(circuit, dt=dt, replicas=replicas, record=populations), folder)
    return replicas


def recorded_populations(circuit: Circuit, record: Sequence[str] | None) -> dict[str, int]:
    """Return names and sizes of the populations to record, in the order of the circuit.

    Raises
    ------
    ValueError
        If a name is not that of a population of neurons, or there is none.
    """
    sizes = {population.name: population.size for population in circuit.neurons}
    wanted = list(sizes) if record is None else [record] if isinstance(record, str) else list(record)
    if not wanted or any(name not in sizes for name in wanted):
        raise ValueError(f"`record` must name populations of neurons ({', '.join(sizes)}), got {wanted}")
    return {name: size for name, size in sizes.items() if name in wanted}


def choose_seed(seed: int | None) -> int:
    """Return the seed, or a fresh one."""
    if seed is None:
        return int.from_bytes(os.urandom(6), "little")
    require_integer(seed, "seed", 0)
    return int(seed)


def present_all(circuit: Circuit, times: Times, trials: int, seed: int) -> Presentations:
    """Return all trials of all stimuli of a circuit."""
    require_integer(trials, "trials", 1)
    return Presentations.of(times.warmup_steps + times.duration_steps, circuit.n_stimuli or 1, trials, seed)


def present_some(pairs: npt.NDArray[np.int64], times: Times, seed: int) -> Presentations:
    """Return some (stimulus, trial) pairs of a circuit."""
    return Presentations.some(times.warmup_steps + times.duration_steps, pairs, seed)


def choose_presentations(circuit: Circuit, presentations: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Return (stimulus, trial) pairs, (presentation, 2).

    Raises
    ------
    ValueError
        If they are not pairs of integers, a stimulus is not one of the circuit's, or a pair comes twice.
    """
    pairs = np.asarray(presentations)
    if pairs.ndim != 2 or pairs.shape[1] != 2 or not len(pairs) or pairs.dtype.kind not in "iu":
        raise ValueError(
            "`presentations` must hold (stimulus, trial) pairs, an integer array of shape (n, 2) with n ≥ 1, got shape "
            f"{pairs.shape} of {pairs.dtype}"
        )
    n_stimuli = circuit.n_stimuli or 1
    wrong = (pairs < 0).any(axis=1) | (pairs[:, 0] >= n_stimuli)
    if wrong.any():
        place = int(np.argmax(wrong))
        raise ValueError(
            f"`presentations` must hold stimuli 0 … {n_stimuli - 1} and trials ≥ 0, got {tuple(pairs[place].tolist())} "
            f"at {place}"
        )
    if len(np.unique(pairs, axis=0)) < len(pairs):
        raise ValueError("`presentations` must hold every (stimulus, trial) pair once, got one twice")
    return pairs.astype(np.int64)


def require_integer(value: Any, name: str, least: int) -> None:
    """Raise a `ValueError` unless `value` is an integer of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ValueError(f"`{name}` must be an integer ≥ {least}, got {value!r}")


class _Progress:
    """Adds up the steps that all processes report."""

    def __init__(self, report: Report | None) -> None:
        self.done, self.total, self.report = 0, 0, report

    def __call__(self, steps: int) -> None:
        self.done += steps
        if self.report is not None and steps:
            self.report(self.done, self.total)

    def finish(self) -> None:
        self(self.total - self.done)


def _replicas(circuit: Circuit, most_elements: int, most_synapses: int) -> int:
    """Return how many presentations to run side by side, so that the fixed cost of a step is shared."""
    size = {population.name: population.size for population in circuit.populations}
    synapses = sum(size[p.source] * size[p.target] for p in circuit.projections)
    return max(1, min(most_elements // sum(size.values()), most_synapses // max(synapses, 1), 100))
