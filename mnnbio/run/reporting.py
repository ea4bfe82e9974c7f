"""The last step of a run: report and figures."""

from __future__ import annotations

from mnnbio.run.comparison import NotSimulatedError
from mnnbio.run.fingerprint import fingerprint, of_code
from mnnbio.run.folder import read_json, write_json
from mnnbio.run.session import Session
from mnnbio.run.store import DECISIONS, KEY, STATISTICS, key_of

RECORD = ".report.json"


def report(session: Session) -> None:
    """Write the report, unless the one that is there is of the same results."""
    from mnnbio.analyses import report as write_report

    folder = session.folder
    parts = session.store.parts
    for name in (DECISIONS, STATISTICS):
        if name not in parts or "comparison" not in parts[name].children:
            raise NotSimulatedError(
                f"{folder} holds no comparison of the {name}; compare first: mnnbio compare {folder}"
            )
    made_of = [key_of(parts[name].children["comparison"]) for name in (DECISIONS, STATISTICS)]
    key = fingerprint(made_of, sorted(map(str, map(key_of, parts.values()))), of_code("mnnbio.analyses.html_report"))
    if folder.report.is_file() and folder.figures.is_dir() and read_json(folder.path / RECORD).get(KEY) == key:
        session.reuse("report", str(folder.report))
        return
    with session.step("report", "figures and text"):
        write_report(session.store.tree, folder.report, title=f"Moments and spikes: {session.config.data.name}")
        write_json(folder.path / RECORD, {KEY: key})
