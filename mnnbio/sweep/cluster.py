"""Where the work is done: in processes of this machine, or by the workers of a Dask scheduler."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mnnbio.simulation.sharing import SchedulerError

if TYPE_CHECKING:
    from distributed import Client

PATIENCE = 10.0  # seconds to wait for a scheduler


@contextmanager
def local_client(workers: int) -> Iterator[Client]:
    """Start processes on this machine, each doing one thing at a time, and stop them at the end."""
    from distributed import Client, LocalCluster

    with (
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            dashboard_address=":0",
            silence_logs=logging.CRITICAL,
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


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
