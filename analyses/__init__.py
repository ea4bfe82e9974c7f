"""Analyses of results: comparison of theory and spikes, spike statistics, figures, report.

xarray in, xarray out; a stored result is enough, neither torch nor a compiler is needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mnnbio.analyses.alignment import ComparisonWarning
from mnnbio.analyses.circuit_text import stored_readout
from mnnbio.analyses.comparison import compare
from mnnbio.analyses.decisions import accuracy_against_time, classification
from mnnbio.analyses.spike_trains import spike_statistics

if TYPE_CHECKING:
    from mnnbio.analyses.html_report import report

__all__ = [
    "ComparisonWarning",
    "accuracy_against_time",
    "classification",
    "compare",
    "report",
    "spike_statistics",
    "stored_readout",
]


def __getattr__(name: str) -> Any:
    """Import `report` at first use: Matplotlib takes most of a second to load."""
    if name != "report":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from mnnbio.analyses.html_report import report

    return report
