"""What needs theory and spikes side by side: whether a prediction holds, what it lacks, and what was wrong with it."""

from mnnbio.validation.causes import NAMES as CAUSES
from mnnbio.validation.causes import Cause, Sensitivities, sensitivities
from mnnbio.validation.error_budget import ErrorBudget, error_budget, shapley
from mnnbio.validation.explain import TOLERANCES, Explanation, explain
from mnnbio.validation.fed_neurons import neuron_bench
from mnnbio.validation.fit_circuit import CircuitFit, Target, UnsettledFitWarning, fit_circuit
from mnnbio.validation.ladder import SurrogateLadder, surrogate_ladder
from mnnbio.validation.matched import FitError, MatchedLIF, matched_lif
from mnnbio.validation.neuron_surrogate import filtered_spectrum, neuron_surrogate
from mnnbio.validation.planning import Runtime, SimulationPlan, measured_speed, runtime_needed, trials_needed
from mnnbio.validation.spike_targets import spike_targets
from mnnbio.validation.train_to_spikes import SpikeTraining, UnmetTargetsWarning, train_to_spikes

__all__ = [
    "CAUSES",
    "TOLERANCES",
    "Cause",
    "CircuitFit",
    "ErrorBudget",
    "Explanation",
    "FitError",
    "MatchedLIF",
    "Runtime",
    "Sensitivities",
    "SimulationPlan",
    "SpikeTraining",
    "SurrogateLadder",
    "Target",
    "UnmetTargetsWarning",
    "UnsettledFitWarning",
    "error_budget",
    "explain",
    "filtered_spectrum",
    "fit_circuit",
    "matched_lif",
    "measured_speed",
    "neuron_bench",
    "neuron_surrogate",
    "runtime_needed",
    "sensitivities",
    "shapley",
    "spike_targets",
    "surrogate_ladder",
    "train_to_spikes",
    "trials_needed",
]
