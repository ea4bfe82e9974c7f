"""Neuron models."""

from mnnbio.neurons.lif import LIFParameters

__all__ = [
    "LIFParameters",
]
