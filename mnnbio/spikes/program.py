"""Programs: circuits that have been built, to be run many times, with what may change from run to run."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from mnnbio.circuit import Circuit, Drive, GaussianDrive, PoissonDrive, PoissonSource, Population, Projection, Source
from mnnbio.machine import require_integer
from mnnbio.neurons import LIFParameters
from mnnbio.spikes.collect import collect
from mnnbio.spikes.compiling import available_cores
from mnnbio.spikes.layout import choose_processes
from mnnbio.spikes.network import MadeNetwork, make_network, run_in_python
from mnnbio.spikes.plan import Plan, differences
from mnnbio.spikes.planner import Planned, plan_circuit
from mnnbio.spikes.processes import Deadline, run_program
from mnnbio.spikes.program_cache import PROGRAM
from mnnbio.spikes.program_files import Job, changed_inputs
from mnnbio.spikes.recorded import Recording
from mnnbio.spikes.recording import Block, Kind
from mnnbio.spikes.runs import Run, choose_seed
from mnnbio.spikes.session import brian_session
from mnnbio.spikes.state_recording import Wanted, state_channels
from mnnbio.spikes.timing import Times

Key = TypeVar("Key")


class Changes(NamedTuple):
    """Changes of a run; None: nothing. See `Program.run`."""

    stimulus: Any = None
    weights: Any = None
    lif: Any = None
    drives: Iterable[Drive] | None = None
    circuit: Circuit | None = None

    def apply(self, own: Circuit) -> Circuit:
        """Return the circuit to run instead of `own`, which itself stays as it is.

        Raises
        ------
        ValueError, TypeError
            If a name is not one of the circuit's, it is not clear what is meant, or the circuit refuses a value.
        """
        if all(change is None for change in self):
            return own
        if self.circuit is not None and not isinstance(self.circuit, Circuit):
            raise TypeError(f"`circuit` must be a Circuit, got {type(self.circuit).__name__}")
        if isinstance(self.drives, GaussianDrive | PoissonDrive):
            raise TypeError(f"`drives` must be a list of drives, got {self.drives}")
        base = self.circuit or own
        poisson = [source.name for source in base.sources if isinstance(source, PoissonSource)]
        rates = _by_name(self.stimulus, poisson, "stimulus", "Poisson source")
        neurons = _by_name(self.lif, [population.name for population in base.neurons], "lif", "population of neurons")
        pairs = [(projection.source, projection.target) for projection in base.projections]
        weights = _by_name(self.weights, pairs, "weights", "projection")
        return base.with_parts(
            populations=[
                _with_parameters(p, neurons) if isinstance(p, Population) else _with_rates(p, rates)
                for p in base.populations
            ],
            projections=[_with_weights(projection, weights) for projection in base.projections],
            drives=self.drives,
        )


def _by_name(value: Any, names: list[Key], argument: str, what: str) -> Mapping[Key, Any]:
    """Return the values by name; one without a name belongs to the only part of its kind."""
    if value is None:
        return {}
    listed = ", ".join(map(str, names))
    if isinstance(value, Mapping):
        if unknown := [name for name in value if name not in names]:
            raise ValueError(f"`{argument}` names no {what}: {unknown[0]!r}. The circuit has {listed or 'none'}")
        if twice := [name for name in value if names.count(name) > 1]:
            raise ValueError(
                f"`{argument}` is ambiguous: the circuit has more than one {what} {twice[0]!r}. Give `circuit` instead"
            )
        return value
    if len(names) != 1:
        raise ValueError(
            f"`{argument}` must say which {what} is meant, as a dictionary: the circuit has {listed or 'none'}"
        )
    return {names[0]: value}


def _with_rates(source: Source, rates: Mapping[str, Any]) -> Source:
    if isinstance(source, PoissonSource) and source.name in rates:
        return dataclasses.replace(source, rates=rates[source.name])
    return source


def _with_parameters(population: Population, neurons: Mapping[str, LIFParameters]) -> Population:
    return (
        dataclasses.replace(population, neuron=neurons[population.name]) if population.name in neurons else population
    )


def _with_weights(projection: Projection, weights: Mapping[tuple[str, str], Any]) -> Projection:
    """Return the projection with other weights: one number for those of a rule, else a matrix."""
    pair = projection.source, projection.target
    if pair not in weights:
        return projection
    name = "weights" if projection.connectivity is None else "weight"
    return dataclasses.replace(projection, **{name: weights[pair]})


Report = Callable[[int, int], None]

_MOST_DIFFERENCES = 5  # that a message lists


class Program(ABC):
    """A circuit made ready to run; `build` makes it.

    Attributes
    ----------
    circuit : Circuit
    dt : float
        Time step, ms.
    kinds : dict
        What is recorded of each recorded population: ``"spikes"``, `Counts` or `CountMoments`.
    """

    def __init__(self, planned: Planned, kinds: Mapping[str, Kind], wanted: Wanted | None = None) -> None:
        self._planned, self.kinds = planned, kinds
        self.wanted = wanted or Wanted(None, {}, {})
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
        carry_weights: bool = False,
    ) -> Recording:
        """Present every stimulus `trials` times, each time from rest, and return what was recorded.

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
            Processes that share the presentations of a compiled program; default: one per core, fewer where memory is
            short. The spikes do not depend on it.
        report : callable, optional
            Called with the numbers of steps taken and to take.
        timeout : float, optional
            Seconds that the run may take on the clock; default: any time.
        presentations : array_like of int, shape (presentation, 2), optional
            The (stimulus, trial) pairs to run instead of all, so that several machines can share a run of `trials`
            trials; `Recording.merge` puts the shares together. A presentation's spikes depend on `seed` and its pair,
            not on what else is run.
        carry_weights : bool
            Whether weights that plasticity has changed are carried on: all stimuli one after the other, trial after
            trial, in one process. By default every presentation starts with the weights of the circuit.

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
            require_integer("processes", processes, 1)
        deadline = Deadline(timeout)
        planned = self._plan(Changes(stimulus, weights, lif, drives, circuit))
        run = Run.of(planned.circuit, self.kinds, times, self.dt, choose_seed(seed), trials, presentations)
        channels = state_channels(planned.plan, planned.circuit, self.wanted, times, len(run.pairs))
        run = dataclasses.replace(run, states=channels)
        replicas = self._replicas(planned.plan, len(run.pairs))
        if carry_weights:
            run, processes = self._carried(run, replicas, presentations), 1
        job = run.job(replicas)
        progress = _Progress(report, job.n_steps * len(job.batches))
        processes = processes or choose_processes(planned.plan, available_cores())
        blocks = self._blocks(planned.plan, job, processes, progress, deadline)
        recording = collect(blocks, run, replicas)
        progress.finish()
        return Recording.merge([recording]) if carry_weights else recording

    def _carried(self, run: Run, replicas: int, presentations: Any) -> Run:
        """Return a run that carries weights on, its presentations in the order of trials."""
        if presentations is not None:
            raise ValueError("`carry_weights` goes through all stimuli and trials in order: leave out `presentations`")
        if self.replicas != 1:
            raise ValueError(
                f"`carry_weights` needs a program of one presentation at a time, got {self.replicas} side by side: "
                "build it with replicas=1"
            )
        order = np.lexsort((run.pairs[:, 0], run.pairs[:, 1]))
        return dataclasses.replace(run, pairs=run.pairs[order], is_share=True, carries=True)

    @property
    def replicas(self) -> int:
        """Presentations that run side by side."""
        return self._planned.plan.replicas

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
        plan = plan_circuit(circuit, dt=self.dt, replicas=own.replicas, like=self._planned)
        found = list(islice(differences(own.structure(), plan.structure()), _MOST_DIFFERENCES))
        if found:
            raise ValueError(
                "the circuit to run differs in structure from the one that was built, so it needs a program of its "
                f"own: `build` it. What was built → what was given: {'; '.join(found)}"
            )
        return Planned(circuit, plan)

    @abstractmethod
    def _replicas(self, plan: Plan, presentations: int) -> int:
        """Return the number of presentations in a batch."""

    @abstractmethod
    def _blocks(self, plan: Plan, job: Job, processes: int, progress: _Progress, deadline: Deadline) -> Iterator[Block]:
        """Run a job and yield what is recorded."""


class CompiledProgram(Program):
    """A circuit compiled to a C++ program, ``main`` in `folder`, with its numbers in ``inputs``."""

    def __init__(self, planned: Planned, kinds: Mapping[str, Kind], folder: Path, wanted: Wanted | None = None) -> None:
        super().__init__(planned, kinds, wanted)
        self.folder = folder

    def _replicas(self, plan: Plan, presentations: int) -> int:
        return self.replicas

    def _blocks(self, plan: Plan, job: Job, processes: int, progress: _Progress, deadline: Deadline) -> Iterator[Block]:
        known = self._planned.plan
        with changed_inputs(plan, known, self.folder, job.n_steps, job.warmup_steps) as inputs:
            processes = min(processes, len(job.batches))
            yield from run_program(self.folder / PROGRAM, inputs, job, processes, progress, deadline)


class PythonProgram(Program):
    """A circuit that runs in Python with NumPy."""

    def __init__(self, planned: Planned, kinds: Mapping[str, Kind], wanted: Wanted | None = None) -> None:
        super().__init__(planned, kinds, wanted)
        self._made: MadeNetwork | None = None  # made at the first run, which says how many replicas are worth it

    def _replicas(self, plan: Plan, presentations: int) -> int:
        return min(plan.replicas, presentations)

    def _blocks(self, plan: Plan, job: Job, processes: int, progress: _Progress, deadline: Deadline) -> Iterator[Block]:
        made = self._realise(dataclasses.replace(plan, replicas=job.batches.shape[1]))

        def report(steps: int) -> None:
            deadline.check(progress.done, progress.total)
            progress(steps)

        return run_in_python(made, job, report)

    def _realise(self, plan: Plan) -> MadeNetwork:
        """Return the network of a plan: that of the last run, if it has the synapses wanted."""
        if self._made is not None and plan.same_network(self._made.plan):
            self._made.plan = plan
        else:
            with brian_session("runtime"):
                self._made = make_network(plan, connected=True, record=self.kinds)
        return self._made


class _Progress:
    """Adds up the steps that all processes report."""

    def __init__(self, report: Report | None, total: int) -> None:
        self.done, self.total, self.report = 0, total, report

    def __call__(self, steps: int) -> None:
        self.done += steps
        if self.report is not None and steps:
            self.report(self.done, self.total)

    def finish(self) -> None:
        self(self.total - self.done)
