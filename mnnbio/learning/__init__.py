"""Learning from spikes: rules that change the weights of a recurrent network until it fires given spike trains."""

from mnnbio.learning.backpropagation import BackPropagation
from mnnbio.learning.clamped import AffinePotential, ClampedNeurons
from mnnbio.learning.clamped_rules import ClampedPerceptron, ClampedRule, ClampedTempotron
from mnnbio.learning.frozen_network import FrozenNetwork, Passed
from mnnbio.learning.linear_programme import LinearProgramme
from mnnbio.learning.membrane_input import filtered_arrivals, membrane_ratio, postsynaptic_potentials
from mnnbio.learning.outcome import Learned, make_history
from mnnbio.learning.pspm import PSPM, CheckpointError, ShrinkingWindow
from mnnbio.learning.published_pspm import (
    probabilistic_target,
    published_currents,
    published_network,
    published_pspm,
    published_ratio,
    published_task,
    recorded_pspm,
    recorded_task,
)
from mnnbio.learning.reservoir import RewardReservoir, TimedPattern, TimedPatterns, timed_patterns
from mnnbio.learning.spatial_patterns import (
    DetectionRates,
    SpatialPatternDetector,
    SpatialPatterns,
    TemplateDetector,
    detection_rates,
    overlap_curve,
    spatial_patterns,
)
from mnnbio.learning.spike_tasks import TAU_CURRENT, SpikeTask, frozen_current, spike_task
from mnnbio.learning.stationary_moments import compare_moments, with_stationary_noise
from mnnbio.learning.symmetric_digits import SymmetricDigits, label_neurons
from mnnbio.learning.targets import SpikeTargets, read_targets, require_window

__all__ = [
    "PSPM",
    "TAU_CURRENT",
    "AffinePotential",
    "BackPropagation",
    "CheckpointError",
    "ClampedNeurons",
    "ClampedPerceptron",
    "ClampedRule",
    "ClampedTempotron",
    "DetectionRates",
    "FrozenNetwork",
    "Learned",
    "LinearProgramme",
    "Passed",
    "RewardReservoir",
    "ShrinkingWindow",
    "SpatialPatternDetector",
    "SpatialPatterns",
    "SpikeTargets",
    "SpikeTask",
    "SymmetricDigits",
    "TemplateDetector",
    "TimedPattern",
    "TimedPatterns",
    "compare_moments",
    "detection_rates",
    "filtered_arrivals",
    "frozen_current",
    "label_neurons",
    "make_history",
    "membrane_ratio",
    "overlap_curve",
    "postsynaptic_potentials",
    "probabilistic_target",
    "published_currents",
    "published_network",
    "published_pspm",
    "published_ratio",
    "published_task",
    "read_targets",
    "recorded_pspm",
    "recorded_task",
    "require_window",
    "spatial_patterns",
    "spike_task",
    "timed_patterns",
    "with_stationary_noise",
]
