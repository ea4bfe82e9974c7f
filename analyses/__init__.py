"""Analyses of results: comparison of theory and spikes, spike statistics, figures, report.

xarray in, xarray out; a stored result is enough, neither torch nor a compiler is needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mnnbio.analyses.alignment import ComparisonWarning
from mnnbio.analyses.balance import current_balance, current_correlation
from mnnbio.analyses.binned_counts import binned_counts, population_rates
from mnnbio.analyses.circuit_text import stored_readout
from mnnbio.analyses.comparison import compare
from mnnbio.analyses.covariances import mean_covariances, population_covariances
from mnnbio.analyses.decisions import accuracy_against_time, classification
from mnnbio.analyses.dynamics import dynamics, state_sentence
from mnnbio.analyses.responses import phase_diagram, step_response
from mnnbio.analyses.spectra import oscillation, population_spectra
from mnnbio.analyses.spike_trains import spike_statistics
from mnnbio.analyses.states import network_state, synchrony

if TYPE_CHECKING:
    from mnnbio.analyses.html_report import report

__all__ = [
    "ComparisonWarning",
    "accuracy_against_time",
    "binned_counts",
    "classification",
    "compare",
    "current_balance",
    "current_correlation",
    "dynamics",
    "mean_covariances",
    "network_state",
    "oscillation",
    "phase_diagram",
    "population_covariances",
    "population_rates",
    "population_spectra",
    "report",
    "spike_statistics",
    "state_sentence",
    "step_response",
    "stored_readout",
    "synchrony",
]


def __getattr__(name: str) -> Any:
    """Import `report` at first use: Matplotlib takes most of a second to load."""
    if name != "report":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from mnnbio.analyses.html_report import report

    return report
