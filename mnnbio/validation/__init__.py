"""What needs theory and spikes side by side: how far the moment theory holds for a neuron that is not its own."""

from mnnbio.validation.fit_circuit import CircuitFit, Target, fit_circuit
from mnnbio.validation.matched import FitError, MatchedLIF, matched_lif
from mnnbio.validation.neuron_surrogate import filtered_spectrum, neuron_surrogate

__all__ = [
    "CircuitFit",
    "FitError",
    "MatchedLIF",
    "Target",
    "filtered_spectrum",
    "fit_circuit",
    "matched_lif",
    "neuron_surrogate",
]
