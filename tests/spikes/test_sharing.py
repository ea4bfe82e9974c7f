"""One simulation on the workers of a Dask client: the same result as in this process."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from distributed import Client, Event, LocalCluster

from mnnbio import Circuit, CountMoments, GaussianDrive, LIFParameters, PoissonSource, Population, Projection, simulate
from mnnbio.spikes.processes import SimulationTimeout
from mnnbio.spikes.program_files import SimulationFailed
from mnnbio.spikes.sharing import (
    RunCancelled,
    SchedulerError,
    SharedRun,
    VersionMismatch,
    _all_pairs,
    _run_share,
    number_of_shares,
    watch,
)


def circuit() -> Circuit:
    return Circuit(
        populations=[PoissonSource("input", 2, rates=[[0.2, 0.4], [0.6, 0.1]]), Population("E", 2, LIFParameters())],
        projections=[Projection("input", "E", weights=[[1.0, 0.5], [0.2, 0.8]])],
        drives=[GaussianDrive("E", mean=1.0, std=0.5)],
    )


OPTIONS = {"duration": 40.0, "trials": 6, "dt": 0.5, "window": 20.0, "seed": 5}


def cluster(workers: int, threads: int) -> LocalCluster:
    return LocalCluster(n_workers=workers, threads_per_worker=threads, dashboard_address=":0", silence_logs=50)


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with cluster(2, 2) as workers, Client(workers) as client:
        yield client


@pytest.fixture
def small_shares(monkeypatch) -> None:
    """Divide even runs of no duration."""
    monkeypatch.setattr("mnnbio.spikes.sharing._SHORTEST", 0.0)


def assert_same(one: xr.DataTree, other: xr.DataTree) -> None:
    assert one.groups == other.groups
    for group in one.groups:
        xr.testing.assert_identical(one[group].to_dataset(), other[group].to_dataset())


@pytest.mark.slow
@pytest.mark.parametrize("record", [None, CountMoments(window=20.0)], ids=["spikes", "moments"])
def test_workers_give_what_this_process_gives(client, small_shares, record):
    told = []
    here = simulate(circuit(), codegen="runtime", record=record, **OPTIONS)
    there = simulate(
        circuit(),
        codegen="runtime",
        record=record,
        client=client,
        progress=lambda *steps: told.append(steps),
        **OPTIONS,
    )
    assert_same(here, there)
    assert len(told) > 4
    assert told[-1] == (2 * 6 * 80, 2 * 6 * 80)


@pytest.mark.slow
@pytest.mark.standalone
def test_compiled_programs_give_the_same_on_workers(client, small_shares):
    assert_same(simulate(circuit(), **OPTIONS), simulate(circuit(), client=client, processes=2, **OPTIONS))


@pytest.mark.slow
def test_a_killed_worker_costs_nothing_but_time(client, small_shares):
    here = simulate(circuit(), codegen="runtime", **OPTIONS)
    victim = next(iter(client.run(os.getpid).values()))

    def kill(done: int, total: int) -> None:
        if Path(f"/proc/{victim}").exists() or done < total // 4:
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)

    assert_same(here, simulate(circuit(), codegen="runtime", client=client, progress=kill, **OPTIONS))


@pytest.mark.slow
def test_errors_of_a_worker_come_here():
    def stumble(dask_worker):
        import mnnbio.spikes.program

        def fail(*_, **__):
            raise SimulationFailed("the program stumbled")

        mnnbio.spikes.program.Program.run = fail

    with cluster(1, 1) as workers, Client(workers, set_as_default=False) as other:
        other.run(stumble)
        with pytest.raises(SimulationFailed, match="the program stumbled"):
            simulate(circuit(), codegen="runtime", client=other, **OPTIONS)


@pytest.mark.slow
def test_workers_keep_to_the_time_too(client, small_shares):
    with pytest.raises(SimulationTimeout, match=r"longer than `timeout`, 1 s, and was stopped: .* % of its steps"):
        simulate(circuit(), 1e6, 4, dt=0.1, codegen="runtime", client=client, timeout=1.0)
    short = simulate(circuit(), codegen="runtime", client=client, timeout=60.0, **OPTIONS)
    assert_same(short, simulate(circuit(), codegen="runtime", **OPTIONS))


@pytest.mark.slow
def test_a_worker_stops_what_nobody_waits_for(client):
    def work():
        report = watch()
        assert report is not None
        deadline = time.monotonic() + 30.0
        while time.monotonic() < deadline:
            try:
                report(0, 1)
            except RunCancelled:
                stopped.set()
                raise
            time.sleep(0.05)

    stopped = Event("stopped", client=client)
    future = client.submit(work, pure=False)
    time.sleep(0.5)
    client.cancel(future, force=True)
    assert stopped.wait(timeout=10)


def close_at_work(workers: LocalCluster) -> None:
    """Close a cluster as soon as it does something."""
    while not any(task.state == "processing" for task in list(workers.scheduler.tasks.values())):
        time.sleep(0.05)
    workers.close()


@pytest.mark.slow
def test_a_scheduler_that_goes_away_is_named(small_shares):
    workers = cluster(1, 1)
    with workers, Client(workers, set_as_default=False) as client:
        threading.Thread(target=close_at_work, args=[workers]).start()
        with pytest.raises(SchedulerError, match="the scheduler was lost"):
            simulate(circuit(), 20_000.0, 50, dt=0.1, codegen="runtime", client=client)
        client.close()
        with pytest.raises(SchedulerError, match="the client is closed: connect it to a scheduler first"):
            simulate(circuit(), codegen="runtime", client=client, **OPTIONS)


def test_workers_must_have_the_same_version():
    shared = SharedRun(circuit(), {}, {}, 1, "0.0.0")
    with pytest.raises(
        VersionMismatch, match=r"the worker on .* has mnnbio .*, the work is led by 0.0.0; install the same"
    ):
        _run_share(_all_pairs(1, 1), shared)


def test_nothing_watches_outside_a_worker():
    assert watch() is None


def test_a_client_must_be_one(tmp_path):
    with pytest.raises(TypeError, match=r"`client` must be a distributed.Client, got str"):
        simulate(circuit(), codegen="runtime", client="tcp://127.0.0.1:8786", **OPTIONS)
    with pytest.raises(ValueError, match="`build_dir` is of this machine, and the workers of a `client` build"):
        simulate(circuit(), client=object(), build_dir=tmp_path, **OPTIONS)


@pytest.mark.parametrize(
    ("presentations", "seconds", "threads", "shares"),
    [
        (1, 1.0, 8, 1),
        (100, 1.0, 4, 15),  # four a thread, as whole presentations allow
        (100, 0.001, 4, 1),  # half a second at least
        (1000, 1.0, 1, 34),  # half a minute at most
        (10, 100.0, 2, 10),  # presentations are not divided
        (10, 1.0, 0, 4),  # workers may come later
    ],
)
def test_shares_are_neither_short_nor_long(presentations, seconds, threads, shares):
    assert number_of_shares(presentations, seconds, threads) == shares


def test_shares_cover_all_presentations_once():
    pairs = np.concatenate(np.array_split(_all_pairs(3, 4), 5))
    assert pairs.tolist() == [[s, t] for s in range(3) for t in range(4)]
