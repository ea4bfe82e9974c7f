"""What can go wrong with a program that runs."""

from __future__ import annotations


class SimulationFailed(RuntimeError):  # noqa: N818 - says what happened
    """The compiled program ended with an error, or complained."""
