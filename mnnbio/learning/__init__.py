"""Learning from spikes: rules that change the weights of a recurrent network until it fires given spike trains."""

from mnnbio.learning.frozen_network import FrozenNetwork, Passed
from mnnbio.learning.membrane_input import filtered_arrivals, membrane_ratio, postsynaptic_potentials
from mnnbio.learning.outcome import Learned, make_history
from mnnbio.learning.pspm import PSPM, CheckpointError, ShrinkingWindow
from mnnbio.learning.spike_tasks import SpikeTask, frozen_current, spike_task
from mnnbio.learning.targets import SpikeTargets, read_targets, require_window

__all__ = [
    "PSPM",
    "CheckpointError",
    "FrozenNetwork",
    "Learned",
    "Passed",
    "ShrinkingWindow",
    "SpikeTargets",
    "SpikeTask",
    "filtered_arrivals",
    "frozen_current",
    "make_history",
    "membrane_ratio",
    "postsynaptic_potentials",
    "read_targets",
    "require_window",
    "spike_task",
]
