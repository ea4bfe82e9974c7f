"""What can go wrong with a program that runs."""

from __future__ import annotations


class SimulationFailed(RuntimeError):  # noqa: N818 - says what happened
    """The compiled program ended with an error, or complained."""


def may_not_start(program: object, error: OSError) -> SimulationFailed:
    """Return the error of a program that may not be started where it is, as on some file systems."""
    return SimulationFailed(
        f"the program {program} may not be started ({error}): set TMPDIR to a folder from which programs may be run"
    )
