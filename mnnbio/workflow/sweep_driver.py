"""Driver of a sweep: has processes of this machine, or workers of a Dask scheduler, do what is not done yet."""

from __future__ import annotations

import dataclasses
import logging
import signal
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mnnbio.machine import require_integer
from mnnbio.spikes import SchedulerError, cancel, losses_named
from mnnbio.workflow.pipeline import REMARKS
from mnnbio.workflow.sweep_config import Point, SweepConfig, make_sweep, point_of, points_of, read_config
from mnnbio.workflow.sweep_folder import SweepFolder
from mnnbio.workflow.sweep_subjects import subject_of
from mnnbio.workflow.sweep_work import FAILED, Outcome, Work, do_point, prepared

if TYPE_CHECKING:
    from distributed import Client, Future

PATIENCE = 10.0  # seconds to wait for a scheduler


@contextmanager
def local_client(workers: int) -> Iterator[Client]:
    """Start processes on this machine, each doing one thing at a time, and stop them at the end."""
    from distributed import Client, LocalCluster

    with (
        _interrupts_for_the_driver_alone() as begun,
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            dashboard_address=":0",
            silence_logs=logging.CRITICAL,
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        begun()
        yield client


@contextmanager
def _interrupts_for_the_driver_alone() -> Iterator[Callable[[], None]]:
    """Keep Ctrl-C from processes that are started within, which the terminal sends it to as well.

    They are stopped in order, instead of each dying with a traceback. They take the blocked signals over from the
    thread that starts them. The function that is given is called when they have been started.
    """
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # it unblocks the signal when it starts
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})

    def restore() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)

    try:
        yield restore
    finally:
        restore()


@contextmanager
def remote_client(scheduler: str, patience: float = PATIENCE) -> Iterator[Client]:
    """Connect to a scheduler.

    Parameters
    ----------
    scheduler : str
        An address, such as ``tcp://10.0.0.1:8786``, or a scheduler file.
    patience : float
        Seconds to wait for an answer.

    Raises
    ------
    SchedulerError
        If there is no answer.
    """
    from distributed import Client

    is_file = scheduler.endswith(".json")
    if is_file and not Path(scheduler).is_file():
        raise SchedulerError(f"no scheduler file {scheduler}; dask scheduler --scheduler-file {scheduler} writes it")
    try:
        where = {"scheduler_file": scheduler} if is_file else {"address": scheduler}
        client = Client(**where, timeout=patience, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise SchedulerError(
            f"no Dask scheduler answers at {scheduler} within {patience:g} s ({type(error).__name__}: {error}). Check "
            "the address and that it runs (dask scheduler), or leave it out to use this machine alone"
        ) from error
    with client:
        yield client


Say = Callable[[str], None]
Put = Callable[[Point, Outcome], None]


class Summary(NamedTuple):
    """Outcome of a sweep.

    Attributes
    ----------
    done, failed, reused : int
        Numbers of points: done now, failed, and done before.
    failures : dict of str
        Message of every failure, by point.
    remarked : dict of list of str
        Of points done now, what there is not beside the simulation, and why, by point.
    """

    done: int
    failed: int
    reused: int
    failures: dict[str, str]
    remarked: dict[str, list[str]]


def run_sweep(
    config: SweepConfig | Mapping[str, Any] | Path | str,
    out: Path | str,
    *,
    client: Client | None = None,
    workers: int | None = None,
    progress: bool = False,
    say: Say = print,
    allow_code: bool = False,
) -> Summary:
    """Simulate a circuit, and predict it if asked to, at every point of a sweep that is not done yet.

    A folder may be used again: points that are done stay, and values may be added to the swept parameters. Points that
    fail are recorded, others go on; the next use tries them again. Where a prediction fails the simulation is kept, and
    the next use tries the prediction alone.

    Parameters
    ----------
    config : path-like, mapping or SweepConfig
        A YAML file, or its content.
    out : path-like
        The sweep's folder: ``manifest.json``, and one netCDF file a point in ``points/``. `open_sweep` opens it.
    client : distributed.Client, optional
        Whose workers do the work. What a killed worker was doing is done again. Default: processes of this machine.
    workers : int, optional
        Number of processes, if there is no client; default: one per core. 0: no other process, one point after another.
        Scripts that start processes need ``if __name__ == "__main__":``.
    progress : bool
        Whether to show a progress bar.
    say : callable
        Told what is noteworthy, line by line.
    allow_code : bool
        Whether the circuit may be a function of another module than `mnnbio.circuits`, or of a file: it is then run
        with the rights of whoever runs the sweep.

    Returns
    -------
    Summary

    Raises
    ------
    FileNotFoundError, ConfigError
        If the configuration cannot be used, or the folder holds another sweep.
    RunFolderError
        If the folder cannot be written to, holds something else, or is in use.
    SchedulerError
        If the scheduler is lost. What is done is kept.
    """
    if workers is not None:
        require_integer("workers", workers, 0)
    config = _config(config)
    subject, points, folder = subject_of(config, allow_code=allow_code), points_of(config), SweepFolder(Path(out))
    with folder.opened(config):
        work = Work(config, subject, str(folder.path), folder.token, version("mnnbio"), 1)
        named = {point.key for point in points}
        others = [point_of(config, r["parameters"]) for key, r in folder.points.items() if key not in named]
        waiting, damaged = folder.adopt(
            points, others, subject.code, lambda point: prepared(work, point.parameters)[0].hash()
        )
        if damaged:
            say(f"{damaged} results were damaged and are removed")
        _announce(points, others, waiting, say)
        summary = Summary(0, 0, len(points) - len(waiting), {}, {})
        with _account(folder, len(waiting), progress, say, summary) as put:
            _work_off(work, waiting, put, client, workers, say)
    failed = len(summary.failures)
    return summary._replace(done=len(waiting) - failed, failed=failed)


def _config(config: SweepConfig | Mapping[str, Any] | Path | str) -> SweepConfig:
    if isinstance(config, SweepConfig):
        return config
    return make_sweep(config) if isinstance(config, Mapping) else read_config(Path(config))


def _announce(points: Sequence[Point], others: Sequence[Point], waiting: Sequence[Point], say: Say) -> None:
    if len(waiting) < len(points):
        say(f"{len(points) - len(waiting)} of {len(points)} points are done already")
    if others:
        say(f"{len(others)} more points are in the folder that the configuration does not name; they stay")


@contextmanager
def _account(folder: SweepFolder, total: int, progress: bool, say: Say, summary: Summary) -> Iterator[Put]:
    """Give a function that records outcomes, in the folder and in the failures and remarks of the summary."""
    from tqdm.auto import tqdm

    kinds: set[str] = set()
    with tqdm(total=total, desc="sweep", unit=" points", disable=not progress) as bar:

        def tell(line: str) -> None:
            bar.clear()
            say(line)

        def put(point: Point, outcome: Outcome) -> None:
            folder.put(point, outcome)
            if outcome.record["status"] == FAILED:
                summary.failures[str(point)] = outcome.record["message"]
                tell(f"failed: {point}: {outcome.record['message']}")
            if remarks := outcome.record.get(REMARKS):
                summary.remarked[str(point)] = remarks
                tell(f"note: {point}: {' '.join(remarks)}")
            for text in outcome.record.get("warnings", []):
                kind = text.partition(":")[0]
                if kind not in kinds:  # the others of the kind stand in the manifest
                    kinds.add(kind)
                    tell(f"note: {point}: {text}")
            bar.update()

        yield put


def _work_off(
    work: Work, points: Sequence[Point], put: Put, client: Client | None, workers: int | None, say: Say
) -> None:
    """Do the points, wherever it was asked for."""
    from mnnbio.spikes import available_cores

    if not points:
        return
    if client is None and workers == 0:
        here = dataclasses.replace(work, processes=None)
        for point in points:
            put(point, do_point(here, point))
        return
    with ExitStack() as stack:
        if client is None:
            cores = available_cores()
            number = min(workers or cores, len(points))
            work = dataclasses.replace(work, processes=max(1, cores // number))
            client = stack.enter_context(local_client(number))
        elif not client.nthreads():
            say("the scheduler has no workers yet; waiting for them")
        _spread(client, work, points, put)


def _spread(client: Client, work: Work, points: Sequence[Point], put: Put) -> None:
    """Have the workers of a client do the points."""
    import dask
    from distributed import as_completed

    session = uuid.uuid4().hex[:8]
    options = {"distributed.admin.large-graph-warning-threshold": "1TB"}
    waiting: dict[str, Point] = {f"point-{session}-{point.key}": point for point in points}
    futures: list[Future] = []
    suspects = []
    try:
        with losses_named(client):
            # The circuit goes there once, as a task and not as scattered data, which would be lost with its worker.
            with dask.config.set(options):
                shared = client.submit(_same, work, key=f"sweep-{session}", pure=False)
                futures = client.map(_do_point, points, key=list(waiting), pure=False, work=shared)
            for future in as_completed(futures, loop=client.loop):
                point = waiting[future.key]
                outcome = _outcome(future, point)
                if outcome is None:
                    suspects.append(point)
                else:
                    put(point, outcome)
                del waiting[future.key]
                future.release()
            for point in suspects:  # alone, so that whose fault it is is certain
                future = client.submit(_do_point, point, work=shared, key=f"alone-{session}-{point.key}", pure=False)
                put(point, _outcome(future, point) or _deadly(point))
    finally:
        cancel(client, [future for future in futures if future.key in waiting])


def _same(work: Work) -> Work:
    return work


def _do_point(point: Point, work: Work) -> Outcome:
    return do_point(work, point)


def _outcome(future: Future, point: Point) -> Outcome | None:
    """Return what became of a point; None if it, or another one on the same workers, took them down again and again."""
    from concurrent.futures import CancelledError

    from distributed.scheduler import KilledWorker

    try:
        outcome: Outcome = future.result()
        return outcome
    except KilledWorker:
        return None
    except CancelledError as error:
        raise SchedulerError(
            "the scheduler was lost, or cancelled the work. What is done is kept; start again to continue"
        ) from error
    except Exception as error:  # not in the work itself, which catches its own: such as a module that a worker lacks
        return _failed(point, f"{type(error).__name__}: {error}")


def _deadly(point: Point) -> Outcome:
    return _failed(
        point,
        "KilledWorker: each worker that ran it died: killed, or out of memory. With fewer workers each has more memory",
    )


def _failed(point: Point, message: str) -> Outcome:
    record = {"parameters": point.parameters, "seed": point.seed, "file": point.file, "status": FAILED}
    return Outcome(record | {"message": message})
