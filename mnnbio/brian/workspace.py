"""The folders in which programs are built and run."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from mnnbio.brian.compiler import BuildFailed

_PREFIX, _LOCK = "mnnbio_", ".in-use"


@contextmanager
def work_folder(own: str | os.PathLike[str] | None) -> Iterator[Path]:
    """Yield the folder of a program.

    Parameters
    ----------
    own : path-like or None
        The folder to take, which is kept. None: a temporary one. It is removed at the end, whatever happens, unless a
        build fails, whose message names it. If this process is killed, a later one removes it.
    """
    if own is not None:
        yield Path(own).absolute()
        return
    remove_abandoned()
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX)).absolute()
    keep = False
    with ExitStack() as stack:
        with suppress(OSError, ImportError):
            stack.enter_context(_claimed(folder))
        try:
            yield folder
        except BuildFailed:
            keep = True
            (folder / _LOCK).unlink(missing_ok=True)
            raise
        finally:
            if not keep:
                shutil.rmtree(folder, ignore_errors=True)


def remove_abandoned() -> None:
    """Remove the temporary folders of processes that have been killed."""
    with suppress(ImportError):
        import fcntl

        for lock in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*/{_LOCK}"):
            with suppress(OSError), lock.open("ab") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails while the owner lives
                shutil.rmtree(lock.parent, ignore_errors=True)


@contextmanager
def _claimed(folder: Path) -> Iterator[None]:
    """Hold a lock in a folder, which the system gives back when this process ends, however it ends."""
    import fcntl

    with (folder / f"{_LOCK}.new").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        os.rename(file.name, folder / _LOCK)  # the lock is never there without being held
        yield
