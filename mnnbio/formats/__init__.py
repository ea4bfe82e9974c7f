"""Circuits in the formats of other programs."""

from mnnbio.formats.brian2_script import to_brian2_script

__all__ = ["to_brian2_script"]
