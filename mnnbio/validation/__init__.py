"""What needs theory and spikes side by side: neurons matched to others, simulations planned by predictions."""

from mnnbio.validation.matched import FitError, MatchedLIF, matched_lif
from mnnbio.validation.planning import Runtime, SimulationPlan, measured_speed, runtime_needed, trials_needed

__all__ = [
    "FitError",
    "MatchedLIF",
    "Runtime",
    "SimulationPlan",
    "matched_lif",
    "measured_speed",
    "runtime_needed",
    "trials_needed",
]
