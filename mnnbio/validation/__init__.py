"""What needs theory and spikes side by side: neurons matched to others, simulations planned by predictions."""

from mnnbio.validation.fit_circuit import CircuitFit, Target, fit_circuit
from mnnbio.validation.matched import FitError, MatchedLIF, matched_lif
from mnnbio.validation.planning import Runtime, SimulationPlan, measured_speed, runtime_needed, trials_needed

__all__ = [
    "CircuitFit",
    "FitError",
    "MatchedLIF",
    "Runtime",
    "SimulationPlan",
    "Target",
    "fit_circuit",
    "matched_lif",
    "measured_speed",
    "runtime_needed",
    "trials_needed",
]
