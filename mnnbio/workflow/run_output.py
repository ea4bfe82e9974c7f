"""Output of a trained run beside its result: the table that it ends with, and C++ projects of its simulations."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import xarray as xr

from mnnbio.workflow.pipeline import (
    Journal,
    labelled,
    remarked,
    verdict_of,
)
from mnnbio.workflow.run_folder import (
    DECISIONS,
    STATISTICS,
    TRAINING,
    read_json,
    write_json,
)
from mnnbio.workflow.trained_run import (
    Session,
    circuit_of,
    planned_simulation,
    predicted,
    stimulus_coords,
    trained_network,
)

if TYPE_CHECKING:
    pass


Row = tuple[str, str]


def summary(session: Session) -> str:
    """Return the verdict on the theory, the figures of a run, and where its results are, as lines of text."""
    parts, folder = session.store.parts, session.folder
    rows: list[Row] = []
    if TRAINING in parts:
        attrs = parts[TRAINING].attrs
        rows.append((f"moment network: {_score(attrs['score'])}, all test samples", f"{attrs['test_score']:.4f}"))
    rows += [row for name in (DECISIONS, STATISTICS) if name in parts for row in figures(parts[name])]
    judged = next((name for name in (STATISTICS, DECISIONS) if name in parts and verdict_of(parts[name])), None)
    verdict = "" if judged is None else f"{verdict_of(parts[judged])}\n\n"
    paths = [(path.name, str(path)) for path in (folder.result, folder.report) if path.exists()]
    return f"{verdict}{table(rows)}\n\n{table(paths)}"


def figures(part: xr.DataTree) -> list[Row]:
    """Return what the comparison of a simulation amounts to: what, and the figure as text."""
    if "comparison" not in part.children:
        return []
    comparison, attrs = part.children["comparison"].to_dataset(), part.attrs
    window = f"{1e3 * attrs['window']:g} ms"
    rows: list[Row] = []
    for score in ("accuracy", "r2"):
        if f"moment_{score}" in comparison:
            shown = f"{part.children['simulation'].sizes['stimulus']} samples"
            rows.append((f"moment network: {_score(score)}, {shown}", _value(comparison, f"moment_{score}")))
            shown += f" × {attrs['trials']} trials, decided in {window}"
            rows.append((f"spiking network: {_score(score)}, {shown}", _value(comparison, f"spiking_{score}")))
    if "moment_accuracy" in comparison:
        rows.append(("agreement of the two networks", _value(comparison, "agreement")))
    if "rate_r" in comparison:
        above = f"above {comparison.attrs['min_rate']:g} Hz"
        error = f"{100 * comparison['rate_median_relative_error'].item():.2f} %"
        rows.append(("rates, predicted and simulated: Pearson r", _value(comparison, "rate_r", 5)))
        rows.append((f"rates: median relative error, {above}", error))
    if "count_variance_median_ratio" in comparison:
        ratio = _value(comparison, "count_variance_median_ratio", 3)
        rows.append((f"count variance in {window}, simulated/predicted: median", ratio))
    if "count_covariance_r" in comparison:
        r = _value(comparison, "count_covariance_r", 3)
        rows.append((f"count covariances in {window}, predicted and simulated: Pearson r", r))
    return rows


def table(rows: list[Row]) -> str:
    """Return rows of two columns as aligned text."""
    width = max((len(name) for name, _ in rows), default=0)
    return "\n".join(f"{name:<{width}}  {value}".rstrip() for name, value in rows)


def _score(name: str) -> str:
    return "accuracy" if name == "accuracy" else "R²"


def _value(comparison: xr.Dataset, name: str, digits: int = 4) -> str:
    text = f"{comparison[name].item():.{digits}f}"
    error = f"{name}_se"
    return f"{text} ± {comparison[error].item():.{digits}f}" if error in comparison else text


# What the project itself does not know: which of the simulations it is, and of what.
PROJECT_RECORD = "run.json"


def write_run_project(session: Session, part: str, path: Path) -> None:
    """Write one of the simulations of a run as a C++ project."""
    from mnnbio.spikes import write_project

    planned, shared = planned_simulation(session, part), session.config.simulation
    circuit = circuit_of(session, trained_network(session), planned)
    write_project(
        circuit,
        path,
        duration=planned.duration,
        trials=planned.trials,
        warmup=planned.warmup,
        window=planned.window,
        dt=shared.dt,
        seed=planned.seed,
    )
    coords = stimulus_coords(session, planned)
    stimuli = {name: coords[name].to_dict() for name in ("sample", "target")}
    record = {
        "part": part,
        "trained": session.config.model.closure,
        "closure": shared.closure,
        "theory": shared.theory,
        "stimuli": stimuli,
    }
    write_json(path / PROJECT_RECORD, record)
    session.say(f"{'cpp':<10} {path}: build and run it with `make && ./main` there, then `mnnbio read {path}`")


def read_run_project(path: Path, out: Path) -> str:
    """Turn the output of a C++ project into a result file.

    Parameters
    ----------
    path : Path
        Folder of the project, whose program has run.
    out : Path
        File to write.

    Returns
    -------
    str
        The figures, and the path.
    """
    from mnnbio.results import save
    from mnnbio.spikes import read_project

    if not path.is_dir():
        raise FileNotFoundError(f"{path} does not hold a C++ project: there is no such folder")
    record: dict[str, Any] = read_json(path / PROJECT_RECORD)
    decisions = record.get("part") == DECISIONS
    tree = read_project(path, covariance=not decisions)
    if "stimuli" in record:
        coords = xr.Dataset(coords={name: xr.DataArray.from_dict(c) for name, c in record["stimuli"].items()})
        tree = labelled(tree, coords)
    options = (
        {"trained": record.get("trained", "moments")}
        if decisions
        else {"closure": record.get("closure", "auto"), "theory": record.get("theory", "diffusion")}
    )
    journal = Journal(print, lambda _: None)
    with journal.listening():
        result = predicted(tree, journal, **options)
    save(remarked(result, journal.remarks), out)
    return f"{table(figures(result))}\n\n{out}"
