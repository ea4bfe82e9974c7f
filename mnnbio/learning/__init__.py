"""Learning from spikes: rules that change the weights of a recurrent network until it fires given spike trains."""

from mnnbio.learning.frozen_network import FrozenNetwork, Passed
from mnnbio.learning.outcome import Learned, make_history
from mnnbio.learning.targets import SpikeTargets, read_targets, require_window

__all__ = ["FrozenNetwork", "Learned", "Passed", "SpikeTargets", "make_history", "read_targets", "require_window"]
