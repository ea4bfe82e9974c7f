"""Run folders, which hold everything of one run and one writer at a time, and their result files.

Every part carries the fingerprint of what it depends on (`key` among its attributes). A part and its key are written in
one go, so a file on disk is never out of step with itself.

====================  ================================================================================
root, `/simulation`,  the statistics: few samples at length; their prediction and comparison
`/spikes`, ...
`/decisions`          the decisions: many samples in a short window; groups as at the root
`/training`           curves over epochs, and the scores on the test data
====================  ================================================================================
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnnbio.machine import file_error, locked, written_aside

if TYPE_CHECKING:
    import xarray as xr


class RunFolderError(OSError):
    """A run folder cannot be used."""


@contextmanager
def held(path: Path, what: str) -> Iterator[None]:
    """Make a folder if needed and hold it for this process alone.

    Parameters
    ----------
    path : Path
    what : str
        What the folder is, for messages.

    Raises
    ------
    RunFolderError
        If it cannot be written to, or another process holds it.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = ExitStack()
        lock.enter_context(locked(path / ".lock", wait=False, mode=0o666))
    except BlockingIOError as error:
        raise RunFolderError(
            f"the {what} {path} is in use by another mnnbio; wait for it, or choose another folder"
        ) from error
    except OSError as error:
        raise RunFolderError(
            f"cannot write to the {what} {path}: {error.strerror}. Check its permissions or choose another"
        ) from error
    with lock:
        yield


class RunFolder:
    """The files of a run.

    Parameters
    ----------
    path : path-like
        The folder; it need not exist.

    Attributes
    ----------
    config, checkpoint, result, report, figures, log : Path
        ``config.yaml``, ``checkpoint/``, ``result.nc``, ``report.html``, ``figures/`` and ``log.txt`` in the folder.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.config = self.path / "config.yaml"
        self.checkpoint = self.path / "checkpoint"
        self.result = self.path / "result.nc"
        self.report = self.path / "report.html"
        self.figures = self.path / "figures"
        self.log = self.path / "log.txt"

    def __str__(self) -> str:
        return str(self.path)

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Make the folder if needed and hold it for this process alone.

        Raises
        ------
        RunFolderError
            If it cannot be written to, or another process holds it.
        """
        with held(self.path, "run folder"):
            self._sweep()
            yield

    def _sweep(self) -> None:
        """Remove what a killed process was writing aside."""
        for pattern in (".*.part*", "*/.*.part*", "checkpoint/.*.safetensors.*"):
            for leftover in self.path.glob(pattern):
                leftover.unlink(missing_ok=True)

    def note(self, text: str) -> None:
        """Append lines to the log, with the time.

        Raises
        ------
        FileError
            If it cannot be written.
        """
        now = datetime.now().isoformat(timespec="seconds")
        try:
            with self.log.open("a", encoding="utf-8") as file:
                file.writelines(f"{now}  {line}\n" for line in text.splitlines())
        except OSError as error:
            raise file_error(f"cannot write {self.log}", error) from error


def read_json(path: Path) -> dict[str, Any]:
    """Return the object that a JSON file of a run folder holds, empty if there is none that is whole."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write an object as a JSON file, as `write_text` does."""
    write_text(path, json.dumps(content))


def write_text(path: Path, text: str) -> None:
    """Write a text file aside and put it in place when complete.

    Raises
    ------
    FileError
        If it cannot be written.
    """
    with written_aside(path) as aside:
        aside.write_text(text, encoding="utf-8")


KEY = "key"
STATISTICS, DECISIONS, TRAINING = "statistics", "decisions", "training"


class Store:
    """The result file of a run folder, read once.

    Parameters
    ----------
    path : Path
        The file; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def parts(self) -> dict[str, xr.DataTree]:
        """The parts that the file holds.

        Raises
        ------
        ResultFileError
            If the file is damaged or of another kind.
        """
        if not self.path.exists():
            return {}
        from mnnbio.results import load

        tree = load(self.path)
        parts = {name: tree.children[name].copy() for name in (DECISIONS, TRAINING) if name in tree.children}
        if "simulation" in tree.children:
            parts[STATISTICS] = tree.drop_nodes(list(parts))
        return parts

    @property
    def tree(self) -> xr.DataTree:
        """All parts, as the file holds them."""
        import xarray as xr

        groups: dict[str, xr.Dataset] = {}
        for name, part in self.parts.items():
            root = "" if name == STATISTICS else f"/{name}"
            for node in part.subtree:
                groups[root + node.path.removesuffix("/") or "/"] = node.to_dataset(inherit=False)
        return xr.DataTree.from_dict(groups)

    def put(self, name: str, part: xr.DataTree) -> None:
        """Write the file with a part in place of what was there under its name."""
        from mnnbio.results import save

        self.parts[name] = part
        try:
            save(self.tree, self.path)
        except BaseException:
            del self.parts  # read again what the file still holds
            raise


def key_of(tree: xr.DataTree | xr.Dataset | None) -> str | None:
    """Return the fingerprint of what a part was made from."""
    return None if tree is None else tree.attrs.get(KEY)
