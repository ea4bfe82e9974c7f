"""Ready-made circuits, one paper a file: functions that return a `Circuit`.

Each takes `scale`, a factor of the numbers of neurons, and `seed`, which fixes the synapses.
"""

from mnnbio.circuits.adaptive_network import adex_network
from mnnbio.circuits.balanced_network import balanced
from mnnbio.circuits.brunel_network import brunel
from mnnbio.circuits.clustered_network import clustered
from mnnbio.circuits.cortical_microcircuit import microcircuit
from mnnbio.circuits.downscaling import downscaled
from mnnbio.circuits.dynamic_synapses import tsodyks_markram1998
from mnnbio.circuits.inhibitory_balance import memory_neurons, vogels2011
from mnnbio.circuits.orientation_ring import ring
from mnnbio.circuits.simulator_benchmarks import coba, cobahh, cuba
from mnnbio.circuits.stabilised_network import inhibition_stabilised

__all__ = [
    "adex_network",
    "balanced",
    "brunel",
    "clustered",
    "coba",
    "cobahh",
    "cuba",
    "downscaled",
    "inhibition_stabilised",
    "memory_neurons",
    "microcircuit",
    "ring",
    "tsodyks_markram1998",
    "vogels2011",
]
