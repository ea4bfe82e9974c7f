"""What needs theory and spikes side by side: how far the moment theory holds for a neuron that is not its own."""

from mnnbio.validation.fit_circuit import CircuitFit, Target, fit_circuit
from mnnbio.validation.matched import FitError, MatchedLIF, matched_lif

__all__ = ["CircuitFit", "FitError", "MatchedLIF", "Target", "fit_circuit", "matched_lif"]
