"""Ready-made circuits, one paper a file: functions that return a `Circuit`.

Each takes `scale`, a factor of the numbers of neurons, and `seed`, which fixes the synapses.
"""

from mnnbio.circuits.balanced_network import balanced
from mnnbio.circuits.brunel_network import brunel
from mnnbio.circuits.clustered_network import clustered
from mnnbio.circuits.cortical_microcircuit import microcircuit
from mnnbio.circuits.downscaling import downscaled
from mnnbio.circuits.orientation_ring import ring
from mnnbio.circuits.stabilised_network import inhibition_stabilised

__all__ = ["balanced", "brunel", "clustered", "downscaled", "inhibition_stabilised", "microcircuit", "ring"]
