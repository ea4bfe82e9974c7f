"""The table that a run ends with."""

from __future__ import annotations

from typing import Any

import xarray as xr

from mnnbio.run.folder import RunFolder
from mnnbio.run.store import DECISIONS, STATISTICS, TRAINING, stored_parts


def summary(folder: RunFolder) -> str:
    """Return the figures of a run and where its results are, as lines of text."""
    parts = stored_parts(folder)
    rows: list[tuple[str, str]] = []
    if TRAINING in parts:
        attrs = parts[TRAINING].attrs
        rows.append((f"moment network, {_score(attrs['score'])}, all test samples", f"{attrs['test_score']:.4f}"))
    if (decisions := _comparison(parts.get(DECISIONS))) is not None:
        rows += _decision_rows(decisions, parts[DECISIONS].attrs)
    if (statistics := _comparison(parts.get(STATISTICS))) is not None:
        rows += _statistics_rows(statistics, parts[STATISTICS].attrs)
    paths = [(path.name, str(path)) for path in (folder.result, folder.report) if path.exists()]
    return "\n".join([*_table(rows), "", *(f"{name:<12} {path}" for name, path in paths)])


def _comparison(tree: xr.DataTree | None) -> xr.Dataset | None:
    return tree.children["comparison"].to_dataset() if tree is not None and "comparison" in tree.children else None


def _decision_rows(comparison: xr.Dataset, attrs: dict[Any, Any]) -> list[tuple[str, str]]:
    score = "accuracy" if "moment_accuracy" in comparison else "r2"
    if f"moment_{score}" not in comparison:
        return []
    samples = comparison.sizes["stimulus"]
    shown = f"{samples} × {attrs['trials']} decisions of {1e3 * attrs['window']:g} ms"
    rows = [
        (f"moment network, {_score(score)}, {samples} samples", _value(comparison, f"moment_{score}")),
        (f"spiking network, {_score(score)}, {shown}", _value(comparison, f"spiking_{score}")),
    ]
    if "agreement" in comparison:
        rows.append(("agreement of the two", _value(comparison, "agreement")))
    return rows


def _statistics_rows(comparison: xr.Dataset, attrs: dict[Any, Any]) -> list[tuple[str, str]]:
    rows = [
        ("firing rates: Pearson r of prediction and simulation", _value(comparison, "rate_r", 5)),
        (
            f"firing rates: median relative error, above {comparison.attrs['min_rate']:g} Hz",
            f"{100 * comparison['rate_median_relative_error'].item():.2f} %",
        ),
    ]
    if "count_variance_median_ratio" in comparison:
        rows.append(
            (
                f"count variance in {1e3 * attrs['window']:g} ms: median of simulated/predicted",
                _value(comparison, "count_variance_median_ratio", 3),
            )
        )
    if "count_covariance_r" in comparison:
        rows.append(("count covariances between neurons: Pearson r", _value(comparison, "count_covariance_r", 3)))
    return rows


def _score(name: str) -> str:
    return "accuracy" if name == "accuracy" else "R²"


def _value(comparison: xr.Dataset, name: str, digits: int = 4) -> str:
    text = f"{comparison[name].item():.{digits}f}"
    error = f"{name}_se"
    return f"{text} ± {comparison[error].item():.{digits}f}" if error in comparison else text


def _table(rows: list[tuple[str, str]]) -> list[str]:
    width = max((len(name) for name, _ in rows), default=0)
    return [f"{name:<{width}}  {value}" for name, value in rows]
