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
from mnnbio.learning.spike_tasks import TAU_CURRENT, SpikeTask, frozen_current, spike_task
from mnnbio.learning.stationary_moments import compare_moments, with_stationary_noise
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
    "FrozenNetwork",
    "Learned",
    "LinearProgramme",
    "Passed",
    "ShrinkingWindow",
    "SpikeTargets",
    "SpikeTask",
    "compare_moments",
    "filtered_arrivals",
    "frozen_current",
    "make_history",
    "membrane_ratio",
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
    "spike_task",
    "with_stationary_noise",
]
