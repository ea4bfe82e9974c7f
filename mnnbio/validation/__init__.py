"""What needs theory and spikes side by side: how far the moment theory holds for a neuron that is not its own."""

from mnnbio.validation.matched import FitError, MatchedLIF, matched_lif

__all__ = ["FitError", "MatchedLIF", "matched_lif"]
