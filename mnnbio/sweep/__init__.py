"""Sweeps: one circuit at many points of its parameters, on every core or by the workers of a Dask scheduler."""

from mnnbio.run.options import ConfigError
from mnnbio.simulation.sharing import SchedulerError
from mnnbio.sweep.dataset import SweepWarning, open_sweep
from mnnbio.sweep.driver import Summary, run_sweep
from mnnbio.sweep.folder import SweepFolderError

__all__ = [
    "ConfigError",
    "SchedulerError",
    "Summary",
    "SweepFolderError",
    "SweepWarning",
    "open_sweep",
    "run_sweep",
]
