"""Folder of a sweep: its points, their records in the manifest, and its lock."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mnnbio.machine import written_aside
from mnnbio.workflow.options import ConfigError
from mnnbio.workflow.pipeline import REMARKS
from mnnbio.workflow.run_folder import RunFolderError, held, write_text
from mnnbio.workflow.sweep_config import Point, SweepConfig
from mnnbio.workflow.sweep_work import DONE, TOKEN_FILE, WAITING, Outcome, checksum, stored_record

FORMAT = 2  # 1 had sizes of files instead of checksums
_REWRITE = 2.0  # seconds between two versions of the manifest; the results themselves tell what is newer


class SweepFolderError(RunFolderError):
    """A folder is not that of a sweep, or holds what is not the sweep's."""


class SweepFolder:
    """The files of a sweep.

    ================ =====================================================================================
    `manifest.json`  the configuration, and of every point: parameters, seed, file, status, circuit hash ...
    `points/`        one netCDF file a point
    `.sweep`         the token by which workers know that they see this folder
    ================ =====================================================================================

    Parameters
    ----------
    path : Path
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.manifest = self.path / "manifest.json"
        self._written = 0.0
        self.content: dict[str, Any] = {}

    @property
    def token(self) -> str:
        """Text that the folder is known by."""
        return str(self.content["sweep"])

    @property
    def points(self) -> dict[str, dict[str, Any]]:
        """Records of all points, by key."""
        points: dict[str, dict[str, Any]] = self.content["points"]
        return points

    @contextmanager
    def opened(self, config: SweepConfig) -> Iterator[None]:
        """Hold the folder for this process alone, and write the manifest at the end, whatever happens.

        Raises
        ------
        SweepFolderError
            If the folder holds something else, or its manifest is damaged.
        ConfigError
            If it holds another sweep.
        RunFolderError
            If it cannot be written to, or another process holds it.
        """
        self._require_own()
        with held(self.path, "sweep folder"):
            if self.manifest.exists():
                self.content = read_manifest(self.path)
                _require_same(self.content["config"], config.fixed(), self.path)
            else:
                self.content = {"format": FORMAT, "sweep": uuid.uuid4().hex, "config": config.fixed(), "points": {}}
            self._write()
            write_text(self.path / TOKEN_FILE, self.token)
            (self.path / "points").mkdir(exist_ok=True)
            for leftover in (*self.path.glob(".*.part*"), *self.path.glob("points/.*.part*")):
                leftover.unlink(missing_ok=True)  # of a process that was killed while it wrote
            try:
                yield
            finally:
                self._write()

    def _require_own(self) -> None:
        """Raise unless the folder is new, empty, or that of a sweep whose manifest can be read."""
        if self.path.is_dir() and not self.manifest.exists():
            others = sorted(entry.name for entry in self.path.iterdir() if not entry.name.startswith("."))
            if others:
                raise SweepFolderError(
                    f"{self.path} holds no sweep but {', '.join(others[:3])}; choose a new or an empty folder"
                )
        if self.manifest.exists():
            read_manifest(self.path)  # before anything is written there

    def adopt(
        self, points: Sequence[Point], others: Sequence[Point], code: str, circuit_hash: Callable[[Point], str]
    ) -> tuple[list[Point], int]:
        """Take up the points of a sweep, and return those that are to be done, and how many results were damaged.

        To be done are the ones that have no result yet, or failed, or whose result is missing or damaged, or whose
        prediction failed. A result that was written after the manifest counts; one of another circuit, or one that
        is not as it was written, does not, and is removed.

        Parameters
        ----------
        points : sequence of Point
        others : sequence of Point
            Points that are in the folder, and not among the configuration's any more.
        code : str
            Fingerprint of what makes the circuits. Where it is the one of the manifest, circuits are not compared.
        circuit_hash : callable
            Returns the fingerprint of a point's circuit.
        """
        changed = self.content.get("code") != code
        damaged = 0
        for point in (*points, *others):
            record = self._found(point)
            if record is None and (self.path / point.file).is_file():
                (self.path / point.file).unlink()
                damaged += 1
            if record is not None and changed and record["circuit_hash"] != _or_none(circuit_hash, point):
                (self.path / point.file).unlink()
                record = None
            failed = self.points.get(point.key) if record is None and point in others else None
            self.points[point.key] = record or failed or _waiting(point)
        self.content["code"] = code
        self._write()
        return [point for point in points if not _complete(self.points[point.key])], damaged

    def _found(self, point: Point) -> dict[str, Any] | None:
        """Return the record of a result that is there, None if there is none."""
        path, record = self.path / point.file, self.points.get(point.key)
        if not path.is_file():
            return None
        if record is not None and record["status"] == DONE:
            return record if record["sha256"] == checksum(path) else None
        return stored_record(self.path, point, self.token)

    def put(self, point: Point, outcome: Outcome) -> None:
        """Record what became of a point, and write its result if the worker could not."""
        if outcome.content is not None:
            with written_aside(self.path / point.file) as aside:
                aside.write_bytes(outcome.content)
        self.points[point.key] = outcome.record
        if time.monotonic() - self._written > _REWRITE:
            self._write()

    def _write(self) -> None:
        write_text(self.manifest, json.dumps(self.content, indent=1, ensure_ascii=False) + "\n")
        self._written = time.monotonic()


def read_manifest(path: Path) -> dict[str, Any]:
    """Return the manifest of a sweep's folder.

    Raises
    ------
    FileNotFoundError
        If the folder holds no sweep.
    SweepFolderError
        If the manifest is damaged, or of another format.
    """
    manifest = path / "manifest.json"
    try:
        content = json.loads(manifest.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path} holds no sweep: there is no {manifest.name}") from error
    except (OSError, ValueError) as error:
        raise SweepFolderError(f"cannot read {manifest}: {error}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        found = content.get("format") if isinstance(content, dict) else type(content).__name__
        raise SweepFolderError(
            f"{manifest} must be the manifest of a sweep, format {FORMAT}, found {found!r}. Another version may have "
            "written it: choose another folder"
        )
    return content


def _require_same(old: dict[str, Any], new: dict[str, Any], path: Path) -> None:
    """Raise unless a sweep's configuration is the one of its folder, values of swept parameters apart."""
    before, after = _flat(old), _flat(new)
    changed = [
        f"{name}: {before.get(name)} → {after.get(name)}"
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name)
    ]
    if changed:
        raise ConfigError(
            f"{path} holds another sweep ({'; '.join(changed)}). Values of swept parameters may be added to a sweep; "
            "for other changes choose another folder"
        )


def _flat(options: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in options.items():
        flat |= {f"{name}.{k}": v for k, v in value.items()} if isinstance(value, dict) else {name: value}
    return flat


def _complete(record: dict[str, Any]) -> bool:
    """Return whether a point has everything that was asked for."""
    return record["status"] == DONE and not record.get(REMARKS)


def _waiting(point: Point) -> dict[str, Any]:
    return {"parameters": point.parameters, "seed": point.seed, "file": point.file, "status": WAITING}


def _or_none(function: Callable[[Point], str], point: Point) -> str | None:
    """Return what a function says of a point, None where the point fails."""
    try:
        return function(point)
    except Exception:
        return None
