"""The table that a run ends with."""

from __future__ import annotations

import xarray as xr

from mnnbio.run.session import Session
from mnnbio.run.store import DECISIONS, STATISTICS, TRAINING

Row = tuple[str, str]


def summary(session: Session) -> str:
    """Return the figures of a run, and where its results are, as lines of text."""
    parts, folder = session.store.parts, session.folder
    rows: list[Row] = []
    if TRAINING in parts:
        attrs = parts[TRAINING].attrs
        rows.append((f"moment network: {_score(attrs['score'])}, all test samples", f"{attrs['test_score']:.4f}"))
    rows += [row for name in (DECISIONS, STATISTICS) if name in parts for row in figures(parts[name])]
    paths = [(path.name, str(path)) for path in (folder.result, folder.report) if path.exists()]
    return f"{table(rows)}\n\n{table(paths)}"


def figures(part: xr.DataTree) -> list[Row]:
    """Return what the comparison of a simulation amounts to: what, and the figure as text."""
    if "comparison" not in part.children:
        return []
    comparison, attrs = part.children["comparison"].to_dataset(), part.attrs
    window = f"{1e3 * attrs['window']:g} ms"
    rows: list[Row] = []
    for score in ("accuracy", "r2"):
        if f"moment_{score}" in comparison:
            shown = f"{comparison.sizes['stimulus']} samples"
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
