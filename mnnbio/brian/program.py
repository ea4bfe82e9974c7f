"""A circuit that has been built, to be run many times."""

from __future__ import annotations

import dataclasses
import math
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mnnbio.brian.cache import PROGRAM
from mnnbio.brian.changes import Changes
from mnnbio.brian.compiler import available_cores
from mnnbio.brian.inputs import changed_inputs
from mnnbio.brian.network import Realisation, realise
from mnnbio.brian.plan import Plan, differences
from mnnbio.brian.planner import Planned, plan_circuit
from mnnbio.brian.processes import Deadline, run_program
from mnnbio.brian.runtime import run_in_python
from mnnbio.brian.session import brian_session
from mnnbio.brian.steps import Times
from mnnbio.brian.trains import Presentations, RawSpikes, SpikeTrains, collect_trains
from mnnbio.circuit import Circuit, Drive
from mnnbio.lif import LIFParameters

Report = Callable[[int, int], None]

_MOST_DIFFERENCES = 5  # that a message lists


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

    def __init__(self, planned: Planned, populations: Mapping[str, int]) -> None:
        self._planned, self.populations = planned, populations
        self.circuit, self.dt = planned.circuit, planned.plan.dt

    def run(
        self,
        duration: Any,
        trials: int = 1,
        warmup: Any = 0.0,
        *,
        stimulus: Any = None,
        weights: Any = None,
        lif: LIFParameters | Mapping[str, LIFParameters] | None = None,
        drives: Iterable[Drive] | None = None,
        circuit: Circuit | None = None,
        seed: int | None = None,
        processes: int | None = None,
        report: Report | None = None,
        timeout: float | None = None,
        presentations: npt.ArrayLike | None = None,
    ) -> SpikeTrains:
        """Present every stimulus `trials` times, each time from rest, and return the spikes.

        Rates, weights, neuron parameters and drives may differ from run to run without another build. They count for
        the one run: the next one starts again from the circuit that was built.

        Parameters
        ----------
        duration, warmup : float or Quantity
            Time recorded and time before it, ms.
        trials : int
        stimulus : array_like, Quantity or mapping, optional
            Rates of the Poisson source, spikes/ms, (size,) or (stimulus, size); of several sources by their names. The
            number of stimuli may be another one than that of the circuit.
        weights : array_like, Quantity, sparse array, ModeMatrix or mapping, optional
            Weights of the projection, mV, (n_target, n_source), also with other synapses than before; of several
            projections by ``(source, target)``. A projection made by a rule takes one number.
        lif : LIFParameters or mapping, optional
            Parameters of the population of neurons; of several populations by their names.
        drives : iterable of GaussianDrive and PoissonDrive, optional
            What drives the neurons, instead of the circuit's drives.
        circuit : Circuit, optional
            Another circuit of the same structure.
        seed : int, optional
            Seed of sources and noise; the same seed gives the same spikes. None draws one.
        processes : int, optional
            Processes that share the presentations of a compiled program; default: one per core. The spikes do not
            depend on it.
        report : callable, optional
            Called with the numbers of steps taken and to take.
        timeout : float, optional
            Seconds that the run may take on the clock; default: any time.
        presentations : array_like of int, shape (presentation, 2), optional
            The (stimulus, trial) pairs to run instead of all, so that several machines can share a run; `trials` is
            then not used. A presentation's spikes depend on `seed` and its pair, not on what else is run.

        Raises
        ------
        ValueError
            If a time is not a whole number of steps, an argument is out of range or does not fit the circuit, or the
            circuit to run differs in structure from the one that was built.
        SimulationFailed
            If the program ends with an error.
        SimulationTimeout
            If it takes longer than `timeout`. None of its processes goes on.
        """
        times = Times.of(duration, warmup, self.dt)
        if processes is not None:
            require_integer(processes, "processes", 1)
        deadline = Deadline(_check_timeout(timeout))
        planned = self._plan(Changes(stimulus, weights, lif, drives, circuit))
        seed = choose_seed(seed)
        some = None if presentations is None else choose_presentations(planned.circuit, presentations)
        present = present_all(planned.circuit, times, trials, seed) if some is None else present_some(some, times, seed)
        progress = _Progress(report)
        raw, replicas = self._spikes(planned.plan, present, processes or available_cores(), progress, deadline)
        trains = collect_trains(
            raw,
            self.populations,
            (planned.circuit.n_stimuli or 1, int(trials)) if some is None else (len(some),),
            replicas=replicas,
            times=times,
            dt=self.dt,
            seed=seed,
            presentations=some,
        )
        progress.finish()
        return trains

    def _plan(self, changes: Changes) -> Planned:
        """Return what to run.

        Raises
        ------
        ValueError
            If its structure is not that of the program.
        """
        circuit, own = changes.apply(self.circuit), self._planned.plan
        if circuit is self.circuit:
            return self._planned
        plan = plan_circuit(circuit, dt=self.dt, replicas=own.replicas, record=self.populations, like=self._planned)
        found = list(islice(differences(own.structure(), plan.structure()), _MOST_DIFFERENCES))
        if found:
            raise ValueError(
                "the circuit to run differs in structure from the one that was built, so it needs a program of its "
                f"own: `build` it. What was built → what was given: {'; '.join(found)}"
            )
        return Planned(circuit, plan)

    @abstractmethod
    def _spikes(
        self, plan: Plan, presentations: Presentations, processes: int, progress: _Progress, deadline: Deadline
    ) -> tuple[Iterator[RawSpikes], int]:
        """Return the spikes of all presentations, and the number of presentations in a batch."""


class CompiledProgram(Program):
    """A circuit compiled to a C++ program, ``main`` in `folder`, with its numbers in ``inputs``."""

    def __init__(self, planned: Planned, populations: Mapping[str, int], folder: Path) -> None:
        super().__init__(planned, populations)
        self.folder = folder

    @property
    def replicas(self) -> int:
        """Presentations that run side by side."""
        return self._planned.plan.replicas

    def _spikes(
        self, plan: Plan, presentations: Presentations, processes: int, progress: _Progress, deadline: Deadline
    ) -> tuple[Iterator[RawSpikes], int]:
        batches = presentations.batches(self.replicas)
        progress.total = len(batches) * presentations.n_steps
        return self._run(plan, presentations.n_steps, batches, processes, progress, deadline), self.replicas

    def _run(
        self,
        plan: Plan,
        n_steps: int,
        batches: npt.NDArray[np.int64],
        processes: int,
        progress: _Progress,
        deadline: Deadline,
    ) -> Iterator[RawSpikes]:
        with changed_inputs(plan, self._planned.plan, self.folder) as inputs:
            yield from run_program(
                self.folder / PROGRAM,
                inputs,
                n_steps,
                batches,
                list(self.populations),
                min(processes, len(batches)),
                progress,
                deadline,
            )


class PythonProgram(Program):
    """A circuit that runs in Python with NumPy."""

    def __init__(self, planned: Planned, populations: Mapping[str, int]) -> None:
        super().__init__(planned, populations)
        self._made: Realisation | None = None  # made at the first run, which says how many replicas are worth it

    def _spikes(
        self, plan: Plan, presentations: Presentations, processes: int, progress: _Progress, deadline: Deadline
    ) -> tuple[Iterator[RawSpikes], int]:
        replicas = min(plan.replicas, len(presentations.key))
        made = self._realise(dataclasses.replace(plan, replicas=replicas))
        batches = presentations.batches(replicas)
        progress.total = len(batches) * presentations.n_steps

        def report(steps: int) -> None:
            deadline.check(progress.done, progress.total)
            progress(steps)

        return run_in_python(made, presentations.n_steps, batches, report), replicas

    def _realise(self, plan: Plan) -> Realisation:
        """Return the network of a plan: that of the last run, if it has the synapses wanted."""
        if self._made is not None and plan.same_network(self._made.plan):
            self._made.plan = plan
        else:
            with brian_session("runtime"):
                self._made = realise(plan, connected=True)
        return self._made


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


def _check_timeout(timeout: Any) -> float | None:
    if timeout is None:
        return None
    if isinstance(timeout, bool) or not isinstance(timeout, int | float | np.number) or not timeout > 0:
        raise ValueError(f"`timeout` must be a time > 0 s, got {timeout!r}")
    return None if math.isinf(timeout) else float(timeout)


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
