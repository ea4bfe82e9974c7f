"""One use of a run folder: its configuration, its data, and what is said about it."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from mnnbio.workflow.fingerprint import of_arrays
from mnnbio.workflow.run_config import Config
from mnnbio.workflow.run_folder import RunFolder

if TYPE_CHECKING:
    from mnnbio.training import Task
    from mnnbio.workflow.run_folder import Store


@contextmanager
def warnings_as_notes(say: Callable[[str], None], note: Callable[[str], None]) -> Iterator[None]:
    """Turn warnings into lines: the first of a kind is said, the others are only noted.

    Long runs warn of one batch of samples after the other.
    """
    said: set[type[Warning]] = set()

    def show(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        tell = note if category in said else say
        said.add(category)
        tell(f"{'':<10} note ({category.__name__}): {message}")

    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.simplefilter("ignore", DeprecationWarning)  # nothing that a user of the command could mend
        warnings.showwarning = show
        yield


@dataclass
class Session:
    """What the steps of a run share.

    Parameters
    ----------
    folder : RunFolder
        Opened by this process.
    config : Config
    progress : bool
        Whether to show progress bars.
    """

    folder: RunFolder
    config: Config
    progress: bool = True

    @cached_property
    def task(self) -> Task:
        """The data, loaded at first use."""
        from mnnbio.training import load_table, load_task

        data = self.config.data
        if data.name == "table":
            assert data.file is not None
            assert data.target is not None
            return load_table(data.file, data.target, data.kind, data.test_fraction, data.split_seed)
        return load_task(data.name, data.data_dir)

    @cached_property
    def store(self) -> Store:
        """The result file."""
        from mnnbio.workflow.run_folder import Store

        return Store(self.folder.result)

    @cached_property
    def data_key(self) -> str:
        """Fingerprint of the data."""
        task = self.task
        return of_arrays(task.x_train, task.y_train, task.x_test, task.y_test)

    def say(self, text: str) -> None:
        """Print a line and put it into the log."""
        print(text, flush=True)
        self.folder.note(text)

    @contextmanager
    def step(self, name: str, what: str) -> Iterator[None]:
        """Announce a step, and its time when it is done; warnings become lines."""
        self.say(f"{name:<10} {what}")
        start = time.monotonic()
        with warnings_as_notes(self.say, self.folder.note):
            yield
        self.folder.note(f"{name:<10} done in {time.monotonic() - start:.1f} s")

    def reuse(self, name: str, what: str) -> None:
        """Say that a step is not needed."""
        self.say(f"{name:<10} reused: {what}")
