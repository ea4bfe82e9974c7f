"""Share the presentations of one simulation among the workers of a Dask client."""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from socket import gethostname
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mnnbio.circuit import Circuit
from mnnbio.spikes.building import build
from mnnbio.spikes.processes import Deadline
from mnnbio.spikes.program_files import SimulationFailed
from mnnbio.spikes.recorded import Recording
from mnnbio.spikes.session import patience
from mnnbio.spikes.timing import Times

if TYPE_CHECKING:
    from distributed import Client, Future

Pairs = npt.NDArray[np.int64]
Report = Callable[[int, int], None]

# A share takes about half a second at least, for the sake of what a task costs, and half a minute at most, for the sake
# of workers that come late or are killed; within that, some shares for every thread, so that all end together.
_SHORTEST, _LONGEST = 0.5, 30.0  # seconds
_SHARES_PER_THREAD = 4
_STEP = 2e-8  # seconds that a step of a neuron takes, roughly


class SchedulerError(ConnectionError):
    """A Dask scheduler cannot be reached, or was lost."""


class VersionMismatch(RuntimeError):  # noqa: N818 - says what is the matter
    """A worker has another version of this package than the process that leads the work."""


class RunCancelled(RuntimeError):  # noqa: N818 - says what happened
    """Nobody waits for the run any more."""


class SharedRun(NamedTuple):
    """A run of which workers do shares.

    Attributes
    ----------
    circuit : Circuit
    build : dict
        Options of `build`.
    run : dict
        Options of `Program.run`, the number of trials of the whole run among them.
    processes : int
        Of each share.
    version : str
        Of this package, where the run is led from.
    """

    circuit: Circuit
    build: Mapping[str, Any]
    run: Mapping[str, Any]
    processes: int
    version: str


def run_on_workers(
    shared: SharedRun, client: Client, *, times: Times, report: Report | None = None, timeout: float | None = None
) -> Recording:
    """Run all trials of all stimuli on the workers of a client.

    What a killed worker was doing is done again by others. A worker does as many shares at once as it has threads.

    Parameters
    ----------
    shared : SharedRun
    client : distributed.Client
    times : Times
        Of a presentation.
    report : callable, optional
        Called with the numbers of steps taken and to take, whenever a share is done.
    timeout : float, optional
        Seconds that the run may take on the clock; default: any time.

    Returns
    -------
    Recording
        As one program in one process gives it.

    Raises
    ------
    TypeError
        If `client` is not a Dask client.
    SchedulerError
        If its scheduler is lost.
    SimulationFailed
        If every worker that ran a share died.
    SimulationTimeout
        If it takes longer than `timeout`.
    """
    import dask
    from distributed import Client, as_completed

    if not isinstance(client, Client):
        raise TypeError(f"`client` must be a distributed.Client, got {type(client).__name__}")
    if client.status != "running":
        raise SchedulerError(f"the client is {client.status}: connect it to a scheduler first")
    circuit, n_steps = shared.circuit, times.warmup_steps + times.duration_steps
    pairs = _all_pairs(circuit.n_stimuli or 1, shared.run["trials"])
    threads = sum(client.nthreads().values())
    seconds = n_steps * sum(population.size for population in circuit.populations) * _STEP
    shares = np.array_split(pairs, number_of_shares(len(pairs), seconds, threads))
    name = f"simulate-{uuid.uuid4().hex[:8]}"
    # As a task and not as scattered data, which would be lost with its worker. Realised matrices stay here: a worker
    # makes the same ones from the circuit's seed.
    options = {"distributed.admin.large-graph-warning-threshold": "1TB"}
    done, total, parts, futures, deadline = 0, len(pairs) * n_steps, [], [], Deadline(timeout)
    try:
        with losses_named(client):
            with dask.config.set(options):
                common = client.submit(_same, shared._replace(circuit=replace(circuit)), key=name, pure=False)
                futures = client.map(_run_share, shares, key=f"{name}-share", pure=False, shared=common)
            left = None if deadline.left() == math.inf else timeout
            for future in as_completed(futures, loop=client.loop, timeout=left):
                parts.append(_result(future))
                done += math.prod(parts[-1].shape) * n_steps
                if report is not None:
                    report(done, total)
    except TimeoutError:
        deadline.check(done, total)
        raise
    finally:
        cancel(client, futures)  # nothing, where all are done
    return Recording.merge(parts)


@contextmanager
def losses_named(client: Client) -> Iterator[None]:
    """Raise a `SchedulerError` for whatever goes wrong because the scheduler was lost."""
    try:
        yield
    except SchedulerError:
        raise
    except Exception as error:
        if client.status == "running":
            raise
        raise SchedulerError(f"the scheduler was lost ({type(error).__name__}: {error})") from error


def cancel(client: Client, futures: Sequence[Future]) -> None:
    """Cancel what is not done yet; nobody is left to hear it where the scheduler was lost."""
    if client.status == "running":
        client.cancel(futures, force=True)


def require_version(wanted: str) -> None:
    """Raise a `VersionMismatch` in a worker that has another version of this package than it should."""
    own = version("mnnbio")
    if own != wanted:
        raise VersionMismatch(
            f"the worker on {gethostname()} has mnnbio {own}, the work is led by {wanted}; install the same"
        )


def number_of_shares(presentations: int, seconds: float, threads: int) -> int:
    """Return into how many shares to divide presentations that take so many seconds each."""
    wanted = math.ceil(presentations / (_SHARES_PER_THREAD * max(threads, 1)))
    size = min(max(wanted, math.ceil(_SHORTEST / seconds)), max(1, int(_LONGEST / seconds)))
    return math.ceil(presentations / size)


def watch() -> Report | None:
    """Return a function that raises `RunCancelled` once nobody waits for the task that this thread does.

    Dask forgets such a task, but cannot stop a thread. None where the thread does no task.
    """
    from distributed import get_worker

    try:
        worker = get_worker()
        key = worker.get_current_task()
    except ValueError:
        return None

    def report(done: int, total: int) -> None:
        task = worker.state.tasks.get(key)
        if task is None or task.state != "executing":
            raise RunCancelled(f"nobody waits for {key} any more")

    return report


def _all_pairs(n_stimuli: int, trials: int) -> Pairs:
    return np.stack(np.meshgrid(np.arange(n_stimuli), np.arange(trials), indexing="ij"), axis=-1).reshape(-1, 2)


def _same(shared: SharedRun) -> SharedRun:
    return shared


def _run_share(pairs: Pairs, shared: SharedRun) -> Recording:
    """Run some presentations, in a worker."""
    require_version(shared.version)
    with patience(), build(shared.circuit, **shared.build) as program:
        return program.run(**shared.run, processes=shared.processes, presentations=pairs, report=watch())


def _result(future: Any) -> Recording:
    from concurrent.futures import CancelledError

    from distributed.scheduler import KilledWorker

    try:
        recording: Recording = future.result()
        return recording
    except KilledWorker as error:
        raise SimulationFailed(
            f"each worker that ran a share of the presentations died, the last one at {error.last_worker.address}: "
            "killed, or out of memory"
        ) from error
    except CancelledError as error:
        raise SchedulerError("the scheduler was lost, or cancelled the run") from error
