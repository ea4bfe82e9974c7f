"""From trained networks to the spiking circuits that they describe, and from their spikes back to outputs."""

from mnnbio.exporting.circuit_parts import ReadoutNoiseWarning
from mnnbio.exporting.spiking_networks import read_outputs, read_spikes
from mnnbio.exporting.trained_models import export

__all__ = ["ReadoutNoiseWarning", "export", "read_outputs", "read_spikes"]
